"""The networks by name: `hourglass-4x128` is four stacks of 128 channels. A dict you can see."""

from __future__ import annotations

import re
from collections.abc import Callable

from torch import nn

from poseling.models.hourglass import Hourglass


def _hourglass(variant: str, joints: int) -> nn.Module:
    match = re.fullmatch(r"(\d+)x(\d+)", variant)
    if match is None:
        raise ValueError(f"hourglass-{variant}: name stacks and channels, as in hourglass-4x128")
    return Hourglass(joints, stacks=int(match[1]), width=int(match[2]))


MODELS: dict[str, Callable[[str, int], nn.Module]] = {"hourglass": _hourglass}


def build(name: str, joints: int) -> nn.Module:
    """The network called `name`, with random weights; ValueError if the zoo has none of that name.

    Every network takes pictures (B, 3, H, W) and gives heatmaps (B, S, K, h, w), the last of the S being its answer.
    """
    family, _, variant = name.partition("-")
    if family not in MODELS:
        raise ValueError(f"no network is called {name!r}; there is {', '.join(f'{m}-VARIANT' for m in MODELS)}, for example hourglass-4x128")
    return MODELS[family](variant, joints)


def is_name(name: str) -> bool:
    """Whether `name` asks for a network of the zoo rather than for a file."""
    return name.partition("-")[0] in MODELS and "." not in name and "/" not in name
