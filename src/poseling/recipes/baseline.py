"""One network on labels alone: what a teacher is made with, and what every student is measured against."""

from __future__ import annotations

from poseling.evaluate.report import Report
from poseling.recipes.experiment import DEFAULT, Experiment, TrainConfig, either
from poseling.skeleton import by_name


def baseline(
    config: TrainConfig = DEFAULT,
    *,
    student: str = either("hourglass-4x128", "hourglass-1x32"),
    skeleton: str | None = None,
) -> Report:
    """Trains one network on the labels, without a teacher.

    Parameters
    ----------
    student
        The network, as the zoo names it, for example hourglass-4x128 or kdlpn-256 (docs/models.md), or a file
        to start from (.safetensors).
    skeleton
        The joints to learn: body19 (COCO's 17, neck and head top), coco17, lsp14, ...; those of the data if
        not given.
    """
    experiment = Experiment("baseline", config, student, None if skeleton is None else by_name(skeleton))
    arms = {
        "baseline": [experiment.fit("baseline", experiment.supervised(), seed) for seed in experiment.seeds]
    }
    return experiment.finish(None, arms, {})
