"""What a run found, as one page that needs no other file, `report.html`: `page.html.j2`, filled in."""

from __future__ import annotations

import base64
import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import cv2
import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined, Template
from markupsafe import Markup, escape
from matplotlib.figure import Figure
from numpy.typing import NDArray

from poseling.evaluate import figures
from poseling.evaluate.evaluator import Evaluator
from poseling.evaluate.report import Arm, Report, gmac_in_words
from poseling.files import write_bytes
from poseling.pose import Pose

EXAMPLES = 8
UNKNOWN = "–"
TONES = {"The teacher helped": "good", "Worse with the teacher": "bad"}  # the others are plain
METRICS = {
    "agreement with the teacher": "the teacher's predictions are the labels",
    "PCK@0.2": (
        "the share of joints within a fifth of the torso's length of their label (of the box, for a skeleton "
        "without a torso)"
    ),
    "PCKh@0.5": "the share of joints within half a head of their label",
    "OKS AP": (
        "COCO's average precision: how many people are found and how near their joints are, over ten "
        "thresholds"
    ),
    "MPJPE": "the mean 3D distance of a joint from its label, both from the pelvis, in millimetres",
}
READ_ON = (
    "Where make installed it, poseling is .venv/bin/poseling; `. .venv/bin/activate` puts it on the path. "
    "To read on: docs/own.md (your own teacher, your own images), docs/synthetic.md (synthetic people)."
)


@dataclass(frozen=True)
class View:
    """One image (H, W, 3) of a test sample with the pose of `name`, and its mean error in parts of the
    person's box, None for the labels.
    """

    name: str
    image: NDArray[np.uint8]
    off: float | None

    @property
    def distance(self) -> str:
        """The error in words; empty for the labels."""
        return "" if self.off is None else f"{_percent(self.off)} off"


@dataclass(frozen=True, eq=False)
class Shown:
    """What a page shows besides the numbers of a report.

    `evaluator` holds the test samples; `student` are the predictions of the first seed's student for them,
    `teacher` the teacher's, None without one. `curves` by arm, one run a seed, with the teacher at `level` in
    `curves_metric`. `trained_on` counts samples, `out` is the run's folder.
    """

    evaluator: Evaluator
    student: Pose
    teacher: Pose | None
    curves: Mapping[str, Sequence[figures.Run]]
    level: float | None
    curves_metric: str
    trained_on: int
    out: Path

    @cached_property
    def examples(self) -> list[tuple[str, list[View]]]:
        """Test samples from the smallest to the largest error of the student (see `figures.across`): the
        image's name, and its views.
        """
        dataset, errors = self.evaluator.dataset, self.evaluator.errors(self.student)
        poses = {"student": (self.student, errors)}
        # Where the labels are the teacher's predictions, it would be shown twice.
        if self.teacher is not None and not self.evaluator.agreement:
            poses["teacher"] = self.teacher, self.evaluator.errors(self.teacher)
        labels = np.where(self.evaluator.visible[..., None], dataset.joints, np.nan)
        found = []
        for i in figures.across(errors, EXAMPLES).tolist():
            views = [
                View(name, figures.view(dataset, i, pose.xy[i]), float(off[i]))
                for name, (pose, off) in poses.items()
            ]
            name = "teacher" if self.evaluator.agreement else "label"
            views.append(View(name, figures.view(dataset, i, labels[i]), None))
            found.append((dataset.images[i].stem, views))
        return found

    @property
    def chosen(self) -> str:
        """How the examples were chosen, and what is drawn."""
        people, count = len(self.evaluator.dataset), len(self.examples)
        label = "teacher's prediction" if self.evaluator.agreement else "label"
        return (
            f"Not picked by hand: the {people} test people were sorted by the student's error and divided "
            f"into {count} equal groups; these are the middle ones of each, from the smallest error to the "
            f"largest. Off: the mean distance from the {label} in the image, in parts of the person's box. "
            f"Blue is the person's left, orange the right."
        )


