"""The flags of `--data coco_json`. Apart from its reader, so that the command line starts without numpy."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from cyclopts import Parameter

NAMES, NONE = "names", "none"


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class CocoFiles:
    """Which annotation files `coco_json` reads, and how.

    Parameters
    ----------
    annotations
        For coco_json, COCO keypoints files, as they are or in --root: one, of which training sets a part
        aside for testing, or one each to train and to test on, or one each to train, validate and test on.
    category
        For coco_json, the category to read where the file has several with different joints.
    sides
        For coco_json, which joints are left and right: names, as in left_eye or L_Eye; none, as of one hand;
        or a JSON file of pairs of names, [["LEFT", "RIGHT"], ...].
    """

    annotations: tuple[Path, ...] = ()
    category: str | None = None
    sides: str = NAMES


NO_FILES = CocoFiles()
