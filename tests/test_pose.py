"""Poses: shapes, choosing people, conversion, JSON."""

from __future__ import annotations

import json

import numpy as np
import pytest

from poseling.pose import Pose
from poseling.skeleton import COCO17, LSP14, MPII16


@pytest.fixture
def pose():
    """Three people of COCO with depth, tracked as 7, 5 and 9."""
    random = np.random.default_rng(0)
    return Pose(
        random.normal(0, 50, (3, 17, 2)),
        random.random((3, 17)),
        COCO17,
        random.normal(0, 1, (3, 17, 3)),
        np.array([7, 5, 9]),
    )


def test_numbers_are_made_plain():
    pose = Pose([[[1, 2]] * 14], [[1] * 14], LSP14)
    assert (pose.xy.dtype, pose.score.dtype, pose.ids.dtype) == (np.float32, np.float32, np.int64)
    assert pose.ids.tolist() == [0]
    assert pose.xyz is None


@pytest.mark.parametrize(
    ("which", "rows"),
    [
        (1, [1]),
        (-1, [2]),
        (np.int64(0), [0]),
        (slice(1, None), [1, 2]),
        (np.array([True, False, True]), [0, 2]),
        (np.array([2, 0]), [2, 0]),
    ],
)
def test_choosing_always_gives_people(pose, which, rows):
    some = pose[which]
    assert some.xy.shape == (len(rows), 17, 2)
    np.testing.assert_array_equal(some.xy, pose.xy[rows])
    np.testing.assert_array_equal(some.xyz, pose.xyz[rows])
    assert some.ids.tolist() == pose.ids[rows].tolist()


def test_no_people():
    nobody = Pose(np.zeros((0, 14, 2)), np.zeros((0, 14)), LSP14)
    assert len(nobody) == 0
    assert len(nobody.to(MPII16)) == 0
    assert nobody.as_dict()["xy"] == []


@pytest.mark.parametrize(
    ("fields", "match"),
    [
        ({"xy": np.zeros((2, 16, 2))}, r"Pose\.xy has shape \(2, 16, 2\), expected \(2, 17, 2\)"),
        ({"score": np.zeros(17)}, r"Pose\.score has shape \(17,\), expected \(2, 17\)"),
        (
            {"xyz": np.zeros((2, 17, 2))},
            r"Pose\.xyz has shape \(2, 17, 2\), expected \(2, 17, 3\) for 2 people of skeleton coco17",
        ),
        ({"ids": np.zeros(3)}, r"Pose\.ids has shape \(3,\), expected \(2,\)"),
    ],
)
def test_shapes_are_checked(fields, match):
    with pytest.raises(ValueError, match=match):
        Pose(**{"xy": np.zeros((2, 17, 2)), "score": np.zeros((2, 17)), "skeleton": COCO17, **fields})


def test_conversion_by_name(pose):
    mpii = pose.to(MPII16)
    left, right, pelvis = COCO17.index("left_hip"), COCO17.index("right_hip"), MPII16.index("pelvis")
    np.testing.assert_allclose(mpii.xy[:, pelvis], (pose.xy[:, left] + pose.xy[:, right]) / 2, rtol=1e-6)
    np.testing.assert_allclose(mpii.xyz[:, pelvis], (pose.xyz[:, left] + pose.xyz[:, right]) / 2, rtol=1e-5)
    np.testing.assert_allclose(mpii.score[:, pelvis], np.minimum(pose.score[:, left], pose.score[:, right]))
    assert (mpii.score[:, MPII16.index("head_top")] == 0).all()
    assert mpii.ids.tolist() == [7, 5, 9]
    wrist = "left_wrist"
    np.testing.assert_array_equal(mpii.xy[:, MPII16.index(wrist)], pose.xy[:, COCO17.index(wrist)])


def test_json(pose):
    again = json.loads(json.dumps(pose.as_dict()))
    assert again["joints"] == list(COCO17.joints)
    assert again["ids"] == [7, 5, 9]
    np.testing.assert_allclose(again["xy"], pose.xy, atol=0.0051)
    np.testing.assert_allclose(again["score"], pose.score, atol=0.000051)
    np.testing.assert_allclose(again["xyz"], pose.xyz, atol=0.000051)
    assert pose[0].to(LSP14).as_dict()["skeleton"] == "lsp14"
