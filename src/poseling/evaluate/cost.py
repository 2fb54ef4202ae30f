"""What a network costs: its parameters and multiply-accumulates."""

from __future__ import annotations

import copy
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from poseling.geometry import Size


@dataclass(frozen=True)
class Cost:
    """`params` of the whole network, shared ones once; `gmac` 1e9 multiply-accumulates for one image."""

    params: int
    gmac: float


def cost(network: nn.Module, size: Size, channels: int = 3) -> Cost:
    """The cost of one image of `size` (W, H): convolutions, matrix products and attention count, as in most
    papers' "FLOPs"; additions and norms do not.

    Nothing is computed: a copy without weights runs on torch's meta device, which takes almost no time or
    memory and leaves the network unchanged.

    >>> cost(nn.Conv2d(3, 8, 3, padding=1), (10, 20))  # 10 x 20 pixels, 8 x 3 x 3 x 3 products each
    Cost(params=224, gmac=4.32e-05)
    """
    memo: dict[int, Tensor] = {}
    for tensor in (*network.parameters(), *network.buffers()):
        empty = torch.empty_like(tensor, device="meta")
        memo[id(tensor)] = (
            nn.Parameter(empty, requires_grad=False) if isinstance(tensor, nn.Parameter) else empty
        )
    shape_only = copy.deepcopy(network, memo).eval()
    like = next(network.parameters(), torch.empty(0))
    image = torch.empty(1, channels, size[1], size[0], device="meta", dtype=like.dtype)
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        shape_only(image)
    return Cost(sum(p.numel() for p in network.parameters()), counter.get_total_flops() / 2e9)
