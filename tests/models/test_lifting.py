"""The head that lifts a 2D network's joints into space."""

from __future__ import annotations

import numpy as np
import onnxruntime
import pytest
import torch

from poseling.codecs import HeatmapXYZ
from poseling.export.onnx import export
from poseling.models import checkpoint
from poseling.models.graph import Graph, GraphNetwork, Operation
from poseling.models.importers.onnx import from_onnx
from poseling.models.lifting import CONTEXT, HIDDEN, TOKEN, resized, with_lifting
from poseling.skeleton import Skeleton
from poseling.spec import PoseSpec
from poseling.train.optim import Training, optimizer

PAIR = Skeleton("pair", ("pelvis", "head"), (0, 0))


def conv(layer, channels_in, channels, kernel=3, stride=1):
    pad = (kernel - stride + 1) // 2 if stride == 1 else kernel // 2
    return {
        "layer": layer, "channels": [channels_in, channels], "kernel": [kernel] * 2, "strides": [stride] * 2, "pads": [pad] * 4,
        "dilations": [1, 1], "groups": 1, "bias": True,
    }  # fmt: skip


def flat():
    """A network with a map of stride 4 with 5 channels, one of stride 16 with 6 that is a sum, and 2 heatmaps
    of stride 4.
    """
    torch.manual_seed(0)
    return GraphNetwork(
        Graph(
            (
                Operation("Conv", ("x",), ("half",), conv("a", 3, 4, stride=2)),
                Operation("Conv", ("half",), ("shallow",), conv("b", 4, 5, stride=2)),
                Operation("Conv", ("shallow",), ("eighth",), conv("c", 5, 6, stride=2)),
                Operation("Conv", ("eighth",), ("deep",), conv("d", 6, 6, stride=2)),
                Operation("Relu", ("deep",), ("active",)),
                Operation("Add", ("deep", "active"), ("sum",)),
                Operation("Conv", ("sum",), ("narrow",), conv("e", 6, 5, 1)),
                Operation("Resize", ("narrow",), ("wide",), RESIZE),
                Operation("Add", ("shallow", "wide"), ("both",)),
                Operation("Conv", ("both",), ("maps",), conv("f", 5, 2, 1)),
            ),
            "x",
            "maps",
            "both",
        )
    )  # fmt: skip


RESIZE = {"mode": "linear", "coordinate_transformation_mode": "half_pixel", "scales": [1, 1, 4, 4]}


def test_heatmaps_are_what_they_were_and_space_is_beside_them():
    network, codec = flat().eval(), HeatmapXYZ((32, 64))
    lifted, images = with_lifting(network, codec).eval(), torch.randn(3, 3, 64, 32)
    with torch.no_grad():
        before, after = network(images), lifted(images)
    assert after.shape == (3, 1, 2, 16 * 8 + 3)
    assert torch.equal(after[..., :-3].unflatten(-1, (16, 8)), before)
    xyz = after[..., -3:]
    assert not torch.allclose(xyz[0], xyz[1])  # each image has its own
    tokens = 2 * (TOKEN + 2)
    expected = [
        (5 + 6 + 1) * TOKEN, (6 + 1) * CONTEXT, (tokens + CONTEXT + 1) * HIDDEN, (HIDDEN + 1) * HIDDEN, (HIDDEN + 1) * 6,
    ]  # fmt: skip
    new = sum(p.numel() for p in lifted.parameters()) - sum(p.numel() for p in network.parameters())
    assert new == sum(expected)


def test_the_head_reads_where_the_heatmap_is():
    """With a heatmap that is one pixel, the head gets that pixel's place and features, and of the deep map the
    pixel above it.
    """
    network, codec = flat().eval(), HeatmapXYZ((32, 64))
    values = with_lifting(network, codec).eval().values(torch.randn(1, 3, 64, 32))
    attention = values["lift/attention"][0]  # (2, 128)
    features = values["both"][0].flatten(1)  # (5, 128)
    assert torch.allclose(values["lift/both/at"][0], attention @ features.T, atol=1e-6)
    blocks = attention.view(2, 4, 4, 2, 4).sum((2, 4)).flatten(1)  # 4x4 pixels of the heatmap to one of 4x2
    assert torch.allclose(values["lift/sum/at"][0], blocks @ values["sum"][0].flatten(1).T, atol=1e-6)
    y, x = torch.meshgrid(torch.arange(16.0), torch.arange(8.0), indexing="ij")
    where = torch.stack([(x - 3.5) * 2 / 16, (y - 7.5) * 2 / 16], -1).view(-1, 2)
    assert torch.allclose(values["lift/where"][0], attention @ where, atol=1e-6)


def test_a_network_of_other_maps_is_refused():
    with pytest.raises(
        ValueError, match=r"gives \(2, 16, 8\) for images of 32x64, wanted are heatmaps of 16x32"
    ):
        with_lifting(flat(), HeatmapXYZ((32, 64), stride=2))


def test_the_same_weights_serve_another_size():
    small = with_lifting(flat(), HeatmapXYZ((32, 64))).eval()
    large = resized(small, HeatmapXYZ((64, 64)))
    assert large(torch.randn(2, 3, 64, 64)).shape == (2, 1, 2, 16 * 16 + 3)
    assert {k: v.shape for k, v in large.state_dict().items()} == {
        k: v.shape for k, v in small.state_dict().items()
    }
    images = torch.randn(2, 3, 64, 32)
    assert torch.equal(resized(large, HeatmapXYZ((32, 64))).eval()(images), small(images))
    with pytest.raises(ValueError, match="the network has no lifting head to be resized"):
        resized(flat(), HeatmapXYZ((32, 64)))


def test_it_is_saved_trained_and_exported_like_any_other(tmp_path):
    codec = HeatmapXYZ((32, 64))
    network = with_lifting(flat(), codec)
    spec = PoseSpec("graph", PAIR, codec.fields(), (32, 64))
    checkpoint.save(tmp_path / "a.safetensors", network, spec)
    again, _ = checkpoint.load(tmp_path / "a.safetensors")
    images = torch.randn(2, 3, 64, 32)
    assert torch.equal(again(images), network.eval()(images))
    export(tmp_path / "a.safetensors", tmp_path / "a.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "a.onnx", providers=["CPUExecutionProvider"])
    crops = np.random.default_rng(0).integers(0, 256, (2, 64, 32, 3)).astype(np.uint8)
    xy, score, xyz = session.run(None, {"crops": crops})
    assert (xy.shape, score.shape, xyz.shape) == ((2, 2, 2), (2, 2), (2, 2, 3))
    # Names are the file's, weights the same.
    read = resized(from_onnx(tmp_path / "a.onnx").network, codec).eval()
    assert torch.allclose(read(images), network(images), atol=1e-5)
    assert {name for name in read.layers if name.startswith("lift")} == {
        name for name in network.layers if name.startswith("lift")
    }


def test_a_new_head_learns_faster_than_the_trunk():
    groups = optimizer(with_lifting(flat(), HeatmapXYZ((32, 64))), Training(layer_decay=0.25)).param_groups
    by_scale = {
        scale: sum(p.numel() for group in groups if group["scale"] == scale for p in group["params"])
        for scale in (1.0, 0.25)
    }
    assert by_scale[0.25] == sum(p.numel() for p in flat().parameters())
    assert by_scale[1.0] > 0
