"""Accuracy against time: the networks of `peers.py` and the papers' students of `papers.py`, on LSP 1001-2000.

python benchmarks/pareto.py               # docs/images/pareto.png and results/pareto.json, from what those two measured
"""

from __future__ import annotations

import argparse
import json
import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from statistics import mean
from typing import Any, cast

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter
from numpy.typing import NDArray

from poseling.evaluate.figures import BASELINE, DISTILLED, encode
from poseling.evaluate.latency import Ratio, paired
from poseling.files import write_bytes
from poseling.onnx_session import open_session
from results import FOLDER, HERE, write

LIGHTNING = "movenet-lightning"
NOTES = (
    "PCK@0.2 of the torso over the 12 joints that all know, LSP 1001-2000, one pass, each network with the "
    "padding that it was made for, and its speed as a multiple of MoveNet Lightning's, one thread, one crop, in turns. The "
    "zoo's networks and the peers are those of `peers`, the papers' students those of `papers`, each by its "
    "best arm. Ours learned LSP's labels, the peers did not."
)
TYPES: dict[str, type[np.generic]] = {
    "tensor(uint8)": np.uint8,
    "tensor(int32)": np.int32,
    "tensor(float)": np.float32,
}


@dataclass(frozen=True)
class Entry:
    """One network: `ratio` is its time over MoveNet Lightning's, `pck` its accuracy from 0 to 1."""

    name: str
    ours: bool
    ratio: Ratio
    pck: float


def main() -> None:
    argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    ).parse_args()
    found = [*networks(), *students()]
    write("pareto", rows(found), NOTES)
    plot(found, HERE.parent / "docs" / "images" / "pareto.png")


def networks() -> list[Entry]:
    """The networks of `peers`."""
    of = {row["name"]: row for row in json.loads((FOLDER / "peers.json").read_text())["rows"]}
    names = [name.removesuffix(".pck02") for name in of if name.endswith(".pck02")]
    return [
        Entry(name, name.startswith("poseling"), _ratio(of[f"{name}.over_lightning"]), of[f"{name}.pck02"]["value"])
        for name in names
    ]  # fmt: skip


def students() -> list[Entry]:
    """The students of `papers`, each by its best arm; those whose time was not measured are left out."""
    of = {row["name"]: row for row in json.loads((FOLDER / "papers.json").read_text())["rows"]}
    out = []
    for timed in (row for row in of if row.endswith("_over_lightning")):
        name = timed.removesuffix("_over_lightning")
        arms = defaultdict(list)
        for row in of.values():
            whose, _, seed = row["name"].partition(".limbs.seed_")
            if seed and whose.startswith(f"{name}."):
                arms[whose].append(row["value"])
        if arms:
            out.append(Entry(name, True, _ratio(of[timed]), max(map(mean, arms.values()))))
    return out


def _ratio(row: Mapping[str, Any]) -> Ratio:
    """A network's time over Lightning's from its row of speed, its spread to the first order."""
    time, half = 1 / row["value"], row["spread"] / row["value"] ** 2
    return Ratio(time, time - half, time + half)


def against(path: Path, lightning: Path, rounds: int) -> Ratio:
    """The time of the network in `path` over that of the one in `lightning`, each round by itself.

    It is this process's CPU time. On a shared machine a long call is interrupted more often than a short one,
    so a ratio of wall-clock times would favour fast networks.
    """
    return paired(caller(path), caller(lightning), rounds, clock=time.process_time)


def caller(path: Path, threads: int = 1) -> Callable[[], object]:
    """A call of the network in an ONNX file on one random crop: its input is prepared in the file's type."""
    if not path.is_file():
        raise FileNotFoundError(
            f"{path}: there is no such file; --peers names the folder with MoveNet and BlazePose"
        )
    session = open_session(path, threads=threads, log=3)
    (port,) = session.get_inputs()
    crop = np.random.default_rng(0).integers(0, 256, (1, *port.shape[1:])).astype(TYPES[port.type])
    if crop.dtype == np.float32:  # BlazePose's
        crop /= 255
    return lambda: session.run(None, {port.name: crop})


def rows(entries: Sequence[Entry]) -> list[dict[str, Any]]:
    """The accuracy of all, then the speed relative to Lightning; its spread to the first order."""
    out: list[dict[str, Any]] = [{"name": e.name, "value": e.pck, "unit": "PCK@0.2"} for e in entries]
    return out + [times(e.name, e.ratio) for e in entries]


def times(name: str, ratio: Ratio) -> dict[str, Any]:
    """A row of how many times as fast as Lightning a network is; its spread to the first order."""
    return {
        "name": f"{name}_over_lightning",
        "value": 1 / ratio.median,
        "unit": "times",
        "spread": ratio.spread / 2 / ratio.median**2,
        "ratio_to": LIGHTNING,
    }


