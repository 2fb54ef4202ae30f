"""What compressing loses is learnt again from the original: it is the teacher, and images without labels
are enough.

The original predicts each sample once, at its own input size and averaged over the mirrored image; the
smaller network learns those predictions, moved into each augmented crop, and the labels where there are any.
The store, the loop, the losses and the augmentation are those of every other training here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from torch import Tensor, nn

from poseling.codecs import codec
from poseling.codecs.normalize import normalise
from poseling.data.augment import Augment
from poseling.data.dataset import PoseDataset
from poseling.data.loader import Crops
from poseling.distill.objective import Objective, Term, fpd
from poseling.models.graph import GraphNetwork
from poseling.spec import PoseSpec
from poseling.teachers.cache import PseudoLabels, label
from poseling.teachers.network import NetworkTeacher
from poseling.train.loop import engine, fit
from poseling.train.optim import Training

AUGMENT = Augment(scale=0.25, rotation=30.0, color_jitter=0.2, shift=0.04)


@dataclass(frozen=True)
class Lesson:
    """How a repair is learnt. `epochs` over the people, `batch` people a step, `learning_rate` at its
    highest, and the labels' share.

    `labels` is 0 for the original alone, 1 for labels alone, and 0.5 for half and half.
    """

    epochs: float = 1.0
    batch: int = 32
    learning_rate: float = 1.5e-4
    labels: float = 0.0
    seed: int = 0
    workers: int = 0

    def __post_init__(self) -> None:
        if not 0 <= self.labels <= 1:
            raise ValueError(
                f"--labels-share {self.labels:g}: is the labels' share of what is learnt, from 0 to 1"
            )


def loss_of(spec: PoseSpec) -> str:
    """By which loss heatmaps are compared: over their pixels where they are logits, else by squares."""
    return "kl" if getattr(codec(spec.codec), "softmax", False) else "mse"


def terms(spec: PoseSpec, labels: float) -> tuple[Term, ...]:
    """The losses of a repair."""
    return fpd(codec(spec.codec), loss_of(spec), 1 - labels)


def repaired(
    network: GraphNetwork,
    spec: PoseSpec,
    teacher: NetworkTeacher,
    dataset: PoseDataset,
    out: Path,
    labels: Path,
    lesson: Lesson,
    title: str = "repairing",
    console: Console | None = None,
) -> GraphNetwork:
    """`network` with the contract `spec` after `lesson` on the samples of `dataset`, taught by `teacher`, the
    original, whose input may have another size. In eval mode, on the CPU.

    The samples are in the contract's skeleton. `out` is the folder of the training, which goes on where it
    was stopped; `labels` that of the original's predictions, which are used again. Labels alone are learnt
    on the samples that have any, in as many steps. ValueError if labels are to be learnt and there are none; errors as of
    `teachers.cache.label` and `train.loop.fit`.
    """
    console = console or Console(quiet=True)
    if lesson.labels and not dataset.visible.any():
        raise ValueError(
            f"{dataset.name}: has no labels to learn; leave the labels' share at 0, which learns from the "
            f"original alone"
        )
    epochs = lesson.epochs
    if lesson.labels == 1:
        labelled = np.flatnonzero(dataset.visible.any(1))
        epochs *= len(dataset) / len(labelled)  # as many steps as with all
        dataset = dataset[labelled]
    accelerator = engine()
    learnt, known = terms(spec, lesson.labels), codec(spec.codec)
    training = Training(
        epochs=epochs, batch=min(lesson.batch, len(dataset)), learning_rate=lesson.learning_rate, optimizer="adamw",
        schedule="one_cycle", weight_decay=0.01, clip=1.0, ema=0.998, save_every=500, seed=lesson.seed,
    )  # fmt: skip
    crops = Crops(dataset, spec.size, spec.padding, AUGMENT, lesson.seed)
    width = 1.0
    if lesson.labels < 1:
        seen = {crops.person(place) for place in range(training.steps(len(dataset)) * training.batch)}
        asked = label(teacher, dataset[np.array(sorted(seen))], str(labels), flip=True)
        console.print(
            f"{teacher.name}: {asked.predicted} samples predicted, {asked.stored} stored already",
            highlight=False,
            markup=False,
        )
        predicted = PseudoLabels.open(asked.store, dataset, spec.skeleton, teacher, heatmap=known.heatmap)
        crops.pseudo_labels, width = predicted, predicted.width
    objective = Objective(spec, known, learnt, confidence=True, width=width)
    fitted = fit(
        network.train(), objective, crops, training, out, accelerator, workers=lesson.workers, title=title, console=console,
        evaluate_every=max(epochs / 5, 1e-6),
    )  # fmt: skip
    found = fitted.network
    assert isinstance(found, GraphNetwork)
    return found.to("cpu").to(memory_format=torch.contiguous_format).eval()  # type: ignore[call-overload]


def losses(
    spec: PoseSpec, original: GraphNetwork, dataset: PoseDataset, count: int, batch: int = 16, seed: int = 0
) -> Iterator[Callable[[nn.Module], Tensor]]:
    """What `prune.taylor` asks: for batches of `count` people in all, the loss (B,) of each image.

    The truth is where the original sees the joints, as targets of its codec, each as sure as it is; its own
    outputs would not do, at which the loss of an unchanged network is flat.
    """
    crops = Crops(dataset, spec.size, spec.padding, AUGMENT, seed)
    known = codec(spec.codec)
    teacher = NetworkTeacher(original, spec)
    for start in range(0, count, batch):
        images = torch.stack(
            [torch.from_numpy(crops[i]["image"]) for i in range(start, min(start + batch, count))]
        )
        answer = teacher(images)
        targets, weight = known.encode(answer.xy.clone(), answer.score.clone())
        yield _ImageLoss(spec, images, targets, weight)


class _ImageLoss:
    """The loss of each image of a batch."""

    def __init__(self, spec: PoseSpec, images: Tensor, targets: Tensor, weight: Tensor) -> None:
        self.spec, self.images, self.targets, self.weight = spec, images, targets, weight

    def __call__(self, network: nn.Module) -> Tensor:
        outputs = network(normalise(self.images, self.spec))
        one = fpd(codec(self.spec.codec), loss_of(self.spec), 0.0)[0].loss
        return torch.stack(
            [
                one(outputs[i : i + 1], self.targets[i : i + 1], self.weight[i : i + 1])
                for i in range(len(outputs))
            ]
        )
