"""Sharing images among processes: each sample goes to exactly one, evenly; and which process this is, from the
environment.

Run as a script, this file is a process that reads its environment and writes down what it found.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from poseling.teachers.shards import (
    BLOCK,
    deal_of_environment,
    device_of_environment,
    shard_of_environment,
    share,
)

VARIABLES = (
    "RANK",
    "WORLD_SIZE",
    "MASTER_ADDR",
    "MASTER_PORT",
    *(f"SLURM_{n}" for n in ("PROCID", "NTASKS", "STEP_NUM_TASKS", "JOB_ID", "STEP_ID", "RESTART_COUNT")),
)


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch):
    """environment(NAME="value", ...): of the variables that a launcher sets only these are there."""

    def put(**values: str) -> None:
        for name in VARIABLES:
            monkeypatch.delenv(name, raising=False)
        for name, value in values.items():
            monkeypatch.setenv(name, value)

    return put


def contents(count: int) -> dict[Path, bytes | None]:
    random = np.random.default_rng(3)
    return {Path(f"{i}.jpg"): random.bytes(64) for i in range(count)}


@given(dataset=st.lists(st.integers(0, 30), max_size=80), of=st.integers(1, 9), deal=st.text(max_size=5))
def test_each_sample_goes_to_one_process_and_samples_of_an_image_go_together(
    dataset: list[int], of: int, deal: str
) -> None:
    known = contents(31)
    images = [Path(f"{i}.jpg") for i in dataset]
    shares = [share(images, (i, of), deal, known).tolist() for i in range(of)]
    assert sorted(place for mine in shares for place in mine) == list(range(len(dataset)))
    assert all(mine == sorted(mine) for mine in shares)
    owners = [{images[place] for place in mine} for mine in shares]
    assert sum(map(len, owners)) == len(set(images))
    # Whose an image is does not hang on the others, nor on their order.
    backwards = [
        share(images[::-1] + [Path("new.jpg")], (i, of), deal, {**known, Path("new.jpg"): b"new"})
        for i in range(of)
    ]
    for mine, again in zip(owners, backwards, strict=True):
        assert {(images[::-1] + [Path("new.jpg")])[place] for place in again} - {Path("new.jpg")} == mine


@pytest.mark.parametrize("of", [2, 3, 64])
def test_shares_are_even_and_what_one_left_is_dealt_evenly_again(of: int) -> None:
    known, count = contents(6400), 6400
    images = list(known)
    shares = [share(images, (i, of), "monday", known) for i in range(of)]
    bound = 5 * np.sqrt(count / of * (1 - 1 / of))  # five standard deviations of as many throws of a die
    assert max(abs(len(mine) - count / of) for mine in shares) < bound
    left = [images[place] for place in shares[1]]
    for other_of, deal in ((2, "tuesday"), (5 if of != 5 else 6, "monday")):
        again = [len(share(left, (i, other_of), deal, known)) for i in range(other_of)]
        assert sum(again) == len(left)
        assert max(abs(n - len(left) / other_of) for n in again) < 5 * np.sqrt(
            len(left) / other_of * (1 - 1 / other_of)
        )
    assert share(left, (1, of), "monday", known).tolist() == list(range(len(left)))


def test_copies_and_other_mounts_of_an_image_go_to_the_same_process(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    here = [tmp_path / "here" / f"{i}.jpg" for i in range(40)]
    here[0].parent.mkdir()
    for i, path in enumerate(here):
        path.write_bytes(random.bytes(50 + 400 * i))  # some smaller and some larger than a block
    shutil.copytree(tmp_path / "here", tmp_path / "there")
    there = [tmp_path / "there" / path.name for path in here]
    assert max(path.stat().st_size for path in here) > 3 * BLOCK
    for which in range(3):
        mine = share(here + there, (which, 3)).tolist()
        assert [place for place in mine if place < 40] == [place - 40 for place in mine if place >= 40]
        assert 5 < len(mine) / 2 < 22


def test_a_missing_image_goes_to_one_process_too(tmp_path: Path) -> None:
    gone = [tmp_path / f"{i}.jpg" for i in range(20)]
    assert sorted(place for i in range(4) for place in share(gone, (i, 4))) == list(range(20))


@pytest.mark.parametrize(
    ("values", "shard"),
    [
        ({}, (0, 1)),
        ({"RANK": "1", "WORLD_SIZE": "4"}, (1, 4)),
        ({"RANK": "5"}, (0, 1)),
        ({"SLURM_PROCID": "2", "SLURM_NTASKS": "3"}, (2, 3)),
        # A step of 2 tasks in a job of 8; and torchrun, which srun started once on each of 2 nodes.
        ({"SLURM_PROCID": "1", "SLURM_NTASKS": "8", "SLURM_STEP_NUM_TASKS": "2"}, (1, 2)),
        ({"RANK": "7", "WORLD_SIZE": "8", "SLURM_PROCID": "1", "SLURM_NTASKS": "2"}, (7, 8)),
    ],
)
def test_the_launchers_word_is_taken(environment, values: dict[str, str], shard: tuple[int, int]) -> None:
    environment(**values)
    assert shard_of_environment() == shard


@pytest.mark.parametrize(
    "values",
    [{"RANK": "2", "WORLD_SIZE": "2"}, {"RANK": "-1", "WORLD_SIZE": "2"}, {"RANK": "one", "WORLD_SIZE": "2"}],
)
def test_a_word_that_makes_no_sense_is_refused(environment, values: dict[str, str]) -> None:
    environment(**values)
    with pytest.raises(ValueError, match=rf"RANK={values['RANK']} and WORLD_SIZE=2.*--shard I N"):
        shard_of_environment()


def test_a_slurm_job_deals_by_its_number_and_others_as_ever(environment) -> None:
    step = {"SLURM_PROCID": "1", "SLURM_NTASKS": "2", "SLURM_JOB_ID": "77", "SLURM_STEP_ID": "0"}
    environment(**step)
    first = deal_of_environment()
    environment(**{**step, "SLURM_PROCID": "0"})
    assert deal_of_environment() == first
    environment(**step, SLURM_RESTART_COUNT="1")
    assert deal_of_environment() != first
    environment(RANK="1", WORLD_SIZE="2")  # nowhere to meet
    assert deal_of_environment() == ""
    environment(RANK="0", WORLD_SIZE="1", MASTER_ADDR="nowhere", MASTER_PORT="1")  # no other process to meet
    assert deal_of_environment() == ""


def test_each_process_of_a_machine_has_a_gpu_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LOCAL_RANK", raising=False)
    assert [device_of_environment(device) for device in ("cpu", "cuda", "cuda:1")] == [
        "cpu",
        "cuda",
        "cuda:1",
    ]
    monkeypatch.setenv("LOCAL_RANK", "3")
    assert [device_of_environment(device) for device in ("cpu", "cuda", "cuda:1")] == [
        "cpu",
        "cuda:3",
        "cuda:1",
    ]


def heard(folder: Path) -> dict[tuple[int, int], str]:
    """What two processes heard, by their shards."""
    return {tuple(map(int, path.name.split("-"))): path.read_text() for path in folder.iterdir()}  # type: ignore[misc]


@pytest.mark.slow
def test_the_processes_of_a_launch_agree_and_launches_differ(tmp_path: Path) -> None:
    plain = {name: value for name, value in os.environ.items() if name not in VARIABLES} | {
        "OMP_NUM_THREADS": "1"
    }
    for name in ("torchrun", "by hand"):
        (tmp_path / name).mkdir()
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    subprocess.run(
        [*launcher, __file__, str(tmp_path / "torchrun")],
        env=plain,
        check=True,
        timeout=120,
        capture_output=True,
    )
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    meeting = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    pair = [
        subprocess.Popen(
            [sys.executable, __file__, str(tmp_path / "by hand")], env={**plain, **meeting, "RANK": rank}
        )
        for rank in "01"
    ]
    assert [process.wait(120) for process in pair] == [0, 0]
    words = []
    for name in ("torchrun", "by hand"):
        found = heard(tmp_path / name)
        assert set(found) == {(0, 2), (1, 2)}
        assert len(set(found.values())) == 1
        words += set(found.values())
    assert len(set(words)) == 2
    assert all(words)


if __name__ == "__main__":
    which_, of_ = shard_of_environment()
    (Path(sys.argv[1]) / f"{which_}-{of_}").write_text(deal_of_environment())
