"""BVH: a person's motion as a file that Blender, Maya and pybvh read. Centimetres, y up, and the body of
`kinematics` in its T as the rest pose.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from poseling.geometry import quaternion_matrix
from poseling.live.turns import inverse, multiply, part
from poseling.runtime.kinematics import BONES, JOINTS, PARENTS

Array = NDArray[np.float64]

# Where a joint sits from its parent, and where its bone ends: a direction and the length's name.
_OFFSETS: dict[str, tuple[tuple[int, int, int], str] | None] = {
    "pelvis": None,
    "spine": None,
    "neck": ((0, 1, 0), "trunk"),
    **{f"{side}_{joint}": (way, bone) for side, sign in (("left", 1), ("right", -1)) for joint, way, bone in (
        ("collar", (0, 1, 0), "trunk"), ("shoulder", (sign, 0, 0), "shoulder"), ("elbow", (sign, 0, 0), "upper_arm"),
        ("hip", (sign, 0, 0), "hip"), ("knee", (0, -1, 0), "thigh"))},
}  # fmt: skip
_ENDS: dict[str, tuple[tuple[int, int, int], str]] = {
    "neck": ((0, 1, 0), "head"),
    **{f"{side}_elbow": ((sign, 0, 0), "forearm") for side, sign in (("left", 1), ("right", -1))},
    **{f"{side}_knee": ((0, -1, 0), "shin") for side in ("left", "right")},
}
_CHILDREN = {joint: [child for child in JOINTS if PARENTS[child] == joint] for joint in JOINTS}


def bvh(
    rotations: NDArray[np.floating], places: NDArray[np.floating], lengths: NDArray[np.floating], fps: float
) -> str:
    """The file's text, of T frames, `fps` a second.

    rotations (T, 13, 4) are upright turns (`turns.upright`) of `kinematics.JOINTS`, places (T, 3) the pelvis
    in metres, y up, and lengths (8,) in metres those of `kinematics.BONES`. ValueError for what is not
    finite or has another shape, and for no frame.
    """
    turns, moves = np.asarray(rotations, np.float64), np.asarray(places, np.float64)
    if (
        turns.shape[1:] != (len(JOINTS), 4)
        or moves.shape != (len(turns), 3)
        or np.shape(lengths) != (len(BONES),)
        or not len(turns)
    ):
        raise ValueError(
            f"a BVH needs rotations (T, 13, 4), places (T, 3) and lengths (8,), got {turns.shape}, {moves.shape} and {np.shape(lengths)}"
        )
    if not (
        np.isfinite(turns).all()
        and np.isfinite(moves).all()
        and np.isfinite(lengths).all()
        and 0 < fps < np.inf
    ):
        raise ValueError("a BVH has numbers alone, and more than 0 frames a second")
    order: list[str] = []
    lines = ["HIERARCHY", *_joint("pelvis", np.asarray(lengths, np.float64), 0, order), "MOTION"]
    lines += [f"Frames: {len(turns)}", f"Frame Time: {1 / fps:.6f}"]
    angles = euler(turns)[:, [JOINTS.index(joint) for joint in order]].reshape(len(turns), -1)
    for row in np.concatenate([100 * moves, angles], 1):
        lines.append(" ".join(_number(value, 4) for value in row))
    return "\n".join(lines) + "\n"


def euler(turns: NDArray[np.floating]) -> Array:
    """(..., 4) quaternions to (..., 3) degrees about z, x and y, in the order of the file's channels: the
    matrix is Rz Rx Ry.

    >>> euler(np.array([np.cos(0.25), 0, 0, np.sin(0.25)])).round(4).tolist()
    [28.6479, 0.0, 0.0]
    """
    m = quaternion_matrix(turns)
    x = np.arcsin(np.clip(m[..., 2, 1], -1, 1))
    # Where x is a quarter turn, z and y turn about one axis: all of it is given to z.
    locked = np.abs(m[..., 2, 1]) > 1 - 1e-9
    y = np.where(locked, 0, np.arctan2(-m[..., 2, 0], m[..., 2, 2]))
    z = np.where(locked, np.arctan2(m[..., 1, 0], m[..., 0, 0]), np.arctan2(-m[..., 0, 1], m[..., 1, 1]))
    return np.rad2deg(np.stack([z, x, y], -1)) + 0.0


def even(
    times: NDArray[np.floating], rotations: NDArray[np.floating], places: NDArray[np.floating], fps: float
) -> tuple[Array, Array]:
    """Rotations (T, 13, 4) and places (T, 3) at times (T,), which grow, as they are `fps` times a second
    from the first time to the last.
    """
    seconds = np.asarray(times, np.float64)
    count = 1 + int((seconds[-1] - seconds[0]) * fps + 1e-6)
    turns, moves = np.empty((count, *rotations.shape[1:])), np.empty((count, 3))
    for frame in range(count):
        now = seconds[0] + frame / fps
        after = min(max(int(np.searchsorted(seconds, now, side="right")), 1), max(len(seconds) - 1, 1))
        first, second = after - 1, min(after, len(seconds) - 1)
        gap = seconds[second] - seconds[first]
        share = float(np.clip((now - seconds[first]) / gap, 0, 1)) if gap > 0 else 0.0
        moves[frame] = (1 - share) * places[first] + share * places[second]
        for joint, (a, b) in enumerate(zip(rotations[first], rotations[second], strict=True)):
            turns[frame, joint] = multiply(a, part(multiply(inverse(a), b), share))
    return turns, moves


def _joint(joint: str, lengths: Array, depth: int, order: list[str]) -> list[str]:
    """The lines of a joint and all below it; it is put into `order`."""
    order.append(joint)
    pad, channels = "  " * depth, "Zrotation Xrotation Yrotation"
    lines = [
        f"{pad}{'JOINT' if depth else 'ROOT'} {joint}",
        pad + "{",
        f"{pad}  OFFSET {_offset(_OFFSETS[joint], lengths)}",
    ]
    lines.append(
        f"{pad}  CHANNELS 3 {channels}"
        if depth
        else f"{pad}  CHANNELS 6 Xposition Yposition Zposition {channels}"
    )
    for child in _CHILDREN[joint]:
        lines += _joint(child, lengths, depth + 1, order)
    if joint in _ENDS:
        lines += [
            f"{pad}  End Site",
            f"{pad}  " + "{",
            f"{pad}    OFFSET {_offset(_ENDS[joint], lengths)}",
            f"{pad}  " + "}",
        ]
    return [*lines, pad + "}"]


def _offset(what: tuple[tuple[int, int, int], str] | None, lengths: Array) -> str:
    way, bone = what or ((0, 0, 0), BONES[0])
    return " ".join(_number(100 * lengths[BONES.index(bone)] * axis, 4) for axis in way)


def _number(value: float, digits: int) -> str:
    """As JavaScript's toFixed writes it, without -0."""
    text = f"{value:.{digits}f}"
    return text.removeprefix("-") if float(text) == 0 else text
