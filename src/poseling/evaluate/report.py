"""The result of a recipe: the teacher, the student without it and the student with it, in one table, and
whether the difference is significant.

Written as `report.json` for programs and `report.md` for readers. Values are fractions of 1, or millimetres,
of which fewer are better.
"""

from __future__ import annotations

import json
import math
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from rich.table import Table
from scipy.special import stdtrit

from poseling.evaluate.mpjpe import RATES
from poseling.evaluate.spread import mean_and_spread
from poseling.files import write_bytes

SMOKE = "This was a --smoke run: its numbers mean nothing."
SPEEDS = ("supervised", "distilled", "live_teacher")
PACKAGES = ("poseling", "torch", "numpy", "opencv-python-headless", "onnxruntime")


@dataclass(frozen=True)
class Arm:
    """One row of the table: a network and its `values` of the metric, one for each seed.

    `params` the number of parameters, `gmac` 1e9 multiply-accumulates per image, None if they are not known;
    `per_joint` the rows of the published tables, averaged over seeds; `images_per_second` in training.
    """

    name: str
    values: Sequence[float]
    params: int | None = None
    gmac: float | None = None
    epochs: int | None = None
    per_joint: Mapping[str, float] = field(default_factory=dict)
    images_per_second: float | None = None

    @property
    def mean(self) -> float:
        """Over seeds."""
        return mean_and_spread(self.values)[0]

    @property
    def spread(self) -> float | None:
        """The sample standard deviation over seeds; None for one seed."""
        return mean_and_spread(self.values)[1]


@dataclass(frozen=True)
class Gap:
    """The share of the gap between baseline and teacher that was closed: 1 is all of it, below 0 the student
    is worse than the baseline.

    `values` for each seed; None for a seed in which the teacher does not beat the baseline. Then `mean` is
    None too, since a mean over the other seeds would be too favourable.
    """

    values: Sequence[float | None]

    @property
    def mean(self) -> float | None:
        """Over seeds."""
        known = [v for v in self.values if v is not None]
        return mean_and_spread(known)[0] if len(known) == len(self.values) else None

    @property
    def spread(self) -> float | None:
        """The sample standard deviation over seeds."""
        known = [v for v in self.values if v is not None]
        return mean_and_spread(known)[1] if len(known) == len(self.values) else None


@dataclass(frozen=True)
class Difference:
    """One arm minus another, seed by seed, which removes a seed's effect on both. `name` names the two."""

    name: str
    values: Sequence[float]
    higher_is_better: bool = True

    @property
    def mean(self) -> float:
        """Over seeds."""
        return mean_and_spread(self.values)[0]

    @property
    def spread(self) -> float | None:
        """The sample standard deviation over seeds; None for one seed."""
        return mean_and_spread(self.values)[1]

    @property
    def interval(self) -> tuple[float, float] | None:
        """The 95 % interval of the mean by Student's t over the seeds' differences; None for one seed."""
        if self.spread is None:
            return None
        half = float(stdtrit(len(self.values) - 1, 0.975)) * self.spread / math.sqrt(len(self.values))
        return self.mean - half, self.mean + half

    @property
    def shown(self) -> bool | None:
        """Whether the interval excludes 0; None for one seed."""
        return None if self.interval is None else self.interval[0] > 0 or self.interval[1] < 0

    def in_words(self, digits: int = 3) -> str:
        """One or two sentences; they claim no more than the seeds show.

        >>> Difference("distilled - baseline", [0.020, 0.025, 0.018]).in_words()
        'distilled - baseline = +0.021, 95 % interval over 3 seeds +0.012 to +0.030: better.'
        """
        start, unit = f"{self.name} = {self.mean:+.{digits}f}", "" if self.higher_is_better else " mm"
        better = "better" if (self.mean > 0) == self.higher_is_better else "worse"
        if self.interval is None:
            return (
                f"{start}{unit}, from one seed. One seed cannot tell a gain from chance: repeat it with "
                f"`--seeds 3`."
            )
        low, high = self.interval
        start += (
            f"{unit}, 95 % interval over {len(self.values)} seeds {low:+.{digits}f} to "
            f"{high:+.{digits}f}{unit}"
        )
        return (
            f"{start}: {better}."
            if self.shown
            else f"{start}: it holds 0, so the runs do NOT show that either is better."
        )


