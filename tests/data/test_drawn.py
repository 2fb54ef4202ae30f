"""The drawn people: the same for the same seed, true joints, sides that can be told."""

from __future__ import annotations

import numpy as np
import pytest

from poseling.data.drawn import PARTS, drawn, figure
from poseling.data.lsp import lsp
from poseling.files import read_picture
from poseling.skeleton import LSP14


@pytest.fixture(scope="module")
def people(tmp_path_factory):
    return drawn(60, tmp_path_factory.mktemp("drawn") / "set", seed=0)


def test_same_seed_same_bytes(tmp_path, people):
    again = drawn(60, tmp_path / "again", seed=0)
    np.testing.assert_array_equal(again.joints, people.joints)
    assert all(a.read_bytes() == b.read_bytes() for a, b in zip(again.pictures, people.pictures, strict=True))
    # A shorter set is the beginning of the longer one; another seed is another set.
    np.testing.assert_array_equal(drawn(5, tmp_path / "shorter", seed=0).joints, people.joints[:5])
    assert not np.isclose(drawn(5, tmp_path / "other", seed=1).joints, people.joints[:5]).all(-1).any()


def test_it_is_a_set_in_the_layout_of_lsp(people):
    root = people.pictures[0].parent.parent
    np.testing.assert_array_equal(lsp(root).joints, people.joints)
    assert people.skeleton == LSP14
    assert people.name == "drawn"
    assert people.left_out == ()


def test_joints_are_in_the_picture(people):
    for path, xy in zip(people.pictures, people.joints, strict=True):
        height, width = read_picture(path).shape[:2]
        assert 112 <= width <= 144
        assert 112 <= height <= 144
        assert (xy >= 0).all()
        assert (xy <= [width - 1, height - 1]).all()
    assert (people.boxes[:, 2:] - people.boxes[:, :2]).max(1).min() > 30


def test_some_joints_are_hidden_and_most_are_seen(people):
    assert set(np.unique(people.visible)) == {1, 2}
    assert 0.02 < (people.visible == 1).mean() < 0.3


def test_bones_have_the_length_of_people(people):
    """In the picture a bone is as long as it is or shorter. So the longest shins and forearms of many people are in the ratio of the lengths."""

    def longest(child, parent):
        a, b = people.joints[:, LSP14.index(child)], people.joints[:, LSP14.index(parent)]
        return np.quantile(np.linalg.norm(a - b, axis=-1), 0.9)

    assert 1.1 < longest("left_ankle", "left_knee") / longest("left_wrist", "left_elbow") < 2.2
    assert 0.8 < longest("left_ankle", "left_knee") / longest("right_knee", "right_hip") < 1.3


def test_joints_are_where_the_body_is():
    """The same person on two backgrounds: pixels at joints that are seen differ less than those of the backgrounds."""
    here = []
    for i in range(40):
        picture, xy, occluded = figure(np.random.default_rng((5, i)))
        column, row = np.round(xy).astype(int).T
        corner = picture[[0, 0, -1, -1], [0, -1, 0, -1]].astype(int)
        joint = picture[row, column][~occluded].astype(int)
        here.append(np.abs(joint[:, None] - corner[None]).sum(-1).min(1).mean())
    assert np.median(here) > 60  # of 765: the body does not look like the background


def test_sides_can_be_told_by_the_front():
    """Most face the viewer, and so have their left on the picture's right; those who do not show another side of head and shirt."""
    right = 0
    for i in range(100):
        _, xy, _ = figure(np.random.default_rng((6, i)))
        right += xy[LSP14.index("left_shoulder"), 0] > xy[LSP14.index("right_shoulder"), 0]
    assert 0.6 < right / 100 < 0.9


def test_arms_hang_away_from_the_body(people):
    """Elbows are farther out than shoulders, but for arms that cross the chest."""
    outward, wide = [], []
    for side, other in (("left", "right"), ("right", "left")):
        at = {j: people.joints[:, LSP14.index(j)] for j in (f"{side}_shoulder", f"{other}_shoulder", f"{side}_elbow")}
        across = at[f"{side}_shoulder"] - at[f"{other}_shoulder"]
        outward.append(((at[f"{side}_elbow"] - at[f"{side}_shoulder"]) * across).sum(-1) > 0)
        wide.append(np.linalg.norm(across, axis=-1) > 15)
    assert np.concatenate(outward)[np.concatenate(wide)].mean() > 0.65


def test_every_part_shows_joints_of_the_skeleton():
    shown = {joint for _, joints in PARTS for joint in joints}
    assert shown == set(LSP14.joints)


def test_a_folder_with_something_else_is_refused(tmp_path):
    drawn(2, tmp_path / "set", seed=0)
    with pytest.raises(ValueError, match=r"set: holds .*\"count\": 2, \"seed\": 0.*remove it or name another folder"):
        drawn(3, tmp_path / "set", seed=0)
    with pytest.raises(ValueError, match="holds no drawn people"):
        drawn(3, tmp_path, seed=0)
    with pytest.raises(ValueError, match="one or more"):
        drawn(0, tmp_path / "none", seed=0)


def test_an_interrupted_drawing_leaves_nothing(tmp_path, monkeypatch):
    def stop(random):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("poseling.data.drawn.figure", stop)
        with pytest.raises(KeyboardInterrupt):
            drawn(3, tmp_path / "set", seed=0)
    assert list(tmp_path.iterdir()) == []
    assert len(drawn(3, tmp_path / "set", seed=0)) == 3
