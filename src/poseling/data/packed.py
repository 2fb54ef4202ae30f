"""A set packed for training: each sample's surroundings as one small square image, so that a set of gigabytes
fits into memory, or through a slow connection.

- people.json: the layout's version; the set's name, skeleton and licence; and the folder of the images,
  `images` if it does not say
- people.npz: boxes (N, 4), joints (N, K, 2), visible (N, K) and, if there are any, weight (N, K), joints_3d (N,
  K, 3), confidence_3d (N, K) and camera (N, 4), as in `PoseDataset`, in pixels of the packed images
- images/000000.webp and so on: one for each sample, in their order

An image shows `REACH` times the person's box, so that augmentation may shrink a person, and a padding up to
that shows no black border.
"""

from __future__ import annotations

import io
import json
import os
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from poseling.arrays import numbers, read_npz
from poseling.data.dataset import LARGEST, PoseDataset, from_joints
from poseling.files import new_folder, read_image, write_bytes
from poseling.geometry import Crop
from poseling.records import from_fields, read_json
from poseling.skeleton import Skeleton

VERSION = 1
REACH = 1.6
SIDE = 4096  # pixels, more than any network's input has
MORE = ("weight", "joints_3d", "confidence_3d", "camera")  # what of a data set need not be there


@dataclass(frozen=True)
class About:
    """What people.json holds; `terms` is the licence."""

    version: int
    name: str
    skeleton: Skeleton
    terms: str
    images: str = "images"


def pack(
    dataset: PoseDataset,
    out: Path,
    size: int = 256,
    quality: int = 80,
    progress: Callable[[int, int], None] | None = None,
) -> PoseDataset:
    """Writes the dataset to the new folder `out` as WebP of `size` x `size` pixels, and reads it back from
    there.

    Images that cannot be read are left out. ValueError if `out` exists already, no sample is left, or `size`
    or `quality` (1 to 100) cannot be.
    """
    if not 1 <= size <= SIDE:
        raise ValueError(f"--size {size}: is the images' width and height in pixels, 1 to {SIDE}")
    if not 1 <= quality <= 100:
        raise ValueError(f"--quality {quality}: is WebP's, 1 to 100")
    if out.exists():
        raise ValueError(f"{out}: is there already; name a new folder")
    kept: list[int] = []
    boxes, joints, cameras = [], [], []
    with new_folder(out) as folder:
        (folder / "images").mkdir()
        for i in range(len(dataset)):
            crop = Crop.from_box(dataset.boxes[i], (size, size), REACH)
            try:
                image = crop.warp(read_image(dataset.images[i]))
            except OSError:
                continue
            data = cv2.imencode(".webp", image[..., ::-1], [cv2.IMWRITE_WEBP_QUALITY, quality])[1].tobytes()
            (folder / "images" / f"{len(kept):06d}.webp").write_bytes(data)
            kept.append(i)
            boxes.append(crop.apply(dataset.boxes[i].reshape(2, 2)).reshape(4))
            joints.append(crop.apply(dataset.joints[i]))
            if dataset.camera is not None:
                focal, middle = dataset.camera[i].reshape(2, 2)
                cameras.append(np.concatenate([focal * crop.matrix[0, 0], crop.apply(middle)]))
            if progress is not None:
                progress(i + 1, len(dataset))
        if not kept:
            raise ValueError(f"{dataset.name}: none of its {len(dataset)} images can be read")
        moved = replace(
            dataset[kept],
            boxes=np.array(boxes, np.float32),
            joints=np.array(joints, np.float32),
            camera=np.array(cameras, np.float32) if cameras else None,
        )
        _write(moved, folder, "images")
    return packed(out)


def relabel(dataset: PoseDataset, out: Path) -> PoseDataset:
    """Writes the current labels of a dataset whose images are all those of a packed set, in its order, to the
    new folder `out`; the images stay where they are. ValueError for other samples than those.
    """
    if out.exists():
        raise ValueError(f"{out}: is there already; name a new folder")
    images = dataset.images[0].parent
    if dataset.images != packed(images.parent).images:
        raise ValueError(
            f"{dataset.name}: its samples are not all those of {images.parent} in their order, so the new labels "
            f"would be of other images; `pack` writes a part of a set"
        )
    with new_folder(out) as folder:
        _write(dataset, folder, os.path.relpath(images, out))
    return packed(out)


def _write(dataset: PoseDataset, folder: Path, images: str) -> None:
    buffer = io.BytesIO()
    arrays: dict[str, Any] = {"boxes": dataset.boxes, "joints": dataset.joints, "visible": dataset.visible}
    arrays |= {name: values for name in MORE if (values := getattr(dataset, name)) is not None}
    np.savez_compressed(buffer, **arrays)
    write_bytes(folder / "people.npz", buffer.getvalue())
    about = About(VERSION, dataset.name, dataset.skeleton, dataset.licence, images)
    write_bytes(folder / "people.json", json.dumps(asdict(about), indent=1).encode())


def packed(root: Path) -> PoseDataset:
    """The samples that `pack` wrote to `root`. FileNotFoundError if there are none; ValueError that names the
    file if it is damaged, or of a newer version.
    """
    path, arrays = root / "people.json", root / "people.npz"
    if not path.is_file():
        raise FileNotFoundError(f"{path}: not found; `poseling data pack` writes such a folder")
    given = read_json(path)
    version = given.get("version") if isinstance(given, dict) else None
    if version is not None and version != VERSION:
        raise ValueError(
            f"{path}: is of version {str(version)[:20]}, this program reads {VERSION}; pack the set again"
        )
    try:
        about = from_fields(About, given)
    except ValueError as error:
        raise ValueError(f"{path}: does not describe a packed set ({error}); pack it again") from error
    read = read_npz(arrays)
    try:
        if missing := [name for name in ("boxes", "joints", "visible") if name not in read]:
            raise ValueError(f"it lacks {', '.join(missing)}")
        boxes = numbers(read["boxes"], None, 4)
        each = len(boxes), len(about.skeleton)
        joints, visible = numbers(read["joints"], *each, 2), numbers(read["visible"], *each)
        shapes = dict(zip(MORE, (each, (*each, 3), each, (len(boxes), 4)), strict=True))
        more = {name: numbers(read[name], *shape) for name, shape in shapes.items() if name in read}
        if not np.isin(visible, (0, 1, 2)).all():
            raise ValueError("visible is not always 0, 1 or 2")
        for name, values in more.items():
            low = 0 if name in ("weight", "confidence_3d") else -LARGEST
            # A camera that is not known is NaN.
            if not (((values >= low) & (values <= LARGEST)) | (np.isnan(values) & (name == "camera"))).all():
                raise ValueError(f"{name} is not always a number from {low:g} to {LARGEST:g}")
    except ValueError as error:
        raise ValueError(f"{arrays}: is damaged ({error}); pack the set again") from error
    images = (root / about.images).resolve()
    dataset = from_joints(
        about.name,
        about.skeleton,
        [images / f"{i:06d}.webp" for i in range(len(boxes))],
        joints,
        visible.astype(np.uint8),
        about.terms,
        boxes=boxes,
        path=arrays,
    )
    # Samples whose image is missing were left out.
    there = [int(image.stem) for image in dataset.images]
    kept = {name: values[there].astype(np.float32) for name, values in more.items()}
    return replace(
        dataset,
        weight=kept.get("weight"),
        joints_3d=kept.get("joints_3d"),
        confidence_3d=kept.get("confidence_3d"),
        camera=kept.get("camera"),
    )
