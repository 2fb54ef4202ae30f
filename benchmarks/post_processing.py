"""Post-processing over time: crops, filters, constant bones and joint limits, on motion capture with ground
truth and on a real video.

    python benchmarks/post_processing.py --motions cmu_bvh_30fps.zip --video pose_squats.mp4 --reference pose_squats_3d.full.json --films DIR --model student.onnx

Motion capture is seen by a camera 4 m away (500 pixels of focal length) with noise: 30 mm in each axis in 3D,
3 pixels in 2D, independent in each frame. Its jitter is the acceleration error against the ground truth,
before divided by after.

The video's frames go through `--model`, crops from the last pose and all, causally, and once more as
`poseling track --lookahead 2` does it. It shows squats at 5 frames a second, so most of a second difference
is the squats' own and has to stay. What trembles is what differs from the motion: its measure is the
acceleration error against `--reference`, a list of (33, 3) metres a frame that another network (BlazePose)
gives for the same frames, over the joints that both have. Where the joints lie differently on the body falls
out of a difference in time; the reference's own tremble stays in it, before and after, so that the ratio is
too small rather than too large. The plain ratio of second differences is given beside it, and so is the
acceleration of the reference itself: a filter that brings the answers' below that takes motion away. At 5
frames a second VNect's constants cannot reach 3: even for a person standing still the filter takes half of
each new value (0.8 Hz), which cuts the second difference of white noise by sqrt(7.2) = 2.7.

The films are those of valid_people.py: rigged humans in captured motion, 30 frames a second, drawn by a
renderer that no network here learnt from, with truth. They go through `--model` as the video does; what is
before is the network's own trembling, and error is the distance from the truth, the pelvis of both being 0.

Time is processor time without the network's, each frame's least of several runs. Everything is for one
person.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.ndimage import gaussian_filter1d
from scipy.spatial.transform import Rotation

from poseling.data.dataset import PoseDataset
from poseling.data.mocap import Motion, motions, seen
from poseling.data.synthetic import synthetic
from poseling.evaluate.motion import accel, bone_spread, jitter, lag
from poseling.evaluate.mpjpe import mpjpe, pa_mpjpe
from poseling.evaluate.spread import mean_and_spread
from poseling.files import read_image
from poseling.geometry import project
from poseling.pose import Pose
from poseling.runtime.kinematics import LIMITS, TURNS, forward
from poseling.runtime.network import Network
from poseling.runtime.pipeline import Bodies, Frame, faced, track
from poseling.runtime.position import guessed_camera
from poseling.runtime.smoothing import Smoother
from poseling.runtime.tracker import Looks, Tracker
from poseling.runtime.video import frames
from poseling.skeleton import BLAZEPOSE33, MOVNECT15
from poseling.spec import PoseSpec
from results import write
from valid_people import FRAMES as FILM

CAMERA = np.array([500.0, 500.0, 319.5, 239.5])
WALL = np.full((480, 640, 3), 90, np.uint8)  # what a clip shows
FRAMES = 150  # of each clip: five seconds
CLIPS = 20
FPS = 30  # of a film
SPACE, IMAGE = 0.03, 3.0  # noise in metres and pixels
WARM = 1.0  # seconds until the bones' lengths stand
ROUNDS = 3  # times that everything is measured
SHORTEST = 30  # frames, without which a lag cannot be told
LOOKAHEAD = 2
PELVIS = MOVNECT15.index("pelvis")
SHARED = BLAZEPOSE33.to(MOVNECT15).known  # (15,) the joints that the reference has

Seen = Iterable[tuple[float, NDArray[np.uint8]]]


class Told:
    """A network that costs nothing: the answers (T, 15, 3) metres from the pelvis and (T, 15, 2) pixels are
    there already, one a frame.
    """

    spec = PoseSpec("told", MOVNECT15, {"name": "told"}, (256, 256), outputs=("xy", "score", "xyz"))

    def __init__(self, xyz: NDArray[np.floating], xy: NDArray[np.floating]) -> None:
        self.poses = [
            Pose(
                xy[[i]].astype(np.float32),
                np.ones((1, len(MOVNECT15)), np.float32),
                MOVNECT15,
                xyz[[i]].astype(np.float32),
            )
            for i in range(len(xyz))
        ]
        self.asked = 0

    def __call__(self, image: NDArray[np.uint8], boxes: ArrayLike | None = None) -> Pose:
        # The person found in the first frame is run twice.
        self.asked += 1
        return self.poses[max(0, self.asked - 2)]


class Timed:
    """A network that adds up the milliseconds of processor time that it takes."""

    def __init__(self, network: Looks) -> None:
        self.network, self.spec, self.ms = network, network.spec, 0.0

    def __call__(self, image: NDArray[np.uint8], boxes: ArrayLike | None = None) -> Pose:
        start = time.process_time()
        pose = self.network(image, boxes)
        self.ms += 1000 * (time.process_time() - start)
        return pose


class Processed:
    """A sequence before (`raw`) and after the filters and the fit (`xyz`), as (T, 15, 3) metres in the frames
    `rows` (T,) that show a person, and its rotations (T, 13, 4). `straight` says that the network sees people
    straight on, as real ones do, not in the camera's axes.

    ms (F,) are what each of all frames took, `network` (F,) what the network took besides.
    """

    def __init__(
        self, network: Looks, sequence: Seen, camera: NDArray[np.float64], straight: bool = True
    ) -> None:
        timed = Timed(network)
        skeleton = network.spec.skeleton
        tracker, smoother, bodies = Tracker(timed), Smoother(), Bodies(skeleton, None)
        how = skeleton.to(MOVNECT15)
        raw, found, turned, rows, spent, asked = [], [], [], [], [], []
        for i, (at, image) in enumerate(sequence):
            timed.ms = 0.0
            start = time.process_time()
            pose = tracker(image, at)
            smooth = smoother(pose, at)
            assert smooth is not None
            if straight:
                pose, smooth = faced(pose, camera), faced(smooth, camera)
            frame = bodies(Frame(i, at, image, smooth, camera))
            spent.append(1000 * (time.process_time() - start) - timed.ms)
            asked.append(timed.ms)
            if not len(pose):
                continue
            assert pose.xyz is not None
            assert frame.pose.xyz is not None
            assert frame.rotations is not None
            rows.append(i)
            raw.append(how.joints(pose.xyz[0]))
            found.append(how.joints(frame.pose.xyz[0]))
            turned.append(frame.rotations[0])
        if len(rows) < SHORTEST:
            raise ValueError(
                f"a person is seen in {len(rows)} of {len(spent)} frames, and at least {SHORTEST} are "
                f"needed; take a network that has learnt more, or another clip"
            )
        self.rows, self.raw, self.xyz, self.rotations = (
            np.array(rows),
            np.array(raw, np.float64),
            np.array(found, np.float64),
            np.array(turned),
        )
        self.ms, self.network = np.array(spent), np.array(asked)


def rebuilt(done: Processed) -> float:
    """By how many mm the farthest joint is elsewhere than its body's rotations and lengths have it."""
    return 1000 * max(
        float(np.abs(forward(turns, lengths_of(xyz)) - xyz).max())
        for turns, xyz in zip(done.rotations, done.xyz, strict=True)
    )


