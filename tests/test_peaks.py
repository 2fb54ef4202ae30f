"""The decoding without torch says what `codecs.heatmap` says."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from poseling.codecs.heatmap import Heatmap
from poseling.peaks import gaussians, peaks

JOINTS = torch.tensor([[[3.2, 4.4], [40.3, 50.7], [92.6, 30.1], [0.4, 125.0], [94.0, 127.0], [60.0, 0.0]]])


@pytest.mark.parametrize("unbiased", [True, False])
@pytest.mark.parametrize("decoding", ["plain", "quarter", "dark"])
@pytest.mark.parametrize("sigma", [1.5, 2.0])
def test_it_finds_what_the_codec_finds(decoding: str, unbiased: bool, sigma: float):
    codec = Heatmap((96, 128), sigma=sigma, decoding=decoding, unbiased=unbiased)
    clean = codec.encode(JOINTS, torch.ones(1, 6))[0]
    noisy = clean + 0.1 * torch.rand((8, 6, 32, 24), generator=torch.Generator().manual_seed(0))
    maps = torch.cat([clean, noisy, torch.zeros(1, 6, 32, 24)])
    xy, score = codec.decode(maps)
    ours = peaks(maps.numpy(), codec.pixel, sigma, decoding)
    np.testing.assert_allclose(ours[0], xy, atol=1e-3)
    np.testing.assert_allclose(ours[1], score, atol=1e-6)
    assert np.abs(ours[0][0, 1] - JOINTS[0, 1].numpy()).max() < (
        0.01 if (decoding, unbiased) == ("dark", True) else 3
    )


def test_logits_become_the_codec_s_gaussians():
    codec = Heatmap((96, 128), softmax=True)
    clean = replace(codec, softmax=False).encode(JOINTS, torch.ones(1, 6))[0]
    logits = 30 * clean + torch.rand(clean.shape, generator=torch.Generator().manual_seed(0))
    maps = gaussians(logits.numpy(), codec.sigma)
    np.testing.assert_allclose(maps, codec.maps(logits), atol=1e-6)
    xy, score = codec.decode(logits)
    ours = peaks(maps, codec.pixel, codec.sigma, "dark")
    np.testing.assert_allclose(ours[0], xy, atol=1e-3)
    np.testing.assert_allclose(ours[1], score, atol=1e-5)


def test_nan_is_a_score_of_nan_and_no_map_is_no_joint():
    maps = np.zeros((1, 1, 8, 8), np.float32)
    maps[0, 0, 3, 3] = np.nan
    assert np.isnan(peaks(maps, (4.0, 4.0), 2.0, "dark")[1]).all()
    xy, score = peaks(np.zeros((0, 3, 8, 8), np.float32), (4.0, 4.0), 2.0, "dark")
    assert (xy.shape, score.shape) == ((0, 3, 2), (0, 3))
