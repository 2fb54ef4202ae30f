"""People to judge 3D networks by, from another renderer, other bodies and other motion than those they learn
from: VALID's rigged humans in poses of CMU's motion capture, drawn by three.js in Chromium.

    npm ci --prefix web
    python benchmarks/valid_people.py --avatars DIR --motions cmu_bvh_30fps.zip --out DIR [--films 8] [--preview people.png]

`--out` gets val/ and test/ in the layout of `--data synthetic`, with no train/: NOTHING IS EVER TRAINED ON
THEM, val is there to calibrate how joints are defined. With `--films` it gets films/ too: that many times
120 pictures at 30 a second of one person before one camera, one after the other. A stopped run continues.
Motion is that of CMU's subjects 1, 3 and 6 (climbing, walking over obstacles, basketball), whom no synthetic
person in training moves like (docs/synthetic.md); every third clip is val's.

Joints are where the bones are, as three.js has them. Shoulders, elbows, wrists, hips, knees and ankles are the
heads of the arm, forearm, hand, thigh, leg and foot; the pelvis is the middle of the hips; the neck the middle
between the neck's and the head's bone, where LSP's annotators put it; head top the end of the head's bone; eyes
the eyeballs; a hand the middle finger's first knuckle; a foot's index the end of the toes. Nose, ears, thorax,
spine and heels are unknown: 0. A joint counts as visible by the rule of the synthetic people, from the depth
that the renderer gives.
"""

from __future__ import annotations

import argparse
import base64
import importlib.util
import shutil
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache, partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import ModuleType
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from playwright.sync_api import Page, sync_playwright
from rich.progress import track

from poseling.data import synthetic
from poseling.data.synthetic import BLOCK, Truth
from poseling.draw import draw
from poseling.files import read_image, write_bytes
from poseling.geometry import project, quaternion, rotation_matrix
from poseling.live.retarget import Retarget, Rig
from poseling.live.turns import inverse, multiply
from poseling.pose import Pose
from poseling.runtime.kinematics import JOINTS as TURNED
from poseling.skeleton import MOVNECT15, SYNTH28
from poseling.synth.joint_limits import JOINTS, PARENTS
from poseling.synth.studio import DEPTH

Array = NDArray[np.float64]
HERE = Path(__file__).resolve().parent
ACTORS = ("001", "003", "006")
SIZE = 256  # pixels; drawn at twice the size
OVER = 2
LICENCE = "bodies of VALID (MIT), motion of CMU's motion capture database, for judging only"
NODES = {
    **{
        f"{side}_{joint}": (f"{side.title()}{bone}",)
        for side in ("left", "right")
        for joint, bone in (
            ("eye", "Eye"), ("shoulder", "Arm"), ("elbow", "ForeArm"), ("wrist", "Hand"), ("hip", "UpLeg"), ("knee", "Leg"),
            ("ankle", "Foot"), ("hand", "HandMiddle1"), ("foot_index", "ToeEnd"),
        )
    },
    "pelvis": ("LeftUpLeg", "RightUpLeg"),
    "neck": ("Neck", "Head"),
    "head_top": ("HeadEnd",),
}  # fmt: skip
FRAMES = 120  # of a film, 30 a second
JUMP = 0.3  # radians a frame beyond which frames were left out between two
STANDING = 0.01  # radians a frame of the joint that turns most, below which nobody moves
# What of a body is farthest out: its box is about these.
ENDS = ("HeadEnd", *(f"{side}{end}" for side in ("Left", "Right") for end in ("HandMiddle3", "ToeEnd", "Foot", "ForeArm", "Leg")))  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    for flag in ("avatars", "motions", "out"):
        parser.add_argument(f"--{flag}", type=Path, required=True)
    parser.add_argument("--val", type=int, default=200)
    parser.add_argument("--test", type=int, default=600)
    parser.add_argument("--films", type=int, default=0)
    parser.add_argument("--seed", type=int, default=16)
    parser.add_argument("--preview", type=Path, help="twenty of test with their joints, without new people")
    parser.add_argument("--chromium", default=shutil.which("chromium"))
    flags = parser.parse_args()
    if flags.preview:
        return preview(flags.out / "test", flags.preview)
    clips = postures(flags.motions)
    rigs = {path.name: Retarget(Rig.read(path)) for path in sorted(flags.avatars.glob("*.glb"))}
    served = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Files, avatars=flags.avatars))
    threading.Thread(target=served.serve_forever, daemon=True).start()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=flags.chromium,
            args=["--use-gl=angle", "--use-angle=swiftshader", "--no-sandbox"],
        )
        page = browser.new_page()
        page.goto(f"http://127.0.0.1:{served.server_address[1]}/")
        page.wait_for_function("globalThis.ready")
        for k, part in enumerate(("val", "test")):
            names = [name for i, name in enumerate(clips) if (i % 3 == 0) == (part == "val")]
            own = {name: clips[name] for name in names}
            one = partial(shoot, page, own, rigs, (flags.seed, k))
            make(flags.out / part, part, getattr(flags, part), flags.seed, one)
        if flags.films:
            whole = postures(flags.motions, distinct=False)
            held = {name: whole[name] for i, name in enumerate(clips) if i % 3}
            scene = lru_cache(maxsize=1)(partial(staged, clips=held, rigs=rigs, seed=flags.seed))
            make(flags.out / "films", "test", FRAMES * flags.films, flags.seed, partial(filmed, page, scene))
        browser.close()


