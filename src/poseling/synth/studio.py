"""One image of one person with its ground truth: body, clothes, pose, light, camera and background."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from poseling.geometry import project, rotation_matrix
from poseling.skeleton import SYNTH28
from poseling.synth.backgrounds import Folder, procedural
from poseling.synth.bodies import PARTS, Array, Bodies, Posed
from poseling.synth.clothes import PERSON, Wardrobe, colour
from poseling.synth.finish import blend, finish
from poseling.synth.prior import SPLITS, Prior
from poseling.synth.render import OVER, Layer, Light, Material, Rendered, Renderer

OBJECT = PERSON + len(PARTS)  # the id of objects and other people
# The depth of a joint below the surface of the naked body, in metres, from the side where it is smallest;
# cloth and fat add to it.
DEPTH = {
    **dict.fromkeys(("nose", "left_eye", "right_eye"), 0.03),
    **dict.fromkeys(("left_ear", "right_ear"), 0.05),
    "head_top": 0.13,
    **dict.fromkeys(("neck", "thorax", "spine", "pelvis"), 0.17),
    **{
        f"{s}_{j}": d
        for s in ("left", "right")
        for j, d in (("shoulder", 0.11), ("elbow", 0.075), ("wrist", 0.055), ("hand", 0.045))
    },
    **{
        f"{s}_{j}": d
        for s in ("left", "right")
        for j, d in (("hip", 0.17), ("knee", 0.1), ("ankle", 0.08), ("heel", 0.05), ("foot_index", 0.05))
    },
}


@dataclass(frozen=True, eq=False)
class Shot:
    """An image (H, W, 3) uint8 RGB and its ground truth.

    joints (28, 2) pixels; visible (28,): 2 visible, 1 hidden, 0 outside the image; xyz (28, 3) metres in
    camera axes (x right, y down, z away); camera (4,) fx fy cx cy in pixels; box (4,) x0 y0 x1 y1 around the
    person within the image, ignoring occlusion; `motion` names the pose's mixture component. `depth` and
    `ids` are the renderer's, at twice the size, for checks.
    """

    image: NDArray[np.uint8]
    joints: NDArray[np.float32]
    visible: NDArray[np.uint8]
    xyz: NDArray[np.float32]
    camera: NDArray[np.float32]
    box: NDArray[np.float32]
    motion: str
    depth: NDArray[np.float32]
    ids: NDArray[np.uint8]


@dataclass(frozen=True, eq=False)
class Scene:
    """One rendered person without a background, with its ground truth as in `Shot`. `shadows` has (x, y,
    radius) in pixels for each foot on the ground.
    """

    rendered: Rendered
    joints: NDArray[np.float32]
    visible: NDArray[np.uint8]
    xyz: NDArray[np.float32]
    camera: NDArray[np.float32]
    box: NDArray[np.float32]
    motion: str
    shadows: list[tuple[float, float, float]]


class Studio:
    """Makes the images of one set: `size` pixels wide and high, poses of one split, in front of the given
    images or drawn backgrounds.

    ImportError without the extra `synth`; OSError if OpenGL cannot be started, or if no background can be
    read.
    """

    def __init__(self, size: int = 256, split: str = "train", backgrounds: Sequence[Path] = ()) -> None:
        if split not in SPLITS:
            raise ValueError(f"there is no split {split!r}; there are {', '.join(SPLITS)}")
        self.size, self.split = size, split
        self.renderer = Renderer(size)
        self.bodies, self.prior = Bodies(), Prior.load()
        self.wardrobe = Wardrobe(self.bodies)
        self.background = Folder(backgrounds) if backgrounds else procedural

    def shoot(self, seed: int, index: int) -> Shot:
        """The image `index` of the set `seed`: the same bytes every time, on the same library versions and
        the same renderer.
        """
        return self.compose(*self.stage(seed, index))

    def stage(self, seed: int, index: int) -> tuple[Scene, np.random.Generator]:
        """The rendered person of the image `index`, and the generator as the background finds it."""
        random = np.random.default_rng((seed, SPLITS.index(self.split), index))
        body = self.bodies.sample(random)
        outfit = self.wardrobe.outfit(body.female, random)
        rotations, motion = self.prior.sample(random, self.split)
        posed = self.bodies.pose(body, rotations, curl=float(random.uniform(0, 0.6)))
        view, lens = self._camera(posed, random)
        rotation, shift = view
        xyz = (posed.joints @ rotation.T + shift).astype(np.float32)
        camera = lens.astype(np.float32)
        joints = project(xyz, camera)
        layers = self.wardrobe.dress(body, outfit, posed, view)
        box = self._box(layers[0].vertices, camera)
        light = self._light(rotation, random)
        things = [*self._things(xyz, random), *self._passer_by(xyz, rotation, random)]
        rendered = self.renderer.draw([*layers, *things], camera, *light)
        feet = [
            SYNTH28.index(f"{side}_{joint}") for side in ("left", "right") for joint in ("heel", "foot_index")
        ]
        lowest = float(posed.joints[:, 1].min())
        # A foot on the ground casts a shadow if the camera is above it.
        shadows = [
            (float(joints[i, 0]), float(joints[i, 1]), float(0.14 * camera[0] / xyz[i, 2]))
            for i in feet
            if posed.joints[i, 1] < lowest + 0.12 and rotation[2, 1] < -0.1
        ]
        visible = self.visible(joints, xyz, rendered)
        return Scene(rendered, joints, visible, xyz, camera, box, motion, shadows), random

    def compose(self, scene: Scene, random: np.random.Generator) -> Shot:
        """The scene in front of a background, as a camera and a file would give it."""
        background = self.background(self.size, random)
        rendered = scene.rendered
        whole = blend(rendered.colour, rendered.alpha, background, random, scene.shadows)
        return Shot(
            finish(whole, random),
            scene.joints,
            scene.visible,
            scene.xyz,
            scene.camera,
            scene.box,
            scene.motion,
            rendered.depth,
            rendered.ids,
        )

    def visible(
        self, joints: NDArray[np.floating], xyz: NDArray[np.floating], rendered: Rendered
    ) -> NDArray[np.uint8]:
        """(28,) by the depth test: a joint is visible if the surface at its pixel is no nearer than the
        thickness of flesh and cloth over it.
        """
        inside = ((joints > -0.5) & (joints < self.size - 0.5)).all(1)
        column, row = np.clip(
            np.round(OVER * joints + 0.5 * (OVER - 1)).astype(int), 0, OVER * self.size - 1
        ).T
        room = np.array([DEPTH[j] for j in SYNTH28.joints]) + 0.03
        nearest = rendered.depth[row, column]
        seen = (
            nearest > xyz[:, 2] - room
        )  # infinity where there is no surface, for example just above the head
        return np.where(inside, np.where(seen, 2, 1), 0).astype(np.uint8)

    def _camera(self, posed: Posed, random: np.random.Generator) -> tuple[tuple[Array, Array], Array]:
        """The view, a rotation (3, 3) and shift (3,) from body axes to camera axes, and the lens (4,): the
        person fills a random part of the image.
        """
        heading = random.uniform(-np.pi, np.pi) if random.random() < 0.6 else random.normal(0, 0.7)
        pitch = np.deg2rad(np.clip(random.normal(8, 13), -25, 60))  # from above is positive
        roll = np.deg2rad(random.normal(0, 5))
        turn = rotation_matrix(np.array([0, heading, 0]))
        front = np.diag(
            [1.0, -1.0, -1.0]
        )  # seen from the front, the body's left is on the right and its front faces the camera
        rotation = (
            rotation_matrix(np.array([0, 0, roll])) @ rotation_matrix(np.array([pitch, 0, 0])) @ front @ turn
        )
        points = posed.joints @ rotation.T
        # The person's height in the image and the lens determine the distance.
        # Photographers stand farther off than they need to, or zoom in; telephones and webcams are near.
        field = np.deg2rad(np.exp(random.uniform(np.log(12), np.log(65))))
        focal = self.size / 2 / np.tan(field / 2)
        low, high = points.min(0), points.max(0)
        spread = max(float(np.max((high - low)[:2])) + 0.12, 0.7)
        share = random.uniform(0.74, 1.02) if random.random() < 0.88 else random.uniform(1.02, 1.6)
        away = max(focal * spread / (share * self.size) + 0.3 * float(high[2] - low[2]), 0.9 - float(low[2]))
        centre = (low + high) / 2
        slack = (1 - min(share, 0.9)) * 0.5 * self.size * away / focal
        shift = np.array([*(random.uniform(-slack, slack, 2) - centre[:2]), away - centre[2]])
        principal = (self.size - 1) / 2
        return (rotation, shift), np.array([focal, focal, principal, principal])

    def _light(
        self, rotation: Array, random: np.random.Generator
    ) -> tuple[list[Light], tuple[float, float, float], tuple[float, float, float], Array]:
        """Lights, the sky's and the ground's colour, and up in camera axes."""
        up = rotation @ np.array([0.0, 1.0, 0.0])
        warm = random.normal(0, 0.09)
        tone = np.array([1 + warm, 1.0, 1 - warm])
        lights = []
        strength = random.uniform(0.35, 1.25)
        for i in range(int(random.integers(1, 4))):
            way = random.normal(0, 1, 3) + [0, 0, -0.4] + 0.9 * up
            way /= np.linalg.norm(way)
            lights.append(
                Light(_triple(way), _triple(tone * strength * (1.0 if i == 0 else random.uniform(0.1, 0.5))))
            )
        ambient = random.uniform(0.25, 0.8)
        sky = ambient * tone[::-1] * random.uniform(0.85, 1.1, 3)
        return lights, _triple(sky), _triple(sky * random.uniform(0.25, 0.8)), up

    def _things(self, xyz: NDArray[np.floating], random: np.random.Generator) -> list[Layer]:
        """Sometimes an object between the camera and the person: a box, a ball or a post."""
        layers = []
        for _ in range(int(random.choice([0, 1, 2], p=[0.72, 0.2, 0.08]))):
            joint = xyz[int(random.integers(len(xyz)))].astype(np.float64)
            nearer = random.uniform(0.2, 0.45)
            way = joint / np.linalg.norm(joint)
            centre = (
                joint
                - way * max(nearer, float(joint[2] - xyz[:, 2].min()) + 0.12)
                + np.append(random.normal(0, 0.09, 2), 0)
            )
            kind = int(random.integers(3))
            extent = (
                random.uniform(0.05, 0.2, 3)
                if kind < 2
                else np.array(
                    [random.uniform(0.02, 0.07), random.uniform(0.5, 1.6), random.uniform(0.02, 0.07)]
                )
            )
            if centre[2] - extent[2] > 0.35:
                layers.append(
                    _thing(kind == 1, centre, extent, rotation_matrix(random.normal(0, 0.6, 3)), random)
                )
        return layers

    def _passer_by(
        self, xyz: NDArray[np.floating], rotation: Array, random: np.random.Generator
    ) -> list[Layer]:
        """Sometimes a second person, mostly farther away: a network must assign limbs to the right person."""
        present, before = random.random() < 0.18, random.random() < 0.15
        if not present:
            return []
        body = self.bodies.sample(random)
        outfit = self.wardrobe.outfit(body.female, random)
        posed = self.bodies.pose(body, self.prior.sample(random, self.split)[0])
        turn = rotation @ rotation_matrix(np.array([0, random.uniform(-np.pi, np.pi), 0]))
        middle = xyz.mean(0).astype(np.float64)
        away = -random.uniform(0.7, 1.2) if before else random.uniform(0.5, 4.0)
        if middle[2] + away < 1.2:
            return []
        aside = float(random.choice([-1, 1])) * random.uniform(0.35, 1.1)
        shift = middle * (middle[2] + away) / middle[2] + np.array([aside, random.normal(0, 0.1), 0])
        layers = self.wardrobe.dress(body, outfit, posed, (turn, shift))
        return [replace(layer, ids=np.full_like(layer.ids, OBJECT)) for layer in layers]

    def _box(self, vertices: NDArray[np.float32], camera: NDArray[np.float32]) -> NDArray[np.float32]:
        """(4,) around the body's surface, within the image."""
        points = project(vertices, camera)
        return np.concatenate(
            [np.clip(points.min(0), 0, self.size - 1), np.clip(points.max(0), 0, self.size - 1)]
        ).astype(np.float32)


