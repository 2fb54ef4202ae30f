import pytest
import torch
from torch import nn

from poseling.evaluate.cost import Cost, cost
from poseling.models import registry


@pytest.mark.parametrize(
    ("name", "params", "gmac"), [("hourglass-8x256", 25.59, 28.1), ("hourglass-4x128", 3.29, 3.9)]
)
def test_the_hourglasses_of_fpd(name, params, gmac):
    with torch.device("meta"):
        network = registry.build(name, 16)
    measured = cost(network, (256, 256))
    assert round(measured.params / 1e6, 2) == params
    assert round(measured.gmac, 1) == gmac


def test_by_hand():
    network = nn.Sequential(
        nn.Conv2d(3, 4, 3, stride=2, padding=1, bias=False),
        nn.BatchNorm2d(4),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(4 * 5 * 3, 7),
    )
    # 10 x 6 pixels become 5 x 3; each of 4 outputs takes 27 products there. The linear layer takes 60 x 7.
    # Batch norm's 8 parameters count, its statistics do not.
    assert cost(network, (10, 6)) == Cost(4 * 27 + 8 + 60 * 7 + 7, (15 * 4 * 27 + 60 * 7) / 1e9)


def test_width_comes_first_and_depthwise_products_count_once():
    tall = nn.Conv2d(2, 2, (1, 3), groups=2, bias=False)
    # along x the kernel of 3 leaves 6 of 8 columns, on 4 rows
    assert cost(tall, (8, 4), channels=2).gmac == pytest.approx(6 * 4 * 2 * 3 / 1e9)


def test_attention_counts():
    class Attention(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = nn.MultiheadAttention(8, 2, batch_first=True)

        def forward(self, x):
            tokens = x.flatten(2).transpose(1, 2)
            return self.inner(tokens, tokens, tokens, need_weights=False)[0]

    # 12 tokens of 8 channels: four projections of 8 x 8, then queries times keys and weights times values,
    # each 12 x 12 x 8
    assert cost(Attention(), (4, 3), channels=8).gmac == pytest.approx((4 * 12 * 64 + 2 * 12 * 12 * 8) / 1e9)


def test_shared_weights_count_once_in_params_and_twice_in_gmac():
    one = nn.Conv2d(3, 3, 1, bias=False)
    assert cost(nn.Sequential(one, one), (2, 2)) == Cost(9, 2 * 4 * 9 / 1e9)


def test_the_network_stays_as_it_was():
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)).train()
    before = {name: t.clone() for name, t in network.state_dict().items()}
    cost(network, (16, 16))
    assert network.training
    assert all(p.device.type == "cpu" and p.requires_grad for p in network.parameters())
    assert all(torch.equal(t, before[name]) for name, t in network.state_dict().items())
