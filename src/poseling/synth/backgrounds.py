"""Backgrounds for synthetic people: drawn scenes, or windows of a folder of images.

Both are called as `background(size, random)` and return (size, size, 3) uint8 RGB. Drawn scenes are crude,
but have what photographs have: a ground in perspective, a horizon, sharp edges at every scale, textures,
other people, and poles and bars that look like limbs.
"""

from __future__ import annotations

import colorsys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from poseling.files import read_image

Image = NDArray[np.uint8]
Layer = NDArray[Any]  # an image or a mask, uint8, which OpenCV's types do not say; or points
Colour = tuple[float, float, float]
Backgrounds = Callable[[int, np.random.Generator], Image]
SHIFT = 4  # fractional bits: cv2 draws at sixteenths of a pixel
TILE = 512  # pixels: the side of a stored, periodic texture
SKIN: tuple[Colour, ...] = (
    (255, 219, 190),
    (240, 194, 160),
    (216, 160, 120),
    (170, 112, 78),
    (120, 78, 54),
    (82, 54, 40),
)
# Hue (of 360), saturation and value, from and to.
TONES = {
    "grass": (62, 115, 0.25, 0.7, 0.25, 0.75),
    "leaf": (55, 125, 0.2, 0.75, 0.15, 0.6),
    "earth": (14, 45, 0.15, 0.55, 0.3, 0.8),
    "clay": (8, 24, 0.4, 0.75, 0.45, 0.85),
    "sky": (195, 225, 0.05, 0.65, 0.6, 1.0),
    "cloud": (200, 230, 0.0, 0.1, 0.65, 1.0),
    "wood": (12, 38, 0.3, 0.75, 0.25, 0.85),
    "grey": (0, 360, 0.0, 0.12, 0.2, 0.85),
    "wall": (0, 360, 0.0, 0.35, 0.35, 1.0),
    "dark": (0, 360, 0.0, 0.6, 0.02, 0.18),
    "bright": (0, 360, 0.55, 0.95, 0.5, 0.95),
    "cloth": (0, 360, 0.0, 0.9, 0.08, 0.97),
    "court": (95, 225, 0.25, 0.8, 0.3, 0.85),
    "water": (170, 225, 0.2, 0.7, 0.3, 0.8),
    "snow": (200, 230, 0.0, 0.1, 0.8, 1.0),
    "metal": (200, 230, 0.0, 0.15, 0.15, 0.9),
}


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
                "a folder of backgrounds without an image; name one with images, or none for drawn scenes"
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
    """(size, size, 3) RGB of a drawn scene."""
    family = random.random()
    place = next(draw for share, draw in FAMILIES if family < share)
    canvas = np.zeros((size, size, 3), np.uint8)
    place(canvas, random)
    _distractors(canvas, random)
    return np.asarray(_photograph(canvas, random), np.uint8)


# --- colours


def _tone(name: str, random: np.random.Generator) -> Colour:
    """A random colour of a family."""
    h0, h1, s0, s1, v0, v1 = TONES[name]
    h, s, v = random.random(3).tolist()
    r, g, b = colorsys.hsv_to_rgb((h0 + h * (h1 - h0)) / 360 % 1, s0 + s * (s1 - s0), v0 + v * (v1 - v0))
    return 255 * r, 255 * g, 255 * b


def _times(colour: Colour, gain: float) -> Colour:
    r, g, b = (min(255.0, c * gain) for c in colour)
    return r, g, b


def _ramp(*colours: Colour) -> Layer:
    """(1, 256, 3): from the first colour for black to the last for white."""
    at = np.linspace(0, 255, len(colours))
    return (
        np.stack([np.interp(np.arange(256), at, [c[i] for c in colours]) for i in range(3)], -1)[None]
        .clip(0, 255)
        .astype(np.uint8)
    )


def _shades(colour: Colour, random: np.random.Generator, contrast: float = 0.45) -> Layer:
    """A ramp around a colour: darker and colder below, brighter and warmer above, or the other way."""
    tilt = random.uniform(-0.12, 0.12)
    low, high = 1 - contrast, 1 + contrast
    dark, light = (
        (colour[0] * low * (1 - tilt), colour[1] * low, colour[2] * low * (1 + tilt)),
        (colour[0] * high * (1 + tilt), colour[1] * high, colour[2] * high * (1 - tilt)),
    )
    return _ramp(dark, colour, light)


# --- textures: made once from a fixed seed, cut and coloured at random


def _fractal(random: np.random.Generator, slope: float, stretch: float = 1.0) -> NDArray[np.float64]:
    """(TILE, TILE) of noise whose amplitude decreases with frequency ** `slope`; `stretch` above 1 elongates
    it vertically.
    """
    fy, fx = np.fft.fftfreq(TILE)[:, None] * stretch, np.fft.rfftfreq(TILE)[None, :] / stretch
    falls = np.maximum(np.hypot(fx, fy), 1 / TILE) ** -slope
    return np.fft.irfft2(np.fft.rfft2(random.standard_normal((TILE, TILE))) * falls, s=(TILE, TILE))


def _even(values: Layer, spread: float = 50) -> Layer:
    """To mean 128 and deviation `spread`."""
    values = values - values.mean()
    return (128 + values * (spread / values.std())).clip(0, 255).astype(np.uint8)


def _around(tile: Layer, draw: Callable[[Layer], None], margin: int = 64) -> Layer:
    """Makes a tile periodic: it is cut from a larger one whose borders are blended into each other."""
    big = cv2.resize(tile, (TILE + margin, TILE + margin), interpolation=cv2.INTER_NEAREST)
    draw(big)
    fade = np.linspace(0, 1, margin).reshape((1, -1) + (1,) * (big.ndim - 2))
    big = big.astype(np.float64)
    wide = big[:, :TILE].copy()
    wide[:, :margin] = fade * big[:, :margin] + (1 - fade) * big[:, TILE:]
    done = wide[:TILE].copy()
    fade = fade.swapaxes(0, 1)
    done[:margin] = fade * wide[:margin] + (1 - fade) * wide[TILE:]
    return done.astype(np.uint8)


@cache
def _texture(name: str) -> Layer:
    """(2 TILE, 2 TILE) or (2 TILE, 2 TILE, 3): the tile four times, so that any window up to a tile's size is
    a plain cut.
    """
    random = np.random.default_rng((19, *name.encode()))
    tile = _MAKERS[name](random)
    return np.ascontiguousarray(np.tile(tile, (2, 2) + (1,) * (tile.ndim - 2)))


def _leaves(random: np.random.Generator) -> Layer:
    """Leaves over leaves, brighter towards the top."""

    def draw(big: Layer) -> None:
        side = len(big)
        for i in range(5200):
            light = 25 + 190 * (i / 5200) ** 1.3 * random.uniform(0.5, 1.2)
            x, y, long, angle = random.uniform((0, 0, 4, 0), (side, side, 9, 180)).tolist()
            cv2.ellipse(
                big,
                (int(x), int(y)),
                (int(long), max(2, int(long * random.uniform(0.3, 0.6)))),
                angle,
                0,
                360,
                min(255.0, light),
                -1,
                cv2.LINE_AA,
            )

    return _around(np.full((TILE, TILE), 20, np.uint8), draw)


