"""Any ONNX pose network, fed and read by its `Adapter`: crops in, joints out. numpy alone."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from poseling.adapter import ADAPTERS, SIGNATURES, Adapter, Bins, Confidence, Maps, Points, Shape, Space
from poseling.geometry import Size
from poseling.limits import excess
from poseling.onnx_limits import beyond
from poseling.onnx_session import REFUSED, metadata, quietly
from poseling.peaks import bin_peaks, gaussians, peaks
from poseling.spec import DETECTOR_KEY, KEY, PoseSpec

Floats = NDArray[np.float32]
DTYPES: dict[str, type[np.generic]] = {
    "tensor(float)": np.float32,
    "tensor(float16)": np.float16,
    "tensor(double)": np.float64,
    "tensor(uint8)": np.uint8,
    "tensor(int32)": np.int32,
    "tensor(int64)": np.int64,
}
# crops at once where the file leaves it free: BlazePose Lite takes 12 ms of one core for each of 8, 17 of 32,
# Heavy 35 and 49
CPU_BATCH = 8
SLACK = 0.05  # how far a score that is declared as 0..1 may leave it; a logit leaves it further
HIGHEST = 2.0  # a network that was trained to draw peaks of 1 overshoots a little


class Said(NamedTuple):
    """A network's output for B crops: xy (B, K, 2) in pixels of its input, score (B, K) in 0..1, maps (B, K,
    h, w) Gaussians with a peak of 1, None if it only gives points, and xyz (B, K, 3) metres from the root in
    the crop's camera axes, None if it knows no depth.
    """

    xy: Floats
    score: Floats
    maps: Floats | None = None
    xyz: Floats | None = None


class OnnxPose:
    """The network of an open `session` of the file `path`, fed and read by `adapter_of`.

    `size` (W, H) is of its input; `map_size` (w, h) of its heatmaps and `pixel` the input pixels in one of
    theirs along x and y, both None if it only gives points. ValueError that names the file, says what its
    inputs and outputs are, and what of the adapter does not fit them.
    """

    def __init__(self, session: Any, path: Path, adapter: Adapter | str | None = None) -> None:
        self.session, self.path = session, path
        self.adapter = a = adapter_of(session, path, adapter)
        self._told_by = f" The adapter is {adapter}." if isinstance(adapter, str) else ""
        self._input, self._dtype, self._batch, self.size = self._checked_input()
        self._most = CPU_BATCH if session.get_providers()[0] == "CPUExecutionProvider" else sys.maxsize
        # One black crop shows the shapes that a file may leave open, and whether the adapter fits them.
        width, height = self.size
        black = self._run(np.zeros((1, height, width, 3), np.uint8))
        self.map_size: Size | None = None
        self.pixel: tuple[float, float] | None = None
        if a.maps is not None:
            self.map_size, self.pixel = self._checked_maps(a.maps, black[a.maps.output].shape)
        for part in (a.points, a.score, a.space):
            if part is not None:
                self._columns(part, black[part.output])
        if a.bins is not None:
            self._bins(a.bins, black[a.bins.x], black[a.bins.y])
        if self._batch is None and not self._keeps_two():
            self._batch = 1

    def __call__(self, crops: NDArray[np.uint8]) -> Said:
        """Crops (B, H, W, 3) uint8 RGB; ValueError if a score is declared as 0..1 and is not."""
        a, outputs = self.adapter, self._run(crops)
        xy = score = maps = None
        if a.maps is not None and self.pixel is not None:
            maps = self._maps(a.maps, outputs[a.maps.output])
            xy, score = peaks(maps, self.pixel, a.maps.sigma, a.maps.decoding)
        if a.bins is not None:
            xy, score = self._bins(a.bins, outputs[a.bins.x], outputs[a.bins.y])
        if a.points is not None:
            xy = self._pixels(a.points, outputs[a.points.output])
        if a.score is not None:
            score = self._score(a.score, outputs[a.score.output])
        assert xy is not None  # an adapter has points, bins or maps
        if score is None:
            score = np.ones(xy.shape[:2], np.float32)
        return Said(xy, score, maps, None if a.space is None else self._xyz(a.space, outputs[a.space.output]))

    def _run(self, crops: NDArray[np.uint8]) -> dict[str, NDArray[np.float32]]:
        """Crops (B, H, W, 3) to the outputs that the adapter reads, (B, ...), in batches of the size that the
        file takes.
        """
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
                raise self._misfit(
                    f"it cannot be run on {len(batch)} crops ({error}{beyond(error)})"
                ) from error
            for name, out in zip(names, outputs, strict=True):
                if not isinstance(out, np.ndarray) or out.dtype.kind not in "biuf" or not out.ndim:
                    raise self._misfit(
                        f"output {name} is {getattr(out, 'dtype', type(out).__name__)}, no array of numbers"
                    )
                if len(batch) == 1 and len(out) != 1:
                    out = out[None]  # made for one image, it may leave that axis out
                if len(out) != len(batch):
                    raise self._misfit(f"output {name} is {out.shape} for {len(batch)} crops")
                parts[name].append(out)
        return {
            name: np.ascontiguousarray(np.concatenate(outs)[: len(fed)], np.float32)
            for name, outs in parts.items()
        }

    def _keeps_two(self) -> bool:
        """Whether a file that leaves its batch free runs on two crops, and answers for both: many were traced
        with one, and only say that they take more.
        """
        width, height = self.size
        fed = self._fed(np.zeros((2, height, width, 3), np.uint8))
        try:
            return all(
                out.ndim and len(out) == 2
                for out in quietly(self.session, list(self.adapter.outputs), {self._input: fed})
            )
        except REFUSED:
            return False

    def _fed(self, crops: NDArray[np.uint8]) -> NDArray[np.generic]:
        a = self.adapter
        pixels: NDArray[np.generic] = crops if a.colour == "rgb" else crops[..., ::-1]
        if np.issubdtype(self._dtype, np.floating):
            # In float32 for half-float networks too: they get the rounded result, not rounded steps.
            pixels = (
                pixels.astype(np.float32) * np.float32(a.white / 255) - np.array(a.mean, np.float32)
            ) / np.array(a.std, np.float32)
        if a.layout == "bchw":
            pixels = pixels.transpose(0, 3, 1, 2)
        return np.ascontiguousarray(pixels, self._dtype)

    def _checked_input(self) -> tuple[str, type[np.generic], int | None, Size]:
        """The input's name and type, its fixed batch if it has one, and (W, H)."""
        a, inputs = self.adapter, self.session.get_inputs()
        if len(inputs) != 1:
            raise self._misfit(f"it has {len(inputs)} inputs, an adapter feeds one image")
        [given] = inputs
        if given.type not in DTYPES:
            raise self._misfit(f"its input is {given.type}, known are {', '.join(DTYPES)}")
        plain = a.white == 255 and set(a.mean) == {0} and set(a.std) == {1}
        if not np.issubdtype(DTYPES[given.type], np.floating) and not plain:
            raise self._misfit(
                f"its input is {given.type}: whole numbers, for which the adapter must say white 255, mean 0 "
                f"and std 1"
            )
        shape = shape_of(given)
        axes = (2, 1, 3) if a.layout == "bhwc" else (3, 2, 1)
        if len(shape) != 4 or shape[axes[2]] not in (3, None):
            raise self._misfit(
                f"its input is {shape}, which is not {a.layout} with three colours; try the other layout"
            )
        size = []
        for name, axis, wanted in zip(("width", "height"), axes, a.size or (None, None), strict=False):
            if shape[axis] is None and wanted is None:
                raise self._misfit(
                    f"it leaves the {name} of its input free; the adapter must give size (width, height)"
                )
            if None not in (shape[axis], wanted) and shape[axis] != wanted:
                raise self._misfit(
                    f"its input is {shape[axis]} pixels in {name}, the adapter's size says {wanted}"
                )
            size.append(shape[axis] or wanted or 0)
        if more := excess((shape[0] or 1) * size[0] * size[1] * 3 * np.dtype(DTYPES[given.type]).itemsize):
            raise self._misfit(f"its input is {shape}: {more}")
        if missing := [o for o in a.outputs if o not in {p.name for p in self.session.get_outputs()}]:
            raise self._misfit(f"it has no output {', '.join(missing)}")
        return given.name, DTYPES[given.type], shape[0], (size[0], size[1])

    def _checked_maps(self, maps: Maps, shape: tuple[int, ...]) -> tuple[Size, tuple[float, float]]:
        """(w, h) of maps of this shape, and the input pixels in one of theirs."""
        skeleton = self.adapter.skeleton
        if len(shape) != 4:
            raise self._misfit(f"output {maps.output} is {shape}, heatmaps have four axes, {maps.layout}")
        h, w, channels = (shape[i] for i in ((2, 3, 1) if maps.layout == "bchw" else (1, 2, 3)))
        needed = 1 + max(maps.channels or (len(skeleton) - 1,))
        if channels < needed:
            raise self._misfit(
                f"output {maps.output} is {shape}, read as {maps.layout} it has {channels} channels, "
                f"skeleton {skeleton.name} needs {needed}"
            )
        (width, height), stride = self.size, self.size[0] // w
        if (w * stride, h * stride) != (width, height):
            raise self._misfit(
                f"output {maps.output} has heatmaps of {w}x{h} pixels, the input's {width}x{height} is no "
                f"multiple of that; check the layout"
            )
        pixel = (
            ((width - 1) / (w - 1), (height - 1) / (h - 1))
            if maps.unbiased
            else (float(stride), float(stride))
        )
        return (w, h), pixel

    def _maps(self, maps: Maps, out: Floats) -> Floats:
        """(B, K, h, w) Gaussians."""
        if maps.layout == "bhwc":
            out = out.transpose(0, 3, 1, 2)
        out = np.ascontiguousarray(out[:, list(maps.channels or range(len(self.adapter.skeleton)))])
        if maps.activation == "sigmoid":
            return sigmoid(out)
        if maps.activation == "softmax":
            return gaussians(out, maps.sigma)
        if len(out) and out.max() > HIGHEST:
            raise self._misfit(
                f"the heatmaps in output {maps.output} are up to {out.max():g} high, a Gaussian's peak is 1; "
                f"do they need an activation?"
            )
        return out

    def _columns(self, part: Points | Confidence | Space, out: Floats) -> Floats:
        """(B, K, columns) of the skeleton's joints."""
        skeleton = self.adapter.skeleton
        flat = out.reshape(len(out), int(np.prod(out.shape[1:])))
        rows, odd = divmod(flat.shape[1], part.columns)
        needed = 1 + max(part.rows or (len(skeleton) - 1,))
        if odd or rows < needed:
            raise self._misfit(
                f"output {part.output} is {out.shape}, which does not hold {part.columns} columns for each "
                f"of at least {needed} rows "
                f"(skeleton {skeleton.name})"
            )
        return flat.reshape(len(flat), rows, part.columns)[:, list(part.rows or range(len(skeleton)))]

    def _bins(self, bins: Bins, x: Floats, y: Floats) -> tuple[Floats, Floats]:
        """Joints (B, K, 2) in input pixels and scores (B, K) of bins (B, rows, X) and (B, rows, Y)."""
        rows = list(bins.rows or range(len(self.adapter.skeleton)))
        found, sure = [], []
        for name, out, side, sigma in zip(
            (bins.x, bins.y), (x, y), self.size, bins.sigmas(self.size), strict=True
        ):
            if out.ndim != 3 or out.shape[1] <= max(rows) or out.shape[2] != bins.split * side:
                raise self._misfit(
                    f"output {name} is {out.shape}, but {bins.split} bins a pixel of "
                    f"{self.size[0]}x{self.size[1]} are (B, {max(rows) + 1} or more, {bins.split * side})"
                )
            chosen = out[:, rows]
            found.append(bin_peaks(bins.beta * chosen, sigma, bins.decoding))
            if bins.activation == "softmax":
                parts = np.exp(bins.beta * (chosen - chosen.max(-1, keepdims=True)))
                sure.append(sigma * np.sqrt(2 * np.pi) / parts.sum(-1))
            else:
                sure.append(chosen.max(-1))
        offset = (bins.split - 1) / 2 if bins.unbiased else 0.0
        xy = (np.stack(found, -1) - offset) / bins.split
        return xy.astype(np.float32), np.minimum(*sure).clip(0, 1).astype(np.float32)

    def _pixels(self, points: Points, out: Floats) -> Floats:
        """(B, K, 2) input pixels, their centres at whole numbers."""
        xy = self._columns(points, out)[..., [points.x, points.y]]
        if points.normalised:
            xy = xy * (np.array(self.size, np.float32) - np.float32(0 if points.corner else 1))
        return np.asarray(xy - np.float32(0.5) if points.corner else xy)

    def _xyz(self, space: Space, out: Floats) -> Floats:
        """(B, K, 3) metres from the root."""
        xyz = self._columns(space, out)[..., [space.x, space.y, space.z]]
        root = xyz[:, list(self.adapter.skeleton.root)].mean(1, keepdims=True)
        return np.asarray((xyz - root) * np.array(space.unit, np.float32))

    def _score(self, part: Confidence, out: Floats) -> Floats:
        score = self._columns(part, out)[..., part.column]
        if part.activation == "sigmoid":
            return sigmoid(score)
        if len(score) and not (score.min() >= -SLACK and score.max() <= 1 + SLACK):
            raise self._misfit(
                f"the score in output {part.output} runs from {score.min():g} to {score.max():g}, not 0..1; "
                f"is it a logit (activation sigmoid)?"
            )
        return np.clip(score, 0, 1)

    def _misfit(self, what: str) -> ValueError:
        return ValueError(f"{self.path}: {what}.{self._told_by} {ports(self.session)}")


