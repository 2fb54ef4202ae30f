"""3D errors in millimetres: MPJPE and its variants, 3D PCK, and a calibration that removes the effect of
different joint definitions.

Points are metres, (N, K, 3), and `known` (N, K) are the joints of the truth that count. Means pool all known
joints of all people. All is computed in float64.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from poseling.evaluate.pck import per_person
from poseling.geometry import fixes_rotation, procrustes
from poseling.skeleton import Skeleton

MM = 1000.0
PCK_MM = 150.0
RATES = ("3DPCK@150", "3D AUC")  # the two rows of a report that are not millimetres


@dataclass(frozen=True, eq=False)
class Score3D:
    """The distance of joints from the truth, both from the root, in mm, and the share of them within 150 mm.

    `mpjpe`, `pa_mpjpe`, `n_mpjpe` over all known joints, including the root, as in Human3.6M's tables; `pck`
    and `auc` in 0..1, over all but the pelvis, as in MPI-INF-3DHP's code. joints (K,) the mean error of each
    in mm, NaN where it is unknown for all people; count (K,) the people in it; `left_out` people with known
    joints but without a known root.
    """

    mpjpe: float
    pa_mpjpe: float
    n_mpjpe: float
    pck: float
    auc: float
    joints: NDArray[np.float64]
    count: NDArray[np.int64]
    left_out: int = 0


def score(
    predicted: NDArray[np.floating], truth: NDArray[np.floating], known: NDArray[np.bool_], skeleton: Skeleton
) -> Score3D:
    """The Score3D of joints predicted (N, K, 3) against truth (N, K, 3), both in metres of any origin; both
    are measured from their own root.

    ValueError if the skeleton has no root, if shapes differ, or if nothing can be measured.
    """
    rooted = np.asarray(known[:, list(skeleton.root)].all(1))
    counted = known & rooted[:, None]
    points = root_relative(predicted, skeleton), root_relative(truth, skeleton)
    # The root's own error is 0 by definition, and so always "correct".
    others = counted & np.array([joint != "pelvis" for joint in skeleton.joints])
    mm = distances(*points, counted)
    count = counted.sum(0)
    joints = np.divide(np.nansum(mm, 0), count, out=np.full(len(count), np.nan), where=count > 0)
    left_out = int((known.any(1) & ~rooted).sum())
    return Score3D(
        _mean(mm),
        pa_mpjpe(*points, counted),
        n_mpjpe(*points, counted),
        pck3d(*points, others),
        auc(*points, others),
        joints,
        count,
        left_out,
    )


def root_relative(xyz: NDArray[np.floating], skeleton: Skeleton) -> NDArray[np.float64]:
    """(..., K, 3) minus the pelvis, or minus the middle of the hips where the skeleton has no pelvis;
    ValueError if it has neither.

    >>> from poseling.skeleton import COCO17
    >>> people = np.zeros((1, 17, 3)); people[0, 11], people[0, 12] = (1, 2, 3), (3, 2, 3)
    >>> root_relative(people, COCO17)[0, 11].tolist()
    [-1.0, 0.0, 0.0]
    """
    points = xyz.astype(np.float64)
    return np.asarray(points - points[..., list(skeleton.root), :].mean(-2, keepdims=True))


def distances(
    predicted: NDArray[np.floating], truth: NDArray[np.floating], known: NDArray[np.bool_]
) -> NDArray[np.float64]:
    """(N, K) mm from prediction to truth; infinite where the prediction is NaN, NaN where the joint is
    unknown. ValueError if shapes do not fit.

    >>> predicted, truth = np.array([[[0.03, 0.04, 0.0]]]), np.zeros((1, 1, 3))
    >>> distances(predicted, truth, np.ones((1, 1), bool)).round(9).tolist()
    [[50.0]]
    """
    if (
        truth.ndim != 3
        or truth.shape[-1] != 3
        or predicted.shape != truth.shape
        or known.shape != truth.shape[:2]
    ):
        raise ValueError(
            f"predicted {predicted.shape}, truth {truth.shape} and known {known.shape} do not belong "
            f"together; expected (N, K, 3), (N, K, 3) and (N, K)"
        )
    if not np.isfinite(truth[known]).all():
        raise ValueError("the truth of a known joint is not finite; mark such joints as unknown")
    mm = MM * np.linalg.norm(predicted.astype(np.float64) - truth.astype(np.float64), axis=-1)
    return np.where(known, np.where(np.isnan(mm), np.inf, mm), np.nan)


def mpjpe(predicted: NDArray[np.floating], truth: NDArray[np.floating], known: NDArray[np.bool_]) -> float:
    """Mean per-joint position error in mm, protocol 1 where both are `root_relative` (Ionescu et al., PAMI
    2014). Infinite if a known joint is not predicted.
    """
    return _mean(distances(predicted, truth, known))


def pa_mpjpe(predicted: NDArray[np.floating], truth: NDArray[np.floating], known: NDArray[np.bool_]) -> float:
    """MPJPE in mm after the best similarity of each person, protocol 2. `pa_distances` lists the people that
    are left out.
    """
    return _mean(pa_distances(predicted, truth, known))


def pa_distances(
    predicted: NDArray[np.floating], truth: NDArray[np.floating], known: NDArray[np.bool_]
) -> NDArray[np.float64]:
    """(N, K) mm after `procrustes`; NaN where unknown, and for a person with fewer than three known joints or
    with all of them on a line.

    Infinite where the prediction is NaN, and for a whole person if too few joints are predicted to align
    them.
    """
    return distances(
        procrustes(predicted, truth, known).aligned, truth, known & fixes_rotation(truth, known)[:, None]
    )


def n_mpjpe(predicted: NDArray[np.floating], truth: NDArray[np.floating], known: NDArray[np.bool_]) -> float:
    """MPJPE in mm after the best scale of each person, of points that are `root_relative` (Rhodin et al.,
    CVPR 2018).
    """
    return _mean(distances(rescaled(predicted, truth, known), truth, known))


def rescaled(
    predicted: NDArray[np.floating], truth: NDArray[np.floating], known: NDArray[np.bool_]
) -> NDArray[np.float64]:
    """(N, K, 3) each person times the scale with the least squared error over its known joints, <predicted,
    truth> / <predicted, predicted>.

    It minimises the squared error, so the mean distance that N-MPJPE reports can increase slightly. Never
    below 0, which would be a reflection.
    """
    points = predicted.astype(np.float64)
    chosen = (known & np.isfinite(points).all(-1))[..., None]
    there = np.where(chosen, points, 0)
    both, own = (there * np.where(chosen, truth, 0)).sum((1, 2)), (there**2).sum((1, 2))
    scale = np.divide(both, own, out=np.zeros_like(own), where=own > 0)
    return points * np.maximum(scale, 0)[:, None, None]


def mpjve(
    predicted: NDArray[np.floating],
    truth: NDArray[np.floating],
    known: NDArray[np.bool_],
    sequences: NDArray[np.generic] | None = None,
) -> float:
    """Mean per-joint velocity error in mm a frame: the MPJPE of the first differences in time of points (T,
    K, 3) (Pavllo et al., CVPR 2019).

    sequences (T,) is the id of each frame's sequence; frames of different sequences may be interleaved, each
    in order; None for a single one. A difference counts where the joint is known in both frames.
    """
    ids = np.zeros(len(truth)) if sequences is None else sequences
    if ids.shape != truth.shape[:1]:
        raise ValueError(
            f"sequences has shape {ids.shape}; expected one id for each of the {len(truth)} frames"
        )
    order = np.argsort(ids, kind="stable")
    ids, known = ids[order], known[order]
    moved, steps = (np.diff(points[order].astype(np.float64), axis=0) for points in (predicted, truth))
    return mpjpe(moved, steps, known[1:] & known[:-1] & (ids[1:] == ids[:-1])[:, None])


def pck3d(
    predicted: NDArray[np.floating],
    truth: NDArray[np.floating],
    known: NDArray[np.bool_],
    threshold: float = PCK_MM,
) -> float:
    """The share of joints nearer than `threshold` mm (Mehta et al., 3DV 2017); a joint at exactly the
    threshold is wrong, as in MPI-INF-3DHP's own code.
    """
    return float(_curve(distances(predicted, truth, known), np.array([threshold]))[0])


def auc(predicted: NDArray[np.floating], truth: NDArray[np.floating], known: NDArray[np.bool_]) -> float:
    """The mean of `pck3d` over the 31 thresholds 0, 5, ... 150 mm, as in MPI-INF-3DHP's own code. No joint is
    nearer than 0, so the maximum is 30/31.
    """
    return float(_curve(distances(predicted, truth, known), np.linspace(0, PCK_MM, 31)).mean())


def per_action(mm: NDArray[np.float64], actions: NDArray[np.str_]) -> tuple[dict[str, float], float]:
    """The mean of distances mm (N, K) over the samples of each of the actions (N,), and the mean over the
    actions: a row of a Human3.6M table.

    Frames of an action weigh the same; actions weigh the same however many frames they have. ValueError names
    an action without a known joint.
    """
    if actions.shape != mm.shape[:1]:
        raise ValueError(
            f"actions has shape {actions.shape}; expected one name for each of the {len(mm)} people"
        )
    people, means = per_person(mm), {}
    for action in np.unique(actions):
        values = people[(actions == action) & ~np.isnan(people)]
        if not len(values):
            raise ValueError(f"no joint is known in the action {action}; leave its samples out")
        means[str(action)] = float(values.mean())
    return means, float(np.mean(list(means.values())))


def body_frame(
    xyz: NDArray[np.floating], skeleton: Skeleton
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The axes of bodies (N, K, 3) as the columns of (N, 3, 3), and their torsos' lengths (N,), from the
    middle of the hips to that of the shoulders.

    x from the right hip to the left, y up along the torso, at right angles to x, z to the front. NaN where
    the hips and shoulders do not fix them. ValueError if the skeleton lacks one of the four.
    """
    names = [f"{side}_{joint}" for joint in ("hip", "shoulder") for side in ("left", "right")]
    if missing := [name for name in names if name not in skeleton.joints]:
        raise ValueError(
            f"skeleton {skeleton.name} has no {', '.join(missing)}, so its bodies have no axes; convert to "
            f"one that has hips and shoulders"
        )
    left_hip, right_hip, left_shoulder, right_shoulder = xyz.astype(np.float64)[
        :, [skeleton.index(name) for name in names]
    ].swapaxes(0, 1)
    torso = (left_shoulder + right_shoulder - left_hip - right_hip) / 2
    x = _unit(left_hip - right_hip)
    y = _unit(torso - (torso * x).sum(-1, keepdims=True) * x)
    return np.stack([x, y, np.cross(x, y)], -1), np.linalg.norm(torso, axis=-1)


