"""Skin with a face, hair, and garments: the body's surface offset along its normals and cut at hems and
sleeves.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix, diags

from poseling.synth.bodies import PARTS, Array, Bodies, Body, Posed
from poseling.synth.render import Colour, Layer, Material

# ids of the body's parts are PERSON + their index in PARTS; everything else has larger ids
PERSON = 1
SKIN = (
    (255, 224, 200),
    (241, 196, 164),
    (222, 168, 130),
    (186, 126, 90),
    (135, 88, 62),
    (92, 60, 44),
    (62, 42, 33),
)  # sRGB, light to dark
HAIR = (
    (22, 18, 16),
    (48, 32, 22),
    (86, 58, 36),
    (140, 102, 60),
    (196, 162, 104),
    (120, 54, 30),
    (150, 150, 150),
    (215, 212, 205),
)


@dataclass(frozen=True, eq=False)
class Measures:
    """For each vertex (V,) where it is on a body: along the arm (0 shoulder, 1 elbow, 2 wrist) and the leg (0
    hip, 1 knee, 2 ankle), up the trunk (0 hips, 1 the neck's base), from the face to the back of the scalp
    (above 0 where hair grows). They come from the topology, so they hold for every body.
    """

    arm: Array
    leg: Array
    trunk: Array
    scalp: Array


@dataclass(frozen=True)
class Garment:
    """A piece of clothing: how far out (metres) and how loose (0 follows the body, 1 hangs smooth), and where
    it ends, in the units of `Measures`.
    """

    kind: str
    material: Material
    out: float
    loose: float
    sleeve: float = 9.0
    low: float = -9.0
    high: float = 9.0
    length: float = 9.0


@dataclass(frozen=True)
class Outfit:
    """The clothes of one person and how skin and hair look."""

    skin: Material
    face: tuple[Colour, Colour, Colour]  # eyes, lips, brows
    beard: float
    garments: tuple[Garment, ...]


class Wardrobe:
    """Dresses the bodies of one model."""

    def __init__(self, bodies: Bodies) -> None:
        self.bodies = bodies
        shape = {"gender": 0.5, "age": 0.67, "muscle": 0.5, "weight": 0.5, "proportions": 0.5, "height": 0.5}
        typical = bodies.build(shape, female=False)
        self.measures = self._measure(typical)
        count, faces = len(bodies.weights), bodies.faces
        ends = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]])
        near = csr_matrix(
            (np.ones(2 * len(ends)), (np.r_[ends[:, 0], ends[:, 1]], np.r_[ends[:, 1], ends[:, 0]])),
            shape=(count, count),
        )
        near.data[:] = 1
        average = diags(1 / np.maximum(np.asarray(near.sum(1)).ravel(), 1)) @ near
        self._average = csr_matrix(average)
        self._ids = (PERSON + bodies.part).astype(np.float32)
        # What hangs on an eye's bone is eyeball; garments leave it out.
        self.eyes = bodies.weights[:, [bodies.bone("eye.L"), bodies.bone("eye.R")]].sum(1) > 0.5
        self._tints = self._face(typical)

    def _measure(self, body: Body) -> Measures:
        bodies, part, v = self.bodies, self.bodies.part, body.vertices
        arm, leg = np.full(len(v), -1.0), np.full(len(v), -1.0)
        for side in ("left", "right"):
            letter = side[0].upper()
            for field, bones, parts in (
                (arm, ("upperarm01", "lowerarm01", "wrist"), ("arm", "forearm", "hand")),
                (leg, ("upperleg01", "lowerleg01", "foot"), ("thigh", "shin", "foot")),
            ):
                points = [body.heads[bodies.bone(f"{b}.{letter}")] for b in bones]
                for i, name in enumerate(parts):
                    rows = part == PARTS.index(f"{side}_{name}")
                    a, b = points[min(i, 1)], points[min(i, 1) + 1]
                    along = (v[rows] - a) @ (b - a) / ((b - a) @ (b - a)) + min(i, 1)
                    field[rows] = np.maximum(along, 2.0) if i == 2 else along
        hips = body.heads[bodies.bone("upperleg01.L")][1]
        neck = body.heads[bodies.bone("neck01")][1]
        trunk = (v[:, 1] - hips) / (neck - hips)
        trunk[arm > -1] = np.inf
        head = part == PARTS.index("head")
        centre = body.heads[bodies.bone("head")] + [0, 0.06, 0.02]
        way = (v - centre) / np.maximum(np.linalg.norm(v - centre, axis=1, keepdims=True), 1e-6)
        scalp = np.where(head, way @ np.array([0.0, 0.62, -0.78]), -1.0)
        return Measures(arm, leg, trunk, scalp)

    def _face(self, body: Body) -> dict[str, NDArray[np.bool_]]:
        """Which vertices are eyes, irises, lips, brows and where a beard grows, by their place about nose and
        eyes.
        """
        balls, v = self.eyes, body.vertices
        at = {name: self.bodies.landmarks[name] @ v for name in ("nose", "left_eye", "right_eye")}
        eye, nose = (at["left_eye"] + at["right_eye"]) / 2, at["nose"]
        apart = at["left_eye"][0] - at["right_eye"][0]
        x, y, z = (v - np.array([0, eye[1], eye[2]])).T / apart
        front = (z > -0.9) & (self.bodies.part == PARTS.index("head"))
        aside = np.abs(np.abs(x) - 0.5)
        drop = (nose[1] - eye[1]) / apart
        return {
            "white": balls,
            "iris": balls & (np.hypot(aside, y) < 0.11),
            "lips": front
            & (np.abs(x) < 0.42)
            & (np.abs(y - (drop - 0.62)) < 0.15 - 0.2 * np.abs(x))
            & (z > -0.35)
            & ~balls,
            "brows": front & (aside < 0.3) & (np.abs(y - 0.3) < 0.085) & ~balls,
            "beard": front & (y < drop - 0.25) & (z > -1.1) & ~balls,
        }

    def outfit(self, female: bool, random: np.random.Generator) -> Outfit:
        """Random skin, hair and clothes. Every person has a top and trousers, shorts or a long dress."""
        tone = _mix(SKIN, random)
        skin = Material(
            "skin",
            _linear(tone * 0.93),
            _linear(np.minimum(tone * [1.04, 0.97, 0.95], 255)),
            rough=0.05,
            shine=float(random.uniform(0.02, 0.12)),
        )
        hair = _mix(HAIR, random, blend=0.3)
        face = (
            _linear(np.array([30.0, 24, 20]) + random.uniform(0, 50, 3)),
            _linear(tone * [0.86, 0.62, 0.62]),
            _linear(hair * 0.8),
        )
        garments = []
        bare = random.random()
        dress = female and random.random() < 0.12
        # Bottoms.
        length = _within(random, (0.3, 0.1, 0.5), (0.5, 0.55, 0.95), (0.6, 1.3, 1.6), (1.0, 1.8, 2.02))
        tight = random.random() < 0.35
        waist = float(random.uniform(0.12, 0.34))
        garments.append(
            Garment(
                "bottom",
                _cloth(random),
                0.004 if tight else float(random.uniform(0.008, 0.022)),
                0.1 if tight else float(random.uniform(0.3, 0.9)),
                high=waist,
                length=length,
            )
        )
        # Tops.
        sleeve = _within(random, (0.25, -0.2, 0.12), (0.65, 0.35, 0.85), (0.72, 1.2, 1.6), (1.0, 1.75, 2.0))
        tight = random.random() < 0.3
        hem = (
            float(waist - random.uniform(0.02, 0.3))
            if bare < 0.92 or not female
            else float(waist + random.uniform(0.0, 0.16))
        )
        if dress:
            hem = -float(random.uniform(0.4, 0.9))
        out = garments[0].out + 0.004 + (0.0 if tight else float(random.uniform(0.002, 0.022)))
        top = Garment(
            "top",
            _cloth(random),
            out,
            0.15 if tight else float(random.uniform(0.3, 1.0)),
            sleeve=sleeve,
            low=hem,
            high=float(random.uniform(0.86, 1.06)),
        )
        garments.append(top)
        if random.random() < 0.22:  # an open or closed jacket, a vest or a bib over it
            garments.append(
                Garment(
                    "top",
                    _cloth(random),
                    out + float(random.uniform(0.006, 0.02)),
                    float(random.uniform(0.4, 1.0)),
                    sleeve=float(random.choice([-0.2, 0.5, 1.9])),
                    low=hem - float(random.uniform(-0.05, 0.12)),
                    high=float(random.uniform(0.8, 1.05)),
                )
            )
        if random.random() < 0.93:
            shoe = float(random.uniform(1.93, 2.0) if random.random() < 0.7 else random.uniform(1.3, 1.9))
            garments.append(Garment("shoes", _cloth(random, plain=0.75), 0.011, 0.35, low=shoe))
        if random.random() < 0.5:
            garments.append(
                Garment("socks", _cloth(random, plain=0.8), 0.004, 0.0, low=float(random.uniform(1.3, 1.9)))
            )
        if random.random() < 0.06:
            garments.append(Garment("gloves", _cloth(random, plain=0.8), 0.004, 0.1, low=1.95))
        covered = random.random()
        if covered < 0.14:  # a cap, a helmet or a scarf
            garments.append(
                Garment(
                    "hair",
                    _cloth(random, plain=0.7),
                    float(random.uniform(0.012, 0.03)),
                    0.6,
                    low=float(random.uniform(-0.1, 0.25)),
                )
            )
        elif covered < 0.95 or female:
            long = female and random.random() < 0.75
            strands = Material(
                "hair", _linear(hair), _linear(hair * random.uniform(0.5, 0.8)), rough=0.3, shine=0.12
            )
            garments.append(
                Garment(
                    "hair",
                    strands,
                    float(random.uniform(0.006, 0.018) if not long else random.uniform(0.014, 0.035)),
                    0.3 if not long else 0.7,
                    low=float(random.uniform(-0.05, 0.15) if not long else random.uniform(-0.35, 0.0)),
                )
            )
        beard = 0.0 if female or random.random() < 0.55 else float(random.uniform(0.2, 0.9))
        return Outfit(skin, face, beard, tuple(garments))

    def dress(self, body: Body, outfit: Outfit, posed: Posed, to_camera: tuple[Array, Array]) -> list[Layer]:
        """The layers of a dressed person in camera axes; `to_camera` is the rotation (3, 3) and translation
        (3,) from the body's axes.
        """
        smooth = body.vertices
        for _ in range(12):
            smooth = self._average @ smooth
        soft = self.bodies.surface_normals(smooth)
        tint = self._tint(outfit)
        everything = np.ones(len(body.vertices), bool)
        layers = [
            self._layer(
                body.vertices,
                body.normals,
                everything,
                np.ones(len(body.vertices)),
                outfit.skin,
                posed,
                to_camera,
                tint,
            )
        ]
        for garment in outfit.garments:
            keep = self.covers(garment)
            base = body.vertices + garment.loose * (smooth - body.vertices)
            normals = body.normals + garment.loose * (soft - body.normals)
            out = garment.out * (1 + 0.5 * garment.loose * self._bulge(garment))
            # Cloth never lies under the skin that it covers.
            inside = np.einsum("vi,vi->v", base - body.vertices, body.normals)
            base = base + body.normals * np.maximum(-inside, 0)[:, None]
            layers.append(
                self._layer(
                    base + body.normals * out[:, None],
                    normals,
                    (keep > -0.3) & ~self.eyes,
                    keep,
                    garment.material,
                    posed,
                    to_camera,
                )
            )
        return layers

    def _bulge(self, garment: Garment) -> Array:
        """(V,) more room towards the end of sleeves, legs and hems."""
        m = self.measures
        if garment.kind == "top":
            return np.clip(
                np.where(m.arm > -1, m.arm / max(garment.sleeve, 0.3), 1 - (m.trunk - garment.low)), 0, 1
            )
        if garment.kind == "bottom":
            return np.clip(m.leg / max(garment.length, 0.3), 0, 1)
        return np.zeros(len(m.arm))

    def covers(self, garment: Garment) -> Array:
        """(V,) above 0 where the garment is."""
        m, head = self.measures, self.bodies.part == PARTS.index("head")
        if garment.kind == "top":
            trunk = np.minimum(np.minimum(m.trunk - garment.low, garment.high - m.trunk), 1)
            return np.where(head, -1, np.where(m.arm > -1, garment.sleeve - m.arm, trunk))
        if garment.kind == "bottom":
            return np.where(
                head | (m.arm > -1), -1, np.minimum(garment.high - m.trunk, garment.length - m.leg)
            )
        if garment.kind in ("shoes", "socks"):
            return np.where(m.leg > -1, m.leg - garment.low, -1)
        if garment.kind == "gloves":
            return np.where(m.arm > -1, m.arm - garment.low, -1)
        return m.scalp - garment.low

    def _tint(self, outfit: Outfit) -> NDArray[np.float32]:
        """(V, 4) what the face's features add to the skin."""
        tint = np.zeros((len(self.measures.arm), 4), np.float32)
        iris, lips, brows = outfit.face
        for name, colour, much in (
            ("beard", brows, outfit.beard),
            ("lips", lips, 0.8),
            ("brows", brows, 0.85),
            ("white", (0.75, 0.73, 0.7), 1.0),
            ("iris", iris, 1.0),
        ):
            tint[self._tints[name]] = (*colour, much)
        return tint

    def _layer(
        self,
        rest: Array,
        normals: Array,
        chosen: NDArray[np.bool_],
        keep: Array,
        material: Material,
        posed: Posed,
        to_camera: tuple[Array, Array],
        tint: NDArray[np.float32] | None = None,
    ) -> Layer:
        rows = np.flatnonzero(chosen)
        place = np.full(len(chosen), -1)
        place[rows] = np.arange(len(rows))
        faces = place[self.bodies.faces]
        faces = faces[(faces >= 0).all(1)]
        rotation, shift = to_camera
        return Layer(
            (posed.vertices(rest[rows], rows) @ rotation.T + shift).astype(np.float32),
            (posed.normals(normals[rows], rows) @ rotation.T).astype(np.float32),
            rest[rows].astype(np.float32),
            faces.astype(np.int32),
            self._ids[rows],
            np.clip(keep[rows], -1, 1).astype(np.float32),
            material,
            None if tint is None else tint[rows],
        )


def _within(random: np.random.Generator, *ranges: tuple[float, float, float]) -> float:
    """A random number from one of some ranges (until, low, high), each taken if a draw in 0..1 is below its
    `until` and not below the one before; the last is 1.
    """
    draw = random.random()
    low, high = next((low, high) for until, low, high in ranges if draw < until)
    return float(random.uniform(low, high))


def _linear(colour: Array) -> Colour:
    """sRGB 0..255 to linear 0..1."""
    r, g, b = (np.clip(np.asarray(colour, np.float64), 0, 255) / 255) ** 2.2
    return (float(r), float(g), float(b))


def _mix(palette: tuple[tuple[int, int, int], ...], random: np.random.Generator, blend: float = 1.0) -> Array:
    """A colour between two neighbours of a palette."""
    place = int(random.integers(len(palette) - 1))
    share = blend * float(random.random())
    return (1 - share) * np.array(palette[place], float) + share * np.array(palette[place + 1], float)


def colour(random: np.random.Generator) -> Colour:
    """A random colour of cloth or paint: often white, black, grey or blue, else any hue."""
    kind = random.random()
    if kind < 0.18:
        return _linear(np.full(3, random.uniform(200, 250)))
    if kind < 0.36:
        return _linear(np.full(3, random.uniform(12, 50)) + random.uniform(0, 14, 3))
    if kind < 0.48:
        return _linear(np.full(3, random.uniform(60, 190)))
    hue = random.uniform(200, 240) if kind < 0.62 else random.uniform(0, 360)
    pixel = np.array([[[hue, random.uniform(0.25, 0.95), random.uniform(0.2, 0.98)]]], np.float32)
    return _linear(cv2.cvtColor(pixel, cv2.COLOR_HSV2RGB)[0, 0].astype(np.float64) * 255)


def _cloth(random: np.random.Generator, plain: float = 0.5) -> Material:
    kinds = ("stripes", "checks", "clouds", "spots", "fade")
    pattern = "plain" if random.random() < plain else kinds[int(random.integers(len(kinds)))]
    axis = ((0.0, 1.0, 0.0), (1.0, 0.0, 0.0), (0.6, 0.8, 0.0))[int(random.integers(3))]
    return Material(
        pattern,
        colour(random),
        colour(random),
        float(random.uniform(4, 24)),
        axis,
        float(random.random()),
        float(random.uniform(0.05, 0.4)),
        float(random.uniform(0, 0.12)),
    )
