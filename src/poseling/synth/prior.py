"""Human poses: drawn from a mixture fitted to motion capture, then widened towards sports.

A pose is (20, 3) rotation vectors in radians, one for each of `JOINTS` relative to its parent, in the body's
axes: x to the person's left, y up, z to the front. Zero is the T-pose: arms straight out to the sides, palms
down, legs straight down, feet forward. The pelvis has lean and tilt only; the person's heading is set by the
image.

In these axes elbows flex about y (left -, right +: the forearm comes forward), knees about +x (the calf goes
back), hips about -x (the thigh comes forward), the trunk and neck about +x (forward). `prior.npz` has the
parameters that `scripts/fit_pose_prior.py` fitted to 61 clips of the CMU motion capture database, and none of
their frames.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources

import numpy as np
from numpy.typing import NDArray

from poseling.geometry import rotation_matrix

Array = NDArray[np.float64]

_ARM, _LEG = ("collar", "shoulder", "elbow", "wrist"), ("hip", "knee", "ankle")
JOINTS = (
    *("pelvis", "waist", "spine", "chest", "neck", "head"),
    *(f"{side}_{joint}" for side in ("left", "right") for joint in _ARM),
    *(f"{side}_{joint}" for side in ("left", "right") for joint in _LEG),
)
PARENTS = (-1, 0, 1, 2, 3, 4, 3, 6, 7, 8, 3, 10, 11, 12, 0, 14, 15, 0, 17, 18)

SPLITS = ("train", "val", "test")


@dataclass(frozen=True, eq=False)
class Mixture:
    """A Gaussian mixture of poses: shares (C,), means (C, 60) and lower factors (C, 60, 60) of the
    covariances, and the clips it was fitted to.
    """

    shares: Array
    means: Array
    factors: Array
    clips: tuple[str, ...]

    def draw(self, random: np.random.Generator) -> tuple[Array, int]:
        """A pose (20, 3), not yet within the limits, and its component."""
        component = int(random.choice(len(self.shares), p=self.shares))
        z = random.standard_normal(self.means.shape[1])
        return (self.means[component] + self.factors[component] @ z).reshape(-1, 3), component


@dataclass(frozen=True, eq=False)
class Prior:
    """The mixtures by split; the splits have no clip in common."""

    mixtures: Mapping[str, Mixture]

    @classmethod
    def load(cls) -> Prior:
        """The prior that ships with the package."""
        with (
            resources.files("poseling.synth").joinpath("prior.npz").open("rb") as file,
            np.load(file, allow_pickle=False) as arrays,
        ):
            return cls({name: _mixture(arrays, name) for name in SPLITS})

    def sample(self, random: np.random.Generator, split: str) -> tuple[Array, str]:
        """A pose (20, 3) of a split and the name of its motion, such as `train-017`; all its joints are
        within their limits and no limb is in another.

        ValueError for a split that is not one of `SPLITS`.
        """
        if split not in self.mixtures:
            raise ValueError(
                f"there is no split {split!r} of the poses; choose one of {', '.join(self.mixtures)}"
            )
        mixture = self.mixtures[split]
        for _ in range(TRIES):
            rotations, component = mixture.draw(random)
            other, _ = mixture.draw(random)
            rotations = _rotations(_cut(_widened(turns(rotations), turns(other), random)))
            if not collides(rotations):  # about two of three do not
                break
        return rotations, f"{split}-{component:03}"


def _mixture(arrays: Mapping[str, NDArray[np.generic]], name: str) -> Mixture:
    """One split's arrays: `factors` (C, 1830) are the lower halves, row by row."""
    shares, means, halves = (
        np.asarray(arrays[f"{name}_{part}"], np.float64) for part in ("shares", "means", "factors")
    )
    factors = np.zeros((*means.shape, means.shape[1]))
    factors[:, *np.tril_indices(means.shape[1])] = halves
    return Mixture(
        shares / shares.sum(), means, factors, tuple(str(clip) for clip in arrays[f"{name}_clips"])
    )


@dataclass(frozen=True)
class Limit:
    """How far a joint turns about x, y and z, from least to most in degrees: about its `bone` as a twist,
    about the other two as a swing of the bone.

    Between its two axes a swing's limits are quarters of ellipses about `centre`, a turn away from the
    T-pose. A twist counts from the T-pose.
    """

    bone: str
    x: tuple[float, float]
    y: tuple[float, float]
    z: tuple[float, float]
    centre: tuple[float, float, float] = (0, 0, 0)


