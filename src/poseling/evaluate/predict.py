"""What a teacher or a student says of people: everything that is evaluated answers through the same few lines."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from poseling.data.people import People
from poseling.files import read_picture
from poseling.geometry import Crop
from poseling.skeleton import Skeleton
from poseling.teachers.base import Teacher
from poseling.teachers.views import ask


def predict(
    teacher: Teacher, people: People, flip: bool = False, batch: int = 32, read: Callable[[Path], NDArray[np.uint8]] = read_picture
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Joints (N, K, 2) in picture pixels and scores (N, K), in the teacher's skeleton, from the canonical crop of each person.

    With `flip` the mirrored crop is asked as well and the two are averaged (the flip test of the pose papers). Joints in a picture that cannot be read are NaN,
    which is wrong in every measure; a warning says how many and which.
    """
    joints = np.full((len(people), len(teacher.skeleton), 2), np.nan, np.float32)
    unreadable = []
    scores = np.zeros(joints.shape[:2], np.float32)
    for start in range(0, len(people), batch):
        rows = range(start, min(start + batch, len(people)))
        crops = [Crop.from_box(people.boxes[i], teacher.size, teacher.padding) for i in rows]
        seen, pictures = [], []
        for i, crop in zip(rows, crops, strict=True):
            try:
                pictures.append(crop.warp(read(people.pictures[i])))
                seen.append((i, crop))
            except OSError as error:
                unreadable.append(str(error))
        if not seen:
            continue
        answer = ask(teacher, np.stack(pictures)[:, None], flip, (1.0,))
        for (i, crop), xy, score in zip(seen, answer.xy.numpy(), answer.score.numpy(), strict=True):
            joints[i], scores[i] = crop.invert(xy), score
    if unreadable:
        warnings.warn(f"{len(unreadable)} of {len(people)} pictures cannot be read and count as wrong, the first: {unreadable[0]}", stacklevel=2)
    return joints, scores


def in_skeleton(teacher: Teacher, skeleton: Skeleton, joints: NDArray[np.floating]) -> NDArray[np.float32]:
    """A teacher's joints (N, K, 2) in another skeleton; NaN for joints that it does not know."""
    how = teacher.skeleton.to(skeleton)
    out = how.joints(joints).astype(np.float32)
    out[:, ~how.known] = np.nan
    return out
