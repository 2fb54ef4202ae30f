"""The codecs' losses by loops, by SciPy and by torch's own functions, and by hand."""

from functools import partial

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import map_coordinates
from scipy.stats import entropy
from torch.nn import functional as F

from poseling.codecs.coordinates import Coordinates
from poseling.codecs.heatmap import Heatmap
from poseling.codecs.location_losses import location, location_l1, location_maps, norm
from poseling.codecs.losses import (
    LOSSES,
    coordinate,
    kl,
    metres,
    mse,
    score_at_prediction,
    simcc_kl,
    simcc_logits,
    simcc_space,
    simulated_heatmap,
    smooth_l1,
)
from poseling.codecs.simcc import SimCC
from poseling.codecs.simcc3d import SimCC3D
from poseling.skeleton import Skeleton


def case(seed, b=3, s=2, k=4, h=5, w=6):
    random = np.random.default_rng(seed)
    weight = random.choice([0.0, 0.3, 1.0], (b, k))
    return random.normal(size=(b, s, k, h, w)), random.uniform(0, 1, (b, k, h, w)), weight


def tensors(*arrays):
    return [torch.from_numpy(a) for a in arrays]


def authors(outputs, target, labelled):
    """FPD's released loss in plain loops: for each stage and joint half the mean square over samples
    and pixels, averaged over joints, summed over stages.
    """
    dataset, stacks, joints, height, width = outputs.shape
    total = 0.0
    for s in range(stacks):
        for k in range(joints):
            squares = 0.0
            for b in range(dataset):
                for y in range(height):
                    for x in range(width):
                        squares += ((outputs[b, s, k, y, x] - target[b, k, y, x]) * labelled[b, k]) ** 2
            total += 0.5 * squares / (dataset * height * width) / joints
    return total


@pytest.mark.parametrize("seed", range(3))
def test_mse_is_the_authors(seed):
    outputs, target, weight = case(seed)
    labelled = (weight > 0).astype(float)
    assert mse(*tensors(outputs, target, labelled)).item() == pytest.approx(
        authors(outputs, target, labelled), rel=1e-12
    )


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
        assert loss(*tensors(outputs, target, weight)).item() == pytest.approx(
            (singles.numpy() * weight).sum(), rel=1e-9
        )


@pytest.mark.parametrize("seed", range(3))
def test_kl_is_scipys_and_torchs(seed):
    outputs, target, weight = case(seed)
    flat = target.reshape(3, 4, -1)
    soft = np.exp(outputs).reshape(3, 2, 4, -1)
    expected = (
        sum(
            weight[b, k] * entropy(flat[b, k], soft[b, s, k])
            for b in range(3)
            for s in range(2)
            for k in range(4)
        )
        / 12
    )  # it normalises both
    got = kl(*tensors(outputs, target, weight)).item()
    assert got == pytest.approx(expected, rel=1e-9)
    log, probabilities = (
        torch.from_numpy(outputs).flatten(3).log_softmax(-1),
        torch.from_numpy(flat / flat.sum(-1, keepdims=True)),
    )
    divergence = F.kl_div(log, probabilities[:, None].expand_as(log), reduction="none").sum(-1)
    assert got == pytest.approx((divergence * torch.from_numpy(weight)[:, None]).sum().item() / 12, rel=1e-9)


def test_kl_is_nothing_where_the_student_has_learnt():
    codec = Heatmap((256, 256), softmax=True)
    maps, weight = codec.encode(
        torch.tensor([[[120.0, 133.0], [150.0, 110.0]]], dtype=torch.float64), torch.ones(1, 2)
    )
    logits = maps.clamp(min=1e-300).log()[:, None]
    assert kl(logits, maps, weight).item() == pytest.approx(0, abs=1e-6)
    worse = kl(logits.roll(3, -1), maps, weight).item()
    assert worse == pytest.approx(
        3**2 / (2 * 2**2), rel=1e-3
    )  # between two Gaussians: the square of their distance over twice the variance


