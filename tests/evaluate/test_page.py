import base64
import html
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import cv2
import numpy as np
import pytest

from poseling.data.dataset import from_joints
from poseling.evaluate.evaluator import Evaluator
from poseling.evaluate.page import Shown, facts, findings, steps, story, table, to_html, verdict, write
from poseling.evaluate.report import Arm, Report
from poseling.pose import Pose
from poseling.skeleton import LSP14

TEACHER = Arm("teacher (hourglass-4x128)", [0.90], 3_200_000, 3.9)
BASELINE = Arm("baseline", [0.80, 0.82, 0.81], 400_000, 0.5, 20, images_per_second=200.0)
DISTILLED = Arm("distilled", [0.84, 0.85, 0.83], 400_000, 0.5, 20, images_per_second=100.0)
REPORT = Report(
    "fpd",
    "lsp",
    "PCK@0.2",
    (0, 1, 2),
    TEACHER,
    BASELINE,
    DISTILLED,
    "poseling distill fpd --out x",
    versions={"torch": "2.13"},
)
ONE_SEED = replace(
    REPORT, seeds=(7,), baseline=replace(BASELINE, values=[0.80]), distilled=replace(DISTILLED, values=[0.84])
)
ALONE = replace(REPORT, recipe="baseline", teacher=None, distilled=None)
NO_LABELS = replace(
    REPORT,
    metric="agreement with the teacher, PCK@0.2",
    baseline=None,
    teacher=replace(TEACHER, values=[1.0]),
)
IN_MM = replace(
    REPORT,
    metric="MPJPE",
    higher_is_better=False,
    digits=1,
    teacher=replace(TEACHER, values=[50.0]),
    baseline=replace(BASELINE, values=[80.0, 82.0, 81.0]),
    distilled=replace(DISTILLED, values=[70.0, 72.0, 71.0]),
)


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> Shown:
    """Sixteen people of 100 pixels, each found 1, 2, ... 16 pixels off by the student and half of that by the
    teacher.
    """
    folder, rng = tmp_path_factory.mktemp("people"), np.random.default_rng(0)
    joints = rng.uniform(50, 150, (16, 14, 2))
    joints[:, 0], joints[:, 1] = (50, 50), (150, 150)
    paths = [folder / f"im{i:02}.png" for i in range(16)]
    for path in paths:
        cv2.imwrite(str(path), np.full((200, 200, 3), (0, 40, 0), np.uint8))
    dataset = from_joints("sixteen", LSP14, paths, joints, np.full((16, 14), 2))
    off = np.zeros((16, 14, 2))
    off[..., 0] = np.arange(1, 17)[:, None]
    curves = {"baseline": [[(1, 0.2), (2, 0.8)]], "distilled": [[(1, 0.3), (2, 0.84)]]}
    student, teacher = (Pose(joints + part * off, np.ones((16, 14)), LSP14) for part in (1, 0.5))
    evaluator = Evaluator.of(dataset)
    return Shown(evaluator, student, teacher, curves, 0.9, "PCK@0.2", 1000, folder / "out")


class Tags(HTMLParser):
    """Every start tag of a page with its attributes, and whether each is closed."""

    EMPTY = ("meta", "img", "source")

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))
        if tag not in self.EMPTY:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def words(page: str) -> str:
    """The visible text of the page."""
    text = html.unescape(re.sub(r"<[^>]+>", " ", page.split("</style>")[1]))
    return re.sub(r"\s+", " ", text)


def test_the_verdict_claims_what_the_seeds_show():
    # the mean of 0.4, 0.375 and 2/9 of the gap is 0.33
    assert verdict(REPORT) == (
        "The teacher helped",
        "The student reaches 0.840 ± 0.010 with its teacher and 0.810 ± 0.010 without: better; the 95 % "
        "interval of the difference over 3 seeds is +0.005 to +0.055; "
        "33 % of the gap to the teacher closed.",
    )
    worse = replace(REPORT, distilled=replace(DISTILLED, values=[0.70, 0.72, 0.71]))
    assert verdict(worse)[0] == "Worse with the teacher"
    assert (
        "0.710 ± 0.010 with its teacher and 0.810 ± 0.010 without: worse; the 95 % interval"
        in verdict(worse)[1]
    )
    # differences 0.03, 0 and -0.01: mean 0.007, spread 0.021
    within = replace(REPORT, distilled=replace(DISTILLED, values=[0.83, 0.82, 0.80]))
    assert verdict(within)[0] == "No difference shown"
    assert (
        "over 3 seeds is -0.045 to +0.058 and holds 0, so neither is shown to be better."
        in verdict(within)[1]
    )
    assert verdict(ONE_SEED) == (
        "One seed only",
        "The student reaches 0.840 with its teacher and 0.800 without: 0.040 better, but one seed cannot tell "
        "a gain from chance.",
    )
    assert "0.800 without: no difference, but" in verdict(replace(ONE_SEED, distilled=ONE_SEED.baseline))[1]


