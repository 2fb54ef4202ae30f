"""Stored answers in a student's crop. The crop is another affine of the same image, so the answers need not
be asked for again: they are warped.

The way of a pixel: student's map -> student's input -> image -> teacher's input -> teacher's map.
`map_affine` composes it in NumPy, for each sample where the data is loaded; `codecs.warp.warp_maps` follows
it on the device, for the batch. Where the crop mirrors, joints change sides: index the channels, the points
and the scores with `skeleton.flip`.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from poseling.geometry import Crop, compose
from poseling.teachers.labels import StoredAnswer


def map_affine(answer: StoredAnswer, crop: Crop, pixel: tuple[float, float]) -> NDArray[np.float64]:
    """(2, 3) from pixels of the student's map, each `pixel` input pixels wide and high, to pixels of the
    answer's maps. ValueError if it has no maps.
    """
    if answer.pixel is None:
        raise ValueError(
            "this teacher only gives points: there is no map to warp; use joints_in, and draw heatmaps from "
            "the points if you need them"
        )
    image = crop.inverse * np.array([*pixel, 1.0])
    return compose(answer.matrix, image) / np.array(answer.pixel)[:, None]


def joints_in(answer: StoredAnswer, crop: Crop) -> NDArray[np.float32]:
    """The answer's joints (K, 2) in pixels of the student's input."""
    there = Crop(answer.matrix, crop.size)
    return crop.apply(there.invert(answer.xy)).astype(np.float32)
