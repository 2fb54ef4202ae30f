"""The data sets by name. Each is a function from a folder to the people in it: to train on, to choose by, and
to test on.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from poseling.data import coco, h36m, images, lsp, mini, mpi_inf_3dhp, mpii, packed
from poseling.data.dataset import PoseDataset, join
from poseling.data.synthetic import synthetic
from poseling.skeleton import COCO17, Skeleton

Part = PoseDataset | Callable[[], PoseDataset]


@dataclass(frozen=True)
class Split:
    """People to train on, people to choose by (curves, flags, when to stop), and people to test on, once, at
    the end; None where the set has none.

    A part may be a function that reads it: COCO's file of training people alone takes a while.
    """

    training: Part | None
    testing: Part | None
    validating: Part | None = None

    @cached_property
    def train(self) -> PoseDataset:
        """ValueError where the set was made for testing only."""
        if self.training is None:
            name = f"{self.test.name} has" if self.test is not None else "the set has"
            raise ValueError(
                f"{name} no people to train on, it was made for testing or only its test part is here; train "
                f"on another set, such as coco"
            )
        return _read(self.training)

    @cached_property
    def val(self) -> PoseDataset | None:
        """None where the set has none of its own."""
        return None if self.validating is None else _read(self.validating)

    @cached_property
    def test(self) -> PoseDataset | None:
        """None where the set has none."""
        return None if self.testing is None else _read(self.testing)

    def to(self, skeleton: Skeleton) -> Split:
        """The same people in another skeleton."""

        def moved(part: Part | None) -> Part | None:
            return None if part is None else lambda: _read(part).to(skeleton)

        return Split(moved(self.training), moved(self.testing), moved(self.validating))

    @property
    def parts(self) -> list[tuple[str, PoseDataset]]:
        """What there is, each with its name."""
        parts = [
            ("train", None if self.training is None else self.train),
            ("val", self.val),
            ("test", self.test),
        ]
        return [(name, dataset) for name, dataset in parts if dataset is not None]


def _read(part: Part) -> PoseDataset:
    return part if isinstance(part, PoseDataset) else part()


def _lsp(root: Path) -> Split:
    if (root / "joints.mat").is_file() and not (root / "lsp").is_dir():
        raise FileNotFoundError(
            f"{root}: is LSP itself; name the folder that holds it as lsp/ (and lspet/, if you have it)"
        )
    return Split(lsp.train(root), lsp.test(root), lsp.val(root))


def _lspet(root: Path) -> Split:
    return Split(lsp.lspet(root / "lspet" if (root / "lspet").is_dir() else root), None)


def _mpii(root: Path) -> Split:
    if (root / "annot" / "train.json").is_file():
        return Split(mpii.mpii(root, "train"), mpii.mpii(root, "valid"))
    return Split(
        mpii.mpii(root, "trainval"), None
    )  # the official file keeps the labels of its test people to itself


def _images(root: Path) -> Split:
    return Split(images.images(root), None)


def _mini(root: Path) -> Split:
    return Split(*(mini.mini(part, root).to(COCO17) for part in ("train", "test", "val")))


def _synthetic(root: Path) -> Split:
    return _folders(root, synthetic)


def _packed(root: Path) -> Split:
    return _folders(root, packed.packed)


def _folders(root: Path, read: Callable[[Path], PoseDataset]) -> Split:
    """A part a folder; a `root` without a folder train is all for training."""
    test, val = (partial(read, root / part) if (root / part).exists() else None for part in ("test", "val"))
    if (root / "train").exists():
        return Split(partial(read, root / "train"), test, val)
    return Split(partial(read, root) if test or val else read(root), test, val)


def _coco(root: Path) -> Split:
    return Split(lambda: coco.train(root), lambda: coco.val(root))


def _crowdpose(root: Path) -> Split:
    # Its papers train on both parts where they are there in one file.
    def train() -> PoseDataset:
        try:
            return coco.crowdpose(root, "trainval")
        except FileNotFoundError:
            return coco.crowdpose(root, "train")

    return Split(lambda: replace(train(), instances=None), lambda: coco.crowdpose(root, "test"))


def _ochuman(root: Path) -> Split:
    return Split(None, lambda: coco.ochuman(root))


def _in_space(read: Callable[[Path, str], PoseDataset]) -> Callable[[Path], Split]:
    """Sets of two parts; a `root` that is a file has those that are in it."""

    def split(root: Path) -> Split:
        if root.is_file():
            train, test = read(root, "train"), read(root, "test")
            if not len(train) and not len(test):
                raise ValueError(f"{root}: none of its images is of a subject to train on or to test on")
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
BOXES: dict[str, Callable[[Path, Path], PoseDataset]] = {
    "coco": coco.val,
    "crowdpose": lambda root, boxes: coco.crowdpose(root, "test", boxes),
    "ochuman": lambda root, boxes: coco.ochuman(root, "test", boxes),
}


def load(name: str, root: Path | None = None, skeleton: Skeleton | None = None) -> Split:
    """The set `name` under `root`, which `mini` can do without; in `skeleton` where one is given: the mini
    set otherwise comes in COCO's, which is less than it has.

    ValueError with the names there are, or if there has to be a `root`; FileNotFoundError if it is not there
    (`mini` makes its own).
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
    whole = (
        Split(*(mini.mini(part, root) for part in ("train", "test", "val")))
        if name == "mini"
        else SETS[name](root)
    )
    return whole.to(skeleton)


