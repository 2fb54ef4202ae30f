"""One network for every runtime there is: `poseling export MODEL --to all`, with a report of what runs here
and how near it is to PyTorch.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from poseling.evaluate import pck
from poseling.export import mobile, openvino, parity
from poseling.export.onnx import Deployed, graph
from poseling.export.parity import FLOOR
from poseling.files import write_bytes
from poseling.geometry import joints_box
from poseling.models import checkpoint
from poseling.onnx_session import open_session
from poseling.skeleton import Skeleton

PIXELS = 0.5  # of the network's input: how far a target's joints may be from PyTorch's
PART = 0.99  # of the joints have to be so near: between two equal peaks the last bit decides
STRICT = 0.1  # of the torso: where eight bits have to be right, whose joints all move by some pixels
LOST = 0.02  # of the joints that float has within that of the labels; as `poseling compress` allows
AGREED = 0.95  # of the joints within that of the float network's, where there are no labels
ENOUGH = 8  # crops to take ranges from
ROUNDS = 40

Labels = tuple[
    NDArray[np.floating], NDArray[np.generic]
]  # joints (N, K, 2) in pixels of crops; visible (N, K)


@dataclass(frozen=True)
class Target:
    """A runtime: its file's suffix, the extra that brings it, whether its files can run on this machine, and
    whether it computes in eight bits.
    """

    suffix: str
    extra: str
    runs: bool = True
    int8: bool = False


TARGETS: dict[str, Target] = {
    "onnx": Target(".onnx", "export"),
    "openvino": Target(".xml", "openvino"),
    "openvino-int8": Target("-int8.xml", "nncf", int8=True),
    "executorch": Target(".pte", "mobile"),
    "executorch-int8": Target("-int8.pte", "mobile", int8=True),
    "litert": Target(".tflite", "litert"),
    "coreml": Target(".mlpackage", "mobile", runs=False),  # Apple's systems alone run it
}


@dataclass(frozen=True)
class Made:
    """What became of a target: its file, "" where there is none; `state` in words; the joints' distance from
    PyTorch in pixels of the input (the largest of 99 % of them), and the time of a crop over ONNX Runtime's,
    None where it does not run here. `strict` is PCK@0.1 in eight bits, from 0 to 1: against the labels, or
    PyTorch's joints where there are none.
    """

    target: str
    file: str
    state: str
    pixels: float | None = None
    ratio: float | None = None
    strict: float | None = None
    agrees: bool = True


def export_to(
    model: Path,
    out: Path,
    targets: Sequence[str],
    crops: NDArray[np.uint8] | None = None,
    labels: Labels | None = None,
    calibration: NDArray[np.uint8] | None = None,
) -> list[Made]:
    """Writes the checkpoint `model` for `targets`, names of TARGETS or `all`, to the folder `out`, with
    report.json and report.md.

    `crops` (N, H, W, 3) uint8 RGB are what the files are compared on with PyTorch; drawn figures if None. A
    file in eight bits takes its ranges from the crops `calibration`, and is judged by PCK@0.1: by the `labels`
    of `crops` if there are any, else by PyTorch's joints. Of `all`, targets that are not installed, or that
    cannot convert the network, are listed with the reason; a target that is named raises ValueError with the
    extra to install. ValueError for an unknown name, for a network that answers in space, for eight bits
    without eight crops to calibrate on, and if a file that runs here does not agree.
    """
    wanted = list(TARGETS) if "all" in targets else list(dict.fromkeys(targets))
    if unknown := [name for name in wanted if name not in TARGETS]:
        raise ValueError(f"--to {unknown[0]}: is unknown; there is all, {', '.join(TARGETS)}")
    network, spec = checkpoint.load(model)
    deployed = Deployed(network, spec).eval()
    if deployed.spec.outputs != ("xy", "score"):
        raise ValueError(
            f"{model}: answers in space; --to is for networks of joints in the image. Leave it out for an "
            f"ONNX file"
        )
    crops = parity.synthetic(spec.size) if crops is None else crops
    calibration = crops[:0] if calibration is None else calibration
    onnx_file = graph(deployed)
    content = onnx_file.SerializeToString()
    with torch.no_grad():
        parts = [deployed(torch.from_numpy(crops[i : i + 16])) for i in range(0, len(crops), 16)]
    truth = tuple(torch.cat([part[j] for part in parts]).numpy() for j in range(2))
    base = _onnx_runtime(content)
    made = []
    for name in wanted:
        target = TARGETS[name]
        path = out / f"{model.stem}{target.suffix}"
        try:
            run = _write(name, deployed, content, crops[:1], path, calibration)
        except ImportError as error:
            told = f"not installed: {error.name} comes with pip install 'poseling[{target.extra}]'"
            if "all" not in targets:
                raise ValueError(f"--to {name}: {told}") from error
            made.append(Made(name, "", told))
            continue
        except ValueError as error:
            if "all" not in targets:
                raise
            made.append(Made(name, "", str(error)))
            continue
        if run is None:
            made.append(Made(name, path.name, "converted, not run here"))
            continue
        found = run(crops)
        pixels = apart(truth, found)
        if target.int8:
            strict, agrees, state = judged(truth[0], found[0], labels, spec.skeleton, truth[1] >= FLOOR)
        else:
            strict, agrees = None, pixels <= PIXELS
            state = "agrees with PyTorch" if agrees else f"does NOT agree with PyTorch: {pixels:.2g} px"
        made.append(Made(name, path.name, state, pixels, _slower(run, base, crops[:1]), strict, agrees))
    write_report(out, model.stem, made, len(crops))
    if wrong := [one for one in made if not one.agrees]:
        raise ValueError(f"{out / wrong[0].file}: {wrong[0].state}, on {len(crops)} crops; do not use it")
    return made


def apart(truth: Sequence[NDArray[np.float32]], found: Sequence[NDArray[np.float32]]) -> float:
    """The distance in pixels within which 99 % of the joints lie that PyTorch sees at all; joints (N, K, 2),
    scores (N, K).
    """
    seen = truth[1] >= FLOOR
    if not seen.any():
        return float("nan")
    return float(np.quantile(np.linalg.norm(found[0] - truth[0], axis=-1)[seen], PART))


def judged(
    truth: NDArray[np.floating],
    found: NDArray[np.floating],
    labels: Labels | None,
    skeleton: Skeleton,
    seen: NDArray[np.bool_] | None = None,
) -> tuple[float, bool, str]:
    """PCK@0.1 of joints `found` (N, K, 2) in eight bits, whether it will do, and both in words; `truth` are
    those of the float network, which are the labels where there are none, those that it has `seen` (N, K).
    """
    joints, visible = labels or (truth, np.ones(truth.shape[:2], bool) if seen is None else seen)
    if {"left_shoulder", "right_hip"} <= set(skeleton.joints):
        length = pck.torso_length(joints, visible, skeleton)
    else:
        length = pck.box_length(np.stack([joints_box(*one) for one in zip(joints, visible, strict=True)]))
    strict, wanted = (pck.pck(one, joints, visible, length, STRICT).mean for one in (found, truth))
    if labels is None:
        agrees = strict >= AGREED
        told = f"PCK@{STRICT:g} {strict:.3f} against PyTorch's joints, {AGREED:g} at least"
    else:
        agrees = wanted - strict <= LOST
        told = f"PCK@{STRICT:g} {strict:.3f} where PyTorch has {wanted:.3f}, at most {LOST:g} less"
    return strict, agrees, f"{'agrees' if agrees else 'does NOT agree'} with PyTorch: {told}"


def _write(
    name: str,
    deployed: Deployed,
    content: bytes,
    crop: NDArray[np.uint8],
    path: Path,
    calibration: NDArray[np.uint8],
) -> mobile.Run | None:
    """Writes the file; what runs it here, None if nothing does."""
    sample = torch.from_numpy(crop)
    if TARGETS[name].int8 and len(calibration) < ENOUGH:
        raise ValueError(
            f"--to {name}: eight bits need {ENOUGH} crops of people at least to take ranges from; give --images"
        )
    if name == "onnx":
        write_bytes(path, content)
        return _onnx_runtime(content)
    if name in ("openvino", "openvino-int8"):
        import onnx

        model = onnx.load_from_string(content)
        if TARGETS[name].int8:
            openvino.write_int8(model, calibration, path)
        else:
            openvino.write(model, path)
        return openvino.caller(path)
    if name in ("executorch", "executorch-int8"):
        one = mobile.in_int8(deployed, calibration) if TARGETS[name].int8 else deployed
        mobile.write_executorch(one, sample, path)
        return mobile.executorch(path)
    if name == "litert":
        mobile.write_litert(deployed, sample, path)
        return mobile.litert(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    mobile.write_coreml(deployed, sample, path)
    return None


def _onnx_runtime(content: bytes) -> mobile.Run:
    session = open_session(content, threads=1, log=3)

    def run(crops: NDArray[np.uint8]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        xy, score = session.run(["xy", "score"], {"crops": crops})
        return xy, score

    return run


def _slower(run: mobile.Run, base: mobile.Run, crop: NDArray[np.uint8]) -> float:
    """The time of one crop over that of ONNX Runtime: the median of the rounds' ratios, each of both in
    turns.
    """

    def seconds(one: Callable[[NDArray[np.uint8]], object]) -> float:
        start = time.process_time()  # what else the machine does is not counted
        one(crop)
        return time.process_time() - start

    for _ in range(5):
        run(crop), base(crop)
    return float(np.median([seconds(run) / seconds(base) for _ in range(ROUNDS)]))


def write_report(out: Path, name: str, made: Sequence[Made], crops: int) -> None:
    """report.json and report.md."""
    write_bytes(out / "report.json", (json.dumps([asdict(one) for one in made], indent=1) + "\n").encode())
    lines = [
        f"# {name}, for every runtime",
        "",
        f"Joints are compared with PyTorch's on {crops} crops: 99 % of them differ by at most so many "
        f"pixels.",
        "",
    ]
    lines += ["| target | file | | px | time / ONNX Runtime's |", "|---|---|---|---:|---:|"]
    for one in made:
        numbers = (
            f"{one.pixels:.3f} | {one.ratio:.2f}"
            if one.pixels is not None and one.ratio is not None
            else " | "
        )
        lines.append(f"| {one.target} | {one.file} | {one.state} | {numbers} |")
    write_bytes(out / "report.md", ("\n".join(lines) + "\n").encode())
