"""A body of constant bones: joint angles with limits, forward kinematics and its Jacobian.

The body has the 15 joints of `MOVNECT15` as points and the 13 `JOINTS` that turn. In the rest pose it stands
in a T: x to the person's left, y up, z to the front (as in `poseling.synth.prior`), arms straight out along
x, legs straight down, and every rotation is the identity. A joint's rotation is relative to its parent's;
that of the pelvis maps the body's axes to the camera's. Elbows bend about y (left -, right +: the forearm
comes forward), knees about +x (the calf goes back), hips about -x (the thigh comes forward), spine and neck
about +x (forward).

Fifteen points do not determine the twist of the neck, the collar bones, forearms and calves: it stays at
rest.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from poseling.geometry import quaternion_matrix, rotation_matrix
from poseling.skeleton import MOVNECT15

Array = NDArray[np.float64]
# In order of their depth in the tree. `spine` turns all that is above the pelvis, and sits in it.
PARENTS = {
    "pelvis": "",
    **{"spine": "pelvis", "left_hip": "pelvis", "right_hip": "pelvis"},
    **{
        "neck": "spine",
        "left_collar": "spine",
        "right_collar": "spine",
        "left_knee": "left_hip",
        "right_knee": "right_hip",
    },
    **{"left_shoulder": "left_collar", "right_shoulder": "right_collar"},
    **{"left_elbow": "left_shoulder", "right_elbow": "right_shoulder"},
}

JOINTS = tuple(PARENTS)
# Shares of a standing person's stature, after Drillis & Contini, "Body Segment Parameters", 1966, as in
# Winter, "Biomechanics and Motor Control of Human Movement": knee at 0.285, hip at 0.530, shoulders at 0.818
# of it, upper arm 0.186, forearm 0.146, half the shoulders 0.129. The hips' middles are 0.10 apart (Bell,
# Pedersen & Brand, 1990).
SHARES = {
    "trunk": 0.288,
    "head": 0.182,
    "shoulder": 0.129,
    "upper_arm": 0.186,
    "forearm": 0.146,
    "hip": 0.05,
    "thigh": 0.245,
    "shin": 0.246,
}

BONES = tuple(SHARES)
ANKLE = 0.039  # how high the ankle is above the floor, as a share of the stature; the same source


@dataclass(frozen=True)
class Limit:
    """How far a joint turns about x, y and z in degrees, from least to most: a twist about its `bone`, then a
    swing of the bone, a rotation vector in the other two.

    A swing counts from `centre`, a rotation vector from the rest pose, so that no swing within the limits
    comes near half a turn, where it would be ambiguous.
    """

    bone: str
    x: tuple[float, float]
    y: tuple[float, float]
    z: tuple[float, float]
    centre: tuple[float, float, float] = (0, 0, 0)


# Normal ranges of motion: Greene & Heckman (eds.), "The Clinical Measurement of Joint Motion", American
# Academy of Orthopaedic Surgeons, 1994. Shoulder flexion and abduction 180, extension 60, turn 70 in, 90 out;
# elbow 150; hip flexion 120, extension 30, abduction 45, adduction 30, turn 45; knee 135; neck 45 each way;
# trunk forward 80, back 25, to a side 35, turn 45. Collar bones: up 45, down 5, forward and back 15. These
# are widened by 10 to 30 degrees, because moving people go further and a network's points are not exact
# joints; docs/kinematics.md has the counts on motion capture. Left side; the right one mirrors it.
LIMITS = {
    "spine": Limit("y", (-45, 95), (-55, 55), (-45, 45)),
    "neck": Limit("y", (-65, 70), (0, 0), (-50, 50)),
    "collar": Limit("x", (0, 0), (-40, 40), (-40, 45)),
    # About the middle of the arm's reach: 45 degrees forward and 17 down.
    "shoulder": Limit("x", (-130, 90), (-100, 95), (-105, 115), centre=(0, -45, -17)),
    "elbow": Limit("x", (0, 0), (-155, 10), (-10, 10)),
    "hip": Limit("y", (-140, 45), (-60, 60), (-35, 75)),
    "knee": Limit("y", (-10, 155), (0, 0), (-8, 8)),
}

TURNS = JOINTS[1:]  # what has limits: all but the pelvis
POINTS = MOVNECT15.joints
PELVIS = MOVNECT15.index("pelvis")
# For each bone's point: the point it starts from, the joint that carries it, its direction at rest, its
# length. Left side, or the middle.
_TREE = {
    "neck": ("pelvis", "spine", (0, 1, 0), "trunk"),
    "head_top": ("neck", "neck", (0, 1, 0), "head"),
    "shoulder": ("neck", "collar", (1, 0, 0), "shoulder"),
    "elbow": ("shoulder", "shoulder", (1, 0, 0), "upper_arm"),
    "wrist": ("elbow", "elbow", (1, 0, 0), "forearm"),
    "hip": ("pelvis", "pelvis", (1, 0, 0), "hip"),
    "knee": ("hip", "hip", (0, -1, 0), "thigh"),
    "ankle": ("knee", "knee", (0, -1, 0), "shin"),
}


def _sided(name: str, side: str, names: tuple[str, ...]) -> int:
    """The index of `left_NAME` or `right_NAME`, or of NAME where it has no side."""
    return names.index(name if name in names else f"{side}_{name}")


def _bones() -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64], Array, NDArray[np.int64]]:
    """For each bone (14,): its end, its start, the joint that carries it, its direction at rest (14, 3) and
    the index of its length.
    """
    rows = []
    for point in POINTS:
        side, _, part = point.rpartition("_")
        part, side = (point, "") if point in _TREE else (part, side)
        if part in _TREE:
            start, carrier, way, length = _TREE[part]
            ends = POINTS.index(point), _sided(start, side, POINTS), _sided(carrier, side, JOINTS)
            rows.append(
                (
                    *ends,
                    np.array(way, np.float64) * ([-1, 1, 1] if side == "right" else 1),
                    BONES.index(length),
                )
            )
    ends, starts, carriers, ways, lengths = zip(*rows, strict=True)
    return np.array(ends), np.array(starts), np.array(carriers), np.array(ways), np.array(lengths)


ENDS, STARTS, CARRIERS, WAYS, LENGTH_OF = _bones()
_PARENT = np.array([JOINTS.index(PARENTS[joint]) for joint in TURNS])
# (15, 14) which bones lead from the pelvis to a point.
_CHAIN = np.zeros((len(POINTS), len(ENDS)))

for _point in range(len(POINTS)):
    _at = _point
    while _at != PELVIS:
        _bone = int(np.flatnonzero(_at == ENDS)[0])
        _CHAIN[_point, _bone] = 1
        _at = int(STARTS[_bone])

# The point that each joint sits in, and (12, 15) which points it moves.
_SEAT = np.array([STARTS[np.flatnonzero(j == CARRIERS)[0]] for j in range(1, len(JOINTS))])
_CARRIED = np.zeros((len(JOINTS), len(JOINTS)), bool)  # [joint, below it or itself]

for _joint in range(len(JOINTS)):
    _CARRIED[_joint, _joint] = True
    if _joint:
        _CARRIED[:, _joint] |= _CARRIED[:, _PARENT[_joint - 1]]

_MOVES = (_CARRIED[1:, CARRIERS].astype(float) @ _CHAIN.T) > 0
_RIGHT = np.array([joint.startswith("right_") for joint in TURNS])
_JOINT_LIMITS = tuple(LIMITS[joint.split("_")[-1]] for joint in TURNS)
_degrees = np.array([[limit.x, limit.y, limit.z] for limit in _JOINT_LIMITS], np.float64)

_degrees[_RIGHT, 1:] = -_degrees[_RIGHT, 1:, ::-1]

LOW, HIGH = np.moveaxis(np.deg2rad(_degrees), -1, 0)  # (12, 3) radians
TWIST = np.array(
    [[limit.bone == axis for axis in "xyz"] for limit in _JOINT_LIMITS], np.float64
)  # (12, 3) which of a joint's turns is its twist

SWING = 1 - TWIST
CENTRES = rotation_matrix(
    np.deg2rad([limit.centre for limit in _JOINT_LIMITS]) * np.where(_RIGHT[:, None], [1, -1, -1], 1)
)

FREE = np.flatnonzero((LOW < HIGH).ravel())  # which of the 36 turns there are
_FREE_JOINT = FREE // 3
_LEVELS = tuple(
    (start, stop, _PARENT[start - 1 : stop - 1]) for start, stop in ((1, 4), (4, 9), (9, 11), (11, 13))
)

_cross = np.zeros((3, 3, 3))

for _i, _j, _k in ((0, 1, 2), (1, 2, 0), (2, 0, 1)):
    _cross[_i, _k, _j], _cross[_i, _j, _k] = 1, -1

CROSS = _cross.reshape(3, 9)  # v @ CROSS is the matrix that takes w to v x w
_EYE = np.eye(3)


@dataclass(frozen=True, eq=False)
class Body:
    """A body with its joints turned: `points` (15, 3) from the pelvis, and what the Jacobian needs.

    root (3, 3) is the pelvis' rotation, turns (12, 3) are those of `TURNS` in radians as `Limit` counts them,
    whole (13, 3, 3) every joint's rotation from the body's axes.
    """

    root: Array
    turns: Array
    points: Array
    local: Array
    whole: Array
    _left: Array

    @classmethod
    def turned(cls, root: Array, turns: Array, lengths: Array, more: Array | None = None) -> Body:
        """Forward kinematics of root (3, 3), turns (12, 3) and lengths (8,); `more` (3,) turns the root on,
        about the axes that it leads to.
        """
        count = len(turns)
        vectors = np.zeros((2 * count + 1, 3))
        np.multiply(turns, _PARTS, out=vectors[:-1].reshape(2, count, 3))
        if more is not None:
            vectors[-1] = more
        rotation, left = exponential(vectors, count)
        local = np.empty((count + 1, 3, 3))
        local[0] = root if more is None else rotation[-1] @ root
        np.matmul(CENTRES @ rotation[:count], rotation[count:-1], out=local[1:])
        whole = _whole(local)
        return cls(local[0], turns, _points(whole, lengths), local, whole, left)

    def moved(self, step: Array, lengths: Array) -> Body:
        """The body after a step (32,) in the order of `jacobian`, its turns clipped to the limits."""
        turns = self.turns.copy()
        turns.ravel()[FREE] += step[3:]
        return Body.turned(self.root, np.minimum(np.maximum(turns, LOW), HIGH), lengths, step[:3])

    def sized(self, lengths: Array) -> Body:
        """The same pose with other lengths (8,)."""
        return Body(self.root, self.turns, _points(self.whole, lengths), self.local, self.whole, self._left)

    def jacobian(self) -> Array:
        """(32, 15, 3) how the points move with a turn of the pelvis about the three axes that the points are
        in, and then with each of the turns that are `FREE`.
        """
        # The left Jacobian of the exponential map turns a change of the swing into one about the axes above
        # the joint; a twist comes after its swing, about the bone.
        axes = (self.whole[_PARENT] @ CENTRES @ self._left) * SWING[:, None] + self.whole[1:] * TWIST[:, None]
        around = np.empty((3 + len(FREE), 3))
        around[:3] = _EYE
        around[3:] = axes.swapaxes(1, 2).reshape(-1, 3)[FREE]
        arms = self.points - self.points.take(_SEATS, 0)[:, None]
        arms *= _MOVED
        return np.asarray(arms @ (around @ _ARM).reshape(-1, 3, 3))


_PARTS = np.stack([SWING, TWIST])
_ARM = -CROSS  # arm @ (axis @ _ARM) is axis x arm
# Where each of the Jacobian's axes sits, and which points it moves.
_SEATS = np.concatenate([np.full(3, PELVIS), _SEAT[_FREE_JOINT]])
_MOVED = np.repeat(np.concatenate([np.ones((3, len(POINTS))), _MOVES[_FREE_JOINT]])[..., None], 3, -1)


def forward(rotations: NDArray[np.floating], lengths: NDArray[np.floating]) -> Array:
    """(15, 3) the points of `MOVNECT15` in metres from the pelvis, of the rotations (13, 4) of `JOINTS`, w x
    y z, and the lengths (8,) of `BONES` in metres.

    The axes are those that the pelvis' rotation leads to.

    >>> rest = forward(np.tile([1.0, 0, 0, 0], (13, 1)), np.ones(8))
    >>> rest[MOVNECT15.index("left_wrist")].tolist(), rest[MOVNECT15.index("right_ankle")].tolist()
    ([3.0, 1.0, 0.0], [-1.0, -2.0, 0.0])
    """
    return _points(_whole(quaternion_matrix(rotations)), np.asarray(lengths, np.float64))


def stature(lengths: NDArray[np.floating]) -> float:
    """The standing height of a body with these lengths (8,): shin, thigh, trunk and head in line, on ankles
    at their usual height (`ANKLE`).
    """
    upright = [lengths[BONES.index(bone)] for bone in ("shin", "thigh", "trunk", "head")]
    return float(sum(upright) / (1 - ANKLE))


def measure(xyz: Array, known: NDArray[np.bool_]) -> Array:
    """(14,) the bones' lengths in xyz (15, 3), in the order of `ENDS`; NaN where an end is unknown."""
    lengths = np.sqrt(np.square(xyz[ENDS] - xyz[STARTS]).sum(1))
    return np.where(known[ENDS] & known[STARTS], lengths, np.nan)


