"""What a run found, for people who see it for the first time: one page that needs no other file,
`report.html`, and the same as one image, `report.png`.
"""

from __future__ import annotations

import base64
import html
import math
import re
import shlex
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import cv2
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from numpy.typing import NDArray

from poseling.evaluate import figures
from poseling.evaluate.evaluator import Evaluator
from poseling.evaluate.report import Arm, Report, gmac_in_words
from poseling.files import write_bytes
from poseling.pose import Pose

EXAMPLES = 8
UNKNOWN = "–"
METRICS = {
    "agreement with the teacher": "the teacher's answers are taken for the truth",
    "PCK@0.2": "the share of joints found within a fifth of the torso's length of the truth (of the box, for a skeleton without a torso)",
    "PCKh@0.5": "the share of joints found within half a head of the truth",
    "OKS AP": "COCO's average precision: how many people are found, and how near their joints are, over ten thresholds",
    "MPJPE": "the mean distance in space of a joint from the truth, both seen from the pelvis, in millimetres",
}
READ_ON = (
    "Where make installed it, poseling is .venv/bin/poseling; `. .venv/bin/activate` puts it on the path. "
    "To read on: docs/own.md (your own teacher, your own images), docs/synthetic.md (people that the program "
    "makes itself)."
)


@dataclass(frozen=True)
class View:
    """One image (H, W, 3) of a test person with somebody's pose, and how far off that is in parts of the
    person's box, None for the truth.
    """

    who: str
    image: NDArray[np.uint8]
    off: float | None

    @property
    def distance(self) -> str:
        """In words; empty for the truth."""
        return "" if self.off is None else f"{_percent(self.off)} off"


@dataclass(frozen=True, eq=False)
class Shown:
    """What a page shows besides the numbers of a report.

    `measure` holds the test people; `student` (N, K, 2) are the joints of the first seed's student on them,
    `teacher` (N, K, 2) the teacher's, None where there is none. `curves` by arm, one run a seed, with the
    teacher at `level` in `curves_metric`. `trained_on` counts people, `out` is the run's folder.
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
        """Test people from the easiest to the hardest for the student (see `figures.across`): the image's
        name, and its views, the same for everyone.
        """
        dataset, errors = self.evaluator.dataset, self.evaluator.errors(self.student)
        poses = {"student": (self.student, errors)}
        # Where the labels are the teacher's own answers, it would be shown twice.
        if self.teacher is not None and not self.evaluator.agreement:
            poses["teacher"] = self.teacher, self.evaluator.errors(self.teacher)
        truth = np.where(self.evaluator.visible[..., None], dataset.joints, np.nan)
        found = []
        for i in figures.across(errors, EXAMPLES).tolist():
            views = [
                View(who, figures.view(dataset, i, pose.xy[i]), float(off[i]))
                for who, (pose, off) in poses.items()
            ]
            views.append(
                View(
                    "teacher" if self.evaluator.agreement else "truth",
                    figures.view(dataset, i, truth[i]),
                    None,
                )
            )
            found.append((dataset.images[i].stem, views))
        return found

    @property
    def chosen(self) -> str:
        """How the examples were chosen, and what is drawn."""
        dataset, count = len(self.evaluator.dataset), len(self.examples)
        truth = "teacher's answer" if self.evaluator.agreement else "truth"
        return (
            f"Not picked by hand: the {dataset} test people were sorted by the student's error and cut into "
            f"{count} equal groups; these are the middle ones of each, "
            f"the easiest first. Off: the mean distance from the {truth} in the image, in parts of the "
            f"person's box. Blue is the person's own left, orange the right."
        )


def write(found: Report, shown: Shown) -> None:
    """`report.html` and `report.png` in the run's folder, each written whole or not at all."""
    write_bytes(shown.out / "report.html", to_html(found, shown).encode())
    write_bytes(shown.out / "report.png", figures.encode(to_figure(found, shown)))


# What is said: in the page and in the image alike.


