"""What training does to a crop: within its bounds, as often as it says, and with the right joints."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from poseling.data.augment import Augment, color_jitter
from poseling.geometry import Crop
from poseling.skeleton import LSP14, MPII16

BOX = np.array([40.0, 30, 200, 290], np.float32)
SIZE = (128, 128)
SEEN = np.full(14, 2)


def person():
    """A standing LSP person: (14, 2) joints with ankles at the bottom."""
    y = np.array([280, 220, 160, 160, 220, 280, 150, 120, 80, 80, 120, 150, 70, 35])
    x = np.array([100, 100, 105, 135, 140, 140, 70, 75, 95, 145, 165, 170, 120, 120])
    return np.stack([x, y], 1).astype(np.float32)


def crops(augment, count, joints=None, visible=SEEN):
    random, joints = np.random.default_rng(0), person() if joints is None else joints
    return [augment.crop(BOX, joints, visible, LSP14, SIZE, 1.25, random) for _ in range(count)]


def parts(crop):
    """zoom and angle in degrees of a crop that does not mirror."""
    (a, b), (c, _) = crop.matrix[:, :2]
    assert b == pytest.approx(-c)
    return np.hypot(a, c), np.rad2deg(np.arctan2(c, a))


def test_nothing_is_the_canonical_crop():
    for crop in crops(Augment(half_body=0.5, color_jitter=0.3).none(), 20):
        np.testing.assert_allclose(crop.matrix, Crop.from_box(BOX, SIZE, 1.25).matrix)
        assert not crop.flipped
    assert Augment(color_jitter=0.4, occlusion=1).none().factors(np.random.default_rng(0)).tolist() == [
        1,
        1,
        1,
    ]


def test_zoom_and_rotation_are_fpds():
    """Zoom N(1, 0.25) cut at 0.75 and 1.25; in 6 of 10 samples a turn of N(0, 30) degrees cut at 60; the
    box's middle stays in the middle.
    """
    canonical, _ = parts(Crop.from_box(BOX, SIZE, 1.25))
    found = crops(Augment(flip=0), 4000)
    zooms, turns = (np.array(v) for v in zip(*map(parts, found), strict=True))
    zooms = zooms / canonical
    assert zooms.min() == pytest.approx(0.75)
    assert zooms.max() == pytest.approx(1.25)
    assert zooms.mean() == pytest.approx(1, abs=0.01)
    assert np.isclose(zooms, 0.75).mean() == pytest.approx(0.159, abs=0.02)  # what lies below minus one sigma
    assert (turns == 0).mean() == pytest.approx(0.4, abs=0.03)
    turned = turns[turns != 0]
    assert np.abs(turned).max() == pytest.approx(60)
    assert turned.mean() == pytest.approx(0, abs=2)
    assert (np.abs(turned) < 30).mean() == pytest.approx(0.683, abs=0.03)
    for crop in found[:50]:
        np.testing.assert_allclose(crop.apply(np.array([120.0, 160.0])), [63.5, 63.5])


def test_mirrors_in_half_of_the_samples():
    found = crops(Augment(scale=0, rotation=0), 1000)
    assert np.mean([crop.flipped for crop in found]) == pytest.approx(0.5, abs=0.05)
    plain = Crop.from_box(BOX, SIZE, 1.25)
    for crop in found[:20]:
        x, y = plain.apply(person()).T
        np.testing.assert_allclose(
            crop.apply(person()), np.stack([127 - x if crop.flipped else x, y], 1), atol=1e-9
        )


def test_shift_moves_within_its_bounds():
    """The box's middle, (120, 160), is up to a tenth of the crop's sides away from the input's middle, in all
    directions alike.
    """
    found = crops(Augment(shift=0.1), 2000)
    places = np.stack([crop.apply(np.array([120.0, 160.0])) for crop in found]) - 63.5
    assert (np.abs(places) <= 0.1 * 127 + 1e-9).all()
    assert places.std(0) == pytest.approx([12.7 / 3**0.5] * 2, rel=0.05)  # of a uniform one
    assert np.corrcoef(places.T)[0, 1] == pytest.approx(0, abs=0.07)
    for a, b in zip(crops(Augment(), 20), crops(Augment(), 20), strict=True):
        np.testing.assert_array_equal(a.matrix, b.matrix)
    assert Augment(shift=0.1).none() == Augment().none()


def test_many_at_once_are_alike():
    """The same spread of zoom, turn, mirror and shift as one by one."""
    augment = Augment(flip=0.5, shift=0.1)
    matrices, flipped = augment.matrices(np.tile(BOX, (3000, 1)), SIZE, 1.25, np.random.default_rng(0))
    single = crops(augment, 3000)
    assert flipped.mean() == pytest.approx(0.5, abs=0.03)
    signs = np.linalg.det(matrices[:, :, :2]) < 0
    np.testing.assert_array_equal(signs, flipped)
    zoom, zooms = (
        np.sqrt(np.abs(np.linalg.det(m[:, :, :2])))
        for m in (matrices, np.stack([crop.matrix for crop in single]))
    )
    for quantile in (0, 0.1, 0.5, 0.9, 1):
        assert np.quantile(zoom, quantile) == pytest.approx(np.quantile(zooms, quantile), rel=0.03)
    turn = np.abs(np.rad2deg(np.arctan2(matrices[:, 1, 0], matrices[:, 1, 1])))
    assert (turn < 1e-9).mean() == pytest.approx(0.4, abs=0.03)
    assert turn.max() == pytest.approx(60)


def test_one_setting_does_not_change_the_draws_of_another():
    """The same seed with and without half bodies and mirroring turns and zooms alike, so that an ablation
    changes one thing only.
    """
    one, other = (
        crops(Augment(flip=0), 50),
        crops(Augment(flip=0, half_body=1), 50, visible=np.array([2] * 6 + [0] * 8)),
    )
    for a, b in zip(one, other, strict=True):
        np.testing.assert_array_equal(a.matrix, b.matrix)  # six labelled joints are too few for half a body


def inside(crop, joints):
    at = crop.apply(joints)
    return ((at >= 0) & (at <= 127)).all(-1)


def test_half_bodies():
    """Half of the half bodies are upper, half lower; the box is half as large again as the half's joints; the
    padding comes on top.
    """
    canonical = Augment(scale=0, rotation=0, flip=0, half_body=1)
    lower, upper = person()[:6], person()[6:]
    boxes = []
    for half in (lower, upper):
        low, high = half.min(0), half.max(0)
        boxes.append(np.concatenate([low - 0.25 * (high - low), high + 0.25 * (high - low)]))
    matrices = [Crop.from_box(box, SIZE, 1.25).matrix for box in boxes]
    found = crops(canonical, 400)
    which = np.array([[np.allclose(crop.matrix, m, atol=1e-4) for m in matrices] for crop in found])
    assert (which.sum(1) == 1).all()
    assert which[:, 0].mean() == pytest.approx(0.5, abs=0.07)
    is_lower = found[int(which[:, 0].argmax())]
    assert inside(is_lower, lower).all()
    assert not inside(is_lower, upper).all()


@pytest.mark.parametrize(
    ("visible", "why"),
    [
        ([2] * 8 + [0] * 6, "eight labelled joints"),
        ([2] * 2 + [0] * 4 + [2] * 8, "two of the lower half: only the upper half can be cut out"),
    ],
)
def test_half_bodies_need_enough_labels(visible, why):
    canonical = Crop.from_box(BOX, SIZE, 1.25).matrix
    found = crops(Augment(scale=0, rotation=0, flip=0, half_body=1), 100, visible=np.array(visible))
    same = np.mean([np.allclose(crop.matrix, canonical) for crop in found])
    assert same == 1 if "eight" in why else 0.3 < same < 0.7, why


def test_half_bodies_of_joints_in_one_line():
    """A half without width or height has no box: the whole person is taken."""
    joints = person()
    joints[:6, 0] = 100
    found = crops(Augment(scale=0, rotation=0, flip=0, half_body=1), 100, joints)
    canonical = Crop.from_box(BOX, SIZE, 1.25).matrix
    assert 0.3 < np.mean([np.allclose(crop.matrix, canonical) for crop in found]) < 0.7


def test_the_halves_of_other_skeletons():
    """MPII's pelvis belongs to the legs."""
    joints = np.stack([np.arange(16.0) * 5 + 50, np.arange(16.0) * 7 + 40], 1)
    legs = joints[:7]
    random = np.random.default_rng(0)
    augment = Augment(scale=0, rotation=0, flip=0, half_body=1)
    found = [
        augment.crop(BOX, joints, np.full(16, 2), MPII16, SIZE, 1.0, random).apply(joints) for _ in range(30)
    ]
    spans = {round(float(np.ptp(at[:7, 0])) / 127, 3) for at in found}
    assert len(spans) == 2
    height = np.ptp(legs[:, 1])
    assert max(spans) == pytest.approx(np.ptp(legs[:, 0]) / (1.5 * height), abs=2e-3)


