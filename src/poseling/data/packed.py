"""A set packed for training: each sample's surroundings as one small square image, so that a set of gigabytes
fits into memory, or through a slow connection.

- people.json: the layout's version; the set's name, skeleton and licence; and the folder of the images,
  `images` if it does not say
- people.npz: boxes (N, 4), joints (N, K, 2), visible (N, K) and, if there are any, weight (N, K), joints_3d (N,
  K, 3) and confidence_3d (N, K), as in `PoseDataset`, in pixels of the packed images
- images/000000.webp and so on: one for each sample, in their order

An image shows `REACH` times the person's box, so that augmentation may shrink a person, and a padding up to
that shows no black border.
"""

from __future__ import annotations

import io
import json
import os
import zlib
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import cv2
import numpy as np

from poseling.data.dataset import PoseDataset, from_joints
from poseling.files import new_folder, read_image, write_bytes
from poseling.geometry import Crop
from poseling.skeleton import Skeleton

VERSION = 1
REACH = 1.6
MORE = ("weight", "joints_3d", "confidence_3d")  # what of a data set need not be there


def pack(
    dataset: PoseDataset,
    out: Path,
    size: int = 256,
    quality: int = 80,
    progress: Callable[[int, int], None] | None = None,
) -> PoseDataset:
    """Writes the dataset to the new folder `out` as WebP of `size` x `size` pixels, and reads it back from
    there.

    Images that cannot be read are left out. ValueError if `out` exists already, or no sample is left.
    """
    if out.exists():
        raise ValueError(f"{out}: is there already; name a new folder")
    kept: list[int] = []
    boxes, joints = [], []
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
            if progress is not None:
                progress(i + 1, len(dataset))
        if not kept:
            raise ValueError(f"{dataset.name}: none of its {len(dataset)} images can be read")
        moved = replace(dataset[kept], boxes=np.array(boxes, np.float32), joints=np.array(joints, np.float32))
        _write(moved, folder, "images")
    return packed(out)


def relabel(dataset: PoseDataset, out: Path) -> PoseDataset:
    """Writes the current labels of a dataset whose images are all those of a packed set to the new folder
    `out`; the images stay where they are.
    """
    if out.exists():
        raise ValueError(f"{out}: is there already; name a new folder")
    images = dataset.images[0].parent
    with new_folder(out) as folder:
        _write(dataset, folder, os.path.relpath(images, out))
    return packed(out)


def _write(dataset: PoseDataset, folder: Path, images: str) -> None:
    buffer = io.BytesIO()
    arrays: dict[str, Any] = {"boxes": dataset.boxes, "joints": dataset.joints, "visible": dataset.visible}
    arrays |= {name: values for name in MORE if (values := getattr(dataset, name)) is not None}
    np.savez_compressed(buffer, **arrays)
    write_bytes(folder / "people.npz", buffer.getvalue())
    about = {
        "version": VERSION,
        "name": dataset.name,
        "skeleton": asdict(dataset.skeleton),
        "terms": dataset.licence,
        "images": images,
    }
    write_bytes(folder / "people.json", json.dumps(about, indent=1).encode())


def packed(root: Path) -> PoseDataset:
    """The samples that `pack` wrote to `root`. FileNotFoundError if there are none; ValueError that names the
    file if it is damaged, or of a newer version.
    """
    path = root / "people.json"
    if not path.is_file():
        raise FileNotFoundError(f"{path}: not found; `poseling data pack` writes such a folder")
    try:
        about = json.loads(path.read_text())
        version, skeleton = about["version"], Skeleton.from_dict(about["skeleton"])
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        raise ValueError(f"{path}: does not describe a packed set ({error!r}); pack it again") from error
    if version != VERSION:
        raise ValueError(f"{path}: is of version {version}, this program reads {VERSION}; pack the set again")
    try:
        with np.load(root / "people.npz", allow_pickle=False) as arrays:
            boxes, joints, visible = arrays["boxes"], arrays["joints"], arrays["visible"]
            more = {name: arrays[name] for name in MORE if name in arrays}
    except (OSError, EOFError, KeyError, ValueError, BadZipFile, zlib.error) as error:
        raise ValueError(f"{root / 'people.npz'}: is damaged ({error}); pack the set again") from error
    images = (root / about.get("images", "images")).resolve()
    dataset = from_joints(
        about["name"],
        skeleton,
        [images / f"{i:06d}.webp" for i in range(len(boxes))],
        joints,
        visible,
        about["terms"],
        boxes=boxes,
    )
    # Samples whose image is missing were left out.
    there = [int(image.stem) for image in dataset.images]
    return replace(dataset, **{name: values[there] for name, values in more.items()})
