"""Joints as numbers: the network's outputs are the position of each joint, how uncertain it is along x and y,
and its score (DistilPose, Ye et al., CVPR 2023).
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from poseling.codecs.heatmap import Heatmap
from poseling.codecs.losses import Loss, only_loss, simulated_heatmap, smooth_l1
from poseling.geometry import Size


@dataclass(frozen=True)
class Coordinates:
    """Points for an input of `size` (W, H). A network's outputs (B, K, 5) are x and y in parts of the input,
    pixel / (size - 1), then the widths sigma_x and sigma_y in pixels of a heatmap of `stride`, then the
    score's logit.

    Targets (B, K, 2) are x and y alone. A teacher's heatmaps are targets as they are, for losses that draw
    the student's outputs as a Gaussian or read the map at the predicted position; `stride` and `sigma` are
    those of the maps.

    >>> codec = Coordinates((193, 257))
    >>> targets, weight = codec.encode(torch.tensor([[[48.0, 192.0], [300.0, 5.0]]]), torch.ones(1, 2))
    >>> targets.tolist(), weight.tolist()
    ([[[0.25, 0.75], [0.0, 0.0]]], [[1.0, 0.0]])
    """

    name: ClassVar[str] = "coordinates"
    is_3d: ClassVar[bool] = False
    has_maps: ClassVar[bool] = False
    has_peaks: ClassVar[bool] = False
    teacher_losses: ClassVar[tuple[str, ...]] = ()

    size: Size
    stride: int = 4
    sigma: float = 2.0

    @classmethod
    def configured(cls, size: Size, *_: Any, **__: Any) -> Coordinates:
        """The codec of a student with inputs of this size; there is nothing else to choose."""
        return cls(size)

    @property
    def heatmap(self) -> Heatmap:
        """The maps that `from_maps` takes. ValueError if the size is no multiple of the stride."""
        return Heatmap(self.size, self.stride, self.sigma)

    def fields(self) -> dict[str, Any]:
        """What a PoseSpec records."""
        return {"name": self.name, **asdict(self), "size": list(self.size)}

    def encode(self, joints: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
        """Joints (B, K, 2) in input pixels and their weights (B, K) to targets (B, K, 2) and weights (B, K),
        0 for joints outside the input.
        """
        inside = ((joints > -0.5) & (joints < joints.new_tensor(self.size) - 0.5)).all(-1) & (weight > 0)
        return torch.where(inside[..., None], joints / self._last(joints), 0.0), weight * inside

    def decode(self, outputs: Tensor) -> tuple[Tensor, Tensor]:
        """A network's outputs (B, K, 5) to joints (B, K, 2) in input pixels and scores (B, K) in 0..1, NaN
        where one of the five is NaN.

        The widths are not read: the score has an output of its own, which learns from the teacher's map.
        """
        score = torch.where(outputs.isnan().any(-1), torch.nan, outputs[..., 4].sigmoid())
        return outputs[..., :2] * self._last(outputs), score

    def maps(self, outputs: Tensor) -> None:
        """There are none."""

    def from_maps(self, maps: Tensor) -> Tensor:
        """The maps (B, K, h, w) themselves."""
        return maps

    def from_points(self, joints: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
        """A teacher's joints (B, K, 2) in input pixels and their weights (B, K), drawn as the maps that the
        loss takes (B, K, h, w).
        """
        return self.heatmap.encode(joints, weight)

    def losses(self, loss: str = "mse", teacher_loss: str | None = None) -> tuple[Loss, Loss]:
        """Smooth L1 against labels and the simulated heatmap against a teacher, whatever `loss` is;
        ValueError for a `teacher_loss`.

        >>> [one.__name__ for one in Coordinates((64, 64)).losses()]
        ['smooth_l1', 'simulated_heatmap']
        """
        only_loss(self.name, teacher_loss)
        return smooth_l1, simulated_heatmap

    def logits_loss(self) -> None:
        """There is none."""

    def _last(self, like: Tensor) -> Tensor:
        """(W - 1, H - 1)."""
        return like.new_tensor([s - 1 for s in self.size])
