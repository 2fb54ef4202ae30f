"""Where the people are: any ONNX detector as a function from an image to boxes. How a file is fed and read is
data, a `BoxAdapter`; our own files carry theirs.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from poseling import zoo
from poseling.geometry import Size, iou
from poseling.limits import excess
from poseling.onnx_pose import DTYPES, SLACK, Floats, ports, shape_of, sigmoid
from poseling.onnx_session import metadata, open_session, run
from poseling.records import from_fields, parse_json, read_json
from poseling.spec import DETECTOR_KEY, KEY, SIDE

Array = NDArray[np.float64]
MOST = 300  # boxes that are compared with each other: no image has so many people who are worth a crop


@dataclass(frozen=True)
class Boxes:
    """Boxes in the output called `output`, (1, M, columns), or (1, columns, M) where it is `turned`.

    `columns` are the places of a box's four numbers: x0, y0, x1, y1 if they are its `corners`, x and y of the
    middle, width and height if they are its `middle`. 0 is the left or upper edge of the input's first pixel.
    `normalised` numbers are parts of the input's width and height, others are input pixels.
    """

    output: str
    columns: tuple[int, int, int, int] = (0, 1, 2, 3)
    form: Literal["corners", "middle"] = "corners"
    normalised: bool = False
    turned: bool = False

    def __post_init__(self) -> None:
        if len(set(self.columns)) != 4 or min(self.columns) < 0:
            raise ValueError(f"boxes: columns are four different places from 0 on, got {self.columns}")


@dataclass(frozen=True)
class Person:
    """How sure the network is of a person in each box: the column `column` of the output called `output`,
    (1, M, columns) or (1, M), or (1, columns, M) where it is `turned`.

    `activation` makes 0..1 of it: softmax is over all columns. `times` is a column to multiply with, where
    the network gives "an object" and "a person if an object" apart. `label` is the output (1, M) with each
    box's class, of which `person` is ours, where the boxes of all classes are in one list.
    """

    output: str
    column: int = 0
    activation: Literal["none", "sigmoid", "softmax"] = "none"
    turned: bool = False
    times: int | None = None
    label: str | None = None
    person: int = 0

    def __post_init__(self) -> None:
        if min(self.column, self.times or 0) < 0:
            raise ValueError(f"person: column {self.column} and times {self.times} are 0 or more")


@dataclass(frozen=True)
class BoxAdapter:
    """How to feed an ONNX detector and how to read it. What the file says itself, the input's type and mostly
    its size, is taken from the file.

    An image is shrunk into an input of `size` (W, H) and filled up with `fill`, at the right and below if
    `fit` is corner, on all sides if it is middle; stretch distorts it instead. A file that leaves its size
    free gets no more than it needs if there is a `step`: sides that are multiples of it. The one input gets
    (pixel / 255 * `white` - `mean`) / `std` in the order of `colour`, the order of mean and std too. Boxes
    are kept from a score of `threshold` on. `overlap` is the intersection over union from which two boxes are
    one person (non-maximum suppression), None where the file has done that. `licences` of code, weights and
    data.
    """

    boxes: Boxes
    person: Person
    layout: Literal["bhwc", "bchw"] = "bchw"
    colour: Literal["rgb", "bgr"] = "rgb"
    white: float = 1.0
    mean: tuple[float, float, float] = (0.0, 0.0, 0.0)
    std: tuple[float, float, float] = (1.0, 1.0, 1.0)
    size: Size | None = None
    step: int | None = None
    fit: Literal["corner", "middle", "stretch"] = "corner"
    fill: int = 114
    threshold: float = 0.3
    overlap: float | None = None
    licences: dict[str, str] = field(
        default_factory=lambda: {"code": "unknown", "weights": "unknown", "data": "unknown"}
    )

    def __post_init__(self) -> None:
        if self.white <= 0 or min(self.std) <= 0:
            raise ValueError(f"white {self.white} and std {self.std} are above 0")
        if self.size is not None and not all(2 <= side <= SIDE for side in self.size):
            raise ValueError(f"size is (width, height) in pixels, 2 to {SIDE}, got {self.size}")
        if self.step is not None and (self.step < 1 or self.fit == "stretch"):
            raise ValueError(f"step {self.step} is a number of pixels from 1 on, and not for fit stretch")
        if not 0 <= self.fill <= 255:
            raise ValueError(f"fill is {self.fill}; it is a grey level, 0 to 255")
        if not 0 < self.threshold <= 1 or not 0 < (self.overlap or 1) <= 1:
            raise ValueError(f"threshold {self.threshold} and overlap {self.overlap} are above 0 and up to 1")

    @classmethod
    def from_json(cls, path: Path) -> BoxAdapter:
        """The adapter in a JSON file with the fields of this class. ValueError that names the file and the
        field if something in it is wrong; FileNotFoundError.
        """
        try:
            return from_fields(cls, read_json(path))
        except FileNotFoundError:
            raise FileNotFoundError(
                f"{path}: there is no such adapter; built in are {', '.join(ADAPTERS)}"
            ) from None
        except ValueError as error:
            told = str(error).removeprefix(f"{path}: ")
            raise ValueError(
                f"{path}: is no adapter of a detector: {told}; docs/runtime.md lists the fields"
            ) from error


# OpenMMLab's detectors, exported by mmdeploy with their non-maximum suppression.
RTMDET = BoxAdapter(
    Boxes("dets"),
    Person("dets", 4, label="labels"),
    colour="bgr",
    white=255.0,
    mean=(103.53, 116.28, 123.675),
    std=(57.375, 57.12, 58.395),
    size=(320, 320),
    licences={"code": "Apache-2.0", "weights": "unknown", "data": "unknown"},
)
# Ultralytics' YOLOv8 and YOLO11, as `yolo export format=onnx` writes them: 4 columns of boxes, 80 of classes.
YOLO = BoxAdapter(
    Boxes("output0", form="middle", turned=True),
    Person("output0", 4, turned=True),
    size=(640, 640),
    step=32,
    fit="middle",
    overlap=0.7,
    licences={"code": "AGPL-3.0", "weights": "AGPL-3.0", "data": "unknown"},
)
ADAPTERS = {"rtmdet-nano": RTMDET, "yolov8": YOLO}


class Detector:
    """`model` is the name of a detector of the zoo, or an ONNX file: one of ours, or any with an adapter.

    `adapter` is a `BoxAdapter`, the name of a built-in one (`ADAPTERS`), or a JSON file; a file of ours, and
    one with the inputs and outputs of RTMDet, needs none. `threshold` takes the place of the adapter's.
    `threads` and `provider` as in `Network`. FileNotFoundError if there is no such file; ValueError that
    names it if it is not an ONNX file, or its inputs and outputs do not fit the adapter.
    """

    def __init__(
        self,
        model: Path | str = zoo.DETECTOR,
        threads: int | None = None,
        provider: str = "cpu",
        adapter: BoxAdapter | str | None = None,
        threshold: float | None = None,
    ) -> None:
        self.path = zoo.resolve(model)
        self._shipped = zoo.is_name(model)
        self.name = str(model) if self._shipped else self.path.stem
        self.session = open_session(self.path, provider, threads, log=3)
        self.adapter = a = _adapter_of(self.session, self.path, adapter)
        self.threshold = a.threshold if threshold is None else threshold
        if not 0 < self.threshold <= 1:
            raise ValueError(f"threshold {self.threshold:g} is not a score; give a value above 0, up to 1")
        self._outputs = list(dict.fromkeys(filter(None, (a.boxes.output, a.person.output, a.person.label))))
        self._input, self._dtype, self.size, self._free = self._checked_input()
        self(np.zeros((self.size[1], self.size[0], 3), np.uint8))  # says at once whether the outputs fit

    @property
    def licence(self) -> str:
        """What the detector may be used for, in words."""
        if self._shipped:
            return zoo.licence(self.name)
        return ", ".join(f"{what} {words}" for what, words in self.adapter.licences.items())

    def __call__(self, image: NDArray[np.uint8], colour: Literal["bgr", "rgb"] = "bgr") -> Floats:
        """The people in an image (H, W, 3) uint8: (N, 5) float32 x0, y0, x1, y1 in image pixels, score; the
        highest score first.

        As everywhere, pixel centres lie at whole numbers: boxes are within -0.5 .. W - 0.5. `colour` is the
        order of the image's channels. ValueError for an invalid image; ValueError that names the file if it
        cannot be run, or gives something else than its adapter says.
        """
        if not isinstance(image, np.ndarray) or image.dtype != np.uint8 or image.ndim != 3:
            what = getattr(image, "dtype", type(image).__name__), getattr(image, "shape", "")
            raise ValueError(f"the image is {what[0]} {what[1]}, expected uint8 of shape (H, W, 3)")
        if image.shape[2] != 3 or not image.size:
            raise ValueError(f"the image has shape {image.shape}, expected (H, W, 3) with at least a pixel")
        fitted, scale, offset = self._fitted(image)
        outputs = run(self.session, self.path, self._outputs, {self._input: self._fed(fitted, colour)})
        said = dict(zip(self._outputs, outputs, strict=True))
        rows, score = self._rows(said, fitted.shape[1::-1])
        corners = (rows.reshape(-1, 2, 2) - offset) / scale
        corners = np.clip(corners, 0, (image.shape[1], image.shape[0])).reshape(-1, 4) - 0.5
        kept = (corners[:, 2:] > corners[:, :2]).all(1)
        found = np.concatenate([corners, score[:, None]], 1)[kept].astype(np.float32)
        return found if self.adapter.overlap is None else suppressed(found, self.adapter.overlap)

    def _fitted(self, image: NDArray[np.uint8]) -> tuple[NDArray[np.uint8], Array, Array]:
        """The input (h, w, 3), and how the image lies in it: the scale (2,) of x and y, the offset (2,) in
        input pixels.
        """
        a, sides, room = self.adapter, np.array(image.shape[1::-1]), np.array(self.size)
        inner = room
        if a.fit != "stretch":
            inner = np.maximum(np.rint(sides * (room / sides).min()), 1).astype(int)
        if self._free and a.step is not None:
            room = -(-inner // a.step) * a.step
        left, top = (room - inner) // 2 if a.fit == "middle" else (0, 0)
        small = resized(image, (int(inner[0]), int(inner[1])))
        if (inner == room).all():
            return small, inner / sides, np.zeros(2)
        filled = np.full((room[1], room[0], 3), a.fill, np.uint8)
        filled[top : top + inner[1], left : left + inner[0]] = small
        return filled, inner / sides, np.array([left, top], np.float64)

    def _fed(self, fitted: NDArray[np.uint8], colour: str) -> NDArray[np.generic]:
        """The input (h, w, 3) as the network takes it."""
        a = self.adapter
        pixels: NDArray[Any] = fitted if a.colour == colour else fitted[..., ::-1]
        if np.issubdtype(self._dtype, np.floating):
            factor = np.float32(a.white / 255) / np.array(a.std, np.float32)
            pixels = pixels * factor - np.array(a.mean, np.float32) / np.array(a.std, np.float32)
        if a.layout == "bchw":
            pixels = pixels.transpose(2, 0, 1)
        return np.ascontiguousarray(pixels[None], self._dtype)

    def _rows(self, said: dict[str, Any], size: Size) -> tuple[Floats, Floats]:
        """Corners (N, 4) in pixels of an input of `size` (W, H) and score (N,) of what is a person, the
        highest score first.
        """
        b, p = self.adapter.boxes, self.adapter.person
        columns = self._table(b.output, said[b.output], b.turned, max(b.columns))
        sure = self._table(p.output, said[p.output], p.turned, max(p.column, p.times or 0))
        if len(sure) != len(columns):
            raise self._misfit(
                f"it gives {len(columns)} boxes in {b.output}, {len(sure)} scores in {p.output}"
            )
        score = _activated(sure, p.activation)[:, p.column]
        if p.times is not None:
            score = score * _activated(sure[:, [p.times]], p.activation)[:, 0]
        if len(score) and not (score.min() >= -SLACK and score.max() <= 1 + SLACK):
            raise self._misfit(
                f"the score in output {p.output} runs from {score.min():g} to {score.max():g}, not 0..1; is it "
                "a logit (activation sigmoid), or damaged?"
            )
        chosen = score >= self.threshold
        if p.label is not None:
            label = self._table(p.label, said[p.label], False, 0)
            if len(label) != len(columns):
                raise self._misfit(f"it gives {len(columns)} boxes in {b.output}, {len(label)} in {p.label}")
            chosen &= label[:, 0] == p.person
        best = np.flatnonzero(chosen)
        best = best[np.argsort(-score[best], kind="stable")][:MOST]
        rows = columns[best][:, list(b.columns)]
        if b.form == "middle":
            rows = np.concatenate([rows[:, :2] - rows[:, 2:] / 2, rows[:, :2] + rows[:, 2:] / 2], 1)
        if b.normalised:
            rows = rows * np.array([*size, *size], np.float32)
        fine = np.isfinite(rows).all(1)
        return rows[fine], np.clip(score[best][fine], 0, 1)

    def _table(self, name: str, out: Any, turned: bool, last: int) -> Floats:
        """An output as (M, columns), of which column `last` is read."""
        if not isinstance(out, np.ndarray) or out.dtype.kind not in "biuf":
            raise self._misfit(f"output {name} is {getattr(out, 'dtype', type(out).__name__)}, no numbers")
        rows = out[0] if out.ndim == 3 and len(out) == 1 else out
        if last == 0 and (rows.ndim == 1 or (rows.ndim == 2 and len(rows) == 1)):  # (M,) or (1, M)
            rows, turned = rows.reshape(-1, 1), False
        if rows.ndim != 2 or (rows.shape[0] if turned else rows.shape[1]) <= last:
            how = "(1, columns, M)" if turned else "(1, M, columns)"
            raise self._misfit(f"output {name} is {out.shape}, expected {how} with column {last}")
        return np.asarray(rows.T if turned else rows, np.float32)

    def _checked_input(self) -> tuple[str, type[np.generic], Size, bool]:
        """The input's name and type, its (W, H), and whether the file leaves them free."""
        a, inputs = self.adapter, self.session.get_inputs()
        if len(inputs) != 1:
            raise self._misfit(f"it has {len(inputs)} inputs, an adapter feeds one image")
        [given] = inputs
        shape = shape_of(given)
        if given.type not in DTYPES:
            raise self._misfit(f"its input is {given.type}, known are {', '.join(DTYPES)}")
        plain = a.white == 255 and set(a.mean) == {0} and set(a.std) == {1}
        if not np.issubdtype(DTYPES[given.type], np.floating) and not plain:
            raise self._misfit(
                f"its input is {given.type}: whole numbers, for which the adapter must say white 255, mean 0 "
                "and std 1"
            )
        x, y, channel = (2, 1, 3) if a.layout == "bhwc" else (3, 2, 1)
        if len(shape) != 4 or shape[channel] not in (3, None) or shape[0] not in (1, None):
            raise self._misfit(
                f"its input is {shape}, expected one image, {a.layout} with three colours; try the other layout"
            )
        own = shape[x], shape[y]
        width, height = (own[i] or (a.size[i] if a.size is not None else 0) for i in (0, 1))
        if not width or not height:
            raise self._misfit("it leaves the size of its input free; the adapter must give size (W, H)")
        if more := excess(width * height * 3 * np.dtype(DTYPES[given.type]).itemsize):
            raise self._misfit(f"its input is {shape}: {more}")
        if missing := [o for o in self._outputs if o not in {p.name for p in self.session.get_outputs()}]:
            raise self._misfit(f"it has no output {', '.join(missing)}")
        return given.name, DTYPES[given.type], (width, height), own == (None, None)

    def _misfit(self, what: str) -> ValueError:
        return ValueError(f"{self.path}: {what}. {ports(self.session)}")


