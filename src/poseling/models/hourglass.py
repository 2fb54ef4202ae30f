"""The stacked hourglass, as Fast Human Pose Distillation uses it (Newell et al., ECCV 2016; Zhang et al.,
CVPR 2019).

At 256x256 with 16 joints, eight stacks of 256 channels have 25.59 M parameters and 28.1 GMAC, four of 128
have 3.29 M and 3.9 GMAC.
"""

from __future__ import annotations

import re

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from poseling.geometry import Size
from poseling.models.family import Family, divided

DEPTH = 4  # halvings inside one hourglass: 64 -> 4 at an input of 256
SIDES = 4 << DEPTH  # of images are multiples of this


class Residual(nn.Module):
    """Pre-activation bottleneck, (B, in, H, W) -> (B, out, H, W), its 3x3 at half the width of its output."""

    def __init__(self, channels_in: int, channels_out: int) -> None:
        super().__init__()
        middle = channels_out // 2
        self.norm1 = nn.BatchNorm2d(channels_in)
        self.conv1 = nn.Conv2d(channels_in, middle, 1)
        self.norm2 = nn.BatchNorm2d(middle)
        self.conv2 = nn.Conv2d(middle, middle, 3, padding=1)
        self.norm3 = nn.BatchNorm2d(middle)
        self.conv3 = nn.Conv2d(middle, channels_out, 1)
        self.skip = nn.Identity() if channels_in == channels_out else nn.Conv2d(channels_in, channels_out, 1)

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv1(F.relu(self.norm1(x)))
        y = self.conv2(F.relu(self.norm2(y)))
        y = self.conv3(F.relu(self.norm3(y)))
        return y + self.skip(x)


def _residuals(channels: int, blocks: int) -> nn.Sequential:
    return nn.Sequential(*(Residual(channels, channels) for _ in range(blocks)))


class Level(nn.Module):
    """One halving of an hourglass: a branch at this resolution, and one through the lower ones and back."""

    def __init__(self, channels: int, blocks: int, depth: int) -> None:
        super().__init__()
        self.keep = _residuals(channels, blocks)
        self.down = _residuals(channels, blocks)
        self.below: nn.Module = (
            Level(channels, blocks, depth - 1) if depth > 1 else _residuals(channels, blocks)
        )
        self.up = _residuals(channels, blocks)

    def forward(self, x: Tensor) -> Tensor:
        y = self.up(self.below(self.down(F.max_pool2d(x, 2))))
        return self.keep(x) + F.interpolate(y, scale_factor=2.0, mode="nearest")


