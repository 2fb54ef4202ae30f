"""COCO's person keypoints (Lin et al., ECCV 2014), and what is annotated in the same format: CrowdPose (Li et al., CVPR 2019), OCHuman (Zhang et al., CVPR 2019).

An annotation file is `{images, annotations, categories}`. An annotation has `bbox` (x, y, width, height), `area` (of the person's outline), `keypoints` (x, y, v for
each joint) and `num_keypoints`; many have no joint, and some are regions of a crowd. Both are no People, but stay in their `Truth`: average precision neither rewards
nor punishes an answer that is meant for them. Left and right are the person's own; coordinates count from 0.

An annotated box is cut off at the picture's edge and reaches to the middle of its last pixel, a detected one is taken as it comes: both as in the code of SimpleBaseline
and HRNet, which the published numbers come from.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from poseling.data.people import Finding, Instances, People, Truth, from_joints
from poseling.skeleton import COCO17, CROWDPOSE14, Skeleton

TERMS = "COCO: annotations CC BY 4.0, Flickr photographs under their own terms"
CROWDPOSE_TERMS = "CrowdPose: no licence stated in its files; research; pictures of COCO, MPII and AI Challenger"
OCHUMAN_TERMS = "OCHuman: no licence stated in its files; research; photographs from the web"
DETECTIONS = (
    Path("person_detection_results") / "COCO_val2017_detections_AP_H_56_person.json"
)  # what the papers' test results on val2017 are measured with
GROUND_TRUTH = "ground-truth"
SKELETONS = (COCO17, CROWDPOSE14)
SAME = {"head": "head_top"}  # CrowdPose's name for it
AREA = 0.53  # CrowdPose gives no area: its toolkit takes this part of the box


def train(root: Path) -> People:
    """COCO's train2017: everyone with a labelled joint who is no crowd, about 150,000 people."""
    # The truth is for testing; without it a worker that loads pictures is handed less.
    return replace(people(_annotations(root, "train"), _pictures(root, "train")), instances=None)


def val(root: Path, boxes: Path | None = None) -> People:
    """COCO's val2017, the people of the annotation, or those in the `boxes` of a detector's file."""
    return people(_annotations(root, "val"), _pictures(root, "val"), boxes)


def crowdpose(root: Path, split: str, boxes: Path | None = None) -> People:
    """CrowdPose's `train`, `val`, `trainval` or `test`: `images/`, and `crowdpose_SPLIT.json` in `json/`, `annotations/` or `root` itself."""
    names = [f"{folder}{name}_{split}.json" for name in ("crowdpose", "mmpose_crowdpose") for folder in ("json/", "annotations/", "")]
    return people(_first(root, names), root / "images", boxes, name="crowdpose", terms=CROWDPOSE_TERMS)


def ochuman(root: Path, split: str = "test", boxes: Path | None = None) -> People:
    """OCHuman's `val` or `test`, made for testing only: `images/`, and `ochuman_coco_format_SPLIT_range_0.00_1.00.json` in `annotations/` or `root` itself."""
    file = f"ochuman_coco_format_{split}_range_0.00_1.00.json"
    return people(_first(root, [f"annotations/{file}", file]), root / "images", boxes, name="ochuman", terms=OCHUMAN_TERMS)


def people(
    annotations: Path,
    pictures: Path,
    boxes: Path | None = None,
    skeleton: Skeleton | None = None,
    name: str = "coco",
    terms: str = TERMS,
) -> People:
    """The people of an annotation file, whose pictures lie in the folder `pictures`.

    Without `boxes` those with a labelled joint who are no crowd and whose outline has an area. With `boxes`, a detector's JSON file
    (`[{image_id, category_id, bbox, score}, ...]`), everyone in it, nobody labelled. `skeleton` if it is not COCO's or CrowdPose's. People and crowds that are left
    out are counted in `found`. ValueError that names the file and the first entry that is wrong, FileNotFoundError if a file or all pictures are missing.
    """
    truth = read(annotations, skeleton)
    found = []
    if boxes is None:
        chosen = (truth.count > 0) & (truth.visible > 0).any(1) & ~truth.crowd & (truth.area > 0)
        if not chosen.any():
            raise ValueError(
                f"{annotations}: none of its {len(chosen)} annotations has a labelled joint (num_keypoints above 0), so there is nobody in it"
            )
        for kind, which in (("crowd", truth.crowd), ("no joints", ~truth.crowd & ((truth.count == 0) | ~(truth.visible > 0).any(1)))):
            if which.any():
                found.append(Finding(kind, annotations, None, f"{which.sum()} of {len(which)} annotations; no people, but known to the measure"))
        picture, score = truth.picture[chosen], np.ones(chosen.sum())
        joints, visible, corners = truth.joints[chosen], truth.visible[chosen], _clipped(truth, chosen)
    else:
        picture, corners, score = _detections(boxes, truth)
        visible = np.zeros((len(picture), len(truth.skeleton)), np.uint8)
        joints = np.zeros((*visible.shape, 2))
    instances = Instances(truth, picture, score, np.array(sorted(truth.pictures), np.int64))
    paths = {i: pictures / file for i, (file, _, _) in truth.pictures.items()}
    got = from_joints(name, truth.skeleton, [paths[i] for i in picture.tolist()], joints, visible, terms, boxes=corners, instances=instances)
    # A picture that is not there is not measured; one whose only box was useless is, as a miss.
    missing = {f.picture for f in got.found if f.kind == "missing picture"}
    measured = np.array([i for i in sorted(paths) if paths[i] not in missing], np.int64)
    assert got.instances is not None
    return replace(got, found=(*found, *got.found), instances=replace(got.instances, measured=measured))


