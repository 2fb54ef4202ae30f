"""Human3.6M in the layouts of mmpose and VideoPose3D."""

from __future__ import annotations

import pickle
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from poseling.data.dataset import PoseDataset
from poseling.data.h36m import ACTIONS, MOVING, actions, h36m
from poseling.data.sets import load
from poseling.geometry import project, project_distorted
from poseling.skeleton import H36M17

XYZ = np.random.default_rng(0).uniform([-0.5, -0.8, 4], [0.5, 0.8, 5], (17, 3))
# A camera two metres up and five away from the room's middle (z up), which looks along the room's y.
CAMERA = {
    "R": np.array([[1.0, 0, 0], [0, 0, 1], [0, -1, 0]]),
    "T": np.array([[0.0], [-5], [2]]),
    "f": np.array([[1000.0], [1100]]),
    "c": np.array([[500.0], [510]]),
    "k": np.zeros((3, 1)),
    "p": np.zeros((2, 1)),
    "name": "camera1",
    "w": 1000,
}
LENS = np.array([1000, 1100, 500, 510])


def name(subject="S1", action="Directions_1", camera="54138969", frame=1):
    clip = f"{subject}_{action}.{camera}"
    return f"{subject}/{clip}/{clip}_{frame:06d}.jpg"


def write(root, names, split="train", xyz=XYZ, rate="fps10", images=True, **more):
    """mmpose's layout."""
    folder = root / "annotation_body3d" / rate
    folder.mkdir(parents=True, exist_ok=True)
    space = np.concatenate([np.broadcast_to(xyz, (len(names), 17, 3)), np.ones((len(names), 17, 1))], -1)
    part = np.concatenate(
        [np.broadcast_to(project(XYZ, LENS), (len(names), 17, 2)), np.ones((len(names), 17, 1))], -1
    )
    fields = {
        "imgname": np.array(names),
        "center": np.zeros((len(names), 2)),
        "scale": np.ones(len(names)),
        "part": part,
        "S": space,
        **more,
    }
    np.savez(folder / f"h36m_{split}.npz", **fields)
    cameras(folder.parent / "cameras.pkl")
    for one in names if images else ():
        image(root / "images" / one)
    return folder / f"h36m_{split}.npz"


def cameras(path, **more):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(pickle.dumps({(s, "54138969"): {**CAMERA, **more} for s in ("S1", "S9")}))


def image(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), np.zeros((4, 4, 3), np.uint8))


def test_labels_of_mmpose(tmp_path):
    write(tmp_path, [name(), name(frame=6)])
    write(tmp_path, [name("S9", "WalkDog")], "test")
    dataset = h36m(tmp_path, "train")
    assert (len(dataset), dataset.skeleton, dataset.findings) == (2, H36M17, ())
    np.testing.assert_allclose(dataset.joints_3d[1], XYZ, rtol=1e-6)
    np.testing.assert_allclose(dataset.camera, np.broadcast_to(LENS, (2, 4)))
    np.testing.assert_allclose(project(dataset.joints_3d[0], dataset.camera[0]), dataset.joints[0], atol=1e-3)
    assert (dataset.visible == 2).all()
    np.testing.assert_allclose(dataset.boxes[0], [*dataset.joints[0].min(0), *dataset.joints[0].max(0)])
    split = load("h36m", tmp_path)
    assert [(part, len(p)) for part, p in split.parts] == [("train", 2), ("test", 1)]
    assert actions(split.test) == ("WalkDog",)


def test_ten_frames_a_second_come_first(tmp_path):
    write(tmp_path, [name(frame=f) for f in (1, 2, 3)], rate="fps50")
    assert len(h36m(tmp_path)) == 3
    write(tmp_path, [name()], rate="fps10")
    assert len(h36m(tmp_path)) == 1


def test_a_file_alone_is_split_by_its_subjects(tmp_path):
    path = write(tmp_path, [name("S1"), name("S9"), name("S1", frame=2)])
    split = load("h36m", path)
    assert (len(split.train), len(split.test)) == (2, 1)
    assert load("h36m", write(tmp_path, [name("S1")])).test is None


def test_root_relative_joints_are_left_out(tmp_path):
    write(tmp_path, [name()], xyz=XYZ - XYZ[:1])
    dataset = h36m(tmp_path)
    assert dataset.joints_3d is None
    assert "relative to the root and not to the camera" in dataset.left_out[0]


def test_missing_cameras_are_reported(tmp_path):
    write(tmp_path, [name()])
    (tmp_path / "annotation_body3d/cameras.pkl").unlink()
    dataset = h36m(tmp_path)
    assert dataset.camera is None
    assert dataset.joints_3d is not None
    assert "no cameras.pkl" in dataset.left_out[0]


