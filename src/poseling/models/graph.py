"""A network as a list of operations: what `importers.onnx_graph` makes of an ONNX file, trained, saved and
exported like any other network.

The list is data, versioned JSON in a checkpoint's metadata; the weights lie beside it under the names of its
layers. Operations have ONNX's names and meaning, in its layout (B, C, H, W). Values between them are tensors,
or sizes: numpy arrays of integers that `Shape` reads from a tensor while the network runs, so that a map is
resized to another one for any size of image.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from poseling.codecs.heatmap import Heatmap
from poseling.geometry import Size
from poseling.models.operators import FUNCTIONS, LAYERS
from poseling.skeleton import Skeleton

VERSION = 1
MODEL = "graph"  # the name in PoseSpec.model
HEAD = 96  # channels between the two convolutions of a new head, as in MoveNet's
NEW = ("head_", "lift_")  # how the layers of a head that is put on a network are called
SMALL = 1e-3  # the standard deviation of a new joint's weights: CenterNet starts its heads so

# Where a joint starts that the old skeleton lacks and `Skeleton.to` does not know: at the mean of the
# channels of those that lie nearest to it. Only a start.
FACE = ("nose", "left_eye", "right_eye")
NEAREST = {
    "neck": ("left_shoulder", "right_shoulder"),
    "head_top": FACE,
    "head": FACE,
    "spine": ("left_shoulder", "right_shoulder", "left_hip", "right_hip"),
    **{f"{side}_hand": (f"{side}_wrist",) for side in ("left", "right")},
    **{f"{side}_heel": (f"{side}_ankle",) for side in ("left", "right")},
    **{f"{side}_foot_index": (f"{side}_ankle",) for side in ("left", "right")},
}


@dataclass(frozen=True)
class Operation:
    """One step: values named `inputs` to values named `outputs`. `kind` is an operator of ONNX, or Parameter
    or Constant; an input "" is absent.

    `attributes` are ONNX's, with those inputs that are constants among them (a Reshape's `shape`); such
    inputs that are computed stand last in `inputs`, and `given` names them. `layer` is the submodule that
    holds the weights; operations that share them name the same one.
    """

    kind: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: Mapping[str, Any] = field(default_factory=dict)

    @property
    def layer(self) -> str:
        """The submodule of `GraphNetwork.layers` with its weights; "" if it has none."""
        return str(self.attributes.get("layer", ""))

    def __str__(self) -> str:
        return f"{self.kind} {self.outputs[0]}"


@dataclass(frozen=True)
class Graph:
    """Operations in an order in which they can run, from the value `input` to the value `output`. `features`
    is the map that the last operation reads, or "".
    """

    operations: tuple[Operation, ...]
    input: str
    output: str
    features: str = ""

    def __post_init__(self) -> None:
        known = {self.input}
        for operation in self.operations:
            if operation.kind not in LAYERS and operation.kind not in FUNCTIONS:
                raise ValueError(
                    f"operation {operation.kind!r} is unknown; there is {', '.join((*LAYERS, *FUNCTIONS))}"
                )
            if missing := [name for name in operation.inputs if name and name not in known]:
                raise ValueError(f"{operation} reads {missing[0]}, which nothing before it gives")
            known.update(operation.outputs)
        for name in (self.output, *filter(None, [self.features])):
            if name not in known:
                raise ValueError(f"no operation gives {name}")

    def to_json(self) -> str:
        """One line of JSON.

        >>> graph = Graph((Operation("Relu", ("x",), ("y",)),), "x", "y")
        >>> Graph.from_json(graph.to_json()) == graph
        True
        """
        steps = [[o.kind, o.inputs, o.outputs, dict(o.attributes)] for o in self.operations]
        return json.dumps(
            {
                "version": VERSION,
                "input": self.input,
                "output": self.output,
                "features": self.features,
                "operations": steps,
            }
        )

    @classmethod
    def from_json(cls, text: str) -> Graph:
        """The reverse; ValueError if the text is no graph, of another version, or has an operation that is
        unknown here.
        """
        try:
            fields = json.loads(text)
            version = fields.pop("version")
            if version != VERSION:
                raise ValueError(
                    f"the graph is version {version}, this poseling reads version {VERSION}; take the "
                    f"poseling that wrote it, or a newer one"
                )
            steps = tuple(
                Operation(kind, tuple(inputs), tuple(outputs), made)
                for kind, inputs, outputs, made in fields.pop("operations")
            )
            return cls(steps, **fields)
        except (json.JSONDecodeError, KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"this is no graph of operations: {error!r}") from error

    def until(self, output: str) -> Graph:
        """The part that gives `output`, without the operations that it does not need."""
        needed, kept = {output}, []
        for operation in reversed(self.operations):
            if needed.intersection(operation.outputs):
                needed.update(operation.inputs)
                kept.append(operation)
        return Graph(
            tuple(reversed(kept)), self.input, output, self.features if self.features in needed else ""
        )

    @property
    def last(self) -> Operation:
        """The operation that gives the output."""
        return next(o for o in self.operations if self.output in o.outputs)


class GraphNetwork(nn.Module):
    """Images (B, 3, H, W) to what the graph gives (B, ...), with an axis for one stage: heatmaps (B, 1, K, h,
    w), as other networks return them.

    `layers` hold the weights by name; through `features` passes the map (B, C, h, w) that the head reads.
    Weights are random until they are loaded.
    """

    def __init__(self, graph: Graph) -> None:
        super().__init__()
        self.graph = graph
        layers: dict[str, nn.Module] = {}
        for operation in graph.operations:
            if operation.kind in LAYERS and operation.layer not in layers:
                layers[operation.layer] = LAYERS[operation.kind](operation.attributes)
        self.layers = nn.ModuleDict(layers)
        self.features = nn.Identity()
        last: dict[str, int] = {}
        for index, operation in enumerate(graph.operations):
            for name in operation.inputs:
                last[name] = index
        self._free = [
            [name for name in dict.fromkeys(o.inputs) if last[name] == i]
            for i, o in enumerate(graph.operations)
        ]

    def forward(self, images: Tensor) -> Tensor:
        values: dict[str, Any] = {self.graph.input: images, "": None}
        for operation, free in zip(self.graph.operations, self._free, strict=True):
            self._step(operation, values)
            for name in free:
                if name != self.graph.output and name:
                    del values[name]
        output: Tensor = values[self.graph.output]
        return output.unsqueeze(1)

    def steps(self, images: Tensor) -> Iterator[tuple[Operation, dict[str, Any]]]:
        """Each operation on images (B, 3, H, W), before it runs, with the values by name that it and later ones
        read. What its weights are when the next is asked for is what it runs with.
        """
        values: dict[str, Any] = {self.graph.input: images, "": None}
        for operation, free in zip(self.graph.operations, self._free, strict=True):
            yield operation, values
            self._step(operation, values)
            for name in free:
                if name:
                    del values[name]

    def values(self, images: Tensor) -> dict[str, Any]:
        """Every value by its name, for images (B, 3, H, W). ValueError that names the operation which cannot
        run on them.
        """
        values: dict[str, Any] = {self.graph.input: images, "": None}
        for operation in self.graph.operations:
            try:
                self._step(operation, values)
            except (RuntimeError, ValueError, IndexError, TypeError) as error:
                read = ", ".join(f"{name} {_shape(values[name])}" for name in operation.inputs if name)
                raise ValueError(f"{operation} cannot run on {read}: {str(error).splitlines()[0]}") from error
        del values[""]
        return values

    def _step(self, operation: Operation, values: dict[str, Any]) -> None:
        given = operation.attributes.get("given", ())
        count = len(operation.inputs) - len(given)
        inputs = [values[name] for name in operation.inputs[:count]]
        if operation.kind in LAYERS:
            result = self.layers[operation.layer](*inputs)
        else:
            attributes = operation.attributes
            if given:
                attributes = {
                    **attributes,
                    **{key: values[name] for key, name in zip(given, operation.inputs[count:], strict=True)},
                }
            result = FUNCTIONS[operation.kind](attributes, *inputs)
        for name, value in zip(
            operation.outputs, result if isinstance(result, tuple) else (result,), strict=False
        ):
            values[name] = self.features(value) if name == self.graph.features else value

    def depth(self, name: str) -> int:
        """How far behind a trained trunk the parameter of this name lies, for `Training.layer_decay`: 1 in a
        head that was put on it, else 0.
        """
        return int(name.removeprefix("layers.").startswith(NEW))

    @torch.no_grad()
    def shapes(self, size: Size) -> dict[str, tuple[int, ...]]:
        """The shape of each tensor for one image of `size` (W, H). ValueError that names the operation which
        cannot run at that size.

        Nothing is computed: it runs without weights on torch's meta device.
        """
        memo: dict[int, Tensor] = {}
        for tensor in (*self.parameters(), *self.buffers()):
            memo[id(tensor)] = nn.Parameter(torch.empty_like(tensor, device="meta"), requires_grad=False)
        values = copy.deepcopy(self, memo).eval().values(torch.empty(1, 3, size[1], size[0], device="meta"))
        return {name: tuple(value.shape) for name, value in values.items() if isinstance(value, Tensor)}

    def at(self, size: Size) -> GraphNetwork:
        """Itself, once it is sure that images of `size` (W, H) can be taken; ValueError that names the
        operation which cannot, and sizes that work.
        """
        try:
            self.shapes(size)
        except ValueError as error:
            raise ValueError(
                f"the network does not take {size[0]}x{size[1]} images: {error}. {self._sizes(size)}"
            ) from error
        return self

    def _sizes(self, size: Size) -> str:
        for step in (2, 4, 8, 16, 32, 64, 128):
            near = (-(-size[0] // step) * step, -(-size[1] // step) * step)
            try:
                for more in (0, step):
                    self.shapes((near[0] + more, near[1] + more))
            except ValueError:
                continue
            return f"Multiples of {step} work, such as {near[0]}x{near[1]}"
        return "Its size is fixed in the graph: take the one it was made for"

    def with_joints(self, old: Skeleton, new: Skeleton) -> GraphNetwork:
        """A copy whose last convolution has a channel for each joint of `new` instead of `old`.

        A joint that `old` has keeps its channel's weights; one that is the middle of others (`Skeleton.to`)
        starts at the mean of theirs, and so do those of `NEAREST`: a neck between the shoulders, a head top
        at the mean of nose and eyes. All others start small and random. ValueError if the network does not
        end in a convolution with a channel for each joint of `old`.
        """
        last = self.graph.last
        if last.kind != "Conv":
            raise ValueError(
                f"the network ends in {last}, no convolution with a channel for each joint; give it a head "
                f"with with_head"
            )
        channels = int(last.attributes["channels"][1])
        if channels != len(old):
            raise ValueError(
                f"{last} has {channels} channels and skeleton {old.name} has {len(old)} joints; name the "
                f"skeleton whose joints the channels are"
            )
        matrix = _starts(old, new)
        found = self._replaced(
            last, {**last.attributes, "channels": [last.attributes["channels"][0], len(new)]}
        )
        layer, before = found.layers[last.layer], self.layers[last.layer]
        known = torch.from_numpy(matrix.sum(1) > 0)
        with torch.no_grad():
            for name, parameter in layer.named_parameters():
                given = before.get_parameter(name)
                mixed = torch.einsum("ij,j...->i...", torch.from_numpy(matrix).to(given), given)
                fresh = (
                    torch.randn_like(parameter) * SMALL
                    if name == "weight"
                    else torch.full_like(parameter, float(given.mean()))
                )
                parameter.copy_(torch.where(known.view(-1, *[1] * (given.ndim - 1)), mixed, fresh))
        return found

    def with_channels(self, channels: tuple[int, ...]) -> GraphNetwork:
        """A copy whose last convolution gives only these of its channels, in this order; ValueError if it
        does not end in a convolution that has them.
        """
        last = self.graph.last
        if last.kind != "Conv" or max(channels) >= last.attributes["channels"][1]:
            raise ValueError(
                f"the network ends in {last}, which is no convolution of {max(channels) + 1} channels or more"
            )
        found = self._replaced(
            last, {**last.attributes, "channels": [last.attributes["channels"][0], len(channels)]}
        )
        with torch.no_grad():
            for name, parameter in found.layers[last.layer].named_parameters():
                parameter.copy_(self.layers[last.layer].get_parameter(name)[list(channels)])
        return found

    def with_head(self, codec: Heatmap, joints: int, at: str = "") -> GraphNetwork:
        """A copy with a new head on the map named `at`, the one its head reads now if not given: as
        MoveNet's, a depthwise 3x3 and a 1x1 convolution to 96 channels with a ReLU, and a 1x1 to the
        `joints`.

        ValueError if there is no such map, or it is not of the codec's size.
        """
        at = at or self.graph.features or self.graph.output
        shapes = self.at(codec.size).shapes(codec.size)
        if at not in shapes or len(shapes[at]) != 4:
            maps = [f"{name} {shape[1:]}" for name, shape in shapes.items() if len(shape) == 4]
            raise ValueError(f"the network has no map {at!r}; its last ones are {', '.join(maps[-6:])}")
        w, h = codec.map_size
        if shapes[at][2:] != (h, w):
            raise ValueError(
                f"{at} is a map of {shapes[at][3]}x{shapes[at][2]}, the codec's heatmaps are {w}x{h}; choose "
                f"another map or another stride"
            )
        trunk = self.graph.until(at)
        c = shapes[at][1]
        head = (
            Operation("Conv", (at,), ("head/depthwise",), conv("head_depthwise", c, c, 3, groups=c)),
            Operation("Conv", ("head/depthwise",), ("head/pointwise",), conv("head_pointwise", c, HEAD, 1)),
            Operation("Relu", ("head/pointwise",), ("head/relu",)),
            Operation("Conv", ("head/relu",), ("head/maps",), conv("head_maps", HEAD, joints, 1)),
        )
        taken = {name for o in trunk.operations for name in o.outputs}
        if taken.intersection(name for o in head for name in o.outputs):
            raise ValueError(f"{at} lies in or behind a head that with_head made; choose the map below it")
        found = GraphNetwork(
            replace(trunk, operations=trunk.operations + head, output="head/maps", features=at)
        )
        weights = found.layers["head_maps"].get_parameter("weight")
        with torch.no_grad():
            weights.normal_(std=SMALL)
            found.layers["head_maps"].get_parameter("bias").zero_()
        return found._loaded(self)

    def _replaced(self, old: Operation, attributes: Mapping[str, Any]) -> GraphNetwork:
        """A copy with other attributes for `old`, whose own weights are new."""
        operations = tuple(
            replace(o, attributes=attributes) if o is old else o for o in self.graph.operations
        )
        if any(o.layer == old.layer for o in self.graph.operations if o is not old):
            raise ValueError(f"{old} shares its weights with another layer, so it cannot have others")
        return GraphNetwork(replace(self.graph, operations=operations))._loaded(self, but=old.layer)

    def _loaded(self, other: GraphNetwork, but: str = "") -> GraphNetwork:
        """Itself with the weights of the layers that `other` has too."""
        for name, layer in other.layers.items():
            if name in self.layers and name != but:
                self.layers[name].load_state_dict(layer.state_dict())
        like = next(other.parameters(), torch.empty(0))
        return self.to(like).train(other.training)


def conv(
    layer: str, inputs: int, outputs: int, kernel: int, groups: int = 1, stride: int = 1
) -> dict[str, Any]:
    """The attributes of a convolution of a new head: padded so that the map keeps its size over `stride`."""
    return {
        "layer": layer, "channels": [inputs, outputs], "kernel": [kernel] * 2, "strides": [stride] * 2,
        "pads": [kernel // 2] * 4, "dilations": [1, 1], "groups": groups, "bias": True,
    }  # fmt: skip


def _starts(old: Skeleton, new: Skeleton) -> np.ndarray[Any, np.dtype[np.float32]]:
    """(K_new, K_old) which channels each new joint's start is the mean of; rows sum to 1, or to 0 where it
    starts at random.
    """
    matrix = old.to(new).matrix.copy()
    for row, joint in enumerate(new.joints):
        near = [n for n in NEAREST.get(joint, ()) if n in old.joints]
        if not matrix[row].any() and near:
            for name in near:
                matrix[row, old.index(name)] = 1 / len(near)
    return matrix


def _shape(value: Any) -> str:
    return str(tuple(value.shape)) if isinstance(value, (Tensor, np.ndarray)) else str(value)
