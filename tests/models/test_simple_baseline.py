import math

import pytest
import torch

from poseling.evaluate.cost import cost
from poseling.models import simple_baseline


@pytest.mark.parametrize(
    ("variant", "millions", "quoted"), [("50", 34.0, 8.9), ("101", 53.0, 12.4), ("152", 68.6, 15.7)]
)
def test_size_and_cost_are_what_papers_quote(variant, millions, quoted):
    """The GFLOPs that HRNet's paper and its successors quote count each deconvolution four times and divide
    by 2^30.

    An output pixel of a 4x4 deconvolution with stride 2 is made of 4 products for each pair of channels, 2
    rows by 2 columns, not 16.
    """
    with torch.device("meta"):
        network = simple_baseline.build(variant, 17, (192, 256))
    got = cost(network, (192, 256))
    assert got.params / 1e6 == pytest.approx(millions, rel=0.002)
    deconvolutions = (
        16 * 256 * (2048 * 8 * 6 + 256 * 16 * 12 + 256 * 32 * 24)
    )  # by pixels of the input, 8x6, 16x12 and 32x24
    assert (got.gmac * 1e9 + 3 * deconvolutions) / 2**30 == pytest.approx(quoted, rel=0.02)
    assert math.isclose(got.gmac, {"50": 5.43, "101": 9.06, "152": 12.70}[variant], abs_tol=0.01)


@pytest.mark.parametrize("size", [(192, 256), (128, 128)])
@pytest.mark.parametrize("variant", ["50", "mobilenetv2"])
def test_heatmaps_at_a_quarter(variant, size):
    with torch.device("meta"):
        network = simple_baseline.build(variant, 14, size)
    assert network(torch.zeros(2, 3, size[1], size[0], device="meta")).shape == (
        2,
        1,
        14,
        size[1] // 4,
        size[0] // 4,
    )


def test_every_weight_is_trained_and_the_head_reads_the_features():
    torch.manual_seed(0)
    network, seen = simple_baseline.build("mobilenetv2_050", 3, (64, 64)), []
    network.features.register_forward_hook(lambda module, inputs, output: seen.append(output))
    heatmaps = network(torch.randn(2, 3, 64, 64))
    assert seen[0].shape == (2, 1280, 2, 2)
    assert not torch.allclose(heatmaps[0], heatmaps[1], atol=1e-5)
    heatmaps.square().sum().backward()
    assert [name for name, p in network.named_parameters() if p.grad is None] == []
    assert network.eval()(torch.ones(1, 3, 64, 64)).shape == (1, 1, 3, 16, 16)


def test_a_variant_that_is_none():
    with pytest.raises(
        ValueError,
        match="simple_baseline-18: name the depth of a ResNet, 50, 101, 152, or a backbone, resnet50",
    ):
        simple_baseline.build("18", 17, (192, 256))