def test_errors_name_the_way_out(tmp_path):
    with pytest.raises(ValueError, match="no split 'valid'; use train, test"):
        h36m(tmp_path, "valid")
    with pytest.raises(
        FileNotFoundError, match=r"annotation_body3d/fps10/h36m_train\.npz, .*data_3d_h36m\.npz"
    ):
        h36m(tmp_path)
    path = write(tmp_path, [name("S5")])
    with pytest.raises(ValueError, match=r"cameras\.pkl: has no camera 54138969 of S5"):
        h36m(tmp_path)
    write(tmp_path, ["S1_one.jpg"])
    with pytest.raises(ValueError, match="named like S1_Directions_1"):
        h36m(tmp_path)
    write(tmp_path, [name()], part=np.zeros((1, 24, 3)), S=np.zeros((1, 24, 4)))
    with pytest.raises(ValueError, match="layout for body meshes"):
        h36m(tmp_path)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(ValueError, match=r"h36m_train\.npz: is no whole npz of imgname, part, S"):
        h36m(tmp_path)


def write_positions(root, clips):
    np.savez(root / "data_3d_h36m.npz", positions_3d=np.array(clips, object))


def test_joints_in_the_room_of_videopose3d(tmp_path):
    room = np.zeros((3, 32, 3), np.float32)
    # The pelvis is in the origin for two frames, then one metre to the right, two away from the camera and
    # three up. Joint 4 of the 32 is a toe that H36M17 lacks; the head top, joint 15, is a metre above the
    # others, so that there is a box.
    room[2, MOVING] = [1, 2, 3]
    room[2, 4] = [9, 9, 9]
    room[:, 15] += [0.1, 0, 1]
    write_positions(tmp_path, {"S1": {"Walking 1": room, "Photo": room}, "S9": {"Photo": room}})
    bend = {"k": np.array([[0.4], [0.0], [0]]), "p": np.array([[0.01], [0.02]])}
    cameras(tmp_path / "cameras.pkl", **bend)
    for one in (
        name(action="Walking_1", frame=3),
        name(action="TakingPhoto", frame=1),
        name(action="Walking_1", frame=4),
        name(action="Eating"),
        name("S9", "Photo"),
    ):
        image(tmp_path / "images" / one)
    dataset = h36m(tmp_path)
    assert [p.name for p in dataset.images] == [
        "S1_TakingPhoto.54138969_000001.jpg",
        "S1_Walking_1.54138969_000003.jpg",
    ]
    assert actions(dataset) == ("Photo", "Walking")
    # The camera stands at (0, -5, 2): seven metres away, one to the right, one above its axis.
    rest = np.arange(17) != H36M17.index("head_top")
    np.testing.assert_allclose(dataset.joints_3d[1, rest], np.broadcast_to([1, -1, 7], (16, 3)), atol=1e-6)
    np.testing.assert_allclose(dataset.joints_3d[0, rest], np.broadcast_to([0, 2, 5], (16, 3)), atol=1e-6)
    np.testing.assert_allclose(dataset.joints_3d[0, ~rest], [[0.1, 1, 5]], atol=1e-6)
    # x = 1/7, y = -1/7, r^2 = 2/49; the scale is 1 + 0.4 * 2/49 + 0.01 y + 0.02 x.
    scale = 1 + 0.8 / 49 + 0.01 / 7
    by_hand = [500 + 1000 * (scale / 7 + 0.02 * 2 / 49), 510 + 1100 * (-scale / 7 + 0.01 * 2 / 49)]
    np.testing.assert_allclose(dataset.joints[1, rest], np.broadcast_to(by_hand, (16, 2)), rtol=1e-6)
    assert [(f.image.name, f.message) for f in dataset.findings if f.kind == "no joints"] == [
        ("S1_Eating.54138969_000001.jpg", "data_3d_h36m.npz: no such clip; left out"),
        ("S1_Walking_1.54138969_000004.jpg", "data_3d_h36m.npz: the clip has 3 frames; left out"),
    ]


def test_positions_of_another_shape_name_the_file(tmp_path):
    write_positions(tmp_path, {"S1": {"Walking 1": np.zeros((3, 25, 3))}})
    with pytest.raises(FileNotFoundError, match=r"without mmpose's cameras\.pkl"):
        h36m(tmp_path)
    cameras(tmp_path / "cameras.pkl")
    with pytest.raises(ValueError, match=r"data_3d_h36m\.npz: S1, Walking 1 has shape \(3, 25, 3\)"):
        h36m(tmp_path)
    write_positions(tmp_path, [1, 2])
    with pytest.raises(ValueError, match=r"data_3d_h36m\.npz"):
        h36m(tmp_path)
    write_positions(tmp_path, {"S1": {"Walking 1": np.zeros((3, 32, 3))}})
    with pytest.raises(FileNotFoundError, match="no image of S1, S5"):
        h36m(tmp_path)


