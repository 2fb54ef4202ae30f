"""The one way to open an ONNX file: nothing is told to anybody, and whatever cannot be opened or run is
named.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from poseling.onnx_session import metadata, open_session, run

SOURCE = Path(__file__).resolve().parents[1] / "src"


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A network (N, 3) -> (N, 3) that only works for N = 2: it adds one to each of two rows."""
    ones = onnx.numpy_helper.from_array(np.array([2, 3], np.int64), "shape")
    nodes = [
        helper.make_node("Reshape", ["in", "shape"], ["two"]),
        helper.make_node("Add", ["two", "two"], ["out"]),
    ]
    ports = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", 3]) for name in ("in", "out")]
    graph = helper.make_graph(nodes, "double", ports[:1], ports[1:], [ones])
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    helper.set_model_props(made, {"key": "word"})
    path = tmp_path / "two.onnx"
    path.write_bytes(made.SerializeToString())
    return path


def test_what_comes_out(model: Path):
    rows = np.arange(6, dtype=np.float32).reshape(2, 3)
    for opened in (open_session(model), open_session(model.read_bytes(), threads=1)):
        np.testing.assert_array_equal(run(opened, model, ["out"], {"in": rows})[0], 2 * rows)
        np.testing.assert_array_equal(run(opened, model, None, {"in": rows})[0], 2 * rows)
        assert metadata(opened, model) == {"key": "word"}


def test_what_cannot_be_run_names_the_file_and_what_it_was_given(model: Path):
    opened = open_session(model)
    with pytest.raises(ValueError, match=r"two\.onnx: cannot be run on in float32 \[5, 3\] \("):
        run(opened, model, ["out"], {"in": np.zeros((5, 3), np.float32)})
    for wrong in ({"in": np.zeros((2, 3), np.int64)}, {"other": np.zeros((2, 3), np.float32)}):
        with pytest.raises(ValueError, match=r"two\.onnx: cannot be run on"):
            run(opened, model, ["out"], wrong)
    with pytest.raises(ValueError, match=r"two\.onnx: cannot be run on"):
        run(opened, model, ["nothing"], {"in": np.zeros((2, 3), np.float32)})


def test_metadata_that_is_not_text_names_the_file(model: Path):
    data = model.read_bytes()
    model.write_bytes(data.replace(b"word", b"wo\xffd"))
    with pytest.raises(ValueError, match=r"two\.onnx: .*(no text|no ONNX file)"):
        metadata(open_session(model), model)


@pytest.mark.shared
@pytest.mark.parametrize(
    "kind", ["student-traceback-3", "student-unnamed-1", "student-unnamed-2", "onnxteacher-traceback-16"]
)
def test_malformed_files_are_one_line_with_their_name(shared: Path, kind: str):
    from poseling.runtime import Network

    path = shared / "cases" / "malformed" / f"{kind}.onnx"
    with pytest.raises((ValueError, OSError), match=rf"{kind}\.onnx: "):
        Network(path, threads=1)(np.zeros((64, 64, 3), np.uint8))


USE = """
import sys
import numpy as np
from poseling.cli import main
main(sys.argv[1:])
"""


def _tracked(
    model: Path, image: Path, home: Path, wrapper: tuple[str, ...] = (), **more: str
) -> subprocess.CompletedProcess[str]:
    """`poseling track` in a process of its own, at home in an empty folder. Its environment has what a
    program needs to start and no more: onnxruntime keeps quiet by itself where a variable such as CI says
    that a build server runs it.
    """
    home.mkdir()
    known = {
        name: value
        for name, value in os.environ.items()
        if name in ("PATH", "LANG", "TMPDIR") or name.startswith(("OMP_", "OPENBLAS_"))
    }
    command = [
        *wrapper,
        sys.executable,
        "-c",
        USE,
        "track",
        str(image),
        "--model",
        str(model),
        "--json",
        str(image.with_suffix(".json")),
    ]
    environment = {**known, "HOME": str(home), "PYTHONPATH": str(SOURCE), **more}
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


@pytest.fixture
def image(tmp_path: Path) -> Path:
    import cv2

    cv2.imwrite(str(tmp_path / "a.png"), np.random.default_rng(0).integers(0, 256, (48, 64, 3), np.uint8))
    return tmp_path / "a.png"


@pytest.mark.shared
def test_tracking_leaves_nothing_at_home(shared: Path, tmp_path: Path, image: Path):
    model = shared / "cases" / "net" / "student.onnx"
    done = _tracked(model, image, tmp_path / "home")
    assert done.returncode == 0, done.stderr
    assert list((tmp_path / "home").rglob("*")) == []


@pytest.mark.shared
@pytest.mark.slow
@pytest.mark.skipif(
    shutil.which("strace") is None, reason="only strace sees the look-ups of code that is not Python's"
)
def test_tracking_looks_up_no_host(shared: Path, tmp_path: Path, image: Path):
    model, seen = shared / "cases" / "net" / "student.onnx", tmp_path / "seen.txt"
    strace = ("strace", "-f", "-qq", "-e", "trace=connect,sendto,sendmsg,sendmmsg", "-o", str(seen))
    done = _tracked(model, image, tmp_path / "home", strace)
    if "ptrace" in done.stderr:
        pytest.skip("strace may not trace here")
    assert done.returncode == 0, done.stderr
    calls = [line for line in seen.read_text().splitlines() if "AF_INET" in line or "AF_UNIX" in line]
    assert calls == []
    # The test can fail: where it is allowed to, onnxruntime asks for its host.
    _tracked(model, image, tmp_path / "other", strace, ORT_DISABLE_TELEMETRY="0")
    assert list((tmp_path / "other").rglob("deviceid")) or "AF_INET" in seen.read_text()
