"""How right answers for the people of a data set are, by the measure of that data set: what a recipe and
`poseling evaluate` both report.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from rich.table import Table

from poseling.codecs import is_3d
from poseling.data.dataset import PoseDataset
from poseling.evaluate import mpjpe, oks, pck
from poseling.evaluate.cost import cost
from poseling.evaluate.latency import latency
from poseling.evaluate.pckh import pckh, pckh_fpd
from poseling.evaluate.predict import Predicted, in_skeleton, predict
from poseling.evaluate.report import gmac_in_words
from poseling.files import read_image
from poseling.teachers.base import Teacher
from poseling.teachers.network import NetworkTeacher


@dataclass(frozen=True, eq=False)
class Measure:
    """The measure for `people`: OKS AP where they come with their COCO annotation, PCKh@0.5 where head boxes
    are known, else PCK@0.2 of the torso (of the box, for a skeleton without one); or `is_3d` the mean
    distance of joints in millimetres, of which less is better.

    `joints` (K,) says which are measured: those that everyone who is compared can answer for. `agreement`
    says that the labels are a teacher's answers. `read` reads the images.
    """

    dataset: PoseDataset
    joints: NDArray[np.bool_]
    agreement: bool = False
    read: Callable[[Path], NDArray[np.uint8]] = read_image
    is_3d: bool = False

    @classmethod
    def of(cls, dataset: PoseDataset, is_3d: bool = False) -> Measure:
        """All joints, against the labels. ValueError if they are to be measured in space and nobody's place
        there is known.
        """
        if is_3d and not dataset.is_3d:
            raise ValueError(
                f"{dataset.name}: nobody's joints are known in space, so there is no distance to measure; "
                f"synthetic and h36m have them"
            )
        return cls(dataset, np.ones(len(dataset.skeleton), bool), is_3d=is_3d)

    def known_to(self, teacher: Teacher) -> Measure:
        """The same over the joints that `teacher` knows as well. ValueError if they are measured in space, of
        which it says nothing.
        """
        if self.is_3d and not teacher.is_3d:
            raise ValueError(
                f"{teacher.name}: knows no depth, and {self.dataset.name} is to be measured in space; take a "
                f"network that answers in metres"
            )
        return replace(self, joints=self.joints & teacher.skeleton.to(self.dataset.skeleton).known)

    def adopt(self, teacher: Teacher, flip: bool, least: float = 0.3) -> Measure:
        """Takes the teacher's answers for the truth where there is no other; joints of which it is less sure
        than `least` stay unlabelled.
        """
        joints, scores, _ = predict(teacher, self.dataset, flip, read=self.read)
        how = teacher.skeleton.to(self.dataset.skeleton)
        sure = how.weights(scores) >= least
        if not sure.any():
            raise ValueError(
                f"{teacher.name} is not sure of one joint in the {len(self.dataset)} test images of "
                f"{self.dataset.name}; are there people in them?"
            )
        dataset = replace(
            self.dataset,
            joints=how.joints(joints) * sure[..., None],
            visible=np.where(sure, 2, 0).astype(np.uint8),
        )
        dataset = replace(dataset, instances=None)
        return replace(self, dataset=dataset, agreement=True)

    @property
    def name(self) -> str:
        """In words."""
        some = "" if self.joints.all() else f" of {self.joints.sum()} joints"
        measure = (
            "MPJPE in mm"
            if self.is_3d
            else "OKS AP"
            if self.by_oks
            else "PCKh@0.5"
            if self.by_head
            else "PCK@0.2"
        )
        return ("agreement with the teacher, " if self.agreement else "") + measure + some

    @property
    def higher_is_better(self) -> bool:
        """Whether more of it is better."""
        return not self.is_3d

    @property
    def by_oks(self) -> bool:
        """Whether average precision is measured."""
        return self.dataset.instances is not None and not self.is_3d

    @property
    def by_head(self) -> bool:
        """Whether errors are measured in head sizes."""
        return self.dataset.head_size is not None and not self.agreement

    @property
    def visible(self) -> NDArray[np.bool_]:
        """(N, K) which joints count."""
        return (self.dataset.visible > 0) & self.joints

    @property
    def lengths(self) -> NDArray[np.floating]:
        """(N,) pixels that errors are measured in."""
        dataset = self.dataset
        if self.by_head and dataset.head_size is not None:
            return dataset.head_size
        if {"left_shoulder", "right_hip"} <= set(dataset.skeleton.joints):
            return pck.torso_length(dataset.joints, dataset.visible, dataset.skeleton)
        return pck.box_length(dataset.boxes)

    def score(
        self,
        joints: NDArray[np.floating],
        scores: NDArray[np.floating] | None = None,
        xyz: NDArray[np.floating] | None = None,
    ) -> pck.Score:
        """Of joints (N, K, 2) in pixels of the images. Average precision also needs the joints' scores (N, K)
        for its order of answers: without them the boxes' scores decide alone. In space it is of xyz (N, K, 3)
        in metres alone; ValueError without them.
        """
        if self.is_3d:
            if xyz is None or self.dataset.joints_3d is None:
                raise ValueError(
                    f"{self.dataset.name} is measured in space, but the network knows no depth; take one "
                    f"that answers with xyz"
                )
            found = mpjpe.score(
                xyz,
                self.dataset.joints_3d,
                (self.dataset.joints_3d != 0).any(-1) & self.joints,
                self.dataset.skeleton,
            )
            rates = dict(zip(mpjpe.RATES, (found.pck, found.auc), strict=True))
            table = {"MPJPE": found.mpjpe, "PA-MPJPE": found.pa_mpjpe, "N-MPJPE": found.n_mpjpe, **rates}
            return pck.Score(found.mpjpe, found.joints, found.count, found.auc, precision=table)
        if self.by_oks:
            precision = oks.measure(self.dataset, joints, scores, self.joints)
            away = pck.distances(joints, self.dataset.joints, self.visible, self.lengths)
            if np.isnan(away).all():  # a detector's boxes have no labels
                nothing = np.full(len(self.joints), np.nan)
                return pck.Score(
                    precision["AP"], nothing, np.zeros(len(nothing), np.int64), float("nan"), 0, precision
                )
            beside = pck.score(away, 0.2, left_out=pck.without_length(self.visible, self.lengths))
            return replace(beside, mean=precision["AP"], precision=precision)
        if self.by_head:
            return pckh(joints, self.dataset.joints, self.visible, self.lengths, self.dataset.skeleton)
        return pck.pck(joints, self.dataset.joints, self.visible, self.lengths, 0.2)

    def errors(self, joints: NDArray[np.floating]) -> NDArray[np.float64]:
        """(N,) the mean error of each person in parts of its box: a torso seen from its end is no length to
        sort people by.
        """
        return pck.per_person(
            pck.distances(joints, self.dataset.joints, self.visible, pck.box_length(self.dataset.boxes))
        )

    def answers(self, teacher: Teacher, flip: bool) -> NDArray[np.float32]:
        """Joints (N, K, 2) of the people as `teacher` sees them, NaN for joints that it does not know."""
        return self.ask(teacher, flip).joints

    def ask(self, teacher: Teacher, flip: bool) -> Predicted:
        """Those answers, how sure it is of them, 0 for joints that it does not know, and where they are in
        space: what `score` takes.

        A network that answers for people of one stature knows nobody's own: in space it is given the true
        one, as the papers do.
        """
        found = in_skeleton(
            teacher, self.dataset.skeleton, predict(teacher, self.dataset, flip, read=self.read)
        )
        if (
            found.xyz is None
            or self.dataset.joints_3d is None
            or not isinstance(teacher, NetworkTeacher)
            or not is_3d(teacher.codec)
        ):
            return found
        truth = torch.from_numpy(self.dataset.joints_3d)
        known = (truth != 0).any(-1).float()
        xyz = teacher.codec.true_size(torch.from_numpy(found.xyz), truth, known, self.dataset.skeleton)
        return found._replace(xyz=xyz.numpy().astype(np.float32))


def table(
    network: Teacher,
    measure: Measure,
    joints: NDArray[np.floating],
    scores: NDArray[np.floating] | None = None,
    xyz: NDArray[np.floating] | None = None,
) -> Table:
    """The score of a network's joints (N, K, 2), their scores (N, K) and xyz (N, K, 3) with its rows, for the
    terminal; on MPII also the two rows in which FPD's code differs from the toolkit. Below them what the
    network costs: parameters and GMAC where it is one of ours, and the time of one crop on this machine,
    decoding included.
    """
    score, skeleton = measure.score(joints, scores, xyz), measure.dataset.skeleton
    out = Table(title=f"{network.name} on {measure.dataset.name}, {len(measure.dataset)} people")
    out.add_column(measure.name)
    out.add_column("", justify="right")
    for row, value in pck.rows(score, skeleton):
        if measure.by_oks and row in pck.ROWS:
            if np.isnan(value):
                continue
            row = f"{row} (PCK@0.2)"
        in_mm = measure.is_3d and row not in mpjpe.RATES
        out.add_row(row, "" if np.isnan(value) else f"{value:.1f}" if in_mm else f"{value:.3f}")
    if not measure.by_oks and not measure.is_3d:
        out.add_row("AUC", f"{score.auc:.3f}")
    if measure.by_head and "head_top" in skeleton.joints:
        theirs = pckh_fpd(joints, measure.dataset.joints, measure.visible, measure.lengths, skeleton)
        for row in ("Head", "Mean@0.1"):
            out.add_row(f"{row} (FPD's code)", f"{theirs[row]:.3f}")
    out.add_section()
    if isinstance(network, NetworkTeacher):
        price = cost(network.network, network.size)
        out.add_row("M parameters", f"{price.params / 1e6:.2f}")
        out.add_row("GMAC", gmac_in_words(price.gmac))
    crop = torch.zeros(1, network.size[1], network.size[0], 3, dtype=torch.uint8)
    speed = latency(lambda: network(crop).to(torch.device("cpu")), warmup=3, repeats=30)
    out.add_row("ms a crop (10 to 90 %)", f"{speed.median_ms:.1f} ({speed.p10_ms:.1f} to {speed.p90_ms:.1f})")
    return out


def by_action(measure: Measure, found: Predicted, actions: Sequence[str]) -> Table:
    """MPJPE and PA-MPJPE of each of the `actions` (N,) that the people do, and their means over actions, as
    Human3.6M's tables have them. ValueError without xyz.
    """
    dataset = measure.dataset
    if found.xyz is None or dataset.joints_3d is None:
        raise ValueError(
            f"{dataset.name}: actions are told apart in space, but there is no xyz; take a network that "
            f"answers in metres"
        )
    predicted, truth = (mpjpe.root_relative(xyz, dataset.skeleton) for xyz in (found.xyz, dataset.joints_3d))
    known = (dataset.joints_3d != 0).any(-1) & measure.joints
    parts = {
        "MPJPE": mpjpe.per_action(mpjpe.distances(predicted, truth, known), np.array(actions)),
        "PA-MPJPE": mpjpe.per_action(mpjpe.pa_distances(predicted, truth, known), np.array(actions)),
    }
    out = Table(title=f"{dataset.name} by action, mm")
    out.add_column("action")
    for name in parts:
        out.add_column(name, justify="right")
    for action in dict.fromkeys(actions):
        out.add_row(action, *(f"{means[action]:.1f}" for means, _ in parts.values()))
    out.add_section()
    out.add_row("Mean over actions", *(f"{mean:.1f}" for _, mean in parts.values()))
    return out
