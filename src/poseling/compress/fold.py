"""Norms and parallel branches folded into convolutions, before anything else is done to a network: the same
function in fewer operations.

A batch norm behind a convolution is a factor and a shift of its channels (Jacob et al., CVPR 2018, section
3.2). Two convolutions of one map whose results are added are one convolution with the sum of both kernels
(RepVGG: Ding et al., CVPR 2021, section 3.3).
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import torch
from torch import Tensor
from torch.nn import functional as F

from poseling.models.graph import Graph, GraphNetwork, Operation

FOLDED = ("Conv", "ConvTranspose", "Linear")


@torch.no_grad()
def folded(network: GraphNetwork) -> GraphNetwork:
    """A copy in eval mode with norms and parallel convolutions folded; the network itself where there is
    nothing to fold.
    """
    operations = list(network.graph.operations)
    state = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    changed = False
    while (
        step := _norm(operations, network.graph, state) or _branch(operations, network.graph, state)
    ) is not None:
        operations, state, changed = *step, True
    if not changed:
        return network
    smaller = GraphNetwork(replace(network.graph, operations=tuple(operations)))
    smaller.load_state_dict({name: tensor for name, tensor in state.items() if name in smaller.state_dict()})
    return smaller.eval()


Step = tuple[list[Operation], dict[str, Tensor]]


def _uses(operations: list[Operation], graph: Graph) -> Counter[str]:
    found = Counter(name for o in operations for name in o.inputs)
    found[graph.output] += 1
    return found


def _owns(operations: list[Operation], operation: Operation) -> bool:
    """Whether nobody else has its weights."""
    return sum(o.layer == operation.layer for o in operations if o.layer) == 1


def _norm(operations: list[Operation], graph: Graph, state: dict[str, Tensor]) -> Step | None:
    made = {o.outputs[0]: o for o in operations}
    uses = _uses(operations, graph)
    for norm in operations:
        before = made.get(norm.inputs[0]) if norm.kind == "BatchNormalization" else None
        if (
            before is None
            or before.kind not in FOLDED
            or uses[before.outputs[0]] != 1
            or before.outputs[0] == graph.features
        ):
            continue
        if not _owns(operations, before):
            continue
        own, other = f"layers.{before.layer}.", f"layers.{norm.layer}."
        factor = state[other + "weight"] / (state[other + "running_var"] + norm.attributes["epsilon"]).sqrt()
        weight = state[own + "weight"]
        shape = [1] * weight.ndim
        shape[1 if before.kind == "ConvTranspose" else 0] = -1
        if before.kind == "ConvTranspose" and int(before.attributes["groups"]) > 1:
            continue
        state[own + "weight"] = weight * factor.view(shape)
        bias = state.get(own + "bias", torch.zeros_like(factor))
        state[own + "bias"] = (bias - state[other + "running_mean"]) * factor + state[other + "bias"]
        joined = replace(before, outputs=norm.outputs, attributes={**before.attributes, "bias": True})
        return [joined if o is before else o for o in operations if o is not norm], state
    return None


def _branch(operations: list[Operation], graph: Graph, state: dict[str, Tensor]) -> Step | None:
    made = {o.outputs[0]: o for o in operations}
    uses = _uses(operations, graph)
    for add in operations:
        if add.kind != "Add" or len(add.inputs) != 2:
            continue
        pair = [made.get(name) for name in add.inputs]
        if any(
            o is None or o.kind != "Conv" or uses[o.outputs[0]] != 1 or not _owns(operations, o) for o in pair
        ):
            continue
        first, second = (o for o in pair if o is not None)
        if first is second or not _alike(first, second):
            continue
        small, large = sorted((first, second), key=lambda o: o.attributes["kernel"][0])
        own, other = f"layers.{large.layer}.", f"layers.{small.layer}."
        wider = [
            (b - a) // 2 for a, b in zip(small.attributes["kernel"], large.attributes["kernel"], strict=True)
        ]
        state[own + "weight"] = state[own + "weight"] + F.pad(
            state[other + "weight"], [wider[1]] * 2 + [wider[0]] * 2
        )
        biases = [state[key] for key in (own + "bias", other + "bias") if key in state]
        if biases:
            state[own + "bias"] = torch.stack(biases).sum(0)
        joined = replace(large, outputs=add.outputs, attributes={**large.attributes, "bias": bool(biases)})
        last = max(operations.index(first), operations.index(second))
        kept = [
            joined if i == last else o
            for i, o in enumerate(operations)
            if i == last or o not in (first, second)
        ]
        return [o for o in kept if o is not add], state
    return None


def _alike(a: Operation, b: Operation) -> bool:
    """Whether both look at the same pixels of one map: square odd kernels, padded all around by half of it."""
    if a.inputs != b.inputs or any(o.attributes.get("same") for o in (a, b)):
        return False
    fields = ("channels", "strides", "groups", "dilations")
    if any(
        list(a.attributes[f]) != list(b.attributes[f])
        if f != "groups"
        else a.attributes[f] != b.attributes[f]
        for f in fields
    ):
        return False
    return list(a.attributes["dilations"]) == [1, 1] and all(
        k[0] == k[1] and k[0] % 2 and list(o.attributes["pads"]) == [k[0] // 2] * 4
        for o in (a, b)
        for k in (o.attributes["kernel"],)
    )
