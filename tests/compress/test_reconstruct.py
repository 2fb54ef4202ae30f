"""Least squares: where what is gone can be made up for, it is."""

from __future__ import annotations

import copy

import numpy as np
import torch
from torch import nn

from poseling.compress.lowrank import factorised
from poseling.compress.prune import pruned
from poseling.compress.reconstruct import _fit, reconstructed


def test_channels_that_say_the_same_are_made_up_for(network, images):
    """Of two equal channels one can go: the next layer takes the other twice."""
    with torch.no_grad():
        for first, second in ((0, 1), (2, 3), (4, 5), (6, 7)):
            for layer in ("stem",):
                network.layers[layer].weight[second] = network.layers[layer].weight[first]
                network.layers[layer].bias[second] = network.layers[layer].bias[first]
    original = copy.deepcopy(network)
    from poseling.compress.channels import channels, kept

    found = channels(network, (32, 48))
    [space] = next(one for one in found.layers if one.name == "stem").writes
    left = torch.tensor([i for i in range(24) if i not in (1, 3, 5, 7)])
    smaller = kept(network, found, {space: left})
    with torch.no_grad():
        before = (smaller(images) - original(images)).abs().max()
        fitted = reconstructed(smaller, original, [images], {"stem": left})
        after = (fitted(images) - original(images)).abs().max()
    assert after < 0.02 * before


def test_pruning_and_factorising_lose_less(network, images):
    other = torch.randn(8, 3, 48, 32, generator=torch.Generator().manual_seed(9))
    with torch.no_grad():
        truth = network(other)
        for made in (pruned(network, (32, 48), 0.3, multiple=4), factorised(network, (32, 48), 0.6)):
            writes = getattr(made, "writes", None)
            before = (made.network(other) - truth).square().mean()
            fitted = reconstructed(made.network, network, [torch.cat([images, -images])], writes)
            assert (fitted(other) - truth).square().mean() < 0.85 * before


def test_an_unchanged_network_stays(network, images):
    same = reconstructed(copy.deepcopy(network), network, [images])
    for a, b in zip(same.parameters(), network.parameters(), strict=True):
        assert torch.equal(a, b)


@torch.no_grad()
def test_operations_step_by_step_read_what_the_network_makes(network, images):
    everything = network.values(images)
    for operation, values in network.steps(images):
        read = {name: values[name] for name in operation.inputs if name}
        assert all(torch.equal(value, everything[name]) for name, value in read.items())
    assert operation is network.graph.operations[-1]


@torch.no_grad()
def test_a_layer_is_fitted_by_least_squares():
    """Against numpy's own, where the little pull towards the old weights says nothing."""
    lot = torch.Generator().manual_seed(3)
    layer = nn.Linear(3, 2)
    x, y = torch.randn(1, 40, 3, generator=lot), torch.randn(1, 40, 2, generator=lot)
    _fit(layer, [x], [y], None)
    expected = np.linalg.lstsq(np.concatenate([x[0], np.ones((40, 1))], 1), y[0].numpy(), rcond=None)[0]
    np.testing.assert_allclose(layer.weight.detach(), expected[:3].T, atol=2e-3)
    np.testing.assert_allclose(layer.bias.detach(), expected[3], atol=2e-3)
