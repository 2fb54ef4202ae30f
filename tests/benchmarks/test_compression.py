"""Which people have labels where a benchmark lets few have them."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

import cv2
import numpy as np

from poseling.data.dataset import from_joints
from poseling.data.packed import pack, packed
from poseling.skeleton import LSP14


def test_few_have_labels_and_the_judges_keep_theirs(compression: ModuleType, tmp_path: Path):
    image = tmp_path / "image.png"
    cv2.imwrite(str(image), np.full((40, 30, 3), 128, np.uint8))
    joints = np.random.default_rng(0).uniform(4, 26, (12, 14, 2)).astype(np.float32)
    everybody = from_joints("set", LSP14, [image] * 12, joints, np.ones((12, 14), np.uint8), "none")
    for part in ("lsp/train", "lsp/val", "lsp/test", "lspet"):
        (tmp_path / "packed" / part).parent.mkdir(parents=True, exist_ok=True)
        pack(everybody, tmp_path / "packed" / part, size=32)
    folder = compression.few_labels(tmp_path / "packed", tmp_path / "out", 5)
    labelled = {
        part: int(packed(folder / part).visible.any(1).sum())
        for part in ("lsp/train", "lsp/val", "lsp/test", "lspet")
    }
    assert labelled == {"lsp/train": 5, "lsp/val": 12, "lsp/test": 12, "lspet": 0}
    assert compression.few_labels(tmp_path / "packed", tmp_path / "out", 5) == folder  # and is left as it is