def exponential(vectors: Array, slopes: int = 0) -> tuple[Array, Array]:
    """(N, 3) rotation vectors to (N, 3, 3) matrices; and the left Jacobians (slopes, 3, 3) of the first of
    them.
    """
    square = np.maximum(np.square(vectors).sum(1), 1e-8)[
        :, None, None
    ]  # a turn of less than 1e-4 has an error of less than 1e-12
    turn = np.sqrt(square)
    sine, rest = np.sin(turn) / turn, (1 - np.cos(turn)) / square
    cross = (vectors @ CROSS).reshape(-1, 3, 3)
    twice = cross @ cross
    left = _EYE + rest[:slopes] * cross[:slopes] + (1 - sine[:slopes]) / square[:slopes] * twice[:slopes]
    return _EYE + sine * cross + rest * twice, left


def _whole(local: Array) -> Array:
    """(13, 3, 3) rotations relative to the parents to those from the body's axes, the pelvis' first."""
    whole = np.empty_like(local)
    whole[0] = local[0]
    for start, stop, parents in _LEVELS:
        whole[start:stop] = whole[parents] @ local[start:stop]
    return whole


def _points(whole: Array, lengths: Array) -> Array:
    bones = (whole[CARRIERS] @ (WAYS * lengths[LENGTH_OF, None])[..., None])[..., 0]
    return np.asarray(_CHAIN @ bones)
