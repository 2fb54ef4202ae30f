"""What happens to a network's answers in time: filters, constant bones, joint limits, on motion capture with truth and on a real video.

    python benchmarks/post_processing.py --motions cmu_bvh_30fps.zip --video pose_squats.mp4 --model student.onnx

Motion capture is seen by a camera 4 m away (500 pixels of focal length) and trembles: 30 mm in each axis in space, 3 pixels in the picture, anew in each frame. The
video's frames go through the network `--model`, crops from the last pose and all.
"""

from __future__ import annotations

import argparse
import statistics
import time
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from poseling.data.mocap import Motion, motions, seen
from poseling.evaluate.motion import accel, bone_spread, jitter, lag
from poseling.evaluate.mpjpe import mpjpe
from poseling.geometry import project, quaternion_matrix, rotation_vector
from poseling.pose import Pose
from poseling.runtime.kinematics import LIMITS, TURNS, forward
from poseling.runtime.network import Network
from poseling.runtime.pipeline import Bodies, Frame
from poseling.runtime.skeleton_fit import Fitter
from poseling.runtime.smoothing import Smoother
from poseling.runtime.tracker import Tracker
from poseling.runtime.video import frames
from poseling.skeleton import MOVNECT15
from results import write

CAMERA = np.array([500.0, 500.0, 319.5, 239.5])
FRAMES = 150  # of each clip: five seconds
CLIPS = 20
SPACE, PICTURE = 0.03, 3.0  # metres and pixels of noise
WARM = 90  # frames until the bones' lengths stand
NOTHING = np.zeros((1, 1, 3), np.uint8)


class Processed:
    """A sequence (T, 15, 3) of metres after the filters and the fit, with what each frame took and how far angles and bones keep their word."""

    def __init__(
        self,
        xyz: NDArray[np.floating],
        xy: NDArray[np.floating],
        score: NDArray[np.floating],
        seconds: NDArray[np.floating],
        camera: NDArray[np.floating],
    ):
        smoother, bodies = Smoother(), Bodies(MOVNECT15, None)
        found, self.ms, self.beyond, self.forward = [], [], 0.0, 0.0
        for i, at in enumerate(seconds.tolist()):
            start = time.process_time()
            pose = smoother(Pose(xy[i : i + 1], score[i : i + 1], MOVNECT15, xyz[i : i + 1]), at)
            assert pose is not None
            frame = bodies(Frame(i, at, NOTHING, pose, camera))
            self.ms.append(1000 * (time.process_time() - start))
            assert frame.pose.xyz is not None
            assert frame.rotations is not None
            found.append(frame.pose.xyz[0])
            self.beyond = max(self.beyond, beyond_limits(frame.rotations[0]))
            rebuilt = forward(frame.rotations[0], lengths_of(found[-1]))
            self.forward = max(self.forward, 1000 * float(np.abs(rebuilt - found[-1]).max()))
        self.xyz = np.array(found, np.float64)


def lengths_of(xyz: NDArray[np.floating]) -> NDArray[np.float64]:
    """(8,) the lengths of a fitted body's bones, left and right being one."""
    at = {name: xyz[MOVNECT15.index(name)].astype(np.float64) for name in MOVNECT15.joints}
    pairs = [("neck", "pelvis"), ("head_top", "neck")]
    pairs += [(f"left_{a}", b if b in at else f"left_{b}") for a, b in (("shoulder", "neck"), ("elbow", "shoulder"), ("wrist", "elbow"))]
    pairs += [(f"left_{a}", b if b in at else f"left_{b}") for a, b in (("hip", "pelvis"), ("knee", "hip"), ("ankle", "knee"))]
    return np.array([np.linalg.norm(at[a] - at[b]) for a, b in pairs])


def beyond_limits(rotations: NDArray[np.floating]) -> float:
    """By how many degrees the farthest of rotations (13, 4) is beyond its limit, measured here anew: twist about the bone, then swing, as docs/kinematics.md has it."""
    worst = 0.0
    for name, quaternion in zip(TURNS, rotations[1:], strict=True):
        plain = name.removeprefix("left_").removeprefix("right_")
        limit, mirrored = LIMITS[plain], name.startswith("right_")
        q = np.array(quaternion)
        if mirrored:  # the plane x = 0 mirrors turns about y and z
            q = q * [1, 1, -1, -1]
        axis = "xyz".index(limit.bone)
        twist = np.zeros(4)
        twist[0], twist[1 + axis] = q[0], q[1 + axis]
        twist /= np.linalg.norm(twist)
        turn, whole = (quaternion_matrix(v[None])[0] for v in (twist, q))
        angle = rotation_vector(turn)[axis]
        swing = rotation_vector(quaternion_matrix(_from(limit.centre)[None])[0].T @ whole @ turn.T)
        values = np.degrees(np.where(np.arange(3) == axis, angle, swing))
        for value, (low, high) in zip(values, (limit.x, limit.y, limit.z), strict=True):
            worst = max(worst, low - value, value - high)
    return float(worst)


def _from(vector: tuple[float, float, float]) -> NDArray[np.float64]:
    """The quaternion of a rotation vector in degrees."""
    v = np.radians(vector)
    angle = np.linalg.norm(v)
    return np.concatenate([[np.cos(angle / 2)], np.sin(angle / 2) * v / max(angle, 1e-12)])


