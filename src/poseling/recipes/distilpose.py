"""DistilPose: a network that gives numbers learns from one that gives heatmaps.

Paper: Ye et al., DistilPose: Tokenized Pose Regression with Heatmap Distillation, CVPR 2023, arXiv
2303.02455. Loss: smooth L1 on the labels, the simulated heatmap (a Gaussian with the student's place and
widths) against the teacher's, 0.01 times the score against the teacher's heatmap where the student puts the
joint, and 5e-4 times the distances of visual and keypoint tokens where the teacher has tokens.

    poseling distill distilpose --data coco --root DIR --teacher tokenpose-l
    poseling distill distilpose                        # the mini set

Where we differ: the student's tokens are brought to the teacher's number and width by a linear layer where
those differ; a teacher without tokens, an ONNX file too, gives its heatmaps alone.
"""

from __future__ import annotations

from poseling.codecs import Coordinates
from poseling.codecs.losses import score_at_prediction, simulated_heatmap
from poseling.distill.feature import align
from poseling.distill.objective import Term
from poseling.distill.token import token_mse
from poseling.evaluate.report import Report
from poseling.recipes.experiment import TOKENPOSE_DEFAULT, Experiment, TokenPoseConfig, either
from poseling.teachers.network import NetworkTeacher


def distilpose(
    config: TokenPoseConfig = TOKENPOSE_DEFAULT,
    *,
    teacher: str = either("tokenpose-l", "mini"),
    student: str = either("distilpose-s", "distilpose_mobile-mobilenetv2_050-1"),
    teacher_adapter: str | None = None,
    tokens: float = 5e-4,
    score: float = 0.01,
    teacher_epochs: float | None = None,
) -> Report:
    """Trains a network of coordinates twice, with equal seed, data and epochs: on the labels alone, and on
    labels and a heatmap teacher.

    Parameters
    ----------
    teacher
        A checkpoint (.safetensors), an ONNX file, a network of the zoo, which is then trained first, or mini,
        the mini set's own.
    student
        distilpose-s, distilpose-l or distilpose_mobile-BACKBONE.
    teacher_adapter
        For a foreign ONNX file: a built-in adapter's name, or a JSON file that says how to feed and read it
        (docs/teachers.md).
    tokens
        Weight of each of the two distances of tokens, where the teacher has them.
    score
        Weight of the score's distance.
    teacher_epochs
        For a teacher that is trained first; as many as the student's if not given.
    """
    experiment = Experiment("distilpose", config, student, teacher=teacher)
    if experiment.codec.name != Coordinates.name:
        raise ValueError(
            f"--student {experiment.student}: its outputs are {experiment.codec.name}; DistilPose's student "
            f"has {Coordinates.name}: take distilpose-s or distilpose_mobile-BACKBONE"
        )
    guide = experiment.teacher(teacher, teacher_adapter, teacher_epochs)
    terms: tuple[Term, ...] = (
        *experiment.supervised(),
        Term("simulated heatmap", simulated_heatmap, 1.0, "teacher"),
        Term("score", score_at_prediction, score, "teacher"),
    )
    if tokens and isinstance(guide, NetworkTeacher) and hasattr(guide.network, "keypoint_tokens"):
        terms = (
            *terms,
            Term("visual tokens", token_mse, tokens, "teacher", "visual_tokens", align),
            Term("keypoint tokens", token_mse, tokens, "teacher", "keypoint_tokens", align),
        )
    return experiment.teach(guide, terms)
