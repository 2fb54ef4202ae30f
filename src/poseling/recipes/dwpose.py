"""DWPose: two stages. A student learns a teacher's features and logits beside the labels; then its head alone
is trained anew, on its own predictions.

Paper: Yang et al., Effective Whole-body Pose Estimation with Two-stages Distillation, ICCV workshops 2023,
arXiv 2307.15880. Stage 1: labels + r(t) (7e-5 |align(F_student) - F_teacher|^2 + 0.1 KL(logits)), r(t)
falling from 1 to 0. Stage 2: the backbone is frozen, a new head learns the logits of the finished student for
a fifth of the epochs.

    poseling distill dwpose --data coco --root DIR --train-teacher simcc-resnet50 --student simcc-mobilenetv2
    poseling distill dwpose                        # the mini set

Where we differ: the networks are SimCC's, not RTMPose's (no attention unit in the head), and the whole-body
data of the paper are not needed. A student with heatmaps takes their loss for the logits'. The control is the
student on labels for the epochs of stage 1, and a second one for those of both stages.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from poseling.distill.feature import align, aligned_mse, fade
from poseling.distill.hooks import head_of, new_head
from poseling.distill.objective import Term
from poseling.evaluate.report import Report
from poseling.recipes import results
from poseling.recipes.config import RTMPoseConfig, TeacherConfig, default, recipe
from poseling.recipes.experiment import Experiment, TeacherSignal, Trained
from poseling.recipes.students import StudentLike


@dataclass(frozen=True, kw_only=True)
class DWPoseTeacher(TeacherConfig):
    """A large SimCC network, which is trained first; on the mini set a small one."""

    train_teacher: str = default("simcc-resnet50", "simcc-mobilenetv2")


@recipe
def dwpose(
    config: RTMPoseConfig = RTMPoseConfig(),
    *,
    teacher: DWPoseTeacher = DWPoseTeacher(),
    student: StudentLike = default("simcc-mobilenetv2", "simcc-mobilenetv2_050"),
    features: float = 7e-5,
    logits: float = 0.1,
    second: float = 0.2,
) -> Report:
    """Trains a student in DWPose's two stages, and twice without a teacher: for the epochs of the first
    stage, and for those of both. The teacher has to be one of our networks, with SimCC outputs of the same
    joints and input size for a SimCC student.

    Parameters
    ----------
    student
        An architecture, such as simcc-BACKBONE.
    features
        Weight of the features' distance.
    logits
        Weight of the logits' divergence.
    second
        Length of the second stage, in parts of the first.
    """
    if not second > 0:
        raise ValueError(
            f"--second is {second}; it is the length of the second stage in parts of the first, above 0"
        )
    experiment = Experiment.of("dwpose", config, student, teacher=teacher)
    experiment, guide = experiment.with_teacher(teacher)
    labels, logits_term = experiment.supervised(), _logits(experiment, logits)
    terms = (
        *labels,
        Term("features", aligned_mse, features, "teacher", "features", align, fade),
        logits_term,
    )
    again = (Term("itself", logits_term.loss, 1.0, "teacher", logits_term.at),)
    signal = TeacherSignal(live=guide)
    more = second * experiment.epochs(experiment.student, terms, signal)

    def second_stage(one: Trained) -> Trained:
        begun = experiment.learner(one.seed, start=one)
        new_head(begun.module)
        begun = replace(begun, only=head_of(begun.module))
        return experiment.fit("second-stage", begun, again, TeacherSignal(live=one.network), epochs=more)

    first = experiment.arm("first-stage", terms, signal)
    baseline = experiment.arm("baseline", labels)
    arms = {
        "baseline": baseline,
        "baseline_longer": experiment.arm("baseline-longer", labels, starts=baseline, epochs=more),
        "distilled": [second_stage(one) for one in first],
        "first stage": first,
    }
    return results.finish(experiment, guide, arms, results.speeds_if_asked(experiment, guide, signal, terms))


def _logits(experiment: Experiment, weight: float) -> Term:
    """The second term of stage 1: over SimCC's logits, or a heatmap student's own loss."""
    loss = experiment.codec.logits_loss()
    if loss is not None:
        return Term("logits", loss, weight, "teacher", "logits", schedule=fade)
    _, loss = experiment.codec.losses(experiment.config.loss)
    return Term("heatmaps", loss, weight, "teacher", schedule=fade)
