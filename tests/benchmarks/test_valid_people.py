"""VALID's people: the posture on a rig, the camera, and what is known and visible of their joints."""

from __future__ import annotations

from types import ModuleType

import numpy as np
import pytest
from tests.live.rigs import humanoid

from poseling.live.retarget import Retarget, Rig
from poseling.live.turns import rotate
from poseling.skeleton import SYNTH28
from poseling.synth.joint_limits import JOINTS


def posture(**degrees: tuple[float, float, float]) -> np.ndarray:
    rotations = np.zeros((20, 3))
    for joint, vector in degrees.items():
        rotations[JOINTS.index(joint)] = np.deg2rad(vector)
    return rotations


@pytest.mark.parametrize("seed", [None, 3])
def test_a_posture_on_a_rig_by_hand(valid_people: ModuleType, seed: int | None):
    """Bent at the waist and the chest by 90 degrees in all, the left forearm then forward, its hand turned
    back to the upper arm's direction; the right foot points down.
    """
    rig = Rig.of(humanoid(seed=seed))
    local = valid_people.worn(
        Retarget(rig),
        posture(waist=(40, 0, 0), chest=(50, 0, 0), left_elbow=(0, -90, 0), left_wrist=(0, 90, 0), right_ankle=(60, 0, 0)),
    )  # fmt: skip
    places, turns = rig.places(local)
    rest = rig.places()[1]
    at = {bone: places[node] for bone, node in rig.bones.items()}

    def turned(bone: str, way: tuple[float, float, float]) -> np.ndarray:
        """Where a direction that a bone has at rest points."""
        node = rig.bones[bone]
        back = rest[node] * [1, -1, -1, -1]
        return rotate(turns[node], rotate(back, np.array(way, float)))

    assert at["leftLowerArm"] - at["leftUpperArm"] == pytest.approx([0.28, 0, 0], abs=1e-9)
    # What is to the front of a body that is bent by 90 degrees is down.
    assert at["leftHand"] - at["leftLowerArm"] == pytest.approx([0, -0.25, 0], abs=1e-9)
    assert turned("leftHand", (1, 0, 0)) == pytest.approx([1, 0, 0], abs=1e-9)
    assert turned("rightFoot", (0, 0, 1)) == pytest.approx(
        [0, -np.sin(np.pi / 3), np.cos(np.pi / 3)], abs=1e-9
    )


def test_the_camera_holds_whole_people_in_the_picture(valid_people: ModuleType):
    random = np.random.default_rng(0)
    points = random.normal(0, 0.4, (11, 3))
    whole, aside = 0, 0
    for _ in range(200):
        rotation, shift, lens = valid_people.camera(points, random)
        assert rotation @ rotation.T == pytest.approx(np.eye(3), abs=1e-9)
        assert np.linalg.det(rotation) == pytest.approx(1)
        seen = points @ rotation.T + shift
        assert seen[:, 2].min() > 0.3
        xy = seen[:, :2] / seen[:, 2:] * lens[:2] + lens[2:]
        whole += bool((xy > -0.5).all() and (xy < valid_people.SIZE - 0.5).all())
        aside += bool(np.abs(lens[2:] - valid_people.SIZE / 2).max() > valid_people.SIZE / 2)
    assert whole > 160
    assert 10 < aside < 100


def test_joints_are_the_means_of_bones_and_hidden_by_what_is_nearer(valid_people: ModuleType):
    """A camera at the origin, axes as the model's, 100 pixels a unit at one metre."""
    nodes = {node for each in valid_people.NODES.values() for node in each}
    places = dict.fromkeys(nodes, np.array([0.0, 0, 2]))
    places |= {"LeftUpLeg": np.array([0.2, 0.4, 2]), "RightUpLeg": np.array([-0.4, 0.4, 2])}
    places |= {"LeftHand": np.array([0.0, 3.0, 2])}
    depth = np.full((valid_people.SIZE, valid_people.SIZE), 1.9, np.float32)
    depth[:, :120] = 1.2  # something stands before the right half of the body
    truth = valid_people.seen(places, np.eye(3), np.zeros(3), np.array([100.0, 100, 128, 128]), depth)
    at = {joint: k for k, joint in enumerate(SYNTH28.joints)}
    assert truth["xyz"][at["pelvis"]] == pytest.approx([-0.1, 0.4, 2])
    assert truth["joints"][at["left_hip"]] == pytest.approx([138, 148])
    assert truth["visible"][[at["left_hip"], at["right_hip"], at["left_wrist"]]].tolist() == [2, 1, 0]
    unknown = ["nose", "left_ear", "right_ear", "thorax", "spine", "left_heel", "right_heel"]
    assert np.flatnonzero(~truth["xyz"].any(-1)).tolist() == sorted(at[joint] for joint in unknown)
    assert not truth["visible"][[at[joint] for joint in unknown]].any()


def test_a_picture_in_front_of_another(valid_people: ModuleType):
    painted = np.zeros((2, 2, 4), np.float32)
    painted[0, 0] = 1, 0, 0, 0.25
    got = valid_people.over(painted, np.full((2, 2, 3), 0.4, np.float32))
    assert got[0, 0] == pytest.approx([0.55, 0.3, 0.3])
    assert got[1, 1] == pytest.approx([0.4, 0.4, 0.4])


def test_a_film_has_no_frame_left_out(valid_people: ModuleType, monkeypatch: pytest.MonkeyPatch):
    """120 frames in a row of a clip that jumps in its middle, all of the person in view of one camera."""
    clip = np.zeros((400, 20, 3))
    clip[:, JOINTS.index("left_shoulder"), 2] = 0.6 * np.sin(np.arange(400) / 8)
    clip[200:, JOINTS.index("right_knee"), 0] = 1.0
    rigs = {"a.glb": Retarget(Rig.of(humanoid()))}
    rig = rigs["a.glb"].rig
    ends = tuple(rig.names[node] for node in rig.bones.values())
    monkeypatch.setattr(valid_people, "ENDS", ends)  # those of VALID's rigs are not in this one
    monkeypatch.setattr(valid_people, "light", lambda *_: {})
    for film in range(5):
        scene = valid_people.staged(film, {"001_01": clip}, rigs, 16)
        first = int(scene.title.split("-")[1])
        assert scene.bones.shape == (valid_people.FRAMES, len(rig.names), 4)
        assert first + valid_people.FRAMES <= 200 or first >= 200
        rotation, shift, lens = scene.view
        for local in scene.bones[::20]:
            places = dict(zip(rig.names, rig.places(local)[0], strict=True))
            seen = np.stack([places[name] for name in ends]) @ rotation.T + shift
            xy = seen[:, :2] / seen[:, 2:] * lens[:2] + lens[2:]
            assert (seen[:, 2] > 0).all()
            assert xy.min() > -0.25 * valid_people.SIZE
            assert xy.max() < 1.25 * valid_people.SIZE
