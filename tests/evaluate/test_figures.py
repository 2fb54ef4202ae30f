from pathlib import Path

import cv2
import numpy as np
import pytest
from matplotlib.figure import Figure

from poseling.data.dataset import from_joints
from poseling.evaluate.figures import (
    across,
    cases,
    choose,
    colours,
    curves,
    draw_curves,
    encode,
    over_seeds,
    view,
)
from poseling.files import read_image
from poseling.pose import Pose
from poseling.skeleton import LSP14


@pytest.fixture
def dataset(tmp_path: Path):
    """Five people of 14 joints on dark green images."""
    rng = np.random.default_rng(0)
    joints = rng.uniform(30, 90, (5, 14, 2))
    paths = [tmp_path / f"im{i}.png" for i in range(5)]
    for path in paths:
        cv2.imwrite(str(path), np.full((120, 120, 3), (0, 40, 0), np.uint8))
    return from_joints("five", LSP14, paths, joints, np.full((5, 14), 2))


def near(image, colour, tolerance=12):
    """How many pixels have this RGB colour."""
    return int((np.abs(image.astype(int) - colour).max(-1) <= tolerance).sum())


def test_over_seeds_by_hand():
    epochs, low, mean, high = over_seeds([[(1, 0.2), (2, 0.5)], [(1, 0.4), (2, 0.7), (3, 0.9)]])
    assert epochs.tolist() == [1, 2, 3]
    assert low.tolist() == [0.2, 0.5, 0.9]
    assert mean == pytest.approx([0.3, 0.6, 0.9])
    assert high.tolist() == [0.4, 0.7, 0.9]


def test_choose_by_hand():
    errors = np.array([0.5, np.nan, 0.1, 0.4, 0.2, 0.3])
    chosen = {name: rows.tolist() for name, rows in choose(errors, 2).items()}
    assert chosen == {"worst": [0, 3], "median": [4, 5], "best": [2, 4]}
    assert len(choose(errors, 9)["worst"]) == 5  # as many as there are
    with pytest.raises(
        ValueError, match="every error is NaN: no sample has a label, so there are no cases to show"
    ):
        choose(np.full(3, np.nan), 2)


def test_across_by_hand():
    # of 0.1 0.2 | 0.3 0.4 | 0.5 0.6 the second of each; NaN is left out
    assert across(np.array([0.6, 0.1, np.nan, 0.3, 0.2, 0.5, 0.4]), 3).tolist() == [4, 6, 0]
    assert across(np.array([0.3, np.nan, 0.1]), 8).tolist() == [2, 0]  # as many as there are
    assert across(np.full(3, np.nan), 8).tolist() == []


def test_an_arm_keeps_its_colour_wherever_it_stands():
    few, many = colours(["distilled"]), colours(["baseline", "baseline_longer", "distilled", "from scratch"])
    assert few["distilled"] == many["distilled"]
    assert len(set(many.values())) == 4


def test_draw_curves_names_and_inks():
    axes = Figure().add_subplot()
    draw_curves(
        axes,
        {"distilled": [[(1, 0.2), (2, 0.4)], [(1, 0.4), (2, 0.8)]]},
        0.9,
        "agreement with the teacher, PCK@0.2",
        {"distilled": "student"},
        "#abcdef",
    )
    student, teacher = axes.get_lines()
    assert [line.get_label() for line in (student, teacher)] == ["student", "teacher"]
    assert student.get_ydata() == pytest.approx([0.3, 0.6])
    assert list(teacher.get_ydata()) == [0.9, 0.9]
    assert teacher.get_color() == axes.xaxis.label.get_color() == "#abcdef"
    assert (
        axes.get_ylabel() == "agreement with the teacher,\nPCK@0.2"
    )  # in one line it would be longer than the axis


@pytest.mark.parametrize("kind", ["png", "svg"])
def test_the_same_figure_gives_the_same_bytes(kind):
    def figure():
        made = Figure(figsize=(2, 1))
        draw_curves(made.add_subplot(), {"baseline": [[(1, 0.2), (2, 0.4)]]}, None, "PCK")
        return made

    assert encode(figure(), kind) == encode(figure(), kind)


def test_view_crops_and_draws(dataset):
    joints = dataset.joints[0] + 200  # outside of the crop
    empty, drawn, labelled = (
        view(dataset, 0, joints),
        view(dataset, 0, dataset.joints[0]),
        view(dataset, 0, joints, truth=True),
    )
    assert empty.shape == (256, 256, 3)
    assert near(empty, (255, 128, 48)) == near(empty, (255, 255, 255)) == 0
    assert near(drawn, (255, 128, 48)) > 100  # the person's right
    assert near(labelled, (255, 255, 255)) > 50


def test_curves_shows_every_arm(tmp_path):
    baseline, distilled = [(e, e / 10) for e in range(6)], [(e, e / 8) for e in range(6)]
    curves({"baseline": [baseline]}, tmp_path / "one.png")
    curves({"baseline": [baseline], "distilled": [distilled]}, tmp_path / "two.png", teacher=0.8)
    one, two = read_image(tmp_path / "one.png"), read_image(tmp_path / "two.png")
    orange = (0xD5, 0x5E, 0x00)
    assert near(one, orange) == 0
    assert near(two, orange) > 500


def predicted(dataset, joints):
    return Pose(joints, np.ones(joints.shape[:2]), dataset.skeleton)


def test_cases_puts_the_teacher_beside_the_student(tmp_path, dataset):
    errors = np.linspace(0.1, 0.5, 5)
    guess = predicted(dataset, dataset.joints + 3)
    cases(dataset, guess, None, errors, tmp_path / "alone.png", columns=2)
    cases(dataset, guess, guess, errors, tmp_path / "both.png", columns=2)
    alone, both = read_image(tmp_path / "alone.png"), read_image(tmp_path / "both.png")
    assert both.shape[1] == 2 * alone.shape[1]
    assert near(both, (0, 40, 0)) > 100_000  # the images are there


def test_joints_that_are_not_predicted_are_not_drawn(tmp_path, dataset):
    nothing = predicted(dataset, np.full_like(dataset.joints, np.nan))
    some = predicted(dataset, dataset.joints + 9)
    cases(dataset, nothing, None, np.arange(5.0), tmp_path / "none.png", columns=1)
    cases(dataset, some, None, np.arange(5.0), tmp_path / "some.png", columns=1)
    # without a guess all is grey but the images' dark green: the truth is black and white
    none, some = (read_image(tmp_path / name).astype(int) for name in ("none.png", "some.png"))
    vivid = [int((p.max(-1) - p.min(-1) > 80).sum()) for p in (none, some)]
    assert vivid[0] == 0
    assert vivid[1] > 1000
