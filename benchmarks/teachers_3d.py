"""What two BlazePoses say about people with truth: how far each is off, how far their mean is, and whether
their disagreement and odd proportions tell which joints are wrong.

    python benchmarks/teachers_3d.py --peers DIR --valid DIR --synthetic DIR

Validation people of VALID (valid_people.py) and of our renderer, by whom how family_3d.py weighs its teachers
was chosen (teachers.pseudo: APART, ODD). Errors are PA-MPJPE, definitions of joints calibrated away on the
same people.
"""

from __future__ import annotations

import argparse
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import spearmanr

from poseling.data.dataset import PoseDataset
from poseling.data.synthetic import synthetic
from poseling.evaluate import mpjpe
from poseling.skeleton import BODY19, MOVNECT15
from poseling.teachers.cache import PseudoLabels, label
from poseling.teachers.onnx import OnnxTeacher
from poseling.teachers.pseudo import by_proportions, pseudo_labels_3d
from poseling.teachers.upright import Upright
from results import write
from space import SHARED

PEOPLE = 200  # of each set


def off(told: PoseDataset, truth: PoseDataset) -> NDArray[np.float64]:
    """(N, 15) mm of the 3D joints of one data set from those of another."""
    mine, theirs = told.to(MOVNECT15).joints_3d, truth.to(MOVNECT15).joints_3d
    assert mine is not None
    assert theirs is not None
    known = (theirs != 0).any(-1) & (mine != 0).any(-1) & SHARED
    offsets = mpjpe.calibrate(mine, theirs, known, MOVNECT15)
    return mpjpe.pa_distances(mpjpe.calibrated(mine, offsets, MOVNECT15), theirs, known)


def measured(name: str, truth: PoseDataset, heavy: Upright, full: Upright) -> list[dict[str, Any]]:
    """The rows of one set."""
    bare = replace(truth, joints_3d=None, confidence_3d=None).without_labels()
    with tempfile.TemporaryDirectory() as folder:

        def asked(teacher: Upright, flip: bool) -> PseudoLabels:
            store = label(teacher, bare, f"{folder}/{teacher.name}-{flip}", flip).store
            return PseudoLabels.open(store, bare, BODY19)

        once, both, second = asked(heavy, False), asked(heavy, True), asked(full, True)
        single = pseudo_labels_3d(once, bare)
        told = {
            "heavy": single,
            "heavy_flip": pseudo_labels_3d(both, bare),
            "full_flip": pseudo_labels_3d(second, bare),
            "mean": pseudo_labels_3d(once, bare, others=[second]),
        }
    rows: list[dict[str, Any]] = []

    def row(what: str, value: float, unit: str) -> None:
        rows.append({"name": f"{name}.{what}", "value": float(value), "unit": unit})

    errors = {each: off(places, truth) for each, places in told.items()}
    for each, mm in errors.items():
        row(each, float(np.nanmean(mm)), "mm")
    # From the weights, how far apart the two are, and how odd the proportions.
    alone, agreed = weights(single), weights(told["mean"])
    proportioned = weights(by_proportions(told["mean"]))
    known = ~np.isnan(errors["mean"]) & (alone > 0)
    for what, weight in (("score", alone), ("agreement", agreed), ("proportions", proportioned)):
        mean = np.average(errors["mean"][known], weights=weight[known])
        row(f"weighed_by_{what}", mean, "mm")
    for what, sign in (
        ("agreement", agreed / alone),
        ("proportions", proportioned / agreed),
        ("score", alone),
    ):
        rank = spearmanr(errors["mean"][known], sign[known], nan_policy="omit").statistic
        row(f"rank_{what}", rank, "rank correlation of a joint's error")
    row(
        "kept",
        (proportioned[known] / alone[known]).mean(),
        "of the score's weight, agreement and proportions",
    )
    return rows


def weights(told: PoseDataset) -> NDArray[np.float64]:
    """(N, 15) the confidence of the joints."""
    confidence = told.to(MOVNECT15).confidence_3d
    assert confidence is not None
    return confidence.astype(np.float64)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    for flag in ("peers", "valid", "synthetic"):
        parser.add_argument(f"--{flag}", type=Path, required=True)
    flags = parser.parse_args()
    torch.set_num_threads(1)
    heavy, full = (
        Upright(OnnxTeacher(flags.peers / f"blazepose-{name}.onnx", threads=1)) for name in ("heavy", "full")
    )
    rows = []
    for name, root in (("valid", flags.valid), ("synthetic", flags.synthetic)):
        people = synthetic(root / "val").to(BODY19)
        rows += measured(name, people[: min(PEOPLE, len(people))], heavy, full)
    for row in rows:
        print(f"{row['name']}: {row['value']:.3f} {row['unit']}")
    write(
        "teachers_3d",
        rows,
        f"{PEOPLE} validation people each, of VALID and of our renderer; asked upright, Heavy once or over "
        "flips, Full over flips. mean: Heavy's single pass and Full's, after the best similarity. weighed_by: "
        "the mean's error, joints weighing as much as in training.",
    )


if __name__ == "__main__":
    main()
