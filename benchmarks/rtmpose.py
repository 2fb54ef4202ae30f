"""RTMPose's architecture (Jiang et al., 2023) with random weights, to time it: its weights are not at hand.

    python benchmarks/rtmpose.py --size s --out rtmpose-s.onnx

CSPNeXt and the SimCC head with one gated attention unit, for 17 joints of 192 x 256 pixels, as
OpenMMLab's configurations describe them. The published numbers of parameters, 3.34 million (t) and 5.47
(s), are checked. How long it takes does not depend on the weights; what it says means nothing.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

JOINTS, WIDTH, HEIGHT, SPLIT = 17, 192, 256, 2
SIZES = {"t": (0.167, 0.375, 3.34), "s": (0.33, 0.5, 5.47)}  # depth, width, million parameters
STAGES = ((64, 128, 3), (128, 256, 6), (256, 512, 6), (512, 1024, 3))


def conv(into: int, out: int, kernel: int = 1, stride: int = 1, groups: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(into, out, kernel, stride, kernel // 2, groups=groups, bias=False),
        nn.BatchNorm2d(out),
        nn.SiLU(),
    )


class Block(nn.Module):
    def __init__(self, width: int, identity: bool) -> None:
        super().__init__()
        self.first = conv(width, width, 3)
        self.second = nn.Sequential(conv(width, width, 5, groups=width), conv(width, width))
        self.identity = identity

    def forward(self, x: Tensor) -> Tensor:
        out = self.second(self.first(x))
        return out + x if self.identity else out


class Stage(nn.Module):
    """A cross-stage partial layer with attention over channels."""

    def __init__(self, into: int, out: int, blocks: int, last: bool) -> None:
        super().__init__()
        half = out // 2
        self.down = conv(into, out, 3, 2)
        self.pool = nn.ModuleList([conv(out, half), conv(4 * half, out)]) if last else None
        self.main, self.short = conv(out, half), conv(out, half)
        self.blocks = nn.Sequential(*(Block(half, not last) for _ in range(blocks)))
        self.attention = nn.Conv2d(out, out, 1)
        self.end = conv(out, out)

    def forward(self, x: Tensor) -> Tensor:
        x = self.down(x)
        if self.pool is not None:
            x = self.pool[0](x)
            x = self.pool[1](torch.cat([x, *(F.max_pool2d(x, k, 1, k // 2) for k in (5, 9, 13))], 1))
        x = torch.cat([self.blocks(self.main(x)), self.short(x)], 1)
        return self.end(x * F.hardsigmoid(self.attention(F.adaptive_avg_pool2d(x, 1))))


class Norm(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.scale, self.g = width**-0.5, nn.Parameter(torch.ones(1))

    def forward(self, x: Tensor) -> Tensor:
        return x / (torch.linalg.norm(x, dim=-1, keepdim=True) * self.scale).clamp(min=1e-5) * self.g


class RTMPose(nn.Module):
    def __init__(self, size: str) -> None:
        super().__init__()
        deep, wide, _ = SIZES[size]
        stem = int(64 * wide)
        self.stem = nn.Sequential(
            conv(3, stem // 2, 3, 2), conv(stem // 2, stem // 2, 3), conv(stem // 2, stem, 3)
        )
        self.stages = nn.Sequential(
            *(
                Stage(int(a * wide), int(b * wide), max(1, round(n * deep)), i == 3)
                for i, (a, b, n) in enumerate(STAGES)
            )
        )
        cells, hidden, e, s = WIDTH * HEIGHT // 32**2, 256, 512, 128
        self.final = nn.Conv2d(int(1024 * wide), JOINTS, 7, padding=3)
        self.mlp = nn.Sequential(Norm(cells), nn.Linear(cells, hidden, bias=False))
        self.norm, self.uv, self.o = (
            Norm(hidden),
            nn.Linear(hidden, 2 * e + s, bias=False),
            nn.Linear(e, hidden, bias=False),
        )
        self.gamma, self.beta = nn.Parameter(torch.rand(2, s)), nn.Parameter(torch.rand(2, s))
        self.residual = nn.Parameter(torch.ones(hidden))
        self.split = [e, e, s]
        self.x, self.y = (nn.Linear(hidden, SPLIT * side, bias=False) for side in (WIDTH, HEIGHT))

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        tokens = self.mlp(self.final(self.stages(self.stem(image))).flatten(2))
        u, v, base = F.silu(self.uv(self.norm(tokens))).split(self.split, -1)
        q, k = (base.unsqueeze(2) * self.gamma + self.beta).unbind(2)
        attention = F.relu(q @ k.transpose(1, 2) / self.split[2] ** 0.5).square()
        tokens = tokens * self.residual + self.o(u * (attention @ v))
        return self.x(tokens), self.y(tokens)


def build(size: str, out: Path) -> None:
    """The ONNX file; ValueError if the number of parameters is not the published one."""
    network = RTMPose(size).eval()
    millions = sum(p.numel() for p in network.parameters()) / 1e6
    if abs(millions - SIZES[size][2]) > 0.005 * SIZES[size][2]:
        raise ValueError(f"RTMPose-{size}: {millions:.3f} million parameters, published are {SIZES[size][2]}")
    torch.onnx.export(
        network,
        (torch.zeros(1, 3, HEIGHT, WIDTH),),
        out,
        input_names=["input"],
        output_names=["simcc_x", "simcc_y"],
        opset_version=17,
        dynamo=False,
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--size", choices=sorted(SIZES), default="s")
    parser.add_argument("--out", type=Path, required=True)
    flags = parser.parse_args()
    build(flags.size, flags.out)
    print(flags.out)
