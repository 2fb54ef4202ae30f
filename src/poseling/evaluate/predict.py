"""What a teacher or a student says of people: everything that is evaluated answers through the same few lines."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from poseling.codecs.heatmap import Heatmap
from poseling.data.people import People, read_picture
from poseling.geometry import Crop
from poseling.skeleton import Skeleton
from poseling.teachers.base import Answer, Teacher


def predict(teacher: Teacher, people: People, flip: bool = False, batch: int = 32) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Joints (N, K, 2) in picture pixels and scores (N, K), in the teacher's skeleton, from the canonical crop of each person.

    With `flip` the mirrored crop is asked as well and the two are averaged (the flip test of the pose papers).
    """
    joints = np.zeros((len(people), len(teacher.skeleton), 2), np.float32)
    scores = np.zeros(joints.shape[:2], np.float32)
    for start in range(0, len(people), batch):
        rows = range(start, min(start + batch, len(people)))
        crops = [Crop.from_box(people.boxes[i], teacher.size, teacher.padding) for i in rows]
        pictures = torch.from_numpy(np.stack([crop.warp(read_picture(people.pictures[i])) for crop, i in zip(crops, rows, strict=True)]))
        answer = ask(teacher, pictures, flip)
        scores[start : rows.stop] = answer.score.cpu().numpy()
        for i, crop, xy in zip(rows, crops, answer.xy.cpu().numpy(), strict=True):
            joints[i] = crop.invert(xy)
    return joints, scores


def in_skeleton(teacher: Teacher, skeleton: Skeleton, joints: NDArray[np.floating]) -> NDArray[np.float32]:
    """A teacher's joints (N, K, 2) in another skeleton; NaN for joints that it does not know."""
    how = teacher.skeleton.to(skeleton)
    out = how.joints(joints).astype(np.float32)
    out[:, ~how.known] = np.nan
    return out


def ask(teacher: Teacher, crops: Tensor, flip: bool) -> Answer:
    """A teacher's answer for crops (B, H, W, 3), averaged over the mirrored crop if `flip`."""
    answer = teacher(crops)
    if not flip:
        return answer
    mirrored, swap = teacher(crops.flip(2)), torch.from_numpy(teacher.skeleton.flip)
    # In a biased geometry the mirrored heatmap is not the heatmap of the mirrored picture: then the points are averaged.
    if answer.maps is not None and mirrored.maps is not None and teacher.pixel is not None and _unbiased(answer.maps, teacher):
        maps = (answer.maps + mirrored.maps[:, swap].flip(-1)) / 2
        return Answer(*_decode(maps, teacher), maps)
    back = mirrored.xy[:, swap]
    back = torch.stack([teacher.size[0] - 1 - back[..., 0], back[..., 1]], -1)
    return Answer((answer.xy + back) / 2, (answer.score + mirrored.score[:, swap]) / 2)


def _unbiased(maps: Tensor, teacher: Teacher) -> bool:
    """Whether the outermost pixels of the maps lie on the outermost of the input, so that mirroring the one mirrors the other."""
    assert teacher.pixel is not None
    return abs(teacher.pixel[0] * (maps.shape[-1] - 1) - (teacher.size[0] - 1)) < 1e-3


def _decode(maps: Tensor, teacher: Teacher) -> tuple[Tensor, Tensor]:
    """Maps to joints in pixels of the teacher's input and scores: by the codec of one of our networks, and by DARK for a guest."""
    assert teacher.pixel is not None
    own = getattr(teacher, "codec", None)
    if isinstance(own, Heatmap):
        return replace(own, softmax=False).decode(maps)  # answers hold Gaussians, whatever the network's outputs are
    xy, score = Heatmap((maps.shape[-1], maps.shape[-2]), stride=1).decode(maps)  # at stride 1 it answers in pixels of the map
    return xy * xy.new_tensor(teacher.pixel), score
