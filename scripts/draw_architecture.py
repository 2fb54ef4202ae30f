"""Draws docs/images/architecture.svg: from a data set to a trained student, and from an image to a Pose.

    python scripts/draw_architecture.py docs/images/architecture.svg

Every box is a module of the package. `tests/test_docs.py` checks that each exists and that the file is what
this script writes.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from html import escape
from pathlib import Path

WIDTH, HEIGHT = 1010, 700
COLUMN, ROW = 200, 96  # pixels from one box to the next
BOX_WIDTH, BOX_HEIGHT = 172, 58

STYLE = """
text { font-family: DejaVu Sans, Verdana, sans-serif; font-size: 12px; fill: #57606a; }
.title { font-size: 16px; font-weight: bold; fill: #24292f; }
.module { font-family: DejaVu Sans Mono, monospace; font-size: 13px; font-weight: bold; fill: #0b3d66; }
.says { font-size: 11px; fill: #33424f; }
.frame { fill: none; stroke: #8c959f; stroke-width: 1.2; stroke-dasharray: 5 4; }
.box { fill: #dcebf9; stroke: #3b7ebf; stroke-width: 1.2; }
.arrow { fill: none; stroke: #6e7781; stroke-width: 1.6; }
.head { fill: #6e7781; }
@media (prefers-color-scheme: dark) {
  text { fill: #9da7b1; }
  .title { fill: #e6edf3; }
  .module { fill: #cfe5fb; }
  .says { fill: #c3ced8; }
  .box { fill: #17314b; stroke: #5b9bd8; }
  .arrow { stroke: #9da7b1; }
  .head { fill: #9da7b1; }
}
"""


@dataclass(frozen=True)
class Box:
    """A module in a column (from 0) and a row (from 0), and what it does in one or two short lines."""

    module: str
    column: float
    row: float
    does: str

    @property
    def left(self) -> float:
        return 20 + COLUMN * self.column

    @property
    def top(self) -> float:
        return TOPS[int(self.row)]

    def side(self, name: str) -> tuple[float, float]:
        """The middle of the `left`, `right`, `top` or `bottom` side."""
        across = {"left": 0.0, "right": 1.0}.get(name, 0.5)
        down = {"top": 0.0, "bottom": 1.0}.get(name, 0.5)
        return self.left + across * BOX_WIDTH, self.top + down * BOX_HEIGHT


TOPS = (66, 162, 258, 354, 508, 604)  # pixels: the top of each row
BOXES = [
    Box("data.dataset", 0, 0, "PoseDataset: images,\nboxes, joints"),
    Box("data.loader", 1, 0, "uint8 crops and joints,\nin batches"),
    Box("data.augment", 2, 0, "turn, zoom, mirror,\ncolour"),
    Box("models.registry", 3, 0, "the student, by name"),
    Box("distill.objective", 4, 0, "the weighted sum\nof losses"),
    Box("teachers.load", 0, 1, "a checkpoint, an ONNX\nfile or a ViTPose"),
    Box("teachers.cache", 1, 1, "pseudo-labels: predicted\nonce, stored"),
    Box("distill.targets", 2, 1, "labels and predictions,\nwarped to the crop"),
    Box("codecs", 3, 1, "joints to targets,\noutputs to joints"),
    Box("train.loop", 4, 1, "the one training loop"),
    Box("evaluate.evaluator", 2, 2, "PCK, OKS AP, MPJPE\non test samples"),
    Box("evaluate.report", 1, 2, "student, control, teacher\nin one table"),
    Box("models.checkpoint", 4, 2, "weights and PoseSpec"),
    Box("export.onnx", 4, 3, "one file: network,\ndecoding, PoseSpec"),
    Box("export.parity", 3, 3, "refuses a file that\ndiffers from PyTorch"),
    Box("video", 0, 4, "an image or\nthe frames of a video"),
    Box("runtime.tracker", 1, 4, "a box for each person,\nthe same id over time"),
    Box("geometry", 2, 4, "Crop: from the box to\nthe input, and back"),
    Box("runtime.network", 3, 4, "runs the ONNX file"),
    Box("pose", 4, 4, "Pose: xy, score, xyz,\nids, skeleton"),
    Box("draw", 0, 5, "draws into the image"),
    Box("runtime.position", 1, 5, "3D: where the person\nstands"),
    Box("runtime.skeleton_fit", 2, 5, "3D: one body with\nconstant bones"),
    Box("runtime.smoothing", 3, 5, "filters over time"),
]
# From the side of one box to the side of another.
ARROWS = [
    ("data.dataset", "right", "data.loader", "left"),
    ("data.loader", "right", "data.augment", "left"),
    ("data.augment", "right", "models.registry", "left"),
    ("models.registry", "right", "distill.objective", "left"),
    ("teachers.load", "right", "teachers.cache", "left"),
    ("teachers.cache", "right", "distill.targets", "left"),
    ("distill.targets", "right", "codecs", "left"),
    ("data.augment", "bottom", "distill.targets", "top"),
    ("codecs", "right", "distill.objective", "bottom"),
    ("distill.objective", "bottom", "train.loop", "top"),
    ("train.loop", "bottom", "models.checkpoint", "top"),
    ("models.checkpoint", "left", "evaluate.evaluator", "right"),
    ("evaluate.evaluator", "left", "evaluate.report", "right"),
    ("models.checkpoint", "bottom", "export.onnx", "top"),
    ("export.onnx", "left", "export.parity", "right"),
    ("export.onnx", "bottom", "runtime.network", "top"),
    ("video", "right", "runtime.tracker", "left"),
    ("runtime.tracker", "right", "geometry", "left"),
    ("geometry", "right", "runtime.network", "left"),
    ("runtime.network", "right", "pose", "left"),
    ("pose", "bottom", "runtime.smoothing", "right"),
    ("runtime.smoothing", "left", "runtime.skeleton_fit", "right"),
    ("runtime.skeleton_fit", "left", "runtime.position", "right"),
    ("runtime.position", "left", "draw", "right"),
]
FRAMES = [
    ("Training: from a data set to a student", "recipes.experiment", "with and without the teacher", 8, 428),
    ("Use: from an image to a Pose, without torch", "runtime.pipeline", "runs every step", 450, 690),
]  # fmt: skip


def drawing() -> str:
    """The whole file."""
    by_name = {box.module: box for box in BOXES}
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" '
        f'width="{WIDTH}" height="{HEIGHT}" role="img">',
        "<title>Modules of Poseling, from a data set to a student and from an image to a Pose</title>",
        f"<style>{STYLE}</style>",
        '<marker id="head" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="8" markerHeight="8" '
        'orient="auto"><path class="head" d="M0 0L8 4L0 8z"/></marker>',
    ]
    for title, module, does, top, bottom in FRAMES:
        parts += [
            f'<rect class="frame" x="6" y="{top}" width="{WIDTH - 12}" height="{bottom - top}" rx="10"/>',
            f'<text class="title" x="20" y="{top + 28}">{escape(title)}</text>',
            f'<text class="says" text-anchor="end" x="{WIDTH - 20}" y="{top + 27}">'
            f'<tspan class="module">{module}</tspan> {escape(does)}</text>',
        ]
    for start, from_side, end, to_side in ARROWS:
        way = _way(by_name[start], from_side, by_name[end], to_side)
        parts.append(f'<path class="arrow" marker-end="url(#head)" d="{way}"/>')
    for box in BOXES:
        middle = box.left + BOX_WIDTH / 2
        parts += [
            f'<rect class="box" x="{box.left:g}" y="{box.top:g}" width="{BOX_WIDTH}" height="{BOX_HEIGHT}" '
            f'rx="7"/>',
            f'<text class="module" text-anchor="middle" x="{middle:g}" y="{box.top + 19:g}">'
            f"{box.module}</text>",
        ]
        for i, line in enumerate(box.does.split("\n")):
            parts.append(
                f'<text class="says" text-anchor="middle" x="{middle:g}" y="{box.top + 35 + 14 * i:g}">'
                f"{escape(line)}</text>"
            )
    return "\n".join([*parts, "</svg>", ""])


def modules() -> list[str]:
    """Every module that the drawing names."""
    return [box.module for box in BOXES] + [module for _, module, *_ in FRAMES]


def _way(start: Box, from_side: str, end: Box, to_side: str) -> str:
    """An SVG path of straight pieces."""
    (x0, y0), (x1, y1) = start.side(from_side), end.side(to_side)
    vertical = ("top", "bottom")
    if x0 == x1 or y0 == y1:
        return f"M{x0:g} {y0:g}L{x1:g} {y1:g}"
    if from_side in vertical and to_side in vertical:
        middle = (y0 + y1) / 2
        return f"M{x0:g} {y0:g}V{middle:g}H{x1:g}V{y1:g}"
    if from_side in vertical:
        return f"M{x0:g} {y0:g}V{y1:g}H{x1:g}"
    # Right of the end's middle there is room for a second arrow.
    aside = x1 - BOX_WIDTH / 2 + 20
    middle = (start.side("right")[0] + end.left) / 2
    return f"M{x0:g} {y0:g}H{middle:g}V{y1 + 19:g}H{aside:g}V{y1:g}"


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(drawing(), encoding="utf-8")
