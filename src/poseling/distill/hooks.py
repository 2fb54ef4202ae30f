"""A student in training: the network, forward hooks on its submodules, and adapters that are trained beside
it and are not saved with it.

Hooks are on submodules that all networks of the registry name alike: `features` (the map that the head
reads), `visual_tokens`, `keypoint_tokens`, and "" for the network's own outputs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from poseling.geometry import Size

# From a student's feature and a teacher's, of one image each, to the module from one to the other.
Adapter = Callable[[Tensor, Tensor], nn.Module]


@contextmanager
def watched(network: nn.Module, names: Sequence[str]) -> Iterator[dict[str, Tensor]]:
    """The outputs of the submodules `names` of `network` while the block runs, by name. ValueError for a name
    that the network does not have.

    >>> net = nn.Sequential(nn.Flatten(), nn.Linear(4, 2))
    >>> with watched(net, ["0"]) as seen:
    ...     _ = net(torch.ones(1, 2, 2))
    >>> seen["0"].shape
    torch.Size([1, 4])
    """
    seen: dict[str, Tensor] = {}
    hooks = []
    try:
        for name in names:
            try:
                module = network.get_submodule(name)
            except AttributeError:
                there = [own for own, _ in network.named_children()]
                raise ValueError(
                    f"{type(network).__name__} has no submodule {name!r}; it has {', '.join(there)}"
                ) from None

            def keep(module: nn.Module, inputs: Any, output: Tensor, name: str = name) -> None:
                seen[name] = output

            hooks.append(module.register_forward_hook(keep))
        yield seen
    finally:
        for hook in hooks:
            hook.remove()


class HookedStudent(nn.Module):
    """Images (B, 3, H, W) to the network's outputs and, for each entry of `watch` (a term's name to a
    submodule), the feature there, passed through that term's module in `adapters` where there is one.

    Only the submodule or parameter `only` is trained, where one is named; all else stays as it is, batch
    norms too.
    """

    def __init__(
        self, network: nn.Module, watch: Mapping[str, str], adapters: Mapping[str, nn.Module], only: str = ""
    ) -> None:
        super().__init__()
        self.network, self.adapters, self.watch, self.only = (
            network,
            nn.ModuleDict(adapters),
            dict(watch),
            only,
        )
        if only:
            for name, parameter in network.named_parameters():
                parameter.requires_grad_(name == only or name.startswith(f"{only}."))

    def forward(self, images: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        with watched(self.network, sorted(set(self.watch.values()))) as seen:
            outputs = self.network(images)
        return outputs, {
            term: self.adapters[term](seen[at]) if term in self.adapters else seen[at]
            for term, at in self.watch.items()
        }

    def train(self, mode: bool = True) -> HookedStudent:
        super().train(mode)
        if self.only and mode:
            self.network.eval()
            if self.only in dict(self.network.named_modules()):
                self.network.get_submodule(self.only).train()
        return self


def hooked(
    network: nn.Module,
    size: Size,
    watch: Mapping[str, str],
    adapters: Mapping[str, Adapter],
    teacher: nn.Module | None = None,
    teacher_size: Size | None = None,
    only: str = "",
) -> nn.Module:
    """`network` to be trained at `size` (W, H): itself where nothing is watched and all of it is trained,
    else a `HookedStudent` with `adapters` built for its features and the `teacher`'s. ValueError if one of
    the two lacks a submodule that is watched, or for adapters without a teacher.
    """
    if not watch and not only:
        return network
    built = {}
    if adapters:
        if teacher is None or teacher_size is None:
            raise ValueError(
                f"{', '.join(adapters)}: adapts a student's features to a teacher's, and there is no teacher "
                f"with features; take a teacher that is a checkpoint"
            )
        names = {term: watch[term] for term in adapters}
        mine, theirs = _probe(network, size, names.values()), _probe(teacher, teacher_size, names.values())
        built = {term: make(mine[names[term]], theirs[names[term]]) for term, make in adapters.items()}
    return HookedStudent(network, watch, built, only)


def head_of(network: nn.Module) -> str:
    """The name of the submodule that reads the last features: `head`, or an hourglass's last `score`;
    ValueError if there is neither.
    """
    names = [name for name, _ in network.named_modules() if name == "head" or name.endswith(".score")]
    if not names:
        raise ValueError(f"{type(network).__name__} has no submodule head or score to train again")
    return names[-1]


def new_head(network: nn.Module) -> None:
    """Gives the head random weights."""
    for module in network.get_submodule(head_of(network)).modules():
        if callable(reset := getattr(module, "reset_parameters", None)):
            reset()


def bare(network: nn.Module) -> nn.Module:
    """The network without hooks and adapters, as it is evaluated and saved."""
    return network.network if isinstance(network, HookedStudent) else network


@torch.no_grad()
def _probe(network: nn.Module, size: Size, names: Any) -> dict[str, Tensor]:
    """The submodules' outputs for one black image; the network is left as it was."""
    training = network.training
    like = next(network.parameters())
    with watched(network.eval(), sorted(set(names))) as seen:
        network(like.new_zeros(1, 3, size[1], size[0]))
    network.train(training)
    return seen