def lengths_of(xyz: NDArray[np.floating]) -> NDArray[np.float64]:
    """(8,) the lengths of a fitted body's bones, left and right being one."""
    at = {name: xyz[MOVNECT15.index(name)].astype(np.float64) for name in MOVNECT15.joints}
    pairs = [("neck", "pelvis"), ("head_top", "neck")]
    pairs += [
        (f"left_{a}", b if b in at else f"left_{b}")
        for a, b in (("shoulder", "neck"), ("elbow", "shoulder"), ("wrist", "elbow"))
    ]
    pairs += [
        (f"left_{a}", b if b in at else f"left_{b}")
        for a, b in (("hip", "pelvis"), ("knee", "hip"), ("ankle", "knee"))
    ]
    return np.array([np.linalg.norm(at[a] - at[b]) for a, b in pairs])


def beyond_limits(rotations: NDArray[np.floating]) -> float:
    """By how many degrees the farthest of rotations (T, 13, 4) is beyond its limit, measured independently: a
    twist about the bone, then a swing away from the centre.

    Above 0 for some joint, since some may not turn at all about an axis: 0 to rounding is what is promised
    (docs/kinematics.md).
    """
    worst = 0.0
    for name, turns in zip(TURNS, np.moveaxis(rotations[:, 1:], 1, 0), strict=True):
        limit, side = LIMITS[name.split("_")[-1]], -1 if name.startswith("right_") else 1
        # Limits are the left side's. The plane x = 0 mirrors: turns about y and z change their sign.
        turn = Rotation.from_rotvec(limit.centre, degrees=True).inv() * Rotation.from_quat(
            turns[:, [1, 2, 3, 0]] * [1, side, side, 1]
        )
        axis = "xyz".index(limit.bone)
        about, whole = turn.as_quat()[:, [axis, 3]].T
        twist = Rotation.from_rotvec(2 * np.arctan2(about, whole)[:, None] * np.eye(3)[axis])
        degrees = (turn * twist.inv()).as_rotvec(degrees=True) + twist.as_rotvec(degrees=True)
        low, high = np.array([limit.x, limit.y, limit.z], np.float64).T
        worst = max(worst, float(np.maximum(low - degrees, degrees - high).max()))
    return worst


