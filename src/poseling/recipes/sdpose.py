"""SDPose: a small transformer, run several times over in training, learns from its own later cycles; at
inference one cycle runs. There is no teacher.

Paper: Chen et al., SDPose: Tokenized Pose Estimation via Circulation-Guide Self-Distillation, CVPR 2024,
arXiv 2404.03518. Loss: the labels' for the heatmaps of each cycle, and 5e-6 times the distance of each
cycle's visual and keypoint tokens from the next's.

    poseling distill sdpose --data coco --root DIR --student sdpose-t
    poseling distill sdpose                          # the mini set

The control is the same network with one cycle in training too.
"""

from __future__ import annotations

from torch import nn

from poseling.distill.objective import Term
from poseling.distill.token import cycles
from poseling.evaluate.report import Report
from poseling.recipes import results
from poseling.recipes.config import TokenPoseConfig, default, recipe
from poseling.recipes.experiment import Experiment
from poseling.recipes.students import StudentLike


@recipe
def sdpose(
    config: TokenPoseConfig = TokenPoseConfig(),
    *,
    student: StudentLike = default("sdpose-t", "sdpose_mobile-mobilenetv2_050-1"),
    weight: float = 5e-6,
) -> Report:
    """Trains an SDPose twice, with equal seed, data and epochs: with one cycle, and with several of which
    each learns from the next.

    Parameters
    ----------
    student
        sdpose-t, -s_v1, -s_v2 or -b, or sdpose_mobile-BACKBONE.
    weight
        Of the tokens' distances.
    """
    experiment = Experiment.of("sdpose", config, student)
    if not experiment.student.name.startswith("sdpose"):
        raise ValueError(
            f"--student {experiment.student.name}: this recipe needs a network that runs in cycles; take "
            f"sdpose-t or sdpose_mobile-BACKBONE"
        )
    labels = experiment.supervised()
    terms = (
        *labels,
        Term("visual tokens", cycles, weight, "itself", "visual_tokens"),
        Term("keypoint tokens", cycles, weight, "itself", "keypoint_tokens"),
    )

    arms = {
        "baseline": experiment.arm("baseline", labels, prepare=once),
        "distilled": experiment.arm("distilled", terms),
    }
    return results.finish(experiment, None, arms)


def once(network: nn.Module) -> None:
    """One cycle in training too."""
    setattr(network, "cycles", 1)  # noqa: B010  # a module's attributes are not known to mypy
