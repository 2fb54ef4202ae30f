"""Asking a teacher more than once about the same person: mirrored and zoomed crops, averaged in the canonical
one.
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
def ask(teacher: Teacher, crops: NDArray[np.uint8], flip: bool, scales: Sequence[float]) -> Prediction:
    """The answer to canonical crops (B, S, H, W, 3) uint8 RGB, shown at S `scales`, on the CPU: the teacher's
    own to one view, the mean over several.

    With `flip` the mirrored crops are views as well. Means of heatmaps are decoded again; points and metres
    are weighed by their scores. A zoom changes pixels, not metres. ValueError if an answer has not the shapes
    that the teacher promises, or numbers that are not finite.
    """
    answers, total = [], len(scales) * (2 if flip else 1)
    for view, scale in enumerate(scales):
        seen = torch.from_numpy(np.ascontiguousarray(crops[:, view]))
        for mirrored in (False, True) if flip else (False,):
            answer = _checked(teacher, teacher(seen.flip(2) if mirrored else seen), len(seen))
            answers.append(answer if total == 1 else _canonical(teacher, answer, scale, mirrored))
    if total == 1:
        return _cpu(answers[0])
    weight = torch.stack([a.score for a in answers])
    space = [a.xyz for a in answers if a.xyz is not None]
    xyz = _mean(space, weight) if space else None
    if any(a.maps is None for a in answers):
        return _cpu(Prediction(_mean([a.xy for a in answers], weight), weight.mean(0), xyz=xyz))
    maps = torch.stack([a.maps for a in answers if a.maps is not None]).mean(0)
    return _cpu(Prediction(*_decode(teacher, maps), maps, xyz))


def _mean(points: Sequence[Tensor], weight: Tensor) -> Tensor:
    """Of V answers (B, K, D) with weights (V, B, K)."""
    return (torch.stack(list(points)) * weight[..., None]).sum(0) / weight.sum(0).clamp(min=1e-6)[..., None]


def _decode(teacher: Teacher, maps: Tensor) -> tuple[Tensor, Tensor]:
    """Maps (B, K, h, w) of a teacher to its joints and scores: by the codec of one of our own networks, by
    DARK for a guest.
    """
    if isinstance(teacher, NetworkTeacher):
        return teacher.codec.heatmap.decode(
            maps
        )  # answers hold Gaussians, whatever the network's outputs are
    xy, score = Heatmap((maps.shape[-1], maps.shape[-2]), stride=1, sigma=teacher.sigma or 2.0).decode(
        maps
    )  # at stride 1 it answers in pixels of the map
    return xy * xy.new_tensor(_pixel(teacher)), score


def _canonical(teacher: Teacher, answer: Prediction, scale: float, mirrored: bool) -> Prediction:
    """The answer to a zoomed or mirrored crop, as of the canonical one."""
    width, height = teacher.size
    # From the canonical crop to the view: about the centre, as Crop.from_box zooms, and then mirrored.
    view = np.array([[scale, 0, (1 - scale) * (width - 1) / 2], [0, scale, (1 - scale) * (height - 1) / 2]])
    if mirrored:
        view = compose(np.array([[-1.0, 0, width - 1], [0, 1, 0]]), view)
    back = answer.xy.new_tensor(Crop(view, teacher.size).inverse)
    xy = answer.xy @ back[:, :2].T + back[:, 2]
    maps, xyz, swap = answer.maps, answer.xyz, torch.from_numpy(teacher.skeleton.flip)
    if maps is not None:
        pixel = np.array([*_pixel(teacher), 1.0])
        maps = warp_maps(
            maps,
            maps.new_tensor(view * pixel / pixel[:2, None]).expand(len(maps), 2, 3),
            (maps.shape[-1], maps.shape[-2]),
        )
    if not mirrored:
        return Prediction(xy, answer.score, maps, xyz)
    if xyz is not None:
        xyz = (xyz * xyz.new_tensor([-1, 1, 1]))[:, swap]
    return Prediction(xy[:, swap], answer.score[:, swap], None if maps is None else maps[:, swap], xyz)


def _pixel(teacher: Teacher) -> tuple[float, float]:
    if teacher.pixel is None:
        raise ValueError(
            f"teacher {teacher.name} gives heatmaps but does not say how many input pixels one of their "
            f"pixels is; set its `pixel`"
        )
    return teacher.pixel


def _checked(teacher: Teacher, answer: Prediction, samples: int) -> Prediction:
    """The answer, if it has the shapes that the teacher promises and finite numbers; else ValueError."""
    count, size = len(teacher.skeleton), teacher.map_size
    expected: dict[str, tuple[Tensor | None, tuple[int, ...]]] = {
        "xy": (answer.xy, (samples, count, 2)),
        "score": (answer.score, (samples, count)),
    }
    if size is not None or answer.maps is not None:
        expected["maps"] = (answer.maps, (samples, count, *_reversed(size)))
    if teacher.is_3d or answer.xyz is not None:
        expected["xyz"] = (answer.xyz, (samples, count, 3) if teacher.is_3d else ())
    for name, (got, shape) in expected.items():
        if got is None or got.shape != shape:
            raise ValueError(
                f"teacher {teacher.name} answers {name} of shape "
                f"{None if got is None else tuple(got.shape)}, but promises {shape}"
            )
        if not got.isfinite().all():
            raise ValueError(
                f"teacher {teacher.name} answers {name} with NaN or infinite numbers; nothing of this batch "
                f"is stored"
            )
    return answer


def _reversed(size: Size | None) -> tuple[int, ...]:
    return () if size is None else (size[1], size[0])


def _cpu(answer: Prediction) -> Prediction:
    """Without the raw outputs, which only a student's loss needs."""
    maps, xyz = (None if part is None else part.float().cpu() for part in (answer.maps, answer.xyz))
    return Prediction(answer.xy.float().cpu(), answer.score.float().cpu(), maps, xyz)
