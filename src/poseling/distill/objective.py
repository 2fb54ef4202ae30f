"""What a student is trained for: a list of terms, each a loss against the labels or against the teacher."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from poseling.codecs import Codec, Coordinates, Heatmap, LocationMap, SimCC, SimCC3D, SpatialCodec, is_3d
from poseling.codecs.location_map import knee_to_neck
from poseling.codecs.normalize import normalise
from poseling.codecs.warp import warp_maps
from poseling.data.augment import relight
from poseling.distill.hooks import Adapter, watched
from poseling.distill.relation import joint_embeddings
from poseling.distill.response import (
    LOSSES,
    Loss,
    named,
    simcc_kl,
    simcc_logits,
    simcc_space,
    simulated_heatmap,
    smooth_l1,
)
from poseling.distill.space import PLACES, bones_of, location_maps, on_heatmaps
from poseling.spec import PoseSpec
from poseling.teachers.base import Prediction, Teacher
from poseling.teachers.network import NetworkTeacher

Batch = dict[str, Tensor]
Target = tuple[
    Tensor, Tensor
]  # what the codec encodes to (B, K, ...), weight (B, K), or (B, K, ...) of a codec for space


@dataclass(frozen=True)
class Term:
    """`weight` times `loss`, and times `schedule` of the part of the run that is done, where one is given.

    What `loss` compares depends on `at` and `against`, the one who knows better:

    | at | against labels or teacher | against the student itself |
    |---|---|---|
    | outputs | outputs (B, S, K, ...), targets (B, K, ...), weight (B, K) | outputs, weight (B, K) |
    | logits | the student's outputs (B, S, K, ...) and the teacher's as they are, (B, K, ...), weight (B,) | |
    | joints | the features under each joint's heatmap, (B, K, C) and (B, K, C'), weight (B, K): against the teacher alone | |
    | another submodule | the student's feature, adapted, the teacher's, weight (B,) | the feature, weight (B,) |

    With `labelled` a teacher's outputs count only for joints that have a label in the crop, as in FPD's code;
    of people without any label they count for all joints. `adapter` builds what lies between the two features
    from one of each. Any `at` but outputs needs a live teacher that is one of our networks.
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
        """The submodule to watch, None where the outputs say enough."""
        return {"outputs": None, "joints": "features", "logits": ""}.get(self.at, self.at)


def watch(terms: Sequence[Term]) -> dict[str, str]:
    """The submodule to watch for each term that looks inside, by the term's name."""
    return {term.name: term.place for term in terms if term.place is not None}


def looks_inside(terms: Sequence[Term]) -> bool:
    """Whether a term compares more than the teacher's answers, which can be stored: then the teacher has to
    be there in every step.
    """
    return any(term.place is not None and term.against == "teacher" for term in terms)


def losses_of(codec: Codec, loss: str = "mse", teacher_loss: str | None = None) -> tuple[Loss, Loss]:
    """What a network with this codec learns labels by, and what a teacher's answers: the one place that
    knows.

    `loss` and `teacher_loss`, or twice `loss`, for heatmaps; KL over bins for SimCC (RTMPose) and for
    SimCC-3D; for coordinates smooth L1 and the simulated heatmap (DistilPose); for location maps VNect's, on
    heatmaps, places and bones.

    ValueError for a `teacher_loss` where there is no choice, and for losses that read heatmaps differently:
    mse as Gaussians, kl and coordinate as logits.
    """
    if teacher_loss is not None and not isinstance(codec, Heatmap):
        raise ValueError(
            f"--teacher-loss {teacher_loss} compares heatmaps, and the student's outputs are "
            f"{codec.fields()['name']}, which have a loss of their own; "
            "leave it out, or take a student with heatmaps such as hourglass-1x64"
        )
    if isinstance(codec, SimCC):
        both = named(partial(simcc_kl, columns=codec.bins[0], beta=codec.beta), "simcc_kl")
        return both, both
    if isinstance(codec, SimCC3D):
        both = named(partial(simcc_space, axes=codec.bins), "simcc_space")
        return both, both
    if isinstance(codec, LocationMap):
        return location_maps(loss), location_maps(loss)
    if isinstance(codec, Coordinates):
        return smooth_l1, simulated_heatmap
    other = teacher_loss or loss
    if (loss == "mse") != (other == "mse"):
        raise ValueError(
            f"the labels' loss {loss} and the teacher's {other} read the network's outputs differently; take "
            f"mse for both, or kl with kl or coordinate"
        )
    return LOSSES[loss], LOSSES[other]


