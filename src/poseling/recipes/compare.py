"""Which way to distil gains most: one teacher, one student, one data set, equal epochs and seeds, many
objectives.

Every objective is the labels' loss and one term of the teacher's (or the student's own). No weight is set by
hand: each term is scaled to a part, `share`, of the labels' loss, both measured on the student at its start over
the same first batches, and seed by seed all start from the same weights. The gain of an
objective is its score minus the baseline's of the same seed. `docs/which-distillation.md` was written by this
command.

    poseling compare --out runs/compare --seeds 3
    poseling compare --data lsp lspet --root DIR --teacher big.safetensors --student hourglass-1x64 --loss kl --out runs/compare-lsp --seeds 3
"""

from __future__ import annotations

import json
import shlex
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import matplotlib
import torch
from rich.table import Table
from torch import nn
from torch.utils.data import default_collate

from poseling.data.loader import Crops, TeacherLabels
from poseling.data.resident import Resident
from poseling.distill.feature import (
    align,
    aligned_mse,
    attention_transfer,
    channel_wise,
    fade,
    generate,
    masked_generation,
)
from poseling.distill.hooks import head_of, new_head
from poseling.distill.objective import Objective, Term, looks_inside
from poseling.distill.relation import joint_structure, rkd_angle, rkd_distance, similarity_preserving
from poseling.evaluate.report import SMOKE, Difference
from poseling.evaluate.spread import mean_and_spread
from poseling.files import write_bytes
from poseling.recipes.config import StoredTeacherConfig, TrainConfig, default, recipe
from poseling.recipes.experiment import Experiment, TeacherSignal, Terms, Trained
from poseling.recipes.students import StudentLike
from poseling.teachers.base import Teacher
from poseling.teachers.network import NetworkTeacher
from poseling.train.throughput import stepper, throughput

CALIBRATION = 4  # batches over which the first size of each term is measured


@dataclass(frozen=True, kw_only=True)
class CompareTeacher(StoredTeacherConfig):
    """A small hourglass, which is trained first; on the mini set the teacher that comes with it."""

    teacher: str = default("", "mini")
    train_teacher: str = default("hourglass-4x128", "")


@dataclass(frozen=True)
class Way:
    """One objective: its kind and paper, and the term beside the labels'. Without labels where `alone`; only
    the head learns, from the student itself, where `again`.
    """

    kind: str
    paper: str
    terms: Callable[[Experiment], Sequence[Term]]
    alone: bool = False
    again: bool = False


def _inside(loss: Callable[..., torch.Tensor], **more: Any) -> Callable[[Experiment], Sequence[Term]]:
    return lambda experiment: [Term("extra", loss, 1.0, "teacher", **{"at": "features", **more})]


def _response(experiment: Experiment) -> Sequence[Term]:
    return [Term("extra", experiment.codec.losses(experiment.config.loss)[1], 1.0, "teacher")]


WAYS: dict[str, Way] = {
    "heatmaps": Way("response", "FPD, Zhang et al. 2019", _response),
    "heatmaps alone": Way("response", "FPD with alpha 1", _response, alone=True),
    "integral": Way(
        "response",
        "integral KD, SPL 2020",
        lambda experiment: [
            Term("extra", experiment.codec.losses(experiment.config.loss, "coordinate")[1], 1.0, "teacher")
        ],
    ),
    "aligned features": Way(
        "feature",
        "FitNets 2015; DWPose, Yang et al. 2023, fading",
        _inside(aligned_mse, adapter=align, schedule=fade),
    ),
    "attention": Way("feature", "Zagoruyko and Komodakis 2017", _inside(attention_transfer)),
    "channel-wise": Way("feature", "CWD, Shu et al. 2021", _inside(channel_wise, adapter=align)),
    "masked generation": Way(
        "feature", "MGD, Yang et al. 2022", _inside(masked_generation, adapter=generate)
    ),
    "RKD distances": Way("relation", "Park et al. 2019", _inside(rkd_distance)),
    "RKD angles": Way("relation", "Park et al. 2019", _inside(rkd_angle)),
    "similarity": Way("relation", "Tung and Mori 2019", _inside(similarity_preserving)),
    "joint structure": Way(
        "relation", "pair-wise, Liu et al. 2019, on joints", _inside(joint_structure, at="joints")
    ),
    "head again": Way("self", "DWPose's second stage, a fifth of the epochs", _response, again=True),
}


