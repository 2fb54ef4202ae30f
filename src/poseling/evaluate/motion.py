"""Quality over time: jitter, lag, and whether bones keep their length.

Points are (T, K, D), one row a frame: D = 2 in pixels, measured in pixels, or D = 3 in metres, measured in
millimetres. NaN is left out. All numbers per frame depend on the frame rate: compare sequences of one rate
only.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from poseling.skeleton import Skeleton

UNITS = {2: 1.0, 3: 1000.0}
WINDOW = np.hanning(17)[1:-1] / np.hanning(17).sum()  # 15 frames


@dataclass(frozen=True)
class Motion:
    """What a filter does to a sequence. Read jitter and lag together: any filter can reduce one by increasing
    the other.

    `jitter_before` and `jitter_after` in px or mm a frame^2, `ratio` after / before (NaN where nothing moved
    before); `lag` in frames, behind the truth, or behind the raw sequence where there is no truth, `lag_ms`
    the same in milliseconds; `error_before` and `error_after` the mean distance to the truth in px or mm,
    None without it.
    """

    jitter_before: float
    jitter_after: float
    ratio: float
    lag: float
    lag_ms: float
    error_before: float | None = None
    error_after: float | None = None


def motion(
    filtered: NDArray[np.floating],
    raw: NDArray[np.floating],
    fps: float,
    truth: NDArray[np.floating] | None = None,
) -> Motion:
    """What a filter that made `filtered` of `raw` did, all (T, K, D) at `fps`; lags are tried up to half a
    second. ValueError as of `lag`.
    """
    before, after = jitter(raw), jitter(filtered)
    frames = lag(filtered, raw if truth is None else truth, limit=max(1, round(fps / 2)))
    errors = (None, None) if truth is None else (_mean_length(raw - truth), _mean_length(filtered - truth))
    return Motion(
        before, after, after / before if before > 0 else float("nan"), frames, 1000 * frames / fps, *errors
    )


def jitter(points: NDArray[np.floating]) -> float:
    """The mean length of the second difference in time, px or mm a frame^2: the acceleration error against a
    truth that does not accelerate.

    For people who stand still it is error alone; for others it includes their own acceleration, and `accel`
    is the better metric if the truth is known.

    >>> trembling = np.zeros((4, 1, 2)); trembling[1::2] = (3, 4)
    >>> jitter(trembling)
    10.0
    """
    _check(points, points, 3)
    return _mean_length(np.diff(points.astype(np.float64), n=2, axis=0))


def accel(points: NDArray[np.floating], truth: NDArray[np.floating]) -> float:
    """The acceleration error, px or mm a frame^2: the mean distance between the second differences of points
    and truth (Kanazawa et al., CVPR 2019).

    VIBE's code and its successors do not use the frame rate either, so their numbers are per frame^2 as well.
    """
    _check(points, truth, 3)
    return _mean_length(np.diff(points.astype(np.float64) - truth, n=2, axis=0))


def lag(filtered: NDArray[np.floating], reference: NDArray[np.floating], limit: int = 15) -> float:
    """By how many frames `filtered` is behind `reference`: the d of the least mean squared distance between
    filtered(t) and reference(t - d).

    Whole d in -limit .. limit are tried over the same frames of `filtered`, the vertex of the parabola
    through the best three is the answer. NaN where no d inside the limit is the best, because nothing moves
    or the lag is greater. A movement with a period below 2 * limit fits twice: lower the limit then.
    ValueError if there are fewer than 2 * limit + 15 frames.

    Both are first averaged over 15 frames with the same centred window, which delays neither. A raw sequence
    shares its noise with its filtered version: without the window, noise of a tenth of the movement halves a
    lag of 0.7 frames. With it, noise of half the movement takes 0.1 frame off one of 2.3.
    """
    _check(filtered, reference, 2 * limit + len(WINDOW))
    calm, behind = (
        sliding_window_view(points.astype(np.float64), len(WINDOW), 0) @ WINDOW
        for points in (reference, filtered)
    )
    end = len(behind) - limit
    errors = np.array(
        [_mean_square(behind[limit:end] - calm[limit - d : end - d]) for d in range(-limit, limit + 1)]
    )
    if np.isnan(errors).any():
        return float("nan")
    best = int(errors.argmin())
    if best in (0, 2 * limit):
        return float("nan")
    before, least, after = errors[best - 1 : best + 2]
    return float(best - limit + (before - after) / (2 * (before - 2 * least + after)))


def bone_spread(xyz: NDArray[np.floating], skeleton: Skeleton) -> tuple[NDArray[np.float64], float]:
    """For each bone of xyz (T, K, 3) the standard deviation of its length over time divided by its mean, in
    the order of `skeleton.bones`, and the largest of them.

    Frames in which an end is NaN are left out; a bone that is never there, or has no length, is NaN.
    ValueError if no bone has a spread.
    """
    child, parent = np.array(skeleton.bones).T
    lengths = np.linalg.norm(xyz[:, child].astype(np.float64) - xyz[:, parent], axis=-1)
    there = ~np.isnan(lengths)
    count = np.maximum(there.sum(0), 1)
    mean = np.where(there, lengths, 0).sum(0) / count
    deviation = np.sqrt(np.where(there, (lengths - mean) ** 2, 0).sum(0) / count)
    spread = np.divide(deviation, mean, out=np.full(len(mean), np.nan), where=mean > 0)
    if np.isnan(spread).all():
        raise ValueError(f"no bone of skeleton {skeleton.name} has a length in any of {len(xyz)} frames")
    return spread, float(np.nanmax(spread))


def _check(points: NDArray[np.floating], other: NDArray[np.floating], frames: int) -> None:
    if points.ndim != 3 or points.shape[-1] not in UNITS or points.shape != other.shape:
        raise ValueError(
            f"sequences of shapes {points.shape} and {other.shape}; expected the same (T, K, 2) in pixels or "
            f"(T, K, 3) in metres"
        )
    if len(points) < frames:
        raise ValueError(f"a sequence of {len(points)} frames; this needs at least {frames}")


def _mean_length(vectors: NDArray[np.floating]) -> float:
    """The mean length of (T, K, D) in px or mm."""
    lengths = np.linalg.norm(vectors.astype(np.float64), axis=-1)
    if np.isnan(lengths).all():
        raise ValueError(f"no joint is known in enough of the frames that follow each other ({len(vectors)})")
    return float(UNITS[vectors.shape[-1]] * np.nanmean(lengths))


def _mean_square(vectors: NDArray[np.float64]) -> float:
    squares = (vectors**2).sum(-1)
    known = ~np.isnan(squares)
    return float(squares[known].mean()) if known.any() else float("nan")
