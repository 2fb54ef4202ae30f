"""Which objective is worth most: `poseling compare` at the scale of two CPU cores, three seeds.

    python benchmarks/which_distillation.py people --out WORK [--imagenet FILE] [--objectives NAME ...]   # after `papers.py prepare` and `frontier.py prepare`
    python benchmarks/which_distillation.py few --out WORK                                     # the same where 100 people have labels
    python benchmarks/which_distillation.py lsp --root DIR --out WORK                          # hourglasses at 64x64
    python benchmarks/which_distillation.py mini --out WORK

`people` and `few`: one MobileNetV2 from ImageNet's weights, its teacher poseling-m at the student's input, LSP's
and LSPET's people as in papers.py. A stopped run continues, and two processes can train other --objectives of
one WORK. Writes the result, and its part of docs/which-distillation.md with its plot.
"""

from __future__ import annotations

import argparse
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from frontier import config_of
from papers import NUMBERS, TEACHER, imagenet
from poseling.data.packed import pack, packed
from poseling.evaluate.spread import mean_and_spread
from poseling.models import checkpoint
from poseling.models.graph import GraphNetwork
from poseling.recipes.baseline import baseline
from poseling.recipes.compare import WAYS, CompareTeacher, compare
from poseling.recipes.config import TrainConfig
from results import HERE, write

DOCS = HERE.parent / "docs"
STUDENT = "vitpose_mobile-mobilenetv2-simple"
SHARES = (0.5, 0.1)
# Two small setups with hourglasses: their numbers, and how long the teacher, a hourglass-2x64, is trained.
SMALL: dict[str, tuple[dict[str, Any], float]] = {
    "lsp": (
        {"data": ("lsp", "lspet"), "size": 64, "batch": 16, "learning_rate": 3e-3, "loss": "kl", "sigma": 1.0, "resident": True, "workers": 0, "epochs": 1.0,
         "optimizer": "adamw", "schedule": "one_cycle", "weight_decay": 0.01, "rotation": 30.0, "scale": 0.25, "evaluate_every": 10},
        4.0,
    ),
    "mini": ({"data": ("mini",), "epochs": 4.0, "resident": True, "workers": 0, "evaluate_every": 20}, 15.0),
}  # fmt: skip
PEOPLE = 20_000  # that each training sees
FEW = 100
RATE = 3e-4  # of the teacher, whose weights are trained already


def teacher(work: Path) -> Path:
    """poseling-m for inputs of 128x128, so that it sees the student's crops as they are: half as large as it
    knows them it finds 0.59 of the joints instead of 0.93, so it learns from labels as long as the students.
    """
    begun, out = work / "start" / "m-128.safetensors", work / "runs" / "which" / "teacher"
    if not begun.is_file():
        network, spec = checkpoint.load(TEACHER)
        size = (NUMBERS["width"], NUMBERS["size"])
        assert isinstance(network, GraphNetwork)
        spec = replace(spec, size=size, codec={**spec.codec, "size": [*size]})
        checkpoint.save(begun, network.at(size), spec)
    if not (out / "student.safetensors").is_file():
        config = config_of(TrainConfig, work, out, PEOPLE)
        config = replace(config, learning_rate=RATE, sigma=2.0)  # its maps' own width
        baseline(config, student=str(begun), skeleton="lsp14")
    return out / "student.safetensors"


def few(work: Path) -> Path:
    """LSP's images with FEW people to train on, by lot, and all of its validation and test people."""
    out = work / f"few-{FEW}"
    for part in ("train", "val", "test"):
        if not (out / part).exists():
            dataset = packed(work / "packed" / "lsp" / part)
            if part == "train":
                dataset = dataset[np.sort(np.random.default_rng(0).permutation(len(dataset))[:FEW])]
            pack(dataset, out / part)
    return out


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("scale", choices=("people", "few", *SMALL))
    parser.add_argument("--root", type=Path, help="for lsp: where lsp/ and lspet/ lie")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--imagenet", type=Path)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--objectives", nargs="*", default=list(WAYS))
    flags = parser.parse_args()
    torch.set_num_threads(1)
    out = flags.out / "runs" / "which" / flags.scale
    ways: dict[str, Any] = {"objectives": tuple(flags.objectives), "page": DOCS / "which-distillation.md"}
    if flags.scale in SMALL:
        fields, teacher_epochs = SMALL[flags.scale]
        config = TrainConfig(**fields, root=(flags.root,) if flags.root else (), out=out, seeds=flags.seeds)
        guide = CompareTeacher(train_teacher="hourglass-2x64", teacher_epochs=teacher_epochs)
        found = compare(config, teacher=guide, student="hourglass-1x32", **ways)
    else:
        pretrained = str(flags.imagenet or imagenet(flags.out))
        config = config_of(TrainConfig, flags.out, out, PEOPLE, pretrained=pretrained)
        if flags.scale == "few":
            config = replace(config, data=("packed",), root=(few(flags.out),), epochs=PEOPLE / FEW, evaluate_every=PEOPLE / FEW / 3)  # fmt: skip
        config = replace(config, seeds=flags.seeds)
        guide = CompareTeacher(teacher=str(teacher(flags.out)))
        found = compare(config, teacher=guide, student=STUDENT, share=SHARES, **ways)
    shutil.copy(out / "compare.png", DOCS / "images" / f"which-distillation-{flags.scale}.png")
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
