"""Poses: the mixture, rotations to turns and back, the limits, and that drawn poses are possible."""

from __future__ import annotations

from importlib import resources

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.spatial.transform import Rotation

from poseling.geometry import rotation_matrix, rotation_vector
from poseling.synth.collisions import OFFSETS, collides, figure
from poseling.synth.joint_limits import JOINTS, LIMITS, PARENTS, clamp, mirrored
from poseling.synth.prior import SPLITS, Prior

POSTURES = arrays(np.float64, (20, 3), elements=st.floats(-4, 4))


@pytest.fixture(scope="module")
def prior() -> Prior:
    return Prior.load()


@pytest.fixture(scope="module")
def drawn(prior: Prior) -> np.ndarray:
    """(500, 20, 3)"""
    random = np.random.default_rng(1)
    return np.stack([prior.sample(random, "train")[0] for _ in range(500)])


def posture(**degrees: tuple[float, float, float]) -> np.ndarray:
    """The T-pose but for these joints' rotation vectors."""
    rotations = np.zeros((20, 3))
    for joint, vector in degrees.items():
        rotations[JOINTS.index(joint)] = np.deg2rad(vector)
    return rotations


def same(a: np.ndarray, b: np.ndarray, atol: float = 1e-9) -> None:
    """As rotations: half a turn about x is half a turn about -x."""
    np.testing.assert_allclose(rotation_matrix(a), rotation_matrix(b), atol=atol)


@given(arrays(np.float64, (5, 3), elements=st.floats(-7, 7)))
def test_matrices_are_scipys(vectors):
    np.testing.assert_allclose(
        rotation_matrix(vectors), Rotation.from_rotvec(vectors).as_matrix(), atol=1e-12
    )


@given(arrays(np.float64, (5, 3), elements=st.floats(-1.8, 1.8)))
def test_vectors_come_back(vectors):
    """All of them are below half a turn."""
    np.testing.assert_allclose(rotation_vector(rotation_matrix(vectors)), vectors, atol=1e-9)


@pytest.mark.parametrize("angle", [0.0, 1e-9, np.pi - 1e-9, np.pi])
@pytest.mark.parametrize("axis", [(1, 0, 0), (0, -1, 0), (0, 0, 1), (0.6, 0, -0.8), (-2 / 3, 1 / 3, 2 / 3)])
def test_vectors_near_nothing_and_near_half_a_turn(axis, angle):
    vector = angle * np.array(axis)
    found = rotation_vector(rotation_matrix(vector))
    same(found, vector, 1e-12)
    assert np.linalg.norm(found) == pytest.approx(angle, abs=1e-12)


def test_the_joints_are_the_shared_definition():
    assert len(JOINTS) == len(PARENTS) == 20
    assert JOINTS[:8] == ("pelvis", "waist", "spine", "chest", "neck", "head", "left_collar", "left_shoulder")
    assert JOINTS[13:] == (
        "right_wrist",
        "left_hip",
        "left_knee",
        "left_ankle",
        "right_hip",
        "right_knee",
        "right_ankle",
    )
    above = {joint: JOINTS[parent] for joint, parent in zip(JOINTS[1:], PARENTS[1:], strict=True)}
    assert above["waist"] == "pelvis"
    assert above["neck"] == above["left_collar"] == above["right_collar"] == "chest"
    assert above["left_hip"] == above["right_hip"] == "pelvis"
    assert [above[f"right_{j}"] for j in ("shoulder", "elbow", "wrist", "knee", "ankle")] == [
        f"right_{j}" for j in ("collar", "shoulder", "elbow", "hip", "knee")
    ]


def test_the_figure_by_hand():
    """Arms up at the sides, a left forearm forward, a right thigh forward and its calf down."""
    joints, ends = figure(
        posture(
            left_shoulder=(0, 0, 90), right_elbow=(0, 90, 0), right_hip=(-90, 0, 0), right_knee=(90, 0, 0)
        )
    )
    at = {name: joints[i] for i, name in enumerate(JOINTS)}
    np.testing.assert_allclose(at["left_wrist"] - at["left_shoulder"], [0, 0.55, 0], atol=1e-12)
    np.testing.assert_allclose(ends[1] - at["left_wrist"], [0, 0.17, 0], atol=1e-12)
    np.testing.assert_allclose(at["right_wrist"] - at["right_elbow"], [0, 0, 0.26], atol=1e-12)
    np.testing.assert_allclose(at["right_knee"], [-0.09, -0.03, 0.43], atol=1e-12)
    np.testing.assert_allclose(at["right_ankle"], [-0.09, -0.46, 0.43], atol=1e-12)
    np.testing.assert_allclose(at["left_ankle"], [0.09, -0.89, 0], atol=1e-12)


