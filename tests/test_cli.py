"""The commands as a user meets them: their help, their flags, and what they say when something is wrong."""

from __future__ import annotations

import dataclasses
import inspect
import json
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from poseling.cli import app, main
from poseling.recipes.lab import Setup
from poseling.skeleton import Skeleton
from poseling.spec import KEY, PoseSpec
from poseling.synth.synthesize import Synthesized

COMMANDS = [
    "distill baseline",
    "distill fpd",
    "distill unlabelled",
    "evaluate",
    "label",
    "export",
    "import",
    "track",
    "data check",
    "data preview",
    "data synthesize",
]


@pytest.fixture(autouse=True)
def wide(monkeypatch: pytest.MonkeyPatch):
    """Lines are not wrapped, so that they can be compared."""
    monkeypatch.setenv("COLUMNS", "400")


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
    return subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=False)


def test_the_commands_there_are(capsys):
    def walk(one, way=()):
        for name in one:
            if not name.startswith("-"):
                inner = [name for name in one[name] if not name.startswith("-")]
                yield from walk(one[name], (*way, name)) if inner else [" ".join((*way, name))]

    assert sorted(walk(app)) == sorted(COMMANDS)
    out = said(capsys, "--help")
    assert all(command.split()[0] in out for command in COMMANDS)


@pytest.mark.parametrize("command", COMMANDS)
def test_help_explains_every_parameter(capsys, command):
    out = said(capsys, f"{command} --help")
    one = app
    for name in command.split():
        one = one[name]
    named = []
    for name in inspect.signature(one.default_command).parameters:
        named += [field.name for field in dataclasses.fields(Setup)] if name == "setup" else [name]
    rows = [line.strip("│ *").strip() for line in out.splitlines() if line.startswith("│")]
    for name in named:
        flag = f"--{name.replace('_', '-')}"
        (explained,) = [row.split("  ", 1)[1].strip() for row in rows if flag in row.split("  ")[0].split()]
        assert explained, f"{command} {flag}: the docstring does not say what it is"
        assert not explained.startswith("["), f"{command} {flag}: the docstring does not say what it is, only {explained}"


def test_recipes_are_listed_with_what_their_files_say(capsys):
    out = said(capsys, "distill --help")
    assert "Fast Human Pose Distillation: a small hourglass learns a big one's heatmaps beside the labels." in out
    assert "arXiv 1811.05419" not in out
    assert "arXiv 1811.05419" in said(capsys, "distill fpd --help")


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
        "setup": Setup(data="lsp", root=Path("x"), flip_test=False, schedule="one_cycle"),
        "teacher_scales": (0.9, 1.1),
        "alpha": 0.7,
    }


@pytest.mark.parametrize(
    ("command", "why", "way_out"),
    [
        ("distill fpd --epoch 3", "--epoch.", "See `poseling distill fpd --help`."),
        ("distill fpd --epochs many", 'unable to convert "many" into float', "See `poseling distill fpd --help`."),
        ("distill fpd --optimizer sgd", '"sgd"', '"adam", "adamw", "rmsprop"'),
        ("distill fpd lsp", "lsp", "See `poseling distill fpd --help`."),
        ("distill unlabelled", "--teacher", "See `poseling distill unlabelled --help`."),
        ("distill dfp", 'Unknown command "dfp"', "baseline, fpd, unlabelled"),
        ("teach", 'Unknown command "teach"', "See `poseling --help`."),
        ("track picture.png --model m.onnx --box 1 2 3", "--box", "requires 4"),
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
        ("data check lsp --root {0}/none", "{0}/none"),
        ("data preview leeds --root {0}", "leeds"),
        ("data preview lsp", "--data lsp needs --root"),
        ("data preview synthetic --root {0}", "poseling data synthesize --count 1000 --out {0}"),
        ("data synthesize --count 10 --out {0}", "{0}: holds other things than synthetic people"),
        ("data synthesize --count 10 --out {0}/new --backgrounds {0}/none", "{0}/none: holds no picture"),
        ("data synthesize --count 0 --out {0}/new", "count is 0"),
    ],
)
def test_wrong_files_are_one_line_that_names_them(capsys, tmp_path, command, why):
    for name in ("bad.safetensors", "bad.onnx"):
        (tmp_path / name).write_bytes(b"these are no weights")
    assert why.format(tmp_path) in failed(capsys, command.format(tmp_path))


def test_a_mistake_of_ours_keeps_its_traceback(monkeypatch):
    def broken(*_, **__):
        raise TypeError("ours")

    monkeypatch.setattr("poseling.cli.app", broken)
    with pytest.raises(TypeError, match="ours"):
        main(["track"])


def test_without_torch_the_line_says_what_to_install():
    done = fresh("import sys; sys.modules['torch'] = None; from poseling.cli import main; main(sys.argv[1:])", "distill", "fpd", "--data", "mini")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "error: torch is not installed; pip install 'poseling[train]' brings it\n"


