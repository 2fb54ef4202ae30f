"""Less jitter with little lag: the 1-Euro filter (Casiez, Roussel and Vogel, CHI 2012), for whole arrays at
their real times.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from poseling.pose import Pose

# VNect's (Mehta et al., SIGGRAPH 2017, sec. 4.3): the cutoff at rest in Hz, and how many Hz a speed of one
# unit a second adds.
IMAGE_CUTOFF, IMAGE_BETA = 1.7, 0.3
SPACE_CUTOFF, SPACE_BETA = 0.8, 0.4
# VNect does not give the cutoff for the speed itself: 0.4 Hz is from the re-implementation XinArkh/VNect.
SPEED_CUTOFF = 0.4
# beta needs a unit of speed, which the paper does not state. 5 cm a second was chosen by measurement
# (docs/runtime.md): in metres the same beta lags by three frames, in millimetres it does not smooth. In the
# image 5 cm is this part of the person's size, so that near and far people are filtered alike.
SPACE_UNIT = 0.05
IMAGE_UNIT = 1 / 34
GAP = 0.5  # seconds after which the filter restarts


class OneEuro:
    """A low-pass filter whose cutoff in Hz grows with the speed: `cutoff` at rest, and `beta` more for each
    unit a second.

    alpha = 1 / (1 + tau / Te) with tau = 1 / (2 pi fc), fc = cutoff + beta |edx|: edx is the speed, itself
    filtered with `speed_cutoff`, and Te the time since the previous value. Each number of an array has its
    own cutoff. A value that is not finite is not a sample: the last one is held (NaN if there was none), and
    so it is if no time has passed. After more than `gap` seconds without a sample, or when time runs
    backwards, the filter restarts.

    >>> ease = OneEuro(cutoff=1.0, beta=0.0)
    >>> [round(float(ease(value, seconds)), 3) for value, seconds in ((0, 0.0), (1, 0.1), (1, 0.2))]
    [0.0, 0.386, 0.623]
    """

    def __init__(
        self, cutoff: float, beta: float, speed_cutoff: float = SPEED_CUTOFF, gap: float = GAP
    ) -> None:
        self.cutoff, self.beta, self.speed_cutoff, self.gap = cutoff, beta, speed_cutoff, gap
        self._value: NDArray[np.float64] | None = None

    def __call__(
        self, value: ArrayLike, seconds: float, unit: float | NDArray[np.floating] = 1.0
    ) -> NDArray[np.float64]:
        """The filtered value, of the shape that all values have, at a time. `unit` is the unit of speed, in
        the values' own unit: one, or one for each in an array that fits theirs.

        ValueError if `seconds` is not finite, or the shape changes.
        """
        new = np.asarray(value, np.float64)
        if not math.isfinite(seconds):
            raise ValueError(f"seconds is {seconds}; the filter needs the time of each frame")
        if self._value is None:
            self._value, self._speed = np.full(new.shape, np.nan), np.zeros(new.shape)
            self._seen, self.frequency = np.full(new.shape, -np.inf), np.full(new.shape, np.inf)
        if new.shape != self._value.shape:
            raise ValueError(
                f"the value has shape {new.shape}, but those before had {self._value.shape}; use one filter "
                "for each signal"
            )
        sample = np.isfinite(new)
        passed = seconds - self._seen
        fresh = sample & ((passed > self.gap) | (passed < 0))
        follow = sample & ~fresh & (passed > 0)
        step = np.where(follow, passed, 1.0)
        change = np.where(follow, (new - self._value) / step, 0.0)
        self._speed = np.where(
            fresh,
            0.0,
            self._speed + np.where(follow, alpha(self.speed_cutoff, step), 0.0) * (change - self._speed),
        )
        # The cutoffs of this frame in Hz; infinite where the filter restarts, since nothing was smoothed.
        self.frequency = np.where(fresh, np.inf, self.cutoff + self.beta * np.abs(self._speed) / unit)
        eased = self._value + np.where(follow, alpha(self.frequency, step), 0.0) * (
            np.where(follow, new, 0.0) - self._value
        )
        self._value = np.where(fresh, new, eased)
        self._seen = np.where(fresh | follow, seconds, self._seen)
        return self._value.copy()

    def keep(self, rows: Sequence[int]) -> None:
        """Goes on with these rows of the values' first axis, in this order; -1 is one that had no sample yet."""
        if self._value is None:
            return
        for name, unseen in (("_value", np.nan), ("_speed", 0.0), ("_seen", -np.inf)):
            before = getattr(self, name)
            beginning = np.full((1, *before.shape[1:]), unseen)  # the last row, which -1 takes
            setattr(self, name, np.concatenate([before, beginning])[list(rows)])


def alpha(cutoff: float | NDArray[np.float64], step: float | NDArray[np.float64]) -> NDArray[np.float64]:
    """The weight of the new value in a low-pass filter with this cutoff in Hz, after `step` seconds.

    >>> round(float(alpha(1.0, 1 / 30)), 4)
    0.1732
    """
    return np.asarray(1 / (1 + 1 / (2 * np.pi * cutoff * step)))


@dataclass(frozen=True)
class _Moment:
    """A filtered frame: its time, the filtered pose, and the cutoffs (K, 2) and (K, 3) of each id."""

    seconds: float
    pose: Pose
    image: dict[int, NDArray[np.float64]]
    space: dict[int, NDArray[np.float64]]


