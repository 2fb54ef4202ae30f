"""A network made by hand, so that what it says can be worked out: the brightest red and the brightest blue
pixel of a crop.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from poseling.runtime import Network
from poseling.skeleton import Skeleton
from poseling.spec import KEY, PoseSpec

HANDS = Skeleton("hands", ("left_hand", "right_hand"), (0, 1))
SPEC = PoseSpec("by-hand", HANDS, {"name": "by hand"}, (32, 24), padding=1.25)


def by_hand(spec: PoseSpec | None) -> bytes:
    """An ONNX file whose left hand is the brightest red pixel and whose right hand is the brightest blue one;
    the score is its brightness.

    If its spec says so it gives xyz, which are no metres but x and y in the crop and the score.
    """
    width, height = SPEC.size
    nodes = [
        helper.make_node("Gather", ["crops", "channels"], ["chosen"], axis=3),
        helper.make_node("Transpose", ["chosen"], ["turned"], perm=[0, 3, 1, 2]),
        helper.make_node("Cast", ["turned"], ["float"], to=TensorProto.FLOAT),
        helper.make_node("Reshape", ["float", "flat"], ["line"]),
        helper.make_node("ReduceMax", ["line", "last"], ["top"], keepdims=0),
        helper.make_node("Div", ["top", "white"], ["score"]),
        helper.make_node("ArgMax", ["line"], ["place"], axis=2, keepdims=1),
        helper.make_node("Mod", ["place", "width"], ["x"]),
        helper.make_node("Div", ["place", "width"], ["y"]),
        helper.make_node("Concat", ["x", "y"], ["whole"], axis=2),
        helper.make_node("Cast", ["whole"], ["xy"], to=TensorProto.FLOAT),
    ]
    deep = spec is not None and "xyz" in spec.outputs
    if deep:
        nodes += [
            helper.make_node("Unsqueeze", ["score", "last"], ["z"]),
            helper.make_node("Concat", ["xy", "z"], ["xyz"], axis=2),
        ]
    sizes = {"xy": ["N", 2, 2], "score": ["N", 2]} | ({"xyz": ["N", 2, 3]} if deep else {})
    whole = {"channels": [0, 2], "flat": [0, 2, -1], "last": [2], "width": [width]}
    constants = {**{k: np.array(v, np.int64) for k, v in whole.items()}, "white": np.array(255, np.float32)}
    graph = helper.make_graph(
        nodes,
        "by-hand",
        [helper.make_tensor_value_info("crops", TensorProto.UINT8, ["N", height, width, 3])],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in sizes.items()],
        [onnx.numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    if spec is not None:
        helper.set_model_props(model, {KEY: spec.to_json()})
    onnx.checker.check_model(model, full_check=True)
    return model.SerializeToString()


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """The network's file, made for images in whole frames or boxes, 32x24 with a padding of 1.25."""
    path = tmp_path / "by-hand.onnx"
    path.write_bytes(by_hand(SPEC))
    return path


@pytest.fixture
def variant(tmp_path: Path) -> Callable[..., Path]:
    """A file of the same network with other fields in its spec, or with none if `spec` is None."""

    def make(**fields: Any) -> Path:
        path = tmp_path / "variant.onnx"
        path.write_bytes(by_hand(None if "spec" in fields else replace(SPEC, **fields)))
        return path

    return make


@pytest.fixture(scope="session")
def opened(tmp_path_factory: pytest.TempPathFactory) -> Network:
    """The same, opened once for all tests."""
    path = tmp_path_factory.mktemp("opened") / "by-hand.onnx"
    path.write_bytes(by_hand(SPEC))
    return Network(path, threads=1)
