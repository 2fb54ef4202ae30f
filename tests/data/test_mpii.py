"""MPII: the JSON and the official MATLAB struct, with the traps of both."""

from __future__ import annotations

import json

import cv2
import numpy as np
import pytest
from scipy.io import savemat

from poseling.data.mpii import OFFICIAL, from_json, from_mat, mpii
from poseling.skeleton import MPII16


def images(folder, *names):
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        cv2.imwrite(str(folder / name), np.zeros((30, 40, 3), np.uint8))


def row(image, offset=0.0, **more):
    joints = [[10.0 + k + offset, 20.0 + 2 * k] for k in range(16)]
    return {
        "image": image,
        "joints": joints,
        "joints_vis": [1] * 16,
        "center": [101.0, 51.0],
        "scale": 0.5,
        **more,
    }


@pytest.fixture
def root(tmp_path):
    """Two training people and one for validation, in HRNet's layout."""
    images(tmp_path / "images", "a.jpg", "b.jpg", "c.jpg")
    hidden = row("b.jpg")
    hidden["joints"][3], hidden["joints_vis"][3] = [-1.0, -1.0], 0
    (tmp_path / "annot").mkdir()
    (tmp_path / "annot/train.json").write_text(json.dumps([row("a.jpg"), hidden]))
    (tmp_path / "annot/valid.json").write_text(json.dumps([row("c.jpg", 5)]))
    return tmp_path


def test_json_counts_from_one_and_minus_one_is_unlabelled(root):
    dataset = mpii(root, "train")
    assert dataset.skeleton == MPII16
    assert dataset.joints[0, 0].tolist() == [9, 19]
    assert dataset.visible[1].tolist() == [2, 2, 2, 0] + [2] * 12
    assert dataset.joints[1, 3].tolist() == [0, 0]
    assert dataset.head_size is None


def test_box_is_the_square_of_200_scales_moved_down_by_15(root):
    # Centre 101, 51 counts from 1: 100, 50. Scale 0.5: half a side is 50, moved down by 7.5.
    assert mpii(root, "train").boxes[0].tolist() == [50, 7.5, 150, 107.5]


def test_a_person_without_centre_gets_the_box_of_its_joints(root):
    (root / "annot/valid.json").write_text(json.dumps([row("c.jpg", center=[-1.0, -1.0], scale=-1.0)]))
    assert mpii(root, "valid").boxes[0].tolist() == [9, 19, 24, 49]


def test_trainval_is_both(root):
    assert [p.name for p in mpii(root, "trainval").images] == ["a.jpg", "b.jpg", "c.jpg"]


def ground_truth(root, joints):
    boxes = np.zeros((2, 2, 1))
    boxes[:, :, 0] = [[10, 20], [40, 60]]  # 30 x 40: a diagonal of 50
    savemat(root / "annot/gt_valid.mat", {"headboxes_src": boxes, "pos_gt_src": joints})


def test_head_is_six_tenths_of_the_diagonal(root):
    ground_truth(root, np.array(row("", 5)["joints"])[..., None])
    assert mpii(root, "valid").head_size.tolist() == [30]


def test_head_boxes_of_other_people_are_refused(root):
    ground_truth(root, np.array(row("", 300)["joints"])[..., None])
    with pytest.raises(ValueError, match=r"gt_valid\.mat.*295 pixels.*not in the same order"):
        mpii(root, "valid")
    savemat(
        root / "annot/gt_valid.mat",
        {"headboxes_src": np.zeros((2, 2, 3)), "pos_gt_src": np.zeros((16, 2, 3))},
    )
    with pytest.raises(ValueError, match=r"gt_valid\.mat: headboxes_src does not belong to 1 people"):
        mpii(root, "valid")
    savemat(root / "annot/gt_valid.mat", {"nothing": 1})
    with pytest.raises(ValueError, match=r"gt_valid\.mat: is no whole MATLAB file with headboxes_src"):
        mpii(root, "valid")


