"""A pseudo-label as part of a sample: moved into the student's crop, sides swapped where it mirrors."""

from dataclasses import dataclass, field

import cv2
import numpy as np
import pytest
import torch

from poseling.codecs.heatmap import Heatmap
from poseling.codecs.warp import warp_maps
from poseling.data.augment import Augment
from poseling.data.dataset import PoseDataset
from poseling.data.loader import Crops
from poseling.geometry import Crop
from poseling.skeleton import Skeleton
from poseling.teachers.base import Prediction
from poseling.teachers.cache import PseudoLabels, label
from poseling.teachers.packing import restored

BODY = Skeleton("body", ("head", "left_hand", "right_hand"), (0, 0, 0))
# The teacher's prediction for every crop, in pixels of its own input, and its scores.
SAID = torch.tensor([[40.0, 20.0], [70.0, 60.0], [25.0, 66.0]])
SPACE = torch.tensor([[0.1, -0.6, 0.05], [0.4, 0.2, -0.3], [-0.2, 0.3, 0.1]])
SURE = torch.tensor([1.0, 0.8, 0.4])
STUDENT = Heatmap((64, 64))


@dataclass
class FakeTeacher:
    with_maps: bool = True
    digest: str = "abc"
    skeleton: Skeleton = BODY
    name: str = "fake"
    size: tuple[int, int] = (96, 96)
    padding: float = 1.1
    licences: dict[str, str] = field(default_factory=dict)
    is_3d: bool = False

    def __post_init__(self):
        self.codec = Heatmap(self.size)
        self.map_size, self.pixel = (
            (self.codec.map_size, self.codec.pixel) if self.with_maps else (None, None)
        )
        self.sigma = self.codec.sigma if self.with_maps else None

    def __call__(self, crops):
        xy, score = (t.expand(len(crops), *t.shape) for t in (SAID, SURE))
        maps = self.codec.encode(xy, torch.ones(len(crops), 3))[0] * score[..., None, None]
        return Prediction(
            xy,
            score,
            maps if self.with_maps else None,
            SPACE.expand(len(crops), 3, 3) if self.is_3d else None,
        )


@pytest.fixture
def dataset(tmp_path):
    paths = tuple(tmp_path / f"{i}.png" for i in range(3))
    for i, path in enumerate(paths):
        cv2.imwrite(str(path), np.full((90, 120, 3), 60 * i, np.uint8))
    boxes = np.array([[20, 10, 80, 70], [30, 20, 90, 65], [10, 10, 70, 80]], np.float32)
    return PoseDataset(
        "three", BODY, paths, boxes, np.zeros((3, 3, 2), np.float32), np.zeros((3, 3), np.uint8)
    )


def stored(dataset, folder, fake, asked=slice(None)):
    done = label(fake, dataset[asked], str(folder))
    return PseudoLabels.open(done.store, dataset, BODY, heatmap=STUDENT)


@pytest.mark.parametrize("flip", [False, True])
@pytest.mark.parametrize("with_maps", [True, False])
def test_pseudo_labels_move_with_the_crop(dataset, tmp_path, flip, with_maps):
    answers = stored(dataset, tmp_path / "labels", FakeTeacher(with_maps))
    crop = Crop.from_box(dataset.boxes[1], (64, 64), 1.25, rotation=20, scale=1.1, flip=flip)
    sample = answers.sample(1, crop)
    # By hand: from the teacher's input to the image, from there into the crop.
    expected = crop.apply(Crop.from_box(dataset.boxes[1], (96, 96), 1.1).invert(SAID.numpy().astype(float)))
    order = [0, 2, 1] if flip else [0, 1, 2]
    np.testing.assert_allclose(sample["teacher_xy"], expected[order], atol=1e-3)
    np.testing.assert_allclose(sample["teacher_weight"], SURE.numpy()[order], atol=0.5 / 255 + 1e-6)
    assert (
        ("teacher_maps" in sample) == with_maps == ("teacher_matrix" in sample) == ("teacher_scale" in sample)
    )
    points = answers.points(1)
    assert points.maps is None
    np.testing.assert_array_equal(points.xy, answers[1].xy)
    np.testing.assert_array_equal(points.score, answers[1].score)
    if with_maps:
        np.testing.assert_array_equal(sample["teacher_map_weight"], answers[1].map_score[order])
        maps = restored(sample["teacher_maps"], sample["teacher_scale"])
        maps = warp_maps(
            torch.from_numpy(maps)[None],
            torch.from_numpy(sample["teacher_matrix"])[None],
            STUDENT.map_size,
            width=1.0,
        )
        xy, score = STUDENT.decode(maps)
        np.testing.assert_allclose(xy[0].numpy(), expected[order], atol=1.0)  # a quarter of a heatmap pixel
        np.testing.assert_allclose(score[0].numpy(), SURE.numpy()[order], atol=0.12)


