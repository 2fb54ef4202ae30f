"""BVH: read back by pybvh, an independent reader, whose joints have to lie where the body's forward
kinematics put them.
"""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pybvh
import pytest
from tests.live.test_golden import CAMERA, seen, swinging

from poseling.geometry import quaternion, rotation_matrix
from poseling.live.bvh import bvh, euler, even
from poseling.live.table import Table
from poseling.live.take import Takes
from poseling.live.turns import upright
from poseling.pose import Pose
from poseling.runtime.kinematics import BONES, JOINTS, SHARES, forward
from poseling.runtime.pipeline import Frame
from poseling.skeleton import BODY19, LSP14, MOVNECT15

LENGTHS = 1.75 * np.array([SHARES[bone] for bone in BONES])
# The points that joints of the file sit in.
SEATS = {
    "neck": "neck",
    "left_shoulder": "left_shoulder",
    "left_elbow": "left_elbow",
    "right_knee": "right_knee",
    "right_hip": "right_hip",
}


def read(path: Path) -> tuple[dict[str, np.ndarray], float]:
    """(T, 3) metres of each joint, and the frames a second, as pybvh reads them."""
    clip = pybvh.read_bvh_file(path, world_up="+y")
    places = np.asarray(clip.joint_positions()) / 100
    return {name: places[:, i] for i, name in enumerate(clip.joint_names)}, float(clip.fps)


def test_pybvh_finds_the_joints_where_the_body_has_them(tmp_path: Path):
    points, turns = swinging(20)
    rotations = np.array([upright(one) for one in turns])
    places = points[:, MOVNECT15.index("pelvis")] * [1, -1, -1]
    file = tmp_path / "swing.bvh"
    file.write_text(bvh(rotations, places, LENGTHS, 30.0))
    joints, fps = read(file)
    assert fps == pytest.approx(30, abs=0.01)
    assert set(joints) == set(JOINTS)
    for t in range(20):
        body = forward(rotations[t], LENGTHS) + places[t]
        for joint, point in SEATS.items():
            assert joints[joint][t] == pytest.approx(body[MOVNECT15.index(point)], abs=2e-5), (t, joint)
    # And those are the points that the motion began with.
    assert forward(rotations[7], LENGTHS) + places[7] == pytest.approx(points[7] * [1, -1, -1], abs=1e-9)


@pytest.mark.parametrize(
    "vector", [(0.3, -1.2, 0.7), (np.pi / 2, 0, 0.4), (-np.pi / 2, 0, 0), (0, 3.1, 0), (0, 0, -3.1)]
)
def test_euler_angles_make_the_same_matrix(vector: tuple[float, float, float]):
    matrix = rotation_matrix(np.array(vector))
    z, x, y = np.deg2rad(euler(quaternion(matrix)))
    axes = [rotation_matrix(np.array(v)) for v in ((0, 0, z), (x, 0, 0), (0, y, 0))]
    assert axes[0] @ axes[1] @ axes[2] == pytest.approx(matrix, abs=1e-6)


def test_uneven_frames_become_even():
    turns = np.tile([1.0, 0, 0, 0], (3, 13, 1))
    turns[1, 0] = quaternion(rotation_matrix(np.array([0, 0.4, 0])))
    turns[2, 0] = quaternion(rotation_matrix(np.array([0, 0.8, 0])))
    places = np.array([[0.0, 0, 0], [1, 0, 0], [4, 0, 0]])
    evened, moved = even(np.array([0.0, 0.1, 0.4]), turns, places, 10.0)
    assert moved[:, 0].tolist() == pytest.approx([0, 1, 2, 3, 4])
    assert 2 * np.arccos(evened[:, 0, 0]) == pytest.approx([0, 0.4, 0.4 + 0.4 / 3, 0.4 + 0.8 / 3, 0.8])


def test_what_is_no_motion_is_refused():
    with pytest.raises(ValueError, match=r"\(T, 13, 4\)"):
        bvh(np.ones((2, 12, 4)), np.zeros((2, 3)), LENGTHS, 30)
    with pytest.raises(ValueError, match="numbers alone"):
        bvh(np.full((2, 13, 4), np.nan), np.zeros((2, 3)), LENGTHS, 30)
    with pytest.raises(ValueError, match=r"\(0, 13, 4\)"):
        bvh(np.ones((0, 13, 4)), np.zeros((0, 3)), LENGTHS, 30)


