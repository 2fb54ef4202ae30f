"""The one training loop. Methods differ in the objective that it is given."""

from __future__ import annotations

import hashlib
import json
import signal
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import timedelta
from pathlib import Path
from types import FrameType
from typing import Any, cast

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.utils import (
    DataLoaderConfiguration,
    InitProcessGroupKwargs,
    broadcast_object_list,
    gather_object,
)
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from torch import Tensor, nn
from torch.utils.data import DataLoader

from poseling.data.loader import Crops, Stream
from poseling.data.resident import Resident
from poseling.distill.objective import Objective
from poseling.distill.targets import Batch
from poseling.models.checkpoint import read_tensors, write_tensors
from poseling.records import from_fields, parse_json
from poseling.train import optim
from poseling.train.log import Log, Row
from poseling.train.optim import Average, Training

Evaluate = Callable[[nn.Module], dict[str, float]]
TIMED = 20  # steps after which it is said how long the rest will take


@dataclass(frozen=True)
class Fitted:
    """A trained network (its averaged weights, if the run has them), in eval mode; the rows of the log;
    images per second of training; the images that could not be read.
    """

    network: nn.Module
    rows: list[Row]
    images_per_second: float
    broken: tuple[str, ...]


def engine(bf16: bool = False, cpu: bool = False) -> Accelerator:
    """The accelerator of a run: one process or many, as it was launched. A batch is divided among the
    processes, so that its size does not depend on their number.
    """
    # The first process labels and evaluates for all; NCCL's own limit would be ten minutes.
    patience = InitProcessGroupKwargs(timeout=timedelta(days=1))
    division = DataLoaderConfiguration(split_batches=True)
    return Accelerator(
        mixed_precision="bf16" if bf16 else "no",
        cpu=cpu,
        dataloader_config=division,
        kwargs_handlers=[patience],
    )


