"""Trains poseling-n, -s and -m from MoveNet's weights, real people and pseudo-labels.

    python benchmarks/family.py prepare --root DIR --peers DIR --out WORK     # packs all images, asks three teachers about them: 45 minutes of one core
    python benchmarks/family.py start --peers DIR --out WORK                  # MoveNet's networks as starting weights
    python benchmarks/family.py train m --out WORK --budget 2m                # trained on labels and MoveNet Thunder, weighted by agreement
    python benchmarks/family.py train n --out WORK --budget 2h --start FILE   # trained on labels and m; starts from a trained FILE, if given
    python benchmarks/family.py train n-free --peers DIR --out WORK --budget 1h  # for any use: exercises (Unlicense) and synthetic people (CC0) alone
    python benchmarks/family.py proof --peers DIR --out WORK --budget 15s     # what Thunder is worth to -n; again with --seed 1 and 2
    python benchmarks/family.py ship n --out WORK                             # the padding by the validation people; src/poseling/zoo/weights/poseling-n.onnx
    python benchmarks/family.py report --out WORK                             # results/distillation_pays.json and its plot, from the three seeds

DIR holds lsp/, lspet/, jhmdb_frames/ and people/; the peers are MoveNet's and BlazePose's ONNX files. WORK
can be copied to a machine with a GPU after `prepare`: its images are small, and training needs nothing else.
A stopped training continues.
"""

from __future__ import annotations

import argparse
import hashlib
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from poseling import zoo
from poseling.data import images, lsp, mini
from poseling.data.dataset import PoseDataset
from poseling.data.packed import pack, packed, relabel
from poseling.evaluate import figures
from poseling.evaluate.evaluator import Evaluator
from poseling.evaluate.predict import predict
from poseling.evaluate.report import Difference
from poseling.evaluate.spread import mean_and_spread
from poseling.export.onnx import export
from poseling.export.parity import windows
from poseling.geometry import Size, joints_box
from poseling.models import checkpoint
from poseling.models.importers.onnx import from_onnx
from poseling.recipes.baseline import baseline
from poseling.recipes.config import TrainConfig
from poseling.recipes.pseudo_labels import ARMS, PseudoLabelTeacher, pseudo_labels
from poseling.skeleton import BODY19
from poseling.teachers import pseudo
from poseling.teachers.cache import PseudoLabels, label
from poseling.teachers.network import NetworkTeacher
from poseling.teachers.onnx import OnnxTeacher
from results import HERE, write

# How often each set is drawn, and the WebP quality it is packed with.
SETS = {"lsp": 0.22, "lspet": 0.33, "stanford40": 0.3, "exercises": 0.08, "jhmdb": 0.07}
QUALITY = {"lsp": 90, "lspet": 72, "stanford40": 72, "exercises": 72, "jhmdb": 72}
TEACHERS = {
    "movenet-thunder": True,
    "movenet-lightning": False,
    "blazepose-heavy": False,
}  # asked about the mirrored image as well?
# Whose weights, and the input's (W, H): people are taller than wide, half of LSP's boxes more than twice.
NETWORKS: dict[str, tuple[str, Size]] = {
    "n": ("movenet-lightning", (128, 160)),
    "s": ("movenet-lightning", (192, 224)),
    "m": ("movenet-thunder", (192, 256)),
}
NUMBERS: dict[str, Any] = {
    "batch": 256, "learning_rate": 4e-4, "optimizer": "adamw", "schedule": "one_cycle", "weight_decay": 0.01, "clip": 1.0, "ema": 0.999, "loss": "kl",
    "rotation": 40.0, "scale": 0.3, "shift": 0.05, "color_jitter": 0.3, "occlusion": 0.3, "resident": True,
}  # fmt: skip
SIGMA = {"n": 1.5, "s": 2.0, "m": 2.0}  # heatmap pixels
PADDING = {"n": 1.15, "s": 1.2, "m": 1.2}


def folders(work: Path, kind: str = "packed") -> tuple[Path, ...]:
    return tuple(work / kind / name for name in SETS)


