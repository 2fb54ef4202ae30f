"""Joints as two classifications: which bin along x, and which along y (SimCC, Li et al., ECCV 2022; RTMPose,
Jiang et al., arXiv 2303.07399).

- `plain`: the middle of the most likely bin, as both papers.
- `dark`: the top of a parabola fitted to the logarithm of the bins around it. DARK (Zhang et al., CVPR 2020)
  in one dimension, but with the noise removed by least squares over a sigma to each side instead of a blur:
  bins are so fine that the logits of two neighbours hardly differ.

Two geometries relate a bin i to an input pixel x: `unbiased` x = (i + 1/2) / split - 1/2, under which the
bins cover the input from edge to edge and flipping an image and flipping its bins is the same; otherwise x =
i / split with the Gaussian's centre rounded to a bin, as in the published code.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from poseling.codecs.heatmap import Heatmap
from poseling.codecs.losses import Loss, named, only_loss, simcc_kl, simcc_logits
from poseling.codecs.subpixel import gaussian_bins, parabola_top
from poseling.geometry import Size

FAINT = 1e-6  # of a marginal's peak; what is below is raised to it before the logarithm


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

    name: ClassVar[str] = "simcc"
    is_3d: ClassVar[bool] = False
    has_maps: ClassVar[bool] = False
    has_peaks: ClassVar[bool] = True
    teacher_losses: ClassVar[tuple[str, ...]] = ()

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

    @classmethod
    def configured(cls, size: Size, *_: Any, **__: Any) -> SimCC:
        """The codec of a student with inputs of this size: RTMPose's."""
        return cls(size)

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
        return {"name": self.name, **asdict(self), "size": list(self.size), "sigma": list(self.sigmas)}

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
            gaussian_bins(at, count, sigma)
            for at, count, sigma in zip(centre.unbind(-1), self.bins, self.sigmas, strict=True)
        ]
        return torch.cat(parts, -1) * inside[..., None], weight * inside

    def decode(self, outputs: Tensor) -> tuple[Tensor, Tensor]:
        """A network's outputs (B, K, X + Y), logits, to joints (B, K, 2) in input pixels and scores (B, K) in
        0..1, NaN for a joint whose bins hold NaN.

        The score is the lower one of the two axes, as in RTMPose's code, which takes the smaller of the two
        highest logits. Here it is the smaller of the two highest probabilities, each over that of a Gaussian
        of `sigma`: 1 where the outputs are as narrow as the targets.
        """
        found, sure = [], []
        for logits, sigma in zip(self.axes(outputs), self.sigmas, strict=True):
            peak = logits.argmax(-1)
            found.append(
                parabola_top(self.beta * logits, peak, sigma)
                if self.decoding == "dark"
                else peak.to(logits.dtype)
            )
            sure.append((self.beta * logits).softmax(-1).amax(-1) * (sigma * math.sqrt(2 * math.pi)))
        return (torch.stack(found, -1) - self._offset) / self.split, torch.minimum(*sure).clamp(0, 1)

    def maps(self, outputs: Tensor) -> None:
        """There are none: bins do not tell which x belongs to which y."""

    def from_maps(self, maps: Tensor, narrow: bool = True) -> Tensor:
        """Heatmaps (B, K, h, w) as `heatmap` lays them out, to targets (B, K, X + Y): their sums over columns
        and rows, read at the bins, each axis summing to 1.

        A heatmap's Gaussian is some three times as wide as SimCC's. With `narrow` it is brought to `sigma` by
        a power, as in `codecs.warp.warp_maps`: exact for one Gaussian, wider where the teacher's is wider,
        and the faint background that adds up over a whole column vanishes; so does most of a second, lower
        peak. Without it the sums stay as wide as they are. The targets of a map without a peak are 0.
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

    def from_points(self, joints: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
        """A teacher's joints as targets and weights: as `encode`."""
        return self.encode(joints, weight)

    def losses(self, loss: str = "mse", teacher_loss: str | None = None) -> tuple[Loss, Loss]:
        """KL over bins (RTMPose) against labels and teacher, whatever `loss` is; ValueError for a
        `teacher_loss`.

        >>> labels, teacher = SimCC((2, 2), split=1, sigma=1.0).losses()
        >>> target = torch.tensor([[[3.0, 1.0, 1.0, 1.0]]])  # x: 3/4, 1/4; y: 1/2, 1/2
        >>> round(labels(torch.zeros(1, 1, 1, 4), target, torch.ones(1, 1)).item(), 4)
        0.1308
        """
        only_loss(self.name, teacher_loss)
        both = named(partial(simcc_kl, columns=self.bins[0], beta=self.beta), "simcc_kl")
        return both, both

    def logits_loss(self) -> Loss:
        """DWPose's loss on the logits of two networks with this codec, at the beta at which both learn their
        labels.
        """
        return named(partial(simcc_logits, columns=self.bins[0], beta=self.beta), "simcc_logits")

    @property
    def _offset(self) -> float:
        """The bin, or the part of one, at the centre of pixel 0."""
        return (self.split - 1) / 2 if self.unbiased else 0.0


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
