"""Structural pruning: whole channels go, in every layer that shares them, and the network that is left is an
ordinary, smaller one.

Which channels matter least is told by the size of their weights (Li et al., ICLR 2017, arXiv 1608.08710) or
by what the loss would change without them, to the first order (Molchanov et al., CVPR 2019, arXiv
1906.10771). The joints, the image's colours, and all that an operation needs as it is, are left alone
(`channels`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from poseling.compress.channels import Channels, Layer, channels, kept
from poseling.geometry import Size
from poseling.models.graph import GraphNetwork

MULTIPLE = (
    16  # of channels that stay in a space: processors compute on them in packets, ONNX Runtime in 8 or 16
)
LEAST = 0.1  # of a space's channels stay, at least


@dataclass(frozen=True)
class Pruned:
    """The smaller network; of each layer that lost some which channels it still writes (`writes`), and how
    many it writes now and wrote before (`widths`), by the layer's name; its multiply-accumulates over those
    of before.
    """

    network: GraphNetwork
    writes: Mapping[str, Tensor]
    widths: Mapping[str, tuple[int, int]]
    macs: float


def magnitude(network: GraphNetwork, found: Channels) -> dict[int, Tensor]:
    """Of each space (C,) the mean over its layers of the squared weights that write or read the channel, over
    the layer's own mean.
    """
    scores: dict[int, Tensor] = {}
    counts: dict[int, int] = {}
    for layer in found.layers:
        state = network.layers[layer.name].state_dict()
        weight = state.get("weight")
        if weight is None or weight.ndim < 2:
            continue
        square = weight.double().square()
        sides = [(layer.writes, 1 if layer.kind == "ConvTranspose" else 0)]
        if not layer.tied:
            sides.append((layer.reads, 1 - sides[0][1]))
        for spaces, axis in sides:
            if square.shape[axis] != sum(found.sizes[space] for space in spaces):
                continue  # in groups: it has the inputs of one, and its spaces do not shrink
            by_channel = square.mean([i for i in range(square.ndim) if i != axis])
            by_channel = by_channel / by_channel.mean().clamp(min=1e-30)
            start = 0
            for space in spaces:
                part = by_channel[start : start + found.sizes[space]]
                scores[space] = scores[space] + part if space in scores else part
                counts[space] = counts.get(space, 0) + 1
                start += found.sizes[space]
    return {space: score / counts[space] for space, score in scores.items()}


def taylor(
    network: GraphNetwork, found: Channels, losses: Iterable[Callable[[nn.Module], Tensor]]
) -> dict[int, Tensor]:
    """Of each space (C,) the mean square of what each image's loss would change if the channel were gone,
    to the first order.

    Each of `losses` takes a network to the losses (B,) of a batch. At each layer that writes the space a
    factor of 1 is put before every channel; the derivative of the loss by it is that change (equation 8, with
    gates).
    """
    gates: dict[int, Tensor] = {}
    scores = {space: torch.zeros(count, dtype=torch.float64) for space, count in found.sizes.items()}
    handles = []
    for layer in found.layers:
        if not layer.tied:  # else the channel was counted where it was written
            handles.append(
                network.layers[layer.name].register_forward_hook(partial(_gated, found, layer, gates))
            )
    seen = 0
    try:
        for loss in losses:
            gates.clear()
            each = loss(network)
            spaces = list(gates)
            grads = torch.autograd.grad(each.sum(), [gates[s] for s in spaces], allow_unused=True)
            for space, grad in zip(spaces, grads, strict=True):
                if grad is not None:
                    scores[space] += grad.double().square().sum(0).cpu()
            seen += len(each)
    finally:
        for handle in handles:
            handle.remove()
    if not seen:
        raise ValueError(
            "Taylor's importance needs images; give some with --data, or take --importance magnitude"
        )
    return {space: score / seen for space, score in scores.items()}


def _gated(
    found: Channels, layer: Layer, gates: dict[int, Tensor], _: nn.Module, __: Any, output: Tensor
) -> Tensor:
    """The output of a layer with each space's factors of 1 before its channels."""
    parts = []
    for space in layer.writes:
        if space not in gates:
            gates[space] = torch.ones(
                len(output), found.sizes[space], device=output.device, requires_grad=True
            )
        parts.append(gates[space])
    factors = torch.cat(parts, 1)
    if layer.kind == "Linear":
        return output * factors.view(len(output), *[1] * (output.ndim - 2), -1)
    return output * factors.view(*factors.shape, *[1] * (output.ndim - 2))


