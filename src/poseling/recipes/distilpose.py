"""DistilPose: a network of coordinates learns from a network of heatmaps.

Paper: Ye et al., DistilPose: Tokenized Pose Regression with Heatmap Distillation, CVPR 2023, arXiv
2303.02455. Loss: smooth L1 on the labels, the simulated heatmap (a Gaussian with the student's place and
widths) against the teacher's, 0.01 times the score against the teacher's heatmap where the student puts the
joint, and 5e-4 times the distances of visual and keypoint tokens where the teacher has tokens.

    poseling distill distilpose --data coco --root DIR --train-teacher tokenpose-l
    poseling distill distilpose                        # the mini set

Where we differ: a linear layer brings the student's tokens to the teacher's number and width where those
differ; a teacher without tokens, an ONNX file too, gives its heatmaps alone.
"""

from __future__ import annotations

from dataclasses import dataclass

from poseling.codecs import Coordinates
from poseling.codecs.losses import score_at_prediction, simulated_heatmap
from poseling.distill.feature import align
from poseling.distill.objective import Term
from poseling.distill.token import token_mse
from poseling.evaluate.report import Report
from poseling.recipes import results
from poseling.recipes.config import StoredTeacherConfig, TokenPoseConfig, default, recipe
from poseling.recipes.experiment import Experiment
from poseling.recipes.students import StudentLike
from poseling.teachers.network import NetworkTeacher


@dataclass(frozen=True, kw_only=True)
class DistilPoseTeacher(StoredTeacherConfig):
    """The paper's teacher, which is trained first; on the mini set the one that comes with it."""

    teacher: str = default("", "mini")
    train_teacher: str = default("tokenpose-l", "")


@recipe
def distilpose(
    config: TokenPoseConfig = TokenPoseConfig(),
    *,
    teacher: DistilPoseTeacher = DistilPoseTeacher(),
    student: StudentLike = default("distilpose-s", "distilpose_mobile-mobilenetv2_050-1"),
    tokens: float = 5e-4,
    score: float = 0.01,
) -> Report:
    """Trains a network of coordinates twice, with equal seed, data and epochs: on the labels alone, and on
    labels and a heatmap teacher.

    Parameters
    ----------
    student
        distilpose-s, distilpose-l or distilpose_mobile-BACKBONE.
    tokens
        Weight of each of the two distances of tokens, where the teacher has them; it then runs in every step.
    score
        Weight of the score's distance.
    """
    experiment = Experiment.of("distilpose", config, student, teacher=teacher)
    if experiment.codec.name != Coordinates.name:
        raise ValueError(
            f"--student {experiment.student.name}: its outputs are {experiment.codec.name}; DistilPose's "
            f"student has {Coordinates.name}: take distilpose-s or distilpose_mobile-BACKBONE"
        )
    experiment, guide = experiment.with_teacher(teacher)
    terms = (
        *experiment.supervised(),
        Term("simulated heatmap", simulated_heatmap, 1.0, "teacher"),
        Term("score", score_at_prediction, score, "teacher"),
    )
    if tokens and isinstance(guide, NetworkTeacher) and hasattr(guide.network, "keypoint_tokens"):
        terms += (
            Term("visual tokens", token_mse, tokens, "teacher", "visual_tokens", align),
            Term("keypoint tokens", token_mse, tokens, "teacher", "keypoint_tokens", align),
        )
    return results.prove(experiment, guide, terms, experiment.signal(guide, terms, teacher))
