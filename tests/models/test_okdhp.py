"""OKDHP: its branches are hourglasses, its ensemble by hand, and one branch alone."""

import pytest
import torch

from poseling.models import okdhp
from poseling.models.hourglass import Hourglass
from poseling.models.okdhp import OKDHP, single


def test_size_is_three_hourglasses_on_one_stem_and_the_aggregation():
    with torch.device("meta"):
        network, hourglass = okdhp.build("2x128", 16, (256, 256)), Hourglass(16, 2, 128)
    count = {
        name: sum(p.numel() for p in part.parameters())
        for name, part in (("all", network), ("one", hourglass), ("stacks", hourglass.stacks))
    }
    views = sum(128 * 128 * k * k + 3 * 128 for k in (3, 5, 7))
    aggregation = views + (128 + 1) * 64 + 3 * (64 + 1) * 16
    assert count["all"] == count["one"] + 2 * count["stacks"] + aggregation


@pytest.mark.parametrize("stacks", [1, 3])
def test_branches_stack_by_stack_then_the_ensemble(stacks):
    torch.manual_seed(0)
    network = OKDHP(5, stacks, 16).eval()
    images = torch.randn(2, 3, 64, 128)
    found = network(images)
    assert found.shape == (2, 3 * stacks + 1, 5, 16, 32)
    for branch in range(3):
        torch.testing.assert_close(found[:, branch:-1:3], single(network, branch)(images))


def test_the_ensemble_by_hand():
    network = OKDHP(2, 2, 16).eval()
    with torch.no_grad():
        for weigh, bias in zip(network.aggregation.weigh, ([0.0, 0.0], [0.0, 2.0], [0.0, 2.0]), strict=True):
            weigh.weight.zero_()
            weigh.bias.copy_(torch.tensor(bias))
        found = network(torch.randn(1, 3, 64, 64))
    b0, b1, b2, ensemble = found[0, -4:]
    torch.testing.assert_close(ensemble[0], (b0[0] + b1[0] + b2[0]) / 3)
    e = torch.tensor(2.0).exp()
    torch.testing.assert_close(ensemble[1], (b0[1] + e * b1[1] + e * b2[1]) / (1 + 2 * e))


def test_weights_of_the_branches_see_the_image_and_add_up():
    torch.manual_seed(0)
    aggregation = OKDHP(4, 1, 16).aggregation.eval()
    weights = aggregation(torch.randn(2, 16, 8, 8))
    assert weights.shape == (2, 3, 4)
    torch.testing.assert_close(weights.sum(1), torch.ones(2, 4))
    assert (weights[0] - weights[1]).abs().max() > 1e-4


def test_one_branch_is_a_hourglass_of_its_own():
    network = OKDHP(5, 2, 16).train()
    hourglass = single(network, 2)
    assert isinstance(hourglass, Hourglass)
    assert hourglass.training
    before = network.state_dict()["branches.2.0.score.bias"].clone()
    with torch.no_grad():
        hourglass.stacks[0].score.bias.add_(1)
    assert torch.equal(network.state_dict()["branches.2.0.score.bias"], before)
    with pytest.raises(ValueError, match="branch 3: there are 3, from 0 to 2"):
        single(network, 3)


def test_every_weight_is_trained():
    network = OKDHP(3, 2, 16)
    network(torch.randn(2, 3, 128, 128)).square().sum().backward()
    assert [name for name, p in network.named_parameters() if p.grad is None] == []


@pytest.mark.parametrize("variant", ["", "3", "0x16", "2x16x3"])
def test_a_variant_that_there_is_not(variant):
    with pytest.raises(
        ValueError, match=f"okdhp-{variant}: name the stacks and channels of each branch, as in okdhp-2x128"
    ):
        okdhp.build(variant, 16, (256, 256))
