"""Test-time augmentation: a teacher predicts mirrored and zoomed crops of the same sample, and the
predictions are averaged in the canonical crop.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from poseling.codecs.heatmap import Heatmap
from poseling.codecs.warp import warp_maps
from poseling.geometry import Crop, Size, compose
from poseling.teachers.base import Prediction, Teacher
from poseling.teachers.network import NetworkTeacher


@torch.inference_mode()
def predict_crops(
    teacher: Teacher, crops: NDArray[np.uint8], flip: bool, scales: Sequence[float]
) -> Prediction:
    """The prediction for canonical crops (B, S, H, W, 3) uint8 RGB at S `scales`, on the CPU: for one view
    the teacher's own, for several the mean.

    With `flip` the mirrored crops are views as well. Means of heatmaps are decoded again; points and metres
    are weighted by their scores. A zoom changes pixels, not metres. ValueError if a prediction does not have
    the shapes that the teacher declares, or has numbers that are not finite.
    """
    found, total = [], len(scales) * (2 if flip else 1)
    for view, scale in enumerate(scales):
        seen = torch.from_numpy(np.ascontiguousarray(crops[:, view]))
        for mirrored in (False, True) if flip else (False,):
            one = _checked(teacher, teacher(seen.flip(2) if mirrored else seen), len(seen))
            found.append(one if total == 1 else _canonical(teacher, one, scale, mirrored))
    if total == 1:
        return _cpu(found[0])
    weight = torch.stack([one.score for one in found])
    space = [one.xyz for one in found if one.xyz is not None]
    xyz = _mean(space, weight) if space else None
    if any(one.maps is None for one in found):
        return _cpu(Prediction(_mean([one.xy for one in found], weight), weight.mean(0), xyz=xyz))
    maps = torch.stack([one.maps for one in found if one.maps is not None]).mean(0)
    return _cpu(Prediction(*_decode(teacher, maps), maps, xyz))


def _mean(points: Sequence[Tensor], weight: Tensor) -> Tensor:
    """The weighted mean of V predictions (B, K, D) with weights (V, B, K)."""
    return (torch.stack(list(points)) * weight[..., None]).sum(0) / weight.sum(0).clamp(min=1e-6)[..., None]


def _decode(teacher: Teacher, maps: Tensor) -> tuple[Tensor, Tensor]:
    """A teacher's maps (B, K, h, w) to joints and scores: by the codec of one of our own networks, by DARK
    for a foreign one.
    """
    if isinstance(teacher, NetworkTeacher):
        # A prediction's maps are Gaussians, whatever the network's outputs are.
        return teacher.codec.heatmap.decode(maps)
    # At stride 1 the joints are in pixels of the map.
    codec = Heatmap((maps.shape[-1], maps.shape[-2]), stride=1, sigma=teacher.sigma or 2.0)
    xy, score = codec.decode(maps)
    return xy * xy.new_tensor(_pixel(teacher)), score


def _canonical(teacher: Teacher, found: Prediction, scale: float, mirrored: bool) -> Prediction:
    """The prediction for a zoomed or mirrored crop, moved to the canonical one."""
    width, height = teacher.size
    # From the canonical crop to the view: about the centre, as Crop.from_box zooms, and then mirrored.
    view = np.array([[scale, 0, (1 - scale) * (width - 1) / 2], [0, scale, (1 - scale) * (height - 1) / 2]])
    if mirrored:
        view = compose(np.array([[-1.0, 0, width - 1], [0, 1, 0]]), view)
    back = found.xy.new_tensor(Crop(view, teacher.size).inverse)
    xy = found.xy @ back[:, :2].T + back[:, 2]
    maps, xyz, swap = found.maps, found.xyz, torch.from_numpy(teacher.skeleton.flip)
    if maps is not None:
        pixel = np.array([*_pixel(teacher), 1.0])
        maps = warp_maps(
            maps,
            maps.new_tensor(view * pixel / pixel[:2, None]).expand(len(maps), 2, 3),
            (maps.shape[-1], maps.shape[-2]),
        )
    if not mirrored:
        return Prediction(xy, found.score, maps, xyz)
    if xyz is not None:
        xyz = (xyz * xyz.new_tensor([-1, 1, 1]))[:, swap]
    return Prediction(xy[:, swap], found.score[:, swap], None if maps is None else maps[:, swap], xyz)


def _pixel(teacher: Teacher) -> tuple[float, float]:
    if teacher.pixel is None:
        raise ValueError(
            f"teacher {teacher.name} predicts heatmaps but does not declare how many input pixels one of "
            f"their pixels is; set its `pixel`"
        )
    return teacher.pixel


def _checked(teacher: Teacher, found: Prediction, samples: int) -> Prediction:
    """The prediction, if it has the shapes that the teacher declares and finite numbers; else ValueError."""
    count, size = len(teacher.skeleton), teacher.map_size
    expected: dict[str, tuple[Tensor | None, tuple[int, ...]]] = {
        "xy": (found.xy, (samples, count, 2)),
        "score": (found.score, (samples, count)),
    }
    if size is not None or found.maps is not None:
        expected["maps"] = (found.maps, (samples, count, *_reversed(size)))
    if teacher.is_3d or found.xyz is not None:
        expected["xyz"] = (found.xyz, (samples, count, 3) if teacher.is_3d else ())
    for name, (got, shape) in expected.items():
        if got is None or got.shape != shape:
            raise ValueError(
                f"teacher {teacher.name} predicts {name} of shape "
                f"{None if got is None else tuple(got.shape)}, but declares {shape}"
            )
        if not got.isfinite().all():
            raise ValueError(
                f"teacher {teacher.name} predicts {name} with NaN or infinite numbers; nothing of this batch "
                f"is stored"
            )
    return found


def _reversed(size: Size | None) -> tuple[int, ...]:
    return () if size is None else (size[1], size[0])


def _cpu(found: Prediction) -> Prediction:
    """Without the raw outputs, which only a student's loss needs."""
    maps, xyz = (None if part is None else part.float().cpu() for part in (found.maps, found.xyz))
    return Prediction(found.xy.float().cpu(), found.score.float().cpu(), maps, xyz)
