"""A small network with everything that makes compressing hard: a residual sum, a depthwise convolution, a
squeeze, two maps put together.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from poseling.codecs.heatmap import Heatmap
from poseling.models.graph import Graph, GraphNetwork, Operation
from poseling.skeleton import LSP14
from poseling.spec import PoseSpec

SIZE = (32, 48)


def conv(
    layer: str, inputs: int, outputs: int, kernel: int = 1, stride: int = 1, groups: int = 1
) -> dict[str, Any]:
    return {
        "layer": layer, "channels": [inputs, outputs], "kernel": [kernel, kernel], "strides": [stride, stride],
        "pads": [kernel // 2] * 4, "dilations": [1, 1], "groups": groups, "bias": True,
    }  # fmt: skip


def operations() -> tuple[Operation, ...]:
    return (
        Operation("Conv", ("x",), ("stem",), conv("stem", 3, 24, 3, 2)),
        Operation("Relu", ("stem",), ("s",)),
        Operation("Conv", ("s",), ("down",), conv("down", 24, 16, 3, 2)),
        Operation("Conv", ("down",), ("wide",), conv("wide", 16, 48)),
        Operation("Clip", ("wide",), ("w",), {"min": 0.0, "max": 6.0}),
        Operation("Conv", ("w",), ("deep",), conv("deep", 48, 48, 3, groups=48)),
        Operation("Relu", ("deep",), ("d",)),
        Operation("GlobalAveragePool", ("d",), ("mean",)),
        Operation("Conv", ("mean",), ("less",), conv("less", 48, 24)),
        Operation("Relu", ("less",), ("l",)),
        Operation("Conv", ("l",), ("more",), conv("more", 24, 48)),
        Operation("Sigmoid", ("more",), ("gate",)),
        Operation("Mul", ("d", "gate"), ("weighed",)),
        Operation("Conv", ("weighed",), ("back",), conv("back", 48, 16)),
        Operation("Add", ("down", "back"), ("sum",)),
        Operation("Conv", ("sum",), ("side",), conv("side", 16, 32, 3)),
        Operation("Relu", ("side",), ("r",)),
        Operation("Concat", ("r", "sum"), ("both",), {"axis": 1}),
        Operation("Conv", ("both",), ("maps",), conv("maps", 48, 14)),
    )


@pytest.fixture
def network() -> GraphNetwork:
    torch.manual_seed(0)
    torch.set_num_threads(1)
    return GraphNetwork(Graph(operations(), "x", "maps", "both")).eval()


@pytest.fixture
def grouped() -> GraphNetwork:
    """ResNeXt's kind of convolution: each of four groups reads its own quarter of the channels."""
    torch.manual_seed(0)
    operations = (
        Operation("Conv", ("x",), ("stem",), conv("stem", 3, 32, 3, 2)),
        Operation("Conv", ("stem",), ("quarters",), conv("quarters", 32, 32, 3, groups=4)),
        Operation("Conv", ("quarters",), ("wide",), conv("wide", 32, 48)),
        Operation("Conv", ("wide",), ("maps",), conv("maps", 48, 14)),
    )
    return GraphNetwork(Graph(operations, "x", "maps", "wide")).eval()


@pytest.fixture
def spec() -> PoseSpec:
    return PoseSpec(
        "graph", LSP14, Heatmap(SIZE, softmax=True).fields(), SIZE, mean=(0.5,) * 3, std=(0.5,) * 3
    )


@pytest.fixture
def images() -> torch.Tensor:
    """(4, 3, H, W), normalised."""
    return torch.randn(4, 3, SIZE[1], SIZE[0], generator=torch.Generator().manual_seed(1))


@pytest.fixture
def crops() -> np.ndarray:
    """(16, H, W, 3) uint8."""
    return np.random.default_rng(0).integers(0, 256, (16, SIZE[1], SIZE[0], 3), np.uint8)
