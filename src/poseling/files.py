"""Files and folders that are there whole or not at all. Without torch."""

from __future__ import annotations

import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def write_bytes(path: Path, data: bytes) -> None:
    """`data` to `path`, atomically; OSError that names the file when the disk is full, with nothing left behind."""
    temporary = _beside(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("xb") as file:  # unlike tempfile's, it gets the rights of any new file
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException as error:
        temporary.unlink(missing_ok=True)
        if isinstance(error, OSError):
            raise OSError(error.errno, f"{path}: could not be written ({error.strerror}); what was there before is untouched") from error
        raise


@contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """A folder to fill, which becomes `path` when the block ends well and vanishes otherwise.

    Where another process was first, its folder stays: both were about to hold the same. OSError that names the folder if it cannot be written.
    """
    temporary = _beside(path)
    try:
        temporary.mkdir(parents=True)
    except OSError as error:
        raise OSError(error.errno, f"{path.parent}: cannot be written to ({error.strerror}); choose another folder") from error
    try:
        yield temporary
        try:
            temporary.rename(path)
        except OSError:
            if not path.is_dir():
                raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _beside(path: Path) -> Path:
    """A hidden name in the same folder, and so on the same disk, that nobody else has."""
    return path.with_name(f".{path.name}.{uuid.uuid4().hex[:12]}")
