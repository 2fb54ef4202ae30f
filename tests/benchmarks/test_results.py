"""The benchmarks' result files: what is recorded, what is kept out of them, and the page made from them."""

from __future__ import annotations

import importlib.util
import json
import statistics
import sys
from pathlib import Path
from types import ModuleType

import pytest


@pytest.fixture(scope="module")
def results() -> ModuleType:
    path = Path(__file__).resolve().parents[2] / "benchmarks" / "results.py"
    spec = importlib.util.spec_from_file_location("benchmark_results", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_a_result_has_its_command_without_paths(
    results: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        sys,
        "argv",
        [
            "/home/me/benchmarks/speed.py",
            "--root",
            "/home/me/data",
            "--out=/tmp/x",
            "--count",
            "3",
            "some/where",
            "ours=/work/runs/net.onnx",
        ],
    )
    rows = [
        {"name": "ours", "value": 2.0, "unit": "ms", "spread": 0.5, "ratio": 4.0, "ratio_to": "theirs"},
        {"name": "theirs", "value": 8, "unit": "ms"},
    ]
    written = json.loads(results.write("speed", rows, "One core.", folder=tmp_path).read_text())
    assert [p.name for p in tmp_path.iterdir()] == ["speed.json"]
    assert (
        written["command"]
        == "python benchmarks/speed.py --root data --out=x --count 3 some/where ours=net.onnx"
    )
    assert written["rows"] == rows
    assert "torch" in written["machine"]
    results.render(tmp_path, tmp_path / "PAGE.md")
    page = (tmp_path / "PAGE.md").read_text()
    assert "## speed\n" in page
    assert "| ours | 2 ± 0.5 | ms | 4 x theirs |" in page
    assert "| theirs | 8 | ms |  |" in page


def test_a_scale_leaves_the_others_alone(
    results: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def run(scale: str, value: float) -> dict[str, object]:
        monkeypatch.setattr(sys, "argv", ["speed.py", "--scale", scale])
        return json.loads(
            results.write(
                "speed", [{"name": "ours", "value": value, "unit": "ms"}], block=scale, folder=tmp_path
            ).read_text()
        )

    run("cpu", 1.0)
    run("gpu", 2.0)
    written = run("cpu", 3.0)
    assert [(row["block"], row["value"]) for row in written["rows"]] == [("gpu", 2.0), ("cpu", 3.0)]
    assert {name: about["command"] for name, about in written["runs"].items()} == {
        "cpu": "python benchmarks/speed.py --scale cpu",
        "gpu": "python benchmarks/speed.py --scale gpu",
    }
    results.render(tmp_path, tmp_path / "PAGE.md")
    page = (tmp_path / "PAGE.md").read_text()
    assert (
        page.index("### cpu")
        < page.index("| ours | 3 | ms |")
        < page.index("### gpu")
        < page.index("| ours | 2 | ms |")
    )


@pytest.mark.parametrize(
    "row", [{"name": "a", "value": 1}, {"name": "a", "value": 1, "unit": "ms", "colour": "red"}]
)
def test_a_row_with_fields_missing_or_unknown_is_refused(
    results: ModuleType, tmp_path: Path, row: dict[str, object]
) -> None:
    with pytest.raises(ValueError, match="speed: a row needs name, value and unit"):
        results.write("speed", [row], folder=tmp_path)
    assert not list(tmp_path.iterdir())


def test_series_are_compared_turn_by_turn(results: ModuleType) -> None:
    row = results.ratio(
        "a_over_b", [4.0, 9.0, 10.0], [2.0, 3.0, 2.0], "b"
    )  # 2, 3 and 5 times; mean 10/3, deviation sqrt((16 + 1 + 25) / 9 / 2)
    assert row["value"] == 3
    assert row["spread"] == pytest.approx((42 / 18) ** 0.5)


RESULTS = sorted((Path(__file__).resolve().parents[2] / "benchmarks" / "results").glob("*.json"))


@pytest.mark.parametrize("path", RESULTS, ids=lambda path: path.stem)
def test_what_is_over_something_is_throughput_over_throughput(path: Path) -> None:
    """Every `A_over_B` on record, and `over_B` of ours: in `times`, above 1 where A is faster. Where A and B
    are rows as well, the ratio of each turn is worked out again from them.
    """
    rows = json.loads(path.read_text())["rows"]
    for row in rows:
        assert not row["unit"].startswith("times the"), f"{row['name']}: {row['unit']}"
        ours, over, theirs = f"_{row['name']}".partition("_over_")
        ours = ours.removeprefix("_")
        assert bool(over) or "over" not in row["name"].split("_"), row["name"]
        if not over:
            continue
        assert row["unit"] == "times"
        measured = [
            one
            for name in (ours, theirs)
            for one in rows
            if one["name"] == name and one.get("block") == row.get("block") and "values" in one
        ]
        if len(measured) == 2 and measured[0]["unit"] == measured[1]["unit"] and "values" in row:
            a, b = (one["values"] for one in measured)
            each = (
                [y / x for x, y in zip(a, b, strict=True)]
                if measured[0]["unit"] in ("s", "ms")
                else [x / y for x, y in zip(a, b, strict=True)]
            )
            assert row["values"] == pytest.approx(each)
            assert row["value"] == pytest.approx(statistics.median(each))


def test_ours_is_2_4_times_as_fast_as_pycocotools() -> None:
    """By hand from the times on record: the fourth of the seven quotients, 4.001490697999543 s under
    9.735227099999975 s, is 2.4329.
    """
    (row,) = [
        row
        for row in json.loads((RESULTS[0].parent / "oks_speed.json").read_text())["rows"]
        if "_over_" in row["name"]
    ]
    assert row["value"] == pytest.approx(2.4329, abs=1e-4)


def test_a_ratio_of_another_unit_is_refused(results: ModuleType, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="a_over_b is a ratio of throughputs, and its unit times, not ms"):
        results.write("speed", [{"name": "a_over_b", "value": 1.0, "unit": "ms"}], folder=tmp_path)
