"""An ONNX file's graph as a `GraphNetwork`: constants folded, what is not needed left out, the pixels' own
arithmetic at its start taken off and told.

`read` makes the network, `difference` compares it with ONNX Runtime. Neither knows what the network's answers
mean; `models.importers.onnx` does.
"""

from __future__ import annotations

import difflib
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
from numpy.typing import NDArray
from torch import Tensor

from poseling.codecs.normalize import normalise
from poseling.geometry import Size
from poseling.models.graph import Graph, GraphNetwork, Operation
from poseling.models.operators import FUNCTIONS, LAYERS
from poseling.onnx_session import open_session
from poseling.spec import PoseSpec

Array = NDArray[Any]
BOUND = 1e-3  # of an output's range: how far torch and ONNX Runtime may be apart
ENDLESS = 3e38  # where Clip's bound means none
CONTROL = ("If", "Loop", "Scan", "SequenceMap")
RANDOM = (
    "RandomNormal",
    "RandomNormalLike",
    "RandomUniform",
    "RandomUniformLike",
    "Bernoulli",
    "Multinomial",
)

# Inputs that say how, not what: constants among them become attributes. By their place behind the first
# input.
HOW = {
    "Reshape": ("shape",),
    "Expand": ("shape",),
    "Tile": ("repeats",),
    "Slice": ("starts", "ends", "axes", "steps"),
    "Pad": ("pads", "value", "axes"),
    "Resize": ("roi", "scales", "sizes"),
    "Upsample": ("scales",),
    "Clip": ("min", "max"),
    "Squeeze": ("axes",),
    "Unsqueeze": ("axes",),
    "Split": ("split",),
    "Dropout": ("ratio", "training_mode"),
    **{f"Reduce{what}": ("axes",) for what in ("Mean", "Sum", "Max", "Min", "Prod", "L2")},
}


@dataclass(frozen=True)
class Read:
    """What `read` found: the network, and how the file's own input becomes the network's.

    The file's input, called `input`, is of `dtype` and laid out as `layout` says; `size` (W, H) and `batch`
    are None where it leaves them free. The network takes `gain` x + `offset` of it, by channel in the
    network's order, which is the file's the other way round if `flipped`. `softmax` says that the file goes
    on with a softmax over what the network gives.
    """

    path: Path
    model: Any
    network: GraphNetwork
    input: str
    layout: str
    dtype: np.dtype[Any]
    batch: int | None
    size: Size | None
    gain: tuple[float, ...]
    offset: tuple[float, ...]
    flipped: bool
    softmax: bool

    @property
    def normalises(self) -> bool:
        """Whether the file has arithmetic on pixels of its own."""
        return set(self.gain) != {1.0} or set(self.offset) != {0.0}

    def network_input(self, x: Array) -> Tensor:
        """The file's own input as the network's, (B, 3, H, W): the reverse of `fed`."""
        images = torch.from_numpy(x).float()
        images = images.permute(0, 3, 1, 2) if self.layout == "bhwc" else images
        images = images.flip(1) if self.flipped else images
        return images * images.new_tensor(self.gain).view(1, 3, 1, 1) + images.new_tensor(self.offset).view(
            1, 3, 1, 1
        )

    def fed(self, images: Tensor) -> Array:
        """Normalised images (B, 3, H, W) as the file's own input."""
        x = (images - images.new_tensor(self.offset).view(1, 3, 1, 1)) / images.new_tensor(self.gain).view(
            1, 3, 1, 1
        )
        x = x.flip(1) if self.flipped else x
        x = x.permute(0, 2, 3, 1) if self.layout == "bhwc" else x
        values = x.contiguous().numpy()
        return (np.rint(values) if self.dtype.kind in "iu" else values).astype(self.dtype)


