"""What a report draws: the metric over epochs, and poses on test samples (the worst, median and best; or from
the best to the worst).
"""

from __future__ import annotations

import io
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from itertools import cycle
from pathlib import Path

import cv2
import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray

from poseling.data.dataset import PoseDataset
from poseling.draw import draw
from poseling.files import read_image, write_bytes
from poseling.geometry import Crop, Size
from poseling.pose import Pose

# Okabe and Ito's colours, which colour-blind readers can distinguish. In every report the baseline is grey
# and the distilled student vermilion.
BASELINE, DISTILLED = "#767676", "#D55E00"
OTHERS = ("#0072B2", "#009E73", "#CC79A7", "#56B4E9", "#E69F00")
CELL: Size = (256, 256)

Run = Sequence[tuple[float, float]]  # (epoch, value)


def colours(arms: Iterable[str]) -> dict[str, str]:
    """The colour of each arm by its name.

    >>> colours(["distilled", "alone"])
    {'distilled': '#D55E00', 'alone': '#0072B2'}
    """
    rest, own = cycle(OTHERS), {"baseline": BASELINE, "distilled": DISTILLED}
    return {arm: own.get(arm) or next(rest) for arm in arms}


def curves(
    logs: Mapping[str, Sequence[Run]], path: Path, teacher: float | None = None, metric: str = "PCK"
) -> None:
    """The metric over epochs to the PNG `path`, as `draw_curves` draws it."""
    figure = Figure(figsize=(7, 4.2), layout="constrained")
    draw_curves(figure.add_subplot(), logs, teacher, metric)
    write_bytes(path, encode(figure))


