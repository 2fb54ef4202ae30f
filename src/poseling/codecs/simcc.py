"""Joints as two classifications: which bin along x, and which along y (SimCC, Li et al., ECCV 2022; RTMPose,
Jiang et al., arXiv 2303.07399).

- `plain`: the middle of the most likely bin, as both papers.
- `dark`: the top of a parabola fitted to the logarithm of the bins around it. DARK (Zhang et al., CVPR 2020) in one dimension, but with the noise removed by
  least squares over a sigma to each side instead of a blur: bins are so fine that the logits of two
  neighbours hardly differ.

Two geometries relate a bin i to an input pixel x: `unbiased` x = (i + 1/2) / split - 1/2, under which the
bins cover the input from edge to edge and flipping an image and flipping its bins is the same; otherwise x =
i / split with the Gaussian's centre rounded to a bin, as in the published code.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from poseling.codecs.heatmap import Heatmap
from poseling.geometry import Size

FAINT = 1e-6  # of a marginal's peak: what is below has no logarithm worth having


@dataclass(frozen=True)
class SimCC:
    """Bins (B, K, split W + split H) for an input of `size` (W, H): those along x, then those along y.

    A network's outputs are logits: the softmax of `beta` times them along each axis is a Gaussian of `sigma`
    bins that sums to 1. `sigma` is one number, as in SimCC, or one for x and one for y. None is RTMPose's
    rule, which its configurations follow without stating it: 4.9 and 5.66 for 192x256, 6 and 6.93 for
    288x384, which are the square root of an eighth of the side at a split of 2. In parts of a pixel it stays
    what it is at another split.

    `beta` multiplies the outputs before every softmax, in all losses and in the score: 10 as in RTMPose and
    DWPose (SimCC itself has 1). Labels and a teacher's logits have to be learnt at the same one, or they pull
    towards different outputs.

    >>> codec = SimCC((192, 256))
    >>> [round(s, 2) for s in codec.sigmas]
    [4.9, 5.66]
    >>> targets, weight = codec.encode(torch.tensor([[[100.3, 50.7]]]), torch.ones(1, 1))
    >>> xy, score = codec.decode(targets.log() / codec.beta)
    >>> [round(v, 2) for v in xy[0, 0].tolist()]
    [100.3, 50.7]
    """

    kind: ClassVar[Literal["bins"]] = "bins"

    size: Size
    split: int = 2
    sigma: float | tuple[float, float] | None = None
    decoding: Literal["plain", "dark"] = "dark"
    unbiased: bool = True
    beta: float = 10.0

    def __post_init__(self) -> None:
        if not 0 < self.beta < math.inf:
            raise ValueError(
                f"beta is {self.beta}; it multiplies the logits before each softmax, a number above 0 such "
                f"as RTMPose's 10"
            )
        if self.decoding not in ("plain", "dark"):
            raise ValueError(f"decoding {self.decoding!r} is unknown to SimCC; use plain or dark")
        if not (isinstance(self.split, int) and self.split >= 1):
            raise ValueError(
                f"split is {self.split}; it is how many bins a pixel has, a whole number of 1 or more"
            )
        object.__setattr__(
            self, "sigma", self.sigmas
        )  # as numbers: a file carries its contract, not the rule that made it
        if not min(self.sigmas) > 0:
            raise ValueError(f"sigma is {self.sigma}; it is a Gaussian's width in bins, above 0")

    @property
    def sigmas(self) -> tuple[float, float]:
        """Along x and along y, in bins."""
        if self.sigma is None:
            width, height = (self.split / 2 * math.sqrt(s / 8) for s in self.size)
            return width, height
        if isinstance(self.sigma, int | float):
            return float(self.sigma), float(self.sigma)
        x, y = self.sigma
        return float(x), float(y)

    @property
    def bins(self) -> tuple[int, int]:
        """How many along x and along y."""
        return self.split * self.size[0], self.split * self.size[1]

    @property
    def heatmap(self) -> Heatmap:
        """The maps that `from_maps` takes. ValueError if the size is no multiple of 4."""
        return Heatmap(self.size)

    def fields(self) -> dict[str, Any]:
        """What a PoseSpec records."""
        return {"name": "simcc", **asdict(self), "size": list(self.size), "sigma": list(self.sigmas)}

    def axes(self, outputs: Tensor) -> tuple[Tensor, Tensor]:
        """Outputs or targets (..., X + Y) as (..., X) and (..., Y)."""
        return outputs[..., : self.bins[0]], outputs[..., self.bins[0] :]

    def encode(self, joints: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
        """Joints (B, K, 2) in input pixels and their weights (B, K) to targets (B, K, X + Y) and weights (B,
        K), 0 for joints outside the input.

        Along each axis a target sums to 1, also where the border cuts its Gaussian; those of joints outside
        are 0.
        """
        centre = joints * self.split + self._offset
        inside = ((centre > -0.5) & (centre < centre.new_tensor(self.bins) - 0.5)).all(-1) & (weight > 0)
        if not self.unbiased:
            centre = torch.floor(centre + 0.5)
        centre = torch.where(inside[..., None], centre, 0.0)
        parts = [
            gaussian(at, count, sigma)
            for at, count, sigma in zip(centre.unbind(-1), self.bins, self.sigmas, strict=True)
        ]
        return torch.cat(parts, -1) * inside[..., None], weight * inside

    def decode(self, outputs: Tensor) -> tuple[Tensor, Tensor]:
        """A network's outputs (B, K, X + Y), logits, to joints (B, K, 2) in input pixels and scores (B, K) in
        0..1, NaN for a joint whose bins hold NaN.

        The score is that of the less sure axis, as in RTMPose's code, which takes the smaller of the two
        highest logits. Here it is the smaller of the two highest probabilities, each over that of a Gaussian
        of `sigma`: 1 for a network that is as sure as its targets were.
        """
        found, sure = [], []
        for logits, sigma in zip(self.axes(outputs), self.sigmas, strict=True):
            peak = logits.argmax(-1)
            found.append(
                top(self.beta * logits, peak, sigma) if self.decoding == "dark" else peak.to(logits.dtype)
            )
            sure.append((self.beta * logits).softmax(-1).amax(-1) * (sigma * math.sqrt(2 * math.pi)))
        return (torch.stack(found, -1) - self._offset) / self.split, torch.minimum(*sure).clamp(0, 1)

    def maps(self, outputs: Tensor) -> None:
        """There are none: which x belongs to which y, the bins do not say."""

    def from_maps(self, maps: Tensor, narrow: bool = True) -> Tensor:
        """Heatmaps (B, K, h, w) as `heatmap` lays them out, to targets (B, K, X + Y): their sums over columns
        and rows, read at the bins, each axis summing to 1.

        A heatmap's Gaussian is some three times as wide as SimCC's. With `narrow` it is brought to `sigma` by
        a power, as `codecs.warp.warp_maps` does it: exact for one Gaussian, wider where the teacher was
        wider, and the faint ground that adds up over a whole column vanishes; so does most of a second, lower
        hill. Without it the sums stay as wide as they are. The targets of a map without a hill are 0.
        ValueError for maps of another size.
        """
        there = self.heatmap
        if (maps.shape[-1], maps.shape[-2]) != there.map_size:
            raise ValueError(
                f"maps are {maps.shape[-1]}x{maps.shape[-2]}, SimCC for {self.size[0]}x{self.size[1]} learns "
                f"from {there.map_size}; warp them first"
            )
        maps = maps.clamp(min=0)
        parts = []
        for marginal, count, sigma, pixel in zip(
            (maps.sum(-2), maps.sum(-1)), self.bins, self.sigmas, there.pixel, strict=True
        ):
            peak = marginal.amax(-1, keepdim=True)
            log = (marginal / peak.clamp(min=FAINT)).clamp(min=FAINT).log()
            where = (
                (torch.arange(count, dtype=maps.dtype, device=maps.device) - self._offset)
                / self.split
                / pixel
            )
            power = (there.sigma * pixel * self.split / sigma) ** 2 if narrow else 1.0
            # The logarithm of a Gaussian is a parabola, which the cubic between four pixels goes through.
            parts.append((power * log @ _cubic(where, marginal.shape[-1]).T).softmax(-1) * (peak > 1e-3))
        return torch.cat(parts, -1)

    @property
    def _offset(self) -> float:
        """The bin, or the part of one, at the centre of pixel 0."""
        return (self.split - 1) / 2 if self.unbiased else 0.0


def gaussian(at: Tensor, count: int, sigma: float) -> Tensor:
    """(..., count) bins that sum to 1, a Gaussian of `sigma` bins around the places `at` (...), in bins."""
    distance = torch.arange(count, dtype=at.dtype, device=at.device) - at[..., None]
    return (-0.5 * (distance / sigma) ** 2).softmax(-1)


def top(logits: Tensor, peak: Tensor, sigma: float) -> Tensor:
    """(...) the top of the parabola fitted to logits (..., X) within a sigma of `peak`, at most half a sigma
    from it.

    Near the border the window is moved inside, and the parabola read where it leaves off.
    """
    count = logits.shape[-1]
    reach = max(1, min(round(sigma), (count - 1) // 2))
    window = torch.arange(-reach, reach + 1, device=logits.device)
    middle = peak.clamp(reach, count - 1 - reach)
    near = logits.gather(-1, middle[..., None] + window)
    near = near - near.amax(-1, keepdim=True)
    # Least squares with 1, d and d^2 - mean(d^2), which are orthogonal over a window that is the same to both
    # sides.
    d = window.to(logits.dtype)
    bend = d**2 - (d**2).mean()
    slope = (near * d).sum(-1) / (d**2).sum()
    curvature = 2 * (near * bend).sum(-1) / (bend**2).sum()
    hill = curvature < -1e-6
    step = torch.where(hill, -slope / torch.where(hill, curvature, -1.0), 0.0)
    most = max(0.5, sigma / 2)
    moved = (middle - peak).to(logits.dtype) + step
    return peak.to(logits.dtype) + torch.where(hill, moved.clamp(-most, most), 0.0)


def _cubic(where: Tensor, count: int) -> Tensor:
    """(X, count) weights that read a line of `count` numbers at the places `where` (X,), in its own steps:
    Catmull and Rom's cubic, beyond the ends a parabola.
    """
    first = where.floor().clamp(0, count - 2)
    t = where - first
    weights = torch.stack(
        [
            t * (-0.5 + t * (1 - t / 2)),
            1 + t**2 * (1.5 * t - 2.5),
            t * (0.5 + t * (2 - 1.5 * t)),
            t**2 * (t - 1) / 2,
        ],
        -1,
    )
    # One number more at each end, continued by the parabola through the last three.
    line = torch.eye(count, dtype=where.dtype, device=where.device)
    line = torch.cat(
        [3 * line[:1] - 3 * line[1:2] + line[2:3], line, 3 * line[-1:] - 3 * line[-2:-1] + line[-3:-2]]
    )
    rows = first.long()[:, None] + torch.arange(4, device=where.device)
    return (weights[..., None] * line[rows]).sum(1)
