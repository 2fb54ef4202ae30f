"""Images as a network takes them: the one place where pixels are scaled, on the device, last."""

from __future__ import annotations

import torch
from torch import Tensor

from poseling.spec import PoseSpec


def normalise(crops: Tensor, spec: PoseSpec) -> Tensor:
    """Crops (B, H, W, 3) RGB of 0..255, uint8 or float, to (B, 3, H, W) in the spec's colour order,
    normalised by its mean and std of 0..1 values.

    >>> from poseling.skeleton import LSP14
    >>> half = (0.5, 0.5, 0.5)
    >>> spec = PoseSpec("hourglass-1x32", LSP14, {"name": "heatmap"}, (64, 64), mean=half, std=half)
    >>> crop = torch.tensor([[[[255, 0, 51]]]], dtype=torch.uint8)
    >>> [round(v, 4) for v in normalise(crop, spec).flatten().tolist()]
    [1.0, -1.0, -0.6]
    """
    images = crops.permute(0, 3, 1, 2).to(torch.float32)
    if spec.colour == "bgr":
        images = images.flip(1)
    # One multiplication and one subtraction: x / (255 std) - mean / std.
    scale = images.new_tensor([1 / (255 * s) for s in spec.std]).view(1, 3, 1, 1)
    offset = images.new_tensor([m / s for m, s in zip(spec.mean, spec.std, strict=True)]).view(1, 3, 1, 1)
    return images * scale - offset
