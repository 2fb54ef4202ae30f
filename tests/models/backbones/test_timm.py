"""timm itself is not installed here, since it imports torchvision; a module with the same interface stands in."""

from __future__ import annotations

import sys
from types import ModuleType, SimpleNamespace

import pytest
import torch
from torch import Tensor, nn

from poseling.models import registry
from poseling.models.backbones import build, channels


class Pyramid(nn.Module):
    """Maps at the given strides, each of 2 * stride channels that hold the image's mean under each cell."""

    def __init__(self, strides: tuple[int, ...]) -> None:
        super().__init__()
        self.strides = strides
        self.weight = nn.Parameter(torch.ones(1))
        self.feature_info = SimpleNamespace(
            reduction=lambda: list(strides), channels=lambda: [2 * stride for stride in strides]
        )

    def forward(self, x: Tensor) -> list[Tensor]:
        pooled = ((s, nn.functional.avg_pool2d(x, s).mean(1, keepdim=True)) for s in self.strides)
        return [self.weight * maps.repeat(1, 2 * s, 1, 1) for s, maps in pooled]


@pytest.fixture
def timm(monkeypatch: pytest.MonkeyPatch) -> None:
    def create_model(name: str, pretrained: bool, features_only: bool) -> nn.Module:
        assert (pretrained, features_only) == (False, True)
        known = {"pyramid": (2, 4, 8, 16, 32), "patches": (16,)}
        if name not in known:
            raise RuntimeError(f"Unknown model ({name})")
        return Pyramid(known[name])

    module = ModuleType("timm")
    module.create_model = create_model  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "timm", module)


@pytest.mark.usefixtures("timm")
def test_four_maps_of_timms_five():
    backbone = build("timm_pyramid", (64, 96))
    image = torch.rand(2, 3, 96, 64)
    maps = backbone(image)
    assert [tuple(m.shape) for m in maps] == [(2, 8, 24, 16), (2, 16, 12, 8), (2, 32, 6, 4), (2, 64, 3, 2)]
    assert channels(backbone) == (8, 16, 32, 64)
    torch.testing.assert_close(maps[3][1, 0, 2, 1], image[1, :, 64:96, 32:64].mean())


@pytest.mark.usefixtures("timm")
def test_a_student_stands_on_one():
    network = registry.build("simcc-timm_pyramid", 14, (64, 96))
    assert network(torch.rand(1, 3, 96, 64)).shape == (1, 1, 14, 2 * (64 + 96))


@pytest.mark.usefixtures("timm")
@pytest.mark.parametrize(
    ("name", "complaint"),
    [
        ("timm_squid", "timm_squid: timm has no network of that name"),
        ("timm_patches", "timm_patches gives maps at strides 16, and none at 4"),
    ],
)
def test_what_timm_does_not_have(name: str, complaint: str):
    with pytest.raises(ValueError, match=complaint):
        build(name, (64, 64))


def test_without_timm(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(ValueError, match="timm_resnet18 needs timm and a torchvision that fits this torch"):
        build("timm_resnet18", (64, 64))
