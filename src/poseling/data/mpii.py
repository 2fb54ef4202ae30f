"""MPII Human Pose (Andriluka et al., CVPR 2014): the official MATLAB annotation, and the JSON that most code
on the web trains from.

`root` holds `images/` and either `annot/train.json` and `annot/valid.json` (Tompson's split of the training
people), or `mpii_human_pose_v1_u12_1.mat` in `root` or `root/annot`. `root` may also be such a JSON file, its
images beside it or in `images/`. Coordinates are MATLAB's, which count from 1: we subtract 1.

A person's box is the square of 200 * scale pixels around the annotated centre, moved down by 15 * scale
because that centre sits too high for the feet. The field enlarges the square by 1.25 afterwards: that is the
crop's padding and not done here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from poseling.arrays import numbers
from poseling.data.dataset import Finding, PoseDataset, from_joints, image_path, join, usable
from poseling.data.matlab import read_mat
from poseling.records import read_json
from poseling.skeleton import MPII16

LICENCE = "MPII Human Pose: research, frames of YouTube videos"
OFFICIAL = "mpii_human_pose_v1_u12_1.mat"
HEAD = 0.6  # SC_BIAS of the official evaluation: PCKh's length is this part of the head box's diagonal
SPLITS = ("train", "valid", "trainval", "test")


def mpii(root: Path, split: str = "train") -> PoseDataset:
    """The people of one split: `train`, `valid` (Tompson's validation people), `trainval` (all that have
    labels), `test` (no labels, official file only).

    The JSON is preferred where both are there, since only it knows `valid`; the official file has `trainval`
    and `test`. Only the official file separates visible and occluded joints: in the JSON every labelled
    joint counts as seen. `head` needs the official file or `annot/gt_valid.mat`. FileNotFoundError with the
    paths that were tried; ValueError that names the file if it is not of this shape.
    """
    if split not in SPLITS:
        raise ValueError(f"MPII has no split {split!r}; use {', '.join(SPLITS)}")
    if root.is_file() and root.suffix == ".json":
        return from_json(root)
    wanted = ("train", "valid") if split == "trainval" else (split,)
    files = [root / "annot" / f"{part}.json" for part in wanted]
    if all(f.is_file() for f in files):
        return join(*(from_json(f) for f in files))
    official = next((f for f in (root, root / OFFICIAL, root / "annot" / OFFICIAL) if f.is_file()), None)
    if official is None:
        raise FileNotFoundError(
            f"{root}: MPII needs {' and '.join(str(f) for f in files)}, or {OFFICIAL} in {root} or "
            f"{root / 'annot'}"
        )
    if split in ("train", "valid"):
        raise FileNotFoundError(
            f"{files[0]}: not found; {official.name} does not know the train and valid parts: take the split "
            f"trainval, or add the JSON files"
        )
    return from_mat(official, split)


def from_json(path: Path) -> PoseDataset:
    """The people of a JSON list of {image, joints (16, 2), joints_vis (16), center, scale}.

    `head` is read from `gt_<name>.mat` beside it where that is there. People without a centre (-1) get the
    box around their joints.
    """
    rows = read_json(path)
    try:
        xy, labels, centre, scale = (
            np.array([row[field] for row in rows], np.float64)
            for field in ("joints", "joints_vis", "center", "scale")
        )
        names = [str(row["image"]) for row in rows]
        if (shapes := (xy.shape[1:], labels.shape[1:], centre.shape[1:], scale.shape[1:])) != (
            (16, 2),
            (16,),
            (2,),
            (),
        ):
            raise ValueError(f"joints, joints_vis, center and scale of a person have shapes {shapes}")
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        wanted = "a list of {image, joints (16, 2), joints_vis (16), center (2), scale}"
        raise ValueError(
            f"{path}: is not an MPII annotation ({type(error).__name__}: {error}); expected {wanted}"
        ) from error
    xy, centre, visible = xy - 1, centre - 1, labels > 0
    folder = next(
        (f for f in (path.parent.parent / "images", path.parent / "images") if f.is_dir()), path.parent
    )
    truth = path.with_name(f"gt_{path.stem}.mat")
    head = _heads(truth, xy, visible) if truth.is_file() else None
    return _people(
        [image_path(folder, n) for n in names],
        xy,
        np.where(visible, 2, 0),
        _boxes(centre, scale, xy, visible),
        head,
        path,
    )


def from_mat(path: Path, split: str = "trainval") -> PoseDataset:
    """The people of the official file: `trainval` those with labels, `test` those of the test images, whose
    labels are withheld.

    The struct's traps: a field of one element is that element and no array, an empty one is an array without
    elements, `is_visible` is a number, a character or nothing (head top and neck), and a rectangle may lack
    any field. Training people without points are listed in `findings`.
    """
    (release,) = read_mat(path, "RELEASE", squeeze=True)
    try:
        images, is_train = _many(release.annolist), np.atleast_1d(release.img_train)
        named = [(str(p.image.name), _many(getattr(p, "annorect", None))) for p in images]
    except (AttributeError, TypeError, ValueError) as error:
        raise ValueError(f"{path}: is not MPII's official annotation ({error})") from error
    if len(is_train) != len(named):
        raise ValueError(f"{path}: img_train has {len(is_train)} entries for {len(named)} images")
    folder = next(
        (f for f in (path.parent / "images", path.parent.parent / "images") if f.is_dir()), path.parent
    )
    wanted = [
        (folder / name, rect)
        for (name, rects), train in zip(named, is_train, strict=True)
        if bool(train) == (split != "test")
        for rect in rects
    ]
    if not wanted:
        raise ValueError(f"{path}: has no person of the split {split}")
    xy, visible = np.full((len(wanted), 16, 2), -1.0), np.zeros((len(wanted), 16), np.uint8)
    centre, scale, head = (
        np.full((len(wanted), 2), np.nan),
        np.full(len(wanted), np.nan),
        np.full(len(wanted), np.nan),
    )
    try:
        for i, (_, rect) in enumerate(wanted):
            for point in _many(getattr(getattr(rect, "annopoints", None), "point", None)):
                xy[i, int(point.id)] = float(point.x) - 1, float(point.y) - 1
                visible[i, int(point.id)] = 1 if _number(point, "is_visible") == 0 else 2
            position = getattr(rect, "objpos", None)
            centre[i] = _number(position, "x") - 1, _number(position, "y") - 1
            scale[i] = _number(rect, "scale")
            head[i] = HEAD * np.hypot(
                _number(rect, "x2") - _number(rect, "x1"), _number(rect, "y2") - _number(rect, "y1")
            )
    except (ValueError, TypeError, IndexError, AttributeError, OverflowError) as error:
        raise ValueError(
            f"{path}: the points of a person in {wanted[i][0].name} are not as MPII has them ({error})"
        ) from error
    everyone = _people(
        [p for p, _ in wanted], xy, visible, _boxes(centre, scale, xy, visible > 0), head, path
    )
    if split == "test":
        return everyone
    none = np.asarray(~(everyone.visible > 0).any(-1), bool)
    if none.all():
        raise ValueError(f"{path}: none of its {len(none)} people has a point")
    found = [
        Finding("no joints", everyone.images[i], None, "a person without any point; left out")
        for i in np.flatnonzero(none)
    ]
    return replace(everyone[~none], findings=(*everyone.findings, *found))


def _people(
    images: Sequence[Path],
    xy: NDArray[np.float64],
    visible: NDArray[np.integer],
    boxes: NDArray[np.float64],
    head: NDArray[np.float64] | None,
    path: Path,
) -> PoseDataset:
    return from_joints("mpii", MPII16, images, xy, visible, LICENCE, head, boxes, path=path)


def _boxes(
    centre: NDArray[np.float64],
    scale: NDArray[np.float64],
    xy: NDArray[np.float64],
    labelled: NDArray[np.bool_],
) -> NDArray[np.float64]:
    """(N, 4) from centres (N, 2) that count from 0 and scales (N,); around the labelled joints where the
    annotation has no centre.
    """
    middle = centre + np.stack([np.zeros_like(scale), 15 * scale], -1)
    half = 100 * scale[:, None]
    boxes = np.concatenate([middle - half, middle + half], -1)
    for i in np.flatnonzero(~((centre >= 0).any(-1) & (scale > 0)) & labelled.any(-1)):
        chosen = xy[i][labelled[i]]
        boxes[i] = *chosen.min(0), *chosen.max(0)
    return boxes


def _heads(path: Path, xy: NDArray[np.float64], labelled: NDArray[np.bool_]) -> NDArray[np.float64]:
    """(N,) PCKh's lengths from gt_valid.mat: `headboxes_src` (2 corners, 2, N), in the order of the JSON,
    which `pos_gt_src` (16, 2, N) proves.
    """
    read, found = read_mat(path, "headboxes_src", "pos_gt_src"), []
    for name, values, shape in (("headboxes_src", read[0], (2, 2)), ("pos_gt_src", read[1], (16, 2))):
        try:
            found.append(numbers(values, *shape, len(xy)))
        except ValueError as error:
            raise ValueError(f"{path}: {name} does not belong to {len(xy)} people: {error}") from error
    boxes, joints = found
    if not usable(boxes)[1].all():
        raise ValueError(f"{path}: headboxes_src has an entry that is not a number")
    apart = np.linalg.norm(joints.transpose(2, 0, 1) - 1 - xy, axis=-1)[labelled]
    if len(apart) and np.median(apart) > 10:
        raise ValueError(
            f"{path}: its joints lie {np.median(apart):.0f} pixels from the JSON's in the median; the two "
            f"files are not in the same order"
        )
    return np.asarray(HEAD * np.linalg.norm(boxes[1] - boxes[0], axis=0))


def _many(value: Any) -> list[Any]:
    """A struct array of one comes as the struct, and an empty one as an array without elements."""
    return [] if value is None else list(np.atleast_1d(np.asarray(value, object)))


def _number(struct: Any, field: str) -> float:
    """A scalar field, also one written as text; NaN where it is absent or empty."""
    value = np.asarray(getattr(struct, field, np.nan))
    return float(value) if value.size == 1 and str(value) else float("nan")
