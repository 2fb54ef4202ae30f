"""KDLPN: PeleeNet with a decoder of pixel shuffles (Park et al., "Lightweight human pose estimation", Sensors
2021, 21(22):7640).

The encoder gives 704 channels at stride 32. Three layers of dense upsampling (DUC) follow: each moves
channels to pixels, (C, H, W) to (C/4, 2H, 2W), and convolves 3x3. All convolutions are plain ones. How many
channels the paper's decoder has is not in what of it is public: the table here is ours, C in all three
layers, where C = 256 comes to the paper's claim of 95 % fewer parameters than the networks of its day. At
256x192 with 17 joints, `kdlpn-256` has 2.80 M parameters and 1.15 GMAC, `kdlpn-128` 2.38 M and 0.68 GMAC.
"""

from __future__ import annotations

import re

from torch import Tensor, nn

from poseling.geometry import Size
from poseling.models import backbones
from poseling.models.family import Family

DUCS = 3  # from stride 32 to stride 4


def duc(channels_in: int, channels_out: int) -> nn.Sequential:
    """Dense upsampling: (B, in, H, W) -> (B, out, 2H, 2W); `channels_in` is a multiple of 4."""
    return nn.Sequential(
        nn.PixelShuffle(2),
        nn.Conv2d(channels_in // 4, channels_out, 3, padding=1, bias=False),
        nn.BatchNorm2d(channels_out),
        nn.ReLU(inplace=True),
    )


class KDLPN(nn.Module):
    """Images (B, 3, H, W) to heatmaps (B, 1, K, H/4, W/4); H and W are multiples of 32, `width` (C) of 4."""

    def __init__(self, joints: int, width: int = 256, size: Size = (256, 256)) -> None:
        super().__init__()
        if width < 4 or width % 4:
            raise ValueError(
                f"kdlpn-{width}: a pixel shuffle needs a multiple of 4 channels; use for example "
                f"kdlpn-{max(width // 4 * 4, 4)}"
            )
        self.backbone = backbones.build("peleenet", size)
        self.features = nn.Identity()
        into = (backbones.channels(self.backbone)[-1], *[width] * (DUCS - 1))
        self.head = nn.Sequential(*(duc(channels, width) for channels in into), nn.Conv2d(width, joints, 1))

    def forward(self, images: Tensor) -> Tensor:
        heatmaps: Tensor = self.head(self.features(self.backbone(images)[-1]))
        return heatmaps.unsqueeze(1)


def build(variant: str, joints: int, size: Size) -> nn.Module:
    """`kdlpn-C`, C the channels of its decoder; ValueError if C is no multiple of 4."""
    if not re.fullmatch(r"[0-9]+", variant):
        raise ValueError(
            f"kdlpn-{variant}: name the channels of the decoder, a multiple of 4, as in kdlpn-256 or "
            f"kdlpn-128"
        )
    return KDLPN(joints, int(variant), size)


FAMILY = Family("kdlpn", build, example="kdlpn-256", smallest="kdlpn-16")