def pack_all(root: Path, peers: Path, work: Path) -> None:
    """Packs the sets into `work`/packed, those that are not there yet."""
    for part, dataset in (("train", lsp.train(root)), ("val", lsp.val(root)), ("test", lsp.test(root))):
        _packed(dataset, work / "packed" / "lsp" / part, QUALITY["lsp"])
    _packed(lsp.lspet(root / "lspet"), work / "packed" / "lspet", QUALITY["lspet"])
    for name in ("stanford40", "exercises"):
        _packed(images.images(root / "people" / name), work / "packed" / name, QUALITY[name])
    if not (work / "packed" / "jhmdb").exists():
        _packed(
            _in_frames(images.images(root / "jhmdb_frames"), peers),
            work / "packed" / "jhmdb",
            QUALITY["jhmdb"],
        )


def prepare(root: Path, peers: Path, work: Path) -> None:
    """Packs the sets, stores the teachers' predictions, and writes the sets again with the fused labels."""
    pack_all(root, peers, work)
    sets = {
        name: packed(work / "packed" / name / ("train" if name == "lsp" else "")).to(BODY19) for name in SETS
    }
    for teacher, flip in TEACHERS.items():
        asked = OnnxTeacher(peers / f"{teacher}.onnx", threads=1)
        for name, dataset in sets.items():
            done = label(asked, dataset, str(work / "labels" / teacher), flip)
            print(f"{teacher}, {name}: {done.predicted} predicted, {done.stored} stored already", flush=True)
    for name, dataset in sets.items():
        out = work / "fused" / name / ("train" if name == "lsp" else "")
        if not out.exists():
            first, *others = (
                PseudoLabels.open(str(work / "labels" / teacher), dataset, BODY19) for teacher in TEACHERS
            )
            fused, found = pseudo.pseudo_labels(
                dataset, first, others, np.full(len(dataset), name == "lspet")
            )
            relabel(fused, out)
            print(f"{name}: {found}", flush=True)
    for part in ("val", "test"):
        if not (work / "fused" / "lsp" / part).exists():
            relabel(packed(work / "packed" / "lsp" / part), work / "fused" / "lsp" / part)


def _packed(dataset: PoseDataset, out: Path, quality: int) -> None:
    if not out.exists():
        print(f"{out}: {len(pack(dataset, out, 256, quality))} people", flush=True)


def _in_frames(frames: PoseDataset, peers: Path) -> PoseDataset:
    """The people in whole frames: a box around Lightning's confident joints, where there are at least six."""
    found = predict(OnnxTeacher(peers / "movenet-lightning.onnx", threads=1), frames)
    sure = found.score > 0.3
    boxes = np.stack(
        [joints_box(joints, which) for joints, which in zip(found.xy, sure, strict=True)]
    ) + np.array([-4, -4, 4, 4])
    return replace(
        frames, name="jhmdb", licence="frames of JHMDB's clips: research", boxes=boxes.astype(np.float32)
    )[np.flatnonzero(sure.sum(1) >= 6)]


def start(peers: Path, work: Path) -> None:
    """The starting weights of each network: MoveNet's trunk and heatmap head at our size."""
    for name, (source, size) in NETWORKS.items():
        found = from_onnx(peers / f"{source}.onnx", size=size)
        checkpoint.save(work / "start" / f"{name}.safetensors", found.network, found.spec)
        print(
            f"{name}: {sum(p.numel() for p in found.network.parameters()) / 1e6:.2f} M parameters", flush=True
        )


def config(name: str, work: Path, out: Path, budget: str, kind: str, **other: Any) -> TrainConfig:
    shares = tuple(f"packed:{share}" for share in SETS.values())
    _, (width, height) = NETWORKS[name]
    own = {
        "sigma": SIGMA[name],
        "padding": PADDING[name],
        "width": width,
        "size": height,
        "bf16": torch.cuda.is_available(),
    }
    numbers = {**NUMBERS, **own, "budget": budget, "flip_test": False, **other}
    return TrainConfig(data=shares, root=folders(work, kind), out=out, **numbers)


