"""Makes poseling-detect, the zoo's detector of people, from MoveNet's weights, and measures it beside its
teacher RTMDet-nano.

    python benchmarks/detector.py prepare --people DIR --actions DIR --peers DIR --out WORK   # parts by look, and the teacher's boxes
    python benchmarks/detector.py train --peers DIR --out WORK --steps 6000                   # continues where it was stopped
    python benchmarks/detector.py ship --peers DIR --out WORK                                 # threshold by the validation pictures; src/poseling/zoo/weights/poseling-detect.onnx
    python benchmarks/detector.py measure --peers DIR --out WORK                              # results/detector.json and the card

DIR of `--people` is a checkout of github.com/brianhuster/human-dataset (CC BY 4.0, says its README; a Roboflow
user's collection), of `--actions` one of github.com/Mehranai/stanford40_pose (web photographs, no licence
stated). Nothing of them is kept but in WORK.
"""

from __future__ import annotations

import argparse
import datetime
import hashlib
import json
import re
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from functools import cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnx
import torch
from accelerate import Accelerator
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from poseling import zoo
from poseling.export.onnx import halved, traced
from poseling.files import read_image, write_bytes
from poseling.geometry import Size, iou
from poseling.models.checkpoint import read_tensors, write_tensors
from poseling.models.importers.onnx import from_onnx
from poseling.onnx_session import open_session, run
from poseling.runtime.detector import RTMDET, BoxAdapter, Boxes, Detector, Person, resized
from poseling.runtime.tracker import associate
from poseling.spec import DETECTOR_KEY
from poseling.train.optim import Average, Training, optimizer
from results import command, ratio, render, write

Array = NDArray[np.float64]
Floats = NDArray[np.float32]
SIZE, STRIDE = 224, 4  # of the input's longer side, and of a place, in pixels
SHARES = {"human": 0.8, "actions": 0.2}  # how often each set is drawn
BATCH, RATE, CLIP = 16, 4e-4, 2.0
SMALL, UNTIL = 160, 0.6  # the input's side up to this part of the training: half the cost
FROZEN = re.compile(r"model_(Conv1|expanded_conv_.*|block_[0-3]_.*)")  # edges are edges: a third of the cost
ZOOM = (-0.6, 0.45)  # the logarithm of a picture's scale in training, 0 where it just fits
SURE, DOUBT = 0.5, 0.2  # the teacher's scores from which an unlabelled person counts, and may be one
SMALLEST = 6  # pixels of the input: nobody smaller is taught
ADAPTER = BoxAdapter(
    Boxes("people"),
    Person("people", 4),
    layout="bhwc",
    white=255.0,
    size=(SIZE, SIZE),
    step=32,
    overlap=0.6,
    licences={"code": "Apache-2.0", "weights": "Apache-2.0", "data": "research"},
)
SHIPPED = zoo.WEIGHTS / "poseling-detect.onnx"
LARGE, TIMED = 80, 150  # pixels in a picture; pictures
# The measured sets by what is behind the names of their rows: the set, and words for the card.
JUDGED = {
    "": ("human", "the human-dataset's held-out pictures"),
    "_film": ("film", "four videos of the human-dataset, on which nothing was trained"),
    "_actions": ("actions", "Stanford 40's held-out pictures"),
}
GREY = 114  # beside the picture, as the teacher is used to
EVERY = 50  # steps between two states
# What of the human-dataset is left out: COCO's pictures, which RTMDet was trained on and some of which are
# COCO val; pasted cut-outs; snowmen and statues labelled as people; pictures from drones.
LEFT_OUT = re.compile(r"\d{12}_|person_\d+_|img--\d|-\d+-_|DJI_")
FILM = re.compile(r"\d+_human_tracking_")  # frames of four videos, a source that nothing is trained on
PARTS = (("test", 12), ("val", 20), ("train", 100))  # per cent, of clusters of pictures that look alike
ALIKE = 6  # bits of 64 by which the difference hashes of two versions of a picture may differ
ASKED = 0.1  # boxes of the teacher are kept from this score on


