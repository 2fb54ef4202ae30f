"""An ONNX file before it is converted: how it is loaded, which tensor is meant, what that tensor needs, and
which values are constants.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
from numpy.typing import NDArray

from poseling.models.operators import FUNCTIONS, LAYERS
from poseling.onnx_session import open_session

Array = NDArray[Any]
CONTROL = ("If", "Loop", "Scan", "SequenceMap")
RANDOM = (
    "RandomNormal",
    "RandomNormalLike",
    "RandomUniform",
    "RandomUniformLike",
    "Bernoulli",
    "Multinomial",
)


def parse(path: Path) -> Any:
    """The ONNX model in `path`, without the weights that it keeps in other files. ValueError if it is cut or
    not an ONNX file.
    """
    try:
        return onnx.load(path, load_external_data=False)
    except (DecodeError, ValueError) as error:
        raise ValueError(f"{path}: is cut short or no ONNX file ({error}); fetch it again") from error


def load(path: Path) -> Any:
    """The ONNX model in `path`, with the weights that it keeps in other files. FileNotFoundError; ValueError
    if it is cut, no ONNX file or lacks weights.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path}: there is no such file")
    model = parse(path)
    if not model.graph.node or not model.graph.input:
        raise ValueError(f"{path}: is no ONNX file with a network in it; fetch it again")
    outside = {
        e.value
        for t in model.graph.initializer
        for e in t.external_data
        if e.key == "location" and t.data_location
    }
    for name in sorted(outside):
        if not (path.parent / name).is_file():
            raise ValueError(f"{path}: keeps its weights in {name}, which is not beside it; put it there")
    try:
        onnx.load_external_data_for_model(model, str(path.parent))
    except (OSError, ValueError, onnx.checker.ValidationError) as error:
        raise ValueError(
            f"{path}: its weights in {', '.join(sorted(outside))} cannot be read ({error}); fetch both again"
        ) from error
    return model


def resolve(model: Any, until: str) -> str:
    """The tensor that `until` names: itself, or the only one, or in one place the last, of whose name it is a
    part. ValueError with near names if there is none.
    """
    names = [o for n in model.graph.node for o in n.output if o]
    if until in names:
        return until
    place = re.compile(rf"(^|[/.]){re.escape(until)}(?=[/:.]|$)")
    found = [n for n in names if place.search(n)] or [n for n in names if until in n]
    scopes = {n[: n.index(until)] for n in found}
    if not found:
        near = difflib.get_close_matches(
            until, [*names, *{part for n in names for part in n.split("/")}], 5, 0.4
        )
        near = near or [o.name for o in model.graph.output]
        raise ValueError(f"no tensor is called {until!r}; near are {', '.join(near)}")
    if len(scopes) > 1:
        raise ValueError(
            f"--until {until!r} may be {', '.join(found[:6])}{', ...' if len(found) > 6 else ''}; give more "
            f"of the name"
        )
    return found[-1]


def candidates(model: Any) -> list[str]:
    """The maps that might be heatmaps, each with its shape: what convolutions give behind which there is no
    other.
    """
    inferred = onnx.shape_inference.infer_shapes(model)
    shapes = {
        v.name: [d.dim_value or d.dim_param or "?" for d in v.type.tensor_type.shape.dim]
        for v in inferred.graph.value_info
    }
    behind: dict[str, list[Any]] = {}
    for node in model.graph.node:
        for name in node.input:
            behind.setdefault(name, []).append(node)
    ends, before_conv = [], set()
    for node in reversed(model.graph.node):
        conv = node.op_type in ("Conv", "ConvTranspose", "Gemm")
        if any(
            id(n) in before_conv or n.op_type in ("Conv", "ConvTranspose")
            for o in node.output
            for n in behind.get(o, [])
        ):
            before_conv.add(id(node))
        elif conv and node.op_type != "Gemm":
            ends.append(node.output[0])
    return [f"{name} {shapes.get(name, '')}".strip() for name in reversed(ends)]


def needed(model: Any, output: str) -> list[Any]:
    """The nodes from which the tensor `output` is computed, in order."""
    needed, kept = {output}, []
    for node in reversed(model.graph.node):
        if needed.intersection(node.output):
            needed.update(node.input)
            kept.append(node)
    return kept[::-1]


