"""What Python and TypeScript both compute, in one file: this test holds Python to it, and
web/test/golden.test.ts the page.

`POSELING_GOLDEN=write` makes the file anew, after a change that is meant; then both tests have to pass again.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.live.rigs import humanoid

from poseling.geometry import Crop, project, quaternion
from poseling.live.bvh import bvh, even
from poseling.live.retarget import Retarget, Rig
from poseling.live.turns import mirrored, upright
from poseling.pose import Pose
from poseling.runtime.kinematics import BONES, HIGH, JOINTS, LOW, SHARES, Body
from poseling.runtime.lift import Lifter
from poseling.runtime.pipeline import faced
from poseling.runtime.region import region
from poseling.runtime.skeleton_fit import Fitter
from poseling.runtime.smoothing import OneEuro
from poseling.skeleton import BODY19, MOVNECT15

GOLDEN = Path(__file__).with_name("golden.json")
CAMERA = np.array([640.0, 640.0, 319.5, 239.5])


def swinging(frames: int) -> tuple[np.ndarray, np.ndarray]:
    """(T, 15, 3) joints in camera axes and (T, 13, 4) turns of a body that moves all its joints, 3 metres
    away, turned a little to the side.
    """
    rng = np.random.default_rng(7)
    middle, reach = (LOW + HIGH) / 2, (HIGH - LOW) / 2
    phase, share = rng.uniform(0, 6, LOW.shape), rng.uniform(0.2, 0.5, LOW.shape)
    lengths = 1.75 * np.array([SHARES[bone] for bone in BONES])
    points, turns = [], []
    for t in np.arange(frames) / 30:
        root = np.diag([1.0, -1.0, -1.0]) @ _about_y(0.4 + 0.3 * t)
        body = Body.turned(root, middle + reach * share * np.sin(3 * t + phase), lengths)
        points.append(body.points + [0.1 * t, 0, 3])
        turns.append(quaternion(body.local))
    return np.array(points), np.array(turns)


def _about_y(angle: float) -> np.ndarray:
    c, s = np.cos(angle), np.sin(angle)
    return np.array([[c, 0, s], [0, 1, 0], [-s, 0, c]])


def seen(points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """xy (T, 19, 2) and score (T, 19) of BODY19's joints, with a wrist that is not seen and a head that
    faces where the chest does.
    """
    names = MOVNECT15.joints
    at = {name: points[:, names.index(name)] for name in names}
    wide = (at["left_shoulder"] - at["right_shoulder"]) / np.linalg.norm(
        at["left_shoulder"] - at["right_shoulder"], axis=-1, keepdims=True
    )
    up = (at["head_top"] - at["neck"]) / np.linalg.norm(at["head_top"] - at["neck"], axis=-1, keepdims=True)
    head, front = (at["neck"] + at["head_top"]) / 2, np.cross(wide, up)
    at |= {"nose": head + 0.09 * front, "left_ear": head + 0.07 * wide, "right_ear": head - 0.07 * wide}
    at |= {"left_eye": at["nose"] + 0.03 * wide, "right_eye": at["nose"] - 0.03 * wide}
    xy = project(np.stack([at[joint] for joint in BODY19.joints], 1), CAMERA).astype(float)
    xy += np.random.default_rng(3).normal(0, 1.5, xy.shape)
    score = np.full(xy.shape[:2], 0.9)
    score[4:9, BODY19.index("left_wrist")] = 0.05
    return xy, score


def golden() -> dict[str, Any]:
    """All of the vectors."""
    rng = np.random.default_rng(11)
    points, turns = swinging(12)
    seconds = np.arange(12) / 30
    xy, score = seen(points)
    return {
        "one_euro": _one_euro(rng),
        # At 3 frames a second bones are learnt, drift and settle.
        "fit": [
            _fit(points, lapse * seconds, height, rng) for height, lapse in ((None, 1), (1.8, 10), (None, 10))
        ],
        "faced": _faced(points),
        "lift": _lift(xy, score, seconds),
        "retarget": [
            _retarget(kind, arms, seed, turns[4])
            for kind, arms, seed in (("mixamo", 0, 1), ("vrm1", 45, 2), ("vrm0", 45, None))
        ],
        "bvh": _bvh(turns, points, seconds),
        "crop": _crop(rng),
    }


def _one_euro(rng: np.random.Generator) -> dict[str, Any]:
    values, seconds = rng.normal(0, 1, (10, 4)).cumsum(0), np.arange(10) / 30
    values[3, 1], seconds[8:] = np.nan, seconds[8:] + 1
    ease = OneEuro(1.7, 0.3)
    out = [ease(value, time, 0.5) for value, time in zip(values, seconds, strict=True)]
    return {"cutoff": 1.7, "beta": 0.3, "unit": 0.5, "seconds": seconds, "values": values, "out": out}


def _fit(
    points: np.ndarray, seconds: np.ndarray, height: float | None, rng: np.random.Generator
) -> dict[str, Any]:
    xyz = points - points[:, [MOVNECT15.index("pelvis")]] + rng.normal(0, 0.02, points.shape)
    xy, score = project(points, CAMERA).astype(float), rng.uniform(0.3, 1, points.shape[:2])
    score[5, :3] = 0
    fitter, out = Fitter(MOVNECT15, height), []
    for frame, time in enumerate(seconds):
        fitted = fitter.fit(xyz[frame], xy[frame], score[frame], CAMERA, time)
        out.append(
            {"xyz": fitted.xyz, "root": fitted.root, "rotations": fitted.rotations, "lengths": fitted.lengths}
        )
    return {
        "joints": MOVNECT15.joints,
        "height": height,
        "camera": CAMERA,
        "seconds": seconds,
        "xyz": xyz,
        "xy": xy,
        "score": score,
        "out": out,
    }


def _faced(points: np.ndarray) -> dict[str, Any]:
    points = points[:3] + [[[1.5, -0.7, 0]], [[-2, 0, 0]], [[0, 0, 0]]]
    xyz = (points - points[:, [MOVNECT15.index("pelvis")]]).astype(np.float32)
    xy, score = project(points, CAMERA), np.full(points.shape[:2], 0.5, np.float32)
    score[:, 4] = 0
    out = faced(Pose(xy, score, MOVNECT15, xyz), CAMERA).xyz
    return {"camera": CAMERA, "xyz": xyz, "xy": xy, "score": score, "out": out}


def _lift(xy: np.ndarray, score: np.ndarray, seconds: np.ndarray) -> dict[str, Any]:
    lifter, out = Lifter(BODY19, 1.75), []
    for frame, time in enumerate(seconds):
        fitted = lifter.fit(xy[frame], score[frame], CAMERA, time)
        out.append({"xyz": fitted.xyz, "root": fitted.root, "rotations": fitted.rotations})
    return {
        "joints": BODY19.joints,
        "height": 1.75,
        "camera": CAMERA,
        "seconds": seconds,
        "xy": xy,
        "score": score,
        "out": out,
    }


def _retarget(kind: str, arms: float, seed: int | None, turns: np.ndarray) -> dict[str, Any]:
    document = humanoid(kind, arms, seed)
    target, body = Retarget(Rig.of(document)), upright(turns)
    names = target.rig.names
    return {
        "document": document, "rotations": turns, "upright": body, "mirrored": mirrored(body), "names": names,
        "hip_height": target.hip_height, "out": target.turns(body),
    }  # fmt: skip


def _bvh(turns: np.ndarray, points: np.ndarray, seconds: np.ndarray) -> dict[str, Any]:
    rotations, places = (
        np.array([upright(one) for one in turns]),
        points[:, MOVNECT15.index("pelvis")] * [1, -1, -1],
    )
    lengths = 1.75 * np.array([SHARES[bone] for bone in BONES])
    evened = even(seconds, rotations, places, 24.0)
    return {
        "seconds": seconds,
        "rotations": rotations,
        "places": places,
        "lengths": lengths,
        "fps": 24.0,
        "text": bvh(*evened, lengths, 24.0),
    }


def _crop(rng: np.random.Generator) -> list[dict[str, Any]]:
    # Smooth, so that how an implementation rounds where it samples is no difference.
    y, x = np.mgrid[:60, :80]
    picture = np.stack([128 + 100 * np.sin(x / 9 + k) * np.cos(y / 7) for k in range(3)], -1).astype(np.uint8)
    found = []
    for box, size in (
        ((10.5, 8.0, 41.0, 55.0), (16, 20)),
        ((-20.0, 4.0, 95.0, 58.0), (16, 20)),
        ((30.0, 20.0, 40.0, 30.0), (24, 24)),
        ((5.0, 5.0, 75.0, 55.0), (32, 24)),  # two by two pixels are one, which OpenCV rounds otherwise
    ):
        crop = Crop.from_box(box, size, 1.05)
        found.append(
            {
                "box": box,
                "size": size,
                "padding": 1.05,
                "matrix": crop.matrix,
                "pixels": crop.warp(picture).ravel(),
            }
        )
    joints, sure = rng.uniform(0, 200, (19, 2)), rng.uniform(0, 1, 19) > 0.2
    looked = region(joints, sure, BODY19)
    return [
        {"picture": picture.ravel(), "width": 80, "height": 60},
        *found,
        {"joints": joints, "sure": sure, "region": looked},
    ]


def plain(value: Any) -> Any:
    """Lists and numbers alone, NaN as null."""
    if isinstance(value, dict):
        return {key: plain(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [plain(one) for one in value]
    if isinstance(value, np.ndarray):
        return plain(value.tolist())
    if isinstance(value, float):
        return None if np.isnan(value) else round(value, 9)
    return value


def compare(mine: Any, theirs: Any, way: str) -> None:
    if isinstance(mine, dict):
        assert mine.keys() == theirs.keys(), way
        for key in mine:
            compare(mine[key], theirs[key], f"{way}.{key}")
    elif isinstance(mine, list):
        assert len(mine) == len(theirs), way
        for i, (a, b) in enumerate(zip(mine, theirs, strict=True)):
            compare(a, b, f"{way}[{i}]")
    elif isinstance(mine, float):
        assert mine == pytest.approx(theirs, abs=1e-5), way
    else:
        assert mine == theirs, way


def test_python_says_what_the_golden_file_says():
    mine = plain(golden())
    if os.environ.get("POSELING_GOLDEN") == "write":
        GOLDEN.write_text(json.dumps(mine, separators=(",", ":")) + "\n")
    compare(mine, json.loads(GOLDEN.read_text()), "golden")


def test_the_golden_motion_is_one_that_can_be_wrong():
    """It moves, every joint of it, and the lift finds most of it: vectors of a body at rest would hold
    nothing.
    """
    vectors = json.loads(GOLDEN.read_text())
    turns = np.array([frame["rotations"] for frame in vectors["lift"]["out"]])
    assert (np.ptp(turns, axis=0).max(-1) > 0.01).all(), [
        JOINTS[j] for j in np.flatnonzero(np.ptp(turns, axis=0).max(-1) <= 0.01)
    ]
