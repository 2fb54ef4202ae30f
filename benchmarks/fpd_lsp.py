"""The worth of a teacher on real images: LSP 1-850 and LSPET to train on, LSP 1001-2000 to test on, PCK@0.2,
three seeds.

    python benchmarks/fpd_lsp.py --root DIR --scale cpu --out DIR [--seeds 3] [--only VARIANT]

DIR holds lsp/ and lspet/. A stopped run continues. Processes with different --seed may share one
--out; the last, over all seeds, writes the result.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from poseling.data.dataset import PoseDataset, join
from poseling.data.images import images
from poseling.recipes import results as outcome
from poseling.recipes.baseline import baseline
from poseling.recipes.config import TrainConfig
from poseling.recipes.experiment import Experiment, TeacherSignal, Trained
from poseling.teachers.base import Teacher
from results import report_rows, write

CPU = TrainConfig(
    data=("lsp", "lspet"),
    size=128,
    batch=32,
    optimizer="adamw",
    schedule="one_cycle",
    weight_decay=0.01,
    loss="kl",
    sigma=1.5,
    bf16=True,
)
# What both networks of a scale share, then what is each one's own. The CPU's is as large as two cores allow
# in an hour or two.
SCALES: dict[str, dict[str, Any]] = {
    "cpu": {
        "setup": CPU,
        "teacher": {"name": "hourglass-4x128", "epochs": 7, "learning_rate": 1.2e-3},
        "student": {"name": "hourglass-1x64", "epochs": 8, "learning_rate": 2e-3},
    },
    # The same teacher, which has learnt from LSPET too, and the same student, which has LSP 1-850 alone;
    # `more_images` adds LSPET's images without labels.
    "cpu_few_labels": {
        "setup": CPU,
        "labels": 850,
        "teacher": {"name": "hourglass-4x128", "epochs": 7, "learning_rate": 1.2e-3},
        "student": {"name": "hourglass-1x64", "epochs": 30, "learning_rate": 2e-3, "evaluate_every": 10},
    },
    "gpu": {
        "setup": TrainConfig(
            data=("lsp", "lspet"),
            size=256,
            batch=32,
            optimizer="adamw",
            schedule="one_cycle",
            weight_decay=0.01,
            loss="kl",
            bf16=True,
            workers=12,
        ),
        "teacher": {"name": "hourglass-8x256", "epochs": 60, "learning_rate": 1e-3},
        "student": {"name": "hourglass-4x128", "epochs": 60, "learning_rate": 1.5e-3},
    },
}


@dataclass(frozen=True)
class Variant:
    """A variant of distillation: the teacher's share of the loss, its test-time augmentation, whether its
    score is the weight, and whether there are unlabelled images.
    """

    alpha: float = 0.5
    flip: bool = False
    scales: tuple[float, ...] = (1.0,)
    confidence: bool = False
    more: bool = False


VARIANTS = {
    "distilled": Variant(),  # FPD
    "teacher_alone": Variant(alpha=1.0),
    "averaged_teacher": Variant(flip=True, scales=(0.9, 1.0, 1.1)),
    "confident_teacher": Variant(confidence=True),
    "more_images": Variant(more=True),
}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--root", type=Path, required=True)
    parser.add_argument("--scale", choices=SCALES, default="cpu")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument(
        "--unlabelled", type=Path, help="a folder of more images without labels, for more_images"
    )
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument(
        "--only", choices=("baseline", *VARIANTS), nargs="*", default=["baseline", "distilled"]
    )
    flags = parser.parse_args()
    torch.set_num_threads(flags.threads)
    scale = SCALES[flags.scale]
    config = replace(scale["setup"], root=(flags.root,))
    own = {who: {k: v for k, v in scale[who].items() if k != "name"} for who in ("teacher", "student")}
    taught = flags.out / "teacher"
    if not (taught / "report.json").is_file():
        baseline(replace(config, out=taught, **own["teacher"]), student=scale["teacher"]["name"])
    out = flags.out / flags.scale
    experiment = Experiment.of(
        "fpd",
        replace(config, out=out, seeds=flags.seeds, seed=flags.seed, **own["student"]),
        scale["student"]["name"],
    )
    teacher = experiment.load_teacher(str(taught / "student.safetensors"))
    experiment = experiment.known_to(teacher)
    more = None
    if "labels" in scale:
        more = experiment.dataset[scale["labels"] :].without_labels()
        experiment = experiment.with_dataset(experiment.dataset[: scale["labels"]])
    if flags.unlabelled:
        unlabelled = images(flags.unlabelled, skeleton=experiment.skeleton)
        more = unlabelled if more is None else join(more, unlabelled)
    arms = {
        name: [run(experiment, name, teacher, seed, more) for seed in experiment.seeds] for name in flags.only
    }
    if {"baseline", "distilled"} <= set(arms):
        signal = TeacherSignal(experiment.label(teacher, experiment.dataset))
        speeds = outcome.speeds(experiment, teacher, signal, experiment.respond(0.5))
        report = outcome.finish(experiment, teacher, arms, speeds)
        write("fpd_lsp", report_rows(report), block=flags.scale)


def run(experiment: Experiment, arm: str, teacher: Teacher, seed: int, more: PoseDataset | None) -> Trained:
    """One training: the control on the labels, or a variant, for equal steps."""
    if arm == "baseline":
        return experiment.fit(arm, experiment.learner(seed), experiment.supervised())
    how = VARIANTS[arm]
    dataset = experiment.dataset if more is None or not how.more else join(experiment.dataset, more)
    answers = experiment.label(teacher, dataset, how.flip, how.scales)
    signal = TeacherSignal(answers, confidence=how.confidence)
    terms = experiment.respond(how.alpha)
    return experiment.fit(arm, experiment.learner(seed), terms, signal, dataset=dataset)


if __name__ == "__main__":
    main()
