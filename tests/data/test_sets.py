"""The sets by name."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from poseling.data import drawn, sets


def test_names():
    assert list(sets.SETS) == ["lsp", "mpii", "images", "drawn"]


def test_errors_say_the_way_out(tmp_path):
    with pytest.raises(ValueError, match="no data set 'coco'; there are lsp, mpii, images, drawn"):
        sets.load("coco", tmp_path)
    with pytest.raises(FileNotFoundError, match="--root names the folder that holds lsp"):
        sets.load("lsp", tmp_path / "gone")
    (tmp_path / "joints.mat").write_bytes(b"")
    with pytest.raises(FileNotFoundError, match="is LSP itself; name the folder that holds it"):
        sets.load("lsp", tmp_path)


def test_drawn_makes_its_own_folder(tmp_path, monkeypatch):
    monkeypatch.setattr(drawn, "TRAIN", 3)
    monkeypatch.setattr(drawn, "TEST", 2)
    split = sets.load("drawn", tmp_path / "new")
    assert (len(split.train), len(split.test)) == (3, 2)
    assert not np.allclose(split.train.joints[:2], split.test.joints)


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


@pytest.mark.shared
def test_lsp(shared):
    split = sets.load("lsp", shared / "data")
    assert (len(split.train), len(split.test)) == (10991, 1000)
    assert isinstance(split.train.pictures[0], Path)
