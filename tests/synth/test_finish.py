"""The finish: places stay, bytes repeat, and the seam between person and background is as soft as a lens
makes it.
"""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from poseling.synth.finish import GRAIN, _grain, _noise, _streak, _tone, _vignette, blend, finish


def _disc(x, y, radius, height=256, width=256):
    """(H, W) in 0..1 with an edge one pixel wide."""
    v, u = np.mgrid[0:height, 0:width]
    return np.clip(radius + 0.5 - np.hypot(u - x, v - y), 0, 1).astype(np.float32)


def _centre(grey):
    """(x, y) of the area that is brighter than half way from the ground to the dot; brightness within it does
    not count, as light may fall off.
    """
    low, high = np.median(grey), np.quantile(grey, 0.99)
    weight = np.clip(0.5 + (grey - (low + high) / 2) / (0.4 * (high - low)), 0, 1)
    v, u = np.mgrid[0 : grey.shape[0], 0 : grey.shape[1]]
    return np.array([(weight * u).sum(), (weight * v).sum()]) / weight.sum()


DOTS = (
    _disc(55.3, 60.8, 24)
    + _disc(200.1, 70.25, 20)
    + _disc(80.6, 196.5, 22)
    - _disc(125.4, 128.9, 18)
    - _disc(190.7, 190.2, 26)
)


def _moved(done):
    """By how many pixels (x, y) the dots have moved, and how much they have grown: what least squares find.

    The image is taken for the dots, their slopes (a small move is so much of the slope) and what tone does:
    gain, offset, curve.
    """
    dots, seen = (cv2.GaussianBlur(g.astype(np.float64), (0, 0), 2) for g in (DOTS, done))
    down, right = np.gradient(dots)
    v, u = np.mgrid[0:256, 0:256] / 128 - 1
    tone = [dots, np.ones_like(dots), dots**2]
    columns = np.stack([right, down, 128 * (u * right + v * down), *tone]).reshape(6, -1)
    found = np.linalg.lstsq(columns.T, seen.ravel(), rcond=None)[0]
    return -found[:3] / found[3]


@pytest.fixture
def no_vignette(monkeypatch):
    """A fall of light moves nothing, but bends what least squares find; it has its own test."""
    monkeypatch.setattr(
        "poseling.synth.finish._vignette", lambda size, centre, fall: np.ones(size[::-1], np.float32)
    )


def test_moves_are_found():
    moved = cv2.warpAffine(
        DOTS, np.array([[1.002, 0, -0.3], [0, 1.002, 0.1]]), (256, 256), flags=cv2.INTER_CUBIC
    )
    # Growing about (0, 0) takes the middle (128, 128) by 0.256 farther.
    x, y, grown = _moved(100 + 60 * moved)
    assert x == pytest.approx(-0.044, abs=0.015)
    assert y == pytest.approx(0.356, abs=0.04)
    assert grown == pytest.approx(0.002, abs=2e-4)


@pytest.mark.parametrize("seed", range(60))
def test_dots_stay_where_they_are(seed, no_vignette):
    x, y, grown = _moved(
        finish(120 + 75 * DOTS[..., None].repeat(3, 2), np.random.default_rng(seed)).mean(-1)
    )
    assert abs(x) < 0.05
    assert abs(y) < 0.05
    assert abs(grown) < 0.001  # an eighth of a pixel at the image's side


def test_on_average_over_seeds_dots_do_not_move(no_vignette):
    moved = [
        _moved(finish(120 + 75 * DOTS[..., None].repeat(3, 2), np.random.default_rng((1, i))).mean(-1))
        for i in range(60)
    ]
    np.testing.assert_array_less(np.abs(np.mean(moved, 0)), [0.01, 0.01, 2e-4])


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32), st.integers(8, 90), st.integers(8, 90))
def test_same_seed_same_bytes_in_any_size(seed, height, width):
    image = np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)
    lots = [np.random.default_rng(seed) for _ in range(3)]
    done = finish(image, lots[0])
    assert done.shape == image.shape
    assert done.dtype == np.uint8
    np.testing.assert_array_equal(done, finish(image.astype(np.float32), lots[1]))
    # As many draws for another image.
    finish(np.zeros((40, 40, 3), np.uint8), lots[2])
    assert lots[0].random() == lots[2].random()


