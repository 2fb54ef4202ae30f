"""Any ONNX network as a start for training: `from_onnx` makes a trainable network of it, with its contract,
checked against ONNX Runtime.

MoveNet, BlazePose and our own exports need no options. For other files the caller names the tensor of the
heatmaps, the skeleton, and the normalisation of the pixels.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnx
from numpy.typing import NDArray

from poseling.adapter import ADAPTERS, NAME, SIGNATURES, Adapter
from poseling.codecs import FEATURES, codec
from poseling.codecs.heatmap import Heatmap
from poseling.geometry import Size
from poseling.models.graph import MODEL, GraphNetwork
from poseling.models.importers.onnx_check import difference
from poseling.models.importers.onnx_file import candidates, load
from poseling.models.importers.onnx_graph import Read, read
from poseling.skeleton import Skeleton
from poseling.spec import KEY, SIDE, PoseSpec

# The heatmaps before their sigmoid in the files that `adapter` knows.
LOGITS = {
    "movenet": "StatefulPartitionedCall/kpt_heatmap_0/conv2d_5/BiasAdd:0",
    "blazepose": "StatefulPartitionedCall/model/output_heatmap/BiasAdd:0",
}
TYPES = {
    1: "tensor(float)",
    2: "tensor(uint8)",
    6: "tensor(int32)",
    7: "tensor(int64)",
    10: "tensor(float16)",
}
TRUNK = Skeleton("none", (), ())  # of a network that gives features and no joints
NONE = {"code": "unknown", "weights": "unknown", "data": "unknown"}
CROPS = 8


@dataclass(frozen=True)
class Start:
    """A network made of an ONNX file, in eval mode, its contract, and its mean `difference` from ONNX Runtime
    as a part of the output's range.
    """

    network: GraphNetwork
    spec: PoseSpec
    difference: float


def drawn(size: Size, count: int = CROPS, seed: int = 0) -> NDArray[np.uint8]:
    """`count` images (N, H, W, 3) of soft colours with noise, that show nothing."""
    random = np.random.default_rng(seed)
    soft = [
        cv2.resize(random.integers(0, 256, (8, 8, 3), np.uint8), size, interpolation=cv2.INTER_CUBIC)
        for _ in range(count)
    ]
    return np.clip(np.stack(soft) + random.normal(0, 16, (count, size[1], size[0], 3)), 0, 255).astype(
        np.uint8
    )


def from_onnx(
    path: Path | str,
    until: str | None = None,
    size: Size | None = None,
    *,
    skeleton: Skeleton | None = None,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    colour: str | None = None,
    crops: Callable[[Size], NDArray[np.uint8]] = drawn,
) -> Start:
    """The network in `path` up to the tensor `until`: heatmaps, before a sigmoid or softmax, or a feature
    map, for a head to be put on (`with_head`).

    `until` may be part of a name; known files have a default. `size` (W, H), the file's own if not given.
    `skeleton` whose joints the heatmaps are, in their order. `mean` and `std` of 0..1 values and `colour` are
    what the file expects of pixels, where its graph does not normalise them. `crops` makes (N, H, W, 3)
    uint8 RGB of a size (W, H), to compare with ONNX Runtime on. FileNotFoundError; ValueError that names the
    file, what in it does not work, and the way out.
    """
    path = Path(path)
    if size is not None and not all(1 <= side <= SIDE for side in size):
        raise ValueError(
            f"{path}: --size {size[0]} {size[1]} is no image's; give width and height, 1 to {SIDE}"
        )
    model = load(path)
    own, name = _own(path, model), _known(model)
    adapter = ADAPTERS[name] if name else None
    if own is not None and own.codec.get("name") == NAME:  # a foreign network, whose contract is an adapter
        adapter, own = Adapter.from_spec(own), None
    default = before_decoding(model) if own else LOGITS.get(name)
    if until is None:
        if default is None:
            raise ValueError(
                f"{path}: name the heatmaps, or a feature map, with --until; candidates are "
                f"{'; '.join(candidates(model)) or 'none'}"
            )
        until = default
    found = read(path, until, size, model)
    network, native = found.network, found.size or size
    assert native is not None  # else read refuses
    whole = default is not None and network.graph.output == default
    spec = _spec(found, adapter, own, native, mean, std, colour)
    channels = None
    if whole and name == "blazepose":  # its last six are not joints
        channels = tuple(range(len(spec.skeleton)))
        network = network.with_channels(channels)
    apart = difference(replace(found, network=network), spec, crops(native), channels)
    size = size or native
    try:
        network.at(size)
        spec = replace(
            spec,
            size=size,
            **_reading(
                network,
                spec,
                own if whole else None,
                skeleton or (spec.skeleton if whole else None),
                size,
                found,
            ),
        )
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    return Start(network, spec, apart)


def _own(path: Path, model: Any) -> PoseSpec | None:
    """The contract of a file that `poseling export` wrote."""
    for entry in model.metadata_props:
        if entry.key == KEY:
            try:
                return PoseSpec.from_json(entry.value)
            except ValueError as error:
                raise ValueError(f"{path}: {error}") from error
    return None


def _known(model: Any) -> str:
    """The name of the adapter with these inputs and outputs; "" if there is none."""

    def shape(port: Any) -> tuple[int | None, ...]:
        return tuple(d.dim_value or None for d in port.type.tensor_type.shape.dim)

    stored = {t.name for t in model.graph.initializer}
    ports = [p for p in model.graph.input if p.name not in stored]
    inputs = {p.name: (TYPES.get(p.type.tensor_type.elem_type, ""), shape(p)) for p in ports}
    outputs = {p.name: shape(p) for p in model.graph.output}
    for wanted, given, name in SIGNATURES:
        if inputs == wanted and given.items() <= outputs.items():
            return name
    return ""


def before_decoding(model: Any) -> str | None:
    """In our own exports what the network gave, of which `Deployed` takes the last stage with [:, -1]: the
    last Gather of -1 along axis 1, or what it is of.
    """
    made = {o: n for n in model.graph.node for o in n.output}
    stored = {t.name: t for t in model.graph.initializer}

    def number(name: str) -> int | None:
        value = onnx.numpy_helper.to_array(stored[name]) if name in stored else None
        return int(value.reshape(-1)[0]) if value is not None and value.size == 1 else None

    for node in reversed(model.graph.node):
        axis = next((a.i for a in node.attribute if a.name == "axis"), 0)
        if node.op_type != "Gather" or axis != 1 or number(node.input[1]) != -1:
            continue
        before = made.get(node.input[0])
        if before is not None and before.op_type == "Concat":  # of all stages
            before = made.get(before.input[-1])
        if before is not None and before.op_type == "Unsqueeze" and number(before.input[1]) == 1:
            return str(before.input[0])
        return str(node.output[0])
    return None


def _spec(
    found: Read,
    adapter: Adapter | None,
    own: PoseSpec | None,
    size: Size,
    mean: Sequence[float] | None,
    std: Sequence[float] | None,
    colour: str | None,
) -> PoseSpec:
    """The contract without the outputs, which `_reading` adds: inputs, licences and padding."""
    gain, offset = np.array(found.gain), np.array(found.offset)
    whole_numbers = found.dtype.kind in "iu"
    fed = colour or (adapter.colour if adapter else "rgb")
    if adapter is not None:
        white, outside_mean, outside_std = adapter.white, adapter.mean, adapter.std
    elif whole_numbers or own is not None:
        white, outside_mean, outside_std = 255.0, (0.0,) * 3, (1.0,) * 3
    elif mean is not None or std is not None:
        white, outside_mean, outside_std = 1.0, tuple(mean or (0.0,) * 3), tuple(std or (1.0,) * 3)
    elif found.normalises:
        white, outside_mean, outside_std = 255.0 if np.abs(gain).max() < 0.1 else 1.0, (0.0,) * 3, (1.0,) * 3
    else:
        raise ValueError(
            f"{found.path}: takes floats, and how pixels become those is unknown; give --mean and --std of "
            f"0..1 values, 0 0 0 and 1 1 1 if they are all it wants"
        )
    outside = np.array(outside_mean), np.array(outside_std)
    if found.flipped:
        outside, fed = (outside[0][::-1], outside[1][::-1]), "bgr" if fed == "rgb" else "rgb"
    # The network takes gain x + offset of the file's input x = white (p - m) / s: that is (p - mean) / std.
    scale = gain * white / outside[1]
    means, stds = _round(outside[0] - offset / scale), _round(1 / scale)
    base = own or PoseSpec(
        MODEL,
        adapter.skeleton if adapter else TRUNK,
        {"name": FEATURES},
        size,
        licences=dict(adapter.licences if adapter else NONE),
    )
    return replace(
        base, model=MODEL, size=size, padding=base.padding if own or not adapter else adapter.padding, colour=fed, mean=means, std=stds,
        recipe=f"imported from {found.path.name}", arguments={"until": found.network.graph.output},
    )  # fmt: skip


def _reading(
    network: GraphNetwork,
    spec: PoseSpec,
    own: PoseSpec | None,
    skeleton: Skeleton | None,
    size: Size,
    found: Read,
) -> dict[str, Any]:
    """The fields of the contract about the network's outputs."""
    shape = network.shapes(size)[network.graph.output]
    if own is not None:
        fields = replace(codec(own.codec), size=size).fields()  # type: ignore[type-var]  # every codec is a dataclass
        if own.outputs == ("maps",):
            fields |= {"softmax": found.softmax}
        outputs = ("xy", "score", "xyz") if "xyz" in own.outputs else ("xy", "score")
        return {"skeleton": own.skeleton, "codec": fields, "outputs": outputs}
    if (
        len(shape) != 4
        or size[0] % shape[3]
        or size[1] % shape[2]
        or size[0] // shape[3] != size[1] // shape[2]
    ):
        raise ValueError(
            f"{network.graph.output} is {shape}, no map of a {size[0]}x{size[1]} image; name one that is "
            f"with --until"
        )
    stride = size[0] // shape[3]
    if skeleton is None:
        return {
            "skeleton": TRUNK,
            "codec": {"name": FEATURES, "size": size, "stride": stride, "channels": shape[1]},
            "outputs": (FEATURES,),
        }
    if shape[1] != len(skeleton):
        raise ValueError(
            f"{network.graph.output} has {shape[1]} channels, skeleton {skeleton.name} has {len(skeleton)} "
            f"joints; name the one whose joints they are"
        )
    sigma = 2.0 if stride == 4 and 192 <= max(size) <= 256 else 1.5
    return {
        "skeleton": skeleton,
        "codec": Heatmap(size, stride, sigma, softmax=True).fields(),
        "outputs": ("xy", "score"),
    }


def _round(values: NDArray[np.float64]) -> tuple[float, ...]:
    """Without what half floats and float32 left behind: 0.50000763 is 0.5."""
    return tuple(float(round(v, 4)) if abs(round(v, 4) - v) < 2e-5 else float(v) for v in values)
