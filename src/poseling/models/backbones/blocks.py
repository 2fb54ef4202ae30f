"""What several backbones are made of."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable

from torch import Tensor, nn


class ConvNormAct(nn.Sequential):
    """Convolution that keeps H/stride x W/stride, batch norm, activation: members 0, 1, 2, as torchvision's
    files name them.

    `norm` makes the batch norm of so many channels, `activation` the activation or, as None, none; `conv` is
    the class of the convolution.
    """

    def __init__(
        self,
        channels_in: int,
        channels_out: int,
        kernel: int = 3,
        stride: int = 1,
        groups: int = 1,
        norm: Callable[[int], nn.Module] = nn.BatchNorm2d,
        activation: Callable[[], nn.Module] | None = nn.ReLU,
        conv: type[nn.Conv2d] = nn.Conv2d,
    ) -> None:
        layers = [
            conv(channels_in, channels_out, kernel, stride, kernel // 2, groups=groups, bias=False),
            norm(channels_out),
        ]
        if activation is not None:
            layers.append(activation())
        super().__init__(*layers)


def pyramid(layers: Iterable[nn.Module], ends: tuple[int, ...], x: Tensor) -> tuple[Tensor, ...]:
    """`layers` one after the other on `x` (B, C, H, W); the outputs of those whose index is in `ends`."""
    maps = []
    for i, layer in enumerate(layers):
        x = layer(x)
        if i in ends:
            maps.append(x)
    return tuple(maps)


def stride_ends(strides: list[int]) -> tuple[int, ...]:
    """The index of the last layer at strides 4, 8, 16 and 32, where layer i divides the resolution by
    `strides[i]`.

    >>> stride_ends([2, 1, 2, 1, 2, 2, 1, 1, 2])
    (3, 4, 7, 8)
    """
    total, last = 1, {}
    for i, stride in enumerate(strides):
        total *= stride
        last[total] = i
    return tuple(last[stride] for stride in (4, 8, 16, 32))


def divisible(channels: float, divisor: int = 8) -> int:
    """`channels` to the nearest multiple of `divisor`, never less than 0.9 of it: how MobileNet and
    EfficientNet round scaled widths.

    >>> divisible(16 * 0.5), divisible(24 * 0.5), divisible(112 * 1.1)
    (8, 16, 120)
    """
    rounded = max(divisor, int(channels + divisor / 2) // divisor * divisor)
    return rounded if rounded >= 0.9 * channels else rounded + divisor


def initialise(network: nn.Module) -> None:
    """He's normal initialisation, by what goes out, of all convolutions; a depthwise one counts what its own
    group gives, as in EfficientNet.
    """
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            fan_out = math.prod(module.kernel_size) * module.out_channels // module.groups
            nn.init.normal_(module.weight, std=math.sqrt(2 / fan_out))
            if module.bias is not None:
                nn.init.zeros_(module.bias)
