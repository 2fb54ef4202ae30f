"""Rigs for tests: small glTF documents of a humanoid, as different tools write them."""

from __future__ import annotations

import json
import struct
from typing import Any

import numpy as np

from poseling.geometry import quaternion, rotation_matrix

# Where the bones of a T-pose are in metres: left side and middle, x to the left, y up, z to the front.
PLACES = {
    "hips": ("", (0, 1.0, 0)),
    "spine": ("hips", (0, 1.1, 0)),
    "chest": ("spine", (0, 1.25, 0)),
    "neck": ("chest", (0, 1.5, 0)),
    "head": ("neck", (0, 1.6, 0.02)),
    "leftShoulder": ("chest", (0.05, 1.45, 0)),
    "leftUpperArm": ("leftShoulder", (0.18, 1.45, 0)),
    "leftLowerArm": ("leftUpperArm", (0.46, 1.45, 0)),
    "leftHand": ("leftLowerArm", (0.71, 1.45, 0)),
    "leftUpperLeg": ("hips", (0.09, 0.95, 0)),
    "leftLowerLeg": ("leftUpperLeg", (0.09, 0.5, 0.01)),
    "leftFoot": ("leftLowerLeg", (0.09, 0.08, 0)),
}
MIXAMO = {
    "hips": "Hips", "spine": "Spine", "chest": "Spine1", "neck": "Neck", "head": "Head", "Shoulder": "Shoulder", "UpperArm": "Arm",
    "LowerArm": "ForeArm", "Hand": "Hand", "UpperLeg": "UpLeg", "LowerLeg": "Leg", "Foot": "Foot",
}  # fmt: skip


def humanoid(kind: str = "mixamo", arms: float = 0.0, seed: int | None = None) -> dict[str, Any]:
    """A glTF document of a rig: `kind` is mixamo (bones told by names), vrm1, or vrm0, which looks along -z.

    `arms` is by how many degrees they hang down (an A-pose has 45), and `seed` turns the nodes' own axes at
    random, as exporters do.
    """
    places = {}
    for bone, (parent, place) in PLACES.items():
        places[bone] = parent, np.array(place, float)
        if bone.startswith("left"):
            above = parent.replace("left", "right")
            places[bone.replace("left", "right")] = above, np.array(place) * [-1, 1, 1]
    down = np.deg2rad(arms)
    for side, sign in (("left", 1), ("right", -1)):
        start = places[f"{side}UpperArm"][1]
        for bone in ("LowerArm", "Hand"):
            parent, place = places[f"{side}{bone}"]
            turn = rotation_matrix(np.array([0, 0, -sign * down]))
            places[f"{side}{bone}"] = parent, start + turn @ (place - start)
    if kind == "vrm0":
        places = {bone: (parent, place * [-1, 1, -1]) for bone, (parent, place) in places.items()}
    rng = np.random.default_rng(seed)
    axes = {bone: rotation_matrix(rng.normal(0, 1, 3)) if seed is not None else np.eye(3) for bone in places}
    bones = list(places)
    nodes: list[dict[str, Any]] = []
    for bone in bones:
        parent, place = places[bone]
        above, origin = (axes[parent], places[parent][1]) if parent else (np.eye(3), np.zeros(3))
        w, x, y, z = quaternion(above.T @ axes[bone]).tolist()
        children = [bones.index(other) for other in bones if places[other][0] == bone]
        node = {
            "name": _name(bone, kind),
            "translation": (above.T @ (place - origin)).tolist(),
            "rotation": [x, y, z, w],
        }
        nodes.append(node | ({"children": children} if children else {}))
    document: dict[str, Any] = {
        "asset": {"version": "2.0"},
        "scene": 0,
        "scenes": [{"nodes": [0]}],
        "nodes": nodes,
    }
    if kind == "vrm1":
        told: Any = {bone: {"node": i} for i, bone in enumerate(bones)}
        document["extensions"] = {"VRMC_vrm": {"specVersion": "1.0", "humanoid": {"humanBones": told}}}
    if kind == "vrm0":
        told = [{"bone": bone, "node": i} for i, bone in enumerate(bones)]
        document["extensions"] = {"VRM": {"humanoid": {"humanBones": told}}}
    return document


def _name(bone: str, kind: str) -> str:
    if kind != "mixamo":
        return f"node of {bone}"
    side = "Left" if bone.startswith("left") else "Right" if bone.startswith("right") else ""
    return f"mixamorig:{side}{MIXAMO[bone[len(side) :]]}"


def glb(document: dict[str, Any]) -> bytes:
    """The document as a GLB file without a binary chunk."""
    text = json.dumps(document).encode()
    text += b" " * (-len(text) % 4)
    return b"glTF" + struct.pack("<IIII", 2, 20 + len(text), len(text), 0x4E4F534A) + text