# Ranges of motion after Greene & Heckman (eds.), "The Clinical Measurement of Joint Motion", American Academy
# of Orthopaedic Surgeons, 1994: shoulder flexion and abduction 180, extension 60, turn 70 in, 90 out; elbow
# 150, pronation and supination 80; wrist flexion 80, extension 70, to the thumb 20, away 30; hip flexion 120,
# extension 30, abduction 45, adduction 30, turn 45; knee 135; ankle up 20, down 50, inversion 35, eversion
# 15; neck 45 each way, turn 60; trunk forward 80, back 25, to a side 35, turn 45. Athletes and dancers, also
# in the clips, go further, so most are 10 to 30 degrees wider. Trunk and neck share theirs among their
# joints, and all of the forearm's turn is the wrist's. Left side; the right one mirrors it.
LIMITS = {
    "pelvis": Limit("y", (-178, 178), (0, 0), (-178, 178)),
    "waist": Limit("y", (-15, 40), (-15, 15), (-15, 15)),
    "spine": Limit("y", (-20, 30), (-18, 18), (-15, 15)),
    "chest": Limit("y", (-20, 30), (-18, 18), (-15, 15)),
    "neck": Limit("y", (-25, 35), (-30, 30), (-22, 22)),
    "head": Limit("y", (-40, 30), (-40, 40), (-22, 22)),
    "collar": Limit("x", (-10, 10), (-25, 15), (-10, 35)),
    # About the middle of the arm's reach: 45 degrees forward and 17 down.
    "shoulder": Limit("x", (-115, 80), (-100, 95), (-105, 115), centre=(0, -45, -17)),
    "elbow": Limit("x", (0, 0), (-150, 0), (0, 0)),
    "wrist": Limit("x", (-80, 80), (-30, 35), (-80, 70)),
    "hip": Limit("y", (-125, 40), (-45, 50), (-30, 65)),
    "knee": Limit("y", (0, 150), (0, 0), (0, 0)),
    "ankle": Limit("z", (-35, 50), (-15, 30), (-35, 20)),
}
_JOINT_LIMITS = tuple(LIMITS[joint.split("_")[-1]] for joint in JOINTS)
_LOW, _HIGH = np.moveaxis(np.deg2rad([[limit.x, limit.y, limit.z] for limit in _JOINT_LIMITS]), -1, 0)
_BONE = np.array([[limit.bone == axis for axis in "xyz"] for limit in _JOINT_LIMITS], np.float64)
_MIRROR = np.array([1.0, -1.0, -1.0])
_SIDE = np.array([_MIRROR if joint.startswith("right_") else np.ones(3) for joint in JOINTS])
_OPPOSITE = {"left": "right", "right": "left"}
_SWAP = np.array(
    [JOINTS.index("_".join(_OPPOSITE.get(word, word) for word in joint.split("_"))) for joint in JOINTS]
)


def mirrored(rotations: Array) -> Array:
    """(..., 20, 3) the same pose mirrored: left and right are swapped."""
    return np.asarray(rotations[..., _SWAP, :] * _MIRROR)


def turns(rotations: Array) -> Array:
    """(..., 20, 3) how far each joint turns, as its `Limit` counts it, in radians; right joints as if they
    were left ones.
    """
    # R = swing * twist: the twist comes first and leaves the bone where it is.
    whole = _quaternion(rotations * _SIDE)
    along = np.sum(whole[..., 1:] * _BONE, -1)
    # At half a turn of swing any twist is right: none is the simplest.
    twist = 2 * np.where(np.hypot(along, whole[..., 0]) > 1e-9, np.arctan2(along, whole[..., 0]), 0)
    twist -= 2 * np.pi * np.round(twist / (2 * np.pi))
    swing = _vector(_between(_BONE, _rotate(_inverse(_CENTRE), _rotate(whole, _BONE))))
    return np.asarray(swing * (1 - _BONE) + twist[..., None] * _BONE)


def _rotations(turned: Array) -> Array:
    """The way back from `turns`."""
    way = _rotate(_CENTRE, _rotate(_quaternion(turned * (1 - _BONE)), _BONE))
    return np.asarray(_vector(_multiply(_between(_BONE, way), _quaternion(turned * _BONE))) * _SIDE)


def clamp(rotations: Array) -> Array:
    """(..., 20, 3) the pose clipped to the joints' limits, swing and twist separately; a pose within them is
    unchanged.
    """
    return _rotations(_cut(turns(rotations)))


def _cut(turned: Array) -> Array:
    """(..., 20, 3) turns within the limits."""
    turned = turned.clip(_LOW, _HIGH)
    reach = np.where(turned < 0, -_LOW, _HIGH)
    shares = np.divide(turned, reach, out=np.zeros_like(turned), where=reach > 0) * (1 - _BONE)
    outside = np.maximum(np.linalg.norm(shares, axis=-1, keepdims=True), 1)
    return np.where(_BONE > 0, turned, turned / outside)