def least(runs: list[Processed]) -> NDArray[np.float64]:
    """(F,) each frame's time, the least of the runs; without the first frame, in which a body is looked for
    from many sides.
    """
    return np.asarray(np.min([run.ms for run in runs], axis=0)[1:])


def hindsight(raw: NDArray[np.float64], truth: NDArray[np.float64]) -> float:
    """By how much the best of Gaussian filters cuts the acceleration error, with all frames before and after
    at hand and its width chosen by the truth: a bound for what a filter alone can do.
    """
    widths = np.arange(0.25, 8, 0.25)  # frames
    return max(accel(raw, truth) / accel(gaussian_filter1d(raw, width, 0), truth) for width in widths)


def on_motion(clip: Motion, random: np.random.Generator) -> tuple[list[Processed], dict[str, float]]:
    """A clip with noise on it, and what became of it."""
    distance = max(4.0, 2.5 + float(np.ptp(clip.xyz[..., [0, 2]], axis=(0, 1)).max()))
    xyz = seen(clip, heading=float(random.uniform(-60, 60)), pitch=5.0, distance=distance)[:FRAMES]
    truth = xyz - xyz[:, [PELVIS]]
    noise = random.normal(0, SPACE, truth.shape)
    raw = truth + noise - noise[:, [PELVIS]]
    xy = project(xyz, CAMERA) + random.normal(0, IMAGE, (*raw.shape[:2], 2))
    runs = [
        Processed(Told(raw, xy), ((i / clip.fps, WALL) for i in range(len(raw))), CAMERA, straight=False)
        for _ in range(ROUNDS)
    ]
    done, known = runs[0], np.ones(raw.shape[:2], bool)
    truth, raw, known = truth[done.rows], raw[done.rows], known[done.rows]
    return runs, {
        "jitter": accel(raw, truth) / accel(done.xyz, truth),
        "lag": lag(done.xyz, truth),
        "before": mpjpe(raw, truth, known),
        "after": mpjpe(done.xyz, truth, known),
        "bones": bone_spread(done.xyz, MOVNECT15)[1],
        "settled": bone_spread(done.xyz[round(WARM * clip.fps) :], MOVNECT15)[1],
    }


def films_of(folder: Path) -> list[PoseDataset]:
    """The films that valid_people.py wrote to a folder."""
    people = synthetic(folder).to(MOVNECT15)
    return [people[np.arange(i, i + FILM)] for i in range(0, len(people) - FILM + 1, FILM)]


