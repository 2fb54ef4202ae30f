"""A body of constant bones: turned by hand and by scipy, found again from its points, fitted with noise, with
gaps and with nonsense.
"""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import least_squares
from scipy.spatial.transform import Rotation

from poseling.geometry import project, quaternion, quaternion_matrix, rotation_matrix
from poseling.runtime.closed_form import closed_form
from poseling.runtime.fit_energy import Evidence, minimise
from poseling.runtime.kinematics import (
    BONES,
    FREE,
    HIGH,
    JOINTS,
    LENGTH_OF,
    LOW,
    PARENTS,
    SHARES,
    TURNS,
    Body,
    forward,
    measure,
    stature,
)
from poseling.runtime.skeleton_fit import MEASURED, Fitted, Fitter, Lengths
from poseling.skeleton import BLAZEPOSE33, COCO17, H36M17, MOVNECT15, Skeleton

CAMERA = np.array([1000.0, 1000, 500, 400])
LENGTHS = 1.75 * np.array(list(SHARES.values()))
ALL = np.ones(15, bool)
FACING = np.diag([1.0, -1, -1])  # in camera axes
AWAY = np.array([0.3, 0.1, 4.0])


def at(joint: str) -> int:
    return MOVNECT15.index(joint)


def random_body(seed: int, share: float = 0.8) -> Body:
    """Turns in the middle `share` of their ranges; the person may lie or stand, and face anywhere."""
    random = np.random.default_rng(seed)
    turns = (LOW + HIGH) / 2 + share / 2 * (HIGH - LOW) * random.uniform(-1, 1, LOW.shape)
    return Body.turned(Rotation.random(rng=random).as_matrix(), turns, LENGTHS)


def moving(frames: int, seed: int = 0) -> list[Body]:
    """A person whose turns swing as sines, a half to two seconds long each, in a third of their ranges."""
    random = np.random.default_rng(seed)
    rates, phases = random.uniform(0.2, 0.5, LOW.shape), random.uniform(0, 2 * np.pi, LOW.shape)
    middle = np.clip(0, LOW + 0.2, HIGH - 0.2)
    out = []
    for t in np.arange(frames) / 30:
        turns = (middle + (HIGH - LOW) / 6 * np.sin(2 * np.pi * rates * t + phases)).clip(LOW, HIGH)
        out.append(Body.turned(rotation_matrix(np.array([0, np.sin(t), 0])) @ FACING, turns, LENGTHS))
    return out


def pixels(points: np.ndarray) -> np.ndarray:
    return project(points, CAMERA).astype(np.float64)


def inside(fitted: Fitted) -> bool:
    """Whether every joint is within its limits, told by its quaternion: closed form of the twist and the
    swing, in the other direction than `Body` goes.
    """
    body = Body.turned(FACING, np.zeros(LOW.shape), LENGTHS)
    rest = body.local[1:]  # at zero turns each joint's rotation is its centre's
    local = np.swapaxes(rest, 1, 2) @ quaternion_matrix(fitted.rotations[1:])
    for joint, turn in enumerate(local):
        axis = "xyz".index(
            {"shoulder": "x", "elbow": "x", "collar": "x"}.get(TURNS[joint].split("_")[-1], "y")
        )
        whole = Rotation.from_matrix(turn)
        twist = Rotation.from_rotvec(
            2 * np.arctan2(whole.as_quat()[axis], whole.as_quat()[3]) * np.eye(3)[axis]
        )
        turned = (whole * twist.inv()).as_rotvec() + twist.as_rotvec()
        if (turned < LOW[joint] - 1e-6).any() or (turned > HIGH[joint] + 1e-6).any():
            return False
    return True


# The body


def test_the_rest_pose_is_a_t():
    xyz = forward(np.tile([1.0, 0, 0, 0], (13, 1)), LENGTHS)
    size = dict(zip(BONES, LENGTHS, strict=True))
    np.testing.assert_allclose(xyz[at("pelvis")], 0)
    np.testing.assert_allclose(
        xyz[at("left_elbow")], [size["shoulder"] + size["upper_arm"], size["trunk"], 0]
    )
    np.testing.assert_allclose(xyz[at("right_ankle")], [-size["hip"], -size["thigh"] - size["shin"], 0])
    np.testing.assert_allclose(xyz[at("head_top")], [0, size["trunk"] + size["head"], 0])


