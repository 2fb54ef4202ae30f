"""HRNet up to its third stage, as TokenPose-B and -L use it (Sun et al., CVPR 2019; Li et al., ICCV 2021),
and the stem that TokenPose-S uses alone.

One map at stride 4: 32 or 48 channels of HRNet-W32 or -W48, 256 of the stem. The paper's HRNet ends with an
exchange that updates every branch; here the last exchange makes the finest map only, since nothing reads the
others.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

STEM_CHANNELS = 256
BLOCKS = 4  # residual blocks of every branch of a module, and of the stem
MODULES = 4  # of stage 3; stage 2 has one


def _conv(channels_in: int, channels_out: int, kernel: int, stride: int = 1) -> list[nn.Module]:
    return [
        nn.Conv2d(channels_in, channels_out, kernel, stride, kernel // 2, bias=False),
        nn.BatchNorm2d(channels_out),
    ]


class Bottleneck(nn.Module):
    """Residual block of ResNet-50, (B, in, H, W) -> (B, out, H, W), its 3x3 at a quarter of the width of its
    output.
    """

    def __init__(self, channels_in: int, channels_out: int) -> None:
        super().__init__()
        middle = channels_out // 4
        self.body = nn.Sequential(
            *_conv(channels_in, middle, 1),
            nn.ReLU(),
            *_conv(middle, middle, 3),
            nn.ReLU(),
            *_conv(middle, channels_out, 1),
        )
        self.skip = (
            nn.Identity()
            if channels_in == channels_out
            else nn.Sequential(*_conv(channels_in, channels_out, 1))
        )

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.body(x) + self.skip(x))


class Basic(nn.Module):
    """Residual block of two 3x3 convolutions, (B, C, H, W) -> (B, C, H, W)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.body = nn.Sequential(*_conv(channels, channels, 3), nn.ReLU(), *_conv(channels, channels, 3))

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.body(x) + x)


class Stem(nn.Module):
    """Images (B, 3, H, W) -> (B, `channels`, H/4, W/4): two 3x3 convolutions of stride 2 and four
    bottlenecks, HRNet's first stage.
    """

    def __init__(self, channels: int = STEM_CHANNELS) -> None:
        super().__init__()
        self.convs = nn.Sequential(*_conv(3, 64, 3, 2), nn.ReLU(), *_conv(64, 64, 3, 2), nn.ReLU())
        self.blocks = nn.Sequential(
            Bottleneck(64, channels), *(Bottleneck(channels, channels) for _ in range(BLOCKS - 1))
        )

    def forward(self, images: Tensor) -> Tensor:
        return self.blocks(self.convs(images))


def _up(channels_in: int, channels_out: int, times: int) -> nn.Module:
    return nn.Sequential(*_conv(channels_in, channels_out, 1), nn.Upsample(scale_factor=float(times)))


def _down(channels_in: int, channels_out: int, halvings: int) -> nn.Module:
    layers: list[nn.Module] = []
    for _ in range(halvings - 1):
        layers += [*_conv(channels_in, channels_in, 3, 2), nn.ReLU()]
    return nn.Sequential(*layers, *_conv(channels_in, channels_out, 3, 2))


class Module(nn.Module):
    """Four basic blocks in each branch, then every branch gets the sum of all, brought to its own resolution;
    branch b is (B, C_b, h / 2^b, w / 2^b).

    With `finest` only the first branch does.
    """

    def __init__(self, channels: tuple[int, ...], finest: bool = False) -> None:
        super().__init__()
        self.branches = nn.ModuleList(nn.Sequential(*(Basic(c) for _ in range(BLOCKS))) for c in channels)
        self.exchange = nn.ModuleList(
            nn.ModuleList(
                _up(source, target, 2 ** (j - i))
                if j > i
                else _down(source, target, i - j)
                if j < i
                else nn.Identity()
                for j, source in enumerate(channels)
            )
            for i, target in enumerate(channels[:1] if finest else channels)
        )

    def forward(self, maps: list[Tensor]) -> list[Tensor]:
        maps = [branch(x) for branch, x in zip(self.branches, maps, strict=True)]
        results = []
        for row in self.exchange:
            assert isinstance(row, nn.ModuleList)
            total = row[0](maps[0])
            for convert, x in zip(row[1:], maps[1:], strict=True):
                total = total + convert(x)
            results.append(F.relu(total))
        return results


class HRNet(nn.Module):
    """Images (B, 3, H, W) -> (B, width, H/4, W/4); H and W are multiples of 16. `stem` is the width of the
    first stage.

    >>> import torch
    >>> HRNet(32).eval()(torch.zeros(1, 3, 64, 32)).shape
    torch.Size([1, 32, 16, 8])
    """

    def __init__(self, width: int, stem: int = STEM_CHANNELS) -> None:
        super().__init__()
        channels = (width, 2 * width, 4 * width)
        self.stem = Stem(stem)
        self.enter2 = nn.ModuleList(
            nn.Sequential(*_conv(stem, c, 3, stride), nn.ReLU())
            for c, stride in zip(channels[:2], (1, 2), strict=True)
        )
        self.stage2 = Module(channels[:2])
        self.enter3 = nn.Sequential(*_conv(channels[1], channels[2], 3, 2), nn.ReLU())
        self.stage3 = nn.ModuleList(Module(channels, finest=m == MODULES - 1) for m in range(MODULES))

    def forward(self, images: Tensor) -> Tensor:
        x = self.stem(images)
        maps = self.stage2([enter(x) for enter in self.enter2])
        maps = [*maps, self.enter3(maps[-1])]
        for module in self.stage3:
            maps = module(maps)
        return maps[0]
