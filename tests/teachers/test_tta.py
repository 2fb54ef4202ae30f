"""Test-time augmentation of networks that predict bins, points or location maps. (Those with heatmaps are in
tests/evaluate/test_predict.py.)
"""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from poseling.codecs import Codec, Coordinates, Heatmap, LocationMap, SimCC
from poseling.skeleton import Skeleton
from poseling.spec import PoseSpec
from poseling.teachers.network import NetworkTeacher
from poseling.teachers.tta import predict_crops

HANDS = Skeleton("hands", ("left_hand", "right_hand"), (0, 1))
SIZE = (96, 128)
PLACES = np.array([[[30.0, 40.0], [61.0, 84.0]], [[50.5, 70.25], [22.0, 60.0]]])


class Bins(nn.Module):
    """The red and the blue channel summed over rows and over columns, as probabilities of two bins a pixel."""

    def forward(self, images: Tensor) -> Tensor:
        sums = (images[:, [0, 2]].sum(axis).repeat_interleave(2, -1) for axis in (2, 3))
        return torch.cat([(s / s.sum(-1, keepdim=True)).clamp(min=1e-9).log() for s in sums], -1)[:, None]


class Means(nn.Module):
    """The mean positions of the red and the blue light, widths that are not read, and a logit of 3."""

    def forward(self, images: Tensor) -> Tensor:
        light = images[:, [0, 2]]
        light = light / light.sum((2, 3), keepdim=True)
        x = (light.sum(2) * torch.linspace(0, 1, SIZE[0])).sum(-1)
        y = (light.sum(3) * torch.linspace(0, 1, SIZE[1])).sum(-1)
        return torch.stack([x, y, torch.ones_like(x), torch.ones_like(x), 3 * torch.ones_like(x)], -1)[
            :, None
        ]


def teacher(codec: Codec) -> NetworkTeacher:
    network: nn.Module = Bins() if codec.name == "simcc" else Means()
    return NetworkTeacher(
        network, PoseSpec("by-hand", HANDS, codec.fields(), SIZE, mean=(0, 0, 0), std=(1, 1, 1))
    )


def crops(scale: float = 1.0) -> np.ndarray:
    """Crops (B, 128, 96, 3) with a red hill at the left and a blue one at the right hand, zoomed about their
    centre.
    """
    middle = (np.array(SIZE) - 1) / 2
    y, x = np.mgrid[: SIZE[1], : SIZE[0]]
    out = np.zeros((len(PLACES), SIZE[1], SIZE[0], 3), np.uint8)
    for crop, places in zip(out, (PLACES - middle) * scale + middle, strict=True):
        for channel, (cx, cy) in zip((0, 2), places, strict=True):
            crop[..., channel] = (255 * np.exp(-((x - cx) ** 2 + (y - cy) ** 2) / (2 * 3.0**2))).round()
    return out


@pytest.mark.parametrize("codec", [SimCC(SIZE, sigma=6.0), Coordinates(SIZE)], ids=["simcc", "coordinates"])
def test_points_are_averaged_over_views(codec: Codec):
    network = teacher(codec)
    assert (network.map_size, network.pixel, network.sigma) == (None, None, None)
    prediction = network(torch.from_numpy(crops()))
    assert prediction.maps is None
    np.testing.assert_allclose(prediction.xy, PLACES, atol=0.1)
    assert (prediction.score > 0.9).all()
    scales = (1.0, 0.9)
    shown = np.stack([crops(s) for s in scales], 1)
    for flip, chosen in ((False, (1.0,)), (True, (1.0,)), (True, scales)):
        found = predict_crops(network, shown[:, : len(chosen)], flip, chosen)
        assert found.maps is None
        # The mirrored image's left hand is the right one's colour: the sides are swapped back, so both views
        # predict the other hand.
        wanted = PLACES if not flip else (PLACES + PLACES[:, ::-1]) / 2
        np.testing.assert_allclose(found.xy, wanted, atol=0.6 if flip and len(chosen) > 1 else 0.2)


def test_the_attributes_of_heatmaps():
    codec = Heatmap(SIZE, sigma=1.5, softmax=True)
    network = NetworkTeacher(nn.Identity(), PoseSpec("by-hand", HANDS, codec.fields(), SIZE))
    assert (network.map_size, network.pixel, network.sigma) == ((24, 32), codec.pixel, 1.5)


class Places(nn.Module):
    """Location maps that are constant: (0.1, 0.2, 0.3) of the left hand and (0.4, 0.5, 0.6) of the
    right, under heatmaps of the red and the blue light.
    """

    def forward(self, images: Tensor) -> Tensor:
        maps = nn.functional.avg_pool2d(images[:, [0, 2]], 8)
        places = torch.tensor([[0.1, 0.2, 0.3, 0, 0, 0], [0.4, 0.5, 0.6, 0, 0, 0]])[
            None, :, :, None, None
        ].expand(len(maps), 2, 6, *maps.shape[2:])
        return torch.cat([maps[:, :, None], places], 2)[:, None]


def test_metres_are_averaged_over_views_and_raw_outputs_are_dropped():
    network = NetworkTeacher(
        Places(), PoseSpec("by-hand", HANDS, LocationMap(SIZE).fields(), SIZE, mean=(0, 0, 0), std=(1, 1, 1))
    )
    assert network.is_3d
    assert network(torch.from_numpy(crops())).outputs is not None
    one = predict_crops(network, crops()[:, None], False, (1.0,))
    assert one.outputs is None
    np.testing.assert_allclose(
        one.xyz, np.broadcast_to([[0.1, 0.2, 0.3], [0.4, 0.5, 0.6]], (2, 2, 3)), atol=1e-6
    )
    found = predict_crops(network, np.stack([crops(), crops(0.9)], 1), True, (1.0, 0.9))
    assert found.maps is not None
    # By hand from the four views' own scores: straight ones predict the hand, mirrored ones the other
    # hand with x negated, at any zoom.
    weight = [network(torch.from_numpy(shown)).score.numpy() for shown in (crops(), crops(0.9))]
    mirrored = [
        network(torch.from_numpy(shown[:, :, ::-1].copy())).score.numpy()[:, ::-1]
        for shown in (crops(), crops(0.9))
    ]
    straight = np.array([[0.1, 0.2, 0.3], [0.4, 0.5, 0.6]])
    other = np.array([[-0.4, 0.5, 0.6], [-0.1, 0.2, 0.3]])
    a, b = sum(weight)[..., None], sum(mirrored)[..., None]
    np.testing.assert_allclose(found.xyz, (a * straight + b * other) / (a + b), atol=1e-5)
