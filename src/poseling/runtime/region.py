"""Where to crop: around joints that were found; for a small person, parts of the image."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from poseling.geometry import Box, Size
from poseling.skeleton import Skeleton

# VNect's rule for the next crop (Mehta et al., SIGGRAPH 2017, sec. 4): the joints' box is this much of its
# width and height larger, moved sideways to have the root in its middle.
BUFFER = np.array([0.4, 0.2])
SMALLEST = 8.0  # pixels: a crop is not smaller


def region(xy: NDArray[np.floating], sure: NDArray[np.bool_], skeleton: Skeleton) -> NDArray[np.float64]:
    """x0, y0, x1, y1 of the next crop for joints (K, 2), of which at least one is `sure` (K,): VNect's box,
    but moved towards the root only as far as all joints stay inside.
    """
    chosen = xy[sure].astype(np.float64)
    low, high = chosen.min(0), chosen.max(0)
    sides, middle = high - low, (low + high) / 2
    buffer = BUFFER * sides / 2
    root = roots(skeleton)
    at = xy[root][sure[root]]
    if len(at):
        middle[0] += min(max(at[:, 0].mean() - middle[0], -buffer[0]), buffer[0])
    half = np.maximum(sides / 2 + buffer, SMALLEST / 2)
    return np.concatenate([middle - half, middle + half])


def windows(image_size: Size) -> list[Box]:
    """Nine boxes of half the width and height of an image (W, H), each overlapping its neighbours by half."""
    width, height = (max(1, side - 1) / 4 for side in image_size)
    return [(x * width, y * height, (x + 2) * width, (y + 2) * height) for y in range(3) for x in range(3)]


@lru_cache
def roots(skeleton: Skeleton) -> NDArray[np.intp]:
    """The joints whose mean is the root; all joints, for a skeleton without a root."""
    try:
        return np.array(skeleton.root, np.intp)
    except ValueError:
        return np.arange(len(skeleton))
