"""OKDHP: three hourglasses on one stem, which are trained against their ensemble (Li et al., ICCV 2021).

`okdhp-STACKSxCHANNELS`, as `okdhp-2x128`. Each branch is a stacked hourglass; the Feature Aggregation Unit
weights the three last heatmaps of each joint by the stem's map, and the weighted sum, the ensemble, is the
target of all branches. At inference one branch is enough (`single`); it costs what
`hourglass-STACKSxCHANNELS` costs and has the same names.

Differs from the authors' code: with more than two stacks, that sums stacks which are not each branch's last.
"""

from __future__ import annotations

import re

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from poseling.geometry import Size
from poseling.models.family import Family, divided
from poseling.models.hourglass import SIDES, Hourglass, Stack

BRANCHES = 3
KERNELS = (3, 5, 7)  # of the views that give the weights
SQUEEZED = 64


class FeatureAggregation(nn.Module):
    """The stem's map (B, C, h, w) to the weights (B, 3, K) of the branches, which add up to 1 for each joint
    (the FAU).
    """

    def __init__(self, channels: int, joints: int) -> None:
        super().__init__()
        self.views = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(channels, channels, kernel, padding=kernel // 2),
                nn.BatchNorm2d(channels),
                nn.ReLU(),
            )
            for kernel in KERNELS
        )
        self.squeeze = nn.Linear(channels, SQUEEZED)
        self.weigh = nn.ModuleList(nn.Linear(SQUEEZED, joints) for _ in range(BRANCHES))

    def forward(self, x: Tensor) -> Tensor:
        seen = torch.stack([view(x) for view in self.views]).sum(0).mean((2, 3))
        seen = self.squeeze(seen)
        return torch.stack([weigh(seen) for weigh in self.weigh], 1).softmax(1)


class OKDHP(nn.Module):
    """Images (B, 3, H, W) to heatmaps (B, 3 S + 1, K, H/4, W/4): the first stacks of the three branches, the
    second ones, ..., last the ensemble.

    H and W are multiples of 64. The last four are each branch's heatmaps and the ensemble's; [:, :-1] are the
    students and [:, -1] their teacher.
    """

    def __init__(self, joints: int, stacks: int = 4, width: int = 256, blocks: int = 1) -> None:
        super().__init__()
        first = Hourglass(joints, stacks, width, blocks)
        self.stem, self.before_pool, self.after_pool = first.stem, first.before_pool, first.after_pool
        others = [
            nn.ModuleList(Stack(width, joints, blocks, last=s == stacks - 1) for s in range(stacks))
            for _ in range(BRANCHES - 1)
        ]
        self.branches = nn.ModuleList([first.stacks, *others])
        self.aggregation = FeatureAggregation(width, joints)
        self.shape = (joints, stacks, width, blocks)

    def forward(self, images: Tensor) -> Tensor:
        x = self.after_pool(F.max_pool2d(self.before_pool(self.stem(images)), 2))
        branches = []
        for stacks in self.branches:
            assert isinstance(stacks, nn.ModuleList)
            trunk, scores = x, []
            for stack in stacks:
                trunk, *_, score = stack(trunk)
                scores.append(score)
            branches.append(torch.stack(scores, 1))
        every = torch.stack(branches, 2)  # (B, S, 3, K, h, w)
        ensemble = (every[:, -1] * self.aggregation(x)[..., None, None]).sum(1, keepdim=True)
        return torch.cat((every.flatten(1, 2), ensemble), 1)


def single(network: OKDHP, branch: int = 0) -> Hourglass:
    """One branch with the stem as a plain hourglass with weights of its own, for use and for export;
    ValueError if there is no such branch.
    """
    if not 0 <= branch < BRANCHES:
        raise ValueError(f"branch {branch}: there are {BRANCHES}, from 0 to {BRANCHES - 1}")
    weights = {}
    for name, tensor in network.state_dict().items():
        if name.startswith(f"branches.{branch}."):
            weights[f"stacks.{name.removeprefix(f'branches.{branch}.')}"] = tensor
        elif not name.startswith(("branches.", "aggregation.")):
            weights[name] = tensor
    joints, stacks, width, blocks = network.shape
    like = next(network.parameters())
    hourglass = Hourglass(joints, stacks, width, blocks).to(like.device, like.dtype)
    hourglass.load_state_dict(weights)
    return hourglass.train(network.training)


def build(variant: str, joints: int, size: Size) -> nn.Module:
    """`STACKSxCHANNELS`; ValueError if the variant is another, or if a side is no multiple of 64."""
    match = re.fullmatch(r"([1-9]\d*)x([1-9]\d*)", variant)
    if match is None:
        raise ValueError(f"okdhp-{variant}: name the stacks and channels of each branch, as in okdhp-2x128")
    divided(f"okdhp-{variant}", size, SIDES)
    return OKDHP(joints, stacks=int(match[1]), width=int(match[2]))


FAMILY = Family("okdhp", build, example="okdhp-2x128", smallest="okdhp-1x16")