class Smoother:
    """The poses of a video, filtered in 2D and 3D, each person by its id; a person who leaves is forgotten
    after `GAP` seconds.

    With `lookahead` = 0 each pose is returned immediately. Otherwise it is returned after that many more
    frames, with little lag: the same filter with the same cutoffs then runs backwards from the last of them,
    which cancels the delay. `rest` returns the poses that are still held.
    """

    def __init__(self, lookahead: int = 0) -> None:
        if lookahead < 0:
            raise ValueError(f"lookahead is {lookahead}; give a number of frames, 0 for none")
        self.lookahead = lookahead
        self._flat, self._deep = OneEuro(IMAGE_CUTOFF, IMAGE_BETA), OneEuro(SPACE_CUTOFF, SPACE_BETA)
        # When each person was last there, in the order of the filters' rows.
        self._seen: dict[int, float] = {}
        self._held: deque[_Moment] = deque()

    def __call__(self, pose: Pose, seconds: float) -> Pose | None:
        """The filtered pose of the frame `lookahead` before this one, or None while there is none."""
        ids = pose.ids.tolist()
        before = len(self._seen)
        self._seen |= dict.fromkeys(ids, seconds)
        if len(self._seen) > before:
            self._keep([*range(before), *[-1] * (len(self._seen) - before)])
        place = {person: row for row, person in enumerate(self._seen)}
        where = [place[person] for person in ids]
        everybody = where == list(place.values())
        rows: slice | list[int] = slice(None) if everybody else where

        def spread(values: NDArray[np.floating], absent: float) -> NDArray[np.floating]:
            """Values (N, ...) of the people in the frame, in the filters' rows."""
            if everybody:
                return values
            out = np.full((len(place), *values.shape[1:]), absent)
            out[rows] = values
            return out

        unit = IMAGE_UNIT * spread(size(pose.xy), 1.0)[:, None, None]
        xy, xyz = self._flat(spread(pose.xy, np.nan), seconds, unit)[rows], pose.xyz
        if xyz is not None:
            xyz = self._deep(spread(xyz, np.nan), seconds, SPACE_UNIT)[rows].astype(np.float32)
        filtered = replace(pose, xy=xy.astype(np.float32), xyz=xyz)
        if self.lookahead:
            image = dict(zip(ids, self._flat.frequency[rows], strict=True))
            space = {} if xyz is None else dict(zip(ids, self._deep.frequency[rows], strict=True))
            self._held.append(_Moment(seconds, filtered, image, space))
        if gone := {person for person, last in self._seen.items() if abs(seconds - last) > GAP}:
            self._keep([row for person, row in place.items() if person not in gone])
            self._seen = {person: last for person, last in self._seen.items() if person not in gone}
        if not self.lookahead:
            return filtered
        return self._next() if len(self._held) > self.lookahead else None

    def _keep(self, rows: Sequence[int]) -> None:
        self._flat.keep(rows)
        self._deep.keep(rows)

    def rest(self) -> list[Pose]:
        """The poses of the frames that are still held, at the end of a video."""
        return [self._next() for _ in range(len(self._held))]

    def _next(self) -> Pose:
        """The oldest held pose, filtered backwards from the newest."""
        first = self._held[0].pose
        xy, xyz = first.xy.copy(), None if first.xyz is None else first.xyz.copy()
        for row, person in enumerate(first.ids.tolist()):
            # Backwards from the last frame of this person without a gap.
            run = []
            for moment in self._held:
                rows = np.flatnonzero(moment.pose.ids == person)
                if not len(rows):
                    break
                run.append((moment, rows[0]))
            xy[row] = _back([(m.seconds, m.pose.xy[r], m.image[person]) for m, r in run])
            if xyz is not None:
                xyz[row] = _back(
                    [(m.seconds, m.pose.xyz[r], m.space[person]) for m, r in run if m.pose.xyz is not None]
                )
        self._held.popleft()
        return replace(first, xy=xy, xyz=xyz)


def _back(run: list[tuple[float, NDArray[np.float32], NDArray[np.float64]]]) -> NDArray[np.float64]:
    """The first value of a run of times, filtered values and their cutoffs, filtered from the last to the
    first.
    """
    later, value, frequency = run[-1]
    out = value.astype(np.float64)
    for seconds, value, cutoff in reversed(run[:-1]):
        step = later - seconds
        # Where the filter restarted in the later frame, the earlier ones do not see it.
        share = alpha(cutoff, step) if step > 0 else np.zeros(value.shape)
        out = np.where(np.isfinite(frequency), out + share * (value - out), value)
        later, frequency = seconds, cutoff
    return out


def size(xy: NDArray[np.floating]) -> NDArray[np.float64]:
    """(...) the longer side in pixels of the box around joints (..., K, 2), at least 1: the unit of a person's
    speed in the image.
    """
    low = high = xy
    if not (finite := np.isfinite(xy).all(-1, keepdims=True)).all():
        low, high = np.where(finite, xy, np.inf), np.where(finite, xy, -np.inf)
    return np.maximum((high.max(-2) - low.min(-2)).max(-1), 1.0).astype(np.float64)
