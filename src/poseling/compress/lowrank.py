"""Low rank: a layer as two or three thinner ones, whose product is nearly its weight.

| form | of | becomes | source |
|---|---|---|---|
| svd | 1x1 convolutions, linear layers | in -> r -> out | Denton et al., NeurIPS 2014, arXiv 1404.0736 |
| bank | k x k convolutions | k x 1 to r, then 1 x k: a filter bank | Jaderberg et al., BMVC 2014, arXiv 1405.3866, scheme 2 |
| tucker | k x k convolutions | 1x1 to r1, k x k to r2, 1x1 | Kim et al., ICLR 2016, arXiv 1511.06530 |
| cp | k x k convolutions | 1x1 to r, k x 1 and 1 x k by channel, 1x1 | Lebedev et al., ICLR 2015, arXiv 1412.6553 |

At full rank all but cp are exact. A layer whose factors would take as much work as itself is left as it is,
and listed: depthwise convolutions, which have nothing to factorise, always are.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from poseling.geometry import Size
from poseling.models.graph import GraphNetwork, Operation

By = Literal["work", "energy", "vbmf"]
Form = Literal["svd", "bank", "tucker", "cp"]
KERNELS: tuple[Form, ...] = ("bank", "tucker")  # what k x k convolutions may become, whichever loses least
WORTH = 0.95  # of a layer's work: factors that take more are not worth an operation more
STEP = 8  # of the ranks that are tried
SWEEPS = 60  # of alternating least squares, for cp


@dataclass(frozen=True)
class Row:
    """What became of a layer: its form and ranks, "" where it was left and `why`; its multiply-accumulates
    before and now; the part of its weight's energy (the sum of squares) that the factors have.
    """

    layer: str
    form: str
    ranks: tuple[int, ...]
    macs: tuple[int, int]
    energy: float
    why: str = ""


@dataclass(frozen=True)
class Factorised:
    """The network in factors, what became of each layer, and its multiply-accumulates over those of before."""

    network: GraphNetwork
    rows: tuple[Row, ...]
    macs: float


@dataclass(frozen=True)
class Option:
    """One way to write a layer: its form, ranks, multiply-accumulates, and the part of the energy that it
    keeps.
    """

    form: Form
    ranks: tuple[int, ...]
    macs: int
    energy: float


def factorised(
    network: GraphNetwork,
    size: Size,
    amount: float = 0.7,
    by: By = "work",
    kernels: Sequence[Form] = KERNELS,
    only: Sequence[str] = (),
) -> Factorised:
    """`network` with its layers in factors, for images of `size` (W, H).

    `by` work: ranks such that `amount` of all multiply-accumulates stay, every layer keeping about the same
    part of its energy. By energy: each layer keeps that part of it. By vbmf: ranks as `vbmf` finds them,
    whatever the amount. `only` these layers, all if none is named. ValueError for an amount that is not above
    0 and at most 1, for layers that are not there, and where so little work cannot be reached.
    """
    if not 0 < amount <= 1:
        raise ValueError(
            f"--low-rank {amount:g}: is the part that stays, above 0 and at most 1; rank 0 would be no layer "
            f"at all"
        )
    names = {o.layer for o in network.graph.operations if o.layer}
    if missing := [name for name in only if name not in names]:
        raise ValueError(
            f"the network has no layer {missing[0]!r}; it has {', '.join(sorted(names)[:8])}, ..."
        )
    shapes = network.shapes(size)
    layers = [
        _Layer(network, o, shapes)
        for o in network.graph.operations
        if o.kind in ("Conv", "ConvTranspose", "Linear")
    ]
    total = sum(layer.macs for layer in layers)
    options: dict[str, list[Option]] = {}
    why: dict[str, str] = {}
    for layer in layers:
        reason = layer.refused(network) or ("not asked for" if only and layer.name not in only else "")
        if reason:
            why[layer.name] = reason
        elif by == "vbmf":
            options[layer.name] = [
                option for form in layer.forms(kernels) if (option := layer.by_vbmf(form)) is not None
            ]
        else:
            options[layer.name] = [option for form in layer.forms(kernels) for option in layer.options(form)]

    def taken(energy: float) -> dict[str, Option]:
        found = {}
        for layer in layers:
            good = [
                o for o in options.get(layer.name, ()) if o.energy >= energy and o.macs <= WORTH * layer.macs
            ]
            if good:
                found[layer.name] = min(good, key=lambda o: (o.macs, -o.energy))
        return found

    def work(choice: Mapping[str, Option]) -> int:
        return sum(choice[layer.name].macs if layer.name in choice else layer.macs for layer in layers)

    if by == "work":
        low, high = 0.0, 1.0  # the energy that is kept: none reaches the least work, all the most
        if work(taken(low)) > amount * total:
            least = work(taken(low)) / total
            raise ValueError(
                f"--low-rank {amount:g}: {least:.2f} of the work stays even at the lowest ranks; ask for "
                f"more than that"
            )
        for _ in range(30):
            middle = (low + high) / 2
            low, high = (middle, high) if work(taken(middle)) <= amount * total else (low, middle)
        choice = taken(low)
    else:
        choice = taken(amount if by == "energy" else 0.0)
    rows = []
    for layer in layers:
        if layer.name in choice:
            one = choice[layer.name]
            rows.append(Row(layer.name, one.form, one.ranks, (layer.macs, one.macs), one.energy))
        else:
            rows.append(
                Row(
                    layer.name,
                    "",
                    (),
                    (layer.macs, layer.macs),
                    1.0,
                    why.get(layer.name, "its factors take as much work"),
                )
            )
    return Factorised(_rewritten(network, layers, choice), tuple(rows), work(choice) / total)


class _Layer:
    """A layer that may be factorised, its weight as (out, in, kh, kw), and the sizes of its maps."""

    def __init__(
        self, network: GraphNetwork, operation: Operation, shapes: Mapping[str, tuple[int, ...]]
    ) -> None:
        self.operation, self.name, self.linear = operation, operation.layer, operation.kind == "Linear"
        self.groups = int(operation.attributes.get("groups", 1))
        state = network.layers[self.name].state_dict()
        weight = state["weight"].double()
        self.bias: Tensor | None = state.get("bias")
        self.weight = weight[..., None, None] if self.linear else weight
        given, made = shapes[operation.inputs[0]], shapes[operation.outputs[0]]
        if self.linear:
            self.before = self.after = (math.prod(made[:-1]), 1)
        else:
            self.before, self.after = (given[2], given[3]), (made[2], made[3])
        pixels = self.before if operation.kind == "ConvTranspose" else self.after
        self.macs = math.prod(pixels) * self.weight.numel()
        self._found: dict[str, Any] = {}

    def refused(self, network: GraphNetwork) -> str:
        """Why it is not factorised, "" if it may be."""
        if self.operation.kind == "ConvTranspose":
            return "a transposed convolution"
        if self.groups > 1:
            depthwise = self.groups == self.operation.attributes["channels"][0]
            return "depthwise, which has nothing to factorise" if depthwise else "in groups"
        if sum(o.layer == self.name for o in network.graph.operations) > 1:
            return "shares its weights"
        return ""

    @property
    def kernel(self) -> tuple[int, int]:
        """(kh, kw)."""
        return int(self.weight.shape[2]), int(self.weight.shape[3])

    def forms(self, kernels: Sequence[Form]) -> tuple[Form, ...]:
        """The forms that it can take."""
        return ("svd",) if self.kernel == (1, 1) else tuple(kernels)

    def matrix(self, form: Form) -> Tensor:
        """The weight as a matrix whose rank is cut: of `svd` (out, in), of `bank` (in kh, out kw)."""
        if form == "svd":
            return self.weight.flatten(1)
        out, given, kh, kw = self.weight.shape
        return self.weight.permute(1, 2, 0, 3).reshape(given * kh, out * kw)

    def values(self, form: Form) -> tuple[Tensor, Tensor, Tensor]:
        """The singular value decomposition of that matrix."""
        if form not in self._found:
            self._found[form] = torch.linalg.svd(self.matrix(form), full_matrices=False)
        return self._found[form]

    def sides(self) -> tuple[Tensor, Tensor, Tensor]:
        """Of `tucker`: the bases of the output's and of the input's channels, and the core (out, in, kh, kw)
        between them.
        """
        if "tucker" not in self._found:
            out, given = self.weight.shape[:2]
            left = torch.linalg.svd(self.weight.reshape(out, -1), full_matrices=False)[0]
            right = torch.linalg.svd(self.weight.transpose(0, 1).reshape(given, -1), full_matrices=False)[0]
            core = torch.einsum("oihw,oa,ib->abhw", self.weight, left, right)
            self._found["tucker"] = (left, right, core)
        return self._found["tucker"]

    def work(self, form: Form, ranks: tuple[int, ...]) -> int:
        """Multiply-accumulates in this form."""
        out, given, kh, kw = self.weight.shape
        (hb, wb), (ha, wa) = self.before, self.after
        if form == "svd":
            return ranks[0] * (given * ha * wa + out * ha * wa)  # a stride is taken first
        if form == "bank":
            return ranks[0] * (given * kh * ha * wb + out * kw * ha * wa)
        if form == "tucker":
            r1, r2 = ranks
            return given * r1 * hb * wb + r1 * r2 * kh * kw * ha * wa + r2 * out * ha * wa
        return ranks[0] * (given * hb * wb + kh * ha * wb + kw * ha * wa + out * ha * wa)

    def options(self, form: Form) -> Iterator[Option]:
        """All ranks that take less work than the layer itself, in steps."""
        if form == "tucker":
            yield from self._tucker_options()
            return
        if form == "cp":
            yield from self._cp_options()
            return
        energy = self.values(form)[1].square().cumsum(0)
        energy = energy / energy[-1].clamp(min=1e-300)
        for rank in _steps(len(energy)):
            if (macs := self.work(form, (rank,))) <= WORTH * self.macs:
                yield Option(form, (rank,), macs, float(energy[rank - 1]))

    def _tucker_options(self) -> Iterator[Option]:
        core = self.sides()[2].square().sum((2, 3))
        energy = (core.cumsum(0).cumsum(1) / core.sum().clamp(min=1e-300)).numpy()
        for r2 in _steps(energy.shape[0]):
            for r1 in _steps(energy.shape[1]):
                if (macs := self.work("tucker", (r1, r2))) <= WORTH * self.macs:
                    yield Option("tucker", (r1, r2), macs, float(energy[r2 - 1, r1 - 1]))

    def _cp_options(self) -> Iterator[Option]:
        top = int(WORTH * self.macs / self.work("cp", (1,)))
        for part in (0.25, 0.5, 1.0):  # each is a fit of its own
            if (rank := int(part * top)) > 0:
                factors = self.cp(rank)
                whole = torch.einsum("or,ir,hr,wr->oihw", *factors)
                energy = 1 - float((whole - self.weight).square().sum() / self.weight.square().sum())
                yield Option("cp", (rank,), self.work("cp", (rank,)), energy)

    def cp(self, rank: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Factors (out, r), (in, r), (kh, r), (kw, r) by alternating least squares. ImportError if tensorly
        is not installed.
        """
        key = f"cp {rank}"
        if key not in self._found:
            from tensorly.decomposition import parafac

            start = parafac(self.weight.numpy(), rank, n_iter_max=SWEEPS, init="random", random_state=0)
            scales, factors = start
            parts = [torch.from_numpy(np.ascontiguousarray(f)) for f in factors]
            parts[0] = parts[0] * torch.from_numpy(np.asarray(scales))
            self._found[key] = tuple(parts)
        return self._found[key]

    def by_vbmf(self, form: Form) -> Option | None:
        """The ranks that `vbmf` finds; None where it finds nothing but noise, or for `cp`, of which it says
        nothing.
        """
        if form == "cp":
            return None
        if form == "tucker":
            out, given = self.weight.shape[:2]
            r2 = vbmf(self.weight.reshape(out, -1).numpy())
            r1 = vbmf(self.weight.transpose(0, 1).reshape(given, -1).numpy())
            if not r1 or not r2:
                return None
            core = self.sides()[2].square().sum((2, 3))
            return Option(form, (r1, r2), self.work(form, (r1, r2)), float(core[:r2, :r1].sum() / core.sum()))
        rank = vbmf(self.matrix(form).numpy())
        if not rank:
            return None
        squares = self.values(form)[1].square()
        return Option(form, (rank,), self.work(form, (rank,)), float(squares[:rank].sum() / squares.sum()))

    def written(self, option: Option) -> tuple[list[Operation], dict[str, Tensor]]:
        """The operations that stand for it, and their weights by the name of the layer and of the tensor."""
        out, given, kh, kw = self.weight.shape
        a, form, ranks = self.operation.attributes, option.form, option.ranks
        if form == "svd":
            u, s, v = self.values("svd")
            root = s[: ranks[0]].sqrt()
            first = (root[:, None] * v[: ranks[0]])[..., None, None]
            second = (u[:, : ranks[0]] * root)[..., None, None]
            plan = [(first, "both", 1), (second, "", 1)]
        elif form == "bank":
            u, s, v = self.values("bank")
            root = s[: ranks[0]].sqrt()
            first = (u[:, : ranks[0]] * root).reshape(given, kh, -1).permute(2, 0, 1)[..., None]
            second = (root[:, None] * v[: ranks[0]]).reshape(-1, out, kw).permute(1, 0, 2)[:, :, None]
            plan = [(first, "y", 1), (second, "x", 1)]
        elif form == "tucker":
            left, right, core = self.sides()
            r1, r2 = ranks
            plan = [
                (right[:, :r1].T[..., None, None], "", 1),
                (core[:r2, :r1], "both", 1),
                (left[:, :r2][..., None, None], "", 1),
            ]
        else:
            out_side, in_side, high, wide = self.cp(ranks[0])
            rank = ranks[0]
            plan = [
                (in_side.T[..., None, None], "", 1),
                (high.T[:, None, :, None], "y", rank),
                (wide.T[:, None, None, :], "x", rank),
                (out_side[..., None, None], "", 1),
            ]
        operations, state = [], {}
        value = self.operation.inputs[0]
        for i, (weight, moves, groups) in enumerate(plan):
            last = i == len(plan) - 1
            name, result = (
                f"{self.name}_{i + 1}",
                self.operation.outputs[0] if last else f"{self.operation.outputs[0]}/factor_{i + 1}",
            )
            bias = last and self.bias is not None
            if self.linear:
                made: dict[str, Any] = {
                    "layer": name,
                    "channels": [weight.shape[1], weight.shape[0]],
                    "bias": bias,
                }
                weight = weight[..., 0, 0]
            else:
                made = {**a, **_geometry(a, moves), "layer": name, "groups": groups, "bias": bias}
                made["channels"] = [weight.shape[1] * groups, weight.shape[0]]
                made["kernel"] = [weight.shape[2], weight.shape[3]]
            operations.append(Operation(self.operation.kind, (value,), (result,), made))
            state[f"layers.{name}.weight"] = weight.float().contiguous()
            if bias and self.bias is not None:
                state[f"layers.{name}.bias"] = self.bias
            value = result
        return operations, state