def simcc_logits_of(codec: SimCC) -> Callable[..., Tensor]:
    """DWPose's loss on the logits of two SimCC networks with this codec, at the beta at which both learn
    their labels.
    """
    return named(partial(simcc_logits, columns=codec.bins[0], beta=codec.beta), "simcc_logits")


def supervised(codec: Codec, loss: str = "mse") -> tuple[Term, ...]:
    """The labels alone."""
    return fpd(codec, loss, 0.0)


def fpd(
    codec: Codec, loss: str, alpha: float, teacher_loss: str | None = None, labelled: bool = False
) -> tuple[Term, ...]:
    """(1 - alpha) times the labels and alpha times the teacher (FPD, equation 3), by the losses of the
    student's codec; the teacher's term for joints with a label alone if `labelled`, as in FPD's code.

    ValueError for an alpha outside 0..1, and as `losses_of` says.
    """
    terms = mixed(*losses_of(codec, loss, teacher_loss), alpha)
    return tuple(replace(term, labelled=labelled and term.against == "teacher") for term in terms)


def spatial_terms(
    codec: Codec, loss: str, alpha: float, locations: float = 1.0, bones: float = 1.0
) -> tuple[Term, ...]:
    """The same for a network that answers in space, in parts that can be weighed.

    Heatmaps by `loss`, mse as in the papers or kl; places times `locations`, and the bones, which the papers
    call auxiliary, `bones` times as much as those. Places should not outweigh heatmaps: who finds a joint at
    the wrong pixel reads somebody else's place. Of SimCC-3D the bins of all five axes, which have no bones.
    Who has no place in space teaches heatmaps alone. ValueError for an alpha outside 0..1.
    """
    if not isinstance(codec, LocationMap):
        return fpd(codec, loss, alpha)
    heatmap, place = PLACES[loss]
    parts = {
        "": (on_heatmaps(heatmap), 1.0),
        "_places": (place, locations),
        "_bones": (bones_of(place), locations * bones),
    }
    terms = [(name, factor, mixed(part, part, alpha)) for name, (part, factor) in parts.items() if factor > 0]
    return tuple(
        replace(term, name=term.name + name, weight=term.weight * factor)
        for name, factor, pair in terms
        for term in pair
    )


