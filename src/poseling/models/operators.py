"""ONNX's operators in torch: `LAYERS` have weights, `FUNCTIONS` have none. Tensors are (B, C, H, W) as in
ONNX.

Operators without a tensor among their inputs compute with numpy, on arrays of integers: the sizes that
`Shape` returned. These may be symbolic while a network is exported, hence arrays of objects.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

Attributes = Mapping[str, Any]
Pads = tuple[int, int, int, int]  # left, right, top, bottom, as torch pads


# Layers


class Convolution(nn.Conv2d):
    """A convolution with a padding for each side, as in TensorFlow: the part that is equal on both sides is
    the convolution's own, the rest is padded before.
    """

    def __init__(self, a: Attributes) -> None:
        both, self.rest = _pads(a)
        self.same = str(a.get("same", ""))
        inputs, outputs = a["channels"]
        super().__init__(
            inputs,
            outputs,
            tuple(a["kernel"]),
            tuple(a["strides"]),
            both,
            tuple(a["dilations"]),
            int(a["groups"]),
            bool(a["bias"]),
        )

    def forward(self, x: Tensor) -> Tensor:
        rest = _same(self.same, x, self.kernel_size, self.stride, self.dilation) if self.same else self.rest
        return super().forward(F.pad(x, rest) if any(rest) else x)


class Transposed(nn.ConvTranspose2d):
    """A transposed convolution; unequal cropping of the two sides is done afterwards."""

    def __init__(self, a: Attributes) -> None:
        both, self.rest = _pads(a)
        inputs, outputs = a["channels"]
        more = tuple(a.get("output_padding") or (0, 0))
        super().__init__(
            inputs,
            outputs,
            tuple(a["kernel"]),
            tuple(a["strides"]),
            both,
            more,
            int(a["groups"]),
            bool(a["bias"]),
            tuple(a["dilations"]),
        )

    def forward(self, x: Tensor, output_size: list[int] | None = None) -> Tensor:
        left, right, top, bottom = self.rest
        out = super().forward(x, output_size)
        return out[:, :, top : out.shape[2] - bottom, left : out.shape[3] - right] if any(self.rest) else out


class Norm(nn.BatchNorm2d):
    """A batch norm of tensors (B, C) with any number of further axes."""

    def _check_input_dim(self, input: Tensor) -> None:
        pass


class Learned(nn.Module):
    """A learned tensor: a graph adds it to a map, or multiplies a map by it."""

    def __init__(self, shape: Sequence[int]) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(*shape))

    def forward(self) -> Tensor:
        return self.weight


LAYERS: dict[str, Callable[[Attributes], nn.Module]] = {
    "Conv": Convolution,
    "ConvTranspose": Transposed,
    "Linear": lambda a: nn.Linear(a["channels"][0], a["channels"][1], bool(a["bias"])),
    "BatchNormalization": lambda a: Norm(a["channels"], a["epsilon"], 1 - a["momentum"]),
    "InstanceNormalization": lambda a: nn.InstanceNorm2d(a["channels"], a["epsilon"], affine=True),
    "LayerNormalization": lambda a: nn.LayerNorm(a["shape"], a["epsilon"], bias=bool(a["bias"])),
    "PRelu": lambda a: nn.PReLU(a["channels"]),
    "Parameter": lambda a: Learned(a["shape"]),
}


def _pads(a: Attributes) -> tuple[tuple[int, int], Pads]:
    """The part of ONNX's (top, left, bottom, right) that is equal on both sides, (y, x), and the rest."""
    top, left, bottom, right = a["pads"]
    y, x = min(top, bottom), min(left, right)
    return (y, x), (left - x, right - x, top - y, bottom - y)


