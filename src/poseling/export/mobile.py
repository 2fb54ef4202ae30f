"""For phones: ExecuTorch (.pte with XNNPACK), LiteRT (.tflite) and Core ML (.mlpackage), each of one crop at
a time.

All take crops (1, H, W, 3) uint8 RGB and give joints (1, K, 2) in pixels of the crop and scores (1, K), as
the ONNX file does.
"""

from __future__ import annotations

import copy
import shutil
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from poseling.codecs.normalize import normalise
from poseling.export.onnx import Deployed
from poseling.files import write_bytes

WEIGHTED = (torch.ops.aten.conv2d.default, torch.ops.aten.linear.default)
Run = Callable[[NDArray[np.uint8]], tuple[NDArray[np.float32], NDArray[np.float32]]]


def write_executorch(deployed: nn.Module, sample: Tensor, out: Path) -> None:
    """Writes `deployed`, which takes crops like `sample` (1, H, W, 3) uint8, to `out` (.pte), its layers for
    XNNPACK.

    ImportError if executorch is not installed; ValueError that names the file if it cannot convert the
    network.
    """
    from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
    from executorch.exir import to_edge_transform_and_lower

    try:
        program = torch.export.export(deployed, (sample,))
        made = to_edge_transform_and_lower(program, partitioner=[XnnpackPartitioner()]).to_executorch()
    except (RuntimeError, ValueError, NotImplementedError, KeyError, AssertionError) as error:
        raise ValueError(f"{out}: ExecuTorch cannot convert the network: {_first(error)}") from error
    write_bytes(out, bytes(made.buffer))


def in_int8(deployed: Deployed, crops: NDArray[np.uint8]) -> Deployed:
    """`deployed` with its network in eight bits for XNNPACK, its activations' ranges from `crops` (N, H, W,
    3); torch's export takes it for one crop at a time.

    The first layer, the last and the decoding behind it stay in float. ImportError if executorch, which brings torchao
    along, is not installed; ValueError if the network cannot be quantised.
    """
    from executorch.backends.xnnpack.quantizer.xnnpack_quantizer import (
        XNNPACKQuantizer,
        get_symmetric_quantization_config,
    )
    from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e, prepare_pt2e

    images = [normalise(torch.from_numpy(crop[None]), deployed.spec) for crop in crops]
    try:
        traced = torch.export.export(deployed.network, (images[0],)).module()
        layers = [node.name for node in traced.graph.nodes if node.target in WEIGHTED]
        quantizer = XNNPACKQuantizer().set_global(get_symmetric_quantization_config(is_per_channel=True))
        quantizer.set_filter_function(lambda node: node.name not in (layers[0], layers[-1]))
        prepared = prepare_pt2e(traced, quantizer)
        with torch.no_grad():
            for image in images:
                prepared(image)
        made = copy.deepcopy(deployed)
        made.network = convert_pt2e(prepared)
    except (RuntimeError, ValueError, NotImplementedError, KeyError, AssertionError, IndexError) as error:
        raise ValueError(f"ExecuTorch cannot quantise the network: {_first(error)}") from error
    return made


def executorch(path: Path) -> Run:
    """The network in a .pte file, as it runs here."""
    from executorch.runtime import Runtime

    method = Runtime.get().load_program(path).load_method("forward")
    return _one_by_one(lambda crop: [np.asarray(value) for value in method.execute([torch.from_numpy(crop)])])


def write_litert(deployed: nn.Module, sample: Tensor, out: Path) -> None:
    """Writes `deployed` to `out` (.tflite). ImportError if litert-torch is not installed; ValueError if it
    cannot convert the network.
    """
    import litert_torch

    with TemporaryDirectory() as folder:
        path = Path(folder) / "network.tflite"
        try:
            litert_torch.convert(deployed, (sample,)).export(str(path))
        except (RuntimeError, ValueError, NotImplementedError, KeyError, AssertionError) as error:
            raise ValueError(f"{out}: LiteRT cannot convert the network: {_first(error)}") from error
        write_bytes(out, path.read_bytes())


def litert(path: Path) -> Run:
    """The network in a .tflite file, on one thread."""
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_path=str(path), num_threads=1)
    interpreter.allocate_tensors()
    (port,) = interpreter.get_input_details()
    outputs = sorted(
        interpreter.get_output_details(), key=lambda o: -len(o["shape"])
    )  # xy has an axis more than score

    def run(crop: NDArray[np.uint8]) -> list[NDArray[np.float32]]:
        interpreter.set_tensor(port["index"], crop)
        interpreter.invoke()
        return [interpreter.get_tensor(o["index"]) for o in outputs]

    return _one_by_one(run)


def write_coreml(deployed: nn.Module, sample: Tensor, out: Path) -> None:
    """Writes `deployed` to the folder `out` (.mlpackage), fp32; crops are then floats of 0..255, since Core
    ML has no bytes as inputs.

    It runs on Apple's systems alone. ImportError if coremltools is not installed; ValueError if it cannot
    convert the network, or if `out` is there already.
    """
    import coremltools

    if out.exists():
        raise ValueError(f"{out}: is there already; take it away, or give another --out")
    try:
        program = torch.export.export(_Floats(deployed), (sample.float(),)).run_decompositions()
        for node in program.graph.nodes:  # Core ML's converter knows the one name of this and not the other
            if node.target is torch.ops.aten.__and__.Tensor:
                node.target = torch.ops.aten.logical_and.default
            elif node.target in (
                torch.ops.aten.hardtanh.default,
                torch.ops.aten.clamp.default,
            ):  # nor whole numbers as bounds of floats
                node.args = tuple(float(a) if isinstance(a, int) else a for a in node.args)
        made = coremltools.convert(
            program,
            inputs=[coremltools.TensorType("crops", shape=tuple(sample.shape))],
            outputs=[coremltools.TensorType("xy"), coremltools.TensorType("score")],
            compute_precision=coremltools.precision.FLOAT32,
            minimum_deployment_target=coremltools.target.iOS16,
        )
    except (RuntimeError, ValueError, NotImplementedError, KeyError, AssertionError, TypeError) as error:
        raise ValueError(f"{out}: Core ML cannot convert the network: {_first(error)}") from error
    with TemporaryDirectory(dir=out.parent) as folder:
        there = Path(folder) / out.name
        made.save(str(there))
        shutil.move(there, out)


class _Floats(nn.Module):
    """The network for crops that come as floats of 0..255."""

    def __init__(self, deployed: nn.Module) -> None:
        super().__init__()
        self.deployed = deployed

    def forward(self, crops: Tensor) -> Tensor | tuple[Tensor, ...]:
        found: Tensor | tuple[Tensor, ...] = self.deployed(crops)
        return found


def _first(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:300]


def _one_by_one(run: Callable[[NDArray[np.uint8]], list[NDArray[np.float32]]]) -> Run:
    def all_of(crops: NDArray[np.uint8]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        # What comes back may lie where the next answer will.
        found = [[np.array(value) for value in run(np.ascontiguousarray(crop[None]))] for crop in crops]
        return np.concatenate([one[0] for one in found]), np.concatenate([one[1] for one in found])

    return all_of
