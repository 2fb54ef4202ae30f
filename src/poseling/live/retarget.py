"""A body's turns on somebody else's rig: which of its nodes are which bones, and how each has to be turned.

Bones have VRM's names (`hips`, `leftUpperArm`, ...). A VRM file says itself which node is which, in version
0 and in version 1; others are told by the names of their nodes, as Mixamo, VALID, Ready Player Me,
Reallusion and plain glTF files spell them.

The body rests in a T. A rig may rest otherwise (an A, bent knees): each limb's bone is led to the body's
direction first, by the smallest turn from where its own rest points. So a rig's own axes and rest do not
matter, only where its nodes are.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from poseling.geometry import quaternion
from poseling.live.turns import between, inverse, multiply, part, rotate, whole
from poseling.records import parse_json
from poseling.runtime.kinematics import JOINTS

Array = NDArray[np.float64]

# Which of the body's joints turns a bone.
LIMBS = {
    f"{side}{bone}": f"{side}_{joint}"
    for side in ("left", "right")
    for bone, joint in (
        ("UpperArm", "shoulder"),
        ("LowerArm", "elbow"),
        ("UpperLeg", "hip"),
        ("LowerLeg", "knee"),
    )
}
COLLARS = {"leftShoulder": "left_collar", "rightShoulder": "right_collar"}
TRUNK, HEAD = ("spine", "chest", "upperChest"), ("neck", "head")
ENDS = {  # where a limb's bone points
    **{f"{side}{bone}": f"{side}{end}" for side in ("left", "right") for bone, end in (
        ("UpperArm", "LowerArm"), ("LowerArm", "Hand"), ("UpperLeg", "LowerLeg"), ("LowerLeg", "Foot"))}
}  # fmt: skip
BONES = ("hips", *TRUNK, *HEAD, *COLLARS, *LIMBS, "leftHand", "rightHand", "leftFoot", "rightFoot")
MANY = 10_000  # nodes of a model, with all its hair and cloth
FAR = 1e6  # of any unit
REQUIRED = ("hips", *LIMBS)  # without these a rig is no humanoid

# The names of nodes without prefix, side and anything but letters and digits, in small letters; the first
# that a rig has is taken.
_NAMES = {
    "hips": ("hips", "hip", "pelvis"),
    "spine": ("spine", "spine01", "waist", "spine0", "torso", "abdomen"),
    "chest": ("chest", "spine1", "spine02", "spine001"),
    "upperChest": ("upperchest", "spine2", "spine03", "spine002"),
    "neck": ("neck", "neck1", "neck01", "necktwist01"),
    "head": ("head",),
    "Shoulder": ("shoulder", "clavicle", "collar"),
    "UpperArm": ("upperarm", "arm", "uparm"),
    "LowerArm": ("lowerarm", "forearm", "loarm"),
    "Hand": ("hand", "wrist"),
    "UpperLeg": ("upperleg", "upleg", "thigh"),
    "LowerLeg": ("lowerleg", "leg", "calf", "shin", "knee"),
    "Foot": ("foot", "ankle"),
}
_PREFIX = re.compile(
    r"^(?:mixamorig\d*|armature|cc_base|bip0*1|bip|j_bip|def|org|rig|character\d*)[ _:|.\-]+", re.I
)
_SIDE = re.compile(
    r"^(?P<front>left|right|[lr](?=[ _.\-]))[ _.\-]*|(?P<end>[ _.\-](?:left|right|[lr])|left|right)(?=$|[ _.\-]\d+$)",
    re.I,
)


@dataclass(frozen=True, eq=False)
class Rig:
    """The J nodes of a model, parents before children: `names`, `parents` (J,) with -1 at a root, and their
    rest relative to the parent.

    translations (J, 3), rotations (J, 4) w x y z, scales (J, 3); `bones` says which node is which bone.
    ValueError that names what is missing if it is no humanoid.
    """

    names: tuple[str, ...]
    parents: tuple[int, ...]
    translations: Array
    rotations: Array
    scales: Array
    bones: Mapping[str, int]

    def __post_init__(self) -> None:
        if missing := [bone for bone in REQUIRED if bone not in self.bones]:
            raise ValueError(
                f"this is no humanoid: no node is its {', '.join(missing[:3])}{', ...' if missing[3:] else ''}; "
                "take a VRM file, or a GLB whose bones are named as Mixamo's are (docs/live.md)"
            )

    @classmethod
    def read(cls, path: Path) -> Rig:
        """The rig of a .glb, .vrm or .gltf file; ValueError that names the file if it is none, or no
        humanoid.
        """
        try:
            return cls.of(gltf(path.read_bytes()))
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from error

    @classmethod
    def of(cls, document: Mapping[str, Any]) -> Rig:
        """The rig of a glTF document; ValueError if it is damaged or no humanoid."""
        try:
            nodes = document.get("nodes", [])
            if len(nodes) > MANY:
                raise ValueError(f"it has {len(nodes)} nodes, and a rig has at most {MANY}")
            above = {child: i for i, node in enumerate(nodes) for child in node.get("children", ())}
            order = _sorted(len(nodes), above)
            place = {node: i for i, node in enumerate(order)}
            names = tuple(str(nodes[i].get("name", "")) for i in order)
            parents = tuple(place[above[i]] if i in above else -1 for i in order)
            rests = [_rest(nodes[i]) for i in order]
            told = _told(document.get("extensions", {}))
            bones = {bone: place[node] for bone, node in told.items()} if told else named(names)
        except (KeyError, TypeError, AttributeError, IndexError, OverflowError) as error:
            raise ValueError(
                f"its nodes are damaged ({type(error).__name__}: {error}); export it again"
            ) from error
        for name, rest in zip(names, rests, strict=True):
            if [part.shape for part in rest] != [(3,), (4,), (3,)] or not all(
                (np.abs(part) <= FAR).all() for part in rest
            ):
                raise ValueError(f"the rest of its node {name[:40]!r} is not of numbers; export it again")
        moves, turns, sizes = (
            np.array([rest[k] for rest in rests]).reshape(-1, n) for k, n in ((0, 3), (1, 4), (2, 3))
        )
        rig = cls(names, parents, moves, turns, sizes, bones)
        with np.errstate(all="ignore"):
            far = ~(np.abs(rig.places()[0]) <= FAR).all(1)
        if far.any():
            raise ValueError(f"its node {names[int(far.argmax())][:40]!r} is at no place; export it again")
        return rig

    def places(self, rotations: NDArray[np.floating] | None = None) -> tuple[Array, Array]:
        """(J, 3) where the nodes are and (J, 4) how they are turned, in the model's axes, at rest or with
        other rotations (J, 4) of the nodes.
        """
        local = self.rotations if rotations is None else np.asarray(rotations, np.float64)
        places, turns, scales = (
            np.zeros((len(self.names), 3)),
            np.zeros((len(self.names), 4)),
            np.ones((len(self.names), 3)),
        )
        for i, parent in enumerate(self.parents):
            if parent < 0:
                places[i], turns[i], scales[i] = self.translations[i], local[i], self.scales[i]
                continue
            places[i] = places[parent] + rotate(turns[parent], scales[parent] * self.translations[i])
            turns[i] = multiply(turns[parent], local[i])
            scales[i] = scales[parent] * self.scales[i]
        return places, turns


class Retarget:
    """Puts the body's turns on a rig, frame after frame.

    `hip_height` is how high the rig's hips are over its feet at rest, in the model's unit.
    """

    def __init__(self, rig: Rig) -> None:
        self.rig = rig
        places, self._rest = rig.places()
        at = {bone: places[node] for bone, node in rig.bones.items()}
        # The model's own left and up: VRM 0 looks along -z, others along z.
        up = at.get("neck", at.get("head", (at["leftUpperArm"] + at["rightUpperArm"]) / 2)) - at["hips"]
        left = at["leftUpperLeg"] - at["rightUpperLeg"]
        axes = [np.eye(3)[np.abs(v).argmax()] * np.sign(v[np.abs(v).argmax()]) for v in (left, up)]
        self.axes = quaternion(np.stack([*axes, np.cross(*axes)], 1))
        feet = [at[bone] for bone in ("leftFoot", "rightFoot") if bone in at] or [at["leftLowerLeg"]]
        self.hip_height = float(axes[1] @ (at["hips"] - np.mean(feet, 0)))
        self._corrections = self._corrected(at)

    def _corrected(self, at: Mapping[str, Array]) -> dict[str, Array]:
        """For each limb's bone the turn that leads it from the rig's rest to the body's T, in the model's
        axes.
        """
        found = {}
        for upper, lower in (
            (f"{side}Upper{limb}", f"{side}Lower{limb}")
            for side in ("left", "right")
            for limb in ("Arm", "Leg")
        ):
            sign = 1.0 if upper.startswith("left") else -1.0
            way = rotate(self.axes, np.array([sign, 0, 0] if upper.endswith("Arm") else [0, -1.0, 0]))
            found[upper] = between(at[ENDS[upper]] - at[upper], way)
            # The lower bone goes along with the upper one's correction, so that the joint between them keeps
            # its twist.
            end = at.get(ENDS[lower])
            bent = rotate(found[upper], end - at[lower]) if end is not None else way
            found[lower] = multiply(between(bent, way), found[upper])
        return found

    def turns(self, rotations: NDArray[np.floating]) -> Array:
        """(J, 4) the rotations of all nodes relative to their parents, for upright turns (13, 4) of
        `kinematics.JOINTS`.
        """
        wanted = self._wanted(rotations)
        nodes = {
            self.rig.bones[bone]: (bone, turn) for bone, turn in wanted.items() if bone in self.rig.bones
        }
        local, world = self.rig.rotations.copy(), np.zeros((len(self.rig.names), 4))
        for i, parent in enumerate(self.rig.parents):
            above = world[parent] if parent >= 0 else np.array([1.0, 0, 0, 0])
            if i in nodes:
                bone, turn = nodes[i]
                led = (
                    multiply(self._corrections[bone], self._rest[i])
                    if bone in self._corrections
                    else self._rest[i]
                )
                local[i] = multiply(inverse(above), multiply(turn, led))
                local[i] /= np.linalg.norm(local[i])
            world[i] = multiply(above, local[i])
        return local

    def _wanted(self, rotations: NDArray[np.floating]) -> dict[str, Array]:
        """For each bone the turn from the body's rest, in the model's axes."""
        local = np.asarray(rotations, np.float64)
        world = whole(local)
        pelvis, chest = world[0], world[JOINTS.index("spine")]
        found = {
            "hips": pelvis,
            **{bone: world[JOINTS.index(joint)] for bone, joint in {**LIMBS, **COLLARS}.items()},
        }
        for bones, start, joint in ((TRUNK, pelvis, "spine"), (HEAD, chest, "neck")):
            # One joint of the body is several bones of a rig: each takes its share.
            there = [bone for bone in bones if bone in self.rig.bones]
            for i, bone in enumerate(there):
                found[bone] = multiply(start, part(local[JOINTS.index(joint)], (i + 1) / len(there)))
        return {bone: multiply(self.axes, multiply(turn, inverse(self.axes))) for bone, turn in found.items()}


def named(names: Sequence[str]) -> dict[str, int]:
    """Which node is which bone, by the names of the nodes; those that cannot be told are left out.

    >>> named(["mixamorig:Hips", "mixamorig:LeftUpLeg", "mixamorig:LeftLeg", "Armature|thigh.R"])
    {'hips': 0, 'leftUpperLeg': 1, 'rightUpperLeg': 3, 'leftLowerLeg': 2}
    """
    plain: dict[tuple[str, str], int] = {}
    for node, name in enumerate(names):
        plain.setdefault(_plain(name), node)
    found = {}
    for bone, spellings in _NAMES.items():
        sides = ("left", "right") if bone[0].isupper() else ("",)
        for side in sides:
            nodes = [plain[side, spelling] for spelling in spellings if (side, spelling) in plain]
            if nodes:
                found[f"{side}{bone}"] = nodes[0]
    return found


def _plain(name: str) -> tuple[str, str]:
    """The side and the bare name of a node: `mixamorig:LeftUpLeg` is left, upleg."""
    bare = name.strip()
    while (shorter := _PREFIX.sub("", bare)) != bare:
        bare = shorter
    side = ""
    if match := _SIDE.search(bare):
        side = "left" if (match["front"] or match["end"]).strip(" _.-").lower().startswith("l") else "right"
        bare = bare[: match.start()] + bare[match.end() :]
    return side, re.sub(r"[^a-z0-9]", "", bare.lower())


def _told(extensions: Mapping[str, Any]) -> dict[str, int]:
    """Which node a VRM says is which bone, in either version; none if it is no VRM."""
    if "VRMC_vrm" in extensions:
        bones = extensions["VRMC_vrm"]["humanoid"]["humanBones"]
        return {bone: int(one["node"]) for bone, one in bones.items() if bone in BONES}
    if "VRM" in extensions:
        bones = extensions["VRM"]["humanoid"]["humanBones"]
        return {one["bone"]: int(one["node"]) for one in bones if one["bone"] in BONES}
    return {}


def _rest(node: Mapping[str, Any]) -> tuple[Array, Array, Array]:
    """Translation, rotation w x y z and scale of a node."""
    if "matrix" in node:
        matrix = np.array(node["matrix"], np.float64).reshape(4, 4).T
        size = np.linalg.norm(matrix[:3, :3], axis=0)
        return matrix[:3, 3], quaternion(matrix[:3, :3] / size), size
    x, y, z, w = (float(v) for v in node.get("rotation", (0, 0, 0, 1)))
    turn = np.array([w, x, y, z])
    if not np.linalg.norm(turn) > 0:
        raise ValueError(f"the rotation of its node {node.get('name', '')!r} is none; export it again")
    move, size = (
        np.array(node.get(key, default), np.float64)
        for key, default in (("translation", (0, 0, 0)), ("scale", (1, 1, 1)))
    )
    return move, turn / np.linalg.norm(turn), size


def _sorted(count: int, above: Mapping[int, int]) -> list[int]:
    """The nodes, parents before children; ValueError if one is its own ancestor."""

    depth = dict.fromkeys(set(range(count)) - set(above), 0)
    for start in range(count):
        chain = [start]
        while chain[-1] not in depth:
            chain.append(above[chain[-1]])
            if len(chain) > count:
                raise ValueError("one of its nodes is its own ancestor; export it again")
        for node in reversed(chain[:-1]):
            depth[node] = depth[above[node]] + 1
    return sorted(range(count), key=lambda node: (depth[node], node))


def gltf(data: bytes) -> dict[str, Any]:
    """The glTF document in the bytes of a .glb, .vrm or .gltf file; ValueError if there is none."""
    if data[:4] == b"glTF":
        if len(data) < 20:
            raise ValueError("this GLB file ends in its header; fetch it again")
        version, size, length, kind = struct.unpack("<IIII", data[4:20])
        if version != 2 or kind != 0x4E4F534A or len(data) < size or 20 + length > len(data):
            raise ValueError(
                "this GLB file is cut short, or of another version than 2; fetch or export it again"
            )
        data = data[20 : 20 + length]
    try:
        document = parse_json(data)
    except ValueError as error:
        raise ValueError(f"this is neither GLB nor glTF ({str(error)[:60]})") from error
    if not isinstance(document, dict) or "asset" not in document:
        raise ValueError("this is neither GLB nor glTF: it has no asset")
    return document
