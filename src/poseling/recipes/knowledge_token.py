"""ViTPose's knowledge token: what a large ViTPose has learnt is put into one token, which a small one then
gets with its input.

Paper: Xu et al., ViTPose, NeurIPS 2022, section on transferability. Stage 1: the teacher is frozen and a
token behind its visual tokens learns from the labels. Stage 2: the token is frozen and goes into the student,
which learns from the labels and, as the paper's best row does, from the teacher's heatmaps.

    poseling distill knowledge_token --data coco --root DIR --teacher vitpose-l.safetensors --student vitpose-b
    poseling distill knowledge_token          # the mini set

Where we differ: the paper does not say what happens where the two widths differ; a linear layer that learns
leads from one to the other. The teacher has to be one of our checkpoints, or is trained first.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from torch import nn

from poseling.evaluate.report import Report
from poseling.models.vitpose import ViTPose
from poseling.recipes import results
from poseling.recipes.config import ResponseConfig, ViTPoseConfig, default, recipe
from poseling.recipes.experiment import Experiment, Learner
from poseling.recipes.students import StudentLike
from poseling.teachers.network import NetworkTeacher


@dataclass(frozen=True, kw_only=True)
class ViTPoseTeacher(ResponseConfig):
    """A large ViTPose, which is trained first; on the mini set a small one."""

    train_teacher: str = default("vitpose-l", "vitpose-t-simple")


@recipe
def knowledge_token(
    config: ViTPoseConfig = ViTPoseConfig(),
    *,
    teacher: ViTPoseTeacher = ViTPoseTeacher(),
    student: StudentLike = default("vitpose-b", "vitpose-t-simple"),
    token_epochs: float | None = None,
) -> Report:
    """Trains a ViTPose on the labels alone, with the teacher's token, and with the token and the teacher's
    heatmaps. The teacher has to be a ViTPose of ours: a checkpoint (.safetensors), or one that is trained
    first.

    Parameters
    ----------
    student
        vitpose-VARIANT.
    token_epochs
        Epochs of the token in the frozen teacher; a tenth of the students' if not given.
    """
    experiment = Experiment.of("knowledge_token", config, student, teacher=teacher)
    name = experiment.student.name
    wanted = "a token goes from one ViTPose to another; name two of them, such as vitpose-l and vitpose-b"
    trained = teacher.train_teacher or name  # a teacher that exists is looked at when it is loaded
    if not (name.startswith("vitpose-") and trained.startswith("vitpose-")):
        raise ValueError(f"--train-teacher {teacher.train_teacher}, --student {name}: {wanted}")
    experiment, guide = experiment.with_teacher(teacher)
    if not isinstance(guide, NetworkTeacher) or not isinstance(guide.network, ViTPose):
        raise ValueError(f"--teacher {guide.name}: {wanted}")
    labels, both = experiment.supervised(), experiment.respond(teacher.alpha)
    epochs = experiment.epochs() / 10 if token_epochs is None else token_epochs
    taught = guide.spec.model
    begun = experiment.learner(experiment.config.seed, experiment.student_of(f"{taught}-token", exact=True))
    _take_weights(begun.module, guide.network)
    begun = replace(begun, only="token")
    inner = experiment.fit(
        "token", begun, experiment.supervised(experiment.student_of(taught, exact=True)), epochs=epochs
    )
    token = _vitpose(inner.network.network).token
    assert token is not None
    with_token = experiment.student_of(f"{name}-token{token.shape[2]}", exact=True)

    def given(seed: int) -> Learner:
        learner = experiment.learner(seed, with_token)
        _vitpose(learner.module).add_token(token)
        return learner

    signal, all_of_them = experiment.signal(guide, both, teacher), experiment.epochs()
    fit, learner, seeds = experiment.fit, experiment.learner, experiment.seeds
    arms = {
        "baseline": [fit("baseline", learner(seed), labels) for seed in seeds],
        "distilled": [fit("distilled", given(seed), both, signal, epochs=all_of_them) for seed in seeds],
        "token alone": [fit("token-alone", given(seed), labels, epochs=all_of_them) for seed in seeds],
        "heatmaps alone": [fit("heatmaps", learner(seed), both, signal) for seed in seeds],
    }
    return results.finish(experiment, guide, arms, results.speeds_if_asked(experiment, guide, signal, both))


def _vitpose(network: nn.Module) -> ViTPose:
    assert isinstance(network, ViTPose)
    return network


def _take_weights(network: nn.Module, teacher: ViTPose) -> None:
    """Gives a network with a new token the teacher's weights."""
    taking = _vitpose(network)
    token, taking.token = taking.token, None
    taking.load_state_dict(teacher.state_dict())
    taking.token = token
