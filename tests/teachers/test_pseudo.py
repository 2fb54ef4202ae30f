"""Labels and pseudo-labels as one set, by hand: boxes are 100 x 100, so that sizes are hundredths."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from poseling.data.dataset import PoseDataset
from poseling.skeleton import Skeleton
from poseling.teachers.cache import PseudoLabel
from poseling.teachers.pseudo import LEAST, pseudo_labels

BODY = Skeleton(
    "body", ("neck", "hip", "left_hand", "right_hand", "left_foot", "right_foot"), (0, 0, 0, 0, 1, 1)
)
MATRIX = np.array([[2.0, 0, -10], [0, 2, 4]])
PLACES = np.array([[50, 20], [50, 60], [30, 50], [70, 50], [40, 90], [60, 90]], np.float64)


@dataclass
class FakeLabels:
    """Pseudo-labels: points (N, K, 2) in the image, scores (N, K), `predicted` (N,)."""

    xy: NDArray[np.float64]
    score: NDArray[np.float64]
    boxes: NDArray[np.float32]
    predicted: NDArray[np.bool_]
    url: str = "labels"
    target: Skeleton = BODY
    name: str = "thunder"

    @property
    def conversion(self) -> Any:
        return SimpleNamespace(target=self.target)

    licence = property(lambda self: f"{self.name} (weights Apache-2.0)")
    behind = "own"

    def points(self, i: int) -> PseudoLabel:
        points = (self.xy[i] @ MATRIX[:, :2].T + MATRIX[:, 2]).astype(np.float32)
        score = self.score[i].astype(np.float32)
        return PseudoLabel(points, score, None, np.zeros(len(score), np.float32), MATRIX, None)


def crowd(count: int = 1, visible: int = 2) -> PoseDataset:
    boxes = np.tile(np.float32([0, 10, 100, 110]), (count, 1))
    joints = np.tile(PLACES.astype(np.float32), (count, 1, 1)) * (visible > 0)
    return PoseDataset(
        "some",
        BODY,
        (Path("a.jpg"),) * count,
        boxes,
        joints,
        np.full((count, 6), visible, np.uint8),
        licence="CC0",
    )


def fake_labels(dataset: PoseDataset, score: Any, move: Any = 0.0, **more: Any) -> FakeLabels:
    """The right places, moved along x by `move`, with this score."""
    xy = np.tile(PLACES, (len(dataset), 1, 1))
    xy[..., 0] += move
    return FakeLabels(
        xy,
        np.broadcast_to(np.asarray(score, np.float64), xy.shape[:2]),
        dataset.boxes,
        np.ones(len(dataset), bool),
        **more,
    )


def fuse(dataset: PoseDataset, *teachers: FakeLabels, clean: bool = False) -> tuple[PoseDataset, Any]:
    return pseudo_labels(dataset, teachers[0], teachers[1:], np.full(len(dataset), clean))  # type: ignore[arg-type]


def test_agreement_by_hand():
    """8 pixels are TAU: exp(-1/2). A teacher without the joint does not count; of two the mean counts."""
    dataset = crowd(visible=0)
    near = fake_labels(dataset, [1, 1, 1, 0, 1, 0], [8, 0, 16, 0, 8, 3], name="a")
    far = fake_labels(dataset, [1, 1, 0, 0, 0.01, 0], [8, 80, 80, 80, 0, 3], name="b")
    fused, found = fuse(dataset, fake_labels(dataset, 0.9), near, far)
    half = np.exp(-0.5)
    expected = 0.9 * np.array([half, (1 + np.exp(-50)) / 2, half**4, 1, (half + 1) / 2, 1])
    expected[2] = 0  # 0.122, below LEAST
    np.testing.assert_allclose(fused.weight[0], expected, rtol=1e-5)
    assert fused.visible[0].tolist() == [2, 2, 0, 2, 2, 2]
    np.testing.assert_allclose(fused.joints[0], PLACES * [[1], [1], [0], [1], [1], [1]], atol=1e-4)
    assert found.taught == 5
    assert str(found) == "5 joints from the teacher"
    by = [f"pseudo-labels by {name} (weights Apache-2.0)" for name in ("thunder", "a", "b")]
    assert fused.licence == f"CC0; {by[0]}; own; {by[1]}; {by[2]}"  # each source once


def test_labels_stay_and_weigh_one():
    """Whatever a teacher predicts, unless they are to be cleaned."""
    dataset = crowd()
    dataset.visible[0, 2:4] = 1, 0
    fused, found = fuse(dataset, fake_labels(dataset, 0.8, 60.0))
    assert fused.weight[0] == pytest.approx([1, 1, 1, 0.8, 1, 1])
    assert fused.visible[0].tolist() == [2, 2, 1, 2, 2, 2]
    assert fused.joints[0, 2].tolist() == [30, 50]
    assert fused.joints[0, 3].tolist() == pytest.approx([130, 50])
    assert (found.people, found.joints, found.joints_gone, found.taught) == (0, 0, 0, 1)


def test_a_label_that_has_a_weight_keeps_it():
    dataset = crowd()
    dataset.visible[0, 0] = 0
    weighed = replace(dataset, weight=np.full((1, 6), 0.25, np.float32))
    fused, _ = fuse(weighed, fake_labels(dataset, 0.9))
    assert fused.weight[0] == pytest.approx([0.9] + [0.25] * 5)


def test_a_label_that_contradicts_goes():
    """FAR is 17 pixels and SURE 0.45: of 18 pixels only the sure teacher's joint takes the label's place; at
    16 the label stays.
    """
    dataset = crowd()
    fused, found = fuse(
        dataset, fake_labels(dataset, [0.5, 0.5, 0.44, 0.5, 0.9, 0.9], [18, 16, 80, 0, 0, 0]), clean=True
    )
    assert fused.weight[0] == pytest.approx([0.5, 1, 1, 1, 1, 1])
    assert fused.joints[0, 0].tolist() == pytest.approx([68, 20])
    np.testing.assert_array_equal(fused.joints[0, 1:], dataset.joints[0, 1:])
    assert (found.people, found.joints, found.people_gone, found.joints_gone, found.taught) == (
        1,
        6,
        0,
        1,
        1,
    )
    assert str(found).startswith(
        "1 of 6 labels contradict the teacher and were left out, with all of 0 of 1 people; 1 joints"
    )


def test_a_teacher_is_sure_only_where_others_agree():
    """0.9 alone is sure; with another 16 pixels away it is 0.9 exp(-2), 0.12: neither sure nor used."""
    dataset = crowd()
    fused, _ = fuse(
        dataset,
        fake_labels(dataset, 0.9, [40, 0, 0, 0, 0, 0]),
        fake_labels(dataset, 1.0, [56, 0, 0, 0, 0, 0]),
        clean=True,
    )
    assert (fused.weight == 1).all()
    np.testing.assert_array_equal(fused.joints, dataset.joints)


def test_all_of_a_person_goes_where_half_contradicts():
    """Of four sure joints two are wrong: all six labels go, and unsure teacher's joints take their places
    from LEAST on. Of three sure joints only the wrong go.
    """
    dataset = crowd(2)
    score = [[0.5, 0.5, 0.5, 0.5, 0.3, 0.1], [0.5, 0.5, 0.5, 0.4, 0.3, 0.1]]
    fused, found = fuse(dataset, fake_labels(dataset, score, [30, 30, 0, 0, 0, 0]), clean=True)
    assert fused.weight[0] == pytest.approx([0.5, 0.5, 0.5, 0.5, 0.3, 0])
    assert fused.visible[0].tolist() == [2, 2, 2, 2, 2, 0]
    assert fused.joints[0, 5].tolist() == [0, 0]
    assert fused.weight[1] == pytest.approx([0.5, 0.5, 1, 1, 1, 1])
    assert (found.people, found.joints, found.people_gone, found.joints_gone, found.taught) == (
        2,
        12,
        1,
        8,
        7,
    )


def test_one_in_three_leaves_the_person():
    dataset = crowd()
    fused, found = fuse(dataset, fake_labels(dataset, 0.9, [30, 30, 0, 0, 0, 0]), clean=True)
    assert fused.weight[0] == pytest.approx([0.9, 0.9, 1, 1, 1, 1])
    assert found.people_gone == 0


def test_only_the_chosen_are_cleaned():
    dataset = crowd(2)
    fused, found = pseudo_labels(dataset, fake_labels(dataset, 0.9, 40.0), (), np.array([False, True]))  # type: ignore[arg-type]
    assert fused.weight.tolist() == [[1] * 6, pytest.approx([0.9] * 6)]
    assert (found.people, found.joints) == (1, 6)


def test_samples_without_a_pseudo_label_keep_their_labels():
    dataset = crowd(2)
    dataset.visible[:, 0] = 0
    teacher = fake_labels(dataset, 0.9)
    teacher.predicted[1] = False
    fused, _ = fuse(dataset, teacher, clean=True)
    assert fused.weight[1].tolist() == [0, 1, 1, 1, 1, 1]
    assert fused.weight[0, 0] == pytest.approx(0.9)
    silent = fake_labels(dataset, 1.0, 50.0)
    silent.predicted[:] = False
    alone, both = (
        fuse(dataset, fake_labels(dataset, 0.9))[0],
        fuse(dataset, fake_labels(dataset, 0.9), silent)[0],
    )
    np.testing.assert_array_equal(alone.weight, both.weight)


@given(seed=st.integers(0, 10**6), clean=st.booleans())
@settings(max_examples=40, deadline=None)
def test_nothing_lies_between_nothing_and_the_least(seed: int, clean: bool):
    random = np.random.default_rng(seed)
    dataset = crowd(4)
    dataset.visible[:] = random.integers(0, 3, (4, 6))
    dataset.joints[:] = dataset.joints * (dataset.visible > 0)[..., None]
    teachers = [
        fake_labels(
            dataset, random.random((4, 6)) * (random.random((4, 6)) < 0.8), random.normal(0, 12, (4, 6))
        )
        for _ in range(3)
    ]
    fused, found = fuse(dataset, *teachers, clean=clean)
    assert ((fused.weight == 0) | (fused.weight >= LEAST - 1e-6)).all()
    assert (fused.weight <= 1).all()
    np.testing.assert_array_equal(fused.weight > 0, fused.visible > 0)
    assert (fused.joints[fused.weight == 0] == 0).all()
    same = (fused.joints == dataset.joints).all(-1) & (dataset.visible > 0)
    assert ((dataset.visible > 0) & ~same).sum() == found.joints_gone


def test_pseudo_labels_of_other_samples_are_refused():
    dataset = crowd(2)
    with pytest.raises(
        ValueError, match="labels: opened for other samples, or in another skeleton, than those of some"
    ):
        fuse(dataset[:1], fake_labels(dataset, 0.9))
    with pytest.raises(ValueError, match="opened for other samples"):
        fuse(
            dataset,
            fake_labels(dataset, 0.9),
            fake_labels(dataset, 0.9, target=Skeleton("other", BODY.joints[::-1], (0,) * 6)),
        )
