"""Reading and writing for the pipeline: a video, an image, a folder of images, a camera, or a stream of a URL.
Channels in OpenCV's order, BGR.
"""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from urllib.parse import urlsplit
from urllib.request import url2pathname

import cv2
import numpy as np
from numpy.typing import NDArray

from poseling import video
from poseling.files import IMAGES, images_of, keep_apart, read_image, write_bytes
from poseling.video import Recording, Tell

Source = Path | int | str  # a file or a folder, the number of a camera, a URL
Timed = Iterator[tuple[int, float | None, NDArray[np.uint8]]]


def source_of(name: Path | str) -> Source:
    """What a user's word names: the number of a camera, unless there is a file of that name, a URL, or else a
    path. ValueError for a URL of an unknown kind.

    >>> source_of("0"), source_of("rtsp://10.0.0.7/door"), source_of("walk.mp4").name
    (0, 'rtsp://10.0.0.7/door', 'walk.mp4')
    """
    text = str(name)
    if isinstance(name, str) and re.fullmatch(r"[0-9]{1,3}", text) and not Path(text).exists():
        return int(text)
    if not isinstance(name, str) or not re.match(r"[A-Za-z][A-Za-z0-9+.-]+://", text):
        return Path(name)
    parts = urlsplit(text)
    if parts.scheme.lower() == "file":
        return Path(url2pathname(parts.path))
    if parts.scheme.lower() not in video.PROTOCOLS:
        known = ", ".join(f"{scheme}://" for scheme in ("file", *video.PROTOCOLS))
        raise ValueError(f"{video.bare(text)}: URLs are {known}; or name a file or the number of a camera")
    return text


def title(source: Source) -> str:
    """A name for files about it, without a suffix.

    >>> title(Path("clips/walk.mp4")), title(0), title("rtsp://10.0.0.7/door")
    ('walk', 'camera-0', 'door')
    """
    if isinstance(source, Path):
        return source.stem
    if isinstance(source, int):
        return f"camera-{source}"
    parts = urlsplit(source)
    return Path(parts.path).stem or parts.hostname or "stream"


def images(source: Source) -> tuple[Path, ...]:
    """The images that `source` is or contains, by name, without hidden ones; none if it is a video, a camera or
    a URL.

    FileNotFoundError if there is no `source`; ValueError if it is a folder without images.
    """
    if not isinstance(source, Path):
        return ()
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


def expected(source: Source) -> int | None:
    """How many frames there should be, to show progress; None if that cannot be said."""
    try:
        stills = images(source)
    except (OSError, ValueError):  # which is told by whoever reads it
        return None
    return len(stills) if stills else video.expected(source) if isinstance(source, Path) else None


def frames(source: Source, tell: Tell = lambda note: None) -> Timed:
    """Index, time in seconds (None for an image) and the image (H, W, 3) BGR, upright, in order.

    An unreadable image in a folder is left out, and its index with it. Of a camera, and of what is sent as it
    happens (rtsp), only the newest frame is given: those that came while the last one was at work are left
    out. `tell` is called with a line for each such problem, and for those of `video.frames`. OSError that
    names the source if no image can be read, or a video, a camera or a URL cannot be opened or has no frame.
    """
    if isinstance(source, int):
        yield from newest(camera(source, tell))
        return
    if isinstance(source, str):
        sent = video.stream(source, tell)
        yield from newest(sent) if urlsplit(source).scheme.lower().startswith("rts") else sent
        return
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


def camera(number: int, tell: Tell = lambda note: None) -> Timed:
    """Index, seconds since the first frame, and the image (H, W, 3) BGR of a camera, until it gives no more:
    `tell` is then called. OSError if it cannot be opened or gives no frame.
    """
    level = cv2.utils.logging.getLogLevel()
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)  # what is wrong is said below
    try:
        opened = cv2.VideoCapture(number)
    finally:
        cv2.utils.logging.setLogLevel(level)
    index, first = 0, 0.0
    try:
        while True:
            there, image = opened.read()
            if not there:
                break
            now = time.monotonic()
            first = first if index else now
            yield index, now - first, np.asarray(image, np.uint8)
            index += 1
    finally:
        opened.release()
    if not index:
        raise OSError(
            f"camera {number}: cannot be opened or gives no picture; is it plugged in, allowed, and not in use by "
            "another program? The first camera is 0"
        )
    tell(f"camera {number}: gives no more pictures after frame {index - 1}; was it unplugged?")


def newest(sent: Timed) -> Timed:
    """What is sent, read in a thread of its own; of what comes while the last one is at work only the newest.
    Errors of `sent` are raised here. Indices count what is given.
    """
    ready = threading.Condition()
    latest: tuple[float | None, NDArray[np.uint8]] | None = None
    failed: BaseException | None = None
    ended = left = False

    def read() -> None:
        nonlocal latest, failed, ended
        try:
            for _, seconds, image in sent:
                with ready:
                    latest = seconds, image
                    ready.notify()
                if left:
                    return
        except BaseException as error:  # whatever it is, it is raised where the frames are used
            failed = error
        finally:
            with ready:
                ended = True
                ready.notify()

    def there() -> bool:
        return latest is not None or ended

    threading.Thread(target=read, daemon=True, name="poseling-camera").start()
    index = 0
    try:
        while True:
            with ready:
                ready.wait_for(there)
                item, latest = latest, None
            if item is None:
                break
            yield index, *item
            index += 1
    finally:
        left = True
    if failed is not None:
        raise failed


class Writer:
    """Writes images (H, W, 3) BGR to `out`, in the form of `source`: a video as mp4, images as images.

    `out` with a suffix is the file; without one it is a folder, in which a file gets its source's name.
    `target` is the file or folder written. Used in a `with`: however that ends, the video is finished and has
    the frames written so far (`video.Recording`), unless it could not be written: then an earlier file stays.
    ValueError if `out` does not fit `source`, or would replace it.
    """

    def __init__(self, source: Source, out: Path, tell: Tell = lambda note: None) -> None:
        self.stills = images(source)
        folder = out.is_dir() or not out.suffix
        self._many = isinstance(source, Path) and source.is_dir()
        if self._many:
            if not folder:
                raise ValueError(f"{out}: is one file, but {source} is a folder; give a folder's name")
            self.target = out
        else:
            self.target = (
                out / (self.stills[0].name if self.stills else f"{title(source)}.mp4") if folder else out
            )
            known = IMAGES if self.stills else (".mp4",)
            if self.target.suffix.lower() not in known:
                raise ValueError(
                    f"{self.target}: cannot be written as {self.target.suffix}; use {', '.join(known)}, or "
                    f"give a folder's name"
                )
        keep_apart(
            {"--out": self.target}, {"the source itself": [source] if isinstance(source, Path) else []}
        )
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
