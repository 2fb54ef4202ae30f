"""Folding changes no answer."""

from __future__ import annotations

import torch

from poseling.compress.fold import folded
from poseling.models.graph import Graph, GraphNetwork, Operation


def conv(layer, inputs, outputs, kernel, bias=False):
    return {
        "layer": layer, "channels": [inputs, outputs], "kernel": [kernel, kernel], "strides": [1, 1],
        "pads": [kernel // 2] * 4, "dilations": [1, 1], "groups": 1, "bias": bias,
    }  # fmt: skip


def norm(layer, channels):
    return {"layer": layer, "channels": channels, "epsilon": 1e-5, "momentum": 0.9}


def test_norms_and_branches_vanish_and_the_answer_stays():
    torch.manual_seed(0)
    graph = Graph(
        (
            Operation("Conv", ("x",), ("a",), conv("a", 3, 8, 3)),
            Operation("BatchNormalization", ("a",), ("an",), norm("an", 8)),
            Operation("Conv", ("x",), ("b",), conv("b", 3, 8, 1)),
            Operation("BatchNormalization", ("b",), ("bn",), norm("bn", 8)),
            Operation("Add", ("an", "bn"), ("sum",)),
            Operation("Relu", ("sum",), ("r",)),
            Operation("BatchNormalization", ("r",), ("rn",), norm("rn", 8)),  # behind a ReLU: stays
            Operation("Conv", ("rn",), ("y",), conv("y", 8, 2, 1, True)),
        ),
        "x",
        "y",
    )
    network = GraphNetwork(graph)
    for name, tensor in network.state_dict().items():
        if "running_var" in name:
            tensor.uniform_(0.5, 2)
        elif tensor.is_floating_point():
            tensor.normal_()
    network.eval()
    smaller = folded(network)
    assert [o.kind for o in smaller.graph.operations] == ["Conv", "Relu", "BatchNormalization", "Conv"]
    x = torch.randn(2, 3, 10, 12)
    with torch.no_grad():
        assert torch.allclose(smaller(x), network(x), atol=1e-4)


def test_a_network_without_norms_is_itself(network):
    assert folded(network) is network
