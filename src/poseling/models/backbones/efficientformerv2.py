"""EfficientFormerV2-S0 (Li et al., ICCV 2023): depthwise convolutions inside the feed-forward parts,
attention in the two coarsest stages.

With its two classifiers it has 3.6 M parameters and 0.40 GMAC at 224x224; the paper has 3.5 M. Members are
named as in timm's files.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from poseling.geometry import Size
from poseling.models.backbones.efficientformer import LayerScale, OffsetBias, square

CHANNELS = (32, 48, 96, 176)
# How much wider each block of each stage is inside, as the authors' search found it.
WIDER = ((4, 4), (4, 4), (4, 3, 3, 3, 4, 4), (4, 3, 3, 4))
ATTENDING = 2  # blocks at the end of each of the last two stages
HEADS, RATIO = 8, 4  # a value has four times the channels of a key


class ConvNorm(nn.Module):
    """Convolution that keeps H / stride x W / stride, and batch norm; GELU behind it where `active`."""

    def __init__(
        self,
        channels_in: int,
        channels: int,
        kernel: int = 1,
        stride: int = 1,
        groups: int = 1,
        active: bool = False,
    ) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels_in, channels, kernel, stride, kernel // 2, groups=groups)
        self.bn = nn.BatchNorm2d(channels)
        self.active = active

    def forward(self, x: Tensor) -> Tensor:
        x = self.bn(self.conv(x))
        return F.gelu(x) if self.active else x


class Attention(nn.Module):
    """Self-attention over the pixels of a map (B, C, H, W) with `grid` (H, W), with heads that are mixed
    before and after the softmax.

    `halved` attends at half the resolution and comes back bilinearly.
    """

    def __init__(self, channels: int, grid: tuple[int, int], halved: bool, key: int = 32) -> None:
        super().__init__()
        values = HEADS * RATIO * key
        self.stride_conv = ConvNorm(channels, channels, 3, 2, channels) if halved else None
        self.q, self.k, self.v = (
            ConvNorm(channels, HEADS * key),
            ConvNorm(channels, HEADS * key),
            ConvNorm(channels, values),
        )
        self.v_local = ConvNorm(values, values, 3, groups=values)
        self.talking_head1, self.talking_head2 = nn.Conv2d(HEADS, HEADS, 1), nn.Conv2d(HEADS, HEADS, 1)
        self.proj = ConvNorm(values, channels)
        self.attention_biases = OffsetBias(
            HEADS, ((grid[0] + 1) // 2, (grid[1] + 1) // 2) if halved else grid
        )
        self.scale = key**-0.5

    def forward(self, x: Tensor) -> Tensor:
        if self.stride_conv is not None:
            x = self.stride_conv(x)
        value = self.v(x)
        q, k, v = (_heads(t) for t in (self.q(x), self.k(x), value))
        weights = self.talking_head1(q.mT @ k * self.scale + self.attention_biases()).softmax(-1)
        y = (v @ self.talking_head2(weights).mT).reshape(value.shape) + self.v_local(value)
        if self.stride_conv is not None:
            y = F.interpolate(y, scale_factor=2.0, mode="bilinear", align_corners=False)
        return self.proj(F.gelu(y))


class LocalQuery(nn.Module):
    """Queries at every second pixel of a map (B, in, H, W), (B, C, H/2, W/2): that pixel and a depthwise
    convolution around it.
    """

    def __init__(self, channels_in: int, channels: int) -> None:
        super().__init__()
        self.local = nn.Conv2d(channels_in, channels_in, 3, 2, 1, groups=channels_in)
        self.proj = ConvNorm(channels_in, channels)

    def forward(self, x: Tensor) -> Tensor:
        return self.proj(self.local(x) + x[..., ::2, ::2])


class AttentionDown(nn.Module):
    """A map (B, in, H, W) with `grid` (H, W) to (B, C, H/2, W/2), whose every pixel attends to all of the
    larger one.
    """

    def __init__(self, channels_in: int, channels: int, grid: tuple[int, int], key: int = 16) -> None:
        super().__init__()
        values = HEADS * RATIO * key
        self.q, self.k, self.v = (
            LocalQuery(channels_in, HEADS * key),
            ConvNorm(channels_in, HEADS * key),
            ConvNorm(channels_in, values),
        )
        self.v_local = ConvNorm(values, values, 3, 2, values)
        self.proj = ConvNorm(values, channels)
        self.attention_biases = OffsetBias(HEADS, grid, step=2)
        self.scale = key**-0.5

    def forward(self, x: Tensor) -> Tensor:
        value = self.v(x)
        local = self.v_local(value)
        q, k, v = (_heads(t) for t in (self.q(x), self.k(x), value))
        weights = (q.mT @ k * self.scale + self.attention_biases()).softmax(-1)
        return self.proj(F.gelu((v @ weights.mT).reshape(local.shape) + local))


def _heads(x: Tensor) -> Tensor:
    """(B, heads C, H, W) -> (B, heads, C, H W)"""
    return x.reshape(x.shape[0], HEADS, x.shape[1] // HEADS, -1)


class Perceptron(nn.Module):
    """1x1, depthwise 3x3 and 1x1 convolution over a map (B, C, H, W), `wider` times as wide between."""

    def __init__(self, channels: int, wider: int) -> None:
        super().__init__()
        inside = wider * channels
        self.fc1 = ConvNorm(channels, inside, active=True)
        self.mid = ConvNorm(inside, inside, 3, groups=inside, active=True)
        self.fc2 = ConvNorm(inside, channels)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(self.mid(self.fc1(x)))


class Block(nn.Module):
    """A map (B, C, H, W) to the same: attention, if it has any, and the feed-forward part."""

    def __init__(self, channels: int, wider: int, attention: Attention | None) -> None:
        super().__init__()
        self.token_mixer, self.ls1 = attention, None if attention is None else LayerScale(channels, True)
        self.mlp, self.ls2 = Perceptron(channels, wider), LayerScale(channels, True)

    def forward(self, x: Tensor) -> Tensor:
        if self.token_mixer is not None and self.ls1 is not None:
            x = x + self.ls1(self.token_mixer(x))
        return x + self.ls2(self.mlp(x))


class Down(nn.Module):
    """A map (B, in, H, W) to (B, C, H/2, W/2): a convolution, to which attention over `grid` (H, W) is added
    where one is given.
    """

    def __init__(self, channels_in: int, channels: int, grid: tuple[int, int] | None) -> None:
        super().__init__()
        self.conv = ConvNorm(channels_in, channels, 3, 2)
        self.attn = None if grid is None else AttentionDown(channels_in, channels, grid)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x) if self.attn is None else self.conv(x) + self.attn(x)


class Stage(nn.Module):
    """Stage `i` of the four, whose maps are of `grid` (H, W)."""

    def __init__(self, i: int, grid: tuple[int, int]) -> None:
        super().__init__()
        channels, blocks = CHANNELS[i], len(WIDER[i])
        finer = (2 * grid[0], 2 * grid[1]) if i == 3 else None
        self.downsample = nn.Identity() if i == 0 else Down(CHANNELS[i - 1], channels, finer)
        attends = [i >= 2 and j >= blocks - ATTENDING for j in range(blocks)]
        self.blocks = nn.Sequential(
            *(
                Block(channels, w, Attention(channels, grid, halved=i == 2) if a else None)
                for w, a in zip(WIDER[i], attends, strict=True)
            )
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.blocks(self.downsample(x))


class EfficientFormerV2(nn.Module):
    """Images (B, 3, H, W) of `size` (W, H), multiples of 32, to four maps at strides 4, 8, 16 and 32, of
    `channels`.
    """

    def __init__(self, size: Size) -> None:
        super().__init__()
        self.channels = CHANNELS
        self.stem = nn.ModuleDict(
            {
                "conv1": ConvNorm(3, CHANNELS[0] // 2, 3, 2, active=True),
                "conv2": ConvNorm(CHANNELS[0] // 2, CHANNELS[0], 3, 2, active=True),
            }
        )
        self.stages = nn.ModuleList(
            Stage(i, (size[1] // stride, size[0] // stride)) for i, stride in enumerate((4, 8, 16, 32))
        )

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        x = self.stem["conv2"](self.stem["conv1"](x))
        maps = []
        for stage in self.stages:
            x = stage(x)
            maps.append(x)
        return tuple(maps)


def from_timm(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The weights of timm's `efficientformerv2_s0` under the names used here, without the classifier."""
    out: dict[str, Tensor] = {}
    for name, tensor in state.items():
        if name.startswith(("stem.", "stages.")) and not name.endswith("attention_bias_idxs"):
            biases = name.endswith("attention_biases")
            out[name + ".table" if biases else name] = square(tensor) if biases else tensor
    return out