@dataclass(frozen=True)
class Report:
    """The result of one run of a recipe.

    Every student has one value for each of `seeds`; the teacher has one, or one for each. `baseline_longer`
    is the baseline with the extra epochs of a warm start, if the distilled student had one. A recipe without
    labels has no baseline, one without a teacher only that; then no share of a gap is given.
    `images_per_second` of training, by the names in SPEEDS. `curves` by arm, each a list of (epoch, value) of
    all seeds. `images` maps a caption to a file beside the report. A `smoke` run shows nothing, and the
    report states it. ValueError if the numbers do not belong together.
    """

    recipe: str
    data: str
    metric: str
    seeds: Sequence[int]
    teacher: Arm | None
    baseline: Arm | None
    distilled: Arm | None
    command: str
    baseline_longer: Arm | None = None
    others: Sequence[Arm] = ()
    higher_is_better: bool = True
    images_per_second: Mapping[str, float | None] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)
    notes: Sequence[str] = ()
    curves: Mapping[str, Sequence[tuple[float, float]]] = field(default_factory=dict)
    images: Mapping[str, str] = field(default_factory=dict)
    digits: int = 3
    smoke: bool = False

    def __post_init__(self) -> None:
        if self.baseline is None and self.distilled is None:
            raise ValueError(f"{self.recipe}: a report needs a baseline or a distilled student")
        for arm in self.arms:
            alone = arm is self.teacher and len(arm.values) == 1
            if len(arm.values) != len(self.seeds) and not alone:
                raise ValueError(
                    f"{arm.name} has {len(arm.values)} values for {len(self.seeds)} seeds "
                    f"({', '.join(map(str, self.seeds))}); run each seed once"
                )
            if not all(math.isfinite(v) for v in arm.values):
                raise ValueError(
                    f"{arm.name}: {self.metric} is {list(arm.values)}; a run diverged or nothing was "
                    f"measured, so there is nothing to compare"
                )
        if unknown := set(self.images_per_second) - set(SPEEDS):
            raise ValueError(
                f"images_per_second has {', '.join(sorted(unknown))}; it takes {', '.join(SPEEDS)}"
            )

    @property
    def arms(self) -> tuple[Arm, ...]:
        """Every row of the table, in order."""
        named = (self.teacher, self.baseline, self.baseline_longer, self.distilled)
        return (*(arm for arm in named if arm is not None), *self.others)

    @property
    def gap_closed(self) -> Gap | None:
        """Of the distilled student; None if it, the teacher or the baseline is missing."""
        return None if self.distilled is None else self.gap(self.distilled)

    def gap(self, arm: Arm) -> Gap | None:
        """The share of the gap that `arm` closes, seed by seed; None without a teacher or a baseline."""
        if self.teacher is None or self.baseline is None:
            return None
        teacher = list(self.teacher.values) * (len(self.seeds) if len(self.teacher.values) == 1 else 1)
        return Gap(
            [
                gap_closed(a, b, t, self.higher_is_better)
                for a, b, t in zip(arm.values, self.baseline.values, teacher, strict=True)
            ]
        )

    def differences(self) -> list[Difference]:
        """Distilled against baseline, and against the longer baseline if there is one: with a warm start only
        the second is fair.
        """
        if self.distilled is None:
            return []
        return [
            Difference(
                f"{self.distilled.name} - {control.name}",
                [d - c for d, c in zip(self.distilled.values, control.values, strict=True)],
                self.higher_is_better,
            )
            for control in (self.baseline, self.baseline_longer)
            if control is not None
        ]

    def to_json(self) -> dict[str, Any]:
        """Plain dicts, lists and numbers; an unknown value is null, never NaN."""
        longer = {} if self.baseline_longer is None else {"baseline_longer": _arm_json(self.baseline_longer)}
        teacher, gap = self.teacher, self.gap_closed
        return {
            "recipe": self.recipe,
            "data": self.data,
            "metric": self.metric,
            "higher_is_better": self.higher_is_better,
            "seeds": len(self.seeds),
            "seed_values": list(self.seeds),
            "teacher": None if teacher is None else {"value": teacher.mean, **_arm_json(teacher)},
            "baseline": None if self.baseline is None else _arm_json(self.baseline),
            **longer,
            "distilled": None if self.distilled is None else _arm_json(self.distilled),
            "others": [_arm_json(arm) for arm in self.others],
            "gap_closed": None if gap is None else _summary(gap),
            "differences": [
                {"name": d.name, **_summary(d), "interval": d.interval, "shown": d.shown}
                for d in self.differences()
            ],
            "images_per_second": {name: self.images_per_second.get(name) for name in SPEEDS},
            "command": self.command,
            "versions": dict(self.versions),
            "notes": list(self.notes),
            "curves": {name: [list(point) for point in points] for name, points in self.curves.items()},
            "images": dict(self.images),
        }

    def to_markdown(self) -> str:
        """The same as Markdown."""
        parts = [f"# {self.recipe} on {self.data}", _code(self.command)]
        parts.append(
            f"{self.metric}, {'higher' if self.higher_is_better else 'lower'} is better, "
            f"{self._seeds_in_words()}."
        )
        parts.append(_markdown_table(*self._columns()))
        parts.append("## What it shows")
        parts.append("\n".join(f"- {line}" for line in self._findings()))
        if joints := list(dict.fromkeys(j for arm in self.arms for j in arm.per_joint)):
            parts.append(f"## {self.metric} by joint")
            shown = [arm for arm in self.arms if arm.per_joint]
            lines = [
                [arm.name, *(_number(arm.per_joint.get(j), 3 if j in RATES else self.digits) for j in joints)]
                for arm in shown
            ]
            parts.append(_markdown_table(["", *joints], lines))
        if any(v is not None for v in self.images_per_second.values()):
            parts.append("## Images per second in training")
            parts.append(
                _markdown_table(
                    ["supervised", "distilled", "live teacher"],
                    [[_number(self.images_per_second.get(n), 1) for n in SPEEDS]],
                )
            )
        parts += [f"![{caption}]({file})" for caption, file in self.images.items()]
        if self.notes:
            parts += ["## Notes", "\n".join(f"- {note}" for note in self.notes)]
        if self.versions:
            parts.append(", ".join(f"{name} {number}" for name, number in self.versions.items()))
        return "\n\n".join(parts) + "\n"

    def table(self) -> Table:
        """For the terminal."""
        table = Table(
            title=f"{self.recipe} on {self.data}", caption="\n".join(self._findings()), caption_justify="left"
        )
        header, lines = self._columns()
        for i, name in enumerate(header):
            # On a narrow terminal names take two lines; numbers are never broken.
            table.add_column(
                name,
                justify="right" if i else "left",
                overflow="fold",
                min_width=max(len(line[i]) for line in lines) if i else None,
            )
        for line in lines:
            table.add_row(*line)
        return table

    def _columns(self) -> tuple[list[str], list[list[str]]]:
        """The header and the rows, without empty columns, such as the gap without a teacher."""
        header, lines = self._header(), self._lines()
        kept = [i for i in range(len(header)) if i == 0 or any(line[i] for line in lines)]
        return [header[i] for i in kept], [[line[i] for i in kept] for line in lines]

    def _seeds_in_words(self) -> str:
        if len(self.seeds) == 1:
            return f"one seed ({self.seeds[0]})"
        return f"mean ± standard deviation over {len(self.seeds)} seeds ({', '.join(map(str, self.seeds))})"

    def _header(self) -> list[str]:
        return ["", self.metric, "gap closed", "epochs", "M params", "GMAC", "train images/s"]

    def _lines(self) -> list[list[str]]:
        return [
            [
                arm.name,
                _with_spread(arm.mean, arm.spread, self.digits),
                "" if arm is self.teacher or arm is self.baseline else _percent(self.gap(arm)),
                _number(arm.epochs, 0),
                _number(None if arm.params is None else arm.params / 1e6, 2),
                gmac_in_words(arm.gmac),
                _number(arm.images_per_second, 1),
            ]
            for arm in self.arms
        ]

    def _findings(self) -> list[str]:
        if self.smoke:
            return [SMOKE]
        return [*(d.in_words(self.digits) for d in self.differences()), self.gap_in_words()]

    def gap_in_words(self) -> str:
        """The share of the gap that was closed, or why there is none."""
        gap, teacher, baseline = self.gap_closed, self.teacher, self.baseline
        if gap is None or teacher is None or baseline is None:
            missing = (
                "baseline" if baseline is None else "teacher" if teacher is None else "distilled student"
            )
            return f"There is no {missing} here, so these runs do not show what a teacher is worth."
        if gap.mean is None:
            seeds = (
                ""
                if len(self.seeds) == 1
                else f" in {sum(v is None for v in gap.values)} of {len(self.seeds)} seeds"
            )
            unit = "" if self.higher_is_better else " mm"
            both = [f"{arm.mean:.{self.digits}f}{unit}" for arm in (teacher, baseline)]
            levels = f"The teacher ({both[0]}) is not better than the baseline ({both[1]}){seeds}"
            return f"{levels}: there is no gap to close there, so no share is given."
        return f"Share of the gap between baseline and teacher that was closed: {_percent(gap)}."


