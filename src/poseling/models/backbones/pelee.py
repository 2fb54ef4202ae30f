"""PeleeNet (Wang et al., NeurIPS 2018): a dense network of plain convolutions, each followed by batch norm
and ReLU.

2.10 M parameters, 2.80 M with its classifier, and 508 M multiply-adds at 224x224. Members are named as in the
files of its authors, who give such weights (Robert-JunWang/PeleeNet), so that `importers.imagenet.load_backbone` reads
them.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from poseling.models.backbones.blocks import initialise

STEM = 32
LAYERS = (3, 4, 8, 6)  # dense layers of each stage
BOTTLENECK = (1, 2, 4, 4)  # width of their 1x1, in units of WAY
WAY = 16  # channels that each of the two ways of a dense layer adds


class Conv(nn.Module):
    """Convolution, batch norm, ReLU: (B, in, H, W) -> (B, out, H/stride, W/stride)."""

    def __init__(self, channels_in: int, channels_out: int, kernel: int, stride: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels_in, channels_out, kernel, stride, kernel // 2, bias=False)
        self.norm = nn.BatchNorm2d(channels_out)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.norm(self.conv(x)), inplace=True)


class Stem(nn.Module):
    """Images (B, 3, H, W) -> (B, 32, H/4, W/4): after the first halving, one way pools and the other
    convolves.
    """

    def __init__(self) -> None:
        super().__init__()
        self.stem1 = Conv(3, STEM, 3, stride=2)
        self.stem2a = Conv(STEM, STEM // 2, 1)
        self.stem2b = Conv(STEM // 2, STEM, 3, stride=2)
        self.stem3 = Conv(2 * STEM, STEM, 1)

    def forward(self, images: Tensor) -> Tensor:
        x = self.stem1(images)
        return self.stem3(torch.cat([F.max_pool2d(x, 2), self.stem2b(self.stem2a(x))], 1))


class DenseLayer(nn.Module):
    """Two branches, over 3x3 and 5x5 pixels, add 16 channels each: (B, C, H, W) -> (B, C + 32, H, W)."""

    def __init__(self, channels: int, bottleneck: int) -> None:
        super().__init__()
        middle = WAY * bottleneck
        if middle > channels // 2:  # a bottleneck wider than half its input would cost more than it saves
            middle = channels // 8 * 4
        self.branch1a = Conv(channels, middle, 1)
        self.branch1b = Conv(middle, WAY, 3)
        self.branch2a = Conv(channels, middle, 1)
        self.branch2b = Conv(middle, WAY, 3)
        self.branch2c = Conv(WAY, WAY, 3)

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat(
            [x, self.branch1b(self.branch1a(x)), self.branch2c(self.branch2b(self.branch2a(x)))], 1
        )


class PeleeNet(nn.Module):
    """Images (B, 3, H, W) to maps of 128, 256, 512 and 704 channels at strides 4, 8, 16 and 32.

    >>> net = PeleeNet()
    >>> round(sum(p.numel() for p in net.parameters()) / 1e6, 3)
    2.097
    """

    def __init__(self) -> None:
        super().__init__()
        self.name = "peleenet"
        self.features = nn.ModuleDict({"stemblock": Stem()})
        channels, ends = STEM, []
        for stage, (layers, bottleneck) in enumerate(zip(LAYERS, BOTTLENECK, strict=True), 1):
            dense = {
                f"denselayer{i + 1}": DenseLayer(channels + 2 * WAY * i, bottleneck) for i in range(layers)
            }
            self.features[f"denseblock{stage}"] = nn.Sequential()
            for name, layer in dense.items():
                self.features[f"denseblock{stage}"].add_module(name, layer)
            channels += 2 * WAY * layers
            self.features[f"transition{stage}"] = Conv(channels, channels, 1)
            ends.append(channels)
        self.channels: tuple[int, ...] = tuple(ends)
        initialise(self)

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        x = self.features["stemblock"](images)
        maps: list[Tensor] = []
        for stage in range(1, len(LAYERS) + 1):
            if maps:
                x = F.avg_pool2d(x, 2)
            x = self.features[f"transition{stage}"](self.features[f"denseblock{stage}"](x))
            maps.append(x)
        return tuple(maps)
