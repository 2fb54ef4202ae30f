"""Any ONNX pose network as a teacher. An `Adapter` says how it is fed and read; MoveNet's and BlazePose's are here, docs/teachers.md shows how to write one."""

from __future__ import annotations

import hashlib
import json
import sys
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from torch import Tensor

from poseling.codecs import codec
from poseling.codecs.heatmap import Heatmap
from poseling.geometry import Size
from poseling.onnx_session import REFUSED, metadata, open_session
from poseling.skeleton import BLAZEPOSE33, COCO17, SKELETONS, Skeleton
from poseling.spec import KEY, PoseSpec
from poseling.teachers.base import Answer

Activation = Literal["none", "sigmoid", "softmax"]
DTYPES: dict[str, type[np.generic]] = {
    "tensor(float)": np.float32,
    "tensor(float16)": np.float16,
    "tensor(double)": np.float64,
    "tensor(uint8)": np.uint8,
    "tensor(int32)": np.int32,
    "tensor(int64)": np.int64,
}
CPU_BATCH = 8  # crops at once where the file leaves it free: BlazePose Lite takes 12 ms of one core for each of 8, 17 of 32, Heavy 35 and 49
SLACK = 0.05  # how far a score that is declared as 0..1 may leave it; a logit leaves it further
HIGHEST = 2.0  # a network that was trained to draw peaks of 1 overshoots a little


def _choice(name: str, value: str, *choices: str) -> None:
    if value not in choices:
        raise ValueError(f"{name} {value!r} is unknown; use {' or '.join(choices)}")


@dataclass(frozen=True)
class Points:
    """Coordinates in the output called `output`, read as (B, rows, `columns`) numbers whatever its shape.

    `x` and `y` are the columns of the two axes. `normalised` coordinates are parts of the input's width and height, others are input pixels. `corner` says that 0
    is the corner of the first pixel, as in most networks; without it 0 is that pixel's centre, and a normalised 1 the centre of the last. `rows` are the
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
        if self.columns < 2 or self.x == self.y or not {self.x, self.y} <= set(range(self.columns)):
            raise ValueError(f"points: x and y are two different columns of 0..{self.columns - 1}, got x {self.x} and y {self.y}")


@dataclass(frozen=True)
class Maps:
    """Heatmaps in the output called `output`, (B, channels, h, w) if `layout` is bchw, (B, h, w, channels) if bhwc.

    `activation` is what still has to be done to them: none where they are Gaussians or past their sigmoid, softmax (over the pixels) where each is a distribution's
    logits. `sigma` of their Gaussians in heatmap pixels. `unbiased` and `decoding` as in `codecs.heatmap.Heatmap`: without unbiased, heatmap pixel i lies
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
            raise ValueError(f"maps: sigma is {self.sigma}; it is a Gaussian's width in heatmap pixels, above 0")


