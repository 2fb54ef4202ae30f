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

from poseling.distill.feature import align, aligned_mse
from poseling.distill.objective import Term
from poseling.evaluate.report import Report
from poseling.models import registry
from poseling.models.vitpose_mobile import copy_decoder
from poseling.recipes.experiment import VITPOSE_DEFAULT, Experiment, ViTPoseConfig, either
from poseling.teachers.network import NetworkTeacher


def vitpose_mobile(
    config: ViTPoseConfig = VITPOSE_DEFAULT,
    *,
    teacher: str = either("vitpose-b-simple", "mini"),
    student: str = either("vitpose_mobile-mobilenetv2-simple", "vitpose_mobile-mobilenetv2_050-simple-32"),
    teacher_adapter: str | None = None,
    alpha: float = 0.5,
    copy: bool = False,
    features: float = 0.0,
    teacher_epochs: float | None = None,
    teacher_flip: bool = False,
    confidence: bool = False,
) -> Report:
    """Trains a mobile ViTPose twice, with equal seed, data and epochs: on the labels alone, and on the labels
    and a ViTPose's heatmaps.

    Parameters
    ----------
    teacher
        A ViTPose of the Hugging Face hub (usyd-community/...) or a folder that holds one, a checkpoint
        (.safetensors), an ONNX file, or a network of the zoo, which is then trained first.
    student
        vitpose_mobile-BACKBONE, then if you like the decoder and its width:
        vitpose_mobile-mobilenetv2-simple-768 has what a ViTPose-B needs for --copy.
    teacher_adapter
        For a foreign ONNX file: a built-in adapter's name, or a JSON file that says how to feed and read it
        (docs/teachers.md).
    alpha
        The teacher's share of the loss; 1 learns without labels.
    copy
        Start both students with the teacher's decoder, which has to be of the same kind and width.
    features
        Weight of the distance between the maps that the two decoders read; the teacher then has to be a
        ViTPose, and runs in every step.
    teacher_epochs
        For a teacher that is trained first; as many as the student's if not given.
    teacher_flip
        Average the teacher's answer over the mirrored image.
    confidence
        Weigh each joint by the teacher's own score.
    """
    experiment = Experiment.for_teacher("vitpose_mobile", config, student, teacher, teacher_adapter)
    terms = experiment.respond(alpha if experiment.dataset.labelled else 1.0)
    if features:
        terms = (*terms, Term("features", aligned_mse, features, "teacher", "features", align))
    if copy and (registry.is_name(config.chosen(teacher)) or config.chosen(teacher).endswith(".onnx")):
        raise ValueError(
            f"--copy takes the decoder of a ViTPose that has learnt, and {teacher} is none; name its "
            f"checkpoint or folder"
        )
    guide = experiment.teacher(teacher, teacher_adapter, teacher_epochs)
    inner = guide.network if isinstance(guide, NetworkTeacher) else None
    prepare = (lambda network: copy_decoder(network, inner)) if copy and inner is not None else None
    answers = None if features else experiment.label(guide, experiment.dataset, teacher_flip)
    return experiment.teach(guide, terms, answers, confidence, prepare)
