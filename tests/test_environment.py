"""What must not be installed, and with what we say we work."""

from __future__ import annotations

import os
import re
import tomllib
from importlib.metadata import distributions
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
INSTALLED = {re.sub(r"[-_.]+", "-", found.name).lower() for found in distributions()}


def names(lines: list[str]) -> set[str]:
    """The packages that requirements name, spelt as pip compares them."""
    return {re.sub(r"[-_.]+", "-", re.split(r"[<>=!~;\[ ]", line, maxsplit=1)[0]).lower() for line in lines}


def cuda(installed: set[str]) -> set[str]:
    """The packages among them that come with a CUDA build of torch."""
    return {
        name
        for name in installed
        if name.startswith(("nvidia-", "cuda-")) or name in {"triton", "pytorch-triton"}
    }


def test_torchvision_is_not_installed():
    assert INSTALLED & {"torchvision", "torchaudio"} == set(), (
        "beside the CPU build of torch it breaks what imports it; who asked for it? pip uninstall it"
    )


@pytest.mark.skipif(
    os.environ.get("CI") != "true",
    reason="outside of CI torch may be a CUDA build: a machine with a GPU wants one",
)
def test_ci_has_no_cuda():
    assert cuda(INSTALLED) == set(), (
        "gigabytes for nothing: torch was not installed first with constraints.txt"
    )


def test_cuda_is_known_when_seen():
    assert cuda({"nvidia-cublas-cu12", "triton", "cuda-toolkit", "torch", "numpy"}) == {
        "nvidia-cublas-cu12",
        "triton",
        "cuda-toolkit",
    }
    assert names(["NumPy>=1.26", "ruamel.yaml_x==1", "uvicorn[standard]>=0.5", "a;python_version<'4'"]) == {
        "numpy",
        "ruamel-yaml-x",
        "uvicorn",
        "a",
    }


def test_constraints_pin_all_that_is_asked_for():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    asked = names(project["dependencies"]).union(*map(names, project["optional-dependencies"].values()))
    lines = [
        line
        for line in (ROOT / "constraints.txt").read_text().splitlines()
        if line and not line.startswith("#")
    ]
    assert all(re.fullmatch(r"[a-z0-9-]+==[0-9][0-9a-z.]*", line) for line in lines)
    assert "torch==2.13.0" in lines
    assert asked - names(lines) == set()
    assert (names(lines) | asked) & {"torchvision", "torchaudio"} == set()
    assert cuda(names(lines)) == set()
