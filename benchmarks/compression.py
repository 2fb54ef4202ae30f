"""What compressing costs and saves, on LSP's test people; every choice is made on its validation people.

    python benchmarks/compression.py int8 --packed DIR --out WORK                   # poseling-s by calibration alone: 2 minutes of one core
    python benchmarks/compression.py int4 --packed DIR --out WORK [--epochs 0.5]    # poseling-n's weights in 4 bits, before and after repair
    python benchmarks/compression.py prune --packed DIR --out WORK --epochs 2.2 --seeds 3  # poseling-s to half its time, repaired by labels, with and without itself as the teacher
    python benchmarks/compression.py prune ... --epochs 0.6 --seeds 3 --few 100     # the same where 100 people have labels, and the original beside them has all images
    python benchmarks/compression.py lightning --packed DIR --peers DIR --out WORK --epochs 1  # MoveNet Lightning to half its time, images without labels
    python benchmarks/compression.py lowrank --out WORK                             # the mini set's hourglass, its people: 2 minutes of one core

DIR of --packed holds lsp/train, lsp/val, lsp/test, lspet, stanford40, exercises and jhmdb, as
benchmarks/family.py packs them.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from poseling import zoo
from poseling.compress.command import Compressed, Settings, compress
from poseling.compress.judge import speed
from poseling.compress.search import Point
from poseling.data import mini
from poseling.data.packed import packed, relabel
from results import mean_row, write

NAME = "compression"
# The sets of a repair and how often each is drawn: images of five sources, and those with labels alone.
MIXED = {"lsp": 0.2, "lspet": 0.3, "stanford40": 0.3, "exercises": 0.1, "jhmdb": 0.1}
LABELLED = {"lsp": 0.4, "lspet": 0.6}
# Half of the time of poseling-s (192x224) and of MoveNet Lightning (192x192): first a smaller input, which
# loses least, then channels. Of Lightning's none: its input alone is enough, and 5 % of its work in channels
# cost half a point more, after two epochs.
SIZE, S_PRUNED = (128, 160), 0.1
SHARE = 0.5  # of the labels, where the original teaches beside them


def run(
    model: str, out: Path, root: Path, settings: Settings, sets: Mapping[str, float] = {"lsp": 1.0}
) -> Compressed:
    names = [f"packed:{share:g}" for share in sets.values()]
    return compress(model, out, settings, names, [root / name for name in sets], Console())


def losses(done: Compressed, name: str) -> list[dict[str, Any]]:
    """What is lost on the test people, in points, and the time that is left."""
    before, after = done.test
    return [
        {"name": f"{name}_pck_loss", "value": 100 * (before.pck - after.pck), "unit": "points of PCK@0.2"},
        {
            "name": f"{name}_strict_loss",
            "value": 100 * (before.strict - after.strict),
            "unit": "points of PCK@0.1",
        },
        {
            "name": f"{name}_latency_ratio",
            "value": after.ratio,
            "unit": "of the original's time",
            "ratio_to": "original",
        },
    ]


def int8(flags: argparse.Namespace) -> None:
    done = run(
        flags.model or "poseling-s",
        flags.out / "int8",
        flags.packed,
        Settings(quantise="int8", qat_epochs=flags.qat_epochs),
    )
    write(
        NAME,
        losses(done, "int8"),
        f"Calibrated on 128 people of LSP 1-850. {' '.join(done.notes)}",
        block="int8",
    )


def int4(flags: argparse.Namespace) -> None:
    model = flags.model or "poseling-n"
    half = run(model, flags.out / "fp16", flags.packed, Settings(quantise="fp16"))
    plain = run(model, flags.out / "int4", flags.packed, Settings(quantise="int4"))
    rows = [
        {
            "name": "int4_size_ratio",
            "value": plain.points[-1].bytes / half.points[-1].bytes,
            "unit": "of fp16's file",
            "ratio_to": "fp16",
        },
        {
            "name": "int4_pck_loss",
            "value": 100 * (plain.test[0].pck - plain.test[1].pck),
            "unit": "points of PCK@0.2",
        },
    ]
    if flags.epochs:
        settings = Settings(quantise="int4", qat_epochs=flags.epochs)
        learnt = run(model, flags.out / "int4-repaired", flags.packed, settings, MIXED)
        rows.append(
            {
                "name": "int4_repaired_pck_loss",
                "value": 100 * (learnt.test[0].pck - learnt.test[1].pck),
                "unit": "points of PCK@0.2",
            }
        )
    write(NAME, rows, "Blocks of 32 weights; depthwise weights and biases in fp16.", block="int4")


def prune(flags: argparse.Namespace) -> None:
    ratio, model = flags.ratio or S_PRUNED, flags.model or "poseling-s"
    sets, few = (few_labels(flags.packed, flags.out, flags.few), "_few") if flags.few else (flags.packed, "")
    base = Settings(size=SIZE, prune=ratio, epochs=flags.epochs, labels=flags.out / "labels")
    whole = zoo.path(model) if zoo.is_name(model) else Path(model)
    gains, lost, ratios = [], [], []
    for seed in range(flags.first_seed, flags.first_seed + flags.seeds):
        # Labels and the original; labels alone.
        outs = {share: flags.out / f"prune{few}-{share:g}-{seed}" for share in (SHARE, 1.0)}
        (original, taught), (_, alone) = (
            tested(model, out, sets, replace(base, labels_share=share, seed=seed), LABELLED)
            for share, out in outs.items()
        )
        gains.append(100 * (taught.pck - alone.pck))
        lost.append(100 * (original.pck - taught.pck))
        # Timed again, since it may be trained beside other work and finished quietly.
        ratios.append(speed(outs[SHARE] / f"{whole.stem}-{taught.name}.onnx", whole).median)
    rows = [
        mean_row(f"pruned{few}_pck_loss", "points of PCK@0.2", lost),
        mean_row(f"pruned{few}_latency_ratio", "of the original's time", ratios),
        mean_row(f"distilled_repair{few}_gain", "points of PCK@0.2", gains),
    ]
    write(
        NAME,
        rows,
        f"{model} at {SIZE[0]}x{SIZE[1]}, {ratio:g} of the work pruned; {flags.epochs:g} epochs over LSP's and "
        f"LSPET's people, {f'{flags.few} of them' if few else 'all'} labelled, with and without the original.",
        block=f"prune{few}",
    )


def few_labels(packed_sets: Path, out: Path, count: int) -> Path:
    """Folders as those of `packed_sets` in which `count` of LSP's people, by lot, have labels to train on, and
    LSPET's none; validation and test people keep theirs.
    """
    folder = out / f"few-{count}"
    for part in ("lsp/train", "lsp/val", "lsp/test", "lspet"):
        if (folder / part).exists():
            continue
        dataset = packed(packed_sets / part)
        kept = np.full(len(dataset), part in ("lsp/val", "lsp/test"))
        if part == "lsp/train":
            kept[np.random.default_rng(0).permutation(len(dataset))[:count]] = True
        relabel(replace(dataset, visible=dataset.visible * kept[:, None].astype(np.uint8)), folder / part)
    return folder


def tested(
    model: str, out: Path, root: Path, settings: Settings, sets: Mapping[str, float]
) -> tuple[Point, Point]:
    """The original and what was made of it on the test people; as its report says, if that is finished."""
    report = out / "report.json"
    if report.is_file() and (done := json.loads(report.read_text()))["settings"] == json.loads(
        json.dumps(asdict(settings), default=str)
    ):
        first, last = (Point(**point) for point in done["test"])
        return first, last
    first, last = run(model, out, root, settings, sets).test
    return first, last


def lightning(flags: argparse.Namespace) -> None:
    settings = Settings(
        size=SIZE, prune=flags.ratio, epochs=flags.epochs, learning_rate=2e-4, labels=flags.out / "labels"
    )
    done = run(
        str(flags.peers / "movenet-lightning.onnx"), flags.out / "lightning", flags.packed, settings, MIXED
    )
    found = losses(done, "lightning_pruned")
    write(
        NAME,
        found,
        f"At {SIZE[0]}x{SIZE[1]}, {flags.ratio or 0:g} of the work pruned, {flags.epochs:g} epochs over five "
        "sets without labels. Against its own file, read as MoveNet's authors do.",
        block="lightning",
    )


def low_rank(flags: argparse.Namespace) -> None:
    settings = Settings(low_rank=1 / 1.5, epochs=flags.epochs)
    model = flags.model or str(mini.TEACHER)
    done = compress(model, flags.out / "lowrank", settings, (), (), Console())
    before, after = done.test
    rows = [
        {"name": "lowrank_gmac_ratio", "value": before.gmac / after.gmac, "unit": "times fewer GMAC"},
        *losses(done, "lowrank"),
    ]
    write(
        NAME,
        rows,
        f"{Path(model).name} on the mini set, {flags.epochs:g} epochs: PCK@0.2 "
        f"{before.pck:.3f} to {after.pck:.3f}, PCK@0.1 {before.strict:.3f} to {after.strict:.3f}.",
        block="lowrank",
    )


STAGES = {"int8": int8, "int4": int4, "prune": prune, "lightning": lightning, "lowrank": low_rank}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("stage", choices=STAGES)
    parser.add_argument("--packed", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--peers", type=Path)
    parser.add_argument("--model")
    parser.add_argument("--ratio", type=float)
    parser.add_argument("--epochs", type=float, default=0.0)
    parser.add_argument("--qat-epochs", type=float, default=0.0)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--few", type=int, default=0, help="how many people have labels, 0 for all")
    parser.add_argument("--first-seed", type=int, default=0)
    flags = parser.parse_args()
    if flags.packed is None and flags.stage != "lowrank":
        parser.error(f"{flags.stage} needs --packed")
    STAGES[flags.stage](flags)


if __name__ == "__main__":
    main()
