"""DistilPose: TokenPose's tokens, and from each joint's token its position as numbers (Ye et al., CVPR 2023).

`distilpose-s` (stem) and `distilpose-l` (HRNet-W48), both with patches of 4x3 and twelve layers of eight
heads, have 5.36 M and 21.3 M parameters and 2.4 and 10.3 GMAC at 256x192 with 17 joints, without the products
of attention: the paper's figures. `distilpose_mobile-BACKBONE[-DEPTH]`, ours, has the backbones of
`tokenpose_mobile`.

As in the authors' code the head is a norm and one linear layer, positions go through a sigmoid and widths
through a softplus. Differs: the score is a logit, which the codec puts through a sigmoid; theirs is a plain
number. The head works in float32 whatever the rest does: bfloat16 moves a joint by up to half a pixel in 256.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from poseling.geometry import Size
from poseling.models import backbones, tokenpose, tokenpose_mobile
from poseling.models.family import Family
from poseling.models.tokenpose import DIM, Tokens, Transformer, Variant, initialise

VARIANTS = {"s": Variant(patch=(4, 3)), "l": Variant(patch=(4, 3), width=48)}


class PointHead(nn.Module):
    """Keypoint tokens (..., K, C) to (..., K, 5), float32: x, y in 0..1 of the input, sigma_x, sigma_y in
    heatmap pixels, the score's logit.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.LayerNorm(channels), nn.Linear(channels, 5))

    def forward(self, tokens: Tensor) -> Tensor:
        kind = tokens.device.type
        if kind != "meta" and torch.is_autocast_enabled(kind):  # meta has no autocast to ask for
            with torch.autocast(kind, enabled=False):
                return self(tokens.float())
        position, width, score = self.layers(tokens).split((2, 2, 1), -1)
        return torch.cat((position.sigmoid(), F.softplus(width), score), -1)


class DistilPose(nn.Module):
    """Images (B, 3, H, W) of one size to points (B, 1, K, 5), see `PointHead`.

    `visual_tokens` (B, T, DIM) and `keypoint_tokens` (B, K, DIM) are what comes out of the last layer.
    """

    def __init__(
        self, backbone: nn.Module, features: nn.Module, tokens: Tokens, transformer: Transformer
    ) -> None:
        super().__init__()
        self.backbone, self.features, self.tokens, self.transformer = backbone, features, tokens, transformer
        self.visual_tokens, self.keypoint_tokens = nn.Identity(), nn.Identity()
        self.head = PointHead(DIM)
        initialise(self.tokens, self.transformer, self.head)

    def forward(self, images: Tensor) -> Tensor:
        joints = self.tokens.joints.shape[1]
        tokens = self.transformer(self.tokens(self.features(self.backbone(images))), self.tokens.position)
        self.visual_tokens(tokens[:, joints:])
        return self.head(self.keypoint_tokens(tokens[:, :joints]))[:, None]


def build(variant: str, joints: int, size: Size) -> nn.Module:
    """The network `distilpose-VARIANT` for `size` (W, H); ValueError if there is no such variant, or if the
    patches do not fill the input.
    """
    if variant not in VARIANTS:
        raise ValueError(f"distilpose-{variant}: there is {', '.join(f'distilpose-{v}' for v in VARIANTS)}")
    shape = VARIANTS[variant]
    backbone, tokens = tokenpose.encode(shape, joints, size)
    return DistilPose(backbone, nn.Identity(), tokens, Transformer(shape.depth, shape.heads))


def build_mobile(variant: str, joints: int, size: Size) -> nn.Module:
    """The network `distilpose_mobile-BACKBONE[-DEPTH]` for `size` (W, H); ValueError for another variant, or
    if `size` is no multiple of 32.
    """
    name, depth = tokenpose_mobile.parse(variant, "distilpose_mobile")
    backbone = backbones.build(name, size)
    features, tokens = tokenpose_mobile.encode(backbones.channels(backbone), joints, size)
    return DistilPose(backbone, features, tokens, Transformer(depth, tokenpose_mobile.HEADS))


FAMILY = Family(
    "distilpose",
    build,
    example="distilpose-s",
    smallest="distilpose_mobile-mobilenetv2_050-1",
    codec="coordinates",
)
FAMILY_MOBILE = Family(
    "distilpose_mobile",
    build_mobile,
    example="distilpose_mobile-mobilenetv2",
    smallest="distilpose_mobile-mobilenetv2_050-1",
    codec="coordinates",
)
