"""Where the people of images are, by a network: the `boxes.json` that a folder of images for training may
hold.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from poseling.files import IMAGES, images_of, read_image, shown, write_bytes
from poseling.geometry import joints_box
from poseling.runtime.network import Network

SURE = 0.3  # the score from which a joint says where its person is
JOINTS = 6  # so many of them make a person
MARGIN = 0.05  # of the box's longer side, on every side: hands, feet and hair lie beyond the joints


def write_boxes(
    folder: Path, network: Network, progress: Callable[[int, int], None] | None = None
) -> tuple[int, int]:
    """Writes `folder`/boxes.json with a box around the one person whom `network` finds in each image, and
    none where it finds nobody.

    Gives how many images have a person, and how many there are. FileNotFoundError if there is no image;
    ValueError if there is a boxes.json already. Images that cannot be read have none.
    """
    out = folder / "boxes.json"
    if out.exists():
        raise ValueError(f"{out}: is there already; remove it if the people shall be looked for anew")
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
