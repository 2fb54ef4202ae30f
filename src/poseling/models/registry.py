"""The networks by name: `hourglass-4x128` is four stacks of 128 channels. A dict you can see. Those that
ship, trained, are in `poseling.zoo`.
"""

from __future__ import annotations

from collections.abc import Callable

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

MODELS: dict[str, Callable[[str, int, Size], nn.Module]] = {
    "hourglass": hourglass.build,
    "simple_baseline": simple_baseline.build,
    "kdlpn": kdlpn.build,
    "vitpose": vitpose.build,
    "vitpose_plus": vitpose.build_plus,
    "vitpose_mobile": vitpose_mobile.build,
    "tokenpose": tokenpose.build,
    "tokenpose_mobile": tokenpose_mobile.build,
    "simcc": simcc.build,
    "distilpose": distilpose.build,
    "distilpose_mobile": distilpose.build_mobile,
    "sdpose": sdpose.build,
    "sdpose_mobile": sdpose.build_mobile,
    "okdhp": okdhp.build,
    "vnect": vnect.build,
    "movnect": movnect.build,
    "simcc3d": simcc3d.build,
}
# One name of each family, for messages and help.
EXAMPLES = {
    "hourglass": "hourglass-4x128",
    "simple_baseline": "simple_baseline-50",
    "kdlpn": "kdlpn-256",
    "vitpose": "vitpose-b-simple",
    "vitpose_plus": "vitpose_plus-b",
    "vitpose_mobile": "vitpose_mobile-mobilenetv2-simple",
    "tokenpose": "tokenpose-s_v1",
    "tokenpose_mobile": "tokenpose_mobile-mobilenetv2",
    "simcc": "simcc-mobilenetv2",
    "distilpose": "distilpose-s",
    "distilpose_mobile": "distilpose_mobile-mobilenetv2",
    "sdpose": "sdpose-t",
    "sdpose_mobile": "sdpose_mobile-mobilenetv2",
    "okdhp": "okdhp-2x128",
    "vnect": "vnect-50",
    "movnect": "movnect-medium",
    "simcc3d": "simcc3d-mobilenetv2",
}
# The smallest of each family, for runs of seconds.
SMALLEST = {
    "hourglass": "hourglass-1x16",
    "simple_baseline": "simple_baseline-50",
    "kdlpn": "kdlpn-16",
    "vitpose": "vitpose-t-simple",
    "vitpose_plus": "vitpose_plus-t-simple",
    "vitpose_mobile": "vitpose_mobile-mobilenetv2_050-simple-32",
    "tokenpose": "tokenpose-t",
    "tokenpose_mobile": "tokenpose_mobile-mobilenetv2_050-1",
    "simcc": "simcc-mobilenetv2_050",
    "distilpose": "distilpose_mobile-mobilenetv2_050-1",
    "distilpose_mobile": "distilpose_mobile-mobilenetv2_050-1",
    "sdpose": "sdpose_mobile-mobilenetv2_050-1",
    "sdpose_mobile": "sdpose_mobile-mobilenetv2_050-1",
    "okdhp": "okdhp-1x16",
    "vnect": "movnect-tiny",
    "movnect": "movnect-tiny",
    "simcc3d": "simcc3d-mobilenetv2_050",
}
# What a family's outputs are, by the codec's name; heatmaps, unless said here.
CODEC_OF = {
    "simcc": "simcc",
    "distilpose": "coordinates",
    "distilpose_mobile": "coordinates",
    "vnect": "location_map",
    "movnect": "location_map",
    "simcc3d": "simcc3d",
}


def build(name: str, joints: int, size: Size = (256, 256)) -> nn.Module:
    """The network called `name` for images of `size` (W, H), with random weights; ValueError if there is none
    of that name.

    Every network takes images (B, 3, H, W) and gives one tensor (B, S, K, ...), the last of the S being its
    answer: heatmaps (B, S, K, H/4, W/4) but where `CODEC_OF` names another codec.
    """
    family, _, variant = name.partition("-")
    if family not in MODELS:
        raise ValueError(f"no network is called {name!r}; there is {', '.join(EXAMPLES.values())}")
    return MODELS[family](variant, joints, size)


def is_name(name: str) -> bool:
    """Whether `name` asks for an architecture rather than for a file."""
    return name.partition("-")[0] in MODELS and "." not in name and "/" not in name


def codec_of(name: str) -> str:
    """The name of the codec that reads this network's outputs."""
    return CODEC_OF.get(name.partition("-")[0], "heatmap")


def smallest(name: str) -> str:
    """The name of the smallest network of the family that `name` is of."""
    return SMALLEST[name.partition("-")[0]]
