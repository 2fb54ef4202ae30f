"""OKS and average precision, against pycocotools: on the real samples, on generated cases, and by hand."""

from __future__ import annotations

import contextlib
import io
import json
from dataclasses import replace
from pathlib import Path

import faster_coco_eval
import numpy as np
import pytest
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from poseling.data import coco
from poseling.data.dataset import PoseDataset, Truth
from poseling.evaluate import oks
from poseling.skeleton import COCO17, CROWDPOSE14, LSP14

SIGMAS = np.array(COCO17.sigmas)


def theirs(
    truth: dict, answers: list[dict], images: list[int] | None = None, sigmas: np.ndarray = SIGMAS
) -> list[float]:
    """pycocotools' ten rows; -1 without people."""
    with contextlib.redirect_stdout(io.StringIO()):
        known = COCO()
        known.dataset = json.loads(json.dumps(truth))
        known.createIndex()
        run = COCOeval(known, known.loadRes(json.loads(json.dumps(answers))), "keypoints")
        run.params.kpt_oks_sigmas = sigmas
        if images is not None:
            run.params.imgIds = images
        run.evaluate()
        run.accumulate()
        run.summarize()
    return run.stats.tolist()


def random_case(rng: np.random.Generator, images: int = 6) -> tuple[dict, list[dict]]:
    """Images with up to eight people each: some without joints, some crowds, some small; answers near and
    far, some missing, some twice, scores with ties.
    """
    annotations, answers = [], []
    skill = rng.choice([0.1, 0.5, 1.0])
    names = [int(i) for i in rng.choice(1000, images, replace=False)]
    for image in names:
        for _ in range(rng.integers(0, 9)):
            size = rng.choice([8, 40, 90, 300]) * rng.uniform(0.7, 1.4, 2)
            corner = rng.uniform(0, 300, 2)
            joints = corner + rng.uniform(-0.1, 1.1, (17, 2)) * size
            flags = rng.choice([0, 1, 2], 17) * (rng.random() > 0.2)
            joints[flags == 0] = 0
            row = {
                "id": len(annotations) + 1,
                "image_id": image,
                "category_id": 1,
                "bbox": [*corner.tolist(), *size.tolist()],
                "area": float(size.prod() * rng.uniform(0.2, 0.9)),
                "iscrowd": int(rng.random() < 0.1),
                "num_keypoints": int((flags > 0).sum()),
                "keypoints": np.concatenate([joints, flags[:, None]], 1).ravel().tolist(),
            }
            annotations.append(row)
            for _ in range(rng.choice([0, 1, 1, 1, 2, 4])):
                guess = joints + rng.normal(0, skill * rng.choice([0.01, 0.05, 0.15, 0.5]), (17, 2)) * size
                guess = np.where(flags[:, None] > 0, guess, corner + rng.uniform(-0.5, 1.5, (17, 2)) * size)
                answers.append(answer(image, guess, float(rng.choice([rng.random(), 0.5]))))
        for _ in range(rng.integers(0, 15)):  # so that the limit of 20 answers an image is passed
            answers.append(answer(image, rng.uniform(0, 600, (17, 2)), float(0.6 * rng.random())))
    images = [{"id": i, "file_name": f"{i}.jpg", "width": 640, "height": 480} for i in names]
    return {"images": images, "annotations": annotations, "categories": [category()]}, answers


def answer(image: int, joints: np.ndarray, score: float) -> dict:
    return {
        "image_id": image,
        "category_id": 1,
        "score": score,
        "keypoints": np.insert(joints, 2, 1, 1).ravel().tolist(),
    }


def category() -> dict:
    return {"id": 1, "name": "person", "keypoints": list(COCO17.joints)}


def read(truth: dict, folder: Path) -> Truth:
    path = folder / "truth.json"
    path.write_text(json.dumps(truth))
    return coco.read(path)


def columns(answers: list[dict], joints: int = 17) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    image = np.array([a["image_id"] for a in answers], np.int64)
    flat = np.array([a["keypoints"] for a in answers], np.float64).reshape(len(answers), joints, 3)
    return image, flat[..., :2], np.array([a["score"] for a in answers], np.float64)


def same(ours: dict[str, float], other: list[float]) -> None:
    assert list(ours) == list(oks.ROWS)
    np.testing.assert_allclose([-1 if np.isnan(v) else v for v in ours.values()], other, rtol=0, atol=1e-9)