@pytest.mark.parametrize(
    ("joint", "turn", "point", "moves"),
    [
        ("left_elbow", [0, -90, 0], "left_wrist", [0, 0, 1]),  # the forearm comes forward
        ("right_elbow", [0, 90, 0], "right_wrist", [0, 0, 1]),
        ("left_knee", [90, 0, 0], "left_ankle", [0, 0, -1]),  # the calf goes back
        ("right_hip", [-90, 0, 0], "right_knee", [0, 0, 1]),  # the thigh comes forward
        ("spine", [90, 0, 0], "neck", [0, 0, 1]),
        ("left_shoulder", [0, 0, 90], "left_elbow", [0, 1, 0]),
    ],
)
def test_which_way_joints_bend(joint, turn, point, moves):
    rotations = np.tile([1.0, 0, 0, 0], (13, 1))
    rotations[JOINTS.index(joint)] = quaternion(rotation_matrix(np.deg2rad(turn)))
    xyz = forward(rotations, LENGTHS)
    parent = xyz[MOVNECT15.parents[at(point)]]
    bone = (xyz[at(point)] - parent) / np.linalg.norm(xyz[at(point)] - parent)
    np.testing.assert_allclose(bone, moves, atol=1e-9)


def test_forward_is_a_chain_of_rotations():
    """Joint by joint with scipy, as a reader of a BVH file would."""
    body = random_body(1)
    turned = {"": Rotation.identity()}
    for joint, matrix in zip(JOINTS, body.local, strict=True):
        turned[joint] = turned[PARENTS[joint]] * Rotation.from_matrix(matrix)
    size = dict(zip(BONES, LENGTHS, strict=True))
    neck = turned["spine"].apply([0, size["trunk"], 0])
    elbow = (
        neck
        + turned["right_collar"].apply([-size["shoulder"], 0, 0])
        + turned["right_shoulder"].apply([-size["upper_arm"], 0, 0])
    )
    wrist = elbow + turned["right_elbow"].apply([-size["forearm"], 0, 0])
    ankle = (
        turned["pelvis"].apply([size["hip"], 0, 0])
        + turned["left_hip"].apply([0, -size["thigh"], 0])
        + turned["left_knee"].apply([0, -size["shin"], 0])
    )
    xyz = forward(quaternion(body.local), LENGTHS)
    np.testing.assert_allclose(xyz[[at("right_wrist"), at("left_ankle")]], [wrist, ankle], atol=1e-9)
    np.testing.assert_allclose(xyz, body.points, atol=1e-9)


@given(st.integers(0, 10**6))
@settings(max_examples=20, deadline=None)
def test_the_jacobian_is_the_slope(seed):
    body, h = random_body(seed), 1e-6
    found = body.jacobian()
    for i in range(len(found)):
        step = h * (np.arange(len(found)) == i)
        slope = (body.moved(step, LENGTHS).points - body.moved(-step, LENGTHS).points) / (2 * h)
        np.testing.assert_allclose(found[i], slope, atol=1e-7)


def test_left_and_right_are_mirrored():
    for j, joint in enumerate(TURNS):
        if joint.startswith("left_"):
            other = TURNS.index(joint.replace("left", "right"))
            np.testing.assert_allclose(
                [LOW[j, 0], LOW[j, 1], LOW[j, 2]], [LOW[other, 0], -HIGH[other, 1], -HIGH[other, 2]]
            )


@given(st.integers(0, 10**6))
@settings(max_examples=30, deadline=None)
def test_closed_form_finds_the_arms(seed):
    """Exactly, where elbows are bent and do not give to a side. Legs only nearly: where the spine bends to a
    side the pelvis' pitch is another one.
    """
    body = random_body(seed)
    turns = body.turns.copy()
    turns[0, 0] = 0
    turns[TURNS.index("left_elbow")], turns[TURNS.index("right_elbow")] = (0, -0.6, 0), (0, 0.6, 0)
    body = Body.turned(body.root, turns, LENGTHS)
    root, found = closed_form(body.points, ALL, FACING, np.zeros(LOW.shape))
    points = Body.turned(root, found, LENGTHS).points
    arms = [at(f"{side}_{joint}") for side in ("left", "right") for joint in ("shoulder", "elbow", "wrist")]
    np.testing.assert_allclose(points[arms], body.points[arms], atol=1e-6)


