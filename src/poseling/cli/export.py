"""`poseling export`."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from poseling.cli.console import say


def export(
    model: str,
    *,
    out: Path | None = None,
    images: Path | None = None,
    raw: bool = False,
    half: bool = False,
    adapter: str | None = None,
    to: tuple[
        Literal[
            "all", "onnx", "openvino", "openvino-int8", "executorch", "executorch-int8", "litert", "coreml"
        ],
        ...,
    ] = (),
) -> None:
    """Write one ONNX file with network, decoding and contract, and check that it gives the same joints as the
    checkpoint.

    Given an ONNX file from elsewhere, write the same graph with a contract: its preprocessing and outputs.

    Parameters
    ----------
    model
        A checkpoint (.safetensors), an ONNX file from elsewhere, or with --to a network of the zoo by name
        (`poseling models`).
    out
        The file to write, or with --to the folder; beside the model if not given, of the zoo's in this folder.
    images
        A folder of images for the check of a checkpoint.
    raw
        Output a checkpoint's heatmaps instead of joints.
    half
        Store the weights of a checkpoint as half floats: half the file, as fast.
    adapter
        For an unknown ONNX file: movenet, blazepose, blazepose-maps, rtmpose, or a JSON file with its preprocessing
        and outputs (docs/teachers.md).
    to
        Write the network for these runtimes, or for all, into the folder --out, with a report of which agree
        with PyTorch. Those in int8 take their ranges from the --images. For a checkpoint, a network of the
        zoo, or an ONNX file that `poseling import` takes as it is.
    """
    from poseling import zoo

    path = zoo.resolve(model)
    if to:
        if raw or half or adapter is not None:
            raise ValueError(f"{model}: --to goes with --out and --images alone")
        beside = Path() if zoo.is_name(model) else path.parent
        _export_to(path, out or beside / f"{path.stem}-targets", to, images)
    elif zoo.is_name(model):
        raise ValueError(f"{model}: is an ONNX file already, {path}; --to writes it for other runtimes")
    elif path.suffix.lower() == ".onnx":
        if raw or half or images is not None:
            raise ValueError(
                f"{model}: is an ONNX file, to which only the contract is added; --raw, --half and --images "
                "are for checkpoints"
            )
        _add_contract(path, out or path.with_name(f"{path.stem}-contract.onnx"), adapter)
    elif adapter is not None:
        raise ValueError(
            f"{model}: a checkpoint carries its own contract; leave out the adapter {adapter!r}, which is "
            f"for ONNX files"
        )
    else:
        _export_checkpoint(path, out or path.with_suffix(".onnx"), images, raw, half)


def _export_checkpoint(model: Path, out: Path, images: Path | None, raw: bool, half: bool) -> None:
    from poseling.data import images as folders
    from poseling.export.onnx import export as run
    from poseling.export.parity import windows
    from poseling.files import keep_apart, refuse_folders
    from poseling.models.checkpoint import load

    keep_apart({"--out": out}, {"the checkpoint itself": [model]})
    refuse_folders({"--out": out})
    crops = None
    if images is not None:
        crops = windows(folders.images(images).images, load(model)[1].size)
    say(f"{out}: {run(model, out, raw, crops, half=half)}")


def _add_contract(model: Path, out: Path, adapter: str | None) -> None:
    from poseling.export.contract import with_contract

    spec = with_contract(model, out, adapter)
    say(
        f"{out}: {len(spec.skeleton)} joints of {spec.skeleton.name} at {spec.size[0]}x{spec.size[1]}. "
        f"Try it: poseling track IMAGE --model {out}"
    )


def _export_to(model: Path, out: Path, to: tuple[str, ...], images: Path | None) -> None:
    from tempfile import TemporaryDirectory

    from poseling.data import images as folders
    from poseling.export.parity import windows
    from poseling.export.targets import TARGETS, export_to
    from poseling.files import keep_apart
    from poseling.models.checkpoint import load, save
    from poseling.models.importers.onnx import from_onnx

    asked = [name for name in TARGETS if name in to or "all" in to]
    keep_apart(
        {f"--to {name}": out / f"{model.stem}{TARGETS[name].suffix}" for name in asked},
        {"the network itself": [model]},
    )
    with TemporaryDirectory() as folder:
        source = model
        if model.suffix.lower() == ".onnx":
            start, source = from_onnx(model), Path(folder) / f"{model.stem}.safetensors"
            save(source, start.network, start.spec)
        crops = calibration = None
        if images is not None:
            found, size = folders.images(images).images, load(source)[1].size
            crops, calibration = windows(found, size), windows(found, size, count=128, seed=1)
        made = export_to(source, out, to, crops, calibration=calibration)
    for one in made:
        numbers = (
            ""
            if one.pixels is None or one.ratio is None
            else f", {one.pixels:.3f} px, {one.ratio:.2f} of ONNX Runtime's time"
        )
        say(f"{one.target}: {one.state}{numbers}")
    say(f"{out / 'report.md'}")
