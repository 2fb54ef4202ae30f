"""A 3D network made by hand, whose answer a test chooses by how bright the picture is."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from onnx import TensorProto, checker, helper, numpy_helper

from poseling.skeleton import MOVNECT15, Skeleton
from poseling.spec import KEY, PoseSpec

SIZE = (64, 64)
FILLS = 1 / 1.4  # of the crop's height: what a tracker's next crop leaves it


def sees(
    poses: NDArray[np.floating],
    skeleton: Skeleton = MOVNECT15,
    outputs: tuple[str, ...] = ("xy", "score", "xyz"),
    aside: float = 0,
) -> bytes:
    """An ONNX file that gives one of the poses (P, K, 3), metres from the root in camera axes: the first for
    a black picture, the last for a white one, and `level` for those between.

    Every score is 0.9. `outputs` are the contract's, and what is given. In a crop the person stands `aside`
    of its middle, in pixels.
    """
    poses = np.asarray(poses, np.float32)
    tables = {
        "xy": np.stack([seen(pose) for pose in poses]) + [aside, 0],
        "score": np.full(poses.shape[:2], 0.9),
        "xyz": poses,
    }
    nodes = [
        helper.make_node("Cast", ["crops"], ["bright"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMax", ["bright", "pixels"], ["top"], keepdims=0),
        helper.make_node("Mul", ["top", "step"], ["exact"]),
        helper.make_node("Round", ["exact"], ["near"]),
        helper.make_node("Cast", ["near"], ["which"], to=TensorProto.INT64),
        *(helper.make_node("Gather", [f"{name}s", "which"], [name], axis=0) for name in outputs),
    ]
    constants = {
        "pixels": np.array([1, 2, 3], np.int64),
        "step": np.array((len(poses) - 1) / 255, np.float32),
        **{f"{name}s": tables[name].astype(np.float32) for name in outputs},
    }
    graph = helper.make_graph(
        nodes,
        "sees",
        [helper.make_tensor_value_info("crops", TensorProto.UINT8, ["N", SIZE[1], SIZE[0], 3])],
        [
            helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", *tables[name].shape[1:]])
            for name in outputs
        ],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    spec = PoseSpec("sees", skeleton, {"name": "by hand"}, SIZE, outputs=outputs)
    helper.set_model_props(model, {KEY: spec.to_json()})
    checker.check_model(model, full_check=True)
    return model.SerializeToString()


def seen(pose: NDArray[np.floating]) -> NDArray[np.float64]:
    """(K, 2) where a crop of a whole picture shows a pose (K, 3) by a camera whose focal length is the
    picture's longer side: in the middle, and as large as a crop that follows a person has it.
    """
    side = min(SIZE) - 1
    place = np.array([0, 0, 3.0])
    for _ in range(50):
        there = pose + place
        flat = there[:, :2] / there[:, 2:]
        low, high = flat.min(0), flat.max(0)
        place[:2] -= place[2] * (low + high) / 2
        place[2] *= (high - low).max() / FILLS
    return (flat + 0.5) * side


def level(pose: int, poses: int) -> int:
    """How bright a picture has to be, 0 to 255, to be answered with one of so many poses."""
    return round(255 * pose / (poses - 1))
