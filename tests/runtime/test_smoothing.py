"""The 1-Euro filter against its formulas, one number at a time, and what a Smoother does with people."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from poseling.pose import Pose
from poseling.runtime.smoothing import GAP, OneEuro, Smoother, size
from poseling.skeleton import Skeleton

ARM = Skeleton("arm", ("left_hand", "right_hand", "pelvis"), (2, 2, 2))


def scalar(
    values: list[float], times: list[float], mincutoff: float, beta: float, dcutoff: float
) -> list[float]:
    """The paper's algorithm 1, word for word, for one number."""
    filtered = [values[0]]
    edx = 0.0
    for i in range(1, len(values)):
        te = times[i] - times[i - 1]

        def alpha(fc: float, te: float = te) -> float:
            tau = 1 / (2 * math.pi * fc)
            return 1 / (1 + tau / te)

        dx = (values[i] - filtered[-1]) / te
        edx = alpha(dcutoff) * dx + (1 - alpha(dcutoff)) * edx
        a = alpha(mincutoff + beta * abs(edx))
        filtered.append(a * values[i] + (1 - a) * filtered[-1])
    return filtered


@given(
    rows=st.lists(
        st.tuples(st.floats(0.001, 0.4), st.floats(-100, 100), st.floats(-100, 100)), min_size=1, max_size=20
    ),
    mincutoff=st.floats(0.1, 20),
    beta=st.floats(0, 2),
    dcutoff=st.floats(0.1, 5),
)
def test_arrays_are_filtered_as_the_paper_filters_numbers(rows, mincutoff, beta, dcutoff):
    times = np.cumsum([row[0] for row in rows]).tolist()
    values = np.array([row[1:] for row in rows])
    ease = OneEuro(mincutoff, beta, dcutoff)
    found = np.array([ease(value, t) for value, t in zip(values, times, strict=True)])
    wanted = np.stack([scalar(values[:, i].tolist(), times, mincutoff, beta, dcutoff) for i in range(2)], -1)
    np.testing.assert_allclose(found, wanted, rtol=1e-9, atol=1e-9)


def test_the_unit_is_that_of_the_speed():
    """Centimetres with a unit of five of them, and metres with 0.05 m, are the same filter."""
    values = np.cumsum(np.random.default_rng(0).normal(0, 0.05, (40, 3)), 0)
    metres, centimetres = OneEuro(0.8, 0.4), OneEuro(0.8, 0.4)
    for i, value in enumerate(values):
        np.testing.assert_allclose(
            100 * metres(value, i / 30, 0.05), centimetres(100 * value, i / 30, 5.0), rtol=1e-12
        )


def test_what_stands_still_stays_and_a_step_is_approached_from_one_side():
    ease = OneEuro(1.7, 0.3)
    assert {float(ease(7.25, i / 30)) for i in range(50)} == {7.25}
    steps = [float(ease(8.25, (50 + i) / 30)) for i in range(60)]
    assert (np.diff([7.25, *steps]) > 0).all()
    assert 8.2 < steps[-1] < 8.25


