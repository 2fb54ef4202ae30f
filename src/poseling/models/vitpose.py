"""ViTPose: a plain vision transformer and a decoder to heatmaps (Xu et al., NeurIPS 2022), and ViTPose++ (Xu
et al., TPAMI 2024).

The transformer is that of `transformers` (`VitPoseBackbone`), which is imported only when such a network is
built; the decoders are here, since `models/vitpose_mobile.py` puts them on other backbones. Their layers are
named as in `transformers`, so that published weights fit.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from poseling.geometry import Size
from poseling.models.family import Family, divided

if TYPE_CHECKING:
    from transformers import VitPoseBackboneConfig, VitPoseConfig

WIDTH = 256  # of the classic decoder, whatever the width of its input
# standard deviation of a decoder's weights at the start, as in SimpleBaseline (Xiao et al., ECCV 2018), from
# which the decoder comes
INIT = 0.001


class ClassicDecoder(nn.Module):
    """Two deconvolutions and a 1x1 convolution: a map (B, D, H/16, W/16) to heatmaps (B, K, H/4, W/4).

    768 x 256 x 16 and 256 x 256 x 16 weights, two norms of 512, then 256 x 17 + 17:

    >>> sum(p.numel() for p in ClassicDecoder(768, 17).parameters())
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


DECODERS: dict[str, type[ClassicDecoder] | type[SimpleDecoder]] = {
    "classic": ClassicDecoder,
    "simple": SimpleDecoder,
}


def _start(decoder: nn.Module) -> None:
    for module in decoder.modules():
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
            nn.init.normal_(module.weight, std=INIT)
            if module.bias is not None:
                nn.init.zeros_(module.bias)


# Name: dim, layers, heads, and the channels of an expert in ViTPose++ (those of the published checkpoints: a
# quarter of dim).
VARIANTS = {
    "t": (192, 12, 3, 48),  # ours, for tests and for work without a GPU; no paper has it
    "s": (384, 12, 12, 96),
    "b": (768, 12, 12, 192),
    "l": (1024, 24, 16, 256),
    "h": (1280, 32, 16, 320),
}
EXPERTS = 6  # ViTPose++ was trained on six data sets, COCO the first
PATCH = 16


class Transformer(nn.Module):
    """The vision transformer of `transformers`: images (B, 3, H, W) to a map (B, D, H/16, W/16), normalised;
    `size` (W, H) is the only one it takes.

    `dataset` chooses the expert of a ViTPose++ and is 0, COCO, unless set.
    """

    def __init__(self, config: VitPoseBackboneConfig) -> None:
        from transformers import VitPoseBackbone  # takes four seconds, so only when one is built

        super().__init__()
        self.vit = VitPoseBackbone(config)
        height, width = (int(s) for s in config.image_size)  # type: ignore[union-attr]  # a list
        self.grid = height // PATCH, width // PATCH
        self.experts, self.dataset = config.num_experts, 0
        self.drop_path = 0.0

    def forward(self, images: Tensor, token: Tensor | None = None) -> Tensor:
        """`token` (1, 1, D) goes through all layers behind the visual tokens and is dropped at the end; it
        has no position, so no position embedding.
        """
        tokens = self.vit.embeddings(images)
        if token is not None:
            tokens = torch.cat([tokens, token.to(tokens.dtype).expand(tokens.shape[0], -1, -1)], 1)
        dataset = (
            torch.full_like(tokens[:, 0, 0], self.dataset, dtype=torch.long) if self.experts > 1 else None
        )
        layers = self.vit.encoder.layer
        for i, layer in enumerate(layers):
            after = layer(tokens, dataset)
            tokens = (
                _passed(tokens, after, self.drop_path * i / max(1, len(layers) - 1))
                if self.training
                else after
            )
        tokens = self.vit.layernorm(tokens[:, : self.grid[0] * self.grid[1]])
        return tokens.transpose(1, 2).unflatten(2, self.grid)


def _passed(before: Tensor, after: Tensor, rate: float) -> Tensor:
    """Stochastic depth (Huang et al., ECCV 2016): what a layer adds is left out for a part `rate` of the
    samples, and larger for the others. The papers drop the attention and the perceptron of a layer one by
    one; here they go together.
    """
    if not rate:
        return after
    kept = (torch.rand(len(before), *[1] * (before.ndim - 1), device=before.device) >= rate).to(before.dtype)
    return before + (after - before) * kept / (1 - rate)


def drop_paths(network: nn.Module, rate: float) -> None:
    """Gives the transformers in a network this rate for their deepest layer, 0 for the first and what lies
    between for the others.
    """
    for module in network.modules():
        if isinstance(module, Transformer):
            module.drop_path = rate


