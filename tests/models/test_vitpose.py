"""ViTPose against `transformers`, whose weights it takes, and its size against the paper's."""

from __future__ import annotations

import onnxruntime
import pytest
import torch
from torch import nn

from poseling.codecs.heatmap import Heatmap
from poseling.evaluate.cost import cost
from poseling.export.onnx import Deployed, graph
from poseling.models.vitpose import (
    ClassicDecoder,
    SimpleDecoder,
    ViTPose,
    build,
    build_plus,
    configuration,
    from_transformers,
    name,
)
from poseling.skeleton import COCO17
from poseling.spec import PoseSpec

transformers = pytest.importorskip("transformers")


def small(simple: bool = False, experts: int = 1, joints: int = 5) -> transformers.VitPoseConfig:
    """32 wide, 2 layers, 4 heads, for an input of 48 x 64."""
    backbone = transformers.VitPoseBackboneConfig(
        image_size=[64, 48],
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_experts=experts,
        part_features=8,
        out_indices=[2],
    )
    return transformers.VitPoseConfig(backbone_config=backbone, num_labels=joints, use_simple_decoder=simple)


def stirred(network: nn.Module) -> nn.Module:
    """Every weight and statistic random, so that a forgotten one shows."""
    generator = torch.Generator().manual_seed(1)
    for key, tensor in network.state_dict().items():
        if tensor.is_floating_point():
            tensor.copy_(torch.randn(tensor.shape, generator=generator) * 0.2)
            if key.endswith("running_var"):
                tensor.abs_().add_(0.5)
    return network.eval()


@pytest.mark.parametrize("experts", [1, 6])
@pytest.mark.parametrize("simple", [False, True])
@torch.no_grad()
def test_it_answers_as_transformers_does(simple: bool, experts: int) -> None:
    config = small(simple, experts)
    theirs = stirred(transformers.VitPoseForPoseEstimation(config))
    ours = ViTPose(config).eval()
    ours.load_state_dict(from_transformers(theirs.state_dict()))
    images = torch.randn(2, 3, 64, 48)
    answers = []
    for dataset in range(0, experts, 3):
        ours.backbone.dataset = dataset
        answers.append(ours(images))
        expected = theirs(images, dataset_index=torch.tensor([dataset, dataset])).heatmaps
        assert expected.std() > 0.1
        torch.testing.assert_close(answers[-1], expected[:, None], atol=1e-4, rtol=0)
    assert experts == 1 or not torch.allclose(*answers, atol=1e-3)


@pytest.mark.parametrize(
    ("variant", "millions", "gmac"),
    [
        ("s", 24, 5),
        ("s-simple", 24, 5),
        ("b", 90, 17.5),
        ("b-simple", 86, 17),
        ("l", 307, 60),
        ("l-simple", 307, 60),
        ("h", 632, 123),
        ("h-simple", 632, 123),
    ],
)
def test_it_is_as_large_as_in_the_paper(variant: str, millions: float, gmac: float) -> None:
    """Parameters as in the repository's table; its GFLOPs count a product and a sum as one and leave some
    out.
    """
    with torch.device("meta"):
        network = build(variant, 17, (192, 256))
    found = cost(network, (192, 256))
    assert found.params / 1e6 == pytest.approx(
        millions, rel=0.11 if variant == "s-simple" else 0.02
    )  # the paper has one figure for both decoders of S
    assert found.gmac == pytest.approx(gmac, rel=0.12)


@pytest.mark.parametrize(("variant", "experts"), [("b", 1), ("l-simple", 1), ("s", 6), ("h-simple", 6)])
def test_a_configuration_is_told_by_name(variant: str, experts: int) -> None:
    config = configuration(variant[0], 17, (192, 256), variant.endswith("simple"), experts)
    assert name(config) == f"{'vitpose' if experts == 1 else 'vitpose_plus'}-{variant}"
    assert name(small()) == "vitpose 32x2x4"


def test_the_experts_are_six() -> None:
    """Against a plain ViT a layer of S has, of the 1536 -> 384 layer's 96 last outputs, five more sets of
    1536 weights and a bias each.
    """
    with torch.device("meta"):
        plain, plus = (
            sum(p.numel() for p in f("s", 17, (192, 256)).parameters()) for f in (build, build_plus)
        )
    assert plus - plain == 12 * 5 * 96 * (1536 + 1)


