"""decode(encode(x)) = x up to what each decoder can do, and DARK against a NumPy and SciPy version written
here.
"""

import json

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.ndimage import gaussian_filter

from poseling.codecs import codec
from poseling.codecs.heatmap import Heatmap
from poseling.codecs.subpixel import soft_argmax

SIZE = (128, 192)
PARTS = arrays(np.float64, (6, 2), elements=st.floats(0, 1))  # joints in parts of the map
SIGMAS = (1.5, 2.0, 3.0)


def last(heatmap):
    """The outermost pixel (w - 1, h - 1) of the maps."""
    return np.array(heatmap.map_size) - 1


def round_trip(heatmap, places):
    """Errors (K, 2) in heatmap pixels, joints (K, 2) given in heatmap pixels, double precision; and the
    scores.
    """
    joints = torch.from_numpy(places * np.array(heatmap.pixel))[None]
    maps, weight = heatmap.encode(joints, torch.ones(1, len(places), dtype=torch.float64))
    assert (weight == 1).all()
    xy, score = heatmap.decode(maps)
    return (xy - joints)[0].abs().numpy() / np.array(heatmap.pixel), score[0].numpy()


@pytest.mark.parametrize("sigma", SIGMAS)
@given(parts=PARTS)
@settings(max_examples=30, deadline=None)
def test_plain_is_half_a_pixel_off_at_most(sigma, parts):
    heatmap = Heatmap(SIZE, sigma=sigma, decoding="plain")
    error, _ = round_trip(heatmap, parts * last(heatmap))
    assert (error <= 0.5 + 1e-6).all()


@pytest.mark.parametrize("sigma", SIGMAS)
@given(parts=PARTS)
@settings(max_examples=30, deadline=None)
def test_quarter_is_a_quarter_of_a_pixel_off_at_most(sigma, parts):
    heatmap = Heatmap(SIZE, sigma=sigma, decoding="quarter")
    places = parts * last(heatmap)
    error, _ = round_trip(heatmap, places)
    inner = (places > 0.501) & (
        places < last(heatmap) - 0.501
    )  # a pixel on the border has no neighbour to compare with
    assert (error <= np.where(inner, 0.25, 0.5) + 1e-6).all()


@pytest.mark.parametrize("sigma", SIGMAS)
@given(parts=PARTS)
@settings(max_examples=30, deadline=None)
def test_dark_is_exact_inside_and_half_a_sigma_off_at_the_border(sigma, parts):
    heatmap = Heatmap(SIZE, sigma=sigma, decoding="dark")
    places = parts * last(heatmap)
    error, _ = round_trip(heatmap, places)
    inner = ((places >= 3 * sigma) & (places <= last(heatmap) - 3 * sigma)).all(-1, keepdims=True)
    # Beyond the border the blur sees zeros, which draws the top of a cut Gaussian inwards.
    assert (error <= np.where(inner, 0.005, 0.52 * sigma)).all()


@pytest.mark.parametrize(("decoding", "bound"), [("plain", 0.5), ("quarter", 0.5), ("dark", 0.5)])
@given(parts=PARTS)
@settings(max_examples=30, deadline=None)
def test_the_biased_geometry_loses_what_it_rounds(decoding, bound, parts):
    heatmap = Heatmap(SIZE, sigma=2.0, decoding=decoding, unbiased=False)
    assert heatmap.pixel == (4.0, 4.0)
    places = 8 + parts * (last(heatmap) - 16)
    error, score = round_trip(heatmap, places)
    assert (error <= bound + 1e-3).all()
    np.testing.assert_array_equal(score, 1.0)  # the peak is on a pixel
    rounded = np.floor(places + 0.5)
    np.testing.assert_allclose(round_trip(heatmap, rounded)[0], 0, atol=1e-3)


def test_mean_errors_by_decoder():
    """What a uniform place gives on the longer of two axes: 1/3 of a pixel plain, 1/6 with quarters, 0 with
    DARK.
    """
    places = 10 + np.random.default_rng(0).uniform(0, 1, (4000, 2)) * 10
    found = {
        d: round_trip(Heatmap(SIZE, decoding=d), places)[0].max(-1).mean()
        for d in ("plain", "quarter", "dark")
    }
    assert found["plain"] == pytest.approx(1 / 3, abs=0.01)
    assert found["quarter"] == pytest.approx(1 / 6, abs=0.01)
    assert found["dark"] < 1e-3


