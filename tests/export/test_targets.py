"""Every runtime: what is installed here agrees with PyTorch; what is not says how it comes."""

from __future__ import annotations

import builtins
import importlib.util
import json
import subprocess
import sys

import numpy as np
import pytest
import torch

from poseling.export import parity, targets
from poseling.export.targets import TARGETS, apart, export_to, judged
from poseling.models import checkpoint
from poseling.models.graph import Graph, GraphNetwork, Operation
from poseling.skeleton import LSP14, Skeleton
from poseling.spec import PoseSpec

SIZE = (64, 64)
PACKAGES = {
    "openvino": "openvino",
    "openvino-int8": "nncf",
    "executorch": "executorch",
    "executorch-int8": "executorch",
    "litert": "litert_torch",
    "coreml": "coremltools",
}


def people(seed: int) -> np.ndarray:
    """Crops to calibrate on, or to compare."""
    return parity.synthetic(SIZE, 32, seed)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A network of two layers whose maps have hills: it finds fourteen mixtures of the colours."""
    torch.manual_seed(0)
    a = {"layer": "a", "channels": [3, 16], "kernel": [5, 5], "strides": [4, 4], "pads": [2] * 4, "dilations": [1, 1], "groups": 1, "bias": True}  # fmt: skip
    b = {**a, "layer": "b", "channels": [16, 14], "kernel": [3, 3], "strides": [1, 1], "pads": [1] * 4}
    graph = Graph(
        (
            Operation("Conv", ("x",), ("p",), a),
            Operation("Relu", ("p",), ("q",)),
            Operation("Conv", ("q",), ("y",), b),
        ),
        "x",
        "y",
    )
    network = GraphNetwork(graph).eval()
    with torch.no_grad():
        network.layers["b"].weight *= 40
    codec = {
        "name": "heatmap",
        "size": list(SIZE),
        "stride": 4,
        "sigma": 1.5,
        "decoding": "dark",
        "unbiased": True,
        "softmax": True,
    }
    path = tmp_path_factory.mktemp("model") / "net.safetensors"
    checkpoint.save(path, network, PoseSpec("graph", LSP14, codec, SIZE, mean=(0.5,) * 3, std=(0.5,) * 3))
    return path


def without(monkeypatch, *packages: str) -> None:
    real = builtins.__import__

    def missing(name, *rest, **more):
        if name.partition(".")[0] in packages:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
        return real(name, *rest, **more)

    monkeypatch.setattr(builtins, "__import__", missing)


@pytest.mark.parametrize("name", list(PACKAGES))
@pytest.mark.slow
def test_what_runs_here_agrees_with_pytorch(model, tmp_path, name):
    if importlib.util.find_spec(PACKAGES[name]) is None:
        pytest.skip(f"{PACKAGES[name]} is not installed")
    [made] = export_to(model, tmp_path, (name,), people(1), calibration=people(0))
    assert (tmp_path / made.file).exists()
    if TARGETS[name].int8:
        assert made.strict >= 0.95
        assert made.pixels > 0  # rounded, and not the float file under another name
    elif TARGETS[name].runs:
        assert made.pixels <= 0.5
        assert made.ratio > 0
    else:
        assert made.state == "converted, not run here"
        assert made.pixels is None


def test_all_of_them_with_the_reason_where_one_is_missing(model, tmp_path, monkeypatch):
    without(monkeypatch, *PACKAGES.values(), "ai_edge_litert")
    made = {one.target: one for one in export_to(model, tmp_path, ("all",), calibration=people(0))}
    assert list(made) == list(TARGETS)
    assert made["onnx"].pixels < 0.05
    for name in PACKAGES:
        assert made[name].state.startswith("not installed: ")
        assert made[name].state.endswith(f"pip install 'poseling[{TARGETS[name].extra}]'")
    assert [one["target"] for one in json.loads((tmp_path / "report.json").read_text())] == list(TARGETS)
    assert "| onnx | net.onnx | agrees with PyTorch |" in (tmp_path / "report.md").read_text()


@pytest.mark.parametrize(("name", "package"), list(PACKAGES.items()))
def test_a_target_that_is_not_installed(model, tmp_path, monkeypatch, name, package):
    without(monkeypatch, package)
    with pytest.raises(ValueError, match=rf"--to {name}: not installed: .*poseling\[{TARGETS[name].extra}\]"):
        export_to(model, tmp_path, (name,), calibration=people(0))


@pytest.mark.parametrize("name", [name for name, target in TARGETS.items() if target.int8])
def test_eight_bits_need_images(model, tmp_path, name):
    with pytest.raises(ValueError, match=rf"--to {name}: eight bits need 8 crops .* give --images"):
        export_to(model, tmp_path, (name,), people(1), calibration=people(0)[:7])


def test_nncf_reports_nothing(tmp_path):
    """Under pytest it never does, hence a process of its own."""
    if importlib.util.find_spec("nncf") is None:
        pytest.skip("nncf is not installed")
    script = (
        "import numpy as np, onnx\n"
        "from pathlib import Path\n"
        "from poseling.export.openvino import write_int8\n"
        "empty = onnx.helper.make_model(onnx.helper.make_graph([], 'empty', [], []))\n"
        "try:\n"
        "    write_int8(empty, np.zeros((8, 4, 4, 3), np.uint8), Path('out.xml'))\n"
        "except ValueError as error:\n"
        "    assert 'only networks of heatmaps' in str(error)\n"
        "import nncf.telemetry\n"
        "print(type(nncf.telemetry.telemetry).__name__)\n"
    )
    run = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=tmp_path
    )
    assert run.stdout.split() == ["MagicMock"]


def test_an_unknown_target(model, tmp_path):
    with pytest.raises(ValueError, match="--to toaster: is unknown; there is all, onnx, openvino"):
        export_to(model, tmp_path, ("toaster",))


def test_a_file_that_says_something_else_is_refused(model, tmp_path, monkeypatch):
    monkeypatch.setattr(targets, "apart", lambda truth, found: 3.0)
    with pytest.raises(ValueError, match=r"does NOT agree with PyTorch: 3 px"):
        export_to(model, tmp_path, ("onnx",))


def test_eight_bits_are_judged_by_joints_within_a_tenth_of_the_torso():
    """Two people of LSP whose torsos are 10 pixels long: what is off by more than one pixel is wrong."""
    truth = np.zeros((2, 14, 2))
    truth[:, LSP14.index("left_shoulder")] = (0, 10)
    found = truth.copy()
    found[0, 0] += (0, 0.9)
    found[0, 1] += (0, 1.1)
    found[1, 3] += (3, 4)
    strict, agrees, told = judged(truth, found, None, LSP14)
    assert strict == pytest.approx(26 / 28)
    assert not agrees  # at least 0.95
    assert told == "does NOT agree with PyTorch: PCK@0.1 0.929 against PyTorch's joints, 0.95 at least"

    # Joints that float does not see are not judged: their places are chance.
    seen = np.ones((2, 14), bool)
    seen[1, 3] = seen[0, 5] = False
    assert judged(truth, found, None, LSP14, seen)[0] == pytest.approx(25 / 26)

    # Of 20 labels float misses one, and eight bits another; then eight bits miss two: 5 points are lost.
    visible = np.ones((2, 14))
    visible[:, 4:8] = 0
    labels = truth.copy()
    labels[1, 3] += (3, 4)
    strict, agrees, told = judged(truth, found, (labels, visible), LSP14)
    assert strict == pytest.approx(19 / 20)
    assert agrees
    found[0, 0] += (0, 5)
    strict, agrees, _ = judged(truth, found, (labels, visible), LSP14)
    assert strict == pytest.approx(18 / 20)
    assert not agrees


def test_without_a_torso_the_box_is_the_measure():
    skeleton = Skeleton("pair", ("a", "b"), (0, 0))
    truth = np.array([[[0.0, 0.0], [100.0, 0.0]]])
    assert judged(truth, truth + [9.9, 0], None, skeleton)[0] == 1
    assert judged(truth, truth + [10.1, 0], None, skeleton)[0] == 0


def test_distances_are_of_joints_that_are_seen():
    xy = np.zeros((1, 4, 2), np.float32)
    other = xy + np.array([[[0, 0], [3, 4], [0, 1], [100, 0]]], np.float32)
    score = np.array([[1, 1, 1, 0]], np.float32)
    assert apart((xy, score), (other, score)) == pytest.approx(np.quantile([0, 5, 1], 0.99))
