"""The data sets by name, in `SETS`: a row for each. A row reads a folder into samples to train on, to
validate on and to test on.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from poseling.data import coco, h36m, images, lsp, mini, mpi_inf_3dhp, mpii, packed, synthetic
from poseling.data.coco_files import NO_FILES, CocoFiles
from poseling.data.coco_json import coco_json
from poseling.data.dataset import PoseDataset, join
from poseling.skeleton import COCO17, Skeleton

Part = PoseDataset | Callable[[], PoseDataset]


@dataclass(frozen=True)
class Split:
    """Samples to train on, to test on once at the end, and to validate on (curves, flags, when to stop); None
    where the set has none.

    A part may be a function that reads it: COCO's training file alone takes a while.
    """

    training: Part | None
    testing: Part | None = None
    validating: Part | None = None

    @cached_property
    def train(self) -> PoseDataset:
        """ValueError where the set has only a test part."""
        if self.training is None:
            name = f"{self.test.name} has" if self.test is not None else "the set has"
            raise ValueError(
                f"{name} no people to train on, it was made for testing or only its test part is here; train "
                f"on another set, such as coco"
            )
        return _read(self.training)

    @cached_property
    def val(self) -> PoseDataset | None:
        """None where the set has no such part."""
        return None if self.validating is None else _read(self.validating)

    @cached_property
    def test(self) -> PoseDataset | None:
        """None where the set has no such part."""
        return None if self.testing is None else _read(self.testing)

    def to(self, skeleton: Skeleton) -> Split:
        """The same samples in another skeleton."""

        def moved(part: Part | None) -> Part | None:
            return None if part is None else lambda: _read(part).to(skeleton)

        return Split(moved(self.training), moved(self.testing), moved(self.validating))

    @property
    def parts(self) -> list[tuple[str, PoseDataset]]:
        """The parts that exist, each with its name."""
        parts = [
            ("train", None if self.training is None else self.train),
            ("val", self.val),
            ("test", self.test),
        ]
        return [(name, dataset) for name, dataset in parts if dataset is not None]


@dataclass(frozen=True)
class Row:
    """A data set.

    - read: from the folder to the samples; with `annotated` also from the user's `CocoFiles`
    - help: one line, what it is and how its folder looks
    - licence: of the data, in words
    - splits: those of `train`, `val` and `test` that it can have
    - boxes: its test samples in a detector's boxes, from the folder and the detector's file
    - skeleton: the joints that are read unless others are asked for, where that is not all it has
    - full_body: whether it has more joints than others, so that recipes test in the skeleton of the network
    - is_3d: whether it has 3D joints
    - folder: where it lies if no folder is named
    - missing: what to do if its folder is not there
    """

    read: Callable[..., Split]
    help: str
    licence: str
    splits: tuple[str, ...] = ("train",)
    boxes: Callable[[Path, Path], PoseDataset] | None = None
    annotated: bool = False
    skeleton: Skeleton | None = None
    full_body: bool = False
    is_3d: bool = False
    folder: Callable[[], Path] | None = None
    missing: str = "--root names the folder that holds {name}"


def _read(part: Part) -> PoseDataset:
    return part if isinstance(part, PoseDataset) else part()


def _lsp(root: Path) -> Split:
    if (root / "joints.mat").is_file() and not (root / "lsp").is_dir():
        raise FileNotFoundError(
            f"{root}: is LSP itself; name the folder that holds it as lsp/ (and lspet/, if you have it)"
        )
    return Split(lsp.train(root), lsp.test(root), lsp.val(root))


def _lspet(root: Path) -> Split:
    return Split(lsp.lspet(root / "lspet" if (root / "lspet").is_dir() else root))


def _mpii(root: Path) -> Split:
    if (root / "annot" / "train.json").is_file():
        return Split(mpii.mpii(root, "train"), mpii.mpii(root, "valid"))
    return Split(mpii.mpii(root, "trainval"))  # the official file has no labels of its test people


def _mini(root: Path) -> Split:
    return Split(*(mini.mini(part, root) for part in ("train", "test", "val")))


def _folders(read: Callable[[Path], PoseDataset], root: Path) -> Split:
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


def _coco_json(root: Path, files: CocoFiles) -> Split:
    paths = files.annotations
    count = len(paths)
    if not 1 <= count <= 3:
        raise ValueError(
            f"--data coco_json needs --annotations: one file, or one each to train and test on, or one each "
            f"to train, validate and test on; {count} are given"
        )
    if count == 1:  # `people_to_test` may be asked for it, so it keeps its instances
        return Split(lambda: coco_json(root, paths[0], files))
    return Split(
        lambda: replace(coco_json(root, paths[0], files), instances=None),
        lambda: coco_json(root, paths[-1], files),
        (lambda: coco_json(root, paths[1], files)) if count == 3 else None,
    )


def _in_3d(read: Callable[[Path, str], PoseDataset], root: Path) -> Split:
    """Sets of two parts; a `root` that is a file has those that are in it."""
    if root.is_file():
        train, test = read(root, "train"), read(root, "test")
        if not len(train) and not len(test):
            raise ValueError(f"{root}: none of its images is of a subject to train on or to test on")
        return Split(train if len(train) else None, test if len(test) else None)
    return Split(lambda: read(root, "train"), lambda: read(root, "test"))


TRAIN, TEST, BOTH, ALL = ("train",), ("test",), ("train", "test"), ("train", "val", "test")
SETS: dict[str, Row] = {
    "lsp": Row(_lsp, "Leeds Sports Pose, as lsp/ in the folder", lsp.LICENCE, ALL),
    "lspet": Row(_lspet, "its extension, as lspet/ in the folder", lsp.LICENCE, TRAIN),
    "mpii": Row(_mpii, "MPII Human Pose: images/ and annot/, or the official file", mpii.LICENCE, BOTH),
    "coco": Row(_coco, "COCO's persons: annotations/, train2017/, val2017/", coco.LICENCE, BOTH, coco.val),
    "crowdpose": Row(
        _crowdpose, "CrowdPose: images/ and json/", coco.CROWDPOSE_LICENCE, BOTH,
        lambda root, boxes: coco.crowdpose(root, "test", boxes),
    ),
    "ochuman": Row(
        lambda root: Split(None, lambda: coco.ochuman(root)), "OCHuman: images/ and its COCO-like file",
        coco.OCHUMAN_LICENCE, TEST, lambda root, boxes: coco.ochuman(root, "test", boxes),
    ),
    "coco_json": Row(
        _coco_json, "any file in COCO's format with its own joints, named by --annotations",
        "as the file says", ALL, annotated=True,
    ),
    "h36m": Row(
        partial(_in_3d, h36m.h36m), "Human3.6M as mmpose or VideoPose3D have it", h36m.LICENCE, BOTH,
        is_3d=True,
    ),
    "mpi_inf_3dhp": Row(
        partial(_in_3d, mpi_inf_3dhp.mpi_inf_3dhp), "MPI-INF-3DHP as mmpose has it", mpi_inf_3dhp.LICENCE,
        BOTH, is_3d=True,
    ),
    "images": Row(
        lambda root: Split(images.images(root)), "a folder of images, or a video, without labels",
        images.LICENCE, TRAIN,
    ),
    "packed": Row(partial(_folders, packed.packed), "what `poseling data pack` writes", "as packed", ALL),
    "synthetic": Row(
        partial(_folders, synthetic.synthetic), "what `poseling data synthesize` makes", synthetic.LICENCE,
        ALL, full_body=True, is_3d=True, missing="make one: poseling data synthesize --count 1000 --out {root}",
    ),
    "mini": Row(
        _mini, "the synthetic people that come with Poseling, without --root", synthetic.LICENCE, ALL,
        skeleton=COCO17, full_body=True, is_3d=True, folder=mini.cache_folder, missing="",
    ),
}  # fmt: skip


def names(split: str | None = None, boxes: bool = False, is_3d: bool = False) -> str:
    """The names of all sets, or of those with this split, detector's boxes, or 3D joints, for help and
    errors.
    """
    rows = {
        name: row
        for name, row in SETS.items()
        if (split is None or split in row.splits)
        and (row.boxes is not None or not boxes)
        and (row.is_3d or not is_3d)
    }
    return ", ".join(rows)


def load(
    name: str,
    root: Path | None = None,
    skeleton: Skeleton | None = None,
    files: CocoFiles = NO_FILES,
) -> Split:
    """The set `name` under `root`, which `mini` can do without, in `skeleton` where one is given. The mini
    set otherwise comes in COCO's skeleton, which is less than it has.

    ValueError with the names there are, if a `root` is needed, or if `files` are given to a set that
    takes none; FileNotFoundError if the folder is not there.
    """
    if name not in SETS:
        raise ValueError(f"there is no data set {name!r}; there are {names()}")
    row = SETS[name]
    if files != NO_FILES and not row.annotated:
        takers = ", ".join(one for one, other in SETS.items() if other.annotated)
        raise ValueError(f"--annotations, --category and --sides are for --data {takers}, not for {name}")
    root = row.folder() if root is None and row.folder is not None else root
    if root is None:
        raise ValueError(f"--data {name} needs --root, the folder that holds it")
    if row.missing and not root.exists():
        hint = row.missing.format(name=name, root=root)
        raise FileNotFoundError(f"{root}: there is no such folder; {hint}")
    split: Split = row.read(root, files) if row.annotated else row.read(root)
    kind = skeleton or row.skeleton
    return split if kind is None else split.to(kind)


def refuse_replacing(flag: str, path: Path | None, root: Path | None, files: CocoFiles = NO_FILES) -> None:
    """ValueError if what `flag` will write to is there already and among the files of the set under `root`:
    below it, or one of `files`.
    """
    if path is None or not path.is_file():
        return
    named = [*files.annotations, Path(files.sides)]
    if root is not None:
        named += [root / file for file in files.annotations]
    below = root is not None and path.resolve().is_relative_to(root.resolve())
    if below or any(file.is_file() and file.samefile(path) for file in named):
        raise ValueError(
            f"{flag} {path}: is there already, among the data set's files, and would be replaced; give another name"
        )


@dataclass(frozen=True, eq=False)
class Sources:
    """Several sets as one: their `names`, the samples to train on, `origin` (N,) the index of each sample's
    set, and the samples to validate and to test on, of the sets that have such.
    """

    names: tuple[str, ...]
    train: PoseDataset
    origin: NDArray[np.int64]
    val: PoseDataset | None
    test: PoseDataset | None


def load_all(
    data: Sequence[str],
    roots: Sequence[Path],
    skeleton: Skeleton | None = None,
    files: CocoFiles = NO_FILES,
) -> Sources:
    """The sets called NAME or NAME:SHARE, in `skeleton` or that of the first; `roots` are a folder for each,
    or one for all, and `files` are those of the one set that takes them.

    A share is the part of the training that is drawn from the set; sets without one divide what the others
    leave, by their size. ValueError that names the set for shares that are not numbers above 0 or sum to more
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
    takers = [name for name, _ in pairs if name in SETS and SETS[name].annotated]
    if len(takers) > 1 or (not takers and files != NO_FILES):
        raise ValueError(
            f"--data {' '.join(data)}: --annotations, --category and --sides are for one set among them, "
            f"{', '.join(one for one, row in SETS.items() if row.annotated)}"
        )
    splits = [
        load(name, folder, skeleton, files if name in takers else NO_FILES)
        for (name, _), folder in zip(pairs, folders, strict=True)
    ]
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
            f"--data {name}:{text}: {text!r} is not a share; give a number above 0 and at most 1, such as "
            f"{name}:0.5"
        ) from None
    if not 0 < share <= 1:
        raise ValueError(
            f"--data {name}:{text}: a share is above 0 and at most 1; leave out a set of which nothing is "
            f"wanted"
        )
    return share


