"""MATLAB files, whose reader has many ways to fail."""

from __future__ import annotations

import zlib
from pathlib import Path
from typing import Any

from scipy.io import loadmat
from scipy.io.matlab import MatReadError


def read_mat(path: Path, *variables: str, **how: Any) -> list[Any]:
    """The `variables` of a file, read as scipy's `loadmat` does with the options `how`; ValueError that names the file if it is cut, foreign or lacks one."""
    try:
        content = loadmat(path, **how)
        return [content[name] for name in variables]
    except FileNotFoundError:
        raise FileNotFoundError(f"{path}: not found") from None
    except (MatReadError, ValueError, KeyError, IndexError, NotImplementedError, TypeError, OSError, zlib.error) as error:
        raise ValueError(f"{path}: is no whole MATLAB file with {', '.join(variables)} ({type(error).__name__}: {error})") from error
