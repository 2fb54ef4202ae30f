"""Heatmaps, and beside each the joint's X, Y and Z from the root as three numbers: a 2D network that is taught
where its joints are in space.

Where `codecs.location_map` reads a position out of maps, here the network gives it, from all that it has seen
of the person (BlazePose, arXiv 2006.10204, regresses its landmarks so; `models.lifting` has the head). The
heatmaps stay what they are in a 2D network, so a trained one is a start.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from poseling.codecs.heatmap import Heatmap
from poseling.codecs.losses import Loss, metres, named, only_loss, posture
from poseling.codecs.space import Space
from poseling.geometry import Size
from poseling.skeleton import Skeleton


@dataclass(frozen=True)
class HeatmapXYZ(Space):
    """Outputs (B, K, h w + 3) for an input of `size` (W, H): a heatmap, row by row, and X, Y, Z from the root
    in metres of camera axes (x right, y down, z away). The fields are those of `Heatmap`.

    >>> codec, skeleton = HeatmapXYZ((64, 64)), Skeleton("two", ("head", "pelvis"), (1, 1))
    >>> joints, known = torch.tensor([[[30.3, 50.7], [9.0, 12.0]]]), torch.ones(1, 2)
    >>> xyz = torch.tensor([[[0.1, -0.4, 0.2], [0.0, 0.0, 0.0]]])
    >>> targets, weight = codec.encode_3d(joints, known, xyz, known, skeleton)
    >>> targets.shape, [round(v, 2) for v in codec.decode_3d(targets)[0, 0].tolist()]
    (torch.Size([1, 2, 259]), [0.1, -0.4, 0.2])
    """

    name: ClassVar[str] = "heatmap_xyz"
    has_maps: ClassVar[bool] = True
    has_peaks: ClassVar[bool] = True

    size: Size
    stride: int = 4
    sigma: float = 2.0
    decoding: Literal["plain", "quarter", "dark"] = "dark"
    unbiased: bool = True
    softmax: bool = False

    def __post_init__(self) -> None:
        _ = self._logits  # its checks apply here too

    @classmethod
    def configured(
        cls,
        size: Size,
        loss: str = "mse",
        sigma: float = 2.0,
        decoding: Literal["plain", "quarter", "dark"] = "dark",
        stride: int | None = None,
        height: float | None = None,
    ) -> HeatmapXYZ:
        """As `Heatmap.configured`."""
        return cls(size, cls.stride if stride is None else stride, sigma, decoding, softmax=loss != "mse")

    @property
    def heatmap(self) -> Heatmap:
        """The heatmaps as Gaussians."""
        return replace(self._logits, softmax=False)

    @property
    def _logits(self) -> Heatmap:
        return Heatmap(self.size, self.stride, self.sigma, self.decoding, self.unbiased, self.softmax)

    def fields(self) -> dict[str, Any]:
        """What a PoseSpec records."""
        return {"name": self.name, **asdict(self), "size": list(self.size)}

    def _encode(
        self, joints: Tensor, weight: Tensor, xyz: Tensor, xyz_weight: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Targets (B, K, h w + 3) and weights (B, K, 2): in the image, 0 outside the input, and in space, which
        a joint outside the input keeps.
        """
        maps, seen = self.heatmap.encode(joints, weight)
        return torch.cat([maps.flatten(2), xyz], -1), torch.stack([seen, xyz_weight], -1)

    def decode(self, outputs: Tensor) -> tuple[Tensor, Tensor]:
        """A network's outputs (B, K, h w + 3) to joints (B, K, 2) in input pixels and scores (B, K), as
        `Heatmap.decode`; the score is the heatmap's alone.
        """
        return self._logits.decode(self._maps(outputs))

    def decode_3d(self, outputs: Tensor) -> Tensor:
        """A network's outputs (B, K, h w + 3) to xyz (B, K, 3) in metres from the root."""
        return outputs[..., -3:]

    def _maps(self, outputs: Tensor) -> Tensor:
        w, h = self._logits.map_size
        return outputs[..., :-3].reshape(*outputs.shape[:-1], h, w)

    def maps(self, outputs: Tensor) -> Tensor:
        """The heatmaps of outputs (B, K, h w + 3) as Gaussians (B, K, h, w)."""
        return self._logits.maps(self._maps(outputs))

    def from_maps(self, maps: Tensor) -> Tensor:
        """A teacher's heatmaps (B, K, h, w) as targets (B, K, h w + 3) that are 0 in space."""
        return torch.cat([maps.flatten(2), maps.new_zeros(*maps.shape[:2], 3)], -1)

    def from_teacher(
        self,
        joints: Tensor,
        weight: Tensor,
        xyz: Tensor,
        xyz_weight: Tensor,
        skeleton: Skeleton,
        maps: tuple[Tensor, Tensor] | None = None,
    ) -> tuple[Tensor, Tensor]:
        """As `encode_3d`; where the teacher has `maps`, heatmaps (B, K, h, w) laid out as in `heatmap` with
        weights (B, K), those take the place of Gaussians at its joints.
        """
        if maps is None:
            return self.encode_3d(joints, weight, xyz, xyz_weight, skeleton)
        return torch.cat([maps[0].flatten(2), xyz], -1), torch.stack([maps[1], xyz_weight], -1)

    def losses(self, loss: str = "mse", teacher_loss: str | None = None) -> tuple[Loss, Loss]:
        """The heatmaps' loss of this name, the metres' and the posture's, together; ValueError for a
        `teacher_loss`.

        >>> HeatmapXYZ((64, 64)).losses("kl")[0].__name__
        'heatmap_xyz_kl'
        """
        only_loss(self.name, teacher_loss)
        heatmaps = self._on_maps(loss)

        def together(outputs: Tensor, targets: Tensor, weight: Tensor) -> Tensor:
            in_space = metres(outputs, targets, weight) + posture(outputs, targets, weight)
            return heatmaps(outputs, targets, weight) + in_space

        both = named(together, f"heatmap_xyz_{loss}")
        return both, both

    def parts(
        self, loss: str = "mse", locations: float = 1.0, bones: float = 1.0
    ) -> dict[str, tuple[Loss, float]]:
        """The loss in parts, by the ending of their names, each with its weight: heatmaps 1, `locations`, and
        how the bones lie to each other, whichever way the person faces, `bones` times as much as those.
        """
        return {
            "": (self._on_maps(loss), 1.0),
            "_places": (metres, locations),
            "_bones": (posture, locations * bones),
        }

    def _on_maps(self, loss: str) -> Loss:
        of_maps, (w, h) = self._logits.losses(loss)[0], self._logits.map_size

        def heatmaps(outputs: Tensor, targets: Tensor, weight: Tensor) -> Tensor:
            there, here = (part[..., :-3].reshape(*part.shape[:-1], h, w) for part in (targets, outputs))
            return of_maps(here, there, weight[..., 0])

        return named(heatmaps, f"heatmaps_{loss}")
