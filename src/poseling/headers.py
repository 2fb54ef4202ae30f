"""The size of an image from its first bytes, before memory is allocated for it. Files of JPEG, PNG,
WebP, BMP and GIF, whatever their names are.
"""

from __future__ import annotations

import struct


def image_size(data: bytes) -> tuple[int, int] | None:
    """(W, H) as they lie in the file, not turned; None for anything else, or if the size is not among
    these bytes.
    """
    try:
        if data[:2] == b"\xff\xd8":
            return _jpeg(data)
        if data[:8] == b"\x89PNG\r\n\x1a\n" and data[12:16] == b"IHDR":
            return struct.unpack_from(">II", data, 16)
        if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
            return _webp(data)
        if data[:2] == b"BM":
            if struct.unpack_from("<I", data, 14)[0] == 12:
                return struct.unpack_from("<HH", data, 18)
            width, height = struct.unpack_from("<ii", data, 18)
            return abs(width), abs(height)  # a height below 0 means that the first row is the top one
        if data[:4] == b"GIF8":
            return struct.unpack_from("<HH", data, 6)
    except (struct.error, IndexError):
        pass  # cut short
    return None


def _jpeg(data: bytes) -> tuple[int, int] | None:
    """From the frame header: markers C0 to CF but for the three that are none."""
    at = 2
    while (at := data.find(b"\xff", at)) >= 0:  # decoders skip what is between two segments
        marker = data[at + 1]
        if marker == 0xFF:  # a byte that fills up
            at += 1
        elif marker == 0x01 or 0xD0 <= marker <= 0xD8:  # nothing belongs to them
            at += 2
        elif 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            height, width = struct.unpack_from(">HH", data, at + 5)
            return width, height
        else:
            at += 2 + int(struct.unpack_from(">H", data, at + 2)[0])
    return None


def _webp(data: bytes) -> tuple[int, int] | None:
    kind = data[12:16]
    if kind == b"VP8X":
        return 1 + int.from_bytes(data[24:27], "little"), 1 + int.from_bytes(data[27:30], "little")
    if kind == b"VP8L":
        bits = int(struct.unpack_from("<I", data, 21)[0])
        return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    if kind == b"VP8 ":
        width, height = struct.unpack_from("<HH", data, 26)
        return width & 0x3FFF, height & 0x3FFF
    return None
