"""PeleeNet's size and cost as its authors give them, and the names of their files, listed here once more from
their layout.
"""

import pytest
from torch import nn

from poseling.evaluate.cost import cost
from poseling.models.backbones.pelee import PeleeNet


def test_size_and_cost_are_the_authors():
    network = PeleeNet()
    assert sum(p.numel() for p in network.parameters()) == pytest.approx(2.097e6, rel=0.005)
    whole = nn.Sequential(*[network], Last(), nn.Linear(704, 1000))
    got = cost(whole, (224, 224))
    assert round(got.params / 1e6, 1) == 2.8
    assert round(got.gmac * 1e3) == 508


class Last(nn.Module):
    def forward(self, maps):
        return maps[-1].mean((2, 3))


def test_channels():
    # 32 from the stem and 32 from each of 3, 4, 8, 6 dense layers.
    assert (
        PeleeNet().channels == (32 + 3 * 32, 32 + 7 * 32, 32 + 15 * 32, 32 + 21 * 32) == (128, 256, 512, 704)
    )


def test_the_names_and_shapes_are_the_authors():
    shapes = {}

    def conv(name, out, into, kernel):
        shapes[f"features.{name}.conv.weight"] = (out, into, kernel, kernel)
        shapes.update(
            {f"features.{name}.norm.{w}": (out,) for w in ("weight", "bias", "running_mean", "running_var")}
        )

    conv("stemblock.stem1", 32, 3, 3)
    conv("stemblock.stem2a", 16, 32, 1)
    conv("stemblock.stem2b", 32, 16, 3)
    conv("stemblock.stem3", 32, 64, 1)
    channels = 32
    # Bottlenecks of 16, 32, 64, 64: none is wider than half of the 32, 128, 256, 512 channels that its stage
    # starts with.
    for stage, (layers, middle) in enumerate(((3, 16), (4, 32), (8, 64), (6, 64)), 1):
        for i in range(1, layers + 1):
            layer = f"denseblock{stage}.denselayer{i}"
            conv(f"{layer}.branch1a", middle, channels, 1)
            conv(f"{layer}.branch1b", 16, middle, 3)
            conv(f"{layer}.branch2a", middle, channels, 1)
            conv(f"{layer}.branch2b", 16, middle, 3)
            conv(f"{layer}.branch2c", 16, 16, 3)
            channels += 32
        conv(f"transition{stage}", channels, channels, 1)
    ours = {
        name: tuple(t.shape)
        for name, t in PeleeNet().state_dict().items()
        if not name.endswith("num_batches_tracked")
    }
    assert ours == shapes
