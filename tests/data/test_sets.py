"""The sets by name."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from poseling.data import sets
from poseling.data.synthetic import SHAPES, claim, image_path, truth_path, write_truth
from poseling.skeleton import COCO17, MOVNECT15, SYNTH28


def test_names():
    assert sets.names() == ", ".join(sets.SETS)
    assert sets.names(boxes=True) == "coco, crowdpose, ochuman"
    assert sets.names(is_3d=True) == "h36m, mpi_inf_3dhp, synthetic, mini"
    assert "ochuman" not in sets.names("train")
    assert {"lspet", "images"}.isdisjoint(sets.names("test").split(", "))


def test_rows_are_complete():
    for name, row in sets.SETS.items():
        assert row.help, name
        assert row.licence, name
        assert set(row.splits) <= {"train", "val", "test"}, name


def test_errors_name_the_way_out(tmp_path):
    with pytest.raises(ValueError, match=f"no data set 'cocoa'; there are {sets.names()}"):
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
    assert found.is_3d


def test_images_and_official_mpii_have_no_test_split(tmp_path):
    cv2.imwrite(str(tmp_path / "a.png"), np.zeros((5, 5, 3), np.uint8))
    assert sets.load("images", tmp_path).test is None


def test_mpii_validates_on_valid(tmp_path):
    row = {
        "image": "a.png",
        "joints": [[k + 1.0, 2 * k + 1.0] for k in range(16)],
        "joints_vis": [1] * 16,
        "center": [9.0, 9.0],
        "scale": 0.1,
    }
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
            image_path(root, i).parent.mkdir(parents=True, exist_ok=True)
            image_path(root, i).write_bytes(b"here")
        row = {name: np.ones(shape) for name, shape in SHAPES.items()} | {
            "box": np.array([1, 2, 3, 4]),
            "motion": np.array("walk"),
        }
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
    assert [(name, len(dataset)) for name, dataset in split.parts] == [
        ("train", 850),
        ("val", 150),
        ("test", 1000),
    ]
    assert [name for name, _ in sets.load("lspet", shared / "data").parts] == ["train"]
    assert isinstance(split.train.images[0], Path)


def image_folder(root: Path, count: int) -> Path:
    root.mkdir()
    for i in range(count):
        cv2.imwrite(str(root / f"{i}.png"), np.zeros((5, 5, 3), np.uint8))
    return root


def test_several_sets_by_size(tmp_path):
    found = sets.load_all(
        ("images", "images"), (image_folder(tmp_path / "a", 2), image_folder(tmp_path / "b", 3)), COCO17
    )
    assert found.names == ("images", "images")
    assert found.origin.tolist() == [0, 0, 1, 1, 1]
    assert [p.parent.name for p in found.train.images] == ["a", "a", "b", "b", "b"]
    assert found.train.draws is None
    assert (found.train.skeleton, found.val, found.test) == (COCO17, None, None)


def test_shares_by_hand(tmp_path):
    """0.4 of all draws for two people; the others, of 3 and 1 people, divide 0.6 by their size: 0.15 for
    everybody.
    """
    roots = [image_folder(tmp_path / name, count) for name, count in (("a", 2), ("b", 3), ("c", 1))]
    found = sets.load_all(("images:0.4", "images", "images"), roots)
    assert found.train.draws == pytest.approx([0.2, 0.2, 0.15, 0.15, 0.15, 0.15])
    whole = sets.load_all(("images:0.25", "images:0.75"), roots[:2])
    assert whole.train.draws == pytest.approx([0.125, 0.125, 0.25, 0.25, 0.25])
    assert sets.load_all(("images:1",), roots[:1]).train.draws == pytest.approx([0.5, 0.5])


def test_one_root_for_all_and_people_to_choose_by_from_who_has_them(tmp_path):
    images = image_folder(tmp_path / "a", 2)
    found = sets.load_all(("images:0.5", "mini:0.5"), (images, tmp_path / "mini"), MOVNECT15)
    assert found.names == ("images", "mini")
    assert found.train.skeleton == found.val.skeleton == found.test.skeleton == MOVNECT15
    assert (len(found.val), len(found.test)) == (150, 300)
    assert (found.train.visible[-1, MOVNECT15.index("head_top")] > 0).any()
    twice = sets.load_all(("images", "images"), (images,))
    assert [p.name for p in twice.train.images] == ["0.png", "1.png", "0.png", "1.png"]


@pytest.mark.parametrize(
    ("data", "count", "message"),
    [
        (
            ("images", "images", "images"),
            2,
            r"--root names 2 folders for 3 sets \(--data images images images\)",
        ),
        (("images:much",), 1, "--data images:much: 'much' is not a share; give a number above 0"),
        (("images:0",), 1, "--data images:0: a share is above 0 and at most 1; leave out a set"),
        (("images:-0.2",), 1, "--data images:-0.2: a share is above 0"),
        (("images:nan",), 1, "--data images:nan: a share is above 0"),
        (("images:1.5",), 1, "--data images:1.5: a share is above 0"),
        (("images:0.7", "images:0.7"), 1, r"the shares sum to 1\.4; they are parts of 1"),
        (("images:0.2", "images:0.3"), 1, r"the shares sum to 0\.5; they are parts of 1"),
        (("images:0.2",), 1, r"the shares sum to 0\.2"),
        (("images:1", "images"), 1, "nothing is left for images; lower the other shares, or leave it out"),
        (("images", "cocoa"), 1, "there is no data set 'cocoa'"),
        (("images", "mpii"), 0, "--data images needs --root"),
        (("images", "ochuman"), 1, "there is no such|not found"),
    ],
)
def test_several_sets_that_do_not_go(tmp_path, data, count, message):
    images = image_folder(tmp_path / "a", 2)
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        sets.load_all(data, (images,) * count)
