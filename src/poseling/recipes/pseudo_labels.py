"""Labels where there are any, a teacher's answers where there are none: what a small network learns when it
starts from a trained one.

    poseling distill pseudo_labels --data lsp:0.3 lspet:0.3 images:0.4 --root DIR DIR IMAGES --clean lspet \\
        --teacher movenet-thunder.onnx --agree movenet-lightning.onnx blazepose-heavy.onnx --student
        start.safetensors --size 160

The teacher is asked once about everybody; each of its joints weighs as much as it is sure of it and the
others agree (teachers/pseudo.py). Labels that contradict it can be cleaned away. Then students are trained
from one start, for equally many steps: on the labels alone, on labels and teacher, on the teacher's answers
alone, on all images and without one label; and with `--few` on so few labelled people, alone and with the
teacher's answers to all images.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

import numpy as np

from poseling.data.dataset import PoseDataset
from poseling.evaluate.report import Report
from poseling.recipes.experiment import DEFAULT, Experiment, TrainConfig, either
from poseling.skeleton import by_name
from poseling.teachers.pseudo import pseudo_labels as fuse

Which = Literal["labels", "labels_and_teacher", "teacher_alone", "few_labels", "few_labels_and_teacher"]
ARMS: tuple[Which, ...] = ("labels", "labels_and_teacher", "teacher_alone")
PAIRS: dict[Which, Which] = {
    "labels_and_teacher": "labels",
    "teacher_alone": "labels",
    "few_labels_and_teacher": "few_labels",
}
FEW = 0.25  # how much of a training is drawn from few labelled people, where others have none


def pseudo_labels(
    config: TrainConfig = DEFAULT,
    *,
    teacher: str = either("", "mini"),
    student: str = either("vitpose_mobile-mobilenetv2-simple", "hourglass-1x32"),
    teacher_adapter: str | None = None,
    teacher_flip: bool = True,
    agree: tuple[str, ...] = (),
    clean: tuple[str, ...] = (),
    few: int = 0,
    arms: tuple[Which, ...] = (),
    skeleton: str = "body19",
) -> Report:
    """Trains students on labels, and on a teacher's answers where there are none, from equal starts.

    Parameters
    ----------
    teacher
        A checkpoint (.safetensors), an ONNX file, or mini, the mini set's own.
    student
        A network of the zoo, or a file to start from (.safetensors; `poseling import` makes one of an ONNX
        file).
    teacher_adapter
        For a foreign ONNX file: a built-in adapter's name, or a JSON file that says how to feed and read it
        (docs/teachers.md).
    teacher_flip
        Average the teacher's answer over the mirrored image.
    agree
        Other teachers' files: the more they agree with a joint of the teacher, the more it weighs.
    clean
        The sets of --data whose labels are left out where they contradict the teacher.
    few
        Also train on so many labelled people alone, and with the teacher's answers to all images: arms
        few_labels and few_labels_and_teacher.
    arms
        Which students to train; if not given labels, labels_and_teacher and teacher_alone, or where nobody
        has a label the last alone.
    skeleton
        The joints to learn: body19 (COCO's 17, neck and head top), coco17, lsp14, ...
    """
    if few < 0 or (not few and any(arm.startswith("few") for arm in arms)):
        raise ValueError(
            f"--few {few}: is no number of people; give one above 0, or leave out the arms that need it"
        )
    experiment = Experiment("pseudo_labels", config, student, by_name(skeleton), teacher=(teacher, *agree))
    dataset = experiment.dataset
    if unknown := [name for name in clean if name not in experiment.sources]:
        raise ValueError(
            f"--clean {unknown[0]}: is none of the sets, which are {', '.join(experiment.sources)}"
        )
    arms = arms or (ARMS if dataset.labelled else ("teacher_alone",))
    if not dataset.labelled and (wanting := [arm for arm in arms if arm != "teacher_alone"]):
        raise ValueError(
            f"--arms {wanting[0]}: nobody of {dataset.name} has a label to learn from; take --arms "
            f"teacher_alone"
        )
    distrusted = np.isin(experiment.origin, [i for i, name in enumerate(experiment.sources) if name in clean])
    trusted = np.flatnonzero((dataset.visible > 0).any(1) & ~distrusted)
    if len(trusted) < few or len(dataset) == few:
        raise ValueError(
            f"--few {few}: of {len(dataset)} people {len(trusted)} have labels that are not cleaned; a "
            f"smaller number leaves some to the teacher"
        )
    guide = experiment.teacher(teacher, teacher_adapter)
    answers = experiment.label(guide, dataset, teacher_flip)
    others = [experiment.label(experiment.load_teacher(name), dataset) for name in agree]
    fused, found = fuse(dataset, answers, others, distrusted)
    experiment.note(f"{dataset.name}: {found}")
    if not experiment.measure.dataset.labelled:
        experiment.adopt(guide)
    sets: dict[Which, PoseDataset] = {"labels_and_teacher": fused}
    if "labels" in arms:
        kept = (dataset.visible > 0) & (fused.joints == dataset.joints).all(-1)
        labels = fused.visible * kept
        sets["labels"] = replace(
            fused, visible=labels, weight=dataset.weight, licence=fused.licence if clean else dataset.licence
        )[np.flatnonzero(labels.any(1))]
    if "teacher_alone" in arms:
        sets["teacher_alone"], _ = fuse(dataset.without_labels(), answers, others)
    if few:
        chosen = np.random.default_rng(config.seed).permutation(trusted)[:few]
        kept = np.isin(np.arange(len(dataset)), chosen)
        bare = dataset.without_labels()
        drawn = np.ones(len(dataset)) if dataset.draws is None else dataset.draws
        share = np.where(kept, FEW / few, (1 - FEW) * drawn / drawn[~kept].sum()).astype(np.float32)
        some = replace(
            bare,
            joints=dataset.joints * kept[:, None, None],
            visible=dataset.visible * kept[:, None],
            draws=share,
        )
        sets["few_labels"] = dataset[kept]
        sets["few_labels_and_teacher"], _ = fuse(some, answers, others)
    names = dict.fromkeys([*arms, *(("few_labels", "few_labels_and_teacher") if few else ())])
    terms = experiment.supervised()
    trained = {
        arm: [experiment.fit(arm, terms, seed, dataset=sets[arm]) for seed in experiment.seeds]
        for arm in names
    }
    # What the report calls distilled, with the control that saw the same labels.
    taught = next((arm for arm in PAIRS if arm in trained), None)
    rows: dict[str, str] = {} if taught is None else {taught: "distilled", PAIRS[taught]: "baseline"}
    rows = rows or {next(iter(trained)): "baseline"}
    return experiment.finish(guide, {rows.get(arm, arm): students for arm, students in trained.items()}, {})
