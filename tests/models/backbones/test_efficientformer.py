"""EfficientFormer's size and cost as its paper has them, its biases by hand, and timm's names, listed here
once more from their layout.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from poseling.evaluate.cost import cost
from poseling.models.backbones.efficientformer import (
    VARIANTS,
    Attention,
    EfficientFormer,
    OffsetBias,
    PoolBlock,
    from_timm,
)


def timm_names(variant: str) -> Iterator[tuple[str, tuple[int, ...]]]:
    """(name, shape) of everything in timm's file, without batch norm's counters. The last stage counts a
    flattening step among its blocks.
    """
    widths, depths, attending = VARIANTS[variant]

    def both(name: str, *shape: int) -> Iterator[tuple[str, tuple[int, ...]]]:
        yield f"{name}.weight", shape
        yield f"{name}.bias", shape[:1]

    def norm(name: str, channels: int) -> Iterator[tuple[str, tuple[int, ...]]]:
        yield from both(name, channels)
        yield f"{name}.running_mean", (channels,)
        yield f"{name}.running_var", (channels,)

    for i, (into, out) in enumerate(((3, widths[0] // 2), (widths[0] // 2, widths[0])), 1):
        yield from both(f"stem.conv{i}", out, into, 3, 3)
        yield from norm(f"stem.norm{i}", out)
    for stage, (c, depth) in enumerate(zip(widths, depths, strict=True)):
        if stage:
            yield from both(f"stages.{stage}.downsample.conv", c, widths[stage - 1], 3, 3)
            yield from norm(f"stages.{stage}.downsample.norm", c)
        pooling = depth - (attending if stage == 3 else 0)
        for block in range(depth):
            name = f"stages.{stage}.blocks.{block if block < pooling else block + 1}"
            yield f"{name}.ls1.gamma", (c,)
            yield f"{name}.ls2.gamma", (c,)
            if block < pooling:
                yield from both(f"{name}.mlp.fc1", 4 * c, c, 1, 1)
                yield from norm(f"{name}.mlp.norm1", 4 * c)
                yield from both(f"{name}.mlp.fc2", c, 4 * c, 1, 1)
                yield from norm(f"{name}.mlp.norm2", c)
            else:
                yield from both(f"{name}.norm1", c)
                yield from both(f"{name}.norm2", c)
                yield from both(f"{name}.token_mixer.qkv", 8 * (32 + 32 + 128), c)
                yield from both(f"{name}.token_mixer.proj", c, 8 * 128)
                yield f"{name}.token_mixer.attention_biases", (8, 49)
                yield f"{name}.token_mixer.attention_bias_idxs", (49, 49)
                yield from both(f"{name}.mlp.fc1", 4 * c, c)
                yield from both(f"{name}.mlp.fc2", c, 4 * c)
    yield from both("norm", widths[3])
    yield from both("head", 1000, widths[3])
    yield from both("head_dist", 1000, widths[3])


@pytest.mark.parametrize(("variant", "millions", "gmac"), [("l1", 12.3, 1.3), ("l3", 31.4, 3.9)])
def test_it_is_as_large_as_in_the_paper(variant: str, millions: float, gmac: float) -> None:
    with torch.device("meta"):
        network = EfficientFormer(variant, (224, 224))
    found, width = cost(network, (224, 224)), network.channels[3]
    classifier = 2 * width + 2 * (1000 * width + 1000)  # the paper's has a norm and two heads
    assert (found.params + classifier) / 1e6 == pytest.approx(millions, abs=0.05)
    assert found.gmac + 2000 * width / 1e9 == pytest.approx(gmac, abs=0.05)


@pytest.mark.parametrize("size", [(64, 64), (96, 32), (192, 256)])
def test_the_maps(size: tuple[int, int]) -> None:
    network = EfficientFormer("l1", size).eval()
    w, h = size
    with torch.no_grad():
        maps = network(torch.zeros(2, 3, h, w))
    assert network.channels == (48, 96, 224, 448)
    assert [tuple(m.shape) for m in maps] == [
        (2, c, h // s, w // s) for c, s in zip(network.channels, (4, 8, 16, 32), strict=True)
    ]


def test_the_bias_of_an_offset() -> None:
    """A grid of two rows and three columns, in whose table the number for (dy, dx) is 10 dy + dx."""
    bias = OffsetBias(1, (2, 3))
    with torch.no_grad():
        bias.table.copy_(torch.tensor([[[0.0, 1, 2], [10, 11, 12]]]))
        assert bias()[0].tolist() == [
            [0, 1, 2, 10, 11, 12],
            [1, 0, 1, 11, 10, 11],
            [2, 1, 0, 12, 11, 10],
            [10, 11, 12, 0, 1, 2],
            [11, 10, 11, 1, 0, 1],
            [12, 11, 10, 2, 1, 0],
        ]
        every_second = OffsetBias(1, (2, 3), step=2)
        every_second.load_state_dict(bias.state_dict())
        assert every_second()[0].tolist() == [[0, 1, 2, 10, 11, 12], [2, 1, 0, 12, 11, 10]]


def test_a_table_of_another_grid_is_interpolated() -> None:
    """From 0, 2, 4 for three offsets to 0, 1, 2, 3, 4 for five."""
    theirs, ours = OffsetBias(1, (3, 3)), OffsetBias(1, (5, 2))
    with torch.no_grad():
        theirs.table.copy_(torch.tensor([[[0.0, 1, 2], [2, 3, 4], [4, 5, 6]]]))
    ours.load_state_dict(theirs.state_dict())
    assert ours.table[0].tolist() == [[0, 2], [1, 3], [2, 4], [3, 5], [4, 6]]


def test_attention_with_equal_queries_is_a_softmax_of_the_biases() -> None:
    attention = Attention(3, (1, 2))
    with torch.no_grad():
        attention.qkv.weight.zero_()
        attention.qkv.bias.zero_()
        for head in range(8):  # the first channel of each head's value is that of the token
            attention.qkv.weight[head * 192 + 64, 0] = 1
        attention.proj.weight.zero_()[0, 0] = 1
        attention.proj.bias.zero_()
        attention.attention_biases.table[:, 0] = torch.tensor(
            [0.0, 3.0]
        ).log1p()  # the other place weighs 4, a place itself 1
        y = attention(torch.tensor([[[10.0, 0, 0], [20.0, 0, 0]]]))
    torch.testing.assert_close(y[0, :, 0], torch.tensor([(10 + 80) / 5, (40 + 20) / 5]))


def test_a_pooling_block_smooths() -> None:
    """The mean of (0, 6, 0, 0) and its neighbours is (3, 2, 2, 0); the feed-forward part is silent."""
    block = PoolBlock(1).eval()
    with torch.no_grad():
        block.ls1.gamma.fill_(1)
        block.ls2.gamma.zero_()
        assert block(torch.tensor([[[[0.0, 6, 0, 0]]]])).flatten().tolist() == [3, 2, 2, 0]


@pytest.mark.parametrize("variant", ["l1", "l3"])
def test_the_names_of_timm(variant: str) -> None:
    state = {name: torch.full(shape, float(i)) for i, (name, shape) in enumerate(timm_names(variant))}
    network = EfficientFormer(variant, (192, 256))
    missing, unexpected = network.load_state_dict(from_timm(state, variant), strict=False)
    assert unexpected == []
    assert all(name.endswith("num_batches_tracked") for name in missing)
    of = VARIANTS[variant][1][3] - VARIANTS[variant][2]
    assert network.stages[3].tokens[0].mlp.fc1.bias[0] == state[f"stages.3.blocks.{of + 1}.mlp.fc1.bias"][0]
    assert network.stages[3].downsample[1].running_var[0] == state["stages.3.downsample.norm.running_var"][0]
    assert network.stem[3].weight[0, 0, 0, 0] == state["stem.conv2.weight"][0, 0, 0, 0]