def test_the_verdict_in_millimetres_without_a_control_and_without_a_teacher():
    assert verdict(IN_MM)[1].startswith(
        "The student is 71.0 ± 1.0 mm off with its teacher and 81.0 ± 1.0 mm without: better; the 95 % "
        "interval of the difference over 3 seeds is -10.0 mm to -10.0 mm"
    )
    assert (
        verdict(replace(IN_MM, baseline=IN_MM.distilled, distilled=IN_MM.baseline))[0]
        == "Worse with the teacher"
    )
    assert verdict(NO_LABELS)[0] == "No control"
    assert "reaches 0.840 ± 0.010 with its teacher; none was trained without it" in verdict(NO_LABELS)[1]
    assert verdict(ALONE) == (
        "No teacher",
        "The network reaches 0.810 ± 0.010 with labels alone; it had no teacher.",
    )


def test_after_a_warm_start_the_longer_baseline_is_the_control():
    warm = replace(REPORT, baseline_longer=Arm("baseline_longer", [0.85, 0.85, 0.85]))
    assert verdict(warm)[0] == "No difference shown"  # -0.01, 0 and -0.02: mean -0.01, spread 0.01
    assert "0.850 ± 0.000 without, trained for as long" in verdict(warm)[1]


def test_the_table_by_hand():
    header, lines = table(REPORT)
    assert header == [
        "network",
        "PCK@0.2",
        "gap closed",
        "parameters",
        "of the teacher",
        "GMAC",
        "epochs",
        "images/s",
    ]
    assert lines == [
        ["Teacher", "0.900", "–", "3.20 M", "100 %", "3.90", "–", "–"],
        ["Student alone", "0.810 ± 0.010", "–", "0.40 M", "12 %", "0.50", "20", "200"],
        ["Student with teacher", "0.840 ± 0.010", "33 ± 10 %", "0.40 M", "12 %", "0.50", "20", "100"],
    ]
    assert table(ALONE) == (
        ["network", "PCK@0.2", "parameters", "GMAC", "epochs", "images/s"],
        [["Network", "0.810 ± 0.010", "0.40 M", "0.50", "20", "200"]],
    )
    assert [line[1] for line in table(IN_MM)[1]] == ["50.0 mm", "81.0 ± 1.0 mm", "71.0 ± 1.0 mm"]
    assert "of the teacher" not in table(replace(REPORT, teacher=replace(TEACHER, params=None)))[0]


def test_a_teacher_that_is_not_better_is_reported():
    weak = replace(REPORT, teacher=replace(TEACHER, values=[0.70]))
    assert table(weak)[1][2][2] == "no gap"
    assert findings(weak)[1].startswith(
        "The teacher (0.700) is not better than the baseline (0.810) in 3 of 3 seeds"
    )
    assert len(findings(REPORT)) == 1


def test_what_was_done_in_words():
    done, measured = story(REPORT)
    assert done.startswith(
        "A big network, the teacher, taught a small one, the student, which has 12 % of its parameters."
    )
    assert measured.endswith("higher is better. ± is the standard deviation over 3 seeds.")
    assert story(replace(REPORT, teacher=replace(TEACHER, params=None)))[0].startswith(
        "One network, the teacher, taught another, the student."
    )
    assert story(replace(REPORT, teacher=replace(TEACHER, params=200_000)))[0].startswith(
        "A network, the teacher, taught another, the student"
    )
    assert "both from the pelvis, in millimetres; lower is better." in story(IN_MM)[-1]
    assert "the teacher's predictions are the labels" in story(NO_LABELS)[-1]
    assert len(story(ALONE)) == 1


def test_how_it_was_made_by_hand(shown: Shown):
    made = facts(REPORT, shown)
    assert made["Data"] == "lsp: 1000 people to train on, 16 others to test on"
    # 20 epochs of 1000 people: 100 s at 200 a second and 200 s at 100, each three times: 900 s
    assert made["Time"] == "about 15 min of training for 6 students, evaluation not counted"
    assert made["Versions"] == "torch 2.13"
    assert "Speed" not in made
    fast = replace(REPORT, images_per_second={"supervised": 200.0, "live_teacher": None})
    assert facts(fast, shown)["Speed"] == "images a second in training: 200 with labels alone"


