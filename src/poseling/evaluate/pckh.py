"""PCKh (Andriluka et al., CVPR 2014): PCK with the size of the head as reference length, MPII's metric.

The head's size is 0.6 times the diagonal of its box; readers give it as `PoseDataset.head_size`. Rates are
fractions of 1.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from poseling.evaluate.pck import Score, distances, rows, score, without_length
from poseling.skeleton import MPII16, Skeleton

LEFT_OUT = ("pelvis", "thorax")  # MPII's toolkit reads the other 14 joints only


def pckh(
    predicted: NDArray[np.floating],
    truth: NDArray[np.floating],
    visible: NDArray[np.generic],
    head: NDArray[np.floating],
    skeleton: Skeleton = MPII16,
    threshold: float = 0.5,
) -> Score:
    """PCKh@threshold as in MPII's toolkit, of joints (N, K, 2), labels (N, K) and head sizes (N,) in
    pixels.

    `mean` pools all labelled joints except pelvis and thorax, `auc` is its area over 0, 0.01, ... threshold,
    scaled to 0..1. `joints` has the rate of every joint, including pelvis and thorax. `pck.rows` gives the
    table, in which Head is the mean of neck and head top, as in the toolkit.
    """
    among = np.array([j not in LEFT_OUT for j in skeleton.joints])
    return score(distances(predicted, truth, visible, head), threshold, among, without_length(visible, head))


def pckh_fpd(
    predicted: NDArray[np.floating],
    truth: NDArray[np.floating],
    visible: NDArray[np.generic],
    head: NDArray[np.floating],
    skeleton: Skeleton = MPII16,
) -> dict[str, float]:
    """The table of FPD's code (that of SimpleBaseline and HRNet): Head ... Ankle, Mean and Mean@0.1, to
    compare with the numbers its authors print.

    It weights the joints' rates by their labels, which gives the toolkit's pooled mean. It differs in two
    rows: Head is the head top alone, and Mean@0.1 reads entry 11 of 0, 0.01, ..., which is the mean at 0.11.
    """
    at_half = pckh(predicted, truth, visible, head, skeleton)
    return {
        **dict(rows(at_half, skeleton)),
        "Head": float(at_half.joints[skeleton.index("head_top")]),
        "Mean@0.1": pckh(predicted, truth, visible, head, skeleton, threshold=0.11).mean,
    }