def test_the_unbiased_geometry_lays_corners_on_corners():
    heatmap = Heatmap((256, 192), decoding="plain")
    assert heatmap.map_size == (64, 48)
    assert heatmap.pixel == pytest.approx((255 / 63, 191 / 47))
    corners = torch.tensor([[[0.0, 0.0], [255.0, 191.0]]])
    maps, _ = heatmap.encode(corners, torch.ones(1, 2))
    assert maps[0, 0, 0, 0] == 1
    assert maps[0, 1, 47, 63] == pytest.approx(1, abs=1e-6)
    torch.testing.assert_close(heatmap.decode(maps)[0], corners)


@given(parts=PARTS)
@settings(max_examples=30, deadline=None)
def test_mirroring_maps_is_mirroring_joints(parts):
    for decoding in ("plain", "quarter", "dark"):
        heatmap = Heatmap(SIZE, decoding=decoding)
        # Half a pixel between two pixels, and for `quarter` the middle of one, has two equal answers: stay
        # clear of both.
        places = np.floor(parts * (last(heatmap) - 1)) + 0.1 + 0.3 * parts
        joints = torch.from_numpy(places * np.array(heatmap.pixel))[None]
        weight = torch.ones(1, 6, dtype=torch.float64)
        maps, _ = heatmap.encode(joints, weight)
        mirrored = torch.stack([SIZE[0] - 1 - joints[..., 0], joints[..., 1]], -1)
        torch.testing.assert_close(heatmap.encode(mirrored, weight)[0], maps.flip(-1), atol=1e-12, rtol=0)
        xy, back = heatmap.decode(maps)[0], heatmap.decode(maps.flip(-1))[0]
        torch.testing.assert_close(back[..., 0], SIZE[0] - 1 - xy[..., 0], atol=1e-6, rtol=0)
        torch.testing.assert_close(back[..., 1], xy[..., 1], atol=1e-6, rtol=0)


def published(places, size, sigma):
    """The target maps of the published hourglass code, as its papers tell: a Gaussian of peak 1 on the
    rounded pixel, in a square of 3 sigma around it.
    """
    maps = np.zeros((len(places), size[1], size[0]))
    for k, (px, py) in enumerate(places):
        cx, cy = int(px + 0.5), int(py + 0.5)
        for y in range(size[1]):
            for x in range(size[0]):
                if abs(x - cx) <= 3 * sigma and abs(y - cy) <= 3 * sigma:
                    maps[k, y, x] = np.exp(-((x - cx) ** 2 + (y - cy) ** 2) / (2 * sigma**2))
    return maps


def test_the_biased_targets_are_the_published_ones():
    heatmap = Heatmap((64, 96), sigma=2.0, unbiased=False)
    places = np.array([[0.0, 0.0], [7.49, 3.5], [15.4, 23.2], [3.2, 20.51]])
    maps, _ = heatmap.encode(torch.from_numpy(places * 4)[None], torch.ones(1, 4, dtype=torch.float64))
    np.testing.assert_allclose(maps[0].numpy(), published(places, (16, 24), 2), atol=1e-12)


def test_the_unbiased_targets_by_hand():
    heatmap = Heatmap((64, 64), sigma=1.5)
    joint = torch.tensor([[[5.25 * 63 / 15, 2.5 * 63 / 15]]], dtype=torch.float64)
    maps, _ = heatmap.encode(joint, torch.ones(1, 1, dtype=torch.float64))
    for x, y in ((5, 2), (6, 3), (0, 0), (15, 15)):
        assert maps[0, 0, y, x].item() == pytest.approx(
            np.exp(-((x - 5.25) ** 2 + (y - 2.5) ** 2) / (2 * 1.5**2)), rel=1e-9
        )


