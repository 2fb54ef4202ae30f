"""Poses drawn into images. Needs numpy and OpenCV alone."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from poseling.geometry import Size, rotation_matrix
from poseling.pose import Pose
from poseling.skeleton import Skeleton

LEFT, RIGHT, MIDDLE = (
    (64, 156, 255),
    (255, 128, 48),
    (120, 230, 120),
)  # RGB; distinguishable with colour-blindness for red and green
OUTLINE = (24, 24, 24)
PAPER, GRID, SHADOW = (30, 33, 40), (62, 68, 80), (20, 22, 27)  # the background of 3D poses
FONT = cv2.FONT_HERSHEY_SIMPLEX
SHIFT = 4  # OpenCV's coordinates as fixed-point numbers: 1/16 pixel


def draw(
    image: NDArray[np.uint8], pose: Pose, threshold: float = 0.2, hollow: NDArray[np.bool_] | None = None
) -> NDArray[np.uint8]:
    """The image (H, W, 3) RGB with the bones and joints of N people drawn in; the image that came in stays as
    it was.

    The person's left is blue, the right orange, the middle green. Joints below `threshold`, or that are not
    finite, are left out with their bones. Lines are as thick as the person is large. `hollow` (N, K) says
    which joints are drawn as rings, such as the occluded ones. ValueError if the image is not (H, W, 3).
    """
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
        raise ValueError(f"the image has shape {image.shape} of {image.dtype}, expected (H, W, 3) of uint8")
    canvas = np.ascontiguousarray(image).copy()
    colours = side_colours(pose.skeleton)
    for person in range(len(pose)):
        xy = pose.xy[person]
        shown = (pose.score[person] >= threshold) & np.isfinite(xy).all(-1) & (np.abs(xy) < 1e5).all(-1)
        if not shown.any():
            continue
        width = thickness(xy[shown])
        lines = [(a, b) for a, b in pose.skeleton.bones if shown[a] and shown[b]]
        for extra, outline in (
            (2, True),
            (0, False),
        ):  # first all the outlines, so that none lies over a bone
            for child, parent in lines:
                _line(canvas, xy[child], xy[parent], OUTLINE if outline else colours[child], width + extra)
        for joint in np.flatnonzero(shown):
            radius = 1.1 * width + 0.5
            _dot(canvas, xy[joint], radius + 1, OUTLINE)
            _dot(canvas, xy[joint], radius, colours[joint])
            if hollow is not None and hollow[person, joint]:
                _dot(canvas, xy[joint], 0.55 * radius, (255, 255, 255))
    return canvas


def draw_ids(image: NDArray[np.uint8], pose: Pose, threshold: float = 0.2) -> NDArray[np.uint8]:
    """The image (H, W, 3) RGB with each person's id above its highest joint, as large as the person."""
    canvas = np.ascontiguousarray(image).copy()
    for xy, score, number in zip(pose.xy, pose.score, pose.ids.tolist(), strict=True):
        shown = xy[(score >= threshold) & np.isfinite(xy).all(-1) & (np.abs(xy) < 1e5).all(-1)]
        if not len(shown):
            continue
        text, width = str(number), thickness(shown)
        size = max(0.45, 0.25 * width)
        (wide, tall), _ = cv2.getTextSize(text, FONT, size, width)
        x, y = shown[shown[:, 1].argmin()]
        at = round(float(x) - wide / 2), max(tall, round(float(y)) - 3 * width)
        for colour, extra in ((OUTLINE, 2), ((255, 255, 255), 0)):
            cv2.putText(canvas, text, at, FONT, size, colour, width + extra, cv2.LINE_AA)
    return canvas


