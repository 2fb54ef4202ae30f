"""Whether a pose puts a limb inside another body part: balls along the limbs of a stick figure."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from poseling.geometry import rotation_matrix
from poseling.synth.joint_limits import JOINTS, PARENTS

Array = NDArray[np.float64]
_INDEX = {joint: i for i, joint in enumerate(JOINTS)}
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