def _quaternion(vector: Array) -> Array:
    """(..., 3) rotation vectors to (..., 4) unit quaternions, the real part first."""
    half = 0.5 * np.linalg.norm(vector, axis=-1, keepdims=True)
    return np.concatenate([np.cos(half), 0.5 * np.sinc(half / np.pi) * vector], -1)


def _vector(quaternion: Array) -> Array:
    """(..., 4) unit quaternions to (..., 3) rotation vectors of at most half a turn."""
    quaternion = np.where(quaternion[..., :1] < 0, -quaternion, quaternion)
    sine = np.linalg.norm(quaternion[..., 1:], axis=-1, keepdims=True)
    angle = 2 * np.arctan2(sine, quaternion[..., :1])
    return np.asarray(quaternion[..., 1:] * np.divide(angle, sine, out=np.full_like(sine, 2), where=sine > 0))


def _multiply(a: Array, b: Array) -> Array:
    """(..., 4) the rotation that does `b` first and `a` after it."""
    v, w = a[..., 1:], b[..., 1:]
    real = a[..., :1] * b[..., :1] - np.sum(v * w, -1, keepdims=True)
    return np.concatenate([real, a[..., :1] * w + b[..., :1] * v + np.cross(v, w)], -1)


def _between(start: Array, end: Array) -> Array:
    """(..., 4) the smallest turn from one unit vector to another; between opposite ones, some half turn."""
    half = np.concatenate([1 + np.sum(start * end, -1, keepdims=True), np.cross(start, end)], -1)
    size = np.linalg.norm(half, axis=-1, keepdims=True)
    across = np.concatenate(
        [np.zeros_like(half[..., :1]), np.broadcast_to(np.roll(start, 1, -1), half[..., 1:].shape)], -1
    )
    return np.where(size > 1e-9, half / np.maximum(size, 1e-9), across)


def _inverse(quaternion: Array) -> Array:
    return np.asarray(quaternion * np.array([1, -1, -1, -1]))


def _rotate(quaternion: Array, points: Array) -> Array:
    """(..., 3) points turned."""
    v = quaternion[..., 1:]
    t = 2 * np.cross(v, points)
    return np.asarray(points + quaternion[..., :1] * t + np.cross(v, t))


_CENTRE = _quaternion(np.deg2rad([limit.centre for limit in _JOINT_LIMITS]))


# How often and how much a drawn pose is changed: the clips show walking, dancing, climbing and games, and
# hardly ever sitting, throwing, kicking or turning upside down.
WAYS = {
    "as_drawn": 0.44,
    "arms_anywhere": 0.14,
    "arms_overhead": 0.08,
    "crouch": 0.06,
    "sit": 0.05,
    "kick": 0.07,
    "stride": 0.05,
    "bend": 0.04,
    "lie": 0.03,
    "tumble": 0.04,
}
MIX = 0.35  # how often a limb, or both arms, or both legs, come from another draw
NOISE = 0.04  # spread of each turn, by its range
TRIES = 30

_INDEX = {joint: i for i, joint in enumerate(JOINTS)}
_ARMS, _LEGS = (
    [[_INDEX[f"{side}_{joint}"] for joint in limb] for side in ("left", "right")] for limb in (_ARM, _LEG)
)
_LIMBS = (*_ARMS, *_LEGS, _ARMS[0] + _ARMS[1], _LEGS[0] + _LEGS[1])


def _widened(turned: Array, other: Array, random: np.random.Generator) -> Array:
    """(20, 3) turns of a pose, changed towards sports; they may be beyond the limits. `other` is a second
    draw.
    """
    turned = turned.copy()
    if random.random() < MIX:
        limb = _LIMBS[random.integers(len(_LIMBS))]
        turned[limb] = other[limb]
    way = str(random.choice(list(WAYS), p=list(WAYS.values())))
    if way != "as_drawn":
        _change(turned, way, random)
    spread = NOISE * (_HIGH - _LOW)
    spread[0] = np.deg2rad([6, 0, 6])
    return np.asarray(turned + spread * random.standard_normal(turned.shape))


