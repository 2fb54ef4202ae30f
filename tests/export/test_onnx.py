"""A small trained hourglass, exported once, and networks of one pooling layer through every decoding."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Literal

import cv2
import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from torch import Tensor, nn

from poseling.codecs import Codec, Coordinates, LocationMap, SimCC, SimCC3D, codec, read
from poseling.codecs.heatmap import Heatmap
from poseling.codecs.normalize import normalise
from poseling.export import onnx as exporting
from poseling.export import parity
from poseling.export.onnx import Deployed, export
from poseling.export.parity import Parity, ParityError
from poseling.geometry import Crop
from poseling.models import checkpoint, registry
from poseling.models.family import Family
from poseling.runtime import Network
from poseling.skeleton import LSP14
from poseling.spec import KEY, PoseSpec

SIZE = (64, 64)
LICENCES = {"code": "Apache-2.0", "weights": "CC0", "data": "drawn"}
SPEC = PoseSpec(
    "hourglass-1x32",
    LSP14,
    Heatmap(SIZE).fields(),
    SIZE,
    colour="bgr",
    licences=LICENCES,
    recipe="test",
    arguments={"steps": 15},
)


def discs(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Crops (N, 64, 64, 3) RGB with a disc of its own colour at each of 14 joints, and the joints (N, 14, 2)."""
    random = np.random.default_rng(seed)
    joints = random.uniform(6, 57, (count, 14, 2)).astype(np.float32)
    crops = np.kron(random.integers(96, 160, (count, 8, 8, 3)), np.ones((1, 8, 8, 1))).astype(np.uint8)
    hues = np.array([[(k * 180 / 14, 255, 255 if k % 2 else 140) for k in range(14)]], np.uint8)
    colours = cv2.cvtColor(hues, cv2.COLOR_HSV2RGB)[0].tolist()
    for crop, points in zip(crops, joints, strict=True):
        for colour, (x, y) in zip(colours, points.round().astype(int).tolist(), strict=True):
            cv2.circle(crop, (x, y), 4, colour, -1)
    return crops, joints


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The checkpoint of an hourglass that looks at its input: fifteen steps on discs."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    network = registry.build(SPEC.model, len(LSP14)).train()
    optimiser = torch.optim.Adam(network.parameters(), 3e-3)
    crops, joints = (torch.from_numpy(a) for a in discs(240, 0))
    for i in range(0, 240, 16):
        targets, _ = codec(SPEC.codec).encode(joints[i : i + 16], torch.ones(16, 14))
        loss = ((network(normalise(crops[i : i + 16], SPEC))[:, -1] - targets) ** 2).mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    path = tmp_path_factory.mktemp("trained") / "small.safetensors"
    checkpoint.save(path, network, SPEC)
    return path


@pytest.fixture(scope="module")
def exported(trained: Path) -> tuple[Path, Parity]:
    out = trained.with_suffix(".onnx")
    return out, export(trained, out, crops=discs(32, 1)[0])


class Pool(nn.Module):
    """(B, 3, 64, 64) to fourteen mixtures of the colours, pooled to (B, 1, 14, 16, 16): a network that
    exports in a second.
    """

    def __init__(self, joints: int) -> None:
        super().__init__()
        mixture = torch.from_numpy(np.random.default_rng(0).normal(size=(joints, 3, 1, 1)).astype(np.float32))
        self.mixture = nn.Parameter(mixture)

    def forward(self, images: Tensor) -> Tensor:
        return nn.functional.avg_pool2d(nn.functional.conv2d(images, self.mixture), 4)[:, None]


def own_family(monkeypatch: pytest.MonkeyPatch, name: str, build: Callable[[int], nn.Module]) -> None:
    """Registers a network that `build` makes for so many joints."""
    family = Family(name, lambda variant, joints, size: build(joints), name, name)
    monkeypatch.setitem(registry.FAMILIES, name, family)


@pytest.fixture
def pool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    own_family(monkeypatch, "pool", Pool)
    return tmp_path / "pool.safetensors"


