"""Networks without some of their layers: exact where nothing was lost, and clear where it cannot be done."""

from __future__ import annotations

import pytest
import torch

from poseling.models.graph import Graph, GraphNetwork, Operation
from poseling.models.shorten import shortened


def conv(name: str, read: str, inputs: int, outputs: int, kernel: int = 1, stride: int = 1, groups: int = 1) -> Operation:
    attributes = {
        "layer": name, "channels": [inputs, outputs], "kernel": [kernel] * 2, "strides": [stride] * 2, "pads": [kernel // 2] * 4, "dilations": [1, 1],
        "groups": groups, "bias": True,
    }  # fmt: skip
    return Operation("Conv", (read,), (name,), attributes)


def relu(name: str, read: str) -> Operation:
    return Operation("Relu", (read,), (name,))


def network(*operations: Operation, output: str) -> GraphNetwork:
    torch.manual_seed(0)
    return GraphNetwork(Graph(operations, "x", output)).eval().requires_grad_(False)


def images(count: int = 4) -> torch.Tensor:
    return torch.randn((count, 3, 16, 12), generator=torch.Generator().manual_seed(1))


def test_exact_where_what_is_left_out_is_linear():
    """A 1x1 convolution of a 1x1 convolution is one: what is fitted is their product, but for the ridge of a thousandth."""
    net = network(conv("trunk", "x", 3, 8, 3), conv("deep", "trunk", 8, 8), conv("head", "deep", 8, 5), output="head")
    found = shortened(net, "trunk", "deep", images())
    assert [operation.layer for operation in found.graph.operations] == ["trunk", "head"]
    expected = net(images())
    torch.testing.assert_close(found(images()), expected, atol=0.02 * float(expected.std()), rtol=0)
    other = torch.randn(2, 3, 16, 12)
    torch.testing.assert_close(found(other), net(other), atol=0.03 * float(expected.std()), rtol=0)
    product = torch.einsum("ij,jk->ik", *(net.layers[name].weight[..., 0, 0] for name in ("head", "deep")))
    torch.testing.assert_close(found.layers["head"].weight[..., 0, 0], product, atol=0.03, rtol=0)
    assert torch.equal(found.layers["trunk"].weight, net.layers["trunk"].weight)


def test_what_has_the_same_shape_is_read_as_it_is():
    """A ReLU after a ReLU does nothing, so whatever reads the first gives exactly the same."""
    net = network(conv("trunk", "x", 3, 8, 3), relu("one", "trunk"), relu("two", "one"), conv("head", "two", 8, 5, 3), output="head")
    found = shortened(net, "one", "two", images())
    assert len(found.graph.operations) == 3
    assert torch.equal(found(images()), net(images()))


def test_channels_may_differ_for_a_pointwise_reader():
    """Wider in the middle, and two readers: both are fitted, and the sum that follows stays."""
    net = network(
        conv("trunk", "x", 3, 6, 3), conv("wide", "trunk", 6, 9), conv("a", "wide", 9, 4), conv("b", "wide", 9, 4), Operation("Add", ("a", "b"), ("out",)),
        output="out",
    )  # fmt: skip
    found = shortened(net, "trunk", "wide", images())
    assert found.layers["a"].in_channels == found.layers["b"].in_channels == 6
    expected = net(images())
    torch.testing.assert_close(found(images()), expected, atol=0.02 * float(expected.std()), rtol=0)
    assert torch.equal(net(images()), expected)  # it itself is as it was


def test_the_fit_is_the_best_there_is():
    """With a ReLU left out nothing is exact, but the error is orthogonal to what is read: no other weights do better on these images."""
    net = network(conv("trunk", "x", 3, 8, 3), relu("deep", "trunk"), conv("head", "deep", 8, 5), output="head")
    found = shortened(net, "trunk", "deep", images())
    error = (found(images()) - net(images())).pow(2).mean()
    for seed in range(5):
        torch.manual_seed(seed)
        other = shortened(net, "trunk", "deep", images())
        with torch.no_grad():
            other.layers["head"].weight += 0.05 * torch.randn_like(other.layers["head"].weight)
        assert (other(images()) - net(images())).pow(2).mean() > error


@pytest.mark.parametrize(
    ("start", "end", "message"),
    [
        ("nobody", "deep", "'nobody' is the name of no map"),
        ("trun", "dee", "is .*; layers can be left out between maps of one height and width"),
        ("e", "head", "'e' is part of same, wide, head, deep; give more of the name"),
        ("trunk", "head", "nothing reads head; name a map before the head"),
        ("trunk", "wide", r"Conv head reads wide of 9 channels and cannot read trunk of 6; choose other maps"),
        ("wide", "same", "which nothing before it gives|is needed for"),
    ],
)
def test_maps_that_do_not_go(start: str, end: str, message: str):
    net = network(
        conv("trunk", "x", 3, 6, 3), conv("same", "trunk", 6, 6), conv("wide", "same", 6, 9), conv("head", "wide", 9, 5, 3), conv("deep", "trunk", 6, 6, 3, 2),
        conv("deepest", "deep", 6, 6), Operation("Resize", ("deepest",), ("up",), {"scales": [1, 1, 2, 2], "mode": "nearest"}),
        output="head",
    ) if start != "trun" else network(conv("trunk", "x", 3, 6, 3), conv("deep", "trunk", 6, 6, 3, 2), conv("head", "deep", 6, 5), output="head")  # fmt: skip
    with pytest.raises(ValueError, match=message):
        shortened(net, start, end, images())
