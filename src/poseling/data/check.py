"""What is wrong with a data set, file by file, before a network learns it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from poseling.data.dataset import Finding, PoseDataset
from poseling.data.sizes import KIND, compare, describe
from poseling.files import read_image
from poseling.skeleton import Skeleton

MARGIN = 0.02  # of the image's longer side: how far a joint may lie outside before it is reported
LONG = 3.0  # a bone this many times as long as the person's others lead one to expect is wrong


def check(
    dataset: PoseDataset, progress: Callable[[int, int], None] | None = None, margin: float = MARGIN
) -> list[Finding]:
    """All that is found, in the order: what the reader left out, then image by image, then person by person.

    Kinds: `missing image`, `unreadable image`, `duplicate image` (the same pixels), `other size` (the
    annotation says another), `empty box`, `box outside` (it misses the image), `joint outside` (by more than
    `margin` times the image's longer side), `joint is NaN`, `swapped sides`, `odd bone`. `swapped_against`
    adds what a teacher can show. Every image is decoded once; `progress` is called with (done, all).
    """
    found = list(dataset.findings)
    found += _images(dataset, progress, margin)
    found += swapped(dataset)
    return found + odd_bones(dataset)


def showable(dataset: PoseDataset, findings: Sequence[Finding]) -> NDArray[np.int64]:
    """The indices of the samples that a teacher can be run on, after what `check` found: their images can be
    read, and their boxes have an area.
    """
    broken = {f.image for f in findings if f.kind in ("missing image", "unreadable image")}
    solid = np.asarray(
        np.isfinite(dataset.boxes).all(-1) & (dataset.boxes[:, 2:] > dataset.boxes[:, :2]).all(-1), bool
    )
    return np.array(
        [i for i, image in enumerate(dataset.images) if solid[i] and image not in broken], np.int64
    )


def swapped(dataset: PoseDataset) -> list[Finding]:
    """People whose shoulders point one way and whose hips point the other, both wide enough to be sure.

    A person turned by a right angle or more at the waist looks like this too, but is rare: the cosine must be
    below -0.5, and the narrower of the two at least 0.3 of the torso's length.
    """
    needed = ("left_shoulder", "right_shoulder", "left_hip", "right_hip")
    if not all(j in dataset.skeleton.joints for j in needed):
        return []
    places = [dataset.skeleton.index(j) for j in needed]
    xy = dataset.joints[:, places].astype(np.float64)
    shoulders, hips = xy[:, 0] - xy[:, 1], xy[:, 2] - xy[:, 3]
    torso = np.linalg.norm(xy[:, :2].mean(1) - xy[:, 2:].mean(1), axis=-1)
    wide, narrow = np.linalg.norm(shoulders, axis=-1), np.linalg.norm(hips, axis=-1)
    cosine = (shoulders * hips).sum(-1) / np.maximum(wide * narrow, 1e-9)
    bad = (
        (dataset.visible[:, places] > 0).all(-1) & (np.minimum(wide, narrow) > 0.3 * torso) & (cosine < -0.5)
    )
    message = "left and right shoulder point the opposite way from left and right hip"
    return [Finding("swapped sides", dataset.images[i], int(i), message) for i in np.flatnonzero(bad)]


def swapped_against(dataset: PoseDataset, predicted: NDArray[np.floating]) -> list[Finding]:
    """People whose whole body, arms or legs agree with a teacher's joints (N, K, 2) much better when left
    and right are exchanged.

    Much better: half the mean distance or less, and nearer by a tenth of the box's diagonal. The teacher may
    be wrong too: look at what this names.
    """
    if predicted.shape != dataset.joints.shape:
        raise ValueError(
            f"the predicted joints have shape {predicted.shape}, the labels {dataset.joints.shape}; give one "
            f"prediction a sample, in {dataset.skeleton.name}"
        )
    flip = dataset.skeleton.flip
    size = np.linalg.norm(dataset.boxes[:, 2:] - dataset.boxes[:, :2], axis=-1)
    known = (dataset.visible > 0) & np.isfinite(predicted).all(-1)
    known &= known[:, flip]  # both of a pair, so that both ways of reading it are compared on the same joints
    found = []
    named = np.zeros(len(dataset), bool)
    for part, joints in _parts(dataset.skeleton).items():
        weight = known[:, joints].astype(np.float64)
        same = _mean(np.linalg.norm(dataset.joints[:, joints] - predicted[:, joints], axis=-1), weight)
        other = _mean(
            np.linalg.norm(dataset.joints[:, flip][:, joints] - predicted[:, joints], axis=-1), weight
        )
        bad = (weight.sum(-1) >= 4) & (other < 0.5 * same) & (same - other > 0.1 * size) & ~named
        named |= bad
        for i in np.flatnonzero(bad):
            message = (
                f"{part}: {same[i]:.0f} pixels from the teacher as labelled, {other[i]:.0f} with left and right "
                f"exchanged"
            )
            found.append(Finding("swapped against the teacher", dataset.images[i], int(i), message))
    return found


def odd_bones(dataset: PoseDataset) -> list[Finding]:
    """People with a bone that is far longer than expected from the person's other bones, or with both joints
    of a bone in one place.

    An image shortens bones but never lengthens them. So a bone's length is compared to a typical one of its
    kind (the set's median share of the person's size) times the person's size (the median over the other
    bones), and only too long is odd. Needs four labelled bones of a person and 20 people.
    """
    children, parents = (
        (np.array(side, int) for side in zip(*dataset.skeleton.bones, strict=True))
        if dataset.skeleton.bones
        else (np.zeros(0, int),) * 2
    )
    labelled = (dataset.visible[:, children] > 0) & (dataset.visible[:, parents] > 0)
    length = np.linalg.norm(dataset.joints[:, children] - dataset.joints[:, parents], axis=-1)
    names = [
        f"{dataset.skeleton.joints[c]} to {dataset.skeleton.joints[p]}"
        for c, p in zip(children, parents, strict=True)
    ]
    found = [
        Finding("odd bone", dataset.images[i], int(i), f"{names[b]}: both joints are in the same place")
        for i, b in zip(*np.nonzero(labelled & (length == 0)), strict=True)
    ]
    enough = labelled.sum(-1) >= 4
    if enough.sum() < 20:
        return found
    logs = np.where(labelled & (length > 0) & enough[:, None], np.log(np.maximum(length, 1e-9)), np.nan)
    size, kind = np.zeros(len(dataset)), np.zeros(len(children))
    for _ in range(3):  # the median polish of Tukey: people's sizes and bones' shares in turn
        size = _median(logs - kind, 1)
        kind = _median(logs - size[:, None], 0)
    excess = logs - kind - size[:, None]
    with np.errstate(invalid="ignore"):
        odd = excess > np.log(LONG)
    found += [
        Finding(
            "odd bone",
            dataset.images[i],
            int(i),
            f"{names[b]}: {np.exp(excess[i, b]):.1f} times as long as the person's other bones lead one to "
            f"expect",
        )
        for i, b in zip(*np.nonzero(odd), strict=True)
    ]
    return sorted(found, key=lambda f: f.person or 0)


def summary(findings: Sequence[Finding]) -> dict[str, dict[str, Any]]:
    """For each kind, most frequent first: how many, in how many images, and which; plain values for JSON."""
    kinds = sorted(
        {f.kind for f in findings}, key=lambda kind: (-sum(f.kind == kind for f in findings), kind)
    )
    out = {}
    for kind in kinds:
        images = list(dict.fromkeys(str(f.image) for f in findings if f.kind == kind))
        out[kind] = {"count": sum(f.kind == kind for f in findings), "images": len(images), "files": images}
    return out


def report(findings: Sequence[Finding]) -> Iterator[str]:
    """A line for each finding, kinds together, then one that sums up."""
    counts = summary(findings)
    for kind in counts:
        for f in findings:
            if f.kind == kind:
                yield f"{kind}: {f.image}{'' if f.person is None else f' (person {f.person})'}: {f.message}"
    yield ", ".join(f"{about['count']} x {kind}" for kind, about in counts.items()) or "nothing found"


def _images(
    dataset: PoseDataset, progress: Callable[[int, int], None] | None, margin: float
) -> Iterator[Finding]:
    """Decodes each image once and looks at the people in it."""
    rows: dict[Path, list[int]] = {}
    for i, path in enumerate(dataset.images):
        rows.setdefault(path, []).append(i)
    first: dict[bytes, Path] = {}
    for done, (path, persons) in enumerate(rows.items(), 1):
        if progress is not None:
            progress(done, len(rows))
        try:
            image = read_image(path)
        except OSError as error:
            kind = "unreadable image" if path.is_file() else "missing image"
            yield Finding(kind, path, None, str(error).removeprefix(f"{path}: "))
            yield from (f for i in persons for f in _person(dataset, i, None, margin))
            continue
        digest = hashlib.blake2b(repr(image.shape).encode() + image.tobytes(), digest_size=16).digest()
        if (twin := first.setdefault(digest, path)) != path:
            yield Finding("duplicate image", path, None, f"has the same pixels as {twin}")
        height, width = image.shape[:2]
        said = (
            (np.inf, np.inf)
            if dataset.sizes is None
            else (float(dataset.sizes[persons[0], 0]), float(dataset.sizes[persons[0], 1]))
        )
        if how := compare(said, (width, height)):
            yield Finding(KIND, path, None, describe(how, said, (width, height)))
        yield from (f for i in persons for f in _person(dataset, i, image.shape[:2], margin))


def _person(dataset: PoseDataset, i: int, shape: tuple[int, ...] | None, margin: float) -> Iterator[Finding]:
    """The box and the joints of one person, against the image's (H, W) where that is known."""
    path, box = dataset.images[i], dataset.boxes[i]
    shown = f"x0, y0, x1, y1 are {', '.join(f'{v:g}' for v in box)}"
    solid = bool(np.isfinite(box).all() and (box[2:] > box[:2]).all())
    if not solid:
        yield Finding("empty box", path, i, shown)
    labelled, finite = dataset.visible[i] > 0, np.isfinite(dataset.joints[i]).all(-1)
    if (broken := labelled & ~finite).any():
        yield Finding(
            "joint is NaN", path, i, ", ".join(dataset.skeleton.joints[j] for j in np.flatnonzero(broken))
        )
    if shape is None:
        return
    height, width = shape
    last = np.array([width - 1, height - 1])
    if solid and ((box[:2] > last) | (box[2:] < 0)).any():
        yield Finding("box outside", path, i, f"{shown}, the image is {width} x {height}")
    reach = margin * max(width, height)
    xy = dataset.joints[i]
    beyond = np.maximum(np.maximum(-xy, xy - last), 0).max(-1)
    if (out := labelled & finite & (beyond > reach)).any():
        names = ", ".join(f"{dataset.skeleton.joints[j]} by {beyond[j]:.0f}" for j in np.flatnonzero(out))
        yield Finding("joint outside", path, i, f"{names} pixels; the image is {width} x {height}")


def _parts(skeleton: Skeleton) -> dict[str, NDArray[np.int64]]:
    """The joints that have a side: of the whole body, the arms, the legs; by name."""
    sided = np.flatnonzero(skeleton.flip != np.arange(len(skeleton)))
    parts = {"whole body": sided}
    for part, stems in {"arms": ("shoulder", "elbow", "wrist"), "legs": ("hip", "knee", "ankle")}.items():
        parts[part] = np.array([j for j in sided if skeleton.joints[j].split("_", 1)[1] in stems], np.int64)
    return {part: joints for part, joints in parts.items() if len(joints)}


def _mean(values: NDArray[np.floating], weight: NDArray[np.float64]) -> NDArray[np.float64]:
    """(N, K) to (N,) over what has weight; 0 where nothing has."""
    return np.asarray(np.where(weight > 0, values, 0).sum(-1) / np.maximum(weight.sum(-1), 1))


def _median(values: NDArray[np.floating], axis: int) -> NDArray[np.float64]:
    """The median of what is not NaN; 0 where nothing is."""
    empty = np.isnan(values).all(axis)
    filled = np.where(np.expand_dims(empty, axis), 0.0, values)
    return np.asarray(np.nanmedian(filled, axis), np.float64)
