"""Detectors made by hand, whose boxes are constants, and RTMDet-nano."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from poseling.files import read_image
from poseling.geometry import iou
from poseling.runtime import Network
from poseling.runtime.detector import (
    ADAPTERS,
    RTMDET,
    BoxAdapter,
    Boxes,
    Detector,
    Person,
    resized,
    suppressed,
)
from poseling.spec import DETECTOR_KEY

# Two people and a dog (label 16) in an input of 64x32.
ROWS = np.array([[8, 4, 24, 28, 0.5], [32, 8, 48, 24, 0.9], [0, 0, 64, 32, 0.95]], np.float32)
PLAIN = BoxAdapter(Boxes("dets"), Person("dets", 4, label="labels"))


def saved(path: Path, outputs: dict[str, np.ndarray], shape: Any = (1, 3, 32, 64), **said: str) -> Path:
    """An ONNX file that says `outputs` whatever its image is, and hands that on as `seen`."""
    graph = helper.make_graph(
        [
            helper.make_node("Identity", ["image"], ["seen"]),
            *(helper.make_node("Identity", [f"{name}_"], [name]) for name in outputs),
        ],
        "constants",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, shape)],
        [
            helper.make_tensor_value_info("seen", TensorProto.FLOAT, shape),
            *(
                helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(out.dtype), out.shape)
                for name, out in outputs.items()
            ),
        ],
        [numpy_helper.from_array(out, f"{name}_") for name, out in outputs.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    helper.set_model_props(model, said)
    onnx.save(model, path)
    return path


@pytest.fixture
def file(tmp_path: Path) -> Callable[..., Path]:
    def make(**outputs: Any) -> Path:
        arrays = {name: np.asarray(out) for name, out in outputs.items()}
        return saved(tmp_path / "detector.onnx", arrays)

    return make


def dets(file: Callable[..., Path]) -> Path:
    return file(dets=ROWS[None], labels=np.array([[0, 0, 16]]))


def test_people_alone_come_back_in_the_image_s_pixels(file: Callable[..., Path]):
    # 128x40 into 64x32 shrinks by 2, with nothing to the right: edges times 2, and pixel centres at whole
    # numbers. y1 of the first is 56 - 0.5 and so cut at 40 - 0.5.
    found = Detector(dets(file), adapter=PLAIN)(np.zeros((40, 128, 3), np.uint8))
    np.testing.assert_allclose(
        found, [[63.5, 15.5, 95.5, 39.5, 0.9], [15.5, 7.5, 47.5, 39.5, 0.5]], atol=1e-5
    )
    assert found.dtype == np.float32


@pytest.mark.parametrize(
    ("fit", "box"),
    [
        ("corner", (15.5, 3.5, 23.5, 11.5)),  # 32x16 fills 64x32: half of 32 8 48 24, less half a pixel
        ("middle", (15.5, 3.5, 23.5, 11.5)),
        ("stretch", (15.5, 3.5, 23.5, 11.5)),
    ],
)
def test_an_image_of_the_input_s_shape_is_fitted_alike_by_all(
    file: Callable[..., Path], fit: Any, box: tuple[float, ...]
):
    found = Detector(dets(file), adapter=replace(PLAIN, fit=fit))(np.zeros((16, 32, 3), np.uint8))
    np.testing.assert_allclose(found[0, :4], box)


@pytest.mark.parametrize(
    ("fit", "box"),
    [
        # 32x32 at scale 1 leaves 32 columns free: to its right, 16 on both sides, or none if it is stretched
        # by two along x alone. The box is 32 8 48 24 in the input.
        ("corner", None),  # right of the image
        ("middle", (15.5, 7.5, 31.5, 23.5)),
        ("stretch", (15.5, 7.5, 23.5, 23.5)),
    ],
)
def test_what_is_filled_up_is_taken_off_again(
    file: Callable[..., Path], fit: Any, box: tuple[float, ...] | None
):
    path = file(dets=ROWS[None, 1:2], labels=np.array([[0]]))
    found = Detector(path, adapter=replace(PLAIN, fit=fit))(np.zeros((32, 32, 3), np.uint8))
    np.testing.assert_allclose(found[:, :4], np.reshape(box or (), (-1, 4)))


@pytest.mark.parametrize("fit", ["corner", "middle"])
def test_the_network_sees_the_image_as_its_adapter_says(file: Callable[..., Path], fit: Any):
    how = replace(
        PLAIN, colour="bgr", white=255.0, mean=(10.0, 20.0, 30.0), std=(2.0, 4.0, 5.0), fit=fit, fill=110
    )
    detector = Detector(dets(file), adapter=how)
    image = np.full((32, 32, 3), (130, 120, 110), np.uint8)  # RGB
    fitted, scale, offset = detector._fitted(image)
    seen = detector._fed(fitted, "rgb")
    assert (seen.shape, seen.dtype) == ((1, 3, 32, 64), np.float32)
    left = 0 if fit == "corner" else 16
    assert (scale.tolist(), offset.tolist()) == ([1, 1], [left, 0])
    np.testing.assert_allclose(seen[0, :, 0, left], [50, 25, 20])  # B 110, G 120, R 130
    np.testing.assert_allclose(seen[0, :, 31, left - 1], [50, 22.5, 16])  # the grey of 110
    np.testing.assert_allclose(detector._fed(fitted[..., ::-1], "bgr"), seen)


def test_classes_without_suppression_as_yolov8_gives_them(file: Callable[..., Path]):
    out = np.zeros((1, 84, 5), np.float32)
    out[0, :4] = np.array([[20, 16, 8, 16], [20, 16, 8, 15], [50, 16, 8, 16], [9, 9, 2, 2], [5, 5, 4, 4]]).T
    out[0, 4] = 0.6, 0.8, 0.7, 0.2, 0.0  # people; the second lies in the first: 15 / 16
    out[0, 5, 4] = 0.9  # a bicycle
    how = replace(ADAPTERS["yolov8"], size=None)
    found = Detector(file(output0=out), adapter=how)(np.zeros((32, 64, 3), np.uint8))
    np.testing.assert_allclose(found, [[15.5, 8, 23.5, 23, 0.8], [45.5, 7.5, 53.5, 23.5, 0.7]], atol=1e-5)
    less = Detector(file(output0=out), adapter=how, threshold=0.1)(np.zeros((32, 64, 3), np.uint8))
    np.testing.assert_allclose(less[:, 4], [0.8, 0.7, 0.2])


def test_an_object_times_a_person(file: Callable[..., Path]):
    out = np.array([[[16, 16, 8, 8, 0.5, 0.9, 0.1], [40, 16, 8, 8, 0.9, 0.8, 0.2]]], np.float32)
    how = BoxAdapter(Boxes("out", form="middle"), Person("out", 5, times=4))
    found = Detector(file(out=out), adapter=how)(np.zeros((32, 64, 3), np.uint8))
    np.testing.assert_allclose(found[:, 4], [0.72, 0.45])


def test_logits_and_normalised_boxes_as_detr_gives_them(file: Callable[..., Path]):
    logits = np.log(np.array([[[0.1, 0.7, 0.2], [0.3, 0.3, 0.4]]], np.float32))
    boxes = np.array([[[0.5, 0.5, 0.5, 0.25], [0.25, 0.5, 0.25, 1]]], np.float32)
    how = BoxAdapter(
        Boxes("boxes", form="middle", normalised=True), Person("logits", 1, "softmax"), threshold=0.25
    )
    found = Detector(file(logits=logits, boxes=boxes), adapter=how)(np.zeros((32, 64, 3), np.uint8))
    np.testing.assert_allclose(
        found, [[15.5, 11.5, 47.5, 19.5, 0.7], [7.5, -0.5, 23.5, 31.5, 0.3]], atol=1e-5
    )


def test_scores_and_boxes_apart_with_y_first(file: Callable[..., Path]):
    boxes = np.array([[[4, 8, 28, 24]]], np.float32)  # y0 x0 y1 x1, as TensorFlow's SSDs have them
    how = BoxAdapter(
        Boxes("boxes", (1, 0, 3, 2)), Person("scores", activation="sigmoid", label="classes", person=1)
    )
    path = file(boxes=boxes, scores=np.zeros((1, 1), np.float32), classes=np.ones((1, 1), np.float32))
    found = Detector(path, adapter=how)(np.zeros((32, 64, 3), np.uint8))
    np.testing.assert_allclose(found, [[7.5, 3.5, 23.5, 27.5, 0.5]])


def test_without_its_batch_axis(file: Callable[..., Path]):
    found = Detector(file(dets=ROWS[1:2], labels=np.array([0])), adapter=PLAIN)(
        np.zeros((32, 64, 3), np.uint8)
    )
    np.testing.assert_allclose(found, [[31.5, 7.5, 47.5, 23.5, 0.9]])


def test_a_file_that_leaves_its_size_free_gets_no_more_than_it_needs(tmp_path: Path):
    path = saved(tmp_path / "free.onnx", {"dets": ROWS[None]}, (1, 3, "h", "w"))
    how = BoxAdapter(Boxes("dets"), Person("dets", 4), size=(64, 64), step=8)
    sizes = {
        (180, 320): (40, 64),  # 36 rows, and so 40
        (320, 180): (64, 40),
        (64, 64): (64, 64),
        (1, 640): (8, 64),
    }
    for shape, wanted in sizes.items():
        detector = Detector(path, adapter=how)
        fitted, _, _ = detector._fitted(np.zeros((*shape, 3), np.uint8))
        assert fitted.shape[:2] == wanted
        detector(np.zeros((*shape, 3), np.uint8))
    always = Detector(path, adapter=replace(how, step=None))
    assert always._fitted(np.zeros((180, 320, 3), np.uint8))[0].shape == (64, 64, 3)


def test_a_file_may_carry_its_adapter(tmp_path: Path, file: Callable[..., Path]):
    outputs = {"dets": ROWS[None], "labels": np.array([[0, 0, 16]])}
    path = saved(tmp_path / "ours.onnx", outputs, **{DETECTOR_KEY: json.dumps(asdict(PLAIN))})
    detector = Detector(path)
    assert detector.adapter == PLAIN
    assert (detector.name, detector.licence) == ("ours", "code unknown, weights unknown, data unknown")
    written = tmp_path / "adapter.json"
    written.write_text(json.dumps(asdict(PLAIN)))
    assert Detector(dets(file), adapter=str(written)).adapter == PLAIN


def test_a_detector_is_no_network_for_joints_and_the_other_way_round(tmp_path: Path, model: Path):
    outputs = {"dets": ROWS[None], "labels": np.array([[0, 0, 16]])}
    path = saved(tmp_path / "ours.onnx", outputs, **{DETECTOR_KEY: json.dumps(asdict(PLAIN))})
    with pytest.raises(
        ValueError, match=r"ours\.onnx: is a detector, .*; --detector or runtime\.Detector runs it"
    ):
        Network(path)
    with pytest.raises(
        ValueError, match=r"by-hand\.onnx: is a network for joints, no detector; --model or runtime\.Network"
    ):
        Detector(model)


@given(
    size=st.tuples(st.integers(1, 90), st.integers(1, 90)),
    fit=st.sampled_from(["corner", "middle", "stretch"]),
    box=st.tuples(*[st.floats(0, 1)] * 4),
)
def test_boxes_lie_in_the_image_and_come_back(
    tmp_path_factory: pytest.TempPathFactory, size: tuple[int, int], fit: Any, box: tuple[float, ...]
):
    """A box of the image, put where the image lies in the input, is the box that is found."""
    width, height = size
    xs, ys = sorted(box[:2]), sorted(box[2:])
    edges = np.array([xs[0] * width, ys[0] * height, xs[1] * width, ys[1] * height])
    path = tmp_path_factory.mktemp("given") / "detector.onnx"
    how = replace(PLAIN, fit=fit, person=Person("dets", 4))
    detector = Detector(saved(path, {"dets": ROWS[None]}), adapter=how)
    image = np.zeros((height, width, 3), np.uint8)
    _, scale, offset = detector._fitted(image)
    there = edges.reshape(2, 2) * scale + offset
    assert (there > -1e-6).all()
    assert (there < np.array([64, 32]) + 1e-6).all()
    again = Detector(saved(path, {"dets": np.float32([[[*there.ravel(), 0.5]]])}), adapter=how)(image)
    for found in again:
        np.testing.assert_allclose(found[:4], edges - 0.5, atol=1e-3)
    assert len(again) or (edges[2:] - edges[:2]).min() < 1e-3


@given(
    st.lists(st.tuples(*[st.integers(0, 20)] * 2, *[st.integers(1, 20)] * 2), max_size=12), st.floats(0.1, 1)
)
def test_suppression_leaves_no_two_alike_and_takes_none_without_a_reason(
    rows: list[tuple[int, ...]], overlap: float
):
    found = np.array([[x, y, x + w, y + h, 1 - i / 20] for i, (x, y, w, h) in enumerate(rows)], np.float32)
    found = found.reshape(-1, 5)
    kept = suppressed(found, overlap)
    alike = iou(kept[:, :4], kept[:, :4]) - 2 * np.eye(len(kept))
    assert not len(kept) or alike.max() < overlap
    for row in found:
        better = kept[kept[:, 4] >= row[4]]
        assert iou(row[None, :4], better[:, :4]).max() >= overlap - 1e-9
    assert len(found) == 0 or kept[0].tolist() == found[0].tolist()


def test_a_large_image_is_averaged_not_sampled():
    """Stripes of one pixel are grey from afar, whichever size they are seen at."""
    image = np.zeros((64, 64, 3), np.uint8)
    image[:, ::2] = 200
    np.testing.assert_array_equal(resized(image, (16, 16)), np.full((16, 16, 3), 100))
    assert resized(image, (64, 64)) is image
    assert resized(image, (100, 1)).shape == (1, 100, 3)


@pytest.mark.parametrize(
    ("outputs", "how", "message"),
    [
        ({"dets": ROWS[None, :, :4]}, PLAIN, r"no output labels"),
        ({"dets": ROWS[None, :, :4], "labels": np.zeros((1, 3))}, PLAIN, r"\(1, M, columns\) with column 4"),
        ({"dets": ROWS[None], "labels": np.zeros((1, 2))}, PLAIN, "3 boxes in dets, 2 in labels"),
        (
            {"dets": 9 * ROWS[None], "labels": np.zeros((1, 3))},
            PLAIN,
            "from 4.5 to 8.55, not 0..1; is it a logit",
        ),
        ({"dets": np.nan * ROWS[None], "labels": np.zeros((1, 3))}, PLAIN, "nan to nan"),
        ({"dets": np.array([["a"]]), "labels": np.zeros((1, 3))}, PLAIN, "no numbers"),
        ({"dets": ROWS[None], "labels": np.zeros((1, 3))}, replace(PLAIN, layout="bhwc"), "other layout"),
        (
            {"dets": ROWS[None], "s": np.zeros((1, 2), np.float32)},
            BoxAdapter(Boxes("dets"), Person("s")),
            "3 boxes in dets, 2 scores in s",
        ),
    ],
)
def test_what_does_not_fit_the_adapter_is_said_at_once(
    file: Callable[..., Path], outputs: dict[str, Any], how: BoxAdapter, message: str
):
    path = file(**outputs)
    with pytest.raises(ValueError, match=rf"detector\.onnx: .*{message}.*Its inputs: image"):
        Detector(path, adapter=how)


def test_a_file_nobody_knows_asks_for_an_adapter(file: Callable[..., Path], tmp_path: Path):
    with pytest.raises(
        ValueError,
        match=r"detector\.onnx: does not say .* name an adapter \(--detector-adapter\): rtmdet-nano, yolov8",
    ):
        Detector(dets(file))
    with pytest.raises(
        FileNotFoundError, match=r"mine\.json: there is no such adapter; built in are rtmdet-nano"
    ):
        Detector(dets(file), adapter="mine.json")
    with pytest.raises(FileNotFoundError, match="no such file"):
        Detector(tmp_path / "none.onnx")
    free = saved(tmp_path / "free.onnx", {"dets": ROWS[None]}, (1, 3, "h", "w"))
    with pytest.raises(ValueError, match=r"free\.onnx: it leaves the size of its input free"):
        Detector(free, adapter=BoxAdapter(Boxes("dets"), Person("dets", 4)))
    broken = saved(tmp_path / "broken.onnx", {"dets": ROWS[None]}, **{DETECTOR_KEY: "{}"})
    with pytest.raises(ValueError, match=r"broken\.onnx: it lacks 'boxes', 'person'"):
        Detector(broken)
    (tmp_path / "damaged.onnx").write_bytes(dets(file).read_bytes()[:100])
    with pytest.raises(ValueError, match=r"damaged\.onnx: is cut short"):
        Detector(tmp_path / "damaged.onnx", adapter=PLAIN)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (
            {"boxes": {"output": "a", "columns": [0, 1, 2]}},
            r"boxes: columns is \[0, 1, 2\], expected a list of 4",
        ),
        ({"boxes": {"output": "a", "columns": [0, 1, 2, 2]}}, "boxes: columns are four different places"),
        ({"person": {"output": "a", "column": -1}}, "column -1 and times None are 0 or more"),
        ({"std": [1, 0, 1]}, "are above 0"),
        ({"size": [1, 1]}, "size is .width, height. in pixels, 2 to"),
        ({"step": 8, "fit": "stretch"}, "not for fit stretch"),
        ({"fill": 300}, "fill is 300; it is a grey level"),
        ({"threshold": 0}, "threshold 0 and overlap None are above 0"),
        ({"fit": "crop"}, "fit 'crop' is unknown; use corner or middle or stretch"),
    ],
)
def test_errors_of_a_json_file_name_it_and_the_field(tmp_path: Path, fields: dict[str, Any], message: str):
    path = tmp_path / "adapter.json"
    path.write_text(json.dumps({"boxes": {"output": "a"}, "person": {"output": "a", "column": 4}, **fields}))
    with pytest.raises(
        ValueError, match=rf"adapter\.json: is no adapter of a detector: .*{message}.*runtime\.md"
    ):
        BoxAdapter.from_json(path)


@pytest.mark.parametrize(
    "image",
    [
        None,
        np.zeros((8, 8), np.uint8),
        np.zeros((8, 8, 4), np.uint8),
        np.zeros((8, 8, 3)),
        np.zeros((0, 8, 3), np.uint8),
    ],
)
def test_errors_of_bad_images_describe_them(file: Callable[..., Path], image: Any):
    with pytest.raises(ValueError, match=r"the image (is|has shape) .*expected"):
        Detector(dets(file), adapter=PLAIN)(image)


@pytest.mark.parametrize("threshold", [0.0, 1.5])
def test_a_threshold_is_a_score(file: Callable[..., Path], threshold: float):
    with pytest.raises(ValueError, match="is not a score"):
        Detector(dets(file), adapter=PLAIN, threshold=threshold)


@pytest.mark.parametrize("name", ["000000000785.jpg", "000000040083.jpg", "000000196141.jpg"])
def test_rtmdet_nano_finds_coco_s_people(shared: Path, name: str):
    """Those over 80 pixels, and nobody else in their places twice."""
    detector = Detector(shared / "peers" / "rtmdet-nano.onnx", threads=1)
    assert detector.adapter is RTMDET
    folder = shared / "data" / "fixtures" / "coco"
    told = json.loads((folder / "test_coco.json").read_text())
    [number] = [image["id"] for image in told["images"] if image["file_name"] == name]
    boxes = np.array([a["bbox"] for a in told["annotations"] if a["image_id"] == number], float)
    boxes[:, 2:] += boxes[:, :2]
    large = boxes[boxes[:, 3] - boxes[:, 1] > 80]
    image = read_image(folder / name)
    found = detector(image, colour="rgb")
    assert len(large)
    assert ((iou(large, found[:, :4]) > 0.7).sum(1) == 1).all()
    np.testing.assert_allclose(detector(image[..., ::-1]), found, atol=1e-3)
