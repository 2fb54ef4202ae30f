"""The loop: a run that is killed and started again ends with the same bits, two processes do the work of one,
and what goes wrong is told.

Run as a script, this file is a server: it imports torch once, and forks a child for each run that a line of
its input describes.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch
from accelerate.state import AcceleratorState
from rich.console import Console
from torch import nn

from poseling.codecs.heatmap import Heatmap
from poseling.codecs.losses import mse
from poseling.data.augment import Augment
from poseling.data.dataset import PoseDataset
from poseling.data.loader import Crops
from poseling.distill.objective import Objective, Term, fpd
from poseling.models import registry
from poseling.models.checkpoint import read_tensors, write_tensors
from poseling.skeleton import Skeleton
from poseling.spec import PoseSpec
from poseling.train import loop, optim
from poseling.train.log import read
from poseling.train.loop import LaidOutError, _Done, _State, engine, fit
from poseling.train.optim import Training

BODY = Skeleton("body", ("head", "left_hand", "right_hand"), (0, 0, 0))
CODEC = Heatmap((64, 64), softmax=True)
SPEC = PoseSpec("hourglass-1x8", BODY, CODEC.fields(), (64, 64))
# 12 people in batches of 4: 3 steps an epoch, 12 in all, a state after each 4.
TRAINING = {
    "epochs": 4,
    "batch": 4,
    "learning_rate": 2e-3,
    "optimizer": "adamw",
    "weight_decay": 0.01,
    "schedule": "one_cycle",
    "ema": 0.9,
    "save_every": 4,
}
PLACES = 48
WILD = Augment(half_body=0.3, occlusion=0.3, color_jitter=0.2)


def crowd(folder: Path) -> PoseDataset:
    """12 samples in images of noise, the same at every call; their joints are where the noise is brighter."""
    random, paths = np.random.default_rng(1), []
    joints = random.uniform((30, 20), (80, 70), (12, 3, 2)).astype(np.float32)
    folder.mkdir(exist_ok=True)
    for i in range(12):
        image = random.integers(0, 128, (90, 110, 3), dtype=np.uint8)
        for x, y in joints[i].astype(int):
            image[y - 3 : y + 4, x - 3 : x + 4] += 100
        paths.append(folder / f"{i:02d}.png")
        if not paths[-1].exists():
            cv2.imwrite(str(paths[-1]), image)
    boxes = np.tile(np.float32([20, 10, 90, 80]), (12, 1))
    return PoseDataset("crowd", BODY, tuple(paths), boxes, joints, np.full((12, 3), 2, np.uint8))


class Said:
    """A teacher's points, two pixels off the labels."""

    def __init__(self, dataset: PoseDataset, source: str = "said") -> None:
        self.dataset, self.source = dataset, source

    def sample(self, person, crop):
        order = BODY.flip if crop.flipped else slice(None)
        return {
            "teacher_xy": crop.apply(self.dataset.joints[person] + 2)[order].astype(np.float32),
            "teacher_weight": np.full(3, 0.5, np.float32),
        }


class Deadly(Crops):
    """Sends its own process a signal when it comes to a place of the stream."""

    place, number = -1, signal.SIGKILL

    def __getitem__(self, place):
        if place == self.place:
            os.kill(os.getpid(), self.number)
        return super().__getitem__(place)


class Plain(nn.Module):
    """A network without batch norm, whose means would differ between one process and two."""

    def __init__(self, dropped: bool = False) -> None:
        super().__init__()
        self.first, self.last = nn.Conv2d(3, 8, 7, 4, 3), nn.Conv2d(8, 3, 3, padding=1)
        self.middle = nn.Dropout() if dropped else nn.Tanh()

    def forward(self, images):
        return self.last(self.middle(self.first(images)))[:, None]


def value(network: nn.Module) -> dict[str, float]:
    """An evaluation that only the same bits pass."""
    return {"value": sum(float(p.detach().double().abs().sum()) for p in network.parameters())}


