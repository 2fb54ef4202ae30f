"""A student in training: the features that hooks give, which parts are trained, and that neither hooks nor
adapters stay.
"""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from poseling.distill.feature import Align, align, generate
from poseling.distill.hooks import HookedStudent, bare, head_of, hooked, new_head, watched
from poseling.models import registry


class Small(nn.Module):
    """Images (B, 3, H, W) to maps (B, 1, K, H, W), by parts that are named as in the zoo."""

    def __init__(self, channels: int = 4, joints: int = 2, pool: int = 1) -> None:
        super().__init__()
        self.backbone = nn.Sequential(nn.Conv2d(3, channels, 1), nn.BatchNorm2d(channels), nn.AvgPool2d(pool))
        self.features = nn.Identity()
        self.head = nn.Sequential(
            nn.Conv2d(channels, channels, 1), nn.BatchNorm2d(channels), nn.Conv2d(channels, joints, 1)
        )

    def forward(self, images):
        return self.head(self.features(self.backbone(images)))[:, None]


def hooks(network):
    return sum(len(module._forward_hooks) for module in network.modules())


def state(network, *parts):
    return {
        name: value.clone()
        for name, value in network.state_dict().items()
        if not parts or name.startswith(parts)
    }


def changed(before, after):
    return {name for name in before if not torch.equal(before[name], after[name])}


def test_what_is_watched_is_what_the_parts_give():
    network, images = Small().eval(), torch.randn(2, 3, 8, 6)
    with watched(network, ["features", "backbone.0", ""]) as seen:
        outputs = network(images)
        assert hooks(network) == 3
    assert list(seen) == ["backbone.0", "features", ""]  # as they are reached
    assert torch.equal(seen["backbone.0"], network.backbone[0](images))
    assert torch.equal(seen["features"], network.backbone(images))
    assert seen[""] is outputs
    assert hooks(network) == 0
    before = dict(seen)
    network(images + 1)
    assert all(seen[name] is before[name] for name in seen)  # the hooks are gone


def test_hooks_are_gone_after_an_error():
    network = Small()
    with pytest.raises(RuntimeError), watched(network, ["features"]):
        network(torch.zeros(1, 7, 8, 8))  # seven colours
    assert hooks(network) == 0
    with (
        pytest.raises(
            ValueError, match="Small has no submodule 'visual_tokens'; it has backbone, features, head"
        ),
        watched(network, ["features", "visual_tokens"]),
    ):
        pass  # pragma: no cover
    assert hooks(network) == 0  # that of the name before the missing one too


def test_nothing_to_watch_is_the_network_itself():
    network = Small()
    assert hooked(network, (8, 8), {}, {}) is network
    assert bare(network) is network
    assert bare(hooked(network, (8, 8), {"a": "features"}, {})) is network


def test_a_hooked_student_gives_outputs_and_each_terms_feature():
    network, images = Small().eval(), torch.randn(2, 3, 8, 6)
    learner = hooked(network, (6, 8), {"one": "features", "two": "features", "all": ""}, {})
    outputs, seen = learner(images)
    assert torch.equal(outputs, network(images))
    assert set(seen) == {"one", "two", "all"}
    assert seen["one"] is seen["two"]
    assert torch.equal(seen["one"], network.backbone(images))
    assert seen["all"] is outputs
    assert hooks(network) == 0


