"""The backbones by name. Each takes images (B, 3, H, W), gives four maps, at strides 4, 8, 16 and 32, and
has their `channels`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

from torch import nn

from poseling.geometry import Size
from poseling.models.backbones.efficientformer import EfficientFormer
from poseling.models.backbones.efficientformerv2 import EfficientFormerV2
from poseling.models.backbones.efficientnet_lite import EfficientNetLite
from poseling.models.backbones.mobilenet import MobileNetV2, MobileNetV3
from poseling.models.backbones.pelee import PeleeNet
from poseling.models.backbones.resnet import ResNet
from poseling.models.backbones.timm import PREFIX, TimmBackbone
from poseling.models.family import divided

# The size of the images, (W, H), is for those whose position embedding depends on it; convolutions do
# without.
BACKBONES: dict[str, Callable[[Size], nn.Module]] = {
    "resnet50": lambda size: ResNet(50),
    "resnet101": lambda size: ResNet(101),
    "resnet152": lambda size: ResNet(152),
    "peleenet": lambda size: PeleeNet(),
    "mobilenetv2": lambda size: MobileNetV2(1.0),
    "mobilenetv2_050": lambda size: MobileNetV2(0.5),
    "mobilenetv3_large": lambda size: MobileNetV3(large=True),
    "mobilenetv3_small": lambda size: MobileNetV3(large=False),
    "efficientnet_lite0": lambda size: EfficientNetLite(0),
    "efficientnet_lite1": lambda size: EfficientNetLite(1),
    "efficientnet_lite2": lambda size: EfficientNetLite(2),
    "efficientformer_l1": lambda size: EfficientFormer("l1", size),
    "efficientformer_l3": lambda size: EfficientFormer("l3", size),
    "efficientformerv2_s0": EfficientFormerV2,
}


def is_name(name: str) -> bool:
    """Whether a backbone is called that, or timm is asked for one."""
    return name in BACKBONES or name.startswith(PREFIX)


def build(name: str, size: Size) -> nn.Module:
    """The backbone called `name` for images of `size` (W, H), with random weights; `timm_NAME` is one of timm's.

    ValueError if none has that name, or if a side is no multiple of the last map's stride, 32.
    """
    if not is_name(name):
        raise ValueError(
            f"no backbone is called {name!r}; there is {', '.join(BACKBONES)}, and {PREFIX}NAME for timm's"
        )
    divided(name, size, 32)
    return BACKBONES[name](size) if name in BACKBONES else TimmBackbone(name.removeprefix(PREFIX))


def channels(backbone: nn.Module) -> tuple[int, ...]:
    """The channels of a backbone's maps, the finest first."""
    return cast("tuple[int, ...]", backbone.channels)


# Those of one row of layers, which `cut` can end earlier.
CUT = (
    "mobilenetv2",
    "mobilenetv2_050",
    "mobilenetv3_large",
    "mobilenetv3_small",
    "efficientnet_lite0",
    "efficientnet_lite1",
    "efficientnet_lite2",
)


def cut(backbone: nn.Module) -> nn.Module:
    """A backbone of one row of `features` without what follows stride 16: maps at strides 4, 8 and 16.
    `left_out` begins the names of the weights that the whole one has besides. ValueError for a backbone that
    is no such row.
    """
    row: Any = backbone  # torch's stubs take every member for a tensor or a module
    if not (isinstance(getattr(row, "features", None), nn.Sequential) and hasattr(row, "ends")):
        raise ValueError(
            f"{getattr(row, 'name', type(row).__name__)} is not one row of layers that could end at stride "
            f"16; take one of {', '.join(CUT)}"
        )
    kept = row.ends[2] + 1
    row.left_out = tuple(f"features.{i}." for i in range(kept, len(row.features)))
    row.features, row.ends, row.channels = row.features[:kept], row.ends[:3], row.channels[:3]
    return backbone
