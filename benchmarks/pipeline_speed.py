"""Whole frames in, poses out: ours beside MediaPipe and rtmlib, and five people beside one.

    python benchmarks/rtmpose.py --size s --out rtmpose-s.onnx
    python benchmarks/pipeline_speed.py --video pose_squats.mp4 --detector rtmdet-nano.onnx --rtmlib rtmdet-nano.onnx rtmpose-s.onnx

The first with torch, the second in an environment with MediaPipe 0.10.21 and rtmlib (numpy below 2), and with
what Poseling itself needs. MediaPipe's wheel lacks BlazePose Lite, and would download it: npm's
@mediapipe/pose has the file, pose_landmark_lite.tflite, to put into mediapipe/modules/pose_landmark.

Everybody gets the video's frames, decoded, in the order of colours that it wants, and does them one after
the other with its own tracking and smoothing; in turns, with a fresh tracker each (`poseling.evaluate.race`).
Ours is the network of the zoo; beside MediaPipe with `--detector` where it looks for people too, in the first
frame and when somebody is lost; beside rtmlib every 10 frames, as rtmlib does it. rtmlib runs RTMDet-nano,
which is smaller than the detector it comes with, and RTMPose-s, that of its lightweight mode, with random
weights: the time is the same. MediaPipe's inference takes one thread whatever there is, its graph has more.
One thread is one processor core and processor time; two threads are two cores and the wall's clock, with the
ratio in processor time beside it, which a busy machine changes less. A ratio is of each turn: the median and
the standard deviation of the turns.

`five_people_over_one` is time over time, from the video's file on: read, detect every 10 frames, crop,
network, track, smooth. The pictures are made of the video: 1280 x 720 with a person in one of five columns,
and in all five, each at another time.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from poseling.evaluate.race import PEERS, Lap, Racer, cores, ours, peer, race, read
from poseling.evaluate.spread import mean_and_spread
from poseling.runtime.detector import Detector
from poseling.runtime.network import Network
from poseling.runtime.pipeline import DETECT_EVERY, Pipeline
from poseling.video import Recording, frames
from results import ratio, write

COLUMNS = 5
STRETCH = 3  # how often each picture is shown: the video has 5 a second


def raced(
    model: str, flags: argparse.Namespace, threads: int, clock: Literal["cpu", "wall"]
) -> list[dict[str, Any]]:
    """The rows of one number of threads."""
    suffix, out = "" if threads == 1 else "_two_threads", []
    images, seconds = read(flags.video)
    with cores(threads) as kept:
        if not kept:
            raise RuntimeError(
                f"this process cannot be kept to {threads} processor cores; take another machine"
            )
        network, finds = Network(model, threads), Detector(flags.detector, threads)
        mine = {0: ours(network, finds, 0), DETECT_EVERY: ours(network, finds, DETECT_EVERY)}
        for name in PEERS:
            one = mine[DETECT_EVERY if name == "rtmlib" else 0]
            other = peer(name, threads, flags.rtmlib)
            if isinstance(other, str):
                raise RuntimeError(other)
            laps = race([one, other], images, seconds, flags.turns)
            our, their = laps[one.name], laps[name]
            print(
                f"{threads} threads: {_told(one, our, len(images))}; {_told(other, their, len(images))}",
                flush=True,
            )
            row = f"over_{name.replace('-', '_')}{suffix}"
            out.append(_ratio(row, our, their, clock, name))
            if clock == "wall":
                out.append(_ratio(f"{row}_processor_time", our, their, "cpu", name))
            for who, own in ((name, their), (f"ours_beside_{name}", our)):
                spent = [len(images) / getattr(lap, clock) for lap in own]
                mean, spread = mean_and_spread(spent)
                out.append(
                    {
                        "name": f"{who}{suffix}",
                        "value": mean,
                        "unit": "frames/s",
                        "spread": spread,
                        "values": spent,
                    }
                )
    return out


def _ratio(
    name: str, ours: Sequence[Lap], theirs: Sequence[Lap], clock: Literal["cpu", "wall"], to: str
) -> dict[str, Any]:
    return ratio(name, [1 / getattr(a, clock) for a in ours], [1 / getattr(b, clock) for b in theirs], to)


def _told(racer: Racer, laps: Sequence[Lap], count: int) -> str:
    ms = 1000 * float(np.median([lap.cpu for lap in laps])) / count
    return f"{racer.name} {ms:.1f} ms of processor time a frame, a person in {laps[-1].found}"


def columns(images: Sequence[NDArray[np.uint8]], people: int) -> list[NDArray[np.uint8]]:
    """Pictures of 1280 x 720 with the video's person, small, in the middle column or in all five."""
    width, height, wide = 1280, 720, 1280 // COLUMNS
    scale = 0.55
    out = []
    for t in range(len(images) * STRETCH):
        canvas = np.full((height, width, 3), 127, np.uint8)
        for c in range(COLUMNS) if people > 1 else (COLUMNS // 2,):
            source = images[(t // STRETCH + 13 * c) % len(images)]
            small = cv2.resize(source, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
            left = (small.shape[1] - wide) // 2
            top = (height - small.shape[0]) // 2
            canvas[top : top + small.shape[0], wide * c : wide * (c + 1)] = small[:, left : left + wide]
        out.append(canvas)
    return out


def crowd(model: str, flags: argparse.Namespace, threads: int) -> list[dict[str, Any]]:
    """Five people's time over one's, by the processor's clock on one thread and by the wall's on two."""
    clock = time.process_time if threads == 1 else time.perf_counter
    images, _ = read(flags.video)
    took: dict[int, list[float]] = {1: [], COLUMNS: []}
    there: dict[int, float] = {}
    with cores(threads), tempfile.TemporaryDirectory() as folder:
        network, finds = Network(model, threads), Detector(flags.detector, threads)
        files = {}
        for people in took:
            files[people] = Path(folder) / f"{people}.mp4"
            recording = Recording(files[people])
            for t, image in enumerate(columns(images, people)):
                recording.write(image, t / 15)
            recording.finish()
        for turn in range(flags.turns + 1):
            for people in took if turn % 2 else reversed(took):
                pipeline, found, start = Pipeline(network, finds, DETECT_EVERY), [], clock()
                for _, seconds, image in frames(files[people]):
                    found.append(len(pipeline(image, seconds).pose))
                if turn:
                    took[people].append(clock() - start)
                there[people] = float(np.mean(found))
    suffix = "" if threads == 1 else "_two_threads"
    count = STRETCH * len(images)
    print(
        f"{threads} threads: people found {there}, ms {[1000 * np.median(v) / count for v in took.values()]}"
    )
    if there[1] < 0.9 or there[COLUMNS] < 0.9 * COLUMNS:
        raise RuntimeError(f"found {there} people a frame on average; such times say nothing")
    return [
        ratio(f"five_people_over_one{suffix}", took[COLUMNS], took[1], "one"),
        *(
            {
                "name": f"ms_of_{who}{suffix}",
                "value": 1000 * float(np.median(took[n])) / count,
                "unit": "ms a frame",
            }
            for n, who in ((1, "one_person"), (COLUMNS, "five_people"))
        ),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--video", type=Path, required=True)
    parser.add_argument("--model", default="poseling-n")
    parser.add_argument("--detector", required=True, help="a name or a file")
    parser.add_argument("--rtmlib", type=Path, nargs=2, required=True, help="RTMDet's and RTMPose's file")
    parser.add_argument("--turns", type=int, default=10)
    parser.add_argument("--dry", action="store_true", help="print, and write nothing")
    flags = parser.parse_args()
    rows = [*raced(flags.model, flags, 1, "cpu"), *raced(flags.model, flags, 2, "wall")]
    rows += [*crowd(flags.model, flags, 1), *crowd(flags.model, flags, 2)]
    for row in rows:
        print(f"{row['name']}: {row['value']:.3g} {row['unit']}")
    if not flags.dry:
        notes = (
            f"{flags.model}, {flags.turns} turns. One thread by processor time, two by the wall's clock. "
            "`over_`: our frames a second over theirs, decoded frame in, poses out. `five_people_over_one`: "
            "time over time, from the file on; below 3 is the aim. rtmlib's pose network is RTMPose-s's "
            "architecture with random weights, its detector RTMDet-nano."
        )
        write("pipeline_speed", rows, notes)


if __name__ == "__main__":
    main()
