"""COCO's person keypoints (Lin et al., ECCV 2014), and the sets in the same format: CrowdPose (Li et al.,
CVPR 2019), OCHuman (Zhang et al., CVPR 2019). Files with joints of their own are read by `coco_json`.

An annotation file is `{images, annotations, categories}`. An annotation has `bbox` (x, y, width, height),
`area` (of the person's outline), `keypoints` (x, y, v for each joint) and `num_keypoints`; many have no
joint, and some are crowd regions. Neither is a sample, but both stay in `Truth`: average precision neither
rewards nor punishes a prediction that matches them. Left and right are the person's own; coordinates count
from 0.

Annotated boxes are clipped to the image and end at the centre of its last pixel, detected ones are taken as
they are: both as in the code of SimpleBaseline and HRNet, from which the published numbers come.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from poseling.data.dataset import (
    LARGEST,
    Finding,
    Instances,
    PoseDataset,
    Truth,
    from_joints,
    image_path,
    usable,
)
from poseling.geometry import joints_box
from poseling.records import read_json
from poseling.skeleton import COCO17, CROWDPOSE14, Skeleton

LICENCE = "COCO: annotations CC BY 4.0, Flickr photographs under their own terms"
CROWDPOSE_LICENCE = (
    "CrowdPose: no licence stated in its files; research; images of COCO, MPII and AI Challenger"
)
OCHUMAN_LICENCE = "OCHuman: no licence stated in its files; research; photographs from the web"
DETECTIONS = (
    Path("person_detection_results") / "COCO_val2017_detections_AP_H_56_person.json"
)  # the boxes behind the published results on val2017
GROUND_TRUTH = "ground-truth"
SKELETONS = (COCO17, CROWDPOSE14)
SAME = {"head": "head_top"}  # CrowdPose's name for it
AREA = 0.53  # CrowdPose gives no area: its toolkit takes this part of the box


def train(root: Path) -> PoseDataset:
    """COCO's train2017: everyone with a labelled joint outside of crowd regions, about 150,000 people."""
    # Only testing needs `instances`; without them less is sent to the worker processes.
    return replace(read_coco(_annotations(root, "train"), _images(root, "train")), instances=None)


def val(root: Path, boxes: Path | None = None) -> PoseDataset:
    """COCO's val2017: the annotated people, or those in a detector's file `boxes`."""
    return read_coco(_annotations(root, "val"), _images(root, "val"), boxes)


def crowdpose(root: Path, split: str, boxes: Path | None = None) -> PoseDataset:
    """CrowdPose's `train`, `val`, `trainval` or `test`: `images/`, and `crowdpose_SPLIT.json` in `json/`,
    `annotations/` or `root` itself.
    """
    names = [
        f"{folder}{name}_{split}.json"
        for name in ("crowdpose", "mmpose_crowdpose")
        for folder in ("json/", "annotations/", "")
    ]
    return read_coco(_first(root, names), root / "images", boxes, name="crowdpose", licence=CROWDPOSE_LICENCE)


def ochuman(root: Path, split: str = "test", boxes: Path | None = None) -> PoseDataset:
    """OCHuman's `val` or `test`, made for testing only: `images/`, and
    `ochuman_coco_format_SPLIT_range_0.00_1.00.json` in `annotations/` or `root` itself.
    """
    file = f"ochuman_coco_format_{split}_range_0.00_1.00.json"
    return read_coco(
        _first(root, [f"annotations/{file}", file]),
        root / "images",
        boxes,
        name="ochuman",
        licence=OCHUMAN_LICENCE,
    )


# What an id may be in a file: a number of any size, or a string.
Id = int | str


@dataclass(frozen=True)
class Kept:
    """The categories of a file that are read: their ids and skeleton, what was corrected in it, and the
    licences that the file lists.
    """

    ids: frozenset[Id]
    skeleton: Skeleton
    findings: tuple[Finding, ...] = ()
    licence: str = ""


# From the file's path and its categories, each a dict with an id, to those that are read.
Choose = Callable[[Path, Sequence[Mapping[str, Any]]], Kept]


