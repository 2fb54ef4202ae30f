"""Scaling of labelling: people a second with one and with two processes, each with its own core and thread.

    python benchmarks/label_scale.py --teacher ONNX --root DIR --count 1000 --rounds 5

LSP's people. All that `poseling label` does is in the time: reading, hashing, decoding, cropping, asking,
packing and writing to a new store; starting Python and loading the teacher are not. The processes find out
who they are as under torchrun, and start at the same moment; the time is until the last one is done. After
each round the store is opened: each person has one prediction, and none was made twice. Rounds with one and
with two take turns.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import cyclopts
import numpy as np

from poseling.evaluate.spread import mean_and_spread
from results import ratio, write


def main(
    teacher: Path, root: Path, count: int = 1000, rounds: int = 5, worker: bool = False, url: str = ""
) -> None:
    """Measures, and writes results/label_scale.json.

    Parameters
    ----------
    teacher
        An ONNX file that poseling.teachers.load knows.
    root
        The folder with lsp/.
    count
        How many people.
    rounds
        How often with one process and with two.
    worker
        Be one of the processes (for this script's own use).
    url
        Where a worker's answers go.
    """
    if worker:
        work(teacher, root, count, url)
        return
    rates: dict[int, list[float]] = {1: [], 2: []}
    for _ in range(rounds):
        for processes, found in rates.items():
            found.append(count / timed(processes, teacher, root, count))
            print(f"{processes} process{'es' if processes > 1 else ''}: {found[-1]:.1f} people/s", flush=True)
    rows: list[dict[str, Any]] = [
        row(name, rates[processes]) for name, processes in (("1_process", 1), ("2_processes", 2))
    ]
    rows.append({**ratio("speedup", rates[2], rates[1], "1_process")})
    notes = f"{count} people of LSP's training images, {teacher.stem}, one core and one thread a process, {rounds} rounds in turns"
    write("label_scale", rows, notes)


def row(name: str, values: list[float]) -> dict[str, Any]:
    """Median and standard deviation of people a second."""
    return {
        "name": name,
        "value": statistics.median(values),
        "unit": "people/s",
        "spread": mean_and_spread(values)[1] or 0.0,
        "values": values,
    }


def timed(processes: int, teacher: Path, root: Path, count: int) -> float:
    """Seconds for this many processes to label everyone once."""
    with tempfile.TemporaryDirectory() as folder:
        shared = [
            sys.executable,
            __file__,
            "--teacher",
            str(teacher),
            "--root",
            str(root),
            "--count",
            str(count),
            "--worker",
            "--url",
            folder,
        ]
        environments = [
            {**os.environ, "OMP_NUM_THREADS": "1", "RANK": str(rank), "WORLD_SIZE": str(processes)}
            for rank in range(processes)
        ]
        workers = [
            subprocess.Popen(shared, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=env)
            for env in environments
        ]
        for one in workers:
            assert one.stdout is not None
            if one.stdout.readline() != "ready\n":
                raise SystemExit("a worker did not start; its error stands above")
        for one in workers:
            assert one.stdin is not None
            one.stdin.write("go\n")
            one.stdin.flush()
        said = [json.loads(one.communicate()[0]) for one in workers]
        if sum(one["asked"] for one in said) != count or any(
            one["already"] or one["skipped"] for one in said
        ):
            raise SystemExit(
                f"the {processes} processes asked about {[one['asked'] for one in said]} people, expected "
                f"{count} in all: {said}"
            )
        return float(max(one["ended"] for one in said) - min(one["began"] for one in said))


def work(teacher: Path, root: Path, count: int, url: str) -> None:
    """One process: prepares, reports that it is ready, waits for the start, labels its share, reports the
    result.
    """
    from poseling.teachers.shards import shard_of_environment

    shard = shard_of_environment()
    if hasattr(os, "sched_setaffinity"):
        cores = sorted(os.sched_getaffinity(0))
        os.sched_setaffinity(0, {cores[shard[0] % len(cores)]})
    import torch

    from poseling.data import lsp
    from poseling.teachers.cache import label
    from poseling.teachers.onnx import OnnxTeacher

    torch.set_num_threads(1)
    everyone = lsp.train(root)
    if len(everyone) < count:
        raise SystemExit(f"{root}: there are {len(everyone)} people to train on, --count asks for {count}")
    dataset = everyone[np.linspace(0, len(everyone) - 1, count).astype(int)]
    network = OnnxTeacher(teacher, threads=1)
    network(torch.zeros(1, network.size[1], network.size[0], 3, dtype=torch.uint8))
    for image in dataset.images:
        image.read_bytes()  # into the machine's cache, for every round alike
    print("ready", flush=True)
    sys.stdin.readline()
    began = time.monotonic()  # the same clock for all processes of a machine
    done = label(network, dataset, url, shard=shard)
    print(
        json.dumps(
            {
                "began": began,
                "ended": time.monotonic(),
                "asked": done.predicted,
                "already": done.stored,
                "skipped": done.skipped,
            }
        ),
        flush=True,
    )


if __name__ == "__main__":
    cyclopts.run(main)
