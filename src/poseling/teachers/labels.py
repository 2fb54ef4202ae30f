"""The stored answers. A teacher is asked once about every person, in the canonical crop; training warps the
answer as it warps the image (`distill.warp`).

A person is known by content, the bytes of the image's file and the box, so that moved and renamed images keep
their answers. What a store looks like is in `teachers.store`, what the heatmaps in it cost is in
`teachers.packing` and docs/labels.md, and how processes share the asking is in `teachers.shards`.
"""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from poseling.data.dataset import PoseDataset
from poseling.files import read_image
from poseling.geometry import Crop, person_size
from poseling.skeleton import Conversion, Skeleton
from poseling.teachers.base import Prediction, Teacher
from poseling.teachers.claims import Claims, block
from poseling.teachers.packing import Scale, pack, restored, unpack
from poseling.teachers.shards import READERS, share
from poseling.teachers.store import Key, Manifest, Rows, Store
from poseling.teachers.tta import ask

Digests = Mapping[Path, bytes | None]  # of images' files; None for one that cannot be read
PART, REMOTE_PART = (
    512,
    4096,
)  # people in a part: on a disk few are lost with a process, on object storage each part costs requests
DISTANCE = 5.0  # metres from the camera at which `metres` puts a root
LEAST = 0.3  # the score from which a joint that nobody labelled is believed in the image


