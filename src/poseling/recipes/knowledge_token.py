"""ViTPose's knowledge token: what a large ViTPose has learnt is put into one token, which a small one then
gets with its input.

Paper: Xu et al., ViTPose, NeurIPS 2022, section on transferability. Stage 1: the teacher is frozen and a
token behind its visual tokens learns from the labels. Stage 2: the token is frozen and goes into the student,
which learns from the labels and, as the paper's best row does, from the teacher's heatmaps.

    poseling distill knowledge_token --data coco --root DIR --teacher vitpose-l.safetensors --student vitpose-b
    poseling distill knowledge_token          # the mini set

Where we differ: the paper does not say what happens where the two widths differ; a linear layer that learns
leads from one to the other. The teacher has to be one of our checkpoints, or a network of the zoo, which is
then trained first.
"""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn

from poseling.evaluate.report import Report
from poseling.models import registry
from poseling.models.vitpose import ViTPose
from poseling.recipes.experiment import VITPOSE_DEFAULT, Experiment, ViTPoseConfig, either
from poseling.teachers.network import NetworkTeacher


def knowledge_token(
    config: ViTPoseConfig = VITPOSE_DEFAULT,
    *,
    teacher: str = either("vitpose-l", "vitpose-t-simple"),
    student: str = either("vitpose-b", "vitpose-t-simple"),
    alpha: float = 0.5,
    token_epochs: float | None = None,
    teacher_epochs: float | None = None,
) -> Report:
    """Trains a ViTPose on the labels alone, with the teacher's token, and with the token and the teacher's
    heatmaps.

    Parameters
    ----------
    teacher
        A checkpoint (.safetensors) of a ViTPose, or a ViTPose of the zoo, which is then trained first.
    student
        vitpose-VARIANT.
    alpha
        The share of the teacher's heatmaps in the loss.
    token_epochs
        For the token in the frozen teacher; a tenth of the students' if not given.
    teacher_epochs
        For a teacher that is trained first; as many as the student's if not given.
    """
    experiment = Experiment("knowledge_token", config, student, teacher=teacher)
    wanted = "a token goes from one ViTPose to another; name two of them, such as vitpose-l and vitpose-b"
    teacher = config.chosen(teacher)
    if not experiment.student.startswith("vitpose-") or (
        registry.is_name(teacher) and not teacher.startswith("vitpose-")
    ):  # before anything takes time
        raise ValueError(f"--teacher {teacher}, --student {experiment.student}: {wanted}")
    guide = experiment.teacher(teacher, epochs=teacher_epochs)
    if not isinstance(guide, NetworkTeacher) or not isinstance(guide.network, ViTPose):
        raise ValueError(f"--teacher {guide.name}: {wanted}")
    frozen, taught = guide.network, guide.spec.model
    epochs = experiment.epochs() / 10 if token_epochs is None else token_epochs
    with_token = experiment.fit(
        "token",
        experiment.supervised(taught),
        experiment.config.seed,
        epochs=epochs,
        network=f"{taught}-token",
        prepare=_from(frozen),
        only="token",
    )
    inner = with_token.network.network
    assert isinstance(inner, ViTPose)
    assert inner.token is not None
    name, give = f"{experiment.student}-token{inner.token.shape[2]}", _gives(inner.token)
    answers, both = experiment.label(guide, experiment.dataset), experiment.respond(alpha)
    arms = {
        "baseline": [experiment.fit("baseline", experiment.supervised(), seed) for seed in experiment.seeds],
        "distilled": [
            experiment.fit(
                "distilled", both, seed, answers, epochs=experiment.epochs(), network=name, prepare=give
            )
            for seed in experiment.seeds
        ],
        "token alone": [
            experiment.fit(
                "token-alone",
                experiment.supervised(),
                seed,
                epochs=experiment.epochs(),
                network=name,
                prepare=give,
            )
            for seed in experiment.seeds
        ],
        "heatmaps alone": [experiment.fit("heatmaps", both, seed, answers) for seed in experiment.seeds],
    }
    return experiment.finish(guide, arms, experiment.speeds_if_asked(guide, answers, both))


def _from(teacher: ViTPose) -> Callable[[nn.Module], None]:
    """Gives a network with a new token the teacher's weights."""

    def prepare(network: nn.Module) -> None:
        assert isinstance(network, ViTPose)
        token = network.token
        network.token = None
        network.load_state_dict(teacher.state_dict())
        network.token = token

    return prepare


def _gives(token: Tensor) -> Callable[[nn.Module], None]:
    def prepare(network: nn.Module) -> None:
        assert isinstance(network, ViTPose)
        network.add_token(token)

    return prepare
