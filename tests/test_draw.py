"""Drawing: the right colours at the right places, and nothing else touched."""

from __future__ import annotations

import numpy as np
import pytest

from poseling.draw import LEFT, MIDDLE, RIGHT, draw, draw_box, draw_ids, draw_space, side_colours, thickness
from poseling.pose import Pose
from poseling.skeleton import COCO17, LSP14, Skeleton


def like(pixel, colour):
    """Thin smooth lines do not quite reach their colour."""
    return np.abs(pixel.astype(int) - colour).max() < 40


ARM = Skeleton("arm", ("left_hand", "right_hand", "chest"), (2, 2, 2))


@pytest.fixture
def image():
    return np.full((100, 200, 3), 128, np.uint8)


def pose(score=(1.0, 1.0, 1.0)):
    return Pose(np.array([[[180, 50], [20, 50], [100, 50]]]), np.array([score]), ARM)


def test_bones_have_the_colour_of_the_child_side(image):
    out = draw(image, pose())
    assert like(out[50, 140], LEFT)
    assert like(out[50, 60], RIGHT)
    assert like(out[50, 100], MIDDLE)
    assert (image == 128).all()  # what came in stays
    assert (out[:40] == 128).all()
    assert (out[60:] == 128).all()


def test_a_joint_below_the_threshold_takes_its_bone_along(image):
    out = draw(image, pose((1.0, 0.1, 1.0)))
    assert (out[:, :90] == 128).all()
    assert like(out[50, 140], LEFT)
    assert like(draw(image, pose((1.0, 0.1, 1.0)), threshold=0.05)[50, 60], RIGHT)
    assert (draw(image, pose((0, 0, 0))) == 128).all()


def test_joints_outside_or_not_finite(image):
    far = Pose(np.array([[[np.nan, 50], [1e30, 50], [-500, 50]]]), np.ones((1, 3)), ARM)
    assert (draw(image, far) == 128).all()
    partly = Pose(np.array([[[300, 50], [20, 50], [100, 50]]]), np.ones((1, 3)), ARM)
    assert like(draw(image, partly)[50, 199], LEFT)


def test_hollow_joints_are_rings(image):
    out = draw(image, pose(), hollow=np.array([[True, False, False]]))
    assert like(out[50, 180], (255, 255, 255))
    assert like(out[50, 20], RIGHT)


def test_lines_lie_at_fractions_of_a_pixel():
    """The ink of a line half a pixel lower lies half a pixel lower, in the mean."""
    paper = np.full((100, 700, 3), 128, np.uint8)

    def middle(y):
        column = np.abs(
            draw(paper, Pose(np.array([[[600, y], [20, y], [300, y]]]), np.ones((1, 3)), ARM))[:, 450].astype(
                float
            )
            - 128
        ).sum(-1)
        return (column * np.arange(100)).sum() / column.sum()

    assert middle(50.0) == pytest.approx(50, abs=0.1)
    assert middle(50.5) == pytest.approx(
        50.5, abs=0.35
    )  # OpenCV is off by a third; without fractions it would be a half


def test_thickness_grows_with_the_person():
    assert thickness(np.array([[0.0, 0.0], [30.0, 40.0]])) == 1
    assert thickness(np.array([[0.0, 0.0], [300.0, 400.0]])) == 5


def test_several_people_and_none(image):
    two = Pose(np.concatenate([pose().xy, pose().xy + np.array([0, 30])]), np.ones((2, 3)), ARM)
    out = draw(image, two)
    assert like(out[[50, 80], 140], LEFT)
    assert (draw(image, two[np.zeros(2, bool)]) == 128).all()


def test_ids_stand_above_their_people(image):
    two = Pose(np.concatenate([pose().xy, pose().xy + np.array([0, 40])]), np.ones((2, 3)), ARM, ids=[3, 14])
    changed = (draw_ids(image, two) != image).any(-1)
    tops = [xy[xy[:, 1].argmin()] for xy in two.xy]
    for x, y in tops:
        above = changed[int(y) - 30 : int(y) - 2, int(x) - 12 : int(x) + 13]
        assert above.any()
    assert not changed[int(max(y for _, y in tops)) :].any()
    unseen = Pose(two.xy, np.zeros((2, 3)), ARM)
    np.testing.assert_array_equal(draw_ids(image, unseen), image)