def _same(
    side: str, x: Tensor, kernel: Sequence[int], stride: Sequence[int], dilation: Sequence[int]
) -> Pads:
    """The padding of SAME_UPPER and SAME_LOWER: the output has ceil(size / stride) pixels, and an odd pixel
    goes to the end or to the start.
    """
    pads = []
    for size, k, s, d in zip(
        reversed(x.shape[2:]), reversed(kernel), reversed(stride), reversed(dilation), strict=True
    ):
        total = max((-(-size // s) - 1) * s + (k - 1) * d + 1 - size, 0)
        small, large = total // 2, total - total // 2
        pads += [small, large] if side == "SAME_UPPER" else [large, small]
    return pads[0], pads[1], pads[2], pads[3]


# Numbers and tensors


def _number(value: Any, like: Tensor) -> Any:
    """An operand for the tensor `like`: a tensor, or one number."""
    if not isinstance(value, np.ndarray):
        return value
    if value.size == 1:
        return value.reshape(-1)[0].item() if value.dtype != object else value.reshape(-1)[0]
    return torch.as_tensor(value.astype(np.int64) if value.dtype == object else value, device=like.device)


def _array(value: Any) -> Any:
    """The value as an array; numpy returns scalars from arrays without axes."""
    return value if isinstance(value, np.ndarray) else np.array(value, getattr(value, "dtype", object))


def _ints(value: Any) -> list[Any]:
    """The integers of an attribute, an array or a tensor as a list, symbolic ones unchanged."""
    if not isinstance(value, np.ndarray):
        return value.tolist() if isinstance(value, Tensor) else list(value)
    return list(value.reshape(-1)) if value.dtype == object else value.reshape(-1).tolist()


def _each(torchs: Any, numpys: Any) -> Callable[..., Any]:
    """An operator that uses torch if a tensor is among its inputs, else numpy."""

    def run(a: Attributes, *values: Any) -> Any:
        like = next((v for v in values if isinstance(v, Tensor)), None)
        if like is None:
            return _array(numpys(*(np.asarray(v) for v in values)))
        return torchs(*(_number(v, like) for v in values))

    return run


def _fold(pair: Callable[..., Any]) -> Callable[..., Any]:
    """An operator on any number of inputs, made of one on two."""

    def run(a: Attributes, first: Any, *others: Any) -> Any:
        for other in others:
            first = pair(a, first, other)
        return first

    return run


def _quotient(x: Any, y: Any) -> Any:
    whole = x.dtype.kind in "iO" and y.dtype.kind in "iO"
    return x // y if whole else x / y  # sizes are never below 0


def _divided(x: Any, y: Any) -> Any:
    whole = (
        isinstance(x, Tensor)
        and not x.is_floating_point()
        and not (isinstance(y, Tensor) and y.is_floating_point())
        and not isinstance(y, float)
    )
    return torch.div(x, y, rounding_mode="trunc") if whole else x / y


def _tensors(pair: Callable[[Tensor, Tensor], Tensor]) -> Callable[..., Any]:
    """A function of two tensors that also accepts a number for one of them."""

    def run(x: Any, y: Any) -> Any:
        like = x if isinstance(x, Tensor) else y
        return pair(
            *(
                v if isinstance(v, Tensor) else torch.as_tensor(v, dtype=like.dtype, device=like.device)
                for v in (x, y)
            )
        )

    return run


FLOATS = (1, 10, 11, 16)  # onnx.TensorProto's float, float16, double and bfloat16
INTS = (2, 3, 4, 5, 6, 7, 12, 13)


def _cast(a: Attributes, x: Any) -> Any:
    to = int(a["to"])
    if isinstance(x, Tensor):
        return x.to(torch.float32 if to in FLOATS else torch.int64 if to in INTS else torch.bool)
    if to in INTS:
        return _array(np.vectorize(torch.sym_int, otypes=[object])(x)) if x.size else x
    return x


def _shape(a: Attributes, x: Tensor) -> Any:
    return np.array(list(x.shape)[a.get("start", 0) : a.get("end")], dtype=object)


def _constant(a: Attributes) -> Any:
    return np.asarray(a["value"], dtype=a["dtype"])


# Activations


def _clip(a: Attributes, x: Any) -> Any:
    low, high = a.get("min"), a.get("max")
    if not isinstance(x, Tensor):
        return np.clip(x, low, high)
    low, high = _number(low, x), _number(high, x)
    if (low, high) == (0, 6):
        return F.relu6(x)
    return x if low is None and high is None else x.clamp(low, high)


def _softmax(a: Attributes, x: Tensor) -> Tensor:
    if a.get("flat"):  # before opset 13: over all axes from `axis` on
        axis = a["axis"] % x.ndim
        return x.flatten(axis).softmax(-1).view_as(x)
    return x.softmax(a["axis"])


# Shapes


def _reshape(a: Attributes, x: Any) -> Any:
    shape = _ints(a["shape"])
    if not a.get("allowzero", 0):
        shape = [x.shape[i] if isinstance(s, int) and s == 0 else s for i, s in enumerate(shape)]
    return x.reshape(shape)


def _transpose(a: Attributes, x: Any) -> Any:
    order = a.get("perm") or list(reversed(range(x.ndim)))
    return x.permute(order) if isinstance(x, Tensor) else x.transpose(order)


def _flatten(a: Attributes, x: Tensor) -> Tensor:
    axis = a.get("axis", 1) % (x.ndim + 1)
    return x.reshape(math.prod(x.shape[:axis]), -1) if axis != 1 else x.flatten(1)


def _unsqueeze(a: Attributes, x: Any) -> Any:
    axes = _ints(a["axes"])
    for axis in sorted(i % (x.ndim + len(axes)) for i in axes):
        x = x.unsqueeze(axis) if isinstance(x, Tensor) else np.expand_dims(x, axis)
    return x


def _squeeze(a: Attributes, x: Any) -> Any:
    axes = [i for i, s in enumerate(x.shape) if s == 1] if a.get("axes") is None else _ints(a["axes"])
    for axis in sorted((i % x.ndim for i in axes), reverse=True):
        if x.shape[axis] != 1:
            raise ValueError(f"axis {axis} has {x.shape[axis]} places, not 1")
        x = x.squeeze(axis)
    return x


def _concat(a: Attributes, *parts: Any) -> Any:
    axis = int(a["axis"])
    if not any(isinstance(p, Tensor) for p in parts):
        return np.concatenate([np.asarray(p, object) for p in parts], axis)
    batch = max((p.shape[0] for p in parts if p.shape[0] != 1), default=1) if axis % parts[0].ndim else None
    if batch is not None:  # what was made for one image goes with every one
        parts = tuple(p if p.shape[0] != 1 else p.expand(batch, *p.shape[1:]) for p in parts)
    return torch.cat(parts, axis)


def _slice(a: Attributes, x: Any) -> Any:
    starts, ends = _ints(a["starts"]), _ints(a["ends"])
    axes = list(range(len(starts))) if a.get("axes") is None else _ints(a["axes"])
    steps = [1] * len(starts) if a.get("steps") is None else _ints(a["steps"])
    places: list[Any] = [slice(None)] * x.ndim
    for axis, start, end, step in zip(axes, starts, ends, steps, strict=True):
        if step > 0:
            places[axis] = slice(start, end, step)
        elif isinstance(x, Tensor):  # torch counts upwards only
            x = x.index_select(
                axis,
                torch.arange(x.shape[axis], device=x.device)[
                    range(x.shape[axis])[slice(start, _end(end, x.shape[axis]), step)]
                ],
            )
        else:
            places[axis] = slice(start, _end(end, x.shape[axis]), step)
    return x[tuple(places)]


def _end(end: int, size: int) -> int | None:
    return None if end < -size else end  # in ONNX a number below -size means past the start


def _split(a: Attributes, x: Any) -> tuple[Any, ...]:
    axis = int(a.get("axis", 0))
    if a.get("split") is not None:
        parts = _ints(a["split"])
    else:
        step = -(-x.shape[axis] // a["outputs"])
        parts = [step] * (a["outputs"] - 1) + [x.shape[axis] - step * (a["outputs"] - 1)]
    return (
        torch.split(x, parts, axis)
        if isinstance(x, Tensor)
        else tuple(np.split(x, np.cumsum(parts)[:-1], axis))
    )


def _gather(a: Attributes, x: Any, at: Any) -> Any:
    axis = int(a.get("axis", 0))
    if not isinstance(x, Tensor):
        return np.asarray(np.take(x, np.asarray(at, np.int64), axis), x.dtype)
    if isinstance(at, np.ndarray) and at.ndim == 0:
        return x.select(axis, int(at))
    at = at if isinstance(at, Tensor) else torch.as_tensor(np.asarray(at, np.int64), device=x.device)
    axis %= x.ndim
    found = x.index_select(axis, torch.where(at < 0, at + x.shape[axis], at).flatten())
    return found.reshape(*x.shape[:axis], *at.shape, *x.shape[axis + 1 :])


def _expand(a: Attributes, x: Any) -> Any:
    shape = _ints(a["shape"])
    if not isinstance(x, Tensor):
        return np.broadcast_to(x, np.broadcast_shapes(x.shape, tuple(shape)))
    shape = [1] * (x.ndim - len(shape)) + shape
    have = [1] * (len(shape) - x.ndim) + list(x.shape)
    return x.expand([h if isinstance(s, int) and s == 1 else s for s, h in zip(shape, have, strict=True)])


def _pad(a: Attributes, x: Tensor) -> Tensor:
    pads = _ints(a["pads"])
    axes = list(range(len(pads) // 2)) if a.get("axes") is None else [i % x.ndim for i in _ints(a["axes"])]
    around = [[0, 0] for _ in range(x.ndim)]
    for i, axis in enumerate(axes):
        around[axis] = [pads[i], pads[i + len(axes)]]
    while around and not any(around[0]):  # torch counts from the last axis, and reflects only some of them
        around = around[1:]
    mode = {"constant": "constant", "reflect": "reflect", "edge": "replicate", "wrap": "circular"}[
        a.get("mode", "constant")
    ]
    if mode == "constant":
        return F.pad(
            x, [p for pair in reversed(around) for p in pair], value=float(_number(a.get("value") or 0, x))
        )
    around = [[0, 0]] * (x.ndim - 2 - len(around)) + around
    return F.pad(x, [p for pair in reversed(around) for p in pair], mode)


def _reduce(torchs: Callable[..., Tensor], numpys: Callable[..., Any]) -> Callable[..., Any]:
    def run(a: Attributes, x: Any) -> Any:
        axes = _ints(a["axes"]) if a.get("axes") is not None else []
        if not axes:
            if a.get("noop"):
                return x
            axes = list(range(x.ndim))
        keep = bool(a.get("keepdims", 1))
        return (
            torchs(x, axes, keep)
            if isinstance(x, Tensor)
            else np.asarray(numpys(x, axis=tuple(axes), keepdims=keep))
        )

    return run


def _blocks(a: Attributes, x: Tensor) -> Tensor:
    """DepthToSpace."""
    size = int(a["blocksize"])
    if a.get("mode", "DCR") == "CRD":
        return F.pixel_shuffle(x, size)
    b, c, h, w = x.shape
    return (
        x.reshape(b, size, size, c // size**2, h, w)
        .permute(0, 3, 4, 1, 5, 2)
        .reshape(b, c // size**2, h * size, w * size)
    )


def _unblocks(a: Attributes, x: Tensor) -> Tensor:
    """SpaceToDepth."""
    size = int(a["blocksize"])
    b, c, h, w = x.shape
    return (
        x.reshape(b, c, h // size, size, w // size, size)
        .permute(0, 3, 5, 1, 2, 4)
        .reshape(b, c * size**2, h // size, w // size)
    )


# Pools


def _around(a: Attributes, x: Tensor) -> Pads:
    if a.get("same"):
        return _same(a["same"], x, a["kernel"], a["strides"], a["dilations"])
    top, left, bottom, right = a["pads"]
    return left, right, top, bottom


def _max_pool(a: Attributes, x: Tensor) -> Tensor:
    left, right, top, bottom = _around(a, x)
    kernel, strides, dilations, ceil = a["kernel"], a["strides"], a["dilations"], bool(a.get("ceil_mode", 0))
    if (left, top) == (right, bottom) and 2 * left <= kernel[1] and 2 * top <= kernel[0]:
        return F.max_pool2d(x, kernel, strides, (top, left), dilations, ceil)
    return F.max_pool2d(
        F.pad(x, (left, right, top, bottom), value=-torch.inf), kernel, strides, 0, dilations, ceil
    )


def _average_pool(a: Attributes, x: Tensor) -> Tensor:
    pads = _around(a, x)
    kernel, strides, ceil, count = (
        a["kernel"],
        a["strides"],
        bool(a.get("ceil_mode", 0)),
        bool(a.get("count_include_pad", 0)),
    )
    left, right, top, bottom = pads
    if (left, top) == (right, bottom) and 2 * left <= kernel[1] and 2 * top <= kernel[0]:
        return F.avg_pool2d(x, kernel, strides, (top, left), ceil, count)
    total = F.avg_pool2d(F.pad(x, pads), kernel, strides, 0, ceil)
    return (
        total
        if count
        else total / F.avg_pool2d(F.pad(torch.ones_like(x[:1, :1]), pads), kernel, strides, 0, ceil)
    )


# Resizing


def _resize(a: Attributes, x: Tensor) -> Tensor:
    mode, place = a.get("mode", "nearest"), a.get("coordinate_transformation_mode", "half_pixel")
    how = a.get("nearest_mode", "round_prefer_floor")
    h, w = x.shape[2:]
    scales: list[float] = []  # none where the size is given
    if a.get("sizes") is not None:
        size = _ints(a["sizes"])[-2:]
    else:
        scales = [float(s) for s in _ints(a["scales"])[-2:]]
        size = [s * int(f) if f == int(f) else math.floor(s * f) for s, f in zip((h, w), scales, strict=True)]
    if mode == "nearest":
        plain = (place, how) == ("asymmetric", "floor")
        if scales and all(f >= 1 and f == int(f) for f in scales):
            if plain or (place in ("half_pixel", "pytorch_half_pixel") and how.startswith("round")):
                return F.interpolate(x, scale_factor=scales, mode="nearest")
        elif plain and not scales:
            return F.interpolate(x, size, mode="nearest")
    else:
        name = "bilinear" if mode == "linear" else "bicubic"
        if place == "align_corners":
            return F.interpolate(x, size, mode=name, align_corners=True)
        if place in ("half_pixel", "pytorch_half_pixel"):
            if not scales:
                return F.interpolate(x, size, mode=name, align_corners=False)
            return F.interpolate(
                x, scale_factor=scales, mode=name, align_corners=False, recompute_scale_factor=False
            )
        if mode == "cubic":
            raise ValueError(f"a cubic Resize with {place} is not known; half_pixel and align_corners are")
    for axis, (old, new) in enumerate(zip((h, w), size, strict=True), 2):
        if old != new:
            scale = scales[axis - 2] if scales else new / old
            x = _along(x, axis, _places(place, old, new, scale, x.device), mode, how)
    return x


def _places(place: str, old: int, new: int, scale: float, device: torch.device) -> Tensor:
    """(new,) where each new pixel lies in the old line, in float64."""
    i = torch.arange(new, device=device, dtype=torch.float64)
    if place == "asymmetric":
        return i / scale
    if place == "align_corners":
        return i * (old - 1) / max(new - 1, 1)
    if place == "tf_half_pixel_for_nn":
        return (i + 0.5) / scale
    if place in ("half_pixel", "pytorch_half_pixel"):
        return (i + 0.5) / scale - 0.5
    raise ValueError(f"a Resize with {place} is not known; half_pixel, asymmetric and align_corners are")


def _along(x: Tensor, axis: int, places: Tensor, mode: str, how: str) -> Tensor:
    """`x` read along `axis` at `places`."""
    top = x.shape[axis] - 1
    if mode == "nearest":
        rounding: dict[str, Callable[[Tensor], Tensor]] = {
            "floor": torch.floor,
            "ceil": torch.ceil,
            "round_prefer_floor": lambda p: torch.ceil(p - 0.5),
            "round_prefer_ceil": lambda p: torch.floor(p + 0.5),
        }
        return x.index_select(axis, rounding[how](places).clamp(0, top).long())
    places = places.clamp(0, top)
    low = places.floor().long()
    part = (places - low).to(x.dtype).view(-1, *[1] * (x.ndim - 1 - axis))
    before, after = x.index_select(axis, low), x.index_select(axis, (low + 1).clamp(max=top))
    return before + (after - before) * part


_add = _each(lambda x, y: x + y, lambda x, y: x + y)
_mean = _reduce(lambda x, axes, keep: x.mean(axes, keep), np.mean)
_maximum = _each(_tensors(torch.maximum), np.maximum)
_minimum = _each(_tensors(torch.minimum), np.minimum)

FUNCTIONS: dict[str, Callable[..., Any]] = {
    "Constant": _constant,
    "Shape": _shape,
    "Cast": _cast,
    "Identity": lambda a, x: x,
    "Dropout": lambda a, x: x,  # exported for use, where it does nothing; its rate is not in the file
    # arithmetic
    "Add": _add,
    "Sub": _each(lambda x, y: x - y, lambda x, y: x - y),
    "Mul": _each(lambda x, y: x * y, lambda x, y: x * y),
    "Div": _each(_divided, _quotient),
    "Pow": _each(lambda x, y: x**y, lambda x, y: x**y),
    "Mod": _each(lambda x, y: x % y, lambda x, y: x % y),
    "MatMul": _each(torch.matmul, np.matmul),
    "Sum": _fold(_add),
    "Mean": lambda a, *xs: _fold(_add)(a, *xs) / len(xs),
    "Max": _fold(_maximum),
    "Min": _fold(_minimum),
    "Neg": _each(torch.neg, np.negative),
    "Abs": _each(torch.abs, np.abs),
    "Sqrt": _each(torch.sqrt, lambda x: np.sqrt(x.astype(np.float64))),
    "Reciprocal": _each(torch.reciprocal, lambda x: 1 / x),
    "Exp": lambda a, x: x.exp(),
    "Log": lambda a, x: x.log(),
    "Floor": _each(torch.floor, lambda x: np.vectorize(math.floor, otypes=[object])(x)),
    "Ceil": _each(torch.ceil, lambda x: np.vectorize(math.ceil, otypes=[object])(x)),
    "Erf": lambda a, x: x.erf(),
    "Sin": lambda a, x: x.sin(),
    "Cos": lambda a, x: x.cos(),
    # comparison
    "Equal": _each(lambda x, y: x == y, lambda x, y: x == y),
    "Less": _each(lambda x, y: x < y, lambda x, y: x < y),
    "Greater": _each(lambda x, y: x > y, lambda x, y: x > y),
    "Not": _each(torch.logical_not, np.logical_not),
    "Where": _each(torch.where, np.where),
    # activations
    "Relu": lambda a, x: x.relu(),
    "Clip": _clip,
    "LeakyRelu": lambda a, x: F.leaky_relu(x, a.get("alpha", 0.01)),
    "Elu": lambda a, x: F.elu(x, a.get("alpha", 1.0)),
    "HardSigmoid": lambda a, x: (a.get("alpha", 0.2) * x + a.get("beta", 0.5)).clamp(0, 1),
    "HardSwish": lambda a, x: F.hardswish(x),
    "Sigmoid": lambda a, x: x.sigmoid(),
    "Tanh": lambda a, x: x.tanh(),
    "Softplus": lambda a, x: F.softplus(x, threshold=1e4),
    "Softsign": lambda a, x: F.softsign(x),
    "Softmax": _softmax,
    "LogSoftmax": lambda a, x: x.log_softmax(a["axis"]),
    "Gelu": lambda a, x: F.gelu(x, approximate=a.get("approximate", "none")),
    "Mish": lambda a, x: F.mish(x),
    "Swish": lambda a, x: x * (a.get("alpha", 1.0) * x).sigmoid(),
    # shapes
    "Reshape": _reshape,
    "Flatten": _flatten,
    "Transpose": _transpose,
    "Squeeze": _squeeze,
    "Unsqueeze": _unsqueeze,
    "Concat": _concat,
    "Slice": _slice,
    "Split": _split,
    "Gather": _gather,
    "Expand": _expand,
    "Tile": lambda a, x: (
        x.repeat(_ints(a["repeats"])) if isinstance(x, Tensor) else np.tile(x, _ints(a["repeats"]))
    ),
    "Pad": _pad,
    "ConstantOfShape": lambda a: np.full(_ints(a["input"]), a.get("value", 0)),
    "DepthToSpace": _blocks,
    "SpaceToDepth": _unblocks,
    # over pixels and channels
    "ReduceMean": _mean,
    "ReduceSum": _reduce(lambda x, axes, keep: x.sum(axes, keep), np.sum),
    "ReduceMax": _reduce(lambda x, axes, keep: x.amax(axes, keep), np.max),
    "ReduceMin": _reduce(lambda x, axes, keep: x.amin(axes, keep), np.min),
    "ReduceProd": lambda a, x: np.asarray(
        np.prod(
            x,
            axis=tuple(_ints(a["axes"])) if a.get("axes") is not None else None,
            keepdims=bool(a.get("keepdims", 1)),
        )
    ),
    "ReduceL2": _reduce(lambda x, axes, keep: x.square().sum(axes, keep).sqrt(), np.linalg.norm),
    "MaxPool": _max_pool,
    "AveragePool": _average_pool,
    "GlobalAveragePool": lambda a, x: x.mean(tuple(range(2, x.ndim)), keepdim=True),
    "GlobalMaxPool": lambda a, x: x.amax(tuple(range(2, x.ndim)), keepdim=True),
    "Resize": _resize,
}
