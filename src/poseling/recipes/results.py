"""The results of an experiment: the rows of its report, training speeds, and the files that it ends with."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from torch import nn

from poseling.distill.objective import Objective, looks_inside
from poseling.evaluate import figures, page, pck, report
from poseling.evaluate.cost import cost
from poseling.evaluate.report import Arm, Report
from poseling.export.onnx import export
from poseling.export.parity import ParityError, windows
from poseling.files import read_image, write_bytes
from poseling.geometry import Crop
from poseling.pose import Pose
from poseling.recipes import RECIPES, UNTRAINED_NOTE
from poseling.recipes.experiment import Experiment, TeacherSignal, Terms, Trained
from poseling.recipes.students import own_module
from poseling.teachers.base import Teacher
from poseling.teachers.network import NetworkTeacher
from poseling.train.throughput import stepper, throughput

STANDARD = ("baseline", "baseline_longer", "distilled")  # arms that have a place of their own in the report


def prove(
    experiment: Experiment,
    teacher: Teacher,
    terms: Terms,
    signal: TeacherSignal,
    prepare: Callable[[nn.Module], object] | None = None,
) -> Report:
    """What the teacher is worth: for each seed one student on the labels alone, where there are any, and one
    on `terms`; the report of both. `prepare` is done to both students before they learn.
    """
    experiment.epochs(experiment.student, terms, signal)  # both train as long as the slower one can

    arms = {}
    if experiment.dataset.labelled:
        arms["baseline"] = experiment.arm("baseline", experiment.supervised(), prepare=prepare)
    else:
        experiment = experiment.with_agreement(teacher)
    arms["distilled"] = experiment.arm("distilled", terms, signal, prepare=prepare)
    return finish(experiment, teacher, arms, speeds_if_asked(experiment, teacher, signal, terms))


def arm_row(experiment: Experiment, name: str, trained: Sequence[Trained]) -> Arm:
    """A row of the report, from one training for each seed."""
    one = trained[0]
    price = cost(one.network.network, experiment.codec.size)
    return Arm(
        name,
        [t.score.mean for t in trained],
        price.params,
        price.gmac,
        round(one.epochs),
        _mean_rows([dict(pck.rows(t.score, experiment.skeleton)) for t in trained]),
        float(np.mean([t.images_per_second for t in trained])),
    )


def teacher_row(experiment: Experiment, teacher: Teacher, pose: Pose) -> Arm:
    """The teacher's row, from its predictions on the test samples."""
    score = experiment.measure.score(pose)
    price = cost(teacher.network, teacher.size) if isinstance(teacher, NetworkTeacher) else None
    return Arm(
        f"teacher ({teacher.spec.model if isinstance(teacher, NetworkTeacher) else teacher.name})",
        [score.mean],
        price.params if price else None,
        price.gmac if price else None,
        per_joint=dict(pck.rows(score, experiment.skeleton)),
    )


def speeds_if_asked(
    experiment: Experiment, teacher: Teacher, signal: TeacherSignal, terms: Terms
) -> dict[str, float]:
    """`speeds` with --speeds, else none: they run a live teacher over a hundred times."""
    if not experiment.config.speeds:
        return {}
    with experiment.doing(
        "measuring how fast the student trains alone, with pseudo-labels and with the teacher live"
    ):
        return speeds(experiment, teacher, signal, terms)


def speeds(experiment: Experiment, teacher: Teacher, signal: TeacherSignal, terms: Terms) -> dict[str, float]:
    """Images per second of training the student without a teacher, with it as it was trained (from
    pseudo-labels, where there are), and with the teacher live: medians, measured in turn.
    """
    student, codec, dataset = experiment.student, experiment.codec, experiment.dataset
    spec = experiment.spec(student, "speed")
    plain = experiment.samples(dataset, spec, 0)

    def build() -> nn.Module:
        return student.build(experiment.skeleton, codec.size)

    alone, taught = build(), experiment.hooked(build(), terms, teacher)
    runs = {
        "supervised": (alone, Objective(spec, codec, experiment.supervised()), plain),
        "live_teacher": (taught, Objective(spec, codec, terms, teacher=teacher), plain),
    }
    if signal.stored is not None and not looks_inside(terms):
        stored = experiment.samples(dataset, spec, 0, signal.stored)
        runs["distilled"] = (taught, Objective(spec, codec, terms, width=signal.width), stored)
    steps = {
        run: stepper(network, objective, crops, experiment.training(student, network), experiment.engine)
        for run, (network, objective, crops) in runs.items()
    }
    found = {
        run: float(np.median(rates))
        for run, rates in throughput(steps, experiment.config.batch, rounds=3).items()
    }
    return {"distilled": found["live_teacher"], **found}


