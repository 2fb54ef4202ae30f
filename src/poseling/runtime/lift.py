"""A body from joints in a picture alone, for networks that say nothing about depth: how bones of known
length can look, and then the body fit.

A bone that looks shorter than it is points towards the camera or away from it (Taylor, "Reconstruction of
articulated objects from point correspondences in a single uncalibrated image", CVIU 2000): with s the size of
a metre in the picture, its ends are sqrt(L^2 - (l / s)^2) apart in depth. Which of the two signs is right the
picture does not say. So every combination that matters is tried (the trunk's lean and turn, two bones of each
limb), and put into a body whose joints have limits (`kinematics.closed_form`). The one stays that costs
least: that breaks no limit, is near to the frame before, bends as people mostly do, and faces where the nose
points. `skeleton_fit.Fitter` then makes a body of it that agrees with the picture.

What comes out is no measurement: lengths are the usual shares of a height that somebody gives, and a sign can
be wrong. docs/live.md says how far off it is.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from poseling.runtime.closed_form import closed_form
from poseling.runtime.kinematics import (
    BONES,
    ENDS,
    LENGTH_OF,
    SHARES,
    STARTS,
    TURNS,
    Body,
    stature,
)
from poseling.runtime.skeleton_fit import PAUSE, TALL, Fitted, Fitter, sources_of
from poseling.skeleton import MOVNECT15, Skeleton

Array = NDArray[np.float64]

SURE = 0.2  # the score from which a joint says anything
# A bone is taken to be turned where it looks shorter than this share of its length: people differ from the
# usual shares, and most across hips and shoulders; and where a network's neck is, is a matter of its labels.
SLACK, SLACK_ACROSS, SLACK_HEAD = 0.95, 0.85, 0.65
PACE = (
    0.15  # seconds in which most of a change of the size of a metre is followed: people walk away at 1.5 m/s
)
# Costs in square metres: of a radian squared off the usual posture, of a metre squared off the frame before,
# of a metre that the trunk leans back, and of a nose that points elsewhere.
UNUSUAL, MOVED, BACK, ELSEWHERE = 0.01, 0.5, 0.05, 0.03
# Degrees, of the left side, as `kinematics.LIMITS` counts them.
USUAL = {"hip": (-25, 0, 0), "knee": (25, 0, 0), "shoulder": (0, 0, -30), "elbow": (0, -35, 0)}
HEAD = 0.08  # metres from the middle between the ears to where a nose in profile is seen

_at = MOVNECT15.index
_PELVIS, _NECK, _CROWN = _at("pelvis"), _at("neck"), _at("head_top")
_ACROSS = tuple(
    (_at(f"left_{j}"), _at(f"right_{j}"), BONES.index(b))
    for j, b in (("hip", "hip"), ("shoulder", "shoulder"))
)
# Of each limb: its three points, and the two joints that turn it.
_LIMBS = tuple(
    (
        _at(f"{side}_{upper}"),
        _at(f"{side}_{hinge}"),
        _at(f"{side}_{end}"),
        TURNS.index(f"{side}_{upper}"),
        TURNS.index(f"{side}_{hinge}"),
    )
    for upper, hinge, end in (("hip", "knee", "ankle"), ("shoulder", "elbow", "wrist"))
    for side in ("left", "right")
)
_LONG = np.array(
    [BONES[length] in ("trunk", "upper_arm", "forearm", "thigh", "shin") for length in LENGTH_OF]
)
_LENGTH_TO = {int(end): int(length) for end, length in zip(ENDS, LENGTH_OF, strict=True)}
_SIDES = np.array([[1, -1, -1] if joint.startswith("right_") else [1, 1, 1] for joint in TURNS], np.float64)
_USUAL = np.deg2rad([USUAL.get(joint.split("_")[-1], (0, 0, 0)) for joint in TURNS]) * _SIDES
_SIGNS = ((1.0, 1.0), (1.0, -1.0), (-1.0, 1.0), (-1.0, -1.0))
_FACING = np.diag([1.0, -1.0, -1.0])  # upright, towards the camera


class Lifter:
    """Fits one person's body to joints in a picture, frame after frame; one for each person.

    `skeleton` is that of the joints, and `height` how tall the person is in metres: it sets the size of all
    that comes out; `lengths` (8,) in any unit are the shares that the bones of `kinematics.BONES` have in
    it, the usual ones if not given. ValueError if the skeleton has no joint of `MOVNECT15`, or the height is
    no person's.
    """

    def __init__(
        self, skeleton: Skeleton, height: float = TALL, lengths: NDArray[np.floating] | None = None
    ) -> None:
        shares = (
            np.array([SHARES[bone] for bone in BONES]) if lengths is None else np.asarray(lengths, np.float64)
        )
        self.lengths = shares * (height / stature(shares))
        self._fitter = Fitter(MOVNECT15, height, self.lengths)
        self._first, self._second, self._has = sources_of(skeleton)
        self._joints, (self._nose, self._beside) = len(skeleton), _face(skeleton)
        self.reset()

    def reset(self) -> None:
        """Forget the person: after a cut, or when it is another one."""
        self._fitter.reset()
        self._before: Array | None = None
        self._root, self._turns = _FACING, np.zeros((len(TURNS), 3))
        self._metre = self._seen = np.nan

    def fit(
        self,
        xy: NDArray[np.floating],
        score: NDArray[np.floating],
        camera: NDArray[np.floating],
        seconds: float,
    ) -> Fitted:
        """The body in a frame, of joints xy (K, 2) in pixels with scores (K,) before a camera fx fy cx cy,
        at a time.

        Joints that are not finite, or of a score below `SURE`, have no say. Errors as of `Fitter.fit`.
        """
        if np.shape(xy) != (self._joints, 2) or np.shape(score) != (self._joints,):
            raise ValueError(
                f"xy and score have shapes {np.shape(xy)} and {np.shape(score)}, for {self._joints} joints"
            )
        pixels, weight = np.asarray(xy, np.float64), np.asarray(score, np.float64)
        weight = np.where(np.isfinite(pixels).all(-1) & (weight >= SURE), np.minimum(weight, 1.0), 0.0)
        pixels = np.where(weight[:, None] > 0, pixels, 0.0)
        points = (pixels[self._first] + pixels[self._second]) / 2
        sure = np.where(self._has, np.minimum(weight[self._first], weight[self._second]), 0.0)
        lapse = seconds - self._seen
        if not 0 <= lapse <= PAUSE:  # also of NaN
            self._before, self._metre, lapse = None, np.nan, np.inf
        focal = np.asarray(camera, np.float64)[:2]
        flat = (points - points[_PELVIS]) / focal
        known = sure > 0
        self._metre = _size(flat, known, self.lengths, self._metre, lapse)
        if not known[_PELVIS] or not self._metre > 0:
            # Nobody knows how large a metre is: the fit goes on with what it has.
            return self._fitter.fit(
                np.zeros((len(points), 3)), points, np.zeros(len(points)), camera, seconds
            )
        xyz = self._chosen(flat / self._metre, known, self._points_to(pixels / focal, weight))
        fitted = self._fitter.fit(xyz, points, sure, camera, seconds)
        self._before, self._seen = fitted.xyz, seconds
        return fitted

    def _points_to(self, flat: Array, score: Array) -> float:
        """Where the nose points in flat (K, 2): -1 is left, 1 right, 0 at the camera or not seen."""
        beside = [joint for joint in self._beside if score[joint] > 0]
        if self._nose < 0 or not score[self._nose] or not beside:
            return 0.0
        aside = flat[self._nose, 0] - flat[beside, 0].mean()
        return float(np.clip(aside / self._metre / HEAD, -1, 1))

    def _chosen(self, flat: Array, known: NDArray[np.bool_], nose: float) -> Array:
        """(15, 3) metres from the pelvis, of the joints at flat (15, 2) metres in the picture: the body that
        costs least.
        """
        best, found = np.inf, None
        for lean, turn in _SIGNS:
            trunk = self._trunk(flat, known, lean, turn)
            bodies = []
            for signs in _SIGNS:
                xyz = self._limbs(trunk, flat, known, signs)
                root, turns = closed_form(xyz, known, self._root, self._turns)
                bodies.append((xyz, Body.turned(root, turns, self.lengths)))
            cost = self._trunk_cost(trunk, known, bodies[0][1], nose)
            turns = bodies[0][1].turns.copy()
            for _, hinge, end, upper, lower in _LIMBS:
                costs = [
                    self._limb_cost(xyz, known, body, (hinge, end), (upper, lower)) for xyz, body in bodies
                ]
                one = int(np.argmin(costs))
                turns[[upper, lower]] = bodies[one][1].turns[[upper, lower]]
                cost += costs[one]
            if cost < best:
                best, found = cost, (bodies[0][1].root, turns)
        assert found is not None
        self._root, self._turns = found
        return Body.turned(self._root, self._turns, self.lengths).points

    def _trunk(self, flat: Array, known: NDArray[np.bool_], lean: float, turn: float) -> Array:
        """(15, 3) with hips, neck, shoulders and head in space; all others at the depth 0."""
        xyz = np.concatenate([flat, np.zeros((len(flat), 1))], 1)
        across = np.zeros(3)
        for left, right, length in _ACROSS:
            if length == _ACROSS[1][2]:
                xyz[_NECK, 2] = lean * _depth(flat[_NECK], self.lengths[_LENGTH_TO[_NECK]], SLACK)
                xyz[[left, right], 2] = xyz[_NECK, 2]
            if known[left] and known[right]:
                wide = flat[left] - flat[right]
                deep = turn * _depth(wide, 2 * self.lengths[length], SLACK_ACROSS) / 2
                xyz[left, 2] += deep
                xyz[right, 2] -= deep
                across += xyz[left] - xyz[right]
        # A head is bent forward more often than back: to where (left x up) points, up being -y.
        forward = -1.0 if across[0] >= 0 else 1.0
        xyz[_CROWN, 2] = xyz[_NECK, 2] + forward * _depth(
            flat[_CROWN] - flat[_NECK], self.lengths[_LENGTH_TO[_CROWN]], SLACK_HEAD
        )
        return xyz

    def _limbs(
        self, trunk: Array, flat: Array, known: NDArray[np.bool_], signs: tuple[float, float]
    ) -> Array:
        """The trunk's (15, 3) with arms and legs, whose upper and lower bones point to these sides in
        depth.
        """
        xyz = trunk.copy()
        for start, hinge, end, _, _ in _LIMBS:
            for sign, above, below in ((signs[0], start, hinge), (signs[1], hinge, end)):
                deep = _depth(flat[below] - flat[above], self.lengths[_LENGTH_TO[below]], SLACK)
                xyz[below, 2] = xyz[above, 2] + sign * deep
        return xyz

    def _trunk_cost(self, xyz: Array, known: NDArray[np.bool_], body: Body, nose: float) -> float:
        points = [joint for joint in (_NECK, *_ACROSS[0][:2], *_ACROSS[1][:2]) if known[joint]]
        front = body.whole[1][:, 2]  # where the chest faces
        cost = np.square(xyz[points] - body.points[points]).sum() + ELSEWHERE * (nose - front[0]) ** 2
        if known[_NECK]:
            cost += BACK * max(0.0, -float(xyz[_NECK] @ body.root[:, 2]))
        if self._before is not None:
            cost += MOVED * np.square(xyz[points] - self._before[points]).sum()
        return float(cost)

    def _limb_cost(
        self,
        xyz: Array,
        known: NDArray[np.bool_],
        body: Body,
        points: tuple[int, int],
        joints: tuple[int, int],
    ) -> float:
        seen = [point for point in points if known[point]]
        cost = np.square(xyz[seen] - body.points[seen]).sum()
        cost += UNUSUAL * np.square(body.turns[list(joints)] - _USUAL[list(joints)]).sum()
        if self._before is not None:
            cost += MOVED * np.square(xyz[seen] - self._before[seen]).sum()
        return float(cost)


def _depth(flat: Array, length: float, slack: float) -> float:
    """How far apart in depth, in metres, the ends of a bone of `length` metres are that spans flat (2,)
    metres of the picture.
    """
    seen = min(1.0, float(np.sqrt(flat @ flat)) / (slack * length))
    return float(length * np.sqrt(1 - seen**2))


def _size(flat: Array, known: NDArray[np.bool_], lengths: Array, before: float, lapse: float) -> float:
    """How much of the picture, in focal lengths, a metre at the person's place takes: NaN where that was
    never known.

    That is what the bone has that looks second longest for its length, since the longest may be wrong; and
    it moves there from `before` in `lapse` seconds as `PACE` lets it.
    """
    both = _LONG & known[ENDS] & known[STARTS]
    spans = np.sqrt(np.square(flat[ENDS] - flat[STARTS]).sum(1)) / lengths[LENGTH_OF]
    ordered = np.sort(spans[both])
    if not len(ordered) or not ordered[-1] > 0:
        return before
    now = float(ordered[-2] if len(ordered) > 1 else ordered[-1])
    if not before > 0:
        return now
    return before + (now - before) * (1 - float(np.exp(-lapse / PACE)))


def _face(skeleton: Skeleton) -> tuple[int, tuple[int, ...]]:
    """The nose, -1 where the skeleton has none, and the joints whose middle is the head's: ears, else the
    neck.
    """
    if "nose" not in skeleton.joints:
        return -1, ()
    for names in (("left_ear", "right_ear"), ("neck",), ("thorax",)):
        if set(names) <= set(skeleton.joints):
            return skeleton.index("nose"), tuple(skeleton.index(name) for name in names)
    return -1, ()