@dataclass(frozen=True)
class Picture:
    """A picture's file, of which set and part it is; `boxes` (N, 4) x0, y0, x1, y1 as labelled, in parts of
    its width and height, and the teacher's (M, 5) with their scores.
    """

    file: str
    set: str
    part: str
    boxes: list[list[float]]
    teacher: list[list[float]] = field(default_factory=list)


def human(folder: Path) -> Iterator[Picture]:
    """The human-dataset's pictures that are not left out; whatever part they were in."""
    for path in sorted(folder.glob("*/images/*.jpg")):
        if LEFT_OUT.match(path.name):
            continue
        rows = (path.parent.parent / "labels" / path.name).with_suffix(".txt").read_text().split("\n")
        found = np.array([[float(v) for v in row.split()[1:5]] for row in rows if row.strip()]).reshape(-1, 4)
        corners = np.concatenate([found[:, :2] - found[:, 2:] / 2, found[:, :2] + found[:, 2:] / 2], 1)
        film = FILM.match(path.name) is not None
        if film and int(hashlib.sha256(path.name.encode()).hexdigest(), 16) % 4:
            continue  # neighbours look alike
        yield Picture(str(path), "film" if film else "human", "", _rows(np.clip(corners, 0, 1)))


def actions(folder: Path) -> Iterator[Picture]:
    """Every third picture of Stanford 40 Actions, in which one person is labelled: who does what it is about."""
    for path in sorted((folder / "JPEGImages").glob("*.jpg"))[::3]:
        text = (folder / "XMLAnnotations" / path.name).with_suffix(".xml").read_text()
        names = ("xmin", "ymin", "xmax", "ymax", "width", "height")
        found = np.array(
            [float(value) for name in names for value in re.findall(rf"<{name}>([\d.]+)<", text)]
        )
        yield Picture(str(path), "actions", "", _rows(found[None, :4] / np.tile(found[4:], 2)))


def prepare(people: Path, action: Path, peers: Path, work: Path) -> None:
    """Writes `work`/pictures.json, every picture with its part, and `work`/teacher.jsonl with the teacher's
    boxes; continues where it was stopped. Training takes what is there.
    """
    listed, told = work / "pictures.json", work / "teacher.jsonl"
    if not listed.exists():
        pictures = [*human(people), *actions(action)]
        parts = divided([difference_hash(Path(p.file)) for p in pictures])
        rows = [
            asdict(p) | {"part": "unseen" if p.set == "film" else part}
            for p, part in zip(pictures, parts, strict=True)
        ]
        np.random.default_rng(0).shuffle(rows)
        # Those first that cannot do without the teacher: what is judged, and where few people are labelled.
        order = "val", "test", "unseen", "train"
        rows.sort(key=lambda row: (order.index(row["part"]), row["part"] == "train" and row["set"]))
        write_bytes(listed, json.dumps(rows).encode())
    rows = json.loads(listed.read_text())
    detector = Detector(peers / "rtmdet-nano.onnx", threads=1, threshold=ASKED)
    done = len(told.read_text().splitlines()) if told.exists() else 0
    with told.open("a") as out:
        for i, row in enumerate(rows[done:], done):
            image = read_image(Path(row["file"]))
            found = detector(image, "rgb") + np.array([0.5, 0.5, 0.5, 0.5, 0], np.float32)
            found[:, :4] /= np.tile(image.shape[1::-1], 2)
            out.write(json.dumps(found.round(5).tolist()) + "\n")
            if i % 200 == 0:
                out.flush()
                print(f"{i} of {len(rows)}", flush=True)


def difference_hash(path: Path) -> int:
    """64 bits: whether each of 8 x 8 places of the picture is brighter than its right neighbour."""
    image = cv2.imread(str(path), cv2.IMREAD_REDUCED_GRAYSCALE_4)
    assert image is not None, f"{path}: cannot be read"
    grey = cv2.resize(image, (9, 8), interpolation=cv2.INTER_AREA)
    bits = (grey[:, :-1] > grey[:, 1:]).ravel()
    return int(np.packbits(bits).view(">u8")[0])


