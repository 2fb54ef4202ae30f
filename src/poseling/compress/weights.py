"""Weights in fewer bits, activations in float: fp16, bf16 and 4 bits, in an ONNX file that any runtime
computes in float.

What is stored is made float again by operations on constants alone, which ONNX Runtime does once, when it
loads the file: a smaller file, as fast as before, not faster. Integer arithmetic on 4-bit weights ONNX
Runtime has for matrix products alone (MatMulNBits), which a network of convolutions does not consist of.
"""

from __future__ import annotations

import copy
from typing import Any, Literal

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

Bits = Literal["fp16", "bf16", "int4"]
LARGE = 64  # values: smaller tensors are not worth it
BLOCK = 32  # weights that share a scale, in 4 bits
SHRINKS = np.linspace(0.6, 1.0, 21)  # of a block's range, where rounding to 16 steps may lose least
OPSET = 21  # the first with INT4


def stored(model: onnx.ModelProto, bits: Bits) -> onnx.ModelProto:
    """The model with its large float weights in so many bits; inputs, outputs and metadata are the same.

    In 4 bits are the weights of dense layers; those of depthwise ones, which are few, and biases are in fp16.
    """
    found = copy.deepcopy(model)
    inside, made = found.graph, []
    dense = {
        n.input[1]
        for n in inside.node
        if n.op_type in ("Conv", "ConvTranspose", "Gemm", "MatMul") and len(n.input) > 1
    }
    extra: list[Any] = []
    for tensor in inside.initializer:
        values = numpy_helper.to_array(tensor)
        if values.dtype != np.float32 or values.size <= LARGE:
            continue
        name = tensor.name
        if bits == "int4" and name in dense and values[0].size % BLOCK == 0:
            whole, scale = blocks(values)
            tensor.CopyFrom(_four(whole, f"{name}/s4"))
            extra += [
                numpy_helper.from_array(scale.astype(np.float16), f"{name}/scale16"),
                numpy_helper.from_array(np.array(values.shape, np.int64), f"{name}/shape"),
            ]
            made += [
                helper.make_node("Cast", [f"{name}/s4"], [f"{name}/whole"], to=TensorProto.FLOAT),
                helper.make_node("Cast", [f"{name}/scale16"], [f"{name}/scale32"], to=TensorProto.FLOAT),
                helper.make_node("Mul", [f"{name}/whole", f"{name}/scale32"], [f"{name}/flat"]),
                helper.make_node("Reshape", [f"{name}/flat", f"{name}/shape"], [name]),
            ]
        elif bits == "bf16":
            tensor.CopyFrom(_brain(values, f"{name}/bf16"))
            made.append(helper.make_node("Cast", [f"{name}/bf16"], [name], to=TensorProto.FLOAT))
        else:
            tensor.CopyFrom(numpy_helper.from_array(values.astype(np.float16), f"{name}/fp16"))
            made.append(helper.make_node("Cast", [f"{name}/fp16"], [name], to=TensorProto.FLOAT))
    nodes = [*made, *inside.node]
    del inside.node[:]
    inside.node.extend(nodes)
    inside.initializer.extend(extra)
    if bits == "int4":
        _at_least(found, OPSET)
    onnx.checker.check_model(found)
    return found


def blocks(weight: NDArray[np.float32]) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """A weight as whole numbers (N, 32) from -7 to 7 and the scale (N, 1) of each block, where the squared
    error is least.

    Its size is a multiple of 32. Symmetric about 0, as weights are; scales are such as fp16 has.
    """
    rows = weight.reshape(-1, BLOCK)
    top = np.abs(rows).max(1, keepdims=True)
    best = np.full(top.shape, np.inf)
    chosen = np.ones_like(top)
    for part in SHRINKS:
        scale = np.maximum(part * top / 7, 1e-7).astype(np.float16).astype(np.float32)
        error = ((np.rint(rows / scale).clip(-7, 7) * scale - rows) ** 2).sum(1, keepdims=True)
        chosen, best = np.where(error < best, scale, chosen), np.minimum(error, best)
    return np.rint(rows / chosen).clip(-7, 7).astype(np.int8), chosen.astype(np.float32)


def _four(whole: NDArray[np.int8], name: str) -> TensorProto:
    """Two numbers a byte, the first in the lower half, as ONNX packs INT4."""
    flat = whole.reshape(-1).astype(np.uint8) & 15
    return helper.make_tensor(
        name, TensorProto.INT4, whole.shape, (flat[::2] | flat[1::2] << 4).tobytes(), raw=True
    )


def _brain(values: NDArray[np.float32], name: str) -> TensorProto:
    """The upper half of each float, rounded to the nearest."""
    bits = values.reshape(-1).view(np.uint32).astype(np.uint64)
    upper = ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype(np.uint16)
    return helper.make_tensor(name, TensorProto.BFLOAT16, values.shape, upper.tobytes(), raw=True)


def _at_least(model: onnx.ModelProto, opset: int) -> None:
    """Raises the file's opset; every operator between it and the new one must be as it was, which is checked
    by who calls.
    """
    if next(e.version for e in model.opset_import if e.domain in ("", "ai.onnx")) < opset:
        converted = onnx.version_converter.convert_version(model, opset)
        model.CopyFrom(converted)
