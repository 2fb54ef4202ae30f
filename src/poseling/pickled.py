"""Pickles of numbers, read without executing them.

A pickle is a program, and unpickling a foreign one may run anything. Some data sets come as such files all
the same. This reader takes dicts, lists, tuples, strings, numbers and numpy arrays of them, which is all that
those files hold; any other name in the file is refused before it is looked up. numpy's own classes are not
let in either, as `numpy.ndarray` makes an array of objects from any bytes, and a process that reads them is
lost: the description of a pickled array is kept apart and made an array here.

Nor may a pickle of some bytes grow without bound: lists that hold each other twice and twice again are
counted as long as they would be written out, keys of dicts are words, numbers and flat tuples of them, and
the reader is Python's own in Python, which makes no room for a number of an entry that is not there.
"""

from __future__ import annotations

import io
import pickle
import re
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from poseling.limits import excess


def read_pickle(path: Path) -> Any:
    """What a pickle of dicts, numbers and arrays holds. ValueError that names the file if it is none or holds
    anything else.
    """
    try:
        return _read(path.read_bytes())
    except FileNotFoundError:
        raise FileNotFoundError(f"{path}: not found") from None
    except Exception as error:  # a broken pickle fails in any way
        raise _refusal(path, error) from error


def read_object(path: Path, name: str) -> Any:
    """The one object that the array `name` of an npz file holds, which numpy reads only by unpickling
    whatever it says. ValueError that names the file if it is not of this shape, holds anything but dicts,
    numbers and arrays, or claims more than `limits.limit`.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            member = archive.getinfo(f"{name}.npy")
            if more := excess(member.file_size):
                raise ValueError(more)
            file = io.BytesIO(archive.read(member))
        header = (
            np.lib.format.read_array_header_1_0
            if np.lib.format.read_magic(file) == (1, 0)
            else np.lib.format.read_array_header_2_0
        )
        _, _, kind = header(file)
        if kind != np.dtype(object):
            raise ValueError(f"{name} is an array of {kind}")
        return _read(file.read()).item()
    except FileNotFoundError:
        raise FileNotFoundError(f"{path}: not found") from None
    except Exception as error:
        raise _refusal(path, error) from error


def _read(data: bytes) -> Any:
    found = _Numbers(data).load()
    if (size := _written_out(found, {})) == np.inf:
        raise pickle.UnpicklingError("it holds itself")
    if more := excess(int(size)):
        raise pickle.UnpicklingError(f"written out, {more}")
    return _plain(found)


def _refusal(path: Path, error: Exception) -> ValueError:
    return ValueError(
        f"{path}: is no whole file of numbers and numpy arrays alone ({type(error).__name__}: {error})"
    )


class _Kind:
    """What stands for `numpy.dtype`: kinds of numbers, and objects. Its state is a tuple whose second entry
    is the order of bytes.
    """

    def __init__(self, text: str, *_: object) -> None:
        if not re.fullmatch(r"[<>|=]?[biufcO]\d{0,2}", text):
            raise pickle.UnpicklingError(f"it has an array of {text!r}")
        self.dtype: np.dtype[Any] = np.dtype(text)

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        if state[1] in ("<", ">"):
            self.dtype = self.dtype.newbyteorder(state[1])


class _Array:
    """What stands for `numpy.ndarray`. Its state is a version, the shape, the kind, whether it lies in
    Fortran's order, and its bytes or list of objects.
    """

    def __init__(self, *_: object) -> None:
        self.array: NDArray[Any] = np.zeros(0)

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        _, shape, kind, fortran, data = state
        if kind.dtype == object:
            flat = np.empty(len(data), object)
            for i, value in enumerate(data):
                flat[i] = value
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


class _Numbers(pickle._Unpickler):
    """Python's own reader, of all opcodes but those of objects, sets and extensions."""

    read: Callable[[int], bytes]
    append: Callable[[Any], None]
    pop_mark: Callable[[], list[Any]]
    stack: list[Any]

    def __init__(self, data: bytes) -> None:
        super().__init__(io.BytesIO(data), encoding="latin1")
        self.size = len(data)

    def find_class(self, module: str, name: str) -> Any:
        try:
            return _STANDS_FOR[module.replace("numpy._core", "numpy.core"), name]  # numpy 2 has moved it
        except KeyError:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}") from None

    def load_bytearray8(self) -> None:
        if (size := int.from_bytes(self.read(8), "little")) > self.size:
            raise pickle.UnpicklingError("it is cut short")
        self.append(self.read(size))

    def load_dict(self) -> None:
        items = self.pop_mark()
        self.append({_key(key): value for key, value in zip(items[::2], items[1::2], strict=True)})

    def load_setitem(self) -> None:
        value, key = self.stack.pop(), self.stack.pop()
        _dict(self.stack[-1])[_key(key)] = value

    def load_setitems(self) -> None:
        items = self.pop_mark()
        _dict(self.stack[-1]).update(
            {_key(key): value for key, value in zip(items[::2], items[1::2], strict=True)}
        )


