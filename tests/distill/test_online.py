"""OKDHP's loss by SciPy, by hand and in its authors' loops."""

import math

import pytest
import torch
from scipy.special import rel_entr
from scipy.special import softmax as scipys
from torch.nn import functional as F

from poseling.distill.online import okdhp, ramp_up


def outputs(b=3, branches=3, k=4, h=5, w=6):
    return torch.randn(
        b, branches + 1, k, h, w, generator=torch.Generator().manual_seed(0), dtype=torch.float64
    )


def test_okdhp_is_the_authors():
    """Their loss: for each branch and joint torch's divergence of all people, over people and pixels divided,
    over joints summed.
    """
    answers = outputs()
    total = 0.0
    for branch in range(3):
        for k in range(4):
            log, target = (
                answers[:, branch, k].reshape(3, -1).log_softmax(1),
                answers[:, -1, k].reshape(3, -1).softmax(1),
            )
            total += F.kl_div(log, target, reduction="sum").item() / 3 / 30
    assert okdhp(answers, torch.ones(3, 4)).item() == pytest.approx(total, rel=1e-12)


@pytest.mark.parametrize("temperature", [1.0, 3.0])
def test_okdhp_is_scipys_and_weighed(temperature):
    answers = outputs()
    weight = torch.tensor([[1.0, 0.0, 0.5, 1.0], [0.0] * 4, [0.3, 1.0, 1.0, 0.0]])
    soft = scipys(answers.flatten(3).numpy() / temperature, -1)
    each = rel_entr(soft[:, -1:], soft[:, :-1]).sum(-1).sum(1) / 30
    expected = temperature**2 * (each * weight.numpy()).sum() / 3
    assert okdhp(answers, weight, temperature=temperature).item() == pytest.approx(expected, rel=1e-9)
    dataset = torch.tensor([0.0, 1.0, 0.5])
    assert okdhp(answers, dataset).item() == pytest.approx(
        okdhp(answers, dataset[:, None].expand(3, 4)).item(), rel=1e-12
    )


def test_branches_that_agree_have_no_loss():
    assert okdhp(outputs()[:, :1].expand(-1, 4, -1, -1, -1), torch.ones(3, 4)).item() == pytest.approx(
        0, abs=1e-15
    )


def test_the_ensemble_learns_unless_it_is_kept_still():
    answers = outputs().requires_grad_()
    okdhp(answers, torch.ones(3, 4)).backward()
    assert answers.grad[:, -1].any()
    branch = answers.grad[:, 0].clone()
    answers.grad = None
    okdhp(answers, torch.ones(3, 4), detach=True).backward()
    assert not answers.grad[:, -1].any()
    torch.testing.assert_close(answers.grad[:, 0], branch)
    soft = answers.detach().flatten(3).softmax(-1)
    torch.testing.assert_close(
        branch.flatten(2), (soft[:, 0] - soft[:, -1]) / 90
    )  # the gradient of a cross-entropy, over samples and pixels


def test_without_weight_and_in_half_precision():
    answers = (50 * outputs()).half().requires_grad_()
    loss = okdhp(answers, torch.zeros(3, 4))
    loss.backward()
    assert loss.item() == 0
    assert not answers.grad.any()
    loss = okdhp(answers, torch.ones(3, 4))
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(okdhp(answers.double(), torch.ones(3, 4)).item(), rel=1e-5)


def test_ramp_up():
    """At epoch 45 of the authors' 90 exp(-5/4); from 90 on 1."""
    assert ramp_up(0.0) == pytest.approx(math.exp(-5))
    assert ramp_up(45 / 150) == pytest.approx(math.exp(-1.25))
    assert ramp_up(90 / 150) == ramp_up(1.0) == ramp_up(0.0, over=0.0) == 1.0
