"""OKDHP: three hourglasses on one stem learn from their own ensemble while they learn from the labels; one of
them is kept. There is no teacher.

Paper: Li et al., Online Knowledge Distillation for Efficient Pose Estimation, ICCV 2021, arXiv 2108.02092.
Loss: the labels' for each branch and for the ensemble, and 2 w(t) times the divergence of each branch from
the ensemble, w rising to 1.

    poseling distill okdhp --data mpii --root DIR --student hourglass-2x128
    poseling distill okdhp                          # the mini set

The control is the same hourglass alone. Training costs about three times as much; what is kept costs the
same.
"""

from __future__ import annotations

from typing import cast

from torch import nn

from poseling.distill.objective import Term
from poseling.distill.online import okdhp as ensemble
from poseling.distill.online import ramp_up
from poseling.evaluate.report import Report
from poseling.models.okdhp import OKDHP, single
from poseling.recipes.experiment import DEFAULT, Experiment, TrainConfig, either


def okdhp(
    config: TrainConfig = DEFAULT,
    *,
    student: str = either("hourglass-2x128", "hourglass-1x32"),
    weight: float = 2.0,
) -> Report:
    """Trains an hourglass alone, and as one of three branches that learn from their ensemble.

    Parameters
    ----------
    student
        hourglass-STACKSxCHANNELS.
    weight
        Of the divergence from the ensemble.
    """
    experiment = Experiment("okdhp", config, student)
    family, _, variant = experiment.student.partition("-")
    if family != "hourglass":
        raise ValueError(
            f"--student {experiment.student}: OKDHP's branches are hourglasses; take "
            f"hourglass-STACKSxCHANNELS"
        )
    terms = (*experiment.supervised(), Term("ensemble", ensemble, weight, "itself", schedule=ramp_up))
    deploy = (experiment.student, _first)
    arms = {
        "baseline": [experiment.fit("baseline", experiment.supervised(), seed) for seed in experiment.seeds],
        "distilled": [
            experiment.fit(
                "distilled",
                terms,
                seed,
                epochs=experiment.epochs(),
                network=f"okdhp-{variant}",
                deploy=deploy,
            )
            for seed in experiment.seeds
        ],
    }
    return experiment.finish(None, arms, {})


def _first(network: nn.Module) -> nn.Module:
    return single(cast(OKDHP, network))
