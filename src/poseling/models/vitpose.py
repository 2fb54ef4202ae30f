"""ViTPose: a plain vision transformer and a decoder to heatmaps (Xu et al., NeurIPS 2022), and ViTPose++ (Xu et al., TPAMI 2024).

The transformer is that of `transformers` (`VitPoseBackbone`), which is imported only when such a network is built; the decoders are here, since
`models/vitpose_mobile.py` puts them on other backbones. Their layers are named as in `transformers`, so that published weights fit.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

WIDTH = 256  # of the classic decoder, whatever the width of its input
INIT = 0.001  # standard deviation of a decoder's weights at the start, as in SimpleBaseline (Xiao et al., ECCV 2018), from which the decoder comes


class ClassicDecoder(nn.Module):
    """Two deconvolutions and a 1x1 convolution: a map (B, D, H/16, W/16) to heatmaps (B, K, H/4, W/4).

    >>> sum(p.numel() for p in ClassicDecoder(768, 17).parameters())  # 768 x 256 x 16, 256 x 256 x 16, two norms of 512, 256 x 17 + 17
    4199697
    """

    def __init__(self, dim: int, joints: int) -> None:
        super().__init__()
        self.deconv1 = nn.ConvTranspose2d(dim, WIDTH, 4, stride=2, padding=1, bias=False)
        self.batchnorm1 = nn.BatchNorm2d(WIDTH)
        self.deconv2 = nn.ConvTranspose2d(WIDTH, WIDTH, 4, stride=2, padding=1, bias=False)
        self.batchnorm2 = nn.BatchNorm2d(WIDTH)
        self.conv = nn.Conv2d(WIDTH, joints, 1)
        _start(self)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.batchnorm1(self.deconv1(x)))
        x = F.relu(self.batchnorm2(self.deconv2(x)))
        return self.conv(x)


class SimpleDecoder(nn.Module):
    """ReLU, four times larger, and a 3x3 convolution: a map (B, D, H/16, W/16) to heatmaps (B, K, H/4, W/4).

    >>> sum(p.numel() for p in SimpleDecoder(768, 17).parameters())  # 768 x 17 x 9 + 17
    117521
    """

    def __init__(self, dim: int, joints: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(dim, joints, 3, padding=1)
        _start(self)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(F.interpolate(F.relu(x), scale_factor=4.0, mode="bilinear", align_corners=False))


DECODERS: dict[str, type[ClassicDecoder] | type[SimpleDecoder]] = {"classic": ClassicDecoder, "simple": SimpleDecoder}


def _start(decoder: nn.Module) -> None:
    for module in decoder.modules():
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
            nn.init.normal_(module.weight, std=INIT)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
