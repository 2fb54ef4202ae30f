"""3D joints as maps: for each a heatmap, and three location maps with its X, Y and Z from the root at every
pixel where it may be (VNect, Mehta et al., SIGGRAPH 2017).

A location map has a meaning only where its joint is: it is learnt under the heatmap and read at the heatmap's
peak. So the position in the image, which is well posed, picks one of many guesses about space.

Three more maps are each joint's offset from its parent, from which VNect and MoVNect compute bone lengths:
they are learnt beside the others and not read.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from poseling.codecs.heatmap import Heatmap
from poseling.codecs.location_losses import PLACES, bones_of, location_maps, on_heatmaps
from poseling.codecs.losses import Loss, only_loss
from poseling.codecs.space import Space
from poseling.codecs.subpixel import bilinear
from poseling.geometry import Size
from poseling.skeleton import Skeleton

VNECT_HEIGHT = 0.92  # metres from knee to neck to which VNect scales all people


@dataclass(frozen=True)
class LocationMap(Space):
    """Maps (B, K, 7, h, w) for an input of `size` (W, H): heatmap, X, Y, Z from the root, and dX, dY, dZ from
    the parent, in metres of camera axes (x right, y down, z away). Targets have an eighth map, the heatmap
    under which the others are learnt.

    With a `height` all people are scaled to that distance from knee to neck in metres (`knee_to_neck`;
    VNect's 0.92): the network need not tell how tall a person is, and its outputs do not tell it. None keeps
    each person's own metres. The other fields are as in `Heatmap`.

    >>> codec, skeleton = LocationMap((256, 256)), Skeleton("two", ("head", "pelvis"), (1, 1))
    >>> joints, known = torch.tensor([[[100.3, 50.7], [90.0, 120.0]]]), torch.ones(1, 2)
    >>> xyz = torch.tensor([[[0.1, -0.4, 0.2], [0.0, 0.0, 0.0]]])
    >>> targets, weight = codec.encode_3d(joints, known, xyz, known, skeleton)
    >>> targets.shape, [round(v, 2) for v in codec.decode_3d(targets[:, :, :7])[0, 0].tolist()]
    (torch.Size([1, 2, 8, 32, 32]), [0.1, -0.4, 0.2])
    """

    name: ClassVar[str] = "location_map"
    has_maps: ClassVar[bool] = True
    has_peaks: ClassVar[bool] = True

    size: Size
    stride: int = 8
    sigma: float = 1.0
    decoding: Literal["plain", "quarter", "dark"] = "dark"
    unbiased: bool = True
    softmax: bool = False
    height: float | None = None

    def __post_init__(self) -> None:
        _ = self.heatmap  # its checks apply here too
        if self.height is not None and not 0.2 < self.height < 2:  # centimetres are the usual slip
            raise ValueError(
                f"height is {self.height}; it is the distance from knee to neck in metres, such as VNect's "
                f"{VNECT_HEIGHT}, or None"
            )

    @classmethod
    def configured(
        cls,
        size: Size,
        loss: str = "mse",
        sigma: float = 1.0,
        decoding: Literal["plain", "quarter", "dark"] = "dark",
        stride: int | None = None,
        height: float | None = None,
    ) -> LocationMap:
        """The codec of a student that learns by `loss`: mse reads its heatmaps as Gaussians, others as
        logits. `stride` is not used: all of these networks have 8.
        """
        return cls(size, sigma=sigma, decoding=decoding, softmax=loss != "mse", height=height)

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

    def encode_3d(
        self, joints: Tensor, weight: Tensor, xyz: Tensor, xyz_weight: Tensor, skeleton: Skeleton
    ) -> tuple[Tensor, Tensor]:
        """Joints (B, K, 2) in input pixels with weights (B, K), and xyz (B, K, 3) in metres from the root
        with weights (B, K), to targets (B, K, 8, h, w) and weights (B, K, 3): of the heatmap, of the position
        in space and of the bone to the parent, 0 for what is unknown. A joint outside the input has no
        heatmap, and so no targets in space either.

        With a `height`, people are scaled to it; xyz without a knee, hip or neck then weighs nothing.
        ValueError for a skeleton that lacks one.
        """
        if self.height is not None:
            factor = self.height / knee_to_neck(xyz, xyz_weight, skeleton)
            known = factor.isfinite()
            xyz = xyz * torch.where(known, factor, 0.0)[:, None, None]
            xyz_weight = xyz_weight * known[:, None]
        return self._encode(joints, weight, xyz, xyz_weight, skeleton.parents)

    def _encode(
        self,
        joints: Tensor,
        weight: Tensor,
        xyz: Tensor,
        xyz_weight: Tensor,
        parents: Sequence[int] | None = None,
    ) -> tuple[Tensor, Tensor]:
        """As `encode_3d`; without `parents` each joint is its own."""
        maps, seen = self.heatmap.encode(joints, weight)
        up = list(range(joints.shape[1]) if parents is None else parents)
        inside = (seen > 0).to(xyz_weight)
        space = xyz_weight * inside
        # A root's own bone has no length, and that is known.
        bone = torch.minimum(xyz_weight, xyz_weight[:, up]) * inside
        places = torch.cat([xyz, xyz - xyz[:, up]], -1)[..., None, None].expand(-1, -1, -1, *maps.shape[-2:])
        return torch.cat([maps[:, :, None], places, maps[:, :, None]], 2), torch.stack(
            [seen, space, bone], -1
        )

    def decode(self, outputs: Tensor) -> tuple[Tensor, Tensor]:
        """A network's outputs (B, K, 7, h, w) to joints (B, K, 2) in input pixels and scores (B, K), as
        `Heatmap.decode`.
        """
        return self._logits.decode(outputs[:, :, 0])

    def decode_3d(self, outputs: Tensor) -> Tensor:
        """A network's outputs (B, K, 7, h, w) to xyz (B, K, 3) from the root: the location maps at the joint,
        between their pixels.
        """
        xy, _ = self.decode(outputs)
        return bilinear(outputs, xy, self.heatmap.pixel, slice(1, 4))

    def maps(self, outputs: Tensor) -> Tensor:
        """The heatmaps of outputs (B, K, 7, h, w) as Gaussians (B, K, h, w)."""
        return self._logits.maps(outputs[:, :, 0])

    def from_maps(self, maps: Tensor) -> Tensor:
        """A teacher's heatmaps (B, K, h, w) as targets (B, K, 8, h, w) that are 0 in space."""
        nothing = maps.new_zeros(*maps.shape[:2], 6, *maps.shape[2:])
        return torch.cat([maps[:, :, None], nothing, maps[:, :, None].clamp(0, 1)], 2)

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
        own, sure = self.from_maps(maps[0]), maps[1]
        targets, weights = self.encode_3d(joints, sure, xyz, xyz_weight, skeleton)
        return torch.cat([own[:, :, :1], targets[:, :, 1:7], own[:, :, 7:]], 2), weights

    def from_outputs(self, theirs: object, outputs: Tensor, weight: Tensor) -> tuple[Tensor, Tensor] | None:
        """The outputs (B, K, 7, h, w) of another network, whose codec is `theirs`, as targets (B, K, 8, h,
        w), with weights (B, K, 3) from those of its joints (B, K), as MoVNect's teacher is learnt from; None
        if its maps are laid out otherwise than ours.
        """
        if not isinstance(theirs, LocationMap) or theirs._layout != self._layout:
            return None
        maps = theirs.maps(outputs)
        targets = torch.cat([maps[:, :, None], outputs[:, :, 1:7], maps[:, :, None].clamp(0, 1)], 2)
        return targets, weight[..., None].expand(-1, -1, 3)

    def with_labels(self, targets: Tensor, weight: Tensor, labels: Tensor, labelled: Tensor) -> Tensor:
        """A teacher's targets (B, K, 8, h, w), to be learnt under the heatmaps of the `labels` (B, K, 8, h,
        w) where those weigh something, `labelled` (B, K, 3), as in MoVNect; elsewhere under its own.
        """
        under = torch.where((labelled[..., 0] > 0)[..., None, None], labels[:, :, 7], targets[:, :, 7])
        return torch.cat([targets[:, :, :7], under[:, :, None]], 2)

    def true_size(self, xyz: Tensor, truth: Tensor, known: Tensor, skeleton: Skeleton) -> Tensor:
        """Decoded xyz (N, K, 3) at the size of the people in `truth` (N, K, 3), of which `known` (N, K)
        joints are above 0, as the papers measure; as it is without a `height`. NaN where the true size is
        unknown.
        """
        if self.height is None:
            return xyz
        return xyz * (knee_to_neck(truth, known, skeleton) / self.height)[:, None, None]

    def losses(self, loss: str = "mse", teacher_loss: str | None = None) -> tuple[Loss, Loss]:
        """VNect's loss on heatmaps, locations and bones against labels and teacher: with `loss` mse as in the
        papers, or kl. ValueError for a `teacher_loss`.

        >>> LocationMap((64, 64)).losses("kl")[0].__name__
        'location_maps_kl'
        """
        only_loss(self.name, teacher_loss)
        return location_maps(loss), location_maps(loss)

    def parts(
        self, loss: str = "mse", locations: float = 1.0, bones: float = 1.0
    ) -> dict[str, tuple[Loss, float]]:
        """The loss in parts, by the ending of their names, each with its weight: heatmaps 1, `locations`, and
        the bones, which the papers call auxiliary, `bones` times as much as those.

        >>> [weight for _, weight in LocationMap((64, 64)).parts("kl", locations=10, bones=0.5).values()]
        [1.0, 10, 5.0]
        """
        heatmap, place = PLACES[loss]
        return {
            "": (on_heatmaps(heatmap), 1.0),
            "_places": (place, locations),
            "_bones": (bones_of(place), locations * bones),
        }

    @property
    def _layout(self) -> LocationMap:
        """What two networks must share for one to learn the other's maps pixel by pixel."""
        return replace(self, softmax=False, decoding="plain")


def knee_to_neck(xyz: Tensor, weight: Tensor, skeleton: Skeleton) -> Tensor:
    """How tall people with joints xyz (B, K, 3) are: (B,) metres along the bones from the knees, their mean,
    over the hips to the neck; NaN where one of these joints has a `weight` (B, K) of 0. ValueError for a
    skeleton that lacks one.

    VNect's paper gives "knee to neck" without how it is measured; along the bones it does not change with the
    pose.
    """
    sides = [[f"{side}_{joint}" for joint in ("knee", "hip")] for side in ("left", "right")]
    names = [*sides[0], *sides[1], "neck"]
    if lacking := [name for name in names if name not in skeleton.joints]:
        raise ValueError(
            f"skeleton {skeleton.name} has no {', '.join(lacking)}, so the height from knee to neck is "
            f"unknown; take metres (height None)"
        )
    place = {name: xyz[:, skeleton.index(name)] for name in names}
    thighs = torch.stack([(place[knee] - place[hip]).norm(dim=-1) for knee, hip in sides]).mean(0)
    trunk = (place["neck"] - (place["left_hip"] + place["right_hip"]) / 2).norm(dim=-1)
    known = (weight[:, [skeleton.index(name) for name in names]] > 0).all(-1)
    return torch.where(known, thighs + trunk, torch.nan)
