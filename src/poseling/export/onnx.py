"""A checkpoint as one ONNX file: normalisation, network and decoding in the graph, the PoseSpec in the
metadata.

Input `crops` (N, H, W, 3) uint8 RGB, N free. Outputs `xy` (N, K, 2) in input pixels, `score` (N, K) and for a
3D network `xyz` (N, K, 3) in metres from the root; of a raw file `maps` (N, K, h, w). Networks of any codec
export the same way; only those with heatmaps and nothing else export raw.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from poseling import __version__
from poseling.codecs import FEATURES, codec, is_3d, read
from poseling.codecs.normalize import normalise
from poseling.export import parity
from poseling.export.parity import Parity, ParityError
from poseling.files import write_bytes
from poseling.models import checkpoint as checkpoints
from poseling.spec import KEY, PoseSpec

ROUNDED = 0.5  # pixels by which a joint may move if weights are rounded to half floats
LARGE = 64  # values: smaller tensors are not worth a cast


def export(
    checkpoint: Path,
    out: Path,
    raw: bool = False,
    crops: NDArray[np.uint8] | None = None,
    bound: float = 0.05,
    half: bool = False,
    network: nn.Module | None = None,
) -> Parity:
    """Writes `checkpoint` to `out` as one ONNX file, once ONNX Runtime gives PyTorch's joints for it.

    `raw` exports heatmaps instead of joints. `crops` (N, H, W, 3) uint8 RGB in the network's size, at least
    32, are what the parity check runs on: crops of people if you have them (`parity.windows` takes them from
    images); without them figures are drawn, and the result's `source` is synthetic. `bound` in input pixels.
    `half` stores the weights as half floats, in half the bytes, and still computes in floats; that rounding
    may move a joint by half a pixel and its score by 0.03. `network` is the module that gets the checkpoint's
    weights, if it is the user's own. ParityError with the numbers if the two differ; then nothing is written.
    ValueError if the crops do not fit, if `checkpoint` is none, or if it is to be raw and gives no heatmaps.
    """
    if out.resolve() == checkpoint.resolve():
        raise ValueError(
            f"{out}: is the checkpoint itself; choose another name, for example "
            f"{checkpoint.with_suffix('.onnx').name}"
        )
    network, spec = checkpoints.load(checkpoint, network)
    if spec.codec["name"] == FEATURES:
        raise ValueError(
            f"{checkpoint}: gives features and no joints; put a head on it first "
            f"(GraphNetwork.with_head), as docs/models.md shows"
        )
    deployed = Deployed(network, spec, raw).eval()
    if crops is None:
        crops, source = parity.synthetic(spec.size), "synthetic"
    else:
        source = "given"
        if crops.dtype != np.uint8 or crops.ndim != 4 or crops.shape[1:] != (spec.size[1], spec.size[0], 3):
            raise ValueError(
                f"crops are {crops.dtype} of shape {crops.shape}, expected uint8 (N, {spec.size[1]}, "
                f"{spec.size[0]}, 3) for {checkpoint}"
            )
    made = graph(deployed)
    model = (halved(made) if half else made).SerializeToString()
    try:
        most, rounding = (max(bound, ROUNDED), parity.HALVES) if half else (bound, parity.FLOATS)
        result = parity.check(deployed.outputs, deployed.codec, model, crops, most, source, rounding)
    except ParityError as error:
        raise ParityError(
            f"{checkpoint}: PyTorch and ONNX Runtime do not agree, {out} was not written: {error}"
        ) from error
    write_bytes(out, model)
    return result


class Deployed(nn.Module):
    """Crops (N, H, W, 3) uint8 RGB to joints (N, K, 2) in input pixels, scores (N, K) and, with a 3D
    codec, xyz (N, K, 3), or to maps (N, K, h, w) if `raw`.

    `spec` is the contract of the file, `codec` reads the network's outputs. ValueError if it is to be raw and
    the codec has no maps, or is 3D.
    """

    def __init__(self, network: nn.Module, spec: PoseSpec, raw: bool = False) -> None:
        super().__init__()
        self.network, self.raw, self.codec = network, raw, codec(spec.codec)
        if raw and not self.codec.has_maps:
            raise ValueError(
                f"{spec.model}: --raw gives heatmaps, but a network with the codec {spec.codec['name']} has "
                f"none; export it without --raw"
            )
        if raw and is_3d(self.codec):
            raise ValueError(
                f"{spec.model}: --raw gives heatmaps alone, and the 3D joints of the codec "
                f"{spec.codec['name']} would be lost; export it without --raw"
            )
        # Raw maps are past the softmax: the codec in the file must not apply it again.
        fields = self.codec.heatmap.fields() if raw else spec.codec
        joints = ("xy", "score", "xyz") if is_3d(self.codec) else ("xy", "score")
        self.spec = replace(spec, codec=fields, outputs=("maps",) if raw else joints)

    def outputs(self, crops: Tensor) -> Tensor:
        """(N, K, ...) of the network's last stack."""
        return torch.as_tensor(self.network(normalise(crops, self.spec))[:, -1])

    def forward(self, crops: Tensor) -> Tensor | tuple[Tensor, ...]:
        outputs = self.outputs(crops)
        maps = self.codec.maps(outputs) if self.raw else None
        return read(self.codec, outputs) if maps is None else maps


