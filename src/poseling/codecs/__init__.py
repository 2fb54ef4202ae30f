"""How joints become a network's targets, and its outputs joints again: frozen dataclasses with `encode` and
`decode`.
"""

from __future__ import annotations

from typing import Any, Literal, Protocol, TypeGuard

from torch import Tensor

from poseling.codecs.coordinates import Coordinates
from poseling.codecs.heatmap import Heatmap
from poseling.codecs.heatmap_xyz import HeatmapXYZ
from poseling.codecs.location_map import LocationMap
from poseling.codecs.losses import Loss
from poseling.codecs.simcc import SimCC
from poseling.codecs.simcc3d import SimCC3D
from poseling.geometry import Size
from poseling.records import from_fields
from poseling.skeleton import Skeleton
from poseling.spec import FEATURES

__all__ = [
    "CODECS",
    "FEATURES",
    "Codec",
    "Codec3D",
    "Coordinates",
    "Heatmap",
    "HeatmapXYZ",
    "LocationMap",
    "SimCC",
    "SimCC3D",
    "codec",
    "is_3d",
    "read",
]


class Codec(Protocol):
    """The rules between joints in input pixels and a network's outputs. B samples, K joints."""

    @property
    def name(self) -> str:
        """Its key in `CODECS`, which a PoseSpec records."""
        ...

    @property
    def is_3d(self) -> bool:
        """Whether it is a `Codec3D`."""
        ...

    @property
    def has_maps(self) -> bool:
        """Whether a network's outputs are maps, and `maps` gives Gaussians."""
        ...

    @property
    def has_peaks(self) -> bool:
        """Whether decoding takes the highest of many outputs, so that a little noise can move a joint far."""
        ...

    @property
    def teacher_losses(self) -> tuple[str, ...]:
        """What `losses` takes as `teacher_loss`; empty where there is no choice."""
        ...

    @property
    def size(self) -> Size:
        """(W, H) of the input."""
        ...

    @property
    def heatmap(self) -> Heatmap:
        """The Gaussians that `from_maps` takes, and that `maps` gives where it gives any: their size, pixel
        and sigma, and how they are decoded.
        """
        ...

    @classmethod
    def configured(
        cls,
        size: Size,
        loss: str = ...,
        sigma: float = ...,
        decoding: Literal["plain", "quarter", "dark"] = ...,
        stride: int | None = None,
        height: float | None = None,
    ) -> Codec:
        """The codec of a student with inputs of `size` (W, H), trained by `loss`; of the other settings,
        which are flags of recipes, those that this codec has.
        """
        ...

    def fields(self) -> dict[str, Any]:
        """What a PoseSpec records; `codec` makes the same codec of it."""
        ...

    def encode(self, joints: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
        """Joints (B, K, 2) in input pixels and weights (B, K) to targets (B, K, ...) and weights (B, K), 0
        for joints outside the input.
        """
        ...

    def decode(self, outputs: Tensor) -> tuple[Tensor, Tensor]:
        """A network's outputs (B, K, ...) to joints (B, K, 2) in input pixels and scores (B, K) in 0..1, NaN
        for a joint whose outputs hold NaN.
        """
        ...

    def maps(self, outputs: Tensor) -> Tensor | None:
        """A network's outputs as Gaussians (B, K, h, w) with a peak of 1; None if they are no maps."""
        ...

    def from_maps(self, maps: Tensor) -> Tensor:
        """A teacher's heatmaps (B, K, h, w), laid out as in `heatmap`, to targets (B, K, ...)."""
        ...

    def from_points(self, joints: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
        """A teacher's joints (B, K, 2) in input pixels and weights (B, K) to targets and weights, for the
        loss that `losses` has against a teacher.
        """
        ...

    def losses(self, loss: str = "mse", teacher_loss: str | None = None) -> tuple[Loss, Loss]:
        """The losses against labels and against a teacher. `loss` and `teacher_loss` name those of heatmaps
        (`losses.LOSSES`); ValueError for a `teacher_loss` that is not in `teacher_losses`, or that does not
        go with `loss`.
        """
        ...

    def logits_loss(self) -> Loss | None:
        """The loss between the outputs of two networks with this codec as they are (DWPose), None where there
        is none.
        """
        ...


class Codec3D(Codec, Protocol):
    """A codec that also gives 3D joints: X, Y, Z in metres from the root, in camera axes (x right, y down, z
    away).
    """

    def encode_3d(
        self, joints: Tensor, weight: Tensor, xyz: Tensor, xyz_weight: Tensor, skeleton: Skeleton
    ) -> tuple[Tensor, Tensor]:
        """Joints (B, K, 2) in input pixels with weights (B, K), and xyz (B, K, 3) with weights (B, K), 0
        where unknown, to targets (B, K, ...) and weights (B, K, 2 or more): in the image, and in space.
        """
        ...

    def decode_3d(self, outputs: Tensor) -> Tensor:
        """A network's outputs (B, K, ...) to xyz (B, K, 3)."""
        ...

    def from_teacher(
        self,
        joints: Tensor,
        weight: Tensor,
        xyz: Tensor,
        xyz_weight: Tensor,
        skeleton: Skeleton,
        maps: tuple[Tensor, Tensor] | None = None,
    ) -> tuple[Tensor, Tensor]:
        """As `encode_3d`, from a teacher's joints, and where it has them from its `maps`: heatmaps (B, K, h,
        w) laid out as in `heatmap`, and their weights (B, K).
        """
        ...

    def from_outputs(self, theirs: Codec, outputs: Tensor, weight: Tensor) -> tuple[Tensor, Tensor] | None:
        """The outputs (B, K, ...) of another network, whose codec is `theirs`, as targets and weights, with
        the weights (B, K) of its joints; None if only what they decode to can be learnt.
        """
        ...

    def with_labels(self, targets: Tensor, weight: Tensor, labels: Tensor, labelled: Tensor) -> Tensor:
        """A teacher's targets with what of the `labels`, of weight `labelled`, goes with them in the loss."""
        ...

    def true_size(self, xyz: Tensor, truth: Tensor, known: Tensor, skeleton: Skeleton) -> Tensor:
        """Decoded xyz (N, K, 3) at the size of the people in `truth` (N, K, 3), where the codec scales all
        people alike; `known` (N, K) is above 0 for joints whose truth is known.
        """
        ...

    def parts(
        self, loss: str = "mse", locations: float = 1.0, bones: float = 1.0
    ) -> dict[str, tuple[Loss, float]]:
        """The loss in parts that can be weighed, by the ending of their names, each with its weight."""
        ...


def is_3d(codec: Codec) -> TypeGuard[Codec3D]:
    """Whether a codec gives 3D joints."""
    return codec.is_3d


def read(codec: Codec, outputs: Tensor) -> tuple[Tensor, ...]:
    """All that a codec decodes from a network's outputs (B, K, ...): joints (B, K, 2) in input pixels, scores
    (B, K), and xyz (B, K, 3) if it is 3D.
    """
    found = codec.decode(outputs)
    return (*found, codec.decode_3d(outputs)) if is_3d(codec) else found


CODECS: dict[str, type[Codec]] = {
    codec.name: codec for codec in (Heatmap, SimCC, Coordinates, LocationMap, SimCC3D, HeatmapXYZ)
}


def codec(fields: dict[str, Any]) -> Codec:
    """The codec that a PoseSpec records; KeyError if its name is unknown, ValueError if a field is, or if it
    is `FEATURES`: of a network that gives a map and no joints.
    """
    fields = dict(fields)
    name = fields.pop("name", None)
    if name == FEATURES:
        raise ValueError(
            "the network gives features and no joints; put a head on it first (GraphNetwork.with_head), as "
            "docs/models.md shows"
        )
    if name not in CODECS:
        raise KeyError(f"codec {name!r} is unknown; there is {', '.join(CODECS)}")
    for field in ("stride", "split", "sigma", "cell", "beta"):  # divisors
        if isinstance(value := fields.get(field), int | float) and value <= 0:
            raise ValueError(f"{name}: {field} is {value}; it is above 0")
    if name == "simcc":
        fields.setdefault("beta", 1.0)  # older files have no beta; theirs was 1
    return from_fields(CODECS[name], fields, name)
