"""The two pictures of a report: accuracy over epochs, and the worst, median and best cases."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from itertools import cycle
from pathlib import Path

import cv2
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray

from poseling.data.people import People
from poseling.files import read_picture, write_bytes
from poseling.geometry import Crop, Size
from poseling.pose import Pose
from poseling.runtime.draw import draw

# Okabe and Ito's colours, which the colour-blind can tell apart; the first two are baseline and distilled in every report.
COLOURS = ("#767676", "#D55E00", "#0072B2", "#009E73", "#CC79A7", "#56B4E9")
CELL: Size = (256, 256)

Run = Sequence[tuple[float, float]]  # (epoch, value)


def curves(logs: Mapping[str, Sequence[Run]], path: Path, teacher: float | None = None, metric: str = "PCK") -> None:
    """Accuracy over epochs to the PNG `path`: for each arm its runs, one a seed.

    The line is the mean over the seeds that have the epoch, the band reaches from the worst to the best of them. The teacher is a level.
    """
    figure = Figure(figsize=(7, 4.2), layout="constrained")
    axes = figure.add_subplot()
    for (name, runs), colour in zip(logs.items(), cycle(COLOURS)):
        epochs, low, mean, high = over_seeds(runs)
        axes.fill_between(epochs, low, high, color=colour, alpha=0.2, linewidth=0)
        axes.plot(epochs, mean, color=colour, linewidth=2, marker="o" if len(epochs) < 2 else None, label=f"{name} {mean[-1]:.3f}")
    if teacher is not None:
        axes.axhline(teacher, color="black", linewidth=1, linestyle=(0, (5, 3)), label=f"teacher {teacher:.3f}")
    axes.set(xlabel="epoch", ylabel=metric)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="y", color="0.92")
    axes.set_axisbelow(True)
    axes.legend(loc="lower right", frameon=False)
    _save(figure, path)


def cases(
    people: People,
    student: NDArray[np.floating],
    teacher: NDArray[np.floating] | None,
    errors: NDArray[np.floating],
    path: Path,
    columns: int = 4,
) -> None:
    """Worst, median and best people by errors (N,) to the PNG `path`: a row each, student (N, K, 2) beside teacher (N, K, 2), the truth in thin white.

    Joints are in pixels of the people's pictures and in their skeleton; those that are NaN are not drawn. Errors are best taken in lengths of the box
    (`pck.per_person`): a torso seen from its end is hardly longer than a pixel and makes any error look large.
    """
    chosen = choose(errors, columns)
    columns = len(chosen["best"])
    views = 1 if teacher is None else 2
    figure = Figure(figsize=(1.75 * columns * views, 3 * 2.0), layout="constrained")
    grid = figure.subplots(3, columns, squeeze=False)
    for line, (name, which) in zip(grid, chosen.items(), strict=True):
        for axes, person in zip(line, which, strict=True):
            guesses = [student[person]] if teacher is None else [student[person], teacher[person]]
            axes.imshow(_cell(people, int(person), guesses), interpolation="lanczos")
            axes.set_title(f"{people.pictures[person].stem}   error {errors[person]:.2f}", fontsize=8, pad=3)
            axes.set(xticks=[], yticks=[])
            axes.spines[:].set_visible(False)
        line[0].set_ylabel(name, fontsize=11, fontweight="bold")
    figure.suptitle("white: truth   coloured: student" + (" (left), teacher (right)" if views == 2 else ""), fontsize=9)
    _save(figure, path)


def choose(errors: NDArray[np.floating], columns: int) -> dict[str, NDArray[np.int64]]:
    """Who of errors (N,) is shown as worst, median and best, `columns` of each; people whose error is NaN are left out. ValueError if nobody is left.

    >>> {name: who.tolist() for name, who in choose(np.array([0.3, 0.1, np.nan, 0.5, 0.2, 0.4]), 1).items()}
    {'worst': [3], 'median': [0], 'best': [1]}
    """
    order = np.argsort(errors, kind="stable")[: int((~np.isnan(errors)).sum())]
    if not len(order):
        raise ValueError("every error is NaN: nobody was measured, so there are no cases to show")
    columns = min(columns, len(order))
    middle = (len(order) - columns) // 2
    return {"worst": order[::-1][:columns], "median": order[middle : middle + columns], "best": order[:columns]}


def over_seeds(runs: Sequence[Run]) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """The epochs of all runs in order, and the lowest, mean and highest value at each."""
    table = np.array([point for run in runs for point in run], np.float64)
    epochs = np.unique(table[:, 0])
    at = [table[table[:, 0] == e, 1] for e in epochs]
    return epochs, np.array([v.min() for v in at]), np.array([v.mean() for v in at]), np.array([v.max() for v in at])


def _cell(people: People, person: int, guesses: Sequence[NDArray[np.floating]]) -> NDArray[np.uint8]:
    """The person's crop once for each guess, side by side, with a white line between."""
    crop = Crop.from_box(people.boxes[person], CELL)
    picture = crop.warp(read_picture(people.pictures[person]))
    picture = _truth(picture, crop.apply(people.joints[person]), people.visible[person] > 0, people)
    views = []
    for guess in guesses:
        xy = crop.apply(guess)[None].astype(np.float32)
        views += [draw(picture, Pose(xy, np.ones(xy.shape[:2], np.float32), people.skeleton)), np.full((CELL[1], 4, 3), 255, np.uint8)]
    return np.concatenate(views[:-1], axis=1)


def _truth(picture: NDArray[np.uint8], joints: NDArray[np.floating], labelled: NDArray[np.bool_], people: People) -> NDArray[np.uint8]:
    """The labelled bones as thin white lines over `picture`, edged in black so that they show on white shirts."""
    picture = np.ascontiguousarray(picture)
    shift = 4  # fractional bits: cv2 draws at sixteenths of a pixel
    points = np.round(joints * 2**shift).astype(int)
    ends = [(points[child].tolist(), points[parent].tolist()) for child, parent in people.skeleton.bones if labelled[child] and labelled[parent]]
    for colour, thickness in (((0, 0, 0), 2), ((255, 255, 255), 1)):
        for start, end in ends:
            cv2.line(picture, start, end, colour, thickness, cv2.LINE_AA, shift)
    return picture


def _save(figure: Figure, path: Path) -> None:
    FigureCanvasAgg(figure)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=150)
    write_bytes(path, buffer.getvalue())
