"""Turns on rigs: by where the bones end up, which is worked out from the body and from nothing of the rig's
own axes.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from tests.live.rigs import PLACES, glb, humanoid

from poseling.geometry import quaternion, rotation_matrix
from poseling.live.retarget import BONES, Retarget, Rig, gltf, named
from poseling.live.turns import mirrored, multiply, part, rotate, upright, whole
from poseling.runtime.kinematics import JOINTS

REST = np.tile([1.0, 0, 0, 0], (len(JOINTS), 1))
KINDS = [("mixamo", 0, 1), ("mixamo", 45, 2), ("vrm1", 30, None), ("vrm0", 45, 3), ("vrm0", 0, None)]


def turned(**turns: tuple[float, float, float]) -> np.ndarray:
    """The rest pose with some joints turned by rotation vectors in degrees."""
    out = REST.copy()
    for joint, vector in turns.items():
        out[JOINTS.index(joint)] = quaternion(rotation_matrix(np.deg2rad(vector)))
    return out


def directions(rig: Rig, rotations: np.ndarray) -> dict[str, np.ndarray]:
    """Where the limbs' bones point, in the rig's axes."""
    target = Retarget(rig)
    places, _ = rig.places(target.turns(rotations))
    found = {}
    for side in ("left", "right"):
        for bone, end in (
            ("UpperArm", "LowerArm"),
            ("LowerArm", "Hand"),
            ("UpperLeg", "LowerLeg"),
            ("LowerLeg", "Foot"),
        ):
            way = places[rig.bones[side + end]] - places[rig.bones[side + bone]]
            found[side + bone] = way / np.linalg.norm(way)
    return found


@pytest.mark.parametrize(("kind", "arms", "seed"), KINDS)
def test_a_body_at_rest_puts_every_rig_into_a_t(kind: str, arms: float, seed: int | None):
    found = directions(Rig.of(humanoid(kind, arms, seed)), REST)
    front = -1.0 if kind == "vrm0" else 1.0  # VRM 0 looks along -z, so its left is -x
    for side, sign in (("left", front), ("right", -front)):
        for bone in ("UpperArm", "LowerArm"):
            assert found[side + bone] == pytest.approx([sign, 0, 0], abs=1e-9)
        for bone in ("UpperLeg", "LowerLeg"):
            assert found[side + bone] == pytest.approx([0, -1, 0], abs=1e-9)


@pytest.mark.parametrize(("kind", "arms", "seed"), KINDS)
def test_a_bent_elbow_and_a_raised_thigh_are_the_same_on_every_rig(kind: str, arms: float, seed: int | None):
    # The left forearm bends 90 degrees to the front, the right thigh is raised by 60 degrees to the front,
    # and its shin bent back by 90.
    body = turned(left_elbow=(0, -90, 0), right_hip=(-60, 0, 0), right_knee=(90, 0, 0))
    found = directions(Rig.of(humanoid(kind, arms, seed)), body)
    front = np.array([-1, 1, -1]) if kind == "vrm0" else np.ones(3)
    assert found["leftUpperArm"] == pytest.approx(front * [1, 0, 0], abs=1e-9)
    assert found["leftLowerArm"] == pytest.approx(front * [0, 0, 1], abs=1e-9)
    assert found["rightUpperLeg"] == pytest.approx(
        front * [0, -np.cos(np.pi / 3), np.sin(np.pi / 3)], abs=1e-9
    )
    assert found["rightLowerLeg"] == pytest.approx(
        front * [0, -np.cos(np.pi / 6), -np.sin(np.pi / 6)], abs=1e-9
    )


def test_bones_keep_their_lengths_whatever_the_turns():
    rig = Rig.of(humanoid("mixamo", 45, 4))
    rng = np.random.default_rng(0)
    body = quaternion(rotation_matrix(rng.normal(0, 1, (len(JOINTS), 3))))
    for before, after in zip(
        *(lengths(rig, turns) for turns in (rig.rotations, Retarget(rig).turns(body))), strict=True
    ):
        assert after == pytest.approx(before)


def lengths(rig: Rig, rotations: np.ndarray) -> list[float]:
    places, _ = rig.places(rotations)
    return [float(np.linalg.norm(places[i] - places[p])) for i, p in enumerate(rig.parents) if p >= 0]


def test_the_spine_shares_its_turn_and_the_head_takes_all_of_it():
    rig = Rig.of(humanoid("mixamo", 0))
    _, world = rig.places(Retarget(rig).turns(turned(spine=(40, 0, 0), neck=(20, 0, 0))))
    angles = {
        bone: np.rad2deg(2 * np.arccos(abs(world[rig.bones[bone]][0])))
        for bone in ("hips", "spine", "chest", "neck", "head")
    }
    assert angles == pytest.approx({"hips": 0, "spine": 20, "chest": 40, "neck": 50, "head": 60}, abs=1e-6)


def test_a_half_turn_of_the_pelvis_turns_all_of_it():
    rig = Rig.of(humanoid("vrm0", 0))
    found = directions(rig, turned(pelvis=(0, 180, 0)))
    assert found["leftUpperArm"] == pytest.approx([1, 0, 0], abs=1e-9)


@pytest.mark.parametrize(
    ("names", "bones"),
    [
        (
            "mixamorig:Hips mixamorig:LeftUpLeg mixamorig:LeftLeg mixamorig:LeftFoot",
            "hips leftUpperLeg leftLowerLeg leftFoot",
        ),
        (
            "CC_Base_Hip CC_Base_L_Thigh CC_Base_L_Calf CC_Base_L_Upperarm",
            "hips leftUpperLeg leftLowerLeg leftUpperArm",
        ),
        (
            "pelvis thigh_l calf_l upperarm_r lowerarm_r hand_r",
            "hips leftUpperLeg leftLowerLeg rightUpperArm rightLowerArm rightHand",
        ),
        ("J_Bip_C_Hips J_Bip_L_UpperLeg", "leftUpperLeg"),  # C is no side, and Hips has none
        (
            "Armature|thigh.L shin.L upper_arm.R forearm.R",
            "leftUpperLeg leftLowerLeg rightUpperArm rightLowerArm",
        ),
        ("Bip01 L Thigh|Bip01 R Forearm|Bip001 Spine1", "leftUpperLeg rightLowerArm chest"),
        ("armchair legend Handle", ""),
    ],
)
def test_bones_are_known_by_their_names(names: str, bones: str):
    given = names.split("|") if "Bip01" in names else names.split()
    found = named(given)
    assert set(bones.split()) <= set(found) if "J_Bip" in names else set(found) == set(bones.split())


@pytest.mark.shared
@pytest.mark.parametrize("name", ["Asian_F_2_Casual", "Black_F_1_Busi", "White_M_1_Casual"])
def test_the_avatars_of_valid_stand_in_a_t(shared: Path, name: str):
    rig = Rig.read(shared / "data" / "avatars" / f"{name}.glb")
    assert set(rig.bones) == set(BONES)
    places, _ = rig.places(Retarget(rig).turns(REST))
    at = {bone: places[node] for bone, node in rig.bones.items()}
    assert at["leftHand"][1] == pytest.approx(at["leftUpperArm"][1], abs=1e-6)
    assert at["leftHand"][0] - at["rightHand"][0] > 1.2  # metres, of adults with open arms
    assert at["head"][1] > at["hips"][1] + 0.4


def test_what_is_no_humanoid_says_what_it_lacks(tmp_path: Path):
    document = humanoid()
    for node in document["nodes"]:
        node["name"] = node["name"].replace("LeftArm", "Tentacle")
    with pytest.raises(ValueError, match="no humanoid: no node is its leftUpperArm"):
        Rig.of(document)
    file = tmp_path / "chair.glb"
    file.write_bytes(glb({"asset": {"version": "2.0"}, "nodes": [{"name": "chair"}]}))
    with pytest.raises(ValueError, match=r"chair\.glb: this is no humanoid: no node is its hips, .*Mixamo"):
        Rig.read(file)


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "neither GLB nor glTF"),
        (b"glTF", "ends in its header"),
        (glb(humanoid())[:400], "cut short"),
        (b"[1, 2]", "has no asset"),
        (b"[" * 100_000, "neither GLB nor glTF"),
        (b"\x89PNG\r\n", "neither GLB nor glTF"),
    ],
)
def test_damaged_files_are_told(data: bytes, why: str):
    with pytest.raises(ValueError, match=why):
        gltf(data)


def test_damaged_nodes_are_told():
    loop = humanoid()
    loop["nodes"][3]["children"] = [0]
    with pytest.raises(ValueError, match="own ancestor"):
        Rig.of(loop)
    still = humanoid()
    still["nodes"][2]["rotation"] = [0, 0, 0, 0]
    with pytest.raises(ValueError, match="rotation"):
        Rig.of(still)
    with pytest.raises(ValueError, match="damaged"):
        Rig.of({"asset": {}, "nodes": ["hips"]})
    with pytest.raises(ValueError, match="has 10001 nodes, and a rig has at most 10000"):
        Rig.of({"asset": {}, "nodes": [{}] * 10_001})
    for key, value, why in (
        ("translation", [float("nan"), 0, 0], "is not of numbers"),
        ("translation", [1, 2], "is not of numbers"),
        ("translation", [10**400, 0, 0], "damaged"),
        ("scale", [1e5, 1e5, 1e5], "is at no place"),
    ):
        odd = humanoid()
        for node in odd["nodes"]:
            node[key] = value
        with pytest.raises(ValueError, match=why):
            Rig.of(odd)


def test_a_long_chain_of_nodes_is_sorted():
    document = humanoid()
    first = len(document["nodes"])
    count = 9_000  # hair, whose nodes are listed from its end to its root
    chain = [
        {"name": f"hair {i}", "children": [first + i - 1]} if i else {"name": "end"} for i in range(count)
    ]
    rig = Rig.of({**document, "nodes": [*document["nodes"], *chain]})
    assert all(parent < i for i, parent in enumerate(rig.parents))
    assert len(rig.names) == first + count


def test_a_mirror_undoes_itself_and_swaps_the_sides():
    body = turned(left_elbow=(0, -70, 0), spine=(10, 20, 30))
    once = mirrored(body)
    assert mirrored(once) == pytest.approx(body)
    # The left elbow bends about -y, the right one about y.
    assert once[JOINTS.index("right_elbow")] == pytest.approx(
        turned(right_elbow=(0, 70, 0))[JOINTS.index("right_elbow")]
    )


def test_who_faces_the_camera_upright_has_the_identity():
    rotations = REST.copy()
    rotations[0] = [0, 1, 0, 0]  # half a turn about x leads from y up and z to the front to a camera's axes
    assert upright(rotations)[0] == pytest.approx([1, 0, 0, 0])


def test_turns_are_chained_down_the_body():
    body = turned(spine=(0, 30, 0), left_collar=(0, 20, 0), left_shoulder=(0, 10, 0))
    world = whole(body)
    assert rotate(world[JOINTS.index("left_shoulder")], np.array([1.0, 0, 0])) == pytest.approx(
        [0.5, 0, -np.sin(np.pi / 3)]
    )
    third = part(world[JOINTS.index("left_shoulder")], 1 / 3)
    assert multiply(third, multiply(third, third)) == pytest.approx(world[JOINTS.index("left_shoulder")])


def test_the_test_rigs_are_what_they_say():
    places, _ = Rig.of(humanoid("mixamo", 45, 5)).places()
    rig = Rig.of(humanoid("mixamo", 45, 5))
    arm = places[rig.bones["leftLowerArm"]] - places[rig.bones["leftUpperArm"]]
    assert arm / np.linalg.norm(arm) == pytest.approx([np.sqrt(0.5), -np.sqrt(0.5), 0])
    assert places[rig.bones["hips"]] == pytest.approx(PLACES["hips"][1])
