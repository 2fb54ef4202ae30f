"""Joints in space as maps: for each a heatmap, and three location maps that hold its X, Y and Z from the root
wherever it may be (VNect, Mehta et al., SIGGRAPH 2017).

A location map has no meaning but where its joint is: it is learnt under the heatmap, and read at the
heatmap's top. So where a joint is in the image, which is well posed, says which of many guesses about space
is taken.

Three more maps hold each joint from its parent, which is what VNect and MoVNect make their bone lengths of:
they are learnt beside the others, and not read.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from poseling.codecs.heatmap import Heatmap
from poseling.geometry import Size
from poseling.skeleton import Skeleton

VNECT_HEIGHT = 0.92  # metres from knee to neck of the one stature that VNect tells all people in


@dataclass(frozen=True)
class LocationMap:
    """Maps (B, K, 7, h, w) for an input of `size` (W, H): heatmap, X, Y, Z from the root, and dX, dY, dZ from
    the parent, in metres of camera axes (x right, y down, z away). Targets have an eighth map, the heatmap
    under which the others are learnt.

    With a `height` the metres are those of a person whose knees are so far from the neck (`knee_to_neck`;
    VNect's 0.92): then the image need not tell how tall somebody is, and the answer does not say it either.
    None is the person's own metres. The rest is as in `Heatmap`.

    >>> codec = LocationMap((256, 256))
    >>> xyz = torch.tensor([[[0.1, -0.4, 0.2], [0.0, 0.0, 0.0]]])
    >>> targets, weight = codec.encode_space(torch.tensor([[[100.3, 50.7], [90.0, 120.0]]]), torch.ones(1, 2), xyz, torch.ones(1, 2), (1, 1))
    >>> targets.shape, [round(v, 2) for v in codec.space(targets[:, :, :7])[0, 0].tolist()]
    (torch.Size([1, 2, 8, 32, 32]), [0.1, -0.4, 0.2])
    """

    kind: ClassVar[Literal["maps"]] = "maps"

    size: Size
    stride: int = 8
    sigma: float = 1.0
    decoding: Literal["plain", "quarter", "dark"] = "dark"
    unbiased: bool = True
    softmax: bool = False
    height: float | None = None

    def __post_init__(self) -> None:
        _ = self.heatmap  # whose demands are these as well
        if self.height is not None and not 0.2 < self.height < 2:  # centimetres are the usual slip
            raise ValueError(
                f"height is {self.height}; it is the distance from knee to neck in metres, such as VNect's "
                f"{VNECT_HEIGHT}, or None"
            )

    @property
    def heatmap(self) -> Heatmap:
        """The heatmaps as Gaussians."""
        return replace(self._logits, softmax=False)

    @property
    def _logits(self) -> Heatmap:
        return Heatmap(self.size, self.stride, self.sigma, self.decoding, self.unbiased, self.softmax)

    def fields(self) -> dict[str, Any]:
        """What a PoseSpec records."""
        return {"name": "location_map", **asdict(self), "size": list(self.size)}

    def encode(self, joints: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
        """Joints (B, K, 2) in input pixels, of which nobody knows where they are in space, to targets and
        weights as `encode_space` gives them.
        """
        nothing = joints.new_zeros(*joints.shape[:2], 3)
        return self.encode_space(joints, weight, nothing, torch.zeros_like(weight), range(joints.shape[1]))

    def encode_space(
        self, joints: Tensor, weight: Tensor, xyz: Tensor, xyz_weight: Tensor, parents: Sequence[int]
    ) -> tuple[Tensor, Tensor]:
        """Joints (B, K, 2) in input pixels with weights (B, K), and xyz (B, K, 3) from the root with weights
        (B, K), to targets (B, K, 8, h, w) and weights (B, K, 3): of the heatmap, of the place in space and of
        the bone to the parent, 0 for what is unknown. A joint outside the input has no heatmap, and so no
        place either.
        """
        maps, seen = self.heatmap.encode(joints, weight)
        up = list(parents)
        inside = (seen > 0).to(xyz_weight)
        space = xyz_weight * inside
        # A root's own bone has no length, and that is known.
        bone = torch.minimum(xyz_weight, xyz_weight[:, up]) * inside
        places = torch.cat([xyz, xyz - xyz[:, up]], -1)[..., None, None].expand(-1, -1, -1, *maps.shape[-2:])
        return torch.cat([maps[:, :, None], places, maps[:, :, None]], 2), torch.stack(
            [seen, space, bone], -1
        )

    def under(self, targets: Tensor, weight: Tensor, labels: Tensor, labelled: Tensor) -> Tensor:
        """A teacher's targets (B, K, 8, h, w), learnt under the heatmaps of the `labels`, as MoVNect does,
        where there are any: those of weight `labelled` (B, K, 3).
        """
        own = torch.where((labelled[..., 0] > 0)[..., None, None], labels[:, :, 7], targets[:, :, 7])
        return torch.cat([targets[:, :, :7], own[:, :, None]], 2)

    def of_network(self, outputs: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
        """What another network with this codec answered (B, K, 7, h, w) as targets (B, K, 8, h, w), with
        weights (B, K, 3) from those of its joints (B, K).
        """
        maps = self.maps(outputs)
        return torch.cat([maps[:, :, None], outputs[:, :, 1:7], maps[:, :, None].clamp(0, 1)], 2), weight[
            ..., None
        ].expand(-1, -1, 3)

    def decode(self, outputs: Tensor) -> tuple[Tensor, Tensor]:
        """A network's outputs (B, K, 7, h, w) to joints (B, K, 2) in input pixels and scores (B, K), as
        `Heatmap.decode`.
        """
        return self._logits.decode(outputs[:, :, 0])

    def space(self, outputs: Tensor) -> Tensor:
        """A network's outputs (B, K, 7, h, w) to xyz (B, K, 3) from the root: the location maps at the joint,
        between their pixels.
        """
        xy, _ = self.decode(outputs)
        h, w = outputs.shape[-2:]
        last = xy.new_tensor([w - 1, h - 1])
        at = torch.nan_to_num(xy / xy.new_tensor(self.heatmap.pixel)).clamp(min=0).minimum(last)
        low = at.floor().minimum(last - 1)  # so that there is a pixel above
        part = (at - low)[:, :, None, :]
        column, row = low.long().unbind(-1)
        flat = outputs[:, :, 1:4].flatten(3)

        def read(down: int, right: int) -> Tensor:
            index = ((row + down) * w + column + right)[..., None, None].expand(-1, -1, 3, 1)
            return flat.gather(3, index).squeeze(-1)

        x, y = part[..., 0], part[..., 1]
        upper = read(0, 0) * (1 - x) + read(0, 1) * x
        lower = read(1, 0) * (1 - x) + read(1, 1) * x
        return upper * (1 - y) + lower * y

    def maps(self, outputs: Tensor) -> Tensor:
        """The heatmaps of outputs (B, K, 7, h, w) as Gaussians (B, K, h, w)."""
        return self._logits.maps(outputs[:, :, 0])

    def from_maps(self, maps: Tensor) -> Tensor:
        """A teacher's heatmaps (B, K, h, w) as targets (B, K, 8, h, w) that say nothing of space."""
        nothing = maps.new_zeros(*maps.shape[:2], 6, *maps.shape[2:])
        return torch.cat([maps[:, :, None], nothing, maps[:, :, None].clamp(0, 1)], 2)


def knee_to_neck(xyz: Tensor, weight: Tensor, skeleton: Skeleton) -> Tensor:
    """How tall people with joints xyz (B, K, 3) are: (B,) metres along the bones from the knees, their mean,
    over the hips to the neck; NaN where one of these joints has a `weight` (B, K) of 0. ValueError for a
    skeleton that lacks one.

    VNect tells of "knee to neck" without saying how it is measured; along the bones it does not change with
    the posture.
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
