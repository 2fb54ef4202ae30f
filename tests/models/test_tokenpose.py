"""TokenPose: its size and cost, an implementation of its layer by torch, and what its parts do."""

import math

import pytest
import torch
from torch import nn

from poseling.evaluate.cost import cost
from poseling.models import tokenpose
from poseling.models.tokenpose import DIM, VARIANTS, HeatmapHead, Layer, Variant, attend, sine

TINY = Variant(patch=(16, 16), depth=2, width=None)
LAYER = 192 * 576 + (192 + 1) * 192 + (192 + 1) * 576 + (576 + 1) * 192 + 4 * 192


def millions(network):
    return sum(p.numel() for p in network.parameters()) / 1e6


def attention(variant, tokens):
    """GMAC of the two products of attention, which papers on TokenPose leave out."""
    return 2 * tokens**2 * DIM * variant.depth * variant.transformers / 1e9


# Parameters and GMAC of the paper, or of SDPose and DistilPose (S-v2; B and L as (backbone, transformer) by
# hand, see the next test).
@pytest.mark.parametrize(
    ("name", "params", "gmac", "tokens"),
    [("t", 5.8, 1.3, 273), ("s_v1", 6.6, 2.4, 273), ("s_v2", 6.2, 4.7, 785), ("b", 13.5, None, 273)],
)
def test_size_and_cost_are_the_papers(name, params, gmac, tokens):
    with torch.device("meta"):
        network = tokenpose.build(name, 17, (192, 256))
    assert round(millions(network), 1) == params
    if gmac:
        found = cost(network, (192, 256)).gmac - attention(VARIANTS[name], tokens)
        assert found == pytest.approx(gmac, rel=0.035)


@pytest.mark.parametrize(("name", "params", "layers"), [("l", 27.5, 24), ("l_d6", 20.8, 6)])
def test_large_ones_are_hrnet_w48_three_transformers_and_one_linear_layer(name, params, layers):
    with torch.device("meta"):
        network = tokenpose.build(name, 17, (192, 256))
    behind = (48 * 12 + 1) * 192 + 17 * 192 + layers * LAYER + 2 * 576 + (576 + 1) * 3072
    assert millions(network) - millions(network.backbone) == pytest.approx(behind / 1e6)
    assert round(millions(network), 1) == params


