"""Losses on what a network answers. Each takes outputs (B, S, K, h, w) of S stacks, targets (B, K, h, w) with a peak of 1, and weights (B, K).

Every stack is held against the same target and the stacks are summed, as FPD does (Zhang et al., CVPR 2019, section 3.2); people and joints are averaged.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from poseling.codecs.heatmap import soft_argmax

Loss = Callable[[Tensor, Tensor, Tensor], Tensor]


def mse(outputs: Tensor, targets: Tensor, weight: Tensor) -> Tensor:
    """FPD's equations 1 and 2: 1/K sum_k ||m_k - t_k||^2, divided by 2 h w as the authors' code does, so that their learning rates carry over.

    >>> mse(torch.zeros(1, 2, 1, 2, 2), torch.ones(1, 1, 2, 2), torch.ones(1, 1)).item()  # 0.5 in each of two stacks
    1.0
    """
    squares = 0.5 * (outputs - targets[:, None]).square().mean((-2, -1))
    return (squares * weight[:, None]).mean((0, 2)).sum()


def kl(outputs: Tensor, targets: Tensor, weight: Tensor) -> Tensor:
    """KL(target || softmax of the outputs over pixels), the target normalised to sum to 1; a target without mass weighs nothing.

    >>> kl(torch.zeros(1, 1, 1, 2, 2), torch.ones(1, 1, 2, 2), torch.ones(1, 1)).item()  # both uniform
    0.0
    """
    target, mass = _distribution(targets)
    log = outputs.flatten(3).log_softmax(-1)
    divergence = (torch.xlogy(target, target)[:, None] - target[:, None] * log).sum(-1)
    return (divergence * (weight * mass)[:, None]).mean((0, 2)).sum()


def coordinate(outputs: Tensor, targets: Tensor, weight: Tensor) -> Tensor:
    """L1 between the mean positions of the softmax of the outputs and of the normalised target, in parts of the map's size (integral pose, ECCV 2018)."""
    h, w = outputs.shape[-2:]
    target, mass = _distribution(targets)
    there = soft_argmax(target.view_as(targets))
    here = soft_argmax(outputs.flatten(3).softmax(-1).view_as(outputs))
    distance = (here - there[:, None]).abs().div(here.new_tensor([w, h])).sum(-1)
    return (distance * (weight * mass)[:, None]).mean((0, 2)).sum()


LOSSES: dict[str, Loss] = {"mse": mse, "kl": kl, "coordinate": coordinate}


def _distribution(targets: Tensor) -> tuple[Tensor, Tensor]:
    """(B, K, h w) that sum to 1 over pixels, and (B, K) whether there was anything to normalise."""
    flat = targets.flatten(2).clamp(min=0)
    total = flat.sum(-1)
    return flat / total[..., None].clamp(min=1e-6), (total > 1e-3).to(flat.dtype)
