from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from poseling.geometry import Crop
from poseling.runtime import Network
from poseling.skeleton import Skeleton
from poseling.spec import KEY, PoseSpec

HANDS = Skeleton("hands", ("left_hand", "right_hand"), (0, 1))


def lights(size: tuple[int, int], red: tuple[int, int], blue: tuple[int, int]) -> np.ndarray:
    """A black image (H, W, 3) BGR of `size` (W, H) with one red pixel of 204 and one blue one of 102."""
    image = np.zeros((size[1], size[0], 3), np.uint8)
    image[red[1], red[0], 2] = 204
    image[blue[1], blue[0], 0] = 102
    return image


def test_the_whole_frame_at_the_network_s_own_size(model: Path):
    pose = Network(model)(lights((32, 24), (3, 5), (30, 20)))
    assert pose.xy.tolist() == [[[3, 5], [30, 20]]]
    np.testing.assert_allclose(pose.score, [[0.8, 0.4]])
    assert pose.skeleton.joints == ("left_hand", "right_hand")
    assert pose.ids.tolist() == [0]


def test_rgb_is_given_not_guessed(model: Path):
    image = lights((32, 24), (3, 5), (30, 20))
    network = Network(model)
    assert network(image[..., ::-1], colour="rgb").xy.tolist() == [[[3, 5], [30, 20]]]
    assert network(image, colour="rgb").xy.tolist() == [[[30, 20], [3, 5]]]


def test_the_whole_frame_of_a_larger_image_comes_back_in_its_pixels(model: Path):
    # 125 = 4 (32 - 1) + 1 and 93 = 4 (24 - 1) + 1: one pixel of the input is four of the image.
    image = np.zeros((93, 125, 3), np.uint8)
    image[38:43, 58:63, 2] = 200
    image[6:11, 18:23, 0] = 200
    xy = Network(model)(image).xy
    np.testing.assert_allclose(xy, [[[60, 40], [20, 8]]], atol=2.01)  # half an input pixel


@pytest.mark.parametrize("shift", [(0, 0), (40, 7), (-3, -2)])
def test_boxes_are_cropped_with_the_spec_s_padding_and_uncropped(model: Path, shift: tuple[int, int]):
    # 1.25 x 24.8 = 31 and 1.25 x 18.4 = 23: the crop of this box is 32x24 pixels at their own size, the first
    # of them at (20, 10) + shift.
    x, y = 20 + shift[0], 10 + shift[1]
    box = (x + 3.1, y + 2.3, x + 27.9, y + 20.7)
    image = lights((100, 60), (x + 4, y + 6), (x + 31, y + 23))
    image[0, 0] = 255  # outside the crop, and so unseen
    pose = Network(model)(image, [box])
    np.testing.assert_allclose(pose.xy, [[[x + 4, y + 6], [x + 31, y + 23]]], atol=1e-4)


def test_the_padding_is_the_file_s(variant: Callable[..., Path]):
    box = (20, 10, 51, 33)
    pose = Network(variant(padding=1.0))(lights((100, 60), (20, 10), (51, 33)), [box])
    np.testing.assert_allclose(pose.xy, [[[20, 10], [51, 33]]], atol=1e-4)


def test_one_person_for_each_box_in_order(model: Path):
    first, second = (23.1, 12.3, 47.9, 30.7), (63.1, 12.3, 87.9, 30.7)
    image = lights((100, 60), (22, 15), (50, 30)) | lights((100, 60), (70, 20), (71, 21))
    pose = Network(model)(image, np.array([second, first]))
    np.testing.assert_allclose(pose.xy, [[[70, 20], [71, 21]], [[22, 15], [50, 30]]], atol=1e-4)
    assert pose.ids.tolist() == [0, 1]


