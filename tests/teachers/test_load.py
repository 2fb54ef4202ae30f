from __future__ import annotations

from pathlib import Path

import pytest
import torch
from onnx import TensorProto, helper, save

from poseling.codecs.heatmap import Heatmap
from poseling.data import mini
from poseling.models import checkpoint as checkpoints
from poseling.models import registry
from poseling.skeleton import LSP14
from poseling.spec import PoseSpec
from poseling.teachers.load import load


def checkpoint(path: Path) -> Path:
    torch.manual_seed(0)
    spec = PoseSpec("hourglass-1x16", LSP14, Heatmap((64, 64)).fields(), (64, 64))
    checkpoints.save(path, registry.build("hourglass-1x16", 14), spec)
    return path


def test_the_suffix_decides_how_a_file_is_loaded(tmp_path: Path) -> None:
    assert load(str(checkpoint(tmp_path / "a.safetensors"))).skeleton == LSP14
    ports = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 64, 64, 3]) for name in ("in", "out")]
    graph = helper.make_graph([helper.make_node("Identity", ["in"], ["out"])], "test", ports[:1], ports[1:])
    file, adapter = tmp_path / "A.ONNX", tmp_path / "adapter.json"
    save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), file)
    adapter.write_text('{"skeleton": "lsp14", "layout": "bhwc", "points": {"output": "out", "columns": 3}}')
    assert load(str(file), str(adapter)).skeleton == LSP14
    with pytest.raises(ValueError, match="an adapter must say how to feed and read it"):
        load(str(file))


def test_the_mini_sets_teacher_has_a_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own = checkpoint(tmp_path / "own.safetensors")
    monkeypatch.setattr(mini, "TEACHER", own)
    assert load("mini").digest == load(str(own)).digest
    with pytest.raises(FileNotFoundError, match=r"mini\.onnx: there is no such file"):
        load("mini.onnx")


def test_the_error_for_no_teacher_has_the_way_out(tmp_path: Path) -> None:
    file = checkpoint(tmp_path / "a.safetensors")
    with pytest.raises(ValueError, match="leave out the adapter 'movenet'"):
        load(str(file), "movenet")
    with pytest.raises(
        ValueError, match="hourglass-4x128: is an architecture without trained weights; name the checkpoint"
    ):
        load("hourglass-4x128")
    with pytest.raises(ValueError, match=r"a\.pth: a teacher is a file that ends in \.safetensors or \.onnx"):
        load(str(tmp_path / "a.pth"))
    with pytest.raises(FileNotFoundError, match=r"b\.onnx: there is no such file"):
        load(str(tmp_path / "b.onnx"))