def test_it_changes_images_but_mildly():
    """A ramp from dark to light in each colour: told apart still, as bright as before on the whole, no two
    alike.
    """
    ramp = np.tile(np.linspace(20, 230, 96, dtype=np.float32)[None, :, None], (96, 1, 3))
    done = [finish(ramp, np.random.default_rng(i)) for i in range(80)]
    assert len({d.tobytes() for d in done}) == 80
    means = np.array([d.mean() for d in done])
    assert 100 < means.mean() < 150
    assert 10 < means.std() < 45
    assert min(np.corrcoef(d.mean(-1).ravel(), ramp[..., 0].ravel())[0, 1] for d in done) > 0.7


def test_colours_keep_their_order_of_channels():
    red = np.broadcast_to(np.array([210, 90, 30], np.float32), (64, 64, 3))
    for i in range(40):
        r, g, b = finish(red, np.random.default_rng(i)).reshape(-1, 3).mean(0)
        assert r >= g - 3
        assert g >= b - 3


@pytest.mark.parametrize("length", [1.0, 3.3, 9.0])
@pytest.mark.parametrize("angle", [0.0, 0.7, 2.5])
def test_a_streak_is_the_same_from_both_ends(length, angle):
    kernel = _streak(length, angle)
    assert kernel.sum() == pytest.approx(1, abs=1e-6)
    np.testing.assert_allclose(kernel, kernel[::-1, ::-1], atol=1e-7)
    # Its deviation along the line is that of a segment so long: length ** 2 / 12, and that of a pixel's
    # triangle or less across.
    half = len(kernel) // 2
    v, u = np.mgrid[-half : half + 1, -half : half + 1]
    along = (kernel * (u * np.cos(angle) + v * np.sin(angle)) ** 2).sum()
    assert along == pytest.approx(length**2 / 12, rel=0.1, abs=0.3)
    assert (kernel * (v * np.cos(angle) - u * np.sin(angle)) ** 2).sum() < 0.25


def test_the_vignette_falls_from_its_centre():
    gains = _vignette((200, 100), centre=(0.25, 0.5), fall=0.4)
    assert gains.shape == (100, 200)
    assert gains[50, 50] == pytest.approx(1, abs=1e-3)
    assert gains[50, 150] == pytest.approx(1 - 0.4 * 0.25, abs=3e-3)  # half an image's width away
    assert gains[99, 199] == pytest.approx(1 - 0.4 * (0.7475**2 + 0.495**2), abs=1e-3)


@given(st.floats(0.7, 1.42), st.floats(-0.5, 0.5), st.floats(0, 1))
def test_tones_never_turn_around(gamma, contrast, lift):
    table = _tone(gamma, contrast, lift)
    assert (np.diff(table.astype(int)) >= 0).all()
    assert table[0] == int(30 * lift + 0.5)
    assert table[-1] == 255


@pytest.mark.parametrize("coarse", [False, True])
def test_the_noise(coarse):
    noise = _noise(coarse)
    assert noise.mean() == pytest.approx(0, abs=0.01)
    assert noise.std() == pytest.approx(1, abs=0.01)
    beside = (noise[:, 1:] * noise[:, :-1]).mean()
    assert beside > 0.5 if coarse else abs(beside) < 0.01
    # A window beyond the stored square goes on at its other side.
    wide = _grain((700, 3), (0.5, 0.25), coarse)
    rows, columns = (128 + np.arange(3)) % GRAIN, (256 + np.arange(700)) % GRAIN
    np.testing.assert_array_equal(wide, noise[rows][:, columns])
    very = _grain((3 * GRAIN, 2), (0.5, 0.25), coarse)
    np.testing.assert_array_equal(very[:, :GRAIN], very[:, GRAIN : 2 * GRAIN])


# --- the seam

BACK = np.full((120, 100, 3), (50, 100, 200), np.float32)


@pytest.mark.parametrize("seed", range(8))
def test_without_a_person_the_background_is_unchanged(seed):
    back = np.random.default_rng(seed).uniform(0, 255, (120, 100, 3)).astype(np.float32)
    before = back.copy()
    done = blend(np.full_like(back, 77), np.zeros((120, 100), np.float32), back, np.random.default_rng(seed))
    assert done.dtype == np.float32
    np.testing.assert_array_equal(done, before)
    blend(
        np.full_like(back, 77),
        np.ones((120, 100), np.float32),
        back,
        np.random.default_rng(seed),
        [(50, 60, 9)],
    )
    np.testing.assert_array_equal(back, before)