def suppressed(found: Floats, overlap: float) -> Floats:
    """The boxes (N, 5), highest score first, without those whose intersection over union with one before them
    is `overlap` or more: greedy non-maximum suppression.

    >>> found = np.array([[0, 0, 10, 10, 0.9], [1, 0, 11, 10, 0.8], [20, 0, 30, 10, 0.7]])
    >>> suppressed(found, 0.6)[:, 4].tolist()
    [0.9, 0.7]
    """
    alike = iou(found[:, :4], found[:, :4]) >= overlap
    kept = np.ones(len(found), bool)
    for i in range(len(found)):
        if kept[i]:
            kept[i + 1 :] &= ~alike[i, i + 1 :]
    return found[kept]


def resized(image: NDArray[np.uint8], size: Size) -> NDArray[np.uint8]:
    """(H, W, 3) stretched to `size` (w, h), edge to edge."""
    # Bilinear sampling skips pixels beyond a factor of two: halve first.
    while any(side >= 2 * small for side, small in zip(image.shape[1::-1], size, strict=True)):
        half = [
            side // 2 if side >= 2 * small else side
            for side, small in zip(image.shape[1::-1], size, strict=True)
        ]
        image = np.asarray(cv2.resize(image, half, interpolation=cv2.INTER_AREA), np.uint8)
    if image.shape[1::-1] == size:
        return image
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_LINEAR), np.uint8)


