"""ViTPose's decoders on a backbone that is only strided convolutions, and on those of the zoo."""

from __future__ import annotations

import onnxruntime
import pytest
import torch
from torch import Tensor, nn

from poseling.codecs.heatmap import Heatmap
from poseling.export.onnx import Deployed, graph
from poseling.models import backbones
from poseling.models.vitpose import ClassicDecoder, SimpleDecoder
from poseling.models.vitpose_mobile import Neck, ViTPoseMobile, build, copy_decoder
from poseling.skeleton import COCO17
from poseling.spec import PoseSpec


class Steps(nn.Module):
    """Images (B, 3, H, W) to maps of 2, 3, 5 and 7 channels at strides 4, 8, 16 and 32."""

    channels = (2, 3, 5, 7)

    def __init__(self) -> None:
        super().__init__()
        self.steps = nn.ModuleList(
            nn.Conv2d(i, o, k, k) for i, o, k in ((3, 2, 4), (2, 3, 2), (3, 5, 2), (5, 7, 2))
        )

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        maps = []
        for step in self.steps:
            x = step(x)
            maps.append(x)
        return tuple(maps)


@pytest.fixture(autouse=True)
def _steps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(backbones.BACKBONES, "steps", lambda size: Steps())


@pytest.mark.parametrize(
    ("variant", "kind", "width"),
    [
        ("steps", ClassicDecoder, 256),
        ("steps-classic", ClassicDecoder, 256),
        ("steps-simple", SimpleDecoder, 256),
        ("steps-simple-12", SimpleDecoder, 12),
    ],
)
def test_the_name_says_what_is_built(variant: str, kind: type[nn.Module], width: int) -> None:
    net = build(variant, 5, (96, 64)).eval()
    assert type(net.head) is kind
    seen = {}
    net.features.register_forward_hook(lambda _, __, output: seen.update(map=output))
    assert net(torch.zeros(2, 3, 64, 96)).shape == (2, 1, 5, 16, 24)
    assert seen["map"].shape == (2, width, 4, 6)


@pytest.mark.parametrize(
    "variant",
    ["", "walnut", "steps-clasic", "steps-simple-", "steps-simple-0", "steps-simple-12-3", "steps-12"],
)
def test_a_wrong_name_is_told_what_there_is(variant: str) -> None:
    with pytest.raises(ValueError, match=r"name a backbone \(.*steps\).* a decoder \(classic, simple\)"):
        build(variant, 5, (64, 64))


def test_a_size_must_be_a_multiple_of_32() -> None:
    with pytest.raises(ValueError, match="multiples of 32, and not 64x48"):
        build("steps", 5, (64, 48))


def test_the_neck_adds_both_maps() -> None:
    """One channel, weights 2 and 3: 2 x 10 from stride 16, 3 x 1 from stride 32, and a norm that has seen
    nothing yet only divides by sqrt(1 + 1e-5).
    """
    neck = Neck((1, 1, 1, 1), 1).eval()
    nn.init.constant_(neck.fine.weight, 2)
    nn.init.constant_(neck.coarse.weight, 3)
    unread = torch.full((1, 1, 1, 1), torch.nan)
    out = neck((unread, unread, torch.full((1, 1, 2, 4), 10.0), torch.ones(1, 1, 1, 2)))
    torch.testing.assert_close(out, torch.full((1, 1, 2, 4), 23.0), atol=1e-3, rtol=0)


@pytest.mark.parametrize("decoder", ["classic", "simple"])
def test_the_teachers_decoder_is_copied(decoder: str) -> None:
    torch.manual_seed(0)
    student, teacher = (ViTPoseMobile(Steps(), Steps.channels, 5, decoder, 12).eval() for _ in range(2))
    maps = torch.randn(1, 12, 3, 2)
    assert not torch.allclose(student.head(maps), teacher.head(maps), rtol=1e-3, atol=0)
    copy_decoder(student, teacher)
    assert torch.equal(student.head(maps), teacher.head(maps))
    nn.init.zeros_(student.head.conv.weight)
    assert teacher.head.conv.weight.any()  # a copy, not the teacher's own


def test_a_decoder_that_does_not_fit_is_not_copied() -> None:
    student = ViTPoseMobile(Steps(), Steps.channels, 5, "simple", 12)
    for other, complaint in (
        (("classic", 5, 12), "'-classic'"),
        (("simple", 5, 16), "12 channels, the teacher's 16; build the student with '-simple-16'"),
        (("simple", 6, 12), "5 joints, the teacher's 6"),
    ):
        teacher = ViTPoseMobile(Steps(), Steps.channels, other[1], other[0], other[2])
        with pytest.raises(ValueError, match=complaint):
            copy_decoder(student, teacher)
    with pytest.raises(ValueError, match="the teacher is a Steps without a decoder of ViTPose"):
        copy_decoder(student, Steps())


@pytest.mark.parametrize(
    "variant",
    [
        "steps-simple-12",
        *(
            pytest.param(f"{b}-simple-12", marks=pytest.mark.slow)
            for b in ("efficientformer_l1", "efficientformerv2_s0")
        ),
    ],
)
def test_it_is_exported(variant: str) -> None:
    torch.manual_seed(0)
    network = build(variant, 17, (64, 96))
    for name, parameter in network.named_parameters():
        if name.endswith(
            (".gamma", ".table", "head.conv.weight")
        ):  # so small at the start that their parts would not show
            nn.init.normal_(parameter)
    deployed = Deployed(
        network, PoseSpec(variant, COCO17, Heatmap((64, 96)).fields(), (64, 96)), raw=True
    ).eval()
    session = onnxruntime.InferenceSession(
        graph(deployed).SerializeToString(), providers=["CPUExecutionProvider"]
    )
    crops = torch.randint(0, 256, (3, 96, 64, 3), dtype=torch.uint8)
    with torch.no_grad():
        expected = deployed(crops)
    assert expected.std() > 0.1
    torch.testing.assert_close(
        torch.from_numpy(session.run(None, {"crops": crops.numpy()})[0]) / expected.std(),
        expected / expected.std(),
        atol=1e-4,
        rtol=0,
    )