def _cells(random: np.random.Generator) -> Layer:
    """Stones: the cells of scattered points with gaps between them."""
    # A jittered grid, so that they are of one size, nine times over, so that they go on at the other side.
    grid = np.mgrid[0:14, 0:14].reshape(2, -1).T + random.uniform(0.1, 0.9, (196, 2))
    at = (grid * (TILE / 14)).astype(int)
    points, lightness = np.full((3 * TILE, 3 * TILE), 255, np.uint8), random.uniform(90, 210, 196)
    copies = [at + [TILE * dy, TILE * dx] for dy in range(3) for dx in range(3)]
    for copy in copies:
        points[copy[:, 0], copy[:, 1]] = 0
    away, label = cv2.distanceTransformWithLabels(points, cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL)
    light = np.zeros(int(label.max()) + 1)
    for copy in copies:
        light[label[copy[:, 0], copy[:, 1]]] = lightness
    middle = slice(TILE, 2 * TILE)
    edge = (
        cv2.morphologyEx(label.astype(np.float32), cv2.MORPH_GRADIENT, np.ones((5, 5), np.uint8))[
            middle, middle
        ]
        > 0
    )
    noise = _fractal(random, 0.7)
    return _even(
        np.where(edge, 40, light[label[middle, middle]] - 1.2 * away[middle, middle])
        + 8 * noise / noise.std()
    )


def _bricks(
    random: np.random.Generator, rows: int, columns: int, shift: float, gap: int, spread: float
) -> Layer:
    """Rows of bricks (or boards, or tiles), each of its own lightness, with a darker gap."""
    height, width = TILE // rows, TILE // columns
    tile = np.zeros((TILE, TILE))
    for row in range(rows):
        line = np.repeat(128 + spread * random.standard_normal(columns), width)
        line[np.arange(TILE) % width < gap] = 60
        tile[row * height : (row + 1) * height] = np.roll(line, int(row * shift * width) % TILE)
        tile[row * height : row * height + gap] = 60
    noise = _fractal(random, 0.8)
    return _even(tile + 7 * noise / noise.std())


def _boards(random: np.random.Generator) -> Layer:
    """Boards with their grain along them."""
    grain = _fractal(random, 1.0, stretch=4.0)
    return _even(_bricks(random, 4, 16, 0.5, 2, 22) + 14 * grain / grain.std())


def _clutter(random: np.random.Generator) -> Layer:
    """Dead leaves: opaque shapes with sizes by a power law, the model of images with their edges and spectrum
    (Lee, Mumford and Huang 2001).
    """

    def draw(big: Layer) -> None:
        side = len(big)
        sizes = np.sort(3 / np.sqrt(random.uniform(0.0012, 1, 2600)))[::-1]
        order = np.argsort(-sizes * random.uniform(0.3, 1.0, len(sizes)))
        for size in sizes[order].tolist():
            colour = _tone(str(random.choice(["wall", "cloth", "wood", "grey", "dark", "earth"])), random)
            x, y, turn, slim, kind = random.uniform((0, 0, -360, 0.3, 0), (side, side, 180, 1, 1)).tolist()
            angle = max(turn, 0.0)  # most stand or lie straight
            if kind < 0.4:
                cv2.ellipse(
                    big,
                    (int(x), int(y)),
                    (int(size), int(size * slim)),
                    angle,
                    0,
                    360,
                    colour,
                    -1,
                    cv2.LINE_AA,
                )
            else:
                corners = cv2.boxPoints(((x, y), (2 * size, 2 * size * slim), angle))
                cv2.fillConvexPoly(big, np.round(corners * 16).astype(np.int32), colour, cv2.LINE_AA, SHIFT)

    return _around(np.full((TILE, TILE, 3), 90, np.uint8), draw)


def _crowd(random: np.random.Generator) -> Layer:
    """Rows of heads over shoulders."""

    def draw(big: Layer) -> None:
        big[:] = (45, 42, 48)
        side = len(big)
        for y in np.arange(-10, side + 60, 26).tolist():
            for x in np.arange(-10, side + 20, 21).tolist():
                if random.random() < 0.12:
                    continue
                light, u, v = random.uniform(0.5, 1.1), x + random.uniform(-6, 6), y + random.uniform(-5, 5)
                _person(big, u, v, 78 * random.uniform(0.85, 1.15), random, light)

    return _around(np.zeros((TILE, TILE, 3), np.uint8), draw)


