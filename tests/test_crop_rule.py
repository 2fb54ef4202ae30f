"""An image without a box is shown whole, and it is the same pixels in training, evaluation and at work."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper

from poseling.data.augment import Augment
from poseling.data.images import images
from poseling.data.loader import Crops
from poseling.evaluate.predict import predict
from poseling.evaluate.shipped import Shipped
from poseling.geometry import Crop
from poseling.runtime import Network
from poseling.skeleton import LSP14
from poseling.spec import KEY, PoseSpec
from poseling.teachers.onnx import OnnxTeacher

SIZE = (48, 64)
STILL = Augment().none()


@pytest.fixture
def network(tmp_path: Path) -> Path:
    """An exported file whose joints are the crop's first pixels, red and green, and the score is the blue
    one: it tells what it was shown.
    """
    nodes = [
        helper.make_node("Cast", ["crops"], ["floats"], to=TensorProto.FLOAT),
        helper.make_node("Reshape", ["floats", "flat"], ["line"]),
        helper.make_node("Slice", ["line", "start", "red_and_green", "axes"], ["xy"]),
        helper.make_node("Slice", ["line", "blue", "end", "axes"], ["column"]),
        helper.make_node("Squeeze", ["column", "last"], ["bright"]),
        helper.make_node("Div", ["bright", "white"], ["score"]),
    ]
    numbers = {
        "flat": [0, -1, 3],
        "start": [0, 0],
        "red_and_green": [14, 2],
        "blue": [0, 2],
        "end": [14, 3],
        "axes": [1, 2],
        "last": [2],
    }
    constants = [
        onnx.numpy_helper.from_array(np.array(value, np.int64), name) for name, value in numbers.items()
    ]
    constants.append(onnx.numpy_helper.from_array(np.array(255, np.float32), "white"))
    graph = helper.make_graph(
        nodes,
        "shown",
        [helper.make_tensor_value_info("crops", TensorProto.UINT8, ["N", SIZE[1], SIZE[0], 3])],
        [
            helper.make_tensor_value_info("xy", TensorProto.FLOAT, ["N", 14, 2]),
            helper.make_tensor_value_info("score", TensorProto.FLOAT, ["N", 14]),
        ],
        constants,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10)
    helper.set_model_props(model, {KEY: PoseSpec("shown", LSP14, {"name": "shown"}, SIZE).to_json()})
    onnx.save(model, tmp_path / "shown.onnx")
    return tmp_path / "shown.onnx"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "in"
    path.mkdir()
    noise = np.random.default_rng(0).integers(0, 256, (14, 11, 3), np.uint8)
    cv2.imwrite(str(path / "a.png"), cv2.resize(noise, (105, 140), interpolation=cv2.INTER_CUBIC))
    return path


def seen(network: Network, monkeypatch: pytest.MonkeyPatch) -> list[np.ndarray]:
    """The crops that a network is given from here on."""
    given: list[np.ndarray] = []
    answers = network._answers
    monkeypatch.setattr(network, "_answers", lambda inputs: (given.append(inputs), answers(inputs))[1])
    return given


def test_training_evaluation_and_the_runtime_see_the_same_pixels(
    network: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
):
    dataset = images(folder, skeleton=LSP14)
    shown = Crop.whole((105, 140), SIZE).warp(cv2.imread(str(folder / "a.png"))[..., ::-1])
    assert all(
        edge.any() for edge in (shown[0], shown[-1], shown[:, 0], shown[:, -1])
    )  # nothing black about the image
    trained = Crops(dataset, SIZE, 1.25, STILL, seed=0)[0]["image"]
    np.testing.assert_array_equal(trained, shown)
    at_work = Network(network)
    given = seen(at_work, monkeypatch)
    at_work(cv2.imread(str(folder / "a.png")))
    np.testing.assert_array_equal(given[0][0], shown)
    del given[:]
    predict(Shipped(at_work), dataset)
    np.testing.assert_array_equal(given[0][0], shown)
    crops: list[torch.Tensor] = []
    teacher = OnnxTeacher(network)
    answer = teacher.__call__
    monkeypatch.setattr(OnnxTeacher, "__call__", lambda self, these: (crops.append(these), answer(these))[1])
    predict(teacher, dataset)
    np.testing.assert_array_equal(crops[0][0], shown)


@pytest.mark.parametrize("flip", [False, True])
def test_what_ships_has_the_figures_that_it_had_as_a_teacher(network: Path, folder: Path, flip: bool):
    dataset = images(folder, skeleton=LSP14)
    before, now = (
        predict(OnnxTeacher(network), dataset, flip),
        predict(Shipped(Network(network)), dataset, flip),
    )
    np.testing.assert_allclose(now.xy, before.xy, atol=1e-3)
    np.testing.assert_allclose(now.score, before.score, atol=1e-5)
    crops = torch.from_numpy(np.random.default_rng(1).integers(0, 256, (2, SIZE[1], SIZE[0], 3), np.uint8))
    np.testing.assert_allclose(Shipped(Network(network))(crops).xy, OnnxTeacher(network)(crops).xy, atol=1e-3)


def test_a_box_beside_its_image_is_wrong_and_no_error(network: Path, folder: Path):
    dataset = images(folder, skeleton=LSP14)
    beside = predict(Shipped(Network(network)), replace(dataset, boxes=dataset.boxes + 500))
    assert np.isnan(beside.xy).all()
    assert (beside.score == 0).all()