def train(
    folder,
    out,
    *,
    dataset=None,
    numbers=None,
    augment=WILD,
    bf16=False,
    plain=False,
    dropped=False,
    begun=0,
    place=-1,
    number=signal.SIGKILL,
    objective=None,
    source="said",
    **more,
):
    """One run on the crowd in `folder`."""
    dataset = crowd(folder) if dataset is None else dataset
    training = Training(**TRAINING | (numbers or {}))
    torch.manual_seed(begun)
    network = Plain(dropped) if plain else registry.build("hourglass-1x8", 3)
    crops = Deadly(dataset, (64, 64), 1.25, augment, training.seed, Said(dataset, source))
    crops.place, crops.number = place, number
    # Without softmax for the plain one: what a softmax leaves undecided would drift apart with the last bits.
    codec, loss = (Heatmap((64, 64)), "mse") if plain else (CODEC, "kl")
    objective = objective or Objective(SPEC, codec, fpd(codec, loss, 0.5), confidence=True)
    return fit(network, objective, crops, training, out, engine(bf16=bf16, cpu=True), value, **more)


# The server and its children
# -------------------------------------------------------------------------------------------------------------------------


def child(job: dict) -> None:
    """One run as `job` tells, in a process that may not survive it."""
    signal.alarm(300)  # if two processes wait for each other, nobody waits for them
    AcceleratorState._reset_state(reset_partial_state=True)
    os.environ.update(job.pop("environment", {}))
    folder, out = Path(job.pop("folder")), Path(job.pop("out"))
    if job.pop("only_rank", None) not in (None, int(os.environ.get("RANK", 0))):
        job.pop("place")
    if renames := job.pop("die_at_rename", 0):
        rename, count = os.replace, []

        def replace(*names):
            count.append(names)
            if len(count) == renames:
                os.kill(os.getpid(), signal.SIGKILL)
            rename(*names)

        os.replace = replace
    train(folder, out, **job)


def serve() -> None:
    """For each line of input, a JSON list of jobs: one process for each job, all at once; answers with their
    exit statuses.
    """
    torch.set_num_threads(1)
    with TemporaryDirectory() as warm:  # torch compiles its kernels once, for all children
        train(Path(warm) / "images", Path(warm), numbers={"epochs": 1})
    for line in sys.stdin:
        processes, delay = [], None
        for job in json.loads(line):
            delay = job.pop("kill_after", None)
            process = os.fork()
            if not process:
                try:
                    child(job)
                    os._exit(0)
                except KeyboardInterrupt:
                    os._exit(130)
                except BaseException as error:
                    sys.stderr.write(f"{error!r}\n")
                    os._exit(1)
            processes.append(process)
        if delay is not None:
            time.sleep(delay)
            os.kill(processes[0], signal.SIGKILL)
        sys.stdout.write(
            json.dumps([os.waitstatus_to_exitcode(os.waitpid(p, 0)[1]) for p in processes]) + "\n"
        )
        sys.stdout.flush()


@pytest.fixture(scope="module")
def run():
    """run(*jobs): the exit statuses of these runs, each in a process of its own."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    with subprocess.Popen(
        [sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
    ) as server:

        def ask(*jobs):
            server.stdin.write(
                json.dumps(
                    [{name: str(v) if isinstance(v, Path) else v for name, v in job.items()} for job in jobs]
                )
                + "\n"
            )
            server.stdin.flush()
            return json.loads(server.stdout.readline())

        yield ask
        server.stdin.close()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("crowd") / "images"
    crowd(folder)
    return folder


@pytest.fixture(scope="module")
def whole(run, folder):
    """The folder of a run without an interruption."""
    assert run({"folder": folder, "out": folder.parent / "whole"}) == [0]
    return folder.parent / "whole"


@pytest.fixture(autouse=True)
def one_thread():
    """Accelerate remembers the first precision of a process; the next test wants its own."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    AcceleratorState._reset_state(reset_partial_state=True)
    yield
    torch.set_num_threads(before)


def rows(out):
    """The rows of the log without the clock's."""
    return [
        {name: v for name, v in row.items() if name != "images_per_second"} for row in read(out / "log.jsonl")
    ]


