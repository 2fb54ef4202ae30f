"""Skeletons: joints by name, their mirror images, and conversion."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from poseling.skeleton import BLAZEPOSE33, BODY19, COCO17, H36M17, LSP14, MPII16, SKELETONS, Skeleton

EVERY = list(SKELETONS.values())
PAIRS = [(a, b) for a in EVERY for b in EVERY]
name = st.sampled_from(EVERY)


def joints(skeleton, seed, dataset=2):
    return np.random.default_rng(seed).normal(0, 100, (dataset, len(skeleton), 2))


@pytest.mark.parametrize(
    ("skeleton", "count"), [(COCO17, 17), (MPII16, 16), (LSP14, 14), (H36M17, 17), (BLAZEPOSE33, 33)]
)
def test_counts_and_trees(skeleton, count):
    assert len(skeleton) == count
    roots = [j for j, p in enumerate(skeleton.parents) if j == p]
    assert len(roots) == 1
    assert len(skeleton.bones) == count - 1
    for joint in range(count):  # every joint leads to the root
        seen = set()
        while joint != roots[0]:
            assert joint not in seen
            seen.add(joint)
            joint = skeleton.parents[joint]


def test_orders_are_those_of_the_data_sets():
    # cocoapi's list of keypoints; MPII's ids and LSP's rows as their authors number them.
    assert COCO17.joints[:5] == ("nose", "left_eye", "right_eye", "left_ear", "right_ear")
    assert [COCO17.index(j) for j in ("left_shoulder", "right_wrist", "left_hip", "right_ankle")] == [
        5,
        10,
        11,
        16,
    ]
    assert [
        MPII16.index(j)
        for j in ("right_ankle", "pelvis", "thorax", "neck", "head_top", "right_wrist", "left_wrist")
    ] == [0, 6, 7, 8, 9, 10, 15]
    assert [
        LSP14.index(j)
        for j in ("right_ankle", "left_hip", "left_ankle", "right_wrist", "left_shoulder", "neck", "head_top")
    ] == [
        0,
        3,
        5,
        6,
        9,
        12,
        13,
    ]
    assert [
        H36M17.index(j) for j in ("pelvis", "right_hip", "left_hip", "thorax", "left_shoulder", "right_wrist")
    ] == [0, 1, 4, 8, 11, 16]
    assert [
        BLAZEPOSE33.index(j) for j in ("nose", "left_shoulder", "right_hip", "left_heel", "right_foot_index")
    ] == [0, 11, 24, 29, 32]


def test_body19_is_cocos_with_neck_and_head_top():
    assert BODY19.joints == (*COCO17.joints, "neck", "head_top")
    assert BODY19.sigmas[:17] == COCO17.sigmas
    assert BODY19.flip.tolist() == [*COCO17.flip.tolist(), 17, 18]
    named = {BODY19.joints[a]: BODY19.joints[b] for a, b in enumerate(BODY19.parents)}
    assert (named["nose"], named["left_shoulder"], named["right_hip"], named["neck"]) == (
        "head_top",
        "neck",
        "neck",
        "neck",
    )
    # COCO's people have neither neck nor head top, MPII's and LSP's have both, beside the twelve limb joints;
    # what body19 has goes back unchanged.
    for other, known in ((COCO17, 17), (MPII16, 14), (LSP14, 14)):
        there, back = other.to(BODY19), BODY19.to(other)
        assert there.known.sum() == known
        points = joints(other, 3)
        again = back.joints(there.joints(points))
        for joint in set(other.joints) & set(BODY19.joints):
            np.testing.assert_allclose(again[:, other.index(joint)], points[:, other.index(joint)])


@given(name)
def test_flip_is_an_involution_that_exchanges_the_sides(skeleton):
    flip = skeleton.flip
    assert sorted(flip) == list(range(len(skeleton)))
    assert (flip[flip] == np.arange(len(skeleton))).all()
    for joint, mirror in enumerate(flip):
        a, b = skeleton.joints[joint], skeleton.joints[mirror]
        assert a == b if joint == mirror else {a.split("_")[0], b.split("_")[0]} == {"left", "right"}
        assert a.removeprefix("left_").removeprefix("right_") == b.removeprefix("left_").removeprefix(
            "right_"
        )
        # The mirror image of a bone is a bone, but where the tree has one side only as parent.
        assert flip[skeleton.parents[joint]] == skeleton.parents[mirror]


@given(name, name, st.integers(0, 99))
def test_there_and_back_keeps_the_joints_in_common(a, b, seed):
    there, back = a.to(b), b.to(a)
    xy = joints(a, seed)
    again = back.joints(there.joints(xy))
    common = [j for j in a.joints if j in b.joints]
    assert common
    for joint in common:
        np.testing.assert_allclose(again[:, a.index(joint)], xy[:, a.index(joint)])


@given(name, name, st.integers(0, 99))
def test_converting_commutes_with_flipping(a, b, seed):
    xy = joints(a, seed)
    np.testing.assert_allclose(a.to(b).joints(xy[:, a.flip]), a.to(b).joints(xy)[:, b.flip], atol=1e-9)


@pytest.mark.parametrize(("a", "b"), PAIRS)
def test_matrix_weights_and_known_agree(a, b):
    how = a.to(b)
    assert how.matrix.shape == (len(b), len(a))
    np.testing.assert_allclose(how.matrix.sum(1), how.known)
    assert (how.weights(np.ones(len(a), int)) == how.known).all()
    # An independent reading of the names.
    middles = {"pelvis": "hip", "thorax": "shoulder"}
    for row, joint in enumerate(b.joints):
        sides = [
            a.joints.index(f"{s}_{middles[joint]}")
            for s in ("left", "right")
            if joint in middles and f"{s}_{middles[joint]}" in a.joints
        ]
        expected = [a.joints.index(joint)] if joint in a.joints else sides if len(sides) == 2 else []
        assert np.flatnonzero(how.matrix[row]).tolist() == sorted(expected)
        assert how.single[row] == (expected[0] if len(expected) == 1 else -1)


def test_to_itself_is_the_identity():
    for skeleton in EVERY:
        np.testing.assert_array_equal(skeleton.to(skeleton).matrix, np.eye(len(skeleton)))


def test_pelvis_is_the_middle_of_the_hips_and_as_sure_as_the_less_sure():
    xy, weight = np.zeros((17, 2)), np.zeros(17)
    xy[11], xy[12], weight[11], weight[12] = (10, 4), (20, 8), 0.9, 0.3
    how = COCO17.to(MPII16)
    assert how.joints(xy)[MPII16.index("pelvis")].tolist() == [15, 6]
    assert how.weights(weight)[MPII16.index("pelvis")] == 0.3
    assert how.weights(weight)[MPII16.index("head_top")] == 0
    assert not how.known[MPII16.index("neck")]
    assert how.weights(np.array([2] * 17, np.uint8)).dtype == np.uint8


def test_nothing_in_common_is_an_error():
    hand = Skeleton("hand", ("wrist", "thumb"), (0, 0))
    with pytest.raises(
        ValueError, match=r"hand .*and coco17 .*have no joint in common; joints are matched by name"
    ):
        hand.to(COCO17)


def test_unknown_joint_lists_those_there_are():
    with pytest.raises(KeyError, match="lsp14 has no joint 'nose'; it has right_ankle"):
        LSP14.index("nose")


@pytest.mark.parametrize(
    ("fields", "match"),
    [
        ((("a", "b", "a"), (0, 0, 0)), "names a more than once"),
        ((("a", "b"), (0,)), "one parent index in 0..1"),
        ((("a", "b"), (0, 2)), "one parent index in 0..1"),
        ((("a", "left_b"), (0, 0)), "has left_b but no right_b"),
        ((("a", "b"), (0, 0), (0.1,)), "2 joints but 1 sigmas"),
    ],
)
def test_bad_skeletons(fields, match):
    with pytest.raises(ValueError, match=match):
        Skeleton("bad", *fields)


def test_sigmas_of_coco():
    # cocoapi: np.array([.26, .25, .25, .35, .35, .79, .79, .72, .72, .62, .62, 1.07, 1.07, .87, .87, .89,
    # .89]) / 10
    np.testing.assert_allclose(
        np.multiply(COCO17.sigmas, 10),
        [
            0.26,
            0.25,
            0.25,
            0.35,
            0.35,
            0.79,
            0.79,
            0.72,
            0.72,
            0.62,
            0.62,
            1.07,
            1.07,
            0.87,
            0.87,
            0.89,
            0.89,
        ],
    )


def test_an_unknown_joint_spoils_no_other():
    """LSP has no nose, so one that is NaN goes nowhere; a middle of two is NaN with either."""
    joints = np.ones((2, 17, 2), np.float32)
    joints[0, COCO17.index("nose")] = np.nan
    joints[1, COCO17.index("left_hip")] = np.nan
    found = COCO17.to(LSP14).joints(joints)
    assert found.dtype == np.float32
    assert np.isfinite(found[0]).all()
    assert np.flatnonzero(np.isnan(found[1]).any(-1)).tolist() == [LSP14.index("left_hip")]
    pelvis = COCO17.to(MPII16).joints(joints)[:, MPII16.index("pelvis")]
    assert np.isnan(pelvis).any(-1).tolist() == [False, True]
