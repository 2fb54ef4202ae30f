"""The commands as a user meets them: their help, their flags, and what they say when something is wrong."""

from __future__ import annotations

import dataclasses
import inspect
import json
import re
import subprocess
import sys
import urllib.error
from importlib.metadata import PackageNotFoundError
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from poseling import __version__
from poseling.cli import app, main
from poseling.cli.errors import _install
from poseling.cli.help import GROUPS
from poseling.data import coco
from poseling.data.coco_files import CocoFiles
from poseling.data.download import Done
from poseling.data.images import images
from poseling.data.packed import packed
from poseling.pose import Pose
from poseling.recipes import RECIPES
from poseling.recipes.config import ResponseConfig, TeacherConfig, TrainConfig
from poseling.recipes.fpd import FPDTeacher
from poseling.runtime.pipeline import Tracked
from poseling.skeleton import COCO17, Skeleton
from poseling.spec import KEY, PoseSpec
from poseling.synth.synthesize import Synthesized
from poseling.teachers.cache import Labelled
from poseling.teachers.shards import share

COMMANDS = [
    *(f"distill {recipe}" for recipe in RECIPES),
    "compare",
    "compress",
    "evaluate",
    "label",
    "models",
    "export",
    "import",
    "track",
    "benchmark",
    "live",
    "data boxes",
    "data check",
    "data pack",
    "data preview",
    "data download",
    "data synthesize",
]


@pytest.fixture(autouse=True)
def wide(monkeypatch: pytest.MonkeyPatch):
    """Lines are not wrapped, so that they can be compared: not by the width that an earlier test left in a
    console of cyclopts either.
    """
    monkeypatch.setenv("COLUMNS", "400")
    for one in (app, app["distill"], app["data"]):
        monkeypatch.setattr(one, "_fallback_console", None)


def said(capsys: pytest.CaptureFixture[str], command: str) -> str:
    """What a command that goes well prints."""
    main(command.split())
    out, err = capsys.readouterr()
    assert err == ""
    return out


def failed(capsys: pytest.CaptureFixture[str], command: str) -> str:
    """The one line on stderr of a command that goes wrong, with exit code 1."""
    with pytest.raises(SystemExit) as left:
        main(command.split())
    assert left.value.code == 1
    _, err = capsys.readouterr()
    assert err.startswith("error: ")
    assert err.endswith("\n")
    assert err.count("\n") == 1
    return err


def fresh(code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """A new Python that runs `code`."""
    return subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=False
    )


def test_the_commands_there_are(capsys):
    def walk(one, way=()):
        for name in one:
            if not name.startswith("-"):
                inner = [name for name in one[name] if not name.startswith("-")]
                yield from walk(one[name], (*way, name)) if inner else [" ".join((*way, name))]

    assert sorted(walk(app)) == sorted(COMMANDS)
    out = said(capsys, "--help")
    assert all(command.split()[0] in out for command in COMMANDS)


def flags(name: str, default: object) -> list[str]:
    """The flags of a parameter: itself, or the fields of a dataclass of flags."""
    if not isinstance(default, TrainConfig | TeacherConfig | CocoFiles):
        return [name]
    fields = dataclasses.fields(default)
    return [flag for field in fields for flag in flags(field.name, getattr(default, field.name))]


@pytest.mark.parametrize("command", COMMANDS)
def test_help_explains_every_parameter(capsys, command):
    out = said(capsys, f"{command} --help")
    one = app
    for name in command.split():
        one = one[name]
    parameters = inspect.signature(one.default_command).parameters
    named = [flag for name, parameter in parameters.items() for flag in flags(name, parameter.default)]
    rows = [line.strip("│ *").strip() for line in out.splitlines() if line.startswith("│")]
    assert "{" not in out, f"{command}: a placeholder is left in its help"
    for name in named:
        flag = f"--{name.replace('_', '-')}"
        (explained,) = [row.split("  ", 1)[1].strip() for row in rows if flag in row.split("  ")[0].split()]
        assert explained, f"{command} {flag}: the docstring does not say what it is"
        assert not explained.startswith("["), (
            f"{command} {flag}: the docstring does not say what it is, only {explained}"
        )


def test_recipes_are_listed_with_what_their_files_say(capsys):
    out = said(capsys, "distill --help")
    assert set(RECIPES) <= {line.strip("│ ").split(" ")[0] for line in out.splitlines()}
    assert (
        "Fast Human Pose Distillation: a small hourglass learns a big one's heatmaps beside the labels."
        in out
    )
    assert "arXiv 1811.05419" not in out
    assert "arXiv 1811.05419" in said(capsys, "distill fpd --help")