def read_coco(
    annotations: Path,
    images: Path,
    boxes: Path | None = None,
    skeleton: Skeleton | None = None,
    name: str = "coco",
    licence: str | None = LICENCE,
    choose: Choose | None = None,
) -> PoseDataset:
    """The samples of an annotation file whose images are in the folder `images`.

    Without `boxes` the annotations with a labelled joint, outside of crowd regions, with an area. With
    `boxes`, a detector's JSON file (`[{image_id, category_id, bbox, score}, ...]`), all of its boxes, without
    labels. `skeleton` if it is not COCO's or CrowdPose's; `choose` picks the categories and their skeleton,
    by default the persons; `licence` None is what the file lists. Annotations that are left out are counted
    in `findings`. ValueError that names the file and the first wrong entry, FileNotFoundError if a file or
    all images are missing.
    """
    truth, kept, ids = _read(annotations, choose or (lambda path, rows: _person(path, rows, skeleton)))
    found = [*kept.findings, *truth.findings]
    if boxes is None:
        chosen = (truth.count > 0) & (truth.visible > 0).any(1) & ~truth.crowd & (truth.area > 0)
        if not chosen.any():
            raise ValueError(
                f"{annotations}: none of its {len(chosen)} annotations has a labelled joint (num_keypoints "
                f"above 0)"
            )
        for kind, which in (
            ("crowd", truth.crowd),
            ("no joints", ~truth.crowd & ((truth.count == 0) | ~(truth.visible > 0).any(1))),
        ):
            if which.any():
                found.append(
                    Finding(
                        kind,
                        annotations,
                        None,
                        f"{which.sum()} of {len(which)} annotations; not samples, but part of the metric",
                    )
                )
        image, score = truth.image[chosen], np.ones(chosen.sum())
        joints, visible, corners = truth.joints[chosen], truth.visible[chosen], _clipped(truth, chosen)
    else:
        image, corners, score = _detections(boxes, truth, kept.ids, ids)
        visible = np.zeros((len(image), len(truth.skeleton)), np.uint8)
        joints = np.zeros((*visible.shape, 2))
    instances = Instances(truth, image, score, np.array(sorted(truth.images), np.int64))
    paths = {i: image_path(images, file) for i, (file, _, _) in truth.images.items()}
    rows = image.tolist()
    got = from_joints(
        name,
        truth.skeleton,
        [paths[i] for i in rows],
        joints,
        visible,
        kept.licence if licence is None else licence,
        boxes=corners,
        instances=instances,
        path=boxes or annotations,
        sizes=np.array([truth.images[i][1:] for i in rows]).reshape(-1, 2),
    )
    # A missing image is not evaluated; one whose only box was unusable is, as a miss.
    missing = {f.image for f in got.findings if f.kind == "missing image"}
    measured = np.array([i for i in sorted(paths) if paths[i] not in missing], np.int64)
    assert got.instances is not None
    return replace(got, findings=(*found, *got.findings), instances=replace(got.instances, measured=measured))


def read(path: Path, skeleton: Skeleton | None = None) -> Truth:
    """All annotations of a file; its skeleton is found by the joints' names unless it is given. What had to
    be corrected is in `findings`: an area that is absent, 0 or not a number becomes 0.53 of the box, an
    unusable box the one around the joints, and a joint that is not a number unlabelled. ValueError as
    `read_coco`.
    """
    return _read(path, lambda path, rows: _person(path, rows, skeleton))[0]


def _read(path: Path, choose: Choose) -> tuple[Truth, Kept, dict[Id, int]]:
    """All annotations of a file, the categories that were chosen, and the ids of its images in Truth."""
    data = read_json(path)
    if not isinstance(data, dict) or not all(
        isinstance(data.get(key), list) for key in ("images", "annotations")
    ):
        what = "a detector's result" if isinstance(data, list) else "not a COCO annotation file"
        raise ValueError(
            f"{path}: is {what}; expected {{images: [...], annotations: [...], categories: [...]}}"
        )
    kept = replace(choose(path, _categories(path, data)), licence=_licences(data.get("licenses")))
    for row in data["images"]:
        if (
            not isinstance(row, dict)
            or not isinstance(row.get("file_name"), str)
            or _id(row.get("id")) is None
        ):
            raise ValueError(f"{path}: an image needs id and file_name, and one has {_shown(row)}")
    for row in data["annotations"]:
        if _id(row.get("id")) is None:  # _categories has checked that they are dicts
            raise ValueError(
                f"{path}: an annotation needs an id, a number or a string, and one has {_shown(row)}"
            )
    for what in ("images", "annotations"):
        [(twice, count)] = Counter(_id(row["id"]) for row in data[what]).most_common(1) or [(None, 0)]
        if count > 1:
            raise ValueError(f"{path}: {count} {what} have the id {twice}; ids have to be unique")
    ids = _numbered([known_id(row["id"]) for row in data["images"]])
    images = {
        ids[known_id(row["id"])]: (row["file_name"], _side(row.get("width")), _side(row.get("height")))
        for row in data["images"]
    }
    rows = [row for row in data["annotations"] if _id(row["category_id"]) in kept.ids]
    columns, found = _columns(path, rows, kept.skeleton, ids)
    crowding = _crowding(path, data["images"], ids)
    truth = Truth(path, kept.skeleton, images, *columns, crowding=crowding, findings=found)
    return truth, kept, ids


