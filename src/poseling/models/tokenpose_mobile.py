"""TokenPose's transformer on a mobile backbone: `tokenpose_mobile-BACKBONE` or `-BACKBONE-DEPTH`, as
`tokenpose_mobile-mobilenetv2-4`.

The pairing is that of the pose work at DFKI (Igel, Sarode, Khan), which names TokenPose teachers and
MobileNet or EfficientFormer students without the details; these are ours. The maps at strides 16 and 32
become one of the tokens' width as in `vitpose_mobile`; each of its pixels is a token, 16x12 of them at
256x192. Six layers of eight heads by default: half of TokenPose-S. Tokens and head are those of
`tokenpose-t`, `-s_v1`, `-s_v2` and `-b`, so that a teacher's head can be copied (`copy_head`).
"""

from __future__ import annotations

import re

from torch import Tensor, nn

from poseling.geometry import Size
from poseling.models import backbones
from poseling.models.family import Family
from poseling.models.tokenpose import DIM, HeatmapHead, Tokens, Transformer, initialise, maps
from poseling.models.vitpose_mobile import Neck

DEPTH = 6
HEADS = 8
MULTIPLE = 32  # of width and height: the coarsest map that is read


class TokenPoseMobile(nn.Module):
    """Images (B, 3, H, W) of one `size` to heatmaps (B, 1, K, H/4, W/4).

    `backbone` gives maps at strides 4, 8, 16 and 32 and has their `channels`. `features` gives (B, DIM, H/16,
    W/16), `visual_tokens` and `keypoint_tokens` what comes out of the last layer, (B, T, DIM) and (B, K,
    DIM).
    """

    def __init__(
        self, backbone: nn.Module, channels: tuple[int, ...], joints: int, size: Size, depth: int = DEPTH
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self.features, self.tokens = encode(channels, joints, size)
        self.transformer = Transformer(depth, HEADS)
        self.visual_tokens, self.keypoint_tokens = nn.Identity(), nn.Identity()
        self.head = HeatmapHead(DIM, maps(size))
        initialise(self.tokens, self.transformer, self.head)

    def forward(self, images: Tensor) -> Tensor:
        joints = self.tokens.joints.shape[1]
        tokens = self.transformer(self.tokens(self.features(self.backbone(images))), self.tokens.position)
        self.visual_tokens(tokens[:, joints:])
        return self.head(self.keypoint_tokens(tokens[:, :joints]))[:, None]


def encode(channels: tuple[int, ...], joints: int, size: Size) -> tuple[Neck, Tokens]:
    """What makes one map of a backbone's four, and what makes tokens of that; ValueError if the size is no
    multiple of 32.
    """
    return Neck(channels, DIM), Tokens(nn.Identity(), joints, grid(size))


def grid(size: Size) -> tuple[int, int]:
    """(rows, columns) of visual tokens at an input of `size` (W, H); ValueError for no multiple of 32."""
    width, height = size
    if width % MULTIPLE or height % MULTIPLE:
        raise ValueError(
            f"input {width}x{height}: width and height have to be multiples of {MULTIPLE} for a mobile "
            f"backbone"
        )
    return height // 16, width // 16


def copy_head(student: nn.Module, teacher: nn.Module) -> None:
    """Gives `student` the weights of `teacher`'s head, which stays as it is; both are networks of this file
    or of `tokenpose`.

    ValueError if one has no such head, or if the heads differ: in the size of the heatmaps, or because the
    teacher is a TokenPose-L.
    """
    heads = []
    for role, network in (("student", student), ("teacher", teacher)):
        head = getattr(network, "head", None)
        if not isinstance(head, HeatmapHead):
            raise ValueError(
                f"the {role} is a {type(network).__name__} without TokenPose's head; take a tokenpose-… or "
                f"tokenpose_mobile-… network"
            )
        heads.append(head)
    ours, theirs = heads
    if ours.size != theirs.size:
        raise ValueError(
            f"the teacher's maps are {theirs.size[1]}x{theirs.size[0]}, the student's "
            f"{ours.size[1]}x{ours.size[0]}: build both for one input size"
        )
    if len(ours.layers) != len(theirs.layers):
        raise ValueError(
            "the teacher's head reads the tokens of three transformers (TokenPose-L), the student's of one; "
            "take tokenpose-t, -s_v1, -s_v2 or -b"
        )
    ours.load_state_dict(theirs.state_dict())


def parse(text: str, family: str) -> tuple[str, int]:
    """The backbone and the depth that `text` asks for, as `mobilenetv2` or `mobilenetv2-4`; ValueError names
    `family`-BACKBONE if it is neither.
    """
    match = re.fullmatch(r"([a-z0-9_]+)(?:-([1-9]\d?))?", text)
    if match is None or not backbones.is_name(match[1]):
        raise ValueError(
            f"{family}-{text}: name a backbone and, if not {DEPTH}, the layers of the transformer, as in "
            f"{family}-mobilenetv2-4; "
            f"backbones are {', '.join(backbones.BACKBONES)}"
        )
    return match[1], int(match[2] or DEPTH)


def build(variant: str, joints: int, size: Size) -> nn.Module:
    """The network `tokenpose_mobile-BACKBONE[-DEPTH]` for `size` (W, H); ValueError for another variant, or
    if `size` is no multiple of 32.
    """
    name, depth = parse(variant, "tokenpose_mobile")
    grid(size)
    backbone = backbones.build(name, size)
    return TokenPoseMobile(backbone, backbones.channels(backbone), joints, size, depth)


FAMILY = Family(
    "tokenpose_mobile",
    build,
    example="tokenpose_mobile-mobilenetv2",
    smallest="tokenpose_mobile-mobilenetv2_050-1",
)