def on_motion(clip: Motion, random: np.random.Generator) -> tuple[Processed, dict[str, float]]:
    """A clip with noise on it, and what became of it."""
    xyz = seen(
        clip, heading=float(random.uniform(-60, 60)), pitch=5.0, distance=max(4.0, 2.5 + float(np.ptp(clip.xyz[..., [0, 2]], axis=(0, 1)).max()))
    )
    truth = (xyz - xyz[:, [MOVNECT15.index("pelvis")]])[:FRAMES]
    noise = random.normal(0, SPACE, truth.shape)
    raw = truth + noise - noise[:, [MOVNECT15.index("pelvis")]]
    xy = project(xyz[: len(raw)], CAMERA) + random.normal(0, PICTURE, (*raw.shape[:2], 2))
    done = Processed(raw, xy, np.ones(raw.shape[:2]), np.arange(len(raw)) / clip.fps, CAMERA)
    known = np.ones(raw.shape[:2], bool)
    return done, {
        "jitter": accel(raw, truth) / accel(done.xyz, truth),
        "lag": lag(done.xyz, truth),
        "before": mpjpe(raw, truth, known),
        "after": mpjpe(done.xyz, truth, known),
        "bones": bone_spread(done.xyz, MOVNECT15)[1],
        "settled": bone_spread(done.xyz[WARM:], MOVNECT15)[1],
    }


def on_video(video: Path, model: Path) -> dict[str, Any]:
    """The network's answers to a video, before and after."""
    network = Network(model, threads=1)
    tracker = Tracker(network)
    poses, seconds, spent = [], [], []
    size = (1, 1)
    for _, at, picture in frames(video):
        size = picture.shape[1], picture.shape[0]
        start = time.process_time()
        poses.append(tracker(picture, float(at or 0.0)))
        spent.append(1000 * (time.process_time() - start))
        seconds.append(float(at or 0.0))
    whole = [i for i, pose in enumerate(poses) if len(pose)]
    xyz, xy, score = (np.concatenate([getattr(poses[i], name) for i in whole]) for name in ("xyz", "xy", "score"))
    focal = float(max(size))
    done = Processed(xyz, xy, score, np.array(seconds)[whole], np.array([focal, focal, (size[0] - 1) / 2, (size[1] - 1) / 2]))
    fitter = Fitter(MOVNECT15)
    for i, row in enumerate(whole):
        fitter.fit(xyz[i], xy[i], score[i], None, seconds[row])
    second = Fitter(MOVNECT15, measured=fitter.measured)
    again = np.array([second.fit(xyz[i], xy[i], score[i], None, seconds[row]).xyz for i, row in enumerate(whole)])
    return {
        "processed": done,
        "jitter": jitter(xyz) / jitter(done.xyz),
        "lag": lag(done.xyz, xyz, limit=5),
        "before": bone_spread(xyz, MOVNECT15)[1],
        "bones": bone_spread(done.xyz, MOVNECT15)[1],
        "second pass": bone_spread(again, MOVNECT15)[1],
        "network": statistics.median(spent),
        "frames": len(whole),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for flag in ("motions", "video", "model"):
        parser.add_argument(f"--{flag}", type=Path, required=True)
    flags = parser.parse_args()
    cv2.setNumThreads(1)
    every = list(motions(flags.motions).values())
    long = [clip for clip in every if len(clip.xyz) >= FRAMES]
    random = np.random.default_rng(0)
    chosen = [long[i] for i in np.linspace(0, len(long) - 1, CLIPS).astype(int)]
    pairs = [on_motion(clip, random) for clip in chosen]
    numbers = [n for _, n in pairs]
    video = on_video(flags.video, flags.model)
    done = [*(p for p, _ in pairs), video["processed"]]
    ms = [m for p in done for m in p.ms[1:]]

    def row(name: str, key: str, unit: str, factor: float = 1.0) -> dict[str, Any]:
        values = [factor * n[key] for n in numbers]
        return {"name": name, "value": statistics.mean(values), "unit": unit, "spread": statistics.stdev(values)}

    def one(name: str, value: float, unit: str) -> dict[str, Any]:
        return {"name": name, "value": float(value), "unit": unit}

    rows = [
        row("jitter_ratio", "jitter", "acceleration error before over after"),
        row("lag_frames", "lag", "frames of 1/30 s"),
        row("bone_spread", "settled", "%, worst bone, once the lengths stand", 100),
        row("bone_spread_from_the_first_frame", "bones", "%, worst bone", 100),
        one("ms_per_frame", statistics.median(ms), "ms, median of processor time, one person"),
        one("ms_per_frame_p90", float(np.percentile(ms, 90)), "ms"),
        one("over_network", statistics.median(ms) / video["network"], "times the network's own time"),
        row("error_before", "before", "mm"),
        row("error_after", "after", "mm"),
        one("beyond_limits", max(p.beyond for p in done), "degrees, at worst"),
        one("forward_kinematics", max(p.forward for p in done), "mm, at worst"),
        one("squats_jitter_ratio", video["jitter"], "second difference before over after"),
        one("squats_lag_frames", video["lag"], "frames of 1/5 s, behind the raw answers"),
        one("squats_bone_spread_raw", 100 * video["before"], "%, worst bone"),
        one("squats_bone_spread", 100 * video["bones"], "%, worst bone, lengths learnt on the way"),
        one("squats_bone_spread_second_pass", 100 * video["second pass"], "%, worst bone"),
    ]
    write("post_processing", rows, notes=f"{CLIPS} clips of {FRAMES} frames with noise; {video['frames']} frames of the video, {flags.model.name}.")
    for r in rows:
        print(f"{r['name']}: {r['value']:.4g} {r['unit']}")


if __name__ == "__main__":
    main()
