"""`poseling compress`, whole, on a network of nine layers and forty drawn images; and what it says of bad
input.
"""

from __future__ import annotations

import copy
import json
import sys
from dataclasses import fields, replace

import cv2
import numpy as np
import onnx
import pytest
import torch
from safetensors import safe_open

from poseling.cli import main
from poseling.codecs import CODECS
from poseling.compress import command
from poseling.compress.command import Settings, compress, exported
from poseling.compress.judge import Accuracy
from poseling.compress.quantize import plan, quantised, ranges
from poseling.compress.repair import Lesson, loss_of, repaired
from poseling.evaluate.cost import cost
from poseling.licences import behind, merged
from poseling.models import checkpoint
from poseling.runtime import Network
from poseling.teachers.network import NetworkTeacher


@pytest.fixture
def model(network, spec, tmp_path):
    with torch.no_grad():
        network.layers["maps"].weight *= 60  # sure of itself
    checkpoint.save(tmp_path / "net.safetensors", network, spec)
    return tmp_path / "net.safetensors"


@pytest.fixture
def root(tmp_path, monkeypatch):
    """Forty soft images without labels."""
    monkeypatch.setattr(command, "FEWEST", 3)
    monkeypatch.setattr(command, "MULTIPLE", 4)
    folder = tmp_path / "images"
    folder.mkdir()
    random = np.random.default_rng(0)
    for i in range(40):
        soft = cv2.resize(
            random.integers(0, 256, (6, 5, 3), np.uint8), (40, 60), interpolation=cv2.INTER_CUBIC
        )
        cv2.imwrite(str(folder / f"{i:02d}.png"), soft)
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("scores", [(0.5, 0.6), (0.5, 0.4)], ids=["better", "worse"])
def test_channels_are_equalised_where_the_validation_people_say_so(
    model, root, tmp_path, monkeypatch, scores
):
    answers = iter([1.0, *scores, 1.0])  # of the original, int8 without and with it, and what comes out
    monkeypatch.setattr(command.Judge, "file", lambda *_: Accuracy(x := next(answers), x))
    done = compress(
        str(model), tmp_path / "out", Settings(quantise="int8", calibrate=16), ("images",), (root,)
    )
    told = [note for note in done.notes if note.startswith("channels are equalised")]
    assert told == [
        "channels are equalised, which is better in int8 for the validation people: PCK 0.600 and 0.600 "
        "instead of 0.500 and 0.500"
    ] * (scores[1] > scores[0])


@pytest.mark.slow
def test_all_of_it_in_a_row(model, root, tmp_path):
    out = tmp_path / "out"
    settings = Settings(prune=0.3, low_rank=0.9, quantise="int8", epochs=0.6, batch=8, calibrate=16)
    done = compress(str(model), out, settings, ("images",), (root,))
    names = [p.name for p in done.points]
    assert names == ["original", "pruned", "lowrank", "int8"]
    assert done.points[0].pck == 1.0  # of itself
    assert "against the original's answers" in done.measured
    gmac = [p.gmac for p in done.points]
    assert gmac[1] <= 0.7 * gmac[0]
    assert gmac[2] <= 0.9 * gmac[1] * 1.001
    smaller, spec = checkpoint.load(out / "net-pruned.safetensors")
    assert cost(smaller, spec.size).gmac == pytest.approx(gmac[1])
    assert Network(done.file, threads=1).spec.skeleton == spec.skeleton
    told = json.loads((out / "report.json").read_text())
    assert [p["name"] for p in told["points"]] == names
    assert (out / "pareto.png").read_bytes()[:4] == b"\x89PNG"
    assert "| int8" in (out / "report.md").read_text()


@pytest.mark.slow
def test_a_smaller_input_learns_from_the_larger(model, root, tmp_path):
    out = tmp_path / "out"
    settings = Settings(size=(24, 36), epochs=1.0, batch=8, labels=tmp_path / "labels")
    done = compress(str(model), out, settings, ("images",), (root,))
    original, resized, *learnt = done.points
    assert original.pck == 1.0
    assert resized.gmac == pytest.approx(original.gmac * (24 * 36) / (32 * 48), rel=0.02)
    assert [p.name for p in learnt] in ([], ["repaired"], ["cropped"], ["repaired", "cropped"])
    _, spec = checkpoint.load(out / "net-resized.safetensors")
    assert (spec.size, spec.codec["size"]) == ((24, 36), [24, 36])
    # The original was asked at its own size, about the mirrored image too.
    (manifest,) = (tmp_path / "labels").glob("*/manifest.json")
    told = json.loads(manifest.read_text())
    assert (told["size"], told["flip"]) == ([32, 48], True)
    # Asked once: a second training of other steps finds all predictions in the store.
    parts = sorted((tmp_path / "labels").glob("*/*.parquet"))
    settings = Settings(size=(24, 36), prune=0.3, epochs=0.6, batch=8, labels=tmp_path / "labels")
    compress(str(model), tmp_path / "again", settings, ("images",), (root,))
    assert sorted((tmp_path / "labels").glob("*/*.parquet")) == parts


