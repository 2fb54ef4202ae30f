from __future__ import annotations

import copy
import json
from dataclasses import replace

import pytest
import torch
from torch.nn import functional as F

from poseling.codecs import Heatmap
from poseling.distill.hooks import watched
from poseling.evaluate.cost import cost
from poseling.models.graph import Graph, GraphNetwork, Operation
from poseling.skeleton import COCO17, LSP14, MPII16, SYNTH28, Skeleton


def conv(
    layer: str,
    inputs: str,
    outputs: str,
    channels: tuple[int, int],
    kernel: int = 1,
    stride: int = 1,
    pads: tuple[int, ...] | None = None,
) -> Operation:
    a = {
        "layer": layer,
        "channels": list(channels),
        "kernel": [kernel, kernel],
        "strides": [stride, stride],
        "pads": list(pads or (kernel // 2,) * 4),
        "dilations": [1, 1],
        "groups": 1,
        "bias": True,
    }
    return Operation("Conv", (inputs,), (outputs,), a)


def small(joints: int = 17) -> Graph:
    """A trunk to stride 4 that pads right and bottom, with a way back up from stride 8, and a head."""
    return Graph(
        (
            conv("stem", "x", "stem", (3, 4), 3, 2, (0, 0, 1, 1)),
            Operation("Clip", ("stem",), ("stem6",), {"min": 0.0, "max": 6.0}),
            conv("down", "stem6", "down", (4, 8), 3, 2),
            conv("deep", "down", "deep", (8, 8), 3, 2),
            Operation("Resize", ("deep",), ("up",), {"mode": "linear", "scales": [1.0, 1.0, 2.0, 2.0]}),
            Operation("Add", ("up", "down"), ("trunk",)),
            conv("score", "trunk", "maps", (8, joints)),
        ),
        "x",
        "maps",
        "trunk",
    )


def test_it_computes_its_operations():
    torch.manual_seed(0)
    network = GraphNetwork(small()).eval()
    x = torch.randn(2, 3, 32, 48)
    w = dict(network.layers.items())
    stem = F.conv2d(F.pad(x, (0, 1, 0, 1)), w["stem"].weight, w["stem"].bias, 2).clamp(0, 6)
    down = F.conv2d(stem, w["down"].weight, w["down"].bias, 2, 1)
    up = F.interpolate(
        F.conv2d(down, w["deep"].weight, w["deep"].bias, 2, 1), scale_factor=2, mode="bilinear"
    )
    expected = F.conv2d(up + down, w["score"].weight, w["score"].bias)
    torch.testing.assert_close(network(x), expected[:, None])


def test_json_gives_the_same_graph():
    graph = small()
    assert Graph.from_json(graph.to_json()) == graph
    assert (
        GraphNetwork(Graph.from_json(graph.to_json())).state_dict().keys()
        == GraphNetwork(graph).state_dict().keys()
    )


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"version": 2}, "version 2, this poseling reads version 1"),
        (
            {"operations": [["Sorcery", ["x"], ["y"], {}]], "output": "y", "features": ""},
            "operation 'Sorcery' is unknown",
        ),
        (
            {"operations": [["Relu", ["z"], ["y"], {}]], "output": "y", "features": ""},
            "Relu y reads z, which nothing before it gives",
        ),
        ({"output": "nowhere"}, "no operation gives nowhere"),
        ({"operations": 3}, "this is no graph of operations"),
    ],
)
def test_a_wrong_graph_is_refused(change: dict[str, object], said: str):
    fields = json.loads(small().to_json()) | change
    with pytest.raises(ValueError, match=said):
        Graph.from_json(json.dumps(fields))


def test_until_leaves_out_what_is_not_needed():
    part = small().until("down")
    assert [str(o) for o in part.operations] == ["Conv stem", "Clip stem6", "Conv down"]
    assert part.features == ""


def test_gradients_reach_every_parameter():
    torch.manual_seed(0)
    network = GraphNetwork(small()).train()
    network(torch.randn(2, 3, 32, 32)).square().mean().backward()
    assert [name for name, p in network.named_parameters() if p.grad is None or not p.grad.abs().any()] == []


def test_sizes_that_do_not_work_are_told_with_those_that_do():
    network = GraphNetwork(small())
    assert network.at((64, 32)) is network
    with pytest.raises(
        ValueError,
        match=r"does not take 60x36 images: Add trunk cannot run on .* Multiples of 8 work, such as 64x40",
    ):
        network.at((60, 36))


def test_shapes_cost_and_copies():
    network = GraphNetwork(small()).eval()
    assert network.shapes((64, 32))["maps"] == (1, 17, 8, 16)
    # stem 32x16, down 16x8, deep 8x4, score 16x8
    expected = 3 * 4 * 9 * 512 + 4 * 8 * 9 * 128 + 8 * 8 * 9 * 32 + 8 * 17 * 128
    assert cost(network, (64, 32)).gmac == expected / 1e9
    x = torch.randn(1, 3, 32, 32)
    assert torch.equal(copy.deepcopy(network)(x), network(x))


