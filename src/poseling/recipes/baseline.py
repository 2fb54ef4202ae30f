"""One network on labels alone: what a teacher is made with, and what every student is measured against."""

from __future__ import annotations

from poseling.evaluate.report import Report
from poseling.recipes.lab import DEFAULT, Lab, Setup, either


def baseline(setup: Setup = DEFAULT, *, student: str = either("hourglass-4x128", "hourglass-1x32")) -> Report:
    """Trains one network on the labels, without a teacher.

    Parameters
    ----------
    student
        The network, as the zoo names it, for example hourglass-4x128 or kdlpn-256 (docs/models.md).
    """
    lab = Lab("baseline", setup, student)
    arms = {"baseline": [lab.fit("baseline", lab.supervised(), seed) for seed in lab.seeds]}
    return lab.finish(None, arms, {})
