"""An experiment: which samples are used for what, how long a training is, and what is kept apart."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from poseling.data.resident import Resident
from poseling.files import read_image
from poseling.recipes import experiment as experiments
from poseling.recipes import results
from poseling.recipes.config import TrainConfig, duration
from poseling.recipes.experiment import Experiment, TeacherSignal
from poseling.skeleton import COCO17


@pytest.mark.parametrize(
    ("text", "seconds"), [("90s", 90), ("20m", 1200), ("2h", 7200), ("1.5h", 5400), ("1e2s", 100)]
)
def test_durations(text: str, seconds: float):
    assert duration(text) == seconds


@pytest.mark.parametrize("text", ["soon", "90", "0s", "-5m", "nans", "infh", "m", "2d", "1h30m"])
def test_durations_that_are_none(text: str):
    with pytest.raises(ValueError, match=f"--budget {text}: is no duration; give a number with s, m or h"):
        TrainConfig(budget=text)


def test_no_budget_is_no_error():
    assert TrainConfig(budget="").budget == ""


def experiment(out: Path, **more: Any) -> Experiment:
    return Experiment.of("test", TrainConfig(out=out, size=64, batch=8, workers=0, **more), "hourglass-1x8")


def at_speed(monkeypatch: pytest.MonkeyPatch, *speeds: float) -> list[float]:
    """Training measures as so many samples a second, each time the next; returns what is left."""
    left = list(speeds)
    monkeypatch.setattr(experiments, "throughput", lambda steps, images, rounds: {"": [left.pop(0)]})
    return left


def test_a_budget_buys_epochs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """100 samples a second for 60 s, of which 0.95 to train: 5700 samples, 4.75 epochs of 1200. Measured once
    for all trainings, and for the same command again.
    """
    at_speed(monkeypatch, 100.0)
    first = experiment(tmp_path, budget="60s")
    assert first.epochs() == pytest.approx(4.75)
    assert first.epochs(terms=first.respond(0.5)) == first.epochs()
    assert experiment(tmp_path, budget="60s").epochs() == first.epochs()
    assert list(json.loads((tmp_path / "budget.json").read_text()).values()) == [pytest.approx(4.75)]


def test_another_network_or_another_budget_is_measured_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    left = at_speed(monkeypatch, 100.0, 50.0, 200.0)
    one = experiment(tmp_path, budget="60s")
    other = one.student_of("hourglass-1x16")
    assert (one.epochs(), one.epochs(other)) == (pytest.approx(4.75), pytest.approx(4.75 / 2))
    assert experiment(tmp_path, budget="2m").epochs() == pytest.approx(4 * 4.75)
    assert one.epochs(other) == pytest.approx(4.75 / 2)
    assert left == []


def test_a_budget_of_less_than_a_pass_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    at_speed(monkeypatch, 10.0)
    wanted = r"--budget 90s: 10 samples a second here, so one epoch of 1200 samples takes 2 minutes; give more time, a smaller --size or fewer samples, or set --epochs"
    with pytest.raises(ValueError, match=wanted):
        experiment(tmp_path, budget="90s").epochs()
    assert not (tmp_path / "budget.json").exists()


def test_the_speed_is_measured(tmp_path: Path):
    """For real: some steps, and a positive number. Without a budget nothing is measured, in a smoke run
    neither.
    """
    assert experiment(tmp_path, budget="10h").epochs() > 1
    assert experiment(tmp_path / "other", epochs=3.5).epochs() == 3.5
    assert not (tmp_path / "other").exists()
    assert (
        Experiment.of(
            "test", TrainConfig(out=tmp_path / "other", smoke=True, budget="1s"), "hourglass-1x8"
        ).epochs()
        == 2
    )


@pytest.mark.parametrize("resident", [False, True])
def test_curves_are_of_the_samples_to_choose_by_and_test_samples_are_read_at_the_end(
    resident: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    found = Experiment.of(
        "test", TrainConfig(out=tmp_path, smoke=True, evaluate_every=0.5, resident=resident), "hourglass-1x8"
    )
    asked: list[tuple[str, Path]] = []
    phase = "before"

    def read(part: str) -> Callable[[Path], NDArray[np.uint8]]:
        def reader(path: Path) -> NDArray[np.uint8]:
            asked.append((f"{part} {phase}", path))
            return read_image(path)

        return reader

    def fit(*arguments: Any, **more: Any) -> Any:
        nonlocal phase
        phase = "while"
        result = loop(*arguments, **more)
        phase = "after"
        return result

    loop = experiments.fit
    monkeypatch.setattr(experiments, "fit", fit)
    val, test = set(found.choice.dataset.images), set(found.measure.dataset.images)
    assert not val & test
    assert not (val | test) & set(found.dataset.images)
    choice, measure = replace(found.choice, read=read("val")), replace(found.measure, read=read("test"))
    found = replace(found, choice=choice, measure=measure)
    trained = found.fit("baseline", found.learner(0), found.supervised())
    assert {path for when, path in asked if when == "val while"} == val
    assert {path for when, path in asked if when == "test after"} == test
    assert {when for when, _ in asked} == {"val while", "test after"}
    assert len(trained.curve) == 4  # two epochs, every half
    assert len(trained.pose) == len(found.measure.dataset)
    assert trained.score.mean == found.measure.score(trained.pose).mean


def test_a_folder_a_recipe():
    assert Experiment.of("fpd", TrainConfig(smoke=True), "hourglass-1x8").out == Path("runs/fpd")


def test_a_finished_run_of_a_cycle_names_the_way_to_continue(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    """Three steps; then more are wanted: a new run takes the student and the pseudo-labels that exist."""
    out = tmp_path / "out"
    one, more = (
        experiment(out, epochs=steps * 8 / 1200, schedule="one_cycle", flip_test=False) for steps in (3, 6)
    )
    trained = one.fit("baseline", one.learner(0), one.supervised())
    assert "measuring baseline, seed 0, on 300 test samples" in capsys.readouterr().out
    with pytest.raises(
        ValueError,
        match=r"laid out for --epochs 0\.02, not 0\.04; first finish what lies in \S+out with its old settings, or give",
    ):
        more.fit("baseline", more.learner(0), more.supervised())
    (out / "student.safetensors").write_bytes(trained.path.read_bytes())
    (out / "labels").mkdir()
    with pytest.raises(
        ValueError, match=r"with --student \S+out/student\.safetensors --out \S+out-2 --labels \S+out/labels$"
    ):
        more.fit("baseline", more.learner(0), more.supervised())


def test_ctrl_c_while_the_teacher_runs_says_how_to_continue(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    def interrupted(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(experiments, "label", interrupted)
    one = Experiment.of("test", TrainConfig(out=tmp_path, smoke=True), "hourglass-1x8")
    with pytest.raises(KeyboardInterrupt):
        one.label(one.load_teacher("mini"), one.dataset)
    assert (
        f"Its predictions until here stay in {tmp_path}/labels; the same command continues from there."
        in capsys.readouterr().out
    )


def test_speeds_are_measured_when_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(results, "speeds", lambda *_: {"supervised": 1.0})
    for asked, found in ((False, {}), (True, {"supervised": 1.0})):
        one = Experiment.of("test", TrainConfig(out=tmp_path, smoke=True, speeds=asked), "hourglass-1x8")
        teacher = one.load_teacher("mini")
        assert results.speeds_if_asked(one, teacher, TeacherSignal(), one.supervised()) == found


def folder(root: Path, count: int) -> Path:
    root.mkdir()
    for i in range(count):
        cv2.imwrite(str(root / f"{i:03d}.png"), np.full((40, 30, 3), i, np.uint8))
    return root


def test_what_is_kept_apart(tmp_path: Path):
    """Of images without parts every tenth is for testing, from the second on, and another tenth to choose by,
    from the seventh on.
    """
    config = TrainConfig(data=("images",), root=(folder(tmp_path / "a", 25),), out=tmp_path / "out", size=64)
    found = Experiment.of("test", config, "hourglass-1x8", COCO17, labels=False)
    parts = {
        name: [int(p.stem) for p in dataset.images]
        for name, dataset in (
            ("train", found.dataset),
            ("val", found.choice.dataset),
            ("test", found.measure.dataset),
        )
    }
    assert parts["test"] == [1, 11, 21]
    assert parts["val"] == [6, 16]
    assert parts["train"] == [i for i in range(25) if i % 10 not in (1, 6)]
    assert found.origin.tolist() == [0] * len(parts["train"])
    few = Experiment.of(
        "test", replace(config, root=(folder(tmp_path / "b", 4),)), "hourglass-1x8", COCO17, labels=False
    )
    assert (
        [p.stem for p in few.choice.dataset.images] == [p.stem for p in few.measure.dataset.images] == ["001"]
    )
    with pytest.raises(ValueError, match="is the only image, but some have to be kept apart for testing"):
        Experiment.of(
            "test", replace(config, root=(folder(tmp_path / "c", 1),)), "hourglass-1x8", COCO17, labels=False
        )


def test_a_set_with_parts_keeps_them_beside_one_without(tmp_path: Path):
    images = folder(tmp_path / "a", 20)
    config = TrainConfig(
        data=("mini:0.5", "images:0.5"), root=(tmp_path / "mini", images), out=tmp_path / "out", size=64
    )
    found = Experiment.of("test", config, "hourglass-1x8", COCO17)
    assert (len(found.dataset), len(found.choice.dataset), len(found.measure.dataset)) == (1220, 150, 300)
    assert np.bincount(found.origin).tolist() == [1200, 20]
    assert found.dataset.draws is not None
    assert found.dataset.draws[:1200].sum() == pytest.approx(0.5)
    assert found.sources == ("mini", "images")


def test_resident_images_are_read_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    found = Experiment.of("test", TrainConfig(out=tmp_path, smoke=True, resident=True), "hourglass-1x8")
    spec = found.spec(found.student, "arm")
    one, other = found.samples(found.dataset, spec, 0), found.samples(found.dataset, spec, 1)
    assert isinstance(one, Resident)
    assert isinstance(other, Resident)
    assert one.images is other.images
    assert capsys.readouterr().out.count("reading 32 images") == 1
    guide = found.load_teacher("mini")
    answers = found.label(guide, found.dataset)
    taught = found.samples(found.dataset, spec, 0, answers)
    plain, with_answers = next(iter(one.batches(0, 1, 4))), next(iter(taught.batches(0, 1, 4)))  # type: ignore[union-attr]
    assert all(
        torch.equal(plain[name], with_answers[name]) for name in plain
    )  # the control sees the same crops
    assert "teacher_xy" in with_answers