def divided(hashes: list[int]) -> list[str]:
    """Each picture's part: those that look alike, directly or by others between, are in the same one."""
    values = np.array(hashes, np.uint64)
    root = np.arange(len(values))

    def find(i: int) -> int:
        while root[i] != i:
            root[i] = root[root[i]]
            i = int(root[i])
        return i

    for i, value in enumerate(values):
        for j in np.flatnonzero(np.bitwise_count(values[i + 1 :] ^ value) <= ALIKE) + i + 1:
            root[find(int(j))] = find(i)
    parts = []
    for i in range(len(values)):
        digest = hashlib.sha256(int(values[find(i)]).to_bytes(8, "big")).digest()
        share = int.from_bytes(digest[:4], "big") * 100 >> 32
        parts.append(next(part for part, most in PARTS if share < most))
    return parts


def _rows(boxes: Array) -> list[list[float]]:
    return boxes.round(5).tolist()


class PeopleNetwork(nn.Module):
    """MoveNet Lightning's trunk and head of people's centres, and of its keypoint regression the way to
    another end: how far the sides of a person's box are away.

    Images (B, H, W, 3) uint8 RGB, sides multiples of 32, to logits (B, 1, H / 4, W / 4) of a person's centre
    and distances (B, 4, H / 4, W / 4) to the left, upper, right and lower side, in input pixels.
    """

    def __init__(self, movenet: Path) -> None:
        super().__init__()
        size = (SIZE, SIZE)
        self.trunk = from_onnx(movenet, "center_0/conv2d_4/BiasAdd:0", size).network
        self._features = from_onnx(movenet, "model_1/re_lu_2/Relu:0", size).network.graph.output
        joints = from_onnx(movenet, "kpt_regress_0/conv2d_6/BiasAdd:0", size).network
        first, second, third = (
            joints.layers[o.layer] for o in joints.graph.operations[-4:] if o.kind == "Conv"
        )
        assert isinstance(second, nn.Conv2d)
        assert isinstance(third, nn.Conv2d)
        last = nn.Conv2d(second.out_channels, 4, 1)
        with torch.no_grad():
            for name in ("weight", "bias"):
                last.get_parameter(name).copy_(_of_joints(third.get_parameter(name)))
        self.sides = nn.Sequential(first, second, nn.ReLU(), last)
        for name, layer in self.trunk.layers.items():
            layer.requires_grad_(FROZEN.match(name) is None)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        values = self.trunk.values(images.permute(0, 3, 1, 2).float() / 127.5 - 1)
        away = functional.softplus(self.sides(values[self._features]).float())
        return values[self.trunk.graph.output].float(), STRIDE * away


def _of_joints(rows: Tensor) -> Tensor:
    """Rows (34, ...) of MoveNet's way from a centre to the joints, y and x of each in places, to rows (4, ...)
    of the way to the sides of a box about them: eyes and ankles and a little more; a fifth of that to left
    and right. A start, no more.
    """
    y = {
        name: (rows[2 * i] + rows[2 * i + 2]) / 2
        for name, i in zip(("eye", "shoulder", "knee", "ankle"), (1, 5, 13, 15), strict=True)
    }
    top, bottom = 0.7 * y["shoulder"] - 1.7 * y["eye"], 1.12 * y["ankle"] - 0.12 * y["knee"]
    return torch.stack([(top + bottom) / 5, top, (top + bottom) / 5, bottom])


class Deployed(nn.Module):
    """An image (1, H, W, 3) uint8 to (1, H W / 16, 5): the corners of a box about each place, in input
    pixels from the input's edge, and the score, which is 0 but where it is the highest of 3 x 3 places.
    """

    def __init__(self, network: PeopleNetwork) -> None:
        super().__init__()
        self.network = network

    def forward(self, image: Tensor) -> Tensor:
        centre, away = self.network(image)
        score = centre.sigmoid()
        score = score * (score == functional.max_pool2d(score, 3, 1, 1))
        return torch.cat([corners(away), score], 1).flatten(2).transpose(1, 2)


