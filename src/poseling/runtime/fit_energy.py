"""The energy of a fitted body, which `skeleton_fit` explains, and its minimiser."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from poseling.runtime.kinematics import (
    FREE,
    HIGH,
    LOW,
    TURNS,
    Body,
)
from poseling.skeleton import MOVNECT15

Array = NDArray[np.float64]
IK, PROJECTION, SMOOTH, DEPTH = 1.0, 44.0, 0.07, 0.11
STILL = 1e-3  # metres squared for a radian squared
REST = {"spine": (1e-3, 0, 0), "knee": (0, 0, 1e-3), "elbow": (0, 0, 1e-3)}  # likewise, about x, y and z
NEAREST, FARTHEST = (
    0.2,
    100.0,
)  # metres in front of the camera: the nearest depth that is projected, the farthest start

ENOUGH, NEARLY = (
    1e-3,
    0.05,
    # a step that reduces the energy by a smaller part is the last, in a first frame and in later ones
)

_FREE_LOW, _FREE_HIGH = LOW.ravel()[FREE], HIGH.ravel()[FREE]
_PULL = STILL + np.array([REST.get(TURNS[f // 3].split("_")[-1], (0, 0, 0))[f % 3] for f in FREE])
POINTS, _UNKNOWNS = len(MOVNECT15), 3 + len(FREE) + 3  # the pelvis' turn, the joints' turns, the place


@dataclass(frozen=True, eq=False)
class Evidence:
    """The terms of one frame, and the square roots of their weights: the energy is the sum of squares of
    `residuals`.

    xyz (15, 3) metres from the pelvis and xy (15, 2) in focal lengths from the principal point, with weights
    (15, 1); path (15, 3), each point extrapolated from the previous frames, with weights (15, 3); turns (29,)
    of the previous frame, for `STILL`.
    """

    xyz: Array
    xyz_weight: Array
    xy: Array
    xy_weight: Array
    path: Array
    path_weight: Array
    turns: Array

    def residuals(self, body: Body, place: Array) -> Array:
        """(149,) for a body with its pelvis at place (3,) in camera axes."""
        points = body.points + place
        image = points[:, :2] / np.maximum(points[:, 2:], NEAREST)
        turns = body.turns.ravel()[FREE]
        parts = (
            (body.points - self.xyz) * self.xyz_weight,
            (image - self.xy) * self.xy_weight,
            (points - self.path) * self.path_weight,
            _PULL_ROOT * (turns - self.turns * _HELD),
        )
        return np.concatenate([part.ravel() for part in parts])

    def energy(self, body: Body, place: Array) -> float:
        residuals = self.residuals(body, place)
        return float(residuals @ residuals)

    def jacobian(self, body: Body, place: Array) -> Array:
        """(35, 149) the residuals' change with the pelvis' turn, the joints' turns and the place."""
        moves = np.empty((_UNKNOWNS, 3 * POINTS))
        moves[:-3] = body.jacobian().reshape(_UNKNOWNS - 3, -1)
        moves[-3:] = _PLACED
        points = body.points + place
        depth = np.maximum(points[:, 2:], NEAREST)
        look = np.zeros((POINTS, 3, POINTS, 2))  # how the image changes with the points
        shift = self.xy_weight / depth
        look[_EACH, 0, _EACH, 0] = look[_EACH, 1, _EACH, 1] = shift[:, 0]
        look[_EACH, 2, _EACH] = -(points[:, 2:] > NEAREST).astype(np.float64) * shift * points[:, :2] / depth
        out = np.zeros((_UNKNOWNS, len(_PULL) + 8 * POINTS))
        np.multiply(moves[:-3], self.xyz_weight.repeat(3), out=out[:-3, : 3 * POINTS])
        np.matmul(moves, look.reshape(3 * POINTS, -1), out=out[:, 3 * POINTS : 5 * POINTS])
        np.multiply(moves, self.path_weight.ravel(), out=out[:, 5 * POINTS : 8 * POINTS])
        out[_TURN_ROWS, _TURN_COLUMNS] = _PULL_ROOT
        return out


_PLACED = np.tile(np.eye(3), POINTS)
_EACH = np.arange(POINTS)
_PULL_ROOT = np.sqrt(_PULL)
_HELD = (
    STILL / _PULL
)  # two squares that pull one turn, to where it was and to zero, are one that pulls it between

_TURN_ROWS, _TURN_COLUMNS = 3 + np.arange(len(FREE)), 8 * POINTS + np.arange(len(FREE))


def minimise(
    body: Body,
    place: Array,
    evidence: Evidence,
    lengths: Array,
    steps: int,
    placed: bool = True,
    enough: float = ENOUGH,
) -> tuple[Body, Array]:
    """The body and position with the least energy near these: `steps` of Levenberg and Marquardt, with the
    rotation limits as an active set.

    A rotation at its limit that the energy would push beyond it is left out of a step, and a step ends at the
    limits. A step that reduces the energy by less than `enough` of it is the last. Without `placed` the
    position stays.
    """
    residuals = evidence.residuals(body, place)
    energy = residuals @ residuals
    damping = 1e-4
    held = np.full(_UNKNOWNS, not placed)
    held[:3] = False
    for _ in range(steps):
        jacobian = evidence.jacobian(body, place)
        gradient = jacobian @ residuals
        turns = body.turns.ravel()[FREE]
        held[3:-3] = np.where(gradient[3:-3] > 0, turns <= _FREE_LOW, turns >= _FREE_HIGH)
        if held.any():
            jacobian[held], gradient[held] = 0, 0
        normal = jacobian @ jacobian.T
        normal.ravel()[:: _UNKNOWNS + 1] += damping
        step = np.asarray(np.linalg.solve(normal, -gradient), np.float64)
        new_body, new_place = body.moved(step[:-3], lengths), place + step[-3:]
        new_residuals = evidence.residuals(new_body, new_place)
        new_energy = new_residuals @ new_residuals
        if not new_energy < energy:
            damping *= 30
            continue
        done = energy - new_energy < enough * energy
        body, place, residuals, energy = new_body, new_place, new_residuals, new_energy
        damping = max(damping / 10, 1e-7)
        if done:
            break
    return body, place