def test_coordinate_by_hand():
    outputs = torch.full((1, 2, 1, 2, 4), -1e9)
    outputs[0, 0, 0, 0, 1] = 0  # the first stage is at (1, 0)
    outputs[0, 1, 0, 0, 0] = outputs[0, 1, 0, 1, 2] = 0  # the second at (1, 0.5)
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
        assert (
            LOSSES[name](outputs, target, torch.ones(1, 1)).item()
            == LOSSES[name](outputs, target.clamp(min=0), torch.ones(1, 1)).item()
        )


@given(st.integers(0, 1000), st.sampled_from(sorted(LOSSES)))
@settings(max_examples=30, deadline=None)
def test_stages_are_summed_and_samples_and_joints_averaged(seed, name):
    outputs, target, weight = tensors(*case(seed))
    loss = LOSSES[name]
    by_stage = sum(loss(outputs[:, s : s + 1], target, weight) for s in range(2))
    by_sample = sum(loss(outputs[b : b + 1], target[b : b + 1], weight[b : b + 1]) for b in range(3)) / 3
    by_joint = (
        sum(loss(outputs[:, :, k : k + 1], target[:, k : k + 1], weight[:, k : k + 1]) for k in range(4)) / 4
    )
    for other in (by_stage, by_sample, by_joint):
        torch.testing.assert_close(loss(outputs, target, weight), other)


# SimCC


def bins(seed=0, columns=6, rows=9):
    random = np.random.default_rng(seed)
    return (
        random.normal(size=(3, 2, 4, columns + rows)),
        random.uniform(0, 1, (3, 4, columns + rows)),
        random.choice([0.0, 0.3, 1.0], (3, 4)),
    )


def test_simcc_logits_is_torchs_of_each_axis():
    """DWPose: for each axis the divergence, over joints summed and then divided by them, over people
    averaged.
    """
    outputs, teacher, _ = tensors(*bins())
    expected = 0.0
    for axis in (slice(0, 6), slice(6, 15)):
        log = (10 * outputs[:, 0, :, axis]).reshape(12, -1).log_softmax(1)
        expected += F.kl_div(
            log, (10 * teacher[..., axis]).reshape(12, -1).softmax(1), reduction="batchmean"
        ).item()
    assert simcc_logits(
        outputs[:, :1], teacher, torch.ones(3, 4), columns=6, beta=10
    ).item() == pytest.approx(expected, rel=1e-9)


def test_simcc_is_learnt_where_the_codec_reads_its_target():
    codec = SimCC((32, 48))
    assert codec.beta == 10
    targets, weight = codec.encode(
        torch.tensor([[[12.3, 33.0], [20.0, 7.5]]], dtype=torch.float64), torch.ones(1, 2)
    )
    outputs = targets.clamp(min=1e-300).log()[:, None] / 10
    columns = codec.bins[0]
    assert simcc_kl(outputs, targets, weight, columns=columns, beta=10).item() == pytest.approx(0, abs=1e-9)
    assert simcc_logits(outputs, outputs[:, 0], weight, columns=columns, beta=10).item() == pytest.approx(
        0, abs=1e-9
    )
    outputs[..., :columns] += 5  # no softmax over an axis sees this, one over parts of both does
    assert simcc_kl(outputs, targets, weight, columns=columns, beta=10).item() == pytest.approx(0, abs=1e-9)
    assert simcc_kl(outputs, targets, weight, columns=columns - 20, beta=10).item() > 0.1


def test_an_axis_without_mass_weighs_nothing():
    target = torch.zeros(1, 1, 15)
    target[..., 8] = 1
    outputs = torch.randn(1, 1, 1, 15, requires_grad=True)
    simcc_kl(outputs, target, torch.ones(1, 1), columns=6, beta=10).backward()
    assert not outputs.grad[..., :6].any()
    assert outputs.grad[..., 6:].all()