def postures(motions: Path, distinct: bool = True) -> dict[str, Array]:
    """(T, 20, 3) the postures of each clip of `ACTORS`, as the synthetic people's prior reads them; those that
    are `distinct`, or all.
    """
    fit = _script("fit_pose_prior")
    texts = {name: text for name, text in fit.read(motions).items() if name[:3] in ACTORS}
    found = {name: fit.retarget(*fit.read_bvh(text)) for name, text in sorted(texts.items())}
    return {name: fit.distinct(clip) for name, clip in found.items()} if distinct else found


def make(out: Path, part: str, count: int, seed: int, one: Callable[[Path, int], Truth]) -> None:
    """Fills a folder with `count` people, each drawn and written by `one`; blocks that are there are left."""
    about = {"version": synthetic.VERSION, "renderer": "three.js", "seed": seed, "size": SIZE, "split": part,
             "backgrounds": 0, "licence": LICENCE}  # fmt: skip
    synthetic.claim(out, about)
    there = synthetic.truth_paths(out)
    for first in range(0, count, BLOCK):
        if first in there:
            continue
        indices = range(first, min(first + BLOCK, count))
        rows = [one(out, i) for i in track(indices, f"{out.name} {first}")]
        synthetic.write_truth(synthetic.truth_path(out, first), rows)


def shoot(
    page: Page,
    clips: Mapping[str, Array],
    rigs: Mapping[str, Retarget],
    seed: tuple[int, int],
    out: Path,
    index: int,
) -> Truth:
    """Draws and writes one person; its truth. A person of whom less than a third is in the picture is drawn
    anew.
    """
    random = np.random.default_rng((*seed, index))
    while True:
        clip, frame = chosen(clips, random)
        name = str(random.choice(sorted(rigs)))
        local = worn(rigs[name], clips[clip][frame])
        rig = rigs[name].rig
        places = dict(zip(rig.names, rig.places(local)[0], strict=True))
        view = camera(np.stack([places[node] for node in ENDS]), random)
        truth, painted, box = drawn(page, name, rigs[name], local, view, light(places, random))
        known = (truth["xyz"] != 0).any(-1)
        if box is not None and (truth["visible"][known] > 0).mean() > 1 / 3:
            break
    behind = background(painted.shape[0], random)
    picture = finish(over(painted, behind), focus(random), random)
    return written(out, index, picture, {**truth, "box": box}, f"{clip}-{frame:04}-{Path(name).stem}")


