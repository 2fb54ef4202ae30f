"""Losses between a student's feature and the teacher's. Each takes both and weights (B,), 0 for samples that
do not count; samples are averaged.

Where channels or sizes differ, an adapter maps the student's feature to the teacher's; it is trained beside
the student and not saved with it: `Align`, and `Generate` for `masked_generation`. `attention_transfer` needs
none.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from poseling.codecs.losses import full
from poseling.geometry import Size


def aligned_mse(student: Tensor, teacher: Tensor, weight: Tensor) -> Tensor:
    """DWPose's feature loss: sum of ||s - t||^2 over all of a feature (B, ...), averaged over samples. Its
    factor there is 7e-5 (Yang et al., ICCV workshops 2023).

    >>> student, teacher = torch.zeros(1, 2, 1, 2), torch.full((1, 2, 1, 2), 3.0)
    >>> aligned_mse(student, teacher, torch.ones(1)).item()  # four times 9
    36.0
    """
    _alike(student, teacher)
    return ((full(student) - full(teacher)).square().flatten(1).sum(-1) * weight).mean()


def masked_generation(generated: Tensor, teacher: Tensor, weight: Tensor) -> Tensor:
    """MGD's loss: sum of ||g - t||^2 over what `Generate` made of the masked student's feature, averaged over
    samples (Yang et al., ECCV 2022).

    The formula is that of `aligned_mse`; the difference is in the generator. Its factor for detectors is
    2e-5.
    """
    return aligned_mse(generated, teacher, weight)


def attention_transfer(student: Tensor, teacher: Tensor, weight: Tensor) -> Tensor:
    """Mean over pixels of (q_s / ||q_s|| - q_t / ||q_t||)^2, q the sum of squares over channels (Zagoruyko
    and Komodakis, ICLR 2017, activation-based).

    Features (B, C, h, w) and (B, C', h', w'): the channels may differ, and the student's map is brought to
    the teacher's size. The paper's equation 2 takes the distance, its code the mean square that stands here.

    >>> student, teacher = torch.tensor([[[[3.0, 2.0]]]]).sqrt(), torch.tensor([[[[0.0, 1.0]]]])
    >>> loss = attention_transfer(student, teacher, torch.ones(1))
    >>> round(loss.item(), 4)  # q: (3, 2) / sqrt 13, and (0, 1)
    0.4453
    """
    ours, theirs = (full(feature).square().sum(1, keepdim=True) for feature in (student, teacher))
    ours = _resized(ours, theirs)
    squares = (F.normalize(ours.flatten(1)) - F.normalize(theirs.flatten(1))).square().mean(-1)
    return (squares * weight).mean()


def channel_wise(student: Tensor, teacher: Tensor, weight: Tensor, *, temperature: float = 4.0) -> Tensor:
    """T^2 / C times the sum over channels of KL(softmax of t / T over pixels || softmax of s / T over pixels)
    (CWD, Shu et al., ICCV 2021).

    >>> teacher = torch.tensor([[[[3.0, 1.0]]]]).log()
    >>> loss = channel_wise(torch.zeros(1, 1, 1, 2), teacher, torch.ones(1), temperature=1.0)
    >>> round(loss.item(), 4)  # 3/4 ln 3/2 + 1/4 ln 1/2
    0.1308
    """
    _alike(student, teacher)
    ours, theirs = (
        (full(feature).flatten(2) / temperature).log_softmax(-1) for feature in (student, teacher)
    )
    divergence = (theirs.exp() * (theirs - ours)).sum(-1).mean(-1)
    return temperature**2 * (divergence * weight).mean()


def fade(done: float) -> float:
    """DWPose's r(t): a weight that falls from 1 to 0 as the part of the run that is `done` goes to 1."""
    return 1 - done


class Align(nn.Module):
    """A 1x1 convolution from the student's channels to the teacher's, none where they are equal (as in
    DWPose), and a bilinear resize to `size` (w, h) if given.
    """

    def __init__(self, channels_in: int, channels_out: int, size: Size | None = None) -> None:
        super().__init__()
        self.project = (
            nn.Identity() if channels_in == channels_out else nn.Conv2d(channels_in, channels_out, 1)
        )
        self.size = size

    def forward(self, feature: Tensor) -> Tensor:
        """(B, channels_in, h, w) to (B, channels_out, *size[::-1])."""
        feature = self.project(feature)
        if self.size is None or tuple(feature.shape[-2:]) == self.size[::-1]:
            return feature
        # The geometry of our heatmaps.
        return F.interpolate(feature, self.size[::-1], mode="bilinear", align_corners=True)


class Generate(nn.Module):
    """MGD's generator: the aligned feature with a part `ratio` of its pixels set to 0, drawn anew each time,
    then 3x3 convolution, ReLU, 3x3 convolution.

    In evaluation mode nothing is masked.
    """

    def __init__(
        self, channels_in: int, channels_out: int, size: Size | None = None, ratio: float = 0.65
    ) -> None:
        super().__init__()
        if not 0 <= ratio < 1:
            raise ValueError(
                f"ratio is {ratio}, but it is the part of the pixels that is hidden: at least 0, less than 1"
            )
        self.align = Align(channels_in, channels_out, size)
        self.generate = nn.Sequential(
            nn.Conv2d(channels_out, channels_out, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(channels_out, channels_out, 3, padding=1),
        )
        self.ratio = ratio

    def forward(self, feature: Tensor) -> Tensor:
        """(B, channels_in, h, w) to (B, channels_out, *size[::-1])."""
        feature = self.align(feature)
        if self.training:
            b, _, h, w = feature.shape
            feature = feature * (torch.rand(b, 1, h, w, device=feature.device) >= self.ratio)
        out: Tensor = self.generate(feature)
        return out


def align(student: Tensor, teacher: Tensor) -> nn.Module:
    """The adapter from a student's feature to a teacher's, for one of each: `Align` for maps (B, C, h, w), an
    nn.Linear for tokens (B, T, C) that differ in width.
    """
    if student.ndim == 4:
        return Align(student.shape[1], teacher.shape[1], (teacher.shape[-1], teacher.shape[-2]))
    return (
        nn.Identity()
        if student.shape[-1] == teacher.shape[-1]
        else nn.Linear(student.shape[-1], teacher.shape[-1])
    )


def generate(student: Tensor, teacher: Tensor) -> nn.Module:
    """`Generate` between maps (B, C, h, w), for one of each."""
    return Generate(student.shape[1], teacher.shape[1], (teacher.shape[-1], teacher.shape[-2]))


def _resized(maps: Tensor, like: Tensor) -> Tensor:
    if maps.shape[-2:] == like.shape[-2:]:
        return maps
    return F.interpolate(maps, like.shape[-2:], mode="bilinear", align_corners=True)


def _alike(student: Tensor, teacher: Tensor) -> None:
    if student.shape != teacher.shape:
        raise ValueError(
            f"the student's feature is {tuple(student.shape)} and the teacher's {tuple(teacher.shape)}: put "
            f"an adapter between, such as Align"
        )
