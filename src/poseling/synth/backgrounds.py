"""Backgrounds for synthetic people: drawn ones, or windows of a folder of images.

Both are called as `background(size, random)` and return (size, size, 3) uint8 RGB. Drawn backgrounds are
textures and flat shapes with distractors: other people, poles and bars that look like limbs. Scenes with a
ground, a horizon, houses and rooms were worth no more, and plain noise is worth much less: docs/synthetic.md
has the measurement.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np

from poseling.files import read_image
from poseling.synth.textures import (
    SHIFT,
    SKIN,
    TONES,
    Colour,
    Image,
    Layer,
    bar,
    cut,
    fixed,
    paint,
    person,
    ramp_of,
    shades,
    times,
    tone,
)

Backgrounds = Callable[[int, np.random.Generator], Image]


@dataclass(frozen=True)
class Folder:
    """Windows of the images at `paths`. Unreadable images are added to `broken` and the next one is used, so
    a broken file does not change other images.
    """

    paths: Sequence[Path]
    broken: list[Path] = field(default_factory=list)

    def __post_init__(self) -> None:
        if not self.paths:
            raise ValueError(
                "a folder of backgrounds without an image; name one with images, or none for drawn ones"
            )

    def __call__(self, size: int, random: np.random.Generator) -> Image:
        """(size, size, 3) RGB of a random square window, mirrored at random; OSError that names the folder
        and its first file if no image can be read.
        """
        first = int(random.integers(len(self.paths)))
        share, x, y, flip = random.random(4).tolist()
        image = self._read(first)
        height, width = image.shape[:2]
        side = max(1, round(min(height, width) * (0.4 + 0.6 * share)))
        x0, y0 = round(x * (width - side)), round(y * (height - side))
        window = image[y0 : y0 + side, x0 : x0 + side]
        if flip < 0.5:
            window = window[:, ::-1]
        return np.asarray(
            cv2.resize(
                window, (size, size), interpolation=cv2.INTER_AREA if side > size else cv2.INTER_LINEAR
            ),
            np.uint8,
        )

    def _read(self, first: int) -> Image:
        for i in range(len(self.paths)):
            path = self.paths[(first + i) % len(self.paths)]
            if path in self.broken:
                continue
            try:
                return read_image(path)
            except OSError:
                self.broken.append(path)
        raise OSError(
            f"{self.paths[0].parent}: none of its {len(self.paths)} images can be read (the first is "
            f"{self.paths[0].name}); name another folder"
        )


def procedural(size: int, random: np.random.Generator) -> Image:
    """(size, size, 3) RGB of a drawn background."""
    canvas = np.zeros((size, size, 3), np.uint8)
    _shapes(canvas, random)
    _distractors(canvas, random)
    return np.asarray(_photograph(canvas, random), np.uint8)


def _over(canvas: Layer, layer: Layer, mask: Layer) -> None:
    """`layer` (H, W, 3) over `canvas`, in place, where `mask` (H, W) is above 0, in part where it is below
    255.
    """
    weight = mask.astype(np.float32) * np.float32(1 / 255)
    canvas[:] = cv2.blendLinear(layer, np.ascontiguousarray(canvas), weight, 1 - weight)


def _polygon(canvas: Layer, points: Layer, colour: Colour | float) -> None:
    cv2.fillPoly(canvas, [fixed(points)], colour, cv2.LINE_AA, SHIFT)


def _region(canvas: Layer, points: Layer) -> tuple[int, int, int, int]:
    """x0 y0 x1 y1 of the part of the canvas around `points`."""
    low, high = np.floor(points.min(0)).astype(int), np.ceil(points.max(0)).astype(int) + 1
    height, width = canvas.shape[:2]
    return max(0, int(low[0])), max(0, int(low[1])), min(width, int(high[0])), min(height, int(high[1]))


def _textured(
    canvas: Layer, points: Layer, name: str, ramp: Layer | None, scale: float, random: np.random.Generator
) -> None:
    """A polygon filled with a texture; `ramp` colours those that have no colours of their own."""
    x0, y0, x1, y1 = _region(canvas, points)
    if x1 - x0 < 2 or y1 - y0 < 2:
        return
    mask = np.zeros((y1 - y0, x1 - x0), np.uint8)
    _polygon(mask, points - [x0, y0], 255.0)
    layer = cut(name, x1 - x0, y1 - y0, scale, random)
    _over(canvas[y0:y1, x0:x1], layer if ramp is None else paint(layer, ramp), mask)


def _shapes(canvas: Layer, random: np.random.Generator) -> None:
    """A texture over the whole canvas, and up to eight rectangles of a colour or another texture."""
    size, kind = len(canvas), random.random()
    scale = random.uniform(0.4, 2) * 256 / size
    if kind < 0.3:
        name = str(random.choice(["clutter", "clutter", "wares", "crowd"]))
        layer = cut(name, size, size, scale, random)
        # The stored colours, permuted and scaled.
        mix = np.eye(3)[random.permutation(3)] * random.uniform(0.5, 1.2, 3) + random.uniform(
            -0.15, 0.15, (3, 3)
        )
        canvas[:] = cv2.transform(layer, mix)
    else:
        name = str(
            random.choice(
                [
                    "cloud",
                    "rock",
                    "grain",
                    "bark",
                    "leaves",
                    "blades",
                    "cells",
                    "bricks",
                    "tiles",
                    "boards",
                    "water",
                ]
            )
        )
        tones = [tone(str(t), random) for t in random.choice(list(TONES), int(random.integers(2, 5)))]
        canvas[:] = paint(cut(name, size, size, scale, random), ramp_of(*tones))
    for _ in range(int(random.integers(0, 9))):
        x, y = random.uniform(-0.1, 1.1, 2) * size
        w, h = random.uniform(0.03, 0.5, 2) * size
        corners = cv2.boxPoints(((x, y), (w, h), random.choice([0.0, random.uniform(0, 180)])))
        if random.random() < 0.5:
            _polygon(canvas, corners, tone("cloth", random))
        else:
            name = str(random.choice(["smooth", "rock", "bark", "bricks", "boards", "leaves"]))
            _textured(
                canvas,
                corners,
                name,
                shades(tone("cloth", random), random),
                random.uniform(0.4, 2) * 256 / size,
                random,
            )


def _distractors(canvas: Layer, random: np.random.Generator) -> None:
    """A person farther away or partly outside the frame, poles, and rounded bars in the colours of skin and
    cloth.
    """
    size = len(canvas)
    if random.random() < 0.35:
        level, far = random.uniform(0.55, 1.05) * size, random.uniform(0.15, 0.5) * size
        for _ in range(int(random.integers(1, 5))):
            person(
                canvas,
                random.uniform(0, size),
                level + random.normal(0, 0.05) * size,
                far * random.uniform(0.8, 1.2),
                random,
                random.uniform(0.5, 1.1),
            )
    if random.random() < 0.2:
        person(
            canvas,
            random.choice([-0.05, 1.05]) * size + random.normal(0, 0.05) * size,
            random.uniform(0.85, 1.4) * size,
            random.uniform(0.7, 1.3) * size,
            random,
        )
    if random.random() < 0.35:
        for _ in range(int(random.integers(1, 4))):
            x, lean, width = (
                random.uniform(0, size),
                random.normal(0, 0.06) * size,
                random.uniform(0.008, 0.05) * size,
            )
            colour, low = (
                tone(str(random.choice(["metal", "wood", "snow", "dark", "bright"])), random),
                random.uniform(0.5, 1.1) * size,
            )
            _rounded(
                canvas,
                (x, random.choice([-5.0, random.uniform(0, 0.5) * size])),
                (x + lean, low),
                width,
                colour,
            )
    if random.random() < 0.25:
        for _ in range(int(random.integers(1, 4))):
            start, angle = random.uniform(0, size, 2), random.uniform(0, 2 * np.pi)
            length, width = random.uniform(0.08, 0.35) * size, random.uniform(0.015, 0.06) * size
            colour = SKIN[int(random.integers(len(SKIN)))] if random.random() < 0.5 else tone("cloth", random)
            _rounded(
                canvas,
                start.tolist(),
                (start + length * np.array([np.cos(angle), np.sin(angle)])).tolist(),
                width,
                colour,
            )


def _rounded(
    canvas: Layer, start: Sequence[float], end: Sequence[float], width: float, colour: Colour
) -> None:
    """A bar lit from one side."""
    way = np.array([end[1] - start[1], start[0] - end[0]])
    off = way / max(float(np.hypot(*way)), 1e-6) * width
    for share, gain in ((1.0, 0.6), (0.7, 0.8), (0.4, 1.0)):
        move = off * (1 - share) * 0.3
        bar(
            canvas,
            (start[0] + move[0], start[1] + move[1]),
            (end[0] + move[0], end[1] + move[1]),
            width * share,
            times(colour, gain),
        )


def _photograph(canvas: Layer, random: np.random.Generator) -> Layer:
    """Uneven light, defocus, exposure and a colour cast, each at random."""
    size = len(canvas)
    zoom, x, y, roll, angle, blur, sigma, shade, night, flip = random.random(10).tolist()
    if zoom < 0.4:
        side = max(8, round(size * (0.55 + zoom)))
        x0, y0 = int(x * (size - side)), int(y * (size - side))
        canvas = cv2.resize(
            canvas[y0 : y0 + side, x0 : x0 + side], (size, size), interpolation=cv2.INTER_LINEAR
        )
    if roll < 0.2:
        turn = cv2.getRotationMatrix2D((size / 2, size / 2), (angle - 0.5) * 30, 1.2)
        canvas = cv2.warpAffine(
            canvas, turn, (size, size), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT
        )
    if blur < 0.35:
        spread = (0.4 + 3.2 * sigma**2) * size / 256
        if spread < 1.5:
            canvas = cv2.GaussianBlur(canvas, (0, 0), spread)
        else:  # a strong blur needs fewer pixels
            half = cv2.resize(canvas, (size // 2, size // 2), interpolation=cv2.INTER_AREA)
            canvas = cv2.resize(
                cv2.GaussianBlur(half, (0, 0), spread / 2), (size, size), interpolation=cv2.INTER_LINEAR
            )
    light = random.uniform(0.65, 1.15, (2, 3)).astype(np.float32)
    if shade < 0.15:  # shadows with an edge, as of leaves or a roof
        mono = cut("cloud", size, size, random.uniform(0.3, 1.2) * 256 / size, random)
        gains: Layer = cv2.LUT(
            mono, np.clip((np.arange(256) - 120) * 12 + 128, 110, 255).astype(np.uint8)
        ).astype(np.float32) * np.float32(1 / 235)
        canvas = cv2.multiply(canvas, cv2.merge([gains, gains, gains]), dtype=cv2.CV_8U)
    elif shade < 0.7:
        gains = cv2.resize(light, (size, size), interpolation=cv2.INTER_CUBIC)
        canvas = cv2.multiply(canvas, cv2.merge([gains, gains, gains]), dtype=cv2.CV_8U)
    # A camera's exposure: most of the way to a photograph's usual mean and contrast; nights stay dark.
    seen = canvas[::4, ::4].astype(np.float32)
    mean, spread = float(seen.mean()), float(seen.std())
    wanted, contrast, cast = random.normal(112, 28), random.uniform(42, 72), np.exp(random.normal(0, 0.06, 3))
    if night < 0.06:
        wanted, contrast = 25.0, 30.0
    gain = min(max((contrast / max(spread, 1)) ** 0.8, 0.5), 2.4)
    table = ((np.arange(256)[:, None] - mean) * gain + 0.75 * wanted + 0.25 * mean) * cast
    canvas = cv2.LUT(canvas, table.clip(0, 255).astype(np.uint8)[None])
    return np.ascontiguousarray(canvas[:, ::-1] if flip < 0.5 else canvas)
