"""Time of OKS average precision, ours (faster-coco-eval, called by poseling.evaluate.oks) and pycocotools',
for as many people as COCO val2017 has.

    python benchmarks/oks_speed.py                    5,000 generated images, about 11,000 people, two predictions each

Both start from a network's predictions in memory: ours from arrays and a read annotation file, pycocotools
from its indexed COCO object and a list of results. Both give the same ten numbers, which is checked. They run
in turn, in one process and thread, and alternate the order.
"""

from __future__ import annotations

import contextlib
import io
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cyclopts
import numpy as np
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from poseling.data import coco
from poseling.evaluate import oks
from poseling.evaluate.spread import mean_and_spread
from poseling.skeleton import COCO17
from results import ratio, write


def main(images: int = 5000, rounds: int = 7) -> None:
    """Measures, and writes results/oks_speed.json.

    Parameters
    ----------
    images
        How many.
    rounds
        How often each runs.
    """
    truth, answers = generated(images)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "person_keypoints.json"
        path.write_text(json.dumps(truth))
        read = coco.read(path)
    image = np.array([a["image_id"] for a in answers], np.int64)
    joints = np.array([a["keypoints"] for a in answers]).reshape(-1, 17, 3)[..., :2]
    score = np.array([a["score"] for a in answers])
    with contextlib.redirect_stdout(io.StringIO()):
        known = COCO()
        known.dataset = truth
        known.createIndex()

    def ours() -> list[float]:
        return list(oks.average_precision(read, image, joints, score).values())

    def theirs() -> list[float]:
        with contextlib.redirect_stdout(io.StringIO()):
            run = COCOeval(known, known.loadRes(list(answers)), "keypoints")
            run.evaluate()
            run.accumulate()
            run.summarize()
        return list(run.stats)

    worst = float(np.abs(np.array(ours()) - theirs()).max())
    if not worst < 1e-9:
        raise SystemExit(f"the two differ by {worst:g}")
    times: dict[str, list[float]] = {"ours": [], "pycocotools": []}
    for i in range(rounds):
        turn: list[tuple[str, Callable[[], Any]]] = [("ours", ours), ("pycocotools", theirs)]
        for name, call in turn if i % 2 == 0 else turn[::-1]:
            start = time.perf_counter()
            call()
            times[name].append(time.perf_counter() - start)
            print(f"{name}: {times[name][-1]:.2f} s", flush=True)
    rows = [
        {
            "name": name,
            "value": statistics.median(taken),
            "unit": "s",
            "spread": mean_and_spread(taken)[1],
            "values": taken,
        }
        for name, taken in times.items()
    ]
    rows.append(
        ratio("ours_over_pycocotools", times["pycocotools"], times["ours"], "pycocotools")
    )  # of times: theirs over ours
    dataset = len(truth["annotations"])
    notes = f"{images} images, {dataset} people, {len(answers)} answers; the ten rows of both differ by at most {worst:.1g}."
    write("oks_speed", rows, notes)
    print(notes, rows[-1]["value"])


def generated(images: int) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """An annotation and results as of COCO val2017: 11,004 people in 5,000 images there, more than half of
    the images without any.
    """
    rng = np.random.default_rng(0)
    annotations: list[dict[str, Any]] = []
    answers: list[dict[str, Any]] = []
    for image in range(1, images + 1):
        for _ in range(rng.geometric(1 / 4.1) if rng.random() < 0.54 else 0):
            size, corner = rng.uniform(20, 300, 2), rng.uniform(0, 400, 2)
            flags = rng.choice([0, 1, 2], 17, p=[0.3, 0.1, 0.6]) * (rng.random() > 0.4)
            joints = corner + rng.random((17, 2)) * size
            joints[flags == 0] = 0
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": image,
                    "category_id": 1,
                    "bbox": [*corner.tolist(), *size.tolist()],
                    "area": float(0.53 * size.prod()),
                    "iscrowd": int(rng.random() < 0.02),
                    "num_keypoints": int((flags > 0).sum()),
                    "keypoints": np.concatenate([joints, flags[:, None]], 1).ravel().tolist(),
                }
            )
            for spread in (0.02, 0.1):
                guess = corner + rng.random((17, 2)) * size
                guess[flags > 0] = joints[flags > 0]
                guess += rng.normal(0, spread, guess.shape) * size
                answers.append(
                    {
                        "image_id": image,
                        "category_id": 1,
                        "score": float(rng.random()),
                        "keypoints": np.insert(guess, 2, 1, 1).ravel().tolist(),
                    }
                )
    return {
        "images": [
            {"id": i, "file_name": f"{i}.jpg", "width": 640, "height": 480} for i in range(1, images + 1)
        ],
        "annotations": annotations,
        "categories": [{"id": 1, "name": "person", "keypoints": list(COCO17.joints)}],
    }, answers


if __name__ == "__main__":
    cyclopts.run(main)