def _licences(rows: Any) -> str:
    """The names in a file's list of licences."""
    listed = rows if isinstance(rows, list) else []
    names = [str(row["name"]) for row in listed if isinstance(row, dict) and row.get("name")]
    return "; ".join(dict.fromkeys(names)) or "unknown: your own annotations"


def _id(value: Any) -> Id | None:
    """An id in the form in which ids are compared, 7 for 7.0 and for "7"; None if it is not one."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, str) and re.fullmatch(r"0|-?[1-9][0-9]{0,99}", value):
        return int(value)
    return value if isinstance(value, int | str) and not isinstance(value, bool) else None


def known_id(value: Any) -> Id:
    """An id that has been checked before."""
    found = _id(value)
    assert found is not None
    return found


def _numbered(ids: Sequence[Id]) -> dict[Id, int]:
    """Each id's number: itself, or, where one is a string or too large for 64 bits, its index from 1."""
    plain = all(isinstance(one, int) and abs(one) < 1 << 63 for one in ids)
    return {one: one if plain else place for place, one in enumerate(ids, 1)}  # type: ignore[misc]


def _side(value: Any) -> float:
    """An image's width or height, infinite where the file does not give it."""
    number = isinstance(value, int | float) and not isinstance(value, bool) and 0 < value <= LARGEST
    return float(value) if number else np.inf


def _crowding(
    path: Path, images: Sequence[Mapping[str, Any]], ids: Mapping[Id, int]
) -> dict[int, float] | None:
    """CrowdPose's index by image; None unless all have one."""
    given = [row["crowdIndex"] for row in images if "crowdIndex" in row]
    if not given or len(given) < len(images):
        return None
    if not all(isinstance(index, int | float) and 0 <= index <= 1 for index in given):
        raise ValueError(f"{path}: a crowdIndex is not between 0 and 1")
    return {ids[known_id(row["id"])]: float(row["crowdIndex"]) for row in images}


def _shown(row: Any) -> str:
    return repr(sorted(row) if isinstance(row, dict) else row)[:80]


