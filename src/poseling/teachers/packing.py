"""Heatmaps in few bytes: eight bits a pixel between each map's own bounds, differences between neighbours,
then zstd. docs/labels.md has the cost.

Nothing is clipped: a map that is low and wide keeps its mass, one that is higher than 1 its peak, and pixels
below 0 stay below 0. The error is half a step, a 510th of the map's own range.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

STEPS = 255
# Level 19 saves one byte in a hundred and takes forty times as long.
ZSTD = pa.Codec("zstd", compression_level=9)
Scale = NDArray[np.float32]  # (..., 2) of maps (..., h, w): a step, and the byte that stands for 0


def quantise(maps: NDArray[np.floating]) -> tuple[NDArray[np.uint8], Scale]:
    """Heatmaps (..., h, w), finite, as bytes and the `Scale` by which `restored` makes numbers of them. 0
    stays 0.

    Each map's brightest pixel stays its only brightest: pixels that rounding would make equal to it lose one
    step, so that a decoder starts at the same peak.

    >>> small, scale = quantise(np.array([[[0.0, 0.2], [-0.05, 0.1999]]]))
    >>> small.tolist(), [round(float(v), 3) for v in restored(small, scale).ravel()]
    ([[[51, 255], [0, 254]]], [0.0, 0.2, -0.05, 0.199])
    """
    rows = maps.reshape(-1, maps.shape[-2] * maps.shape[-1]).astype(np.float64)
    high, low = (rows.max(-1, keepdims=True).clip(min=0), rows.min(-1, keepdims=True).clip(max=0))
    zero = -low / np.maximum(high - low, 1e-30) * STEPS
    # A whole byte, at the cost of the wider side.
    zero = np.where(zero < STEPS / 2, np.ceil(zero), np.floor(zero))
    # The step that reaches both bounds from there.
    step = np.maximum(high / np.maximum(STEPS - zero, 1), -low / np.maximum(zero, 1)).astype(np.float32)
    small = (np.rint(rows / np.maximum(step, 1e-30)) + zero).clip(0, STEPS).astype(np.uint8)
    top = rows.argmax(-1)[:, None]
    peak = np.take_along_axis(small, top, -1)
    level = (small == peak) & (peak > zero)
    np.put_along_axis(level, top, False, -1)
    small[level] -= 1
    return small.reshape(maps.shape), np.concatenate([step, zero], -1).astype(np.float32).reshape(
        *maps.shape[:-2], 2
    )


def restored(small: NDArray[np.uint8], scale: Scale) -> NDArray[np.float32]:
    """The heatmaps (..., h, w) that bytes (..., h, w) with a scale (..., 2) stand for."""
    step, zero = scale[..., 0, None, None], scale[..., 1, None, None]
    return np.asarray((small.astype(np.float32) - zero) * step, np.float32)


def pack(maps: NDArray[np.floating]) -> bytes:
    """Heatmaps (K, h, w) to bytes."""
    small, scale = quantise(maps)
    # Each pixel's difference to its neighbours, modulo 256: heatmaps are smooth.
    across = np.diff(small, axis=-1, prepend=np.uint8(0))
    down = np.diff(across, axis=-2, prepend=np.uint8(0))
    return bytes(ZSTD.compress(scale.astype("<f4").tobytes() + down.tobytes(), asbytes=True))


def unpack(packed: bytes | NDArray[np.uint8], shape: tuple[int, int, int]) -> tuple[NDArray[np.uint8], Scale]:
    """The reverse: bytes (K, h, w) and their scale (K, 2); ValueError if these are not the bytes of maps of
    that `shape`.
    """
    head, count = 8 * shape[0], int(np.prod(shape))
    try:
        plain = np.frombuffer(ZSTD.decompress(packed, decompressed_size=head + count), np.uint8)
        if len(plain) == head + count:
            down = plain[head:].reshape(shape)
            small = np.add.accumulate(
                np.add.accumulate(down, axis=-2, dtype=np.uint8), axis=-1, dtype=np.uint8
            )
            return small, plain[:head].view("<f4").reshape(shape[0], 2).astype(np.float32)
        found = f"they hold {len(plain)} bytes, not {head + count}"
    except (OSError, pa.ArrowInvalid) as error:
        found = str(error)
    raise ValueError(f"these bytes are no heatmaps of shape {shape}: {found}")
