"""A teacher from a file's name: its suffix decides how it is loaded."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from poseling import zoo
from poseling.data import mini
from poseling.models import registry
from poseling.models.importers.onnx import from_onnx
from poseling.teachers.base import Teacher
from poseling.teachers.checkpoint import checkpoint_teacher, digest
from poseling.teachers.huggingface import huggingface_teacher, is_huggingface
from poseling.teachers.network import NetworkTeacher
from poseling.teachers.onnx import OnnxTeacher


def _checkpoint(path: Path, adapter: str | None, device: str) -> Teacher:
    if adapter is not None:
        raise ValueError(
            f"{path}: a checkpoint has its own contract; leave out the adapter {adapter!r}, which is "
            f"for ONNX files"
        )
    return checkpoint_teacher(path, device)


def _onnx(path: Path, adapter: str | None, device: str) -> Teacher:
    return OnnxTeacher(path, adapter, device)


TEACHERS: dict[str, Callable[[Path, str | None, str], Teacher]] = {
    ".safetensors": _checkpoint,
    ".onnx": _onnx,
}


def load(path: str, adapter: str | None = None, device: str = "cpu") -> Teacher:
    """The teacher in the file `path`, the ViTPose in a folder or of that name on the Hugging Face hub, the
    mini set's own for `mini`, or the zoo's network of that name, with its heatmaps. `adapter` is how a
    foreign ONNX file is fed and read: a name in `adapter.ADAPTERS`, or a JSON file (docs/teachers.md).

    FileNotFoundError, or ValueError with the way out, if there is no such file or no teacher in it.
    """
    there(path)
    if is_huggingface(path):
        if adapter is not None:
            raise ValueError(
                f"{path}: a ViTPose has its own contract; leave out the adapter {adapter!r}, which is "
                f"for ONNX files"
            )
        return huggingface_teacher(path, device)
    if zoo.is_name(path):
        if adapter is not None:
            raise ValueError(
                f"{path}: a network of the zoo has its own contract; leave out the adapter "
                f"{adapter!r}, which is for ONNX files"
            )
        made = from_onnx(zoo.path(path))
        return NetworkTeacher(
            made.network.requires_grad_(False), made.spec, path, digest(made.network, made.spec), device
        )
    file = mini.teacher() if path == "mini" else Path(path)
    return TEACHERS[file.suffix.lower()](file, adapter, device)


def there(path: str) -> None:
    """FileNotFoundError, or ValueError with the way out, if there is no such file or, by its name, no
    teacher in it: in no time, before data are read.
    """
    if path == "mini" or is_huggingface(path) or zoo.is_name(path):
        return
    file = Path(path)
    if not file.exists() and registry.is_name(path):
        raise ValueError(
            f"{path}: is an architecture without trained weights; name the checkpoint of a trained network"
        )
    if not file.suffix:
        zoo.resolve(path)  # ValueError, with the names there are, if this looks like one
    if file.suffix.lower() not in TEACHERS:
        raise ValueError(
            f"{path}: a teacher is a file that ends in {' or '.join(TEACHERS)}, or a folder or hub name of a "
            f"ViTPose; a pseudo-label store is not a teacher (see PseudoLabels.open)"
        )
    if not file.is_file():
        raise FileNotFoundError(f"{path}: there is no such file")
