"""The data sets by name. Each is a function from a folder to the people in it: to train on, to choose by, and to test on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path

from poseling.data import coco, h36m, images, lsp, mini, mpi_inf_3dhp, mpii, packed
from poseling.data.people import People
from poseling.data.synthetic import synthetic
from poseling.skeleton import COCO17, Skeleton

Part = People | Callable[[], People]


@dataclass(frozen=True)
class Split:
    """People to train on, people to choose by (curves, flags, when to stop), and people to test on, once, at the end; None where the set has none.

    A part may be a function that reads it: COCO's file of training people alone takes a while.
    """

    training: Part | None
    testing: Part | None
    validating: Part | None = None

    @cached_property
    def train(self) -> People:
        """ValueError where the set was made for testing only."""
        if self.training is None:
            name = f"{self.test.name} has" if self.test is not None else "the set has"
            raise ValueError(
                f"{name} no people to train on, it was made for testing or only its test part is here; train on another set, such as coco"
            )
        return _read(self.training)

    @cached_property
    def val(self) -> People | None:
        """None where the set has none of its own."""
        return None if self.validating is None else _read(self.validating)

    @cached_property
    def test(self) -> People | None:
        """None where the set has none."""
        return None if self.testing is None else _read(self.testing)

    def to(self, skeleton: Skeleton) -> Split:
        """The same people in another skeleton."""

        def moved(part: Part | None) -> Part | None:
            return None if part is None else lambda: _read(part).to(skeleton)

        return Split(moved(self.training), moved(self.testing), moved(self.validating))

    @property
    def parts(self) -> list[tuple[str, People]]:
        """What there is, each with its name."""
        parts = [("train", None if self.training is None else self.train), ("val", self.val), ("test", self.test)]
        return [(name, people) for name, people in parts if people is not None]


def _read(part: Part) -> People:
    return part if isinstance(part, People) else part()


def _lsp(root: Path) -> Split:
    if (root / "joints.mat").is_file() and not (root / "lsp").is_dir():
        raise FileNotFoundError(f"{root}: is LSP itself; name the folder that holds it as lsp/ (and lspet/, if you have it)")
    return Split(lsp.train(root), lsp.test(root), lsp.val(root))


def _lspet(root: Path) -> Split:
    return Split(lsp.lspet(root / "lspet" if (root / "lspet").is_dir() else root), None)


def _mpii(root: Path) -> Split:
    if (root / "annot" / "train.json").is_file():
        return Split(mpii.mpii(root, "train"), mpii.mpii(root, "valid"))
    return Split(mpii.mpii(root, "trainval"), None)  # the official file keeps the labels of its test people to itself


def _images(root: Path) -> Split:
    return Split(images.images(root), None)


def _mini(root: Path) -> Split:
    return Split(*(mini.mini(part, root).to(COCO17) for part in ("train", "test", "val")))


def _synthetic(root: Path) -> Split:
    return _folders(root, synthetic)


def _packed(root: Path) -> Split:
    return _folders(root, packed.packed)


def _folders(root: Path, read: Callable[[Path], People]) -> Split:
    """A part a folder; a `root` without such is all for training."""
    if not (root / "train").exists():
        return Split(read(root), None)
    test, val = (partial(read, root / part) if (root / part).exists() else None for part in ("test", "val"))
    return Split(partial(read, root / "train"), test, val)


def _coco(root: Path) -> Split:
    return Split(lambda: coco.train(root), lambda: coco.val(root))


def _crowdpose(root: Path) -> Split:
    # Its papers train on both parts where they are there in one file.
    def train() -> People:
        try:
            return coco.crowdpose(root, "trainval")
        except FileNotFoundError:
            return coco.crowdpose(root, "train")

    return Split(lambda: replace(train(), instances=None), lambda: coco.crowdpose(root, "test"))


def _ochuman(root: Path) -> Split:
    return Split(None, lambda: coco.ochuman(root))


def _in_space(read: Callable[[Path, str], People]) -> Callable[[Path], Split]:
    """Sets of two parts; a `root` that is a file has those that are in it."""

    def split(root: Path) -> Split:
        if root.is_file():
            train, test = read(root, "train"), read(root, "test")
            if not len(train) and not len(test):
                raise ValueError(f"{root}: none of its pictures is of a subject to train on or to test on")
            return Split(train if len(train) else None, test if len(test) else None)
        return Split(lambda: read(root, "train"), lambda: read(root, "test"))

    return split


SETS: dict[str, Callable[[Path], Split]] = {
    "lsp": _lsp,
    "lspet": _lspet,
    "mpii": _mpii,
    "coco": _coco,
    "crowdpose": _crowdpose,
    "ochuman": _ochuman,
    "h36m": _in_space(h36m.h36m),
    "mpi_inf_3dhp": _in_space(mpi_inf_3dhp.mpi_inf_3dhp),
    "images": _images,
    "packed": _packed,
    "synthetic": _synthetic,
    "mini": _mini,
}
# The sets whose test people can be given the boxes of a detector.
BOXES: dict[str, Callable[[Path, Path], People]] = {
    "coco": coco.val,
    "crowdpose": lambda root, boxes: coco.crowdpose(root, "test", boxes),
    "ochuman": lambda root, boxes: coco.ochuman(root, "test", boxes),
}


def load(name: str, root: Path | None = None, skeleton: Skeleton | None = None) -> Split:
    """The set `name` under `root`, which `mini` can do without; in `skeleton` where one is given: the mini set otherwise comes in COCO's, which is less than it has.

    ValueError with the names there are, or if there has to be a `root`; FileNotFoundError if it is not there (`mini` makes its own).
    """
    if name not in SETS:
        raise ValueError(f"there is no data set {name!r}; there are {', '.join(SETS)}")
    if name == "mini":
        root = root or mini.cache_folder()
    elif root is None:
        raise ValueError(f"--data {name} needs --root, the folder that holds it")
    if name not in ("mini", "synthetic") and not root.exists():  # the last has more to say
        raise FileNotFoundError(f"{root}: there is no such folder; --root names the folder that holds {name}")
    if skeleton is None:
        return SETS[name](root)
    whole = Split(*(mini.mini(part, root) for part in ("train", "test", "val"))) if name == "mini" else SETS[name](root)
    return whole.to(skeleton)


def people_to_test(name: str, root: Path | None = None, boxes: str | None = None, skeleton: Skeleton | None = None) -> People:
    """The test people of the set `name`, in their annotated boxes (`ground-truth`, and None), or in those of a detector's file `boxes`; `detections` is the file that
    COCO's published results are measured with, where it usually lies. People that the program made are in `skeleton`, if one is given: they have more joints than
    others, and recipes measure them so. ValueError where the set has no labelled test people or no detections can be given.
    """
    if boxes in (None, coco.GROUND_TRUTH):
        people = load(name, root, skeleton if name in ("mini", "synthetic") else None).test
        if people is None:
            raise ValueError(f"{name} under {root} has no labelled people to test on")
        return people
    if name not in BOXES or root is None:
        raise ValueError(f"--boxes {boxes} is for --data {', '.join(BOXES)} with --root; {name} has boxes of its own")
    return BOXES[name](root, root / coco.DETECTIONS if boxes == "detections" else Path(boxes))