def assert_same_run(one, other):
    """Weights, averages, moments and log, bit for bit."""
    (first, about), (second, about_second) = (
        read_tensors(one / "state.safetensors"),
        read_tensors(other / "state.safetensors"),
    )
    assert first.keys() == second.keys()
    for name, tensor in first.items():
        assert torch.equal(tensor, second[name]), name
    for about_one in (about, about_second):
        about_one.pop("seconds")
    assert about == about_second
    assert rows(one) == rows(other)
    assert [row["step"] for row in rows(one)] == list(range(3, int(about["step"]) + 1, 3))


# Killed and started again
# ----------------------------------------------------------------------------------------------------------------------------


def killed(run, job, seed, times):
    """Runs a job that is killed in the midst of a batch, again and again, wherever it is, and then left
    alone.
    """
    places = np.random.default_rng(seed).choice(PLACES, times, replace=False)
    for place in sorted(places.tolist()):
        assert run({**job, "place": place}) == [-signal.SIGKILL]
    assert run(job) == [0]


def test_killed_at_random_places_it_ends_with_the_same_bits(run, whole, folder, tmp_path):
    killed(run, {"folder": folder, "out": tmp_path / "killed"}, seed=7, times=4)
    assert_same_run(whole, tmp_path / "killed")


@pytest.mark.slow
def test_killed_at_random_places_in_bf16(run, whole, folder, tmp_path):
    assert run({"folder": folder, "out": tmp_path / "whole", "bf16": True}) == [0]
    killed(run, {"folder": folder, "out": tmp_path / "killed", "bf16": True}, seed=8, times=3)
    assert_same_run(tmp_path / "whole", tmp_path / "killed")
    assert rows(whole) != rows(tmp_path / "killed")  # it did calculate otherwise


@pytest.mark.slow
def test_killed_while_the_state_is_written(run, whole, folder, tmp_path):
    """Just before the new state takes the old one's name. The first rename of a run is the log's."""
    for renames in (1, 2, 3):
        assert run({"folder": folder, "out": tmp_path / "killed", "die_at_rename": renames}) == [
            -signal.SIGKILL
        ]
    assert run({"folder": folder, "out": tmp_path / "killed"}) == [0]
    assert_same_run(whole, tmp_path / "killed")


@pytest.mark.slow
def test_killed_from_outside_at_random_moments(run, whole, folder, tmp_path):
    random = np.random.default_rng()
    for _ in range(4):
        assert run({"folder": folder, "out": tmp_path / "killed", "kill_after": random.uniform(0.05, 1.0)})[
            0
        ] in (-signal.SIGKILL, 0)
    assert run({"folder": folder, "out": tmp_path / "killed"}) == [0]
    assert_same_run(whole, tmp_path / "killed")


