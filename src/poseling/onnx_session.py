"""The one way to open an ONNX file. Nothing else here imports onnxruntime, because from 1.31 on it reports
home unless it is told not to before it is imported.

Without `ORT_DISABLE_TELEMETRY=1` in the environment it makes an id of this machine under `~/.cache/Microsoft`
and looks up a host to send to. Whoever wants that sets it to 0.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from poseling.limits import limit
from poseling.onnx_limits import beyond, refuse_loops

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

import onnxruntime
from onnxruntime.capi import onnxruntime_pybind11_state as failures

SHARE = 4  # times the limit of a file's arrays: a network's weights, and all that lies between its layers
PROVIDERS = {
    "cpu": "CPUExecutionProvider",
    "cuda": "CUDAExecutionProvider",
    "tensorrt": "TensorrtExecutionProvider",
    "openvino": "OpenVINOExecutionProvider",
    "coreml": "CoreMLExecutionProvider",
    "directml": "DmlExecutionProvider",
    "xnnpack": "XnnpackExecutionProvider",
}
# All that onnxruntime refuses a file or an input with; each derives from nothing but Exception.
# UnicodeDecodeError is for names and metadata that are no text.
REFUSED = (
    failures.EPFail,
    failures.EngineError,
    failures.Fail,
    failures.InvalidArgument,
    failures.InvalidGraph,
    failures.InvalidProtobuf,
    failures.ModelLoaded,
    failures.NoModel,
    failures.NoSuchFile,
    failures.NotImplemented,
    failures.RuntimeException,
    UnicodeDecodeError,
)


def open_session(
    model: Path | bytes,
    provider: str = "cpu",
    threads: int | None = None,
    log: int = 2,
) -> Any:
    """An `onnxruntime.InferenceSession` of a file, or of one in memory.

    `provider` is what it runs on, as `PROVIDERS` names it, with `:N` behind it on that provider's device N
    (`cuda:1`); `threads` for it, all cores if None; `log` is what goes to stderr, 0 (all) to 4 (what is
    fatal). FileNotFoundError if there is no such file; ValueError that names it if it cannot be read or has
    loops (`onnx_limits`), and for a provider or a number of threads that cannot be had; RuntimeError if the
    provider is there but does not start.
    """
    name = model if isinstance(model, Path) else "the network"
    if isinstance(model, Path) and not model.is_file():
        raise FileNotFoundError(
            f"{model}: there is no such file; `poseling export` makes it from a checkpoint"
        )
    if isinstance(model, Path) and model.suffix.lower() == ".safetensors":
        raise ValueError(
            f"{model}: is a checkpoint, and only ONNX files are run; export it first: poseling export "
            f"{shlex.quote(str(model))}"
        )
    provider, _, device = provider.partition(":")
    if provider not in here():
        raise ValueError(
            f"{name}: provider {provider!r} is not in this onnxruntime, which has {', '.join(here())}; choose one, or "
            f"install the onnxruntime that has it"
        )
    if isinstance(model, Path):
        refuse_loops(model)
    settings = onnxruntime.SessionOptions()
    settings.log_severity_level = log
    bound_memory(settings)
    if threads is not None:
        if threads < 1:
            raise ValueError(f"threads is {threads}; give 1 or more, or None for all cores")
        settings.intra_op_num_threads = threads
    try:
        chosen = PROVIDERS[provider], {"device_id": device} if device else {}
        session = onnxruntime.InferenceSession(model, settings, providers=[chosen])
        _ = [
            port.name for port in (*session.get_inputs(), *session.get_outputs())
        ]  # names that are not text are reported when they are read
    except REFUSED as error:
        raise ValueError(
            f"{name}: is cut short or no ONNX file that this onnxruntime can read ({error}); `poseling "
            f"export` makes one of a checkpoint"
        ) from error
    # onnxruntime takes the CPU, with no more than a line on stderr, where a provider that it lists cannot
    # start.
    if (first := session.get_providers()[0]) != PROVIDERS[provider]:
        raise RuntimeError(
            f"{name}: provider {provider!r} is listed but did not start, onnxruntime took {first} instead; "
            f"look at its drivers"
        )
    session.disable_fallback()
    return session


def here() -> list[str]:
    """The providers of this onnxruntime, as `PROVIDERS` names them. Whether each starts is another question."""
    available = onnxruntime.get_available_providers()
    return [short for short, full in PROVIDERS.items() if full in available]


def bound_memory(options: Any) -> None:
    """Lets a session of these options share one allowance of memory on the CPU with all others: four times
    `limits.limit`, as it is at the first call.
    """
    _allowance()
    options.add_session_config_entry("session.use_env_allocators", "1")


@cache
def _allowance() -> None:
    about = onnxruntime.OrtMemoryInfo(
        "Cpu", onnxruntime.OrtAllocatorType.ORT_ARENA_ALLOCATOR, 0, onnxruntime.OrtMemType.DEFAULT
    )
    onnxruntime.create_and_register_allocator(about, onnxruntime.OrtArenaCfg({"max_mem": SHARE * limit()}))


def metadata(session: Any, name: Path | str) -> dict[str, str]:
    """The file's metadata by key; ValueError that names it if that is not text."""
    try:
        return dict(session.get_modelmeta().custom_metadata_map)
    except UnicodeDecodeError as error:
        raise ValueError(f"{name}: its metadata is no text ({error}); it is damaged") from error


def run(
    session: Any,
    name: Path | str,
    outputs: Sequence[str] | None,
    inputs: Mapping[str, NDArray[Any]],
) -> list[Any]:
    """The outputs, in their order or all if None, for the inputs by name; ValueError that names the file if
    it cannot be run on them.
    """
    try:
        return list(session.run(outputs, dict(inputs)))
    except (*REFUSED, ValueError) as error:  # ValueError: an input or output that the file does not have
        given = ", ".join(f"{key} {value.dtype} {list(value.shape)}" for key, value in inputs.items())
        raise ValueError(f"{name}: cannot be run on {given} ({error}{beyond(error)})") from error


def quietly(session: Any, outputs: Sequence[str], inputs: Mapping[str, NDArray[Any]]) -> list[Any]:
    """The outputs, with nothing on stderr where the file refuses: a refusal (`REFUSED`) is expected here."""
    options = onnxruntime.RunOptions()
    options.log_severity_level = 4
    return list(session.run(list(outputs), dict(inputs), options))
