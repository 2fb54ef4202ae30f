"""Makes the mini set that ships with the package: a synthetic set for each split, with images small enough
for 8 MB in all.

    python scripts/make_mini.py --out src/poseling/data/mini.zip [--count 1650] [--side 176] [--quality 70] [--seed 20261121]

The same flags, versions and renderer make the same bytes. An interrupted run continues in --work, where the
large images are kept. The set in the package has the drawn scenes of version 1 as backgrounds
(docs/synthetic.md), which were removed later.
"""

from __future__ import annotations

import argparse
import io
import math
import tempfile
import zipfile
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from poseling.data import synthetic
from poseling.data.mini import Part
from poseling.files import read_image, write_bytes
from poseling.synth.synthesize import synthesize

SHARES: dict[Part, float] = {"train": 8 / 11, "val": 1 / 11, "test": 2 / 11}
LARGEST = 8_000_000  # bytes
LARGE = 256  # pixels of the images before they are made small
AROUND = 1.6  # size of the window relative to the person, so that crops can be padded, rotated and zoomed


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--count", type=int, default=1650)
    parser.add_argument("--side", type=int, default=176)
    parser.add_argument("--quality", type=int, default=70)
    parser.add_argument("--seed", type=int, default=20261121)
    parser.add_argument(
        "--work", type=Path, help="a folder for the large images; a temporary one if not given"
    )
    flags = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        work, packed = flags.work or Path(temporary), Path(temporary) / "small"
        for split, share in SHARES.items():
            made = synthesize(work / split, round(share * flags.count), LARGE, flags.seed, split)
            print(f"{split}: {made.made + made.already} images, {made.images_per_second:.1f} a second")
            shrink(work / split, packed / split, flags.side, flags.quality)
        files = {
            path.relative_to(packed).as_posix(): path.read_bytes()
            for path in sorted(packed.rglob("*"))
            if path.is_file()
        }
    data = pack(files)
    if len(data) > LARGEST:
        raise SystemExit(
            f"{flags.out}: would be {len(data)} bytes, more than {LARGEST}; lower --quality, --side or "
            f"--count. Nothing was written"
        )
    write_bytes(flags.out, data)
    images = sum(name.endswith(".webp") for name in files)
    print(f"{flags.out}: {images} images of at most {flags.side} x {flags.side}, {len(data) / 1e6:.2f} MB")


def shrink(large: Path, to: Path, side: int, quality: int) -> None:
    """Writes the synthetic set in `large` to the folder `to`, shrunk: for each image the window around the
    person, at most `side` pixels wide and high.
    """
    about = synthetic.read_note(large)
    assert about is not None
    synthetic.claim(to, about | {"size": side, "quality": quality})
    images = synthetic.image_paths(large)
    for first, path in synthetic.truth_paths(large).items():
        block, rows = synthetic.read_truth(path), []
        for i in range(len(block["motion"])):
            truth, image = (
                {name: values[i] for name, values in block.items()},
                read_image(images[first + i], bgr=True),
            )
            left, top, width = window(truth["box"], len(image))
            size = min(side, width)
            small = cv2.resize(
                image[top : top + width, left : left + width], (size, size), interpolation=cv2.INTER_AREA
            )
            encoded = cv2.imencode(".webp", small, [cv2.IMWRITE_WEBP_QUALITY, quality])[1]
            write_bytes(synthetic.image_path(to, first + i).with_suffix(".webp"), encoded.tobytes())
            rows.append(moved(truth, left, top, size / width, size))
        synthetic.write_truth(synthetic.truth_path(to, first), rows)


def window(box: NDArray[np.floating], image: int) -> tuple[int, int, int]:
    """Left, top, and width: a square of whole pixels of an image (`image` wide and high) around `box` times
    AROUND, shifted to stay inside the image.
    """
    width = min(image, math.ceil(AROUND * max(box[2] - box[0], box[3] - box[1])))
    left, top = (
        min(max(0, round((low + high - width) / 2)), image - width)
        for low, high in ((box[0], box[2]), (box[1], box[3]))
    )
    return left, top, width


def moved(
    truth: dict[str, NDArray[Any]], left: int, top: int, by: float, side: int
) -> dict[str, NDArray[Any]]:
    """One person's ground truth in a window that starts at `left`, `top` and is scaled by `by` to `side`
    pixels. Pixel centres are at whole numbers, so u becomes (u - left + 0.5) by - 0.5; metres are unchanged.
    """

    def there(points: NDArray[np.floating]) -> NDArray[np.float32]:
        return ((points.astype(np.float64) - [left, top] + 0.5) * by - 0.5).astype(np.float32)

    joints, box = there(truth["joints"]), there(truth["box"].reshape(2, 2)).reshape(4)
    inside = ((joints >= -0.5) & (joints < side - 0.5)).all(-1)
    camera = np.concatenate([truth["camera"][:2] * np.float32(by), there(truth["camera"][2:])])
    return truth | {"joints": joints, "box": box, "camera": camera, "visible": truth["visible"] * inside}


def pack(files: dict[str, bytes]) -> bytes:
    """A zip of them, in this order, the same bytes for the same files: stored without compression, since
    images do not shrink any more, and without a time.
    """
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        for name, data in files.items():
            entry = zipfile.ZipInfo(name)  # its time is 1980, where zip's calendar begins
            entry.create_system, entry.external_attr = 3, 0o644 << 16
            archive.writestr(entry, data)
    return file.getvalue()


if __name__ == "__main__":
    main()
