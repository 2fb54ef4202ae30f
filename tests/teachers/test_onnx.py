"""ONNX files made here, which hand the image they are given straight to their outputs: so an prediction shows
both how a network is fed and how it is read.
"""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from hashlib import blake2b
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from poseling.adapter import ADAPTERS, BLAZEPOSE, MOVENET, Adapter, Bins, Confidence, Maps, Points, Space
from poseling.codecs.heatmap import Heatmap
from poseling.codecs.simcc import SimCC
from poseling.data import lsp
from poseling.files import read_image
from poseling.geometry import Crop
from poseling.skeleton import BLAZEPOSE33, COCO17, Skeleton
from poseling.spec import KEY, PoseSpec
from poseling.teachers.onnx import OnnxTeacher

TWO = Skeleton("two", ("nose", "tail"), (0, 0))
HIPS = Skeleton("hips", ("nose", "left_hip", "right_hip"), (0, 0, 0))
FLOAT, HALF, BYTE, INT = TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.UINT8, TensorProto.INT32
POINTS = Adapter(
    TWO, layout="bhwc", white=255.0, points=Points("out", 3, corner=False)
)  # the columns of a row are a pixel's R, G and B
MAPS = Adapter(TWO, layout="bchw", maps=Maps("out", decoding="plain"))  # the channels are R and G


def write(
    path: Path,
    shape: list,
    nodes: list | None = None,
    outputs: dict | None = None,
    kind: int = FLOAT,
    constants: dict | None = None,
    opset: int = 17,
) -> Path:
    """An ONNX file with the input `in`; without nodes its output `out` is the input as float32."""
    nodes = nodes or [helper.make_node("Cast", ["in"], ["out"], to=FLOAT)]
    outputs = outputs or {"out": shape}
    graph = helper.make_graph(
        nodes,
        "test",
        [helper.make_tensor_value_info("in", kind, shape)],
        [helper.make_tensor_value_info(name, FLOAT, s) for name, s in outputs.items()],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in (constants or {}).items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=9)
    onnx.checker.check_model(model)
    onnx.save(model, path)
    return path


def crops(count: int = 1, width: int = 4, height: int = 2) -> torch.Tensor:
    """Crops (B, H, W, 3) whose numbers count from 20 b, colour after colour and pixel after pixel."""
    values = (
        np.arange(height * width * 3).reshape(1, height, width, 3)
        + 20 * np.arange(count)[:, None, None, None]
    )
    return torch.from_numpy(values.astype(np.uint8))


def test_points_are_the_columns_that_the_adapter_names(tmp_path: Path) -> None:
    path = write(tmp_path / "a.onnx", ["N", 2, 4, 3])
    prediction = OnnxTeacher(path, POINTS)(crops())
    # Pixels 0 and 1 are (0, 1, 2) and (3, 4, 5).
    assert prediction.xy.tolist() == [[[0, 1], [3, 4]]]
    assert prediction.score.tolist() == [[1, 1]]  # the network has no score
    assert prediction.maps is None
    yx = OnnxTeacher(path, replace(POINTS, points=Points("out", 3, x=2, y=0, corner=False, rows=(7, 1))))(
        crops()
    )
    assert yx.xy.tolist() == [[[23, 21], [5, 3]]]
    flat = OnnxTeacher(path, replace(POINTS, points=Points("out", 4, x=0, y=3, corner=False)))(
        crops()
    )  # the same 24 numbers, four to a row
    assert flat.xy.tolist() == [[[0, 3], [4, 7]]]


@pytest.mark.parametrize(
    ("normalised", "corner", "expected"),
    [
        (False, False, [0.25, 0.5]),
        (False, True, [-0.25, 0.0]),
        (True, False, [0.25 * 3, 0.5 * 1]),  # 1 is the centre of the last pixel, 3 or 1
        (True, True, [0.25 * 4 - 0.5, 0.5 * 2 - 0.5]),  # 1 is the far corner of the last pixel, 3.5 or 1.5
    ],
)
def test_what_a_coordinate_means(
    tmp_path: Path, normalised: bool, corner: bool, expected: list[float]
) -> None:
    path = write(tmp_path / "a.onnx", ["N", 2, 4, 3])
    image = torch.zeros(1, 2, 4, 3, dtype=torch.uint8)
    image[0, 0, 0] = torch.tensor([64, 128, 0])
    adapter = replace(POINTS, white=255 / 256, points=Points("out", 3, normalised=normalised, corner=corner))
    assert OnnxTeacher(path, adapter)(image).xy[0, 0].tolist() == pytest.approx(expected, abs=1e-6)


def test_layout_colour_and_normalisation_of_what_is_fed(tmp_path: Path) -> None:
    image = crops() * 5  # pixel 0 is (0, 5, 10), pixel 1 (15, 20, 25)
    bhwc = write(tmp_path / "bhwc.onnx", ["N", 2, 4, 3])
    bgr = replace(POINTS, colour="bgr", white=51.0, mean=(1.0, 2.0, 3.0), std=(0.5, 0.25, 1.0))
    # B = 10 / 5 = 2, (2 - 1) / 0.5; G = 5 / 5 = 1, (1 - 2) / 0.25
    assert OnnxTeacher(bhwc, bgr)(image).xy[0].tolist() == [
        pytest.approx([2, -4], abs=1e-5),
        pytest.approx([8, 8], abs=1e-5),
    ]
    bchw = write(tmp_path / "bchw.onnx", ["N", 3, 2, 4])
    planes = replace(
        POINTS, layout="bchw", points=Points("out", 8, x=1, y=4, corner=False)
    )  # a row is a colour, its columns are the pixels
    assert OnnxTeacher(bchw, planes)(image).xy[0].tolist() == [[15, 60], [20, 65]]


@pytest.mark.parametrize("kind", [BYTE, INT, FLOAT, HALF])
def test_the_type_of_the_input_is_the_file_s(tmp_path: Path, kind: int) -> None:
    path = write(tmp_path / "a.onnx", ["N", 2, 4, 3], kind=kind)
    assert OnnxTeacher(path, POINTS)(crops(2)).xy[1].tolist() == [[20, 21], [23, 24]]


