"""Online distillation: the branches of one network learn from their own ensemble, without a teacher (OKDHP,
Li et al., ICCV 2021).

Outputs are (B, branches + 1, K, h, w), the ensemble last. OKDHP's loss is `codecs.losses.mse` of all against
the labels, with weight 1, and `okdhp` with weight 2, times `ramp_up` over the run.
"""

from __future__ import annotations

import math

from torch import Tensor

from poseling.codecs.losses import full, joints_weight


def okdhp(outputs: Tensor, weight: Tensor, *, temperature: float = 1.0, detach: bool = False) -> Tensor:
    """KL(softmax of the ensemble over pixels || softmax of a branch) for outputs (B, branches + 1, K, h, w)
    and weights (B, K) or (B,), branches summed.

    Joints are summed and pixels averaged, as in the authors' code, so that its weight of 2 carries over. That
    code has no temperature; with one, the loss is multiplied by its square (Hinton et al., 2015). The
    ensemble gets gradients too, unless `detach`.

    >>> import torch
    >>> branch, ensemble = torch.zeros(1, 1, 1, 1, 2), torch.tensor([3.0, 1.0]).log().view(1, 1, 1, 1, 2)
    >>> loss = okdhp(torch.cat([branch, ensemble], 1), torch.ones(1, 1))
    >>> round(loss.item(), 4)  # (3/4 ln 3/2 + 1/4 ln 1/2) / 2
    0.0654
    """
    log = (full(outputs).flatten(3) / temperature).log_softmax(-1)
    branches, ensemble = log[:, :-1], log[:, -1:]
    if detach:
        ensemble = ensemble.detach()
    divergence = (ensemble.exp() * (ensemble - branches)).mean(-1)
    return temperature**2 * (divergence * joints_weight(weight)[:, None]).sum((1, 2)).mean()


def ramp_up(done: float, over: float = 90 / 150) -> float:
    """exp(-5 (1 - t)^2), t going from 0 to 1 in the first part `over` of the run (Laine and Aila, ICLR 2017);
    90 of 150 epochs in the authors' script.

    >>> [round(ramp_up(done, over=0.5), 4) for done in (0.0, 0.25, 0.5, 1.0)]
    [0.0067, 0.2865, 1.0, 1.0]
    """
    return math.exp(-5 * (1 - min(done / over, 1.0)) ** 2) if over > 0 else 1.0