def corners(away: Tensor) -> Tensor:
    """Distances (B, 4, h, w) of each place to the sides of its box, to x0, y0, x1, y1 (B, 4, h, w)."""
    h, w = away.shape[2:]
    x = (torch.arange(w, device=away.device) + 0.5) * STRIDE
    y = (torch.arange(h, device=away.device) + 0.5) * STRIDE
    left, top, right, bottom = away.unbind(1)
    return torch.stack([x - left, y[:, None] - top, x + right, y[:, None] + bottom], 1)


@dataclass(frozen=True)
class Target:
    """What is to be said of an image: `heat` (h, w) 1 at a person's centre and a Gaussian about it, `known`
    (h, w) where it may be learned that nobody is there, `boxes` (4, h, w) and how much each place's counts.
    """

    heat: Floats
    known: Floats
    boxes: Floats
    weight: Floats


def target(boxes: Array, doubtful: Array, side: int) -> Target:
    """Of people's boxes (N, 4) and of boxes (M, 4) in which there may be people, in pixels of an input of
    `side` x `side`.

    As TTFNet (Liu et al., AAAI 2020): a Gaussian of the box's shape, over which the box is learned too, each
    person with the logarithm of its area; where two overlap, the smaller one.
    """
    side //= STRIDE
    heat, known, weight = (np.full((side, side), v, np.float32) for v in (0, 1, 0))
    learned = np.zeros((4, side, side), np.float32)
    area = (boxes[:, 2:] - boxes[:, :2]).prod(1)
    for box in doubtful:
        known = np.minimum(known, (_gaussian(box, side) < 0.1).astype(np.float32))
    for i in np.argsort(-area):
        drawn = _gaussian(boxes[i], side)
        heat = np.maximum(heat, drawn)
        inside = drawn > 0.05
        learned[:, inside] = boxes[i][:, None]
        weight[inside] = drawn[inside] / drawn[inside].sum() * np.log(max(area[i], 2.0))
    return Target(heat, known, learned, weight)


def _gaussian(box: Array, side: int) -> Floats:
    """(side, side), 1 at the place of the box's middle."""
    middle, spread = (box[:2] + box[2:]) / 2 / STRIDE, 0.54 / 6 * (box[2:] - box[:2]) / STRIDE + 0.3
    column, row = np.clip(middle.astype(int), 0, side - 1)
    x = np.exp(-(((np.arange(side) - column) / spread[0]) ** 2) / 2)
    y = np.exp(-(((np.arange(side) - row) / spread[1]) ** 2) / 2)
    return (y[:, None] * x).astype(np.float32)


def loss(centre: Tensor, away: Tensor, heat: Tensor, known: Tensor, boxes: Tensor, weight: Tensor) -> Tensor:
    """CenterNet's focal loss of centres (Zhou et al., 2019), and the generalised intersection over union of
    boxes (Rezatofighi et al., CVPR 2019) five times as heavy.
    """
    score = centre[:, 0].sigmoid().clamp(1e-4, 1 - 1e-4)
    there = (heat == 1).float()
    missed = there * (1 - score) ** 2 * score.log()
    invented = (1 - there) * known * (1 - heat) ** 4 * score**2 * (1 - score).log()
    focal = -(missed + invented).sum() / there.sum().clamp(min=1)
    apart = 1 - generalised_iou(corners(away), boxes)
    return focal + 5 * (apart * weight).sum() / weight.sum().clamp(min=1e-3)


def generalised_iou(a: Tensor, b: Tensor) -> Tensor:
    """(B, h, w) of boxes (B, 4, h, w)."""
    low, high = torch.maximum(a[:, :2], b[:, :2]), torch.minimum(a[:, 2:], b[:, 2:])
    shared = (high - low).clamp(min=0).prod(1)
    union = (a[:, 2:] - a[:, :2]).prod(1) + (b[:, 2:] - b[:, :2]).prod(1) - shared
    hull = (torch.maximum(a[:, 2:], b[:, 2:]) - torch.minimum(a[:, :2], b[:, :2])).prod(1)
    return shared / union.clamp(min=1e-6) - (hull - union) / hull.clamp(min=1e-6)