class ViTPose(nn.Module):
    """Images (B, 3, H, W) to heatmaps (B, 1, K, H/4, W/4), H and W as in `config`.

    `backbone` gives a map (B, D, H/16, W/16), which passes through `visual_tokens` as (B, T, D) and through
    `features` as it is to `head`, the decoder.

    A `token`, if it has one, is appended to the visual tokens (ViTPose, "transferability": a teacher's
    knowledge token). See `add_token`.
    """

    def __init__(self, config: VitPoseConfig) -> None:
        super().__init__()
        inner = cast("VitPoseBackboneConfig", config.backbone_config)
        if config.scale_factor != 4 or inner.patch_size not in (PATCH, [PATCH, PATCH], (PATCH, PATCH)):
            raise ValueError(
                f"a ViTPose has patches of 16 pixels and a decoder that makes them 4 x 4, not patches of "
                f"{inner.patch_size} and {config.scale_factor}"
            )
        self.dim = inner.hidden_size
        self.backbone = Transformer(inner)
        self.visual_tokens, self.features = nn.Identity(), nn.Identity()
        self.head = DECODERS["simple" if config.use_simple_decoder else "classic"](
            self.dim, cast(int, config.num_labels)
        )
        self.token: nn.Parameter | None = None
        self.token_projection: nn.Module = nn.Identity()

    def depth(self, name: str) -> int:
        """How deep a parameter lies, for the decay of learning rates: 0 before the layers, i + 1 in layer i,
        and one more behind them, as in ViTPose's code.
        """
        if name.startswith("backbone.vit.encoder.layer."):
            return int(name.split(".")[4]) + 1
        return 0 if name.startswith("backbone.vit.embeddings") else len(self.backbone.vit.encoder.layer) + 1

    def add_token(self, token: Tensor | None = None) -> None:
        """Appends a token to the visual tokens from now on: a new one, which learns, or a copy of `token` (1,
        1, D'), which does not.

        The paper learns the token with a frozen teacher and gives it, frozen, to the student. It does not say
        what to do where their widths differ, as they do from L to B; here a linear projection, which learns,
        leads from D' to D. ValueError if `token` has another shape.
        """
        like = next(self.parameters())
        if token is None:
            self.token = nn.Parameter(nn.init.trunc_normal_(like.new_empty(1, 1, self.dim), std=0.02))
            self.token_projection = nn.Identity()
            return
        if token.ndim != 3 or token.shape[:2] != (1, 1):
            raise ValueError(
                f"a knowledge token has the shape (1, 1, D), not {tuple(token.shape)}; give the teacher's "
                f"`token`"
            )
        self.token = nn.Parameter(token.detach().clone().to(like), requires_grad=False)
        width = token.shape[2]
        self.token_projection = nn.Identity() if width == self.dim else nn.Linear(width, self.dim).to(like)

    def forward(self, images: Tensor) -> Tensor:
        x = self.backbone(images, None if self.token is None else self.token_projection(self.token))
        tokens = self.visual_tokens(x.flatten(2).transpose(1, 2))
        x = self.features(tokens.transpose(1, 2).unflatten(2, x.shape[2:]))
        return self.head(x)[:, None]


def build(variant: str, joints: int, size: Size, experts: int = 1) -> ViTPose:
    """The network `vitpose-VARIANT` for inputs of `size` (W, H), multiples of 16, with random weights.

    VARIANT is t, s, b, l or h, then `-simple` for the simple decoder, then `-token` for a knowledge token
    that learns, or `-token1024` for the frozen one of a teacher that is 1024 wide. ValueError for another.
    """
    match = re.fullmatch(r"([a-z])(-simple)?(?:-token([1-9]\d*)?)?", variant)
    family = "vitpose" if experts == 1 else "vitpose_plus"
    if match is None or match[1] not in VARIANTS:
        raise ValueError(
            f"{family}-{variant}: name one of {', '.join(VARIANTS)}, then if you like -simple, then -token, "
            f"as in {family}-b-simple"
        )
    divided(f"{family}-{variant}", size, PATCH)
    network = ViTPose(configuration(match[1], joints, size, simple=match[2] is not None, experts=experts))
    if "-token" in variant:
        network.add_token(torch.zeros(1, 1, int(match[3])) if match[3] else None)
    return network


def build_plus(variant: str, joints: int, size: Size) -> ViTPose:
    """The network `vitpose_plus-VARIANT` (ViTPose++), whose feed-forward layers have an expert for each of
    six data sets; else as `build`.
    """
    return build(variant, joints, size, EXPERTS)


def configuration(
    variant: str, joints: int, size: Size, simple: bool = False, experts: int = 1
) -> VitPoseConfig:
    """What `transformers` needs to know of a network in VARIANTS for inputs of `size` (W, H)."""
    from transformers import VitPoseBackboneConfig, VitPoseConfig

    dim, layers, heads, part = VARIANTS[variant]
    backbone = VitPoseBackboneConfig(  # type: ignore[call-arg]  # it does take `out_indices`
        image_size=[size[1], size[0]],
        hidden_size=dim,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_experts=experts,
        part_features=part,
        out_indices=[layers],
    )
    decoder: dict[str, Any] = {"num_labels": joints, "use_simple_decoder": simple}
    return VitPoseConfig(backbone_config=backbone, **decoder)


def name(config: VitPoseConfig) -> str:
    """The name of a network in the registry; for one that is not there, `vitpose` with its width, layers and
    heads, as in `vitpose 32x2x4`.
    """
    inner = cast("VitPoseBackboneConfig", config.backbone_config)
    shape = inner.hidden_size, inner.num_hidden_layers, inner.num_attention_heads
    for variant, (*known, part) in VARIANTS.items():
        if (
            shape == tuple(known)
            and inner.num_experts in (1, EXPERTS)
            and (inner.num_experts == 1 or inner.part_features == part)
        ):
            family = "vitpose_plus" if inner.num_experts > 1 else "vitpose"
            return f"{family}-{variant}{'-simple' if config.use_simple_decoder else ''}"
    return f"vitpose {'x'.join(str(s) for s in shape)}"


def from_transformers(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The weights of a `VitPoseForPoseEstimation` by the names of a `ViTPose` of the same configuration."""
    return {re.sub(r"^backbone\.", "backbone.vit.", name): tensor for name, tensor in state.items()}


FAMILY = Family("vitpose", build, example="vitpose-b-simple", smallest="vitpose-t-simple")
FAMILY_PLUS = Family("vitpose_plus", build_plus, example="vitpose_plus-b", smallest="vitpose_plus-t-simple")
