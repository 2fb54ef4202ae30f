"""The one affine: there and back, what it keeps, and that images and points move alike."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from poseling.geometry import (
    Crop,
    affine,
    block,
    compose,
    joints_box,
    person_size,
    project,
    quaternion,
    quaternion_matrix,
    ray_rotation,
    rotation_matrix,
    rotation_vector,
)

sizes = st.tuples(st.integers(16, 300), st.integers(16, 300))
places, extents = st.floats(-500, 500), st.floats(4, 800)
boxes = st.tuples(places, places, extents, extents).map(lambda b: (b[0], b[1], b[0] + b[2], b[1] + b[3]))
crops = st.builds(
    Crop.from_box,
    boxes,
    sizes,
    st.floats(1, 2),
    st.floats(-180, 180),
    st.floats(0.5, 2),
    st.tuples(st.floats(-0.2, 0.2), st.floats(-0.2, 0.2)),
    st.booleans(),
)
points = st.lists(st.tuples(st.floats(-1000, 1000), st.floats(-1000, 1000)), min_size=1, max_size=5).map(
    np.array
)


@given(crops, points)
def test_there_and_back(crop, xy):
    np.testing.assert_allclose(crop.invert(crop.apply(xy)), xy, atol=1e-6)
    np.testing.assert_allclose(crop.apply(crop.invert(xy)), xy, atol=1e-6)


@given(boxes, sizes, st.floats(1, 2))
def test_the_padded_box_fits_and_touches(box, size, padding):
    corners = np.array(box).reshape(2, 2)
    centre = corners.mean(0)
    low, high = Crop.from_box(box, size, padding).apply(centre + padding * (corners - centre))
    last = np.array(size) - 1
    assert (low >= -1e-6).all()
    assert (high <= last + 1e-6).all()
    assert np.isclose(high - low, last, atol=1e-6).any()  # as large as it can be
    np.testing.assert_allclose((low + high) / 2, last / 2, atol=1e-6)


@given(crops)
def test_angles_and_shares_are_kept(crop):
    """One scale for both axes: the matrix is a turn times a number, mirrored or not."""
    linear = crop.matrix[:, :2]
    square = linear @ linear.T
    np.testing.assert_allclose(square, square[0, 0] * np.eye(2), atol=1e-9 * square[0, 0])
    assert (np.linalg.det(linear) < 0) == crop.flipped


rows = st.tuples(
    boxes,
    st.floats(-180, 180),
    st.floats(0.5, 2),
    st.tuples(st.floats(-0.2, 0.2), st.floats(-0.2, 0.2)),
    st.booleans(),
)


@given(st.lists(rows, min_size=1, max_size=6), sizes, st.floats(1, 2))
def test_many_crops_at_once_are_each_by_itself(rows, size, padding):
    """And as written down: the box's middle to 0, turned, scaled so that the padded box just fits, to the
    shifted middle of the input, mirrored.
    """
    found = Crop.matrices(
        np.array([row[0] for row in rows]),
        size,
        padding,
        *(np.array(part) for part in list(zip(*rows, strict=True))[1:]),
    )
    last = np.array(size) - 1
    for (box, rotation, scale, shift, flip), matrix in zip(rows, found, strict=True):
        np.testing.assert_array_equal(
            matrix, Crop.from_box(box, size, padding, rotation, scale, shift, flip).matrix
        )
        low, high = np.array(box).reshape(2, 2)
        turn = (
            Rotation.from_rotvec([0, 0, np.deg2rad(rotation)]).as_matrix()[:2, :2]
            * scale
            * min(last / (padding * (high - low)))
        )
        for point in (low, high, np.array([box[0], box[3]])):
            x, y = turn @ (point - (low + high) / 2) + last * (0.5 + np.array(shift))
            np.testing.assert_allclose(affine(matrix, point), [last[0] - x if flip else x, y], atol=1e-6)


def test_the_bad_box_of_many_is_named():
    ones, none = np.ones(2), np.zeros(2)
    bad = np.array([[0, 0, 9, 9], [5, 5, 5, 8]])
    with pytest.raises(ValueError, match=r"box \(5, 5, 5, 8\) has no area"):
        Crop.matrices(bad, (64, 64), 1.25, none, ones, np.zeros((2, 2)), none > 0)


@given(boxes, sizes, st.floats(-90, 90), points)
def test_flip_mirrors_the_input_exactly(box, size, rotation, xy):
    plain, flipped = (Crop.from_box(box, size, rotation=rotation, flip=f).apply(xy) for f in (False, True))
    np.testing.assert_allclose(flipped[:, 0], size[0] - 1 - plain[:, 0], atol=1e-9)
    np.testing.assert_allclose(flipped[:, 1], plain[:, 1], atol=1e-9)


def test_scale_shift_and_rotation_by_hand():
    box, size = (0, 0, 100, 100), (101, 101)
    right = np.array([[100.0, 50.0]])  # 50 to the right of the centre
    assert Crop.from_box(box, size, padding=1).apply(right)[0].tolist() == [100, 50]
    np.testing.assert_allclose(Crop.from_box(box, size, padding=1, scale=2).apply(right), [[150, 50]])
    np.testing.assert_allclose(Crop.from_box(box, size, padding=2).apply(right), [[75, 50]])
    np.testing.assert_allclose(
        Crop.from_box(box, size, padding=1, shift=(0.1, -0.2)).apply(right), [[110, 30]]
    )
    # Clockwise by 90 degrees: what was right is now below.
    np.testing.assert_allclose(
        Crop.from_box(box, size, padding=1, rotation=90).apply(right), [[50, 100]], atol=1e-9
    )


def test_whole_image():
    crop = Crop.whole((200, 100), (64, 64))
    np.testing.assert_allclose(
        crop.apply(np.array([[0.0, 0.0], [199.0, 99.0]])),
        [[0, 63 / 2 - 99 / 2 * 63 / 199], [63, 63 / 2 + 99 / 2 * 63 / 199]],
    )


@pytest.mark.parametrize(
    "box", [(5, 5, 5, 9), (5, 9, 8, 9), (8, 0, 5, 9), (0, 0, np.nan, 9), (0, 0, np.inf, 9)]
)
def test_a_box_without_area_is_an_error(box):
    with pytest.raises(ValueError, match="has no area"):
        Crop.from_box(box, (64, 64))


def dot(size, at, sigma):
    """An image with one smooth dot, and its place."""
    x = np.exp(-0.5 * ((np.arange(size[0]) - at[0]) / sigma) ** 2)
    y = np.exp(-0.5 * ((np.arange(size[1]) - at[1]) / sigma) ** 2)
    return np.repeat(np.round(250 * y[:, None] * x[None, :]).astype(np.uint8)[..., None], 3, 2)


def middle(image):
    """The centre of mass of the ink."""
    ink = image[..., 0].astype(float)
    y, x = np.mgrid[: ink.shape[0], : ink.shape[1]]
    return np.array([(ink * x).sum(), (ink * y).sum()]) / ink.sum()


@settings(max_examples=60, deadline=None)
@given(
    st.floats(0.25, 9),
    st.floats(-180, 180),
    st.booleans(),
    st.tuples(st.floats(0.35, 0.65), st.floats(0.35, 0.65)),
    st.tuples(st.integers(60, 90), st.integers(60, 90)),
    st.tuples(st.integers(300, 420), st.integers(300, 420)),
)
def test_a_dot_goes_where_its_point_goes(shrink, rotation, flip, share, size, image_size):
    """Below a factor of two in one step, above it with an average first."""
    at = np.array(share) * image_size
    half = shrink * (np.array(size) - 1) / 2
    crop = Crop.from_box(
        (*(at - 0.9 * half), *(at + 1.1 * half)), size, padding=1, rotation=rotation, flip=flip
    )
    sigma = max(3.0, 2.5 * shrink)
    expected = crop.apply(at)
    reach = 4 * sigma / shrink
    assume((expected > reach).all() and (expected < np.array(size) - 1 - reach).all())
    assume((at > 4 * sigma).all() and (at < np.array(image_size) - 1 - 4 * sigma).all())
    assert np.abs(middle(crop.warp(dot(image_size, at, sigma))) - expected).max() < 0.1


@pytest.mark.parametrize("factor", [2.0, 2.5, 3.7, 8.0])
def test_fine_stripes_become_grey_not_noise(factor):
    """Every other row black and white: what shrinks by more than two must average them."""
    image = np.zeros((400, 400, 3), np.uint8)
    image[::2] = 255
    size = int(400 / factor)
    out = Crop.whole((400, 400), (size, size)).warp(image)[2:-2, 2:-2].astype(int)
    # Averages of whole blocks are 127.5 where the block is even, and between a third and two thirds of 255
    # where it is three rows.
    assert out.min() >= 84
    assert out.max() <= 171


@given(st.floats(2.1, 9), st.floats(-200, 200), st.floats(-40, 40), st.sampled_from([(300, 210), (301, 210)]))
@example(5.0, 0.0, 0.0, (300, 210))  # the crop's matrix says 4.9999999
def test_a_crop_averages_only_what_it_shows(shrink, at, turn, sides):
    """With the whole image averaged it would be the same, whether its sides are multiples of the block or
    not.
    """
    image = np.random.default_rng(0).integers(0, 256, (*sides[::-1], 3), np.uint8)
    half = shrink * np.array([12.0, 9.0])
    middle = np.array([153.0 + at, 105.0 + at / 2])
    crop = Crop.from_box((*(middle - half), *(middle + half)), (25, 19), 1.0, rotation=turn)
    factor = block(sides, shrink)
    assert shrink / 2 <= factor <= shrink + 1e-6
    small = cv2.resize(image, tuple(round(side / factor) for side in sides), interpolation=cv2.INTER_AREA)
    step = np.array(sides) / small.shape[1::-1]
    scale = np.diag([*step, 1.0])
    scale[:2, 2] = (step - 1) / 2
    expected = cv2.warpAffine(small, crop.matrix @ scale, crop.size, flags=cv2.INTER_LINEAR)
    assert np.abs(crop.warp(image).astype(int) - expected).max() <= 1


def test_warps_into_a_given_place():
    """A crop at its own size and one that is averaged first, each in its own part of one array."""
    image = np.random.default_rng(0).integers(0, 256, (300, 400, 3), np.uint8)
    small = Crop.from_box((100, 50, 119, 69), (20, 20), 1.0)
    large = Crop.whole((400, 300), (20, 20))
    out = np.full((3, 20, 20, 3), 7, np.uint8)
    assert np.shares_memory(small.warp(image, out[0]), out[0])
    large.warp(image, out[2])
    np.testing.assert_array_equal(out[0], image[50:70, 100:120])
    np.testing.assert_array_equal(out[2], large.warp(image))
    assert (out[1] == 7).all()


def test_identity_warp_keeps_every_pixel():
    image = np.random.default_rng(0).integers(0, 256, (40, 60, 3), np.uint8)
    np.testing.assert_array_equal(Crop.whole((60, 40), (60, 40)).warp(image), image)
    mirrored = Crop.from_box((0, 0, 59, 39), (60, 40), padding=1, flip=True).warp(image)
    np.testing.assert_array_equal(mirrored, image[:, ::-1])


def test_black_where_the_image_ends():
    out = Crop.from_box((-50, -50, -10, -10), (32, 32), padding=1).warp(np.full((50, 50, 3), 255, np.uint8))
    assert (out == 0).all()


@given(crops, crops, points)
def test_compose(outer, inner, xy):
    np.testing.assert_allclose(
        affine(compose(outer.matrix, inner.matrix), xy), outer.apply(inner.apply(xy)), rtol=1e-9, atol=1e-6
    )


def test_affine_agrees_with_opencv():
    crop = Crop.from_box((10, 20, 90, 200), (48, 64), rotation=33, flip=True)
    xy = np.random.default_rng(0).normal(0, 100, (5, 7, 2))
    np.testing.assert_allclose(crop.apply(xy), cv2.transform(xy, crop.matrix))
    np.testing.assert_allclose(crop.inverse, cv2.invertAffineTransform(crop.matrix), atol=1e-9)


def test_joints_box():
    joints = np.array([[1.0, 9.0], [5.0, 2.0], [100.0, 100.0]])
    assert joints_box(joints, np.array([2, 1, 0])).tolist() == [1, 2, 5, 9]
    assert np.isnan(joints_box(joints, np.zeros(3))).all()


def test_a_persons_size_is_the_root_of_the_area():
    np.testing.assert_allclose(
        person_size(np.array([[10, 20, 19, 36], [5, 5, 5, 30]], np.float32)), [12, 5]
    )  # no box is narrower than a pixel


turns = st.tuples(*[st.floats(-7, 7)] * 3).map(np.array)


@given(turns)
def test_quaternions_are_scipys(vector):
    """Up to the sign, which is w's; scipy has w last."""
    matrix = Rotation.from_rotvec(vector).as_matrix()
    found, theirs = quaternion(matrix), Rotation.from_matrix(matrix).as_quat()[[3, 0, 1, 2]]
    assert found[0] >= 0
    np.testing.assert_allclose(found, theirs * np.sign(found @ theirs), atol=1e-9)
    np.testing.assert_allclose(
        quaternion_matrix(-3 * found), matrix, atol=1e-9
    )  # neither sign nor length matter
    np.testing.assert_allclose(rotation_matrix(rotation_vector(matrix)), matrix, atol=1e-9)


