from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from poseling.evaluate.pck import rows
from poseling.evaluate.pckh import pckh, pckh_fpd
from poseling.skeleton import MPII16


def case(seed, dataset=7):
    rng = np.random.default_rng(seed)
    truth = rng.uniform(0, 300, (dataset, 16, 2))
    visible = rng.random((dataset, 16)) < 0.75
    visible[0] = True
    return truth + rng.normal(0, 15, truth.shape), truth, visible, rng.uniform(20, 60, dataset)


def one_person(**errors):
    """A head of 100 pixels, all joints labelled, joints off to the right by the pixels given."""
    truth = np.zeros((1, 16, 2))
    predicted = truth.copy()
    for joint, pixels in errors.items():
        predicted[0, MPII16.index(joint), 0] = pixels
    return predicted, truth, np.ones((1, 16), bool), np.array([100.0])


def toolkit(predicted, truth, visible, head):
    """MPII's evaluation, written out for this test: 14 joints, pooled, thresholds 0 to 0.5 by 0.01;
    (PCKh@0.5, AUC).
    """
    curve = []
    for step in range(51):
        hits = [
            np.hypot(*(predicted[n, k] - truth[n, k])) / head[n] <= step * 0.01
            for n in range(len(truth))
            for k in range(16)
            if k not in (6, 7) and visible[n, k]
        ]
        curve.append(sum(hits) / len(hits))
    return curve[-1], sum((a + b) / 2 for a, b in pairwise(curve)) / 50


def fpd(predicted, truth, visible, head):
    """FPD's table by another road: rates of each joint, weighted by masked label counts, from a (thresholds,
    joints) array.
    """
    error = np.sqrt(((predicted + 1 - (truth + 1)) ** 2).sum(-1)) / head[:, None]
    grid = np.arange(0, 0.51, 0.01)
    rates = np.array([[np.mean(error[visible[:, k], k] <= t) for k in range(16)] for t in (0.5, grid[11])])
    weight = visible.sum(0).astype(float)
    weight[[6, 7]] = 0
    weight /= weight.sum()
    half = rates[0]
    pairs = {
        "Shoulder": (12, 13),
        "Elbow": (11, 14),
        "Wrist": (10, 15),
        "Hip": (2, 3),
        "Knee": (1, 4),
        "Ankle": (0, 5),
    }
    table = {"Head": half[9], **{name: (half[a] + half[b]) / 2 for name, (a, b) in pairs.items()}}
    return {**table, "Mean": half @ weight, "Mean@0.1": rates[1] @ weight}


def test_pckh_by_hand():
    # The limit is 50 pixels. Pelvis and thorax are far off, and count in their own rates alone.
    score = pckh(*one_person(left_wrist=50, right_wrist=51, pelvis=500, thorax=500))
    assert score.mean == 13 / 14
    assert score.joints[MPII16.index("pelvis")] == 0.0
    assert score.joints[MPII16.index("left_wrist")] == 1.0
    assert dict(rows(score, MPII16))["Wrist"] == 0.5
    assert len(score.joints) == 16


def test_auc_by_hand():
    # 13 joints are exact; one is at 0.25, so it counts at 25 of the 50 steps, and at half of the step that
    # leads there.
    assert pckh(*one_person(left_wrist=25)).auc == pytest.approx((13 * 50 + 25.5) / 14 / 50)


def test_the_head_of_the_toolkit_and_of_fpd():
    wrong_neck = one_person(neck=80)
    assert dict(rows(pckh(*wrong_neck), MPII16))["Head"] == 0.5
    assert pckh_fpd(*wrong_neck)["Head"] == 1.0


def test_mean_at_a_tenth_of_fpd_is_at_eleven_hundredths():
    assert pckh_fpd(*one_person(left_wrist=10.9))["Mean@0.1"] == 1.0
    assert pckh_fpd(*one_person(left_wrist=11.1))["Mean@0.1"] == 13 / 14


@given(st.integers(0, 10_000))
def test_pckh_is_the_toolkits(seed):
    dataset = case(seed)
    mean, auc = toolkit(*dataset)
    score = pckh(*dataset)
    assert score.mean == pytest.approx(mean)
    assert score.auc == pytest.approx(auc)


@given(st.integers(0, 10_000))
def test_fpds_table_is_its_codes(seed):
    dataset = case(seed)
    ours, theirs = pckh_fpd(*dataset), fpd(*dataset)
    assert list(ours) == list(theirs)
    assert ours == pytest.approx(theirs)
    assert ours["Mean"] == pytest.approx(pckh(*dataset).mean)  # the weighting by labels is the pooled mean
