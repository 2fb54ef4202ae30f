import csv
import json
import math

import pytest

from poseling.train.log import Log, read


def rows_of(folder):
    with (folder / "log.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_rows_are_there_at_once_and_in_the_csv_at_the_end(tmp_path):
    log = Log(tmp_path / "new", 0)
    log.add({"step": 1, "loss": 0.5})
    assert read(tmp_path / "new" / "log.jsonl") == [{"step": 1, "loss": 0.5}]
    log.add({"step": 2, "loss": 0.25, "value": 0.125})  # a column that the first had not
    log.close()
    assert rows_of(tmp_path / "new") == [
        {"step": "1", "loss": "0.5", "value": ""},
        {"step": "2", "loss": "0.25", "value": "0.125"},
    ]


def test_a_resumed_run_writes_later_rows_again(tmp_path):
    log = Log(tmp_path, 0)
    for step in (10, 20, 30):
        log.add({"step": step, "loss": 1.0})
    resumed = Log(tmp_path, 20)
    assert [row["step"] for row in resumed.rows] == [10, 20]
    resumed.add({"step": 30, "loss": 2.0})
    resumed.close()
    assert [(row["step"], row["loss"]) for row in read(tmp_path / "log.jsonl")] == [
        (10, 1.0),
        (20, 1.0),
        (30, 2.0),
    ]
    assert [row["step"] for row in rows_of(tmp_path)] == ["10", "20", "30"]


def test_a_line_that_a_crash_cut_is_left_out(tmp_path):
    log = Log(tmp_path, 0)
    log.add({"step": 1, "loss": 1.0})
    log.add({"step": 2, "loss": math.nan})
    with log.path.open("a") as file:
        file.write('{"step": 3, "lo')
    assert [row["step"] for row in read(log.path)] == [1, 2]
    resumed = Log(tmp_path, 9)
    resumed.add({"step": 4})
    assert [row["step"] for row in read(log.path)] == [1, 2, 4]
    assert all(json.loads(line) for line in log.path.read_text().splitlines())


def test_there_is_no_log_yet(tmp_path):
    assert read(tmp_path / "log.jsonl") == []


def test_tensorboard_if_asked(tmp_path):
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    log = Log(tmp_path, 0, tensorboard=True)
    log.add({"step": 5, "loss": 0.5, "value": 0.75})
    log.close()
    events = accumulator.EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    assert sorted(events.Tags()["scalars"]) == ["loss", "value"]
    assert [(e.step, e.value) for e in events.Scalars("value")] == [(5, 0.75)]
    Log(tmp_path / "without", 0).close()
    assert not (tmp_path / "without" / "tensorboard").exists()


@pytest.mark.parametrize(
    ("text", "line"),
    [
        (b"1", 1),
        (b"\xff\xfe[]", 1),
        (b"[" * 100_000, 1),
        (b"1" * 5000, 1),
        (b'{"step": 1}\n{"st\n{"step": 3}\n', 2),
        (b'{"step": 1}\n{"loss": 3}\n', 2),
        (b'{"step": "x"}\n', 1),
        (b'{"step": NaN}\n', 1),
    ],
)
def test_a_damaged_line_is_named(tmp_path, text, line):
    (tmp_path / "log.jsonl").write_bytes(text)
    with pytest.raises(ValueError, match=rf"log\.jsonl: line {line} .*remove the file"):
        read(tmp_path / "log.jsonl")
