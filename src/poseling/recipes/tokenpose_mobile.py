"""TokenPose's transformer on a mobile backbone, taught by a TokenPose: heatmaps, and if wanted the keypoint
tokens themselves.

Papers: Li et al., TokenPose, ICCV 2021; the pairing is that of the pose work at DFKI (Igel, Sarode, Khan),
whose details are not public; the tokens' loss is DistilPose's (Ye et al., CVPR 2023).

    poseling distill tokenpose_mobile --data coco --root DIR --train-teacher tokenpose-s_v1 --tokens 5e-4
    poseling distill tokenpose_mobile --data lsp lspet --root DIR --teacher movenet-thunder.onnx --student tokenpose_mobile-mobilenetv2_050-2 --loss kl
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

from poseling.distill.feature import align
from poseling.distill.objective import Term
from poseling.distill.token import token_mse
from poseling.evaluate.report import Report
from poseling.models.tokenpose_mobile import copy_head
from poseling.recipes import results
from poseling.recipes.config import ResponseConfig, TokenPoseConfig, default, recipe
from poseling.recipes.experiment import Experiment
from poseling.recipes.students import StudentLike
from poseling.teachers.network import NetworkTeacher


@dataclass(frozen=True, kw_only=True)
class TokenPoseTeacher(ResponseConfig):
    """A TokenPose, which is trained first; on the mini set the teacher that comes with it."""

    teacher: str = default("", "mini")
    train_teacher: str = default("tokenpose-s_v1", "")


@recipe
def tokenpose_mobile(
    config: TokenPoseConfig = TokenPoseConfig(),
    *,
    teacher: TokenPoseTeacher = TokenPoseTeacher(),
    student: StudentLike = default("tokenpose_mobile-mobilenetv2", "tokenpose_mobile-mobilenetv2_050-1"),
    copy: bool = False,
    tokens: float = 0.0,
) -> Report:
    """Trains a mobile TokenPose twice, with equal seed, data and epochs: on the labels alone, and on the
    labels and a TokenPose's heatmaps. Images without labels are learnt from the teacher alone.

    Parameters
    ----------
    student
        tokenpose_mobile-BACKBONE, optionally with the number of layers.
    copy
        Start both students with the teacher's head, for inputs of the same size.
    tokens
        Weight of the distance between the two networks' keypoint tokens, 5e-4 in DistilPose; the teacher then
        has to be a TokenPose, and runs in every step.
    """
    experiment = Experiment.of("tokenpose_mobile", config, student, teacher=teacher, labels=False)
    terms = experiment.respond(teacher.alpha if experiment.dataset.labelled else 1.0)
    if tokens:
        teacher.predicts_once("--tokens")
        terms += (Term("tokens", token_mse, tokens, "teacher", "keypoint_tokens", align),)
    experiment, guide = experiment.with_teacher(teacher)
    inner = guide.network if isinstance(guide, NetworkTeacher) else None
    if copy and inner is None:
        raise ValueError(
            f"--copy takes the head of a TokenPose, and {guide.name} is none of our networks; name a "
            f"checkpoint"
        )
    prepare = partial(copy_head, teacher=inner) if copy and inner is not None else None
    return results.prove(experiment, guide, terms, experiment.signal(guide, terms, teacher), prepare)
