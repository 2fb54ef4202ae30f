"""What the background of a synthetic person is worth: one student trained on the same people in front of
different backgrounds, tested on photographs (LSP 1-1000, the people that are not its test people), PCK@0.2.

    python benchmarks/backgrounds.py --lsp DIR --photographs DIR --out DIR [--count 2000] [--epochs 20] [--seeds 2]

Each person is rendered once and composed with a background of each arm; the draws that follow (blending,
blur, noise, JPEG) are the same in all arms. `textures`: what `poseling data synthesize` draws. `noise`:
smooth colour noise at a random scale plus white noise. `photographs`: windows of the images under
--photographs, as `--backgrounds` takes them. A stopped run continues.

The result also has `scenes`: five families of drawn scenes (sports grounds, outdoors, rooms, streets, and the
textures in 8 % of images), which were removed after this measurement.
"""

from __future__ import annotations

import argparse
import copy
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from poseling.data import lsp, synthetic
from poseling.data.dataset import join
from poseling.evaluate.evaluator import Evaluator
from poseling.evaluate.spread import mean_and_spread
from poseling.files import images_of, shown, write_bytes
from poseling.geometry import joints_box
from poseling.recipes.baseline import baseline
from poseling.recipes.config import TrainConfig
from poseling.synth.backgrounds import Backgrounds, Folder, procedural
from poseling.synth.studio import Studio
from poseling.teachers.checkpoint import checkpoint_teacher
from results import write

SIZE, SEED, QUALITY = 96, 11, 90
STUDENT = "hourglass-1x32"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--lsp", type=Path, required=True, help="the folder that holds lsp/")
    parser.add_argument("--photographs", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--count", type=int, default=2000)
    parser.add_argument("--epochs", type=float, default=20)
    parser.add_argument("--seeds", type=int, default=2)
    flags = parser.parse_args()
    torch.set_num_threads(1)
    arms: dict[str, Backgrounds] = {
        "textures": procedural,
        "noise": noise,
        "photographs": Folder(images_of(shown(flags.photographs))),
    }
    if not (flags.out / "made").exists():
        make(flags.out, flags.count, arms)
        write_bytes(flags.out / "made", b"")
    people = join(lsp.train(flags.lsp), lsp.val(flags.lsp))
    measure, values = Evaluator.of(people), dict[str, list[float]]()
    for seed in range(flags.seeds):
        for arm in arms:
            train(flags.out, arm, seed, flags.epochs)
            student = checkpoint_teacher(flags.out / f"run-{arm}-{seed}" / "student.safetensors")
            value = measure.score(measure.predict(student, True)).mean
            values.setdefault(arm, []).append(value)
            print(f"{arm}, seed {seed}: {value:.4f}", flush=True)
    rows = [
        {
            "name": arm,
            "value": mean,
            "unit": measure.name,
            "spread": spread,
            "values": found,
        }
        for arm, found in values.items()
        for mean, spread in [mean_and_spread(found)]
    ]
    notes = (
        f"{STUDENT} at 64x64 on {flags.count} synthetic people of {SIZE}x{SIZE} pixels, {flags.epochs:g} "
        "epochs, "
        f"{flags.seeds} seeds; tested on {len(people)} people of LSP's training half, flip test"
    )
    write("backgrounds", rows, notes)


def noise(size: int, random: np.random.Generator) -> NDArray[np.uint8]:
    """(size, size, 3): colours on a grid of 2 to 32 cells, enlarged smoothly, plus white noise."""
    cells = int(random.integers(2, 33))
    grid = random.uniform(0, 255, (cells, cells, 3)).astype(np.float32)
    smooth = cv2.resize(grid, (size, size), interpolation=cv2.INTER_CUBIC)
    white = random.uniform(0, 40) * random.standard_normal((size, size, 3))
    return (smooth + white).clip(0, 255).astype(np.uint8)


def given(image: NDArray[np.uint8], size: int, random: np.random.Generator) -> NDArray[np.uint8]:
    """(size, size, 3): a background that was made before."""
    return image


def make(out: Path, count: int, arms: dict[str, Backgrounds]) -> None:
    """Writes a synthetic set for each arm under `out`, the same people in all of them."""
    studio = Studio(SIZE)
    rows: dict[str, list[synthetic.Truth]] = {arm: [] for arm in arms}
    for arm in arms:
        about = {"version": synthetic.VERSION, "seed": SEED, "size": SIZE, "split": "train"}
        synthetic.claim(out / arm, about | {"quality": QUALITY, "backgrounds": 0})
    for index in range(count):
        scene, random = studio.stage(SEED, index)
        place, rest = random.spawn(2)
        for arm, background in arms.items():
            behind = background(SIZE, copy.deepcopy(place))
            studio.background = partial(given, behind)
            shot = studio.compose(scene, copy.deepcopy(rest))
            data = cv2.imencode(".jpg", shot.image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, QUALITY])[1]
            write_bytes(synthetic.image_path(out / arm, index), data.tobytes())
            truth = {name: np.asarray(getattr(shot, name)) for name in synthetic.SHAPES}
            # Boxes around the joints, as LSP's are, not around the body.
            truth["box"] = joints_box(shot.joints, shot.visible > 0)
            rows[arm].append(truth)
    for arm, truths in rows.items():
        for first in range(0, count, synthetic.BLOCK):
            synthetic.write_truth(
                synthetic.truth_path(out / arm, first), truths[first : first + synthetic.BLOCK]
            )


def train(out: Path, arm: str, seed: int, epochs: float) -> None:
    """The student of one arm, as the recipe `baseline` trains it."""
    folder = out / f"run-{arm}-{seed}"
    if (folder / "student.safetensors").exists():
        return
    config = TrainConfig(
        data=("synthetic",),
        root=(out / arm,),
        out=folder,
        size=64,
        epochs=epochs,
        evaluate_every=epochs,
        batch=32,
        learning_rate=3e-3,
        sigma=1.0,
        scale=0.12,
        rotation=12.0,
        seed=seed,
        resident=True,
    )
    baseline(config, student=STUDENT, skeleton="lsp14")


if __name__ == "__main__":
    main()