def graph(deployed: Deployed) -> onnx.ModelProto:
    """The checked ONNX model, with the spec under `poseling` in its metadata, and the licence and the
    skeleton as text.
    """
    spec = deployed.spec
    width, height = spec.size
    # two crops, since one would be taken for a constant
    crops = torch.zeros(2, height, width, 3, dtype=torch.uint8)
    model = traced(deployed, {"crops": crops}, {"crops": {0: torch.export.Dim("N")}}, spec.outputs)
    onnx.helper.set_model_props(model, described(spec))
    onnx.checker.check_model(model, full_check=True)
    return model


def traced(
    network: nn.Module,
    inputs: Mapping[str, Tensor],
    free: Mapping[str, Mapping[int, Any]],
    outputs: Sequence[str],
) -> onnx.ModelProto:
    """The ONNX model of a network in eval mode, for `inputs` by the names of its arguments, and the axes of
    each that are left `free`; without torch's notes and without metadata.
    """
    with _quiet(), torch.no_grad():
        program = torch.onnx.export(
            network,
            tuple(inputs.values()),
            dynamo=True,
            dynamic_shapes=dict(free),
            external_data=False,
            input_names=list(inputs),
            output_names=list(outputs),
            verbose=False,
        )
    if program is None:
        raise RuntimeError("torch.onnx.export gave no program")
    model = program.model_proto
    _forget_origin(model)
    model.producer_name, model.producer_version = "poseling", __version__
    return model


def described(spec: PoseSpec) -> dict[str, str]:
    """A file's metadata: its contract, and the licence and the skeleton as text."""
    licence = ", ".join(f"{what} {terms}" for what, terms in spec.licences.items())
    return {
        KEY: spec.to_json(),
        "licence": licence,
        "skeleton": f"{spec.skeleton.name}: {', '.join(spec.skeleton.joints)}",
    }


def halved(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model with its large float weights stored as half floats, each with a Cast to float that a runtime
    does once, when it loads the file.
    """
    inside, casts = model.graph, []
    for tensor in inside.initializer:
        values = onnx.numpy_helper.to_array(tensor)
        if values.dtype == np.float32 and values.size > LARGE:
            name = tensor.name
            tensor.CopyFrom(onnx.numpy_helper.from_array(values.astype(np.float16), f"{name}_half"))
            casts.append(onnx.helper.make_node("Cast", [f"{name}_half"], [name], to=onnx.TensorProto.FLOAT))
    nodes = [*casts, *inside.node]
    del inside.node[:]
    inside.node.extend(nodes)
    onnx.checker.check_model(model, full_check=True)
    return model


def _forget_origin(model: onnx.ModelProto) -> None:
    """Drops torch's notes about each node: half of a small file, with paths of the machine that made it."""
    inside = model.graph
    for part in (
        inside,
        *inside.node,
        *inside.input,
        *inside.output,
        *inside.value_info,
        *inside.initializer,
    ):
        del part.metadata_props[:]
        part.doc_string = ""


@contextmanager
def _quiet() -> Iterator[None]:
    """Hides torch's messages on every export: that torchvision is absent, and that one of its own calls is
    deprecated.
    """
    logger = logging.getLogger("torch.onnx._internal.exporter._registration")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", r"`isinstance\(treespec, LeafSpec\)`", FutureWarning)
            yield
    finally:
        logger.setLevel(level)
