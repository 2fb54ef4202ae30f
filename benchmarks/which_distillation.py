"""Which objective is worth most: `poseling compare` at the scale of two CPU cores, on real images and on the
mini set, three seeds.

    python benchmarks/which_distillation.py lsp --root DIR --out DIR [--objectives NAME ...]
    python benchmarks/which_distillation.py mini --out DIR

DIR holds lsp/ and lspet/. A stopped run continues. Writes the result, and its part of
docs/which-distillation.md with its plot.
"""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path
from typing import Any

import torch

from poseling.evaluate.spread import mean_and_spread
from poseling.recipes.compare import WAYS, CompareTeacher, compare
from poseling.recipes.config import TrainConfig
from results import HERE, write

DOCS = HERE.parent / "docs"
NUMBERS: dict[str, Any] = {
    "size": 64,
    "batch": 16,
    "learning_rate": 3e-3,
    "loss": "kl",
    "sigma": 1.0,
    "resident": True,
    "workers": 0,
}
# The setup, and how long the teacher, a hourglass-2x64, is trained.
SCALES: dict[str, tuple[dict[str, Any], float]] = {
    "lsp": (
        NUMBERS
        | {"data": ("lsp", "lspet"), "epochs": 1.0, "optimizer": "adamw", "schedule": "one_cycle", "weight_decay": 0.01, "rotation": 30.0, "scale": 0.25, "evaluate_every": 10},
        4.0,
    ),
    "mini": ({"data": ("mini",), "epochs": 4.0, "resident": True, "workers": 0, "evaluate_every": 20}, 15.0),
}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("scale", choices=SCALES)
    parser.add_argument("--root", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--objectives", nargs="*", default=list(WAYS))
    flags = parser.parse_args()
    torch.set_num_threads(1)
    fields, teacher_epochs = SCALES[flags.scale]
    config = TrainConfig(**fields, root=(flags.root,) if flags.root else (), out=flags.out, seeds=flags.seeds)
    found = compare(
        config,
        teacher=CompareTeacher(train_teacher="hourglass-2x64", teacher_epochs=teacher_epochs),
        student="hourglass-1x32",
        objectives=tuple(flags.objectives),
        page=DOCS / "which-distillation.md",
    )
    shutil.copy(flags.out / "compare.png", DOCS / "images" / f"which-distillation-{flags.scale}.png")
    unit = found["metric"]
    mean, spread = mean_and_spread(found["baseline"])
    rows: list[dict[str, Any]] = [
        {"name": "teacher", "value": found["teacher_value"], "unit": unit},
        {"name": "baseline", "value": mean, "unit": unit, "spread": spread, "values": found["baseline"]},
    ]  # fmt: skip
    for row in found["objectives"]:
        gains = row["gains"]
        mean, spread = mean_and_spread(gains)
        rows.append(
            {
                "name": row["name"],
                "value": mean,
                "unit": f"gain in {unit}",
                "spread": spread,
                "values": gains,
            }
        )
    notes = f"{found['student']} at {config.size}x{config.size}, {config.epochs:g} epochs of {found['people']} people, taught by {found['teacher']}"
    write("which_distillation", rows, notes=notes, block=flags.scale)


if __name__ == "__main__":
    main()
