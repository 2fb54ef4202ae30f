"""SimCC with three axes more: X, Y and Z in metres from the root are classifications into bins of their own.

Two ideas, combined by us. RTMW3D (Jiang et al., arXiv 2407.08634) has depth as a third SimCC axis, 576 bins
of 7.5 mm with a Gaussian of 6 bins, and takes X and Y from the image, so that they are metres only if the
camera and the distance are known. MeTRAbs (Sarandi et al., arXiv 2007.07227) has all three axes in metres, in
a volume of 2.2 m around the root, so that no camera is needed. Here the axes are MeTRAbs', each read as an
axis of SimCC, and x and y in the image stay beside them.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from functools import partial
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from poseling.codecs.heatmap import Heatmap
from poseling.codecs.losses import Loss, named, only_loss, simcc_space
from poseling.codecs.simcc import SimCC
from poseling.codecs.space import Space
from poseling.codecs.subpixel import gaussian_bins, parabola_top
from poseling.geometry import Size


@dataclass(frozen=True)
class SimCC3D(Space):
    """Bins (B, K, split W + split H + 3 D) for an input of `size` (W, H): those along x and y in the image,
    then along X, Y and Z in space.

    The image's are SimCC's of the same `split`, `sigma` and `decoding`. In space there are D = 2 reach / cell
    bins of `cell` metres from -`reach` to `reach`, bin i at (i + 1/2) cell - reach, with a Gaussian of
    `spread` metres: RTMW3D's is 45 mm wide.

    >>> from poseling.skeleton import Skeleton
    >>> codec = SimCC3D((192, 256))
    >>> codec.bins
    (384, 512, 150, 150, 150)
    >>> joints, xyz = torch.tensor([[[100.3, 50.7]]]), torch.tensor([[[-0.213, 0.504, 1.07]]])
    >>> known, skeleton = torch.ones(1, 1), Skeleton("one", ("head",), (0,))
    >>> targets, weight = codec.encode_3d(joints, known, xyz, known, skeleton)
    >>> [round(v, 3) for v in codec.decode_3d(targets.log())[0, 0].tolist()]
    [-0.213, 0.504, 1.07]
    """

    name: ClassVar[str] = "simcc3d"
    has_maps: ClassVar[bool] = False
    has_peaks: ClassVar[bool] = True

    size: Size
    split: int = 2
    sigma: float | tuple[float, float] | None = None
    decoding: Literal["plain", "dark"] = "dark"
    reach: float = 1.5
    cell: float = 0.02
    spread: float = 0.05

    def __post_init__(self) -> None:
        if not min(self.reach, self.cell, self.spread) > 0:
            raise ValueError(
                f"reach {self.reach}, cell {self.cell} and spread {self.spread} are metres, above 0"
            )
        count = 2 * self.reach / self.cell
        if round(count) < 3 or abs(count - round(count)) > 1e-6:
            raise ValueError(
                f"cells of {self.cell} m do not fill -{self.reach} to {self.reach} m; choose a cell that "
                f"goes into {2 * self.reach:g} m at least 3 times"
            )
        object.__setattr__(self, "sigma", self.image.sigmas)  # as numbers, as in SimCC

    @classmethod
    def configured(cls, size: Size, *_: Any, **__: Any) -> SimCC3D:
        """The codec of a student with inputs of this size; there is nothing else to choose."""
        return cls(size)

    @property
    def image(self) -> SimCC:
        """The codec of x and y in the image."""
        return SimCC(self.size, self.split, self.sigma, self.decoding, beta=1.0)

    @property
    def bins(self) -> tuple[int, int, int, int, int]:
        """How many along x, y, X, Y and Z."""
        x, y = self.image.bins
        count = round(2 * self.reach / self.cell)
        return x, y, count, count, count

    @property
    def heatmap(self) -> Heatmap:
        """The maps that `from_maps` takes. ValueError if the size is no multiple of 4."""
        return self.image.heatmap

    def fields(self) -> dict[str, Any]:
        """What a PoseSpec records."""
        return {"name": self.name, **asdict(self), "size": list(self.size), "sigma": list(self.image.sigmas)}

    def _encode(
        self, joints: Tensor, weight: Tensor, xyz: Tensor, xyz_weight: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Targets (B, K, X + Y + 3 D) and weights (B, K, 2): in the image, 0 outside the input, and in space, 0
        beyond `reach`.

        A joint outside the input keeps its targets in space: the axes are not tied to the image (MeTRAbs).
        """
        image, weight = self.image.encode(joints, weight)
        inside = (xyz.abs() <= self.reach).all(-1) & (xyz_weight > 0)
        at = (torch.where(inside[..., None], xyz, 0.0) + self.reach) / self.cell - 0.5
        space = gaussian_bins(at, self.bins[2], self.spread / self.cell) * inside[..., None, None]
        return torch.cat([image, space.flatten(2)], -1), torch.stack([weight, xyz_weight * inside], -1)

    def decode(self, outputs: Tensor) -> tuple[Tensor, Tensor]:
        """A network's outputs (B, K, X + Y + 3 D), logits, to joints (B, K, 2) in input pixels and scores (B,
        K) in 0..1, NaN for a joint whose bins hold NaN.

        The score is SimCC's, of the image alone.
        """
        xy, score = self.image.decode(outputs[..., : sum(self.bins[:2])])
        return xy, torch.where(outputs.isnan().any(-1), torch.nan, score)

    def decode_3d(self, outputs: Tensor) -> Tensor:
        """A network's outputs (B, K, X + Y + 3 D), logits, to xyz (B, K, 3) in metres from the root."""
        logits = outputs[..., sum(self.bins[:2]) :].reshape(*outputs.shape[:-1], 3, self.bins[2])
        peak = logits.argmax(-1)
        at = (
            parabola_top(logits, peak, self.spread / self.cell)
            if self.decoding == "dark"
            else peak.to(logits.dtype)
        )
        return (at + 0.5) * self.cell - self.reach

    def maps(self, outputs: Tensor) -> None:
        """There are none, as of SimCC."""

    def from_maps(self, maps: Tensor) -> Tensor:
        """Heatmaps (B, K, h, w) as `heatmap` lays them out, to targets (B, K, X + Y + 3 D) that are 0 in
        space; ValueError for maps of another size.

        An axis without mass weighs nothing in `codecs.losses.simcc_space`.
        """
        image = self.image.from_maps(maps)
        return torch.cat([image, image.new_zeros(*image.shape[:-1], sum(self.bins[2:]))], -1)

    def losses(self, loss: str = "mse", teacher_loss: str | None = None) -> tuple[Loss, Loss]:
        """KL over the bins of all five axes against labels and teacher, whatever `loss` is; ValueError for a
        `teacher_loss`.

        >>> SimCC3D((64, 64)).losses()[0].__name__
        'simcc_space'
        """
        only_loss(self.name, teacher_loss)
        both = named(partial(simcc_space, axes=self.bins), "simcc_space")
        return both, both

    def parts(
        self, loss: str = "mse", locations: float = 1.0, bones: float = 1.0
    ) -> dict[str, tuple[Loss, float]]:
        """The loss as one part of weight 1: all five axes together, and there are no bones."""
        return {"": (self.losses(loss)[0], 1.0)}
