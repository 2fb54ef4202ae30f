"""Leeds Sports Pose (Johnson and Everingham, BMVC 2010) and its extension LSPET (CVPR 2011).

LSP is `joints.mat` of shape (3, 14, N) beside `images/im0001.jpg`; its third row marks **occluded** joints
(1). LSPET is (14, 3, N) beside `images/im00001.jpg`; its third column marks **labelled** joints (1). Both may
hold images as .jpg, .png or .webp. Left and right are the person's own.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from poseling.arrays import numbers
from poseling.data.dataset import PoseDataset, from_joints
from poseling.data.matlab import read_mat
from poseling.skeleton import LSP14

LICENCE = "Flickr photographs, no licence stated: research"
SUFFIXES = (".jpg", ".webp", ".png")


def lsp(root: Path) -> PoseDataset:
    """All of LSP, in order; the first 1000 are for training, the rest for testing."""
    joints = _joints(root / "joints.mat", (3, 14, None))
    xy, occluded = joints[:2].transpose(2, 1, 0), joints[2].T > 0.5
    return from_joints(
        "lsp",
        LSP14,
        _images(root / "images", 4, len(xy)),
        xy,
        np.where(occluded, 1, 2),
        LICENCE,
        path=root / "joints.mat",
    )


def lspet(root: Path) -> PoseDataset:
    """All of LSPET; it has no test split."""
    joints = _joints(root / "joints.mat", (14, 3, None))
    xy, labelled = joints[:, :2].transpose(2, 0, 1), joints[:, 2].T > 0.5
    return from_joints(
        "lspet",
        LSP14,
        _images(root / "images", 5, len(xy)),
        xy,
        np.where(labelled, 2, 0),
        LICENCE,
        path=root / "joints.mat",
    )


def train(root: Path) -> PoseDataset:
    """LSP 1-850 of `root`/lsp. The split is ours: the authors train on all of 1-1000."""
    return _numbered(lsp(root / "lsp"), 1, 850)


def val(root: Path) -> PoseDataset:
    """LSP 851-1000, for validation."""
    return _numbered(lsp(root / "lsp"), 851, 1000)


def test(root: Path) -> PoseDataset:
    """LSP 1001-2000."""
    return _numbered(lsp(root / "lsp"), 1001, 2000)


def _numbered(dataset: PoseDataset, first: int, last: int) -> PoseDataset:
    """Those in the images `first` to `last`, by the file's number: a sample that is left out does not
    move others from the test split to the training split.
    """

    def inside(image: Path) -> bool:
        return first <= int(image.stem.removeprefix("im")) <= last

    chosen = dataset[np.array([inside(p) for p in dataset.images], bool)]
    return replace(chosen, findings=tuple(f for f in dataset.findings if inside(f.image)))


def _joints(path: Path, shape: tuple[int | None, ...]) -> np.ndarray:
    if not path.is_file():
        raise FileNotFoundError(
            f"{path}: not found; the folder must hold joints.mat and images/ as the data set comes"
        )
    (joints,) = read_mat(path, "joints")
    if getattr(joints, "size", 0) == 0:
        raise ValueError(f"{path}: joints is empty")
    try:
        return numbers(joints, *shape)
    except (ValueError, AttributeError) as error:
        got = getattr(joints, "shape", ())
        hint = (
            "; this looks like the other of LSP and LSPET"
            if len(got) == 3 and sorted(got[:2]) == [3, 14]
            else ""
        )
        wanted = " x ".join("N" if s is None else str(s) for s in shape)
        raise ValueError(f"{path}: joints has shape {got}, expected {wanted} numbers{hint}") from error


def _images(folder: Path, digits: int, count: int) -> list[Path]:
    """im0001 ... with whatever suffix the folder uses."""
    there = {p.name for p in folder.iterdir()} if folder.is_dir() else set()
    names = (f"im{i:0{digits}d}" for i in range(1, count + 1))
    return [
        folder / next((stem + s for s in SUFFIXES if stem + s in there), stem + SUFFIXES[0]) for stem in names
    ]
