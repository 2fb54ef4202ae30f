"""`poseling compress`, whole, on a network of nine layers and forty drawn images; and what it says of bad
input.
"""

from __future__ import annotations

import json
import sys

import cv2
import numpy as np
import onnx
import pytest
import torch

from poseling.cli import main
from poseling.compress import command
from poseling.compress.command import Settings, compress, exported
from poseling.compress.quantize import plan, quantised, ranges
from poseling.evaluate.cost import cost
from poseling.models import checkpoint
from poseling.runtime import Network


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
def test_a_target_in_gmac(model, root, tmp_path, network, spec):
    wanted = 0.6 * cost(network, spec.size).gmac
    settings = Settings(target_gmac=wanted, epochs=0.0, importance="magnitude")
    done = compress(str(model), tmp_path / "out", settings, ("images",), (root,))
    assert 0.4 * wanted < done.points[-1].gmac <= wanted


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        ({}, "nothing to do: give --prune"),
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