@pytest.mark.parametrize("place", [0, 33])
def test_ctrl_c_finishes_the_step_and_saves(whole, folder, tmp_path, place):
    with (tmp_path / "said.txt").open("w") as said, pytest.raises(KeyboardInterrupt):
        train(
            folder,
            tmp_path / "stopped",
            place=place,
            number=signal.SIGINT,
            console=Console(file=said, width=200),
            title="distilled",
        )
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    # The loader is a batch ahead: the step in which it reads `place` is the one before that place's own.
    _, about = read_tensors(tmp_path / "stopped" / "state.safetensors")
    step = max(place // 4, 1)
    assert about["step"] == str(step)
    assert (
        f"distilled: stopped at step {step} of 12; the same command continues from there"
        in (tmp_path / "said.txt").read_text()
    )
    assert (tmp_path / "stopped" / "log.csv").exists()
    train(folder, tmp_path / "stopped")
    assert_same_run(whole, tmp_path / "stopped")


def test_workers_change_nothing(whole, folder, tmp_path):
    train(folder, tmp_path / "two", workers=2)
    assert_same_run(whole, tmp_path / "two")


def test_a_run_that_is_done_is_returned_at_once(folder, tmp_path):
    first = train(folder, tmp_path / "run")
    before = (tmp_path / "run" / "state.safetensors").read_bytes()
    again = train(folder, tmp_path / "run", place=0)  # it would die if it read an image
    assert (tmp_path / "run" / "state.safetensors").read_bytes() == before
    for a, b in zip(first.network.state_dict().values(), again.network.state_dict().values(), strict=True):
        assert torch.equal(a, b)
    assert again.rows == first.rows
    assert again.images_per_second == pytest.approx(first.images_per_second, rel=0.2)


# What it makes
# ---------------------------------------------------------------------------------------------------------------------------------------


def test_the_loss_falls_and_the_rows_say_so(folder, tmp_path):
    fitted = train(
        folder, tmp_path / "run", numbers={"epochs": 10, "learning_rate": 1e-2}, augment=Augment().none()
    )
    assert not fitted.network.training
    assert [row["step"] for row in fitted.rows] == list(range(3, 31, 3))
    assert [row["epoch"] for row in fitted.rows] == list(range(1, 11))
    assert set(fitted.rows[0]) == {
        "step",
        "epoch",
        "rate",
        "loss",
        "labels",
        "teacher",
        "images_per_second",
        "value",
    }
    assert fitted.rows[-1]["loss"] < 0.8 * fitted.rows[0]["loss"]
    assert fitted.rows == read(tmp_path / "run" / "log.jsonl")
    assert (
        fitted.rows[-1]["value"] == value(fitted.network)["value"]
    )  # the averaged weights are what is evaluated and returned
    assert fitted.rows[4]["rate"] == Training(**TRAINING | {"learning_rate": 1e-2}).rate(14, 30)


def test_a_long_run_says_how_long_it_takes(folder, tmp_path, monkeypatch):
    """Ten seconds from each look at the clock to the next: one look before the first step, one after two."""
    looks = iter(range(0, 10_000, 10))
    monkeypatch.setattr(loop, "time", SimpleNamespace(perf_counter=lambda: next(looks)))
    monkeypatch.setattr(loop, "TIMED", 2)
    console = Console(file=(tmp_path / "said.txt").open("w"))
    train(folder, tmp_path / "run", numbers={"epochs": 20}, console=console)
    # 60 steps, 58 of them left at 5 seconds each.
    assert (tmp_path / "said.txt").read_text().splitlines()[0] == "training: 58 steps, 5 minutes"


def test_one_step_of_a_run_by_hand(folder, tmp_path):
    """Two steps of Adam without schedule or average, written out."""
    dataset = crowd(folder)
    numbers = {
        "epochs": 2 / 3,
        "schedule": "constant",
        "ema": 0.0,
        "optimizer": "adam",
        "weight_decay": 0.0,
        "clip": 0.5,
    }
    fitted = train(folder, tmp_path / "run", numbers=numbers, plain=True)
    torch.manual_seed(0)
    network = Plain()
    driver = torch.optim.Adam(network.parameters(), lr=2e-3)
    crops = Crops(dataset, (64, 64), 1.25, WILD, 0, Said(dataset))
    for step in range(2):
        batch = torch.utils.data.default_collate([crops[step * 4 + i] for i in range(4)])
        driver.zero_grad()
        Objective(SPEC, Heatmap((64, 64)), fpd(Heatmap((64, 64)), "mse", 0.5), confidence=True)(
            network, batch
        )["loss"].backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 0.5)
        driver.step()
    for a, b in zip(network.parameters(), fitted.network.parameters(), strict=True):
        torch.testing.assert_close(a, b, atol=1e-6, rtol=1e-5)


def test_the_average_is_the_moving_mean(folder, tmp_path):
    """The decay of step t is (1 + t) / (10 + t) while that is less than 0.9; the batch norms' means likewise."""
    seen = []

    def watch(outputs, targets, weight):
        return mse(outputs, targets, weight)

    for steps in (1, 2, 3):
        out = tmp_path / str(steps)
        train(
            folder,
            out,
            numbers={"epochs": steps / 3, "schedule": "constant"},
            objective=Objective(SPEC, CODEC, (Term("labels", watch, 1.0, "labels"),)),
        )
        seen.append(read_tensors(out / "state.safetensors")[0])
    for name in ("stacks.0.score.weight", "stem.1.running_mean"):
        weights = [state[f"network.{name}"] for state in seen]
        # The decays are 1/10, 2/11 and 1/4, from the start's weights on, of which 1/220 is left.
        first = (seen[0][f"average.{name}"] - 0.9 * weights[0]) / 0.1
        expected = first / 220 + 9 / 220 * weights[0] + 9 / 44 * weights[1] + 3 / 4 * weights[2]
        torch.testing.assert_close(seen[2][f"average.{name}"], expected)


