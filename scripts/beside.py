"""Draws several networks' poses on one image side by side, each with its name.

python scripts/beside.py IMAGE OUT [NAME=MODEL ...]
"""

from __future__ import annotations

import sys
from pathlib import Path

import cv2
import numpy as np

from poseling.files import read_image, write_bytes
from poseling.runtime import Network, draw

STRIP = 28  # pixels of a caption


def beside(image: Path, out: Path, models: dict[str, str]) -> None:
    """Draws what each model sees in the image, side by side, to the JPEG `out`."""
    pixels = read_image(image)
    tiles = []
    for name, model in models.items():
        drawn = draw(pixels, Network(model)(pixels, colour="rgb"))
        strip = np.full((STRIP, drawn.shape[1], 3), 255, np.uint8)
        cv2.putText(strip, name, (6, STRIP - 9), cv2.FONT_HERSHEY_SIMPLEX, 0.5, (30, 30, 30), 1, cv2.LINE_AA)
        tiles.append(np.concatenate([drawn, strip]))
    data = cv2.imencode(".jpg", np.concatenate(tiles, 1)[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 90])[1]
    write_bytes(out, data.tobytes())


if __name__ == "__main__":
    image, out, *pairs = sys.argv[1:]
    beside(Path(image), Path(out), dict(pair.split("=", 1) for pair in pairs))
