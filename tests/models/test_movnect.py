import numpy as np
import onnxruntime
import pytest
import torch

from poseling.codecs import LocationMap
from poseling.evaluate.cost import cost
from poseling.export.onnx import Deployed, graph
from poseling.models import backbones, movnect, registry
from poseling.models.backbones.mobilenet import MobileNetV2
from poseling.models.importers import imagenet
from poseling.skeleton import Skeleton
from poseling.spec import PoseSpec


def weights_of_the_figure(joints):
    """The convolutions behind the backbone, by hand from the layers in the paper's figure."""
    block13a = 96 * 368 + 9 * 368 + 368 * 256 + 96 * 256
    block13b = 256 * 192 + 9 * 192 + 192 * 192
    up = 9 * 192 * 128 + 9 * 192 * 3 * joints
    last = (128 + 4 * joints) * 128 + 9 * 128 + 128 * 4 * joints
    return block13a + block13b + up + last


def test_size_and_cost_are_the_papers():
    """1.35 GFLOPs, two to a multiply-add; 1.03 M parameters are quoted, and these layers have 7 % more."""
    network = movnect.build("medium", 15, (256, 256))
    got = cost(network, (256, 256))
    assert 2 * got.gmac == pytest.approx(1.35, abs=0.005)
    assert got.params / 1e6 == pytest.approx(1.12, abs=0.005)
    assert sum(p.numel() for p in network.backbone.parameters()) / 1e6 == pytest.approx(0.543, abs=0.0006)
    assert sum(p.numel() for p in network.head.parameters() if p.ndim == 4) == weights_of_the_figure(15)


# MobileNetV2's 96 channels at stride 16, and the figure's 368, 256, 192 and 128, times the factor, to the
# nearest multiple of 8.
@pytest.mark.parametrize(
    ("variant", "widths"),
    [
        ("tiny", (24, 96, 64, 48, 32)),
        ("small", (48, 184, 128, 96, 64)),
        ("medium", (96, 368, 256, 192, 128)),
        ("large", (144, 552, 384, 288, 192)),
    ],
)
def test_all_widths_are_scaled(variant, widths):
    with torch.device("meta"):
        head = movnect.build(variant, 15, (256, 256)).head
    inside, out = head.block13a[0][0], head.block13a[2][0]
    assert (
        inside.in_channels,
        inside.out_channels,
        out.out_channels,
        head.up[0].in_channels,
        head.maps.in_channels,
    ) == widths


@pytest.mark.parametrize(
    ("variant", "joints", "size"),
    [("medium", 15, (256, 256)), ("large", 21, (368, 368)), ("tiny", 1, (48, 16))],
)
def test_maps_at_an_eighth(variant, joints, size):
    with torch.device("meta"):
        network = movnect.build(variant, joints, size)
    assert network(torch.zeros(2, 3, size[1], size[0], device="meta")).shape == (
        2,
        1,
        joints,
        7,
        size[1] // 8,
        size[0] // 8,
    )


def test_every_weight_is_trained_and_the_head_reads_the_features():
    torch.manual_seed(0)
    network, seen = movnect.build("tiny", 3, (64, 64)), []
    network.features.register_forward_hook(lambda module, inputs, output: seen.append(output))
    maps = network(torch.randn(2, 3, 64, 64))
    assert seen[0].shape == (2, 24, 4, 4)
    assert not torch.allclose(maps[0], maps[1], atol=1e-4)
    maps.square().sum().backward()
    assert [name for name, p in network.named_parameters() if p.grad is None] == []


def test_the_last_layers_read_vectors_and_lengths():
    """Lengths are sums of absolute values here, where VNect takes the root of squares."""
    torch.manual_seed(0)
    head, seen = movnect.Head(8, 2, 0.25).eval(), []
    torch.nn.init.normal_(head.vectors.weight)
    head.block14.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    with torch.no_grad():
        maps = head(torch.randn(1, 8, 2, 3))
    vectors = maps[0, :, 4:7]  # (K, 3, h, w)
    assert seen[0].shape == (1, 32 + 4 * 2, 4, 6)
    assert torch.equal(seen[0][0, 32:38], vectors.transpose(0, 1).flatten(0, 1))
    assert torch.allclose(seen[0][0, 38:], vectors[:, 0].abs() + vectors[:, 1].abs() + vectors[:, 2].abs())
    assert vectors.abs().max() > 0.1