@pytest.mark.parametrize("size", [(64, 64), (48, 80), (192, 256), (112, 16)])
def test_any_multiple_of_16(size: tuple[int, int]) -> None:
    network = build("t-simple", 3, size).eval()
    seen = {}
    for part in ("backbone", "visual_tokens", "features"):
        network.get_submodule(part).register_forward_hook(
            lambda _, __, output, part=part: seen.update({part: output})
        )
    w, h = size
    assert network(torch.zeros(2, 3, h, w)).shape == (2, 1, 3, h // 4, w // 4)
    assert seen["backbone"].shape == seen["features"].shape == (2, 192, h // 16, w // 16)
    assert seen["visual_tokens"].shape == (2, h * w // 256, 192)
    assert torch.equal(seen["features"].flatten(2), seen["visual_tokens"].mT)


def test_the_decoders() -> None:
    assert (
        ClassicDecoder(8, 3)(torch.zeros(1, 8, 2, 3)).shape
        == SimpleDecoder(8, 3)(torch.zeros(1, 8, 2, 3)).shape
        == (1, 3, 8, 12)
    )
    ramp = SimpleDecoder(1, 1)
    with torch.no_grad():
        ramp.conv.weight.zero_()[0, 0, 1, 1] = 1
        ramp.conv.bias.zero_()
    # Half-pixel centres: of 0 and 8 four pixels each, the middle four at 1, 3, 5 and 7. What is negative is
    # cut before, not after.
    assert ramp(torch.tensor([[[[0.0, 8.0]]]]))[0, 0, 0].tolist() == [0, 0, 1, 3, 5, 7, 8, 8]
    assert ramp(torch.tensor([[[[-8.0, 8.0]]]]))[0, 0, 0].tolist() == [0, 0, 1, 3, 5, 7, 8, 8]


@pytest.mark.parametrize("variant", ["", "x", "b-clasic", "b-token-simple", "b-token0", "tb"])
def test_a_wrong_name_is_told_what_there_is(variant: str) -> None:
    with pytest.raises(ValueError, match=r"name one of t, s, b, l, h, .* as in vitpose-b-simple"):
        build(variant, 5, (64, 64))


def test_a_size_must_be_a_multiple_of_16() -> None:
    with pytest.raises(
        ValueError, match="vitpose-t takes images whose sides are multiples of 16, and not 64x40"
    ):
        build("t", 5, (64, 40))


def test_without_a_token_it_is_the_plain_network_and_with_one_not() -> None:
    network = stirred(ViTPose(small()))
    images = torch.randn(2, 3, 64, 48)
    with torch.no_grad():
        plain = network(images)
        network.add_token()
        told = network(images)
        assert told.shape == plain.shape
        assert not torch.allclose(told, plain, atol=1e-4)
        network.token = None
        assert torch.equal(network(images), plain)


def test_a_token_learns_while_all_else_is_frozen() -> None:
    teacher = stirred(ViTPose(small())).requires_grad_(False)
    teacher.add_token()
    teacher(torch.randn(2, 3, 64, 48)).square().sum().backward()
    learns = {key for key, p in teacher.named_parameters() if p.grad is not None}
    assert learns == {"token"}
    assert teacher.token.grad.abs().sum() > 0


def test_the_teachers_token_stays_as_it_is_in_the_student() -> None:
    teacher = ViTPose(small())
    teacher.add_token()
    assert teacher.token is not None
    same, wider = ViTPose(small()), build("t", 5, (48, 64))
    for student, learns in ((same, set()), (wider, {"token_projection.weight", "token_projection.bias"})):
        student.add_token(teacher.token)
        assert torch.equal(student.token, teacher.token)
        student(torch.randn(2, 3, 64, 48)).square().sum().backward()
        assert {
            key for key, p in student.named_parameters() if key.startswith("token") and p.grad is not None
        } == learns
    with torch.no_grad():
        teacher.token.add_(1)
    assert not torch.equal(same.token, teacher.token)
    with pytest.raises(ValueError, match=r"the shape \(1, 1, D\), not \(32,\)"):
        same.add_token(torch.zeros(32))


@pytest.mark.parametrize(
    ("variant", "dim", "learns"), [("t-token", 192, True), ("t-simple-token32", 32, False)]
)
def test_a_name_with_a_token(variant: str, dim: int, learns: bool) -> None:
    network = build(variant, 5, (64, 64))
    assert network.token.shape == (1, 1, dim)
    assert network.token.requires_grad == learns


@pytest.mark.slow
@pytest.mark.parametrize("variant", ["t", "t-simple-token32"])
def test_it_is_exported(variant: str) -> None:
    torch.manual_seed(0)
    network = build(variant, 17, (48, 64))
    deployed = Deployed(
        network, PoseSpec("vitpose-t", COCO17, Heatmap((48, 64)).fields(), (48, 64)), raw=True
    ).eval()
    session = onnxruntime.InferenceSession(
        graph(deployed).SerializeToString(), providers=["CPUExecutionProvider"]
    )
    crops = torch.randint(0, 256, (3, 64, 48, 3), dtype=torch.uint8)
    with torch.no_grad():
        torch.testing.assert_close(
            torch.from_numpy(session.run(None, {"crops": crops.numpy()})[0]),
            deployed(crops),
            atol=1e-5,
            rtol=0,
        )