def test_with_beta_0_the_step_response_is_the_closed_form_and_the_frame_rate_hardly_matters():
    # With alpha a the rest of a step shrinks by 1 - a a frame, and a = T / (T + tau): at high rates that is
    # exp(-t / tau).
    tau = 1 / (2 * math.pi * 1.0)
    for rate, tolerance in ((30, 0.06), (300, 0.006), (3000, 0.0006)):
        ease = OneEuro(1.0, 0.0)
        ease(0.0, 0.0)
        found = [float(ease(1.0, i / rate)) for i in range(1, rate // 3)]
        a = 1 / (1 + tau * rate)
        np.testing.assert_allclose(found, 1 - (1 - a) ** np.arange(1, rate // 3), atol=1e-12)
        np.testing.assert_allclose(found, 1 - np.exp(-np.arange(1, rate // 3) / rate / tau), atol=tolerance)


def test_a_ramp_is_followed_alike_at_any_rate():
    """With beta 0 the lag e behind a ramp obeys e' = (1 - alpha) (e + Te), which stands still at tau,
    whatever Te is.
    """
    irregular = np.cumsum(np.random.default_rng(1).uniform(0.005, 0.03, 400))
    for times in (np.arange(0, 6, 1 / 5), np.arange(0, 6, 1 / 60), np.arange(0, 6, 1 / 120), irregular):
        ease = OneEuro(1.0, 0.0)
        lag = [t - float(ease(t, t)) for t in times][-1]
        assert lag == pytest.approx(1 / (2 * math.pi), rel=1e-6)


def test_a_missing_sample_holds_the_last_value_and_a_gap_restarts():
    ease = OneEuro(1.0, 0.0)
    nan = float("nan")
    assert np.isnan(ease([nan, 1.0], 0.0)).tolist() == [True, False]
    assert ease([3.0, 1.0], 0.1).tolist() == [3.0, 1.0]  # its first sample starts it
    assert ease([nan, np.inf], 0.2).tolist() == [3.0, 1.0]
    # The next sample counts from the last one that there was, 0.2 s ago: alpha = 0.2 / (0.2 + 1 / 2 pi).
    np.testing.assert_allclose(ease([4.0, 1.0], 0.3)[0], 3 + 0.2 / (0.2 + 1 / (2 * math.pi)))
    for i in range(10):
        ease([nan, 1.0], 0.4 + i / 10)
    assert ease([9.0, 1.0], 1.4).tolist() == [9.0, 1.0]


def test_time_that_stands_or_runs_back():
    ease = OneEuro(1.0, 0.0)
    ease(1.0, 5.0)
    assert float(ease(2.0, 5.0)) == 1.0
    assert float(ease(3.0, 1.0)) == 3.0  # a recording that begins again
    with pytest.raises(ValueError, match="seconds is nan"):
        ease(1.0, float("nan"))
    with pytest.raises(ValueError, match=r"shape \(2,\), but those before had \(\)"):
        ease([1.0, 2.0], 2.0)


def person(x: float, ids: tuple[int, ...] = (0,), spread: float = 100.0) -> Pose:
    """People 100 pixels wide and a metre, at x pixels and x / 100 metres."""
    xy = np.array([[x, 0], [x + spread, 0], [x + spread / 2, 0]])
    xyz = np.array([[x, 0, 300], [x + 100, 0, 300], [x + 50, 0, 300]]) / 100
    return Pose(
        np.stack([xy] * len(ids)), np.ones((len(ids), 3)), ARM, np.stack([xyz] * len(ids)), np.array(ids)
    )


def test_people_are_filtered_by_id_and_forgotten():
    smooth = Smoother()
    smooth(person(0, (3,)), 0.0)
    both = smooth(person(10, (7, 3)), 1 / 30)
    assert both.ids.tolist() == [7, 3]
    np.testing.assert_allclose(both.xy[0], person(10).xy[0])  # 7 is new, wherever it stands in the list
    assert 0 < both.xy[1, 0, 0] < 10
    smooth(person(10, (7,)), 0.3)
    smooth(person(10, (7,)), 0.3 + GAP)
    assert smooth(person(80, (3,)), 0.9).xy[0, 0, 0] == 80


def test_people_together_are_each_filtered_alone():
    """Three who come, hide, leave and come back, each against filters of its own; one joint is hidden."""
    rng, smooth, own, last = np.random.default_rng(3), Smoother(), {}, {}
    there = [(4,), (4, 2), (2, 4), (9, 2), (9,), (2, 9, 4), (4, 2), (4,), (2, 4, 9), (9,)]
    times = [0.0, 0.1, 0.2, 0.3, 0.7, 0.75, 0.8, 1.4, 1.45, 1.5]
    held = 0
    for i, (ids, seconds) in enumerate(zip(there, times, strict=True)):
        xy, xyz = rng.normal(100, 50, (len(ids), 3, 2)), rng.normal(0, 1, (len(ids), 3, 3))
        xy[0, 1] = np.nan if i == 5 else xy[0, 1]
        found = smooth(Pose(xy, np.ones((len(ids), 3)), ARM, xyz, np.array(ids)), seconds)
        for row, person in enumerate(ids):
            flat, deep = own.setdefault(person, (OneEuro(1.7, 0.3), OneEuro(0.8, 0.4)))
            seen = xy[row][np.isfinite(xy[row]).all(-1)]
            unit = max(seen.max(0) - seen.min(0)) / 34
            np.testing.assert_allclose(found.xy[row], flat(xy[row], seconds, unit), rtol=1e-5)
            np.testing.assert_allclose(found.xyz[row], deep(xyz[row], seconds, 0.05), rtol=1e-5, atol=1e-6)
            held += not np.allclose(found.xyz[row], xyz[row])
            last[person] = seconds
        for person in [p for p, at in last.items() if seconds - at > GAP]:
            del own[person], last[person]
    assert held == 11  # of 18: three are the first, four come after a gap


def test_rows_are_kept_dropped_and_begun():
    ease, other = OneEuro(1.0, 0.5), OneEuro(1.0, 0.5)
    ease.keep([-1])  # nothing yet
    for i, value in enumerate((0.0, 3.0)):
        ease([[1.0, 1.0], [value, 2 * value]], i / 10)
        other([value, 2 * value], i / 10)
    ease.keep([1, -1])
    found = ease([[5.0, 4.0], [8.0, 9.0]], 0.2)
    np.testing.assert_array_equal(found, [other([5.0, 4.0], 0.2), [8.0, 9.0]])
    assert np.isinf(ease.frequency).tolist() == [[False, False], [True, True]]


def test_near_and_far_people_are_filtered_alike():
    near, far = Smoother(), Smoother()
    for i, x in enumerate(np.random.default_rng(0).normal(0, 5, 20)):
        a, b = near(person(10 * x, spread=1000), i / 30), far(person(x), i / 30)
        np.testing.assert_allclose(a.xy, 10 * b.xy, rtol=1e-3, atol=1e-3)
    assert size(np.array([[0, 0], [30, 40], [np.nan, 900]])) == 40
    assert size(np.full((3, 2), np.nan)) == 1
    many = np.array([[[0, 0], [30, 40]], [[7, 7], [np.inf, 0]], [[-5, 2], [3, 1]], [[np.nan] * 2] * 2])
    assert size(many).tolist() == [40, 1, 8, 1]


def test_without_xyz():
    flat = Pose(np.zeros((1, 3, 2)), np.ones((1, 3)), ARM)
    assert Smoother()(flat, 0.0).xyz is None
    smooth = Smoother(1)
    assert smooth(flat, 0.0) is None
    assert smooth(flat, 0.1).xyz is None


def through(smooth: Smoother, poses: list[Pose]) -> list[Pose]:
    return [pose for i, p in enumerate(poses) if (pose := smooth(p, i / 30)) is not None] + smooth.rest()


def test_lookahead_gives_every_frame_in_order_and_a_ramp_without_lag():
    ramp = [person(0.5 * i) for i in range(100)]  # 15 cm a second
    out = {n: through(Smoother(n), ramp) for n in (0, 3, 10, 100)}
    assert all(len(poses) == 100 for poses in out.values())
    lag = {
        n: np.mean([0.5 * i - p.xy[0, 0, 0] for i, p in enumerate(poses)][40:60]) / 0.5
        for n, poses in out.items()
    }
    assert lag[0] > 0.8
    assert abs(lag[3]) < 0.5 * lag[0]
    assert abs(lag[10]) < 0.1
    assert np.allclose([p.xyz[0] for p in through(Smoother(5), [person(4)] * 9)], person(4).xyz[0])


def test_lookahead_is_quieter_than_looking_back_alone():
    noisy = [person(x) for x in np.random.default_rng(0).normal(0, 3, 200)]
    rough = {n: np.std(np.diff([p.xyz[0, 0, 0] for p in through(Smoother(n), noisy)], 2)) for n in (0, 5)}
    assert rough[5] < 0.6 * rough[0] < 0.2 * np.std(np.diff([p.xyz[0, 0, 0] for p in noisy], 2))


def test_lookahead_stops_where_a_person_does():
    """Another id, a frame without the person, and a joint that starts anew: nothing of what comes after gets
    in.
    """
    cut = [person(0)] * 5 + [person(500, (1,))] * 5
    assert [round(float(p.xy[0, 0, 0])) for p in through(Smoother(4), cut)] == [0] * 5 + [500] * 5
    gone = [person(0)] * 5 + [person(0)[:0]] + [person(500)] * 5
    assert [float(p.xy[0, 0, 0]) for p in through(Smoother(4), gone) if len(p)][:5] == [0] * 5
    smooth = Smoother(2)
    found = [smooth(person(0), 0.0), smooth(person(900), 0.0 + 2 * GAP), *smooth.rest()]
    assert [float(p.xy[0, 0, 0]) for p in found if p is not None] == [0, 900]


def test_a_negative_lookahead_is_refused():
    with pytest.raises(ValueError, match="lookahead is -1"):
        Smoother(-1)