def drawn(picture: Picture, side: int, random: np.random.Generator) -> tuple[NDArray[np.uint8], Target]:
    """A picture as the network sees it once in training: (side, side, 3) zoomed, stretched, moved, mirrored
    and recoloured by chance, with its target.
    """
    image = read_image(Path(picture.file))
    sides = np.array(image.shape[1::-1])
    stretch = np.exp(random.uniform(-0.25, 0.25) * np.array([0.5, -0.5]))
    inner = np.maximum(np.rint(sides * side / sides.max() * np.exp(random.uniform(*ZOOM)) * stretch), 8)
    scale = inner / sides
    start = np.rint(random.uniform(0, 1, 2) * (side - inner))  # of the picture, below 0 where it is larger
    x0, y0 = np.floor(np.maximum(-start, 0) / scale).astype(int)
    x1, y1 = np.ceil(np.minimum(side - start, inner) / scale).astype(int)
    left, top = np.rint(start + scale * (x0, y0)).astype(int)
    width, height = np.maximum(np.rint(scale * (x1 - x0, y1 - y0)).astype(int), 1)
    part = resized(image[y0:y1, x0:x1], (int(width), int(height)))
    gain = random.uniform(0.7, 1.3) * random.uniform(0.85, 1.15, 3)
    part = np.clip(part * gain + random.uniform(-20, 20), 0, 255).astype(np.uint8)
    canvas = np.full((side, side, 3), GREY, np.uint8)
    part = part[max(-top, 0) :, max(-left, 0) :][: side - max(top, 0), : side - max(left, 0)]
    canvas[max(top, 0) :, max(left, 0) :][: part.shape[0], : part.shape[1]] = part
    where = np.tile(inner, 2), np.tile(start, 2)
    people, cut = _seen(agreed(picture)[0] * where[0] + where[1], side)
    doubtful = np.concatenate([_seen(agreed(picture)[1] * where[0] + where[1], side)[0], cut])
    if random.random() < 0.5:
        canvas = canvas[:, ::-1]
        for boxes in (people, doubtful):
            boxes[:, [0, 2]] = side - boxes[:, [2, 0]]
    return np.ascontiguousarray(canvas), target(people, doubtful, side)


def agreed(picture: Picture) -> tuple[Array, Array]:
    """The boxes (N, 4) of people, as labelled or found by the teacher that is sure, and those (M, 4) in which
    it sees something."""
    own, teacher = np.array(picture.boxes).reshape(-1, 4), np.array(picture.teacher).reshape(-1, 5)
    if len(own):
        teacher = teacher[iou(teacher[:, :4], own).max(1, initial=0) < 0.5]
    sure = teacher[:, 4] >= SURE
    return np.concatenate([own, teacher[sure, :4]]), teacher[~sure & (teacher[:, 4] >= DOUBT), :4]


def _seen(boxes: Array, side: int) -> tuple[Array, Array]:
    """What of boxes lies in the input: those of which enough does, and the others."""
    inside = np.clip(boxes, 0, side)
    share = (inside[:, 2:] - inside[:, :2]).prod(1) / np.maximum((boxes[:, 2:] - boxes[:, :2]).prod(1), 1e-6)
    large = ((inside[:, 2:] - inside[:, :2]) >= SMALLEST).all(1)
    return inside[(share >= 0.4) & large], inside[~((share >= 0.4) & large) & (share > 0)]


