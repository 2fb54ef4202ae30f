"""The recipes of later papers, each trained with its own control on real images: docs/protocol.md says how.

    python benchmarks/frontier.py prepare --out WORK                   # after `papers.py prepare`: LSPET without labels that contradict the teacher
    python benchmarks/frontier.py dwpose --out WORK --seed 0 [--people 20000] [--imagenet FILE]
    python benchmarks/frontier.py report                               # the second table of docs/protocol.md, from what is measured so far

The data, crops, augmentation and schedule are those of papers.py; every training sees --people people. A
recipe whose teacher has to be of its own kind trains that first, from labels, as long and once for all seeds;
`multi_teacher` asks MoveNet Thunder and Lightning (--peers), since an ensemble's crops are square. A finished
recipe is a row an arm and seed of results/frontier.json at once.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from papers import NUMBERS, by_seed, difference, exported, imagenet, insert, rows_of, score
from poseling.data.packed import packed, relabel
from poseling.evaluate.report import Report
from poseling.recipes.baseline import baseline
from poseling.recipes.config import RTMPoseConfig, TokenPoseConfig, TrainConfig, ViTPoseConfig
from poseling.recipes.distilpose import DistilPoseTeacher, distilpose
from poseling.recipes.dwpose import DWPoseTeacher, dwpose
from poseling.recipes.knowledge_token import ViTPoseTeacher, knowledge_token
from poseling.recipes.multi_teacher import multi_teacher
from poseling.recipes.okdhp import okdhp
from poseling.recipes.pseudo_labels import uncontradicted
from poseling.recipes.sdpose import sdpose
from poseling.skeleton import LSP14
from poseling.teachers import pseudo
from poseling.teachers.cache import PseudoLabels, label
from poseling.teachers.load import load
from results import write

NAME = "frontier"
MARKS = "<!-- frontier -->\n\n", "\n<!-- end frontier -->"
PEOPLE = 20_000


class Student(NamedTuple):
    """A recipe's `network`; the `guide` of its kind that is trained first, "" for none; whether it begins with
    ImageNet's MobileNetV2 (the EfficientNet-Lites' ImageNet weights are in a package); whether both are trained
    in bf16, which is faster where the network is no MobileNet.
    """

    network: str
    guide: str = ""
    imagenet: bool = True
    bf16: bool = False


STUDENTS = {
    "dwpose": Student("simcc-mobilenetv2", guide="simcc-efficientnet_lite2"),
    "distilpose": Student("distilpose_mobile-mobilenetv2-2", guide="tokenpose_mobile-efficientnet_lite2-2"),
    "sdpose": Student("sdpose_mobile-mobilenetv2-1"),
    "okdhp": Student("hourglass-2x64", imagenet=False, bf16=True),
    "knowledge_token": Student("vitpose-t-simple", guide="vitpose-s-simple", imagenet=False, bf16=True),
    "multi_teacher": Student("vitpose_mobile-mobilenetv2-simple"),
}


def prepare(work: Path, teacher: Path) -> None:
    """WORK/clean/lspet: LSPET's images with the labels that the teacher's predictions do not contradict."""
    if (work / "clean" / "lspet").exists():
        return
    dataset = packed(work / "packed" / "lspet").to(LSP14)
    store = label(load(str(teacher)), dataset, str(work / "labels" / "m"), flip=True).store
    predictions = PseudoLabels.open(store, dataset, LSP14)
    fused, told = pseudo.pseudo_labels(dataset, predictions, clean=np.ones(len(dataset), bool))
    clean = relabel(uncontradicted(dataset, fused, True), work / "clean" / "lspet")
    print(f"lspet: {told}; {int(clean.visible.any(1).sum())} people have labels")


def config_of(kind: Callable[..., TrainConfig], work: Path, out: Path, people: int, **fields: Any) -> Any:
    """The numbers of papers.py for a recipe whose defaults are of this kind, and other fields of it."""
    folders = (work / "packed" / "lsp", work / "clean" / "lspet")
    seen = sum(len(packed(folder / part)) for folder, part in zip(folders, ("train", ""), strict=True))
    numbers = NUMBERS | {"epochs": people / seen, "evaluate_every": people / seen / 3, "half_body": 0.0}
    return kind(**numbers, root=folders, out=out, **fields)


def trained(name: str, work: Path, people: int, bf16: bool) -> str:
    """A teacher of a recipe's own kind, from labels; its file."""
    out = work / "runs" / NAME / "teachers" / name
    if not (out / "student.safetensors").is_file():
        pretrained = "imagenet" if "efficientnet_lite" in name else None
        config = config_of(TrainConfig, work, out, people, pretrained=pretrained, bf16=bf16)
        baseline(config, student=name, skeleton="lsp14")
    return str(out / "student.safetensors")


