"""One of our own networks as one that answers: a teacher, or a student to be evaluated."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from poseling.codecs import codec, is_3d
from poseling.codecs.normalize import normalise
from poseling.spec import PoseSpec
from poseling.teachers.base import Prediction


class NetworkTeacher:
    """A network with its contract, on a device, in eval mode (see `teachers.base.Teacher`)."""

    def __init__(
        self,
        network: nn.Module,
        spec: PoseSpec,
        name: str = "",
        digest: str = "",
        device: torch.device | str = "cpu",
    ) -> None:
        self.network = network.to(device).to(memory_format=torch.channels_last).eval()  # type: ignore[call-overload]  # torch's stubs lack it
        self.spec, self.codec, self.device = spec, codec(spec.codec), torch.device(device)
        self.name, self.digest = name or spec.model, digest
        self.skeleton, self.size, self.padding, self.licences = (
            spec.skeleton,
            spec.size,
            spec.padding,
            spec.licences,
        )
        heatmap = self.codec.heatmap if self.codec.has_maps else None  # others only give points
        self.map_size = None if heatmap is None else heatmap.map_size
        self.pixel = None if heatmap is None else heatmap.pixel
        self.sigma = None if heatmap is None else heatmap.sigma

    @torch.inference_mode()
    def __call__(self, crops: Tensor) -> Prediction:
        """Crops (B, H, W, 3), uint8 RGB, to answers of the last stack."""
        outputs = self.network(normalise(crops.to(self.device), self.spec))[:, -1].float()
        xy, score = self.codec.decode(outputs)
        maps = self.codec.maps(outputs)
        return (
            Prediction(xy, score, maps, self.codec.decode_3d(outputs), outputs)
            if is_3d(self.codec)
            else Prediction(xy, score, maps)
        )

    @property
    def is_3d(self) -> bool:
        """Whether its answers have `xyz`."""
        return is_3d(self.codec)
