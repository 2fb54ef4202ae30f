"""MATLAB files of version 5 to 7, as The MathWorks describe them ("MAT-File Format", R2019b): numbers, text,
cells and structs.

Not read by scipy, whose compiled reader ends the process on some damaged files. Each element states its
length, which is checked against the bytes that are there, and against `limits.limit`, before room
is made.
"""

from __future__ import annotations

import math
import struct
import zlib
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from poseling.limits import excess, limit

# What a data element may hold, and what an array may be of.
STORED = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8", 12: "i8", 13: "u8"}
CODES = dict(zip(STORED, "bBhHiIfdqQ", strict=True))
SIZES = {kind: struct.calcsize(f"<{code}") for kind, code in CODES.items()}
NUMBERS = {6: "f8", 7: "f4", 8: "i1", 9: "u1", 10: "i2", 11: "u2", 12: "i4", 13: "u4", 14: "i8", 15: "u8"}
TEXT = {1: "latin-1", 2: "latin-1", 4: "utf-16", 16: "utf-8", 17: "utf-16", 18: "utf-32"}
MATRIX, COMPRESSED = 14, 15
CELL, STRUCT, CHAR = 1, 2, 4
COMPLEX = 0x0800
AN_OBJECT = 256  # bytes of memory that an array within a struct or a cell takes, about


def read_mat(path: Path, *variables: str, squeeze: bool = False) -> list[Any]:
    """The `variables` of a file: arrays, of cells and structs object arrays of what is in them. A struct has
    its fields as attributes.

    With `squeeze`, axes of length 1 go, an array of one is what is in it, and a row of characters is a str.
    FileNotFoundError; ValueError that names the file if it is cut, foreign, lacks one, or claims too much.
    """
    try:
        found = _File(path.read_bytes(), squeeze).variables(set(variables))
        return [found[name] for name in variables]
    except FileNotFoundError:
        raise FileNotFoundError(f"{path}: not found") from None
    except (
        ValueError,
        KeyError,
        IndexError,
        TypeError,
        OSError,
        RecursionError,
        struct.error,
        zlib.error,
    ) as error:
        told = f"it lacks {error}" if isinstance(error, KeyError) else str(error)
        raise ValueError(f"{path}: is no whole MATLAB file with {', '.join(variables)} ({told})") from error