def read(path: Path, skeleton: Skeleton | None = None) -> Truth:
    """Everything that a file annotates; its skeleton is found by the joints' names unless it is given. ValueError as `people`."""
    data = _json(path)
    if not isinstance(data, dict) or not all(isinstance(data.get(key), list) for key in ("images", "annotations")):
        what = "a detector's result" if isinstance(data, list) else "no COCO annotation"
        raise ValueError(f"{path}: is {what}; expected {{images: [...], annotations: [...], categories: [...]}}")
    category, named = _category(path, data, skeleton)
    try:
        pictures = {
            int(row["id"]): (str(row["file_name"]), float(row.get("width") or np.inf), float(row.get("height") or np.inf)) for row in data["images"]
        }
        ids = [int(row["id"]) for row in data["annotations"]]
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ValueError(f"{path}: an image needs id and file_name, an annotation id ({type(error).__name__}: {error})") from error
    for what, many in (("images", [int(row["id"]) for row in data["images"]]), ("annotations", ids)):
        if len(set(many)) < len(many):
            twice = Counter(many).most_common(1)[0]
            raise ValueError(f"{path}: {twice[1]} {what} have the id {twice[0]}; ids have to be unique")
    rows = [row for row in data["annotations"] if row.get("category_id", category) == category]
    columns = _columns(path, rows, named, pictures)
    indices = {int(row["id"]): float(row["crowdIndex"]) for row in data["images"] if "crowdIndex" in row}
    crowding = indices if indices and len(indices) == len(pictures) else None
    return Truth(path, named, pictures, *columns, crowding=crowding)


def _category(path: Path, data: Mapping[str, Any], skeleton: Skeleton | None) -> tuple[int, Skeleton]:
    """The id of the category of people, and its skeleton."""
    rows = data.get("categories")
    if not isinstance(rows, list) or not rows or not all(isinstance(row, dict) and isinstance(row.get("id"), int) for row in rows):
        raise ValueError(f"{path}: has no categories, which name the joints; expected categories: [{{id, name: person, keypoints: [...]}}]")
    known = {row["id"] for row in rows}
    strange = next((a for a in data["annotations"] if isinstance(a, dict) and a.get("category_id") not in known), None)
    if strange is not None:
        raise ValueError(f"{path}: annotation {strange.get('id')} has the category_id {strange.get('category_id')}, which is none of its categories")
    row = next((row for row in rows if row.get("name") == "person"), rows[0] if len(rows) == 1 else None)
    if row is None:
        raise ValueError(f"{path}: none of its {len(rows)} categories is person")
    names = row.get("keypoints")
    if not names:
        hint = f"; person_keypoints{path.name.removeprefix('instances')} has them" if path.name.startswith("instances_") else ""
        raise ValueError(f"{path}: its category {row.get('name')!r} has no keypoints{hint}")
    joints = tuple(SAME.get(str(n), str(n)) for n in names)
    if skeleton is None:
        skeleton = next((s for s in SKELETONS if s.joints == joints), None)
        if skeleton is None:
            known_ones = ", ".join(f"{s.name} ({len(s)})" for s in SKELETONS)
            raise ValueError(
                f"{path}: its {len(joints)} joints ({', '.join(joints[:4])}, ...) are those of no known skeleton, in this order: {known_ones}; give yours"
            )
    if len(joints) != len(skeleton):
        raise ValueError(f"{path}: names {len(joints)} joints, but skeleton {skeleton.name} has {len(skeleton)}")
    return int(row["id"]), skeleton


Columns = tuple[
    NDArray[np.int64], NDArray[np.float64], NDArray[np.float64], NDArray[np.float64], NDArray[np.uint8], NDArray[np.int64], NDArray[np.bool_]
]