def test_rotations_of_unknown_joints_stay():
    body = random_body(3)
    known = ALL & (np.arange(15) != at("left_wrist"))
    _, found = closed_form(body.points, known, body.root, body.turns)
    np.testing.assert_allclose(found[TURNS.index("left_elbow")], body.turns[TURNS.index("left_elbow")])
    root, found = closed_form(np.zeros((15, 3)), ~ALL, body.root, body.turns)
    np.testing.assert_allclose(root, body.root)
    np.testing.assert_allclose(found, body.turns)


# Lengths


def test_stature_by_hand():
    assert stature(np.array(list(SHARES.values()))) == pytest.approx((0.246 + 0.245 + 0.288 + 0.182) / 0.961)
    assert stature(LENGTHS) == pytest.approx(1.75, abs=1e-9)


def test_a_length_is_the_median_of_both_sides():
    lengths = Lengths()
    xyz = random_body(0).points
    for stretch in (1.0, 1.1, 5.0):  # the last is a mistake of the network's
        longer = xyz.copy()
        longer[at("left_wrist")] = xyz[at("left_elbow")] + stretch * (
            xyz[at("left_wrist")] - xyz[at("left_elbow")]
        )
        lengths.update(longer, ALL)
    forearm = LENGTHS[BONES.index("forearm")]
    assert lengths.metres[BONES.index("forearm")] == pytest.approx((1.1 + 1) / 2 * forearm)
    assert lengths.metres[BONES.index("thigh")] == pytest.approx(LENGTHS[BONES.index("thigh")])


def test_a_bone_that_was_never_seen_has_its_share():
    lengths = Lengths()
    lengths.update(random_body(0).points, np.char.find(MOVNECT15.joints, "wrist") < 0)
    np.testing.assert_allclose(lengths.metres, LENGTHS)


def test_lengths_settle():
    lengths = Lengths()
    for _ in range(MEASURED):
        lengths.update(random_body(0).points, ALL)
    lengths.update(2 * random_body(0).points, ALL)
    np.testing.assert_allclose(lengths.metres, LENGTHS)


def test_lengths_settle_in_three_seconds():
    """However few frames these have; a bone's own time begins when it is seen."""
    lengths, legs = Lengths(), np.char.find(MOVNECT15.joints, "knee") < 0
    for i, size in enumerate((1, 1, 1, 1, 2, 2, 2, 2, 2)):
        lengths.update(size * random_body(0).points, legs if i < 4 else ALL, float(i))
    thigh, forearm = BONES.index("thigh"), BONES.index("forearm")
    assert lengths.since[[forearm, thigh]].tolist() == [0, 4]
    assert lengths.metres[forearm] == pytest.approx(LENGTHS[forearm])  # of seconds 0 to 3
    assert lengths.metres[thigh] == pytest.approx(2 * LENGTHS[thigh])


@pytest.mark.parametrize("fps", [5, 30])
def test_lengths_are_constant_to_a_percent_after_a_second(fps):
    """A body that is first measured a fifth too large comes to its size by 30 % in the first second at most,
    and by 0.12 % a second then.
    """
    fitter, body, found = Fitter(MOVNECT15), random_body(0, 0.3), []
    for i in range(4 * fps):
        size = 1.2 if i < 0.8 * fps else 1.0
        found.append(fitter.fit(size * body.points, np.zeros((15, 2)), np.ones(15), None, i / fps).lengths)
    lengths = np.array(found)
    np.testing.assert_allclose(lengths[0], 1.2 * LENGTHS)
    per_frame = np.abs(np.diff(lengths, axis=0) / lengths[:-1]).max(1)
    young, old = per_frame[: fps - 1], per_frame[fps - 1 :]
    assert young.max() <= 0.3 / fps + 1e-9
    assert 0 < old.max() <= 0.0012 / fps + 1e-9
    late = lengths[fps:]
    assert (late.std(0) / late.mean(0)).max() < 0.01