def _geometry(a: Mapping[str, Any], moves: str) -> dict[str, Any]:
    """Strides, pads and dilations of a factor that moves along y, x, both or neither."""
    top, left, bottom, right = a["pads"]
    y, x = moves in ("y", "both"), moves in ("x", "both")
    return {
        "strides": [a["strides"][0] if y else 1, a["strides"][1] if x else 1],
        "pads": [top if y else 0, left if x else 0, bottom if y else 0, right if x else 0],
        "dilations": [a["dilations"][0] if y else 1, a["dilations"][1] if x else 1],
    }


def _steps(full: int) -> list[int]:
    """Ranks up to the full one."""
    return [*range(STEP, full, STEP), full] if full > STEP else list(range(1, full + 1))


def _rewritten(network: GraphNetwork, layers: Sequence[_Layer], choice: Mapping[str, Option]) -> GraphNetwork:
    if not choice:
        return network
    written = {layer.name: layer.written(choice[layer.name]) for layer in layers if layer.name in choice}
    operations: list[Operation] = []
    for operation in network.graph.operations:
        operations += written[operation.layer][0] if operation.layer in written else [operation]
    found = GraphNetwork(replace(network.graph, operations=tuple(operations)))
    state = {name: tensor for name, tensor in network.state_dict().items() if name in found.state_dict()}
    for _, tensors in written.values():
        state |= tensors
    found.load_state_dict(state)
    return found.train(network.training)


