"""Fast Human Pose Distillation: a small hourglass learns a big one's heatmaps beside the labels.

Claim: a student of 3 M parameters keeps most of what a teacher of 26 M knows. Paper: Zhang, Zhu and Ye, CVPR
2019, arXiv 1811.05419. The loss is (1 - alpha) times the labels' and alpha times the teacher's, whose last
stack teaches every stack of the student; alpha is 0.5, and 1 on the mini set (docs/fpd.md).

    poseling distill fpd --seeds 3      # the mini set and its teacher, which come with the program: minutes on two cores
    poseling distill fpd --data mpii --root DIR --teacher hourglass-8x256 --student hourglass-4x128 --batch 4      # as the paper: 140 epochs at 256x256

Where we differ: the teacher is asked once per person and its answers are stored and warped (docs/labels.md),
instead of run in every step; AdamW and a softmax over pixels (`--loss kl`) are offered, which learn much
faster in short runs. The authors' repository starts the student from a finished one (`--warm-start`) and
compares with that one; here the control trains on for as long.
"""

from __future__ import annotations

from typing import Literal

from poseling.evaluate.report import Report
from poseling.recipes.experiment import DEFAULT, Experiment, TrainConfig, either


def fpd(
    config: TrainConfig = DEFAULT,
    *,
    teacher: str = either("hourglass-8x256", "mini"),
    student: str = either("hourglass-4x128", "hourglass-1x32"),
    teacher_adapter: str | None = None,
    alpha: float = either(0.5, 1.0),
    teacher_loss: Literal["mse", "kl", "coordinate"] | None = None,
    teacher_epochs: float | None = None,
    teacher_flip: bool = either(False, True),
    teacher_scales: tuple[float, ...] = (1.0,),
    confidence: bool = False,
    every_joint: bool = False,
    warm_start: bool = False,
    warm_epochs: float | None = None,
) -> Report:
    """Trains a student twice, with equal seed, data and epochs: on the labels alone, and on the labels and
    the teacher's heatmaps (FPD, CVPR 2019).

    Parameters
    ----------
    teacher
        A checkpoint (.safetensors), an ONNX file, a network of the zoo, which is then trained first, or mini,
        the mini set's own.
    student
        A network of the zoo: hourglass-STACKSxCHANNELS, or any other, which learns by the losses of its own
        outputs.
    teacher_adapter
        For a foreign ONNX file: a built-in adapter's name, or a JSON file that says how to feed and read it
        (docs/teachers.md).
    alpha
        The teacher's share of the loss.
    teacher_loss
        The loss against the teacher's heatmaps, for students with heatmaps; as --loss if not given.
    teacher_epochs
        For a teacher that is trained first; as many as the students' if not given.
    teacher_flip
        Average the teacher's answer over the mirrored image.
    teacher_scales
        Average the teacher's answer over these zooms.
    confidence
        Weigh each joint by the teacher's own score.
    every_joint
        Learn the teacher's word on joints without a label too; the authors' code leaves them out.
    warm_start
        Also start a distilled student from the finished baseline, as the authors' code does, against a
        baseline that trains on for as many epochs.
    warm_epochs
        How many; as many as --epochs if not given.
    """
    alpha, teacher_flip = config.chosen(alpha), config.chosen(teacher_flip)
    experiment = Experiment("fpd", config, student, teacher=teacher)
    labels, both = experiment.supervised(), experiment.respond(alpha, teacher_loss, labelled=not every_joint)
    if alpha == 1:
        experiment.notes.append(
            "With alpha 1 the distilled student saw no label: its teacher's answers are all that it learnt "
            "from."
        )
    guide = experiment.teacher(teacher, teacher_adapter, teacher_epochs)
    answers = experiment.label(guide, experiment.dataset, teacher_flip, teacher_scales)
    baseline = [experiment.fit("baseline", labels, seed) for seed in experiment.seeds]
    scratch = [
        experiment.fit("distilled", both, seed, answers, confidence=confidence) for seed in experiment.seeds
    ]
    arms = {"baseline": baseline, "distilled": scratch}
    if warm_start:
        more = experiment.epochs() if warm_epochs is None else warm_epochs
        arms = {
            "baseline": baseline,
            "baseline_longer": [
                experiment.fit("baseline-longer", labels, one.seed, epochs=more, after=one)
                for one in baseline
            ],
            "distilled": [
                experiment.fit("warm", both, one.seed, answers, epochs=more, after=one, confidence=confidence)
                for one in baseline
            ],
            "from scratch": scratch,
        }
    return experiment.finish(guide, arms, experiment.speeds_if_asked(guide, answers, both))
