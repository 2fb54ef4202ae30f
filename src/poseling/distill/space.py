"""Losses of joints in space, for networks with location maps (VNect, Mehta et al., SIGGRAPH 2017; MoVNect, Hwang et al., WACV 2020).

Outputs (B, S, K, 7, h, w) and targets (B, K, 8, h, w) as `codecs.location_map` lays them out: heatmap, X, Y, Z from the root, dX, dY, dZ from the parent, and in the
targets the heatmap H under which the six are learnt; weights (B, K, 3) of heatmap, place and bone. Sums over stages and axes, means over people and joints.

MoVNect's loss is, with the teacher's share 1 - a, an a of 1/2, and L each of X, Y, Z:

    L_HM = 1/J sum_j [ a |H_j - H_j^GT|^2 + (1 - a) |H_j - H_j^T|^2 ]
    L_LM = 1/J sum_j [ a |H_j^GT (L_j - L_j^GT)|^2 + (1 - a) |H_j^GT (L_j - L_j^T)|^2 ]

The teacher's term stands against the teacher, but under the labels' heatmap; where there is no label, under the teacher's own.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial

from torch import Tensor

from poseling.codecs import Codec
from poseling.codecs.simcc3d import SimCC3D
from poseling.distill.objective import Term, mixed, named
from poseling.distill.response import LOSSES, Loss, full, reduced, simcc_space


def location(outputs: Tensor, targets: Tensor, weight: Tensor, *, maps: slice = slice(1, 4), which: int = 1) -> Tensor:
    """VNect's |H (L - L^GT)|^2 over pixels, divided by 2 h w as `response.mse` does, so that both weigh as they do in the papers: with metres, errors of 10 cm count
    a hundredth of a heatmap that is wrong altogether.

    >>> import torch
    >>> outputs, targets = torch.zeros(1, 1, 1, 7, 1, 2), torch.ones(1, 1, 8, 1, 2)
    >>> targets[..., 7, 0, 1] = 0.5  # H is 1 and 1/2, and each of three axes 1 off: 3 (1 + 1/4) / (2 * 2)
    >>> location(outputs, targets, torch.ones(1, 1, 3)).item()
    0.9375
    """
    away, under = _under(outputs, targets, maps)
    return reduced((under * away).square().mean((-2, -1)).sum(-1) / 2, weight[..., which])


def location_l1(outputs: Tensor, targets: Tensor, weight: Tensor, *, maps: slice = slice(1, 4), which: int = 1) -> Tensor:
    """|L - L^GT| averaged under H, in metres, summed over the axes: what a joint is off by where it is read. Not in the papers; it learns faster in short runs.

    >>> import torch
    >>> outputs, targets = torch.zeros(1, 1, 1, 7, 1, 2), torch.ones(1, 1, 8, 1, 2)
    >>> targets[..., 1, 0, 1], targets[..., 7, 0, 1] = 4.0, 0.5  # X: (1 * 1 + 4 / 2) / 1.5
    >>> location_l1(outputs, targets, torch.ones(1, 1, 3)).item()
    4.0
    """
    away, under = _under(outputs, targets, maps)
    share = under / under.sum((-2, -1), keepdim=True).clamp(min=1e-6)
    return reduced((share * away.abs()).sum((-2, -1)).sum(-1), weight[..., which])


def on_heatmaps(loss: Loss) -> Loss:
    """`loss` on the heatmaps of outputs with location maps."""

    def heatmaps(outputs: Tensor, targets: Tensor, weight: Tensor) -> Tensor:
        return loss(outputs[:, :, :, 0], targets[:, :, 0], weight[..., 0])

    return named(heatmaps, f"heatmaps_{loss.__name__}")


PLACES: dict[str, Callable[..., Tensor]] = {"mse": location, "kl": location_l1}  # by the heatmaps' loss


def in_space(codec: Codec, loss: str, alpha: float, locations: float = 1.0, bones: float = 1.0) -> tuple[Term, ...]:
    """What a network that answers in space learns by: (1 - alpha) times the labels and alpha times the teacher.

    Heatmaps by `loss`, mse as in the papers or kl; places times `locations`, and the bones, which the papers call auxiliary, `bones` times as much as those. Places
    should not outweigh heatmaps: who finds a joint at the wrong pixel reads somebody else's place. Of SimCC-3D the bins of all five axes, which have no
    bones. Who has no place in space teaches heatmaps alone. ValueError for an alpha outside 0..1.
    """
    if isinstance(codec, SimCC3D):
        bins = named(partial(simcc_space, axes=codec.bins), "simcc_space")
        return mixed(bins, bins, alpha)
    place = PLACES[loss]
    parts = {"": (on_heatmaps(LOSSES[loss]), 1.0), "_places": (place, locations), "_bones": (bones_of(place), locations * bones)}
    terms = [(name, factor, mixed(part, part, alpha)) for name, (part, factor) in parts.items() if factor > 0]
    return tuple(replace(term, name=term.name + name, weight=term.weight * factor) for name, factor, pair in terms for term in pair)


def bones_of(place: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """The same loss on dX, dY, dZ."""
    return named(partial(place, maps=slice(4, 7), which=2), f"bones_{place.__name__}")


def _under(outputs: Tensor, targets: Tensor, maps: slice) -> tuple[Tensor, Tensor]:
    """How far the maps are off (B, S, K, 3, h, w), and the heatmap under which that counts (B, 1, K, 1, h, w)."""
    away = full(outputs[:, :, :, maps]) - full(targets[:, :, maps])[:, None]
    return away, full(targets[:, :, 7])[:, None, :, None]
