"""Heatmaps of one crop as those of another crop of the same image."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from poseling.geometry import Size


def warp_maps(maps: Tensor, matrix: Tensor, size: Size, width: float | None = None) -> Tensor:
    """Maps (B, K, h, w) to (B, K, h', w') of `size` (w', h'), bilinear, 0 outside, on the maps' device.

    `matrix` (B, 2, 3) leads from pixels of the wanted map to pixels of the given one. If it mirrors, the
    caller swaps left and right channels.

    Warped Gaussians grow and shrink with the zoom, but a network's have one width at any zoom. `width`
    corrects that: it is the sigma of the given Gaussians over that of the wanted ones, each in pixels of its
    own map (1 where both have sigma 2). A map m with peak p becomes p (m / p)^g, which is exact for one
    Gaussian and keeps the position and height of the peak.

    >>> maps = torch.zeros(1, 1, 4, 4)
    >>> maps[0, 0, 1, 2] = 1
    >>> left = torch.tensor([[[1.0, 0, 1], [0, 1, 0]]])  # pixel x of the wanted map is x + 1 of the given one
    >>> warp_maps(maps, left, (4, 4))[0, 0, 1].abs().round(decimals=4).tolist()
    [0.0, 1.0, 0.0, 0.0]
    """
    (h, w), (b, k) = maps.shape[-2:], maps.shape[:2]
    # affine_grid and grid_sample count from -1 to 1 between the centres of the outermost pixels.
    matrix = matrix.to(maps)
    out = _from_unit(size, matrix)
    to_unit = matrix.new_tensor([[2 / (w - 1)], [2 / (h - 1)]])
    theta = matrix @ out
    theta = theta * to_unit - matrix.new_tensor([[0.0, 0.0, 1.0]])
    grid = F.affine_grid(theta, [b, k, size[1], size[0]], align_corners=True)
    warped = F.grid_sample(maps, grid, mode="bilinear", padding_mode="zeros", align_corners=True)
    if width is None:
        return warped
    zoom = torch.linalg.det(matrix[:, :, :2]).abs()  # square pixels of the given map in one of the wanted map
    power = (width**2 / zoom).view(-1, 1, 1, 1)
    peak = maps.amax((2, 3), keepdim=True).clamp(min=1e-6)
    return peak * (warped.clamp(min=0) / peak) ** power


def _from_unit(size: Size, like: Tensor) -> Tensor:
    """(3, 3) from -1..1 to the pixels of a map of `size` (w, h)."""
    x, y = ((s - 1) / 2 for s in size)
    return like.new_tensor([[x, 0, x], [0, y, y], [0, 0, 1]])
