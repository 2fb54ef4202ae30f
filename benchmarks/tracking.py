"""Ids over time: people of motion capture who walk past each other and behind things, with exact truth.

    python benchmarks/tracking.py --motions cmu_bvh_30fps.zip

A camera of 1280 x 720 pixels looks at two to five people, who walk to and fro at depths of 4 to 8 metres, so
that they cross in the picture again and again. In `occlusion` a wall hides each person who passes behind it
for 10 frames; in `leaving` people go out of the picture, and others come. Clothes are drawn as plain limbs
and trunks in colours by lot, many of them dark or grey as in streets, so that some people are dressed alike;
the light goes up and down by 7 %, and there is noise. What the network and the detector would say is made
from the truth, with their faults. The network answers for a crop
with the person who is seen best in its middle; hidden joints have low scores and half of them lie on whoever
hides them; all have noise of 2.5 % of the person's height; one crop in fifty is not answered. The detector
misses people the more the less is seen of them, and gives a wrong box in one frame of fifty. Then
`runtime.tracker.Tracker` does its work, with the detector every 10 frames and where it asks for it (`idf1`),
and with the people of the first frame alone (`idf1_without_detector`; not for `leaving`).

IDF1 (Ristani et al., ECCV 2016 workshops): true and found tracks are matched one to one so that most boxes
agree (intersection over union from 0.5 on); it is 2 IDTP / (2 IDTP + IDFP + IDFN). A true box counts while
more than a quarter of the joints is seen. `ids_reused` counts ids that are absent for more than the second
for which a person is remembered, and come back on another one than had them.
"""

from __future__ import annotations

import argparse
import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import linear_sum_assignment

from poseling.data.mocap import Motion, motions
from poseling.evaluate.spread import mean_and_spread
from poseling.geometry import iou, project, rotation_matrix
from poseling.pose import Pose
from poseling.runtime.tracker import Tracker
from poseling.skeleton import MOVNECT15
from poseling.spec import PoseSpec
from results import write

Array = NDArray[np.float64]
WIDTH, HEIGHT, FPS = 1280, 720, 30.0
CAMERA = np.array([900.0, 900.0, (WIDTH - 1) / 2, (HEIGHT - 1) / 2])
EYE = 1.3  # metres: the camera's height
FRAMES = 300  # of each sequence: ten seconds
SEEDS = 8  # sequences of each kind
HIDDEN = 10  # frames that the wall hides a person
LIMB, TRUNK = 0.08, 0.16  # metres: half the thickness of what hides joints behind it
SEEN = 0.25  # part of the joints from which on a person counts
FLESH = 0.08  # of a person's size: from the joints to the edge of its box
BORDER = 0.5  # intersection over union from which on two boxes are one
DETECT_EVERY = 10
WALL = 60.0, 150.0  # grey, from left to right
# Of clothes, in BGR: black, dark grey, grey, white, navy, jeans, brown, beige, red, green, yellow.
CLOTHES = np.array([
    [30, 30, 30], [60, 60, 60], [130, 130, 130], [220, 220, 220], [80, 40, 25], [130, 90, 60], [45, 65, 95],
    [150, 185, 205], [50, 45, 170], [70, 110, 60], [60, 190, 215],
], float)  # fmt: skip
ROOT = MOVNECT15.index("pelvis")
TORSO = {
    MOVNECT15.index(j) for j in ("pelvis", "neck", "left_hip", "right_hip", "left_shoulder", "right_shoulder")
}
NOISE, HIDDEN_NOISE = 0.025, 0.08  # of the person's height
BOX_NOISE = 0.02  # of the person's size, of each edge of a detected box
FAILS = 0.02  # crops that are not answered, frames with a wrong box

Tracks = list[dict[int, Array]]  # for each frame the box (4,) of each id