def test_people_of_all_sizes_at_once_are_each_by_itself(opened: Network):
    """Small ones, and large ones that are averaged before they are sampled, partly outside the image too."""
    image = np.random.default_rng(0).integers(0, 256, (60, 100, 3), np.uint8)
    boxes = [(0, 0, 99, 59), (40, 20, 52, 31), (-30, -40, 300, 200), (10, 5, 80, 58), (90, 50, 130, 70)]
    pose = opened(image, boxes)
    alone = [opened(image, [box]) for box in boxes]
    np.testing.assert_array_equal(pose.xy, [one.xy[0] for one in alone])
    np.testing.assert_array_equal(pose.score, [one.score[0] for one in alone])
    assert len({tuple(xy.ravel()) for xy in pose.xy}) == 5


@given(
    corner=st.tuples(st.floats(-20, 80), st.floats(-20, 40)),
    sides=st.tuples(st.floats(30, 200), st.floats(30, 200)),
)
def test_any_box_gives_back_the_pixels_it_showed(
    opened: Network, corner: tuple[float, float], sides: tuple[float, float]
):
    box = (*corner, corner[0] + sides[0], corner[1] + sides[1])
    image = np.random.default_rng(0).integers(0, 256, (60, 100, 3), np.uint8)
    crop = Crop.from_box(box, (32, 24), 1.25)
    red = crop.warp(image)[..., 2]
    y, x = np.unravel_index(red.argmax(), red.shape)
    inverse = np.linalg.inv(np.vstack([crop.matrix, [0, 0, 1]]))
    np.testing.assert_allclose(opened(image, [box]).xy[0, 0], (inverse @ [x, y, 1])[:2], atol=1e-3)


def test_xyz_is_there_if_the_file_gives_it(model: Path, variant: Callable[..., Path]):
    assert Network(model)(lights((32, 24), (3, 5), (30, 20))).xyz is None
    deep = Network(variant(outputs=("xy", "score", "xyz")))
    np.testing.assert_allclose(
        deep(lights((32, 24), (3, 5), (30, 20))).xyz, [[[3, 5, 0.8], [30, 20, 0.4]]]
    )  # in axes of the crop, not moved back
    box = (23.1, 12.3, 47.9, 30.7)  # its crop starts at (20, 10), as above
    pose = deep(lights((100, 60), (24, 16), (51, 33)), [box, box])
    np.testing.assert_allclose(pose.xyz, [[[4, 6, 0.8], [31, 23, 0.4]]] * 2, atol=1e-4)
    np.testing.assert_allclose(pose.xy, [[[24, 16], [51, 33]]] * 2, atol=1e-4)
    assert deep(lights((32, 24), (3, 5), (30, 20)), []).xyz.shape == (0, 2, 3)


def test_no_boxes_give_no_person(model: Path):
    for none in ([], np.zeros((0, 4))):
        pose = Network(model)(lights((32, 24), (3, 5), (30, 20)), none)
        assert (len(pose), pose.xy.shape, pose.score.shape) == (0, (0, 2, 2), (0, 2))


@pytest.mark.parametrize(
    ("boxes", "message"),
    [
        ((1, 2, 3, 4), r"shape \(4,\), expected \(N, 4\)"),
        ([(1, 2, 3)], r"shape \(1, 3\), expected \(N, 4\)"),
        ([(0, 0, 9, 9), (5, 5, 5, 9)], r"person 1: box \(5, 5, 5, 9\) has no area"),
        ([(0, 0, float("nan"), 9)], r"person 0: box \(0, 0, nan, 9\) has no area"),
        ([(32, 0, 40, 9)], r"person 0: box \(32, 0, 40, 9\) is outside the image of 32x24 pixels"),
        ([(0, -9, 9, -1)], "person 0: .* is outside"),
    ],
)
def test_errors_of_bad_boxes_name_the_box_and_the_reason(model: Path, boxes: object, message: str):
    with pytest.raises(ValueError, match=message):
        Network(model)(lights((32, 24), (3, 5), (30, 20)), boxes)


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (None, "cv2.imread"),
        (np.zeros((24, 32), np.uint8), r"uint8 of shape \(24, 32\), expected uint8 of shape \(H, W, 3\)"),
        (np.zeros((24, 32, 3), np.float32), "is float32"),
        ("image.jpg", "the image is str"),
    ],
)
def test_errors_of_bad_images_describe_them(model: Path, image: object, message: str):
    with pytest.raises(ValueError, match=message):
        Network(model)(image)