@pytest.mark.slow
def test_the_padding_that_is_best_for_the_validation_people(model, root, tmp_path, monkeypatch):
    def network(self, network, spec):
        return Accuracy(pck=1.0 - abs(spec.padding - 1.1), strict=0.5)

    monkeypatch.setattr(command.Judge, "network", network)
    done = compress(str(model), tmp_path / "out", Settings(size=(24, 36), epochs=0.0), ("images",), (root,))
    assert [p.name for p in done.points] == ["original", "resized", "cropped"]
    assert checkpoint.load(tmp_path / "out" / "net-cropped.safetensors")[1].padding == 1.1
    assert done.file.name == "net-cropped.onnx"
    assert any("padded by 1.1 instead of 1.25" in note for note in done.notes)


def test_sizes_that_cannot_be(model, root, tmp_path):
    for size, told in (
        ((64, 48), "has to be width and height of a smaller input than the network's, which is 32x48"),
        ((0, 48), "smaller input"),
        ((30, 45), "is not a multiple of the heatmap's stride 4"),
    ):
        with pytest.raises(ValueError, match=f"--size {size[0]} {size[1]}: .*{told}"):
            compress(str(model), tmp_path / "out", Settings(size=size), ("images",), (root,))


@pytest.mark.slow
def test_labels_alone_are_learnt_where_there_are_any(network, spec, tmp_path, root):
    dataset, _, _ = command.dataset(("images",), (root,), spec, 300)
    joints = dataset.joints + np.array([[[20.0, 30.0]]], np.float32)
    visible = np.zeros_like(dataset.visible)
    visible[:5] = 2
    some = replace(dataset, joints=joints, visible=visible)
    teacher = NetworkTeacher(copy.deepcopy(network), spec, "whole", "0")
    lesson = Lesson(epochs=2, batch=5, labels=1.0)
    repaired(network, spec, teacher, some, tmp_path / "run", tmp_path / "labels", lesson)
    assert not (tmp_path / "labels").exists()  # nobody was asked
    state = json.loads(safe_open(tmp_path / "run" / "state.safetensors", "np").metadata()["settings"])
    assert state["people"] == 5


@pytest.mark.slow
def test_a_target_in_gmac(model, root, tmp_path, network, spec):
    wanted = 0.6 * cost(network, spec.size).gmac
    settings = Settings(target_gmac=wanted, epochs=0.0, importance="magnitude")
    done = compress(str(model), tmp_path / "out", settings, ("images",), (root,))
    assert 0.4 * wanted < done.points[-1].gmac <= wanted


@pytest.mark.slow
def test_a_target_that_is_met_already_takes_nothing_away(model, root, tmp_path, network, spec):
    wanted = 1.01 * cost(network, spec.size).gmac
    done = compress(
        str(model), tmp_path / "out", Settings(target_gmac=wanted, epochs=0.0), ("images",), (root,)
    )
    assert [p.name for p in done.points] == ["original"]
    assert "the target is reached without pruning" in done.notes


@pytest.mark.slow
def test_the_contract_names_what_it_was_repaired_on(model, root, tmp_path, monkeypatch, spec):
    monkeypatch.setattr(command.Judge, "network", lambda *_: Accuracy(1.0, 1.0))  # so that repairs are kept
    given = checkpoint.load(model)[1].licences
    compress(str(model), tmp_path / "out", Settings(prune=0.2, epochs=0.2, batch=8), ("images",), (root,))
    told = checkpoint.load(tmp_path / "out" / "net-pruned.safetensors")[1].licences
    learnt_from = command.dataset(("images",), (root,), spec, 300)[0].licence
    assert told["data"] == merged(behind(given), learnt_from)
    assert told["start"].startswith("net")
    compress(str(model), tmp_path / "bare", Settings(prune=0.2, epochs=0.0), ("images",), (root,))
    assert checkpoint.load(tmp_path / "bare" / "net-pruned.safetensors")[1].licences == given