@dataclass(frozen=True)
class Scene:
    """Joints xy (T, P, K, 2) in pixels and their depths (T, P) in metres; which joints are seen (T, P, K);
    and the colours of trunk and legs, clothes (P, 2, 3) in BGR.
    """

    xy: Array
    depth: Array
    seen: NDArray[np.bool_]
    clothes: Array

    def image(self, t: int, rng: np.random.Generator) -> NDArray[np.uint8]:
        """Frame t, (HEIGHT, WIDTH, 3)."""
        light, small = 1 + 0.07 * np.sin(2 * np.pi * t / (4 * FPS)), 2
        out = np.repeat(np.linspace(*WALL, WIDTH // small, dtype=np.float32)[None], HEIGHT // small, 0)
        out = np.repeat(out[..., None], 3, 2)
        for p in np.argsort(-self.depth[t]):
            scale = CAMERA[0] / self.depth[t, p] / small
            trunk, legs = (tuple(float(c) for c in colour) for colour in self.clothes[p])
            xy = np.rint(self.xy[t, p] / small).clip(-5000, 5000).astype(np.int32)
            for a, b in MOVNECT15.bones if self.seen[t, p].any() else ():
                low = "knee" in MOVNECT15.joints[a] or "ankle" in MOVNECT15.joints[a]
                thick = max(1, round(2 * scale * (TRUNK if {a, b} <= TORSO else LIMB)))
                cv2.line(out, xy[a].tolist(), xy[b].tolist(), legs if low else trunk, thick)
        out = cv2.resize(out * light, (WIDTH, HEIGHT), interpolation=cv2.INTER_NEAREST)
        grain = rng.normal(0, 8, (HEIGHT // 8, WIDTH // 8, 3)).astype(np.float32)
        return np.clip(out + cv2.resize(grain, (WIDTH, HEIGHT)), 0, 255).astype(np.uint8)

    def truth(self) -> Tracks:
        """The boxes of the people who count."""
        return [
            {p: box(self.xy[t, p]) for p in range(self.xy.shape[1]) if self.seen[t, p].mean() > SEEN}
            for t in range(len(self.xy))
        ]


def scene(kind: str, clips: Sequence[Motion], rng: np.random.Generator) -> Scene:
    """People who walk in front of the camera: a body's motion is a clip's, its way is made up."""
    people = int(rng.integers(2, 6))
    xyz = np.empty((FRAMES, people, len(MOVNECT15), 3))
    for p in range(people):
        clip = clips[int(rng.integers(len(clips)))].xyz
        body = np.take(clip, (np.arange(FRAMES) + rng.integers(len(clip))) % len(clip), 0)
        body = body - body[:, ROOT : ROOT + 1] * [1, 0, 1]  # on its place, at its height
        depth, pace = 4.0 + 4.0 * (p + rng.uniform(0.2, 0.8)) / people, rng.uniform(0.7, 1.4)
        reach = 0.45 * depth * WIDTH / CAMERA[0] + (1.2 if kind == "leaving" else -0.4)  # metres to each side
        way = _to_and_fro(rng.uniform(-1, 1) * reach, pace * rng.choice([-1, 1]), reach)
        heading = np.where(np.gradient(way) > 0, np.pi / 2, -np.pi / 2)
        turned = np.einsum("tij,tkj->tki", rotation_matrix(heading[:, None] * [0.0, 1.0, 0.0]), body)
        xyz[:, p] = (turned - [0, EYE, 0]) * [1, -1, -1]
        xyz[:, p, :, 0] += way[:, None]
        xyz[:, p, :, 2] += depth
    xy, depths = project(xyz, CAMERA).astype(np.float64), xyz[:, :, ROOT, 2]
    seen = np.asarray(((xy >= 0) & (xy <= [WIDTH - 1, HEIGHT - 1])).all(-1))
    for t in range(FRAMES):
        for p in range(people):
            for q in range(people):
                if depths[t, q] < depths[t, p]:
                    seen[t, p] &= ~hides(xy[t, q], CAMERA[0] / depths[t, q], xy[t, p])
    if kind == "occlusion":
        for p in range(people):  # as long as it takes to pass a post, wherever the person is then
            for start in rng.choice(np.arange(30, FRAMES - 30, 2 * HIDDEN), 3, replace=False):
                seen[start : start + HIDDEN, p] = False
    # Of its own generator, so that the ways are those of earlier versions.
    dressed = np.random.default_rng([people, int(abs(xy[0, 0, 0, 0]) * 1000)])
    clothes = CLOTHES[dressed.integers(len(CLOTHES), size=(people, 2))] + dressed.normal(0, 8, (people, 2, 3))
    return Scene(xy, depths, seen, np.clip(clothes, 0, 255))


def _to_and_fro(start: float, pace: float, reach: float) -> Array:
    """(T,) metres: a way between -reach and reach."""
    at = (start + pace * np.arange(FRAMES) / FPS + reach) % (4 * reach)
    return np.where(at > 2 * reach, 4 * reach - at, at) - reach


def hides(front: Array, scale: float, points: Array) -> NDArray[np.bool_]:
    """Which of the points (N, 2) lie behind the limbs or the trunk of the joints `front` (K, 2), at `scale`
    pixels a metre.
    """
    hidden = np.zeros(len(points), bool)
    for a, b in MOVNECT15.bones:
        start, along = front[a], front[b] - front[a]
        part = np.clip((points - start) @ along / max(1e-9, along @ along), 0, 1)[:, None]
        away = np.linalg.norm(points - start - part * along, axis=1)
        hidden |= away < scale * (TRUNK if {a, b} <= TORSO else LIMB)
    return hidden


class Answers:
    """The network: what it would say of the frame `now`."""

    spec = PoseSpec("made up", MOVNECT15, {"name": "made up"}, (192, 256), outputs=("xy", "score"))

    def __init__(self, shown: Scene, rng: np.random.Generator) -> None:
        self.shown, self.rng, self.now, self.crops = shown, rng, 0, 0

    def __call__(self, image: NDArray[np.uint8], boxes: ArrayLike | None = None) -> Pose:
        rows = np.asarray(boxes, np.float64)
        self.crops += len(rows)
        xy, score = np.empty((len(rows), len(MOVNECT15), 2)), np.empty((len(rows), len(MOVNECT15)))
        for i, row in enumerate(rows):
            middle, half = (row[:2] + row[2:]) / 2, self.spec.padding * (row[2:] - row[:2]) / 2
            shape = np.array(self.spec.size) - 1.0
            xy[i], score[i] = self._answer(middle, (half / shape).max() * shape)
        return Pose(xy.astype(np.float32), score.astype(np.float32), MOVNECT15)

    def _answer(self, middle: Array, half: Array) -> tuple[Array, Array]:
        s, t, rng = self.shown, self.now, self.rng
        joints = len(MOVNECT15)
        best, most = -1, 0.1
        for p in range(s.xy.shape[1]):
            inside = (np.abs(s.xy[t, p] - middle) <= half).all(-1)
            there = box(s.xy[t, p])
            off = np.linalg.norm((there[:2] + there[2:]) / 2 - middle) / half.max()
            large = (there[2:] - there[:2]).max() / (2 * half.max())
            sight = (inside & s.seen[t, p]).mean() * np.exp(-((off / 0.5) ** 2)) * min(1.0, large / 0.35)
            if sight > most:
                best, most = p, sight
        if best < 0 or rng.random() < FAILS:
            return rng.uniform(middle - half, middle + half, (joints, 2)), rng.uniform(0, 0.08, joints)
        seen, true = s.seen[t, best], s.xy[t, best]
        tall = (box(true)[2:] - box(true)[:2]).max()
        xy = true + rng.normal(0, 1, (joints, 2)) * tall * np.where(seen, NOISE, HIDDEN_NOISE)[:, None]
        nearer = [q for q in range(s.xy.shape[1]) if s.depth[t, q] < s.depth[t, best]]
        for q in nearer:
            theirs = hides(s.xy[t, q], CAMERA[0] / s.depth[t, q], true) & (rng.random(joints) < 0.5)
            xy[theirs] = s.xy[t, q][theirs] + rng.normal(0, NOISE * tall, (int(theirs.sum()), 2))
        score = np.clip(rng.normal(np.where(seen, 0.75, 0.25), 0.1), 0, 1)
        return np.clip(xy, middle - half, middle + half), score


class Boxes:
    """The detector: what it would say of the frame `now`."""

    def __init__(self, shown: Scene, rng: np.random.Generator) -> None:
        self.shown, self.rng, self.now, self.runs = shown, rng, 0, 0

    def __call__(self, image: NDArray[np.uint8], colour: str = "rgb") -> Array:
        s, t, rng = self.shown, self.now, self.rng
        self.runs += 1
        found: list[Array] = []
        for p in np.argsort(s.depth[t]):
            part = s.seen[t, p].mean()
            if rng.random() > 0.97 * np.clip((part - 0.2) / 0.4, 0, 1):
                continue
            row = box(s.xy[t, p][s.seen[t, p]])
            row += rng.normal(0, BOX_NOISE * (row[2:] - row[:2]).max(), 4)
            # Non-maximum suppression.
            if all(iou(row[None], other[None, :4])[0, 0] < 0.65 for other in found):
                found.append(np.append(row, rng.uniform(0.4, 0.95)))
        if rng.random() < FAILS:
            corner = rng.uniform(0, (WIDTH - 200, HEIGHT - 300))
            found.append(np.array([*corner, *(corner + rng.uniform(60, 300, 2)), 0.35]))
        return np.array(found).reshape(-1, 5)


def box(joints: Array) -> Array:
    """(4,) around a person with joints (N, 2), about whose bones there is flesh."""
    low, high = joints.min(0), joints.max(0)
    margin = FLESH * (high - low).max()
    return np.concatenate([low - margin, high + margin])


def tracked(shown: Scene, rng: np.random.Generator, detects: bool) -> tuple[Tracks, int, int]:
    """The boxes by id that the tracker gives for each frame; crops and runs of the detector on the way."""
    network, detector = Answers(shown, rng), Boxes(shown, rng)
    tracker = Tracker(network, detector=detector if detects else None, every=DETECT_EVERY if detects else 0)
    light = np.random.default_rng(len(shown.xy))
    out: Tracks = []
    for t in range(len(shown.xy)):
        network.now = detector.now = t
        found = None if detects or t else list(shown.truth()[0].values())
        pose = tracker(shown.image(t, light), t / FPS, found)
        out.append({int(i): box(xy.astype(np.float64)) for i, xy in zip(pose.ids, pose.xy, strict=True)})
    return out, network.crops, detector.runs


@dataclass(frozen=True)
class Counts:
    """IDTP, IDFP and IDFN of a sequence, and how often a person's id changed."""

    right: int
    wrong: int
    missed: int
    switches: int

    @property
    def idf1(self) -> float:
        return 2 * self.right / max(1, 2 * self.right + self.wrong + self.missed)


def counts(truth: Tracks, found: Tracks) -> Counts:
    """True and found boxes of a sequence compared."""
    agree: Counter[tuple[int, int]] = Counter()
    for true, mine in zip(truth, found, strict=True):
        if true and mine:
            overlap = iou(np.array(list(true.values())), np.array(list(mine.values()))) >= BORDER
            ids, others = list(true), list(mine)
            agree.update((ids[i], others[j]) for i, j in zip(*np.nonzero(overlap), strict=True))
    ids, others = sorted({i for t in truth for i in t}), sorted({i for t in found for i in t})
    both = np.array([[agree[i, j] for j in others] for i in ids]).reshape(len(ids), len(others))
    right = int(both[linear_sum_assignment(-both)].sum()) if both.size else 0
    switches, last = 0, dict[int, int]()
    for i, j in owners(truth, found):
        switches += last.get(i, j) != j
        last[i] = j
    return Counts(right, sum(map(len, found)) - right, sum(map(len, truth)) - right, switches)


def owners(truth: Tracks, found: Tracks) -> Iterator[tuple[int, int]]:
    """Frame after frame the true and the found id of each pair of boxes that agree."""
    for _, i, j in _pairs(truth, found):
        yield i, j


def _pairs(truth: Tracks, found: Tracks) -> Iterator[tuple[int, int, int]]:
    for t, (true, mine) in enumerate(zip(truth, found, strict=True)):
        if not true or not mine:
            continue
        overlap = iou(np.array(list(true.values())), np.array(list(mine.values())))
        for a, b in zip(*linear_sum_assignment(-overlap), strict=True):
            if overlap[a, b] >= BORDER:
                yield t, list(true)[a], list(mine)[b]


def reused(truth: Tracks, found: Tracks) -> int:
    """How many ids come back after more than a second on another person than had them for most of the time
    before. That a person passing by had the id for the last frames before it was lost is a switch.
    """
    last, owned, again = dict[int, int](), dict[int, Counter[int]](), set[int]()
    for t, i, j in _pairs(truth, found):
        theirs = owned.setdefault(j, Counter())
        if j in last and t - last[j] > FPS and theirs.most_common(1)[0][0] != i:
            again.add(j)
        last[j] = t
        theirs[i] += 1
    return len(again)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--motions", type=Path, required=True, help="cmu_bvh_30fps.zip")
    parser.add_argument("--dump", type=Path, help="write true and found boxes there, for another evaluator")
    parser.add_argument("--seeds", type=int, default=SEEDS, help="sequences of each kind")
    parser.add_argument("--dry", action="store_true", help="print the rows, write nothing")
    flags = parser.parse_args()
    clips = [clip for clip in motions(flags.motions).values() if len(clip.xyz) >= 90]
    rows: list[dict[str, Any]] = []
    every: dict[str, list[float]] = {}
    switches, again, dumped = Counter[str](), Counter[str](), []
    for kind in ("crossings", "occlusion", "leaving"):
        for seed in range(flags.seeds):
            shown = scene(kind, clips, np.random.default_rng([seed, len(kind)]))
            truth = shown.truth()
            for detects in (True, False):
                if kind == "leaving" and not detects:
                    continue
                found, crops, runs = tracked(shown, np.random.default_rng(seed), detects)
                one, name = counts(truth, found), "" if detects else "_without_detector"
                every.setdefault(f"{kind}{name}", []).append(one.idf1)
                switches[name] += one.switches
                again[name] += reused(truth, found)
                dumped.append(
                    {"kind": f"{kind}{name}", "seed": seed, "truth": _plain(truth), "found": _plain(found)}
                )
                print(
                    f"{kind}{name} {seed}: {shown.xy.shape[1]} people, idf1 {one.idf1:.4f}, {one.switches} "
                    f"switches, {crops} crops, {runs} detections",
                    flush=True,
                )
    for name in ("", "_without_detector"):
        values = [
            v
            for kind, all_ in every.items()
            if kind.endswith("_without_detector") == bool(name)
            for v in all_
        ]
        rows.append(_row(f"idf1{name}", values))
        rows += [
            {"name": f"switches{name}", "value": switches[name], "unit": "changes of a person's id"},
            {"name": f"ids_reused{name}", "value": again[name], "unit": "ids"},
        ]
    rows += [_row(f"idf1_{kind}", values) for kind, values in every.items()]
    for row in rows:
        print(f"{row['name']}: {row['value']:.4g} {row['unit']}")
    if flags.dump is not None:
        flags.dump.write_text(json.dumps(dumped))
    if not flags.dry:
        notes = (
            f"{SEEDS} sequences of each kind, {FRAMES} frames of two to five people; mean and standard "
            "deviation over sequences."
        )
        write("tracking", rows, notes)


def _row(name: str, values: Sequence[float]) -> dict[str, Any]:
    mean, spread = mean_and_spread(values)
    return {
        "name": name,
        "value": mean,
        "unit": "IDF1",
        "spread": spread,
        "values": [round(v, 4) for v in values],
    }


def _plain(tracks: Tracks) -> list[dict[str, list[float]]]:
    return [{str(i): row.round(2).tolist() for i, row in frame.items()} for frame in tracks]


if __name__ == "__main__":
    main()