def write(found: Report, shown: Shown) -> None:
    """`report.html` in the run's folder, written whole or not at all."""
    write_bytes(shown.out / "report.html", to_html(found, shown).encode())


def verdict(found: Report) -> tuple[str, str]:
    """A title, and one sentence with the numbers; they claim no more than the seeds show."""
    if found.distilled is None:
        return (
            "No teacher",
            f"The network {_reaches(found, found.baseline)} with labels alone; it had no teacher.",
        )
    control = found.baseline_longer or found.baseline
    if control is None:
        return (
            "No control",
            f"The student {_reaches(found, found.distilled)} with its teacher; none was trained without it, "
            f"so this does not show what the teacher was worth.",
        )
    difference, seeds, gap = found.differences()[-1], len(found.seeds), found.gap_closed
    without = "without" if found.baseline_longer is None else "without, trained for as long"
    start = (
        f"The student {_reaches(found, found.distilled)} with its teacher and {_values(found, control)} "
        f"{without}: "
    )
    better = (difference.mean > 0) == found.higher_is_better
    if difference.interval is None:
        by = (
            f"{_number(found, abs(difference.mean))} {'better' if better else 'worse'}"
            if difference.mean
            else "no difference"
        )
        return "One seed only", f"{start}{by}, but one seed cannot tell a gain from chance."
    low, high = (_signed(found, end) for end in difference.interval)
    interval = f"the 95 % interval of the difference over {seeds} seeds is {low} to {high}"
    if not difference.shown:
        return "No difference shown", f"{start}{interval} and holds 0, so neither is shown to be better."
    if not better:
        return "Worse with the teacher", f"{start}worse; {interval}."
    share = (
        f"; {_percent(gap.mean)} of the gap to the teacher closed"
        if gap is not None and gap.mean is not None and gap.mean > 0
        else ""
    )
    return "The teacher helped", f"{start}better; {interval}{share}."


def story(found: Report) -> list[str]:
    """What was done and what the numbers mean, a paragraph each."""
    done = []
    if found.teacher is not None and found.distilled is not None:
        ratio = _size(found, found.distilled)
        if ratio is None:
            done.append("One network, the teacher, taught another, the student.")
        else:
            big, small = ("big ", "a small one") if ratio < 1 else ("", "another")
            done.append(
                f"A {big}network, the teacher, taught {small}, the student, which has {_percent(ratio)} of "
                f"its parameters."
            )
        if found.baseline is not None:
            done.append(
                "The same student was also trained without it, on the same labelled images and from the same "
                "seeds: any difference comes from the teacher."
            )
    meaning = "".join(f"{words}; " for name, words in METRICS.items() if name in found.metric)
    measured = [
        f"{found.metric[:1].upper()}{found.metric[1:]}: "
        f"{meaning}{'higher' if found.higher_is_better else 'lower'} is better."
    ]
    if len(found.seeds) > 1:
        measured.append(f"± is the standard deviation over {len(found.seeds)} seeds.")
    return [" ".join(words) for words in (done, measured) if words]


def findings(found: Report) -> list[str]:
    """What the seeds show of each difference, in the report's words; and that there is no gap, where the
    teacher is not better than the student alone.
    """
    lines = [difference.in_words(found.digits) for difference in found.differences()]
    if found.gap_closed is not None and found.gap_closed.mean is None:
        lines.append(found.gap_in_words())
    return lines


def curves_in_words(found: Report) -> str:
    """How to read the curves."""
    lines = (
        "Line: mean over seeds; band: from the worst to the best of them. " if len(found.seeds) > 1 else ""
    )
    return f"On the validation images, during training. {lines}" + (
        "" if found.teacher is None else "Dashes: the teacher."
    )


