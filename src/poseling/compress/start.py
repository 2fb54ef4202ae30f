"""What is compressed: any network as a list of operations, with its contract."""

from __future__ import annotations

import shlex
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import onnx

from poseling import zoo
from poseling.compress.fold import folded
from poseling.export.onnx import Deployed, graph
from poseling.models import checkpoint
from poseling.models.graph import MODEL, GraphNetwork
from poseling.models.importers import onnx_file
from poseling.models.importers.onnx import from_onnx
from poseling.spec import FEATURES, PoseSpec

QUANTISED = (
    "QuantizeLinear",
    "DequantizeLinear",
    "QLinearConv",
    "ConvInteger",
    "MatMulNBits",
    "DynamicQuantizeLinear",
)


def load(model: str) -> tuple[GraphNetwork, PoseSpec]:
    """The network that `model` names, in eval mode with its norms folded, and its contract.

    A checkpoint (.safetensors), a network of the zoo, or an ONNX file that `poseling import` takes without
    being told more. A network of the registry becomes a list of operations by its own export.
    FileNotFoundError; ValueError that names the file if it is quantised already, gives no joints, or cannot
    be read.
    """
    path = zoo.path(model) if zoo.is_name(model) else Path(model)
    suffix = path.suffix.lower()
    if suffix == ".onnx":
        refuse_quantised(path)
        try:
            start = from_onnx(path)
        except ValueError as error:
            if "--until" not in str(error):
                raise
            told = f"poseling import {shlex.quote(str(path))} --until NAME"
            raise ValueError(f"{error}. Compress the checkpoint that `{told}` makes") from error
        network, spec = start.network, start.spec
    elif suffix == ".safetensors":
        built, spec = checkpoint.load(path)
        if spec.codec["name"] == FEATURES:
            raise ValueError(
                f"{model}: gives features and no joints; put a head on it first, as docs/models.md shows"
            )
        if isinstance(built, GraphNetwork):
            network = built
        else:
            network, spec = as_graph(Deployed(built, spec).eval())
    else:
        names = ", ".join(zoo.ENTRIES)
        raise ValueError(
            f"{model}: is no checkpoint (.safetensors), no ONNX file and none of the zoo ({names})"
        )
    if not len(spec.skeleton):
        raise ValueError(
            f"{model}: gives features and no joints; put a head on it first, as docs/models.md shows"
        )
    return folded(network.eval()), spec


def as_graph(deployed: Deployed) -> tuple[GraphNetwork, PoseSpec]:
    """The same network as a list of operations, by way of the ONNX graph that it would be exported as."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / "network.onnx"
        onnx.save(graph(deployed), path)
        try:
            start = from_onnx(path)
        except ValueError as error:
            why = str(error).removeprefix(f"{path}: ").partition("; name an earlier")[0]
            raise ValueError(
                f"{deployed.spec.model}: cannot be written as a list of operations, which compressing needs: {why}"
            ) from error
    spec = replace(
        deployed.spec, model=MODEL, colour=start.spec.colour, mean=start.spec.mean, std=start.spec.std
    )
    return start.network, spec


def refuse_quantised(path: Path) -> None:
    """ValueError if the ONNX file has quantised operators, of which nothing is left to take away."""
    model = onnx_file.load(path)
    found = sorted({node.op_type for node in model.graph.node}.intersection(QUANTISED))
    if found:
        raise ValueError(
            f"{path}: is quantised already (it has {', '.join(found)}); give the float network that it was "
            f"made of"
        )
