"""How accurate predictions for a data set are, by the metric of that data set: what recipes and `poseling
evaluate` report.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from rich.table import Table

from poseling.codecs import CODECS, Codec, codec, is_3d
from poseling.data.dataset import PoseDataset
from poseling.evaluate import mpjpe, oks, pck
from poseling.evaluate.cost import cost
from poseling.evaluate.latency import latency
from poseling.evaluate.pckh import pckh, pckh_fpd
from poseling.evaluate.predict import in_skeleton, predict
from poseling.evaluate.report import gmac_in_words
from poseling.evaluate.shipped import Shipped
from poseling.files import read_image
from poseling.geometry import ray_rotation
from poseling.pose import Pose
from poseling.teachers.base import Teacher
from poseling.teachers.network import NetworkTeacher

LEFT_OUT = "people left out"  # who have labels, but nothing to measure an error by


@dataclass(frozen=True, eq=False)
class Evaluator:
    """Scores predictions for `dataset`: by OKS AP if it comes with its COCO annotation, by PCKh@0.5 if head
    boxes are known, else by PCK@0.2 of the torso (of the box, for a skeleton without one); with `is_3d` by
    the mean distance of joints in millimetres (MPJPE), of which less is better.

    `joints` (K,) are the joints that count: those that all compared networks predict. `agreement` says that
    the labels are a teacher's predictions. `read` reads the images.
    """

    dataset: PoseDataset
    joints: NDArray[np.bool_]
    agreement: bool = False
    read: Callable[[Path], NDArray[np.uint8]] = read_image
    is_3d: bool = False

    @classmethod
    def of(cls, dataset: PoseDataset, is_3d: bool = False) -> Evaluator:
        """Over all joints, against the labels. ValueError for `is_3d` and a data set without 3D joints."""
        if is_3d and not dataset.is_3d:
            raise ValueError(
                f"{dataset.name}: has no 3D joints, so there is no distance to measure; synthetic and h36m "
                f"have them"
            )
        return cls(dataset, np.ones(len(dataset.skeleton), bool), is_3d=is_3d)

    def known_to(self, network: Teacher) -> Evaluator:
        """The same over the joints that `network` predicts as well. ValueError for a 3D evaluation of a
        network that predicts 2D joints only.
        """
        if self.is_3d and not network.is_3d:
            raise ValueError(
                f"{network.name}: predicts 2D joints only, and {self.dataset.name} is evaluated in 3D; take "
                f"a 3D network, such as movnect-medium"
            )
        return replace(self, joints=self.joints & network.skeleton.to(self.dataset.skeleton).known)

    def with_labels_of(self, teacher: Teacher, flip: bool, least: float = 0.3) -> Evaluator:
        """The same with the teacher's predictions as labels, for a data set without any; joints with a score
        below `least` stay unlabelled.
        """
        found = predict(teacher, self.dataset, flip, read=self.read)
        how = teacher.skeleton.to(self.dataset.skeleton)
        sure = how.weights(found.score) >= least
        if not sure.any():
            raise ValueError(
                f"{teacher.name} predicts no joint in the {len(self.dataset)} test images of "
                f"{self.dataset.name} with a score of {least:g} or more; are there people in them?"
            )
        dataset = replace(
            self.dataset,
            joints=how.joints(found.xy) * sure[..., None],
            visible=np.where(sure, 2, 0).astype(np.uint8),
        )
        dataset = replace(dataset, instances=None)
        return replace(self, dataset=dataset, agreement=True)

    @property
    def name(self) -> str:
        """The metric, in words."""
        some = "" if self.joints.all() else f" of {self.joints.sum()} joints"
        metric = (
            "MPJPE in mm"
            if self.is_3d
            else "OKS AP"
            if self.by_oks
            else "PCKh@0.5"
            if self.by_head
            else "PCK@0.2"
        )
        return ("agreement with the teacher, " if self.agreement else "") + metric + some

    @property
    def higher_is_better(self) -> bool:
        """Whether a higher score is better."""
        return not self.is_3d

    @property
    def by_oks(self) -> bool:
        """Whether the metric is average precision."""
        return self.dataset.instances is not None and not self.is_3d

    @property
    def by_head(self) -> bool:
        """Whether errors are in head sizes."""
        return self.dataset.head_size is not None and not self.agreement

    @property
    def visible(self) -> NDArray[np.bool_]:
        """(N, K) which joints count."""
        return (self.dataset.visible > 0) & self.joints

    @property
    def lengths(self) -> NDArray[np.floating]:
        """(N,) the length in pixels by which each sample's errors are divided."""
        dataset = self.dataset
        if self.by_head and dataset.head_size is not None:
            return dataset.head_size
        if {"left_shoulder", "right_hip"} <= set(dataset.skeleton.joints):
            return pck.torso_length(dataset.joints, dataset.visible, dataset.skeleton)
        return pck.box_length(dataset.boxes)

    def score(self, pose: Pose) -> pck.Score:
        """The score of predictions for all samples, in the data set's skeleton, NaN for joints that are not
        predicted: of `xy` in pixels of the images, in 3D of `xyz`. Average precision orders predictions by
        the scores of the boxes and of the joints. ValueError in 3D for a pose without `xyz`.
        """
        if self.is_3d:
            if pose.xyz is None or self.dataset.joints_3d is None:
                raise ValueError(
                    f"{self.dataset.name} is evaluated in 3D, but the network predicts 2D joints only; take "
                    f"a 3D network, such as movnect-medium"
                )
            truth = self.dataset.joints_3d
            found = mpjpe.score(pose.xyz, truth, (truth != 0).any(-1) & self.joints, self.dataset.skeleton)
            rates = dict(zip(mpjpe.RATES, (found.pck, found.auc), strict=True))
            table = {"MPJPE": found.mpjpe, "PA-MPJPE": found.pa_mpjpe, "N-MPJPE": found.n_mpjpe, **rates}
            return pck.Score(found.mpjpe, found.joints, found.count, found.auc, found.left_out, table)
        if self.by_oks:
            precision = oks.measure(self.dataset, pose.xy, pose.score, self.joints)
            away = pck.distances(pose.xy, self.dataset.joints, self.visible, self.lengths)
            if np.isnan(away).all():  # a detector's boxes have no labels
                nothing = np.full(len(self.joints), np.nan)
                return pck.Score(
                    precision["AP"], nothing, np.zeros(len(nothing), np.int64), float("nan"), 0, precision
                )
            beside = pck.score(away, 0.2, left_out=pck.without_length(self.visible, self.lengths))
            return replace(beside, mean=precision["AP"], precision=precision)
        if self.by_head:
            return pckh(pose.xy, self.dataset.joints, self.visible, self.lengths, self.dataset.skeleton)
        return pck.pck(pose.xy, self.dataset.joints, self.visible, self.lengths, 0.2)

    def errors(self, pose: Pose) -> NDArray[np.float64]:
        """(N,) the mean error of each sample in the image, in lengths of its box: a torso seen from its end
        is too short a length to sort samples by.
        """
        lengths = pck.box_length(self.dataset.boxes)
        return pck.per_person(pck.distances(pose.xy, self.dataset.joints, self.visible, lengths))

    def predict(self, network: Teacher, flip: bool) -> Pose:
        """The network's predictions for all samples, in the data set's skeleton; NaN, with a score of 0, for
        joints that it does not predict.

        A network trained on people scaled to one height does not predict their size: in 3D its predictions
        are scaled to the true height, as in the papers. Where the camera is known, they are turned from the
        axes of one that looks at the middle of the person's box into its own.
        """
        found = in_skeleton(predict(network, self.dataset, flip, read=self.read), self.dataset.skeleton)
        if found.xyz is not None and self.dataset.camera is not None:
            found = replace(found, xyz=self._faced(found.xyz, self.dataset.camera))
        how = _codec_of(network)
        if found.xyz is None or self.dataset.joints_3d is None or how is None or not is_3d(how):
            return found
        truth = torch.from_numpy(self.dataset.joints_3d)
        known = (truth != 0).any(-1).float()
        xyz = how.true_size(torch.from_numpy(found.xyz), truth, known, self.dataset.skeleton)
        return replace(found, xyz=xyz.numpy())

    def _faced(self, xyz: NDArray[np.floating], camera: NDArray[np.floating]) -> NDArray[np.floating]:
        known = np.isfinite(camera).all(-1)
        middle = self.dataset.boxes.reshape(-1, 2, 2).mean(1)
        turned = np.array(xyz)
        turned[known] = np.einsum("nij,nkj->nki", ray_rotation(middle[known], camera[known]), xyz[known])
        return turned


