import numpy as np
import onnxruntime
import pytest
import torch

from poseling.codecs import LocationMap
from poseling.evaluate.cost import cost
from poseling.export.onnx import Deployed, graph
from poseling.models import vnect
from poseling.models.importers import imagenet
from poseling.skeleton import Skeleton
from poseling.spec import PoseSpec


# 14.60 M are quoted, for convolutions alone. 12.5 and 6.03 GMAC are those of the same layers with the stride
# of stages 3 and 4 in their 3x3, where it makes the 1x1 before it, of 256 x 128 and 512 x 256 products, see
# four times the pixels.
@pytest.mark.parametrize(("side", "gmac"), [(368, 12.47), (256, 6.03)])
def test_size_and_cost_are_what_is_quoted(side, gmac):
    with torch.device("meta"):
        network = vnect.build("50", 21, (side, side))
    convolutions = sum(p.numel() for p in network.parameters() if p.ndim == 4)
    assert convolutions == 14_596_288
    got = cost(network, (side, side))
    assert got.params - convolutions == sum(
        2 * m.num_features for m in network.modules() if isinstance(m, torch.nn.BatchNorm2d)
    )
    more = 3 * (256 * 128 * (side // 8) ** 2 + 512 * 256 * (side // 16) ** 2)
    assert got.gmac + more / 1e9 == pytest.approx(gmac, abs=0.005)


@pytest.mark.parametrize(
    ("variant", "joints", "size"), [("50", 21, (368, 368)), ("101", 17, (192, 256)), ("152", 1, (48, 16))]
)
def test_maps_at_an_eighth(variant, joints, size):
    with torch.device("meta"):
        network = vnect.build(variant, joints, size)
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
    network, seen = vnect.build("50", 3, (64, 64)), []
    network.features.register_forward_hook(lambda module, inputs, output: seen.append(output))
    maps = network(torch.randn(2, 3, 64, 64))
    assert seen[0].shape == (2, 1024, 4, 4)
    assert not torch.allclose(maps[0], maps[1], atol=1e-4)
    maps.square().sum().backward()
    assert [name for name, p in network.named_parameters() if p.grad is None] == []


def test_the_maps_of_a_joint_come_together():
    """Channel 10 t + k of K = 10 is map t of joint k, t over H, X, Y, Z and then dX, dY, dZ."""
    maps, vectors = torch.arange(40.0).reshape(1, 40, 1, 1), torch.arange(40.0, 70).reshape(1, 30, 1, 1)
    got = vnect.by_joint(maps, vectors)
    assert got.shape == (1, 10, 7, 1, 1)
    assert got[0, 3].flatten().tolist() == [3, 13, 23, 33, 43, 53, 63]


def test_the_last_layers_read_vectors_and_lengths():
    torch.manual_seed(0)
    head, seen = vnect.Head(8, 2).eval(), []
    torch.nn.init.normal_(head.vectors.weight)
    head.res5c.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    with torch.no_grad():
        maps = head(torch.randn(1, 8, 2, 3))
    vectors = maps[0, :, 4:7]  # (K, 3, h, w)
    assert seen[0].shape == (1, 128 + 4 * 2, 4, 6)
    assert torch.equal(seen[0][0, 128:134], vectors.transpose(0, 1).flatten(0, 1))
    assert torch.allclose(seen[0][0, 134:], torch.linalg.vector_norm(vectors, dim=1), atol=1e-3)
    assert vectors.abs().max() > 0.1


def test_bones_without_length_have_gradients():
    head = vnect.Head(8, 2)
    torch.nn.init.zeros_(head.vectors.weight)
    head(torch.randn(2, 8, 2, 2)).square().sum().backward()
    assert all(p.grad.isfinite().all() for p in head.parameters())


@pytest.mark.parametrize(
    ("variant", "size", "message"),
    [
        (
            "18",
            (368, 368),
            "vnect-18: name the depth of its ResNet or a backbone, as in vnect-50, vnect-101, vnect-152, "
            "vnect-mobilenetv2",
        ),
        ("", (368, 368), "as in vnect-50"),
        ("50", (360, 368), "multiples of 16, and not 360x368; try 352x368"),
        ("50", (368, 4), "try 368x16"),
    ],
)
def test_a_network_that_is_none(variant, size, message):
    with pytest.raises(ValueError, match=message):
        vnect.build(variant, 21, size)


def test_a_whole_resnet_from_torchvision_starts_it(tmp_path):
    torch.manual_seed(0)
    theirs, network = vnect.ResNet(50), vnect.build("50", 5, (64, 64))
    torch.save(theirs.state_dict() | {"fc.weight": torch.zeros(1000, 2048)}, tmp_path / "resnet50.pth")
    imagenet.load_backbone(network, tmp_path / "resnet50.pth")
    assert torch.equal(network.backbone.layer3[5].conv3.weight, theirs.layer3[5].conv3.weight)


@pytest.mark.slow
def test_a_file_says_what_the_network_says():
    torch.manual_seed(0)
    size, skeleton = (64, 48), Skeleton("pair", ("neck", "pelvis"), (1, 1))
    network = vnect.build("50", 2, size)
    torch.nn.init.normal_(network.head.maps.weight)
    deployed = Deployed(network, PoseSpec("vnect-50", skeleton, LocationMap(size).fields(), size)).eval()
    model = onnxruntime.InferenceSession(graph(deployed).SerializeToString())
    for count in (1, 3):
        crops = np.random.default_rng(count).integers(0, 256, (count, size[1], size[0], 3), np.uint8)
        with torch.no_grad():
            expected = deployed(torch.from_numpy(crops))
        for found, wanted in zip(model.run(None, {"crops": crops})[:2], expected[:2], strict=True):
            np.testing.assert_allclose(found, wanted.numpy(), atol=1e-3)