@pytest.mark.parametrize(
    ("variant", "size", "message"),
    [
        (
            "huge",
            (256, 256),
            "movnect-huge: there is movnect-tiny, movnect-small, movnect-medium, movnect-large",
        ),
        (
            "small",
            (250, 256),
            "movnect-small takes images whose sides are multiples of 16, and not 250x256; try 256x256",
        ),
    ],
)
def test_a_network_that_is_none(variant, size, message):
    with pytest.raises(ValueError, match=message):
        movnect.build(variant, 15, size)


def test_the_zoo_knows_both():
    assert registry.codec_of("vnect-50") == registry.codec_of("movnect-medium") == "location_map"
    assert registry.smallest("vnect-50") == "movnect-tiny"
    assert isinstance(registry.build("movnect-tiny", 15), movnect.MoVNect)


def test_a_whole_mobilenet_from_torchvision_starts_it(tmp_path):
    torch.manual_seed(0)
    theirs, network = MobileNetV2(), movnect.build("medium", 5, (64, 64))
    torch.save(
        theirs.state_dict() | {"classifier.1.weight": torch.zeros(1000, 1280)}, tmp_path / "mobilenet_v2.pth"
    )
    imagenet.load_backbone(network, tmp_path / "mobilenet_v2.pth")
    theirs.eval()
    network.eval()
    image = torch.randn(1, 3, 64, 64)
    for a, b in zip(theirs(image)[:3], network.backbone(image), strict=True):
        assert torch.equal(a, b)
    torch.save(
        {name: t for name, t in theirs.state_dict().items() if not name.startswith("features.13.")},
        tmp_path / "cut.pth",
    )
    with pytest.raises(ValueError, match=r"does not fit the backbone mobilenetv2: it lacks features\.13\."):
        imagenet.load_backbone(network, tmp_path / "cut.pth")


@pytest.mark.slow
def test_a_file_says_what_the_network_says():
    torch.manual_seed(0)
    size, skeleton = (64, 48), Skeleton("pair", ("neck", "pelvis"), (1, 1))
    network = movnect.build("tiny", 2, size)
    torch.nn.init.normal_(network.head.maps.weight)
    deployed = Deployed(network, PoseSpec("movnect-tiny", skeleton, LocationMap(size).fields(), size)).eval()
    model = onnxruntime.InferenceSession(graph(deployed).SerializeToString())
    for count in (1, 3):
        crops = np.random.default_rng(count).integers(0, 256, (count, size[1], size[0], 3), np.uint8)
        with torch.no_grad():
            expected = deployed(torch.from_numpy(crops))
        for found, wanted in zip(model.run(None, {"crops": crops})[:2], expected[:2], strict=True):
            np.testing.assert_allclose(found, wanted.numpy(), atol=1e-3)


@pytest.mark.parametrize("family", ["movnect", "vnect"])
@pytest.mark.parametrize("name", backbones.CUT)
def test_the_head_on_any_row_of_layers(family: str, name: str):
    """What lies behind stride 16 is gone, and takes its weights along: the rest of the whole backbone fits."""
    network = registry.build(f"{family}-{name}", 4, (96, 64))
    assert network.eval()(torch.zeros(1, 3, 64, 96)).shape == (1, 1, 4, 7, 8, 12)
    whole = backbones.build(name, (96, 64))
    kept = {
        key: value
        for key, value in whole.state_dict().items()
        if not key.startswith(network.backbone.left_out)
    }
    network.backbone.load_state_dict(kept)
    image = torch.rand(1, 3, 64, 96)
    for mine, theirs in zip(network.backbone(image), whole.eval()(image), strict=False):
        torch.testing.assert_close(mine, theirs)


def test_a_backbone_that_is_no_row():
    with pytest.raises(ValueError, match="resnet50 is not one row of layers"):
        backbones.cut(backbones.build("resnet50", (96, 96)))
    with pytest.raises(ValueError, match="movnect-resnet50: there is movnect-tiny"):
        registry.build("movnect-resnet50", 4, (96, 96))
