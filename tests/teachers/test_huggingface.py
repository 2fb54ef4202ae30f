"""A folder as `transformers` writes it, read by us and by `transformers`."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from poseling.codecs.heatmap import Heatmap
from poseling.skeleton import COCO17
from poseling.spec import IMAGENET_MEAN, IMAGENET_STD
from poseling.teachers.huggingface import huggingface_teacher, is_huggingface

transformers = pytest.importorskip("transformers")


def published(
    folder: Path, experts: int = 1, simple: bool = True, joints: int = 17, size: tuple[int, int] = (64, 48)
) -> nn.Module:
    """A network 32 wide with 2 layers and random weights, saved to `folder`."""
    torch.manual_seed(0)
    inner = transformers.VitPoseBackboneConfig(
        image_size=size,
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_experts=experts,
        part_features=8,
        initializer_range=0.3,
        out_indices=[2],
    )
    model = transformers.VitPoseForPoseEstimation(
        transformers.VitPoseConfig(backbone_config=inner, num_labels=joints, use_simple_decoder=simple)
    ).eval()
    nn.init.normal_(model.head.conv.weight)
    model.save_pretrained(folder)
    return model


@pytest.mark.parametrize(("experts", "simple"), [(1, True), (1, False), (6, False)])
def test_it_predicts_as_the_published_network(tmp_path: Path, experts: int, simple: bool) -> None:
    model = published(tmp_path / "vit", experts, simple)
    teacher = huggingface_teacher(str(tmp_path / "vit"))
    assert (teacher.name, teacher.skeleton, teacher.size, teacher.map_size, teacher.padding) == (
        "vit",
        COCO17,
        (48, 64),
        (12, 16),
        1.25,
    )
    assert teacher.licences == {"code": "Apache-2.0", "weights": "Apache-2.0", "data": "COCO"}
    crops = np.random.default_rng(1).integers(0, 256, (2, 64, 48, 3), np.uint8)
    fed = torch.from_numpy(
        ((crops / 255 - IMAGENET_MEAN) / IMAGENET_STD).transpose(0, 3, 1, 2).astype(np.float32)
    )
    with torch.no_grad():
        maps = model(fed, dataset_index=torch.zeros(2, dtype=torch.long)).heatmaps
    prediction = teacher(torch.from_numpy(crops))
    assert maps.std() > 0.1
    torch.testing.assert_close(prediction.maps, maps, atol=1e-4, rtol=1e-4)
    assert not any(p.requires_grad for p in teacher.network.parameters())


def theirs(maps: Tensor, size: tuple[int, int]) -> Tensor:
    """Joints (B, K, 2) in input pixels as transformers' processor reads them off maps (B, K, h, w) of an
    input of `size` (W, H).

    It is told of a box whose crop is W x H large, of which the input shows W - 1 x H - 1 pixel distances.
    """
    from transformers.models.vitpose.image_processing_pil_vitpose import VitPoseImageProcessorPil

    w, h = size
    box = [w * 0.1, h * 0.1, w * 0.8, h * 0.8]
    processor = VitPoseImageProcessorPil(size={"height": h, "width": w})
    found = processor.post_process_pose_estimation(
        SimpleNamespace(heatmaps=maps), boxes=[[box] for _ in maps]
    )
    return torch.stack([dataset[0]["keypoints"] for dataset in found]) * torch.tensor(
        [(w - 1) / w, (h - 1) / h]
    )


def test_joints_are_read_as_transformers_reads_them(tmp_path: Path) -> None:
    published(tmp_path, size=(256, 192))
    codec = huggingface_teacher(str(tmp_path)).codec
    assert codec == Heatmap((192, 256))
    joints = (
        torch.rand(4, 17, 2, generator=torch.Generator().manual_seed(2)) * torch.tensor([160.0, 220.0]) + 16
    )
    maps, _ = codec.encode(joints, torch.ones(4, 17))
    expected = theirs(maps, (192, 256))
    torch.testing.assert_close(expected, joints, atol=0.5, rtol=0)
    torch.testing.assert_close(codec.decode(maps)[0], expected, atol=0.5, rtol=0)


def test_the_digest_tells_weights_apart(tmp_path: Path) -> None:
    model = published(tmp_path / "a")
    published(tmp_path / "b")
    with torch.no_grad():
        model.head.conv.bias[3] += 0.5
    model.save_pretrained(tmp_path / "c")
    a, b, c = (huggingface_teacher(str(tmp_path / name)).digest for name in "abc")
    assert a == b != c
    assert len(a) == 32


def test_what_is_taken_for_a_published_network(tmp_path: Path) -> None:
    (tmp_path / "net").mkdir()
    assert not is_huggingface(str(tmp_path / "net"))
    (tmp_path / "net" / "config.json").write_text("{}")
    assert is_huggingface(str(tmp_path / "net"))
    assert not is_huggingface("a/b/c")
    assert not is_huggingface("hourglass-8x256")
    assert not is_huggingface("models/net.onnx")


def test_folders_that_are_none(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"has no config\.json; a published network is a folder with"):
        huggingface_teacher(str(tmp_path))
    config = tmp_path / "config.json"
    config.write_text("{")
    with pytest.raises(ValueError, match=r"config\.json: is no whole JSON file"):
        huggingface_teacher(str(tmp_path))
    config.write_text('{"model_type": "bert"}')
    with pytest.raises(ValueError, match="is for the model type 'bert', and only 'vitpose' can be read"):
        huggingface_teacher(str(tmp_path))
    config.write_text('{"model_type": "vitpose"}')
    with pytest.raises(FileNotFoundError, match=r"has no \.safetensors file"):
        huggingface_teacher(str(tmp_path))


def test_networks_that_do_not_fit(tmp_path: Path) -> None:
    published(tmp_path / "joints", joints=21)
    with pytest.raises(ValueError, match=r"joints: predicts 21 joints; only .* 17 of COCO"):
        huggingface_teacher(str(tmp_path / "joints"))
    published(tmp_path / "headless")
    weights = tmp_path / "headless" / "model.safetensors"
    save_file(
        {name: tensor for name, tensor in load_file(weights).items() if name != "head.conv.weight"},
        weights,
        {"format": "pt"},
    )
    with pytest.raises(ValueError, match=r"headless: lacks weights, among them head\.conv\.weight"):
        huggingface_teacher(str(tmp_path / "headless"))
    published(tmp_path / "cut")
    weights = tmp_path / "cut" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(ValueError, match=r"cut/model\.safetensors: the weights cannot be read"):
        huggingface_teacher(str(tmp_path / "cut"))


@pytest.mark.parametrize(
    "change",
    [
        {"backbone_config": {"model_type": "vitpose_backbone", "num_hidden_layers": 10**9}},
        {"backbone_config": 3},
        {"backbone_config": {"image_size": "wide"}},
    ],
)
def test_a_configuration_may_not_describe_more_than_the_weights_have(
    tmp_path: Path, change: dict[str, object]
) -> None:
    published(tmp_path / "large")
    config = tmp_path / "large" / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | change))
    with pytest.raises(ValueError, match="large"):
        huggingface_teacher(str(tmp_path / "large"))


def test_without_internet_access_the_error_has_the_way_out(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    import huggingface_hub.constants

    monkeypatch.setattr(
        huggingface_hub.constants, "HF_HUB_OFFLINE", True
    )  # else it would try for half a minute
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(
        FileNotFoundError,
        match=r"nobody/vitpose-none: .*https://huggingface\.co/nobody/vitpose-none by hand and name their folder.*HF_HUB_OFFLINE",
    ):
        huggingface_teacher("nobody/vitpose-none")
