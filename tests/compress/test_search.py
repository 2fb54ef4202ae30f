"""Targets, and who is beaten by nobody."""

from __future__ import annotations

import pytest

from poseling.compress.search import Point, front, least


def test_the_least_ratio_that_reaches_the_target():
    found = least(lambda ratio: 20 * (1 - ratio) ** 2, 5.0, "--target-ms", tries=20)
    assert found == pytest.approx(0.5, abs=1e-3)
    assert 20 * (1 - found) ** 2 <= 5.0


def test_a_target_that_cannot_be_reached_says_what_can():
    with pytest.raises(
        ValueError, match=r"--target-ms 0\.1: cannot be reached by pruning; with 90% of the work gone it is 2"
    ):
        least(lambda ratio: 20 * (1 - ratio), 0.1, "--target-ms")


def test_the_front():
    points = [
        Point(str(i), 1, 1.0, 1.0, ratio, pck, 0.5)
        for i, (ratio, pck) in enumerate([(1, 0.9), (0.5, 0.85), (0.6, 0.8), (0.7, 0.9)])
    ]
    assert front(points) == [1, 3]
