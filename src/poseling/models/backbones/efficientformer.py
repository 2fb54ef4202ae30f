"""EfficientFormer (Li et al., NeurIPS 2022): pooling blocks, and attention over the coarsest map in the last
of them.

With its two classifiers L1 has 12.3 M parameters and 1.3 GMAC at 224x224, L3 31.4 M and 3.9 GMAC. Members are
named as in timm's files. Published weights know the offsets of a 7x7 grid; the table of another grid is
interpolated from theirs when they are loaded.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from poseling.geometry import Size

# Channels and blocks of the four stages, and how many of the last stage's blocks have attention.
VARIANTS = {"l1": ((48, 96, 224, 448), (3, 2, 6, 4), 1), "l3": ((64, 128, 320, 512), (4, 4, 12, 6), 4)}
HEADS, KEY, VALUE = 8, 32, 128
WIDER = 4  # of a block's feed-forward part
SCALE = 1e-5  # what a branch weighs at the start


class OffsetBias(nn.Module):
    """What attention adds for the distance between a query and a key: nothing to (heads, queries, keys).

    `table` (heads, h, w) has a number for each absolute offset in a `grid` (h, w) of keys; queries are at
    every `step`-th cell of it. A table of another grid is fitted when it is loaded: bilinearly, so that
    offset 0 stays 0 and the farthest the farthest.
    """

    index: Tensor

    def __init__(self, heads: int, grid: tuple[int, int], step: int = 1) -> None:
        super().__init__()
        h, w = grid
        self.table = nn.Parameter(torch.zeros(heads, h, w))
        keys = torch.cartesian_prod(torch.arange(h), torch.arange(w))
        queries = torch.cartesian_prod(torch.arange(0, h, step), torch.arange(0, w, step))
        offset = (queries[:, None] - keys[None]).abs()
        self.register_buffer("index", offset[..., 0] * w + offset[..., 1], persistent=False)
        self.register_load_state_dict_pre_hook(_fit_table)  # type: ignore[no-untyped-call]

    def forward(self) -> Tensor:
        return self.table.flatten(1)[:, self.index]


def _fit_table(bias: nn.Module, state: dict[str, Tensor], prefix: str, *_: Any) -> None:
    found, mine = state.get(prefix + "table"), bias.get_parameter("table")
    if found is not None and found.ndim == 3 and found.shape[1:] != mine.shape[1:]:
        state[prefix + "table"] = F.interpolate(
            found[None].float(), list(mine.shape[1:]), mode="bilinear", align_corners=True
        )[0].to(found.dtype)


class LayerScale(nn.Module):
    """A learnt factor for each channel of (..., C), or of (B, C, H, W) where `maps`."""

    def __init__(self, channels: int, maps: bool) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.full((channels,), SCALE))
        self.maps = maps

    def forward(self, x: Tensor) -> Tensor:
        return x * (self.gamma[:, None, None] if self.maps else self.gamma)


class Attention(nn.Module):
    """Self-attention of tokens (B, N, C), of which there are as many as cells in `grid`."""

    def __init__(self, channels: int, grid: tuple[int, int]) -> None:
        super().__init__()
        self.qkv = nn.Linear(channels, HEADS * (2 * KEY + VALUE))
        self.proj = nn.Linear(HEADS * VALUE, channels)
        self.attention_biases = OffsetBias(HEADS, grid)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.qkv(x).unflatten(2, (HEADS, -1)).transpose(1, 2).split((KEY, KEY, VALUE), -1)
        weights = (q @ k.mT * KEY**-0.5 + self.attention_biases()).softmax(-1)
        return self.proj((weights @ v).transpose(1, 2).flatten(2))


class Perceptron(nn.Module):
    """Two linear layers over tokens (B, N, C)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(channels, WIDER * channels)
        self.fc2 = nn.Linear(WIDER * channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(F.gelu(self.fc1(x)))


class ConvPerceptron(nn.Module):
    """Two normalised 1x1 convolutions over a map (B, C, H, W)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.fc1, self.norm1 = nn.Conv2d(channels, WIDER * channels, 1), nn.BatchNorm2d(WIDER * channels)
        self.fc2, self.norm2 = nn.Conv2d(WIDER * channels, channels, 1), nn.BatchNorm2d(channels)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm2(self.fc2(F.gelu(self.norm1(self.fc1(x)))))


class PoolBlock(nn.Module):
    """A block of the first stages, (B, C, H, W) to the same: the mean of the neighbours less the pixel
    itself, then the feed-forward part.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.token_mixer = nn.AvgPool2d(3, stride=1, padding=1, count_include_pad=False)
        self.ls1, self.mlp, self.ls2 = (
            LayerScale(channels, True),
            ConvPerceptron(channels),
            LayerScale(channels, True),
        )

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.ls1(self.token_mixer(x) - x)
        return x + self.ls2(self.mlp(x))


class AttentionBlock(nn.Module):
    """A block of the last stage over tokens (B, N, C), normalised before each part."""

    def __init__(self, channels: int, grid: tuple[int, int]) -> None:
        super().__init__()
        self.norm1, self.token_mixer, self.ls1 = (
            nn.LayerNorm(channels),
            Attention(channels, grid),
            LayerScale(channels, False),
        )
        self.norm2, self.mlp, self.ls2 = (
            nn.LayerNorm(channels),
            Perceptron(channels),
            LayerScale(channels, False),
        )

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.ls1(self.token_mixer(self.norm1(x)))
        return x + self.ls2(self.mlp(self.norm2(x)))


class Stage(nn.Module):
    """A map (B, in, H, W) to (B, C, H/2, W/2), or, if `first`, without halving; the last `attending` blocks
    have attention over `grid`.
    """

    def __init__(
        self, channels_in: int, channels: int, blocks: int, first: bool, attending: int, grid: tuple[int, int]
    ) -> None:
        super().__init__()
        self.downsample = (
            nn.Identity()
            if first
            else nn.Sequential(nn.Conv2d(channels_in, channels, 3, 2, 1), nn.BatchNorm2d(channels))
        )
        self.blocks = nn.Sequential(*(PoolBlock(channels) for _ in range(blocks - attending)))
        self.tokens = nn.Sequential(*(AttentionBlock(channels, grid) for _ in range(attending)))

    def forward(self, x: Tensor) -> Tensor:
        x = self.blocks(self.downsample(x))
        if len(self.tokens) == 0:
            return x
        return self.tokens(x.flatten(2).transpose(1, 2)).transpose(1, 2).reshape(x.shape)


class EfficientFormer(nn.Module):
    """Images (B, 3, H, W) of `size` (W, H), multiples of 32, to four maps at strides 4, 8, 16 and 32, of
    `channels`.

    The norm before the classifier is left out with it.
    """

    def __init__(self, variant: str, size: Size) -> None:
        super().__init__()
        self.channels, blocks, attending = VARIANTS[variant]
        c = self.channels
        grid = size[1] // 32, size[0] // 32
        self.stem = nn.Sequential(
            *(nn.Conv2d(3, c[0] // 2, 3, 2, 1), nn.BatchNorm2d(c[0] // 2), nn.ReLU()),
            *(nn.Conv2d(c[0] // 2, c[0], 3, 2, 1), nn.BatchNorm2d(c[0]), nn.ReLU()),
        )
        self.stages = nn.ModuleList(
            Stage(c[max(i - 1, 0)], c[i], blocks[i], i == 0, attending if i == 3 else 0, grid)
            for i in range(4)
        )
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.trunc_normal_(module.weight, std=0.02)
                nn.init.zeros_(module.bias)

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        x = self.stem(x)
        maps = []
        for stage in self.stages:
            x = stage(x)
            maps.append(x)
        return tuple(maps)


def from_timm(state: dict[str, Tensor], variant: str) -> dict[str, Tensor]:
    """The weights of timm's `efficientformer_VARIANT` under the names used here, without the classifier."""
    _, blocks, attending = VARIANTS[variant]
    names = {"conv1": "0", "norm1": "1", "conv2": "3", "norm2": "4", "conv": "0", "norm": "1"}
    out = {}
    for name, tensor in state.items():
        part, *rest = name.split(".")
        if part not in ("stem", "stages") or name.endswith("attention_bias_idxs"):
            continue
        if part == "stem":
            rest[0] = names[rest[0]]
        elif rest[1] == "downsample":
            rest[2] = names[rest[2]]
        elif (
            rest[0] == "3" and int(rest[2]) > blocks[3] - attending
        ):  # the block between the two kinds only flattens
            rest[1:3] = ["tokens", str(int(rest[2]) - (blocks[3] - attending) - 1)]
        if rest[-1] == "attention_biases":
            rest.append("table")
            tensor = square(tensor)
        out[".".join([part, *rest])] = tensor
    return out


def square(table: Tensor) -> Tensor:
    """Biases (heads, n * n) as timm keeps them, as (heads, n, n)."""
    side = round(table.shape[1] ** 0.5)
    return table.reshape(-1, side, side)
