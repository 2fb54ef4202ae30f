"""The losses between features by hand, by loops and by torch's own functions."""

import math

import pytest
import torch
from torch.nn import functional as F

from poseling.distill.feature import (
    Align,
    Generate,
    align,
    aligned_mse,
    attention_transfer,
    channel_wise,
    fade,
    generate,
    masked_generation,
)

LOSSES = {
    "aligned_mse": aligned_mse,
    "masked_generation": masked_generation,
    "attention_transfer": attention_transfer,
    "channel_wise": channel_wise,
}


def pair(seed=0, b=3, c=4, h=5, w=6, dtype=torch.float64):
    random = torch.Generator().manual_seed(seed)
    return [torch.randn(b, c, h, w, generator=random, dtype=dtype) for _ in range(2)]


@pytest.mark.parametrize("loss", [aligned_mse, masked_generation])
def test_squares_are_summed_and_people_averaged(loss):
    student, teacher = pair()
    assert loss(student, teacher, torch.ones(3)).item() == pytest.approx(
        F.mse_loss(student, teacher, reduction="sum").item() / 3, rel=1e-12
    )


def test_attention_transfer_by_loops():
    student, teacher = pair()
    teacher = torch.cat([teacher, 2 * teacher[:, :3]], 1)  # seven channels
    total = 0.0
    for b in range(3):
        maps = []
        for feature in (student, teacher):
            q = [
                [sum(feature[b, c, y, x].item() ** 2 for c in range(feature.shape[1])) for x in range(6)]
                for y in range(5)
            ]
            length = math.sqrt(sum(v**2 for row in q for v in row))
            maps.append([[v / length for v in row] for row in q])
        total += sum((maps[0][y][x] - maps[1][y][x]) ** 2 for y in range(5) for x in range(6)) / 30
    assert attention_transfer(student, teacher, torch.ones(3)).item() == pytest.approx(total / 3, rel=1e-9)


def test_attention_looks_where_not_how_much_nor_in_how_many_channels():
    student, _ = pair()
    assert attention_transfer(
        student, torch.cat([3 * student, 3 * student], 1), torch.ones(3)
    ).item() == pytest.approx(0, abs=1e-15)


def test_attention_of_another_size_is_resized():
    """A ramp 0, 1, 2, 3, 4 (as sums of squares) in three pixels is 0, 2, 4."""
    small, large = (
        torch.tensor([0.0, 2, 4]).sqrt().view(1, 1, 1, 3),
        torch.arange(5.0).sqrt().view(1, 1, 1, 5),
    )
    assert attention_transfer(small, large, torch.ones(1)).item() == pytest.approx(0, abs=1e-12)
    assert attention_transfer(large, small, torch.ones(1)).item() == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("temperature", [1.0, 4.0])
def test_channel_wise_is_torchs_divergence(temperature):
    student, teacher = pair()
    log = (student.reshape(12, 30) / temperature).log_softmax(1)
    expected = (
        F.kl_div(log, (teacher.reshape(12, 30) / temperature).softmax(1), reduction="sum")
        * temperature**2
        / 12
    )
    assert channel_wise(student, teacher, torch.ones(3), temperature=temperature).item() == pytest.approx(
        expected.item(), rel=1e-12
    )


@pytest.mark.parametrize("name", sorted(LOSSES))
def test_a_weight_weighs_the_loss_of_its_person(name):
    student, teacher = pair()
    weight = torch.tensor([0.0, 0.3, 1.0], dtype=torch.float64)
    expected = (
        sum(
            w * LOSSES[name](student[b : b + 1], teacher[b : b + 1], torch.ones(1)).item()
            for b, w in enumerate(weight.tolist())
        )
        / 3
    )
    assert LOSSES[name](student, teacher, weight).item() == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("name", sorted(LOSSES))
def test_without_weight_there_is_no_loss_and_no_gradient(name):
    student, teacher = pair()
    student[0] = 0  # a dead feature
    student.requires_grad_()
    loss = LOSSES[name](student, teacher, torch.zeros(3))
    loss.backward()
    assert loss.item() == 0
    assert not student.grad.any()
    LOSSES[name](student, teacher, torch.ones(3)).backward()
    assert student.grad.isfinite().all()


@pytest.mark.parametrize("name", sorted(LOSSES))
def test_half_precision_is_computed_in_full(name):
    student, teacher = (
        50 * t for t in pair(c=64, h=16, w=12, dtype=torch.float16)
    )  # the sum of squares is beyond float16
    loss = LOSSES[name](student, teacher, torch.ones(3))
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(
        LOSSES[name](student.double(), teacher.double(), torch.ones(3)).item(), rel=1e-5
    )


def test_features_that_do_not_fit_are_refused():
    student, teacher = torch.zeros(2, 3, 4, 4), torch.zeros(2, 1, 4, 4)  # would broadcast
    for loss in (aligned_mse, channel_wise, masked_generation):
        with pytest.raises(ValueError, match=r"\(2, 3, 4, 4\) and the teacher's \(2, 1, 4, 4\).*Align"):
            loss(student, teacher, torch.ones(2))


def test_fade():
    assert [fade(t) for t in (0.0, 0.25, 1.0)] == [1.0, 0.75, 0.0]


def test_align_projects_each_pixel_and_resizes():
    module = Align(2, 3, (5, 4))
    feature = torch.randn(2, 2, 4, 5)
    expected = (
        torch.einsum("oc,bchw->bohw", module.project.weight[:, :, 0, 0], feature)
        + module.project.bias[:, None, None]
    )
    torch.testing.assert_close(module(feature), expected)
    ramp = torch.arange(3.0).expand(1, 2, 2, 3)
    torch.testing.assert_close(Align(2, 2, (5, 4))(ramp), torch.arange(0, 2.5, 0.5).expand(1, 2, 4, 5))
    assert not list(Align(2, 2).parameters())
    torch.testing.assert_close(Align(2, 2)(ramp), ramp)


def test_generate_hides_its_share_of_pixels_in_all_channels():
    torch.manual_seed(0)
    module = Generate(2, 2, ratio=0.65)
    for conv in (module.generate[0], module.generate[2]):  # makes the generator hand through what is positive
        torch.nn.init.dirac_(conv.weight)
        torch.nn.init.zeros_(conv.bias)
    feature = torch.ones(4, 2, 50, 50)
    hidden = module(feature) == 0
    assert (hidden[:, 0] == hidden[:, 1]).all()
    share = hidden[:, 0].double().mean().item()
    assert share == pytest.approx(0.65, abs=4 * math.sqrt(0.65 * 0.35 / 10000))
    assert not (module(feature) == 0).equal(hidden)
    torch.testing.assert_close(module.eval()(feature), feature)
    with pytest.raises(ValueError, match="ratio is 1"):
        Generate(2, 2, ratio=1)


def test_generate_has_the_papers_parameters():
    """Two 3x3 convolutions among the teacher's channels, and 1x1 before."""
    assert sum(p.numel() for p in Generate(8, 16).parameters()) == (8 * 16 + 16) + 2 * (9 * 16 * 16 + 16)


def test_adapters_are_built_for_the_features_at_hand():
    student, teacher = torch.randn(1, 2, 4, 6), torch.randn(1, 3, 8, 12)
    for make in (align, generate):
        assert make(student, teacher)(student).shape == teacher.shape
    tokens, longer = torch.randn(1, 5, 2), torch.randn(1, 5, 3)
    assert align(tokens, longer)(tokens).shape == longer.shape
    assert not list(align(tokens, tokens).parameters())
