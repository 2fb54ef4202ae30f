"""Speed of `poseling data synthesize` with its defaults: images of 256x256 with their ground truth, written
to disk.

    python benchmarks/synthesis.py [--count 200] [--rounds 3]

The workers' start is included; it matters less with more images.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import Any

from poseling.evaluate.spread import mean_and_spread
from poseling.synth.render import Renderer, is_gpu
from poseling.synth.synthesize import synthesize
from results import write

SIZE = 256


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--count", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=3)
    flags = parser.parse_args()
    rates: dict[int, list[float]] = {1: [], 2: []}
    with tempfile.TemporaryDirectory() as folder:
        for turn in range(flags.rounds):
            for workers, found in rates.items():  # in turn, so that a busy machine disturbs both alike
                made = synthesize(
                    Path(folder) / f"{turn}-{workers}", flags.count, SIZE, seed=turn, workers=workers
                )
                found.append(made.images_per_second)
    where = "gpu" if is_gpu(Renderer(SIZE).name) else "cpu"
    rows = [
        row(f"pictures_per_second_{where}", rates[2]),
        row(f"pictures_per_second_{where}_one_worker", rates[1]),
    ]
    write(
        "synthesis",
        rows,
        f"{flags.count} images of {SIZE}x{SIZE} a round, {flags.rounds} rounds, two workers and one in turn",
        block=where,
    )


def row(name: str, rates: list[float]) -> dict[str, Any]:
    """Mean and spread over the rounds."""
    mean, spread = mean_and_spread(rates)
    return {
        "name": name,
        "value": mean,
        "unit": "images/s",
        "spread": spread,
        "values": rates,
    }


if __name__ == "__main__":
    main()
