"""Reading and writing for the pipeline: a video, an image, or a folder of images. Channels in OpenCV's order,
BGR.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import TracebackType

import cv2
import numpy as np
from numpy.typing import NDArray

from poseling import video
from poseling.files import IMAGES, images_of, keep_apart, read_image, write_bytes
from poseling.video import Recording, Tell


def images(source: Path) -> tuple[Path, ...]:
    """The images that `source` is or contains, by name, without hidden ones; none if it is a video.

    FileNotFoundError if there is no `source`; ValueError if it is a folder without images.
    """
    if source.is_dir():
        # macOS puts a hidden `._name.jpg` beside each image.
        inside = (p for p in source.iterdir() if not p.name.startswith("."))
        found = tuple(sorted(images_of(inside)))
        if not found:
            raise ValueError(
                f"{source}: holds no image ({', '.join(IMAGES)}); name the folder that does, or a file"
            )
        return found
    if not source.is_file():
        raise FileNotFoundError(f"{source}: there is no such image, video or folder")
    return (source,) if source.suffix.lower() in IMAGES else ()


def frames(
    source: Path,
    tell: Tell = lambda note: None,
) -> Iterator[tuple[int, float | None, NDArray[np.uint8]]]:
    """Index, time in seconds (None for an image) and the image (H, W, 3) BGR, upright, in order.

    An unreadable image in a folder is left out, and its index with it. `tell` is called with a line for each
    such problem, and for those of `video.frames`. OSError that names the file if no image can be read, or a
    video cannot be opened or has no frame.
    """
    stills = images(source)
    if not stills:
        yield from video.frames(source, tell)
        return
    unread: list[OSError] = []
    for index, path in enumerate(stills):
        try:
            image = read_image(path, bgr=True)
        except OSError as error:
            unread.append(error)
            continue
        yield index, None, image
    if len(unread) == len(stills):
        if source.is_file():
            raise unread[0]
        raise OSError(f"{source}: none of its {len(stills)} images can be read; {unread[0]}")
    if unread:
        count = f"{len(unread)} of {len(stills)} images"
        tell(f"{source}: {count} cannot be read and were left out; {unread[0]}")


class Writer:
    """Writes images (H, W, 3) BGR to `out`, in the form of `source`: a video as mp4, images as images.

    `out` with a suffix is the file; without one it is a folder, in which a file gets its source's name.
    `target` is the file or folder written. Used in a `with`: however that ends, the video is finished and has
    the frames written so far (`video.Recording`), unless it could not be written: then an earlier file stays.
    ValueError if `out` does not fit `source`, or would replace it.
    """

    def __init__(self, source: Path, out: Path, tell: Tell = lambda note: None) -> None:
        self.stills = images(source)
        folder = out.is_dir() or not out.suffix
        self._many = source.is_dir()
        if self._many:
            if not folder:
                raise ValueError(f"{out}: is one file, but {source} is a folder; give a folder's name")
            self.target = out
        else:
            self.target = out / (source.name if self.stills else f"{source.stem}.mp4") if folder else out
            known = IMAGES if self.stills else (".mp4",)
            if self.target.suffix.lower() not in known:
                raise ValueError(
                    f"{self.target}: cannot be written as {self.target.suffix}; use {', '.join(known)}, or "
                    f"give a folder's name"
                )
        keep_apart({"--out": self.target}, {"the source itself": [source]})
        self._video = None if self.stills else Recording(self.target, tell)

    def __enter__(self) -> Writer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._video is not None:
            self._video.finish()

    def write(self, index: int, image: NDArray[np.uint8], seconds: float | None) -> None:
        """The image of the frame `index`, in a video at its time; OSError that names the file if it cannot be
        written.
        """
        if self._video is not None:
            assert seconds is not None
            self._video.write(image, seconds)
            return
        path = self.target / self.stills[index].name if self._many else self.target
        write_bytes(path, cv2.imencode(path.suffix, image)[1].tobytes())
