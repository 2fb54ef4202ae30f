"""How far off a body is that is lifted from a picture, on motion capture with truth.

    python benchmarks/lift.py --motions cmu_bvh_30fps.zip

Clips are seen by a camera 4 m away, from the front, from 40 degrees aside, from the side and from behind,
with 2 pixels of noise. Two bodies: `usual` has the usual shares of the height, as the page has, and `known`
the true shares of the rig, so that what is left is what the picture does not tell. Measured are the mean
distance of joints from the truth, from the pelvis and after one scale a frame (the height is not asked for
here), the elbows' and knees' angles in the median, and how often a limb's bone that reaches 10 cm or more
into depth is put to the right side of its joint.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from poseling.data.mocap import Motion, motions, seen
from poseling.geometry import project
from poseling.runtime.kinematics import LENGTH_OF, measure
from poseling.runtime.lift import Lifter
from poseling.skeleton import MOVNECT15, Skeleton
from results import write

CAMERA = np.array([640.0, 640.0, 319.5, 239.5])
HEADINGS = (0, 40, 90, 180)
NOISE = 2.0  # pixels
DEEP = 0.1  # metres
LIMBS = [
    (f"{side}_{a}", f"{side}_{b}", f"{side}_{c}")
    for side in ("left", "right")
    for a, b, c in (("hip", "knee", "ankle"), ("shoulder", "elbow", "wrist"))
]
# MOVNECT15 with a face, which says where somebody looks.
SKELETON = Skeleton(
    "faced", (*MOVNECT15.joints, "nose", "left_ear", "right_ear"), (*MOVNECT15.parents, 0, 0, 0)
)


def at(joint: str) -> int:
    return MOVNECT15.index(joint)


def faced(points: np.ndarray) -> np.ndarray:
    """(T, 18, 3) joints (T, 15, 3) with nose and ears, which face where the shoulders do."""
    wide = points[:, at("left_shoulder")] - points[:, at("right_shoulder")]
    wide = wide / np.linalg.norm(wide, axis=-1, keepdims=True)
    up = points[:, at("head_top")] - points[:, at("neck")]
    up = up / np.linalg.norm(up, axis=-1, keepdims=True)
    head = (points[:, at("neck")] + points[:, at("head_top")]) / 2
    face = np.stack([head + 0.09 * np.cross(wide, up), head + 0.075 * wide, head - 0.075 * wide], 1)
    return np.concatenate([points, face], 1)


def angles(xyz: np.ndarray) -> np.ndarray:
    """(T, 4) knees and elbows in degrees."""
    found = []
    for start, hinge, end in LIMBS:
        a, b = xyz[:, at(start)] - xyz[:, at(hinge)], xyz[:, at(end)] - xyz[:, at(hinge)]
        cosine = (a * b).sum(-1) / np.linalg.norm(a, axis=-1) / np.linalg.norm(b, axis=-1)
        found.append(np.rad2deg(np.arccos(np.clip(cosine, -1, 1))))
    return np.stack(found, 1)


def depths(xyz: np.ndarray) -> np.ndarray:
    """(T, 8) how far the limbs' bones reach into depth."""
    bones = [pair for a, b, c in LIMBS for pair in ((a, b), (b, c))]
    return np.stack([xyz[:, at(end), 2] - xyz[:, at(start), 2] for start, end in bones], 1)


def lifted(
    motion: Motion, heading: float, frames: int, known: bool, rng: np.random.Generator
) -> tuple[float, np.ndarray, np.ndarray]:
    """Millimetres of a joint in the mean, degrees (T, 4) that angles are off, and for bones that reach into
    depth whether they are on their side.
    """
    points = seen(motion, heading=heading)[:frames]
    xy = project(faced(points), CAMERA) + rng.normal(0, NOISE, (len(points), len(SKELETON), 2))
    bones = np.mean([measure(p, np.ones(len(MOVNECT15), bool)) for p in points], 0)
    lengths = np.bincount(LENGTH_OF, bones) / np.bincount(LENGTH_OF)
    lifter = Lifter(SKELETON, 1.75, lengths if known else None)
    mine = np.array(
        [lifter.fit(p, np.ones(len(SKELETON)), CAMERA, t / motion.fps).xyz for t, p in enumerate(xy)]
    )
    true = points - points[:, [at("pelvis")]]
    scale = (mine * true).sum((1, 2), keepdims=True) / (mine * mine).sum((1, 2), keepdims=True)
    away = 1000 * np.linalg.norm(scale * mine - true, axis=-1).mean()
    deep = np.abs(depths(true)) > DEEP
    return float(away), np.abs(angles(mine) - angles(true)), (depths(mine) * depths(true) > 0)[deep]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--motions", type=Path, required=True)
    parser.add_argument("--clips", type=int, default=10)
    parser.add_argument("--frames", type=int, default=90, help="of each clip, 30 a second")
    options = parser.parse_args()
    clips = list(motions(options.motions).values())
    chosen = clips[:: max(1, len(clips) // options.clips)][: options.clips]
    rows, rng = [], np.random.default_rng(0)
    for known in (False, True):
        body = "known" if known else "usual"
        whole: list[tuple[float, np.ndarray, np.ndarray]] = []
        for heading in HEADINGS:
            found = [lifted(clip, heading, options.frames, known, rng) for clip in chosen]
            whole += found
            rows.append(
                {
                    "name": f"{body}_mm_{heading}",
                    "value": round(float(np.mean([f[0] for f in found])), 1),
                    "unit": "mm",
                }
            )
            print(rows[-1], flush=True)
        off, right = np.concatenate([w[1] for w in whole]), np.concatenate([w[2] for w in whole])
        rows += [
            {"name": f"{body}_mm", "value": round(float(np.mean([w[0] for w in whole])), 1), "unit": "mm"},
            {"name": f"{body}_angle", "value": round(float(np.median(off)), 1), "unit": "degrees"},
            {"name": f"{body}_side", "value": round(float(right.mean()), 3), "unit": "share"},
        ]
        print(*rows[-3:], sep="\n", flush=True)
    write(
        "lift",
        rows,
        f"{len(chosen)} clips of {options.frames} frames, {len(HEADINGS)} headings, {NOISE:g} pixels of noise; one seed",
    )


if __name__ == "__main__":
    main()
