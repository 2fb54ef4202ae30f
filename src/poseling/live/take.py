"""What the people of a video did, kept frame by frame, and written as BVH."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from poseling.files import write_bytes
from poseling.live.bvh import bvh, even
from poseling.live.turns import upright
from poseling.runtime.kinematics import forward
from poseling.runtime.lift import Lifter
from poseling.runtime.pipeline import Frame
from poseling.runtime.skeleton_fit import TALL

Array = NDArray[np.float64]

LEAST = 2  # frames that make a take


@dataclass
class _Person:
    times: list[float] = field(default_factory=list)
    turns: list[Array] = field(default_factory=list)
    places: list[Array] = field(default_factory=list)
    lengths: list[Array] = field(default_factory=list)
    lifter: Lifter | None = None


class Takes:
    """Keeps the motion of everybody in a video: what was fitted, or where the network says nothing about
    depth what `Lifter` makes of the picture.

    `height` is how tall they are in metres, for the latter. `lifted` is whether that was needed. ValueError
    for a picture: it has no motion.
    """

    def __init__(self, height: float | None = None) -> None:
        self._height, self._people, self.lifted = height, dict[int, _Person](), False

    def __call__(self, frame: Frame) -> None:
        pose, seconds = frame.pose, frame.seconds
        if seconds is None:
            raise ValueError("--bvh: a picture has no motion; give a video")
        if pose.xyz is not None and frame.rotations is None and len(pose):
            raise ValueError("--bvh needs the body that is fitted; leave --no-fit out")
        assert frame.camera is not None
        for row, number in enumerate(pose.ids.tolist()):
            person = self._people.setdefault(number, _Person())
            if frame.rotations is not None and frame.lengths is not None:
                turns, root = frame.rotations[row], None if frame.position is None else frame.position[row]
                lengths = frame.lengths[row]
            else:
                self.lifted = True
                person.lifter = person.lifter or Lifter(pose.skeleton, self._height or TALL)
                fitted = person.lifter.fit(pose.xy[row], pose.score[row], frame.camera, seconds)
                turns, root, lengths = fitted.rotations, fitted.root, fitted.lengths
            person.times.append(seconds)
            person.turns.append(upright(turns))
            person.places.append(np.full(3, np.nan) if root is None else root * [1, -1, -1])
            person.lengths.append(lengths)

    def write(self, path: Path) -> list[Path]:
        """The files: `path` with whom most is known of, and `path` with -ID before its suffix for each other
        one.

        ValueError if nobody was seen for two frames: then nothing is written.
        """
        people = {number: p for number, p in self._people.items() if len(p.times) >= LEAST}
        if not people:
            raise ValueError(f"{path}: nobody was seen for {LEAST} frames, so there is no motion to write")
        first = max(people, key=lambda number: len(people[number].times))
        written = []
        for number, person in people.items():
            target = path if number == first else path.with_name(f"{path.stem}-{number}{path.suffix}")
            write_bytes(target, _text(person).encode())
            written.append(target)
        return written


def _text(person: _Person) -> str:
    """One person's motion as BVH, on a floor at the height of its lowest ankle."""
    times, turns, lengths = np.array(person.times), np.array(person.turns), np.median(person.lengths, 0)
    fps = float(np.clip(round(1 / np.median(np.diff(times)), 2), 1, 240))
    places = _whole(np.array(person.places))
    lowest = min(
        place[1] + forward(turn, lengths)[:, 1].min() for turn, place in zip(turns, places, strict=True)
    )
    turns, places = even(times, turns, places - [places[0, 0], lowest, places[0, 2]], fps)
    return bvh(turns, places, lengths, fps)


def _whole(places: Array) -> Array:
    """Places (T, 3) with what is NaN put where the person was before, or is after it, or at 0."""
    known = np.isfinite(places).all(1)
    if not known.any():
        return np.zeros_like(places)
    last = np.maximum.accumulate(np.where(known, np.arange(len(places)), -1))
    return np.asarray(places[np.where(last < 0, int(known.argmax()), last)])
