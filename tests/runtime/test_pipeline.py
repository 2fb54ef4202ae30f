from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from poseling.pose import Pose
from poseling.runtime.pipeline import track
from poseling.runtime.video import frames


def light(x: int, y: int) -> np.ndarray:
    """A dark picture of 128x96 BGR with a red square around x, y, and a blue one in a corner."""
    picture = np.full((96, 128, 3), 16, np.uint8)
    picture[max(0, y - 6) : y + 7, max(0, x - 6) : x + 7] = (0, 0, 255)
    picture[80:93, 110:123] = (255, 0, 0)
    return picture


@pytest.fixture
def video(tmp_path: Path) -> Path:
    """The red square moves right by ten pixels a frame, eight frames at four a second."""
    path = tmp_path / "moving.mp4"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), 4, (128, 96))
    for i in range(8):
        writer.write(light(20 + 10 * i, 30))
    writer.release()
    return path


def test_a_video_is_followed_drawn_and_written(tmp_path: Path, model: Path, video: Path):
    followed = []  # the lines that someone who reads along finds after each frame
    found = track(
        model,
        video,
        tmp_path / "drawn",
        json=tmp_path / "poses" / "poses.json",
        seen=lambda index, pose: followed.append((tmp_path / "poses" / "poses.json").read_text().count("}\n")),
    )
    assert followed == list(range(1, 9))
    assert (found.frames, found.drawn, found.json) == (8, tmp_path / "drawn" / "moving.mp4", tmp_path / "poses" / "poses.json")
    lines = [json.loads(line) for line in (tmp_path / "poses" / "poses.json").read_text().splitlines()]
    assert [line["frame"] for line in lines] == list(range(8))
    np.testing.assert_allclose([line["seconds"] for line in lines], np.arange(8) / 4, atol=1e-6)
    assert all(line["picture"] is None and line["skeleton"] == "hands" and line["joints"] == ["left_hand", "right_hand"] for line in lines)
    xy = np.array([line["xy"] for line in lines])
    # The brightest pixel lies somewhere in the square of 13 pixels, and one pixel of the input is four of the picture.
    assert np.abs(xy[:, 0, 0, 0] - (20 + 10 * np.arange(8))).max() <= 10
    assert np.abs(xy[:, 0, 1] - (116, 86)).max() <= 10
    assert np.ptp(xy[:, 0, 0, 0]) > 50
    drawn = [picture for _, _, picture in frames(found.drawn)]
    assert len(drawn) == 8
    assert np.abs(drawn[0].astype(int) - light(20, 30)).max() > 60  # something is drawn


def test_a_picture_in_a_box(tmp_path: Path, model: Path):
    cv2.imwrite(str(tmp_path / "a.png"), light(50, 40))
    poses: list[Pose] = []
    # With the padding of 1.25 this box's crop is 32x24 pixels at their own size, from (40, 30) on: it shows the red square but no blue.
    found = track(
        model, tmp_path / "a.png", tmp_path / "b.png", (43.1, 32.3, 67.9, 50.7), tmp_path / "poses.json", seen=lambda index, pose: poses.append(pose)
    )
    assert (found.frames, found.drawn) == (1, tmp_path / "b.png")
    np.testing.assert_allclose(poses[0].xy[0, 0], (44, 34), atol=1e-4)  # the first of the square's pixels
    assert poses[0].score[0, 1] < 0.1
    [line] = [json.loads(line) for line in (tmp_path / "poses.json").read_text().splitlines()]
    assert (line["seconds"], line["picture"]) == (None, "a.png")
    assert line["xy"] == np.round(poses[0].xy, 2).tolist()


def test_joints_are_drawn_in_the_colours_that_draw_means(tmp_path: Path, model: Path):
    cv2.imwrite(str(tmp_path / "a.png"), light(50, 40))
    poses: list[Pose] = []
    track(model, tmp_path / "a.png", tmp_path / "b.png", seen=lambda index, pose: poses.append(pose))
    x, y = poses[0].xy[0, 0].round().astype(int)
    blue, _, red = cv2.imread(str(tmp_path / "b.png"))[y, x].tolist()
    assert blue > red  # the left hand is drawn blue, on a red square


def test_ctrl_c_leaves_a_whole_video_and_whole_lines(tmp_path: Path, model: Path, video: Path):
    def stop(index: int, pose: Pose) -> None:
        if index == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        track(model, video, tmp_path / "drawn.mp4", json=tmp_path / "poses.json", seen=stop)
    assert [json.loads(line)["frame"] for line in (tmp_path / "poses.json").read_text().splitlines()] == [0, 1, 2, 3, 4]
    assert len(list(frames(tmp_path / "drawn.mp4"))) == 5
    assert sorted(p.name for p in tmp_path.iterdir()) == ["by-hand.onnx", "drawn.mp4", "moving.mp4", "poses.json"]


def test_with_nothing_to_write_it_only_looks(tmp_path: Path, model: Path, video: Path):
    before = sorted(tmp_path.iterdir())
    found = track(model, video)
    assert (found.frames, found.drawn, found.json) == (8, None, None)
    assert sorted(tmp_path.iterdir()) == before


def test_a_bad_box_is_told_before_anything_is_written(tmp_path: Path, model: Path, video: Path):
    with pytest.raises(ValueError, match="lies outside the picture of 128x96"):
        track(model, video, tmp_path / "drawn", (500, 500, 600, 600))
    assert not (tmp_path / "drawn").exists()
