"""Trains poseling3d-s from poseling-s, and poseling3d-n from that, on real people that BlazePose Heavy and Full
saw upright, and on synthetic people with truth.

    python benchmarks/family_3d.py prepare --peers DIR --out WORK             # after `family.py prepare`: asks Heavy, Full and poseling-m about its people
    python benchmarks/family_3d.py start --out WORK                           # poseling-s with a lifting head, and poseling3d-s for further legs and for -n
    python benchmarks/family_3d.py train s --out WORK --budget 70m            # a leg; the next one: --start WORK/start/3d-next.safetensors
    python benchmarks/family_3d.py proof --out WORK --epochs 1.4 --seed 0     # what the teachers are worth: with their places and with those of synthetic people alone
    python benchmarks/family_3d.py report --peers DIR --valid DIR --out WORK  # the proof's seeds 0 to 2 on test people, once, at the end
    python benchmarks/family_3d.py ship s --out WORK                          # src/poseling/zoo/weights/poseling3d-s.onnx

WORK/packed is what `family.py prepare` packs, and WORK/synthetic holds train/, val/ and test/, as `poseling data
synthesize` makes them. A stopped training continues.
"""

from __future__ import annotations

import argparse
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from poseling import zoo
from poseling.codecs import HeatmapXYZ
from poseling.data.dataset import PoseDataset
from poseling.data.packed import packed, relabel
from poseling.evaluate.evaluator import Evaluator
from poseling.evaluate.report import Difference
from poseling.export.onnx import export
from poseling.export.parity import windows
from poseling.geometry import Size
from poseling.models import checkpoint
from poseling.models.importers.onnx import from_onnx
from poseling.models.lifting import resized, with_lifting
from poseling.recipes.baseline import baseline
from poseling.recipes.config import TrainConfig
from poseling.skeleton import BODY19, MOVNECT15
from poseling.teachers import pseudo
from poseling.teachers.base import Teacher
from poseling.teachers.cache import PseudoLabels, label
from poseling.teachers.checkpoint import checkpoint_teacher
from poseling.teachers.network import NetworkTeacher
from poseling.teachers.onnx import OnnxTeacher
from poseling.teachers.upright import Upright
from results import mean_row, write
from space import against_truth, agreement, in_space, parts

# How often each set is drawn, and for the proof, which asks the teachers half as often.
SETS = {"lsp": 0.14, "lspet": 0.26, "exercises": 0.08, "stanford40": 0.24, "jhmdb": 0.06, "synthetic": 0.22}
PROOF = {"lsp": 0.22, "lspet": 0.42, "exercises": 0.14, "synthetic": 0.22}
# The input's (W, H): half of BlazePose Lite's time, and a third.
NETWORKS: dict[str, Size] = {"s": (160, 192), "n": (128, 160)}
NUMBERS: dict[str, Any] = {
    "batch": 32, "learning_rate": 8e-4, "layer_decay": 0.25, "optimizer": "adamw", "schedule": "one_cycle", "weight_decay": 0.01, "clip": 1.0,
    "ema": 0.999, "loss": "kl", "sigma": 2.0, "rotation": 30.0, "scale": 0.25, "shift": 0.05, "color_jitter": 0.3, "occlusion": 0.3,
    "resident": True, "padding": 1.15, "flip_test": False,
}  # fmt: skip
ARMS, SEEDS = ("with", "without"), range(3)  # of the proof
PADDINGS = (1.05, 1.1, 1.15, 1.2)
ALIKE = 0.5  # mm between paddings, of which the better one in the image is taken then
LOCATIONS = 4.0  # a metre weighs as much as four nats of a heatmap, and as much again after Procrustes


def prepare(peers: Path, work: Path) -> None:
    """Stores the predictions of Heavy, Full and poseling-m, and writes the sets again with all of them: joints
    in the image from labels and from -m, in space the mean of Heavy and Full, weighed by how far they agree
    with each other and with the joints in the image, and by the body's proportions. LSP's people, by whom
    networks are measured, are shown to Heavy mirrored as well, and have its places alone.
    """
    heavy, full = (
        Upright(OnnxTeacher(peers / f"blazepose-{name}.onnx", threads=1)) for name in ("heavy", "full")
    )
    flat = OnnxTeacher(work / "runs" / "m" / "student.onnx", threads=1)
    for name in SETS:
        if name == "synthetic":
            continue
        for part in ("train", "val", "test") if name == "lsp" else ("",):
            out = work / "spatial" / name / part
            if out.exists():
                continue
            dataset = packed(work / "packed" / name / part).to(BODY19)

            def asked(teacher: Teacher, flip: bool, people: PoseDataset = dataset) -> PseudoLabels:
                store = label(teacher, people, str(work / "labels" / teacher.name), flip).store
                return PseudoLabels.open(store, people, BODY19)

            places = asked(heavy, name == "lsp")
            if part in ("val", "test"):
                relabel(pseudo.pseudo_labels_3d(places, dataset), out)
                continue
            joints = label(flat, dataset, str(work / "labels" / "m"), flip=True).store
            distrusted = np.full(len(dataset), name == "lspet")
            fused, found = pseudo.pseudo_labels(
                dataset, PseudoLabels.open(joints, dataset, BODY19), clean=distrusted
            )
            print(f"{name}: {found}", flush=True)
            told = pseudo.pseudo_labels_3d(places, fused, others=[asked(full, True)])
            relabel(pseudo.by_proportions(told), out)