@pytest.mark.parametrize("unbiased", [True, False])
def test_who_is_outside_weighs_nothing(unbiased):
    heatmap = Heatmap((64, 64), unbiased=unbiased)
    half = heatmap.pixel[0] / 2  # the outermost pixels reach half a pixel further out
    end = 15 * heatmap.pixel[0]
    joints = [
        [-half + 0.01, 30],
        [-half - 0.01, 30],
        [end + half - 0.01, 30],
        [end + half + 0.01, 30],
        [30, -1e9],
        [np.nan, 3],
        [3, np.inf],
        [30, 30],
    ]
    weight = torch.full((1, 8), 0.7)
    weight[0, 7] = 0  # inside, but unlabelled
    maps, out = heatmap.encode(torch.tensor([joints], dtype=torch.float32), weight)
    assert out.isfinite().all()
    assert out[0].tolist() == pytest.approx([0.7, 0, 0.7, 0, 0, 0, 0, 0])
    assert ((maps.flatten(2).amax(-1) > 0)[0].tolist()) == [
        True,
        False,
        True,
        False,
        False,
        False,
        False,
        False,
    ]
    assert maps.isfinite().all()


@pytest.mark.parametrize("sigma", SIGMAS)
@given(parts=PARTS)
@settings(max_examples=20, deadline=None)
def test_softmax_logits_say_the_same(sigma, parts):
    plain, soft = Heatmap(SIZE, sigma=sigma), Heatmap(SIZE, sigma=sigma, softmax=True)
    places = 4 * sigma + parts * (last(plain) - 8 * sigma)
    joints = torch.from_numpy(places * np.array(plain.pixel))[None]
    maps, _ = plain.encode(joints, torch.ones(1, 6, dtype=torch.float64))
    logits = (maps / maps.sum((2, 3), keepdim=True)).clamp(min=1e-30).log() + torch.arange(6).view(
        1, 6, 1, 1
    )  # softmax leaves a constant out
    xy, score = soft.decode(logits)
    torch.testing.assert_close(soft.maps(logits), maps, atol=1e-3, rtol=0)
    torch.testing.assert_close(xy, joints, atol=0.01, rtol=0)
    torch.testing.assert_close(score, maps.amax((2, 3)), atol=2e-3, rtol=0)


def test_a_network_that_is_unsure_scores_low():
    flat = torch.zeros(1, 1, 48, 32)
    _, score = Heatmap(SIZE, sigma=2.0, softmax=True).decode(flat)
    assert score.item() == pytest.approx(
        2 * np.pi * 4 / (48 * 32)
    )  # the uniform distribution over the normalised Gaussian's peak


@pytest.mark.parametrize("decoding", ["plain", "quarter", "dark"])
def test_maps_without_a_peak(decoding):
    heatmap = Heatmap(SIZE, decoding=decoding)
    maps = torch.stack(
        [
            torch.zeros(48, 32),
            torch.full((48, 32), -0.2),
            torch.full((48, 32), 0.5),
            torch.full((48, 32), 3.0),
        ]
    )[None]
    xy, score = heatmap.decode(maps)
    assert xy.isfinite().all()
    assert score[0].tolist() == [0, 0, 0.5, 1]  # clipped to 0..1


@pytest.mark.parametrize("decoding", ["plain", "quarter", "dark"])
def test_a_nan_is_seen_in_the_score(decoding):
    maps = torch.zeros(1, 2, 48, 32)
    maps[0, :, 20, 10] = 1
    maps[0, 0, 3, 4] = torch.nan
    xy, score = Heatmap(SIZE, decoding=decoding).decode(maps)
    assert score.isnan().tolist() == [[True, False]]
    assert xy[0, 1].tolist() == pytest.approx(
        [10 * 127 / 31, 20 * 191 / 47], abs=1e-3
    )  # the other joint does not mind


