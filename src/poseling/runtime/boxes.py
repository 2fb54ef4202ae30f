"""Boxes of the people in a folder of images, by a network: the folder's `boxes.json`."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from poseling.files import IMAGES, images_of, read_image, shown, write_bytes
from poseling.geometry import joints_box
from poseling.runtime.network import Network

SURE = 0.3  # joints with a lower score are ignored
JOINTS = 6  # so many joints are needed for a person
MARGIN = 0.05  # of the box's longer side, on every side: hands, feet and hair are outside the joints


def write_boxes(
    folder: Path, network: Network, progress: Callable[[int, int], None] | None = None
) -> tuple[int, int]:
    """Writes `folder`/boxes.json with a box around the one person that `network` finds in each image, or
    none.

    Returns how many images have a person, and how many there are. FileNotFoundError if there is no image;
    ValueError if boxes.json exists. Unreadable images have no box.
    """
    out = folder / "boxes.json"
    if out.exists():
        raise ValueError(f"{out}: exists already; remove it to write a new one")
    images = images_of(shown(folder))
    if not images:
        raise FileNotFoundError(f"{folder}: holds no image ({', '.join(IMAGES)})")
    found: dict[str, list[list[float]]] = {}
    for i, path in enumerate(images):
        boxes = []
        image = _read(path)
        if image is not None:
            pose = network(image, colour="rgb")
            sure = (pose.score[0] >= SURE) & np.isfinite(pose.xy[0]).all(-1)
            if sure.sum() >= JOINTS:
                box = joints_box(pose.xy[0], sure).astype(float)
                margin = MARGIN * max(box[2] - box[0], box[3] - box[1])
                boxes.append([round(v, 1) for v in (box + margin * np.array([-1, -1, 1, 1])).tolist()])
        found[path.relative_to(folder).as_posix()] = boxes
        if progress is not None:
            progress(i + 1, len(images))
    write_bytes(out, json.dumps(found, indent=0).encode())
    return sum(bool(boxes) for boxes in found.values()), len(images)


def _read(path: Path) -> NDArray[np.uint8] | None:
    try:
        return read_image(path)
    except OSError:
        return None
