"""One network in every runtime that is here: how far its joints are from PyTorch's, and its time over ONNX
Runtime's.

    python benchmarks/targets.py --model poseling-n --packed DIR --out WORK

DIR is a packed set (lsp/val); the crops are its people. Both times are of one run, in turns, on one thread.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from poseling.compress import start
from poseling.compress.command import canonical
from poseling.data.packed import packed
from poseling.export.targets import export_to
from poseling.models import checkpoint
from results import write


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default="poseling-n")
    parser.add_argument("--packed", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    flags = parser.parse_args()
    network, spec = start.load(flags.model)
    path = flags.out / f"{Path(flags.model).stem}.safetensors"
    checkpoint.save(path, network, spec)
    made = export_to(path, flags.out, ("all",), canonical(packed(flags.packed), spec, 64))
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
        print(one)
    others = "; ".join(f"{one.target}: {one.state}" for one in made if one.pixels is None)
    write("targets", rows, f"{flags.model}, 64 people, one crop at a time. {others}")


if __name__ == "__main__":
    main()
