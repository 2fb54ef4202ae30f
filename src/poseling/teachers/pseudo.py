"""A data set with a teacher's pseudo-labels in it: 2D joints where there are no labels, weighted by how much
the teachers agree, and 3D joints from a teacher that predicts them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from poseling.data.dataset import PoseDataset
from poseling.geometry import Crop, affine, person_size, procrustes
from poseling.licences import merged
from poseling.teachers.cache import PseudoLabels

LEAST = 0.2  # the weight from which a teacher's joint is used
# The score from which a teacher may contradict a label (MoveNet Thunder's scores: docs/family.md).
SURE = 0.45
HALF = 0.5  # and the agreement of the others with it
FAR = 0.17  # parts of the person's size from which a label contradicts the teacher: about 0.35 of a torso
TAU = 0.08  # parts of the person's size at which the agreement of two teachers falls to 0.6
FEW = 4  # sure joints that it takes to judge a whole person
DISTANCE = 5.0  # metres from the camera at which `pseudo_labels_3d` puts a root
APART = 0.12  # metres between two 3D teachers' joints at which their agreement falls to 0.6
ODD = 0.2  # mean difference of log proportions at which a body's weight falls to 0.6
LIMBS = tuple(
    (f"{side}_{upper}", f"{side}_{lower}")
    for side in ("left", "right")
    for upper, lower in (("shoulder", "elbow"), ("elbow", "wrist"), ("hip", "knee"), ("knee", "ankle"))
)
LEAST_3D = 0.3  # the score from which `pseudo_labels_3d` adds a joint in the image


@dataclass(frozen=True)
class Cleaned:
    """What happened to the labels: `joints` labels of `people` people were compared with the teacher;
    `joints_gone` of them were dropped, all labels of `people_gone` people; `taught` joints come from the
    teacher.
    """

    people: int
    joints: int
    people_gone: int
    joints_gone: int
    taught: int

    def __str__(self) -> str:
        taught = f"{self.taught} joints from the teacher"
        if not self.people:
            return taught
        return (
            f"{self.joints_gone} of {self.joints} labels contradict the teacher and were left out, "
            f"with all of {self.people_gone} of {self.people} people; {taught}"
        )


def pseudo_labels(
    dataset: PoseDataset,
    teacher: PseudoLabels,
    others: Sequence[PseudoLabels] = (),
    clean: NDArray[np.bool_] | None = None,
) -> tuple[PoseDataset, Cleaned]:
    """The same samples with `weight` (N, K), and with the teacher's joints where there is no label.

    The weight of a teacher's joint is its score times the mean over the `others` of exp(-d^2 / (2 (TAU
    size)^2)), d the distance between the two predictions and size the square root of the area of the person's
    box; teachers that do not predict the joint or the sample are left out of the mean. Below LEAST the joint
    is not used. A label weighs 1, or what it weighed before.

    In the samples chosen by `clean` (N,), a label is dropped if it is FAR from a teacher that is SURE of the
    joint, and the others agree with the teacher by HALF. If half of a person's sure joints, and FEW at least,
    contradict the teacher, all labels of that person are dropped: the box may be another person's, or left
    and right may be swapped. The teacher's joints take their place.
    """
    size = person_size(dataset.boxes)
    xy, score = _predicted(teacher, dataset)
    agreement = _agreement(xy, [_predicted(other, dataset) for other in others], size)
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
        licence=merged(
            dataset.licence,
            *(
                text
                for each in (teacher, *others)
                for text in (f"pseudo-labels by {each.licence}", each.behind)
            ),
        ),
    )
    return fused, found


def pseudo_labels_3d(
    labels: PseudoLabels, dataset: PoseDataset, tau: float = 0.1, others: Sequence[PseudoLabels] = ()
) -> PoseDataset:
    """The same samples, in the skeleton of the `labels`, with `joints_3d` from the teacher and
    `confidence_3d` for each joint.

    A teacher predicts joints from the root; the root is put at (0, 0, 5) metres. That distance is assumed:
    only differences between joints mean anything, and there is no camera. Joints and samples without a
    pseudo-label are unknown. The confidence is the teacher's score, and where there is a 2D label, times
    exp(-d^2 / (2 (tau size)^2)), d the distance of the teacher's joint from the label in the image and size
    the square root of the area of the person's box: a joint that is wrong in the image is wrong in 3D. A
    sample without any 2D label also gets the teacher's joints in the image, those with a score of `LEAST_3D`
    or more: a 3D location is learnt where the joint is.

    With `others` the joints are the mean over all teachers, those of each other one first turned, scaled and
    moved onto the teacher's (`geometry.procrustes`), and the confidence is multiplied by the mean over the
    others of exp(-d^2 / (2 APART^2)), d the distance between the two in metres.

    ValueError if a teacher predicts 2D joints only, if the pseudo-labels are of other samples or joints, or
    for a skeleton without a root or a tau not above 0.
    """
    for each in (labels, *others):
        if not each.manifest.is_3d:
            raise ValueError(
                f"{each.url}: the teacher {each.manifest.teacher} predicts 2D joints only; 3D pseudo-labels "
                f"need a 3D teacher, such as BlazePose"
            )
        if not np.array_equal(each.boxes, dataset.boxes):
            raise ValueError(
                f"{each.url}: opened for other samples than those of {dataset.name}; open it for these"
            )
        if each.conversion.target != labels.conversion.target:
            raise ValueError(
                f"{each.url}: opened in the joints of {each.conversion.target.name}, and {labels.url} in "
                f"those of {labels.conversion.target.name}; open both in one skeleton"
            )
    if not tau > 0:
        raise ValueError(
            f"tau is {tau}; it is how far a joint may be from its label, in parts of the person's size, "
            f"above 0"
        )
    dataset = dataset.to(labels.conversion.target)
    root = list(dataset.skeleton.root)
    confidence_3d = np.zeros(dataset.joints.shape[:2], np.float32)
    joints, visible = dataset.joints.copy(), dataset.visible.copy()
    bare = np.asarray(~(dataset.visible > 0).any(1))
    sizes = person_size(dataset.boxes)
    for i in np.flatnonzero(labels.predicted).tolist():
        found = labels.points(i)
        xy = Crop(found.matrix, labels.manifest.size).invert(found.xy)
        if bare[i]:
            sure = np.asarray(found.score >= LEAST_3D)
            visible[i], joints[i] = sure, np.where(sure[:, None], xy, 0)
        away = np.linalg.norm(xy - dataset.joints[i], axis=-1)
        agreement = np.exp(-(away**2) / (2 * (tau * sizes[i]) ** 2))
        confidence_3d[i] = found.score * np.where(dataset.visible[i] > 0, agreement, 1)
    places = _places(labels)
    total, count, apart = places.copy(), np.ones(confidence_3d.shape), []
    for other in others:
        aligned = procrustes(
            _places(other), np.nan_to_num(places), np.asarray(np.isfinite(places).all(-1))
        ).aligned
        known = np.isfinite(aligned).all(-1)
        total[known] += aligned[known]
        count += known
        apart.append(np.where(known, np.linalg.norm(aligned - places, axis=-1), np.nan))
    if others:
        near = np.exp(-(np.array(apart) ** 2) / (2 * APART**2))
        told = np.isfinite(near).sum(0)
        confidence_3d *= np.where(told > 0, np.nansum(near, 0) / np.maximum(told, 1), 1).astype(np.float32)
    mean = total / count[..., None]
    xyz = np.nan_to_num(mean - mean[:, root].mean(1, keepdims=True) + [0, 0, DISTANCE])
    return replace(
        dataset,
        joints=joints,
        visible=visible,
        joints_3d=xyz.astype(np.float32),
        confidence_3d=confidence_3d,
        camera=None,
    )


def by_proportions(dataset: PoseDataset) -> PoseDataset:
    """The same samples, each one's `confidence_3d` times exp(-d^2 / (2 ODD^2)), d how far its body's
    proportions are from the median of all: the mean over the LIMBS of the difference of log(length / the
    person's median limb). ValueError for samples without 3D joints, or a skeleton without one of the limbs.
    """
    if dataset.joints_3d is None or dataset.confidence_3d is None:
        raise ValueError(f"{dataset.name}: has no 3D joints with a confidence; pseudo_labels_3d makes them")
    at = {name: i for i, name in enumerate(dataset.skeleton.joints)}
    if lacking := [joint for limb in LIMBS for joint in limb if joint not in at]:
        raise ValueError(f"{dataset.skeleton.name} has no {lacking[0]}, so it has no limb's length")
    ends = np.array([[at[a], at[b]] for a, b in LIMBS])
    places = dataset.joints_3d[:, ends].astype(np.float64)
    lengths = np.linalg.norm(places[:, :, 0] - places[:, :, 1], axis=-1)
    known = (dataset.joints_3d[:, ends] != 0).any(-1).all((1, 2)) & (lengths > 0).all(1)
    if not known.any():
        return dataset
    logs = np.log(lengths[known])
    logs -= np.median(logs, axis=1, keepdims=True)
    odd = np.abs(logs - np.median(logs, axis=0)).mean(1)
    confidence = dataset.confidence_3d.copy()
    confidence[known] *= np.exp(-(odd**2) / (2 * ODD**2))[:, None].astype(np.float32)
    return replace(dataset, confidence_3d=confidence)


def _places(labels: PseudoLabels) -> NDArray[np.float64]:
    """The teacher's joints (N, K, 3) in metres from its own root; NaN where there are none."""
    found = np.full((len(labels.boxes), len(labels.conversion.target), 3), np.nan)
    for i in np.flatnonzero(labels.predicted).tolist():
        xyz = labels.points(i).xyz
        assert xyz is not None  # the manifest has is_3d
        found[i, labels.conversion.known] = xyz[labels.conversion.known]
    return found


def _predicted(labels: PseudoLabels, dataset: PoseDataset) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The teacher's joints (N, K, 2) in image pixels, in the skeleton of the data set, and their scores (N,
    K): 0 for joints that it does not predict.
    """
    if labels.conversion.target != dataset.skeleton or not np.array_equal(labels.boxes, dataset.boxes):
        raise ValueError(
            f"{labels.url}: opened for other samples, or in another skeleton, than those of {dataset.name}; "
            f"open it for these"
        )
    xy, score = np.zeros((*dataset.visible.shape, 2)), np.zeros(dataset.visible.shape)
    for i in np.flatnonzero(labels.predicted).tolist():
        found = labels.points(i)
        xy[i], score[i] = affine(Crop(found.matrix, (1, 1)).inverse, found.xy), found.score
    return xy, score


def _agreement(
    xy: NDArray[np.float64],
    others: Sequence[tuple[NDArray[np.float64], NDArray[np.float64]]],
    size: NDArray[np.float64],
) -> NDArray[np.float64]:
    """(N, K) in 0..1: the mean over the others that predict the joint; 1 where none does."""
    total, known = np.zeros(xy.shape[:2]), np.zeros(xy.shape[:2])
    for theirs, score in others:
        distance = np.linalg.norm(xy - theirs, axis=-1) / (TAU * size[:, None])
        total += np.exp(-0.5 * distance**2) * (score > 0)
        known += score > 0
    return np.where(known > 0, total / np.maximum(known, 1), 1.0)
