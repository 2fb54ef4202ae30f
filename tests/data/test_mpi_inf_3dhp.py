"""MPI-INF-3DHP in mmpose's layout."""

from __future__ import annotations

import pickle

import cv2
import numpy as np
import pytest

from poseling.data.mpi_inf_3dhp import mpi_inf_3dhp
from poseling.data.sets import load
from poseling.geometry import project
from poseling.skeleton import H36M17, MPI3DHP17, VNECT21

XYZ = np.random.default_rng(0).uniform([-0.5, -0.5, 4], [0.5, 0.5, 5], (17, 3))
LENS = np.array([1500.0, 1500, 1000, 500])


def write(root, names, split, xyz=XYZ, **more):
    folder = root / "annotations"
    folder.mkdir(exist_ok=True)
    (root / "images").mkdir(exist_ok=True)
    space = np.concatenate([np.broadcast_to(xyz, (len(names), 17, 3)), np.ones((len(names), 17, 1))], -1)
    part = np.concatenate([project(space[..., :3], LENS), np.ones((len(names), 17, 1))], -1)
    file = folder / f"mpi_inf_3dhp_{'train' if split == 'train' else 'test_valid'}.npz"
    np.savez(file, **{"imgname": np.array(names), "part": part, "S": space, **more})
    camera = {
        "f": LENS[:2, None],
        "c": LENS[2:, None],
        "w": 1920,
        "h": 1080 if split == "test" else 204.0,
        "name": split,
    }
    (folder / f"cameras_{split}.pkl").write_bytes(
        pickle.dumps({name.rpartition("_")[0]: camera for name in names})
    )
    for name in names:
        cv2.imwrite(str(root / "images" / name), np.zeros((4, 4, 3), np.uint8))
    return file


def test_two_parts(tmp_path):
    write(tmp_path, ["S1_Seq1_Cam0_000001.jpg", "S8_Seq2_Cam8_000002.jpg"], "train")
    write(tmp_path, ["TS1_000007.jpg"], "test")
    split = load("mpi_inf_3dhp", tmp_path)
    assert [(part, len(p)) for part, p in split.parts] == [("train", 2), ("test", 1)]
    for _, dataset in split.parts:
        assert (dataset.skeleton, dataset.findings) == (MPI3DHP17, ())
        np.testing.assert_allclose(dataset.joints_3d[0], XYZ, rtol=1e-6)
        np.testing.assert_allclose(dataset.camera[0], LENS)
        np.testing.assert_allclose(
            project(dataset.joints_3d[0], dataset.camera[0]), dataset.joints[0], atol=1e-3
        )


def test_joints_outside_the_image_are_unlabelled_but_in_space(tmp_path):
    xyz = XYZ.copy()
    xyz[3] = [0, 2, 5]  # at 1000, 1100: inside a square of 2048, below an image of 1920 x 1080
    xyz[5] = [-4, 0, 5]  # at -200, 500
    write(tmp_path, ["S1_Seq1_Cam0_000001.jpg"], "train", xyz)
    write(tmp_path, ["TS5_000001.jpg"], "test", xyz)
    train, test = (mpi_inf_3dhp(tmp_path, part) for part in ("train", "test"))
    assert np.flatnonzero(train.visible[0] == 0).tolist() == [5]
    assert np.flatnonzero(test.visible[0] == 0).tolist() == [3, 5]
    assert test.joints[0, 3].tolist() == [0, 0]
    assert test.joints_3d[0, 3].tolist() == [0, 2, 5]
    np.testing.assert_allclose(
        test.boxes[0], [-200, project(xyz, LENS)[:, 1].min(), project(xyz, LENS)[:, 0].max(), 1100], rtol=1e-6
    )


def test_a_file_alone_is_one_part(tmp_path):
    split = load("mpi_inf_3dhp", write(tmp_path, ["TS1_000007.jpg"], "test"))
    assert len(split.test) == 1
    with pytest.raises(
        ValueError,
        match="mpi_inf_3dhp has no people to train on, it was made for testing or only its test part is here",
    ):
        _ = split.train
    with pytest.raises(
        ValueError, match=r"_test_valid\.npz: none of its images is of a subject to train on or to test on"
    ):
        load("mpi_inf_3dhp", write(tmp_path, ["somebody.jpg"], "test"))


