"""MoVNect taught by VNect, on synthetic people with places in space and on LSP's with labels in the picture, as far as two CPU cores get.

    python benchmarks/movnect.py train --people DIR --root DIR --metres blazepose-heavy.onnx --out DIR [--seeds 3] [--stages ...]

`--people` holds train/ and test/ (`poseling data synthesize --count 16000 --seed 11 --size 192`, and 1000 of --split test), `--root` lsp/ and lspet/. A stopped run goes
on where it was; two processes can share the stages.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import torch

from poseling.recipes.movnect import STAGES, SpaceSetup, movnect

NUMBERS: dict[str, Any] = {
    "data": "synthetic", "size": 96, "loss": "kl", "sigma": 1.0, "optimizer": "adamw", "schedule": "one_cycle", "learning_rate": 2e-3, "weight_decay": 0.01,
    "batch": 32, "epochs": 3, "rotation": 20.0, "scale": 0.2, "light": 0.2, "evaluate_every": 1.0, "bf16": True, "keep_pictures": True,
}  # fmt: skip


def train(flags: argparse.Namespace) -> None:
    """The recipe with the numbers above."""
    torch.set_num_threads(1)
    setup = SpaceSetup(**NUMBERS, root=flags.people, out=flags.out, seeds=flags.seeds, seed=flags.seed)
    movnect(
        setup,
        teacher=flags.teacher,
        pictures="lsp",
        pictures_root=flags.root,
        metres=flags.metres,
        epochs_2d=1.5,
        teacher_epochs=4,
        stages=tuple(flags.stages),
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True)
    training = commands.add_parser("train")
    training.set_defaults(run=train)
    training.add_argument("--people", type=Path, required=True)
    training.add_argument("--root", type=Path, required=True)
    training.add_argument("--metres")
    training.add_argument("--teacher", default="vnect-50")
    training.add_argument("--out", type=Path, required=True)
    training.add_argument("--seeds", type=int, default=1)
    training.add_argument("--seed", type=int, default=0)
    training.add_argument("--stages", nargs="+", default=STAGES)
    flags = parser.parse_args()
    flags.run(flags)


if __name__ == "__main__":
    main()
