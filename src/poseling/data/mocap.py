"""Motion capture: clips of a person's 3D joints, which give sequences with exact truth, and how a
camera would see them.

Clips are BVH of the CC_Base rig (Reallusion's Character Creator), such as the CMU motion capture database at
30 frames a second. pybvh reads them (MIT, numpy; its matplotlib, which we have anyway, is not loaded). It
says where the joints are as `scripts/fit_pose_prior.py`'s own reader does, to 1e-12 of a centimetre.
"""

from __future__ import annotations

import struct
import tempfile
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pybvh
from numpy.typing import NDArray

from poseling.data.dataset import usable
from poseling.geometry import rotation_matrix
from poseling.limits import excess
from poseling.skeleton import MOVNECT15, Skeleton

Array = NDArray[np.float64]

SIDED = {
    "shoulder": "Upperarm",
    "elbow": "Forearm",
    "wrist": "Hand",
    "hip": "Thigh",
    "knee": "Calf",
    "ankle": "Foot",
}
RIG = {
    "neck": "CC_Base_NeckTwist01",
    **{
        f"{side}_{joint}": f"CC_Base_{side[0].upper()}_{bone}"
        for side in ("left", "right")
        for joint, bone in SIDED.items()
    },
}
HEAD, EYES = "CC_Base_Head", ("CC_Base_L_Eye", "CC_Base_R_Eye")
CROWN = 0.11  # metres from the eyes' height to the top of an adult's head, about
NEAR = 0.1  # metres
FASTEST = 10_000.0  # frames a second
# metres a second, which no pelvis does: the fastest of the CMU clips does 5. Ten of them start with a frame
# of a T-pose elsewhere, at 60 to 80
JUMP = 10.0


@dataclass(frozen=True, eq=False)
class Motion:
    """A clip of T frames, `fps` a second: xyz (T, K, 3) metres in the world's axes: y up, and x to the left
    and z to the front of the rig's T-pose. The height 0 is that of the lowest joint of the clip, an ankle as
    a rule.
    """

    name: str
    fps: float
    xyz: Array
    skeleton: Skeleton = MOVNECT15


def motions(path: Path, unit: float = 0.01) -> dict[str, Motion]:
    """The clips of a zip file, a folder or one .bvh by their names without the suffix, in order. `unit` is
    how many metres the file's unit of length is.

    Arms, legs and the neck's base are the rig's joints. The pelvis is the middle of the hips. The head top is
    above the head's joint, as high over the eyes as an adult's. Limbs keep their lengths exactly; neck and
    pelvis come nearer where the back bends. A first frame from which the pelvis jumps is left out.
    FileNotFoundError if there is no clip; ValueError that names the file and the clip if it is broken or
    lacks a joint.
    """
    if path.suffix == ".zip" and path.is_file():
        with tempfile.TemporaryDirectory() as folder:
            _unpack(path, Path(folder))
            files = sorted(Path(folder).rglob("*.bvh"), key=lambda file: file.stem)
            clips = {file.stem: _motion(file, f"{path}, {file.name}", unit) for file in files}
    else:
        files = [path] if path.is_file() else sorted(path.rglob("*.bvh"), key=lambda file: file.stem)
        clips = {file.stem: _motion(file, str(file), unit) for file in files}
    if not clips:
        raise FileNotFoundError(f"{path}: there is no .bvh in it")
    return clips


