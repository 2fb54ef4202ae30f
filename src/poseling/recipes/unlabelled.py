"""Any teacher on any pictures: the student learns what the teacher answers, with or without labels beside it.

    poseling distill unlabelled --teacher movenet-thunder.onnx --root some/folder
    poseling distill unlabelled --teacher movenet-thunder.onnx --data lsp --root DIR --pictures some/folder

The first has no labels, so it has no control: the student's figure is its agreement with the teacher on pictures it did not see. The second trains three
students for equally many steps: on the labels alone; on the teacher's answers alone, to the labelled pictures and to the others; and on both.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Literal

from poseling.data import sets
from poseling.data.people import join
from poseling.evaluate.report import Report
from poseling.recipes.lab import DEFAULT, Lab, Setup, either
from poseling.teachers.load import load


def unlabelled(
    setup: Setup = DEFAULT,
    *,
    teacher: str,
    student: str = either("hourglass-4x128", "hourglass-1x32"),
    teacher_adapter: str | None = None,
    pictures: Path | None = None,
    alpha: float = 0.5,
    teacher_loss: Literal["mse", "kl", "coordinate"] | None = None,
    teacher_flip: bool = False,
    teacher_scales: tuple[float, ...] = (1.0,),
    confidence: bool = True,
) -> Report:
    """Trains a student on a teacher's answers, to pictures that need no labels.

    Parameters
    ----------
    teacher
        A checkpoint (.safetensors), an ONNX file, or mini, the mini set's own.
    student
        A network of the zoo: hourglass-STACKSxCHANNELS, or any other, which learns by the losses of its own outputs.
    pictures
        More pictures without labels: a folder, or a video.
    teacher_adapter
        For a foreign ONNX file: a built-in adapter's name, or a JSON file that says how to feed and read it (docs/teachers.md).
    alpha
        The teacher's share of the loss where there are labels too.
    teacher_loss
        The loss against the teacher's heatmaps, for students with heatmaps; as --loss if not given.
    teacher_flip
        Average the teacher's answer over the mirrored picture.
    teacher_scales
        Average the teacher's answer over these zooms.
    confidence
        Weigh each joint by the teacher's own score.
    """
    guide = load(teacher, teacher_adapter)
    setup = replace(setup, data=setup.data or ("images",))
    lab = Lab("unlabelled", setup, student, guide.skeleton if setup.data == ("images",) else None)
    alone, both = lab.respond(1.0, teacher_loss), lab.respond(alpha, teacher_loss)
    guide = lab.teacher(teacher, teacher_adapter)
    people = lab.people if pictures is None else join(lab.people, sets.load("images", pictures).train.to(lab.skeleton))
    answers = lab.label(guide, people, teacher_flip, teacher_scales)
    if lab.people.labelled:
        arms = {
            "baseline": [lab.fit("baseline", lab.supervised(), seed) for seed in lab.seeds],
            "distilled": [lab.fit("mixed", both, seed, answers, people, confidence=confidence) for seed in lab.seeds],
            "teacher's answers alone": [lab.fit("alone", alone, seed, answers, people, confidence=confidence) for seed in lab.seeds],
        }
    else:
        lab.adopt(guide)
        arms = {"distilled": [lab.fit("alone", alone, seed, answers, people, confidence=confidence) for seed in lab.seeds]}
    return lab.finish(guide, arms, lab.speeds_if_asked(guide, answers, both))
