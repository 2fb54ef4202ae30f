"""What a teacher is: anything that answers for a crop."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

from poseling.geometry import Size
from poseling.skeleton import Skeleton


@dataclass(frozen=True)
class Answer:
    """What a teacher says of B crops, in its own skeleton.

    xy (B, K, 2) in pixels of the teacher's input; score (B, K) in 0..1; maps (B, K, h, w) Gaussians whose peak is 1 where the teacher is sure, or None if it
    only gives points.
    """

    xy: Tensor
    score: Tensor
    maps: Tensor | None = None


class Teacher(Protocol):
    """A frozen network that brings its own normalisation: it takes crops as they are."""

    name: str
    digest: str  # of its weights and of how they are read: two teachers that may answer differently have different digests
    skeleton: Skeleton
    size: Size  # (W, H) of the crops it takes
    padding: float  # of the box around a person
    map_size: Size | None  # (w, h) of its heatmaps, None if it only gives points
    pixel: tuple[float, float] | None  # input pixels in one heatmap pixel, along x and y
    licences: dict[str, str]

    def __call__(self, crops: Tensor) -> Answer:
        """Crops (B, H, W, 3), uint8 RGB, to answers; no gradient flows."""
        ...
