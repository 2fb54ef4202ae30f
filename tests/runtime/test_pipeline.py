from __future__ import annotations

import json
import os
import re
import resource
import threading
from pathlib import Path

import cv2
import numpy as np
import pytest

from poseling.geometry import joints_box, project, ray_rotation
from poseling.pose import Pose
from poseling.runtime import Network
from poseling.runtime.pipeline import Pipeline, faced, track
from poseling.runtime.position import guessed_camera, position
from poseling.runtime.video import frames
from poseling.skeleton import MOVNECT15, VNECT21, Skeleton
from poseling.spec import PoseSpec


def light(x: int, y: int) -> np.ndarray:
    """A dark image of 128x96 BGR with a red square around x, y, and a blue one in a corner."""
    image = np.full((96, 128, 3), 16, np.uint8)
    image[max(0, y - 6) : y + 7, max(0, x - 6) : x + 7] = (0, 0, 255)
    image[80:93, 110:123] = (255, 0, 0)
    return image


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
    found = track(model, video, tmp_path / "drawn", json=tmp_path / "poses" / "poses.json")
    assert (found.frames, found.drawn, found.json) == (
        8,
        tmp_path / "drawn" / "moving.mp4",
        tmp_path / "poses" / "poses.json",
    )
    lines = [json.loads(line) for line in (tmp_path / "poses" / "poses.json").read_text().splitlines()]
    assert [line["frame"] for line in lines] == list(range(8))
    np.testing.assert_allclose([line["seconds"] for line in lines], np.arange(8) / 4, atol=1e-6)
    assert all(
        line["image"] is None
        and line["skeleton"] == "hands"
        and line["joints"] == ["left_hand", "right_hand"]
        for line in lines
    )
    xy = np.array([line["xy"] for line in lines])
    # The brightest pixel lies somewhere in the square of 13 pixels, and one pixel of the input is four of the
    # image.
    assert np.abs(xy[:, 0, 0, 0] - (20 + 10 * np.arange(8))).max() <= 10
    assert np.abs(xy[:, 0, 1] - (116, 86)).max() <= 10
    assert np.ptp(xy[:, 0, 0, 0]) > 50
    drawn = [image for _, _, image in frames(found.drawn)]
    assert len(drawn) == 8
    assert np.abs(drawn[0].astype(int) - light(20, 30)).max() > 60  # something is drawn


def test_a_pipeline_called_frame_by_frame_is_what_track_does(tmp_path: Path, model: Path, video: Path):
    done: list = []
    track(model, video, sinks=[done.append])
    pipeline = Pipeline(Network(model))
    found = [pipeline(image, seconds) for _, seconds, image in frames(video)]
    assert [frame.index for frame in found] == [frame.index for frame in done] == list(range(8))
    for mine, theirs in zip(found, done, strict=True):
        assert mine.as_dict() == theirs.as_dict()
        np.testing.assert_array_equal(mine.camera, guessed_camera((128, 96)))
    with pytest.raises(ValueError, match="--camera 0 1 2 3 is not a camera"):
        Pipeline(Network(model), camera=(0, 1, 2, 3))


def test_all_that_a_detector_finds_in_an_image(model: Path):
    """Two red squares, a detector that boxes both: the brightest pixel of each box is its left hand."""
    image = light(30, 30) | light(90, 60)
    boxes = np.array([[15, 15, 45, 45, 0.9], [75, 45, 105, 75, 0.5]], np.float32)
    pipeline = Pipeline(Network(model), lambda image, colour: boxes)
    frame = pipeline(image, None)
    assert frame.seconds is None
    assert np.abs(frame.pose.xy[:, 0] - [(30, 30), (90, 60)]).max() <= 8
    pipeline = Pipeline(Network(model), lambda image, colour: boxes[:0])
    assert len(pipeline(image, None).pose) == 0


