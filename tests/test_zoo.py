"""The zoo: a network made here under a name of its own, and what is said of those that ship."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from poseling import zoo
from poseling.cli import main
from poseling.evaluate.shipped import Shipped, shipped
from poseling.onnx_session import metadata, open_session
from poseling.runtime import Detector, Network
from poseling.skeleton import Skeleton
from poseling.spec import KEY, PoseSpec
from poseling.teachers.load import load

MB = 1 << 20
ENTRY = zoo.Entry(
    file="poseling-n.onnx",
    sha256="",
    size=(40, 30),
    skeleton="one",
    parameters=2_300_000,
    use="research",
    code="Apache-2.0",
    start="MoveNet Lightning, Apache-2.0",
    teacher="MoveNet Thunder, Apache-2.0",
    images={"LSP": "Flickr photos, no licence stated: research", "exercises": "Unlicense"},
    command="python benchmarks/family.py n --from start.safetensors --budget 2h",
)
SCORES = (
    zoo.Score("LSP test, boxes times 1.25, one pass", "PCK@0.2", 0.8812, 0.0061),
    zoo.Score("LSP test", "PCK@0.1", 0.7012, 0.008),
)
CARD = zoo.Card(SCORES, 0.48, "2026-11-27", "python benchmarks/peers.py")


@pytest.fixture
def filled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A zoo with one network, whose one joint is at (10, 5) of whatever it sees; its file."""
    spec = PoseSpec("fixed", Skeleton("one", ("nose",), (0,)), {"name": "fixed"}, (40, 30), padding=1.0)
    answers = [("xy", np.float32([[[10, 5]]])), ("score", np.float32([[0.75]]))]
    graph = helper.make_graph(
        [
            helper.make_node("Constant", [], [name], value=onnx.numpy_helper.from_array(value))
            for name, value in answers
        ],
        "fixed",
        [helper.make_tensor_value_info("crops", TensorProto.UINT8, ["N", 30, 40, 3])],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, value.shape) for name, value in answers],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    helper.set_model_props(model, {KEY: spec.to_json()})
    file = tmp_path / "weights" / ENTRY.file
    file.parent.mkdir()
    file.write_bytes(model.SerializeToString())
    entry = zoo.Entry(**{**vars(ENTRY), "sha256": hashlib.sha256(file.read_bytes()).hexdigest()})
    (tmp_path / "cards.json").write_text("{}")
    monkeypatch.setattr(zoo, "ENTRIES", {"poseling-n": entry})
    monkeypatch.setattr(zoo, "WEIGHTS", file.parent)
    monkeypatch.setattr(zoo, "CARDS", tmp_path / "cards.json")
    zoo.path.cache_clear()
    yield file
    zoo.path.cache_clear()


def refused(capsys: pytest.CaptureFixture[str], *command: str) -> str:
    """The one line of a command that goes wrong."""
    with pytest.raises(SystemExit):
        main(list(command))
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    return err


