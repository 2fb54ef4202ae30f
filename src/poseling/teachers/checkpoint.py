"""One of our own checkpoints as a teacher."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path

from torch import nn

from poseling.codecs import FEATURES
from poseling.models import checkpoint as checkpoints
from poseling.spec import PoseSpec
from poseling.teachers.network import NetworkTeacher


def checkpoint_teacher(path: Path, device: str = "cpu", own: nn.Module | None = None) -> NetworkTeacher:
    """The network in `path` as it was trained: its crop, its normalisation, its codec. `own` is the user's
    module that was trained, and gets the weights. Its digest covers the weights and everything that decides
    how they are used, not where and how they were trained.

    FileNotFoundError, or ValueError that names the file if it is cut, foreign or does not fit.
    """
    network, spec = checkpoints.load(path, own)
    if spec.codec["name"] == FEATURES:
        raise ValueError(
            f"{path}: gives features and no joints, so it cannot be a teacher; put a head on it first "
            f"(GraphNetwork.with_head), as docs/models.md shows"
        )
    network.requires_grad_(False)
    try:
        return NetworkTeacher(network, spec, path.stem, digest(network, spec), device)
    except (KeyError, TypeError, ValueError) as error:  # of the spec's codec
        raise ValueError(f"{path}: the codec in its PoseSpec cannot be built ({error})") from error


def digest(network: nn.Module, spec: PoseSpec) -> str:
    """32 hexadecimal digits that change whenever a prediction may."""
    found = hashlib.blake2b(digest_size=16)
    used = json.loads(replace(spec, licences={}, recipe="", arguments={}, unknown={}).to_json())
    del used["version"]  # pseudo-labels from before there were versions stay valid
    found.update(json.dumps(used).encode())
    for name, tensor in sorted(network.state_dict().items()):
        found.update(name.encode() + tensor.cpu().contiguous().numpy().tobytes())
    return found.hexdigest()
