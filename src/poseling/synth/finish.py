"""The last steps of a synthetic image: the person over the background, and the effects of a camera. No pixel
moves.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

SAMPLING = (
    cv2.IMWRITE_JPEG_SAMPLING_FACTOR_420,
    cv2.IMWRITE_JPEG_SAMPLING_FACTOR_420,
    cv2.IMWRITE_JPEG_SAMPLING_FACTOR_422,
    cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444,
)
LUMA = np.array([0.299, 0.587, 0.114], np.float32)
GRAIN = 512  # pixels: the side of the stored noise


def blend(
    render: NDArray[np.float32],
    alpha: NDArray[np.float32],
    background: NDArray[np.generic],
    random: np.random.Generator,
    shadows: Sequence[tuple[float, float, float]] = (),
) -> NDArray[np.float32]:
    """(H, W, 3) in 0..255: `render` (H, W, 3) over `background` (H, W, 3), both 0..255, with `alpha` (H, W)
    in 0..1.

    The render's colours are not multiplied by alpha; where alpha is 0 they may be anything. At random the
    edge is softened, the person takes on some of the background's colour, and light from behind wraps around
    the edge. Each of `shadows`, (x, y, radius) in pixels, darkens the background in a soft flat ellipse, as
    under a foot.
    """
    edge, match, wrap, dark, squash = random.random(5).tolist()
    height, width = alpha.shape
    behind = np.array(background, np.float32)
    _shade(behind, shadows, strength=0.15 + 0.55 * dark, squash=0.2 + 0.25 * squash)
    cover = _threefold(alpha)
    seen = cv2.multiply(render, cover)
    inside = float(alpha.sum())
    if inside >= 1:
        # Half of the people keep their rendered colours; the others move up to a third of the way to the
        # background's mean colour.
        person, place = np.array(cv2.sumElems(seen)[:3]) / inside, np.array(cv2.mean(behind)[:3])
        gain = np.clip((place + 8) / (person + 8), 0.35, 2.8) ** (0.7 * max(0.0, match - 0.5))
        seen = cv2.transform(seen, np.diag(gain))
    # A lens spreads the edge: the colour next to it stays the person's, so that no dark rim appears.
    sigma = 0.35 + 0.65 * edge
    soft = _threefold(cv2.GaussianBlur(alpha, (0, 0), sigma))
    spread = cv2.divide(cv2.GaussianBlur(seen, (0, 0), sigma), np.maximum(soft, np.float32(1e-3)))
    colour = cv2.add(seen, cv2.subtract(spread, cv2.multiply(cover, spread)))
    if wrap > 0.6:
        small = (max(1, width // 8), max(1, height // 8))
        near = cv2.GaussianBlur(cv2.resize(alpha, small, interpolation=cv2.INTER_AREA), (0, 0), 0.7)
        light = cv2.resize(behind, small, interpolation=cv2.INTER_AREA) * (1 - near)[..., None]
        colour = cv2.scaleAdd(
            cv2.resize(light, (width, height), interpolation=cv2.INTER_LINEAR), wrap - 0.6, colour
        )
    return np.asarray(cv2.add(behind, cv2.multiply(soft, cv2.subtract(colour, behind))), np.float32)


def finish(image: NDArray[np.generic], random: np.random.Generator) -> NDArray[np.uint8]:
    """(H, W, 3) RGB uint8 of an image (H, W, 3) in 0..255, with the effects of a camera and a file.

    In a camera's order: motion and lens blur, vignette, exposure and white balance, downsampling, noise, tone
    curve, sharpening, JPEG, upsampling. Each is centred on the pixel, so joints do not move. Every image uses
    the same number of random draws.
    """
    lot = random.random(40).tolist()
    height, width = image.shape[:2]
    light: NDArray[Any] = np.asarray(image, np.float32)

    if lot[0] < 0.12:
        light = cv2.filter2D(
            light,
            -1,
            _streak(length=2 + 7 * lot[1] ** 2 * max(height, width) / 256, angle=np.pi * lot[2]),
            borderType=cv2.BORDER_REFLECT,
        )
    if lot[3] < 0.35:
        light = cv2.GaussianBlur(light, (0, 0), (0.3 + 1.1 * lot[4] ** 2) * max(height, width) / 256)

    # Most images of people are crops of a larger one: downsample to 38 to 100 %, and back at the end. In LSP
    # it is about a half.
    scale = 0.38 + 0.62 * lot[5] ** 1.5 if lot[6] < 0.8 else 1.0
    small = (max(8, round(width * scale)), max(8, round(height * scale)))
    if small != (width, height):
        light = cv2.resize(light, small, interpolation=cv2.INTER_AREA)

    gain = 2 ** (0.9 * lot[7] - 0.5) * np.exp((np.array(lot[8:11], np.float32) - 0.5) * 0.24)
    if lot[11] < 0.3:
        light = light * (
            gain * _vignette(small, centre=(lot[12], lot[13]), fall=0.05 + 0.3 * lot[14])[..., None]
        ).astype(np.float32)
    else:
        light = light * gain.astype(np.float32)
    saturation = 0.0 if lot[15] < 0.02 else 0.7 + 0.6 * lot[16]
    light = cv2.transform(
        light, saturation * np.eye(3, dtype=np.float32) + (1 - saturation) * LUMA[None, :].repeat(3, 0)
    )

    # Read noise is everywhere, shot noise grows with the root of the light. Demosaicing and denoising make it
    # coarse in some.
    read, shot = 3 * lot[17] ** 3, 0.5 * lot[18] ** 4
    grain = _grain(small, lot[19:21], coarse=lot[21] < 0.35)
    light = light + grain * np.sqrt(read**2 + shot**2 * np.clip(light, 0, 255))

    if lot[22] < 0.35:
        light = light + (0.2 + 0.9 * lot[23]) * (light - cv2.GaussianBlur(light, (0, 0), 0.6 + 0.7 * lot[24]))
    done: Any = cv2.LUT(
        np.clip(light + 0.5, 0, 255).astype(np.uint8),
        _tone(gamma=2 ** (lot[25] - 0.5), contrast=lot[26] - 0.5, lift=lot[27] ** 3),
    )
    if lot[28] < 0.85:
        flags = [
            cv2.IMWRITE_JPEG_QUALITY,
            30 + int(66 * lot[29] ** 0.6),
            cv2.IMWRITE_JPEG_SAMPLING_FACTOR,
            SAMPLING[int(4 * lot[30])],
        ]
        # The same order is used for encoding and decoding; BGR gives luma of the right channels.
        file = cv2.imencode(".jpg", done[..., ::-1], flags)[1]
        done = cv2.imdecode(file, cv2.IMREAD_COLOR_RGB)
    if small != (width, height):
        done = cv2.resize(
            done, (width, height), interpolation=cv2.INTER_LINEAR if lot[31] < 0.6 else cv2.INTER_CUBIC
        )
    return np.asarray(done, np.uint8)


def _threefold(values: NDArray[Any]) -> NDArray[Any]:
    """(H, W, 3) of (H, W): OpenCV multiplies equal shapes, many times faster than numpy's broadcasting."""
    return cv2.merge([values, values, values])