def fit(
    network: nn.Module,
    objective: Objective,
    crops: Crops | Resident,
    training: Training,
    out: Path,
    accelerator: Accelerator,
    evaluate: Evaluate | None = None,
    evaluate_every: float = 1.0,
    workers: int = 0,
    tensorboard: bool = False,
    title: str = "training",
    console: Console | None = None,
) -> Fitted:
    """Trains `network` and returns it. The same call continues where an earlier one was stopped, from the
    last state in `out`; it returns at once if that run was finished.

    Runs under `accelerate launch` and torchrun as it is; `training.batch` is divided among the processes.
    ValueError if `out` holds a run with other numbers, or with other terms. A finished run continues if only
    `epochs` are more and its schedule allows it, else a LaidOutError. FloatingPointError if the loss is not
    finite; the state in `out` is then the last finite one. Ctrl-C saves the state first.
    """
    console = console or Console(quiet=True)
    steps = training.steps(len(crops.dataset))
    settings = json.dumps(
        {
            **asdict(training),
            "people": len(crops.dataset),
            "terms": [(t.name, t.weight) for t in objective.terms],
        },
        sort_keys=True,
    )
    torch.manual_seed(training.seed)
    network = network.to(accelerator.device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch's stubs lack it
    average = Average(network, training.ema) if training.ema else None
    optimizer = optim.optimizer(network, training)
    fading = any(term.schedule is not None for term in objective.terms)
    state = _State(
        out / "state.safetensors",
        settings,
        _conditions(objective, crops, network),
        network,
        average,
        optimizer,
        training,
        len(crops.dataset),
        not fading,
    )
    done = state.load() if state.path.is_file() else _Done()
    step, broken, tally = done.step, set(done.broken), _Tally(done, accelerator)
    student, driver = accelerator.prepare(network, optimizer)
    if isinstance(crops, Resident):
        broken |= set(crops.images.broken.nonzero()[0].tolist())
    batches = stream(crops, step, steps, training.batch, accelerator, workers)
    main = accelerator.is_main_process
    log = Log(out, step, tensorboard) if main else None
    every = max(1, round(evaluate_every * len(crops.dataset) / training.batch))

    def learn(batch: Batch, rate: float) -> dict[str, Tensor]:
        for group in optimizer.param_groups:
            group["lr"] = rate * group["scale"]
        torch.manual_seed(_drawn(training.seed, step, accelerator.process_index))
        parts = objective(student, batch, step / steps)
        accelerator.backward(parts["loss"])
        if training.clip:
            accelerator.clip_grad_norm_(student.parameters(), training.clip)
        driver.step()
        driver.zero_grad()
        if average is not None:
            average.update(network, step)
        return parts

    student.train()
    try:
        with _Shown(console, title, step, steps) as shown, _CtrlC() as stop:
            for batch in batches:
                if step >= steps:
                    break
                rate = training.rate(step, steps)
                parts = learn(batch, rate)
                step += 1
                tally.add(parts["loss"])
                if not isinstance(crops, Resident) and batch["broken"].any():
                    broken.update(batch["person"][batch["broken"] > 0].tolist())
                shown.step(step)
                last, stopping = step == steps, _anyone(accelerator, stop.asked)
                saves, tells = step % training.save_every == 0 or last or stopping, step % every == 0 or last
                if saves or tells:
                    tally.settle(title, step)  # before anything is saved
                if tells:
                    row: Row = {
                        "step": step,
                        "epoch": step * training.batch / len(crops.dataset),
                        "rate": rate,
                        "loss": tally.mean,
                    }
                    row |= {name: float(value.detach()) for name, value in parts.items() if name != "loss"}
                    row["images_per_second"] = step * training.batch / tally.pause()
                    if main and evaluate is not None:
                        row |= evaluate(_unwrap(average, network))
                        student.train()
                    if log is not None:
                        log.add(row)
                    shown.row(row, training.epochs)
                    tally.begin()
                if saves:
                    broken = set(gather_object(sorted(broken)))
                    if main:
                        state.save(tally.done(step, broken))
                if stopping and not last:
                    shown.line(
                        f"stopped at step {step} of {steps}; the same command continues from there", "yellow"
                    )
                    raise KeyboardInterrupt
    finally:
        if log is not None:
            log.close()
        accelerator.unwrap_model(student, keep_fp32_wrapper=False)  # takes autocast off `network` again
        accelerator.free_memory()
    accelerator.wait_for_everyone()
    names = tuple(sorted({str(crops.dataset.images[i]) for i in broken}))
    if names:
        console.print(
            f"{title}: {len(names)} images could not be read and were left out: "
            f"{', '.join(names[:3])}{' ...' if len(names) > 3 else ''}",
            style="yellow",
            markup=False,
        )
    (rows,) = broadcast_object_list([log.rows if log is not None else []])
    return Fitted(
        _unwrap(average, network).eval(),
        rows,
        step * training.batch / max(tally.spent, 1e-9),
        names,
    )


def stream(
    crops: Crops | Resident, start: int, steps: int, batch: int, accelerator: Accelerator, workers: int = 0
) -> Iterable[Batch]:
    """The batches of the steps from `start` on: this process's part of each, on its device."""
    if isinstance(crops, Resident):
        return crops.batches(start, steps, batch, (accelerator.process_index, accelerator.num_processes))
    loader = DataLoader(
        crops,
        batch_size=batch,
        sampler=Stream(start * batch, steps * batch),
        num_workers=workers,
        pin_memory=accelerator.device.type == "cuda",
        prefetch_factor=4 if workers else None,
        worker_init_fn=_ignore_interrupts,
    )
    return cast(Iterable[Batch], accelerator.prepare(loader))


def _unwrap(average: Average | None, network: nn.Module) -> nn.Module:
    return average.network if average is not None else network


class _Tally:
    """The loss since the last row of the log, and the seconds of training, evaluation left out."""

    def __init__(self, done: _Done, accelerator: Accelerator) -> None:
        self.accelerator = accelerator
        self.sum, self.count = torch.tensor(done.loss, device=accelerator.device), done.counted
        self.spent = done.seconds
        self.since: float | None = time.perf_counter()

    def add(self, loss: Tensor) -> None:
        """The loss of a step."""
        self.sum, self.count = self.sum + loss.detach(), self.count + 1

    def settle(self, title: str, step: int) -> None:
        """The mean over the processes from here on; FloatingPointError if it is not finite."""
        self.sum = self.accelerator.reduce(self.sum, "mean")
        if not torch.isfinite(self.sum):
            raise FloatingPointError(
                f"{title}: the loss is {float(self.sum)} by step {step}; lower --learning-rate, or set --clip 1"
            )

    @property
    def mean(self) -> float:
        """Over the steps since the last row."""
        return float(self.sum) / self.count

    @property
    def seconds(self) -> float:
        """Of training until now, or until the pause."""
        return self.spent + (0.0 if self.since is None else time.perf_counter() - self.since)

    def pause(self) -> float:
        """Stops the clock, and gives the seconds until now."""
        self.spent, self.since = self.seconds, None
        return self.spent

    def begin(self) -> None:
        """The next row of the log."""
        self.sum, self.count, self.since = torch.zeros_like(self.sum), 0, time.perf_counter()

    def done(self, step: int, broken: Iterable[int]) -> _Done:
        """What a state holds of it."""
        return _Done(step, self.seconds, float(self.sum), self.count, tuple(sorted(broken)))


class _Shown:
    """How far a run is, on the console: a bar in a terminal, elsewhere lines."""

    def __init__(self, console: Console, title: str, step: int, steps: int) -> None:
        self.console, self.title, self.steps = console, title, steps
        self.first, self.begun = step, time.perf_counter()
        self.bars = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[says]}"),
            console=console,
            disable=not console.is_terminal,
        )
        self.bar = self.bars.add_task(title, total=steps, completed=step, says="")

    def __enter__(self) -> _Shown:
        self.bars.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.bars.stop()

    def step(self, step: int) -> None:
        """After each step; once how long the rest will take, where there is no bar."""
        self.bars.update(self.bar, completed=step)
        if step == self.first + TIMED and not self.console.is_terminal:
            left = (self.steps - step) * (time.perf_counter() - self.begun) / TIMED
            if left > 60:
                self.line(f"{self.steps - step:,} steps, {left / 60:.0f} minutes")

    def row(self, row: Row, epochs: float) -> None:
        """A row of the log."""
        told = (name for name in row if name not in ("step", "epoch", "rate"))
        says = "  ".join(f"{name} {row[name]:.3g}" for name in told)
        self.bars.update(self.bar, says=says)
        if not self.console.is_terminal:
            self.line(f"epoch {row['epoch']:.1f}/{epochs:g}  {says}")

    def line(self, text: str, style: str | None = None) -> None:
        """A line of its own, below the title."""
        self.console.print(
            f"{self.title}: {text}", style=style, soft_wrap=True, highlight=False, markup=False
        )


