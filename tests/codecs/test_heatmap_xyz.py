"""Heatmaps with X, Y and Z beside them."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from poseling.codecs import Heatmap, HeatmapXYZ
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
