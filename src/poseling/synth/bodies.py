"""Adult bodies from Anny (Apache-2.0; its shapes are MakeHuman's, CC0) in a pose: surface, skeleton and
joints.

Anny gives the surface at rest. Bones are rotated here, in float64 NumPy, so that the same seed gives the same
bytes and the joints are exact. Axes are the body's: x to its left, y up, z to its front, in metres.
"""

from __future__ import annotations

import contextlib
import fcntl
import io
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import version
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from poseling.geometry import rotation_matrix
from poseling.skeleton import SYNTH28
from poseling.synth.joint_limits import JOINTS, PARENTS

Array = NDArray[np.float64]

# The joints of arms and legs, and the bone that begins at each.
LIMB_JOINTS = {
    f"{side}_{joint}": f"{bone}.{side[0].upper()}"
    for side in ("left", "right")
    for joint, bone in (
        ("shoulder", "upperarm01"),
        ("elbow", "lowerarm01"),
        ("wrist", "wrist"),
        ("hip", "upperleg01"),
        ("knee", "lowerleg01"),
        ("ankle", "foot"),
    )
}
# Anny's bones and the pose's joint that rotates each. Other bones follow their parent.
TURNED_BY = {
    "root": "pelvis",
    "spine05": "waist",
    "spine03": "spine",
    "spine02": "chest",
    "neck01": "neck",
    "head": "head",
    "clavicle.L": "left_collar",
    "clavicle.R": "right_collar",
    **{bone: joint for joint, bone in LIMB_JOINTS.items()},
}
# Anny's rest pose has arms and legs apart. A pose of zeros is the T-pose, in which each of these bones points
# from its head to the other's in this direction.
LIMBS = {
    **{
        f"{bone}.{side}": (f"{end}.{side}", (sign, 0.0, 0.0))
        for side, sign in (("L", 1.0), ("R", -1.0))
        for bone, end in (("upperarm01", "lowerarm01"), ("lowerarm01", "wrist"), ("wrist", "finger3-1"))
    },
    **{
        f"{bone}.{side}": (f"{end}.{side}", (0.0, -1.0, 0.0))
        for side in "LR"
        for bone, end in (("upperleg01", "lowerleg01"), ("lowerleg01", "foot"))
    },
}
# The joints' positions: the head of a bone, or a point of Anny's COCO regressor attached to a bone. The first
# are centres of rotation, so bones have the same length in every pose.
AT_HEADS = {
    "neck": "neck02",
    "spine": "spine02",
    "left_hand": "finger3-1.L",
    "right_hand": "finger3-1.R",
    **LIMB_JOINTS,
}
CARRIED = {
    **{joint: (joint, "head") for joint in ("nose", "left_eye", "right_eye", "left_ear", "right_ear")},
    **{f"{side}_heel": (f"{side}_heel", f"foot.{side[0].upper()}") for side in ("left", "right")},
    **{f"{side}_foot_index": (f"{side}_big_toe", f"foot.{side[0].upper()}") for side in ("left", "right")},
}
STATURE = {
    "male": (1.76, 0.07),
    "female": (1.63, 0.065),
}  # metres, mean and spread; NCD Risk Factor Collaboration, eLife 2016, rich countries
PARTS = (
    "head",
    "torso",
    *(
        f"{side}_{part}"
        for side in ("left", "right")
        for part in ("arm", "forearm", "hand", "thigh", "shin", "foot")
    ),
)


@dataclass(frozen=True, eq=False)
class Body:
    """One person's body at rest: vertices (V, 3) and their normals (V, 3), bone heads (B, 3), joints (28, 3)
    and the bone that carries each (28).
    """

    vertices: Array
    normals: Array
    heads: Array
    joints: Array
    carriers: NDArray[np.int64]
    female: bool
    stature: float