def train(peers: Path, work: Path, steps: int) -> None:
    """Trains for so many steps, and writes `work`/people.safetensors; continues from the last state."""
    pictures = [p for p in known(work) if p.part == "train"]
    sets = [[p for p in pictures if p.set == name] for name in SHARES]
    training = Training(
        batch=BATCH, learning_rate=RATE, optimizer="adamw", weight_decay=0.01, schedule="one_cycle"
    )
    network = PeopleNetwork(peers / "movenet-lightning.onnx")
    average = Average(network, 0.999)
    mover = optimizer(network, training)
    accelerator = Accelerator(cpu=not torch.cuda.is_available(), mixed_precision="bf16")
    network, mover = accelerator.prepare(network, mover)
    average.network.to(accelerator.device)
    state, first = work / "state.pt", 0
    if state.exists():
        saved = torch.load(state, weights_only=True)
        network.load_state_dict(saved["network"])
        average.network.load_state_dict(saved["average"])
        mover.load_state_dict(saved["optimizer"])
        first = saved["step"]
    began, told = time.perf_counter(), 0.0
    for step in range(first, steps):
        random = np.random.default_rng((0, step))
        chosen = random.choice(len(sets), BATCH, p=list(SHARES.values()))
        side = SMALL if step < UNTIL * steps else SIZE
        batch = [drawn(sets[i][random.integers(len(sets[i]))], side, random) for i in chosen]
        images = torch.from_numpy(np.stack([image for image, _ in batch])).to(accelerator.device)
        targets = [
            torch.from_numpy(np.stack([getattr(t, part.name) for _, t in batch])).to(accelerator.device)
            for part in fields(Target)
        ]
        for group in mover.param_groups:
            group["lr"] = training.rate(step, steps)
        value = loss(*network(images), *targets)
        mover.zero_grad()
        accelerator.backward(value)
        accelerator.clip_grad_norm_(network.parameters(), CLIP)
        mover.step()
        average.update(accelerator.unwrap_model(network), step)
        told += value.item()
        if (step + 1) % EVERY == 0 or step + 1 == steps:
            rate = (step + 1 - first) / (time.perf_counter() - began)
            print(f"{step + 1} of {steps}: loss {told / EVERY:.3f}, {rate:.2f} steps/s", flush=True)
            told = 0.0
            torch.save(
                {
                    "network": network.state_dict(),
                    "average": average.network.state_dict(),
                    "optimizer": mover.state_dict(),
                    "step": step + 1,
                },
                state.with_suffix(".new"),
            )
            state.with_suffix(".new").rename(state)
    write_tensors(work / "people.safetensors", average.network.state_dict(), {})


def known(work: Path) -> list[Picture]:
    """The pictures with the teacher's boxes, and those where it was not asked yet but everybody is labelled."""
    listed = json.loads((work / "pictures.json").read_text())
    told = [json.loads(line) for line in (work / "teacher.jsonl").read_text().splitlines()]
    rows = [row | {"teacher": found} for row, found in zip(listed, told, strict=False)]
    rows += [row for row in listed[len(told) :] if row["set"] == "human"]
    return [Picture(**row) for row in rows]


def ship(peers: Path, work: Path) -> None:
    """The trained network as one file, with the threshold at which it is as precise as RTMDet-nano on the
    validation pictures, to the zoo's weights.
    """
    network = PeopleNetwork(peers / "movenet-lightning.onnx")
    network.load_state_dict(read_tensors(work / "people.safetensors")[0])
    image = torch.zeros(1, SIZE, SIZE - 64, 3, dtype=torch.uint8)
    free = {1: 32 * torch.export.Dim("h", min=2, max=64), 2: 32 * torch.export.Dim("w", min=2, max=64)}
    model = halved(traced(Deployed(network).eval(), {"image": image}, {"image": free}, ["people"]))
    draft = work / "poseling-detect.onnx"
    _written(model, ADAPTER, draft)
    pictures = [p for p in known(work) if p.part == "val" and p.set == "human"]
    ours = asked(Detector(draft, threads=1, threshold=ASKED), pictures)
    wanted = judged(pictures, told(pictures)).precision
    curve = {t: judged(pictures, above(ours, t)) for t in np.arange(ASKED, 0.8, 0.01).round(2).tolist()}
    threshold = next((t for t, score in curve.items() if score.precision >= wanted), None)
    if threshold is None:
        threshold = max(curve, key=lambda t: min(curve[t].recall, curve[t].precision))
    theirs = judged(pictures, told(pictures))
    print(
        f"RTMDet-nano: recall {theirs.recall:.3f}, precision {theirs.precision:.3f}; ours from {threshold} on"
    )
    _written(model, replace(ADAPTER, threshold=threshold), SHIPPED)
    network.eval()
    detector = Detector(SHIPPED, threads=1)
    for picture in pictures[:20]:
        fitted, _, _ = detector._fitted(read_image(Path(picture.file)))
        with torch.no_grad():
            wanted_boxes = Deployed(network)(torch.from_numpy(fitted[None])).numpy()
        found = run(detector.session, SHIPPED, ["people"], {"image": fitted[None]})[0]
        sure = wanted_boxes[..., 4] > threshold
        apart = np.abs(found - wanted_boxes)[sure]
        assert apart.max(initial=0) < 1.0, f"PyTorch and ONNX Runtime differ by {apart.max()}"
    print(
        f"{SHIPPED}: {SHIPPED.stat().st_size / 1e6:.2f} MB, SHA-256 {hashlib.sha256(SHIPPED.read_bytes()).hexdigest()}"
    )


