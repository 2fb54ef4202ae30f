"""Our own exports and the public networks as starts for training."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import helper, numpy_helper

from poseling.codecs import Heatmap, SimCC
from poseling.data.images import images
from poseling.export.onnx import Deployed, export, graph
from poseling.export.parity import windows
from poseling.models import checkpoint, registry
from poseling.models.graph import GraphNetwork
from poseling.models.importers.onnx import before_decoding, from_onnx
from poseling.skeleton import BLAZEPOSE33, COCO17, LSP14
from poseling.spec import PoseSpec
from poseling.teachers.checkpoint import checkpoint_teacher

SIZE = (64, 64)


def trained(name: str) -> torch.nn.Module:
    """A network with random weights whose norms have seen something: else all of them are equal, which no
    trained network's are.
    """
    torch.manual_seed(0)
    network = registry.build(name, 14, SIZE)
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.uniform_(module.weight, 0.8, 1.2)
            torch.nn.init.normal_(module.bias, 0, 0.1)
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.8, 1.2)
    return network.eval()


def exported(name: str, path: Path, raw: bool = False, **fields: object) -> tuple[torch.nn.Module, PoseSpec]:
    spec = replace(PoseSpec(name, LSP14, Heatmap(SIZE, sigma=1.5, softmax=True).fields(), SIZE), **fields)
    network = trained(name)
    path.write_bytes(graph(Deployed(network, spec, raw)).SerializeToString())
    return network, spec


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "raw", "fields"),
    [
        ("hourglass-2x16", False, {"colour": "bgr", "mean": (0.1, 0.2, 0.3)}),
        ("kdlpn-16", True, {}),
        ("tokenpose_mobile-mobilenetv2_050-1", True, {}),
        ("simcc-mobilenetv2_050", False, {"codec": SimCC(SIZE).fields()}),
    ],
)
def test_our_own_exports_come_back(tmp_path: Path, name: str, raw: bool, fields: dict[str, object]):
    path = tmp_path / "net.onnx"
    network, spec = exported(name, path, raw, **fields)
    start = from_onnx(path)
    assert replace(start.spec, model=spec.model, recipe="", arguments={}) == spec
    assert start.difference < 1e-5
    x = torch.randn(2, 3, *SIZE)
    with torch.no_grad():
        torch.testing.assert_close(start.network(x)[:, -1], network(x)[:, -1], rtol=1e-3, atol=1e-4)
    start.network.train()(x).square().mean().backward()
    assert [n for n, p in start.network.named_parameters() if p.grad is None] == []


def test_what_an_export_decodes_is_the_last_stage():
    """Also of a network that takes the last of its stages once itself, and whose answer is no stage that was
    put in as it is (okdhp).
    """

    def node(kind: str, inputs: str, output: str, **a: int) -> object:
        return helper.make_node(kind, inputs.split(), [output], **a)

    stages = [
        node("Unsqueeze", "a one", "a5"),
        node("Unsqueeze", "b one", "b5"),
        node("Concat", "a5 b5", "stack", axis=1),
    ]
    first = [node("Gather", "stack last", "picked", axis=1), node("Gather", "picked one", "channel", axis=1)]
    more = [
        node("ReduceSum", "stack one", "sum"),
        node("Concat", "stack sum", "more", axis=1),
        node("Gather", "more last", "answer", axis=1),
    ]
    numbers = [numpy_helper.from_array(np.array([1]), "one"), numpy_helper.from_array(np.array(-1), "last")]
    for nodes, expected in ((stages + first, "b"), (stages + first + more, "answer")):
        assert (
            before_decoding(helper.make_model(helper.make_graph(nodes, "net", [], [], numbers))) == expected
        )


@pytest.mark.slow
def test_an_export_of_an_import_has_the_same_outputs(tmp_path: Path):
    """The way round: out, in, with the weights' own names, and out again with our parity check."""
    exported("vitpose_mobile-mobilenetv2_050-simple-32", tmp_path / "net.onnx")
    start = from_onnx(tmp_path / "net.onnx")
    assert "backbone_features_0_0" in start.network.layers
    checkpoint.save(tmp_path / "start.safetensors", start.network, start.spec)
    loaded, spec = checkpoint.load(tmp_path / "start.safetensors")
    assert isinstance(loaded, GraphNetwork)
    assert not loaded.training
    assert spec == start.spec
    x = torch.randn(1, 3, *SIZE)
    assert torch.equal(loaded(x), start.network(x))
    again = graph(Deployed(loaded, spec)).graph.node
    first = onnx.load(tmp_path / "net.onnx").graph.node
    assert sorted(n.op_type for n in again) == sorted(n.op_type for n in first)