@dataclass(frozen=True)
class Space:
    """Joints in space in the output called `output`, read as (B, rows, `columns`) numbers whatever its shape.

    `x`, `y` and `z` are the columns of the three axes. `unit` is the metres in a 1 of each: below 0 where the axis points the other way than ours, which are x right,
    y down and z away from the camera. The answer is from the root, whatever the numbers are from. `rows` as in `Points`.
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
        if len(axes) != 3 or not axes <= set(range(self.columns)):
            raise ValueError(f"space: x, y and z are three different columns of 0..{self.columns - 1}, got x {self.x}, y {self.y} and z {self.z}")
        if len(self.unit) != 3 or not np.isfinite(self.unit).all() or 0 in self.unit:
            raise ValueError(f"space: unit is three numbers, the metres in a 1 along x, y and z, none of them 0, got {self.unit}")


@dataclass(frozen=True)
class Confidence:
    """How sure the network is of each joint: the column `column` of the output called `output`, read as (B, rows, `columns`); `activation` makes 0..1 of it."""

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
    """How to feed an ONNX pose network and how to read it. What the file says itself, the input's type and mostly its size, is taken from the file.

    `padding` of the box around a person. Its one input gets (pixel / 255 * `white` - `mean`) / `std` in the order of `colour`: white is 255 for networks that want
    0..255, 1 for those that want 0..1. `size` (W, H) only where the file leaves it free. A network gives `points`, or `maps`, or both: joints are then the
    points. The score is `score`; without it the height of the map's peak; without maps as well each joint weighs 1. `space` where the network knows depth.
    `licences` of code, weights and data.
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
    maps: Maps | None = None
    score: Confidence | None = None
    space: Space | None = None
    licences: dict[str, str] = field(default_factory=lambda: {"code": "unknown", "weights": "unknown", "data": "unknown"})

    def __post_init__(self) -> None:
        _choice("layout", self.layout, "bhwc", "bchw")
        _choice("colour", self.colour, "rgb", "bgr")
        if self.points is None and self.maps is None:
            raise ValueError("the adapter names neither points nor maps; say in which output the network gives its joints")
        if not self.padding > 0 or not self.white > 0:
            raise ValueError(f"padding {self.padding} and white {self.white} are above 0")
        if len(self.mean) != 3 or len(self.std) != 3 or not all(s > 0 for s in self.std):
            raise ValueError(f"mean and std are three numbers each, std above 0, got {self.mean} and {self.std}")
        if self.size is not None and (len(self.size) != 2 or min(self.size) < 2):
            raise ValueError(f"size is (width, height) in pixels, got {self.size}")
        chosen = {
            "points: rows": self.points.rows if self.points else None,
            "maps: channels": self.maps.channels if self.maps else None,
            "score: rows": self.score.rows if self.score else None,
            "space: rows": self.space.rows if self.space else None,
        }
        for name, rows in chosen.items():
            if rows is not None and (len(rows) != len(self.skeleton) or min(rows) < 0):
                raise ValueError(f"{name} is one place for each of the {len(self.skeleton)} joints of skeleton {self.skeleton.name}, got {rows}")
        if self.space is not None:
            _ = self.skeleton.root  # ValueError where there is none

    @property
    def outputs(self) -> tuple[str, ...]:
        """The names of the network's outputs that are read."""
        return tuple(dict.fromkeys(part.output for part in (self.points, self.maps, self.score, self.space) if part is not None))

    @classmethod
    def from_json(cls, path: Path) -> Adapter:
        """The adapter in a JSON file with the fields of this class; `skeleton` is the name of one of ours, or its name, joints and parents.

        ValueError that names the file and the field if something in it is wrong; FileNotFoundError.
        """
        try:
            fields = json.loads(path.read_text(encoding="utf-8"))
            skeleton = fields.pop("skeleton")
            if isinstance(skeleton, str):
                if skeleton not in SKELETONS:
                    raise ValueError(f"skeleton {skeleton!r} is unknown; there is {', '.join(SKELETONS)}, or give name, joints and parents")
                fields["skeleton"] = SKELETONS[skeleton]
            else:
                fields["skeleton"] = Skeleton(**_tuples(skeleton))
            for name, kind in (("points", Points), ("maps", Maps), ("score", Confidence), ("space", Space)):
                if fields.get(name) is not None:
                    fields[name] = kind(**_tuples(fields[name]))
            return cls(**_tuples(fields))
        except FileNotFoundError:
            raise FileNotFoundError(f"{path}: there is no such adapter; built in are {', '.join(ADAPTERS)}") from None
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            what = f"it lacks {error}" if isinstance(error, KeyError) else str(error)
            raise ValueError(f"{path}: is no adapter: {what}; docs/teachers.md lists the fields") from error

    @classmethod
    def from_spec(cls, spec: PoseSpec) -> Adapter:
        """The adapter of a file that `poseling export` wrote: crops (N, H, W, 3) uint8 RGB to `xy`, `score` and, if it knows depth, `xyz`, or to `maps` of
        a raw one."""
        if spec.outputs == ("maps",):
            heatmap = codec(spec.codec).heatmap
            maps = Maps("maps", sigma=heatmap.sigma, unbiased=heatmap.unbiased, decoding=heatmap.decoding)
            read: dict[str, Any] = {"maps": maps}
        else:
            read = {"points": Points("xy", 2, corner=False), "score": Confidence("score"), "space": Space("xyz") if "xyz" in spec.outputs else None}
        return cls(spec.skeleton, spec.padding, "bhwc", white=255.0, size=spec.size, licences=spec.licences, **read)


