"""The losses between tokens by hand and by torch's mean square."""

import pytest
import torch
from torch.nn import functional as F

from poseling.distill.token import cycles, token_mse


def tokens(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_token_mse_is_torchs():
    student, teacher = tokens(3, 4, 5), tokens(3, 4, 5, seed=1)
    assert token_mse(student, teacher, torch.ones(3)).item() == pytest.approx(
        F.mse_loss(student, teacher).item(), rel=1e-12
    )


def test_token_mse_weighs_people_and_joints():
    student, teacher = tokens(2, 3, 5), tokens(2, 3, 5, seed=1)
    each = (student - teacher).square().mean(-1)
    weight = torch.tensor([[1.0, 0.0, 0.5], [0.0, 0.0, 2.0]])
    assert token_mse(student, teacher, weight).item() == pytest.approx(
        (each[0, 0] + each[0, 2] / 2 + 2 * each[1, 2]).item() / 6, rel=1e-9
    )
    assert token_mse(student, teacher, torch.tensor([0.0, 0.5])).item() == pytest.approx(
        0.5 * each[1].sum().item() / 6, rel=1e-9
    )


def test_tokens_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match=r"nn\.Linear"):
        token_mse(torch.zeros(1, 3, 4), torch.zeros(1, 3, 1), torch.ones(1))


def test_cycles_are_summed_over_neighbours():
    run = tokens(2, 3, 4, 5)
    expected = F.mse_loss(run[:, 0], run[:, 1]) + F.mse_loss(run[:, 1], run[:, 2])
    assert cycles(run, torch.ones(2)).item() == pytest.approx(expected.item(), rel=1e-12)
    first = F.mse_loss(run[0, 0], run[0, 1]) + F.mse_loss(run[0, 1], run[0, 2])
    assert cycles(run, torch.tensor([0.5, 0.0])).item() == pytest.approx(first.item() / 4, rel=1e-9)
    assert cycles(run, torch.tensor([[0.5] * 4, [0.0] * 4])).item() == pytest.approx(
        first.item() / 4, rel=1e-9
    )


def test_the_later_cycle_learns_unless_it_is_kept_still():
    run = torch.tensor([0.0, 1.0, 3.0]).view(1, 3, 1, 1).requires_grad_()
    cycles(run, torch.ones(1)).backward()
    assert run.grad.flatten().tolist() == [-2.0, 2.0 - 4.0, 4.0]
    run.grad = None
    cycles(run, torch.ones(1), detach=True).backward()
    assert run.grad.flatten().tolist() == [-2.0, -4.0, 0.0]


def test_one_cycle_has_nothing_to_learn():
    """torch's mean over no pairs would be nan; the sum over them is 0."""
    assert cycles(tokens(2, 1, 4, 5), torch.ones(2)).item() == 0


def test_without_weight_and_in_half_precision():
    run = (300 * tokens(2, 3, 4, 5)).half().requires_grad_()  # squares beyond float16
    for loss in (cycles(run, torch.zeros(2)), token_mse(run[:, 0], run[:, 1], torch.zeros(2))):
        assert loss.item() == 0
        loss.backward()
        assert not run.grad.any()
    for loss, exact in (
        (cycles(run, torch.ones(2)), cycles(run.double(), torch.ones(2))),
        (token_mse(run[:, 0], run[:, 1], torch.ones(2)), F.mse_loss(run[:, 0].double(), run[:, 1].double())),
    ):
        assert loss.dtype == torch.float32
        assert loss.item() == pytest.approx(exact.item(), rel=1e-5)