@given(POSTURES)
def test_the_figures_bones_keep_their_lengths_and_its_mirror_image_is_mirrored(rotations):
    joints, ends = figure(rotations)
    lengths = np.linalg.norm(joints[1:] - joints[list(PARENTS[1:])], axis=-1)
    np.testing.assert_allclose(lengths, np.linalg.norm(OFFSETS[1:], axis=-1), atol=1e-9)
    other_joints, other_ends = figure(mirrored(rotations))
    swap = [
        JOINTS.index(j.replace("left", "L").replace("right", "left").replace("L", "right")) for j in JOINTS
    ]
    np.testing.assert_allclose(other_joints, joints[swap] * [-1, 1, 1], atol=1e-9)
    np.testing.assert_allclose(other_ends, ends[[0, 2, 1, 4, 3]] * [-1, 1, 1], atol=1e-9)


@given(POSTURES)
def test_clamp_is_idempotent_and_symmetrical(rotations):
    once = clamp(rotations)
    same(clamp(once), once)
    same(clamp(mirrored(rotations)), mirrored(once))
    assert (np.linalg.norm(once, axis=-1) <= np.pi + 1e-9).all()


@given(st.integers(0, 2**32 - 1), st.floats(0, 0.99))
def test_clamp_leaves_what_is_within_the_limits(seed, share):
    """Hinges anywhere in their range, every other joint's bone untwisted within its ellipse: built without
    the code under test.
    """
    random = np.random.default_rng(seed)
    rotations = np.zeros((20, 3))
    for i, joint in enumerate(JOINTS):
        part, sign = joint.split("_")[-1], np.array([1, -1, -1]) if joint.startswith("right") else np.ones(3)
        limit = LIMITS[part]
        if part == "shoulder":
            continue
        turn = random.uniform(0, 2 * np.pi)
        low, high = np.deg2rad([limit.x, limit.y, limit.z]).T
        vector = np.zeros(3)
        first, second = (axis for axis in range(3) if "xyz"[axis] != limit.bone)
        vector[first], vector[second] = share * np.cos(turn), share * np.sin(turn)
        rotations[i] = np.where(vector > 0, vector * high, -vector * low) * sign
    same(clamp(rotations), rotations)


@pytest.mark.parametrize(
    ("given_", "wanted"),
    [
        ({"left_knee": (-30, 0, 0)}, {}),  # knees do not bend forwards
        ({"right_knee": (170, 0, 0)}, {"right_knee": (150, 0, 0)}),
        ({"left_elbow": (0, 40, 0)}, {}),  # nor elbows backwards
        ({"left_elbow": (0, -170, 0)}, {"left_elbow": (0, -150, 0)}),
        ({"right_elbow": (0, 170, 0)}, {"right_elbow": (0, 150, 0)}),
        ({"right_elbow": (0, -40, 0)}, {}),
        ({"head": (0, 120, 0)}, {"head": (0, 40, 0)}),
        ({"left_hip": (-140, 0, 0)}, {"left_hip": (-125, 0, 0)}),
        ({"right_hip": (0, 0, -90)}, {"right_hip": (0, 0, -65)}),  # a right leg goes out to -z
        ({"left_shoulder": (0, 0, -80)}, {"left_shoulder": (0, 0, -80)}),  # an arm that hangs
        ({"right_shoulder": (0, 0, -80)}, {"right_shoulder": (0, 0, -80)}),  # an arm that is raised
        ({"pelvis": (0, 50, 0)}, {}),  # a heading is not the posture's
        ({"pelvis": (0, 0, 170)}, {"pelvis": (0, 0, 170)}),
    ],
)
def test_limits_by_hand(given_, wanted):
    same(clamp(posture(**given_)), posture(**wanted))


def test_arms_do_not_go_through_the_back():
    """Level and 60 degrees behind the side is out of a shoulder's reach, which ends at about 45 to 50."""
    joints, _ = figure(clamp(posture(left_shoulder=(0, 60, 0))))
    x, y, z = (joints[JOINTS.index("left_elbow")] - joints[JOINTS.index("left_shoulder")]) / 0.29
    assert 45 < np.rad2deg(np.arctan2(-z, x)) < 50
    assert abs(y) < 0.06


