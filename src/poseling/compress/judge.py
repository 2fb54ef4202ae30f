"""How good a compressed network still is, and how fast: the figures that a choice is made by."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from poseling.data.dataset import PoseDataset
from poseling.evaluate import pck
from poseling.evaluate.evaluator import Evaluator
from poseling.evaluate.latency import Ratio, latency, paired
from poseling.evaluate.shipped import Shipped
from poseling.models.graph import GraphNetwork
from poseling.onnx_session import open_session
from poseling.runtime.network import Network
from poseling.spec import PoseSpec
from poseling.teachers.base import Teacher
from poseling.teachers.network import NetworkTeacher

STRICT = 0.1  # of the torso: what shows that joints have moved a little
ROUNDS = 60
TYPES: dict[str, type[np.generic]] = {
    "tensor(uint8)": np.uint8,
    "tensor(int32)": np.int32,
    "tensor(float)": np.float32,
}


@dataclass(frozen=True)
class Accuracy:
    """PCK@0.2 and PCK@0.1 of the torso (of the box, for skeletons without one), from 0 to 1."""

    pck: float
    strict: float


class Judge:
    """Tells how right networks are about some people: by their labels, or where nobody has any, by the
    original's own answers.
    """

    def __init__(self, dataset: PoseDataset, original: NetworkTeacher) -> None:
        dataset = replace(dataset, instances=None)
        evaluator = Evaluator.of(dataset)
        self.labelled = dataset.labelled
        self.evaluator = (
            evaluator.known_to(original) if self.labelled else evaluator.with_labels_of(original, False)
        )
        self.dataset = dataset

    @property
    def measured(self) -> str:
        """In words what the figures are."""
        by = "labels" if self.labelled else "the original's answers"
        return f"PCK@0.2 and PCK@0.1 against {by}, {len(self.dataset)} people of {self.dataset.name}"

    def network(self, network: GraphNetwork, spec: PoseSpec) -> Accuracy:
        """Of a network in PyTorch."""
        return self(NetworkTeacher(network, spec))

    def file(self, path: Path) -> Accuracy:
        """Of an exported file, as it runs."""
        return self(Shipped(Network(path, threads=1)))

    def __call__(self, teacher: Teacher) -> Accuracy:
        """Of anything that answers."""
        evaluator = self.evaluator
        found, truth = evaluator.predict(teacher, False).xy, evaluator.dataset.joints
        each = [
            pck.pck(found, truth, evaluator.visible, evaluator.lengths, alpha).mean for alpha in (0.2, STRICT)
        ]
        return Accuracy(*each)


def caller(model: Path | bytes, threads: int = 1) -> Callable[[], object]:
    """A call of an exported network on one random crop."""
    session = open_session(model, threads=threads, log=3)
    (port,) = session.get_inputs()
    crop = np.random.default_rng(0).integers(0, 256, (1, *port.shape[1:])).astype(TYPES[port.type])
    if crop.dtype == np.float32:
        crop /= 255
    return lambda: session.run(None, {port.name: crop})


def speed(model: Path | bytes, base: Path | bytes, rounds: int = ROUNDS, threads: int = 1) -> Ratio:
    """The time of one exported network over that of another, in turns; processor time on one thread, else the
    clock's.
    """
    clock = time.process_time if threads == 1 else time.perf_counter
    return paired(caller(model, threads), caller(base, threads), rounds, clock=clock)


def milliseconds(model: Path | bytes, threads: int = 1) -> float:
    """The median of one call."""
    clock = time.process_time if threads == 1 else time.perf_counter
    return latency(caller(model, threads), warmup=10, repeats=ROUNDS, clock=clock).median_ms
