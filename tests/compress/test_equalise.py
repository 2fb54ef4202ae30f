"""Equalised channels: the same function, weights of one range, and what a ReLU6 allows."""

from __future__ import annotations

import pytest
import torch

from poseling.compress import quantize
from poseling.compress.equalise import equalised, pairs
from poseling.models.graph import Graph, GraphNetwork, Operation

BOUND = 6.0


def conv(layer, inputs, outputs, kernel=1, groups=1):
    return {
        "layer": layer, "channels": [inputs, outputs], "kernel": [kernel, kernel], "strides": [1, 1],
        "pads": [kernel // 2] * 4, "dilations": [1, 1], "groups": groups, "bias": True,
    }  # fmt: skip


def inverted(kind="Relu", **attributes) -> GraphNetwork:
    """1x1 to 8 channels, depthwise, 1x1: MobileNetV2's block, with channels of very unlike ranges."""
    torch.manual_seed(0)
    operations = (
        Operation("Conv", ("x",), ("a",), conv("a", 3, 8)),
        Operation(kind, ("a",), ("b",), attributes),
        Operation("Conv", ("b",), ("c",), conv("c", 8, 8, 3, groups=8)),
        Operation(kind, ("c",), ("d",), attributes),
        Operation("Conv", ("d",), ("y",), conv("y", 8, 5)),
    )
    network = GraphNetwork(Graph(operations, "x", "y")).eval()
    with torch.no_grad():
        wide = torch.logspace(-2, 2, 8)
        network.layers["a"].weight.mul_(wide.view(-1, 1, 1, 1))
        network.layers["a"].bias.mul_(wide)
        network.layers["c"].weight.div_(wide.view(-1, 1, 1, 1))
    return network


def spans(network: GraphNetwork) -> list[torch.Tensor]:
    """The largest weight of each of the 8 channels: going out of a, in c, and going into y."""
    a, c, y = (network.layers[name].weight.abs() for name in "acy")
    return [a.amax((1, 2, 3)), c.amax((1, 2, 3)), y.amax((0, 2, 3))]


def images() -> torch.Tensor:
    return torch.randn(4, 3, 8, 8, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize(
    ("kind", "attributes"), [("Relu", {}), ("Clip", {"min": 0.0, "max": BOUND})], ids=["ReLU", "ReLU6"]
)
def test_the_answer_stays(kind, attributes):
    network = inverted(kind, **attributes)
    even = equalised(network, [images()])
    assert even is not network
    with torch.no_grad():
        before, after = network(images()), even(images())
    assert float((after - before).abs().max()) <= 1e-5 * float(before.abs().max())


def test_the_small_network_of_these_tests_answers_the_same(network, images):
    found = [(pair.first.layer, pair.second.layer) for pair in pairs(network)]
    assert found == [("stem", "down"), ("wide", "deep"), ("less", "more")]
    with torch.no_grad():
        assert torch.allclose(equalised(network, [images])(images), network(images), atol=1e-5)


def test_ranges_become_those_of_the_paper():
    """sqrt(r1 r2) on both sides of a pair (section 4.1); in a chain of three, all three alike."""
    network = inverted()
    before, after = spans(network), spans(equalised(network, []))
    same = (before[0] * before[1] * before[2]) ** (1 / 3)
    for found in after:
        assert torch.allclose(found, same, rtol=0.01)


def test_a_channel_that_reaches_the_bound_keeps_its_scale_and_no_other_comes_over_it():
    network = inverted("Clip", min=0.0, max=BOUND)
    even = equalised(network, [images()])
    with torch.no_grad():
        was, now = network.values(images())["b"], even.values(images())["b"]
    reached = was.amax((0, 2, 3)) >= BOUND
    assert reached.any()
    assert not reached.all()
    assert torch.equal(was[:, reached], now[:, reached])
    assert float(now[:, ~reached].max()) <= BOUND * 1.0001


def test_a_map_that_somebody_else_reads_is_left():
    a, c = conv("a", 3, 8), conv("c", 8, 8)
    operations = (
        Operation("Conv", ("x",), ("a",), a),
        Operation("Conv", ("a",), ("c",), c),
        Operation("Add", ("a", "c"), ("y",)),
    )
    network = GraphNetwork(Graph(operations, "x", "y")).eval()
    assert pairs(network) == []
    assert equalised(network, []) is network


def test_one_scale_for_all_channels_loses_less():
    """What the paper is about: with one scale a tensor, narrow channels vanish unless they are equalised."""

    def noise(network: GraphNetwork) -> float:
        found = GraphNetwork(network.graph)
        found.load_state_dict(network.state_dict())
        with torch.no_grad():
            for layer in found.layers.values():
                whole, scale = quantize.rounded(layer.weight.numpy().reshape(1, -1), 0)
                layer.weight.copy_(torch.from_numpy(whole * scale[:, None]).view_as(layer.weight))
            truth = network(images())
            return float((found.eval()(images()) - truth).square().mean() / truth.var())

    assert noise(equalised(inverted(), [])) < 0.1 * noise(inverted())
