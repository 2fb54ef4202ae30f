"""A teacher that sees people upright: its first prediction tells how far a person leans, and it predicts
again from the crop turned by that angle.

MediaPipe's pipeline shows BlazePose nothing else (Bazarevsky et al., arXiv 2006.10204, section 3.1), so
people who lie or stand on their hands are far from what it was trained on.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from poseling.codecs.warp import warp_maps
from poseling.geometry import Size
from poseling.skeleton import Skeleton
from poseling.teachers.base import Prediction, Teacher

LEAST = 15.0  # degrees of lean from which it is worth predicting again


class Upright:
    """`teacher`, asked in crops turned so that the line from the hips to the shoulders, as it predicts them
    at first, stands upright; its second prediction is turned back. People who lean by less than `least`
    degrees are predicted once.

    It is a `teachers.base.Teacher` that predicts points, whatever the other has. ValueError for a teacher
    whose skeleton lacks hips or shoulders.
    """

    def __init__(self, teacher: Teacher, least: float = LEAST) -> None:
        lacking = [j for part in _ENDS for j in part if j not in teacher.skeleton.joints]
        if lacking:
            raise ValueError(f"{teacher.name}: predicts no {lacking[0]}, so it does not tell how people lean")
        self.teacher, self.least = teacher, least
        self.name = f"{teacher.name}-upright"
        self.digest = f"{teacher.digest}-upright{least:g}"
        self.skeleton: Skeleton = teacher.skeleton
        self.size: Size = teacher.size
        self.padding, self.is_3d, self.licences = teacher.padding, teacher.is_3d, teacher.licences
        self.map_size, self.pixel, self.sigma = None, None, None
        self._ends = [[teacher.skeleton.index(j) for j in part] for part in _ENDS]

    @torch.inference_mode()
    def __call__(self, crops: Tensor) -> Prediction:
        """Predictions for crops (B, H, W, 3), uint8 RGB."""
        first = self.teacher(crops)
        angle = self._lean(first.xy)
        rows = torch.nonzero(angle.abs() >= math.radians(self.least)).flatten()
        if not len(rows):
            return Prediction(first.xy, first.score, None, first.xyz)
        turned, back = _turned(crops[rows], first.xy[rows].mean(1), angle[rows], self.size)
        again = self.teacher(turned)
        xy, score = first.xy.clone(), first.score.clone()
        xy[rows] = again.xy @ back[:, :, :2].transpose(1, 2) + back[:, None, :, 2]
        score[rows] = again.score
        xyz = first.xyz
        if xyz is not None and again.xyz is not None:
            xyz = xyz.clone()
            xyz[rows] = torch.cat(
                [again.xyz[..., :2] @ back[:, :, :2].transpose(1, 2), again.xyz[..., 2:]], -1
            )
        return Prediction(xy, score, None, xyz)

    def _lean(self, xy: Tensor) -> Tensor:
        """(B,) radians by which each person, joints (B, K, 2), leans to the right in the image."""
        hips, shoulders = (xy[:, part].mean(1) for part in self._ends)
        across, down = (shoulders - hips).unbind(-1)
        return torch.atan2(across, -down)


_ENDS = (("left_hip", "right_hip"), ("left_shoulder", "right_shoulder"))


def _turned(crops: Tensor, middle: Tensor, angle: Tensor, size: Size) -> tuple[Tensor, Tensor]:
    """Crops (B, H, W, 3) turned by `angle` (B,) radians to the left about each person's `middle` (B, 2),
    which comes to lie in the centre, black where the crop ends; and the affines (B, 2, 3) that lead back.
    """
    centre = middle.new_tensor([(size[0] - 1) / 2, (size[1] - 1) / 2])
    cos, sin = angle.cos(), angle.sin()
    linear = torch.stack([cos, -sin, sin, cos], -1).view(-1, 2, 2)
    back = torch.cat([linear, (middle - linear @ centre)[..., None]], 2)
    seen = warp_maps(crops.permute(0, 3, 1, 2).float(), back, size)
    return seen.permute(0, 2, 3, 1).round().to(torch.uint8), back
