"""Labels and teachers' stored answers as one set to train on: pseudo-labels where there are no labels, each
as heavy as the teachers agree on it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from poseling.data.dataset import PoseDataset
from poseling.geometry import Crop, affine, person_size
from poseling.teachers.labels import Labels

LEAST = 0.2  # the weight from which a teacher's joint is used
SURE = (
    0.45  # the score from which a teacher may contradict a label (MoveNet Thunder's scores: docs/family.md)
)
HALF = 0.5  # and the agreement of the others with it
FAR = 0.17  # parts of the person's size from which a label contradicts the teacher: about 0.35 of a torso
TAU = 0.08  # parts of the person's size at which two teachers' agreement has fallen to 0.6
FEW = 4  # sure joints that it takes to judge a whole person


@dataclass(frozen=True)
class Cleaned:
    """What became of the labels: `joints` labels of `people` people were held against the teacher;
    `joints_gone` of them were dropped, those of `people_gone` people whole; `taught` joints come from the
    teacher.
    """

    people: int
    joints: int
    people_gone: int
    joints_gone: int
    taught: int

    def __str__(self) -> str:
        said = f"{self.taught} joints from the teacher"
        if not self.people:
            return said
        return (
            f"{self.joints_gone} of {self.joints} labels contradict the teacher and were left out, "
            f"with all of {self.people_gone} of {self.people} people; {said}"
        )


def pseudo_labels(
    dataset: PoseDataset,
    teacher: Labels,
    others: Sequence[Labels] = (),
    clean: NDArray[np.bool_] | None = None,
) -> tuple[PoseDataset, Cleaned]:
    """The same people with `weight` (N, K), and with the teacher's joints where nobody labelled one.

    A teacher's joint weighs its score times the mean over the `others` of exp(-d^2 / (2 (TAU size)^2)), d how
    far they put it and size the square root of the area of the person's box; an other that does not know the
    joint, or the person, has no say. Below LEAST it is not used. A label weighs 1, or what it weighed before.

    Of the people chosen by `clean` (N,), labels that are FAR from a teacher who is SURE of the joint, and
    whose joint the others share by HALF, go; of somebody half of whose sure joints, FEW at least, go that
    way, or are another's, all go: the box may be another person's, or left and right may be swapped. The
    teacher's joints take their place.
    """
    size = person_size(dataset.boxes)
    xy, score = _said(teacher, dataset)
    agreement = _agreement(xy, [_said(other, dataset) for other in others], size)
    agreed = score * agreement
    labelled = dataset.visible > 0
    held = labelled & (np.zeros(len(dataset), bool) if clean is None else clean)[:, None]
    sure = held & (score >= SURE) & (agreement >= HALF)
    with np.errstate(invalid="ignore"):
        wrong = sure & (np.linalg.norm(xy - dataset.joints, axis=-1) > FAR * size[:, None])
    whole = (wrong.sum(1) >= 0.5 * sure.sum(1)) & (sure.sum(1) >= FEW)
    gone = wrong | (held & whole[:, None])
    kept = labelled & ~gone
    taught = ~kept & (agreed >= LEAST)
    found = Cleaned(
        int(held.any(1).sum()), int(held.sum()), int(whole.sum()), int(gone.sum()), int(taught.sum())
    )
    fused = replace(
        dataset,
        joints=np.where(taught[..., None], xy, dataset.joints * kept[..., None]).astype(np.float32),
        visible=np.where(taught, 2, dataset.visible * kept).astype(np.uint8),
        weight=np.where(taught, agreed, kept if dataset.weight is None else kept * dataset.weight).astype(
            np.float32
        ),
        instances=None,
        licence="; ".join(
            [dataset.licence, *(f"pseudo-labels by {_licensed(labels)}" for labels in (teacher, *others))]
        ),
    )
    return fused, found


def _licensed(labels: Labels) -> str:
    """The teacher with its licences, in words."""
    manifest = labels.manifest
    return f"{manifest.teacher} ({', '.join(f'{what} {words}' for what, words in manifest.licences.items())})"


def _said(labels: Labels, dataset: PoseDataset) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The teacher's joints (N, K, 2) in image pixels, in the skeleton of the labels, and their scores (N, K):
    0 for what it does not know.
    """
    if labels.conversion.target != dataset.skeleton or not np.array_equal(labels.boxes, dataset.boxes):
        raise ValueError(
            f"{labels.url}: opened for other people, or in another skeleton, than those of {dataset.name}; "
            f"open it for these"
        )
    xy, score = np.zeros((*dataset.visible.shape, 2)), np.zeros(dataset.visible.shape)
    for i in np.flatnonzero(labels.answered).tolist():
        answer = labels[i]
        xy[i], score[i] = affine(Crop(answer.matrix, (1, 1)).inverse, answer.xy), answer.score
    return xy, score


def _agreement(
    xy: NDArray[np.float64],
    others: Sequence[tuple[NDArray[np.float64], NDArray[np.float64]]],
    size: NDArray[np.float64],
) -> NDArray[np.float64]:
    """(N, K) in 0..1: the mean over the others that know the joint; 1 where nobody does."""
    total, known = np.zeros(xy.shape[:2]), np.zeros(xy.shape[:2])
    for theirs, score in others:
        distance = np.linalg.norm(xy - theirs, axis=-1) / (TAU * size[:, None])
        total += np.exp(-0.5 * distance**2) * (score > 0)
        known += score > 0
    return np.where(known > 0, total / np.maximum(known, 1), 1.0)
