import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from poseling.evaluate.motion import accel, bone_spread, jitter, lag, motion
from poseling.skeleton import MOVNECT15, Skeleton

ARM = Skeleton("arm", ("shoulder", "elbow", "wrist"), (0, 0, 1))


def wave(frames, period, shift=0.0, joints=2, size=2):
    """(T, K, D) joints that swing with a period in frames, each in its own phase, `shift` frames late."""
    phase = np.arange(joints)[:, None] + 2 * np.arange(size)
    return np.sin(2 * np.pi * (np.arange(frames)[:, None, None] - shift) / period + phase)


def low_pass(points, share):
    """A first-order low-pass, y += share * (x - y)."""
    out = [points[0]]
    for point in points[1:]:
        out.append(out[-1] + share * (point - out[-1]))
    return np.array(out)


def test_jitter_by_hand():
    # x = 0, 1, 0, 4 has the second differences -2 and 5; the other joint moves evenly.
    points = np.zeros((4, 2, 2))
    points[:, 0, 0] = (0, 1, 0, 4)
    points[:, 1, 1] = (0, 3, 6, 9)
    assert jitter(points) == (2 + 5 + 0 + 0) / 4
    assert jitter(np.concatenate([points, points[..., :1]], -1)) == pytest.approx(
        1000 * (2 + 5) * 2**0.5 / 4
    )  # metres, so mm


def test_accel_against_a_still_truth_is_jitter():
    points = np.random.default_rng(0).normal(size=(20, 3, 3))
    assert accel(points, np.ones_like(points)) == pytest.approx(jitter(points))
    assert accel(points, points + np.arange(20)[:, None, None]) == pytest.approx(0, abs=1e-9)
    truth = np.zeros((3, 1, 3))
    truth[1] = (0.003, 0.004, 0)
    assert accel(np.zeros((3, 1, 3)), truth) == pytest.approx(10)


def test_frames_that_are_nan_are_left_out():
    points = np.zeros((9, 1, 2))
    points[1] = 1
    points[6] = np.nan
    # second differences around frames 1 to 4 are there: -2, 1, 0, 0 times the root of 2
    assert jitter(points) == pytest.approx(3 * 2**0.5 / 4)
    with pytest.raises(ValueError, match="no joint is known"):
        jitter(np.full((5, 1, 2), np.nan))


@settings(deadline=None)
@given(st.floats(-4, 4), st.floats(12, 200), st.integers(1, 4), st.sampled_from([2, 3]))
def test_lag_of_a_shifted_wave(shift, period, joints, size):
    assert lag(
        wave(150, period, shift, joints, size), wave(150, period, 0, joints, size), limit=5
    ) == pytest.approx(shift, abs=0.02)


def test_lag_of_a_walk_is_exact():
    walk = np.arange(60)[:, None, None] * np.array([[3.0, 1.0]])
    assert lag(walk - 2.25 * np.array([3.0, 1.0]), walk) == pytest.approx(2.25)


@pytest.mark.parametrize("share", [0.2, 0.4, 0.7])
def test_lag_of_a_low_pass_is_its_group_delay(share):
    """(1 - share) / share frames for movements that are slow beside it."""
    raw = wave(900, 240)
    assert lag(low_pass(raw, share)[100:], raw[100:]) == pytest.approx((1 - share) / share, abs=0.03)


@pytest.mark.parametrize("period", [20, 40])
def test_lag_of_a_low_pass_at_one_frequency_is_its_phase_delay(period):
    share, turn = 0.4, 2 * np.pi / period
    raw = wave(1000, period)
    response = share / (1 - (1 - share) * np.exp(-1j * turn))
    assert lag(low_pass(raw, share)[100:], raw[100:], limit=8) == pytest.approx(
        -np.angle(response) / turn, abs=0.03
    )


def test_lag_is_nan_where_it_cannot_be_known():
    still = np.ones((80, 2, 3))
    assert np.isnan(lag(still, still))
    walk = np.arange(80)[:, None, None] * np.ones((1, 3))
    assert np.isnan(lag(walk - 20, walk))  # later than the limit
    assert np.isnan(lag(np.full((80, 1, 3), np.nan), walk))


