"""The weights of FPD's authors (ilovepose/fast-human-pose-estimation.pytorch) as our hourglass."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from poseling.limits import excess, unpacked
from poseling.models import hourglass, registry


def load_fpd(path: Path, name: str, joints: int) -> nn.Module:
    """An hourglass from a checkpoint of FPD's authors (a torch file of a state dict, or of a dict that holds
    one as `state_dict`).

    FileNotFoundError, or ValueError that names the file if it is cut, holds more than tensors, or is of
    another network.
    """
    network = registry.build(name, joints)
    if not isinstance(network, hourglass.Hourglass):
        raise ValueError(f"{name} is no hourglass; the authors' checkpoints hold hourglasses")
    if not path.is_file():
        raise FileNotFoundError(f"{path}: there is no such checkpoint")
    if more := excess(unpacked(path)):
        raise ValueError(f"{path}: {more}")
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises many kinds, from pickle's and tarfile's to its own
        # Torch's own words advise to load it unsafely.
        raise ValueError(
            f"{path}: is cut short or no torch file of plain tensors, as FPD's authors have them; an ONNX "
            f"network ends in .onnx"
        ) from error
    inner = state.get("state_dict", state) if isinstance(state, dict) else state
    if not isinstance(inner, dict) or not all(
        isinstance(name, str) and isinstance(value, Tensor) for name, value in inner.items()
    ):
        raise ValueError(f"{path}: holds a {type(inner).__name__}, no state dict")
    try:
        network.load_state_dict(hourglass.from_fpd(inner))
    except (ValueError, RuntimeError) as error:
        raise ValueError(f"{path}: the weights do not fit {name} with {joints} joints: {error}") from error
    return network.eval()
