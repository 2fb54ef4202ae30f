"""How a network is trained: the numbers of one run, the optimiser, and the learning rate as a function of the
step.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import nn

from poseling.distill.hooks import bare


@dataclass(frozen=True)
class Training:
    """The numbers of one run.

    epochs: passes over the samples; batch: samples a step over all processes; learning_rate at its highest;
    schedule: `step` (a tenth after each of `milestones`, parts of the run), `one_cycle` (cosine up and down),
    `cosine`, or `constant`; warmup: steps over which the rate rises in a line, not for `one_cycle`;
    layer_decay: the rate of each `depth` of a network over that of the next deeper one, where it has depths
    (`optimizer`); clip: the largest gradient norm, 0 for none; ema: the decay of the averaged weights that
    are evaluated and saved, 0 for none; save_every: steps between checkpoints of the run.
    """

    epochs: float = 140
    batch: int = 32
    learning_rate: float = 2.5e-4
    optimizer: Literal["adam", "adamw", "rmsprop"] = "adam"
    weight_decay: float = 0.0
    schedule: Literal["step", "one_cycle", "cosine", "constant"] = "step"
    milestones: tuple[float, ...] = (90 / 140, 120 / 140)
    warmup: int = 0
    layer_decay: float = 1.0
    clip: float = 0.0
    ema: float = 0.0
    save_every: int = 200
    seed: int = 0

    def __post_init__(self) -> None:
        for name, low in (("epochs", 0), ("batch", 0), ("learning_rate", 0), ("save_every", 0)):
            if not low < getattr(self, name) < math.inf:
                raise ValueError(f"{name} is {getattr(self, name)}; it has to be above {low}")
        if not 0 <= self.ema < 1:
            raise ValueError(f"ema is {self.ema}; it is a decay, such as 0.999, or 0 for none")

    def steps(self, samples: int) -> int:
        """The number of steps of a run over so many samples."""
        return max(1, round(self.epochs * samples / self.batch))

    def rate(self, step: int, steps: int) -> float:
        """The learning rate of a step, a function of the step alone, so that resuming needs no state.

        >>> [Training(learning_rate=1.0).rate(step, 140) for step in (0, 90, 120)]
        [1.0, 0.1, 0.01]
        """
        done = step / steps
        if self.schedule == "one_cycle":
            rise = 0.3  # Smith and Topin 2018, as torch's OneCycleLR: up from 1/25, then down to 0
            if done < rise:
                return self.learning_rate * (0.04 + 0.96 * 0.5 * (1 - math.cos(math.pi * done / rise)))
            return self.learning_rate * 0.5 * (1 + math.cos(math.pi * (done - rise) / (1 - rise)))
        ramp = min(1.0, (step + 1) / self.warmup) if self.warmup else 1.0
        if self.schedule == "step":
            return self.learning_rate * ramp * float(f"1e-{sum(done >= m - 1e-9 for m in self.milestones)}")
        return (
            self.learning_rate
            * ramp
            * (0.5 * (1 + math.cos(math.pi * done)) if self.schedule == "cosine" else 1.0)
        )


def optimizer(network: nn.Module, training: Training) -> torch.optim.Optimizer:
    """The optimiser; weight decay only on weights of two dimensions and more, because it harms norms and
    biases.

    A group's `scale` is what the loop multiplies its rate by: with a layer decay d, d^(D - i) for parameters
    at depth i of 0..D, the head at D (as ViTPose, after BEiT: Bao et al., ICLR 2022). ValueError for a network
    without `depths`.
    """
    scales = {name: 1.0 for name, _ in network.named_parameters()}
    if training.layer_decay != 1:
        known = depths(network)
        if known is None:
            raise ValueError(
                f"layer_decay {training.layer_decay:g} is for networks with a depth for each layer, vision "
                f"transformers; set it to 1"
            )
        scales = {name: training.layer_decay ** (max(known.values()) - at) for name, at in known.items()}
    named = list(network.named_parameters())
    rows = []
    for scale in sorted(set(scales.values()), reverse=True):
        here = [parameter for name, parameter in named if scales[name] == scale]
        for decay, parameters in (
            (training.weight_decay, [p for p in here if p.ndim > 1]),
            (0.0, [p for p in here if p.ndim <= 1]),
        ):
            rows.append({"params": parameters, "weight_decay": decay, "scale": scale})
    return OPTIMIZERS[training.optimizer](rows, lr=training.learning_rate)


def depths(network: nn.Module) -> dict[str, int] | None:
    """How deep each parameter lies, as the network's method `depth` says, adapters of its features as deep as
    its head; None where it has no such method.
    """
    inner = bare(network)
    if not callable(depth := getattr(inner, "depth", None)):
        return None
    found = {name: depth(name) for name, _ in inner.named_parameters()}
    if inner is network:
        return found
    deepest = max(found.values())
    return {name: found.get(name.removeprefix("network."), deepest) for name, _ in network.named_parameters()}


class Average:
    """The averaged weights of a network: after step t they have moved towards its own by 1 - d, d the smaller
    of `decay` and (1 + t) / (10 + t), so that a short run does not end near its start. Integer buffers, such
    as batch norm's counters, are copied.
    """

    def __init__(self, network: nn.Module, decay: float) -> None:
        self.decay = decay
        self.network = copy.deepcopy(network).requires_grad_(False)

    @torch.no_grad()
    def update(self, network: nn.Module, step: int) -> None:
        """To be called after each step; the first is `step` 0."""
        mine, theirs = ([*net.parameters(), *net.buffers()] for net in (self.network, network))
        floats = [i for i, tensor in enumerate(mine) if tensor.is_floating_point()]
        decay = min(self.decay, (1 + step) / (10 + step))
        torch._foreach_lerp_([mine[i] for i in floats], [theirs[i] for i in floats], 1 - decay)
        for old, new in zip(mine, theirs, strict=True):
            if not old.is_floating_point():
                old.copy_(new)


OPTIMIZERS: dict[str, Callable[..., torch.optim.Optimizer]] = {
    "adam": torch.optim.Adam,
    "adamw": torch.optim.AdamW,
    "rmsprop": torch.optim.RMSprop,
}