@pytest.mark.parametrize("batch", ["N", 1, 2])
@pytest.mark.parametrize("count", [0, 1, 3, 11])
def test_any_number_of_crops_through_any_batch(tmp_path: Path, batch: int | str, count: int) -> None:
    path = write(tmp_path / "a.onnx", [batch, 2, 4, 3])
    prediction = OnnxTeacher(path, POINTS)(crops(count))
    assert prediction.xy.tolist() == [[[20 * b, 20 * b + 1], [20 * b + 3, 20 * b + 4]] for b in range(count)]
    assert prediction.score.shape == (count, 2)


def test_a_network_for_one_image_may_leave_out_the_batch(tmp_path: Path) -> None:
    reshape = helper.make_node("Reshape", ["in", "shape"], ["out"])
    path = write(
        tmp_path / "a.onnx", [1, 2, 4, 3], [reshape], {"out": [8, 3]}, constants={"shape": np.array([8, 3])}
    )
    assert OnnxTeacher(path, POINTS)(crops(2)).xy[1].tolist() == [[20, 21], [23, 24]]


def test_a_network_that_was_traced_with_one_crop_is_run_crop_by_crop(tmp_path: Path) -> None:
    """Its input declares any number. One fails on two crops in a Reshape; one always predicts a single crop."""
    one = helper.make_node("Reshape", ["in", "shape"], ["out"])
    path = write(
        tmp_path / "a.onnx",
        ["N", 2, 4, 3],
        [one],
        {"out": [1, 8, 3]},
        constants={"shape": np.array([1, 8, 3])},
    )
    assert OnnxTeacher(path, POINTS)(crops(3)).xy[2].tolist() == [[40, 41], [43, 44]]
    path = write(
        tmp_path / "b.onnx",
        ["N", 2, 4, 3],
        [one],
        {"out": ["M", 8, 3]},
        constants={"shape": np.array([-1, 4, 3])},
    )
    assert OnnxTeacher(path, POINTS)(crops(3)).xy[2].tolist() == [[40, 41], [43, 44]]
    first = helper.make_node("Slice", ["in", "from", "to", "axes"], ["out"])
    constants = {"from": np.array([0]), "to": np.array([1]), "axes": np.array([0])}
    path = write(tmp_path / "c.onnx", ["N", 2, 4, 3], [first], {"out": ["M", 2, 4, 3]}, constants=constants)
    assert OnnxTeacher(path, POINTS)(crops(3)).xy[2].tolist() == [[40, 41], [43, 44]]


def simcc(path: Path, width: int, height: int, joints: int, batch: int | str = "N") -> Path:
    """A file like RTMPose's: along x the red of the first row of the crop, each pixel twice, and along y the
    red of the first column; each joint the same.
    """
    nodes, constants = (
        [],
        {
            "zero": np.array([0]),
            "one": np.array([1]),
            "across": np.array([2, 3]),
            "many": np.array([1, joints, 1]),
        },
    )
    for axis, flat in ((2, "x"), (3, "y")):
        constants |= {
            f"row{flat}": np.array([1, axis]),
            f"shape{flat}": np.array([0, 1, -1]),
            f"twice{flat}": np.array([1, 1, 1, 2]),
        }
        nodes += [
            helper.make_node("Slice", ["input", "corner", "edge", f"row{flat}"], [f"cut{flat}"]),
            helper.make_node("Reshape", [f"cut{flat}", f"line{flat}"], [f"flat{flat}"]),
            helper.make_node("Tile", [f"flat{flat}", f"twice{flat}"], [f"wide{flat}"]),
            helper.make_node("Reshape", [f"wide{flat}", f"shape{flat}"], [f"bins{flat}"]),
            helper.make_node("Tile", [f"bins{flat}", "many"], [f"simcc_{flat}"]),
        ]
        constants[f"line{flat}"] = np.array([0, 1, -1, 1])
    constants |= {"corner": np.array([0, 0]), "edge": np.array([1, 1])}
    outputs = {"simcc_x": [batch, joints, 2 * width], "simcc_y": [batch, joints, 2 * height]}
    graph = helper.make_graph(
        nodes,
        "rtmpose",
        [helper.make_tensor_value_info("input", FLOAT, [batch, 3, height, width])],
        [helper.make_tensor_value_info(name, FLOAT, shape) for name, shape in outputs.items()],
        [
            numpy_helper.from_array(value, name)
            for name, value in constants.items()
            if name not in ("zero", "one", "across")
        ],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), path)
    return path


@pytest.mark.parametrize(("joints", "batch"), [(17, "N"), (133, "N"), (26, 1)])
def test_rtmposes_bins(tmp_path: Path, joints: int, batch: int | str) -> None:
    """By hand: red of 255 is (255 - 123.675) / 58.395 = 2.2489, so sure; red of 150 is 0.4508. The first of
    the two equal bins of pixel 70 is bin 140, at pixel 70.
    """
    path = simcc(tmp_path / "rtmpose.onnx", 192, 256, joints, batch)
    teacher = OnnxTeacher(path)  # known by its inputs and outputs
    assert (teacher.adapter, teacher.skeleton, teacher.size, teacher.map_size) == (
        ADAPTERS["rtmpose"],
        COCO17,
        (192, 256),
        None,
    )
    images = torch.zeros(3, 256, 192, 3, dtype=torch.uint8)
    for i, (x, y, red) in enumerate(((70, 33, 255), (191, 1, 150), (5, 255, 255))):
        images[i, 0, x, 0], images[i, y, 0, 0] = 255, red
    prediction = teacher(images)
    assert prediction.xy.shape == (3, 17, 2)
    assert prediction.xy[:, 16].tolist() == [[70, 33], [191, 1], [5, 255]]
    assert prediction.score[:, 3].tolist() == [1, pytest.approx((150 - 123.675) / 58.395, rel=1e-4), 1]