# Which pixel a coordinate of 0 means was measured by flipping the LSP test pictures, see docs/teachers.md.
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
# Neither its visibility nor its presence tells right from wrong (docs/teachers.md): the score is the peak of its heatmap, which does.
BLAZEPOSE = Adapter(
    BLAZEPOSE33,
    padding=1.5,
    layout="bhwc",
    points=Points("Identity_2:0", 5),
    maps=Maps("Identity:0", layout="bhwc", sigma=1.5),
    space=Space("Identity_4:0"),
    licences=_GOOGLE,
)
# `blazepose` gives the points that the network gives, `blazepose-maps` those that its heatmaps give, which are better on LSP.
ADAPTERS = {"movenet": MOVENET, "blazepose": BLAZEPOSE, "blazepose-maps": replace(BLAZEPOSE, points=None)}

Shape = tuple[int | None, ...]  # None where the file leaves it free
Port = tuple[str, Shape]  # type, shape
# The files that are known without being told: their inputs, those of their outputs that matter, the adapter.
SIGNATURES: tuple[tuple[dict[str, Port], dict[str, Shape], str], ...] = (
    ({"input:0": ("tensor(int32)", (1, 256, 256, 3))}, {"Identity:0": (1, 1, 17, 3)}, "movenet"),  # Thunder
    ({"input:0": ("tensor(int32)", (1, 192, 192, 3))}, {"Identity:0": (1, 1, 17, 3)}, "movenet"),  # Lightning
    (
        {"input_1:0": ("tensor(float)", (None, 256, 256, 3))},
        {"Identity:0": (None, 64, 64, 39), "Identity_2:0": (None, 195), "Identity_4:0": (None, 117)},
        "blazepose",  # Lite, Full, Heavy
    ),
)


