"""The losses between people and between joints: by hand, by loops, by torch.cdist and by what must not change
them.
"""

import itertools

import pytest
import torch
from torch.nn import functional as F

from poseling.distill.relation import (
    joint_embeddings,
    joint_structure,
    rkd_angle,
    rkd_distance,
    similarity_preserving,
)

PEOPLE = {
    "rkd_distance": rkd_distance,
    "rkd_angle": rkd_angle,
    "similarity_preserving": similarity_preserving,
}


def pair(b=5, seed=0):
    random = torch.Generator().manual_seed(seed)
    return torch.randn(b, 3, generator=random, dtype=torch.float64), torch.randn(
        b, 7, generator=random, dtype=torch.float64
    )


def test_rkd_distance_is_that_of_cdist():
    student, teacher = pair()
    ours, theirs = (torch.cdist(f, f) for f in (student, teacher))
    ours, theirs = (d / d[d > 0].mean() for d in (ours, theirs))
    assert rkd_distance(student, teacher, torch.ones(5)).item() == pytest.approx(
        F.smooth_l1_loss(ours, theirs).item(), rel=1e-9
    )


def test_rkd_angle_by_loops():
    student, teacher = pair(4)
    total = 0.0
    for i, j, k in itertools.product(range(4), repeat=3):
        if i in (j, k):
            continue  # a way to oneself has no direction
        ours, theirs = (
            F.cosine_similarity(f[j] - f[i], f[k] - f[i], dim=0).item() for f in (student, teacher)
        )
        d = abs(ours - theirs)
        total += d**2 / 2 if d < 1 else d - 0.5
    assert rkd_angle(student, teacher, torch.ones(4)).item() == pytest.approx(total / 64, rel=1e-9)


def test_rkd_angle_by_hand():
    """A right-angled corner with legs of length 1 against a straight line with the corner in the middle."""
    student, teacher = (
        torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]]),
        torch.tensor([[0.0], [1.0], [-1.0]]),
    )
    half = 0.5**0.5
    # At the corner 0 against -1, at each of the other two 1 / sqrt 2 against 1; each angle counts twice.
    assert rkd_angle(student, teacher, torch.ones(3)).item() == pytest.approx(
        2 * (0.5 + 2 * (1 - half) ** 2 / 2) / 27, rel=1e-5
    )


