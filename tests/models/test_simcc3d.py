import pytest
import torch

from poseling.codecs import codec
from poseling.evaluate.cost import cost
from poseling.models import registry, simcc3d


@pytest.mark.parametrize("size", [(192, 256), (128, 128)])
@pytest.mark.parametrize("backbone", ["mobilenetv2", "efficientnet_lite0"])
def test_five_axes_of_bins_as_the_codec_reads_them(backbone, size):
    name = f"simcc3d-{backbone}"
    with torch.device("meta"):
        network = registry.build(name, 15, size)
    reads = codec({"name": registry.codec_of(name), "size": size})
    outputs = network(torch.zeros(2, 3, size[1], size[0], device="meta"))
    assert outputs.shape == (2, 1, 15, 2 * size[0] + 2 * size[1] + 3 * 150)
    assert outputs.shape[-1] == sum(reads.bins)
    assert reads.decode_3d(outputs[:, -1]).shape == (2, 15, 3)


def test_the_head_by_hand():
    """One channel, one joint, two cells with 3 and 5; the map doubles them: bins are 6 u + 10 v."""
    head = simcc3d.Head(1, 1, 2, 7)
    with torch.no_grad():
        for layer in (head.maps, head.bins):
            torch.nn.init.zeros_(layer.weight)
            torch.nn.init.zeros_(layer.bias)
        head.maps.weight.fill_(2)
        head.bins.weight[2], head.bins.weight[6] = torch.tensor([1.0, 0]), torch.tensor([1.0, 1])
        bins = head(torch.tensor([3.0, 5]).reshape(1, 1, 1, 2))
    assert bins.tolist() == [[[0, 0, 6, 0, 0, 0, 16]]]


def test_what_the_head_costs():
    """Of 1280 channels at 8x8: 15 x 1281 weights and 15 x 1280 x 64 products of the map, 65 x 1474 weights
    and 15 x 64 x 1474 products of the bins.
    """
    network = simcc3d.build("mobilenetv2", 15, (256, 256))
    whole, backbone = cost(network, (256, 256)), cost(network.backbone, (256, 256))
    assert whole.params - backbone.params == 15 * 1281 + 65 * 1474
    assert whole.gmac - backbone.gmac == pytest.approx((15 * 1280 * 64 + 15 * 64 * 1474) / 1e9)


def test_every_weight_is_trained_and_the_head_reads_the_features():
    torch.manual_seed(0)
    network, seen = simcc3d.build("mobilenetv3_small", 3, (64, 64)), []
    network.features.register_forward_hook(lambda module, inputs, output: seen.append(output))
    bins = network(torch.randn(2, 3, 64, 64))
    assert seen[0].shape == (2, 576, 2, 2)
    assert not torch.allclose(bins[0], bins[1])
    bins.square().sum().backward()
    assert [name for name, p in network.named_parameters() if p.grad is None] == []
    assert network.eval()(torch.ones(1, 3, 64, 64)).shape == (1, 1, 3, 256 + 450)


def test_a_variant_that_is_none():
    with pytest.raises(ValueError, match="simcc3d-50: name a backbone, resnet50"):
        simcc3d.build("50", 17, (192, 256))
