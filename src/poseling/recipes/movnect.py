"""MoVNect: a 3D pose network of a million parameters, taught by VNect, and on real pictures by any network that answers in metres.

Claim: 7 % of VNect's parameters at 83 % of its accuracy on Human3.6M (97.3 against 80.5 mm). Paper: Hwang et al., WACV 2020 (arXiv 2001.05097).
Four stages: the teacher learns 2D, then 3D; the student learns 2D, then 3D, with the teacher and without. Errors are in millimetres, less is better.

    poseling distill movnect --data synthetic --root people --pictures lsp lspet --pictures-root DIR --metres blazepose-heavy.onnx
    poseling distill movnect --data h36m --root H36M --pictures mpii --pictures-root MPII

Where we differ: the paper has no control without a teacher, this has; `--metres` is ours, and so is that people with and without a place in space stand in one batch,
each teaching what is known of it. The teacher is asked once, and its answers are stored: its heatmaps, and one place in space for each joint, where the paper has whole
location maps (`--live` has them too, and costs a VNect in every step).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Literal

from poseling.codecs import spatial
from poseling.data import sets
from poseling.data.people import People, join
from poseling.distill.objective import Term, in_space
from poseling.evaluate.measure import Measure
from poseling.evaluate.report import Report
from poseling.models import registry
from poseling.models.weights import load_backbone
from poseling.recipes.lab import Lab, Setup, Trained, either
from poseling.skeleton import MOVNECT15
from poseling.teachers.base import Teacher
from poseling.teachers.labels import metres as placed

Stage = Literal["teacher_2d", "teacher_3d", "student_2d", "student_3d"]
STAGES: tuple[Stage, ...] = ("teacher_2d", "teacher_3d", "student_2d", "student_3d")


@dataclass(frozen=True, kw_only=True)
class SpaceSetup(Setup):
    """The same for networks with location maps at an eighth of the input."""

    size: int = either(256, 96)
    sigma: float = 1.0
    rotation: float = either(30.0, 12.0)


SPACE_DEFAULT = SpaceSetup()


def movnect(
    setup: SpaceSetup = SPACE_DEFAULT,
    *,
    teacher: str = either("vnect-50", "movnect-medium"),
    student: str = either("movnect-medium", "movnect-tiny"),
    teacher_adapter: str | None = None,
    teacher_pretrained: str | None = None,
    pictures: tuple[str, ...] = (),
    pictures_root: Path | None = None,
    metres: str | None = None,
    metres_adapter: str | None = None,
    alpha: float = 0.5,
    locations: float = 1.0,
    bones: float = 1.0,
    height: float | None = None,
    epochs_2d: float = either(10, 1),
    teacher_epochs: float | None = None,
    teacher_epochs_2d: float | None = None,
    teacher_flip: bool = False,
    confidence: bool = False,
    live: bool = False,
    stages: tuple[Stage, ...] = STAGES,
) -> Report | None:
    """Trains VNect in 2D and in 3D, then MoVNect in 2D, and in 3D twice: on the labels alone, and on the labels and VNect's answers.

    --data is the set with places in space (synthetic, h36m, mpi_inf_3dhp, or mini), of which the test people are measured.

    Parameters
    ----------
    teacher
        A network of the zoo, which is trained first, or a checkpoint (.safetensors) or ONNX file that answers in metres.
    student
        movnect-small, -medium (the paper's) or -large, simcc3d-BACKBONE, or any other that answers in space.
    teacher_adapter
        For a foreign ONNX file as the teacher: a built-in adapter's name, or a JSON file (docs/teachers.md).
    teacher_pretrained
        What the backbone of a teacher that is trained here starts from, as --pretrained for the student's: imagenet or a file.
    pictures
        Sets with labels in 2D, such as lsp or mpii, or with --metres pictures without labels, images: the first stage of both networks, and in the second it stands among the others. Without it the first stage
        takes the 2D labels of --data.
    pictures_root
        Where it lies.
    metres
        An ONNX file or checkpoint that answers in metres, such as blazepose-heavy.onnx: it places the people of --pictures in space, as far as it is sure and
        agrees with their labels; where they have none, as images, its joints in the picture are taken too. To all networks here these places are labels like others, so the control has them too and the difference is VNect alone.
    metres_adapter
        For a foreign ONNX file: a built-in adapter's name, or a JSON file.
    alpha
        The teacher's share of the loss.
    locations
        Weight of the places in space beside the heatmaps.
    bones
        Weight of the parent-relative maps, in weights of the places.
    height
        Teach all people in one stature, with so many metres from knee to neck (VNect has 0.92): they are then measured at their true one. Metres if not given.
    epochs_2d
        Passes over the people of the first stage, for the student.
    teacher_epochs
        Passes of the teacher's second stage; as many as the student's if not given.
    teacher_epochs_2d
        Passes of the teacher's first stage; as many as the student's if not given.
    teacher_flip
        Average the teacher's answer over the mirrored picture.
    confidence
        Weigh each joint by the teacher's own score.
    live
        Ask the teacher in every step, for its whole location maps.
    stages
        Only these, for machines that share the work with one --out: teacher_2d, teacher_3d, student_2d, student_3d. The report comes with all of them.
    """
    if unknown := [stage for stage in stages if stage not in STAGES]:
        raise ValueError(f"--stages {unknown[0]}: there is no such stage; there are {', '.join(STAGES)}")
    lab = Lab("movnect", setup, student, MOVNECT15, in_space=True, height=height, teacher=teacher)
    teacher, in_picture = lab.setup.chosen(teacher), lab.setup.chosen(epochs_2d)
    for name in (lab.student, *([teacher] if registry.is_name(teacher) else [])):
        if not spatial(lab.codec_of(name)):
            raise ValueError(f"{name}: knows no depth; take a network that answers in space: vnect-50, movnect-medium or simcc3d-mobilenetv2")
    terms = in_space(lab.codec, lab.setup.loss, alpha, locations, bones)  # a wrong share is told before anything takes time
    space, flat, judged = lab.people, replace(lab.people, xyz=None, trust=None), None
    if pictures:
        found = sets.load_all(pictures, () if pictures_root is None else (pictures_root,), MOVNECT15)
        flat, judged = found.train[: len(space)] if lab.setup.smoke else found.train, found.test
        if not flat.labelled and metres is None:
            raise ValueError(
                f"--pictures {' '.join(pictures)}: nobody there has a label, and so nothing to teach; --metres names a network that gives them some"
            )
    if metres is not None:
        if not pictures:
            raise ValueError(f"--metres {metres} places the people of --pictures in space; name such a set, such as lsp")
        guest = lab.load_teacher(metres, metres_adapter)
        told = placed(lab.label(guest, flat).labels, flat)
        if not flat.labelled:
            flat = replace(told, xyz=None, trust=None)
        lab.people = join(space, replace(told, name=f"{flat.name} placed by {guest.name}"))
    elif pictures:
        lab.people = join(space, flat)

    def alone(network: str) -> tuple[Term, ...]:
        return in_space(lab.codec_of(network), lab.setup.loss, 0.0, locations, bones)

    def learn(
        arm: str, network: str, people: People, passes: float, start: Trained | None = None, seed: int = lab.setup.seed, weights: str | None = None
    ) -> Trained:
        """On the labels alone; `passes` over these people, the backbone from `weights`."""
        begin = None if weights is None or lab.setup.smoke else partial(load_backbone, source=weights)
        epochs = passes * len(people) / len(lab.people)
        return lab.fit(arm, alone(network), seed, people=people, epochs=epochs, after=start, network=network, prepare=begin)

    guide: Teacher | None = None
    if registry.is_name(teacher):
        if {"teacher_2d", "teacher_3d"} & set(stages):
            passes = in_picture if teacher_epochs_2d is None else teacher_epochs_2d
            begun = learn("teacher_2d", lab.network(teacher), flat, passes, weights=teacher_pretrained)
        if "teacher_3d" in stages:
            passes = lab.epochs(lab.network(teacher), alone(lab.network(teacher))) if teacher_epochs is None else teacher_epochs
            guide = learn("teacher_3d", lab.network(teacher), lab.people, passes, begun).network
    else:
        guide = lab.load_teacher(teacher, teacher_adapter)
        if not guide.spatial:
            raise ValueError(f"--teacher {guide.name}: knows no depth; take one that answers in space, such as vnect-50 or blazepose-heavy.onnx")
        lab.measure, lab.choice = lab.measure.known_to(guide), lab.choice.known_to(guide)  # before anyone is measured
    if not {"student_2d", "student_3d"} & set(stages):
        return None

    arms: dict[str, list[Trained]] = {"baseline": [], "distilled": []}
    starts = [learn("student_2d", lab.student, flat, in_picture, seed=seed) for seed in lab.seeds]
    if "student_3d" not in stages:
        return None
    for start in starts:
        arms["baseline"].append(learn("baseline", lab.student, lab.people, lab.epochs(lab.student, alone(lab.student)), start, start.seed))
    if guide is None:
        return None
    answers = None if live else lab.label(guide, lab.people, teacher_flip)
    for start in starts:
        arms["distilled"].append(
            lab.fit("distilled", terms, start.seed, answers, after=start, confidence=confidence, teacher=guide if live else None)
        )
    if judged is not None and judged.labelled:
        lab.notes += _in_the_picture(lab, judged, guide, arms)
    speeds = {"supervised": arms["baseline"][0].images_per_second, "live_teacher" if live else "distilled": arms["distilled"][0].images_per_second}
    return lab.finish(guide, arms, speeds)


def _in_the_picture(lab: Lab, people: People, guide: Teacher, arms: dict[str, list[Trained]]) -> list[str]:
    """How well joints are found in the pictures with 2D labels."""
    people = people[:16] if lab.setup.smoke else people
    measure = Measure.of(people).known_to(guide)
    networks: dict[str, list[Teacher]] = {"teacher": [guide], **{name: [t.network for t in trained] for name, trained in arms.items()}}
    scores = {name: [measure.score(*measure.ask(n, lab.setup.flip_test)).mean for n in each] for name, each in networks.items()}
    told = ", ".join(f"{name} {' '.join(f'{score:.3f}' for score in each)}" for name, each in scores.items())
    return [f"In the picture, {measure.name} on {len(people)} people of {people.name}, seed by seed: {told}"]
