"""3D networks compared with BlazePose: the same crops, the same calibration, one run.

    python benchmarks/space.py --root DIR --peers DIR --synthetic DIR --valid DIR [--ours poseling3d-n=FILE ...] [--test]

--root holds lsp/; --peers the three BlazePoses; --synthetic val/ and test/ of `poseling data synthesize`;
--valid those of valid_people.py. `--ours NAME=FILE` is a checkpoint, an exported file or a name of the zoo.
Agreement is on LSP's validation people, and the rows are printed, unless --test is given: then on LSP
1001-2000, once, at the end, and the rows are written.
"""

from __future__ import annotations

import argparse
import datetime
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from pareto import caller
from poseling import zoo
from poseling.data import sets
from poseling.data.dataset import PoseDataset
from poseling.draw import draw_space
from poseling.evaluate import mpjpe, pck
from poseling.evaluate.evaluator import Evaluator
from poseling.evaluate.latency import Ratio, latency, paired
from poseling.evaluate.predict import in_skeleton, predict
from poseling.export.onnx import export
from poseling.files import write_bytes
from poseling.pose import Pose
from poseling.skeleton import BLAZEPOSE33, MOVNECT15
from poseling.teachers.base import Teacher
from poseling.teachers.checkpoint import checkpoint_teacher
from poseling.teachers.onnx import OnnxTeacher
from poseling.teachers.upright import Upright
from results import command, write

LITE, HEAVY = "blazepose-lite", "blazepose-heavy"
PEERS = (LITE, "blazepose-full", HEAVY)
LIMBS = ~np.isin(MOVNECT15.joints, ("pelvis", "neck", "head_top"))  # (15,): what everybody has in the image
SHARED = BLAZEPOSE33.to(MOVNECT15).known  # (15,): limbs and pelvis, without neck and head top
NOTES = (
    "PA-MPJPE over the 13 joints of MoVNect's that BlazePose has, one pass, no flip, every network with the "
    "padding that it was made for, its definition of joints calibrated away (mpjpe.calibrate) on val of the "
    "same set. pa_synthetic: {synthetic} synthetic people, of other bodies and actors than those in training. "
    "pa_valid: {valid} of VALID's humans, drawn by three.js (valid_people.py). agreement_lsp: PA-MPJPE from "
    "BlazePose Heavy's answer, asked upright over both flips (teachers.upright), on {lsp} people of LSP {part}, "
    "not calibrated; Heavy's own row is its single pass. pck02_lsp: PCK@0.2 of the torso on the same people, 12 "
    "limb joints in the image, of ours, which learned LSP's way of labelling. Time: one thread, one crop; over_lite is Lite's over the network's, in turns, "
    "{rounds} rounds."
)

Points = NDArray[np.floating]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    for flag in ("root", "peers", "synthetic", "valid"):
        parser.add_argument(f"--{flag}", type=Path, required=True)
    parser.add_argument("--ours", nargs="+", default=[], help="NAME=FILE")
    parser.add_argument("--test", action="store_true", help="LSP's test people, and write the rows")
    parser.add_argument("--rounds", type=int, default=200)
    parser.add_argument("--figures", type=Path, help="draw twenty of LSP's people, chosen by lot")
    flags = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        files = {name: flags.peers / f"{name}.onnx" for name in PEERS}
        networks: dict[str, Teacher] = {}
        for name, _, given in (entry.partition("=") for entry in flags.ours):
            networks[name], files[name] = opened(given, Path(folder) / f"{name}.onnx")
        # First: the threads of the networks below wait in a busy loop for their next call.
        times = {name: timed(path, files[LITE], flags.rounds) for name, path in files.items()}
        networks |= {name: OnnxTeacher(files[name], threads=1) for name in PEERS}
        people = {
            name: parts(root) for name, root in (("synthetic", flags.synthetic), ("valid", flags.valid))
        }
        split = sets.load("lsp", flags.root, MOVNECT15)
        lsp = split.test if flags.test else split.val
        assert lsp is not None
        rows = compared(networks, people, lsp, times)
        if flags.figures is not None:
            views(next(iter(networks.values())), networks[HEAVY], lsp, flags.figures)
    if flags.test:
        about = {
            "synthetic": len(people["synthetic"][1]),
            "valid": len(people["valid"][1]),
            "lsp": len(lsp),
            "part": "1001-2000" if flags.test else "validation",
            "rounds": flags.rounds,
        }
        write("space", rows, NOTES.format(**about))
        lightning = flags.peers / "movenet-lightning.onnx"
        for name in filter(zoo.is_name, networks):
            over = paired(caller(files[name]), caller(lightning), flags.rounds, clock=time.process_time)
            zoo.record(name, card(name, rows, about, over.median))


