"""The recipes from the command line, at the size of a smoke run: all parts work together, and the files that
are written are complete.
"""

from __future__ import annotations

import json
import shutil
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from poseling.cli import main
from poseling.data.mini import mini
from poseling.files import read_image
from poseling.models import start
from poseling.models.checkpoint import read_tensors
from poseling.recipes.config import TrainConfig
from poseling.runtime import Network
from poseling.teachers.checkpoint import checkpoint_teacher


def run(*words: object) -> None:
    main([str(word) for word in words])


FPD = (
    "distill",
    "fpd",
    "--smoke",
    "--speeds",
    "--train-teacher",
    "hourglass-1x16",
    "--alpha",
    0.5,
    "--warm-start",
    "--seeds",
    2,
)


@pytest.fixture(scope="module")
def fpd(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One smoke run of FPD with everything: a teacher trained first, a warm start, two seeds."""
    torch.set_num_threads(1)
    out = tmp_path_factory.mktemp("fpd")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["/somewhere/bin/poseling", "distill", "fpd", "--smoke"])
        run(*FPD, "--out", out)
    return out


@pytest.mark.slow
def test_the_report_has_what_is_promised(fpd: Path):
    report = json.loads((fpd / "report.json").read_text())
    assert report["recipe"] == "fpd"
    assert report["data"] == "mini"
    assert report["metric"] == "PCK@0.2"
    assert report["seeds"] == 2
    assert {"value", "params", "gmac"} <= report["teacher"].keys()
    for arm in ("baseline", "baseline_longer", "distilled", "gap_closed"):
        assert len(report[arm]["values"]) == 2
        assert "mean" in report[arm]
    assert [arm["name"] for arm in report["others"]] == ["from scratch"]
    assert report["images_per_second"].keys() == {"supervised", "distilled", "live_teacher"}
    assert all(value > 0 for value in report["images_per_second"].values())
    assert report["command"] == "poseling distill fpd --smoke"
    assert report["versions"]["torch"] == torch.__version__
    assert any("smoke" in note for note in report["notes"])


@pytest.mark.slow
def test_the_images_are_drawn(fpd: Path):
    for name in ("curves.png", "cases.png"):
        image = read_image(fpd / name)
        assert image.shape[0] > 300
        assert image.std() > 10  # not one colour
        assert f"]({name})" in (fpd / "report.md").read_text()
    assert (fpd / "report.html").read_text().count("<figure") == 8  # test people


@pytest.mark.slow
def test_the_exported_student_answers_as_its_checkpoint(fpd: Path):
    teacher, network = checkpoint_teacher(fpd / "student.safetensors"), Network(fpd / "student.onnx")
    assert network.spec.recipe == "fpd/warm"
    assert network.spec.arguments["smoke"] is True
    crop = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    crop = cv2.GaussianBlur(crop, (9, 9), 3)
    xy = teacher(torch.from_numpy(crop[None])).xy[0].numpy()
    box = [6.3, 6.3, 56.7, 56.7]  # 1.25 times that, the network's padding, is the whole crop
    pose = network(crop, [box], colour="rgb")
    assert np.abs(pose.xy[0] - xy).max() < 0.05


@pytest.mark.slow
def test_arms_differ_only_by_the_teacher(fpd: Path):
    """Equal seed, people, steps and schedule; and the warm arms start from the baseline."""
    settings = {}
    for arm in ("baseline", "distilled", "warm", "baseline-longer"):
        _, metadata = read_tensors(fpd / "seed-1" / arm / "state.safetensors")
        fields = json.loads(metadata["settings"])
        terms = fields.pop("terms")
        settings[arm] = fields
        assert terms == (
            [["labels", 1.0]] if arm.startswith("baseline") else [["labels", 0.5], ["teacher", 0.5]]
        )
    assert len({json.dumps(fields, sort_keys=True) for fields in settings.values()}) == 1
    first = {
        arm: json.loads((fpd / "seed-1" / arm / "log.jsonl").read_text().splitlines()[0])["labels"]
        for arm in settings
    }
    assert first["warm"] < first["distilled"]  # it has learnt before


@pytest.mark.slow
def test_the_same_command_again_trains_nothing_and_finds_the_same(fpd: Path, tmp_path: Path):
    again = tmp_path / "again"
    shutil.copytree(fpd, again)
    states = {path: path.stat().st_mtime_ns for path in again.rglob("state.safetensors")}
    run(*FPD, "--out", again)
    assert {path: path.stat().st_mtime_ns for path in again.rglob("state.safetensors")} == states
    first, second = (json.loads((folder / "report.json").read_text()) for folder in (fpd, again))
    for arm in ("teacher", "baseline", "distilled"):
        assert first[arm]["values"] == second[arm]["values"]


@pytest.mark.slow
def test_the_first_command_needs_nothing_else(tmp_path: Path):
    """Without flags: the data, the teacher and the numbers that come with the program."""
    run("distill", "fpd", "--smoke", "--out", tmp_path)
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["data"] == "mini"
    assert not (tmp_path / "seed-0" / "teacher").exists()  # it was not trained here
    spec = Network(tmp_path / "student.onnx").spec
    assert spec.skeleton.name == "coco17"
    assert spec.licences["teacher"].startswith("mini-teacher (code")


def test_defaults_fit_the_data():
    """Without data those of the mini set, with data ours, or the paper's if asked for; a flag that is given
    stays in all of them.
    """
    small, ours = TrainConfig(), TrainConfig(data=("mpii",), root=(Path("x"),))
    papers = TrainConfig(data=("mpii",), root=(Path("x"),), as_published=True)
    assert (small.input, small.loss, small.optimizer, small.schedule, small.epochs) == (
        (64, 64),
        "kl",
        "adamw",
        "one_cycle",
        10,
    )
    assert (ours.input, ours.loss, ours.optimizer, ours.schedule) == ((128, 128), "kl", "adamw", "one_cycle")
    assert (ours.epochs, ours.budget, ours.ema, ours.clip) == (None, "1h", 0.999, 1.0)
    assert (papers.input, papers.loss, papers.optimizer, papers.schedule) == (
        (256, 256),
        "mse",
        "adam",
        "step",
    )
    assert (papers.epochs, papers.batch, papers.learning_rate, papers.sigma) == (140, 4, 2.5e-4, 2.0)  # FPD's
    assert TrainConfig(data=("mini",)) == replace(small, data=("mini",))
    assert TrainConfig(root=(Path("x"),)) == replace(
        ours, data=()
    )  # `unlabelled --root DIR` takes a folder of images
    assert TrainConfig(optimizer="adam", epochs=140).optimizer == "adam"
    assert TrainConfig(optimizer="adam", epochs=140).epochs == 140
    assert TrainConfig(data=("mpii",), root=(Path("x"),), loss="kl").loss == "kl"


def test_a_trained_student_keeps_its_input():
    """poseling-n was trained at 128x160 with a padding of 1.05, which no default has."""
    own, flags = start.contract("poseling-n"), {"data": ("images",), "root": (Path("x"),)}
    assert own is not None

    def found(**more: Any) -> tuple[Any, ...]:
        config = TrainConfig(**flags, **more).started(own)
        return (*config.input, config.padding)

    assert found() == (128, 160, 1.05)
    assert found(padding=1.15) == (128, 160, 1.15)
    assert found(size=192) == (192, 192, 1.05)
    assert found(width=96) == (96, 128, 1.05)
    assert found(as_published=True) == (256, 256, 1.25)
    config = replace(TrainConfig(**flags), seeds=3).started(own)  # what is not given stays so
    assert (*config.input, config.padding, config.seeds) == (128, 160, 1.05, 3)
    none = TrainConfig(**flags).started(None)
    assert (*none.input, none.padding) == (128, 128, 1.25)


def test_learning_from_labels_needs_some(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    for image in mini("val").images[:12]:
        shutil.copy(image, tmp_path)
    for recipe, more in (("fpd", ()), ("baseline", ("--skeleton", "coco17"))):
        with pytest.raises(SystemExit):
            run("distill", recipe, *more, "--data", "images", "--root", tmp_path, "--out", tmp_path / "out")
        said = " ".join(capsys.readouterr().err.split())
        assert (
            f"--data images: has no labels, and {recipe} learns from labels; `poseling distill unlabelled` "
            f"needs none"
        ) in said
    assert not (tmp_path / "out").exists()


def test_help_says_both_defaults(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("COLUMNS", "250")
    run("distill", "fpd", "--help")
    said = capsys.readouterr().out
    assert f"[default: none; as published 140; with the mini set {TrainConfig().epochs:g}" in said
    assert "[default: none; with the mini set mini]" in said
    assert "[default: hourglass-8x256; with the mini set none]" in said


# The losses of each recipe's arm, as its file's docstring has them, and the network that is kept.
HALF = [["labels", 0.5], ["teacher", 0.5]]
SMOKED = {
    "kdlpn": ("distilled", HALF, "kdlpn-16"),
    "vitpose_mobile": ("distilled", HALF, "vitpose_mobile-mobilenetv2_050-simple-32"),
    "tokenpose_mobile": ("distilled", HALF, "tokenpose_mobile-mobilenetv2_050-1"),
    "dwpose": (
        "first-stage",
        [["labels", 1.0], ["features", 7e-5], ["logits", 0.1]],
        "simcc-mobilenetv2_050",
    ),
    "okdhp": ("distilled", [["labels", 1.0], ["ensemble", 2.0]], "hourglass-1x16"),
    "distilpose": (
        "distilled",
        [["labels", 1.0], ["simulated heatmap", 1.0], ["score", 0.01]],
        "distilpose_mobile-mobilenetv2_050-1",
    ),
    "sdpose": (
        "distilled",
        [["labels", 1.0], ["visual tokens", 5e-6], ["keypoint tokens", 5e-6]],
        "sdpose_mobile-mobilenetv2_050-1",
    ),
    "multi_teacher": ("distilled", HALF, "hourglass-1x16"),
}
# ViTPose's published layer decay, which its students have no depths for.
MORE = {"multi_teacher": ("--teachers", "mini"), "vitpose_mobile": ("--as-published",)}


def settings(state: Path) -> dict[str, object]:
    _, metadata = read_tensors(state / "state.safetensors")
    return dict(json.loads(metadata["settings"]))


def check(out: Path, recipe: str, data: str, metric: str) -> dict[str, dict[str, list[float]]]:
    """The report and the files of a smoke run with one seed; gives the report."""
    report = json.loads((out / "report.json").read_text())
    assert (report["recipe"], report["data"], report["metric"], report["seeds"]) == (recipe, data, metric, 1)
    assert any("Not yet trained at length" in note for note in report["notes"]) == (
        not recipe.endswith(("kdlpn", "mobile"))
    )
    for arm in ("baseline", "distilled"):
        assert len(report[arm]["values"]) == 1
        assert 0 <= report[arm]["values"][0] <= 1
    spec = checkpoint_teacher(out / "student.safetensors").spec
    assert spec.model == SMOKED[recipe][2]
    assert spec.arguments["smoke"] is True
    assert [name for name, _ in SMOKED[recipe][1]] == [
        name for name, _ in settings(out / "seed-0" / SMOKED[recipe][0])["terms"]
    ]
    if (
        out / "student.onnx"
    ).is_file():  # the outputs of a network that learnt for seconds can be too wild for the check
        assert Network(out / "student.onnx").spec.model == spec.model
    return dict(report)


@pytest.mark.slow
@pytest.mark.parametrize("recipe", SMOKED)
def test_each_recipe_proves_itself_on_the_mini_set(recipe: str, tmp_path: Path):
    torch.set_num_threads(1)
    arm, terms, _ = SMOKED[recipe]
    run("distill", recipe, "--smoke", *MORE.get(recipe, ()), "--out", tmp_path)
    check(tmp_path, recipe, "mini", "PCK@0.2")
    folder = tmp_path / "seed-0"
    alone, taught = settings(folder / "baseline"), settings(folder / arm)
    assert alone.pop("terms") == [["labels", 1.0]]
    assert taught.pop("terms") == terms
    assert alone == taught
    if recipe == "dwpose":
        assert settings(folder / "second-stage")["terms"] == [["itself", 1.0]]
        first, second = (
            read_tensors(folder / f"{stage}.safetensors")[0] for stage in ("first-stage", "second-stage")
        )
        assert first.keys() == second.keys()
        assert {name.split(".")[0] for name in first if not torch.equal(first[name], second[name])} == {
            "head"
        }


@pytest.mark.slow
@pytest.mark.shared
@pytest.mark.parametrize("recipe", ["kdlpn", "vitpose_mobile", "tokenpose_mobile"])
def test_a_foreign_teacher_on_real_images(recipe: str, tmp_path: Path, shared: Path):
    torch.set_num_threads(1)
    teacher = shared / "peers" / "movenet-lightning.onnx"
    run(
        "distill",
        recipe,
        "--smoke",
        "--data",
        "lsp",
        "lspet",
        "--root",
        shared / "data",
        "--teacher",
        teacher,
        "--out",
        tmp_path,
    )
    report = check(
        tmp_path, recipe, "lsp+lspet", "PCK@0.2 of 12 joints"
    )  # LSP's neck and the top of the head are not COCO's
    assert report["teacher"]["value"] > 0.5  # 0.8 or so on all test people


@pytest.mark.slow
@pytest.mark.shared
def test_from_cocos_folders_to_its_average_precision(tmp_path: Path, shared: Path):
    """The four sample images, laid out as COCO's download, one command, and COCO's measure."""
    torch.set_num_threads(1)
    fixture, root, out = shared / "data" / "fixtures" / "coco", tmp_path / "coco", tmp_path / "out"
    (root / "annotations").mkdir(parents=True)
    for part in ("train2017", "val2017"):
        shutil.copy(fixture / "test_coco.json", root / "annotations" / f"person_keypoints_{part}.json")
        (root / part).mkdir()
        for image in fixture.glob("*.jpg"):
            shutil.copy(image, root / part)
    run(
        "distill",
        "kdlpn",
        "--smoke",
        "--data",
        "coco",
        "--root",
        root,
        "--teacher",
        shared / "peers" / "movenet-lightning.onnx",
        "--out",
        out,
    )
    report = check(out, "kdlpn", "coco", "OKS AP")
    assert report["teacher"]["value"] > 0.3


@pytest.mark.slow
@pytest.mark.shared
def test_joints_that_no_teacher_has_are_not_measured(tmp_path: Path, shared: Path):
    """Neither MoveNet nor BlazePose has LSP's neck and top of the head, which are not measured."""
    torch.set_num_threads(1)
    teachers = [shared / "peers" / name for name in ("movenet-lightning.onnx", "blazepose-lite.onnx")]
    more = ("--teachers", *teachers, "--weights", "movenet-lightning=2", "blazepose-lite:left_wrist=3")
    run(
        "distill",
        "multi_teacher",
        "--smoke",
        "--data",
        "lsp",
        "lspet",
        "--root",
        shared / "data",
        *more,
        "--out",
        tmp_path,
    )
    report = check(tmp_path, "multi_teacher", "lsp+lspet", "PCK@0.2 of 12 joints")
    assert report["teacher"]["name"] == "teacher (movenet-lightning + blazepose-lite)"
    assert report["teacher"]["value"] > 0.5


def points_network(path: Path) -> None:
    """An ONNX network of MoveNet's shape that predicts a standing person in every image, a little lower in
    brighter ones.
    """
    rng = np.random.default_rng(0)
    points = np.dstack([np.linspace(0.1, 0.9, 17), 0.5 + rng.uniform(-0.2, 0.2, 17), np.full(17, 0.9)])[
        None
    ].astype(np.float32)
    move = np.tile(np.array([0.001, 0, 0], np.float32), (17, 1))[None, None]
    nodes = [
        helper.make_node("Cast", ["input:0"], ["float"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["float"], ["mean"], keepdims=1),
        helper.make_node("Mul", ["mean", "move"], ["moved"]),
        helper.make_node("Add", ["points", "moved"], ["Identity:0"]),
    ]
    graph = helper.make_graph(
        nodes,
        "points",
        [helper.make_tensor_value_info("input:0", TensorProto.INT32, [1, 192, 192, 3])],
        [helper.make_tensor_value_info("Identity:0", TensorProto.FLOAT, [1, 1, 17, 3])],
        [numpy_helper.from_array(points, "points"), numpy_helper.from_array(move, "move")],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10), path)


@pytest.mark.slow
def test_any_teacher_on_any_images(tmp_path: Path):
    """One command: a foreign ONNX file teaches its predictions for a folder, of which one image is broken."""
    points_network(tmp_path / "teacher.onnx")
    folder, out = tmp_path / "images", tmp_path / "out"
    folder.mkdir()
    for image in mini("val").images[:20]:
        shutil.copy(image, folder)
    (folder / "broken.jpg").write_bytes(b"\xff\xd8 not an image")
    run(
        "distill",
        "unlabelled",
        "--smoke",
        "--teacher",
        tmp_path / "teacher.onnx",
        "--root",
        folder,
        "--out",
        out,
    )
    report = json.loads((out / "report.json").read_text())
    assert report["baseline"] is None  # images without labels have no control
    assert report["metric"] == "agreement with the teacher, PCK@0.2"
    assert report["teacher"]["value"] == 1
    assert any("broken.jpg" in note for note in report["notes"])
    assert Network(out / "student.onnx").spec.skeleton.name == "coco17"
    assert "teacher (code" in Network(out / "student.onnx").spec.licences["teacher"]


def test_a_teacher_that_shares_no_joint_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    from poseling.models import checkpoint, registry
    from poseling.skeleton import Skeleton
    from poseling.spec import PoseSpec

    spec = PoseSpec(
        "hourglass-1x16",
        Skeleton("fish", ("mouth", "tail"), (0, 0)),
        {"name": "heatmap", "size": [64, 64]},
        (64, 64),
    )
    checkpoint.save(tmp_path / "fish.safetensors", registry.build("hourglass-1x16", 2), spec)
    with pytest.raises(SystemExit) as stopped:
        run(
            "distill", "fpd", "--smoke", "--teacher", tmp_path / "fish.safetensors", "--out", tmp_path / "out"
        )
    assert stopped.value.code == 1
    said = capsys.readouterr().err
    assert "fish (mouth, tail" in said
    assert "no joint in common" in said


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (("distill", "fpd", "--data", "lsp"), "--data lsp needs --root"),
        (("distill", "fpd", "--data", "lsp", "--root", "nowhere"), "nowhere"),
        (("distill", "fpd", "--smoke", "--alpha", "1.5"), "alpha is 1.5"),
        (("distill", "fpd", "--smoke", "--teacher", "none.onnx"), "none.onnx: there is no such file"),
        (("distill", "fpd", "--smoke", "--teacher-loss", "mse"), "read the network's outputs differently"),
        (
            ("distill", "fpd", "--smoke", "--teacher", "hourglass-8x256"),
            "--teacher hourglass-8x256: is an architecture with random weights; --train-teacher "
            "hourglass-8x256 trains it first",
        ),
        (("distill", "fpd", "--smoke", "--train-teacher", "hourglass-big"), "hourglass-4x128"),
        (
            ("distill", "fpd", "--smoke", "--train-teacher", "big.onnx"),
            "--train-teacher big.onnx: is no architecture, of which there is hourglass-4x128, ",
        ),
        (
            ("distill", "fpd", "--smoke", "--train-teacher", "hourglass-1x16", "--teacher", "mini"),
            "--teacher mini --train-teacher hourglass-1x16: give one of them",
        ),
        (
            ("distill", "unlabelled", "--root", "."),
            "unlabelled needs a teacher: --teacher names weights that exist, such as movenet-thunder.onnx, "
            "--train-teacher an architecture that is trained first",
        ),
        (
            ("distill", "movnect", "--smoke", "--live", "--teacher-flip"),
            "with --live the teacher runs in every step; leave them out",
        ),
        (
            ("distill", "knowledge_token", "--smoke", "--train-teacher", "hourglass-1x16"),
            "--train-teacher hourglass-1x16, --student vitpose-t-simple: a token goes from one ViTPose",
        ),
    ],
)
def test_bad_flags_are_one_line(
    words: tuple[str, ...],
    complaint: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as stopped:
        run(*words)
    assert stopped.value.code == 1
    said = capsys.readouterr().err
    assert complaint in said
    assert "Traceback" not in said


@pytest.fixture(scope="module")
def space(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """MoVNect's four stages on the mini set."""
    torch.set_num_threads(1)
    out = tmp_path_factory.mktemp("movnect")
    run("distill", "movnect", "--smoke", "--out", out)
    return out


@pytest.mark.slow
def test_movnect_is_measured_in_millimetres(space: Path):
    report = json.loads((space / "report.json").read_text())
    assert (report["metric"], report["higher_is_better"]) == ("MPJPE in mm", False)
    assert 50 < report["distilled"]["mean"] < 2000
    assert {"Wrist", "PA-MPJPE", "3DPCK@150"} <= report["distilled"]["per_joint"].keys()
    assert report["distilled"]["per_joint"]["MPJPE"] == pytest.approx(report["distilled"]["mean"])
    assert "lower is better" in (space / "report.md").read_text()
    assert {path.stem for path in (space / "seed-0").glob("*.safetensors")} == {
        "teacher_2d",
        "teacher_3d",
        "student_2d",
        "baseline",
        "distilled",
    }


@pytest.mark.slow
def test_movnect_s_student_predicts_3d_joints_without_torch(space: Path):
    network = Network(space / "student.onnx")
    assert network.spec.outputs == ("xy", "score", "xyz")
    dataset = mini("test", space / "mini")
    pose = network(cv2.imread(str(dataset.images[0])), [dataset.boxes[0]])
    assert pose.xyz is not None
    assert np.isfinite(pose.xyz).all()


@pytest.mark.slow
def test_movnect_s_stages_continue_where_they_were(space: Path, capsys: pytest.CaptureFixture[str]):
    before = {path: path.stat().st_mtime_ns for path in space.rglob("state.safetensors")}
    run("distill", "movnect", "--smoke", "--out", space, "--stages", "teacher_2d", "student_2d")
    assert "gap closed" not in capsys.readouterr().out  # nothing to report yet
    run("distill", "movnect", "--smoke", "--out", space)
    assert "gap closed" in capsys.readouterr().out
    assert before == {path: path.stat().st_mtime_ns for path in space.rglob("state.safetensors")}


@pytest.mark.slow
def test_images_get_3d_joints_from_a_3d_network(space: Path, tmp_path: Path):
    teacher = space / "student.safetensors"
    words = (
        "distill",
        "movnect",
        "--smoke",
        "--images",
        "mini",
        "--out",
        tmp_path / "run",
        "--seeds",
        2,
        "--confidence",
    )
    run(*words, "--teacher", teacher, "--metres", teacher)
    report = json.loads((tmp_path / "run" / "report.json").read_text())
    assert report["data"] == "mini+mini placed by student"
    assert any(note.startswith("In the image, PCK@0.2 on 16 samples of mini") for note in report["notes"])
    assert len(report["distilled"]["values"]) == 2


@pytest.mark.slow
def test_images_without_labels_get_3d_joints_too(space: Path, tmp_path: Path):
    (tmp_path / "images").mkdir()
    for image in mini("train", space / "mini").images[:8]:
        shutil.copy(image, tmp_path / "images")
    words = (
        "distill",
        "movnect",
        "--smoke",
        "--images",
        "images",
        "--images-root",
        tmp_path / "images",
        "--out",
        tmp_path / "run",
    )
    with pytest.raises(SystemExit):
        run(*words)  # without a network that predicts labels there is nothing to learn
    run(*words, "--teacher", space / "student.safetensors", "--metres", space / "student.safetensors")
    assert (
        json.loads((tmp_path / "run" / "report.json").read_text())["data"] == "mini+images placed by student"
    )


@pytest.mark.slow
@pytest.mark.shared
def test_blazepose_places_real_people(tmp_path: Path, shared: Path):
    words = (
        "--images",
        "lsp",
        "lspet",
        "--images-root",
        shared / "data",
        "--metres",
        shared / "peers/blazepose-lite.onnx",
    )
    run("distill", "movnect", "--smoke", *words, "--out", tmp_path)
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["data"] == "mini+lsp+lspet placed by blazepose-lite"


IN_2D = "predicts 2D joints only; this recipe needs a 3D model, such as vnect-50, movnect-medium"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (
            ("--teacher", "STUDENT"),
            "--teacher student predicts 2D joints only; this recipe needs a 3D teacher",
        ),
        (
            ("--images", "mini", "--metres", "STUDENT"),
            "predicts 2D joints only; 3D pseudo-labels need a 3D teacher",
        ),
        (("--metres", "STUDENT"), "gives the samples of --images 3D joints; name such a set"),
        (("--student", "hourglass-1x16"), f"hourglass-1x16 {IN_2D}"),
        (("--train-teacher", "hourglass-1x16"), f"hourglass-1x16 {IN_2D}"),
        (("--alpha", "2"), "alpha is 2"),
    ],
)
def test_2d_networks_are_refused_in_the_3d_recipe(
    words: tuple[str, ...], complaint: str, fpd: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    with pytest.raises(SystemExit):
        run(
            "distill",
            "movnect",
            "--smoke",
            "--out",
            tmp_path,
            *(str(fpd / "student.safetensors") if w == "STUDENT" else w for w in words),
        )
    assert complaint in " ".join(capsys.readouterr().err.split())


PSEUDO = ("distill", "pseudo_labels", "--smoke")


@pytest.mark.slow
def test_pseudo_labels_on_the_mini_set(tmp_path: Path):
    """All arms from the mini set and its teacher, resident: equal steps for each, and the licence of what
    each learnt from.
    """
    run(*PSEUDO, "--clean", "mini", "--resident", "--out", tmp_path)
    report = json.loads((tmp_path / "report.json").read_text())
    assert (report["recipe"], report["data"], report["metric"]) == ("pseudo_labels", "mini", "PCK@0.2")
    assert [arm["name"] for arm in report["others"]] == ["teacher_alone"]
    assert any("labels contradict the teacher and were left out" in note for note in report["notes"])
    counts = {}
    for arm in ("labels", "labels_and_teacher", "teacher_alone"):
        fields = settings(tmp_path / "seed-0" / arm)
        assert fields["terms"] == [["labels", 1.0]]
        counts[arm] = round(fields["epochs"] * fields["people"] / fields["batch"])  # type: ignore[operator]
    assert set(counts.values()) == {8}  # two epochs of 32 people, 8 a step
    licences = {
        arm: checkpoint_teacher(tmp_path / "seed-0" / f"{arm}.safetensors").spec.licences for arm in counts
    }
    assert all(
        "pseudo-labels by mini-teacher (code Apache-2.0" in licences[arm]["data"]
        for arm in ("labels_and_teacher", "teacher_alone")
    )


@pytest.mark.slow
def test_pseudo_labels_of_several_sets_and_few_labels(tmp_path: Path):
    """Images without labels beside the mini set, with shares; four labelled people, alone and with the
    teacher's answers.
    """
    images, out = tmp_path / "images", tmp_path / "out"
    images.mkdir()
    for image in mini("val").images[:8]:
        shutil.copy(image, images)
    words = (
        *PSEUDO,
        "--data",
        "images:0.5",
        "mini:0.5",
        "--root",
        images,
        tmp_path / "mini",
        "--teacher",
        "mini",
        "--student",
        "hourglass-1x16",
    )
    run(*words, "--few", 4, "--arms", "labels_and_teacher", "few_labels", "--out", out)
    report = json.loads((out / "report.json").read_text())
    assert report["data"] == "images+mini"
    assert report["baseline"] is None
    assert [arm["name"] for arm in report["others"]] == ["few_labels", "few_labels_and_teacher"]
    dataset = {
        arm: settings(out / "seed-0" / arm)["people"]
        for arm in ("few_labels", "few_labels_and_teacher", "labels_and_teacher")
    }
    assert dataset == {"few_labels": 4, "few_labels_and_teacher": 32, "labels_and_teacher": 32}
    assert any("of 32 samples 4 keep their labels" in note for note in report["notes"])


@pytest.mark.slow
def test_pseudo_labels_of_images_alone(tmp_path: Path):
    """Without labels: one arm, on the teacher's predictions, measured by agreement with it."""
    images = tmp_path / "images"
    images.mkdir()
    for image in mini("val").images[:40]:
        shutil.copy(image, images)
    run(
        *PSEUDO,
        "--data",
        "images",
        "--root",
        images,
        "--teacher",
        "mini",
        "--student",
        "hourglass-1x16",
        "--out",
        tmp_path / "out",
    )
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert report["metric"].startswith("agreement with the teacher")
    assert (report["baseline"], report["others"]) == (None, [])
    assert len(report["distilled"]["values"]) == 1


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (("--few", "-3"), "--few -3: is no number of samples"),
        (
            ("--arms", "few_labels"),
            "--few 0: is no number of samples; give one above 0, or leave out the arms that need it",
        ),
        (("--few", "33"), "--few 33: of 32 samples 32 have labels that are not cleaned"),
        (("--few", "32"), "--few 32: of 32 samples 32 have labels"),
        (("--few", "2", "--clean", "mini"), "--few 2: of 32 samples 0 have labels that are not cleaned"),
        (("--clean", "lspet"), "--clean lspet: is none of the sets, which are mini"),
        (("--skeleton", "squid"), "squid"),
        (
            ("--teacher", "mini", "--data", "images", "--root", "IMAGES", "--arms", "labels"),
            "--arms labels: images has no labels to learn from; take --arms teacher_alone",
        ),
        (
            ("--teacher", "mini", "--data", "images:2", "--root", "IMAGES"),
            "--data images:2: a share is above 0 and at most 1",
        ),
        (("--student", "gone.safetensors"), "gone.safetensors: there is no such checkpoint"),
    ],
)
def test_pseudo_labels_that_cannot_be(
    words: tuple[str, ...], complaint: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    for image in mini("val").images[:3]:
        shutil.copy(image, tmp_path)
    with pytest.raises(SystemExit) as stopped:
        run(
            *PSEUDO,
            "--out",
            tmp_path / "out",
            *(str(tmp_path) if word == "IMAGES" else word for word in words),
        )
    assert stopped.value.code == 1
    said = " ".join(capsys.readouterr().err.split())
    assert complaint in said
    assert not (tmp_path / "out" / "labels").exists()  # before anything takes time


@pytest.mark.slow
def test_a_student_starts_from_a_file(tmp_path: Path):
    """A trained student's file as the start of another: its joints, its codec and its weights, with its
    licences.
    """
    run("distill", "baseline", "--smoke", "--student", "hourglass-1x16", "--out", tmp_path / "first")
    start = tmp_path / "first" / "student.safetensors"
    run("distill", "baseline", "--smoke", "--student", start, "--out", tmp_path / "second")
    logs = [
        json.loads((tmp_path / name / "seed-0/baseline/log.jsonl").read_text().splitlines()[0])["labels"]
        for name in ("first", "second")
    ]
    assert logs[1] < logs[0]
    spec = checkpoint_teacher(tmp_path / "second" / "student.safetensors").spec
    assert spec.model == "hourglass-1x16"
    assert "start" in spec.licences
