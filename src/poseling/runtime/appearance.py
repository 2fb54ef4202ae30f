"""What a person looks like: the colours of the clothes, read under the joints. It tells people apart who cross
or come back, where places and sizes do not.
"""

from __future__ import annotations

from functools import lru_cache
from itertools import product

import cv2
import numpy as np
from numpy.typing import NDArray

from poseling.skeleton import Skeleton

Array = NDArray[np.float64]

# Where colours are read: parts of the way across and down the trunk, and down the thighs. Not at the edges,
# where a joint that is a little off shows the background.
ACROSS, DOWN = (0.25, 0.42, 0.58, 0.75), (0.15, 0.3, 0.45, 0.6, 0.75)
THIGH = tuple(np.linspace(0.25, 0.85, 10).tolist())
SIDE = np.linspace(0.1, 0.9, 7)  # parts of a person's height at which its surroundings are looked at
LIGHTNESS = 0.5  # weight of the difference in lightness, which folds and shadows change as well
# Differences of CIE Lab from which on clothes are others: of people in JHMDB's clips half a second apart 92 %
# differ by less, of people in two clips 13 % (docs/runtime.md).
OTHER = 12.0


def colours(image: NDArray[np.uint8], xy: Array, sure: NDArray[np.bool_], skeleton: Skeleton) -> Array | None:
    """(2, 4) the median colour of the trunk and of the thighs in the image (H, W, 3) BGR, in CIE Lab, and 1
    where it differs from what is beside the person, else 0. NaN for a part whose joints are not `sure` (K,)
    or that lies outside. None if neither is seen, or the skeleton is not a body's.

    `xy` (K, 2) are the joints in pixels.
    """
    weights = _weights(skeleton)
    if weights is None:
        return None
    count = len(weights) // 2
    rows = np.array([sure[list(joints)].all() for joints in _joints(skeleton)]).repeat(count)
    if not rows.any():
        return None
    lab, inside = _lab(image, np.concatenate([weights @ xy, _beside(xy[sure])]))
    inside[: 2 * count] &= rows
    trunk, thighs, left, right = np.split(np.arange(len(lab)), [count, 2 * count, 2 * count + len(SIDE)])
    behind = [middle(lab[side][inside[side]]) for side in (left, right) if inside[side].any()]
    found = np.full((2, 4), np.nan)
    for i, part in enumerate((trunk, thighs)):
        if inside[part].sum() >= count // 2:
            colour = middle(lab[part][inside[part]])
            found[i] = *colour, float(all(_apart(colour, other) >= 1 for other in behind))
    return found if np.isfinite(found).any() else None


def middle(values: Array) -> Array:
    """(C,) the median of values (N, C), NaN of none: of so few numpy's takes ten times as long.

    >>> middle(np.array([[3.0, 1], [1, 1], [9, 2], [2, 4]])).tolist()
    [2.5, 1.5]
    """
    if not len(values):
        return np.full(values.shape[1:], np.nan)
    ordered = np.sort(values, axis=0)
    return np.asarray(0.5 * (ordered[(len(values) - 1) // 2] + ordered[len(values) // 2]))


def _lab(image: NDArray[np.uint8], places: Array) -> tuple[Array, NDArray[np.bool_]]:
    """The colours (N, 3) at places (N, 2), and which of them lie in the image (N,)."""
    places = np.rint(places).astype(np.int64)
    inside = np.asarray(((places >= 0) & (places < (image.shape[1], image.shape[0]))).all(1))
    x, y = np.where(inside[:, None], places, 0).T
    lab = cv2.cvtColor(image[y, x][:, None].astype(np.float32) / 255, cv2.COLOR_BGR2Lab)[:, 0]
    return lab.astype(np.float64), inside


def _beside(xy: Array) -> Array:
    """(2 S, 2) places left and then right of joints (N, 2), a tenth of their extent away."""
    low, high = xy.min(0), xy.max(0)
    margin = 0.1 * (high - low).max() + 1
    heights = low[1] + SIDE * (high[1] - low[1])
    return np.concatenate(
        [np.stack([np.full(len(SIDE), x), heights], 1) for x in (low[0] - margin, high[0] + margin)]
    )


def _apart(first: Array, second: Array) -> Array:
    """(...) the difference of colours (..., 3), 1 being `OTHER`."""
    return np.asarray(np.sqrt((((first - second) * [LIGHTNESS, 1.0, 1.0]) ** 2).sum(-1)) / OTHER)


def difference(first: Array | None, second: Array | None) -> float:
    """How much the colours (2, 4) of two people differ, 1 being `OTHER`; NaN where no part of both is known.

    >>> difference(np.array([[50.0, 0, 0, 1], [20, 0, 0, 1]]), np.array([[50.0, 0, 12, 1], [np.nan] * 4]))
    1.0
    """
    parts = _parts(first, second)
    return float(np.sqrt((parts**2).mean())) if len(parts) else float("nan")


def unlike(first: Array | None, second: Array | None) -> float:
    """The same of the part that differs least, where both are known; else NaN. A large number says that
    nothing of the one is seen on the other, as it is where someone hides a part of a person.
    """
    parts = _parts(first, second)
    return float(parts.min()) if len(parts) == 2 else float("nan")


def alike(first: Array | None, second: Array | None) -> float:
    """The same of the part that differs most, where both are known and on each person one of them stands out
    from what is around it; else infinite. A small number says that one is the other, wherever each of them is.
    """
    parts = _parts(first, second)
    if first is None or second is None or len(parts) < 2 or min(first[:, 3].max(), second[:, 3].max()) < 1:
        return float("inf")
    return float(parts.max())


def _parts(first: Array | None, second: Array | None) -> Array:
    """The difference of each part that both have."""
    if first is None or second is None:
        return np.zeros(0)
    parts = _apart(first[:, :3], second[:, :3])
    return np.asarray(parts[np.isfinite(parts)])


@lru_cache
def _joints(skeleton: Skeleton) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The joints of the trunk and of the thighs."""
    left, right = (
        [skeleton.index(f"{side}_{j}") for j in ("shoulder", "hip", "knee")] for side in ("left", "right")
    )
    return (left[0], right[0], left[1], right[1]), (left[1], right[1], left[2], right[2])


@lru_cache
def _weights(skeleton: Skeleton) -> Array | None:
    """(P, K) by which joints become the places of the trunk, then of the thighs, as many; None for a skeleton
    that is not a body's.
    """
    try:
        trunk, thighs = _joints(skeleton)
    except (KeyError, ValueError):
        return None
    rows = []
    for across, down in product(ACROSS, DOWN):
        row = np.zeros(len(skeleton))
        row[list(trunk)] = [
            (1 - across) * (1 - down),
            across * (1 - down),
            (1 - across) * down,
            across * down,
        ]
        rows.append(row)
    for side, down in product((0, 1), THIGH):
        row = np.zeros(len(skeleton))
        row[[thighs[side], thighs[2 + side]]] = [1 - down, down]
        rows.append(row)
    return np.array(rows)