def test_bins_as_logits_and_between_them(tmp_path: Path) -> None:
    """Logits of the codec's own Gaussians, read back: the image's colours are too coarse for that, so the
    numbers are constants of the file.
    """
    codec = SimCC((8, 16), sigma=2.0)
    target, _ = codec.encode(torch.tensor([[[3.3, 9.7], [5.1, 2.2]]]), torch.ones(1, 2))
    x, y = codec.axes(target.log() / codec.beta)
    nodes = [
        helper.make_node("ReduceSum", ["in"], ["nothing"], keepdims=0),
        helper.make_node("Mul", ["nothing", "zero"], ["off"]),
        *(helper.make_node("Add", [name, "off"], [f"simcc_{name}"]) for name in ("x", "y")),
    ]
    constants = {"x": x.numpy(), "y": y.numpy(), "zero": np.float32(0)}
    path = write(
        tmp_path / "a.onnx",
        [1, 3, 16, 8],
        nodes,
        {"simcc_x": [1, 2, 16], "simcc_y": [1, 2, 32]},
        constants=constants,
    )
    adapter = Adapter(
        TWO, bins=Bins(activation="softmax", sigma=2.0, unbiased=True, decoding="dark", rows=(1, 0))
    )
    prediction = OnnxTeacher(path, adapter)(crops(2, 8, 16))
    np.testing.assert_allclose(prediction.xy[1], [[5.1, 2.2], [3.3, 9.7]], atol=0.01)
    wanted = codec.decode(target.log() / codec.beta)[1][0]
    np.testing.assert_allclose(prediction.score[1], wanted.flip(0), rtol=1e-4)
    assert (prediction.score > 0.9).all()
    written = tmp_path / "a.json"
    written.write_text(
        json.dumps({"skeleton": asdict(TWO), "bins": {**asdict(adapter.bins), "rows": [1, 0]}})
    )
    assert Adapter.from_json(written) == adapter
    with pytest.raises(
        ValueError,
        match=r"output simcc_x is \(1, 2, 16\), but 1 bins a pixel of 8x16 are \(B, 2 or more, 8\)",
    ):
        OnnxTeacher(path, replace(adapter, bins=Bins(split=1)))
    with pytest.raises(ValueError, match="split is 0"):
        Bins(split=0)


def test_3d_joints_are_columns_with_a_unit_and_from_the_root(tmp_path: Path) -> None:
    path = write(tmp_path / "a.onnx", ["N", 2, 4, 3])
    image = torch.zeros(1, 2, 4, 3, dtype=torch.uint8)
    image[0, 0, :3] = torch.tensor([[10, 20, 30], [40, 50, 60], [60, 90, 120]])
    adapter = replace(POINTS, skeleton=HIPS, space=Space("out", 3))
    teacher = OnnxTeacher(path, adapter)
    assert teacher.is_3d
    assert not OnnxTeacher(path, POINTS).is_3d
    # The middle of the hips is (50, 70, 90).
    assert teacher(image).xyz.tolist() == [[[-40, -50, -60], [-10, -20, -30], [10, 20, 30]]]
    assert OnnxTeacher(path, POINTS)(image).xyz is None
    millimetres = Space("out", 3, x=2, y=0, z=1, unit=(0.001, -0.001, -0.01), rows=(1, 0, 2))
    # Pixels 1, 0, 2 as B, R, G are (60, 40, 50), (30, 10, 20), (120, 60, 90), and the middle of the last two
    # (75, 35, 55).
    xyz = OnnxTeacher(path, replace(adapter, space=millimetres))(image).xyz
    np.testing.assert_allclose(
        xyz[0], [[-0.015, -0.005, 0.05], [-0.045, 0.025, 0.35], [0.045, -0.025, -0.35]], atol=1e-6
    )


def test_a_score_is_a_column_and_may_be_a_logit(tmp_path: Path) -> None:
    path = write(tmp_path / "a.onnx", ["N", 2, 4, 3])
    image = torch.zeros(1, 2, 4, 3, dtype=torch.uint8)
    image[0, 0, :2, 2] = torch.tensor([51, 204])
    parts = replace(POINTS, white=1.0, score=Confidence("out", 3, 2))
    assert OnnxTeacher(path, parts)(image).score[0].tolist() == pytest.approx([0.2, 0.8])
    logits = replace(POINTS, white=5.0, mean=(2.0,) * 3, score=Confidence("out", 3, 2, "sigmoid"))
    # 1 - 2 = -1 and 4 - 2 = 2: 1 / (1 + e) and 1 / (1 + e^-2)
    assert OnnxTeacher(path, logits)(image).score[0].tolist() == pytest.approx([0.26894142, 0.88079708])
    with pytest.raises(
        ValueError, match=r"runs from 1 to 4, not 0\.\.1; is it a logit \(activation sigmoid\)"
    ):
        OnnxTeacher(path, replace(parts, white=5.0))(image)


def gaussian(width: int, height: int, x: float, y: float, sigma: float) -> np.ndarray:
    """(H, W) with a peak of 1 at x, y."""
    at_x, at_y = np.meshgrid(np.arange(width), np.arange(height))
    return np.exp(-((at_x - x) ** 2 + (at_y - y) ** 2) / (2 * sigma**2))