def test_an_image_in_a_box(tmp_path: Path, model: Path):
    cv2.imwrite(str(tmp_path / "a.png"), light(50, 40))
    poses: list[Pose] = []
    # With the padding of 1.25 this box's crop is 32x24 pixels at their own size, from (40, 30) on: it shows
    # the red square but no blue.
    found = track(
        model,
        tmp_path / "a.png",
        tmp_path / "b.png",
        (43.1, 32.3, 67.9, 50.7),
        tmp_path / "poses.json",
        seen=lambda index, pose: poses.append(pose),
    )
    assert (found.frames, found.drawn) == (1, tmp_path / "b.png")
    np.testing.assert_allclose(poses[0].xy[0, 0], (44, 34), atol=1e-4)  # the first of the square's pixels
    assert poses[0].score[0, 1] < 0.1
    [line] = [json.loads(line) for line in (tmp_path / "poses.json").read_text().splitlines()]
    assert (line["seconds"], line["image"]) == (None, "a.png")
    assert line["xy"] == np.round(poses[0].xy, 2).tolist()


def test_joints_are_drawn_in_the_colours_that_draw_means(tmp_path: Path, model: Path):
    cv2.imwrite(str(tmp_path / "a.png"), light(50, 40))
    poses: list[Pose] = []
    track(model, tmp_path / "a.png", tmp_path / "b.png", seen=lambda index, pose: poses.append(pose))
    x, y = poses[0].xy[0, 0].round().astype(int)
    blue, _, red = cv2.imread(str(tmp_path / "b.png"))[y, x].tolist()
    assert blue > red  # the left hand is drawn blue, on a red square


def test_low_scores_in_a_video_suggest_a_threshold(tmp_path: Path, model: Path, video: Path):
    found = track(model, video, json=tmp_path / "poses.json", threshold=0.99)
    assert found.network == "by-hand (code Apache-2.0, weights unknown, data unknown) on cpu"
    [note] = found.notes
    assert re.fullmatch(
        r"in \d of 8 frames no person reached a mean score of 0\.99, the highest was 0\.9\d?; --threshold 0\.5 "
        r"finds more people, and more false ones",
        note,
    )
    assert track(model, video, json=tmp_path / "poses.json").notes == ()


def test_ctrl_c_leaves_a_whole_video_and_whole_lines(tmp_path: Path, model: Path, video: Path):
    def stop(index: int, pose: Pose) -> None:
        if index == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        track(model, video, tmp_path / "drawn.mp4", json=tmp_path / "poses.json", seen=stop)
    assert [json.loads(line)["frame"] for line in (tmp_path / "poses.json").read_text().splitlines()] == [
        0,
        1,
        2,
        3,
        4,
    ]
    assert len(list(frames(tmp_path / "drawn.mp4"))) == 5
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        "by-hand.onnx",
        "drawn.mp4",
        "moving.mp4",
        "poses.json",
    ]


def test_a_pipe_is_written_line_by_line(tmp_path: Path, model: Path, video: Path):
    os.mkfifo(tmp_path / "pipe")
    read: list[str] = []

    def reader() -> None:
        with (tmp_path / "pipe").open() as pipe:
            read.extend(pipe)

    thread = threading.Thread(target=reader)
    thread.start()
    track(model, video, json=tmp_path / "pipe")
    thread.join()
    assert [json.loads(line)["frame"] for line in read] == list(range(8))
    assert (tmp_path / "pipe").is_fifo()


def test_what_is_read_is_never_written(tmp_path: Path, model: Path, video: Path):
    before = {path: path.read_bytes() for path in (model, video)}
    (tmp_path / "link").symlink_to(model)
    (tmp_path / "link.mp4").symlink_to(model)
    (tmp_path / "folder").symlink_to(tmp_path)
    refused = [
        ({"json": model}, "--json .*is the model itself"),
        ({"json": video}, "--json .*is the source itself"),
        ({"json": tmp_path / "link"}, "--json .*is the model itself"),
        ({"json": tmp_path / "folder" / video.name}, "--json .*is the source itself"),
        ({"out": video}, "--out .*is the source itself"),
        ({"out": tmp_path / "link.mp4"}, "--out .*is the model itself"),
        ({"out": tmp_path / "a.mp4", "json": tmp_path / "folder" / "a.mp4"}, "--json .*is what --out writes"),
        ({"sunk": {"--csv": model}}, "--csv .*is the model itself"),
        ({"sunk": {"--bvh": tmp_path / "link"}}, "--bvh .*is the model itself"),
        (
            {"out": tmp_path / "new", "sunk": {"--csv": tmp_path / "new" / f"{video.stem}.mp4"}},
            "--csv .*is what --out writes",
        ),
        ({"json": tmp_path / "a", "sunk": {"--csv": tmp_path / "a"}}, "--csv .*is what --json writes"),
    ]
    for how, message in refused:
        with pytest.raises(ValueError, match=f"{message} and would be replaced; give another name"):
            track(model, video, **how)
    assert {path: path.read_bytes() for path in before} == before
    assert not (tmp_path / "a.mp4").exists()


