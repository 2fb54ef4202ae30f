"""Files and folders that are there whole or not at all, and images that are read whole or not at all. Without
torch.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import threading
import time
import uuid
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from types import FrameType

import cv2
import numpy as np
from numpy.typing import NDArray

from poseling.headers import image_size
from poseling.limits import excess

IMAGES = (".jpg", ".jpeg", ".png", ".webp", ".bmp")  # what a folder is searched for, and `read_image` reads
LEFT_BEHIND = re.compile(r"\.poseling-[0-9a-f]{12}\.tmp")  # what `_beside` calls what is not finished
STALE = 86400.0  # seconds without a change, after which it is taken to be of a writer that was killed
# The next marker of a JPEG: FF, then neither 0 (FF is a value), nor a restart marker within the values, nor
# FF (filling).
MARKER = re.compile(rb"\xff[\x01-\xcf\xd8-\xfe]")


def shown(folder: Path) -> list[Path]:
    """All that lies under `folder`, to the bottom, in the order of the paths; hidden files, and what lies in
    hidden folders, left out.
    """
    return sorted(
        p for p in folder.rglob("*") if not any(part.startswith(".") for part in p.relative_to(folder).parts)
    )


def images_of(paths: Iterable[Path]) -> list[Path]:
    """Those of the paths that are image files by their suffix. They are not opened."""
    return [p for p in paths if p.suffix.lower() in IMAGES and p.is_file()]


def write_bytes(path: Path, data: bytes) -> None:
    """`data` to `path`, atomically; OSError that names the file when the disk is full, with nothing left
    behind.
    """
    draft = Draft(path)
    draft.write(data)
    draft.keep()


@contextmanager
def uninterrupted() -> Iterator[None]:
    """A block that Ctrl-C does not cut in two: it comes at the end. Only the main thread gets signals."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    asked: list[tuple[int, FrameType | None]] = []
    before = signal.signal(signal.SIGINT, lambda number, frame: asked.append((number, frame)))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
        if asked and callable(before):
            before(*asked[0])


class Draft:
    """A file that is written beside `path` and takes its place with `keep`; `drop`, or a write that fails,
    leaves what was there before.

    It is made new, under a unique name, so that no link is written through. `beside` is
    that name and `file` is open for bytes. Where `path` is no file but a pipe or a device, such as
    /dev/stdout, it is written as it is. `durable` waits for the disk. OSError that names `path` for whatever
    cannot be written.
    """

    def __init__(self, path: Path, durable: bool = True) -> None:
        self.path, self._durable = path, durable
        no_file = path.exists() and not (path.is_file() or path.is_dir())
        self._streams = no_file or path.parent in (Path("/dev"), Path("/dev/fd"))
        self.beside = path if self._streams else _beside(path)
        self.closed = False
        try:
            if not self._streams:
                path.parent.mkdir(parents=True, exist_ok=True)
                _sweep(path.parent)
            # Unlike tempfile's, it gets the rights of any new file.
            self.file = self.beside.open("wb" if self._streams else "xb")
        except OSError as error:
            raise self._failure(error) from error

    def write(self, data: bytes) -> None:
        """More of it; Ctrl-C comes behind it."""
        try:
            with uninterrupted():
                self.file.write(data)
                if self._streams:
                    self.file.flush()  # the reader at the other end waits for it
        except BaseException as error:
            self.drop()
            if isinstance(error, OSError):
                raise self._failure(error) from error
            raise

    def settle(self) -> None:
        """Puts all of it on the disk and closes it, so that it can be looked at under the name `beside`
        before it is kept.
        """
        try:
            self.file.flush()
            if self._durable and not self._streams:
                os.fsync(self.file.fileno())
            self.file.close()
        except BaseException as error:
            self.drop()
            if isinstance(error, OSError):
                raise self._failure(error) from error
            raise

    def keep(self) -> None:
        """Gives it its name. Nothing happens if it was kept or dropped before."""
        if self.closed:
            return
        if not self.file.closed:
            self.settle()
        try:
            if not self._streams:
                os.replace(self.beside, self.path)
        except OSError as error:
            self.drop()
            raise self._failure(error) from error
        self.closed = True

    def drop(self) -> None:
        """Takes it away again. Nothing happens if it was kept or dropped before."""
        if self.closed:
            return
        self.closed = True
        with suppress(OSError):  # what is still to be written may not fit: the first error is the one to tell
            self.file.close()
        if not self._streams:
            with suppress(OSError):
                self.beside.unlink(missing_ok=True)

    def _failure(self, error: OSError) -> OSError:
        why = f"{self.path}: could not be written ({error.strerror}); what was there before is untouched"
        return OSError(error.errno, why)