def dark(heat, sigma):
    """DARK for one map (h, w) in NumPy and SciPy: blur, logarithm, and the Taylor step of its equation 7 by
    differences of one pixel.
    """
    log = np.log(np.maximum(gaussian_filter(heat, sigma, mode="constant", truncate=2.5), 1e-10))
    y, x = np.unravel_index(heat.argmax(), heat.shape)
    gradient = np.array([(log[y, x + 1] - log[y, x - 1]) / 2, (log[y + 1, x] - log[y - 1, x]) / 2])
    mixed = (log[y + 1, x + 1] - log[y + 1, x - 1] - log[y - 1, x + 1] + log[y - 1, x - 1]) / 4
    hessian = np.array(
        [
            [log[y, x - 1] - 2 * log[y, x] + log[y, x + 1], mixed],
            [mixed, log[y - 1, x] - 2 * log[y, x] + log[y + 1, x]],
        ]
    )
    return np.array([x, y]) - np.clip(np.linalg.solve(hessian, gradient), -1, 1)


@pytest.mark.parametrize("sigma", SIGMAS)
def test_dark_is_what_numpy_and_scipy_say(sigma):
    """On peaks that lean, overlap and are noisy, as a network's outputs."""
    random = np.random.default_rng(3)
    y, x = np.mgrid[:48, :32]
    maps = np.zeros((40, 48, 32))
    for heat in maps:
        (cx, cy), (dx, dy) = random.uniform(8, 24, 2), random.uniform(-3, 3, 2)
        u, v = (x - cx) * 0.9 + (y - cy) * 0.4, (y - cy) * 1.1 - (x - cx) * 0.2
        heat += np.exp(-(u**2 + v**2) / (2 * sigma**2)) + 0.4 * np.exp(
            -((x - cx - dx) ** 2 + (y - cy - dy) ** 2) / (2 * sigma**2)
        )
        heat += random.uniform(0, 0.05, heat.shape)
    heatmap = Heatmap(SIZE, sigma=sigma)
    xy, _ = heatmap.decode(torch.from_numpy(maps)[None])
    expected = np.array([dark(heat, sigma) for heat in maps]) * np.array(heatmap.pixel)
    np.testing.assert_allclose(xy[0].numpy(), expected, atol=1e-6)
    at_pixels = np.array([np.unravel_index(heat.argmax(), heat.shape)[::-1] for heat in maps])
    assert np.abs(expected / np.array(heatmap.pixel) - at_pixels).max() > 0.3  # there was something to find


