"""Speed of distillation from pseudo-labels, compared with plain training, with a live teacher, and with
FPD's published code.

    python benchmarks/distill_throughput.py --root DIR [--published CHECKOUT]

An 8x256 hourglass teaches a 4x128 one at 256x256, as in the paper; one step of each in turn. Weights are
random, which takes the same time. CHECKOUT is a checkout of ilovepose/fast-human-pose-estimation.pytorch
(Apache-2.0), which is not part of Poseling: its own `fpd_train` runs one step on a prepared batch, without
its data loader, so the ratio favours it.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from poseling.codecs.heatmap import Heatmap
from poseling.data import sets
from poseling.data.augment import Augment
from poseling.data.dataset import PoseDataset
from poseling.data.loader import Crops
from poseling.distill.objective import Objective, fpd, supervised
from poseling.models import registry
from poseling.spec import PoseSpec
from poseling.teachers.cache import PseudoLabels, label
from poseling.teachers.network import NetworkTeacher
from poseling.train.loop import engine
from poseling.train.optim import Training
from poseling.train.throughput import stepper, throughput
from results import ratio, write


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--root", type=Path, help="holds lsp/; without it, the mini set is used")
    parser.add_argument("--published", type=Path, help="a checkout of the authors' code")
    parser.add_argument("--teacher", default="hourglass-8x256")
    parser.add_argument("--student", default="hourglass-4x128")
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, default=2)
    flags = parser.parse_args()
    torch.set_num_threads(flags.threads)
    torch.manual_seed(0)
    with tempfile.TemporaryDirectory() as folder:
        dataset = sets.load("lsp" if flags.root else "mini", flags.root).train[: 8 * flags.batch]
        steps = ours(dataset, flags, Path(folder))
        if flags.published:
            steps["published_code"] = published(flags.published, flags, len(dataset.skeleton))
        rates = throughput(steps, flags.batch, flags.rounds)
    rows = [{"name": name, "value": float(np.median(r)), "unit": "images/s"} for name, r in rates.items()]
    for other in ("supervised", "live", "published_code"):
        if other in rates:
            rows.append(ratio(f"stored_over_{other}", rates["stored"], rates[other], other))
    write(
        "distill_throughput",
        rows,
        f"{flags.teacher} teaches {flags.student} at {flags.size}x{flags.size}, batch {flags.batch}, fp32, "
        f"{flags.threads} threads",
    )


def ours(dataset: PoseDataset, flags: argparse.Namespace, folder: Path) -> dict[str, Callable[[], object]]:
    """One step of each of our ways."""
    codec, skeleton = Heatmap((flags.size, flags.size)), dataset.skeleton
    spec, big = (
        PoseSpec(name, skeleton, codec.fields(), codec.size) for name in (flags.student, flags.teacher)
    )
    teacher = NetworkTeacher(registry.build(flags.teacher, len(skeleton)), big, digest="random")
    done = label(teacher, dataset, str(folder / "labels"), batch=flags.batch)
    answers = PseudoLabels.open(done.store, dataset, skeleton, teacher, heatmap=codec)
    plain = Crops(dataset, spec.size, spec.padding, Augment(), 0)
    stored = Crops(dataset, spec.size, spec.padding, Augment(), 0, answers)
    runs = {
        "supervised": (Objective(spec, codec, supervised(codec, "mse")), plain),
        "stored": (Objective(spec, codec, fpd(codec, "mse", 0.5)), stored),
        "live": (Objective(spec, codec, fpd(codec, "mse", 0.5), teacher=teacher), plain),
    }
    student = registry.build(flags.student, len(skeleton))
    training, accelerator = Training(batch=flags.batch), engine(cpu=True)
    return {
        name: stepper(student, objective, crops, training, accelerator)
        for name, (objective, crops) in runs.items()
    }


def published(checkout: Path, flags: argparse.Namespace, joints: int) -> Callable[[], object]:
    """One call of the authors' `fpd_train` on a loader of one batch. Their code asks for CUDA and
    torchvision; on a CPU both are bypassed.
    """
    sys.path.insert(0, str(checkout / "lib"))
    drawing = types.ModuleType("utils.vis")  # needs torchvision, and only draws
    drawing.save_debug_images = lambda *_: None  # type: ignore[attr-defined]
    sys.modules["utils.vis"] = drawing
    if not torch.cuda.is_available():
        torch.Tensor.cuda = lambda self, *_, **__: self  # type: ignore[method-assign]
    from core.function import fpd_train  # type: ignore[import-not-found]
    from core.loss import JointsMSELoss  # type: ignore[import-not-found]
    from models.hourglass import get_pose_net  # type: ignore[import-not-found]

    def net(name: str) -> torch.nn.Module:
        stacks, width = name.removeprefix("hourglass-").split("x")
        extra = types.SimpleNamespace(NUM_FEATURES=int(width), NUM_STACKS=int(stacks), NUM_BLOCKS=1)
        return get_pose_net(
            types.SimpleNamespace(MODEL=types.SimpleNamespace(EXTRA=extra, NUM_JOINTS=joints)), is_train=True
        )

    student, teacher = net(flags.student), net(flags.teacher)
    optimizer = torch.optim.Adam(student.parameters(), lr=2.5e-4)
    maps = flags.size // 4
    batch: tuple[Any, ...] = (
        torch.rand(flags.batch, 3, flags.size, flags.size),
        torch.rand(flags.batch, joints, maps, maps),
        torch.ones(flags.batch, joints, 1),
        {},
    )
    config = types.SimpleNamespace(KD=types.SimpleNamespace(ALPHA=0.5), PRINT_FREQ=100)
    writer = {"writer": types.SimpleNamespace(add_scalar=lambda *_: None), "train_global_steps": 0}
    loss = JointsMSELoss(use_target_weight=True)
    return lambda: fpd_train(config, [batch], student, teacher, loss, loss, optimizer, 0, "", "", writer)


if __name__ == "__main__":
    main()
