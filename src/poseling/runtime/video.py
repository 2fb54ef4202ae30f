"""Pictures in and out: a video, a picture, or a folder of pictures. Channels in OpenCV's order, BGR."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import TracebackType

import cv2
import numpy as np
from numpy.typing import NDArray

from poseling import video
from poseling.files import keep_apart, read_picture, write_bytes
from poseling.video import Recording, Tell

PICTURES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff")


def pictures(source: Path) -> tuple[Path, ...]:
    """The pictures that `source` is or holds, by name, without hidden ones; none if it is a video.

    FileNotFoundError if there is no `source`; ValueError if it is a folder without pictures.
    """
    if source.is_dir():
        # macOS puts a hidden `._name.jpg` beside each picture.
        inside = (p for p in source.iterdir() if not p.name.startswith("."))
        found = tuple(sorted(p for p in inside if p.suffix.lower() in PICTURES and p.is_file()))
        if not found:
            raise ValueError(f"{source}: holds no picture ({', '.join(PICTURES)}); name the folder that does, or a file")
        return found
    if not source.is_file():
        raise FileNotFoundError(f"{source}: there is no such picture, video or folder")
    return (source,) if source.suffix.lower() in PICTURES else ()


def frames(
    source: Path,
    tell: Tell = lambda note: None,
) -> Iterator[tuple[int, float | None, NDArray[np.uint8]]]:
    """Index, time in seconds (None of a picture) and the picture (H, W, 3) BGR, turned as the file says, one after the other.

    A folder's picture that cannot be read is left out, and its index with it. `tell` is given a line for each
    such thing, and for those that `video.frames` tells of. OSError that names the file if no picture can be
    read, or a video cannot be opened or holds no frame.
    """
    stills = pictures(source)
    if not stills:
        yield from video.frames(source, tell)
        return
    unread: list[OSError] = []
    for index, path in enumerate(stills):
        try:
            picture = read_picture(path, bgr=True)
        except OSError as error:
            unread.append(error)
            continue
        yield index, None, picture
    if len(unread) == len(stills):
        if source.is_file():
            raise unread[0]
        raise OSError(f"{source}: none of its {len(stills)} pictures can be read; {unread[0]}")
    if unread:
        count = f"{len(unread)} of {len(stills)} pictures"
        tell(f"{source}: {count} cannot be read and were left out; {unread[0]}")


class Writer:
    """Pictures (H, W, 3) BGR to where `out` says, in the form of `source`: a video as mp4, pictures as pictures.

    `out` with a suffix is the file itself; without one it is a folder, in which a file gets its source's
    name. `target` is what is written. Used in a `with`: however that ends, the video is finished and holds
    what was written to it (`video.Recording`), unless it could not be written: then what was there before
    stays. ValueError if `out` does not fit `source`, or would replace it.
    """

    def __init__(self, source: Path, out: Path, tell: Tell = lambda note: None) -> None:
        self.stills = pictures(source)
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
        keep_apart({"--out": self.target}, {"the source itself": [source]})
        self._video = None if self.stills else Recording(self.target, tell)

    def __enter__(self) -> Writer:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._video is not None:
            self._video.finish()

    def write(self, index: int, picture: NDArray[np.uint8], seconds: float | None) -> None:
        """The picture of the frame `index`, in a video at its time; OSError that names the file if it cannot
        be written.
        """
        if self._video is not None:
            assert seconds is not None
            self._video.write(picture, seconds)
            return
        path = self.target / self.stills[index].name if self._many else self.target
        write_bytes(path, cv2.imencode(path.suffix, picture)[1].tobytes())