def calibrate(
    predicted: NDArray[np.floating], truth: NDArray[np.floating], known: NDArray[np.bool_], skeleton: Skeleton
) -> NDArray[np.float64]:
    """(K, 3) the offset between the prediction's and the truth's definition of each joint, in torso lengths
    along the prediction's `body_frame`.

    Fit it on other people than those evaluated, then evaluate `calibrated`. It is the mean error that
    `procrustes` leaves, with the least squared error. People turn relative to the camera and differ in size,
    so the difference of two definitions is constant only along the body and relative to it. It is fitted
    once. Alternating between offsets and similarities until both converge would leave a smaller error, but
    with noisy predictions the offsets grow into a mean body and the prediction is scaled away: a better
    PA-MPJPE that is no calibration. For the same reason a rotation or scale of the whole body is not removed.
    0 for a joint that is never known. ValueError if no person can be fitted.
    """
    axes, torso = body_frame(predicted, skeleton)
    body = root_relative(predicted, skeleton) @ axes / np.where(torso > 0, torso, np.nan)[:, None, None]
    fit = procrustes(body, truth, known)
    chosen = known & np.isfinite(fit.aligned).all(-1)
    if not chosen.any():
        raise ValueError(
            f"none of {len(truth)} people has hips, shoulders and three known joints, so there is nothing to "
            f"calibrate with"
        )
    missing = np.where(chosen[..., None], (truth - fit.aligned) @ fit.rotation, 0)
    scale = np.where(chosen, fit.scale[:, None], 0)[..., None]
    squares = (scale**2).sum(0)
    return np.divide((scale * missing).sum(0), squares, out=np.zeros_like(missing[0]), where=squares > 0)


