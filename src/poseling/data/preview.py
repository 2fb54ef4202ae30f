"""A contact sheet of labelled samples: the quickest check of a data set."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from poseling.data.dataset import PoseDataset
from poseling.draw import draw, draw_box
from poseling.files import keep_apart, read_image, refuse_folders, write_bytes
from poseling.geometry import Crop
from poseling.pose import Pose

CAPTION, GAP = 16, 4  # pixels
PAPER, INK = (32, 32, 32), (230, 230, 230)


def preview(
    dataset: PoseDataset, out: Path, count: int = 24, seed: int = 0, size: int = 192, padding: float = 1.25
) -> tuple[int, ...]:
    """Writes a PNG of `count` random samples, each in a crop of `size` pixels with its joints, its box and
    its file's name; returns their indices.

    The person's left is blue, the right orange; occluded joints are rings. An image that cannot be read
    gives a tile with a note. ValueError for an empty dataset, and where `out` is no .png or one of the images.
    """
    if not len(dataset) or count < 1 or size < 32:
        raise ValueError(
            f"{dataset.name}: {len(dataset)} people, {count} asked for at {size} pixels; a sheet needs one "
            f"person and 32 pixels or more"
        )
    if out.suffix.lower() != ".png":
        raise ValueError(f"{out}: is no .png; the sheet is written as one")
    refuse_folders({"--out": out})
    if out.exists():
        keep_apart({"--out": out}, {"one of the images": dataset.images})
    chosen = np.sort(np.random.default_rng(seed).permutation(len(dataset))[:count])
    tiles = [tile(dataset, int(i), size, padding) for i in chosen]
    columns = min(len(tiles), max(1, round(np.sqrt(1.6 * len(tiles)))))
    rows = -(-len(tiles) // columns)
    height, width = size + CAPTION + GAP, size + GAP
    sheet = np.full((GAP + rows * height, GAP + columns * width, 3), PAPER, np.uint8)
    for place, one in enumerate(tiles):
        y, x = GAP + place // columns * height, GAP + place % columns * width
        sheet[y : y + size + CAPTION, x : x + size] = one
    write_bytes(out, cv2.imencode(".png", sheet[..., ::-1])[1].tobytes())
    return tuple(int(i) for i in chosen)


def tile(dataset: PoseDataset, person: int, size: int, padding: float = 1.25) -> NDArray[np.uint8]:
    """(size + CAPTION, size, 3) RGB: one person's crop with joints and box, and the caption below."""
    path, visible = dataset.images[person], dataset.visible[person]
    canvas = np.full((size + CAPTION, size, 3), PAPER, np.uint8)
    try:
        # Drawn at twice the size, so that a joint's ring is still one after the halving.
        crop = Crop.from_box(dataset.boxes[person], (2 * size, 2 * size), padding)
        image = draw_box(
            crop.warp(read_image(path)), crop.apply(dataset.boxes[person].reshape(2, 2)).ravel(), width=2
        )
        pose = Pose(
            crop.apply(dataset.joints[person])[None], (visible > 0)[None].astype(np.float32), dataset.skeleton
        )
        canvas[:size] = cv2.resize(
            draw(image, pose, hollow=(visible == 1)[None]), (size, size), interpolation=cv2.INTER_AREA
        )
    except (OSError, ValueError) as error:
        why = "image cannot be read" if isinstance(error, OSError) else "box has no area"
        _text(canvas, why, size // 2, size)
    _text(
        canvas,
        f"{person}  {path.parent.parent.name}/{path.name}"
        if path.parent.name == "images"
        else f"{person}  {path.name}",
        size + CAPTION - 5,
        size,
    )
    return canvas


def _text(canvas: NDArray[np.uint8], text: str, baseline: int, width: int) -> None:
    """A line of text, its front cut where it does not fit: the end of a file's name tells more."""
    scale, font = 0.36, cv2.FONT_HERSHEY_SIMPLEX
    text = text.encode("ascii", "replace").decode()
    short = text
    while len(short) > 8 and cv2.getTextSize(short, font, scale, 1)[0][0] > width - 6:
        text = text[1:]
        short = "..." + text
    cv2.putText(canvas, short, (3, baseline), font, scale, INK, 1, cv2.LINE_AA)
