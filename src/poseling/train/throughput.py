"""The speed of training: images per second of several ways to train the same network, measured in turn, so
that other load on the machine slows all alike.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Mapping

import torch
from accelerate import Accelerator
from torch import nn

from poseling.data.loader import Crops
from poseling.data.resident import Resident
from poseling.distill.objective import Objective
from poseling.train import optim
from poseling.train.loop import stream
from poseling.train.optim import Training

ENDLESS = 1 << 40  # more steps than are ever run


def stepper(
    network: nn.Module,
    objective: Objective,
    crops: Crops | Resident,
    training: Training,
    accelerator: Accelerator,
    workers: int = 0,
) -> Callable[[], None]:
    """A function that does one whole training step of a copy of `network`, loading included; with `workers`,
    which load ahead, it cannot be measured in turn with another.
    """
    student = copy.deepcopy(network).to(accelerator.device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    student, optimizer = accelerator.prepare(student, optim.optimizer(student, training))
    student.train()
    batches = iter(stream(crops, 0, ENDLESS, training.batch, accelerator, workers))

    def step() -> None:
        accelerator.backward(objective(student, next(batches))["loss"])
        optimizer.step()
        optimizer.zero_grad()
        if accelerator.device.type == "cuda":
            torch.cuda.synchronize()

    return step


def throughput(
    steps: Mapping[str, Callable[[], object]],
    images: int,
    rounds: int = 5,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, list[float]]:
    """Images per second of each function of `steps`, which handles `images` in a call: one call of each in
    turn, `rounds` times, after a round that is not counted.

    >>> ticks = iter([0.0, 1.0, 1.0, 5.0, 5.0, 7.0, 7.0, 11.0])
    >>> throughput({"a": lambda: None, "b": lambda: None}, 8, rounds=1, clock=lambda: next(ticks))
    {'a': [4.0], 'b': [2.0]}
    """
    found: dict[str, list[float]] = {name: [] for name in steps}
    for turn in range(rounds + 1):
        for name, step in steps.items():
            start = clock()
            step()
            seconds = clock() - start
            if turn:
                found[name].append(images / seconds)
    return found
