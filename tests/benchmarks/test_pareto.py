"""The plot of accuracy against time: who is on the front, and that its names can be read."""

from __future__ import annotations

import importlib.util
import sys
from itertools import combinations
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text

from poseling.evaluate.latency import Ratio


@pytest.fixture(scope="module")
def pareto() -> ModuleType:
    folder = Path(__file__).resolve().parents[2] / "benchmarks"
    spec = importlib.util.spec_from_file_location("benchmark_pareto", folder / "pareto.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(folder))
        spec.loader.exec_module(module)
    return module


def test_the_front_has_the_networks_that_none_beats(pareto: ModuleType) -> None:
    # 1 is slower and worse than 0, 3 as fast as 2 and worse, 4 as good as 2 and slower.
    assert pareto.front([(1.0, 0.5), (2.0, 0.4), (3.0, 0.8), (3.0, 0.7), (4.0, 0.8), (0.5, 0.1)]) == [5, 0, 2]


def test_names_of_close_points_do_not_overlap(pareto: ModuleType) -> None:
    spots = [(1.0, 0.80), (1.02, 0.805), (1.05, 0.80), (0.97, 0.795), (9.0, 0.9), (0.1, 0.7)]
    entries = [pareto.Entry(f"network-{i}", i % 2 == 0, Ratio(t, t, t), p) for i, (t, p) in enumerate(spots)]
    figure = Figure(figsize=(7, 4.4))
    canvas = FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    axes.set_xscale("log")
    axes.set_xlim(0.09, 10)
    axes.set_ylim(0.69, 0.91)
    canvas.draw()
    texts = pareto.place_labels(axes, entries, np.zeros((0, 2)))
    assert {text.get_text() for text in texts} == {e.name for e in entries}
    canvas.draw()
    boxes = [Text.get_window_extent(text) for text in texts]
    assert not any(a.overlaps(b) for a, b in combinations(boxes, 2))
    assert all(axes.bbox.contains(*corner) for box in boxes for corner in box.corners())


def test_half_of_the_10_to_90_range_is_the_spread(pareto: ModuleType) -> None:
    pck, time = pareto.rows([pareto.Entry("small", True, Ratio(0.5, 0.4, 0.8), 0.7)])
    assert pck == {"name": "small", "value": 0.7, "unit": "PCK@0.2"}
    assert time == {
        "name": "small_over_lightning",
        "value": 2,
        "unit": "times",
        "spread": pytest.approx(0.8),
        "ratio_to": "movenet-lightning",
    }
