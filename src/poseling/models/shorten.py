"""A network without some of its layers: what lies between two of its maps is left out, and what read the second map learns to read the first."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor
from torch.nn import functional as F

from poseling.models.graph import Graph, GraphNetwork, Operation

RIDGE = 1e-3  # of the mean square of a channel: keeps the fit from chasing noise where channels say the same


@torch.no_grad()
def shortened(network: GraphNetwork, start: str, end: str, images: Tensor) -> GraphNetwork:
    """A copy in which what reads the map `end` reads `start`, and what lies between is gone.

    A 1x1 convolution that read `end` is made anew and fitted by least squares to give on `images` (B, 3, H, W), normalised, what it gave before; anything else can read
    a map of the same shape. `start` and `end` are values of the graph, or unambiguous parts of their names. ValueError if there are no such maps of equal
    height and width, if `start` does not lie before `end`, or if something that reads `end` can read nothing else.
    """
    start, end = (_named(network.graph, name) for name in (start, end))
    before = network.eval().values(images)
    if before[start].shape[2:] != before[end].shape[2:]:
        raise ValueError(
            f"{start} is {tuple(before[start].shape)}, {end} is {tuple(before[end].shape)}; layers can be left out between maps of one height and width"
        )
    readers = [operation for operation in network.graph.operations if end in operation.inputs]
    if not readers:
        raise ValueError(f"nothing reads {end}; name a map before the head")
    anew = {operation.layer: operation for operation in readers if _pointwise(operation)}
    same = before[start].shape == before[end].shape
    if stuck := [operation for operation in readers if operation.layer not in anew and not same]:
        raise ValueError(
            f"{stuck[0]} reads {end} of {before[end].shape[1]} channels and cannot read {start} of {before[start].shape[1]}; choose other maps"
        )
    operations = tuple(_rewired(o, start, end, before[start].shape[1]) if o in readers else o for o in network.graph.operations)
    graph = replace(network.graph, operations=operations).until(network.graph.output)
    if any(end in operation.outputs for operation in graph.operations):
        raise ValueError(f"{end} is needed for {start} itself; name the earlier map first")
    found = GraphNetwork(graph)
    weights = network.state_dict()
    for layer, operation in anew.items():
        weight, bias = _fitted(before[start], before[operation.outputs[0]])
        weights[f"layers.{layer}.weight"], weights[f"layers.{layer}.bias"] = weight[..., None, None], bias
    found.load_state_dict({name: weights[name] for name in found.state_dict()})
    return found


def _named(graph: Graph, name: str) -> str:
    values = [value for operation in graph.operations for value in operation.outputs]
    found = [name] if name in values else [value for value in values if name in value]
    if len(found) != 1:
        raise ValueError(f"{name!r} is " + (f"part of {', '.join(found[:4])}; give more of the name" if found else "the name of no map"))
    return found[0]


def _pointwise(operation: Operation) -> bool:
    a = operation.attributes
    return operation.kind == "Conv" and set(a["kernel"]) == set(a["strides"]) == {1} and a["groups"] == 1


def _rewired(operation: Operation, start: str, end: str, channels: int) -> Operation:
    inputs = tuple(start if name == end else name for name in operation.inputs)
    if not _pointwise(operation):
        return replace(operation, inputs=inputs)
    a = operation.attributes
    return replace(operation, inputs=inputs, attributes={**a, "channels": [channels, a["channels"][1]], "bias": True})


def _fitted(given: Tensor, wanted: Tensor) -> tuple[Tensor, Tensor]:
    """Weight (C', C) and bias (C') of the 1x1 convolution that makes maps (B, C', h, w) of maps (B, C, h, w), by least squares in float64."""
    x = given.movedim(1, -1).flatten(0, -2).double()
    y = wanted.movedim(1, -1).flatten(0, -2).double()
    x = F.pad(x, (0, 1), value=1.0)
    gram = x.T @ x
    gram.diagonal().add_(RIDGE * gram.diagonal().mean())
    solved = torch.linalg.solve(gram, x.T @ y).to(given.dtype)
    return solved[:-1].T.contiguous(), solved[-1]