def test_a_folder_s_images_are_never_written(tmp_path: Path, model: Path):
    (tmp_path / "in").mkdir()
    cv2.imwrite(str(tmp_path / "in" / "a.png"), light(50, 40))
    for how, message in (
        ({"json": tmp_path / "in" / "a.png"}, "is one of the images and"),
        ({"sunk": {"--csv": tmp_path / "in" / "a.png"}}, "--csv .*is one of the images and"),
        ({"out": tmp_path / "in"}, "is the source itself"),
        (
            {"out": tmp_path / "out", "json": tmp_path / "out" / "a.png"},
            "is one of the images that are drawn",
        ),
    ):
        with pytest.raises(ValueError, match=message):
            track(model, tmp_path / "in", **how)
    assert (cv2.imread(str(tmp_path / "in" / "a.png")) == light(50, 40)).all()


def test_a_folder_as_a_file_s_name_is_refused_before_any_frame(tmp_path: Path, model: Path, video: Path):
    for how, flag in (({"json": tmp_path}, "--json"), ({"sunk": {"--bvh": tmp_path}}, "--bvh")):
        with pytest.raises(ValueError, match=f"{flag} .*: is a folder; give the name of a file"):
            track(model, video, seen=lambda *frame: pytest.fail("a frame was read"), **how)


def test_lines_that_cannot_be_written_leave_the_earlier_file(tmp_path: Path, model: Path, video: Path):
    (tmp_path / "poses.json").write_text("good\n")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (300, before[1]))
    try:
        with pytest.raises(OSError, match=r"poses\.json: could not be written \(File too large\)"):
            track(model, video, json=tmp_path / "poses.json")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert (tmp_path / "poses.json").read_text() == "good\n"
    bad = tmp_path / "bad.mp4"
    bad.write_bytes(b"no film")
    with pytest.raises(
        OSError, match=r"bad\.mp4: is not a readable video"
    ):  # nor does a film that cannot be read take them away
        track(model, bad, json=tmp_path / "poses.json")
    assert (tmp_path / "poses.json").read_text() == "good\n"
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        "bad.mp4",
        "by-hand.onnx",
        "moving.mp4",
        "poses.json",
    ]


def test_an_unreadable_image_is_left_out_and_reported(tmp_path: Path, model: Path):
    (tmp_path / "in").mkdir()
    for name in "abc":
        cv2.imwrite(str(tmp_path / "in" / f"{name}.png"), light(50, 40))
    (tmp_path / "in" / "b.png").write_bytes(b"words")
    (tmp_path / "in" / "._a.png").write_bytes(b"words")
    found = track(model, tmp_path / "in", tmp_path / "out", json=tmp_path / "poses.json")
    assert found.frames == 2
    assert [(row["frame"], row["image"]) for row in lines(tmp_path / "poses.json")] == [
        (0, "a.png"),
        (2, "c.png"),
    ]
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["a.png", "c.png"]
    assert [note.partition(";")[0] for note in found.notes] == [
        f"{tmp_path}/in: 1 of 3 images cannot be read and were left out"
    ]


def test_the_threshold_decides_what_is_drawn_and_which_person_is_kept(
    tmp_path: Path, model: Path, video: Path
):
    cv2.imwrite(str(tmp_path / "a.png"), light(50, 40))  # both joints have the score 1
    track(model, tmp_path / "a.png", tmp_path / "b.png", threshold=1.0)
    assert (cv2.imread(str(tmp_path / "b.png")) != light(50, 40)).any()
    faint = light(50, 40) // 2  # ... and here a half
    cv2.imwrite(str(tmp_path / "c.png"), faint)
    for threshold, drawn in ((0.4, True), (0.6, False)):
        track(model, tmp_path / "c.png", tmp_path / "d.png", threshold=threshold)
        assert (cv2.imread(str(tmp_path / "d.png")) != faint).any() == drawn
    dataset: list[int] = []
    for threshold in (0.2, 1.0):  # the codec takes a little of the squares' brightness away
        track(model, video, seen=lambda index, pose: dataset.append(len(pose)), threshold=threshold)
    assert (sum(dataset[:8]), sum(dataset[8:])) == (8, 0)
    for wrong in (-0.1, 1.1, float("nan")):
        with pytest.raises(ValueError, match=r"--threshold .* is not a score"):
            track(model, video, threshold=wrong)


