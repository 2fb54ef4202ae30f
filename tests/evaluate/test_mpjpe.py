import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial import procrustes as scipy_procrustes
from scipy.spatial.transform import Rotation

from poseling.evaluate.mpjpe import (
    auc,
    body_frame,
    calibrate,
    calibrated,
    distances,
    mpjpe,
    mpjve,
    n_mpjpe,
    pa_distances,
    pa_mpjpe,
    pck3d,
    per_action,
    rescaled,
    root_relative,
    score,
)
from poseling.evaluate.pck import per_person
from poseling.geometry import procrustes
from poseling.skeleton import COCO17, H36M17, LSP14, Skeleton

seeds = st.integers(0, 10_000)

# A standing person in metres, facing the camera: its left is on the camera's right.
STANDING = {
    "pelvis": (0, 0, 0),
    "hip": (0.13, 0, 0),
    "knee": (0.13, 0.45, 0.02),
    "ankle": (0.13, 0.9, 0.05),
    "spine": (0, -0.25, 0),
    "thorax": (0, -0.5, 0),
    "neck_nose": (0, -0.6, -0.03),
    "head_top": (0, -0.75, 0),
    "shoulder": (0.17, -0.48, 0),
    "elbow": (0.2, -0.2, 0),
    "wrist": (0.22, 0.05, -0.05),
}


def standing(dataset=1, spread=0.0, seed=0):
    """(N, 17, 3) people in H36M17's joints, each joint `spread` metres elsewhere."""
    mirrored = np.array(
        [STANDING[j.split("_", 1)[-1] if j[:4] in ("left", "righ") else j] for j in H36M17.joints], float
    )
    mirrored[[j.startswith("right_") for j in H36M17.joints], 0] *= -1
    return mirrored + np.random.default_rng(seed).normal(0, spread, (dataset, 17, 3))


def case(seed, dataset=5, joints=14):
    """Random truth some metres away, a prediction that is off, turned and scaled, and joints of which some
    are unknown.
    """
    rng = np.random.default_rng(seed)
    truth = rng.normal(0, 0.4, (dataset, joints, 3)) + rng.uniform(-3, 3, (dataset, 1, 3))
    predicted = moved(truth + rng.normal(0, 0.08, truth.shape), seed)
    known = rng.random((dataset, joints)) < 0.8
    known[:, :4] = True
    return predicted, truth, known


def moved(points, seed):
    """Every person by its own similarity."""
    rng = np.random.default_rng(seed)
    turn = Rotation.random(len(points), random_state=rng).as_matrix()
    return rng.uniform(0.3, 3, (len(points), 1, 1)) * points @ turn.swapaxes(1, 2) + rng.normal(
        0, 2, (len(points), 1, 3)
    )


def everything(points):
    return np.ones(points.shape[:2], bool)


def root_mean_square(mm):
    return np.sqrt(np.nanmean(mm**2))


def test_distances_by_hand():
    truth = np.zeros((1, 4, 3))
    predicted = np.array([[[0.003, 0.004, 0.0], [1.0, 2.0, 2.0], [np.nan, 0.0, 0.0], [np.nan, 0.0, 0.0]]])
    mm = distances(predicted, truth, np.array([[True, True, True, False]]))
    assert mm[0, :2].tolist() == [5.0, 3000.0]
    assert mm[0, 2] == np.inf
    assert np.isnan(mm[0, 3])


def test_mpjpe_pools_the_known_joints_of_all_people():
    truth = np.zeros((2, 2, 3))
    predicted = np.array([[[0.01, 0, 0], [0, 0.02, 0]], [[0, 0, 0.06], [9, 9, 9]]])
    assert mpjpe(predicted, truth, np.array([[True, True], [True, False]])) == pytest.approx(
        (10 + 20 + 60) / 3
    )


@settings(deadline=None)
@given(seeds)
def test_mpjpe_is_symmetric_and_is_its_definition(seed):
    predicted, truth, known = case(seed)
    by_hand = [
        1000 * sum((p - t) ** 2) ** 0.5
        for person in zip(predicted, truth, known, strict=True)
        for p, t, k in zip(*person, strict=True)
        if k
    ]
    assert mpjpe(predicted, truth, known) == pytest.approx(np.mean(by_hand))
    assert mpjpe(truth, predicted, known) == pytest.approx(mpjpe(predicted, truth, known))


