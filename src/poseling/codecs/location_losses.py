"""The losses of location maps (VNect, Mehta et al., SIGGRAPH 2017; MoVNect, Hwang et al., WACV 2020).

Outputs (B, S, K, 7, h, w) and targets (B, K, 8, h, w) as `codecs.location_map` lays them out: heatmap, X, Y,
Z from the root, dX, dY, dZ from the parent, and in the targets the heatmap H under which the six are learnt;
weights (B, K, 3) of heatmap, location and bone. Sums over stages and axes, means over samples and joints.

MoVNect's loss is, with the teacher's share 1 - a, an a of 1/2, L each of X, Y, Z in decimetres, and |.| the
norm over pixels, not squared:

    L_HM = 1/J sum_j [ a |H_j - H_j^GT| + (1 - a) |H_j - H_j^T| ]
    L_LM = 1/J sum_j [ a |H_j^GT (L_j - L_j^GT)| + (1 - a) |H_j^GT (L_j - L_j^T)| ]

So a location 10 cm off along one axis counts as much as an empty heatmap. Outputs are metres; decimetres are
the loss's.

The teacher's term compares with the teacher's location maps, but under the labels' heatmap; where there is no
label, under the teacher's own.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from torch import Tensor
from torch.linalg import vector_norm

from poseling.codecs.losses import Loss, full, kl, named, reduced

DECIMETRES = 10.0  # in one metre


def norm(outputs: Tensor, targets: Tensor, weight: Tensor) -> Tensor:
    """MoVNect's L_HM for one teacher: |H - H^GT| over the pixels of heatmaps, outputs (B, S, K, h, w),
    targets (B, K, h, w), weight (B, K).

    >>> import torch
    >>> norm(torch.zeros(1, 1, 1, 1, 2), torch.tensor([[[[3.0, 4.0]]]]), torch.ones(1, 1)).item()
    5.0
    """
    return reduced(vector_norm(full(outputs) - full(targets)[:, None], dim=(-2, -1)), weight)


def location(
    outputs: Tensor, targets: Tensor, weight: Tensor, *, maps: slice = slice(1, 4), which: int = 1
) -> Tensor:
    """VNect's |H (L - L^GT)| over pixels, with L in decimetres, summed over the axes (MoVNect's L_LM). Beside
    `norm` it weighs as in the papers.

    >>> import torch
    >>> outputs, targets = torch.zeros(1, 1, 1, 7, 1, 2), torch.ones(1, 1, 8, 1, 2)
    >>> targets[..., 7, 0, 1] = 0.75  # H is 1 and 3/4, each of three axes 1 m off: 3 * 10 * sqrt(1 + 9/16)
    >>> location(outputs, targets, torch.ones(1, 1, 3)).item()
    37.5
    """
    away, under = _under(outputs, targets, maps)
    return reduced(vector_norm(DECIMETRES * under * away, dim=(-2, -1)).sum(-1), weight[..., which])


def location_l1(
    outputs: Tensor, targets: Tensor, weight: Tensor, *, maps: slice = slice(1, 4), which: int = 1
) -> Tensor:
    """|L - L^GT| averaged under H, in metres, summed over the axes: the error of a joint where it is read.
    Not in the papers; it learns faster in short runs.

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


# By the name of the heatmaps' loss: the losses of heatmaps and of locations. `mse` is the papers', whose norm
# over a map falls where its mean square does.
PLACES: dict[str, tuple[Loss, Callable[..., Tensor]]] = {"mse": (norm, location), "kl": (kl, location_l1)}


def location_maps(loss: str) -> Loss:
    """Heatmaps, locations and bones in one, each of weight 1, by `loss`: mse as in the papers, or kl."""
    heatmap, place = PLACES[loss]
    parts = (on_heatmaps(heatmap), place, bones_of(place))

    def together(outputs: Tensor, targets: Tensor, weight: Tensor) -> Tensor:
        return sum((part(outputs, targets, weight) for part in parts), outputs.new_zeros(()))

    return named(together, f"location_maps_{loss}")


def bones_of(place: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """The same loss on dX, dY, dZ."""
    return named(partial(place, maps=slice(4, 7), which=2), f"bones_{place.__name__}")


def _under(outputs: Tensor, targets: Tensor, maps: slice) -> tuple[Tensor, Tensor]:
    """How far the maps are off (B, S, K, 3, h, w), and the heatmap under which that counts (B, 1, K, 1, h,
    w).
    """
    away = full(outputs[:, :, :, maps]) - full(targets[:, :, maps])[:, None]
    return away, full(targets[:, :, 7])[:, None, :, None]