def test_features_can_be_watched():
    network = GraphNetwork(small()).eval()
    x = torch.randn(1, 3, 32, 32)
    with watched(network, ["features"]) as seen:
        network(x)
    torch.testing.assert_close(seen["features"], network.values(x)["trunk"])


def test_joints_keep_their_channels_by_name():
    torch.manual_seed(0)
    network = GraphNetwork(small()).eval()
    other = network.with_joints(COCO17, LSP14)
    before, after = network.layers["score"], other.layers["score"]
    assert other(torch.zeros(1, 3, 32, 32)).shape == (1, 1, 14, 8, 8)
    for name in ("left_knee", "right_wrist", "right_shoulder"):
        torch.testing.assert_close(after.weight[LSP14.index(name)], before.weight[COCO17.index(name)])
        torch.testing.assert_close(after.bias[LSP14.index(name)], before.bias[COCO17.index(name)])
    neck, head = LSP14.index("neck"), LSP14.index("head_top")
    shoulders = [COCO17.index("left_shoulder"), COCO17.index("right_shoulder")]
    face = [COCO17.index(j) for j in ("nose", "left_eye", "right_eye")]
    torch.testing.assert_close(after.weight[neck], before.weight[shoulders].mean(0))
    torch.testing.assert_close(after.bias[head], before.bias[face].mean())
    torch.testing.assert_close(other.layers["stem"].weight, network.layers["stem"].weight)
    assert network.layers["score"].weight.shape[0] == 17  # the old one is as it was


def test_middles_and_unknown_joints():
    torch.manual_seed(0)
    network = GraphNetwork(small()).eval()
    before, after = network.layers["score"], network.with_joints(COCO17, MPII16).layers["score"]
    hips = [COCO17.index("left_hip"), COCO17.index("right_hip")]
    torch.testing.assert_close(after.weight[MPII16.index("pelvis")], before.weight[hips].mean(0))
    tail = Skeleton("tailed", ("nose", "tail"), (0, 0))
    fresh = network.with_joints(COCO17, tail).layers["score"].weight[1]
    assert 0 < fresh.abs().max() < 0.01
    grown = network.with_joints(COCO17, SYNTH28).layers["score"]
    torch.testing.assert_close(
        grown.weight[SYNTH28.index("left_heel")], before.weight[COCO17.index("left_ankle")]
    )


def test_joints_that_cannot_be_changed_are_an_error():
    network = GraphNetwork(small())
    with pytest.raises(ValueError, match="Conv maps has 17 channels and skeleton lsp14 has 14 joints"):
        network.with_joints(LSP14, COCO17)
    bare = GraphNetwork(small().until("trunk"))
    with pytest.raises(ValueError, match="ends in Add trunk, no convolution"):
        bare.with_joints(COCO17, LSP14)


def test_channels_can_be_chosen():
    network = GraphNetwork(small()).eval()
    x = torch.randn(1, 3, 32, 32)
    torch.testing.assert_close(network.with_channels((4, 0))(x), network(x)[:, :, [4, 0]])
    with pytest.raises(ValueError, match="no convolution of 18 channels"):
        network.with_channels((17,))


def test_a_new_head_on_a_map():
    torch.manual_seed(0)
    network = GraphNetwork(small()).eval()
    codec = Heatmap((32, 48), 4)
    x = torch.randn(2, 3, 48, 32)
    headed = network.with_head(codec, 14)  # on `trunk`, which the old head read
    assert headed(x).shape == (2, 1, 14, 12, 8)
    with watched(headed, ["features"]) as seen:
        headed(x)
    torch.testing.assert_close(seen["features"], network.values(x)["trunk"])
    assert "score" not in headed.layers
    again = network.with_head(codec, 3, "down").train()
    again(x).square().mean().backward()
    assert [n for n, p in again.named_parameters() if p.grad is None] == []
    with pytest.raises(ValueError, match=r"no map 'up there'; its last ones are .*trunk \(8, 12, 8\)"):
        network.with_head(codec, 3, "up there")
    with pytest.raises(ValueError, match="deep is a map of 4x6, the codec's heatmaps are 8x12"):
        network.with_head(codec, 3, "deep")
    with pytest.raises(ValueError, match="lies in or behind a head"):
        headed.with_head(codec, 3, "head/relu")


def test_weights_that_are_shared_stay_shared():
    twice = Graph((conv("one", "x", "a", (3, 3), 3), conv("one", "a", "b", (3, 3), 3)), "x", "b")
    network = GraphNetwork(twice)
    assert sum(p.numel() for p in network.parameters()) == 3 * 3 * 9 + 3
    with pytest.raises(ValueError, match="shares its weights"):
        network.with_channels((0,))
    assert replace(twice) == twice