def test_a_joint_that_is_not_predicted_costs_everything():
    predicted, truth, known = case(0)
    predicted[0, 1] = np.nan
    assert mpjpe(predicted, truth, known) == np.inf
    assert pa_mpjpe(predicted, truth, known) == np.inf
    assert n_mpjpe(predicted, truth, known) == np.inf
    assert pck3d(truth + [np.nan, 0, 0], truth, known) == 0
    assert np.isfinite(pa_distances(predicted, truth, known)[0, 0])  # the others are aligned without it


def test_root_is_the_pelvis_or_the_middle_of_the_hips():
    dataset = np.random.default_rng(0).normal(size=(3, 17, 3)).astype(np.float32)
    np.testing.assert_allclose(root_relative(dataset, H36M17), dataset.astype(float) - dataset[:, :1])
    hips = (
        dataset[:, [COCO17.index("left_hip"), COCO17.index("right_hip")]].astype(float).mean(1, keepdims=True)
    )
    np.testing.assert_allclose(root_relative(dataset, COCO17), dataset - hips)
    with pytest.raises(ValueError, match="skeleton head has neither a pelvis nor two hips"):
        root_relative(dataset[:, :1], Skeleton("head", ("nose",), (0,)))


@settings(max_examples=30, deadline=None)
@given(seeds)
def test_procrustes_is_scipys(seed):
    predicted, truth, known = case(seed)
    fit = procrustes(predicted, truth, known)
    for n, chosen in enumerate(known):
        p, t = predicted[n, chosen], truth[n, chosen]
        from_p, from_t = p - p.mean(0), t - t.mean(0)
        turn, _ = Rotation.align_vectors(from_t, from_p)
        turned = turn.apply(from_p)
        scale = (turned * from_t).sum() / (turned**2).sum()
        np.testing.assert_allclose(fit.rotation[n], turn.as_matrix(), atol=1e-6)
        assert fit.scale[n] == pytest.approx(scale)
        np.testing.assert_allclose(fit.aligned[n, chosen], scale * turned + t.mean(0), atol=1e-6)
        np.testing.assert_allclose(
            fit.aligned[n], fit.scale[n] * predicted[n] @ fit.rotation[n].T + fit.translation[n], atol=1e-9
        )
        # scipy's procrustes measures in parts of the truth's size; noise as small as this does not tempt it
        # to reflect.
        squares = ((fit.aligned[n, chosen] - t) ** 2).sum() / (from_t**2).sum()
        assert squares == pytest.approx(scipy_procrustes(t, p)[2], abs=1e-9)


def test_reflections_are_excluded():
    truth = standing(3, 0.1)
    mirrored = truth * [-1, 1, 1]
    assert scipy_procrustes(truth[0], mirrored[0])[2] < 1e-12
    assert pa_mpjpe(mirrored, truth, everything(truth)) > 20
    assert np.linalg.det(procrustes(mirrored, truth, everything(truth)).rotation).tolist() == pytest.approx(
        [1, 1, 1]
    )


@settings(max_examples=50, deadline=None)
@given(seeds, seeds)
def test_pa_mpjpe_does_not_see_a_similarity(seed, other):
    predicted, truth, known = case(seed)
    assert pa_mpjpe(moved(predicted, other), truth, known) == pytest.approx(
        pa_mpjpe(predicted, truth, known), rel=1e-6
    )
    assert pa_mpjpe(moved(truth, other), truth, known) < 1e-6


@settings(deadline=None)
@given(seeds, st.floats(0.1, 10))
def test_n_mpjpe_does_not_see_a_scale(seed, scale):
    predicted, truth, known = case(seed)
    assert n_mpjpe(scale * predicted, truth, known) == pytest.approx(n_mpjpe(predicted, truth, known))


