"""A teacher's stored predictions as a part of each training sample.

The student's crop is another affine of the same image, so a stored prediction need not be made again: it is
warped. A pixel goes from the student's map to its input, to the image, to the teacher's input, to the
teacher's map. `map_affine` composes these in NumPy, for each sample where the data is loaded;
`codecs.warp.warp_maps` follows it on the device, for the batch. Where the crop mirrors, joints change sides:
maps, points and scores are indexed with `skeleton.flip`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from poseling.codecs import Codec
from poseling.geometry import Crop, compose
from poseling.teachers.labels import Labels, StoredAnswer


def map_affine(answer: StoredAnswer, crop: Crop, pixel: tuple[float, float]) -> NDArray[np.float64]:
    """(2, 3) from pixels of the student's map, each `pixel` input pixels wide and high, to pixels of the
    stored maps. ValueError if there are none.
    """
    if answer.pixel is None:
        raise ValueError(
            "this teacher only gives points: there is no map to warp; use joints_in, and draw heatmaps from "
            "the points if you need them"
        )
    image = crop.inverse * np.array([*pixel, 1.0])
    return compose(answer.matrix, image) / np.array(answer.pixel)[:, None]


def joints_in(answer: StoredAnswer, crop: Crop) -> NDArray[np.float32]:
    """The stored joints (K, 2) in pixels of the student's input."""
    there = Crop(answer.matrix, crop.size)
    return crop.apply(there.invert(answer.xy)).astype(np.float32)


@dataclass(frozen=True)
class Stored:
    """`labels` for the samples that a student with this `codec` trains on (see `data.loader.Answers`)."""

    labels: Labels
    codec: Codec
    sigma: float | None = None  # of the stored heatmaps, if there are any

    @property
    def source(self) -> str:
        """The store's name, which differs by teacher and by test-time augmentation."""
        return self.labels.manifest.folder

    @property
    def licence(self) -> str:
        """The teacher's licences, in words."""
        manifest = self.labels.manifest
        return (
            f"{manifest.teacher}: {', '.join(f'{what} {words}' for what, words in manifest.licences.items())}"
        )

    @property
    def width(self) -> float:
        """How wide the stored Gaussians are, in widths of the student's (see `codecs.warp.warp_maps`)."""
        sigma = self.codec.heatmap.sigma
        return (self.sigma or sigma) / sigma

    def sample(self, person: int, crop: Crop) -> dict[str, NDArray[Any]]:
        """teacher_xy (K, 2) in the crop's pixels, teacher_weight (K,) the teacher's confidence, and where it
        gave heatmaps: teacher_maps (K, h, w) uint8 with teacher_scale (K, 2) as `teachers.packing.quantise` has
        them, and teacher_matrix (2, 3) from the student's heatmap pixels to theirs. Of a 3D teacher also
        teacher_xyz (K, 3), metres from the root, turned as the crop is, with teacher_xyz_weight (K,). Left and
        right are swapped where the crop mirrors.
        """
        answer = self.labels[person]
        order = self.labels.conversion.target.flip if crop.flipped else slice(None)
        sample: dict[str, NDArray[Any]] = {
            "teacher_xy": joints_in(answer, crop)[order],
            "teacher_weight": answer.score[order],
        }
        if answer.maps is not None:
            sample["teacher_weight"] = answer.map_score[order]
            assert answer.scale is not None
            sample["teacher_maps"], sample["teacher_scale"] = answer.maps[order], answer.scale[order]
            sample["teacher_matrix"] = map_affine(answer, crop, self.codec.heatmap.pixel).astype(np.float32)
        if answer.xyz is not None:
            sample["teacher_xyz"], sample["teacher_xyz_weight"] = (
                crop.turn(answer.xyz)[order],
                answer.score[order],
            )
        return sample
