"""Any ONNX pose network as a teacher: `onnx_pose.OnnxPose` with tensors, a name and a digest."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from torch import Tensor

from poseling.adapter import Adapter
from poseling.models.importers.onnx_file import parse
from poseling.onnx_pose import OnnxPose
from poseling.onnx_session import open_session
from poseling.teachers.base import Prediction


class OnnxTeacher:
    """An ONNX file as a teacher (see `teachers.base.Teacher`).

    `adapter` is an Adapter, the name of a built-in one, or a JSON file; None where the file is ours or known
    by its inputs and outputs. `device` is cpu, cuda or cuda:N. `threads` for the network, all cores if None.
    FileNotFoundError; ValueError that names the file, its inputs and outputs, and what in the adapter does
    not fit them.
    """

    def __init__(
        self,
        path: Path | str,
        adapter: Adapter | str | None = None,
        device: str = "cpu",
        threads: int | None = None,
    ) -> None:
        self.path = Path(path)
        self.name = self.path.stem
        if device.partition(":")[0] not in ("cpu", "cuda"):
            raise ValueError(f"{path}: an ONNX teacher runs on cpu, cuda or cuda:N, not on {device}")
        # Converters leave harmless warnings: only errors are printed.
        self.session = open_session(self.path, device, threads, log=3)
        self._network = OnnxPose(self.session, self.path, adapter)
        self.adapter = a = self._network.adapter
        self.skeleton, self.padding, self.licences = a.skeleton, float(a.padding), dict(a.licences)
        self.size, self.map_size, self.pixel = self._network.size, self._network.map_size, self._network.pixel
        self.sigma = None if a.maps is None else a.maps.sigma
        self.is_3d = a.space is not None
        # Without the parts that this adapter does not use: a part that is added to adapters must not rename
        # existing stores.
        later = {"space", "bins"}
        reading = json.dumps(
            {k: v for k, v in asdict(a).items() if k != "licences" and not (k in later and v is None)},
            sort_keys=True,
        )
        self.digest = _digest(self.path, reading)

    def __call__(self, crops: Tensor) -> Prediction:
        """Predictions for crops (B, H, W, 3), uint8 RGB, on their device. ValueError if a score is declared
        as 0..1 and is not.
        """
        if crops.dtype != torch.uint8 or crops.shape[1:] != (self.size[1], self.size[0], 3):
            raise ValueError(
                f"{self.name} takes uint8 crops (B, {self.size[1]}, {self.size[0]}, 3), got "
                f"{str(crops.dtype).removeprefix('torch.')} {tuple(crops.shape)}"
            )
        found = self._network(crops.cpu().numpy())
        xy, score, maps, xyz = (
            None if part is None else torch.from_numpy(np.ascontiguousarray(part)) for part in found
        )
        assert xy is not None  # only maps and xyz may be absent
        assert score is not None
        return Prediction(xy, score, maps, xyz).to(crops.device)


def _digest(path: Path, reading: str) -> str:
    """Of the file, of the files in which it keeps weights, wherever in it they are named, and of how it is
    read. ValueError that names the file if it is no ONNX file, or keeps weights outside of its folder.
    """
    model = parse(path)
    outside = {
        entry.value for tensor in _tensors(model) for entry in tensor.external_data if entry.key == "location"
    }
    whole = hashlib.blake2b(reading.encode(), digest_size=16)
    for part in (path, *(path.parent / name for name in sorted(outside))):
        if not part.is_file() or not part.resolve().is_relative_to(path.parent.resolve()):
            raise ValueError(f"{path}: keeps weights in {part.name}, which is not a file in its folder")
        with part.open("rb") as file:
            whole.update(hashlib.file_digest(file, hashlib.blake2b).digest())
    return whole.hexdigest()


def _tensors(message: Any) -> Iterator[Any]:
    """All tensors of a model: initialisers, sparse ones too, and those in attributes of nodes, in graphs
    within nodes, and in functions.
    """
    if isinstance(message, onnx.TensorProto):
        yield message
        return
    for about, value in message.ListFields():
        if about.message_type is not None:
            for part in [value] if hasattr(value, "ListFields") else value:
                yield from _tensors(part)
