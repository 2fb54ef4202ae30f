"""One student, many objectives: equal starts, equal shares, gains seed by seed, and a page of which only its
own part is written anew.
"""

from __future__ import annotations

import io
import json
import statistics
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from rich.console import Console
from torch import nn
from torch.utils.data import DataLoader

from poseling.cli import main
from poseling.data.loader import Crops, Stream
from poseling.distill.objective import Term
from poseling.files import read_image
from poseling.models import registry
from poseling.models.checkpoint import read_tensors
from poseling.recipes.compare import (
    CALIBRATION,
    WAYS,
    _batch,
    _learner,
    _scaled,
    _terms,
    insert,
    markdown,
    table,
)
from poseling.recipes.config import TrainConfig
from poseling.recipes.experiment import Experiment
from poseling.train import log
from poseling.train.loop import stream

ARMS = ("heatmaps", "attention", "joint structure", "head again")


@pytest.fixture(scope="module")
def compared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One smoke run over an objective of each kind."""
    out = tmp_path_factory.mktemp("compare")
    (out / "page.md").write_text(
        "# Mine\n\nBefore.\n\n<!-- compare mini -->\nold\n<!-- end mini -->\n\nAfter.\n"
    )
    main(["compare", "--smoke", "--out", str(out), "--page", str(out / "page.md"), "--objectives", *ARMS])
    return out


def settings(state: Path) -> dict[str, object]:
    return dict(json.loads(read_tensors(state / "state.safetensors")[1]["settings"]))


@pytest.mark.slow
def test_gains_are_scores_minus_the_baselines(compared: Path):
    found = json.loads((compared / "compare.json").read_text())
    assert (found["data"], found["metric"], found["seeds"], found["student"]) == (
        "mini",
        "PCK@0.2",
        [0],
        "hourglass-1x16",
    )
    assert [row["name"] for row in found["objectives"]] == list(ARMS)
    assert [row["kind"] for row in found["objectives"]] == ["response", "feature", "relation", "self"]
    for row in found["objectives"]:
        assert len(row["values"]) == len(found["baseline"]) == 1
        assert row["gains"] == [row["values"][0] - found["baseline"][0]]
        assert found["cost"][row["name"]] > 0
    assert 0 < found["teacher_value"] <= 1
    assert read_image(compared / "compare.png").std() > 10
    text = (compared / "compare.md").read_text()
    assert "A --smoke run: the numbers mean nothing." in text
    assert (
        compared / "page.md"
    ).read_text() == f"# Mine\n\nBefore.\n\n<!-- compare mini -->\n\n{text}\n<!-- end mini -->\n\nAfter.\n"


@pytest.mark.slow
def test_arms_differ_in_their_terms_alone(compared: Path):
    folder = compared / "seed-0"
    alone = settings(folder / "baseline")
    assert alone.pop("terms") == [["labels", 1.0]]
    for arm in ("heatmaps", "attention", "joint-structure"):
        taught = settings(folder / arm)
        (labels, one), (extra, weight) = taught.pop("terms")
        assert (labels, one, extra) == ("labels", 1.0, "extra")
        assert weight > 0
        assert taught == alone
    again, first = settings(folder / "head-again"), settings(folder / "head-again-first")
    assert again["terms"] == [["extra", 1.0]]
    assert first["terms"] == [["labels", 1.0]]
    # The head alone went on.
    before, after = (read_tensors(folder / f"head-again{part}.safetensors")[0] for part in ("-first", ""))
    assert {name for name in before if not torch.equal(before[name], after[name])} == {
        "stacks.0.score.weight",
        "stacks.0.score.bias",
    }


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", ["heatmaps", "attention", "aligned features", "joint structure", "masked generation"]
)
def test_equal_starts_and_equal_shares(name: str, tmp_path: Path):
    """Adapters change nothing of the student's start, and the extra term is the wanted part of the labels'
    loss over the first batches of the run.
    """
    experiment = Experiment.of("compare", TrainConfig(smoke=True, out=tmp_path), "hourglass-1x32")
    guide = experiment.load_teacher("mini")
    answers = experiment.label(guide, experiment.dataset)
    terms = _terms(experiment, WAYS[name])
    live = None if name == "heatmaps" else guide
    scaled = _scaled(experiment, terms, guide, answers, 3, 0.25)
    assert scaled[0] == terms[0]
    assert scaled[1] == replace(terms[1], weight=scaled[1].weight)
    torch.manual_seed(3)
    start = registry.build(
        experiment.student.name, len(experiment.skeleton), experiment.codec.size
    ).state_dict()
    objective, learner = _learner(experiment, scaled, guide, answers, 3)
    network = learner if live is None else learner.network
    assert isinstance(network, nn.Module)
    assert all(torch.equal(value, start[key]) for key, value in network.state_dict().items())
    crops = Crops(
        experiment.dataset,
        experiment.codec.size,
        experiment.config.padding,
        experiment.augment,
        3,
        None if live else answers,
    )
    batches = DataLoader(
        crops, experiment.config.batch, sampler=Stream(0, CALIBRATION * experiment.config.batch)
    )  # as the training loop draws them
    learner.train()
    with torch.no_grad():
        parts = [objective(learner, batch) for batch in batches]
    assert len(parts) == CALIBRATION
    labels, extra = (sum(float(part[term]) for part in parts) for term in ("labels", "extra"))
    assert scaled[1].weight * extra == pytest.approx(0.25 * labels, rel=1e-4)


@pytest.mark.slow
def test_a_term_that_is_nothing_cannot_be_scaled(tmp_path: Path):
    experiment = Experiment.of("compare", TrainConfig(smoke=True, out=tmp_path), "hourglass-1x32")
    guide = experiment.load_teacher("mini")
    answers = experiment.label(guide, experiment.dataset)

    def nothing(outputs: torch.Tensor, targets: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        return outputs.sum() * 0

    with pytest.raises(ValueError, match=r"nothing is 0\.0 at the start, so it cannot be scaled"):
        _scaled(
            experiment,
            (*experiment.supervised(), Term("extra", nothing, 1.0, "teacher")),
            guide,
            answers,
            0,
            0.5,
        )


@pytest.mark.slow
def test_of_several_shares_the_best_on_validation_samples_is_kept(tmp_path: Path):
    ways = ("heatmaps", "heatmaps alone")
    main(["compare", "--smoke", "--out", str(tmp_path), "--share", "0.5", "4", "--objectives", *ways])
    arms = {path.stem for path in (tmp_path / "seed-0").glob("*.safetensors")}
    assert arms == {"baseline", "heatmaps-alone", "heatmaps-0_5", "heatmaps-4"}

    def validation(share: float) -> float:
        rows = log.read(tmp_path / "seed-0" / f"heatmaps-{share:g}".replace(".", "_") / "log.jsonl")
        return float(rows[-1]["value"])

    found = {row["name"]: row for row in json.loads((tmp_path / "compare.json").read_text())["objectives"]}
    assert found["heatmaps alone"]["share"] is None
    assert found["heatmaps"]["share"] == max((0.5, 4.0), key=validation)


def test_an_unknown_objective_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit) as stopped:
        main(["compare", "--smoke", "--objectives", "heatmaps", "telepathy", "--out", str(tmp_path / "out")])
    assert stopped.value.code == 1
    said = " ".join(capsys.readouterr().err.split())
    assert "telepathy: not known; there are heatmaps, heatmaps alone, integral, aligned features" in said
    assert "Traceback" not in said
    assert not (tmp_path / "out").exists()


def test_an_objective_for_heatmaps_and_a_student_without_is_told_at_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    words = ("--student", "simcc-mobilenetv2_050", "--loss", "kl", "--out", str(tmp_path / "out"))
    with pytest.raises(SystemExit):
        main(["compare", "--smoke", *words])
    said = " ".join(capsys.readouterr().err.split())
    assert "integral, joint structure: compares heatmaps, and simcc-mobilenetv2_050 gives simcc;" in said
    assert not (tmp_path / "out").exists()


@pytest.mark.shared
def test_an_onnx_teacher_is_told_before_the_first_training(
    shared: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    teacher = str(shared / "peers" / "movenet-lightning.onnx")
    with pytest.raises(SystemExit):
        main(["compare", "--smoke", "--teacher", teacher, "--out", str(tmp_path / "out")])
    said = " ".join(capsys.readouterr().err.split())
    assert "cannot be looked into, which aligned features, attention, channel-wise, masked generation" in said
    assert "--objectives heatmaps 'heatmaps alone' integral 'head again'" in said
    assert not (tmp_path / "out").exists()


def found(**gains: list[float]) -> dict[str, object]:
    base = [0.5, 0.6, 0.7]
    rows = [
        {
            "name": name,
            "kind": "feature",
            "paper": "P",
            "share": 0.1,
            "values": [b + g for b, g in zip(base, given, strict=True)],
            "gains": given,
        }
        for name, given in gains.items()
    ]
    return {
        "data": "lsp", "people": 100, "metric": "PCK@0.2", "seeds": [0, 1, 2], "epochs": 3.0, "size": [64, 48], "batch": 8, "student": "s", "teacher": "t",
        "teacher_value": 0.8, "baseline": base, "objectives": rows, "command": "poseling compare", "smoke": False, "cost": dict.fromkeys(gains, 1.25),
    }  # fmt: skip


def test_the_table_by_hand():
    """Best first; of 0.02 +- 0.01 over three seeds half of the interval is 4.303 * 0.01 / sqrt 3 = 0.0248."""
    text = markdown(found(worse=[-0.01, -0.01, -0.01], better=[0.01, 0.02, 0.03]))
    lines = [line for line in text.splitlines() if line.startswith("| ") and "P |" in line]
    assert lines[0] == "| better | feature | P | 0.1 | 0.620 | +0.020, -0.005 to +0.045 | 1.25 x |"
    assert lines[1].startswith("| worse | feature | P | 0.1 | 0.590 | -0.010, -0.010 to -0.010 |")
    assert "64x48, batch 8, 3 seeds. Teacher t: 0.800. Student s on the labels alone: 0.600 ± 0.100." in text
    assert statistics.stdev([0.5, 0.6, 0.7]) == pytest.approx(0.1)
    assert "smoke" not in text


def test_the_table_in_the_terminal():
    """No Markdown, nothing cut at 80 columns, and of one seed no spread and no empty column."""
    several = found(**{"aligned features": [0.01, 0.02, 0.03]})
    one = several | {
        "seeds": [0],
        "baseline": [0.5],
        "objectives": [{**several["objectives"][0], "values": [0.51], "gains": [0.01]}],
    }
    for given, wanted, columns in ((several, "+0.020, -0.005 to +0.045", 6), (one, "+0.010", 6)):
        console = Console(width=80, record=True, file=io.StringIO())
        console.print(table(given))
        text = console.export_text()
        assert "aligned features" in text
        assert wanted in text
        assert "| " not in text
        assert "…" not in text
        assert len(table(given).columns) == columns
    assert "±" not in markdown(one)
    assert "one seed, which cannot tell a gain from chance" in " ".join(text.split())


def test_a_part_of_a_page_is_replaced_and_the_rest_stays(tmp_path: Path):
    page = tmp_path / "new" / "page.md"
    insert(page, "lsp", "one\n")
    assert page.read_text() == "# Which distillation\n\n<!-- compare lsp -->\n\none\n\n<!-- end lsp -->\n"
    page.write_text(page.read_text() + "\nWords of somebody.\n")
    insert(page, "coco", "two\n")
    insert(page, "lsp", "three\n")
    text = page.read_text()
    assert text == (
        "# Which distillation\n\n<!-- compare lsp -->\n\nthree\n\n<!-- end lsp -->\n\nWords of "
        "somebody.\n\n<!-- compare coco -->\n\ntwo\n\n<!-- end coco -->\n"
    )
    insert(page, "lsp", "three\n")
    assert page.read_text() == text


@pytest.mark.parametrize("resident", [False, True])
def test_the_batches_are_those_of_the_run(resident: bool, tmp_path: Path):
    experiment = Experiment.of(
        "compare", TrainConfig(smoke=True, out=tmp_path, resident=resident), "hourglass-1x16"
    )
    crops = experiment.samples(experiment.dataset, experiment.spec(experiment.student, "size"), 3)
    for number, batch in enumerate(stream(crops, 0, 3, experiment.config.batch, experiment.engine)):
        again = _batch(experiment, crops, number)
        assert again.keys() == batch.keys()
        assert all(torch.equal(again[name], batch[name]) for name in batch)
