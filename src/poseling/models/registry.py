"""The architectures by name: `hourglass-4x128` is four stacks of 128 channels. Each file has its row, a
`Family`, and `FAMILIES` has them all. Trained networks that ship with Poseling are in `poseling.zoo`.
"""

from __future__ import annotations

from torch import nn

from poseling.geometry import Size
from poseling.models import (
    distilpose,
    hourglass,
    kdlpn,
    movnect,
    okdhp,
    sdpose,
    simcc,
    simcc3d,
    simple_baseline,
    tokenpose,
    tokenpose_mobile,
    vitpose,
    vitpose_mobile,
    vnect,
)
from poseling.models.family import Family

FAMILIES: dict[str, Family] = {
    row.name: row
    for row in (
        hourglass.FAMILY,
        simple_baseline.FAMILY,
        kdlpn.FAMILY,
        vitpose.FAMILY,
        vitpose.FAMILY_PLUS,
        vitpose_mobile.FAMILY,
        tokenpose.FAMILY,
        tokenpose_mobile.FAMILY,
        simcc.FAMILY,
        distilpose.FAMILY,
        distilpose.FAMILY_MOBILE,
        sdpose.FAMILY,
        sdpose.FAMILY_MOBILE,
        okdhp.FAMILY,
        vnect.FAMILY,
        movnect.FAMILY,
        simcc3d.FAMILY,
    )
}


def build(name: str, joints: int, size: Size = (256, 256)) -> nn.Module:
    """The network called `name` for images of `size` (W, H), with random weights; ValueError if there is none
    of that name.

    Every network takes images (B, 3, H, W) and returns one tensor (B, S, K, ...), of which the last stage S
    is its prediction: heatmaps (B, S, K, H/4, W/4), unless its family names another codec.
    """
    return family(name).build(name.partition("-")[2], joints, size)


def family(name: str) -> Family:
    """The family of the network called `name`; ValueError with an example of each if there is none."""
    found = FAMILIES.get(name.partition("-")[0])
    if found is None:
        examples = ", ".join(one.example for one in FAMILIES.values())
        raise ValueError(f"no network is called {name!r}; there is {examples}")
    return found


def is_name(name: str) -> bool:
    """Whether `name` asks for an architecture rather than for a file."""
    return name.partition("-")[0] in FAMILIES and "." not in name and "/" not in name


def codec_of(name: str) -> str:
    """The name of the codec that reads this network's outputs."""
    return family(name).codec


def smallest(name: str) -> str:
    """The name of the smallest network of the family that `name` is of."""
    return family(name).smallest