def mixed(labels: Loss, teacher: Loss, alpha: float) -> tuple[Term, ...]:
    """(1 - alpha) times one loss on the labels and alpha times another on the teacher's answers; ValueError
    for an alpha outside 0..1.
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

    The teacher's answers come with the batch (stored), or from `teacher`, asked about the very crops that the
    student sees (live). A student that answers in space learns places where the batch has them, `xyz` and
    `xyz_weight`, and heatmaps of everyone. `confidence` weighs each joint by the teacher's own score; `width`
    is the sigma of the stored heatmaps over the codec's.
    """

    spec: PoseSpec
    codec: Codec
    terms: tuple[Term, ...]
    confidence: bool = False
    teacher: Teacher | None = None
    width: float = 1.0

    def __post_init__(self) -> None:
        if looks_inside(self.terms) and not isinstance(self.teacher, NetworkTeacher):
            inside = ", ".join(
                f"{term.name} (at {term.at})"
                for term in self.terms
                if term.place is not None and term.against == "teacher"
            )
            who = "stored answers" if self.teacher is None else self.teacher.name
            raise ValueError(
                f"{inside}: compares what is inside the networks, but {who} cannot be looked into; take a "
                f"teacher that is a checkpoint"
            )
        if any(term.at == "logits" for term in self.terms) and isinstance(self.teacher, NetworkTeacher):
            theirs = self.teacher.spec
            if (theirs.codec, theirs.skeleton.joints) != (self.spec.codec, self.spec.skeleton.joints):
                raise ValueError(
                    f"logits can be compared where both networks have the same joints, input size and codec; "
                    f"the teacher {self.teacher.name} has "
                    f"{theirs.skeleton.name}, {theirs.codec}, the student {self.spec.skeleton.name}, "
                    f"{self.spec.codec}"
                )

    def __call__(self, network: nn.Module, batch: Batch, done: float = 0.0) -> dict[str, Tensor]:
        """The weighted sum as `loss`, and each term unweighted under its name. Batch as `data.loader.Crops`
        gives it, on the network's device; `done` is the part of the run that is behind, 0..1.
        """
        crops = batch["image"]
        if (
            batch["color_jitter"].is_cuda or (batch["color_jitter"] != 1).any()
        ):  # asking a GPU would wait for it
            crops = (relight(crops.permute(0, 3, 1, 2) / 255, batch["color_jitter"]) * 255).permute(
                0, 2, 3, 1
            )
        result = network(normalise(crops, self.spec))
        outputs, mine = result if isinstance(result, tuple) else (result, {})
        answer, theirs = self._ask(crops)
        whole = 1 - batch["broken"].to(torch.float32)
        targets = {who: self._target(who, batch, answer, whole) for who in self._consulted}
        parts = {}
        for term in self.terms:
            if term.at == "outputs":
                compared: tuple[Tensor, ...] = (
                    (outputs, targets["labels"][1])
                    if term.against == "itself"
                    else (outputs, *targets[term.against])
                )
                if term.labelled:
                    compared = (*compared[:2], compared[2] * _has_label(targets["labels"][1]))
            elif term.at == "joints":
                maps, weight = targets["teacher"]
                compared = (
                    joint_embeddings(mine[term.name], maps),
                    joint_embeddings(theirs["features"], maps),
                    weight,
                )
            elif term.at == "logits":
                compared = (mine[term.name], theirs[""][:, -1], whole)
            elif term.against == "itself":
                compared = (mine[term.name], whole)
            else:
                compared = (mine[term.name], theirs[str(term.place)], whole)
            parts[term.name] = term.loss(*compared)
        weights = [
            term.weight * (1.0 if term.schedule is None else term.schedule(done)) for term in self.terms
        ]
        return {
            "loss": torch.stack(
                [weight * part for weight, part in zip(weights, parts.values(), strict=True)]
            ).sum(),
            **parts,
        }

    @property
    def _consulted(self) -> set[Literal["labels", "teacher"]]:
        """Whose word on the joints is needed. What a network says of its own outputs is weighed by the
        labels.
        """
        found: set[Literal["labels", "teacher"]] = set()
        for term in self.terms:
            if term.at == "outputs":
                found.add("teacher" if term.against == "teacher" else "labels")
                if term.labelled:
                    found.add("labels")
            elif term.at == "joints":
                found.add("teacher")
        return found

    @torch.no_grad()
    def _ask(self, crops: Tensor) -> tuple[Prediction | None, dict[str, Tensor]]:
        """What a live teacher answers for crops (B, H, W, 3), and what is seen inside of it."""
        teacher = self.teacher
        if teacher is None:
            return None, {}
        if teacher.size != self.spec.size:
            crops = F.interpolate(
                crops.permute(0, 3, 1, 2).float(), teacher.size[::-1], mode="bilinear", align_corners=True
            ).permute(0, 2, 3, 1)
        crops = crops.round().clamp(0, 255).to(torch.uint8)
        places = sorted(
            {str(term.place) for term in self.terms if term.place is not None and term.against == "teacher"}
        )
        if not places or not isinstance(teacher, NetworkTeacher):
            return teacher(crops).to(crops.device), {}
        with watched(teacher.network, places) as seen:
            answer = teacher(crops).to(crops.device)
        # Out of inference mode, whose tensors autograd would not take.
        return answer, {place: feature.to(crops.device).float().clone() for place, feature in seen.items()}

    @torch.no_grad()
    def _target(
        self, who: Literal["labels", "teacher"], batch: Batch, answer: Prediction | None, whole: Tensor
    ) -> Target:
        if who == "labels":
            return self._labels(batch)
        if is_3d(self.codec):
            targets, weight = self._in_space(self.codec, batch, answer)
            if isinstance(self.codec, LocationMap):
                targets = self.codec.under(targets, weight, *self._labels(batch))
        else:
            targets, weight = self._stored(batch) if answer is None else self._live(answer)
        return targets, weight * whole.view(
            -1, *[1] * (weight.ndim - 1)
        )  # of an image that cannot be read there is nothing to say

    def _labels(self, batch: Batch) -> Target:
        joints, weight = batch["joints"], batch["weight"]
        if not is_3d(self.codec) or "xyz" not in batch:
            return self.codec.encode(joints, weight)
        return self.codec.encode_space(
            joints, weight, *self._sized(batch["xyz"], batch["xyz_weight"]), self.spec.skeleton.parents
        )

    def _in_space(self, codec: SpatialCodec, batch: Batch, answer: Prediction | None) -> Target:
        """A teacher's word on where joints are, in the image and, where it has one, in space."""
        parents = self.spec.skeleton.parents
        if answer is None:
            maps, weight = (
                self._stored(batch)
                if "teacher_maps" in batch
                else (None, self._sure(batch["teacher_weight"]))
            )
            xy, xyz, sure = (
                batch["teacher_xy"],
                batch.get("teacher_xyz"),
                self._sure(batch.get("teacher_xyz_weight", batch["teacher_weight"])),
            )
        else:
            assert self.teacher is not None
            if answer.space is not None and isinstance(codec, LocationMap) and self._alike(self.teacher):
                score = answer.score if self.confidence else torch.ones_like(answer.score)
                return codec.of_network(answer.space, score)  # its maps as they are, as in the papers
            how = self.teacher.skeleton.to(self.spec.skeleton)
            matrix = torch.from_numpy(how.matrix).to(answer.xy)
            scale = answer.xy.new_tensor(
                [(s - 1) / (t - 1) for s, t in zip(self.spec.size, self.teacher.size, strict=True)]
            )
            xy, xyz = (matrix @ answer.xy) * scale, None if answer.xyz is None else matrix @ answer.xyz
            weight = sure = self._sure(
                torch.from_numpy(how.weights(answer.score.cpu().numpy())).to(answer.xy)
            )
            maps = (
                self._live(answer)[0] if answer.maps is not None and self.teacher.pixel is not None else None
            )
        nowhere = xyz is None
        xyz = xy.new_zeros(*xy.shape[:2], 3) if xyz is None else xyz
        targets, weights = codec.encode_space(
            xy, weight, *self._sized(xyz, torch.zeros_like(sure) if nowhere else sure), parents
        )
        if maps is not None and isinstance(codec, LocationMap):
            targets = torch.cat(
                [maps[:, :, :1], targets[:, :, 1:7], maps[:, :, 7:]], 2
            )  # its own hills, not Gaussians drawn at its points
        return targets, weights

    def _sure(self, weight: Tensor) -> Tensor:
        return weight if self.confidence else (weight > 0).float()

    def _sized(self, xyz: Tensor, weight: Tensor) -> Target:
        """Metres (B, K, 3) and their weights as the codec wants them: of people as they are, or of one
        stature.
        """
        height = self.codec.height if isinstance(self.codec, LocationMap) else None
        if height is None:
            return xyz, weight
        factor = height / knee_to_neck(xyz, weight, self.spec.skeleton)
        known = factor.isfinite()
        return xyz * torch.where(known, factor, 0.0)[:, None, None], weight * known[:, None]

    def _alike(self, teacher: Teacher) -> bool:
        """Whether a live teacher's outputs are laid out as the student's."""
        if not isinstance(teacher, NetworkTeacher):
            return False
        theirs, mine = (
            {k: v for k, v in spec.codec.items() if k not in ("softmax", "decoding")}
            for spec in (teacher.spec, self.spec)
        )
        return teacher.spec.skeleton.joints == self.spec.skeleton.joints and theirs == mine

    def _stored(self, batch: Batch) -> Target:
        weight = self._sure(batch["teacher_weight"])
        if "teacher_maps" not in batch:
            return self._points(batch["teacher_xy"], weight)
        step, zero = batch["teacher_scale"][..., None, None].unbind(2)
        maps = (batch["teacher_maps"].float() - zero) * step  # as packing.restored has it
        return self.codec.from_maps(
            warp_maps(maps, batch["teacher_matrix"], self.codec.heatmap.map_size, self.width)
        ), weight

    def _live(self, answer: Prediction) -> Target:
        assert self.teacher is not None
        teacher, size = self.teacher, self.spec.size
        how = teacher.skeleton.to(self.spec.skeleton)
        known = torch.from_numpy(how.known).to(answer.score)
        if answer.maps is not None and teacher.pixel is not None:
            single = torch.from_numpy(how.single)
            weight = (
                answer.score[:, single] if self.confidence else torch.ones_like(answer.score[:, single])
            ) * (single >= 0).to(answer.score)
            x, y = self._to_teacher(teacher)
            heatmap = self.codec.heatmap
            width = (teacher.sigma or heatmap.sigma) / heatmap.sigma
            if abs(x - 1) < 1e-6 and abs(y - 1) < 1e-6 and width == 1:
                return self.codec.from_maps(
                    answer.maps[:, single]
                ), weight  # as they are, their negative pixels too, as the authors do
            between = answer.maps.new_tensor([[x, 0, 0], [0, y, 0]]).expand(len(answer.maps), 2, 3)
            return self.codec.from_maps(
                warp_maps(answer.maps[:, single], between, heatmap.map_size, width)
            ), weight
        scale = answer.xy.new_tensor([(s - 1) / (t - 1) for s, t in zip(size, teacher.size, strict=True)])
        matrix = torch.from_numpy(how.matrix).to(answer.xy)
        score = (
            torch.from_numpy(how.weights(answer.score.cpu().numpy())).to(known)
            if self.confidence
            else known.expand(len(answer.xy), -1)
        )
        return self._points((matrix @ answer.xy) * scale, score)

    def _points(self, xy: Tensor, weight: Tensor) -> Target:
        """A teacher's points (B, K, 2) as targets; drawn as the maps that it did not give, for a student
        whose own targets are points.
        """
        if self.codec.kind != "points":
            return self.codec.encode(xy, weight)
        maps, weight = self.codec.heatmap.encode(xy, weight)
        return self.codec.from_maps(maps), weight

    def _to_teacher(self, teacher: Teacher) -> tuple[float, float]:
        """Pixels of a live teacher's heatmap in one of the student's, along x and y, both of the same crop."""
        assert teacher.pixel is not None
        x, y = (
            ours * (t - 1) / (s - 1) / theirs
            for ours, theirs, t, s in zip(
                self.codec.heatmap.pixel, teacher.pixel, teacher.size, self.spec.size, strict=True
            )
        )
        return x, y


def _has_label(weight: Tensor) -> Tensor:
    """Labels' weights (B, K, ...) as 1 where there is a label; all 1 for people (or, in space, parts of them)
    without any.
    """
    known = (weight > 0).to(weight)
    return torch.where(known.amax(1, keepdim=True) > 0, known, torch.ones_like(known))
