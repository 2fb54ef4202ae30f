"""Files of the benchmarks' results: `results/NAME.json`, one file a benchmark, and RESULTS.md, made from
all of them by `python benchmarks/results.py`.

A row is a dict with `name`, `value` and `unit`; if they mean something, `spread` (of the same unit), `values`
(the single measurements), `ratio` and `ratio_to` (to which row), and `block` (a table of its own).

A row `A_over_B` is how often A does its work while B does it once: throughput over throughput, in `times`,
above 1 where A is faster. Of times it is B's over A's.
"""

from __future__ import annotations

import datetime
import importlib.metadata
import json
import os
import platform
import statistics
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from poseling.evaluate.report import Report
from poseling.evaluate.spread import mean_and_spread
from poseling.files import write_bytes

HERE = Path(__file__).resolve().parent
FOLDER, PAGE = HERE / "results", HERE / "RESULTS.md"
FIELDS = {"name", "value", "unit", "spread", "values", "ratio", "ratio_to", "block"}


def write(
    name: str, rows: Sequence[Mapping[str, Any]], notes: str = "", block: str = "", folder: Path = FOLDER
) -> Path:
    """`folder`/`name`.json with the rows, the command, the date and the machine.

    A benchmark that runs at several scales gives each a `block`: rows of other blocks stay, and `runs` keeps
    for each block what produced it. ValueError for a row that lacks a field or has an unknown one, and for an
    `A_over_B` whose unit is not `times`.
    """
    for row in rows:
        if not {"name", "value", "unit"} <= row.keys() or not row.keys() <= FIELDS:
            raise ValueError(
                f"{name}: a row needs name, value and unit and may have {', '.join(sorted(FIELDS))}; this "
                f"one has {', '.join(row)}"
            )
        if "_over_" in row["name"] and row["unit"] != "times":
            raise ValueError(
                f"{name}: {row['name']} is a ratio of throughputs, and its unit times, not {row['unit']}"
            )
    path = folder / f"{name}.json"
    run = {
        "command": command(sys.argv),
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "machine": machine(),
        "notes": notes,
    }
    result: dict[str, Any] = {"name": name, **run, "rows": list(rows)}
    if block:
        before = json.loads(path.read_text()) if path.is_file() else {"rows": [], "runs": {}}
        kept = [row for row in before["rows"] if row.get("block") != block]
        result |= {
            "rows": [*kept, *({**row, "block": block} for row in rows)],
            "runs": {**before["runs"], block: run},
        }
    write_bytes(path, (json.dumps(result, indent=1) + "\n").encode())
    return path


def report_rows(report: Report) -> list[dict[str, Any]]:
    """A recipe's report as rows."""
    assert report.teacher is not None
    assert report.baseline is not None
    assert report.distilled is not None
    unit = report.metric
    out: list[dict[str, Any]] = [{"name": "teacher", "value": report.teacher.mean, "unit": unit}]
    for arm in (report.baseline, report.distilled, *report.others):
        out.append(
            {
                "name": arm.name,
                "value": arm.mean,
                "unit": unit,
                "spread": arm.spread,
                "values": list(arm.values),
            }
        )
    for arm in (report.distilled, *report.others):
        gap, name = report.gap(arm), "gap_closed" if arm is report.distilled else f"gap_closed_{arm.name}"
        if gap is not None and gap.mean is not None:
            out.append(
                {
                    "name": name,
                    "value": gap.mean,
                    "unit": "share",
                    "spread": gap.spread,
                    "values": list(gap.values),
                }
            )
    return out


def ratio(name: str, ours: Sequence[float], theirs: Sequence[float], to: str) -> dict[str, Any]:
    """A row that compares two series of throughputs measured in turn: the median of the ratios of each turn,
    and their standard deviation. For two series of times give theirs first.

    >>> ratio("stored_over_live", [4.0, 9.0, 10.0], [2.0, 3.0, 2.0], "live")
    {'name': 'stored_over_live', 'value': 3.0, 'unit': 'times', 'spread': 1.5275252316519468, 'values': [2.0,
    3.0, 5.0], 'ratio_to': 'live'}
    """
    each = [a / b for a, b in zip(ours, theirs, strict=True)]
    return {
        "name": name,
        "value": statistics.median(each),
        "unit": "times",
        "spread": mean_and_spread(each)[1] or 0.0,
        "values": each,
        "ratio_to": to,
    }


