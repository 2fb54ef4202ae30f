"""What a student is trained for: a list of terms, each a loss against the labels or against the teacher."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from poseling.codecs.heatmap import Heatmap
from poseling.codecs.picture import normalise
from poseling.codecs.warp import warp_maps
from poseling.data.augment import relight
from poseling.distill.response import LOSSES, Loss
from poseling.spec import PoseSpec
from poseling.teachers.base import Teacher

Batch = dict[str, Tensor]
Target = tuple[Tensor, Tensor]  # maps (B, K, h, w) with a peak of 1, weight (B, K)


@dataclass(frozen=True)
class Term:
    """`weight` times `loss` against one of the two who know."""

    name: str
    loss: Loss
    weight: float
    against: Literal["labels", "teacher"]


def supervised(loss: str) -> tuple[Term, ...]:
    """The labels alone."""
    return (Term("labels", LOSSES[loss], 1.0, "labels"),)


def fpd(loss: str, alpha: float, teacher_loss: str | None = None) -> tuple[Term, ...]:
    """(1 - alpha) times the labels and alpha times the teacher (FPD, equation 3), whose term may have a loss of its own.

    ValueError for an alpha outside 0..1, and for losses that read a network's outputs differently: mse as Gaussians, kl and coordinate as logits.
    """
    if not 0 <= alpha <= 1:
        raise ValueError(f"alpha is {alpha}, but it is the teacher's share: between 0 (labels only) and 1 (teacher only)")
    other = teacher_loss or loss
    if (loss == "mse") != (other == "mse"):
        raise ValueError(
            f"the labels' loss {loss} and the teacher's {other} read the network's outputs differently; take mse for both, or kl with kl or coordinate"
        )
    parts = (Term("labels", LOSSES[loss], 1 - alpha, "labels"), Term("teacher", LOSSES[other], alpha, "teacher"))
    return tuple(term for term in parts if term.weight > 0)


@dataclass(frozen=True)
class Objective:
    """The loss of one batch for a student with this contract and codec.

    The teacher's answers come with the batch (stored), or from `teacher`, asked about the very crops that the student sees (live).
    `confidence` weighs each joint by the teacher's own score; `width` is the sigma of the stored heatmaps over the codec's.
    """

    spec: PoseSpec
    codec: Heatmap
    terms: tuple[Term, ...]
    confidence: bool = False
    teacher: Teacher | None = None
    width: float = 1.0

    def __call__(self, network: nn.Module, batch: Batch) -> dict[str, Tensor]:
        """The weighted sum as `loss`, and each term unweighted under its name. Batch as `data.loader.Crops` gives it, on the network's device."""
        crops = batch["image"]
        if (batch["light"] != 1).any():
            crops = (relight(crops.permute(0, 3, 1, 2) / 255, batch["light"]) * 255).permute(0, 2, 3, 1)
        outputs = network(normalise(crops, self.spec))
        targets = {against: self._target(against, batch, crops) for against in {term.against for term in self.terms}}
        parts = {term.name: term.loss(outputs, *targets[term.against]) for term in self.terms}
        return {"loss": torch.stack([term.weight * parts[term.name] for term in self.terms]).sum(), **parts}

    @torch.no_grad()
    def _target(self, against: str, batch: Batch, crops: Tensor) -> Target:
        if against == "labels":
            return self.codec.encode(batch["joints"], batch["weight"])
        maps, weight = self._live(crops) if self.teacher is not None else self._stored(batch)
        return maps, weight * (1 - batch["broken"])[:, None]  # of a picture that cannot be read there is nothing to say

    def _stored(self, batch: Batch) -> Target:
        weight = batch["answer_weight"] if self.confidence else (batch["answer_weight"] > 0).float()
        if "answer_maps" not in batch:
            return self.codec.encode(batch["answer_xy"], weight)
        return warp_maps(batch["answer_maps"], batch["answer_matrix"], self.codec.map_size, self.width), weight

    def _live(self, crops: Tensor) -> Target:
        assert self.teacher is not None
        teacher, size = self.teacher, self.spec.size
        if teacher.size != size:
            crops = F.interpolate(crops.permute(0, 3, 1, 2).float(), teacher.size[::-1], mode="bilinear", align_corners=True).permute(0, 2, 3, 1)
        answer = teacher(crops.round().clamp(0, 255).to(torch.uint8)).to(crops.device)
        how = teacher.skeleton.to(self.spec.skeleton)
        known = torch.from_numpy(how.known).to(answer.score)
        if answer.maps is not None and teacher.pixel is not None:
            single = torch.from_numpy(how.single)
            weight = (answer.score[:, single] if self.confidence else torch.ones_like(answer.score[:, single])) * (single >= 0).to(answer.score)
            x, y = self._to_teacher(teacher)
            width = (teacher.sigma or self.codec.sigma) / self.codec.sigma
            if abs(x - 1) < 1e-6 and abs(y - 1) < 1e-6 and width == 1:
                return answer.maps[:, single], weight  # as they are, their negative pixels too, as the authors do
            between = answer.maps.new_tensor([[x, 0, 0], [0, y, 0]]).expand(len(crops), 2, 3)
            return warp_maps(answer.maps[:, single], between, self.codec.map_size, width), weight
        scale = answer.xy.new_tensor([(s - 1) / (t - 1) for s, t in zip(size, teacher.size, strict=True)])
        matrix = torch.from_numpy(how.matrix).to(answer.xy)
        score = torch.from_numpy(how.weights(answer.score.cpu().numpy())).to(known) if self.confidence else known.expand(len(crops), -1)
        return self.codec.encode((matrix @ answer.xy) * scale, score)

    def _to_teacher(self, teacher: Teacher) -> tuple[float, float]:
        """Pixels of a live teacher's heatmap in one of the student's, along x and y, both of the same crop."""
        assert teacher.pixel is not None
        x, y = (
            ours * (t - 1) / (s - 1) / theirs
            for ours, theirs, t, s in zip(self.codec.pixel, teacher.pixel, teacher.size, self.spec.size, strict=True)
        )
        return x, y
