"""What a user adds: a file of animals through every command; a data set and a student by a row from outside."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from torch import Tensor, nn

from poseling.cli import main
from poseling.data import sets
from poseling.data.dataset import PoseDataset, from_joints
from poseling.models import registry
from poseling.models.checkpoint import load
from poseling.models.family import Family
from poseling.skeleton import Skeleton

DOG = ("nose", "L_Eye", "R_Eye", "tail", "L_Paw", "R_Paw")
SMOKE = ("--smoke", "--student", "hourglass-1x16")


def dots(path: Path, seed: int) -> np.ndarray:
    """Writes an image of bright dots on a dark ground; gives their places (6, 2), which are the joints."""
    random = np.random.default_rng(seed)
    image = np.full((64, 64, 3), 30, np.uint8)
    joints = random.permutation(np.mgrid[12:60:16, 12:60:16].reshape(2, -1).T)[:6]
    for i, (x, y) in enumerate(joints.tolist()):
        cv2.circle(image, (x, y), 4, (40 * i + 40, 255 - 40 * i, 200), -1)
    cv2.imwrite(str(path), image)
    return joints


def animals(root: Path, count: int = 24) -> None:
    """`count` images of one dog or one cat each, and `animals.json`."""
    images, rows = [], []
    for i in range(1, count + 1):
        joints = dots(root / f"{i}.png", i)
        images.append({"id": i, "file_name": f"{i}.png", "width": 64, "height": 64})
        flat = np.concatenate([joints, np.full((6, 1), 2)], 1).ravel().tolist()
        more = {"keypoints": flat, "bbox": [4, 4, 56, 56], "area": 1600}
        rows.append({"id": i, "image_id": i, "category_id": i % 2 + 1, **more})
    shared = {"keypoints": DOG, "skeleton": [[1, 2], [1, 3], [2, 3], [1, 4], [4, 5], [4, 6]]}
    kinds = [{"id": 1, "name": "dog", **shared}, {"id": 2, "name": "cat", **shared}]
    (root / "animals.json").write_text(
        json.dumps({"images": images, "annotations": rows, "categories": kinds})
    )


@pytest.mark.slow
def test_animals_in_every_command(tmp_path, capsys):
    animals(tmp_path)
    data = ("--root", str(tmp_path), "--annotations", "animals.json")

    def said(*words: str) -> str:
        main([*words])
        return capsys.readouterr().out

    out = tmp_path / "run"
    told = said("distill", "baseline", "--data", "coco_json", *data, "--out", str(out), *SMOKE)
    assert "left_eye to right_eye closes a ring of bones" in told
    _, spec = load(out / "student.safetensors")
    assert spec.skeleton.joints == ("nose", "left_eye", "right_eye", "tail", "left_paw", "right_paw")
    assert spec.skeleton.parents == (0, 0, 0, 0, 3, 3)
    assert spec.licences["data"] == "unknown: your own annotations"
    student = str(out / "student.safetensors")
    again = ("--arms", "teacher_alone", "--skeleton", "data", "--out", str(tmp_path / "again"), *SMOKE)
    said("distill", "pseudo_labels", "--data", "coco_json", *data, "--teacher", student, *again)
    assert load(tmp_path / "again" / "student.safetensors")[1].skeleton == spec.skeleton
    written = tmp_path / "figures.json"
    assert "OKS AP" in said("evaluate", student, "--data", "coco_json", *data, "--json", str(written))
    told = json.loads(written.read_text())
    assert (told["network"], told["metric"]) == ("student", "OKS AP")
    assert 0 <= told["figures"]["AP"] <= 1
    told = said("data", "check", "coco_json", *data)
    assert "1 x closed ring" in told
    assert "1 x no sigmas" in told
    assert "24 people" not in said("data", "check", "coco_json", *data, "--category", "cat")
    sheet = tmp_path / "sheet.png"
    assert "24 people of coco_json" in said("data", "preview", "coco_json", *data, "--out", str(sheet))
    assert sheet.is_file()
    told = said("label", student, "--data", "coco_json", *data, "--url", str(tmp_path / "labels"))
    assert "24 predictions made" in told
    with pytest.raises(SystemExit):
        main(["evaluate", student, "--data", "coco_json", "--root", str(tmp_path)])
    assert "--data coco_json needs --annotations" in " ".join(capsys.readouterr().err.split())


class Tiny(nn.Module):
    """Heatmaps (B, 1, K, H/4, W/4) by two convolutions."""

    def __init__(self, joints: int) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 8, 3, 2, 1), nn.Conv2d(8, joints, 3, 2, 1)

    def forward(self, images: Tensor) -> Tensor:
        return self.second(self.first(images).relu())[:, None]


@pytest.mark.slow
def test_a_set_and_a_student_from_outside_the_package_are_a_row_each(tmp_path, monkeypatch):
    skeleton = Skeleton("dots", ("a", "b", "c", "d", "e", "f"), (0,) * 6)

    def read(root: Path) -> PoseDataset:
        paths = [root / f"{i}.png" for i in range(24)]
        joints = np.stack([dots(path, i) for i, path in enumerate(paths)])
        return from_joints("mine", skeleton, paths, joints, np.full((24, 6), 2), licence="mine")

    row = sets.Row(lambda root: sets.Split(read(root)), help="my own images", licence="mine")
    monkeypatch.setitem(sets.SETS, "mine", row)
    family = Family("tiny", lambda variant, joints, size: Tiny(joints), "tiny-1", "tiny-1")
    monkeypatch.setitem(registry.FAMILIES, "tiny", family)
    words = f"distill baseline --data mine --root {tmp_path} --student tiny-1 --out {tmp_path}/run --smoke"
    main(words.split())
    _, spec = load(tmp_path / "run" / "student.safetensors")
    assert (spec.model, spec.skeleton) == ("tiny-1", skeleton)
    assert spec.licences["data"] == "mine"
    assert "mine" in sets.names("train")
