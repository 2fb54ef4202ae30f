"""What a student is trained for: the weighted sum of terms, each a loss against the labels, against the
teacher or of the student alone.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal

import torch
from torch import Tensor, nn

from poseling.codecs import Codec, is_3d
from poseling.codecs.losses import Loss
from poseling.codecs.normalize import normalise
from poseling.data.augment import color_jitter
from poseling.distill.hooks import Adapter
from poseling.distill.relation import joint_embeddings
from poseling.distill.targets import Batch, Target, Targets, ask
from poseling.spec import PoseSpec
from poseling.teachers.base import Teacher
from poseling.teachers.network import NetworkTeacher


@dataclass(frozen=True)
class Term:
    """`weight` times `loss`, and times `schedule` of the part of the run that is done, where one is given.

    What `loss` is called with depends on `at` and `against`:

    - outputs, against labels or teacher: outputs (B, S, K, ...), targets (B, K, ...), weight (B, K)
    - outputs, against the student itself: outputs, weight (B, K)
    - logits, against the teacher: the student's outputs (B, S, K, ...), the teacher's as they are (B, K,
      ...), weight (B,)
    - joints, against the teacher: the features under each joint's heatmap, (B, K, C) and (B, K, C'), weight
      (B, K)
    - a submodule, against the teacher: the student's feature, adapted, the teacher's, weight (B,)
    - a submodule, against the student itself: the feature, weight (B,)

    With `labelled` a teacher's outputs count only for joints that have a label in the crop, as in FPD's code;
    of samples without any label they count for all joints. `adapter` builds what lies between the two
    features from one of each. Any `at` but outputs needs a live teacher that is one of our networks.
    """

    name: str
    loss: Callable[..., Tensor]
    weight: float
    against: Literal["labels", "teacher", "itself"]
    at: str = "outputs"
    adapter: Adapter | None = None
    schedule: Callable[[float], float] | None = None
    labelled: bool = False

    @property
    def place(self) -> str | None:
        """The submodule to watch, None where the outputs are enough."""
        return {"outputs": None, "joints": "features", "logits": ""}.get(self.at, self.at)

    def factor(self, done: float) -> float:
        """Its weight when the part `done` of the run, 0..1, is over.

        >>> term = Term("fading", torch.dot, 2.0, "labels", schedule=lambda done: 1 - done)
        >>> term.factor(0.25)
        1.5
        """
        return self.weight * (1.0 if self.schedule is None else self.schedule(done))


def watch(terms: Sequence[Term]) -> dict[str, str]:
    """The submodule to watch for each term that compares features, by the term's name."""
    return {term.name: term.place for term in terms if term.place is not None}


def looks_inside(terms: Sequence[Term]) -> bool:
    """Whether a term compares more than the teacher's predictions, which can be stored: then the teacher has
    to run in every step.
    """
    return any(term.place is not None and term.against == "teacher" for term in terms)


def supervised(codec: Codec, loss: str = "mse") -> tuple[Term, ...]:
    """The labels alone."""
    return fpd(codec, loss, 0.0)


def fpd(
    codec: Codec, loss: str, alpha: float, teacher_loss: str | None = None, labelled: bool = False
) -> tuple[Term, ...]:
    """(1 - alpha) times the labels and alpha times the teacher (FPD, equation 3), by the losses of the
    student's codec; the teacher's term for joints with a label alone if `labelled`, as in FPD's code.

    ValueError for an alpha outside 0..1, and as the codec's `losses` has it.

    >>> from poseling.codecs import Heatmap
    >>> [(term.name, term.loss.__name__, term.weight) for term in fpd(Heatmap((64, 64)), "kl", 0.25)]
    [('labels', 'kl', 0.75), ('teacher', 'kl', 0.25)]
    """
    terms = mixed(*codec.losses(loss, teacher_loss), alpha)
    return tuple(replace(term, labelled=labelled and term.against == "teacher") for term in terms)


def spatial_terms(
    codec: Codec, loss: str, alpha: float, locations: float = 1.0, bones: float = 1.0
) -> tuple[Term, ...]:
    """The same for a 3D network, in the parts of its codec, which can be weighed.

    Location maps have heatmaps, by `loss`, locations times `locations`, and bones, which the papers call
    auxiliary, `bones` times as much as those. Locations should not outweigh heatmaps: a joint that is found
    at the wrong pixel is read at another joint's location. A teacher without 3D joints teaches heatmaps
    alone. ValueError for an alpha outside 0..1.
    """
    if not is_3d(codec):
        return fpd(codec, loss, alpha)
    return tuple(
        replace(term, name=term.name + name, weight=term.weight * factor)
        for name, (part, factor) in codec.parts(loss, locations, bones).items()
        if factor > 0
        for term in mixed(part, part, alpha)
    )


def mixed(labels: Loss, teacher: Loss, alpha: float) -> tuple[Term, ...]:
    """(1 - alpha) times one loss against labels and alpha times another against the teacher's predictions;
    ValueError for an alpha outside 0..1.
    """
    if not 0 <= alpha <= 1:
        raise ValueError(
            f"alpha is {alpha}, but it is the teacher's share: between 0 (labels only) and 1 (teacher only)"
        )
    parts = (Term("labels", labels, 1 - alpha, "labels"), Term("teacher", teacher, alpha, "teacher"))
    return tuple(term for term in parts if term.weight > 0)