def _change(turned: Array, way: str, random: np.random.Generator) -> None:
    """Draw the turns of the joints that make a way. Everything is in degrees and counts as for the left side:
    hips flex to -x, abduct to +z; knees flex to +x; arms rise to +z.
    """

    def put(
        joint: str,
        x: tuple[float, float] | None = None,
        y: tuple[float, float] | None = None,
        z: tuple[float, float] | None = None,
    ) -> None:
        for axis, between in enumerate((x, y, z)):
            if between is not None:
                turned[_INDEX[joint], axis] = np.deg2rad(random.uniform(*between))

    sides = ("left", "right") if random.random() < 0.5 else ("right", "left")
    one, two = sides
    if way == "arms_anywhere" or (way in ("lie", "sit") and random.random() < 0.5):
        for side in sides[: random.integers(1, 3)]:
            shoulder = _INDEX[f"{side}_shoulder"]
            direction, far = random.uniform(0, 2 * np.pi), np.sqrt(random.random())
            y, z = far * np.cos(direction), far * np.sin(direction)
            turned[shoulder, 1:] = [
                y * (_HIGH if y > 0 else -_LOW)[shoulder, 1],
                z * (_HIGH if z > 0 else -_LOW)[shoulder, 2],
            ]
            put(f"{side}_shoulder", x=(-70, 60))
            turned[_INDEX[f"{side}_elbow"], 1] = np.deg2rad(-140) * random.random() ** 1.5
    elif way == "arms_overhead" or (way == "tumble" and random.random() < 0.7):
        for side in sides[: 2 if way == "tumble" else random.integers(1, 3)]:
            put(f"{side}_collar", z=(10, 35))
            put(f"{side}_shoulder", x=(-95, -10), y=(-25, 45), z=(70, 115))
            turned[_INDEX[f"{side}_elbow"], 1] = np.deg2rad(-120) * random.random() ** 2
    lean, bend = random.uniform(0, 1, 2)
    if way == "crouch":
        flexed, open_by = random.uniform(70, 120), random.uniform(0, 35)
        put("pelvis", x=(0, 45))
        for side in sides:
            put(f"{side}_hip", x=(-flexed - 15, -flexed + 15), z=(open_by - 8, open_by + 8))
            put(f"{side}_knee", x=(flexed - 10, flexed + 35))
            put(f"{side}_ankle", x=(-30, 10))
        put("spine", x=(0, 25))
    elif way == "sit":
        put("pelvis", x=(-25, 15))
        knee, open_by = random.uniform(5, 120), random.uniform(-5, 30)
        for side in sides:
            put(f"{side}_hip", x=(-110, -75), y=(-10, 30), z=(open_by - 8, open_by + 8))
            put(f"{side}_knee", x=(knee - 20, knee + 20))
            put(f"{side}_ankle", x=(-10, 40))
    elif way == "kick":
        put("pelvis", x=(-30, 10), z=(-20, 20))
        put(f"{one}_hip", x=(-125, -40) if lean < 0.6 else (-40, 10), z=(-15, 30) if lean < 0.6 else (40, 65))
        put(f"{one}_knee", x=(0, 60))
        put(f"{one}_ankle", x=(0, 50))
        put(f"{two}_hip", x=(-15, 30), z=(-5, 20))
        put(f"{two}_knee", x=(0, 40))
    elif way == "stride":
        put("pelvis", x=(-10, 30))
        put(f"{one}_hip", x=(-115, -35), z=(-5, 30))
        put(f"{one}_knee", x=(0, 100))
        put(f"{two}_hip", x=(5, 40), z=(-5, 25))
        put(f"{two}_knee", x=(0, 100))
    elif way == "bend":
        tilt = random.uniform(30, 105)
        put("pelvis", x=(tilt, tilt), z=(-10, 10))
        for joint in ("waist", "spine", "chest"):
            put(joint, x=(-5, 25))
        for side in sides:
            put(f"{side}_hip", x=(-tilt - 20, -tilt + 20), z=(0, 25))
            put(f"{side}_knee", x=(0, 50))
    elif way in ("lie", "tumble"):
        direction = random.choice([0, 0.5, 1, 1.5]) * np.pi + random.normal(0, 0.3)
        angle = np.deg2rad(random.uniform(75, 105) if way == "lie" else random.uniform(60, 178))
        turned[0] = angle * np.cos(direction), 0, angle * np.sin(direction)
        if way == "tumble":
            for side in sides:
                put(f"{side}_hip", x=(-70, 35), z=(-5, 65))
                put(f"{side}_knee", x=(0, 100 * bend))
                put(f"{side}_ankle", x=(10, 50))


