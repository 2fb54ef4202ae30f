"""The mean of a metric over seeds, or of a time over rounds, and how much it varies."""

from __future__ import annotations

import math
from collections.abc import Sequence


def mean_and_spread(values: Sequence[float]) -> tuple[float, float | None]:
    """The mean, and the sample standard deviation (n - 1), None for a single value. Sums are exact, so the
    order of the values does not matter.

    >>> mean_and_spread([0.70, 0.72, 0.74]), mean_and_spread([0.70])
    ((0.7200000000000001, 0.020000000000000018), (0.7, None))
    """
    mean = math.fsum(values) / len(values)
    if len(values) < 2:
        return mean, None
    return mean, math.sqrt(math.fsum((v - mean) ** 2 for v in values) / (len(values) - 1))
