"""TokenPose: a token for each joint, which attends to the tokens of the image and from which the joint's
heatmap is made (Li et al., ICCV 2021).

At 256x192 with 17 joints, parameters in millions and GMAC without and with the two matrix products of
attention, which papers on TokenPose leave out:

| name | backbone | patch (h x w) | layers, heads | params | GMAC | with attention |
|---|---|---|---|---|---|---|
| t | none | 16x12 of the image | 12, 16 | 5.82 | 1.26 | 1.60 |
| s_v1 | stem | 4x3 of a map at stride 4 | 12, 8 | 6.62 | 2.38 | 2.73 |
| s_v2 | stem | 2x2 | 12, 8 | 6.23 | 4.65 | 7.49 |
| b | HRNet-W32 | 4x3 | 12, 8 | 13.47 | 5.93 | 6.28 |
| l | HRNet-W48 | 4x3 | 3 x 8, 12 | 27.48 | 11.51 | 12.19 |
| l_d6 | HRNet-W48 | 4x3 | 3 x 2, 8 | 20.82 | 9.69 | 9.87 |

The parameters are the paper's. Of its multiply-adds 1.3 (t) is the same; 2.2 and 11.6 quoted for s_v1 and
s_v2 do not follow from their layers, and SDPose (CVPR 2024) counts 2.4 and 4.7 for the same networks, as we
do; 5.7, 11.0 and 9.1 quoted for b, l and l_d6 are 4 to 6 % below these, where DistilPose (CVPR 2023) counts
as we do.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from poseling.geometry import Size
from poseling.models.backbones.hrnet import STEM_CHANNELS, HRNet, Stem
from poseling.models.family import Family

DIM = 192  # of a token
MLP_RATIO = 3
HIDDEN = 384  # of the head
STRIDE = 4  # of the heatmaps, and of the map that the backbone gives


@dataclass(frozen=True)
class Variant:
    """`patch` (h, w) in pixels of the backbone's map at a 3:4 input; `transformers` of `depth` layers each;
    `width` of HRNet, 0 for the stem alone, None for no backbone; `stem`, the width of the stem.
    """

    patch: tuple[int, int]
    depth: int = 12
    heads: int = 8
    width: int | None = 0
    transformers: int = 1
    narrow_scale: bool = True
    stem: int = STEM_CHANNELS


# The authors' code scales the products of attention by the width of one head, as usual, but in S by that of
# the whole token.
VARIANTS = {
    "t": Variant(patch=(16, 12), heads=16, width=None),
    "s_v1": Variant(patch=(4, 3), narrow_scale=False),
    "s_v2": Variant(patch=(2, 2), narrow_scale=False),
    "b": Variant(patch=(4, 3), width=32),
    "l": Variant(patch=(4, 3), depth=8, heads=12, width=48, transformers=3),
    "l_d6": Variant(patch=(4, 3), depth=2, width=48, transformers=3),
}


class Layer(nn.Module):
    """Pre-norm attention and MLP, (B, T, DIM) -> (B, T, DIM). The products of attention are multiplied by
    `scale`.
    """

    def __init__(self, heads: int, scale: float) -> None:
        super().__init__()
        self.heads, self.scale = heads, scale
        self.norm1 = nn.LayerNorm(DIM)
        self.qkv = nn.Linear(DIM, 3 * DIM, bias=False)
        self.out = nn.Linear(DIM, DIM)
        self.norm2 = nn.LayerNorm(DIM)
        self.mlp = nn.Sequential(nn.Linear(DIM, MLP_RATIO * DIM), nn.GELU(), nn.Linear(MLP_RATIO * DIM, DIM))

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.qkv(self.norm1(x)).unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        x = x + self.out(attend(q, k, v, self.scale).transpose(1, 2).flatten(2))
        return x + self.mlp(self.norm2(x))


def attend(q: Tensor, k: Tensor, v: Tensor, scale: float) -> Tensor:
    """softmax(`scale` q k') v of (B, heads, T, d). In bfloat16 on a CPU two products train twice as fast as
    torch's own attention, in float32 not.
    """
    if q.dtype == torch.bfloat16 and q.device.type == "cpu":
        return (q * scale @ k.mT).softmax(-1).to(v.dtype) @ v
    return F.scaled_dot_product_attention(q, k, v, scale=scale)


class Transformer(nn.Module):
    """Tokens (B, K + T, DIM) -> (B, K + T, DIM); `position` (1, K + T, DIM) is added before every layer but
    the first.
    """

    def __init__(self, depth: int, heads: int, narrow_scale: bool = True) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            Layer(heads, (DIM // heads if narrow_scale else DIM) ** -0.5) for _ in range(depth)
        )

    def forward(self, tokens: Tensor, position: Tensor) -> Tensor:
        for i, layer in enumerate(self.layers):
            tokens = layer(tokens + position if i else tokens)
        return tokens


class Tokens(nn.Module):
    """A map (B, C, h, w) to tokens (B, K + T, DIM): a learnt one for each joint, then one for each patch, row
    by row, with its position added.

    `patches` makes (B, DIM, *grid) of the map. `position` (1, K + T, DIM) is 0 for the joints.
    """

    position: Tensor

    def __init__(self, patches: nn.Module, joints: int, grid: tuple[int, int]) -> None:
        super().__init__()
        self.patches = patches
        self.joints = nn.Parameter(torch.zeros(1, joints, DIM))
        self.register_buffer(
            "position", F.pad(sine(grid, DIM).flatten(0, 1), (0, 0, joints, 0))[None], persistent=False
        )

    def forward(self, x: Tensor) -> Tensor:
        visual = self.patches(x).flatten(2).transpose(1, 2)
        return (
            torch.cat((self.joints.expand(visual.shape[0], -1, -1).to(visual.dtype), visual), 1)
            + self.position
        )


def sine(grid: tuple[int, int], dim: int) -> Tensor:
    """Positions (h, w, dim): sines and cosines of the row in the first half of the channels, of the column in
    the second (DETR, ECCV 2020).

    Rows and columns are counted from 1 and scaled to 0..2 pi.

    >>> first = sine((4, 2), 8)[0, 0].tolist()  # a quarter of a turn down, half a turn right
    >>> [round(x, 2) + 0.0 for x in first]
    [1.0, 0.0, 0.02, 1.0, 0.0, -1.0, 0.03, 1.0]
    """
    half = dim // 2
    rate = 10000.0 ** -(2 * (torch.arange(half) // 2) / half)
    directions = []
    for n in grid:
        angle = (torch.arange(1, n + 1) * (2 * math.pi / n))[:, None] * rate
        directions.append(torch.where(torch.arange(half) % 2 == 0, angle.sin(), angle.cos()))
    rows, columns = directions
    h, w = grid
    return torch.cat((rows[:, None].expand(h, w, half), columns[None].expand(h, w, half)), 2)


class HeatmapHead(nn.Module):
    """Keypoint tokens (..., K, C) to heatmaps (..., K, h, w), each token by itself: two linear layers, or one
    if C is more than DIM.
    """

    def __init__(self, channels: int, size: tuple[int, int]) -> None:
        super().__init__()
        self.size, pixels = size, size[0] * size[1]
        if channels > DIM:  # TokenPose-L: the authors' code asks for two, but not of tokens so wide
            self.layers = nn.Sequential(nn.LayerNorm(channels), nn.Linear(channels, pixels))
        else:
            self.layers = nn.Sequential(
                nn.LayerNorm(channels),
                nn.Linear(channels, HIDDEN),
                nn.LayerNorm(HIDDEN),
                nn.Linear(HIDDEN, pixels),
            )

    def forward(self, tokens: Tensor) -> Tensor:
        return self.layers(tokens).unflatten(-1, self.size)


class TokenPose(nn.Module):
    """Images (B, 3, H, W) of one `size` to heatmaps (B, 1, K, H/4, W/4).

    `visual_tokens` (B, T, DIM) and `keypoint_tokens` (B, K, DIM) are what comes out of the last layer. L's
    head reads the keypoint tokens of all three transformers, one after the other.
    """

    def __init__(self, variant: Variant, joints: int, size: Size) -> None:
        super().__init__()
        self.backbone, tokens = encode(variant, joints, size)
        self.tokens = tokens
        self.transformers = nn.ModuleList(
            Transformer(variant.depth, variant.heads, variant.narrow_scale)
            for _ in range(variant.transformers)
        )
        self.visual_tokens, self.keypoint_tokens = nn.Identity(), nn.Identity()
        self.head = HeatmapHead(DIM * variant.transformers, maps(size))
        initialise(self.tokens, self.transformers, self.head)

    def forward(self, images: Tensor) -> Tensor:
        tokens = self.tokens(self.backbone(images))
        joints = self.tokens.joints.shape[1]
        given = []
        for transformer in self.transformers:
            tokens = transformer(tokens, self.tokens.position)
            given.append(tokens[:, :joints])
        self.visual_tokens(tokens[:, joints:])
        given[-1] = self.keypoint_tokens(given[-1])
        return self.head(torch.cat(given, 2))[:, None]


def encode(variant: Variant, joints: int, size: Size) -> tuple[nn.Module, Tokens]:
    """The backbone and what makes tokens of its map; ValueError if the patches do not fill the input."""
    backbone: nn.Module
    if variant.width is None:
        backbone, channels, stride, multiple = nn.Identity(), 3, 1, STRIDE
    elif variant.width == 0:
        backbone, channels, stride, multiple = Stem(variant.stem), variant.stem, STRIDE, STRIDE
    else:
        backbone, channels, stride, multiple = HRNet(variant.width, variant.stem), variant.width, STRIDE, 16
    width, height = size
    rows, columns = variant.patch
    if (
        4 * width != 3 * height
    ):  # as in the authors' configuration for MPII at 256x256: 4x4 where 256x192 has 4x3
        columns = rows
    need = (math.lcm(columns * stride, multiple), math.lcm(rows * stride, multiple))
    if width % need[0] or height % need[1]:
        raise ValueError(
            f"input {width}x{height} does not divide into patches: its width has to be a multiple of "
            f"{need[0]}, its height of {need[1]}"
        )
    grid = (height // (stride * rows), width // (stride * columns))
    return backbone, Tokens(nn.Conv2d(channels, DIM, (rows, columns), (rows, columns)), joints, grid)


def maps(size: Size) -> tuple[int, int]:
    """(h, w) of the heatmaps of an input of `size` (W, H)."""
    return size[1] // STRIDE, size[0] // STRIDE


def initialise(*parts: nn.Module) -> None:
    """The authors' start of everything behind the backbone: weights normal with deviation 0.02, biases 0."""
    for part in parts:
        for module in part.modules():
            if isinstance(module, nn.Linear | nn.Conv2d):
                nn.init.normal_(module.weight, std=0.02)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
            elif isinstance(module, Tokens):
                nn.init.normal_(module.joints, std=0.02)


def build(variant: str, joints: int, size: Size) -> nn.Module:
    """The network `tokenpose-VARIANT` for `size` (W, H); ValueError if there is no such variant, or if the
    patches do not fill the input.
    """
    if variant not in VARIANTS:
        raise ValueError(f"tokenpose-{variant}: there is {', '.join(f'tokenpose-{v}' for v in VARIANTS)}")
    return TokenPose(VARIANTS[variant], joints, size)


FAMILY = Family("tokenpose", build, example="tokenpose-s_v1", smallest="tokenpose-t")
