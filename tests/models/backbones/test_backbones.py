"""What all backbones have in common."""

import pytest
import torch

from poseling.models import backbones

OURS = [
    *(
        "resnet50",
        "resnet101",
        "resnet152",
        "peleenet",
        "mobilenetv2",
        "mobilenetv2_050",
        "mobilenetv3_large",
        "mobilenetv3_small",
    ),
    *("efficientnet_lite0", "efficientnet_lite1", "efficientnet_lite2"),
]
QUICK = [
    name for name in OURS if name not in ("resnet101", "resnet152")
]  # those two are resnet50 with more of the same blocks


def built(name, size=(64, 64)):
    torch.manual_seed(0)
    return backbones.build(name, size)


@pytest.mark.parametrize("size", [(192, 256), (128, 128)])
@pytest.mark.parametrize("name", OURS)
def test_four_maps_at_strides_4_to_32(name, size):
    with torch.device("meta"):
        network = backbones.build(name, size)
    maps = network(torch.zeros(2, 3, size[1], size[0], device="meta"))
    want = [
        (2, c, size[1] // s, size[0] // s)
        for c, s in zip(backbones.channels(network), (4, 8, 16, 32), strict=True)
    ]
    assert [tuple(m.shape) for m in maps] == want


@pytest.mark.parametrize("name", QUICK)
def test_every_weight_is_trained_by_the_last_map(name):
    network = built(name)
    last = network(torch.randn(2, 3, 64, 64))[-1]
    (last * torch.randn_like(last)).sum().backward()
    assert [n for n, p in network.named_parameters() if p.grad is None or not p.grad.isfinite().all()] == []
    # A block whose output nothing reads would have a gradient of nought.
    assert [n for n, p in network.named_parameters() if p.ndim > 1 and not p.grad.any()] == []


@pytest.mark.parametrize("name", QUICK)
def test_one_image_alone_and_what_it_depends_on(name):
    network, images = built(name), torch.randn(4, 3, 64, 64)
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = None  # the statistics become those of these images at once
    network.train()(images)
    network.eval()
    with torch.no_grad():
        together, alone = network(images), network(images[:1])
    for a, b in zip(together, alone, strict=True):
        assert torch.allclose(a[:1], b, rtol=1e-3, atol=1e-4 * a.abs().max().item())
        assert not torch.allclose(a[0], a[1], rtol=1e-2, atol=1e-3 * a.abs().max().item())


def test_a_name_that_is_none():
    with pytest.raises(ValueError, match="no backbone is called 'resnet18'; there is resnet50, resnet101"):
        backbones.build("resnet18", (128, 128))


def test_sides_that_32_does_not_divide():
    with pytest.raises(
        ValueError, match="peleenet takes images whose sides are multiples of 32, and not 100x128; try 96x128"
    ):
        backbones.build("peleenet", (100, 128))