def _written(model: Any, adapter: BoxAdapter, path: Path) -> None:
    licence = ", ".join(f"{what} {words}" for what, words in adapter.licences.items())
    onnx.helper.set_model_props(model, {DETECTOR_KEY: json.dumps(asdict(adapter)), "licence": licence})
    write_bytes(path, model.SerializeToString())


@dataclass(frozen=True)
class Judged:
    """Of the people over `LARGE` pixels how many are found, and of boxes over it how many are people: two
    counts for each picture (N, 2).
    """

    people: NDArray[np.int64]
    boxes: NDArray[np.int64]

    @property
    def recall(self) -> float:
        return float(self.people[:, 0].sum() / max(1, self.people[:, 1].sum()))

    @property
    def precision(self) -> float:
        return float(self.boxes[:, 0].sum() / max(1, self.boxes[:, 1].sum()))

    def spread(self, which: str, draws: int = 1000) -> float:
        """Half of the 95 % interval of `recall` or `precision` over pictures drawn anew."""
        random, means = np.random.default_rng(0), []
        for _ in range(draws):
            rows = random.integers(len(self.people), size=len(self.people))
            means.append(getattr(Judged(self.people[rows], self.boxes[rows]), which))
        low, high = np.percentile(means, [2.5, 97.5])
        return float(high - low) / 2


def judged(pictures: Sequence[Picture], found: Sequence[Array]) -> Judged:
    """Boxes (N, 5) for each picture against its labels, in pixels: at an intersection over union of a half,
    each box for one person.
    """
    people, boxes = [], []
    for picture, rows in zip(pictures, found, strict=True):
        truth = _pixels(picture.boxes, picture)
        pairs = associate(truth, rows[:, :4], 0.5)
        large, wide = (b[:, 3] - b[:, 1] > LARGE for b in (truth, rows))
        people.append((sum(bool(large[i]) for i, _ in pairs), large.sum()))
        boxes.append((sum(bool(wide[j]) for _, j in pairs), wide.sum()))
    return Judged(np.array(people, np.int64).reshape(-1, 2), np.array(boxes, np.int64).reshape(-1, 2))


def asked(detector: Detector, pictures: Sequence[Picture]) -> list[Array]:
    """What it finds in each picture: (N, 5), edges in pixels."""
    half = np.array([0.5, 0.5, 0.5, 0.5, 0])
    return [detector(read_image(Path(p.file)), "rgb").astype(np.float64) + half for p in pictures]


def told(pictures: Sequence[Picture]) -> list[Array]:
    """What RTMDet-nano found in each, from its own threshold on."""
    rows = [
        np.concatenate([_pixels(p.teacher, p), np.array(p.teacher).reshape(-1, 5)[:, 4:]], 1)
        for p in pictures
    ]
    return above(rows, RTMDET.threshold)


def above(found: Sequence[Array], threshold: float) -> list[Array]:
    """Those of a score of `threshold` or more."""
    return [rows[rows[:, 4] >= threshold] for rows in found]


def _pixels(boxes: Sequence[Sequence[float]], picture: Picture) -> Array:
    """(N, 4) edges in pixels of boxes in parts of the picture."""
    corners = np.array([box[:4] for box in boxes], np.float64).reshape(-1, 4)
    return corners * np.tile(_size(picture.file), 2)


@cache
def _size(file: str) -> Size:
    """(W, H) of a picture."""
    height, width = read_image(Path(file)).shape[:2]
    return width, height