@dataclass(frozen=True, eq=False)
class Sources:
    """Several sets as one: `names` of the sets, the people to train on, `origin` (N,) the set each of them is
    from, and those to choose by and to test on of the sets that have such.
    """

    names: tuple[str, ...]
    train: PoseDataset
    origin: NDArray[np.int64]
    val: PoseDataset | None
    test: PoseDataset | None


def load_all(data: Sequence[str], roots: Sequence[Path], skeleton: Skeleton | None = None) -> Sources:
    """The sets called NAME or NAME:SHARE, in `skeleton` or that of the first; `roots` are a folder for each,
    or one for all.

    A share is the part of the training that is drawn from the set; sets without one divide what the others
    leave, by their size. ValueError that names the set for shares that are no numbers above 0 or sum to more
    than 1, for a number of roots that fits none, and for sets whose skeletons have no joint in common.
    """
    pairs = [(name, share) for name, _, share in (entry.partition(":") for entry in data)]
    if len(roots) > 1 and len(roots) != len(pairs):
        raise ValueError(
            f"--root names {len(roots)} folders for {len(pairs)} sets (--data {' '.join(data)}); give one "
            f"for all, or one for each"
        )
    folders = [*roots] if len(roots) > 1 else [*roots] * len(pairs) if roots else [None] * len(pairs)
    shares = [_share(name, text) for name, text in pairs]
    splits = [load(name, folder, skeleton) for (name, _), folder in zip(pairs, folders, strict=True)]
    trains = [split.train for split in splits]
    kind = skeleton or trains[0].skeleton
    given = sum(share for share in shares if share is not None)
    if given > 1 + 1e-6 or (given < 1 - 1e-6 and None not in shares):
        raise ValueError(
            f"--data {' '.join(data)}: the shares sum to {given:g}; they are parts of 1 (a set without one "
            f"takes what is left)"
        )
    if given and given > 1 - 1e-6 and None in shares:
        left = next(name for (name, _), share in zip(pairs, shares, strict=True) if share is None)
        raise ValueError(
            f"--data {' '.join(data)}: nothing is left for {left}; lower the other shares, or leave it out"
        )
    if given:
        rest = sum(len(dataset) for dataset, share in zip(trains, shares, strict=True) if share is None)
        trains = [
            dataset.drawn((1 - given) * len(dataset) / rest if share is None else share)
            for dataset, share in zip(trains, shares, strict=True)
        ]
    origin = np.repeat(np.arange(len(trains)), [len(dataset) for dataset in trains])

    def joined(parts: list[PoseDataset | None]) -> PoseDataset | None:
        there = [part.to(kind) for part in parts if part is not None]
        return there[0] if len(there) == 1 else join(*there) if there else None

    train = joined([*trains])
    assert train is not None
    return Sources(
        tuple(dataset.name for dataset in trains),
        train,
        origin,
        joined([s.val for s in splits]),
        joined([s.test for s in splits]),
    )


def _share(name: str, text: str) -> float | None:
    if not text:
        return None
    try:
        share = float(text)
    except ValueError:
        raise ValueError(
            f"--data {name}:{text}: {text!r} is no share; give a number above 0 and up to 1, such as "
            f"{name}:0.5"
        ) from None
    if not 0 < share <= 1:
        raise ValueError(
            f"--data {name}:{text}: a share lies above 0 and up to 1; leave the set out if nothing of it is "
            f"wanted"
        )
    return share


def people_to_test(
    name: str, root: Path | None = None, boxes: str | None = None, skeleton: Skeleton | None = None
) -> PoseDataset:
    """The test people of the set `name`, in their annotated boxes (`ground-truth`, and None), or in those of
    a detector's file `boxes`; `detections` is the file that COCO's published results are measured with, where
    it usually lies. People that the program made are in `skeleton`, if one is given: they have more joints
    than others, and recipes measure them so. ValueError where the set has no labelled test people or no
    detections can be given.
    """
    if boxes in (None, coco.GROUND_TRUTH):
        dataset = load(name, root, skeleton if name in ("mini", "synthetic") else None).test
        if dataset is None:
            raise ValueError(f"{name} under {root} has no labelled people to test on")
        return dataset
    if name not in BOXES or root is None:
        raise ValueError(
            f"--boxes {boxes} is for --data {', '.join(BOXES)} with --root; {name} has boxes of its own"
        )
    return BOXES[name](root, root / coco.DETECTIONS if boxes == "detections" else Path(boxes))
