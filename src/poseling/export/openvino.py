"""OpenVINO's own format: an .xml with the graph and a .bin with the weights, made of the exported ONNX file."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from poseling.files import write_bytes
from poseling.models.importers.onnx import before_decoding


def write(model: onnx.ModelProto, out: Path) -> None:
    """Writes the ONNX `model` as OpenVINO IR to `out` (.xml) and the weights beside it (.bin), as floats.

    ImportError if openvino is not installed; ValueError that names the file if it cannot convert the network.
    """
    _save(_read(model, out), out)


def write_int8(model: onnx.ModelProto, crops: NDArray[np.uint8], out: Path) -> None:
    """Writes the ONNX `model` in eight bits, as NNCF chooses on `crops` (N, H, W, 3), to `out` and beside it.

    The last layer and the decoding behind it stay in float: a joint is decoded to a fraction of a pixel.
    ImportError if nncf is not installed; ValueError as of `write`, and if the file does not show where its
    decoding begins.
    """
    # NNCF tells its makers of each call, unless this says that it runs in a test.
    os.environ.setdefault("NNCF_CI", "1")
    import nncf

    ending = before_decoding(model)
    if ending is None:
        raise ValueError(f"{out}: only networks of heatmaps can be quantised")
    nncf.set_log_level(logging.ERROR)
    network = _read(model, out)
    with redirect_stdout(StringIO()):  # it draws its progress
        made = nncf.quantize(
            network,
            nncf.Dataset([crop[None] for crop in crops]),
            preset=nncf.QuantizationPreset.MIXED,
            subset_size=len(crops),
            ignored_scope=nncf.IgnoredScope(names=_from(network, ending), validate=False),
        )
    _save(made, out)


def _from(network: Any, ending: str) -> list[str]:
    """The names of the operation that gives the tensor `ending`, of what feeds it, and of all behind it."""
    nodes = network.get_ops()
    last = next(node for node in nodes for port in node.outputs() if ending in port.get_names())
    # A bias is an operation of its own, and the convolution is then what feeds it.
    found = {value.get_source_output().get_node().get_friendly_name() for value in last.inputs()}
    waiting = [last]
    while waiting:
        node = waiting.pop()
        if node.get_friendly_name() not in found:
            found.add(node.get_friendly_name())
            waiting += [there.get_node() for port in node.outputs() for there in port.get_target_inputs()]
    return sorted(found)


def _read(model: onnx.ModelProto, out: Path) -> Any:
    import openvino

    with TemporaryDirectory() as folder:
        path = Path(folder) / "network.onnx"
        onnx.save(model, path)
        try:
            # Not openvino.convert_model, which has telemetry.
            return openvino.Core().read_model(path)
        except RuntimeError as error:
            raise ValueError(
                f"{out}: OpenVINO cannot convert the network: {str(error).splitlines()[0]}"
            ) from error


def _save(network: Any, out: Path) -> None:
    import openvino

    with TemporaryDirectory() as folder:
        there = Path(folder) / "network.xml"
        openvino.save_model(network, there, compress_to_fp16=False)
        write_bytes(out.with_suffix(".bin"), there.with_suffix(".bin").read_bytes())
        write_bytes(out, there.read_bytes())


def caller(path: Path) -> Callable[[NDArray[np.uint8]], tuple[NDArray[np.float32], NDArray[np.float32]]]:
    """The network in `path` as a function from crops (N, H, W, 3) uint8 to joints (N, K, 2) and scores (N,
    K), on one thread of the CPU.

    It computes in fp32: where a processor has instructions for bf16, OpenVINO would else take those.
    """
    import openvino

    settings = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": 1, "PERFORMANCE_HINT": "LATENCY"}
    compiled = openvino.Core().compile_model(path, "CPU", settings)

    def run(crops: NDArray[np.uint8]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        found = compiled(crops)
        return np.asarray(found["xy"]), np.asarray(found["score"])

    return run
