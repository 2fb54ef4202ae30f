"""Channels scaled so that two layers in a row have weights of the same range, before eight bits: the same
function, with no channel that is much wider than its neighbours (cross-layer equalisation: Nagel et al., ICCV
2019, arXiv 1906.04721, section 4.1).

What a channel of the first layer gives is divided by s, and what the second makes of it is multiplied by s.
A ReLU between them lets that through, since max(0, x / s) = max(0, x) / s; a ReLU6 does not, and the paper
takes it for a ReLU. Here it stays: a channel that reaches its bound on the calibration crops keeps its scale,
and no other is made so wide that it would. The network then gives the same wherever it meets nothing wider
than those crops.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from poseling.models.graph import GraphNetwork, Operation

SWEEPS = 50  # over all pairs; each changes the ranges of its neighbours
STILL = 1e-3  # scales nearer to 1 than this are not worth another


class Pair(NamedTuple):
    """Two convolutions in a row, and the clip between them if there is one."""

    first: Operation
    clip: Operation | None
    second: Operation


@torch.no_grad()
def equalised(network: GraphNetwork, images: Sequence[Tensor]) -> GraphNetwork:
    """A copy of `network` with equalised channels; itself where no two convolutions follow each other.

    `images` are batches (B, 3, H, W), normalised: what says which channels reach a ReLU6's bound.
    """
    found = pairs(network)
    if not found:
        return network
    copied = GraphNetwork(network.graph)
    copied.load_state_dict(network.state_dict())
    peaks = _peaks(network, images, [pair.clip for pair in found if pair.clip])
    for _ in range(SWEEPS):
        widest = max(_even(copied, pair, peaks) for pair in found)
        if widest < STILL:
            break
    return copied.eval()


def pairs(network: GraphNetwork) -> list[Pair]:
    """The convolutions that follow each other with nothing between them but a ReLU, or a clip from 0 on, and
    whose values nobody else reads.
    """
    graph = network.graph
    readers: dict[str, list[Operation]] = {}
    for operation in graph.operations:
        for name in operation.inputs:
            readers.setdefault(name, []).append(operation)
    shared = {graph.output, graph.features}
    layers = [o.layer for o in graph.operations]

    def only(operation: Operation) -> Operation | None:
        after = readers.get(operation.outputs[0], [])
        return after[0] if len(after) == 1 and operation.outputs[0] not in shared else None

    found = []
    for first in graph.operations:
        if first.kind != "Conv" or layers.count(first.layer) > 1:
            continue
        second, clip = only(first), None
        if second is not None and second.kind in ("Relu", "Clip"):
            if second.kind == "Clip":
                clip = second
            second = only(second)
        if second is None or second.kind != "Conv" or layers.count(second.layer) > 1:
            continue
        if (clip is None or _from_zero(clip)) and _by_channel(second):
            found.append(Pair(first, clip, second))
    return found


def _from_zero(clip: Operation) -> bool:
    return len(clip.inputs) == 1 and clip.attributes.get("min") == 0 and "max" in clip.attributes


def _by_channel(conv: Operation) -> bool:
    """Whether each input channel of a convolution has a column of the weight, or a filter, of its own."""
    groups = int(conv.attributes["groups"])
    return groups == 1 or groups == conv.attributes["channels"][0] == conv.attributes["channels"][1]


def _peaks(network: GraphNetwork, images: Sequence[Tensor], clips: Sequence[Operation]) -> dict[str, Tensor]:
    """The largest value (C,) that each clip lets through, channel by channel."""
    found: dict[str, Tensor] = {}
    for batch in images if clips else ():
        values = network.values(batch)
        for clip in clips:
            name = clip.outputs[0]
            top = values[name].amax((0, 2, 3))
            found[name] = torch.maximum(found[name], top) if name in found else top
    return found


def _even(network: GraphNetwork, pair: Pair, peaks: Mapping[str, Tensor]) -> float:
    """Equalises one pair, and what `peaks` says of it; how far its furthest scale was from 1."""
    first, second = (network.layers[o.layer] for o in (pair.first, pair.second))
    before, after = first.get_parameter("weight"), second.get_parameter("weight")
    depthwise = int(pair.second.attributes["groups"]) > 1
    here = before.abs().amax((1, 2, 3))
    there = after.abs().amax((1, 2, 3) if depthwise else (0, 2, 3))
    scale = torch.where((here > 0) & (there > 0), (here / there).sqrt(), torch.ones_like(here))
    if pair.clip is not None:
        peak, bound = peaks[pair.clip.outputs[0]], float(pair.clip.attributes["max"])
        scale = torch.where(peak < bound, torch.maximum(scale, peak / bound), torch.ones_like(scale))
        peak /= scale
    before.div_(scale.view(-1, 1, 1, 1))
    if pair.first.attributes["bias"]:
        first.get_parameter("bias").div_(scale)
    after.mul_(scale.view((-1, 1, 1, 1) if depthwise else (1, -1, 1, 1)))
    return float((scale - 1).abs().max())
