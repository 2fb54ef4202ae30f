"""Predictions for canonical crops, back to image pixels, and the flip test."""

from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from torch import nn

from poseling.codecs.heatmap import Heatmap
from poseling.data.dataset import PoseDataset
from poseling.evaluate.predict import in_skeleton, predict
from poseling.geometry import Crop
from poseling.pose import Pose
from poseling.skeleton import COCO17, LSP14, Skeleton
from poseling.spec import PoseSpec
from poseling.teachers.base import Prediction
from poseling.teachers.network import NetworkTeacher
from poseling.teachers.tta import predict_crops

HANDS = Skeleton("hands", ("left_hand", "right_hand"), (0, 1))
MIDDLE = Skeleton("middle", ("head", "neck"), (0, 0))  # no sides: a mirror changes no name


class Brightest(nn.Module):
    """A network of two stacks whose last maps are the red and the blue channel, averaged down to a quarter;
    the first is all zeros.
    """

    def forward(self, images):
        maps = nn.functional.interpolate(
            images[:, [0, 2]], scale_factor=0.25, mode="bilinear", align_corners=True, antialias=False
        )
        return torch.stack([torch.zeros_like(maps), maps], 1)


def network(codec, skeleton=HANDS):
    spec = PoseSpec("by-hand", skeleton, codec.fields(), codec.size, 1.0, mean=(0, 0, 0), std=(1, 1, 1))
    return NetworkTeacher(Brightest(), spec, digest="hand")


def scene(folder, places, size=(160, 120), sigma=9.0):
    """Images with a red hill at the left and a blue one at the right hand of `places` (N, 2, 2)."""
    y, x = np.mgrid[: size[1], : size[0]]
    paths = []
    for i, (left, right) in enumerate(places):
        hills = [255 * np.exp(-((x - cx) ** 2 + (y - cy) ** 2) / (2 * sigma**2)) for cx, cy in (left, right)]
        rgb = np.stack([hills[0], np.zeros_like(hills[0]), hills[1]], -1).round().astype(np.uint8)
        paths.append(folder / f"{i}.png")
        cv2.imwrite(str(paths[-1]), rgb[..., ::-1])
    boxes = np.tile(np.float32([20, 10, 140, 110]), (len(places), 1))
    return PoseDataset(
        "scene", HANDS, tuple(paths), boxes, np.float32(places), np.full((len(places), 2), 2, np.uint8)
    )


CROP = np.zeros((1, 1, 64, 64, 3), np.uint8)
PLACES = np.random.default_rng(0).uniform((45, 35), (115, 85), (5, 2, 2))


@pytest.mark.parametrize("flip", [False, True])
@pytest.mark.parametrize("batch", [2, 32])
def test_joints_come_back_in_image_pixels(tmp_path, flip, batch):
    dataset = scene(tmp_path, PLACES)
    pose = predict(network(Heatmap((96, 96)), MIDDLE), dataset, flip=flip, batch=batch)
    joints, scores = pose.xy, pose.score
    assert pose.skeleton == MIDDLE
    assert joints.shape == (5, 2, 2)
    assert joints.dtype == scores.dtype == np.float32
    np.testing.assert_allclose(
        joints, PLACES, atol=0.6
    )  # pixels of the image, of which 5 make one of the heatmap
    assert scores.min() > 0.8


def test_the_flip_test_swaps_sides(tmp_path):
    """The network finds left by its colour, which a mirror does not change: mirrored, its left is the
    person's right, and the two predictions disagree.
    """
    dataset = scene(tmp_path, PLACES[:1])
    teacher = network(Heatmap((96, 96)))
    crop = Crop.from_box(dataset.boxes[0], (96, 96), 1.0).warp(
        cv2.imread(str(dataset.images[0]))[..., ::-1].copy()
    )[None]
    plain, mirrored = teacher(torch.from_numpy(crop)), teacher(torch.from_numpy(crop[:, :, ::-1].copy()))
    both = predict_crops(teacher, crop[:, None], True, (1.0,))
    torch.testing.assert_close(
        both.maps, (plain.maps + mirrored.maps[:, [1, 0]].flip(-1)) / 2, atol=1e-5, rtol=0
    )
    assert both.score.max() < 0.6  # two half hills for each hand
    assert torch.equal(predict_crops(teacher, crop[:, None], False, (1.0,)).xy, plain.xy)