def test_adapters_lie_between_the_two_shapes():
    """The student: 4 channels, 12x16 (w x h). The teacher sees 48x64 and halves it: 6 channels, 24x32."""
    student, teacher = Small(4), Small(6, pool=2)
    student.train()
    before, theirs = state(student), state(teacher)
    learner = hooked(
        student,
        (12, 16),
        {"a": "features", "b": "features", "c": "features"},
        {"a": align, "b": generate},
        teacher,
        (48, 64),
    )
    assert not changed(before, state(student))  # a look at one image moved no statistic
    assert not changed(theirs, state(teacher))
    assert student.training
    assert isinstance(learner, HookedStudent)
    adapter = learner.adapters["a"]
    assert isinstance(adapter, Align)
    assert (adapter.project.in_channels, adapter.project.out_channels, adapter.size) == (4, 6, (24, 32))
    outputs, seen = learner(torch.randn(3, 3, 16, 12))
    assert outputs.shape == (3, 1, 2, 16, 12)
    assert {name: tuple(value.shape) for name, value in seen.items()} == {
        "a": (3, 6, 32, 24),
        "b": (3, 6, 32, 24),
        "c": (3, 4, 16, 12),
    }
    seen["a"].sum().backward()
    assert adapter.project.weight.grad.any()
    assert student.backbone[0].weight.grad is not None
    # What is kept has nothing of them.
    assert set(bare(learner).state_dict()) == set(before)
    assert bare(learner) is student
    assert any(name.startswith("adapters.a") for name in learner.state_dict())


def test_adapters_need_a_teacher_who_can_be_seen():
    with pytest.raises(
        ValueError,
        match="mimic: adapts a student's features to a teacher's, and there is no teacher with features",
    ):
        hooked(Small(), (8, 8), {"mimic": "features"}, {"mimic": align})
    with pytest.raises(ValueError, match="Sequential has no submodule 'features'; it has 0"):
        hooked(
            Small(),
            (8, 8),
            {"mimic": "features"},
            {"mimic": align},
            nn.Sequential(nn.Conv2d(3, 1, 1)),
            (8, 8),
        )


def test_only_the_head_learns():
    torch.manual_seed(0)
    network = Small()
    learner = hooked(network, (8, 8), {}, {}, only="head")
    assert isinstance(learner, HookedStudent)
    learner.train()
    assert not network.backbone[1].training
    assert network.head[1].training
    before = state(network)
    for _ in range(3):
        outputs, seen = learner(torch.randn(4, 3, 8, 8) * 5 + 3)
        assert seen == {}
        outputs.square().mean().backward()
        assert all(p.grad is None for p in network.backbone.parameters())
        with torch.no_grad():
            for p in network.head.parameters():
                p -= 0.1 * p.grad + 0.01
        learner.eval().train()  # as an evaluation on the way
    moved = changed(before, state(network))
    assert moved == {
        name for name in before if name.startswith("head.")
    }  # its weights, its norm's statistics and count
    learner.eval()
    assert not network.head[1].training


def test_all_learns_unless_said():
    learner = hooked(Small(), (8, 8), {"a": "features"}, {})
    learner.train()
    assert bare(learner).backbone[1].training
    assert all(p.requires_grad for p in learner.parameters())


@pytest.mark.parametrize(
    ("name", "head"),
    [
        ("hourglass-3x8", "stacks.2.score"),
        ("kdlpn-16", "head"),
        ("simcc-mobilenetv2_050", "head"),
        ("vitpose_mobile-mobilenetv2_050-simple-32", "head"),
        ("tokenpose_mobile-mobilenetv2_050-1", "head"),
        ("sdpose_mobile-mobilenetv2_050-1", "head"),
        ("distilpose_mobile-mobilenetv2_050-1", "head"),
    ],
)
def test_a_new_head_and_nothing_else(name, head):
    torch.manual_seed(0)
    network = registry.build(name, 5, (64, 64))
    assert head_of(network) == head
    before, old = state(network), copy.deepcopy(network.get_submodule(head))
    new_head(network)
    moved = changed(before, state(network))
    assert moved
    assert all(part.startswith(f"{head}.") for part in moved)
    for part, was in network.get_submodule(head).named_modules():
        if isinstance(was, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
            assert not torch.equal(was.weight, old.get_submodule(part).weight)
        if isinstance(was, nn.BatchNorm2d):
            assert not was.running_mean.any()


def test_a_network_without_a_head():
    with pytest.raises(ValueError, match="Sequential has no submodule head or score to train again"):
        head_of(nn.Sequential(nn.Linear(1, 1)))
