"""Poses as a table: CSV, a row for each frame and person, which a spreadsheet and pandas read."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from types import TracebackType

from poseling.files import Draft
from poseling.runtime.pipeline import Frame


class Table:
    """Writes frames to a CSV file; used in a `with`, and called with each frame.

    Columns: frame, seconds (empty of a picture), id, then for each joint NAME_x and NAME_y in pixels and
    NAME_score, and where the network gives metres NAME_X, NAME_Y and NAME_Z from the root, in camera axes.
    However the block ends, the rows up to there are in the file, unless it ends before the first frame.
    """

    def __init__(self, path: Path) -> None:
        self._draft, self._begun = Draft(path), False

    def __enter__(self) -> Table:
        return self

    def __call__(self, frame: Frame) -> None:
        pose = frame.pose
        deep = ("X", "Y", "Z") if pose.xyz is not None else ()
        if not self._begun:
            names = [
                f"{joint}_{what}" for joint in pose.skeleton.joints for what in ("x", "y", "score", *deep)
            ]
            self._write(["frame", "seconds", "id", *names])
            self._begun = True
        seconds = "" if frame.seconds is None else f"{frame.seconds:.6f}"
        for person, (xy, score) in enumerate(zip(pose.xy.tolist(), pose.score.tolist(), strict=True)):
            row: list[str] = []
            for joint, (x, y) in enumerate(xy):
                row += [f"{x:.3f}", f"{y:.3f}", f"{score[joint]:.4f}"]
                if pose.xyz is not None:
                    row += [f"{value:.4f}" for value in pose.xyz[person, joint].tolist()]
            self._write([frame.index, seconds, int(pose.ids[person]), *row])

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._begun:
            self._draft.keep()
        else:
            self._draft.drop()

    def _write(self, row: list[object]) -> None:
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerow(row)
        self._draft.write(text.getvalue().encode())
