"""ViTPose's decoders on a mobile backbone: the student of a ViTPose.

`vitpose_mobile-BACKBONE[-DECODER[-WIDTH]]`, for example `vitpose_mobile-mobilenetv2-simple` or
`vitpose_mobile-efficientformer_l1-classic-768`. The neck, from a pyramid to one map like a ViT's, is
Poseling's own; no paper describes it.
"""

from __future__ import annotations

import re

from torch import Tensor, nn
from torch.nn import functional as F

from poseling.geometry import Size
from poseling.models import backbones
from poseling.models.family import Family, divided
from poseling.models.vitpose import DECODERS, ClassicDecoder, SimpleDecoder

WIDTH = 256


class Neck(nn.Module):
    """Maps at strides 4, 8, 16 and 32, of which the last two are read, to one map (B, D, H/16, W/16).

    Each goes through a 1x1 convolution to D channels, the coarse one is doubled bilinearly, and their sum is
    normalised over the batch; the map is signed as that of a ViT, whose last layer is a norm too.
    """

    def __init__(self, channels: tuple[int, ...], width: int) -> None:
        super().__init__()
        self.fine = nn.Conv2d(channels[2], width, 1, bias=False)
        self.coarse = nn.Conv2d(channels[3], width, 1, bias=False)
        self.norm = nn.BatchNorm2d(width)

    def forward(self, maps: tuple[Tensor, ...]) -> Tensor:
        coarse = F.interpolate(self.coarse(maps[3]), scale_factor=2.0, mode="bilinear", align_corners=False)
        return self.norm(self.fine(maps[2]) + coarse)


class ViTPoseMobile(nn.Module):
    """Images (B, 3, H, W) to heatmaps (B, 1, K, H/4, W/4); H and W are multiples of 32.

    `backbone` gives four maps, `features` one of `width` channels, which `head`, a decoder of ViTPose, reads.
    """

    def __init__(
        self,
        backbone: nn.Module,
        channels: tuple[int, ...],
        joints: int,
        decoder: str = "classic",
        width: int = WIDTH,
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self.features = Neck(channels, width)
        self.head = DECODERS[decoder](width, joints)

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.features(self.backbone(images)))[:, None]


def build(variant: str, joints: int, size: Size) -> nn.Module:
    """The network `vitpose_mobile-VARIANT` for inputs of `size` (W, H); ValueError that lists the
    choices if a part of the variant is unknown.
    """
    match = re.fullmatch(r"(\w+)(?:-([a-z]+)(?:-([1-9][0-9]*))?)?", variant)
    name, decoder, width = match.groups() if match else (variant, None, None)
    if not backbones.is_name(name) or (decoder or "classic") not in DECODERS:
        raise ValueError(
            f"vitpose_mobile-{variant}: name a backbone ({', '.join(backbones.BACKBONES)}), then if you like "
            f"a decoder ({', '.join(DECODERS)}) "
            "and a width, as in vitpose_mobile-mobilenetv2-simple-256"
        )
    divided(f"vitpose_mobile-{variant}", size, 32)
    backbone = backbones.build(name, size)
    return ViTPoseMobile(
        backbone, backbones.channels(backbone), joints, decoder or "classic", int(width or WIDTH)
    )


def copy_decoder(student: nn.Module, teacher: nn.Module) -> None:
    """Gives the student's `head` the weights of the teacher's; ValueError if they are not decoders of one
    kind, width and number of joints.
    """
    mine, theirs = _decoder(student, "student"), _decoder(teacher, "teacher")
    if type(mine) is not type(theirs):
        raise ValueError(
            f"the student's decoder is {_kind(mine)}, the teacher's {_kind(theirs)}; build the student with "
            f"'-{_kind(theirs)}' in its name"
        )
    (width, joints), (teacher_width, teacher_joints) = _shape(mine), _shape(theirs)
    if width != teacher_width:
        raise ValueError(
            f"the student's decoder reads {width} channels, the teacher's {teacher_width}; build the student "
            f"with '-{_kind(theirs)}-{teacher_width}' in its name"
        )
    if joints != teacher_joints:
        raise ValueError(
            f"the student's decoder gives {joints} joints, the teacher's {teacher_joints}; a copied decoder "
            f"needs the teacher's skeleton"
        )
    mine.load_state_dict(theirs.state_dict())


def _decoder(network: nn.Module, whose: str) -> ClassicDecoder | SimpleDecoder:
    head = getattr(network, "head", None)
    if not isinstance(head, ClassicDecoder | SimpleDecoder):
        raise ValueError(
            f"the {whose} is a {type(network).__name__} without a decoder of ViTPose; only a vitpose or a "
            f"vitpose_mobile has one"
        )
    return head


def _kind(decoder: nn.Module) -> str:
    return next(name for name, kind in DECODERS.items() if kind is type(decoder))


def _shape(decoder: ClassicDecoder | SimpleDecoder) -> tuple[int, int]:
    """(D, K)"""
    first = decoder.deconv1 if isinstance(decoder, ClassicDecoder) else decoder.conv
    return first.in_channels, decoder.conv.out_channels


FAMILY = Family(
    "vitpose_mobile",
    build,
    example="vitpose_mobile-mobilenetv2-simple",
    smallest="vitpose_mobile-mobilenetv2_050-simple-32",
)
