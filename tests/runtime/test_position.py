"""Where a person stands: exact for exact joints, the optimum for others, and nothing where nothing can be
known.
"""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import least_squares

from poseling.geometry import project
from poseling.runtime.position import guessed_camera, position, weak_position

CAMERA = np.array([900.0, 950.0, 640.0, 350.0])


def body(seed: int) -> np.ndarray:
    """(15, 3) joints in metres about the first, which is the root."""
    xyz = np.random.default_rng(seed).uniform((-0.4, -0.9, -0.3), (0.4, 0.9, 0.3), (15, 3))
    return xyz - xyz[0]


def seen(xyz: np.ndarray, place: np.ndarray) -> np.ndarray:
    """Not by `project`, which rounds to float32."""
    there = xyz + place
    return there[:, :2] / there[:, 2:] * CAMERA[:2] + CAMERA[2:]


places = st.tuples(st.floats(-3, 3), st.floats(-2, 2), st.floats(2, 30)).map(np.array)
seeds = st.integers(0, 1000)


@settings(max_examples=30)
@given(seeds, places)
def test_exact_joints_give_the_exact_position(seed: int, place: np.ndarray):
    xyz = body(seed)
    np.testing.assert_allclose(
        position(xyz, seen(xyz, place), np.ones(15), CAMERA), place, rtol=1e-7, atol=1e-7
    )
    np.testing.assert_allclose(
        position(xyz, project(xyz + place, CAMERA), np.ones(15), CAMERA), place, rtol=1e-3, atol=1e-3
    )


@settings(max_examples=30)
@given(seeds, places)
def test_for_joints_that_do_not_agree_it_is_the_least_squares(seed: int, place: np.ndarray):
    noise = np.random.default_rng(seed)
    xyz, weight = body(seed), noise.uniform(0.1, 1, 15)
    xy = seen(xyz, place) + noise.normal(0, 5, (15, 2))

    def residuals(t: np.ndarray) -> np.ndarray:
        u, v = (xy - CAMERA[2:]).T
        x, y, z = (xyz + t).T
        return np.concatenate(
            [np.sqrt(weight) * (u / CAMERA[0] * z - x), np.sqrt(weight) * (v / CAMERA[1] * z - y)]
        )

    np.testing.assert_allclose(
        position(xyz, xy, weight, CAMERA),
        least_squares(residuals, place, xtol=1e-14, ftol=1e-14).x,
        rtol=1e-4,
        atol=1e-4,
    )


def test_joints_without_weight_or_place_do_not_count():
    xyz, place = body(0), np.array([0.3, -0.2, 4.0])
    xy, weight = seen(xyz, place), np.ones(15)
    xy[3], weight[3] = (1e5, -1e5), 0
    xy[4], xyz[5], weight[6] = np.nan, np.inf, np.nan
    np.testing.assert_allclose(position(xyz, xy, weight, CAMERA), place, rtol=1e-6)
    np.testing.assert_allclose(weak_position(xyz, xy, weight, CAMERA), place, rtol=0.1, atol=0.05)


def test_weak_perspective_is_exact_for_a_flat_person_and_near_for_one_far_away():
    flat, place = body(1) * (1, 1, 0), np.array([0.5, 0.1, 5.0])
    np.testing.assert_allclose(weak_position(flat, seen(flat, place), np.ones(15), CAMERA), place, rtol=1e-9)
    xyz = body(1)
    np.testing.assert_allclose(
        weak_position(xyz, seen(xyz, 8 * place), np.ones(15), CAMERA), 8 * place, rtol=0.005, atol=0.03
    )


@pytest.mark.parametrize("how", [position, weak_position])
def test_an_undetermined_position_is_nan(how):
    xyz, xy = body(0), seen(body(0), np.array([0, 0, 4.0]))
    nothing = np.zeros(15)
    one = nothing + (np.arange(15) == 3)
    assert np.isnan(how(xyz, xy, nothing, CAMERA)).all()
    assert np.isnan(how(xyz, xy, one, CAMERA)).all()
    assert np.isnan(how(xyz, np.full((15, 2), 100.0), np.ones(15), CAMERA)).all()  # all in one pixel


def test_a_mirrored_person_is_behind_the_camera_and_has_no_position():
    xyz, place = body(0), np.array([0, 0, 4.0])
    mirrored = 2 * CAMERA[2:] - seen(xyz, place)
    assert np.isnan(position(xyz, mirrored, np.ones(15), CAMERA)).all()


def test_an_invalid_camera_is_refused():
    for camera in (np.ones(3), np.array([0.0, 1, 1, 1]), np.array([np.nan, 1, 1, 1])):
        with pytest.raises(ValueError, match="give fx fy cx cy in pixels"):
            position(body(0), np.zeros((15, 2)), np.ones(15), camera)


@settings(max_examples=30)
@given(st.floats(0.7, 1.5))
def test_a_wrong_focal_length_is_a_wrong_distance(factor: float):
    """A person far away, by weak perspective: f times too long is f times too far, and not moved in the
    image.
    """
    xyz, place = body(2) * (1, 1, 0), np.array([0.5, 0.2, 9.0])
    camera = CAMERA * (factor, factor, 1, 1)
    found = weak_position(xyz, seen(xyz, place), np.ones(15), camera)
    np.testing.assert_allclose(found[2] / place[2], factor, rtol=1e-6)
    np.testing.assert_allclose(project(found, camera), project(place, CAMERA), rtol=1e-4)


def test_the_guess():
    assert guessed_camera((720, 1280)).tolist() == [1280, 1280, 359.5, 639.5]