@recipe
def compare(
    config: TrainConfig = TrainConfig(),
    *,
    teacher: CompareTeacher = CompareTeacher(),
    student: StudentLike = default("hourglass-1x64", "hourglass-1x32"),
    objectives: tuple[str, ...] = tuple(WAYS),
    share: tuple[float, ...] = (0.5,),
    page: Path | None = None,
) -> dict[str, Any]:
    """Trains one student by many objectives, each as long and from the same start, and writes a table and a
    plot of what each gained. The teacher has to be one of our networks, since some objectives compare
    features.

    Parameters
    ----------
    student
        An architecture, or a file to start from.
    objectives
        Which; all if not given. A wrong name is an error that lists them.
    share
        How large the term beside the labels is at the start, in parts of the labels' loss. Of several the
        first seed is trained with each, and the one with the best score on the validation samples is kept,
        for all seeds.
    page
        Also write the table into this Markdown file, between the lines that mark this data set's part.
    """
    if unknown := [name for name in objectives if name not in WAYS]:
        raise ValueError(f"--objectives {', '.join(unknown)}: not known; there are {', '.join(WAYS)}")
    if "integral" in objectives and config.loss != "kl":
        raise ValueError(
            f"--objectives integral reads the student's outputs as logits, and --loss {config.loss} does "
            f"not; take --loss kl, or leave it out"
        )
    experiment = Experiment.of("compare", config, student, teacher=teacher)
    codec = experiment.codec
    unfit = {
        "integral": "coordinate" not in codec.teacher_losses,
        "joint structure": not codec.has_maps or codec.is_3d,
    }
    if wrong := [name for name in objectives if unfit.get(name)]:
        raise ValueError(
            f"--objectives {', '.join(wrong)}: compares heatmaps, and {experiment.student.name} gives "
            f"{codec.name}; leave it out, or take hourglass-1x64"
        )
    inside = [
        name for name in objectives if not WAYS[name].again and looks_inside(_terms(experiment, WAYS[name]))
    ]
    if inside and teacher.teacher.endswith(".onnx"):
        outside = [name for name in WAYS if name not in inside]
        raise ValueError(
            f"--teacher {teacher.teacher}: cannot be looked into, which {', '.join(inside)} need; take a teacher "
            f"that is a checkpoint, or --objectives {shlex.join(outside)}"
        )
    experiment, guide = experiment.with_teacher(teacher)
    predictions = experiment.label(guide, experiment.dataset, teacher.teacher_flip, teacher.teacher_scales)
    labels = experiment.supervised()
    trained = {"baseline": experiment.arm("baseline", labels)}
    with experiment.doing(f"measuring the teacher on {len(experiment.measure.dataset)} test samples"):
        level = experiment.measure.score(experiment.measure.predict(guide, experiment.config.flip_test)).mean
    shares = dict.fromkeys(objectives, share[0])
    for name in objectives:
        fit = partial(_fit, experiment, name, WAYS[name], guide, predictions)
        several = len(share) > 1 and not WAYS[name].alone and not WAYS[name].again
        tags = {each: f"-{each:g}".replace(".", "_") if several else "" for each in share}  # of files
        if several:
            tried = {each: fit(experiment.seeds[0], each, tag) for each, tag in tags.items()}
            shares[name] = max(tried, key=lambda each: tried[each].curve[-1][1])
        trained[name] = [fit(seed, shares[name], tags[shares[name]]) for seed in experiment.seeds]
    found = _found(experiment, guide, level, trained, shares)
    if experiment.engine.is_main_process:
        with experiment.doing(f"measuring the time of a step by {len(objectives)} objectives"):
            found["cost"] = {name: _cost(experiment, WAYS[name], guide, predictions) for name in objectives}
        out = experiment.out
        write_bytes(out / "compare.json", (json.dumps(found, indent=1) + "\n").encode())
        text = markdown(found)
        write_bytes(out / "compare.md", text.encode())
        draw(found, out / "compare.png")
        if page is not None:
            insert(
                page, experiment.dataset.name, text.replace(found["command"], bare_command(found["command"]))
            )
        experiment.say(table(found))
        if experiment.config.smoke:
            experiment.say(SMOKE, "yellow")
        experiment.say(f"{out / 'compare.md'}, {out / 'compare.png'}")
    return found