@pytest.mark.parametrize(
    ("name", "size", "grid"),
    [
        ("t", (128, 128), 64),
        ("t", (192, 256), 256),
        ("s_v1", (128, 128), 64),
        ("s_v1", (288, 384), 576),
        ("s_v2", (64, 64), 64),
        ("l_d6", (256, 256), 256),
    ],
)
def test_the_grid_follows_the_size(name, size, grid):
    with torch.device("meta"):
        network = tokenpose.build(name, 14, size).eval()
        assert network.tokens.position.shape == (1, 14 + grid, DIM)
        assert network(torch.empty(2, 3, size[1], size[0])).shape == (2, 1, 14, size[1] // 4, size[0] // 4)


@pytest.mark.parametrize("name", ["t", "s_v1", "b", "l_d6"])
def test_every_weight_is_trained(name):
    network = tokenpose.build(name, 3, (64, 64))
    network(torch.randn(2, 3, 64, 64)).square().sum().backward()
    assert [n for n, p in network.named_parameters() if p.grad is None] == []


def test_a_layer_is_torchs_pre_norm_layer_without_the_bias_of_queries_keys_and_values():
    torch.manual_seed(0)
    ours = Layer(8, 24**-0.5)
    theirs = nn.TransformerEncoderLayer(
        DIM, 8, 3 * DIM, dropout=0.0, activation="gelu", batch_first=True, norm_first=True
    )
    with torch.no_grad():
        theirs.self_attn.in_proj_weight.copy_(ours.qkv.weight)
        theirs.self_attn.in_proj_bias.zero_()
        for target, source in (
            (theirs.self_attn.out_proj, ours.out),
            (theirs.linear1, ours.mlp[0]),
            (theirs.linear2, ours.mlp[2]),
            (theirs.norm1, ours.norm1),
            (theirs.norm2, ours.norm2),
        ):
            target.load_state_dict(source.state_dict())
        x = torch.randn(2, 9, DIM)
        torch.testing.assert_close(ours(x), theirs(x))


def test_attention_in_bfloat16_is_the_same_to_its_three_digits():
    torch.manual_seed(0)
    q, k, v = torch.randn(3, 2, 4, 9, 8)
    rough = attend(q.bfloat16(), k.bfloat16(), v.bfloat16(), 0.3)
    assert rough.dtype == torch.bfloat16
    torch.testing.assert_close(rough.float(), attend(q, k, v, 0.3), atol=0.03, rtol=0)


@pytest.mark.parametrize(
    ("name", "width"), [("s_v1", 192), ("s_v2", 192), ("t", 12), ("b", 24), ("l", 16), ("l_d6", 24)]
)
def test_only_s_scales_attention_by_the_whole_token(name, width):
    with torch.device("meta"):
        network = tokenpose.build(name, 17, (192, 256))
    assert {layer.scale for transformer in network.transformers for layer in transformer.layers} == {
        width**-0.5
    }


def test_sines_say_the_row_then_the_column():
    found = sine((4, 2), 8)
    y, x = 3 / 4 * 2 * math.pi, 2 / 2 * 2 * math.pi  # third row of 4, second column of 2
    expected = [
        math.sin(y),
        math.cos(y),
        math.sin(y / 100),
        math.cos(y / 100),
        math.sin(x),
        math.cos(x),
        math.sin(x / 100),
        math.cos(x / 100),
    ]
    torch.testing.assert_close(found[2, 1], torch.tensor(expected), atol=1e-6, rtol=0)


def test_places_are_added_before_every_layer_and_to_the_image_only():
    network = tokenpose.TokenPose(TINY, 2, (64, 64)).eval()
    seen = []
    for layer in network.transformers[0].layers:
        layer.forward = lambda x: seen.append(x) or torch.zeros_like(x)
    network(torch.zeros(1, 3, 64, 64))
    place = sine((4, 4), DIM).flatten(0, 1)
    torch.testing.assert_close(
        seen[0][0, 2:], place
    )  # the patches of a black image are 0: the bias starts so
    torch.testing.assert_close(seen[0][0, :2], network.tokens.joints[0])
    torch.testing.assert_close(seen[1][0, 2:], place)
    torch.testing.assert_close(seen[1][0, :2], torch.zeros(2, DIM))


def test_tokens_go_row_by_row():
    network = tokenpose.TokenPose(TINY, 2, (64, 48)).eval()
    with torch.no_grad():
        network.tokens.patches.weight.fill_(1 / (3 * 16 * 16))
    images = (
        torch.arange(12.0)
        .reshape(1, 1, 3, 4)
        .expand(1, 3, 3, 4)
        .repeat_interleave(16, 2)
        .repeat_interleave(16, 3)
    )
    found = (network.tokens(images) - network.tokens.position)[0, 2:, 0]
    torch.testing.assert_close(found, torch.arange(12.0), atol=1e-3, rtol=0)


def test_what_hooks_see():
    network = tokenpose.build("l_d6", 5, (64, 64)).eval()
    seen = {}
    for name in ("backbone", "visual_tokens", "keypoint_tokens", "head"):
        network.get_submodule(name).register_forward_hook(
            lambda _, __, output, name=name: seen.update({name: output.shape})
        )
    network(torch.zeros(2, 3, 64, 64))
    assert seen == {
        "backbone": (2, 48, 16, 16),
        "visual_tokens": (2, 16, DIM),
        "keypoint_tokens": (2, 5, DIM),
        "head": (2, 5, 16, 16),
    }


def test_a_token_makes_its_own_map():
    head = HeatmapHead(DIM, (3, 4))
    tokens = torch.randn(2, 5, DIM)
    torch.testing.assert_close(head(tokens)[1, 3], head(tokens[1, 3:4])[0])


@pytest.mark.parametrize(
    ("name", "size", "message"),
    [
        ("s", (192, 256), "tokenpose-s: there is tokenpose-t, tokenpose-s_v1"),
        (
            "s_v1",
            (100, 128),
            "input 100x128 does not divide into patches: its width has to be a multiple of 16, its height of "
            "16",
        ),
        ("t", (96, 120), "width has to be a multiple of 16, its height of 16"),
        ("s_v2", (60, 64), "width has to be a multiple of 8, its height of 8"),
        ("b", (24, 32), "width has to be a multiple of 48, its height of 16"),
    ],
)
def test_a_variant_or_size_that_cannot_be(name, size, message):
    with pytest.raises(ValueError, match=message):
        tokenpose.build(name, 17, size)