def on_film(people: PoseDataset, model: Path) -> tuple[list[Processed], dict[str, float]]:
    """A film's frames, one after the other, through the network; and what became of its answers."""
    assert people.joints_3d is not None
    assert people.camera is not None
    network = Network(model, threads=1)
    sequence = [(i / FPS, read_image(path)[..., ::-1].copy()) for i, path in enumerate(people.images)]
    runs = [Processed(network, sequence, people.camera[0].astype(np.float64)) for _ in range(ROUNDS)]
    done = runs[0]
    xyz = people.joints_3d[done.rows].astype(np.float64)
    truth, known = xyz - xyz[:, [PELVIS]], people.joints_3d[done.rows].any(-1)
    return runs, {
        "jitter": accel(done.raw, truth) / accel(done.xyz, truth),
        "hindsight": hindsight(done.raw, truth),
        "lag": lag(done.xyz, done.raw),
        "before": mpjpe(done.raw, truth, known),
        "after": mpjpe(done.xyz, truth, known),
        "pa before": pa_mpjpe(done.raw, truth, known),
        "pa after": pa_mpjpe(done.xyz, truth, known),
        "bones before": bone_spread(done.raw, MOVNECT15)[1],
        "settled": bone_spread(done.xyz[done.rows >= WARM * FPS], MOVNECT15)[1],
    }


