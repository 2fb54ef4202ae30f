"""Quaternions w x y z, and the body's turns as all that wears them wants them: in a world with y up."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from poseling.runtime.kinematics import JOINTS, PARENTS

Array = NDArray[np.float64]

_PARENT = [JOINTS.index(PARENTS[joint]) if PARENTS[joint] else -1 for joint in JOINTS]
# For each joint the one on the other side, itself where there is none.
_SWAP = {"left_": "right_", "right_": "left_"}
_OTHER = [
    JOINTS.index(_SWAP.get(j[: j.find("_") + 1], j[: j.find("_") + 1]) + j[j.find("_") + 1 :]) for j in JOINTS
]


def multiply(first: NDArray[np.floating], second: NDArray[np.floating]) -> Array:
    """(..., 4) the turn `second`, and then `first`.

    >>> half = np.array([0.0, 1, 0, 0])
    >>> multiply(half, half).tolist()
    [-1.0, 0.0, 0.0, 0.0]
    """
    a, b = np.asarray(first, np.float64), np.asarray(second, np.float64)
    w, v, other, u = a[..., :1], a[..., 1:], b[..., :1], b[..., 1:]
    return np.concatenate(
        [w * other - (v * u).sum(-1, keepdims=True), w * u + other * v + np.cross(v, u)], -1
    )


def inverse(turn: NDArray[np.floating]) -> Array:
    """(..., 4) the turn back, of unit quaternions."""
    return np.asarray(turn, np.float64) * [1, -1, -1, -1]


def rotate(turn: NDArray[np.floating], vector: NDArray[np.floating]) -> Array:
    """(..., 3) vectors turned by unit quaternions (..., 4).

    >>> rotate(np.array([0.5, 0.5, 0.5, 0.5]), np.array([1.0, 2, 3])).tolist()
    [3.0, 1.0, 2.0]
    """
    q, v = np.asarray(turn, np.float64), np.asarray(vector, np.float64)
    twice = 2 * np.cross(q[..., 1:], v)
    return v + q[..., :1] * twice + np.cross(q[..., 1:], twice)


def between(first: NDArray[np.floating], second: NDArray[np.floating]) -> Array:
    """(4,) the smallest turn that leads one vector's direction to the other's; half a turn about an axis
    across where they are opposite.
    """
    a, b = (np.asarray(v, np.float64) / np.linalg.norm(v) for v in (first, second))
    if a @ b < -1 + 1e-9:
        across = np.cross(a, [1.0, 0, 0] if abs(a[0]) < 0.9 else [0, 1.0, 0])
        return np.concatenate([[0.0], across / np.linalg.norm(across)])
    turn = np.concatenate([[1 + a @ b], np.cross(a, b)])
    return np.asarray(turn / np.linalg.norm(turn))


def part(turn: NDArray[np.floating], share: float) -> Array:
    """(4,) so much of a turn, about the same axis: 0 is none of it, 1 all.

    >>> part(np.array([0.0, 1, 0, 0]), 0.5).round(6).tolist()
    [0.707107, 0.707107, 0.0, 0.0]
    """
    q = np.asarray(turn, np.float64)
    q = -q if q[0] < 0 else q
    sine = float(np.linalg.norm(q[1:]))
    if sine < 1e-12:
        return np.array([1.0, 0, 0, 0])
    angle = float(np.arctan2(sine, q[0])) * share
    return np.concatenate([[np.cos(angle)], np.sin(angle) * q[1:] / sine])


def upright(rotations: NDArray[np.floating]) -> Array:
    """(13, 4) the turns of `kinematics.JOINTS` as `Fitted` has them, with the pelvis' in a world of x right
    of the picture, y up and z to the camera.

    Who stands upright and looks into the camera has the identity there.
    """
    turned = np.array(rotations, np.float64)
    turned[0] = multiply(
        np.array([0.0, 1, 0, 0]), turned[0]
    )  # the camera's y is down and its z away: half a turn about x
    turned[0] *= -1 if turned[0, 0] < 0 else 1
    return turned


def mirrored(rotations: NDArray[np.floating]) -> Array:
    """(13, 4) upright turns of the person in a mirror: left is right, and x is turned round."""
    return np.asarray(rotations, np.float64)[_OTHER] * [1, 1, -1, -1]


def whole(rotations: NDArray[np.floating]) -> Array:
    """(13, 4) turns relative to the parents to those from the world's axes."""
    turns = np.array(rotations, np.float64)
    for joint, parent in enumerate(_PARENT):
        if parent >= 0:
            turns[joint] = multiply(turns[parent], turns[joint])
    return turns
