"""What a teacher is: any network that predicts joints from crops."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from poseling.geometry import Size
from poseling.skeleton import Skeleton


@dataclass(frozen=True)
class Prediction:
    """What a teacher predicts for B crops, in its own skeleton.

    xy (B, K, 2) in pixels of the teacher's input; score (B, K) in 0..1; maps (B, K, h, w) Gaussians whose
    peak is 1 where the teacher is certain, or None if it predicts points only; xyz (B, K, 3) metres from the
    root in the crop's camera axes (x right, y down, z away), or None if it predicts 2D joints only; outputs
    (B, K, ...) the raw outputs of one of our own networks with a 3D codec.
    """

    xy: Tensor
    score: Tensor
    maps: Tensor | None = None
    xyz: Tensor | None = None
    outputs: Tensor | None = None

    def to(self, device: torch.device) -> Prediction:
        """The same on another device."""
        maps, xyz, outputs = (
            None if part is None else part.to(device) for part in (self.maps, self.xyz, self.outputs)
        )
        return Prediction(self.xy.to(device), self.score.to(device), maps, xyz, outputs)


class Teacher(Protocol):
    """A frozen network with its own normalisation: it takes crops as they are."""

    @property
    def name(self) -> str: ...
    @property
    def digest(self) -> str:
        """Of its weights and of how they are read: two teachers whose predictions may differ have different
        digests.
        """
        ...

    @property
    def skeleton(self) -> Skeleton: ...
    @property
    def size(self) -> Size:
        """(W, H) of the crops it takes."""
        ...

    @property
    def padding(self) -> float:
        """Of the box around a person."""
        ...

    @property
    def map_size(self) -> Size | None:
        """(w, h) of its heatmaps, None if it predicts points only."""
        ...

    @property
    def pixel(self) -> tuple[float, float] | None:
        """Input pixels in one heatmap pixel, along x and y."""
        ...

    @property
    def sigma(self) -> float | None:
        """Of the Gaussians in its heatmaps, in heatmap pixels."""
        ...

    @property
    def is_3d(self) -> bool:
        """Whether its predictions have `xyz`."""
        ...

    @property
    def licences(self) -> dict[str, str]: ...

    def __call__(self, crops: Tensor) -> Prediction:
        """Predictions for crops (B, H, W, 3), uint8 RGB; no gradient flows."""
        ...
