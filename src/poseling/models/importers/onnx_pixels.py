"""The arithmetic on pixels at the start of an ONNX graph: mean, scale, order of colours and layout. It is
taken out of the graph, so that the network's contract can state it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from poseling.geometry import Size
from poseling.models.graph import Operation
from poseling.models.importers.onnx_file import Array, attributes


@dataclass
class Pixels:
    """The start of a graph: the nodes that were removed there, and the operations that replace them.

    The graph now takes `gain` x + `offset` of the file's input x, by channel in the network's order, which is
    reversed if `flipped`. `layout` is that of the file's input, `input` the name of the value that the first
    operation reads.
    """

    layout: str
    input: str

    def __post_init__(self) -> None:
        self.operations: list[Operation] = []
        self.taken: set[int] = set()
        self.gain: list[float] = [1.0] * 3
        self.offset: list[float] = [0.0] * 3
        self.flipped = False


def pixels(
    name: str, dims: Sequence[int | None], nodes: Sequence[Any], constants: Mapping[str, Array]
) -> Pixels:
    """The arithmetic on pixels behind the input `name` of shape `dims`, taken out of `nodes`."""
    readers: dict[str, list[Any]] = {}
    for node in nodes:
        for read in dict.fromkeys(node.input):
            readers.setdefault(read, []).append(node)
    first = next((n for n in nodes if n.op_type == "Transpose"), None)
    turned = first is not None and list(attributes(first).get("perm", ())) == [0, 3, 1, 2]
    clear = (dims[3] == 3) != (dims[1] == 3)
    layout = "bhwc" if (dims[3] == 3 if clear else turned) else "bchw"
    if 3 not in (dims[1], dims[3]) and None not in (dims[1], dims[3]):
        raise ValueError(f"its input {name} is {list(dims)}, which has no axis of three colours")
    start = Pixels(layout, name)
    order, gain, offset, flipped = layout, np.ones(3), np.zeros(3), False
    asked: list[tuple[Any, str]] = []  # nodes that read the image's shape, and how the axes lay there
    while True:
        behind = [n for n in readers.get(name, []) if n.op_type != "Shape"]
        asked += [(n, order) for n in readers.get(name, []) if n.op_type == "Shape"]
        if len(behind) != 1:
            break
        [node] = behind
        a, at = attributes(node), order.index("c")
        if node.op_type == "Transpose":
            order = "".join(order[i] for i in a["perm"])
        elif node.op_type in ("Add", "Sub", "Mul", "Div"):
            other = next((i for i in node.input if i != name), name)
            value = by_colour(constants.get(other), at)
            left = node.input[0] == name
            if value is None or (node.op_type == "Div" and not left):
                break
            if node.op_type in ("Mul", "Div"):
                factor = value if node.op_type == "Mul" else 1 / value
                gain, offset = gain * factor, offset * factor
            elif node.op_type == "Add" or left:
                offset = offset + (value if node.op_type == "Add" else -value)
            else:
                gain, offset = -gain, value - offset
        elif reverses(node, a, constants, at):
            gain, offset, flipped = gain[::-1], offset[::-1], not flipped
        elif not (
            node.op_type in ("Cast", "Identity", "Dropout")
            or (node.op_type == "Split" and len(node.output) == 1)
        ):
            break
        start.taken.add(id(node))
        name = node.output[0]
    if order == "bchw":
        start.input = name
    else:
        start.input = "images"
        start.operations.append(
            Operation("Transpose", ("images",), (name,), {"perm": ["bchw".index(c) for c in order]})
        )
    for node, there in asked:
        shape, places = f"{node.output[0]}/of_images", f"{node.output[0]}/axes"
        start.taken.add(id(node))
        bounds = attributes(node)
        axes = ["bchw".index(c) for c in there][bounds.get("start", 0) : bounds.get("end")]
        start.operations += [
            Operation("Shape", (start.input,), (shape,)),
            Operation("Constant", (), (places,), {"value": axes, "dtype": "int64"}),
            Operation("Gather", (shape, places), (node.output[0],), {"axis": 0}),
        ]
    if not (np.isfinite(gain).all() and np.isfinite(offset).all() and gain.all()):
        raise ValueError(
            f"the arithmetic on pixels before {name} divides by 0; the file cannot be used as it is"
        )
    start.gain, start.offset, start.flipped = gain.tolist(), offset.tolist(), flipped
    return start


def sides(dims: Sequence[int | None], layout: str) -> tuple[int | None, int | None]:
    """The width and height of the images; None where the file leaves them free."""
    return (dims[2], dims[1]) if layout == "bhwc" else (dims[3], dims[2])


def size_of(dims: Sequence[int | None], layout: str, size: Size | None) -> Size:
    """(W, H) by the file, or `size` where it leaves it free."""
    width, height = sides(dims, layout)
    if (width is None or height is None) and size is None:
        raise ValueError("leaves the size of its images free; give one with --size W H")
    return (width or (size or (0, 0))[0], height or (size or (0, 0))[1])


def by_colour(value: Array | None, axis: int) -> Array | None:
    """(3,) a constant as one number for each colour, the colours being along `axis` of four; None if it is
    none.
    """
    if value is None or value.ndim > 4:
        return None
    shape = (1,) * (4 - value.ndim) + value.shape
    if any(s != 1 for i, s in enumerate(shape) if i != axis) or shape[axis] not in (1, 3):
        return None
    return np.broadcast_to(value.astype(np.float64).reshape(-1), (3,))


def reverses(node: Any, a: Mapping[str, Any], constants: Mapping[str, Array], axis: int) -> bool:
    """Whether a node reverses the order of the colours and does nothing else."""
    given = [constants.get(name) for name in node.input[1:]]
    if node.op_type == "Gather":
        return given[0] is not None and a.get("axis", 0) % 4 == axis and given[0].tolist() == [2, 1, 0]
    if node.op_type == "Slice" and len(given) == 4:
        values = [g.tolist() if g is not None else [] for g in given]
        return (
            len(values[2]) == 1
            and values[2][0] % 4 == axis
            and values[3] == [-1]
            and values[0][0] in (-1, 2)
            and values[1][0] < -3
        )
    return False