def test_with_nothing_to_write_it_only_looks(tmp_path: Path, model: Path, video: Path):
    before = sorted(tmp_path.iterdir())
    found = track(model, video)
    assert (found.frames, found.drawn, found.json) == (8, None, None)
    assert sorted(tmp_path.iterdir()) == before


def test_a_bad_box_is_an_error_before_anything_is_written(tmp_path: Path, model: Path, video: Path):
    with pytest.raises(ValueError, match="is outside the image of 128x96"):
        track(model, video, tmp_path / "drawn", (500, 500, 600, 600))
    assert not (tmp_path / "drawn").exists()


BODY = np.zeros((15, 3), np.float32)
for _joint, _place in {
    **{"head_top": (0, -0.82, -0.02), "neck": (0, -0.55, 0), "pelvis": (0, 0, 0)},
    **{f"{side}_{name}": (sign * x, y, z) for side, sign in (("right", -1), ("left", 1)) for name, x, y, z in (
        ("shoulder", 0.17, -0.52, 0), ("elbow", 0.3, -0.3, 0.03), ("wrist", 0.35, -0.06, -0.1), ("hip", 0.1, 0.02, 0), ("knee", 0.11, 0.44, -0.06), ("ankle", 0.11, 0.86, 0.02)
    )},
}.items():  # fmt: skip
    BODY[MOVNECT15.index(_joint)] = _place
WALK = [
    np.array([-0.5 + 0.02 * i, 0.1, 4.0]) for i in range(40)
]  # metres, seen by the camera that is guessed for 128 x 96 pixels


def shown(image: np.ndarray) -> int:
    """The index of a frame that is as bright as `walk` makes it: 30 and 5 more a frame. The codec makes all
    of them 3 darker.
    """
    return round(float(image.mean()) / 5 - 5.7)


class Walker:
    """Stands in for `Network`: tells the frame by its brightness, and sees the body where it then is, in the
    axes of a camera that looks straight at it, with a tremble that is the same in every run.
    """

    skeleton, tremble, outputs = MOVNECT15, 0.0, ("xy", "score", "xyz")

    name, licence = "walker", "code, weights and data are ours"

    def __init__(
        self, path: Path, threads: int | None = None, provider: str = "cpu", adapter: str | None = None
    ) -> None:
        self.path = path
        self.spec = PoseSpec("walker", self.skeleton, {"name": "walker"}, (64, 64), outputs=self.outputs)

    def __call__(self, image: np.ndarray, boxes: np.ndarray | None = None) -> Pose:
        index = shown(image)
        count = 1 if boxes is None else len(boxes)
        body = MOVNECT15.to(self.skeleton).joints(BODY)
        noise = np.random.default_rng(index).normal(0, self.tremble, body.shape)
        xy = project(body + noise + WALK[index], guessed_camera((128, 96)))
        known = MOVNECT15.to(self.skeleton).known
        score = np.where(known, 0.9, 0.0)
        middle = joints_box(xy, known).reshape(2, 2).mean(0)
        seen = (body + noise) @ ray_rotation(middle, guessed_camera((128, 96)))
        return Pose(
            np.stack([xy] * count),
            np.stack([score] * count),
            self.skeleton,
            np.stack([seen] * count) if "xyz" in self.outputs else None,
        )