@pytest.mark.parametrize(
    "text",
    [
        "{",
        "[1]",
        '{"a": 1}',
        json.dumps([{"image": "a.jpg"}]),
        json.dumps([row("a.jpg", joints=[[1, 2]] * 17)]),
        json.dumps([]),
    ],
)
def test_json_of_another_shape_names_the_file(root, text):
    (root / "annot/train.json").write_text(text)
    with pytest.raises(ValueError, match=r"train\.json: is (not an MPII annotation|no whole JSON file)"):
        mpii(root, "train")


def test_bad_names_are_an_error_with_the_way_out(root, tmp_path):
    with pytest.raises(ValueError, match="no split 'all'; use train, valid, trainval, test"):
        mpii(root, "all")
    with pytest.raises(FileNotFoundError, match=OFFICIAL):
        mpii(tmp_path / "elsewhere", "train")


def test_nan_joints_and_missing_images_are_counted(root):
    broken = row("a.jpg")
    broken["joints"][2] = [float("nan"), 3.0]
    (root / "annot/train.json").write_text(json.dumps([broken, row("gone.jpg")]))
    dataset = mpii(root, "train")
    assert len(dataset) == 1
    assert dataset.visible[0, 2] == 0
    assert [(f.kind, f.image.name) for f in dataset.findings] == [
        ("joint is NaN", "a.jpg"),
        ("missing image", "gone.jpg"),
    ]


def struct(**fields):
    """A MATLAB struct of 1 x 1: savemat writes a dict as one."""
    return fields


def structs(*rows):
    """A MATLAB struct array: all rows have the same fields."""
    out = np.empty((1, len(rows)), [(f, object) for f in rows[0]])
    for i, one in enumerate(rows):
        for field, value in one.items():
            out[0, i][field] = value
    return out


EMPTY = np.zeros((0, 0))


def official(path, *annolist, train):
    savemat(path, {"RELEASE": struct(annolist=structs(*annolist), img_train=np.array([train]))})


def point(k, x, y, seen):
    return struct(x=float(x), y=float(y), id=float(k), is_visible=seen)


def test_official_struct_with_its_traps(tmp_path):
    head = {"x1": 10.0, "y1": 20.0, "x2": 16.0, "y2": 28.0}  # 6 x 8: a diagonal of 10
    place = {"scale": 0.5, "objpos": struct(x=101.0, y=51.0)}
    # Visibility as a number, as a character, and as nothing, as it is for head top and neck.
    many = struct(
        annopoints=struct(
            point=structs(
                point(6, 12, 22, 0.0), point(0, 11, 21, "1"), point(8, 5, 6, EMPTY), point(1, 7, 8, "0")
            )
        ),
        **head,
        **place,
    )
    one = struct(annopoints=struct(point=point(9, 3, 4, EMPTY)), **head, **place)
    none = struct(annopoints=EMPTY, **dict.fromkeys(head, EMPTY), **place)
    official(
        tmp_path / OFFICIAL,
        struct(image=struct(name="many.jpg"), annorect=structs(many, one, none)),
        struct(image=struct(name="bare.jpg"), annorect=struct(**place)),  # no field annopoints at all
        struct(image=struct(name="nobody.jpg"), annorect=EMPTY),
        struct(image=struct(name="test.jpg"), annorect=struct(**place)),
        train=[1, 1, 1, 0],
    )
    images(tmp_path / "images", "many.jpg", "bare.jpg", "test.jpg")
    dataset = mpii(tmp_path, "trainval")
    assert [p.name for p in dataset.images] == ["many.jpg", "many.jpg"]
    labelled = {
        MPII16.joints[k]: (dataset.joints[0, k].tolist(), int(dataset.visible[0, k]))
        for k in np.flatnonzero(dataset.visible[0])
    }
    assert labelled == {
        "pelvis": ([11, 21], 1),
        "right_ankle": ([10, 20], 2),
        "neck": ([4, 5], 2),
        "right_knee": ([6, 7], 1),
    }
    assert np.flatnonzero(dataset.visible[1]).tolist() == [9]
    assert dataset.joints[1, 9].tolist() == [2, 3]
    np.testing.assert_allclose(dataset.head_size, [6, 6])
    assert dataset.boxes[0].tolist() == [50, 7.5, 150, 107.5]
    assert [(f.kind, f.image.name) for f in dataset.findings] == [
        ("no joints", "many.jpg"),
        ("no joints", "bare.jpg"),
    ]

    held_back = mpii(tmp_path, "test")
    assert [p.name for p in held_back.images] == ["test.jpg"]
    assert not held_back.labelled
    assert held_back.boxes[0].tolist() == [50, 7.5, 150, 107.5]
    assert np.isnan(held_back.head_size).all()

    with pytest.raises(
        FileNotFoundError, match="does not know the train and valid parts: take the split trainval"
    ):
        mpii(tmp_path, "train")


