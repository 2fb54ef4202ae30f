"""Where a student comes from: an architecture's name, with random weights, or a trained network, which it
then starts from: a file, or one of those that ship, by name.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

from torch import nn

from poseling import zoo
from poseling.codecs import FEATURES
from poseling.geometry import Size
from poseling.models import checkpoint, registry
from poseling.models.graph import GraphNetwork
from poseling.models.importers.onnx import from_onnx
from poseling.skeleton import Skeleton
from poseling.spec import PoseSpec

SUFFIX = ".safetensors"


def is_file(name: str) -> bool:
    """Whether a student is a trained network to start from rather than an architecture's name."""
    return name.endswith(SUFFIX) or zoo.is_name(name)


def contract(name: str) -> PoseSpec | None:
    """The contract of the trained network `name`, None for an architecture's name. FileNotFoundError, or
    ValueError that names the file if it holds no network.
    """
    return _contract(name) if is_file(name) else None


def codec_of(name: str) -> str:
    """The name of the codec that reads its outputs. ValueError if it is a file of a network without a head."""
    spec = contract(name)
    if spec is None:
        return registry.codec_of(name)
    if spec.codec["name"] == FEATURES:
        raise ValueError(
            f"{name}: gives features and no joints; put a head on it first (GraphNetwork.with_head), as "
            f"docs/models.md shows"
        )
    return str(spec.codec["name"])


def build(name: str, skeleton: Skeleton, size: Size) -> nn.Module:
    """The network for this skeleton and images of `size` (W, H): with random weights, or as the file has it.

    An imported graph's last convolution is made anew for the skeleton, from the channels of the joints that
    it had. ValueError that names the file if its joints are others and it is no such graph, or if it does not
    take inputs of this size.
    """
    if not is_file(name):
        return registry.build(name, len(skeleton), size)
    network, spec = _loaded(name)
    if isinstance(network, GraphNetwork):
        try:
            return (
                network.at(size)
                if spec.skeleton == skeleton
                else network.at(size).with_joints(spec.skeleton, skeleton)
            )
        except ValueError as error:
            raise ValueError(f"{name}: {error}") from error
    if spec.skeleton != skeleton:
        raise ValueError(
            f"{name}: has the joints of {spec.skeleton.name}, wanted are those of {skeleton.name}; train it "
            f"on data that have its own"
        )
    built = registry.build(spec.model, len(skeleton), size)
    try:
        built.load_state_dict(network.state_dict())
    except RuntimeError as error:
        raise ValueError(
            f"{name}: its weights are for inputs of {spec.size[0]}x{spec.size[1]}, not of "
            f"{size[0]}x{size[1]}: {error}"
        ) from error
    return built


def _loaded(name: str) -> tuple[nn.Module, PoseSpec]:
    if zoo.is_name(name):
        start = from_onnx(zoo.path(name))
        return start.network, start.spec
    return checkpoint.load(Path(name))


@cache
def _contract(name: str) -> PoseSpec:
    return _loaded(name)[1]
