"""Heatmaps with X, Y and Z beside them."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from poseling.codecs import Heatmap, HeatmapXYZ
from poseling.codecs.losses import posture
from poseling.geometry import procrustes
from poseling.skeleton import Skeleton

PAIR = Skeleton("pair", ("pelvis", "head"), (0, 0))
numbers = st.floats(-2, 2, width=32)


@given(
    st.lists(st.tuples(st.floats(1, 46), st.floats(1, 62)), min_size=2, max_size=2),
    st.lists(st.tuples(numbers, numbers, numbers), min_size=2, max_size=2),
)
def test_what_is_encoded_is_decoded(joints, xyz):
    """In the image to the sub-pixel error of the heatmap itself, in space exactly."""
    codec, known = HeatmapXYZ((48, 64)), torch.ones(1, 2)
    xy, places = torch.tensor([joints]), torch.tensor([xyz])
    targets, weight = codec.encode_3d(xy, known, places, known, PAIR)
    assert torch.equal(codec.decode_3d(targets), places)
    alone = Heatmap((48, 64))
    expected = alone.decode(alone.encode(xy, known)[0])
    for found, wanted in zip(codec.decode(targets), expected, strict=True):
        assert torch.equal(found, wanted)
    assert weight.shape == (1, 2, 2)


def test_a_joint_outside_of_the_image_keeps_its_place_in_space():
    codec, known = HeatmapXYZ((48, 64)), torch.ones(1, 2)
    joints = torch.tensor([[[20.0, 30.0], [20.0, 90.0]]])
    _, weight = codec.encode_3d(joints, known, torch.ones(1, 2, 3), known * 0.5, PAIR)
    assert weight.tolist() == [[[1.0, 0.5], [0.0, 0.5]]]
    _, weight = codec.encode(joints, known)  # nothing is known of space
    assert weight.tolist() == [[[1.0, 0.0], [0.0, 0.0]]]


def test_the_loss_by_hand():
    """A uniform heatmap of 2x2 against a certain pixel is ln 4; metres 0.5 + 0.25 off along X and Z, at half
    of the weight.
    """
    codec = HeatmapXYZ((8, 8), softmax=True)
    target = torch.tensor([[[0.0, 1.0, 0.0, 0.0, 0.5, 0.0, -0.25]]])
    weight = torch.tensor([[[1.0, 0.5]]])
    loss = codec.losses("kl")[0](torch.zeros(1, 1, 1, 7), target, weight)
    assert loss.item() == pytest.approx(torch.tensor(4.0).log().item() + 0.375)


def test_a_teachers_maps_take_the_place_of_gaussians():
    codec, known = HeatmapXYZ((8, 8)), torch.ones(1, 1)
    maps, xyz = torch.rand(1, 1, 2, 2), torch.tensor([[[1.0, 2.0, 3.0]]])
    targets, weight = codec.from_teacher(
        torch.zeros(1, 1, 2), known, xyz, known * 0.5, PAIR, (maps, known * 0.25)
    )
    assert targets.flatten().tolist() == [*maps.flatten().tolist(), 1, 2, 3]
    assert weight.tolist() == [[[0.25, 0.5]]]
    assert torch.equal(codec.maps(targets), maps)


def test_posture_is_what_the_best_similarity_leaves():
    """As `geometry.procrustes` has it, which is tested against other code; joints of no weight do not
    pull.
    """
    random = np.random.default_rng(0)
    truth = random.normal(0, 0.3, (3, 9, 3))
    turned = 1.3 * truth @ Rotation.from_euler("xyz", (70, -40, 160), degrees=True).as_matrix().T + 0.5
    predicted = turned + random.normal(0, 0.05, truth.shape)
    known = np.ones((3, 9), bool)
    known[1, :4] = False
    left = np.abs(procrustes(predicted, truth, known).aligned - truth).sum(-1)
    weight = torch.from_numpy(np.stack([np.zeros_like(known), known], -1).astype(np.float64))
    found = posture(torch.from_numpy(predicted)[:, None], torch.from_numpy(truth), weight)
    assert found.item() == pytest.approx(np.where(known, left, 0).mean(), rel=1e-9)


def test_posture_pulls_at_joints_and_not_at_the_person():
    truth = torch.tensor([[0.0, 0, 0], [0.3, 0, 0], [0, 0.4, 0], [0, 0, 0.5]], dtype=torch.float64)
    turn = torch.from_numpy(Rotation.from_euler("y", 50, degrees=True).as_matrix())
    apart = torch.randn(4, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64) / 20
    outputs = (truth @ turn.T + apart).requires_grad_()
    posture(outputs[None, None], truth[None], torch.ones(1, 4, 2, dtype=torch.float64)).backward()
    assert outputs.grad is not None
    assert outputs.grad.sum(0).abs().max() < 1e-12
    assert outputs.grad.abs().max() > 0.1


@pytest.mark.parametrize(
    "truth",
    [
        [[0.0, 0, 0], [1, 1, 1], [2, 2, 2], [3, 3, 3]],  # on a line: how it is turned is not told
        [[0.0, 0, 0]] * 4,
    ],
)
def test_a_posture_that_does_not_tell_how_it_is_turned_weighs_nothing(truth):
    outputs = torch.randn(1, 1, 4, 3).requires_grad_()
    loss = posture(outputs, torch.tensor([truth]), torch.ones(1, 4, 2))
    loss.backward()
    assert loss.item() == 0
    assert outputs.grad is not None
    assert torch.equal(outputs.grad, torch.zeros_like(outputs))
    two = torch.tensor([[[0.0, 1], [0, 1], [0, 0], [0, 0]]])
    assert posture(outputs, torch.randn(1, 4, 3), two).item() == 0
