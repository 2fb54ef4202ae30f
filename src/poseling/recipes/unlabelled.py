"""Any teacher on any images: the student learns the teacher's predictions, with or without labels beside
them.

    poseling distill unlabelled --teacher movenet-thunder.onnx --root some/folder
    poseling distill unlabelled --teacher movenet-thunder.onnx --data lsp --root DIR --images some/folder

The first has no labels, so it has no control: the student's figure is its agreement with the teacher on
images that it did not train on. The second trains three students for equally many steps: on the labels alone;
on the teacher's predictions alone, for the labelled images and for the others; and on both.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from poseling.data import sets
from poseling.data.dataset import join
from poseling.evaluate.report import Report
from poseling.recipes import results
from poseling.recipes.config import ResponseConfig, TrainConfig, default, recipe
from poseling.recipes.experiment import Experiment, TeacherSignal
from poseling.recipes.students import StudentLike


@dataclass(frozen=True, kw_only=True)
class UnlabelledTeacher(ResponseConfig):
    """A teacher whose confidence weighs its joints: without labels nothing else tells wrong ones."""

    confidence: bool = True


@recipe
def unlabelled(
    config: TrainConfig = TrainConfig(),
    *,
    teacher: UnlabelledTeacher = UnlabelledTeacher(),
    student: StudentLike = default("hourglass-4x128", "hourglass-1x32"),
    images: Path | None = None,
    teacher_loss: Literal["mse", "kl", "coordinate"] | None = None,
) -> Report:
    """Trains a student on a teacher's predictions, for images that need no labels.

    Parameters
    ----------
    student
        hourglass-STACKSxCHANNELS, any other architecture, or a file to start from; it learns by the losses of
        its own outputs.
    images
        More images without labels: a folder, or a video.
    teacher_loss
        Loss against the teacher's heatmaps, for students with heatmaps; as --loss if not given.
    """
    config = replace(config, data=config.data or ("images",))
    experiment = Experiment.of("unlabelled", config, student, teacher=teacher, labels=False)
    alone, both = experiment.respond(1.0, teacher_loss), experiment.respond(teacher.alpha, teacher_loss)
    experiment, guide = experiment.with_teacher(teacher)
    dataset = experiment.dataset
    if images is not None:
        dataset = join(dataset, sets.load("images", images).train.to(experiment.skeleton))
    labels = experiment.label(guide, dataset, teacher.teacher_flip, teacher.teacher_scales)
    signal = TeacherSignal(labels, confidence=teacher.confidence)

    if experiment.dataset.labelled:
        arms = {
            "baseline": experiment.arm("baseline", experiment.supervised()),
            "distilled": experiment.arm("mixed", both, signal, dataset=dataset),
            "teacher's predictions alone": experiment.arm("alone", alone, signal, dataset=dataset),
        }
    else:
        experiment = experiment.with_agreement(guide)
        arms = {"distilled": experiment.arm("alone", alone, signal, dataset=dataset)}
    return results.finish(experiment, guide, arms, results.speeds_if_asked(experiment, guide, signal, both))
