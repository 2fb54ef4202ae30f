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
    """The network in `path` as it was trained: its crop, its normalisation, its codec. A module of one's `own`
    that was trained is given, and gets the weights. Its digest is of the weights and of what decides how they are
    used, not of where and how they were trained.

    FileNotFoundError, or ValueError that names the file if it is cut, foreign or does not fit.
    """
    network, spec = checkpoints.load(path, own)
    if spec.codec["name"] == FEATURES:
        raise ValueError(
            f"{path}: gives features and no joints, so it cannot answer; put a head on it first "
            f"(GraphNetwork.with_head), as docs/models.md shows"
        )
    network.requires_grad_(False)
    try:
        return NetworkTeacher(network, spec, path.stem, digest(network, spec), device)
    except (KeyError, TypeError, ValueError) as error:  # of the codec that the spec asks for
        raise ValueError(f"{path}: its PoseSpec asks for a codec that cannot be made ({error})") from error


def digest(network: nn.Module, spec: PoseSpec) -> str:
    """32 hexadecimal digits that change when any answer may."""
    found = hashlib.blake2b(digest_size=16)
    used = json.loads(replace(spec, licences={}, recipe="", arguments={}, unknown={}).to_json())
    del used["version"]  # answers that were stored before there were versions stay this teacher's
    found.update(json.dumps(used).encode())
    for name, tensor in sorted(network.state_dict().items()):
        found.update(name.encode() + tensor.cpu().contiguous().numpy().tobytes())
    return found.hexdigest()
