import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from poseling.evaluate.pck import box_length, distances, pck, per_person, rows, torso_length
from poseling.skeleton import COCO17, LSP14, MPII16


def case(seed, dataset=6, joints=14):
    """Random people, predictions some pixels off, and labels of which some are missing."""
    rng = np.random.default_rng(seed)
    truth = rng.uniform(0, 200, (dataset, joints, 2))
    predicted = truth + rng.normal(0, 12, truth.shape)
    visible = rng.random((dataset, joints)) < 0.8
    visible[:, 0] = True
    return predicted, truth, visible, rng.uniform(30, 90, dataset)


def by_loops(predicted, truth, visible, length, alpha):
    """PCK as its definition reads, joint by joint: (pooled mean, rate of each joint)."""
    hits, counts = [0] * truth.shape[1], [0] * truth.shape[1]
    for n in range(truth.shape[0]):
        for k in range(truth.shape[1]):
            if visible[n, k]:
                (px, py), (tx, ty) = predicted[n, k], truth[n, k]
                counts[k] += 1
                hits[k] += ((px - tx) ** 2 + (py - ty) ** 2) ** 0.5 <= alpha * length[n]
    return sum(hits) / sum(counts), [h / c if c else float("nan") for h, c in zip(hits, counts, strict=True)]


def test_pck_by_hand():
    # Two people with lengths 10 and 100, three joints. At alpha 0.2 the first may err by 2 pixels, the second
    # by 20.
    truth = np.zeros((2, 3, 2))
    predicted = np.array([[[2.0, 0.0], [0.0, 2.5], [1.0, 1.0]], [[12.0, 16.0], [0.0, 2.5], [30.0, 0.0]]])
    visible = np.array([[True, True, True], [True, True, False]])
    score = pck(predicted, truth, visible, np.array([10.0, 100.0]), alpha=0.2)
    # first joint: 2 <= 2 and 20 <= 20; second: 2.5 > 2 and 2.5 <= 20; third: 1.41 <= 2, the other has no
    # label
    assert score.joints.tolist() == [1.0, 0.5, 1.0]
    assert score.count.tolist() == [2, 2, 1]
    assert score.mean == 4 / 5
    assert score.joint_mean == pytest.approx(2.5 / 3)


@given(st.integers(0, 10_000), st.floats(0.05, 0.6))
def test_pck_is_its_definition(seed, alpha):
    dataset = case(seed)
    mean, joints = by_loops(*dataset, alpha)
    score = pck(*dataset, alpha)
    assert score.mean == pytest.approx(mean)
    np.testing.assert_allclose(score.joints, joints)


@given(st.integers(0, 10_000), st.floats(0.1, 20), st.floats(-500, 500), st.floats(-500, 500))
def test_pck_does_not_see_scale_or_place(seed, scale, dx, dy):
    predicted, truth, visible, length = case(seed)
    moved = [p * scale + [dx, dy] for p in (predicted, truth)]
    assert pck(*moved, visible, length * scale, 0.2).mean == pytest.approx(
        pck(predicted, truth, visible, length, 0.2).mean, abs=1e-9
    )


@given(st.integers(0, 10_000), st.floats(0.02, 1), st.floats(0.02, 1))
def test_pck_grows_with_alpha(seed, one, other):
    dataset = case(seed)
    assert pck(*dataset, min(one, other)).mean <= pck(*dataset, max(one, other)).mean


def test_auc_by_hand():
    # One joint at distance 0.05 of thresholds 0, 0.01, ..., 0.2: the curve is 0 up to 0.04 and 1 from 0.05
    # on. Trapezoids: half a step, then 15 of 20.
    score = pck(
        np.array([[[5.0, 0.0]]]), np.zeros((1, 1, 2)), np.ones((1, 1), bool), np.array([100.0]), alpha=0.2
    )
    assert score.auc == pytest.approx(15.5 / 20)
    exact = pck(np.zeros((1, 1, 2)), np.zeros((1, 1, 2)), np.ones((1, 1), bool), np.array([100.0]), alpha=0.2)
    assert exact.auc == 1.0


def test_a_missing_prediction_is_wrong_and_a_missing_label_does_not_count():
    truth = np.zeros((1, 3, 2))
    predicted = np.array([[[np.nan, np.nan], [0.0, 0.0], [np.nan, 0.0]]])
    score = pck(predicted, truth, np.array([[1, 2, 0]], np.uint8), np.array([10.0]))
    assert score.mean == 0.5
    assert score.joints[:2].tolist() == [0.0, 1.0]
    assert np.isnan(score.joints[2])