def foreign(path: Path, kind: int = onnx.TensorProto.FLOAT) -> None:
    """An unknown file: one convolution of stride 4 to 14 maps."""
    w = np.random.default_rng(0).normal(size=(14, 3, 4, 4)).astype(np.float32)
    nodes = [
        helper.make_node("Cast", ["in"], ["x"], to=1),
        helper.make_node("Conv", ["x", "w"], ["maps"], strides=[4, 4]),
    ]
    nodes += [helper.make_node("Sigmoid", ["maps"], ["y"])]
    net = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info("in", kind, ("N", 3, 64, 32))],
        [onnx.ValueInfoProto(name="y")],
        [numpy_helper.from_array(w, "w")],
    )
    onnx.save(helper.make_model(net, opset_imports=[helper.make_opsetid("", 18)], ir_version=9), path)


def test_an_unknown_file_needs_its_heatmaps_named(tmp_path: Path):
    path = tmp_path / "net.onnx"
    foreign(path)
    with pytest.raises(
        ValueError, match=r"net\.onnx: name the heatmaps, .*--until; candidates are maps \['N', 14, 16, 8\]"
    ):
        from_onnx(path)
    with pytest.raises(
        ValueError,
        match=r"net\.onnx: takes floats, and how pixels become those is unknown; give --mean and --std",
    ):
        from_onnx(path, "maps")
    with pytest.raises(ValueError, match=r"net\.onnx: maps has 14 channels, skeleton coco17 has 17 joints"):
        from_onnx(path, "maps", skeleton=COCO17, mean=(0, 0, 0))
    start = from_onnx(path, "maps", skeleton=LSP14, mean=(0.4, 0.5, 0.6), std=(0.2, 0.2, 0.2), colour="bgr")
    assert start.spec == PoseSpec(
        "graph", LSP14, Heatmap((32, 64), 4, 1.5, softmax=True).fields(), (32, 64), 1.25, "bgr", (0.4, 0.5, 0.6), (0.2, 0.2, 0.2),
        licences={"code": "unknown", "weights": "unknown", "data": "unknown"}, recipe="imported from net.onnx", arguments={"until": "maps"},
    )  # fmt: skip
    foreign(path, onnx.TensorProto.UINT8)  # whole numbers are 0..255
    assert from_onnx(path, "maps").spec.std == pytest.approx((1 / 255,) * 3)


def test_a_trunk_is_saved_but_answers_nothing_until_it_has_a_head(tmp_path: Path):
    foreign(tmp_path / "net.onnx", onnx.TensorProto.UINT8)
    start = from_onnx(tmp_path / "net.onnx", "maps")
    assert start.spec.codec == {"name": "features", "size": [32, 64], "stride": 4, "channels": 14}
    trunk = tmp_path / "trunk.safetensors"
    checkpoint.save(trunk, start.network, start.spec)
    for use in (checkpoint_teacher, lambda path: export(path, tmp_path / "out.onnx")):
        with pytest.raises(
            ValueError, match=r"trunk\.safetensors: gives features and no joints.*put a head on it"
        ):
            use(trunk)
    network, spec = checkpoint.load(trunk)
    codec = Heatmap(spec.size, softmax=True)
    checkpoint.save(
        trunk,
        network.with_head(codec, 14),
        replace(spec, skeleton=LSP14, codec=codec.fields(), outputs=("xy", "score")),
    )
    assert checkpoint_teacher(trunk)(torch.zeros(2, 64, 32, 3, dtype=torch.uint8)).xy.shape == (2, 14, 2)