def table(found: Report) -> tuple[list[str], list[list[str]]]:
    """The header, and a line for each of the report's arms. A value that is not known, or has no meaning, is
    a dash; a column of dashes is left out.
    """
    header = [
        "network",
        found.metric,
        "gap closed",
        "parameters",
        "of the teacher",
        "GMAC",
        "epochs",
        "images/s",
    ]
    lines = []
    for arm in found.arms:
        gap, ratio = None if arm in (found.teacher, found.baseline) else found.gap(arm), _size(found, arm)
        share = UNKNOWN if gap is None else "no gap" if gap.mean is None else f"{100 * gap.mean:.0f} %"
        lines.append(
            [
                _name(found, arm),
                _values(found, arm),
                share
                if gap is None or gap.spread is None
                else f"{100 * (gap.mean or 0):.0f} ± {100 * gap.spread:.0f} %",
                UNKNOWN if arm.params is None else f"{arm.params / 1e6:.2f} M",
                UNKNOWN if ratio is None else _percent(ratio),
                gmac_in_words(arm.gmac) or UNKNOWN,
                UNKNOWN if arm.epochs is None else f"{arm.epochs}",
                UNKNOWN if arm.images_per_second is None else f"{arm.images_per_second:.0f}",
            ]
        )
    kept = [i for i in range(len(header)) if any(line[i] != UNKNOWN for line in lines)]
    return [header[i] for i in kept], [[line[i] for i in kept] for line in lines]


def facts(found: Report, shown: Shown) -> dict[str, str]:
    """How it was made."""
    tested = len(shown.evaluator.dataset)
    dataset = f"{found.data}: {shown.trained_on} people to train on, {tested} others to test on"
    made = {"Data": dataset, "Seeds": ", ".join(map(str, found.seeds))}
    seconds = [
        shown.trained_on * arm.epochs / arm.images_per_second
        for arm in found.arms
        if arm.epochs and arm.images_per_second
    ]
    if seconds:
        runs = len(seconds) * len(found.seeds)
        made["Time"] = (
            f"about {_duration(sum(seconds) * len(found.seeds))} of training for {runs} "
            f"student{'s' if runs > 1 else ''}, evaluation not counted"
        )
    words = {
        "supervised": "with labels alone",
        "distilled": "with the teacher's pseudo-labels",
        "live_teacher": "with the teacher run in every step",
    }
    speeds = [
        f"{speed:.0f} {words[name]}" for name, speed in found.images_per_second.items() if speed is not None
    ]
    if speeds:
        made["Speed"] = f"images a second in training: {', '.join(speeds)}"
    if found.versions:
        made["Versions"] = ", ".join(f"{name} {number}" for name, number in found.versions.items())
    return made


def steps(found: Report, out: Path) -> dict[str, str]:
    """What to do next, each with its command."""
    track = f"poseling track IMAGE --model {shlex.quote(str(out / 'student.onnx'))} --out drawn"
    if found.smoke:
        without = " ".join(word for word in found.command.split() if word != "--smoke")
        return {"This run of seconds only showed that all parts work. Train a real student": without}
    todo = {"Run this student on an image or a video of yours": track}
    if len(found.seeds) == 1 and found.differences() and "--seeds" not in found.command:
        todo["Repeat it over three seeds, to tell a gain from chance"] = f"{found.command} --seeds 3"
    own = "poseling distill unlabelled --teacher movenet-thunder.onnx"
    todo["Teach one with a teacher of your own, on images of your own that need no labels"] = (
        f"{own} --root some/folder --out runs/mine"
    )
    todo["The same where images have labels: with a control that shows what the teacher is worth"] = (
        f"{own} --data lsp --root DIR --seeds 3 --out runs/labelled"
    )
    return todo


def _name(found: Report, arm: Arm) -> str:
    if arm is found.teacher:
        return "Teacher"
    if arm is found.baseline:
        return "Student alone" if found.distilled is not None else "Network"
    if arm is found.baseline_longer:
        return "Student alone, longer"
    return "Student with teacher" if arm is found.distilled else arm.name


def _detail(found: Report, arm: Arm) -> str:
    """The arm's name in the report, for a teacher its model; empty for an arm that the table calls that."""
    if arm in found.others:
        return ""
    return arm.name.removeprefix("teacher (").removesuffix(")") if arm is found.teacher else arm.name