@pytest.mark.parametrize("columns", [0, 15, 30])
def test_both_axes_need_bins(columns):
    outputs, target, weight = tensors(*bins())
    with pytest.raises(ValueError, match="of the 15 bins"):
        simcc_kl(outputs, target, weight, columns=columns, beta=10)


# SimCC-3D

FIVE = (4, 3, 5, 6, 2)


def five(seed=0):
    random = np.random.default_rng(seed)
    return (
        random.normal(size=(3, 2, 4, 20)),
        random.uniform(0, 1, (3, 4, 20)),
        random.choice([0.0, 0.3, 1.0], (3, 4, 2)),
    )


@pytest.mark.parametrize(
    ("loss", "case", "axes", "beta"),
    [
        (partial(simcc_kl, columns=6, beta=1.0), bins, {(0, 6): 0, (6, 15): 0}, 1.0),
        (partial(simcc_kl, columns=6, beta=10.0), bins, {(0, 6): 0, (6, 15): 0}, 10.0),
        (
            partial(simcc_space, axes=FIVE),
            five,
            {(0, 4): 0, (4, 7): 0, (7, 12): 1, (12, 18): 1, (18, 20): 1},  # ends, and which of the weights
            1.0,
        ),
    ],
    ids=["simcc", "simcc at a beta of 10", "simcc3d"],
)
def test_bins_are_compared_along_each_axis_as_scipy_does(loss, case, axes, beta):
    outputs, target, weight = case()
    expected = sum(
        weight.reshape(3, 4, -1)[b, k, where]
        * entropy(target[b, k, start:end], np.exp(beta * outputs[b, s, k, start:end]))  # it normalises both
        for (start, end), where in axes.items()
        for b in range(3)
        for s in range(2)
        for k in range(4)
    )
    assert loss(*tensors(outputs, target, weight)).item() == pytest.approx(expected / 12, rel=1e-9)


def test_simcc_space_is_learnt_where_the_codec_reads_its_target():
    codec = SimCC3D((32, 48))
    joints, xyz = (
        torch.tensor([[[12.3, 33.0], [20.0, 7.5]]], dtype=torch.float64),
        torch.tensor([[[0.13, -0.5, 0.2], [0, 0, 0]]], dtype=torch.float64),
    )
    targets, weight = codec.encode_3d(
        joints, torch.ones(1, 2), xyz, torch.tensor([[1.0, 0]]), Skeleton("two", ("head", "pelvis"), (1, 1))
    )
    outputs = targets.clamp(min=1e-300).log()[:, None].requires_grad_()
    loss = simcc_space(outputs, targets, weight, axes=codec.bins)
    loss.backward()
    assert loss.item() == pytest.approx(0, abs=1e-9)
    assert outputs.grad.abs().max() < 1e-9
    # A 2D teacher's targets have no mass in space, whatever the weights are there.
    flat = codec.from_maps(codec.heatmap.encode(joints, torch.ones(1, 2))[0])
    outputs = torch.randn(1, 1, 2, sum(codec.bins), dtype=torch.float64, requires_grad=True)
    simcc_space(outputs, flat, torch.ones(1, 2, 2), axes=codec.bins).backward()
    assert not outputs.grad[..., sum(codec.bins[:2]) :].any()
    assert outputs.grad[..., : sum(codec.bins[:2])].all()


@pytest.mark.parametrize("axes", [(10, 10), (4, 3, 5, 6, 3), (4, 3, 5, 8, 0)])
def test_space_needs_five_axes_that_take_all_bins(axes):
    with pytest.raises(ValueError, match="there are 20 in all"):
        simcc_space(*tensors(*five()), axes=axes)


# DistilPose


def points(seed=0, h=8, w=6):
    """Outputs (3, 2, 4, 5), points (3, 4, 2), maps (3, 4, h, w) and weights."""
    random = np.random.default_rng(seed)
    outputs = np.concatenate(
        [
            random.uniform(0.1, 0.9, (3, 2, 4, 2)),
            random.uniform(0.5, 2, (3, 2, 4, 2)),
            random.normal(size=(3, 2, 4, 1)),
        ],
        -1,
    )
    return tensors(
        outputs,
        random.uniform(0, 1, (3, 4, 2)),
        random.uniform(0, 1, (3, 4, h, w)),
        random.choice([0.0, 0.3, 1.0], (3, 4)),
    )