# name: file, parameters (of 39 channels BlazePose keeps 33) up to the heatmaps, skeleton, padding
PUBLIC = {
    "lightning": ("movenet-lightning", 2_303_433, COCO17, (192, 192), 0.5, 1.2),
    "thunder": ("movenet-thunder", 6_211_505, COCO17, (256, 256), 0.5, 1.2),
    "lite": ("blazepose-lite", 731_599 - 6 * 33, BLAZEPOSE33, (256, 256), 0.0, 1.5),
}


@pytest.mark.shared
@pytest.mark.parametrize("name", PUBLIC)
def test_public_networks(shared: Path, name: str):
    file, parameters, skeleton, size, mean, padding = PUBLIC[name]
    some = images(shared / "data" / "people" / "exercises").images[:8]
    start = from_onnx(shared / "peers" / f"{file}.onnx", crops=lambda s: windows(some, s, 8))
    assert start.difference < 1e-5
    assert sum(p.numel() for p in start.network.parameters()) == parameters
    assert (start.spec.skeleton, start.spec.size, start.spec.padding) == (skeleton, size, padding)
    assert start.spec.mean == (mean,) * 3
    assert start.network(torch.zeros(1, 3, *size)).shape == (1, 1, len(skeleton), size[1] // 4, size[0] // 4)
    with pytest.raises(ValueError, match="Multiples of 32 work"):
        start.network.at((200, 200))


@pytest.mark.shared
def test_movenets_own_joints_come_out_of_its_heatmaps(shared: Path):
    """On whole images of one person its heatmaps and its own decoding agree, joint for joint: median within a
    heatmap pixel.
    """
    from poseling.teachers.network import NetworkTeacher
    from poseling.teachers.onnx import OnnxTeacher

    file = shared / "peers" / "movenet-lightning.onnx"
    crops = torch.from_numpy(
        windows(images(shared / "data" / "people" / "exercises").images[:16], (192, 192), 16)
    )
    start = from_onnx(file)
    ours, theirs = NetworkTeacher(start.network, start.spec)(crops), OnnxTeacher(file)(crops)
    apart = (ours.xy - theirs.xy).norm(dim=-1)[theirs.score > 0.3]
    assert len(apart) > 100
    assert apart.median() < 4


@pytest.mark.shared
def test_movenets_trunk_at_another_size(shared: Path):
    start = from_onnx(shared / "peers" / "movenet-lightning.onnx", "re_lu_2", (256, 192))
    assert start.spec.codec == {"name": "features", "size": [256, 192], "stride": 4, "channels": 24}
    assert start.network.with_head(Heatmap((256, 192)), 14)(torch.zeros(1, 3, 192, 256)).shape == (
        1,
        1,
        14,
        48,
        64,
    )


@pytest.mark.shared
@pytest.mark.slow
def test_movenet_exports_without_padding_of_its_own(shared: Path, tmp_path: Path):
    """One-sided padding is the convolutions' again: a Pad before each would cost time."""
    start = from_onnx(shared / "peers" / "movenet-lightning.onnx")
    checkpoint.save(tmp_path / "start.safetensors", start.network, start.spec)
    assert export(tmp_path / "start.safetensors", tmp_path / "out.onnx").max_pixels < 0.05
    nodes = onnx.load(tmp_path / "out.onnx").graph.node
    kinds = [n.op_type for n in nodes]
    assert "Pad" not in kinds[: len(kinds) - kinds[::-1].index("Conv")]
    first = next(n for n in nodes if n.op_type == "Conv")
    assert list(next(a.ints for a in first.attribute if a.name == "pads")) == [0, 0, 1, 1]