_OWN: dict[int, Callable[[Any], None]] = {
    pickle.BYTEARRAY8[0]: _Numbers.load_bytearray8,
    pickle.DICT[0]: _Numbers.load_dict,
    pickle.SETITEM[0]: _Numbers.load_setitem,
    pickle.SETITEMS[0]: _Numbers.load_setitems,
}
_NEVER = (
    *(
        pickle.EMPTY_SET,
        pickle.ADDITEMS,
        pickle.FROZENSET,
        pickle.EXT1,
        pickle.EXT2,
        pickle.EXT4,
        pickle.PERSID,
        pickle.BINPERSID,
    ),
    *(pickle.INST, pickle.OBJ, pickle.NEWOBJ, pickle.NEWOBJ_EX, pickle.NEXT_BUFFER, pickle.READONLY_BUFFER),
)


def _never(_: Any) -> None:
    raise pickle.UnpicklingError("it has an object or a set")


_Numbers.dispatch = {**pickle._Unpickler.dispatch, **_OWN, **{code[0]: _never for code in _NEVER}}


def _dict(value: Any) -> dict[Any, Any]:
    if type(value) is not dict:
        raise pickle.UnpicklingError(f"it fills a {type(value).__name__} as if it were a dict")
    return value


def _key(value: Any) -> Any:
    """A key that costs nothing to compare: of tuples within tuples the hash may take for ever."""
    for part in value if isinstance(value, tuple) else (value,):
        if not isinstance(part, str | bytes | int | float | np.generic | None):
            raise pickle.UnpicklingError(f"a key of a dict holds a {type(part).__name__}")
    return value


def _written_out(value: Any, known: dict[int, float]) -> float:
    """How many bytes `value` takes, about, if what is in it several times is there each time; infinite if it
    is within itself.
    """
    match value:
        case _Array() if value.array.dtype == object:
            inner: Any = value.array.ravel()
        case _Array():
            return 8 + value.array.nbytes
        case dict():
            inner = value.values()
        case list() | tuple():
            inner = value
        case str() | bytes():
            return 8 + len(value)
        case _:
            return 8
    if id(value) not in known:
        known[id(value)] = np.inf  # until it is known
        known[id(value)] = 8 + sum(_written_out(entry, known) for entry in inner)
    return known[id(value)]


def _plain(value: Any) -> Any:
    """The value with arrays for what stands for them."""
    match value:
        case _Array() if value.array.dtype == object:
            array = np.empty(value.array.shape, object)
            for place, entry in np.ndenumerate(value.array):
                array[place] = _plain(entry)
            return array
        case _Array():
            return value.array
        case dict():
            return {key: _plain(entry) for key, entry in value.items()}
        case list():
            return [_plain(entry) for entry in value]
        case tuple():
            return tuple(_plain(entry) for entry in value)
        case _:
            return value
