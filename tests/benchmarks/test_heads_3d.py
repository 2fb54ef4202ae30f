"""The heads that are compared: what they give is what their codecs read."""

from __future__ import annotations

from types import ModuleType

import pytest
import torch

from poseling.models.graph import Graph, GraphNetwork, Operation, conv


def heatmaps() -> GraphNetwork:
    """Two joints' heatmaps of the input's size over four, and the map that they are made of."""
    steps = (
        Operation("Conv", ("image",), ("half",), conv("one", 3, 4, 3, stride=2)),
        Operation("Conv", ("half",), ("quarter",), conv("two", 4, 8, 3, stride=2)),
        Operation("Conv", ("quarter",), ("maps",), conv("three", 8, 2, 3)),
    )
    return GraphNetwork(Graph(steps, "image", "maps", "quarter"))


@pytest.mark.parametrize("name", ["lifting", "soft_argmax", "location_maps", "simcc3d"])
def test_a_head_gives_what_its_codec_reads(heads_3d: ModuleType, name: str):
    codec, build, _ = heads_3d.HEADS[name]
    network = build(heatmaps(), codec).eval()
    outputs = network(torch.rand(3, 3, codec.size[1], codec.size[0]))[:, -1]
    xy, score = codec.decode(outputs)
    assert (xy.shape, score.shape, codec.decode_3d(outputs).shape) == ((3, 2, 2), (3, 2), (3, 2, 3))


def test_a_soft_argmax_reads_its_maps_under_the_heatmap(heads_3d: ModuleType):
    """By hand: the mean of each axis' map, weighted by the softmax of the joint's heatmap."""
    codec, build, _ = heads_3d.HEADS["soft_argmax"]
    network = build(heatmaps(), codec).eval()
    images = torch.rand(2, 3, codec.size[1], codec.size[0])
    values = network.values(images)
    heat, of_joints = (
        values["maps"].flatten(2).softmax(-1),
        values[_maps(network)].unflatten(1, (2, 3)).flatten(3),
    )
    expected = (of_joints * heat[:, :, None]).sum(-1)
    assert torch.allclose(codec.decode_3d(network(images)[:, -1]), expected, atol=1e-6)


def _maps(network: GraphNetwork) -> str:
    return next(o.outputs[0] for o in network.graph.operations if o.layer == "head_maps")
