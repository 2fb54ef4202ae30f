"""PoseDataset: choosing, joining, converting, and reading images."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from poseling.data.dataset import Finding, Instances, PoseDataset, Truth, from_joints, join
from poseling.files import read_image
from poseling.skeleton import COCO17, LSP14, MPII16


def dataset(skeleton=LSP14, count=3, name="set", head_size=None, **more):
    joints = np.arange(count * len(skeleton) * 2, dtype=np.float32).reshape(count, -1, 2)
    boxes = np.tile(np.array([0, 0, 9, 19], np.float32), (count, 1))
    return PoseDataset(
        name,
        skeleton,
        tuple(Path(f"{name}{i}.jpg") for i in range(count)),
        boxes,
        joints,
        np.full((count, len(skeleton)), 2, np.uint8),
        head_size,
        **more,
    )


def space(count=3, skeleton=LSP14):
    """xyz and camera, all numbers different."""
    xyz = 1 + np.arange(count * len(skeleton) * 3, dtype=np.float32).reshape(count, -1, 3)
    return {"joints_3d": xyz, "camera": 1000 + np.arange(count * 4, dtype=np.float32).reshape(count, 4)}


def measurable(images, measured, skeleton=LSP14):
    """Instances in the images of these ids, of a truth without annotations."""
    empty, none = np.zeros(0), np.zeros(0, np.int64)
    joints = np.zeros((0, len(skeleton), 2)), np.zeros((0, len(skeleton)), np.uint8)
    truth = Truth(
        Path("a.json"), skeleton, {}, none, np.zeros((0, 4)), empty, *joints, none, np.zeros(0, bool)
    )
    return Instances(truth, np.array(images), np.arange(len(images)) / 10, np.array(measured))


@pytest.mark.parametrize(
    ("which", "rows"), [(slice(1, None), [1, 2]), ([2, 0], [2, 0]), (np.array([True, False, True]), [0, 2])]
)
def test_choosing(which, rows):
    everyone = dataset(head_size=np.array([5, 6, 7], np.float32), **space())
    some = everyone[which]
    assert [p.name for p in some.images] == [f"set{i}.jpg" for i in rows]
    np.testing.assert_array_equal(some.joints, everyone.joints[rows])
    np.testing.assert_array_equal(some.head_size, everyone.head_size[rows])
    np.testing.assert_array_equal(some.joints_3d, everyone.joints_3d[rows])
    np.testing.assert_array_equal(some.camera, everyone.camera[rows])
    flat = dataset()[which]
    assert (flat.joints_3d, flat.camera) == (None, None)


def test_shapes_are_checked():
    with pytest.raises(ValueError, match=r"set: visible has shape \(1, 14\), expected \(1, 17\)"):
        PoseDataset(
            "set", COCO17, (Path("a"),), np.zeros((1, 4)), np.zeros((1, 17, 2)), np.zeros((1, 14), np.uint8)
        )
    with pytest.raises(ValueError, match=r"set: joints_3d has shape \(3, 14, 2\), expected \(3, 14, 3\)"):
        dataset(joints_3d=np.zeros((3, 14, 2), np.float32))
    with pytest.raises(ValueError, match=r"set: camera has shape \(4,\), expected \(3, 4\)"):
        dataset(camera=np.zeros(4, np.float32))


@pytest.mark.parametrize("field", ["joints_3d", "camera"])
def test_either_of_joints_in_space_and_camera_may_be_known_alone(field):
    one = dataset(**{field: space()[field]})
    for some in (one[:2], one.to(COCO17)[:2], join(one[:1], one[1:2])):
        assert getattr(some, field) is not None
        assert {"joints_3d": some.camera, "camera": some.joints_3d}[field] is None


def test_joints_in_space_are_converted_as_those_in_the_image_but_do_not_have_to_be_in_it():
    xyz = space(1, COCO17)["joints_3d"]
    coco = dataset(COCO17, 1, joints_3d=xyz, camera=np.array([[9, 8, 7, 6]], np.float32))
    coco.visible[0, COCO17.index("left_knee")] = 0
    mpii = coco.to(MPII16)
    for joint in ("left_wrist", "left_knee"):
        assert mpii.joints_3d[0, MPII16.index(joint)].tolist() == xyz[0, COCO17.index(joint)].tolist()
    hips = [xyz[0, COCO17.index(f"{side}_hip")] for side in ("left", "right")]
    assert mpii.joints_3d[0, MPII16.index("pelvis")].tolist() == ((hips[0] + hips[1]) / 2).tolist()
    assert mpii.joints_3d[0, MPII16.index("head_top")].tolist() == [0, 0, 0]
    assert mpii.camera.tolist() == [[9, 8, 7, 6]]
    assert mpii.joints_3d.dtype == np.float32


def test_the_middle_of_a_joint_in_space_and_an_unknown_one_is_unknown():
    xyz = space(1, COCO17)["joints_3d"]
    xyz[0, COCO17.index("left_hip")] = 0
    assert dataset(COCO17, 1, joints_3d=xyz).to(MPII16).joints_3d[0, MPII16.index("pelvis")].tolist() == [
        0,
        0,
        0,
    ]


def test_converting_leaves_unknown_joints_unlabelled():
    coco = dataset(COCO17, 1)
    lsp = coco.to(LSP14)
    assert lsp.visible[0].tolist() == [2] * 12 + [0, 0]  # neck and head top
    assert lsp.joints[0, 0].tolist() == coco.joints[0, COCO17.index("right_ankle")].tolist()
    assert lsp.joints[0, 12].tolist() == [0, 0]


def test_joining_takes_the_first_skeleton_and_keeps_what_was_found():
    note = Finding("missing image", Path("x.jpg"), 4, "gone")
    both = join(
        dataset(LSP14, 2, "a", licence="one"),
        dataset(MPII16, 1, "b", licence="two", findings=(note,), head_size=np.ones(1, np.float32)),
    )
    assert both.name == "a+b"
    assert both.skeleton == LSP14
    assert len(both) == 3
    assert both.head_size is None  # a has none
    assert both.licence == "a: one; b: two"
    assert both.findings == (note,)
    assert both.visible[2].tolist() == [2] * 14


def test_joining_keeps_what_each_has():
    one, other = dataset(count=2, **space(2)), dataset(MPII16, 1, **space(1, MPII16))
    both = join(one, other)
    np.testing.assert_array_equal(both.joints_3d, np.concatenate([one.joints_3d, other.to(LSP14).joints_3d]))
    np.testing.assert_array_equal(both.camera, np.concatenate([one.camera, other.camera]))
    flat = dataset()
    for mixed, place in ((join(one, flat), slice(2, None)), (join(flat, one), slice(0, len(flat)))):
        assert np.isnan(mixed.camera[place]).all()
        assert np.isfinite(mixed.camera).all(1).sum() == len(mixed) - len(flat)
        assert (mixed.joints_3d[place] == 0).all()  # unknown, beside those who are known
        assert mixed.is_3d
    assert join(flat, flat).joints_3d is None


def test_weights_and_draws_go_where_their_people_go():
    weight = np.linspace(0, 1, 3 * 14, dtype=np.float32).reshape(3, 14)
    everyone = dataset(weight=weight, draws=np.array([1, 2, 3], np.float32))
    some = everyone[[2, 0]]
    np.testing.assert_array_equal(some.weight, weight[[2, 0]])
    assert some.draws.tolist() == [3, 1]
    bare = everyone.without_labels()
    assert bare.weight is None
    assert bare.draws.tolist() == [1, 2, 3]
    for field, shape in (("weight", (3, 2)), ("draws", (2,))):
        with pytest.raises(ValueError, match=f"set: {field} has shape"):
            dataset(**{field: np.ones(shape, np.float32)})


def test_the_middle_of_two_joints_weighs_as_the_lesser():
    weight = np.ones((1, 17), np.float32)
    weight[0, COCO17.index("left_hip")], weight[0, COCO17.index("right_knee")] = 0.25, 0.5
    mpii = dataset(COCO17, 1, weight=weight, draws=np.array([4], np.float32)).to(MPII16)
    assert (
        mpii.weight[0, MPII16.index("pelvis")] == COCO17.to(MPII16).weights(weight)[0, MPII16.index("pelvis")]
    )
    assert mpii.weight[0, MPII16.index("right_knee")] == 0.5
    assert mpii.weight[0, MPII16.index("left_wrist")] == 1
    assert mpii.draws.tolist() == [4]


def test_a_share_of_all_draws():
    """Two sets of 3 and 2 people, a quarter and three quarters: a twelfth and three eighths each."""
    both = join(dataset(count=3).drawn(0.25), dataset(count=2, name="b").drawn(0.75))
    assert both.draws == pytest.approx([1 / 12] * 3 + [3 / 8] * 2)
    assert both.draws.dtype == np.float32
    assert join(dataset(), dataset()).draws is None
    # A set that does not say how often is drawn as the others are on average: 1/5 each.
    assert join(both, dataset(count=2, name="c")).draws[5:] == pytest.approx([0.2, 0.2])
    for share in (0, -0.1, 1.01, float("nan")):
        with pytest.raises(
            ValueError, match=r"set: its share of the training is .*; a share is above 0 and at most 1"
        ):
            dataset().drawn(share)


def test_joining_gives_joints_without_a_weight_a_weight_of_one():
    both = join(dataset(count=1, weight=np.full((1, 14), 0.5, np.float32)), dataset(count=2))
    assert both.weight[:, 0].tolist() == [0.5, 1, 1]
    assert join(dataset(), dataset()).weight is None


def test_without_labels():
    bare = dataset(head_size=np.ones(3, np.float32), **space()).without_labels()
    assert bare.joints_3d is None  # a label too
    assert bare.camera is not None
    assert not bare.labelled
    assert bare.head_size is None
    assert bare.boxes[0].tolist() == [0, 0, 9, 19]


def test_given_boxes_are_kept_and_bad_ones_left_out(tmp_path):
    image = tmp_path / "a.jpg"
    image.write_bytes(b"here")
    boxes = np.array([[0, 0, 5, 5], [4, 4, 4, 8], [0, 0, np.nan, 1], [-3, 2, 7, 9]])
    got = from_joints("set", LSP14, [image] * 4, np.zeros((4, 14, 2)), np.zeros((4, 14), int), boxes=boxes)
    np.testing.assert_array_equal(got.boxes, boxes[[0, 3]])
    assert [(f.kind, f.person) for f in got.findings] == [("empty box", 1), ("empty box", 2)]
    assert "4, 4, 4, 8" in got.findings[0].message
    more = space(4)
    kept = from_joints(
        "set", LSP14, [image] * 4, np.zeros((4, 14, 2)), np.zeros((4, 14), int), boxes=boxes, **more
    )
    np.testing.assert_array_equal(kept.joints_3d, more["joints_3d"][[0, 3]])
    np.testing.assert_array_equal(kept.camera, more["camera"][[0, 3]])


def test_a_person_with_one_joint_has_no_box(tmp_path):
    image = tmp_path / "a.jpg"
    image.write_bytes(b"here")
    visible = np.zeros((2, 14), int)
    visible[0, 3], visible[1, :2] = 2, 2
    joints = np.ones((2, 14, 2))
    joints[1, 0] = 8, 9
    got = from_joints("set", LSP14, [image] * 2, joints, visible)
    assert got.boxes.tolist() == [[1, 1, 8, 9]]
    assert [(f.kind, f.person) for f in got.findings] == [("empty box", 0)]


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e39, 1e8])
def test_numbers_are_looked_at_once_they_are_float32(tmp_path, value):
    """1e39 is finite in float64 and infinite in float32; 1e8 pixels are no place in an image."""
    image = tmp_path / "a.jpg"
    image.write_bytes(b"here")
    joints, visible = np.ones((4, 14, 2)) * np.arange(14)[:, None], np.full((4, 14), 2)
    boxes, xyz, camera, head = (
        np.tile([0.0, 0, 9, 9], (4, 1)),
        np.ones((4, 14, 3)),
        np.full((4, 4), 5.0),
        np.full(4, 3.0),
    )
    boxes[0, 2], joints[1, 3, 0], xyz[1, 4, 1], camera[2, 0], head[3] = (value,) * 5
    got = from_joints(
        "set", LSP14, [image] * 4, joints, visible, head_size=head, boxes=boxes, joints_3d=xyz, camera=camera
    )
    assert len(got) == 2  # without the first's box and the third's camera
    kinds = {(f.kind, f.person) for f in got.findings}
    told = set() if np.isnan(value) else {("no head size", 3)}  # NaN says that it is unknown
    assert kinds == {
        ("empty box", 0),
        ("joint is NaN", 1),
        ("3D joint is NaN", 1),
        ("no camera", 2),
        *told,
    }
    assert got.visible[0].tolist() == [2] * 3 + [0] + [2] * 10
    assert got.joints[0, 3].tolist() == [0, 0]
    assert got.joints_3d[0, 4].tolist() == [0, 0, 0]
    assert got.joints_3d[0, 3].tolist() == [1, 1, 1]
    assert got.head_size[0] == 3
    assert np.isnan(got.head_size[1])
    for values in (got.boxes, got.joints, got.joints_3d, got.camera):
        assert np.isfinite(values).all()


def test_a_file_without_a_usable_sample_is_refused_by_name(tmp_path):
    image = tmp_path / "a.jpg"
    image.write_bytes(b"here")
    with pytest.raises(
        ValueError,
        match=r"notes\.npz: none of its 3 people can be used; the first: .*a\.jpg: x0, y0, x1, y1 are nan",
    ):
        from_joints(
            "set",
            LSP14,
            [image] * 3,
            np.ones((3, 14, 2)),
            np.ones((3, 14), int),
            boxes=np.full((3, 4), np.nan),
            path=Path("notes.npz"),
        )


def test_a_name_that_no_file_can_have_is_a_missing_image(tmp_path):
    image = tmp_path / "a.jpg"
    image.write_bytes(b"here")
    paths = [image, tmp_path / ("1" * 300), tmp_path / "a\0b"]
    got = from_joints(
        "set", LSP14, paths, np.zeros((3, 14, 2)), np.zeros((3, 14), int), boxes=np.tile([0, 0, 9, 9], (3, 1))
    )
    assert got.images == (image,)
    assert [f.kind for f in got.findings] == ["missing image"] * 2


@pytest.fixture
def noise():
    return cv2.GaussianBlur(np.random.default_rng(0).integers(0, 256, (60, 80, 3), np.uint8), (0, 0), 2)


def test_images_come_as_rgb(tmp_path):
    bgr = np.zeros((4, 6, 3), np.uint8)
    bgr[..., 0] = 255  # blue
    cv2.imwrite(str(tmp_path / "blue.png"), bgr)
    image = read_image(tmp_path / "blue.png")
    assert image.shape == (4, 6, 3)
    assert image[0, 0].tolist() == [0, 0, 255]


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp"])
@pytest.mark.parametrize("share", [0.0, 0.5, 0.98])
def test_a_cut_image_is_an_error_that_names_it(tmp_path, noise, suffix, share):
    data = cv2.imencode(suffix, noise)[1].tobytes()
    path = tmp_path / f"cut{suffix}"
    path.write_bytes(data[: int(share * len(data))])
    with pytest.raises(OSError, match=rf"cut\{suffix}: is not a whole image"):
        read_image(path)
    path.write_bytes(data)
    assert read_image(path).shape == (60, 80, 3)


def test_a_missing_image_is_an_error_that_names_it(tmp_path):
    with pytest.raises(OSError, match=r"gone\.jpg: cannot be read"):
        read_image(tmp_path / "gone.jpg")


def test_choosing_leaves_out_images_that_lose_all_their_people():
    everyone = dataset(instances=measurable([5, 5, 7], [5, 7, 9]))
    some = everyone[:1].instances
    assert (some.image.tolist(), some.score.tolist()) == ([5], [0.0])
    assert some.measured.tolist() == [5, 9]  # in 9 there was nobody before
    assert everyone[[0, 2]].instances.measured.tolist() == [5, 7, 9]
    assert everyone[[2]][[0]].instances.measured.tolist() == [7, 9]
    assert some.truth is everyone.instances.truth


def test_average_precision_needs_the_files_own_skeleton_and_labels():
    everyone = dataset(instances=measurable([5, 5, 7], [5, 7]))
    assert everyone.to(LSP14).instances is everyone.instances
    assert everyone.to(COCO17).instances is None
    assert everyone.without_labels().instances is None
    with pytest.raises(ValueError, match="instances has 2 entries, expected 3"):
        dataset(instances=measurable([5, 5], [5]))


def test_people_of_one_truth_can_be_joined_and_measured():
    everyone = dataset(instances=measurable([5, 5, 7], [5, 7, 9]))
    again = join(everyone[:2], everyone[2:]).instances
    assert (again.image.tolist(), again.score.tolist(), again.measured.tolist()) == (
        [5, 5, 7],
        [0, 0.1, 0.2],
        [5, 7, 9],
    )
    assert join(everyone, dataset()).instances is None
    assert (
        join(everyone, dataset(instances=measurable([5, 5, 7], [5, 7, 9]))).instances is None
    )  # of another file
