import pytest
import torch

from poseling.codecs import CODECS
from poseling.models import registry


def test_a_name_is_stacks_and_channels():
    network = registry.build("hourglass-3x16", 5)
    assert network.eval()(torch.zeros(1, 3, 64, 64)).shape == (1, 3, 5, 16, 16)
    assert network.stacks[0].score.in_channels == 16


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("resnet-50", "no network is called 'resnet-50'; there is hourglass-4x128, simple_baseline-50, "),
        ("hourglass", "name stacks and channels"),
        ("hourglass-4", "hourglass-4x128"),
    ],
)
def test_unknown_names_are_refused(name, message):
    with pytest.raises(ValueError, match=message):
        registry.build(name, 14)


def test_every_family_is_complete():
    for name, family in registry.FAMILIES.items():
        assert family.name == name
        for one in (family.example, family.smallest):
            assert registry.is_name(one), name
        assert family.codec in CODECS, name
    assert registry.codec_of("movnect-medium") == "location_map"
    assert registry.smallest("okdhp-2x128") == "okdhp-1x16"


def test_the_seed_makes_the_network():
    networks = []
    for seed in (0, 0, 1):
        torch.manual_seed(seed)
        networks.append(torch.cat([p.flatten() for p in registry.build("hourglass-1x8", 4).parameters()]))
    assert torch.equal(networks[0], networks[1])
    assert not torch.equal(networks[0], networks[2])


@pytest.mark.parametrize(
    ("name", "yes"),
    [
        ("hourglass-4x128", True),
        ("hourglass-4x128.safetensors", False),
        ("runs/hourglass-4x128", False),
        ("teacher.onnx", False),
        ("vitpose-s", True),
        ("usyd-community/vitpose-base-simple", False),
        ("movenet-thunder", False),
    ],
)
def test_a_name_or_a_file(name, yes):
    assert registry.is_name(name) is yes
