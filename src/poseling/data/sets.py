"""The data sets by name. Each is a function from a folder to the people in it, for training and for testing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from poseling.data import drawn, images, lsp, mpii
from poseling.data.people import People


@dataclass(frozen=True)
class Split:
    """People to train on, and people with labels to test on; None where the set has none."""

    train: People
    test: People | None


def _lsp(root: Path) -> Split:
    if (root / "joints.mat").is_file() and not (root / "lsp").is_dir():
        raise FileNotFoundError(f"{root}: is LSP itself; name the folder that holds it as lsp/ (and lspet/, if you have it)")
    return Split(lsp.train(root), lsp.test(root))


def _mpii(root: Path) -> Split:
    if (root / "annot" / "train.json").is_file():
        return Split(mpii.mpii(root, "train"), mpii.mpii(root, "valid"))
    return Split(mpii.mpii(root, "trainval"), None)  # the official file keeps the labels of its test people to itself


def _images(root: Path) -> Split:
    return Split(images.images(root), None)


def _drawn(root: Path) -> Split:
    return Split(drawn.train(root), drawn.test(root))


SETS: dict[str, Callable[[Path], Split]] = {"lsp": _lsp, "mpii": _mpii, "images": _images, "drawn": _drawn}


def load(name: str, root: Path) -> Split:
    """The set `name` under `root`. ValueError with the names there are; FileNotFoundError if `root` is not there (`drawn` makes its own)."""
    if name not in SETS:
        raise ValueError(f"there is no data set {name!r}; there are {', '.join(SETS)}")
    if name != "drawn" and not root.exists():
        raise FileNotFoundError(f"{root}: there is no such folder; --root names the folder that holds {name}")
    return SETS[name](root)
