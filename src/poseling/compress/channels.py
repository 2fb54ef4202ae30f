"""Which channels of a network live and die together: the spaces of its channels, read off its list of
operations.

A space is a set of channels that several layers share: what one convolution writes and the next reads, or all
that a residual sum ties together. A channel is taken out of all of them at once, or of none. The idea is
DepGraph's (Fang et al., CVPR 2023, arXiv 2301.12900), which finds the groups by tracing a module; a
`GraphNetwork` has them in writing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from poseling.geometry import Size
from poseling.models.graph import GraphNetwork, Operation
from poseling.models.operators import LAYERS

# Each value of these is made of the values at the same place, with numbers repeated along axes of one.
PLAIN = {
    "Identity", "Dropout", "Cast", "Relu", "Clip", "LeakyRelu", "Elu", "HardSigmoid", "HardSwish", "Sigmoid", "Tanh",
    "Softplus", "Softsign", "Gelu", "Mish", "Swish", "Erf", "Exp", "Abs", "Sqrt", "Neg", "Reciprocal", "Floor", "Ceil",
}  # fmt: skip
PAIRS = {"Add", "Sub", "Mul", "Div", "Pow", "Max", "Min", "Sum", "Mean", "PRelu"}
# These look at each channel of a map by itself.
BY_CHANNEL = {
    "MaxPool", "AveragePool", "GlobalAveragePool", "GlobalMaxPool", "Resize", "ReduceMean", "ReduceMax", "ReduceSum",
}  # fmt: skip
TIED = {"BatchNormalization", "InstanceNormalization", "PRelu"}


@dataclass(frozen=True)
class Layer:
    """A layer with weights: the spaces of the channels that it reads and of those that it writes, in their
    order.

    `macs` are its multiply-accumulates for one image. Of a depthwise convolution, or a norm, both are the
    same.
    """

    name: str
    kind: str
    reads: tuple[int, ...]
    writes: tuple[int, ...]
    macs: int

    @property
    def tied(self) -> bool:
        """Whether each channel that it writes is made of the one that it reads."""
        return self.kind in TIED or (self.kind == "Conv" and self.reads == self.writes)


@dataclass(frozen=True)
class Channels:
    """The spaces of a network: how many channels each has, why it may not shrink ("" if it may), and who
    reads and writes it.
    """

    sizes: Mapping[int, int]
    fixed: Mapping[int, str]
    layers: tuple[Layer, ...]

    def free(self) -> list[int]:
        """The spaces that may shrink."""
        return [space for space in self.sizes if not self.fixed[space]]

    def macs(self, sizes: Mapping[int, int]) -> float:
        """Multiply-accumulates of all layers once the spaces have these sizes."""
        return sum(self.cost(layer, sizes) for layer in self.layers)

    def cost(self, layer: Layer, sizes: Mapping[int, int]) -> float:
        """Multiply-accumulates of one layer once the spaces have these sizes."""
        part = sum(sizes[s] for s in layer.writes) / sum(self.sizes[s] for s in layer.writes)
        if not layer.tied:
            part *= sum(sizes[s] for s in layer.reads) / sum(self.sizes[s] for s in layer.reads)
        return layer.macs * part

    def touching(self, space: int) -> list[Layer]:
        """The layers that read or write it."""
        return [layer for layer in self.layers if space in layer.reads or space in layer.writes]

    def places(self, spaces: tuple[int, ...], keep: Mapping[int, Tensor]) -> Tensor:
        """Which of a layer's channels stay, if those of `keep` do: whole numbers, in the layer's own order."""
        found, start = [], 0
        for space in spaces:
            found.append(start + keep.get(space, torch.arange(self.sizes[space])))
            start += self.sizes[space]
        return torch.cat(found)


def channels(network: GraphNetwork, size: Size) -> Channels:
    """The spaces of `network` for images of `size` (W, H). Whatever is not understood keeps its channels."""
    return _Finder(network, size).found()


def kept(network: GraphNetwork, found: Channels, keep: Mapping[int, Tensor]) -> GraphNetwork:
    """A copy with only these channels: `keep` has for each space that shrinks the numbers of those that stay,
    ascending.

    ValueError for a space that may not shrink, or of which nothing would be left.
    """
    for space, which in keep.items():
        if found.fixed[space] and len(which) != found.sizes[space]:
            raise ValueError(f"space {space} may not shrink: {found.fixed[space]}")
        if not len(which):
            raise ValueError(
                f"nothing would be left of the {found.sizes[space]} channels of space {space}; keep one at "
                f"least"
            )
    state: dict[str, Tensor] = {}
    new: dict[str, dict[str, Any]] = {}
    by_name = {layer.name: layer for layer in found.layers}
    operations = []
    for operation in network.graph.operations:
        layer = by_name.get(operation.layer) if operation.kind in LAYERS else None
        if layer is None:
            operations.append(operation)
            continue
        if layer.name not in new:
            reads, writes = (found.places(spaces, keep) for spaces in (layer.reads, layer.writes))
            new[layer.name] = _narrowed(operation, layer, len(reads), len(writes))
            for key, tensor in network.layers[layer.name].state_dict().items():
                state[f"layers.{layer.name}.{key}"] = _sliced(layer, key, tensor, reads, writes)
        operations.append(replace(operation, attributes=new[layer.name]))
    for name, tensor in network.state_dict().items():
        state.setdefault(name, tensor)
    smaller = GraphNetwork(replace(network.graph, operations=tuple(operations)))
    smaller.load_state_dict(state)
    return smaller.train(network.training)


def _narrowed(operation: Operation, layer: Layer, reads: int, writes: int) -> dict[str, Any]:
    attributes = dict(operation.attributes)
    if layer.kind in TIED:
        attributes["channels"] = writes
    else:
        attributes["channels"] = [reads, writes]
        if layer.tied:
            attributes["groups"] = writes
    return attributes


def _sliced(layer: Layer, key: str, tensor: Tensor, reads: Tensor, writes: Tensor) -> Tensor:
    if tensor.ndim == 0:  # the count of a norm's batches
        return tensor
    if key != "weight" or layer.tied:
        return tensor[writes].clone()
    first, second = (reads, writes) if layer.kind == "ConvTranspose" else (writes, reads)
    kept = tensor[first]
    if len(second) > kept.shape[1]:  # in groups, which keep all their channels
        return kept.clone()
    return kept[:, second].clone()


class _Finder:
    """Walks over the operations once; spaces that turn out to be one are joined."""

    def __init__(self, network: GraphNetwork, size: Size) -> None:
        self.network, self.shapes = network, network.shapes(size)
        self.parent: list[int] = []
        self.count: list[int] = []
        self.reason: list[str] = []
        # Of each tensor the axis of its channels and the spaces along it.
        self.of: dict[str, tuple[int, tuple[int, ...]]] = {}
        self.layers: dict[str, tuple[str, tuple[int, ...], tuple[int, ...], int]] = {}

    def found(self) -> Channels:
        graph = self.network.graph
        self.of[graph.input] = (1, (self._new(3, "these are the image's colours"),))
        for operation in graph.operations:
            self._walk(operation)
        if graph.output in self.of:
            self._fix(self.of[graph.output][1], "these are the joints")
        roots = sorted({self._root(s) for s in range(len(self.parent))})
        reason = dict.fromkeys(roots, "")
        for space in range(len(self.parent)):
            reason[self._root(space)] = reason[self._root(space)] or self.reason[space]
        layers = tuple(
            Layer(name, kind, tuple(map(self._root, reads)), tuple(map(self._root, writes)), macs)
            for name, (kind, reads, writes, macs) in self.layers.items()
        )
        return Channels({r: self.count[r] for r in roots}, reason, layers)

    def _new(self, count: int, reason: str = "") -> int:
        self.parent.append(len(self.parent))
        self.count.append(count)
        self.reason.append(reason)
        return len(self.parent) - 1

    def _root(self, space: int) -> int:
        while self.parent[space] != space:
            space = self.parent[space]
        return space

    def _join(self, a: tuple[int, ...], b: tuple[int, ...], why: str) -> None:
        if [self.count[s] for s in a] != [
            self.count[s] for s in b
        ]:  # cut in other places: too intricate to shrink
            self._fix((*a, *b), why)
            return
        for one, other in zip(a, b, strict=True):
            first, second = self._root(one), self._root(other)
            if first != second:
                self.parent[second] = first
                self.reason[first] = self.reason[first] or self.reason[second]

    def _fix(self, spaces: tuple[int, ...], why: str) -> None:
        for space in spaces:
            root = self._root(space)
            self.reason[root] = self.reason[root] or why

    def _width(self, name: str) -> int:
        return sum(self.count[self._root(s)] for s in self.of[name][1])

    def _unknown(self, operation: Operation) -> None:
        """What it reads and gives stays as it is."""
        why = f"{operation.kind} needs them all"
        for name in operation.inputs:
            if name in self.of:
                self._fix(self.of[name][1], why)
        for name in operation.outputs:
            if len(self.shapes.get(name, ())) > 1:
                axis = 1 if len(self.shapes[name]) == 4 else len(self.shapes[name]) - 1
                self.of[name] = (axis, (self._new(self.shapes[name][axis], why),))

    def _walk(self, operation: Operation) -> None:
        tensors = [name for name in operation.inputs if name in self.of]
        if not any(name in self.shapes for name in operation.outputs):
            return  # sizes
        if operation.kind in LAYERS and operation.layer in self.layers:
            again = self.layers[operation.layer]
            self._fix((*again[1], *again[2]), f"{operation.layer} is used more than once")
            self._unknown(operation)
        elif operation.kind in ("Conv", "ConvTranspose", "Linear") and tensors:
            self._weighted(operation)
        elif operation.kind in TIED and tensors:
            self._tied(operation, tensors[0])
        elif operation.kind in PLAIN and tensors:
            self._pass(operation, tensors[0])
        elif operation.kind in PAIRS:
            self._pair(operation)
        elif operation.kind in BY_CHANNEL and tensors and self._by_channel(operation, tensors[0]):
            self._pass(operation, tensors[0])
        elif operation.kind == "Concat" and len(tensors) == len(operation.inputs):
            self._concat(operation)
        elif operation.kind == "Transpose" and tensors and "perm" in operation.attributes:
            axis, spaces = self.of[tensors[0]]
            self.of[operation.outputs[0]] = (list(operation.attributes["perm"]).index(axis), spaces)
        elif (
            operation.kind == "Flatten" and tensors and all(side == 1 for side in self.shapes[tensors[0]][2:])
        ) or (operation.kind == "Pad" and tensors and self._pads_only_sides(operation)):
            self._pass(operation, tensors[0])
        else:
            self._unknown(operation)

    def _pads_only_sides(self, operation: Operation) -> bool:
        pads, axes = operation.attributes.get("pads"), operation.attributes.get("axes")
        if axes is not None or not isinstance(pads, (list, tuple)) or len(pads) != 8:
            return False
        return not any(pads[i] for i in (0, 1, 4, 5))

    def _by_channel(self, operation: Operation, name: str) -> bool:
        axis, _ = self.of[name]
        if not operation.kind.startswith("Reduce"):
            return axis == 1
        axes = operation.attributes.get("axes")
        rank = len(self.shapes[name])
        given = None if axes is None or not isinstance(axes, (list, tuple)) else [a % rank for a in axes]
        return given is not None and axis not in given and all(a > axis for a in given)

    def _pass(self, operation: Operation, name: str) -> None:
        self.of[operation.outputs[0]] = self.of[name]

    def _pair(self, operation: Operation) -> None:
        """Element by element, as numpy spreads axes of one."""
        out = operation.outputs[0]
        rank = len(self.shapes[out])
        lead: tuple[int, tuple[int, ...]] | None = None  # of the result, its axis counted from the end
        for name in operation.inputs:
            if name not in self.of:
                continue
            axis, spaces = self.of[name]
            back = len(self.shapes[name]) - axis
            if self.shapes[name][axis] == 1 and self.shapes[out][rank - back] != 1:
                self._fix(spaces, f"{operation.kind} spreads it over others")
                continue
            if lead is None:
                lead = (back, spaces)
            elif lead[0] != back:
                self._unknown(operation)
                return
            else:
                self._join(lead[1], spaces, f"{operation.kind} puts channels of several sources together")
        if lead is None:
            self._unknown(operation)
            return
        back, spaces = lead
        for name in operation.inputs:  # learned or constant tensors with a number for each channel
            shape = self.shapes.get(name, ())
            if name and name not in self.of and len(shape) >= back and shape[-back] != 1:
                self._fix(spaces, f"{operation.kind} has a number for each of them")
        self.of[out] = (rank - back, spaces)

    def _concat(self, operation: Operation) -> None:
        first = operation.inputs[0]
        axis, spaces = self.of[first]
        rank = len(self.shapes[first])
        if any(self.of[name][0] != axis for name in operation.inputs):
            self._unknown(operation)
        elif int(operation.attributes["axis"]) % rank == axis:
            self.of[operation.outputs[0]] = (
                axis,
                tuple(s for name in operation.inputs for s in self.of[name][1]),
            )
        else:
            for name in operation.inputs[1:]:
                self._join(spaces, self.of[name][1], "Concat puts them beside each other")
            self.of[operation.outputs[0]] = (axis, spaces)

    def _tied(self, operation: Operation, name: str) -> None:
        axis, spaces = self.of[name]
        if operation.kind == "PRelu" and operation.attributes["channels"] == 1:
            self._pass(operation, name)
            return
        if axis != 1 or self._width(name) != operation.attributes["channels"]:
            self._unknown(operation)
            return
        self.layers[operation.layer] = (operation.kind, spaces, spaces, 0)
        self.of[operation.outputs[0]] = (axis, spaces)

    def _weighted(self, operation: Operation) -> None:
        name, out = operation.inputs[0], operation.outputs[0]
        if name not in self.of:
            self._unknown(operation)
            return
        a = operation.attributes
        axis, spaces = self.of[name]
        inputs, outputs = a["channels"]
        place = len(self.shapes[name]) - 1 if operation.kind == "Linear" else 1
        groups = int(a.get("groups", 1))
        pixels = 1
        for side in self.shapes[name if operation.kind == "ConvTranspose" else out][1:]:
            pixels *= side
        pixels //= inputs if operation.kind == "ConvTranspose" else outputs
        kernel = 1 if operation.kind == "Linear" else int(a["kernel"][0] * a["kernel"][1])
        macs = pixels * kernel * inputs * outputs // groups
        if axis != place or self._width(name) != inputs:
            self._unknown(operation)
            return
        if groups == 1:
            written: tuple[int, ...] = (self._new(outputs),)
        elif groups == inputs == outputs and operation.kind == "Conv":
            written = spaces
        else:
            self._fix(spaces, f"{operation.layer} reads them in {groups} groups")
            written = (self._new(outputs, f"{operation.layer} writes them in {groups} groups"),)
        self.layers[operation.layer] = (operation.kind, spaces, written, macs)
        self.of[out] = (place, written)