def _terms(experiment: Experiment, way: Way) -> Terms:
    extra = tuple(way.terms(experiment))
    return extra if way.alone or way.again else (*experiment.supervised(), *extra)


def _fit(
    experiment: Experiment,
    name: str,
    way: Way,
    guide: Teacher,
    predictions: TeacherLabels,
    seed: int,
    share: float,
    tag: str,
) -> Trained:
    """One training; its arm is the way's name with the `tag`. Self-distillation starts from four fifths of its epochs on labels, and ends with a new
    head trained on its own predictions.
    """
    arm, terms = name.replace(" ", "-") + tag, _terms(experiment, way)
    if way.again:
        first = experiment.fit(
            f"{arm}-first",
            experiment.learner(seed),
            experiment.supervised(),
            epochs=0.8 * experiment.epochs(),
        )
        begun = experiment.learner(seed, start=first)
        new_head(begun.module)
        begun = replace(begun, only=head_of(begun.module))
        return experiment.fit(
            arm, begun, terms, TeacherSignal(live=first.network), epochs=0.2 * experiment.epochs()
        )
    signal = _signal(terms, guide, predictions)
    if not way.alone:
        terms = _scaled(experiment, terms, guide, predictions, seed, share)
    return experiment.fit(arm, experiment.learner(seed), terms, signal)


def _signal(terms: Terms, guide: Teacher, predictions: TeacherLabels) -> TeacherSignal:
    """Pseudo-labels, or the live teacher where the terms look inside it."""
    return TeacherSignal(live=guide) if looks_inside(terms) else TeacherSignal(predictions)


def _scaled(
    experiment: Experiment, terms: Terms, guide: Teacher, predictions: TeacherLabels, seed: int, share: float
) -> Terms:
    """The last term's weight such that it is `share` of the first's loss, over the first batches of the run,
    at the student's start.
    """
    objective, learner = _learner(experiment, terms, guide, predictions, seed)
    spec = experiment.spec(experiment.student, "size")
    stored = _signal(terms, guide, predictions).stored
    crops = experiment.samples(experiment.dataset, spec, seed, stored)
    sizes = {term.name: 0.0 for term in terms}
    learner.train()
    with torch.no_grad():
        for start in range(CALIBRATION):
            parts = objective(learner, _batch(experiment, crops, start))
            sizes = {name: size + float(parts[name]) for name, size in sizes.items()}
    first, last = terms[0], terms[-1]
    if not sizes[last.name] > 0:
        raise ValueError(
            f"{getattr(last.loss, '__name__', last.name)} is {sizes[last.name]} at the start, so it cannot "
            f"be scaled"
        )
    return (*terms[:-1], replace(last, weight=share * sizes[first.name] / sizes[last.name]))


def _learner(
    experiment: Experiment, terms: Terms, guide: Teacher, predictions: TeacherLabels, seed: int
) -> tuple[Objective, nn.Module]:
    module = experiment.learner(seed).module
    learner = experiment.hooked(module, terms, guide).to(experiment.engine.device)
    live = _signal(terms, guide, predictions).live
    spec = experiment.spec(experiment.student, "size")
    return Objective(spec, experiment.codec, terms, teacher=live, width=predictions.width), learner


def _batch(experiment: Experiment, crops: Crops | Resident, number: int) -> dict[str, torch.Tensor]:
    """The batch of this number of the stream, on the experiment's device."""
    if isinstance(crops, Resident):
        return next(crops.batches(number, number + 1, experiment.config.batch))
    first = number * experiment.config.batch
    batch = default_collate([crops[first + i] for i in range(experiment.config.batch)])
    return {name: value.to(experiment.engine.device) for name, value in batch.items()}