def chosen(clips: Mapping[str, Array], random: np.random.Generator) -> tuple[str, int]:
    """A clip and a frame of it; actors weigh the same, and so do an actor's clips."""
    actor = str(random.choice(sorted({name[:3] for name in clips})))
    clip = str(random.choice([name for name in clips if name.startswith(actor)]))
    return clip, int(random.integers(len(clips[clip])))


@dataclass(frozen=True)
class Scene:
    """What a film shows: one person's bones (T, J, 4) in a rig, one camera, light and background."""

    title: str
    name: str
    rig: Retarget
    bones: Array
    view: tuple[Array, Array, Array]
    light: dict[str, Any]
    behind: NDArray[np.float32]
    seed: tuple[int, int, int]


def staged(film: int, clips: Mapping[str, Array], rigs: Mapping[str, Retarget], seed: int) -> Scene:
    """The scene of a film: `FRAMES` of a clip in a row between which nothing was left out, before a camera
    that has all of them in view.
    """
    random = np.random.default_rng((seed, 2, film))
    while True:
        clip, first = chosen(clips, random)
        poses = clips[clip][first : first + FRAMES]
        steps = np.linalg.norm(np.diff(poses, axis=0), axis=-1)  # radians a frame of each joint
        if len(poses) == FRAMES and steps.max() < JUMP and steps.max(1).mean() > STANDING:
            break
    name = str(random.choice(sorted(rigs)))
    rig = rigs[name].rig
    bones = np.stack([worn(rigs[name], pose) for pose in poses])
    ways = [dict(zip(rig.names, rig.places(local)[0], strict=True)) for local in bones]
    points = np.stack([place[node] for place in ways for node in ENDS])
    lowest = min(ways, key=lambda place: min(float(point[1]) for point in place.values()))
    view, lit = camera(points, random), light(lowest, random)
    return Scene(
        f"{clip}-{first:04}-{Path(name).stem}", name, rigs[name], bones, view, lit, background(OVER * SIZE, random), (seed, 3, film)
    )  # fmt: skip


def filmed(page: Page, scene: Callable[[int], Scene], out: Path, index: int) -> Truth:
    """Draws and writes a frame of the film's scene; its truth. The camera's noise is new in each."""
    film, frame = divmod(index, FRAMES)
    now = scene(film)
    truth, painted, box = drawn(page, now.name, now.rig, now.bones[frame], now.view, now.light)
    assert box is not None  # the camera has everybody in view
    sharp, noise = focus(np.random.default_rng(now.seed)), np.random.default_rng((*now.seed, frame))
    picture = finish(over(painted, now.behind), sharp, noise)
    return written(out, index, picture, {**truth, "box": box}, now.title)


def drawn(
    page: Page,
    name: str,
    target: Retarget,
    local: Array,
    view: tuple[Array, Array, Array],
    lit: Mapping[str, Any],
) -> tuple[dict[str, NDArray[np.generic]], NDArray[np.float32], NDArray[np.float32] | None]:
    """A person with the rotations (J, 4), as the page draws it: the joints, the picture (H, W, 4), and the box
    around all pixels, None where there are none.
    """
    rig, (rotation, shift, lens) = target.rig, view
    found = page.evaluate(
        "given => shoot(given)",
        {
            "name": name,
            "bones": {rig.names[i]: local[i].tolist() for i in rig.bones.values()},
            "rotation": rotation.tolist(), "shift": shift.tolist(), "lens": lens.tolist(),
            "size": SIZE, "over": OVER, **lit,
        },
    )  # fmt: skip
    places = {node: np.array(place) for node, place in found["places"].items()}
    depth = np.frombuffer(base64.b64decode(found["depth"]), np.float32).reshape(SIZE, SIZE)[::-1]
    rows, columns = np.nonzero(depth > 0)
    truth = seen(places, rotation, shift, lens, depth)
    box = np.array([columns.min(), rows.min(), columns.max(), rows.max()], np.float32) if len(rows) else None
    return {**truth, "camera": lens.astype(np.float32)}, decode(found["picture"]), box


