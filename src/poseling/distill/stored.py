"""The teacher's stored answers as a part of each training sample."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from poseling.codecs import Codec
from poseling.distill.warp import joints_in, map_affine
from poseling.geometry import Crop
from poseling.teachers.labels import Labels


@dataclass(frozen=True)
class Stored:
    """`labels` for the people that a student with this `codec` trains on (see `data.loader.Answers`)."""

    labels: Labels
    codec: Codec
    sigma: float | None = None  # of the stored heatmaps, if there are any

    @property
    def source(self) -> str:
        """The store's name, which tells one teacher from another, and its views."""
        return self.labels.manifest.folder

    @property
    def licence(self) -> str:
        """Under which terms the teacher is, in words."""
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
        """answer_xy (K, 2) in the crop's pixels, answer_weight (K,) the teacher's confidence, and where it
        gave heatmaps: answer_maps (K, h, w) uint8 with answer_scale (K, 2) as `teachers.packing.quantise` has
        them, and answer_matrix (2, 3) from the student's heatmap pixels to theirs. Where it knows depth also
        answer_xyz (K, 3), metres from the root as the crop shows the person, with answer_xyz_weight (K,).
        Left and right are swapped where the crop mirrors.
        """
        answer = self.labels[person]
        order = self.labels.conversion.target.flip if crop.flipped else slice(None)
        sample: dict[str, NDArray[Any]] = {
            "answer_xy": joints_in(answer, crop)[order],
            "answer_weight": answer.score[order],
        }
        if answer.maps is not None:
            sample["answer_weight"] = answer.map_score[order]
            assert answer.scale is not None
            sample["answer_maps"], sample["answer_scale"] = answer.maps[order], answer.scale[order]
            sample["answer_matrix"] = map_affine(answer, crop, self.codec.heatmap.pixel).astype(np.float32)
        if answer.xyz is not None:
            sample["answer_xyz"], sample["answer_xyz_weight"] = (
                crop.turn(answer.xyz)[order],
                answer.score[order],
            )
        return sample