def verdict(found: Report) -> tuple[str, str]:
    """A few words, and one sentence with the numbers; they claim no more than the seeds show."""
    if found.distilled is None:
        return (
            "No teacher",
            f"The network {_learnt(found, found.baseline)} on the labels alone; it had no teacher.",
        )
    control = found.baseline_longer or found.baseline
    if control is None:
        return (
            "No control",
            f"The student reached {_values(found, found.distilled)} with its teacher; none was trained "
            f"without it, so this does not say what the teacher was worth.",
        )
    difference, seeds, gap = found.differences()[-1], len(found.seeds), found.gap_closed
    without = "without" if found.baseline_longer is None else "without, trained for as long"
    start = f"The student {_learnt(found, found.distilled)} with its teacher and {_values(found, control)} {without}: "
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
    """What was done and what the figures mean, for somebody who has read nothing else: a paragraph each."""
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
                "seeds: any difference is the teacher's doing."
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
    said = [difference.in_words(found.digits) for difference in found.differences()]
    if (
        found.teacher is not None
        and found.baseline is not None
        and found.gap_closed is not None
        and found.gap_closed.mean is None
    ):
        levels = f"The teacher ({_values(found, found.teacher)}) does not beat the student alone ({_values(found, found.baseline)})"
        said.append(
            f"{levels}{'' if len(found.seeds) == 1 else ' in each of the seeds'}: no share of a gap between "
            f"them is given."
        )
    return said


def curves_in_words(found: Report) -> str:
    """How to read the curves."""
    lines = (
        "Line: mean over seeds; band: from the worst to the best of them. " if len(found.seeds) > 1 else ""
    )
    return f"On the test people, while training went on. {lines}" + (
        "" if found.teacher is None else "Dashes: the teacher."
    )


def table(found: Report) -> tuple[list[str], list[list[str]]]:
    """The header, and a line for each of the report's arms. What is not known, or has no meaning, is a dash;
    a column of nothing else is left out.
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
    told = [i for i in range(len(header)) if any(line[i] != UNKNOWN for line in lines)]
    return [header[i] for i in told], [[line[i] for i in told] for line in lines]


def facts(found: Report, shown: Shown) -> dict[str, str]:
    """How it was made."""
    dataset = f"{found.data}: {shown.trained_on} people to train on, {len(shown.evaluator.dataset)} others to test on"
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
        "supervised": "on labels alone",
        "distilled": "with the teacher's stored answers",
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
        return {
            "This run of seconds only showed that all parts work. Train a student that knows something": without
        }
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


def _own_name(found: Report, arm: Arm) -> str:
    """What the report calls it, a teacher's is its model; empty if that is said already."""
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


def _learnt(found: Report, arm: Arm | None) -> str:
    """What an arm came to, as a verb and its number: more of a rate is learnt, fewer millimetres are off."""
    return f"learnt {_values(found, arm)}" if found.higher_is_better else f"is {_values(found, arm)} off"


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %" if share >= 0.095 else f"{100 * share:.1f} %"


