"""A body fitted to a network's 3D joints of one person, frame by frame: constant bone lengths, joint limits,
a position in front of the camera.

The energy is VNect's (Mehta et al., SIGGRAPH 2017), with its weights: E = 1 E_IK + 44 E_proj + 0.07 E_smooth
+ 0.11 E_depth. P are the body's points in camera axes, d is its pelvis; each joint's part of the first two is
weighted by its score:

- E_IK = |(P - d) - xyz|^2, in metres;
- E_proj = |project(P) - xy|^2, in pixels over the focal length. With the weight 44 an image error counts as
  much as the same error in metres at 6.6 m, and at 3 m nearly five times as much: networks are more accurate
  in the image plane than in depth. In pixels this term would dominate;
- E_smooth = |acceleration of P|^2 and E_depth = (velocity of d along z)^2, in metres and frames of 1/30 s, so
  that the weights hold at any frame rate. VNect's E_depth has all of P: the position of a person walking
  towards the camera then lags, and limbs that reach forward are held back.

Two small terms of ours determine what the others leave open. `STILL` keeps rotations as they were in the
previous frame: an unseen limb, the twist of a straight one. `REST` bends the hips before the spine, since the
pelvis' pitch cannot be determined from three points on a line, and twists a limb before its hinge bends
sideways.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from poseling.geometry import quaternion
from poseling.runtime.closed_form import closed_form
from poseling.runtime.fit_energy import (
    DEPTH,
    FARTHEST,
    IK,
    NEAREST,
    NEARLY,
    POINTS,
    PROJECTION,
    SMOOTH,
    Evidence,
    minimise,
)
from poseling.runtime.kinematics import (
    BONES,
    FREE,
    JOINTS,
    LENGTH_OF,
    SHARES,
    TURNS,
    Body,
    measure,
    stature,
)
from poseling.runtime.position import position
from poseling.skeleton import MIDDLES, MOVNECT15, Skeleton

Array = NDArray[np.float64]
FRAME = 1 / 30  # seconds
PAUSE = 0.5  # seconds without a frame after which velocities are forgotten
SHORTEST = 1 / 240  # seconds: frames that are nearer in time count as if they were this far apart
SURE = 0.3  # score from which a joint's bones are measured
MEASURED, MEASURING = 90, 3.0  # times, and seconds, after which a bone's length is settled
# Of its length that a bone grows or shrinks at most in a `FRAME`: in its first `YOUNG` seconds, and then, so
# that it is constant to one in a hundred.
GROWTH, DRIFT = 0.01, 0.00004
YOUNG = 1.0
FAR = 3.0  # metres from the root beyond which a prediction is not a joint
AWAY = 4.0  # metres in front of the camera: the start of a person without 2D joints
STEPS, FIRST_STEPS = 3, 12  # of Levenberg and Marquardt, in a frame and in the first one
LEAP, TIRED = (
    2.0,
    1.1,
    # beyond this multiple of the usual energy the fit is restarted; growth of the usual energy in a frame
)

SLIGHT = 3e-4  # metres squared: the energy of 15 points that are 4 mm off, which is always usual
TALL = 1.7  # metres: the height of an unknown person
_FACING = np.diag([1.0, -1.0, -1.0])  # upright, towards the camera
# Radians that the spine may be bent forward in a first frame: from each of them, hips that are bent far come
# to another minimum.
BENDS = (0.0, 0.8, 1.4, -0.5)
_BENT = np.array([[joint == "spine", 0, 0] for joint in TURNS], np.float64)
_SHARES = np.array([SHARES[bone] for bone in BONES])
_PELVIS = MOVNECT15.index("pelvis")


@dataclass(frozen=True, eq=False)
class Fitted:
    """One person's body in one frame.

    xyz (15, 3) the joints of `MOVNECT15`, metres from the pelvis, in camera axes; root (3,) the pelvis in
    camera axes in metres, None without a camera; rotations (13, 4) quaternions w x y z of `joints` relative
    to their parents, as `kinematics` says; lengths (8,) in metres of `kinematics.BONES`.
    """

    xyz: Array
    root: Array | None
    rotations: Array
    lengths: Array
    joints: tuple[str, ...] = JOINTS
    skeleton: Skeleton = MOVNECT15


class Lengths:
    """The bones' lengths (8,), learnt over the first frames: each is the median of its first `MEASURED`
    confident measurements, or of those in `MEASURING` seconds, left and right together, and constant after
    that. `since` (8,) are the times of the first ones, NaN before.

    A bone that was never seen has its usual share (`kinematics.SHARES`) of the body size that the others
    suggest. `measured` are in the network's metres, and constant from the start if they are given; `scale`
    makes the body `height` metres tall.
    """

    def __init__(self, height: float | None = None, measured: NDArray[np.floating] | None = None):
        self._height = height
        self._seen = np.full((len(BONES), MEASURED), np.nan)
        self._count = np.full(len(BONES), 0 if measured is None else MEASURED)
        self.since = np.full(len(BONES), np.nan)
        self._settle(TALL * _SHARES if measured is None else np.asarray(measured, np.float64))

    def update(self, xyz: Array, known: NDArray[np.bool_], seconds: float = np.nan) -> None:
        """Measure xyz (15, 3) where the joints are `known` (15,) surely, in a frame at a time; without one
        the measurements alone count.
        """
        learnt = (self._count < MEASURED) & ~(seconds - self.since > MEASURING)
        if not learnt.any():
            return
        bones = measure(xyz, known)
        found = np.isfinite(bones)
        count = np.bincount(LENGTH_OF[found], minlength=len(BONES))
        mean = np.bincount(LENGTH_OF[found], bones[found], len(BONES)) / np.maximum(count, 1)
        new = np.flatnonzero((mean > 0) & learnt)
        if not len(new):
            return
        self.since[new] = np.where(np.isnan(self.since[new]), seconds, self.since[new])
        self._seen[new, self._count[new]] = mean[new]
        self._count[new] += 1
        ordered = np.sort(self._seen, 1)  # NaN comes last
        rows = np.arange(len(BONES))
        median = (ordered[rows, np.maximum(self._count - 1, 0) // 2] + ordered[rows, self._count // 2]) / 2
        seen = self._count > 0
        size = np.median((median / _SHARES)[seen])
        self._settle(np.where(seen, median, size * _SHARES))

    def _settle(self, measured: Array) -> None:
        self.measured = measured
        self.scale = 1.0 if self._height is None else self._height / stature(measured)
        self.metres = measured * self.scale


class Fitter:
    """Fits one person's body, frame after frame; one instance for each person.

    `skeleton` is that of the predictions: its joints are converted to `MOVNECT15` by name, with the thorax or
    the middle of the shoulders for a missing neck; missing joints have no weight. ValueError if they have
    none in common. `height` in metres sets the body's height when standing (`kinematics.stature`); without it
    the body has the network's size. Lengths change while they are learnt (see `Lengths`): by at most 30 % a
    second in their first second (`GROWTH`), by a tenth of a percent a second later (`DRIFT`). `measured` (8,),
    those of the Fitter of a first pass over a video, keep them constant from its first frame.
    """

    def __init__(
        self, skeleton: Skeleton, height: float | None = None, measured: NDArray[np.floating] | None = None
    ):
        if height is not None and not 0.3 < height < 3:
            raise ValueError(f"a height of {height:g} is not a person's; give it in metres")
        if measured is not None and (
            np.shape(measured) != (len(BONES),) or not (np.asarray(measured) > 0).all()
        ):
            raise ValueError(
                f"measured are {len(BONES)} lengths above 0, of {', '.join(BONES)}; got {measured}"
            )
        self._joints = len(skeleton)
        self._first, self._second, self._has = sources_of(skeleton)
        self._height, self._given = height, measured
        self.reset()

    def reset(self) -> None:
        """Forget the person: after a cut, or for another person."""
        self._lengths = Lengths(self._height, self._given)
        self._body: Body | None = None
        self._place: Array | None = None
        self._energy = np.inf
        self._grown: tuple[float, Array] | None = None  # when, and the lengths then
        self._past: deque[tuple[float, Array]] = deque(maxlen=2)

    @property
    def measured(self) -> Array:
        """(8,) the bones' lengths in the network's metres, as far as they are known."""
        return self._lengths.measured

    def measure(self, xyz: NDArray[np.floating], score: NDArray[np.floating]) -> None:
        """Learn the bones' lengths from joints (K, 3) with scores (K,) without fitting: for a first pass over
        a video.
        """
        xyz, weight, _, _ = self._taken(xyz, np.zeros((self._joints, 2)), score, None)
        self._lengths.update(xyz, weight > np.sqrt(SURE * IK))

    def fit(
        self,
        xyz: NDArray[np.floating],
        xy: NDArray[np.floating],
        score: NDArray[np.floating],
        camera: NDArray[np.floating] | None,
        seconds: float,
    ) -> Fitted:
        """The body in a frame: xyz (K, 3) metres from the root, xy (K, 2) pixels, score (K,), camera fx fy cx
        cy or None, and the frame's time.

        A joint whose score is 0 or whose numbers are not finite has no weight; unseen joints keep their
        rotations. Without a camera there is no E_proj, no E_depth and no root. ValueError for shapes that do
        not fit or an invalid camera.
        """
        lens = _lens(camera)
        xyz, xyz_weight, xy, xy_weight = self._taken(xyz, xy, score, lens)
        self._lengths.update(xyz, xyz_weight > np.sqrt(SURE * IK), seconds)
        lengths = self._lengths.metres
        if self._grown is not None:
            before, was = self._grown
            old = seconds - self._lengths.since >= YOUNG
            most = np.where(old, DRIFT, GROWTH) * min(max(seconds - before, 0.0), PAUSE) / FRAME
            lengths = np.minimum(np.maximum(lengths, (1 - most) * was), (1 + most) * was)
        xyz = xyz * self._lengths.scale

        if self._past and (
            not 0 < seconds - self._past[-1][0] <= PAUSE or (lens is None) != (self._place is None)
        ):
            self._past.clear()
        known = xyz_weight > 0
        seen = known | (xy_weight > 0)
        path, path_weight = self._led(seconds, lens is not None, seen)
        placed = lens is not None
        if self._body is None:
            bodies = [Body.turned(*closed_form(xyz, known, _FACING, bend * _BENT), lengths) for bend in BENDS]
            evidence = Evidence(
                xyz,
                xyz_weight[:, None],
                xy,
                xy_weight[:, None],
                path,
                path_weight,
                bodies[0].turns.ravel()[FREE],
            )
            starts = [
                minimise(body, self._seen(body, evidence, placed), evidence, lengths, FIRST_STEPS, placed)
                for body in bodies
            ]
            energies = [evidence.energy(*start) for start in starts]
        else:
            body = self._body.sized(lengths)
            evidence = Evidence(
                xyz, xyz_weight[:, None], xy, xy_weight[:, None], path, path_weight, body.turns.ravel()[FREE]
            )
            place = self._place if placed and self._place is not None else self._seen(body, evidence, placed)
            starts = [minimise(body, place, evidence, lengths, STEPS, placed, NEARLY)]
            energies = [evidence.energy(*starts[0])]
            if energies[0] > LEAP * max(self._energy, SLIGHT):
                body = Body.turned(*closed_form(xyz, known, body.root, body.turns), lengths)
                starts += [
                    minimise(
                        body, self._seen(body, evidence, placed), evidence, lengths, STEPS, placed, NEARLY
                    )
                ]
                energies += [evidence.energy(*starts[1])]
        energy = min(energies)
        body, place = starts[energies.index(energy)]
        root = place if lens is not None else None
        if seen.any():
            self._body, self._place, self._grown = body, root, (seconds, lengths)
            self._energy = min(energy, TIRED * self._energy)
            self._past.append((seconds, body.points + place))
        return Fitted(body.points, root, quaternion(body.local), lengths)

    def _seen(self, body: Body, evidence: Evidence, placed: bool) -> Array:
        """(3,) the start position of a body in its first frame: from its 2D joints, else where the person
        was.
        """
        if not placed:
            return np.zeros(3)
        place = position(
            body.points, evidence.xy, evidence.xy_weight[:, 0] ** 2, np.array([1.0, 1.0, 0.0, 0.0])
        )
        if NEAREST < place[2] < FARTHEST:  # so not NaN
            return place
        return self._place if self._place is not None else np.array([0.0, 0.0, AWAY])

    def _taken(
        self,
        xyz: NDArray[np.floating],
        xy: NDArray[np.floating],
        score: NDArray[np.floating],
        lens: Array | None,
    ) -> tuple[Array, Array, Array, Array]:
        """xyz (15, 3), the roots of its weights (15,), normalised xy (15, 2), the roots of its weights (15,);
        zero where unknown.
        """
        for name, array, shape in (("xyz", xyz, (3,)), ("xy", xy, (2,)), ("score", score, ())):
            if np.shape(array) != (self._joints, *shape):
                raise ValueError(
                    f"{name} has shape {np.shape(array)}, but the skeleton of this Fitter has {self._joints} "
                    f"joints: expected {(self._joints, *shape)}"
                )
        xyz, xy, score = (np.asarray(array, np.float64) for array in (xyz, xy, score))
        if lens is not None:
            xy = (xy - lens[2:]) / lens[:2]
        sure = np.where(score > 0, np.minimum(score, 1), 0)  # of NaN, 0
        # NaN compares as false, so these are finite.
        space, image = (
            sure * (np.abs(xyz).max(1) < FAR),
            sure * (np.abs(xy).max(1) < 10 if lens is not None else 0),
        )
        xyz, xy = np.where(space[:, None] > 0, xyz, 0), np.where(image[:, None] > 0, xy, 0)
        one, two = self._first, self._second
        space, image = (self._has * np.minimum(weight[one], weight[two]) for weight in (space, image))
        return (
            (xyz[one] + xyz[two]) / 2,
            np.sqrt(IK * space),
            (xy[one] + xy[two]) / 2,
            np.sqrt(PROJECTION * image),
        )

    def _led(self, seconds: float, deep: bool, seen: NDArray[np.bool_]) -> tuple[Array, Array]:
        """(15, 3) the points extrapolated from the previous frames, and the roots of the weights (15, 3); 0
        for points that are not seen now.
        """
        weight = np.zeros((POINTS, 3))
        if not self._past:
            return np.zeros((POINTS, 3)), weight
        time, last = self._past[-1]
        lapse = max(seconds - time, SHORTEST)
        path = last
        if len(self._past) == 2:
            before, point = self._past[0]
            lapse_before = max(time - before, SHORTEST)
            path = last + (last - point) * (lapse / lapse_before)
            weight += SMOOTH * (FRAME**2 / (lapse * (lapse + lapse_before) / 2)) ** 2
        if deep:
            slow = DEPTH * (FRAME / lapse) ** 2
            smooth = weight[_PELVIS, 2]
            path = path.copy()
            path[_PELVIS, 2] = (smooth * path[_PELVIS, 2] + slow * last[_PELVIS, 2]) / (smooth + slow)
            weight[_PELVIS, 2] += slow
        return path, np.sqrt(weight * seen[:, None])


def _lens(camera: NDArray[np.floating] | None) -> Array | None:
    """(4,) fx fy cx cy; ValueError for an invalid camera."""
    if camera is None:
        return None
    lens = np.asarray(camera, np.float64)
    if lens.shape != (4,) or not np.isfinite(lens).all() or not (lens[:2] > 0).all():
        raise ValueError(f"a camera is fx fy cx cy in pixels with focal lengths above 0, got {lens}")
    return lens


def sources_of(skeleton: Skeleton) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.bool_]]:
    """For each joint of `MOVNECT15` the two joints of `skeleton` whose mean it is, mostly one joint twice,
    and whether it has them.
    """
    sources = list(skeleton.to(MOVNECT15).sources)
    neck = MOVNECT15.index("neck")
    if not sources[neck]:
        names = ("thorax",) if "thorax" in skeleton.joints else MIDDLES["thorax"]
        if set(names) <= set(skeleton.joints):
            sources[neck] = tuple(skeleton.index(name) for name in names)
    has = np.array([bool(s) for s in sources])
    return np.array([s[0] if s else 0 for s in sources]), np.array([s[-1] if s else 0 for s in sources]), has