def vbmf(matrix: NDArray[np.float64]) -> int:
    """The rank of a matrix (L, M) once Gaussian noise of unknown strength is taken off.

    The global analytic solution of empirical variational Bayesian matrix factorisation: Nakajima, Sugiyama,
    Babacan and Tomioka, JMLR 14 (2013), theorem 2, and its corollary for the noise.

    >>> random = np.random.default_rng(0)
    >>> signal = random.normal(size=(40, 3)) @ random.normal(size=(3, 60))
    >>> vbmf(signal + 0.1 * random.normal(size=(40, 60)))
    3

    """
    from scipy.optimize import minimize_scalar

    rows, columns = sorted(matrix.shape)
    squares = np.linalg.svd(matrix, compute_uv=False) ** 2
    if squares[0] < 1e-20:
        return 0
    alpha = rows / columns
    least = 2.5129 * math.sqrt(alpha)  # of a signal that is told from noise, in the paper's units
    above = (1 + least) * (1 + alpha / least)

    def strength(x: NDArray[np.float64]) -> NDArray[np.float64]:
        part = x - (1 + alpha)
        return 0.5 * (part + np.sqrt(np.maximum(part**2 - 4 * alpha, 0)))

    def evidence(log_noise: float) -> float:
        """The free energy, less what does not change with the noise."""
        x = np.maximum(squares / (columns * math.exp(log_noise)), 1e-300)
        signal, rest = x[x > above], x[x <= above]
        t = strength(signal)
        told = np.log((t + 1) / signal) + alpha * np.log(t / alpha + 1) + signal - t
        return float((rest - np.log(rest)).sum() + told.sum())

    most = min(math.ceil(rows / (1 + alpha)) - 1, rows - 1)
    upper = squares.sum() / (rows * columns)
    tail = squares[most:]
    lower = max(float(squares[most]) / (columns * above), float(tail.mean()) / columns, 1e-12 * upper)
    if lower >= upper:
        return int((squares > columns * upper * above).sum())
    noise = math.exp(minimize_scalar(evidence, bounds=(math.log(lower), math.log(upper)), method="bounded").x)
    return int((squares > columns * noise * above).sum())