def test_recipes_without_figures_of_ours_say_so(capsys, monkeypatch):
    """In all lists: the help, the index of the docs, their own pages. The others have results."""
    monkeypatch.setenv("COLUMNS", "500")
    main(["distill", "--help"])
    lines = {line.split()[1]: line for line in capsys.readouterr().out.splitlines() if len(line.split()) > 2}
    docs = Path(__file__).parents[1] / "docs"
    index = {
        line.split("](")[1].split(")")[0]: line
        for line in (docs / "index.md").read_text().splitlines()
        if line.startswith("- [")
    }
    for recipe in RECIPES:
        untrained = not RECIPES[recipe]
        assert ("Not yet trained at length" in lines[recipe]) == untrained
        assert lines[recipe].rstrip("│ ").endswith("no figures of ours.)") == untrained  # behind the sentence
        page = "vitpose.md" if recipe == "knowledge_token" else f"{recipe}.md"
        if untrained:
            assert "*:" in index[page] or "knowledge token*" in index[page]
            assert "Not yet trained at length with Poseling" in (docs / page).read_text()


def test_flags_reach_the_recipe():
    function, bound, _ = app.parse_args(
        [
            "distill",
            "fpd",
            "--data",
            "lsp",
            "--root",
            "x",
            "--no-flip-test",
            "--schedule",
            "one_cycle",
            "--teacher-scales",
            "0.9",
            "1.1",
            "--alpha",
            "0.7",
        ]
    )
    assert function.__name__ == "fpd"
    assert bound.arguments == {
        "config": TrainConfig(data=("lsp",), root=(Path("x"),), flip_test=False, schedule="one_cycle"),
        "teacher": FPDTeacher(teacher_scales=(0.9, 1.1), alpha=0.7),
    }


@pytest.mark.parametrize(
    ("command", "why", "way_out"),
    [
        ("distill fpd --epoch 3", "--epoch.", "See `poseling distill fpd --help`."),
        (
            "distill fpd --epochs many",
            'unable to convert "many" into float',
            "See `poseling distill fpd --help`.",
        ),
        ("distill fpd --optimizer sgd", '"sgd"', '"adam", "adamw", "rmsprop"'),
        ("distill fpd lsp", "lsp", "See `poseling distill fpd --help`."),
        ("distill dfp", 'Unknown command "dfp"', "baseline, fpd, unlabelled"),
        ("teach", 'Unknown command "teach"', "See `poseling --help`."),
        ("track image.png --model m.onnx --box 1 2 3", "--box", "requires 4"),
        ("data synthesize --count 10", "--out", "See `poseling data synthesize --help`."),
        ("data synthesize --count 10 --out x --split dev", '"dev"', '"train", "val", "test"'),
    ],
)
def test_wrong_flags_are_one_line(capsys, command, why, way_out):
    line = failed(capsys, command)
    assert why in line
    assert way_out in line


