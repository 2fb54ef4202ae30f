"""Our networks compared with MoveNet and BlazePose: the same crops, the same machine, one run.

    python benchmarks/peers.py --root DIR --peers DIR --ours poseling-n=FILE.onnx poseling-s=FILE.onnx [--elsewhere FILE.json ...]

--root holds lsp/; --peers the five ONNX files; --elsewhere names annotation files in COCO's format, the
images beside them, of sets that none of ours was trained on. With --count, to try it out, only so many people
are tested and the rows are printed instead of written.
"""

from __future__ import annotations

import argparse
import datetime
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from pareto import caller
from poseling import zoo
from poseling.data import sets
from poseling.data.coco_json import coco_json
from poseling.data.dataset import PoseDataset, join
from poseling.evaluate.evaluator import Evaluator
from poseling.evaluate.latency import Ratio, latency, paired
from poseling.evaluate.pck import distances
from poseling.evaluate.pck import score as scored
from poseling.skeleton import COCO17
from poseling.teachers import load as teachers
from poseling.teachers.base import Teacher
from results import command, write

LIGHTNING = "movenet-lightning"
# Name, file, adapter. BlazePose's heatmaps are better on LSP than its points (docs/teachers.md).
PEERS = (
    (LIGHTNING, "movenet-lightning.onnx", None),
    ("movenet-thunder", "movenet-thunder.onnx", None),
    ("blazepose-lite", "blazepose-lite.onnx", "blazepose-maps"),
    ("blazepose-full", "blazepose-full.onnx", "blazepose-maps"),
    ("blazepose-heavy", "blazepose-heavy.onnx", "blazepose-maps"),
)
LIMBS = [COCO17.index(joint) for joint in COCO17.joints[5:]]
SMALLEST = 60  # pixels of a person's box in the other sets: smaller ones are left out
NOTES = (
    "Accuracy: PCK of the torso over 12 limb joints, one pass, no flip, every network with the padding that "
    "it was made for, boxes around all labelled joints. "
    "LSP 1001-2000 ({people} people): OURS LEARNED LSP'S WAY OF LABELLING, THE PEERS DID NOT, so hips and "
    "shoulders favour ours there. "
    "`elsewhere`: {others} people of {sets}, on whom we trained nothing. "
    "Times: milliseconds of ONNX Runtime, one crop, decoding inside the file (not BlazePose's), one thread "
    "by the processor's clock and two by the wall's; "
    "`.over_lightning` is Lightning's time over the network's, in turns, {rounds} rounds, ± half of the "
    "10-90 % range. `.mb` is the file."
)


@dataclass(frozen=True)
class Found:
    """What was measured of one network."""

    name: str
    near: np.ndarray  # (N, K) how far joints are off on LSP, in torsos, and elsewhere
    far: np.ndarray | None
    ratio: Ratio
    ratio_two: Ratio
    ms: float
    ms_two: float
    megabytes: float

    @property
    def pck02(self) -> float:
        return scored(self.near, 0.2).mean

    @property
    def pck01(self) -> float:
        return scored(self.near, 0.1).mean

    @property
    def elsewhere(self) -> float | None:
        return None if self.far is None else scored(self.far, 0.2).mean


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--root", type=Path, required=True)
    parser.add_argument("--peers", type=Path, required=True)
    parser.add_argument("--ours", nargs="+", required=True, help="NAME=FILE.onnx")
    parser.add_argument("--elsewhere", type=Path, nargs="+", default=[])
    parser.add_argument("--sets", default="other sets", help="what those are, in words")
    parser.add_argument("--rounds", type=int, default=200)
    parser.add_argument("--count", type=int)
    flags = parser.parse_args()
    pairs = [entry.partition("=") for entry in flags.ours]
    networks = [(name, Path(file), None) for name, _, file in pairs] + [
        (name, flags.peers / file, adapter) for name, file, adapter in PEERS
    ]
    # Timing comes first: the threads of the networks used for accuracy wait in a busy loop for their next
    # call.
    lightning = flags.peers / PEERS[0][1]
    times = {name: timed(path, lightning, flags.rounds) for name, path, _ in networks}
    dataset = sets.people_to_test("lsp", flags.root).to(COCO17)
    dataset = dataset[: flags.count] if flags.count else dataset
    others = elsewhere(flags.elsewhere) if flags.elsewhere else None
    found = []
    for name, path, adapter in networks:
        network = teachers.load(str(path), adapter)
        near = away(network, dataset)
        far = None if others is None else away(network, others)
        found.append(one := Found(name, near, far, *times[name], path.stat().st_size / 1e6))
        print(
            f"{name}: {one.pck02:.4f} {one.pck01:.4f} {one.elsewhere} {one.ratio} {one.ms:.2f} ms", flush=True
        )
    if not flags.count:
        write(
            "peers",
            rows(found),
            NOTES.format(
                people=len(dataset),
                others=0 if others is None else len(others),
                sets=flags.sets,
                rounds=flags.rounds,
            ),
        )
        for one in found:
            if zoo.is_name(one.name):
                zoo.record(
                    one.name, card(one, len(dataset), flags.sets, 0 if others is None else len(others))
                )