class Stack(nn.Module):
    """One hourglass with its prediction: x (B, C, H, W) -> (x for the next stack, what the prediction was
    read from, heatmaps (B, K, H, W)).
    """

    def __init__(self, channels: int, joints: int, blocks: int, last: bool) -> None:
        super().__init__()
        self.hourglass = Level(channels, blocks, DEPTH)
        self.residual = _residuals(channels, blocks)
        self.features = nn.Sequential(nn.Conv2d(channels, channels, 1), nn.BatchNorm2d(channels), nn.ReLU())
        self.score = nn.Conv2d(channels, joints, 1)
        # What goes back into the trunk for the next stack; the last stack has no next.
        self.features_back = None if last else nn.Conv2d(channels, channels, 1)
        self.score_back = None if last else nn.Conv2d(joints, channels, 1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        y = self.features(self.residual(self.hourglass(x)))
        score = self.score(y)
        if self.features_back is not None and self.score_back is not None:
            x = x + self.features_back(y) + self.score_back(score)
        return x, y, score


class Hourglass(nn.Module):
    """Images (B, 3, H, W) to heatmaps of every stack (B, S, K, H/4, W/4); H and W are multiples of 64.

    >>> net = Hourglass(joints=16, stacks=4, width=128)
    >>> round(sum(p.numel() for p in net.parameters()) / 1e6, 2)
    3.29
    """

    def __init__(self, joints: int, stacks: int = 4, width: int = 128, blocks: int = 1) -> None:
        super().__init__()
        if width % 4:
            raise ValueError(
                f"hourglass width {width} is not a multiple of 4; use for example {width // 4 * 4 or 4}"
            )
        quarter, half = width // 4, width // 2
        self.stem = nn.Sequential(
            nn.Conv2d(3, quarter, 7, stride=2, padding=3), nn.BatchNorm2d(quarter), nn.ReLU()
        )
        self.before_pool = Residual(quarter, half)
        self.after_pool = nn.Sequential(Residual(half, width), Residual(width, width))
        self.features = nn.Identity()
        self.stacks = nn.ModuleList(Stack(width, joints, blocks, last=s == stacks - 1) for s in range(stacks))

    def forward(self, images: Tensor) -> Tensor:
        x = self.after_pool(F.max_pool2d(self.before_pool(self.stem(images)), 2))
        scores = []
        for stack in self.stacks:
            x, y, score = stack(x)
            scores.append(score)
        self.features(y)  # where distillation looks
        return torch.stack(scores, 1)


def build(variant: str, joints: int, size: Size) -> nn.Module:
    """`STACKSxCHANNELS`; ValueError if the variant is another, or if a side is no multiple of 64."""
    match = re.fullmatch(r"([1-9]\d*)x([1-9]\d*)", variant)
    if match is None:
        raise ValueError(f"hourglass-{variant}: name stacks and channels, as in hourglass-4x128")
    divided(f"hourglass-{variant}", size, SIDES)
    return Hourglass(joints, stacks=int(match[1]), width=int(match[2]))


def from_fpd(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The weights of a checkpoint of FPD's authors (ilovepose/fast-human-pose-estimation.pytorch) under the
    names used here.

    Their names count the levels of an hourglass from the innermost: `hg.S.hg.L.B` is branch B (0 keep, 1
    down, 2 up, 3 innermost) of level L + 1.
    """
    renamed = {}
    for name, tensor in state.items():
        renamed[_from_fpd_name(name.removeprefix("module."))] = tensor
    return renamed


def _from_fpd_name(name: str) -> str:
    # Residual blocks: bn1 conv1 ... downsample.0
    name = re.sub(r"\bdownsample\.0\b", "skip", name)
    for prefix, ours in (
        ("conv1.", "stem.0."),
        ("bn1.", "stem.1."),
        ("layer1.0.", "before_pool."),
        ("layer2.0.", "after_pool.0."),
        ("layer3.0.", "after_pool.1."),
    ):
        if name.startswith(prefix):
            return ours + (
                _residual_name(name[len(prefix) :])
                if ours.startswith(("before", "after"))
                else name[len(prefix) :]
            )
    if match := re.fullmatch(r"hg\.(\d+)\.hg\.(\d+)\.(\d)\.(\d+)\.(.+)", name):
        stack, level, branch, block, rest = int(match[1]), int(match[2]), int(match[3]), match[4], match[5]
        path = ".".join(
            ["hourglass", *["below"] * (DEPTH - 1 - level), ("keep", "down", "up", "below")[branch]]
        )
        return f"stacks.{stack}.{path}.{block}.{_residual_name(rest)}"
    if match := re.fullmatch(r"res\.(\d+)\.(\d+)\.(.+)", name):
        return f"stacks.{match[1]}.residual.{match[2]}.{_residual_name(match[3])}"
    if match := re.fullmatch(r"(fc|score|fc_|score_)\.(\d+)\.(.+)", name):
        ours = {"fc": "features", "score": "score", "fc_": "features_back", "score_": "score_back"}[match[1]]
        return f"stacks.{match[2]}.{ours}.{match[3]}"
    raise ValueError(f"{name} is no weight of an FPD hourglass; is this checkpoint of another network?")


def _residual_name(name: str) -> str:
    return re.sub(r"^bn(\d)", r"norm\1", name)


FAMILY = Family("hourglass", build, example="hourglass-4x128", smallest="hourglass-1x16")
