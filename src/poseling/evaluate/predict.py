"""A network's predictions for a data set, as one Pose: what everything that is evaluated goes through."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from poseling.data.dataset import PoseDataset
from poseling.evaluate.shipped import Shipped
from poseling.files import read_image
from poseling.geometry import Crop
from poseling.pose import Pose
from poseling.skeleton import Skeleton
from poseling.teachers.base import Teacher
from poseling.teachers.tta import predict_crops


def predict(
    network: Teacher,
    dataset: PoseDataset,
    flip: bool = False,
    batch: int = 32,
    read: Callable[[Path], NDArray[np.uint8]] = read_image,
) -> Pose:
    """The network's prediction for the canonical crop of each of the N samples, in its own skeleton: a Pose
    of N people in pixels of the samples' images. An exported file (`Shipped`) gets the image and crops it
    itself.

    With `flip` the mirrored crop is predicted as well and the two are averaged (the flip test of the pose
    papers). Joints in an image that cannot be read are NaN, which is wrong in every metric; a warning names
    the first and says how many there are.
    """
    xy = np.full((len(dataset), len(network.skeleton), 2), np.nan, np.float32)
    score = np.zeros(xy.shape[:2], np.float32)
    xyz = np.full((*xy.shape[:2], 3), np.nan, np.float32) if network.is_3d else None
    unreadable = []
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
        if isinstance(network, Shipped):
            for i, image in zip(rows, images, strict=True):
                pose = network.person(image, dataset.boxes[i], flip)
                xy[i], score[i] = pose.xy[0], pose.score[0]
                if xyz is not None and pose.xyz is not None:
                    xyz[i] = pose.xyz[0]
            continue
        crops = [Crop.from_box(dataset.boxes[i], network.size, network.padding) for i in rows]
        seen = np.stack([crop.warp(image) for crop, image in zip(crops, images, strict=True)])
        found = predict_crops(network, seen[:, None], flip, (1.0,))
        for i, crop, points in zip(rows, crops, found.xy.numpy(), strict=True):
            xy[i] = crop.invert(points)
        score[rows] = found.score.numpy()
        if xyz is not None and found.xyz is not None:
            xyz[rows] = found.xyz.numpy()
    if unreadable:
        warnings.warn(
            f"{len(unreadable)} of {len(dataset)} images cannot be read and count as wrong, the first: "
            f"{unreadable[0]}",
            stacklevel=2,
        )
    return Pose(xy, score, network.skeleton, xyz)


def in_skeleton(pose: Pose, skeleton: Skeleton) -> Pose:
    """The pose in another skeleton, as `Pose.to`, but with NaN for joints that it does not have, so that they
    count as wrong.
    """
    known, moved = pose.skeleton.to(skeleton).known, pose.to(skeleton)
    xy = np.where(known[:, None], moved.xy, np.nan)
    return replace(
        moved, xy=xy, xyz=None if moved.xyz is None else np.where(known[:, None], moved.xyz, np.nan)
    )
