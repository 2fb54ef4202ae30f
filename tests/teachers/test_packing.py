"""Packed heatmaps: what comes back, what it costs, and that foreign bytes are refused."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from poseling.codecs.heatmap import Heatmap
from poseling.teachers.packing import pack, quantise, restored, unpack


@given(
    hnp.arrays(
        np.float32,
        (2, 5, 4),
        elements=st.floats(-0.5, 3, width=32).map(lambda v: v if abs(v) > 1e-6 else 0.0),
    )
)
def test_every_pixel_comes_back_to_half_a_step_and_the_brightest_stays_the_brightest(
    maps: np.ndarray,
) -> None:
    small, scale = unpack(pack(maps), maps.shape)
    np.testing.assert_array_equal(small, quantise(maps)[0])
    for before, after, (step, _) in zip(maps, restored(small, scale), scale, strict=True):
        # From the lowest to the highest number, and 0, in 255 steps; where a whole byte has to be 0 the wider
        # side has one fewer.
        assert step <= (max(before.max(), 0) - min(before.min(), 0)) / 253 + 1e-7
        off = np.abs(after - before)
        tied = (off > 0.501 * step + 1e-7) & (before < before.max() + 1e-7)
        # Half a step for rounding; one more for pixels that would tie with the brightest.
        assert (off <= 1.501 * step + 1e-7).all()
        assert (before[tied] > before.max() - 1.01 * step - 1e-7).all()
        if before.max() > step:
            assert after.argmax() == before.argmax()
            assert (after == after.max()).sum() == 1


def test_bytes_by_hand() -> None:
    """Highest 0.51, lowest -0.255: 0 is a third of the way, byte 85, and a step is 0.003. 0.509 would tie
    with 0.51 and loses a step.
    """
    small, scale = quantise(np.array([[[0.51, 0.509, 0.0, -0.255], [0.3, 0.001, 0.002, -0.1]]]))
    assert small.tolist() == [[[255, 254, 85, 0], [185, 85, 86, 52]]]
    assert scale[0].tolist() == [pytest.approx(0.003), 85]


@pytest.mark.parametrize("peak", [0.02, 0.1, 1.0, 1.4])
def test_no_map_is_cut(peak: float) -> None:
    """An unsure map is low and wide, a softmax's sharp one higher than 1: both keep their mass and their top.
    (Below 0.03 and above 1 was once thrown away.)
    """
    y, x = np.mgrid[:64, :64]
    maps = peak * np.exp(-((x - 30.3) ** 2 + (y - 28.6) ** 2) / (2 * 9.0**2))[None]
    back = restored(*unpack(pack(maps), maps.shape))
    assert back.max() == pytest.approx(maps.max(), rel=1e-6)
    assert back.sum() == pytest.approx(maps.sum(), rel=0.003)


def test_maps_without_a_peak_come_back() -> None:
    flat = np.stack([np.zeros((4, 4)), np.full((4, 4), -0.2), np.full((4, 4), 0.3)])
    back = restored(*unpack(pack(flat), flat.shape))
    np.testing.assert_allclose(back, flat, atol=1.01 * 0.3 / 255)
    assert not back[0].any()


def test_seventeen_joints_cost_under_three_kilobytes_and_a_hundredth_of_a_pixel() -> None:
    codec = Heatmap((256, 256))
    random = torch.Generator().manual_seed(0)
    joints = 20 + 215 * torch.rand(20, 17, 2, generator=random)
    maps, _ = codec.encode(joints, torch.ones(20, 17))
    maps = maps * (0.3 + 0.7 * torch.rand(20, 17, 1, 1, generator=random))
    packed = [pack(m) for m in maps.numpy()]
    assert np.mean([len(p) for p in packed]) < 3000
    back = torch.from_numpy(np.stack([restored(*unpack(p, (17, 64, 64))) for p in packed]))
    error = (codec.decode(back)[0] - codec.decode(maps)[0]).norm(dim=-1) / codec.pixel[0]
    assert error.mean() < 0.005
    assert error.max() < 0.02


@pytest.mark.parametrize(
    "data", [b"", b"not zstd at all", pack(np.ones((1, 4, 4)))[:-3], pack(np.ones((2, 4, 4)))]
)
def test_bytes_of_something_else_are_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match=r"no heatmaps of shape \(1, 4, 4\)"):
        unpack(data, (1, 4, 4))
