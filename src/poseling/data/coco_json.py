"""Any file in COCO's keypoint format, with the skeleton of its own categories: hands, faces, animals, people.

A category names its joints in `keypoints` and its bones in `skeleton`, pairs of numbers that count from 1, or
from 0 where a pair has a 0. Categories with the same joints, such as many species, are read as one.

- Left and right: names such as `left_eye`, `LeftEye`, `L_Eye`, `eye-left` or `eye.L` become `left_eye`. Other
  names need a JSON file of pairs, `[["thumb_a", "thumb_b"], ...]` with the left one first: these joints are
  then called `left_thumb_a` and `right_thumb_a`. Joints without sides, as of one hand, need `sides="none"`.
- Parents: the bones from the first joint outwards. A bone that closes a ring, as COCO's own file has them, is
  left out and reported in `findings`.
- Sigmas of OKS: `sigmas` of the category, else `SIGMA` for every joint, which `findings` says.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from poseling.data import coco
from poseling.data.coco import SAME, Kept, known_id, read_coco
from poseling.data.coco_files import NAMES, NO_FILES, NONE, CocoFiles
from poseling.data.dataset import Finding, PoseDataset
from poseling.records import read_json
from poseling.skeleton import Skeleton

SIGMA = 0.05  # of a joint whose file gives none: between COCO's wrists (0.062) and its eyes (0.025)
SIDES = {"l": "left", "left": "left", "r": "right", "right": "right"}


def coco_json(root: Path, file: Path, files: CocoFiles = NO_FILES, boxes: Path | None = None) -> PoseDataset:
    """The samples of one annotation `file`, as it is or in `root`; its images are in `root` or `root`/images.

    `boxes` is a detector's file, as in `read_coco`. FileNotFoundError if the file or all images are
    missing, ValueError that names the file if it is damaged, has no category with joints, has several
    with different ones, or has no sides that can be told.
    """
    path = file if file.is_file() or file.is_absolute() else root / file
    if not path.is_file():
        raise FileNotFoundError(
            f"{file}: not found; --annotations names a COCO keypoints file, as it is or in {root}"
        )
    folder = root / "images" if (root / "images").is_dir() else root
    try:
        return read_coco(
            path, folder, boxes, None, "coco_json", None, lambda path, rows: choose(path, rows, files)
        )
    except FileNotFoundError as error:
        raise FileNotFoundError(
            f"{error}; --root names the folder from which the file_name of the images in {path} counts"
        ) from error


def choose(path: Path, rows: Sequence[Mapping[str, Any]], files: CocoFiles) -> Kept:
    """The categories that are read, and the skeleton that they share."""
    named = {str(row.get("name", row["id"])): row for row in rows}
    if files.category is not None and files.category not in named:
        raise ValueError(
            f"{path}: has no category {files.category!r}; --category is one of {', '.join(named)}"
        )
    rows = rows if files.category is None else [named[files.category]]
    jointed = [row for row in rows if row.get("keypoints")]
    if not jointed:
        names = ", ".join(repr(row.get("name", row["id"])) for row in rows)
        raise ValueError(
            f"{path}: none of its categories ({names}) has keypoints, the names of the joints; "
            f"expected categories: [{{id, name, keypoints: [...], skeleton: [[1, 2], ...]}}]"
        )
    kinds: dict[str, list[str]] = {}
    for row in jointed:
        kinds.setdefault(repr(row["keypoints"]), []).append(str(row.get("name", row["id"])))
    if len(kinds) > 1:
        told = "; ".join(", ".join(names) for names in kinds.values())
        raise ValueError(
            f"{path}: its categories have different keypoints ({told}); pick one with --category"
        )
    skeleton, notes = read_skeleton(path, jointed[0], files.sides, len(jointed) > 1)
    findings = tuple(Finding(kind, path, None, message) for kind, message in notes)
    ids = frozenset(known_id(row["id"]) for row in jointed)
    return Kept(ids, skeleton, findings)


def read_skeleton(
    path: Path, category: Mapping[str, Any], sides: str = NAMES, several: bool = False
) -> tuple[Skeleton, list[tuple[str, str]]]:
    """The skeleton of a category, and notes of what was assumed or left out, each a kind and a sentence; it
    has the category's name unless it is shared by `several`.

    ValueError that names the file, and the joint, for names that are not a list of text, bones that lead to
    no joint or from a joint to itself, sigmas that are not one number above 0 a joint, and sides that cannot
    be told.
    """
    given = category["keypoints"]
    if not isinstance(given, list) or not all(isinstance(name, str) and name for name in given):
        raise ValueError(f"{path}: keypoints is {str(given)[:60]}, expected the names of the joints")
    joints = _named(path, given, sides)
    matched = tuple(SAME.get(joint, joint) for joint in joints)
    if known := next((one for one in coco.SKELETONS if one.joints == matched), None):
        return known, []
    parents, notes = _parents(path, joints, category.get("skeleton") or [])
    sigmas = category.get("sigmas")
    if sigmas is None:
        notes.append(("no sigmas", f"the file gives none; OKS is measured with {SIGMA} for every joint"))
        sigmas = [SIGMA] * len(joints)
    if not isinstance(sigmas, list) or not all(_is_number(one) and 0 < one < 1e3 for one in sigmas):
        raise ValueError(f"{path}: sigmas is {str(sigmas)[:60]}, expected one number above 0 for each joint")
    name = "joints" if several else str(category.get("name", "joints"))
    try:
        return Skeleton(f"{name}{len(joints)}", joints, parents, tuple(map(float, sigmas))), notes
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def plain_name(name: str) -> str:
    """A joint's name in lower case with underscores, and its side, if it has one, in front.

    >>> [plain_name(name) for name in ("LeftEye", "R_F_Paw", "eye.L", "ear-right", "Root of tail")]
    ['left_eye', 'right_f_paw', 'left_eye', 'right_ear', 'root_of_tail']
    """
    spaced = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", " ", name)
    words = [word for word in re.split(r"[\W_]+", spaced.lower()) if word]
    for at in (0, len(words) - 1) if len(words) > 1 else ():
        if side := SIDES.get(words[at]):
            return "_".join((side, *words[:at], *words[at + 1 :]))
    return "_".join(words) or name


def _named(path: Path, given: Sequence[str], sides: str) -> tuple[str, ...]:
    """The joints' names, with `left_` and `right_` before those that have a side, and no others."""
    plain = [plain_name(name) for name in given]
    names = plain if len(set(plain)) == len(plain) else list(given)
    if sides == NAMES:
        if not any(name.startswith("left_") for name in names):
            raise ValueError(
                f"{path}: no joint is named left or right ({', '.join(given[:4])}, ...), so images cannot be "
                f"mirrored; give --sides none if the joints have no sides, as of one hand, or --sides FILE "
                f'with pairs of names, [["LEFT", "RIGHT"], ...]'
            )
        return tuple(names)
    pairs = [] if sides == NONE else _pairs(Path(sides), dict(zip(given, names, strict=True)))
    renamed = {name: _without_side(name) for name in names}
    for left, right in pairs:
        stem = _stem(left)
        renamed |= {left: f"left_{stem}", right: f"right_{stem}"}
    return tuple(renamed[name] for name in names)