@pytest.mark.parametrize(("flip", "expected"), [(False, [-0.2, 0.4, -0.3]), (True, [-0.3, -0.2, 0.1])])
def test_3d_joints_turn_with_the_crop(dataset, tmp_path, flip, expected):
    answers = stored(dataset, tmp_path / "labels", FakeTeacher(is_3d=True))
    # A quarter clockwise: what was right is down and what was down is left, whatever the zoom.
    sample = answers.sample(
        1, Crop.from_box(dataset.boxes[1], (64, 64), 1.25, rotation=90, scale=1.4, flip=flip)
    )
    # Of the hand that is the left one now: (0.4, 0.2, -0.3) to (-0.2, 0.4, -0.3); mirrored, the other's
    # (-0.2, 0.3, 0.1) to (-0.3, -0.2, 0.1), and x negated.
    np.testing.assert_allclose(
        sample["teacher_xyz"][1], np.multiply(expected, [-1, 1, 1]) if flip else expected, atol=1e-6
    )
    np.testing.assert_allclose(
        sample["teacher_xyz_weight"], SURE.numpy()[[0, 2, 1] if flip else [0, 1, 2]], atol=0.5 / 255 + 1e-6
    )
    assert sample["teacher_xyz"].dtype == sample["teacher_xyz_weight"].dtype == np.float32
    assert "teacher_xyz" not in stored(dataset, tmp_path / "flat", FakeTeacher()).sample(
        1, Crop.from_box(dataset.boxes[1], (64, 64))
    )


def test_3d_joints_without_a_pseudo_label_weigh_nothing(dataset, tmp_path):
    sample = stored(dataset, tmp_path / "labels", FakeTeacher(is_3d=True), slice(0, 2)).sample(
        2, Crop.from_box(dataset.boxes[2], (64, 64))
    )
    assert not sample["teacher_xyz"].any()
    assert not sample["teacher_xyz_weight"].any()


def test_samples_without_a_pseudo_label_weigh_nothing(dataset, tmp_path):
    answers = stored(dataset, tmp_path / "labels", FakeTeacher(), slice(0, 2))
    crop = Crop.from_box(dataset.boxes[2], (64, 64))
    assert answers.sample(2, crop)["teacher_weight"].tolist() == [0, 0, 0]
    assert answers.sample(0, crop)["teacher_weight"].min() > 0


def test_another_teacher_is_another_source(dataset, tmp_path):
    sources = {
        stored(dataset, tmp_path / str(i), fake).source
        for i, fake in enumerate(
            (FakeTeacher(), FakeTeacher(), FakeTeacher(digest="abd"), FakeTeacher(False))
        )
    }
    assert len(sources) == 3


def test_samples_make_batches_with_pseudo_labels(dataset, tmp_path):
    crops = Crops(dataset, (64, 64), 1.25, Augment(), 0, stored(dataset, tmp_path / "labels", FakeTeacher()))
    batch = torch.utils.data.default_collate([crops[place] for place in range(3)])
    assert batch["teacher_maps"].shape == (3, 3, 24, 24)
    assert batch["teacher_maps"].dtype == torch.uint8
    assert batch["teacher_matrix"].shape == (3, 2, 3)
    assert (
        batch["teacher_xy"].dtype
        == batch["teacher_weight"].dtype
        == batch["teacher_matrix"].dtype
        == torch.float32
    )
