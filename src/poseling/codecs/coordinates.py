"""Joints as numbers: the network says where each joint is, how wide it is unsure, and how much it believes
itself (DistilPose, Ye et al., CVPR 2023).
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from poseling.codecs.heatmap import Heatmap
from poseling.geometry import Size


@dataclass(frozen=True)
class Coordinates:
    """Points for an input of `size` (W, H). A network's outputs (B, K, 5) are x and y in parts of the input,
    pixel / (size - 1), then the widths sigma_x and sigma_y in pixels of a heatmap of `stride`, then the
    score's logit.

    Targets (B, K, 2) are x and y alone. A heatmap teacher's maps are learnt from as they are, by losses that
    draw the student's answer as a Gaussian or read the map where it points; `stride` and `sigma` say which
    maps those are.

    >>> codec = Coordinates((193, 257))
    >>> targets, weight = codec.encode(torch.tensor([[[48.0, 192.0], [300.0, 5.0]]]), torch.ones(1, 2))
    >>> targets.tolist(), weight.tolist()
    ([[[0.25, 0.75], [0.0, 0.0]]], [[1.0, 0.0]])
    """

    kind: ClassVar[Literal["points"]] = "points"

    size: Size
    stride: int = 4
    sigma: float = 2.0

    @property
    def heatmap(self) -> Heatmap:
        """The maps that `from_maps` takes. ValueError if the size is no multiple of the stride."""
        return Heatmap(self.size, self.stride, self.sigma)

    def fields(self) -> dict[str, Any]:
        """What a PoseSpec records."""
        return {"name": "coordinates", **asdict(self), "size": list(self.size)}

    def encode(self, joints: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
        """Joints (B, K, 2) in input pixels and their weights (B, K) to targets (B, K, 2) and weights (B, K),
        0 for joints outside the input.
        """
        inside = ((joints > -0.5) & (joints < joints.new_tensor(self.size) - 0.5)).all(-1) & (weight > 0)
        return torch.where(inside[..., None], joints / self._last(joints), 0.0), weight * inside

    def decode(self, outputs: Tensor) -> tuple[Tensor, Tensor]:
        """A network's outputs (B, K, 5) to joints (B, K, 2) in input pixels and scores (B, K) in 0..1, NaN
        where one of the five is NaN.

        The widths are not read: the score has its own output, which a distilled student learnt from the
        teacher's map.
        """
        score = torch.where(outputs.isnan().any(-1), torch.nan, outputs[..., 4].sigmoid())
        return outputs[..., :2] * self._last(outputs), score

    def maps(self, outputs: Tensor) -> None:
        """There are none."""

    def from_maps(self, maps: Tensor) -> Tensor:
        """The maps (B, K, h, w) themselves."""
        return maps

    def _last(self, like: Tensor) -> Tensor:
        """(W - 1, H - 1)."""
        return like.new_tensor([s - 1 for s in self.size])
