"""Several teachers as one: one prediction per joint, with a confidence that falls where they disagree.

Teacher t puts a joint at x_t with the score s_t in 0..1, and a_t is the weight given to this teacher for this
joint. With w_t = a_t s_t:

    x   = sum w_t x_t / sum w_t                                      the joint
    d^2 = sum w_t |x_t - x|^2 / sum w_t                              how far apart the teachers are, RMS
    c   = (sum w_t / sum a_t) exp(-d^2 / (2 (tau size)^2))           the confidence

size is the square root of the area of the person's box. The sums are over the teachers that predict the
joint, those with w_t > 0. For a single teacher d is 0. For two of equal weight at a distance D, d = D / 2; at
a tau of 0.1 their confidence falls to 0.88 when D is a tenth of the size, to 0.61 at two tenths, and to 0.14
at four.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from hashlib import blake2b
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from poseling.codecs.warp import warp_maps
from poseling.geometry import Crop, Size, person_size
from poseling.licences import merged
from poseling.skeleton import Skeleton
from poseling.teachers.base import Prediction, Teacher
from poseling.teachers.cache import PseudoLabels

# By teacher's name: one number, or one for each joint by the joint's name.
Weights = Mapping[str, float | Mapping[str, float]]
TAU = 0.1  # parts of the person's size


def combine(
    xy: NDArray[np.floating],
    score: NDArray[np.floating],
    weights: NDArray[np.floating],
    size: float | NDArray[np.floating],
    tau: float = TAU,
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """The joints xy (T, ..., K, 2) of T teachers with scores (T, ..., K) and weights (T, K) as one: joints
    (..., K, 2) and confidence (..., K), as above.

    `size` (...) of each person, in the units of xy. A joint with a score of 0 does not count and may be NaN.
    Where no teacher predicts the joint it is NaN and the confidence 0. ValueError for a size or tau that is
    not above 0, and for joints that are not finite but have a weight.

    >>> points, score = np.array([[[0.0, 0.0]], [[4.0, 0.0]]]), np.array([[0.9], [0.3]])
    >>> xy, confidence = combine(points, score, np.ones((2, 1)), size=10.0)
    >>> # d^2 = (0.9 * 1 + 0.3 * 9) / 1.2 = 3, and 0.6 exp(-1.5)
    >>> xy.tolist(), [round(float(c), 4) for c in confidence]
    ([[1.0, 0.0]], [0.1339])
    """
    size = np.asarray(size, np.float64)[..., None]
    if not (size > 0).all() or not tau > 0:
        raise ValueError(
            f"people have a size above 0, and tau is above 0; got sizes from {size.min():g} on and tau "
            f"{tau:g}"
        )
    given = np.broadcast_to(np.expand_dims(weights, tuple(range(1, score.ndim - 1))), score.shape)
    weight = (given * score).astype(np.float64)
    counts = weight > 0
    if not np.isfinite(xy[counts]).all():
        raise ValueError("a joint is not finite, but its score is above 0; give it a score of 0")
    points, total = np.where(counts[..., None], xy, 0.0), weight.sum(0)
    with np.errstate(invalid="ignore"):  # 0 / 0 where no teacher predicts the joint
        middle = (weight[..., None] * points).sum(0) / total[..., None]
        spread = (weight * np.where(counts, ((points - middle) ** 2).sum(-1), 0)).sum(0) / total
        confidence = total / (given * counts).sum(0) * np.exp(-spread / (2 * (tau * size) ** 2))
    return middle.astype(np.float32), np.nan_to_num(confidence).astype(np.float32)


def joint_weights(
    names: Sequence[str], skeleton: Skeleton, weights: Weights | None = None
) -> NDArray[np.float32]:
    """The weights (T, K) of T teachers for the joints of `skeleton`: 1 where `weights` has no number.

    ValueError for names that two teachers share, unknown teachers or joints, and weights that are negative,
    not finite, or all 0.

    >>> arm = Skeleton("arm", ("elbow", "wrist"), (0, 0))
    >>> joint_weights(("big", "small"), arm, {"big": {"wrist": 2.0}, "small": 0.5}).tolist()
    [[1.0, 2.0], [0.5, 0.5]]
    """
    weights = weights or {}
    if len(set(names)) < len(names):
        raise ValueError(
            f"the teachers' names {', '.join(names)} are not all different; weights are given by name"
        )
    if unknown := [name for name in weights if name not in names]:
        raise ValueError(f"there is no teacher {unknown[0]!r} to weigh; there are {', '.join(names)}")
    out = np.ones((len(names), len(skeleton)), np.float32)
    for row, name in zip(out, names, strict=True):
        given = weights.get(name, 1.0)
        for joint, weight in given.items() if isinstance(given, Mapping) else ((None, given),):
            if joint is not None and joint not in skeleton.joints:
                raise ValueError(
                    f"weights of {name}: skeleton {skeleton.name} has no joint {joint!r}; it has "
                    f"{', '.join(skeleton.joints)}"
                )
            if not (np.isfinite(weight) and weight >= 0):
                raise ValueError(
                    f"weights of {name}: {weight} for {joint or 'all joints'} is no weight; give 0 or more"
                )
            row[slice(None) if joint is None else skeleton.index(joint)] = weight
    if not out.any():
        raise ValueError(f"the weights of {', '.join(names)} are all 0; give one of them a weight above 0")
    return out


@dataclass(frozen=True, eq=False)
class EnsembleLabels:
    """The pseudo-labels of T teachers for the same samples, combined in the student's crop (see
    `data.loader.TeacherLabels`).

    `names` are the teachers' names in `weights`. Points only: heatmaps are drawn from them, as wide as the
    student's labels. Train with the confidence as weight, or disagreement has no effect. ValueError where the
    pseudo-labels are of other samples or in another skeleton, and as `joint_weights` and `combine` raise.
    """

    labels: Sequence[PseudoLabels]
    names: Sequence[str]
    weights: Weights | None = None
    tau: float = TAU

    def __post_init__(self) -> None:
        if not self.labels or len(self.labels) != len(self.names):
            raise ValueError(
                f"{len(self.labels)} teachers with {len(self.names)} names; give each one of its own"
            )
        if not self.tau > 0:
            raise ValueError(
                f"tau is {self.tau}; it is how far apart teachers may be, in parts of the person's size, "
                f"above 0"
            )
        first = self.labels[0]
        for name, one in zip(self.names, self.labels, strict=True):
            if one.conversion.target != first.conversion.target:
                wanted, got = first.conversion.target.name, one.conversion.target.name
                raise ValueError(
                    f"the pseudo-labels of {name} are opened in skeleton {got}, those of {self.names[0]} in "
                    f"{wanted}; open all in the student's"
                )
            if not np.array_equal(one.boxes, first.boxes):
                raise ValueError(
                    f"the pseudo-labels of {name} are of other samples than those of {self.names[0]}; open "
                    f"all of them for the same data set"
                )
        if not self.known.any():
            joints = "; ".join(
                f"{name}: {', '.join(one.manifest.skeleton.joints)}"
                for name, one in zip(self.names, self.labels, strict=True)
            )
            raise ValueError(
                f"no joint of the student's skeleton {self.skeleton.name} is predicted by a teacher with a "
                f"weight above 0 ({joints})"
            )

    @property
    def skeleton(self) -> Skeleton:
        """The student's."""
        return self.labels[0].conversion.target

    @cached_property
    def table(self) -> NDArray[np.float32]:
        """(T, K) the weight of each teacher for each joint."""
        return joint_weights(self.names, self.skeleton, self.weights)

    @property
    def known(self) -> NDArray[np.bool_]:
        """(K,) the joints that at least one teacher predicts."""
        known = np.stack([one.conversion.known for one in self.labels])
        return np.asarray((known & (self.table > 0)).any(0))

    @property
    def source(self) -> str:
        """The stores' names, and a digest of how they are combined."""
        how = blake2b(self.table.tobytes() + np.float64(self.tau).tobytes(), digest_size=6).hexdigest()
        return f"{' + '.join(one.source for one in self.labels)}, combined {how}"

    @property
    def licence(self) -> str:
        """The teachers with the licences of their code and weights, in words."""
        return merged(*(one.licence for one in self.labels))

    @property
    def behind(self) -> str:
        """All data that the teachers learned from, in words."""
        return merged(*(one.behind for one in self.labels))

    @property
    def width(self) -> float:
        """1: heatmaps drawn from points are as wide as the student's."""
        return 1.0

    def sample(self, person: int, crop: Crop) -> dict[str, NDArray[Any]]:
        """teacher_xy (K, 2) in the crop's pixels and teacher_weight (K,), the confidence; 0 for a joint that
        no teacher predicts. Left and right are swapped if the crop mirrors.
        """
        predicted = [one.points(person) for one in self.labels]
        size = float(person_size(self.labels[0].boxes[person])) * float(
            np.sqrt(abs(np.linalg.det(crop.matrix[:, :2])))
        )
        xy, confidence = combine(
            np.stack([one.joints_in(crop) for one in predicted]),
            np.stack([one.score for one in predicted]),
            self.table,
            size,
            self.tau,
        )
        order = self.skeleton.flip if crop.flipped else slice(None)
        return {"teacher_xy": np.nan_to_num(xy)[order], "teacher_weight": confidence[order]}


