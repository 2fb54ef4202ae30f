"""A cache of pseudo-labels: a teacher predicts each sample once, in its canonical crop, and training moves
the prediction into each augmented crop.

A sample is known by content, the bytes of its image file and its box, so moved and renamed images keep their
pseudo-labels. `teachers.store` has the layout on disk, `teachers.packing` what the heatmaps cost (also
docs/labels.md), and `teachers.shards` how processes share the work.
"""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from poseling.codecs.heatmap import Heatmap
from poseling.data.dataset import PoseDataset
from poseling.files import read_image
from poseling.geometry import Crop, compose
from poseling.licences import behind, made_by
from poseling.skeleton import Conversion, Skeleton
from poseling.teachers.base import Teacher
from poseling.teachers.claims import Claims, block
from poseling.teachers.packing import Scale, restored, unpack
from poseling.teachers.shards import READERS, share
from poseling.teachers.store import Key, Manifest, Store
from poseling.teachers.tta import predict_crops

Digests = Mapping[Path, bytes | None]  # of image files; None for one that cannot be read
# Samples in a part: on a disk a killed run loses few; on object storage each part costs requests.
PART, REMOTE_PART = 512, 4096


@dataclass(frozen=True)
class Labelled:
    """What `label` did. `store` is the store's folder; of the samples of this shard, so many were `predicted`
    now, so many were `stored` already (or are in the data twice), and `skipped` has one line for each whose
    image cannot be read.
    """

    store: str
    predicted: int
    stored: int
    skipped: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class PseudoLabel:
    """A teacher's prediction for one sample, in the student's skeleton.

    xy (K, 2) float32 in pixels of the teacher's input; `matrix` (2, 3) leads there from pixels of the image.
    score (K,) float32 in 0..1 is the weight of xy: 0 for joints that the teacher does not predict, and for a
    sample that is not in the store. maps (K, h, w) uint8 with a `scale` (K, 2) as `packing.quantise` makes
    them, each pixel `pixel` input pixels wide and high, or None if the teacher predicts points only;
    `heatmaps` are their values. map_score (K,) is the weight of the maps: also 0 for a joint that is the
    middle of two, which has a point but no map. xyz (K, 3) float32 in metres from the root in camera axes,
    weighted by `score` like xy, or None if the teacher predicts 2D joints only.
    """

    xy: NDArray[np.float32]
    score: NDArray[np.float32]
    maps: NDArray[np.uint8] | None
    map_score: NDArray[np.float32]
    matrix: NDArray[np.float64]
    pixel: tuple[float, float] | None
    xyz: NDArray[np.float32] | None = None
    scale: Scale | None = None

    @property
    def heatmaps(self) -> NDArray[np.float32] | None:
        """The maps (K, h, w) as the teacher predicted them, to half a step; None if there are none."""
        return None if self.maps is None or self.scale is None else restored(self.maps, self.scale)

    def joints_in(self, crop: Crop) -> NDArray[np.float32]:
        """The joints (K, 2) in pixels of a student's crop, sides as in the image."""
        there = Crop(self.matrix, crop.size)
        return crop.apply(there.invert(self.xy)).astype(np.float32)

    def map_matrix(self, crop: Crop, pixel: tuple[float, float] = (1.0, 1.0)) -> NDArray[np.float64]:
        """(2, 3) from pixels of the student's heatmaps, each `pixel` pixels of its crop wide and high, to
        pixels of the maps, for `codecs.warp.warp_maps`. It leads from the student's map to its crop, the
        image, the teacher's input and its map. ValueError if there are no maps.
        """
        if self.pixel is None:
            raise ValueError(
                "this teacher predicts points only, so there is no map to warp; use joints_in, and draw "
                "heatmaps from the points if you need them"
            )
        image = crop.inverse * np.array([*pixel, 1.0])
        return compose(self.matrix, image) / np.array(self.pixel)[:, None]


