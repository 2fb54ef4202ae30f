"""LSP and LSPET: the two layouts, the two meanings of the third row, and what is done with broken ones."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from scipy.io import savemat

from poseling.data import lsp as sets  # its `test` would be taken for a test
from poseling.data.lsp import lsp, lspet
from poseling.skeleton import LSP14


def folder(root, joints, count, digits=4, suffix=".jpg"):
    (root / "images").mkdir(parents=True)
    savemat(root / "joints.mat", {"joints": joints})
    for i in range(1, count + 1):
        cv2.imwrite(str(root / "images" / f"im{i:0{digits}d}{suffix}"), np.full((40, 50, 3), i, np.uint8))
    return root


def spread(count):
    """(count, 14, 2) whole numbers, all different."""
    return np.arange(count * 28).reshape(count, 14, 2) % 39 + 1.0


def test_lsp_third_row_is_occluded(tmp_path):
    xy = spread(2)
    joints = np.zeros((3, 14, 2))
    joints[:2] = xy.transpose(2, 1, 0)
    joints[2, 5, 1] = 1  # person 1, left ankle
    dataset = lsp(folder(tmp_path / "lsp", joints, 2))
    assert dataset.skeleton == LSP14
    np.testing.assert_array_equal(dataset.joints, xy)
    expected = np.full((2, 14), 2)
    expected[1, 5] = 1
    np.testing.assert_array_equal(dataset.visible, expected)
    np.testing.assert_array_equal(dataset.boxes[0], [*xy[0].min(0), *xy[0].max(0)])


def test_lspet_third_column_is_labelled(tmp_path):
    xy = spread(2)
    joints = np.ones((14, 3, 2))
    joints[:, :2] = xy.transpose(1, 2, 0)
    joints[3, :, 0] = [-999, -999, 0]  # person 0 has no left hip
    dataset = lspet(folder(tmp_path / "lspet", joints, 2, digits=5, suffix=".webp"))
    assert dataset.visible[0].tolist() == [2, 2, 2, 0] + [2] * 10
    assert dataset.joints[0, 3].tolist() == [0, 0]
    assert dataset.boxes[0].min() >= 1
    assert dataset.images[1].name == "im00002.webp"


def test_the_file_of_the_other_set_is_recognised(tmp_path):
    root = folder(tmp_path, np.ones((14, 3, 2)), 2)
    with pytest.raises(
        ValueError,
        match=r"joints\.mat.*\(14, 3, 2\), expected 3 x 14 x N numbers; this looks like the other of LSP and LSPET",
    ):
        lsp(root)


@pytest.mark.parametrize(
    "content", [{"joints": np.ones((3, 13, 2))}, {"joints": np.ones((3, 14))}, {"other": np.ones((3, 14, 2))}]
)
def test_a_mat_of_the_wrong_shape_names_the_file(tmp_path, content):
    savemat(tmp_path / "joints.mat", content)
    with pytest.raises(ValueError, match=r"joints\.mat"):
        lsp(tmp_path)


def test_a_bad_mat_file_is_named(tmp_path):
    (tmp_path / "joints.mat").write_bytes(b"nothing of the kind")
    with pytest.raises(ValueError, match=r"joints\.mat"):
        lsp(tmp_path)
    savemat(
        tmp_path / "joints.mat", {"joints": np.random.default_rng(0).random((3, 14, 9))}, do_compression=True
    )
    whole = (tmp_path / "joints.mat").read_bytes()
    for length in (100, 140, len(whole) // 2, len(whole) - 3):
        (tmp_path / "joints.mat").write_bytes(whole[:length])
        with pytest.raises(ValueError, match=r"joints\.mat"):
            lsp(tmp_path)
    (tmp_path / "joints.mat").unlink()
    with pytest.raises(FileNotFoundError, match=r"joints\.mat: not found"):
        lsp(tmp_path)


def test_missing_images_and_nan_joints_are_told_one_by_one(tmp_path):
    joints = np.zeros((3, 14, 4))
    joints[:2] = spread(4).transpose(2, 1, 0)
    joints[0, 13, 0] = np.nan
    root = folder(tmp_path, joints, 4)
    for gone in (2, 4):
        (root / "images" / f"im{gone:04d}.jpg").unlink()
    dataset = lsp(root)
    assert [p.name for p in dataset.images] == ["im0001.jpg", "im0003.jpg"]
    assert dataset.visible[0].tolist() == [2] * 13 + [0]
    assert [(f.kind, f.image.name, f.person) for f in dataset.findings] == [
        ("joint is NaN", "im0001.jpg", 0),
        ("missing image", "im0002.jpg", 1),
        ("missing image", "im0004.jpg", 3),
    ]
    assert "head_top" in dataset.findings[0].message
    assert dataset.left_out[1].startswith("lsp: 2 x missing image, the first in ")


def test_no_image_at_all_is_an_error(tmp_path):
    savemat(tmp_path / "joints.mat", {"joints": np.ones((3, 14, 2))})
    with pytest.raises(FileNotFoundError, match=r"none of its 2 images.*im0001\.jpg"):
        lsp(tmp_path)


@pytest.mark.shared
def test_the_real_ones(shared):
    root = shared / "data"
    assert len(lspet(root / "lspet")) == 9991
    parts = [sets.train(root), sets.val(root), sets.test(root)]
    assert [(len(p), p.images[0].stem, p.images[-1].stem) for p in parts] == [
        (850, "im0001", "im0850"),
        (150, "im0851", "im1000"),
        (1000, "im1001", "im2000"),
    ]
    dataset = parts[2]
    # LSP's authors give every joint a place, seen or not.
    assert (dataset.visible > 0).all()
    assert dataset.left_out == ()