@pytest.mark.parametrize("layout", ["bchw", "bhwc"])
@pytest.mark.parametrize("unbiased", [False, True])
def test_heatmaps_of_every_fourth_pixel(tmp_path: Path, layout: str, unbiased: bool) -> None:
    shape, axes = (["N", 3, 64, 96], [2, 3]) if layout == "bchw" else (["N", 64, 96, 3], [1, 2])
    every = {
        "starts": np.array([0, 0]),
        "ends": np.array([999, 999]),
        "axes": np.array(axes),
        "steps": np.array([4, 4]),
    }
    out = [s if s in ("N", 3) else s // 4 for s in shape]
    path = write(
        tmp_path / "a.onnx",
        shape,
        [helper.make_node("Slice", ["in", *every], ["out"])],
        {"out": out},
        constants=every,
    )
    image = torch.zeros(1, 64, 96, 3, dtype=torch.uint8)
    image[0, ::4, ::4, 1] = torch.from_numpy(np.rint(204 * gaussian(24, 16, 9.3, 6.6, 2)).astype(np.uint8))
    image[0, ::4, ::4, 2] = torch.from_numpy(np.rint(255 * gaussian(24, 16, 15.0, 8.0, 2)).astype(np.uint8))
    teacher = OnnxTeacher(
        path, Adapter(TWO, layout=layout, maps=Maps("out", layout, unbiased=unbiased, channels=(2, 1)))
    )
    assert (teacher.size, teacher.map_size) == ((96, 64), (24, 16))
    assert teacher.pixel == ((95 / 23, 63 / 15) if unbiased else (4, 4))
    prediction = teacher(image)
    expected = np.array([[15.0, 8.0], [9.3, 6.6]]) * teacher.pixel
    np.testing.assert_allclose(
        prediction.xy[0], expected, atol=0.2
    )  # bytes: the Gaussian's foot is rounded away
    # The brightest pixel of the second, at (9, 7), is 0.8 exp(-(0.3^2 + 0.4^2) / 8).
    np.testing.assert_allclose(prediction.score[0], [1, 0.8 * np.exp(-0.25 / 8)], atol=0.002)
    np.testing.assert_allclose(prediction.maps[0, 1], image[0, ::4, ::4, 1] / 255, atol=1e-6)


def test_heatmaps_past_their_activation(tmp_path: Path) -> None:
    path = write(tmp_path / "a.onnx", ["N", 3, 32, 32])
    image = torch.zeros(1, 32, 32, 3, dtype=torch.uint8)
    image[0, 20, 11, 0], image[0, 5, 6, 1] = 255, 153
    logits = replace(
        MAPS, white=10.0, mean=(5.0,) * 3, maps=Maps("out", activation="sigmoid", decoding="plain")
    )
    prediction = OnnxTeacher(path, logits)(image)
    assert prediction.xy[0].tolist() == [[11, 20], [6, 5]]
    assert prediction.score[0].tolist() == pytest.approx(
        [1 / (1 + np.exp(-5)), 1 / (1 + np.exp(-1))]
    )  # 6 - 5 = 1
    assert prediction.maps[0, 0, 0, 0].item() == pytest.approx(1 / (1 + np.exp(5)))
    # The logarithm of a Gaussian of sigma 1.5, with a top of 25.5 in steps of 0.1: its softmax has the height
    # 1 / (2 pi sigma^2), which is 1 as a map.
    top = np.clip(255 + 10 * np.log(gaussian(32, 32, 14, 17, 1.5)), 0, 255)
    image[0, ..., 0] = image[0, ..., 1] = torch.from_numpy(np.rint(top).astype(np.uint8))
    prediction = OnnxTeacher(
        path, replace(MAPS, white=25.5, maps=Maps("out", activation="softmax", sigma=1.5))
    )(image)
    np.testing.assert_allclose(prediction.xy[0], [[14, 17]] * 2, atol=0.01)
    np.testing.assert_allclose(prediction.maps[0, 0, 17, 14], 1, atol=0.05)  # half a step in every logarithm
    with pytest.raises(ValueError, match=r"heatmaps in output out are up to 25\.5 high"):
        OnnxTeacher(path, replace(MAPS, white=25.5))(image)


def test_points_and_maps_at_once(tmp_path: Path) -> None:
    nodes = [helper.make_node("Identity", ["in"], ["maps"]), helper.make_node("Identity", ["in"], ["points"])]
    path = write(
        tmp_path / "a.onnx", ["N", 16, 16, 3], nodes, {"maps": ["N", 16, 16, 3], "points": ["N", 16, 16, 3]}
    )
    image = torch.zeros(1, 16, 16, 3, dtype=torch.uint8)
    image[0, 5, 6, 0], image[0, 9, 3, 1] = 255, 102
    both = Adapter(
        TWO,
        layout="bhwc",
        points=Points("points", 3, corner=False, rows=(5 * 16 + 6, 9 * 16 + 3)),
        maps=Maps("maps", "bhwc", decoding="plain"),
    )
    prediction = OnnxTeacher(path, both)(image)
    assert prediction.xy[0].tolist() == [
        [1, 0],
        [0, pytest.approx(0.4)],
    ]  # the points, which are the colours of those two pixels
    assert prediction.score[0].tolist() == pytest.approx([1, 0.4])  # the peaks
    assert OnnxTeacher(path, replace(both, points=None))(image).xy[0].tolist() == [[6, 5], [3, 9]]


def test_a_file_of_ours_needs_no_adapter(tmp_path: Path) -> None:
    spec = PoseSpec(
        "hourglass-1x32",
        TWO,
        Heatmap((4, 2), stride=1).fields(),
        (4, 2),
        1.4,
        licences={"code": "a", "weights": "b", "data": "c"},
    )
    cut = {
        "row": np.array(0),
        "joints": np.array([0, 1]),
        "xs": np.array([0, 1]),
        "blue": np.array(2),
        "top": np.array(255, np.float32),
    }
    nodes = [
        helper.make_node("Cast", ["in"], ["float"], to=FLOAT),
        helper.make_node("Gather", ["float", "row"], ["line"], axis=1),  # (N, 4, 3)
        helper.make_node("Gather", ["line", "joints"], ["pair"], axis=1),  # (N, 2, 3)
        helper.make_node("Gather", ["pair", "xs"], ["xy"], axis=2),
        helper.make_node("Gather", ["pair", "blue"], ["blues"], axis=2),
        helper.make_node("Div", ["blues", "top"], ["score"]),
    ]
    path = write(
        tmp_path / "a.onnx", ["N", 2, 4, 3], nodes, {"xy": ["N", 2, 2], "score": ["N", 2]}, BYTE, cut
    )
    model = onnx.load(path)
    helper.set_model_props(model, {KEY: spec.to_json()})
    onnx.save(model, path)
    teacher = OnnxTeacher(path)
    assert (teacher.skeleton, teacher.size, teacher.padding, teacher.map_size, teacher.licences) == (
        TWO,
        (4, 2),
        1.4,
        None,
        spec.licences,
    )
    prediction = teacher(crops(2))
    assert prediction.xy[1].tolist() == [
        [20, 21],
        [23, 24],
    ]  # as they are: ours are pixels already, counted from the first one's centre
    assert prediction.score[1].tolist() == pytest.approx([22 / 255, 25 / 255])
    helper.set_model_props(model, {KEY: "{}"})
    onnx.save(model, path)
    with pytest.raises(ValueError, match=r"a\.onnx: this is not a PoseSpec"):
        OnnxTeacher(path)


def test_a_file_of_ours_may_predict_3d() -> None:
    spec = PoseSpec("vnect", HIPS, {}, (64, 64), outputs=("xy", "score", "xyz"))
    assert Adapter.from_spec(spec).space == Space("xyz", 3, 0, 1, 2, (1, 1, 1))
    assert Adapter.from_spec(replace(spec, outputs=("xy", "score"))).space is None


def test_a_raw_file_of_ours_gives_maps() -> None:
    spec = PoseSpec(
        "hourglass-1x32",
        TWO,
        Heatmap((64, 64), sigma=1.5, decoding="quarter").fields(),
        (64, 64),
        outputs=("maps",),
    )
    adapter = Adapter.from_spec(spec)
    assert adapter.maps == Maps("maps", "bchw", "none", 1.5, unbiased=True, decoding="quarter")
    assert (adapter.points, adapter.score, adapter.layout, adapter.white) == (None, None, "bhwc", 255)


@pytest.mark.parametrize(("side", "name"), [(256, "thunder"), (192, "lightning")])
def test_movenet_is_known_by_its_inputs_and_outputs(tmp_path: Path, side: int, name: str) -> None:
    said = np.zeros((1, 1, 17, 3), np.float32)
    said[0, 0, 9] = 0.25, 0.75, 0.6  # left wrist: y, x, score
    node = helper.make_node("Identity", ["said"], ["Identity:0"])
    path = write(
        tmp_path / f"{name}.onnx",
        [1, side, side, 3],
        [node],
        {"Identity:0": [1, 1, 17, 3]},
        INT,
        {"said": said},
    )
    model = onnx.load(path)
    model.graph.input[0].name = "input:0"
    onnx.save(model, path)
    teacher = OnnxTeacher(path)
    assert (teacher.adapter, teacher.name, teacher.size, teacher.skeleton) == (
        MOVENET,
        name,
        (side, side),
        COCO17,
    )
    prediction = teacher(torch.zeros(2, side, side, 3, dtype=torch.uint8))
    wrist = COCO17.index("left_wrist")
    assert prediction.xy[1, wrist].tolist() == [0.75 * side - 0.5, 0.25 * side - 0.5]
    assert prediction.score[1, wrist].item() == pytest.approx(0.6)


def test_blazepose_is_known_by_its_inputs_and_outputs(tmp_path: Path) -> None:
    said = np.zeros((1, 39, 5), np.float32)
    said[0, 15] = 100, 60, -3, 9, 9  # left wrist: x, y, z, visibility, presence
    maps = np.zeros((1, 64, 64, 39), np.float32)
    maps[0, ..., 15] = 0.7 * gaussian(64, 64, 25, 15, 1.5)
    space = np.zeros((1, 39, 3), np.float32)
    space[0, 15] = 0.2, -0.5, -0.1
    constants = {
        "said": said.reshape(1, 195),
        "maps": maps,
        "space": space.reshape(1, 117),
        "one": np.array([1]),
    }
    nodes = [
        helper.make_node("Shape", ["input_1:0"], ["n"], end=1),
        helper.make_node("Concat", ["n", "one"], ["times2"], axis=0),
        helper.make_node("Concat", ["n", "one", "one", "one"], ["times4"], axis=0),
        helper.make_node("Tile", ["said", "times2"], ["Identity_2:0"]),
        helper.make_node("Tile", ["maps", "times4"], ["Identity:0"]),
        helper.make_node("Tile", ["space", "times2"], ["Identity_4:0"]),
    ]
    graph = helper.make_graph(
        nodes,
        "test",
        [helper.make_tensor_value_info("input_1:0", FLOAT, ["N", 256, 256, 3])],
        [
            helper.make_tensor_value_info(n, FLOAT, s)
            for n, s in (
                ("Identity_2:0", ["N", 195]),
                ("Identity:0", ["N", 64, 64, 39]),
                ("Identity_4:0", ["N", 117]),
            )
        ],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    path = tmp_path / "lite.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), path)
    teacher = OnnxTeacher(path)
    assert (teacher.adapter, teacher.size, teacher.map_size, teacher.pixel) == (
        BLAZEPOSE,
        (256, 256),
        (64, 64),
        (4, 4),
    )
    black = torch.zeros(2, 256, 256, 3, dtype=torch.uint8)
    prediction, wrist = teacher(black), BLAZEPOSE33.index("left_wrist")
    assert prediction.xy[1, wrist].tolist() == [99.5, 59.5]
    assert prediction.score[1, wrist].item() == pytest.approx(
        0.7
    )  # the peak, whatever visibility and presence are
    assert prediction.maps.shape == (2, 33, 64, 64)
    np.testing.assert_allclose(prediction.xyz[1, wrist], [0.2, -0.5, -0.1])
    assert prediction.xyz.count_nonzero() == 6
    from_maps = OnnxTeacher(path, "blazepose-maps")(black)
    np.testing.assert_allclose(from_maps.xy[1, wrist], [100, 60], atol=1e-3)


def test_an_adapter_from_json(tmp_path: Path) -> None:
    file = tmp_path / "adapter.json"
    file.write_text(
        json.dumps(
            {
                "skeleton": {"name": "two", "joints": ["nose", "tail"], "parents": [0, 0]},
                "padding": 1.5,
                "layout": "bhwc",
                "white": 255,
                "size": [4, 2],
                "points": {"output": "out", "columns": 3, "x": 1, "y": 0, "corner": False, "rows": [2, 0]},
            }
        )
    )
    teacher = OnnxTeacher(write(tmp_path / "a.onnx", ["N", "h", "w", 3]), str(file))
    assert (teacher.skeleton, teacher.padding, teacher.size) == (TWO, 1.5, (4, 2))
    assert teacher(crops()).xy.tolist() == [[[7, 6], [1, 0]]]
    file.write_text(
        '{"skeleton": "coco17", "maps": {"output": "out"}, "score": {"output": "s", "activation": "sigmoid"}}'
    )
    assert Adapter.from_json(file) == Adapter(
        COCO17, maps=Maps("out"), score=Confidence("s", activation="sigmoid")
    )
    file.write_text(
        '{"skeleton": "coco17", "maps": {"output": "out"}, "space": {"output": "s", "unit": [0.001, 0.001, -0.001]}}'
    )
    assert Adapter.from_json(file) == Adapter(
        COCO17, maps=Maps("out"), space=Space("s", unit=(0.001, 0.001, -0.001))
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is no adapter"),
        ("[]", "is no adapter"),
        ('{"maps": {"output": "out"}}', "it lacks 'skeleton'"),
        (
            '{"skeleton": "coco18", "maps": {"output": "out"}}',
            "skeleton 'coco18' is unknown; there is body19, coco17",
        ),
        ('{"skeleton": "coco17"}', "neither points, bins nor maps"),
        ('{"skeleton": "coco17", "maps": {"output": "out"}, "colors": "bgr"}', "colors"),
        ('{"skeleton": "coco17", "maps": {}}', "output"),
        (
            '{"skeleton": "coco17", "maps": {"output": "out", "layout": "chw"}}',
            "layout 'chw' is unknown; use bchw or bhwc",
        ),
        (
            '{"skeleton": "coco17", "maps": {"output": "out", "activation": "relu"}}',
            "activation 'relu' is unknown",
        ),
        ('{"skeleton": "coco17", "maps": {"output": "out", "sigma": 0}}', "sigma is 0"),
        (
            '{"skeleton": "coco17", "maps": {"output": "out", "channels": [0, 1]}}',
            "one place for each of the 17 joints",
        ),
        (
            '{"skeleton": "coco17", "points": {"output": "out", "columns": 3, "x": 3}}',
            r"different columns of 0\.\.2, got x 3",
        ),
        ('{"skeleton": "coco17", "points": {"output": "out", "columns": 3, "x": 1}}', "got x 1 and y 1"),
        ('{"skeleton": "coco17", "maps": {"output": "out"}, "colour": "rbg"}', "colour 'rbg' is unknown"),
        ('{"skeleton": "coco17", "maps": {"output": "out"}, "std": [1, 1, 0]}', "std above 0"),
        ('{"skeleton": "coco17", "maps": {"output": "out"}, "padding": 0}', "padding 0"),
        ('{"skeleton": "coco17", "maps": {"output": "out"}, "size": [256]}', "size is"),
        (
            '{"skeleton": "coco17", "maps": {"output": "out"}, "space": {"output": "s", "z": 3}}',
            r"different columns of 0\.\.2, got x 0, y 1 and z 3",
        ),
        (
            '{"skeleton": "coco17", "maps": {"output": "out"}, "space": {"output": "s", "unit": [1, 0, 1]}}',
            r"none of them 0, got \(1, 0, 1\)",
        ),
        (
            '{"skeleton": "coco17", "maps": {"output": "out"}, "space": {"output": "s", "rows": [0]}}',
            "space: rows is one place for each",
        ),
        (
            '{"skeleton": {"name": "tail", "joints": ["tail"], "parents": [0]}, "maps": {"output": "out"}, "space": {"output": "s"}}',
            "skeleton tail has neither a pelvis nor two hips",
        ),
        (
            '{"skeleton": "coco17", "maps": {"output": "out"}, "score": {"output": "s", "column": 1}}',
            r"column 1 is not one of 0\.\.0",
        ),
    ],
)
def test_the_error_for_no_adapter_has_the_reason(tmp_path: Path, text: str, message: str) -> None:
    file = tmp_path / "adapter.json"
    file.write_text(text)
    with pytest.raises(ValueError, match=message) as caught:
        Adapter.from_json(file)
    assert str(caught.value).startswith(f"{file}: ")


@pytest.mark.parametrize(
    ("shape", "kind", "adapter", "message"),
    [
        (["N", 2, 4, 3], FLOAT, None, "none of the networks that are known"),
        (["N", 2, 4, 3], FLOAT, replace(POINTS, points=Points("points", 3)), "it has no output points"),
        (["N", 2, 4, 3], FLOAT, replace(POINTS, layout="bchw"), "which is not bchw with three colours"),
        (
            ["N", 2, 4, 3],
            FLOAT,
            replace(POINTS, size=(8, 2)),
            "its input is 4 pixels in width, the adapter's size says 8",
        ),
        (["N", 2, "w", 3], FLOAT, POINTS, "leaves the width of its input free"),
        (
            ["N", 2, 4, 3],
            INT,
            replace(POINTS, white=1.0),
            "whole numbers, for which the adapter must say white 255",
        ),
        (["N", 2, 4, 3], TensorProto.INT8, POINTS, r"its input is tensor\(int8\)"),
        (
            ["N", 2, 4, 3],
            FLOAT,
            replace(POINTS, points=Points("out", 5)),
            "does not hold 5 columns for each of at least 2 rows",
        ),
        (["N", 2, 4, 3], FLOAT, replace(POINTS, skeleton=COCO17), "at least 17 rows"),
        (
            ["N", 2, 4, 3],
            FLOAT,
            replace(POINTS, skeleton=HIPS, space=Space("out", 9)),
            "does not hold 9 columns for each of at least 3 rows",
        ),
        (["N", 3, 8, 8], FLOAT, replace(MAPS, skeleton=COCO17), r"has 3 channels, skeleton coco17 needs 17"),
        (
            ["N", 3, 8, 8],
            FLOAT,
            replace(MAPS, maps=Maps("out", "bhwc")),
            r"heatmaps of 8x3 pixels, the input's 8x8 is no multiple",
        ),
    ],
)
def test_the_error_for_an_adapter_that_does_not_fit_describes_the_file(
    tmp_path: Path, shape: list, kind: int, adapter: Adapter | None, message: str
) -> None:
    path = write(tmp_path / "a.onnx", shape, kind=kind)
    with pytest.raises(ValueError, match=message) as caught:
        OnnxTeacher(path, adapter)
    said = str(caught.value)
    assert said.startswith(f"{path}: ")
    assert f"Its inputs: in {'tensor(float)' if kind == FLOAT else 'tensor(int'}" in said
    assert "Its outputs: out tensor(float)" in said


def test_files_crops_and_devices_that_cannot_be(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"none\.onnx: there is no such file"):
        OnnxTeacher(tmp_path / "none.onnx")
    path = write(tmp_path / "a.onnx", ["N", 2, 4, 3])
    with pytest.raises(
        FileNotFoundError,
        match=r"posenet: there is no such adapter; built in are movenet, blazepose, blazepose-maps",
    ):
        OnnxTeacher(path, "posenet")
    for device in ("mps", "tpu:1"):
        with pytest.raises(ValueError, match=f"runs on cpu, cuda or cuda:N, not on {device}"):
            OnnxTeacher(path, POINTS, device)
    with pytest.raises(ValueError, match="threads is 0"):
        OnnxTeacher(path, POINTS, threads=0)
    teacher = OnnxTeacher(path, POINTS, threads=1)
    for wrong in (crops(width=8), crops().float(), crops()[0]):
        with pytest.raises(ValueError, match=r"a takes uint8 crops \(B, 2, 4, 3\), got"):
            teacher(wrong)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(ValueError, match=r"a\.onnx: is cut short or no ONNX file"):
        OnnxTeacher(path, POINTS)


def test_the_digest_is_of_the_weights_and_of_how_they_are_read(tmp_path: Path) -> None:
    path = write(tmp_path / "a.onnx", ["N", 2, 4, 3])
    other = tmp_path / "moved.onnx"
    other.write_bytes(path.read_bytes())
    digest = OnnxTeacher(path, POINTS).digest
    assert OnnxTeacher(other, POINTS).digest == digest
    assert OnnxTeacher(path, replace(POINTS, licences={"code": "MIT"})).digest == digest
    assert OnnxTeacher(path, replace(POINTS, white=1.0)).digest != digest
    assert OnnxTeacher(write(tmp_path / "b.onnx", ["N", 2, 4, 3], kind=BYTE), POINTS).digest != digest
    deep = replace(POINTS, skeleton=HIPS, space=Space("out"))
    digests = {
        OnnxTeacher(path, a).digest
        for a in (deep, replace(deep, space=None), replace(deep, space=Space("out", unit=(1.0, 1.0, -1.0))))
    }
    assert len(digests) == 3


def test_the_digest_of_a_2d_adapter_is_what_it_was(tmp_path: Path) -> None:
    path = write(tmp_path / "a.onnx", ["N", 2, 4, 3])
    # The fields that adapters had before `space`, and the file's own digest: the stores of such teachers keep
    # their names.
    fields = (
        "skeleton",
        "padding",
        "layout",
        "colour",
        "white",
        "mean",
        "std",
        "size",
        "points",
        "maps",
        "score",
    )
    reading = json.dumps({name: asdict(POINTS)[name] for name in fields}, sort_keys=True)
    expected = blake2b(reading.encode(), digest_size=16)
    expected.update(blake2b(path.read_bytes()).digest())
    assert OnnxTeacher(path, POINTS).digest == expected.hexdigest()


def test_the_digest_covers_weights_beside_the_file(tmp_path: Path) -> None:
    digests = []
    for value in (1.0, 2.0, 1.0):
        add = helper.make_node("Add", ["in", "weight"], ["out"])
        weight = np.full((2, 4, 3), value, np.float32)
        path = write(
            tmp_path / "a.onnx", ["N", 2, 4, 3], [add], {"out": ["N", 2, 4, 3]}, constants={"weight": weight}
        )
        model = onnx.load(path)
        (tmp_path / "a.bin").unlink(missing_ok=True)
        onnx.save_model(model, path, save_as_external_data=True, location="a.bin", size_threshold=0)
        teacher = OnnxTeacher(path, POINTS)
        assert teacher(crops()).xy[0, 0].tolist() == [value, 1 + value]
        digests.append(teacher.digest)
    assert digests[0] == digests[2] != digests[1]


def test_half_float_weights_give_float_predictions(tmp_path: Path) -> None:
    nodes = [helper.make_node("Identity", ["in"], ["out"])]
    graph = helper.make_graph(
        nodes,
        "test",
        [helper.make_tensor_value_info("in", HALF, [1, 2, 4, 3])],
        [helper.make_tensor_value_info("out", HALF, [1, 2, 4, 3])],
    )
    path = tmp_path / "a.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), path)
    xy = OnnxTeacher(path, POINTS)(crops(2)).xy
    assert xy.dtype == torch.float32
    assert xy[1].tolist() == [[20, 21], [23, 24]]


def test_the_adapters_are_valid() -> None:
    assert set(ADAPTERS) == {"movenet", "blazepose", "blazepose-maps", "rtmpose"}
    assert ADAPTERS["blazepose-maps"].outputs == ("Identity:0", "Identity_4:0")
    assert MOVENET.outputs == ("Identity:0",)


@pytest.mark.shared
@pytest.mark.parametrize(
    ("name", "adapter", "table", "here"),
    [
        ("movenet-thunder", None, 0.880, 0.8819),
        ("blazepose-lite", None, 0.702, 0.7681),
        (
            "blazepose-lite",
            "blazepose-maps",
            None,
            0.8417,
        ),  # in no table: the same network's heatmaps
    ],
)
def test_peers_on_lsp(shared: Path, name: str, adapter: str | None, table: float | None, here: float) -> None:
    """PCK@0.2 of the torso over the 12 limb joints of the first 60 test images; `here` was measured, `table`
    is peers/README.md's for all 1000.
    """
    dataset = lsp.test(shared / "data")[:60]
    teacher = OnnxTeacher(shared / "peers" / f"{name}.onnx", adapter, threads=1)
    frames = [Crop.from_box(box, teacher.size, teacher.padding) for box in dataset.boxes]
    images = np.stack(
        [frame.warp(read_image(file)) for frame, file in zip(frames, dataset.images, strict=True)]
    )
    xy = teacher(torch.from_numpy(images)).xy.numpy()
    joints = teacher.skeleton.to(dataset.skeleton).joints(
        np.stack([frame.invert(p) for frame, p in zip(frames, xy, strict=True)])
    )
    torso = np.linalg.norm(
        dataset.joints[:, dataset.skeleton.index("left_shoulder")]
        - dataset.joints[:, dataset.skeleton.index("right_hip")],
        axis=-1,
    )
    correct = np.linalg.norm(joints - dataset.joints, axis=-1)[:, :12] <= 0.2 * torso[:, None]
    people_s = correct.mean(1)
    assert people_s.mean() == pytest.approx(
        here, abs=0.0101
    )  # 7 of the 720 joints, for another onnxruntime's rounding
    if table is not None:
        # Sixty of the thousand: three standard errors of the mean over people.
        assert people_s.mean() == pytest.approx(table, abs=3 * people_s.std() / np.sqrt(60))


def test_the_documented_adapters_read_what_they_name(tmp_path: Path) -> None:
    page = (Path(__file__).parents[2] / "docs" / "teachers.md").read_text(encoding="utf-8")
    heatmaps, coordinates = (block.partition("```")[0] for block in page.split("```json\n")[1:])
    adapter = tmp_path / "adapter.json"

    adapter.write_text(heatmaps)
    maps = np.zeros((1, 17, 64, 48), np.float32)
    maps[0, 9] = gaussian(48, 64, 20.25, 30.5, 2)
    nodes = [  # the same maps for each of the N crops
        helper.make_node("ReduceMean", ["in", "axes"], ["mean"]),
        helper.make_node("Mul", ["mean", "zero"], ["none"]),
        helper.make_node("Add", ["none", "maps"], ["output"]),
    ]
    constants = {"axes": np.array([1, 2, 3]), "zero": np.zeros((1, 1, 1, 1), np.float32), "maps": maps}
    path = write(
        tmp_path / "hrnet.onnx",
        ["N", 3, 256, 192],
        nodes,
        {"output": ["N", 17, 64, 48]},
        constants=constants,
        opset=18,
    )
    prediction = OnnxTeacher(path, str(adapter))(torch.zeros(2, 256, 192, 3, dtype=torch.uint8))
    np.testing.assert_allclose(prediction.xy[1, 9], [81, 122], atol=1e-2)

    adapter.write_text(coordinates)
    said = np.zeros((1, 42), np.float32)
    said[0, 6 * 3 : 7 * 3] = 0.5, 0.25, 2
    node = helper.make_node("Identity", ["said"], ["joints"])
    path = write(
        tmp_path / "points.onnx", [1, 224, 224, 3], [node], {"joints": [1, 42]}, BYTE, {"said": said}
    )
    prediction = OnnxTeacher(path, str(adapter))(torch.zeros(2, 224, 224, 3, dtype=torch.uint8))
    assert prediction.xy[1, 6].tolist() == [111.5, 55.5]
    assert prediction.score[1, 6].item() == pytest.approx(1 / (1 + np.exp(-2)))


@pytest.mark.shared
def test_the_3d_axes_of_blazepose(shared: Path) -> None:
    """x right and y down as the labels, and z away: for people facing the camera the nose is nearer than the
    ears, for people seen from behind it is not.
    """
    dataset = lsp.test(shared / "data")[:60]
    teacher = OnnxTeacher(shared / "peers" / "blazepose-lite.onnx", threads=1)
    frames = [Crop.from_box(box, teacher.size, teacher.padding) for box in dataset.boxes]
    images = np.stack(
        [frame.warp(read_image(file)) for frame, file in zip(frames, dataset.images, strict=True)]
    )
    xyz = teacher(torch.from_numpy(images)).xyz.numpy()
    joints, labels = (
        teacher.skeleton.to(dataset.skeleton).joints(xyz)[:, :12],
        dataset.joints[:, :12],
    )  # the limbs
    for axis in (0, 1):
        place, label = ((part - part.mean(1, keepdims=True))[..., axis].ravel() for part in (joints, labels))
        assert np.corrcoef(place, label)[0, 1] > 0.7
    across = (
        dataset.joints[:, dataset.skeleton.index("left_shoulder"), 0]
        - dataset.joints[:, dataset.skeleton.index("right_shoulder"), 0]
    )
    width = 0.15 * (dataset.boxes[:, 3] - dataset.boxes[:, 1])
    nose, left, right = (
        xyz[:, teacher.skeleton.index(name), 2] for name in ("nose", "left_ear", "right_ear")
    )
    nearer = nose < (left + right) / 2
    assert nearer[across > width].mean() > 0.8
    assert nearer[across < -width].mean() < 0.2


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"mean": [{}, 0, 0]}, r"mean\[0\] is \{\}, expected a finite number"),
        ({"white": 1e999}, "white is inf, expected a finite number"),
        ({"padding": "wide"}, "padding is 'wide'"),
        ({"size": [10**9, 10**9]}, "size is .*2 to 4096"),
        ({"points": {"output": -1, "columns": 3}}, "points: output is -1, expected text"),
        (
            {"points": {"output": "o", "columns": 3, "rows": [0, float("nan")]}},
            r"points: rows\[1\] is nan, expected a whole number",
        ),
        ({"points": {"output": "o", "columns": 2**53, "x": -1}}, "points: x and y are two different columns"),
        ({"space": {"output": 0}}, "space: output is 0"),
        ({"licences": {"code": 3}}, r"licences\['code'\] is 3"),
        ({"skeleton": {"name": "a", "joints": ["b"], "parents": [2**70]}}, r"skeleton: parents\[0\] is"),
    ],
)
def test_fields_of_an_adapter_of_another_type_or_range(
    tmp_path: Path, change: dict[str, object], message: str
) -> None:
    file = tmp_path / "adapter.json"
    file.write_text(json.dumps({"skeleton": "coco17", "points": {"output": "o", "columns": 3}} | change))
    with pytest.raises(ValueError, match=rf"adapter\.json: is no adapter: .*{message}"):
        Adapter.from_json(file)


def test_an_adapter_that_does_not_fit_is_named_with_the_network(tmp_path: Path) -> None:
    path, file = write(tmp_path / "a.onnx", ["N", 2, 4, 3]), tmp_path / "adapter.json"
    file.write_text(
        json.dumps({"skeleton": "coco17", "layout": "bhwc", "points": {"output": "1e999", "columns": 3}})
    )
    with pytest.raises(
        ValueError, match=r"a\.onnx: it has no output 1e999\. The adapter is .*adapter\.json\."
    ):
        OnnxTeacher(path, str(file))
