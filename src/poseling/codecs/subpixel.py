"""Gaussians drawn between pixels, and maps and lines read between pixels, in torch. `poseling.peaks` reads
the same in numpy.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from poseling.geometry import Size


def gaussians(centre: Tensor, size: Size, variance: float | Tensor, reach: float | None = None) -> Tensor:
    """Gaussians (..., h, w) with a peak of 1 at the centres (..., 2) in pixels of a map of `size` (w, h).

    `variance` in square pixels is one number, or (..., 2) along x and y. Farther than `reach` pixels from the
    centre along an axis they are 0.

    >>> drawn = gaussians(torch.tensor([0.5, 0.0]), (2, 2), 0.5)
    >>> [round(v, 4) for v in drawn.flatten().tolist()]  # twice exp(-1/4), twice exp(-5/4)
    [0.7788, 0.7788, 0.2865, 0.2865]
    """
    w, h = size
    x = torch.arange(w, dtype=centre.dtype, device=centre.device) - centre[..., :1]
    y = torch.arange(h, dtype=centre.dtype, device=centre.device) - centre[..., 1:]
    if reach is not None:
        x, y = (torch.where(d.abs() <= reach, d, torch.inf) for d in (x, y))
    gain = -0.5 / variance
    across, down = (gain[..., :1], gain[..., 1:]) if isinstance(gain, Tensor) else (gain, gain)
    return torch.exp(down * y**2)[..., :, None] * torch.exp(across * x**2)[..., None, :]


def gaussian_bins(centre: Tensor, count: int, sigma: float) -> Tensor:
    """Gaussians (..., count) over the bins of a line, each of sum 1, with a width of `sigma` bins around the
    centres (...), in bins.

    >>> gaussian_bins(torch.tensor([0.5]), 2, 1.0).tolist()
    [[0.5, 0.5]]
    """
    distance = torch.arange(count, dtype=centre.dtype, device=centre.device) - centre[..., None]
    return (-0.5 * (distance / sigma) ** 2).softmax(-1)


def quarter_step(maps: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """A quarter of a pixel (B, K, 2) from the peak x, y (B, K) of maps (B, K, h, w) towards the brighter
    neighbour along each axis (Newell et al., ECCV 2016); 0 along an axis on whose border the peak lies.
    """
    return 0.25 * _slope(maps, x.long(), y.long()).sign()


def dark_step(
    maps: Tensor, x: Tensor, y: Tensor, top: Tensor, sigma: float, softmax_score: Tensor | None = None
) -> Tensor:
    """DARK's step (B, K, 2) in pixels from the peak x, y (B, K) of maps (B, K, h, w), whose height is `top`
    (B, K): its modulation, a Gaussian blur of the maps' own `sigma`, which leaves one top, the logarithm, and
    one Newton step to the top, at most one pixel along each axis (Zhang et al., CVPR 2020). Only the pixels
    around the peak are read.

    Where maps are logits of a softmax over pixels, `softmax_score` (B, K) is the height of its peak.

    The step's pixel must have two neighbours on each side; nearer to the border it is taken at the nearest
    pixel that does, and counted from there.
    """
    h, w = maps.shape[-2:]
    reach = round(2.5 * sigma)
    side, wide = 2 * reach + 3, w + 2 * reach + 2
    line = torch.exp(
        -0.5 * (torch.arange(-reach, reach + 1, device=maps.device, dtype=maps.dtype) / sigma) ** 2
    )
    # (3, side): the blur before the middle, there and behind it; (side * side, 9): the same over rows and
    # columns.
    blur = torch.stack([F.pad(line / line.sum(), (i, 2 - i)) for i in range(3)])
    both = torch.einsum("ja,ib->abji", blur, blur).reshape(side * side, 9)
    cx, cy = x.clamp(1, w - 2), y.clamp(1, h - 2)
    padded = F.pad(maps, [reach + 1] * 4, value=0.0 if softmax_score is None else -torch.inf).flatten(2)
    ahead = torch.arange(side, device=maps.device)
    around = (ahead[:, None] * wide + ahead).flatten()
    patch = padded.gather(2, (cy * wide + cx).long()[..., None] + around)
    if softmax_score is not None:
        patch = (patch - top[..., None]).exp() * softmax_score[..., None]
    dx, dy, dxx, dyy, dxy = ((patch @ both).clamp(min=1e-10).log() @ maps.new_tensor(_DERIVATIVES).T).unbind(
        -1
    )
    determinant = dxx * dyy - dxy**2
    hill = (determinant > 1e-12) & (dxx < 0)  # not a saddle or a plain
    down = torch.stack([dxy * dy - dyy * dx, dxy * dx - dxx * dy], -1)
    step = (down / torch.where(hill, determinant, 1.0)[..., None]).clamp(-1, 1) + torch.stack(
        [cx - x, cy - y], -1
    )
    return torch.where(hill[..., None], step, 0.0).clamp(-1, 1)


# d/dx, d/dy and the second derivatives dxx, dyy, dxy of nine pixels, row by row, at the one in the middle.
_DERIVATIVES = (
    (0, 0, 0, -0.5, 0, 0.5, 0, 0, 0),
    (0, -0.5, 0, 0, 0, 0, 0, 0.5, 0),
    (0, 0, 0, 1, -2, 1, 0, 0, 0),
    (0, 1, 0, 0, -2, 0, 0, 1, 0),
    (0.25, 0, -0.25, 0, 0, 0, -0.25, 0, 0.25),
)


def parabola_top(logits: Tensor, peak: Tensor, sigma: float) -> Tensor:
    """The top (...) of the parabola fitted to logits (..., X) within a sigma of `peak`, at most half a sigma
    from it: DARK in one dimension, with least squares in place of a blur.

    Near the border the window is moved inside, and the parabola read where it leaves off.

    >>> line = -0.5 * (torch.arange(9.0) - 4.3) ** 2
    >>> round(parabola_top(line, line.argmax(), sigma=2.0).item(), 4)
    4.3
    """
    count = logits.shape[-1]
    reach = max(1, min(round(sigma), (count - 1) // 2))
    window = torch.arange(-reach, reach + 1, device=logits.device)
    middle = peak.clamp(reach, count - 1 - reach)
    near = logits.gather(-1, middle[..., None] + window)
    near = near - near.amax(-1, keepdim=True)
    # Least squares with 1, d and d^2 - mean(d^2), which are orthogonal over a window that is the same to both
    # sides.
    d = window.to(logits.dtype)
    bend = d**2 - (d**2).mean()
    slope = (near * d).sum(-1) / (d**2).sum()
    curvature = 2 * (near * bend).sum(-1) / (bend**2).sum()
    hill = curvature < -1e-6
    step = torch.where(hill, -slope / torch.where(hill, curvature, -1.0), 0.0)
    most = max(0.5, sigma / 2)
    moved = (middle - peak).to(logits.dtype) + step
    return peak.to(logits.dtype) + torch.where(hill, moved.clamp(-most, most), 0.0)


def soft_argmax(probabilities: Tensor) -> Tensor:
    """(..., h, w) that sum to 1 over pixels, to the mean position (..., 2) in pixels (integral pose, Sun et
    al., ECCV 2018).
    """
    h, w = probabilities.shape[-2:]
    x = (probabilities.sum(-2) * torch.arange(w, device=probabilities.device)).sum(-1)
    y = (probabilities.sum(-1) * torch.arange(h, device=probabilities.device)).sum(-1)
    return torch.stack([x, y], -1)


def bilinear(
    maps: Tensor, xy: Tensor, pixel: tuple[float, float] = (1.0, 1.0), channels: slice = slice(None)
) -> Tensor:
    """The `channels` of maps (B, K, C, h, w), of at least 2x2 pixels that are `pixel` wide and high, read
    between their pixels at the positions xy (B, K, 2): (B, K, C). A position outside is moved to the border,
    NaN to pixel 0.

    >>> bilinear(torch.tensor([[[[[1.0, 2.0], [3.0, 5.0]]]]]), torch.tensor([[[0.25, 0.5]]])).item()
    2.375
    """
    h, w = maps.shape[-2:]
    last = xy.new_tensor([w - 1, h - 1])
    at = torch.nan_to_num(xy / xy.new_tensor(pixel)).clamp(min=0).minimum(last)
    low = at.floor().minimum(last - 1)  # so that there is a pixel above
    part = (at - low)[:, :, None, :]
    column, row = low.long().unbind(-1)
    flat = maps[:, :, channels].flatten(3)

    def read(down: int, right: int) -> Tensor:
        index = ((row + down) * w + column + right)[..., None, None].expand(-1, -1, flat.shape[2], 1)
        return flat.gather(3, index).squeeze(-1)

    x, y = part[..., 0], part[..., 1]
    upper = read(0, 0) * (1 - x) + read(0, 1) * x
    lower = read(1, 0) * (1 - x) + read(1, 1) * x
    return upper * (1 - y) + lower * y


def _at(maps: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """maps (B, K, h, w) read at whole pixels x and y (B, K)."""
    return maps.flatten(2).gather(2, (y * maps.shape[-1] + x)[..., None]).squeeze(-1)


def _slope(maps: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """The central difference (B, K, 2) at x, y; 0 along an axis on whose border the peak lies."""
    h, w = maps.shape[-2:]
    along_x = _at(maps, (x + 1).clamp(max=w - 1), y) - _at(maps, (x - 1).clamp(min=0), y)
    along_y = _at(maps, x, (y + 1).clamp(max=h - 1)) - _at(maps, x, (y - 1).clamp(min=0))
    slope = torch.stack([along_x, along_y], -1)
    inner = torch.stack([(x > 0) & (x < w - 1), (y > 0) & (y < h - 1)], -1)
    return slope * inner
