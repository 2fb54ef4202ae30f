"""Joints as heatmaps: a Gaussian for each joint, and three ways to read it back.

- `plain`: the brightest pixel.
- `quarter`: a quarter of a pixel towards the brighter neighbour (Newell et al., ECCV 2016).
- `dark`: the top of the Gaussian through a second-order expansion of its logarithm (Zhang et al., CVPR 2020).

Two geometries relate an input pixel x to a heatmap pixel: `unbiased` x (w - 1) / (W - 1) (UDP, Huang et al.,
CVPR 2020), under which flipping an image and flipping its heatmaps is the same; otherwise x / stride, as FPD
and most hourglass code has it, with the Gaussian's centre rounded to a pixel.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from poseling.codecs.losses import LOSSES, Loss
from poseling.codecs.subpixel import dark_step, gaussians, quarter_step
from poseling.geometry import Size


@dataclass(frozen=True)
class Heatmap:
    """Heatmaps (B, K, H / stride, W / stride) for an input of `size` (W, H); Gaussians of `sigma` heatmap
    pixels with a peak of 1.

    With `softmax` the network's outputs are logits whose softmax over pixels is the normalised Gaussian
    (trained by `codecs.losses.kl`); without it the outputs are the Gaussians themselves.

    >>> codec = Heatmap((256, 256), decoding="dark")
    >>> targets, weight = codec.encode(torch.tensor([[[100.3, 50.7]]]), torch.ones(1, 1))
    >>> xy, score = codec.decode(targets)
    >>> [round(v, 2) for v in xy[0, 0].tolist()]
    [100.3, 50.7]
    """

    name: ClassVar[str] = "heatmap"
    is_3d: ClassVar[bool] = False
    has_maps: ClassVar[bool] = True
    has_peaks: ClassVar[bool] = True
    teacher_losses: ClassVar[tuple[str, ...]] = tuple(LOSSES)

    size: Size
    stride: int = 4
    sigma: float = 2.0
    decoding: Literal["plain", "quarter", "dark"] = "dark"
    unbiased: bool = True
    softmax: bool = False

    def __post_init__(self) -> None:
        if any(s % self.stride for s in self.size):
            raise ValueError(
                f"input size {self.size} is not a multiple of the heatmap's stride {self.stride}"
            )
        if self.decoding not in ("plain", "quarter", "dark"):
            raise ValueError(f"decoding {self.decoding!r} is unknown; use plain, quarter or dark")

    @classmethod
    def configured(
        cls,
        size: Size,
        loss: str = "mse",
        sigma: float = 2.0,
        decoding: Literal["plain", "quarter", "dark"] = "dark",
        stride: int | None = None,
        height: float | None = None,
    ) -> Heatmap:
        """The codec of a student that learns by `loss`: mse reads its outputs as Gaussians, others as logits.
        `height` is not used.
        """
        return cls(size, cls.stride if stride is None else stride, sigma, decoding, softmax=loss != "mse")

    @property
    def map_size(self) -> Size:
        """(w, h) of the heatmaps."""
        return self.size[0] // self.stride, self.size[1] // self.stride

    @property
    def pixel(self) -> tuple[float, float]:
        """Input pixels in one heatmap pixel, along x and y."""
        if not self.unbiased:
            return float(self.stride), float(self.stride)
        (width, height), (w, h) = self.size, self.map_size
        return (width - 1) / (w - 1), (height - 1) / (h - 1)

    @property
    def heatmap(self) -> Heatmap:
        """What `maps` gives and `from_maps` takes: the same heatmaps as Gaussians, whatever the network's
        outputs are.
        """
        return replace(self, softmax=False)

    def fields(self) -> dict[str, Any]:
        """What a PoseSpec records."""
        return {"name": self.name, **asdict(self), "size": list(self.size)}  # as JSON gives it back

    def encode(self, joints: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
        """Joints (B, K, 2) in input pixels and their weights (B, K) to heatmaps (B, K, h, w) and weights (B,
        K), 0 for joints outside the input.
        """
        w, h = self.map_size
        centre = joints / joints.new_tensor(self.pixel)
        inside = ((centre > -0.5) & (centre < centre.new_tensor([w - 0.5, h - 0.5]))).all(-1) & (weight > 0)
        if not self.unbiased:
            centre = torch.floor(centre + 0.5)
        centre = torch.where(inside[..., None], centre, 0.0)
        # The published code draws the Gaussian in a square of 3 sigma.
        reach = None if self.unbiased else round(3 * self.sigma)
        maps = gaussians(centre, (w, h), self.sigma**2, reach)
        return maps * inside[..., None, None], weight * inside

    def maps(self, outputs: Tensor) -> Tensor:
        """A network's outputs (B, K, h, w) as Gaussians whose peak is 1 where the network is sure."""
        if not self.softmax:
            return outputs
        return outputs.flatten(2).softmax(-1).view_as(outputs) * (2 * torch.pi * self.sigma**2)

    def from_maps(self, maps: Tensor) -> Tensor:
        """The maps (B, K, h, w) themselves."""
        return maps

    def from_points(self, joints: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
        """A teacher's joints as targets and weights: as `encode`."""
        return self.encode(joints, weight)

    def losses(self, loss: str = "mse", teacher_loss: str | None = None) -> tuple[Loss, Loss]:
        """The losses against labels and against a teacher: those of these names, twice `loss` if only that is
        given. ValueError for mse beside another, since it reads the outputs as Gaussians and others as
        logits.

        >>> [one.__name__ for one in Heatmap((64, 64)).losses("kl", "coordinate")]
        ['kl', 'coordinate']
        """
        other = teacher_loss or loss
        if (loss == "mse") != (other == "mse"):
            raise ValueError(
                f"the labels' loss {loss} and the teacher's {other} read the network's outputs differently; "
                f"take mse for both, or kl with kl or coordinate"
            )
        return LOSSES[loss], LOSSES[other]

    def logits_loss(self) -> None:
        """There is none: two networks' heatmaps are compared by `losses`."""

    def decode(self, outputs: Tensor) -> tuple[Tensor, Tensor]:
        """A network's outputs (B, K, h, w) to joints (B, K, 2) in input pixels and scores (B, K), the height
        of the peak in 0..1.

        A map without a peak gives a finite position and its own height as score: 0 where all pixels are 0. A
        map that holds NaN has the score NaN.
        """
        w = outputs.shape[-1]
        flat = outputs.flatten(2)
        top, peak = flat.max(-1)
        # In floats, half a pixel away from where a division could be rounded to the wrong row: an exported
        # graph is mostly many small steps, and this takes few.
        y = ((peak + 0.5) / w).floor()
        x = peak - w * y
        score = top
        if self.softmax:  # the peak of `maps`, without the rest of them
            score = (2 * torch.pi * self.sigma**2) / (flat - top[..., None]).exp().sum(-1)
        at = torch.stack([x, y], -1).to(outputs.dtype)
        if self.decoding == "quarter":
            at = at + quarter_step(outputs, x, y)
        elif self.decoding == "dark":
            at = at + dark_step(outputs, x, y, top, self.sigma, score if self.softmax else None)
        return at * at.new_tensor(self.pixel), score.clamp(0, 1)
