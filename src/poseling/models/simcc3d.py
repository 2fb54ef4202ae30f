"""SimCC with X, Y and Z in metres beside x and y in the image; the papers behind it are in
`codecs/simcc3d.py`.

The head is that of `models/simcc.py`: a map for each joint at stride 32, flattened, and one linear layer to
the bins of all five axes, the same for all joints. A Gaussian of a given width has a logarithm that is linear
in its centre, so five axes need at least five numbers in the vector that a joint's bins are made from: it has
64 at 256x256, 16 at 128x128, and 4, too few, at 64x64.
"""

from __future__ import annotations

from torch import Tensor, nn

from poseling.codecs.simcc3d import SimCC3D as Codec
from poseling.geometry import Size
from poseling.models import backbones
from poseling.models.family import Family


class Head(nn.Module):
    """Features (B, C, h, w) of h w = `cells` to bins (B, K, `bins`), as logits."""

    def __init__(self, channels: int, joints: int, cells: int, bins: int) -> None:
        super().__init__()
        self.maps = nn.Conv2d(channels, joints, 1)
        self.bins = nn.Linear(cells, bins)

    def forward(self, features: Tensor) -> Tensor:
        bins: Tensor = self.bins(self.maps(features).flatten(2))
        return bins


class SimCC3D(nn.Module):
    """Images (B, 3, H, W) of the one `size` (W, H) that it was built for to bins (B, 1, K, 2W + 2H + 3D), as
    `codecs.SimCC3D` lays them out.
    """

    def __init__(self, joints: int, backbone: str = "mobilenetv2", size: Size = (256, 256)) -> None:
        super().__init__()
        self.backbone = backbones.build(backbone, size)
        self.features = nn.Identity()
        self.head = Head(
            backbones.channels(self.backbone)[-1], joints, size[0] * size[1] // 32**2, sum(Codec(size).bins)
        )

    def forward(self, images: Tensor) -> Tensor:
        bins: Tensor = self.head(self.features(self.backbone(images)[-1]))
        return bins.unsqueeze(1)


def build(variant: str, joints: int, size: Size) -> nn.Module:
    """`simcc3d-BACKBONE`; ValueError if no backbone has that name."""
    if not backbones.is_name(variant):
        raise ValueError(
            f"simcc3d-{variant}: name a backbone, {', '.join(backbones.BACKBONES)}, as in simcc3d-mobilenetv2"
        )
    return SimCC3D(joints, variant, size)


FAMILY = Family(
    "simcc3d", build, example="simcc3d-mobilenetv2", smallest="simcc3d-mobilenetv2_050", codec="simcc3d"
)
