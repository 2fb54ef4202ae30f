"""Layer by layer the weights that give best what the original gave there: least squares, in closed form, on a
few hundred crops.

When channels or ranks are gone, what is left can make up for much of them without any training: each layer is
fitted to the original's output from the inputs that the smaller network really gives it (He, Zhang and Sun,
ICCV 2017, arXiv 1707.06168, section 3.1; from the smaller network's own inputs as in Zhang et al., arXiv
1505.06798, section 3.3).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from poseling.models.graph import GraphNetwork
from poseling.models.operators import Convolution
from poseling.models.operators import _same as same_pads

RIDGE = 1e-3  # of the inputs' mean power: keeps weights small where crops are few
WIDEST = 1600  # inputs of a layer, over all pixels of its kernel: more would take long to solve for


class _Enough(Exception):  # noqa: N818  # it is no error: the layer has been seen
    """The rest of the network need not run."""


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
    theirs = {o.outputs[0]: o.layer for o in original.graph.operations if o.layer}
    uses = [o.layer for o in network.graph.operations]
    changed = False
    for operation in network.graph.operations:
        layer, value = operation.layer, operation.outputs[0]
        if operation.kind not in ("Conv", "Linear") or value not in theirs or uses.count(layer) > 1:
            continue
        mine, other = network.layers[layer], original.layers[theirs[value]]
        keep = None if writes is None else writes.get(layer)
        rows = mine.get_parameter("weight")
        before = other.get_parameter("weight")
        changed = changed or rows.shape != before.shape or layer != theirs[value]
        if not changed or int(operation.attributes.get("groups", 1)) > 1 or rows[0].numel() > WIDEST:
            continue  # until something is missing there is nothing to make up for
        _fit(network, original, mine, other, images, keep)
    return network


def _fit(
    network: GraphNetwork,
    original: GraphNetwork,
    mine: nn.Module,
    other: nn.Module,
    images: Sequence[Tensor],
    keep: Tensor | None,
) -> None:
    """Weight and bias of the layer `mine` by least squares with a little pull towards what they were."""
    weight = mine.get_parameter("weight")
    bias = dict(mine.named_parameters()).get("bias")
    wide = weight[0].numel() + (bias is not None)
    gram, cross = (
        weight.new_zeros(wide, wide, dtype=torch.float64),
        weight.new_zeros(wide, len(weight), dtype=torch.float64),
    )
    count = 0
    for batch in images:
        x = _columns(mine, _seen(network, mine, batch, given=True), bias is not None)
        y = _seen(original, other, batch, given=False)
        y = y.flatten(0, -2) if isinstance(mine, nn.Linear) else y.permute(0, 2, 3, 1).flatten(0, 2)
        y = y if keep is None else y[:, keep]
        gram += (x.T @ x).double()
        cross += (x.T @ y).double()
        count += len(x)
    power = RIDGE * gram.diagonal().mean().clamp(min=1e-12)
    now = torch.cat([weight.flatten(1), *([bias[:, None]] if bias is not None else [])], 1).double().T
    solved = torch.linalg.solve(gram + power * torch.eye(wide, dtype=torch.float64), cross + power * now)
    if not torch.isfinite(solved).all():
        return
    found = solved.T.to(weight.dtype)
    weight.copy_(found[:, : weight[0].numel()].reshape(weight.shape))
    if bias is not None:
        bias.copy_(found[:, -1])


def _seen(network: GraphNetwork, layer: nn.Module, images: Tensor, given: bool) -> Tensor:
    """What a layer is given, or gives, for these images."""
    found: list[Tensor] = []

    def look(_: nn.Module, inputs: tuple[Any, ...], output: Tensor) -> None:
        found.append(inputs[0] if given else output)
        raise _Enough

    handle = layer.register_forward_hook(look)
    try:
        network(images)
    except _Enough:
        pass
    finally:
        handle.remove()
    return found[0]


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
