"""A foreign ONNX network with its contract added: the same graph, which then runs, teaches and is evaluated
without an adapter.
"""

from __future__ import annotations

from pathlib import Path

import onnx

from poseling.adapter import Adapter
from poseling.export.onnx import described
from poseling.files import keep_apart, refuse_folders, write_bytes
from poseling.models.importers.onnx_file import load
from poseling.onnx_pose import OnnxPose
from poseling.onnx_session import metadata, open_session
from poseling.spec import KEY, PoseSpec


def with_contract(path: Path, out: Path, adapter: Adapter | str | None = None) -> PoseSpec:
    """Writes the network in `path` to `out` with its contract in the metadata, and gives that; weights in
    files beside it come inside.

    `adapter` is an Adapter, the name of a built-in one, or a JSON file; None where the network is known by
    its inputs and outputs. FileNotFoundError; ValueError that names the file if it does not fit the adapter,
    has a contract already, or would be replaced.
    """
    keep_apart({"--out": out}, {"the network itself": [path]})
    refuse_folders({"--out": out})
    session = open_session(path, log=3)
    if KEY in metadata(session, path):
        raise ValueError(f"{path}: has a contract already; it runs as it is")
    network = OnnxPose(session, path, adapter)
    spec = network.adapter.spec(path.stem, network.size, f"exported from {path.name}")
    model = load(path)
    before = {entry.key: entry.value for entry in model.metadata_props}
    onnx.helper.set_model_props(model, {**before, **described(spec)})
    write_bytes(out, model.SerializeToString())
    return spec
