"""Makes the teacher that ships with the package from a trained network: the same weights in half precision,
half the size. Loading converts them to float.

python scripts/make_mini_teacher.py CHECKPOINT --out src/poseling/data/mini-teacher.safetensors
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch

from poseling.models import checkpoint

LARGEST = 6_000_000  # bytes


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    flags = parser.parse_args()
    network, spec = checkpoint.load(flags.checkpoint)
    image = torch.rand(1, 3, *spec.size[::-1])
    with torch.no_grad():
        before = network(image)
        checkpoint.save(flags.out, network.half(), spec)
        after = checkpoint.load(flags.out)[0](image)
    size = flags.out.stat().st_size
    print(
        f"{flags.out}: {spec.model}, {size / 1e6:.2f} MB; its maps differ by "
        f"{float((after - before).abs().max() / before.abs().max()):.2%} at most"
    )
    if not torch.isfinite(after).all() or size > LARGEST:
        raise SystemExit(
            f"{flags.out}: is no use: more than {LARGEST} bytes, or a weight too large for half precision"
        )


if __name__ == "__main__":
    main()
