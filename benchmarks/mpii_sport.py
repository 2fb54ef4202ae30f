"""Puts together the MPII people that nobody here trained on: ten sports of its validation set, as a COCO file.

    python benchmarks/mpii_sport.py --images DIR --annotations valid.h5 --out people.json

MPII's own archive is 12 GB. Its images of ten sports are public in the repository DomChey/ORIU_Project (`images/`),
the validation split's joints in umich-vl/pose-hg-train (`data/mpii/annot/valid.h5`); the two are joined by file name.
The boxes are those around all labelled joints. Needs h5py, which nothing else here does. What it writes goes to
`--elsewhere` of peers.py; MPII's images are for research.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np

from poseling.files import read_image, write_bytes
from poseling.skeleton import MPII16


def people(images: Path, annotations: Path) -> dict[str, list[dict[str, object]]]:
    """COCO's `images`, `annotations` and `categories` of the people whose image is in the folder."""
    import h5py  # type: ignore[import-not-found]

    with h5py.File(annotations) as file:
        names = [name.decode() for name in file["imgname"][:]]
        parts = file["part"][:]
    there = {name: i for i, name in enumerate(sorted({name for name in names if (images / name).is_file()}))}
    rows: list[dict[str, object]] = []
    for name, part in zip(names, parts, strict=True):
        known = (part > 0).all(-1)
        if name not in there or not known.any():
            continue
        low, high = part[known].min(0), part[known].max(0)
        keypoints = np.concatenate([part * known[:, None], 2.0 * known[:, None]], 1)
        rows.append(
            {
                "id": len(rows) + 1,
                "image_id": there[name] + 1,
                "category_id": 1,
                "bbox": [*low.tolist(), *(high - low).tolist()],
                "area": float(np.prod(high - low)),
                "iscrowd": 0,
                "num_keypoints": int(known.sum()),
                "keypoints": keypoints.reshape(-1).tolist(),
            }
        )
    shapes = {name: read_image(images / name).shape for name in there}
    return {
        "images": [
            {"id": i + 1, "file_name": name, "width": shapes[name][1], "height": shapes[name][0]}
            for name, i in there.items()
        ],
        "annotations": rows,
        "categories": [{"id": 1, "name": "person", "keypoints": list(MPII16.joints)}],
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    for flag in ("images", "annotations", "out"):
        parser.add_argument(f"--{flag}", type=Path, required=True)
    flags = parser.parse_args()
    found = people(flags.images, flags.annotations)
    write_bytes(flags.out, json.dumps(found).encode())
    print(f"{flags.out}: {len(found['annotations'])} people in {len(found['images'])} images")


if __name__ == "__main__":
    main()
