"""A 2D network that is taught where its joints are in space: a small head lifts what the network sees at each
joint, and where it sees it, to X, Y and Z.

Lifting from the joints' positions alone goes far (Martinez et al., ICCV 2017), but two postures may look the
same from their joints: so the head also reads the network's maps there, weighted by the softmax of the
joint's heatmap (soft-argmax, Sun et al., ECCV 2018), and what is left of the whole image at the deepest map.
It is made of the same operations as the rest of the graph, and costs a hundredth of it.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch

from poseling.codecs.heatmap_xyz import HeatmapXYZ
from poseling.geometry import Size
from poseling.models.graph import Graph, GraphNetwork, Operation

TOKEN, CONTEXT, HIDDEN = 48, 128, 256  # features of a joint, of the whole image, and between the layers
LAYERS = 5  # of the head


def with_lifting(network: GraphNetwork, codec: HeatmapXYZ) -> GraphNetwork:
    """A copy of a network with heatmaps (B, K, h, w) that gives (B, 1, K, h w + 3), as `codec` reads them;
    the new layers are random. Its input has the codec's size from now on.

    ValueError if the network gives no heatmaps of the codec's size.
    """
    graph, (w, h) = network.graph, codec.heatmap.map_size
    shapes = network.at(codec.size).shapes(codec.size)
    maps = shapes[graph.output]
    if len(maps) != 4 or maps[2:] != (h, w):
        raise ValueError(
            f"the network gives {maps[1:]} for images of {codec.size[0]}x{codec.size[1]}, wanted are "
            f"heatmaps of {w}x{h}: give it a head with with_head, or another stride"
        )
    joints, steps = maps[1], list(graph.operations)

    def add(kind: str, inputs: tuple[str, ...], name: str, **attributes: Any) -> str:
        steps.append(Operation(kind, inputs, (f"lift/{name}",), attributes))
        return f"lift/{name}"

    def linear(value: str, name: str, inputs: int, outputs: int) -> str:
        return add("Linear", (value,), name, layer=f"lift_{name}", channels=[inputs, outputs], bias=True)

    flat = add("Reshape", (graph.output,), "logits", shape=[0, joints, h * w])
    attention = add("Softmax", (flat,), "attention", axis=-1)
    grid = [[2 * (x - (w - 1) / 2) / h, 2 * (y - (h - 1) / 2) / h] for y in range(h) for x in range(w)]
    where = add("MatMul", (attention, add("Constant", (), "grid", value=grid, dtype="float32")), "where")
    read, width = [], 0
    for name in _maps(graph, shapes, (w, h)):
        _, c, rows, columns = shapes[name]
        seen = attention
        if (rows, columns) != (h, w):  # the attention, summed over what one pixel of a smaller map covers
            steps_down = h // rows
            seen = add("Reshape", (seen,), f"{name}/square", shape=[0, joints, h, w])
            seen = add(
                "AveragePool",
                (seen,),
                f"{name}/mean",
                kernel=[steps_down] * 2,
                strides=[steps_down] * 2,
                pads=[0] * 4,
            )
            seen = add("Reshape", (seen,), f"{name}/flat", shape=[0, joints, rows * columns])
            seen = add(
                "Mul",
                (seen, add("Constant", (), f"{name}/area", value=float(steps_down**2), dtype="float32")),
                f"{name}/sum",
            )
        pixels = add("Reshape", (name,), f"{name}/pixels", shape=[0, c, rows * columns])
        pixels = add("Transpose", (pixels,), f"{name}/rows", perm=[0, 2, 1])
        read.append(add("MatMul", (seen, pixels), f"{name}/at"))
        width, deepest = width + c, (name, c)
    token = add("Concat", tuple(read), "seen", axis=-1) if len(read) > 1 else read[0]
    token = add("Relu", (linear(token, "token", width, TOKEN),), "tokens")
    token = add("Concat", (where, token), "joints", axis=-1)
    everything = add("Reshape", (token,), "everything", shape=[0, joints * (TOKEN + 2)])
    name, c = deepest
    context = add("Reshape", (add("GlobalAveragePool", (name,), "pooled"),), "whole", shape=[0, c])
    context = add("Relu", (linear(context, "context", c, CONTEXT),), "around")
    x = add("Concat", (everything, context), "all", axis=-1)
    x = add("Relu", (linear(x, "first", joints * (TOKEN + 2) + CONTEXT, HIDDEN),), "one")
    more = add("Relu", (linear(x, "second", HIDDEN, HIDDEN),), "two")
    x = add("Add", (x, more), "both")
    xyz = add("Reshape", (linear(x, "last", HIDDEN, 3 * joints),), "xyz", shape=[0, joints, 3])
    output = add("Concat", (flat, xyz), "output", axis=-1)
    found = GraphNetwork(replace(graph, operations=tuple(steps), output=output))
    with torch.no_grad():  # nobody is anywhere yet
        found.layers["lift_last"].get_parameter("weight").mul_(0.1)
        found.layers["lift_last"].get_parameter("bias").zero_()
    return found._loaded(network)


def resized(network: GraphNetwork, codec: HeatmapXYZ) -> GraphNetwork:
    """A lifted network with all its weights for inputs of the codec's size, as it was trained or read from
    its exported file. ValueError if it has no lifting head, or as of `with_lifting`.
    """
    made = {output: o for o in network.graph.operations for output in o.outputs}
    last, old = made[network.graph.output], _linear(network)
    flat = made.get(last.inputs[0]) if last.kind == "Concat" and last.inputs else None
    if flat is None or flat.kind != "Reshape" or len(old) < LAYERS:
        raise ValueError("the network has no lifting head to be resized; give it one with with_lifting")
    read = network.graph.features or made[flat.inputs[0]].inputs[0]  # an exported file does not say
    heatmaps = GraphNetwork(replace(network.graph.until(flat.inputs[0]), features=read))
    found = with_lifting(heatmaps._loaded(network), codec)
    for new, known in zip(_linear(found)[-LAYERS:], old[-LAYERS:], strict=True):
        none = {"bias": torch.zeros_like(found.layers[new].get_parameter("bias"))}  # which a file leaves out
        found.layers[new].load_state_dict(none | network.layers[known].state_dict())
    return found


def _linear(network: GraphNetwork) -> list[str]:
    return [o.attributes["layer"] for o in network.graph.operations if o.kind == "Linear"]


def _maps(graph: Graph, shapes: dict[str, tuple[int, ...]], size: Size) -> list[str]:
    """The maps that the head reads: the one that the heatmaps are made of, and of a quarter and an eighth of
    its size the last sum, where residual networks keep what they know, before the network turns back to
    larger maps.
    """
    w, h = size
    maps = [o for o in graph.operations if len(shapes.get(o.outputs[0], ())) == 4]
    rows = [shapes[o.outputs[0]][2] for o in maps]
    turn = len(rows) - rows[::-1].index(min(rows))
    found = [graph.features]
    for part in (4, 8):
        sums = [o.outputs[0] for o in maps[:turn] if o.kind == "Add"]
        fits = [name for name in sums if shapes[name][2:] == (h / part, w / part)]
        found += fits[-1:]
    return found