def test_height_scales_all():
    fitter = Fitter(MOVNECT15, height=1.5)
    body = random_body(0, 0.5)
    fitted = fitter.fit(body.points, pixels(body.points + AWAY), np.ones(15), None, 0.0)
    assert stature(fitted.lengths) == pytest.approx(1.5)
    np.testing.assert_allclose(fitted.lengths, LENGTHS * 1.5 / 1.75)
    np.testing.assert_allclose(fitted.xyz, body.points * 1.5 / 1.75, atol=5e-3)


# The fit


@given(st.integers(0, 10**6))
@settings(max_examples=15, deadline=None)
def test_without_noise_the_body_is_found(seed):
    body = random_body(seed, 0.6)
    fitted = Fitter(MOVNECT15).fit(body.points, pixels(body.points + AWAY), np.ones(15), CAMERA, 0.0)
    error = np.linalg.norm(fitted.xyz - body.points, axis=1)
    assert (
        np.sqrt((error**2).mean()) < 5e-3
    )  # what the pull to rest costs where joints are far from it; mostly it is less than 0.1 mm
    assert fitted.root is not None
    np.testing.assert_allclose(fitted.root, AWAY, atol=0.01)
    np.testing.assert_allclose(fitted.lengths, LENGTHS)


@pytest.mark.parametrize("camera", [CAMERA, None])
def test_noise_is_reduced_and_bones_are_constant(camera):
    random, fitter, raw, error = np.random.default_rng(0), Fitter(MOVNECT15, measured=LENGTHS), [], []
    for i, body in enumerate(moving(60)):
        noise = 0.03 * random.standard_normal((15, 3))
        noise[at("pelvis")] = 0
        xy = pixels(body.points + AWAY) + 3 * random.standard_normal((15, 2))
        fitted = fitter.fit(body.points + noise, xy, np.ones(15), camera, i / 30)
        raw.append(np.linalg.norm(noise, axis=1))
        error.append(np.linalg.norm(fitted.xyz - body.points, axis=1))
        np.testing.assert_allclose(measure(fitted.xyz, ALL), LENGTHS[LENGTH_OF], rtol=1e-9)
        np.testing.assert_allclose(forward(fitted.rotations, fitted.lengths), fitted.xyz, atol=1e-6)
        assert (fitted.root is None) == (camera is None)
    assert np.mean(error) < (0.9 if camera is None else 0.6) * np.mean(raw)


def test_a_sequence_without_noise():
    fitter, error = Fitter(MOVNECT15, measured=LENGTHS), []
    for i, body in enumerate(moving(60)):
        fitted = fitter.fit(body.points, pixels(body.points + AWAY), np.ones(15), CAMERA, i / 30)
        error.append(np.linalg.norm(fitted.xyz - body.points, axis=1).mean())
    assert np.mean(error) < 2e-3


@pytest.mark.parametrize("lost", [0.0, np.nan])
def test_a_joint_is_lost_for_ten_frames(lost):
    """Its elbow holds, so the wrist stays where a forearm can be, and comes back."""
    fitter, error, gone = Fitter(MOVNECT15, measured=LENGTHS), [], at("left_wrist")
    for i, body in enumerate(moving(40)):
        xyz, score = body.points.copy(), np.ones(15)
        xy = pixels(xyz + AWAY)
        if 15 <= i < 25:
            xyz[gone], xy[gone], score[gone] = (7.0, 7.0, 7.0), (9e9, -9e9), 0.0
            if np.isnan(lost):
                xyz[gone], xy[gone], score[gone] = np.nan, np.nan, 1.0
        fitted = fitter.fit(xyz, xy, score, CAMERA, i / 30)
        error.append(np.linalg.norm(fitted.xyz - body.points, axis=1))
    error = np.array(error)
    assert np.delete(error, gone, 1).max() < 0.02
    assert error[15:25, gone].max() < 0.25
    assert error[28:, gone].max() < 0.02


