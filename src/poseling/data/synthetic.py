"""Synthetic people on disk, as `poseling data synthesize` makes them, with exact joints in 2D and 3D. This
file defines the layout:

- synthetic.json: the settings: version, seed, size, split, quality, and the number of background images; a
  set from elsewhere has its own `licence`
- pictures/000/000000.jpg and so on: by index, a thousand to a folder; .webp is read too
- truth/000000.npz and so on: a block of 250 images each, named after its first, written when all of them are:
  joints (B, 28, 2), visible (B, 28), xyz (B, 28, 3), camera (B, 4), box (B, 4), motion (B), as in PoseDataset
"""

from __future__ import annotations

import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from poseling.arrays import numbers, read_npz
from poseling.data.dataset import PoseDataset, from_joints, usable
from poseling.files import write_bytes
from poseling.records import parse_json
from poseling.skeleton import SYNTH28

# Of the images and the layout: a set of another version is read, but not continued. Version 1, such as the
# mini set, has drawn scenes as backgrounds; 1 and 2 have the same actors in all splits, and nearer cameras.
VERSION = 3
BLOCK = 250  # images
NOTE = "synthetic.json"
SUFFIXES = (".jpg", ".webp")
LICENCE = (
    "bodies by Anny (code Apache-2.0, MakeHuman's assets CC0-1.0), postures by statistics of CMU's motion "
    "capture, images made by poseling: CC0-1.0"
)

# Arrays by name: of one image, or of many with one more axis in front.
Truth = Mapping[str, NDArray[np.generic]]
SHAPES = {"joints": (28, 2), "visible": (28,), "xyz": (28, 3), "camera": (4,), "box": (4,), "motion": ()}


def synthetic(root: Path) -> PoseDataset:
    """The samples of the complete blocks under `root`, in SYNTH28, with 3D joints and cameras.

    FileNotFoundError if there are none, or none of their images; ValueError that names the file if one is
    damaged. Single images that are missing are left out and listed in `findings`.
    """
    about = read_note(root)
    paths = truth_paths(root)
    if about is None or not paths:
        raise FileNotFoundError(
            f"{root}: holds no synthetic people; make some: poseling data synthesize --count 1000 --out "
            f"{root}"
        )
    blocks = {first: read_truth(path) for first, path in paths.items()}
    there = image_paths(root)
    truth = {name: np.concatenate([block[name] for block in blocks.values()]) for name in SHAPES}
    return from_joints(
        "synthetic",
        SYNTH28,
        [
            there.get(i, image_path(root, i))
            for first, block in blocks.items()
            for i in range(first, first + len(block["motion"]))
        ],
        truth["joints"].astype(np.float32),
        truth["visible"].astype(np.uint8),
        about.get("licence", LICENCE) + ("; backgrounds: as those images" if about["backgrounds"] else ""),
        boxes=truth["box"].astype(np.float32),
        joints_3d=truth["xyz"].astype(np.float32),
        camera=truth["camera"].astype(np.float32),
        path=root,
    )


def claim(root: Path, about: Mapping[str, Any]) -> None:
    """Makes `root` the folder of what is asked for, or checks that it is. ValueError that names both if it
    holds something else; OSError if it cannot be written.
    """
    was, wanted = read_note(root), dict(about)
    if (
        was is None
        and root.exists()
        and (not root.is_dir() or any(not path.name.startswith(".") for path in root.iterdir()))
    ):
        raise ValueError(f"{root}: holds other things than synthetic people; name a new folder")
    if was is None or not (root / "pictures").exists():  # a run that failed before its first image is ignored
        write_bytes(root / NOTE, json.dumps({"synthetic": wanted}).encode())
    elif was != wanted:
        raise ValueError(
            f"{root}: holds {json.dumps(was)}, wanted {json.dumps(wanted)}; ask for the same, name another "
            f"folder or remove this one"
        )


def read_note(root: Path) -> dict[str, Any] | None:
    """What was asked for in `root`, None if nothing was; ValueError that names the file if it is damaged."""
    path = root / NOTE
    if not path.is_file():
        return None
    try:
        about = parse_json(path.read_bytes())["synthetic"]
        if "backgrounds" not in about:
            raise KeyError("backgrounds")
        return dict(about)
    except (ValueError, TypeError, KeyError) as error:
        raise ValueError(f"{path}: is damaged ({error}); remove {root} and make the set again") from error


def image_path(root: Path, index: int) -> Path:
    """Where the image `index` is written."""
    return root / "pictures" / f"{index // 1000:03d}" / f"{index:06d}{SUFFIXES[0]}"


def image_paths(root: Path) -> dict[int, Path]:
    """The existing images by their index."""
    return {int(p.stem): p for p in root.glob("pictures/*/*") if p.suffix in SUFFIXES and p.stem.isdecimal()}


def truth_path(root: Path, first: int) -> Path:
    """Where the truth of the block is written that begins with the image `first`."""
    return root / "truth" / f"{first:06d}.npz"


def truth_paths(root: Path) -> dict[int, Path]:
    """The existing blocks by their first image's index, in order."""
    return dict(sorted((int(p.stem), p) for p in root.glob("truth/*.npz") if p.stem.isdecimal()))


def write_truth(path: Path, rows: Sequence[Truth]) -> None:
    """The truth of a block's images, atomically, the same bytes for the same numbers."""
    file, arrays = (
        io.BytesIO(),
        cast(dict[str, Any], {name: np.stack([row[name] for row in rows]) for name in SHAPES}),
    )
    np.savez_compressed(file, **arrays)
    write_bytes(path, file.getvalue())


def read_truth(path: Path) -> dict[str, NDArray[np.generic]]:
    """The truth of a block; ValueError that names the file if it is damaged."""
    try:
        truth = read_npz(path, *SHAPES)
        for name, shape in SHAPES.items():
            if name != "motion" and not usable(numbers(truth[name], len(truth["motion"]), *shape))[1].all():
                raise ValueError(f"{name} has an entry that is not a number")
    except (ValueError, TypeError) as error:
        told = str(error).removeprefix(f"{path}: ")
        raise ValueError(
            f"{path}: is damaged ({told}); delete it, and `poseling data synthesize` makes its images again"
        ) from error
    return truth
