"""Exported files, evaluated as they run: through `runtime.Network`."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from poseling import zoo
from poseling.pose import Pose
from poseling.runtime import Network
from poseling.teachers.base import Prediction, Teacher
from poseling.teachers.load import load


class Shipped:
    """A `runtime.Network` with a teacher's interface (see `teachers.base.Teacher`), for boxes in images or
    for crops.
    """

    map_size = pixel = sigma = None  # it predicts joints only

    def __init__(self, network: Network) -> None:
        spec = network.spec
        self.network, self.name, self.size, self.padding = network, network.name, spec.size, spec.padding
        self.skeleton, self.is_3d, self.licences = spec.skeleton, "xyz" in spec.outputs, spec.licences

    @property
    def digest(self) -> str:
        """Of the file."""
        with self.network.path.open("rb") as file:
            return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16)).hexdigest()

    def __call__(self, crops: Tensor) -> Prediction:
        """Predictions for crops (B, H, W, 3), uint8 RGB."""
        width, height = self.size
        x, y = (0.5 * (1 - 1 / self.padding) * (side - 1) for side in (width, height))
        whole = [(x, y, width - 1 - x, height - 1 - y)]
        poses = [self.network(crop, whole, "rgb") for crop in crops.cpu().numpy()]
        xy, score = (
            torch.from_numpy(np.concatenate(parts))
            for parts in zip(*((p.xy, p.score) for p in poses), strict=True)
        )
        space = [p.xyz for p in poses if p.xyz is not None]
        return Prediction(xy, score, xyz=torch.from_numpy(np.concatenate(space)) if space else None)

    def person(self, image: NDArray[np.uint8], box: NDArray[np.floating], flip: bool) -> Pose:
        """The person in a box of an image (H, W, 3) RGB; with `flip` the mirrored image is predicted as well
        and the two are averaged, each joint by its scores.

        NaN for a box that lies outside the image, as in some wrong labels: NaN is wrong in every metric.
        """
        height, width = image.shape[:2]
        if box[2] < 0 or box[3] < 0 or box[0] > width - 1 or box[1] > height - 1:
            nothing = np.full((1, len(self.skeleton), 3), np.nan, np.float32)
            return Pose(
                nothing[..., :2],
                np.zeros(nothing.shape[:2], np.float32),
                self.skeleton,
                nothing if self.is_3d else None,
            )
        pose = self.network(image, [box], "rgb")
        if not flip:
            return pose
        last, order = width - 1, self.skeleton.flip
        mirrored = self.network(
            np.ascontiguousarray(image[:, ::-1]), [(last - box[2], box[1], last - box[0], box[3])], "rgb"
        )
        there = (mirrored.xy * (-1, 1) + (last, 0))[:, order]
        scores = np.stack([pose.score, mirrored.score[:, order]])
        weights = np.maximum(scores, 1e-6)[..., None]
        total = weights.sum(0)
        xyz = None
        if pose.xyz is not None and mirrored.xyz is not None:
            xyz = (weights * np.stack([pose.xyz, (mirrored.xyz * (-1, 1, 1))[:, order]])).sum(0) / total
        return Pose((weights * np.stack([pose.xy, there])).sum(0) / total, scores.mean(0), pose.skeleton, xyz)


def shipped(model: str, adapter: str | None = None, device: str = "cpu") -> Teacher:
    """The network `model`, to be evaluated: an ONNX file or a network of the zoo as it runs, all others as
    `teachers.load.load` loads them. Raises the errors of both.
    """
    if zoo.is_name(model) or Path(model).suffix.lower() == ".onnx":
        return Shipped(Network(model, provider=device, adapter=adapter))
    return load(model, adapter, device)
