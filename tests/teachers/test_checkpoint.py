from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from poseling.codecs.heatmap import Heatmap
from poseling.models import checkpoint as checkpoints
from poseling.models import registry
from poseling.skeleton import COCO17, LSP14, Skeleton
from poseling.spec import PoseSpec
from poseling.teachers.checkpoint import checkpoint_teacher
from poseling.teachers.network import NetworkTeacher

CODEC = Heatmap((64, 64))


def spec(colour: str = "rgb", softmax: bool = False) -> PoseSpec:
    fields = Heatmap((64, 64), softmax=softmax).fields()
    return PoseSpec(
        "hourglass-2x16",
        LSP14,
        fields,
        (64, 64),
        1.3,
        colour,
        (0.5, 0.25, 0.125),
        (0.2, 0.4, 0.8),
        licences={"weights": "mine"},
    )


def network(seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return registry.build("hourglass-2x16", 14).eval()


@pytest.mark.parametrize("colour", ["rgb", "bgr"])
@pytest.mark.parametrize("softmax", [False, True])
def test_a_saved_teacher_predicts_as_the_network_does(tmp_path: Path, colour: str, softmax: bool) -> None:
    net, path = network(), tmp_path / "big.safetensors"
    checkpoints.save(path, net, spec(colour, softmax))
    teacher = checkpoint_teacher(path)
    assert (teacher.name, teacher.skeleton, teacher.size, teacher.padding, teacher.licences) == (
        "big",
        LSP14,
        (64, 64),
        1.3,
        {"weights": "mine"},
    )
    assert (teacher.map_size, teacher.pixel) == ((16, 16), (63 / 15, 63 / 15))
    crops = np.random.default_rng(1).integers(0, 256, (3, 64, 64, 3), np.uint8)
    prediction = teacher(torch.from_numpy(crops))
    ordered = crops if colour == "rgb" else crops[..., ::-1]
    fed = (ordered / 255 - [0.5, 0.25, 0.125]) / [0.2, 0.4, 0.8]
    with torch.no_grad():
        last = net(torch.from_numpy(fed.transpose(0, 3, 1, 2).astype(np.float32)))[:, -1]
    codec = Heatmap((64, 64), softmax=softmax)
    xy, score = codec.decode(last)
    np.testing.assert_allclose(prediction.score, score, atol=1e-4)
    np.testing.assert_allclose(prediction.maps, codec.maps(last), atol=1e-4)
    # Noise has equal peaks; where the pixel is clear, so is the point.
    sharp = last.flatten(2).topk(2).values.diff().abs().squeeze(-1) > 1e-3
    assert sharp.float().mean() > 0.5
    np.testing.assert_allclose(prediction.xy[sharp], xy[sharp], atol=0.05)


def test_the_teacher_is_frozen(tmp_path: Path) -> None:
    path = tmp_path / "big.safetensors"
    checkpoints.save(path, network(), spec())
    teacher = checkpoint_teacher(path)
    assert not teacher.network.training
    assert not any(p.requires_grad for p in teacher.network.parameters())
    prediction = teacher(torch.zeros(1, 64, 64, 3, dtype=torch.uint8))
    assert not prediction.maps.requires_grad


def test_the_digest_changes_with_all_that_changes_predictions(tmp_path: Path) -> None:
    paths = [tmp_path / f"{name}.safetensors" for name in ("first", "elsewhere", "weights", "padding")]
    checkpoints.save(paths[0], network(), spec())
    checkpoints.save(
        paths[1],
        network(),
        replace(spec(), recipe="fpd/teacher", arguments={"out": "another"}, licences={"weights": "MIT"}),
    )
    checkpoints.save(paths[2], network(1), spec())
    checkpoints.save(paths[3], network(), replace(spec(), padding=1.5))
    first, elsewhere, weights, padding = (checkpoint_teacher(path).digest for path in paths)
    assert first == elsewhere
    assert len({first, weights, padding}) == 3


class Colours(nn.Module):
    """Images (B, 3, H, W) to maps (B, 1, 3, H / 4, W / 4), a colour each, read at the places that the
    unbiased geometry gives the map's pixels.
    """

    def forward(self, images: Tensor) -> Tensor:
        size = [s // 4 for s in images.shape[2:]]
        return F.interpolate(images, size, mode="bilinear", align_corners=True)[:, None]


def test_a_mirrored_image_gives_mirrored_maps() -> None:
    skeleton = Skeleton("three", ("a", "b", "c"), (0, 0, 0))
    codec = Heatmap((96, 64))
    teacher = NetworkTeacher(
        Colours(), PoseSpec("colours", skeleton, codec.fields(), (96, 64), mean=(0, 0, 0), std=(1, 1, 1))
    )
    joints = np.array([[20.3, 31.7], [47.5, 30.0], [70.1, 25.2]])
    y, x = np.mgrid[:64, :96]
    hills = np.exp(
        -((x[..., None] - joints[:, 0]) ** 2 + (y[..., None] - joints[:, 1]) ** 2) / (2 * (2 * 4.13) ** 2)
    )
    crop = torch.from_numpy(np.rint(255 * hills).astype(np.uint8))[None]
    prediction, mirrored = teacher(crop), teacher(crop.flip(2))
    np.testing.assert_allclose(prediction.xy[0], joints, atol=0.1)
    np.testing.assert_allclose(mirrored.maps, prediction.maps.flip(-1), atol=1e-5)
    np.testing.assert_allclose(mirrored.xy[..., 0], 95 - prediction.xy[..., 0], atol=1e-3)
    np.testing.assert_allclose(mirrored.xy[..., 1], prediction.xy[..., 1], atol=1e-3)


def test_checkpoints_that_are_none(tmp_path: Path) -> None:
    path = tmp_path / "big.safetensors"
    with pytest.raises(FileNotFoundError, match=r"big\.safetensors: there is no such checkpoint"):
        checkpoint_teacher(path)
    checkpoints.save(path, network(), spec())
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(ValueError, match=r"big\.safetensors: is cut short or no safetensors file"):
        checkpoint_teacher(path)
    checkpoints.write_tensors(path, network().state_dict(), {})
    with pytest.raises(ValueError, match="without a PoseSpec"):
        checkpoint_teacher(path)
    checkpoints.write_tensors(
        path,
        network().state_dict(),
        {"poseling": PoseSpec("hourglass-2x16", COCO17, CODEC.fields(), (64, 64)).to_json()},
    )
    with pytest.raises(ValueError, match="do not fit hourglass-2x16 with 17 joints"):
        checkpoint_teacher(path)
