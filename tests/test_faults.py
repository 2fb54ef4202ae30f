"""Every reader against damaged and hostile files: read right, or refused in one line that names the file; no
traceback, no hang, bounded memory.
"""

from __future__ import annotations

import importlib.util
import os
import signal
import sys
import tempfile
from pathlib import Path
from types import ModuleType

import pytest

SEEDS = 10  # changed files for each reader


@pytest.fixture(scope="module")
def faults() -> ModuleType:
    path = Path(__file__).resolve().parents[1] / "benchmarks" / "faults.py"
    spec = importlib.util.spec_from_file_location("benchmark_faults", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


def test_good_files_are_read(faults: ModuleType) -> None:
    for kind, reader in faults.READERS.items():
        if kind in ("vimages", "fpd"):  # there is no small good one
            continue
        with tempfile.TemporaryDirectory() as folder:
            faults.lay(reader.make(()), Path(folder))
            assert faults.alone(reader, [Path(folder)]) == [("read", "")], kind


def test_changed_files_are_read_right_or_refused_by_name(faults: ModuleType) -> None:
    found = faults.fuzz(SEEDS)
    assert len(found) > 300
    assert [one for one in found if one[1] not in ("read", "refused")] == []


def test_outcomes_are_distinguished(faults: ModuleType, tmp_path: Path) -> None:
    """The judge itself: a reader of each kind."""

    def reader(read) -> object:
        return faults.Reader(lambda names: {}, "a.json", read)

    def fails(error: Exception):
        def read(folder: Path) -> object:
            raise error

        return read

    def dies(folder: Path) -> object:
        os.kill(os.getpid(), signal.SIGKILL)

    def grows(folder: Path) -> object:
        return bytearray(4 << 30)

    def hangs(folder: Path) -> object:
        while True:
            pass

    wanted = {
        "read": lambda folder: 3,
        "refused": fails(ValueError("/x/a.json: is damaged")),
        "unnamed": fails(ValueError("is damaged")),
        "traceback": fails(KeyError("a.json")),
        "silent": lambda folder: '{"x": NaN}',
        "crash": dies,
    }
    for verdict, read in wanted.items():
        assert faults.alone(reader(read), [tmp_path])[0][0] == verdict
    assert faults.alone(reader(grows), [tmp_path]) == [("crash", "memory")]
    assert faults.alone(reader(hangs), [tmp_path], seconds=1)[0][0] == "crash"
    assert [v for v, _ in faults.alone(reader(dies), [tmp_path] * 2)] == ["crash", "crash"]


@pytest.mark.shared
def test_files_that_led_to_faults(faults: ModuleType, shared: Path) -> None:
    found = faults.cases(shared / "cases" / "malformed")
    assert len(found) > 50
    assert [one for one in found if one[1] not in ("read", "refused")] == []