def test_missing_parts_are_reported(tmp_path):
    with pytest.raises(ValueError, match="no split 'val'; use train, test"):
        mpi_inf_3dhp(tmp_path, "val")
    with pytest.raises(FileNotFoundError, match=r"mpi_inf_3dhp_test_valid\.npz: not found"):
        mpi_inf_3dhp(tmp_path, "test")
    part = np.concatenate([project(XYZ, LENS), np.ones((17, 1))], -1)[None]
    file = write(
        tmp_path,
        ["TS1_000007.jpg"],
        "test",
        part=part,
        S=np.concatenate([XYZ - XYZ[14], np.ones((17, 1))], -1)[None],
    )
    dataset = mpi_inf_3dhp(tmp_path, "test")
    assert dataset.joints_3d is None
    assert "relative to the root and not to the camera" in dataset.left_out[0]
    (tmp_path / "annotations/cameras_test.pkl").write_bytes(
        pickle.dumps({"TS2": {"f": np.ones(2), "c": np.ones(2)}})
    )
    with pytest.raises(ValueError, match=r"cameras_test\.pkl: has no camera TS1"):
        mpi_inf_3dhp(tmp_path, "test")
    (tmp_path / "annotations/cameras_test.pkl").write_bytes(
        pickle.dumps({"TS1": {"f": np.ones(3), "c": np.ones(2)}})
    )
    with pytest.raises(ValueError, match=r"cameras_test\.pkl: camera TS1 has an entry of the wrong length"):
        mpi_inf_3dhp(tmp_path, "test")
    (tmp_path / "annotations/cameras_test.pkl").write_bytes(pickle.dumps([1]))
    with pytest.raises(ValueError, match=r"cameras_test\.pkl: is not a file of cameras"):
        mpi_inf_3dhp(tmp_path, "test")
    (tmp_path / "annotations/cameras_test.pkl").unlink()
    dataset = mpi_inf_3dhp(tmp_path, "test")
    assert dataset.camera is None
    assert any("no cameras_test.pkl" in line for line in dataset.left_out)
    file.rename(file.with_name("mpi_inf_3dhp_test_all.npz"))
    with pytest.raises(FileNotFoundError, match="does not mark the valid frames"):
        mpi_inf_3dhp(tmp_path, "test")


def test_the_order_is_the_test_sets():
    """mmpose, configs/_base_/datasets/mpi_inf_3dhp.py; `root` is the pelvis."""
    arm, leg = ("shoulder", "elbow", "wrist"), ("hip", "knee", "ankle")
    sides = [f"{side}_{joint}" for limb in (arm, leg) for side in ("right", "left") for joint in limb]
    assert MPI3DHP17.joints == ("head_top", "neck", *sides, "pelvis", "spine", "head")
    assert VNECT21.to(MPI3DHP17).known.all()
    assert H36M17.to(MPI3DHP17).known.sum() == 15  # neck and head are others


@pytest.mark.shared
def test_real_people(shared):
    folder = shared / "data/fixtures/mpi_inf_3dhp"
    both = [mpi_inf_3dhp(folder / f"test_3dhp_{part}.npz", part) for part in ("train", "test")]
    assert [len(dataset) for dataset in both] == [2, 2]
    for dataset in both:
        assert dataset.findings == ()
        for xyz, camera, joints, visible in zip(
            dataset.joints_3d, dataset.camera, dataset.joints, dataset.visible, strict=True
        ):
            apart = np.linalg.norm(project(xyz, camera) - joints, axis=-1)[visible > 0]
            assert apart.max() < 2.5  # of 2048
            assert apart.mean() < 0.6
        thigh = np.linalg.norm(
            dataset.joints_3d[:, MPI3DHP17.index("left_knee")]
            - dataset.joints_3d[:, MPI3DHP17.index("left_hip")],
            axis=-1,
        )
        assert ((thigh > 0.3) & (thigh < 0.6)).all()
    assert np.flatnonzero(both[1].visible[1] == 0).tolist() == [
        MPI3DHP17.index("right_wrist"),
        MPI3DHP17.index("left_wrist"),
    ]


@pytest.mark.parametrize(
    ("name", "value"), [("f", np.nan), ("f", 0.0), ("f", -1.0), ("c", np.inf), ("c", 1e39), ("w", 10**400)]
)
def test_a_camera_that_is_not_a_number_is_named(tmp_path, name, value):
    write(tmp_path, ["TS1_000001.jpg"], "test")
    path = tmp_path / "annotations" / "cameras_test.pkl"
    camera = {"f": LENS[:2].tolist(), "c": LENS[2:].tolist(), "w": 1920, "h": 1080}
    camera[name] = value if name == "w" else [value, 5.0]
    path.write_bytes(pickle.dumps({"TS1": camera}))
    with pytest.raises(
        ValueError,
        match=r"cameras_test\.pkl: (camera TS1 has an entry that is not a number|is not a file of cameras)",
    ):
        mpi_inf_3dhp(tmp_path, "test")


def test_places_beyond_float32_are_unknown(tmp_path):
    xyz = XYZ.copy()
    write(tmp_path, ["TS1_000001.jpg"], "test", xyz)
    file = tmp_path / "annotations" / "mpi_inf_3dhp_test_valid.npz"
    with np.load(file) as old:
        fields = dict(old)
    fields["S"][0, 4, :3] = 1e300
    np.savez(file, **fields)
    dataset = mpi_inf_3dhp(tmp_path, "test")
    assert dataset.joints_3d[0, 4].tolist() == [0, 0, 0]
    np.testing.assert_allclose(dataset.joints_3d[0, 5], XYZ[5], rtol=1e-6)
    assert [f.kind for f in dataset.findings] == ["3D joint is NaN"]
