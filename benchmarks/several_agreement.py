"""How well the confidence of several teachers separates right joints from wrong ones, with and without their
agreement, and whether their mean is better.

    python benchmarks/several_agreement.py --teachers ONNX ONNX ... --root DIR --count 500

LSP's and LSPET's training people, spread evenly. `auc` is the probability that a right joint (within 0.2
torsos of the label) has a higher confidence than a wrong one; chance is 0.5. Joints that all teachers have.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import cyclopts
import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import rankdata

from poseling.data import lsp
from poseling.data.dataset import join
from poseling.evaluate import pck
from poseling.evaluate.predict import in_skeleton, predict
from poseling.geometry import person_size
from poseling.teachers.ensemble import TAU, combine
from poseling.teachers.onnx import OnnxTeacher
from results import write

TAUS = (0.03, 0.05, TAU, 0.2, 0.3, float("inf"))


def main(
    teachers: Annotated[list[Path], cyclopts.Parameter(consume_multiple=True)], root: Path, count: int = 500
) -> None:
    """Measures each teacher, and all of them together, and writes results/several_agreement.json.

    Parameters
    ----------
    teachers
        ONNX files that poseling.teachers.load knows.
    root
        The folder with lsp/ and lspet/.
    count
        How many people.
    """
    torch.set_num_threads(1)
    everyone = join(lsp.train(root), lsp.lspet(root / "lspet"))
    dataset = everyone[np.linspace(0, len(everyone) - 1, count).astype(int)]
    xy, score = [], []
    for path in teachers:
        teacher = OnnxTeacher(path, threads=1)
        found = in_skeleton(predict(teacher, dataset), dataset.skeleton)
        xy.append(found.xy)
        score.append(found.score)
    counts = (dataset.visible > 0) & np.isfinite(np.stack(xy)).all((0, 3))
    torso = pck.torso_length(dataset.joints, dataset.visible, dataset.skeleton)

    def told(
        name: str, joints: NDArray[np.floating], confidence: NDArray[np.floating]
    ) -> list[dict[str, Any]]:
        right = (np.linalg.norm(joints - dataset.joints, axis=-1) < 0.2 * torso[:, None])[counts]
        return [
            {"name": f"{name}, pck", "value": float(right.mean()), "unit": "PCK@0.2"},
            {"name": f"{name}, auc", "value": auc(confidence[counts], right), "unit": "probability"},
        ]

    rows = [
        row
        for path, joints, sure in zip(teachers, xy, score, strict=True)
        for row in told(path.stem, joints, sure)
    ]
    ones, size = np.ones((len(teachers), len(dataset.skeleton)), np.float32), person_size(dataset.boxes)
    for tau in TAUS:
        name = "together, without agreement" if np.isinf(tau) else f"together, tau {tau:g}"
        both = told(name, *combine(np.stack(xy), np.stack(score), ones, size, tau))
        rows += both if np.isinf(tau) else both[1:]  # tau does not move the joints
    names = ", ".join(path.stem for path in teachers)
    write(
        "several_agreement",
        rows,
        f"{names}; {count} people of LSP's and LSPET's training images, weights of 1",
        block=names,
    )


def auc(confidence: NDArray[np.floating], right: NDArray[np.bool_]) -> float:
    """The probability that a right joint has a higher confidence than a wrong one; ties count half."""
    yes = int(right.sum())
    return float((rankdata(confidence)[right].sum() - yes * (yes + 1) / 2) / (yes * (len(right) - yes)))


if __name__ == "__main__":
    cyclopts.run(main)