def calibrated(
    predicted: NDArray[np.floating], offsets: NDArray[np.floating], skeleton: Skeleton
) -> NDArray[np.float64]:
    """(N, K, 3) the prediction plus the offsets (K, 3) of `calibrate`; a body without axes is unchanged."""
    axes, torso = body_frame(predicted, skeleton)
    moves = torso[:, None, None] * (offsets @ axes.swapaxes(1, 2))
    return predicted.astype(np.float64) + np.where(np.isnan(moves), 0, moves)


def _mean(mm: NDArray[np.float64]) -> float:
    return float(_pool(mm).mean())


def _curve(mm: NDArray[np.float64], thresholds: NDArray[np.float64]) -> NDArray[np.float64]:
    pool = np.sort(_pool(mm))
    return np.searchsorted(pool, thresholds, side="left") / len(pool)


def _pool(mm: NDArray[np.float64]) -> NDArray[np.float64]:
    pool = mm[~np.isnan(mm)]
    if not len(pool):
        raise ValueError(f"none of {len(mm)} people has a joint that can be measured")
    return pool


def _unit(vectors: NDArray[np.float64]) -> NDArray[np.float64]:
    length = np.linalg.norm(vectors, axis=-1, keepdims=True)
    return vectors / np.where(length > 0, length, np.nan)
