"""Parity judged on networks of three heatmaps: the channels of the crop themselves, once in torch and once in
an ONNX file made by hand.
"""

from __future__ import annotations

import math
from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper

from poseling.codecs import Coordinates, Heatmap, SimCC, SimCC3D, read
from poseling.export import parity
from poseling.export.parity import ParityError, check

SIZE = (24, 16)
CODEC = Heatmap(SIZE, stride=1, decoding="plain")


def network(crops: torch.Tensor) -> torch.Tensor:
    """The red, green and blue of a crop as three heatmaps of 0..1."""
    return crops.permute(0, 3, 1, 2).float() / 255


def model(gain: float = 1.0, roll: int = 0, tilt: float = 0.0) -> bytes:
    """The same as a raw ONNX file; its maps may be multiplied, moved to the right, or raised by `tilt` from
    pixel to pixel.
    """
    width, height = SIZE
    ramp = tilt * np.arange(width, dtype=np.float32)[None, None, None]
    column = (np.arange(width) - roll) % width
    nodes = [
        helper.make_node("Transpose", ["crops"], ["turned"], perm=[0, 3, 1, 2]),
        helper.make_node("Cast", ["turned"], ["float"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["float", "gain"], ["scaled"]),
        helper.make_node("Gather", ["scaled", "column"], ["moved"], axis=3),
        helper.make_node("Add", ["moved", "ramp"], ["maps"]),
    ]
    constants = {"gain": np.float32(gain / 255), "column": column.astype(np.int64), "ramp": ramp}
    graph = helper.make_graph(
        nodes,
        "three-channels",
        [helper.make_tensor_value_info("crops", TensorProto.UINT8, ["N", height, width, 3])],
        [helper.make_tensor_value_info("maps", TensorProto.FLOAT, ["N", 3, height, width])],
        [onnx.numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    return helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10
    ).SerializeToString()


def peaks(x: list[int], count: int = 32) -> np.ndarray:
    """Crops with one bright pixel a channel, in column x[i % len(x)] of crop i, in the middle row."""
    crops = np.zeros((count, SIZE[1], SIZE[0], 3), np.uint8)
    for i, crop in enumerate(crops):
        crop[8, x[i % len(x)]] = 200
    return crops


def test_the_numbers_are_those_of_arithmetic():
    found = check(network, CODEC, model(), peaks([4, 12]))
    # Every joint at 200/255; half of the crops at x = 4, half at 12: a standard deviation of 4 px.
    assert (found.crops, found.compared, found.jumped, found.source) == (32, 96, 0, "given")
    assert found.max_pixels == found.mean_pixels == 0
    assert found.max_score < 1e-6
    assert found.varied == pytest.approx(4)
    assert "32 given crops" in str(found)
    assert found.max_mm is None
    assert "in 3D" not in str(found)


def test_a_shift_of_a_pixel_is_a_pixel():
    with pytest.raises(
        ParityError, match=r"96 of 96 joints are off by more than 0\.05 px, the worst by 1 px"
    ):
        check(network, CODEC, model(roll=1), peaks([4, 16]))
    assert (
        check(network, CODEC, model(roll=1), peaks([2, 22]), bound=1.0).mean_pixels == 1
    )  # the bound itself is within it
    with pytest.raises(ParityError, match="off by more than"):
        check(network, CODEC, model(roll=1), peaks([2, 22]), bound=0.99)


def test_pixels_are_those_of_the_input_not_of_the_heatmap():
    codec = Heatmap((4 * SIZE[0], 4 * SIZE[1]), stride=4, decoding="plain", unbiased=False)
    with pytest.raises(ParityError, match=r"the worst by 4 px"):
        check(network, codec, model(roll=1), peaks([2, 18]))


@pytest.mark.parametrize(("gain", "right"), [(1.001, True), (1.002, False)])
def test_scores_count_too(gain: float, right: bool):
    # 0.784 x 0.001 and x 0.002, on either side of a thousandth
    if right:
        assert check(network, CODEC, model(gain), peaks([4, 12])).max_score == pytest.approx(
            200 / 255 * 0.001, rel=1e-3
        )
    else:
        with pytest.raises(ParityError, match=r"scores differ by up to 0\.00157, more than 0\.001"):
            check(network, CODEC, model(gain), peaks([4, 12]))


def test_what_is_not_a_number_is_an_error(monkeypatch: pytest.MonkeyPatch):
    with pytest.raises(ParityError, match="scores differ by up to nan"):
        check(network, CODEC, model(math.nan), peaks([4, 12]))
    xy, score = parity._onnx(model(), CODEC, peaks([4, 12]))
    xy[7, 1] = math.nan
    monkeypatch.setattr(parity, "_onnx", lambda *_: (xy, score))
    with pytest.raises(ParityError, match="1 of 96 joints are off"):
        check(network, CODEC, model(), peaks([4, 12]))


def test_a_network_that_ignores_its_input_proves_nothing():
    with pytest.raises(ParityError, match=r"joints move by only 0 px from crop to crop, less than 0\.5 px"):
        check(network, CODEC, model(), peaks([7]))


def test_a_network_without_scores_proves_nothing():
    crops = peaks([4, 12]) // 100  # 2 / 255, below the floor
    with pytest.raises(
        ParityError, match=r"only 0 of 96 joints have a score of 0\.01 or more.*these are synthetic"
    ):
        check(network, CODEC, model(), crops, source="synthetic")


def test_too_few_crops_are_refused():
    with pytest.raises(ValueError, match="at least 32 crops, got 31"):
        check(network, CODEC, model(), peaks([4, 12], 31))


def with_second_peaks(count: int, height: int) -> np.ndarray:
    """128 crops of one peak of 200 each; the first `count` have one of `height` to the right of it in the
    first channel as well.
    """
    crops = peaks([4, 12], 128)
    crops[:count, 8, 20, 0] = height
    return crops


def test_a_joint_may_jump_between_equal_peaks():
    found = check(network, CODEC, model(tilt=1e-7), with_second_peaks(3, 200))
    assert (found.jumped, found.compared) == (3, 384)
    assert found.max_pixels == 0
    assert "3 more jumped" in str(found)


def test_but_only_one_joint_in_a_hundred():
    with pytest.raises(ParityError, match="4 of 384 joints are off"):
        check(network, CODEC, model(tilt=1e-7), with_second_peaks(4, 200))


def test_of_few_joints_one_may_jump():
    crops = peaks([4, 12])
    crops[0, 8, 20, 0] = 200
    assert check(network, CODEC, model(tilt=1e-7), crops).jumped == 1
    crops[1, 8, 20, 0] = 200
    with pytest.raises(ParityError, match="2 of 96 joints are off"):
        check(network, CODEC, model(tilt=1e-7), crops)


def test_and_only_between_peaks_that_are_equal():
    # 199 against 200 of 255, brought to the top by a tilt of 0.016 over the 16 or 8 columns between them:
    # that is no float noise.
    with pytest.raises(ParityError, match="2 of 384 joints are off"):
        check(network, CODEC, model(tilt=1e-3), with_second_peaks(2, 199))


def test_a_second_peak_excuses_no_other_place():
    # Two equal peaks, but the file's answer is a pixel beside either of them.
    crops = peaks([4, 12], 128)
    crops[:, 8, 20] = 0
    crops[0, 8, [4, 20], 0] = 200
    blurred = model(roll=1)
    with pytest.raises(ParityError, match="384 of 384 joints are off"):
        check(network, CODEC, blurred, crops)
    far = np.zeros((128, 3), bool)
    far[0, 0] = True
    outputs = network(torch.from_numpy(crops))
    for column, explained in ((4, True), (20, True), (5, False), (19, False)):
        answer = np.full((128, 3, 2), (column, 8), np.float32)
        assert parity._noise_explains(CODEC, outputs, (answer,), far, 0.05)[0, 0] == explained


def test_equal_bins_excuse_too_and_points_never():
    simcc = SimCC((8, 8), split=1, sigma=1.0, decoding="plain", unbiased=False)
    outputs = torch.zeros(2, 3, 16)
    outputs[..., [2, 6, 12]] = 10  # along x bins 2 and 6 are equally likely, along y it is 4
    far = np.array([[True, False, False], [False, False, True]])
    for column, explained in ((2, True), (6, True), (3, False)):
        answer = np.full((2, 3, 2), (column, 4), np.float32)
        np.testing.assert_array_equal(
            parity._noise_explains(simcc, outputs, (answer,), far, 0.05)[far], explained
        )
    points = torch.zeros(2, 3, 5)
    points[..., 4] = 1e4  # a large logit is no reason to be somewhere else
    assert not parity._noise_explains(
        Coordinates((8, 8)), points, (np.zeros((2, 3, 2), np.float32),), far, 0.05
    ).any()


SPACE = SimCC3D((24, 16), split=1, reach=1.0, cell=0.1, spread=0.1, decoding="plain")


def columns(crops: torch.Tensor) -> torch.Tensor:
    """SimCC-3D's bins of three joints: where a crop's colours are bright in x and in y, and in 3D where
    its rows 1 to 3 are, up to column 19.
    """
    maps = 20 * network(crops)
    return torch.cat([maps.amax(2), maps.amax(3), *(maps[:, :, row, :20] for row in (1, 2, 3))], -1)


def is_3d(count: int = 32) -> np.ndarray:
    """Crops of joints that all lie at (0.65, -0.15, -0.95) m."""
    crops = peaks([4, 12], count)
    crops[:, 1, 16], crops[:, 2, 8], crops[:, 3, 0] = 150, 150, 150
    return crops


def said(
    monkeypatch: pytest.MonkeyPatch,
    crops: np.ndarray,
    change: np.ndarray | float,
    where: tuple[slice | int, ...] = (),
) -> None:
    """Lets the file predict what PyTorch predicts, but for `change` in metres added to its xyz (N, 3, 3) at `where`."""
    xy, score, xyz = (part.numpy().copy() for part in read(SPACE, columns(torch.from_numpy(crops))))
    np.testing.assert_allclose(xyz[-1, -1], (0.65, -0.15, -0.95), atol=1e-6)
    xyz[where] += change
    monkeypatch.setattr(parity, "_onnx", lambda *_: (xy, score, xyz))


def test_3d_joints_are_compared_in_millimetres(monkeypatch: pytest.MonkeyPatch):
    crops = is_3d()
    said(monkeypatch, crops, 0.0)
    found = check(columns, SPACE, b"", crops)
    assert (found.max_mm, found.max_pixels, found.compared) == (0, 0, 96)
    said(monkeypatch, crops, np.array([0.0003, -0.0004, 0.0]), (7, 1))
    found = check(columns, SPACE, b"", crops)
    assert found.max_mm == pytest.approx(0.5, abs=1e-3)
    assert "(mean 0 px), in 3D by at most 0.5 mm, their scores" in str(found)
    said(monkeypatch, crops, np.array([0.0, 0.0, 0.0011]), (7, 1))
    with pytest.raises(
        ParityError,
        match=r"1 of 96 joints are off by more than 0\.05 px or 1 mm in 3D, the worst by 0 px and 1\.1 mm",
    ):
        check(columns, SPACE, b"", crops)
    said(monkeypatch, crops, math.nan, (7, 1, 2))
    with pytest.raises(ParityError, match=r"1 of 96 joints are off .* and nan mm"):
        check(columns, SPACE, b"", crops)


def test_3d_joints_with_a_low_score_are_not_compared(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(parity, "FLOOR", 0.3)  # bins that are all alike still have a score
    crops = is_3d()
    crops[3] = 0
    said(monkeypatch, crops, 0.5, (3,))
    found = check(columns, SPACE, b"", crops)
    assert (found.compared, found.max_mm) == (93, 0)


def test_a_jump_between_equal_3d_bins_is_excused_too(monkeypatch: pytest.MonkeyPatch):
    crops = is_3d(128)
    crops[5, 3, 10, 2] = 150  # Z may be -0.95 or 0.05
    said(monkeypatch, crops, np.array([0, 0, 1.0]), (5, 2))
    found = check(columns, SPACE, b"", crops)
    assert (found.jumped, found.max_mm, found.compared) == (1, 0, 384)
    said(monkeypatch, crops, np.array([0, 0, 0.9]), (5, 2))
    with pytest.raises(ParityError, match=r"1 of 384 joints are off .* and 900 mm"):
        check(columns, SPACE, b"", crops)


def test_windows_of_one_image_differ_and_the_first_is_all_of_it(tmp_path: Path):
    image = np.random.default_rng(0).integers(0, 256, (40, 60, 3), np.uint8)
    cv2.imwrite(str(tmp_path / "a.png"), image[..., ::-1])
    crops = parity.windows([tmp_path / "a.png"], (60, 40))
    assert crops.shape == (32, 40, 60, 3)
    np.testing.assert_array_equal(crops[0], image)  # RGB, and at its own size no pixel moves
    assert len({c.tobytes() for c in crops}) == 32
    np.testing.assert_array_equal(crops, parity.windows([tmp_path / "a.png"], (60, 40)))


def test_of_many_images_the_windows_are_an_even_choice(tmp_path: Path):
    paths = [tmp_path / f"{i:02d}.png" for i in range(63)]
    for i, path in enumerate(paths):
        cv2.imwrite(str(path), np.full((8, 8, 3), i, np.uint8))
    crops = parity.windows(paths, (8, 8))
    assert crops[:, 0, 0, 0].tolist() == list(range(0, 63, 2))


def test_no_images_are_an_error():
    with pytest.raises(ValueError, match="no images"):
        parity.windows([], (8, 8))


@given(st.tuples(st.integers(16, 80), st.integers(16, 80)), st.integers(1, 5), st.integers(0, 2**31))
def test_synthetic_crops_fit_and_all_differ(size: tuple[int, int], count: int, seed: int):
    crops = parity.synthetic(size, count, seed)
    assert crops.shape == (count, size[1], size[0], 3)
    assert crops.dtype == np.uint8
    assert len({c.tobytes() for c in crops}) == count
