"""Eight bits for ONNX Runtime: a float ONNX file with QuantizeLinear and DequantizeLinear around what is
computed in integers.

Activations are u8 with one scale a tensor, weights s8 with one a channel, biases int32 with the product of
both, as Jacob et al. (CVPR 2018, arXiv 1712.05877) have it. Where the range of an activation ends is chosen
on real crops (`ranges`), and layers that cost more than they save can be left in float (`sensitivity`). What
reads the heatmaps, from the last layer with weights on, always stays in float: a joint is decoded to a
fraction of a pixel.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from poseling.onnx_session import open_session

Calibration = Literal["mse", "percentile", "minmax"]
Range = tuple[float, float]
BINS = 2048
PERCENTILE = 99.99  # of an activation's values, where ranges end by percentile
SHRINKS = np.linspace(0.3, 1.0, 71)  # parts of the whole range, where they end by squared error
ENOUGH = 8  # crops: fewer say nothing of what a network meets
OPSET = 13  # of per-channel DequantizeLinear

WEIGHTED = {
    "Conv": 0,
    "Gemm": 0,
    "MatMul": 1,
}  # and the axis of a weight's output channels; of Gemm with transB
SAME = {
    "Resize",
    "MaxPool",
    "Transpose",
    "Reshape",
    "Squeeze",
    "Unsqueeze",
    "Flatten",
    "Slice",
    "Split",
    "Identity",
}
ARITHMETIC = {
    "Add",
    "Mul",
    "Sub",
    "Concat",
    "AveragePool",
    "GlobalAveragePool",
    "Relu",
    "Clip",
    "LeakyRelu",
    "Sigmoid",
}
CHOSEN = {*WEIGHTED, *SAME, *ARITHMETIC}  # all that ONNX Runtime computes on bytes, or that bytes merely pass
ACTIVATIONS = ("Relu", "Clip")  # that vanish into the rounding of the layer before


@dataclass(frozen=True)
class Plan:
    """What becomes integer: the nodes, by their first output, and the tensors that are rounded to u8."""

    nodes: frozenset[str]
    tensors: tuple[str, ...]


def layers(model: onnx.ModelProto, output: str) -> list[str]:
    """The layers with weights before `output` that can be quantised, by the tensor that each gives: all but
    the first and the last.
    """
    graph = _Graph(model)
    return [n.output[0] for n in graph.before(output) if graph.weighted(n)][1:-1]


def plan(model: onnx.ModelProto, output: str, floats: Sequence[str] = (), only: str = "") -> Plan:
    """What of the network before the tensor `output` can become integer, without the layers `floats`; `only`
    one layer if it is named.

    The last layer with weights stays in float, and all behind it. So does the first, and the arithmetic on
    pixels before it: on three colours integers are slower than floats in ONNX Runtime (2.3 times, for 32
    channels of a 192x224 image). ValueError if `output`, or one of `floats`, is no tensor of the file, or
    no layer would be left.
    """
    graph = _Graph(model)
    if unknown := [name for name in (output, *floats, *([only] if only else [])) if name not in graph.maker]:
        raise ValueError(f"the network has no tensor {unknown[0]!r}")
    before = graph.before(output)
    weighted = [n for n in before if graph.weighted(n)]
    if len(weighted) < 3:
        raise ValueError(
            f"{output}: between the first and the last layer, which stay in float, there is none to quantise"
        )
    first, last = (before.index(weighted[i]) for i in (0, -1))
    inner = [n for n in before[first + 1 : last] if n.op_type in CHOSEN and n.output[0] not in floats]
    inner = [n for n in inner if n.op_type not in WEIGHTED or graph.weighted(n)]
    behind = _behind(before[first:], weighted[0])
    for layer in (weighted[0], *(graph.maker[name] for name in floats)):
        behind -= _activation(graph, layer)  # the activation of a float layer is one with it
    chosen = {n.output[0] for n in inner if n.output[0] in behind}
    if only:
        chosen &= {only, *_activation(graph, graph.maker[only])}
    tensors: dict[str, None] = {}
    for node in inner:
        if node.output[0] not in chosen:
            continue
        values = 1 if node.op_type in (*WEIGHTED, *SAME, "Clip") else None
        for name in (*node.input[:values], *node.output):
            if name and name not in graph.stored and graph.float(name) and not _vanishes(graph, name, chosen):
                tensors[name] = None
    return Plan(frozenset(chosen), tuple(tensors))


def ranges(
    model: onnx.ModelProto,
    tensors: Sequence[str],
    crops: NDArray[np.uint8],
    calibration: Calibration = "mse",
    batch: int = 8,
) -> dict[str, Range]:
    """From where to where each of the `tensors` is rounded, measured on `crops` (N, H, W, 3) uint8 RGB.

    `minmax`: all that was seen. `percentile`: but for one value in ten thousand on each side. `mse`: where
    the squared error of the rounding is smallest. ValueError for fewer than eight crops.
    """
    if len(crops) < ENOUGH:
        raise ValueError(
            f"calibration needs {ENOUGH} crops at least, got {len(crops)}; 100 are good. Give more with "
            f"--data"
        )
    shown = copy.deepcopy(model)
    known = {o.name for o in shown.graph.output}
    shown.graph.output.extend(onnx.ValueInfoProto(name=name) for name in tensors if name not in known)
    session = open_session(shown.SerializeToString(), threads=1, log=3)
    (port,) = session.get_inputs()
    names = list(tensors)

    def runs() -> Any:
        for i in range(0, len(crops), batch):
            yield session.run(names, {port.name: np.ascontiguousarray(crops[i : i + batch])})

    low, high = (
        np.zeros(len(names)),
        np.zeros(len(names)),
    )  # zero is always told exactly: images are padded with it
    for values in runs():
        for i, value in enumerate(values):
            low[i], high[i] = (
                np.minimum(low[i], value.min()),
                np.maximum(high[i], value.max()),
            )  # NaN stays NaN
    if not np.isfinite([low, high]).all():
        raise ValueError("a layer gives infinite values, or none that are numbers; the network is damaged")
    if calibration == "minmax":
        return {name: (float(a), float(b)) for name, a, b in zip(names, low, high, strict=True)}
    counts = np.zeros((len(names), BINS))
    for values in runs():
        for i, value in enumerate(values):
            if high[i] > low[i]:
                place = (value.reshape(-1) - np.float32(low[i])) * np.float32(BINS / (high[i] - low[i]))
                counts[i] += np.bincount(place.astype(np.int32).clip(0, BINS - 1), minlength=BINS)
    choose: Callable[[NDArray[np.float64], float, float], Range] = (
        by_error if calibration == "mse" else by_percentile
    )
    return {
        name: choose(c, float(a), float(b)) for name, c, a, b in zip(names, counts, low, high, strict=True)
    }


def by_percentile(
    counts: NDArray[np.float64], low: float, high: float, percentile: float = PERCENTILE
) -> Range:
    """The range that holds `percentile` % of the values on either side, of a histogram (BINS,) from `low` to
    `high`.
    """
    total = counts.sum()
    if not total:
        return low, high
    edges = np.linspace(low, high, len(counts) + 1)
    below = np.cumsum(counts) / total
    first = int(np.searchsorted(below, 1 - percentile / 100, side="right"))
    last = int(np.searchsorted(below, percentile / 100))
    return min(float(edges[first]), 0.0), max(float(edges[min(last + 1, len(counts))]), 0.0)


def by_error(counts: NDArray[np.float64], low: float, high: float) -> Range:
    """The range, a part of the whole, in which rounding to 256 steps loses least: the mean square of what is
    rounded and cut.
    """
    if not counts.sum():
        return low, high
    edges = np.linspace(low, high, len(counts) + 1)
    middle = (edges[1:] + edges[:-1]) / 2
    best, chosen = np.inf, (low, high)
    for part in SHRINKS:
        scale, zero = grid((part * low, part * high))
        rounded = (np.rint(middle / scale + zero).clip(0, 255) - zero) * scale
        error = float((counts * (middle - rounded) ** 2).sum())
        if error < best:
            best, chosen = error, (float(part * low), float(part * high))
    return chosen


def grid(limits: Range) -> tuple[float, int]:
    """The scale of u8 and the whole number that means 0, for a range that holds 0.

    >>> grid((-2.0, 508.0))
    (2.0, 1)
    """
    low, high = min(limits[0], 0.0), max(limits[1], 0.0)
    scale = (high - low) / 255 or 1.0
    return scale, round(-low / scale)


def quantised(model: onnx.ModelProto, chosen: Plan, limits: Mapping[str, Range]) -> onnx.ModelProto:
    """The model with `chosen` in integers; `limits` are the ranges of its tensors. Inputs, outputs and
    metadata are the same.
    """
    return _Rewriter(model, chosen, limits).run()


def sensitivity(
    model: onnx.ModelProto, output: str, limits: Mapping[str, Range], crops: NDArray[np.uint8]
) -> list[tuple[str, float]]:
    """Each layer that could be quantised and how much it alone disturbs `output` when it is: the mean square
    of the difference over that of the output itself, on `crops` (N, H, W, 3). The worst first.

    `limits` are the ranges of all tensors of the whole plan.
    """

    def run(one: onnx.ModelProto) -> NDArray[np.float32]:
        asked = copy.deepcopy(one)
        asked.graph.output.append(onnx.ValueInfoProto(name=output))
        session = open_session(asked.SerializeToString(), threads=1, log=3)
        return np.asarray(session.run([output], {session.get_inputs()[0].name: crops})[0])

    truth = run(model)
    power = float(np.square(truth - truth.mean()).mean()) or 1.0
    found = []
    for layer in layers(model, output):
        alone = plan(model, output, only=layer)
        if all(name in limits for name in alone.tensors):
            found.append(
                (layer, float(np.square(run(quantised(model, alone, limits)) - truth).mean()) / power)
            )
    return sorted(found, key=lambda pair: -pair[1])


def rounded(weight: NDArray[np.float32], axis: int) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """A weight as s8, symmetric about 0, and the scale of each channel along `axis`.

    >>> q, scale = rounded(np.array([[127.0, -50.2], [0.0, 0.0]], np.float32), 0)
    >>> q.tolist(), scale.tolist()
    ([[127, -50], [0, 0]], [1.0, 1.0])
    """
    others = tuple(i for i in range(weight.ndim) if i != axis % weight.ndim)
    top = np.abs(weight).max(others)
    scale = np.where(top > 0, top / 127, 1.0).astype(np.float32)
    shape = [1] * weight.ndim
    shape[axis] = -1
    return np.rint(weight / scale.reshape(shape)).clip(-127, 127).astype(np.int8), scale


class _Graph:
    """Who makes and who reads each tensor."""

    def __init__(self, model: onnx.ModelProto) -> None:
        self.nodes = list(model.graph.node)
        self.stored = {t.name: t for t in model.graph.initializer}
        self.maker = {o: n for n in self.nodes for o in n.output if o}
        self.read: dict[str, list[Any]] = {}
        for node in self.nodes:
            for name in node.input:
                self.read.setdefault(name, []).append(node)
        self.outputs = {o.name for o in model.graph.output}
        kinds = {v.name: v.type.tensor_type.elem_type for v in (*model.graph.value_info, *model.graph.input)}
        self.kinds = kinds

    def readers(self, name: str) -> list[Any]:
        """The nodes that read a tensor; if it is an output of the file, one more."""
        return [*self.read.get(name, []), *([onnx.NodeProto()] if name in self.outputs else [])]

    def float(self, name: str) -> bool:
        """Whether a tensor holds floats, as far as the file says."""
        return bool(self.kinds.get(name, 1) == onnx.TensorProto.FLOAT)

    def weighted(self, node: Any) -> bool:
        """Whether it is a layer with a weight that lies in the file."""
        return node.op_type in (*WEIGHTED, "ConvTranspose") and node.input[1] in self.stored

    def before(self, output: str) -> list[Any]:
        """The nodes that are needed for `output`, in their order."""
        needed, kept = {output}, []
        for node in reversed(self.nodes):
            if needed.intersection(node.output):
                needed.update(node.input)
                kept.append(node)
        return kept[::-1]


def _activation(graph: _Graph, layer: Any) -> set[str]:
    """The output of the activation that belongs to a layer, if it has one."""
    after = graph.readers(layer.output[0])
    return set(after[0].output) if len(after) == 1 and after[0].op_type in ACTIVATIONS else set()


def _vanishes(graph: _Graph, name: str, chosen: set[str]) -> bool:
    """Whether a tensor lies between a chosen node and its activation, which are one where they run."""
    after = graph.readers(name)
    made = graph.maker.get(name)
    if made is None or made.output[0] not in chosen or made.op_type in ACTIVATIONS or len(after) != 1:
        return False
    return after[0].op_type in ACTIVATIONS and after[0].output[0] in chosen


def _behind(nodes: Sequence[Any], first: Any) -> set[str]:
    """The outputs of `first` and of all that depends on it."""
    found = set(first.output)
    for node in nodes:
        if found.intersection(node.input):
            found.update(node.output)
    return found


class _Rewriter:
    """Puts the pairs of Quantize and Dequantize in."""

    def __init__(self, model: onnx.ModelProto, chosen: Plan, limits: Mapping[str, Range]) -> None:
        self.model = copy.deepcopy(model)
        self.plan, self.graph = chosen, _Graph(self.model)
        self.limits = _shared(self.graph, chosen, limits)
        self.new: dict[str, NDArray[Any]] = {}
        self.nodes: list[Any] = []
        self.parts: dict[str, str] = {}  # of what is stored the name that gives it as float again

    def run(self) -> onnx.ModelProto:
        inside = self.model.graph
        rounded_names = set(self.plan.tensors)
        if port := next((i.name for i in inside.input if i.name in rounded_names), None):
            self._pair(port)
        for node in self.graph.nodes:
            chosen = node.output[0] in self.plan.nodes
            for i, name in enumerate(node.input):
                if name in rounded_names:
                    node.input[i] = f"{name}/u8/float"
            if chosen:
                self._constants(node)
            self.nodes.append(node)
            for name in node.output:
                if name in rounded_names:
                    self._pair(name)
        del inside.node[:]
        inside.node.extend(self.nodes)
        read = {name for node in self.nodes for name in node.input}
        kept = [t for t in inside.initializer if t.name in read]
        del inside.initializer[:]
        inside.initializer.extend(kept)
        inside.initializer.extend(numpy_helper.from_array(value, name) for name, value in self.new.items())
        for entry in self.model.opset_import:
            if entry.domain in ("", "ai.onnx") and entry.version < OPSET:
                raise ValueError(
                    f"the file is of ONNX opset {entry.version}, and channels have scales of their own from "
                    f"{OPSET} on"
                )
        onnx.checker.check_model(self.model)
        return self.model

    def _pair(self, name: str) -> None:
        scale, zero = grid(self.limits[name])
        self.new[f"{name}/scale"] = np.array(scale, np.float32)
        self.new[f"{name}/zero"] = np.array(zero, np.uint8)
        about = [f"{name}/scale", f"{name}/zero"]
        self.nodes.append(
            helper.make_node("QuantizeLinear", [name, *about], [f"{name}/u8"], name=f"{name}/quantize")
        )
        self.nodes.append(
            helper.make_node(
                "DequantizeLinear", [f"{name}/u8", *about], [f"{name}/u8/float"], name=f"{name}/dequantize"
            )
        )

    def _constants(self, node: Any) -> None:
        """The weights, biases and other constants of a chosen node."""
        if self.graph.weighted(node):
            axis = WEIGHTED[node.op_type]
            if node.op_type == "Gemm" and not next((a.i for a in node.attribute if a.name == "transB"), 0):
                axis = 1
            weight = numpy_helper.to_array(self.graph.stored[node.input[1]])
            scale = self._weight(node.input[1], weight, axis if node.op_type != "MatMul" else weight.ndim - 1)
            node.input[1] = self.parts[node.input[1]]
            if len(node.input) > 2 and node.input[2] in self.graph.stored:
                fed = grid(self.limits[node.input[0].removesuffix("/u8/float")])[0]
                node.input[2] = self._bias(node.output[0], node.input[2], (fed * scale).astype(np.float32))
        elif node.op_type in ("Add", "Mul", "Sub", "Concat"):
            for i, name in enumerate(node.input):
                if name in self.graph.stored:
                    node.input[i] = self._constant(name)

    def _weight(self, name: str, weight: NDArray[np.float32], axis: int) -> NDArray[np.float32]:
        values, scale = rounded(weight, axis)
        if name not in self.parts:
            self.new |= {
                f"{name}/s8": values,
                f"{name}/scale": scale,
                f"{name}/zero": np.zeros(len(scale), np.int8),
            }
            self._dequantised(name, f"{name}/s8", axis)
        return scale

    def _bias(self, layer: str, name: str, scale: NDArray[np.float32]) -> str:
        bias = numpy_helper.to_array(self.graph.stored[name]).astype(np.float64)
        whole = np.rint(bias / scale).clip(-(2**31) + 1, 2**31 - 1).astype(np.int32)
        key = f"{layer}/bias"
        self.new |= {
            f"{key}/s32": whole,
            f"{key}/scale": scale,
            f"{key}/zero": np.zeros(len(scale), np.int32),
        }
        self._dequantised(key, f"{key}/s32", 0)
        return self.parts[key]

    def _constant(self, name: str) -> str:
        value = numpy_helper.to_array(self.graph.stored[name])
        if name not in self.parts and value.dtype == np.float32:
            scale, zero = grid((float(value.min(initial=0)), float(value.max(initial=0))))
            whole = np.rint(value / scale + zero).clip(0, 255).astype(np.uint8)
            self.new |= {f"{name}/u8": whole, f"{name}/scale": np.array(scale, np.float32)}
            self.new[f"{name}/zero"] = np.array(zero, np.uint8)
            self._dequantised(name, f"{name}/u8", None)
        return self.parts.get(name, name)

    def _dequantised(self, key: str, whole: str, axis: int | None) -> None:
        self.parts[key] = f"{key}/float"
        more = {} if axis is None else {"axis": axis}
        about = [whole, f"{key}/scale", f"{key}/zero"]
        self.nodes.append(
            helper.make_node("DequantizeLinear", about, [f"{key}/float"], name=f"{key}/dequantize", **more)
        )


def _shared(graph: _Graph, chosen: Plan, limits: Mapping[str, Range]) -> dict[str, Range]:
    """The ranges, one for what goes in and out of a node that only moves values: bytes then pass it as they
    are.
    """
    found = dict(limits)
    moved = True
    while moved:
        moved = False
        for node in graph.nodes:
            if node.op_type not in SAME or node.output[0] not in chosen.nodes:
                continue
            names = [name for name in (node.input[0], *node.output) if name in found]
            both = (min(found[n][0] for n in names), max(found[n][1] for n in names)) if names else (0.0, 0.0)
            if any(found[n] != both for n in names):
                moved = True
                found |= dict.fromkeys(names, both)
    return found
