"""SimpleBaseline: a backbone, three deconvolutions, a 1x1 convolution (Xiao et al., "Simple baselines for
human pose estimation and tracking", ECCV 2018).

At 256x192 with 17 joints, on ResNet-50, 101 and 152, it has 34.0 M, 53.0 M and 68.6 M parameters and 5.4, 9.1
and 12.7 GMAC. The 8.9, 12.4 and 15.7 "GFLOPs" that papers since HRNet quote are the same networks counted
another way: deconvolutions as if each output pixel took all 16 products of its kernel, where it takes 4, and
a G of 2^30. `simple_baseline-50` is the paper's on ResNet-50; `simple_baseline-BACKBONE` puts the same
decoder on any other.
"""

from __future__ import annotations

from torch import Tensor, nn

from poseling.geometry import Size
from poseling.models import backbones
from poseling.models.family import Family

DEPTHS = ("50", "101", "152")
WIDTH = 256  # channels of each deconvolution
SPREAD = 0.001  # standard deviation of the decoder's first weights, as the authors have it


class SimpleBaseline(nn.Module):
    """Images (B, 3, H, W) to heatmaps (B, 1, K, H/4, W/4); H and W are multiples of 32."""

    def __init__(self, joints: int, backbone: str = "resnet50", size: Size = (256, 256)) -> None:
        super().__init__()
        self.backbone = backbones.build(backbone, size)
        self.features = nn.Identity()
        layers: list[nn.Module] = []
        for channels in (backbones.channels(self.backbone)[-1], WIDTH, WIDTH):
            layers += [
                nn.ConvTranspose2d(channels, WIDTH, 4, stride=2, padding=1, bias=False),
                nn.BatchNorm2d(WIDTH),
                nn.ReLU(inplace=True),
            ]
        self.head = nn.Sequential(*layers, nn.Conv2d(WIDTH, joints, 1))
        for layer in self.head:
            if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d):
                nn.init.normal_(layer.weight, std=SPREAD)
                if layer.bias is not None:
                    nn.init.zeros_(layer.bias)

    def forward(self, images: Tensor) -> Tensor:
        heatmaps: Tensor = self.head(self.features(self.backbone(images)[-1]))
        return heatmaps.unsqueeze(1)


def build(variant: str, joints: int, size: Size) -> nn.Module:
    """`simple_baseline-50`, `-101`, `-152` on that ResNet, or `simple_baseline-BACKBONE`; ValueError if there
    is none of that name.
    """
    backbone = f"resnet{variant}" if variant in DEPTHS else variant
    if not backbones.is_name(backbone):
        raise ValueError(
            f"simple_baseline-{variant}: name the depth of a ResNet, {', '.join(DEPTHS)}, or a backbone, "
            f"{', '.join(backbones.BACKBONES)}"
        )
    return SimpleBaseline(joints, backbone, size)


FAMILY = Family("simple_baseline", build, example="simple_baseline-50", smallest="simple_baseline-50")
