"""The sets by name."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from poseling.data import sets
from poseling.data.synthetic import SHAPES, claim, picture_path, truth_path, write_truth
from poseling.skeleton import COCO17, MOVNECT15, SYNTH28

NAMES = ["lsp", "lspet", "mpii", "coco", "crowdpose", "ochuman", "h36m", "mpi_inf_3dhp", "images", "packed", "synthetic", "mini"]


def test_names():
    assert list(sets.SETS) == NAMES


def test_errors_say_the_way_out(tmp_path):
    with pytest.raises(ValueError, match=f"no data set 'cocoa'; there are {', '.join(NAMES)}"):
        sets.load("cocoa", tmp_path)
    with pytest.raises(FileNotFoundError, match="--root names the folder that holds lsp"):
        sets.load("lsp", tmp_path / "gone")
    (tmp_path / "joints.mat").write_bytes(b"")
    with pytest.raises(FileNotFoundError, match="is LSP itself; name the folder that holds it"):
        sets.load("lsp", tmp_path)


def test_the_mini_set_has_more_joints_than_cocos():
    assert sets.people_to_test("mini").skeleton == COCO17
    found = sets.people_to_test("mini", skeleton=MOVNECT15)
    assert found.skeleton == MOVNECT15
    assert (found.visible[:, MOVNECT15.index("head_top")] > 0).any()
    assert found.spatial


def test_images_and_official_mpii_have_nobody_to_test_on(tmp_path):
    cv2.imwrite(str(tmp_path / "a.png"), np.zeros((5, 5, 3), np.uint8))
    assert sets.load("images", tmp_path).test is None


def test_mpii_validates_on_valid(tmp_path):
    row = {"image": "a.png", "joints": [[k + 1.0, 2 * k + 1.0] for k in range(16)], "joints_vis": [1] * 16, "center": [9.0, 9.0], "scale": 0.1}
    for folder in ("annot", "images"):
        (tmp_path / folder).mkdir()
    cv2.imwrite(str(tmp_path / "images/a.png"), np.zeros((40, 40, 3), np.uint8))
    (tmp_path / "annot/train.json").write_text(json.dumps([row, row]))
    (tmp_path / "annot/valid.json").write_text(json.dumps([row]))
    split = sets.load("mpii", tmp_path)
    assert (len(split.train), len(split.test)) == (2, 1)


def test_synthetic_is_one_folder_or_one_for_each_split(tmp_path):
    def lay(root: Path, count: int) -> None:
        claim(root, {"backgrounds": 0})
        for i in range(count):
            picture_path(root, i).parent.mkdir(parents=True, exist_ok=True)
            picture_path(root, i).write_bytes(b"here")
        row = {name: np.ones(shape) for name, shape in SHAPES.items()} | {"box": np.array([1, 2, 3, 4]), "motion": np.array("walk")}
        write_truth(truth_path(root, 0), [row] * count)

    with pytest.raises(FileNotFoundError, match="poseling data synthesize --count 1000 --out"):
        sets.load("synthetic", tmp_path / "none")
    lay(tmp_path / "flat", 2)
    split = sets.load("synthetic", tmp_path / "flat")
    assert (len(split.train), split.test) == (2, None)
    lay(tmp_path / "flat" / "test", 1)
    split = sets.load("synthetic", tmp_path / "flat")
    assert split.test is not None
    assert (len(split.train), len(split.test)) == (2, 1)
    lay(tmp_path / "both" / "train", 3)
    lay(tmp_path / "both" / "test", 1)
    split = sets.load("synthetic", tmp_path / "both")
    assert split.test is not None
    assert (len(split.train), len(split.test)) == (3, 1)
    assert split.train.skeleton == SYNTH28


@pytest.mark.shared
def test_lsp(shared):
    split = sets.load("lsp", shared / "data")
    assert [(name, len(people)) for name, people in split.parts] == [("train", 850), ("val", 150), ("test", 1000)]
    assert [name for name, _ in sets.load("lspet", shared / "data").parts] == ["train"]
    assert isinstance(split.train.pictures[0], Path)
