"""DistilPose: the paper's size and cost, what its five numbers are, and their precision."""

import math

import pytest
import torch

from poseling.codecs.coordinates import Coordinates
from poseling.evaluate.cost import cost
from poseling.models import distilpose
from poseling.models.distilpose import PointHead
from poseling.models.tokenpose import DIM


# The paper's parameters and GMAC; the latter leave out the two products of attention.
@pytest.mark.parametrize(("name", "params", "gmac"), [("s", 5.36, 2.38), ("l", 21.3, 10.3)])
def test_size_and_cost_are_the_papers(name, params, gmac):
    with torch.device("meta"):
        network = distilpose.build(name, 17, (192, 256))
    assert sum(p.numel() for p in network.parameters()) / 1e6 == pytest.approx(params, rel=0.002)
    assert cost(network, (192, 256)).gmac - 2 * 273**2 * DIM * 12 / 1e9 == pytest.approx(gmac, rel=0.01)


def test_five_numbers_of_a_joint():
    head = PointHead(DIM)
    with torch.no_grad():
        head.layers[1].weight.zero_()
        head.layers[1].bias.copy_(torch.tensor([0.0, math.log(3), 0.0, math.log(math.e**2 - 1), -1.5]))
    expected = [0.5, 0.75, math.log(2), 2.0, -1.5]
    torch.testing.assert_close(head(torch.randn(2, 4, DIM)), torch.tensor(expected).expand(2, 4, 5))


def test_the_codec_reads_them():
    network = distilpose.build_mobile("mobilenetv2_050-1", 3, (64, 96)).eval()
    with torch.no_grad():
        network.head.layers[1].weight.zero_()
        network.head.layers[1].bias.copy_(torch.tensor([0.0, math.log(3), 0.0, 0.0, 0.0]))
        xy, score = Coordinates((64, 96)).decode(network(torch.zeros(1, 3, 96, 64))[:, -1])
    torch.testing.assert_close(xy, torch.tensor([31.5, 71.25]).expand(1, 3, 2))
    torch.testing.assert_close(score, torch.full((1, 3), 0.5))


def test_places_are_float32_under_autocast():
    torch.manual_seed(0)
    head, tokens = PointHead(DIM), torch.randn(4, 9, DIM)
    with torch.autocast("cpu", torch.bfloat16):
        rough = head(tokens)
    assert rough.dtype == torch.float32
    torch.testing.assert_close(rough, head(tokens))


def test_shapes_and_what_hooks_see():
    network, seen = distilpose.build_mobile("mobilenetv2_050-2", 3, (64, 96)), {}
    for name in ("features", "visual_tokens", "keypoint_tokens"):
        network.get_submodule(name).register_forward_hook(
            lambda _, __, output, name=name: seen.update({name: output.shape})
        )
    points = network(torch.randn(2, 3, 96, 64))
    assert points.shape == (2, 1, 3, 5)
    assert seen == {"features": (2, DIM, 6, 4), "visual_tokens": (2, 24, DIM), "keypoint_tokens": (2, 3, DIM)}
    points.square().sum().backward()
    assert [n for n, p in network.named_parameters() if p.grad is None] == []


def test_variants_that_there_are_not():
    with pytest.raises(ValueError, match="distilpose-m: there is distilpose-s, distilpose-l"):
        distilpose.build("m", 17, (192, 256))
    with pytest.raises(ValueError, match="distilpose_mobile-mobilenetv2-x: name a backbone"):
        distilpose.build_mobile("mobilenetv2-x", 17, (192, 256))
