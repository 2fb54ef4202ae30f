"""A family of architectures: the row that each file of one has, and that `registry` collects."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import nn

from poseling.geometry import Size


@dataclass(frozen=True)
class Family:
    """Networks of one paper by name: `name`-VARIANT.

    `build` makes the network of a variant for so many joints and images of a size (W, H), and raises
    ValueError with the variants there are. `example` is a name for messages and help, `smallest` the name of
    the smallest network, for runs of seconds. `codec` is the name of the codec that reads its outputs.
    """

    name: str
    build: Callable[[str, int, Size], nn.Module]
    example: str
    smallest: str
    codec: str = "heatmap"