def test_tensorboard_if_asked(folder, tmp_path):
    pytest.importorskip("tensorboard")
    train(folder, tmp_path / "run", numbers={"epochs": 1}, tensorboard=True)
    assert list((tmp_path / "run" / "tensorboard").iterdir())
    train(folder, tmp_path / "without", numbers={"epochs": 1})
    assert not (tmp_path / "without" / "tensorboard").exists()


def test_the_moments_come_back_in_their_parameters_layout(tmp_path):
    """Channels-last as the weights: with other strides torch would leave its fast kernels."""

    def state():
        torch.manual_seed(0)
        network = registry.build("hourglass-1x8", 3).to(memory_format=torch.channels_last)
        driver = optim.optimizer(network, Training(optimizer="adamw"))
        return (
            network,
            driver,
            _State(tmp_path / "state", "", "", network, None, driver, Training(), 1, False),
        )

    network, driver, before = state()
    network(torch.randn(4, 3, 64, 64)).square().sum().backward()
    driver.step()
    before.save(_Done(step=1))
    _, resumed, after = state()
    assert after.load() == _Done(step=1)
    for group, other in zip(driver.param_groups, resumed.param_groups, strict=True):
        for p, q in zip(group["params"], other["params"], strict=True):
            for name, moment in driver.state[p].items():
                assert torch.equal(moment, resumed.state[q][name])
                assert moment.stride() == resumed.state[q][name].stride()


# What goes wrong
# -------------------------------------------------------------------------------------------------------------------------------------


OTHERS = [
    {"numbers": {"learning_rate": 1e-4}},
    {"numbers": {"clip": 7.0}},
    {"augment": Augment(rotation=10)},
    {"objective": Objective(SPEC, CODEC, fpd(CODEC, "kl", 0.25), confidence=True)},
    {"objective": Objective(SPEC, CODEC, fpd(CODEC, "coordinate", 0.5), confidence=True)},
    {"objective": Objective(SPEC, CODEC, fpd(CODEC, "kl", 0.5))},
    {"source": "another teacher"},
    {"begun": 1},
]


def test_a_folder_with_another_run(folder, tmp_path):
    """Another rate, length, augmentation, alpha, loss, confidence, teacher, start, other labels and shares:
    each would go on with what it has not trained.
    """
    train(folder, tmp_path / "run", numbers={"epochs": 1})
    people = crowd(folder)
    others = [
        {"dataset": replace(people, joints=people.joints + 0.5)},
        {"dataset": replace(people, draws=np.full(12, 1 / 12, np.float32))},
    ]
    for other in (*OTHERS, *others):
        arguments = {**other, "numbers": {"epochs": 1, **other.get("numbers", {})}}
        with pytest.raises(
            ValueError,
            match=r"state\.safetensors: belongs to a run with other settings: .*, now .*\. Give another --out, or remove .*run to begin again",
        ):
            train(folder, tmp_path / "run", **arguments)


def test_a_state_from_before_labels_were_told_apart_goes_on(folder, tmp_path):
    train(folder, tmp_path / "run", numbers={"epochs": 1})
    path = tmp_path / "run" / "state.safetensors"
    tensors, metadata = read_tensors(path)
    conditions = json.loads(metadata["conditions"])
    for name in ("labels", "start", "drop path"):
        del conditions[name]
    write_tensors(path, tensors, metadata | {"conditions": json.dumps(conditions)})
    assert train(folder, tmp_path / "run", numbers={"epochs": 1}).rows


def test_what_is_dropped_at_random_is_the_same_after_a_stop(folder, tmp_path):
    straight = train(folder, tmp_path / "straight", plain=True, dropped=True)
    with pytest.raises(KeyboardInterrupt):
        train(folder, tmp_path / "stopped", plain=True, dropped=True, place=20, number=signal.SIGINT)
    resumed = train(folder, tmp_path / "stopped", plain=True, dropped=True)
    assert straight.rows[-1]["value"] == resumed.rows[-1]["value"]
    other = train(folder, tmp_path / "other", plain=True, dropped=True, numbers={"seed": 1})
    assert other.rows[-1]["value"] != straight.rows[-1]["value"]


