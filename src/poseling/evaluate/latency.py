"""How long a call takes, and how much faster one is than another. Without torch: a call that runs on a GPU
has to wait for its result itself.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

Clock = Callable[[], float]  # seconds


@dataclass(frozen=True)
class Latency:
    """Milliseconds of one call: the median, and the tenth and ninetieth percentile over the repeats."""

    median_ms: float
    p10_ms: float
    p90_ms: float

    @property
    def spread(self) -> float:
        """p90 - p10 as a part of the median: above about 0.1 the machine was busy with other work."""
        return (self.p90_ms - self.p10_ms) / self.median_ms

    def per_second(self, images: int = 1) -> float:
        """Images per second, with `images` per call."""
        return 1000 * images / self.median_ms


@dataclass(frozen=True)
class Ratio:
    """Time of a over time of b in each round: below 1 where a is faster. The median, and the tenth and
    ninetieth percentile over the rounds.
    """

    median: float
    p10: float
    p90: float

    @property
    def spread(self) -> float:
        """p90 - p10."""
        return self.p90 - self.p10


def latency(
    call: Callable[[], object], warmup: int = 10, repeats: int = 100, clock: Clock = time.perf_counter
) -> Latency:
    """Times `repeats` calls one by one, after `warmup` calls that do not count."""
    _check(repeats=repeats)
    for _ in range(warmup):
        call()
    p10, median, p90 = np.percentile([_seconds(call, clock) for _ in range(repeats)], [10, 50, 90]) * 1000
    return Latency(float(median), float(p10), float(p90))


def paired(
    a: Callable[[], object],
    b: Callable[[], object],
    rounds: int = 50,
    warmup: int = 10,
    clock: Clock = time.perf_counter,
) -> Ratio:
    """Times a and b in turns in one run, so that a busy or throttled machine slows both equally.

    The order changes from round to round, so that neither profits more from what the other leaves in the
    cache.
    """
    _check(rounds=rounds)
    for _ in range(warmup):
        a()
        b()
    ratios = []
    for turn in range(rounds):
        if turn % 2 == 0:
            of_a = _seconds(a, clock)
            of_b = _seconds(b, clock)
        else:
            of_b = _seconds(b, clock)
            of_a = _seconds(a, clock)
        ratios.append(of_a / of_b)
    p10, median, p90 = np.percentile(ratios, [10, 50, 90])
    return Ratio(float(median), float(p10), float(p90))


def _seconds(call: Callable[[], object], clock: Clock) -> float:
    start = clock()
    call()
    return clock() - start


def _check(**counts: int) -> None:
    for name, count in counts.items():
        if count < 1:
            raise ValueError(f"{name} is {count}; at least one call must be timed")