def on_video(video: Path, reference: Path, model: Path) -> tuple[list[Processed], dict[str, float]]:
    """The network's answers to a video, before and after."""
    sequence = [(float(at or 0.0), image) for _, at, image in frames(video)]
    height, width = sequence[0][1].shape[:2]
    network = Network(model, threads=1)
    runs = [Processed(network, sequence, guessed_camera((width, height))) for _ in range(ROUNDS)]
    done = runs[0]
    poses = BLAZEPOSE33.to(MOVNECT15).joints(np.array(json.loads(reference.read_text()), np.float64))
    if len(poses) != len(sequence):
        raise ValueError(
            f"{reference} has {len(poses)} poses, but {video} has {len(sequence)} frames; give those of the "
            f"same video"
        )
    motion = poses - poses[:, [PELVIS]]
    at = np.array([seconds for seconds, _ in sequence])[done.rows]

    with tempfile.TemporaryDirectory() as folder:
        lines = Path(folder) / "poses.json"
        track(model, video, json=lines, lookahead=LOOKAHEAD, threads=1)
        written = [json.loads(line) for line in lines.read_text().splitlines()]
    ahead = np.array([written[row]["xyz"][0] for row in done.rows])
    ahead = np.asarray(network.spec.skeleton.to(MOVNECT15).joints(ahead), np.float64)

    def compared(name: str, xyz: NDArray[np.float64]) -> dict[str, float]:
        before = accel(done.raw[:, SHARED], motion[done.rows][:, SHARED])
        return {
            f"{name}jitter": before / accel(xyz[:, SHARED], motion[done.rows][:, SHARED]),
            f"{name}plain": jitter(done.raw[:, SHARED]) / jitter(xyz[:, SHARED]),
            f"{name}lag": lag(xyz, done.raw, limit=5),
            f"{name}bones": bone_spread(xyz, MOVNECT15)[1],
        }

    return runs, {
        **compared("", done.xyz),
        **compared("ahead ", ahead),
        "settled": bone_spread(done.xyz[at >= at[0] + WARM], MOVNECT15)[1],
        "hindsight": hindsight(done.raw[:, SHARED], motion[done.rows][:, SHARED]),
        "before": bone_spread(done.raw, MOVNECT15)[1],
        "acceleration": jitter(done.raw[:, SHARED]),
        "of the reference": jitter(motion[:, SHARED]),
        "frames": len(done.rows),
        "network": float(np.median(np.min([run.network for run in runs], axis=0))),
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    for flag in ("motions", "video", "reference", "films", "model"):
        parser.add_argument(f"--{flag}", type=Path, required=True)
    parser.add_argument("--dry", action="store_true", help="print the numbers and keep none")
    flags = parser.parse_args()
    cv2.setNumThreads(1)
    long = [clip for clip in motions(flags.motions).values() if len(clip.xyz) >= FRAMES]
    random = np.random.default_rng(0)
    pairs = [on_motion(long[i], random) for i in np.linspace(0, len(long) - 1, CLIPS).astype(int)]
    numbers = [n for _, n in pairs]
    seen_on_video, video = on_video(flags.video, flags.reference, flags.model)
    films = [on_film(film, flags.model) for film in films_of(flags.films)]
    every = [*(runs for runs, _ in (*pairs, *films)), seen_on_video]
    ms = np.concatenate([least(runs) for runs in every])

    def row(
        name: str, key: str, unit: str, factor: float = 1.0, of: list[dict[str, float]] = numbers
    ) -> dict[str, Any]:
        mean, spread = mean_and_spread([factor * n[key] for n in of])
        return {
            "name": name,
            "value": mean,
            "unit": unit,
            "spread": spread,
        }

    def one(name: str, value: float, unit: str) -> dict[str, Any]:
        return {"name": name, "value": float(value), "unit": unit}

    rows = [
        row("jitter_ratio", "jitter", "acceleration error before over after"),
        row("lag_frames", "lag", "frames of 1/30 s"),
        row("bone_spread", "settled", "%, worst bone, from the second second on", 100),
        row("bone_spread_from_the_first_frame", "bones", "%, worst bone", 100),
        one("ms_per_frame", float(np.median(ms)), "ms of processor time, median, one person"),
        one("ms_per_frame_p90", float(np.percentile(ms, 90)), "ms"),
        one(
            "share_of_network_time",
            float(np.median(ms)) / video["network"],
            "parts of the network's own time",
        ),
        row("error_before", "before", "mm"),
        row("error_after", "after", "mm"),
        one("beyond_limits", max(beyond_limits(runs[0].rotations) for runs in every), "degrees, at worst"),
        one("forward_kinematics", max(rebuilt(runs[0]) for runs in every), "mm, at worst"),
        *(
            row(f"films_{name}", key, unit, factor, [n for _, n in films])
            for name, key, unit, factor in (
                ("jitter_ratio", "jitter", "acceleration error before over after", 1),
                (
                    "jitter_ratio_in_hindsight",
                    "hindsight",
                    "the most that smoothing the whole film could cut",
                    1,
                ),
                ("lag_frames", "lag", "frames of 1/30 s behind the raw answers", 1),
                ("error_before", "before", "mm", 1),
                ("error_after", "after", "mm", 1),
                ("pa_before", "pa before", "mm, after Procrustes", 1),
                ("pa_after", "pa after", "mm, after Procrustes", 1),
                ("bone_spread_before", "bones before", "%, worst bone", 100),
                ("bone_spread", "settled", "%, worst bone, from the second second on", 100),
            )
        ),
        one(
            "squats_jitter_ratio",
            video["jitter"],
            "acceleration error against the reference, before over after",
        ),
        one(
            "squats_jitter_ratio_in_hindsight",
            video["hindsight"],
            "the most that smoothing the whole video could cut",
        ),
        one("squats_jitter_ratio_plain", video["plain"], "second difference before over after"),
        one("squats_lag_frames", video["lag"], "frames of 1/5 s, behind the raw answers"),
        one("squats_bone_spread_raw", 100 * video["before"], "%, worst bone"),
        one("squats_bone_spread", 100 * video["settled"], "%, worst bone, from the second second on"),
        one("squats_bone_spread_from_the_first_frame", 100 * video["bones"], "%, worst bone"),
        one(
            "squats_lookahead_jitter_ratio",
            video["ahead jitter"],
            "acceleration error against the reference, before over after",
        ),
        one(
            "squats_lookahead_jitter_ratio_plain", video["ahead plain"], "second difference before over after"
        ),
        one("squats_lookahead_lag_frames", video["ahead lag"], "frames of 1/5 s, behind the raw answers"),
        one(
            "squats_lookahead_bone_spread",
            100 * video["ahead bones"],
            "%, worst bone, measured in a first pass",
        ),
        one("squats_acceleration_raw", video["acceleration"], "mm a frame squared"),
        one("squats_acceleration_reference", video["of the reference"], "mm a frame squared"),
    ]
    if not flags.dry:
        write(
            "post_processing",
            rows,
            notes=f"{CLIPS} clips of {FRAMES} frames with noise; {len(films)} films of {FILM} frames; "
            f"{video['frames']} frames of the video; {flags.model.name}.",
        )
    for r in rows:
        print(f"{r['name']}: {r['value']:.4g} {r['unit']}")


if __name__ == "__main__":
    main()