@pytest.mark.slow
def test_two_hundred_cases_as_pycocotools(tmp_path):
    levels = []
    for seed in range(200):
        truth, answers = random_case(np.random.default_rng(seed))
        if not answers:
            continue
        read_truth = read(truth, tmp_path)
        ours = oks.average_precision(read_truth, *columns(answers))
        same(ours, theirs(truth, answers))
        levels.append(ours["AP"])
        if seed % 4 == 0:  # a part of the images
            some = sorted(read_truth.images)[:3]
            chosen = [a for a in answers if a["image_id"] in some]
            same(
                oks.average_precision(read_truth, *columns(chosen), np.array(some)),
                theirs(truth, chosen, some),
            ) if chosen else None
    assert len(levels) > 190
    assert np.nanmax(levels) - np.nanmin(levels) > 0.3  # the cases differ


def test_similarity_as_pycocotools():
    for seed in range(10):
        truth, answers = random_case(np.random.default_rng(seed), 1)
        if not truth["annotations"] or not answers:
            continue
        with contextlib.redirect_stdout(io.StringIO()):
            known = COCO()
            known.dataset = truth
            known.createIndex()
            run = COCOeval(known, known.loadRes(answers), "keypoints")
            run.evaluate()
        (expected,) = run.ious.values()
        dataset = truth["annotations"]
        flat = np.array([p["keypoints"] for p in dataset]).reshape(len(dataset), 17, 3)
        surest = sorted(answers, key=lambda a: -a["score"])[:20]
        boxes, area = np.array([p["bbox"] for p in dataset]), np.array([p["area"] for p in dataset])
        ours = oks.oks(columns(surest)[1], flat[..., :2], flat[..., 2], area, SIGMAS, boxes)
        np.testing.assert_allclose(ours, expected, rtol=0, atol=1e-12)
        without = oks.oks(columns(surest)[1], flat[..., :2], flat[..., 2], area, SIGMAS)
        assert np.isnan(without[:, ~(flat[..., 2] > 0).any(1)]).all()


def test_similarity_by_hand():
    # One joint, sigma 0.1, area 400: d = 4 gives exp(-16 / (2 * 400 * 0.04)) = exp(-0.5).
    truth, here = np.zeros((1, 1, 2)), np.array([[[4.0, 0.0]]])
    found = oks.oks(here, truth, np.array([[2]]), np.array([400.0]), np.array([0.1]))
    assert found.item() == pytest.approx(np.exp(-0.5), abs=1e-15)


def test_a_joint_without_a_label_does_not_count():
    truth = np.zeros((1, 2, 2))
    far = np.array([[[0.0, 0.0], [900.0, 900.0]]])
    assert oks.oks(far, truth, np.array([[1, 0]]), np.array([100.0]), np.array([0.1, 0.1])).item() == 1
    assert oks.oks(far, truth, np.array([[1, 1]]), np.array([100.0]), np.array([0.1, 0.1])).item() == 0.5


def test_rescoring_is_the_box_times_the_mean_of_the_joints_above_the_least():
    found = oks.rescore(
        np.array([0.8, 1.0, 0.5]), np.array([[0.9, 0.5, 0.1], [0.2, 0.2, 0.2], [1, 1, 1]], np.float32)
    )
    np.testing.assert_allclose(found, [0.8 * 0.7, 0, 0.5], atol=1e-7)


def test_of_two_alike_the_one_with_the_higher_score_stays():
    base = np.random.default_rng(0).uniform(0, 100, (17, 2))
    joints = np.stack([base, base + 0.5, base + 200, base])
    image = np.array([7, 7, 7, 8])
    area = np.full(4, 10000.0)
    assert oks.oks_nms(joints, np.array([0.5, 0.9, 0.1, 0.2]), area, image, SIGMAS).tolist() == [
        False,
        True,
        True,
        True,
    ]
    # A chain: 1 drops 0 and 2, which are not alike with each other; a dropped one drops no other.
    step = np.array([6.0, 0])  # OKS of one step is above 0.9, of two below
    chain = np.stack([base - step, base, base + step])
    one, two = (
        oks.oks(base[None] + n * step, base[None], np.ones((1, 17)), np.array([1e4]), SIGMAS).item()
        for n in (1, 2)
    )
    threshold = (one + two) / 2
    assert oks.oks_nms(
        chain, np.array([0.9, 0.8, 0.7]), area[:3], np.zeros(3, int), SIGMAS, threshold
    ).tolist() == [True, False, True]
    assert oks.oks_nms(
        chain, np.array([0.8, 0.9, 0.7]), area[:3], np.zeros(3, int), SIGMAS, threshold
    ).tolist() == [False, True, False]