# A stick figure of 1.75 m in the T-pose: where each joint is from its parent, in metres, and the ends of
# head, hands and feet.
OFFSETS = np.array(
    [
        *[(0, 0, 0), (0, 0.09, 0), (0, 0.10, 0), (0, 0.12, 0), (0, 0.22, -0.01), (0, 0.09, 0.01)],
        *[
            (0.03, 0.17, 0),
            (0.15, 0.01, 0),
            (0.29, 0, 0),
            (0.26, 0, 0),
            (-0.03, 0.17, 0),
            (-0.15, 0.01, 0),
            (-0.29, 0, 0),
            (-0.26, 0, 0),
        ],
        *[(0.09, -0.03, 0), (0, -0.43, 0), (0, -0.43, 0), (-0.09, -0.03, 0), (0, -0.43, 0), (0, -0.43, 0)],
    ]
)
ENDS = {
    "head": (0.0, 0.21, 0.02),
    "left_wrist": (0.17, 0.0, 0.0),
    "right_wrist": (-0.17, 0.0, 0.0),
    "left_ankle": (0.0, -0.05, 0.17),
    "right_ankle": (0.0, -0.05, 0.17),
}


def figure(rotations: Array) -> tuple[Array, Array]:
    """The stick figure's joints (20, 3) and its ends (5, 3), in metres from the pelvis."""
    local = rotation_matrix(rotations)
    turned, places = np.zeros((len(JOINTS), 3, 3)), np.zeros((len(JOINTS), 3))
    for joint, parent in enumerate(PARENTS):
        turned[joint] = local[joint] if parent < 0 else turned[parent] @ local[joint]
        if parent >= 0:
            places[joint] = places[parent] + turned[parent] @ OFFSETS[joint]
    return places, np.array(
        [places[_INDEX[joint]] + turned[_INDEX[joint]] @ end for joint, end in ENDS.items()]
    )


# The radius in metres of the balls that each part is made of; small enough that the clips' poses (standing,
# walking, dancing, climbing) hardly ever collide.
_BALLS = (
    ("trunk", 0.085),
    ("head", 0.10),
    *(
        (f"{side}_{part}", r)
        for side in ("left", "right")
        for part, r in (("upper", 0.04), ("fore", 0.035), ("hand", 0.02), ("thigh", 0.045), ("shin", 0.045))
    ),
)


def collides(rotations: Array) -> bool:
    """Whether a limb of the stick figure (20, 3) is inside another, or inside the trunk or the head."""
    joints, ends = figure(rotations)
    at = {name: joints[i] for name, i in _INDEX.items()}
    top, left_hand, right_hand = ends[:3]
    across = 0.05 * (at["left_hip"] - at["right_hip"]) / np.linalg.norm(at["left_hip"] - at["right_hip"])
    middle = _along(at["pelvis"], at["chest"] + 0.5 * (at["neck"] - at["chest"]))
    parts = {
        "trunk": np.concatenate([middle - across, middle, middle + across]),
        "head": _along(at["head"], top)[1:5],
    }
    for side, hand in (("left", left_hand), ("right", right_hand)):
        parts[f"{side}_upper"] = _along(at[f"{side}_shoulder"], at[f"{side}_elbow"])
        parts[f"{side}_fore"] = _along(at[f"{side}_elbow"], at[f"{side}_wrist"])
        parts[f"{side}_hand"] = _along(at[f"{side}_wrist"], hand)
        parts[f"{side}_thigh"] = _along(at[f"{side}_hip"], at[f"{side}_knee"])
        parts[f"{side}_shin"] = _along(at[f"{side}_knee"], at[f"{side}_ankle"])
    balls = np.concatenate([parts[name] for name, _ in _BALLS])
    part = np.repeat(np.arange(len(_BALLS)), [len(parts[name]) for name, _ in _BALLS])
    radius = np.array([r for _, r in _BALLS])[part]
    distance = np.linalg.norm(balls[:, None] - balls[None], axis=-1)
    return bool((_APART[part[:, None], part] & (distance < radius[:, None] + radius)).any())


def _along(start: Array, end: Array) -> Array:
    """(6, 3) points from start to end."""
    return np.asarray(start + np.linspace(0, 1, 6)[:, None] * (end - start))


def _may_touch(a: str, b: str) -> bool:
    """Whether two parts are neighbours on the body, and so always close."""
    side_a, _, part_a = a.rpartition("_")
    side_b, _, part_b = b.rpartition("_")
    pair = {part_a, part_b}
    if side_a and side_b and side_a != side_b:
        return False
    return a == b or pair in (
        {"trunk", "head"},
        {"trunk", "upper"},
        {"trunk", "thigh"},
        {"upper", "fore"},
        {"fore", "hand"},
        {"thigh", "shin"},
        {"head", "upper"},
    )


_APART = np.array([[not _may_touch(a, b) for a, _ in _BALLS] for b, _ in _BALLS])