def _thing(ball: bool, centre: Array, extent: Array, turn: Array, random: np.random.Generator) -> Layer:
    """A box or a ball of half axes `extent` (3,) about `centre`."""
    if ball:
        theta, phi = np.meshgrid(np.linspace(0, np.pi, 11), np.linspace(0, 2 * np.pi, 17), indexing="ij")
        normals = np.stack(
            [np.sin(theta) * np.cos(phi), np.cos(theta), np.sin(theta) * np.sin(phi)], -1
        ).reshape(-1, 3)
        points = normals
        i, j = (a.ravel() for a in np.meshgrid(np.arange(10) * 17, np.arange(16), indexing="ij"))
        faces = np.concatenate(
            [np.stack([i + j, i + j + 1, i + j + 17], 1), np.stack([i + j + 1, i + j + 18, i + j + 17], 1)]
        )
    else:
        corners, normal = [], []
        for axis in range(3):
            for sign in (-1.0, 1.0):
                for a, b in ((-1, -1), (1, -1), (1, 1), (-1, 1)):
                    corner = np.zeros(3)
                    corner[axis], corner[(axis + 1) % 3], corner[(axis + 2) % 3] = sign, a, b
                    corners.append(corner)
                    normal.append(np.eye(3)[axis] * sign)
        points, normals = np.array(corners), np.array(normal)
        start = 4 * np.arange(6)[:, None]
        faces = np.concatenate([start + [0, 1, 2], start + [0, 2, 3]])
    rest = points * extent
    pattern = ("plain", "plain", "stripes", "checks", "clouds", "spots")[int(random.integers(6))]
    material = Material(
        pattern,
        colour(random),
        colour(random),
        float(random.uniform(3, 15)),
        (0.0, 1.0, 0.0),
        0.0,
        float(random.uniform(0.02, 0.3)),
        0.1,
    )
    count = len(points)
    return Layer(
        (rest @ turn.T + centre).astype(np.float32),
        (normals / extent @ turn.T).astype(np.float32),
        rest.astype(np.float32),
        faces.astype(np.int32),
        np.full(count, OBJECT, np.float32),
        np.ones(count, np.float32),
        material,
        double_sided=True,
    )


def _triple(values: Array) -> tuple[float, float, float]:
    a, b, c = (float(v) for v in values)
    return (a, b, c)
