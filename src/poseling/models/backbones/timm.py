"""timm's backbones, where timm is installed: `timm_NAME`, NAME as timm has it, such as `timm_resnet18`.

timm imports torchvision, whose wheel has to be built for the torch that is there; so Poseling does not ask for
either, and a package that does not load is told with the way out.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

PREFIX = "timm_"
STRIDES = (4, 8, 16, 32)


class TimmBackbone(nn.Module):
    """timm's network `name` as images (B, 3, H, W) -> four maps (B, C, H/s, W/s) at strides s of 4, 8, 16 and
    32, with random weights.

    ValueError if timm does not load, has no such network, or it does not give maps at all four strides.
    """

    def __init__(self, name: str) -> None:
        super().__init__()
        self.name = f"{PREFIX}{name}"
        try:
            import timm
        except (
            ImportError,
            RuntimeError,
            OSError,
        ) as error:  # torchvision of another build raises any of these
            raise ValueError(
                f"{self.name} needs timm and a torchvision that fits this torch ({error}); install both, or take a "
                f"backbone of Poseling's own"
            ) from error
        try:
            self.features: Any = timm.create_model(name, pretrained=False, features_only=True)
        except (RuntimeError, AttributeError) as error:
            raise ValueError(f"{self.name}: timm has no network of that name with maps ({error})") from error
        reductions = list(self.features.feature_info.reduction())
        if missing := [stride for stride in STRIDES if stride not in reductions]:
            raise ValueError(
                f"{self.name} gives maps at strides {', '.join(map(str, reductions))}, and none at {missing[0]}; take "
                f"a network that has 4, 8, 16 and 32"
            )
        self.places = [reductions.index(stride) for stride in STRIDES]
        widths = self.features.feature_info.channels()
        self.channels = tuple(widths[place] for place in self.places)

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """Images (B, 3, H, W) to the four maps, the finest first."""
        maps = self.features(images)
        return tuple(maps[place] for place in self.places)