def people_to_test(
    name: str,
    root: Path | None = None,
    boxes: str | None = None,
    skeleton: Skeleton | None = None,
    files: CocoFiles = NO_FILES,
) -> PoseDataset:
    """The test samples of the set `name`, in their annotated boxes (`ground-truth`, and None), or in those of
    a detector's file `boxes`; `detections` is the file of COCO's published results, where it usually lies.

    Sets with more joints than others are read in `skeleton`, if one is given, as recipes test on them. A
    single annotation file is a test set as a whole. ValueError where the set has no labelled test
    samples or no detections can be given.
    """
    if boxes in (None, coco.GROUND_TRUTH):
        full_body = name in SETS and SETS[name].full_body
        split = load(name, root, skeleton if full_body else None, files)
        dataset = split.train if len(files.annotations) == 1 else split.test
        if dataset is None:
            raise ValueError(f"{name} under {root} has no labelled people to test on")
        return dataset
    if name in SETS and SETS[name].annotated and root is not None and files.annotations:
        return coco_json(root, files.annotations[-1], files, Path(str(boxes)))
    read = SETS[name].boxes if name in SETS else None
    if read is None or root is None:
        raise ValueError(
            f"--boxes {boxes} is for --data {names(boxes=True)} with --root; {name} has boxes of its own"
        )
    return read(root, root / coco.DETECTIONS if boxes == "detections" else Path(str(boxes)))