def test_actions_are_fifteen_and_a_strange_one_is_named():
    assert len(set(ACTIONS)) == 15
    one = np.zeros((1, 17, 2), np.float32)
    dataset = PoseDataset(
        "h36m",
        H36M17,
        (Path("S1_Flying_1.54138969_000001.jpg"),),
        np.zeros((1, 4), np.float32),
        one,
        np.ones((1, 17), np.uint8),
    )
    with pytest.raises(ValueError, match="no action Flying; there are Directions"):
        actions(dataset)


@given(st.integers(0, 2**31))
def test_the_bent_lens_without_its_tangential_part_is_opencvs(seed):
    random = np.random.default_rng(seed)
    xyz = random.uniform([-1, -1, 3], [1, 1, 6], (5, 3))
    radial = random.uniform(-0.2, 0.2, 3)
    expected, _ = cv2.projectPoints(
        xyz,
        np.zeros(3),
        np.zeros(3),
        np.array([[1100.0, 0, 510], [0, 1150, 505], [0, 0, 1]]),
        np.array([*radial[:2], 0, 0, radial[2]]),
    )
    np.testing.assert_allclose(
        project_distorted(xyz, np.array([1100, 1150, 510, 505]), radial, np.zeros(2)),
        expected[:, 0],
        atol=1e-3,
    )


def test_a_straight_lens_is_the_pinhole():
    camera = np.array([1000.0, 1100, 500, 510])
    np.testing.assert_array_equal(
        project_distorted(XYZ, camera, np.zeros(3), np.zeros(2)), project(XYZ, camera)
    )


@pytest.mark.shared
def test_real_people(shared):
    """The labels are the 3D joints projected with the lens's distortion, to the last digit; the pinhole is near."""
    from poseling.data.mmpose import lens, read_cameras

    folder = shared / "data/fixtures/h36m"
    dataset = h36m(folder / "test_h36m_body3d.npz")
    assert dataset.findings == ()
    assert actions(dataset) == ("Directions", "SittingDown", "Greeting", "WalkDog")
    known = read_cameras(folder / "cameras.pkl")
    assert len(known) == 44
    for camera in (
        known.values()
    ):  # R is a rotation, to the room: cameras stand 1 to 2 metres up and look at its middle
        turn = camera["R"].reshape(3, 3)
        np.testing.assert_allclose(turn @ turn.T, np.eye(3), atol=1e-9)
        away = -camera["T"] @ turn
        assert 1 < camera["T"][2] < 2
        assert away[2] > 4
        assert np.abs(away[:2]).max() < 0.5 * away[2]
    for image, xyz, own, joints in zip(
        dataset.images, dataset.joints_3d, dataset.camera, dataset.joints, strict=True
    ):
        subject, _, rest = image.stem.partition("_")
        camera = known[subject, rest.split(".")[1].split("_")[0]]
        np.testing.assert_allclose(
            project_distorted(xyz, lens(camera), camera["k"], camera["p"]), joints, atol=2e-4
        )
        assert np.linalg.norm(project(xyz, own) - joints, axis=-1).max() < 4
    assert (np.linalg.norm(dataset.joints_3d[:, 2] - dataset.joints_3d[:, 1], axis=-1) > 0.4).all()  # thighs


@pytest.mark.shared
def test_real_people_from_the_room(shared, tmp_path):
    """VideoPose3D's file, made of the same people: the camera's joints into the room by the inverse of the
    cameras, and back.
    """
    from poseling.data.mmpose import read_cameras

    folder = shared / "data/fixtures/h36m"
    known = read_cameras(folder / "cameras.pkl")
    dataset = h36m(folder / "test_h36m_body3d.npz")
    one = dataset.images[2]  # S7, whose frame is 396
    camera = known["S7", "55011271"]
    room = np.zeros((400, 32, 3))
    room[395, MOVING] = dataset.joints_3d[2] @ camera["R"].reshape(3, 3).T + camera["T"]
    assert 0.7 < room[395, 0, 2] < 1.1  # a pelvis stands a metre above the floor
    assert 0 <= room[395, [3, 8], 2].min() < 0.2  # and feet on it
    write_positions(tmp_path, {"S7": {"Greeting": room}})
    (tmp_path / "cameras.pkl").write_bytes((folder / "cameras.pkl").read_bytes())
    image(tmp_path / "images" / one.name)
    again = h36m(tmp_path)
    np.testing.assert_allclose(again.joints_3d[0], dataset.joints_3d[2], atol=1e-5)
    np.testing.assert_allclose(again.joints[0], dataset.joints[2], atol=2e-3)