def draw_curves(
    axes: Axes,
    logs: Mapping[str, Sequence[Run]],
    teacher: float | None,
    metric: str,
    names: Mapping[str, str] | None = None,
    ink: str = "#222222",
) -> None:
    """The metric over epochs, for each arm its runs, one a seed; `names` are labels for arms, `ink` the
    colour of all other lines and text.

    The line is the mean over the seeds that have the epoch, the band goes from the worst to the best of them.
    The teacher is a dashed level.
    """
    for (name, runs), colour in zip(logs.items(), colours(logs).values(), strict=True):
        epochs, low, mean, high = over_seeds(runs)
        axes.fill_between(epochs, low, high, color=colour, alpha=0.2, linewidth=0)
        axes.plot(
            epochs,
            mean,
            color=colour,
            linewidth=2,
            marker="o" if len(epochs) < 2 else None,
            label=(names or {}).get(name, name),
        )
    if teacher is not None:
        axes.axhline(teacher, color=ink, linewidth=1.2, linestyle=(0, (5, 3)), label="teacher")
    axes.set_xlabel("epoch", color=ink)
    axes.set_ylabel(textwrap.fill(metric, 32), color=ink)
    axes.locator_params(axis="x", integer=True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(ink)
    axes.tick_params(colors=ink)
    axes.grid(axis="y", color=ink, alpha=0.12)
    axes.set_axisbelow(True)
    # Above the plot: inside, no corner is free both for rates, which rise, and millimetres, which fall.
    axes.legend(
        loc="lower left",
        bbox_to_anchor=(0, 1),
        ncols=legend_columns(len(axes.lines)),
        frameon=False,
        labelcolor=ink,
        borderaxespad=0.2,
    )


def legend_columns(entries: int) -> int:
    """The columns of a legend above curves: three entries fit in a row; four or more have longer names."""
    return 3 if entries <= 3 else 2


def cases(
    dataset: PoseDataset,
    student: Pose,
    teacher: Pose | None,
    errors: NDArray[np.floating],
    path: Path,
    columns: int = 4,
) -> None:
    """Worst, median and best samples by errors (N,) to the PNG `path`: a row each, the student's prediction
    beside the teacher's, the labels in thin white.

    Predictions are in pixels of the samples' images and in the data set's skeleton; joints that are NaN are
    not drawn. Errors are best taken in lengths of the box (`pck.per_person`): a torso seen from its end is
    hardly longer than a pixel and makes any error look large.
    """
    chosen = choose(errors, columns)
    columns = len(chosen["best"])
    views = 1 if teacher is None else 2
    figure = Figure(figsize=(1.75 * columns * views, 3 * 2.0), layout="constrained")
    grid = figure.subplots(3, columns, squeeze=False)
    for line, (name, which) in zip(grid, chosen.items(), strict=True):
        for axes, person in zip(line, which, strict=True):
            guesses = [pose.xy[person] for pose in (student, teacher) if pose is not None]
            axes.imshow(
                _beside([view(dataset, int(person), guess, truth=True) for guess in guesses]),
                interpolation="lanczos",
            )
            axes.set_title(f"{dataset.images[person].stem}   error {errors[person]:.2f}", fontsize=8, pad=3)
            axes.set(xticks=[], yticks=[])
            axes.spines[:].set_visible(False)
        line[0].set_ylabel(name, fontsize=11, fontweight="bold")
    drawn = "white: label   coloured: student" + (" (left), teacher (right)" if views == 2 else "")
    figure.suptitle(
        f"{drawn}\nerror: the mean distance in the image, in parts of the person's box", fontsize=9
    )
    write_bytes(path, encode(figure))


def choose(errors: NDArray[np.floating], columns: int) -> dict[str, NDArray[np.int64]]:
    """The samples of errors (N,) shown as worst, median and best, `columns` of each; those whose error is NaN
    are left out. ValueError if none is left.

    >>> {name: rows.tolist() for name, rows in choose(np.array([0.3, 0.1, np.nan, 0.5, 0.2, 0.4]), 1).items()}
    {'worst': [3], 'median': [0], 'best': [1]}
    """
    order = np.argsort(errors, kind="stable")[: int((~np.isnan(errors)).sum())]
    if not len(order):
        raise ValueError("every error is NaN: no sample has a label, so there are no cases to show")
    columns = min(columns, len(order))
    middle = (len(order) - columns) // 2
    return {
        "worst": order[::-1][:columns],
        "median": order[middle : middle + columns],
        "best": order[:columns],
    }


def across(errors: NDArray[np.floating], count: int) -> NDArray[np.int64]:
    """The samples of errors (N,) that represent all, best first: the middle one of each of `count` equal
    groups of those whose error is a number.

    >>> errors = np.array([0.3, 0.1, np.nan, 0.5, 0.2, 0.4, 0.6])
    >>> across(errors, 2).tolist()  # the middles of 0.1 0.2 0.3 and of 0.4 0.5 0.6
    [4, 3]
    """
    order = np.argsort(errors, kind="stable")[: int((~np.isnan(errors)).sum())]
    count = min(count, len(order))
    return order[((np.arange(count) + 0.5) / max(count, 1) * len(order)).astype(np.int64)]


def over_seeds(
    runs: Sequence[Run],
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """The epochs of all runs in order, and the lowest, mean and highest value at each."""
    table = np.array([point for run in runs for point in run], np.float64)
    epochs = np.unique(table[:, 0])
    at = [table[table[:, 0] == e, 1] for e in epochs]
    return (
        epochs,
        np.array([v.min() for v in at]),
        np.array([v.mean() for v in at]),
        np.array([v.max() for v in at]),
    )


def view(
    dataset: PoseDataset, person: int, joints: NDArray[np.floating], truth: bool = False
) -> NDArray[np.uint8]:
    """The sample's crop of size CELL with joints (K, 2), in pixels of its image, drawn in; NaN joints are not
    drawn. `truth` adds the labels in thin white.
    """
    crop = Crop.from_box(dataset.boxes[person], CELL)
    image = crop.warp(read_image(dataset.images[person]))
    if truth:
        image = _truth(image, crop.apply(dataset.joints[person]), dataset.visible[person] > 0, dataset)
    xy = crop.apply(joints)[None].astype(np.float32)
    return draw(image, Pose(xy, np.ones(xy.shape[:2], np.float32), dataset.skeleton))


def encode(figure: Figure, kind: str = "png", dpi: int = 150) -> bytes:
    """The figure as a file of that kind; the same figure always gives the same bytes."""
    FigureCanvasAgg(figure)
    buffer = io.BytesIO()
    with rc_context({"svg.hashsalt": "poseling"}):
        figure.savefig(
            buffer,
            format=kind,
            dpi=dpi,
            facecolor=figure.get_facecolor(),
            metadata={"Date": None} if kind == "svg" else None,
        )
    return buffer.getvalue()


def _beside(views: Sequence[NDArray[np.uint8]]) -> NDArray[np.uint8]:
    """Views side by side, with a white line between."""
    line = np.full((CELL[1], 4, 3), 255, np.uint8)
    return np.concatenate([part for view in views for part in (view, line)][:-1], axis=1)


def _truth(
    image: NDArray[np.uint8], joints: NDArray[np.floating], labelled: NDArray[np.bool_], dataset: PoseDataset
) -> NDArray[np.uint8]:
    """The labelled bones as thin white lines over `image`, with black edges to show on white shirts."""
    image = np.ascontiguousarray(image)
    shift = 4  # fractional bits: cv2 draws at sixteenths of a pixel
    points = np.round(joints * 2**shift).astype(int)
    ends = [
        (points[child].tolist(), points[parent].tolist())
        for child, parent in dataset.skeleton.bones
        if labelled[child] and labelled[parent]
    ]
    for colour, thickness in (((0, 0, 0), 2), ((255, 255, 255), 1)):
        for start, end in ends:
            cv2.line(image, start, end, colour, thickness, cv2.LINE_AA, shift)
    return image