def run(name: str, flags: argparse.Namespace) -> Report:
    """One recipe and seed."""
    student, guide, from_imagenet, bf16 = STUDENTS[name]
    work, people = flags.out, flags.people
    pretrained = str(flags.imagenet or imagenet(work)) if from_imagenet else None
    out = work / "runs" / NAME / f"{name}-{flags.seed}"

    def numbers(kind: Callable[..., TrainConfig] = TrainConfig) -> Any:
        return config_of(kind, work, out, people, pretrained=pretrained, bf16=bf16, seed=flags.seed)

    file = trained(guide, work, people, bf16) if guide else ""
    if name == "dwpose":
        return dwpose(numbers(RTMPoseConfig), teacher=DWPoseTeacher(teacher=file), student=student)
    if name == "distilpose":
        return distilpose(numbers(TokenPoseConfig), teacher=DistilPoseTeacher(teacher=file), student=student)
    if name == "sdpose":
        return sdpose(numbers(TokenPoseConfig), student=student)
    if name == "okdhp":
        return okdhp(numbers(), student=student)
    if name == "knowledge_token":
        return knowledge_token(numbers(ViTPoseConfig), teacher=ViTPoseTeacher(teacher=file), student=student)
    both = tuple(str(flags.peers / f"movenet-{name}.onnx") for name in ("thunder", "lightning"))
    return multi_teacher(numbers(), teachers=both, student=student, teacher_flip=True)


def train(name: str, flags: argparse.Namespace) -> None:
    """One recipe and seed, and its rows."""
    found = run(name, flags)
    rows = [
        {"name": f"{name}.{arm}.seed_{flags.seed}", "value": one.values[0], "unit": found.metric}
        for arm, one in (("baseline", found.baseline), ("distilled", found.distilled))
        if one is not None
    ]
    notes = f"{STUDENTS[name].network} at 128x128, {flags.people:,} people seen in each training; LSP 1001-2000, one pass."
    write(NAME, rows, notes, block=f"{name}.seed_{flags.seed}")


def table(rows: Mapping[str, float]) -> str:
    """Each recipe's control, its distilled student, and the gain seed by seed."""
    lines = [
        "| recipe, student | seeds | control | distilled | gain, 95 % interval |",
        "|---|---:|---:|---:|---|",
    ]
    for name, (student, *_) in STUDENTS.items():
        alone, taught = by_seed(rows, name, "baseline"), by_seed(rows, name, "distilled")
        if not taught:
            continue
        lines.append(
            f"| {name}, `{student}` | {len(taught)} | {score(alone)} | {score(taught)} | "
            f"{difference(taught, alone)} |"
        )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("stage", choices=("prepare", "report", *STUDENTS))
    parser.add_argument("--out", type=Path)
    parser.add_argument("--peers", type=Path, help="where MoveNet's files lie, for multi_teacher")
    parser.add_argument("--teacher", type=Path)
    parser.add_argument("--imagenet", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--people", type=int, default=PEOPLE)
    flags = parser.parse_args()
    torch.set_num_threads(1)
    if flags.stage != "report" and flags.out is None:
        parser.error(f"{flags.stage} needs --out")
    if flags.stage == "multi_teacher" and flags.peers is None:
        parser.error("multi_teacher needs --peers")
    if flags.stage == "prepare":
        prepare(flags.out, flags.teacher or exported(flags.out))
        return
    if flags.stage != "report":
        train(flags.stage, flags)
    insert(MARKS, table(rows_of(NAME)))


if __name__ == "__main__":
    main()
