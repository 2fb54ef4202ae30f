import threading
import time
from pathlib import Path

import numpy as np
import pytest

from poseling.geometry import rotation_matrix
from poseling.skeleton import SYNTH28
from poseling.synth.bodies import PARTS, STATURE, Bodies, _between, _first_time_alone, _half_twist
from poseling.synth.joint_limits import JOINTS
from poseling.synth.prior import Prior

at = SYNTH28.index


@pytest.fixture(scope="module")
def bodies() -> Bodies:
    pytest.importorskip("anny")
    return Bodies()


@pytest.fixture(scope="module")
def body(bodies: Bodies):
    return bodies.sample(np.random.default_rng(3))


def test_zero_is_the_t_pose(bodies: Bodies, body):
    joints = bodies.pose(body, np.zeros((20, 3))).joints
    for side, sign in (("left", 1), ("right", -1)):
        arm = joints[at(f"{side}_wrist")] - joints[at(f"{side}_shoulder")]
        np.testing.assert_allclose(arm / np.linalg.norm(arm), [sign, 0, 0], atol=1e-9)
        leg = joints[at(f"{side}_ankle")] - joints[at(f"{side}_hip")]
        np.testing.assert_allclose(leg / np.linalg.norm(leg), [0, -1, 0], atol=1e-9)
        assert joints[at(f"{side}_foot_index")][2] > joints[at(f"{side}_heel")][2] + 0.1, (
            "feet point to the front"
        )
    assert joints[at("nose")][2] > joints[at("head_top")][2], "the face looks to the front"
    np.testing.assert_allclose(joints[at("pelvis")], 0, atol=1e-12)


@pytest.mark.parametrize(
    ("joint", "turn", "moved", "to"),
    [
        (
            "left_elbow",
            [0, -np.pi / 2, 0],
            ("left_wrist", "left_elbow"),
            [0, 0, 1],
        ),  # the forearm comes to the front
        ("right_elbow", [0, np.pi / 2, 0], ("right_wrist", "right_elbow"), [0, 0, 1]),
        ("left_knee", [np.pi / 2, 0, 0], ("left_ankle", "left_knee"), [0, 0, -1]),  # the shin goes back
        ("right_hip", [-np.pi / 2, 0, 0], ("right_knee", "right_hip"), [0, 0, 1]),  # the thigh comes up
        ("left_shoulder", [0, 0, -np.pi / 2], ("left_wrist", "left_shoulder"), [0, -1, 0]),  # the arm hangs
    ],
)
def test_a_turn_of_one_joint_moves_what_hangs_on_it(
    bodies: Bodies, body, joint: str, turn: list[float], moved: tuple[str, str], to: list[float]
):
    rotations = np.zeros((20, 3))
    rotations[JOINTS.index(joint)] = turn
    joints = bodies.pose(body, rotations).joints
    way = joints[at(moved[0])] - joints[at(moved[1])]
    np.testing.assert_allclose(way / np.linalg.norm(way), to, atol=1e-9)


def test_bones_keep_their_length_in_every_pose(bodies: Bodies, body):
    rest, prior, random = bodies.pose(body, np.zeros((20, 3))).joints, Prior.load(), np.random.default_rng(0)
    rigid = [
        (f"{s}_{a}", f"{s}_{b}")
        for s in ("left", "right")
        for a, b in (("shoulder", "elbow"), ("elbow", "wrist"), ("hip", "knee"), ("knee", "ankle"))
    ]
    for _ in range(20):
        joints = bodies.pose(body, prior.sample(random, "train")[0]).joints
        for a, b in rigid:
            length, was = (float(np.linalg.norm(j[at(a)] - j[at(b)])) for j in (joints, rest))
            assert length == pytest.approx(was, abs=1e-9), f"{a} to {b}"


