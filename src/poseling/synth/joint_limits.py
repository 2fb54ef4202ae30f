"""The joints of a pose, and how far each of them turns: twists and swings within anatomical limits."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
ARM, LEG = ("collar", "shoulder", "elbow", "wrist"), ("hip", "knee", "ankle")
JOINTS = (
    *("pelvis", "waist", "spine", "chest", "neck", "head"),
    *(f"{side}_{joint}" for side in ("left", "right") for joint in ARM),
    *(f"{side}_{joint}" for side in ("left", "right") for joint in LEG),
)

PARENTS = (-1, 0, 1, 2, 3, 4, 3, 6, 7, 8, 3, 10, 11, 12, 0, 14, 15, 0, 17, 18)


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
LOW, HIGH = np.moveaxis(np.deg2rad([[limit.x, limit.y, limit.z] for limit in _JOINT_LIMITS]), -1, 0)
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


def rotations_of(turned: Array) -> Array:
    """The way back from `turns`."""
    way = _rotate(_CENTRE, _rotate(_quaternion(turned * (1 - _BONE)), _BONE))
    return np.asarray(_vector(_multiply(_between(_BONE, way), _quaternion(turned * _BONE))) * _SIDE)


def clamp(rotations: Array) -> Array:
    """(..., 20, 3) the pose clipped to the joints' limits, swing and twist separately; a pose within them is
    unchanged.
    """
    return rotations_of(clip(turns(rotations)))


def clip(turned: Array) -> Array:
    """(..., 20, 3) turns within the limits."""
    turned = turned.clip(LOW, HIGH)
    reach = np.where(turned < 0, -LOW, HIGH)
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
