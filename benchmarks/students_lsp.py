"""KDLPN, a mobile ViTPose and a mobile TokenPose on real images: LSP 1-850 and LSPET to train on, LSP
1001-2000 to test on, PCK@0.2, with and without a teacher.

    python benchmarks/students_lsp.py kdlpn --root DIR --teacher movenet-thunder.onnx --out DIR [--seeds 3]

DIR holds lsp/ and lspet/. The settings fit two shared cores and an hour: each student sees each sample once
or twice. A stopped run continues.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import torch

from poseling.recipes.config import CocoConfig
from poseling.recipes.kdlpn import KDLPNTeacher, kdlpn
from poseling.recipes.tokenpose_mobile import TokenPoseTeacher, tokenpose_mobile
from poseling.recipes.vitpose_mobile import ViTPoseTeacher, vitpose_mobile
from results import report_rows, write

SHARED: dict[str, Any] = {
    "data": ("lsp", "lspet"), "size": 96, "width": 96, "loss": "kl", "sigma": 1.5, "optimizer": "adamw", "schedule": "one_cycle", "weight_decay": 0.01,
    "rotation": 30.0, "scale": 0.25, "evaluate_every": 0.5, "resident": True,
}  # fmt: skip
# The recipe, its teacher's flags, its student, and the numbers of each.
STUDENTS: dict[str, tuple[Any, Any, str, dict[str, Any]]] = {
    "kdlpn": (kdlpn, KDLPNTeacher, "kdlpn-128", {"epochs": 1.5, "learning_rate": 2e-3, "bf16": True}),
    "vitpose_mobile": (
        vitpose_mobile,
        ViTPoseTeacher,
        "vitpose_mobile-efficientnet_lite0-simple-128",
        {"epochs": 1.0, "learning_rate": 1e-3, "pretrained": "imagenet"},
    ),
    "tokenpose_mobile": (
        tokenpose_mobile,
        TokenPoseTeacher,
        "tokenpose_mobile-mobilenetv2_050-2",
        {"epochs": 1.5, "learning_rate": 1e-3},
    ),
}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("student", choices=STUDENTS)
    parser.add_argument("--root", type=Path, required=True)
    parser.add_argument("--teacher", required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seeds", type=int, default=1)
    flags = parser.parse_args()
    torch.set_num_threads(1)
    recipe, teacher, student, own = STUDENTS[flags.student]
    config = CocoConfig(**SHARED, **own, root=(flags.root,), out=flags.out / flags.student, seeds=flags.seeds)
    report = recipe(config, teacher=teacher(teacher=flags.teacher, teacher_flip=True), student=student)
    write(
        f"{flags.student}_lsp",
        report_rows(report),
        notes=f"{student}, {config.size}x{config.size}, {config.epochs:g} epochs, batch {config.batch}",
    )


if __name__ == "__main__":
    main()
