"""Whether a term for consistent neighbours makes a 3D network tremble less, and what it costs.

    python benchmarks/stillness.py --peers DIR --valid DIR --out WORK [--people 8000] [--seed 0]

WORK is that of family_3d.py, after its `start`; DIR of --valid is what valid_people.py made, with films. Two
trainings from one start (poseling3d-n's) see the same crops in the same order. One of them sees half of each
batch once more, moved and scaled by up to two hundredths, blurred by that and with noise, as the next frame
of a video shows a person, and learns to answer alike: L1 of the two answers' metres, whatever is right.

Trembling is the acceleration error of the network's own answers on the films, before any filter, and after
the filters and the fit.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from family_3d import LOCATIONS, NETWORKS, NUMBERS, Judge, people
from poseling.codecs.losses import named
from poseling.data.dataset import PoseDataset
from poseling.data.sets import load_all
from poseling.distill.objective import Term, spatial_terms
from poseling.evaluate.motion import accel
from poseling.export.onnx import export
from poseling.recipes.config import TrainConfig
from poseling.recipes.experiment import Experiment
from poseling.skeleton import BODY19, MOVNECT15
from poseling.teachers.checkpoint import checkpoint_teacher
from poseling.teachers.onnx import OnnxTeacher
from post_processing import films_of, on_film
from results import mean_row, write

MOVED, NOISE = 0.02, 0.05  # of the input's half sides, and of a normalised pixel
WEIGHTS = {"alone": 0.0, "consistent": LOCATIONS}


class Neighbours(nn.Module):
    """A 3D network whose answers to the first half of a batch, and to the same images moved a little, pass
    through `still` while it trains: (2, B/2, K, 3) metres.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network, self.still = network, nn.Identity()

    def forward(self, images: Tensor) -> Tensor:
        outputs: Tensor = self.network(images)
        if self.training:
            half = len(images) // 2
            again = self.network(moved(images[:half]))
            self.still(torch.stack([found[:, -1, :, -3:] for found in (outputs[:half], again)]))
        return outputs


def moved(images: Tensor) -> Tensor:
    """Images (B, 3, H, W) as the next frame might show them."""
    grid = torch.zeros(len(images), 2, 3)
    grid[:, :, 2] = MOVED * (2 * torch.rand(len(images), 2) - 1)
    grid[:, [0, 1], [0, 1]] = 1 + MOVED * (2 * torch.rand(len(images), 1) - 1)
    at = F.affine_grid(grid, list(images.shape), align_corners=False)
    seen = F.grid_sample(images, at, padding_mode="border", align_corners=False)
    return (seen + NOISE * torch.randn_like(seen)).contiguous(memory_format=torch.channels_last)


def apart(answers: Tensor, weight: Tensor) -> Tensor:
    """The mean distance (L1) of pairs (2, B, K, 3)."""
    return (answers[0] - answers[1]).abs().sum(-1).mean()


def train(arm: str, work: Path, seen: int, seed: int) -> Path:
    """One training; its file."""
    data, folders = people(work)
    known = len(load_all(data, folders, BODY19).train)
    width, height = NETWORKS["n"]
    # One rate for all layers, low enough for those that are trained already.
    numbers = NUMBERS | {
        "layer_decay": 1.0,
        "learning_rate": 2e-4,
        "epochs": seen / known,
        "evaluate_every": 1.0,
    }
    config = TrainConfig(
        **numbers,
        data=data,
        root=folders,
        out=work / "runs" / "stillness",
        width=width,
        size=height,
        seed=seed,
    )
    first = str(work / "start" / "3d-n.safetensors")
    experiment = Experiment.of("stillness", config, first, BODY19, is_3d=True)
    learner, terms = experiment.learner(seed), spatial_terms(experiment.codec, config.loss, 0.0, LOCATIONS)
    if weight := WEIGHTS[arm]:
        terms = (*terms, Term("still", named(apart, "apart"), weight, "itself", at="still"))
        learner = replace(
            learner,
            module=Neighbours(learner.module),
            kept=(
                experiment.spec(experiment.student, arm).model,
                lambda paired: paired.get_submodule("network"),
            ),
        )
    return experiment.fit(arm, learner, terms).path


def trembling(films: list[PoseDataset], model: Path) -> dict[str, list[float]]:
    """Film by film, the acceleration error in mm a frame squared, before and after the filters and the fit."""
    found: dict[str, list[float]] = {"raw": [], "filtered": []}
    for film in films:
        done = on_film(film, model)[0][0]
        assert film.joints_3d is not None
        xyz = film.joints_3d[done.rows].astype(np.float64)
        truth = xyz - xyz[:, [MOVNECT15.index("pelvis")]]
        found["raw"].append(accel(done.raw, truth))
        found["filtered"].append(accel(done.xyz, truth))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    for flag in ("peers", "valid", "out"):
        parser.add_argument(f"--{flag}", type=Path, required=True)
    parser.add_argument("--people", type=int, default=8000)
    parser.add_argument("--seed", type=int, default=0)
    flags = parser.parse_args()
    torch.set_num_threads(1)
    files = {arm: train(arm, flags.out, flags.people, flags.seed) for arm in WEIGHTS}
    films = films_of(flags.valid / "films")
    judge = Judge(OnnxTeacher(flags.peers / "blazepose-heavy.onnx", threads=1), flags.valid, flags.out)
    rows: list[dict[str, Any]] = []
    for arm, file in files.items():
        for name, mm in judge(checkpoint_teacher(file)).items():
            rows.append({"name": f"{arm}.pa_{name}", "value": mm, "unit": "mm"})
        model = file.with_suffix(".onnx")
        export(file, model)
        for name, values in trembling(films, model).items():
            rows.append(mean_row(f"{arm}.{name}", "mm a frame squared", values))
    for row in rows:
        print(f"{row['name']}: {row['value']:.2f} {row['unit']}")
    write(
        "stillness",
        rows,
        f"From poseling3d-s at {NETWORKS['n'][0]}x{NETWORKS['n'][1]}, {flags.people:,} samples, one seed. raw, "
        f"filtered: acceleration error of the answers and after filters and fit, {len(films)} films of VALID's "
        f"people, standard deviation over films. {judge}",
    )


if __name__ == "__main__":
    main()