def start(work: Path) -> None:
    """The starting weights: of -s and, at -n's size, of the proof poseling-s with a lifting head; of the next
    leg, and of -n for smaller images, the poseling3d-s of the zoo.
    """
    for name, size in {**NETWORKS, "next": NETWORKS["s"], "proof": NETWORKS["n"]}.items():
        codec = HeatmapXYZ(size, sigma=2.0, softmax=True)
        if name in ("n", "next"):
            found = from_onnx(zoo.path("poseling3d-s"))
            network, spec = resized(found.network, codec), replace(found.spec, padding=NUMBERS["padding"])
        else:
            found = from_onnx(zoo.path("poseling-s"), size=size)
            network, spec = with_lifting(found.network, codec), found.spec
        spec = replace(spec, codec=codec.fields(), size=size, outputs=("xy", "score", "xyz"))
        checkpoint.save(work / "start" / f"3d-{name}.safetensors", network, spec)


def train(
    size: Size,
    work: Path,
    out: Path,
    first: Path,
    teacher: bool = True,
    locations: float = LOCATIONS,
    sets: Mapping[str, float] = SETS,
    **other: Any,
) -> None:
    """One training from `first`; without the `teacher` the teachers' places are left out."""
    data, folders = people(work, teacher, sets)
    config = TrainConfig(
        data=data, root=folders, out=out, width=size[0], size=size[1], **{**NUMBERS, **other}
    )
    baseline(config, student=str(first), skeleton="body19", locations=locations)


def people(
    work: Path, teacher: bool = True, sets: Mapping[str, float] = SETS
) -> tuple[tuple[str, ...], tuple[Path, ...]]:
    """What TrainConfig takes as `data` and `root`; without the `teacher` the teachers' places are left out."""
    data, folders = [], []
    for name, share in sets.items():
        made = name == "synthetic"
        folder = work / ("synthetic" if made else f"spatial/{name}")
        if not teacher and not made:
            folder = _without_places(folder, work / "flat" / name, name == "lsp")
        data.append(f"{'synthetic' if made else 'packed'}:{share}")
        folders.append(folder)
    return tuple(data), tuple(folders)


def proof(work: Path, **other: Any) -> None:
    """-n from one start and for equal steps, with the teachers' places and without; one seed."""
    first = work / "start" / "3d-proof.safetensors"
    for arm in ARMS:
        out = work / "runs" / f"3d-proof-{other['seed']}" / arm
        train(NETWORKS["n"], work, out, first, arm == "with", sets=PROOF, **other)


def _without_places(source: Path, out: Path, parts: bool) -> Path:
    """The same people with joints in the image alone to train on; what is measured stays."""
    for part in ("train", "val", "test") if parts else ("",):
        if not (out / part).exists():
            dataset = packed(source / part)
            if part in ("", "train"):
                dataset = replace(dataset, joints_3d=None, confidence_3d=None)
            relabel(dataset, out / part)
    return out


def report(peers: Path, valid: Path, work: Path) -> None:
    """The rows of the three seeds of `proof`: each arm's distance from the truth and from Heavy, as space.py
    measures them, what Heavy is worth, and the share of the gap to Heavy's own single pass that it closes.
    """
    heavy = OnnxTeacher(peers / "blazepose-heavy.onnx", threads=1)
    judge = Judge(heavy, valid, work)
    found = {
        arm: [
            judge(checkpoint_teacher(work / "runs" / f"3d-proof-{seed}" / arm / "student.safetensors"))
            for seed in SEEDS
        ]
        for arm in ARMS
    }
    write(
        "poseling3d_proof",
        gains(found["without"], found["with"], judge(heavy), ("without", "with", "heavy")),
        f"From poseling-s with a lifting head at {NETWORKS['n'][0]}x{NETWORKS['n'][1]}, equal steps, with "
        f"places of Heavy and Full for LSP's, LSPET's and the exercises' people and with those of synthetic people alone. {judge} Three seeds, their "
        "standard deviation.",
    )


class Judge:
    """Measures networks as space.py does: their mean distance in mm from the truth on VALID's and on synthetic
    test people, and from BlazePose Heavy on LSP's.
    """

    def __init__(self, heavy: Teacher, valid: Path, work: Path) -> None:
        self.lsp = packed(work / "spatial" / "lsp" / "test").to(MOVNECT15)
        self.heavy = in_space(Upright(heavy), self.lsp, flip=True)
        self.sets = {"valid": parts(valid), "synthetic": parts(work / "synthetic")}

    def __call__(self, network: Teacher) -> dict[str, float]:
        mm = {name: against_truth(partial(in_space, network), *both) for name, both in self.sets.items()}
        mm["agreement"] = agreement(in_space(network, self.lsp), self.heavy)
        return {name: float(np.nanmean(values)) for name, values in mm.items()}

    def __str__(self) -> str:
        counts = {name: len(both[1]) for name, both in self.sets.items()}
        return (
            f"PA-MPJPE as in space: {counts['valid']} of VALID's people, {counts['synthetic']} synthetic ones, "
            f"and from Heavy on {len(self.lsp)} of LSP's test people."
        )


