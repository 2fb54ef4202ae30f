"""Numbers there and back."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from poseling.codecs.coordinates import Coordinates
from poseling.codecs.heatmap import Heatmap

SIZE = (192, 256)
CODEC = Coordinates(SIZE)
PARTS = arrays(np.float64, (6, 2), elements=st.floats(0, 1))


def outputs(targets, logit=2.0):
    """Outputs at the targets: widths of 1.5 and 3 heatmap pixels, and a score."""
    return torch.cat([targets, targets.new_tensor([1.5, 3.0, logit]).expand(*targets.shape[:2], 3)], -1)


@given(parts=PARTS)
@settings(max_examples=30, deadline=None)
def test_there_and_back(parts):
    joints = torch.from_numpy(-0.49 + parts * (np.array(SIZE) - 0.02))[None]
    targets, weight = CODEC.encode(joints, torch.ones(1, 6, dtype=torch.float64))
    assert (weight == 1).all()
    xy, score = CODEC.decode(outputs(targets))
    torch.testing.assert_close(xy, joints, atol=1e-9, rtol=0)
    torch.testing.assert_close(score, torch.full((1, 6), 0.880797, dtype=torch.float64))  # 1 / (1 + exp(-2))
    torch.testing.assert_close(CODEC.decode(outputs(targets.float()))[0], joints.float(), atol=1e-3, rtol=0)
    mirrored = CODEC.encode(torch.stack([SIZE[0] - 1 - joints[..., 0], joints[..., 1]], -1), weight)[0]
    torch.testing.assert_close(
        mirrored, torch.stack([1 - targets[..., 0], targets[..., 1]], -1), atol=1e-12, rtol=0
    )


def test_by_hand():
    targets, _ = CODEC.encode(torch.tensor([[[0.0, 255.0], [191.0, 51.0]]]), torch.ones(1, 2))
    assert targets.tolist() == [[pytest.approx([0, 1]), pytest.approx([1, 0.2])]]
    xy, score = CODEC.decode(outputs(torch.tensor([[[0.5, 0.25]]]), logit=0.0))
    assert (xy.tolist(), score.tolist()) == ([[[95.5, 63.75]]], [[0.5]])


def test_joints_outside_weigh_nothing():
    joints = [
        [-0.49, 30],
        [-0.51, 30],
        [191.49, 30],
        [191.51, 30],
        [30, -1e9],
        [np.nan, 3],
        [3, np.inf],
        [30, 30],
    ]
    weight = torch.full((1, 8), 0.7)
    weight[0, 7] = 0
    targets, out = CODEC.encode(torch.tensor([joints], dtype=torch.float32), weight)
    assert out[0].tolist() == pytest.approx([0.7, 0, 0.7, 0, 0, 0, 0, 0])
    assert targets.isfinite().all()
    assert not targets[0, [1, 3, 4, 5, 6, 7]].any()


@pytest.mark.parametrize("number", range(5))
def test_a_nan_is_seen_in_the_score(number):
    given = outputs(torch.full((1, 2, 2), 0.5))
    given[0, 0, number] = torch.nan
    xy, score = CODEC.decode(given)
    assert score.isnan().tolist() == [[True, False]]
    assert xy[0, 1].tolist() == [95.5, 127.5]


def test_a_teachers_maps_are_left_as_they_are():
    for one in (CODEC, Heatmap(SIZE, softmax=True)):
        maps, _ = one.heatmap.encode(torch.tensor([[[100.0, 50.0]]]), torch.ones(1, 1))
        assert one.from_maps(maps) is maps
        assert maps.shape == (1, 1, 64, 48)
    assert CODEC.heatmap == Heatmap(SIZE)
