"""A network that a recipe trains, before it is built: a name, a file to start from, or a module of one's
own.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

import torch
from torch import nn

from poseling.codecs import LocationMap, SimCC, SimCC3D
from poseling.geometry import Size
from poseling.models import registry, start
from poseling.models.graph import MODEL
from poseling.skeleton import Skeleton
from poseling.spec import PoseSpec

# What a recipe takes as a student: an architecture's name (hourglass-4x128), a trained network to start from
# (a .safetensors file, or a name of `poseling models`), or from Python a module, which starts from the
# weights that it has, or a function of the number of joints and the input's (W, H) that builds one, anew for
# each seed.
if TYPE_CHECKING:
    StudentLike: TypeAlias = str | nn.Module | Callable[[int, Size], nn.Module]
else:
    StudentLike = str  # of a flag


@dataclass(frozen=True, eq=False)
class Student:
    """The `name` of a network, the name of its `codec`, the `stride` of its heatmaps where it is not the
    codec's own, the contract of the weights that it starts from, where there are any, and what builds it.

    A network takes images (B, 3, H, W) and gives (B, S, K, ...) of S stages, the last of which is its prediction:
    heatmaps (h, w), location maps (7, h, w), bins of SimCC or SimCC-3D, or the 5 numbers of `Coordinates`.
    """

    name: str
    codec: str
    build: Callable[[Skeleton, Size], nn.Module]
    stride: int | None = None
    contract: PoseSpec | None = None

    @classmethod
    def of(cls, given: StudentLike, size: Size, smallest: bool = False) -> Student:
        """The student that is `given`, for inputs of `size` (W, H); of an architecture's name the `smallest`
        of its family, if wanted. ValueError or FileNotFoundError that names it if there is none, or if a
        module's outputs fit no codec, before anything takes time.
        """
        if isinstance(given, str):
            return _named(given, size, smallest)
        module = given if isinstance(given, nn.Module) else None
        name = _name(given)
        codec, stride = outputs_of(name, _shape(given, size), size)

        def build(skeleton: Skeleton, size: Size) -> nn.Module:
            built = copy.deepcopy(module) if module is not None else given(len(skeleton), size)
            joints = _shape(built, size)[2]
            if joints != len(skeleton):
                raise ValueError(
                    f"{name}: gives {joints} joints, and the data have the {len(skeleton)} joints of "
                    f"{skeleton.name}"
                )
            return built

        return cls(name, codec, build, stride)

    @property
    def starts_trained(self) -> bool:
        """Whether it starts from trained weights of a file."""
        return self.contract is not None


def own_module(spec: PoseSpec) -> bool:
    """Whether a network with this contract was a module of one's own, which a checkpoint alone cannot
    build.
    """
    return spec.model != MODEL and not registry.is_name(spec.model)


def outputs_of(name: str, shape: tuple[int, ...], size: Size) -> tuple[str, int | None]:
    """The codec's name for outputs of `shape` (1, S, K, ...) to an input of `size` (W, H), and the stride of
    heatmaps. ValueError with the shapes there are if it is none of them.

    >>> outputs_of("mine", (1, 1, 17, 64, 48), (192, 256)), outputs_of("mine", (1, 1, 17, 5), (192, 256))
    (('heatmap', 4), ('coordinates', None))
    """
    width, height = size
    match shape[3:]:
        case (h, w) if h and w and height % h == 0 and height * w == width * h:
            return "heatmap", height // h
        case (7, h, w) if (width, height) == (w * LocationMap.stride, h * LocationMap.stride):
            return "location_map", None
        case (5,):
            return "coordinates", None
        case (bins,) if bins == sum(SimCC(size).bins):
            return "simcc", None
        case (bins,) if bins == sum(SimCC3D(size).bins):
            return "simcc3d", None
    wanted = (
        f"(1, S, K, h, w) heatmaps, (1, S, K, {sum(SimCC(size).bins)}) SimCC's bins, "
        f"(1, S, K, {sum(SimCC3D(size).bins)}) SimCC-3D's, (1, S, K, 5) coordinates or (1, S, K, 7, h, w) "
        f"location maps"
    )
    raise ValueError(
        f"{name}: gives {shape} for an image of {width}x{height}; S stages of K joints are wanted: {wanted}"
    )


def _named(name: str, size: Size, smallest: bool) -> Student:
    if start.is_file(name):
        codec = start.codec_of(name)
    else:
        with torch.device("meta"):
            registry.build(name, 1, size)
        name = registry.smallest(name) if smallest else name
        codec = registry.codec_of(name)
    contract = start.contract(name)
    stride = None if contract is None else contract.codec.get("stride")
    return Student(
        name,
        codec,
        lambda skeleton, size: start.build(name, skeleton, size),
        None if stride is None else int(stride),
        contract,
    )


def _name(given: nn.Module | Callable[[int, Size], nn.Module]) -> str:
    """Of a module its class's."""
    return str(getattr(given, "__name__", type(given).__name__))


@torch.no_grad()
def _shape(given: nn.Module | Callable[[int, Size], nn.Module], size: Size) -> tuple[int, ...]:
    """The shape of the outputs to one black image; nothing random is drawn, and a module stays as it is."""
    with torch.random.fork_rng(devices=[]):
        network = given if isinstance(given, nn.Module) else given(1, size)
        if not isinstance(network, nn.Module):
            raise ValueError(f"{_name(given)}: gives a {type(network).__name__} and no torch.nn.Module")
        training = network.training
        like = next(network.parameters(), torch.zeros(()))
        image = like.new_zeros(1, 3, size[1], size[0])
        outputs = network.eval()(image)
        network.train(training)
    if not isinstance(outputs, torch.Tensor):
        raise ValueError(
            f"{_name(given)}: gives a {type(outputs).__name__}; one tensor (B, S, K, ...) is wanted"
        )
    return tuple(outputs.shape)