@settings(deadline=None)
@given(seeds, st.booleans())
def test_more_freedom_leaves_a_smaller_squared_error(seed, turned):
    """The mean distance may grow, since all three are fit by squares; the root of the mean square may not,
    not even for a prediction that looks the other way.
    """
    predicted, truth, known = case(seed)
    predicted, truth = predicted - predicted[:, :1], truth - truth[:, :1]
    if turned:
        predicted = -truth + (predicted - truth) / 10
    plain = root_mean_square(distances(predicted, truth, known))
    scaled = root_mean_square(distances(rescaled(predicted, truth, known), truth, known))
    aligned = root_mean_square(pa_distances(predicted, truth, known))
    assert aligned <= scaled * (1 + 1e-9)
    assert scaled <= plain * (1 + 1e-9)


def test_the_mean_distance_can_grow_by_the_least_squares_scale():
    # Scale (1 + 1 + 2 + 2) / (1 + 1 + 4 + 2) = 3/4: to mend the third joint by half it spoils three that were
    # right.
    truth = np.array([[[1.0, 0, 0], [0, 1, 0], [0, 0, 1], [1, 1, 0]]])
    predicted = np.array([[[1.0, 0, 0], [0, 1, 0], [0, 0, 2], [1, 1, 0]]])
    assert mpjpe(predicted, truth, everything(truth)) == 250
    assert n_mpjpe(predicted, truth, everything(truth)) == pytest.approx(
        1000 * (1 / 4 + 1 / 4 + 1 / 2 + 2**0.5 / 4) / 4
    )


def test_people_that_cannot_be_aligned_are_left_out():
    truth = np.repeat(standing(1), 4, 0)
    known = everything(truth)
    known[1, 2:] = False  # two joints
    truth[2] = np.linspace(0, 1, 17)[:, None] * [1.0, 2.0, 3.0] + 4  # on a line
    predicted = truth + np.random.default_rng(0).normal(0, 0.03, truth.shape)
    mm = pa_distances(predicted, truth, known)
    assert np.isnan(mm).all(1).tolist() == [False, True, True, False]
    alone = [0, 3]
    assert pa_mpjpe(predicted, truth, known) == pytest.approx(
        pa_mpjpe(predicted[alone], truth[alone], known[alone])
    )
    with pytest.raises(ValueError, match="none of 2 people has a joint that can be measured"):
        pa_mpjpe(predicted[1:3], truth[1:3], known[1:3])


def test_a_prediction_without_a_shape_is_not_left_out():
    truth = standing(2, 0.1) + [0, 0, 4]
    point = np.full(truth.shape, 0.3)
    np.testing.assert_allclose(
        pa_distances(point, truth, everything(truth)),
        1000 * np.linalg.norm(truth - truth.mean(1, keepdims=True), axis=-1),
    )
    almost_nothing = np.where(np.arange(17)[:, None] < 2, truth, np.nan)
    assert np.isinf(pa_distances(almost_nothing, truth, everything(truth))).all()


def test_mpjve_by_hand():
    # Two sequences whose frames are mixed: a moves by 10 mm and then 30 too much, b is right but for one
    # joint unknown in its middle frame.
    truth = np.zeros((6, 1, 3))
    predicted = np.zeros((6, 1, 3))
    predicted[[0, 2, 4], 0, 0] = (0.5, 0.51, 0.54)
    predicted[3] = 7
    known = np.ones((6, 1), bool)
    known[3] = False
    ids = np.array(["a", "b", "a", "b", "a", "b"])
    assert mpjve(predicted, truth, known, ids) == pytest.approx((10 + 30) / 2)
    assert mpjve(predicted[[0, 2, 4]], truth[:3], known[:3]) == pytest.approx(20)
    with pytest.raises(ValueError, match="one id for each of the 6 frames"):
        mpjve(predicted, truth, known, ids[:2])


def test_pck_and_auc_by_hand():
    truth = np.zeros((1, 4, 3))
    predicted = np.array([[[0, 0, 0], [0.0125, 0, 0], [0.15, 0, 0], [0.151, 0, 0]]])
    known = everything(truth)
    assert pck3d(predicted, truth, known) == 2 / 4  # 150 mm is not nearer than 150 mm
    assert pck3d(predicted, truth, known, threshold=151.5) == 1
    # Of the thresholds 0, 5, ... 150 the first joint is nearer than 30, the second than 15, ... 150, which
    # are 28, the others than none.
    assert auc(predicted, truth, known) == pytest.approx((30 + 28) / 31 / 4)
    assert auc(truth, truth, known) == pytest.approx(30 / 31)