def chosen(
    found: Channels,
    scores: Mapping[int, Tensor],
    ratio: float,
    everywhere: bool = True,
    multiple: int = MULTIPLE,
) -> dict[int, Tensor]:
    """Which channels stay, of each space that shrinks, once the part `ratio` of all multiply-accumulates is
    gone.

    `everywhere`: of all spaces, packets of `multiple` channels go whose importance over the work that they
    save is least; else each space loses the same part. ValueError if `ratio` is not between 0 and 1, or more
    than can go.
    """
    if not 0 < ratio < 1:
        raise ValueError(
            f"--prune {ratio:g}: is the part of the work that goes; give more than 0 and less than 1"
        )
    free = [s for s in found.free() if s in scores and found.sizes[s] > multiple]
    if not free:
        raise ValueError(
            "the network has no channels that may go; it is too small, or tied together everywhere"
        )
    least = {s: max(multiple, _up(LEAST * found.sizes[s], multiple)) for s in free}
    order = {s: torch.argsort(scores[s], stable=True) for s in free}
    goal = (1 - ratio) * found.macs(found.sizes)
    if found.macs({**found.sizes, **least}) > goal:
        most = 1 - found.macs({**found.sizes, **least}) / found.macs(found.sizes)
        raise ValueError(f"--prune {ratio:g}: only {most:.2f} of the network's work can go; ask for less")
    pick = _everywhere if everywhere else _evenly
    sizes = pick(found, scores, order, least, goal, multiple)
    return {s: order[s][found.sizes[s] - sizes[s] :].sort().values for s in free if sizes[s] < found.sizes[s]}


def most(network: GraphNetwork, size: Size, multiple: int = MULTIPLE) -> float:
    """The part of the multiply-accumulates that can go at most."""
    found = channels(network, size)
    least = {
        s: max(multiple, _up(LEAST * found.sizes[s], multiple))
        for s in found.free()
        if found.sizes[s] > multiple
    }
    return 1 - found.macs({**found.sizes, **least}) / found.macs(found.sizes)


def _up(count: float, multiple: int) -> int:
    return -(-int(count) // multiple) * multiple


def _packet(size: int, multiple: int) -> int:
    """How many channels go next, so that a multiple stays."""
    return size % multiple or multiple


def _everywhere(
    found: Channels,
    scores: Mapping[int, Tensor],
    order: Mapping[int, Tensor],
    least: Mapping[int, int],
    goal: float,
    multiple: int,
) -> dict[int, int]:
    sizes = dict(found.sizes)
    touching = {s: found.touching(s) for s in order}

    def work(space: int) -> float:
        return sum(found.cost(layer, sizes) for layer in touching[space])

    while found.macs(sizes) > goal:
        best, which = float("inf"), -1
        for space in order:
            take = _packet(sizes[space], multiple)
            if sizes[space] - take < least[space]:
                continue
            gone = found.sizes[space] - sizes[space]
            lost = float(scores[space][order[space][gone : gone + take]].sum())
            before = work(space)
            sizes[space] -= take
            saved = before - work(space)
            sizes[space] += take
            if lost / max(saved, 1e-12) < best:
                best, which = lost / max(saved, 1e-12), space
        sizes[which] -= _packet(sizes[which], multiple)
    return sizes


def _evenly(
    found: Channels,
    scores: Mapping[int, Tensor],
    order: Mapping[int, Tensor],
    least: Mapping[int, int],
    goal: float,
    multiple: int,
) -> dict[int, int]:
    for part in torch.linspace(1, 0, 1001).tolist():
        sizes = {s: max(least[s], min(_up(part * found.sizes[s], multiple), found.sizes[s])) for s in order}
        if found.macs({**found.sizes, **sizes}) <= goal:
            return {**found.sizes, **sizes}
    return {**found.sizes, **least}


def pruned(
    network: GraphNetwork,
    size: Size,
    ratio: float,
    losses: Iterable[Callable[[nn.Module], Tensor]] | None = None,
    everywhere: bool = True,
    multiple: int = MULTIPLE,
) -> Pruned:
    """`network` without the part `ratio` of its multiply-accumulates on images of `size` (W, H), in whole
    channels.

    By `taylor` where `losses` are given, else by `magnitude`. ValueError as of `chosen`.
    """
    found = channels(network, size)
    scores = magnitude(network, found) if losses is None else taylor(network, found, losses)
    keep = chosen(found, scores, ratio, everywhere, multiple)
    smaller = kept(network, found, keep)
    sizes = {**found.sizes, **{s: len(k) for s, k in keep.items()}}
    widths = {
        layer.name: (sum(sizes[s] for s in layer.writes), sum(found.sizes[s] for s in layer.writes))
        for layer in found.layers
    }
    changed = {name: (now, before) for name, (now, before) in widths.items() if now != before}
    writes = {layer.name: found.places(layer.writes, keep) for layer in found.layers if layer.name in changed}
    return Pruned(smaller, writes, changed, found.macs(sizes) / found.macs(found.sizes))
