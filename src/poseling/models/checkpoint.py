"""Networks on disk: safetensors with the PoseSpec in the metadata. Written whole or not at all."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save as to_bytes
from torch import Tensor, nn
from torch.nn.modules.module import (
    register_module_buffer_registration_hook,
    register_module_parameter_registration_hook,
)

from poseling.files import write_bytes
from poseling.models import registry
from poseling.models.graph import MODEL, Graph, GraphNetwork
from poseling.spec import KEY, PoseSpec

GRAPH = "graph"  # the metadata entry that holds an imported network's operations as JSON
SLACK = 1_000_000  # values: a network that is slightly too large is reported by the weights that are missing


def save(path: Path, network: nn.Module, spec: PoseSpec) -> None:
    """Writes the weights and their contract to `path`, atomically; of a `GraphNetwork` its operations too.
    ValueError if the contract is of the other kind.
    """
    metadata = {KEY: spec.to_json()}
    if isinstance(network, GraphNetwork) != (spec.model == MODEL):
        raise ValueError(
            f"{path}: a {type(network).__name__} is no network of the model {spec.model!r} that its PoseSpec "
            f"names"
        )
    if isinstance(network, GraphNetwork):
        metadata[GRAPH] = network.graph.to_json()
    write_tensors(path, network.state_dict(), metadata)


def load(path: Path, network: nn.Module | None = None) -> tuple[nn.Module, PoseSpec]:
    """The network, in eval mode on the CPU, and its contract. A file of a module of one's own says only what
    the module is called: give it as `network`, and the weights are put into it. ValueError that names the
    file if it is cut, foreign or does not fit.
    """
    tensors, metadata = read_tensors(path)
    if KEY not in metadata:
        raise ValueError(
            f"{path}: is a safetensors file without a PoseSpec; only networks that poseling saved can be "
            f"loaded as a checkpoint"
        )
    try:
        spec = PoseSpec.from_json(metadata[KEY])
        with at_most(SLACK + 2 * sum(tensor.numel() for tensor in tensors.values())):
            network = _built(spec, metadata) if network is None else network
    except TooManyError as error:
        raise ValueError(
            f"{path}: the weights do not fit {spec.model} with {len(spec.skeleton)} joints: {error}"
        ) from error
    except (
        ValueError,
        RuntimeError,
        OverflowError,
        ZeroDivisionError,
    ) as error:  # torch has its own words for a size that cannot be
        raise ValueError(f"{path}: {error}") from error
    try:
        network.load_state_dict(tensors)
    except RuntimeError as error:
        raise ValueError(
            f"{path}: the weights do not fit {spec.model} with {len(spec.skeleton)} joints: {error}"
        ) from error
    return network.eval(), spec


def _built(spec: PoseSpec, metadata: Mapping[str, str]) -> nn.Module:
    """The network that the contract names, with random weights."""
    if spec.model != MODEL:
        try:
            return registry.build(spec.model, len(spec.skeleton), spec.size)
        except ValueError as error:
            if registry.is_name(spec.model):
                raise
            raise ValueError(f"{error}; a module of one's own: checkpoint.load(path, network)") from error
    if GRAPH not in metadata:
        raise ValueError(
            "its network is a graph, and the operations are missing; take an earlier checkpoint or import it "
            "again"
        )
    graph = Graph.from_json(metadata[GRAPH])
    try:
        return GraphNetwork(graph)
    except (KeyError, TypeError) as error:
        raise ValueError(
            f"an operation of its graph lacks what it needs ({error!r}); import it again"
        ) from error


class TooManyError(ValueError):
    """A network that is being built has more values than it may."""


@contextmanager
def at_most(values: int) -> Iterator[None]:
    """Networks built in this block have no more values than that, or TooManyError is raised when the first is
    too many: before there is room for it, and before the next layer is thought of. What a file's spec asks
    for cannot be more than the file holds.
    """
    counted = 0

    def count(_: nn.Module, name: str, tensor: Tensor | None) -> None:
        nonlocal counted
        counted += 0 if tensor is None else tensor.numel()
        if counted > values:
            raise TooManyError(f"it has more than {values} values, which the file does not have")

    hooks = (
        register_module_parameter_registration_hook(count),
        register_module_buffer_registration_hook(count),
    )
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def write_tensors(path: Path, tensors: Mapping[str, Tensor], metadata: dict[str, str]) -> None:
    """Tensors and strings to a safetensors file: written beside `path`, flushed, then renamed, so that a
    crash leaves the old file or the new.
    """
    write_bytes(
        path, to_bytes({name: t.detach().cpu().contiguous() for name, t in tensors.items()}, metadata)
    )


def read_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """The tensors and the metadata of a safetensors file; ValueError that names the file if it is cut or
    something else.
    """
    if path.is_dir():
        raise IsADirectoryError(
            f"{path}: is a folder; name the checkpoint in it, such as {path / 'student.safetensors'}"
        )
    try:
        with safe_open(path, "pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}, dict(file.metadata() or {})  # noqa: SIM118  # it is no dict
    except FileNotFoundError:
        raise FileNotFoundError(f"{path}: there is no such checkpoint") from None
    except SafetensorError as error:
        raise ValueError(
            f"{path}: is cut short or no safetensors file ({error}); take an earlier checkpoint or write it "
            f"again"
        ) from error
