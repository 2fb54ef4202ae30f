"""Each operator against ONNX Runtime, with attributes drawn at random."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from onnx import helper, numpy_helper

from poseling.models.importers.onnx_graph import read

FAST = settings(max_examples=30)


def net(
    nodes: list[Any], stored: dict[str, Any] | None = None, shape=("N", 3, 11, 9), opset=18, domain=""
) -> Any:
    """A file of `nodes` from the image `x` to `y`."""
    graph = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, shape)],
        [onnx.ValueInfoProto(name="y")],
        [numpy_helper.from_array(np.asarray(v), k) for k, v in (stored or {}).items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid(domain, opset)], ir_version=9)


def session(model: Any) -> Any:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    return onnxruntime.InferenceSession(model.SerializeToString(), options)


def same(model: Any, batch: int = 2, size: tuple[int, int] | None = None, seed: int = 0) -> None:
    """The network of `model` gives what ONNX Runtime gives, in shape and in value."""
    dims = [d.dim_value for d in model.graph.input[0].type.tensor_type.shape.dim]
    w, h = size or (dims[3], dims[2])
    x = np.random.default_rng(seed).normal(size=(batch, 3, h, w)).astype(np.float32)
    expected = session(model).run(["y"], {"x": x})[0]
    found = read(Path("net.onnx"), "y", (w, h), model)
    with torch.no_grad():
        y = found.network(found.network_input(x))[:, 0].numpy()
    np.testing.assert_allclose(y, expected, rtol=1e-4, atol=1e-4)


def normal(seed: int, *shape: int) -> Any:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


pad = st.lists(st.integers(0, 3), min_size=4, max_size=4)
pair = st.lists(st.integers(1, 3), min_size=2, max_size=2)
kernel = st.lists(st.integers(1, 4), min_size=2, max_size=2)


@FAST
@given(
    kernel,
    pad,
    pair,
    pair,
    st.sampled_from([1, 3]),
    st.booleans(),
    st.sampled_from(["NOTSET", "SAME_UPPER", "SAME_LOWER", "VALID"]),
)
def test_convolutions(kernel, pads, strides, dilations, group, bias, auto):
    if auto.startswith("SAME"):
        dilations = [1, 1]  # onnxruntime takes SAME with no others
    a = {"kernel_shape": kernel, "strides": strides, "dilations": dilations, "group": group, "auto_pad": auto}
    a |= {"pads": pads} if auto == "NOTSET" else {}
    height, width = (11 + pads[0] + pads[2], 9 + pads[1] + pads[3]) if auto == "NOTSET" else (11, 9)
    assume((kernel[0] - 1) * dilations[0] < height and (kernel[1] - 1) * dilations[1] < width)
    stored = {"w": normal(1, 6, 3 // group, *kernel)} | ({"b": normal(2, 6)} if bias else {})
    same(net([helper.make_node("Conv", ["x", *stored], ["y"], **a)], stored))


@FAST
@given(
    kernel, st.lists(st.integers(0, 1), min_size=4, max_size=4), pair, st.sampled_from([1, 3]), st.booleans()
)
def test_transposed_convolutions(kernel, pads, strides, group, bias):
    more = [s - 1 for s in strides]
    a = {"kernel_shape": kernel, "strides": strides, "group": group, "pads": pads, "output_padding": more}
    stored = {"w": normal(1, 3, 6 // group, *kernel)} | ({"b": normal(2, 6)} if bias else {})
    same(net([helper.make_node("ConvTranspose", ["x", *stored], ["y"], **a)], stored))


@FAST
@given(
    st.sampled_from(["MaxPool", "AveragePool"]),
    kernel,
    pad,
    pair,
    st.booleans(),
    st.sampled_from(["NOTSET", "SAME_UPPER", "VALID"]),
)
def test_pools(kind, kernel, pads, strides, count, auto):
    pads = [min(p, kernel[i % 2] - 1) for i, p in enumerate(pads)]
    if auto.startswith("SAME"):
        strides = [min(s, k) for s, k in zip(strides, kernel, strict=True)]  # onnxruntime refuses others
    a = {"kernel_shape": kernel, "strides": strides, "auto_pad": auto} | (
        {"pads": pads} if auto == "NOTSET" else {}
    )
    same(
        net(
            [
                helper.make_node(
                    kind,
                    ["x"],
                    ["y"],
                    **a | ({"count_include_pad": int(count)} if kind == "AveragePool" else {}),
                )
            ]
        )
    )


PLACES = ("half_pixel", "pytorch_half_pixel", "asymmetric", "align_corners")
MODES = ("floor", "ceil", "round_prefer_floor", "round_prefer_ceil")


@FAST
@given(
    st.sampled_from(["nearest", "linear"]),
    st.sampled_from(PLACES),
    st.sampled_from(MODES),
    st.tuples(*[st.sampled_from([0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 4.0])] * 2),
    st.booleans(),
)
def test_resizing(mode, place, how, scales, by_size):
    a = {"mode": mode, "coordinate_transformation_mode": place} | (
        {"nearest_mode": how} if mode == "nearest" else {}
    )
    if by_size:
        stored = {"sizes": np.array([1, 3, int(12 * scales[0]), int(8 * scales[1])])}
        node = helper.make_node("Resize", ["x", "", "", "sizes"], ["y"], **a)
        same(net([node], stored, (1, 3, 12, 8)), batch=1)
    else:
        stored = {"scales": np.array([1, 1, *scales], np.float32)}
        same(net([helper.make_node("Resize", ["x", "", "scales"], ["y"], **a)], stored, ("N", 3, 12, 8)))


@pytest.mark.parametrize("place", ["half_pixel", "align_corners"])
def test_cubic_resizing(place: str):
    node = helper.make_node(
        "Resize",
        ["x", "", "s"],
        ["y"],
        mode="cubic",
        coordinate_transformation_mode=place,
        cubic_coeff_a=-0.75,
    )
    same(net([node], {"s": np.array([1, 1, 2, 2], np.float32)}))


def test_the_old_resizes():
    scales = {"s": np.array([1, 1, 2, 3], np.float32)}
    same(net([helper.make_node("Upsample", ["x", "s"], ["y"], mode="nearest")], scales, opset=9))
    same(net([helper.make_node("Upsample", ["x", "s"], ["y"], mode="linear")], scales, opset=9))
    same(net([helper.make_node("Resize", ["x", "s"], ["y"], mode="linear")], scales, opset=10))


ONE = {
    "Relu": {},
    "LeakyRelu": {"alpha": 0.2},
    "Elu": {"alpha": 0.7},
    "HardSigmoid": {"alpha": 0.3, "beta": 0.4},
    "HardSwish": {},
    "Sigmoid": {},
    "Tanh": {},
    "Softplus": {},
    "Softsign": {},
    "Softmax": {"axis": 1},
    "LogSoftmax": {"axis": -1},
    "Erf": {},
    "Exp": {},
    "Neg": {},
    "Abs": {},
    "Floor": {},
    "Ceil": {},
    "Mish": {},
    "Sin": {},
    "Cos": {},
    "Reciprocal": {},
    "GlobalAveragePool": {},
    "GlobalMaxPool": {},
    "Transpose": {"perm": [0, 2, 1, 3]},
    "Flatten": {"axis": 1},
}


@pytest.mark.parametrize("kind", ONE)
def test_operators_on_one_tensor(kind: str):
    same(net([helper.make_node(kind, ["x"], ["y"], **ONE[kind])]))


@pytest.mark.parametrize("approximate", ["none", "tanh"])
def test_gelu(approximate: str):
    same(net([helper.make_node("Gelu", ["x"], ["y"], approximate=approximate)], opset=20))


@pytest.mark.parametrize("opset", [11, 13])
@pytest.mark.parametrize("axis", [1, 2, 3])
def test_softmax_before_and_after_opset_13(opset: int, axis: int):
    same(net([helper.make_node("Softmax", ["x"], ["y"], axis=axis)], opset=opset))


@pytest.mark.parametrize("kind", ["ReduceMean", "ReduceMax", "ReduceMin", "ReduceL2"])
@pytest.mark.parametrize("keep", [0, 1])
def test_reductions(kind: str, keep: int):
    same(net([helper.make_node(kind, ["x"], ["y"], axes=[2, -1], keepdims=keep)], opset=13))
    same(net([helper.make_node(kind, ["x", "a"], ["y"], keepdims=keep)], {"a": np.array([1])}))


@pytest.mark.parametrize(
    ("kind", "stored", "a"),
    [
        ("Clip", {"low": np.float32(0), "high": np.float32(6)}, {}),
        ("Clip", {"low": np.float32(-0.3)}, {}),
        ("PRelu", {"slope": normal(3, 3, 1, 1)}, {}),
        ("Mul", {"c": normal(3, 1, 3, 11, 9)}, {}),
        ("Add", {"c": normal(3, 11, 1)}, {}),
        ("Pow", {"c": np.float32(2)}, {}),
        ("Max", {"c": np.float32(0.1)}, {}),
        ("Min", {"c": normal(3, 9)}, {}),
        ("MatMul", {"m": normal(3, 9, 4)}, {}),
        ("Reshape", {"s": np.array([0, 3, -1])}, {}),
        ("Unsqueeze", {"axes": np.array([1, -1])}, {}),
        (
            "Slice",
            {"s": np.array([1, -1]), "e": np.array([9, -99]), "a": np.array([2, 3]), "t": np.array([2, -2])},
            {},
        ),
        ("Pad", {"p": np.array([0, 2, 0, 1, 0, 0, 3, 0]), "v": np.float32(0.5)}, {}),
        ("Pad", {"p": np.array([0, 0, 2, 1, 0, 0, 3, 0])}, {"mode": "reflect"}),
        ("Pad", {"p": np.array([0, 0, 2, 1, 0, 0, 3, 0])}, {"mode": "edge"}),
        ("Gather", {"i": np.array([2, 0, -1])}, {"axis": 3}),
        ("Gather", {"i": np.array(1)}, {"axis": 2}),
        ("Tile", {"r": np.array([1, 2, 1, 3])}, {}),
        ("LayerNormalization", {"w": normal(3, 9), "b": normal(4, 9)}, {"axis": -1, "epsilon": 1e-3}),
        ("InstanceNormalization", {"w": normal(3, 3), "b": normal(4, 3)}, {}),
        (
            "BatchNormalization",
            {"w": normal(3, 3), "b": normal(4, 3), "m": normal(5, 3), "v": normal(6, 3) ** 2},
            {},
        ),
    ],
)
def test_operators_with_constants(kind: str, stored: dict[str, Any], a: dict[str, Any]):
    same(net([helper.make_node(kind, ["x", *stored], ["y"], **a)], stored))


def test_what_does_nothing_in_use():
    nodes = [
        helper.make_node(kind, [i], [o])
        for kind, i, o in (
            ("Relu", "x", "a"),
            ("Identity", "a", "b"),
            ("Dropout", "b", "c"),
            ("Neg", "c", "y"),
        )
    ]
    same(net(nodes))


def test_gemm_and_what_lies_before_it():
    stored = {"w": normal(1, 4, 3), "b": normal(2, 4)}
    nodes = [
        helper.make_node("GlobalAveragePool", ["x"], ["p"]),
        helper.make_node("Flatten", ["p"], ["f"]),
        helper.make_node("Gemm", ["f", "w", "b"], ["y"], alpha=0.5, beta=2.0, transB=1),
    ]
    same(net(nodes, stored))


def test_split_concat_and_squeeze():
    nodes = [
        helper.make_node("Split", ["x", "s"], ["a", "b"], axis=1),
        helper.make_node("Squeeze", ["b", "one"], ["c"]),
        helper.make_node("Unsqueeze", ["c", "one"], ["d"]),
        helper.make_node("Concat", ["d", "a"], ["y"], axis=1),
    ]
    same(net(nodes, {"s": np.array([2, 1]), "one": np.array([1])}))


@pytest.mark.parametrize("mode", ["DCR", "CRD"])
def test_blocks(mode: str):
    nodes = [
        helper.make_node("SpaceToDepth", ["x"], ["d"], blocksize=2),
        helper.make_node("DepthToSpace", ["d"], ["y"], blocksize=2, mode=mode),
    ]
    same(net(nodes, shape=("N", 3, 8, 12)))


@FAST
@given(st.integers(4, 20), st.integers(4, 20))
def test_a_resize_to_the_size_of_a_sibling_works_at_any_size(w: int, h: int):
    """Shape, Slice and Concat that compute a Resize's target are run, not fixed."""
    stored = {"w": normal(1, 3, 3, 3, 3), "zero": np.array([0]), "two": np.array([2]), "four": np.array([4])}
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["c"], strides=[2, 2], pads=[1, 1, 1, 1]),
        helper.make_node("Shape", ["x"], ["sx"]),
        helper.make_node("Slice", ["sx", "two", "four"], ["hw"]),
        helper.make_node("Shape", ["c"], ["sc"]),
        helper.make_node("Slice", ["sc", "zero", "two"], ["bc"]),
        helper.make_node("Concat", ["bc", "hw"], ["to"], axis=0),
        helper.make_node("Resize", ["c", "", "", "to"], ["r"], mode="linear"),
        helper.make_node("Add", ["r", "x"], ["y"]),
    ]
    same(net(nodes, stored, ("N", 3, "H", "W")), size=(w, h))


