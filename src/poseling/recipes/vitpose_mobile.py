"""ViTPose's decoder on a mobile backbone, taught by a ViTPose: the original's heatmaps, reproduced by the
same decoder.

Papers: Xu et al., ViTPose, NeurIPS 2022; the pairing is that of the pose work at DFKI (Igel, Sarode, Khan),
whose details are not public. Labels are optional: `--alpha 1` learns from the teacher alone, and a folder of
images without labels (`--data images`) is enough.

    poseling distill vitpose_mobile --data coco --root DIR --teacher usyd-community/vitpose-base-simple
    poseling distill vitpose_mobile --data images --root DIR --teacher some/folder/with/vitpose --alpha 1
    poseling distill vitpose_mobile --data lsp lspet --root DIR --teacher movenet-thunder.onnx --student vitpose_mobile-efficientnet_lite0-simple --pretrained imagenet

Where we differ: what the DFKI pairing did between backbone and decoder is not known; ours is a neck over
strides 16 and 32 (models/vitpose_mobile.py).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

from poseling.distill.feature import align, aligned_mse
from poseling.distill.objective import Term
from poseling.evaluate.report import Report
from poseling.models.vitpose_mobile import copy_decoder
from poseling.recipes import results
from poseling.recipes.config import ResponseConfig, ViTPoseConfig, default, recipe
from poseling.recipes.experiment import Experiment
from poseling.recipes.students import StudentLike
from poseling.teachers.network import NetworkTeacher


@dataclass(frozen=True, kw_only=True)
class ViTPoseTeacher(ResponseConfig):
    """A ViTPose, which is trained first; on the mini set the teacher that comes with it."""

    teacher: str = default("", "mini")
    train_teacher: str = default("vitpose-b-simple", "")


@recipe
def vitpose_mobile(
    config: ViTPoseConfig = ViTPoseConfig(),
    *,
    teacher: ViTPoseTeacher = ViTPoseTeacher(),
    student: StudentLike = default(
        "vitpose_mobile-mobilenetv2-simple", "vitpose_mobile-mobilenetv2_050-simple-32"
    ),
    copy: bool = False,
    features: float = 0.0,
) -> Report:
    """Trains a mobile ViTPose twice, with equal seed, data and epochs: on the labels alone, and on the labels
    and a ViTPose's heatmaps. Images without labels are learnt from the teacher alone.

    Parameters
    ----------
    student
        vitpose_mobile-BACKBONE, optionally with the decoder and its width:
        vitpose_mobile-mobilenetv2-simple-768 has what a ViTPose-B needs for --copy.
    copy
        Start both students with the teacher's decoder, which has to be of the same kind and width.
    features
        Weight of the distance between the maps that the two decoders read; the teacher then has to be a
        ViTPose, and runs in every step.
    """
    experiment = Experiment.of("vitpose_mobile", config, student, teacher=teacher, labels=False)
    terms = experiment.respond(teacher.alpha if experiment.dataset.labelled else 1.0)
    if features:
        teacher.predicts_once("--features")
        terms += (Term("features", aligned_mse, features, "teacher", "features", align),)
    if copy and (teacher.train_teacher or teacher.teacher.endswith(".onnx")):
        raise ValueError(
            f"--copy takes the decoder of a trained ViTPose, and {teacher.train_teacher or teacher.teacher} "
            f"is none; name its checkpoint or folder"
        )
    experiment, guide = experiment.with_teacher(teacher)
    inner = guide.network if isinstance(guide, NetworkTeacher) else None
    prepare = partial(copy_decoder, teacher=inner) if copy and inner is not None else None
    return results.prove(experiment, guide, terms, experiment.signal(guide, terms, teacher), prepare)
