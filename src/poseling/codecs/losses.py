"""The losses of codecs, on a network's outputs. Each takes outputs of S stages, targets, and weights (B, K),
or (B,) for whole samples, 0 for what does not count.

- heatmaps, outputs (B, S, K, h, w), targets (B, K, h, w) with a peak of 1: `mse`, `kl`, `coordinate`
- SimCC, outputs (B, S, K, x + y) logits, first those of the columns: `simcc_kl` and `simcc_logits`; `columns`
  is where x ends
- SimCC-3D, outputs (B, S, K, x + y + X + Y + Z) logits, weights (B, K, 2): `simcc_space`; `axes` is how many
  bins each axis has
- heatmaps with X, Y, Z behind them, outputs (B, S, K, h w + 3), weights (B, K, 2): `metres` and `posture` on
  the last three
- coordinates, outputs (B, S, K, 5) as DistilPose has them, x and y in 0..1 of the input, the widths sigma_x
  and sigma_y in heatmap pixels, the score's logit: `smooth_l1`, `simulated_heatmap`, `score_at_prediction`
- location maps: in `codecs.location_losses`

Every stage is compared with the same target and stages are summed, as in FPD (Zhang et al., CVPR 2019,
section 3.2); samples and joints are averaged. All are computed in float32 at least, whatever the network ran
in.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from poseling.codecs.subpixel import bilinear, gaussians, soft_argmax

Loss = Callable[[Tensor, Tensor, Tensor], Tensor]


def mse(outputs: Tensor, targets: Tensor, weight: Tensor) -> Tensor:
    """FPD's equations 1 and 2: 1/K sum_k ||m_k - t_k||^2, divided by 2 h w as the authors' code does, so that
    their learning rates carry over.

    >>> outputs, targets = torch.zeros(1, 2, 1, 2, 2), torch.ones(1, 1, 2, 2)
    >>> mse(outputs, targets, torch.ones(1, 1)).item()  # 0.5 in each of two stages
    1.0
    """
    return reduced(0.5 * (full(outputs) - full(targets)[:, None]).square().mean((-2, -1)), weight)


def kl(outputs: Tensor, targets: Tensor, weight: Tensor) -> Tensor:
    """KL(target || softmax of the outputs over pixels), the target normalised to sum to 1; a target without
    mass weighs nothing.

    >>> kl(torch.zeros(1, 1, 1, 2, 2), torch.ones(1, 1, 2, 2), torch.ones(1, 1)).item()  # both uniform
    0.0
    """
    target, mass = _distribution(targets)
    return reduced(_divergence(target, full(outputs).flatten(3)), joints_weight(weight) * mass)


def coordinate(outputs: Tensor, targets: Tensor, weight: Tensor) -> Tensor:
    """L1 between the mean positions of the softmax of the outputs and of the normalised target, in parts of
    the map's size (integral pose, ECCV 2018).
    """
    h, w = outputs.shape[-2:]
    target, mass = _distribution(targets)
    there = soft_argmax(target.view(targets.shape))
    here = soft_argmax(full(outputs).flatten(3).softmax(-1).view(outputs.shape))
    distance = (here - there[:, None]).abs().div(here.new_tensor([w, h])).sum(-1)
    return reduced(distance, joints_weight(weight) * mass)


def simcc_kl(outputs: Tensor, targets: Tensor, weight: Tensor, *, columns: int, beta: float) -> Tensor:
    """KL(target || softmax of beta times the logits) over the `columns` bins of x and over those of y, added
    (SimCC, Li et al., ECCV 2022).

    Targets (B, K, x + y) need not sum to 1: each axis is normalised, and one without mass weighs nothing.
    `beta` is the codec's, with which the network is read: RTMPose has 10, SimCC 1.

    >>> both = torch.tensor([[[1.0, 1, 3, 1]]])  # x: 1/2, 1/2; y: 3/4, 1/4
    >>> loss = simcc_kl(torch.zeros(1, 1, 1, 4), both, torch.ones(1, 1), columns=2, beta=1)
    >>> round(loss.item(), 4)  # 0 for x, 3/4 ln 3/2 + 1/4 ln 1/2 for y
    0.1308
    """
    total = outputs.new_zeros(())
    for logits, target in zip(_axes(outputs, columns), _axes(targets, columns), strict=True):
        distribution, mass = _distribution(target)
        total = total + reduced(_divergence(distribution, beta * logits), joints_weight(weight) * mass)
    return total


def simcc_logits(outputs: Tensor, targets: Tensor, weight: Tensor, *, columns: int, beta: float) -> Tensor:
    """KL(softmax of beta times the teacher's logits || softmax of beta times the student's), x and y added
    (DWPose, Yang et al., ICCV workshops 2023).

    `beta` is the codec's, as in `simcc_kl`: DWPose has 10 for both. Targets (B, K, x + y) are the teacher's
    logits. DWPose weighs every joint alike, visible or not: give it a weight of ones.

    >>> outputs, teacher = torch.zeros(1, 1, 1, 4), torch.tensor([[[0.0, 0, 3, 0]]]).log1p() / 10
    >>> loss = simcc_logits(outputs, teacher, torch.ones(1, 1), columns=2, beta=10)
    >>> round(loss.item(), 4)  # y: 4/5 and 1/5, against 1/2 and 1/2
    0.1927
    """
    total = outputs.new_zeros(())
    for logits, teacher in zip(_axes(outputs, columns), _axes(targets, columns), strict=True):
        total = total + reduced(_divergence((beta * teacher).softmax(-1), beta * logits), weight)
    return total


def simcc_space(outputs: Tensor, targets: Tensor, weight: Tensor, *, axes: Sequence[int]) -> Tensor:
    """KL(target || softmax of the logits) along each of five axes, added: x and y in the image, then X, Y and
    Z in space, with `axes` bins each (SimCC-3D, ours).

    Weights (B, K, 2) are those of the image and of space. Targets (B, K, n) need not sum to 1: each axis is
    normalised, and one without mass weighs nothing. ValueError if `axes` are not five that take all bins.

    >>> outputs, target = torch.zeros(1, 1, 1, 10), torch.tensor([[[1.0, 1, 3, 1, 1, 0, 0, 1, 1, 1]]])
    >>> weights = torch.tensor([[[[1.0, 0.0]]], [[[0.0, 1.0]]]])
    >>> image, space = (simcc_space(outputs, target, w, axes=(2, 2, 2, 2, 2)).item() for w in weights)
    >>> round(image, 4), round(space, 4)  # 3/4 ln 3/2 + 1/4 ln 1/2, and ln 2 each for X and Y
    (0.1308, 1.3863)
    """
    if len(axes) != 5 or min(axes) < 1 or sum(axes) != outputs.shape[-1]:
        raise ValueError(
            f"axes are {tuple(axes)}, but they are the bins of x, y, X, Y and Z, and there are "
            f"{outputs.shape[-1]} in all: give the codec's `bins`"
        )
    total = outputs.new_zeros(())
    lines = zip(
        torch.split(full(outputs), list(axes), -1),
        torch.split(targets, list(axes), -1),
        (0, 0, 1, 1, 1),
        strict=True,
    )
    for logits, target, where in lines:
        distribution, mass = _distribution(target)
        total = total + reduced(_divergence(distribution, logits), weight[..., where] * mass)
    return total


def metres(outputs: Tensor, targets: Tensor, weight: Tensor) -> Tensor:
    """L1 of the last three of outputs (B, S, K, n) and targets (B, K, n), X, Y and Z in metres, summed over
    the axes; of the weights (B, K, 2) the last counts.

    >>> outputs, targets = torch.zeros(1, 1, 1, 4), torch.tensor([[[9.0, 0.1, -0.2, 0.3]]])
    >>> round(metres(outputs, targets, torch.tensor([[[0.0, 0.5]]])).item(), 4)  # (0.1 + 0.2 + 0.3) / 2
    0.3
    """
    away = full(outputs[..., -3:]) - full(targets[..., -3:])[:, None]
    return reduced(away.abs().sum(-1), weight[..., 1])


def posture(outputs: Tensor, targets: Tensor, weight: Tensor) -> Tensor:
    """`metres` of outputs that are first turned, scaled (by a half to two) and moved onto their targets, each
    sample with the least weighted squares (Umeyama, PAMI 1991, eq. 39 to 42): what PA-MPJPE measures.

    The similarity is a constant of the gradient. A sample with fewer than three joints of a weight, or whose
    true joints lie on a line, weighs nothing.

    >>> joints = torch.tensor([[0.0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1]])
    >>> turned = joints @ torch.tensor([[0.0, 1, 0], [-1, 0, 0], [0, 0, 1]]) + 2
    >>> round(posture(turned[None, None], joints[None], torch.ones(1, 4, 2)).item(), 6)
    0.0
    """
    here, there, sure = full(outputs[..., -3:]), full(targets[..., -3:])[:, None], weight[..., 1]
    share = (sure / sure.sum(1, keepdim=True).clamp(min=1e-9))[:, None, :, None].to(here)
    middle = (share * there).sum(2, keepdim=True)
    from_here, from_there = here - (share * here).sum(2, keepdim=True), there - middle
    with torch.no_grad():
        start, end = from_here.double(), from_there.double()
        u, size, vt = torch.linalg.svd((share * end).mT @ start)
        sign = torch.ones_like(size)
        sign[..., 2] = torch.where(torch.det(u) * torch.det(vt) < 0, -1.0, 1.0)
        variance = (share * start.square()).sum((-2, -1))
        scale = ((size * sign).sum(-1) / variance.clamp(min=1e-12)).clamp(0.5, 2.0)
        turn = (scale[..., None, None] * (u * sign[..., None, :]) @ vt).to(here)
        spans = torch.linalg.eigvalsh((share * end).mT @ end)[..., 1] > 1e-6  # a millimetre, squared
        counts = spans & (sure > 0).sum(1, keepdim=True).ge(3)
    away = (from_here @ turn.mT - from_there).abs().sum(-1)
    return reduced(away * counts[..., None], sure)


def smooth_l1(outputs: Tensor, targets: Tensor, weight: Tensor) -> Tensor:
    """Mean over x and y of d^2 / 2 below 1 and |d| - 1/2 above, for outputs (B, S, K, 2 or more) and targets
    (B, K, 2), both in 0..1 of the input (DistilPose).

    >>> loss = smooth_l1(torch.tensor([[[[0.5, 0.5]]]]), torch.tensor([[[0.1, 0.5]]]), torch.ones(1, 1))
    >>> round(loss.item(), 4)  # (0.4^2 / 2 + 0) / 2
    0.04
    """
    points = full(outputs[..., :2])
    return reduced(
        F.smooth_l1_loss(points, full(targets)[:, None].expand_as(points), reduction="none").mean(-1), weight
    )


def simulated_heatmap(outputs: Tensor, targets: Tensor, weight: Tensor) -> Tensor:
    """Mean square between the teacher's heatmap and a Gaussian with a peak of 1 at the predicted position,
    with the predicted widths (DistilPose, Ye et al., CVPR 2023).

    Outputs (B, S, K, 5), targets (B, K, h, w). A Gaussian more than three widths outside the map weighs
    nothing, as in the authors' code: its gradient there is 0, so `smooth_l1` has to bring it back.

    >>> outputs = torch.tensor([[[[0.0, 0.0, 1.0, 1.0, 0.0]]]])
    >>> loss = simulated_heatmap(outputs, torch.zeros(1, 1, 1, 2), torch.ones(1, 1))
    >>> round(loss.item(), 4)  # (1 + exp(-1/2)^2) / 2
    0.6839
    """
    h, w = targets.shape[-2:]
    outputs = full(outputs)
    mean, sigma = outputs[..., :2] * outputs.new_tensor([w - 1, h - 1]), outputs[..., 2:4]
    maps = gaussians(mean, (w, h), sigma.square() + 1e-6)  # a width of 0 is a point
    reach = 3 * sigma.detach().abs()
    seen = ((mean + reach > -1) & (mean - reach < mean.new_tensor([w, h]))).all(-1)
    return reduced((maps - full(targets)[:, None]).square().mean((-2, -1)) * seen, weight)


def score_at_prediction(outputs: Tensor, targets: Tensor, weight: Tensor) -> Tensor:
    """L1 between the sigmoid of the score's logit and the teacher's heatmap at the predicted position
    (DistilPose's score loss): 0 there if outside the input.

    Outputs (B, S, K, 5), targets (B, K, h, w) of at least 2x2 pixels. No gradient goes to the position: only
    the score learns. The map is read between its pixels; the authors take the nearest.

    >>> outputs = torch.tensor([[[[0.5, 0.0, 1.0, 1.0, 0.0]]]])  # halfway between two pixels, score 1/2
    >>> maps = torch.tensor([[[[0.6, 1.0], [0.0, 0.0]]]])
    >>> round(score_at_prediction(outputs, maps, torch.ones(1, 1)).item(), 4)
    0.3
    """
    maps, position = full(targets), full(outputs[..., :2]).detach()
    inside = ((position >= 0) & (position <= 1)).all(-1)
    at = (position * position.new_tensor([maps.shape[-1] - 1, maps.shape[-2] - 1])).flatten(0, 1)
    each = maps[:, None].expand(-1, outputs.shape[1], -1, -1, -1).flatten(0, 1)[:, :, None]  # one a stage
    there = bilinear(each, at.to(maps.dtype)).view(inside.shape) * inside
    return reduced((full(outputs[..., 4]).sigmoid() - there).abs(), weight)


LOSSES: dict[str, Loss] = {"mse": mse, "kl": kl, "coordinate": coordinate}


def named(function: Callable[..., Tensor], name: str) -> Callable[..., Tensor]:
    """A function made of others, under a name: checkpoints record which losses they were trained by.

    >>> named(lambda *_: torch.zeros(()), "nothing").__name__
    'nothing'
    """
    function.__name__ = name
    return function


def only_loss(codec: str, teacher_loss: str | None) -> None:
    """ValueError for a `teacher_loss` where the `codec` of this name has one loss."""
    if teacher_loss is not None:
        raise ValueError(
            f"--teacher-loss {teacher_loss} compares heatmaps, and the student's outputs are {codec}, which "
            f"have a loss of their own; leave it out, or take a student with heatmaps such as hourglass-1x64"
        )


def full(tensor: Tensor) -> Tensor:
    """In float32, or as it is if it is more exact than that."""
    return tensor if tensor.dtype == torch.float64 else tensor.float()


def joints_weight(weight: Tensor) -> Tensor:
    """(B, K) or (B, 1) of weights (B, K) or (B,)."""
    return weight if weight.ndim == 2 else weight[:, None]


def reduced(losses: Tensor, weight: Tensor) -> Tensor:
    """The mean over samples and joints of weighted losses (B, S, K), summed over stages."""
    return (losses * joints_weight(weight)[:, None]).mean((0, 2)).sum()


def _divergence(target: Tensor, logits: Tensor) -> Tensor:
    """KL(target || softmax of the logits) (B, S, K) of targets (B, K, n) that sum to 1 and logits (B, S, K,
    n).
    """
    return (torch.xlogy(target, target)[:, None] - target[:, None] * logits.log_softmax(-1)).sum(-1)


def _axes(bins: Tensor, columns: int) -> tuple[Tensor, Tensor]:
    """Bins (..., x + y) as those of x and those of y. ValueError if nothing is left for one of them."""
    if not 0 < columns < bins.shape[-1]:
        raise ValueError(
            f"columns is {columns}, but of the {bins.shape[-1]} bins some must be left for y: give the "
            f"number of bins along x"
        )
    return full(bins[..., :columns]), full(bins[..., columns:])


def _distribution(targets: Tensor) -> tuple[Tensor, Tensor]:
    """(B, K, n) that sum to 1 over pixels or bins, and (B, K) whether there was mass to normalise."""
    flat = full(targets).flatten(2).clamp(min=0)
    total = flat.sum(-1)
    return flat / total[..., None].clamp(min=1e-6), (total > 1e-3).to(flat.dtype)