def test_the_next_steps_are_commands(shown: Shown):
    todo = list(steps(REPORT, Path("runs/my run")).values())
    assert todo[0] == "poseling track IMAGE --model 'runs/my run/student.onnx' --out drawn"
    assert (
        "poseling distill unlabelled --teacher movenet-thunder.onnx --root some/folder --out runs/mine"
        in todo
    )
    assert not any(command.startswith(REPORT.command) for command in todo)
    assert "poseling distill fpd --out x --seeds 3" in steps(ONE_SEED, shown.out).values()


def test_examples_are_the_middles_of_eighths(shown: Shown):
    # the student is i + 1 pixels off on person i, whose box is 100 long: of each two neighbours the second
    names, views = zip(*shown.examples, strict=True)
    assert names == tuple(f"im{i:02}" for i in range(1, 16, 2))
    assert [view.name for view in views[0]] == ["student", "teacher", "label"]
    assert [view.distance for view in views[0]] == ["2.0 % off", "1.0 % off", ""]
    assert [view.distance for view in views[-1]] == ["16 % off", "8.0 % off", ""]
    assert not np.array_equal(views[-1][0].image, views[-1][2].image)
    assert [view.name for view in replace(shown, teacher=None).examples[0][1]] == ["student", "label"]
    # where the teacher's predictions are the labels, it is shown once
    adopted = replace(shown, evaluator=replace(shown.evaluator, agreement=True))
    assert [view.name for view in adopted.examples[0][1]] == ["student", "teacher"]
    assert "teacher's prediction" in adopted.chosen


@pytest.mark.parametrize("report", [REPORT, ONE_SEED, ALONE, NO_LABELS, IN_MM])
def test_the_page_has_everything_and_needs_no_other_file(report: Report, shown: Shown):
    mine = replace(
        shown,
        teacher=None if report.teacher is None else shown.teacher,
        evaluator=replace(shown.evaluator, agreement=report is NO_LABELS),
    )
    page = to_html(report, mine)
    tags, text = Tags(page), words(page)
    assert tags.open == []
    assert verdict(report)[1] in text
    for line in table(report)[1]:
        for cell in line:
            assert cell in text
    assert report.command in text
    for command in steps(report, mine.out).values():
        assert command in text
    names = {tag for tag, _ in tags.found}
    assert not names & {"script", "link", "iframe", "base"}
    sources = [
        value or ""
        for _, attributes in tags.found
        for key, value in attributes.items()
        if key in ("src", "srcset", "href")
    ]
    assert len(sources) == 2 + 8 * len(mine.examples[0][1])
    assert all(re.match(r"data:image/(jpeg|svg\+xml);base64,", source) for source in sources)
    assert not re.search(r"url\(|@import|https?:", page.split("</style>")[0])
    for source in sources[2:]:
        image = cv2.imdecode(
            np.frombuffer(base64.b64decode(source.split(",")[1]), np.uint8), cv2.IMREAD_COLOR
        )
        assert image.shape == (256, 256, 3)
    assert base64.b64decode(sources[0].split(",")[1]).lstrip().startswith(b"<?xml")


def test_all_text_is_escaped(shown: Shown):
    evil = "<script>alert(1)</script>&\"'"
    arms = {"teacher": replace(TEACHER, name=evil), "others": [replace(DISTILLED, name=evil)]}
    report = replace(
        REPORT, recipe=evil, data=evil, metric=evil, command=evil, notes=[evil], versions={evil: evil}, **arms
    )
    page = to_html(
        report, replace(shown, curves={evil: shown.curves["baseline"]}, curves_metric=evil, out=Path(evil))
    )
    assert "<script" not in page
    tags = Tags(page)
    assert tags.open == []
    assert not {"script"} & {tag for tag, _ in tags.found}
    assert words(page).count(evil) > 8


def test_the_notes_stand_above_the_table(shown: Shown):
    text = words(to_html(replace(REPORT, notes=["This was a --smoke run: its numbers mean nothing."]), shown))
    assert 0 < text.index("its numbers mean nothing") < text.index("side by side")
    assert "Worth knowing" not in words(to_html(REPORT, shown))


@pytest.mark.parametrize("report", [REPORT, ALONE])
def test_the_same_report_gives_the_same_bytes(report: Report, shown: Shown, tmp_path: Path):
    mine = replace(shown, out=tmp_path, teacher=None if report.teacher is None else shown.teacher)
    write(report, mine)
    (page,) = tmp_path.iterdir()
    assert page.name == "report.html"
    first = page.read_bytes()
    write(report, mine)
    assert page.read_bytes() == first


def test_examples_show_the_images(shown: Shown):
    """The ground of every image is green, also where poses are drawn over it."""
    for _, views in shown.examples:
        for view in views:
            assert (np.abs(view.image.astype(int) - (0, 40, 0)).max(-1) < 12).sum() > 8000
