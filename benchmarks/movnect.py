"""MoVNect as published, width and trunk, at half of its input: taught by VNect, on the people of family_3d.py.

    python benchmarks/movnect.py train --out WORK --imagenet FILE [--seeds 3] [--stages ...]
    python benchmarks/movnect.py measure --peers DIR --valid DIR --out WORK
    python benchmarks/movnect.py show student.safetensors [blazepose-heavy.onnx] --data synthetic|lsp --root DIR --out people.jpg

WORK is that of family_3d.py, after its `prepare`: real people with 2D joints and BlazePose Heavy's metres, and
synthetic people with truth. --imagenet is a file with MobileNetV2's weights (docs/models.md); VNect's trunk,
EfficientNet-Lite2, has its own from a package. A stopped run continues; two processes can share the stages.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from family_3d import Judge, gains, people
from poseling.data import sets
from poseling.data.packed import packed
from poseling.draw import draw, draw_space
from poseling.evaluate import figures, mpjpe
from poseling.evaluate.cost import cost
from poseling.evaluate.evaluator import Evaluator
from poseling.files import read_image, write_bytes
from poseling.geometry import Crop
from poseling.pose import Pose
from poseling.recipes.movnect import STAGES, SpatialConfig, VNectTeacher, movnect
from poseling.skeleton import MOVNECT15
from poseling.teachers.checkpoint import checkpoint_teacher
from poseling.teachers.load import load
from poseling.teachers.onnx import OnnxTeacher
from results import mean_row, write

STUDENT, TEACHER = "movnect-medium", "vnect-efficientnet_lite2"
# The people that the student sees in 2D and in 3D, and VNect.
SEEN = {"student": (10_000, 18_000), "teacher": (10_000, 20_000)}
NUMBERS: dict[str, Any] = {
    "size": 128, "loss": "kl", "sigma": 1.0, "optimizer": "adamw", "schedule": "one_cycle", "learning_rate": 1e-3, "weight_decay": 0.01, "clip": 1.0,
    "batch": 32, "rotation": 30.0, "scale": 0.25, "color_jitter": 0.3, "padding": 1.15, "flip_test": False, "evaluate_every": 1.0, "resident": True,
}  # fmt: skip
ARMS = ("baseline", "distilled")
TILE = 220  # pixels


def train(flags: argparse.Namespace) -> None:
    """The recipe with the numbers above."""
    torch.set_num_threads(1)
    data, folders = people(flags.out)
    known = len(sets.load_all(data, folders, MOVNECT15).train)
    (flat, space), (teacher_flat, teacher_space) = (
        [seen / known for seen in SEEN[who]] for who in ("student", "teacher")
    )
    config = SpatialConfig(
        **NUMBERS,
        data=data,
        root=folders,
        out=flags.out / "runs" / "movnect",
        epochs=space,
        pretrained=str(flags.imagenet),
        seeds=flags.seeds,
        seed=flags.seed,
    )
    movnect(
        config,
        teacher=VNectTeacher(train_teacher=TEACHER, teacher_epochs=teacher_space),
        student=STUDENT,
        teacher_pretrained="imagenet",
        epochs_2d=flat,
        teacher_epochs_2d=teacher_flat,
        bones=0.3,
        stages=tuple(flags.stages),
    )


def measure(flags: argparse.Namespace) -> None:
    """The rows of `movnect`: VNect, and MoVNect alone and taught by it, on the same test people."""
    torch.set_num_threads(1)
    trained = flags.out / "runs" / "movnect"
    arms = {
        arm: [checkpoint_teacher(path) for path in sorted(trained.glob(f"seed-*/{arm}.safetensors"))]
        for arm in ARMS
    }
    vnect = checkpoint_teacher(trained / "seed-0" / "teacher_3d.safetensors")
    judge = Judge(OnnxTeacher(flags.peers / "blazepose-heavy.onnx", threads=1), flags.valid, flags.out)
    lsp = Evaluator.of(packed(flags.out / "packed" / "lsp" / "test").to(MOVNECT15))

    found = {arm: [judge(network) for network in networks] for arm, networks in arms.items()}
    rows = gains(found["baseline"], found["distilled"], judge(vnect), (*ARMS, "vnect"))
    for name, networks in {**arms, "vnect": [vnect]}.items():
        right = [lsp.score(lsp.predict(network, False)).mean for network in networks]
        rows.append(mean_row(f"pck02_lsp.{name}", "PCK@0.2", right))
    for name, network in (("distilled", arms["distilled"][0]), ("vnect", vnect)):
        price = cost(network.network, network.size)
        rows.append({"name": f"{name}.gmac", "value": price.gmac, "unit": "GMAC"})
        rows.append({"name": f"{name}.params", "value": price.params / 1e6, "unit": "M"})
    seen = "; ".join(
        f"{name}: {flat:,} people in the image, then {space:,} in space"
        for name, (flat, space) in SEEN.items()
    )
    write(
        "movnect",
        rows,
        f"{STUDENT} and {TEACHER} at 128x128 from ImageNet's weights. {seen}. {judge} pck02_lsp: LSP 1001-2000, "
        f"MoVNect's joints that it labels. {len(arms['distilled'])} seeds of the student, their standard deviation.",
    )


def show(flags: argparse.Namespace) -> None:
    """Samples from the smallest to the largest error, not picked by hand: the image with the 2D joints, and
    the 3D joints from the front and from the side.
    """
    torch.set_num_threads(1)
    networks = [load(name) for name in flags.networks]
    test = sets.load(flags.data, flags.root, MOVNECT15).test
    assert test is not None
    test = test[:200]
    judge = Evaluator.of(test, is_3d=test.is_3d)
    found = [judge.predict(network, True) for network in networks]
    rows = []
    for i in figures.across(judge.errors(found[0]), 6).tolist():
        crop = Crop.from_box(test.boxes[i], (TILE, TILE), 1.25)
        image = crop.warp(read_image(test.images[i]))
        tiles = []
        for one in found:
            known = np.isfinite(one.xy[i]).all(-1)
            pose = Pose(np.nan_to_num(crop.apply(one.xy[i]))[None], known[None].astype(np.float32), MOVNECT15)
            tiles.append(draw(image, pose))
            tiles += [_beside(one.xyz, i, known, yaw) for yaw in (0, 90)]
        if test.joints_3d is not None:
            known = (test.joints_3d[i] != 0).any(-1)
            tiles += [
                _beside(mpjpe.root_relative(test.joints_3d, MOVNECT15), i, known, yaw) for yaw in (0, 90)
            ]
        rows.append(np.concatenate(tiles, 1))
    write_bytes(flags.out, cv2.imencode(flags.out.suffix, np.concatenate(rows)[..., ::-1])[1].tobytes())


def _beside(
    xyz: NDArray[np.floating] | None, i: int, known: NDArray[np.bool_], yaw: float
) -> NDArray[np.uint8]:
    assert xyz is not None
    return draw_space(
        np.nan_to_num(xyz[i])[None], MOVNECT15, (TILE, TILE), yaw=yaw, pitch=0, shown=known[None]
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(required=True)
    training = commands.add_parser("train")
    training.set_defaults(run=train)
    training.add_argument("--out", type=Path, required=True)
    training.add_argument("--imagenet", type=Path, required=True)
    training.add_argument("--seeds", type=int, default=1)
    training.add_argument("--seed", type=int, default=0)
    training.add_argument("--stages", nargs="+", default=STAGES)
    measuring = commands.add_parser("measure")
    measuring.set_defaults(run=measure)
    for flag in ("peers", "valid", "out"):
        measuring.add_argument(f"--{flag}", type=Path, required=True)
    showing = commands.add_parser("show")
    showing.set_defaults(run=show)
    showing.add_argument("networks", nargs="+")
    showing.add_argument("--data", required=True)
    showing.add_argument("--root", type=Path, required=True)
    showing.add_argument("--out", type=Path, required=True)
    flags = parser.parse_args()
    flags.run(flags)


if __name__ == "__main__":
    main()
