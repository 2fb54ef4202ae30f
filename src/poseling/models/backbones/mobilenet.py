"""MobileNetV2 (Sandler et al., CVPR 2018) and MobileNetV3 (Howard et al., ICCV 2019).

The last map is that of the 1x1 convolution before the pooling: 1280 channels in V2, 960 in V3-Large and 576
in V3-Small. Without the classifier V2 has 2.224 M parameters, V2 at half width 0.688 M, V3-Large 2.972 M and
V3-Small 0.927 M. Members are named as in torchvision's files.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from torch import Tensor, nn

from poseling.models.backbones.blocks import ConvNormAct, divisible, initialise, pyramid, stride_ends

Make = Callable[..., nn.Module]

# V2's stages: expansion, channels, blocks, stride of the first block.
V2 = (
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)
V2_STEM, V2_LAST = 32, 1280

# V3's blocks: kernel, channels inside, channels out, squeeze-and-excitation, hard swish (else ReLU), stride.
V3_LARGE = (
    (3, 16, 16, False, False, 1),
    (3, 64, 24, False, False, 2),
    (3, 72, 24, False, False, 1),
    (5, 72, 40, True, False, 2),
    (5, 120, 40, True, False, 1),
    (5, 120, 40, True, False, 1),
    (3, 240, 80, False, True, 2),
    (3, 200, 80, False, True, 1),
    (3, 184, 80, False, True, 1),
    (3, 184, 80, False, True, 1),
    (3, 480, 112, True, True, 1),
    (3, 672, 112, True, True, 1),
    (5, 672, 160, True, True, 2),
    (5, 960, 160, True, True, 1),
    (5, 960, 160, True, True, 1),
)
V3_SMALL = (
    (3, 16, 16, True, False, 2),
    (3, 72, 24, False, False, 2),
    (3, 88, 24, False, False, 1),
    (5, 96, 40, True, True, 2),
    (5, 240, 40, True, True, 1),
    (5, 240, 40, True, True, 1),
    (5, 120, 48, True, True, 1),
    (5, 144, 48, True, True, 1),
    (5, 288, 96, True, True, 2),
    (5, 576, 96, True, True, 1),
    (5, 576, 96, True, True, 1),
)
V3_STEM = 16
V3_NORM = partial(nn.BatchNorm2d, eps=1e-3, momentum=0.01)

RELU6, RELU, HARD_SWISH = (partial(kind, inplace=True) for kind in (nn.ReLU6, nn.ReLU, nn.Hardswish))


class InvertedResidual(nn.Module):
    """V2's block: 1x1 wider, depthwise, 1x1 narrow without activation, added to its input where the shapes
    allow: (B, in, H, W) -> (B, out, H/stride, W/stride).
    """

    def __init__(
        self,
        channels_in: int,
        channels_out: int,
        stride: int,
        expansion: int,
        kernel: int = 3,
        norm: Make = nn.BatchNorm2d,
        conv: type[nn.Conv2d] = nn.Conv2d,
    ) -> None:
        super().__init__()
        self.adds = stride == 1 and channels_in == channels_out
        wide = channels_in * expansion
        layers: list[nn.Module] = []
        if expansion > 1:
            layers.append(ConvNormAct(channels_in, wide, 1, norm=norm, activation=RELU6))
        layers.append(
            ConvNormAct(wide, wide, kernel, stride, groups=wide, norm=norm, activation=RELU6, conv=conv)
        )
        layers += [nn.Conv2d(wide, channels_out, 1, bias=False), norm(channels_out)]
        self.conv = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv(x) if self.adds else self.conv(x)


class MobileNetV2(nn.Module):
    """Images (B, 3, H, W) to four maps at strides 4, 8, 16 and 32, of 24, 32, 96 and 1280 channels at `width`
    1.

    `width` scales all layers but the last, which no width below 1 makes narrower.
    """

    def __init__(self, width: float = 1.0) -> None:
        super().__init__()
        self.name = "mobilenetv2" if width == 1 else f"mobilenetv2_{round(100 * width):03d}"
        channels = divisible(V2_STEM * width)
        layers: list[nn.Module] = [ConvNormAct(3, channels, 3, 2, activation=RELU6)]
        outs, strides = [channels], [2]
        for expansion, full, blocks, first in V2:
            out = divisible(full * width)
            for stride in (first, *[1] * (blocks - 1)):
                layers.append(InvertedResidual(channels, out, stride, expansion))
                channels = out
                outs.append(out)
                strides.append(stride)
        outs.append(divisible(V2_LAST * max(width, 1.0)))
        strides.append(1)
        layers.append(ConvNormAct(channels, outs[-1], 1, activation=RELU6))
        self.features = nn.Sequential(*layers)
        self.ends = stride_ends(strides)
        self.channels: tuple[int, ...] = tuple(outs[i] for i in self.ends)
        initialise(self)

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        return pyramid(self.features, self.ends, images)


FLAT = "features.1.conv.0.weight"  # only where blocks are one flat sequence
# From places in that sequence to torchvision's, for blocks of two convolutions and of three.
TWO = {"0": "0.0", "1": "0.1", "3": "1", "4": "2"}
THREE = {"0": "0.0", "1": "0.1", "3": "1.0", "4": "1.1", "6": "2", "7": "3"}


def from_flat(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """MobileNetV2's weights in torchvision's names, from those of a network whose blocks are one flat sequence,
    as in the PyTorch port that most packages carry (tonylins/pytorch-mobilenet-v2, Apache-2.0).
    """
    wide = {name.split(".")[1] for name in state if ".conv.6." in name}
    out = {}
    for name, tensor in state.items():
        parts = name.split(".")
        if parts[2:3] == ["conv"]:
            parts[3] = (THREE if parts[1] in wide else TWO)[parts[3]]
        out[".".join(parts)] = tensor
    return out


class SqueezeExcite(nn.Module):
    """Each channel times a factor in 0..1 that the means of all channels decide: (B, C, H, W) -> (B, C, H,
    W).
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        squeezed = divisible(channels / 4)
        self.fc1 = nn.Conv2d(channels, squeezed, 1)
        self.fc2 = nn.Conv2d(squeezed, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        means = x.mean((2, 3), keepdim=True)
        return x * nn.functional.hardsigmoid(self.fc2(nn.functional.relu(self.fc1(means))))


class BlockV3(nn.Module):
    """V3's inverted residual, with a squeeze-and-excitation after the depthwise convolution if `squeeze`."""

    def __init__(
        self,
        channels_in: int,
        kernel: int,
        wide: int,
        channels_out: int,
        squeeze: bool,
        hard_swish: bool,
        stride: int,
    ) -> None:
        super().__init__()
        self.adds = stride == 1 and channels_in == channels_out
        activation = HARD_SWISH if hard_swish else RELU
        layers: list[nn.Module] = []
        if wide != channels_in:
            layers.append(ConvNormAct(channels_in, wide, 1, norm=V3_NORM, activation=activation))
        layers.append(
            ConvNormAct(wide, wide, kernel, stride, groups=wide, norm=V3_NORM, activation=activation)
        )
        if squeeze:
            layers.append(SqueezeExcite(wide))
        layers.append(ConvNormAct(wide, channels_out, 1, norm=V3_NORM, activation=None))
        self.block = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.block(x) if self.adds else self.block(x)


class MobileNetV3(nn.Module):
    """Images (B, 3, H, W) to four maps at strides 4, 8, 16 and 32: of 24, 40, 112 and 960 channels if
    `large`, else of 16, 24, 48 and 576.
    """

    def __init__(self, large: bool = True) -> None:
        super().__init__()
        self.name = "mobilenetv3_large" if large else "mobilenetv3_small"
        channels = V3_STEM
        layers: list[nn.Module] = [ConvNormAct(3, channels, 3, 2, norm=V3_NORM, activation=HARD_SWISH)]
        outs, strides = [channels], [2]
        for kernel, wide, out, squeeze, hard_swish, stride in V3_LARGE if large else V3_SMALL:
            layers.append(BlockV3(channels, kernel, wide, out, squeeze, hard_swish, stride))
            channels = out
            outs.append(out)
            strides.append(stride)
        outs.append(6 * channels)
        strides.append(1)
        layers.append(ConvNormAct(channels, outs[-1], 1, norm=V3_NORM, activation=HARD_SWISH))
        self.features = nn.Sequential(*layers)
        self.ends = stride_ends(strides)
        self.channels: tuple[int, ...] = tuple(outs[i] for i in self.ends)
        initialise(self)

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        return pyramid(self.features, self.ends, images)