def _size(found: Report, arm: Arm) -> float | None:
    if found.teacher is None or not found.teacher.params or arm.params is None:
        return None
    return arm.params / found.teacher.params


def _number(found: Report, value: float) -> str:
    return f"{value:.{found.digits}f}" + ("" if found.higher_is_better else " mm")


def _signed(found: Report, value: float) -> str:
    return f"{value:+.{found.digits}f}" + ("" if found.higher_is_better else " mm")


def _values(found: Report, arm: Arm | None) -> str:
    if arm is None:
        return UNKNOWN
    return (
        _number(found, arm.mean)
        if arm.spread is None
        else f"{arm.mean:.{found.digits}f} ± {_number(found, arm.spread)}"
    )


def _reaches(found: Report, arm: Arm | None) -> str:
    """An arm's result as a verb and its number."""
    return f"reaches {_values(found, arm)}" if found.higher_is_better else f"is {_values(found, arm)} off"


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %" if share >= 0.095 else f"{100 * share:.1f} %"


def _duration(seconds: float) -> str:
    for unit, length in (("h", 3600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {unit}"
    return f"{seconds:.0f} s"


def _bars(found: Report) -> list[float]:
    """The length of each arm's bar, in parts of the longest possible one."""
    whole = max(*(arm.mean for arm in found.arms), 1.0 if found.higher_is_better else 0.0)
    return [max(arm.mean, 0.0) / whole if whole else 0.0 for arm in found.arms]


def to_html(found: Report, shown: Shown) -> str:
    """The page, whole: no other file, no script and nothing from the net."""
    title, sentence = verdict(found)
    header, lines = table(found)
    colours = figures.colours(shown.curves)
    rows = [
        {
            "name": line[0],
            "detail": _detail(found, arm),
            "cells": line[1:],
            "colour": colours.get(arm.name),
            "bar": bar,
        }
        for arm, line, bar in zip(found.arms, lines, _bars(found), strict=True)
    ]
    light, dark = (_data(_curves(found, shown, ink), "image/svg+xml") for ink in ("#1c1d20", "#ececea"))
    return TEMPLATE.render(
        report=found,
        title=title,
        tone=TONES.get(title, ""),
        verdict=sentence,
        story=story(found),
        header=header,
        rows=rows,
        unknown=UNKNOWN,
        findings=findings(found),
        curves={
            "light": light,
            "dark": dark,
            "alt": f"{shown.curves_metric} over epochs for {', '.join(shown.curves)}",
            "text": curves_in_words(found),
        },
        chosen=shown.chosen,
        examples=shown.examples,
        facts=facts(found, shown),
        steps=steps(found, shown.out),
        read_on=READ_ON,
    )


def _curves(found: Report, shown: Shown, ink: str) -> bytes:
    """The curves as SVG, on no ground, with text in `ink`."""
    figure = Figure(figsize=(5.8, 3.5), layout="constrained", facecolor="none")
    axes = figure.add_subplot(facecolor="none")
    names = {arm.name: _name(found, arm).lower() for arm in found.arms}
    figures.draw_curves(axes, shown.curves, shown.level, shown.curves_metric, names, ink)
    return figures.encode(figure, "svg")


def _jpeg(image: NDArray[np.uint8]) -> str:
    _, data = cv2.imencode(".jpg", cv2.cvtColor(image, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, 88])
    return _data(data.tobytes(), "image/jpeg")


def _data(data: bytes, kind: str) -> str:
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"


def _text(words: str) -> Markup:
    """Escaped for HTML, with Markdown's `code` as HTML's, and numbers that are not parted from their unit."""
    whole = re.sub(r"(?<=\d) (?=[%±]|mm\b)|(?<=±) ", "&nbsp;", str(escape(words)))
    return Markup(re.sub(r"`([^`]+)`", r"<code>\1</code>", whole))  # escaped above


def _template() -> Template:
    names = Environment(
        loader=PackageLoader("poseling.evaluate", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    names.filters |= {"text": _text, "jpeg": _jpeg}
    return names.get_template("page.html.j2")


TEMPLATE = _template()
