"""VNect's and MoVNect's losses by hand."""

from __future__ import annotations

import pytest
import torch

from poseling.codecs import LocationMap
from poseling.codecs.location_losses import bones_of, location, location_l1, location_maps, norm, on_heatmaps
from poseling.codecs.losses import LOSSES
from poseling.skeleton import Skeleton

ARM = Skeleton("arm", ("pelvis", "left_hand", "right_hand"), (0, 0, 0))
CODEC = LocationMap((64, 64))
JOINTS = torch.tensor([[[32.0, 32.0], [20.0, 24.0], [44.0, 24.0]]])


def test_the_papers_loss_by_hand():
    """Of one joint: H of 1 and 3/4 in two of four pixels, whose norm is 5/4; X off by 2 m, Y by 0, Z by 4
    everywhere: 10 (2 + 4) 5/4.
    """
    outputs, targets = torch.zeros(1, 1, 1, 7, 2, 2), torch.zeros(1, 1, 8, 2, 2)
    targets[0, 0, 1], targets[0, 0, 3] = 2, -4
    targets[0, 0, 7] = torch.tensor([[1.0, 0.75], [0, 0]])
    assert location(outputs, targets, torch.ones(1, 1, 3)).item() == pytest.approx(75)
    assert location(outputs, targets, torch.tensor([[[1.0, 0.5, 1.0]]])).item() == pytest.approx(
        37.5
    )  # the location's weight alone counts
    assert location_l1(outputs, targets, torch.ones(1, 1, 3)).item() == pytest.approx(6.0)
    targets[0, 0, 5] = 1  # dY
    assert bones_of(location)(outputs, targets, torch.ones(1, 1, 3)).item() == pytest.approx(12.5)
    assert bones_of(location_l1)(outputs, targets, torch.tensor([[[1.0, 1.0, 0.0]]])).item() == 0
    targets[0, 0, 0, 0, 0] = 1
    assert on_heatmaps(LOSSES["mse"])(outputs, targets, torch.ones(1, 1, 3)).item() == pytest.approx(0.5 / 4)
    assert on_heatmaps(norm)(outputs, targets, torch.ones(1, 1, 3)).item() == 1
    assert location_maps("mse")(outputs, targets, torch.ones(1, 1, 3)).item() == pytest.approx(75 + 12.5 + 1)
    assert location_maps("kl")(outputs, targets, torch.tensor([[[0.0, 1.0, 1.0]]])).item() == pytest.approx(
        6 + 1
    )


def test_ten_centimetres_count_as_an_empty_heatmap():
    """Decimetres, as in VNect: under a Gaussian H, |H| for no heatmap at all, |H| for a location 1 dm off
    along one axis, and twice that for 2 dm: no squares.
    """
    known, nowhere = torch.ones(1, 3), torch.zeros(1, 3, 3)
    targets, weight = CODEC.encode_3d(JOINTS, known, nowhere, known, ARM)
    away = targets[:, None, :, :7].clone()
    away[:, :, :, 0] = 0
    empty = on_heatmaps(norm)(away, targets, weight).item()
    for metres in (0.1, 0.2):
        away[:, :, :, 3] = metres
        assert location(away, targets, weight).item() == pytest.approx(10 * metres * empty, rel=1e-5)
    # Without an error the gradient is 0, not NaN.
    same = targets[:, None, :, :7].clone().requires_grad_()
    location_maps("mse")(same, targets, weight).backward()
    assert same.grad is not None
    assert not same.grad.any()
