"""The 3D evaluation: millimetres by hand, by action, and of networks trained on people of one height."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import cv2
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from rich.console import Console
from torch import Tensor, nn

from poseling.codecs import LocationMap
from poseling.data.dataset import PoseDataset
from poseling.evaluate.evaluator import Evaluator, by_action, figures, table
from poseling.evaluate.shipped import Shipped
from poseling.pose import Pose
from poseling.runtime import Network
from poseling.skeleton import COCO17, MOVNECT15
from poseling.spec import PoseSpec
from poseling.teachers.base import Prediction
from poseling.teachers.network import NetworkTeacher

ROOT = MOVNECT15.index("pelvis")


class Knows:
    """A teacher in MOVNECT15 that predicts the samples in their order."""

    name, digest, size, padding, map_size, pixel, sigma, is_3d, skeleton = (
        "knows",
        "",
        (48, 48),
        1.25,
        None,
        None,
        None,
        True,
        MOVNECT15,
    )

    def __init__(self, xyz: np.ndarray) -> None:
        self.xyz, self.at, self.licences = torch.from_numpy(xyz).float(), 0, {"code": "none"}

    def __call__(self, crops: Tensor) -> Prediction:
        rows = torch.arange(self.at, self.at + len(crops)) % len(self.xyz)
        self.at += len(crops)
        return Prediction(
            torch.full((len(crops), 15, 2), 20.0), torch.ones(len(crops), 15), xyz=self.xyz[rows]
        )


class Flat(Knows):
    is_3d = False


@pytest.fixture
def dataset(tmp_path: Path) -> PoseDataset:
    """Four people, the pelvis four metres away."""
    xyz = np.random.default_rng(0).normal(0, 0.3, (4, 15, 3)).astype(np.float32) + np.float32([0, 0, 4])
    paths = tuple(tmp_path / f"{i}.png" for i in range(4))
    for path in paths:
        cv2.imwrite(str(path), np.zeros((60, 60, 3), np.uint8))
    boxes = np.tile(np.float32([5, 5, 50, 50]), (4, 1))
    return PoseDataset(
        "four",
        MOVNECT15,
        paths,
        boxes,
        np.full((4, 15, 2), 20, np.float32),
        np.full((4, 15), 2, np.uint8),
        joints_3d=xyz,
    )


def from_root(dataset: PoseDataset) -> np.ndarray:
    assert dataset.joints_3d is not None
    return dataset.joints_3d - dataset.joints_3d[:, [ROOT]]


def test_ten_centimetres_are_a_hundred_millimetres(dataset: PoseDataset):
    said = from_root(dataset)
    said[:, MOVNECT15.index("left_wrist")] += [0.06, 0, 0.08]
    evaluator = Evaluator.of(dataset, is_3d=True)
    score = evaluator.score(evaluator.predict(Knows(said), flip=False))
    assert (evaluator.name, evaluator.higher_is_better) == ("MPJPE in mm", False)
    assert score.mean == pytest.approx(100 / 15, rel=1e-4)
    assert score.joints[MOVNECT15.index("left_wrist")] == pytest.approx(100, rel=1e-4)
    assert score.precision["3DPCK@150"] == 1
    assert 0 < score.precision["PA-MPJPE"] < 100


def test_unknown_joints_and_joints_that_a_network_lacks_do_not_count(dataset: PoseDataset):
    said, some = from_root(dataset), dataset.joints_3d.copy()
    said[:, MOVNECT15.index("neck"), 0] += 1
    some[:2, MOVNECT15.index("left_knee")] = 0
    evaluator = Evaluator.of(replace(dataset, joints_3d=some), is_3d=True)

    class Coco(Knows):
        skeleton = COCO17

    assert evaluator.score(evaluator.predict(Knows(said), flip=False)).mean == pytest.approx(
        1000 * 4 / 58, rel=1e-4
    )
    without_neck = evaluator.known_to(Coco(said))
    assert without_neck.score(evaluator.predict(Knows(said), flip=False)).mean == pytest.approx(0, abs=1e-3)
    assert without_neck.name == "MPJPE in mm of 13 joints"


def test_the_table_has_millimetres_and_actions(dataset: PoseDataset):
    said = from_root(dataset)
    said[0, :, 0] += np.where(np.arange(15) == ROOT, 0, 0.015)
    evaluator = Evaluator.of(dataset, is_3d=True)
    pose = evaluator.predict(Knows(said), flip=False)
    console = Console(width=120, record=True)
    console.print(table(Knows(said), evaluator, figures(evaluator, pose)))
    console.print(by_action(evaluator, pose, ["Eating", "Sitting", "Eating", "Sitting"]))
    text = console.export_text()
    rows = {
        line.split("│")[1].strip(): line.split("│")[2:-1]
        for line in text.splitlines()
        if line.startswith("│")
    }
    assert rows["MPJPE"][0].strip() == "3.5"  # 14 mm of one person in four: 15 mm in 14 of 15 joints
    assert rows["Eating"][0].strip() == "7.0"
    assert rows["Sitting"][0].strip() == "0.0"
    assert rows["Mean over actions"][0].strip() == "3.5"


def test_a_network_of_one_height_is_scaled_to_the_true_height(dataset: PoseDataset):
    """It predicts 0.46 m from knee to neck for all people, half of the truth here, and every joint 0.1 m to
    the right of the root; as an exported file too.
    """

    class Says(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.factor = nn.Parameter(torch.tensor(0.1))

        def forward(self, images: Tensor) -> Tensor:
            maps = torch.zeros(len(images), 1, 15, 7, 6, 6)
            maps[:, :, :, 0, 3, 3] = 1
            maps[:, :, :, 1] = self.factor
            return maps

    xyz = np.zeros((4, 15, 3), np.float32)
    place = {
        "left_hip": (0.1, 0, 0),
        "right_hip": (-0.1, 0, 0),
        "left_knee": (0.1, 0.4, 0),
        "right_knee": (-0.1, 0.4, 0),
        "neck": (0, -0.52, 0),
    }
    for joint, at in place.items():
        xyz[:, MOVNECT15.index(joint)] = at
    tall = replace(dataset, joints_3d=xyz + np.float32([0, 0, 4]))
    spec = PoseSpec("movnect-tiny", MOVNECT15, LocationMap((48, 48), height=0.46).fields(), (48, 48))
    found = Evaluator.of(tall, is_3d=True).predict(NetworkTeacher(Says(), spec), flip=False)
    assert found.xyz is not None
    np.testing.assert_allclose(found.xyz[..., 0], 0.2, rtol=1e-5)

    class Exported(Shipped):
        def person(self, image: NDArray[np.uint8], box: NDArray[np.floating], flip: bool) -> Pose:
            there = np.full((1, 15, 3), 0.1, np.float32)
            return Pose(there[..., :2], there[..., 0], MOVNECT15, there)

    file = SimpleNamespace(name="net", spec=replace(spec, outputs=("xy", "score", "xyz")))
    again = Evaluator.of(tall, is_3d=True).predict(Exported(cast(Network, file)), flip=False)
    assert again.xyz is not None
    np.testing.assert_allclose(again.xyz, 0.2, rtol=1e-5)


def test_people_without_a_root_are_counted(dataset: PoseDataset):
    said, truth = from_root(dataset), dataset.joints_3d
    assert truth is not None
    truth = truth.copy()
    truth[0, ROOT] = 0
    evaluator = Evaluator.of(replace(dataset, joints_3d=truth), is_3d=True)
    found = figures(evaluator, evaluator.predict(Knows(said), flip=False))
    assert found["people left out"] == 1
    shown = table(Knows(said), evaluator, found)
    assert list(shown.columns[1].cells)[list(found).index("people left out")] == "1"
    assert "people left out" not in figures(
        Evaluator.of(dataset, is_3d=True), evaluator.predict(Knows(said), flip=False)
    )


def test_what_cannot_be_evaluated_in_3d_is_refused(dataset: PoseDataset):
    flat = replace(dataset, joints_3d=None)
    with pytest.raises(ValueError, match="four: has no 3D joints, so there is no distance to measure"):
        Evaluator.of(flat, is_3d=True)
    evaluator = Evaluator.of(dataset, is_3d=True)
    with pytest.raises(ValueError, match="the network predicts 2D joints only; take a 3D network"):
        evaluator.score(Pose(dataset.joints, np.ones((4, 15)), MOVNECT15))
    pose = evaluator.predict(Knows(from_root(dataset)), flip=False)
    with pytest.raises(ValueError, match="need 3D joints, but these are 2D only"):
        by_action(evaluator, replace(pose, xyz=None), ["Eating"] * 4)
    with pytest.raises(
        ValueError, match="knows: predicts 2D joints only, and four is evaluated in 3D; take a 3D network"
    ):
        evaluator.known_to(Flat(from_root(dataset)))
