"""People that the program draws itself, so that the first command works with nothing else. Exact joints, in the layout of LSP.

A figure is a tree of joints in three dimensions with angles by lot, seen from a side by lot, and drawn as shaded, tapered capsules. Left and right can be told as
they are with people: by the face, the shirt's front and the shoes. It is a toy: a network that has learnt it knows nothing of photographs.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.io import savemat

from poseling.data.lsp import lsp
from poseling.data.people import People
from poseling.files import new_folder
from poseling.skeleton import LSP14

TERMS = "drawn by poseling: CC0-1.0"
TRAIN, TEST = 2000, 500  # people; drawn in ten seconds
VERSION = 1  # of the drawing: a folder drawn by another version is not taken for this one's

Vector = NDArray[np.float64]
Colour = NDArray[np.float32]


def train(root: Path) -> People:
    """The training people, drawn into `root/train` unless they are there."""
    return drawn(TRAIN, root / "train", seed=0)


def test(root: Path) -> People:
    """The test people, drawn into `root/test` unless they are there; from another seed than those for training."""
    return drawn(TEST, root / "test", seed=1)


def drawn(count: int, folder: Path, seed: int) -> People:
    """`count` people with exact joints, the same for the same seed, in `folder`: drawn there as LSP lays it out if it does not exist.

    ValueError that names the folder if it holds something else.
    """
    if count < 1:
        raise ValueError(f"{count} drawn people were asked for; ask for one or more")
    about = {"drawn": {"count": count, "seed": seed, "version": VERSION}}
    if not folder.exists():
        with new_folder(folder) as new:
            _write(new, count, seed)
            (new / "drawn.json").write_text(json.dumps(about))
    note = folder / "drawn.json"
    if not note.is_file() or json.loads(note.read_text()) != about:
        was = note.read_text() if note.is_file() else "no drawn people"
        raise ValueError(f"{folder}: holds {was}, wanted {json.dumps(about)}; remove it or name another folder")
    return replace(lsp(folder), name="drawn", terms=TERMS)


def _write(folder: Path, count: int, seed: int) -> None:
    (folder / "images").mkdir()
    joints = np.zeros((3, 14, count))
    for i in range(count):
        picture, xy, occluded = figure(np.random.default_rng((seed, i)))
        data = cv2.imencode(".jpg", picture[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 90])[1]
        (folder / "images" / f"im{i + 1:04d}.jpg").write_bytes(data.tobytes())
        joints[:2, :, i], joints[2, :, i] = xy.T, occluded
    savemat(folder / "joints.mat", {"joints": joints})


def figure(random: np.random.Generator) -> tuple[NDArray[np.uint8], NDArray[np.float64], NDArray[np.bool_]]:
    """One picture (H, W, 3) RGB, its joints (14, 2) in pixels, and which of them (14,) something hides."""
    body = _pose(random)
    width, height = (int(v) for v in random.integers(112, 145, 2))
    body = body.placed(width, height, random)
    scene = _Scene(_background(width, height, random), np.full((height, width), -1, np.int16))
    _person(scene, body, random)
    if random.random() < 0.3:
        _occluder(scene, body, random)
    xy = np.array([body.at[j][:2] for j in LSP14.joints])
    column, row = np.clip(np.round(xy).astype(int), 0, [width - 1, height - 1]).T
    owner = scene.owner[row, column]
    occluded = np.array([o >= 0 and j not in PARTS[o][1] for o, j in zip(owner, LSP14.joints, strict=True)])
    picture = scene.picture + random.normal(0, random.uniform(1, 5), scene.picture.shape).astype(np.float32)
    return np.clip(picture, 0, 255).astype(np.uint8), xy, occluded


# What is drawn, and the joints that show where it does. The last is what stands in front of people.
PARTS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("head", ("head_top", "neck")),
    ("torso", ("neck", "left_shoulder", "right_shoulder", "left_hip", "right_hip")),
    *((f"{s}_{p}", (f"{s}_{a}", f"{s}_{b}")) for s in ("left", "right") for p, a, b in (("arm", "shoulder", "elbow"), ("forearm", "elbow", "wrist"))),
    *((f"{s}_{p}", (f"{s}_{a}", f"{s}_{b}")) for s in ("left", "right") for p, a, b in (("thigh", "hip", "knee"), ("shin", "knee", "ankle"))),
    *((f"{s}_{p}", (f"{s}_{j}",)) for s in ("left", "right") for p, j in (("hand", "wrist"), ("foot", "ankle"))),
    ("occluder", ()),
)
OWNER = {part: i for i, (part, _) in enumerate(PARTS)}


@dataclass(frozen=True)
class _Body:
    """Joints and other points `at` (x right, y down, z towards the viewer), and the frames of chest, pelvis and head: rows left, down, forward."""

    at: dict[str, Vector]
    chest: Vector
    pelvis: Vector
    head: Vector
    unit: float = 1.0  # pixels of a body's height

    def placed(self, width: int, height: int, random: np.random.Generator) -> _Body:
        """The body at a size and a place where all of it is in the picture."""
        points = np.array(list(self.at.values()))[:, :2]
        low, high = points.min(0) - 0.06, points.max(0) + 0.06
        unit = min((width - 1) / (high[0] - low[0]), (height - 1) / (high[1] - low[1]))
        unit = min(unit, 1.1 * height) * random.uniform(0.72, 1.0)
        room = np.array([width - 1, height - 1]) - unit * (high - low)
        offset = np.append(random.random(2) * room - unit * low, 0.0)
        return replace(self, at={name: unit * p + offset for name, p in self.at.items()}, unit=unit)


@dataclass(frozen=True)
class _Scene:
    """What has been drawn so far: picture (H, W, 3) in 0..255, and for each pixel (H, W) the part that shows, -1 for the background."""

    picture: NDArray[np.float32]
    owner: NDArray[np.int16]


def _turn(axis: int, degrees: float) -> Vector:
    """(3, 3), for row vectors: turns about axis 0 left, 1 down or 2 forward."""
    c, s = np.cos(np.deg2rad(degrees)), np.sin(np.deg2rad(degrees))
    a, b = (axis + 1) % 3, (axis + 2) % 3
    matrix = np.eye(3)
    matrix[a, a], matrix[a, b], matrix[b, a], matrix[b, b] = c, s, -s, c
    return matrix


def _pose(random: np.random.Generator) -> _Body:
    """Angles by lot in the ranges of people, lengths in parts of the body's height (Drillis and Contini's proportions, give or take a tenth)."""

    def one(low: float, high: float) -> float:
        return float(random.uniform(low, high))

    def about(mean: float, spread: float, low: float, high: float) -> float:
        return min(max(float(random.normal(mean, spread)), low), high)

    build = random.normal(1, 0.05, 6).clip(0.85, 1.15)
    away = random.random() < 0.2
    yaw = one(-180, 180) if random.random() < 0.3 else about(180 if away else 0, 35, -250, 250)
    tilt = one(-180, 180) if random.random() < 0.08 else about(0, 14, -60, 60)
    # Rows of a frame are the body's left, down and forward in the picture's axes; an angle turns a frame about its own axes first.
    pelvis = _turn(0, about(0, 10, -40, 40)) @ _turn(1, yaw) @ _turn(2, tilt)
    chest = _turn(1, about(0, 14, -40, 40)) @ _turn(2, about(0, 8, -25, 25)) @ _turn(0, about(10, 16, -20, 70)) @ pelvis
    head = _turn(1, about(0, 25, -65, 65)) @ _turn(0, about(5, 14, -35, 40)) @ chest
    at: dict[str, Vector] = {"middle": np.zeros(3)}
    at["waist"] = at["middle"] + np.array([0, -0.11 * build[0], 0]) @ pelvis
    at["neck"] = at["waist"] + np.array([0, -0.21 * build[0], 0]) @ chest
    at["head_top"] = at["neck"] + np.array([0, -0.165 * build[1], 0.01]) @ head
    for side, sign in (("left", 1), ("right", -1)):
        at[f"{side}_hip"] = at["middle"] + np.array([sign * 0.072 * build[2], 0.01, 0]) @ pelvis
        at[f"{side}_shoulder"] = at["neck"] + np.array([sign * 0.118 * build[3], 0.035, 0]) @ chest
        # Away from the body about forward, then forward about left. Raised arms, hanging arms and arms in front.
        ways = (one(95, 172), one(-15, 30)), (about(14, 14, -5, 70), about(8, 25, -45, 80)), (one(0, 75), one(30, 120))
        spread, swing = ways[random.choice(3, p=[0.2, 0.5, 0.3])]
        arm = _turn(1, sign * one(-60, 60)) @ _turn(2, -sign * spread) @ _turn(0, swing) @ chest
        at[f"{side}_elbow"] = at[f"{side}_shoulder"] + np.array([0, 0.175 * build[4], 0]) @ arm
        fore = _turn(0, abs(about(0, 50, -135, 135))) @ arm
        at[f"{side}_wrist"] = at[f"{side}_elbow"] + np.array([0, 0.15 * build[4], 0]) @ fore
        at[f"{side}_hand"] = at[f"{side}_wrist"] + np.array([0, 0.055, 0]) @ fore
        thigh = _turn(1, sign * about(8, 12, -20, 40)) @ _turn(2, -sign * about(7, 12, -12, 60)) @ _turn(0, about(18, 32, -30, 115)) @ pelvis
        at[f"{side}_knee"] = at[f"{side}_hip"] + np.array([0, 0.235 * build[5], 0]) @ thigh
        shin = _turn(0, -abs(about(0, 38, -135, 135))) @ thigh
        at[f"{side}_ankle"] = at[f"{side}_knee"] + np.array([0, 0.235 * build[5], 0]) @ shin
        at[f"{side}_toes"] = at[f"{side}_ankle"] + np.array([0, 0.025, 0.085]) @ shin
    return _Body(at, chest, pelvis, head)


Paint = Callable[[NDArray[np.float32], NDArray[np.float32]], NDArray[np.float32]]  # along (h, w) in 0..1 and normal (h, w, 3), to a colour (h, w, 3)


def _person(scene: _Scene, body: _Body, random: np.random.Generator) -> None:
    """Parts from the farthest to the nearest."""
    skin = np.array(SKIN[random.integers(len(SKIN))], np.float32) * random.uniform(0.85, 1.1)
    shirt, trousers, shoes, hair = (_colour(random) for _ in range(4))
    if random.random() < 0.9:
        hair = np.array(HAIR[random.integers(len(HAIR))], np.float32)
    short_sleeves, short_trousers = random.random() < 0.5, random.random() < 0.3
    cloth, legs, bare = _pattern(shirt, random), _pattern(trousers, random), _plain(skin)
    badge = _colour(random) if random.random() < 0.5 else np.asarray(shirt * 0.35 if shirt.mean() > 110 else 255 - (255 - shirt) * 0.35, np.float32)
    light = np.array([random.uniform(-0.7, 0.7), -0.7, random.uniform(0.4, 1.0)])
    light /= np.linalg.norm(light)
    stout = random.uniform(0.85, 1.2)
    unit, at = body.unit, body.at

    def capsule(part: str, start: Vector, end: Vector, first: float, last: float, paint: Paint) -> None:
        gain = 1 + 0.18 * min(max((start[2] + end[2]) / (0.4 * unit), -1.0), 1.0)  # what is far is a little darker
        _capsule(scene, OWNER[part], start, end, first * unit, last * unit, paint, light, gain)

    def torso() -> None:
        # Half widths of the body's section, to its left and to its front.
        hips, waist, chest = (stout * np.array(half) for half in ((0.088, 0.062), (0.08, 0.06), (0.105, 0.068)))
        low, middle, high = at["middle"], at["waist"], at["neck"] + 0.07 * unit * body.chest[1]
        capsule("torso", low, middle, _seen(hips, body.pelvis, low, middle), _seen(waist, body.pelvis, low, middle), legs)
        capsule(
            "torso", middle, high, _seen(waist, body.chest, middle, high), _seen(chest, body.chest, middle, high), _front(cloth, badge, body.chest)
        )

    def head() -> None:
        axis, radius = at["head_top"] - at["neck"], 0.056
        capsule("head", at["neck"], at["neck"] + 0.4 * axis, 0.033, 0.033, bare)
        capsule("head", at["neck"] + 0.52 * axis, at["neck"] + 0.66 * axis, radius, radius, _face(skin, hair, body.head))
        for ahead, left, up, size, colour in (
            (1.05, 0, 0, 0.012, 0.85 * skin),
            (0.85, 0.4, 0.15, 0.0085, EYE),
            (0.85, -0.4, 0.15, 0.0085, EYE),
            (0.9, 0, -0.5, 0.009, LIPS),
        ):
            spot = np.array([left, -up, ahead]) @ body.head
            if spot[2] > (-0.15 if ahead > 1 else 0):  # the nose still shows in profile
                place = at["neck"] + 0.59 * axis + radius * unit * spot
                capsule("head", place, place, size, size, _plain(colour))

    def limb(
        names: tuple[str, str, str], joints: tuple[str, str, str, str], radii: tuple[float, float, float, float], paints: tuple[Paint, Paint, Paint]
    ) -> None:
        """Three bars: the last one, hand or foot, has one radius."""
        points = [at[j] for j in joints]
        for i in range(3):
            ends = (radii[3], radii[3]) if i == 2 else (radii[i], radii[i + 1])
            bar = partial(capsule, names[i], points[i], points[i + 1], *ends, paints[i])
            tasks.append(((points[i][2] + points[i + 1][2]) / 2, bar))

    tasks: list[tuple[float, Callable[[], None]]] = [((at["neck"][2] + at["middle"][2]) / 2, torso), ((at["neck"][2] + at["head_top"][2]) / 2, head)]
    arm = (_sleeve(cloth, bare, 0.6), bare, bare) if short_sleeves else (cloth, cloth, bare)
    leg = (_sleeve(legs, bare, 0.75), bare, _plain(shoes)) if short_trousers else (legs, legs, _plain(shoes))
    for side in ("left_", "right_"):
        names, joints = (side + "arm", side + "forearm", side + "hand"), (side + "shoulder", side + "elbow", side + "wrist", side + "hand")
        limb(names, joints, (0.04, 0.03, 0.02, 0.023), arm)
        names, joints = (side + "thigh", side + "shin", side + "foot"), (side + "hip", side + "knee", side + "ankle", side + "toes")
        limb(names, joints, (0.06, 0.042, 0.027, 0.028), leg)
    for _, task in sorted(tasks, key=lambda t: t[0]):
        task()


def _capsule(scene: _Scene, owner: int, start: Vector, end: Vector, first: float, last: float, paint: Paint, light: Vector, gain: float) -> None:
    """A tapered, rounded bar from `start` to `end` (pixels) with radii `first` and `last`, with a soft edge of one pixel."""
    height, width = scene.owner.shape
    reach = max(first, last) + 1
    x0, y0 = (max(0, int(min(start[i], end[i]) - reach)) for i in (0, 1))
    x1, y1 = (min(s, int(max(start[i], end[i]) + reach) + 2) for i, s in ((0, width), (1, height)))
    if x0 >= x1 or y0 >= y1:
        return
    a, d = start[:2].astype(np.float32), (end - start)[:2].astype(np.float32)
    px = np.arange(x0, x1, dtype=np.float32)[None, :] - a[0]
    py = np.arange(y0, y1, dtype=np.float32)[:, None] - a[1]
    along = np.clip((px * d[0] + py * d[1]) / max(float(d @ d), 1e-6), 0, 1)
    dx, dy = px - along * d[0], py - along * d[1]
    radius = np.float32(first) + np.float32(last - first) * along
    away = np.sqrt(dx * dx + dy * dy)
    cover = np.clip(radius - away + 0.5, 0, 1)
    normal = np.stack([dx, dy, np.sqrt(np.maximum(radius * radius - away * away, 0))], -1) / np.maximum(radius, away)[..., None]
    shade = gain * (0.6 + 0.5 * np.maximum(normal @ light.astype(np.float32), 0))
    region = scene.picture[y0:y1, x0:x1]
    region += cover[..., None] * (paint(along, normal) * shade[..., None] - region)
    scene.owner[y0:y1, x0:x1][cover > 0.5] = owner


def _seen(half: Vector, frame: Vector, start: Vector, end: Vector) -> float:
    """Half the width that shows of a body whose section is an ellipse of half axes left and forward, across the way from `start` to `end`."""
    across = np.array([start[1] - end[1], end[0] - start[0]])
    across = across / max(float(np.linalg.norm(across)), 1e-6)
    return float(np.hypot(half[0] * (frame[0, :2] @ across), half[1] * (frame[2, :2] @ across)))


SKIN = ((255, 219, 190), (240, 194, 160), (216, 160, 120), (170, 112, 78), (120, 78, 54), (82, 54, 40))
HAIR = ((30, 24, 20), (70, 46, 28), (120, 82, 44), (205, 170, 100), (150, 60, 30), (170, 170, 170))
EYE, LIPS = np.array([20, 20, 24], np.float32), np.array([150, 50, 50], np.float32)


def _colour(random: np.random.Generator, strong: float = 0.9) -> Colour:
    """A colour by lot: any hue, from grey to `strong`, from dark to light."""
    hsv = np.array([[[random.uniform(0, 360), random.uniform(0, strong), random.uniform(0.15, 1)]]], np.float32)
    return np.asarray(cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB)[0, 0] * 255, np.float32)


def _plain(colour: Colour) -> Paint:
    return lambda along, normal: np.broadcast_to(colour, normal.shape)


def _pattern(colour: Colour, random: np.random.Generator) -> Paint:
    """Plain, striped along or across, or in checks."""
    kind, other, count = random.integers(5), _colour(random), random.uniform(2, 5)

    def paint(along: NDArray[np.float32], normal: NDArray[np.float32]) -> NDArray[np.float32]:
        ring, bar = (along * count) % 1 < 0.5, (normal[..., 0] * count * 0.7) % 1 < 0.5
        mask = {2: ring, 3: bar, 4: ring ^ bar}[int(kind)]
        return np.where(mask[..., None], colour, other)

    return _plain(colour) if kind < 2 else paint


def _sleeve(cloth: Paint, below: Paint, until: float) -> Paint:
    return lambda along, normal: np.where((along < until)[..., None], cloth(along, normal), below(along, normal))


def _front(cloth: Paint, badge: Colour, frame: Vector) -> Paint:
    """A shirt with a stripe down its front."""
    left, ahead = frame[0].astype(np.float32), frame[2].astype(np.float32)

    def paint(along: NDArray[np.float32], normal: NDArray[np.float32]) -> NDArray[np.float32]:
        return np.where(((np.abs(normal @ left) < 0.28) & (normal @ ahead > 0))[..., None], badge, cloth(along, normal))

    return paint


def _face(skin: Colour, hair: Colour, frame: Vector) -> Paint:
    """Skin in front and below, hair behind and on top."""
    down, ahead = frame[1].astype(np.float32), frame[2].astype(np.float32)
    return lambda along, normal: np.where((normal @ (ahead + 0.55 * down) > 0.12)[..., None], skin, hair)


def _background(width: int, height: int, random: np.random.Generator) -> NDArray[np.float32]:
    """(H, W, 3) of clouds between two colours, with shapes and a ground now and then."""
    cells = int(random.integers(2, 9))
    clouds = cv2.resize(random.random((cells, cells, 1), np.float32), (width, height), interpolation=cv2.INTER_CUBIC)[..., None]
    near, far = _colour(random, 0.6), _colour(random, 0.6)
    canvas = np.ascontiguousarray(near + np.clip(clouds, 0, 1) * (far - near))
    for _ in range(int(random.integers(0, 9))):
        colour, kind = _colour(random, 0.7).tolist(), random.integers(3)
        (x, y), (w, h) = random.integers(-20, 150, 2).tolist(), random.integers(4, 70, 2).tolist()
        if kind == 0:
            cv2.rectangle(canvas, (x, y), (x + w, y + h), colour, -1)
        elif kind == 1:
            cv2.ellipse(canvas, (x, y), (w // 2, h // 2), float(random.uniform(0, 180)), 0, 360, colour, -1)
        else:
            cv2.line(canvas, (x, y), (x + 2 * w - 60, y + 2 * h - 60), colour, int(random.integers(1, 12)))
    if random.random() < 0.4:
        horizon = int(random.uniform(0.5, 0.9) * height)
        canvas[horizon:] = 0.4 * canvas[horizon:] + 0.6 * _colour(random, 0.6)
    if random.random() < 0.6:
        canvas = np.asarray(cv2.GaussianBlur(canvas, (0, 0), random.uniform(0.5, 2.5)), np.float32)
    fine = cv2.resize(random.normal(0, 1, (height // 3, width // 3, 1)).astype(np.float32), (width, height), interpolation=cv2.INTER_LINEAR)[
        ..., None
    ]
    return np.asarray(np.clip(canvas + fine * random.uniform(0, 14), 0, 255), np.float32)


def _occluder(scene: _Scene, body: _Body, random: np.random.Generator) -> None:
    """A post or a bush in front of a joint by lot."""
    centre = body.at[LSP14.joints[random.integers(14)]] + np.append(random.normal(0, 0.05 * body.unit, 2), 0)
    light, paint = np.array([0.3, -0.5, 0.8]), _pattern(_colour(random), random)
    angle, length = random.uniform(0, np.pi), random.uniform(0.05, 0.3) * body.unit
    way = np.array([np.cos(angle), np.sin(angle), 0]) * length
    radius = random.uniform(0.03, 0.1) * body.unit
    _capsule(scene, OWNER["occluder"], centre - way, centre + way, radius, radius * random.uniform(0.6, 1.4), paint, light, 1.0)