def opened(given: str, exported: Path) -> tuple[Teacher, Path]:
    """A network to ask, and its ONNX file to time, which a checkpoint is exported to."""
    path = zoo.path(given) if zoo.is_name(given) else Path(given)
    if path.suffix == ".onnx":
        return OnnxTeacher(path, threads=1), path
    export(path, exported)
    return checkpoint_teacher(path), exported


def parts(root: Path) -> tuple[PoseDataset, PoseDataset]:
    """The people to calibrate with and those to measure on."""
    split = sets.load("synthetic", root, MOVNECT15)
    if split.val is None or split.test is None:
        raise FileNotFoundError(f"{root}: has to hold val/ and test/; see this script's help")
    return split.val, split.test


def card(name: str, rows: list[dict[str, Any]], about: dict[str, Any], over: float) -> zoo.Card:
    """What was measured, for the zoo."""
    of = {row["name"]: row for row in rows}
    lsp = f"LSP {about['part']}, {about['lsp']} people"
    scores = (
        ("pck02_lsp", f"LSP {about['part']}, 12 limb joints, {about['lsp']} people", "PCK@0.2"),
        ("pa_valid", f"VALID's humans drawn by three.js, {about['valid']} people", "PA-MPJPE in mm"),
        ("agreement_lsp", f"{lsp}, from BlazePose Heavy's joints", "PA-MPJPE in mm"),
        ("pa_synthetic", f"synthetic people, {about['synthetic']}", "PA-MPJPE in mm"),
    )
    return zoo.Card(
        tuple(
            zoo.Score(on, measure, of[f"{name}.{row}"]["value"], of[f"{name}.{row}"]["spread"])
            for row, on, measure in scores
        ),
        over,
        datetime.date.today().isoformat(),
        command(sys.argv),
    )


def timed(path: Path, lite: Path, rounds: int) -> tuple[float, Ratio]:
    """Milliseconds of one crop, and Lite's time over it."""
    clock = time.process_time
    ratio = paired(caller(lite), caller(path), rounds, clock=clock)
    return latency(caller(path), repeats=rounds, clock=clock).median_ms, ratio


def compared(
    networks: Mapping[str, Teacher],
    people: Mapping[str, tuple[PoseDataset, PoseDataset]],
    lsp: PoseDataset,
    times: Mapping[str, tuple[float, Ratio]],
) -> list[dict[str, Any]]:
    """The rows of all networks; each is printed as it is measured."""
    heavy = in_space(Upright(networks[HEAVY]), lsp, flip=True)
    rows: list[dict[str, Any]] = []
    for name, network in networks.items():
        found: list[dict[str, Any]] = []
        for data, (fitting, judged) in people.items():
            mm = against_truth(partial(in_space, network), fitting, judged)
            found.append({"name": f"{name}.pa_{data}", **_mean(mm), "unit": "mm"})
        pose = in_skeleton(predict(network, lsp), MOVNECT15)
        mm = agreement(spatial(network, pose), heavy)
        found.append({"name": f"{name}.agreement_lsp", **_mean(mm), "unit": "mm"})
        if name not in PEERS:  # peers.py has theirs
            judge = Evaluator(lsp, LIMBS)
            away = pck.distances(pose.xy, lsp.joints, judge.visible, judge.lengths)
            right = np.where(np.isnan(away), np.nan, away < 0.2)
            found.append({"name": f"{name}.pck02_lsp", **_mean(right), "unit": "PCK@0.2"})
        ms, ratio = times[name]
        found.append({"name": f"{name}.ms", "value": ms, "unit": "ms"})
        found.append({"name": f"{name}.over_lite", "value": ratio.median, "unit": "times",
                      "spread": ratio.spread / 2, "ratio_to": LITE})  # fmt: skip
        for row in found:
            print(f"{row['name']}: {row['value']:.3f} ± {row.get('spread', 0):.2f} {row['unit']}", flush=True)
        rows += found
    return rows