def test_an_unknown_colour_is_refused(model: Path):
    with pytest.raises(ValueError, match="colour 'hsv' is unknown"):
        Network(model)(np.zeros((24, 32, 3), np.uint8), colour="hsv")


def test_files_that_cannot_be_run_are_named(tmp_path: Path, model: Path, variant: Callable[..., Path]):
    with pytest.raises(FileNotFoundError, match=r"absent\.onnx: there is no such file"):
        Network(tmp_path / "absent.onnx")
    for content in (b"", b"no network", model.read_bytes()[:400]):
        cut = tmp_path / "cut.onnx"
        cut.write_bytes(content)
        with pytest.raises(ValueError, match=r"cut\.onnx: is cut short or no ONNX file"):
            Network(cut)
    with pytest.raises(ValueError, match=r"variant\.onnx: has no PoseSpec"):
        Network(variant(spec=None))
    with pytest.raises(
        ValueError, match=r"variant\.onnx: gives maps, and its codec 'by hand' does not say 'sigma' of them"
    ):
        Network(variant(outputs=("maps",)))


def test_a_network_without_joints_is_refused(variant: Callable[..., Path]):
    with pytest.raises(ValueError, match=r"variant\.onnx: has no joints; put a head on it first"):
        Network(variant(skeleton=Skeleton("none", (), ()), codec={"name": "features"}))
    with pytest.raises(
        ValueError, match=r"variant\.onnx: outputs are features; the runtime needs xy and score"
    ):
        Network(variant(outputs=("features",)))


def test_maps_of_a_raw_file_are_read(tmp_path: Path):
    """`poseling export --raw` writes maps as Gaussians, and how they are read in the contract: here peaks at
    (8, 12) of the input.
    """
    maps = np.exp(-0.125 * ((np.arange(8) - 2.0) ** 2 + (np.arange(6)[:, None] - 3.0) ** 2)).astype(
        np.float32
    )
    graph = helper.make_graph(
        [
            helper.make_node(
                "Constant", [], ["maps"], value=numpy_helper.from_array(np.stack([[maps, 0.5 * maps]]))
            )
        ],
        "raw",
        [helper.make_tensor_value_info("crops", TensorProto.UINT8, [1, 24, 32, 3])],
        [helper.make_tensor_value_info("maps", TensorProto.FLOAT, [1, 2, 6, 8])],
    )
    spec = PoseSpec(
        "raw",
        HANDS,
        {"name": "heatmap", "sigma": 2.0, "unbiased": False, "decoding": "plain"},
        (32, 24),
        1.0,
        outputs=("maps",),
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    helper.set_model_props(model, {KEY: spec.to_json()})
    onnx.save(model, tmp_path / "raw.onnx")
    pose = Network(tmp_path / "raw.onnx")(np.zeros((24, 32, 3), np.uint8), [(0, 0, 31, 23)])
    np.testing.assert_allclose(pose.xy, [[[8, 12], [8, 12]]], atol=1e-5)
    np.testing.assert_allclose(pose.score, [[1, 0.5]], atol=1e-6)


def test_a_provider_is_used_or_an_error(model: Path, monkeypatch: pytest.MonkeyPatch):
    with pytest.raises(ValueError, match="provider 'cuda' is not in this onnxruntime, which has cpu"):
        Network(model, provider="cuda")
    with pytest.raises(ValueError, match=r"by-hand\.onnx: provider 'gpu' is not in this"):
        Network(model, provider="gpu")
    # An onnxruntime that lists CUDA where it cannot start: it takes the CPU and warns.
    monkeypatch.setattr(
        onnxruntime, "get_available_providers", lambda: ["CUDAExecutionProvider", "CPUExecutionProvider"]
    )
    with (
        pytest.warns(UserWarning, match="CUDAExecutionProvider"),
        pytest.raises(RuntimeError, match="'cuda' is listed but did not start"),
    ):
        Network(model, provider="cuda")


def test_threads(model: Path):
    assert Network(model, threads=1).session.get_session_options().intra_op_num_threads == 1
    with pytest.raises(ValueError, match="threads is 0"):
        Network(model, threads=0)
