"""Human poses: drawn from a mixture fitted to motion capture, then widened towards sports.

A pose is (20, 3) rotation vectors in radians, one for each of `JOINTS` relative to its parent, in the body's
axes: x to the person's left, y up, z to the front. Zero is the T-pose: arms straight out to the sides, palms
down, legs straight down, feet forward. The pelvis has lean and tilt only; the person's heading is set by the
image.

In these axes elbows flex about y (left -, right +: the forearm comes forward), knees about +x (the calf goes
back), hips about -x (the thigh comes forward), the trunk and neck about +x (forward). `prior.npz` has the
parameters that `scripts/fit_pose_prior.py` fitted to 61 clips of the CMU motion capture database, and none of
their frames.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources

import numpy as np
from numpy.typing import NDArray

from poseling.synth.collisions import collides
from poseling.synth.joint_limits import ARM, HIGH, JOINTS, LEG, LOW, clip, rotations_of, turns

Array = NDArray[np.float64]
SPLITS = ("train", "val", "test")


@dataclass(frozen=True, eq=False)
class Mixture:
    """A Gaussian mixture of poses: shares (C,), means (C, 60) and lower factors (C, 60, 60) of the
    covariances, and the clips it was fitted to.
    """

    shares: Array
    means: Array
    factors: Array
    clips: tuple[str, ...]

    def draw(self, random: np.random.Generator) -> tuple[Array, int]:
        """A pose (20, 3), not yet within the limits, and its component."""
        component = int(random.choice(len(self.shares), p=self.shares))
        z = random.standard_normal(self.means.shape[1])
        return (self.means[component] + self.factors[component] @ z).reshape(-1, 3), component


@dataclass(frozen=True, eq=False)
class Prior:
    """The mixtures by split; the splits have no clip in common."""

    mixtures: Mapping[str, Mixture]

    @classmethod
    def load(cls) -> Prior:
        """The prior that ships with the package."""
        with (
            resources.files("poseling.synth").joinpath("prior.npz").open("rb") as file,
            np.load(file, allow_pickle=False) as arrays,
        ):
            return cls({name: _mixture(arrays, name) for name in SPLITS})

    def sample(self, random: np.random.Generator, split: str) -> tuple[Array, str]:
        """A pose (20, 3) of a split and the name of its motion, such as `train-017`; all its joints are
        within their limits and no limb is in another.

        ValueError for a split that is not one of `SPLITS`.
        """
        if split not in self.mixtures:
            raise ValueError(
                f"there is no split {split!r} of the poses; choose one of {', '.join(self.mixtures)}"
            )
        mixture = self.mixtures[split]
        for _ in range(TRIES):
            rotations, component = mixture.draw(random)
            other, _ = mixture.draw(random)
            rotations = rotations_of(clip(_widened(turns(rotations), turns(other), random)))
            if not collides(rotations):  # about two of three do not
                break
        return rotations, f"{split}-{component:03}"


def _mixture(arrays: Mapping[str, NDArray[np.generic]], name: str) -> Mixture:
    """One split's arrays: `factors` (C, 1830) are the lower halves, row by row."""
    shares, means, halves = (
        np.asarray(arrays[f"{name}_{part}"], np.float64) for part in ("shares", "means", "factors")
    )
    factors = np.zeros((*means.shape, means.shape[1]))
    factors[:, *np.tril_indices(means.shape[1])] = halves
    return Mixture(
        shares / shares.sum(), means, factors, tuple(str(clip) for clip in arrays[f"{name}_clips"])
    )


# How often and how much a drawn pose is changed: the clips show walking, dancing, climbing and games, and
# hardly ever sitting, throwing, kicking or turning upside down.
WAYS = {
    "as_drawn": 0.36,
    "arms_anywhere": 0.13,
    "arms_overhead": 0.1,
    "crouch": 0.07,
    "sit": 0.06,
    "kick": 0.07,
    "stride": 0.06,
    "bend": 0.05,
    "lie": 0.05,
    "tumble": 0.05,
}

MIX = 0.35  # how often a limb, or both arms, or both legs, come from another draw
NOISE = 0.04  # spread of each turn, by its range
TRIES = 30
_INDEX = {joint: i for i, joint in enumerate(JOINTS)}
_ARMS, _LEGS = (
    [[_INDEX[f"{side}_{joint}"] for joint in limb] for side in ("left", "right")] for limb in (ARM, LEG)
)

_LIMBS = (*_ARMS, *_LEGS, _ARMS[0] + _ARMS[1], _LEGS[0] + _LEGS[1])


def _widened(turned: Array, other: Array, random: np.random.Generator) -> Array:
    """(20, 3) turns of a pose, changed towards sports; they may be beyond the limits. `other` is a second
    draw.
    """
    turned = turned.copy()
    if random.random() < MIX:
        limb = _LIMBS[random.integers(len(_LIMBS))]
        turned[limb] = other[limb]
    way = str(random.choice(list(WAYS), p=list(WAYS.values())))
    if way != "as_drawn":
        _change(turned, way, random)
    spread = NOISE * (HIGH - LOW)
    spread[0] = np.deg2rad([6, 0, 6])
    return np.asarray(turned + spread * random.standard_normal(turned.shape))


