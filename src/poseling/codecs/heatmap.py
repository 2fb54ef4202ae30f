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
from torch.nn import functional as F

from poseling.geometry import Size


@dataclass(frozen=True)
class Heatmap:
    """Heatmaps (B, K, H / stride, W / stride) for an input of `size` (W, H); Gaussians of `sigma` heatmap
    pixels with a peak of 1.

    `softmax` says that the network's outputs are logits whose softmax over pixels is the normalised Gaussian
    (trained by `distill.response.kl`); without it the outputs are the Gaussians themselves.

    >>> codec = Heatmap((256, 256), decoding="dark")
    >>> targets, weight = codec.encode(torch.tensor([[[100.3, 50.7]]]), torch.ones(1, 1))
    >>> xy, score = codec.decode(targets)
    >>> [round(v, 2) for v in xy[0, 0].tolist()]
    [100.3, 50.7]
    """

    kind: ClassVar[Literal["maps"]] = "maps"

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
        return {"name": "heatmap", **asdict(self), "size": list(self.size)}  # as JSON gives it back

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
        x = torch.arange(w, dtype=joints.dtype, device=joints.device) - centre[..., :1]
        y = torch.arange(h, dtype=joints.dtype, device=joints.device) - centre[..., 1:]
        if not self.unbiased:  # the published code draws the Gaussian in a square of 3 sigma
            reach = round(3 * self.sigma)
            x, y = (torch.where(d.abs() <= reach, d, torch.inf) for d in (x, y))
        gain = -0.5 / self.sigma**2
        maps = torch.exp(gain * y**2)[..., :, None] * torch.exp(gain * x**2)[..., None, :]
        return maps * inside[..., None, None], weight * inside

    def maps(self, outputs: Tensor) -> Tensor:
        """A network's outputs (B, K, h, w) as Gaussians whose peak is 1 where the network is sure."""
        if not self.softmax:
            return outputs
        return outputs.flatten(2).softmax(-1).view_as(outputs) * (2 * torch.pi * self.sigma**2)

    def from_maps(self, maps: Tensor) -> Tensor:
        """The maps (B, K, h, w) themselves."""
        return maps

    def decode(self, outputs: Tensor) -> tuple[Tensor, Tensor]:
        """A network's outputs (B, K, h, w) to joints (B, K, 2) in input pixels and scores (B, K), the height
        of the peak in 0..1.

        A map without a hill gives a finite place and its own height as score: 0 where all pixels are 0. A map
        that holds NaN has the score NaN.
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
            at = at + 0.25 * _slope(outputs, x.long(), y.long()).sign()
        elif self.decoding == "dark":
            at = at + self._newton(outputs, x, y, top, score)
        return at * at.new_tensor(self.pixel), score.clamp(0, 1)

    def _newton(self, outputs: Tensor, x: Tensor, y: Tensor, top: Tensor, score: Tensor) -> Tensor:
        """DARK's step (B, K, 2) in heatmap pixels from the peak x, y: its modulation, a Gaussian blur of the
        heatmap's own sigma, which leaves one top, the logarithm, and one Newton step to the top, at most one
        pixel along each axis. Of the maps only what lies around the peak is looked at.

        The step's pixel must have two neighbours on each side; nearer to the border it is taken at the
        nearest pixel that does, and counted from there.
        """
        h, w = outputs.shape[-2:]
        reach = round(2.5 * self.sigma)
        side, wide = 2 * reach + 3, w + 2 * reach + 2
        line = torch.exp(
            -0.5
            * (torch.arange(-reach, reach + 1, device=outputs.device, dtype=outputs.dtype) / self.sigma) ** 2
        )
        # (3, side): the blur before the middle, there and behind it; (side * side, 9): the same over rows and
        # columns.
        blur = torch.stack([F.pad(line / line.sum(), (i, 2 - i)) for i in range(3)])
        both = torch.einsum("ja,ib->abji", blur, blur).reshape(side * side, 9)
        cx, cy = x.clamp(1, w - 2), y.clamp(1, h - 2)
        padded = F.pad(outputs, [reach + 1] * 4, value=-torch.inf if self.softmax else 0.0).flatten(2)
        ahead = torch.arange(side, device=outputs.device)
        around = (ahead[:, None] * wide + ahead).flatten()
        patch = padded.gather(2, (cy * wide + cx).long()[..., None] + around)
        if self.softmax:
            patch = (patch - top[..., None]).exp() * score[..., None]
        dx, dy, dxx, dyy, dxy = (
            (patch @ both).clamp(min=1e-10).log() @ outputs.new_tensor(_DERIVATIVES).T
        ).unbind(-1)
        determinant = dxx * dyy - dxy**2
        hill = (determinant > 1e-12) & (dxx < 0)  # not a saddle or a plain
        down = torch.stack([dxy * dy - dyy * dx, dxy * dx - dxx * dy], -1)
        step = (down / torch.where(hill, determinant, 1.0)[..., None]).clamp(-1, 1) + torch.stack(
            [cx - x, cy - y], -1
        )
        return torch.where(hill[..., None], step, 0.0).clamp(-1, 1)


# d/dx, d/dy and the second derivatives dxx, dyy, dxy of nine pixels, row by row, at the one in the middle.
_DERIVATIVES = (
    (0, 0, 0, -0.5, 0, 0.5, 0, 0, 0),
    (0, -0.5, 0, 0, 0, 0, 0, 0.5, 0),
    (0, 0, 0, 1, -2, 1, 0, 0, 0),
    (0, 1, 0, 0, -2, 0, 0, 1, 0),
    (0.25, 0, -0.25, 0, 0, 0, -0.25, 0, 0.25),
)


def soft_argmax(probabilities: Tensor) -> Tensor:
    """(..., h, w) that sum to 1 over pixels, to the mean position (..., 2) in heatmap pixels (integral pose,
    Sun et al., ECCV 2018).
    """
    h, w = probabilities.shape[-2:]
    x = (probabilities.sum(-2) * torch.arange(w, device=probabilities.device)).sum(-1)
    y = (probabilities.sum(-1) * torch.arange(h, device=probabilities.device)).sum(-1)
    return torch.stack([x, y], -1)


def _at(maps: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """maps (B, K, h, w) read at whole pixels x and y (B, K)."""
    return maps.flatten(2).gather(2, (y * maps.shape[-1] + x)[..., None]).squeeze(-1)


def _slope(maps: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """The central difference (B, K, 2) at x, y; 0 along an axis on whose border the peak lies."""
    h, w = maps.shape[-2:]
    along_x = _at(maps, (x + 1).clamp(max=w - 1), y) - _at(maps, (x - 1).clamp(min=0), y)
    along_y = _at(maps, x, (y + 1).clamp(max=h - 1)) - _at(maps, x, (y - 1).clamp(min=0))
    slope = torch.stack([along_x, along_y], -1)
    inner = torch.stack([(x > 0) & (x < w - 1), (y > 0) & (y < h - 1)], -1)
    return slope * inner