@pytest.mark.parametrize("seed", range(12))
def test_a_person_as_large_as_the_image_changes_only_in_colour(seed):
    render = np.random.default_rng(seed).uniform(20, 200, (120, 100, 3)).astype(np.float32)
    done = blend(render, np.ones((120, 100), np.float32), BACK, np.random.default_rng(seed))
    gains = (done / render).reshape(-1, 3)
    np.testing.assert_allclose(gains, gains[:1].repeat(len(gains), 0), rtol=1e-4)
    # Towards the background's blue light, and at most 0.35 of the way in the logarithm.
    way = (np.array([50, 100, 200]) + 8) / (render.mean((0, 1)) + 8)
    share = np.log(gains[0]) / np.log(way)
    assert share.max() - share.min() < 0.02
    assert -1e-4 < share.mean() < 0.36


def test_a_person_in_the_light_of_the_background_keeps_its_colours():
    done = [blend(BACK, np.ones((120, 100), np.float32), BACK, np.random.default_rng(i)) for i in range(12)]
    np.testing.assert_allclose(done, np.broadcast_to(BACK, (12, 120, 100, 3)), rtol=1e-5)


@pytest.mark.parametrize("seed", range(12))
def test_the_render_outside_the_person_does_not_show(seed):
    alpha = _disc(48.2, 60.7, 20, 120, 100)
    black, white = (
        np.where(alpha[..., None] > 0, np.float32(150), np.full(3, v, np.float32)) for v in (0, 255)
    )
    done = blend(black, alpha, BACK, np.random.default_rng(seed))
    np.testing.assert_array_equal(done, blend(white, alpha, BACK, np.random.default_rng(seed)))
    # The red of person (150) and background (50): everything between, no dark rim, and half way at the edge.
    red = done[..., 0]
    assert red.min() >= 50 - 0.01
    assert red[60, 2] == 50
    middle = red[61, 48]
    v, u = np.mgrid[0:120, 0:100]
    rim = np.abs(np.hypot(u - 48.2, v - 60.7) - 20) < 0.25
    assert red[rim].mean() == pytest.approx((middle + 50) / 2, abs=0.15 * float(middle - 50))


def test_the_person_does_not_move():
    alpha = _disc(48.2, 60.7, 20, 120, 100)
    dark = np.full((120, 100, 3), 30, np.float32)
    for i in range(20):
        done = blend(np.full_like(dark, 200), alpha, dark, np.random.default_rng(i))
        np.testing.assert_allclose(_centre(done.mean(-1)), [48.2, 60.7], atol=0.03)


def test_shadows_are_darkest_under_the_foot_and_end():
    nobody, back = np.zeros((120, 100), np.float32), np.full((120, 100, 3), 100, np.float32)
    for i in range(10):
        done = blend(back, nobody, back, np.random.default_rng(i), [(40, 80, 10)])[..., 0]
        assert np.unravel_index(done.argmin(), done.shape) == (80, 40)
        assert 30 <= done.min() <= 85 + 1e-3  # 0.15 to 0.7 of the light is gone
        np.testing.assert_allclose(done[80, 30], done[80, 50], rtol=1e-6)
        np.testing.assert_allclose(
            100 - done[80, 50], (100 - done[80, 40]) / np.e, rtol=1e-5
        )  # a Gaussian: 1/e at the radius
        assert done[80, 50] < done[90, 40]  # flat: wider than high
        assert (done[:50] == 100).all()
    # Off the image, or of no size, is no error.
    np.testing.assert_array_equal(blend(back, nobody, back, np.random.default_rng(0), [(-500, 10, 5)]), back)
    assert blend(back, nobody, back, np.random.default_rng(0), [(99, 119, 0)]).min() < 100


def test_as_many_draws_for_any_person():
    lots = [np.random.default_rng(3) for _ in range(2)]
    blend(BACK, np.zeros((120, 100), np.float32), BACK, lots[0])
    blend(BACK, _disc(50, 50, 20, 120, 100), BACK, lots[1], [(3, 4, 5)] * 2)
    assert lots[0].random() == lots[1].random()
