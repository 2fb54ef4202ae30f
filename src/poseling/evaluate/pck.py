"""PCK, the percentage of correct keypoints (Yang and Ramanan, PAMI 2013): a joint is correct if its error is
at most `alpha` times a reference length of its person.

The length is the torso's (LSP, after Sapp and Taskar, CVPR 2013) or the box's longest side. All rates here
are fractions of 1.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from poseling.skeleton import Skeleton

# The rows of the published tables. Pelvis and thorax are in none of them; for a skeleton without a neck the
# head is the face.
ROWS = {
    "Head": ("head_top", "neck", "nose", "left_eye", "right_eye", "left_ear", "right_ear"),
    "Shoulder": ("left_shoulder", "right_shoulder"),
    "Elbow": ("left_elbow", "right_elbow"),
    "Wrist": ("left_wrist", "right_wrist"),
    "Hip": ("left_hip", "right_hip"),
    "Knee": ("left_knee", "right_knee"),
    "Ankle": ("left_ankle", "right_ankle"),
}


@dataclass(frozen=True, eq=False)
class Score:
    """The rate of correct joints.

    `mean` over all labelled joints of all people, pooled, as in the LSP and MPII toolkits; joints (K,) the
    rate of each joint, NaN without a label; count (K,) the number of labels; `auc` the area under `mean` over
    the threshold, from 0 to its end, scaled to 0..1 (trapezoids, steps of about 0.01); `left_out` people with
    labels but without a reference length. If the metric is OKS AP, `mean` is the average precision,
    `precision` has all its rows (evaluate/oks.py), and the rest is still PCK@0.2, NaN for boxes without
    labels.
    """

    mean: float
    joints: NDArray[np.float64]
    count: NDArray[np.int64]
    auc: float
    left_out: int = 0
    precision: Mapping[str, float] = field(default_factory=dict)

    @property
    def joint_mean(self) -> float:
        """The mean of the joints' rates; the same as `mean` if every joint has a label, as in LSP."""
        return float(np.nanmean(self.joints))


def pck(
    predicted: NDArray[np.floating],
    truth: NDArray[np.floating],
    visible: NDArray[np.generic],
    length: NDArray[np.floating],
    alpha: float = 0.2,
) -> Score:
    """PCK@alpha of joints predicted (N, K, 2) against truth (N, K, 2), both in pixels, with length (N,) in
    pixels.

    visible (N, K) are the labelled joints: bool, or a PoseDataset's flags, whose occluded joints count too,
    as in LSP. A joint at exactly alpha is correct, one predicted as NaN is wrong. ValueError if shapes differ
    or no joint can be evaluated.

    >>> truth = np.array([[[0.0, 0.0], [0.0, 10.0]]])
    >>> pck(truth + [2.0, 0.0], truth, np.ones((1, 2), bool), np.array([10.0])).mean
    1.0
    >>> pck(truth + [2.1, 0.0], truth, np.ones((1, 2), bool), np.array([10.0])).mean
    0.0
    """
    return score(
        distances(predicted, truth, visible, length), alpha, left_out=without_length(visible, length)
    )


def distances(
    predicted: NDArray[np.floating],
    truth: NDArray[np.floating],
    visible: NDArray[np.generic],
    length: NDArray[np.floating],
) -> NDArray[np.float64]:
    """(N, K) from prediction to truth in lengths of the person; infinite where the prediction is NaN, NaN
    where the joint does not count.
    """
    if (
        truth.ndim != 3
        or truth.shape[-1] != 2
        or predicted.shape != truth.shape
        or visible.shape != truth.shape[:2]
        or length.shape != truth.shape[:1]
    ):
        raise ValueError(
            f"predicted {predicted.shape}, truth {truth.shape}, visible {visible.shape} and length "
            f"{length.shape} do not belong together; "
            "expected (N, K, 2), (N, K, 2), (N, K) and (N,)"
        )
    pixels = np.linalg.norm(predicted.astype(np.float64) - truth.astype(np.float64), axis=-1)
    unit = np.where(_usable(length), length, np.nan).astype(np.float64)[:, None]
    found = np.where(np.isnan(pixels), np.inf, pixels)
    return np.where(_labelled(visible), found / unit, np.nan)