class _CtrlC:
    """The first Ctrl-C sets `asked`, and the loop stops between two steps; the second one interrupts at
    once.
    """

    asked = False

    def __enter__(self) -> _CtrlC:
        self.main = threading.current_thread() is threading.main_thread()  # only there may signals be handled
        if self.main:
            self.before = signal.signal(signal.SIGINT, self._ask)
        return self

    def _ask(self, number: int, frame: FrameType | None) -> None:
        self.asked = True
        signal.signal(signal.SIGINT, self.before)

    def __exit__(self, *_: object) -> None:
        if self.main:
            signal.signal(signal.SIGINT, self.before)


def _anyone(accelerator: Accelerator, asked: bool) -> bool:
    """Whether any process was asked to stop: Ctrl-C may reach them in different steps, and a process that
    continues alone would wait for the others for ever.
    """
    if accelerator.num_processes == 1:
        return asked
    return bool(accelerator.reduce(torch.tensor(int(asked), device=accelerator.device), "sum"))


def _ignore_interrupts(worker: int) -> None:
    """Ctrl-C in a terminal reaches the loader's workers too, which the current step still needs."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _drawn(seed: int, step: int, process: int) -> int:
    """The seed of what a network and its losses draw in a step (dropped paths, masks), so that a resumed run
    draws the same.
    """
    return int(np.random.SeedSequence((seed, step, process)).generate_state(1)[0])


def _digest(values: Iterable[NDArray[Any] | None]) -> str:
    """The same for the same arrays, in this order; None is one too."""
    said = hashlib.blake2b(digest_size=8)
    for value in values:
        said.update(b"none" if value is None else np.ascontiguousarray(value).tobytes())
    return said.hexdigest()


def _conditions(objective: Objective, crops: Crops | Resident, network: nn.Module) -> str:
    """What identifies a run besides its numbers: its network, with its weights at the start, and codec, its
    data and augmentation, its losses and its teacher.
    """
    spec, data = objective.spec, crops.dataset
    teacher = objective.teacher.digest if objective.teacher is not None else None
    conditions = {
        "network": [
            spec.model,
            spec.skeleton.name,
            spec.codec,
            spec.size,
            spec.padding,
            spec.colour,
            spec.mean,
            spec.std,
        ],
        "data": [crops.dataset.name, asdict(crops.augment), crops.seed],
        "losses": [
            [
                getattr(term.loss, "__name__", ""),
                term.against,
                term.at,
                getattr(term.schedule, "__name__", ""),
            ]
            for term in objective.terms
        ],
        "teacher": [
            teacher or (crops.pseudo_labels.source if crops.pseudo_labels is not None else None),
            objective.confidence,
        ],
        "labels": _digest(
            (
                data.boxes,
                data.joints,
                data.visible,
                data.weight,
                data.draws,
                data.joints_3d,
                data.confidence_3d,
            )
        ),
        "start": _digest(tensor.detach().float().cpu().numpy() for tensor in network.state_dict().values()),
        "drop path": spec.arguments.get("drop_path", 0),
    }
    return json.dumps(conditions, sort_keys=True)


@dataclass(frozen=True)
class _Done:
    """How far a run is: steps and seconds; the sum and count of the losses since the last row of the log; the
    samples that could not be read.
    """

    step: int = 0
    seconds: float = 0.0
    loss: float = 0.0
    counted: int = 0
    broken: tuple[int, ...] = ()


class LaidOutError(ValueError):
    """A finished run was to continue for longer, but its learning rate was laid out for its end: a new run
    has to start from its weights.
    """


class _OtherRunError(ValueError):
    """The folder holds a run with other settings."""


# What the lists in `_conditions` hold, so that a difference has a name.
HELD = {
    "network": ("network", "skeleton", "codec", "size", "padding", "colour", "mean", "std"),
    "data": ("data", "augment", "seed of the crops"),
    "teacher": ("teacher", "confidence"),
}
LATER = ("labels", "start", "drop path")  # what older states do not tell


def _flat(text: str | None) -> dict[str, Any]:
    """The settings of a run by name, from their JSON; none if it is damaged, which then shows as a
    difference.
    """
    try:
        found = {} if text is None else parse_json(text)
    except ValueError:
        found = {}
    flat: dict[str, Any] = {}
    for name, value in found.items() if isinstance(found, dict) else ():
        if name in HELD and isinstance(value, list) and len(value) == len(HELD[name]):
            flat |= dict(zip(HELD[name], value, strict=True))
        else:
            flat[name] = value
    for name in ("codec", "augment"):
        if isinstance(inner := flat.get(name), dict):
            del flat[name]
            flat |= {f"{name} {key}": value for key, value in inner.items()}
    return flat


def _word(value: object) -> str:
    return "none" if value is None else value if isinstance(value, str) else json.dumps(value)


class _State:
    """All that a run needs to continue: weights, their average, the optimiser's moments and the step, in one
    safetensors file.

    No random state is kept: the order of samples, the augmentation, the rate and what the network draws are
    functions of the step.
    """

    def __init__(
        self,
        path: Path,
        settings: str,
        conditions: str,
        network: nn.Module,
        average: Average | None,
        optimizer: torch.optim.Optimizer,
        training: Training,
        samples: int,
        extensible: bool,
    ) -> None:
        # extensible: no term's weight depends on the run's length
        self.training, self.samples, self.extensible = training, samples, extensible
        self.path, self.settings, self.conditions = path, settings, conditions
        self.network, self.average, self.optimizer = network, average, optimizer

    def save(self, done: _Done) -> None:
        tensors: dict[str, Tensor] = {
            f"network.{name}": tensor for name, tensor in self.network.state_dict().items()
        }
        if self.average is not None:
            tensors |= {
                f"average.{name}": tensor for name, tensor in self.average.network.state_dict().items()
            }
        for parameter, moments in self.optimizer.state_dict()["state"].items():
            tensors |= {
                f"optimizer.{parameter}.{name}": torch.as_tensor(value) for name, value in moments.items()
            }
        metadata = {name: json.dumps(value) for name, value in asdict(done).items()}
        write_tensors(
            self.path, tensors, metadata | {"settings": self.settings, "conditions": self.conditions}
        )

    def load(self) -> _Done:
        """Loads the file into the network, the average and the optimiser; ValueError that names the file if
        it is of another run, or damaged.
        """
        tensors, metadata = read_tensors(self.path)
        before, here = (
            _flat(metadata.get("settings")) | _flat(metadata.get("conditions")),
            _flat(self.settings) | _flat(self.conditions),
        )
        if here and not before:
            raise ValueError(
                f"{self.path}: is damaged (the settings of its run are missing); remove it to begin again, "
                f"or give another --out"
            )
        here = {name: value for name, value in here.items() if name in before or name not in LATER}
        differ = [name for name in dict.fromkeys((*before, *here)) if before.get(name) != here.get(name)]
        belongs = self._belongs(differ, before, here)
        extends = {"epochs"} <= set(differ) <= {"epochs", "milestones"}
        if differ and not extends:
            raise _OtherRunError(belongs)
        try:
            given = {name: parse_json(metadata[name]) for name in asdict(_Done()) if name in metadata}
            if missing := asdict(_Done()).keys() - given.keys():
                raise ValueError(f"it lacks {', '.join(sorted(missing))}")
            done = from_fields(_Done, given)
            if extends:
                self._extend(done.step, before, belongs)
            self._fill(tensors)
        except (LaidOutError, _OtherRunError):
            raise
        except (ValueError, RuntimeError, KeyError, IndexError) as error:
            raise ValueError(
                f"{self.path}: is damaged ({error}); remove it to begin again, or give another --out"
            ) from error
        return done

    def _belongs(self, differ: Sequence[str], before: Mapping[str, Any], here: Mapping[str, Any]) -> str:
        then_and_now = (f"{name} {_word(before.get(name))}, now {_word(here.get(name))}" for name in differ)
        return (
            f"{self.path}: belongs to a run with other settings: {'; '.join(then_and_now)}. Give another --out, "
            f"or remove {self.path.parent} to begin again"
        )

    def _extend(self, step: int, before: Mapping[str, Any], belongs: str) -> None:
        """ValueError where a run of the new length could not continue from this step, because the learning
        rate would jump; a LaidOutError if this run is finished.
        """
        training = self.training
        then = replace(
            training, epochs=float(before["epochs"]), milestones=tuple(map(float, before["milestones"]))
        )
        old, new = then.steps(self.samples), training.steps(self.samples)
        if (
            step <= new
            and self.extensible
            and training.schedule in ("step", "constant")
            and then.rate(step, old) == training.rate(step, new)
        ):
            return
        if old <= step < new:
            raise LaidOutError(
                f"{self.path}: the schedule {training.schedule} of this finished run was laid out for "
                f"--epochs {then.epochs:g}, not {training.epochs:g}"
            )
        raise _OtherRunError(belongs)

    def _fill(self, tensors: dict[str, Tensor]) -> None:
        self.network.load_state_dict(_below(tensors, "network"))
        if self.average is not None:
            self.average.network.load_state_dict(_below(tensors, "average"))
        parameters = [p for group in self.optimizer.param_groups for p in group["params"]]
        moments: dict[int, dict[str, Tensor]] = {}
        for name, tensor in _below(tensors, "optimizer").items():
            parameter, _, moment = name.partition(".")
            like = parameters[int(parameter)]
            # The file is contiguous, the parameters are channels-last: torch's fast kernels need moments in
            # the layout of the parameters.
            laid_out = torch.empty_like(like).copy_(tensor) if tensor.shape == like.shape else tensor
            moments.setdefault(int(parameter), {})[moment] = laid_out
        self.optimizer.load_state_dict(
            {"state": moments, "param_groups": self.optimizer.state_dict()["param_groups"]}
        )


def _below(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {
        name.removeprefix(f"{prefix}."): tensor
        for name, tensor in tensors.items()
        if name.startswith(f"{prefix}.")
    }
