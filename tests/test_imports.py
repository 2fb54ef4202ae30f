"""Imports go one way: nouns <- codecs <- data, models <- teachers <- distill <- train <- recipes; the runtime
sees only the nouns.
"""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

SOURCE = Path(__file__).resolve().parents[1] / "src"
NOUNS = (
    "skeleton",
    "pose",
    "geometry",
    "spec",
    "files",
    "records",
    "arrays",
    "headers",
    "limits",
    "onnx_limits",
    "onnx_session",
    "video",
)
NOUNS += ("adapter", "draw", "licences", "onnx_pose", "peaks", "pickled")

# What each room may import besides itself. Rooms are the folders of the package and the nouns.
TABLE = {
    "nouns": "",
    "zoo": "nouns",
    "codecs": "nouns",
    "data": "nouns codecs",
    "synth": "nouns codecs data",
    "models": "nouns zoo codecs",
    "teachers": "nouns zoo codecs data models",
    "distill": "nouns codecs data models teachers",
    "train": "nouns codecs data models teachers distill",
    "runtime": "nouns zoo",
    "live": "nouns zoo runtime",
    "evaluate": "nouns zoo codecs data models teachers runtime",
    "export": "nouns codecs data models evaluate",
    "compress": "nouns zoo codecs data models teachers distill train evaluate export runtime",
    "recipes": "nouns zoo codecs data models teachers distill train evaluate export runtime",
    "cli": (
        "nouns zoo codecs data models teachers distill train evaluate export runtime live synth recipes compress"
    ),
    "__main__": "cli",
}
# What pip gives without extras, and so all that these may import from outside.
BASE = {"numpy", "cv2", "onnxruntime", "av"}
WITHOUT_TORCH = ("nouns", "zoo", "runtime", "live")


def room(module: str) -> str:
    """The room of a module's name without the package: `codecs.heatmap` is in `codecs`, `pose` in `nouns`."""
    first = module.partition(".")[0]
    return "nouns" if first in NOUNS else first


def modules(source: Path) -> dict[str, Path]:
    """Every module of the package by its name without the package; a folder's name is its `__init__`."""
    names = {}
    for path in sorted((source / "poseling").rglob("*.py")):
        parts = path.relative_to(source / "poseling").with_suffix("").parts
        names[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return names


def imported(text: str) -> set[str]:
    """The dotted names that a file imports anywhere in it, also inside functions."""
    found = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"line {node.lineno}: a relative import; write the whole name"
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def wrong(name: str, text: str, known: set[str]) -> list[str]:
    """The imports that the table does not allow to the module `name`."""
    mine, complaints = room(name), []
    if mine not in TABLE:
        return [
            f"{name}: the room {mine!r} is not in the table of tests/test_imports.py; say what it may import"
        ]
    allowed = {mine, *TABLE[mine].split()}
    for target in sorted(imported(text)):
        first, *rest = target.split(".")
        if first == "poseling":
            while rest and ".".join(rest) not in known:  # from a module a name, or a module
                rest.pop()
            if rest and room(".".join(rest)) not in allowed:
                complaints.append(
                    f"{name} imports poseling.{'.'.join(rest)}, but {mine} may import only "
                    f"{', '.join(sorted(allowed))}"
                )
        elif mine in WITHOUT_TORCH and first not in BASE and first not in sys.stdlib_module_names:
            complaints.append(f"{name} imports {first}, but {mine} has only {', '.join(sorted(BASE))}")
    return complaints


MODULES = modules(SOURCE)


def targets(text: str, known: set[str]) -> set[str]:
    """The modules of the package that a file imports."""
    found = set()
    for target in imported(text):
        first, *rest = target.split(".")
        while rest and ".".join(rest) not in known:
            rest.pop()
        if first == "poseling" and rest:
            found.add(".".join(rest))
    return found


def test_no_module_imports_itself_by_a_detour():
    """Also not inside a function, where Python would allow it."""
    graph = {name: targets(path.read_text(), set(MODULES)) for name, path in MODULES.items() if name}
    done: set[str] = set()

    def visit(name: str, way: tuple[str, ...]) -> None:
        assert name not in way, " -> ".join((*way[way.index(name) :], name))
        for target in () if name in done else sorted(graph[name]):
            visit(target, (*way, name))
        done.add(name)

    for name in graph:
        visit(name, ())


@pytest.mark.parametrize("name", [name for name in MODULES if name])
def test_imports_go_one_way(name: str):
    assert wrong(name, MODULES[name].read_text(), set(MODULES)) == []


def test_the_table_has_no_way_back():
    order = list(TABLE)
    for i, mine in enumerate(order):
        assert set(TABLE[mine].split()) <= set(order[:i]), f"{mine} may only import what stands above it"


@pytest.mark.parametrize(
    ("name", "text", "complaint"),
    [
        (
            "codecs.heatmap",
            "from poseling.models import registry",
            "codecs.heatmap imports poseling.models.registry",
        ),
        ("codecs.heatmap", "from poseling import models", "codecs.heatmap imports poseling.models"),
        (
            "models.registry",
            "def f():\n    import poseling.train.loop",
            "models.registry imports poseling.train.loop",
        ),
        (
            "teachers.network",
            "from poseling.train.loop import fit",
            "teachers.network imports poseling.train.loop",
        ),
        ("runtime.network", "import torch", "runtime.network imports torch"),
        ("pose", "from scipy import io", "pose imports scipy"),
        ("runtime.network", "from poseling.codecs import codec", "runtime.network imports poseling.codecs"),
        ("kitchen.sink", "", "the room 'kitchen' is not in the table"),
    ],
)
def test_a_wrong_import_is_found(name: str, text: str, complaint: str):
    known = {"codecs", "codecs.heatmap", "models", "models.registry", "train", "train.loop"}
    found = wrong(name, text, known)
    assert len(found) == 1
    assert complaint in found[0]


def test_right_imports_are_left_alone():
    known = {"", "codecs", "codecs.heatmap", "pose", "models", "models.checkpoint"}
    assert (
        wrong(
            "teachers.network",
            "import torch\nfrom poseling.models import checkpoint\nfrom poseling.codecs import codec",
            known,
        )
        == []
    )
    assert (
        wrong(
            "runtime.network",
            "import json\nimport cv2\nfrom poseling import __version__\nfrom poseling.pose import Pose",
            known,
        )
        == []
    )


def test_onnxruntime_is_opened_in_one_place():
    """It reports home unless `onnx_session` is what imports it first."""
    others = [
        path
        for folder in ("src", "benchmarks", "scripts")
        for path in (SOURCE.parent / folder).rglob("*.py")
        if path.name != "onnx_session.py"
    ]
    assert [
        path.name
        for path in others
        if any(name.partition(".")[0] == "onnxruntime" for name in imported(path.read_text()))
    ] == []


def test_the_runtime_leaves_torch_alone():
    heavy = "torch", "onnx", "safetensors", "scipy", "matplotlib", "accelerate"
    code = f"import sys, poseling.runtime, poseling.runtime.pipeline; print(*[m for m in {heavy} if m in sys.modules])"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.split() == []
