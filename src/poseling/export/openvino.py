"""OpenVINO's own format: an .xml with the graph and a .bin with the weights, made of the exported ONNX file."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import onnx
from numpy.typing import NDArray

from poseling.files import write_bytes

SUFFIX = ".xml"


def write(model: onnx.ModelProto, out: Path) -> None:
    """Writes the ONNX `model` as OpenVINO IR to `out` (.xml) and the weights beside it (.bin), as floats.

    ImportError if openvino is not installed; ValueError that names the file if it cannot convert the network.
    """
    import openvino

    with TemporaryDirectory() as folder:
        path = Path(folder) / "network.onnx"
        onnx.save(model, path)
        try:
            # Not openvino.convert_model, which has telemetry.
            found = openvino.Core().read_model(path)
        except RuntimeError as error:
            raise ValueError(
                f"{out}: OpenVINO cannot convert the network: {str(error).splitlines()[0]}"
            ) from error
        there = Path(folder) / "network.xml"
        openvino.save_model(found, there, compress_to_fp16=False)
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
