import pytest
import torch
from torch import nn

from poseling.models.backbones.blocks import ConvNormAct, divisible, initialise, pyramid, stride_ends


# Widths that MobileNetV2's and V3's and EfficientNet's tables give for scaled networks.
@pytest.mark.parametrize(
    ("channels", "rounded"),
    [
        (32 * 0.5, 16),
        (24 * 0.5, 16),
        (16 * 0.5, 8),
        (64 * 0.35, 24),
        (3, 8),
        (72 / 4, 24),
        (40 * 1.1, 48),
        (112 * 1.1, 120),
        (320 * 1.1, 352),
    ],
)
def test_divisible(channels, rounded):
    assert divisible(channels) == rounded
    assert rounded % 8 == 0
    assert rounded >= 0.9 * channels


def test_the_last_layer_of_each_stride():
    assert stride_ends([4, 2, 2, 2]) == (0, 1, 2, 3)
    assert stride_ends([2, 2, 1, 1, 2, 2, 1, 2]) == (3, 4, 6, 7)


def test_a_pyramid_is_what_comes_out_between():
    layers = [nn.AvgPool2d(2), nn.Hardtanh(-1, 1), nn.AvgPool2d(2)]
    x = torch.arange(16.0).reshape(1, 1, 4, 4)  # means of 2x2: 2.5 4.5 10.5 12.5
    clipped, mean = pyramid(layers, (1, 2), x)
    assert clipped.flatten().tolist() == [1, 1, 1, 1]
    assert mean.flatten().tolist() == [1]


@pytest.mark.parametrize(("kernel", "stride"), [(1, 1), (3, 1), (5, 1), (3, 2), (5, 2)])
def test_a_convolution_divides_by_its_stride_alone(kernel, stride):
    assert ConvNormAct(3, 4, kernel, stride)(torch.zeros(2, 3, 8, 12)).shape == (
        2,
        4,
        8 // stride,
        12 // stride,
    )


def test_first_weights_spread_by_what_a_group_gives():
    torch.manual_seed(0)
    layers = nn.Sequential(nn.Conv2d(64, 128, 3), nn.Conv2d(128, 128, 3, groups=128))
    initialise(layers)
    assert layers[0].weight.std().item() == pytest.approx((2 / (9 * 128)) ** 0.5, rel=0.02)
    assert layers[1].weight.std().item() == pytest.approx((2 / 9) ** 0.5, rel=0.1)
    assert not layers[0].bias.any()