def measure(peers: Path, work: Path) -> None:
    """results/detector.json, and the card of the zoo's."""
    pictures = [p for p in known(work) if p.part in ("test", "unseen")]
    ours = Detector(zoo.DETECTOR, threads=1)
    rows: list[dict[str, Any]] = []
    scores: list[zoo.Score] = []
    for name, (kind, words) in JUDGED.items():
        chosen = [p for p in pictures if p.set == kind]
        mine, theirs = judged(chosen, asked(ours, chosen)), judged(chosen, told(chosen))
        count = int(mine.people[:, 1].sum())
        for which in ("recall", "precision") if kind != "actions" else ("recall",):
            value, spread = getattr(mine, which), mine.spread(which)
            rows.append({"name": f"{which}{name}", "value": value, "unit": "share", "spread": spread})
            rows.append(
                {
                    "name": f"{which}_rtmdet_nano{name}",
                    "value": getattr(theirs, which),
                    "unit": "share",
                    "spread": theirs.spread(which),
                }
            )
            scores.append(zoo.Score(f"{count} people over {LARGE} pixels of {words}", which, value, spread))
    theirs_too = Detector(peers / "rtmdet-nano.onnx", threads=1)
    lightning = open_session(peers / "movenet-lightning.onnx", threads=1, log=3)
    crop = np.zeros((1, 192, 192, 3), np.int32)
    images = [read_image(Path(p.file)) for p in pictures if p.set == "human"][:TIMED]
    turns = in_turns(images, [ours, theirs_too, lambda _: lightning.run(None, {"input:0": crop})])
    over = {"rtmdet_nano": ratio("", turns[1], turns[0], ""), "lightning": ratio("", turns[0], turns[2], "")}
    rows += [
        {"name": "ms", "value": float(np.median(turns[0])), "unit": "ms"},
        {"name": "rtmdet_nano_ms", "value": float(np.median(turns[1])), "unit": "ms"},
        {
            "name": "over_rtmdet_nano_ms",
            "value": over["rtmdet_nano"]["value"],
            "unit": "times",
            "ratio_to": "rtmdet_nano_ms",
        },
    ]
    notes = (
        f"Of people taller than {LARGE} pixels, at an intersection over union of a half; RTMDet-nano from its "
        f"score of {RTMDET.threshold} on, ours from {ours.threshold} on, where it is as precise on the "
        "validation pictures. `_film`: videos of a source that nobody trained on; `_actions`: the one labelled "
        f"person of Stanford 40's held-out pictures. Milliseconds: a whole call, one thread, {len(images)} "
        "pictures of 416 x 416 in turns, the median; over_rtmdet_nano_ms is how often ours runs while theirs "
        "does once, the median of the turns."
    )
    write("detector", rows, notes)
    render()
    day = datetime.datetime.now(datetime.UTC).date().isoformat()
    zoo.record(zoo.DETECTOR, zoo.Card(tuple(scores), over["lightning"]["value"], day, command(sys.argv)))


def in_turns(
    images: Sequence[NDArray[np.uint8]], calls: Sequence[Callable[[NDArray[np.uint8]], Any]]
) -> list[list[float]]:
    """The milliseconds of each call for each image, after a round that does not count."""
    taken: list[list[float]] = [[] for _ in calls]
    for call in calls:
        call(images[0])
    for image in images:
        for call, ms in zip(calls, taken, strict=True):
            began = time.perf_counter()
            call(image)
            ms.append(1e3 * (time.perf_counter() - began))
    return taken


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("stage", choices=("prepare", "train", "ship", "measure"))
    parser.add_argument("--people", type=Path, help="a checkout of brianhuster/human-dataset")
    parser.add_argument("--actions", type=Path, help="a checkout of Mehranai/stanford40_pose")
    parser.add_argument("--peers", type=Path, required=True, help="the folder of the peers' ONNX files")
    parser.add_argument("--out", type=Path, required=True, help="the folder for everything that is made")
    parser.add_argument("--steps", type=int, default=6000, help="of training, a batch each")
    given = parser.parse_args()
    if given.stage == "prepare":
        prepare(given.people, given.actions, given.peers, given.out)
    elif given.stage == "train":
        train(given.peers, given.out, given.steps)
    elif given.stage == "ship":
        ship(given.peers, given.out)
    else:
        measure(given.peers, given.out)


if __name__ == "__main__":
    main()