def _columns(path: Path, rows: Sequence[Mapping[str, Any]], skeleton: Skeleton, pictures: Mapping[int, object]) -> Columns:
    """picture, boxes, area, joints, visible, count, crowd of all annotations, as Truth has them."""
    total = len(rows)
    picture, count, crowd = np.zeros(total, np.int64), np.zeros(total, np.int64), np.zeros(total, bool)
    boxes, area, flat = np.zeros((total, 4)), np.zeros(total), np.zeros((total, len(skeleton), 3))
    for i, row in enumerate(rows):
        try:
            picture[i], boxes[i], crowd[i] = row["image_id"], row["bbox"], bool(row.get("iscrowd", 0))
            points = row["keypoints"]
            if len(points) != 3 * len(skeleton):
                raise ValueError(f"{len(points)} numbers in keypoints, but skeleton {skeleton.name} has {len(skeleton)} joints of three each")
            flat[i] = np.reshape(points, (-1, 3))
            count[i] = row["num_keypoints"] if "num_keypoints" in row else (flat[i, :, 2] > 0).sum()
            area[i] = row["area"] if "area" in row else AREA * boxes[i, 2] * boxes[i, 3]
        except KeyError as error:
            hint = "; the people's joints are in person_keypoints_*.json" if error.args[0] == "keypoints" else ""
            raise ValueError(f"{path}: annotation {row.get('id')} has no {error.args[0]}{hint}") from None
        except (TypeError, ValueError) as error:
            raise ValueError(f"{path}: annotation {row.get('id')} is not as COCO has it: {error}") from error
        if int(picture[i]) not in pictures:
            raise ValueError(f"{path}: annotation {row['id']} is of image {picture[i]}, which is not among its images")
    flags = flat[..., 2]
    if not np.isin(flags, (0, 1, 2)).all():
        i = int(np.flatnonzero(~np.isin(flags, (0, 1, 2)).all(1))[0])
        raise ValueError(f"{path}: annotation {rows[i]['id']} has a visibility that is not 0, 1 or 2")
    return picture, boxes, area, flat[..., :2], flags.astype(np.uint8), count, crowd


def _clipped(truth: Truth, chosen: NDArray[np.bool_]) -> NDArray[np.float64]:
    """(N, 4) the annotated boxes as x0, y0, x1, y1 of pixel centres, within their pictures."""
    x, y, width, height = truth.boxes[chosen].T
    sizes = np.array([truth.pictures[i][1:] for i in truth.picture[chosen].tolist()]).reshape(-1, 2)
    x0, y0 = np.maximum(0, x), np.maximum(0, y)
    x1 = np.minimum(sizes[:, 0] - 1, x0 + np.maximum(0, width - 1))
    y1 = np.minimum(sizes[:, 1] - 1, y0 + np.maximum(0, height - 1))
    return np.stack([x0, y0, x1, y1], 1)


def _detections(path: Path, truth: Truth) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.float64]]:
    """picture (N,), boxes (N, 4) x0, y0, x1, y1 and score (N,) of a detector's file, of people only."""
    rows = _json(path)
    if not isinstance(rows, list):
        raise ValueError(f"{path}: is no detector's result; expected [{{image_id, category_id, bbox, score}}, ...]")
    try:
        rows = [row for row in rows if row.get("category_id", 1) == 1]
        picture = np.array([row["image_id"] for row in rows], np.int64).reshape(-1)
        boxes = np.array([row["bbox"] for row in rows], np.float64).reshape(len(rows), 4)
        score = np.array([row["score"] for row in rows], np.float64).reshape(-1)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        wanted = "each entry needs image_id, bbox (4) and score"
        raise ValueError(f"{path}: is no detector's result ({type(error).__name__}: {error}); {wanted}") from error
    if not len(rows):
        raise ValueError(f"{path}: holds no person (category_id 1)")
    strange = ~np.isin(picture, np.array(list(truth.pictures), np.int64))
    if strange.any():
        raise ValueError(
            f"{path}: {len(np.unique(picture[strange]))} of its {len(np.unique(picture))} images, the first {picture[strange][0]}, are not in {truth.path}; "
            "it holds detections of another set"
        )
    if not (np.isfinite(score).all() and (score >= 0).all()):
        raise ValueError(f"{path}: the score of entry {int(np.flatnonzero(~(np.isfinite(score) & (score >= 0)))[0])} is not a number of 0 or more")
    return picture, np.concatenate([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], 1), score


def _json(path: Path) -> Any:
    try:
        return json.loads(path.read_bytes())
    except FileNotFoundError:
        raise FileNotFoundError(f"{path}: not found") from None
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: is no whole JSON file, it may be cut short ({error})") from error


def _annotations(root: Path, part: str) -> Path:
    return _first(root, [f"annotations/person_keypoints_{part}2017.json"])


def _pictures(root: Path, part: str) -> Path:
    folders = [root / f"{part}2017", root / "images" / f"{part}2017"]
    return next((f for f in folders if f.is_dir()), folders[0])


def _first(root: Path, names: Sequence[str]) -> Path:
    found = next((root / n for n in names if (root / n).is_file()), None)
    if found is None:
        raise FileNotFoundError(f"{root / names[0]}: not found" + (f", nor {', '.join(names[1:])} under {root}" if names[1:] else ""))
    return found
