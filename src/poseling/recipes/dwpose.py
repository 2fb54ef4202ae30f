"""DWPose: two stages. A student learns a teacher's features and logits beside the labels; then its head alone
is trained anew, on its own answers.

Paper: Yang et al., Effective Whole-body Pose Estimation with Two-stages Distillation, ICCV workshops 2023,
arXiv 2307.15880. Stage 1: labels + r(t) (7e-5 |align(F_student) - F_teacher|^2 + 0.1 KL(logits)), r(t)
falling from 1 to 0. Stage 2: the backbone is frozen, a new head learns the logits of the finished student for
a fifth of the epochs.

    poseling distill dwpose --data coco --root DIR --teacher simcc-resnet50 --student simcc-mobilenetv2
    poseling distill dwpose                        # the mini set

Where we differ: the networks are SimCC's, not RTMPose's (no attention unit in the head), and the whole-body
data of the paper are not needed. A student with heatmaps takes their loss for the logits'. The control is the
student on labels for the epochs of stage 1, and a second one for those of both stages.
"""

from __future__ import annotations

from poseling.distill.feature import align, aligned_mse, fade
from poseling.distill.hooks import head_of, new_head
from poseling.distill.objective import Term
from poseling.evaluate.report import Report
from poseling.recipes.experiment import RTMPOSE_DEFAULT, Experiment, RTMPoseConfig, either


def dwpose(
    config: RTMPoseConfig = RTMPOSE_DEFAULT,
    *,
    teacher: str = either("simcc-resnet50", "simcc-mobilenetv2"),
    student: str = either("simcc-mobilenetv2", "simcc-mobilenetv2_050"),
    features: float = 7e-5,
    logits: float = 0.1,
    second: float = 0.2,
    teacher_epochs: float | None = None,
) -> Report:
    """Trains a student in DWPose's two stages, and twice without a teacher: for the epochs of the first
    stage, and for those of both.

    Parameters
    ----------
    teacher
        A checkpoint (.safetensors) or a network of the zoo, which is then trained first; with SimCC outputs
        of the same joints and input size for a SimCC student.
    student
        A network of the zoo, such as simcc-BACKBONE.
    features
        Weight of the features' distance.
    logits
        Weight of the logits' divergence.
    second
        Length of the second stage, in parts of the first.
    teacher_epochs
        For a teacher that is trained first; as many as the student's if not given.
    """
    if not second > 0:
        raise ValueError(
            f"--second is {second}; it is the length of the second stage in parts of the first, above 0"
        )
    experiment = Experiment("dwpose", config, student, teacher=teacher)
    guide = experiment.teacher(teacher, epochs=teacher_epochs)
    answer = _logits(experiment, logits)
    terms = (
        *experiment.supervised(),
        Term("features", aligned_mse, features, "teacher", "features", align, fade),
        answer,
    )
    again = (Term("itself", answer.loss, 1.0, "teacher", answer.at),)
    more = second * experiment.epochs(experiment.student, terms, guide)
    first = [experiment.fit("first-stage", terms, seed, teacher=guide) for seed in experiment.seeds]
    baseline = [experiment.fit("baseline", experiment.supervised(), seed) for seed in experiment.seeds]
    arms = {
        "baseline": baseline,
        "baseline_longer": [
            experiment.fit("baseline-longer", experiment.supervised(), one.seed, epochs=more, after=one)
            for one in baseline
        ],
        "distilled": [
            experiment.fit(
                "second-stage",
                again,
                one.seed,
                epochs=more,
                after=one,
                teacher=one.network,
                prepare=new_head,
                only=head_of(one.network.network),
            )
            for one in first
        ],
        "first stage": first,
    }
    return experiment.finish(guide, arms, experiment.speeds_if_asked(guide, None, terms))


def _logits(experiment: Experiment, weight: float) -> Term:
    """The second term of stage 1: over SimCC's logits, or a heatmap student's own loss."""
    loss = experiment.codec.logits_loss()
    if loss is not None:
        return Term("logits", loss, weight, "teacher", "logits", schedule=fade)
    _, loss = experiment.codec.losses(experiment.config.loss)
    return Term("heatmaps", loss, weight, "teacher", schedule=fade)