def test_without_anny_the_line_says_what_to_install(capsys, tmp_path, monkeypatch):
    def missing(*_, **__):
        raise ModuleNotFoundError("No module named 'scipy'", name="scipy")  # any of them, since the extra brings all that the studio needs

    monkeypatch.setattr("poseling.synth.synthesize.synthesize", missing)
    line = failed(capsys, f"data synthesize --count 1 --out {tmp_path}/set")
    assert line == "error: scipy is not installed; pip install 'poseling[synth]' brings it\n"


@pytest.mark.parametrize(
    ("made", "already", "told"), [(6, 2, "8 people, 6 made now at 3.0 pictures/s"), (0, 8, "8 people, all of them were there already")]
)
def test_synthesize_says_how_fast_and_what_next(capsys, tmp_path, monkeypatch, made, already, told):
    asked = []

    def synthesize(*arguments, progress):
        asked.append(arguments)
        progress(already, 8)
        progress(8, 8)
        return Synthesized(arguments[0], made, already, 2.0, (tmp_path / "broken.jpg",))

    monkeypatch.setattr("poseling.synth.synthesize.synthesize", synthesize)
    out = said(capsys, f"data synthesize --count 8 --out {tmp_path}/set --seed 3 --split test --size 128 --backgrounds {tmp_path} --workers 4")
    assert asked == [(tmp_path / "set", 8, 128, 3, "test", tmp_path, 4)]
    assert "8/8" in out or "100%" in out
    assert f"{tmp_path}/set: {told}\n" in out
    assert f"1 background pictures cannot be read, the first is {tmp_path}/broken.jpg; others were taken" in out
    assert out.endswith(f"Look at them: poseling data preview synthetic --root {tmp_path}/set\n")
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
    assert f"Whole blocks of pictures stay in {tmp_path}/set, and the same command goes on" in capsys.readouterr().out


HEAVY = ("torch", "onnx", "safetensors", "scipy", "matplotlib", "kornia", "accelerate")
LISTED = f"""
import sys
from poseling.cli import main
main(sys.argv[1:])
print("imported:", *[module for module in {HEAVY} if module in sys.modules])
"""


@pytest.mark.parametrize("command", ["--help", "--version", "distill --help", "label --help"])
def test_help_leaves_torch_alone(command):
    done = fresh(LISTED, *command.split())
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith("imported:\n")


def test_track_needs_no_torch(tmp_path):
    # A network that finds its one joint at (10, 5) of whatever it sees; a picture of its input's size is seen as it is.
    spec = PoseSpec("fixed", Skeleton("one", ("nose",), (0,)), {"name": "fixed"}, (40, 30), padding=1.0)
    answers = [("xy", np.float32([[[10, 5]]])), ("score", np.float32([[0.75]]))]
    graph = helper.make_graph(
        [helper.make_node("Constant", [], [name], value=onnx.numpy_helper.from_array(value)) for name, value in answers],
        "fixed",
        [helper.make_tensor_value_info("crops", TensorProto.UINT8, ["N", 30, 40, 3])],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, value.shape) for name, value in answers],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    helper.set_model_props(model, {KEY: spec.to_json()})
    onnx.save(model, tmp_path / "fixed.onnx")
    cv2.imwrite(str(tmp_path / "picture.png"), np.zeros((30, 40, 3), np.uint8))

    out, poses = tmp_path / "drawn", tmp_path / "poses.jsonl"
    done = fresh(LISTED, "track", f"{tmp_path}/picture.png", "--model", f"{tmp_path}/fixed.onnx", "--out", str(out), "--json", str(poses))
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("1 frame: ")
    assert done.stdout.endswith("imported:\n")
    (line,) = poses.read_text().splitlines()
    pose = json.loads(line)
    assert np.allclose(pose["xy"], [[[10, 5]]], atol=1e-4)
    assert np.allclose(pose["score"], [[0.75]])
    assert cv2.imread(str(out / "picture.png")).any()


def test_the_authors_hourglass_becomes_a_teacher(capsys: pytest.CaptureFixture[str], tmp_path: Path):
    """A file in the layout of FPD's authors, under their names (listed in tests/models/test_hourglass.py), answers as ours with the same weights."""
    import torch

    from poseling.models.hourglass import Hourglass
    from poseling.teachers.checkpoint import checkpoint_teacher

    torch.manual_seed(0)
    ours = Hourglass(16, stacks=1, width=8)
    torch.save({"module." + name: tensor for name, tensor in theirs(ours.state_dict()).items()}, tmp_path / "final_state.pth.tar")
    printed = said(capsys, f"import {tmp_path / 'final_state.pth.tar'} --network hourglass-1x8")
    assert "final_state.safetensors: hourglass-1x8, mpii16" in printed
    teacher = checkpoint_teacher(tmp_path / "final_state.safetensors")
    assert teacher.spec.colour == "bgr"
    assert not teacher.codec.unbiased
    for name, tensor in ours.state_dict().items():
        assert torch.equal(teacher.network.state_dict()[name], tensor)


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
            start[".".join(["stacks.0.hourglass", *["below"] * (3 - level), name])] = f"hg.0.hg.{level}.{branch}"
    renamed = {}
    for name, tensor in state.items():
        ours = max((key for key in start if name.startswith(key + ".")), key=len)
        renamed[start[ours] + name[len(ours) :].replace("norm", "bn").replace("skip", "downsample.0")] = tensor
    return renamed
