"""Spaces of channels: against the list by hand, against zeroed weights, and against torch-pruning where it is
installed.
"""

from __future__ import annotations

import pytest
import torch

from poseling.compress.channels import channels, kept
from poseling.evaluate.cost import cost
from poseling.models.graph import Graph, GraphNetwork, Operation

SIZE = (32, 48)


def space_of(found, layer: str) -> int:
    [space] = next(one for one in found.layers if one.name == layer).writes
    return space


def test_what_lives_together_is_one_space(network):
    found = channels(network, SIZE)
    assert space_of(found, "down") == space_of(found, "back")  # a residual sum
    assert (
        space_of(found, "wide") == space_of(found, "deep") == space_of(found, "more")
    )  # depthwise, and its gate
    maps = next(one for one in found.layers if one.name == "maps")
    assert maps.reads == (space_of(found, "side"), space_of(found, "down"))  # side by side
    assert {found.sizes[s] for s in found.free()} == {24, 16, 48, 32}
    assert found.fixed[space_of(found, "maps")] == "these are the joints"


def test_work_is_counted_as_everywhere_else(network):
    found = channels(network, SIZE)
    assert found.macs(found.sizes) == pytest.approx(1e9 * cost(network, SIZE).gmac)


def zeroed(network: GraphNetwork, found, space: int, gone: list[int]) -> GraphNetwork:
    """The network in which these channels are written as zeros: what taking them out must equal where a zero
    stays one.
    """
    for layer in found.layers:
        if layer.writes == (space,):
            for parameter in network.layers[layer.name].parameters():
                parameter.data[gone] = 0
    return network


@pytest.mark.parametrize("layer", ["stem", "wide", "down", "side", "less"])
def test_channels_that_are_gone_are_as_channels_of_zero(network, images, layer):
    found = channels(network, SIZE)
    space, gone = space_of(found, layer), [1, 5, 6]
    left = torch.tensor([i for i in range(found.sizes[space]) if i not in gone])
    smaller = kept(network, found, {space: left})
    with torch.no_grad():
        assert torch.allclose(smaller(images), zeroed(network, found, space, gone)(images), atol=1e-6)
    assert sum(p.numel() for p in smaller.parameters()) < sum(p.numel() for p in network.parameters())
    assert Graph.from_json(smaller.graph.to_json()) is not None  # it can be saved


def test_nothing_may_be_left_of_nothing(network):
    found = channels(network, SIZE)
    with pytest.raises(ValueError, match="nothing would be left"):
        kept(network, found, {space_of(found, "stem"): torch.tensor([], dtype=torch.long)})
    with pytest.raises(ValueError, match="these are the joints"):
        kept(network, found, {space_of(found, "maps"): torch.arange(3)})


def test_what_is_not_understood_keeps_its_channels():
    def c(name, i, o):
        return {"layer": name, "channels": [i, o], "kernel": [1, 1], "strides": [1, 1], "pads": [0] * 4, "dilations": [1, 1], "groups": 1, "bias": True}  # fmt: skip

    graph = Graph(
        (
            Operation("Conv", ("x",), ("a",), c("a", 3, 16)),
            Operation("Softmax", ("a",), ("p",), {"axis": 1}),
            Operation("Conv", ("p",), ("b",), c("b", 16, 32)),
            Operation("DepthToSpace", ("b",), ("d",), {"blocksize": 2}),
            Operation("Conv", ("d",), ("e",), c("e", 8, 4)),
        ),
        "x",
        "e",
    )
    found = channels(GraphNetwork(graph), SIZE)
    assert found.free() == []
    assert "Softmax needs them all" in found.fixed.values()


def test_the_same_groups_as_torch_pruning_finds(network, images):
    pruning = pytest.importorskip("torch_pruning")
    found = channels(network, SIZE)
    theirs = pruning.DependencyGraph().build_dependency(network, example_inputs=images)
    for layer in ("stem", "wide", "down", "side", "less"):
        module = network.layers[layer]
        group = theirs.get_pruning_group(module, pruning.prune_conv_out_channels, idxs=[0])
        names = {dependency.target.module for dependency, _ in group}
        touched = {one.name for one in found.layers if network.layers[one.name] in names}
        assert touched == {one.name for one in found.touching(space_of(found, layer))}
