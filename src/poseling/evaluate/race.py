"""How fast a whole frame becomes poses: ours stage by stage, and beside MediaPipe and rtmlib where they are
installed. `poseling benchmark`; without torch.

Everybody gets the same frames, decoded before, in the order of colours that it wants, on the same processor
cores, in turns: each turn is the whole video by each of them, with a fresh tracker.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from poseling.evaluate.latency import Clock, Ratio
from poseling.geometry import Crop
from poseling.onnx_session import open_session
from poseling.runtime.detector import Detector
from poseling.runtime.network import Network
from poseling.runtime.pipeline import DETECT_EVERY, Pipeline
from poseling.runtime.video import frames, source_of

Image = NDArray[np.uint8]
Seen = Callable[[Image, float], int]  # a frame and its time; how many people were found
PEERS = ("mediapipe-lite", "mediapipe-full", "rtmlib")
STAGES = ("read", "detect", "crop", "network", "track, smooth, fit")
MOST = 300  # frames of a video that are used


@dataclass(frozen=True)
class Racer:
    """Who takes part: `start` makes what takes the frames of a video, in the order of `colour`."""

    name: str
    start: Callable[[], Seen]
    colour: Literal["bgr", "rgb"] = "bgr"


@dataclass(frozen=True)
class Lap:
    """Seconds that a racer took for the frames of one turn, by the processor's clock and by the wall's, and
    in how many of them it found somebody.
    """

    cpu: float
    wall: float
    found: int


def ours(network: Network, detector: Detector | None = None, every: int = DETECT_EVERY) -> Racer:
    """Poseling with a network, and a detector if there is one."""

    def start() -> Seen:
        pipeline = Pipeline(network, detector, every)
        return lambda image, seconds: len(pipeline(image, seconds).pose)

    return Racer(network.name, start)


def peer(name: str, threads: int, files: Sequence[Path] = ()) -> Racer | str:
    """A peer by its name in `PEERS`, or why it does not take part, in a line.

    `files` are rtmlib's, a detector of RTMDet's kind and a network of RTMPose's; without, its lightweight
    ones, which it downloads. ValueError for an unknown name.
    """
    if name not in PEERS:
        raise ValueError(f"{name}: is no peer; there are {', '.join(PEERS)}")
    package = name.partition("-")[0]
    try:
        module = importlib.import_module(package)
    except ImportError as error:
        return f"{name}: {package} is not installed here ({error}), and is left out"
    try:
        return _mediapipe(module, name) if package == "mediapipe" else _rtmlib(module, threads, files)
    except (OSError, RuntimeError, ValueError, AttributeError) as error:
        return f"{name}: {package} is installed but does not start ({error}), and is left out"


def _mediapipe(module: Any, name: str) -> Racer:
    pose = module.solutions.pose.Pose(model_complexity=PEERS.index(name))

    def start() -> Seen:
        pose.reset()
        return lambda image, seconds: int(pose.process(image).pose_landmarks is not None)

    return Racer(name, start, "rgb")


def _rtmlib(module: Any, threads: int, files: Sequence[Path]) -> Racer:
    solution: Any = module.Body
    told: dict[str, Any] = {"mode": "lightweight"}
    if files:
        detector, network = map(str, files)
        told = {}

        def solution(**flags: Any) -> Any:
            return module.Custom(
                det_class="RTMDet",
                det=detector,
                det_input_size=(320, 320),
                pose_class="RTMPose",
                pose=network,
                pose_input_size=(192, 256),
                **flags,
            )

    with contextlib.redirect_stdout(io.StringIO()):
        tracker = module.PoseTracker(
            solution, det_frequency=DETECT_EVERY, tracking=False, backend="onnxruntime", device="cpu", **told
        )
    for part in (tracker.det_model, tracker.pose_model):  # it cannot be told how many threads
        part.session = open_session(Path(part.onnx_model), threads=threads, log=3)

    def start() -> Seen:
        tracker.reset()
        return lambda image, seconds: len(tracker(image)[0])

    return Racer("rtmlib", start)


def read(source: Path | str, most: int = MOST) -> tuple[list[Image], list[float]]:
    """The first frames of a video and their times; ValueError if it has no times."""
    images, seconds = [], []
    for _, at, image in islice(frames(source_of(source)), most):
        if at is None:
            raise ValueError(f"{source}: is no video; a race needs one")
        images.append(image)
        seconds.append(at)
    return images, seconds


def race(
    racers: Sequence[Racer],
    images: Sequence[Image],
    seconds: Sequence[float],
    turns: int = 5,
    progress: Callable[[int], None] = lambda turn: None,
) -> dict[str, list[Lap]]:
    """Each racer's laps, a turn each, by its name. The first turn does not count, and every second one goes
    the other way round.
    """
    shown = {"bgr": list(images), "rgb": [np.ascontiguousarray(image[..., ::-1]) for image in images]}
    laps: dict[str, list[Lap]] = {racer.name: [] for racer in racers}
    for turn in range(turns + 1):
        for racer in racers if turn % 2 else reversed(racers):
            seen, found = racer.start(), 0
            cpu, wall = time.process_time(), time.perf_counter()
            for image, at in zip(shown[racer.colour], seconds, strict=True):
                found += seen(image, at) > 0
            lap = Lap(time.process_time() - cpu, time.perf_counter() - wall, found)
            if turn:
                laps[racer.name].append(lap)
        progress(turn)
    return laps


def ratio(mine: Sequence[Lap], theirs: Sequence[Lap], clock: Literal["cpu", "wall"]) -> Ratio:
    """How many frames `mine` did for one of `theirs`: their time over mine, turn by turn."""
    each = [getattr(b, clock) / getattr(a, clock) for a, b in zip(mine, theirs, strict=True)]
    p10, median, p90 = np.percentile(each, [10, 50, 90])
    return Ratio(float(median), float(p10), float(p90))


@contextmanager
def cores(count: int) -> Iterator[bool]:
    """Keeps this process to so many processor cores; gives whether that could be done."""
    if not hasattr(os, "sched_setaffinity"):
        yield False
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, set(sorted(before)[:count]))
    opencv = cv2.getNumThreads()
    cv2.setNumThreads(count)
    try:
        yield len(before) >= count
    finally:
        os.sched_setaffinity(0, before)
        cv2.setNumThreads(opencv)


class Stopwatch:
    """Adds up the seconds of stages by their names."""

    def __init__(self, clock: Clock = time.perf_counter) -> None:
        self.clock, self.seconds = clock, dict.fromkeys(STAGES, 0.0)

    @contextmanager
    def __call__(self, stage: str) -> Iterator[None]:
        start = self.clock()
        yield
        self.seconds[stage] += self.clock() - start


class _TimedNetwork(Network):
    watch: Stopwatch

    def _inputs(self, image: Image, crops: list[Crop], colour: str) -> Image:
        with self.watch("crop"):
            return super()._inputs(image, crops, colour)

    def _answers(self, inputs: Image) -> Any:
        with self.watch("network"):
            return super()._answers(inputs)


class _TimedDetector(Detector):
    watch: Stopwatch

    def __call__(self, image: Image, colour: Literal["bgr", "rgb"] = "bgr") -> NDArray[np.float32]:
        with self.watch("detect"):
            return super().__call__(image, colour)


def stages(
    source: Path | str,
    model: Path | str,
    detector: Path | str | None = None,
    every: int = DETECT_EVERY,
    threads: int | None = None,
    provider: str = "cpu",
    detector_adapter: str | None = None,
    most: int = MOST,
) -> dict[str, float]:
    """Milliseconds a frame of each of `STAGES` on the way from a video's file to its poses; `total` is their
    sum. Errors as of `Network`, `Detector` and `video.frames`.
    """
    _TimedNetwork.watch = _TimedDetector.watch = Stopwatch(time.perf_counter)
    network = _TimedNetwork(model, threads, provider)
    finds = None if detector is None else _TimedDetector(detector, threads, provider, detector_adapter)
    first = next(iter(frames(source_of(source))))[2]
    Pipeline(network, finds, every)(first, 0.0)  # the first call takes longer
    watch = _TimedNetwork.watch = _TimedDetector.watch = Stopwatch(time.perf_counter)
    pipeline, count = Pipeline(network, finds, every), 0
    sent = iter(frames(source_of(source)))
    while count < most:
        with watch("read"):
            item = next(sent, None)
        if item is None:
            break
        inner = sum(watch.seconds[stage] for stage in STAGES[1:4])
        start = time.perf_counter()
        pipeline(item[2], item[1])
        spent = time.perf_counter() - start
        watch.seconds[STAGES[4]] += spent - (sum(watch.seconds[stage] for stage in STAGES[1:4]) - inner)
        count += 1
    took = {stage: 1000 * spent / count for stage, spent in watch.seconds.items()}
    return {**took, "total": sum(took.values())}
