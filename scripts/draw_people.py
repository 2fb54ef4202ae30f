"""Draws the image of docs/synthetic.md: people of the mini set, and the same with their joints.

python scripts/draw_people.py --out docs/images/synthetic.jpg
"""

from __future__ import annotations

import argparse
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from poseling.data.mini import mini
from poseling.draw import draw
from poseling.files import read_image, write_bytes
from poseling.geometry import Crop
from poseling.pose import Pose

SIDE, COLUMNS = 192, 7


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--first", type=int, default=0, help="the first of the test people to show")
    flags = parser.parse_args()
    dataset = mini("test")[flags.first : flags.first + COLUMNS]
    rows: list[list[NDArray[np.uint8]]] = [[], []]
    for i, path in enumerate(dataset.images):
        image = read_image(path)
        crop = Crop.whole((image.shape[1], image.shape[0]), (SIDE, SIDE))
        plain = crop.warp(image)
        known = dataset.visible[i] > 0
        pose = Pose(
            crop.apply(dataset.joints[i])[None].astype(np.float32),
            known[None].astype(np.float32),
            dataset.skeleton,
        )
        rows[0].append(plain)
        rows[1].append(draw(plain, pose, hollow=(dataset.visible[i] == 1)[None]))
    sheet = np.concatenate([np.concatenate(row, 1) for row in rows])
    write_bytes(
        flags.out, cv2.imencode(".jpg", sheet[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 88])[1].tobytes()
    )


if __name__ == "__main__":
    main()
