"""Warped maps against OpenCV's warp, an implementation of its own, and against Gaussians drawn where they
should be.
"""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from poseling.codecs.heatmap import Heatmap
from poseling.codecs.warp import warp_maps


@given(
    st.floats(-np.pi, np.pi),
    st.floats(0.5, 2),
    st.tuples(st.floats(-4, 4), st.floats(-4, 4)),
    st.sampled_from([(9, 7), (12, 16)]),
)
def test_it_samples_where_opencv_does(
    angle: float, zoom: float, shift: tuple[float, float], size: tuple[int, int]
) -> None:
    turn = zoom * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    matrix = np.concatenate([turn, np.array([[5 + shift[0]], [4 + shift[1]]])], 1)
    # OpenCV rounds the place of a sample to 1/32 pixel, so compare where the map is smooth: a ramp, and away
    # from the border where it falls to 0.
    xs, ys = np.meshgrid(np.arange(11, dtype=np.float32), np.arange(10, dtype=np.float32))
    ramp = 0.01 * (3 * xs - 2 * ys + 30)
    wanted = cv2.warpAffine(ramp, matrix, size, flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP, borderValue=-1)
    inside = cv2.warpAffine(np.ones_like(ramp), matrix, size, flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP)
    mine = warp_maps(torch.from_numpy(ramp)[None, None], torch.from_numpy(matrix)[None].float(), size)[
        0, 0
    ].numpy()
    np.testing.assert_allclose(mine[inside == 1], wanted[inside == 1], atol=0.01 * 5 / 32)
    far = (
        cv2.warpAffine(
            np.ones((14, 15), np.float32),
            matrix + np.array([0, 0, 2]),
            size,
            flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
        )
        == 0
    )
    assert not mine[far].any()  # nothing more than two pixels outside


def test_between_four_pixels_by_hand() -> None:
    maps = torch.tensor([[[[0.0, 4.0], [8.0, 16.0]]]])
    middle = torch.tensor([[[1.0, 0, 0.5], [0, 1, 0.25]]])
    # At (0.5, 0.25): 0.75 of the upper row's 2 and 0.25 of the lower row's 12. One pixel on, x = 1.5 is half
    # outside: half of 0.75 * 4 + 0.25 * 16. A row further, y = 1.25 sees 0.75 of the lower row.
    assert warp_maps(maps, middle, (2, 2)).flatten().tolist() == pytest.approx([4.5, 3.5, 9.0, 6.0], abs=1e-5)


def test_each_map_goes_its_own_way() -> None:
    maps = torch.zeros(2, 1, 3, 3)
    maps[:, :, 1, 1] = 0.2
    matrix = torch.tensor([[[1.0, 0, 0], [0, 1, 0]], [[-1.0, 0, 3], [0, 1, 1]]])
    warped = warp_maps(maps, matrix, (3, 2))
    assert warped[0, 0].tolist() == [pytest.approx([0, 0, 0], abs=1e-6), pytest.approx([0, 0.2, 0], abs=1e-6)]
    assert warped[1, 0].tolist() == [
        pytest.approx([0, 0, 0.2], abs=1e-6),
        pytest.approx([0, 0, 0], abs=1e-6),
    ]  # x = 3 - x', y = 1 + y'


@pytest.mark.parametrize("zoom", [0.5, 0.8, 1.0, 1.3])
def test_with_a_width_gaussians_are_as_wide_as_a_networks(zoom: float) -> None:
    stored, wanted = Heatmap((256, 256), sigma=2.0), Heatmap((256, 256), stride=8, sigma=1.5)
    joint = torch.tensor([[[120.0, 131.0]]])
    maps, _ = stored.encode(joint, torch.ones(1, 1))
    direct, _ = wanted.encode((joint - 127.5) * zoom + 127.5, torch.ones(1, 1))
    # Student's pixel -> input -> unzoomed input -> stored pixel.
    scale = wanted.pixel[0] / zoom / stored.pixel[0]
    offset = 127.5 * (1 - 1 / zoom) / stored.pixel[0]
    matrix = torch.tensor([[[scale, 0, offset], [0, scale, offset]]])
    warped = warp_maps(0.6 * maps, matrix, wanted.map_size, width=2.0 / 1.5)
    np.testing.assert_allclose(warped, 0.6 * direct, atol=0.06)
    if zoom != 1:  # without it the Gaussian is far too narrow or too wide
        assert (warp_maps(maps, matrix, wanted.map_size) - direct).abs().max() > 0.1