@pytest.mark.parametrize(("decoding", "sigma"), [("plain", 2.0), ("quarter", 2.0), ("dark", 1.0)])
@pytest.mark.parametrize("softmax", [False, True])
def test_the_flip_test_decodes_as_the_network_does(decoding, sigma, softmax):
    """The average of a symmetric prediction is the prediction itself, read by the same codec."""
    codec = Heatmap((64, 64), sigma=sigma, decoding=decoding, softmax=softmax)
    teacher = network(codec, MIDDLE)

    class Symmetric(nn.Module):
        def forward(self, images):
            maps, _ = Heatmap((64, 64), sigma=sigma).encode(
                torch.tensor([[[31.5, 21.3], [31.5, 40.1]]]), torch.ones(1, 2)
            )
            return (maps.clamp(min=1e-12).log() if softmax else maps)[:, None]

    teacher.network = Symmetric()
    plain, both = predict_crops(teacher, CROP, False, (1.0,)), predict_crops(teacher, CROP, True, (1.0,))
    torch.testing.assert_close(both.xy[..., 1], plain.xy[..., 1], atol=1e-3, rtol=0)
    torch.testing.assert_close(both.score, plain.score, atol=1e-4, rtol=0)
    pixel = 63 / 15
    exact = {"plain": [5 * pixel, 10 * pixel], "quarter": [5.25 * pixel, 9.75 * pixel], "dark": [21.3, 40.1]}[
        decoding
    ]
    assert both.xy[0, :, 1].tolist() == pytest.approx(exact, abs=0.05)


@dataclass
class FakeTeacher:
    """Predicts what it is given, maps or points."""

    predictions: list
    size: tuple[int, int] = (64, 64)
    pixel: tuple[float, float] | None = None
    sigma: float | None = None
    is_3d: bool = False
    skeleton: Skeleton = HANDS
    padding: float = 1.0
    map_size: tuple[int, int] | None = None
    name: str = "fake"
    digest: str = "fake"
    licences: dict = field(default_factory=dict)

    def __call__(self, crops):
        return self.predictions.pop(0)


def test_points_are_averaged_after_mirroring_back_by_their_scores():
    straight = Prediction(torch.tensor([[[10.0, 5.0], [50.0, 8.0]]]), torch.tensor([[0.8, 0.4]]))
    mirrored = Prediction(torch.tensor([[[11.0, 8.0], [57.0, 6.0]]]), torch.tensor([[0.6, 0.6]]))
    found = predict_crops(FakeTeacher([straight, mirrored]), CROP, True, (1.0,))
    # The mirrored left hand at x = 11 is the right one at 63 - 11 = 52, and the mirrored right one the left
    # one at 6.
    left, right = [(0.8 * 10 + 0.6 * 6) / 1.4, (0.8 * 5 + 0.6 * 6) / 1.4], [(0.4 * 50 + 0.6 * 52) / 1.0, 8.0]
    torch.testing.assert_close(found.xy, torch.tensor([[left, right]]))
    torch.testing.assert_close(found.score, torch.tensor([[0.7, 0.5]]))


def test_maps_of_a_foreign_teacher_are_read_in_its_own_pixels():
    """Maps of half the input's size, corners on corners."""
    codec = Heatmap((64, 64), stride=2)
    joints = torch.tensor([[[20.3, 30.2], [45.1, 33.3]]])
    maps, _ = codec.encode(joints, torch.ones(1, 2))
    mirrored = maps[:, [1, 0]].flip(-1)
    found = predict_crops(
        FakeTeacher(
            [Prediction(joints, torch.ones(1, 2), maps), Prediction(joints, torch.ones(1, 2), mirrored)],
            pixel=codec.pixel,
            map_size=codec.map_size,
        ),
        CROP,
        True,
        (1.0,),
    )
    torch.testing.assert_close(found.xy, joints, atol=0.02, rtol=0)


def test_biased_maps_are_moved_where_the_mirror_puts_them():
    """With x / stride a mirrored map lies three quarters of its pixel off the map of the mirrored image."""
    codec = Heatmap((64, 64), unbiased=False)
    joints, one = torch.tensor([[[20.0, 32.0], [44.0, 32.0]]]), torch.ones(1, 2)
    exact = Heatmap((64, 64), stride=4)  # the hills where they are, in pixels of 4
    straight, mirrored = (
        exact.encode(j * 63 / 15 / 4, one)[0]
        for j in (joints, torch.tensor([[[63 - 44.0, 32.0], [63 - 20.0, 32.0]]]))
    )
    predictions = [Prediction(joints, one, straight), Prediction(joints, one, mirrored)]
    found = predict_crops(
        FakeTeacher(predictions, pixel=codec.pixel, map_size=codec.map_size), CROP, True, (1.0,)
    )
    torch.testing.assert_close(found.xy, joints, atol=0.1, rtol=0)