def test_lag_leaves_out_nan_frames():
    late = wave(150, 40, 1.5)
    late[30:60, 0] = np.nan
    assert lag(late, wave(150, 40)) == pytest.approx(1.5, abs=0.02)


@pytest.mark.parametrize("share", [0.3, 0.6])
def test_noise_that_both_share_hardly_draws_the_lag_to_nothing(share):
    """Noise of half the movement, in the raw sequence and so in what is made of it. Without the window these
    lags would be read as 0.4 and 0.1.
    """
    truth = 2 * wave(1200, 60, joints=6)
    raw = truth + np.random.default_rng(0).normal(0, 1, truth.shape)
    filtered = low_pass(raw, share)
    exact = lag(low_pass(truth, share)[100:], truth[100:])
    assert lag(filtered, truth) == pytest.approx(exact, abs=0.1)
    assert lag(filtered, raw) == pytest.approx(exact, abs=0.15)


def test_motion_has_jitter_and_lag_together():
    rng = np.random.default_rng(0)
    truth = 0.2 * wave(400, 90, joints=5, size=3)
    raw = truth + rng.normal(0, 0.01, truth.shape)
    filtered = low_pass(raw, 0.5)
    told = motion(filtered, raw, fps=25, truth=truth)
    assert told.jitter_before == jitter(raw)
    assert told.jitter_after == jitter(filtered)
    assert told.ratio == pytest.approx(told.jitter_after / told.jitter_before)
    assert told.ratio < 0.5
    assert told.lag == pytest.approx(1, abs=0.1)
    assert told.lag_ms == pytest.approx(told.lag * 40)
    assert told.error_before == pytest.approx(1000 * np.linalg.norm(raw - truth, axis=-1).mean())
    assert told.error_after == pytest.approx(1000 * np.linalg.norm(filtered - truth, axis=-1).mean())
    without = motion(filtered, raw, fps=25)
    assert (without.error_before, without.error_after) == (None, None)
    assert without.lag == lag(filtered, raw, limit=12)
    assert np.isnan(motion(np.zeros((40, 1, 2)), np.zeros((40, 1, 2)), fps=25).ratio)


def test_shapes_and_lengths_are_checked():
    with pytest.raises(ValueError, match="2 frames; this needs at least 3"):
        jitter(np.zeros((2, 1, 2)))
    with pytest.raises(ValueError, match="44 frames; this needs at least 45"):
        lag(np.zeros((44, 1, 2)), np.zeros((44, 1, 2)))
    with pytest.raises(ValueError, match="expected the same"):
        lag(np.zeros((40, 1, 2)), np.zeros((40, 1, 3)))
    with pytest.raises(ValueError, match="expected the same"):
        jitter(np.zeros((40, 1, 4)))


def test_bone_spread_by_hand():
    xyz = np.zeros((4, 3, 3))
    xyz[:, 1, 0] = (1, 1, 1, 1)
    xyz[:, 2, 0] = (2, 4, np.nan, 3)  # a forearm of 1, 3 and 2: mean 2, deviation sqrt(2 / 3)
    spread, largest = bone_spread(xyz, ARM)
    np.testing.assert_allclose(spread, [0, (2 / 3) ** 0.5 / 2])
    assert largest == spread[1]


@settings(deadline=None)
@given(st.integers(0, 1000), st.floats(0.1, 10))
def test_bone_spread_does_not_see_size_or_place(seed, scale):
    rng = np.random.default_rng(seed)
    xyz = rng.normal(size=(6, 15, 3))
    there = rng.normal(size=(6, 1, 3))
    np.testing.assert_allclose(
        bone_spread(scale * xyz + there, MOVNECT15)[0], bone_spread(xyz, MOVNECT15)[0], atol=1e-9
    )


def test_bones_that_are_never_there():
    xyz = np.zeros((3, 3, 3))
    xyz[:, 1, 0] = 1
    xyz[:, 2] = np.nan
    spread, largest = bone_spread(xyz, ARM)
    assert np.isnan(spread[1])
    assert largest == 0
    with pytest.raises(ValueError, match="no bone of skeleton arm"):
        bone_spread(np.zeros((3, 3, 3)), ARM)
