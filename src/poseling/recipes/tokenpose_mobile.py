"""TokenPose's transformer on a mobile backbone, taught by a TokenPose: heatmaps, and if wanted the keypoint
tokens themselves.

Papers: Li et al., TokenPose, ICCV 2021; the pairing is that of the pose work at DFKI (Igel, Sarode, Khan),
whose details are not public; the tokens' loss is DistilPose's (Ye et al., CVPR 2023).

    poseling distill tokenpose_mobile --data coco --root DIR --teacher tokenpose-s_v1 --tokens 5e-4
    poseling distill tokenpose_mobile --data lsp lspet --root DIR --teacher movenet-thunder.onnx --student tokenpose_mobile-mobilenetv2_050-2 --loss kl
"""

from __future__ import annotations

from poseling.distill.feature import align
from poseling.distill.objective import Term
from poseling.distill.token import token_mse
from poseling.evaluate.report import Report
from poseling.models.tokenpose_mobile import copy_head
from poseling.recipes.experiment import TOKENPOSE_DEFAULT, Experiment, TokenPoseConfig, either
from poseling.teachers.network import NetworkTeacher


def tokenpose_mobile(
    config: TokenPoseConfig = TOKENPOSE_DEFAULT,
    *,
    teacher: str = either("tokenpose-s_v1", "mini"),
    student: str = either("tokenpose_mobile-mobilenetv2", "tokenpose_mobile-mobilenetv2_050-1"),
    teacher_adapter: str | None = None,
    alpha: float = 0.5,
    copy: bool = False,
    tokens: float = 0.0,
    teacher_epochs: float | None = None,
    teacher_flip: bool = False,
    confidence: bool = False,
) -> Report:
    """Trains a mobile TokenPose twice, with equal seed, data and epochs: on the labels alone, and on the
    labels and a TokenPose's heatmaps.

    Parameters
    ----------
    teacher
        A checkpoint (.safetensors), an ONNX file, or a network of the zoo, which is then trained first.
    student
        tokenpose_mobile-BACKBONE, and if you like the number of layers.
    teacher_adapter
        For a foreign ONNX file: a built-in adapter's name, or a JSON file that says how to feed and read it
        (docs/teachers.md).
    alpha
        The teacher's share of the loss; 1 learns without labels.
    copy
        Start both students with the teacher's head, for inputs of the same size.
    tokens
        Weight of the distance between the two networks' keypoint tokens, 5e-4 in DistilPose; the teacher then
        has to be a TokenPose, and runs in every step.
    teacher_epochs
        For a teacher that is trained first; as many as the student's if not given.
    teacher_flip
        Average the teacher's answer over the mirrored image.
    confidence
        Weigh each joint by the teacher's own score.
    """
    experiment = Experiment.for_teacher("tokenpose_mobile", config, student, teacher, teacher_adapter)
    terms = experiment.respond(alpha if experiment.dataset.labelled else 1.0)
    if tokens:
        terms = (*terms, Term("tokens", token_mse, tokens, "teacher", "keypoint_tokens", align))
    guide = experiment.teacher(teacher, teacher_adapter, teacher_epochs)
    inner = guide.network if isinstance(guide, NetworkTeacher) else None
    if copy and inner is None:
        raise ValueError(
            f"--copy takes the head of a TokenPose, and {guide.name} is none of our networks; name a "
            f"checkpoint"
        )
    prepare = (lambda network: copy_head(network, inner)) if copy and inner is not None else None
    answers = None if tokens else experiment.label(guide, experiment.dataset, teacher_flip)
    return experiment.teach(guide, terms, answers, confidence, prepare)
