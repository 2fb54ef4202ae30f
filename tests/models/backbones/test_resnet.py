"""ResNet's size as in torchvision's documents, and its names and values against transformers' ResNet, an
implementation of others.
"""

import re

import pytest
import torch

from poseling.models.backbones.resnet import ResNet


# torchvision's parameters with the classifier, less that of 2048 x 1000 weights and 1000 biases.
@pytest.mark.parametrize(("depth", "whole"), [(50, 25_557_032), (101, 44_549_160), (152, 60_192_808)])
def test_parameters(depth, whole):
    with torch.device("meta"):
        network = ResNet(depth)
    assert sum(p.numel() for p in network.parameters()) == whole - 2048 * 1000 - 1000


def test_the_names_are_torchvisions():
    with torch.device("meta"):
        names = ResNet(50).state_dict().keys()
    block = {
        f"{m}.{w}"
        for m in ("bn1", "bn2", "bn3", "downsample.1")
        for w in ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
    }
    block |= {f"{m}.weight" for m in ("conv1", "conv2", "conv3", "downsample.0")}
    assert {n.removeprefix("layer3.0.") for n in names if n.startswith("layer3.0.")} == block
    assert {n.split(".")[0] for n in names} == {"conv1", "bn1", "layer1", "layer2", "layer3", "layer4"}
    assert {n.split(".")[1] for n in names if n.startswith("layer3.")} == {"0", "1", "2", "3", "4", "5"}


def from_transformers(name):
    """The name in ours of a weight of transformers' ResNetModel."""
    norm = {"convolution": "conv", "normalization": "bn"}
    if match := re.fullmatch(r"embedder\.embedder\.(convolution|normalization)\.(\w+)", name):
        return f"{norm[match[1]]}1.{match[2]}"
    match = re.fullmatch(
        r"encoder\.stages\.(\d)\.layers\.(\d+)\.(?:layer\.(\d)|(shortcut))\.(convolution|normalization)\.(\w+)",
        name,
    )
    block = f"layer{int(match[1]) + 1}.{match[2]}"
    if match[4]:
        return f"{block}.downsample.{('convolution', 'normalization').index(match[5])}.{match[6]}"
    return f"{block}.{norm[match[5]]}{int(match[3]) + 1}.{match[6]}"


def test_the_same_maps_as_transformers():
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    theirs = transformers.ResNetModel(transformers.ResNetConfig(depths=[3, 4, 6, 3])).eval()
    ours = ResNet(50).eval()
    ours.load_state_dict({from_transformers(name): tensor for name, tensor in theirs.state_dict().items()})
    image = torch.randn(1, 3, 64, 96)
    with torch.no_grad():
        want = theirs(image, output_hidden_states=True).hidden_states[1:]
        got = ours(image)
    for a, b in zip(want, got, strict=True):
        assert torch.allclose(a, b, rtol=1e-4, atol=1e-5 * a.abs().max().item())


def test_a_depth_that_is_none():
    with pytest.raises(ValueError, match="no ResNet-34 with bottlenecks; there is 50, 101, 152"):
        ResNet(34)
