"""Pictures in and out: a video, a picture, or a folder of pictures. Channels in OpenCV's order, BGR."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType

import cv2
import numpy as np
from numpy.typing import NDArray

from poseling.files import read_picture, write_bytes

PICTURES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff")


def pictures(source: Path) -> tuple[Path, ...]:
    """The pictures that `source` is or holds, by name; none if it is a video.

    FileNotFoundError if there is no `source`; ValueError if it is a folder without pictures.
    """
    if source.is_dir():
        found = tuple(sorted(p for p in source.iterdir() if p.suffix.lower() in PICTURES and p.is_file()))
        if not found:
            raise ValueError(f"{source}: holds no picture ({', '.join(PICTURES)}); name the folder that does, or a file")
        return found
    if not source.is_file():
        raise FileNotFoundError(f"{source}: there is no such picture, video or folder")
    return (source,) if source.suffix.lower() in PICTURES else ()


def frames(source: Path) -> Iterator[tuple[int, float | None, NDArray[np.uint8]]]:
    """Index, time in seconds (None of a picture) and the picture (H, W, 3) BGR, turned as the file says, one after the other.

    OSError that names the file if a picture cannot be read whole, or a video cannot be opened, holds no frame, or ends well before its announced end.
    """
    if stills := pictures(source):
        for index, path in enumerate(stills):
            yield index, None, read_picture(path, bgr=True)
        return
    capture = _open(source)
    try:
        index = 0
        while True:
            there, picture = capture.read()
            if not there:
                break
            yield index, capture.get(cv2.CAP_PROP_POS_MSEC) / 1000, np.asarray(picture, np.uint8)
            index += 1
        announced = capture.get(cv2.CAP_PROP_FRAME_COUNT)
    finally:
        capture.release()
    # A container's count may be an estimate: only a tenth less is a sign that the file is cut.
    if index == 0 or index < 0.9 * announced:
        raise OSError(f"{source}: ends after {index} of {announced:.0f} frames; the file is cut short or damaged")


def rate(source: Path) -> float:
    """Frames a second of a video; OSError that names the file if it does not say."""
    capture = _open(source)
    found = float(capture.get(cv2.CAP_PROP_FPS))
    capture.release()
    if not np.isfinite(found) or found <= 0:
        raise OSError(f"{source}: does not say how many frames a second it has; convert it to mp4")
    return found


class Writer:
    """Pictures (H, W, 3) BGR to where `out` says, in the form of `source`: a video as mp4, pictures as pictures.

    `out` with a suffix is the file itself; without one it is a folder, in which a file gets its source's name. `target` is what is written.
    Used in a `with`: however that ends, the video is finished and holds what was written to it
    (mp4 has even sides: an odd last row or column is left off). ValueError if `out` does not fit `source`, or would replace it.
    """

    def __init__(self, source: Path, out: Path) -> None:
        self.stills = pictures(source)
        self.fps = 0.0 if self.stills else rate(source)
        folder = out.is_dir() or not out.suffix
        self._many = source.is_dir()
        if self._many:
            if not folder:
                raise ValueError(f"{out}: is one file, but {source} is a folder; give a folder's name")
            self.target = out
        else:
            self.target = out / (source.name if self.stills else f"{source.stem}.mp4") if folder else out
            known = PICTURES if self.stills else (".mp4",)
            if self.target.suffix.lower() not in known:
                raise ValueError(f"{self.target}: cannot be written as {self.target.suffix}; use {', '.join(known)}, or give a folder's name")
        if self.target.resolve() == source.resolve():
            raise ValueError(f"{self.target}: is the source itself and would be replaced; give another name")
        self._video: cv2.VideoWriter | None = None
        self._partial = self.target.with_name(f".{self.target.stem}.partial.mp4")

    def __enter__(self) -> Writer:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._video is not None:
            self._video.release()
            self._video = None
            os.replace(self._partial, self.target)

    def write(self, index: int, picture: NDArray[np.uint8]) -> None:
        """The picture of the frame `index`; OSError that names the file if it cannot be written."""
        if self.stills:
            path = self.target / self.stills[index].name if self._many else self.target
            write_bytes(path, cv2.imencode(path.suffix, picture)[1].tobytes())
            return
        if self._video is None:
            self.target.parent.mkdir(parents=True, exist_ok=True)
            height, width = picture.shape[:2]
            self._video = cv2.VideoWriter(str(self._partial), cv2.VideoWriter.fourcc(*"mp4v"), self.fps, (width, height))
            if not self._video.isOpened():
                self._video = None
                raise OSError(f"{self.target}: cannot be written as mp4 at {width}x{height} pixels and {self.fps:g} frames a second")
        self._video.write(picture)


def _open(source: Path) -> cv2.VideoCapture:
    capture = cv2.VideoCapture(str(source))
    if not capture.isOpened():
        raise OSError(f"{source}: is no video that OpenCV can read, or is cut short; a picture would end in {', '.join(PICTURES)}")
    return capture