def test_a_network_predicts_in_eval_mode_without_gradients():
    class Mode(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.ones(1))

        def forward(self, images):
            assert not self.training
            return self.weight * torch.ones(len(images), 1, 2, 16, 16)

    codec = Heatmap((64, 64))
    teacher = NetworkTeacher(Mode().train(), PoseSpec("mode", HANDS, codec.fields(), (64, 64)))
    assert not teacher(torch.from_numpy(CROP[0])).maps.requires_grad
    assert (teacher.map_size, teacher.pixel, teacher.padding) == ((16, 16), (63 / 15, 63 / 15), 1.25)


def test_joints_that_the_network_does_not_predict_are_nan():
    joints = np.random.default_rng(0).uniform(0, 100, (2, 17, 2))
    xyz = np.random.default_rng(1).normal(0, 1, (2, 17, 3)).astype(np.float32)
    found = in_skeleton(Pose(joints, np.ones((2, 17)), COCO17, xyz), LSP14)
    unknown, knee = [LSP14.index("neck"), LSP14.index("head_top")], LSP14.index("left_knee")
    for mine, theirs, numbers in ((found.xy, joints, 2), (found.xyz, xyz, 3)):
        assert np.isnan(mine[:, unknown]).all()
        np.testing.assert_allclose(mine[:, knee], theirs[:, COCO17.index("left_knee")], rtol=1e-6)
        assert np.isfinite(mine).sum() == 2 * 12 * numbers
    assert (found.score[:, unknown] == 0).all()
    assert (found.score[:, knee] == 1).all()


def test_an_image_that_cannot_be_read_counts_as_wrong_with_a_warning(tmp_path: Path):
    """The others are measured as if it were not there."""
    paths = [tmp_path / f"{name}.png" for name in ("first", "cut", "last")]
    for path in paths:
        cv2.imwrite(str(path), np.full((64, 64, 3), 128, np.uint8))
    paths[1].write_bytes(paths[1].read_bytes()[:20])
    boxes = np.tile(np.array([[0, 0, 63, 63]], np.float32), (3, 1))
    dataset = PoseDataset(
        "three", HANDS, tuple(paths), boxes, np.zeros((3, 2, 2), np.float32), np.full((3, 2), 2, np.uint8)
    )
    prediction = Prediction(torch.tensor([[[10.0, 20.0], [30.0, 40.0]]] * 2), torch.full((2, 2), 0.5))
    with pytest.warns(
        UserWarning, match=r"1 of 3 images cannot be read and count as wrong, the first: .*cut\.png"
    ):
        pose = predict(FakeTeacher([prediction]), dataset)
    assert np.isnan(pose.xy[1]).all()
    assert pose.score.tolist() == [[0.5, 0.5], [0, 0], [0.5, 0.5]]
    assert pose.xy[[0, 2]].tolist() == [[[10, 20], [30, 40]]] * 2


def test_images_come_from_the_given_reader(tmp_path):
    dataset = scene(tmp_path, PLACES)
    teacher, kept = (
        network(Heatmap((96, 96))),
        {path: cv2.imread(str(path))[..., ::-1].copy() for path in dataset.images},
    )
    pose = predict(teacher, dataset)
    for path in dataset.images:
        path.unlink()
    found = predict(teacher, dataset, read=kept.__getitem__)
    np.testing.assert_array_equal(found.xy, pose.xy)
    np.testing.assert_array_equal(found.score, pose.score)

    def read(path):
        if path == dataset.images[3]:
            raise FileNotFoundError(f"{path}: not there")
        return kept[path]

    with pytest.warns(
        UserWarning, match="1 of 5 images cannot be read and count as wrong, the first: .*not there"
    ):
        some = predict(teacher, dataset, read=read)
    assert np.isnan(some.xy[3]).all()
    assert not some.score[3].any()
    np.testing.assert_array_equal(np.delete(some.xy, 3, 0), np.delete(pose.xy, 3, 0))
