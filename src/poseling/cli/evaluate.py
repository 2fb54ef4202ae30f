"""`poseling evaluate`."""

from __future__ import annotations

from json import dumps
from math import isnan
from pathlib import Path

from poseling.cli.console import console, say
from poseling.data.coco_files import NO_FILES, CocoFiles


def evaluate(
    model: str,
    *,
    data: str,
    root: Path | None = None,
    files: CocoFiles = NO_FILES,
    boxes: str | None = None,
    flip_test: bool = True,
    space: bool = False,
    rescale: bool = False,
    adapter: str | None = None,
    device: str = "cpu",
    json: Path | None = None,
) -> None:
    """Evaluate a network (a checkpoint, an ONNX file or a ViTPose) on the test split of a data set. ONNX
    files are run as in `poseling track`.

    Parameters
    ----------
    model
        A network of the zoo by name (`poseling models`), a checkpoint (.safetensors), an ONNX file, or a
        folder or hub name of a ViTPose.
    data
        One of {sets with test}.
    root
        The data set's folder; mini needs none.
    boxes
        ground-truth, detections (the usual file under --root), or a detector's JSON file; for
        {sets with boxes} and coco_json. Not given: ground-truth.
    flip_test
        Average over the mirrored image.
    space
        Measure 3D joints, in mm: MPJPE, PA-MPJPE, N-MPJPE, 3DPCK@150 and its AUC, on Human3.6M by action as
        well. For {sets in 3D}, and networks that predict metres.
    rescale
        Scale the labels to images that were resized after they were labelled.
    adapter
        For an unknown ONNX file: movenet, blazepose, blazepose-maps, rtmpose, or a JSON file with its preprocessing
        and outputs (docs/teachers.md).
    device
        Where the network runs: cpu, cuda or cuda:N.
    json
        Also write the figures to this file.
    """
    from poseling.data import h36m, sets
    from poseling.data.sizes import differing, rescaled
    from poseling.evaluate.evaluator import Evaluator, by_action, figures, table
    from poseling.evaluate.shipped import shipped
    from poseling.files import keep_apart, refuse_folders, write_bytes

    given = [Path(one) for one in (model, adapter, boxes) if one is not None]
    keep_apart({"--json": json}, {"what is evaluated": given})
    refuse_folders({"--json": json})
    sets.refuse_replacing("--json", json, root, files)

    network = shipped(model, adapter, device)
    dataset = sets.people_to_test(data, root, boxes, network.skeleton if space else None, files)
    dataset = rescaled(dataset) if rescale else dataset
    if wrong := differing(dataset):
        told = (
            f"{len(wrong)} images are not as large as their annotation says, and count as they are; "
            f"the first, {wrong[0].image}: {wrong[0].message}"
        )
        say(told, "yellow")
    evaluator = Evaluator.of(dataset, space).known_to(network)
    pose = evaluator.predict(network, flip_test)
    found = figures(evaluator, pose)
    console.print(table(network, evaluator, found))
    if json is not None:
        rows = {row: None if isnan(value) else value for row, value in found.items()}
        about = {
            "network": network.name,
            "data": dataset.name,
            "people": len(dataset),
            "metric": evaluator.name,
        }
        write_bytes(json, (dumps(about | {"figures": rows}, indent=1) + "\n").encode())
    if space and dataset.name == "h36m":
        console.print(by_action(evaluator, pose, h36m.actions(dataset)))
