"""What a student learns from: a batch's labels, and a teacher's predictions, stored or live, as targets of
the student's own codec.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from poseling.codecs import Codec, is_3d
from poseling.codecs.warp import warp_maps
from poseling.distill.hooks import watched
from poseling.skeleton import Skeleton
from poseling.spec import PoseSpec
from poseling.teachers.base import Prediction, Teacher
from poseling.teachers.network import NetworkTeacher

Batch = dict[str, Tensor]
Target = tuple[Tensor, Tensor]  # targets (B, K, ...) as the codec encodes them, and weights (B, K, ...)


class InCrop(NamedTuple):
    """A teacher's prediction in the student's skeleton and crop.

    xy (B, K, 2) in input pixels; maps (B, K, h, w), Gaussians as the student's `codec.heatmap` lays them out;
    xyz (B, K, 3) metres from the root; each with weights (B, K). A joint that is the middle of two has a
    point but no map.
    """

    xy: Tensor
    weight: Tensor
    maps: Tensor | None
    map_weight: Tensor
    xyz: Tensor | None
    xyz_weight: Tensor


@dataclass(frozen=True)
class Targets:
    """Targets for a student with this contract and codec.

    A teacher's predictions come with the batch (stored), or from `teacher`, run on the batch's crops (live).
    `confidence` weighs each joint by the teacher's own score; `width` is the sigma of the stored heatmaps
    over the codec's.
    """

    spec: PoseSpec
    codec: Codec
    teacher: Teacher | None = None
    confidence: bool = False
    width: float = 1.0

    @torch.no_grad()
    def labels(self, batch: Batch) -> Target:
        """Of the labels: joints, and xyz where the batch has them and the codec is 3D."""
        joints, weight = batch["joints"], batch["weight"]
        if not is_3d(self.codec) or "xyz" not in batch:
            return self.codec.encode(joints, weight)
        return self.codec.encode_3d(joints, weight, batch["xyz"], batch["xyz_weight"], self.spec.skeleton)

    @torch.no_grad()
    def teaching(self, batch: Batch, prediction: Prediction | None) -> Target:
        """Of a live teacher's `prediction`, or of the one that is stored in the batch. Samples whose image
        cannot be read weigh nothing.
        """
        if prediction is None:
            targets, weight = self._encoded(self._stored(batch))
        else:
            found = self._whole(prediction)
            targets, weight = self._encoded(self._live(prediction)) if found is None else found
        if is_3d(self.codec):
            targets = self.codec.with_labels(targets, weight, *self.labels(batch))
        readable = 1 - batch["broken"].to(torch.float32)
        return targets, weight * readable.view(-1, *[1] * (weight.ndim - 1))

    def _encoded(self, found: InCrop) -> Target:
        if is_3d(self.codec):
            xyz, xyz_weight = found.xyz, found.xyz_weight
            if xyz is None:
                xyz = found.xy.new_zeros(*found.xy.shape[:2], 3)
                xyz_weight = torch.zeros_like(xyz_weight)
            skeleton, drawn = (
                self.spec.skeleton,
                None if found.maps is None else (found.maps, found.map_weight),
            )
            return self.codec.from_teacher(found.xy, found.weight, xyz, xyz_weight, skeleton, drawn)
        if found.maps is not None:
            return self.codec.from_maps(found.maps), found.map_weight
        return self.codec.from_points(found.xy, found.weight)

    def _stored(self, batch: Batch) -> InCrop:
        weight, maps = self._sure(batch["teacher_weight"]), None
        if "teacher_maps" in batch:
            step, zero = batch["teacher_scale"][..., None, None].unbind(2)
            maps = (batch["teacher_maps"].float() - zero) * step  # as packing.restored
            maps = warp_maps(maps, batch["teacher_matrix"], self.codec.heatmap.map_size, self.width)
        map_weight = self._sure(batch.get("teacher_map_weight", batch["teacher_weight"]))
        xyz_weight = self._sure(batch.get("teacher_xyz_weight", batch["teacher_weight"]))
        return InCrop(batch["teacher_xy"], weight, maps, map_weight, batch.get("teacher_xyz"), xyz_weight)

    def _live(self, prediction: Prediction) -> InCrop:
        assert self.teacher is not None
        teacher, score = self.teacher, prediction.score
        how = conversion(teacher.skeleton, self.spec.skeleton, score.device)
        sizes = zip(self.spec.size, teacher.size, strict=True)
        scale = prediction.xy.new_tensor([(ours - 1) / (theirs - 1) for ours, theirs in sizes])
        matrix = how.matrix.to(prediction.xy)
        xy = (matrix @ prediction.xy) * scale
        xyz = None if prediction.xyz is None else matrix @ prediction.xyz
        sure = torch.minimum(score[:, how.first], score[:, how.second]) * how.known
        single = score[:, how.first] * how.single
        maps = None
        if prediction.maps is not None and teacher.pixel is not None:
            maps = self._maps(teacher, prediction.maps[:, how.first])
        return InCrop(xy, self._sure(sure), maps, self._sure(single), xyz, self._sure(sure))

    def _maps(self, teacher: Teacher, maps: Tensor) -> Tensor:
        """A live teacher's maps, laid out as the student's."""
        assert teacher.pixel is not None
        heatmap = self.codec.heatmap
        # Pixels of the teacher's map in one of the student's, along x and y, both of the same crop.
        x, y = (
            ours * (t - 1) / (s - 1) / theirs
            for ours, theirs, t, s in zip(
                heatmap.pixel, teacher.pixel, teacher.size, self.spec.size, strict=True
            )
        )
        width = (teacher.sigma or heatmap.sigma) / heatmap.sigma
        if abs(x - 1) < 1e-6 and abs(y - 1) < 1e-6 and width == 1:
            return maps  # unchanged, with their negative pixels, as in the authors' code
        between = maps.new_tensor([[x, 0, 0], [0, y, 0]]).expand(len(maps), 2, 3)
        return warp_maps(maps, between, heatmap.map_size, width)

    def _whole(self, prediction: Prediction) -> Target | None:
        """A live teacher's outputs, pixel by pixel, where they are laid out as the student's."""
        teacher = self.teacher
        if prediction.outputs is None or not is_3d(self.codec) or not isinstance(teacher, NetworkTeacher):
            return None
        if teacher.skeleton.joints != self.spec.skeleton.joints:
            return None
        score = prediction.score if self.confidence else torch.ones_like(prediction.score)
        return self.codec.from_outputs(teacher.codec, prediction.outputs, score)

    def _sure(self, weight: Tensor) -> Tensor:
        return weight if self.confidence else (weight > 0).float()


class OnDevice(NamedTuple):
    """A `skeleton.Conversion` as tensors: `matrix` (K', K); `known` (K',), 1 for joints that can be had, and
    `single`, 1 for those that are one joint of the source; `first` and `second` (K',), the one or two joints
    that each comes from, 0 where there is none.
    """

    matrix: Tensor
    known: Tensor
    single: Tensor
    first: Tensor
    second: Tensor


@lru_cache(maxsize=16)
def conversion(source: Skeleton, target: Skeleton, device: torch.device) -> OnDevice:
    """How a teacher's joints become the student's, by name, on this device. ValueError if the two have no
    joint in common.

    >>> hips = Skeleton("hips", ("left_hip", "right_hip"), (0, 0))
    >>> how = conversion(hips, Skeleton("middle", ("pelvis", "nose"), (0, 0)), torch.device("cpu"))
    >>> score = torch.tensor([0.75, 0.5])
    >>> (torch.minimum(score[how.first], score[how.second]) * how.known).tolist(), how.single.tolist()
    ([0.5, 0.0], [0.0, 0.0])
    """
    how = source.to(target)
    first = torch.tensor([sources[0] if sources else 0 for sources in how.sources])
    second = torch.tensor([sources[-1] if sources else 0 for sources in how.sources])
    tensors = (
        torch.from_numpy(how.matrix),
        torch.from_numpy(how.known).float(),
        torch.from_numpy(how.single >= 0).float(),
        first,
        second,
    )
    return OnDevice(*(tensor.to(device) for tensor in tensors))


@torch.no_grad()
def ask(teacher: Teacher, crops: Tensor, places: Sequence[str] = ()) -> tuple[Prediction, dict[str, Tensor]]:
    """A live teacher's prediction for the student's crops (B, H, W, 3) of 0..255, and its features at the
    submodules `places`, on the crops' device.

    The teacher sees the same crops, resized to its input and rounded to uint8.
    """
    width, height = teacher.size
    if crops.shape[1:3] != (height, width):
        crops = F.interpolate(
            crops.permute(0, 3, 1, 2).float(), (height, width), mode="bilinear", align_corners=True
        ).permute(0, 2, 3, 1)
    crops = crops.round().clamp(0, 255).to(torch.uint8)
    if not places or not isinstance(teacher, NetworkTeacher):
        return teacher(crops).to(crops.device), {}
    with watched(teacher.network, places) as seen:
        prediction = teacher(crops).to(crops.device)
    # Out of inference mode, whose tensors autograd would not take.
    return prediction, {name: feature.to(crops.device).float().clone() for name, feature in seen.items()}