def written(
    out: Path, index: int, picture: NDArray[np.uint8], truth: dict[str, NDArray[np.generic]], motion: str
) -> Truth:
    """Writes a picture; its whole truth."""
    data = cv2.imencode(".jpg", picture[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 92])[1]
    write_bytes(synthetic.image_path(out, index), data.tobytes())
    return {**truth, "motion": np.array(motion, "U40")}


def worn(target: Retarget, posture: Array) -> Array:
    """(J, 4) the rotations of a rig's nodes, w x y z, in a posture (20, 3) of the prior, hands and feet too."""
    matrices = rotation_matrix(posture)
    turn = dict(zip(JOINTS, matrices, strict=True))
    turn["spine"], turn["neck"] = turn["waist"] @ turn["spine"] @ turn["chest"], turn["neck"] @ turn["head"]
    local = target.turns(quaternion(np.stack([turn[joint] for joint in TURNED])))
    whole = np.zeros_like(matrices)
    for i, parent in enumerate(PARENTS):
        whole[i] = matrices[i] if parent < 0 else whole[parent] @ matrices[i]
    rig = target.rig
    rest, now = rig.places()[1], rig.places(local)[1]
    for bone, joint in (("Hand", "wrist"), ("Foot", "ankle")):
        for side in ("left", "right"):
            node = rig.bones[f"{side}{bone}"]
            turned = quaternion(whole[JOINTS.index(f"{side}_{joint}")])
            turned = multiply(target.axes, multiply(turned, inverse(target.axes)))
            local[node] = multiply(inverse(now[rig.parents[node]]), multiply(turned, rest[node]))
    return local


def camera(points: Array, random: np.random.Generator) -> tuple[Array, Array, Array]:
    """A rotation (3, 3) and a shift (3,) from the model's axes to the camera's, and its lens (4,), so that
    the person, whose outermost points (N, 3) these are, fills a part of the picture. One in three stands off
    the middle of a larger picture, of which this one is a part: the lens' centre is outside, or far from the
    middle.
    """
    middle = (points.min(0) + points.max(0)) / 2
    away = np.exp(random.uniform(np.log(1.8), np.log(9)))
    height = np.clip(random.normal(1.4, 0.5), 0.2, 3.2) if random.random() < 0.85 else random.uniform(2, 4)
    pitch = np.arctan2(height - middle[1], away)
    heading = random.uniform(-np.pi, np.pi)
    view = rotation_matrix(np.array([pitch, 0, 0])) @ np.diag([1.0, -1.0, -1.0]) @ rotation_matrix(np.array([0, heading, 0]))  # fmt: skip
    aside = np.array([random.uniform(-0.2, 0.2), random.uniform(-0.45, 0.45), 0]) if random.random() < 1 / 3 else np.zeros(3)  # fmt: skip
    turned = rotation_matrix(np.array([0, 0, np.deg2rad(random.normal(0, 3))])) @ rotation_matrix(aside)
    rotation = turned @ view
    shift = turned @ (np.array([0, 0, away]) - view @ middle)
    seen = points @ rotation.T + shift
    flat = seen[:, :2] / seen[:, 2:]
    low, high = flat.min(0), flat.max(0)
    share = random.uniform(0.7, 0.95) if random.random() < 0.88 else random.uniform(1.0, 1.4)
    focal = share * SIZE / max(float((high - low).max()), 0.5 / away)
    slack = max(0.0, 0.95 - share) * SIZE / 2 + 4
    centre = (SIZE - 1) / 2 + random.uniform(-slack, slack, 2) - focal * (low + high) / 2
    return rotation, shift, np.array([focal, focal, *centre])


