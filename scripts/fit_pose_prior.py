"""Fits the mixture of poses that `poseling.synth.prior` draws from:
`python scripts/fit_pose_prior.py --motions ZIP_OR_FOLDER --out src/poseling/synth/prior.npz`.

MOTIONS holds clips of the CMU motion capture database (mocap.cs.cmu.edu: free to use, commercially too; the
data itself may not be resold) as BVH of a CC_Base rig at 30 frames a second, named SUBJECT_CLIP.bvh. Only the
mixtures' parameters and the clips' names are kept. It needs numpy only. The BVH packages bvhio 1.5.4 and
pybvh 0.9.0 (both MIT) depend on PyGLM or plotting; thirty lines here read what this script needs.
"""

from __future__ import annotations

import argparse
import io
import zipfile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from poseling.files import write_bytes
from poseling.geometry import rotation_matrix, rotation_vector
from poseling.synth.joint_limits import JOINTS, PARENTS, clamp, mirrored
from poseling.synth.prior import SPLITS

Array = NDArray[np.float64]

# Each actor is in one split, with all clips. Everyday things, dance and walking are the most varied to learn
# from; climbing (1), walking over obstacles (3) and basketball (6) are kept from training.
ACTORS = {"train": ("002", "005", "007"), "val": ("001",), "test": ("003", "006")}

BONES = {
    **{
        "pelvis": "Hip",
        "waist": "Waist",
        "spine": "Spine01",
        "chest": "Spine02",
        "neck": "NeckTwist01",
        "head": "Head",
    },
    **{
        "shoulder": "Upperarm",
        "elbow": "Forearm",
        "wrist": "Hand",
        "hip": "Thigh",
        "knee": "Calf",
        "ankle": "Foot",
    },
}
# How far the trunk's bones tilt forward in this rig when a person walks upright, in degrees: the mean of
# 002_01, 002_02 and 007_01 to 007_12. It counts as zero. The T-pose that starts 007_03 to 007_12 has nearly
# the same (0, 16, -5, -10), but its neck bends forward by 11 and the head by 0, unlike any of these people.
UPRIGHT = {"pelvis": 5.0, "waist": 18.0, "spine": -3.0, "chest": -6.0, "neck": -5.0, "head": 10.0}
# degrees that the bone from ankle to the ball of the foot points down in a foot that stands flat; so it is in
# that T-pose
FLAT = 13.0
HINGE = np.array(
    [0.856, 0.0, 0.516]
)  # the left elbow's axis, in the upper arm's axes: the clips' forearms turn about no other

APART = np.deg2rad(10)  # two frames of a clip differ if some joint has turned this far
BROKEN = np.deg2rad(
    45
    # a frame with a joint this far beyond its limit is an error of the rig: feet that point backwards, arms
    # through the back
)
FLOOR = np.deg2rad(1.5)  # the least spread of a component in any direction
STRENGTH = 60  # how many frames' weight the mean covariance has in each component's
# Chosen by eye: the likelihood of the other splits' poses hardly differs (a mean logarithm of 47.5 for 4,
# 45.9 for 8, 45.4 for 16, 44.2 for 24, 44.8 for 32 components of train), and with more components fewer
# unrelated limbs are mixed.
COMPONENTS = {"train": 16, "val": 8, "test": 8}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--motions", type=Path, required=True, help="the zip file or the folder with the clips"
    )
    parser.add_argument("--out", type=Path, required=True, help="the npz file to write")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    clips = {name: distinct(retarget(*read_bvh(text))) for name, text in read(args.motions).items()}
    splits = split(sorted(clips))
    frames = {
        s: np.concatenate(
            [np.stack([clips[c], mirrored(clips[c])]).reshape(-1, 3 * len(JOINTS)) for c in splits[s]]
        )
        for s in SPLITS
    }
    arrays: dict[str, NDArray[np.generic]] = {}
    for name in SPLITS:
        shares, means, factors = fit(frames[name], COMPONENTS[name], args.seed)
        others = np.concatenate([frames[other] for other in SPLITS if other != name])
        likelihood = log_densities(others, shares, means, factors).mean()
        print(
            f"{name}: {len(splits[name])} clips, {len(frames[name])} postures; log likelihood of the others' "
            f"{likelihood:.1f}"
        )
        rows, columns = np.tril_indices(means.shape[1])
        arrays |= {f"{name}_shares": shares.astype(np.float32), f"{name}_means": means.astype(np.float16)}
        arrays |= {
            f"{name}_factors": factors[:, rows, columns].astype(np.float16),
            f"{name}_clips": np.array(splits[name]),
        }
    data = io.BytesIO()
    np.savez_compressed(data, allow_pickle=False, **arrays)
    write_bytes(args.out, data.getvalue())
    print(f"{args.out}: {len(data.getvalue()) / 1e3:.0f} kB")