@dataclass(frozen=True, eq=False)
class Ensemble:
    """Several teachers as one (see `teachers.base.Teacher`), with points in `skeleton`: for the teacher's
    line of the report, and as a live teacher.

    Its crop is the widest of theirs, from which each gets its own. ValueError for a teacher whose input is
    not square, since then the part of its crop that is the person's box depends on the person, and for one
    that shares no joint with `skeleton`. Joints that no teacher predicts are at 0, with a confidence of 0.
    """

    teachers: Sequence[Teacher]
    skeleton: Skeleton
    weights: Weights | None = None
    tau: float = TAU
    map_size: None = None
    pixel: None = None
    sigma: None = None
    is_3d: bool = False

    def __post_init__(self) -> None:
        if not self.teachers:
            raise ValueError("an ensemble has at least one teacher; name them")
        for teacher in self.teachers:
            if teacher.size[0] != teacher.size[1]:
                raise ValueError(
                    f"{teacher.name} takes crops of {teacher.size[0]}x{teacher.size[1]}; an ensemble needs "
                    f"teachers with square crops"
                )
            teacher.skeleton.to(self.skeleton)  # ValueError for one that predicts none of the joints
        joint_weights([t.name for t in self.teachers], self.skeleton, self.weights)

    @property
    def name(self) -> str:
        """Of all of them."""
        return " + ".join(t.name for t in self.teachers)

    @property
    def digest(self) -> str:
        """Of all of them, and of how they are combined."""
        table = joint_weights([t.name for t in self.teachers], self.skeleton, self.weights)
        return blake2b(
            " ".join([*(t.digest for t in self.teachers), str(self.tau)]).encode() + table.tobytes(),
            digest_size=16,
        ).hexdigest()

    @property
    def padding(self) -> float:
        """The widest."""
        return max(t.padding for t in self.teachers)

    @property
    def size(self) -> Size:
        """So many pixels that every teacher gets its crop at its own scale."""
        side = max(math.ceil(t.size[0] * self.padding / t.padding) for t in self.teachers)
        return side, side

    @property
    def licences(self) -> dict[str, str]:
        """Of all of them."""
        kinds = dict.fromkeys(kind for t in self.teachers for kind in t.licences)
        return {
            kind: "; ".join(
                dict.fromkeys(f"{t.name} {t.licences.get(kind, 'unknown')}" for t in self.teachers)
            )
            for kind in kinds
        }

    def __call__(self, crops: Tensor) -> Prediction:
        """Crops (B, H, W, 3), uint8 RGB, to the combined points."""
        side = self.size[0]
        xy, score = [], []
        for teacher in self.teachers:
            own = teacher.size[0]
            # Pixels of this crop in one of the teacher's, both about the middle.
            zoom = (side - 1) / self.padding / ((own - 1) / teacher.padding)
            shift = (side - 1) / 2 - zoom * (own - 1) / 2
            matrix = torch.tensor([[zoom, 0, shift], [0, zoom, shift]]).expand(len(crops), 2, 3)
            seen = warp_maps(crops.permute(0, 3, 1, 2).float(), matrix.to(crops.device), teacher.size)
            found = teacher(seen.permute(0, 2, 3, 1).round().clamp(0, 255).to(torch.uint8))
            how = teacher.skeleton.to(self.skeleton)
            xy.append(how.joints(found.xy.float().cpu().numpy() * zoom + shift))
            score.append(how.weights(found.score.float().cpu().numpy()))
        table = joint_weights([t.name for t in self.teachers], self.skeleton, self.weights)
        points, confidence = combine(np.stack(xy), np.stack(score), table, side / self.padding, self.tau)
        return Prediction(torch.from_numpy(np.nan_to_num(points)), torch.from_numpy(confidence))