def light(places: dict[str, Array], random: np.random.Generator) -> dict[str, Any]:
    """Sky and ground, one or two suns with their shadows, and how the camera exposes."""
    warm = random.normal(0, 0.08)
    tone = np.array([1 + warm, 1, 1 - warm])
    sky = random.uniform(0.5, 2.0) * tone[::-1]
    suns = []
    for i in range(int(random.integers(1, 3))):
        way = random.normal(0, 1, 3) * [1, 0.5, 1] + [0, 1.0, 0]
        way[1] = max(way[1], 0.15)
        strength = random.uniform(0.8, 3.2) * (1 if i == 0 else 0.4)
        suns.append(
            {"from": (way / np.linalg.norm(way)).tolist(), "colour": (strength * tone).clip(0).tolist()}
        )
    lowest = min(float(place[1]) for place in places.values())
    return {
        "ambient": [sky.tolist(), (sky * random.uniform(0.3, 0.9)).tolist()],
        "suns": suns,
        "look": places["Hips"].tolist(),
        "ground": lowest - 0.02,
        "shade": float(random.uniform(0.15, 0.5)) if random.random() < 0.7 else 0.0,
        "exposure": float(random.uniform(0.7, 1.3) * random.choice([-1, 1])),
    }


def seen(
    places: dict[str, Array], rotation: Array, shift: Array, lens: Array, depth: NDArray[np.float32]
) -> dict[str, NDArray[np.generic]]:
    """The joints in metres and pixels and what of them is visible, from the places of the bones and the depth
    (H, W), 0 where there is no surface.
    """
    xyz, known = np.zeros((len(SYNTH28), 3)), np.zeros(len(SYNTH28), bool)
    for joint, nodes in NODES.items():
        k = SYNTH28.index(joint)
        xyz[k], known[k] = rotation @ np.mean([places[node] for node in nodes], 0) + shift, True
    joints = np.zeros((len(SYNTH28), 2), np.float32)
    joints[known] = project(xyz[known], lens)
    inside = known & ((joints > -0.5) & (joints < SIZE - 0.5)).all(1)
    column, row = np.clip(np.round(joints), 0, SIZE - 1).astype(int).T
    nearest = np.where(depth > 0, depth, np.inf)[row, column]
    room = np.array([DEPTH[joint] for joint in SYNTH28.joints]) + 0.03
    visible = np.where(inside, np.where(nearest > xyz[:, 2] - room, 2, 1), 0).astype(np.uint8)
    return {"joints": joints, "visible": visible, "xyz": xyz.astype(np.float32)}


def decode(picture: str) -> NDArray[np.float32]:
    """(H, W, 4) RGBA from 0 to 1 of a data URL."""
    data = np.frombuffer(base64.b64decode(picture.partition(",")[2]), np.uint8)
    image = cv2.imdecode(data, cv2.IMREAD_UNCHANGED)
    assert image is not None
    return np.asarray(image[..., [2, 1, 0, 3]], np.float32) / np.float32(255)


