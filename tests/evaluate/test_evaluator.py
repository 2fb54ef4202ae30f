"""The measure follows from the data: average precision where people come with their COCO annotation, PCK
beside it.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace

import cv2
import numpy as np
import pytest
import torch

from poseling.data import coco
from poseling.data.dataset import PoseDataset
from poseling.evaluate import oks, pck
from poseling.evaluate.evaluator import Evaluator, figures, table
from poseling.geometry import Crop
from poseling.pose import Pose
from poseling.skeleton import COCO17, LSP14, Skeleton
from poseling.teachers.base import Prediction


@dataclass
class Knows:
    """A teacher that predicts `joints` for the samples of `dataset` in their order, in pixels of the images,
    with `scores`.
    """

    dataset: PoseDataset
    joints: np.ndarray
    scores: np.ndarray
    skeleton: Skeleton = COCO17
    name: str = "knows"
    digest: str = ""
    size: tuple[int, int] = (48, 64)
    padding: float = 1.25
    map_size: None = None
    pixel: None = None
    sigma: None = None
    is_3d: bool = False
    licences: dict = field(default_factory=dict)
    at: int = 0

    def __call__(self, crops):
        rows = [i % len(self.dataset) for i in range(self.at, self.at + len(crops))]
        self.at += len(crops)
        xy = np.stack(
            [
                Crop.from_box(self.dataset.boxes[i], self.size, self.padding).apply(self.joints[i])
                for i in rows
            ]
        )
        return Prediction(torch.from_numpy(xy).float(), torch.from_numpy(self.scores[rows]).float())


@pytest.fixture
def dataset(tmp_path) -> PoseDataset:
    """Eight people, two an image, with joints on a grid; a ninth without a joint."""
    rows = []
    for i in range(8):
        corner = np.array([20 + 150 * (i % 2), 30])
        joints = corner + np.stack([np.arange(17) % 4 * 20, np.arange(17) // 4 * 25], -1) + i
        flat = np.insert(joints, 2, 2, 1).ravel().tolist()
        box = [*(corner - 10).tolist(), 90, 130]
        rows.append(
            {
                "id": i + 1,
                "image_id": i // 2,
                "category_id": 1,
                "bbox": box,
                "area": 5000.0,
                "iscrowd": 0,
                "num_keypoints": 17,
                "keypoints": flat,
            }
        )
    rows.append(
        {**rows[0], "id": 9, "image_id": 3, "num_keypoints": 0, "keypoints": [0] * 51, "bbox": [0, 0, 5, 5]}
    )
    images = [{"id": i, "file_name": f"{i}.png", "width": 320, "height": 200} for i in range(4)]
    for row in images:
        cv2.imwrite(str(tmp_path / row["file_name"]), np.zeros((200, 320, 3), np.uint8))
    data = {
        "images": images,
        "annotations": rows,
        "categories": [{"id": 1, "name": "person", "keypoints": list(COCO17.joints)}],
    }
    (tmp_path / "a.json").write_text(json.dumps(data))
    return coco.read_coco(tmp_path / "a.json", tmp_path)


def labels(dataset: PoseDataset) -> Pose:
    """The labels as predictions with a score of 1."""
    return Pose(dataset.joints, np.ones(dataset.joints.shape[:2]), dataset.skeleton)


def test_the_labels_score_one(dataset):
    evaluator = Evaluator.of(dataset)
    assert evaluator.name == "OKS AP"
    network = Knows(dataset, dataset.joints, np.full((8, 17), 0.7))
    found = evaluator.score(evaluator.predict(network, flip=False))
    assert found.mean == pytest.approx(1)
    assert dict(found.precision) == pytest.approx(
        {row: np.nan if row in ("APl", "ARl") else 1 for row in oks.ROWS}, nan_ok=True
    )
    np.testing.assert_array_equal(found.joints, 1)
    rows = pck.rows(found, COCO17)
    assert [name for name, _ in rows] == [*pck.ROWS, *oks.ROWS]


def test_average_precision_orders_predictions_by_score(dataset):
    """Half of the predictions are wrong. If those have the highest scores, precision at every recall is lower
    than if they have the lowest.
    """
    joints = dataset.joints.copy()
    joints[::2] += 80  # beside every person
    sure = np.full((8, 17), 0.9)
    sure[::2] = 0.3
    evaluator = Evaluator.of(dataset)
    right = evaluator.score(evaluator.predict(Knows(dataset, joints, sure), flip=False)).mean
    wrong = evaluator.score(evaluator.predict(Knows(dataset, joints, 1.2 - sure), flip=False)).mean
    # Four of eight found, first: precision 1 up to recall 0.5, which are 51 of 101 points. Last: after four
    # wrong ones, the best is 4 of 8.
    assert right == pytest.approx(51 / 101)
    assert wrong == pytest.approx(51 / 101 * 0.5)


def test_only_joints_that_all_networks_predict_count(dataset):
    lsp = Knows(dataset, dataset.to(LSP14).joints, np.full((8, 14), 0.7), LSP14)
    evaluator = Evaluator.of(dataset).known_to(lsp)
    assert evaluator.name == "OKS AP of 12 joints"
    pose = evaluator.predict(lsp, flip=False)
    assert np.isnan(pose.xy[:, :5]).all()  # no face
    assert (pose.score[:, :5] == 0).all()
    assert evaluator.score(pose).mean == pytest.approx(1)


def test_a_detectors_boxes_have_no_pck(dataset, tmp_path):
    found = [
        {"image_id": i // 2, "category_id": 1, "bbox": [10 + 150 * (i % 2), 20, 90, 130], "score": 0.9}
        for i in range(8)
    ]
    (tmp_path / "found.json").write_text(json.dumps(found))
    detected = coco.read_coco(tmp_path / "a.json", tmp_path, tmp_path / "found.json")
    score = Evaluator.of(detected).score(labels(dataset))
    assert score.mean == pytest.approx(1)
    assert np.isnan(score.joints).all()
    assert list(figures(Evaluator.of(detected), labels(dataset))) == list(oks.ROWS)


def test_the_table_has_pck_and_average_precision(dataset):
    evaluator = Evaluator.of(dataset)
    found = figures(evaluator, labels(dataset))
    shown = table(Knows(dataset, dataset.joints, np.ones((8, 17))), evaluator, found)
    names = list(shown.columns[0].cells)
    assert names == [*found, "ms a crop (10 to 90 %)"]
    assert names[:2] == ["Head (PCK@0.2)", "Shoulder (PCK@0.2)"]
    assert names[len(pck.ROWS) :][:10] == list(oks.ROWS)
    assert shown.columns[0].header == "OKS AP"


def test_a_part_of_the_data_set_is_evaluated_alone(dataset):
    """As --smoke does: the other people do not count as missed."""
    some = dataset[:4]
    assert Evaluator.of(some).score(labels(some)).mean == pytest.approx(1)
    assert Evaluator.of(some).score(labels(some)).precision["AR"] == pytest.approx(1)


def test_agreement_is_not_average_precision(dataset):
    teacher = Knows(dataset, dataset.joints, np.full((8, 17), 0.7))
    evaluator = Evaluator.of(dataset.without_labels()).with_labels_of(teacher, flip=False)
    assert evaluator.name == "agreement with the teacher, PCK@0.2"
    evaluator = Evaluator.of(dataset).with_labels_of(teacher, flip=False)
    assert evaluator.name == "agreement with the teacher, PCK@0.2"
    assert evaluator.score(labels(dataset)).mean == 1


def test_another_skeleton_is_evaluated_by_pck(dataset):
    assert Evaluator.of(dataset.to(LSP14)).name == "PCK@0.2"
    assert Evaluator.of(replace(dataset, instances=None)).name == "PCK@0.2"
