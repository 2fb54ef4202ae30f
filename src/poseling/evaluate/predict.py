"""What a teacher or a student says of people: everything that is evaluated answers through the same few lines."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from poseling.data.people import People
from poseling.files import read_picture
from poseling.geometry import Crop
from poseling.skeleton import Skeleton
from poseling.teachers.base import Teacher
from poseling.teachers.views import ask


class Predicted(NamedTuple):
    """Joints (N, K, 2) in picture pixels, scores (N, K), and xyz (N, K, 3) metres from the root in camera axes, None from a network that knows no depth."""

    joints: NDArray[np.float32]
    scores: NDArray[np.float32]
    xyz: NDArray[np.float32] | None = None


def predict(
    teacher: Teacher, people: People, flip: bool = False, batch: int = 32, read: Callable[[Path], NDArray[np.uint8]] = read_picture
) -> Predicted:
    """What a teacher says of each person's canonical crop, in its own skeleton.

    With `flip` the mirrored crop is asked as well and the two are averaged (the flip test of the pose papers). Joints in a picture that cannot be read are NaN,
    which is wrong in every measure; a warning says how many and which.
    """
    joints = np.full((len(people), len(teacher.skeleton), 2), np.nan, np.float32)
    unreadable = []
    scores = np.zeros(joints.shape[:2], np.float32)
    xyz = np.full((*joints.shape[:2], 3), np.nan, np.float32) if teacher.spatial else None
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
        if xyz is not None and answer.xyz is not None:
            xyz[[i for i, _ in seen]] = answer.xyz.numpy()
    if unreadable:
        warnings.warn(f"{len(unreadable)} of {len(people)} pictures cannot be read and count as wrong, the first: {unreadable[0]}", stacklevel=2)
    return Predicted(joints, scores, xyz)


def in_skeleton(teacher: Teacher, skeleton: Skeleton, predicted: Predicted) -> Predicted:
    """A teacher's answers in another skeleton; NaN for joints that it does not know, with a score of 0."""
    how = teacher.skeleton.to(skeleton)

    def moved(joints: NDArray[np.float32]) -> NDArray[np.float32]:
        out = how.joints(joints).astype(np.float32)
        out[:, ~how.known] = np.nan
        return out

    xyz = None if predicted.xyz is None else moved(predicted.xyz)
    return Predicted(moved(predicted.joints), how.weights(predicted.scores), xyz)
