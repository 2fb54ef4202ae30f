"""An ONNX graph as a `GraphNetwork`: each node becomes an operation, its weights the layers of the network,
which is freed of the fixed sizes that the file has for no reason.

`read` makes the network. It does not know what the outputs mean; `importers.onnx` does.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from torch import Tensor

from poseling.geometry import Size
from poseling.models.graph import Graph, GraphNetwork, Operation
from poseling.models.importers.onnx_file import (
    Array,
    attributes,
    check_known,
    folded,
    image_input,
    load,
    needed,
    resolve,
    softmax_follows,
)
from poseling.models.importers.onnx_pixels import pixels, sides, size_of
from poseling.models.operators import LAYERS

BOUND = 1e-3  # of an output's range: how far torch and ONNX Runtime may be apart
ENDLESS = 3e38  # where Clip's bound means none

# Inputs that are settings rather than data: constants among them become attributes. By their place behind the
# first input.
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

    The file's input, called `input`, is of `dtype` in the order of `layout`; `size` (W, H) and `batch`
    are None where they are free. The network takes `gain` x + `offset` of it, by channel in the
    network's order, which is the file's the other way round if `flipped`. `softmax`: the file applies a
    softmax to the network's output.
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


class _Reader:
    """One file while it is read."""

    def __init__(self, path: Path, model: Any) -> None:
        self.path, self.model = path, model
        self.opset = next((o.version for o in model.opset_import if o.domain in ("", "ai.onnx")), 0)
        if self.opset < 7:
            raise ValueError(f"is of ONNX opset {self.opset}; export it again with 13 or newer")
        self.operations: list[Operation] = []
        self.weights: dict[str, Tensor] = {}
        self.layers: dict[Any, str] = {}

    def read(self, until: str, size: Size | None) -> Read:
        output = resolve(self.model, until)
        self.constants, nodes = folded(self.path, self.model, needed(self.model, output), output)
        check_known(nodes)
        if (
            nodes
            and nodes[-1].op_type == "Transpose"
            and list(attributes(nodes[-1]).get("perm", ())) == [0, 2, 3, 1]
            and len(nodes) > 1
        ):
            nodes, output = (
                nodes[:-1],
                nodes[-1].input[0],
            )  # maps laid out (B, h, w, K), which are wanted (B, K, h, w)
        self.uses = Counter(name for n in nodes for name in n.input)
        given = image_input(self.model, nodes)
        dims = [d.dim_value or None for d in given.type.tensor_type.shape.dim]
        dtype = np.dtype(onnx.helper.tensor_dtype_to_np_dtype(given.type.tensor_type.elem_type))
        start = pixels(given.name, dims, nodes, self.constants)
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
        native = size_of(dims, start.layout, size)
        network = self._freed(network, native, dims[0])
        after = softmax_follows(self.model, output)
        return Read(
            self.path, self.model, network, given.name, start.layout, dtype, dims[0], native if None not in sides(dims, start.layout) else None,
            tuple(start.gain), tuple(start.offset), start.flipped, after,
        )  # fmt: skip

    # Operations

    def _convert(self, node: Any, later: Sequence[Any], skip: set[int]) -> None:
        a = attributes(node)
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
        """Attributes with the constant settings among the inputs, and the inputs without them."""
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
            except ValueError as reason:
                raise ValueError(f"for two images {reason}; {fixed}") from error
            raise
        if mixed:
            raise ValueError(f"{freed.graph.last} mixes the images of a batch; {fixed}")
        return freed


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


PLUMBING = re.compile(
    r"(Conv2D|BiasAdd|ReadVariableOp(_\d+)?|depthwise|MatMul|\w+_weights|\w+_bn_offset|weight|bias|kernel|gamma|beta|Relu6?|add)"
)
ANONYMOUS = re.compile(r"(const_fold|onnx::|Conv__\d|val_\d|getitem|linear(_\d+)?$|\d+$)")


def _words(tensor: str) -> str:
    """A layer's name from a tensor's, letters, digits and _; "" if the tensor's is anonymous."""
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
