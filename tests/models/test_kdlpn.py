import pytest
import torch

from poseling.evaluate.cost import cost
from poseling.models import kdlpn


# PeleeNet's 2.097 M; then for C = 256: 176 x 256 x 9 and twice 64 x 256 x 9 weights, 3 x 512 of batch norm,
# 256 x 17 + 17: 0.706 M.
@pytest.mark.parametrize(("variant", "millions", "gmac"), [("256", 2.80, 1.15), ("128", 2.38, 0.68)])
def test_size_and_cost(variant, millions, gmac):
    got = cost(kdlpn.build(variant, 17, (192, 256)), (192, 256))
    assert got.params / 1e6 == pytest.approx(millions, rel=0.005)
    assert got.gmac == pytest.approx(gmac, rel=0.01)


@pytest.mark.parametrize("size", [(192, 256), (128, 128)])
def test_heatmaps_at_a_quarter(size):
    with torch.device("meta"):
        network = kdlpn.build("16", 14, size)
    assert network(torch.zeros(2, 3, size[1], size[0], device="meta")).shape == (
        2,
        1,
        14,
        size[1] // 4,
        size[0] // 4,
    )


def test_every_weight_is_trained_and_the_head_reads_the_features():
    torch.manual_seed(0)
    network, seen = kdlpn.build("8", 3, (64, 64)), []
    network.features.register_forward_hook(lambda module, inputs, output: seen.append(output))
    heatmaps = network(torch.randn(2, 3, 64, 64))
    assert seen[0].shape == (2, 704, 2, 2)
    assert not torch.allclose(heatmaps[0], heatmaps[1])
    heatmaps.square().sum().backward()
    assert [name for name, p in network.named_parameters() if p.grad is None] == []
    network.eval()
    assert torch.equal(
        network(torch.ones(1, 3, 64, 64))[:, 0], network.head(network.backbone(torch.ones(1, 3, 64, 64))[-1])
    )


def test_upsampling_moves_channels_to_pixels():
    """Four channels 0, 1, 2, 3 of one pixel become the 2x2 pixels 0 1 / 2 3; a convolution that only reads
    its centre keeps them.
    """
    layer = kdlpn.duc(4, 1).eval()
    torch.nn.init.zeros_(layer[1].weight)
    layer[1].weight.data[0, 0, 1, 1] = 1
    with torch.no_grad():
        out = layer(torch.arange(4.0).reshape(1, 4, 1, 1))
    assert torch.allclose(out, torch.tensor([[[[0.0, 1], [2, 3]]]]), atol=1e-4)


@pytest.mark.parametrize(
    ("variant", "message"),
    [
        ("130", "use for example kdlpn-128"),
        ("0", "use for example kdlpn-4"),
        ("x", "as in kdlpn-256"),
        ("", "as in kdlpn-256"),
    ],
)
def test_a_variant_that_is_none(variant, message):
    with pytest.raises(ValueError, match=message):
        kdlpn.build(variant, 17, (192, 256))
