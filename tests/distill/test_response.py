"""The losses by loops, by SciPy and by torch's own functions, and by hand."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import entropy
from torch.nn import functional as F

from poseling.codecs.heatmap import Heatmap
from poseling.distill.response import LOSSES, coordinate, kl, mse


def case(seed, b=3, s=2, k=4, h=5, w=6):
    random = np.random.default_rng(seed)
    weight = random.choice([0.0, 0.3, 1.0], (b, k))
    return random.normal(size=(b, s, k, h, w)), random.uniform(0, 1, (b, k, h, w)), weight


def tensors(*arrays):
    return [torch.from_numpy(a) for a in arrays]


def authors(outputs, target, labelled):
    """FPD's released loss in plain loops: for each stack and joint half the mean square over people and pixels, over joints averaged, over stacks summed."""
    people, stacks, joints, height, width = outputs.shape
    total = 0.0
    for s in range(stacks):
        for k in range(joints):
            squares = 0.0
            for b in range(people):
                for y in range(height):
                    for x in range(width):
                        squares += ((outputs[b, s, k, y, x] - target[b, k, y, x]) * labelled[b, k]) ** 2
            total += 0.5 * squares / (people * height * width) / joints
    return total


@pytest.mark.parametrize("seed", range(3))
def test_mse_is_the_authors(seed):
    outputs, target, weight = case(seed)
    labelled = (weight > 0).astype(float)
    assert mse(*tensors(outputs, target, labelled)).item() == pytest.approx(authors(outputs, target, labelled), rel=1e-12)


@pytest.mark.parametrize("seed", range(3))
def test_a_weight_weighs_the_loss_of_its_joint(seed):
    """Half a weight is half a loss (the authors, who have only 0 and 1, square it)."""
    outputs, target, weight = case(seed)
    for loss in LOSSES.values():
        singles = torch.zeros(3, 4, dtype=torch.float64)
        for b in range(3):
            for k in range(4):
                only = np.zeros((3, 4))
                only[b, k] = 1
                singles[b, k] = loss(*tensors(outputs, target, only))
        assert loss(*tensors(outputs, target, weight)).item() == pytest.approx((singles.numpy() * weight).sum(), rel=1e-9)


@pytest.mark.parametrize("seed", range(3))
def test_kl_is_scipys_and_torchs(seed):
    outputs, target, weight = case(seed)
    flat = target.reshape(3, 4, -1)
    soft = np.exp(outputs).reshape(3, 2, 4, -1)
    expected = sum(weight[b, k] * entropy(flat[b, k], soft[b, s, k]) for b in range(3) for s in range(2) for k in range(4)) / 12  # it normalises both
    got = kl(*tensors(outputs, target, weight)).item()
    assert got == pytest.approx(expected, rel=1e-9)
    log, probabilities = torch.from_numpy(outputs).flatten(3).log_softmax(-1), torch.from_numpy(flat / flat.sum(-1, keepdims=True))
    divergence = F.kl_div(log, probabilities[:, None].expand_as(log), reduction="none").sum(-1)
    assert got == pytest.approx((divergence * torch.from_numpy(weight)[:, None]).sum().item() / 12, rel=1e-9)


def test_kl_is_nothing_where_the_student_has_learnt():
    codec = Heatmap((256, 256), softmax=True)
    maps, weight = codec.encode(torch.tensor([[[120.0, 133.0], [150.0, 110.0]]], dtype=torch.float64), torch.ones(1, 2))
    logits = maps.clamp(min=1e-300).log()[:, None]
    assert kl(logits, maps, weight).item() == pytest.approx(0, abs=1e-6)
    worse = kl(logits.roll(3, -1), maps, weight).item()
    assert worse == pytest.approx(3**2 / (2 * 2**2), rel=1e-3)  # between two Gaussians: the square of their distance over twice the variance


def test_coordinate_by_hand():
    outputs = torch.full((1, 2, 1, 2, 4), -1e9)
    outputs[0, 0, 0, 0, 1] = 0  # the first stack says (1, 0)
    outputs[0, 1, 0, 0, 0] = outputs[0, 1, 0, 1, 2] = 0  # the second (1, 0.5)
    target = torch.zeros(1, 1, 2, 4)
    target[0, 0, 1, 3] = 0.7  # (3, 1)
    weight = torch.full((1, 1), 0.5)
    # Parts of the map: 2/4 + 1/2 for the first, 2/4 + 0.5/2 for the second; half a weight.
    assert coordinate(outputs, target, weight).item() == pytest.approx(0.5 * (1.0 + 0.75))


@pytest.mark.parametrize("name", ["kl", "coordinate"])
def test_a_target_without_mass_weighs_nothing(name):
    outputs = torch.randn(1, 2, 2, 4, 4, requires_grad=True)
    target = torch.zeros(1, 2, 4, 4)
    target[0, 1, 2, 2] = 1
    loss = LOSSES[name](outputs, target, torch.ones(1, 2))
    loss.backward()
    assert loss.isfinite()
    assert not outputs.grad[:, :, 0].any()
    assert outputs.grad[:, :, 1].any()


def test_negative_pixels_of_a_teacher_are_no_probability():
    outputs, target = torch.randn(1, 1, 1, 4, 4), torch.rand(1, 1, 4, 4)
    target[0, 0, 0, 0] = -0.5
    for name in ("kl", "coordinate"):
        assert LOSSES[name](outputs, target, torch.ones(1, 1)).item() == LOSSES[name](outputs, target.clamp(min=0), torch.ones(1, 1)).item()


@given(st.integers(0, 1000), st.sampled_from(sorted(LOSSES)))
@settings(max_examples=30, deadline=None)
def test_stacks_are_summed_and_people_and_joints_averaged(seed, name):
    outputs, target, weight = tensors(*case(seed))
    loss = LOSSES[name]
    by_stack = sum(loss(outputs[:, s : s + 1], target, weight) for s in range(2))
    by_person = sum(loss(outputs[b : b + 1], target[b : b + 1], weight[b : b + 1]) for b in range(3)) / 3
    by_joint = sum(loss(outputs[:, :, k : k + 1], target[:, k : k + 1], weight[:, k : k + 1]) for k in range(4)) / 4
    for other in (by_stack, by_person, by_joint):
        torch.testing.assert_close(loss(outputs, target, weight), other)
