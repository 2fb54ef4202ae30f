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


def divided(name: str, size: Size, by: int) -> None:
    """ValueError if a side of `size` (W, H) is no multiple of `by`, which the network called `name` needs.

    >>> divided("hourglass-2x64", (128, 160), 64)
    Traceback (most recent call last):
    ValueError: hourglass-2x64 takes images whose sides are multiples of 64, and not 128x160; try 128x128
    """
    if any(side <= 0 or side % by for side in size):
        near = "x".join(str(max(round(side / by), 1) * by) for side in size)
        raise ValueError(
            f"{name} takes images whose sides are multiples of {by}, and not {size[0]}x{size[1]}; try {near}"
        )
