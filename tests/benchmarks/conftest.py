"""Benchmarks as modules: they are programs, and import each other by their folder."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"


def load(name: str) -> ModuleType:
    """The benchmark of this name."""
    sys.path.insert(0, str(BENCHMARKS))
    try:
        spec = importlib.util.spec_from_file_location(f"benchmark_{name}", BENCHMARKS / f"{name}.py")
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[spec.name] = module
        spec.loader.exec_module(module)
    finally:
        sys.path.remove(str(BENCHMARKS))
    return module


def benchmark(name: str) -> Callable[[], ModuleType]:
    """A fixture of this name: the benchmark."""
    return pytest.fixture(lambda: load(name), scope="module", name=name)


compression, family_3d, frontier, heads_3d, papers, stillness, tracking, valid_people = map(
    benchmark,
    ("compression", "family_3d", "frontier", "heads_3d", "papers", "stillness", "tracking", "valid_people"),
)