def test_people_without_a_length_are_left_out_and_counted():
    predicted, truth, visible, _ = case(0, dataset=4)
    length = np.array([50.0, np.nan, 0.0, 50.0])
    score = pck(predicted, truth, visible, length)
    alone = pck(predicted[[0, 3]], truth[[0, 3]], visible[[0, 3]], length[[0, 3]])
    assert score.left_out == 2
    assert score.mean == alone.mean
    assert score.count.tolist() == alone.count.tolist()
    with pytest.raises(ValueError, match="nothing to evaluate"):
        pck(predicted, truth, visible, np.full(4, np.nan))


def test_shapes_and_alpha_are_checked():
    predicted, truth, visible, length = case(0)
    with pytest.raises(ValueError, match="do not belong together"):
        pck(predicted[:, :3], truth, visible, length)
    with pytest.raises(ValueError, match="alpha is 0"):
        pck(predicted, truth, visible, length, alpha=0.0)


def test_per_person_is_the_mean_over_labelled_joints():
    truth = np.zeros((2, 2, 2))
    predicted = np.array([[[3.0, 4.0], [0.0, 15.0]], [[1.0, 0.0], [1.0, 0.0]]])
    lengths = distances(predicted, truth, np.array([[True, True], [False, False]]), np.array([10.0, 10.0]))
    dataset = per_person(lengths)
    assert dataset[0] == (0.5 + 1.5) / 2
    assert np.isnan(dataset[1])


def test_torso_is_left_shoulder_to_right_hip():
    joints = np.zeros((2, 14, 2))
    joints[:, LSP14.index("left_shoulder")] = (3, 4)
    joints[:, LSP14.index("right_shoulder")] = (100, 100)
    visible = np.ones((2, 14), np.uint8)
    visible[1, LSP14.index("right_hip")] = 0
    length = torso_length(joints, visible, LSP14)
    assert length[0] == 5.0
    assert np.isnan(length[1])


def test_box_length_is_the_longest_side():
    assert box_length(np.array([[10.0, 20.0, 40.0, 30.0], [0.0, 0.0, 5.0, 7.0]])).tolist() == [30.0, 7.0]


def test_rows_are_those_of_the_published_tables():
    truth = np.zeros((1, 14, 2))
    predicted = truth.copy()
    for joint in ("head_top", "left_wrist", "right_wrist", "right_knee"):
        predicted[0, LSP14.index(joint)] = (9, 0)
    score = pck(predicted, truth, np.ones((1, 14), bool), np.array([10.0]))
    expected = [
        ("Head", 0.5),
        ("Shoulder", 1),
        ("Elbow", 1),
        ("Wrist", 0),
        ("Hip", 1),
        ("Knee", 0.5),
        ("Ankle", 1),
        ("Mean", 10 / 14),
    ]
    assert rows(score, LSP14) == expected


def test_rows_of_coco_have_its_face_as_the_head_and_nan_without_labels():
    truth = np.zeros((1, 17, 2))
    predicted = truth.copy()
    predicted[0, COCO17.index("nose")] = (9, 0)
    visible = np.ones((1, 17), bool)
    visible[0, [COCO17.index("left_knee"), COCO17.index("right_knee"), COCO17.index("left_hip")]] = False
    table = dict(rows(pck(predicted, truth, visible, np.array([10.0])), COCO17))
    assert table["Head"] == pytest.approx(4 / 5)
    assert np.isnan(table["Knee"])
    assert table["Hip"] == 1.0  # the right one alone


@pytest.mark.shared
def test_pck_of_the_mpii_fixture(shared):
    dataset = json.loads((shared / "data/fixtures/mpii/test_mpii.json").read_text())
    truth = np.array([p["joints"] for p in dataset])
    visible = np.array([p["joints_vis"] for p in dataset]) > 0
    length = torso_length(truth, visible, MPII16)
    # left shoulder (1067, 253) to right hip (908, 438) of the first person
    assert length[0] == pytest.approx((159**2 + 185**2) ** 0.5)
    # Three people are off by a tenth of the torso, two by three tenths. They have 16, 16, 14, 14 and 16
    # labels.
    off = np.array([0.1, 0.1, 0.1, 0.3, 0.3]) * length
    predicted = truth + off[:, None, None] * np.array([0.6, -0.8])
    score = pck(predicted, truth, visible, length, alpha=0.2)
    assert score.mean == pytest.approx(46 / 76)
    assert dict(rows(score, MPII16))["Ankle"] == pytest.approx(
        2 / 3
    )  # neither person of 14 labels shows its right ankle, nor its left one
    assert pck(truth, truth, visible, length).mean == 1.0
    mean, joints = by_loops(predicted, truth, visible, length, 0.1001)
    again = pck(predicted, truth, visible, length, 0.1001)
    assert again.mean == pytest.approx(mean)
    np.testing.assert_allclose(again.joints, joints)
