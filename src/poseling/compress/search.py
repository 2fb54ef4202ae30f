"""How much has to go for a target: the least pruning whose exported file is as fast, or as little work, as
was asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

TRIES = 6  # halvings of the range of ratios: what is left of it is below the noise of a measurement
LEAST, MOST = 0.05, 0.9  # parts of the work that pruning takes away


@dataclass(frozen=True)
class Point:
    """One network of a run: its name, file size in bytes, GMAC, time in milliseconds and over the original's,
    and accuracy.
    """

    name: str
    bytes: int
    gmac: float
    ms: float
    ratio: float
    pck: float
    strict: float


def least(
    measure: Callable[[float], float],
    target: float,
    what: str,
    low: float = LEAST,
    high: float = MOST,
    tries: int = TRIES,
) -> float:
    """The least ratio of pruning at which `measure` is at most `target`: a few halvings of the range.

    `measure` falls as the ratio grows, but for noise. ValueError, with what the most would give, where
    even that is not enough. `what` is the flag.

    >>> round(least(lambda ratio: 10 * (1 - ratio), 4.0, "--target-ms"), 2)
    0.61
    """
    lowest = measure(high)
    if lowest > target:
        raise ValueError(
            f"{what} {target:g}: cannot be reached by pruning; with {high:.0%} of the work gone it is "
            f"{lowest:.3g}"
        )
    for _ in range(tries):
        middle = (low + high) / 2
        low, high = (low, middle) if measure(middle) <= target else (middle, high)
    return high


def front(points: Sequence[Point]) -> list[int]:
    """Which points nobody else beats in time without being worse in accuracy, from the fastest to the
    slowest.
    """
    best, found = -1.0, []
    for i in sorted(range(len(points)), key=lambda i: (points[i].ratio, -points[i].pck)):
        if points[i].pck > best:
            best = points[i].pck
            found.append(i)
    return found
