import pytest
import torch

from poseling.models import simcc


@pytest.mark.parametrize("size", [(192, 256), (128, 128)])
@pytest.mark.parametrize("backbone", ["mobilenetv2", "efficientnet_lite0"])
def test_two_bins_a_pixel_of_x_then_of_y(backbone, size):
    with torch.device("meta"):
        network = simcc.build(backbone, 14, size)
    assert network(torch.zeros(2, 3, size[1], size[0], device="meta")).shape == (
        2,
        1,
        14,
        2 * size[0] + 2 * size[1],
    )
    cells = size[0] * size[1] // 1024
    assert network.head.x.weight.shape == (2 * size[0], cells)
    assert network.head.y.weight.shape == (2 * size[1], cells)


def test_the_head_by_hand():
    """One channel, one joint, two cells with 3 and 5; the map doubles them: x bins are 6 u + 10 v, y bins
    likewise.
    """
    head = simcc.Head(1, 1, (64, 32))
    with torch.no_grad():
        for layer in (head.maps, head.x, head.y):
            torch.nn.init.zeros_(layer.weight)
            torch.nn.init.zeros_(layer.bias)
        head.maps.weight.fill_(2)
        head.x.weight[7] = torch.tensor([1.0, 0])
        head.x.weight[127] = torch.tensor([0, 1.0])
        head.y.weight[0] = torch.tensor([1.0, 1])
        bins = head(torch.tensor([3.0, 5]).reshape(1, 1, 1, 2))[0, 0]
    assert bins.shape == (128 + 64,)
    assert {i: bins[i].item() for i in bins.nonzero().flatten().tolist()} == {7: 6, 127: 10, 128: 16}


def test_every_weight_is_trained_and_the_head_reads_the_features():
    torch.manual_seed(0)
    network, seen = simcc.build("mobilenetv3_small", 3, (64, 64)), []
    network.features.register_forward_hook(lambda module, inputs, output: seen.append(output))
    bins = network(torch.randn(2, 3, 64, 64))
    assert seen[0].shape == (2, 576, 2, 2)
    assert not torch.allclose(bins[0], bins[1])
    bins.square().sum().backward()
    assert [name for name, p in network.named_parameters() if p.grad is None] == []
    assert network.eval()(torch.ones(1, 3, 64, 64)).shape == (1, 1, 3, 256)


def test_a_variant_that_is_none():
    with pytest.raises(ValueError, match="simcc-50: name a backbone, resnet50"):
        simcc.build("50", 17, (192, 256))