def test_crop_area_is_that_of_the_grown_box():
    # 30 x 80 grows to 60 x 80, 90 x 40 to 90 x 120; both by 1.25.
    found = oks.crop_area(np.array([[0, 0, 30, 80], [10, 10, 100, 50]]))
    np.testing.assert_allclose(found, [75 * 100, 112.5 * 150])


def test_no_predictions_is_zero_and_no_people_is_nan(tmp_path):
    truth, _ = random_case(np.random.default_rng(1))
    nothing = np.zeros(0, np.int64), np.zeros((0, 17, 2)), np.zeros(0)
    found = oks.average_precision(read(truth, tmp_path), *nothing)
    assert found["AP"] == found["AR"] == 0
    for row in truth["annotations"]:
        row["iscrowd"] = 1
    assert all(np.isnan(v) for v in oks.average_precision(read(truth, tmp_path), *nothing).values())


def test_an_annotation_with_id_0_counts_as_any_other(tmp_path):
    truth, answers = random_case(np.random.default_rng(3))
    before = oks.average_precision(read(truth, tmp_path), *columns(answers))
    for row in truth["annotations"]:
        row["id"] -= 1
    assert oks.average_precision(read(truth, tmp_path), *columns(answers)) == before


def test_fewer_joints_are_measured_as_if_the_others_did_not_exist(tmp_path):
    truth, answers = random_case(np.random.default_rng(5))
    among = np.arange(17) > 4
    ours = oks.average_precision(read(truth, tmp_path), *columns(answers), among=among)
    for row in [*truth["annotations"], *answers]:
        row["keypoints"] = row["keypoints"][15:]
        if "num_keypoints" in row:
            row["num_keypoints"] = sum(v > 0 for v in row["keypoints"][2::3])
    same(ours, theirs(truth, answers, sigmas=SIGMAS[5:]))


def test_errors(tmp_path):
    truth, answers = random_case(np.random.default_rng(5))
    known, (image, joints, score) = read(truth, tmp_path), columns(answers)
    with pytest.raises(ValueError, match="skeleton lsp14 has no published sigmas"):
        oks.sigmas(LSP14)
    with pytest.raises(ValueError, match="have predictions but are not among those of"):
        oks.average_precision(known, image + 5000, joints, score)
    with pytest.raises(ValueError, match="do not belong together in skeleton coco17"):
        oks.average_precision(known, image, joints[:, :14], score)
    with pytest.raises(ValueError, match="not finite; leave it out"):
        oks.average_precision(known, image, joints * np.nan, score)


@pytest.mark.shared
@pytest.mark.parametrize("boxes", [None, "test_coco_det_AP_H_56.json"])
def test_real_people_as_pycocotools(shared, boxes):
    folder = shared / "data" / "fixtures" / "coco"
    dataset = coco.read_coco(folder / "test_coco.json", folder, boxes and folder / boxes)
    joints, scores = imagined(dataset)
    ours = oks.measure(dataset, joints, scores)
    same(ours, theirs(json.loads((folder / "test_coco.json").read_text()), written(dataset, joints, scores)))
    assert 0.1 < ours["AP"] < 0.99
    # The first three images alone.
    some = np.unique(dataset.instances.image)[:3]
    which = np.isin(dataset.instances.image, some)
    part = written(dataset[which], joints[which], scores[which])
    same(
        oks.measure(dataset[which], joints[which], scores[which]),
        theirs(json.loads((folder / "test_coco.json").read_text()), part, some.tolist()),
    )


