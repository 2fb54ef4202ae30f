"""Pickles of numbers, read without doing what they say.

A pickle is a program, and unpickling a foreign one may run anything. Some data sets come as such files all the same. This reader takes dicts, lists, tuples,
strings, numbers and numpy arrays of them, which is all that those files hold; any other name in the file is refused before it is looked up. numpy's own
classes are not let in either, as `numpy.ndarray` makes an array of objects from any bytes, and a process that reads them is lost: what a pickled array says of
itself is kept apart and made an array here.
"""

from __future__ import annotations

import pickle
import re
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray


def read_pickle(path: Path) -> Any:
    """What a pickle of dicts, numbers and arrays holds. ValueError that names the file if it is none or holds anything else."""
    try:
        with path.open("rb") as file:
            return _plain(_Numbers(file, encoding="latin1").load())
    except FileNotFoundError:
        raise FileNotFoundError(f"{path}: not found") from None
    except Exception as error:  # a broken pickle fails in any way
        raise _refusal(path, error) from error


def read_object(path: Path, name: str) -> Any:
    """The one object that the array `name` of an npz file holds, which numpy reads only by unpickling whatever it says. ValueError that names the file if it is
    not of this shape or holds anything but dicts, numbers and arrays.
    """
    try:
        with zipfile.ZipFile(path) as archive, archive.open(f"{name}.npy") as file:
            header = np.lib.format.read_array_header_1_0 if np.lib.format.read_magic(file) == (1, 0) else np.lib.format.read_array_header_2_0
            _, _, kind = header(file)
            if kind != np.dtype(object):
                raise ValueError(f"{name} is an array of {kind}")
            return _plain(_Numbers(file, encoding="latin1").load()).item()
    except FileNotFoundError:
        raise FileNotFoundError(f"{path}: not found") from None
    except Exception as error:
        raise _refusal(path, error) from error


def _refusal(path: Path, error: Exception) -> ValueError:
    return ValueError(f"{path}: is no whole file of numbers and numpy arrays alone ({type(error).__name__}: {error})")


class _Kind:
    """What stands for `numpy.dtype`: kinds of numbers, and objects. Its state is a tuple whose second entry is the order of bytes."""

    def __init__(self, text: str, *_: object) -> None:
        if not re.fullmatch(r"[<>|=]?[biufcO]\d{0,2}", text):
            raise pickle.UnpicklingError(f"it has an array of {text!r}")
        self.dtype: np.dtype[Any] = np.dtype(text)

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        if state[1] in ("<", ">"):
            self.dtype = self.dtype.newbyteorder(state[1])


class _Array:
    """What stands for `numpy.ndarray`. Its state is a version, the shape, the kind, whether it lies in Fortran's order, and its bytes or list of objects."""

    def __init__(self, *_: object) -> None:
        self.array: NDArray[Any] = np.zeros(0)

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        _, shape, kind, fortran, data = state
        if kind.dtype == object:
            flat = np.empty(len(data), object)
            for i, value in enumerate(data):
                flat[i] = _plain(value)
        else:
            # Python 2 has strings for bytes.
            flat = np.frombuffer(data.encode("latin1") if isinstance(data, str) else data, kind.dtype).copy()
        self.array = flat.reshape(shape, order="F" if fortran else "C")


def _rebuilt(data: bytes, kind: _Kind, shape: tuple[int, ...], order: str) -> _Array:
    """How protocol 5 writes an array."""
    array = _Array()
    array.__setstate__((1, shape, kind, order == "F", data))
    return array


def _scalar(kind: _Kind, data: bytes) -> Any:
    return np.frombuffer(data, kind.dtype)[0]


def _bytes(text: str = "", _: str = "") -> bytes:
    """How Python 3 writes bytes in protocols below 3: as text, or as a call without one."""
    return text.encode("latin1")


_STANDS_FOR: dict[tuple[str, str], Any] = {
    ("numpy", "dtype"): _Kind,
    ("numpy", "ndarray"): "numpy.ndarray",  # nothing that can be called
    ("numpy.core.multiarray", "_reconstruct"): _Array,
    ("numpy.core.multiarray", "scalar"): _scalar,
    ("numpy.core.numeric", "_frombuffer"): _rebuilt,
    ("_codecs", "encode"): _bytes,
    ("__builtin__", "bytes"): _bytes,
    ("collections", "OrderedDict"): dict,
}


class _Numbers(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        try:
            return _STANDS_FOR[module.replace("numpy._core", "numpy.core"), name]  # numpy 2 has moved it
        except KeyError:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}") from None


def _plain(value: Any) -> Any:
    """The value with arrays for what stands for them."""
    match value:
        case _Array():
            return value.array
        case dict():
            return {_plain(key): _plain(entry) for key, entry in value.items()}
        case list():
            return [_plain(entry) for entry in value]
        case tuple():
            return tuple(_plain(entry) for entry in value)
        case _:
            return value
