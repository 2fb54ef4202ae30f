"""Networks on disk: safetensors with the PoseSpec in the metadata. Written whole or not at all."""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as to_bytes
from torch import Tensor, nn

from poseling.files import write_bytes
from poseling.models import hourglass, zoo
from poseling.models.graph import MODEL, Graph, GraphNetwork
from poseling.spec import KEY, PoseSpec

GRAPH = "graph"  # the metadata entry that holds an imported network's operations as JSON


def save(path: Path, network: nn.Module, spec: PoseSpec) -> None:
    """Writes the weights and their contract to `path`, atomically; of a `GraphNetwork` its operations too. ValueError if the contract is of the other kind."""
    metadata = {KEY: spec.to_json()}
    if isinstance(network, GraphNetwork) != (spec.model == MODEL):
        raise ValueError(f"{path}: a {type(network).__name__} is no network of the model {spec.model!r} that its PoseSpec names")
    if isinstance(network, GraphNetwork):
        metadata[GRAPH] = network.graph.to_json()
    write_tensors(path, network.state_dict(), metadata)


def load(path: Path) -> tuple[nn.Module, PoseSpec]:
    """The network, in eval mode on the CPU, and its contract. ValueError that names the file if it is cut, foreign or does not fit."""
    tensors, metadata = read_tensors(path)
    if KEY not in metadata:
        raise ValueError(f"{path}: is a safetensors file without a PoseSpec; only networks that poseling saved can be loaded as a checkpoint")
    try:
        spec = PoseSpec.from_json(metadata[KEY])
        network = _built(spec, metadata)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    try:
        network.load_state_dict(tensors)
    except RuntimeError as error:
        raise ValueError(f"{path}: the weights do not fit {spec.model} with {len(spec.skeleton)} joints: {error}") from error
    return network.eval(), spec


def _built(spec: PoseSpec, metadata: Mapping[str, str]) -> nn.Module:
    """The network that the contract names, with random weights."""
    if spec.model != MODEL:
        return zoo.build(spec.model, len(spec.skeleton), spec.size)
    if GRAPH not in metadata:
        raise ValueError("its network is a graph, and the operations are missing; take an earlier checkpoint or import it again")
    graph = Graph.from_json(metadata[GRAPH])
    try:
        return GraphNetwork(graph)
    except (KeyError, TypeError) as error:
        raise ValueError(f"an operation of its graph lacks what it needs ({error!r}); import it again") from error


def load_fpd(path: Path, name: str, joints: int) -> nn.Module:
    """An hourglass from a checkpoint of FPD's authors (a torch file of a state dict, or of a dict that holds one as `state_dict`).

    FileNotFoundError, or ValueError that names the file if it is cut, holds more than tensors, or is of another network.
    """
    network = zoo.build(name, joints)
    if not isinstance(network, hourglass.Hourglass):
        raise ValueError(f"{name} is no hourglass; the authors' checkpoints hold hourglasses")
    if not path.is_file():
        raise FileNotFoundError(f"{path}: there is no such checkpoint")
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, KeyError, OSError) as error:
        raise ValueError(f"{path}: is cut short or no torch file of plain tensors ({error})") from error
    if not isinstance(state, dict):
        raise ValueError(f"{path}: holds a {type(state).__name__}, no state dict")
    try:
        network.load_state_dict(hourglass.from_fpd(state.get("state_dict", state)))
    except (ValueError, RuntimeError) as error:
        raise ValueError(f"{path}: the weights do not fit {name} with {joints} joints: {error}") from error
    return network.eval()


def write_tensors(path: Path, tensors: Mapping[str, Tensor], metadata: dict[str, str]) -> None:
    """Tensors and strings to a safetensors file: written beside `path`, flushed, then renamed, so that a crash leaves the old file or the new."""
    write_bytes(path, to_bytes({name: t.detach().cpu().contiguous() for name, t in tensors.items()}, metadata))


def read_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """The tensors and the metadata of a safetensors file; ValueError that names the file if it is cut or something else."""
    try:
        with safe_open(path, "pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}, dict(file.metadata() or {})  # noqa: SIM118  # it is no dict
    except FileNotFoundError:
        raise FileNotFoundError(f"{path}: there is no such checkpoint") from None
    except SafetensorError as error:
        raise ValueError(f"{path}: is cut short or no safetensors file ({error}); take an earlier checkpoint or write it again") from error