def load(path: Path) -> Any:
    """The ONNX model in `path`, with the weights that it keeps in other files. FileNotFoundError; ValueError
    if it is cut, no ONNX file or lacks weights.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path}: there is no such file")
    try:
        model = onnx.load(path, load_external_data=False)
    except (DecodeError, ValueError) as error:
        raise ValueError(f"{path}: is cut short or no ONNX file ({error}); fetch it again") from error
    if not model.graph.node or not model.graph.input:
        raise ValueError(f"{path}: is no ONNX file with a network in it; fetch it again")
    outside = {
        e.value
        for t in model.graph.initializer
        for e in t.external_data
        if e.key == "location" and t.data_location
    }
    for name in sorted(outside):
        if not (path.parent / name).is_file():
            raise ValueError(f"{path}: keeps its weights in {name}, which is not beside it; put it there")
    try:
        onnx.load_external_data_for_model(model, str(path.parent))
    except (OSError, ValueError, onnx.checker.ValidationError) as error:
        raise ValueError(
            f"{path}: its weights in {', '.join(sorted(outside))} cannot be read ({error}); fetch both again"
        ) from error
    return model


def read(path: Path, until: str, size: Size | None = None, model: Any = None) -> Read:
    """The network in `path` from its image to the tensor `until`, a name or an unambiguous part of one.

    `size` (W, H) where the file leaves it free. FileNotFoundError; ValueError that names the file, what in it
    cannot be read, and the way out.
    """
    model = load(path) if model is None else model
    try:
        return _Reader(path, model).read(until, size)
    except ValueError as error:
        raise error if str(error).startswith(str(path)) else ValueError(f"{path}: {error}") from error


def resolve(model: Any, until: str) -> str:
    """The tensor that `until` names: itself, or the only one, or in one place the last, of whose name it is a
    part. ValueError with near names if there is none.
    """
    names = [o for n in model.graph.node for o in n.output if o]
    if until in names:
        return until
    place = re.compile(rf"(^|[/.]){re.escape(until)}(?=[/:.]|$)")
    found = [n for n in names if place.search(n)] or [n for n in names if until in n]
    scopes = {n[: n.index(until)] for n in found}
    if not found:
        near = difflib.get_close_matches(
            until, [*names, *{part for n in names for part in n.split("/")}], 5, 0.4
        )
        near = near or [o.name for o in model.graph.output]
        raise ValueError(f"no tensor is called {until!r}; near are {', '.join(near)}")
    if len(scopes) > 1:
        raise ValueError(
            f"--until {until!r} may be {', '.join(found[:6])}{', ...' if len(found) > 6 else ''}; give more "
            f"of the name"
        )
    return found[-1]


def candidates(model: Any) -> list[str]:
    """The maps that might be heatmaps, each with its shape: what convolutions give behind which there is no
    other.
    """
    inferred = onnx.shape_inference.infer_shapes(model)
    shapes = {
        v.name: [d.dim_value or d.dim_param or "?" for d in v.type.tensor_type.shape.dim]
        for v in inferred.graph.value_info
    }
    behind: dict[str, list[Any]] = {}
    for node in model.graph.node:
        for name in node.input:
            behind.setdefault(name, []).append(node)
    ends, before_conv = [], set()
    for node in reversed(model.graph.node):
        conv = node.op_type in ("Conv", "ConvTranspose", "Gemm")
        if any(
            id(n) in before_conv or n.op_type in ("Conv", "ConvTranspose")
            for o in node.output
            for n in behind.get(o, [])
        ):
            before_conv.add(id(node))
        elif conv and node.op_type != "Gemm":
            ends.append(node.output[0])
    return [f"{name} {shapes.get(name, '')}".strip() for name in reversed(ends)]


class _Reader:
    """One file while it is read."""

    def __init__(self, path: Path, model: Any) -> None:
        self.path, self.model = path, model
        self.opset = next((o.version for o in model.opset_import if o.domain in ("", "ai.onnx")), 0)
        if self.opset < 7:
            raise ValueError(f"is of ONNX opset {self.opset}; export it again with 13 or newer")
        self.stored = {t.name: t for t in model.graph.initializer}
        self.operations: list[Operation] = []
        self.weights: dict[str, Tensor] = {}
        self.layers: dict[Any, str] = {}

    def read(self, until: str, size: Size | None) -> Read:
        output = resolve(self.model, until)
        nodes = self._needed(output)
        self.constants, nodes = self._folded(nodes, output)
        self._known(nodes)
        if (
            nodes
            and nodes[-1].op_type == "Transpose"
            and list(_attributes(nodes[-1]).get("perm", ())) == [0, 2, 3, 1]
            and len(nodes) > 1
        ):
            nodes, output = (
                nodes[:-1],
                nodes[-1].input[0],
            )  # maps laid out (B, h, w, K), which are wanted (B, K, h, w)
        self.uses = Counter(name for n in nodes for name in n.input)
        given = self._image(nodes)
        dims = [d.dim_value or None for d in given.type.tensor_type.shape.dim]
        dtype = np.dtype(onnx.helper.tensor_dtype_to_np_dtype(given.type.tensor_type.elem_type))
        start = self._start(given.name, dims, nodes)
        nodes = [n for n in nodes if id(n) not in start.taken]
        skip: set[int] = set()
        for index, node in enumerate(nodes):
            if id(node) not in skip:
                self._convert(node, nodes[index + 1 :], skip)
        operations = (*start.operations, *self.operations)
        last = next((o for o in operations if output in o.outputs), None)
        if last is None:
            raise ValueError(f"{output} is only the image itself; name a tensor behind the first layer")
        features = last.inputs[0] if last.kind in LAYERS and last.inputs else ""
        network = self._network(
            Graph(operations, start.input, output, features if features != start.input else "")
        )
        native = self._size(dims, start.layout, size)
        network = self._freed(network, native, dims[0])
        after = self._after(output)
        return Read(
            self.path, self.model, network, given.name, start.layout, dtype, dims[0], native if None not in self._sides(dims, start.layout) else None,
            tuple(start.gain), tuple(start.offset), start.flipped, after,
        )  # fmt: skip

    # What is needed

    def _needed(self, output: str) -> list[Any]:
        needed, kept = {output}, []
        for node in reversed(self.model.graph.node):
            if needed.intersection(node.output):
                needed.update(node.input)
                kept.append(node)
        return kept[::-1]

    def _after(self, output: str) -> bool:
        """Whether a softmax reads the output, at once or reshaped."""
        names = {output}
        for node in self.model.graph.node:
            if names.intersection(node.input):
                if node.op_type == "Softmax":
                    return True
                if node.op_type in (
                    "Reshape",
                    "Flatten",
                    "Transpose",
                    "Unsqueeze",
                    "Gather",
                    "Identity",
                    "Squeeze",
                ):
                    names.update(node.output)
        return False

    def _known(self, nodes: Sequence[Any]) -> None:
        for node in nodes:
            what = f"operator {node.op_type}" + (
                f" of {node.domain}" if node.domain not in ("", "ai.onnx") else ""
            )
            if node.op_type in CONTROL:
                raise ValueError(
                    f"{what} ({node.output[0]}) is control flow, which no list of operations has; name an "
                    f"earlier tensor with --until"
                )
            if node.domain not in ("", "ai.onnx") or node.op_type not in {
                *LAYERS,
                *FUNCTIONS,
                "Gemm",
                "Upsample",
            }:
                raise ValueError(
                    f"{what} ({node.output[0]}) is unknown; name an earlier tensor with --until, or add it "
                    f"to poseling/models/operators.py"
                )

    def _folded(self, nodes: Sequence[Any], output: str) -> tuple[dict[str, Array], list[Any]]:
        """Every constant by its name, and the nodes that are left: constants are those stored, half floats as
        floats, and those that operations make of constants alone, which ONNX Runtime computes.
        """
        known = set(self.stored)
        made: list[Any] = []
        rest: list[Any] = []
        for node in nodes:
            constant = node.op_type not in (*CONTROL, *RANDOM) and all(
                name in known for name in node.input if name
            )
            (made if constant else rest).append(node)
            if constant:
                known.update(node.output)
        if output in known:
            raise ValueError(f"{output} does not depend on the image; name another tensor with --until")
        read = {name for node in rest for name in node.input}
        wanted = [name for node in made for name in node.output if name in read]
        found = {
            name: onnx.numpy_helper.to_array(t, str(self.path.parent))
            for name, t in self.stored.items()
            if name in read
        }
        if wanted:
            part = onnx.helper.make_model(
                onnx.helper.make_graph(
                    made, "constants", [], [onnx.ValueInfoProto(name=name) for name in wanted],
                    [t for n, t in self.stored.items() if any(n in node.input for node in made)],
                ),
                opset_imports=self.model.opset_import, ir_version=self.model.ir_version,
            )  # fmt: skip
            found |= zip(wanted, _session(part).run(wanted, {}), strict=True)
        return {
            name: a.astype(np.float32) if a.dtype in (np.float16, np.float64) else a
            for name, a in found.items()
        }, rest

    # The image

    def _image(self, nodes: Sequence[Any]) -> Any:
        read = {name for node in nodes for name in node.input}
        inputs = [i for i in self.model.graph.input if i.name in read and i.name not in self.stored]
        if len(inputs) != 1:
            raise ValueError(
                f"has {len(inputs)} inputs ({', '.join(i.name for i in inputs)}), a network takes one image"
            )
        [given] = inputs
        if len(given.type.tensor_type.shape.dim) != 4:
            raise ValueError(
                f"its input {given.name} has {len(given.type.tensor_type.shape.dim)} axes, a batch of images "
                f"has four"
            )
        return given

    def _start(self, name: str, dims: Sequence[int | None], nodes: Sequence[Any]) -> _Start:
        """The arithmetic on pixels at the graph's start."""
        readers: dict[str, list[Any]] = {}
        for node in nodes:
            for read in dict.fromkeys(node.input):
                readers.setdefault(read, []).append(node)
        first = next((n for n in nodes if n.op_type == "Transpose"), None)
        turned = first is not None and list(_attributes(first).get("perm", ())) == [0, 3, 1, 2]
        told = (dims[3] == 3) != (dims[1] == 3)
        layout = "bhwc" if (dims[3] == 3 if told else turned) else "bchw"
        if 3 not in (dims[1], dims[3]) and None not in (dims[1], dims[3]):
            raise ValueError(f"its input {name} is {list(dims)}, which has no axis of three colours")
        start = _Start(layout, name)
        order, gain, offset, flipped = layout, np.ones(3), np.zeros(3), False
        asked: list[tuple[Any, str]] = []  # nodes that read the image's shape, and how the axes lay there
        while True:
            behind = [n for n in readers.get(name, []) if n.op_type != "Shape"]
            asked += [(n, order) for n in readers.get(name, []) if n.op_type == "Shape"]
            if len(behind) != 1:
                break
            [node] = behind
            a, at = _attributes(node), order.index("c")
            if node.op_type == "Transpose":
                order = "".join(order[i] for i in a["perm"])
            elif node.op_type in ("Add", "Sub", "Mul", "Div"):
                other = next((i for i in node.input if i != name), name)
                value = _by_colour(self.constants.get(other), at)
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
            elif _reverses(node, a, self.constants, at):
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
            bounds = _attributes(node)
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

    def _sides(self, dims: Sequence[int | None], layout: str) -> tuple[int | None, int | None]:
        return (dims[2], dims[1]) if layout == "bhwc" else (dims[3], dims[2])

    def _size(self, dims: Sequence[int | None], layout: str, size: Size | None) -> Size:
        width, height = self._sides(dims, layout)
        if (width is None or height is None) and size is None:
            raise ValueError("leaves the size of its images free; say which with --size W H")
        return (width or (size or (0, 0))[0], height or (size or (0, 0))[1])

    # Operations

    def _convert(self, node: Any, later: Sequence[Any], skip: set[int]) -> None:
        a = _attributes(node)
        kind, inputs, outputs = node.op_type, list(node.input), [node.output[0]]
        if kind in (
            "Conv",
            "ConvTranspose",
            "BatchNormalization",
            "InstanceNormalization",
            "LayerNormalization",
            "PRelu",
            "Gemm",
        ):
            self._layer(node, a)
            return
        if kind == "MatMul" and (weight := self.constants.get(inputs[1])) is not None and weight.ndim == 2:
            self._linear(node, weight, later, skip)
            return
        if kind == "Upsample":
            kind, a = "Resize", a | {"coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
        if kind == "Resize" and self.opset == 10:
            a |= {"coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
        if kind == "Split":
            outputs, a = list(node.output), a | {"outputs": len(node.output)}
        if kind in ("Softmax", "LogSoftmax"):
            a = {"axis": a.get("axis", -1 if self.opset >= 13 else 1), "flat": self.opset < 13}
        if kind in ("MaxPool", "AveragePool"):
            a = a | _window(a, a["kernel_shape"])
        if kind.startswith("Reduce"):
            a["noop"] = bool(a.pop("noop_with_empty_axes", 0))
        how: tuple[str, ...] = HOW.get(node.op_type, ())
        if kind == "Resize" and self.opset == 10:
            how = ("scales",)
        if kind == "ConstantOfShape":
            how, inputs = ("input",), ["", *inputs]
        a, inputs = self._how(how, inputs, a)
        if kind == "ConstantOfShape":
            inputs = inputs[1:]
        if kind == "Clip":
            a = {
                k: v for k, v in a.items() if k not in ("min", "max") or (v is not None and abs(v) < ENDLESS)
            }
        if kind == "Resize":
            self._checked_resize(node, a)
        given = a.get("given", ())
        for index in range(len(inputs) - len(given)):
            inputs[index] = self._value(inputs[index], node)
        self._emit(Operation(kind, tuple(inputs), tuple(outputs), a))

    def _how(
        self, how: Sequence[str], inputs: list[str], a: dict[str, Any]
    ) -> tuple[dict[str, Any], list[str]]:
        """Attributes with the constants among the inputs that say how, and the inputs without them."""
        a, dynamic = dict(a), {}
        for key, name in zip(how, inputs[1:], strict=False):
            if name in self.constants:
                value = self.constants[name]
                if value.size or key not in ("roi", "scales", "sizes"):
                    a[key] = value.item() if value.ndim == 0 or key == "value" else value.tolist()
            elif name:
                dynamic[key] = name
        if how:
            inputs = [inputs[0], *dynamic.values()]
        return (a | {"given": list(dynamic)} if dynamic else a), inputs

    def _checked_resize(self, node: Any, a: dict[str, Any]) -> None:
        for key in (
            "roi",
            "extrapolation_value",
            "cubic_coeff_a",
            "exclude_outside",
            "antialias",
            "keep_aspect_ratio_policy",
        ):
            value = a.pop(key, None)
            wrong = {"exclude_outside": 1, "antialias": 1}.get(key)
            if (value is not None and value == wrong) or (
                key == "cubic_coeff_a" and value not in (None, -0.75)
            ):
                raise ValueError(
                    f"Resize ({node.output[0]}) with {key} {value} is unknown; export it again without"
                )
        axes = a.pop("axes", None)
        for key in ("scales", "sizes"):
            if isinstance(a.get(key), list):
                value = a[key]
                if axes is not None:
                    value = [value[axes.index(i)] if i in axes else 1 for i in range(4)]
                if len(value) != 4 or (key == "scales" and list(value[:2]) != [1, 1]):
                    raise ValueError(
                        f"Resize ({node.output[0]}) is not along height and width; only such are known"
                    )
                a[key] = value

    def _emit(self, operation: Operation) -> None:
        self.operations.append(operation)

    def _value(self, name: str, node: Any) -> str:
        """The name of a value that an operation reads; of a constant, once it is there as a number or as a
        tensor that is learned, one for each reader.
        """
        if name not in self.constants:
            return name
        value = self.constants[name]
        if value.dtype.kind == "f" and value.size > 1:
            layer = self._name([name, node.output[0]])
            self.weights[f"{layer}.weight"] = torch.from_numpy(value.copy())
            self._emit(
                Operation(
                    "Parameter", (), (f"{layer}/learned",), {"layer": layer, "shape": list(value.shape)}
                )
            )
            return f"{layer}/learned"
        if not any(name in o.outputs for o in self.operations):
            self._emit(
                Operation("Constant", (), (name,), {"value": value.tolist(), "dtype": str(value.dtype)})
            )
        return name

    def _layer(self, node: Any, a: dict[str, Any]) -> None:
        kind = node.op_type
        tensors: list[Any] = []
        for name in node.input[1:]:
            if name and name not in self.constants:
                raise ValueError(
                    f"{kind} ({node.output[0]}) computes its weights {name} from the image; name an earlier "
                    f"tensor with --until"
                )
            tensors.append(self.constants[name] if name else None)
        weight, bias = tensors[0], tensors[1] if len(tensors) > 1 else None
        named: dict[str, Any] = {"weight": weight, "bias": bias}
        if kind in ("Conv", "ConvTranspose"):
            if weight.ndim != 4:
                raise ValueError(
                    f"{kind} ({node.output[0]}) is over {weight.ndim - 2} axes; only those over height and "
                    f"width are known"
                )
            group = int(a.get("group", 1))
            channels = (
                [weight.shape[1] * group, weight.shape[0]]
                if kind == "Conv"
                else [weight.shape[0], weight.shape[1] * group]
            )
            made = {
                "channels": channels,
                **_window(a, weight.shape[2:]),
                "groups": group,
                "bias": bias is not None,
            }
            if kind == "ConvTranspose":
                if "same" in made or a.get("output_shape"):
                    raise ValueError(
                        f"ConvTranspose ({node.output[0]}) with a fixed output shape is unknown; export it "
                        f"again with pads"
                    )
                made["output_padding"] = list(a.get("output_padding", [0, 0]))
        elif kind == "Gemm":
            if a.get("transA", 0):
                raise ValueError(
                    f"Gemm ({node.output[0]}) with transA is unknown; name an earlier tensor with --until"
                )
            weight = (weight if a.get("transB", 0) else weight.T) * np.float32(a.get("alpha", 1.0))
            if bias is not None:
                bias = np.broadcast_to(np.asarray(bias).reshape(-1), (len(weight),)) * np.float32(
                    a.get("beta", 1.0)
                )
            kind, named = "Linear", {"weight": weight, "bias": bias}
            made = {"channels": [weight.shape[1], weight.shape[0]], "bias": bias is not None}
        elif kind == "BatchNormalization":
            named |= {"running_mean": tensors[2], "running_var": tensors[3]}
            made = {
                "channels": len(weight),
                "epsilon": a.get("epsilon", 1e-5),
                "momentum": a.get("momentum", 0.9),
            }
        elif kind == "InstanceNormalization":
            made = {"channels": len(weight), "epsilon": a.get("epsilon", 1e-5)}
        elif kind == "LayerNormalization":
            if a.get("axis", -1) not in (-1, -weight.ndim):
                raise ValueError(
                    f"LayerNormalization ({node.output[0]}) from axis {a['axis']} on is unknown; only over "
                    f"the last axes"
                )
            made = {"shape": list(weight.shape), "epsilon": a.get("epsilon", 1e-5), "bias": bias is not None}
        else:
            made, named = {"channels": int(weight.size)}, {"weight": weight.reshape(-1)}
        # Convolutions that read the same weights are one layer; norms are not: exporters store equal vectors
        # once.
        key = (
            (kind, tuple(node.input[1:]), repr(made)) if kind in ("Conv", "ConvTranspose", "Linear") else None
        )
        layer = self.layers.get(key) or self._name([*node.input[1:3], node.name, node.output[0]])
        self.layers[key if key else layer] = layer
        for name, value in named.items():
            if value is not None:
                self.weights[f"{layer}.{name}"] = torch.from_numpy(np.array(value, np.float32))
        self._emit(Operation(kind, (node.input[0],), (node.output[0],), {"layer": layer, **made}))

    def _linear(self, node: Any, weight: Array, later: Sequence[Any], skip: set[int]) -> None:
        """A product with a constant matrix, and the bias that is added to it and to nothing else."""
        output, bias, named = node.output[0], None, ""
        readers = [n for n in later if output in n.input]
        if len(readers) == 1 and readers[0].op_type == "Add" and self.uses[output] == 1:
            other = next((i for i in readers[0].input if i != output), "")
            if (found := self.constants.get(other)) is not None and found.shape == (weight.shape[1],):
                bias, named = found, other
                skip.add(id(readers[0]))
                output = readers[0].output[0]
        layer = self._name([node.input[1], named, node.name, output])
        self.weights[f"{layer}.weight"] = torch.from_numpy(np.ascontiguousarray(weight.T))
        if bias is not None:
            self.weights[f"{layer}.bias"] = torch.from_numpy(bias.copy())
        self._emit(
            Operation(
                "Linear",
                (node.input[0],),
                (output,),
                {"layer": layer, "channels": list(weight.shape), "bias": bias is not None},
            )
        )

    def _name(self, wishes: Sequence[str]) -> str:
        """A name for a layer that no other has, from the first of these tensors that has a telling one."""
        taken = {key.rpartition(".")[0] for key in self.weights}
        words = [_words(wish) for wish in wishes if wish]
        base = next((w for w in words if w), "layer")
        name, count = base, 1
        while name in taken:
            count += 1
            name = f"{base}_{count}"
        return name

    def _network(self, graph: Graph) -> GraphNetwork:
        network = GraphNetwork(graph)
        network.layers.load_state_dict(self.weights, strict=False)
        return network.eval()

    # Sizes and batches

    @torch.no_grad()
    def _freed(self, network: GraphNetwork, size: Size, batch: int | None) -> GraphNetwork:
        """The network with what the file fixes though it need not: maps resized by a factor rather than to a
        size, and the number of images.
        """
        fixed = f"the file is fixed to {batch or 'so many'} at once, export it with a free batch"
        try:
            shapes = network.shapes(size)
        except ValueError as error:
            raise ValueError(f"{error}; {fixed}" if batch not in (None, 1) else str(error)) from error
        operations = []
        for o in network.graph.operations:
            a = dict(o.attributes)
            if o.kind == "Resize" and isinstance(a.get("sizes"), list):
                old, new = shapes[o.inputs[0]][2:], a["sizes"][2:]
                if all(n % s == 0 for s, n in zip(old, new, strict=True)):
                    del a["sizes"]
                    a["scales"] = [1.0, 1.0, *(float(n // s) for s, n in zip(old, new, strict=True))]
            if (
                o.kind == "Reshape"
                and isinstance(a.get("shape"), list)
                and o.inputs[0] in shapes
                and batch == 1
            ):
                before, target = shapes[o.inputs[0]], a["shape"]
                if target[0] == 1 and before[0] == 1:
                    target, a["allowzero"] = [0, *target[1:]], 0
                elif target[0] > 0 and -1 not in target:
                    target = [-1, *target[1:]]
                a["shape"] = target
            operations.append(replace(o, attributes=a))
        freed = self._network(replace(network.graph, operations=tuple(operations)))
        images = torch.randn(2, 3, size[1], size[0], generator=torch.Generator().manual_seed(0))
        try:
            together = freed(images)
            apart = torch.cat([freed(image[None]) for image in images])
            mixed = apart.shape != together.shape or bool(
                (apart - together).abs().max() > BOUND * (apart.max() - apart.min()) + 1e-6
            )
        except (RuntimeError, ValueError, IndexError) as error:
            try:
                freed.values(images)
            except ValueError as told:
                raise ValueError(f"for two images {told}; {fixed}") from error
            raise
        if mixed:
            raise ValueError(f"{freed.graph.last} mixes the images of a batch; {fixed}")
        return freed


@dataclass
class _Start:
    """The graph's start: what was taken off and what is put there instead."""

    layout: str
    input: str

    def __post_init__(self) -> None:
        self.operations: list[Operation] = []
        self.taken: set[int] = set()
        self.gain: list[float] = [1.0] * 3
        self.offset: list[float] = [0.0] * 3
        self.flipped = False


@torch.inference_mode()
def difference(
    found: Read,
    spec: PoseSpec,
    crops: NDArray[np.uint8],
    channels: Sequence[int] | None = None,
    bound: float = BOUND,
) -> float:
    """How far the network and ONNX Runtime are apart on `crops` (N, H, W, 3) uint8 RGB: the mean difference,
    as a part of the output's range.

    `channels` of the file's output that the network still has. ValueError that names the file and the first
    tensor that differs, if anywhere by more than `bound` of its range.
    """
    network = found.network.eval()
    images = normalise(torch.from_numpy(crops), spec)
    output = network.graph.output
    [theirs] = _outputs(found, images, [output])
    ours = network(images)[:, 0].numpy()
    apart = _apart(ours, theirs if channels is None else theirs[:, list(channels)])
    if apart.max() <= bound:
        return float(apart.mean())
    values = {
        n: v for n, v in network.values(images).items() if isinstance(v, Tensor) and v.is_floating_point()
    }
    there = {o for n in found.model.graph.node for o in n.output}
    names = [n for o in network.graph.operations for n in o.outputs if n in values and n in there]
    for name, expected in zip(names, _outputs(found, images, names), strict=True):
        value = values[name].numpy()
        if value.shape != expected.shape or _apart(value, expected).max() > bound:
            break
    raise ValueError(
        f"{found.path}: torch and ONNX Runtime differ by {apart.max():.2g} of the range of {output}, more "
        f"than {bound:g}; the first tensor that differs is "
        f"{name}. Name an earlier one with --until, and report it"
    )


def _apart(ours: Array, theirs: Array) -> Array:
    return np.abs(ours - theirs) / max(float(theirs.max() - theirs.min()), 1e-12)


def _outputs(found: Read, images: Tensor, names: Sequence[str]) -> list[Array]:
    """What ONNX Runtime gives for these tensors of the file."""
    model = onnx.ModelProto()
    model.CopyFrom(found.model)
    del model.graph.output[:]
    model.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names)
    session, fed = _session(model), found.fed(images)
    step = found.batch or len(fed)
    filled = np.concatenate([fed, *[fed[-1:]] * (-len(fed) % step)])
    parts = [
        session.run(list(names), {found.input: filled[i : i + step]}) for i in range(0, len(filled), step)
    ]
    return [np.concatenate(part)[: len(fed)] for part in zip(*parts, strict=True)]


def _session(model: Any) -> Any:
    return open_session(model.SerializeToString(), log=3)


def _attributes(node: Any) -> dict[str, Any]:
    """As JSON has them."""
    found: dict[str, Any] = {}
    for attribute in node.attribute:
        value = onnx.helper.get_attribute_value(attribute)
        if isinstance(value, bytes):
            value = value.decode()
        elif isinstance(value, onnx.TensorProto):
            value = onnx.numpy_helper.to_array(value).reshape(-1)[0].item()
        elif isinstance(value, (list, tuple)) or hasattr(value, "extend"):
            value = list(value)
        found[attribute.name] = value
    return found


def _window(a: Mapping[str, Any], kernel: Sequence[int]) -> dict[str, Any]:
    """Kernel, strides, pads and dilations of a convolution or a pool."""
    auto = a.get("auto_pad", "NOTSET")
    made: dict[str, Any] = {
        "kernel": list(kernel),
        "strides": list(a.get("strides", [1, 1])),
        "dilations": list(a.get("dilations", [1, 1])),
        "pads": list(a.get("pads", [0, 0, 0, 0])) if auto == "NOTSET" else [0, 0, 0, 0],
    }
    return made | {"same": auto} if auto.startswith("SAME") else made


def _by_colour(value: Array | None, axis: int) -> Array | None:
    """(3,) a constant as one number for each colour, the colours being along `axis` of four; None if it is
    none.
    """
    if value is None or value.ndim > 4:
        return None
    shape = (1,) * (4 - value.ndim) + value.shape
    if any(s != 1 for i, s in enumerate(shape) if i != axis) or shape[axis] not in (1, 3):
        return None
    return np.broadcast_to(value.astype(np.float64).reshape(-1), (3,))


def _reverses(node: Any, a: Mapping[str, Any], constants: Mapping[str, Array], axis: int) -> bool:
    """Whether a node turns the colours around and does nothing else."""
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


PLUMBING = re.compile(
    r"(Conv2D|BiasAdd|ReadVariableOp(_\d+)?|depthwise|MatMul|\w+_weights|\w+_bn_offset|weight|bias|kernel|gamma|beta|Relu6?|add)"
)
ANONYMOUS = re.compile(r"(const_fold|onnx::|Conv__\d|val_\d|getitem|linear(_\d+)?$|\d+$)")


def _words(tensor: str) -> str:
    """A layer's name from a tensor's, letters, digits and _; "" if the tensor's says nothing."""
    if ANONYMOUS.match(tensor):
        return ""
    tensor = tensor.partition(":")[0]
    path = "/" in tensor  # TensorFlow's names are paths, PyTorch's have dots
    parts = tensor.split("/" if path else ".")
    while len(parts) > 1 and (PLUMBING.fullmatch(parts[-1]) or (path and parts[-2].startswith(parts[-1]))):
        parts = parts[:-1]
    parts = (
        parts[-2:]
        if path
        else parts[1:]
        if len(parts) > 1 and parts[0] in ("network", "model", "module")
        else parts
    )
    return re.sub(r"\W+", "_", "_".join(parts)).strip("_")
