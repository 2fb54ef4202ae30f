"""SimCC: each coordinate is a classification of its own into bins of half a pixel (Li et al., ECCV 2022).

The head is that paper's for a backbone without deconvolutions: a 1x1 convolution to a map for each joint at
stride 32, flattened, and one linear layer to the 2 W bins of x, one to the 2 H bins of y, the same two for
all joints. RTMPose's 7x7 convolution and attention unit are not in it. At 256x192 the vector that a joint's
bins are made of has 48 numbers, at 128x128 only 16.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from poseling.geometry import Size
from poseling.models import backbones
from poseling.models.family import Family

SPLIT = 2  # bins a pixel


class Head(nn.Module):
    """Features (B, C, h, w) to bins (B, K, 2W + 2H): those of x, then those of y, as logits; `size` is that
    of the images, (W, H).
    """

    def __init__(self, channels: int, joints: int, size: Size, stride: int = 32) -> None:
        super().__init__()
        cells = (size[0] // stride) * (size[1] // stride)
        self.maps = nn.Conv2d(channels, joints, 1)
        self.x = nn.Linear(cells, SPLIT * size[0])
        self.y = nn.Linear(cells, SPLIT * size[1])

    def forward(self, features: Tensor) -> Tensor:
        cells = self.maps(features).flatten(2)
        return torch.cat([self.x(cells), self.y(cells)], -1)


class SimCC(nn.Module):
    """Images (B, 3, H, W) of the one `size` (W, H) that it was built for to bins (B, 1, K, 2W + 2H)."""

    def __init__(self, joints: int, backbone: str = "mobilenetv2", size: Size = (256, 256)) -> None:
        super().__init__()
        self.backbone = backbones.build(backbone, size)
        self.features = nn.Identity()
        self.head = Head(backbones.channels(self.backbone)[-1], joints, size)

    def forward(self, images: Tensor) -> Tensor:
        bins: Tensor = self.head(self.features(self.backbone(images)[-1]))
        return bins.unsqueeze(1)


def build(variant: str, joints: int, size: Size) -> nn.Module:
    """`simcc-BACKBONE`; ValueError if no backbone has that name."""
    if not backbones.is_name(variant):
        raise ValueError(
            f"simcc-{variant}: name a backbone, {', '.join(backbones.BACKBONES)}, as in simcc-mobilenetv2"
        )
    return SimCC(joints, variant, size)


FAMILY = Family("simcc", build, example="simcc-mobilenetv2", smallest="simcc-mobilenetv2_050", codec="simcc")
