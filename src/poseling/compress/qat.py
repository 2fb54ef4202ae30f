"""Quantisation-aware training: the float network learns with its weights and activations rounded as they will
be.

Rounding has no slope; the gradient goes through as if nothing were rounded, and stops where values are cut
(Jacob et al., CVPR 2018; the straight-through estimator is Bengio et al.'s, arXiv 1308.3432). The float
original is the teacher.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import torch
from rich.console import Console
from torch import Tensor, nn
from torch.nn.utils import parametrize

from poseling.compress.quantize import Range, grid
from poseling.compress.repair import Lesson, repaired
from poseling.compress.weights import BLOCK
from poseling.data.dataset import PoseDataset
from poseling.models.graph import Graph, GraphNetwork, Operation
from poseling.spec import PoseSpec
from poseling.teachers.network import NetworkTeacher

DENSE = ("Conv", "Linear")


class Rounded(nn.Module):
    """A weight as s8 with a scale for each output channel, or as 4 bits with one for each 32 weights."""

    def __init__(self, bits: Literal[8, 4]) -> None:
        super().__init__()
        self.bits = bits

    def forward(self, weight: Tensor) -> Tensor:
        """The rounded weight; the gradient passes as if it were not."""
        top = 127 if self.bits == 8 else 7
        rows = weight.flatten(1) if self.bits == 8 else weight.reshape(-1, BLOCK)
        scale = rows.detach().abs().amax(1, keepdim=True).clamp(min=1e-7) / top
        whole = (rows.detach() / scale).round().clamp(-top, top) * scale
        return weight + (whole.view_as(weight) - weight).detach()


class Rounding(GraphNetwork):
    """A network that rounds the values named in `limits` to u8 as `quantize.grid` says, and the weights of
    its dense layers.
    """

    def __init__(self, graph: Graph, limits: Mapping[str, Range], bits: Literal[8, 4] = 8) -> None:
        super().__init__(graph)
        self.bits = bits
        self.grids = {name: grid(limit) for name, limit in limits.items()}
        weighted = [o for o in graph.operations if o.kind in DENSE]
        for operation in weighted[1:-1] if bits == 8 else weighted:
            layer = self.layers[operation.layer]
            if parametrize.is_parametrized(layer, "weight") or (
                bits == 4 and layer.get_parameter("weight")[0].numel() % BLOCK
            ):
                continue
            parametrize.register_parametrization(layer, "weight", Rounded(bits))

    def _step(self, operation: Operation, values: dict[str, Any]) -> None:
        super()._step(operation, values)
        for name in operation.outputs:
            if name in self.grids:
                scale, zero = self.grids[name]
                values[name] = torch.fake_quantize_per_tensor_affine(values[name], scale, zero, 0, 255)


def rounding(network: GraphNetwork, limits: Mapping[str, Range], bits: Literal[8, 4] = 8) -> Rounding:
    """`network` as one that rounds; it has the same weights."""
    found = Rounding(network.graph, limits, bits)
    own = network.state_dict()
    with torch.no_grad():
        for name, tensor in found.state_dict().items():
            tensor.copy_(own[name.replace("parametrizations.", "").replace(".original", "")])
    return found


def plain(network: Rounding) -> GraphNetwork:
    """The float network with the weights that were learnt; rounding them again gives the same. Those in 4 bits
    are rounded already, since their file looks for the scale of each block anew.
    """
    found = GraphNetwork(network.graph)
    own = {}
    for name, tensor in network.state_dict().items():
        layer, rounded, _ = name.partition(".parametrizations.weight.original")
        own[f"{layer}.weight" if rounded else name] = (
            Rounded(4)(tensor) if rounded and network.bits == 4 else tensor
        )
    found.load_state_dict(own)
    return found.eval()


def trained(
    network: GraphNetwork,
    spec: PoseSpec,
    teacher: NetworkTeacher,
    dataset: PoseDataset,
    out: Path,
    labels: Path,
    lesson: Lesson,
    limits: Mapping[str, Range],
    bits: Literal[8, 4] = 8,
    console: Console | None = None,
) -> GraphNetwork:
    """`network` once it has learnt to be rounded: by `limits` of its activations, and in `bits` of its
    weights.

    The others, and errors, are as of `repair.repaired`.
    """
    learnt = repaired(
        rounding(network, limits, bits), spec, teacher, dataset, out, labels, lesson, f"{bits} bits", console
    )
    assert isinstance(learnt, Rounding)
    return plain(learnt)
