"""SDPose: the paper's size and cost, and the cycles by hand."""

import pytest
import torch
from torch import nn

from poseling.evaluate.cost import cost
from poseling.models import sdpose, tokenpose
from poseling.models.tokenpose import DIM


# The paper's parameters and GMAC; the latter leave out the two products of attention.
@pytest.mark.parametrize(
    ("name", "params", "gmac", "tokens", "layers"),
    [
        ("t", 4.4, 1.8, 273, 6),
        ("s_v1", 6.6, 2.4, 273, 12),
        ("s_v2", 6.2, 4.7, 785, 12),
        ("b", 13.2, 5.2, 273, 12),
    ],
)
def test_size_and_cost_are_the_papers(name, params, gmac, tokens, layers):
    with torch.device("meta"):
        network = sdpose.build(name, 17, (192, 256))
    assert sum(p.numel() for p in network.parameters()) / 1e6 == pytest.approx(params, rel=0.006)
    found = cost(network, (192, 256)).gmac - 2 * tokens**2 * DIM * layers / 1e9
    assert found == pytest.approx(gmac, rel=0.015)


def hooked(network, images):
    seen = {}
    handles = [
        network.get_submodule(name).register_forward_hook(
            lambda _, __, output, name=name: seen.update({name: output})
        )
        for name in ("visual_tokens", "keypoint_tokens")
    ]
    seen["heatmaps"] = network(images)
    for handle in handles:
        handle.remove()
    return seen


def test_cycles_by_hand():
    torch.manual_seed(0)
    network = sdpose.build_mobile("mobilenetv2_050-2", 3, (64, 64)).train()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eval()  # so that training and use see the same map
    images = torch.randn(2, 3, 64, 64)
    first = network.tokens(network.features(network.backbone(images)))
    place = network.tokens.position
    one = network.transformer.layers[1](network.transformer.layers[0](first) + place)
    two = network.transformer.layers[1](
        network.transformer.layers[0](one) + place
    )  # its first layer gets no places once more
    three = network.transformer.layers[1](network.transformer.layers[0](two) + place)
    seen = hooked(network, images)
    torch.testing.assert_close(seen["keypoint_tokens"], torch.stack([x[:, :3] for x in (one, two, three)], 1))
    torch.testing.assert_close(seen["visual_tokens"], torch.stack([x[:, 3:] for x in (one, two, three)], 1))
    torch.testing.assert_close(
        seen["heatmaps"], torch.stack([network.head(x[:, :3]) for x in (three, two, one)], 1)
    )
    network.eval()
    in_use = hooked(network, images)
    torch.testing.assert_close(in_use["heatmaps"], seen["heatmaps"][:, -1:])
    torch.testing.assert_close(in_use["keypoint_tokens"], seen["keypoint_tokens"][:, 0])
    torch.testing.assert_close(in_use["visual_tokens"], seen["visual_tokens"][:, 0])


def test_it_is_a_tokenpose_in_use():
    """B alone has another backbone; all scale attention as TokenPose-B does."""
    torch.manual_seed(0)
    ours, theirs = sdpose.build("s_v1", 4, (64, 64)).eval(), tokenpose.build("s_v1", 4, (64, 64)).eval()
    weights = {
        name.replace("transformer.", "transformers.0."): tensor for name, tensor in ours.state_dict().items()
    }
    theirs.load_state_dict(weights)
    for layer in theirs.transformers[0].layers:
        layer.scale = 24**-0.5
    images = torch.randn(1, 3, 64, 64)
    torch.testing.assert_close(ours(images), theirs(images))


@pytest.mark.parametrize(("name", "cycles"), [("t", 3), ("s_v1", 2)])
def test_every_weight_is_trained(name, cycles):
    network = sdpose.build(name, 3, (64, 64))
    heatmaps = network(torch.randn(2, 3, 64, 64))
    heatmaps.square().sum().backward()
    assert heatmaps.shape == (2, cycles, 3, 16, 16)
    assert [n for n, p in network.named_parameters() if p.grad is None] == []


def test_variants_that_there_are_not():
    with pytest.raises(ValueError, match="sdpose-s: there is sdpose-t, sdpose-s_v1, sdpose-s_v2, sdpose-b"):
        sdpose.build("s", 17, (192, 256))
    with pytest.raises(ValueError, match="sdpose_mobile-resnet: name a backbone"):
        sdpose.build_mobile("resnet", 17, (192, 256))