class OnnxTeacher:
    """An ONNX file that answers (see `teachers.base.Teacher`).

    `adapter` is an Adapter, the name of a built-in one, or a JSON file; None where the file is ours or known by its inputs and outputs. `device` is cpu, cuda or
    cuda:N. `threads` for the network, all cores if None.
    FileNotFoundError; ValueError that names the file, says what its inputs and outputs are, and what of the adapter does not fit them.
    """

    def __init__(self, path: Path | str, adapter: Adapter | str | None = None, device: str = "cpu", threads: int | None = None) -> None:
        self.path = Path(path)
        self.name = self.path.stem
        self.session = _session(self.path, device, threads)
        self.adapter = a = _adapter(self.session, self.path, adapter)
        self.skeleton, self.padding, self.licences = a.skeleton, float(a.padding), dict(a.licences)
        self._input, self._dtype, self._batch, self.size = self._checked_input()
        self._most = CPU_BATCH if device == "cpu" else sys.maxsize
        # Without what is not read: a part that adapters did not have once must not rename the stores of those that have none.
        reading = json.dumps({k: v for k, v in asdict(a).items() if k != "licences" and (k, v) != ("space", None)}, sort_keys=True)
        self.digest = _digest(self.path, reading)
        # One black crop shows the shapes that a file may leave open, and whether the adapter fits them.
        width, height = self.size
        black = self._run(np.zeros((1, height, width, 3), np.uint8))
        self._heatmap = None if a.maps is None else self._checked_maps(a.maps, black[a.maps.output].shape)
        self.map_size = None if self._heatmap is None else self._heatmap.map_size
        self.pixel = None if self._heatmap is None else self._heatmap.pixel
        self.sigma = None if self._heatmap is None else self._heatmap.sigma
        self.spatial = a.space is not None
        for part in (a.points, a.score, a.space):
            if part is not None:
                self._columns(part, black[part.output])

    @torch.inference_mode()
    def __call__(self, crops: Tensor) -> Answer:
        """Crops (B, H, W, 3), uint8 RGB, to answers on their device. ValueError if a score is declared as 0..1 and is not."""
        if crops.dtype != torch.uint8 or crops.shape[1:] != (self.size[1], self.size[0], 3):
            raise ValueError(
                f"{self.name} takes uint8 crops (B, {self.size[1]}, {self.size[0]}, 3), got {str(crops.dtype).removeprefix('torch.')} {tuple(crops.shape)}"
            )
        a = self.adapter
        outputs = {name: torch.from_numpy(out) for name, out in self._run(crops.cpu().numpy()).items()}
        xy = score = maps = None
        if a.maps is not None and self._heatmap is not None:
            maps = self._maps(a.maps, outputs[a.maps.output])
            xy, score = self._heatmap.decode(maps)
            maps = self._heatmap.maps(maps)
        if a.points is not None:
            xy = self._pixels(a.points, outputs[a.points.output])
        if a.score is not None:
            score = self._score(a.score, outputs[a.score.output])
        assert xy is not None  # an adapter has points or maps
        if score is None:
            score = xy.new_ones(xy.shape[:2])
        xyz = None if a.space is None else self._xyz(a.space, outputs[a.space.output])
        return Answer(xy, score, maps, xyz).to(crops.device)

    def _run(self, crops: NDArray[np.uint8]) -> dict[str, NDArray[np.float32]]:
        """Crops (B, H, W, 3) to the outputs that the adapter reads, (B, ...), in batches of the size that the file takes."""
        names, fed = self.adapter.outputs, self._fed(crops)
        step = self._batch or max(min(len(fed), self._most), 1)
        parts: dict[str, list[NDArray[np.float32]]] = {name: [] for name in names}
        for start in range(0, max(len(fed), 1), step):
            batch = fed[start : start + step]
            missing = (self._batch or 1) - len(batch)
            if missing > 0:
                batch = np.concatenate([batch, np.zeros((missing, *batch.shape[1:]), batch.dtype)])
            try:
                outputs = self.session.run(list(names), {self._input: batch})
            except REFUSED as error:
                raise self._misfit(f"it cannot be run on {len(batch)} crops ({error})") from error
            for name, out in zip(names, outputs, strict=True):
                if len(batch) == 1 and len(out) != 1:
                    out = out[None]  # made for one picture, it may leave that axis out
                if len(out) != len(batch):
                    raise self._misfit(f"output {name} is {out.shape} for {len(batch)} crops")
                parts[name].append(out)
        return {name: np.ascontiguousarray(np.concatenate(outs)[: len(fed)], np.float32) for name, outs in parts.items()}

    def _fed(self, crops: NDArray[np.uint8]) -> NDArray[np.generic]:
        a = self.adapter
        pixels: NDArray[np.generic] = crops if a.colour == "rgb" else crops[..., ::-1]
        if np.issubdtype(self._dtype, np.floating):
            # In float32 for half-float networks too: they get the rounded result, not rounded steps.
            pixels = (pixels.astype(np.float32) * np.float32(a.white / 255) - np.array(a.mean, np.float32)) / np.array(a.std, np.float32)
        if a.layout == "bchw":
            pixels = pixels.transpose(0, 3, 1, 2)
        return np.ascontiguousarray(pixels, self._dtype)

    def _checked_input(self) -> tuple[str, type[np.generic], int | None, Size]:
        """The input's name and type, its fixed batch if it has one, and (W, H)."""
        a, inputs = self.adapter, self.session.get_inputs()
        if len(inputs) != 1:
            raise self._misfit(f"it has {len(inputs)} inputs, an adapter feeds one picture")
        [given] = inputs
        if given.type not in DTYPES:
            raise self._misfit(f"its input is {given.type}, known are {', '.join(DTYPES)}")
        plain = a.white == 255 and set(a.mean) == {0} and set(a.std) == {1}
        if not np.issubdtype(DTYPES[given.type], np.floating) and not plain:
            raise self._misfit(f"its input is {given.type}: whole numbers, for which the adapter must say white 255, mean 0 and std 1")
        shape = _shape(given)
        axes = (2, 1, 3) if a.layout == "bhwc" else (3, 2, 1)
        if len(shape) != 4 or shape[axes[2]] not in (3, None):
            raise self._misfit(f"its input is {shape}, which is not {a.layout} with three colours; try the other layout")
        size = []
        for name, axis, wanted in zip(("width", "height"), axes, a.size or (None, None), strict=False):
            if shape[axis] is None and wanted is None:
                raise self._misfit(f"it leaves the {name} of its input free; the adapter must give size (width, height)")
            if None not in (shape[axis], wanted) and shape[axis] != wanted:
                raise self._misfit(f"its input is {shape[axis]} pixels in {name}, the adapter's size says {wanted}")
            size.append(shape[axis] or wanted or 0)
        if missing := [o for o in a.outputs if o not in {p.name for p in self.session.get_outputs()}]:
            raise self._misfit(f"it has no output {', '.join(missing)}")
        return given.name, DTYPES[given.type], shape[0], (size[0], size[1])

    def _checked_maps(self, maps: Maps, shape: tuple[int, ...]) -> Heatmap:
        """The codec that reads maps of this shape."""
        if len(shape) != 4:
            raise self._misfit(f"output {maps.output} is {shape}, heatmaps have four axes, {maps.layout}")
        h, w, channels = (shape[i] for i in ((2, 3, 1) if maps.layout == "bchw" else (1, 2, 3)))
        needed = 1 + max(maps.channels or (len(self.skeleton) - 1,))
        if channels < needed:
            raise self._misfit(
                f"output {maps.output} is {shape}, read as {maps.layout} it has {channels} channels, skeleton {self.skeleton.name} needs {needed}"
            )
        (width, height), stride = self.size, self.size[0] // w
        if (w * stride, h * stride) != (width, height):
            raise self._misfit(
                f"output {maps.output} has heatmaps of {w}x{h} pixels, the input's {width}x{height} is no multiple of that; check the layout"
            )
        return Heatmap(self.size, stride, maps.sigma, maps.decoding, maps.unbiased, softmax=maps.activation == "softmax")

    def _maps(self, maps: Maps, out: Tensor) -> Tensor:
        """(B, K, h, w), past a sigmoid if there is one to do."""
        if maps.layout == "bhwc":
            out = out.permute(0, 3, 1, 2)
        out = out[:, list(maps.channels or range(len(self.skeleton)))].contiguous()
        if maps.activation == "sigmoid":
            return out.sigmoid()
        if maps.activation == "none" and len(out) and out.max() > HIGHEST:
            raise self._misfit(
                f"the heatmaps in output {maps.output} are up to {out.max():g} high, a Gaussian's peak is 1; do they need an activation?"
            )
        return out

    def _columns(self, part: Points | Confidence | Space, out: NDArray[np.float32] | Tensor) -> Tensor:
        """(B, K, columns) of the skeleton's joints."""
        flat = torch.as_tensor(out).flatten(1)
        rows, odd = divmod(flat.shape[1], part.columns)
        needed = 1 + max(part.rows or (len(self.skeleton) - 1,))
        if odd or rows < needed:
            raise self._misfit(
                f"output {part.output} is {tuple(out.shape)}, which does not hold {part.columns} columns for each of at least {needed} rows "
                f"(skeleton {self.skeleton.name})"
            )
        return flat.view(len(flat), rows, part.columns)[:, list(part.rows or range(len(self.skeleton)))]

    def _pixels(self, points: Points, out: Tensor) -> Tensor:
        """(B, K, 2) input pixels, their centres at whole numbers."""
        xy = self._columns(points, out)[..., [points.x, points.y]]
        if points.normalised:
            xy = xy * (xy.new_tensor(self.size) - (0 if points.corner else 1))
        return xy - 0.5 if points.corner else xy

    def _xyz(self, space: Space, out: Tensor) -> Tensor:
        """(B, K, 3) metres from the root."""
        xyz = self._columns(space, out)[..., [space.x, space.y, space.z]]
        return (xyz - xyz[:, list(self.skeleton.root)].mean(1, keepdim=True)) * xyz.new_tensor(space.unit)

    def _score(self, part: Confidence, out: Tensor) -> Tensor:
        score = self._columns(part, out)[..., part.column]
        if part.activation == "sigmoid":
            return score.sigmoid()
        if len(score) and not (score.min() >= -SLACK and score.max() <= 1 + SLACK):
            raise self._misfit(
                f"the score in output {part.output} runs from {score.min():g} to {score.max():g}, not 0..1; is it a logit (activation sigmoid)?"
            )
        return score.clamp(0, 1)

    def _misfit(self, what: str) -> ValueError:
        return ValueError(f"{self.path}: {what}. {_ports(self.session)}")


