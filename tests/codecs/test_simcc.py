"""decode(encode(x)) = x, the published bins, and the bins that a heatmap teacher's maps become."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from poseling.codecs import codec
from poseling.codecs.heatmap import Heatmap
from poseling.codecs.simcc import SimCC

SIZE = (192, 256)
PARTS = arrays(np.float64, (6, 2), elements=st.floats(0, 1))  # joints in parts of the input


def inside(parts, margin=0.0):
    """Joints (1, 6, 2) anywhere in the input, its outermost pixels' outer halves too, but for `margin`
    pixels.
    """
    return torch.from_numpy(-0.49 + margin + parts * (np.array(SIZE) - 0.02 - 2 * margin))[None]


def logits(targets, beta=10):
    """Logits whose softmax at `beta` is `targets`: softmax leaves a constant out."""
    return targets.clamp(min=1e-30).log() / beta + torch.arange(targets.shape[1])[:, None]


@pytest.mark.parametrize("split", [1, 2, 3])
@given(parts=PARTS)
@settings(max_examples=30, deadline=None)
def test_dark_is_exact_everywhere(split, parts):
    simcc, joints = SimCC(SIZE, split), inside(parts)
    targets, weight = simcc.encode(joints, torch.ones(1, 6, dtype=torch.float64))
    assert (weight == 1).all()
    for x in simcc.axes(targets):
        torch.testing.assert_close(x.sum(-1), torch.ones(1, 6, dtype=torch.float64))
    xy, score = simcc.decode(logits(targets))
    torch.testing.assert_close(xy, joints, atol=1e-6, rtol=0)
    assert (
        score >= math.exp(-0.125 / min(simcc.sigmas) ** 2) - 1e-6
    ).all()  # half a bin beside the nearest bin at most
    xy, _ = simcc.decode(logits(targets.float()))
    torch.testing.assert_close(xy, joints.float(), atol=0.01, rtol=0)


@given(parts=PARTS)
@settings(max_examples=30, deadline=None)
def test_plain_is_half_a_bin_off_at_most(parts):
    joints = inside(parts)
    for unbiased in (True, False):
        simcc = SimCC(SIZE, decoding="plain", unbiased=unbiased)
        kept = joints if unbiased else joints.clamp(min=0)
        xy, _ = simcc.decode(logits(simcc.encode(kept, torch.ones(1, 6))[0]))
        assert (xy - kept).abs().max() <= 0.25 + 1e-6


def test_the_published_bins():
    """RTMPose's figures, and mmpose's targets written out: a Gaussian on the rounded bin over sigma sqrt(2
    pi).
    """
    assert SimCC((192, 256)).sigmas == pytest.approx((4.9, 5.66), abs=0.005)
    assert SimCC((288, 384)).sigmas == pytest.approx((6.0, 6.93), abs=0.005)
    assert SimCC((192, 256), split=4).sigmas == pytest.approx((9.8, 11.31), abs=0.005)  # as many pixels
    assert SimCC((192, 256), sigma=6.0).sigmas == (6.0, 6.0)
    simcc = SimCC((192, 256), sigma=6.0, unbiased=False)
    targets, _ = simcc.encode(torch.tensor([[[80.3, 120.2]]], dtype=torch.float64), torch.ones(1, 1))
    x, y = simcc.axes(targets)
    assert (x.shape, y.shape) == ((1, 1, 384), (1, 1, 512))
    for line, centre in ((x[0, 0], 161), (y[0, 0], 240)):  # 160.6 and 240.4, rounded
        bins = np.arange(len(line))
        expected = np.exp(-((bins - centre) ** 2) / (2 * 6.0**2)) / (6.0 * np.sqrt(2 * np.pi))
        np.testing.assert_allclose(line.numpy(), expected, atol=1e-9)


def test_bins_cover_the_input_from_edge_to_edge():
    """The four bins of a two pixel wide input lie at -1/4, 1/4, 3/4 and 5/4."""
    simcc = SimCC((2, 4), sigma=1.0, decoding="plain")
    outputs = torch.zeros(1, 4, 12)
    for k in range(4):
        outputs[0, k, k] = outputs[0, k, 4 + 2 * k] = 1
    assert simcc.decode(outputs)[0].tolist() == [[[-0.25, -0.25], [0.25, 0.75], [0.75, 1.75], [1.25, 2.75]]]
    published = SimCC((2, 4), sigma=1.0, decoding="plain", unbiased=False)
    assert published.decode(outputs)[0].tolist() == [[[0, 0], [0.5, 1], [1, 2], [1.5, 3]]]


@given(parts=PARTS)
@settings(max_examples=30, deadline=None)
def test_mirroring_bins_is_mirroring_joints(parts):
    simcc, joints = SimCC(SIZE), inside(parts)
    mirrored = torch.stack([SIZE[0] - 1 - joints[..., 0], joints[..., 1]], -1)
    x, y = simcc.axes(simcc.encode(joints, torch.ones(1, 6))[0])
    flipped = torch.cat([x.flip(-1), y], -1)
    torch.testing.assert_close(simcc.encode(mirrored, torch.ones(1, 6))[0], flipped, atol=1e-12, rtol=0)
    # And for bins that are no Gaussians. (Of two bins that are equally high one is chosen, so let there be
    # none.)
    noise = torch.randn(1, 6, 384 + 512, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    x, y = simcc.axes(noise + logits(torch.cat([x, y], -1)))
    there, back = (simcc.decode(torch.cat([line, y], -1)) for line in (x, x.flip(-1)))
    torch.testing.assert_close(back[0][..., 0], SIZE[0] - 1 - there[0][..., 0], atol=1e-6, rtol=0)
    torch.testing.assert_close(back[0][..., 1], there[0][..., 1], atol=1e-6, rtol=0)
    torch.testing.assert_close(back[1], there[1])


@pytest.mark.parametrize("decoding", ["plain", "dark"])
def test_a_batch_is_many_single_ones(decoding):
    simcc = SimCC((64, 96), decoding=decoding)
    outputs = torch.randn(3, 5, 128 + 192, generator=torch.Generator().manual_seed(0))
    xy, score = simcc.decode(outputs)
    for b in range(3):
        for k in range(5):
            one_xy, one_score = simcc.decode(outputs[b : b + 1, k : k + 1])
            torch.testing.assert_close(one_xy[0, 0], xy[b, k], atol=1e-4, rtol=0)
            assert one_score.item() == pytest.approx(score[b, k].item(), rel=1e-6)


@pytest.mark.parametrize("decoding", ["plain", "dark"])
@pytest.mark.parametrize("place", [3, 128 + 7])
def test_a_nan_on_either_axis_is_seen_in_the_score(decoding, place):
    simcc = SimCC((64, 96), decoding=decoding)
    targets, _ = simcc.encode(torch.tensor([[[20.25, 40.25], [30.25, 50.25]]]), torch.ones(1, 2))
    outputs = logits(targets)
    outputs[0, 0, place] = torch.nan
    xy, score = simcc.decode(outputs)
    assert score.isnan().tolist() == [[True, False]]
    assert xy[0, 1].tolist() == pytest.approx([30.25, 50.25], abs=0.01)


def test_the_score_is_that_of_the_less_sure_axis():
    simcc = SimCC((64, 96), sigma=2.0)
    targets, _ = simcc.encode(
        torch.tensor([[[20.25, 40.25]]], dtype=torch.float64), torch.ones(1, 1)
    )  # in the middle of a bin
    x, y = (line.log() / 10 for line in simcc.axes(targets))
    assert simcc.decode(torch.cat([x, y], -1))[1].item() == pytest.approx(1, abs=1e-6)
    assert simcc.decode(torch.cat([x, y / 4], -1))[1].item() == pytest.approx(
        0.5, abs=1e-6
    )  # the fourth root is a Gaussian of twice the width
    assert simcc.decode(torch.cat([x / 9, y / 4], -1))[1].item() == pytest.approx(1 / 3, abs=1e-6)
    assert simcc.decode(torch.cat([4 * x, 4 * y], -1))[1].item() == 1  # surer than its targets
    assert SimCC((64, 96), sigma=2.0, beta=1.0).decode(10 * torch.cat([x / 9, y / 4], -1))[
        1
    ].item() == pytest.approx(1 / 3, abs=1e-6)
    flat = simcc.decode(torch.zeros(1, 1, 320))
    assert flat[1].item() == pytest.approx(2 * np.sqrt(2 * np.pi) / 192)
    assert flat[0].isfinite().all()


def test_noise_moves_dark_less_than_plain():
    """What the fit is for. Noise of 0.03 in the logits: the highest of the flat bins at the top is chance."""
    generator = torch.Generator().manual_seed(0)
    joints = 20 + 150 * torch.rand(1, 400, 2, generator=generator)
    targets, _ = SimCC(SIZE).encode(joints, torch.ones(1, 400))
    noisy = targets.clamp(min=1e-30).log() + 0.03 * torch.randn(targets.shape, generator=generator)
    error = {
        how: (SimCC(SIZE, decoding=how).decode(noisy)[0] - joints).abs().mean().item()
        for how in ("plain", "dark")
    }
    assert error["dark"] < 0.5 * error["plain"]


@given(peak=st.integers(0, 127), seed=st.integers(0, 99))
@settings(max_examples=60, deadline=None)
def test_dark_stays_within_half_a_sigma_of_the_peak(peak, seed):
    simcc = SimCC((64, 64), sigma=4.0)
    outputs = torch.rand(1, 1, 256, generator=torch.Generator().manual_seed(seed))
    outputs[..., [peak, 128 + peak]] = 1.5
    xy, _ = simcc.decode(outputs)
    assert (xy * 2 + 0.5 - peak).abs().max() <= 2 + 1e-4


@pytest.mark.parametrize("unbiased", [True, False])
def test_who_is_outside_weighs_nothing(unbiased):
    simcc = SimCC((64, 64), unbiased=unbiased)
    first, end = (-0.5, 63.5) if unbiased else (-0.25, 63.75)
    joints = [
        [first + 0.01, 30],
        [first - 0.01, 30],
        [end - 0.01, 30],
        [end + 0.01, 30],
        [30, -1e9],
        [np.nan, 3],
        [3, np.inf],
        [30, 30],
    ]
    weight = torch.full((1, 8), 0.7)
    weight[0, 7] = 0  # inside, but unlabelled
    targets, out = simcc.encode(torch.tensor([joints], dtype=torch.float32), weight)
    assert out[0].tolist() == pytest.approx([0.7, 0, 0.7, 0, 0, 0, 0, 0])
    assert targets.isfinite().all()
    assert targets.sum(-1)[0].tolist() == pytest.approx([2, 0, 2, 0, 0, 0, 0, 0])


def test_marginals_by_hand():
    """A Gaussian map summed over columns is a Gaussian, read where the bins are; here in NumPy, at two bins a
    heatmap pixel.
    """
    simcc = SimCC((64, 96), split=1)
    heatmap = simcc.heatmap
    assert heatmap == Heatmap((64, 96))
    assert heatmap.map_size == (16, 24)
    y, x = np.mgrid[:24, :16]
    maps = 0.6 * np.exp(-((x - 7.3) ** 2 / (2 * 1.7**2) + (y - 12.1) ** 2 / (2 * 2.5**2)))
    got = simcc.from_maps(torch.from_numpy(maps)[None, None], narrow=False)
    for line, centre, sigma, pixel in zip(
        simcc.axes(got), (7.3, 12.1), (1.7, 2.5), (63 / 15, 95 / 23), strict=True
    ):
        expected = np.exp(-((np.arange(line.shape[-1]) / pixel - centre) ** 2) / (2 * sigma**2))
        np.testing.assert_allclose(line[0, 0].numpy(), expected / expected.sum(), atol=1e-4)
    # Narrowed, the widths go down in the proportion of the codec's to the heatmap's Gaussian: a peak of 1.7
    # where 2 is usual becomes 0.85 of a sigma.
    narrow = simcc.from_maps(torch.from_numpy(maps)[None, None])
    for line, centre, part, sigma, pixel in zip(
        simcc.axes(narrow), (7.3, 12.1), (0.85, 1.25), simcc.sigmas, (63 / 15, 95 / 23), strict=True
    ):
        expected = np.exp(-((np.arange(line.shape[-1]) - centre * pixel) ** 2) / (2 * (part * sigma) ** 2))
        np.testing.assert_allclose(line[0, 0].numpy(), expected / expected.sum(), atol=1e-4)


@given(parts=PARTS, height=st.floats(0.05, 1))
@settings(max_examples=30, deadline=None)
def test_a_teachers_maps_become_the_targets_of_its_joints(parts, height):
    """For any size of peak, also at the border, where little of the Gaussian is left on the map."""
    simcc, joints = SimCC(SIZE), inside(parts)
    maps, weight = simcc.heatmap.encode(joints, torch.ones(1, 6, dtype=torch.float64))
    assert (weight == 1).all()
    torch.testing.assert_close(
        simcc.from_maps(height * maps), simcc.encode(joints, weight)[0], atol=1e-6, rtol=0
    )


def test_as_the_store_keeps_them_too():
    """Eight bits, nothing below 0.03: a fiftieth of a pixel in the mean."""
    simcc = SimCC(SIZE)
    joints = 8 + 150 * torch.rand(1, 300, 2, generator=torch.Generator().manual_seed(0))
    maps, _ = simcc.heatmap.encode(joints, torch.ones(1, 300))
    kept = torch.where(maps < 0.03, 0.0, (255 * maps).round() / 255)
    error = (simcc.decode(logits(simcc.from_maps(kept)))[0] - joints).abs()
    assert error.mean() < 0.03
    assert error.max() < 0.3


def test_a_faint_ground_does_not_add_up_to_a_wall():
    simcc = SimCC(SIZE)
    joint = torch.tensor([[[40.0, 200.0]]])
    maps, _ = simcc.heatmap.encode(joint, torch.ones(1, 1))
    xy, score = simcc.decode(logits(simcc.from_maps(maps + 0.01)))
    torch.testing.assert_close(xy, joint, atol=0.1, rtol=0)
    assert score.item() > 0.9
    assert simcc.decode(logits(simcc.from_maps(maps + 0.01, narrow=False)))[1].item() < 0.3


def test_maps_without_a_peak_and_of_another_size():
    simcc = SimCC(SIZE)
    targets = simcc.from_maps(torch.stack([torch.zeros(64, 48), torch.full((64, 48), -0.2)])[None])
    assert not targets.any()
    with pytest.raises(ValueError, match=r"maps are 64x48, SimCC for 192x256 learns from \(48, 64\)"):
        simcc.from_maps(torch.zeros(1, 1, 48, 64))


def test_the_spec_records_it_with_its_numbers():
    simcc = SimCC((192, 256), decoding="plain", unbiased=False)
    fields = json.loads(json.dumps(simcc.fields()))
    assert fields["sigma"] == pytest.approx([4.899, 5.657], abs=1e-3)
    assert codec(fields) == simcc
    assert codec({"name": "simcc", "size": [64, 64], "sigma": 6}) == SimCC(
        (64, 64), sigma=(6.0, 6.0), beta=1.0
    )  # a file of a time before beta


def test_wrong_numbers_are_told():
    with pytest.raises(ValueError, match="use plain or dark"):
        SimCC(SIZE, decoding="quarter")
    with pytest.raises(ValueError, match="whole number of 1 or more"):
        SimCC(SIZE, split=0)
    with pytest.raises(ValueError, match="above 0"):
        SimCC(SIZE, sigma=(4.0, 0.0))
    with pytest.raises(ValueError, match="beta is 0"):
        SimCC(SIZE, beta=0)