def test_collisions_by_hand():
    assert not collides(posture())
    assert not collides(posture(left_shoulder=(0, 0, -80), right_shoulder=(0, 0, 80)))  # standing
    assert collides(posture(left_shoulder=(0, 0, -115)))  # an arm through the belly
    assert collides(posture(left_hip=(0, 0, -25), right_hip=(0, 0, 25)))  # legs through one another
    assert collides(posture(left_shoulder=(0, 0, 70), left_elbow=(-60, -140, 0)))  # a hand in the head


def test_the_same_seed_draws_the_same(prior):
    for split in SPLITS:
        one, two = (prior.sample(np.random.default_rng(7), split) for _ in range(2))
        np.testing.assert_array_equal(one[0], two[0])
        assert one[1] == two[1]
        assert one[0].shape == (20, 3)
        assert one[0].dtype == np.float64
        name, number = one[1].split("-")
        assert name == split
        assert 0 <= int(number) < len(prior.mixtures[split].shares)
    assert (
        prior.sample(np.random.default_rng(8), "train")[0]
        != prior.sample(np.random.default_rng(7), "train")[0]
    ).any()


def test_a_split_that_is_not_there(prior):
    with pytest.raises(ValueError, match=r"'valid'.*train, val, test"):
        prior.sample(np.random.default_rng(0), "valid")


def test_splits_share_no_clip_and_no_actor(prior):
    clips = {split: prior.mixtures[split].clips for split in SPLITS}
    assert len(set().union(*clips.values())) == sum(map(len, clips.values())) == 61
    actors = {split: {clip[:3] for clip in own} for split, own in clips.items()}
    assert actors == {"train": {"002", "005", "007"}, "val": {"001"}, "test": {"003", "006"}}


def test_the_numbers_are_small_and_plain():
    data = resources.files("poseling.synth").joinpath("prior.npz")
    assert len(data.read_bytes()) < 300_000
    with data.open("rb") as file, np.load(file, allow_pickle=False) as numbers:
        for split in SPLITS:
            shares, means, factors = (numbers[f"{split}_{part}"] for part in ("shares", "means", "factors"))
            assert means.shape == (len(shares), 60)
            assert factors.shape == (len(shares), 60 * 61 // 2)
            assert shares.sum() == pytest.approx(1, abs=1e-5)
            assert numbers[f"{split}_clips"].dtype.kind == "U"
            assert all(np.isfinite(numbers[f"{split}_{part}"]).all() for part in ("means", "factors"))


def test_what_is_drawn_is_within_the_limits(drawn):
    same(clamp(drawn), drawn)
    at = {joint: np.rad2deg(drawn[:, i]) for i, joint in enumerate(JOINTS)}
    for side, sign in (("left", 1), ("right", -1)):
        knee, elbow = at[f"{side}_knee"], at[f"{side}_elbow"]
        assert (knee[:, 0] >= -1e-6).all()
        assert (knee[:, 0] <= 150 + 1e-6).all()
        assert (-sign * elbow[:, 1] >= -1e-6).all()
        assert np.abs(knee[:, 1:]).max() < 1e-6
        assert np.abs(elbow[:, [0, 2]]).max() < 1e-6
        assert 30 < knee[:, 0].mean() < 70
    assert np.abs(at["pelvis"][:, 1]).max() < 1e-6
    faces = (
        rotation_matrix(drawn[:, JOINTS.index("neck")])
        @ rotation_matrix(drawn[:, JOINTS.index("head")])
        @ np.array([0.0, 0.0, 1.0])
    )
    assert faces[:, 2].min() > 0  # nobody looks backwards


def test_what_is_drawn_is_varied_and_free_of_collisions(drawn):
    assert not any(collides(rotations) for rotations in drawn[:200])
    figures = [figure(rotations) for rotations in drawn]
    joints = np.stack([joints for joints, _ in figures])
    place = {name: joints[:, i] for i, name in enumerate(JOINTS)}
    upside_down = (place["neck"] - place["pelvis"])[:, 1] < 0
    assert 0.01 < upside_down.mean() < 0.1
    overhead = (place["left_wrist"][:, 1] > place["head"][:, 1]).mean()
    assert 0.05 < overhead < 0.4
    crouched = ((place["left_hip"] - place["left_knee"])[:, 1] < 0.2) & ~upside_down
    assert 0.08 < crouched.mean() < 0.4
    assert (
        abs((place["left_wrist"][:, 1] - place["right_wrist"][:, 1]).mean()) < 0.05
    )  # neither side is preferred
