"""Does an exported file predict what PyTorch predicts? Measured on crops that differ, in pixels of the
network's input, and in 3D in millimetres.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from poseling.codecs import Codec, read
from poseling.files import read_image
from poseling.geometry import Crop, Size
from poseling.onnx_session import open_session

CROPS = 32  # fewer are no check
FLOOR = 0.01  # a peak below a hundredth of a Gaussian is no prediction, and its place is chance
ENOUGH = 0.1  # the part of all joints that must be above the floor, else nothing was compared
MAX_MM = 1.0  # of a 3D joint
VARIED = 10  # joints must move by this many bounds from crop to crop, else a wrong image would pass
JUMPS = (
    0.01  # the part of the compared joints that may jump between two peaks of the same height, or one joint
)
DRAWS = 16


class Rounding(NamedTuple):
    """What the rounding of a file's weights does: a `score` in 0..1 may differ by so much, and `noise` is that of
    an output, as a part of its range.
    """

    score: float
    noise: float


# Ten times what PyTorch and ONNX Runtime were seen to differ by (docs/export.md).
FLOATS = Rounding(1e-3, 1e-5)
# Weights are rounded by up to 1/2048.
HALVES = Rounding(0.03, 2e-3)


class ParityError(ValueError):
    """The exported file predicts something else than PyTorch, or the check could not decide."""


@dataclass(frozen=True)
class Parity:
    """What the check found.

    max_pixels and mean_pixels: how far the joints of the two are apart, in input pixels; max_score: how far
    their scores; varied: how much a joint moves from crop to crop (its standard deviation in input pixels,
    mean over joints); crops: how many were run, from `source`; compared: joints whose score is
    above the floor; jumped: those of them left out because they lie on another peak of the same height;
    max_mm: how far the 3D joints are apart, None for a 2D file.
    """

    max_pixels: float
    mean_pixels: float
    max_score: float
    varied: float
    crops: int
    source: str
    compared: int
    jumped: int
    max_mm: float | None = None

    def __str__(self) -> str:
        jumps = f", {self.jumped} more jumped between equal peaks" if self.jumped else ""
        space = "" if self.max_mm is None else f", in 3D by at most {self.max_mm:.2g} mm"
        return (
            f"{self.compared - self.jumped} joints on {self.crops} {self.source} crops differ by at most "
            f"{self.max_pixels:.2g} px "
            f"(mean {self.mean_pixels:.2g} px){space}, their scores by at most {self.max_score:.2g}{jumps}; "
            f"joints move by {self.varied:.2g} px from crop to crop"
        )


def check(
    network: Callable[[Tensor], Tensor],
    codec: Codec,
    model: bytes,
    crops: NDArray[np.uint8],
    bound: float = 0.05,
    source: str = "given",
    rounding: Rounding = FLOATS,
) -> Parity:
    """PyTorch against ONNX Runtime on `crops` (N, H, W, 3) uint8 RGB, both in fp32 on the CPU.

    `network` takes crops to outputs (N, K, ...), which `codec` decodes; `model` is the ONNX file's content,
    with outputs `xy` and `score`, and `xyz` if the codec is one for space, or `maps` for a raw one.
    ValueError for fewer than 32 crops. ParityError with all the numbers if a joint is more than `bound` input
    pixels off, or a millimetre in 3D, a score more than `rounding` allows, if too few joints have a score to
    be compared, or if the joints move too little from crop to crop for the check to mean anything.

    A joint may differ for a legitimate reason: a decoder is discontinuous where two pixels of a heatmap, or
    two bins, are equally high, and there float noise decides. Such a joint is excused if PyTorch itself gives
    ONNX Runtime's joint once noise is added to the joint's outputs (of floats, a hundred-thousandth of their
    range); one in a hundred at most. If the outputs are points themselves, none is.
    """
    if len(crops) < CROPS:
        raise ValueError(
            f"parity needs at least {CROPS} crops, got {len(crops)}; take windows of the same images with "
            f"parity.windows"
        )
    outputs = _torch(network, crops)
    xy, score, *space = (t.numpy() for t in read(codec, outputs))
    there_xy, there_score, *there_space = _onnx(model, codec, crops)

    distance = np.linalg.norm(there_xy - xy, axis=-1)
    apart = [
        1000 * np.linalg.norm(there - here, axis=-1) for there, here in zip(there_space, space, strict=True)
    ]
    compared = score >= FLOOR
    near = distance <= bound
    for millimetres in apart:
        near &= millimetres <= MAX_MM
    far = compared & ~near  # NaN is far
    allowed = max(1, int(JUMPS * compared.sum()))
    theirs = (there_xy, *there_space)
    excused = (
        far & _noise_explains(codec, outputs, theirs, far, bound, rounding.noise)
        if 0 < far.sum() <= allowed
        else np.zeros_like(far)
    )
    left = compared & ~excused
    result = Parity(
        max_pixels=float(distance[left].max(initial=0)),
        mean_pixels=float(distance[left].mean()) if left.any() else 0.0,
        max_score=float(np.abs(there_score - score).max()),
        varied=float(np.linalg.norm(there_xy.std(0), axis=-1).mean()),
        crops=len(crops),
        source=source,
        compared=int(compared.sum()),
        jumped=int(excused.sum()),
        max_mm=float(apart[0][left].max(initial=0)) if apart else None,
    )
    if complaints := _complaints(result, compared.size, int((far & ~excused).sum()), bound, rounding):
        raise ParityError("; ".join(complaints) + f" ({result})")
    return result


def _complaints(result: Parity, joints: int, far: int, bound: float, rounding: Rounding) -> list[str]:
    out = []
    if far:
        limit, worst = (
            ("", "")
            if result.max_mm is None
            else (f" or {MAX_MM:g} mm in 3D", f" and {result.max_mm:.3g} mm")
        )
        out.append(
            f"{far} of {result.compared} joints are off by more than {bound:g} px{limit}, the worst by "
            f"{result.max_pixels:.3g} px{worst}"
        )
    if not result.max_score <= rounding.score:
        out.append(f"scores differ by up to {result.max_score:.3g}, more than {rounding.score:g}")
    if result.compared < ENOUGH * joints:
        out.append(
            f"only {result.compared} of {joints} joints have a score of {FLOOR:g} or more, too few to "
            f"compare; "
            f"give crops of people (these are {result.source}), or train the network further"
        )
    if not result.varied >= VARIED * bound:
        out.append(
            f"joints move by only {result.varied:.2g} px from crop to crop, less than {VARIED * bound:g} px, "
            f"so a wrong image would pass; give crops that differ, or train the network until it depends on "
            "its input"
        )
    return out


def _torch(network: Callable[[Tensor], Tensor], crops: NDArray[np.uint8]) -> Tensor:
    with torch.no_grad():
        return torch.cat([network(torch.from_numpy(crops[i : i + 16])) for i in range(0, len(crops), 16)])


def _onnx(model: bytes, codec: Codec, crops: NDArray[np.uint8]) -> tuple[NDArray[np.float32], ...]:
    session = open_session(model)
    # The first crop alone, so that two batch sizes are run.
    batches = [crops[:1], *(crops[i : i + 16] for i in range(1, len(crops), 16))]
    outputs = [
        np.concatenate(parts)
        for parts in zip(
            *(session.run(None, {"crops": np.ascontiguousarray(b)}) for b in batches), strict=True
        )
    ]
    named = dict(zip((o.name for o in session.get_outputs()), outputs, strict=True))
    if "maps" in named:
        xy, score = codec.heatmap.decode(torch.from_numpy(named["maps"]))
        return xy.numpy(), score.numpy()
    return tuple(named[name] for name in ("xy", "score", "xyz") if name in named)


def _noise_explains(
    codec: Codec,
    outputs: Tensor,
    theirs: Sequence[NDArray[np.float32]],
    far: NDArray[np.bool_],
    bound: float,
    noise: float = FLOATS.noise,
) -> NDArray[np.bool_]:
    """(N, K) whether PyTorch's decoder gives `theirs`, joints (N, K, 2) and 3D joints (N, K, 3), for outputs
    (N, K, ...) with a little noise on them, as a part of their range.
    """
    if not codec.has_peaks:
        return np.zeros_like(far)
    rows = far.any(1)
    chosen, wanted = outputs[torch.from_numpy(rows)], [torch.from_numpy(part[rows]) for part in theirs]
    beside = tuple(range(2, chosen.ndim))
    amount = noise * (chosen.amax(beside, keepdim=True) - chosen.amin(beside, keepdim=True))
    generator = torch.Generator().manual_seed(0)
    found = torch.zeros(chosen.shape[:2], dtype=torch.bool)
    for _ in range(DRAWS):
        xy, _, *space = read(codec, chosen + amount * torch.randn(chosen.shape, generator=generator))
        same = [
            (here - there).norm(dim=-1) <= most
            for here, there, most in zip((xy, *space), wanted, (bound, MAX_MM / 1000), strict=False)
        ]
        found |= torch.stack(same).all(0)
    out = np.zeros_like(far)
    out[rows] = found.numpy()
    return out


def windows(images: Sequence[Path], size: Size, count: int = CROPS, seed: int = 0) -> NDArray[np.uint8]:
    """`count` crops (N, H, W, 3) RGB of `size` (W, H) from the images at these paths.

    Each image gives itself as a whole first, then windows of half to all of it; of more than `count` images
    an even choice is taken. ValueError if there is no image; OSError that names an image that cannot be read.
    """
    if not images:
        raise ValueError("there are no images to take crops from")
    random = np.random.default_rng(seed)
    chosen = [images[i] for i in np.linspace(0, len(images) - 1, min(count, len(images))).round().astype(int)]
    crops = []
    for i in range(count):
        image = read_image(chosen[i % len(chosen)])
        height, width = image.shape[:2]
        part = 1.0 if i < len(chosen) else random.uniform(0.5, 1)
        x, y = random.uniform(0, 1 - part, 2) if part < 1 else (0.0, 0.0)
        box = np.array([x, y, x + part, y + part]) * [width - 1, height - 1, width - 1, height - 1]
        crops.append(Crop.from_box(box, size, padding=1.0).warp(image))
    return np.stack(crops)


def synthetic(size: Size, count: int = CROPS, seed: int = 0) -> NDArray[np.uint8]:
    """`count` crops (N, H, W, 3) of `size` (W, H): figures of thick limbs before a blur. They differ and have
    structure, but are not images of people.
    """
    random = np.random.default_rng(seed)
    scale = np.subtract(size, 1)
    thick = max(1, min(size) // 16)
    crops = []
    for _ in range(count):
        image = np.ascontiguousarray(
            cv2.resize(random.integers(64, 192, (6, 6, 3), np.uint8), size, interpolation=cv2.INTER_CUBIC)
        )
        neck, hip = random.normal((0.5, 0.3), 0.05), random.normal((0.5, 0.55), 0.05)
        lines = [(neck, hip, 3 * thick), (neck - np.array([0, 0.08]), neck - np.array([0, 0.1]), 2 * thick)]
        for side in (-1, 1):
            for root, reach in ((neck, 0.15), (hip, 0.2)):
                start = root + np.array([0.07 * side, 0])
                middle = start + random.normal((0.05 * side, reach), 0.06)
                lines += [(start, middle, thick), (middle, middle + random.normal((0, reach), 0.06), thick)]
        for start, end, wide in lines:
            (x0, y0), (x1, y1) = (
                np.rint(start * scale).astype(int).tolist(),
                np.rint(end * scale).astype(int).tolist(),
            )
            cv2.line(image, (x0, y0), (x1, y1), random.integers(0, 256, 3).tolist(), wide, cv2.LINE_AA)
        crops.append(np.asarray(image, np.uint8))
    return np.stack(crops)