def _pairs(path: Path, names: Mapping[str, str]) -> list[tuple[str, str]]:
    """The pairs of joints in a JSON file, the left one first, by their new `names`."""
    rows = read_json(path)
    if not isinstance(rows, list) or not all(
        isinstance(row, list) and len(row) == 2 and all(isinstance(name, str) for name in row) for row in rows
    ):
        raise ValueError(f'{path}: expected pairs of joints, [["LEFT", "RIGHT"], ...]')
    known = {**{new: new for new in names.values()}, **names}
    flat = [name for row in rows for name in row]
    if strange := next((name for name in flat if name not in known), None):
        raise ValueError(f"{path}: there is no joint {strange!r}; there are {', '.join(names)}")
    found = [known[name] for name in flat]
    if twice := next((name for name in found if found.count(name) > 1), None):
        raise ValueError(f"{path}: {twice} is in two pairs; a joint has one mirror image")
    return list(zip(found[::2], found[1::2], strict=True))


def _stem(name: str) -> str:
    return name.removeprefix("left_").removeprefix("right_")


def _without_side(name: str) -> str:
    """A name that `Skeleton` takes for one without a side."""
    side = next((side for side in ("left", "right") if name.startswith(f"{side}_")), None)
    return name if side is None else f"{_stem(name)}_{side}"


def _parents(path: Path, joints: Sequence[str], bones: Any) -> tuple[tuple[int, ...], list[tuple[str, str]]]:
    """The parent of each joint, itself for a root, and notes on bones that close a ring."""
    edges = _edges(path, joints, bones)
    near: dict[int, list[int]] = {joint: [] for joint in range(len(joints))}
    for a, b in edges:
        near[a].append(b)
        near[b].append(a)
    parents = list(range(len(joints)))
    reached: set[int] = set()
    # From the middle of the body if there is one, so that left and right are alike.
    for root in sorted(range(len(joints)), key=lambda joint: joints[joint].startswith(("left_", "right_"))):
        queue = [] if root in reached else [root]
        reached |= set(queue)
        for joint in queue:
            for child in near[joint]:
                if child not in reached:
                    reached.add(child)
                    parents[child] = joint
                    queue.append(child)
    rings = [(a, b) for a, b in edges if parents[a] != b and parents[b] != a]
    notes = [
        ("closed ring", f"{joints[a]} to {joints[b]} closes a ring of bones, left out") for a, b in rings
    ]
    return tuple(parents), notes if bones else [("no bones", "the file gives none; joints are drawn alone")]


def _edges(path: Path, joints: Sequence[str], bones: Any) -> list[tuple[int, int]]:
    """The bones as pairs of indices from 0, each once."""
    if not isinstance(bones, list) or not all(
        isinstance(bone, list) and len(bone) == 2 and all(_is_number(end) and end == int(end) for end in bone)
        for bone in bones
    ):
        raise ValueError(f"{path}: skeleton is {str(bones)[:60]}, expected pairs of joints, [[1, 2], ...]")
    first = 0 if any(0 in bone for bone in bones) else 1
    edges: dict[tuple[int, int], None] = {}
    for bone in bones:
        a, b = sorted(int(end) - first for end in bone)
        if a < 0 or b >= len(joints):
            raise ValueError(
                f"{path}: the bone {bone} leads to joint {min(bone) if a < 0 else max(bone)}, but its "
                f"{len(joints)} joints have the numbers {first} to {len(joints) - 1 + first}"
            )
        if a == b:
            raise ValueError(f"{path}: the bone {bone} leads from {joints[a]} to itself")
        edges[a, b] = None
    return list(edges)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e9