def frames(count: int = 10, people: int = 1) -> list[Frame]:
    """Frames of a person who moves as the golden one, and of another one who is seen in the first half
    only.
    """
    points, _ = swinging(count)
    xy, score = seen(points)
    picture = np.zeros((480, 640, 3), np.uint8)
    found = []
    for t in range(count):
        here = 1 if t >= count // 2 else people
        shown = np.stack([xy[t] + 20 * k for k in range(here)])
        pose = Pose(shown, np.stack([score[t]] * here), BODY19, ids=np.arange(here) + 3)
        found.append(Frame(t, t / 30, picture, pose, camera=CAMERA))
    return found


def test_a_take_of_two_people_is_two_files(tmp_path: Path):
    takes = Takes(height=1.75)
    for frame in frames(people=2):
        takes(frame)
    assert takes.lifted
    written = takes.write(tmp_path / "a.bvh")
    assert [file.name for file in written] == ["a.bvh", "a-4.bvh"]
    joints, fps = read(written[0])
    assert len(joints["pelvis"]) == 10
    assert len(read(written[1])[0]["pelvis"]) == 5
    assert fps == pytest.approx(30, abs=0.01)
    thigh = np.linalg.norm(joints["left_knee"] - joints["left_hip"], axis=-1)
    assert thigh == pytest.approx(1.75 * SHARES["thigh"], abs=1e-4)


def test_a_fitted_body_is_written_as_it_was_fitted(tmp_path: Path):
    points, turns = swinging(8)
    takes, picture = Takes(), np.zeros((480, 640, 3), np.uint8)
    pelvis = points[:, MOVNECT15.index("pelvis")]
    for t in range(8):
        pose = Pose(np.zeros((1, 15, 2)), np.ones((1, 15)), MOVNECT15, (points[t] - pelvis[t])[None])
        takes(Frame(t, t / 30, picture, pose, CAMERA, pelvis[t][None], turns[t][None], LENGTHS[None]))
    assert not takes.lifted
    (file,) = takes.write(tmp_path / "b.bvh")
    joints, _ = read(file)
    body = points * [1, -1, -1]
    away = body[:, MOVNECT15.index("left_elbow")] - body[:, MOVNECT15.index("pelvis")]
    assert joints["left_elbow"] - joints["pelvis"] == pytest.approx(away, abs=1e-4)


def test_nobody_and_pictures_have_no_motion(tmp_path: Path):
    with pytest.raises(ValueError, match="nobody was seen for 2 frames"):
        Takes().write(tmp_path / "a.bvh")
    assert not list(tmp_path.iterdir())
    still = frames(1)[0]
    with pytest.raises(ValueError, match="a picture has no motion"):
        Takes()(Frame(0, None, still.image, still.pose))


def test_a_table_has_a_row_for_each_frame_and_person(tmp_path: Path):
    path = tmp_path / "poses.csv"
    pose = Pose(np.full((2, 14, 2), 1.25), np.full((2, 14), 0.5), LSP14, np.full((2, 14, 3), -0.125))
    with Table(path) as table:
        table(Frame(0, 0.0, np.zeros((2, 2, 3), np.uint8), pose))
        table(Frame(1, 0.04, np.zeros((2, 2, 3), np.uint8), pose[0]))
    rows = list(csv.DictReader(path.open()))
    assert [(row["frame"], row["id"], row["seconds"]) for row in rows] == [
        ("0", "0", "0.000000"),
        ("0", "1", "0.000000"),
        ("1", "0", "0.040000"),
    ]
    assert {rows[0][f"neck_{what}"] for what in ("x", "score", "Z")} == {"1.250", "0.5000", "-0.1250"}
    assert len(rows[0]) == 3 + 14 * 6


def test_a_table_that_ends_badly_keeps_its_rows_and_none_is_left_of_an_empty_one(tmp_path: Path):
    pose = Pose(np.zeros((1, 14, 2)), np.zeros((1, 14)), LSP14)

    def interrupted() -> None:
        with Table(tmp_path / "a.csv") as table:
            table(Frame(0, 0.0, np.zeros((2, 2, 3), np.uint8), pose))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    with Table(tmp_path / "b.csv"):
        pass
    assert [p.name for p in tmp_path.iterdir()] == ["a.csv"]
    assert len((tmp_path / "a.csv").read_text().splitlines()) == 2