def seen(motion: Motion, heading: float = 0.0, pitch: float = 0.0, distance: float = 4.0) -> Array:
    """(T, K, 3) metres in the axes of a camera that stands still and looks at the middle of the pelvis's way,
    `distance` metres off.

    `heading` in degrees turns the world to the left about the vertical through that middle: at 0 who faces
    the world's z faces the camera, at 90 its right edge, as one sees it. `pitch` is how many degrees the
    camera looks down. ValueError if a joint comes within 10 cm of the camera or behind it.

    >>> one = Motion("still", 30.0, np.array([[[0.0, 1.0, 0.0], [0.2, 1.5, 0.1]]]), Skeleton("two", ("pelvis", "head_top"), (0, 0)))
    >>> seen(one, distance=3).round(6).tolist()
    [[[0.0, 0.0, 3.0], [0.2, -0.5, 2.9]]]
    """
    xyz = motion.xyz - motion.xyz[:, motion.skeleton.index("pelvis")].mean(0)
    turned = xyz @ rotation_matrix(np.array([0.0, np.deg2rad(heading), 0.0])).T
    facing = turned * [1, -1, -1]
    looked_down_at = facing @ rotation_matrix(np.array([np.deg2rad(pitch), 0.0, 0.0])).T
    points = looked_down_at + [0, 0, distance]
    if (nearest := points[..., 2].min()) < NEAR:
        raise ValueError(
            f"{motion.name}: from {distance:g} metres a joint is {nearest:.2f} metres before the camera; "
            f"take a larger distance"
        )
    return np.asarray(points)


def _unpack(path: Path, folder: Path) -> None:
    """The clips of a zip file; ValueError that names it if it is damaged, locked, or claims too much."""
    try:
        with zipfile.ZipFile(path) as archive:
            clips = [member for member in archive.infolist() if member.filename.endswith(".bvh")]
            if more := excess(sum(member.file_size for member in clips)):
                raise ValueError(more)
            archive.extractall(folder, clips)
    except (
        zipfile.BadZipFile,
        zlib.error,
        EOFError,
        RuntimeError,
        NotImplementedError,
        ValueError,
        OSError,
        struct.error,
    ) as error:
        raise ValueError(f"{path}: is not a complete zip file ({error})") from error


def _motion(file: Path, called: str, unit: float) -> Motion:
    """The motion of one file; `called` is its name in errors."""
    try:
        clip = pybvh.read_bvh_file(file, world_up="+y")
        positions, names = np.asarray(clip.joint_positions(), np.float64) * unit, list(clip.joint_names)
    except Exception as error:  # a broken file fails in any way
        raise ValueError(f"{called}: is not a readable BVH file ({type(error).__name__}: {error})") from error
    if missing := sorted({*RIG.values(), HEAD, *EYES} - set(names)):
        raise ValueError(
            f"{called}: the rig has no {', '.join(missing[:3])}; clips have to be of the CC_Base rig"
        )
    if not len(positions):
        raise ValueError(f"{called}: has no frame")

    def at(joint: str) -> Array:
        return positions[:, names.index(joint)]

    joints = {joint: at(bone) for joint, bone in RIG.items()}
    joints["pelvis"] = (joints["left_hip"] + joints["right_hip"]) / 2
    joints["head_top"] = _head_top(at(HEAD), at(EYES[0]), at(EYES[1]))
    xyz = np.stack([joints[joint] for joint in MOVNECT15.joints], 1)
    fps = float(clip.fps)
    if not 0 < fps <= FASTEST or not usable(xyz)[1].all():
        raise ValueError(
            f"{called}: has a frame or a rate of frames that is not a number (Frame Time has to be above 0)"
        )
    pelvis = xyz[:2, MOVNECT15.index("pelvis")]
    if np.linalg.norm(pelvis[-1] - pelvis[0]) * fps > JUMP:
        xyz = xyz[1:]
    return Motion(file.stem, fps, xyz - [0, xyz[..., 1].min(), 0])


def _head_top(head: Array, left: Array, right: Array) -> Array:
    """(T, 3) from the head's joint, where it sits on the neck, and the eyes."""
    # In this rig the eyes of an upright head are as far before its joint as above it: 8.2 cm.
    outward = (left - right) / np.linalg.norm(left - right, axis=-1, keepdims=True)
    eyes = (left + right) / 2 - head
    twice = eyes - np.cross(outward, eyes)
    rise = np.linalg.norm(twice, axis=-1, keepdims=True) / 2
    return head + twice / (2 * rise) * (rise + CROWN)
