"""TokenPose on a mobile backbone: its parts by hand, and a teacher's head in it."""

import pytest
import torch
from torch import nn

from poseling.models import backbones, tokenpose, tokenpose_mobile
from poseling.models.tokenpose import DIM
from poseling.models.tokenpose_mobile import TokenPoseMobile, copy_head


class Pyramid(nn.Module):
    """Average colours at strides 4, 8, 16 and 32."""

    def forward(self, images):
        return tuple(nn.functional.avg_pool2d(images, stride) for stride in (4, 8, 16, 32))


def tiny(size=(64, 64), depth=1):
    torch.manual_seed(0)
    return TokenPoseMobile(Pyramid(), (3, 3, 3, 3), 5, size, depth).eval()


def test_size_is_the_backbone_and_the_parts_by_hand():
    with torch.device("meta"):
        network = tokenpose_mobile.build("mobilenetv2", 17, (192, 256))
        backbone = backbones.build("mobilenetv2", (192, 256))
    layer = 192 * 576 + 193 * 192 + 193 * 576 + 577 * 192 + 4 * 192
    head = 2 * 192 + 193 * 384 + 2 * 384 + 385 * 64 * 48
    neck = (backbone.channels[2] + backbone.channels[3] + 2) * 192
    count = sum(p.numel() for p in backbone.parameters()) + neck + 17 * 192 + 6 * layer + head
    assert sum(p.numel() for p in network.parameters()) == count
    assert network.tokens.position.shape == (1, 17 + 16 * 12, DIM)


@pytest.mark.parametrize("size", [(64, 64), (96, 128)])
def test_shapes_and_what_hooks_see(size):
    network, seen = tiny(size), {}
    for name in ("features", "visual_tokens", "keypoint_tokens"):
        network.get_submodule(name).register_forward_hook(
            lambda _, __, output, name=name: seen.update({name: output.shape})
        )
    assert network(torch.zeros(2, 3, size[1], size[0])).shape == (2, 1, 5, size[1] // 4, size[0] // 4)
    rows, columns = size[1] // 16, size[0] // 16
    assert seen == {
        "features": (2, DIM, rows, columns),
        "visual_tokens": (2, rows * columns, DIM),
        "keypoint_tokens": (2, 5, DIM),
    }


def test_every_weight_is_trained():
    network = tokenpose_mobile.build("mobilenetv2_050-2", 3, (64, 64)).train()
    network(torch.randn(2, 3, 64, 64)).square().sum().backward()
    assert len(network.transformer.layers) == 2
    assert [n for n, p in network.named_parameters() if p.grad is None] == []


def test_a_teachers_head_in_a_student():
    student, teacher = (
        tiny(),
        tokenpose.build("t", 17, (64, 64)),
    )  # not as many joints: the head works on one at a time
    copy_head(student, teacher)
    tokens = torch.randn(2, 5, DIM)
    assert torch.equal(student.head(tokens), teacher.head(tokens))
    with torch.no_grad():
        student.head.layers[1].bias.add_(1)
    assert not torch.equal(student.head(tokens), teacher.head(tokens))  # a copy


@pytest.mark.parametrize(
    ("teacher", "message"),
    [
        (
            lambda: tokenpose.build("t", 5, (128, 64)),
            "the teacher's maps are 32x16, the student's 16x16: build both for one input size",
        ),
        (lambda: tokenpose.build("l_d6", 5, (64, 64)), "head reads the tokens of three transformers"),
        (lambda: nn.Conv2d(3, 3, 1), "the teacher is a Conv2d without TokenPose's head"),
    ],
)
def test_a_head_that_does_not_fit(teacher, message):
    with pytest.raises(ValueError, match=message):
        copy_head(tiny(), teacher())


@pytest.mark.parametrize("variant", ["", "mobilenetv2-", "mobilenetv2-0", "mobilenet", "mobilenetv2-4-4"])
def test_a_variant_that_there_is_not(variant):
    with pytest.raises(
        ValueError, match=f"tokenpose_mobile-{variant}: name a backbone.*backbones are resnet50, "
    ):
        tokenpose_mobile.build(variant, 17, (192, 256))


def test_a_size_that_the_backbone_cannot_take():
    with pytest.raises(ValueError, match="input 80x64: width and height have to be multiples of 32"):
        tokenpose_mobile.build("mobilenetv2", 17, (80, 64))
