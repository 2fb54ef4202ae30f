"""Fast Human Pose Distillation: a small hourglass learns a big one's heatmaps beside the labels.

Claim: a student of 3 M parameters keeps most of the accuracy of a teacher of 26 M. Paper: Zhang, Zhu and Ye,
CVPR 2019, arXiv 1811.05419. The loss is (1 - alpha) times the labels' and alpha times the teacher's, whose
last stack teaches every stack of the student; alpha is 0.5, and 1 on the mini set (docs/fpd.md).

    poseling distill fpd --seeds 3      # the mini set and its teacher, which come with the program: minutes on two cores
    poseling distill fpd --data mpii --root DIR --train-teacher hourglass-8x256 --student hourglass-4x128 --as-published      # as the paper: 140 epochs at 256x256

Where we differ: the teacher runs once for each sample and its predictions are stored and warped
(docs/labels.md), instead of run in every step; AdamW and a softmax over pixels (`--loss kl`) are offered,
which learn much faster in short runs. The authors' repository starts the student from a finished one
(`--warm-start`) and compares with that one; here the control trains on for as long.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from poseling.evaluate.report import Report
from poseling.recipes import results
from poseling.recipes.config import ResponseConfig, TrainConfig, default, recipe
from poseling.recipes.experiment import Experiment
from poseling.recipes.students import StudentLike


@dataclass(frozen=True, kw_only=True)
class FPDTeacher(ResponseConfig):
    """The paper's teacher, which is trained first; on the mini set the one that comes with it."""

    teacher: str = default("", "mini")
    train_teacher: str = default("hourglass-8x256", "")
    teacher_flip: bool = default(False, True)
    alpha: float = default(0.5, 1.0)


@recipe
def fpd(
    config: TrainConfig = TrainConfig(),
    *,
    teacher: FPDTeacher = FPDTeacher(),
    student: StudentLike = default("hourglass-4x128", "hourglass-1x32"),
    teacher_loss: Literal["mse", "kl", "coordinate"] | None = None,
    every_joint: bool = False,
    warm_start: bool = False,
    warm_epochs: float | None = None,
) -> Report:
    """Trains a student twice, with equal seed, data and epochs: on the labels alone, and on the labels and
    the teacher's heatmaps (FPD, CVPR 2019).

    Parameters
    ----------
    student
        hourglass-STACKSxCHANNELS, any other architecture, or a file to start from; it learns by the losses of
        its own outputs.
    teacher_loss
        Loss against the teacher's heatmaps, for students with heatmaps; as --loss if not given.
    every_joint
        Learn the teacher's predictions of joints without a label too; the authors' code leaves them out.
    warm_start
        Also start a distilled student from the finished baseline, as the authors' code does, against a
        baseline that trains on for as many epochs.
    warm_epochs
        Epochs of --warm-start; as many as --epochs if not given.
    """
    experiment = Experiment.of("fpd", config, student, teacher=teacher)
    labels = experiment.supervised()
    both = experiment.respond(teacher.alpha, teacher_loss, labelled=not every_joint)
    if teacher.alpha == 1:
        experiment.notes.append(
            "With alpha 1 the distilled student saw no label: it learnt from its teacher's predictions alone."
        )
    experiment, guide = experiment.with_teacher(teacher)
    signal = experiment.signal(guide, both, teacher)
    baseline, scratch = experiment.arm("baseline", labels), experiment.arm("distilled", both, signal)
    arms = {"baseline": baseline, "distilled": scratch}
    if warm_start:
        more = experiment.epochs() if warm_epochs is None else warm_epochs
        arms = {
            "baseline": baseline,
            "baseline_longer": experiment.arm("baseline-longer", labels, starts=baseline, epochs=more),
            "distilled": experiment.arm("warm", both, signal, starts=baseline, epochs=more),
            "from scratch": scratch,
        }
    return results.finish(experiment, guide, arms, results.speeds_if_asked(experiment, guide, signal, both))