def test_per_action_averages_actions_not_frames():
    mm = np.array([[10.0, 30.0], [20.0, np.nan], [100.0, 100.0], [np.nan, np.nan]])
    actions = np.array(["Walk", "Walk", "Eat", "Walk"])
    assert per_action(mm, actions) == ({"Eat": 100.0, "Walk": 20.0}, 60.0)
    with pytest.raises(ValueError, match="no joint is known in the action Sit"):
        per_action(mm, np.array(["Walk", "Walk", "Eat", "Sit"]))
    with pytest.raises(ValueError, match="one name for each of the 4 people"):
        per_action(mm, actions[:2])


def test_score_measures_from_the_root():
    truth = standing(4, 0.1)
    predicted = truth + np.random.default_rng(1).normal(0, 0.05, truth.shape) + [0.4, -1, 3]
    known = everything(truth)
    known[0, 0] = False  # no root: nothing of this person can be told
    known[1:, 5] = False
    known[1, 6] = False
    found = score(predicted, truth, known, H36M17)
    points = predicted[1:] - predicted[1:, :1], truth[1:] - truth[1:, :1]
    assert found.left_out == 1
    assert found.mpjpe == pytest.approx(mpjpe(*points, known[1:]))
    assert found.pa_mpjpe == pytest.approx(pa_mpjpe(*points, known[1:]))
    assert found.n_mpjpe == pytest.approx(n_mpjpe(*points, known[1:]))
    assert found.count.tolist() == [3, 3, 3, 3, 3, 0, 2, *[3] * 10]
    assert found.joints[0] == 0
    assert np.isnan(found.joints[5])
    assert found.joints[6] == pytest.approx(
        1000 * np.linalg.norm(points[0][1:, 6] - points[1][1:, 6], axis=-1).mean()
    )


def test_score_counts_the_root_in_mpjpe_and_not_in_pck():
    truth = standing(1)
    predicted = truth + [0.3, 0, 0]
    predicted[:, 0] = truth[:, 0]
    found = score(predicted, truth, everything(truth), H36M17)
    assert found.mpjpe == pytest.approx(300 * 16 / 17)
    assert found.pck == 0
    assert found.auc == 0
    perfect = score(truth, truth, everything(truth), H36M17)
    assert (perfect.mpjpe, perfect.pck, perfect.auc) == (0, 1, pytest.approx(30 / 31))


def test_shapes_and_truth_are_checked():
    predicted, truth, known = case(0)
    with pytest.raises(ValueError, match="do not belong together"):
        mpjpe(predicted[:, :3], truth, known)
    truth[0, 0] = np.nan
    with pytest.raises(ValueError, match="truth of a known joint is not finite"):
        mpjpe(predicted, truth, known)
    with pytest.raises(ValueError, match="none of 5 people"):
        mpjpe(predicted, truth, np.zeros_like(known))


def test_body_frame_of_a_person_that_faces_the_camera():
    axes, torso = body_frame(standing(), H36M17)
    # left is the camera's right, up is against its y, the front comes towards it
    np.testing.assert_allclose(axes[0], np.diag([1.0, -1, -1]), atol=1e-12)
    assert torso[0] == pytest.approx(0.48)
    with pytest.raises(ValueError, match="skeleton lone has no left_hip, right_hip"):
        body_frame(np.zeros((1, 1, 3)), Skeleton("lone", ("pelvis",), (0,)))


@settings(deadline=None)
@given(seeds)
def test_body_frame_turns_with_the_body(seed):
    dataset = standing(4, 0.05, seed)
    turn = Rotation.random(random_state=seed).as_matrix()
    axes, torso = body_frame(dataset, H36M17)
    turned, longer = body_frame(2 * dataset @ turn.T + 1, H36M17)
    np.testing.assert_allclose(turned, turn @ axes, atol=1e-9)
    np.testing.assert_allclose(longer, 2 * torso)
    np.testing.assert_allclose(axes.swapaxes(1, 2) @ axes, np.tile(np.eye(3), (4, 1, 1)), atol=1e-9)
    np.testing.assert_allclose(np.linalg.det(axes), 1)


