"""The table of the papers' students, from rows of single trainings."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from scipy.stats import ttest_rel

from poseling.evaluate.pck import Score
from poseling.skeleton import LSP14


def test_the_table_has_means_and_paired_intervals(papers: ModuleType):
    alone, both = [0.70, 0.71, 0.72], [0.72, 0.735, 0.74]
    rows = {f"fpd.labels.seed_{i}": value for i, value in enumerate(alone)}
    rows |= {f"fpd.labels_and_teacher.seed_{i}": value for i, value in enumerate(both)}
    rows |= {"fpd.teacher_alone.seed_1": 0.69, "kdlpn.teacher_alone.seed_0": 0.6}
    low, high = ttest_rel(both, alone).confidence_interval(0.95)
    head, line, *lines = papers.table(rows).splitlines()
    assert len(head.split("|")) == len(line.split("|"))
    assert lines == [
        "| fpd, `hourglass-2x64` | labels | 3 | 0.710 ± 0.010 |  |",
        f"| fpd, `hourglass-2x64` | labels and teacher | 3 | 0.732 ± 0.010 | +0.022, {low:+.3f} to {high:+.3f}: better |",
        "| fpd, `hourglass-2x64` | teacher alone | 1 | 0.690 | -0.020, one seed |",
        "| kdlpn, `kdlpn-128` | teacher alone | 1 | 0.600 | no control yet |",
    ]


def test_an_interval_that_holds_zero_claims_nothing(papers: ModuleType):
    rows = {"fpd.labels.seed_0": 0.70, "fpd.labels.seed_1": 0.72, "fpd.teacher_alone.seed_0": 0.72}
    rows["fpd.teacher_alone.seed_1"] = 0.71
    assert "not significant" in papers.table(rows).splitlines()[-1]


def test_the_page_has_a_place_for_the_table(papers: ModuleType):
    text = papers.PAGE.read_text()
    assert text.index(papers.MARKS[0]) < text.index(papers.MARKS[1])


def test_the_result_of_a_student_has_gains_seed_by_seed(papers: ModuleType, monkeypatch: pytest.MonkeyPatch):
    rows = {
        "teacher": 0.9,
        "kdlpn.labels.seed_0": 0.7,
        "kdlpn.labels.seed_1": 0.5,
        "kdlpn_over_lightning": 2.0,
    }
    rows |= {"kdlpn.teacher_alone.seed_1": 0.7, "kdlpn.teacher_alone.limbs.seed_1": 0.1}
    written = {}
    monkeypatch.setattr(papers, "rows_of", lambda name: rows)
    monkeypatch.setattr(papers, "write", lambda name, rows, notes: written.update({name: rows}))
    papers.results()
    found = {row["name"]: row["value"] for row in written.pop("kdlpn_lsp")}
    assert not written  # no row of another student
    assert found == {
        "teacher": 0.9,
        "labels": pytest.approx(0.6),
        "teacher_alone": 0.7,
        "gain_teacher_alone": pytest.approx(0.2),
        "gap_closed_teacher_alone": pytest.approx(0.5),
        "parameters": pytest.approx(2.376302),
        # SimpleBaseline-152: 68.6 million (Xiao et al., ECCV 2018, table 2, with 14 joints instead of 17)
        "fewer_parameters_than_simple_baseline-152": pytest.approx(1 - 2.376 / 68.6, abs=1e-3),
        "behind_teacher": pytest.approx(0.2),
        "kdlpn_over_lightning": 2.0,
    }


def test_arms_need_the_weights_that_they_start_from(
    papers: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(papers, "HERE", tmp_path)
    with pytest.raises(FileNotFoundError, match=r"fpd-start\.safetensors.*papers\.py start fpd"):
        papers.experiment_of("fpd", tmp_path, tmp_path / "teacher.onnx", tmp_path / "imagenet.pt")


def test_limbs_leave_out_neck_and_head(papers: ModuleType):
    rates = np.array([0.0 if joint in ("neck", "head_top") else 0.5 for joint in LSP14.joints])
    rates[LSP14.index("left_knee")] = 1.0
    count = np.ones(14, int)
    count[LSP14.index("left_knee")] = 3  # weighs threefold
    assert papers.on_limbs(Score(0.0, rates, count, 0.0)) == pytest.approx((11 * 0.5 + 3) / 14)
