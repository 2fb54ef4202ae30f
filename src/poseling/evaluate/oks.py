"""OKS, COCO's object keypoint similarity, and what is computed from it: average precision and recall, and
non-maximum suppression of predictions for the same person.

The similarity of a prediction to an annotated person is the mean over the labelled joints of exp(-d^2 / (2
s^2 k^2)), where d is the distance in pixels, s^2 the area of the person's outline and k = 2 sigma, sigma
being the standard deviation of human annotations of that joint. https://cocodataset.org/#keypoints-eval
Average precision is computed by faster-coco-eval; the tests compare it with pycocotools.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from faster_coco_eval import COCO, COCOeval_faster
from numpy.typing import NDArray

from poseling.data.dataset import PoseDataset, Truth
from poseling.skeleton import Skeleton

ROWS = (
    "AP",
    "AP50",
    "AP75",
    "APm",
    "APl",
    "AR",
    "AR50",
    "AR75",
    "ARm",
    "ARl",
)  # m and l: people of 32^2 to 96^2 square pixels, and larger
# CrowdPose's split of the images, by how much of a person's box other people cover (Jeff-sjtu/CrowdPose,
# crowdposetools).
CROWDING = {"AP easy": (-np.inf, 0.2), "AP medium": (0.2, 0.8), "AP hard": (0.8, np.inf)}
# A joint with a lower score does not count in the score of its person: in_vis_thre of SimpleBaseline and
# HRNet.
LEAST = 0.2
SAME_PERSON = (
    0.9  # of two predictions with a higher OKS the one with the lower score is dropped: oks_thre there
)
PERSON = 1  # the category's id for faster-coco-eval


def sigmas(skeleton: Skeleton) -> NDArray[np.float64]:
    """(K,); ValueError for a skeleton without published ones."""
    if skeleton.sigmas is None:
        raise ValueError(
            f"skeleton {skeleton.name} has no published sigmas, so OKS cannot be measured in it; give "
            f"Skeleton(..., sigmas=...) or measure PCK"
        )
    return np.array(skeleton.sigmas, np.float64)


def oks(
    predicted: NDArray[np.floating],
    truth: NDArray[np.floating],
    visible: NDArray[np.generic],
    area: NDArray[np.floating],
    sigmas: NDArray[np.floating],
    boxes: NDArray[np.floating] | None = None,
) -> NDArray[np.float64]:
    """The similarity (N, M) of predictions (N, K, 2) to people truth (M, K, 2) with visible (M, K),
    area (M,) in square pixels and sigmas (K,).

    For a person without a labelled joint it is how near the predicted joints are to twice its box, boxes (M,
    4) x, y, width, height; NaN without these.

    >>> truth, sigmas = np.array([[[0.0, 0.0], [10.0, 0.0]]]), np.array([0.1, 0.25])
    >>> found = oks(truth + [3.0, 4.0], truth, np.ones((1, 2)), np.array([100.0]), sigmas)
    >>> found.round(6).tolist()  # (exp(-25/8) + exp(-25/50)) / 2
    [[0.325234]]
    """
    unit = (
        2
        * (2 * np.asarray(sigmas, np.float64)) ** 2
        * (np.asarray(area, np.float64)[:, None] + np.spacing(1))
    )  # (M, K)
    away = predicted.astype(np.float64)[:, None] - truth[None]
    labelled = np.asarray(visible).astype(np.int64) > 0
    unlabelled = np.asarray(~labelled.any(1))
    if unlabelled.any():
        away[:, unlabelled] = np.nan
        if boxes is not None:
            low, size = boxes[unlabelled, None, :2], boxes[unlabelled, None, 2:]
            points = predicted.astype(np.float64)[:, None]
            away[:, unlabelled] = np.maximum(0, low - size - points) + np.maximum(
                0, points - (low + 2 * size)
            )
        labelled = labelled | unlabelled[:, None]
    near = np.exp(-(away**2).sum(-1) / unit)
    return np.asarray(np.where(labelled, near, 0).sum(-1) / labelled.sum(-1))


def rescore(
    boxes: NDArray[np.floating], joints: NDArray[np.floating], least: float = LEAST
) -> NDArray[np.float64]:
    """(N,) the score of each prediction: the score of its box (N,) times the mean of those of its joints'
    scores (N, K) that are above `least`, 0 if none is.

    >>> rescore(np.array([0.5, 0.5]), np.array([[0.9, 0.7, 0.2], [0.1, 0.1, 0.1]])).tolist()
    [0.4, 0.0]
    """
    sure = joints > least
    total = np.where(sure, joints, 0).sum(1, dtype=np.float64)
    return np.asarray(boxes * np.divide(total, sure.sum(1), out=np.zeros(len(joints)), where=sure.any(1)))


def oks_nms(
    joints: NDArray[np.floating],
    score: NDArray[np.floating],
    area: NDArray[np.floating],
    image: NDArray[np.integer],
    sigmas: NDArray[np.floating],
    threshold: float = SAME_PERSON,
) -> NDArray[np.bool_]:
    """(N,) which predictions stay: of any two in one image with an OKS above `threshold` the one with the
    higher score.

    joints (N, K, 2), score (N,), area (N,) of the boxes in square pixels, image (N,). Two predictions are
    compared over all joints, with the mean of their areas.
    """
    keep = np.ones(len(joints), bool)
    order = np.lexsort((-score, image))
    for rows in np.split(order, np.flatnonzero(np.diff(image[order])) + 1):
        if len(rows) < 2:
            continue
        xy, size = joints[rows].astype(np.float64), area[rows]
        unit = 2 * (2 * sigmas) ** 2 * ((size[:, None] + size) / 2 + np.spacing(1))[..., None]
        alike = np.exp(-((xy[:, None] - xy) ** 2).sum(-1) / unit).mean(-1) > threshold
        for i, row in enumerate(rows):
            if keep[row]:
                keep[rows[i + 1 :][alike[i, i + 1 :]]] = False
    return keep


def crop_area(boxes: NDArray[np.floating]) -> NDArray[np.float64]:
    """(N,) square pixels that SimpleBaseline and HRNet take as the area of a prediction: boxes (N, 4) x0, y0,
    x1, y1, grown to their input's 3 by 4 and by 1.25.
    """
    width, height = (boxes[:, 2:].astype(np.float64) - boxes[:, :2]).T
    width = np.maximum(width, 0.75 * height)
    return np.asarray(width * width / 0.75 * 1.25**2)


def average_precision(
    truth: Truth,
    image: NDArray[np.integer],
    joints: NDArray[np.floating],
    score: NDArray[np.floating],
    measured: NDArray[np.integer] | None = None,
    among: NDArray[np.bool_] | None = None,
) -> dict[str, float]:
    """COCO's ten rows for predicted joints (N, K, 2) in pixels with score (N,) in the images (N,); for
    CrowdPose six, and its three classes of crowding.

    Over the images `measured`, all of the truth by default, and the joints `among` (K,), all by default; then
    `num_keypoints` is counted again. NaN for a row without people. At most 20 predictions per image count,
    those with the highest scores. ValueError if the skeleton has no sigmas, or a prediction is in no image of
    the truth.
    """
    k = sigmas(truth.skeleton)
    if joints.shape != (len(image), len(k), 2) or score.shape != (len(image),):
        raise ValueError(
            f"joints {joints.shape}, score {score.shape} and image {image.shape} do not belong together in "
            f"skeleton {truth.skeleton.name}"
        )
    if not (np.isfinite(joints).all() and np.isfinite(score).all()):
        raise ValueError("a prediction has joints or a score that are not finite; leave it out")
    wanted = np.array(sorted(truth.images), np.int64) if measured is None else np.unique(measured)
    if len(strange := np.setdiff1d(image, wanted)):
        raise ValueError(
            f"{len(strange)} images, the first {strange[0]}, have predictions but are not among those of "
            f"{truth.path}"
        )
    among = np.ones(len(k), bool) if among is None else among
    ids = wanted.tolist()
    dataset = _annotated(truth, wanted, among)
    results = _results(image, joints[:, among], score)
    crowding = truth.crowding
    if crowding is None:
        precision, recall = _run(dataset, results, ids, k[among])
        found = [
            _mean(x, at, size)
            for x in (precision, recall)
            for at, size in ((None, 0), (0, 0), (5, 0), (None, 1), (None, 2))
        ]
        return dict(zip(ROWS, found, strict=True))
    precision, recall = _run(dataset, results, ids, k[among])
    short = [f"{what}{at}" for what in ("AP", "AR") for at in ("", "50", "75")]
    rows = dict(
        zip(short, [_mean(x, at, 0) for x in (precision, recall) for at in (None, 0, 5)], strict=True)
    )
    for name, (low, high) in CROWDING.items():
        some = [i for i in ids if low <= crowding[i] < high]
        rows[name] = _mean(_run(dataset, results, some, k[among])[0], None, 0) if some else float("nan")
    return rows


def measure(
    dataset: PoseDataset,
    joints: NDArray[np.floating],
    scores: NDArray[np.floating] | None = None,
    among: NDArray[np.bool_] | None = None,
) -> dict[str, float]:
    """The rows of `average_precision` for one network's joints (N, K, 2) with scores (N, K) for the samples
    of `dataset`, as in the papers: scored by box and joints (`rescore`), without duplicates (`oks_nms`).
    Without `scores` the box's score alone counts. A NaN prediction is left out.
    """
    instances = dataset.instances
    if instances is None:
        raise ValueError(
            f"{dataset.name}: average precision needs people read with their COCO annotation, in its skeleton"
        )
    among = np.ones(len(dataset.skeleton), bool) if among is None else among
    score = instances.score if scores is None else rescore(instances.score, scores[:, among])
    rows = np.flatnonzero(np.isfinite(joints[:, among]).all((1, 2)))
    image, xy = instances.image[rows], np.where(among[:, None], joints[rows], 0).astype(np.float64)
    keep = oks_nms(
        xy[:, among], score[rows], crop_area(dataset.boxes[rows]), image, sigmas(dataset.skeleton)[among]
    )
    return average_precision(
        instances.truth, image[keep], xy[keep], score[rows][keep], instances.measured, among
    )


def _annotated(truth: Truth, wanted: NDArray[np.integer], among: NDArray[np.bool_]) -> dict[str, Any]:
    """A dataset for faster-coco-eval. Ids start at 1: like pycocotools it treats the id 0 as no match."""
    rows = np.flatnonzero(np.isin(truth.image, wanted))
    visible = truth.visible[rows][:, among]
    count = truth.count[rows] if among.all() else (visible > 0).sum(1)
    flat = (
        np.concatenate([truth.joints[rows][:, among], visible[..., None]], -1)
        .reshape(-1, 3 * visible.shape[1])
        .tolist()
    )
    columns = (truth.image, truth.boxes, truth.area, truth.crowd.astype(int))
    annotations = [
        {
            "id": i,
            "category_id": PERSON,
            "image_id": p,
            "bbox": b,
            "area": a,
            "iscrowd": c,
            "num_keypoints": n,
            "keypoints": f,
        }
        for i, (p, b, a, c, n, f) in enumerate(
            zip(*(x[rows].tolist() for x in columns), count.tolist(), flat, strict=True), 1
        )
    ]
    return {
        "images": [{"id": i} for i in wanted.tolist()],
        "categories": [{"id": PERSON, "name": "person"}],
        "annotations": annotations,
    }


def _results(
    image: NDArray[np.integer], joints: NDArray[np.floating], score: NDArray[np.floating]
) -> list[dict[str, Any]]:
    """Results for faster-coco-eval."""
    flat = (
        np.concatenate([joints, np.ones((*joints.shape[:2], 1))], -1)
        .astype(np.float64)
        .reshape(-1, 3 * joints.shape[1])
        .tolist()
    )
    rows = zip(image.tolist(), flat, score.tolist(), strict=True)
    return [{"image_id": p, "category_id": PERSON, "keypoints": f, "score": s} for p, f, s in rows]


def _run(
    dataset: dict[str, Any], results: list[dict[str, Any]], ids: list[int], sigmas: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """precision (10, 101, 3) by threshold of OKS, recall and size of person (all, medium, large), and recall
    (10, 3); -1 without people.
    """
    truth = COCO(dataset)
    run = COCOeval_faster(truth, truth.loadRes(results), "keypoints", kpt_oks_sigmas=sigmas.tolist())
    run.params.imgIds, run.params.catIds = ids, [PERSON]
    run.evaluate()
    run.accumulate()
    return np.asarray(run.eval["precision"])[:, :, 0, :, 0], np.asarray(run.eval["recall"])[:, 0, :, 0]


def _mean(values: NDArray[np.float64], at: int | None, size: int) -> float:
    """The mean over the thresholds, or the value at one of them, for the people of one size."""
    known = values[slice(None) if at is None else at, ..., size]
    known = known[known > -1]
    return float(known.mean()) if known.size else float("nan")