def test_official_file_of_one_image(tmp_path):
    """squeeze_me makes scalars of arrays of one."""
    rect = struct(
        annopoints=struct(point=structs(point(0, 1, 2, 1.0), point(1, 4, 9, 1.0))),
        scale=1.0,
        objpos=struct(x=5.0, y=5.0),
    )
    official(tmp_path / OFFICIAL, struct(image=struct(name="a.jpg"), annorect=rect), train=[1])
    images(tmp_path, "a.jpg")  # beside the annotation
    assert len(from_mat(tmp_path / OFFICIAL)) == 1


@pytest.mark.parametrize(
    "content",
    [{"other": 1}, {"RELEASE": {"annolist": 3}}, {"RELEASE": {"annolist": {"image": 1}, "img_train": 1}}],
)
def test_another_mat_names_the_file(tmp_path, content):
    savemat(tmp_path / OFFICIAL, content)
    with pytest.raises(ValueError, match=OFFICIAL):
        from_mat(tmp_path / OFFICIAL)


def test_a_point_that_mpii_does_not_have_names_the_image(tmp_path):
    rect = struct(
        annopoints=struct(point=structs(point(0, 1, 2, 1.0), point(16, 4, 9, 1.0))),
        scale=1.0,
        objpos=struct(x=5.0, y=5.0),
    )
    official(tmp_path / OFFICIAL, struct(image=struct(name="odd.jpg"), annorect=rect), train=[1])
    with pytest.raises(ValueError, match=r"odd\.jpg"):
        from_mat(tmp_path / OFFICIAL)


@pytest.mark.shared
def test_real_people(shared):
    dataset = from_json(shared / "data/fixtures/mpii/test_mpii.json")
    assert len(dataset) == 5
    assert dataset.joints[0, 0].tolist() == [803, 710]
    assert dataset.visible[2].tolist() == [0, 2, 2, 2, 2, 0] + [2] * 10
    np.testing.assert_allclose(
        dataset.boxes[0],
        [965 - 471.8488, 339 + 70.77732 - 471.8488, 965 + 471.8488, 339 + 70.77732 + 471.8488],
        rtol=1e-6,
    )


def test_head_boxes_that_are_no_numbers_are_refused(root):
    joints = np.array(row("", 5)["joints"])[..., None]
    for boxes in (np.full((2, 2, 1), np.nan), np.full((2, 2, 1), np.inf), "text"):
        savemat(root / "annot/gt_valid.mat", {"headboxes_src": boxes, "pos_gt_src": joints})
        with pytest.raises(
            ValueError,
            match=r"gt_valid\.mat: headboxes_src (has an entry that is not a number|does not belong to 1 people)",
        ):
            mpii(root, "valid")
    savemat(
        root / "annot/gt_valid.mat", {"headboxes_src": np.ones((2, 2, 1)), "pos_gt_src": joints}
    )  # a point
    dataset = mpii(root, "valid")
    assert np.isnan(dataset.head_size[0])
    assert [f.kind for f in dataset.findings] == ["no head size"]


def test_a_joint_of_the_json_beyond_all_images_is_unlabelled(root):
    far = row("a.jpg")
    far["joints"][10] = [768.0, 9223372036854775808]
    (root / "annot/train.json").write_text(json.dumps([far]))
    dataset = mpii(root, "train")
    assert dataset.visible[0, 10] == 0
    assert dataset.joints[0, 10].tolist() == [0, 0]
    assert [f.kind for f in dataset.findings] == ["joint is NaN"]
