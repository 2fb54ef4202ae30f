"""Labels where there are any, a teacher's predictions where there are none: what a small network learns when
it starts from a trained one.

    poseling distill pseudo_labels --data lsp:0.3 lspet:0.3 images:0.4 --root DIR DIR IMAGES --clean lspet \\
        --teacher movenet-thunder.onnx --agree movenet-lightning.onnx blazepose-heavy.onnx --student
        start.safetensors --size 160

The teacher runs once for each sample; each of its joints weighs as much as its confidence and the agreement
with the others (teachers/pseudo.py). Labels that contradict it can be cleaned away. Then students are trained
from one start, for equally many steps: on the labels alone, on labels and teacher, on the teacher's
predictions alone, for all images and without one label; and with `--few` on so few labelled samples, alone
and with the teacher's predictions for all images.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from poseling.data.dataset import PoseDataset
from poseling.evaluate.report import Report
from poseling.recipes import results
from poseling.recipes.config import StoredTeacherConfig, TrainConfig, default, recipe
from poseling.recipes.experiment import Experiment
from poseling.recipes.students import StudentLike
from poseling.skeleton import by_name
from poseling.teachers.cache import PseudoLabels
from poseling.teachers.pseudo import pseudo_labels as fuse

Which = Literal["labels", "labels_and_teacher", "teacher_alone", "few_labels", "few_labels_and_teacher"]
ARMS: tuple[Which, ...] = ("labels", "labels_and_teacher", "teacher_alone")
PAIRS: dict[Which, Which] = {
    "labels_and_teacher": "labels",
    "teacher_alone": "labels",
    "few_labels_and_teacher": "few_labels",
}
FEW = 0.25  # part of a training that is drawn from few labelled samples, where others have no labels


@dataclass(frozen=True, kw_only=True)
class PseudoLabelTeacher(StoredTeacherConfig):
    """On the mini set the teacher that comes with it; else there is no default."""

    teacher: str = default("", "mini")
    teacher_flip: bool = True


@recipe
def pseudo_labels(
    config: TrainConfig = TrainConfig(),
    *,
    teacher: PseudoLabelTeacher = PseudoLabelTeacher(),
    student: StudentLike = default("vitpose_mobile-mobilenetv2-simple", "hourglass-1x32"),
    agree: tuple[str, ...] = (),
    clean: tuple[str, ...] = (),
    few: int = 0,
    arms: tuple[Which, ...] = (),
    skeleton: str = "body19",
) -> Report:
    """Trains students on labels, and on a teacher's predictions where there are none, from equal starts.

    Parameters
    ----------
    student
        An architecture, or a trained network to start from: a file (.safetensors; `poseling import` makes one
        of an ONNX file) or a name of `poseling models`.
    agree
        Other teachers' files: the more they agree with a joint of the teacher, the more it weighs.
    clean
        The sets of --data whose labels are left out where they contradict the teacher.
    few
        Also train on so many labelled samples alone, and with the teacher's predictions for all images: arms
        few_labels and few_labels_and_teacher.
    arms
        Which students to train; if not given labels, labels_and_teacher and teacher_alone, or without labels
        the last alone.
    skeleton
        The joints to learn: body19 (COCO's 17, neck and head top), coco17, lsp14, ..., or data, those of the
        data set, as of hands or animals.
    """
    if few < 0 or (not few and any(arm.startswith("few") for arm in arms)):
        raise ValueError(
            f"--few {few}: is no number of samples; give one above 0, or leave out the arms that need it"
        )
    joints = None if skeleton == "data" else by_name(skeleton)
    experiment = Experiment.of(
        "pseudo_labels", config, student, joints, teacher=teacher, teachers=agree, labels=False
    )
    dataset = experiment.dataset
    if unknown := [name for name in clean if name not in experiment.sources]:
        raise ValueError(
            f"--clean {unknown[0]}: is none of the sets, which are {', '.join(experiment.sources)}"
        )
    arms = arms or (ARMS if dataset.labelled else ("teacher_alone",))
    if not dataset.labelled and (wanting := [arm for arm in arms if arm != "teacher_alone"]):
        raise ValueError(
            f"--arms {wanting[0]}: {dataset.name} has no labels to learn from; take --arms teacher_alone"
        )
    distrusted = np.isin(experiment.origin, [i for i, name in enumerate(experiment.sources) if name in clean])
    trusted = np.flatnonzero((dataset.visible > 0).any(1) & ~distrusted)
    if len(trusted) < few or len(dataset) == few:
        raise ValueError(
            f"--few {few}: of {len(dataset)} samples {len(trusted)} have labels that are not cleaned; a "
            f"smaller number leaves some to the teacher"
        )
    experiment, guide = experiment.with_teacher(teacher)
    predicted = experiment.label(guide, dataset, teacher.teacher_flip, teacher.teacher_scales)
    others = [experiment.label(experiment.load_teacher(name), dataset) for name in agree]
    fused, found = fuse(dataset, predicted, others, distrusted)
    if any(arm in ARMS for arm in arms):
        experiment.note(f"{dataset.name}: {found}")
    if few:
        experiment.note(
            f"{dataset.name}: of {len(dataset)} samples {few} keep their labels in few_labels and "
            f"few_labels_and_teacher, which also learns the teacher's predictions for the others"
        )
    if not experiment.measure.dataset.labelled:
        experiment = experiment.with_agreement(guide)
    sets: dict[Which, PoseDataset] = {"labels_and_teacher": fused}
    if "labels" in arms:
        sets["labels"] = labels_left(dataset, fused, bool(clean))
    if "teacher_alone" in arms:
        sets["teacher_alone"], _ = fuse(dataset.without_labels(), predicted, others)
    if few:
        chosen = np.random.default_rng(config.seed).permutation(trusted)[:few]
        kept = np.isin(np.arange(len(dataset)), chosen)
        sets["few_labels"] = dataset[kept]
        sets["few_labels_and_teacher"] = _few(dataset, kept, predicted, others)
    names = dict.fromkeys([*arms, *(("few_labels", "few_labels_and_teacher") if few else ())])
    terms = experiment.supervised()
    trained = {arm: experiment.arm(arm, terms, dataset=sets[arm]) for arm in names}
    # What the report calls distilled, with the control that saw the same labels.
    taught = next((arm for arm in PAIRS if arm in trained), None)
    rows: dict[str, str] = {} if taught is None else {taught: "distilled", PAIRS[taught]: "baseline"}
    rows = rows or {next(iter(trained)): "baseline"}
    return results.finish(
        experiment, guide, {rows.get(arm, arm): students for arm, students in trained.items()}
    )


def labels_left(dataset: PoseDataset, fused: PoseDataset, cleaned: bool) -> PoseDataset:
    """The labelled joints alone, without those that were cleaned away, of the people who have any."""
    labels = uncontradicted(dataset, fused, cleaned)
    return labels[np.flatnonzero(labels.visible.any(1))]


def uncontradicted(dataset: PoseDataset, fused: PoseDataset, cleaned: bool) -> PoseDataset:
    """The same in all people's rows, also of those who have none left."""
    kept = (dataset.visible > 0) & (fused.joints == dataset.joints).all(-1)
    licence = fused.licence if cleaned else dataset.licence
    return replace(fused, visible=fused.visible * kept, weight=dataset.weight, licence=licence)


def _few(
    dataset: PoseDataset, kept: NDArray[np.bool_], predicted: PseudoLabels, others: list[PseudoLabels]
) -> PoseDataset:
    """The labels of the `kept` (N,) samples, and the teacher's predictions for all."""
    drawn = np.ones(len(dataset)) if dataset.draws is None else dataset.draws
    share = np.where(kept, FEW / kept.sum(), (1 - FEW) * drawn / drawn[~kept].sum()).astype(np.float32)
    some = replace(
        dataset.without_labels(),
        joints=dataset.joints * kept[:, None, None],
        visible=dataset.visible * kept[:, None],
        draws=share,
    )
    return fuse(some, predicted, others)[0]
