"""MoVNect taught by VNect, on synthetic people with places in space and on LSP's with labels in the image, as
far as two CPU cores get.

    python benchmarks/movnect.py train --people DIR --root DIR --metres blazepose-heavy.onnx --out DIR [--seeds 3] [--stages ...]
    python benchmarks/movnect.py measure --people DIR --root DIR --heavy blazepose-heavy.onnx --lite blazepose-lite.onnx --out DIR
    python benchmarks/movnect.py show student.safetensors [blazepose-heavy.onnx] --data synthetic|lsp --root DIR --out people.jpg

`--people` holds train/ and test/ (`poseling data synthesize --count 16000 --seed 11 --size 192`, and 1000 of
--split test), `--root` lsp/ and lspet/. A stopped run continues; two processes can share the stages.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from poseling.data import sets
from poseling.data.dataset import PoseDataset
from poseling.draw import draw, draw_space
from poseling.evaluate import figures, mpjpe
from poseling.evaluate.cost import cost
from poseling.evaluate.evaluator import Evaluator
from poseling.evaluate.report import Gap, gap_closed
from poseling.evaluate.spread import mean_and_spread
from poseling.files import read_image, write_bytes
from poseling.geometry import Crop
from poseling.pose import Pose
from poseling.recipes.movnect import STAGES, SpatialConfig, VNectTeacher, movnect
from poseling.skeleton import BLAZEPOSE33, MOVNECT15
from poseling.teachers.base import Teacher
from poseling.teachers.checkpoint import checkpoint_teacher
from poseling.teachers.load import load
from poseling.teachers.network import NetworkTeacher
from poseling.teachers.onnx import OnnxTeacher
from results import write

NUMBERS: dict[str, Any] = {
    "data": ("synthetic",), "size": 96, "loss": "kl", "sigma": 1.0, "optimizer": "adamw", "schedule": "one_cycle", "learning_rate": 1e-3, "weight_decay": 0.01,
    "batch": 32, "epochs": 1.5, "rotation": 20.0, "scale": 0.2, "color_jitter": 0.2, "evaluate_every": 1.0, "resident": True, "pretrained": "imagenet",
}  # fmt: skip
TILE = 220  # pixels


def train(flags: argparse.Namespace) -> None:
    """The recipe with the numbers above."""
    torch.set_num_threads(1)
    config = SpatialConfig(
        **NUMBERS, root=(flags.dataset,), out=flags.out, seeds=flags.seeds, seed=flags.seed
    )
    movnect(
        config,
        teacher=VNectTeacher(train_teacher=flags.train_teacher, teacher_epochs=1.75),
        student=flags.student,
        teacher_pretrained="imagenet",
        images=("lsp", "lspet"),
        images_root=flags.root,
        metres=flags.metres,
        epochs_2d=1,
        bones=0.3,
        stages=tuple(flags.stages),
    )


def measure(flags: argparse.Namespace) -> None:
    """All networks on the same images and joints: rows of movnect_synthetic and movnect_real."""
    torch.set_num_threads(1)
    students = {
        arm: [checkpoint_teacher(path) for path in sorted(flags.out.glob(f"seed-*/{arm}.safetensors"))]
        for arm in ("baseline", "distilled")
    }
    vnect = checkpoint_teacher(flags.out / "seed-0" / "teacher_3d.safetensors")
    guests = {
        name: OnnxTeacher(path, threads=1)
        for name, path in (("blazepose_heavy", flags.heavy), ("blazepose_lite", flags.lite))
    }
    dataset = sets.load("synthetic", flags.dataset, MOVNECT15)
    assert dataset.test is not None
    rows = _against_truth(vnect, students, guests, dataset.test, dataset.train[: len(dataset.test)])
    about = (
        "1,000 synthetic people of other bodies, motions and places than those in training; 96x96, flip "
        "test. " + _about(students)
    )
    write("movnect_synthetic", rows, notes=about + SHARED_JOINTS)
    lsp = sets.load("lsp", flags.root, MOVNECT15).test
    assert lsp is not None
    about = (
        "LSP 1001-2000. Agreement: PA-MPJPE from BlazePose Heavy's answer, over the 13 joints that both "
        "know. " + _about(students)
    )
    write("movnect_real", _on_images(vnect, students, guests, lsp, flags.plain), notes=about + SHARED_JOINTS)


SHARED_JOINTS = (
    "Rows `_pa` are PA-MPJPE over the 13 joints that BlazePose has too, after calibrating away how its "
    "joints are defined (mpjpe.calibrate), on 1,000 synthetic "
    "people of the training half; for our own networks alike."
)


def _about(students: dict[str, list[NetworkTeacher]]) -> str:
    return f"{len(students['distilled'])} seeds. "


def _against_truth(
    vnect: NetworkTeacher,
    students: dict[str, list[NetworkTeacher]],
    guests: dict[str, OnnxTeacher],
    test: PoseDataset,
    train: PoseDataset,
) -> list[dict[str, Any]]:
    judge, fitting = Evaluator.of(test, is_3d=True), Evaluator.of(train, is_3d=True)
    scores = {
        name: [judge.score(judge.predict(n, True)).precision for n in each]
        for name, each in {"teacher": [vnect], **students}.items()
    }
    rows = [_row(name, [s["MPJPE"] for s in each]) for name, each in scores.items()]
    assert train.joints_3d is not None
    assert test.joints_3d is not None
    # The error of always predicting the median pose.
    median = np.broadcast_to(
        np.median(mpjpe.root_relative(train.joints_3d, MOVNECT15), 0), test.joints_3d.shape
    ).astype(np.float32)
    pose = Pose(test.joints, np.ones(test.joints.shape[:2], np.float32), MOVNECT15, median)
    rows.append(_row("median_posture", [judge.score(pose).mean]))
    gap = Gap(
        [
            gap_closed(d["MPJPE"], b["MPJPE"], scores["teacher"][0]["MPJPE"], False)
            for b, d in zip(*(scores[a] for a in students), strict=True)
        ]
    )
    if gap.mean is not None:
        rows.append(
            {
                "name": "gap_closed",
                "value": gap.mean,
                "unit": "share",
                "spread": gap.spread,
                "values": list(gap.values),
            }
        )
    for measured in ("PA-MPJPE", "N-MPJPE"):
        rows += [
            _row(f"{name}_{measured.lower().replace('-mpjpe', '_all')}", [s[measured] for s in each])
            for name, each in scores.items()
        ]
    rows += [
        {"name": f"{name}_3dpck", **_numbers([s["3DPCK@150"] for s in each]), "unit": "3DPCK@150"}
        for name, each in scores.items()
    ]
    shared = BLAZEPOSE33.to(MOVNECT15).known
    networks: dict[str, Sequence[Teacher]] = {
        **{n: [g] for n, g in guests.items()},
        "teacher_pa": [vnect],
        **{f"{a}_pa": n for a, n in students.items()},
    }
    for name, each in networks.items():
        rows.append(_row(name, [_calibrated(network, judge, fitting, shared) for network in each]))
    return rows


def _calibrated(network: Teacher, judge: Evaluator, fitting: Evaluator, shared: NDArray[np.bool_]) -> float:
    """PA-MPJPE over the joints `shared`, definitions calibrated away on the people of `fitting`."""
    offsets = mpjpe.calibrate(*_pairs(network, fitting, shared), MOVNECT15)
    predicted, truth, known = _pairs(network, judge, shared)
    return mpjpe.pa_mpjpe(mpjpe.calibrated(predicted, offsets, MOVNECT15), truth, known)


def _pairs(
    network: Teacher, judge: Evaluator, shared: NDArray[np.bool_]
) -> tuple[NDArray[np.floating], NDArray[np.floating], NDArray[np.bool_]]:
    found, dataset = judge.predict(network, True).xyz, judge.dataset
    assert found is not None
    assert dataset.joints_3d is not None
    return found, dataset.joints_3d, (dataset.joints_3d != 0).any(-1) & shared


def _on_images(
    vnect: NetworkTeacher,
    students: dict[str, list[NetworkTeacher]],
    guests: dict[str, OnnxTeacher],
    lsp: PoseDataset,
    plain: Path | None,
) -> list[dict[str, Any]]:
    judge = Evaluator.of(lsp)
    networks: dict[str, list[Any]] = {
        "teacher": [vnect],
        **students,
        **({"without_metres": [checkpoint_teacher(plain)]} if plain else {}),
    }
    found = {name: [judge.predict(n, True) for n in each] for name, each in networks.items()}
    others = {name: judge.predict(guest, True) for name, guest in guests.items()}
    heavy = others["blazepose_heavy"].xyz
    assert heavy is not None
    known = np.asarray(np.isfinite(heavy).all(-1), bool)

    def agreement(xyz: NDArray[np.floating] | None) -> float:
        assert xyz is not None
        return mpjpe.pa_mpjpe(xyz, heavy, known)

    rows: list[dict[str, Any]] = []
    for name, each in found.items():
        own = "pck_lsp" if name == "distilled" else f"pck_lsp_{name}"
        rows.append({"name": own, **_numbers([judge.score(one).mean for one in each]), "unit": "PCK@0.2"})
    for name, each in found.items():
        own = "agreement_with_heavy" if name == "distilled" else f"{name}_agreement_with_heavy"
        rows.append(_row(own, [agreement(one.xyz) for one in each]))
    rows.append(_row("lite_agreement_with_heavy", [agreement(others["blazepose_lite"].xyz)]))
    one = students["distilled"][0]
    price = cost(one.network, one.size)
    rows.append({"name": "student_gmac", "value": price.gmac, "unit": "GMAC"})
    rows.append({"name": "student_params", "value": price.params / 1e6, "unit": "M"})
    return rows


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


def _row(name: str, values: list[float]) -> dict[str, Any]:
    return {"name": name, **_numbers(values), "unit": "mm"}


def _numbers(values: list[float]) -> dict[str, Any]:
    mean, spread = mean_and_spread(values)
    return {"value": mean} | ({} if spread is None else {"spread": spread, "values": values})


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(required=True)
    training = commands.add_parser("train")
    training.set_defaults(run=train)
    training.add_argument("--people", type=Path, required=True)
    training.add_argument("--root", type=Path, required=True)
    training.add_argument("--metres")
    training.add_argument("--train-teacher", default="vnect-efficientnet_lite2")
    training.add_argument("--student", default="movnect-efficientnet_lite0")
    training.add_argument("--out", type=Path, required=True)
    training.add_argument("--seeds", type=int, default=1)
    training.add_argument("--seed", type=int, default=0)
    training.add_argument("--stages", nargs="+", default=STAGES)
    measuring = commands.add_parser("measure")
    measuring.set_defaults(run=measure)
    for flag in ("people", "root", "heavy", "lite", "out"):
        measuring.add_argument(f"--{flag}", type=Path, required=True)
    measuring.add_argument("--plain", type=Path, help="a student that was trained without --metres")
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
