"""Heatmaps as few bytes: eight bits a pixel, nothing below a floor, then zstd. docs/labels.md has what it costs and what it saves.

Most of a heatmap is a network's faint noise, which no compressor can shorten and no student should learn; without it the hills are all that is left.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

FLOOR = 0.03  # parts of a sure peak
ZSTD = pa.Codec("zstd", compression_level=9)  # level 19 saves one byte in a hundred and takes forty times as long


def quantise(maps: NDArray[np.floating]) -> NDArray[np.uint8]:
    """Heatmaps (..., h, w) with peaks up to 1, as bytes: 255 is 1, and below FLOOR is 0.

    Each map's brightest pixel stays its only brightest: pixels that rounding would put level with it lose one step, so that a decoder starts at the same hill.

    >>> quantise(np.array([[[0.0, 0.5], [0.02, 0.501]]])).tolist()
    [[[0, 127], [0, 128]]]
    """
    small = np.rint(np.clip(maps, 0, 1) * 255).astype(np.uint8)
    small[maps < FLOOR] = 0
    rows = small.reshape(-1, small.shape[-2] * small.shape[-1])
    top = maps.reshape(rows.shape).argmax(-1)[:, None]
    peak = np.take_along_axis(rows, top, -1)
    level = (rows == peak) & (peak > 0)
    np.put_along_axis(level, top, False, -1)
    rows[level] -= 1
    return small


def pack(maps: NDArray[np.floating]) -> bytes:
    """Heatmaps (K, h, w) to bytes."""
    return bytes(ZSTD.compress(np.ascontiguousarray(quantise(maps)), asbytes=True))


def unpack(packed: bytes | NDArray[np.uint8], shape: tuple[int, int, int]) -> NDArray[np.uint8]:
    """The reverse, read-only (K, h, w); ValueError if these are not the bytes of maps of that `shape`."""
    count = int(np.prod(shape))
    try:
        maps = np.frombuffer(ZSTD.decompress(packed, decompressed_size=count), np.uint8)
        if len(maps) == count:
            return maps.reshape(shape)
        found = f"they hold {len(maps)} pixels"
    except (OSError, pa.ArrowInvalid) as error:
        found = str(error)
    raise ValueError(f"these bytes are no heatmaps of shape {shape}: {found}")
