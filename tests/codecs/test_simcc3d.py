"""decode(encode(x)) = x on all five axes, the bins by hand, and what is unknown."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from poseling.codecs import codec, is_3d
from poseling.codecs.simcc import SimCC
from poseling.codecs.simcc3d import SimCC3D
from poseling.skeleton import H36M17

SIZE = (64, 96)
CODEC = SimCC3D(SIZE)
PARTS = arrays(np.float64, (6, 5), elements=st.floats(0, 1))  # of the input and of the reach
ANY = H36M17  # this codec does not look at the skeleton
ONES = torch.ones(1, 6, dtype=torch.float64)


def dataset(parts, codec=CODEC):
    """Joints (1, 6, 2) anywhere in the input and xyz (1, 6, 3) anywhere within the reach, to the very end."""
    joints = -0.49 + parts[:, :2] * (np.array(SIZE) - 0.02)
    return torch.from_numpy(joints)[None], torch.from_numpy((2 * parts[:, 2:] - 1) * codec.reach)[None]


def logits(targets):
    """Logits whose softmax along each axis is `targets`: softmax leaves a constant out."""
    return (
        targets.clamp(min=1e-300 if targets.dtype == torch.float64 else 1e-30).log()
        + torch.arange(targets.shape[1])[:, None]
    )


@pytest.mark.parametrize(
    "codec", [CODEC, SimCC3D(SIZE, split=1, reach=1.1, cell=0.1, spread=0.06)], ids=["fine", "coarse"]
)
@given(parts=PARTS)
@settings(max_examples=30, deadline=None)
def test_dark_is_exact_everywhere(codec, parts):
    joints, xyz = dataset(parts, codec)
    targets, weight = codec.encode_3d(joints, ONES, xyz, ONES, ANY)
    assert weight.shape == (1, 6, 2)
    assert (weight == 1).all()
    for axis in targets.split(codec.bins, -1):
        torch.testing.assert_close(axis.sum(-1), ONES)
    xy, score = codec.decode(logits(targets))
    torch.testing.assert_close(xy, joints, atol=1e-6, rtol=0)
    assert (score > 0.6).all()
    torch.testing.assert_close(codec.decode_3d(logits(targets)), xyz, atol=1e-6, rtol=0)
    # In single precision a tenth of a millimetre.
    torch.testing.assert_close(codec.decode_3d(logits(targets.float())), xyz.float(), atol=1e-4, rtol=0)


@given(parts=PARTS)
@settings(max_examples=30, deadline=None)
def test_plain_is_half_a_cell_off_at_most(parts):
    plain = SimCC3D(SIZE, decoding="plain")
    joints, xyz = dataset(parts)
    targets, _ = plain.encode_3d(joints, ONES, xyz, ONES, ANY)
    assert (plain.decode_3d(logits(targets)) - xyz).abs().max() <= 0.01 + 1e-9
    assert (plain.decode(logits(targets))[0] - joints).abs().max() <= 0.25 + 1e-9


def test_the_bins_in_space_by_hand():
    """Four cells of half a metre lie at -0.75, -0.25, 0.25 and 0.75; a Gaussian of 0.5 m around -0.25 is one
    of a cell around the second.
    """
    small = SimCC3D((2, 4), split=1, reach=1.0, cell=0.5, spread=0.5, decoding="plain")
    assert small.bins == (2, 4, 4, 4, 4)
    targets, _ = small.encode_3d(
        torch.zeros(1, 1, 2), torch.ones(1, 1), torch.tensor([[[-0.25, 0.75, 0.0]]]), torch.ones(1, 1), (0,)
    )
    _, _, x, y, z = targets[0, 0].split(small.bins)
    for line, distances in ((x, [1, 0, 1, 2]), (y, [3, 2, 1, 0]), (z, [1.5, 0.5, 0.5, 1.5])):
        heights = np.exp(-np.square(distances) / 2)
        np.testing.assert_allclose(line.numpy(), heights / heights.sum(), rtol=1e-6)
    outputs = torch.zeros(1, 1, 18)
    outputs[..., [6 + 1, 10 + 3, 14 + 0]] = 1
    assert small.decode_3d(outputs).tolist() == [[[-0.25, 0.75, -0.75]]]


@given(parts=PARTS)
@settings(max_examples=30, deadline=None)
def test_the_image_is_simccs(parts):
    joints, xyz = dataset(parts)
    simcc = SimCC(SIZE, beta=1.0)
    targets, _ = CODEC.encode_3d(joints, ONES, xyz, ONES, ANY)
    there = sum(simcc.bins)
    torch.testing.assert_close(targets[..., :there], simcc.encode(joints, ONES)[0])
    noise = torch.randn(1, 6, sum(CODEC.bins), generator=torch.Generator().manual_seed(0))
    for found, wanted in zip(CODEC.decode(noise), simcc.decode(noise[..., :there]), strict=True):
        torch.testing.assert_close(found, wanted)
    maps, _ = simcc.heatmap.encode(joints, ONES)
    taught = CODEC.from_maps(maps)
    torch.testing.assert_close(taught[..., :there], simcc.from_maps(maps))
    assert taught.shape == targets.shape
    assert not taught[..., there:].any()
    assert CODEC.maps(noise) is None


@given(parts=PARTS)
@settings(max_examples=30, deadline=None)
def test_a_mirrored_person_has_mirrored_bins(parts):
    joints, xyz = dataset(parts)
    mirrored = joints * joints.new_tensor([-1, 1]) + joints.new_tensor([SIZE[0] - 1, 0])
    x, y, *space = CODEC.encode_3d(joints, ONES, xyz, ONES, ANY)[0].split(CODEC.bins, -1)
    expected = torch.cat([x.flip(-1), y, space[0].flip(-1), *space[1:]], -1)
    found, _ = CODEC.encode_3d(mirrored, ONES, xyz * xyz.new_tensor([-1, 1, 1]), ONES, ANY)
    torch.testing.assert_close(found, expected, atol=1e-12, rtol=0)


def test_image_and_space_are_known_each_for_itself():
    joints = torch.tensor([[[20.0, 30]] * 6 + [[-5.0, 30]]])
    xyz = torch.tensor(
        [
            [
                [0, 0, 1.5],
                [0, 0, 1.51],
                [-9, 0, 0],
                [math.nan, 0, 0],
                [0, math.inf, 0],
                [0.1, 0.2, 0.3],
                [0.1, 0.2, 0.3],
            ]
        ]
    )
    weight, sure = torch.tensor([[1.0, 1, 1, 1, 1, 0.7, 1]]), torch.tensor([[0.4, 1, 1, 1, 1, 0, 0.5]])
    targets, out = CODEC.encode_3d(joints, weight, xyz, sure, ANY)
    assert out[0, :, 0].tolist() == pytest.approx([1, 1, 1, 1, 1, 0.7, 0])
    assert out[0, :, 1].tolist() == pytest.approx(
        [0.4, 0, 0, 0, 0, 0, 0.5]
    )  # the last is not visible, but its xyz is known
    assert targets.isfinite().all()
    sums = torch.stack([axis.sum(-1)[0] for axis in targets.split(CODEC.bins, -1)], -1)
    np.testing.assert_allclose(sums, (out[0, :, [0, 0, 1, 1, 1]] > 0).numpy(), atol=1e-5)


def test_labels_in_the_image_alone():
    joints, weight = torch.tensor([[[20.0, 30], [90.0, 30]]]), torch.tensor([[0.6, 1.0]])
    targets, out = CODEC.encode(joints, weight)
    assert out[0].tolist() == [[pytest.approx(0.6), 0], [0, 0]]
    assert targets.sum(-1)[0].tolist() == pytest.approx([2, 0])


@pytest.mark.parametrize("decoding", ["plain", "dark"])
@pytest.mark.parametrize("place", [3, 128 + 7, 320 + 5, 320 + 449])
def test_a_nan_on_any_axis_is_seen_in_the_score(decoding, place):
    one = SimCC3D(SIZE, decoding=decoding)
    joints, xyz = (
        torch.tensor([[[20.25, 40.25], [30.25, 50.25]]]),
        torch.tensor([[[0.01, 0.21, 0.41], [-0.11, 0.31, 0.51]]]),
    )
    outputs = logits(one.encode_3d(joints, torch.ones(1, 2), xyz, torch.ones(1, 2), ANY)[0])
    outputs[0, 0, place] = math.nan
    xy, score = one.decode(outputs)
    assert score.isnan().tolist() == [[True, False]]
    assert xy[0, 1].tolist() == pytest.approx([30.25, 50.25], abs=0.01)
    assert one.decode_3d(outputs)[0, 1].tolist() == pytest.approx([-0.11, 0.31, 0.51], abs=1e-3)


def test_the_spec_records_it_with_its_numbers():
    one = SimCC3D((192, 256), split=1, cell=0.05, reach=1.25)
    fields = json.loads(json.dumps(one.fields()))
    assert fields["sigma"] == pytest.approx([2.449, 2.828], abs=1e-3)
    assert codec(fields) == one
    assert is_3d(codec(fields))
    assert not is_3d(SimCC(SIZE))


def test_wrong_numbers_are_told():
    with pytest.raises(ValueError, match="metres, above 0"):
        SimCC3D(SIZE, spread=0)
    with pytest.raises(ValueError, match=r"cells of 0\.7 m do not fill -1\.5 to 1\.5 m"):
        SimCC3D(SIZE, cell=0.7)
    with pytest.raises(ValueError, match="at least 3 times"):
        SimCC3D(SIZE, cell=1.5)
    with pytest.raises(ValueError, match="use plain or dark"):
        SimCC3D(SIZE, decoding="quarter")
