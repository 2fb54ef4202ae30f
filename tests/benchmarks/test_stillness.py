"""The pairs of neighbouring frames that stillness.py makes, and what two arms gained, by hand."""

from __future__ import annotations

import math
from types import ModuleType

import pytest
import torch
from torch import nn


def test_a_neighbour_is_moved_by_a_little(stillness: ModuleType):
    torch.manual_seed(0)
    side = 101
    images = torch.zeros(64, 3, side, side)
    images[:, :, 50, 50] = 50.0
    seen = stillness.moved(images)
    assert seen.shape == images.shape
    at = torch.stack([seen.sum(1).amax(dim).argmax(1) for dim in (1, 2)], 1) - 50  # (64, 2) x, y
    farthest = stillness.MOVED * (side / 2)  # the middle only moves, it is not scaled
    assert at.abs().max() == math.floor(farthest + 0.5)
    assert (seen[:, :, :20, :20].std() - stillness.NOISE).abs() < 0.01


def test_both_answers_pass_while_it_trains_alone(stillness: ModuleType):
    network = nn.Sequential(nn.Flatten(), nn.Linear(3 * 8 * 8, 2 * 7), nn.Unflatten(1, (1, 2, 7)))
    pairs, passed = stillness.Neighbours(network), []
    pairs.still.register_forward_hook(lambda module, inputs, output: passed.append(output))
    images = torch.rand(6, 3, 8, 8)
    assert torch.equal(pairs.eval()(images), network(images))
    assert not passed
    outputs = pairs.train()(images)
    assert torch.equal(outputs, network(images))
    assert passed[0].shape == (2, 3, 2, 3)
    assert torch.equal(passed[0][0], outputs[:3, 0, :, -3:])


def test_the_distance_of_pairs_by_hand(stillness: ModuleType):
    answers = torch.zeros(2, 1, 2, 3)
    answers[1, 0, 0] = torch.tensor([0.1, -0.2, 0.3])
    assert stillness.apart(answers, torch.ones(1)).item() == pytest.approx(0.3)  # 0.6 and 0


def test_gains_by_hand(family_3d: ModuleType):
    alone, taught = [{"valid": 100.0}, {"valid": 110.0}], [{"valid": 90.0}, {"valid": 95.0}]
    rows = {
        row["name"]: row
        for row in family_3d.gains(alone, taught, {"valid": 80.0}, ("alone", "taught", "heavy"))
    }
    assert rows["valid.gain"]["values"] == [10.0, 15.0]
    assert rows["valid.gap_closed"]["values"] == [0.5, 0.5]
    assert (rows["valid.alone"]["value"], rows["valid.taught"]["value"]) == (105.0, 92.5)
    assert rows["valid.heavy"]["value"] == 80.0
    one = family_3d.gains(alone[:1], taught[:1], {"valid": 80.0}, ("alone", "taught", "heavy"))
    assert all("spread" not in row for row in one)