def test_a_position_is_found_again_after_wrong_input():
    fitter, random = Fitter(MOVNECT15, measured=LENGTHS), np.random.default_rng(0)
    for i, body in enumerate(moving(30)):
        xy = (
            pixels(body.points + AWAY) if i not in (4, 5) else 500 + 0.01 * random.standard_normal((15, 2))
        )  # all in one pixel: very far away
        fitted = fitter.fit(body.points, xy, np.ones(15), CAMERA, i / 30)
        assert fitted.root is not None
    assert np.linalg.norm(fitted.root - AWAY) < 0.1


def test_a_frame_without_a_person_is_not_a_first_frame():
    """What is seen of nobody is finite, and is forgotten when somebody comes."""
    fitter, body = Fitter(MOVNECT15), random_body(6, 0.5)
    nothing = fitter.fit(np.full((15, 3), np.nan), np.full((15, 2), np.nan), np.zeros(15), CAMERA, 0.0)
    assert np.isfinite(nothing.xyz).all()
    assert stature(nothing.lengths) == pytest.approx(1.7)
    fitted = fitter.fit(body.points, pixels(body.points + AWAY), np.ones(15), CAMERA, 0.1)
    np.testing.assert_allclose(fitted.xyz, body.points, atol=5e-3)


wild = st.one_of(st.floats(-2, 2), st.floats(), st.just(np.nan))


@given(st.data())
@settings(max_examples=25, deadline=None)
def test_any_input_gives_a_body(data):
    """No joint beyond its limits, bones of constant length, no NaN, angles that give the points: for joints
    anywhere, also none.
    """
    fitter = Fitter(MOVNECT15, measured=LENGTHS)
    random = np.random.default_rng(data.draw(st.integers(0, 10**6)))
    for i in range(3):
        xyz = random.standard_normal((15, 3)) * random.choice([0.0, 0.3, 1.0])
        xy = random.uniform(-2000, 3000, (15, 2))
        score = random.uniform(-0.2, 1, 15)
        for array in (xyz, xy, score):
            array[data.draw(st.integers(0, 14))] = data.draw(wild)
        fitted = fitter.fit(
            xyz,
            xy,
            score,
            data.draw(st.sampled_from([CAMERA, None])),
            data.draw(st.sampled_from([i / 30, 0.0, 100.0])),
        )
        assert np.isfinite(fitted.xyz).all()
        assert np.isfinite(fitted.rotations).all()
        assert fitted.root is None or np.isfinite(fitted.root).all()
        assert inside(fitted)
        np.testing.assert_allclose(measure(fitted.xyz, ALL), LENGTHS[LENGTH_OF], rtol=1e-9)
        np.testing.assert_allclose(forward(fitted.rotations, fitted.lengths), fitted.xyz, atol=1e-6)


def test_an_elbow_does_not_bend_backwards():
    body = random_body(4, 0.0)
    turns = body.turns.copy()
    turns[TURNS.index("left_elbow")] = 0, 1.0, 0  # beyond its limit by 47 degrees
    turns[TURNS.index("left_shoulder")] = 0
    wrong = Body.turned(FACING, turns, LENGTHS)
    fitted = Fitter(MOVNECT15, measured=LENGTHS).fit(
        wrong.points, pixels(wrong.points + AWAY), np.ones(15), CAMERA, 0.0
    )
    assert inside(fitted)