@dataclass(frozen=True, eq=False)
class Posed:
    """A body in a pose: (V, 3, 4) the transform of each vertex from rest, and joints (28, 3)."""

    moves: Array
    joints: Array

    def vertices(self, rest: Array, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """(n, 3) the vertices `rows` when they rest at `rest` (n, 3): the body's own, or those of cloth."""
        moves = self.moves[rows]
        return np.asarray(np.einsum("nij,nj->ni", moves[:, :, :3], rest) + moves[:, :, 3], np.float32)

    def normals(self, rest: Array, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """(n, 3) directions; not of unit length."""
        return np.asarray(np.einsum("nij,nj->ni", self.moves[rows][:, :, :3], rest), np.float32)


class Bodies:
    """Anny's model, loaded once a process. ImportError without the extra `synth`."""

    def __init__(self) -> None:
        import torch

        with _hushed():
            from anny import Anny, KeypointsRegressor
            from anny.paths import get_anny_cache_path

            with _first_time_alone(Path(get_anny_cache_path()) / f"built-{version('anny')}"):
                self._model = Anny().to(torch.float32)
        model, self._torch = self._model, torch
        self.labels: tuple[str, ...] = tuple(model.bone_labels)
        self.parents = np.array(model.bone_parents)
        self.faces = model.faces.numpy().astype(np.int64)
        count = len(model.template_vertices)
        weights = np.zeros((count, len(self.labels)))
        np.put_along_axis(weights, model.vertex_bone_indices.numpy(), 0, 1)
        np.add.at(
            weights,
            (np.arange(count)[:, None], model.vertex_bone_indices.numpy()),
            model.vertex_bone_weights.numpy().astype(np.float64),
        )
        self.weights = weights / weights.sum(1, keepdims=True)
        self._sparse = csr_matrix(self.weights)
        regressor = KeypointsRegressor.coco(model)
        # (V,) weights of the surface's points, by the landmark of the face or foot that they make.
        self.landmarks = dict(
            zip(regressor.labels, regressor.regression_weights.numpy().astype(np.float64), strict=True)
        )
        self._joint_of = self._follow(
            [JOINTS.index(TURNED_BY[b]) if b in TURNED_BY else -1 for b in self.labels]
        )
        self._limb_of = self._follow(
            [i if b in LIMBS or b in TURNED_BY else -1 for i, b in enumerate(self.labels)]
        )

    def _follow(self, own: list[int]) -> NDArray[np.int64]:
        """(B,) each bone's value, or its parent's where it has none (-1)."""
        for bone, parent in enumerate(self.parents):
            if own[bone] < 0:
                own[bone] = own[parent]
        return np.array(own)

    def bone(self, label: str) -> int:
        """A bone's index."""
        return self.labels.index(label)

    @cached_property
    def part(self) -> NDArray[np.int64]:
        """(V,) the part of PARTS that each vertex belongs to most."""
        names = {
            "clavicle": "torso",
            "shoulder01": "torso",
            "upperarm": "arm",
            "lowerarm": "forearm",
            "upperleg": "thigh",
            "lowerleg": "shin",
        }
        of_bone = []
        for label in self.labels:
            stem, _, side = label.partition(".")
            kind = next((part for start, part in names.items() if stem.startswith(start)), None)
            if kind is None:
                kind = (
                    "hand"
                    if stem.startswith(("wrist", "finger", "metacarpal"))
                    else "foot"
                    if stem.startswith(("foot", "toe"))
                    else "head"
                    if stem.startswith(("head", "eye", "neck02", "neck03"))
                    else "torso"
                )
            of_bone.append(
                PARTS.index(kind if kind in PARTS else f"{'left' if side == 'L' else 'right'}_{kind}")
            )
        share = np.zeros((len(self.weights), len(PARTS)))
        np.add.at(share.T, np.array(of_bone), self.weights.T)
        return np.asarray(share.argmax(1))

    def sample(self, random: np.random.Generator) -> Body:
        """A random adult: sex, age, height, weight, muscle and proportions."""
        female = random.random() < 0.5
        gender = float(
            np.clip((1.0 if female else 0.0) + (-1 if female else 1) * abs(random.normal(0, 0.12)), 0, 1)
        )
        shape = {
            "gender": gender,
            "age": float(random.uniform(2 / 3, 0.95)),  # 2/3 is Anny's young adult, 1 its old
            "muscle": float(np.clip(random.normal(0.55, 0.18), 0.05, 0.98)),
            "weight": float(np.clip(random.normal(0.5, 0.16), 0.1, 0.95)),
            "proportions": float(random.uniform(0.2, 0.9)),
        }
        mean, spread = STATURE["female" if female else "male"]
        wanted = float(np.clip(random.normal(mean, spread), mean - 2.5 * spread, mean + 2.5 * spread))
        # Anny's height for middle values of its other parameters, which change it by a few centimetres.
        height = float(np.clip(0.5 + (wanted - (1.908 - 0.14 * gender)) / 1.09, 0.02, 0.98))
        return self.build(shape | {"height": height}, female)

    def _rest(self, shape: dict[str, float]) -> tuple[Array, Array]:
        """Vertices (V, 3) and bone heads (B, 3) at rest, in the body's axes."""
        with self._torch.inference_mode():
            rest = self._model.get_rest_model(self._model.get_phenotype_blendshape_coefficients(**shape))
        # Anny has y to the back and z up.
        turn = np.array([[1.0, 0, 0], [0, 0, 1], [0, -1, 0]])
        vertices = rest["rest_vertices"][0].numpy().astype(np.float64) @ turn.T
        return vertices, rest["rest_bone_poses"][0, :, :3, 3].numpy().astype(np.float64) @ turn.T

    def build(self, shape: dict[str, float], female: bool) -> Body:
        """The body of a shape in Anny's parameters, 0 to 1 each."""
        vertices, heads = self._rest(shape)
        joints, carriers = np.zeros((len(SYNTH28), 3)), np.zeros(len(SYNTH28), np.int64)
        for i, joint in enumerate(SYNTH28.joints):
            if joint in AT_HEADS:
                carriers[i] = self.bone(AT_HEADS[joint])
                joints[i] = heads[carriers[i]]
            elif joint in CARRIED:
                point, bone = CARRIED[joint]
                joints[i], carriers[i] = self.landmarks[point] @ vertices, self.bone(bone)
        at = SYNTH28.index
        joints[at("pelvis")], carriers[at("pelvis")] = (
            (joints[at("left_hip")] + joints[at("right_hip")]) / 2,
            self.bone("root"),
        )
        # MPII's thorax is between the shoulders; their mean would move with them.
        joints[at("thorax")], carriers[at("thorax")] = (
            heads[[self.bone("clavicle.L"), self.bone("clavicle.R")]].mean(0),
            self.bone("spine01"),
        )
        skull = vertices[self.part == PARTS.index("head")]
        joints[at("head_top")], carriers[at("head_top")] = (
            skull[skull[:, 1].argmax()] * [0, 1, 1] + [0, 0.01, 0],
            self.bone("head"),
        )  # 1 cm of hair
        return Body(
            vertices,
            self.surface_normals(vertices),
            heads,
            joints,
            carriers,
            female,
            float(np.ptp(vertices[:, 1])),
        )

    @cached_property
    def _corner_sum(self) -> csr_matrix:
        count = len(self.faces)
        return csr_matrix(
            (np.ones(3 * count), (self.faces.ravel(), np.repeat(np.arange(count), 3))),
            shape=(len(self.weights), count),
        )

    def surface_normals(self, vertices: Array) -> Array:
        """(V, 3) unit normals, faces weighted by their area."""
        a, b, c = (vertices[self.faces[:, i]] for i in range(3))
        normals = np.asarray(self._corner_sum @ np.cross(b - a, c - a))
        return normals / np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-12)

    def pose(self, body: Body, rotations: Array, curl: float = 0.3) -> Posed:
        """The body with a pose's `rotations` (20, 3) and fingers curled by `curl` radians a joint, its
        pelvis at the origin.
        """
        local = rotation_matrix(rotations)
        turned = np.zeros((len(JOINTS), 3, 3))
        for joint, parent in enumerate(PARENTS):
            turned[joint] = local[joint] if parent < 0 else turned[parent] @ local[joint]
        aligned = self._to_t_pose(body)
        frames = np.zeros((len(self.labels), 3, 3))
        for bone, label in enumerate(self.labels):
            turn = turned[self._joint_of[bone]]
            if label.startswith(("finger2", "finger3", "finger4", "finger5")):
                times = int(label[label.index("-") + 1])
                turn = turn @ rotation_matrix(
                    np.array([0, 0, (-1 if label.endswith("L") else 1) * curl * times])
                )
            frames[bone] = turn @ aligned[self._limb_of[bone]]
        places = np.zeros_like(body.heads)
        for bone, parent in enumerate(self.parents):
            if parent >= 0:
                places[bone] = places[parent] + frames[parent] @ (body.heads[bone] - body.heads[parent])
        # Half of the wrist's turn is in the skin of the forearm; no joint moves by it.
        for side in ("left", "right"):
            bone, joint = self.bone(f"lowerarm02.{side[0].upper()}"), JOINTS.index(f"{side}_elbow")
            half = _half_twist(rotations[JOINTS.index(f"{side}_wrist")])
            frames[bone] = turned[joint] @ half @ aligned[self._limb_of[bone]]
        bones = np.concatenate([frames, (places - np.einsum("bij,bj->bi", frames, body.heads))[..., None]], 2)
        chosen = bones[body.carriers]
        joints = np.einsum("kij,kj->ki", chosen[:, :, :3], body.joints) + chosen[:, :, 3]
        origin = joints[SYNTH28.index("pelvis")].copy()
        bones[:, :, 3] -= origin
        moves = np.asarray(self._sparse @ bones.reshape(len(bones), 12)).reshape(-1, 3, 4)
        return Posed(moves, joints - origin)

    def _to_t_pose(self, body: Body) -> Array:
        """(B, 3, 3) for each bone that has a limb's direction, the smallest turn from rest to the T-pose; the
        rest stays as it is.
        """
        turns = np.tile(np.eye(3), (len(self.labels), 1, 1))
        for bone, (end, way) in LIMBS.items():
            along = body.heads[self.bone(end)] - body.heads[self.bone(bone)]
            turns[self.bone(bone)] = _between(along, np.array(way))
        return turns


@contextlib.contextmanager
def _first_time_alone(marker: Path) -> Iterator[None]:
    """The first time, Anny builds and caches its model, which takes a minute; other processes wait for it
    instead of reading an incomplete file.
    """
    if marker.exists():
        yield
        return
    marker.parent.mkdir(parents=True, exist_ok=True)
    with marker.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
        marker.touch()


@contextlib.contextmanager
def _hushed() -> Iterator[None]:
    """Hides the native warnings of warp about a missing graphics card, which is not used. Exceptions are
    raised.
    """
    sys.stderr.flush()
    terminal, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        with contextlib.redirect_stdout(io.StringIO()):  # its greeting
            yield
    finally:
        os.dup2(terminal, 2)
        os.close(terminal)
        os.close(nowhere)


def _between(start: Array, end: Array) -> Array:
    """(3, 3) the smallest rotation of one direction to another."""
    start, end = start / np.linalg.norm(start), end / np.linalg.norm(end)
    axis = np.cross(start, end)
    sine, cosine = float(np.linalg.norm(axis)), float(start @ end)
    return rotation_matrix(axis / max(sine, 1e-12) * np.arctan2(sine, cosine))


def _half_twist(wrist: Array) -> Array:
    """(3, 3) half of a wrist's turn about the forearm (the x axis), so that the skin of the forearm turns
    gradually.
    """
    matrix = rotation_matrix(wrist)
    # The twist of a swing-twist split: the x part of the quaternion.
    w, x = 1 + np.trace(matrix), matrix[2, 1] - matrix[1, 2]
    return rotation_matrix(np.array([np.arctan2(x, w), 0, 0]))
