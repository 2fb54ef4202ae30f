"""Any teacher on any images: the student learns what the teacher answers, with or without labels beside it.

    poseling distill unlabelled --teacher movenet-thunder.onnx --root some/folder
    poseling distill unlabelled --teacher movenet-thunder.onnx --data lsp --root DIR --images some/folder

The first has no labels, so it has no control: the student's figure is its agreement with the teacher on
images it did not see. The second trains three students for equally many steps: on the labels alone; on the
teacher's answers alone, to the labelled images and to the others; and on both.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Literal

from poseling.data import sets
from poseling.data.dataset import join
from poseling.evaluate.report import Report
from poseling.recipes.experiment import DEFAULT, Experiment, TrainConfig, either
from poseling.teachers.load import load


def unlabelled(
    config: TrainConfig = DEFAULT,
    *,
    teacher: str,
    student: str = either("hourglass-4x128", "hourglass-1x32"),
    teacher_adapter: str | None = None,
    images: Path | None = None,
    alpha: float = 0.5,
    teacher_loss: Literal["mse", "kl", "coordinate"] | None = None,
    teacher_flip: bool = False,
    teacher_scales: tuple[float, ...] = (1.0,),
    confidence: bool = True,
) -> Report:
    """Trains a student on a teacher's answers, to images that need no labels.

    Parameters
    ----------
    teacher
        A checkpoint (.safetensors), an ONNX file, or mini, the mini set's own.
    student
        A network of the zoo: hourglass-STACKSxCHANNELS, or any other, which learns by the losses of its own
        outputs.
    images
        More images without labels: a folder, or a video.
    teacher_adapter
        For a foreign ONNX file: a built-in adapter's name, or a JSON file that says how to feed and read it
        (docs/teachers.md).
    alpha
        The teacher's share of the loss where there are labels too.
    teacher_loss
        The loss against the teacher's heatmaps, for students with heatmaps; as --loss if not given.
    teacher_flip
        Average the teacher's answer over the mirrored image.
    teacher_scales
        Average the teacher's answer over these zooms.
    confidence
        Weigh each joint by the teacher's own score.
    """
    guide = load(teacher, teacher_adapter)
    config = replace(config, data=config.data or ("images",))
    experiment = Experiment(
        "unlabelled", config, student, guide.skeleton if config.data == ("images",) else None
    )
    alone, both = experiment.respond(1.0, teacher_loss), experiment.respond(alpha, teacher_loss)
    guide = experiment.teacher(teacher, teacher_adapter)
    dataset = (
        experiment.dataset
        if images is None
        else join(experiment.dataset, sets.load("images", images).train.to(experiment.skeleton))
    )
    answers = experiment.label(guide, dataset, teacher_flip, teacher_scales)
    if experiment.dataset.labelled:
        arms = {
            "baseline": [
                experiment.fit("baseline", experiment.supervised(), seed) for seed in experiment.seeds
            ],
            "distilled": [
                experiment.fit("mixed", both, seed, answers, dataset, confidence=confidence)
                for seed in experiment.seeds
            ],
            "teacher's answers alone": [
                experiment.fit("alone", alone, seed, answers, dataset, confidence=confidence)
                for seed in experiment.seeds
            ],
        }
    else:
        experiment.adopt(guide)
        arms = {
            "distilled": [
                experiment.fit("alone", alone, seed, answers, dataset, confidence=confidence)
                for seed in experiment.seeds
            ]
        }
    return experiment.finish(guide, arms, experiment.speeds_if_asked(guide, answers, both))
