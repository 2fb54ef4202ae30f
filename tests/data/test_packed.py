"""Packed sets: what goes in comes out, in the pixels of the packed images."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from poseling.data import sets
from poseling.data.dataset import PoseDataset
from poseling.data.packed import REACH, pack, packed, relabel
from poseling.files import read_image
from poseling.geometry import Crop, project
from poseling.skeleton import LSP14, Skeleton

BODY = Skeleton("body", ("pelvis", "left_hand", "right_hand"), (0, 0, 0))


@pytest.fixture
def dataset(tmp_path: Path) -> PoseDataset:
    """Four people in soft images; the third one's file is cut."""
    random, paths = np.random.default_rng(2), tuple(tmp_path / f"{i}.png" for i in range(4))
    for path in paths:
        soft = cv2.resize(
            random.integers(30, 226, (4, 5, 3), np.uint8), (160, 120), interpolation=cv2.INTER_CUBIC
        )
        cv2.imwrite(str(path), soft)
    paths[2].write_bytes(b"no image")
    joints = random.uniform((50, 30), (100, 80), (4, 3, 2)).astype(np.float32)
    visible = np.array([[2, 2, 2], [2, 1, 0], [2, 2, 2], [0, 2, 2]], np.uint8)
    weight = random.random((4, 3)).astype(np.float32)
    return PoseDataset(
        "four",
        BODY,
        paths,
        np.tile(np.float32([40, 20, 110, 100]), (4, 1)),
        joints,
        visible,
        licence="CC0",
        weight=weight,
    )


def test_there_and_back(dataset: PoseDataset, tmp_path: Path):
    told: list[int] = []
    found = pack(dataset, tmp_path / "out", 128, 95, lambda done, total: told.append(done))
    assert (found.name, found.skeleton, found.licence, len(found)) == ("four", BODY, "CC0", 3)
    assert told == [1, 2, 4]
    for row, i in enumerate((0, 1, 3)):
        crop = Crop.from_box(dataset.boxes[i], (128, 128), REACH)
        known = dataset.visible[i] > 0
        np.testing.assert_allclose(found.joints[row][known], crop.apply(dataset.joints[i])[known], atol=1e-4)
        np.testing.assert_allclose(
            found.boxes[row], crop.apply(dataset.boxes[i].reshape(2, 2)).ravel(), atol=1e-4
        )
        assert found.visible[row].tolist() == dataset.visible[i].tolist()
        np.testing.assert_array_equal(found.weight[row], dataset.weight[i])
        image = read_image(found.images[row])
        assert image.shape == (128, 128, 3)
        assert np.abs(image.astype(int) - crop.warp(read_image(dataset.images[i]))).mean() < 3
    # A box of 70 x 80 shows as 1 / 1.6 of the longer side: 127 / 1.6 = 79.4 pixels high.
    assert found.boxes[0, 3] - found.boxes[0, 1] == pytest.approx(127 / 1.6, abs=1e-3)


def test_joints_in_space_stay_and_the_camera_moves_with_the_pixels(dataset: PoseDataset, tmp_path: Path):
    random = np.random.default_rng(3)
    xyz = random.normal(size=(4, 3, 3)).astype(np.float32) + np.float32([0, 0, 5])
    camera = np.tile(np.float32([200, 210, 80, 60]), (4, 1))
    camera[3] = np.nan  # not known of the last
    joints = np.stack([project(body, np.float32([200, 210, 80, 60])) for body in xyz])
    confidence = random.random((4, 3)).astype(np.float32)
    seen = replace(dataset, joints=joints, joints_3d=xyz, camera=camera, confidence_3d=confidence)
    found = pack(seen, tmp_path / "out", 128)
    kept = [0, 1, 3]
    np.testing.assert_array_equal(found.joints_3d, xyz[kept])
    np.testing.assert_array_equal(found.confidence_3d, confidence[kept])
    assert np.isnan(found.camera[2]).all()
    for row in (0, 1):  # in the packed image's pixels too the joints are where the camera sees them
        known = found.visible[row] > 0
        again = project(found.joints_3d[row], found.camera[row])
        np.testing.assert_allclose(again[known], found.joints[row][known], atol=1e-3)


