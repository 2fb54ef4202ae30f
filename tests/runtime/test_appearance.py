"""The colours of clothes, on people drawn with colours that are known."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from poseling.runtime.appearance import OTHER, alike, colours, difference, unlike
from poseling.skeleton import BODY19, COCO17, MOVNECT15, Skeleton

WALL = (90, 90, 90)
RED, BLUE, GREEN, WHITE = (40, 40, 200), (180, 60, 30), (60, 160, 40), (235, 235, 235)
PLACES = {
    "left_shoulder": (40, 0), "right_shoulder": (0, 0), "left_hip": (34, 60), "right_hip": (6, 60),
    "left_knee": (36, 110), "right_knee": (4, 110),
}  # fmt: skip


def joints(skeleton: Skeleton, x: float, y: float) -> np.ndarray:
    """A person 40 x 110 pixels from shoulders to knees at (x, y), every other joint in the trunk's middle."""
    return np.array([np.add(PLACES.get(j, (20, 30)), (x, y)) for j in skeleton.joints], float)


def dressed(image: np.ndarray, x: int, y: int, trunk, thighs) -> None:
    cv2.rectangle(image, (x, y), (x + 40, y + 60), trunk, -1)
    cv2.rectangle(image, (x, y + 61), (x + 40, y + 115), thighs, -1)


@pytest.mark.parametrize("skeleton", [COCO17, BODY19, MOVNECT15])
def test_the_colours_are_those_of_opencv(skeleton):
    image = np.full((200, 300, 3), WALL, np.uint8)
    dressed(image, 100, 40, RED, BLUE)
    sure = np.ones(len(skeleton), bool)
    found = colours(image, joints(skeleton, 100, 40), sure, skeleton)
    for part, colour in zip(found, (RED, BLUE), strict=True):
        lab = cv2.cvtColor(np.float32([[colour]]) / 255, cv2.COLOR_BGR2Lab)[0, 0]
        assert np.allclose(part[:3], lab, atol=1e-3)
        assert part[3] == 1
    # The thighs are not known without a knee; nothing without a hip.
    sure[skeleton.index("left_knee")] = False
    found = colours(image, joints(skeleton, 100, 40), sure, skeleton)
    assert np.isfinite(found[0]).all()
    assert np.isnan(found[1]).all()
    sure[skeleton.index("left_hip")] = False
    assert colours(image, joints(skeleton, 100, 40), sure, skeleton) is None


def test_clothes_of_the_walls_colour_tell_nothing_of_who_it_is():
    image = np.full((200, 300, 3), WALL, np.uint8)
    dressed(image, 100, 40, WALL, BLUE)
    found = colours(image, joints(COCO17, 100, 40), np.ones(17, bool), COCO17)
    assert found[:, 3].tolist() == [0, 1]
    assert difference(found, found) == 0
    assert alike(found, found) == 0  # the thighs do
    dressed(image, 100, 40, WALL, WALL)
    found = colours(image, joints(COCO17, 100, 40), np.ones(17, bool), COCO17)
    assert found[:, 3].tolist() == [0, 0]
    assert alike(found, found) == float("inf")


def test_outside_the_image_is_nothing():
    image = np.full((200, 300, 3), WALL, np.uint8)
    sure = np.ones(17, bool)
    assert colours(image, joints(COCO17, 1000, 40), sure, COCO17) is None
    assert colours(image, joints(COCO17, -1e9, 40), sure, COCO17) is None
    # Half of the trunk is seen, and none of the thighs.
    found = colours(image, joints(COCO17, 100, 165), sure, COCO17)
    assert np.isfinite(found[0]).all()
    assert np.isnan(found[1]).all()


def test_a_hand_has_no_clothes():
    hand = Skeleton("hand", ("wrist", "thumb"), (0, 0))
    assert colours(np.zeros((9, 9, 3), np.uint8), np.zeros((2, 2)), np.ones(2, bool), hand) is None


def test_what_two_differences_say():
    first = np.array([[50.0, 0, 0, 1], [20, 10, 0, 1]])
    second = first + [[0, 2 * OTHER, 0, 0], [OTHER, 0, 0, 0]]  # lightness counts half
    assert difference(first, second) == pytest.approx(np.sqrt((4 + 0.25) / 2))
    assert unlike(first, second) == pytest.approx(0.5)
    assert alike(first, second) == pytest.approx(2)
    plain = second.copy()
    plain[0, 3] = 0  # the trunk is of the wall's colour, the thighs are not
    assert alike(first, plain) == pytest.approx(2)
    plain[1, 3] = 0
    assert alike(first, plain) == alike(plain, first) == float("inf")
    one = second.copy()
    one[1] = np.nan
    assert difference(first, one) == pytest.approx(2)
    assert np.isnan(unlike(first, one))
    assert alike(first, one) == float("inf")
    assert np.isnan(difference(None, first))


@given(
    st.integers(0, 2**32 - 1),
    st.integers(1, 40),
    st.integers(1, 40),
    st.floats(-1e12, 1e12),
    st.floats(-50, 80),
)
def test_any_image_and_any_pose_give_numbers_or_nothing(seed, width, height, far, near):
    random = np.random.default_rng(seed)
    image = random.integers(0, 256, (height, width, 3), np.uint8)
    xy = random.normal(near, 30, (17, 2))
    xy[random.integers(17)] = far
    found = colours(image, xy, random.random(17) < 0.9, COCO17)
    assert found is None or all(np.isfinite(row).all() or np.isnan(row).all() for row in found)