def in_space(network: Teacher, people: PoseDataset, flip: bool = False) -> Points:
    """(N, 15, 3) metres of MOVNECT15; NaN for joints that the network does not predict. Errors as of
    `spatial`.
    """
    return spatial(network, in_skeleton(predict(network, people, flip), MOVNECT15))


def spatial(network: Teacher, pose: Pose) -> Points:
    """The network's metres; ValueError if it predicts 2D joints only."""
    if pose.xyz is None:
        raise ValueError(f"{network.name}: predicts 2D joints only; name a 3D network")
    return pose.xyz


def against_truth(
    ask: Callable[[PoseDataset], Points], fitting: PoseDataset, judged: PoseDataset
) -> NDArray[np.float64]:
    """(N, 15) mm after the best similarity of each person, over the `SHARED` joints that are known, NaN
    elsewhere; how the network defines its joints is calibrated away on the people of `fitting`.
    """
    assert fitting.joints_3d is not None
    assert judged.joints_3d is not None
    fit, truth = fitting.joints_3d, judged.joints_3d
    offsets = mpjpe.calibrate(ask(fitting), fit, (fit != 0).any(-1) & SHARED, MOVNECT15)
    predicted = mpjpe.calibrated(ask(judged), offsets, MOVNECT15)
    return mpjpe.pa_distances(predicted, truth, (truth != 0).any(-1) & SHARED)


def agreement(predicted: Points, heavy: Points) -> NDArray[np.float64]:
    """(N, 15) mm from Heavy's joints after the best similarity of each person, NaN for joints it has not."""
    return mpjpe.pa_distances(predicted, np.nan_to_num(heavy), np.asarray(np.isfinite(heavy).all(-1)))


def views(ours: Teacher, heavy: Teacher, lsp: PoseDataset, out: Path) -> None:
    """Twenty people chosen by lot, from the smallest to the largest distance from Heavy, each from the camera
    and from the right: ours above, Heavy below. Without the photographs, which are not ours to show.
    """
    chosen = lsp[np.sort(np.random.default_rng(0).permutation(len(lsp))[:20])]
    mine, theirs = in_space(ours, chosen), in_space(Upright(heavy), chosen, flip=True)
    order = np.argsort(np.nanmean(agreement(mine, theirs), 1))
    shoulders = [MOVNECT15.index(f"{side}_shoulder") for side in ("left", "right")]
    theirs[:, MOVNECT15.index("neck")] = theirs[:, shoulders].mean(1)  # to be drawn
    side, cells = 150, []
    for i in order.tolist():
        pairs = []
        for xyz in (mine[i], theirs[i]):
            shown = np.isfinite(xyz).all(-1)[None]
            pairs.append(
                [draw_space(xyz[None], MOVNECT15, (side, side), yaw, 10, shown) for yaw in (0.0, 90.0)]
            )
        cell = np.concatenate([np.concatenate(pair, 1) for pair in pairs])
        cells.append(cv2.copyMakeBorder(cell, 3, 3, 3, 3, cv2.BORDER_CONSTANT, value=(255, 255, 255)))
    sheet = np.concatenate([np.concatenate(cells[row : row + 5], 1) for row in range(0, 20, 5)])
    write_bytes(out, cv2.imencode(out.suffix, sheet[..., ::-1])[1].tobytes())


def _mean(mm: NDArray[np.float64], draws: int = 1000) -> dict[str, float]:
    """The mean of distances (N, K), and half of its 95 % interval over resampled people."""
    random = np.random.default_rng(0)
    known = ~np.isnan(mm)
    sums, counts = np.where(known, mm, 0).sum(1), known.sum(1)
    rows = random.integers(0, len(mm), (draws, len(mm)))
    low, high = np.percentile(sums[rows].sum(1) / counts[rows].sum(1), [2.5, 97.5])
    return {"value": float(sums.sum() / counts.sum()), "spread": float(high - low) / 2}


if __name__ == "__main__":
    main()