class _File:
    """The bytes of a file, read element by element."""

    def __init__(self, data: bytes, squeeze: bool) -> None:
        if data[:8] == b"\x89HDF\r\n\x1a\n" or data[:19] == b"MATLAB 7.3 MAT-file":
            raise ValueError("it is of version 7.3; save it again with -v7")
        if len(data) < 128 or data[126:128] not in (b"IM", b"MI"):
            raise ValueError("its header is not that of a MAT-file of version 5")
        self.data, self.squeeze = data, squeeze
        self.order = "<" if data[126:128] == b"IM" else ">"
        self.claimed = 0
        # The beginning of an array without a name of one number, as there are millions in a file of structs:
        # flags, shape and name.
        self.single = struct.Struct(f"{self.order}IIIIIIiiII")
        self.singles = {(6, 8, kind, 0, 5, 8, 1, 1, 1, 0) for kind in NUMBERS}

    def variables(self, wanted: set[str]) -> dict[str, Any]:
        found: dict[str, Any] = {}
        at = 128
        while at < len(self.data) and len(found) < len(wanted):
            kind, start, end, following = self._tag(self.data, at, len(self.data))
            data, at = self.data, following
            if kind == COMPRESSED:
                data = self._unpacked(data[start:end])
                kind, start, end, _ = self._tag(data, 0, len(data))
            if kind == MATRIX and end > start:
                name, value = self._matrix(data, start, end, wanted)
                if name in wanted:
                    found[name] = value
        return found

    def _unpacked(self, packed: bytes) -> bytes:
        stream, most = zlib.decompressobj(), limit() - self.claimed
        data = stream.decompress(packed, most + 1)  # its size is not stated before
        self._claim(len(data))
        if not stream.eof:
            raise ValueError("it is cut short")
        return data

    def _claim(self, count: int) -> None:
        self.claimed += count
        if more := excess(self.claimed):
            raise ValueError(more)

    def _tag(self, data: bytes, at: int, end: int) -> tuple[int, int, int, int]:
        """The element at `at`: its kind, where its bytes begin and end, and where the next one is."""
        if at + 8 > end:
            raise ValueError("it is cut short")
        first, count = struct.unpack_from(f"{self.order}II", data, at)
        if first >> 16:  # a small one: kind, length and up to four bytes in eight
            kind, count, start, following = first & 0xFFFF, first >> 16, at + 4, at + 8
            if count > 4:
                raise ValueError(f"an element of four bytes claims {count}")
        else:
            kind, start = first, at + 8
            following = start + count + (0 if kind == COMPRESSED else -count % 8)
        if start + count > end:
            raise ValueError(f"an element claims {count} bytes where {end - start} are left; it is cut short")
        return kind, start, start + count, following

    def _numbers(self, data: bytes, at: int, end: int) -> tuple[NDArray[Any], int]:
        kind, start, stop, following = self._tag(data, at, end)
        if kind not in STORED:
            raise ValueError(f"an element of kind {kind} where numbers should be")
        stored = np.dtype(self.order + STORED[kind])
        if (stop - start) % stored.itemsize:
            raise ValueError(f"{stop - start} bytes for numbers of {stored.itemsize}")
        return np.frombuffer(data, stored, (stop - start) // stored.itemsize, start), following

    def _matrix(self, data: bytes, at: int, end: int, wanted: set[str] | None = None) -> tuple[str, Any]:
        """Its name and what it is; the latter None if the name is none of the `wanted`."""
        if (
            wanted is None
            and self.squeeze
            and end - at >= 48
            and self.single.unpack_from(data, at) in self.singles
        ):
            return "", self._single(data, at + 40, end)
        flags, at = self._numbers(data, at, end)
        shape, at = self._numbers(data, at, end)
        name, at = self._numbers(data, at, end)
        called = name.tobytes().decode("latin-1")
        if wanted is not None and called not in wanted:
            return called, None
        if not len(flags) or len(shape) < 2 or int(shape.min()) < 0:
            raise ValueError(f"an array has the shape {shape.tolist()}")
        kind, dims = int(flags[0]) & 0xFF, tuple(int(side) for side in shape)
        if kind in NUMBERS:
            return called, self._array(data, at, end, kind, dims, bool(int(flags[0]) & COMPLEX))
        if kind == CHAR:
            return called, self._text(data, at, end, dims)
        if kind in (CELL, STRUCT):
            return called, self._objects(data, at, end, kind, dims)
        raise ValueError(f"it holds an array of kind {kind}; known are numbers, text, cells and structs")

    def _array(
        self, data: bytes, at: int, end: int, kind: int, dims: tuple[int, ...], imaginary: bool
    ) -> Any:
        flat, at = self._numbers(data, at, end)
        if len(flat) != math.prod(dims):
            raise ValueError(f"an array of shape {dims} has {len(flat)} numbers")
        if self.squeeze and len(flat) == 1 and not imaginary:
            return flat[0].item()
        values: NDArray[Any] = flat.astype(NUMBERS[kind])
        if imaginary:
            other, _ = self._numbers(data, at, end)
            if len(other) != len(flat):
                raise ValueError(f"an array of shape {dims} has {len(other)} imaginary parts")
            real, values = values, np.empty(len(flat), complex)
            values.real, values.imag = real, other
        return self._squeezed(values.reshape(dims, order="F"))

    def _single(self, data: bytes, at: int, end: int) -> Any:
        kind, start, stop, _ = self._tag(data, at, end)
        if kind not in STORED or stop - start != SIZES[kind]:
            raise ValueError(f"{stop - start} bytes of kind {kind} for one number")
        return struct.unpack_from(self.order + CODES[kind], data, start)[0]

    def _text(self, data: bytes, at: int, end: int, dims: tuple[int, ...]) -> Any:
        kind, start, stop, _ = self._tag(data, at, end)
        if kind not in TEXT or len(dims) != 2:
            raise ValueError(f"text of kind {kind} and shape {dims}")
        wide = TEXT[kind] in ("utf-16", "utf-32")
        coded = TEXT[kind] + ({"<": "-le", ">": "-be"}[self.order] if wide else "")
        text = data[start:stop].decode(coded, errors="replace")
        rows, columns = dims
        if rows <= 1:
            lines = [text] * rows
        elif len(text) == rows * columns:
            lines = [text[row::rows] for row in range(rows)]
        else:
            raise ValueError(f"text of shape {dims} has {len(text)} characters")
        return "".join(lines) if self.squeeze and rows <= 1 else np.array(lines, str)

    def _objects(self, data: bytes, at: int, end: int, kind: int, dims: tuple[int, ...]) -> Any:
        """An object array of what is in cells, or of structs."""
        names: list[str] = []
        if kind == STRUCT:
            length, at = self._numbers(data, at, end)
            packed, at = self._numbers(data, at, end)
            if len(length) != 1 or not (width := int(length[0])) > 0 or packed.nbytes % width:
                raise ValueError(f"names of {length.tolist()} bytes in {packed.nbytes}")
            raw = packed.tobytes()
            names = [raw[i : i + width].split(b"\0")[0].decode("latin-1") for i in range(0, len(raw), width)]
        count, each = math.prod(dims), len(names) if kind == STRUCT else 1
        if count * max(each, 1) > (end - at) // 8 and count:  # what is in it takes eight bytes at least
            raise ValueError(f"an array of shape {dims} has {end - at} bytes")
        self._claim(AN_OBJECT * count * (each + 1))
        found = np.empty(count, object)
        for i in range(count):
            parts = []
            for _ in range(each):
                inner, start, stop, at = self._tag(data, at, end)
                if inner != MATRIX:
                    raise ValueError(f"an element of kind {inner} where an array should be")
                parts.append(
                    self._matrix(data, start, stop)[1]
                    if stop > start
                    else np.zeros((0,) if self.squeeze else (0, 0))
                )
            found[i] = SimpleNamespace(**dict(zip(names, parts, strict=True))) if kind == STRUCT else parts[0]
        return self._squeezed(found.reshape(dims, order="F"))

    def _squeezed(self, array: NDArray[Any]) -> Any:
        if not self.squeeze:
            return array
        if array.size == 1:
            return array.ravel()[0]
        return array.squeeze() if array.size else np.zeros(0, array.dtype)