def _cost(experiment: Experiment, way: Way, guide: Teacher, predictions: TeacherLabels) -> float:
    """Time of a training step over that of the labels alone, measured in turn; the median of five rounds."""
    if way.again:
        return 1.0  # as many steps, and cheaper ones at the end

    def step(terms: Terms, stored: TeacherLabels | None) -> Callable[[], None]:
        objective, learner = _learner(experiment, terms, guide, predictions, 0)
        samples = experiment.samples(experiment.dataset, objective.spec, 0, stored)
        training = experiment.training(experiment.student, learner)
        return stepper(learner, objective, samples, training, experiment.engine)

    terms = _terms(experiment, way)
    steps = {
        "plain": step(experiment.supervised(), None),
        "way": step(terms, _signal(terms, guide, predictions).stored),
    }
    rates = throughput(steps, experiment.config.batch)
    return statistics.median(a / b for a, b in zip(rates["plain"], rates["way"], strict=True))


def _found(
    experiment: Experiment,
    guide: Teacher,
    level: float,
    trained: Mapping[str, Sequence[Trained]],
    shares: Mapping[str, float],
) -> dict[str, Any]:
    """The results as plain values."""
    base = [t.score.mean for t in trained["baseline"]]
    rows = []
    for name, ones in trained.items():
        if name == "baseline":
            continue
        values = [t.score.mean for t in ones]
        rows.append(
            {
                "name": name,
                "kind": WAYS[name].kind,
                "paper": WAYS[name].paper,
                "share": None if WAYS[name].alone or WAYS[name].again else shares[name],
                "values": values,
                "gains": [v - b for v, b in zip(values, base, strict=True)],
            }
        )
    teacher = guide.spec.model if isinstance(guide, NetworkTeacher) else guide.name
    return {
        "data": experiment.dataset.name, "people": len(experiment.dataset), "metric": experiment.measure.name, "seeds": list(experiment.seeds), "epochs": experiment.epochs(),
        "size": list(experiment.codec.size), "batch": experiment.config.batch, "student": experiment.student.name, "teacher": teacher, "teacher_value": level, "baseline": base,
        "objectives": rows, "command": experiment.command, "smoke": experiment.config.smoke,
    }  # fmt: skip


def markdown(found: Mapping[str, Any]) -> str:
    """The table in Markdown, best first."""
    lines = [
        f"`{found['command']}`",
        "",
        _about(found),
        "",
        "| objective | kind | paper | share | score | gain, 95 % interval | time of a step |",
        "|---|---|---|---:|---:|---|---:|",
    ]
    for row in _best_first(found):
        share, score, gain, time_of_a_step = _figures(found, row)
        lines.append(
            f"| {row['name']} | {row['kind']} | {row['paper']} | {share} | {score} | {gain} | {time_of_a_step} |"
        )
    return "\n".join(lines) + "\n"


def table(found: Mapping[str, Any]) -> Table:
    """The same for the terminal, where the papers have no room."""
    table = Table(title=f"compare on {found['data']}", caption=_about(found), caption_justify="left")
    rows = [(row["name"], row["kind"], *_figures(found, row)) for row in _best_first(found)]
    header = ("objective", "kind", "share", "score", "gain, 95 % interval", "time of a step")
    for i, name in enumerate(header):
        if any(row[i] for row in rows):
            table.add_column(
                name,
                justify="right" if i > 1 else "left",
                overflow="fold",
                min_width=max(len(row[i]) for row in rows),
            )
    told = [i for i in range(len(header)) if any(row[i] for row in rows)]
    for row in rows:
        table.add_row(*(row[i] for i in told))
    return table