@pytest.mark.parametrize("loss", [rkd_distance, rkd_angle])
def test_rkd_knows_no_size_place_or_turn(loss):
    student, _ = pair()
    turn = torch.linalg.qr(
        torch.randn(3, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    ).Q
    assert loss(student, 4 * student @ turn + 2, torch.ones(5)).item() == pytest.approx(0, abs=1e-12)


def test_maps_are_averaged_over_pixels():
    student, teacher = pair()
    noise = torch.randn(5, 3, 2, 4, dtype=torch.float64)
    maps = student[..., None, None] + noise - noise.mean((-2, -1), keepdim=True)
    for loss in (rkd_distance, rkd_angle):
        assert loss(maps, teacher, torch.ones(5)).item() == pytest.approx(
            loss(student, teacher, torch.ones(5)).item(), rel=1e-9
        )


def test_similarity_preserving_is_the_papers():
    student, teacher = pair()
    ours, theirs = (F.normalize(f @ f.T, dim=1) for f in (student, teacher))
    expected = torch.linalg.matrix_norm(theirs - ours).item() ** 2 / 25
    assert similarity_preserving(student, teacher, torch.ones(5)).item() == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("name", sorted(PEOPLE))
def test_people_without_weight_are_not_there(name):
    """The loss of the others, counted over the whole batch."""
    student, teacher = pair()
    power = 3 if name == "rkd_angle" else 2
    weight = torch.tensor([1.0, 1.0, 0.0, 1.0, 0.0])
    others = PEOPLE[name](student[weight > 0], teacher[weight > 0], torch.ones(3)).item()
    assert PEOPLE[name](student, teacher, weight).item() == pytest.approx(others * (3 / 5) ** power, rel=1e-9)
    assert PEOPLE[name](student, teacher, torch.full((5,), 0.5)).item() == pytest.approx(
        PEOPLE[name](student, teacher, torch.ones(5)).item() * 0.5**power, rel=1e-6
    )


@pytest.mark.parametrize("name", sorted(PEOPLE))
def test_gradients_are_finite_where_features_are_equal_or_nothing_counts(name):
    _, teacher = pair()
    for student, weight in (
        (torch.zeros(5, 3), torch.ones(5)),
        (torch.ones(5, 3), torch.ones(5)),
        (torch.randn(5, 3), torch.zeros(5)),
    ):
        student = student.clone().requires_grad_()
        loss = PEOPLE[name](student, teacher, weight)
        loss.backward()
        assert loss.isfinite()
        assert student.grad.abs().max() < 10
        assert loss.item() == 0 or weight.any()


@pytest.mark.parametrize("name", sorted(PEOPLE))
def test_half_precision_is_computed_in_full(name):
    student, teacher = (100 * f.half() for f in pair())
    exact = PEOPLE[name](student.double(), teacher.double(), torch.ones(5)).item()
    assert PEOPLE[name](student, teacher, torch.ones(5)).item() == pytest.approx(exact, rel=1e-4)
    with torch.autocast("cpu", torch.bfloat16):
        assert PEOPLE[name](student, teacher, torch.ones(5)).item() == pytest.approx(exact, rel=1e-4)


def test_joint_structure_by_loops():
    random = torch.Generator().manual_seed(0)
    student, teacher = torch.randn(2, 4, 3, generator=random), torch.randn(2, 4, 6, generator=random)
    weight = torch.tensor([[1.0, 0.5, 0.0, 1.0], [1.0, 1.0, 1.0, 0.0]])
    total = 0.0
    for b, k, n in itertools.product(range(2), range(4), range(4)):
        ours, theirs = (F.cosine_similarity(f[b, k], f[b, n], dim=0).item() for f in (student, teacher))
        total += weight[b, k].item() * weight[b, n].item() * (ours - theirs) ** 2
    assert joint_structure(student, teacher, weight).item() == pytest.approx(total / 32, rel=1e-5)
    whole = joint_structure(student, teacher, torch.tensor([1.0, 0.0])).item()
    assert whole == pytest.approx(
        joint_structure(student[:1], teacher[:1], torch.ones(1, 4)).item() / 2, rel=1e-6
    )


def test_joint_structure_has_finite_gradients_for_joints_without_an_embedding():
    student = torch.randn(2, 4, 3)
    student[0, 1] = 0
    student.requires_grad_()
    for weight in (torch.ones(2, 4), torch.zeros(2, 4), torch.zeros(2)):
        loss = joint_structure(student, torch.randn(2, 4, 6), weight)
        loss.backward()
        assert student.grad.abs().max() < 10
        assert loss.item() == 0 or weight.any()


@pytest.mark.parametrize("size", [(4, 3), (8, 6), (16, 12), (31, 7)])
def test_embeddings_are_means_of_the_resized_feature(size):
    random = torch.Generator().manual_seed(0)
    features, maps = (
        torch.randn(2, 5, 8, 6, generator=random).double(),
        torch.rand(2, 3, *size, generator=random).double(),
    )
    resized = F.interpolate(features, size, mode="bilinear", align_corners=True)
    expected = torch.einsum("bkhw,bchw->bkc", maps / maps.sum((-2, -1), keepdim=True), resized)
    torch.testing.assert_close(joint_embeddings(features, maps), expected)


def test_embeddings_take_no_negative_pixels_and_give_0_without_mass():
    features, maps = (
        torch.ones(1, 2, 2, 2, requires_grad=True),
        torch.tensor([[[[-5.0, 1], [0, 1]], [[-1, 0], [0, 0]]]]),
    )
    found = joint_embeddings(features, maps)
    torch.testing.assert_close(found, torch.tensor([[[1.0, 1], [0, 0]]]))
    found.sum().backward()
    assert features.grad.isfinite().all()
    assert joint_embeddings(features.half(), maps.half()).dtype == torch.float32