def test_smooth_l1_by_hand_on_both_sides_of_one():
    outputs = torch.tensor([[[[3.0, 0.0, 9, 9, 9]]]])
    # 3 - 1/2 along x and (1/2)^2 / 2 along y.
    assert smooth_l1(outputs, torch.tensor([[[0.0, 0.5]]]), torch.ones(1, 1)).item() == pytest.approx(
        (2.5 + 0.125) / 2
    )
    outputs, target, _, _ = points()
    assert smooth_l1(outputs[:, :1], target, torch.ones(3, 4)).item() == pytest.approx(
        F.smooth_l1_loss(outputs[:, 0, :, :2], target).item(), rel=1e-9
    )


def test_simulated_heatmap_by_loops():
    outputs, _, maps, weight = points()
    total = 0.0
    for b, s, k in np.ndindex(3, 2, 4):
        x, y, sx, sy, _ = outputs[b, s, k].tolist()
        squares = [
            (
                np.exp(-((i - 5 * x) ** 2) / (2 * sx**2) - (j - 7 * y) ** 2 / (2 * sy**2))
                - maps[b, k, j, i].item()
            )
            ** 2
            for j in range(8)
            for i in range(6)
        ]
        total += weight[b, k].item() * np.mean(squares)
    assert simulated_heatmap(outputs, maps, weight).item() == pytest.approx(total / 12, rel=1e-5)


def test_simulated_heatmap_draws_as_the_codec_does():
    """The place is in the same geometry, and so is the width."""
    codec = Heatmap((64, 96))
    joints = torch.tensor([[[20.3, 50.0], [40.0, 11.9]]])
    maps, weight = codec.encode(joints, torch.ones(1, 2))
    targets, _ = Coordinates((64, 96)).encode(joints, torch.ones(1, 2))
    outputs = torch.cat([targets, torch.full((1, 2, 2), codec.sigma), torch.zeros(1, 2, 1)], -1)[:, None]
    assert simulated_heatmap(outputs, maps, weight).item() == pytest.approx(0, abs=1e-10)
    outputs[..., 4] = 9.21  # a sigmoid of 0.9999
    assert (
        score_at_prediction(outputs, maps, weight).item() < 0.04
    )  # between its pixels the top is read a little low
    assert smooth_l1(outputs, targets, weight).item() == 0


def test_a_gaussian_far_outside_weighs_nothing():
    outputs = torch.tensor(
        [[[[3.0, 0.5, 1.0, 1.0, 0.0], [1.2, 0.5, 1.0, 1.0, 0.0], [0.5, 0.5, 0.0, 0.0, 0.0]]]],
        requires_grad=True,
    )
    loss = simulated_heatmap(outputs, torch.ones(1, 3, 8, 6), torch.ones(1, 3))
    loss.backward()
    assert not outputs.grad[0, 0, 0].any()  # ten pixels to the right
    assert outputs.grad[0, 0, 1, 0] > 0  # one pixel to the right: a map that is bright within calls it back
    assert outputs.grad.isfinite().all()  # a width of 0


def test_the_score_learns_the_map_between_its_pixels():
    """SciPy's linear interpolation, 0 outside, and no gradient for the position."""
    outputs, _, maps, weight = points()
    outputs[0, 0, 0, 0], outputs[1, 0, 1, 1] = 1.01, -0.2
    outputs.requires_grad_()
    total = 0.0
    for b, s, k in np.ndindex(3, 2, 4):
        x, y, _, _, score = outputs[b, s, k].tolist()
        read = (
            map_coordinates(maps[b, k].numpy(), [[7 * y], [5 * x]], order=1)[0]
            if 0 <= x <= 1 and 0 <= y <= 1
            else 0.0
        )
        total += weight[b, k].item() * abs(1 / (1 + np.exp(-score)) - read)
    loss = score_at_prediction(outputs, maps, weight)
    assert loss.item() == pytest.approx(total / 12, rel=1e-9)
    loss.backward()
    assert not outputs.grad[..., :4].any()
    assert outputs.grad[..., 4].any()


