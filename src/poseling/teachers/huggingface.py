"""A published ViTPose as a teacher: from a folder as `save_pretrained` of `transformers` writes it, or by its
name from the Hugging Face hub.
"""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors import SafetensorError, safe_open

from poseling.codecs.heatmap import Heatmap
from poseling.models import vitpose
from poseling.models.checkpoint import SLACK, TooManyError, at_most
from poseling.records import read_json
from poseling.skeleton import COCO17
from poseling.spec import PoseSpec
from poseling.teachers.checkpoint import digest
from poseling.teachers.network import NetworkTeacher

if TYPE_CHECKING:
    from transformers import VitPoseForPoseEstimation

MOST = 1_000_000  # of layers, channels or pixels
LICENCES = {"code": "Apache-2.0", "weights": "Apache-2.0", "data": "COCO"}


def is_huggingface(name: str) -> bool:
    """Whether `name` is a folder with a `config.json`, or, if nothing on the disk has that name, what the hub
    calls a network: `organisation/name`.

    >>> names = ("usyd-community/vitpose-base-simple", "runs/teacher.safetensors", "mini")
    >>> [is_huggingface(name) for name in names]
    [True, False, False]
    """
    path = Path(name)
    if path.exists():
        return (path / "config.json").is_file()
    return re.fullmatch(r"[\w-][\w.-]*/[\w-][\w.-]*", name) is not None and path.suffix.lower() not in (
        ".safetensors",
        ".onnx",
    )


def huggingface_teacher(name: str, device: str = "cpu") -> NetworkTeacher:
    """The ViTPose or ViTPose++ in the folder `name`, or of that name on the hub, as it was trained: COCO's
    joints, UDP, boxes 1.25 times as large.

    ViTPose++ predicts with its first expert, that for COCO. Only safetensors are read. FileNotFoundError with
    the way out if there is no such folder and the hub does not have it; ValueError if it is another network,
    has other joints, or lacks weights.
    """
    model = _from_folder(Path(name)) if Path(name).exists() else _from_hub(name)
    config = model.config
    if config.num_labels != len(COCO17):
        raise ValueError(
            f"{name}: predicts {config.num_labels} joints; only ViTPose networks with the {len(COCO17)} of "
            f"COCO can be teachers"
        )
    try:
        network = vitpose.ViTPose(config)
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from error
    network.load_state_dict(vitpose.from_transformers(model.state_dict()))
    network.requires_grad_(False)
    rows, columns = network.backbone.grid
    width, height = vitpose.PATCH * columns, vitpose.PATCH * rows
    spec = PoseSpec(
        vitpose.name(config), COCO17, Heatmap((width, height)).fields(), (width, height), licences=LICENCES
    )
    return NetworkTeacher(network, spec, Path(name).name, digest(network, spec), device)


def _from_folder(folder: Path) -> VitPoseForPoseEstimation:
    file = folder / "config.json"
    if not file.is_file():
        raise FileNotFoundError(
            f"{folder}: has no config.json; a published network is a folder with config.json and "
            f"model.safetensors"
        )
    config = read_json(file)
    kind = config.get("model_type") if isinstance(config, dict) else type(config).__name__
    if kind != "vitpose":
        raise ValueError(
            f"{file}: is for the model type {kind!r}, and only 'vitpose' can be read; export other networks "
            f"to ONNX (docs/teachers.md)"
        )
    if not any(folder.glob("*.safetensors")):
        raise FileNotFoundError(
            f"{folder}: has no .safetensors file; download model.safetensors from the network's page too"
        )
    if (large := _largest(config)) > MOST:
        raise ValueError(f"{file}: has the number {large:g}, and no ViTPose has more than {MOST} of anything")
    try:
        with at_most(SLACK + 4 * _values(folder)):  # transformers registers each weight more than once
            return _read(str(folder))
    except TooManyError as error:
        raise ValueError(f"{file}: describes a larger network than the weights beside it: {error}") from error
    except Exception as error:  # transformers and its checks of a configuration raise many kinds
        if str(error).startswith(str(folder)):
            raise
        raise ValueError(
            f"{file}: is no configuration of a ViTPose ({type(error).__name__}: {error})"
        ) from error


def _largest(config: Any) -> float:
    """The largest number in a configuration: transformers creates the layers before it can be checked."""
    if isinstance(config, dict | list):
        return max(
            (_largest(inner) for inner in (config.values() if isinstance(config, dict) else config)),
            default=0,
        )
    return config if isinstance(config, int | float) else 0


def _values(folder: Path) -> int:
    """How many numbers the weights in a folder have."""
    count = 0
    for path in folder.glob("*.safetensors"):
        try:
            with safe_open(path, "pt") as file:
                names = list(file.keys())
                count += sum(math.prod(file.get_slice(name).get_shape()) for name in names)
        except SafetensorError as error:
            raise ValueError(f"{path}: the weights cannot be read: {error}") from error
    return count


def _from_hub(name: str) -> VitPoseForPoseEstimation:
    try:
        return _read(name)
    except OSError as error:
        raise FileNotFoundError(
            f"{name}: there is no such folder, and the hub does not have it ({str(error).splitlines()[0]}); "
            f"without internet access, download config.json and model.safetensors of "
            f"https://huggingface.co/{name} by hand and name their folder; once it is in the cache, "
            f"HF_HUB_OFFLINE=1 keeps it offline"
        ) from error


def _read(name: str) -> VitPoseForPoseEstimation:
    from transformers import VitPoseForPoseEstimation

    try:
        loaded: Any = VitPoseForPoseEstimation.from_pretrained(
            name, use_safetensors=True, dtype=torch.float32, output_loading_info=True
        )
    except (SafetensorError, RuntimeError) as error:  # cut short, or other shapes than the configuration has
        raise ValueError(f"{name}: the weights cannot be read: {error}") from error
    model, info = loaded
    if info["missing_keys"]:
        raise ValueError(
            f"{name}: lacks weights, among them {min(info['missing_keys'])}; is this a ViTPose with its "
            f"decoder?"
        )
    return model