def background(size: int, random: np.random.Generator) -> NDArray[np.float32]:
    """(size, size, 3) from 0 to 1: one colour, a fade, clouds of noise, or a wall and a tiled floor."""
    kind = random.choice(["plain", "fade", "noise", "room"], p=[0.15, 0.25, 0.3, 0.3])
    one, two = random.uniform(0.05, 0.95, (2, 3))
    y, x = np.mgrid[0:size, 0:size].astype(np.float32) / size
    if kind == "plain":
        share = np.zeros_like(x)
    elif kind == "fade":
        angle = random.uniform(0, 2 * np.pi)
        share = 0.5 + (x - 0.5) * np.cos(angle) + (y - 0.5) * np.sin(angle)
    else:
        share = np.zeros_like(x)
        for octave in range(2, 8):
            cells = random.random((2**octave, 2**octave)).astype(np.float32)
            share += cv2.resize(cells, (size, size), interpolation=cv2.INTER_CUBIC) * 0.65**octave
        share = (share - share.min()) / np.ptp(share)
    picture = one + np.clip(share, 0, 1)[..., None] * (two - one)
    if kind == "room":
        horizon, tiles = random.uniform(0.35, 0.75), random.uniform(2, 8)
        below = np.maximum(y - horizon, 1e-3)
        odd = (np.floor(tiles * (x - 0.5) / below) + np.floor(tiles / below)) % 2
        fade = np.clip(below * 12 / tiles, 0, 1)  # far tiles are too small to be seen
        colour = random.uniform(0.1, 0.9, 3) * (1 + 0.25 * (odd * fade)[..., None])
        picture = np.where((y > horizon)[..., None], colour, picture)
    return np.asarray(np.clip(picture, 0, 1), np.float32)


def over(painted: NDArray[np.float32], behind: NDArray[np.float32]) -> NDArray[np.float32]:
    """(H, W, 3) RGBA in front of a picture."""
    alpha = painted[..., 3:]
    return np.asarray(painted[..., :3] * alpha + behind * (1 - alpha), np.float32)


def focus(random: np.random.Generator) -> tuple[float, float]:
    """How far a camera is out of focus, in pixels, 0 for most, and how much noise it has, in parts of white."""
    blur = random.uniform(0.3, 1.2) if random.random() < 0.4 else 0.0
    return blur, random.uniform(0, 0.02)


def finish(
    picture: NDArray[np.float32], focused: tuple[float, float], random: np.random.Generator
) -> NDArray[np.uint8]:
    """The picture in its size, through a camera of that `focus`."""
    blur, grain = focused
    small = cv2.resize(picture, (SIZE, SIZE), interpolation=cv2.INTER_AREA)
    if blur:
        small = cv2.GaussianBlur(small, (0, 0), blur)
    noise = random.normal(0, grain, small.shape)
    return np.clip(255 * (small + noise) + 0.5, 0, 255).astype(np.uint8)


def preview(folder: Path, out: Path) -> None:
    """Twenty people with the joints of MOVNECT15, from 3D and lens."""
    people = synthetic.synthetic(folder).to(MOVNECT15)
    assert people.joints_3d is not None
    assert people.camera is not None
    tiles = []
    for i in np.linspace(0, len(people) - 1, 20).astype(int).tolist():
        image = np.asarray(cv2.resize(read_image(people.images[i]), (2 * SIZE, 2 * SIZE)), np.uint8)
        xy = 2 * project(people.joints_3d[i], people.camera[i]) + 0.5
        tiles.append(draw(image, Pose(xy[None], (people.visible[i] > 0)[None].astype(np.float32), MOVNECT15)))
    rows = [np.concatenate(tiles[i : i + 5], 1) for i in range(0, 20, 5)]
    write_bytes(out, cv2.imencode(out.suffix, np.concatenate(rows)[..., ::-1])[1].tobytes())


class _Files(SimpleHTTPRequestHandler):
    """The page, three.js and the avatars."""

    def __init__(self, *given: Any, avatars: Path, **more: Any) -> None:
        self.avatars = avatars
        super().__init__(*given, **more)

    def translate_path(self, path: str) -> str:
        """Where a request's path is on disk."""
        name = path.partition("?")[0].lstrip("/")
        top, _, rest = name.partition("/")
        if top == "three":
            return str(HERE.parent / "web" / "node_modules" / "three" / rest)
        return str(self.avatars / rest) if top == "avatars" else str(HERE / "valid_people.html")

    def log_message(self, *_: Any) -> None:
        """Nothing."""


def _script(name: str) -> ModuleType:
    """A module of scripts/."""
    spec = importlib.util.spec_from_file_location(name, HERE.parent / "scripts" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


if __name__ == "__main__":
    main()