def digest(
    images: Iterable[Path],
    shard: tuple[int, int] = (0, 1),
    gather: Callable[[list[tuple[int, bytes | None]]], list[tuple[int, bytes | None]]] | None = None,
) -> dict[Path, bytes | None]:
    """The digest of each image file, None where it cannot be read; each file is read once.

    n processes can read every n-th file each, `shard` (i, n): `gather` then joins their lists (accelerate's
    gather_object).
    """
    unique, (which, of) = list(dict.fromkeys(images)), shard
    with ThreadPoolExecutor(READERS) as pool:
        found = list(zip(range(which, len(unique), of), pool.map(_digest, unique[which::of]), strict=True))
    return {unique[i]: digest for i, digest in (found if gather is None else gather(found))}


def keys(dataset: PoseDataset, digests: Digests | None = None) -> list[Key | None]:
    """The content key of each sample, None where its image file cannot be read. Each file is read once, or
    not at all where the `digests` are given.

    ValueError for a box with NaN or infinity.
    """
    if len(bad := np.flatnonzero(~np.isfinite(dataset.boxes).all(-1))):
        raise ValueError(
            f"{dataset.name}: the box of person {bad[0]} in {dataset.images[bad[0]]} is not finite; leave "
            f"out people without a box"
        )
    digests = digest(dataset.images) if digests is None else digests
    # To a tenth of a pixel, so that readers that round differently find the same sample.
    boxes = np.rint(dataset.boxes * 10).astype("<i4")
    found = ((digests[image], box) for image, box in zip(dataset.images, boxes, strict=True))
    return [
        None if image is None else hashlib.blake2b(image + box.tobytes(), digest_size=16).digest()
        for image, box in found
    ]


def label(
    teacher: Teacher,
    dataset: PoseDataset,
    url: str,
    flip: bool = False,
    scales: tuple[float, ...] = (1.0,),
    batch: int = 32,
    part: int | None = None,
    shard: tuple[int, int] = (0, 1),
    progress: Callable[[int, int], None] | None = None,
    deal: str = "",
    digests: Digests | None = None,
) -> Labelled:
    """Runs the teacher on every sample that is not yet in its store under `url`, and stores its predictions,
    `part` samples at a time: 512 in a folder, 4096 elsewhere.

    With `flip` and several `scales` a prediction is the mean over the mirrored and zoomed crops. `shard`
    (i, n) takes the images of process i when n share them, with all samples in them (`teachers.shards`); n
    processes with the same `deal` never predict a sample twice. A killed run loses what it had not stored, at
    most `part` samples; the same call again goes on, in any number of processes. With the `digests` of the
    images, their files are not read for the keys. `progress` gets how many samples are done, and how many
    there are to do. Images that cannot be read are skipped and named. OSError that names the store if it
    cannot be written.
    """
    which, of = shard
    if not 0 <= which < of or batch < 1 or (part is not None and part < 1) or not scales or min(scales) <= 0:
        raise ValueError(
            f"label needs a shard i of n with 0 <= i < n, batch and part of at least 1 and positive scales; "
            f"got {shard=} {batch=} {part=} {scales=}"
        )
    store = Store.create(url, Manifest.of(teacher, flip, scales))
    part = part or (REMOTE_PART if store.remote else PART)
    mine = dataset if of == 1 else dataset[share(dataset.images, shard, deal, digests)]
    digests = digest(mine.images) if digests is None else digests
    seen: set[str] = set()
    known = store.keys(seen)
    todo: dict[Key, int] = {}
    skipped: list[str] = []
    for person, key in enumerate(keys(mine, digests)):
        if key is None:
            skipped.append(f"{mine.images[person]}: cannot be read")
        elif key not in known:
            todo.setdefault(key, person)
    blocks = _blocks(mine, todo, digests)
    # Processes that share the work have no image in common, so each share has claims of its own.
    place = (
        None
        if store.claims is None
        else store.claims / hashlib.blake2b(f"{which} {of} {deal}".encode(), digest_size=6).hexdigest()
    )
    claims, others = Claims(place), []
    waiting: list[pa.Table] = []
    predicted = done = 0

    def claimed(which: Iterable[int], wait: bool) -> Iterator[Together]:
        """The images in the blocks that this process can claim, without the samples that another process has
        stored meanwhile; the blocks it cannot claim go to `others`.
        """
        nonlocal done
        for number in which:
            if not claims.take(number, wait):
                others.append(number)
                continue
            if not store.remote:
                known.update(store.keys(seen))
            for path, members in blocks[number].items():
                left = [(key, person) for key, person in members if key not in known]
                done += len(members) - len(left)
                if left:
                    yield path, left

    def work(images: Iterator[Together]) -> None:
        nonlocal predicted, done, waiting
        for chosen, crops, unreadable in _crops(mine, images, teacher, scales, batch):
            skipped.extend(unreadable)
            done += len(chosen) + len(unreadable)
            if chosen:
                waiting.append(store.rows(chosen, predict_crops(teacher, crops, flip, scales)))
                predicted += len(chosen)
            if sum(rows.num_rows for rows in waiting) >= part:
                store.write(waiting)
                waiting = []
            if progress is not None:
                progress(done, len(todo))

    def write() -> None:
        nonlocal waiting
        if waiting:
            store.write(waiting)
            waiting = []
        claims.release()

    try:
        work(claimed(blocks, wait=False))
        write()
        for number in list(others):  # another process works on these: what is left once it has written
            work(claimed([number], wait=True))
            write()
    finally:
        claims.release()
    return Labelled(store.url, predicted, len(mine) - predicted - len(skipped), tuple(skipped))


