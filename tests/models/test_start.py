"""Where a student comes from: a name, or a file that fits, with one line where it does not."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from poseling.codecs import FEATURES
from poseling.codecs.heatmap import Heatmap
from poseling.models import checkpoint, registry, start
from poseling.models.graph import MODEL, Graph, GraphNetwork, Operation
from poseling.skeleton import BODY19, COCO17, LSP14
from poseling.spec import PoseSpec


def saved(
    path: Path, name: str = "hourglass-1x8", codec: Heatmap | None = None, size: tuple[int, int] = (64, 64)
) -> str:
    torch.manual_seed(0)
    fields = Heatmap(size).fields() if codec is None else codec.fields()
    checkpoint.save(path, registry.build(name, 14, size), PoseSpec(name, LSP14, fields, size))
    return str(path)


def graph(joints: int) -> GraphNetwork:
    torch.manual_seed(0)
    attributes = {
        "channels": [3, joints],
        "kernel": [4, 4],
        "strides": [4, 4],
        "pads": [0] * 4,
        "dilations": [1, 1],
        "groups": 1,
        "bias": True,
    }
    return GraphNetwork(
        Graph((Operation("Conv", ("x",), ("maps",), {**attributes, "layer": "head"}),), "x", "maps")
    )


def test_a_name_of_the_zoo_is_random():
    torch.manual_seed(0)
    one = start.build("hourglass-1x8", LSP14, (64, 64))
    torch.manual_seed(0)
    assert all(
        torch.equal(a, b)
        for a, b in zip(
            one.parameters(), registry.build("hourglass-1x8", 14, (64, 64)).parameters(), strict=True
        )
    )
    assert start.contract("hourglass-1x8") is None
    assert start.codec_of("hourglass-1x8") == "heatmap"
    assert not start.is_file("hourglass-1x8")


def test_a_file_is_what_it_holds_also_at_another_size(tmp_path: Path):
    name = saved(tmp_path / "a.safetensors")
    network, spec = checkpoint.load(Path(name))
    assert start.is_file(name)
    assert start.contract(name) == spec
    assert start.codec_of(name) == "heatmap"
    images = torch.randn(1, 3, 128, 64)
    assert torch.equal(start.build(name, LSP14, (64, 128)).eval()(images), network(images))


def test_an_imported_graph_gets_the_joints(tmp_path: Path):
    path = tmp_path / "graph.safetensors"
    checkpoint.save(path, graph(17), PoseSpec(MODEL, COCO17, Heatmap((64, 64)).fields(), (64, 64)))
    same, other = (start.build(str(path), skeleton, (64, 64)).eval() for skeleton in (COCO17, BODY19))
    images = torch.randn(1, 3, 64, 64)
    expected = graph(17)(images)
    assert torch.equal(same(images), expected)
    found = other(images)
    assert found.shape == (1, 1, 19, 16, 16)
    torch.testing.assert_close(found[:, :, :17], expected)
    torch.testing.assert_close(found[:, :, 17], expected[:, :, 5:7].mean(2))  # the neck between the shoulders


def test_what_does_not_fit_is_one_line(tmp_path: Path):
    name = saved(tmp_path / "lsp.safetensors")
    with pytest.raises(
        ValueError,
        match=r"lsp\.safetensors: has the joints of lsp14, wanted are those of coco17; train it on data that have its own",
    ):
        start.build(name, COCO17, (64, 64))
    tokens = saved(tmp_path / "sized.safetensors", "vitpose_mobile-mobilenetv2_050-simple-32")
    assert start.build(tokens, LSP14, (64, 64)) is not None
    bins = str(tmp_path / "bins.safetensors")
    built = registry.build("simcc-mobilenetv2_050", 14, (64, 64))
    checkpoint.save(
        Path(bins),
        built,
        PoseSpec("simcc-mobilenetv2_050", LSP14, {"name": "simcc", "size": [64, 64]}, (64, 64)),
    )
    assert start.codec_of(bins) == "simcc"
    with pytest.raises(
        ValueError, match=r"bins\.safetensors: its weights are for inputs of 64x64, not of 96x96"
    ):
        start.build(bins, LSP14, (96, 96))
    with pytest.raises(FileNotFoundError, match=r"gone\.safetensors: there is no such checkpoint"):
        start.build(str(tmp_path / "gone.safetensors"), LSP14, (64, 64))
    with pytest.raises(FileNotFoundError, match=r"gone\.safetensors"):
        start.contract(str(tmp_path / "gone.safetensors"))
    path = tmp_path / "wide.safetensors"
    checkpoint.save(path, graph(14), PoseSpec(MODEL, COCO17, Heatmap((64, 64)).fields(), (64, 64)))
    with pytest.raises(
        ValueError, match=r"wide\.safetensors: Conv maps has 14 channels and skeleton coco17 has 17 joints"
    ):
        start.build(str(path), LSP14, (64, 64))
    trunk = tmp_path / "trunk.safetensors"
    codec = {"name": FEATURES, "size": [64, 64], "stride": 4, "channels": 14}
    checkpoint.save(trunk, graph(14), PoseSpec(MODEL, LSP14, codec, (64, 64), outputs=(FEATURES,)))
    with pytest.raises(
        ValueError, match=r"trunk\.safetensors: gives features and no joints; put a head on it first"
    ):
        start.codec_of(str(trunk))