def _wares(random: np.random.Generator) -> Layer:
    """Shelves of boxes and books."""
    tile = np.full((TILE, TILE, 3), 40, np.uint8)
    for y in range(0, TILE, 64):
        x = 0
        while x < TILE:
            wide, high = int(random.integers(5, 26)), int(random.integers(28, 58))
            colour = _tone(str(random.choice(["cloth", "wall", "wood"])), random)
            cv2.rectangle(tile, (x, y + 60 - high), (x + wide - 1, y + 59), _times(colour, 0.9), -1)
            cv2.rectangle(
                tile,
                (x, y + 60 - high // 2),
                (x + wide - 2, y + 60 - high // 2 + 5),
                _tone("wall", random),
                -1,
            )
            x += wide + int(random.random() < 0.1) * 12
        tile[y + 60 : y + 64] = _times(_tone("wood", random), 0.8)
    return tile


def _blades(random: np.random.Generator) -> Layer:
    """Grass from near: short strokes."""

    def draw(big: Layer) -> None:
        side = len(big)
        for i in range(9000):
            x, y, lean, long = random.uniform((0, 0, -6, 6), (side, side, 6, 18)).tolist()
            light = 40 + 170 * (i / 9000) * random.uniform(0.4, 1.1)
            cv2.line(big, (int(x), int(y)), (int(x + lean), int(y - long)), min(255.0, light), 1, cv2.LINE_AA)

    return _around(np.full((TILE, TILE), 40, np.uint8), draw)


_MAKERS: dict[str, Callable[[np.random.Generator], Layer]] = {
    "cloud": lambda r: _even(_fractal(r, 1.9)),
    "smooth": lambda r: _even(_fractal(r, 1.5)),
    "rock": lambda r: _even(_fractal(r, 1.15)),
    "grain": lambda r: _even(_fractal(r, 0.75), 42),
    "bark": lambda r: _even(_fractal(r, 1.0, stretch=3.0)),
    "water": lambda r: _even(_fractal(r, 1.1, stretch=0.35)),
    "leaves": _leaves,
    "blades": _blades,
    "cells": _cells,
    "bricks": lambda r: _bricks(r, 32, 16, 0.5, 2, 24),
    "blocks": lambda r: _bricks(r, 16, 8, 0.5, 3, 14),
    "tiles": lambda r: _bricks(r, 8, 8, 0.0, 3, 12),
    "boards": _boards,
    "clutter": _clutter,
    "crowd": _crowd,
    "wares": _wares,
}


def _cut(name: str, width: int, height: int, scale: float, random: np.random.Generator) -> Layer:
    """(height, width[, 3]): a window of a texture, `scale` texels to a pixel, mirrored by lot."""
    w, h = (int(min(max(4, round(s * scale)), TILE)) for s in (width, height))
    x0, y0, flip = random.random(3).tolist()
    x0, y0 = int(x0 * TILE), int(y0 * TILE)
    window = _texture(name)[y0 : y0 + h, x0 : x0 + w]
    if flip < 0.5:
        window = window[:, ::-1]
    return cv2.resize(
        window, (width, height), interpolation=cv2.INTER_AREA if scale > 1.4 else cv2.INTER_LINEAR
    )


def _paint(mono: Layer, ramp: Layer) -> Layer:
    """(H, W, 3) from (H, W) by the colours of `ramp`."""
    return cv2.LUT(cv2.merge([mono, mono, mono]), ramp)


def _over(canvas: Layer, layer: Layer, mask: Layer) -> None:
    """`layer` (H, W, 3) over `canvas`, in place, where `mask` (H, W) is above 0, in part where it is below
    255.
    """
    weight = mask.astype(np.float32) * np.float32(1 / 255)
    canvas[:] = cv2.blendLinear(layer, np.ascontiguousarray(canvas), weight, 1 - weight)


def _fixed(points: Layer) -> NDArray[np.int32]:
    return np.round(np.clip(points, -4000, 4000) * (1 << SHIFT)).astype(np.int32)


def _polygon(canvas: Layer, points: Layer, colour: Colour | float) -> None:
    cv2.fillPoly(canvas, [_fixed(points)], colour, cv2.LINE_AA, SHIFT)


def _bar(canvas: Layer, start: Sequence[float], end: Sequence[float], width: float, colour: Colour) -> None:
    a, b = _fixed(np.array([start, end])).tolist()
    cv2.line(canvas, a, b, colour, max(1, round(width)), cv2.LINE_AA, SHIFT)


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
    layer = _cut(name, x1 - x0, y1 - y0, scale, random)
    _over(canvas[y0:y1, x0:x1], layer if ramp is None else _paint(layer, ramp), mask)


# --- the ground and what stands on it


@dataclass(frozen=True)
class _View:
    """A level camera `height` metres above the ground: `horizon` row, `focal` length and `centre` column in
    pixels.
    """

    horizon: float
    focal: float
    height: float
    centre: float

    def at(self, points: Layer) -> NDArray[np.float64]:
        """(N, 2) pixels of (N, 3) metres: to the right, up from the ground, away. What is nearer than 0.3 m
        is moved there.
        """
        away = np.maximum(points[:, 2], 0.3)
        return np.stack(
            [
                self.centre + self.focal * points[:, 0] / away,
                self.horizon + self.focal * (self.height - points[:, 1]) / away,
            ],
            -1,
        )


def _view(size: int, random: np.random.Generator, low: float = 0.05, high: float = 0.7) -> _View:
    """The person in the foreground is about as high as the image, so the camera is 3 to 8 m from where the
    ground leaves the frame.
    """
    horizon, focal, height, centre = random.random(4).tolist()
    return _View(
        (low + (high - low) * horizon) * size,
        size * (0.9 + 2.2 * focal**2),
        0.7 + 1.6 * height,
        size * (0.2 + 0.6 * centre),
    )


def _ground(
    canvas: Layer,
    view: _View,
    name: str,
    ramp: Layer,
    texels: float,
    random: np.random.Generator,
    fade: float = 0.25,
) -> None:
    """The texture, `texels` to the metre, laid on the ground; near the horizon, where it would flicker, only
    its mean is left.
    """
    size = len(canvas)
    top = max(0, int(np.ceil(view.horizon)))
    if top >= size - 1:
        return
    turn, x0, y0 = random.random(3).tolist()
    angle = turn * np.pi if name not in ("tiles", "boards", "bricks", "blocks") else (turn - 0.5) * 1.2
    c, s = np.cos(angle) * texels, np.sin(angle) * texels
    # (u, v) = turned (x - centre, focal) * height / (y - horizon), homogeneous.
    rows = np.array(
        [[1, 0, -view.centre], [0, 0, view.focal], [0, 1 / view.height, (top - view.horizon) / view.height]]
    )
    place = np.array([[c, -s, TILE * x0], [s, c, TILE * y0], [0, 0, 1]]) @ rows
    shape = (size, size - top)
    tile = _texture(name)[:TILE, :TILE]
    flat = cv2.warpPerspective(
        tile, place, shape, flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP, borderMode=cv2.BORDER_WRAP
    )
    # Texels to a pixel, across: texels * height / (y - horizon).
    depth = (np.arange(top, size) + 0.5 - view.horizon) / view.height / texels
    keep = np.minimum(depth / fade, 1)[:, None].astype(np.float32)
    mono = cv2.add(
        cv2.multiply(flat.astype(np.float32), np.broadcast_to(keep, flat.shape).copy()),
        128 * (1 - keep[:, 0])[:, None].repeat(size, 1),
    )
    canvas[top:] = _paint(mono.astype(np.uint8), ramp)


def _stripe(
    canvas: Layer,
    view: _View,
    start: Sequence[float] | Layer,
    end: Sequence[float] | Layer,
    width: float,
    colour: Colour,
) -> None:
    """A line `width` metres wide on the ground, from (right, away) to (right, away)."""
    a, b = np.array(start, float), np.array(end, float)
    # Only what is in front of the camera.
    near = 0.6
    if a[1] > b[1]:
        a, b = b, a
    if b[1] <= near:
        return
    if a[1] < near:
        a = a + (b - a) * (near - a[1]) / (b[1] - a[1])
    way = b - a
    side = np.array([-way[1], way[0]]) / max(float(np.hypot(*way)), 1e-6) * width / 2
    corners = np.array([a + side, b + side, b - side, a - side])
    _polygon(
        canvas, view.at(np.stack([corners[:, 0], np.zeros(4), np.maximum(corners[:, 1], near)], -1)), colour
    )


def _box(
    canvas: Layer,
    view: _View,
    centre: Sequence[float],
    sides: Sequence[float],
    turn: float,
    colour: Colour,
    random: np.random.Generator,
    name: str | None = None,
) -> None:
    """A box on the ground at (right, away), of `sides` (wide, high, deep) metres, `centre[2]` metres above
    the ground.
    """
    corners = np.array([[x, y, z] for x in (-0.5, 0.5) for y in (0, 1) for z in (-0.5, 0.5)]) * sides
    c, s = np.cos(turn), np.sin(turn)
    turned = corners @ np.array([[c, 0, s], [0, 1, 0], [-s, 0, c]]) + [centre[0], centre[2], centre[1]]
    if turned[:, 2].min() < 0.5:
        return
    at, light = view.at(turned), random.uniform(0, 2 * np.pi)
    eye = np.array([0, view.height, 0])
    for face, normal in (
        ((0, 1, 3, 2), (-1, 0, 0)),
        ((4, 5, 7, 6), (1, 0, 0)),
        ((0, 1, 5, 4), (0, 0, -1)),
        ((2, 3, 7, 6), (0, 0, 1)),
        ((1, 3, 7, 5), (0, 1, 0)),
    ):
        out = np.array(normal) @ np.array([[c, 0, s], [0, 1, 0], [-s, 0, c]])
        if out @ (eye - turned[face[0]]) <= 0:
            continue
        shade = _times(
            colour, 1.1 if normal[1] else 0.75 + 0.3 * float(np.cos(np.arctan2(out[0], out[2]) - light))
        )
        if name is None or normal[1]:
            _polygon(canvas, at[list(face)], shade)
        else:
            _textured(
                canvas, at[list(face)], name, _shades(shade, random, 0.3), 1.0 * 256 / len(canvas), random
            )


def _skyline(
    size: int, level: float, height: float, random: np.random.Generator, rough: float
) -> NDArray[np.float64]:
    """(N, 2) the points of a ridge around row `level` and the corners below it."""
    count = int(random.integers(4, 9))
    coarse = np.interp(np.linspace(0, 1, 65), np.linspace(0, 1, count), random.uniform(-1, 1, count))
    line = level - height * (coarse + rough * random.standard_normal(65))
    return np.concatenate(
        [np.stack([np.linspace(-2, size + 2, 65), line], -1), [[size + 2, size + 2], [-2, size + 2]]]
    )


def _sky(canvas: Layer, bottom: float, random: np.random.Generator) -> None:
    size = len(canvas)
    rows = int(np.clip(np.ceil(bottom) + 2, 1, size))
    kind = random.random()
    blue = _tone("sky" if kind < 0.6 else "cloud", random)
    low = _times(_tone("cloud", random), random.uniform(0.85, 1.05)) if kind < 0.85 else _tone("clay", random)
    fall = np.linspace(0, 1, rows)[:, None, None] ** random.uniform(0.5, 2)
    strip = (np.array(blue) * (1 - fall) + np.array(low) * fall).astype(np.uint8)
    canvas[:rows] = strip
    if random.random() < 0.6:
        mask = _cut("cloud", size, rows, random.uniform(0.5, 1.8) * 256 / size, random)
        strength, start = random.uniform(0.3, 1.4), random.uniform(90, 170)
        veil = cv2.LUT(mask, np.clip((np.arange(256) - start) * 2.2 * strength, 0, 235).astype(np.uint8))
        white = np.empty((rows, size, 3), np.uint8)
        white[:] = _times(low, 1.1)
        _over(canvas[:rows], white, veil)


def _tree(
    canvas: Layer, x: float, foot: float, height: float, random: np.random.Generator, bush: bool = False
) -> None:
    """A trunk with branches and a crown of leaves, or only a crown on the ground."""
    size = len(canvas)
    bark, leaf = _times(_tone("wood", random), 0.55), _tone("leaf", random)
    wide = height * random.uniform(0.25, 0.5)
    crown = foot - height * (0.35 if bush else random.uniform(0.55, 0.75))
    if not bush:
        _bar(
            canvas,
            (x, foot),
            (x + random.normal(0, 0.05) * height, crown),
            height * random.uniform(0.03, 0.08),
            bark,
        )
        for _ in range(3):
            _bar(
                canvas,
                (x, foot - height * random.uniform(0.3, 0.6)),
                (x + random.normal(0, 0.3) * height, crown - height * 0.1),
                height * 0.02,
                _times(bark, 0.8),
            )
    points = np.stack([random.normal(x, wide * 0.5, 14), random.normal(crown, height * 0.13, 14)], -1)
    radii = random.uniform(0.1, 0.26, 14) * height
    low, high = points - radii[:, None], points + radii[:, None]
    x0, y0, x1, y1 = _region(canvas, np.concatenate([low, high]))
    if x1 - x0 < 3 or y1 - y0 < 3:
        return
    mask = np.zeros((y1 - y0, x1 - x0), np.uint8)
    for point, radius in zip(points.tolist(), radii.tolist(), strict=True):
        cv2.circle(mask, (int(point[0]) - x0, int(point[1]) - y0), max(1, int(radius)), 255.0, -1)
    zoom = random.uniform(0.6, 2.2) * 256 / size
    leaves = _cut("leaves", x1 - x0, y1 - y0, zoom, random)
    # Leaves at the rim are ragged: the mask's soft edge, cut where the leaves are dark.
    soft = cv2.blur(mask, (max(3, int(0.09 * height)) | 1,) * 2)
    ragged = cv2.LUT(
        cv2.addWeighted(soft, 1.0, leaves, 0.8, -110),
        np.clip((np.arange(256) - 85) * 8, 0, 255).astype(np.uint8),
    )
    fall = np.linspace(1.25, 0.55, y1 - y0)[:, None].repeat(x1 - x0, 1)
    _over(
        canvas[y0:y1, x0:x1],
        _paint(cv2.multiply(leaves, fall, dtype=cv2.CV_8U), _shades(leaf, random, 0.75)),
        ragged,
    )


def _person(
    canvas: Layer, x: float, foot: float, height: float, random: np.random.Generator, light: float = 1.0
) -> None:
    """A rough figure in skin and cloth, roughly upright: a distractor, not a person to find."""
    lots = random.normal(0, 1, 12).tolist()
    kind = int(random.integers(len(SKIN)))
    skin, shirt, legs = (
        _times(SKIN[kind], light),
        _times(_tone("cloth", random), light),
        _times(_tone("cloth", random), light),
    )
    hip, neck = (
        (x + 0.02 * lots[0] * height, foot - 0.48 * height),
        (x + 0.04 * lots[1] * height, foot - 0.83 * height),
    )
    for i in (0, 1):
        side = (-1 if i else 1) * 0.045 * height
        knee = (hip[0] + side + 0.05 * lots[2 + i] * height, foot - 0.25 * height)
        _bar(canvas, (hip[0] + side, hip[1]), knee, 0.085 * height, legs)
        _bar(
            canvas,
            knee,
            (knee[0] + 0.05 * lots[4 + i] * height, foot),
            0.06 * height,
            skin if lots[6] > 0.6 else legs,
        )
    _bar(canvas, hip, (neck[0], neck[1] + 0.07 * height), 0.17 * height, shirt)
    for i in (0, 1):
        side = (-1 if i else 1) * 0.1 * height
        elbow = (neck[0] + 1.3 * side + 0.05 * lots[7 + i] * height, neck[1] + 0.2 * height)
        _bar(canvas, (neck[0] + side, neck[1] + 0.05 * height), elbow, 0.055 * height, shirt)
        _bar(
            canvas,
            elbow,
            (
                elbow[0] + 0.09 * lots[9 + i] * height,
                elbow[1] + 0.13 * height * (1 if lots[11] < 0.8 else -1),
            ),
            0.045 * height,
            skin if lots[6] > 0 else shirt,
        )
    head = (int(neck[0]), int(neck[1] - 0.07 * height))
    radius = max(1, int(0.058 * height))
    cv2.circle(canvas, head, radius, _times(_tone("dark", random), 1.5), -1, cv2.LINE_AA)
    if lots[6] > -0.8:
        cv2.circle(
            canvas, (head[0], head[1] + radius // 3), max(1, int(0.85 * radius)), skin, -1, cv2.LINE_AA
        )


def _board(canvas: Layer, corners: NDArray[np.float64], random: np.random.Generator) -> None:
    """A sign or an advertisement: a plain field with strokes like letters. `corners` from top left,
    clockwise.
    """
    field_, ink = (
        _tone(str(random.choice(["bright", "wall", "cloth"])), random),
        _tone(str(random.choice(["dark", "snow", "bright"])), random),
    )
    _polygon(canvas, corners, field_)
    x = 0.08
    while x < 0.9:
        wide = random.uniform(0.02, 0.07)
        top, bottom = random.uniform(0.2, 0.35), random.uniform(0.6, 0.8)
        quad = [
            corners[0] + (corners[1] - corners[0]) * u + (corners[3] - corners[0]) * v
            for u, v in ((x, top), (x + wide, top), (x + wide, bottom), (x, bottom))
        ]
        if random.random() < 0.8:
            _polygon(canvas, np.array(quad), ink)
        x += wide + random.uniform(0.01, 0.05) + 0.1 * (random.random() < 0.12)


# --- the families


def _outdoor(canvas: Layer, random: np.random.Generator) -> None:
    size = len(canvas)
    view = _view(size, random, -0.15, 0.95)
    _sky(canvas, view.horizon, random)
    for far in range(int(random.integers(0, 4))):
        haze = 0.75 - 0.2 * far
        leaf, air = (
            _tone(str(random.choice(["leaf", "leaf", "grey", "earth"])), random),
            _tone("cloud", random),
        )
        mixed = (
            leaf[0] * (1 - haze) + air[0] * haze,
            leaf[1] * (1 - haze) + air[1] * haze,
            leaf[2] * (1 - haze) + air[2] * haze,
        )
        ridge = _skyline(
            size,
            view.horizon - size * (0.1 - 0.03 * far),
            size * random.uniform(0.02, 0.12),
            random,
            random.uniform(0, 0.12),
        )
        _textured(
            canvas,
            ridge,
            str(random.choice(["rock", "leaves", "smooth"])),
            _shades(mixed, random, 0.35),
            random.uniform(1, 2) * 256 / size,
            random,
        )
    if random.random() < 0.55:
        wood = _skyline(
            size,
            view.horizon - size * random.uniform(0.02, 0.35),
            size * random.uniform(0.02, 0.08),
            random,
            0.25,
        )
        _textured(
            canvas,
            wood,
            "leaves",
            _shades(_tone("leaf", random), random, 0.8),
            random.uniform(0.8, 2) * 256 / size,
            random,
        )
    if random.random() < 0.35:
        _band(canvas, view.horizon + 0.03 * size, random)
    kind = str(random.choice(["grass", "grass", "grass", "earth", "earth", "grey", "snow", "water", "leaf"]))
    name = {
        "grass": "blades",
        "earth": "rock",
        "grey": str(random.choice(["rock", "cells", "grain"])),
        "snow": "smooth",
        "water": "water",
        "leaf": "leaves",
    }[kind]
    ramp = _shades(_tone(kind, random), random, {"snow": 0.12, "water": 0.3}.get(kind, 0.5))
    _ground(canvas, view, name, ramp, random.uniform(70, 260), random)
    if random.random() < 0.4:
        slope, wide = random.uniform(-1.5, 1.5), random.uniform(0.4, 2)
        _stripe(
            canvas,
            view,
            (random.uniform(-3, 3), 0.6),
            (slope * 20, 60),
            wide,
            _tone(str(random.choice(["earth", "grey"])), random),
        )
    for away in sorted(random.uniform(4, 30, int(random.integers(0, 7))).tolist(), reverse=True):
        x, y = view.at(np.array([[random.uniform(-0.5, 0.5) * away, 0, away]]))[0].tolist()
        _tree(canvas, x, y, view.focal * random.uniform(1.2, 6) / away, random, bush=random.random() < 0.4)
    if random.random() < 0.3:
        _fence(canvas, view, random)


def _fence(canvas: Layer, view: _View, random: np.random.Generator) -> None:
    away, high, colour = (
        random.uniform(4, 14),
        random.uniform(0.8, 2.5),
        _tone(str(random.choice(["wood", "metal", "wall"])), random),
    )
    step, lean = random.uniform(0.15, 2.0), random.uniform(-0.4, 0.4)
    half = 0.7 * away
    xs = np.arange(-half, half, max(step, half / 20))
    feet = np.stack([xs, np.zeros(len(xs)), away + lean * xs], -1)
    low, top = view.at(feet), view.at(feet + [0, high, 0])
    thick = max(1.0, view.focal * random.uniform(0.03, 0.09) / away)
    for a, b in zip(low.tolist(), top.tolist(), strict=True):
        _bar(canvas, a, b, thick, colour)
    for share in random.uniform(0.2, 1, int(random.integers(1, 4))).tolist():
        a, b = (low + (top - low) * share)[[0, -1]].tolist()
        _bar(canvas, a, b, thick, _times(colour, 0.9))


def _indoor(canvas: Layer, random: np.random.Generator) -> None:
    size = len(canvas)
    view = _view(size, random, 0.1, 0.6)
    wall, away = _tone("wall", random), random.uniform(2.5, 9)
    material, scale = (
        str(random.choice(["smooth", "smooth", "grain", "bricks", "blocks", "boards", "tiles", "bark"])),
        random.uniform(0.4, 1.6) * 256 / size,
    )
    canvas[:] = _paint(
        _cut(material, size, size, scale, random), _shades(wall, random, random.choice([0.08, 0.15, 0.35]))
    )
    foot = float(view.at(np.array([[0, 0, away]]))[0, 1])
    corner = random.uniform(-0.2, 1.2) * size
    if random.random() < 0.5:  # a second wall, in other light
        ceiling, far = -0.4 * size, 3 * size * random.choice([-1, 1])
        side = np.array(
            [
                [corner, ceiling],
                [corner, foot],
                [corner + far, foot + 0.35 * abs(far)],
                [corner + far, ceiling],
            ]
        )
        _textured(
            canvas,
            side,
            material,
            _shades(_times(wall, random.uniform(0.5, 0.9)), random, 0.15),
            scale,
            random,
        )
    _wall_things(canvas, view, away, random)
    kind = str(random.choice(["wood", "grey", "court", "wall", "earth"]))
    name = "boards" if kind == "wood" else str(random.choice(["tiles", "tiles", "grain", "smooth", "cells"]))
    part = canvas.copy()
    _ground(
        part,
        view,
        name,
        _shades(_tone(kind, random), random, random.choice([0.15, 0.35])),
        random.uniform(60, 200),
        random,
    )
    top = int(np.clip(np.ceil(foot), 0, size))
    canvas[top:] = part[top:]
    if random.random() < 0.6:
        _bar(
            canvas,
            (-5, foot),
            (size + 5, foot),
            random.uniform(0.01, 0.04) * size,
            _tone(str(random.choice(["wall", "dark", "wood"])), random),
        )
    for z in sorted(random.uniform(1.5, away, int(random.integers(0, 5))).tolist(), reverse=True):
        sides = random.uniform(0.3, 1.8), random.uniform(0.3, 1.3), random.uniform(0.3, 0.9)
        place = (random.uniform(-0.6, 0.6) * z, z, 0.0 if random.random() < 0.7 else random.uniform(0.3, 0.7))
        material_ = "boards" if random.random() < 0.3 else None
        _box(
            canvas,
            view,
            place,
            sides,
            random.uniform(0, np.pi),
            _tone(str(random.choice(["wood", "cloth", "wall", "grey"])), random),
            random,
            material_,
        )
        if place[2]:  # a table: its legs
            for dx in (-0.4, 0.4):
                a, b = view.at(
                    np.array([[place[0] + dx * sides[0], 0, z], [place[0] + dx * sides[0], place[2], z]])
                ).tolist()
                _bar(canvas, a, b, max(1.0, 0.05 * view.focal / z), _tone("metal", random))


def _wall_things(canvas: Layer, view: _View, away: float, random: np.random.Generator) -> None:
    """Doors, windows, images, shelves and curtains on the wall."""
    size = len(canvas)
    for _ in range(int(random.integers(1, 6))):
        kind = random.random()
        x, y = random.uniform(-0.5, 0.5) * size * away / view.focal, random.uniform(0.8, 1.6)
        w, h = random.uniform(0.3, 1.6), random.uniform(0.3, 1.3)
        if kind < 0.25:
            y, w, h = 0.0, random.uniform(0.7, 1.0), 2.0
        quad = view.at(np.array([[x, y + h, away], [x + w, y + h, away], [x + w, y, away], [x, y, away]]))
        thick = max(1.0, 0.06 * view.focal / away)
        frame = _tone(str(random.choice(["wood", "wall", "dark", "snow"])), random)
        if kind < 0.25:
            _textured(
                canvas,
                quad,
                "bark",
                _shades(_tone(str(random.choice(["wood", "wall", "dark"])), random), random, 0.15),
                256 / size,
                random,
            )
        elif kind < 0.5:
            _textured(
                canvas,
                quad,
                str(random.choice(["cloud", "leaves", "smooth"])),
                _shades(_tone(str(random.choice(["sky", "snow", "leaf", "dark"])), random), random, 0.4),
                256 / size,
                random,
            )
            middle = (quad[0] + quad[1]) / 2, (quad[2] + quad[3]) / 2
            _bar(canvas, middle[0].tolist(), middle[1].tolist(), 0.6 * thick, frame)
        elif kind < 0.75:
            _textured(
                canvas,
                quad,
                str(random.choice(["wares", "clutter"])),
                None,
                random.uniform(0.5, 1.6) * 256 / size,
                random,
            )
        elif kind < 0.9:
            _board(canvas, quad, random)
        else:
            _textured(
                canvas,
                quad * [1, 2.2] - [0, 0.8 * size],
                "bark",
                _shades(_tone("cloth", random), random, 0.5),
                0.7 * 256 / size,
                random,
            )
        cv2.polylines(canvas, [_fixed(quad)], True, frame, max(1, round(thick)), cv2.LINE_AA, SHIFT)


def _sports(canvas: Layer, random: np.random.Generator) -> None:
    size = len(canvas)
    hall = random.random() < 0.45
    view = _view(size, random, -0.6, 0.75)
    back = random.uniform(6, 40)
    light = random.uniform(0.25, 1.0) if hall else random.uniform(0.7, 1.1)
    behind = random.random()
    if behind < 0.35:
        canvas[:] = cv2.convertScaleAbs(
            _cut("crowd", size, size, random.uniform(0.5, 3) * 256 / size, random),
            alpha=light * random.uniform(0.5, 1.1),
        )
    elif behind < 0.55 and not hall:
        canvas[:] = _paint(
            _cut("leaves", size, size, random.uniform(0.8, 2.5) * 256 / size, random),
            _shades(_tone("leaf", random), random, 0.8),
        )
    elif behind < 0.7 and not hall:
        _sky(canvas, view.horizon, random)
    else:
        name = str(random.choice(["smooth", "boards", "blocks", "bark", "grain"]))
        wall = _times(_tone(str(random.choice(["wall", "court", "dark", "grey"])), random), light)
        canvas[:] = _paint(
            _cut(name, size, size, random.uniform(0.4, 2) * 256 / size, random), _shades(wall, random, 0.2)
        )
    foot = float(view.at(np.array([[0, 0, back]]))[0, 1])
    if random.random() < 0.4:
        _band(canvas, foot, random)
    if hall:
        _beams(canvas, random)
    for _ in range(int(random.integers(0, 3))):
        level = foot - random.uniform(0, 0.5) * size
        tilt, thick = random.normal(0, 0.03) * size, random.uniform(0.02, 0.12) * size
        band = np.array(
            [[-5, level], [size + 5, level + tilt], [size + 5, level + tilt + thick], [-5, level + thick]]
        )
        _textured(
            canvas,
            band,
            "smooth",
            _shades(_times(_tone("court", random), light), random, 0.15),
            256 / size,
            random,
        )
    if random.random() < 0.6:  # boards around the field
        high, x = random.uniform(0.6, 1.3), random.uniform(-1, 0) * size
        while x < size:
            wide = random.uniform(0.4, 1.2) * size
            top = foot - view.focal * high / back
            _board(canvas, np.array([[x, top], [x + wide, top], [x + wide, foot], [x, foot]]), random)
            x += wide
    kind = str(
        random.choice(
            ["court", "wood", "court", "bright"]
            if hall
            else ["grass", "grass", "grass", "clay", "earth", "court", "grey", "snow"]
        )
    )
    name = {
        "grass": str(random.choice(["blades", "grain", "rock"])),
        "wood": "boards",
        "clay": "grain",
        "earth": "rock",
    }.get(kind, "smooth")
    ramp = _shades(
        _times(_tone(kind, random), light),
        random,
        random.uniform(0.06, 0.2) if name == "smooth" else random.uniform(0.2, 0.5),
    )
    floor = canvas.copy()
    _ground(floor, view, name, ramp, random.uniform(70, 260), random)
    turn = random.uniform(-0.8, 0.8)
    along, across = np.array([np.sin(turn), np.cos(turn)]), np.array([np.cos(turn), -np.sin(turn)])
    if kind == "grass" and random.random() < 0.5:  # mown in stripes
        mown = floor.copy()
        wide = random.uniform(1.5, 5)
        for i in range(-6, 7):
            _stripe(
                mown,
                view,
                across * i * 2 * wide - along * 30,
                across * i * 2 * wide + along * 60,
                wide,
                _times(_tone("grass", random) if i == -6 else (70, 120, 50), 1.0),
            )
        floor = cv2.addWeighted(floor, 0.82, mown, 0.18, 0)
    chalk = _tone("snow", random) if random.random() < 0.75 else _tone("bright", random)
    for _ in range(int(random.integers(0, 7))):
        at = along * random.uniform(1, 12) + across * random.uniform(-4, 4)
        way = along if random.random() < 0.5 else across
        _stripe(
            floor,
            view,
            at - way * random.uniform(0, 30),
            at + way * random.uniform(2, 30),
            random.uniform(0.04, 0.14),
            chalk,
        )
        if random.random() < 0.12:
            chalk = _tone("bright", random)
    if random.random() < 0.25:
        arc = np.linspace(0, 2 * np.pi, 32)
        ring = np.stack(
            [random.uniform(-3, 3) + 2 * np.cos(arc), np.zeros(32), random.uniform(4, 10) + 2 * np.sin(arc)],
            -1,
        )
        cv2.polylines(floor, [_fixed(view.at(ring))], True, chalk, max(1, size // 90), cv2.LINE_AA, SHIFT)
    top = int(np.clip(np.ceil(foot), 0, size))
    canvas[top:] = floor[top:]
    if random.random() < 0.3:
        _net(canvas, view, random)


def _beams(canvas: Layer, random: np.random.Generator) -> None:
    """A hall's frame: girders, lamps, wall bars."""
    size, colour = len(canvas), _tone(str(random.choice(["metal", "dark", "wood", "bright"])), random)
    if random.random() < 0.3:
        step = random.uniform(0.025, 0.06) * size
        for y in np.arange(random.uniform(-0.2, 0.3) * size, random.uniform(0.5, 0.9) * size, step).tolist():
            _bar(canvas, (0, y), (size, y), 0.3 * step, colour)
    for _ in range(int(random.integers(0, 5))):
        x, lean = random.uniform(0, size), random.normal(0, 0.25) * size
        _bar(
            canvas,
            (x, -5),
            (x + lean, random.uniform(0.3, 1) * size),
            random.uniform(0.008, 0.04) * size,
            colour,
        )
    for _ in range(int(random.integers(0, 6)) if random.random() < 0.4 else 0):
        x, y = random.uniform(0, size, 2).tolist()
        _bar(canvas, (x, y * 0.3), (x + 0.05 * size, y * 0.3), 0.015 * size, (255, 252, 240))


def _net(canvas: Layer, view: _View, random: np.random.Generator) -> None:
    """Of a goal or between two posts, or the mesh of a cage."""
    away = random.uniform(3, 12)
    x, wide, low, high = (
        random.uniform(-2, 1),
        random.uniform(2, 8),
        random.choice([0.0, 0.0, 0.8]),
        random.uniform(1, 2.6),
    )
    quad = view.at(
        np.array(
            [
                [x, high, away],
                [x + wide, high, away * random.uniform(0.8, 1.2)],
                [x + wide, low, away],
                [x, low, away],
            ]
        )
    )
    colour = _tone(str(random.choice(["snow", "dark", "metal"])), random)
    count = int(random.integers(6, 16))
    for t in np.linspace(0, 1, count).tolist():
        _bar(
            canvas,
            (quad[0] + (quad[1] - quad[0]) * t).tolist(),
            (quad[3] + (quad[2] - quad[3]) * t).tolist(),
            1,
            colour,
        )
        _bar(
            canvas,
            (quad[0] + (quad[3] - quad[0]) * t).tolist(),
            (quad[1] + (quad[2] - quad[1]) * t).tolist(),
            1,
            colour,
        )
    post = _tone(str(random.choice(["snow", "metal", "bright"])), random)
    for a, b in ((0, 3), (1, 2), (0, 1)):
        _bar(canvas, quad[a].tolist(), quad[b].tolist(), max(1.0, 0.09 * view.focal / away), post)


def _urban(canvas: Layer, random: np.random.Generator) -> None:
    size = len(canvas)
    view = _view(size, random, 0.2, 0.75)
    _sky(canvas, view.horizon, random)
    # Houses along a street, from far to near: a front in the distance, or the sides of the street.
    for away in sorted(random.uniform(6, 40, int(random.integers(2, 5))).tolist(), reverse=True):
        _house(canvas, view, away, random)
    road = _tone("grey", random)
    _ground(
        canvas,
        view,
        str(random.choice(["grain", "rock", "cells", "tiles", "bricks"])),
        _shades(_times(road, 0.8), random, 0.3),
        random.uniform(50, 180),
        random,
    )
    kerb = random.uniform(-4, 4)
    if random.random() < 0.6:
        _stripe(
            canvas,
            view,
            (kerb, 0.6),
            (kerb + random.normal(0, 3), 60),
            random.uniform(0.1, 0.4),
            _times(road, 1.3),
        )
    for i in range(int(random.integers(0, 8))):
        _stripe(canvas, view, (kerb + 1.5, 1 + 3 * i), (kerb + 1.5, 2.2 + 3 * i), 0.15, _tone("snow", random))
    if random.random() < 0.25:  # a zebra crossing
        z = random.uniform(2, 8)
        for i in range(-5, 6):
            _stripe(canvas, view, (i * 0.9, z), (i * 0.9, z + 2.5), 0.45, (225, 225, 220))
    for away in sorted(random.uniform(4, 20, int(random.integers(0, 5))).tolist(), reverse=True):
        place = random.uniform(-0.45, 0.45) * away
        if random.random() < 0.6:
            _car(canvas, view, place, away, random)
        else:
            x, y = view.at(np.array([[place, 0, away]]))[0].tolist()
            _tree(canvas, x, y, view.focal * random.uniform(2, 5) / away, random)
    if random.random() < 0.4:
        away, x = random.uniform(3, 8), random.uniform(-1.5, 1.5)
        quad = view.at(np.array([[x, 2.6, away], [x + 0.7, 2.6, away], [x + 0.7, 2.0, away], [x, 2.0, away]]))
        a, b = view.at(np.array([[x + 0.35, 0, away], [x + 0.35, 2.6, away]])).tolist()
        _bar(canvas, a, b, 0.08 * view.focal / away, _tone("metal", random))
        _board(canvas, quad, random)


def _house(canvas: Layer, view: _View, away: float, random: np.random.Generator) -> None:
    """One front with windows, facing the camera or along the street."""
    wall, pane = (
        _tone(str(random.choice(["wall", "wall", "clay", "grey", "earth"])), random),
        _tone(str(random.choice(["dark", "dark", "sky", "grey"])), random),
    )
    columns, rows = int(random.integers(2, 7)), int(random.integers(2, 6))
    cell_w, cell_h = int(random.integers(16, 30)), int(random.integers(18, 32))
    front = _paint(
        _cut(
            str(random.choice(["smooth", "grain", "bricks", "blocks"])),
            columns * cell_w,
            rows * cell_h,
            random.uniform(1, 2),
            random,
        ),
        _shades(wall, random, 0.2),
    )
    w, h, top = random.uniform(0.3, 0.7), random.uniform(0.4, 0.75), random.uniform(0.1, 0.25)
    for r in range(rows):
        for c in range(columns):
            x0, y0 = int((c + (1 - w) / 2) * cell_w), int((r + top) * cell_h)
            x1, y1 = x0 + int(w * cell_w), y0 + int(h * cell_h)
            cv2.rectangle(front, (x0 - 1, y0 - 1), (x1 + 1, y1 + 1), _times(wall, 1.25), -1)
            cv2.rectangle(front, (x0, y0), (x1, y1), _times(pane, random.uniform(0.6, 1.5)), -1)
            cv2.line(front, ((x0 + x1) // 2, y0), ((x0 + x1) // 2, y1), _times(wall, 1.2), 1)
    x, wide, high = random.uniform(-0.6, 0.3) * away, random.uniform(4, 14), random.uniform(3, 14)
    if random.random() < 0.5:
        along = np.array([[x, away], [x + wide, away]])
    else:
        side = random.choice([-1, 1]) * random.uniform(1.5, 4)
        along = np.array([[side, max(1.5, away * 0.3)], [side, away * 1.5]])
    low = np.stack([along[:, 0], np.zeros(2), along[:, 1]], -1)
    at = view.at(np.concatenate([low + [0, high, 0], low[::-1]]))
    height, width = front.shape[:2]
    place = cv2.getPerspectiveTransform(
        np.array([[0, 0], [width, 0], [width, height], [0, height]], np.float32), at.astype(np.float32)
    )
    x0, y0, x1, y1 = _region(canvas, at)
    if x1 - x0 < 2 or y1 - y0 < 2:
        return
    there = np.array([[1, 0, -x0], [0, 1, -y0], [0, 0, 1.0]]) @ place
    layer = cv2.warpPerspective(
        front, there, (x1 - x0, y1 - y0), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
    )
    mask = np.zeros((y1 - y0, x1 - x0), np.uint8)
    _polygon(mask, at - [x0, y0], 255.0)
    _over(canvas[y0:y1, x0:x1], layer, mask)


def _car(canvas: Layer, view: _View, x: float, away: float, random: np.random.Generator) -> None:
    colour, turn = (
        _tone(str(random.choice(["cloth", "grey", "bright"])), random),
        random.choice([0, np.pi / 2]) + random.normal(0, 0.2),
    )
    _box(canvas, view, (x, away, 0.25), (4.2, 0.65, 1.7), turn, colour, random)
    _box(canvas, view, (x, away, 0.9), (2.2, 0.5, 1.5), turn, _times(_tone("dark", random), 1.5), random)
    c, s = np.cos(turn), np.sin(turn)
    for dx in (-1.3, 1.3):
        centre = view.at(np.array([[x + dx * c - 0.85 * abs(s), 0.3, away + dx * s - 0.85 * abs(c)]]))[0]
        cv2.circle(
            canvas,
            centre.astype(int).clip(-4000, 4000).tolist(),
            max(1, int(0.32 * view.focal / away)),
            (22, 22, 24),
            -1,
            cv2.LINE_AA,
        )


def _abstract(canvas: Layer, random: np.random.Generator) -> None:
    size, kind = len(canvas), random.random()
    scale = random.uniform(0.4, 2) * 256 / size
    if kind < 0.3:
        name = str(random.choice(["clutter", "clutter", "wares", "crowd"]))
        layer = _cut(name, size, size, scale, random)
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
        tones = [_tone(str(t), random) for t in random.choice(list(TONES), int(random.integers(2, 5)))]
        canvas[:] = _paint(_cut(name, size, size, scale, random), _ramp(*tones))
    for _ in range(int(random.integers(0, 9))):
        x, y = random.uniform(-0.1, 1.1, 2) * size
        w, h = random.uniform(0.03, 0.5, 2) * size
        corners = cv2.boxPoints(((x, y), (w, h), random.choice([0.0, random.uniform(0, 180)])))
        if random.random() < 0.5:
            _polygon(canvas, corners, _tone("cloth", random))
        else:
            name = str(random.choice(["smooth", "rock", "bark", "bricks", "boards", "leaves"]))
            _textured(
                canvas,
                corners,
                name,
                _shades(_tone("cloth", random), random),
                random.uniform(0.4, 2) * 256 / size,
                random,
            )


FAMILIES: tuple[tuple[float, Callable[[Layer, np.random.Generator], None]], ...] = (
    (0.36, _sports),
    (0.60, _outdoor),
    (0.77, _indoor),
    (0.92, _urban),
    (1.0, _abstract),
)


# --- what is in every family


def _band(canvas: Layer, level: float, random: np.random.Generator) -> None:
    """A ragged row of objects, spectators or bushes in the distance, with its foot at row `level`."""
    size = len(canvas)
    high, name = (
        random.uniform(0.05, 0.4) * size,
        str(random.choice(["clutter", "clutter", "clutter", "crowd", "wares", "leaves"])),
    )
    steps = int(random.integers(3, 18))
    tops = np.repeat(level - high * random.uniform(0.3, 1, steps), 2)
    xs = np.repeat(np.linspace(-2, size + 2, steps + 1), 2)[1:-1]
    outline = np.concatenate([np.stack([xs, tops], -1), [[size + 2, level], [-2, level]]])
    ramp = _shades(_tone("leaf", random), random, 0.8) if name == "leaves" else None
    _textured(canvas, outline, name, ramp, random.uniform(0.6, 2.5) * 256 / size, random)


def _distractors(canvas: Layer, random: np.random.Generator) -> None:
    """A person farther away or partly outside the frame, poles, and rounded bars in the colours of skin and
    cloth.
    """
    size = len(canvas)
    if random.random() < 0.35:
        level, far = random.uniform(0.55, 1.05) * size, random.uniform(0.15, 0.5) * size
        for _ in range(int(random.integers(1, 5))):
            _person(
                canvas,
                random.uniform(0, size),
                level + random.normal(0, 0.05) * size,
                far * random.uniform(0.8, 1.2),
                random,
                random.uniform(0.5, 1.1),
            )
    if random.random() < 0.2:
        _person(
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
                _tone(str(random.choice(["metal", "wood", "snow", "dark", "bright"])), random),
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
            colour = (
                SKIN[int(random.integers(len(SKIN)))] if random.random() < 0.5 else _tone("cloth", random)
            )
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
        _bar(
            canvas,
            (start[0] + move[0], start[1] + move[1]),
            (end[0] + move[0], end[1] + move[1]),
            width * share,
            _times(colour, gain),
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
        mono = _cut("cloud", size, size, random.uniform(0.3, 1.2) * 256 / size, random)
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
