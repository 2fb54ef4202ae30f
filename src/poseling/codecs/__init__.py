"""How joints become a network's targets, and its outputs joints again: frozen dataclasses with `encode` and
`decode`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal, Protocol, TypeGuard, cast

from torch import Tensor

from poseling.codecs.coordinates import Coordinates
from poseling.codecs.heatmap import Heatmap
from poseling.codecs.location_map import LocationMap
from poseling.codecs.simcc import SimCC
from poseling.codecs.simcc3d import SimCC3D
from poseling.geometry import Size
from poseling.records import from_fields
from poseling.spec import FEATURES

__all__ = [
    "CODECS",
    "FEATURES",
    "Codec",
    "Coordinates",
    "Heatmap",
    "LocationMap",
    "SimCC",
    "SimCC3D",
    "SpatialCodec",
    "codec",
    "read",
    "spatial",
]


class Codec(Protocol):
    """What stands between joints in input pixels and the numbers of a network. B people, K joints."""

    @property
    def kind(self) -> Literal["maps", "bins", "points"]:
        """What a network's outputs are: maps (B, K, h, w), bins (B, K, X + Y, or more) along axes, or points
        (B, K, D).
        """
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
        """A teacher's heatmaps (B, K, h, w), laid out as `heatmap` says, to what this codec's networks learn
        from them (B, K, ...).
        """
        ...


class SpatialCodec(Codec, Protocol):
    """A codec that also says where joints are in space: X, Y, Z of each in metres from the root, in camera
    axes (x right, y down, z away).
    """

    def encode_space(
        self, joints: Tensor, weight: Tensor, xyz: Tensor, xyz_weight: Tensor, parents: Sequence[int]
    ) -> tuple[Tensor, Tensor]:
        """Joints (B, K, 2) in input pixels with weights (B, K), and xyz (B, K, 3) with weights (B, K), 0
        where unknown, of joints with these `parents` (K), to targets (B, K, ...) and weights (B, K, 2): in
        the image, and in space.
        """
        ...

    def space(self, outputs: Tensor) -> Tensor:
        """A network's outputs (B, K, ...) to xyz (B, K, 3)."""
        ...


def is_3d(codec: Codec) -> TypeGuard[SpatialCodec]:
    """Whether a codec is one for space."""
    return hasattr(codec, "space")


def read(codec: Codec, outputs: Tensor) -> tuple[Tensor, ...]:
    """All that a codec reads in a network's outputs (B, K, ...): joints (B, K, 2) in input pixels, scores (B,
    K), and of a codec for space xyz (B, K, 3).
    """
    found = codec.decode(outputs)
    return (*found, codec.space(outputs)) if is_3d(codec) else found


CODECS: dict[str, Callable[..., Codec]] = {
    "heatmap": Heatmap,
    "simcc": SimCC,
    "coordinates": Coordinates,
    "location_map": LocationMap,
    "simcc3d": SimCC3D,
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
    for field in ("stride", "split", "sigma", "cell", "beta"):  # what others are divided by
        if isinstance(value := fields.get(field), int | float) and value <= 0:
            raise ValueError(f"{name}: {field} is {value}; it is above 0")
    if name == "simcc":
        fields.setdefault("beta", 1.0)  # files of a time when there was no other
    return from_fields(cast(type[Codec], CODECS[name]), fields, name)
