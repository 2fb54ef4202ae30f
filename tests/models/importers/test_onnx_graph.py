"""Small files made by hand: what is taken off at the start, folded, freed, and what is refused in one line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import helper, numpy_helper

from poseling.models.importers.onnx_check import difference
from poseling.models.importers.onnx_file import candidates, resolve
from poseling.models.importers.onnx_graph import read
from poseling.skeleton import Skeleton
from poseling.spec import PoseSpec

W = np.random.default_rng(0).normal(size=(5, 3, 3, 3)).astype(np.float32)
CONV = helper.make_node("Conv", ["x", "w"], ["y"], pads=[1, 1, 1, 1])
SPEC = PoseSpec(
    "graph", Skeleton("none", (), ()), {"name": "features"}, (8, 8), mean=(0.0,) * 3, std=(1.0,) * 3
)


def model(
    nodes: list[Any],
    shape: Any = ("N", 3, 8, 8),
    kind: int = onnx.TensorProto.FLOAT,
    stored: dict[str, Any] | None = None,
    y="y",
) -> Any:
    stored = {"w": W} | (stored or {})
    return helper.make_model(
        helper.make_graph(
            nodes,
            "net",
            [helper.make_tensor_value_info("in", kind, shape)],
            [onnx.ValueInfoProto(name=y)],
            [numpy_helper.from_array(np.asarray(v), k) for k, v in stored.items()],
        ),
        opset_imports=[helper.make_opsetid("", 18)],
        ir_version=9,
    )


def taken(nodes: list[Any], **more: Any) -> Any:
    return read(Path("net.onnx"), "y", None, model(nodes, **more))


def test_a_tensorflow_start_becomes_the_contract():
    """int32 pixels laid out (1, H, W, 3), less 127.5 by 127.5, with weights that are half floats and cast."""
    nodes = [
        helper.make_node("Cast", ["in"], ["f"], to=1),
        helper.make_node("Mul", ["f", "part"], ["m"]),
        helper.make_node("Sub", ["m", "one"], ["s"]),
        helper.make_node("Transpose", ["s"], ["x"], perm=[0, 3, 1, 2]),
        helper.make_node("Cast", ["half"], ["w"], to=1),
        CONV,
    ]
    stored = {
        "part": np.float32(1 / 127.5),
        "one": np.ones((1, 1, 1, 3), np.float32),
        "half": W.astype(np.float16),
    }
    net = model(nodes, (1, 8, 8, 3), onnx.TensorProto.INT32, stored)
    del net.graph.initializer[0]  # w itself
    found = read(Path("net.onnx"), "y", None, net)
    assert [o.kind for o in found.network.graph.operations] == ["Conv"]
    assert (found.layout, found.batch, found.size, found.normalises) == ("bhwc", 1, (8, 8), True)
    np.testing.assert_allclose(found.gain, 1 / 127.5)
    np.testing.assert_allclose(found.offset, -1)
    np.testing.assert_array_equal(next(found.network.parameters()).detach(), W.astype(np.float16))
    half = PoseSpec("graph", SPEC.skeleton, SPEC.codec, (8, 8), mean=(0.5,) * 3, std=(0.5,) * 3)
    crops = np.random.default_rng(0).integers(0, 256, (5, 8, 8, 3), np.uint8)
    assert difference(found, half, crops) < 1e-6


def test_colours_that_are_turned_and_scaled_one_by_one():
    nodes = [
        helper.make_node("Gather", ["in", "bgr"], ["b"], axis=1),
        helper.make_node("Sub", ["b", "mean"], ["s"]),
        helper.make_node("Div", ["s", "std"], ["d"]),
        helper.make_node("Neg", ["d"], ["n"]),
        helper.make_node("Conv", ["n", "w"], ["y"]),
    ]
    stored = {
        "bgr": np.array([2, 1, 0]),
        "mean": np.float32([[[1]], [[2]], [[3]]]),
        "std": np.float32([[[4]], [[5]], [[8]]]),
    }
    found = taken(nodes, stored=stored)
    assert found.flipped
    assert [o.kind for o in found.network.graph.operations] == ["Neg", "Conv"]
    np.testing.assert_allclose(found.gain, (1 / 4, 1 / 5, 1 / 8))
    np.testing.assert_allclose(found.offset, (-1 / 4, -2 / 5, -3 / 8))
    x = torch.randn(2, 3, 8, 8)
    torch.testing.assert_close(found.network_input(found.fed(x)), x)


def test_what_the_output_does_not_need_is_left_out():
    nodes = [helper.make_node("Relu", ["in"], ["x"]), CONV, helper.make_node("NonZero", ["y"], ["z"])]
    assert [o.kind for o in taken(nodes).network.graph.operations] == ["Relu", "Conv"]


def test_constants_that_are_made_of_constants_are_folded():
    nodes = [
        helper.make_node("Constant", [], ["a"], value=constant(np.array([5, 8]))),
        helper.make_node("Constant", [], ["b"], value=constant(np.array([0]))),
        helper.make_node("Concat", ["b", "a"], ["c"], axis=0),
        helper.make_node("Concat", ["c", "rest"], ["shape"], axis=0),
        helper.make_node("Conv", ["in", "w"], ["f"], pads=[1, 1, 1, 1]),
        helper.make_node("Reshape", ["f", "shape"], ["y"]),
    ]
    found = taken(nodes, stored={"rest": np.array([-1])})
    assert [(o.kind, o.attributes.get("shape")) for o in found.network.graph.operations] == [
        ("Conv", None),
        ("Reshape", [0, 5, 8, -1]),
    ]


def test_a_fixed_batch_is_freed():
    """(1, 5, 64) and back again, fixed to one image; two give what each gives alone."""
    nodes = [
        helper.make_node("Relu", ["in"], ["x"]),
        CONV,
        helper.make_node("Reshape", ["y", "flat"], ["f"]),
        helper.make_node("Softmax", ["f"], ["s"]),
        helper.make_node("Reshape", ["s", "maps"], ["z"]),
    ]
    net = model(
        nodes, (1, 3, 8, 8), stored={"flat": np.array([1, 5, 64]), "maps": np.array([1, 5, 8, 8])}, y="z"
    )
    found = read(Path("net.onnx"), "z", None, net)
    x = torch.randn(3, 3, 8, 8)
    torch.testing.assert_close(found.network(x), torch.cat([found.network(p[None]) for p in x]))
    assert read(Path("net.onnx"), "y", None, net).softmax


def test_a_map_with_a_fixed_size_is_resized_by_a_factor():
    nodes = [CONV, helper.make_node("Resize", ["y", "", "", "to"], ["z"], mode="linear")]
    nodes[0] = helper.make_node("Conv", ["in", "w"], ["y"], strides=[2, 2], pads=[1, 1, 1, 1])
    found = read(
        Path("net.onnx"), "z", None, model(nodes, (1, 3, 8, 8), stored={"to": np.array([1, 5, 8, 8])}, y="z")
    )
    assert found.network(torch.zeros(1, 3, 16, 24)).shape == (1, 1, 5, 16, 24)


def test_equal_norms_that_are_stored_once_learn_apart_and_shared_convolutions_together():
    v = np.ones(3, np.float32)
    norm = ["v"] * 4
    nodes = [
        helper.make_node("Relu", ["in"], ["a"]),
        helper.make_node("BatchNormalization", ["a", *norm], ["b"]),
        helper.make_node("BatchNormalization", ["b", *norm], ["c"]),
        helper.make_node("Conv", ["c", "k"], ["d"]),
        helper.make_node("Conv", ["d", "k"], ["y"]),
    ]
    found = taken(nodes, stored={"v": v, "k": np.ones((3, 3, 1, 1), np.float32)})
    assert sum(p.numel() for p in found.network.parameters()) == 4 * 3 + 9


def test_names_are_those_of_the_file():
    names = {
        "net/block_1/Conv2D_weights:0": "net_block_1",
        "backbone.stem.0.weight": "backbone_stem_0",
        "onnx::Conv_71": "out",
    }
    for stored, layer in names.items():
        node = helper.make_node("Conv", ["in", stored], ["out"])
        found = read(Path("net.onnx"), "out", None, model([node], stored={stored: W}, y="out"))
        assert list(found.network.layers) == [layer]


def test_tensors_are_found_by_part_of_their_name():
    nodes = [
        helper.make_node("Relu", ["in"], ["net/head_1/conv/u1:0"]),
        helper.make_node("Relu", ["net/head_1/conv/u1:0"], ["net/head_1/conv:0"]),
        helper.make_node("Relu", ["net/head_1/conv:0"], ["net/head_10/conv:0"]),
    ]
    net = model(nodes, y="net/head_10/conv:0")
    assert resolve(net, "head_1") == "net/head_1/conv:0"
    assert resolve(net, "net/head_1/conv/u1:0") == "net/head_1/conv/u1:0"
    with pytest.raises(ValueError, match=r"'conv' may be net/head_1/conv/u1:0, .*; give more of the name"):
        resolve(net, "conv")
    with pytest.raises(ValueError, match="no tensor is called 'haed_10'; near are head_10"):
        resolve(net, "haed_10")


def test_candidates_are_the_last_convolutions():
    nodes = [
        helper.make_node("Conv", ["in", "w"], ["a"]),
        helper.make_node("Conv", ["a", "k"], ["maps"]),
        helper.make_node("Conv", ["a", "k"], ["more"]),
        helper.make_node("Sigmoid", ["maps"], ["y"]),
    ]
    assert candidates(model(nodes, stored={"k": np.ones((2, 5, 1, 1), np.float32)})) == [
        "maps ['N', 2, 6, 6]",
        "more ['N', 2, 6, 6]",
    ]


def constant(value: Any) -> Any:
    return numpy_helper.from_array(np.asarray(value))


BRANCH = helper.make_graph(
    [helper.make_node("Constant", [], ["o"], value=constant(np.float32(1)))],
    "b",
    [],
    [onnx.ValueInfoProto(name="o")],
)


@pytest.mark.parametrize(
    ("nodes", "said"),
    [
        (
            [helper.make_node("NonZero", ["in"], ["y"])],
            r"operator NonZero \(y\) is unknown; name an earlier tensor with --until",
        ),
        (
            [helper.make_node("FusedConv", ["in", "w"], ["y"], domain="com.microsoft")],
            r"operator FusedConv of com.microsoft \(y\) is unknown",
        ),
        (
            [
                helper.make_node("ReduceSum", ["in"], ["s"], keepdims=0),
                helper.make_node("Cast", ["s"], ["t"], to=9),
                helper.make_node("If", ["t"], ["y"], then_branch=BRANCH, else_branch=BRANCH),
            ],
            r"operator If \(y\) is control flow",
        ),
        (
            [
                helper.make_node("ReduceMean", ["in", "zero"], ["m"]),
                helper.make_node("Add", ["m", "in"], ["y"]),
            ],
            "Add y mixes the images of a batch",
        ),
        (
            [helper.make_node("Conv", ["in", "in"], ["y"])],
            r"Conv \(y\) computes its weights in from the image",
        ),
        ([helper.make_node("Relu", ["w"], ["y"])], "y does not depend on the image"),
        ([helper.make_node("Sub", ["in", "one"], ["y"])], "y is only the image itself"),
        (
            [helper.make_node("Relu", ["in"], ["r"]), helper.make_node("Add", ["r", "w"], ["y"])],
            "Add y cannot run on",
        ),
        (
            [
                helper.make_node(
                    "Resize",
                    ["in", "", "s"],
                    ["y"],
                    coordinate_transformation_mode="tf_crop_and_resize",
                    mode="linear",
                )
            ],
            "a Resize with tf_crop_and_resize is not known",
        ),
        (
            [helper.make_node("Resize", ["in", "", "s"], ["y"], antialias=1, mode="linear")],
            "with antialias 1 is unknown; export it again without",
        ),
    ],
)
def test_what_cannot_be_read_is_refused_in_one_line(nodes: list[Any], said: str):
    stored = {"one": np.float32(1), "zero": np.array([0]), "s": np.array([1, 1, 2, 2], np.float32)}
    with pytest.raises(ValueError, match=rf"^net\.onnx: .*{said}") as error:
        taken(nodes, stored=stored)
    assert "\n" not in str(error.value)


def test_inputs_that_are_no_images_are_refused():
    with pytest.raises(ValueError, match="has 3 axes, a batch of images has four"):
        taken([helper.make_node("Relu", ["in"], ["y"])], shape=(1, 3, 8))
    with pytest.raises(ValueError, match="which has no axis of three colours"):
        taken([helper.make_node("Relu", ["in"], ["y"])], shape=(1, 4, 8, 8))
    with pytest.raises(ValueError, match="leaves the size of its images free; give one with --size W H"):
        taken([helper.make_node("Relu", ["in"], ["y"])], shape=(1, 3, "H", "W"))
    two = model([helper.make_node("Add", ["in", "other"], ["y"])])
    two.graph.input.append(helper.make_tensor_value_info("other", 1, (1, 3, 8, 8)))
    with pytest.raises(ValueError, match=r"has 2 inputs \(in, other\), a network takes one image"):
        read(Path("net.onnx"), "y", None, two)


def test_bad_files_are_refused(tmp_path: Path):
    path = tmp_path / "net.onnx"
    with pytest.raises(FileNotFoundError, match=r"net\.onnx: there is no such file"):
        read(path, "y")
    whole = model([helper.make_node("Relu", ["in"], ["x"]), CONV]).SerializeToString()
    for data in (whole[: len(whole) // 2], b"\x89PNG no network at all", b""):
        path.write_bytes(data)
        with pytest.raises(ValueError, match=r"net\.onnx: is (cut short or )?no ONNX file"):
            read(path, "y")


def test_weights_that_are_not_there(tmp_path: Path):
    path = tmp_path / "net.onnx"
    onnx.save(
        model([helper.make_node("Relu", ["in"], ["x"]), CONV]),
        path,
        save_as_external_data=True,
        location="net.bin",
        size_threshold=0,
    )
    assert read(path, "y").network(torch.zeros(1, 3, 8, 8)).shape == (1, 1, 5, 8, 8)
    (tmp_path / "net.bin").write_bytes(b"cut")
    with pytest.raises(ValueError, match=r"net\.onnx: its weights in net\.bin cannot be read"):
        read(path, "y")
    (tmp_path / "net.bin").unlink()
    with pytest.raises(ValueError, match=r"net\.onnx: keeps its weights in net\.bin, which is not beside it"):
        read(path, "y")


def test_the_first_tensor_that_differs_is_named():
    nodes = [
        helper.make_node("Relu", ["in"], ["x"]),
        CONV,
        helper.make_node("Relu", ["y"], ["z"]),
        helper.make_node("Sigmoid", ["z"], ["s"]),
    ]
    found = read(Path("net.onnx"), "s", None, model(nodes, y="s"))
    crops = np.random.default_rng(0).integers(0, 256, (4, 8, 8, 3), np.uint8)
    assert difference(found, SPEC, crops) < 1e-6
    with torch.no_grad():
        next(found.network.parameters()).mul_(1.1)
    with pytest.raises(
        ValueError,
        match=r"^net\.onnx: torch and ONNX Runtime differ by .*; the first tensor that differs is y\.",
    ):
        difference(found, SPEC, crops)