# All of them


def every():
    """Each loss with outputs and targets that it takes, of 3 samples, 2 stages and 4 joints, and how many
    weights a joint has.
    """
    heatmaps, simcc, coordinates = tensors(*case(0)[:2]), tensors(*bins()[:2]), points()
    random = np.random.default_rng(0)
    maps = tensors(random.normal(size=(3, 2, 4, 7, 5, 6)), random.uniform(0.1, 1, (3, 4, 8, 5, 6)))
    return {
        **{name: (loss, *heatmaps, 1) for name, loss in LOSSES.items()},
        "norm": (norm, *heatmaps, 1),
        "simcc_kl": (partial(simcc_kl, columns=6, beta=10), *simcc, 1),
        "simcc_logits": (partial(simcc_logits, columns=6, beta=10), *simcc, 1),
        "simcc_space": (partial(simcc_space, axes=FIVE), *tensors(*five()[:2]), 2),
        "metres": (metres, *tensors(*five()[:2]), 2),
        "smooth_l1": (smooth_l1, *coordinates[:2], 1),
        "simulated_heatmap": (simulated_heatmap, coordinates[0], coordinates[2], 1),
        "score_at_prediction": (score_at_prediction, coordinates[0], coordinates[2], 1),
        "location": (location, *maps, 3),
        "location_l1": (location_l1, *maps, 3),
        "location_maps_kl": (location_maps("kl"), *maps, 3),
    }


EVERY = {name: weights for name, (*_, weights) in every().items()}


def weighed(weight, name):
    """(B, K) as the weights of this loss."""
    return weight if EVERY[name] == 1 else weight[..., None].expand(*weight.shape, EVERY[name])


@pytest.mark.parametrize("name", [name for name, weights in EVERY.items() if weights == 1])
def test_samples_may_be_weighed_whole(name):
    loss, outputs, targets, _ = every()[name]
    weight = torch.tensor([1.0, 0.0, 0.3], dtype=torch.float64)
    each = weight[:, None].expand(3, 4)
    assert loss(outputs, targets, weight).item() == pytest.approx(
        loss(outputs, targets, each).item(), rel=1e-12
    )


@pytest.mark.parametrize("name", EVERY)
def test_a_samples_weight_is_that_of_its_loss(name):
    loss, outputs, targets, _ = every()[name]
    weight = torch.tensor([1.0, 0.0, 0.3], dtype=torch.float64)
    alone = sum(
        w * loss(outputs[b : b + 1], targets[b : b + 1], weighed(torch.ones(1, 4), name)).item()
        for b, w in enumerate(weight.tolist())
    )
    together = loss(outputs, targets, weighed(weight[:, None].expand(3, 4), name))
    assert together.item() == pytest.approx(alone / 3, rel=1e-6)


@pytest.mark.parametrize("name", EVERY)
def test_without_weight_there_is_no_loss_and_no_gradient(name):
    loss, outputs, targets, _ = every()[name]
    outputs.requires_grad_()
    value = loss(outputs, targets, weighed(torch.zeros(3, 4), name))
    value.backward()
    assert value.item() == 0
    assert not outputs.grad.any()


@pytest.mark.parametrize("name", EVERY)
def test_half_precision_is_computed_in_full(name):
    loss, outputs, targets, _ = every()[name]
    outputs, targets, weight = outputs.half(), targets.half(), weighed(torch.ones(3, 4), name)
    value = loss(outputs, targets, weight)
    assert value.dtype == torch.float32
    assert value.item() == pytest.approx(
        loss(outputs.double(), targets.double(), weight.double()).item(), rel=1e-4
    )
