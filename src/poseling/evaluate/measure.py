"""How right answers for the people of a data set are, by the measure of that data set: what a recipe and `poseling evaluate` both report."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from rich.table import Table

from poseling.data.people import People
from poseling.evaluate import oks, pck
from poseling.evaluate.cost import cost
from poseling.evaluate.latency import latency
from poseling.evaluate.pckh import pckh, pckh_fpd
from poseling.evaluate.predict import in_skeleton, predict
from poseling.files import read_picture
from poseling.teachers.base import Teacher
from poseling.teachers.network import NetworkTeacher


@dataclass(frozen=True, eq=False)
class Measure:
    """The measure for `people`: OKS AP where they come with their COCO annotation, PCKh@0.5 where head boxes are known, else PCK@0.2 of the torso (of the box, for
    a skeleton without one).

    `joints` (K,) says which are measured: those that everyone who is compared can answer for. `agreement` says that the labels are a teacher's answers.
    `read` reads the pictures.
    """

    people: People
    joints: NDArray[np.bool_]
    agreement: bool = False
    read: Callable[[Path], NDArray[np.uint8]] = read_picture

    @classmethod
    def of(cls, people: People) -> Measure:
        """All joints, against the labels."""
        return cls(people, np.ones(len(people.skeleton), bool))

    def known_to(self, teacher: Teacher) -> Measure:
        """The same over the joints that `teacher` knows as well."""
        return replace(self, joints=self.joints & teacher.skeleton.to(self.people.skeleton).known)

    def adopt(self, teacher: Teacher, flip: bool, least: float = 0.3) -> Measure:
        """Takes the teacher's answers for the truth where there is no other; joints of which it is less sure than `least` stay unlabelled."""
        joints, scores = predict(teacher, self.people, flip, read=self.read)
        how = teacher.skeleton.to(self.people.skeleton)
        sure = how.weights(scores) >= least
        if not sure.any():
            raise ValueError(
                f"{teacher.name} is not sure of one joint in the {len(self.people)} test pictures of {self.people.name}; are there people in them?"
            )
        people = replace(self.people, joints=how.joints(joints) * sure[..., None], visible=np.where(sure, 2, 0).astype(np.uint8))
        people = replace(people, instances=None)
        return replace(self, people=people, agreement=True)

    @property
    def name(self) -> str:
        """In words."""
        some = "" if self.joints.all() else f" of {self.joints.sum()} joints"
        measure = "OKS AP" if self.by_oks else "PCKh@0.5" if self.by_head else "PCK@0.2"
        return ("agreement with the teacher, " if self.agreement else "") + measure + some

    @property
    def by_oks(self) -> bool:
        """Whether average precision is measured."""
        return self.people.instances is not None

    @property
    def by_head(self) -> bool:
        """Whether errors are measured in head sizes."""
        return self.people.head is not None and not self.agreement

    @property
    def visible(self) -> NDArray[np.bool_]:
        """(N, K) which joints count."""
        return (self.people.visible > 0) & self.joints

    @property
    def lengths(self) -> NDArray[np.floating]:
        """(N,) pixels that errors are measured in."""
        people = self.people
        if self.by_head and people.head is not None:
            return people.head
        if {"left_shoulder", "right_hip"} <= set(people.skeleton.joints):
            return pck.torso_length(people.joints, people.visible, people.skeleton)
        return pck.box_length(people.boxes)

    def score(self, joints: NDArray[np.floating], scores: NDArray[np.floating] | None = None) -> pck.Score:
        """Of joints (N, K, 2) in pixels of the pictures. Average precision also needs the joints' scores (N, K) for its order of answers: without them the boxes'
        scores decide alone.
        """
        if self.by_oks:
            precision = oks.measure(self.people, joints, scores, self.joints)
            away = pck.distances(joints, self.people.joints, self.visible, self.lengths)
            if np.isnan(away).all():  # a detector's boxes have no labels
                nothing = np.full(len(self.joints), np.nan)
                return pck.Score(precision["AP"], nothing, np.zeros(len(nothing), np.int64), float("nan"), 0, precision)
            beside = pck.score(away, 0.2, left_out=pck.without_length(self.visible, self.lengths))
            return replace(beside, mean=precision["AP"], precision=precision)
        if self.by_head:
            return pckh(joints, self.people.joints, self.visible, self.lengths, self.people.skeleton)
        return pck.pck(joints, self.people.joints, self.visible, self.lengths, 0.2)

    def errors(self, joints: NDArray[np.floating]) -> NDArray[np.float64]:
        """(N,) the mean error of each person in parts of its box: a torso seen from its end is no length to sort people by."""
        return pck.per_person(pck.distances(joints, self.people.joints, self.visible, pck.box_length(self.people.boxes)))

    def answers(self, teacher: Teacher, flip: bool) -> NDArray[np.float32]:
        """Joints (N, K, 2) of the people as `teacher` sees them, NaN for joints that it does not know."""
        return self.ask(teacher, flip)[0]

    def ask(self, teacher: Teacher, flip: bool) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Those answers and how sure it is of them, (N, K) from 0 to 1, 0 for joints that it does not know: what `score` takes."""
        joints, scores = predict(teacher, self.people, flip, read=self.read)
        skeleton = self.people.skeleton
        return in_skeleton(teacher, skeleton, joints), teacher.skeleton.to(skeleton).weights(scores)


def table(network: Teacher, measure: Measure, joints: NDArray[np.floating], scores: NDArray[np.floating] | None = None) -> Table:
    """The score of a network's joints (N, K, 2) and their scores (N, K) with its rows, for the terminal; on MPII also the two rows in which FPD's code differs from
    the toolkit. Below them what the network costs: parameters and GMAC where it is one of ours, and the time of one crop on this machine, decoding included.
    """
    score, skeleton = measure.score(joints, scores), measure.people.skeleton
    out = Table(title=f"{network.name} on {measure.people.name}, {len(measure.people)} people")
    out.add_column(measure.name)
    out.add_column("", justify="right")
    for row, value in pck.rows(score, skeleton):
        if measure.by_oks and row in pck.ROWS:
            if np.isnan(value):
                continue
            row = f"{row} (PCK@0.2)"
        out.add_row(row, "" if np.isnan(value) else f"{value:.3f}")
    if not measure.by_oks:
        out.add_row("AUC", f"{score.auc:.3f}")
    if measure.by_head and "head_top" in skeleton.joints:
        theirs = pckh_fpd(joints, measure.people.joints, measure.visible, measure.lengths, skeleton)
        for row in ("Head", "Mean@0.1"):
            out.add_row(f"{row} (FPD's code)", f"{theirs[row]:.3f}")
    out.add_section()
    if isinstance(network, NetworkTeacher):
        price = cost(network.network, network.size)
        out.add_row("M parameters", f"{price.params / 1e6:.2f}")
        out.add_row("GMAC", f"{price.gmac:.2f}")
    crop = torch.zeros(1, network.size[1], network.size[0], 3, dtype=torch.uint8)
    speed = latency(lambda: network(crop).to(torch.device("cpu")), warmup=3, repeats=30)
    out.add_row("ms a crop (10 to 90 %)", f"{speed.median_ms:.1f} ({speed.p10_ms:.1f} to {speed.p90_ms:.1f})")
    return out
