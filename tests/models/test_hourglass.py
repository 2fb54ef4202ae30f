"""The hourglass's size and cost as its paper has them, and the names of the FPD authors' checkpoints, listed
here once more from their layout.
"""

import pytest
import torch
from torch import nn

from poseling.models import registry
from poseling.models.hourglass import Hourglass, from_fpd


def macs(network, size):
    """Multiply-accumulates of the convolutions for one image, by hooks on the meta device."""
    counts = []

    def count(conv, _, output):
        counts.append(output[0].numel() * conv.weight[0].numel())

    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            module.register_forward_hook(count)
    network(torch.zeros(1, 3, *size, device="meta"))
    return sum(counts)


def checkpoint_names(stacks, width, blocks, joints):
    """(name, shape) of everything in a checkpoint of FPD's authors, without batch norm's counters."""

    def conv(name, out, into, kernel):
        yield f"{name}.weight", (out, into, kernel, kernel)
        yield f"{name}.bias", (out,)

    def norm(name, channels):
        for what in ("weight", "bias", "running_mean", "running_var"):
            yield f"{name}.{what}", (channels,)

    def bottleneck(name, into, planes):
        yield from norm(f"{name}.bn1", into)
        yield from conv(f"{name}.conv1", planes, into, 1)
        yield from norm(f"{name}.bn2", planes)
        yield from conv(f"{name}.conv2", planes, planes, 3)
        yield from norm(f"{name}.bn3", planes)
        yield from conv(f"{name}.conv3", 2 * planes, planes, 1)
        if into != 2 * planes:
            yield from conv(f"{name}.downsample.0", 2 * planes, into, 1)

    yield from conv("conv1", width // 4, 3, 7)
    yield from norm("bn1", width // 4)
    yield from bottleneck("layer1.0", width // 4, width // 4)
    yield from bottleneck("layer2.0", width // 2, width // 2)
    yield from bottleneck("layer3.0", width, width // 2)
    for s in range(stacks):
        for level in range(4):
            for branch in range(4 if level == 0 else 3):
                for block in range(blocks):
                    yield from bottleneck(f"hg.{s}.hg.{level}.{branch}.{block}", width, width // 2)
        for block in range(blocks):
            yield from bottleneck(f"res.{s}.{block}", width, width // 2)
        yield from conv(f"fc.{s}.0", width, width, 1)
        yield from norm(f"fc.{s}.1", width)
        yield from conv(f"score.{s}", joints, width, 1)
        if s < stacks - 1:
            yield from conv(f"fc_.{s}", width, width, 1)
            yield from conv(f"score_.{s}", width, joints, 1)


# Parameters and GMAC that FPD and its authors' logs give for 16 joints at 256 x 256.
@pytest.mark.parametrize(
    ("stacks", "width", "millions", "gmac"), [(8, 256, 25.59, 28.09), (4, 128, 3.29, 3.91)]
)
def test_size_and_cost_are_the_papers(stacks, width, millions, gmac):
    with torch.device("meta"):
        network = Hourglass(16, stacks, width).eval()
    assert round(sum(p.numel() for p in network.parameters()) / 1e6, 2) == millions
    assert round(macs(network, (256, 256)) / 1e9, 2) == gmac


@pytest.mark.parametrize(("size", "stacks"), [((64, 64), 1), ((128, 192), 3)])
def test_it_answers_with_every_stack_at_a_quarter(size, stacks):
    network = Hourglass(14, stacks, 16).eval()
    assert network(torch.zeros(2, 3, *size)).shape == (2, stacks, 14, size[0] // 4, size[1] // 4)


def test_what_a_stack_predicts_goes_back_into_the_trunk():
    torch.manual_seed(0)
    network, image = Hourglass(3, 2, 16).eval(), torch.randn(1, 3, 64, 64)
    before = network(image)
    with torch.no_grad():
        network.stacks[0].score_back.weight.mul_(2)
    after = network(image)
    assert torch.equal(before[:, 0], after[:, 0])
    assert not torch.allclose(before[:, 1], after[:, 1])
    assert network.stacks[-1].features_back is None  # nothing that is never trained


def test_every_weight_is_trained():
    network = Hourglass(3, 2, 16)
    network(torch.randn(2, 3, 128, 128)).square().sum().backward()
    assert [name for name, p in network.named_parameters() if p.grad is None] == []


def test_a_width_that_is_no_multiple_of_four():
    with pytest.raises(ValueError, match="width 30 is not a multiple of 4; use for example 28"):
        Hourglass(16, 2, 30)


@pytest.mark.parametrize("name", ["hourglass-2x64", "okdhp-2x64"])
def test_sides_that_do_not_halve_six_times(name):
    said = f"{name} takes images whose sides are multiples of 64, and not 128x160; try 128x128"
    with pytest.raises(ValueError, match=said):
        registry.build(name, 3, (128, 160))
    assert registry.build(name, 3, (128, 192))


@pytest.mark.parametrize("variant", [(8, 256, 1, 16), (4, 128, 1, 16), (1, 32, 3, 14)])
def test_the_authors_names_are_ours(variant):
    stacks, width, blocks, joints = variant
    theirs = {
        f"module.{name}": torch.empty(shape, device="meta") for name, shape in checkpoint_names(*variant)
    }
    ours = from_fpd(theirs)
    with torch.device("meta"):
        network = Hourglass(joints, stacks, width, blocks)
    wanted = {
        name: t.shape for name, t in network.state_dict().items() if not name.endswith("num_batches_tracked")
    }
    assert {name: t.shape for name, t in ours.items()} == wanted
    assert len(ours) == len(theirs)  # no two became one


def test_levels_are_counted_from_the_innermost():
    """Their level 3 of 4 is our outermost, whose shapes are all alike: only the name can be wrong."""
    ours = from_fpd(
        {
            f"hg.1.hg.{level}.{branch}.0.conv1.bias": torch.tensor([level * 10 + branch])
            for level, branch in ((3, 0), (3, 1), (2, 2), (0, 0), (0, 3))
        }
    )
    assert {name: t.item() for name, t in ours.items()} == {
        "stacks.1.hourglass.keep.0.conv1.bias": 30,
        "stacks.1.hourglass.down.0.conv1.bias": 31,
        "stacks.1.hourglass.below.up.0.conv1.bias": 22,
        "stacks.1.hourglass.below.below.below.keep.0.conv1.bias": 0,
        "stacks.1.hourglass.below.below.below.below.0.conv1.bias": 3,
    }


@pytest.mark.parametrize("name", ["backbone.conv.weight", "hg.0.hg.0.conv1.weight", "final_layer.weight"])
def test_a_weight_of_another_network(name):
    with pytest.raises(ValueError, match=f"{name} is no weight of an FPD hourglass"):
        from_fpd({name: torch.zeros(1)})


def test_the_features_are_what_the_last_prediction_is_read_from():
    """Where distillation looks: one map at a quarter, on which the last stack's 1x1 convolution stands; with
    several stacks too.
    """
    network, seen = Hourglass(3, 2, 16).eval(), []
    network.features.register_forward_hook(lambda module, inputs, output: seen.append(output))
    outputs = network(torch.randn(2, 3, 64, 128))
    assert [tuple(feature.shape) for feature in seen] == [(2, 16, 16, 32)]
    torch.testing.assert_close(network.stacks[1].score(seen[0]), outputs[:, 1])
    assert not torch.allclose(network.stacks[0].score(seen[0]), outputs[:, 0])