def gap_closed(
    distilled: float, baseline: float, teacher: float, higher_is_better: bool = True
) -> float | None:
    """(distilled - baseline) / (teacher - baseline), or None if the teacher is not better than the
    baseline.

    >>> round(gap_closed(89.040, 87.934, 90.520), 3)  # FPD's own checkpoints on MPII
    0.428
    """
    gap = teacher - baseline
    if (gap if higher_is_better else -gap) <= 0:
        return None
    return (distilled - baseline) / gap


def gmac_in_words(gmac: float | None) -> str:
    """Two decimals, and a third for the smallest networks; empty if unknown.

    >>> gmac_in_words(3.9073), gmac_in_words(0.0084)
    ('3.91', '0.008')
    """
    return _number(gmac, 2 if gmac is None or gmac >= 0.1 else 3)


def installed_versions() -> dict[str, str]:
    """Python's and the versions of the packages that a result depends on."""
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue  # an optional one, or run from a source tree that is not installed
    return found


def write(report: Report, out: Path) -> None:
    """`report.json` and `report.md` in the folder `out`, each written whole or not at all."""
    text = json.dumps(report.to_json(), indent=2, ensure_ascii=False, allow_nan=False)
    write_bytes(out / "report.json", (text + "\n").encode())
    write_bytes(out / "report.md", report.to_markdown().encode())


