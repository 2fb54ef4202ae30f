"""Packed heatmaps: what comes back, what it costs, and that foreign bytes are refused."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from poseling.codecs.heatmap import Heatmap
from poseling.teachers.packing import FLOOR, pack, quantise, unpack


@given(hnp.arrays(np.float32, (2, 5, 4), elements=st.floats(-0.5, 1.5, width=32)))
def test_every_pixel_comes_back_to_a_step_and_the_brightest_stays_the_brightest(maps: np.ndarray) -> None:
    back = unpack(pack(maps), maps.shape)
    kept, clipped = maps >= FLOOR, np.clip(maps, 0, 1)
    assert not back[~kept].any()
    # Half a step for rounding, one more for pixels that would tie with the brightest.
    assert np.abs(back / 255 - clipped)[kept].max(initial=0) <= 1.5 / 255 + 1e-6
    for before, after in zip(maps, back, strict=True):
        if before.max() >= FLOOR:
            assert after.argmax() == before.argmax()
            assert (after == after.max()).sum() == 1


def test_the_brightest_of_a_flat_top_by_hand() -> None:
    # 0.9 and 0.901 both round to 230 (229.5 and 229.8): the first loses a step, or a decoder would start at it.
    assert quantise(np.array([[[0.9, 0.901, 0.029, 0.031]]])).tolist() == [[[229, 230, 0, 8]]]


def test_seventeen_joints_cost_under_two_kilobytes_and_a_hundredth_of_a_pixel() -> None:
    codec = Heatmap((256, 256))
    random = torch.Generator().manual_seed(0)
    joints = 20 + 215 * torch.rand(20, 17, 2, generator=random)
    maps, _ = codec.encode(joints, torch.ones(20, 17))
    noise = 0.005 * torch.randn(maps.shape, generator=random)
    maps = maps * (0.3 + 0.7 * torch.rand(20, 17, 1, 1, generator=random)) + noise
    packed = [pack(m) for m in maps.numpy()]
    assert np.mean([len(p) for p in packed]) < 2000
    back = torch.from_numpy(np.stack([unpack(p, (17, 64, 64)) for p in packed])).float() / 255
    error = (codec.decode(back)[0] - codec.decode(maps)[0]).norm(dim=-1) / codec.pixel[0]
    assert error.mean() < 0.01
    assert error.max() < 0.05


@pytest.mark.parametrize("data", [b"", b"not zstd at all", pack(np.ones((1, 4, 4)))[:-3], pack(np.ones((2, 4, 4)))])
def test_bytes_of_something_else_are_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match=r"no heatmaps of shape \(1, 4, 4\)"):
        unpack(data, (1, 4, 4))