def test_a_name_goes_where_a_file_does(filled: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    black = np.zeros((30, 40, 3), np.uint8)
    for network in (Network(), Network("poseling-n"), Network(Path("poseling-n")), Network(filled)):
        np.testing.assert_allclose(network(black).xy, [[[10, 5]]], atol=1e-4)
    assert (Network().name, Network().licence) == ("poseling-n", "for research only")
    assert isinstance(shipped("poseling-n"), Shipped)
    cv2.imwrite(str(tmp_path / "photo.png"), black)
    main(["track", str(tmp_path / "photo.png"), "--out", str(tmp_path / "drawn.png")])
    assert (
        " ".join(capsys.readouterr().out.split())
        == f"1 frame: {tmp_path}/drawn.png, by poseling-n (for research only) on cpu"
    )
    assert cv2.imread(str(tmp_path / "drawn.png")).any()


def test_a_file_with_a_shipped_networks_name_has_its_own_licence(tmp_path: Path):
    """poseling-n under the name of the one that is for any use."""
    copy = tmp_path / "poseling-n-free.onnx"
    copy.write_bytes(zoo.path("poseling-n").read_bytes())
    assert Network(copy).name == "poseling-n-free"
    assert "any use" not in Network(copy).licence
    assert "research" in Network(copy).licence


@pytest.mark.slow
def test_a_shipped_network_goes_to_other_runtimes_and_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.chdir(tmp_path)
    main(["export", "poseling-n", "--to", "onnx"])
    made = json.loads((tmp_path / "poseling-n-targets" / "report.json").read_text())
    assert made
    main(["import", "poseling-n"])
    assert load("poseling-n.safetensors").size == load("poseling-n").size == (128, 160)
    capsys.readouterr()
    assert "poseling-n: is an ONNX file already" in refused(capsys, "export", "poseling-n")


def test_names_that_there_are_not(filled: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    cv2.imwrite(str(tmp_path / "photo.png"), np.zeros((30, 40, 3), np.uint8))
    there = "is neither a file nor a network of the zoo; the zoo has poseling-n"
    for call in (Network, load):
        with pytest.raises(ValueError, match=f"poseling-x: {there}"):
            call("poseling-x")
    assert there in refused(capsys, "track", str(tmp_path / "photo.png"), "--model", "poseling-x")
    assert "poseling-x: is no network of the zoo; the zoo has poseling-n" in refused(
        capsys, "models", "poseling-x"
    )
    assert there in refused(capsys, "evaluate", "poseling-x", "--data", "mini")
    with pytest.raises(ValueError, match="leave out the adapter 'movenet'"):
        load("poseling-n", "movenet")


def test_a_damaged_file_is_found_once_a_process_and_a_missing_one_named(
    filled: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
):
    cv2.imwrite(str(tmp_path / "photo.png"), np.zeros((30, 40, 3), np.uint8))
    whole = filled.read_bytes()
    filled.write_bytes(whole[:-1] + b"x")
    assert "poseling-n: its file" in (line := refused(capsys, "track", str(tmp_path / "photo.png")))
    assert "is damaged, its SHA-256 is another; install poseling again (the zoo's others: none)" in line
    filled.write_bytes(whole)
    assert zoo.path("poseling-n") == filled
    filled.unlink()
    assert zoo.path("poseling-n") == filled  # it was right once
    zoo.path.cache_clear()
    with pytest.raises(
        FileNotFoundError, match=r"poseling-n: its file .* is not there; install poseling again"
    ):
        zoo.path("poseling-n")


def test_the_card_and_the_table(filled: Path, capsys: pytest.CaptureFixture[str]):
    main(["models", "poseling-n"])
    assert "nothing yet" in capsys.readouterr().out
    zoo.record("poseling-n", CARD)
    assert zoo.cards() == {"poseling-n": CARD}
    main(["models", "poseling-n"])
    card = capsys.readouterr().out
    assert card.splitlines()[0] == "poseling-n, for research only"
    for line in (
        "  input       40 x 30 pixels",
        "  parameters  2.3 million",
        "  teacher     MoveNet Thunder, Apache-2.0",
        "  images      exercises: Unlicense",
        "  PCK@0.2     0.881 +- 0.006 on LSP test, boxes times 1.25, one pass",
        "  time        0.48 of MoveNet Lightning's, in turns on one thread",
        "              python benchmarks/family.py n --from start.safetensors --budget 2h",
    ):
        assert line in card.splitlines()
    main(["models"])
    table = capsys.readouterr().out
    assert table.splitlines()[:2] == [
        "name                 input         M   time   score  use",
        "poseling-n           40x30       2.3   0.48   0.881  for research only",
    ]
    assert "score: PCK@0.2 on LSP test, boxes times 1.25, one pass" in table
    assert max(len(line) for line in (card + table).splitlines()) <= 80
    with pytest.raises(ValueError, match="poseling-x: is no network of the zoo"):
        zoo.record("poseling-x", CARD)
    zoo.CARDS.write_text('{"poseling-n": {"scores": [{"value": 1}]}}')
    assert "cards.json: is damaged" in refused(capsys, "models")


def test_an_empty_zoo_has_a_message(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(zoo, "ENTRIES", {})
    assert zoo.table() == "No network is in this copy of poseling."
    with pytest.raises(
        ValueError, match="poseling-n: is neither a file nor a network of the zoo; the zoo has none yet"
    ):
        Network()


@pytest.mark.parametrize(
    "name", zoo.ENTRIES or [pytest.param("", marks=pytest.mark.skip("no network ships yet"))]
)
def test_shipped_files_agree_with_their_entries(name: str):
    entry, file = zoo.ENTRIES[name], zoo.path(name)  # the right SHA-256
    assert file.stat().st_size <= 6 * MB
    if entry.skeleton:
        spec = PoseSpec.from_json(metadata(open_session(file), file)[KEY])
        assert (spec.size, spec.skeleton.name) == (entry.size, entry.skeleton)
    else:
        assert Detector(name).size == entry.size
    stored = sum(
        int(np.prod(tensor.dims))
        for tensor in onnx.load(file).graph.initializer
        if tensor.data_type in (1, 10)
    )
    assert stored == pytest.approx(entry.parameters, rel=0.05)
    assert zoo.cards()[name].scores
    assert entry.command
    assert entry.images


def test_the_weights_are_few_and_all_have_an_entry():
    files = [path for path in zoo.WEIGHTS.rglob("*") if path.is_file()]
    assert {path.name for path in files if path.suffix == ".onnx"} == {
        entry.file for entry in zoo.ENTRIES.values()
    }
    assert sum(path.stat().st_size for path in files) <= 30 * MB
    assert set(json.loads(zoo.CARDS.read_text())) <= set(zoo.ENTRIES)


@pytest.mark.shared
@pytest.mark.slow
def test_a_network_of_the_zoo_teaches_and_learns(
    shared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """An exported network comes back as one that has heatmaps, and as one that is trained on, in other
    joints.
    """
    import torch

    from poseling.export.onnx import export
    from poseling.models import checkpoint, start
    from poseling.models.importers.onnx import from_onnx
    from poseling.skeleton import BODY19, COCO17

    made = from_onnx(shared / "peers" / "movenet-lightning.onnx")
    checkpoint.save(tmp_path / "made.safetensors", made.network, made.spec)
    (tmp_path / "weights").mkdir()
    file = tmp_path / "weights" / "poseling-n.onnx"
    export(tmp_path / "made.safetensors", file)
    entry = zoo.Entry(**{**vars(ENTRY), "sha256": hashlib.sha256(file.read_bytes()).hexdigest()})
    monkeypatch.setattr(zoo, "ENTRIES", {"poseling-n": entry})
    monkeypatch.setattr(zoo, "WEIGHTS", file.parent)
    zoo.path.cache_clear()
    teacher = load("poseling-n")
    assert (teacher.name, teacher.skeleton, teacher.map_size) == ("poseling-n", COCO17, (48, 48))
    crops = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (2, 192, 192, 3), np.uint8))
    there, answer = Shipped(Network("poseling-n"))(crops), teacher(crops)
    sure = answer.score > 0.05
    assert (there.xy - answer.xy)[sure].abs().max() < 0.05
    assert start.is_file("poseling-n")
    assert start.codec_of("poseling-n") == "heatmap"
    student = start.build("poseling-n", BODY19, (128, 160))
    assert student(torch.zeros(1, 3, 160, 128)).shape == (1, 1, 19, 40, 32)
    zoo.path.cache_clear()
