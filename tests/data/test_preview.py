"""The contact sheet: which samples are on it, where, and what is drawn."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from poseling.data.dataset import PoseDataset
from poseling.data.preview import CAPTION, GAP, PAPER, preview, tile
from poseling.draw import LEFT, RIGHT
from poseling.files import read_image
from poseling.skeleton import LSP14


@pytest.fixture
def dataset(tmp_path):
    """Five people in grey images; one joint of each side far apart, the left one occluded."""
    visible = np.zeros((5, 14), np.uint8)
    joints = np.zeros((5, 14, 2), np.float32)
    joints[:, LSP14.index("right_wrist")], visible[:, LSP14.index("right_wrist")] = (20, 30), 2
    joints[:, LSP14.index("left_wrist")], visible[:, LSP14.index("left_wrist")] = (80, 70), 1
    paths = tuple(tmp_path / f"{i}.png" for i in range(5))
    for path in paths:
        cv2.imwrite(str(path), np.full((100, 100, 3), 128, np.uint8))
    return PoseDataset(
        "set", LSP14, paths, np.tile(np.array([0, 0, 99, 99], np.float32), (5, 1)), joints, visible
    )


def near(image, x, y, colour, within=3):
    """Whether a pixel of this colour lies within so many pixels of x, y."""
    x, y = round(x), round(y)
    patch = image[y - within : y + within + 1, x - within : x + within + 1].astype(int)
    return bool((np.abs(patch - colour).max(-1) < 40).any())


def test_a_tile_shows_joints_by_side_and_the_occluded_one_hollow(dataset):
    image = tile(dataset, 0, 200, padding=1.0)
    assert image.shape == (200 + CAPTION, 200, 3)
    at = {name: dataset.joints[0, LSP14.index(name)] * 199 / 99 for name in ("right_wrist", "left_wrist")}
    assert near(image, *at["right_wrist"], RIGHT)
    assert near(image, *at["left_wrist"], LEFT)
    assert near(image, *at["left_wrist"], (255, 255, 255), 1)
    assert not near(image, *at["right_wrist"], (255, 255, 255), 1)
    assert (image[200:] != PAPER).any()  # the caption


def test_sheet(dataset, tmp_path):
    chosen = preview(dataset, tmp_path / "out" / "sheet.png", count=4, seed=3, size=64)
    assert len(set(chosen)) == 4
    assert chosen == preview(dataset, tmp_path / "again.png", count=4, seed=3, size=64)
    assert (tmp_path / "again.png").read_bytes() == (tmp_path / "out" / "sheet.png").read_bytes()
    sheet = read_image(tmp_path / "again.png")
    # Three columns: the root of 1.6 x 4 is 2.5, rounded to 3 or 2.
    columns = round(np.sqrt(6.4))
    assert sheet.shape == (GAP + -(-4 // columns) * (64 + CAPTION + GAP), GAP + columns * (64 + GAP), 3)
    np.testing.assert_array_equal(
        sheet[GAP : GAP + 64 + CAPTION, GAP : GAP + 64], tile(dataset, chosen[0], 64)
    )


def test_more_than_there_are_is_all(dataset, tmp_path):
    assert preview(dataset, tmp_path / "a.png", count=99, size=32) == (0, 1, 2, 3, 4)


def test_a_tile_that_cannot_be_drawn_has_a_note(dataset, tmp_path):
    dataset.images[1].write_bytes(b"")
    dataset.boxes[2] = 5, 5, 5, 5
    for broken in (1, 2):
        image = tile(dataset, broken, 96)[:96]
        # Nothing but paper and a line of text.
        assert (image == PAPER).all(-1).mean() > 0.9
        assert (image != PAPER).any()
    preview(dataset, tmp_path / "a.png", size=96)


def test_an_empty_dataset_is_an_error(dataset, tmp_path):
    with pytest.raises(ValueError, match="set: 0 people"):
        preview(dataset[:0], tmp_path / "a.png")
    with pytest.raises(ValueError, match="32 pixels or more"):
        preview(dataset, tmp_path / "a.png", size=8)
