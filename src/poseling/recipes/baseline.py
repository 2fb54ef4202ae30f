"""One network on labels alone: what a teacher is made with, and what every student is measured against."""

from __future__ import annotations

from poseling.evaluate.report import Report
from poseling.recipes import results
from poseling.recipes.config import TrainConfig, default, recipe
from poseling.recipes.experiment import Experiment
from poseling.recipes.students import StudentLike
from poseling.skeleton import by_name


@recipe
def baseline(
    config: TrainConfig = TrainConfig(),
    *,
    student: StudentLike = default("hourglass-4x128", "hourglass-1x32"),
    skeleton: str | None = None,
) -> Report:
    """Trains one network on the labels, without a teacher.

    Parameters
    ----------
    student
        An architecture, for example hourglass-4x128 or kdlpn-256 (docs/models.md), or a trained network to
        start from: a file (.safetensors) or a name of `poseling models`. From Python also a module.
    skeleton
        The joints to learn: body19 (COCO's 17, neck and head top), coco17, lsp14, ...; those of the data if
        not given.
    """
    experiment = Experiment.of("baseline", config, student, None if skeleton is None else by_name(skeleton))
    labels = experiment.supervised()
    arm = [experiment.fit("baseline", experiment.learner(seed), labels) for seed in experiment.seeds]
    return results.finish(experiment, None, {"baseline": arm})
