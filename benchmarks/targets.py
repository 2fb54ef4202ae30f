"""One network in every runtime that is here: how far its joints are from PyTorch's, and its time over ONNX
Runtime's.

    python benchmarks/targets.py --model poseling-n --packed DIR --out WORK
    litert/bin/python benchmarks/targets.py --packed DIR --out WORK --to onnx litert   # docs/compress.md makes litert/

DIR is a packed set with train and val (lsp). The crops are people of val, whose labels judge what is in eight
bits; its ranges are of people of train. Both times are of one run, in turns, on one thread.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from poseling.compress import start
from poseling.compress.command import canonical
from poseling.data.packed import packed
from poseling.export.targets import export_to
from poseling.files import read_image
from poseling.geometry import Crop
from poseling.models import checkpoint
from results import write

PEOPLE, CALIBRATED = 128, 128


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default="poseling-n")
    parser.add_argument("--packed", type=Path, required=True)
    parser.add_argument("--to", nargs="+", default=["all"])
    parser.add_argument("--out", type=Path, required=True)
    flags = parser.parse_args()
    network, spec = start.load(flags.model)
    path = flags.out / f"{Path(flags.model).stem}.safetensors"
    checkpoint.save(path, network, spec)
    judges = packed(flags.packed / "val").to(spec.skeleton)[:PEOPLE]
    crops = [Crop.from_box(box, spec.size, spec.padding) for box in judges.boxes]
    made = export_to(
        path,
        flags.out,
        flags.to,
        np.stack([c.warp(read_image(image)) for c, image in zip(crops, judges.images, strict=True)]),
        (np.stack([c.apply(j) for c, j in zip(crops, judges.joints, strict=True)]), judges.visible),
        canonical(packed(flags.packed / "train"), spec, CALIBRATED),
    )
    rows = []
    for one in made:
        if one.pixels is not None and one.ratio is not None:
            rows.append(
                {
                    "name": one.target,
                    "value": one.pixels,
                    "unit": "px, 99 % of joints",
                    "ratio": one.ratio,
                    "ratio_to": "ONNX Runtime's time",
                }
            )
        if one.strict is not None:
            rows.append(
                {"name": f"{one.target}_strict", "value": one.strict, "unit": "PCK@0.1 against labels"}
            )
        print(one)
    others = "; ".join(f"{one.target}: {one.state}" for one in made if one.pixels is None)
    write(
        "targets",
        rows,
        f"{flags.model}, {PEOPLE} people, one crop at a time. {others}".rstrip(),
        block=" ".join(flags.to),
    )


if __name__ == "__main__":
    main()