@pytest.mark.parametrize(
    ("command", "why"),
    [
        ("distill fpd --data lsp --root {0}/none", "{0}/none"),
        ("distill fpd --data lsp", "--data lsp needs --root"),
        ("distill fpd --root {0}", "--root {0} needs --data"),
        ("distill unlabelled --teacher {0}/none.onnx --root {0}", "{0}/none.onnx"),
        ("evaluate {0}/none.onnx --data lsp --root {0}", "{0}/none.onnx"),
        ("label {0}/bad.safetensors --root {0} --url {0}/url", "{0}/bad.safetensors"),
        ("export {0}/none.safetensors", "{0}/none.safetensors"),
        ("export {0}/bad.safetensors", "{0}/bad.safetensors"),
        ("track {0} --model {0}/none[1].onnx", "{0}/none[1].onnx"),
        ("track {0} --model {0}/bad.onnx", "{0}/bad.onnx"),
        (
            "track {0}/image.png --model {0}/bad.onnx --provider tpu",
            "{0}/bad.onnx: provider 'tpu' is not in this onnxruntime",
        ),
        ("export {0}", "{0}: is a folder; name the checkpoint in it, such as {0}/student.safetensors"),
        (
            "import {0}/bad.pth",
            "{0}/bad.pth: is cut short or no torch file of plain tensors, as FPD's authors have them; an "
            "ONNX network ends in .onnx",
        ),
        (
            "track {0}/image.png --model {0}/bad.safetensors",
            "only ONNX files are run; export it first: poseling export {0}/bad.safetensors",
        ),
        ("distill fpd --epochs 0 --smoke", "--epochs is 0; it has to be above 0"),
        ("distill fpd --batch 0 --smoke", "--batch is 0; it has to be above 0"),
        ("distill fpd --warm-start --warm-epochs 0", "--warm-epochs is 0; it has to be above 0"),
        ("distill fpd --teacher-epochs -1", "--teacher-epochs is -1; it has to be above 0"),
        ("distill movnect --epochs-2d 0", "--epochs-2d is 0; it has to be above 0"),
        ("distill fpd --padding -1 --smoke", "--padding is -1; it has to be above 0"),
        ("distill fpd --sigma 0 --smoke", "--sigma is 0; it has to be above 0"),
        ("distill fpd --workers -1 --smoke", "--workers is -1; it cannot be below 0"),
        ("distill fpd --learning-rate nan --smoke", "--learning-rate is nan; give a number"),
        ("distill fpd --seeds 0 --smoke", "--seeds is 0; it has to be above 0"),
        (
            "distill fpd --data lsp --root {0}/no --teacher {0}/nope.onnx",
            "{0}/nope.onnx: there is no such file",
        ),
        (
            "export {0}/bad.safetensors --out {0}/bad.safetensors",
            "--out {0}/bad.safetensors: is the checkpoint itself and would be replaced",
        ),
        (
            "import {0}/bad.safetensors",
            "--out {0}/bad.safetensors: is their checkpoint itself and would be replaced",
        ),
        (
            "data check mini --teacher {0}/bad.onnx --json {0}/bad.onnx",
            "--json {0}/bad.onnx: is the teacher itself and would be replaced",
        ),
        (
            "data check images --root {0} --json {0}/image.png",
            "--json {0}/image.png: is there already, among the data set's files, and would be replaced",
        ),
        (
            "data check coco_json --root {0}/none --annotations {0}/bad.onnx --json {0}/bad.onnx",
            "--json {0}/bad.onnx: is there already, among the data set's files, and would be replaced",
        ),
        ("data check images --root {0} --json {0}", "--json {0}: is a folder; give the name of a file"),
        ("data preview images --root {0} --out {0}/bad.onnx", "{0}/bad.onnx: is no .png"),
        ("import {0}/bad.onnx --out {0}/bad.onnx", "--out {0}/bad.onnx: is the network itself and would be"),
        ("import {0}/bad.onnx --out {0}", "--out {0}: is a folder; give the name of a file"),
        ("import {0}/bad.onnx --size 0 0", "{0}/bad.onnx: --size 0 0 is no image's; give width and height"),
        ("export {0}/bad.safetensors --out {0}", "--out {0}: is a folder; give the name of a file"),
        ("data check lsp --root {0}/none", "{0}/none"),
        ("data preview leeds --root {0}", "leeds"),
        ("data preview lsp", "--data lsp needs --root"),
        ("data preview synthetic --root {0}", "poseling data synthesize --count 1000 --out {0}"),
        ("data synthesize --count 10 --out {0}", "{0}: holds other things than synthetic people"),
        ("data synthesize --count 10 --out {0}/new --backgrounds {0}/none", "{0}/none: holds no image"),
        (
            "evaluate mini --data mini --boxes {0}/boxes.json",
            "--boxes {0}/boxes.json is for --data coco, crowdpose, ochuman with --root",
        ),
        ("evaluate mini --data coco --root {0} --boxes detections", "{0}"),
        ("evaluate mini --data images --root {0}", "images under {0} has no labelled people to test on"),
        ("label mini --data images --root {0} --url {0}/url --shard 2 2", "0 <= i < n"),
        ("data download mpii --root {0}", "mpii cannot be downloaded, only coco"),
        (
            "data download --root {0} --parts test",
            "coco has no part 'test'; there are annotations, val, train",
        ),
        ("data synthesize --count 0 --out {0}/new", "count is 0"),
    ],
)
def test_wrong_files_are_one_line_that_names_them(capsys, tmp_path, command, why):
    for name in ("bad.safetensors", "bad.onnx", "bad.pth"):
        (tmp_path / name).write_bytes(b"these are no weights")
    cv2.imwrite(str(tmp_path / "image.png"), np.zeros((8, 8, 3), np.uint8))
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    assert why.format(tmp_path) in failed(capsys, command.format(tmp_path))
    assert {path: path.read_bytes() for path in before} == before


def test_it_runs_as_a_module():
    """As torchrun and accelerate start it."""
    done = subprocess.run(
        [sys.executable, "-m", "poseling", "--version"], capture_output=True, text=True, check=True
    )
    assert done.stdout == f"{__version__}\n"


def test_a_mistake_of_ours_keeps_its_traceback(monkeypatch):
    def broken(*_, **__):
        raise TypeError("ours")

    monkeypatch.setattr("poseling.cli.app", broken)
    with pytest.raises(TypeError, match="ours"):
        main(["track"])