def run(model: Path, crops: np.ndarray) -> dict[str, np.ndarray]:
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    return dict(
        zip((o.name for o in session.get_outputs()), session.run(None, {"crops": crops}), strict=True)
    )


def torch_says(path: Path, crops: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """PyTorch's joints and scores, its input normalised by numpy: what the file must say."""
    network, spec = checkpoint.load(path)
    ordered = crops[..., ::-1] if spec.colour == "bgr" else crops
    images = ((ordered / 255 - spec.mean) / spec.std).transpose(0, 3, 1, 2).astype(np.float32)
    with torch.no_grad():
        xy, score = codec(spec.codec).decode(network(torch.from_numpy(images))[:, -1])
    return xy.numpy(), score.numpy()


@pytest.mark.slow
@pytest.mark.parametrize("batch", [1, 5])
def test_the_file_predicts_what_the_network_predicts(
    trained: Path, exported: tuple[Path, Parity], batch: int
):
    crops = discs(batch, 2)[0]
    said, (xy, score) = run(exported[0], crops), torch_says(trained, crops)
    assert said.keys() == {"xy", "score"}
    np.testing.assert_allclose(said["xy"], xy, atol=0.01)
    np.testing.assert_allclose(said["score"], score, atol=1e-4)


@pytest.mark.slow
def test_parity_is_measured_on_the_given_crops(exported: tuple[Path, Parity]):
    _, found = exported
    assert (found.crops, found.source) == (32, "given")
    assert found.max_pixels < 0.01
    assert found.max_score < 1e-4
    assert found.varied > 5


@pytest.mark.slow
def test_the_spec_comes_back_from_the_file(exported: tuple[Path, Parity]):
    model = onnx.load(exported[0])
    metadata = {entry.key: entry.value for entry in model.metadata_props}
    spec = PoseSpec.from_json(metadata[KEY])
    assert codec(spec.codec) == codec(SPEC.codec)
    assert replace(spec, codec=SPEC.codec) == SPEC  # JSON has lists where the codec's fields have tuples
    assert metadata["licence"] == "code Apache-2.0, weights CC0, data drawn"
    assert metadata["skeleton"].startswith("lsp14: right_ankle, right_knee,")
    assert Network(exported[0]).spec == spec


@pytest.mark.slow
def test_the_file_has_nothing_of_the_machine_that_made_it(exported: tuple[Path, Parity]):
    content = exported[0].read_bytes()
    assert b".py" not in content
    assert str(Path(exporting.__file__).parents[1]).encode() not in content


@pytest.mark.slow
def test_the_runtime_predicts_what_torch_predicts_for_an_image(trained: Path, exported: tuple[Path, Parity]):
    drawn = discs(2, 3)[0]
    image = cv2.resize(
        np.concatenate(list(drawn), 1), (400, 200), interpolation=cv2.INTER_CUBIC
    )  # two crops side by side
    boxes = np.array([(20.0, 25.0, 170.0, 180.0), (205.5, 10.25, 390.0, 190.0)])
    pose = Network(exported[0], threads=1)(image[..., ::-1], boxes)
    crops = [Crop.from_box(box, SIZE, SPEC.padding) for box in boxes]
    xy, score = torch_says(trained, np.stack([crop.warp(image) for crop in crops]))
    expected = np.stack([crop.invert(joints) for crop, joints in zip(crops, xy, strict=True)])
    assert np.abs(pose.xy - expected).max() < 0.05
    np.testing.assert_allclose(pose.score, score, atol=1e-4)
    assert np.ptp(pose.xy[:, :, 0]) > 100  # and there is something to compare


@pytest.mark.slow
def test_a_spoilt_weight_is_found_and_nothing_is_written(
    trained: Path, exported: tuple[Path, Parity], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    spoilt = onnx.load(exported[0])
    weight = next(w for w in spoilt.graph.initializer if w.name.endswith("stacks.0.score.weight"))
    values = onnx.numpy_helper.to_array(weight).copy()
    values[3] *= -1  # the map of the left hip, upside down
    weight.CopyFrom(onnx.numpy_helper.from_array(values, weight.name))
    monkeypatch.setattr(exporting, "graph", lambda deployed: spoilt)
    out = tmp_path / "spoilt.onnx"
    with pytest.raises(
        ParityError,
        match=r"small\.safetensors.*spoilt\.onnx was not written.*of 448 joints are off by more than 0\.05 px, the worst by \d",
    ):
        export(trained, out, crops=discs(32, 1)[0])
    assert list(tmp_path.iterdir()) == []

    out.write_bytes(b"an earlier file")
    with pytest.raises(ParityError):
        export(trained, out, crops=discs(32, 1)[0])
    assert out.read_bytes() == b"an earlier file"
    assert list(tmp_path.iterdir()) == [out]


# The hourglass above has dark without softmax.
@pytest.mark.slow
@pytest.mark.parametrize(
    ("decoding", "softmax"),
    [("plain", False), ("plain", True), ("quarter", False), ("quarter", True), ("dark", True)],
)
def test_every_decoding_is_in_the_graph(
    pool: Path, decoding: Literal["plain", "quarter", "dark"], softmax: bool
):
    spec = replace(SPEC, model="pool-", codec=Heatmap(SIZE, decoding=decoding, softmax=softmax).fields())
    checkpoint.save(pool, Pool(14), spec)
    out = pool.with_suffix(".onnx")
    found = export(pool, out, crops=discs(40, 1)[0])
    assert found.crops == 40
    for batch in (1, 5):
        crops = discs(batch, 2)[0]
        said, (xy, score) = run(out, crops), torch_says(pool, crops)
        np.testing.assert_allclose(said["xy"], xy, atol=0.01)
        np.testing.assert_allclose(said["score"], score, atol=1e-4)
    assert json.loads(onnx.load(out).metadata_props[0].value)["codec"]["decoding"] == decoding


def test_a_raw_file_gives_maps_that_its_own_codec_reads(pool: Path):
    spec = replace(SPEC, model="pool-", codec=Heatmap(SIZE, softmax=True).fields())
    checkpoint.save(pool, Pool(14), spec)
    out = pool.with_suffix(".onnx")
    export(pool, out, raw=True, crops=discs(32, 1)[0])
    crops = discs(2, 2)[0]
    said, (xy, _) = run(out, crops), torch_says(pool, crops)
    assert said.keys() == {"maps"}
    assert said["maps"].shape == (2, 14, 16, 16)
    np.testing.assert_allclose(
        said["maps"].sum((2, 3)), 2 * np.pi * 2.0**2, rtol=1e-4
    )  # a softmax in units of a Gaussian of sigma 2
    written = PoseSpec.from_json({e.key: e.value for e in onnx.load(out).metadata_props}[KEY])
    assert written.outputs == ("maps",)
    np.testing.assert_allclose(
        codec(written.codec).decode(torch.from_numpy(said["maps"]))[0].numpy(), xy, atol=0.01
    )


def test_half_floats_are_half_the_file_and_predict_nearly_the_same(
    trained: Path, exported: tuple[Path, Parity], tmp_path: Path
):
    out = tmp_path / "half.onnx"
    found = export(trained, out, crops=discs(32, 3)[0], half=True)
    assert found.max_pixels < 0.5
    assert (
        out.stat().st_size < 0.7 * exported[0].stat().st_size
    )  # the graph itself is a third of so small a file
    kinds = {t.name: t.data_type for t in onnx.load(out).graph.initializer}
    assert {kind for name, kind in kinds.items() if name.endswith("_half")} == {onnx.TensorProto.FLOAT16}


def test_without_crops_the_source_is_synthetic(pool: Path):
    checkpoint.save(
        pool, Pool(14), replace(SPEC, model="pool-", codec=Heatmap(SIZE, decoding="plain").fields())
    )
    assert export(pool, pool.with_suffix(".onnx")).source == "synthetic"


def test_crops_that_do_not_fit_are_refused(pool: Path):
    checkpoint.save(pool, Pool(14), replace(SPEC, model="pool-"))
    with pytest.raises(ValueError, match=r"expected uint8 \(N, 64, 64, 3\)"):
        export(pool, pool.with_suffix(".onnx"), crops=np.zeros((32, 32, 32, 3), np.uint8))
    with pytest.raises(ValueError, match="is the checkpoint itself"):
        export(pool, pool)


def test_the_last_stack_is_the_output():
    class Two(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            maps = images.new_zeros(len(images), 2, 14, 16, 16)
            maps[:, 0, :, 1, 1], maps[:, 1, :, 15, 15] = 1, 1
            return maps

    spec = replace(SPEC, codec=Heatmap(SIZE, decoding="plain").fields())
    xy, _ = Deployed(Two(), spec)(torch.zeros(1, 64, 64, 3, dtype=torch.uint8))
    assert xy == pytest.approx(63)


TALL = (192, 256)  # (W, H), as most networks for people have it


class Sums(nn.Module):
    """(B, 3, 256, 192) to the bins of SimCC: fourteen mixtures of the colours, summed over rows and over
    columns, each sum in two bins.
    """

    def __init__(self, joints: int) -> None:
        super().__init__()
        self.mixture = Pool(joints).mixture

    def forward(self, images: Tensor) -> Tensor:
        mixed = 20 * nn.functional.conv2d(images, self.mixture)
        smooth = (
            nn.functional.avg_pool1d(line, 15, stride=1, padding=7, count_include_pad=False)
            for line in (mixed.mean(2), mixed.mean(3))
        )
        return torch.cat([line.repeat_interleave(2, -1) for line in smooth], -1)[:, None]


class Numbers(nn.Module):
    """(B, 3, 256, 192) to five numbers a joint, from the mean colour of a corner."""

    def __init__(self, joints: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(
            torch.from_numpy(np.random.default_rng(0).normal(size=(3, joints * 5)).astype(np.float32))
        )

    def forward(self, images: Tensor) -> Tensor:
        numbers = (images[:, :, :40, :40].mean((2, 3)) @ self.weight).view(images.shape[0], 1, -1, 5)
        return torch.cat(
            [numbers[..., :2].sigmoid(), nn.functional.softplus(numbers[..., 2:4]), numbers[..., 4:]], -1
        )


@pytest.mark.slow
@pytest.mark.parametrize(
    ("how", "network"),
    [
        (SimCC(TALL), Sums),
        (SimCC(TALL, decoding="plain", unbiased=False), Sums),
        (Coordinates(TALL), Numbers),
    ],
    ids=["simcc", "simcc-plain", "coordinates"],
)
def test_other_codecs_export_alike(
    how: Codec, network: type[nn.Module], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    own_family(monkeypatch, "stub", network)
    path = tmp_path / "stub.safetensors"
    checkpoint.save(path, network(14), replace(SPEC, model="stub-", codec=how.fields(), size=TALL))
    with pytest.raises(
        ValueError,
        match=r"stub-: --raw gives heatmaps, but a network with the codec (simcc|coordinates) has none",
    ):
        export(path, path.with_suffix(".onnx"), raw=True)
    assert not path.with_suffix(".onnx").exists()
    found = export(path, path.with_suffix(".onnx"))
    assert found.compared == 32 * 14
    for batch in (1, 5):
        crops = parity.synthetic(TALL, batch, seed=7)
        said, (xy, score) = run(path.with_suffix(".onnx"), crops), torch_says(path, crops)
        assert said.keys() == {"xy", "score"}
        np.testing.assert_allclose(said["xy"], xy, atol=0.01)
        np.testing.assert_allclose(said["score"], score, atol=1e-4)
    spec = PoseSpec.from_json(
        {e.key: e.value for e in onnx.load(path.with_suffix(".onnx")).metadata_props}[KEY]
    )
    assert codec(spec.codec) == how
    assert Network(path.with_suffix(".onnx")).spec == spec


class Bins(Sums):
    """The same, and in 3D the sums over rows again, stretched over 150 bins three times."""

    def forward(self, images: Tensor) -> Tensor:
        bins = super().forward(images)[:, 0]
        space = nn.functional.interpolate(bins[..., : 2 * TALL[0]], 150, mode="linear")
        return torch.cat([bins, space, space.flip(-1), space.roll(40, -1)], -1)[:, None]


class Locations(Pool):
    """(B, 3, 256, 192) to fourteen mixtures of the colours at stride 8, and six fields under each that differ
    from place to place.
    """

    def forward(self, images: Tensor) -> Tensor:
        maps = nn.functional.avg_pool2d(nn.functional.conv2d(images, self.mixture), 8)
        fields = torch.linspace(-1, 1, maps.shape[-1])[None, None] * torch.linspace(-1, 1, maps.shape[-2])[
            :, None
        ] + 0.1 * maps.unsqueeze(2)
        return torch.cat([maps.unsqueeze(2), fields.expand(-1, -1, 6, -1, -1)], 2)[:, None]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("how", "network"),
    [(SimCC3D(TALL), Bins), (LocationMap(TALL), Locations)],
    ids=["simcc3d", "location_map"],
)
def test_a_3d_codec_exports_metres_too(
    how: Codec, network: type[nn.Module], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    own_family(monkeypatch, "stub", network)
    path = tmp_path / "stub.safetensors"
    checkpoint.save(path, network(14), replace(SPEC, model="stub-", codec=how.fields(), size=TALL))
    with pytest.raises(ValueError, match=r"stub-: --raw gives heatmaps.*export it without --raw"):
        export(path, path.with_suffix(".onnx"), raw=True)
    assert not path.with_suffix(".onnx").exists()
    found = export(path, path.with_suffix(".onnx"))
    assert found.compared > 300
    assert found.max_mm is not None
    assert found.max_mm < 0.1
    for batch in (1, 5):
        crops = parity.synthetic(TALL, batch, seed=7)
        said = run(path.with_suffix(".onnx"), crops)
        trained, spec = checkpoint.load(path)
        with torch.no_grad():
            expected = read(how, trained(normalise(torch.from_numpy(crops), spec))[:, -1])
        assert list(said) == ["xy", "score", "xyz"]
        for part, wanted, most in zip(said.values(), expected, (0.01, 1e-4, 1e-4), strict=True):
            assert part.shape == wanted.shape
            np.testing.assert_allclose(part, wanted.numpy(), atol=most)
    assert np.ptp(said["xyz"], 0).max() > 0.1  # and there is something to compare
    spec = PoseSpec.from_json(
        {e.key: e.value for e in onnx.load(path.with_suffix(".onnx")).metadata_props}[KEY]
    )
    assert spec.outputs == ("xy", "score", "xyz")
    assert codec(spec.codec) == how
    assert Network(path.with_suffix(".onnx")).spec == spec


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", [registry.smallest("movnect-medium"), registry.smallest("simcc3d-mobilenetv2")]
)
def test_3d_networks_export(name: str):
    torch.manual_seed(0)
    size = (64, 64)
    how = codec({"name": registry.codec_of(name), "size": size})
    deployed = Deployed(
        registry.build(name, 14, size), replace(SPEC, model=name, codec=how.fields(), size=size)
    ).eval()
    model = onnxruntime.InferenceSession(exporting.graph(deployed).SerializeToString())
    for count in (1, 3):  # two were exported
        crops = np.random.default_rng(count).integers(0, 256, (count, 64, 64, 3), np.uint8)
        with torch.no_grad():
            expected = deployed(torch.from_numpy(crops))
        found = model.run(None, {"crops": crops})
        assert [part.shape for part in found] == [(count, 14, 2), (count, 14), (count, 14, 3)]
        near = (
            np.abs(found[0] - expected[0].numpy()).max(-1) < 0.05
        )  # a random network's maps may have equal peaks
        assert near.mean() > 0.9
        np.testing.assert_allclose(found[2][near], expected[2].numpy()[near], atol=1e-3)