def test_without_weights_there_are_none(dataset: PoseDataset, tmp_path: Path):
    assert pack(replace(dataset, weight=None), tmp_path / "out", 64).weight is None


def test_other_labels_for_the_same_images(dataset: PoseDataset, tmp_path: Path):
    first = pack(dataset, tmp_path / "a" / "first", 64)
    other = replace(
        first,
        weight=np.full((3, 3), 0.5, np.float32),
        visible=np.full((3, 3), 2, np.uint8),
        joints=first.joints + 1,
    )
    found = relabel(other, tmp_path / "b" / "second")
    assert not (tmp_path / "b" / "second" / "images").exists()
    assert [p.resolve() for p in found.images] == [p.resolve() for p in first.images]
    np.testing.assert_array_equal(found.joints, other.joints)
    assert (found.weight == 0.5).all()
    with pytest.raises(ValueError, match="second: is there already; name a new folder"):
        relabel(other, tmp_path / "b" / "second")
    for rows in ([0, 1], [2, 1, 0]):
        with pytest.raises(ValueError, match=r"its samples are not all those of .*first in their order"):
            relabel(other[rows], tmp_path / "b" / "third")
    assert not (tmp_path / "b" / "third").exists()


def test_who_lost_the_image_is_left_out_with_the_weight(dataset: PoseDataset, tmp_path: Path):
    first = pack(dataset, tmp_path / "out", 64)
    first.images[1].unlink()
    found = packed(tmp_path / "out")
    assert [p.stem for p in found.images] == ["000000", "000002"]
    np.testing.assert_array_equal(found.weight, first.weight[[0, 2]])
    assert [finding.kind for finding in found.findings] == ["missing image"]


def test_a_set_by_name(dataset: PoseDataset, tmp_path: Path):
    for part in ("train", "val"):
        pack(dataset, tmp_path / "set" / part, 64)
    split = sets.load("packed", tmp_path / "set")
    assert [(name, len(p)) for name, p in split.parts] == [("train", 3), ("val", 3)]
    assert [(name, len(p)) for name, p in sets.load("packed", tmp_path / "set" / "val").parts] == [
        ("train", 3)
    ]


def test_a_zoo_skeleton_stays_itself(dataset: PoseDataset, tmp_path: Path):
    lsp = replace(
        dataset,
        skeleton=LSP14,
        joints=np.ones((4, 14, 2), np.float32),
        visible=np.ones((4, 14), np.uint8),
        weight=None,
    )
    assert pack(lsp, tmp_path / "out", 64).skeleton == LSP14


def test_errors_name_the_file(dataset: PoseDataset, tmp_path: Path):
    out = tmp_path / "out"
    with pytest.raises(FileNotFoundError, match=r"out/people\.json: not found"):
        packed(out)
    with pytest.raises(ValueError, match="four: none of its 1 images can be read"):
        pack(dataset[2:3], out, 64)
    assert not out.exists()
    pack(dataset, out, 64)
    with pytest.raises(ValueError, match="out: is there already; name a new folder"):
        pack(dataset, out, 64)
    whole, arrays = (out / "people.json").read_text(), (out / "people.npz").read_bytes()
    for text, message in (
        (whole[:40], "is no whole JSON file"),
        ("[]", "does not describe a packed set"),
        (json.dumps({"version": 1}), "does not describe a packed set"),
        (whole.replace('"version": 1', '"version": 2'), "is of version 2, this program reads 1"),
    ):
        (out / "people.json").write_text(text)
        with pytest.raises(ValueError, match=rf"people\.json: {message}"):
            packed(out)
    (out / "people.json").write_text(whole)
    for how, message in (
        ({"size": 0}, "--size 0"),
        ({"size": 5000}, "--size 5000"),
        ({"quality": 101}, "--quality"),
    ):
        with pytest.raises(ValueError, match=message):
            pack(dataset, tmp_path / "new", **{"size": 64, **how})
    for data in (b"", arrays[:100], b"nothing of the kind"):
        (out / "people.npz").write_bytes(data)
        with pytest.raises(ValueError, match=r"people\.npz: is no whole npz"):
            packed(out)
