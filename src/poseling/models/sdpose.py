"""SDPose: in training one small transformer is run several times over, and each run learns from the next
(Chen et al., CVPR 2024).

`sdpose-VARIANT` and, ours, `sdpose_mobile-BACKBONE[-DEPTH]` on the backbones of `tokenpose_mobile`, with
three cycles. TokenPose's tokens and head; attention is scaled by the width of a head in S too. Figures at
256x192 with 17 joints, GMAC without the products of attention, as the paper counts; it has the same but for
b, 13.2 and 5.2:

| name | backbone | patch (h x w) | layers | cycles | params | GMAC |
|---|---|---|---|---|---|---|
| t | stem | 4x3 | 6 | 3 | 4.40 | 1.78 |
| s_v1 | stem | 4x3 | 12 | 2 | 6.62 | 2.38 |
| s_v2 | stem | 2x2 | 12 | 2 | 6.23 | 4.65 |
| b | HRNet-W32, its first stage 128 wide | 4x3 | 12 | 2 | 13.15 | 5.13 |

At inference only the first cycle runs, at the cost of one. It is the last of the S stages, as everywhere in
Poseling: in training the stages are the last cycle first. The paper adds the error of every cycle's heatmaps,
and 5e-6 times the mean squared difference of the tokens of each cycle and the next.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from poseling.geometry import Size
from poseling.models import backbones, tokenpose, tokenpose_mobile
from poseling.models.family import Family
from poseling.models.tokenpose import DIM, HeatmapHead, Tokens, Transformer, Variant, initialise, maps

CYCLES = 3
VARIANTS = {
    "t": (Variant(patch=(4, 3), depth=6), CYCLES),
    "s_v1": (Variant(patch=(4, 3)), 2),
    "s_v2": (Variant(patch=(2, 2)), 2),
    # So in the authors' configuration; the paper's figures fit no other.
    "b": (Variant(patch=(4, 3), width=32, stem=128), 2),
}


class SDPose(nn.Module):
    """Images (B, 3, H, W) of one `size` to heatmaps (B, 1, K, H/4, W/4) or, in training, (B, cycles, K, H/4,
    W/4), the first cycle last.

    `visual_tokens` (B, T, DIM) and `keypoint_tokens` (B, K, DIM) are the first cycle's; in training they have
    those of all, (B, cycles, T, DIM) and (B, cycles, K, DIM), the first cycle first.
    """

    def __init__(
        self,
        backbone: nn.Module,
        features: nn.Module,
        tokens: Tokens,
        transformer: Transformer,
        size: Size,
        cycles: int = CYCLES,
    ) -> None:
        super().__init__()
        self.backbone, self.features, self.tokens, self.transformer, self.cycles = (
            backbone,
            features,
            tokens,
            transformer,
            cycles,
        )
        self.visual_tokens, self.keypoint_tokens = nn.Identity(), nn.Identity()
        self.head = HeatmapHead(DIM, maps(size))
        initialise(self.tokens, self.transformer, self.head)

    def forward(self, images: Tensor) -> Tensor:
        joints = self.tokens.joints.shape[1]
        tokens = self.transformer(self.tokens(self.features(self.backbone(images))), self.tokens.position)
        if not self.training:
            self.visual_tokens(tokens[:, joints:])
            return self.head(self.keypoint_tokens(tokens[:, :joints]))[:, None]
        cycles = [tokens]
        for _ in range(self.cycles - 1):
            cycles.append(self.transformer(cycles[-1], self.tokens.position))
        stacked = torch.stack(cycles, 1)
        self.visual_tokens(stacked[:, :, joints:])
        return self.head(self.keypoint_tokens(stacked[:, :, :joints])).flip(1)


def build(variant: str, joints: int, size: Size) -> nn.Module:
    """The network `sdpose-VARIANT` for `size` (W, H); ValueError if there is no such variant, or if the
    patches do not fill the input.
    """
    if variant not in VARIANTS:
        raise ValueError(f"sdpose-{variant}: there is {', '.join(f'sdpose-{v}' for v in VARIANTS)}")
    shape, cycles = VARIANTS[variant]
    backbone, tokens = tokenpose.encode(shape, joints, size)
    return SDPose(backbone, nn.Identity(), tokens, Transformer(shape.depth, shape.heads), size, cycles)


def build_mobile(variant: str, joints: int, size: Size) -> nn.Module:
    """The network `sdpose_mobile-BACKBONE[-DEPTH]` for `size` (W, H); ValueError for another variant, or if
    `size` is no multiple of 32.
    """
    name, depth = tokenpose_mobile.parse(variant, "sdpose_mobile")
    backbone = backbones.build(name, size)
    features, tokens = tokenpose_mobile.encode(backbones.channels(backbone), joints, size)
    return SDPose(backbone, features, tokens, Transformer(depth, tokenpose_mobile.HEADS), size)


FAMILY = Family("sdpose", build, example="sdpose-t", smallest="sdpose_mobile-mobilenetv2_050-1")
FAMILY_MOBILE = Family(
    "sdpose_mobile",
    build_mobile,
    example="sdpose_mobile-mobilenetv2",
    smallest="sdpose_mobile-mobilenetv2_050-1",
)