def _duration(seconds: float) -> str:
    for unit, length in (("h", 3600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {unit}"
    return f"{seconds:.0f} s"


def _bars(found: Report) -> list[float]:
    """How long the bar of each arm is, in parts of the longest there can be."""
    whole = max(*(arm.mean for arm in found.arms), 1.0 if found.higher_is_better else 0.0)
    return [max(arm.mean, 0.0) / whole if whole else 0.0 for arm in found.arms]


# The page.

TONES = {"The teacher helped": "good", "Worse with the teacher": "bad"}
STYLE = """
:root { color-scheme: light dark; --ground: #f6f6f3; --card: #fff; --ink: #1c1d20; --soft: #5c5f66; --line: #e2e2dc; --code: #f1f1ec; --good: #00684b;
  --bad: #a83a00; --plain: #50545c; }
@media (prefers-color-scheme: dark) { :root { --ground: #131417; --card: #1c1e22; --ink: #ececea; --soft: #a3a6ad; --line: #33363c; --code: #26292e;
  --good: #0b7d5c; --bad: #b8480c; --plain: #5a5e67; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--ground); color: var(--ink); font: 16px/1.55 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif; }
main { max-width: 1060px; margin: 0 auto; padding: 40px 24px 56px; }
.kicker { margin: 0 0 14px; color: var(--soft); font-size: 14px; }
.kicker b { color: var(--ink); }
.tone { display: inline-block; padding: 3px 12px; border-radius: 99px; color: #fff; background: var(--plain); font-size: 14px; font-weight: 600; }
.tone.good { background: var(--good); }
.tone.bad { background: var(--bad); }
h1 { margin: 12px 0 14px; max-width: 36em; font-size: clamp(21px, 2.6vw, 29px); line-height: 1.3; letter-spacing: -0.01em; text-wrap: pretty; }
h2 { margin: 44px 0 12px; font-size: 19px; line-height: 1.3; }
p { margin: 0 0 10px; max-width: 85ch; text-wrap: pretty; }
.soft, figcaption { color: var(--soft); font-size: 14px; }
section > .soft { max-width: 110ch; }
.card + .soft { margin-top: 10px; }
.card { background: var(--card); border: 1px solid var(--line); border-radius: 12px; padding: 18px 20px; }
.notes { margin-top: 22px; border-left: 4px solid #e69f00; padding: 12px 18px; font-size: 15px; }
.notes ul { margin: 4px 0 0; padding-left: 18px; overflow-wrap: anywhere; }
table { width: 100%; border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: 10px 12px; text-align: right; vertical-align: top; white-space: nowrap; border-bottom: 1px solid var(--line); }
th:first-child, td:first-child { padding-left: 0; text-align: left; }
th:last-child, td:last-child { padding-right: 0; }
thead th { color: var(--soft); font-size: 13px; font-weight: 500; white-space: normal; vertical-align: bottom; }
tbody tr:last-child > * { border-bottom: 0; }
tbody th { font-weight: 600; }
tbody th small { display: block; padding-left: 20px; color: var(--soft); font-size: 13px; font-weight: 400; }
.dot { display: inline-block; width: 12px; height: 12px; margin-right: 8px; border-radius: 3px; background: var(--arm, var(--ink)); }
.figure { font-weight: 600; }
.bar { display: block; width: 100%; min-width: 110px; height: 5px; margin-top: 5px; border-radius: 3px; background: var(--line); overflow: hidden; }
.bar i { display: block; height: 100%; background: var(--arm, var(--ink)); }
.curves img { display: block; width: 100%; max-width: 760px; margin: 0 auto; }
.people { display: grid; grid-template-columns: repeat(2, 1fr); gap: 14px; }
.people figure { margin: 0; padding: 12px; display: grid; grid-auto-flow: column; grid-auto-columns: 1fr; gap: 8px; }
.people div { min-width: 0; text-align: center; font-size: 13px; line-height: 1.35; }
.people img { display: block; width: 100%; border-radius: 6px; margin-bottom: 5px; }
.people div span { display: block; color: var(--soft); }
dl { display: grid; grid-template-columns: max-content 1fr; gap: 8px 22px; margin: 0; }
dt { color: var(--soft); }
dd { margin: 0; min-width: 0; overflow-wrap: anywhere; }
pre { margin: 6px 0 0; padding: 10px 14px; border-radius: 8px; background: var(--code); overflow-x: auto; white-space: pre-wrap; overflow-wrap: anywhere; }
code, pre { font: 13.5px/1.5 ui-monospace, SFMono-Regular, Menlo, Consolas, monospace; }
ol { margin: 0; padding-left: 22px; }
ol li + li { margin-top: 16px; }
footer { margin-top: 40px; color: var(--soft); font-size: 14px; }
@media screen and (max-width: 860px) {
  main { padding: 24px 14px 40px; }
  h2 { margin-top: 34px; }
  .card { padding: 14px; }
  .people { grid-template-columns: 1fr; }
  .people figure { padding: 10px; }
  thead { position: absolute; clip-path: inset(50%); }
  tbody tr { display: grid; grid-template-columns: repeat(3, auto); justify-content: space-between; gap: 6px 12px; padding: 14px 0; border-bottom: 1px solid var(--line); }
  tbody tr:first-child { padding-top: 0; }
  tbody tr:last-child { border-bottom: 0; padding-bottom: 0; }
  tbody th, tbody td { display: block; padding: 3px 0; border: 0; text-align: left; white-space: normal; }
  tbody th, .figure { grid-column: 1 / -1; }
  tbody td.none { display: none; }
  tbody td::before { content: attr(data-what); display: block; color: var(--soft); font-size: 13px; line-height: 1.3; font-weight: 400; }
  dl { grid-template-columns: 1fr; gap: 0; }
  dd { margin-bottom: 10px; }
}
@media print {
  :root { color-scheme: light; --ground: #fff; }
  body { font-size: 12px; print-color-adjust: exact; -webkit-print-color-adjust: exact; }
  main { max-width: none; padding: 0; }
  h2 { margin-top: 24px; break-after: avoid; }
  .card, tr, li { break-inside: avoid; }
  th, td { padding: 6px; }
  .bar { min-width: 80px; }
  .curves img { max-width: 480px; }
}
"""


def to_html(found: Report, shown: Shown) -> str:
    """The page, whole: no other file, no script and nothing from the net."""
    tone, sentence = verdict(found)
    shows = "".join(f'<p class="soft">{_marked(words)}</p>' for words in findings(found))
    notes = "".join(f"<li>{_marked(note)}</li>" for note in found.notes)
    made = "".join(
        f"<dt>{html.escape(what)}</dt><dd>{_escaped(words)}</dd>"
        for what, words in facts(found, shown).items()
    )
    todo = "".join(
        f"<li>{html.escape(what)}:<pre>{html.escape(command)}</pre></li>"
        for what, command in steps(found, shown.out).items()
    )
    title = html.escape(f"{found.recipe} on {found.data}")
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Poseling: {title}</title>
<style>{STYLE}</style>
</head>
<body>
<main>
<header>
<p class="kicker"><b>Poseling</b> · {title}</p>
<span class="tone {TONES.get(tone, "")}">{html.escape(tone)}</span>
<h1>{_escaped(sentence)}</h1>
{"".join(f"<p>{_escaped(words)}</p>" for words in story(found))}
{f'<div class="card notes"><b>Worth knowing</b><ul>{notes}</ul></div>' if notes else ""}
</header>
<section>
<h2>The networks side by side</h2>
<div class="card">{_html_table(found, shown)}</div>
{shows}
</section>
<section>
<h2>How they learnt</h2>
<div class="card curves">{_html_curves(found, shown)}</div>
<p class="soft">{_escaped(curves_in_words(found))}</p>
</section>
<section>
<h2>What they see</h2>
<p class="soft">{_escaped(shown.chosen)}</p>
<div class="people">{"".join(_html_person(name, views) for name, views in shown.examples)}</div>
</section>
<section>
<h2>How it was made</h2>
<div class="card"><dl>{made}<dt>Command</dt><dd><pre>{html.escape(found.command)}</pre></dd></dl></div>
</section>
<section>
<h2>What to do next</h2>
<div class="card"><ol>{todo}</ol></div>
<p class="soft">{_marked(READ_ON)}</p>
</section>
</main>
</body>
</html>
"""


def _html_table(found: Report, shown: Shown) -> str:
    header, lines = table(found)
    colours = figures.colours(shown.curves)
    head = "".join(f'<th scope="col">{html.escape(name)}</th>' for name in header)
    body = ""
    for arm, (name, values, *others), length in zip(found.arms, lines, _bars(found), strict=True):
        style = f' style="--arm:{colours[arm.name]}"' if arm.name in colours else ""
        own = html.escape(_own_name(found, arm))
        body += f'<tr{style}><th scope="row"><span class="dot"></span>{html.escape(name)}<small>{own}</small></th>'
        bar = f'<span class="bar"><i style="width:{100 * length:.1f}%"></i></span>'
        body += f'<td class="figure" data-what="{html.escape(header[1])}">{_escaped(values)}{bar}</td>'
        for what, cell in zip(header[2:], others, strict=True):
            kind = ' class="none"' if cell == UNKNOWN else ""
            body += f'<td{kind} data-what="{html.escape(what)}">{_escaped(cell)}</td>'
        body += "</tr>"
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _html_curves(found: Report, shown: Shown) -> str:
    """The curves in dark ink, and in light ink for those whose screen is dark."""
    light, dark = (_data(_curves(found, shown, ink), "image/svg+xml") for ink in ("#1c1d20", "#ececea"))
    alt = html.escape(f"{shown.curves_metric} over epochs for {', '.join(shown.curves)}")
    return f'<picture><source media="(prefers-color-scheme: dark)" srcset="{dark}"><img src="{light}" alt="{alt}"></picture>'


def _curves(found: Report, shown: Shown, ink: str) -> bytes:
    figure = Figure(figsize=(5.8, 3.5), layout="constrained", facecolor="none")
    axes = figure.add_subplot(facecolor="none")
    figures.draw_curves(axes, shown.curves, shown.level, shown.curves_metric, _names(found), ink)
    return figures.encode(figure, "svg")


def _names(found: Report) -> dict[str, str]:
    return {arm.name: _name(found, arm).lower() for arm in found.arms}


def _html_person(name: str, views: Sequence[View]) -> str:
    cells = ""
    for view in views:
        alt = html.escape(f"{name} with the pose of: {view.who}")
        words = html.escape(view.distance) or "&nbsp;"
        cells += f'<div><img src="{_jpeg(view.image)}" alt="{alt}">{html.escape(view.who)}<span>{words}</span></div>'
    return f'<figure class="card">{cells}</figure>'


def _jpeg(image: NDArray[np.uint8]) -> str:
    _, data = cv2.imencode(".jpg", cv2.cvtColor(image, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, 88])
    return _data(data.tobytes(), "image/jpeg")


def _data(data: bytes, kind: str) -> str:
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"


def _escaped(text: str) -> str:
    """For HTML, with numbers kept whole where lines break."""
    return re.sub(r"(?<=\d) (?=[%±]|mm\b)|(?<=±) ", "&nbsp;", html.escape(text))


def _marked(text: str) -> str:
    """Escaped, with Markdown's `code` as HTML's."""
    return re.sub(r"`([^`]+)`", r"<code>\1</code>", _escaped(text))


# The image. Its lengths are inches from the upper left corner.

WIDTH, MARGIN = 12.0, 0.5
INK, SOFT, LINE = "#1c1d20", "#5c5f66", "#d9d9d2"
TONE_COLOURS = {"good": "#00684b", "bad": "#a83a00", "": "#50545c"}


def to_figure(found: Report, shown: Shown) -> Figure:
    """The page as one image, WIDTH wide and as high as it takes."""
    figure = Figure(facecolor="white")
    sheet = figure.add_axes((0, 0, 1, 1))
    tone, sentence = verdict(found)
    y = _text(sheet, MARGIN, MARGIN, f"Poseling · {found.recipe} on {found.data}", 10, SOFT)
    y = _text(sheet, MARGIN, y + 0.12, tone, 12, TONE_COLOURS[TONES.get(tone, "")], bold=True)
    y = _text(sheet, MARGIN, y + 0.04, sentence, 17, bold=True)
    for words in story(found):
        y = _text(sheet, MARGIN, y + 0.08, words, 10)
    for note in found.notes:
        y = _text(sheet, MARGIN, y + 0.04, f"Worth knowing: {note}", 10, TONE_COLOURS["bad"])
    y = top = _drawn_table(sheet, y + 0.3, found, shown) + 0.35
    left, right = 6.9, WIDTH - MARGIN - 7.8  # how wide curves and facts are
    y = _text(sheet, MARGIN, y, "How they learnt", 13, bold=True)
    entries = len(shown.curves) + (shown.level is not None)
    legend = 0.2 * math.ceil(entries / figures.legend_columns(entries))
    place = MARGIN + 0.65, y + 0.2 + legend, left - 0.65, 2.7
    below = _text(sheet, MARGIN, y + 3.5 + legend, curves_in_words(found), 8.5, SOFT, left)
    y = _text(sheet, 7.8, top, "How it was made", 13, bold=True)
    for what, words in {**facts(found, shown), "Command": found.command}.items():
        y = _text(sheet, 7.8, y + 0.1, what, 9, SOFT)
        y = _text(sheet, 7.8, y, words, 9, width=right)
    y = _text(sheet, MARGIN, max(y, below) + 0.4, "What they see", 13, bold=True)
    y = _text(sheet, MARGIN, y + 0.02, shown.chosen, 9, SOFT)
    y = _drawn_people(sheet, y + 0.12, shown)
    y = _text(sheet, MARGIN, y + 0.3, "What to do next", 13, bold=True)
    for what, command in steps(found, shown.out).items():
        y = _text(sheet, MARGIN, y + 0.08, f"{what}:", 9.5)
        y = _text(sheet, MARGIN + 0.2, y, command, 9, family="monospace", width=WIDTH - 2 * MARGIN - 0.2)
    y = _text(sheet, MARGIN, y + 0.12, READ_ON.replace("`", ""), 9, SOFT)
    height = y + MARGIN
    figure.set_size_inches(WIDTH, height)
    sheet.set(xlim=(0, WIDTH), ylim=(height, 0))
    sheet.axis("off")
    x, y, width, high = place
    axes = figure.add_axes((x / WIDTH, 1 - (y + high) / height, width / WIDTH, high / height))
    figures.draw_curves(axes, shown.curves, shown.level, shown.curves_metric, _names(found), INK)
    return figure


def _drawn_table(sheet: Axes, y: float, found: Report, shown: Shown) -> float:
    header, lines = table(found)
    colours = figures.colours(shown.curves)
    ends = [5.2 + (WIDTH - MARGIN - 5.2) * i / max(len(header) - 2, 1) for i in range(len(header) - 1)]
    for name, x in zip(header[1:], ends, strict=True):
        _put(sheet, x, y + 0.1, name, 9, SOFT, right=True)
    for arm, line, length in zip(found.arms, lines, _bars(found), strict=True):
        y += 0.52
        colour = colours.get(arm.name, INK)
        sheet.plot([MARGIN, WIDTH - MARGIN], [y - 0.21] * 2, color=LINE, linewidth=0.8)
        sheet.add_patch(Rectangle((MARGIN, y - 0.09), 0.14, 0.14, color=colour, linewidth=0))
        _put(sheet, MARGIN + 0.24, y - 0.02, line[0], 11, bold=True)
        _put(sheet, MARGIN + 0.24, y + 0.17, _own_name(found, arm), 8.5, SOFT)
        for cell, x in zip(line[1:], ends, strict=True):
            _put(sheet, x, y - 0.02, cell, 11, bold=x == ends[0], right=True)
        sheet.add_patch(Rectangle((3.4, y + 0.12), 1.8, 0.06, color=LINE, linewidth=0))
        sheet.add_patch(Rectangle((3.4, y + 0.12), 1.8 * length, 0.06, color=colour, linewidth=0))
    y += 0.3
    for words in findings(found):
        y = _text(sheet, MARGIN, y + 0.04, words.replace("`", ""), 9, SOFT)
    return y


def _drawn_people(sheet: Axes, y: float, shown: Shown) -> float:
    """A column for each person, a row for each view."""
    start, gap = MARGIN + 0.65, 0.08
    side = (WIDTH - MARGIN - start) / EXAMPLES - gap
    for column, (_, views) in enumerate(shown.examples):
        for row, view in enumerate(views):
            x, top = start + column * (side + gap), y + row * (side + 0.26)
            sheet.imshow(
                view.image, extent=(x, x + side, top + side, top), aspect="auto", interpolation="lanczos"
            )
            _put(sheet, x + side / 2, top + side + 0.11, view.distance, 8, SOFT, centre=True)
            if column == 0:
                _put(sheet, MARGIN, top + side / 2, view.who, 10, bold=True)
    return y + len(shown.examples[0][1]) * (side + 0.26) - 0.2


def _text(
    sheet: Axes,
    x: float,
    y: float,
    words: str,
    size: float,
    colour: str = INK,
    width: float = WIDTH - 2 * MARGIN,
    bold: bool = False,
    family: str = "sans-serif",
) -> float:
    """Words broken into lines `width` long, with their upper edge at y; gives their lower edge."""
    letter = (
        size / 72 * (0.63 if bold else 0.605 if family == "monospace" else 0.535)
    )  # of matplotlib's own font, a little more than the mean
    lines = textwrap.wrap(words, int(width / letter), break_on_hyphens=False)
    for line in lines:
        _put(sheet, x, y + 0.7 * size / 72, line, size, colour, bold, family=family)
        y += 1.4 * size / 72
    return y


def _put(
    sheet: Axes,
    x: float,
    y: float,
    words: str,
    size: float,
    colour: str = INK,
    bold: bool = False,
    right: bool = False,
    centre: bool = False,
    family: str = "sans-serif",
) -> None:
    """One line, with its middle at y."""
    sheet.text(
        x,
        y,
        words,
        fontsize=size,
        color=colour,
        family=family,
        fontweight="bold" if bold else "normal",
        ha="right" if right else "center" if centre else "left",
        va="center_baseline",
        parse_math=False,  # a dollar in a file's name is no formula
    )