@dataclass(frozen=True)
class Objective:
    """The loss of one batch for a student with this contract and codec.

    The teacher's predictions come with the batch (stored), or from `teacher`, run on the very crops that the
    student sees (live). A 3D student learns xyz of samples that have them, and heatmaps of all. `confidence`
    weighs each joint by the teacher's own score; `width` is the sigma of the stored heatmaps over the
    codec's.
    """

    spec: PoseSpec
    codec: Codec
    terms: tuple[Term, ...]
    confidence: bool = False
    teacher: Teacher | None = None
    width: float = 1.0

    def __post_init__(self) -> None:
        inside = [t for t in self.terms if t.place is not None and t.against == "teacher"]
        if inside and not isinstance(self.teacher, NetworkTeacher):
            named = ", ".join(f"{term.name} (at {term.at})" for term in inside)
            what = "pseudo-labels" if self.teacher is None else self.teacher.name
            raise ValueError(
                f"{named}: compares features of both networks, but {what} cannot be looked into; take a "
                f"teacher that is a checkpoint"
            )
        at_joints = [term.name for term in self.terms if term.at == "joints"]
        if at_joints and (not self.codec.has_maps or self.codec.is_3d):
            raise ValueError(
                f"{', '.join(at_joints)}: reads features under the joints' heatmaps, and {self.spec.model} gives "
                f"{self.codec.name}; take a student with heatmaps"
            )
        if any(term.at == "logits" for term in self.terms) and isinstance(self.teacher, NetworkTeacher):
            theirs = self.teacher.spec
            if (theirs.codec, theirs.skeleton.joints) != (self.spec.codec, self.spec.skeleton.joints):
                raise ValueError(
                    f"logits can be compared where both networks have the same joints, input size and codec; "
                    f"the teacher {self.teacher.name} has {theirs.skeleton.name}, {theirs.codec}, the "
                    f"student {self.spec.skeleton.name}, {self.spec.codec}"
                )

    def __call__(self, network: nn.Module, batch: Batch, done: float = 0.0) -> dict[str, Tensor]:
        """The weighted sum as `loss`, and each term unweighted under its name. Batch as `data.loader.Crops`
        gives it, on the network's device; `done` is the part of the run that is over, 0..1.
        """
        crops = jittered(batch)
        result = network(normalise(crops, self.spec))
        outputs, features = result if isinstance(result, tuple) else (result, {})
        prediction, theirs = (None, {}) if self.teacher is None else ask(self.teacher, crops, self._places)
        readable = 1 - batch["broken"].to(torch.float32)
        targets: dict[str, Target] = {}
        if "labels" in self._compared:
            targets["labels"] = self.targets.labels(batch)
        if "teacher" in self._compared:
            targets["teacher"] = self.targets.teaching(batch, prediction)
        parts = {}
        for term in self.terms:
            compared: tuple[Tensor, ...]
            if term.at == "outputs" and term.against == "itself":
                compared = (outputs, targets["labels"][1])
            elif term.at == "outputs":
                target, weight = targets[term.against]
                compared = (
                    outputs,
                    target,
                    weight * _has_label(targets["labels"][1]) if term.labelled else weight,
                )
            elif term.at == "joints":
                maps, weight = targets["teacher"]
                pair = (features[term.name], theirs["features"])
                compared = (*(joint_embeddings(feature, maps) for feature in pair), weight)
            elif term.at == "logits":
                compared = (features[term.name], theirs[""][:, -1], readable)
            elif term.against == "itself":
                compared = (features[term.name], readable)
            else:
                compared = (features[term.name], theirs[str(term.place)], readable)
            parts[term.name] = term.loss(*compared)
        weighted = [term.factor(done) * parts[term.name] for term in self.terms]
        return {"loss": torch.stack(weighted).sum(), **parts}

    @cached_property
    def targets(self) -> Targets:
        """What makes targets of a batch and a teacher's predictions."""
        return Targets(self.spec, self.codec, self.teacher, self.confidence, self.width)

    @cached_property
    def _places(self) -> tuple[str, ...]:
        """The teacher's submodules that terms compare with."""
        inside = {str(t.place) for t in self.terms if t.place is not None and t.against == "teacher"}
        return tuple(sorted(inside))

    @cached_property
    def _compared(self) -> set[str]:
        """Which targets the terms need: `labels`, `teacher`. Terms of the student's own outputs are weighted
        by the labels.
        """
        found = set()
        for term in self.terms:
            if term.at == "outputs":
                found.add("teacher" if term.against == "teacher" else "labels")
            if term.at == "joints":
                found.add("teacher")
            if term.labelled:
                found.add("labels")
        return found


def jittered(batch: Batch) -> Tensor:
    """A batch's crops (B, H, W, 3) of 0..255, with its `color_jitter` applied."""
    crops, factors = batch["image"], batch["color_jitter"]
    if not factors.is_cuda and (factors == 1).all():  # on a GPU the test would wait for it
        return crops
    return color_jitter(crops.permute(0, 3, 1, 2), factors).permute(0, 2, 3, 1)


def _has_label(weight: Tensor) -> Tensor:
    """Labels' weights (B, K, ...) as 1 where there is a label; all 1 for samples (in 3D, parts of them)
    without any.
    """
    known = (weight > 0).to(weight)
    return torch.where(known.amax(1, keepdim=True) > 0, known, torch.ones_like(known))
