"""From a video or pictures to poses: what `poseling track` does."""

from __future__ import annotations

import json as jsons
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from poseling.geometry import Box
from poseling.pose import Pose
from poseling.runtime.draw import draw
from poseling.runtime.network import Network
from poseling.runtime.video import Writer, frames, pictures


@dataclass(frozen=True)
class Tracked:
    """How many frames were seen, the file or folder that was drawn and the file of poses, each None if nobody asked."""

    frames: int
    drawn: Path | None
    json: Path | None


def track(
    model: Path,
    source: Path,
    out: Path | None = None,
    box: Box | None = None,
    json: Path | None = None,
    threads: int | None = None,
    provider: str = "cpu",
    seen: Callable[[int, Pose], None] | None = None,
) -> Tracked:
    """The pose in every frame of `source`, a video, a picture or a folder of pictures: one person, in `box` (x0, y0, x1, y1) or the whole frame.

    Drawn to `out` (see `video.Writer`), and written to `json`, a line for each frame: frame, seconds (null of a picture), picture (its name, null in
    a video), and the fields of `Pose.as_dict`. `seen` is called with each frame's index and pose. However it ends, Ctrl-C included, the video and the
    lines are whole up to there. Errors as of `Network`, `video.frames` and `video.Writer`.
    """
    network = Network(model, threads, provider)
    stills = pictures(source)
    count = 0
    with ExitStack() as stack:
        writer = stack.enter_context(Writer(source, out)) if out is not None else None
        lines = None
        if json is not None:
            json.parent.mkdir(parents=True, exist_ok=True)
            lines = stack.enter_context(json.open("w", buffering=1, encoding="utf-8"))  # by the line, so that all of them are whole
        for index, seconds, picture in frames(source):
            pose = network(picture, None if box is None else [box])
            if lines is not None:
                name = stills[index].name if stills else None
                lines.write(jsons.dumps({"frame": index, "seconds": seconds, "picture": name, **pose.as_dict()}, allow_nan=False) + "\n")
            if writer is not None:
                writer.write(index, draw(picture[..., ::-1], pose)[..., ::-1])  # draw's colours are RGB
            count += 1
            if seen is not None:
                seen(index, pose)
    return Tracked(count, writer.target if writer is not None else None, json)
