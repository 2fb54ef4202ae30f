"""Several teachers at once: each predicts once, their points are averaged joint by joint, and where they
disagree they weigh less.

Each teacher's prediction weighs its own confidence times the weight that it is given, by joint if wanted; the
confidence of the average falls with the distance between them (teachers/ensemble.py has the formula).
Teachers may have different joints.

    poseling distill multi_teacher --data lsp lspet --root DIR --teachers movenet-thunder.onnx blazepose-heavy.onnx --weights movenet-thunder=3
    poseling distill multi_teacher --data lsp lspet --root DIR --teachers a.onnx b.onnx --weights a=1 b=0.5 b:left_wrist=2 b:right_wrist=2

With equal weights an average can be worse than its best teacher (benchmarks/RESULTS.md, several_agreement),
so weigh them. The control is the student on labels.
"""

from __future__ import annotations

from poseling.evaluate.report import Report
from poseling.recipes import results
from poseling.recipes.config import TrainConfig, default, recipe
from poseling.recipes.experiment import Experiment, TeacherSignal
from poseling.recipes.students import StudentLike
from poseling.teachers.ensemble import Ensemble, EnsembleLabels, Weights


@recipe
def multi_teacher(
    config: TrainConfig = TrainConfig(),
    *,
    teachers: tuple[str, ...],
    student: StudentLike = default("hourglass-4x128", "hourglass-1x32"),
    weights: tuple[str, ...] = (),
    alpha: float = 0.5,
    teacher_flip: bool = False,
) -> Report:
    """Trains a student twice, with equal seed, data and epochs: on the labels alone, and on the labels and
    the average of several teachers' predictions.

    Parameters
    ----------
    teachers
        Checkpoints (.safetensors) and ONNX files with square inputs; mini is the mini set's own.
    student
        An architecture, or a file to start from.
    weights
        Weight of each teacher: NAME=WEIGHT, or NAME:JOINT=WEIGHT for one joint, NAME being the file's without
        its suffix; 1 if not given.
    alpha
        The teachers' share of the loss.
    teacher_flip
        Average each teacher's predictions over the mirrored image.
    """
    experiment = Experiment.of("multi_teacher", config, student, teachers=teachers)
    terms = experiment.respond(alpha)
    guides = [experiment.load_teacher(name) for name in teachers]
    names, given = [guide.name for guide in guides], parse(weights)
    together = Ensemble(guides, experiment.skeleton, given)
    labels = [experiment.label(guide, experiment.dataset, teacher_flip) for guide in guides]
    average = EnsembleLabels(labels, names, given)
    # The ensemble has all joints of the data; those that no teacher has are not measured.
    experiment = experiment.with_joints(average.known)
    return results.prove(experiment, together, terms, TeacherSignal(average, confidence=True))


def parse(words: tuple[str, ...]) -> Weights:
    """NAME=WEIGHT and NAME:JOINT=WEIGHT as `teachers.ensemble` takes them; ValueError for another form.

    >>> parse(("a=2", "b:left_wrist=0.5"))
    {'a': 2.0, 'b': {'left_wrist': 0.5}}
    """
    out: dict[str, float | dict[str, float]] = {}
    for word in words:
        key, equals, value = word.partition("=")
        name, colon, joint = key.partition(":")
        try:
            number = float(value)
        except ValueError:
            number = float("nan")
        known = out.get(name)
        again = known is not None and not (colon and isinstance(known, dict) and joint not in known)
        if not equals or not name or number != number or (colon and not joint) or again:
            raise ValueError(
                f"--weights {word}: is not NAME=WEIGHT or NAME:JOINT=WEIGHT, or sets a weight a second time"
            )
        if colon:
            out.setdefault(name, {})[joint] = number  # type: ignore[index]  # a dict, as was made sure above
        else:
            out[name] = number
    return out
