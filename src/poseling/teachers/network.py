"""One of our own networks as a teacher, or as a student to be evaluated."""

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
        # torch's stubs lack the keyword.
        network = network.to(device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.network = network.eval()
        self.spec, self.codec, self.device = spec, codec(spec.codec), torch.device(device)
        self.name, self.digest = name or spec.model, digest
        self.skeleton, self.size, self.padding, self.licences = (
            spec.skeleton,
            spec.size,
            spec.padding,
            spec.licences,
        )
        heatmap = self.codec.heatmap if self.codec.has_maps else None  # others predict points only
        self.map_size = None if heatmap is None else heatmap.map_size
        self.pixel = None if heatmap is None else heatmap.pixel
        self.sigma = None if heatmap is None else heatmap.sigma

    @torch.inference_mode()
    def __call__(self, crops: Tensor) -> Prediction:
        """The predictions of the last stack for crops (B, H, W, 3), uint8 RGB."""
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
        """Whether its predictions have `xyz`."""
        return is_3d(self.codec)