def train(name: str, work: Path, budget: str, first: Path | None, **other: Any) -> None:
    """-m on the fused labels; the others on the labels and -m's pseudo-labels elsewhere, from `first` if
    given.
    """
    student = str(first or work / "start" / f"{name}.safetensors")
    if name == "m":
        baseline(
            config(name, work, work / "runs" / "m", budget, "fused", **other),
            student=student,
            skeleton="body19",
        )
        return
    out, answers = work / "runs" / name, work / "labels" / "m"
    answers.mkdir(parents=True, exist_ok=True)
    out.mkdir(parents=True, exist_ok=True)
    if not (out / "labels").exists():
        (out / "labels").symlink_to(answers.resolve())  # predicted once for all of them
    pseudo_labels(
        config(name, work, out, budget, "packed", **other),
        teacher=PseudoLabelTeacher(teacher=str(work / "runs" / "m" / "student.onnx")),
        student=student,
        clean=("lspet",),
        arms=("labels_and_teacher",),
    )


def train_free(peers: Path, work: Path, budget: str, **other: Any) -> None:
    """-n again on images that allow any use: an exercise collection in the public domain, labelled by
    Thunder, and the mini set of synthetic people.
    """
    out = work / "runs" / "n-free"
    out.mkdir(parents=True, exist_ok=True)
    for teacher in ("movenet-thunder", "movenet-lightning"):
        label_store = work / "labels" / teacher
        for store in label_store.iterdir():
            (out / "labels").mkdir(exist_ok=True)
            if not (out / "labels" / store.name).exists():
                (out / "labels" / store.name).symlink_to(store.resolve())
    free = replace(
        config("n", work, out, budget, "packed", **other),
        data=("packed:0.6", "mini:0.4"),
        root=(work / "packed" / "exercises", mini.cache_folder()),
    )
    pseudo_labels(
        free,
        teacher=PseudoLabelTeacher(teacher=str(peers / "movenet-thunder.onnx")),
        agree=(str(peers / "movenet-lightning.onnx"),),
        student=str(work / "start" / "n.safetensors"),
        arms=("labels_and_teacher",),
    )


def proof(peers: Path, work: Path, budget: str, **other: Any) -> None:
    """-n from one start and for equal steps: labels, labels and Thunder, Thunder alone, and the same with 100
    labelled people; one seed.
    """
    out = work / "runs" / f"proof-{other['seed']}"
    out.mkdir(parents=True, exist_ok=True)
    if not (out / "labels").exists():
        (out / "labels").symlink_to((work / "labels" / "movenet-thunder").resolve())
    pseudo_labels(
        config("n", work, out, budget, "packed", **other),
        teacher=PseudoLabelTeacher(teacher=str(peers / "movenet-thunder.onnx")),
        student=str(work / "start" / "n.safetensors"),
        clean=("lspet",),
        few=100,
        arms=(*ARMS, "few_labels", "few_labels_and_teacher"),
    )


PADDINGS = (1.05, 1.1, 1.15, 1.2, 1.25)


def ship(name: str, work: Path) -> None:
    """The trained network with the box padding that is best on LSP's validation split, as the zoo's file, and
    its SHA-256 for the zoo's row.
    """
    trained = work / "runs" / name / "student.safetensors"
    network, spec = checkpoint.load(trained)
    val = packed(work / "packed" / "lsp" / "val").to(BODY19)
    measure = Evaluator.of(val)
    found = {}
    for padding in PADDINGS:
        padded = NetworkTeacher(network, replace(spec, padding=padding))
        found[padding] = measure.score(measure.predict(padded, flip=False)).mean
        print(
            f"{name}, padding {padding:g}: {found[padding]:.4f} on {len(val)} validation people", flush=True
        )
    best = max(found, key=lambda padding: found[padding])
    chosen = work / "runs" / name / "shipped.safetensors"
    checkpoint.save(chosen, network, replace(spec, padding=best, licences=zoo.licences(f"poseling-{name}")))
    out = Path(zoo.__file__).parent / "weights" / f"poseling-{name}.onnx"
    print(export(chosen, out, crops=windows(val.images, spec.size), half=True))
    print(f"{out}: {hashlib.sha256(out.read_bytes()).hexdigest()}")


ARM_OF = {"baseline": "labels", "distilled": "labels_and_teacher"}