def test_what_differs_is_named(folder, tmp_path):
    train(folder, tmp_path / "run", numbers={"epochs": 1})
    with pytest.raises(
        ValueError,
        match=r"other settings: learning_rate [0-9.e-]+, now 0\.0001; augment rotation \S+, now 10\. Give another",
    ) as told:
        train(
            folder,
            tmp_path / "run",
            numbers={"epochs": 1, "learning_rate": 1e-4},
            augment=replace(WILD, rotation=10),
        )
    assert len(str(told.value).replace(str(tmp_path), "")) < 250


def test_a_finished_run_goes_on_where_its_schedule_allows(folder, tmp_path):
    """At a constant rate it ends with the weights of a run that was as long from the start; so it does after
    the last drop of `step`. Others are told.
    """
    for name, numbers in (
        ("constant", {"schedule": "constant"}),
        ("step", {"schedule": "step", "milestones": (0.25,)}),
    ):
        train(folder, tmp_path / name, numbers={**numbers, "epochs": 2})
        longer = (
            {**numbers, "epochs": 3}
            if name == "constant"
            else {**numbers, "epochs": 3, "milestones": (0.5 / 3,)}
        )
        extended = train(folder, tmp_path / name, numbers=longer)
        straight = train(folder, tmp_path / f"{name}-straight", numbers=longer)
        assert all(
            torch.equal(a, b)
            for a, b in zip(
                extended.network.state_dict().values(), straight.network.state_dict().values(), strict=True
            )
        )
    train(folder, tmp_path / "cycle", numbers={"schedule": "one_cycle", "epochs": 1})
    with pytest.raises(
        LaidOutError, match=r"the schedule one_cycle of this finished run was laid out for --epochs 1, not 2"
    ):
        train(folder, tmp_path / "cycle", numbers={"schedule": "one_cycle", "epochs": 2})
    with pytest.raises(ValueError, match=r"other settings: epochs 3\S*, now 1"):
        train(folder, tmp_path / "constant", numbers={"schedule": "constant", "epochs": 1})


def test_a_state_that_is_cut_short(folder, tmp_path):
    train(folder, tmp_path / "run", numbers={"epochs": 1})
    path = tmp_path / "run" / "state.safetensors"
    path.write_bytes(path.read_bytes()[:5000])
    with pytest.raises(ValueError, match=r"state\.safetensors: is cut short"):
        train(folder, tmp_path / "run", numbers={"epochs": 1})


def test_broken_images_are_named_and_training_goes_on(tmp_path):
    folder = tmp_path / "images"
    dataset = crowd(folder)
    dataset.images[3].write_bytes(b"no image")
    dataset.images[8].unlink()
    with (tmp_path / "said.txt").open("w") as said:
        fitted = train(
            folder,
            tmp_path / "run",
            dataset=dataset,
            console=Console(file=said, width=400),
            numbers={"epochs": 2},
        )
    names = (str(dataset.images[3]), str(dataset.images[8]))
    assert fitted.broken == names
    text = (tmp_path / "said.txt").read_text()
    assert "2 images could not be read and were left out" in text
    assert all(name in text for name in names)
    assert np.isfinite([row["loss"] for row in fitted.rows]).all()
    assert (
        train(folder, tmp_path / "run", dataset=dataset, numbers={"epochs": 2}).broken == names
    )  # a run that is done still knows


def test_a_loss_that_is_no_number_any_more(folder, tmp_path):
    calls = []

    def fails(outputs, targets, weight):
        calls.append(1)
        return mse(outputs, targets, weight) * (np.nan if len(calls) > 3 else 1)

    objective = Objective(SPEC, CODEC, (Term("labels", fails, 1.0, "labels"),))
    with pytest.raises(
        FloatingPointError,
        match=r"training: the loss is nan by step 4; lower --learning-rate, or set --clip 1",
    ):
        train(folder, tmp_path / "run", objective=objective, numbers={"save_every": 2})
    tensors, about = read_tensors(tmp_path / "run" / "state.safetensors")
    assert about["step"] == "2"  # of before
    assert all(t.isfinite().all() for t in tensors.values() if t.is_floating_point())


