"""VNect: 2D and 3D joints, read from maps (Mehta et al., "VNect: real-time 3D human
pose estimation with a single RGB camera", SIGGRAPH 2017).

ResNet-50 up to res4f, at stride 16, then the paper's own blocks 5a, 5b and 5c to maps at stride 8. Of each
joint there is a heatmap, three location maps with X, Y and Z from the root, and three with the vector from
its parent, which the last layers read together with its length.

With 21 joints `vnect-50` has 14.60 M weights in convolutions, which is the 14.6 M that papers quote, and 0.04
M in batch norm; 12.05 GMAC at 368x368 and 5.83 at 256x256. It would have 12.47 and 6.03 with the strides of
its ResNet where torchvision has them. `vnect-BACKBONE` puts the same head on another backbone's map at stride
16.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from poseling.geometry import Size
from poseling.models import backbones
from poseling.models.backbones import CUT, channels, cut
from poseling.models.backbones.blocks import ConvNormAct, initialise
from poseling.models.backbones.resnet import Bottleneck, ResNet
from poseling.models.family import Family, divided

DEPTHS = ("50", "101", "152")
STRIDE = 16  # of the map that the head reads; its own are at half of it
SPREAD = 0.001  # standard deviation of the first weights of what gives maps, as in SimpleBaseline
LENGTH = 1e-6  # added below the root, which has no slope at a bone of length 0


class Backbone(ResNet):
    """Images (B, 3, H, W) to maps of 256, 512 and 1024 channels at strides 4, 8 and 16, as Caffe's ResNet
    gives them, from which VNect was made.

    There the first 1x1 convolution of a stage has the stride, not the 3x3, and the pooling has no border on
    the left and above. `left_out` begins the names of the weights that a whole ResNet has besides.
    """

    def __init__(self, depth: int) -> None:
        super().__init__(depth)
        del self.layer4
        self.left_out = ("layer4.",)
        self.channels = self.channels[:3]
        for stage in (self.layer2, self.layer3):
            first = stage[0]
            assert isinstance(first, Bottleneck)
            first.conv1.stride, first.conv2.stride = first.conv2.stride, first.conv1.stride

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        x = F.relu(self.bn1(self.conv1(images)), inplace=True)
        a = self.layer1(F.max_pool2d(x, 3, stride=2, ceil_mode=True))
        b = self.layer2(a)
        return a, b, self.layer3(b)


class Head(nn.Module):
    """The map (B, C, h, w) at stride 16 to maps (B, K, 7, 2h, 2w): of each joint H, X, Y, Z, and dX, dY, dZ
    from its parent.
    """

    def __init__(self, channels: int, joints: int) -> None:
        super().__init__()
        self.res5a = nn.Sequential(
            ConvNormAct(channels, 512, 1), ConvNormAct(512, 512), ConvNormAct(512, 1024, 1, activation=None)
        )
        self.shortcut = ConvNormAct(channels, 1024, 1, activation=None)
        self.res5b = nn.Sequential(ConvNormAct(1024, 256, 1), ConvNormAct(256, 128), ConvNormAct(128, 256, 1))
        self.up = nn.ConvTranspose2d(256, 128, 4, stride=2, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(128)
        self.vectors = nn.ConvTranspose2d(256, 3 * joints, 4, stride=2, padding=1, bias=False)
        self.res5c = ConvNormAct(128 + 4 * joints, 128)
        self.maps = nn.Conv2d(128, 4 * joints, 1, bias=False)
        initialise(self)
        for layer in (self.up, self.vectors, self.maps):
            nn.init.normal_(layer.weight, std=SPREAD)

    def forward(self, features: Tensor) -> Tensor:
        x = self.res5b(F.relu(self.res5a(features) + self.shortcut(features)))
        vectors = self.vectors(x)
        lengths = (vectors.unflatten(1, (3, -1)).square().sum(1) + LENGTH).sqrt()
        x = self.res5c(torch.cat((F.relu(self.norm(self.up(x))), vectors, lengths), 1))
        return by_joint(self.maps(x), vectors)


def by_joint(maps: Tensor, vectors: Tensor) -> Tensor:
    """Maps (B, 4K, h, w), first all H, then all X, Y and Z, and vectors (B, 3K, h, w), first all dX, then all
    dY and dZ, to (B, K, 7, h, w).
    """
    return torch.unflatten(torch.cat((maps, vectors), 1), 1, (7, -1)).transpose(1, 2)


class VNect(nn.Module):
    """Images (B, 3, H, W) to maps (B, 1, K, 7, H/8, W/8): of each joint H, X, Y, Z, and dX, dY, dZ from its
    parent; H and W are multiples of 16.
    """

    def __init__(self, joints: int, backbone: nn.Module | None = None) -> None:
        super().__init__()
        self.backbone = backbone or Backbone(50)
        self.features = nn.Identity()
        self.head = Head(channels(self.backbone)[-1], joints)

    def forward(self, images: Tensor) -> Tensor:
        maps: Tensor = self.head(self.features(self.backbone(images)[-1]))
        return maps.unsqueeze(1)


def build(variant: str, joints: int, size: Size) -> nn.Module:
    """`vnect-50`, the paper's, or `-101` or `-152` on that ResNet, or `vnect-BACKBONE`; ValueError if there
    is none of that name, or if a side is no multiple of 16.
    """
    divided(f"vnect-{variant}", size, STRIDE)
    if variant in DEPTHS:
        return VNect(joints, Backbone(int(variant)))
    if variant not in CUT:
        raise ValueError(
            f"vnect-{variant}: name the depth of its ResNet or a backbone, as in "
            f"{', '.join(f'vnect-{name}' for name in (*DEPTHS, *CUT))}"
        )
    return VNect(joints, cut(backbones.BACKBONES[variant](size)))


FAMILY = Family("vnect", build, example="vnect-50", smallest="movnect-tiny", codec="location_map")
