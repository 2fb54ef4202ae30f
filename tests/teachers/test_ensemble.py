"""Several teachers as one: their joints and confidence by hand, and what is refused."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from poseling.codecs.heatmap import Heatmap
from poseling.data.augment import Augment
from poseling.data.dataset import PoseDataset
from poseling.data.loader import Crops
from poseling.geometry import Crop
from poseling.skeleton import Skeleton
from poseling.teachers.base import Prediction
from poseling.teachers.cache import PseudoLabels, label
from poseling.teachers.ensemble import Ensemble, EnsembleLabels, combine, joint_weights

BODY = Skeleton("body", ("head", "left_hand", "right_hand"), (0, 0, 0))
HANDS = Skeleton("hands", ("right_hand", "left_hand"), (0, 0))
FEET = Skeleton("feet", ("left_foot", "right_foot"), (0, 0))


@dataclass
class FakeTeacher:
    """Predicts the same points of its input for every crop."""

    said: list[list[float]]
    sure: list[float]
    skeleton: Skeleton = BODY
    size: tuple[int, int] = (96, 96)
    padding: float = 1.1
    name: str = "fake"
    licences: dict[str, str] = field(default_factory=lambda: {"weights": "CC0"})
    map_size: None = None
    pixel: None = None
    sigma: None = None
    is_3d: bool = False

    @property
    def digest(self):
        return f"{self.said}{self.sure}"

    def __call__(self, crops):
        return Prediction(
            *(torch.tensor(t).expand(len(crops), *torch.tensor(t).shape) for t in (self.said, self.sure))
        )


FIRST = FakeTeacher([[48.0, 20.0], [70.0, 60.0], [25.0, 66.0]], [1.0, 0.8, 0.4], name="first")
SECOND = FakeTeacher([[15.0, 30.0], [32.0, 28.0]], [0.6, 0.2], HANDS, (64, 48), 1.25, name="second")


@pytest.fixture
def dataset(tmp_path):
    paths = tuple(tmp_path / f"{i}.png" for i in range(3))
    for i, path in enumerate(paths):
        cv2.imwrite(str(path), np.full((90, 120, 3), 60 * i, np.uint8))
    boxes = np.array([[20, 10, 80, 70], [30, 20, 90, 65], [10, 10, 70, 80]], np.float32)
    return PoseDataset(
        "three", BODY, paths, boxes, np.zeros((3, 3, 2), np.float32), np.zeros((3, 3), np.uint8)
    )


def stored(dataset, folder, fake, skeleton=BODY, asked=slice(None)):
    store = label(fake, dataset[asked], str(folder)).store
    return PseudoLabels.open(store, dataset, skeleton, heatmap=Heatmap((64, 64)))


def test_teachers_that_agree_and_teachers_that_do_not():
    # Three joints of one person of size 10: the same place; 4 apart with equal weights; 4 apart with the
    # first three times as sure.
    xy = np.array([[[1.0, 2.0], [0.0, 0.0], [0.0, 0.0]], [[1.0, 2.0], [0.0, 4.0], [4.0, 0.0]]])
    score = np.array([[0.8, 0.5, 0.9], [0.4, 0.5, 0.3]])
    middle, confidence = combine(xy, score, np.ones((2, 3)), 10.0)
    np.testing.assert_allclose(middle, [[1, 2], [0, 2], [1, 0]], atol=1e-6)
    # d^2 is 0, 4 and (3 * 1 + 1 * 9) / 4 = 3; 2 (0.1 * 10)^2 = 2.
    np.testing.assert_allclose(confidence, [0.6, 0.5 * math.exp(-2), 0.6 * math.exp(-1.5)], rtol=1e-6)
    np.testing.assert_allclose(
        combine(xy, score, np.ones((2, 3)), 20.0)[1],
        [0.6, 0.5 * math.exp(-0.5), 0.6 * math.exp(-3 / 8)],
        rtol=1e-6,
    )
    np.testing.assert_allclose(
        combine(xy, score, np.ones((2, 3)), 10.0, tau=0.2)[1],
        [0.6, 0.5 * math.exp(-0.5), 0.6 * math.exp(-3 / 8)],
        rtol=1e-6,
    )


def test_a_weight_counts_as_so_many_teachers():
    xy, score = np.array([[[0.0, 0.0]], [[3.0, 6.0]]]), np.array([[0.5], [0.8]])
    once = combine(xy, score, np.array([[3.0], [1.0]]), 20.0)
    often = combine(xy[[0, 0, 0, 1]], score[[0, 0, 0, 1]], np.ones((4, 1)), 20.0)
    for a, b in zip(once, often, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-6)


def test_a_joint_without_a_score_does_not_count_and_may_be_nan():
    xy = np.array(
        [[[5.0, 5.0], [np.nan, np.nan], [np.nan, np.nan]], [[9.0, 9.0], [2.0, 3.0], [np.nan, np.nan]]]
    )
    score, weights = (
        np.array([[0.7, 0.0, 0.0], [0.9, 0.4, 0.0]]),
        np.array([[1.0, 1.0, 1.0], [0.0, 5.0, 1.0]]),
    )
    middle, confidence = combine(xy, score, weights, 10.0)
    # The second has weight 0 for the first joint; only the second has the second joint; none has the third.
    np.testing.assert_allclose(middle[:2], [[5, 5], [2, 3]])
    np.testing.assert_allclose(confidence, [0.7, 0.4, 0.0], rtol=1e-6)
    assert np.isnan(middle[2]).all()


@given(seed=st.integers(0, 1000), teachers=st.integers(1, 4))
def test_many_people_are_as_one_after_the_other_and_order_does_not_matter(seed, teachers):
    random = np.random.default_rng(seed)
    xy, score = (
        random.uniform(0, 50, (teachers, 5, 3, 2)),
        random.uniform(0, 1, (teachers, 5, 3)) * (random.random((teachers, 5, 3)) > 0.3),
    )
    weights, size = random.uniform(0.1, 2, (teachers, 3)), random.uniform(20, 200, 5)
    middle, confidence = combine(xy, score, weights, size)
    assert middle.shape == (5, 3, 2)
    for i in range(5):
        one = combine(xy[:, i], score[:, i], weights, float(size[i]))
        np.testing.assert_allclose(middle[i], one[0], rtol=1e-5)
        np.testing.assert_allclose(confidence[i], one[1], rtol=1e-5)
    order = random.permutation(teachers)
    np.testing.assert_allclose(
        combine(xy[order], score[order], weights[order], size)[1], confidence, rtol=1e-5
    )
    assert (confidence <= score.max(0) + 1e-6).all()
    if teachers == 1:
        np.testing.assert_allclose(confidence, score[0], rtol=1e-6)  # one alone agrees with himself
        np.testing.assert_allclose(middle[score[0] > 0], xy[0][score[0] > 0], rtol=1e-6)
    moved = combine(xy * 3 + 7, score, weights, size * 3)  # other pixels, the same people
    np.testing.assert_allclose(moved[1], confidence, rtol=1e-4)


def test_numbers_that_make_no_sense_are_refused():
    xy, score = np.zeros((2, 1, 2)), np.ones((2, 1))
    for size, tau in ((0.0, 0.1), (10.0, 0.0)):
        with pytest.raises(ValueError, match="above 0"):
            combine(xy, score, np.ones((2, 1)), size, tau)
    with pytest.raises(ValueError, match="not finite, but its score is above 0"):
        combine(np.full((2, 1, 2), np.nan), score, np.ones((2, 1)), 1.0)


def test_weights_are_given_by_name():
    wanted = [[1, 2, 0], [0.5, 0.5, 0.5], [1, 1, 1]]
    weights = {"a": {"left_hand": 2.0, "right_hand": 0.0}, "b": 0.5}
    np.testing.assert_array_equal(joint_weights(("a", "b", "c"), BODY, weights), np.array(wanted, np.float32))


@pytest.mark.parametrize(
    ("names", "weights", "message"),
    [
        (("a", "b"), {"c": 1.0}, "no teacher 'c' to weigh; there are a, b"),
        (
            ("a", "b"),
            {"a": {"left_wing": 1.0}},
            "weights of a: skeleton body has no joint 'left_wing'; it has head, left_hand, right_hand",
        ),
        (("a", "b"), {"a": {"head": -1.0}}, "weights of a: -1.0 for head is no weight"),
        (("a", "b"), {"b": math.nan}, "weights of b: nan for all joints is no weight"),
        (("a", "b"), {"a": 0, "b": 0}, "are all 0"),
        (("a", "a"), {}, "are not all different"),
    ],
)
def test_wrong_weights_are_refused(names, weights, message):
    with pytest.raises(ValueError, match=message):
        joint_weights(names, BODY, weights)


@pytest.mark.parametrize("flip", [False, True])
def test_pseudo_labels_are_combined_in_the_crop(dataset, tmp_path, flip):
    both = EnsembleLabels(
        [stored(dataset, tmp_path / "s", fake) for fake in (FIRST, SECOND)],
        ("first", "second"),
        {"first": {"left_hand": 2.0}},
    )
    crop = Crop.from_box(dataset.boxes[1], (64, 64), 1.25, rotation=20, scale=1.1, flip=flip)
    sample = both.sample(1, crop)
    assert set(sample) == {"teacher_xy", "teacher_weight"}
    assert sample["teacher_xy"].dtype == sample["teacher_weight"].dtype == np.float32
    # By hand, in pixels of the image. The second has its hands the other way round, and no head.
    first, second = (
        Crop.from_box(dataset.boxes[1], fake.size, fake.padding).invert(np.array(fake.said))
        for fake in (FIRST, SECOND)
    )
    size = math.sqrt(60 * 45)
    left = (1.6 * first[1] + 0.2 * second[1]) / 1.8
    right = (0.4 * first[2] + 0.6 * second[0]) / 1.0
    apart = [
        0,
        (1.6 * ((first[1] - left) ** 2).sum() + 0.2 * ((second[1] - left) ** 2).sum()) / 1.8,
        (0.4 * ((first[2] - right) ** 2).sum() + 0.6 * ((second[0] - right) ** 2).sum()) / 1.0,
    ]
    sure = np.array([1.0, 1.8 / 3, 1.0 / 2]) * np.exp(-np.array(apart) / (2 * (0.1 * size) ** 2))
    assert sure[1] < 0.7 * 1.8 / 3  # they do not agree
    order = [0, 2, 1] if flip else [0, 1, 2]
    np.testing.assert_allclose(
        sample["teacher_xy"], crop.apply(np.stack([first[0], left, right]))[order], atol=1e-3
    )
    np.testing.assert_allclose(sample["teacher_weight"], sure[order], atol=2e-3)


def test_one_teacher_alone_is_unchanged(dataset, tmp_path):
    alone = stored(dataset, tmp_path / "s", FIRST)
    crop = Crop.from_box(dataset.boxes[0], (64, 64), 1.25, rotation=-30, flip=True)
    one, own = EnsembleLabels([alone], ["first"]).sample(0, crop), alone.sample(0, crop)
    for name, values in own.items():
        np.testing.assert_allclose(one[name], values, rtol=1e-5)


def test_a_sample_that_one_teacher_lacks_comes_from_the_other(dataset, tmp_path):
    few, all_ = (
        stored(dataset, tmp_path / "s", FIRST, asked=slice(0, 2)),
        stored(dataset, tmp_path / "s", SECOND),
    )
    crop = Crop.from_box(dataset.boxes[2], (64, 64))
    sample = EnsembleLabels([few, all_], ("first", "second")).sample(2, crop)
    np.testing.assert_allclose(sample["teacher_weight"], [0, 0.2, 0.6], atol=0.5 / 255)
    np.testing.assert_array_equal(sample["teacher_xy"][0], 0)  # a number, that a heatmap can be drawn from
    np.testing.assert_allclose(sample["teacher_xy"][1:], all_.sample(2, crop)["teacher_xy"][1:], rtol=1e-5)
    assert EnsembleLabels([few], ["first"]).sample(2, crop)["teacher_weight"].tolist() == [0, 0, 0]


def test_samples_make_batches(dataset, tmp_path):
    both = EnsembleLabels(
        [stored(dataset, tmp_path / "s", fake) for fake in (FIRST, SECOND)], ("first", "second")
    )
    batch = torch.utils.data.default_collate(
        [Crops(dataset, (64, 64), 1.25, Augment(), 0, both)[place] for place in range(3)]
    )
    assert batch["teacher_xy"].shape == (3, 3, 2)
    assert batch["teacher_weight"].shape == (3, 3)
    assert both.width == 1
    assert both.licence == "first (weights CC0); second (weights CC0)"
    assert both.known.tolist() == [True, True, True]


def test_another_way_to_combine_is_another_source(dataset, tmp_path):
    two = [stored(dataset, tmp_path / "s", fake) for fake in (FIRST, SECOND)]
    ways = [
        EnsembleLabels(two, ("first", "second")),
        EnsembleLabels(two, ("first", "second"), {"first": 2.0}),
        EnsembleLabels(two, ("first", "second"), tau=0.2),
        EnsembleLabels(two[:1], ("first",)),
        EnsembleLabels(two[::-1], ("second", "first")),
    ]
    assert len({way.source for way in ways}) == len(ways)
    assert EnsembleLabels(two, ("a", "b")).source == ways[0].source


def test_teachers_that_do_not_fit_together_are_refused(dataset, tmp_path):
    first, second = (stored(dataset, tmp_path / "s", fake) for fake in (FIRST, SECOND))
    with pytest.raises(ValueError, match="2 teachers with 1 names"):
        EnsembleLabels([first, second], ["first"])
    with pytest.raises(
        ValueError, match="pseudo-labels of second are opened in skeleton hands, those of first in body"
    ):
        EnsembleLabels([first, stored(dataset, tmp_path / "s", SECOND, HANDS)], ["first", "second"])
    with pytest.raises(ValueError, match="pseudo-labels of second are of other samples than those of first"):
        EnsembleLabels([first, stored(dataset[[1, 0, 2]], tmp_path / "s", SECOND)], ["first", "second"])
    with pytest.raises(ValueError, match="tau is 0"):
        EnsembleLabels([first, second], ["first", "second"], tau=0)
    with pytest.raises(
        ValueError,
        match=r"no joint of the student's skeleton body is predicted by a teacher with a weight above 0 \(second: right_hand, left_hand\)",
    ):
        EnsembleLabels([second], ["second"], {"second": {"left_hand": 0, "right_hand": 0}})
    with pytest.raises(ValueError, match=r"cannot teach this student: .* no joint in common"):
        stored(dataset, tmp_path / "s", FakeTeacher([[1.0, 1.0], [2.0, 2.0]], [1.0, 1.0], FEET))


@dataclass
class Seer(FakeTeacher):
    """Predicts the right joints: `truth` (B, K, 2) in pixels of the widest crop, `zoom` of which make one of
    its own about the middle; `off` is its error there.
    """

    truth: np.ndarray = field(default_factory=lambda: np.zeros((2, 3, 2), np.float32))
    zoom: float = 1.0
    middle: float = 0.0
    off: tuple[float, float] = (0.0, 0.0)

    def __call__(self, crops):
        assert crops.dtype == torch.uint8
        assert crops.shape == (len(self.truth), self.size[1], self.size[0], 3)
        self.seen = crops
        centre = (self.size[0] - 1) / 2
        xy = (self.truth + self.off - self.middle) / self.zoom + centre
        return Prediction(
            torch.from_numpy(xy.astype(np.float32)), torch.tensor(self.sure).expand(len(crops), -1)
        )


def seers(**second):
    """A near one at 64 with padding 1.0, and a wide one at 96 with padding 1.5, which alone decides what the
    common crop shows: 96 x 96.

    In the common crop the box of 95 / 1.5 pixels about the middle is the whole of the near one's 63.
    """
    truth = np.random.default_rng(0).uniform(25, 70, (2, 3, 2)).astype(np.float32)
    near = Seer(
        [],
        [0.8, 0.5, 0.4],
        truth=truth,
        name="near",
        size=(64, 64),
        padding=1.0,
        zoom=95 / 1.5 / 63,
        middle=47.5,
    )
    wide = Seer(
        [],
        [0.6, 0.9, 0.2],
        truth=truth,
        name="wide",
        size=(96, 96),
        padding=1.5,
        zoom=1.0,
        middle=47.5,
        **second,
    )
    return truth, near, wide


def test_each_teacher_of_an_ensemble_gets_its_own_crop():
    truth, near, wide = seers()
    both = Ensemble([near, wide], BODY)
    assert (both.size, both.padding, both.name) == ((96, 96), 1.5, "near + wide")
    side = np.arange(96, dtype=np.uint8)
    crops = torch.from_numpy(
        np.broadcast_to(side[None, None, :, None], (2, 96, 96, 3)).copy()
    )  # the column is the colour
    prediction = both(crops)
    assert prediction.maps is None
    np.testing.assert_allclose(prediction.xy.numpy(), truth, atol=0.01)
    np.testing.assert_allclose(
        prediction.score.numpy(), [[0.7, 0.7, 0.3]] * 2, rtol=1e-4
    )  # they agree: the mean
    assert torch.equal(wide.seen, crops)
    expected = 47.5 + (np.arange(64) - 31.5) * (95 / 1.5 / 63)  # the columns that the near one sees
    np.testing.assert_allclose(near.seen[1, 20, :, 0].numpy(), expected, atol=0.51)


def test_an_ensemble_is_combine_by_hand_and_weights_count():
    truth, near, wide = seers(off=(6.0, -2.0))
    weights = {"near": 3.0, "wide": {"head": 0.0, "left_hand": 2.0}}
    crops = torch.zeros(2, 96, 96, 3, dtype=torch.uint8)
    prediction = Ensemble([near, wide], BODY, weights, tau=0.2)(crops)
    size = 96 / 1.5
    w = np.array([[3.0 * 0.8, 3 * 0.5, 3 * 0.4], [0, 2 * 0.9, 0.2]])
    share = w[1] / w.sum(0)
    np.testing.assert_allclose(
        prediction.xy.numpy(), truth + share[:, None] * np.array([6.0, -2.0]), atol=0.01
    )
    spread = share * (1 - share) * 40  # two places with shares s and 1 - s, a square distance of 40 apart
    sure = w.sum(0) / [3, 5, 4] * np.exp(-spread / (2 * (0.2 * size) ** 2))
    np.testing.assert_allclose(prediction.score.numpy(), [sure] * 2, rtol=1e-3)
    table = np.array([[3, 3, 3], [0, 2, 1]], np.float32)
    points, confidence = combine(
        np.stack([truth, truth + np.float32([6, -2])]),
        np.broadcast_to(np.array([near.sure, wide.sure])[:, None], (2, 2, 3)),
        table,
        size,
        0.2,
    )
    np.testing.assert_allclose(prediction.xy.numpy(), points, atol=0.01)
    np.testing.assert_allclose(prediction.score.numpy(), confidence, rtol=1e-3)
    assert Ensemble([near, wide], BODY, weights).digest != Ensemble([near, wide], BODY).digest


def test_an_ensemble_with_a_teacher_of_fewer_joints():
    truth, near, wide = seers()
    wide.skeleton, wide.truth, wide.sure = HANDS, truth[:, [2, 1]], [0.9, 0.3]
    prediction = Ensemble([near, wide], BODY)(torch.zeros(2, 96, 96, 3, dtype=torch.uint8))
    np.testing.assert_allclose(prediction.xy.numpy(), truth, atol=0.01)
    np.testing.assert_allclose(prediction.score.numpy(), [[0.8, 0.4, 0.65]] * 2, rtol=1e-4)


def test_teachers_that_cannot_be_an_ensemble():
    _, near, wide = seers()
    with pytest.raises(
        ValueError, match="second takes crops of 64x48; an ensemble needs teachers with square crops"
    ):
        Ensemble([near, SECOND], BODY)
    with pytest.raises(ValueError, match="no teacher 'far' to weigh; there are near, wide"):
        Ensemble([near, wide], BODY, {"far": 1.0})
    with pytest.raises(ValueError, match="at least one"):
        Ensemble([], BODY)
    with pytest.raises(ValueError, match="no joint in common"):
        Ensemble([near, wide], FEET)
    with pytest.raises(ValueError, match="no joint in common"):  # the second too, before anything takes time
        Ensemble([near, FakeTeacher([[1.0, 1.0], [2.0, 2.0]], [1.0, 1.0], FEET, name="feet")], BODY)
