"""The token networks as ONNX files: the same numbers as torch's, whatever the number of images. Small ones,
with a backbone that averages.
"""

import numpy as np
import onnxruntime
import pytest
import torch
from torch import nn

from poseling.codecs import Coordinates, Heatmap
from poseling.export.onnx import Deployed, graph
from poseling.models import tokenpose_mobile
from poseling.models.distilpose import DistilPose
from poseling.models.tokenpose import Transformer
from poseling.models.tokenpose_mobile import TokenPoseMobile
from poseling.skeleton import LSP14
from poseling.spec import PoseSpec

SIZE = (64, 96)


class Pyramid(nn.Module):
    """Average colours at strides 4, 8, 16 and 32."""

    def forward(self, images):
        return tuple(nn.functional.avg_pool2d(images, stride) for stride in (4, 8, 16, 32))


def heatmaps():
    return TokenPoseMobile(Pyramid(), (3, 3, 3, 3), 14, SIZE, depth=2), Heatmap(SIZE)


def points():
    return DistilPose(
        Pyramid(), *tokenpose_mobile.encode((3, 3, 3, 3), 14, SIZE), Transformer(2, 8)
    ), Coordinates(SIZE)


@pytest.mark.slow
@pytest.mark.parametrize("make", [heatmaps, points])
def test_a_file_says_what_the_network_says(make):
    torch.manual_seed(0)
    network, codec = make()
    with torch.no_grad():
        for parameter in network.head.parameters():
            parameter.mul_(20)  # so that joints differ
    deployed = Deployed(network, PoseSpec("tokens", LSP14, codec.fields(), SIZE)).eval()
    model = onnxruntime.InferenceSession(graph(deployed).SerializeToString())
    for count in (1, 3):  # two were exported
        crops = np.random.default_rng(count).integers(0, 256, (count, SIZE[1], SIZE[0], 3), np.uint8)
        with torch.no_grad():
            expected = deployed(torch.from_numpy(crops))
        for found, wanted in zip(model.run(None, {"crops": crops}), expected, strict=True):
            np.testing.assert_allclose(found, wanted.numpy(), atol=1e-3)