# Two processes
# ---------------------------------------------------------------------------------------------------------------------------------------


def pair(**job):
    """The same job for two processes that find each other as torchrun would have them do."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    common = {"WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    return [
        {**job, "environment": {**common, "RANK": str(rank), "LOCAL_RANK": str(rank)}} for rank in range(2)
    ]


@pytest.mark.slow
def test_two_processes_do_the_work_of_one(run, folder, tmp_path):
    assert run({"folder": folder, "out": tmp_path / "one", "plain": True}) == [0]
    assert run(*pair(folder=folder, out=tmp_path / "two", plain=True)) == [0, 0]
    one, two = (read_tensors(tmp_path / name / "state.safetensors")[0] for name in ("one", "two"))
    start = Plain().state_dict()
    for name, tensor in one.items():
        torch.testing.assert_close(two[name], tensor, atol=2e-5, rtol=1e-4)
    assert all((one[f"network.{name}"] - tensor).abs().max() > 1e-3 for name, tensor in start.items())
    for a, b in zip(rows(tmp_path / "one"), rows(tmp_path / "two"), strict=True):
        assert b["loss"] == pytest.approx(
            a["loss"], rel=1e-5
        )  # the mean over both, the parts are the first process's own
        assert (a["step"], a["epoch"], a["rate"]) == (b["step"], b["epoch"], b["rate"])


@pytest.mark.slow
def test_ctrl_c_in_one_of_two_processes_stops_both_and_they_go_on(run, tmp_path):
    folder = tmp_path / "images"
    crowd(folder).images[5].write_bytes(b"no image")
    assert run(*pair(folder=folder, out=tmp_path / "whole", plain=True)) == [0, 0]
    assert run(
        *pair(folder=folder, out=tmp_path / "stopped", plain=True, place=27, number=int(signal.SIGINT))
    ) == [130, 130]
    assert 5 <= int(read_tensors(tmp_path / "stopped" / "state.safetensors")[1]["step"]) <= 7
    assert run(*pair(folder=folder, out=tmp_path / "stopped", plain=True)) == [0, 0]
    assert_same_run(tmp_path / "whole", tmp_path / "stopped")
    assert (
        read_tensors(tmp_path / "whole" / "state.safetensors")[1]["broken"] == "[5]"
    )  # whichever of the two read it


if __name__ == "__main__":
    serve()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"step": None}, "it lacks step"),
        ({"step": "{"}, "is no whole JSON"),
        ({"step": '"three"'}, "step is 'three', expected a whole number"),
        ({"seconds": "[1]"}, r"seconds is \[1\], expected a finite number"),
        ({"broken": "3"}, "broken is 3, expected a list"),
    ],
)
def test_a_state_that_is_damaged(folder, tmp_path, change, message):
    train(folder, tmp_path / "run", numbers={"epochs": 1})
    path = tmp_path / "run" / "state.safetensors"
    tensors, metadata = read_tensors(path)
    metadata = {name: text for name, text in (metadata | change).items() if text is not None}
    write_tensors(path, tensors, metadata)
    with pytest.raises(
        ValueError,
        match=rf"state\.safetensors: is damaged \(.*{message}.*\); remove it to begin again, or give another --out",
    ):
        train(folder, tmp_path / "run", numbers={"epochs": 1})


def test_a_state_without_a_weight(folder, tmp_path):
    train(folder, tmp_path / "run", numbers={"epochs": 1})
    path = tmp_path / "run" / "state.safetensors"
    tensors, metadata = read_tensors(path)
    for prefix in ("network.", "optimizer."):
        some = dict(tensors)
        name = next(name for name in some if name.startswith(prefix))
        some[f"{prefix}99999.exp_avg"] = some.pop(name)
        write_tensors(path, some, metadata)
        with pytest.raises(ValueError, match=r"state\.safetensors: is damaged"):
            train(folder, tmp_path / "run", numbers={"epochs": 1})