def report(work: Path) -> None:
    """The results of the three seeds of `proof`: each arm's PCK on LSP test, and the share of the gap to
    Thunder that it closes.
    """
    found = [json.loads((work / "runs" / f"proof-{seed}" / "report.json").read_text()) for seed in range(3)]
    arms: dict[str, list[float]] = {}
    curves: dict[str, list[list[tuple[float, float]]]] = {}
    for one in found:
        for arm in (one["baseline"], one["distilled"], *one["others"]):
            arms.setdefault(ARM_OF.get(arm["name"], arm["name"]), []).extend(arm["values"])
        for name, points in one["curves"].items():
            curves.setdefault(ARM_OF.get(name, name).replace("_", " "), []).append(
                [(epoch, value) for epoch, value in points]
            )
    teacher = found[0]["teacher"]["value"]
    rows: list[dict[str, Any]] = [{"name": "thunder", "value": teacher, "unit": "PCK@0.2"}]
    rows += [
        {"name": name, "value": mean, "unit": "PCK@0.2", "spread": spread, "values": values}
        for name, values in arms.items()
        for mean, spread in [mean_and_spread(values)]
    ]
    for arm, control in (
        ("labels_and_teacher", "labels"),
        ("teacher_alone", "labels"),
        ("few_labels_and_teacher", "few_labels"),
    ):
        gaps = [(a - b) / (teacher - b) for a, b in zip(arms[arm], arms[control], strict=True)]
        gain = Difference(
            f"{arm} - {control}", [a - b for a, b in zip(arms[arm], arms[control], strict=True)]
        )
        mean, spread = mean_and_spread(gaps)
        rows.append(
            {
                "name": f"gap_closed_{arm}",
                "value": mean,
                "unit": "share",
                "spread": spread,
                "values": gaps,
            }
        )
        rows.append(
            {
                "name": f"gain_{arm}",
                "value": gain.mean,
                "unit": "PCK@0.2",
                "spread": gain.spread,
                "values": list(gain.values),
            }
        )
        print(gain.in_words())
    write(
        "distillation_pays",
        rows,
        "poseling-n at 128x160 from MoveNet Lightning's weights, 146,000 people seen in each training (6 "
        "epochs of 24,267), LSP 1001-2000, 12 joints, no flip. "
        "The trainings ran on an H100 (`proof --epochs 6`, seeds 0 to 2). Labels: LSP 1-850 and what of "
        "LSPET does not contradict Thunder. Few labels: 100 people of "
        "LSP, others with each seed, a quarter of all draws. Teacher: MoveNet Thunder's points, averaged "
        "over the mirrored image, each joint weighed by its score.",
    )
    figures.curves(
        curves,
        HERE.parent / "docs" / "images" / "distillation-pays.png",
        None,
        "PCK@0.2 on 150 validation people",
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("stage", choices=("prepare", "start", "train", "ship", "proof", "report"))
    parser.add_argument("name", nargs="?", choices=(*NETWORKS, "n-free"))
    parser.add_argument("--root", type=Path)
    parser.add_argument("--peers", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--budget", default="2h")
    parser.add_argument("--epochs", type=float)
    parser.add_argument("--start", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--batch", type=int, default=NUMBERS["batch"])
    parser.add_argument("--learning-rate", type=float, default=NUMBERS["learning_rate"])
    flags = parser.parse_args()
    numbers: dict[str, Any] = {"batch": flags.batch, "learning_rate": flags.learning_rate, "seed": flags.seed}
    budget = flags.budget
    if flags.epochs is not None:
        budget, numbers["epochs"] = "", flags.epochs
    numbers["evaluate_every"] = numbers.get("epochs", 6.0) / 12
    if flags.stage == "prepare":
        prepare(flags.root, flags.peers, flags.out)
    elif flags.stage == "start":
        start(flags.peers, flags.out)
    elif flags.stage == "train" and flags.name == "n-free":
        train_free(flags.peers, flags.out, budget, **numbers)
    elif flags.stage == "train":
        train(flags.name, flags.out, budget, flags.start, **numbers)
    elif flags.stage == "ship":
        ship(flags.name, flags.out)
    elif flags.stage == "report":
        report(flags.out)
    else:
        proof(flags.peers, flags.out, budget, **numbers)


if __name__ == "__main__":
    main()
