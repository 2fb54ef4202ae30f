import io
import json
import math
from dataclasses import replace

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from rich.console import Console

from poseling.evaluate.report import Arm, Difference, Report, gap_closed, installed_versions, write

TEACHER = Arm("teacher", [0.90], 25_594_624, 28.0945)
BASELINE = Arm("baseline", [0.80, 0.82, 0.81], 3_287_936, 3.9073, 20, {"Head": 0.9, "Ankle": math.nan}, 145.0)
DISTILLED = Arm("distilled", [0.84, 0.85, 0.83], 3_287_936, 3.9073, 20, {"Head": 0.92, "Ankle": 0.7}, 140.0)
REPORT = Report(
    "fpd",
    "lsp",
    "PCK@0.2",
    (0, 1, 2),
    TEACHER,
    BASELINE,
    DISTILLED,
    "poseling distill fpd --seeds 3",
    images_per_second={"supervised": 145.0, "distilled": 140.0},
    versions={"torch": "2.13"},
    curves={"baseline": [(1, 0.2), (2, 0.4)]},
)
ONE_SEED = replace(
    REPORT, seeds=(7,), baseline=replace(BASELINE, values=[0.80]), distilled=replace(DISTILLED, values=[0.84])
)


@given(*[st.floats(0, 1)] * 3)
def test_gap_closed_is_its_formula_and_turns_with_the_metric(distilled, baseline, teacher):
    assume(abs(teacher - baseline) > 1e-6)
    share = gap_closed(distilled, baseline, teacher)
    if teacher > baseline:
        assert baseline + share * (teacher - baseline) == pytest.approx(distilled)
    else:
        assert share is None
    # errors instead of rates: the same share, at the same gap
    assert gap_closed(1 - distilled, 1 - baseline, 1 - teacher, higher_is_better=False) == (
        None if share is None else pytest.approx(share, abs=1e-6)
    )


def test_gap_closed_by_hand():
    assert gap_closed(0.85, 0.80, 0.90) == pytest.approx(0.5)
    assert gap_closed(0.78, 0.80, 0.90) == pytest.approx(-0.2)
    assert gap_closed(0.85, 0.80, 0.80) is None
    assert gap_closed(90.0, 100.0, 80.0, higher_is_better=False) == pytest.approx(0.5)


def test_the_share_over_seeds():
    gap = REPORT.gap_closed
    # (0.84 - 0.80) / 0.10, (0.85 - 0.82) / 0.08, (0.83 - 0.81) / 0.09
    assert gap.values == pytest.approx([0.4, 0.375, 2 / 9])
    assert gap.mean == pytest.approx((0.4 + 0.375 + 2 / 9) / 3)
    assert gap.spread == pytest.approx(0.0963, abs=1e-4)


def test_json_has_the_promised_keys_and_survives_the_file(tmp_path):
    write(REPORT, tmp_path / "out")
    found = json.loads((tmp_path / "out" / "report.json").read_text())
    promised = (
        "recipe",
        "data",
        "metric",
        "seeds",
        "teacher",
        "baseline",
        "distilled",
        "gap_closed",
        "images_per_second",
        "command",
        "versions",
    )
    assert set(promised) <= set(found)
    assert found["seeds"] == 3
    assert found["teacher"].items() >= {"value": 0.90, "params": 25_594_624, "gmac": 28.0945}.items()
    assert found["baseline"]["values"] == [0.80, 0.82, 0.81]
    assert found["baseline"]["mean"] == pytest.approx(0.81)
    assert found["distilled"]["mean"] == pytest.approx(0.84)
    assert found["gap_closed"]["mean"] == pytest.approx(REPORT.gap_closed.mean)
    assert found["images_per_second"] == {"supervised": 145.0, "distilled": 140.0, "live_teacher": None}
    assert found["baseline"]["per_joint"] == {"Head": 0.9, "Ankle": None}  # NaN is no JSON
    assert "baseline_longer" not in found
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["report.json", "report.md"]
    assert (tmp_path / "out" / "report.md").read_text() == REPORT.to_markdown()


def test_the_longer_baseline_has_its_own_line_and_its_own_difference():
    longer = Arm("baseline, 40 epochs", [0.83, 0.84, 0.85])
    report = replace(REPORT, baseline_longer=longer)
    assert report.to_json()["baseline_longer"]["mean"] == pytest.approx(0.84)
    over_baseline, over_longer = report.differences()
    assert over_baseline.values == pytest.approx([0.04, 0.03, 0.02])
    assert over_longer.values == pytest.approx([0.01, 0.01, -0.02])
    assert over_longer.shown is False
    # 4.3027 (two degrees of freedom) x 0.01732 / sqrt(3) = 0.0430
    assert (
        "distilled - baseline, 40 epochs = +0.000, 95 % interval over 3 seeds -0.043 to +0.043: it holds 0"
        in report.to_markdown()
    )
    assert [arm.name for arm in report.arms] == ["teacher", "baseline", "baseline, 40 epochs", "distilled"]


