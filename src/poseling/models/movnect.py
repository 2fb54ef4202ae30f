"""MoVNect: a VNect for phones, distilled from it (Hwang et al., "Lightweight 3D human pose estimation network
training using teacher-student learning", WACV 2020).

MobileNetV2 up to its twelfth block, at stride 16, then three blocks with depthwise convolutions to maps at
stride 8. `movnect-medium` is the paper's; of the others all widths, the backbone's too, are multiplied by one
factor. With 15 joints at 256x256:

| name | factor | M params | GMAC |
|---|---|---|---|
| tiny | 0.25 | 0.10 | 0.08 |
| small | 0.5 | 0.32 | 0.21 |
| medium | 1 | 1.12 | 0.68 |
| large | 1.5 | 2.42 | 1.45 |

`movnect-BACKBONE` puts the head of `medium` on another backbone's map at stride 16; `efficientnet_lite0` to 2
come with weights trained on ImageNet, which the paper's MobileNetV2 had too, and which short runs need.

The paper quotes 1.03 M parameters and 1.35 GFLOPs, which are twice 0.68 GMAC; its layers come to 1.10 M
weights in convolutions and 0.02 M in batch norm.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from poseling.geometry import Size
from poseling.models import backbones
from poseling.models.backbones import CUT, channels, cut
from poseling.models.backbones.blocks import ConvNormAct, divisible, initialise
from poseling.models.backbones.mobilenet import MobileNetV2
from poseling.models.family import Family, divided
from poseling.models.vnect import SPREAD, STRIDE, by_joint

WIDTHS = {"tiny": 0.25, "small": 0.5, "medium": 1.0, "large": 1.5}


class Separable(nn.Sequential):
    """1x1 to `inside` channels, 3x3 on each channel alone, 1x1 to `channels_out`, the last with ReLU if
    `activates`.
    """

    def __init__(self, channels_in: int, inside: int, channels_out: int, activates: bool = True) -> None:
        super().__init__(
            ConvNormAct(channels_in, inside, 1),
            ConvNormAct(inside, inside, groups=inside),
            ConvNormAct(inside, channels_out, 1, activation=nn.ReLU if activates else None),
        )


class Head(nn.Module):
    """The map (B, C, h, w) at stride 16 to maps (B, K, 7, 2h, 2w): of each joint H, X, Y, Z, and dX, dY, dZ
    from its parent.
    """

    def __init__(self, channels: int, joints: int, width: float) -> None:
        super().__init__()
        inside_a, out_a, b, up = (divisible(full * width) for full in (368, 256, 192, 128))
        self.block13a = Separable(channels, inside_a, out_a, activates=False)
        self.shortcut = ConvNormAct(channels, out_a, 1, activation=None)
        self.block13b = Separable(out_a, b, b)
        self.up = ConvNormAct(b, up)
        self.vectors = nn.Conv2d(b, 3 * joints, 3, padding=1)
        self.block14 = nn.Sequential(ConvNormAct(up + 4 * joints, up, 1), ConvNormAct(up, up, groups=up))
        self.maps = nn.Conv2d(up, 4 * joints, 1)
        initialise(self)
        for layer in (self.vectors, self.maps):
            nn.init.normal_(layer.weight, std=SPREAD)

    def forward(self, features: Tensor) -> Tensor:
        x = self.block13b(F.relu(self.block13a(features) + self.shortcut(features)))
        x = F.interpolate(x, scale_factor=2.0, mode="bilinear", align_corners=False)
        vectors = self.vectors(x)
        lengths = vectors.unflatten(1, (3, -1)).abs().sum(1)
        x = self.block14(torch.cat((self.up(x), vectors, lengths), 1))
        return by_joint(self.maps(x), vectors)


class MoVNect(nn.Module):
    """Images (B, 3, H, W) to maps (B, 1, K, 7, H/8, W/8): of each joint H, X, Y, Z, and dX, dY, dZ from its
    parent; H and W are multiples of 16.
    """

    def __init__(self, joints: int, width: float = 1.0, backbone: nn.Module | None = None) -> None:
        super().__init__()
        self.backbone = cut(backbone or MobileNetV2(width))
        self.features = nn.Identity()
        self.head = Head(channels(self.backbone)[-1], joints, width)

    def forward(self, images: Tensor) -> Tensor:
        maps: Tensor = self.head(self.features(self.backbone(images)[-1]))
        return maps.unsqueeze(1)


def build(variant: str, joints: int, size: Size) -> nn.Module:
    """`movnect-medium`, the paper's, `-tiny`, `-small` or `-large`, or `movnect-BACKBONE`; ValueError if
    there is none of that name, or if a side is no multiple of 16.
    """
    divided(f"movnect-{variant}", size, STRIDE)
    if variant in WIDTHS:
        return MoVNect(joints, WIDTHS[variant])
    if variant not in CUT:
        raise ValueError(f"movnect-{variant}: there is {', '.join(f'movnect-{v}' for v in (*WIDTHS, *CUT))}")
    return MoVNect(joints, backbone=backbones.BACKBONES[variant](size))


FAMILY = Family("movnect", build, example="movnect-medium", smallest="movnect-tiny", codec="location_map")