class PseudoLabels:
    """A store's pseudo-labels for the N samples of a data set, in a student's skeleton: `labels[i]` is a
    PseudoLabel (see also `data.loader.TeacherLabels`). In memory they are as small as in the store, and they
    can be pickled.

    `boxes` (N, 4) are the samples'; `heatmap` are the student's heatmaps, into which `sample` leads, and
    `sigma` is that of the stored ones, None if it is not known. `left_out` names which samples have no
    pseudo-label; they weigh nothing.
    """

    def __init__(
        self,
        store: Store,
        dataset: PoseDataset,
        skeleton: Skeleton,
        digests: Digests | None = None,
        heatmap: Heatmap | None = None,
        sigma: float | None = None,
    ) -> None:
        self.url, self.manifest, self.heatmap, self.sigma = store.url, store.manifest, heatmap, sigma
        try:
            self.conversion: Conversion = self.manifest.skeleton.to(skeleton)
        except ValueError as error:
            raise ValueError(
                f"{self.url}: the teacher {self.manifest.teacher} cannot teach this student: {error}"
            ) from error
        self._maps = self.conversion.single
        self._mapped = np.flatnonzero(self._maps >= 0)
        self.boxes = dataset.boxes
        every = keys(dataset, digests)
        place: dict[Key, int] = {}
        xy, score, packed, xyz = [], [], [], []
        count = len(self.manifest.skeleton)
        for found, table in store.read({key for key in every if key is not None}):
            place |= {key: len(place) + i for i, key in enumerate(found)}
            xy.append(table["xy"].combine_chunks().flatten().to_numpy().reshape(-1, count, 2))
            score.append(table["score"].combine_chunks().flatten().to_numpy().reshape(-1, count))
            maps = table["maps"].to_pylist()
            packed += [m or b"" for m in maps]
            if self.manifest.is_3d:
                xyz.append(table["xyz"].combine_chunks().flatten().to_numpy().reshape(-1, count, 3))
        if not place:
            raise ValueError(
                f"{self.url}: has no pseudo-label for any of the {len(dataset)} samples of {dataset.name}; "
                f"run `poseling label` with this teacher first"
            )
        self._row = np.array([-1 if key is None else place.get(key, -1) for key in every], np.int64)
        self._xy, self._score = np.concatenate(xy), np.concatenate(score)
        self._xyz = np.concatenate(xyz) if xyz else None
        self._packed = np.frombuffer(b"".join(packed), np.uint8)
        self._ends = np.cumsum([0, *map(len, packed)])
        self.left_out: tuple[str, ...] = ()
        if len(none := np.flatnonzero(self._row < 0)):
            first = dataset.images[none[0]]
            self.left_out = (
                f"{len(none)} of {len(dataset)} samples have no pseudo-label in {self.url} and weigh "
                f"nothing, the first is in {first}",
            )

    @classmethod
    def open(
        cls,
        url: str,
        dataset: PoseDataset,
        skeleton: Skeleton,
        teacher: Teacher | None = None,
        digests: Digests | None = None,
        heatmap: Heatmap | None = None,
    ) -> PseudoLabels:
        """The pseudo-labels of `dataset` in a student's `skeleton`, for training one with this `heatmap`;
        `url` is what `label` was given, or the store itself. `digests` as in `label`.

        FileNotFoundError if there is no store; ValueError if it was made with another teacher than `teacher`,
        if there are several to choose from, if the teacher shares no joint with the student, or if it has no
        pseudo-label for any sample.
        """
        stores = Store.under(url)
        if teacher is not None:
            fitting = [s for s in stores if s.manifest.digest == teacher.digest]
            if not fitting:
                others = ", ".join(f"{s.manifest.teacher} ({s.manifest.digest})" for s in stores)
                raise ValueError(
                    f"{url}: made with the teacher {others}, not with {teacher.name} ({teacher.digest}); "
                    "run `poseling label` with this teacher, or open the store without a teacher to take it "
                    "as it is"
                )
            stores = fitting
        if len(stores) > 1:
            raise ValueError(
                f"{url}: holds {len(stores)} stores; name one of {', '.join(s.url for s in stores)}"
            )
        sigma = None if teacher is None else teacher.sigma
        return cls(stores[0], dataset, skeleton, digests, heatmap, sigma)

    @property
    def source(self) -> str:
        """The store's name, which differs by teacher and test-time augmentation."""
        return self.manifest.folder

    @property
    def licence(self) -> str:
        """The teacher with the licences of its code and weights, in words."""
        return made_by(self.manifest.teacher, self.manifest.licences)

    @property
    def behind(self) -> str:
        """All data that the teacher learned from, in words; empty if unknown."""
        return behind(self.manifest.licences)

    @property
    def width(self) -> float:
        """How wide the stored Gaussians are, in widths of the student's (see `codecs.warp.warp_maps`)."""
        return 1.0 if self.heatmap is None or self.sigma is None else self.sigma / self.heatmap.sigma

    @property
    def predicted(self) -> NDArray[np.bool_]:
        """(N,) which samples have a pseudo-label."""
        return self._row >= 0

    def __len__(self) -> int:
        return len(self._row)

    def __getitem__(self, i: int) -> PseudoLabel:
        """The pseudo-label of sample `i`. IndexError beyond the last."""
        found, row, m = self.points(i), int(self._row[i]), self.manifest
        if m.map_size is None:
            return found
        count = len(self.conversion.target)
        maps = np.zeros((count, m.map_size[1], m.map_size[0]), np.uint8)
        scale, map_score = np.zeros((count, 2), np.float32), np.zeros(count, np.float32)
        if row >= 0:
            packed = self._packed[self._ends[row] : self._ends[row + 1]]
            try:
                stored, steps = unpack(packed, (len(m.skeleton), m.map_size[1], m.map_size[0]))
            except ValueError as error:
                raise ValueError(f"{self.url}: the pseudo-label of sample {i} is damaged: {error}") from error
            theirs = self._maps[self._mapped]
            maps[self._mapped], scale[self._mapped] = stored[theirs], steps[theirs]
            map_score[self._mapped] = self._score[row].astype(np.float32)[theirs] / 255
        return replace(found, maps=maps, scale=scale, map_score=map_score)

    def points(self, i: int) -> PseudoLabel:
        """The pseudo-label of sample `i` without its maps, which take most of the time. IndexError beyond the
        last.
        """
        row, m, how = int(self._row[i]), self.manifest, self.conversion
        count = len(how.target)
        matrix = Crop.from_box(self.boxes[i], m.size, m.padding).matrix
        xy, score = np.zeros((count, 2), np.float32), np.zeros(count, np.float32)
        xyz = None if self._xyz is None else np.zeros((count, 3), np.float32)
        if row >= 0:
            xy = how.joints(self._xy[row]).astype(np.float32)
            score = how.weights(self._score[row].astype(np.float32) / 255)
            if self._xyz is not None:
                xyz = how.joints(self._xyz[row]).astype(np.float32)
        return PseudoLabel(xy, score, None, np.zeros(count, np.float32), matrix, m.pixel, xyz)

    def sample(self, person: int, crop: Crop) -> dict[str, NDArray[Any]]:
        """teacher_xy (K, 2) in the crop's pixels, teacher_weight (K,) the teacher's confidence, and if it
        predicts heatmaps: teacher_maps (K, h, w) uint8 with teacher_scale (K, 2) as `packing.quantise` makes
        them, teacher_map_weight (K,), 0 for a joint that has no map, as the middle of two, and teacher_matrix (2, 3) from pixels of the student's heatmaps to theirs (of the crop, without
        a `heatmap`). If it predicts 3D also teacher_xyz (K, 3), metres from the root as the crop shows the
        person, with teacher_xyz_weight (K,). Left and right are swapped if the crop mirrors.
        """
        found = self[person]
        order = self.conversion.target.flip if crop.flipped else slice(None)
        sample: dict[str, NDArray[Any]] = {
            "teacher_xy": found.joints_in(crop)[order],
            "teacher_weight": found.score[order],
        }
        if found.maps is not None:
            assert found.scale is not None
            sample["teacher_map_weight"] = found.map_score[order]
            sample["teacher_maps"], sample["teacher_scale"] = found.maps[order], found.scale[order]
            pixel = (1.0, 1.0) if self.heatmap is None else self.heatmap.pixel
            sample["teacher_matrix"] = found.map_matrix(crop, pixel).astype(np.float32)
        if found.xyz is not None:
            sample["teacher_xyz"] = crop.turn(found.xyz)[order]
            sample["teacher_xyz_weight"] = found.score[order]
        return sample


