"""Each kind of fault, made on purpose in an otherwise sound set."""

from __future__ import annotations

import json
from dataclasses import replace

import cv2
import numpy as np
import pytest

from poseling.data.check import check, odd_bones, report, summary, swapped, swapped_against
from poseling.data.dataset import Finding, PoseDataset
from poseling.skeleton import BLAZEPOSE33, COCO17, LSP14, Skeleton

# A person who faces the viewer, 60 x 100 pixels: the right side is on the image's left.
STANDING = np.array(
    [
        [22, 98],
        [22, 80],
        [22, 60],
        [38, 60],
        [38, 80],
        [38, 98],
        [8, 60],
        [12, 45],
        [16, 30],
        [44, 30],
        [48, 45],
        [52, 60],
        [30, 25],
        [30, 5],
    ],
    np.float32,
)


def sound(folder, count=24):
    """Copies of one person at different sizes and places, one an image of its own."""
    random = np.random.default_rng(0)
    joints = np.stack(
        [STANDING * random.uniform(0.7, 1.1) + random.normal(0, 0.5, (14, 2)) for _ in range(count)]
    ).astype(np.float32)
    paths = tuple(folder / f"im{i}.png" for i in range(count))
    for i, path in enumerate(paths):
        cv2.imwrite(str(path), np.full((120, 80, 3), i, np.uint8))
    boxes = np.concatenate([joints.min(1), joints.max(1)], -1)
    return PoseDataset("set", LSP14, paths, boxes, joints, np.full((count, 14), 2, np.uint8))


def kinds(findings):
    return [(f.kind, f.image.name, f.person) for f in findings]


def test_a_sound_set_has_no_finding(tmp_path):
    seen = []
    assert check(sound(tmp_path), lambda done, of: seen.append((done, of))) == []
    assert seen == [(i, 24) for i in range(1, 25)]


def test_images(tmp_path):
    dataset = sound(tmp_path)
    (tmp_path / "im3.png").write_bytes((tmp_path / "im3.png").read_bytes()[:50])
    (tmp_path / "im5.png").unlink()
    cv2.imwrite(str(tmp_path / "im9.png"), np.full((120, 80, 3), 7, np.uint8))
    found = check(dataset)
    assert kinds(found) == [
        ("unreadable image", "im3.png", None),
        ("missing image", "im5.png", None),
        ("duplicate image", "im9.png", None),
    ]
    assert "im7.png" in found[2].message


def test_several_people_in_one_image_are_no_duplicate(tmp_path):
    dataset = sound(tmp_path)
    assert check(replace(dataset, images=(dataset.images[0],) * 24)) == []


def test_boxes_and_joints(tmp_path):
    dataset = sound(tmp_path)
    dataset.boxes[2] = 10, 20, 10, 40
    dataset.boxes[4] = 80, 0, 90, 9  # the image ends at 79
    dataset.boxes[6] = np.nan
    dataset.joints[8, 5] = np.nan
    dataset.boxes[10] = -30, -30, 5, 5  # reaches in: allowed
    dataset.joints[12, 13] = 30, -4  # 2 % of 120 are 2.4
    dataset.joints[13, 13] = 30, -2
    dataset.joints[14, 13], dataset.visible[14, 13] = (30, -50), 0  # nobody says that it is there
    found = check(dataset)
    assert kinds(found) == [
        ("empty box", "im2.png", 2),
        ("box outside", "im4.png", 4),
        ("empty box", "im6.png", 6),
        ("joint is NaN", "im8.png", 8),
        ("joint outside", "im12.png", 12),
    ]
    assert found[3].message == "left_ankle"
    assert found[4].message.startswith("head_top by 4 pixels")


def test_what_the_reader_left_out_comes_first(tmp_path):
    note = Finding("missing image", tmp_path / "gone.jpg", 77, "it is not there")
    assert check(replace(sound(tmp_path), findings=(note,))) == [note]


def test_swapped_hips_against_shoulders(tmp_path):
    dataset = sound(tmp_path)
    dataset.joints[3, [2, 3]] = dataset.joints[3, [3, 2]]
    dataset.joints[5, [8, 9]] = dataset.joints[5, [9, 8]]
    dataset.joints[7, [2, 3]], dataset.visible[7, 2] = dataset.joints[7, [3, 2]], 0  # not labelled: not said
    dataset.joints[9, [2, 3]] = [[31, 60], [29, 60]]  # crossed, but so narrow that it may be a side view
    dataset.joints[10, [8, 9]] = dataset.joints[10, 12] + np.array(
        [[-5, -14], [5, 14]]
    )  # twisted by a good right angle: people can
    dataset.joints[11] = dataset.joints[11, LSP14.flip]  # all sides exchanged is a person seen from behind
    assert kinds(swapped(dataset)) == [("swapped sides", "im3.png", 3), ("swapped sides", "im5.png", 5)]


