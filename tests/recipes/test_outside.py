"""A student, a loss and a recipe from outside of the package: those that docs/extending.md shows, run from a
file of one's own, and a module that is given from Python.
"""

from __future__ import annotations

import importlib.util
import json
import math
import re
from pathlib import Path
from types import ModuleType

import pytest
import torch
from torch import Tensor, nn

from poseling.cli import main
from poseling.models import checkpoint
from poseling.models.checkpoint import read_tensors
from poseling.recipes import parts
from poseling.recipes.baseline import baseline
from poseling.recipes.config import TrainConfig
from poseling.recipes.experiment import Experiment
from poseling.recipes.students import Student
from poseling.runtime import Network

PAGE = Path(__file__).resolve().parents[2] / "docs" / "extending.md"


@pytest.fixture(scope="module")
def mine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The blocks of the page that begin with `# mine.py`, as a file."""
    blocks = re.findall(r"```python\n# mine\.py\n(.*?)```", PAGE.read_text(), flags=re.DOTALL)
    assert len(blocks) == 3  # a student, a loss, a recipe
    path = tmp_path_factory.mktemp("outside") / "mine.py"
    path.write_text("\n\n".join(blocks))
    return path


@pytest.fixture(scope="module")
def module(mine: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location("mine_of_the_page", mine)
    assert spec is not None
    assert spec.loader is not None
    made = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(made)
    return made


def failed(capsys: pytest.CaptureFixture[str], *words: object) -> str:
    """The one line on stderr of a command that goes wrong."""
    with pytest.raises(SystemExit) as stopped:
        main([str(word) for word in words])
    assert stopped.value.code == 1
    _, said = capsys.readouterr()
    assert said.count("\n") == 1
    return said


def test_help_of_an_own_recipe(
    mine: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("COLUMNS", "300")
    main(["distill", f"{mine}:mine", "--help"])
    said = capsys.readouterr().out
    assert f"poseling distill {mine}:mine [OPTIONS]" in said
    assert "My recipe: the labels, and a teacher's softened heatmaps." in said
    for group, flag in (
        ("Main flags", "--train-teacher STR"),
        ("The teacher", "--alpha FLOAT"),
        ("This recipe", "--softness FLOAT"),
        ("Training", "--epochs FLOAT"),
    ):
        assert said.index(f"─ {group} ─") < said.index(flag)
    assert "Weight of the softened heatmaps. [default: 0.1]" in said


@pytest.mark.slow
def test_an_own_recipe_trains_an_own_student_by_an_own_loss(mine: Path, module: ModuleType, tmp_path: Path):
    words = ("--smoke", "--teacher", "mini", "--alpha", "0.2", "--softness", "0.5", "--out", str(tmp_path))
    main(["distill", f"{mine}:mine", *words])
    report = json.loads((tmp_path / "report.json").read_text())
    assert (report["recipe"], report["data"], report["metric"]) == ("mine", "mini", "PCK@0.2")
    for arm in ("baseline", "distilled"):
        assert len(report[arm]["values"]) == 1
    _, metadata = read_tensors(tmp_path / "seed-0" / "distilled" / "state.safetensors")
    assert json.loads(metadata["settings"])["terms"] == [["labels", 0.8], ["teacher", 0.2], ["softened", 0.5]]
    own = module.MyNet(17, (64, 64))
    loaded, spec = checkpoint.load(tmp_path / "student.safetensors", own)
    assert spec.model == "MyNet"
    assert loaded is own
    assert spec.codec["name"] == "heatmap"
    if (tmp_path / "student.onnx").is_file():  # two epochs of 32 samples can be too wild for the check
        assert Network(tmp_path / "student.onnx").spec.model == "MyNet"
    with pytest.raises(ValueError, match=r"no network is called 'MyNet'.*checkpoint\.load\(path, network\)"):
        checkpoint.load(tmp_path / "student.safetensors")


def test_the_loss_of_the_page_by_hand(module: ModuleType):
    """Equal outputs are log(1 / 16) at each of 16 pixels whatever the temperature; of two joints one counts.
    And where one of two pixels of the target is four times the other, temperature 2 makes it twice as likely.
    """
    targets = torch.rand(1, 2, 4, 4)
    found = module.softened(torch.zeros(1, 3, 2, 4, 4), targets, torch.tensor([[1.0, 0.0]]))
    assert float(found) == pytest.approx(3 * math.log(16) / 2)
    outputs = torch.tensor([2.0, 0.0]).view(1, 1, 1, 1, 2)
    found = module.softened(outputs, torch.tensor([1.0, 0.25]).view(1, 1, 1, 2), torch.ones(1, 1))
    total = math.log(math.e + 1)
    assert float(found) == pytest.approx(-(2 / 3 * (1 - total) + 1 / 3 * (0 - total)), rel=1e-5)


def test_one_public_function_needs_no_name(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    (tmp_path / "other.py").write_text("WORD = 'other'\n")
    path = tmp_path / "recipe_of_mine.py"
    path.write_text(
        "from pathlib import Path\nfrom other import WORD\n\n"
        "def _helper():\n    return WORD\n\n"
        "def anything(*, out: Path, count: int = 2):\n"
        '    """Writes words.\n\n    Parameters\n    ----------\n    out\n        The file.\n    count\n        Words."""\n'
        "    out.write_text(_helper() * count)\n"
    )
    main(["distill", str(path), "--out", str(tmp_path / "out"), "--count", "3"])
    assert (tmp_path / "out").read_text() == "otherotherother"
    main(["distill", f"{path}:anything", "--out", str(tmp_path / "out")])
    assert (tmp_path / "out").read_text() == "otherother"
    said = failed(capsys, "distill", path, "--counts", "3")
    assert "--counts" in said
    assert f"See `poseling distill {path} --help`." in said


def test_a_recipe_of_ones_own_has_defaults_of_its_own(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    """Subclasses in another file, which does not import what the inherited fields are annotated with."""
    path = tmp_path / "mine.py"
    path.write_text(
        "from __future__ import annotations\n"
        "from dataclasses import dataclass\n"
        "from poseling.recipes.config import ResponseConfig, TrainConfig, default, recipe\n\n"
        "@dataclass(frozen=True, kw_only=True)\nclass Mine(TrainConfig):\n    size: int = default(512, 32)\n\n"
        "@dataclass(frozen=True, kw_only=True)\nclass Teacher(ResponseConfig):\n"
        "    train_teacher: str = default('hourglass-8x256', 'hourglass-1x16')\n\n"
        "@recipe\ndef mine(config: Mine = Mine(), *, teacher: Teacher = Teacher(), more: float = default(1.0, 2.0)):\n"
        "    print(config.input[1], config.seeds, teacher.train_teacher, teacher.teacher, teacher.alpha, more)\n"
    )
    main(["distill", str(path), "--seeds", "3", "--alpha", "0.2"])
    main(["distill", str(path), "--data", "lsp", "--root", "x"])
    main(["distill", str(path), "--teacher", "mini", "--more", "5"])
    assert capsys.readouterr().out.splitlines() == [
        "32 3 hourglass-1x16  0.2 2.0",
        "512 1 hourglass-8x256  0.5 1.0",
        "32 1  mini 0.5 5.0",
    ]


@pytest.mark.parametrize(
    ("text", "name", "complaint"),
    [
        (None, "", "FILE: there is no such file, and so no recipe in it"),
        ("def _hidden(): ...\n", "", "FILE: has no public function; a recipe is a function"),
        ("from math import sqrt\n", ":sqrt", "FILE: has no public function 'sqrt'; it has none"),
        (
            "def one(): ...\ndef two(): ...\n",
            "",
            "FILE: has 2 public functions; name the recipe, one of FILE:one, FILE:two",
        ),
        ("def one(): ...\ndef two(): ...\n", ":three", "has no public function 'three'; it has one, two"),
        ("def one(:\n", "", "FILE: line 1 is no Python (invalid syntax)"),
        ("import a_package_that_is_not_there\n", "", "FILE: cannot be imported: No module named 'a_package"),
    ],
)
def test_files_without_a_recipe_are_one_line(
    text: str | None, name: str, complaint: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    path = tmp_path / "mine.py"
    if text is not None:
        path.write_text(text)
    assert complaint.replace("FILE", str(path)) in failed(capsys, "distill", f"{path}{name}")


def test_a_word_that_is_no_file_is_an_unknown_recipe(capsys: pytest.CaptureFixture[str]):
    assert 'Unknown command "mine"' in failed(capsys, "distill", "mine")


class Tiny(nn.Module):
    """Heatmaps at stride 8."""

    def __init__(self, joints: int, size: tuple[int, int] = (64, 64)) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(3, joints, 8, 8)

    def forward(self, images: Tensor) -> Tensor:
        return torch.as_tensor(self.convolution(images))[:, None]


class Shaped(nn.Module):
    """Outputs of a given shape behind (B, 1, K)."""

    def __init__(self, joints: int, *shape: int) -> None:
        super().__init__()
        self.shape = (joints, *shape)

    def forward(self, images: Tensor) -> Tensor:
        return images.new_zeros(len(images), 1, *self.shape)


@pytest.mark.slow
def test_a_module_is_trained_from_python(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """It starts from the weights that it has, and the module that was given stays as it is; its heatmaps are
    read at their own stride.
    """
    monkeypatch.setattr(parts, "SMOKE_SAMPLES", 8)
    given = Tiny(17)
    before = given.convolution.weight.detach().clone()
    report = baseline(TrainConfig(smoke=True, out=tmp_path), student=given)
    assert report.baseline is not None
    assert report.baseline.params == 17 * (3 * 64 + 1)
    assert torch.equal(given.convolution.weight, before)
    network, spec = checkpoint.load(tmp_path / "student.safetensors", Tiny(17))
    assert (spec.model, spec.codec["name"], spec.codec["stride"]) == ("Tiny", "heatmap", 8)
    trained = network.convolution.weight  # type: ignore[union-attr]
    assert 0 < (trained - before).abs().max() < 0.1  # type: ignore[operator]


def test_a_module_s_weights_are_its_own_and_a_class_is_built_for_each_seed(tmp_path: Path):
    config, given = TrainConfig(smoke=True, out=tmp_path), Tiny(17)
    one, other = Experiment.of("test", config, given), Experiment.of("test", config, Tiny)
    weights = [learner.module.convolution.weight for learner in (one.learner(0), one.learner(1))]  # type: ignore[union-attr]
    assert all(torch.equal(weight, given.convolution.weight) for weight in weights)  # type: ignore[arg-type]
    first, second, again = (other.learner(seed).module.state_dict() for seed in (0, 1, 0))
    assert torch.equal(first["convolution.weight"], again["convolution.weight"])
    assert not torch.equal(first["convolution.weight"], second["convolution.weight"])


@pytest.mark.parametrize(
    ("shape", "codec", "stride"),
    [
        ((16, 16), "heatmap", 4),
        ((32, 32), "heatmap", 2),
        ((7, 8, 8), "location_map", None),
        ((5,), "coordinates", None),
        ((2 * 64 + 2 * 64,), "simcc", None),
    ],
)
def test_the_shape_of_a_module_s_outputs_says_what_they_are(
    shape: tuple[int, ...], codec: str, stride: int | None
):
    student = Student.of(Shaped(17, *shape), (64, 64))
    assert (student.name, student.codec, student.stride) == ("Shaped", codec, stride)


@pytest.mark.parametrize(
    ("student", "complaint"),
    [
        (
            Shaped(17, 3),
            r"Shaped: gives \(1, 1, 17, 3\) for an image of 64x64; S stages of K joints are wanted",
        ),
        (Shaped(17, 16, 8), r"Shaped: gives \(1, 1, 17, 16, 8\) for an image of 64x64"),
        (Tiny(14), "Tiny: gives 14 joints, and the data have the 17 joints of coco17"),
        (lambda joints, size: joints, "<lambda>: gives a int and no torch.nn.Module"),
        ("gone.safetensors", "gone.safetensors: there is no such"),
    ],
)
def test_students_that_do_not_fit_are_refused_before_training(
    student: object, complaint: str, tmp_path: Path
):
    with pytest.raises((ValueError, FileNotFoundError), match=complaint):
        baseline(TrainConfig(smoke=True, out=tmp_path / "out"), student=student)  # type: ignore[arg-type]
    assert not (tmp_path / "out" / "seed-0").exists()