def test_without_torch_the_line_says_what_to_install():
    done = fresh(
        "import sys; sys.modules['torch'] = None; from poseling.cli import main; main(sys.argv[1:])",
        "distill",
        "fpd",
        "--data",
        "mini",
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert re.fullmatch(
        r"error: torch is not installed; (in its checkout )?pip install (-e )?'.*\[train\]( @ .*)?' "
        r"installs it\n",
        done.stderr,
    )


def test_without_anny_the_line_says_what_to_install(capsys, tmp_path, monkeypatch):
    def missing(*_, **__):
        raise ModuleNotFoundError(
            "No module named 'scipy'", name="scipy"
        )  # any of them, since the extra brings all that the studio needs

    monkeypatch.setattr("poseling.synth.synthesize.synthesize", missing)
    line = failed(capsys, f"data synthesize --count 1 --out {tmp_path}/set")
    assert line.startswith("error: scipy is not installed; ")
    assert "[synth]" in line


def test_every_shared_flag_has_its_group():
    named = [name for names in GROUPS.values() for name in names]
    assert len(named) == len(set(named))
    shared = {*flags("", TrainConfig()), *flags("", ResponseConfig())}
    assert set(named) == shared | {"teachers", "student"}


def test_the_main_flags_come_first(capsys):
    out = said(capsys, "distill fpd --help")
    titles = [f"─ {title} ─" for title in GROUPS]
    flags = [
        "--data STR",
        "--alpha FLOAT",
        "--warm-start --no-warm-start",
        "--batch INT",
        "--color-jitter FLOAT",
        "--smoke --no-smoke",
    ]
    places = [out.index(word) for pair in zip(titles, flags, strict=True) for word in pair]
    assert places == sorted(places)
    assert out.index("--seeds INT") < out.index(titles[1])
    assert "as published ;" not in out


@pytest.mark.parametrize(
    ("origin", "told"),
    [
        (
            {"url": "file:///home/me/my%20src", "dir_info": {"editable": True}},
            "pip install -e '/home/me/my src[train]'",
        ),
        ({"url": "file:///home/me/src", "dir_info": {}}, "pip install '/home/me/src[train]'"),
        (
            {"url": "file:///tmp/poseling-1-py3-none-any.whl", "archive_info": {}},
            "pip install 'poseling[train] @ file:///tmp/poseling-1-py3-none-any.whl'",
        ),
        (
            {"url": "https://host/p.git", "vcs_info": {"vcs": "git", "commit_id": "abc"}},
            "pip install 'poseling[train] @ git+https://host/p.git@abc'",
        ),
        (None, "pip install 'poseling[train]'"),
    ],
)
def test_what_is_missing_comes_from_where_poseling_came(monkeypatch, origin, told):
    text = None if origin is None else json.dumps(origin)
    monkeypatch.setattr(
        "poseling.cli.errors.distribution", lambda name: SimpleNamespace(read_text=lambda file: text)
    )
    assert _install("train") == told


def test_from_its_sources_it_is_installed_in_the_checkout(monkeypatch):
    def none(name):
        raise PackageNotFoundError(name)

    monkeypatch.setattr("poseling.cli.errors.distribution", none)
    assert _install("train") == "in its checkout pip install '.[train]'"


@pytest.mark.parametrize(
    ("made", "already", "told"),
    [(6, 2, "8 people, 6 made now at 3.0 images/s"), (0, 8, "8 people, all of them existed already")],
)
def test_synthesize_says_how_fast_and_what_next(capsys, tmp_path, monkeypatch, made, already, told):
    asked = []

    def synthesize(*arguments, progress):
        asked.append(arguments)
        progress(already, 8)
        progress(8, 8)
        return Synthesized(arguments[0], made, already, 2.0, (tmp_path / "broken.jpg",))

    monkeypatch.setattr("poseling.synth.synthesize.synthesize", synthesize)
    out = said(
        capsys,
        f"data synthesize --count 8 --out {tmp_path}/set --seed 3 --split test --size 128 --backgrounds "
        f"{tmp_path} --workers 4",
    )
    assert asked == [(tmp_path / "set", 8, 128, 3, "test", tmp_path, 4)]
    assert "8/8" in out or "100%" in out
    assert f"{tmp_path}/set: {told}\n" in out
    assert f"1 background images cannot be read, the first is {tmp_path}/broken.jpg; others were used" in out
    assert out.endswith(f"Preview: poseling data preview synthetic --root {tmp_path}/set\n")
    said(capsys, f"data synthesize --count 8 --out {tmp_path}/train")
    assert asked[1] == (tmp_path / "train", 8, 256, 0, "train", None, None)
    (tmp_path / "train").mkdir()
    out = said(capsys, f"data synthesize --count 8 --out {tmp_path}/test --split test")
    assert out.endswith(f"--root {tmp_path}\n")


def test_synthesize_stopped_says_how_to_go_on(capsys, tmp_path, monkeypatch):
    def stopped(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("poseling.synth.synthesize.synthesize", stopped)
    with pytest.raises(SystemExit) as left:
        main(["data", "synthesize", "--count", "8", "--out", str(tmp_path / "set")])
    assert left.value.code == 130
    assert (
        f"Whole blocks of images stay in {tmp_path}/set, and the same command continues"
        in capsys.readouterr().out
    )


@pytest.mark.shared
@pytest.mark.parametrize(
    ("boxes", "people"),
    [("", 12), ("--boxes ground-truth", 12), ("--boxes detections", 118), ("--boxes {0}/near.json", 12)],
)
def test_average_precision_in_boxes_of_ones_choice(capsys, tmp_path, shared, boxes, people):
    """Four images of COCO val2017, laid out as COCO is; near.json are the annotated boxes, as if a detector
    had been perfect. COCO's own file has 118 people.
    """
    fixture = shared / "data" / "fixtures" / "coco"
    (tmp_path / "annotations").mkdir()
    (tmp_path / "annotations" / "person_keypoints_val2017.json").symlink_to(fixture / "test_coco.json")
    (tmp_path / "val2017").symlink_to(fixture)
    (tmp_path / coco.DETECTIONS).parent.mkdir()
    (tmp_path / coco.DETECTIONS).symlink_to(fixture / "test_coco_det_AP_H_56.json")
    annotated = [
        a
        for a in json.loads((fixture / "test_coco.json").read_text())["annotations"]
        if a["num_keypoints"] and not a["iscrowd"]
    ]
    near = [{"image_id": a["image_id"], "category_id": 1, "bbox": a["bbox"], "score": 1.0} for a in annotated]
    (tmp_path / "near.json").write_text(json.dumps(near))
    model = shared / "peers" / "movenet-lightning.onnx"
    out = said(
        capsys, f"evaluate {model} --data coco --root {tmp_path} --no-flip-test {boxes.format(tmp_path)}"
    )
    assert f"on coco, {people} people" in out
    assert "OKS AP" in out
    rows = {
        row[0]: row[-1]
        for row in (
            [cell.strip() for cell in line.strip("│").split("│")] for line in out.splitlines() if "│" in line
        )
    }
    assert 0 < float(rows["AP"]) <= float(rows["AP50"]) <= 1


@pytest.mark.shared
def test_images_of_another_size_are_told_and_rescaled_if_asked(capsys, tmp_path, shared):
    """COCO's four images at half their size: half the labels' place is told, and with --rescale the network
    is about as right as before.
    """
    fixture = shared / "data" / "fixtures" / "coco"
    (tmp_path / "annotations").mkdir()
    (tmp_path / "annotations" / "person_keypoints_val2017.json").symlink_to(fixture / "test_coco.json")
    (tmp_path / "val2017").mkdir()
    for image in fixture.glob("*.jpg"):
        whole = cv2.imread(str(image))
        half = cv2.resize(whole, (whole.shape[1] // 2, whole.shape[0] // 2), interpolation=cv2.INTER_AREA)
        cv2.imwrite(str(tmp_path / "val2017" / image.name), half)
    command = (
        f"evaluate {shared / 'peers' / 'movenet-lightning.onnx'} --data coco --root {tmp_path} --no-flip-test"
    )

    def ap(out: str) -> float:
        rows = [
            [cell.strip() for cell in line.strip("│").split("│")] for line in out.splitlines() if "│" in line
        ]
        return float(next(row[-1] for row in rows if row[0] == "AP"))

    wrong = said(capsys, command)
    assert "4 images are not as large as their annotation says" in wrong
    assert "it is resized; labels can be scaled: poseling evaluate --rescale" in wrong
    right = said(capsys, f"{command} --rescale")
    assert "not as large" not in right
    assert ap(right) > ap(wrong) + 0.1


def in_coco_format(path: Path, image: str, xy: tuple[float, float]) -> None:
    """A file that annotates one person in one image of 64x64, all joints at `xy`, but for the last, which is
    to the right of them.
    """
    points = [xy] * 16 + [(xy[0] + 20, xy[1] + 20)]
    person = {
        "id": 1,
        "image_id": 1,
        "category_id": 1,
        "iscrowd": 0,
        "area": 400.0,
        "bbox": [8, 8, 40, 40],
        "num_keypoints": 17,
    }
    person["keypoints"] = [value for x, y in points for value in (x, y, 2)]
    data = {"images": [{"id": 1, "file_name": image, "width": 64, "height": 64}], "annotations": [person]}
    data["categories"] = [{"id": 1, "name": "person", "keypoints": list(COCO17.joints)}]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(data))


def test_check_and_preview_look_at_the_parts_there_are(capsys, tmp_path):
    """OCHuman is for testing only; its one person has a joint at x = -3, outside of the image."""
    in_coco_format(
        tmp_path / "annotations" / "ochuman_coco_format_test_range_0.00_1.00.json", "one.png", (-3, 20)
    )
    (tmp_path / "images").mkdir()
    cv2.imwrite(str(tmp_path / "images" / "one.png"), np.zeros((64, 64, 3), np.uint8))
    out = said(capsys, f"data check ochuman --root {tmp_path} --json {tmp_path}/found.json")
    assert "test: 1 people" in out
    assert "train: " not in out
    assert "one.png" in out
    assert "one.png" in (tmp_path / "found.json").read_text()
    assert (
        said(capsys, f"data preview ochuman --root {tmp_path} --out {tmp_path}/sheet.png")
        == f"{tmp_path}/sheet.png: 1 people of ochuman\n"
    )


def test_label_takes_its_share(capsys, tmp_path, monkeypatch):
    """Told by the environment or by --shard which of two it is, a process asks about its images and no other;
    together they ask about all.
    """
    folder = tmp_path / "images"
    folder.mkdir()
    random = np.random.default_rng(0)
    for i in range(8):
        cv2.imwrite(str(folder / f"{i}.png"), random.integers(0, 256, (40, 40, 3), np.uint8))
    mine = len(share(images(folder).images, (1, 2)))
    assert 0 < mine < 8

    def label(more=""):
        out = said(capsys, f"label mini --data images --root {folder} --url {tmp_path}/labels {more}")
        return out.split(" stored already")[0].splitlines()

    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "2")
    for name in ("MASTER_ADDR", "MASTER_PORT"):  # nobody to meet
        monkeypatch.delenv(name, raising=False)
    assert label() == [f"shard 1 of 2: {mine} predictions made, 0"]  # and no bar: process 0 has one
    assert label("--shard 1 2") == [f"shard 1 of 2: 0 predictions made, {mine}"]
    bar, said_first = label("--shard 0 2")
    assert "asking mini-" in bar
    assert said_first == f"shard 0 of 2: {8 - mine} predictions made, 0"
    monkeypatch.delenv("RANK")
    assert label()[-1] == "0 predictions made, 8"
    monkeypatch.setenv("RANK", "2")
    assert "RANK=2 and WORLD_SIZE=2" in failed(
        capsys, f"label mini --data images --root {folder} --url {tmp_path}/labels"
    )


def test_label_of_one_launch_deals_alike_and_each_has_its_gpu(capsys, tmp_path, monkeypatch):
    """Under torchrun the launch's word and the process's GPU reach the work; a share by hand has no word."""
    asked = []

    def label(teacher, dataset, url, *_, shard, progress, deal):
        asked.append((teacher, shard, deal))
        return Labelled(url, 0, 0)

    class Named:
        def __init__(self, device):
            self.name = device

    cv2.imwrite(str(tmp_path / "image.png"), np.zeros((8, 8, 3), np.uint8))
    monkeypatch.setattr("poseling.teachers.cache.label", label)
    monkeypatch.setattr("poseling.teachers.load.load", lambda _, adapter, device: Named(device))
    monkeypatch.setattr("poseling.teachers.shards.deal_of_environment", lambda: "word")
    for name, value in {"RANK": "5", "LOCAL_RANK": "1", "WORLD_SIZE": "8"}.items():
        monkeypatch.setenv(name, value)
    for more in ("--device cuda", "", "--device cuda:3 --shard 0 2"):
        said(capsys, f"label mini --root {tmp_path} --url {tmp_path}/labels {more}")
    assert [(teacher.name, shard, deal) for teacher, shard, deal in asked] == [
        ("cuda:1", (5, 8), "word"),
        ("cpu", (5, 8), "word"),
        ("cuda:3", (0, 2), ""),
    ]


def test_download_says_what_it_did(capsys, tmp_path, monkeypatch):
    asked = []

    def download(name, root, progress, parts):
        asked.append((name, root, parts))
        progress("val2017.zip", 50, 200)
        progress("val2017.zip, unpacking", 200, 200)
        return Done(("val",), ("annotations",))

    monkeypatch.setattr("poseling.data.download.download", download)
    out = said(capsys, f"data download --root {tmp_path} --parts annotations val")
    assert asked == [("coco", tmp_path, ("annotations", "val"))]
    assert "val2017.zip, unpacking" in out
    assert out.endswith(f"{tmp_path}: val fetched now\n{tmp_path}: annotations there already\n")
    assert "20 GB" in said(capsys, "data download --help")


def test_download_stopped_says_how_to_go_on(capsys, tmp_path, monkeypatch):
    def stopped(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("poseling.data.download.download", stopped)
    with pytest.raises(SystemExit) as left:
        main(["data", "download", "coco", "--root", str(tmp_path)])
    assert left.value.code == 130
    assert f"Downloaded parts stay in {tmp_path}, and the same command continues" in capsys.readouterr().out


def test_download_without_a_network_is_one_line(capsys, tmp_path, monkeypatch):
    def nowhere(*_, **__):
        raise urllib.error.URLError("Name or service not known")

    monkeypatch.setattr("poseling.data.download.urllib.request.urlopen", nowhere)
    monkeypatch.setattr("poseling.data.download.PAUSE", 0.0)
    monkeypatch.setattr("poseling.data.download._room", lambda *_: None)  # half a GB need not be free here
    line = failed(capsys, f"data download --root {tmp_path}")
    assert "annotations_trainval2017.zip: cannot be fetched (Name or service not known)" in line
    assert f"put annotations_trainval2017.zip into {tmp_path} yourself" in line


HEAVY = ("torch", "onnx", "safetensors", "scipy", "matplotlib", "accelerate")
LISTED = f"""
import sys
from poseling.cli import main
main(sys.argv[1:])
print("imported:", *[module for module in {HEAVY} if module in sys.modules])
"""


@pytest.mark.parametrize(
    "command",
    ["--help", "--version", "distill --help", "label --help", "evaluate --help", "data download --help"],
)
def test_help_leaves_torch_alone(command):
    done = fresh(LISTED, *command.split())
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith("imported:\n")


def test_track_tells_of_frames_without_anybody(capsys, monkeypatch):
    def run(*arguments, seen, **flags):
        one = Pose(np.zeros((1, 17, 2)), np.ones((1, 17)), COCO17)
        for i, pose in enumerate((one[:0], one, one[:0])):
            seen(i, pose)
        return Tracked(3, None, Path("poses.jsonl"), "m (for research only)")

    monkeypatch.setattr("poseling.runtime.pipeline.track", run)
    assert (
        said(capsys, "track video.mp4 --model m.onnx --json poses.jsonl")
        == "3 frames, 2 of them without a person: poses.jsonl, by m (for research only)\n"
    )


def test_track_draws_where_it_says_before_it_starts(capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)

    def run(model, source, out, box, json, *, seen, **flags):
        assert f"Drawing into {tmp_path}/drawn; --out names another folder" in capsys.readouterr().out
        assert (out, json, flags["provider"], flags["threshold"]) == (Path("drawn"), None, "cuda", 0.4)
        return Tracked(
            2, out, None, "m (for any use)", ("images: 1 of 3 images cannot be read and were left out",)
        )

    monkeypatch.setattr("poseling.runtime.pipeline.track", run)
    printed = said(capsys, "track images --model m.onnx --provider cuda --threshold 0.4")
    assert (
        printed
        == "2 frames: drawn, by m (for any use)\nimages: 1 of 3 images cannot be read and were left out\n"
    )


def test_track_with_poses_alone_draws_nothing(capsys, monkeypatch):
    monkeypatch.setattr(
        "poseling.runtime.pipeline.track",
        lambda *arguments, **flags: Tracked(2, arguments[2], arguments[4], "m (for any use)"),
    )
    assert (
        said(capsys, "track images --model m.onnx --json poses.jsonl")
        == "2 frames: poses.jsonl, by m (for any use)\n"
    )


def test_track_stopped_says_what_there_is(capsys, monkeypatch):
    def run(*arguments, seen, **flags):
        seen(0, Pose(np.zeros((1, 17, 2)), np.ones((1, 17)), COCO17))
        raise KeyboardInterrupt

    monkeypatch.setattr("poseling.runtime.pipeline.track", run)
    with pytest.raises(SystemExit) as left:
        main(["track", "0", "--model", "m.onnx", "--json", "poses.jsonl"])
    assert left.value.code == 130
    assert capsys.readouterr().out == "Stopped after 1 frame: poses.jsonl\n"


def test_track_measures_where_to_run_and_says_it(capsys, monkeypatch):
    monkeypatch.setattr("poseling.runtime.network.fastest", lambda *a, **k: {"openvino": 2.0, "cpu": 4.04})
    monkeypatch.setattr(
        "poseling.runtime.pipeline.track",
        lambda *arguments, **flags: Tracked(1, None, arguments[4], f"m on {flags['provider']}"),
    )
    assert said(capsys, "track a.mp4 --json poses.jsonl --provider auto") == (
        "openvino 2.0 ms, cpu 4.0 ms: running on openvino\n1 frame: poses.jsonl, by m on openvino\n"
    )


def test_track_needs_no_torch(tmp_path):
    # A network that finds its one joint at (10, 5) of whatever it sees; an image of its input's size is seen
    # as it is.
    spec = PoseSpec("fixed", Skeleton("one", ("nose",), (0,)), {"name": "fixed"}, (40, 30), padding=1.0)
    answers = [("xy", np.float32([[[10, 5]]])), ("score", np.float32([[0.75]]))]
    graph = helper.make_graph(
        [
            helper.make_node("Constant", [], [name], value=onnx.numpy_helper.from_array(value))
            for name, value in answers
        ],
        "fixed",
        [helper.make_tensor_value_info("crops", TensorProto.UINT8, ["N", 30, 40, 3])],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, value.shape) for name, value in answers],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    helper.set_model_props(model, {KEY: spec.to_json()})
    onnx.save(model, tmp_path / "fixed.onnx")
    cv2.imwrite(str(tmp_path / "image.png"), np.zeros((30, 40, 3), np.uint8))

    out, poses = tmp_path / "drawn", tmp_path / "poses.jsonl"
    done = fresh(
        LISTED,
        "track",
        f"{tmp_path}/image.png",
        "--model",
        f"{tmp_path}/fixed.onnx",
        "--out",
        str(out),
        "--json",
        str(poses),
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("1 frame: ")
    assert done.stdout.endswith("imported:\n")
    (line,) = poses.read_text().splitlines()
    pose = json.loads(line)
    assert np.allclose(pose["xy"], [[[10, 5]]], atol=1e-4)
    assert np.allclose(pose["score"], [[0.75]])
    assert cv2.imread(str(out / "image.png")).any()


def test_the_authors_hourglass_becomes_a_teacher(capsys: pytest.CaptureFixture[str], tmp_path: Path):
    """A file in the layout of FPD's authors, under their names (listed in tests/models/test_hourglass.py),
    answers as ours with the same weights.
    """
    import torch

    from poseling.models.hourglass import Hourglass
    from poseling.teachers.checkpoint import checkpoint_teacher

    torch.manual_seed(0)
    ours = Hourglass(16, stacks=1, width=8)
    torch.save(
        {"module." + name: tensor for name, tensor in theirs(ours.state_dict()).items()},
        tmp_path / "final_state.pth.tar",
    )
    printed = said(capsys, f"import {tmp_path / 'final_state.pth.tar'} --network hourglass-1x8")
    assert "final_state.safetensors: hourglass-1x8, mpii16" in printed
    teacher = checkpoint_teacher(tmp_path / "final_state.safetensors")
    assert teacher.spec.colour == "bgr"
    assert not teacher.codec.unbiased
    for name, tensor in ours.state_dict().items():
        assert torch.equal(teacher.network.state_dict()[name], tensor)


def test_an_onnx_file_becomes_a_start(capsys: pytest.CaptureFixture[str], tmp_path: Path):
    """One convolution of stride 4 on int32 pixels: 14 x (3 x 16 + 0) weights, each used 8 x 8 times."""
    weights = np.random.default_rng(0).normal(size=(14, 3, 4, 4)).astype(np.float32)
    nodes = [
        helper.make_node("Cast", ["in"], ["x"], to=1),
        helper.make_node("Conv", ["x", "w"], ["maps"], strides=[4, 4]),
    ]
    graph = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info("in", TensorProto.INT32, (1, 3, 32, 32))],
        [onnx.ValueInfoProto(name="maps")],
        [onnx.numpy_helper.from_array(weights, "w")],
    )
    file = tmp_path / "net.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9), file)
    printed = said(capsys, f"import {file} --until maps --skeleton lsp14 --size 64 32")
    assert printed.startswith(
        f"{tmp_path}/net.safetensors: 672 parameters, 0.00 GMAC at 64x32, maps (14, 8, 16), joints of lsp14; "
    )
    assert "from ONNX Runtime on generated images it differs by" in printed
    assert "features, no joints yet" in said(
        capsys, f"import {file} --until maps --out {tmp_path}/trunk.safetensors"
    )
    assert "skeleton 'dog' is unknown; there is body19, coco17" in failed(
        capsys, f"import {file} --until maps --skeleton dog"
    )
    assert "no tensor is called 'heads'" in failed(capsys, f"import {file} --until heads")
    assert "name the heatmaps, or a feature map, with --until; candidates are maps [1, 14, 8, 8]" in failed(
        capsys, f"import {file}"
    )
    assert "trunk.safetensors: gives features and no joints" in failed(
        capsys, f"evaluate {tmp_path}/trunk.safetensors --data mini"
    )


def theirs(state: dict[str, object]) -> dict[str, object]:
    """The names of a one-stack hourglass with one block a residual, as the authors' layout has them."""
    start = {
        "stem.0": "conv1",
        "stem.1": "bn1",
        "before_pool": "layer1.0",
        "after_pool.0": "layer2.0",
        "after_pool.1": "layer3.0",
        "stacks.0.residual": "res.0",
    }
    start |= {"stacks.0.features": "fc.0", "stacks.0.score": "score.0"}
    for level in range(4):
        for branch, name in enumerate(("keep", "down", "up") if level else ("keep", "down", "up", "below")):
            start[".".join(["stacks.0.hourglass", *["below"] * (3 - level), name])] = (
                f"hg.0.hg.{level}.{branch}"
            )
    renamed = {}
    for name, tensor in state.items():
        ours = max((key for key in start if name.startswith(key + ".")), key=len)
        renamed[start[ours] + name[len(ours) :].replace("norm", "bn").replace("skip", "downsample.0")] = (
            tensor
        )
    return renamed


def test_a_set_is_packed_and_is_a_set_again(tmp_path, capsys):
    main(["data", "pack", "mini", "--split", "val", "--out", str(tmp_path / "packed"), "--size", "64"])
    assert "150 of 150 people of mini" in " ".join(capsys.readouterr().out.split())
    assert len(packed(tmp_path / "packed")) == 150
    with pytest.raises(SystemExit):
        main(
            [
                "data",
                "pack",
                "images",
                "--root",
                str(tmp_path / "packed" / "images"),
                "--split",
                "test",
                "--out",
                str(tmp_path / "other"),
            ]
        )
    assert "has no such split; take train" in " ".join(capsys.readouterr().err.split())


def test_people_are_looked_for_and_their_boxes_written(tmp_path, capsys):
    """The person that the README's image shows, in a corner of a larger image, and an empty one."""
    person = cv2.resize(
        cv2.imread(str(Path(__file__).resolve().parents[1] / "docs/images/person.jpg")), (224, 224)
    )
    canvas = np.full((448, 672, 3), 128, np.uint8)
    canvas[200:424, 400:624] = person
    cv2.imwrite(str(tmp_path / "a.png"), canvas)
    cv2.imwrite(str(tmp_path / "b.png"), np.full((200, 300, 3), 128, np.uint8))
    (tmp_path / "c.jpg").write_bytes(b"no image")
    main(["data", "boxes", str(tmp_path)])
    assert "a person in 1 of 3 images, by poseling-n" in " ".join(capsys.readouterr().out.split())
    listed = json.loads((tmp_path / "boxes.json").read_text())
    assert (listed["b.png"], listed["c.jpg"]) == ([], [])
    ((x0, y0, x1, y1),) = listed["a.png"]
    assert 390 < x0 < x1 < 640
    assert 190 < y0 < y1 < 440
    assert len(images(tmp_path)) == 1
    with pytest.raises(SystemExit):
        main(["data", "boxes", str(tmp_path)])
    assert "boxes.json: exists already; remove it to write a new one" in " ".join(
        capsys.readouterr().err.split()
    )
