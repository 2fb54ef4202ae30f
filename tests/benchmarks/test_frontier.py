"""The table of later papers' recipes, from rows of single trainings."""

from __future__ import annotations

from types import ModuleType

from scipy.stats import ttest_rel

from poseling.models import registry


def test_the_table_has_paired_gains(frontier: ModuleType):
    alone, taught = [0.60, 0.62, 0.61], [0.63, 0.64, 0.645]
    rows = {f"okdhp.baseline.seed_{i}": value for i, value in enumerate(alone)}
    rows |= {f"okdhp.distilled.seed_{i}": value for i, value in enumerate(taught)}
    rows |= {"sdpose.baseline.seed_1": 0.5, "sdpose.distilled.seed_1": 0.49}
    low, high = ttest_rel(taught, alone).confidence_interval(0.95)
    student = frontier.STUDENTS["sdpose"][0]
    assert frontier.table(rows).splitlines()[2:] == [
        f"| sdpose, `{student}` | 1 | 0.500 | 0.490 | -0.010, one seed |",
        f"| okdhp, `hourglass-2x64` | 3 | 0.610 ± 0.010 | 0.638 ± 0.008 | +0.028, {low:+.3f} to {high:+.3f}: better |",
    ]


def test_students_and_their_teachers_are_networks(frontier: ModuleType):
    for student, guide, *_ in frontier.STUDENTS.values():
        assert registry.is_name(student)
        assert not guide or registry.is_name(guide)


def test_the_page_has_a_place_for_the_table(papers: ModuleType, frontier: ModuleType):
    text = papers.PAGE.read_text()
    assert text.index(frontier.MARKS[0]) < text.index(frontier.MARKS[1])
