"""The sizes of MobileNets as torchvision's documents have them, the multiply-adds of the papers, and V2's
values against transformers'.
"""

import pytest
import torch
from torch import nn

from poseling.evaluate.cost import cost
from poseling.models.backbones.mobilenet import MobileNetV2, MobileNetV3

# torchvision's parameters of the whole network, less its classifier: in V2 1280 x 1000 and 1000 biases; in V3
# two layers, 960 or 576 to 1280 or 1024 to 1000.
V2_CLASSIFIER = 1280 * 1000 + 1000
LARGE_CLASSIFIER = 960 * 1280 + 1280 + 1280 * 1000 + 1000
SMALL_CLASSIFIER = 576 * 1024 + 1024 + 1024 * 1000 + 1000


@pytest.mark.parametrize(
    ("make", "args", "whole", "classifier"),
    [
        (MobileNetV2, (1.0,), 3_504_872, V2_CLASSIFIER),
        (MobileNetV2, (0.5,), 1_968_680, V2_CLASSIFIER),
        (MobileNetV3, (True,), 5_483_032, LARGE_CLASSIFIER),
        (MobileNetV3, (False,), 2_542_856, SMALL_CLASSIFIER),
    ],
)
def test_parameters(make, args, whole, classifier):
    assert sum(p.numel() for p in make(*args).parameters()) == whole - classifier


# The papers' multiply-adds at 224x224, which include the classifier.
@pytest.mark.parametrize(
    ("make", "args", "classifier", "millions"),
    [
        (MobileNetV2, (1.0,), 1280 * 1000, 300),
        (MobileNetV3, (True,), 960 * 1280 + 1280 * 1000, 219),
        (MobileNetV3, (False,), 576 * 1024 + 1024 * 1000, 56),
    ],
)
def test_cost_is_the_papers(make, args, classifier, millions):
    assert cost(make(*args), (224, 224)).gmac * 1e3 + classifier / 1e6 == pytest.approx(millions, rel=0.02)


@pytest.mark.parametrize(
    ("network", "channels"),
    [
        (MobileNetV2(), (24, 32, 96, 1280)),
        (MobileNetV2(0.5), (16, 16, 48, 1280)),
        (MobileNetV3(), (24, 40, 112, 960)),
        (MobileNetV3(large=False), (16, 24, 48, 576)),
    ],
)
def test_channels(network, channels):
    assert network.channels == channels


def test_the_names_are_torchvisions():
    v2, large = MobileNetV2().state_dict(), MobileNetV3().state_dict()
    for name, shape in {
        "features.0.0.weight": (32, 3, 3, 3),
        "features.1.conv.0.0.weight": (
            32,
            1,
            3,
            3,
        ),  # without expansion the depthwise convolution comes first
        "features.1.conv.1.weight": (16, 32, 1, 1),
        "features.1.conv.2.running_var": (16,),
        "features.17.conv.0.0.weight": (960, 160, 1, 1),
        "features.17.conv.1.0.weight": (960, 1, 3, 3),
        "features.17.conv.2.weight": (320, 960, 1, 1),
        "features.17.conv.3.bias": (320,),
        "features.18.0.weight": (1280, 320, 1, 1),
    }.items():
        assert v2[name].shape == shape
    for name, shape in {
        "features.0.0.weight": (16, 3, 3, 3),
        "features.1.block.0.0.weight": (16, 1, 3, 3),
        "features.1.block.1.1.bias": (16,),
        "features.4.block.1.0.weight": (72, 1, 5, 5),
        "features.4.block.2.fc1.weight": (24, 72, 1, 1),
        "features.4.block.2.fc2.bias": (72,),
        "features.4.block.3.0.weight": (40, 72, 1, 1),
        "features.16.0.weight": (960, 160, 1, 1),
    }.items():
        assert large[name].shape == shape


def test_v2_has_the_values_of_transformers():
    """Their weights come in the same order as ours, layer by layer; at a width of 1 and with torch's padding
    the arithmetic is the same.
    """
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    theirs = transformers.MobileNetV2Model(
        transformers.MobileNetV2Config(tf_padding=False, layer_norm_eps=1e-5), add_pooling_layer=False
    ).eval()
    ours = MobileNetV2().eval()
    names, tensors = list(ours.state_dict()), list(theirs.state_dict().values())
    ours.load_state_dict(dict(zip(names, tensors, strict=True)))
    image = torch.randn(1, 3, 64, 96)
    with torch.no_grad():
        want, got = theirs(image).last_hidden_state, ours(image)[-1]
    assert torch.allclose(want, got, rtol=1e-4, atol=1e-5 * want.abs().max().item())
    assert want.abs().max() > 0


def test_v3_squeezes_after_the_depthwise_convolution():
    """With a second squeezing layer of noughts each channel is halved: hard sigmoid(0) = 1/2."""
    block = MobileNetV3().features[4].eval()
    squeeze = block.block[2]
    nn.init.zeros_(squeeze.fc2.weight)
    nn.init.zeros_(squeeze.fc2.bias)
    x = torch.randn(2, 24, 8, 8)
    with torch.no_grad():
        inside = block.block[1](block.block[0](x))
        assert torch.allclose(block(x), block.block[3](inside / 2), atol=1e-6)