def read(motions: Path) -> dict[str, str]:
    """The text of each clip by its name."""
    if motions.is_dir():
        return {path.stem: path.read_text() for path in sorted(motions.glob("*.bvh"))}
    with zipfile.ZipFile(motions) as file:
        return {
            Path(name).stem: file.read(name).decode()
            for name in sorted(file.namelist())
            if name.endswith(".bvh")
        }


def split(clips: list[str]) -> dict[str, list[str]]:
    """The clips of each split."""
    return {name: [c for c in clips if c[:3] in ACTORS[name]] for name in SPLITS}


def read_bvh(text: str) -> tuple[list[str], list[int], Array, Array]:
    """Names (J,), parents (J,), offsets (J, 3) and rotations (T, J, 3, 3), both in the parent's axes."""
    names: list[str] = []
    parents: list[int] = []
    offsets: list[list[float]] = []
    channels: list[list[str]] = []
    open_joints = [-1]
    lines = iter(text.splitlines())
    for line in lines:
        word, *rest = line.split() or [""]
        if word in ("ROOT", "JOINT"):
            names.append(rest[0])
            parents.append(open_joints[-1])
            opened = len(names) - 1
        elif word == "End":
            opened = -1
        elif word == "{":
            open_joints.append(opened)
        elif word == "}":
            open_joints.pop()
        elif word == "OFFSET" and opened >= 0:
            offsets.append([float(number) for number in rest])
        elif word == "CHANNELS":
            channels.append(rest[1:])
        elif word == "MOTION":
            break
    count = int(next(lines).split()[1])
    next(lines)  # the time of a frame
    numbers = np.array([line.split() for line in lines if line.strip()], np.float64)
    if numbers.shape != (count, sum(len(c) for c in channels)):
        raise ValueError(
            f"{numbers.shape} numbers for {count} frames of {sum(len(c) for c in channels)} channels"
        )
    local = np.tile(np.eye(3), (count, len(names), 1, 1))
    for column, (joint, channel) in enumerate((j, c) for j, cs in enumerate(channels) for c in cs):
        if channel.endswith("rotation"):
            axis = np.array([channel[0] == a for a in "XYZ"], np.float64)
            local[:, joint] = local[:, joint] @ rotation_matrix(np.deg2rad(numbers[:, column, None]) * axis)
    return names, parents, np.array(offsets), local


def axes(along: Array, towards: Array) -> Array:
    """(3, 3) right-handed axes as columns: along a bone, towards something across it, and the third."""
    first = along / np.linalg.norm(along)
    third = np.cross(first, towards)
    third = third / np.linalg.norm(third)
    return np.stack([first, np.cross(third, first), third], 1)


def zeros(names: list[str], offsets: Array) -> dict[str, Array]:
    """(3, 3) what each bone's axes are in the T-pose, in the body's: told by where the next bone starts and
    what the joint turns about.
    """
    zero = {joint: rotation_matrix(np.deg2rad([tilt, 0.0, 0.0])) for joint, tilt in UPRIGHT.items()}
    out, up, front = np.eye(3)
    slope = np.deg2rad(FLAT)
    for side, sign in (("left", 1), ("right", -1)):
        place = {
            name[10:]: offset
            for name, offset in zip(names, offsets, strict=True)
            if name.startswith(f"CC_Base_{side[0].upper()}_")
        }
        hinge = HINGE * np.array([1, 1, sign])
        for joint, along, towards, bone, across in (
            # An arm's bones point away from the body, elbows flex about y; the palm is down when the fingers'
            # knuckles go from back to front.
            ("shoulder", place["Forearm"], hinge, sign * out, -sign * up),
            ("elbow", place["Hand"], hinge, sign * out, -sign * up),
            ("wrist", place["Mid1"] + place["Ring1"], place["Index1"] - place["Pinky1"], sign * out, front),
            # A leg's bones have x to the right; knees flex about it.
            ("hip", place["Calf"], out, -up, -out),
            ("knee", place["Foot"], out, -up, -out),
            ("ankle", place["ToeBase"], out, np.cos(slope) * front - np.sin(slope) * up, -out),
        ):
            zero[f"{side}_{joint}"] = axes(bone, across) @ axes(along, towards).T
    return zero


