"""What poseling-detect is trained on and how it is judged: small pictures whose boxes are known."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import cv2
import numpy as np
import pytest
import torch

WHITE = [0.25, 0.25, 0.5, 0.75]  # of the picture


@pytest.fixture(scope="module")
def bench() -> ModuleType:
    folder = Path(__file__).resolve().parents[2] / "benchmarks"
    spec = importlib.util.spec_from_file_location("benchmark_detector", folder / "detector.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(folder))
        spec.loader.exec_module(module)
    return module


@pytest.fixture
def picture(bench: ModuleType, tmp_path: Path) -> Any:
    """200 x 400 pixels, black but for a white person from (50, 100) to (100, 300)."""
    image = np.zeros((400, 200, 3), np.uint8)
    image[100:300, 50:100] = 255
    cv2.imwrite(str(tmp_path / "picture.png"), image)
    return bench.Picture(str(tmp_path / "picture.png"), "human", "test", [WHITE])


def test_a_picture_and_its_target_move_together(bench: ModuleType, picture: Any):
    seen = 0
    for seed in range(30):
        image, target = bench.drawn(picture, 160, np.random.default_rng(seed))
        assert image.shape == (160, 160, 3)
        assert target.heat.shape == (40, 40)
        if not (target.heat == 1).any():
            continue
        row, column = np.argwhere(target.heat == 1)[0]
        x0, y0, x1, y1 = target.boxes[:, row, column]
        white = image.min(-1).astype(int) > 125
        ys, xs = np.flatnonzero(white.any(1)), np.flatnonzero(white.any(0))
        np.testing.assert_allclose([x0, y0, x1, y1], [xs[0], ys[0], xs[-1] + 1, ys[-1] + 1], atol=2)
        assert abs((column + 0.5) * 4 - (x0 + x1) / 2) <= 4
        seen += 1
    assert seen > 20


def test_the_teacher_adds_whom_nobody_labelled(bench: ModuleType):
    told = [[*WHITE, 0.9], [0.6, 0.1, 0.9, 0.5, 0.8], [0.0, 0.0, 0.2, 0.2, 0.3], [0.5, 0.8, 0.7, 1.0, 0.15]]
    people, doubtful = bench.agreed(bench.Picture("", "human", "train", [WHITE], told))
    np.testing.assert_allclose(people, [WHITE, told[1][:4]])
    np.testing.assert_allclose(doubtful, [told[2][:4]])


def test_pictures_that_look_alike_are_in_one_part(bench: ModuleType, tmp_path: Path):
    random = np.random.default_rng(0)
    hashes = [int(h) for h in random.integers(0, 2**63, 400)]
    near = [h ^ 0b10101 for h in hashes]  # three bits of 64 differ
    parts = bench.divided([*hashes, *near])
    assert parts[:400] == parts[400:]
    assert 0.7 < parts.count("train") / 800 < 0.9
    ramp = np.tile(np.arange(0, 256, 4, np.uint8)[None, ::-1, None], (64, 1, 3))  # darker to the right
    cv2.imwrite(str(tmp_path / "ramp.png"), ramp)
    assert bench.difference_hash(tmp_path / "ramp.png") == 2**64 - 1


def test_recall_and_precision_by_hand(bench: ModuleType, picture: Any):
    # One right, a small one that does not count, a large wrong one, and the same person twice.
    right, small, wrong = [50, 110, 100, 300, 0.9], [150, 0, 180, 60, 0.8], [100, 0, 200, 400, 0.7]
    found = [np.array([right, small, wrong, right]), np.zeros((0, 5))]
    judged = bench.judged([picture, picture], found)
    assert judged.people.tolist() == [[1, 1], [0, 1]]
    assert judged.boxes.tolist() == [[1, 3], [0, 0]]
    assert (judged.recall, judged.precision) == (0.5, pytest.approx(1 / 3))
    assert bench.above(found, 0.75)[0][:, 4].tolist() == [0.9, 0.8, 0.9]


def test_boxes_of_distances_and_what_they_share(bench: ModuleType):
    away = torch.tensor([2.0, 4.0, 6.0, 8.0]).reshape(1, 4, 1, 1).expand(1, 4, 2, 3)
    boxes = bench.corners(away)
    assert boxes[0, :, 1, 2].tolist() == [8.0, 2.0, 16.0, 14.0]  # about (10, 6)
    a = torch.tensor([0.0, 0, 10, 10]).reshape(1, 4, 1, 1)
    assert bench.generalised_iou(a, a).item() == 1
    # Apart: nothing shared, 200 of a hull of 30 x 10.
    assert bench.generalised_iou(
        a, a + torch.tensor([20.0, 0, 20, 0]).reshape(1, 4, 1, 1)
    ).item() == pytest.approx(-1 / 3)


def test_the_loss_is_least_where_the_target_is(bench: ModuleType):
    heat = torch.zeros(1, 4, 4)
    heat[0, 1, 2] = 1
    weight = heat.clone()
    away = torch.full((1, 4, 4, 4), 6.0)
    boxes = bench.corners(away)
    known = torch.ones(1, 4, 4)
    right = torch.full((1, 1, 4, 4), -12.0)
    right[0, 0, 1, 2] = 12
    assert bench.loss(right, away, heat, known, boxes, weight).item() == pytest.approx(0, abs=1e-3)
    # A false centre of 0.5: 0.5^2 log 2, and nothing where it is not known that nobody is there.
    false = right.clone()
    false[0, 0, 3, 3] = 0
    assert bench.loss(false, away, heat, known, boxes, weight).item() == pytest.approx(
        0.25 * np.log(2), abs=1e-3
    )
    known[0, 3, 3] = 0
    assert bench.loss(false, away, heat, known, boxes, weight).item() == pytest.approx(0, abs=1e-3)
    # Boxes twice as wide as they should be share a half: five times a half.
    wide = away * torch.tensor([2.0, 1, 2, 1]).reshape(1, 4, 1, 1)
    assert bench.loss(right, wide, heat, known, boxes, weight).item() == pytest.approx(2.5, abs=1e-3)