def keep_apart(outputs: Mapping[str, Path | None], inputs: Mapping[str, Iterable[Path]]) -> None:
    """ValueError if something that will be written is something that is read, or two things that will be
    written are one file; links are followed first.

    Both by what the user calls them: `{"--json": path}`, `{"the model": [path]}`. None is nothing to write.
    """
    given = {name: path for name, path in outputs.items() if path is not None}
    taken = [(what, path) for what, paths in inputs.items() for path in paths]
    for name, path in given.items():
        for what, other in taken:
            if _same(path, other):
                raise ValueError(f"{name} {path}: is {what} and would be replaced; give another name")
        taken.append((f"what {name} writes", path))


def refuse_folders(outputs: Mapping[str, Path | None]) -> None:
    """ValueError if a file that will be written has the name of a folder, by what the user calls it: else it
    would be noticed at the end, when all is computed.
    """
    for name, path in outputs.items():
        if path is not None and path.is_dir():
            raise ValueError(f"{name} {path}: is a folder; give the name of a file, there or elsewhere")


@contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """A folder to fill, which becomes `path` when the block ends well and vanishes otherwise.

    Where another process was first, its folder stays: both were about to hold the same. OSError that names
    the folder if it cannot be written.
    """
    temporary = _beside(path)
    try:
        temporary.mkdir(parents=True)
        _sweep(path.parent)
    except OSError as error:
        raise OSError(
            error.errno, f"{path.parent}: cannot be written to ({error.strerror}); choose another folder"
        ) from error
    try:
        yield temporary
        try:
            temporary.rename(path)
        except OSError:
            if not path.is_dir():
                raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def read_image(path: Path, bgr: bool = False) -> NDArray[np.uint8]:
    """(H, W, 3) RGB, or `bgr` as OpenCV has it, rotated by the file's EXIF; OSError that names the file if it
    is missing, truncated, too large or no image.

    Images are JPEG, PNG, WebP, BMP or GIF: the size of others is not known before they are
    decoded.
    """
    try:
        data = np.fromfile(path, np.uint8)
    except OSError as error:
        raise OSError(f"{path}: cannot be read: {error.strerror}") from error
    size = image_size(data.tobytes())
    if size is not None:
        check_size(path, size)
    try:
        image = cv2.imdecode(data, cv2.IMREAD_COLOR if bgr else cv2.IMREAD_COLOR_RGB) if size else None
    except cv2.error:  # a header that asks for more pixels than OpenCV allows
        image = None
    if image is None or _truncated(data):
        raise OSError(
            f"{path}: is not a whole image ({len(data)} bytes) of JPEG, PNG, WebP, BMP or GIF; fetch it "
            f"again or remove it"
        )
    return np.asarray(image, np.uint8)


def check_size(path: Path, size: tuple[int, int]) -> None:
    """OSError that names the image's file if its (W, H) is nothing that one can see, or more than may be made
    room for.
    """
    width, height = size
    if min(size) < 1:
        raise OSError(f"{path}: is {width} x {height} pixels, too small to show a person")
    if more := excess(6 * width * height):  # three colours, decoded and then turned
        raise OSError(f"{path}: is {width} x {height} pixels; {more}")


def _beside(path: Path) -> Path:
    """A hidden name in the same folder, and so on the same disk, that is unique."""
    return path.with_name(f".poseling-{uuid.uuid4().hex[:12]}.tmp")


@cache
def _sweep(folder: Path) -> None:
    """Takes away what writers that were killed left in the folder; once a process, since folders may be
    large.
    """
    with suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            with suppress(OSError):
                if not LEFT_BEHIND.fullmatch(entry.name):
                    continue
                if time.time() - entry.stat(follow_symlinks=False).st_mtime > STALE:
                    if entry.is_dir(follow_symlinks=False):
                        shutil.rmtree(entry.path)
                    else:
                        os.unlink(entry.path)


def _same(a: Path, b: Path) -> bool:
    with suppress(OSError):
        return a.samefile(b)
    with suppress(OSError, RuntimeError):  # a link in a circle
        return a.resolve() == b.resolve()
    return a == b


def _truncated(data: NDArray[np.uint8]) -> bool:
    """Whether a JPEG ends before its end marker.

    OpenCV silently fills the missing part with grey, so the markers are walked. What lies behind the
    end, such as the video of a Motion Photo, is no part of the image.
    """
    if bytes(data[:2]) != b"\xff\xd8":
        return False
    image, at = data.tobytes(), 2
    while found := MARKER.search(image, at):
        marker, at = image[found.end() - 1], found.end()
        if marker == 0xD9:
            return False
        # All others are followed by their length. The values behind a scan's head hold no marker but those
        # that `MARKER` passes over.
        if marker not in (0x01, 0xD8):
            at += int.from_bytes(image[at : at + 2], "big")
    return True