def test_the_difference_is_paired_by_seed():
    # Seeds differ by 0.2, distilled is 0.02, 0.03 or 0.02 above its own baseline: only the pairing shows it.
    difference = replace(
        REPORT,
        baseline=replace(BASELINE, values=[0.5, 0.6, 0.7]),
        distilled=replace(DISTILLED, values=[0.52, 0.63, 0.72]),
    ).differences()[0]
    assert difference.mean == pytest.approx(0.07 / 3)
    assert difference.spread == pytest.approx(0.00577, abs=1e-5)
    assert difference.interval == pytest.approx(
        (0.02333 - 0.01434, 0.02333 + 0.01434), abs=1e-5
    )  # 4.3027 x 0.00577 / sqrt(3)
    assert difference.shown is True


def test_words_claim_no_more_than_the_seeds():
    assert (
        "distilled - baseline = +0.030, 95 % interval over 3 seeds +0.005 to +0.055: better."
        in REPORT.to_markdown()
    )
    assert "+0.040, from one seed. One seed cannot tell a gain from chance" in ONE_SEED.to_markdown()
    assert ": worse." in Difference("d - b", [-0.03, -0.031, -0.029]).in_words()
    in_mm = Difference("d - b", [-3.0, -2.9, -2.8], higher_is_better=False)
    assert in_mm.in_words(1) == "d - b = -2.9 mm, 95 % interval over 3 seeds -3.1 to -2.7 mm: better."
    assert replace(in_mm, values=[2.3]).in_words(1).startswith("d - b = +2.3 mm, from one seed.")
    # The demo of an earlier time: +0.010 ± 0.009 was called better than its spread, and t is 1.95 of the 4.30
    # that three seeds need.
    assert Difference("d - b", [0.001, 0.010, 0.019]).shown is False
    assert Difference("d - b", [0.009, 0.010, 0.011]).shown is True


def test_a_teacher_that_is_not_better_in_words():
    report = replace(REPORT, teacher=replace(TEACHER, values=[0.815]))
    assert report.gap_closed.values[1] is None
    assert report.gap_closed.mean is None
    assert report.to_json()["gap_closed"]["mean"] is None
    assert (
        "The teacher (0.815) is not better than the baseline (0.810) in 1 of 3 seeds: there is no gap to "
        "close there" in report.to_markdown()
    )


def test_millimetres_have_one_decimal_and_rates_three():
    arms = {
        name: Arm(name, [value], per_joint={"Head": 61.26, "MPJPE": value, "3DPCK@150": 0.8125})
        for name, value in (("a", 97.31), ("b", 90.0))
    }
    report = Report(
        "movnect",
        "h36m",
        "MPJPE in mm",
        (0,),
        arms["a"],
        arms["b"],
        arms["a"],
        "x",
        higher_is_better=False,
        digits=1,
    )
    assert "| a | 61.3 | 97.3 | 0.812 |" in report.to_markdown()
    assert "The teacher (97.3 mm) is not better than the baseline (90.0 mm)" in report.to_markdown()


def test_recipes_without_a_control_or_a_teacher():
    unlabelled, plain = replace(REPORT, baseline=None), replace(REPORT, teacher=None, distilled=None)
    assert (
        "There is no baseline here, so these runs do not show what a teacher is worth."
        in unlabelled.to_markdown()
    )
    assert "There is no teacher here" in plain.to_markdown()
    assert unlabelled.differences() == plain.differences() == []
    assert (
        unlabelled.to_json()["baseline"]
        is unlabelled.to_json()["gap_closed"]
        is plain.to_json()["teacher"]
        is None
    )
    assert [arm.name for arm in plain.arms] == ["baseline"]
    assert plain.table().row_count == 1
    with pytest.raises(ValueError, match="needs a baseline or a distilled student"):
        replace(plain, baseline=None)


def test_table_and_markdown_hold_the_same_numbers():
    console = Console(width=200, record=True, file=io.StringIO())
    console.print(REPORT.table())
    text, markdown = console.export_text(), REPORT.to_markdown()
    for cell in ("0.900", "0.810 ± 0.010", "0.840 ± 0.010", "33% ± 10%", "25.59", "28.09", "3.29", "145.0"):
        assert cell in text
        assert cell in markdown
    assert "| baseline | 0.900 |  |" in markdown  # by joint, empty without labels


def test_runs_that_do_not_belong_together_are_refused():
    with pytest.raises(ValueError, match="distilled has 2 values for 3 seeds"):
        replace(REPORT, distilled=replace(DISTILLED, values=[0.8, 0.9]))
    with pytest.raises(ValueError, match="diverged"):
        replace(REPORT, baseline=replace(BASELINE, values=[0.8, math.nan, 0.8]))
    with pytest.raises(ValueError, match="images_per_second has teacher"):
        replace(REPORT, images_per_second={"teacher": 3.0})


def test_versions_name_python_and_torch():
    assert {"python", "torch", "numpy"} <= set(installed_versions())


def test_a_smoke_run_shows_nothing():
    text = replace(REPORT, smoke=True).to_markdown()
    assert "This was a --smoke run: its numbers mean nothing." in text
    assert "--seeds 3`" not in text
    assert "Share of the gap" not in text


def test_no_column_is_empty_and_no_name_is_cut_at_80_columns():
    alone = replace(REPORT, teacher=None, baseline=None, baseline_longer=None, images_per_second={})
    assert "gap closed" not in alone.to_markdown()
    console = Console(width=80, record=True, file=io.StringIO())
    for report in (REPORT, alone):
        console.print(report.table())
    assert "…" not in console.export_text()
