"""Where the hills of heatmaps are: the decoding of `codecs.heatmap` in numpy, for what runs without torch."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]


def peaks(
    maps: Floats,
    pixel: tuple[float, float],
    sigma: float,
    decoding: Literal["plain", "quarter", "dark"],
) -> tuple[Floats, Floats]:
    """Gaussians (B, K, h, w) of `sigma` heatmap pixels to joints (B, K, 2) in input pixels, of which `pixel`
    are one of the heatmap's along x and y, and scores (B, K), the height of the peak in 0..1.

    `plain` is the brightest pixel, `quarter` and `dark` go on from there, as `codecs.heatmap.Heatmap` does.
    A map that holds NaN has the score NaN.
    """
    w = maps.shape[-1]
    flat = maps.reshape(*maps.shape[:2], maps.shape[-2] * w)
    peak = flat.argmax(-1)
    top = np.take_along_axis(flat, peak[..., None], -1)[..., 0]
    y, x = np.divmod(peak, w)
    at = np.stack([x, y], -1).astype(np.float32)
    if decoding == "quarter":
        at += 0.25 * np.sign(_slope(maps, x, y))
    elif decoding == "dark":
        at += _newton(maps, x, y, sigma)
    return (at * np.asarray(pixel, np.float32)).astype(np.float32), np.clip(top, 0, 1)


def bin_peaks(logits: Floats, sigma: float, decoding: Literal["plain", "dark"]) -> Floats:
    """Logits (B, K, X) along an axis to where they are highest (B, K), in bins: the highest bin, or for
    `dark` the top of the parabola fitted to what lies within a sigma of it, at most half a sigma away, as
    `codecs.subpixel.parabola_top` has it.
    """
    peak = logits.argmax(-1)
    at = peak.astype(np.float32)
    if decoding == "plain":
        return at
    count = logits.shape[-1]
    reach = max(1, min(round(sigma), (count - 1) // 2))
    d = np.arange(-reach, reach + 1)
    middle = peak.clip(reach, count - 1 - reach)
    near = np.take_along_axis(logits, middle[..., None] + d, -1)
    near = near - near.max(-1, keepdims=True)
    bend = d**2 - (d**2).mean()
    slope, curvature = (near * d).sum(-1) / (d**2).sum(), 2 * (near * bend).sum(-1) / (bend**2).sum()
    hill = curvature < -1e-6
    step = np.where(hill, -slope / np.where(hill, curvature, -1.0), 0.0)
    most = max(0.5, sigma / 2)
    return np.asarray(at + np.where(hill, (middle - peak + step).clip(-most, most), 0.0), np.float32)


def gaussians(logits: Floats, sigma: float) -> Floats:
    """Logits (B, K, h, w) of distributions over pixels to Gaussians whose peak is 1 where the network is
    sure.
    """
    flat = logits.reshape(*logits.shape[:2], logits.shape[-2] * logits.shape[-1])
    parts = np.exp(flat - flat.max(-1, keepdims=True))
    return np.asarray(
        (parts / parts.sum(-1, keepdims=True) * (2 * np.pi * sigma**2)).reshape(logits.shape), np.float32
    )


def _at(maps: Floats, x: NDArray[np.intp], y: NDArray[np.intp]) -> Floats:
    """maps (B, K, h, w) read at whole pixels x and y (B, K)."""
    b, k = np.ogrid[: maps.shape[0], : maps.shape[1]]
    return maps[b, k, y, x]


def _slope(maps: Floats, x: NDArray[np.intp], y: NDArray[np.intp]) -> Floats:
    """The central difference (B, K, 2) at x, y; 0 along an axis on whose border the peak lies."""
    h, w = maps.shape[-2:]
    along_x = _at(maps, np.minimum(x + 1, w - 1), y) - _at(maps, np.maximum(x - 1, 0), y)
    along_y = _at(maps, x, np.minimum(y + 1, h - 1)) - _at(maps, x, np.maximum(y - 1, 0))
    inner = np.stack([(x > 0) & (x < w - 1), (y > 0) & (y < h - 1)], -1)
    return np.asarray(np.stack([along_x, along_y], -1) * inner, np.float32)


def _newton(maps: Floats, x: NDArray[np.intp], y: NDArray[np.intp], sigma: float) -> Floats:
    """DARK's step (B, K, 2) in heatmap pixels from the peak x, y (Zhang et al., CVPR 2020): a blur of the
    map's own sigma, the logarithm, and one Newton step to the top, at most one pixel along each axis.

    The step's pixel must have two neighbours on each side; nearer to the border it is taken at the nearest
    pixel that does, and counted from there.
    """
    h, w = maps.shape[-2:]
    reach = round(2.5 * sigma)
    line = np.exp(-0.5 * (np.arange(-reach, reach + 1, dtype=np.float32) / np.float32(sigma)) ** 2)
    line /= line.sum()
    blur = np.stack(
        [np.pad(line, (i, 2 - i)) for i in range(3)]
    )  # (3, 2 reach + 3): at the middle and beside it
    cx, cy = np.clip(x, 1, w - 2), np.clip(y, 1, h - 2)
    around = np.arange(-reach - 1, reach + 2)
    columns, rows = (cx[..., None] + around)[..., None, :], (cy[..., None] + around)[..., :, None]
    inside = (rows >= 0) & (rows < h) & (columns >= 0) & (columns < w)
    b, k = np.ogrid[: maps.shape[0], : maps.shape[1]]
    patch = maps[b[..., None, None], k[..., None, None], np.clip(rows, 0, h - 1), np.clip(columns, 0, w - 1)]
    log = np.log(np.maximum(blur @ np.where(inside, patch, 0) @ blur.T, 1e-10))
    here, left, right, above, below = (log[..., j, i] for j, i in ((1, 1), (1, 0), (1, 2), (0, 1), (2, 1)))
    dx, dy = (right - left) / 2, (below - above) / 2
    dxx, dyy = right - 2 * here + left, below - 2 * here + above
    dxy = (log[..., 2, 2] - log[..., 2, 0] - log[..., 0, 2] + log[..., 0, 0]) / 4
    determinant = dxx * dyy - dxy**2
    hill = (determinant > 1e-12) & (dxx < 0)  # not a saddle or a plain
    safe = np.where(hill, determinant, 1)
    step = np.stack([-(dyy * dx - dxy * dy) / safe, -(dxx * dy - dxy * dx) / safe], -1)
    from_peak = np.stack([cx - x, cy - y], -1)
    return np.where(hill[..., None], np.clip(from_peak + np.clip(step, -1, 1), -1, 1), 0).astype(np.float32)