def test_swapped_needs_shoulders_and_hips(tmp_path):
    dataset = sound(tmp_path)
    hands = Skeleton("hands", ("left_hand", "right_hand"), (0, 1))
    assert (
        swapped(
            PoseDataset(
                "set", hands, dataset.images, dataset.boxes, dataset.joints[:, :2], dataset.visible[:, :2]
            )
        )
        == []
    )


def test_swapped_against_a_teacher(tmp_path):
    dataset = sound(tmp_path)
    answers = dataset.joints + np.random.default_rng(1).normal(0, 1, dataset.joints.shape)
    legs, arms = np.arange(6), np.arange(6, 12)
    dataset.joints[2] = dataset.joints[2, LSP14.flip]
    dataset.joints[4, legs] = dataset.joints[4, LSP14.flip[legs]]
    dataset.joints[6, arms] = dataset.joints[6, LSP14.flip[arms]]
    dataset.joints[8] += 30  # far off either way
    answers[10] = np.nan  # the teacher says nothing
    dataset.joints[10] = dataset.joints[10, LSP14.flip]
    found = swapped_against(dataset, answers)
    assert sorted((f.person, f.message.split(":")[0]) for f in found) == [
        (2, "whole body"),
        (4, "legs"),
        (6, "arms"),
    ]
    assert {f.kind for f in found} == {"swapped against the teacher"}
    with pytest.raises(ValueError, match=r"the predicted joints have shape \(24, 3, 2\)"):
        swapped_against(dataset, answers[:, :3])


def test_odd_bones(tmp_path):
    dataset = sound(tmp_path)
    dataset.joints[3, 0] = dataset.joints[3, 1] + 4 * (
        dataset.joints[3, 0] - dataset.joints[3, 1]
    )  # a shin four times as long
    dataset.joints[5, 0] = dataset.joints[5, 1] + 2 * (
        dataset.joints[5, 0] - dataset.joints[5, 1]
    )  # twice: may be
    dataset.joints[7, 0] = dataset.joints[7, 1] + 0.1 * (
        dataset.joints[7, 0] - dataset.joints[7, 1]
    )  # short: points at the viewer
    dataset.joints[9, 6] = dataset.joints[9, 7]
    dataset.joints[11] *= 5  # a large person is no odd one
    found = odd_bones(dataset)
    assert [(f.person, f.message.split(":")[0]) for f in found] == [
        (3, "right_ankle to right_knee"),
        (9, "right_wrist to right_elbow"),
    ]
    assert float(found[0].message.split(": ")[1].split()[0]) == pytest.approx(4, rel=0.1)


def test_odd_bones_needs_enough_people(tmp_path):
    dataset = sound(tmp_path)[:19]
    dataset.joints[3, 0] += 300
    assert odd_bones(dataset) == []
    assert odd_bones(dataset.without_labels()) == []


@pytest.mark.parametrize("skeleton", [COCO17, BLAZEPOSE33])
def test_other_skeletons_and_unlabelled_people(tmp_path, skeleton):
    assert check(sound(tmp_path).to(skeleton)) == []
    assert check(sound(tmp_path).to(skeleton).without_labels()) == []


def test_summary_and_report(tmp_path):
    a, b = tmp_path / "a.jpg", tmp_path / "b.jpg"
    found = [
        Finding("one", a, 0, "x"),
        Finding("two", b, None, "y"),
        Finding("two", b, 3, "z"),
        Finding("two", a, 4, "w"),
    ]
    assert summary(found) == {
        "two": {"count": 3, "images": 2, "files": [str(b), str(a)]},
        "one": {"count": 1, "images": 1, "files": [str(a)]},
    }
    json.dumps(summary(found))
    assert list(report(found)) == [
        f"two: {b}: y",
        f"two: {b} (person 3): z",
        f"two: {a} (person 4): w",
        f"one: {a} (person 0): x",
        "3 x two, 1 x one",
    ]
    assert list(report([])) == ["nothing found"]


@pytest.mark.shared
def test_lsp_as_it_comes(shared):
    from poseling.data.lsp import lsp

    counts = {kind: about["count"] for kind, about in summary(check(lsp(shared / "data/lsp")[:400])).items()}
    assert set(counts) == {"odd bone", "swapped sides"}
    assert sum(counts.values()) < 10
