"""`poseling benchmark`."""

from __future__ import annotations

from pathlib import Path

from rich.progress import Progress

from poseling.cli.console import console, say


def benchmark(
    source: str,
    *,
    model: str = "poseling-n",
    detector: str | None = None,
    detector_adapter: str | None = None,
    detect_every: int = 10,
    peers: tuple[str, ...] = ("mediapipe-lite", "mediapipe-full", "rtmlib"),
    rtmlib: tuple[Path, Path] | None = None,
    threads: int = 1,
    turns: int = 5,
    provider: str = "cpu",
) -> None:
    """Time the whole way from a video's file to its poses, stage by stage, and race MediaPipe and rtmlib where
    they are installed: the same frames, the same processor cores, in turns.

    Parameters
    ----------
    source
        A video.
    model
        A network of the zoo by name (`poseling models`), or an ONNX file.
    detector
        A detector of the zoo by name, or an ONNX file; without one, one person is searched for.
    detector_adapter
        For an unknown detector: rtmdet-nano, yolov8, or a JSON file (docs/runtime.md).
    detect_every
        The detector runs every so many frames, and when somebody is lost or nobody is there.
    peers
        Whom to race: mediapipe-lite, mediapipe-full, rtmlib.
    rtmlib
        rtmlib's detector (of RTMDet's kind, 320x320) and pose network (RTMPose, 192x256), as ONNX files; if
        not given it downloads its lightweight ones.
    threads
        Threads of each, on as many processor cores.
    turns
        How often each does the whole video.
    provider
        The execution provider of ours: cpu, cuda, tensorrt, openvino, coreml, directml or xnnpack.
    """
    from poseling.evaluate import race
    from poseling.runtime import Detector, Network

    if threads < 1 or turns < 1:
        raise ValueError(f"--threads {threads} and --turns {turns} are numbers from 1 on")
    with race.cores(threads) as kept:
        took = race.stages(source, model, detector, detect_every, threads, provider, detector_adapter)
        say(f"{model} on {provider}, {threads} thread{'' if threads == 1 else 's'}, milliseconds a frame:")
        for stage, ms in took.items():
            say(f"  {stage:<20} {ms:8.2f}")
        if not kept:
            say(f"This process could not be kept to {threads} processor cores")
        images, seconds = race.read(source)
        finds = None if detector is None else Detector(detector, threads, provider, detector_adapter)
        racers = [race.ours(Network(model, threads, provider), finds, detect_every)]
        for name in peers:
            found = race.peer(name, threads, rtmlib or ())
            if isinstance(found, str):
                say(found)
            else:
                racers.append(found)
        with Progress(console=console, disable=not console.is_terminal) as progress:
            bar = progress.add_task("racing", total=turns + 1)
            laps = race.race(racers, images, seconds, turns, lambda turn: progress.update(bar, advance=1))
    say(f"{len(images)} decoded frames of {images[0].shape[1]}x{images[0].shape[0]}, frames a second:")
    mine = laps[racers[0].name]
    for racer in racers:
        theirs = laps[racer.name]
        told = f"  {racer.name:<20} {len(images) / min(lap.wall for lap in theirs):8.1f}"
        if racer is not racers[0]:
            wall, cpu = race.ratio(mine, theirs, "wall"), race.ratio(mine, theirs, "cpu")
            told += f"; ours does {wall.median:.2f} ({wall.p10:.2f} to {wall.p90:.2f}) for one of its"
            told += f", in processor time {cpu.median:.2f}"
        say(f"{told}; a person in {theirs[-1].found} frames")