@settings(max_examples=30, deadline=None)
@given(seeds)
def test_calibration_removes_an_offset_along_the_body(seed):
    """Exactly, where people differ by a similarity: turned, moved, and large or small, in prediction and
    truth alike.
    """
    rng = np.random.default_rng(seed)
    predicted = moved(np.repeat(standing(1, 0.1, seed), 8, 0), seed)
    offsets = rng.normal(0, 0.1, (17, 3))
    truth = moved(calibrated(predicted, offsets, H36M17), seed + 1)
    known = rng.random(truth.shape[:2]) < 0.8
    known[:, :5] = True
    found = calibrate(predicted[:4], truth[:4], np.ones((4, 17), bool), H36M17)
    assert pa_mpjpe(predicted[4:], truth[4:], known[4:]) > 10
    assert pa_mpjpe(calibrated(predicted[4:], found, H36M17), truth[4:], known[4:]) < 1e-6


def test_calibration_takes_most_of_an_offset_from_people_in_many_poses():
    """Definitions of hips, neck and head that differ by 60 to 110 mm: what PA-MPJPE sees of them falls to
    less than a fifth on people not fit on.
    """
    dataset = standing(400, 0.15)
    offsets = np.zeros((17, 3))
    for joint, offset in {
        "left_hip": (0.06, 0.1, 0),
        "right_hip": (-0.06, 0.1, 0),
        "neck_nose": (0, 0, 0.15),
        "head_top": (0, 0.2, 0),
    }.items():
        offsets[H36M17.index(joint)] = offset
    predicted, truth = moved(dataset, 3), calibrated(dataset, offsets, H36M17)
    found = calibrate(predicted[:200], truth[:200], everything(truth[:200]), H36M17)
    before = pa_mpjpe(predicted[200:], truth[200:], everything(truth[200:]))
    after = pa_mpjpe(calibrated(predicted[200:], found, H36M17), truth[200:], everything(truth[200:]))
    assert before > 20
    assert after < before / 5


def test_calibration_does_not_mend_what_is_noise():
    truth = standing(600, 0.1)
    predicted = moved(truth + np.random.default_rng(5).normal(0, 0.05, truth.shape), 6)
    known = everything(truth[300:])
    offsets = calibrate(predicted[:300], truth[:300], known, H36M17)
    before, after = (
        pa_mpjpe(predicted[300:], truth[300:], known),
        pa_mpjpe(calibrated(predicted[300:], offsets, H36M17), truth[300:], known),
    )
    assert after == pytest.approx(before, rel=0.03)


def test_calibration_of_the_unknown():
    truth = standing(20, 0.1)
    predicted = truth + np.random.default_rng(0).normal(0, 0.05, truth.shape)
    known = everything(truth)
    known[:, 3] = False
    predicted[0, H36M17.index("left_hip")] = np.nan  # a body without axes
    offsets = calibrate(predicted, truth, known, H36M17)
    assert offsets[3].tolist() == [0, 0, 0]
    np.testing.assert_allclose(offsets, calibrate(predicted[1:], truth[1:], known[1:], H36M17))
    np.testing.assert_array_equal(calibrated(predicted, offsets, H36M17)[0], predicted[0])
    with pytest.raises(ValueError, match="nothing to calibrate with"):
        calibrate(predicted, truth, np.zeros_like(known), H36M17)
    with pytest.raises(ValueError, match="nothing to calibrate with"):
        calibrate(
            np.zeros((3, 14, 3)),
            np.random.default_rng(0).normal(size=(3, 14, 3)),
            np.ones((3, 14), bool),
            LSP14,
        )


def test_per_person_values_go_into_per_action():
    truth = standing(3)
    predicted = truth + np.array([0.01, 0.02, 0.06])[:, None, None] * [1, 0, 0]
    mm = distances(predicted, truth, everything(truth))
    np.testing.assert_allclose(per_person(mm), [10, 20, 60])
    assert per_action(mm, np.array(["a", "b", "b"]))[1] == pytest.approx(25)