def test_quaternions_of_half_turns():
    """Where w is 0, and the usual formula from the trace divides by it."""
    matrices = np.array(
        [
            np.diag([1.0, -1, -1]),
            np.diag([-1.0, 1, -1]),
            np.diag([-1.0, -1, 1]),
            [[0, 1, 0], [1, 0, 0], [0, 0, -1]],
        ]
    )
    half = np.sqrt(0.5)
    np.testing.assert_allclose(
        quaternion(matrices), [[0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1], [0, half, half, 0]], atol=1e-12
    )
    np.testing.assert_allclose(quaternion_matrix(quaternion(matrices)), matrices, atol=1e-12)


@given(
    st.tuples(st.floats(-2, 2), st.floats(-2, 2), st.floats(2, 8)),
    st.integers(0, 2**16),
)
def test_a_persons_own_axes_are_turned_into_the_cameras(root, seed):
    """Against projected truth: with the rotation to the root's ray, the root lies on the optical axis, and
    every joint is seen where the homography of a turned camera puts it.
    """
    camera = np.array([500.0, 520.0, 320.0, 240.0])
    inside = np.array([[500.0, 0, 320], [0, 520, 240], [0, 0, 1]])
    joints = np.random.default_rng(seed).normal(size=(15, 3)) * 0.3 + np.array(root)
    joints[0] = root
    pixel = project(joints[:1], camera)[0]
    turn = ray_rotation(pixel, camera)
    np.testing.assert_allclose(turn @ turn.T, np.eye(3), atol=1e-12)
    np.testing.assert_allclose(np.linalg.det(turn), 1)
    seen = joints @ turn  # in the axes of a camera that looks at the root
    np.testing.assert_allclose(seen[0], [0, 0, np.linalg.norm(root)], atol=1e-4)
    homography = inside @ turn.T @ np.linalg.inv(inside)
    real = np.concatenate([joints[:, :2] / joints[:, 2:] * camera[:2] + camera[2:], np.ones((15, 1))], 1)
    moved = real @ homography.T
    front = (joints[:, 2] > 0.5) & (seen[:, 2] > 0.5)
    there = seen[:, :2] / seen[:, 2:] * camera[:2] + camera[2:]
    np.testing.assert_allclose((moved[:, :2] / moved[:, 2:])[front], there[front], rtol=1e-3, atol=1e-2)
