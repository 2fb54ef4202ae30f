"""Joint angles of a body from its points in closed form, within the joint limits: where a fit starts."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from poseling.runtime.kinematics import (
    CARRIERS,
    CENTRES,
    CROSS,
    HIGH,
    JOINTS,
    LOW,
    PELVIS,
    POINTS,
    SWING,
    TURNS,
    TWIST,
    WAYS,
    exponential,
)

Array = NDArray[np.float64]
# For the closed form. A limb: its upper joint, its hinge, the points at the start, the hinge and the
# end, and where the end goes when the hinge bends.
_LIMBS = tuple(f"{side}_{joint}" for joint in ("hip", "shoulder") for side in ("left", "right"))
_UPPER = np.array([TURNS.index(joint) for joint in _LIMBS])
_HINGE = np.array(
    [TURNS.index(joint.replace("hip", "knee").replace("shoulder", "elbow")) for joint in _LIMBS]
)

_LIMB_POINTS = np.array(
    [
        [
            POINTS.index(j)
            for j in (
                joint,
                joint.replace("hip", "knee").replace("shoulder", "elbow"),
                joint.replace("hip", "ankle").replace("shoulder", "wrist"),
            )
        ]
        for joint in _LIMBS
    ]
)

_BEND = np.array([[0, 0, -1.0]] * 2 + [[0, 0, 1.0]] * 2)
_ASIDE = np.cross(TWIST[_UPPER], _BEND)
_BRANCHES = np.array([TURNS.index(joint) for joint in ("neck", "left_collar", "right_collar")])
_BRANCH_ENDS = np.array([POINTS.index(point) for point in ("head_top", "left_shoulder", "right_shoulder")])
_NECK, _HIPS, _SHOULDERS = (
    POINTS.index("neck"),
    [POINTS.index("left_hip"), POINTS.index("right_hip")],
    [POINTS.index("left_shoulder"), POINTS.index("right_shoulder")],
)

_BONE = np.array(
    [WAYS[np.flatnonzero(j == CARRIERS)[0]] for j in range(1, len(JOINTS))]
)  # (12, 3) the direction of each joint's bone at rest

_BONE_CROSS = (_BONE @ CROSS).reshape(-1, 3, 3)
_STRAIGHT = np.sin(np.deg2rad(18))  # below this bend the twist of the upper part is undetermined


def closed_form(xyz: Array, known: NDArray[np.bool_], root: Array, turns: Array) -> tuple[Array, Array]:
    """The pelvis' rotation (3, 3) and the turns (12, 3) within limits for points xyz (15, 3) from the pelvis,
    one after the other down the tree.

    Every bone takes the direction that is asked for, as far as its joint's limits go; a limb's plane tells
    how its upper part is twisted. Of what is not known (15,) or cannot be seen, `root` and `turns` stay. The
    pelvis itself counts as known.
    """
    known = known | (np.arange(len(known)) == PELVIS)
    across = [pair for pair in (_HIPS, _SHOULDERS) if known[pair].all()]
    trunk = xyz[_NECK] - xyz[PELVIS] if known[_NECK] else root[:, 1]
    new = _frame(xyz[across[0][0]] - xyz[across[0][1]] if across else root[:, 0], trunk, first=0)
    if new is not None:
        # The line of the hips does not determine the pelvis' pitch: the spine stays as bent as it was.
        root = new @ exponential(np.array([[-turns[0, 0], 0.0, 0.0]]))[0][0] if known[_NECK] else new
    turns = turns.copy()
    if known[_NECK]:
        wide = xyz[_SHOULDERS[0]] - xyz[_SHOULDERS[1]] if known[_SHOULDERS].all() else root[:, 0]
        chest = _frame(wide, trunk, first=1)
        if chest is not None:
            local = root.T @ chest
            swing = _swing(local[:, 1][None], np.array([0]))
            rest = exponential(-swing)[0][0] @ local
            turns[0] = swing[0] + [0, np.arctan2(rest[0, 2], rest[0, 0]), 0]
    turns[0] = turns[0].clip(LOW[0], HIGH[0])
    chest = root @ _local(turns, np.array([0]))[0]

    ways = (xyz[_BRANCH_ENDS] - xyz[_NECK]) @ chest
    seen = known[_NECK] & known[_BRANCH_ENDS]
    turns[_BRANCHES] = np.where(seen[:, None], _swing(ways, _BRANCHES), turns[_BRANCHES]).clip(
        LOW[_BRANCHES], HIGH[_BRANCHES]
    )
    collars = chest @ _local(turns, _BRANCHES[1:])

    start, hinge, end = _LIMB_POINTS.T
    above = np.concatenate([[root, root], collars]) @ CENTRES[_UPPER]
    upper = ((xyz[hinge] - xyz[start])[:, None] @ above)[:, 0]
    seen = known[start] & known[hinge]
    swing = np.where(seen[:, None], _swing(upper, _UPPER), turns[_UPPER] * SWING[_UPPER]).clip(
        LOW[_UPPER], HIGH[_UPPER]
    )
    above = above @ exponential(swing)[0]
    lower = ((xyz[end] - xyz[hinge])[:, None] @ above)[:, 0]
    along, aside = (lower * _BEND).sum(1), (lower * _ASIDE).sum(1)
    seen_lower = known[hinge] & known[end]
    bent = seen & seen_lower & (along**2 + aside**2 > _STRAIGHT**2 * np.square(lower).sum(1))
    twist = np.where(
        bent[:, None], np.arctan2(aside, along)[:, None] * TWIST[_UPPER], turns[_UPPER] * TWIST[_UPPER]
    )
    turns[_UPPER] = (swing * SWING[_UPPER] + twist).clip(LOW[_UPPER], HIGH[_UPPER])
    above = above @ exponential(turns[_UPPER] * TWIST[_UPPER])[0]
    lower = ((xyz[end] - xyz[hinge])[:, None] @ above)[:, 0]
    turns[_HINGE] = np.where(seen_lower[:, None], _swing(lower, _HINGE), turns[_HINGE]).clip(
        LOW[_HINGE], HIGH[_HINGE]
    )
    return root, turns


def _local(turns: Array, which: NDArray[np.int64]) -> Array:
    """(N, 3, 3) the rotations of some of the joints."""
    some = turns[which]
    rotation, _ = exponential(np.concatenate([some * SWING[which], some * TWIST[which]]))
    return np.asarray(CENTRES[which] @ rotation[: len(which)] @ rotation[len(which) :])


def _swing(ways: Array, which: NDArray[np.int64]) -> Array:
    """(N, 3) the smallest rotation vectors from the bones of some joints at rest to ways (N, 3) of any
    length.
    """
    axis = (_BONE_CROSS[which] @ ways[..., None])[..., 0]
    sine = np.sqrt(np.square(axis).sum(1))
    angle = np.arctan2(sine, (_BONE[which] * ways).sum(1))
    return np.asarray(axis * (angle / np.maximum(sine, 1e-9))[:, None])


def _frame(x: Array, y: Array, first: int) -> Array | None:
    """(3, 3) axes as columns that have x (0) or y (1) `first` exactly and the other nearly; None where both
    are along one line.
    """
    z = np.array([x[1] * y[2] - x[2] * y[1], x[2] * y[0] - x[0] * y[2], x[0] * y[1] - x[1] * y[0]])
    size = np.sqrt(z @ z)
    if size < 1e-6:
        return None
    z = z / size
    main = x if first == 0 else y
    main = main / np.sqrt(main @ main)
    other = np.array(
        [z[1] * main[2] - z[2] * main[1], z[2] * main[0] - z[0] * main[2], z[0] * main[1] - z[1] * main[0]]
    )
    return np.stack([main, other, z] if first == 0 else [-other, main, z], 1)
