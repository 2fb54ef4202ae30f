"""Time and results of `make demo` after installation, with empty caches.

python benchmarks/demo.py [--out DIR]
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

from results import HERE, write


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--out",
        type=Path,
        help="where the demo goes, and stays: a folder that is not there yet; a temporary one if not given",
    )
    flags = parser.parse_args()
    if flags.out and flags.out.exists():
        parser.error(
            f"{flags.out} is there: what is finished in it would not be run again, so there would be nothing "
            f"to time; remove it or name another"
        )
    with tempfile.TemporaryDirectory() as folder:
        out = (flags.out or Path(folder) / "demo").absolute()
        make("setup", folder)
        start = time.perf_counter()
        make("demo", folder, f"DEMO={out}")
        seconds = time.perf_counter() - start
        report = json.loads((out / "report.json").read_text())
    write(
        "demo", rows(report, seconds), f"`make demo`: `{report['command'].replace(str(out), 'demo')}`"
    )  # not its path on this machine


def make(target: str, cache: str, *variables: str) -> None:
    """Runs a target of the Makefile with an empty cache, as on a machine without Poseling."""
    subprocess.run(
        ["make", "-C", HERE.parent, target, *variables],
        check=True,
        env=os.environ | {"XDG_CACHE_HOME": cache},
    )


def rows(report: dict[str, Any], seconds: float) -> list[dict[str, Any]]:
    """The time, and of report.json the teacher, both arms and the share of the gap."""
    out: list[dict[str, Any]] = [
        {"name": "seconds_after_install", "value": seconds, "unit": "s"},
        {"name": "teacher", "value": report["teacher"]["value"], "unit": report["metric"]},
    ]
    for name, unit in (
        ("baseline", report["metric"]),
        ("distilled", report["metric"]),
        ("gap_closed", "share"),
    ):
        arm = report[name]
        if arm["mean"] is not None:
            out.append(
                {
                    "name": name,
                    "value": arm["mean"],
                    "unit": unit,
                    "spread": arm["spread"],
                    "values": arm["values"],
                }
            )
    return out


if __name__ == "__main__":
    main()