def per_person(distances: NDArray[np.float64]) -> NDArray[np.float64]:
    """(N, K) distances to (N,), the mean over each person's labelled joints, NaN without any. Worst, median
    and best cases are sorted by it.
    """
    count = (~np.isnan(distances)).sum(1)
    return np.where(count > 0, np.nansum(distances, 1) / np.maximum(count, 1), np.nan)


def score(
    distances: NDArray[np.float64], alpha: float, among: NDArray[np.bool_] | None = None, left_out: int = 0
) -> Score:
    """The Score of distances (N, K) at the threshold `alpha`; `mean` and `auc` over the joints `among` (K,),
    all by default.
    """
    if not alpha > 0:
        raise ValueError(f"alpha is {alpha:g}; it is a part of the length, above 0")
    counts = ~np.isnan(distances)
    pool = distances[:, slice(None) if among is None else among]
    pool = pool[~np.isnan(pool)]
    if not len(pool):
        raise ValueError(
            f"none of {len(distances)} people has both a labelled joint and a reference length, so there is "
            f"nothing to evaluate"
        )
    count = counts.sum(0)
    correct = (counts & (distances <= alpha)).sum(0)
    rates = np.divide(correct, count, out=np.full(len(count), np.nan), where=count > 0)
    thresholds = np.linspace(0, alpha, max(2, round(alpha * 100) + 1))
    curve = np.searchsorted(np.sort(pool), thresholds, side="right") / len(pool)
    return Score(float(curve[-1]), rates, count, float((curve[1:] + curve[:-1]).mean() / 2), left_out)


def without_length(visible: NDArray[np.generic], length: NDArray[np.floating]) -> int:
    """How many people have a labelled joint but no usable reference length, and so are left out."""
    return int((_labelled(visible).any(1) & ~_usable(length)).sum())


def torso_length(
    joints: NDArray[np.floating], visible: NDArray[np.generic], skeleton: Skeleton
) -> NDArray[np.float64]:
    """(N,) pixels from the left shoulder to the right hip of joints (N, K, 2), as in the LSP toolkit; NaN if
    either has no label.

    The other diagonal is no substitute: in a side view it has another length. KeyError if the skeleton lacks
    one of the two.
    """
    shoulder, hip = skeleton.index("left_shoulder"), skeleton.index("right_hip")
    length = np.linalg.norm(joints[:, shoulder].astype(np.float64) - joints[:, hip], axis=-1)
    return np.where(_labelled(visible)[:, [shoulder, hip]].all(1), length, np.nan)


def box_length(boxes: NDArray[np.floating]) -> NDArray[np.float64]:
    """(N,) the longest side in pixels of boxes (N, 4) x0, y0, x1, y1."""
    return (boxes[:, 2:].astype(np.float64) - boxes[:, :2]).max(1)


def rows(score: Score, skeleton: Skeleton) -> list[tuple[str, float]]:
    """The rows of a published table: Head, Shoulder, Elbow, Wrist, Hip, Knee, Ankle as the mean of their
    joints' rates, and Mean; NaN without a label. If the metric is OKS AP its rows replace Mean.

    >>> from poseling.skeleton import LSP14
    >>> rates = np.arange(14) / 10
    >>> [(name, round(rate, 2)) for name, rate in rows(Score(0.5, rates, np.ones(14, int), 0.3), LSP14)[:2]]
    [('Head', 1.25), ('Shoulder', 0.85)]
    """
    lines = []
    for name, members in ROWS.items():
        if there := [skeleton.index(j) for j in members if j in skeleton.joints]:
            known = score.joints[there][~np.isnan(score.joints[there])]
            lines.append((name, float(known.mean()) if len(known) else float("nan")))
    return [*lines, *(score.precision.items() or [("Mean", score.mean)])]


def _labelled(visible: NDArray[np.generic]) -> NDArray[np.bool_]:
    return np.asarray(visible).astype(np.int64) > 0


def _usable(length: NDArray[np.floating]) -> NDArray[np.bool_]:
    return np.isfinite(length) & (length > 0)
