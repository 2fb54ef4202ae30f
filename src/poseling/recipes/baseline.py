"""One network on labels alone: what a teacher is made with, and what every student is measured against."""

from __future__ import annotations

from poseling.distill.objective import supervised
from poseling.evaluate.report import Report
from poseling.recipes.lab import DEFAULT, Lab, Setup, either


def baseline(setup: Setup = DEFAULT, *, student: str = either("hourglass-4x128", "hourglass-1x32")) -> Report:
    """Trains one network on the labels, without a teacher.

    Parameters
    ----------
    student
        The network, as the zoo names it: hourglass-STACKSxCHANNELS.
    """
    lab = Lab("baseline", setup, student)
    arms = {"baseline": [lab.fit("baseline", supervised(setup.loss), seed) for seed in lab.seeds]}
    return lab.finish(None, arms, {})
