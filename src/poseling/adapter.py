"""How an ONNX pose network is fed and read, as data: an `Adapter`. MoveNet's, BlazePose's and RTMPose's are
here, docs/teachers.md shows how to write one.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from poseling.geometry import Size
from poseling.records import from_fields, read_json
from poseling.skeleton import BLAZEPOSE33, COCO17, Skeleton
from poseling.spec import SIDE, PoseSpec

Activation = Literal["none", "sigmoid", "softmax"]
NAME = "adapter"  # what a PoseSpec's `codec` is called where it holds an adapter


def _choice(name: str, value: str, *choices: str) -> None:
    if value not in choices:
        raise ValueError(f"{name} {value!r} is unknown; use {' or '.join(choices)}")


@dataclass(frozen=True)
class Points:
    """Coordinates in the output called `output`, read as (B, rows, `columns`) numbers whatever its shape.

    `x` and `y` are the columns of the two axes. `normalised` coordinates are parts of the input's width and
    height, others are input pixels. `corner`: 0 is the corner of the first pixel, as in most
    networks; without it 0 is that pixel's centre, and a normalised 1 the centre of the last. `rows` are the
    joints in the skeleton's order, the first K rows if None.
    """

    output: str
    columns: int
    x: int = 0
    y: int = 1
    normalised: bool = False
    corner: bool = True
    rows: tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        if (
            self.columns < 2
            or self.x == self.y
            or not all(0 <= axis < self.columns for axis in (self.x, self.y))
        ):
            raise ValueError(
                f"points: x and y are two different columns of 0..{self.columns - 1}, got x {self.x} and y "
                f"{self.y}"
            )


@dataclass(frozen=True)
class Maps:
    """Heatmaps in the output called `output`, (B, channels, h, w) if `layout` is bchw, (B, h, w, channels) if
    bhwc.

    `activation` is what still has to be done to them: none where they are Gaussians or past their sigmoid,
    softmax (over the pixels) where each is a distribution's logits. `sigma` of their Gaussians in heatmap
    pixels. `unbiased` and `decoding` as in `codecs.heatmap.Heatmap`: without unbiased, heatmap pixel i lies
    at input pixel i times the stride. `channels` are the joints in the skeleton's order, the first K if None.
    """

    output: str
    layout: Literal["bchw", "bhwc"] = "bchw"
    activation: Activation = "none"
    sigma: float = 2.0
    unbiased: bool = False
    decoding: Literal["plain", "quarter", "dark"] = "dark"
    channels: tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        _choice("maps: layout", self.layout, "bchw", "bhwc")
        _choice("maps: activation", self.activation, "none", "sigmoid", "softmax")
        _choice("maps: decoding", self.decoding, "plain", "quarter", "dark")
        if not self.sigma > 0:
            raise ValueError(
                f"maps: sigma is {self.sigma}; it is a Gaussian's width in heatmap pixels, above 0"
            )


@dataclass(frozen=True)
class Bins:
    """SimCC's bins (see `codecs.simcc`) in two outputs, `x` (B, rows, `split` W) and `y` (B, rows, `split`
    H), as RTMPose and DWPose give them.

    Without an `activation` the numbers are heights, 1 for a network that is sure, and the score is the lesser
    of the two highest, as in RTMPose's code; with softmax they are logits of Gaussians of `sigma` bins
    (RTMPose's rule if None) at `beta`, and the score is our SimCC's. `unbiased` and `decoding` as in
    `codecs.simcc.SimCC`: without unbiased, bin i lies at input pixel i / split. `rows` are the joints in the
    skeleton's order, the first K if None.
    """

    x: str = "simcc_x"
    y: str = "simcc_y"
    split: int = 2
    activation: Literal["none", "softmax"] = "none"
    beta: float = 10.0
    sigma: float | tuple[float, float] | None = None
    unbiased: bool = False
    decoding: Literal["plain", "dark"] = "plain"
    rows: tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        _choice("bins: activation", self.activation, "none", "softmax")
        if self.decoding not in ("plain", "dark"):
            raise ValueError(f"decoding {self.decoding!r} is unknown to SimCC; use plain or dark")
        if self.split < 1:
            raise ValueError(
                f"split is {self.split}; it is how many bins a pixel has, a whole number of 1 or more"
            )
        if not 0 < self.beta < np.inf:
            raise ValueError(
                f"beta is {self.beta}; it multiplies the logits before each softmax, a number above 0 such "
                f"as RTMPose's 10"
            )
        if not min(self.sigmas((64, 64))) > 0:
            raise ValueError(f"sigma is {self.sigma}; it is a Gaussian's width in bins, above 0")

    def sigmas(self, size: Size) -> tuple[float, float]:
        """Along x and along y, in bins of an input of `size` (W, H)."""
        if self.sigma is None:
            x, y = (self.split / 2 * float(np.sqrt(side / 8)) for side in size)
        else:
            x, y = self.sigma if isinstance(self.sigma, tuple) else (self.sigma, self.sigma)
        return float(x), float(y)


@dataclass(frozen=True)
class Space:
    """3D joints in the output called `output`, read as (B, rows, `columns`) numbers whatever its shape.

    `x`, `y` and `z` are the columns of the three axes. `unit` is the metres in a 1 of each: below 0 where the
    axis points the other way than ours, which are x right, y down and z away from the camera. The result is
    from the root, whatever the numbers are from. `rows` as in `Points`.
    """

    output: str
    columns: int = 3
    x: int = 0
    y: int = 1
    z: int = 2
    unit: tuple[float, float, float] = (1.0, 1.0, 1.0)
    rows: tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        axes = {self.x, self.y, self.z}
        if len(axes) != 3 or not all(0 <= axis < self.columns for axis in axes):
            raise ValueError(
                f"space: x, y and z are three different columns of 0..{self.columns - 1}, got x {self.x}, y "
                f"{self.y} and z {self.z}"
            )
        if len(self.unit) != 3 or not np.isfinite(self.unit).all() or 0 in self.unit:
            raise ValueError(
                f"space: unit is three numbers, the metres in a 1 along x, y and z, none of them 0, got "
                f"{self.unit}"
            )


@dataclass(frozen=True)
class Confidence:
    """How sure the network is of each joint: the column `column` of the output called `output`, read as (B,
    rows, `columns`); `activation` makes 0..1 of it.
    """

    output: str
    columns: int = 1
    column: int = 0
    activation: Literal["none", "sigmoid"] = "none"
    rows: tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        _choice("score: activation", self.activation, "none", "sigmoid")
        if not 0 <= self.column < self.columns:
            raise ValueError(f"score: column {self.column} is not one of 0..{self.columns - 1}")


@dataclass(frozen=True)
class Adapter:
    """How to feed an ONNX pose network and how to read it. What the file says itself, the input's type and
    mostly its size, is taken from the file.

    `padding` of the box around a person. Its one input gets (pixel / 255 * `white` - `mean`) / `std` in the
    order of `colour`: white is 255 for networks that want 0..255, 1 for those that want 0..1. `size` (W, H)
    only where the file leaves it free. A network gives `points`, `bins` or `maps`, or several: joints are
    those of the first that is there. The score is `score`; without it that of the bins, or the height of the
    map's peak; with points alone each joint weighs 1. `space` where the network knows depth. `licences` of
    code, weights and data.
    """

    skeleton: Skeleton
    padding: float = 1.25
    layout: Literal["bhwc", "bchw"] = "bchw"
    colour: Literal["rgb", "bgr"] = "rgb"
    white: float = 1.0
    mean: tuple[float, ...] = (0.0, 0.0, 0.0)
    std: tuple[float, ...] = (1.0, 1.0, 1.0)
    size: Size | None = None
    points: Points | None = None
    bins: Bins | None = None
    maps: Maps | None = None
    score: Confidence | None = None
    space: Space | None = None
    licences: dict[str, str] = field(
        default_factory=lambda: {"code": "unknown", "weights": "unknown", "data": "unknown"}
    )

    def __post_init__(self) -> None:
        _choice("layout", self.layout, "bhwc", "bchw")
        _choice("colour", self.colour, "rgb", "bgr")
        if self.points is None and self.bins is None and self.maps is None:
            raise ValueError(
                "the adapter names neither points, bins nor maps; say in which output the network gives its "
                "joints"
            )
        if not len(self.skeleton):
            raise ValueError("its skeleton has no joints; name those that the network gives")
        if not self.padding > 0 or not self.white > 0:
            raise ValueError(f"padding {self.padding} and white {self.white} are above 0")
        if len(self.mean) != 3 or len(self.std) != 3 or not all(s > 0 for s in self.std):
            raise ValueError(
                f"mean and std are three numbers each, std above 0, got {self.mean} and {self.std}"
            )
        if self.size is not None and (
            len(self.size) != 2 or not all(2 <= side <= SIDE for side in self.size)
        ):
            raise ValueError(f"size is (width, height) in pixels, 2 to {SIDE}, got {self.size}")
        chosen = {
            "points: rows": self.points.rows if self.points else None,
            "bins: rows": self.bins.rows if self.bins else None,
            "maps: channels": self.maps.channels if self.maps else None,
            "score: rows": self.score.rows if self.score else None,
            "space: rows": self.space.rows if self.space else None,
        }
        for name, rows in chosen.items():
            if rows is not None and (len(rows) != len(self.skeleton) or min(rows) < 0):
                raise ValueError(
                    f"{name} is one place for each of the {len(self.skeleton)} joints of skeleton "
                    f"{self.skeleton.name}, got {rows}"
                )
        if self.space is not None:
            _ = self.skeleton.root  # ValueError where there is none

    @property
    def outputs(self) -> tuple[str, ...]:
        """The names of the network's outputs that are read."""
        bins = () if self.bins is None else (self.bins.x, self.bins.y)
        one = (part.output for part in (self.points, self.maps, self.score, self.space) if part is not None)
        return tuple(dict.fromkeys((*bins, *one)))

    @classmethod
    def from_json(cls, path: Path) -> Adapter:
        """The adapter in a JSON file with the fields of this class; `skeleton` is the name of one of ours, or
        its name, joints and parents.

        ValueError that names the file and the field if something in it is wrong; FileNotFoundError.
        """
        try:
            return cls.from_fields(read_json(path))
        except FileNotFoundError:
            raise FileNotFoundError(
                f"{path}: there is no such adapter; built in are {', '.join(ADAPTERS)}"
            ) from None
        except ValueError as error:
            told = str(error).removeprefix(f"{path}: ")
            raise ValueError(f"{path}: is no adapter: {told}; docs/teachers.md lists the fields") from error

    @classmethod
    def from_fields(cls, fields: object) -> Adapter:
        """The adapter of what JSON holds; ValueError that names the field if something in it is wrong."""
        return from_fields(cls, fields)

    @classmethod
    def from_spec(cls, spec: PoseSpec) -> Adapter:
        """How a file with this contract is fed and read: one that `poseling export` wrote of a checkpoint,
        which takes crops (N, H, W, 3) uint8 RGB and gives `xy`, `score` and, if it knows depth, `xyz`, or
        `maps` if it is raw; or a foreign one, whose contract contains the adapter.

        ValueError if the contract does not hold what it must.
        """
        if spec.codec.get("name") == NAME:
            return cls.from_fields({key: value for key, value in spec.codec.items() if key != "name"})
        if spec.outputs == ("maps",):
            try:
                how = {key: spec.codec[key] for key in ("sigma", "unbiased", "decoding")}
            except KeyError as error:
                raise ValueError(
                    f"gives maps, and its codec {spec.codec.get('name')!r} does not say {error} of them"
                ) from error
            read: dict[str, Any] = {"maps": Maps("maps", **how)}
        else:
            read = {
                "points": Points("xy", 2, corner=False),
                "score": Confidence("score"),
                "space": Space("xyz") if "xyz" in spec.outputs else None,
            }
        return cls(
            spec.skeleton, spec.padding, "bhwc", white=255.0, size=spec.size, licences=spec.licences, **read
        )

    def spec(self, model: str, size: Size, recipe: str = "") -> PoseSpec:
        """The contract of the network called `model` with inputs of `size` (W, H), in which this adapter lies
        as its `codec`: `from_spec` takes it out again.
        """
        outputs = ("xy", "score") if self.space is None else ("xy", "score", "xyz")
        return PoseSpec(
            model,
            self.skeleton,
            {"name": NAME, **asdict(self)},
            size,
            self.padding,
            self.colour,
            self.mean,
            self.std,
            outputs,
            dict(self.licences),
            recipe,
        )


# Which pixel a coordinate of 0 means was measured by flipping the LSP test images, see docs/teachers.md.
_GOOGLE = {"code": "Apache-2.0", "weights": "Apache-2.0", "data": "unknown"}
MOVENET = Adapter(
    COCO17,
    padding=1.2,
    layout="bhwc",
    white=255.0,
    points=Points("Identity:0", 3, x=1, y=0, normalised=True),
    score=Confidence("Identity:0", 3, 2),
    licences=_GOOGLE,
)
# Neither its visibility nor its presence tells right from wrong (docs/teachers.md): the score is the peak of
# its heatmap, which does.
BLAZEPOSE = Adapter(
    BLAZEPOSE33,
    padding=1.5,
    layout="bhwc",
    points=Points("Identity_2:0", 5),
    maps=Maps("Identity:0", layout="bhwc", sigma=1.5),
    space=Space("Identity_4:0"),
    licences=_GOOGLE,
)
# Any of RTMPose's and DWPose's: COCO's 17 joints are the first of body, Halpe's 26 and the whole body's 133.
RTMPOSE = Adapter(
    COCO17,
    padding=1.25,
    white=255.0,
    mean=(123.675, 116.28, 103.53),
    std=(58.395, 57.12, 57.375),
    bins=Bins(),
    licences={"code": "Apache-2.0", "weights": "Apache-2.0", "data": "unknown"},
)
# `blazepose` gives the points that the network gives, `blazepose-maps` those that its heatmaps give, which
# are better on LSP.
ADAPTERS = {
    "movenet": MOVENET,
    "blazepose": BLAZEPOSE,
    "blazepose-maps": replace(BLAZEPOSE, points=None),
    "rtmpose": RTMPOSE,
}

Shape = tuple[int | None, ...]  # None where the file leaves it free
Port = tuple[str, Shape]  # type, shape
Signature = tuple[dict[str, Port], dict[str, Shape], str]


def _rtmpose(size: Size, joints: int, batch: int | None) -> Signature:
    """The inputs and outputs of an RTMPose, as mmdeploy names them."""
    width, height = size
    outputs: dict[str, Shape] = {
        "simcc_x": (batch, joints, 2 * width),
        "simcc_y": (batch, joints, 2 * height),
    }
    return {"input": ("tensor(float)", (batch, 3, height, width))}, outputs, "rtmpose"


# The files that are recognised: their inputs, those of their outputs that matter, the adapter.
SIGNATURES: tuple[Signature, ...] = (
    ({"input:0": ("tensor(int32)", (1, 256, 256, 3))}, {"Identity:0": (1, 1, 17, 3)}, "movenet"),  # Thunder
    ({"input:0": ("tensor(int32)", (1, 192, 192, 3))}, {"Identity:0": (1, 1, 17, 3)}, "movenet"),  # Lightning
    (
        {"input_1:0": ("tensor(float)", (None, 256, 256, 3))},
        {"Identity:0": (None, 64, 64, 39), "Identity_2:0": (None, 195), "Identity_4:0": (None, 117)},
        "blazepose",  # Lite, Full, Heavy
    ),
    *(
        _rtmpose(size, joints, batch)
        for size in ((192, 256), (288, 384))
        for joints in (17, 26, 133)
        for batch in (None, 1)
    ),
)
