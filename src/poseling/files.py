"""Files and folders that are there whole or not at all, and pictures that are read whole or not at all. Without torch."""

from __future__ import annotations

import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from poseling.headers import picture_size
from poseling.limits import excess

PICTURES = (".jpg", ".jpeg", ".png", ".webp", ".bmp")  # what a folder of pictures for training is searched for


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
        with suppress(OSError):  # such as a file where a folder should be: the first error is the one to tell
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


def read_picture(path: Path, bgr: bool = False) -> NDArray[np.uint8]:
    """(H, W, 3) RGB, or `bgr` as OpenCV has it, turned as the file says; OSError that names the file if it is missing, truncated, too large or no picture.

    Pictures are JPEG, PNG, WebP, BMP or GIF: of others nobody would know how large they are before they are decoded.
    """
    try:
        data = np.fromfile(path, np.uint8)
    except OSError as error:
        raise OSError(f"{path}: cannot be read: {error.strerror}") from error
    size = picture_size(data.tobytes())
    if size is not None:
        check_size(path, size)
    try:
        picture = cv2.imdecode(data, cv2.IMREAD_COLOR if bgr else cv2.IMREAD_COLOR_RGB) if size else None
    except cv2.error:  # a header that asks for more pixels than OpenCV allows
        picture = None
    if picture is None or _truncated(data):
        raise OSError(f"{path}: is not a whole picture ({len(data)} bytes) of JPEG, PNG, WebP, BMP or GIF; fetch it again or remove it")
    return np.asarray(picture, np.uint8)


def check_size(path: Path, size: tuple[int, int]) -> None:
    """OSError that names the picture's file if its (W, H) is nothing that one can see, or more than may be made room for."""
    width, height = size
    if min(size) < 1:
        raise OSError(f"{path}: is {width} x {height} pixels, which shows nobody")
    if more := excess(6 * width * height):  # three colours, decoded and then turned
        raise OSError(f"{path}: is {width} x {height} pixels; {more}")


def _beside(path: Path) -> Path:
    """A hidden name in the same folder, and so on the same disk, that nobody else has."""
    return path.with_name(f".{path.name}.{uuid.uuid4().hex[:12]}")


def _truncated(data: NDArray[np.uint8]) -> bool:
    """OpenCV fills the missing part of a cut JPEG with grey and says nothing: look for the end marker ourselves."""
    return bytes(data[:2]) == b"\xff\xd8" and b"\xff\xd9" not in bytes(data[-4096:])
