"""The race: who takes part, turns, ratios and stages."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from poseling.evaluate import race
from poseling.evaluate.race import Lap, Racer


def test_a_ratio_is_of_each_turn():
    """Theirs take 3, 2 and 8 times as long."""
    ours = [Lap(1.0, 10.0, 5), Lap(2.0, 10.0, 5), Lap(0.5, 10.0, 5)]
    theirs = [Lap(3.0, 20.0, 5), Lap(4.0, 20.0, 5), Lap(4.0, 20.0, 5)]
    assert race.ratio(ours, theirs, "cpu").median == 3.0
    assert race.ratio(ours, theirs, "wall").median == 2.0


def test_everybody_gets_all_frames_in_turns_in_the_order_of_colours_it_wants():
    images = [np.full((2, 2, 3), (i, 10, 20), np.uint8) for i in range(3)]
    log: list[tuple[str, int]] = []

    def racer(name: str, colour) -> Racer:
        def start():
            log.append((name, -1))

            def seen(image, seconds):
                b, _, r = image[0, 0] if colour == "bgr" else image[0, 0, ::-1]
                assert (int(b), int(r)) == (round(30 * seconds), 20)
                log.append((name, int(b)))
                return int(b != 1)  # nobody is in the second frame

            return seen

        return Racer(name, start, colour)

    turns: list[int] = []
    laps = race.race([racer("a", "bgr"), racer("b", "rgb")], images, [0, 1 / 30, 2 / 30], 2, turns.append)
    assert turns == [0, 1, 2]
    assert [name for name, i in log if i < 0] == ["b", "a", "a", "b", "b", "a"]
    assert [i for name, i in log if name == "a"] == [-1, 0, 1, 2] * 3
    assert [[lap.found for lap in own] for own in laps.values()] == [[2, 2], [2, 2]]


def test_who_is_not_installed_is_told(monkeypatch: pytest.MonkeyPatch):
    def missing(name):
        raise ImportError(f"No module named '{name}'")

    monkeypatch.setattr(race.importlib, "import_module", missing)
    for name in race.PEERS:
        told = race.peer(name, 1)
        assert isinstance(told, str)
        assert told.startswith(f"{name}: {name.partition('-')[0]} is not installed here")
    with pytest.raises(ValueError, match="openpose: is no peer; there are mediapipe-lite"):
        race.peer("openpose", 1)


@pytest.mark.shared
def test_the_stages_are_all_of_it(shared: Path):
    took = race.stages(shared / "data" / "videos" / "pose_squats.mp4", "poseling-n", threads=1, most=4)
    assert tuple(took) == (*race.STAGES, "total")
    assert took["detect"] == 0
    assert all(took[stage] > 0 for stage in race.STAGES if stage != "detect")
    assert took["total"] == pytest.approx(sum(took[stage] for stage in race.STAGES))
