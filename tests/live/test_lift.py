"""The lift from a picture: against bodies whose depth is known."""

from __future__ import annotations

import numpy as np
import pytest
from tests.live.test_golden import CAMERA, seen, swinging

from poseling.geometry import project
from poseling.live.turns import upright
from poseling.runtime.kinematics import BONES, JOINTS, SHARES, TURNS, Body, stature
from poseling.runtime.lift import Lifter
from poseling.skeleton import BODY19, COCO17, MOVNECT15, Skeleton

LENGTHS = 1.75 * np.array([SHARES[bone] for bone in BONES])
FACING = np.diag([1.0, -1.0, -1.0])


def posed(root: np.ndarray = FACING, **turns: tuple[float, float, float]) -> Body:
    """A body with some joints turned, in degrees as `kinematics.Limit` counts them."""
    angles = np.zeros((len(TURNS), 3))
    for joint, degrees in turns.items():
        angles[TURNS.index(joint)] = np.deg2rad(degrees)
    return Body.turned(root, angles, LENGTHS)


# Standing with hanging arms.
STANDING = {"left_shoulder": (0, 0, -75), "right_shoulder": (0, 0, 75)}


def lifted(body: Body, frames: int = 5) -> np.ndarray:
    """(15, 3) what is lifted of a body that stands still 3 metres away, after some frames."""
    points = np.repeat((body.points + [0, 0, 3])[None], frames, 0)
    xy, _ = seen(points)
    lifter = Lifter(BODY19, 1.75)
    for t in range(frames):
        fitted = lifter.fit(xy[t], np.full(19, 0.9), CAMERA, t / 30)
    return fitted.xyz


def angle(xyz: np.ndarray, start: str, hinge: str, end: str) -> float:
    a, b, c = (xyz[MOVNECT15.index(joint)] for joint in (start, hinge, end))
    cosine = (a - b) @ (c - b) / np.linalg.norm(a - b) / np.linalg.norm(c - b)
    return float(np.rad2deg(np.arccos(cosine)))


def test_who_squats_before_the_camera_has_knees_in_front():
    """Thighs that look short point to the camera, and not away from it: hips bend forward."""
    body = posed(
        **STANDING,
        left_hip=(-80, 0, 10),
        right_hip=(-80, 0, -10),
        left_knee=(90, 0, 0),
        right_knee=(90, 0, 0),
    )
    xyz = lifted(body)
    for side in ("left", "right"):
        assert xyz[MOVNECT15.index(f"{side}_knee"), 2] < xyz[MOVNECT15.index(f"{side}_hip"), 2] - 0.2
        assert angle(xyz, f"{side}_hip", f"{side}_knee", f"{side}_ankle") == pytest.approx(90, abs=25)


def test_who_squats_with_the_back_to_it_has_them_behind():
    """The same picture but for left and right: away from the camera."""
    body = posed(
        np.diag([-1.0, -1.0, 1.0]),
        **STANDING,
        left_hip=(-80, 0, 10),
        right_hip=(-80, 0, -10),
        left_knee=(90, 0, 0),
        right_knee=(90, 0, 0),
    )
    xyz = lifted(body)
    for side in ("left", "right"):
        assert xyz[MOVNECT15.index(f"{side}_knee"), 2] > xyz[MOVNECT15.index(f"{side}_hip"), 2] + 0.2


@pytest.mark.parametrize("degrees", [40, 80, 120])
def test_an_elbow_that_is_bent_in_the_picture_is_bent_so(degrees: float):
    body = posed(
        left_elbow=(0, -degrees, 0), left_shoulder=(-90, 0, 0)
    )  # the upper arm's twist brings the forearm up
    assert angle(lifted(body), "left_shoulder", "left_elbow", "left_wrist") == pytest.approx(
        180 - degrees, abs=12
    )


@pytest.mark.parametrize("sign", [1, -1])
def test_who_turns_aside_is_turned_to_where_the_nose_points(sign: float):
    c, s = np.cos(sign * 0.9), np.sin(sign * 0.9)
    body = posed(FACING @ np.array([[c, 0, s], [0, 1, 0], [-s, 0, c]]), **STANDING)
    xyz = lifted(body)
    across = xyz[MOVNECT15.index("left_shoulder")] - xyz[MOVNECT15.index("right_shoulder")]
    true = body.points[MOVNECT15.index("left_shoulder")] - body.points[MOVNECT15.index("right_shoulder")]
    assert np.sign(across[2]) == np.sign(true[2])


def test_it_agrees_with_the_picture_and_keeps_its_bones():
    points, _ = swinging(20)
    xy, score = seen(points)
    lifter = Lifter(BODY19, 1.75)
    off = []
    for t in range(20):
        fitted = lifter.fit(xy[t], score[t], CAMERA, t / 30)
        assert fitted.root is not None
        assert stature(fitted.lengths) == pytest.approx(1.75)
        known = [j for j in MOVNECT15.joints if j in BODY19.joints]
        shown = project(fitted.xyz + fitted.root, CAMERA)[[MOVNECT15.index(j) for j in known]]
        off.append(np.linalg.norm(shown - xy[t][[BODY19.index(j) for j in known]], axis=-1))
    assert np.median(off) < 8  # pixels, of a person of some 370


def test_a_network_without_neck_and_nose_will_do():
    plain = Skeleton("limbs", COCO17.joints[5:], tuple(max(0, p - 5) for p in COCO17.parents[5:]))
    points, _ = swinging(3)
    xy, _ = seen(points)
    lifter = Lifter(plain)
    for t in range(3):
        fitted = lifter.fit(xy[t][5:17], np.ones(12), CAMERA, t / 30)
    assert np.isfinite(fitted.xyz).all()
    assert upright(fitted.rotations).shape == (len(JOINTS), 4)


def test_nobody_and_nonsense_give_numbers():
    lifter = Lifter(BODY19)
    for t, (xy, score) in enumerate(
        [
            (np.zeros((19, 2)), np.zeros(19)),
            (np.full((19, 2), np.nan), np.ones(19)),
            (np.ones((19, 2)), np.ones(19)),
        ]
    ):
        fitted = lifter.fit(xy, score, CAMERA, t / 30)
        assert np.isfinite(fitted.xyz).all()
        assert np.isfinite(fitted.rotations).all()
    with pytest.raises(ValueError, match="19 joints"):
        lifter.fit(np.zeros((17, 2)), np.zeros(17), CAMERA, 0.0)
    with pytest.raises(ValueError, match="not a person"):
        Lifter(BODY19, 17.5)
