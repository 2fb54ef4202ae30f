"""MoVNect: a 3D pose network of a million parameters, taught by VNect, and on real images by any network that
answers in metres.

Claim: 7 % of VNect's parameters at 83 % of its accuracy on Human3.6M (97.3 against 80.5 mm). Paper: Hwang et
al., WACV 2020 (arXiv 2001.05097). Four stages: the teacher learns 2D, then 3D; the student learns 2D, then
3D, with the teacher and without. Errors are in millimetres, less is better.

    poseling distill movnect --data synthetic --root people --images lsp lspet --images-root DIR --metres blazepose-heavy.onnx
    poseling distill movnect --data h36m --root H36M --images mpii --images-root MPII

Where we differ: the paper has no control without a teacher, this has; `--metres` is ours, and so is that
people with and without a place in space stand in one batch, each teaching what is known of it. The teacher is
asked once, and its answers are stored: its heatmaps, and one place in space for each joint, where the paper
has whole location maps (`--live` has them too, and costs a VNect in every step).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Literal

from poseling.codecs import is_3d
from poseling.data import sets
from poseling.data.dataset import PoseDataset, join
from poseling.distill.objective import Term, spatial_terms
from poseling.evaluate.evaluator import Evaluator
from poseling.evaluate.report import Report
from poseling.models import registry
from poseling.models.importers.imagenet import load_backbone
from poseling.recipes.experiment import Experiment, TrainConfig, Trained, either
from poseling.skeleton import MOVNECT15
from poseling.teachers.base import Teacher
from poseling.teachers.pseudo import pseudo_labels_3d

Stage = Literal["teacher_2d", "teacher_3d", "student_2d", "student_3d"]
STAGES: tuple[Stage, ...] = ("teacher_2d", "teacher_3d", "student_2d", "student_3d")


@dataclass(frozen=True, kw_only=True)
class SpaceSetup(TrainConfig):
    """The same for networks with location maps at an eighth of the input."""

    size: int = either(256, 96)
    sigma: float = 1.0
    rotation: float = either(30.0, 12.0)


SPACE_DEFAULT = SpaceSetup()


def movnect(
    config: SpaceSetup = SPACE_DEFAULT,
    *,
    teacher: str = either("vnect-50", "movnect-medium"),
    student: str = either("movnect-medium", "movnect-tiny"),
    teacher_adapter: str | None = None,
    teacher_pretrained: str | None = None,
    images: tuple[str, ...] = (),
    images_root: Path | None = None,
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
    """Trains VNect in 2D and in 3D, then MoVNect in 2D, and in 3D twice: on the labels alone, and on the
    labels and VNect's answers.

    --data is the set with places in space (synthetic, h36m, mpi_inf_3dhp, or mini), of which the test people
    are measured.

    Parameters
    ----------
    teacher
        A network of the zoo, which is trained first, or a checkpoint (.safetensors) or ONNX file that answers
        in metres.
    student
        movnect-small, -medium (the paper's) or -large, simcc3d-BACKBONE, or any other that answers in space.
    teacher_adapter
        For a foreign ONNX file as the teacher: a built-in adapter's name, or a JSON file (docs/teachers.md).
    teacher_pretrained
        What the backbone of a teacher that is trained here starts from, as --pretrained for the student's:
        imagenet or a file.
    images
        Sets with labels in 2D, such as lsp or mpii, or with --metres images without labels, images: the first
        stage of both networks, and in the second it stands among the others. Without it the first stage takes
        the 2D labels of --data.
    images_root
        Where it lies.
    metres
        An ONNX file or checkpoint that answers in metres, such as blazepose-heavy.onnx: it places the people
        of --images in space, as far as it is sure and agrees with their labels; where they have none, as
        images, its joints in the image are taken too. To all networks here these places are labels like
        others, so the control has them too and the difference is VNect alone.
    metres_adapter
        For a foreign ONNX file: a built-in adapter's name, or a JSON file.
    alpha
        The teacher's share of the loss.
    locations
        Weight of the places in space beside the heatmaps.
    bones
        Weight of the parent-relative maps, in weights of the places.
    height
        Teach all people in one stature, with so many metres from knee to neck (VNect has 0.92): they are then
        measured at their true one. Metres if not given.
    epochs_2d
        Passes over the people of the first stage, for the student.
    teacher_epochs
        Passes of the teacher's second stage; as many as the student's if not given.
    teacher_epochs_2d
        Passes of the teacher's first stage; as many as the student's if not given.
    teacher_flip
        Average the teacher's answer over the mirrored image.
    confidence
        Weigh each joint by the teacher's own score.
    live
        Ask the teacher in every step, for its whole location maps.
    stages
        Only these, for machines that share the work with one --out: teacher_2d, teacher_3d, student_2d,
        student_3d. The report comes with all of them.
    """
    if unknown := [stage for stage in stages if stage not in STAGES]:
        raise ValueError(f"--stages {unknown[0]}: there is no such stage; there are {', '.join(STAGES)}")
    experiment = Experiment("movnect", config, student, MOVNECT15, is_3d=True, height=height, teacher=teacher)
    teacher, in_image = experiment.config.chosen(teacher), experiment.config.chosen(epochs_2d)
    for name in (experiment.student, *([teacher] if registry.is_name(teacher) else [])):
        if not is_3d(experiment.codec_of(name)):
            raise ValueError(
                f"{name}: knows no depth; take a network that answers in space: vnect-50, movnect-medium or "
                f"simcc3d-mobilenetv2"
            )
    terms = spatial_terms(
        experiment.codec, experiment.config.loss, alpha, locations, bones
    )  # a wrong share is told before anything takes time
    space, flat, judged = (
        experiment.dataset,
        replace(experiment.dataset, joints_3d=None, confidence_3d=None),
        None,
    )
    if images:
        found = sets.load_all(images, () if images_root is None else (images_root,), MOVNECT15)
        flat, judged = found.train[: len(space)] if experiment.config.smoke else found.train, found.test
        if not flat.labelled and metres is None:
            raise ValueError(
                f"--images {' '.join(images)}: nobody there has a label, and so nothing to teach; --metres "
                f"names a network that gives them some"
            )
    if metres is not None:
        if not images:
            raise ValueError(
                f"--metres {metres} places the people of --images in space; name such a set, such as lsp"
            )
        guest = experiment.load_teacher(metres, metres_adapter)
        told = pseudo_labels_3d(experiment.label(guest, flat), flat)
        if not flat.labelled:
            flat = replace(told, joints_3d=None, confidence_3d=None)
        experiment.dataset = join(space, replace(told, name=f"{flat.name} placed by {guest.name}"))
    elif images:
        experiment.dataset = join(space, flat)

    def alone(network: str) -> tuple[Term, ...]:
        return spatial_terms(experiment.codec_of(network), experiment.config.loss, 0.0, locations, bones)

    def learn(
        arm: str,
        network: str,
        dataset: PoseDataset,
        passes: float,
        start: Trained | None = None,
        seed: int = experiment.config.seed,
        weights: str | None = None,
    ) -> Trained:
        """On the labels alone; `passes` over these people, the backbone from `weights`."""
        begin = None if weights is None or experiment.config.smoke else partial(load_backbone, source=weights)
        epochs = passes * len(dataset) / len(experiment.dataset)
        return experiment.fit(
            arm,
            alone(network),
            seed,
            dataset=dataset,
            epochs=epochs,
            after=start,
            network=network,
            prepare=begin,
        )

    guide: Teacher | None = None
    if registry.is_name(teacher):
        if {"teacher_2d", "teacher_3d"} & set(stages):
            passes = in_image if teacher_epochs_2d is None else teacher_epochs_2d
            begun = learn("teacher_2d", experiment.network(teacher), flat, passes, weights=teacher_pretrained)
        if "teacher_3d" in stages:
            passes = (
                experiment.epochs(experiment.network(teacher), alone(experiment.network(teacher)))
                if teacher_epochs is None
                else teacher_epochs
            )
            guide = learn(
                "teacher_3d", experiment.network(teacher), experiment.dataset, passes, begun
            ).network
    else:
        guide = experiment.load_teacher(teacher, teacher_adapter)
        if not guide.is_3d:
            raise ValueError(
                f"--teacher {guide.name}: knows no depth; take one that answers in space, such as vnect-50 "
                f"or blazepose-heavy.onnx"
            )
        experiment.measure, experiment.choice = (
            experiment.measure.known_to(guide),
            experiment.choice.known_to(guide),
        )  # before anyone is measured
    if not {"student_2d", "student_3d"} & set(stages):
        return None

    arms: dict[str, list[Trained]] = {"baseline": [], "distilled": []}
    starts = [learn("student_2d", experiment.student, flat, in_image, seed=seed) for seed in experiment.seeds]
    if "student_3d" not in stages:
        return None
    for start in starts:
        arms["baseline"].append(
            learn(
                "baseline",
                experiment.student,
                experiment.dataset,
                experiment.epochs(experiment.student, alone(experiment.student)),
                start,
                start.seed,
            )
        )
    if guide is None:
        return None
    answers = None if live else experiment.label(guide, experiment.dataset, teacher_flip)
    for start in starts:
        arms["distilled"].append(
            experiment.fit(
                "distilled",
                terms,
                start.seed,
                answers,
                after=start,
                confidence=confidence,
                teacher=guide if live else None,
            )
        )
    if judged is not None and judged.labelled:
        experiment.notes += _in_the_image(experiment, judged, guide, arms)
    speeds = {
        "supervised": arms["baseline"][0].images_per_second,
        "live_teacher" if live else "distilled": arms["distilled"][0].images_per_second,
    }
    return experiment.finish(guide, arms, speeds)


def _in_the_image(
    experiment: Experiment, dataset: PoseDataset, guide: Teacher, arms: dict[str, list[Trained]]
) -> list[str]:
    """How well joints are found in the images with 2D labels."""
    dataset = dataset[:16] if experiment.config.smoke else dataset
    measure = Evaluator.of(dataset).known_to(guide)
    networks: dict[str, list[Teacher]] = {
        "teacher": [guide],
        **{name: [t.network for t in trained] for name, trained in arms.items()},
    }
    scores = {
        name: [measure.score(measure.predict(n, experiment.config.flip_test)).mean for n in each]
        for name, each in networks.items()
    }
    told = ", ".join(f"{name} {' '.join(f'{score:.3f}' for score in each)}" for name, each in scores.items())
    return [f"In the image, {measure.name} on {len(dataset)} people of {dataset.name}, seed by seed: {told}"]