def test_sizes_that_are_computed_flatten_a_map():
    """What PyTorch writes for x.view(x.shape[0], x.shape[1], -1)."""
    stored = {"b": np.array(0), "c": np.array(1), "zero": np.array([0]), "rest": np.array([-1])}
    nodes = [
        helper.make_node("Relu", ["x"], ["r"]),
        helper.make_node("Shape", ["r"], ["s"]),
        *[helper.make_node("Gather", ["s", i], [f"g{i}"], axis=0) for i in "bc"],
        *[helper.make_node("Unsqueeze", [f"g{i}", "zero"], [f"u{i}"]) for i in "bc"],
        helper.make_node("Concat", ["ub", "uc", "rest"], ["to"], axis=0),
        helper.make_node("Reshape", ["r", "to"], ["y"]),
    ]
    same(net(nodes, stored))


@FAST
@given(st.integers(4, 20), st.integers(4, 20))
def test_sizes_are_reckoned_with(w: int, h: int):
    """A height and a width taken out one by one, times 1.5 as floats, rounded down, and halved as whole
    numbers: what interpolate is written as.
    """
    stored = {
        "one_and_half": np.float32(1.5),
        "half": np.array(2),
        "zero": np.array([0]),
        "n": np.array([0]),
        "two": np.array([2]),
    }
    nodes = [
        helper.make_node("Relu", ["x"], ["r"]),
        helper.make_node("Shape", ["r"], ["s"]),
        helper.make_node("Slice", ["s", "n", "two"], ["bc"]),
    ]
    for axis in (2, 3):
        stored[f"i{axis}"] = np.array(axis)
        nodes += [
            helper.make_node("Gather", ["s", f"i{axis}"], [f"a{axis}"], axis=0),
            helper.make_node("Cast", [f"a{axis}"], [f"b{axis}"], to=1),
            helper.make_node("Mul", [f"b{axis}", "one_and_half"], [f"c{axis}"]),
            helper.make_node("Floor", [f"c{axis}"], [f"d{axis}"]),
            helper.make_node("Cast", [f"d{axis}"], [f"e{axis}"], to=7),
            helper.make_node("Div", [f"e{axis}", "half"], [f"f{axis}"]),
            helper.make_node("Unsqueeze", [f"f{axis}", "zero"], [f"g{axis}"]),
        ]
    nodes += [
        helper.make_node("Concat", ["bc", "g2", "g3"], ["to"], axis=0),
        helper.make_node("Resize", ["r", "", "", "to"], ["y"], mode="linear"),
    ]
    same(net(nodes, stored, ("N", 3, "H", "W")), size=(w, h))
