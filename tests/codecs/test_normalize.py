from dataclasses import replace

import numpy as np
import torch

from poseling.codecs.normalize import normalise
from poseling.skeleton import LSP14
from poseling.spec import PoseSpec

SPEC = PoseSpec("hourglass-1x32", LSP14, {"name": "heatmap"}, (64, 64))


def crops():
    return np.random.default_rng(0).integers(0, 256, (2, 5, 7, 3), dtype=np.uint8)


def test_normalise_is_the_formula():
    expected = (crops() / 255 - np.array([0.485, 0.456, 0.406])) / np.array([0.229, 0.224, 0.225])
    got = normalise(torch.from_numpy(crops()), SPEC)
    assert got.shape == (2, 3, 5, 7)
    assert got.dtype == torch.float32
    np.testing.assert_allclose(got.numpy(), expected.transpose(0, 3, 1, 2), atol=1e-5)


def test_bgr_turns_the_channels_before_the_mean():
    spec = replace(SPEC, colour="bgr", mean=(0.1, 0.2, 0.3), std=(1.0, 2.0, 4.0))
    expected = (crops()[..., ::-1] / 255 - np.array([0.1, 0.2, 0.3])) / np.array([1, 2, 4])
    np.testing.assert_allclose(
        normalise(torch.from_numpy(crops()), spec).numpy(), expected.transpose(0, 3, 1, 2), atol=1e-6
    )


def test_floats_are_bytes_too():
    bytes_ = torch.from_numpy(crops())
    torch.testing.assert_close(normalise(bytes_.float(), SPEC), normalise(bytes_, SPEC), rtol=0, atol=0)
