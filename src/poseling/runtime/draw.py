"""Poses drawn into pictures. Needs numpy and OpenCV alone."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from poseling.pose import Pose
from poseling.skeleton import Skeleton

LEFT, RIGHT, MIDDLE = (64, 156, 255), (255, 128, 48), (120, 230, 120)  # RGB; told apart by people who do not see red or green well
OUTLINE = (24, 24, 24)
SHIFT = 4  # OpenCV draws at whole pixels unless told of fractions: 1/16 pixel


def draw(picture: NDArray[np.uint8], pose: Pose, threshold: float = 0.2, hollow: NDArray[np.bool_] | None = None) -> NDArray[np.uint8]:
    """The picture (H, W, 3) RGB with the bones and joints of N people drawn in; the picture that came in stays as it was.

    The person's left is blue, the right orange, the middle green. Joints below `threshold`, or that are not finite, are left out with their bones. Lines are as
    thick as the person is large. `hollow` (N, K) says which joints are drawn as rings, such as the occluded ones. ValueError if the picture is not (H, W, 3).
    """
    if picture.ndim != 3 or picture.shape[2] != 3 or picture.dtype != np.uint8:
        raise ValueError(f"the picture has shape {picture.shape} of {picture.dtype}, expected (H, W, 3) of uint8")
    canvas = np.ascontiguousarray(picture).copy()
    colours = side_colours(pose.skeleton)
    for person in range(len(pose)):
        xy = pose.xy[person]
        shown = (pose.score[person] >= threshold) & np.isfinite(xy).all(-1) & (np.abs(xy) < 1e5).all(-1)
        if not shown.any():
            continue
        width = thickness(xy[shown])
        lines = [(a, b) for a, b in pose.skeleton.bones if shown[a] and shown[b]]
        for extra, outline in ((2, True), (0, False)):  # first all the outlines, so that none lies over a bone
            for child, parent in lines:
                _line(canvas, xy[child], xy[parent], OUTLINE if outline else colours[child], width + extra)
        for joint in np.flatnonzero(shown):
            radius = 1.1 * width + 0.5
            _dot(canvas, xy[joint], radius + 1, OUTLINE)
            _dot(canvas, xy[joint], radius, colours[joint])
            if hollow is not None and hollow[person, joint]:
                _dot(canvas, xy[joint], 0.55 * radius, (255, 255, 255))
    return canvas


def draw_box(
    picture: NDArray[np.uint8], box: NDArray[np.floating], colour: tuple[int, int, int] = (255, 255, 255), width: int = 1
) -> NDArray[np.uint8]:
    """The picture with the box x0, y0, x1, y1 drawn in; nothing is drawn for one that is not finite."""
    canvas = np.ascontiguousarray(picture).copy()
    if np.isfinite(box).all():
        x0, y0, x1, y1 = _fixed(np.clip(box, -1e5, 1e5))
        cv2.rectangle(canvas, (x0, y0), (x1, y1), colour, width, cv2.LINE_AA, SHIFT)
    return canvas


def side_colours(skeleton: Skeleton) -> list[tuple[int, int, int]]:
    """(K) the RGB colour of each joint, and of the bone to its parent, by the person's own side."""
    return [LEFT if j.startswith("left_") else RIGHT if j.startswith("right_") else MIDDLE for j in skeleton.joints]


def thickness(xy: NDArray[np.floating]) -> int:
    """The width in pixels of the lines of a person with joints (K, 2): a hundredth of the joints' diagonal, at least 1."""
    return max(1, round(float(np.linalg.norm(np.ptp(xy, axis=0))) / 100))


def _fixed(values: NDArray[np.floating]) -> tuple[int, ...]:
    return tuple(round(float(v) * (1 << SHIFT)) for v in values)


def _line(canvas: NDArray[np.uint8], start: NDArray[np.floating], end: NDArray[np.floating], colour: tuple[int, int, int], width: int) -> None:
    cv2.line(canvas, _fixed(start), _fixed(end), colour, width, cv2.LINE_AA, SHIFT)


def _dot(canvas: NDArray[np.uint8], centre: NDArray[np.floating], radius: float, colour: tuple[int, int, int]) -> None:
    cv2.circle(canvas, _fixed(centre), max(1, round(radius * (1 << SHIFT))), colour, -1, cv2.LINE_AA, SHIFT)