def test_occlusion_covers_the_joint():
    random, joints = np.random.default_rng(0), np.array([[20.0, 30.0], [100.4, 90.6], [60.0, 5.0]])
    hit = np.zeros(3)
    areas = []
    for _ in range(300):
        crop = np.full((128, 128, 3), 7, np.uint8)
        Augment(occlusion=1).occlude(crop, joints, np.array([2, 1, 0]), random)
        changed = (crop != 7).any(-1)
        covered = [changed[round(y), round(x)] for x, y in joints]
        hit += covered
        assert sum(covered) == 1 or (crop[changed] == 7).all()
        assert len(np.unique(crop[changed], axis=0)) == 1  # one colour
        ys, xs = np.nonzero(changed)
        assert changed[ys.min() : ys.max() + 1, xs.min() : xs.max() + 1].all()  # a rectangle
        areas.append((np.ptp(xs) + 1, np.ptp(ys) + 1))
    assert hit[2] == 0  # not labelled
    assert min(hit[:2]) > 100
    assert np.min(areas) >= 2 * 0.04 * 128 - 1
    assert np.max(areas) <= 2 * 0.12 * 128 + 1


@given(st.integers(0, 10_000), st.floats(-300, 400), st.floats(-300, 400))
@settings(max_examples=50, deadline=None)
def test_occlusion_of_a_joint_outside_does_no_harm(seed, x, y):
    crop = np.full((64, 48, 3), 7, np.uint8)
    Augment(occlusion=1).occlude(crop, np.array([[x, y]]), np.array([2]), np.random.default_rng(seed))
    assert crop.shape == (64, 48, 3)