def test_the_surface_goes_with_the_joints(bodies: Bodies, body):
    # Whole-body turn: every vertex turns with the pelvis, which stays where it is.
    turn = np.zeros((20, 3))
    turn[0] = [0.3, 0, 0.9]
    rows = np.arange(len(body.vertices))
    still, turned = (bodies.pose(body, r).vertices(body.vertices, rows) for r in (np.zeros((20, 3)), turn))
    np.testing.assert_allclose(turned, still @ rotation_matrix(turn[0]).T, atol=1e-5)


def test_joints_lie_inside_the_part_they_belong_to(bodies: Bodies, body):
    posed = bodies.pose(body, np.zeros((20, 3)))
    vertices = posed.vertices(body.vertices, np.arange(len(body.vertices)))
    for joint, part in (
        ("left_elbow", "left_forearm"),
        ("right_knee", "right_shin"),
        ("left_ankle", "left_foot"),
        ("right_wrist", "right_hand"),
        ("nose", "head"),
    ):
        near = vertices[bodies.part == PARTS.index(part)]
        assert np.linalg.norm(near - posed.joints[at(joint)], axis=1).min() < 0.08, joint


def test_bodies_are_adults_of_all_builds(bodies: Bodies):
    random = np.random.default_rng(0)
    dataset = [bodies.sample(random) for _ in range(60)]
    for sex, female in (("male", False), ("female", True)):
        statures = [p.stature for p in dataset if p.female is female]
        mean, spread = STATURE[sex]
        assert len(statures) > 15
        assert np.mean(statures) == pytest.approx(mean, abs=3 * spread / np.sqrt(len(statures)) + 0.02)
        assert min(statures) > 1.4, "no children"
    girths = [np.ptp(p.vertices[bodies.part == PARTS.index("torso")][:, 2]) for p in dataset]
    assert max(girths) > 1.25 * min(girths)


def test_normals_point_out(bodies: Bodies, body):
    np.testing.assert_allclose(np.linalg.norm(body.normals, axis=1), 1, atol=1e-6)
    torso = bodies.part == PARTS.index("torso")
    middle = body.vertices[torso].mean(0)
    assert (((body.vertices - middle) * body.normals)[torso].sum(1) > 0).mean() > 0.9


def test_every_vertex_hangs_on_bones(bodies: Bodies):
    np.testing.assert_allclose(bodies.weights.sum(1), 1)
    assert (bodies.weights >= 0).all()


def test_between_turns_one_direction_to_the_other():
    random = np.random.default_rng(1)
    for _ in range(20):
        a, b = random.normal(size=(2, 3))
        turned = _between(a, b) @ (a / np.linalg.norm(a))
        np.testing.assert_allclose(turned, b / np.linalg.norm(b), atol=1e-12)
    np.testing.assert_allclose(_between(np.array([1.0, 0, 0]), np.array([2.0, 0, 0])), np.eye(3), atol=1e-12)


def test_half_of_a_twist():
    np.testing.assert_allclose(
        _half_twist(np.array([0.8, 0, 0])), rotation_matrix(np.array([0.4, 0, 0])), atol=1e-12
    )
    np.testing.assert_allclose(
        _half_twist(np.array([0, 0.5, 0])), np.eye(3), atol=1e-12
    )  # a bend is no twist


def test_only_the_first_time_is_alone(tmp_path: Path):
    marker, order = tmp_path / "cache" / "built-1.0", []
    with pytest.raises(ValueError, match="no luck"), _first_time_alone(marker):
        raise ValueError("no luck")
    assert not marker.exists(), "what failed is tried again"

    def build(name: str) -> None:
        with _first_time_alone(marker):
            order.append(f"{name} begins")
            time.sleep(0.05)
            order.append(f"{name} ends")

    builders = [threading.Thread(target=build, args=(name,)) for name in "ab"]
    for builder in builders:
        builder.start()
    for builder in builders:
        builder.join()
    assert [entry[2:] for entry in order] == ["begins", "ends", "begins", "ends"]
    assert marker.exists()