def test_sides_by_name():
    assert side_colours(COCO17)[:3] == [MIDDLE, LEFT, RIGHT]
    assert side_colours(LSP14)[0] == RIGHT


def test_a_grey_image_is_an_error():
    with pytest.raises(ValueError, match=r"shape \(5, 5\) of uint8, expected \(H, W, 3\)"):
        draw(np.zeros((5, 5), np.uint8), pose())


def test_box(image):
    out = draw_box(image, np.array([20.0, 10, 60, 40]))
    assert like(out[10, 40], (255, 255, 255))
    assert out[25, 40].tolist() == [128, 128, 128]
    assert (draw_box(image, np.array([20.0, np.nan, 60, 40])) == 128).all()


# Half a metre to each side of a chest, in camera axes: the left hand is at x = 0.5.
CROSS = np.array([[[0.5, -1.0, 2.0], [-0.5, -1.0, 2.0], [0.0, -1.0, 2.0]]])


def ink(image, colour):
    """Where an image's colour is that of a side, however dark: (n, 2) x and y."""
    wanted = np.array(colour) / np.linalg.norm(colour)
    length = np.linalg.norm(image, axis=-1)
    alike = (image @ wanted) / np.maximum(length, 1)
    return np.argwhere((alike > 0.995) & (length > 100))[:, ::-1]


@pytest.mark.parametrize(("yaw", "left", "right"), [(0, 1, -1), (180, -1, 1)])
def test_people_in_space_seen_from_before_and_behind(yaw, left, right):
    view = draw_space(CROSS, ARM, (320, 240), yaw=yaw, pitch=0)
    assert view.shape == (240, 320, 3)
    assert np.sign(ink(view, LEFT)[:, 0].mean() - 159.5) == left
    assert np.sign(ink(view, RIGHT)[:, 0].mean() - 159.5) == right


def test_what_is_nearer_is_lighter_and_hides_what_is_behind():
    """From the right of the camera's view (yaw 90) the left hand, at x = 0.5, is before the right one."""
    view = draw_space(CROSS, ARM, (320, 240), yaw=90, pitch=0)
    assert len(ink(view, LEFT)) > 2 * len(ink(view, RIGHT))
    high = draw_space(CROSS, ARM, (320, 240), yaw=90, pitch=60)
    (_, near), (_, far) = (ink(high, c).mean(0) for c in (LEFT, RIGHT))
    assert near > far  # from above, near is low in the image
    assert high[*ink(high, LEFT)[:, ::-1].T].max() > 1.05 * high[*ink(high, RIGHT)[:, ::-1].T].max()


def test_the_lowest_joint_stands_on_the_floor_wherever_the_person_is():
    assert (draw_space(CROSS, ARM, (320, 240)) == draw_space(CROSS + (3.0, -1.0, 7.0), ARM, (320, 240))).all()


def test_people_far_apart_are_all_in_the_image():
    crowd = np.concatenate([CROSS + (3.0 * i, 0, 0) for i in range(3)])
    view = draw_space(crowd, ARM, (320, 240), yaw=0)
    for colour in (LEFT, RIGHT):
        assert len({x // 40 for x, _ in ink(view, colour).tolist()}) >= 3
        assert 5 < ink(view, colour)[:, 0].min() < ink(view, colour)[:, 0].max() < 314


def test_joints_in_space_that_are_not_there():
    empty = draw_space(CROSS[:0], ARM, (320, 240))
    assert (draw_space(CROSS * np.nan, ARM, (320, 240)) == empty).all()
    assert (draw_space(CROSS * 1e9, ARM, (320, 240)) == empty).all()
    assert (draw_space(CROSS, ARM, (320, 240), shown=np.zeros((1, 3), bool)) == empty).all()
    one = draw_space(CROSS, ARM, (320, 240), shown=np.array([[True, False, True]]))
    assert len(ink(one, LEFT))
    assert not len(ink(one, RIGHT))
