"""MoVNect: a 3D pose network of a million parameters, taught by VNect, and on real images by any network that
predicts joints in metres.

Claim: 7 % of VNect's parameters at 83 % of its accuracy on Human3.6M (97.3 against 80.5 mm). Paper: Hwang et
al., WACV 2020 (arXiv 2001.05097). Four stages: the teacher learns 2D, then 3D; the student learns 2D, then
3D, with the teacher and without. Errors are in millimetres, less is better.

    poseling distill movnect --data synthetic --root people --images lsp lspet --images-root DIR --metres blazepose-heavy.onnx
    poseling distill movnect --data h36m --root H36M --images mpii --images-root MPII

Where we differ: the paper has no control without a teacher, this has; `--metres` is ours, and so is that
samples with 3D joints and samples with 2D joints alone are in one batch, each with the losses of what is
known. The teacher runs once for each sample, and its predictions are stored: its heatmaps, and one 3D
position for each joint, where the paper has whole location maps (`--live` has them too, and runs a VNect in
every step).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from poseling.codecs import is_3d
from poseling.data import sets
from poseling.data.coco_files import CocoFiles  # noqa: F401  # cyclopts reads TrainConfig's annotations here
from poseling.data.dataset import PoseDataset, join
from poseling.distill.objective import spatial_terms
from poseling.evaluate.evaluator import Evaluator
from poseling.evaluate.report import Report
from poseling.models.importers.imagenet import load_backbone
from poseling.recipes import results
from poseling.recipes.config import ResponseConfig, TrainConfig, default, recipe
from poseling.recipes.experiment import Experiment, Terms, Trained
from poseling.recipes.students import Student, StudentLike
from poseling.skeleton import MOVNECT15
from poseling.teachers.base import Teacher
from poseling.teachers.pseudo import pseudo_labels_3d

Stage = Literal["teacher_2d", "teacher_3d", "student_2d", "student_3d"]
STAGES: tuple[Stage, ...] = ("teacher_2d", "teacher_3d", "student_2d", "student_3d")


@dataclass(frozen=True, kw_only=True)
class SpatialConfig(TrainConfig):
    """The same for networks with location maps at an eighth of the input."""

    size: int = default(256, 96)
    sigma: float = 1.0
    rotation: float = default(30.0, 12.0)


@dataclass(frozen=True, kw_only=True)
class VNectTeacher(ResponseConfig):
    """VNect, which is trained first, in 2D and then in 3D; on the mini set a small MoVNect."""

    train_teacher: str = default("vnect-50", "movnect-medium")


@recipe
def movnect(
    config: SpatialConfig = SpatialConfig(),
    *,
    teacher: VNectTeacher = VNectTeacher(),
    student: StudentLike = default("movnect-medium", "movnect-tiny"),
    teacher_pretrained: str | None = None,
    images: tuple[str, ...] = (),
    images_root: Path | None = None,
    metres: str | None = None,
    metres_adapter: str | None = None,
    locations: float = 1.0,
    bones: float = 1.0,
    height: float | None = None,
    epochs_2d: float = default(10, 1),
    teacher_epochs_2d: float | None = None,
    live: bool = False,
    stages: tuple[Stage, ...] = STAGES,
) -> Report | None:
    """Trains VNect in 2D and in 3D, then MoVNect in 2D, and in 3D twice: on the labels alone, and on the
    labels and VNect's predictions. A --teacher that exists has to predict joints in metres.

    --data is the set with 3D joints (synthetic, h36m, mpi_inf_3dhp, or mini), on whose test samples networks
    are measured.

    Parameters
    ----------
    student
        movnect-small, -medium (the paper's) or -large, simcc3d-BACKBONE, or any other 3D network.
    teacher_pretrained
        Start of the backbone of a teacher that is trained here, as --pretrained for the student's: imagenet
        or a file.
    images
        Sets with 2D labels, such as lsp or mpii, or with --metres images without labels, images: the first
        stage of both networks, and a part of the second. Without it the first stage uses the 2D labels of
        --data.
    images_root
        Folder of --images.
    metres
        An ONNX file or checkpoint that predicts joints in metres, such as blazepose-heavy.onnx: it gives the
        samples of --images 3D joints, as far as its confidence and the agreement with their labels go; where
        they have no labels, as images, its 2D joints are used too. All networks here learn these 3D joints
        like labels, so the control has them too and the difference is VNect alone.
    metres_adapter
        For an ONNX file that Poseling does not know: a built-in adapter's name, or a JSON file.
    locations
        Weight of the 3D positions beside the heatmaps.
    bones
        Weight of the parent-relative maps, in weights of the positions.
    height
        Train on people of one height, with so many metres from knee to neck (VNect has 0.92): they are then
        measured at their true one. Metres if not given.
    epochs_2d
        Epochs of the first stage, for the student.
    teacher_epochs_2d
        Epochs of the teacher's first stage; as many as the student's if not given. --teacher-epochs is for
        its second.
    live
        Run the teacher in every step, for its whole location maps.
    stages
        Only these, for machines that share the work with one --out: teacher_2d, teacher_3d, student_2d,
        student_3d. The report comes with all of them.
    """
    if unknown := [stage for stage in stages if stage not in STAGES]:
        raise ValueError(f"--stages {unknown[0]}: there is no such stage; there are {', '.join(STAGES)}")
    if live:
        teacher.predicts_once("--live")
    experiment = Experiment.of(
        "movnect", config, student, MOVNECT15, teacher=teacher, is_3d=True, height=height
    )
    pupil, loss = experiment.student, experiment.config.loss
    big = experiment.student_of(teacher.train_teacher) if teacher.train_teacher else None
    for network in (pupil, *([big] if big else [])):
        if not is_3d(experiment.codec_of(network)):
            raise ValueError(
                f"{network.name} predicts 2D joints only; this recipe needs a 3D model, such as vnect-50, "
                f"movnect-medium or simcc3d-mobilenetv2"
            )
    terms = spatial_terms(experiment.codec, loss, teacher.alpha, locations, bones)  # an error comes at once
    flat, whole, judged = _samples(experiment, images, images_root, metres, metres_adapter)
    experiment = experiment.with_dataset(whole)

    def alone(network: Student) -> Terms:
        return spatial_terms(experiment.codec_of(network), loss, 0.0, locations, bones)

    def learn_2d(arm: str, network: Student, epochs: float, seed: int, weights: str | None = None) -> Trained:
        learner = experiment.learner(seed, network)
        if weights is not None and not experiment.config.smoke:
            load_backbone(learner.module, weights)
        epochs = epochs * len(flat) / len(whole)  # of the samples of this stage
        return experiment.fit(arm, learner, alone(network), epochs=epochs, dataset=flat)

    def learn_3d(arm: str, network: Student, start: Trained, epochs: float | None = None) -> Trained:
        epochs = experiment.epochs(network, alone(network)) if epochs is None else epochs
        return experiment.fit(
            arm, experiment.learner(start.seed, network, start), alone(network), epochs=epochs
        )

    guide: Teacher | None = None
    if big is None:
        guide = experiment.load_teacher(teacher.teacher, teacher.teacher_adapter)
        if not guide.is_3d:
            raise ValueError(
                f"--teacher {guide.name} predicts 2D joints only; this recipe needs a 3D teacher, such as "
                f"blazepose-heavy.onnx, or --train-teacher vnect-50"
            )
        experiment = experiment.known_to(guide)
    elif {"teacher_2d", "teacher_3d"} & set(stages):
        epochs = epochs_2d if teacher_epochs_2d is None else teacher_epochs_2d
        begun = learn_2d("teacher_2d", big, epochs, experiment.config.seed, teacher_pretrained)
        if "teacher_3d" in stages:
            guide = learn_3d("teacher_3d", big, begun, teacher.teacher_epochs).network
    if not {"student_2d", "student_3d"} & set(stages):
        return None
    starts = [learn_2d("student_2d", pupil, epochs_2d, seed) for seed in experiment.seeds]
    if "student_3d" not in stages:
        return None
    baseline = [learn_3d("baseline", pupil, start) for start in starts]
    if guide is None:
        return None
    signal = experiment.signal(guide, terms, teacher, live)
    arms = {
        "baseline": baseline,
        "distilled": experiment.arm("distilled", terms, signal, starts=starts),
    }
    if judged is not None and judged.labelled:
        experiment.notes.append(_in_the_image(experiment, judged, guide, arms))
    speeds = {
        "supervised": arms["baseline"][0].images_per_second,
        "live_teacher" if live else "distilled": arms["distilled"][0].images_per_second,
    }
    return results.finish(experiment, guide, arms, speeds)


def _samples(
    experiment: Experiment,
    images: tuple[str, ...],
    images_root: Path | None,
    metres: str | None,
    metres_adapter: str | None,
) -> tuple[PoseDataset, PoseDataset, PoseDataset | None]:
    """The samples of the first stage, with 2D joints; those of the second; and the test samples of --images,
    if there are any.
    """
    spatial = experiment.dataset
    if not images:
        if metres is not None:
            raise ValueError(
                f"--metres {metres} gives the samples of --images 3D joints; name such a set, such as lsp"
            )
        return replace(spatial, joints_3d=None, confidence_3d=None), spatial, None
    found = sets.load_all(images, () if images_root is None else (images_root,), MOVNECT15)
    flat = found.train[: len(spatial)] if experiment.config.smoke else found.train
    if metres is None:
        if not flat.labelled:
            raise ValueError(
                f"--images {' '.join(images)}: has no labels, so there is nothing to learn; --metres names a "
                f"network that predicts them"
            )
        return flat, join(spatial, flat), found.test
    network = experiment.load_teacher(metres, metres_adapter)
    told = pseudo_labels_3d(experiment.label(network, flat), flat)
    if not flat.labelled:
        flat = replace(told, joints_3d=None, confidence_3d=None)
    return flat, join(spatial, replace(told, name=f"{flat.name} placed by {network.name}")), found.test


def _in_the_image(
    experiment: Experiment, dataset: PoseDataset, guide: Teacher, arms: dict[str, list[Trained]]
) -> str:
    """The 2D scores on the images with 2D labels."""
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
    return f"In the image, {measure.name} on {len(dataset)} samples of {dataset.name}, seed by seed: {told}"
