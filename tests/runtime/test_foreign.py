"""Somebody else's ONNX files in the runtime: a network made here that hands its image on, and MoveNet's."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from poseling.adapter import NAME, Adapter
from poseling.cli import main
from poseling.export.contract import with_contract
from poseling.geometry import Crop
from poseling.models.importers.onnx import from_onnx
from poseling.onnx_pose import OnnxPose
from poseling.onnx_session import open_session
from poseling.runtime import Network
from poseling.skeleton import COCO17
from poseling.spec import KEY, PoseSpec
from poseling.teachers.load import load

# A joint's x, y and score are the R, G and B of a pixel, 0..255 and 0..1.
FIELDS = {
    "skeleton": {"name": "two", "joints": ["nose", "tail"], "parents": [0, 0]},
    "padding": 1.0,
    "layout": "bhwc",
    "white": 1,
    "points": {"output": "out", "columns": 3, "normalised": True, "corner": False},
    "score": {"output": "out", "columns": 3, "column": 2},
    "licences": {"code": "MIT", "weights": "MIT", "data": "ours"},
}


@pytest.fixture
def foreign(tmp_path: Path) -> Path:
    """A network for one image of 4 x 2 at a time, that gives it back."""
    ports = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 2, 4, 3]) for name in ("in", "out")]
    graph = helper.make_graph([helper.make_node("Identity", ["in"], ["out"])], "test", ports[:1], ports[1:])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    helper.set_model_props(model, {"author": "somebody"})
    onnx.save(model, tmp_path / "foreign.onnx")
    return tmp_path / "foreign.onnx"


@pytest.fixture
def adapter(tmp_path: Path) -> Path:
    path = tmp_path / "adapter.json"
    path.write_text(json.dumps(FIELDS))
    return path


def image() -> np.ndarray:
    """(2, 4, 3) BGR: the nose at the right end of the upper row with a score of 0.8, the tail at 0.2 of the
    width and 1 of the height with 0.4.
    """
    rgb = np.zeros((2, 4, 3), np.uint8)
    rgb[0, :2] = (255, 0, 204), (51, 255, 102)
    return rgb[..., ::-1]


def right(network: Network) -> None:
    pose = network(image(), [(0, 0, 3, 1)] * 3)  # three people through a batch of one
    np.testing.assert_allclose(pose.xy, [[[3, 0], [0.6, 1]]] * 3, atol=1e-6)
    np.testing.assert_allclose(pose.score, [[0.8, 0.4]] * 3, atol=1e-6)
    assert pose.skeleton.joints == ("nose", "tail")


def test_an_adapter_feeds_and_reads_it(foreign: Path, adapter: Path):
    network = Network(foreign, adapter=str(adapter))
    right(network)
    right(Network(foreign, adapter=Adapter.from_json(adapter)))
    assert (network.spec.size, network.spec.padding, network.spec.outputs) == ((4, 2), 1.0, ("xy", "score"))
    assert (network.name, network.licence) == ("foreign", "code MIT, weights MIT, data ours")


def test_with_its_contract_it_runs_and_teaches_untold(
    tmp_path: Path, foreign: Path, adapter: Path, capsys: pytest.CaptureFixture[str]
):
    out = tmp_path / "out.onnx"
    main(["export", str(foreign), "--adapter", str(adapter), "--out", str(out)])
    assert "2 joints of two at 4x2. Try it: poseling track IMAGE --model" in capsys.readouterr().out
    right(Network(out))
    assert load(str(out)).skeleton.joints == ("nose", "tail")
    said = {entry.key: entry.value for entry in onnx.load(out).metadata_props}
    assert (said["author"], said["licence"]) == ("somebody", "code MIT, weights MIT, data ours")
    spec = PoseSpec.from_json(said[KEY])
    assert spec.codec["name"] == NAME
    assert Adapter.from_spec(spec) == Adapter.from_json(adapter)
    assert onnx.load(out).graph == onnx.load(foreign).graph
    with pytest.raises(ValueError, match=r"out\.onnx: has a contract already; it runs as it is"):
        with_contract(out, tmp_path / "again.onnx")
    with pytest.raises(ValueError, match="is the network itself and would be replaced"):
        with_contract(foreign, foreign, str(adapter))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            None,
            r"foreign\.onnx: has no PoseSpec .* so an adapter must say how to feed and read it: .* for "
            r"--adapter\. Its inputs: in tensor\(float\) \[1, 2, 4, 3\]",
        ),
        (
            {"points": {"output": "xy", "columns": 3}},
            r"foreign\.onnx: it has no output xy\. The adapter is .*adapter\.json\. Its inputs: in",
        ),
        ({"layout": "bchw"}, r"foreign\.onnx: its input is \(1, 2, 4, 3\), which is not bchw"),
        ({"skeleton": "coco17"}, r"does not hold 3 columns for each of at least 17 rows"),
        (
            {"skeleton": {"name": "none", "joints": [], "parents": []}},
            r"adapter\.json: is no adapter: its skeleton has no joints",
        ),
        ({"padding": 0}, r"adapter\.json: is no adapter: padding 0"),
    ],
)
def test_what_does_not_fit_is_one_line(
    tmp_path: Path,
    foreign: Path,
    adapter: Path,
    capsys: pytest.CaptureFixture[str],
    change: dict | None,
    message: str,
):
    adapter.write_text(json.dumps(FIELDS | (change or {})))
    with pytest.raises(ValueError, match=message):
        Network(foreign, adapter=None if change is None else str(adapter))
    cv2.imwrite(str(tmp_path / "a.png"), image())
    how = [] if change is None else ["--adapter", str(adapter)]
    for command in (
        ["track", str(tmp_path / "a.png"), "--model", str(foreign), "--json", "/dev/null"],
        ["export", str(foreign)],
    ):
        with pytest.raises(SystemExit):
            main([*command, *how])
        assert capsys.readouterr().err.count("\n") == 1


def test_an_adapter_is_for_onnx_files(
    tmp_path: Path, foreign: Path, adapter: Path, capsys: pytest.CaptureFixture[str]
):
    cv2.imwrite(str(tmp_path / "a.png"), image())
    for command, why in (
        (["export", "a.safetensors", "--adapter", "movenet"], "leave out the adapter"),
        (["export", str(foreign), "--raw"], "--raw, --half and --images are for checkpoints"),
        (
            [
                "track",
                str(tmp_path / "a.png"),
                "--json",
                "/dev/null",
                "--model",
                str(foreign),
                "--adapter",
                "posenet",
            ],
            "posenet: there is no such adapter",
        ),
    ):
        with pytest.raises(SystemExit):
            main(command)
        assert why in capsys.readouterr().err


@pytest.mark.shared
def test_movenet_runs_as_it_is(shared: Path):
    file, photo = (
        shared / "peers" / "movenet-lightning.onnx",
        cv2.imread(str(shared / "data" / "videos" / "pose.jpg")),
    )
    network = Network(file)
    assert (network.spec.size, network.spec.skeleton) == ((192, 192), COCO17)
    pose = network(photo)
    assert pose.score.mean() > 0.5
    # The same crop by itself.
    session = open_session(file, log=3)
    alone = OnnxPose(session, file)
    height, width = photo.shape[:2]
    box = (0.2 * width, 0.1 * height, 0.8 * width, 0.9 * height)
    crop = Crop.from_box(box, (192, 192), 1.2)
    said = alone(np.ascontiguousarray(crop.warp(photo)[None, ..., ::-1]))
    np.testing.assert_allclose(network(photo, [box]).xy[0], crop.invert(said.xy[0]), atol=1e-4)


@pytest.mark.shared
@pytest.mark.slow
def test_movenet_with_its_contract_is_still_a_start_for_training(shared: Path, tmp_path: Path):
    with_contract(shared / "peers" / "movenet-lightning.onnx", tmp_path / "movenet.onnx")
    start = from_onnx(tmp_path / "movenet.onnx")
    assert (start.spec.skeleton, start.spec.padding, start.spec.size) == (COCO17, 1.2, (192, 192))
    assert start.spec.codec["name"] == "heatmap"


@pytest.mark.shared
def test_a_person_who_fills_a_third_of_a_photo_is_found(shared: Path):
    photo = cv2.imread(str(shared / "data" / "lsp" / "images" / "im0860.jpg"))
    height, width = photo.shape[:2]
    around = cv2.blur(cv2.resize(photo, (3 * width, 3 * height)), (31, 31))
    around[height : 2 * height, width : 2 * width] = photo
    network = Network(shared / "peers" / "movenet-lightning.onnx")
    alone, far = network(photo), network(around)
    away = np.linalg.norm(far.xy[0] - (width, height) - alone.xy[0], axis=-1)
    assert np.median(away) < 0.05 * max(width, height)