def draw_space(
    xyz: NDArray[np.floating],
    skeleton: Skeleton,
    size: Size,
    yaw: float = 60.0,
    pitch: float = 20.0,
    shown: NDArray[np.bool_] | None = None,
) -> NDArray[np.uint8]:
    """An image of `size` (W, H) RGB of the 3D joints of N people, xyz (N, K, 3) in metres in camera axes, on
    a floor of squares of half a metre.

    `yaw` degrees around them from the camera's place (0 is what the camera saw, 90 what is seen from the
    right of it) and `pitch` degrees from above. The lowest joint stands on the floor, and the middle of all
    people in the image's middle, so how they move through the room is not seen. Colours are those of `draw`,
    darker further away. `shown` (N, K) leaves joints out with their bones, and so does a joint that is not
    finite.
    """
    width, height = size
    canvas = np.full((height, width, 3), PAPER, np.uint8)
    known = (
        np.isfinite(xyz).all(-1)
        & (np.abs(np.nan_to_num(xyz)) < 1e3).all(-1)
        & (shown if shown is not None else True)
    )
    points = np.where(known[..., None], np.nan_to_num(xyz), 0).astype(np.float64)
    centre = np.array([0.0, 0.0, 0.0])
    if known.any():
        low, high = points[known].min(0), points[known].max(0)
        centre = np.array([(low[0] + high[0]) / 2, high[1], (low[2] + high[2]) / 2])
    points = points - centre
    reach = (
        max(0.8, 1.1 * float(np.abs(points[known][:, [0, 2]]).max())) if known.any() else 0.8
    )  # metres to all sides that must be seen
    tall = max(1.9, 1.1 * float(-points[known][:, 1].min())) if known.any() else 1.9
    turn = rotation_matrix(np.deg2rad(np.array([pitch, 0, 0]))) @ rotation_matrix(
        np.deg2rad(np.array([0, yaw, 0]))
    )
    away = 3 * max(tall, 2 * reach)
    zoom = away * min(0.8 * height / tall, 0.94 * width / (2 * reach))

    def seen(places: NDArray[np.floating]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Pixels (..., 2) and depths (...) of 3D points."""
        there = (places + (0, tall / 2, 0)) @ turn.T
        depth = away + there[..., 2]
        return there[..., :2] / depth[..., None] * zoom + ((width - 1) / 2, (height - 1) / 2), depth

    rim = np.ceil(2 * reach) / 2 + 0.5
    for step in np.arange(-rim, rim + 0.1, 0.5):
        for ends in (((-rim, 0, step), (rim, 0, step)), ((step, 0, -rim), (step, 0, rim))):
            (start, end), _ = seen(np.array(ends))
            _line(canvas, start, end, GRID, 1)
    colours = side_colours(skeleton)
    thick = max(2.0, min(size) / 64)
    pixels, depths = seen(points)
    shadows, _ = seen(points * (1, 0, 1))
    limbs = [(n, a, b) for n in range(len(points)) for a, b in skeleton.bones if known[n, a] and known[n, b]]
    for n, a, b in limbs:
        _line(canvas, shadows[n, a], shadows[n, b], SHADOW, round(1.2 * thick))
    for n, a, b in sorted(limbs, key=lambda limb: -float(depths[limb[0], list(limb[1:])].sum())):
        nearness = np.clip(1 - (depths[n, a] + depths[n, b] - 2 * away) / (4 * reach), 0, 1.5) / 1.5
        colour = tuple(round(c * (0.5 + 0.5 * float(nearness))) for c in colours[a])
        line = max(1, round(thick * float(2 * away / (depths[n, a] + depths[n, b]))))
        _line(canvas, pixels[n, a], pixels[n, b], OUTLINE, line + 2)
        _line(canvas, pixels[n, a], pixels[n, b], (colour[0], colour[1], colour[2]), line)
        for joint in (a, b):
            _dot(canvas, pixels[n, joint], 0.75 * line, (colour[0], colour[1], colour[2]))
    return canvas


def draw_box(
    image: NDArray[np.uint8],
    box: NDArray[np.floating],
    colour: tuple[int, int, int] = (255, 255, 255),
    width: int = 1,
) -> NDArray[np.uint8]:
    """The image with the box x0, y0, x1, y1 drawn in; nothing is drawn for one that is not finite."""
    canvas = np.ascontiguousarray(image).copy()
    if np.isfinite(box).all():
        x0, y0, x1, y1 = _fixed(np.clip(box, -1e5, 1e5))
        cv2.rectangle(canvas, (x0, y0), (x1, y1), colour, width, cv2.LINE_AA, SHIFT)
    return canvas


def side_colours(skeleton: Skeleton) -> list[tuple[int, int, int]]:
    """(K) the RGB colour of each joint, and of the bone to its parent, by the person's own side."""
    return [
        LEFT if j.startswith("left_") else RIGHT if j.startswith("right_") else MIDDLE
        for j in skeleton.joints
    ]


def thickness(xy: NDArray[np.floating]) -> int:
    """The width in pixels of the lines of a person with joints (K, 2): a hundredth of the joints' diagonal,
    at least 1.
    """
    return max(1, round(float(np.linalg.norm(np.ptp(xy, axis=0))) / 100))


def _fixed(values: NDArray[np.floating]) -> tuple[int, ...]:
    return tuple(round(float(v) * (1 << SHIFT)) for v in values)


def _line(
    canvas: NDArray[np.uint8],
    start: NDArray[np.floating],
    end: NDArray[np.floating],
    colour: tuple[int, int, int],
    width: int,
) -> None:
    cv2.line(canvas, _fixed(start), _fixed(end), colour, width, cv2.LINE_AA, SHIFT)


def _dot(
    canvas: NDArray[np.uint8], centre: NDArray[np.floating], radius: float, colour: tuple[int, int, int]
) -> None:
    cv2.circle(canvas, _fixed(centre), max(1, round(radius * (1 << SHIFT))), colour, -1, cv2.LINE_AA, SHIFT)