def retarget(names: list[str], parents: list[int], offsets: Array, local: Array) -> Array:
    """(T, 20, 3) the frames' poses, clipped to the limits, without those that would change much. The file's
    world has our axes: x to the left, y up, z to the front.
    """
    whole = np.zeros_like(local)
    for bone, parent in enumerate(parents):
        whole[:, bone] = local[:, bone] if parent < 0 else whole[:, parent] @ local[:, bone]
    turned = np.zeros((len(local), len(JOINTS), 3, 3))
    for joint, zero in zeros(names, offsets).items():
        side, _, part = joint.rpartition("_")
        bone = names.index(f"CC_Base_{side[:1].upper()}{'_' if side else ''}{BONES[part]}")
        turned[:, JOINTS.index(joint)] = whole[:, bone] @ zero.T
    # The pelvis without its heading: the twist about y of a swing-twist split, which comes after the swing.
    hip = turned[:, 0]
    heading = np.arctan2(hip[:, 0, 2] - hip[:, 2, 0], hip[:, 0, 0] + hip[:, 2, 2])
    level = rotation_matrix(-heading[:, None] * np.array([0.0, 1.0, 0.0]))
    turned = level[:, None] @ turned
    for side, sign in (("left", 1), ("right", -1)):
        # The clips' collar bones do not move. Real ones rise and come forward with the arm (Inman, Saunders &
        # Abbott, 1944: about a third of the rise is the shoulder blade's; less here, since the blade also
        # tips).
        chest, collar, shoulder = (JOINTS.index(j) for j in ("chest", f"{side}_collar", f"{side}_shoulder"))
        arm = np.einsum("tji,tj->ti", turned[:, chest], sign * turned[:, shoulder, :, 0])
        rise = np.deg2rad(25) * np.maximum(arm[:, 1], 0)
        reach = np.deg2rad(15) * np.maximum(arm[:, 2], 0)
        turned[:, collar] = turned[:, chest] @ rotation_matrix(
            np.stack([0 * rise, -sign * reach, sign * rise], 1)
        )
    above = turned[:, [p for p in PARENTS if p >= 0]]
    rotations = rotation_vector(
        np.concatenate([turned[:, :1], np.swapaxes(above, -1, -2) @ turned[:, 1:]], 1)
    )
    within = clamp(rotations)
    lost = np.linalg.norm(
        rotation_vector(np.swapaxes(rotation_matrix(rotations), -1, -2) @ rotation_matrix(within)), axis=-1
    ).max(1)
    return within[lost < BROKEN]


def distinct(rotations: Array) -> Array:
    """The frames that differ from the last one kept, without the T-pose that starts some clips."""
    kept = [np.zeros_like(rotations[0])]
    for frame in rotations:
        if (
            np.linalg.norm(frame - kept[-1], axis=-1).max() > APART
            and np.linalg.norm(frame, axis=-1).max() > 2 * APART
        ):
            kept.append(frame)
    return np.stack(kept[1:])


def fit(x: Array, components: int, seed: int) -> tuple[Array, Array, Array]:
    """Shares (C,), means (C, D) and lower factors (C, D, D) of the covariances of a Gaussian mixture of the
    rows of x (N, D), by expectation maximisation.
    """
    random = np.random.default_rng(seed)
    means = x[random.choice(len(x), components, replace=False)]
    for _ in range(30):  # Lloyd's k-means
        nearest = np.argmin(((x[:, None] - means[None]) ** 2).sum(-1), 1)
        means = np.stack(
            [
                x[nearest == k].mean(0) if (nearest == k).any() else x[random.integers(len(x))]
                for k in range(components)
            ]
        )
    weights = np.eye(components)[nearest]
    for _ in range(30):
        counts = weights.sum(0)
        means = weights.T @ x / np.maximum(counts, 1e-9)[:, None]
        scatter = np.stack(
            [(w[:, None] * (x - m)).T @ (x - m) for w, m in zip(weights.T, means, strict=True)]
        )
        pooled = scatter.sum(0) / len(x)
        covariances = (scatter + STRENGTH * pooled) / (counts + STRENGTH)[:, None, None] + FLOOR**2 * np.eye(
            x.shape[1]
        )
        mixture = counts / len(x), means, np.linalg.cholesky(covariances)
        joint = component_densities(x, *mixture)
        weights = np.exp(joint - joint.max(1, keepdims=True))
        weights /= weights.sum(1, keepdims=True)
    return mixture


def component_densities(x: Array, shares: Array, means: Array, factors: Array) -> Array:
    """(N, C) logarithm of each component's part of the density at each row of x."""
    out = []
    for share, mean, factor in zip(shares, means, factors, strict=True):
        z = np.linalg.solve(factor, (x - mean).T)
        out.append(
            np.log(share + 1e-12)
            - 0.5 * (z**2).sum(0)
            - np.log(np.diag(factor)).sum()
            - 0.5 * x.shape[1] * np.log(2 * np.pi)
        )
    return np.stack(out, 1)


def log_densities(x: Array, shares: Array, means: Array, factors: Array) -> Array:
    """(N,) logarithm of the mixture's density."""
    joint = component_densities(x, shares, means, factors)
    most = joint.max(1)
    return np.asarray(most + np.log(np.exp(joint - most[:, None]).sum(1)))


if __name__ == "__main__":
    main()