def adapter_of(session: Any, path: Path, adapter: Adapter | str | None = None) -> Adapter:
    """How the file `path`, open in `session`, is fed and read: as `adapter` says, itself, or a built-in one
    by its name, or a JSON file; if it is None, as the contract in the file says, or as is known of files with
    these inputs and outputs. FileNotFoundError; ValueError that names the file if nothing says so.
    """
    if isinstance(adapter, Adapter):
        return adapter
    if adapter is not None:
        return ADAPTERS[adapter] if adapter in ADAPTERS else Adapter.from_json(Path(adapter))
    entries = metadata(session, path)
    if KEY in entries:
        try:
            return Adapter.from_spec(PoseSpec.from_json(entries[KEY]))
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from error
    if DETECTOR_KEY in entries:
        raise ValueError(
            f"{path}: is a detector, which gives boxes and no joints; --detector or runtime.Detector runs it"
        )
    inputs = {p.name: (p.type, shape_of(p)) for p in session.get_inputs()}
    outputs = {p.name: shape_of(p) for p in session.get_outputs()}
    for wanted_inputs, wanted_outputs, name in SIGNATURES:
        if inputs == wanted_inputs and wanted_outputs.items() <= outputs.items():
            return ADAPTERS[name]
    raise ValueError(
        f"{path}: has no PoseSpec in its metadata and is none of the networks that are known by their inputs "
        f"and outputs ({', '.join(ADAPTERS)}), "
        f"so an adapter must say how to feed and read it: a JSON file as docs/teachers.md shows, for "
        f"--adapter. {ports(session)}"
    )


def sigmoid(values: Floats) -> Floats:
    """(...) logits to 0..1."""
    return np.asarray(1 / (1 + np.exp(-np.clip(values, -80, 80))), np.float32)


def ports(session: Any) -> str:
    """In words what goes in and what comes out."""
    lines = [
        "; ".join(f"{p.name} {p.type} {list(p.shape)}" for p in side)
        for side in (session.get_inputs(), session.get_outputs())
    ]
    return f"Its inputs: {lines[0]}. Its outputs: {lines[1]}"


def shape_of(port: Any) -> Shape:
    """The shape of an input or output of a session."""
    return tuple(s if isinstance(s, int) and s > 0 else None for s in port.shape)