def finish(
    experiment: Experiment,
    teacher: Teacher | None,
    arms: Mapping[str, Sequence[Trained]],
    speeds: Mapping[str, float | None] | None = None,
) -> Report:
    """Writes the results of an experiment: report.json, report.md, report.html, curves.png, cases.png,
    and the first seed's distilled student as checkpoint and ONNX file.

    `arms` by name: `distilled`, `baseline` and `baseline_longer` where there are such, and any others.
    """
    config, measure, out = experiment.config, experiment.measure, experiment.out
    rows = {name: arm_row(experiment, name, trained) for name, trained in arms.items()}
    predicted = None
    if teacher is not None:
        with experiment.doing(f"measuring the teacher on {len(measure.dataset)} test samples"):
            predicted = measure.predict(teacher, config.flip_test)
    found = Report(
        recipe=experiment.recipe,
        data=experiment.dataset.name,
        metric=measure.name,
        seeds=list(experiment.seeds),
        teacher=None if teacher is None or predicted is None else teacher_row(experiment, teacher, predicted),
        baseline=rows.get("baseline"),
        baseline_longer=rows.get("baseline_longer"),
        distilled=rows.get("distilled"),
        others=[arm for name, arm in rows.items() if name not in STANDARD],
        higher_is_better=measure.higher_is_better,
        digits=1 if measure.is_3d else 3,
        images_per_second=speeds or {},
        command=experiment.command,
        smoke=config.smoke,
        versions=report.installed_versions(),
        notes=_notes(experiment),
        curves={name: [point for t in trained for point in t.curve] for name, trained in arms.items()},
        images={
            f"{experiment.choice.name} over epochs": "curves.png",
            "Worst, median and best test cases": "cases.png",
        },
    )
    if experiment.engine.is_main_process:
        # First what took hours, then what can go wrong: a test image that is gone, a file that fails parity.
        student = (arms.get("distilled") or arms.get("baseline") or next(iter(arms.values())))[0]
        write_bytes(out / "student.safetensors", student.path.read_bytes())
        report.write(found, out)
        experiment.say(found.table())
        _draw(experiment, teacher, arms, found, student, predicted)
        _export(experiment, student)
    return found


def _notes(experiment: Experiment) -> list[str]:
    untrained = experiment.recipe in RECIPES and not RECIPES[experiment.recipe]
    return [
        *dict.fromkeys(experiment.notes),
        *([f"{experiment.recipe}: {UNTRAINED_NOTE}"] if untrained else []),
        *([report.SMOKE] if experiment.config.smoke else []),
    ]


def _draw(
    experiment: Experiment,
    teacher: Teacher | None,
    arms: Mapping[str, Sequence[Trained]],
    found: Report,
    student: Trained,
    predicted: Pose | None,
) -> None:
    """Curves, cases and the page."""
    out, measure = experiment.out, experiment.measure
    with experiment.doing(f"drawing curves and cases into {out}"):
        # The curves are without the flip test, so the teacher's level is too.
        level = None if teacher is None else experiment.value(teacher)
        name = experiment.choice.name + (", without the flip test" if experiment.config.flip_test else "")
        curves = {arm: [t.curve for t in trained] for arm, trained in arms.items()}
        figures.curves(curves, out / "curves.png", level, name)
        figures.cases(
            measure.dataset, student.pose, predicted, measure.errors(student.pose), out / "cases.png"
        )
        page.write(
            found,
            page.Shown(measure, student.pose, predicted, curves, level, name, len(experiment.dataset), out),
        )


def _export(experiment: Experiment, student: Trained) -> None:
    """student.onnx, compared with the checkpoint."""
    out, smoke = experiment.out, experiment.config.smoke
    trained = student.network.network
    network = copy.deepcopy(trained).cpu() if own_module(student.network.spec) else None
    try:
        with experiment.doing("exporting the student, and comparing the file with the checkpoint"):
            checked = export(
                out / "student.safetensors",
                out / "student.onnx",
                crops=crops(experiment, 64),
                network=network,
            )
    except ParityError as error:
        if not smoke:
            raise
        experiment.say(
            f"Not exported: after a --smoke run the student's outputs can be too wild to compare: {error}",
            "yellow",
        )
        return
    experiment.say(f"{out / 'student.onnx'}: {checked}")
    told = f"The report is {out / 'report.html'}."
    if smoke:
        experiment.say(
            f"{told} {report.SMOKE} The student has learnt nothing; the same command without --smoke trains "
            f"one.",
            "yellow",
        )
    else:
        experiment.say(
            f"{told} Try the student: poseling track IMAGE --model {out / 'student.onnx'} --out drawn"
        )


def crops(experiment: Experiment, count: int) -> NDArray[np.uint8]:
    """(count, H, W, 3) canonical crops of test samples; where they are too few, other windows of their images
    as well.
    """
    dataset, size = experiment.measure.dataset, experiment.codec.size
    rows = np.unique(np.linspace(0, len(dataset) - 1, count).astype(int))
    found = [
        Crop.from_box(dataset.boxes[i], size, experiment.config.padding).warp(read_image(dataset.images[i]))
        for i in rows
    ]
    if len(found) < count:
        found += list(windows(dataset.images, size, count - len(found)))
    return np.stack(found)


def _mean_rows(tables: Sequence[Mapping[str, float]]) -> dict[str, float]:
    return {name: float(np.mean([table[name] for table in tables])) for name in tables[0]}