def _shade(
    ground: NDArray[np.float32], shadows: Sequence[tuple[float, float, float]], strength: float, squash: float
) -> None:
    """Darkens `ground` (H, W, 3) in place, in an ellipse that fades out as a Gaussian."""
    height, width = ground.shape[:2]
    for x, y, radius in shadows:
        reach = 2.5 * max(radius, 1.0)
        x0, x1 = max(0, int(x - reach)), min(width, int(x + reach) + 2)
        y0, y1 = max(0, int(y - reach * squash)), min(height, int(y + reach * squash) + 2)
        if x0 >= x1 or y0 >= y1:
            continue
        across = (np.arange(x0, x1, dtype=np.float32) - x) / max(radius, 1.0)
        down = (np.arange(y0, y1, dtype=np.float32) - y) / (max(radius, 1.0) * squash)
        ground[y0:y1, x0:x1] *= (
            1 - strength * np.exp(-(down[:, None] ** 2)) * np.exp(-(across[None, :] ** 2))
        )[..., None]


def _streak(length: float, angle: float) -> NDArray[np.float32]:
    """(n, n) with n odd and sum 1: a straight line through the centre, the same from both ends, so nothing
    moves.
    """
    half = int(np.ceil(length / 2))
    v, u = np.mgrid[-half : half + 1, -half : half + 1].astype(np.float32)
    along, away = u * np.cos(angle) + v * np.sin(angle), v * np.cos(angle) - u * np.sin(angle)
    line = np.clip(1 - np.abs(away), 0, 1) * np.clip(length / 2 + 0.5 - np.abs(along), 0, 1)
    return np.asarray(line / line.sum(), np.float32)


def _vignette(size: tuple[int, int], centre: tuple[float, float], fall: float) -> NDArray[np.float32]:
    """(H, W) of gains: 1 at `centre` (0..1 of the image), 1 - `fall` an image's side away from it."""
    width, height = size
    x = (np.arange(width, dtype=np.float32) + 0.5) / width - centre[0]
    y = (np.arange(height, dtype=np.float32) + 0.5) / height - centre[1]
    return np.asarray(1 - fall * np.minimum(x[None, :] ** 2 + y[:, None] ** 2, 1), np.float32)


def _tone(gamma: float, contrast: float, lift: float) -> NDArray[np.uint8]:
    """256 values: a gamma, some of an S-curve (or its opposite, where `contrast` is below 0), blacks raised
    by `lift` of 30.
    """
    x = np.linspace(0, 1, 256) ** gamma
    curve = x + contrast * 0.9 * (x * x * (3 - 2 * x) - x)
    return np.clip(30 * lift + (255 - 30 * lift) * curve + 0.5, 0, 255).astype(np.uint8)


def _grain(size: tuple[int, int], place: Sequence[float], coarse: bool) -> NDArray[np.float32]:
    """(H, W, 3) of noise of deviation 1: a window of the stored noise, wrapped around. Drawing new noise
    would cost more than all the rest.
    """
    width, height = size
    noise = _noise(coarse)
    x0, y0 = (int(GRAIN * p) for p in place)
    if x0 + width <= 2 * GRAIN and y0 + height <= 2 * GRAIN:
        return noise[y0 : y0 + height, x0 : x0 + width]
    return noise[np.ix_((y0 + np.arange(height)) % GRAIN, (x0 + np.arange(width)) % GRAIN)]


@cache
def _noise(coarse: bool) -> NDArray[np.float32]:
    """(2 GRAIN, 2 GRAIN, 3): the same square four times. Half of it is in all channels, as after a camera's
    own smoothing of colour.
    """
    random = np.random.default_rng(20)
    noise = (
        random.standard_normal((GRAIN, GRAIN, 3), np.float32) * 0.6
        + random.standard_normal((GRAIN, GRAIN, 1), np.float32) * 0.8
    )
    tiles = np.tile(noise, (2, 2, 1))
    if coarse:
        tiles = cv2.GaussianBlur(np.pad(tiles, ((8, 8), (8, 8), (0, 0)), mode="wrap"), (0, 0), 0.9)[
            8:-8, 8:-8
        ]
        tiles = tiles / tiles.std()
    return np.ascontiguousarray(tiles, np.float32)