def _digest(image: Path) -> bytes | None:
    try:
        return hashlib.blake2b(image.read_bytes()).digest()
    except OSError:
        return None  # the caller counts and names it


Batch = tuple[list[Key], NDArray[np.uint8], list[str]]


Together = tuple[Path, list[tuple[Key, int]]]


def _blocks(
    dataset: PoseDataset, todo: dict[Key, int], digests: Digests
) -> dict[int, dict[Path, list[tuple[Key, int]]]]:
    """The samples to predict, by the block that is claimed, and in it by image, so that each image is decoded
    once.
    """
    found: dict[int, dict[Path, list[tuple[Key, int]]]] = {}
    for key, person in todo.items():
        image = dataset.images[person]
        content = digests[image]
        assert content is not None  # else it would have no key
        found.setdefault(block(content), {}).setdefault(image, []).append((key, person))
    return found


def _crops(
    dataset: PoseDataset, images: Iterator[Together], teacher: Teacher, scales: Sequence[float], batch: int
) -> Iterator[Batch]:
    """Keys, canonical crops (B, S, H, W, 3) at each of S scales, and a line for each sample whose image
    cannot be read. Each image is decoded once for all of its samples, which stand together; the next images
    are read meanwhile.
    """

    def read(path: Path, members: list[tuple[Key, int]]) -> list[NDArray[np.uint8]]:
        image = read_image(path)
        boxes = [dataset.boxes[person] for _, person in members]
        return [
            np.stack([Crop.from_box(box, teacher.size, teacher.padding, scale=s).warp(image) for s in scales])
            for box in boxes
        ]

    ahead: deque[tuple[list[tuple[Key, int]], Future[list[NDArray[np.uint8]]]]] = deque()
    chosen: list[Key] = []
    crops: list[NDArray[np.uint8]] = []
    unreadable: list[str] = []
    with ThreadPoolExecutor(READERS) as pool:
        while True:
            while (
                sum(len(members) for members, _ in ahead) < 2 * batch
                and (following := next(images, None)) is not None
            ):
                ahead.append((following[1], pool.submit(read, *following)))
            if not ahead:
                break
            members, future = ahead.popleft()
            try:
                crops += future.result()
                chosen += [key for key, _ in members]
            except OSError as error:
                unreadable += [str(error)] * len(members)
            while len(chosen) + len(unreadable) >= batch:
                now = min(batch, len(chosen))
                yield chosen[:now], np.stack(crops[:now]) if now else np.empty(0, np.uint8), unreadable
                chosen, crops, unreadable = chosen[now:], crops[now:], []
    if chosen or unreadable:
        yield chosen, np.stack(crops) if crops else np.empty(0, np.uint8), unreadable