@pytest.mark.parametrize("seed", range(3))
def test_the_minimum_is_scipys(seed):
    """One frame with noise and a history, by scipy's trust region with bounds on the same residuals."""
    random, body = np.random.default_rng(seed), random_body(seed, 0.9)
    path = body.points + AWAY + 0.02 * random.standard_normal((15, 3))
    evidence = Evidence(
        xyz=body.points + 0.05 * random.standard_normal((15, 3)),
        xyz_weight=random.uniform(0, 1, (15, 1)),
        xy=(pixels(body.points + AWAY) - CAMERA[2:]) / CAMERA[:2] + 0.005 * random.standard_normal((15, 2)),
        xy_weight=np.sqrt(44) * random.uniform(0, 1, (15, 1)),
        path=path,
        path_weight=np.full((15, 3), np.sqrt(0.07)),
        turns=body.turns.ravel()[FREE] + 0.1,
    )

    def residuals(unknown: np.ndarray) -> np.ndarray:
        turns = np.zeros(LOW.size)
        turns[FREE] = unknown[3:-3]
        return evidence.residuals(
            Body.turned(rotation_matrix(unknown[:3]) @ body.root, turns.reshape(LOW.shape), LENGTHS),
            unknown[-3:],
        )

    free = np.full(3, np.inf)
    bounds = (
        np.concatenate([-free, LOW.ravel()[FREE], -free]),
        np.concatenate([free, HIGH.ravel()[FREE], free]),
    )
    start = np.concatenate([np.zeros(3), body.turns.ravel()[FREE], AWAY])
    theirs = 2 * least_squares(residuals, start, bounds=bounds, xtol=1e-12, ftol=1e-12).cost
    found = evidence.residuals(*minimise(body, AWAY, evidence, LENGTHS, steps=50))
    few = evidence.residuals(*minimise(body, AWAY, evidence, LENGTHS, steps=3))
    assert found @ found == pytest.approx(theirs, rel=2e-3)
    assert few @ few < 1.05 * theirs


def test_the_residuals_slope():
    random, body, h = np.random.default_rng(0), random_body(7), 1e-6
    weights = random.uniform(0.5, 2, (15, 1))
    evidence = Evidence(
        body.points + 0.1,
        weights,
        random.standard_normal((15, 2)),
        weights,
        body.points + 3,
        random.uniform(0, 1, (15, 3)),
        np.zeros(len(FREE)),
    )
    found = evidence.jacobian(body, AWAY)
    for i in range(len(found)):
        step = h * (np.arange(len(found)) == i)
        ahead, back = (
            evidence.residuals(body.moved(s * step[:-3], LENGTHS), AWAY + s * step[-3:]) for s in (1, -1)
        )
        np.testing.assert_allclose(found[i], (ahead - back) / (2 * h), atol=1e-6)


def test_other_skeletons_come_over_by_name():
    body = random_body(2, 0.3)
    for skeleton in (H36M17, BLAZEPOSE33, COCO17):
        xyz = np.full((len(skeleton), 3), np.nan)
        for k, joint in enumerate(skeleton.joints):
            if joint in MOVNECT15.joints:
                xyz[k] = body.points[at(joint)]
        fitted = Fitter(skeleton).fit(xyz, np.zeros((len(skeleton), 2)), np.ones(len(skeleton)), None, 0.0)
        legs = [at(f"{side}_{joint}") for side in ("left", "right") for joint in ("hip", "knee", "ankle")]
        np.testing.assert_allclose(fitted.xyz[legs], body.points[legs], atol=5e-3)


@pytest.mark.shared
def test_squats_of_a_real_person(shared):
    """BlazePose's joints of a video at five frames a second: near them with constant bones, and the knees
    bend.
    """
    poses = np.array(json.loads((shared / "data" / "videos" / "pose_squats_3d.full.json").read_text()))
    first = Fitter(BLAZEPOSE33)
    for i, xyz in enumerate(poses):
        first.fit(xyz, np.zeros((33, 2)), np.ones(33), None, i / 5)
    fitter, error, knee, spread = Fitter(BLAZEPOSE33, measured=first.measured), [], [], []
    limbs = [
        k
        for k, joint in enumerate(MOVNECT15.joints)
        if joint.split("_")[-1] in ("hip", "knee", "ankle", "shoulder", "elbow", "wrist")
    ]
    for i, xyz in enumerate(poses):
        fitted = fitter.fit(xyz, np.zeros((33, 2)), np.ones(33), None, i / 5)
        same = [BLAZEPOSE33.index(MOVNECT15.joints[k]) for k in limbs]
        error.append(np.linalg.norm(fitted.xyz[limbs] - xyz[same], axis=1))
        knee.append(np.rad2deg(2 * np.arccos(fitted.rotations[JOINTS.index("left_knee"), 0])))
        spread.append(measure(fitted.xyz, ALL))
        assert inside(fitted)
    assert np.mean(error) < 0.015
    assert max(knee) > 90 > 30 > min(knee)
    assert np.ptp(spread, axis=0).max() < 1e-9