@dataclass(frozen=True)
class Labelled:
    """What `label` did. `store` is where the answers are; of the people of this shard, `asked` now, `already`
    there (or in the data twice), and `skipped`, a line each that names the image that cannot be read.
    """

    store: str
    asked: int
    already: int
    skipped: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class StoredAnswer:
    """What a teacher said of one person, in the student's skeleton.

    xy (K, 2) float32 in pixels of the teacher's input; `matrix` (2, 3) leads there from pixels of the image.
    score (K,) float32 in 0..1, the weight of xy: 0 where the teacher has no such joint, or the person no
    answer. maps (K, h, w) uint8 with a `scale` (K, 2) as `packing.quantise` has it, each pixel `pixel` input
    pixels wide and high, or None if the teacher only gives points; `heatmaps` are their numbers. map_score
    (K,) is the weight of the maps: also 0 for a joint that is the middle of two, which has a point but no
    map. xyz (K, 3) float32 in metres from the root in camera axes, weighed by `score` as xy is, or None if
    the teacher knows no depth.
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
        """The maps (K, h, w) as the teacher gave them, to half a step; None if there are none."""
        return None if self.maps is None or self.scale is None else restored(self.maps, self.scale)


def digest(
    images: Iterable[Path],
    shard: tuple[int, int] = (0, 1),
    gather: Callable[[list[tuple[int, bytes | None]]], list[tuple[int, bytes | None]]] | None = None,
) -> dict[Path, bytes | None]:
    """The digest of each image's file, None where it cannot be read; each file is read once.

    n processes can read every n-th file each, `shard` (i, n): `gather` then makes of each one's list the list
    of all (accelerate's gather_object).
    """
    unique, (which, of) = list(dict.fromkeys(images)), shard
    with ThreadPoolExecutor(READERS) as pool:
        found = list(zip(range(which, len(unique), of), pool.map(_digest, unique[which::of]), strict=True))
    return {unique[i]: digest for i, digest in (found if gather is None else gather(found))}


def keys(dataset: PoseDataset, digests: Digests | None = None) -> list[Key | None]:
    """The content key of each person, None where the image's file cannot be read; each file is read once, or
    not at all where the `digests` are known.

    ValueError for a box with NaN or infinity.
    """
    if len(bad := np.flatnonzero(~np.isfinite(dataset.boxes).all(-1))):
        raise ValueError(
            f"{dataset.name}: the box of person {bad[0]} in {dataset.images[bad[0]]} is not finite; leave "
            f"out people without a box"
        )
    digests = digest(dataset.images) if digests is None else digests
    boxes = np.rint(dataset.boxes * 10).astype(
        "<i4"
    )  # a tenth of a pixel: what one reader rounds, another must still find
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
    """Asks the teacher about everyone who is not yet in its store under `url`, and stores the answers, `part`
    people at a time: 512 in a folder, 4096 elsewhere.

    With `flip` and several `scales` an answer is the mean over the mirrored and zoomed crops. `shard` (i, n)
    takes the images that are process i's when n share them, with everyone in them (`teachers.shards`); n
    processes that are given the same `deal` ask about nobody twice. A killed run loses what it had not
    stored, at most `part` people; the same call again goes on, in any number of processes. `digests` of the
    images spare reading them for their keys. `progress` hears how many are asked and how many there are to
    ask. Images that cannot be read are skipped and named. OSError that names the store if it cannot be
    written.
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
    # Those who share the work have no image in common, so each share has claims of its own.
    place = (
        None
        if store.claims is None
        else store.claims / hashlib.blake2b(f"{which} {of} {deal}".encode(), digest_size=6).hexdigest()
    )
    claims, others = Claims(place), []
    waiting: list[Rows] = []
    asked = done = 0

    def ours(which: Iterable[int], wait: bool) -> Iterator[Together]:
        """The images in the blocks that nobody else asks about, without those that somebody has asked about
        meanwhile; the other blocks go to `others`.
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
        nonlocal asked, done, waiting
        for chosen, crops, unreadable in _crops(mine, images, teacher, scales, batch):
            skipped.extend(unreadable)
            done += len(chosen) + len(unreadable)
            if chosen:
                waiting.append(_rows(chosen, ask(teacher, crops, flip, scales)))
                asked += len(chosen)
            if sum(len(rows.keys) for rows in waiting) >= part:
                store.write(_join(waiting))
                waiting = []
            if progress is not None:
                progress(done, len(todo))

    def write() -> None:
        nonlocal waiting
        if waiting:
            store.write(_join(waiting))
            waiting = []
        claims.release()

    try:
        work(ours(blocks, wait=False))
        write()
        for number in list(others):  # somebody else asks about them: what is left once they have written
            work(ours([number], wait=True))
            write()
    finally:
        claims.release()
    return Labelled(store.url, asked, len(mine) - asked - len(skipped), tuple(skipped))


class Labels:
    """The answers in a store to the people of a data set, in a student's skeleton. In memory they are as
    small as in the store, and they can be pickled.

    `boxes` (N, 4) are the people's. `left_out` says in words who has no answer; they weigh nothing.
    """

    def __init__(
        self, store: Store, dataset: PoseDataset, skeleton: Skeleton, digests: Digests | None = None
    ) -> None:
        self.url, self.manifest = store.url, store.manifest
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
                f"{self.url}: holds no answer to any of the {len(dataset)} people of {dataset.name}; ask the "
                f"teacher with `poseling label` first"
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
                f"{len(none)} of {len(dataset)} people have no answer in {self.url} and weigh nothing, the "
                f"first is in {first}",
            )

    @classmethod
    def open(
        cls,
        url: str,
        dataset: PoseDataset,
        skeleton: Skeleton,
        teacher: Teacher | None = None,
        digests: Digests | None = None,
    ) -> Labels:
        """The answers to `people` in a student's `skeleton`; `url` is what `label` was given, or the store
        itself. `digests` as in `label`.

        FileNotFoundError if there is no store; ValueError if it was made with another teacher than `teacher`,
        if there are several to choose from, if the teacher shares no joint with the student, or if it has no
        answer to anyone.
        """
        stores = Store.under(url)
        if teacher is not None:
            fitting = [s for s in stores if s.manifest.digest == teacher.digest]
            if not fitting:
                others = ", ".join(f"{s.manifest.teacher} ({s.manifest.digest})" for s in stores)
                raise ValueError(
                    f"{url}: made with the teacher {others}, not with {teacher.name} ({teacher.digest}); "
                    "ask this teacher with `poseling label`, or open the store without a teacher to take it "
                    "as it is"
                )
            stores = fitting
        if len(stores) > 1:
            raise ValueError(
                f"{url}: holds {len(stores)} stores; name one of {', '.join(s.url for s in stores)}"
            )
        return cls(stores[0], dataset, skeleton, digests)

    def __len__(self) -> int:
        return len(self._row)

    @property
    def answered(self) -> NDArray[np.bool_]:
        """(N,) who has an answer."""
        return self._row >= 0

    def __getitem__(self, i: int) -> StoredAnswer:
        """What the teacher said of person `i`. IndexError beyond the last."""
        row, m, count = int(self._row[i]), self.manifest, len(self.conversion.target)
        matrix = Crop.from_box(self.boxes[i], m.size, m.padding).matrix
        maps = None if m.map_size is None else np.zeros((count, m.map_size[1], m.map_size[0]), np.uint8)
        scale = None if maps is None else np.zeros((count, 2), np.float32)
        map_score = np.zeros(count, np.float32)
        xyz = None if self._xyz is None else np.zeros((count, 3), np.float32)
        if row < 0:
            return StoredAnswer(
                np.zeros((count, 2), np.float32),
                np.zeros(count, np.float32),
                maps,
                map_score,
                matrix,
                m.pixel,
                xyz,
                scale,
            )
        score = self._score[row].astype(np.float32) / 255
        if maps is not None and scale is not None and m.map_size is not None:
            packed = self._packed[self._ends[row] : self._ends[row + 1]]
            try:
                stored, steps = unpack(packed, (len(m.skeleton), m.map_size[1], m.map_size[0]))
            except ValueError as error:
                raise ValueError(f"{self.url}: the answer to person {i} is damaged: {error}") from error
            maps[self._mapped], scale[self._mapped] = (
                stored[self._maps[self._mapped]],
                steps[self._maps[self._mapped]],
            )
            map_score[self._mapped] = score[self._maps[self._mapped]]
        xy = self.conversion.joints(self._xy[row]).astype(np.float32)
        if self._xyz is not None:
            xyz = self.conversion.joints(self._xyz[row]).astype(np.float32)
        return StoredAnswer(xy, self.conversion.weights(score), maps, map_score, matrix, m.pixel, xyz, scale)


def metres(labels: Labels, dataset: PoseDataset, tau: float = 0.1) -> PoseDataset:
    """The same people, in the skeleton of the `labels`, with `xyz` from the teacher's answers, and `trust` in
    each joint.

    What a teacher says is from the root; the root is put at (0, 0, 5) metres. That distance is assumed: only
    differences between joints mean anything, and there is no camera. Joints and people without an answer are
    unknown. Trust is the teacher's score, and where there is a label in the image times exp(-d^2 / (2 (tau
    size)^2)), d the distance of the teacher's joint from it and size the square root of the area of the
    person's box: who is wrong in the image is wrong in space. Who has no label in the image at all gets the
    teacher's joints there too, those of a score of `LEAST` or more: a place in space is learnt where the
    joint is. ValueError if the teacher knows no depth, if the answers are to other people, or for a skeleton
    without a root or a tau not above 0.
    """
    if not labels.manifest.is_3d:
        raise ValueError(
            f"{labels.url}: the teacher {labels.manifest.teacher} answers in the image only; metres need one "
            f"that knows depth, such as BlazePose"
        )
    if not np.array_equal(labels.boxes, dataset.boxes):
        raise ValueError(
            f"{labels.url}: opened for other people than those of {dataset.name}; open it for these"
        )
    if not tau > 0:
        raise ValueError(
            f"tau is {tau}; it is how far a joint may be from its label, in parts of the person's size, "
            f"above 0"
        )
    dataset = dataset.to(labels.conversion.target)
    root = list(dataset.skeleton.root)
    xyz, confidence_3d = (
        np.zeros((*dataset.joints.shape[:2], 3), np.float32),
        np.zeros(dataset.joints.shape[:2], np.float32),
    )
    joints, visible, bare = (
        dataset.joints.copy(),
        dataset.visible.copy(),
        np.asarray(~(dataset.visible > 0).any(1)),
    )
    sizes = person_size(dataset.boxes)
    for i in np.flatnonzero(labels.answered).tolist():
        answer = labels[i]
        assert answer.xyz is not None  # the manifest says so
        known = labels.conversion.known
        xyz[i, known] = (answer.xyz - answer.xyz[root].mean(0))[known] + np.array(
            [0, 0, DISTANCE], np.float32
        )
        xy = Crop(answer.matrix, labels.manifest.size).invert(answer.xy)
        if bare[i]:
            sure = np.asarray(answer.score >= LEAST)
            visible[i], joints[i] = sure, np.where(sure[:, None], xy, 0)
        away = np.linalg.norm(xy - dataset.joints[i], axis=-1)
        agreement = np.exp(-(away**2) / (2 * (tau * sizes[i]) ** 2))
        confidence_3d[i] = answer.score * np.where(dataset.visible[i] > 0, agreement, 1)
    return replace(
        dataset, joints=joints, visible=visible, joints_3d=xyz, confidence_3d=confidence_3d, camera=None
    )


def _digest(image: Path) -> bytes | None:
    try:
        return hashlib.blake2b(image.read_bytes()).digest()
    except OSError:
        return None  # whoever asked for keys counts and names it


Batch = tuple[list[Key], NDArray[np.uint8], list[str]]


Together = tuple[Path, list[tuple[Key, int]]]


def _blocks(
    dataset: PoseDataset, todo: dict[Key, int], digests: Digests
) -> dict[int, dict[Path, list[tuple[Key, int]]]]:
    """Everyone to ask about, by the block that is claimed, and in it by image, so that each image is decoded
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
    """Keys, canonical crops (B, S, H, W, 3) at each of S scales, and a line for each person whose image
    cannot be read. Each image is decoded once, for all of its people, who stand together; the next are read
    meanwhile.
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


def _rows(chosen: list[Key], answer: Prediction) -> Rows:
    score = np.rint(np.clip(answer.score.numpy(), 0, 1) * 255).astype(np.uint8)
    maps = None if answer.maps is None else [pack(m) for m in answer.maps.numpy()]
    return Rows(
        chosen,
        answer.xy.numpy().astype(np.float32),
        score,
        maps,
        None if answer.xyz is None else answer.xyz.numpy().astype(np.float32),
    )


def _join(rows: list[Rows]) -> Rows:
    maps = [m for r in rows for m in r.maps or []]
    xyz = [r.xyz for r in rows if r.xyz is not None]
    xy, score = np.concatenate([r.xy for r in rows]), np.concatenate([r.score for r in rows])
    return Rows(
        [k for r in rows for k in r.keys], xy, score, maps or None, np.concatenate(xyz) if xyz else None
    )