def _categories(path: Path, data: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The file's categories, each with an id, of which every annotation has one."""
    rows = data.get("categories")
    if (
        not isinstance(rows, list)
        or not rows
        or not all(isinstance(row, dict) and _id(row.get("id")) is not None for row in rows)
    ):
        raise ValueError(
            f"{path}: has no categories, which name the joints; expected categories: "
            f"[{{id, name: person, keypoints: [...]}}]"
        )
    known = {_id(row["id"]) for row in rows}
    for a in data["annotations"]:
        if not isinstance(a, dict):
            raise ValueError(f"{path}: an annotation is {_shown(a)}, expected fields by name")
        if _id(a.get("category_id")) not in known:
            strange = _shown(a.get("category_id"))
            raise ValueError(
                f"{path}: annotation {a.get('id')} has the category_id {strange}, which is none of its "
                f"categories"
            )
    return rows


def _person(path: Path, rows: Sequence[Mapping[str, Any]], skeleton: Skeleton | None) -> Kept:
    """The category of persons, or the only one."""
    row = next((row for row in rows if row.get("name") == "person"), rows[0] if len(rows) == 1 else None)
    if row is None:
        raise ValueError(f"{path}: none of its {len(rows)} categories is person")
    names = row.get("keypoints")
    if not isinstance(names, list) or not names:
        hint = (
            f"; person_keypoints{path.name.removeprefix('instances')} has them"
            if path.name.startswith("instances_")
            else ""
        )
        raise ValueError(f"{path}: its category {row.get('name')!r} has no keypoints{hint}")
    joints = tuple(SAME.get(str(n), str(n)) for n in names)
    if skeleton is None:
        skeleton = next((s for s in SKELETONS if s.joints == joints), None)
        if skeleton is None:
            known_ones = ", ".join(f"{s.name} ({len(s)})" for s in SKELETONS)
            raise ValueError(
                f"{path}: its {len(joints)} joints ({', '.join(joints[:4])}, ...) are those of no known "
                f"skeleton, in this order: {known_ones}; read it with its own: --data coco_json "
                f"--annotations {path}"
            )
    if len(joints) != len(skeleton):
        raise ValueError(
            f"{path}: names {len(joints)} joints, but skeleton {skeleton.name} has {len(skeleton)}"
        )
    return Kept(frozenset({known_id(row["id"])}), skeleton)


Columns = tuple[
    NDArray[np.int64],
    NDArray[np.float64],
    NDArray[np.float64],
    NDArray[np.float64],
    NDArray[np.uint8],
    NDArray[np.int64],
    NDArray[np.bool_],
]


def _columns(
    path: Path, rows: Sequence[Mapping[str, Any]], skeleton: Skeleton, ids: Mapping[Id, int]
) -> tuple[Columns, tuple[Finding, ...]]:
    """image, boxes, area, joints, visible, count, crowd of all annotations, as Truth has them, and what was
    corrected.
    """
    total = len(rows)
    image, count, crowd = np.zeros(total, np.int64), np.zeros(total, np.int64), np.zeros(total, bool)
    boxes, area, flat = np.zeros((total, 4)), np.zeros(total), np.zeros((total, len(skeleton), 3))
    bare = [row for row in rows if not row.get("keypoints")]
    if rows and len(bare) == len(rows):
        hint = "; COCO's are in person_keypoints_*.json"
        raise ValueError(f"{path}: annotation {rows[0]['id']} has no keypoints, nor has any other{hint}")
    for i, row in enumerate(rows):
        name = f"{path}: annotation {row['id']}"
        of = _id(row.get("image_id"))
        if of is None or of not in ids:
            raise ValueError(
                f"{name} is of image {_shown(row.get('image_id'))}, which is not among its images"
            )
        if "bbox" not in row:
            raise ValueError(f"{name} has no bbox")
        try:
            image[i], boxes[i], crowd[i] = ids[of], row["bbox"], bool(row.get("iscrowd", 0))
            if points := row.get("keypoints"):
                if len(points) != 3 * len(skeleton):
                    raise ValueError(
                        f"{len(points)} numbers in keypoints, but skeleton {skeleton.name} has "
                        f"{len(skeleton)} joints of three each"
                    )
                flat[i] = np.reshape(points, (-1, 3))
            stated = row.get("num_keypoints") if points else None
            count[i] = (flat[i, :, 2] > 0).sum() if stated is None else stated
            area[i] = np.nan if row.get("area") is None else row["area"]
        except (TypeError, ValueError, OverflowError) as error:
            raise ValueError(f"{name} is not as COCO has it: {error}") from error
    flags = flat[..., 2]
    if not np.isin(flags, (0, 1, 2)).all():
        i = int(np.flatnonzero(~np.isin(flags, (0, 1, 2)).all(1))[0])
        raise ValueError(f"{path}: annotation {rows[i]['id']} has a visibility that is not 0, 1 or 2")
    return _mended(
        path, rows, skeleton, (image, boxes, area, flat[..., :2], flags.astype(np.uint8), count, crowd)
    )


def _mended(
    path: Path, rows: Sequence[Mapping[str, Any]], skeleton: Skeleton, columns: Columns
) -> tuple[Columns, tuple[Finding, ...]]:
    """The columns with usable joints, boxes and areas, and what was corrected, one finding a kind. Only here,
    so that samples and `Truth` agree.
    """
    image, boxes, area, joints, visible, count, crowd = columns
    found = []

    def tell(kind: str, which: NDArray[np.bool_], message: str) -> None:
        if which.any():
            first = rows[int(np.flatnonzero(which)[0])]["id"]
            found.append(
                Finding(
                    kind,
                    path,
                    None,
                    f"{which.sum()} of {len(rows)} annotations, the first is {first}: {message}",
                )
            )

    _, known = usable(joints)
    broken = ~known & (visible > 0)
    tell("joint is NaN", np.asarray(broken.any(1), bool), "not a finite number, counts as unlabelled")
    joints, visible = np.where(known[..., None], joints, 0), np.where(known, visible, 0).astype(np.uint8)
    count = np.where(broken.any(1), np.minimum(count, (visible > 0).sum(1)), count)
    _, sane = usable(boxes)
    sane = np.asarray(sane & (boxes[:, 2:] > 0).all(1), bool)
    around = (
        np.stack([joints_box(xy, v > 0) for xy, v in zip(joints, visible, strict=True)])
        if len(rows)
        else np.zeros((0, 4))
    )
    wide = np.asarray(np.isfinite(around).all(1) & (around[:, 2:] > around[:, :2]).all(1), bool)
    lost = np.asarray(~sane & (visible > 0).any(1), bool)
    tell("no box", lost & wide, "the box is not a number or has no area; the one around the joints is used")
    tell(
        "empty box",
        lost & ~wide,
        "the box is not a number or has no area, and there are no two joints apart; it is left out",
    )
    boxes = np.where(
        (~sane & wide)[:, None],
        np.concatenate([around[:, :2], around[:, 2:] - around[:, :2] + 1], 1),
        np.where(sane[:, None], boxes, 0),
    )
    visible, count = (
        np.where((lost & ~wide)[:, None], 0, visible).astype(np.uint8),
        np.where(lost & ~wide, 0, count),
    )
    _, measured = usable(area[:, None])
    absent = np.asarray(~(measured & (area > 0)), bool)
    unsaid = np.array([row.get("area") is None and "area" not in row for row in rows], bool)
    tell("no area", absent & ~unsaid & (count > 0), f"0 or not a number; {AREA} of the box is used")
    area = np.where(absent, AREA * boxes[:, 2] * boxes[:, 3], area)
    return (image, boxes, area, joints, visible, count, crowd), tuple(found)


def _clipped(truth: Truth, chosen: NDArray[np.bool_]) -> NDArray[np.float64]:
    """(N, 4) the annotated boxes as x0, y0, x1, y1 of pixel centres, within their images."""
    x, y, width, height = truth.boxes[chosen].T
    sizes = np.array([truth.images[i][1:] for i in truth.image[chosen].tolist()]).reshape(-1, 2)
    x0, y0 = np.maximum(0, x), np.maximum(0, y)
    x1 = np.minimum(sizes[:, 0] - 1, x0 + np.maximum(0, width - 1))
    y1 = np.minimum(sizes[:, 1] - 1, y0 + np.maximum(0, height - 1))
    return np.stack([x0, y0, x1, y1], 1)


def _detections(
    path: Path, truth: Truth, categories: frozenset[Id], ids: Mapping[Id, int]
) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.float64]]:
    """image (N,), boxes (N, 4) x0, y0, x1, y1 and score (N,) of a detector's file, of the boxes in the
    `categories` of the annotation file.
    """
    rows = read_json(path)
    wanted = "each entry needs image_id, bbox (4) and score"
    if not isinstance(rows, list):
        raise ValueError(
            f"{path}: is not a detector's result; expected [{{image_id, category_id, bbox, score}}, ...]"
        )
    if strange := next((row for row in rows if not isinstance(row, dict)), None):
        raise ValueError(f"{path}: is not a detector's result (an entry is {_shown(strange)}); {wanted}")
    try:
        rows = [r for r in rows if "category_id" not in r or _id(r["category_id"]) in categories]
        of = [_id(row["image_id"]) for row in rows]
        boxes = np.array([row["bbox"] for row in rows], np.float64).reshape(len(rows), 4)
        score = np.array([row["score"] for row in rows], np.float64).reshape(-1)
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise ValueError(
            f"{path}: is not a detector's result ({type(error).__name__}: {error}); {wanted}"
        ) from error
    if not len(rows):
        known = ", ".join(map(str, sorted(categories, key=str)))
        raise ValueError(f"{path}: has no box of category_id {known}, which {truth.path} annotates")
    if unknown := list(dict.fromkeys(one for one in of if one not in ids)):
        raise ValueError(
            f"{path}: {len(unknown)} of its {len(set(of))} images, the first {_shown(unknown[0])}, are not "
            f"in {truth.path}; "
            "it holds detections of another set"
        )
    if not (np.isfinite(score).all() and (score >= 0).all()):
        raise ValueError(
            f"{path}: the score of entry {int(np.flatnonzero(~(np.isfinite(score) & (score >= 0)))[0])} is "
            f"not a number of 0 or more"
        )
    image = np.array([ids[one] for one in of if one is not None], np.int64)
    return image, np.concatenate([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], 1), score


def _annotations(root: Path, part: str) -> Path:
    return _first(root, [f"annotations/person_keypoints_{part}2017.json"])


def _images(root: Path, part: str) -> Path:
    folders = [root / f"{part}2017", root / "images" / f"{part}2017"]
    return next((f for f in folders if f.is_dir()), folders[0])


def _first(root: Path, names: Sequence[str]) -> Path:
    found = next((root / n for n in names if (root / n).is_file()), None)
    if found is None:
        raise FileNotFoundError(
            f"{root / names[0]}: not found"
            + (f", nor {', '.join(names[1:])} under {root}" if names[1:] else "")
        )
    return found
