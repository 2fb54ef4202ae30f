"""Every recipe with a student of every kind of codec: it learns by its codec's loss, or is refused in one
line that names a student that fits.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from poseling.cli import main
from poseling.models.checkpoint import read_tensors
from poseling.recipes import RECIPES, parts, results

# By the codec's name: a student, and the losses that it may learn labels and a teacher's answers by.
STUDENTS = {
    "heatmap": ("hourglass-1x16", {"kl"}, {"kl"}),
    "simcc": ("simcc-mobilenetv2_050", {"simcc_kl"}, {"simcc_kl", "simcc_logits"}),
    "coordinates": (
        "distilpose_mobile-mobilenetv2_050-1",
        {"smooth_l1"},
        {"simulated_heatmap", "score_at_prediction"},
    ),
    "location_map": (
        "movnect-tiny",
        {"location_maps_kl", "heatmaps_kl", "location_l1", "bones_location_l1"},
        {"location_maps_kl", "heatmaps_kl", "location_l1", "bones_location_l1"},
    ),
    "simcc3d": ("simcc3d-mobilenetv2_050", {"simcc_space"}, {"simcc_space"}),
}
# Those that take only some students, and the student that their refusal names.
CHOOSY = {
    "movnect": ({"location_map", "simcc3d"}, "movnect-medium"),
    "distilpose": ({"coordinates"}, "distilpose-s"),
    "sdpose": (set(), "sdpose-t"),
    "okdhp": ({"heatmap"}, "hourglass-STACKSxCHANNELS"),
    "knowledge_token": (set(), "vitpose-b"),
}
MORE = {
    "multi_teacher": ("--teachers", "mini"),
    "unlabelled": ("--teacher", "mini", "--data", "mini"),
    "movnect": ("--train-teacher", "movnect-tiny"),
    "dwpose": ("--train-teacher", "simcc-mobilenetv2_050"),
}


@pytest.fixture(scope="module", autouse=True)
def quick() -> Iterator[None]:
    """A few samples, two steps, no report: only the losses are looked at."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(parts, "SMOKE_SAMPLES", 8)
        patch.setattr(results, "finish", lambda *_: None)
        yield


@pytest.mark.slow
@pytest.mark.parametrize("codec", STUDENTS)
@pytest.mark.parametrize("recipe", RECIPES)
def test_a_student_learns_by_its_codecs_loss_or_is_refused(
    recipe: str, codec: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    student, labels, answers = STUDENTS[codec]
    words = (
        "distill",
        recipe,
        "--smoke",
        *MORE.get(recipe, ()),
        "--student",
        student,
        "--out",
        str(tmp_path),
    )
    fits, named = CHOOSY.get(recipe, (set(STUDENTS), ""))
    if codec not in fits:
        with pytest.raises(SystemExit):
            main(list(words))
        said = " ".join(capsys.readouterr().err.split())
        assert student in said
        assert named in said
        assert not tmp_path.joinpath("seed-0").exists()  # before anything takes time
        return
    main(list(words))
    found: dict[str, set[str]] = {}
    for path in tmp_path.glob("seed-0/*.safetensors"):
        _, metadata = read_tensors(path)
        spec: dict[str, Any] = json.loads(metadata["poseling"])
        if spec["codec"]["name"] != codec:
            continue  # the teacher
        for name, loss, *_ in spec["arguments"]["terms"]:
            found.setdefault(name, set()).add(loss)
    assert found
    for name, losses in found.items():
        if name.startswith("labels"):
            assert losses <= labels
        elif name.startswith(("teacher", "heatmaps", "logits", "itself", "simulated", "score")):
            assert losses <= answers
        else:
            assert name in ("features", "ensemble")
