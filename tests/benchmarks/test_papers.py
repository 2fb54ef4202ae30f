"""The table of the papers' students, from rows of single trainings."""

from __future__ import annotations

from types import ModuleType

from scipy.stats import ttest_rel


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