def gains(
    alone: Sequence[Mapping[str, float]],
    taught: Sequence[Mapping[str, float]],
    teacher: Mapping[str, float],
    names: tuple[str, str, str],
) -> list[dict[str, Any]]:
    """The rows of two arms, seed by seed, and of their teacher, called by `names`: what was measured, what the
    teacher is worth, and the share of the gap to it that is closed, where it is better. Printed too.
    """
    rows: list[dict[str, Any]] = []
    for measured, level in teacher.items():
        before, after = [of[measured] for of in alone], [of[measured] for of in taught]
        gain = [b - a for b, a in zip(before, after, strict=True)]
        # A teacher that is no better than the student leaves no gap.
        closed = [g / (b - level) for g, b in zip(gain, before, strict=True)] if level < min(before) else None
        gap = [] if closed is None else [("gap_closed", closed, f"of the gap to {names[2]}")]
        for name, values, unit in (
            (names[0], before, "mm"),
            (names[1], after, "mm"),
            ("gain", gain, "mm less"),
            *gap,
        ):
            rows.append(mean_row(f"{measured}.{name}", unit, values))
        rows.append({"name": f"{measured}.{names[2]}", "value": level, "unit": "mm"})
        difference = Difference(measured, gain)
        print(
            f"{measured}: {difference.mean:.1f} mm less, {difference.interval}; {before}, {after}, {level:.1f}"
        )
    return rows


def ship(name: str, work: Path) -> None:
    """The trained network as the zoo's file, and its SHA-256 for the zoo's row: weights rounded to half floats
    first, so that the file is compared with what it holds, and the padding by LSP's validation people.
    """
    network, spec = checkpoint.load(work / "runs" / f"3d-{name}" / "student.safetensors")
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.copy_(parameter.half())
    val = packed(work / "spatial" / "lsp" / "val")
    flat, measure = Evaluator.of(val), Evaluator.of(val, is_3d=True)
    far, right = dict[float, float](), dict[float, float]()
    for padding in PADDINGS:
        padded = NetworkTeacher(network, replace(spec, padding=padding))
        pose = measure.predict(padded, flip=False)
        far[padding], right[padding] = measure.score(pose).precision["PA-MPJPE"], flat.score(pose).mean
        print(
            f"{name}, padding {padding:g}: PA-MPJPE {far[padding]:.1f} mm from BlazePose Heavy, PCK@0.2 "
            f"{right[padding]:.3f}"
        )
    chosen = work / "runs" / f"3d-{name}" / "shipped.safetensors"
    best = max((p for p in PADDINGS if far[p] < min(far.values()) + ALIKE), key=lambda p: right[p])
    licences = zoo.licences(f"poseling3d-{name}")
    checkpoint.save(chosen, network, replace(spec, padding=best, licences=licences))
    out = Path(zoo.__file__).parent / "weights" / f"poseling3d-{name}.onnx"
    print(export(chosen, out, crops=windows(val.images, spec.size), half=True))
    print(f"{out}: {hashlib.sha256(out.read_bytes()).hexdigest()}")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("stage", choices=("prepare", "start", "train", "proof", "report", "ship"))
    parser.add_argument("name", nargs="?", choices=tuple(NETWORKS))
    parser.add_argument("--peers", type=Path)
    parser.add_argument("--valid", type=Path, help="what valid_people.py made")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--budget", default="70m")
    parser.add_argument("--epochs", type=float)
    parser.add_argument("--start", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--learning-rate", type=float, default=NUMBERS["learning_rate"])
    flags = parser.parse_args()
    work, name = flags.out, flags.name
    numbers: dict[str, Any] = {"seed": flags.seed, "learning_rate": flags.learning_rate}
    numbers |= {"budget": flags.budget} if flags.epochs is None else {"epochs": flags.epochs}
    numbers["evaluate_every"] = 0.35
    if flags.stage == "prepare":
        prepare(flags.peers, work)
    elif flags.stage == "start":
        start(work)
    elif flags.stage == "proof":
        proof(work, **numbers)
    elif flags.stage == "report":
        report(flags.peers, flags.valid, work)
    elif name is None:
        parser.error(f"{flags.stage} needs a network's name: {', '.join(NETWORKS)}")
    elif flags.stage == "ship":
        ship(name, work)
    else:
        first = flags.start or work / "start" / f"3d-{name}.safetensors"
        train(NETWORKS[name], work, work / "runs" / f"3d-{name}", first, **numbers)


if __name__ == "__main__":
    main()