def timed(path: Path, lightning: Path, rounds: int) -> tuple[Ratio, Ratio, float, float]:
    """Lightning's time over the network's on one thread and on two, in turns, and the network's own
    milliseconds on both.
    """
    one, two = (
        paired(caller(lightning, n), caller(path, n), rounds, clock=clock)
        for n, clock in ((1, time.process_time), (2, time.perf_counter))
    )
    ms, ms_two = (
        latency(caller(path, n), repeats=rounds, clock=clock).median_ms
        for n, clock in ((1, time.process_time), (2, time.perf_counter))
    )
    return one, two, ms, ms_two


def away(network: Teacher, dataset: PoseDataset) -> np.ndarray:
    """(N, K) how far the limb joints that are labelled are off, in torsos; other joints are NaN."""
    measure = Evaluator.of(dataset)
    joints = measure.predict(network, flip=False).xy
    limbs = np.isin(np.arange(len(COCO17)), LIMBS)
    return distances(joints, dataset.joints, (dataset.visible > 0) & limbs, measure.lengths)


def elsewhere(files: Sequence[Path]) -> PoseDataset:
    """The people of annotation files, the images beside them, in their annotated boxes; those with a torso to
    measure by, and large enough.
    """
    found = [coco_json(file.parent, file) for file in files]
    dataset = join(*(replace(p.to(COCO17), instances=None, sizes=None) for p in found))
    torso = (dataset.visible[:, [COCO17.index("left_shoulder"), COCO17.index("right_hip")]] > 0).all(1)
    large = (dataset.boxes[:, 2:] - dataset.boxes[:, :2]).max(1) >= SMALLEST
    return dataset[np.flatnonzero(large & torso & ((dataset.visible[:, LIMBS] > 0).sum(1) >= 6))]


def card(one: Found, people: int, sets: str, others: int) -> zoo.Card:
    """The zoo's card of a network."""
    lsp = f"LSP 1001-2000, 12 limb joints, {people} people"
    scores = [
        zoo.Score(lsp, "PCK@0.2", one.pck02, spread(one.near, 0.2)),
        zoo.Score(lsp, "PCK@0.1", one.pck01, spread(one.near, 0.1)),
    ]
    if one.far is not None and one.elsewhere is not None:
        scores.append(
            zoo.Score(
                f"{sets}, {others} people whom we trained nothing on",
                "PCK@0.2",
                one.elsewhere,
                spread(one.far, 0.2),
            )
        )
    return zoo.Card(tuple(scores), 1 / one.ratio.median, datetime.date.today().isoformat(), command(sys.argv))


def spread(away: np.ndarray, alpha: float, draws: int = 1000) -> float:
    """Half of the 95 % interval of PCK over resampled people."""
    random = np.random.default_rng(0)
    known, right = ~np.isnan(away), away <= alpha
    counts, hits = known.sum(1), (known & right).sum(1)
    rows = random.integers(0, len(away), (draws, len(away)))
    low, high = np.percentile(hits[rows].sum(1) / counts[rows].sum(1), [2.5, 97.5])
    return float(high - low) / 2


def rows(found: Sequence[Found]) -> list[dict[str, Any]]:
    out: list[dict[str, Any]] = []
    for f in found:
        out += [
            {"name": f"{f.name}.pck02", "value": f.pck02, "unit": "PCK@0.2"},
            {"name": f"{f.name}.pck01", "value": f.pck01, "unit": "PCK@0.1"},
            {"name": f"{f.name}.ms", "value": f.ms, "unit": "ms"},
            {"name": f"{f.name}.ms_two_threads", "value": f.ms_two, "unit": "ms"},
            {"name": f"{f.name}.over_lightning", "value": f.ratio.median, "unit": "times", "spread": f.ratio.spread / 2, "ratio_to": LIGHTNING},
            {"name": f"{f.name}.over_lightning_two_threads", "value": f.ratio_two.median, "unit": "times", "spread": f.ratio_two.spread / 2, "ratio_to": LIGHTNING},
            {"name": f"{f.name}.mb", "value": f.megabytes, "unit": "MB"},
        ]  # fmt: skip
        if f.elsewhere is not None:
            out.append({"name": f"{f.name}.elsewhere", "value": f.elsewhere, "unit": "PCK@0.2"})
    return out


if __name__ == "__main__":
    main()
