"""One network on labels alone: what a teacher is made with, and what every student is measured against."""

from __future__ import annotations

from poseling.codecs import CODECS, is_3d
from poseling.distill.objective import spatial_terms
from poseling.evaluate.report import Report
from poseling.recipes import results
from poseling.recipes.config import TrainConfig, default, recipe
from poseling.recipes.experiment import Experiment
from poseling.recipes.students import Student, StudentLike
from poseling.skeleton import by_name


@recipe
def baseline(
    config: TrainConfig = TrainConfig(),
    *,
    student: StudentLike = default("hourglass-4x128", "hourglass-1x32"),
    skeleton: str | None = None,
    locations: float = 1.0,
) -> Report:
    """Trains one network on the labels, without a teacher. A 3D network learns 3D joints where the data have
    them, and 2D joints everywhere.

    Parameters
    ----------
    student
        An architecture, for example hourglass-4x128 or kdlpn-256 (docs/models.md), or a trained network to
        start from: a file (.safetensors) or a name of `poseling models`. From Python also a module.
    skeleton
        The joints to learn: body19 (COCO's 17, neck and head top), coco17, lsp14, ...; those of the data if
        not given.
    locations
        Weight of the 3D joints beside the heatmaps, for a 3D network.
    """
    joints = None if skeleton is None else by_name(skeleton)
    in_space = is_3d(CODECS[Student.of(student, config.input).codec].configured(config.input))
    experiment = Experiment.of("baseline", config, student, joints, is_3d=in_space)
    labels = spatial_terms(experiment.codec, config.loss, 0.0, locations)
    return results.finish(experiment, None, {"baseline": experiment.arm("baseline", labels)})
