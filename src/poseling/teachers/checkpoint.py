"""One of our own checkpoints as a teacher."""

from __future__ import annotations

import hashlib
from pathlib import Path

from poseling.teachers.network import NetworkTeacher
from poseling.train import checkpoint as checkpoints


def checkpoint_teacher(path: Path, device: str = "cpu") -> NetworkTeacher:
    """The network in `path` as it was trained: its crop, its normalisation, its codec. Its digest is that of the file's bytes.

    FileNotFoundError, or ValueError that names the file if it is cut, foreign or does not fit.
    """
    network, spec = checkpoints.load(path)
    network.requires_grad_(False)
    return NetworkTeacher(network, spec, path.stem, hashlib.blake2b(path.read_bytes(), digest_size=16).hexdigest(), device)