def test_a_share_of_labels_needs_some(model, root, tmp_path):
    settings = Settings(prune=0.2, labels_share=0.5)
    with pytest.raises(ValueError, match=r"--labels-share 0\.5: .* has no labels"):
        compress(str(model), tmp_path / "out", settings, ("images",), (root,))


@pytest.mark.parametrize("name", CODECS)
def test_logits_are_compared_as_distributions(name, spec):
    known = {field.name for field in fields(CODECS[name])}
    for softmax in (True, False):
        if "softmax" in known:
            given = CODECS[name]((64, 64), softmax=softmax)
            assert loss_of(replace(spec, codec=given.fields(), size=(64, 64))) == ("kl" if softmax else "mse")


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        ({}, "nothing to do: give --size, --prune"),
        ({"prune": 1.0}, "--prune 1: is the part of the work that goes"),
        ({"prune": 0.0}, "--prune 0: is the part"),
        ({"low_rank": 0.0}, "rank 0 would be no layer at all"),
        ({"target_ms": -1.0}, "--target-ms -1: has to be above 0"),
        ({"target_ms": 1.0, "target_gmac": 1.0}, "two targets; give one"),
        ({"prune": 0.5, "target_ms": 1.0}, "give one of them"),
        ({"prune": 0.5, "rounds": 0}, "--rounds 0"),
        ({"prune": 0.5, "rounds": 100_000}, "--rounds 100000: has to be 1 or more, and at most 100"),
        ({"prune": 0.5, "epochs": -1.0}, "--epochs"),
        ({"prune": 0.5, "epochs": float("nan")}, "--epochs"),
        ({"prune": 0.5, "labels_share": 7.0}, "--labels-share 7: is a part, from 0 to 1"),
        ({"prune": 0.5, "learning_rate": float("nan")}, "--learning-rate nan: has to be above 0"),
        ({"prune": 0.5, "batch": 0}, "--batch 0"),
        ({"quantise": "int8", "calibrate": 0}, "--calibrate 0"),
        ({"quantise": "int8", "calibrate": 7}, "--calibrate 7: int8 needs 8 crops at least"),
        ({"quantise": "fp16", "qat_epochs": 1.0}, "--qat-epochs trains for --quantise int8 or int4"),
        ({"quantise": "fp16", "rounds": 2}, "--rounds divides the pruning"),
        ({"prune": 0.5, "judge": -1}, "--judge -1"),
        ({"prune": 0.5, "seed": -1}, "--seed -1"),
    ],
)
def test_settings_that_cannot_be(flags, told):
    with pytest.raises(ValueError, match=told):
        Settings(**flags)


def test_a_quantised_file_is_refused(network, spec, crops, tmp_path):
    model = exported(network, spec)
    chosen = plan(model, command.ending(model))
    onnx.save(
        quantised(model, chosen, ranges(model, chosen.tensors, crops, "minmax")), tmp_path / "small.onnx"
    )
    with pytest.raises(ValueError, match=r"small\.onnx: is quantised already .*give the float network"):
        compress(str(tmp_path / "small.onnx"), tmp_path / "out", Settings(prune=0.5))


def test_too_few_images(model, root, tmp_path, monkeypatch):
    monkeypatch.setattr(command, "FEWEST", 20)
    with pytest.raises(ValueError, match="to judge by are too few"):
        compress(str(model), tmp_path / "out", Settings(quantise="int8"), ("images",), (root,))


def test_an_operator_that_is_not_known(tmp_path):
    x = onnx.helper.make_tensor_value_info("x", 1, [1, 3, 32, 32])
    y = onnx.helper.make_tensor_value_info("y", 1, [1, 3, 32, 32])
    graph = onnx.helper.make_graph([onnx.helper.make_node("Hardmax", ["x"], ["y"])], "g", [x], [y])
    onnx.save(
        onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)]), tmp_path / "odd.onnx"
    )
    with pytest.raises(ValueError, match=r"odd\.onnx"):
        compress(str(tmp_path / "odd.onnx"), tmp_path / "out", Settings(prune=0.5))


def test_no_such_network(tmp_path):
    with pytest.raises(ValueError, match="none of the zoo"):
        compress("poseling-x", tmp_path, Settings(prune=0.5))
    with pytest.raises(FileNotFoundError):
        compress(str(tmp_path / "nothing.safetensors"), tmp_path, Settings(prune=0.5))


def test_the_command_says_it_in_one_line(capsys):
    with pytest.raises(SystemExit):
        main(["compress", "poseling-n", "--prune", "1"])
    assert "error: --prune 1: is the part of the work that goes" in capsys.readouterr().err
    assert sys.exc_info()[0] is None
