import itertools

import pytest

from poseling.evaluate.latency import latency, paired


class Machine:
    """A clock that only the calls move on."""

    def __init__(self):
        self.now, self.called = 0.0, []

    def clock(self):
        return self.now

    def call(self, name, seconds):
        durations = itertools.cycle(seconds)

        def run():
            self.called.append(name)
            self.now += next(durations)

        return run


def test_latency_leaves_the_warmup_out():
    machine = Machine()
    times = [9.0, 9.0, *(i / 1000 for i in range(1, 12))]  # two slow calls, then 1 ... 11 ms
    measured = latency(machine.call("a", times), warmup=2, repeats=11, clock=machine.clock)
    assert len(machine.called) == 13
    assert measured.median_ms == pytest.approx(6)
    assert measured.p10_ms == pytest.approx(2)
    assert measured.p90_ms == pytest.approx(10)
    assert measured.spread == pytest.approx(8 / 6)
    assert measured.per_second(3) == pytest.approx(3000 / 6)


def test_paired_takes_turns_and_the_ratio_survives_a_machine_that_slows_down():
    machine = Machine()
    slow = [1.0, 1.0, 2.0, 2.0, 4.0, 4.0]  # warm-up, then each round slower than the one before
    a = machine.call("a", [0.03 * s for s in slow])
    b = machine.call("b", [0.02 * s for s in slow])
    ratio = paired(a, b, rounds=4, warmup=2, clock=machine.clock)
    assert machine.called == list("abab" + "ab" + "ba" + "ab" + "ba")
    assert ratio.median == pytest.approx(1.5)
    assert ratio.spread == pytest.approx(0)


def test_the_spread_of_the_ratio():
    machine = Machine()
    a = machine.call("a", [i / 10 for i in range(1, 12)])
    ratio = paired(a, machine.call("b", [1.0]), rounds=11, warmup=0, clock=machine.clock)
    assert (ratio.median, ratio.p10, ratio.p90) == pytest.approx((0.6, 0.2, 1.0))
    assert ratio.spread == pytest.approx(0.8)


def test_nothing_to_time_is_refused():
    with pytest.raises(ValueError, match="repeats is 0"):
        latency(lambda: None, repeats=0)
    with pytest.raises(ValueError, match="rounds is 0"):
        paired(lambda: None, lambda: None, rounds=0)