def figures(evaluator: Evaluator, pose: Pose) -> dict[str, float]:
    """The score of predictions by its rows, NaN without a label; on MPII also the two rows in which FPD's code
    differs from the toolkit; and how many people have labels but no reference length, or in 3D no root, if any.
    """
    score, skeleton = evaluator.score(pose), evaluator.dataset.skeleton
    found = {}
    for row, value in pck.rows(score, skeleton):
        if not (evaluator.by_oks and row in pck.ROWS):
            found[row] = value
        elif not np.isnan(value):
            found[f"{row} (PCK@0.2)"] = value
    if not evaluator.by_oks and not evaluator.is_3d:
        found["AUC"] = score.auc
    if evaluator.by_head and "head_top" in skeleton.joints:
        theirs = pckh_fpd(pose.xy, evaluator.dataset.joints, evaluator.visible, evaluator.lengths, skeleton)
        found |= {f"{row} (FPD's code)": theirs[row] for row in ("Head", "Mean@0.1")}
    if score.left_out:
        found[LEFT_OUT] = float(score.left_out)
    return found


def table(network: Teacher, evaluator: Evaluator, found: Mapping[str, float]) -> Table:
    """The `figures` of a network for the terminal. Below them the network's cost: parameters and GMAC if it is
    one of ours, and the time of one crop on this machine, decoding included.
    """
    out = Table(title=f"{network.name} on {evaluator.dataset.name}, {len(evaluator.dataset)} people")
    out.add_column(evaluator.name)
    out.add_column("", justify="right")
    for row, value in found.items():
        in_mm = evaluator.is_3d and row not in mpjpe.RATES
        places = 0 if row == LEFT_OUT else 1 if in_mm else 3
        out.add_row(row, "" if np.isnan(value) else f"{value:.{places}f}")
    out.add_section()
    if isinstance(network, NetworkTeacher):
        price = cost(network.network, network.size)
        out.add_row("M parameters", f"{price.params / 1e6:.2f}")
        out.add_row("GMAC", gmac_in_words(price.gmac))
    crop = torch.zeros(1, network.size[1], network.size[0], 3, dtype=torch.uint8)
    speed = latency(lambda: network(crop).to(torch.device("cpu")), warmup=3, repeats=30)
    out.add_row("ms a crop (10 to 90 %)", f"{speed.median_ms:.1f} ({speed.p10_ms:.1f} to {speed.p90_ms:.1f})")
    return out


def by_action(evaluator: Evaluator, pose: Pose, actions: Sequence[str]) -> Table:
    """MPJPE and PA-MPJPE of each of the samples' `actions` (N,), and their means over actions, as in
    Human3.6M's tables. ValueError without 3D joints.
    """
    dataset = evaluator.dataset
    if pose.xyz is None or dataset.joints_3d is None:
        raise ValueError(
            f"{dataset.name}: errors by action need 3D joints, but these are 2D only; take a 3D network and "
            f"a data set with 3D joints"
        )
    predicted, truth = (mpjpe.root_relative(xyz, dataset.skeleton) for xyz in (pose.xyz, dataset.joints_3d))
    known = (dataset.joints_3d != 0).any(-1) & evaluator.joints
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


def _codec_of(network: Teacher) -> Codec | None:
    """The codec by which a network of ours was trained, whether it is a checkpoint or an exported file."""
    if isinstance(network, NetworkTeacher):
        return network.codec
    if not isinstance(network, Shipped) or network.network.spec.codec.get("name") not in CODECS:
        return None
    return codec(network.network.spec.codec)
