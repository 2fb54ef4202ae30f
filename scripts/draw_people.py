"""Draws the picture of docs/synthetic.md: people of the mini set, and the same with their joints.

python scripts/draw_people.py --out docs/images/synthetic.jpg
"""

from __future__ import annotations

import argparse
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from poseling.data.mini import mini
from poseling.files import read_picture, write_bytes
from poseling.geometry import Crop
from poseling.pose import Pose
from poseling.runtime.draw import draw

SIDE, COLUMNS = 192, 7


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--first", type=int, default=0, help="the first of the test people to show")
    flags = parser.parse_args()
    people = mini("test")[flags.first : flags.first + COLUMNS]
    rows: list[list[NDArray[np.uint8]]] = [[], []]
    for i, path in enumerate(people.pictures):
        picture = read_picture(path)
        crop = Crop.whole((picture.shape[1], picture.shape[0]), (SIDE, SIDE))
        plain = crop.warp(picture)
        known = people.visible[i] > 0
        pose = Pose(crop.apply(people.joints[i])[None].astype(np.float32), known[None].astype(np.float32), people.skeleton)
        rows[0].append(plain)
        rows[1].append(draw(plain, pose, hollow=(people.visible[i] == 1)[None]))
    sheet = np.concatenate([np.concatenate(row, 1) for row in rows])
    write_bytes(flags.out, cv2.imencode(".jpg", sheet[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 88])[1].tobytes())


if __name__ == "__main__":
    main()