def mean_row(name: str, unit: str, values: Sequence[float]) -> dict[str, Any]:
    """A row of one value a seed, or a film: their mean, and of several their standard deviation."""
    mean, spread = mean_and_spread(list(values))
    shown = {} if spread is None else {"spread": spread}
    return {"name": name, "value": mean, "unit": unit, **shown, "values": [*values]}


def command(arguments: Sequence[str]) -> str:
    """The command line without this machine's folders: paths become their last part, the script stays under
    benchmarks/.
    """
    script, *rest = arguments
    return " ".join(["python", f"benchmarks/{Path(script).name}", *(_bare(a) for a in rest)])


def machine() -> str:
    """Processor, cores, memory and torch's version, and the first GPU if there is one."""
    info = Path("/proc/cpuinfo")
    models = (
        [
            line.split(":", 1)[1].strip()
            for line in info.read_text().splitlines()
            if line.startswith("model name")
        ]
        if info.is_file()
        else []
    )
    parts = [models[0] if models else platform.processor() or platform.machine(), f"{os.cpu_count()} cores"]
    if hasattr(os, "sysconf") and "SC_PHYS_PAGES" in os.sysconf_names:
        parts.append(f"{os.sysconf('SC_PHYS_PAGES') * os.sysconf('SC_PAGE_SIZE') / 2**30:.0f} GiB")
    with suppress(importlib.metadata.PackageNotFoundError):  # MediaPipe's environment is without
        parts.append(f"torch {importlib.metadata.version('torch')}")
    torch = sys.modules.get("torch")  # a benchmark without torch need not load it
    if torch is not None and torch.cuda.is_available():
        parts.append(torch.cuda.get_device_name(0))
    return ", ".join(parts)


def render(folder: Path = FOLDER, page: Path = PAGE) -> None:
    """Writes `page` from every result in `folder`, in the order of their names."""
    results = [json.loads(path.read_text()) for path in sorted(folder.glob("*.json"))]
    head = "# Results\n\nMade by `python benchmarks/results.py` from `benchmarks/results/*.json`; each section says the command that measured it. `A_over_B` is throughput over\nthroughput: above 1 where A is faster.\n"
    write_bytes(page, "\n".join([head, *map(_section, results)]).encode())


def _section(result: Mapping[str, Any]) -> str:
    lines = [f"## {result['name']}", ""]
    for scale, run in result.get("runs", {"": result}).items():
        rows = [row for row in result["rows"] if not scale or row["block"] == scale]
        blocks = [scale] if scale else list(dict.fromkeys(row.get("block", "") for row in rows))
        lines += [f"### {scale}", ""] if scale else []
        lines += [f"`{run['command']}`, {run['date']}, {run['machine']}", ""]
        lines += [run["notes"], ""] if run.get("notes") else []
        for block in blocks:
            lines += [f"### {block}", ""] if block and not scale else []
            lines += [*_table([row for row in rows if row.get("block", "") == block]), ""]
    return "\n".join(lines)


def _table(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    compared = any("ratio" in row for row in rows)
    lines = [
        "| | value | unit |" + (" ratio |" if compared else ""),
        "|---|---:|---|" + ("---|" if compared else ""),
    ]
    for row in rows:
        value = _number(row["value"]) + (
            f" ± {_number(row['spread'])}" if row.get("spread") is not None else ""
        )
        times = (
            f"{_number(row['ratio'])} x {row.get('ratio_to', '')}".strip()
            if row.get("ratio") is not None
            else ""
        )
        lines.append(f"| {row['name']} | {value} | {row['unit']} |" + (f" {times} |" if compared else ""))
    return lines


def _number(value: Any) -> str:
    return (
        f"{value:.4g}"
        if isinstance(value, float) and abs(value) < 1000
        else f"{value:.0f}"
        if isinstance(value, float)
        else str(value)
    )


def _bare(argument: str) -> str:
    name, equals, value = argument.rpartition("=")  # --flag=value, or NAME=FILE
    return name + equals + (Path(value).name if Path(value).is_absolute() else value)


if __name__ == "__main__":
    render()
