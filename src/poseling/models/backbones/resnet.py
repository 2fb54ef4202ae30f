"""ResNet with bottlenecks (He et al., CVPR 2016), its stride in the 3x3 convolution, as SimpleBaseline and
torchvision have it.

Without their classifier of 2.049 M, ResNet-50, 101 and 152 have 23.51 M, 42.50 M and 58.14 M parameters.
Members are named as in torchvision's files.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from poseling.models.backbones.blocks import initialise

BLOCKS = {
    50: (3, 4, 6, 3),
    101: (3, 4, 23, 3),
    152: (3, 8, 36, 3),
}  # bottlenecks of each stage, by the network's depth
EXPANSION = 4


class Bottleneck(nn.Module):
    """1x1, 3x3 with the stride, 1x1 to four times `width`, each with batch norm: (B, in, H, W) -> (B, 4
    width, H/stride, W/stride).
    """

    def __init__(self, channels_in: int, width: int, stride: int) -> None:
        super().__init__()
        channels_out = EXPANSION * width
        self.conv1 = nn.Conv2d(channels_in, width, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, channels_out, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(channels_out)
        self.downsample: nn.Module = nn.Identity()
        if stride > 1 or channels_in != channels_out:
            self.downsample = nn.Sequential(
                nn.Conv2d(channels_in, channels_out, 1, stride, bias=False), nn.BatchNorm2d(channels_out)
            )

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.bn1(self.conv1(x)), inplace=True)
        y = F.relu(self.bn2(self.conv2(y)), inplace=True)
        y = self.bn3(self.conv3(y))
        return F.relu(y + self.downsample(x), inplace=True)


class ResNet(nn.Module):
    """Images (B, 3, H, W) to maps of 256, 512, 1024 and 2048 channels at strides 4, 8, 16 and 32; `depth` is
    50, 101 or 152.
    """

    def __init__(self, depth: int = 50) -> None:
        super().__init__()
        if depth not in BLOCKS:
            raise ValueError(
                f"there is no ResNet-{depth} with bottlenecks; there is {', '.join(map(str, BLOCKS))}"
            )
        self.name = f"resnet{depth}"
        self.conv1 = nn.Conv2d(3, 64, 7, stride=2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        widths = (64, 128, 256, 512)
        self.channels: tuple[int, ...] = tuple(EXPANSION * width for width in widths)
        before = (64, *self.channels)
        self.layer1, self.layer2, self.layer3, self.layer4 = (
            nn.Sequential(
                Bottleneck(before[s], width, stride=1 if s == 0 else 2),
                *(Bottleneck(EXPANSION * width, width, stride=1) for _ in range(BLOCKS[depth][s] - 1)),
            )
            for s, width in enumerate(widths)
        )
        initialise(self)

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        x = F.relu(self.bn1(self.conv1(images)), inplace=True)
        x = F.max_pool2d(x, 3, stride=2, padding=1)
        a = self.layer1(x)
        b = self.layer2(a)
        c = self.layer3(b)
        return a, b, c, self.layer4(c)
