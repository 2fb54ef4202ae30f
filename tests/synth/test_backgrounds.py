"""Backgrounds: the same for the same lot, unlike each other, and a folder's broken files are stepped over."""

from __future__ import annotations

from itertools import pairwise

import cv2
import numpy as np
import pytest

from poseling.synth.backgrounds import Folder, _shapes, procedural
from poseling.synth.textures import MAKERS, TILE, ramp_of, texture


@pytest.fixture(scope="module")
def places():
    return [procedural(128, np.random.default_rng((0, i))) for i in range(120)]


@pytest.mark.parametrize("size", [32, 100, 257, 640])
def test_any_size_and_the_same_seed_the_same_bytes(size):
    image = procedural(size, np.random.default_rng(size))
    assert image.shape == (size, size, 3)
    assert image.dtype == np.uint8
    assert image.flags.c_contiguous
    np.testing.assert_array_equal(image, procedural(size, np.random.default_rng(size)))
    assert (image != procedural(size, np.random.default_rng(size + 1))).mean() > 0.5


def test_shapes_paint_the_whole_image():
    """Nothing of the colour that was there before is left but by chance."""
    left = []
    for i in range(25):
        canvas = np.full((96, 96, 3), (1, 2, 250), np.uint8)
        _shapes(canvas, np.random.default_rng(i))
        left.append((canvas == (1, 2, 250)).all(-1).mean())
    assert max(left) < 0.02


def test_they_are_unlike_each_other(places):
    """Small grey versions hardly go together, and the mean colours are as far apart as those of photographs."""
    grey = np.array(
        [
            cv2.resize(cv2.cvtColor(p, cv2.COLOR_RGB2GRAY), (16, 16), interpolation=cv2.INTER_AREA).ravel()
            for p in places
        ],
        float,
    )
    together = np.abs(np.corrcoef(grey))[np.triu_indices(len(places), 1)]
    assert together.mean() < 0.35
    assert (together > 0.95).mean() < 0.01
    assert np.array([p.mean((0, 1)) for p in places]).std(0).min() > 15


def test_they_are_neither_black_nor_white_nor_flat(places):
    means, spreads = np.array([(p.mean(), p.std()) for p in places]).T
    assert 85 < means.mean() < 135
    assert ((means < 15) | (means > 240)).mean() < 0.05
    assert 30 < spreads.mean() < 65
    assert (spreads < 8).mean() < 0.05


def test_power_falls_with_frequency_as_in_photographs(places):
    """About 1 / f ** 2.8: LSP's images have 2.8 (corners as they are) to 3.7 (crops grown to 256)."""
    side = len(places[0])
    window = np.hanning(side)[:, None] * np.hanning(side)
    away = np.hypot(*np.meshgrid(np.fft.fftfreq(side), np.fft.fftfreq(side))) * side
    power = sum(np.abs(np.fft.fft2((p.mean(-1) - p.mean()) * window)) ** 2 for p in places)
    edges = np.geomspace(3, 0.4 * side, 10)
    rings = [power[(away >= a) & (away < b)].mean() for a, b in pairwise(edges)]
    slope = np.polyfit(np.log(np.sqrt(edges[1:] * edges[:-1])), np.log(rings), 1)[0]
    assert -3.8 < slope < -2.3


@pytest.mark.parametrize("name", sorted(set(MAKERS) - {"wares"}))  # on a shelf any column may be an edge
def test_textures_are_periodic(name):
    tile = texture(name)[:TILE, :TILE].astype(float)
    for axis in (0, 1):
        inside = np.abs(np.diff(tile, axis=axis)).mean(axis=tuple(i for i in range(tile.ndim) if i != axis))
        seam = np.abs(tile.take(0, axis) - tile.take(-1, axis)).mean()
        assert seam < 1.2 * inside.max() + 1
    assert texture(name).std() > 20


def test_a_ramp_goes_through_its_colours():
    table = ramp_of((0, 10, 20), (255, 10, 120))
    assert table.shape == (1, 256, 3)
    assert table[0, [0, 51, 255]].tolist() == [[0, 10, 20], [51, 10, 40], [255, 10, 120]]


def _map(path, height=100, width=200):
    """An image whose red says the column and whose green says the row."""
    rows, columns = np.mgrid[0:height, 0:width]
    cv2.imwrite(
        str(path), np.stack([np.zeros_like(rows), rows, columns], -1).astype(np.uint8)
    )  # OpenCV writes BGR


def test_windows_of_a_folder(tmp_path):
    _map(tmp_path / "a.png")
    folder, flips, sides, starts = Folder([tmp_path / "a.png"]), [], [], []
    for i in range(60):
        window = folder(200, np.random.default_rng(i)).astype(int)
        assert window.shape == (200, 200, 3)
        np.testing.assert_array_equal(window, folder(200, np.random.default_rng(i)))
        left, right = window[100, 0, 0], window[100, -1, 0]
        flips.append(left > right)
        sides.append(abs(right - left) + 1)
        starts.append(min(left, right))
        assert (
            abs(sides[-1] - (window[-1, 0, 1] - window[0, 0, 1] + 1)) <= 1
        )  # square: as many rows as columns
    assert 40 <= min(sides) < 55 < 85 < max(sides) <= 100
    assert 0.25 < np.mean(flips) < 0.75
    assert min(starts) < 20
    assert max(starts) > 80


def test_large_images_are_averaged_and_small_ones_grown(tmp_path):
    checks = np.indices((400, 400)).sum(0) % 2 * 255
    cv2.imwrite(str(tmp_path / "fine.png"), np.repeat(checks[..., None], 3, -1).astype(np.uint8))
    seen = Folder([tmp_path / "fine.png"])(
        40, np.random.default_rng(0)
    )  # a window of 160 to 400 pixels: 4 to 10 of them to one
    assert np.abs(seen.astype(int) - 127).max() < 40
    _map(tmp_path / "dot.png", 1, 1)
    assert Folder([tmp_path / "dot.png"])(16, np.random.default_rng(0)).shape == (16, 16, 3)


def test_broken_files_are_skipped_and_listed(tmp_path):
    paths = [tmp_path / f"{i}.png" for i in range(4)]
    for i in (0, 1, 3):
        cv2.imwrite(str(paths[i]), np.full((8, 8, 3), 50 * (i + 1), np.uint8))
    paths[2].write_bytes(paths[1].read_bytes()[:30])
    folder, whole = Folder(paths), Folder(paths)
    seen = [int(folder(8, np.random.default_rng(i))[0, 0, 0]) for i in range(40)]
    assert set(seen) == {50, 100, 200}
    assert folder.broken == [paths[2]]
    # Whether the broken file is known already makes no difference; where the lot falls on it, the next one is
    # taken.
    assert seen[::-1] == [int(whole(8, np.random.default_rng(i))[0, 0, 0]) for i in reversed(range(40))]
    firsts = [int(np.random.default_rng(i).integers(4)) for i in range(40)]
    assert seen == [{0: 50, 1: 100, 2: 200, 3: 200}[i] for i in firsts]


def test_a_folder_with_only_broken_files(tmp_path):
    paths = [tmp_path / "a.jpg", tmp_path / "b.jpg"]
    paths[0].write_bytes(b"no image")
    folder = Folder(paths)
    for _ in range(2):
        with pytest.raises(
            OSError, match=rf"{tmp_path}: none of its 2 images can be read \(the first is a.jpg\)"
        ):
            folder(8, np.random.default_rng(0))
    assert sorted(folder.broken) == paths
    with pytest.raises(ValueError, match="without an image"):
        Folder([])