def _about(found: Mapping[str, Any]) -> str:
    seeds = (
        "one seed, which cannot tell a gain from chance"
        if len(found["seeds"]) == 1
        else f"{len(found['seeds'])} seeds"
    )
    return (
        f"{found['metric']}, {found['people']} people of {found['data']}, {found['epochs']:g} "
        f"{'epoch' if found['epochs'] == 1 else 'epochs'} at {found['size'][0]}x{found['size'][1]}, "
        f"batch {found['batch']}, {seeds}. Teacher {found['teacher']}: {found['teacher_value']:.3f}. "
        f"Student {found['student']} on the labels alone: "
        f"{statistics.fmean(found['baseline']):.3f}{_plus_minus(found['baseline'])}."
        + (" A --smoke run: the numbers mean nothing." if found["smoke"] else "")
    )


def _best_first(found: Mapping[str, Any]) -> list[dict[str, Any]]:
    return sorted(found["objectives"], key=lambda row: -statistics.fmean(row["gains"]))


def _figures(found: Mapping[str, Any], row: Mapping[str, Any]) -> tuple[str, str, str, str]:
    """Of one objective: its share of the loss, where it has one, its score, its gain with the interval that
    one seed does not have, and the time of a step.
    """
    gain = Difference(row["name"], row["gains"])
    low_high = "" if gain.interval is None else ", {:+.3f} to {:+.3f}".format(*gain.interval)
    return (
        "" if row["share"] is None else f"{row['share']:g}",
        f"{statistics.fmean(row['values']):.3f}",
        f"{gain.mean:+.3f}{low_high}",
        f"{found['cost'][row['name']]:.2f} x",
    )


def _plus_minus(values: Sequence[float]) -> str:
    _, spread = mean_and_spread(values)
    return "" if spread is None else f" ± {spread:.3f}"


def bare_command(command: str) -> str:
    """The command without the places of one machine, for a page that travels: of an absolute path the last
    part.

    >>> bare_command("poseling compare --root /home/me/data --seeds 3")
    'poseling compare --root data --seeds 3'
    """
    return shlex.join(
        [Path(word).name if Path(word).is_absolute() else word for word in shlex.split(command)]
    )


def insert(page: Path, name: str, text: str) -> None:
    """Puts `text` into the page between the two lines that mark the part of this data set; they are added at
    the end where they are not there yet.
    """
    begin, end = f"<!-- compare {name} -->", f"<!-- end {name} -->"
    before = page.read_text() if page.is_file() else "# Which distillation\n"
    if begin in before and end in before:
        head, rest = before.split(begin, 1)
        after = rest.split(end, 1)[1]
    else:
        head, after = f"{before}\n", "\n"
    write_bytes(page, f"{head}{begin}\n\n{text}\n{end}{after}".encode())


def draw(found: Mapping[str, Any], path: Path) -> None:
    """Gain with its spread against the time of a step, a point an objective."""
    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    rows = sorted(found["objectives"], key=lambda row: statistics.fmean(row["gains"]))
    figure, axes = plt.subplots(figsize=(9, 0.42 * len(rows) + 1.6), layout="constrained")
    colours = {"response": "#1f77b4", "feature": "#2ca02c", "relation": "#9467bd", "self": "#ff7f0e"}
    for i, row in enumerate(rows):
        mean = statistics.fmean(row["gains"])
        interval = Difference(row["name"], row["gains"]).interval
        axes.errorbar(
            mean,
            i,
            xerr=0 if interval is None else interval[1] - mean,
            fmt="o",
            color=colours.get(row["kind"], "black"),
            capsize=3,
        )
        axes.plot(
            row["gains"], [i] * len(row["gains"]), "|", color=colours.get(row["kind"], "black"), alpha=0.6
        )
    axes.axvline(0, color="grey", linewidth=1)
    axes.set_yticks(
        range(len(rows)), [f"{row['name']} ({found['cost'][row['name']]:.1f} x time)" for row in rows]
    )
    axes.set_xlabel(
        f"gain over the labels alone in {found['metric']}, mean and 95 % interval over "
        f"{len(found['seeds'])} seeds"
    )
    axes.set_title(f"{found['student']} taught by {found['teacher']} on {found['data']}", fontsize=10)
    axes.legend(
        handles=[
            plt.Line2D([], [], marker="o", linestyle="", color=c, label=kind) for kind, c in colours.items()
        ],
        fontsize=8,
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=130)
    plt.close(figure)
