"""`PoseDataset`: what every reader of a data set returns and everything else takes. Without torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from poseling.geometry import joints_box
from poseling.licences import merged
from poseling.skeleton import Skeleton

LARGEST = 1e7  # pixels or metres: larger than any image or scene, and float32 still resolves single pixels


@dataclass(frozen=True)
class Finding:
    """A problem in a data set: its kind, the image, and the index of the person as the reader found it (None
    for the image itself).
    """

    kind: str
    image: Path
    person: int | None
    message: str


@dataclass(frozen=True, eq=False)
class Truth:
    """All annotations of a COCO-like file, as average precision needs them: also crowd regions and people
    without a labelled joint, which are not samples but which a prediction may match.

    `images` has all of the file's images by id: file name, width and height (infinite where the file does not
    give them). M annotations: image (M,) the image's id, boxes (M, 4) x, y, width, height as in the file,
    area (M,) square pixels, joints (M, K, 2) and visible (M, K) as in PoseDataset, count (M,) the file's
    `num_keypoints`, crowd (M,) whether it is a crowd region. `crowding` is CrowdPose's crowd index by image,
    `findings` what had to be corrected.
    """

    path: Path
    skeleton: Skeleton
    images: Mapping[int, tuple[str, float, float]]
    image: NDArray[np.int64]
    boxes: NDArray[np.float64]
    area: NDArray[np.float64]
    joints: NDArray[np.float64]
    visible: NDArray[np.uint8]
    count: NDArray[np.int64]
    crowd: NDArray[np.bool_]
    crowding: Mapping[int, float] | None = None
    findings: tuple[Finding, ...] = ()


@dataclass(frozen=True, eq=False)
class Instances:
    """What average precision needs of N samples: the `truth`, image (N,) the id of each sample's image there,
    score (N,) the detector's confidence in the box (1 for an annotated one), and measured (P,) the ids of the
    images that are evaluated, also of those without a detected box.
    """

    truth: Truth
    image: NDArray[np.int64]
    score: NDArray[np.float64]
    measured: NDArray[np.int64]

    def __getitem__(self, rows: NDArray[np.integer]) -> Instances:
        """The chosen samples; images that lose all of theirs are no longer evaluated."""
        image = self.image[rows]
        lost = np.setdiff1d(self.image, image)
        return replace(self, image=image, score=self.score[rows], measured=np.setdiff1d(self.measured, lost))


@dataclass(frozen=True, eq=False)
class PoseDataset:
    """N samples, each one person in one image.

    - images (N): paths
    - boxes (N, 4): x0, y0, x1, y1 in pixels
    - joints (N, K, 2): pixels, 0 where unknown
    - visible (N, K): 0 not labelled, 1 labelled but occluded, 2 labelled and visible (COCO's flags)
    - head_size (N,): the length in pixels by which PCKh normalises, 0.6 of the head box's diagonal, NaN where
      unknown; None where the data set has no head boxes
    - licence: the data's licence in words
    - findings: what the reader left out or corrected, one entry each
    - joints_3d (N, K, 3): metres in camera axes (x right, y down, z away), 0 where unknown, also of joints
      outside the image; None where the data set has none
    - camera (N, 4): fx, fy, cx, cy in pixels of the image, NaN where unknown; None where all are
    - instances: what average precision needs; None where the data set uses another metric, or the skeleton is
      no longer the file's
    - confidence_3d (N, K): 0..1, of joints_3d where a network predicted them, else None
    - weight (N, K): 0..1, of each joint in training; None where all labelled joints count the same
    - draws (N,): how often each sample is drawn in training, relative to the others; None where all are drawn
      equally often
    - sizes (N, 2): width and height of the image by the annotation, infinite where it does not give them;
      None where it never does
    """

    name: str
    skeleton: Skeleton
    images: tuple[Path, ...]
    boxes: NDArray[np.float32]
    joints: NDArray[np.float32]
    visible: NDArray[np.uint8]
    head_size: NDArray[np.float32] | None = None
    licence: str = "unknown"
    findings: tuple[Finding, ...] = ()
    joints_3d: NDArray[np.float32] | None = None
    camera: NDArray[np.float32] | None = None
    instances: Instances | None = None
    confidence_3d: NDArray[np.float32] | None = None
    weight: NDArray[np.float32] | None = None
    draws: NDArray[np.float32] | None = None
    sizes: NDArray[np.float32] | None = None

    def __post_init__(self) -> None:
        samples, joints = len(self.images), len(self.skeleton)
        expected = {
            "boxes": (samples, 4),
            "joints": (samples, joints, 2),
            "visible": (samples, joints),
            "head_size": (samples,),
            "joints_3d": (samples, joints, 3),
            "camera": (samples, 4),
            "confidence_3d": (samples, joints),
            "weight": (samples, joints),
            "draws": (samples,),
            "sizes": (samples, 2),
        }
        for field, shape in expected.items():
            values = getattr(self, field)
            if values is not None and values.shape != shape:
                raise ValueError(
                    f"{self.name}: {field} has shape {values.shape}, expected {shape} for {samples} samples "
                    f"of skeleton {self.skeleton.name}"
                )
        if self.instances is not None and (self.instances.image.shape, self.instances.score.shape) != (
            (samples,),
            (samples,),
        ):
            raise ValueError(
                f"{self.name}: instances has {len(self.instances.image)} entries, expected {samples}"
            )

    def __len__(self) -> int:
        return len(self.images)

    @property
    def left_out(self) -> tuple[str, ...]:
        """What the reader left out or corrected: one line for each kind, with the count and the first."""
        first: dict[str, Finding] = {}
        for finding in self.findings:
            first.setdefault(finding.kind, finding)
        counts = {kind: sum(f.kind == kind for f in self.findings) for kind in first}
        return tuple(
            f"{self.name}: {counts[kind]} x {kind}, the first in {f.image}: {f.message}"
            for kind, f in first.items()
        )

    @property
    def labelled(self) -> bool:
        """Whether any joint has a label."""
        return bool((self.visible > 0).any())

    def __getitem__(self, which: slice | Sequence[int] | NDArray[np.generic]) -> PoseDataset:
        """The chosen samples: a slice, indices, or a mask."""
        rows = np.arange(len(self))[which]
        return replace(
            self,
            images=tuple(self.images[i] for i in rows),
            boxes=self.boxes[rows],
            joints=self.joints[rows],
            visible=self.visible[rows],
            head_size=None if self.head_size is None else self.head_size[rows],
            joints_3d=None if self.joints_3d is None else self.joints_3d[rows],
            camera=None if self.camera is None else self.camera[rows],
            instances=None if self.instances is None else self.instances[rows],
            confidence_3d=None if self.confidence_3d is None else self.confidence_3d[rows],
            weight=None if self.weight is None else self.weight[rows],
            draws=None if self.draws is None else self.draws[rows],
            sizes=None if self.sizes is None else self.sizes[rows],
        )

    @property
    def is_3d(self) -> bool:
        """Whether any sample has 3D joints."""
        return self.joints_3d is not None and bool(self.joints_3d.any())

    def to(self, skeleton: Skeleton) -> PoseDataset:
        """The same samples in another skeleton; joints that this one does not have are unlabelled."""
        if skeleton == self.skeleton:
            return self
        how = self.skeleton.to(skeleton)
        visible = how.weights(self.visible)
        # The middle of a known joint and an unknown one is unknown.
        joints_3d = (
            None
            if self.joints_3d is None
            else how.joints(self.joints_3d)
            * how.weights((self.joints_3d != 0).any(-1).astype(np.uint8))[..., None]
        )
        joints = how.joints(self.joints) * (visible > 0)[..., None]
        confidence_3d = None if self.confidence_3d is None else how.weights(self.confidence_3d)
        weight = None if self.weight is None else how.weights(self.weight)
        return replace(
            self,
            skeleton=skeleton,
            joints=joints,
            visible=visible,
            joints_3d=joints_3d,
            instances=None,
            confidence_3d=confidence_3d,
            weight=weight,
        )

    def drawn(self, share: float) -> PoseDataset:
        """The same samples with this `share` of all draws, beside sets whose shares sum to 1 with it.
        ValueError if it is not above 0.
        """
        if not 0 < share <= 1:
            raise ValueError(
                f"{self.name}: its share of the training is {share:g}; a share is above 0 and at most 1 "
                f"(leave out a set of which nothing is wanted)"
            )
        return replace(self, draws=np.full(len(self), share / len(self), np.float32))

    def without_labels(self) -> PoseDataset:
        """The same images and boxes without any labels."""
        nothing = np.zeros_like(self.visible)
        return replace(
            self,
            name=f"{self.name}-unlabelled",
            joints=np.zeros_like(self.joints),
            visible=nothing,
            head_size=None,
            joints_3d=None,
            instances=None,
            confidence_3d=None,
            weight=None,
        )


def join(*sets: PoseDataset) -> PoseDataset:
    """Several sets as one, in the first one's skeleton. Samples without 3D joints keep zeros there, those
    without a camera NaN. Beside sets with shares, the samples of one without are each drawn as often as the
    others' on average.
    """
    first, skeleton = sets[0], sets[0].skeleton
    sets = tuple(s.to(skeleton) for s in sets)
    return PoseDataset(
        "+".join(dict.fromkeys(s.name for s in sets)),
        skeleton,
        tuple(p for s in sets for p in s.images),
        np.concatenate([s.boxes for s in sets]),
        np.concatenate([s.joints for s in sets]),
        np.concatenate([s.visible for s in sets]),
        _all([s.head_size for s in sets]),
        first.licence
        if len({s.licence for s in sets}) == 1
        else merged(*(f"{s.name}: {s.licence}" for s in sets)),
        tuple(finding for s in sets for finding in s.findings),
        _some([(s.joints_3d, np.zeros((*s.joints.shape[:2], 3), np.float32)) for s in sets]),
        _some([(s.camera, np.full((len(s), 4), np.nan, np.float32)) for s in sets]),
        _instances([s.instances for s in sets]),
        _some([(s.confidence_3d, np.ones(s.joints.shape[:2], np.float32)) for s in sets]),
        _some([(s.weight, np.ones(s.joints.shape[:2], np.float32)) for s in sets]),
        _draws(sets),
        _some([(s.sizes, np.full((len(s), 2), np.inf, np.float32)) for s in sets]),
    )


def _instances(parts: Sequence[Instances | None]) -> Instances | None:
    """The instances of all parts; None where a part has none or their annotation files differ."""
    there = [part for part in parts if part is not None]
    if len(there) < len(parts) or any(part.truth is not there[0].truth for part in there):
        return None
    image, score, measured = (
        np.concatenate([getattr(part, name) for part in there]) for name in ("image", "score", "measured")
    )
    return Instances(there[0].truth, image, score, np.unique(measured))


def _all(parts: Sequence[NDArray[np.float32] | None]) -> NDArray[np.float32] | None:
    """All parts concatenated; None if one of them is None."""
    there = [part for part in parts if part is not None]
    return np.concatenate(there) if len(there) == len(parts) else None


def _draws(sets: Sequence[PoseDataset]) -> NDArray[np.float32] | None:
    known = [s.draws for s in sets if s.draws is not None]
    if not known:
        return None
    usual = float(np.concatenate(known).mean())
    return np.concatenate([np.full(len(s), usual, np.float32) if s.draws is None else s.draws for s in sets])


def _some(
    parts: Sequence[tuple[NDArray[np.float32] | None, NDArray[np.float32]]],
) -> NDArray[np.float32] | None:
    """All parts concatenated, with the substitute for a part that is None; None if all are."""
    if all(part is None for part, _ in parts):
        return None
    return np.concatenate([substitute if part is None else part for part, substitute in parts])


def usable(values: NDArray[np.floating]) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Values (..., D) as float32, and which points (...) are usable: finite and at most LARGEST."""
    with np.errstate(over="ignore", invalid="ignore"):
        kept = values.astype(np.float32)
        return kept, np.asarray((np.abs(kept) <= LARGEST).all(-1), bool)


def from_joints(
    name: str,
    skeleton: Skeleton,
    images: Sequence[Path],
    joints: NDArray[np.floating],
    visible: NDArray[np.integer],
    licence: str = "unknown",
    head_size: NDArray[np.floating] | None = None,
    boxes: NDArray[np.floating] | None = None,
    joints_3d: NDArray[np.floating] | None = None,
    camera: NDArray[np.floating] | None = None,
    instances: Instances | None = None,
    path: Path | None = None,
    sizes: NDArray[np.floating] | None = None,
) -> PoseDataset:
    """Samples with the given boxes (N, 4), or with the boxes around their labelled joints. `path` is the
    annotation file, for errors, and sizes (N, 2) the image sizes that it gives.

    Left out, one entry each in `findings`: samples whose image is missing, whose box or camera is empty or
    not a number, and, where no boxes are given, those without two labelled joints apart. Joints that are not
    a number count as unlabelled, 3D joints and head sizes as unknown; a number is finite in float32 and at
    most LARGEST. FileNotFoundError if every image is missing; ValueError if no sample is left.
    """
    joints, finite = usable(joints)
    seen = np.where(finite, visible, 0).astype(np.uint8)
    joints = np.where(seen[..., None] > 0, joints, 0)
    around = boxes is None
    if boxes is None:
        boxes = (
            np.stack([joints_box(j, v > 0) for j, v in zip(joints, seen, strict=True)])
            if len(joints)
            else np.zeros((0, 4))
        )
    boxes, sized = usable(boxes)
    sized &= np.asarray((boxes[:, 2:] > boxes[:, :2]).all(-1), bool)
    exists = {p: _is_file(p) for p in dict.fromkeys(images)}
    if exists and not any(exists.values()):
        raise FileNotFoundError(
            f"{name}: none of its {len(exists)} images was found; the first would be {images[0]}"
        )
    found: list[Finding] = []
    camera, lens = (None, np.ones(len(images), bool)) if camera is None else usable(camera)
    if camera is not None:
        lens &= np.asarray((camera[:, :2] > 0).all(-1), bool)
    head_size = None if head_size is None else _head_sizes(head_size, images, found)
    joints_3d = None if joints_3d is None else _known_in_3d(joints_3d, images, skeleton, found)
    for i, image in enumerate(images):
        if not exists[image]:
            found.append(
                Finding(
                    "missing image",
                    image,
                    i,
                    "named by the annotation but not found; the person is left out",
                )
            )
        elif not sized[i]:
            why = (
                "fewer than two labelled joints apart"
                if around
                else f"x0, y0, x1, y1 are {', '.join(f'{v:g}' for v in boxes[i])}"
            )
            found.append(Finding("empty box", image, i, f"{why}; the person is left out"))
        elif not lens[i]:
            found.append(
                Finding(
                    "no camera",
                    image,
                    i,
                    "its camera has an entry that is not a number; the person is left out",
                )
            )
        elif len(broken := np.flatnonzero(~finite[i] & (visible[i] > 0))):
            names = ", ".join(skeleton.joints[j] for j in broken)
            found.append(
                Finding("joint is NaN", image, i, f"{names}: not a finite number, counts as unlabelled")
            )
    keep = sized & lens & np.array([exists[p] for p in images], bool)
    if len(images) and not keep.any():
        first = next(f for f in found if "left out" in f.message)
        raise ValueError(
            f"{path or name}: none of its {len(images)} people can be used; the first: {first.image}: "
            f"{first.message}"
        )
    sizes = None if sizes is None else sizes.astype(np.float32)
    return PoseDataset(
        name,
        skeleton,
        tuple(images),
        boxes,
        joints,
        seen,
        head_size,
        licence,
        tuple(found),
        joints_3d,
        camera,
        instances,
        sizes=sizes,
    )[keep]


def image_path(folder: Path, name: str) -> Path:
    """The path of the image that an annotation calls `name`; files from Windows have backslashes."""
    return folder / name if "\\" not in name or _is_file(folder / name) else folder / name.replace("\\", "/")


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # a name that no file can have
        return False


def _head_sizes(
    head_size: NDArray[np.floating], images: Sequence[Path], found: list[Finding]
) -> NDArray[np.float32]:
    """Head sizes (N,), NaN where unknown; one that is not a length becomes NaN and a finding."""
    sizes, sane = usable(head_size[:, None])
    sizes, sane = sizes[:, 0], sane & (sizes[:, 0] > 0)
    for i in np.flatnonzero(~sane & ~np.isnan(sizes)).tolist():
        found.append(Finding("no head size", images[i], i, f"it is {sizes[i]:g}, counts as unknown"))
    return np.where(sane, sizes, np.float32(np.nan))


def _known_in_3d(
    joints_3d: NDArray[np.floating], images: Sequence[Path], skeleton: Skeleton, found: list[Finding]
) -> NDArray[np.float32]:
    """3D joints (N, K, 3), 0 where unknown; one that is not a number becomes 0 and a finding."""
    kept, known = usable(joints_3d)
    for i in np.flatnonzero(~known.all(-1)).tolist():
        names = ", ".join(skeleton.joints[j] for j in np.flatnonzero(~known[i]))
        found.append(
            Finding("3D joint is NaN", images[i], i, f"{names}: not a finite number, counts as unknown")
        )
    return np.where(known[..., None], kept, 0)