@pytest.mark.shared
@pytest.mark.parametrize("boxes", [None, "test_crowdpose_det_AP_40.json"])
def test_crowdpose_as_its_toolkit(shared, tmp_path, boxes):
    folder = shared / "data" / "fixtures" / "crowdpose"
    dataset = coco.read_coco(folder / "test_crowdpose.json", folder, boxes and folder / boxes)
    assert dataset.skeleton == CROWDPOSE14
    joints, scores = imagined(dataset)
    ours = oks.measure(dataset, joints, scores)
    truth = faster_coco_eval.COCO(str(folder / "test_crowdpose.json"))
    run = faster_coco_eval.COCOeval_faster(
        truth,
        truth.loadRes(written(dataset, joints, scores)),
        "keypoints",
        kpt_oks_sigmas=list(CROWDPOSE14.sigmas),
        use_area=False,
    )
    run.run()
    expected = dict(
        zip(("AP", "AP50", "AP75", "AR", "AR50", "AR75"), run.all_stats[[0, 1, 2, 5, 6, 7]], strict=True)
    )
    assert {row: ours[row] for row in expected} == pytest.approx(expected, abs=1e-9)
    index = {i: dataset.instances.truth.crowding[i] for i in dataset.instances.truth.images}
    for name, (low, high) in {"AP easy": (0, 0.2), "AP medium": (0.2, 0.8), "AP hard": (0.8, 1.1)}.items():
        run.params.imgIds = [i for i, crowding in index.items() if low <= crowding < high]
        if not run.params.imgIds:
            assert np.isnan(ours[name])
            continue
        run.run()
        assert ours[name] == pytest.approx(run.all_stats[0], abs=1e-9)


def imagined(dataset: PoseDataset) -> tuple[np.ndarray, np.ndarray]:
    """Plausible predictions: the joints of the nearest annotated person, moved by some hundredths of the
    box.
    """
    rng, truth = np.random.default_rng(0), dataset.instances.truth
    joints = np.zeros((len(dataset), len(dataset.skeleton), 2), np.float32)
    for i, box in enumerate(dataset.boxes):
        there = np.flatnonzero((truth.image == dataset.instances.image[i]) & (truth.count > 0))
        middles = truth.boxes[there, :2] + truth.boxes[there, 2:] / 2
        nearest = there[np.linalg.norm(middles - (box[:2] + box[2:]) / 2, axis=1).argmin()]
        joints[i] = truth.joints[nearest] + rng.normal(0, 0.04, joints[i].shape) * np.sqrt(
            np.prod(box[2:] - box[:2])
        )
    return joints, rng.uniform(0.1, 1, joints.shape[:2]).astype(np.float32)


def written(dataset: PoseDataset, joints: np.ndarray, scores: np.ndarray) -> list[dict]:
    """The protocol of SimpleBaseline's code once more, person by person: rescored, sorted, the alike dropped."""
    sigmas, rows = np.array(dataset.skeleton.sigmas), []
    for i in range(len(dataset)):
        sure = [float(s) for s in scores[i] if s > np.float32(0.2)]
        width, height = dataset.boxes[i, 2:].astype(float) - dataset.boxes[i, :2]
        if width > 0.75 * height:
            height = width / 0.75
        else:
            width = height * 0.75
        score = float(dataset.instances.score[i]) * (sum(sure) / len(sure) if sure else 0)
        rows.append(
            (int(dataset.instances.image[i]), joints[i].astype(float), score, width * 1.25 * height * 1.25)
        )
    kept: list[tuple] = []
    for row in sorted(rows, key=lambda r: -r[2]):
        rivals = [k for k in kept if k[0] == row[0]]
        alike = [
            np.mean(
                np.exp(
                    -((row[1] - k[1]) ** 2).sum(1)
                    / (2 * sigmas) ** 2
                    / ((row[3] + k[3]) / 2 + np.spacing(1))
                    / 2
                )
            )
            for k in rivals
        ]
        if not alike or max(alike) <= 0.9:
            kept.append(row)
    # In the people's order, since ties between equal scores are broken by it.
    kept_ids = {id(k) for k in kept}
    return [answer(image, xy, score) for image, xy, score, _ in (r for r in rows if id(r) in kept_ids)]


def test_a_nan_prediction_is_a_miss(tmp_path):
    truth, _ = random_case(np.random.default_rng(2))
    for row in truth["images"]:
        (tmp_path / row["file_name"]).write_bytes(b"here")
    (tmp_path / "truth.json").write_text(json.dumps(truth))
    dataset = coco.read_coco(tmp_path / "truth.json", tmp_path)
    right = dataset.joints.copy()
    assert oks.measure(dataset, right)["AP"] == pytest.approx(1)
    right[: len(dataset) // 2] = np.nan
    with pytest.raises(ValueError, match="needs people read with their COCO annotation"):
        oks.measure(replace(dataset, instances=None), right)
    assert 0.2 < oks.measure(dataset, right)["AR"] < 0.8
