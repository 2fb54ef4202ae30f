"""What an ONNX file may do: no loops, whose rounds cannot be counted before, and no more memory
than is allowed.

The file is looked at as it lies on the disk, since the runtime has no package that reads it:
https://protobuf.dev/programming-guides/encoding and onnx.proto.
"""

from __future__ import annotations

import mmap
import os
from collections.abc import Iterator
from pathlib import Path

from poseling.limits import VARIABLE

LOOPS = ("Loop", "Scan")
ALLOW_LOOPS = "POSELING_ALLOW_LOOPS"
# Where the nodes are: of a model its graph and functions, of these the nodes, of a node its attributes, of
# those the graphs.
INSIDE = {
    "model": {7: "graph", 25: "function"},
    "graph": {1: "node"},
    "function": {7: "node"},
    "node": {5: "attribute"},
    "attribute": {6: "graph", 11: "graph"},
}
OPERATION = 4  # the field of a node that names what it does
DEEPEST = 100  # as protobuf itself


def refuse_loops(path: Path) -> None:
    """ValueError that names the file if it is no ONNX file, or has a loop: a network of poses needs none,
    and 2**62 rounds have no end. POSELING_ALLOW_LOOPS=1 lets them in.
    """
    with path.open("rb") as file:
        if not os.fstat(file.fileno()).st_size:
            raise ValueError(f"{path}: is cut short or no ONNX file (it is empty)")
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            try:
                loop = next(
                    (name for name in _operations(data, 0, len(data), "model", 0) if name in LOOPS), None
                )
            except (IndexError, ValueError) as error:
                raise ValueError(f"{path}: is cut short or no ONNX file ({error})") from error
    if loop and not os.environ.get(ALLOW_LOOPS):
        raise ValueError(
            f"{path}: has a {loop}, which may never end; set {ALLOW_LOOPS}=1 if you trust the file"
        )


def beyond(error: Exception) -> str:
    """What to add to onnxruntime's message about a run that failed: the way out if it was for lack of memory,
    else "".
    """
    return f"; set {VARIABLE} higher if the network is right" if "memory" in str(error).lower() else ""


def _operations(data: mmap.mmap, at: int, end: int, kind: str, depth: int) -> Iterator[str]:
    """The names of all operations of a message of `kind` in data[at:end]; ValueError or IndexError if it
    is none.
    """
    if depth > DEEPEST:
        raise ValueError("graphs within graphs, too deep")
    inside = INSIDE[kind]
    while at < end:
        key, at = _number(data, at, end)
        field, wire = key >> 3, key & 7
        if wire == 0:
            _, at = _number(data, at, end)
        elif wire in (1, 5):
            at += 8 if wire == 1 else 4
        elif wire == 2:
            length, at = _number(data, at, end)
            if at + length > end:
                raise ValueError(f"a field claims {length} bytes where {end - at} are left")
            if kind == "node" and field == OPERATION:
                yield data[at : at + length].decode("utf-8", "replace")
            elif field in inside:
                yield from _operations(data, at, at + length, inside[field], depth + 1)
            at += length
        else:
            raise ValueError(f"a field is of the kind {wire}")
    if at != end:
        raise ValueError("its last field is cut short")


def _number(data: mmap.mmap, at: int, end: int) -> tuple[int, int]:
    """The number at `at`, seven bits a byte, the lowest first, and where it ends."""
    value = 0
    for shift in range(0, 70, 7):
        if at >= end:
            raise ValueError("a number is cut short")
        byte = data[at]
        value |= (byte & 0x7F) << shift
        at += 1
        if byte < 0x80:
            return value, at
    raise ValueError("a number is too long")