def _summary(numbers: Arm | Gap | Difference) -> dict[str, Any]:
    return {"mean": numbers.mean, "spread": numbers.spread, "values": list(numbers.values)}


def _arm_json(arm: Arm) -> dict[str, Any]:
    return {
        "name": arm.name,
        **_summary(arm),
        "params": arm.params,
        "gmac": arm.gmac,
        "epochs": arm.epochs,
        "per_joint": {name: None if math.isnan(rate) else rate for name, rate in arm.per_joint.items()},
        "images_per_second": arm.images_per_second,
    }


def _number(value: float | None, digits: int) -> str:
    return "" if value is None or math.isnan(value) else f"{value:.{digits}f}"


def _with_spread(mean: float, spread: float | None, digits: int) -> str:
    return f"{mean:.{digits}f}" if spread is None else f"{mean:.{digits}f} ± {spread:.{digits}f}"


def _percent(gap: Gap | None) -> str:
    if gap is None:
        return ""
    if gap.mean is None:
        return "no gap"
    return f"{gap.mean:.0%}" if gap.spread is None else f"{gap.mean:.0%} ± {gap.spread:.0%}"


def _markdown_table(header: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    rule = ["---", *["---:"] * (len(header) - 1)]
    return "\n".join(
        "| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in (header, rule, *lines)
    )


def _code(command: str) -> str:
    return f"```sh\n{command}\n```"
