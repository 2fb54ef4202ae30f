"""IDF1 by hand, and as motmetrics has it where that is installed."""

from __future__ import annotations

from types import ModuleType

import numpy as np
import pytest


def at(x: float) -> np.ndarray:
    return np.array([x, 0.0, x + 10, 20.0])


def test_idf1_by_hand(tracking: ModuleType):
    """Two people for ten frames. The first has id 7 in six frames and 8 in four; the second has id 9 in all
    but the last two, in one of which a box lies too far away. So ids 7 and 9 match 6 + 8 of 20 true boxes;
    19 boxes were found: IDF1 = 2 * 14 / (20 + 19).
    """
    truth = [{1: at(0), 2: at(100)} for _ in range(10)]
    found = [{7 if t < 6 else 8: at(1), **({9: at(100)} if t < 8 else {})} for t in range(10)]
    found[8][9] = at(120)
    one = tracking.counts(truth, found)
    assert (one.right, one.wrong, one.missed, one.switches) == (14, 5, 6, 1)
    assert one.idf1 == pytest.approx(28 / 39)
    assert tracking.reused(truth, found) == 0
    assert tracking.counts(truth, [{} for _ in truth]).idf1 == 0
    assert tracking.counts(truth, truth).idf1 == 1


def test_an_id_that_comes_back_on_somebody_else_is_reused(tracking: ModuleType):
    truth = [{1: at(0)} if t < 20 else {2: at(300)} for t in range(90)]
    found = [{5: at(0)} if t < 20 else {} if t < 60 else {5: at(300)} for t in range(90)]
    assert tracking.reused(truth, found) == 1
    soon = [{5: at(0)} if t < 20 else {5: at(300)} for t in range(90)]
    assert tracking.reused(truth, soon) == 0  # handed over, which IDF1 counts
    truth = [{1: at(0), 2: at(300)} for _ in range(90)]
    slip = [{5: at(0)} if t < 20 or t >= 60 else {5: at(300)} if t < 23 else {} for t in range(90)]
    assert tracking.reused(truth, slip) == 0  # on another person for three frames, and back where it was
    swap = [{5: at(0)} if t < 20 else {5: at(300)} if t < 23 or t >= 60 else {} for t in range(90)]
    assert tracking.reused(truth, swap) == 1


@pytest.mark.parametrize("seed", range(3))
def test_idf1_is_that_of_motmetrics(tracking: ModuleType, seed: int, monkeypatch: pytest.MonkeyPatch):
    # motmetrics 1.4 is older than numpy 2.
    monkeypatch.setattr(np, "asfarray", lambda values: np.asarray(values, float), raising=False)
    motmetrics = pytest.importorskip("motmetrics", reason="motmetrics is not installed")
    rng = np.random.default_rng(seed)
    truth, found = [], []
    for _ in range(40):
        people = {i: at(30.0 * i + rng.normal(0, 2)) for i in range(4) if rng.random() < 0.9}
        truth.append(people)
        ids = rng.permutation(4) if rng.random() < 0.1 else np.arange(4)
        found.append({int(ids[i]) + 10: box + rng.normal(0, 2, 4) for i, box in people.items()})
    accumulator = motmetrics.MOTAccumulator(auto_id=True)
    for true, mine in zip(truth, found, strict=True):
        boxes = [
            np.array([[*b[:2], *(b[2:] - b[:2])] for b in rows.values()]).reshape(-1, 4)
            for rows in (true, mine)
        ]
        accumulator.update(list(true), list(mine), motmetrics.distances.iou_matrix(*boxes, max_iou=0.5))
    theirs = motmetrics.metrics.create().compute(accumulator, metrics=["idf1"])["idf1"].item()
    assert tracking.counts(truth, found).idf1 == pytest.approx(theirs)


def test_what_stands_behind_a_limb_is_hidden(tracking: ModuleType):
    """A person of 170 pixels a metre: the trunk hides 0.16 metres to each side, 27 pixels."""
    front = np.zeros((len(tracking.MOVNECT15), 2))
    front[:, 1] = np.linspace(0, 300, len(front))
    points = np.array([[0.0, 150], [200, 150], [5, 10]])
    assert tracking.hides(front, 170.0, points).tolist() == [True, False, True]