def _activated(values: Floats, activation: str) -> Floats:
    """(M, columns) in 0..1."""
    if activation == "sigmoid":
        return sigmoid(values)
    if activation == "softmax":
        parts = np.exp(values - values.max(1, keepdims=True))
        return np.asarray(parts / parts.sum(1, keepdims=True))
    return values


def _adapter_of(session: Any, path: Path, adapter: BoxAdapter | str | None) -> BoxAdapter:
    """How the file `path`, open in `session`, is fed and read."""
    if isinstance(adapter, BoxAdapter):
        return adapter
    if adapter is not None:
        return ADAPTERS[adapter] if adapter in ADAPTERS else BoxAdapter.from_json(Path(adapter))
    entries = metadata(session, path)
    if DETECTOR_KEY in entries:
        try:
            return from_fields(BoxAdapter, parse_json(entries[DETECTOR_KEY]))
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from error
    inputs = {p.name: shape_of(p) for p in session.get_inputs()}
    outputs = {p.name for p in session.get_outputs()}
    if inputs == {"input": (None, 3, None, None)} and {"dets", "labels"} <= outputs:
        return RTMDET
    if KEY in entries:
        raise ValueError(f"{path}: is a network for joints, no detector; --model or runtime.Network runs it")
    raise ValueError(
        f"{path}: does not say how a detector is fed and read, and is none that is known; name an adapter (--detector-adapter): "
        f"{', '.join(ADAPTERS)}, or a JSON file as docs/runtime.md shows. {ports(session)}"
    )
