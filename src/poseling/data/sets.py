"""The data sets by name. Each is a function from a folder to the people in it, for training and for testing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from poseling.data import images, lsp, mini, mpii
from poseling.data.people import People
from poseling.data.synthetic import synthetic
from poseling.skeleton import COCO17


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


def _mini(root: Path) -> Split:
    return Split(mini.mini("train", root).to(COCO17), mini.mini("test", root).to(COCO17))


def _synthetic(root: Path) -> Split:
    train, test = root / "train", root / "test"
    return Split(synthetic(train if train.exists() else root), synthetic(test) if test.exists() else None)


SETS: dict[str, Callable[[Path], Split]] = {"lsp": _lsp, "mpii": _mpii, "images": _images, "synthetic": _synthetic, "mini": _mini}


def load(name: str, root: Path | None = None) -> Split:
    """The set `name` under `root`, which `mini` can do without. ValueError with the names there are, or if there has to be a `root`; FileNotFoundError if it is
    not there (`mini` makes its own).
    """
    if name not in SETS:
        raise ValueError(f"there is no data set {name!r}; there are {', '.join(SETS)}")
    if name == "mini":
        root = root or mini.cache_folder()
    elif root is None:
        raise ValueError(f"--data {name} needs --root, the folder that holds it")
    if name not in ("mini", "synthetic") and not root.exists():  # the last has more to say
        raise FileNotFoundError(f"{root}: there is no such folder; --root names the folder that holds {name}")
    return SETS[name](root)