def front(points: Sequence[tuple[float, float]]) -> list[int]:
    """The Pareto front of (time, accuracy), from the fastest to the slowest."""
    best, out = -np.inf, []
    for i in sorted(range(len(points)), key=lambda i: (points[i][0], -points[i][1])):
        if points[i][1] > best:
            best = points[i][1]
            out.append(i)
    return out


def plot(entries: Sequence[Entry], path: Path) -> None:
    """PCK over time relative to Lightning, the front as a step line, to the PNG `path`."""
    figure = Figure(figsize=(7, 4.4), layout="constrained")
    canvas = FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    times, pcks = np.array([e.ratio.median for e in entries]), np.array([e.pck for e in entries])
    axes.set_xscale("log")
    axes.set_xlim(times.min() / 1.5, times.max() * 4)  # room for names at the right
    margin = max(0.12 * (pcks.max() - pcks.min()), 0.01)
    axes.set_ylim(pcks.min() - margin, min(pcks.max() + margin, 1.01))
    best = front(list(zip(times, pcks, strict=True)))
    x, y = np.append(times[best], axes.get_xlim()[1]), np.append(pcks[best], pcks[best][-1])
    axes.step(x, y, where="post", color="#222222", linewidth=1, alpha=0.5, zorder=1)
    for ours, colour, label in ((True, DISTILLED, "our students"), (False, BASELINE, "peers")):
        some = np.array([e.ours is ours for e in entries])
        axes.scatter(times[some], pcks[some], s=34, color=colour, label=label, zorder=3)
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}×"))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.tick_params(axis="x", which="minor", length=0)
    axes.set_xlabel("time of one crop on one CPU thread, MoveNet Lightning = 1")
    axes.set_ylabel("PCK@0.2 on LSP 1001-2000, 12 joints, no flip test")
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(color="#222222", alpha=0.12)
    axes.set_axisbelow(True)
    axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=2, frameon=False, borderaxespad=0.2)
    # Labels are placed in pixels of the canvas: the layout has to be done, and must not change any more.
    canvas.draw()
    figure.set_layout_engine("none")
    place_labels(axes, entries, _along(axes, x, y))
    write_bytes(path, encode(figure))


def place_labels(axes: Axes, entries: Sequence[Entry], line: NDArray[np.float64]) -> list[Any]:
    """The names beside the points, each where it covers least of the other names, the points, and the `line`
    (P, 2) in pixels; gives their texts.
    """
    points = axes.transData.transform([(e.ratio.median, e.pck) for e in entries])
    inside, renderer = axes.get_window_extent(), cast(Any, axes.figure.canvas).get_renderer()
    texts: list[Any] = []
    taken: list[Any] = []
    for i in np.argsort(-points[:, 1], kind="stable"):
        entry, choices = entries[i], []
        for far in (0, 9, 18, 27):
            for dx, dy in ((1, -1), (1, 1), (-1, 1), (-1, -1), (1, 0), (-1, 0), (0, 1), (0, -1)):
                text = axes.annotate(
                    entry.name,
                    (entry.ratio.median, entry.pck),
                    (dx * (4 + far * (not dy) + 3 * (not dy)), dy * (3 + far + 3 * (not dx))),
                    textcoords="offset points",
                    ha={1: "left", -1: "right", 0: "center"}[dx],
                    va={1: "bottom", -1: "top", 0: "center"}[dy],
                    fontsize=8,
                    color=DISTILLED if entry.ours else "#444444",
                    arrowprops={
                        "arrowstyle": "-",
                        "color": "#999999",
                        "linewidth": 0.6,
                        "shrinkA": 0,
                        "shrinkB": 3,
                    }
                    if far
                    else None,
                )
                text.update_positions(renderer)
                box = Text.get_window_extent(text, renderer).padded(1)  # without the line to its point
                hidden = sum(box.overlaps(other) for other in taken)
                hidden += 2 * (
                    not (
                        inside.x0 <= box.x0
                        and box.x1 <= inside.x1
                        and inside.y0 <= box.y0
                        and box.y1 <= inside.y1
                    )
                )
                hidden += box.padded(4).count_contains(np.delete(points, i, axis=0))
                choices.append((100.0 * hidden + box.count_contains(line) + far / 3, text, box))
        _, kept, box = min(choices, key=lambda choice: choice[0])
        for _, text, _ in choices:
            if text is not kept:
                text.remove()
        texts.append(kept)
        taken.append(box)
    return texts


def _along(axes: Axes, x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.float64]:
    """(P, 2) pixels along a step line, one every few pixels."""
    corners = axes.transData.transform(np.stack([np.repeat(x, 2)[1:], np.repeat(y, 2)[:-1]], 1))
    return np.concatenate([np.linspace(a, b, 100) for a, b in pairwise(corners)])


if __name__ == "__main__":
    main()
