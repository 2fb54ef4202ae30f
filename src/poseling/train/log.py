"""The log of a run: a JSON line and a CSV row for each record, and TensorBoard files if wanted."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

from poseling.files import write_bytes
from poseling.records import WHOLE, parse_json

Row = dict[str, Any]


class Log:
    """`log.jsonl` and `log.csv` in a folder. Rows after `step` are dropped on opening, because a resumed run
    writes them again.
    """

    def __init__(self, folder: Path, step: int, tensorboard: bool = False) -> None:
        self.path = folder / "log.jsonl"
        self.rows = [row for row in read(self.path) if row["step"] <= step]
        write_bytes(self.path, "".join(json.dumps(row) + "\n" for row in self.rows).encode())
        self.writer = None
        if tensorboard:
            try:
                from torch.utils.tensorboard import SummaryWriter
            except ImportError as error:
                raise ValueError(
                    "--tensorboard needs the package tensorboard: pip install tensorboard"
                ) from error

            self.writer = SummaryWriter(str(folder / "tensorboard"), purge_step=step + 1)

    def add(self, row: Row) -> None:
        """One record; it must have a `step`."""
        self.rows.append(row)
        with self.path.open("a") as file:
            file.write(json.dumps(row) + "\n")
        if self.writer is not None:
            for name, value in row.items():
                if isinstance(value, int | float) and name != "step":
                    self.writer.add_scalar(name, value, row["step"])

    def close(self) -> None:
        """Writes the CSV of all rows; columns are the union of what they hold."""
        columns = list(dict.fromkeys(name for row in self.rows for name in row))
        text = io.StringIO()
        writer = csv.DictWriter(text, columns)
        writer.writeheader()
        writer.writerows(self.rows)
        write_bytes(self.path.with_suffix(".csv"), text.getvalue().encode())
        if self.writer is not None:
            self.writer.close()


def read(path: Path) -> list[Row]:
    """The rows of a `log.jsonl`, without a last line that a crash cut short. ValueError that names the file
    and the line if another line is damaged.
    """
    lines = path.read_bytes().split(b"\n") if path.is_file() else []
    rows: list[Row] = []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            row = parse_json(line)
        except ValueError as error:
            if number == len(lines) and line.startswith(b"{"):  # a line that is whole ends with a newline
                break
            raise ValueError(
                f"{path}: line {number} {error}; remove the file to continue without its rows"
            ) from error
        step = row.get("step") if isinstance(row, dict) else None
        if not isinstance(step, int | float) or isinstance(step, bool) or not 0 <= step < WHOLE:
            raise ValueError(
                f"{path}: line {number} is no record of a step; remove the file to continue without its rows"
            )
        rows.append(row)
    return rows
