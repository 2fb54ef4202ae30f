"""KDLPN: a PeleeNet with pixel-shuffle upsampling learns the heatmaps of a large SimpleBaseline.

Claim: 95 % fewer parameters than the large networks on COCO at little loss. Paper: Park et al., Sensors 2021,
21(22):7640. The loss is that of FPD, (1 - alpha) times the labels' and alpha times the teacher's.

    poseling distill kdlpn --data coco --root DIR --as-published      # a SimpleBaseline-152 (68.6 M) is trained first, then KDLPN (2.80 M), at 256x192
    poseling distill kdlpn --data lsp lspet --root DIR --teacher movenet-thunder.onnx --student kdlpn-128 --loss kl

Where we differ: the paper's decoder table, teacher and loss weights are not public; ours are SimpleBaseline's
family, 256 channels after each pixel shuffle, and FPD's alpha. The teacher runs once for each sample, and its
predictions are stored (docs/labels.md).
"""

from __future__ import annotations

from dataclasses import dataclass

from poseling.evaluate.report import Report
from poseling.recipes import results
from poseling.recipes.config import CocoConfig, ResponseConfig, default, recipe
from poseling.recipes.experiment import Experiment
from poseling.recipes.students import StudentLike


@dataclass(frozen=True, kw_only=True)
class KDLPNTeacher(ResponseConfig):
    """The paper's teacher, which is trained first; on the mini set the one that comes with it."""

    teacher: str = default("", "mini")
    train_teacher: str = default("simple_baseline-152", "")


@recipe
def kdlpn(
    config: CocoConfig = CocoConfig(),
    *,
    teacher: KDLPNTeacher = KDLPNTeacher(),
    student: StudentLike = default("kdlpn-256", "kdlpn-32"),
) -> Report:
    """Trains a KDLPN twice, with equal seed, data and epochs: on the labels alone, and on the labels and a
    teacher's heatmaps.

    Parameters
    ----------
    student
        kdlpn-CHANNELS, any other architecture, or a file to start from.
    """
    experiment = Experiment.of("kdlpn", config, student, teacher=teacher)
    terms = experiment.respond(teacher.alpha)
    experiment, guide = experiment.with_teacher(teacher)
    return results.prove(experiment, guide, terms, experiment.signal(guide, terms, teacher))