def _adapter(session: Any, path: Path, adapter: Adapter | str | None) -> Adapter:
    if isinstance(adapter, Adapter):
        return adapter
    if adapter is not None:
        return ADAPTERS[adapter] if adapter in ADAPTERS else Adapter.from_json(Path(adapter))
    said = metadata(session, path)
    if KEY in said:
        try:
            return Adapter.from_spec(PoseSpec.from_json(said[KEY]))
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from error
    inputs = {p.name: (p.type, _shape(p)) for p in session.get_inputs()}
    outputs = {p.name: _shape(p) for p in session.get_outputs()}
    for wanted_inputs, wanted_outputs, name in SIGNATURES:
        if inputs == wanted_inputs and wanted_outputs.items() <= outputs.items():
            return ADAPTERS[name]
    raise ValueError(
        f"{path}: is none of the networks that are known by their inputs and outputs ({', '.join(ADAPTERS)}), so an adapter must say how to feed and read it: "
        f"a JSON file as docs/teachers.md shows. {_ports(session)}"
    )


def _digest(path: Path, reading: str) -> str:
    """Of the file, of the files in which it keeps weights, and of how it is read."""
    graph = onnx.load(path, load_external_data=False).graph
    outside = {entry.value for tensor in graph.initializer for entry in tensor.external_data if entry.key == "location"}
    whole = hashlib.blake2b(reading.encode(), digest_size=16)
    for part in (path, *(path.parent / name for name in sorted(outside))):
        with part.open("rb") as file:
            whole.update(hashlib.file_digest(file, hashlib.blake2b).digest())
    return whole.hexdigest()


def _ports(session: Any) -> str:
    """In words what goes in and what comes out."""
    lines = ["; ".join(f"{p.name} {p.type} {list(p.shape)}" for p in ports) for ports in (session.get_inputs(), session.get_outputs())]
    return f"Its inputs: {lines[0]}. Its outputs: {lines[1]}"


def _shape(port: Any) -> Shape:
    return tuple(s if isinstance(s, int) and s > 0 else None for s in port.shape)


def _session(path: Path, device: str, threads: int | None) -> Any:
    kind, _, number = device.partition(":")
    if kind not in ("cpu", "cuda"):
        raise ValueError(f"{path}: an ONNX teacher runs on cpu, cuda or cuda:N, not on {device}")
    # Converters leave harmless warnings behind: only errors are told.
    return open_session(path, kind, threads, {"device_id": number or "0"} if kind == "cuda" else None, log=3)


def _tuples(fields: dict[str, Any]) -> dict[str, Any]:
    """JSON's lists as the tuples that a frozen dataclass holds."""
    return {name: tuple(value) if isinstance(value, list) else value for name, value in fields.items()}