def test_after_a_reset_it_is_another_person():
    fitter, small = Fitter(MOVNECT15), random_body(1)
    for i in range(3):
        fitter.fit(2 * random_body(0).points, np.zeros((15, 2)), np.ones(15), None, i / 30)
    fitter.reset()
    fitted = fitter.fit(small.points, np.zeros((15, 2)), np.ones(15), None, 0.0)
    np.testing.assert_allclose(fitted.lengths, LENGTHS)
    np.testing.assert_allclose(fitted.xyz, small.points, atol=5e-3)


def test_the_second_pass_has_the_lengths_of_the_first():
    first = Fitter(MOVNECT15, height=1.6)
    for i, body in enumerate(moving(5)):
        first.fit(body.points, np.zeros((15, 2)), np.ones(15), None, i / 30)
    second = Fitter(MOVNECT15, height=1.6, measured=first.measured)
    body = moving(1)[0]
    fitted = second.fit(body.points, np.zeros((15, 2)), np.ones(15), None, 0.0)
    np.testing.assert_allclose(fitted.lengths, LENGTHS * 1.6 / 1.75)
    np.testing.assert_allclose(fitted.xyz, body.points * 1.6 / 1.75, atol=5e-3)


def test_a_first_pass_measures_and_fits_nothing():
    first, second = Fitter(MOVNECT15), Fitter(MOVNECT15)
    for i, body in enumerate(moving(5)):
        xyz = (1 + 0.02 * i) * body.points
        first.measure(xyz, np.ones(15))
        second.fit(xyz, np.zeros((15, 2)), np.ones(15), None, i / 30)
    np.testing.assert_array_equal(first.measured, second.measured)
    np.testing.assert_allclose(first.measured, 1.04 * LENGTHS)
    with pytest.raises(ValueError, match="xyz has shape"):
        first.measure(np.zeros((14, 3)), np.ones(15))


def test_bones_grow_and_do_not_jump():
    """The first frame is a tenth too small, all others are right: the median jumps in the second or third
    one, and the body follows by a hundredth a frame.
    """
    fitter, lengths = Fitter(MOVNECT15), []
    for i in range(16):
        body = random_body(1, 0.3).points * (0.9 if i == 0 else 1.0)
        lengths.append(fitter.fit(body, np.zeros((15, 2)), np.ones(15), None, i / 30).lengths)
    np.testing.assert_allclose(lengths[0], 0.9 * LENGTHS)
    for i in range(1, 11):
        np.testing.assert_allclose(lengths[i], 0.9 * 1.01**i * LENGTHS)
    np.testing.assert_allclose(lengths[11], LENGTHS)
    np.testing.assert_allclose(lengths[15], LENGTHS)


@pytest.mark.parametrize("seed", range(4))
def test_a_jump_is_followed(seed):
    """From one posture to any other within a frame, as after a cut: three frames on the body is there,
    whatever the one before was.
    """
    fitter, bodies = (
        Fitter(MOVNECT15, measured=LENGTHS),
        [random_body(seed, 0.6)] * 4 + [random_body(1000 + seed, 0.6)] * 4,
    )
    for i, body in enumerate(bodies):
        fitted = fitter.fit(body.points, pixels(body.points + AWAY), np.ones(15), CAMERA, i / 30)
    assert np.linalg.norm(fitted.xyz - bodies[-1].points, axis=1).mean() < 0.01


def test_what_is_refused():
    fitter, xyz, xy = Fitter(MOVNECT15), np.zeros((15, 3)), np.zeros((15, 2))
    with pytest.raises(ValueError, match="xyz has shape"):
        fitter.fit(xyz[:14], xy, np.ones(15), None, 0.0)
    with pytest.raises(ValueError, match="fx fy cx cy"):
        fitter.fit(xyz, xy, np.ones(15), np.zeros(4), 0.0)
    with pytest.raises(ValueError, match="in metres"):
        Fitter(MOVNECT15, height=175)
    with pytest.raises(ValueError, match="8 lengths"):
        Fitter(MOVNECT15, measured=np.zeros(8))
    with pytest.raises(ValueError, match="no joint in common"):
        Fitter(Skeleton("dog", ("nose_of_dog",), (0,)))
