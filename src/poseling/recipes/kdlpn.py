"""KDLPN: a PeleeNet with pixel-shuffle upsampling learns the heatmaps of a large SimpleBaseline.

Claim: 95 % fewer parameters than the large networks on COCO at little loss. Paper: Park et al., Sensors 2021,
21(22):7640. The loss is that of FPD, (1 - alpha) times the labels' and alpha times the teacher's.

    poseling distill kdlpn --data coco --root DIR      # a SimpleBaseline-152 (68.6 M) is trained first, then KDLPN (2.80 M), at 256x192
    poseling distill kdlpn --data lsp lspet --root DIR --teacher movenet-thunder.onnx --student kdlpn-128 --loss kl

Where we differ: the paper's decoder table, teacher and loss weights are not public; ours are SimpleBaseline's
family, 256 channels after each pixel shuffle, and FPD's alpha. The teacher is asked once, and its answers are
stored (docs/labels.md).
"""

from __future__ import annotations

from poseling.evaluate.report import Report
from poseling.recipes.experiment import COCO_DEFAULT, CocoConfig, Experiment, either


def kdlpn(
    config: CocoConfig = COCO_DEFAULT,
    *,
    teacher: str = either("simple_baseline-152", "mini"),
    student: str = either("kdlpn-256", "kdlpn-32"),
    teacher_adapter: str | None = None,
    alpha: float = 0.5,
    teacher_epochs: float | None = None,
    teacher_flip: bool = False,
    confidence: bool = False,
) -> Report:
    """Trains a KDLPN twice, with equal seed, data and epochs: on the labels alone, and on the labels and a
    teacher's heatmaps.

    Parameters
    ----------
    teacher
        A checkpoint (.safetensors), an ONNX file, a network of the zoo, which is then trained first, or mini,
        the mini set's own.
    student
        kdlpn-CHANNELS, or any other network of the zoo.
    teacher_adapter
        For a foreign ONNX file: a built-in adapter's name, or a JSON file that says how to feed and read it
        (docs/teachers.md).
    alpha
        The teacher's share of the loss; 1 where there are no labels.
    teacher_epochs
        For a teacher that is trained first; as many as the student's if not given.
    teacher_flip
        Average the teacher's answer over the mirrored image.
    confidence
        Weigh each joint by the teacher's own score.
    """
    experiment = Experiment("kdlpn", config, student, teacher=teacher)
    terms = experiment.respond(alpha)
    guide = experiment.teacher(teacher, teacher_adapter, teacher_epochs)
    return experiment.teach(
        guide, terms, experiment.label(guide, experiment.dataset, teacher_flip), confidence
    )