def softmax_follows(model: Any, output: str) -> bool:
    """Whether a softmax reads the tensor `output`, directly or reshaped."""
    names = {output}
    for node in model.graph.node:
        if names.intersection(node.input):
            if node.op_type == "Softmax":
                return True
            if node.op_type in (
                "Reshape",
                "Flatten",
                "Transpose",
                "Unsqueeze",
                "Gather",
                "Identity",
                "Squeeze",
            ):
                names.update(node.output)
    return False


def check_known(nodes: Sequence[Any]) -> None:
    """ValueError for the first operator that has no counterpart in `operators`."""
    for node in nodes:
        what = f"operator {node.op_type}" + (
            f" of {node.domain}" if node.domain not in ("", "ai.onnx") else ""
        )
        if node.op_type in CONTROL:
            raise ValueError(
                f"{what} ({node.output[0]}) is control flow, which a list of operations cannot express; "
                f"name an earlier tensor with --until"
            )
        if node.domain not in ("", "ai.onnx") or node.op_type not in {
            *LAYERS,
            *FUNCTIONS,
            "Gemm",
            "Upsample",
        }:
            raise ValueError(
                f"{what} ({node.output[0]}) is unknown; name an earlier tensor with --until, or add it "
                f"to poseling/models/operators.py"
            )


def folded(path: Path, model: Any, nodes: Sequence[Any], output: str) -> tuple[dict[str, Array], list[Any]]:
    """Every constant by its name, and the nodes that are left. Constants are stored ones, half floats as
    floats, and those computed from constants alone, by ONNX Runtime.
    """
    stored = {t.name: t for t in model.graph.initializer}
    known = set(stored)
    made: list[Any] = []
    rest: list[Any] = []
    for node in nodes:
        constant = node.op_type not in (*CONTROL, *RANDOM) and all(
            name in known for name in node.input if name
        )
        (made if constant else rest).append(node)
        if constant:
            known.update(node.output)
    if output in known:
        raise ValueError(f"{output} does not depend on the image; name another tensor with --until")
    read = {name for node in rest for name in node.input}
    wanted = [name for node in made for name in node.output if name in read]
    found = {
        name: onnx.numpy_helper.to_array(t, str(path.parent)) for name, t in stored.items() if name in read
    }
    if wanted:
        part = onnx.helper.make_model(
            onnx.helper.make_graph(
                made, "constants", [], [onnx.ValueInfoProto(name=name) for name in wanted],
                [t for n, t in stored.items() if any(n in node.input for node in made)],
            ),
            opset_imports=model.opset_import, ir_version=model.ir_version,
        )  # fmt: skip
        found |= zip(wanted, session(part).run(wanted, {}), strict=True)
    return {
        name: a.astype(np.float32) if a.dtype in (np.float16, np.float64) else a for name, a in found.items()
    }, rest


def image_input(model: Any, nodes: Sequence[Any]) -> Any:
    """The input that holds the images; ValueError if there are others."""
    stored = {t.name for t in model.graph.initializer}
    read = {name for node in nodes for name in node.input}
    inputs = [i for i in model.graph.input if i.name in read and i.name not in stored]
    if len(inputs) != 1:
        raise ValueError(
            f"has {len(inputs)} inputs ({', '.join(i.name for i in inputs)}), a network takes one image"
        )
    [given] = inputs
    if len(given.type.tensor_type.shape.dim) != 4:
        raise ValueError(
            f"its input {given.name} has {len(given.type.tensor_type.shape.dim)} axes, a batch of images "
            f"has four"
        )
    return given


def session(model: Any) -> Any:
    """ONNX Runtime on a model in memory."""
    return open_session(model.SerializeToString(), log=3)


def attributes(node: Any) -> dict[str, Any]:
    """A node's attributes as plain values."""
    found: dict[str, Any] = {}
    for one in node.attribute:
        value = onnx.helper.get_attribute_value(one)
        if isinstance(value, bytes):
            value = value.decode()
        elif isinstance(value, onnx.TensorProto):
            value = onnx.numpy_helper.to_array(value).reshape(-1)[0].item()
        elif isinstance(value, (list, tuple)) or hasattr(value, "extend"):
            value = list(value)
        found[one.name] = value
    return found
