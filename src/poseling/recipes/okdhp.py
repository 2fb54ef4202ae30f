"""OKDHP: three hourglasses on one stem learn from their own ensemble while they learn from the labels; one of
them is kept. There is no teacher.

Paper: Li et al., Online Knowledge Distillation for Efficient Pose Estimation, ICCV 2021, arXiv 2108.02092.
Loss: the labels' for each branch and for the ensemble, and 2 w(t) times the divergence of each branch from
the ensemble, w rising to 1.

    poseling distill okdhp --data mpii --root DIR --student hourglass-2x128
    poseling distill okdhp                          # the mini set

The control is the same hourglass alone. Training costs about three times as much; the kept network costs the
same.
"""

from __future__ import annotations

from dataclasses import replace
from typing import cast

from torch import nn

from poseling.distill.objective import Term
from poseling.distill.online import okdhp as ensemble
from poseling.distill.online import ramp_up
from poseling.evaluate.report import Report
from poseling.models.okdhp import OKDHP, single
from poseling.recipes import results
from poseling.recipes.config import TrainConfig, default, recipe
from poseling.recipes.experiment import Experiment, Trained
from poseling.recipes.students import StudentLike


@recipe
def okdhp(
    config: TrainConfig = TrainConfig(),
    *,
    student: StudentLike = default("hourglass-2x128", "hourglass-1x32"),
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
    experiment = Experiment.of("okdhp", config, student)
    name = experiment.student.name
    family, _, variant = name.partition("-")
    if family != "hourglass":
        raise ValueError(
            f"--student {name}: OKDHP's branches are hourglasses; take hourglass-STACKSxCHANNELS"
        )
    labels, branches = experiment.supervised(), experiment.student_of(f"okdhp-{variant}", exact=True)
    terms = (*labels, Term("ensemble", ensemble, weight, "itself", schedule=ramp_up))

    def distilled(seed: int) -> Trained:
        learner = replace(experiment.learner(seed, branches), kept=(name, _first))
        return experiment.fit("distilled", learner, terms, epochs=experiment.epochs())

    arms = {
        "baseline": experiment.arm("baseline", labels),
        "distilled": [distilled(seed) for seed in experiment.seeds],
    }
    return results.finish(experiment, None, arms)


def _first(network: nn.Module) -> nn.Module:
    return single(cast(OKDHP, network))
