"""Which channels go, and how much work with them."""

from __future__ import annotations

import pytest
import torch

from poseling.compress.channels import channels
from poseling.compress.prune import chosen, magnitude, pruned, taylor
from poseling.evaluate.cost import cost
from poseling.models import checkpoint

SIZE = (32, 48)


@pytest.mark.parametrize("everywhere", [True, False])
@pytest.mark.parametrize("ratio", [0.2, 0.5])
def test_so_much_work_goes(network, images, ratio, everywhere):
    # A packet of four channels of the stem alone is a quarter of this network's work.
    multiple = 1 if everywhere else 4
    found = pruned(network, SIZE, ratio, everywhere=everywhere, multiple=multiple)
    measured = cost(found.network, SIZE).gmac / cost(network, SIZE).gmac
    assert measured == pytest.approx(found.macs)
    assert 1 - ratio - 0.12 < measured <= 1 - ratio
    assert found.network(images).shape == network(images).shape
    assert all(now % multiple == 0 and now < before for now, before in found.widths.values())


def test_small_weights_go_first(network):
    found = channels(network, SIZE)
    small = [0, 3, 9, 17]
    network.layers["stem"].weight.data[small] *= 1e-4
    network.layers["down"].weight.data[:, small] *= 1e-4
    [space] = next(one for one in found.layers if one.name == "stem").writes
    scores = magnitude(network, found)
    assert sorted(torch.argsort(scores[space])[:4].tolist()) == small


def test_taylor_is_the_change_of_the_loss(network, images):
    """Of a loss that is linear in the last map's input, leaving a channel out changes it by exactly the
    derivative.
    """
    found = channels(network, SIZE)
    direction = torch.randn(network(images).shape[1:], generator=torch.Generator().manual_seed(3))

    def loss(net):
        return (net(images) * direction).flatten(1).sum(1)

    [space] = next(one for one in found.layers if one.name == "side").writes
    scores = taylor(network, found, [loss])[space]
    with torch.no_grad():
        whole = loss(network)
        layer = network.layers["side"]
        for channel in (0, 7, 31):
            weight, bias = layer.weight[channel].clone(), layer.bias[channel].clone()
            layer.weight[channel], layer.bias[channel] = 0, 0
            change = (loss(network) - whole).double().square().mean()
            layer.weight[channel], layer.bias[channel] = weight, bias
            assert float(scores[channel]) == pytest.approx(float(change), rel=1e-3, abs=1e-9)


def test_the_smaller_network_is_saved_and_read(network, spec, images, tmp_path):
    smaller = pruned(network, SIZE, 0.4, multiple=4).network
    checkpoint.save(tmp_path / "small.safetensors", smaller, spec)
    read, _ = checkpoint.load(tmp_path / "small.safetensors")
    with torch.no_grad():
        assert torch.equal(read(images), smaller(images))


@pytest.mark.parametrize("ratio", [0.0, 1.0, -0.5, 2.0])
def test_a_ratio_that_is_none(network, ratio):
    with pytest.raises(ValueError, match="--prune"):
        pruned(network, SIZE, ratio)


def test_more_than_can_go(network):
    found = channels(network, SIZE)
    with pytest.raises(ValueError, match=r"only 0\.\d\d of the network's work can go"):
        chosen(found, magnitude(network, found), 0.98, multiple=4)


@pytest.mark.parametrize("by", ["magnitude", "taylor"])
def test_a_convolution_in_groups_keeps_all_its_channels(grouped, images, by):
    losses = [lambda network: network(images).flatten(1).square().sum(1)] if by == "taylor" else None
    found = pruned(grouped, SIZE, 0.15, losses, multiple=1)
    assert set(found.widths) == {"wide"}
    assert found.network.layers["quarters"].weight.shape == (32, 8, 3, 3)
    assert found.network(images).shape == grouped(images).shape
