"""Textures for drawn backgrounds: periodic tiles made once from a fixed seed, cut and coloured at random; and
the colours and brushes that they are drawn with.
"""

from __future__ import annotations

import colorsys
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.uint8]
Layer = NDArray[Any]  # an image or a mask, uint8, which OpenCV's types do not say; or points
Colour = tuple[float, float, float]
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


def tone(name: str, random: np.random.Generator) -> Colour:
    """A random colour of a family."""
    h0, h1, s0, s1, v0, v1 = TONES[name]
    h, s, v = random.random(3).tolist()
    r, g, b = colorsys.hsv_to_rgb((h0 + h * (h1 - h0)) / 360 % 1, s0 + s * (s1 - s0), v0 + v * (v1 - v0))
    return 255 * r, 255 * g, 255 * b


def times(colour: Colour, gain: float) -> Colour:
    r, g, b = (min(255.0, c * gain) for c in colour)
    return r, g, b


def ramp_of(*colours: Colour) -> Layer:
    """(1, 256, 3): from the first colour for black to the last for white."""
    at = np.linspace(0, 255, len(colours))
    return (
        np.stack([np.interp(np.arange(256), at, [c[i] for c in colours]) for i in range(3)], -1)[None]
        .clip(0, 255)
        .astype(np.uint8)
    )


def shades(colour: Colour, random: np.random.Generator, contrast: float = 0.45) -> Layer:
    """A ramp around a colour: darker and colder below, brighter and warmer above, or the other way."""
    tilt = random.uniform(-0.12, 0.12)
    low, high = 1 - contrast, 1 + contrast
    dark, light = (
        (colour[0] * low * (1 - tilt), colour[1] * low, colour[2] * low * (1 + tilt)),
        (colour[0] * high * (1 + tilt), colour[1] * high, colour[2] * high * (1 - tilt)),
    )
    return ramp_of(dark, colour, light)


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
def texture(name: str) -> Layer:
    """(2 TILE, 2 TILE) or (2 TILE, 2 TILE, 3): the tile four times, so that any window up to a tile's size is
    a plain cut.
    """
    random = np.random.default_rng((19, *name.encode()))
    tile = MAKERS[name](random)
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
            colour = tone(str(random.choice(["wall", "cloth", "wood", "grey", "dark", "earth"])), random)
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
                person(big, u, v, 78 * random.uniform(0.85, 1.15), random, light)

    return _around(np.zeros((TILE, TILE, 3), np.uint8), draw)


def _wares(random: np.random.Generator) -> Layer:
    """Shelves of boxes and books."""
    tile = np.full((TILE, TILE, 3), 40, np.uint8)
    for y in range(0, TILE, 64):
        x = 0
        while x < TILE:
            wide, high = int(random.integers(5, 26)), int(random.integers(28, 58))
            colour = tone(str(random.choice(["cloth", "wall", "wood"])), random)
            cv2.rectangle(tile, (x, y + 60 - high), (x + wide - 1, y + 59), times(colour, 0.9), -1)
            cv2.rectangle(
                tile,
                (x, y + 60 - high // 2),
                (x + wide - 2, y + 60 - high // 2 + 5),
                tone("wall", random),
                -1,
            )
            x += wide + int(random.random() < 0.1) * 12
        tile[y + 60 : y + 64] = times(tone("wood", random), 0.8)
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


MAKERS: dict[str, Callable[[np.random.Generator], Layer]] = {
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
    "tiles": lambda r: _bricks(r, 8, 8, 0.0, 3, 12),
    "boards": _boards,
    "clutter": _clutter,
    "crowd": _crowd,
    "wares": _wares,
}


def cut(name: str, width: int, height: int, scale: float, random: np.random.Generator) -> Layer:
    """(height, width[, 3]): a window of a texture, `scale` texels to a pixel, mirrored at random."""
    w, h = (int(min(max(4, round(s * scale)), TILE)) for s in (width, height))
    x0, y0, flip = random.random(3).tolist()
    x0, y0 = int(x0 * TILE), int(y0 * TILE)
    window = texture(name)[y0 : y0 + h, x0 : x0 + w]
    if flip < 0.5:
        window = window[:, ::-1]
    return cv2.resize(
        window, (width, height), interpolation=cv2.INTER_AREA if scale > 1.4 else cv2.INTER_LINEAR
    )


def paint(mono: Layer, ramp: Layer) -> Layer:
    """(H, W, 3) from (H, W) by the colours of `ramp`."""
    return cv2.LUT(cv2.merge([mono, mono, mono]), ramp)


def fixed(points: Layer) -> NDArray[np.int32]:
    return np.round(np.clip(points, -4000, 4000) * (1 << SHIFT)).astype(np.int32)


def bar(canvas: Layer, start: Sequence[float], end: Sequence[float], width: float, colour: Colour) -> None:
    a, b = fixed(np.array([start, end])).tolist()
    cv2.line(canvas, a, b, colour, max(1, round(width)), cv2.LINE_AA, SHIFT)


def person(
    canvas: Layer, x: float, foot: float, height: float, random: np.random.Generator, light: float = 1.0
) -> None:
    """A rough figure in skin and cloth, roughly upright: a distractor, not a person to find."""
    lots = random.normal(0, 1, 12).tolist()
    kind = int(random.integers(len(SKIN)))
    skin, shirt, legs = (
        times(SKIN[kind], light),
        times(tone("cloth", random), light),
        times(tone("cloth", random), light),
    )
    hip, neck = (
        (x + 0.02 * lots[0] * height, foot - 0.48 * height),
        (x + 0.04 * lots[1] * height, foot - 0.83 * height),
    )
    for i in (0, 1):
        side = (-1 if i else 1) * 0.045 * height
        knee = (hip[0] + side + 0.05 * lots[2 + i] * height, foot - 0.25 * height)
        bar(canvas, (hip[0] + side, hip[1]), knee, 0.085 * height, legs)
        bar(
            canvas,
            knee,
            (knee[0] + 0.05 * lots[4 + i] * height, foot),
            0.06 * height,
            skin if lots[6] > 0.6 else legs,
        )
    bar(canvas, hip, (neck[0], neck[1] + 0.07 * height), 0.17 * height, shirt)
    for i in (0, 1):
        side = (-1 if i else 1) * 0.1 * height
        elbow = (neck[0] + 1.3 * side + 0.05 * lots[7 + i] * height, neck[1] + 0.2 * height)
        bar(canvas, (neck[0] + side, neck[1] + 0.05 * height), elbow, 0.055 * height, shirt)
        bar(
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
    cv2.circle(canvas, head, radius, times(tone("dark", random), 1.5), -1, cv2.LINE_AA)
    if lots[6] > -0.8:
        cv2.circle(
            canvas, (head[0], head[1] + radius // 3), max(1, int(0.85 * radius)), skin, -1, cv2.LINE_AA
        )
