"""What a teacher or a student says of people: everything that is evaluated answers through the same few
lines.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from poseling.data.dataset import PoseDataset
from poseling.evaluate.shipped import Shipped
from poseling.files import read_image
from poseling.geometry import Crop
from poseling.skeleton import Skeleton
from poseling.teachers.base import Teacher
from poseling.teachers.tta import ask


class Predicted(NamedTuple):
    """Joints (N, K, 2) in image pixels, scores (N, K), and xyz (N, K, 3) metres from the root in camera axes,
    None from a network that knows no depth.
    """

    joints: NDArray[np.float32]
    scores: NDArray[np.float32]
    xyz: NDArray[np.float32] | None = None


def predict(
    teacher: Teacher,
    dataset: PoseDataset,
    flip: bool = False,
    batch: int = 32,
    read: Callable[[Path], NDArray[np.uint8]] = read_image,
) -> Predicted:
    """What a teacher says of each person's canonical crop, in its own skeleton; what ships (`Shipped`) is
    given the image and crops it itself.

    With `flip` the mirrored crop is asked as well and the two are averaged (the flip test of the pose
    papers). Joints in an image that cannot be read are NaN, which is wrong in every measure; a warning says
    how many and which.
    """
    joints = np.full((len(dataset), len(teacher.skeleton), 2), np.nan, np.float32)
    unreadable = []
    scores = np.zeros(joints.shape[:2], np.float32)
    xyz = np.full((*joints.shape[:2], 3), np.nan, np.float32) if teacher.is_3d else None
    for start in range(0, len(dataset), batch):
        rows, images = [], []
        for i in range(start, min(start + batch, len(dataset))):
            try:
                images.append(read(dataset.images[i]))
                rows.append(i)
            except OSError as error:
                unreadable.append(str(error))
        if not rows:
            continue
        if isinstance(teacher, Shipped):
            poses = [
                teacher.person(image, dataset.boxes[i], flip) for i, image in zip(rows, images, strict=True)
            ]
            for i, pose in zip(rows, poses, strict=True):
                joints[i], scores[i] = pose.xy[0], pose.score[0]
                if xyz is not None and pose.xyz is not None:
                    xyz[i] = pose.xyz[0]
            continue
        crops = [Crop.from_box(dataset.boxes[i], teacher.size, teacher.padding) for i in rows]
        answer = ask(
            teacher,
            np.stack([crop.warp(image) for crop, image in zip(crops, images, strict=True)])[:, None],
            flip,
            (1.0,),
        )
        for i, crop, xy, score in zip(rows, crops, answer.xy.numpy(), answer.score.numpy(), strict=True):
            joints[i], scores[i] = crop.invert(xy), score
        if xyz is not None and answer.xyz is not None:
            xyz[rows] = answer.xyz.numpy()
    if unreadable:
        warnings.warn(
            f"{len(unreadable)} of {len(dataset)} images cannot be read and count as wrong, the first: "
            f"{unreadable[0]}",
            stacklevel=2,
        )
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
