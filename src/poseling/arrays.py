"""Arrays of others' npz files: what they claim is looked at before it is read, and nothing in them is
carried out.
"""

from __future__ import annotations

import io
import math
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from poseling.limits import excess


def read_npz(path: Path, *names: str) -> dict[str, NDArray[Any]]:
    """The arrays `names` of an npz file, all if none is named: numbers, yes and no, and text.

    FileNotFoundError; ValueError that names the file if it is cut, locked, lacks one, holds other things, or
    claims more than `limits.limit`.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            members = {info.filename.removesuffix(".npy"): info for info in archive.infolist()}
            chosen = names or tuple(members)
            if missing := [name for name in chosen if name not in members]:
                raise ValueError(f"it lacks {', '.join(missing)}")
            if more := excess(sum(members[name].file_size for name in chosen)):
                raise ValueError(more)
            return {name: _array(archive.read(members[name]), name) for name in chosen}
    except FileNotFoundError:
        raise FileNotFoundError(f"{path}: not found") from None
    except Exception as error:  # zipfile, zlib and NumPy fail in many ways
        why = str(error) if isinstance(error, ValueError) else f"{type(error).__name__}: {error}"
        raise ValueError(f"{path}: is no whole npz of {', '.join(names) or 'arrays'} ({why})") from error


def numbers(array: NDArray[Any], *shape: int | None) -> NDArray[np.float64]:
    """`array` in float64; ValueError if it is not of numbers or not of the `shape`, where None stands for any
    length.

    >>> numbers(np.ones((3, 2), np.int8), None, 2).dtype
    dtype('float64')
    """
    if array.dtype.kind not in "biuf":
        raise ValueError(f"it is of {array.dtype}, not of numbers")
    if array.ndim != len(shape) or any(
        want is not None and want != got for want, got in zip(shape, array.shape, strict=True)
    ):
        raise ValueError(
            f"it has shape {array.shape}, expected ({', '.join('N' if s is None else str(s) for s in shape)})"
        )
    return array.astype(np.float64)


def _array(data: bytes, name: str) -> NDArray[Any]:
    """From the bytes of a .npy. NumPy's own reader makes room for what the header claims before it looks
    whether that is there.
    """
    file = io.BytesIO(data)
    header = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
    version = np.lib.format.read_magic(file)
    if version not in header:
        raise ValueError(f"{name} is of the format {version}")
    shape, fortran, kind = header[version](file)
    if kind.kind not in "biufcSU" or not kind.itemsize:
        raise ValueError(f"{name} is of {kind}")
    rest = len(data) - file.tell()
    if min(shape, default=0) < 0 or math.prod(shape) * kind.itemsize != rest:
        raise ValueError(f"{name} claims to be of shape {shape}, and has {rest} bytes")
    flat = np.frombuffer(data, kind, offset=file.tell())
    return flat.reshape(shape, order="F" if fortran else "C").copy()