def _change(turned: Array, way: str, random: np.random.Generator) -> None:
    """Draw the turns of the joints that make a way. Everything is in degrees and counts as for the left side:
    hips flex to -x, abduct to +z; knees flex to +x; arms rise to +z.
    """

    def put(
        joint: str,
        x: tuple[float, float] | None = None,
        y: tuple[float, float] | None = None,
        z: tuple[float, float] | None = None,
    ) -> None:
        for axis, between in enumerate((x, y, z)):
            if between is not None:
                turned[_INDEX[joint], axis] = np.deg2rad(random.uniform(*between))

    sides = ("left", "right") if random.random() < 0.5 else ("right", "left")
    one, two = sides
    if way == "arms_anywhere" or (way in ("lie", "sit") and random.random() < 0.5):
        for side in sides[: random.integers(1, 3)]:
            shoulder = _INDEX[f"{side}_shoulder"]
            direction, far = random.uniform(0, 2 * np.pi), np.sqrt(random.random())
            y, z = far * np.cos(direction), far * np.sin(direction)
            turned[shoulder, 1:] = [
                y * (HIGH if y > 0 else -LOW)[shoulder, 1],
                z * (HIGH if z > 0 else -LOW)[shoulder, 2],
            ]
            put(f"{side}_shoulder", x=(-70, 60))
            turned[_INDEX[f"{side}_elbow"], 1] = np.deg2rad(-140) * random.random() ** 1.5
    elif way == "arms_overhead" or (way == "tumble" and random.random() < 0.7):
        for side in sides[: 2 if way == "tumble" else random.integers(1, 3)]:
            put(f"{side}_collar", z=(10, 35))
            put(f"{side}_shoulder", x=(-95, -10), y=(-25, 45), z=(70, 115))
            turned[_INDEX[f"{side}_elbow"], 1] = np.deg2rad(-120) * random.random() ** 2
    lean, bend = random.uniform(0, 1, 2)
    if way == "crouch":
        flexed, open_by = random.uniform(70, 120), random.uniform(0, 35)
        put("pelvis", x=(0, 45))
        for side in sides:
            put(f"{side}_hip", x=(-flexed - 15, -flexed + 15), z=(open_by - 8, open_by + 8))
            put(f"{side}_knee", x=(flexed - 10, flexed + 35))
            put(f"{side}_ankle", x=(-30, 10))
        put("spine", x=(0, 25))
    elif way == "sit":
        put("pelvis", x=(-25, 15))
        knee, open_by = random.uniform(5, 120), random.uniform(-5, 30)
        for side in sides:
            put(f"{side}_hip", x=(-110, -75), y=(-10, 30), z=(open_by - 8, open_by + 8))
            put(f"{side}_knee", x=(knee - 20, knee + 20))
            put(f"{side}_ankle", x=(-10, 40))
    elif way == "kick":
        put("pelvis", x=(-30, 10), z=(-20, 20))
        put(f"{one}_hip", x=(-125, -40) if lean < 0.6 else (-40, 10), z=(-15, 30) if lean < 0.6 else (40, 65))
        put(f"{one}_knee", x=(0, 60))
        put(f"{one}_ankle", x=(0, 50))
        put(f"{two}_hip", x=(-15, 30), z=(-5, 20))
        put(f"{two}_knee", x=(0, 40))
    elif way == "stride":
        put("pelvis", x=(-10, 30))
        put(f"{one}_hip", x=(-115, -35), z=(-5, 30))
        put(f"{one}_knee", x=(0, 100))
        put(f"{two}_hip", x=(5, 40), z=(-5, 25))
        put(f"{two}_knee", x=(0, 100))
    elif way == "bend":
        tilt = random.uniform(30, 105)
        put("pelvis", x=(tilt, tilt), z=(-10, 10))
        for joint in ("waist", "spine", "chest"):
            put(joint, x=(-5, 25))
        for side in sides:
            put(f"{side}_hip", x=(-tilt - 20, -tilt + 20), z=(0, 25))
            put(f"{side}_knee", x=(0, 50))
    elif way in ("lie", "tumble"):
        direction = random.choice([0, 0.5, 1, 1.5]) * np.pi + random.normal(0, 0.3)
        angle = np.deg2rad(random.uniform(75, 105) if way == "lie" else random.uniform(60, 178))
        turned[0] = angle * np.cos(direction), 0, angle * np.sin(direction)
        if way == "tumble":
            for side in sides:
                put(f"{side}_hip", x=(-70, 35), z=(-5, 65))
                put(f"{side}_knee", x=(0, 100 * bend))
                put(f"{side}_ankle", x=(10, 50))
