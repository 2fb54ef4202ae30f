"""Losses on relations: between the samples of a batch, or between the joints of a person. Features may be of
any size and need no adapter.

Between samples, with features (B, C) or (B, C, h, w), which are averaged over pixels, and weights (B,):
`rkd_distance`, `rkd_angle` and, on the whole feature, `similarity_preserving`. The weight of a pair is the
product of its two. Between the joints of each person: `joint_structure`, on what `joint_embeddings` gives.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from poseling.codecs.losses import full


def rkd_distance(student: Tensor, teacher: Tensor, weight: Tensor) -> Tensor:
    """Smooth L1 between the distances of all pairs of samples, each network's over its own mean distance
    (RKD-D, Park et al., CVPR 2019).

    Averaged over all B^2 pairs, those of a sample with itself too, as in the authors' code. Its factor is 1
    in their metric learning.

    >>> student, teacher = torch.tensor([[0.0], [1.0], [3.0]]), torch.tensor([[0.0], [2.0], [4.0]])
    >>> loss = rkd_distance(student, teacher, torch.ones(3))  # 1, 2, 3 over 2, and 2, 2, 4 over 8/3
    >>> round(loss.item(), 4)  # of 9 pairs two are (1/4)^2 / 2, two more (1/4)^2 / 2
    0.0139
    """
    pairs = weight[:, None] * weight
    ours, theirs = (_relative(feature, pairs) for feature in (student, teacher))
    return (F.smooth_l1_loss(ours, theirs, reduction="none") * pairs).mean()


def rkd_angle(student: Tensor, teacher: Tensor, weight: Tensor) -> Tensor:
    """Smooth L1 between the cosines of the angles that every two samples form at a third (RKD-A, Park et al.,
    CVPR 2019).

    Averaged over all B^3 triples, as in the authors' code. Its factor is 2 in their metric learning. Takes
    B^3 numbers of memory.
    """
    triples = weight[:, None, None] * weight[:, None] * weight
    ours, theirs = (_products(_unit(_differences(feature))) for feature in (student, teacher))
    return (F.smooth_l1_loss(ours, theirs, reduction="none") * triples).mean()


def similarity_preserving(student: Tensor, teacher: Tensor, weight: Tensor) -> Tensor:
    """1 / B^2 times ||G_t - G_s||^2, G the matrix of the samples' inner products, each row of length 1 (SP,
    Tung and Mori, ICCV 2019).

    Features (B, ...) are taken whole.

    >>> student, teacher = torch.tensor([[1.0, 0.0], [0.0, 1.0]]), torch.tensor([[3.0], [4.0]])
    >>> loss = similarity_preserving(student, teacher, torch.ones(2))  # (1, 0), (0, 1), and twice (0.6, 0.8)
    >>> round(loss.item(), 4)  # (0.4^2 + 0.8^2 + 0.6^2 + 0.2^2) / 4
    0.3
    """
    pairs = weight[:, None] * weight
    ours, theirs = (
        _unit(_products(full(feature).flatten(1)) * (pairs > 0)) for feature in (student, teacher)
    )
    return ((ours - theirs).square() * pairs).mean()


def joint_structure(student: Tensor, teacher: Tensor, weight: Tensor) -> Tensor:
    """Mean over all K^2 pairs of a person's joints of (cos(s_k, s_l) - cos(t_k, t_l))^2, for embeddings (B,
    K, C) and (B, K, C') and weights (B, K) or (B,).

    The pair-wise loss of structured distillation (Liu et al., CVPR 2019) with joints in place of pixels. PKD
    (ICIP 2022) also distils a map of the joints' structure; its formula is not public, so this is not it.

    >>> student, teacher = torch.tensor([[[1.0, 0.0], [0.0, 2.0]]]), torch.tensor([[[1.0], [5.0]]])
    >>> joint_structure(student, teacher, torch.ones(1, 2)).item()  # cosines 0 and 1 in two of four pairs
    0.5
    """
    b, k = student.shape[:2]
    each = weight if weight.ndim == 2 else weight[:, None].expand(b, k)
    ours, theirs = (_products(_unit(full(feature))) for feature in (student, teacher))
    return ((ours - theirs).square() * each[:, :, None] * each[:, None]).mean()


def joint_embeddings(features: Tensor, maps: Tensor) -> Tensor:
    """A feature (B, C, h, w) averaged under each joint's heatmap (B, K, h', w'): (B, K, C), 0 for a map
    without mass.

    The result is that of a feature resized to the heatmaps' size, bilinearly. Maps are Gaussians, as a
    codec's `maps` gives them, not logits.

    >>> features = torch.tensor([[[[1.0, 2.0], [3.0, 4.0]]]])
    >>> maps = torch.tensor([[[[0.5, 0.0], [0.0, 0.5]], [[0.0, 0.0], [0.0, 0.0]]]])
    >>> joint_embeddings(features, maps).flatten().tolist()
    [2.5, 0.0]
    """
    features, maps = full(features), full(maps).clamp(min=0)
    mass = maps.sum((-2, -1), keepdim=True)
    maps = maps / mass.clamp(min=1e-6) * (mass > 1e-3)
    # Shrinking the maps by the transpose of the resize is the same as enlarging the feature, and far smaller.
    down, across = (
        _resize(ours, theirs, maps) for ours, theirs in zip(features.shape[-2:], maps.shape[-2:], strict=True)
    )
    with torch.autocast(features.device.type, enabled=False):
        shares = down.mT @ maps @ across
        return shares.flatten(2) @ features.flatten(2).to(shares.dtype).mT


def _resize(ours: int, theirs: int, like: Tensor) -> Tensor:
    """(theirs, ours): the matrix that resizes a line of `ours` pixels to one of `theirs`, in the dtype of
    `like`.
    """
    return F.interpolate(
        torch.eye(ours, dtype=like.dtype, device=like.device)[None], theirs, mode="linear", align_corners=True
    )[0].mT


def _differences(features: Tensor) -> Tensor:
    """(B, B, C): the difference of each sample's feature (B, C, ...) to each other's."""
    pooled = full(features).flatten(2).mean(-1) if features.ndim > 2 else full(features)
    return pooled - pooled[:, None]


def _relative(features: Tensor, pairs: Tensor) -> Tensor:
    """(B, B): distances over the mean of those that are not 0, of pairs with a weight above 0."""
    distances = _differences(features).norm(dim=-1)
    weight = pairs * (distances > 0)
    mean = (distances * weight).sum() / weight.sum().clamp(min=1e-12)
    return distances / torch.where(mean > 0, mean, 1.0)


def _unit(vectors: Tensor) -> Tensor:
    """Vectors (..., C) of length 1; those of length 0 stay 0 and have no gradient (that of F.normalize is
    1e12 there).
    """
    length = vectors.norm(dim=-1, keepdim=True)
    return torch.where(length > 1e-12, vectors / torch.where(length > 1e-12, length, 1.0), 0.0)


def _products(vectors: Tensor) -> Tensor:
    """(..., n, n): all inner products of vectors (..., n, C), in their own precision."""
    with torch.autocast(vectors.device.type, enabled=False):
        return vectors @ vectors.mT