def test_occlusion_has_its_probability():
    random, count = np.random.default_rng(0), 0
    for _ in range(1000):
        crop = np.zeros((32, 32, 3), np.uint8)
        Augment(occlusion=0.3).occlude(crop, np.array([[16.0, 16.0]]), np.array([2]), random)
        count += crop.any()
    assert count == pytest.approx(300, abs=50)
    crop = np.zeros((32, 32, 3), np.uint8)
    Augment(occlusion=1).occlude(crop, np.array([[16.0, 16.0]]), np.array([0]), random)
    assert not crop.any()  # nobody is labelled


def lit(image, brightness, contrast, saturation):
    """(H, W, 3) in 0..1 by the formulas: shift, scale, blend with the grey of ITU-R 601, each cut to 0..1."""
    image = np.clip(image + brightness - 1, 0, 1)
    image = np.clip(image * contrast, 0, 1)
    grey = image @ np.array([0.299, 0.587, 0.114])
    return np.clip(saturation * image + (1 - saturation) * grey[..., None], 0, 1)


def test_light_is_the_formula():
    random = np.random.default_rng(0)
    images, factors = random.uniform(0, 1, (5, 4, 6, 3)), random.uniform(0.6, 1.4, (5, 3))
    expected = np.stack([lit(p, *f) for p, f in zip(images, factors, strict=True)])
    got = color_jitter(255 * torch.from_numpy(images).permute(0, 3, 1, 2), torch.from_numpy(factors))
    np.testing.assert_allclose(got.permute(0, 2, 3, 1).numpy() / 255, expected, atol=1e-6)


def test_light_of_one_is_no_change():
    images = 255 * torch.rand(2, 3, 4, 4)
    assert torch.equal(color_jitter(images, torch.ones(2, 3)), images)
    assert torch.equal(color_jitter(images.to(torch.uint8), torch.ones(2, 3)), images.to(torch.uint8).float())


def test_factors_within_their_bound():
    random = np.random.default_rng(0)
    factors = np.stack([Augment(color_jitter=0.2).factors(random) for _ in range(500)])
    assert factors.dtype == np.float32
    assert 0.8 <= factors.min() < 0.81
    assert 1.19 < factors.max() <= 1.2
