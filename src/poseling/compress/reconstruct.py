"""Layer by layer the weights that give best what the original gave there: least squares, in closed form, on a
few hundred crops.

When channels or ranks are gone, what is left can make up for much of them without any training: each layer is
fitted to the original's output from the inputs that the smaller network really gives it (He, Zhang and Sun,
ICCV 2017, arXiv 1707.06168, section 3.1; from the smaller network's own inputs as in Zhang et al., arXiv
1505.06798, section 3.3).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from poseling.models.graph import GraphNetwork, Operation
from poseling.models.operators import Convolution
from poseling.models.operators import _same as same_pads

RIDGE = 1e-3  # of the inputs' mean power: keeps weights small where crops are few
WIDEST = 1600  # inputs of a layer, over all pixels of its kernel: more would take long to solve for
PLACES = (
    64  # of an image at which a layer is fitted; with 256 images ten for each of the widest layer's inputs
)


@torch.no_grad()
def reconstructed(
    network: GraphNetwork,
    original: GraphNetwork,
    images: Sequence[Tensor],
    writes: Mapping[str, Tensor] | None = None,
) -> GraphNetwork:
    """`network` with the weights of its dense layers fitted to what `original` gives, in the order in which
    they run.

    A layer is fitted to the value of the same name in the original. `images` are batches (B, 3, H, W) as
    both take them; `writes` has for a layer of fewer channels which of the original's they are. Layers that
    work by groups, whose value the original does not have, or that are too wide to solve for stay as they
    are. It is changed, and given back.
    """
    writer = {o.outputs[0]: o.layer for o in original.graph.operations if o.layer}
    uses = [o.layer for o in network.graph.operations]
    # Both networks run side by side, one operation at a time, on all the images.
    walks = [network.steps(batch) for batch in images]
    others = [original.steps(batch) for batch in images]
    changed = False
    for operation in network.graph.operations:
        now = [next(walk)[1] for walk in walks]
        layer, value = operation.layer, operation.outputs[0]
        if operation.kind not in ("Conv", "Linear") or value not in writer or uses.count(layer) > 1:
            continue
        mine, other = network.layers[layer], original.layers[writer[value]]
        rows = mine.get_parameter("weight")
        changed = changed or rows.shape != other.get_parameter("weight").shape or layer != writer[value]
        if not changed or int(operation.attributes.get("groups", 1)) > 1 or rows[0].numel() > WIDEST:
            continue  # until something is missing there is nothing to make up for
        keep = None if writes is None else writes.get(layer)
        given = [values[operation.inputs[0]] for values in now]
        _fit(mine, given, (_written(original, walk, value) for walk in others), keep)
    return network


def _written(network: GraphNetwork, walk: Iterator[tuple[Operation, dict[str, Any]]], value: str) -> Tensor:
    """The value of this name, which a layer writes, of a network that has run up to some operation before."""
    operation, values = next(step for step in walk if step[0].outputs[0] == value)
    found: Tensor = network.layers[operation.layer](values[operation.inputs[0]])
    return found


def _fit(mine: nn.Module, given: Iterable[Tensor], wanted: Iterable[Tensor], keep: Tensor | None) -> None:
    """Weight and bias of a layer, by least squares with a little pull towards what they were, so that it
    gives what is `wanted`, of which it has the channels `keep`.
    """
    weight = mine.get_parameter("weight")
    bias = dict(mine.named_parameters()).get("bias")
    wide = weight[0].numel() + (bias is not None)
    gram = weight.new_zeros(wide, wide, dtype=torch.float64)
    cross = weight.new_zeros(wide, len(weight), dtype=torch.float64)
    lot = torch.Generator().manual_seed(0)
    for x, y in zip(given, wanted, strict=True):
        count = len(x)
        x = _columns(mine, x, bias is not None)
        y = y.flatten(0, -2) if isinstance(mine, nn.Linear) else y.permute(0, 2, 3, 1).flatten(0, 2)
        y = y if keep is None else y[:, keep]
        if len(x) > count * PLACES:
            chosen = torch.randperm(len(x), generator=lot)[: count * PLACES]
            x, y = x[chosen], y[chosen]
        gram += (x.T @ x).double()
        cross += (x.T @ y).double()
    power = RIDGE * gram.diagonal().mean().clamp(min=1e-12)
    now = torch.cat([weight.flatten(1), *([bias[:, None]] if bias is not None else [])], 1).double().T
    solved = torch.linalg.solve(gram + power * torch.eye(wide, dtype=torch.float64), cross + power * now)
    if not torch.isfinite(solved).all():
        return
    found = solved.T.to(weight.dtype)
    weight.copy_(found[:, : weight[0].numel()].reshape(weight.shape))
    if bias is not None:
        bias.copy_(found[:, -1])


def _columns(layer: nn.Module, x: Tensor, one: bool) -> Tensor:
    """(N, I) all that the layer multiplies its weights by, a row for each of its outputs' places; with a
    column of ones for the bias.
    """
    if isinstance(layer, Convolution):
        kernel = layer.kernel_size
        rest = same_pads(layer.same, x, kernel, layer.stride, layer.dilation) if layer.same else layer.rest
        x = F.pad(x, rest) if any(rest) else x
        if kernel == (1, 1) and layer.stride == (1, 1) and not any(layer.padding):
            rows = x.permute(0, 2, 3, 1).flatten(0, 2)
        else:
            y_pad, x_pad = (int(pad) for pad in layer.padding)
            parts = F.unfold(F.pad(x, (x_pad, x_pad, y_pad, y_pad)), kernel, layer.dilation, 0, layer.stride)
            rows = parts.transpose(1, 2).flatten(0, 1)
    else:
        rows = x.flatten(0, -2)
    return torch.cat([rows, rows.new_ones(len(rows), 1)], 1) if one else rows
