"""Drawing: the right colours at the right places, and nothing else touched."""

from __future__ import annotations

import numpy as np
import pytest

from poseling.pose import Pose
from poseling.runtime.draw import LEFT, MIDDLE, RIGHT, draw, draw_box, side_colours, thickness
from poseling.skeleton import COCO17, LSP14, Skeleton


def like(pixel, colour):
    """Thin smooth lines do not quite reach their colour."""
    return np.abs(pixel.astype(int) - colour).max() < 40


ARM = Skeleton("arm", ("left_hand", "right_hand", "chest"), (2, 2, 2))


@pytest.fixture
def picture():
    return np.full((100, 200, 3), 128, np.uint8)


def pose(score=(1.0, 1.0, 1.0)):
    return Pose(np.array([[[180, 50], [20, 50], [100, 50]]]), np.array([score]), ARM)


def test_bones_have_the_colour_of_the_child_side(picture):
    out = draw(picture, pose())
    assert like(out[50, 140], LEFT)
    assert like(out[50, 60], RIGHT)
    assert like(out[50, 100], MIDDLE)
    assert (picture == 128).all()  # what came in stays
    assert (out[:40] == 128).all()
    assert (out[60:] == 128).all()


def test_a_joint_below_the_threshold_takes_its_bone_along(picture):
    out = draw(picture, pose((1.0, 0.1, 1.0)))
    assert (out[:, :90] == 128).all()
    assert like(out[50, 140], LEFT)
    assert like(draw(picture, pose((1.0, 0.1, 1.0)), threshold=0.05)[50, 60], RIGHT)
    assert (draw(picture, pose((0, 0, 0))) == 128).all()


def test_joints_outside_or_not_finite(picture):
    far = Pose(np.array([[[np.nan, 50], [1e30, 50], [-500, 50]]]), np.ones((1, 3)), ARM)
    assert (draw(picture, far) == 128).all()
    partly = Pose(np.array([[[300, 50], [20, 50], [100, 50]]]), np.ones((1, 3)), ARM)
    assert like(draw(picture, partly)[50, 199], LEFT)


def test_hollow_joints_are_rings(picture):
    out = draw(picture, pose(), hollow=np.array([[True, False, False]]))
    assert like(out[50, 180], (255, 255, 255))
    assert like(out[50, 20], RIGHT)


def test_lines_lie_at_fractions_of_a_pixel():
    """The ink of a line half a pixel lower lies half a pixel lower, in the mean."""
    paper = np.full((100, 700, 3), 128, np.uint8)

    def middle(y):
        column = np.abs(draw(paper, Pose(np.array([[[600, y], [20, y], [300, y]]]), np.ones((1, 3)), ARM))[:, 450].astype(float) - 128).sum(-1)
        return (column * np.arange(100)).sum() / column.sum()

    assert middle(50.0) == pytest.approx(50, abs=0.1)
    assert middle(50.5) == pytest.approx(50.5, abs=0.35)  # OpenCV is off by a third; without fractions it would be a half


def test_thickness_grows_with_the_person():
    assert thickness(np.array([[0.0, 0.0], [30.0, 40.0]])) == 1
    assert thickness(np.array([[0.0, 0.0], [300.0, 400.0]])) == 5


def test_several_people_and_none(picture):
    two = Pose(np.concatenate([pose().xy, pose().xy + np.array([0, 30])]), np.ones((2, 3)), ARM)
    out = draw(picture, two)
    assert like(out[[50, 80], 140], LEFT)
    assert (draw(picture, two[np.zeros(2, bool)]) == 128).all()


def test_sides_by_name():
    assert side_colours(COCO17)[:3] == [MIDDLE, LEFT, RIGHT]
    assert side_colours(LSP14)[0] == RIGHT


def test_a_grey_picture_is_an_error():
    with pytest.raises(ValueError, match=r"shape \(5, 5\) of uint8, expected \(H, W, 3\)"):
        draw(np.zeros((5, 5), np.uint8), pose())


def test_box(picture):
    out = draw_box(picture, np.array([20.0, 10, 60, 40]))
    assert like(out[10, 40], (255, 255, 255))
    assert out[25, 40].tolist() == [128, 128, 128]
    assert (draw_box(picture, np.array([20.0, np.nan, 60, 40])) == 128).all()