@given(place=st.tuples(st.integers(0, 31), st.integers(0, 47)), seed=st.integers(0, 99))
@settings(max_examples=60, deadline=None)
def test_dark_stays_within_a_pixel_of_the_peak(place, seed):
    """Also where a noisy peak is cut by the border."""
    maps = torch.rand(1, 1, 48, 32, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    maps[0, 0, place[1], place[0]] = 1.5
    xy, score = Heatmap(SIZE, sigma=3.0).decode(maps)
    assert np.abs(xy[0, 0].numpy() / np.array(Heatmap(SIZE).pixel) - place).max() <= 1 + 1e-9
    assert score.item() == 1


def test_a_batch_is_many_single_ones():
    maps = torch.rand(3, 5, 48, 32, generator=torch.Generator().manual_seed(0))
    for decoding in ("plain", "quarter", "dark"):
        heatmap = Heatmap(SIZE, decoding=decoding)
        xy, score = heatmap.decode(maps)
        for b in range(3):
            for k in range(5):
                one_xy, one_score = heatmap.decode(maps[b : b + 1, k : k + 1])
                torch.testing.assert_close(one_xy[0, 0], xy[b, k], atol=1e-3, rtol=0)
                assert one_score.item() == score[b, k].item()


def test_quarter_by_hand():
    maps = torch.zeros(1, 1, 48, 32)
    maps[0, 0, 10, 7], maps[0, 0, 10, 8], maps[0, 0, 9, 7] = 1.0, 0.6, 0.1  # brighter to the right, and above
    xy, score = Heatmap(SIZE, decoding="quarter").decode(maps)
    assert xy[0, 0].tolist() == pytest.approx([7.25 * 127 / 31, 9.75 * 191 / 47])
    assert score.item() == 1


def test_soft_argmax_by_hand():
    maps = torch.zeros(1, 1, 4, 4)
    maps[0, 0, 0, 1], maps[0, 0, 2, 3] = 0.25, 0.75
    assert soft_argmax(maps)[0, 0].tolist() == [2.5, 1.5]


def test_the_spec_records_a_codec():
    heatmap = Heatmap((192, 256), sigma=1.5, decoding="quarter", unbiased=False, softmax=True)
    assert codec(json.loads(json.dumps(heatmap.fields()))) == heatmap
    with pytest.raises(KeyError, match="volume"):
        codec({"name": "volume"})


def test_wrong_numbers_are_told():
    with pytest.raises(ValueError, match="multiple of the heatmap's stride 4"):
        Heatmap((250, 256))
    with pytest.raises(ValueError, match="plain, quarter or dark"):
        Heatmap((256, 256), decoding="darker")


def dark_of_whole_maps(maps, sigma):
    """DARK as its paper has it, on whole maps (N, h, w): blur, logarithm, one Newton step from the brightest
    pixel; at the border from the nearest one inside.
    """
    reach = round(2.5 * sigma)
    line = torch.exp(-0.5 * (torch.arange(-reach, reach + 1, dtype=torch.float64) / sigma) ** 2)
    kernel = torch.outer(line, line) / line.sum() ** 2
    log = (
        torch.nn.functional.conv2d(maps[:, None], kernel[None, None], padding=reach)[:, 0]
        .clamp(min=1e-10)
        .log()
    )
    h, w = maps.shape[1:]
    found = []
    for one, own in zip(maps, log, strict=True):
        y, x = divmod(int(one.argmax()), w)
        cx, cy = min(max(x, 1), w - 2), min(max(y, 1), h - 2)
        gradient = torch.stack([own[cy, cx + 1] - own[cy, cx - 1], own[cy + 1, cx] - own[cy - 1, cx]]) / 2
        xx, yy = (
            own[cy, cx + 1] - 2 * own[cy, cx] + own[cy, cx - 1],
            own[cy + 1, cx] - 2 * own[cy, cx] + own[cy - 1, cx],
        )
        xy = (own[cy + 1, cx + 1] - own[cy + 1, cx - 1] - own[cy - 1, cx + 1] + own[cy - 1, cx - 1]) / 4
        step = torch.zeros(2, dtype=torch.float64)
        if xx < 0 and xx * yy - xy**2 > 1e-12:
            newton = -torch.linalg.solve(
                torch.stack([torch.stack([xx, xy]), torch.stack([xy, yy])]), gradient
            )
            step = (torch.tensor([cx - x, cy - y]) + newton.clamp(-1, 1)).clamp(-1, 1)
        found.append(torch.tensor([x, y]) + step)
    return torch.stack(found)


@given(
    seed=st.integers(0, 10**6),
    sigma=st.sampled_from([1.0, 1.5, 2.0]),
    size=st.sampled_from([(64, 48), (32, 40), (16, 16)]),
    softmax=st.booleans(),
)
@settings(max_examples=40, deadline=None)
def test_dark_around_the_peak_is_dark_on_the_whole_map(seed, sigma, size, softmax):
    """Maps of noise with a peak: in the middle, on each border and in each corner."""
    codec = Heatmap(size, sigma=sigma, softmax=softmax)
    (w, h), pixel = codec.map_size, torch.tensor(codec.pixel, dtype=torch.float64)
    generator = torch.Generator().manual_seed(seed)
    outputs = torch.randn((1, 12, h, w), generator=generator, dtype=torch.float64) * (
        1.0 if softmax else 0.05
    )
    places = [(x, y) for x in (0, w - 1) for y in (0, h - 1)] + [
        (0, h // 2),
        (w - 1, h // 2),
        (w // 2, 0),
        (w // 2, h - 1),
        (1, 1),
        (w // 2, h // 2),
    ]
    for map_, (x, y) in zip(outputs[0], places, strict=False):
        peak, _ = Heatmap(size, sigma=sigma).encode(
            torch.tensor([[[x, y]]], dtype=torch.float64) * pixel, torch.ones(1, 1)
        )
        map_ += peak[0, 0] * (5 if softmax else 1)
    found, score = codec.decode(outputs)
    maps = codec.maps(outputs)[0]
    expected = dark_of_whole_maps(maps, sigma) * pixel
    torch.testing.assert_close(found[0], expected, atol=1e-7, rtol=0)
    torch.testing.assert_close(score[0], maps.flatten(1).max(1).values.clamp(0, 1))
