"""What synthetic people are worth on real images: one student trained on them alone, on LSP 1-850 alone, and
on both, tested on LSP 1001-2000, PCK@0.2.

    python benchmarks/synthetic_on_real.py --synthetic DIR --root DIR --out DIR [--seeds 3] [--real N] [--longer EPOCHS] [--only ARM ...] [--block NAME]

--synthetic is a folder that `poseling data synthesize` wrote, --root holds lsp/. All arms take equally many
steps: --epochs are counted in the real people, LSP 1-850 or the first --real of them. On both, every second
image of an epoch is real, however many synthetic ones there are: they vary more, but the test images are like
the real ones. A stopped run continues. Processes with different --seed may share one --out; the last, over
all seeds, writes the result.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from poseling.data.dataset import PoseDataset, join
from poseling.data.synthetic import synthetic
from poseling.evaluate.spread import mean_and_spread
from poseling.geometry import joints_box
from poseling.recipes.config import TrainConfig
from poseling.recipes.experiment import Experiment, Trained
from results import write

SETUP = TrainConfig(
    data=("lsp",),
    batch=32,
    optimizer="adamw",
    schedule="one_cycle",
    weight_decay=0.01,
    learning_rate=2e-3,
    loss="kl",
    sigma=1.5,
    bf16=True,
)
ARMS = ("synthetic", "real", "both", "synthetic_then_real")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--synthetic", type=Path, required=True)
    parser.add_argument("--root", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--real", type=int, default=850, help="so many of LSP's 850 training people")
    parser.add_argument("--student", default="hourglass-1x64")
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--epochs", type=float, default=40)
    parser.add_argument(
        "--longer", type=float, help="also train on LSP alone for so many epochs, where more steps may help"
    )
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument(
        "--block", default="", help="a name for these settings, so that other ones' results stay"
    )
    parser.add_argument("--only", choices=ARMS, nargs="*", default=ARMS[:3])
    flags = parser.parse_args()
    torch.set_num_threads(flags.threads)
    own = {"size": flags.size, "epochs": flags.epochs, "evaluate_every": max(1.0, flags.epochs / 4)}
    config = replace(SETUP, root=(flags.root,), out=flags.out, seeds=flags.seeds, seed=flags.seed, **own)
    experiment = Experiment.of("synthetic_on_real", config, flags.student)
    experiment = experiment.with_dataset(experiment.dataset[: flags.real])
    made = as_labelled(synthetic(flags.synthetic), experiment.dataset)
    arms = {name: [run(experiment, name, made, seed) for seed in experiment.seeds] for name in flags.only}
    if flags.longer:
        arms["real_longer"] = [
            experiment.fit(
                "real_longer", experiment.learner(seed), experiment.supervised(), epochs=flags.longer
            )
            for seed in experiment.seeds
        ]
    notes = f"{flags.student} at {flags.size}x{flags.size}, {len(experiment.dataset)} real and {len(made)} synthetic people, {flags.epochs:g} epochs of {len(experiment.dataset)}"
    write(
        "synthetic_on_real",
        rows(arms, experiment.measure.name),
        notes + (f", {flags.longer:g} for real_longer" if flags.longer else ""),
        flags.block,
    )


def as_labelled(made: PoseDataset, real: PoseDataset) -> PoseDataset:
    """Synthetic people with `real`'s conventions: its joints, and boxes around the joints instead of the
    whole person.
    """
    dataset = made.to(real.skeleton)
    dataset = dataset[(dataset.visible > 0).mean(1) >= 0.5]  # people in LSP are nearly whole in their images
    boxes = [
        joints_box(joints, seen > 0) for joints, seen in zip(dataset.joints, dataset.visible, strict=True)
    ]
    return replace(dataset, boxes=np.array(boxes, np.float32))


def half_and_half(real: PoseDataset, made: PoseDataset) -> PoseDataset:
    """One epoch of both: the smaller set again and again, until it is as large as the other."""
    count = max(len(real), len(made))
    return join(*(dataset[np.arange(count) % len(dataset)] for dataset in (real, made)))


def run(experiment: Experiment, arm: str, made: PoseDataset, seed: int) -> Trained:
    """One training; all of them take equally many steps."""
    terms, epochs = experiment.supervised(), experiment.config.epochs
    assert epochs is not None  # the command line has one
    if arm == "synthetic_then_real":
        learner = experiment.learner(seed)
        first = experiment.fit("synthetic_first", learner, terms, dataset=made, epochs=epochs / 2)
        return experiment.fit(arm, experiment.learner(seed, start=first), terms, epochs=epochs / 2)
    dataset = {"synthetic": made, "real": experiment.dataset, "both": half_and_half(experiment.dataset, made)}
    return experiment.fit(arm, experiment.learner(seed), terms, dataset=dataset[arm])


def rows(arms: Mapping[str, Sequence[Trained]], metric: str) -> list[dict[str, Any]]:
    """Each arm, and its difference to real images alone, seed by seed."""
    values = {name: [trained.score.mean for trained in arm] for name, arm in arms.items()}
    out = [_row(name, found, metric) for name, found in values.items()]
    if "real" in values:
        others = [name for name in values if name != "real"]
        out += [
            _row(
                f"{name}_minus_real",
                [a - b for a, b in zip(values[name], values["real"], strict=True)],
                metric,
            )
            for name in others
        ]
    return out


def _row(name: str, values: Sequence[float], unit: str) -> dict[str, Any]:
    mean, spread = mean_and_spread(values)
    return {
        "name": name,
        "value": mean,
        "unit": unit,
        "spread": spread,
        "values": list(values),
    }


if __name__ == "__main__":
    main()