@pytest.fixture
def walk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Forty frames at 30 a second, and a network that sees someone walk in them."""
    monkeypatch.setattr("poseling.runtime.pipeline.Network", Walker)
    path = tmp_path / "walk.mp4"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), 30, (128, 96))
    for i in range(40):
        writer.write(np.full((96, 128, 3), 30 + 5 * i, np.uint8))
    writer.release()
    return path


def lines(path: Path) -> list[dict]:
    return [json.loads(line, parse_constant=pytest.fail) for line in path.read_text().splitlines()]


def test_a_3d_network_gives_positions_rotations_and_a_side_view(tmp_path: Path, walk: Path):
    found = track(Path("walker.onnx"), walk, tmp_path / "drawn.mp4", json=tmp_path / "poses.json")
    rows = lines(tmp_path / "poses.json")
    assert (found.frames, len(rows)) == (40, 40)
    assert {tuple(row["ids"]) for row in rows} == {(0,)}
    assert all(row["camera"] == [128, 128, 63.5, 47.5] for row in rows)
    assert np.array([row["rotations"] for row in rows]).shape == (40, 1, 13, 4)
    np.testing.assert_allclose(np.linalg.norm([row["rotations"] for row in rows], axis=-1), 1, atol=1e-4)
    # Someone who walks sideways at 0.6 m/s, seen without noise: the place lags a little, and the body is the
    # body.
    places = np.array([row["position"][0] for row in rows])
    assert np.abs(places - WALK)[10:].max() < 0.15
    assert np.abs(np.array([row["xyz"][0] for row in rows]) - BODY)[10:].max() < 0.05
    [*_, (_, _, last)] = frames(found.drawn)
    assert last.shape == (96, 128 + 72, 3)
    assert np.ptp(last[:, 128:].astype(int)) > 100  # someone is there


def test_without_fit_and_filter_the_result_is_the_network_s(tmp_path: Path, walk: Path):
    track(Path("walker.onnx"), walk, json=tmp_path / "poses.json", smooth=False, fit=False)
    rows = lines(tmp_path / "poses.json")
    assert all(row["rotations"] is None for row in rows)
    np.testing.assert_allclose([row["position"][0] for row in rows], WALK, atol=0.01)
    np.testing.assert_allclose([row["xyz"][0] for row in rows], np.stack([BODY] * 40), atol=1e-4)
    track(
        Path("walker.onnx"),
        walk,
        json=tmp_path / "twice.json",
        smooth=False,
        fit=False,
        camera=(256, 256, 63.5, 47.5),
    )
    far = np.array([row["position"][0] for row in lines(tmp_path / "twice.json")])
    np.testing.assert_allclose(far[:, 2], 8, atol=0.4)  # twice the focal length, nearly twice as far


def test_smoothing_lags_and_lookahead_does_not(tmp_path: Path, walk: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(Walker, "tremble", 0.02)
    truth = np.array([project(BODY + place, guessed_camera((128, 96))) for place in WALK])
    jitter, lag = {}, {}
    for name, how in (("raw", {"smooth": False}), ("smooth", {}), ("ahead", {"lookahead": 4})):
        seen: list[int] = []
        poses: list[Pose] = []
        track(
            Path("walker.onnx"),
            walk,
            seen=lambda i, p, seen=seen, poses=poses: (seen.append(i), poses.append(p)),
            fit=False,
            **how,
        )
        assert seen == list(range(40))
        xy = np.array([p.xy[0] for p in poses])
        jitter[name] = np.abs(np.diff([p.xyz[0] for p in poses], 2, axis=0)).mean()
        lag[name] = (truth - xy)[10:35, :, 0].mean() / np.diff(truth[:, 0, 0]).mean()
    assert jitter["raw"] > 3 * jitter["smooth"] > 3 * jitter["ahead"]
    assert 0.3 < lag["smooth"] < 2
    assert abs(lag["ahead"]) < 0.3


def lengths(poses: list[Pose]) -> np.ndarray:
    """(T, 14) the bones of the one person."""
    xyz = np.array([pose.xyz[0] for pose in poses], np.float64)
    return np.array(
        [np.linalg.norm(xyz[:, child] - xyz[:, parent], axis=-1) for child, parent in MOVNECT15.bones]
    ).T


def test_lookahead_measures_all_bodies_first(tmp_path: Path, walk: Path, monkeypatch: pytest.MonkeyPatch):
    """Then bones have one length from the first frame on, and the network is asked no more often; without it
    they grow, by a hundredth a frame at most.
    """
    monkeypatch.setattr(Walker, "tremble", 0.02)
    asked, plain = [], Walker.__call__
    monkeypatch.setattr(
        Walker,
        "__call__",
        lambda self, image, boxes=None: (asked.append(shown(image)), plain(self, image, boxes))[1],
    )
    spread, calls = {}, {}
    for name, how in (("once", {}), ("twice", {"lookahead": 3})):
        asked.clear()
        poses: list[Pose] = []
        track(
            Path("walker.onnx"),
            walk,
            tmp_path / "drawn.mp4",
            seen=lambda i, p, poses=poses: poses.append(p),
            **how,
        )
        calls[name], found = list(asked), lengths(poses)
        spread[name] = np.ptp(found, axis=0) / found[0]
        assert len(found) == 40
        assert np.abs(np.diff(found, axis=0) / found[:-1]).max() < 0.01 + 1e-5
    assert spread["twice"].max() < 1e-5
    assert spread["once"].max() > 0.01
    assert calls["once"] == calls["twice"]
    drawn = [image for _, _, image in frames(tmp_path / "drawn.mp4")]
    # Each pose on its own image; the second encoding darkens once more.
    np.testing.assert_allclose([shown(image[:8, :8]) for image in drawn], np.arange(40), atol=1)


def test_the_height_scales_the_body_and_its_distance(tmp_path: Path, walk: Path):
    for name, height in (("a", 1.7), ("b", 1.87)):
        track(Path("walker.onnx"), walk, json=tmp_path / name, height=height)
    a, b = (lines(tmp_path / name)[-1] for name in "ab")
    np.testing.assert_allclose(
        np.ptp(b["xyz"][0], axis=0)[1] / np.ptp(a["xyz"][0], axis=0)[1], 1.1, rtol=0.01
    )
    np.testing.assert_allclose(b["position"][0][2] / a["position"][0][2], 1.1, rtol=0.02)


def test_joints_that_the_body_does_not_have_stay_with_their_neighbours(
    tmp_path: Path, walk: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(Walker, "skeleton", VNECT21)
    track(Path("walker.onnx"), walk, json=tmp_path / "poses.json", height=2.0)
    xyz = np.array(lines(tmp_path / "poses.json")[-1]["xyz"][0])
    raw = MOVNECT15.to(VNECT21).joints(BODY)
    hand, wrist = VNECT21.index("left_hand"), VNECT21.index("left_wrist")
    np.testing.assert_allclose(xyz[hand] - xyz[wrist], raw[hand] - raw[wrist], atol=0.01)
    assert np.linalg.norm(xyz[wrist] - raw[wrist]) > 0.02


def test_a_person_lost_and_found_a_cut_and_nan_through_everything(
    tmp_path: Path, walk: Path, monkeypatch: pytest.MonkeyPatch
):
    """Ten frames of NaN, then a second without anyone, with all stages on: lines of numbers alone, and ids
    that are kept or new.
    """
    plain = Walker.__call__

    def trouble(self, image, boxes=None):
        pose = plain(self, image, boxes)
        index = shown(image)
        if 5 <= index < 9:
            return Pose(pose.xy * np.nan, pose.score * np.nan, pose.skeleton, pose.xyz * np.nan)
        if 12 <= index < 22:
            pose.xy[:, 4], pose.xyz[:, 4] = np.nan, np.inf
        return pose

    monkeypatch.setattr(Walker, "__call__", trouble)
    for how in ({}, {"lookahead": 3}, {"fit": False}, {"smooth": False}):
        track(Path("walker.onnx"), walk, tmp_path / "drawn.mp4", json=tmp_path / "poses.json", **how)
        rows = lines(tmp_path / "poses.json")
        assert [row["ids"] for row in rows] == [[0]] * 5 + [[]] * 4 + [[0]] * 31
        assert [row["score"][0][4] == 0 for row in rows[9:]] == [False] * 3 + [True] * 10 + [False] * 18
        # The wrist that is not seen stays with the body, which moves by 0.02 m a frame: it is never half a
        # metre from where it is.
        assert max(np.linalg.norm(np.array(row["xyz"][0][4]) - BODY[4]) for row in rows[9:]) < 0.5


def test_a_damaged_video_is_reported_once(tmp_path: Path, walk: Path, monkeypatch: pytest.MonkeyPatch):
    """Also where its images are read a second time."""

    def hurt(source: Path, tell=lambda note: None):
        yield from frames(source)
        tell(f"{source}: 3 of 43 frames are damaged and were left out")

    monkeypatch.setattr("poseling.runtime.pipeline.frames", hurt)
    for lookahead in (0, 4):
        found = track(Path("walker.onnx"), walk, json=tmp_path / "poses.json", lookahead=lookahead)
        assert found.notes == (f"{walk}: 3 of 43 frames are damaged and were left out",)
        assert [row["frame"] for row in lines(tmp_path / "poses.json")] == list(range(40))


def test_images_have_positions_but_no_filter_and_no_body(
    tmp_path: Path, walk: Path, monkeypatch: pytest.MonkeyPatch
):
    (tmp_path / "in").mkdir()
    for i in (0, 30):
        cv2.imwrite(str(tmp_path / "in" / f"{i:02}.png"), np.full((96, 128, 3), 30 + 5 * i, np.uint8))
    found = track(Path("walker.onnx"), tmp_path / "in", tmp_path / "out", json=tmp_path / "poses.json")
    rows = lines(tmp_path / "poses.json")
    assert [(row["ids"], row["rotations"], row["seconds"]) for row in rows] == [([0], None, None)] * 2
    np.testing.assert_allclose([row["position"][0] for row in rows], [WALK[0], WALK[30]], atol=0.01)
    assert cv2.imread(str(found.drawn / "30.png")).shape == (96, 200, 3)
    monkeypatch.setattr(
        Walker,
        "__call__",
        lambda self, image, boxes=None: Pose(
            np.full((1, 15, 2), np.nan), np.ones((1, 15)), MOVNECT15, np.zeros((1, 15, 3))
        ),
    )
    track(Path("walker.onnx"), tmp_path / "in", tmp_path / "out", json=tmp_path / "poses.json")
    row = lines(tmp_path / "poses.json")[0]
    assert (row["position"], row["xy"][0][0], set(row["score"][0])) == ([None], [63.5, 47.5], {0.0})


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ({"lookahead": 3, "smooth": False}, "--lookahead smooths a video"),
        ({"height": 1.8, "fit": False}, "--height is for the body that is fitted"),
        ({"lookahead": -1}, "lookahead is -1"),
        ({"camera": (0, 500, 1, 1)}, "--camera 0 500 1 1 is not a camera; give FX FY CX CY"),
        ({"height": 180}, "height of 180"),
    ],
)
def test_conflicting_flags_are_errors_before_anything_is_written(
    tmp_path: Path, walk: Path, how: dict, message: str
):
    with pytest.raises(ValueError, match=message):
        track(Path("walker.onnx"), walk, tmp_path / "drawn.mp4", json=tmp_path / "poses.json", **how)
    assert not (tmp_path / "drawn.mp4").exists()


def test_height_needs_a_3d_network(tmp_path: Path, walk: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(Walker, "outputs", ("xy", "score"))
    with pytest.raises(
        ValueError, match=r"--height needs a 3D network; the outputs of walker\.onnx are xy, score"
    ):
        track(Path("walker.onnx"), walk, height=1.8)
    track(Path("walker.onnx"), walk, json=tmp_path / "poses.json")
    assert [(row["xyz"], row["position"], row["camera"]) for row in lines(tmp_path / "poses.json")] == [
        (None, None, None)
    ] * 40


def test_an_off_centre_person_is_turned_into_the_cameras_axes():
    """A network sees an upright person straight; at the image's edge, 45 degrees to the right, the person's
    own axes are turned by as much, and the root comes out where it is.
    """
    camera = np.array([500.0, 500.0, 320.0, 240.0])
    joints = np.array([[-0.2, -0.5, 0.1], [0.2, -0.5, -0.1], [-0.1, 0.5, 0.0], [0.1, 0.5, 0.0]])
    root = np.array([4.0, 0.0, 4.0])
    turn = np.array([[1, 0, 1], [0, np.sqrt(2), 0], [-1, 0, 1]]) / np.sqrt(2)  # 45 degrees about y
    true = joints @ turn.T  # in the camera's axes
    at = true + root
    xy = at[:, :2] / at[:, 2:] * 500 + [320, 240]
    four = Skeleton("four", ("left_shoulder", "right_shoulder", "left_hip", "right_hip"), (2, 3, 2, 3))
    pose = Pose(xy[None], np.ones((1, 4)), four, joints[None])
    found = faced(pose, camera)
    # The box's middle is not quite the root's pixel.
    np.testing.assert_allclose(found.xyz[0], true, atol=0.01)
    placed_there = position(found.xyz[0], xy, np.ones(4), camera)
    np.testing.assert_allclose(placed_there, root, atol=0.15)
    assert np.abs(joints - true).max() > 0.1  # without it
    nobody = Pose(xy[None], np.zeros((1, 4)), four, joints[None])
    np.testing.assert_array_equal(faced(nobody, camera).xyz, nobody.xyz)
    assert faced(pose, None) is pose
