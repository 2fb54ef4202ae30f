"""Videos in and out, by PyAV: one reader and one writer for everything here. Channels in OpenCV's order, BGR.

What decodes is what there is: how many frames a container announces is not asked. Only files of the formats
in `FORMATS` are opened, and nothing that they name: a playlist could read any file of this machine.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
from numpy.typing import NDArray

from poseling.files import Draft
from poseling.geometry import Size

Image = NDArray[np.uint8]
Tell = Callable[[str], None]

VIDEOS = (".mp4", ".mov", ".avi", ".mkv", ".webm", ".m4v")  # what a folder is searched for
# FFmpeg's names of containers and of raw streams. Playlists (hls, dash, concat), devices, network formats and
# numbered images are none of them.
FORMATS = (
    "mov,mp4,m4v,matroska,webm,avi,mpegts,mpeg,mpegvideo,flv,live_flv,asf,ogg,gif,dv,mxf,nut,ivf,obu,av1,"
    "h261,h263,h264,hevc,vvc,vc1,mjpeg,rm,wtv,dhav,gxf,swf,yuv4mpegpipe"
)
# Containers that say how long they are; for others FFmpeg guesses.
ANNOUNCING = ("mov,mp4,m4a,3gp,3g2,mj2", "matroska,webm", "avi")
LARGEST = 1 << 27  # pixels of a frame that is decoded and shown: 16K has 133 million
WIDEST = 16  # a pixel that is said to be so many times wider than high, or higher than wide, is a mistake
STEP = 1 / 30  # seconds between two frames where a file says nothing at all
LEAP = 1.0  # a clock that goes back by more seconds was set anew, such as where two recordings were joined
PATIENCE = 1000  # failures to read, one after the other, after which there is no more to come
# A second in what is written: a whole number of them are 1/24, 1/25, 1/30, 1/50, 1/60, 1001/30000 and
# 1001/60000 of a second, and every millisecond.
TICKS = 60000
LONGEST = 3600.0  # seconds for which an image can be shown in MPEG-4, says FFmpeg


def frames(path: Path, tell: Tell = lambda note: None) -> Iterator[tuple[int, float, Image]]:
    """Index, seconds since the first frame, and the image (H, W, 3) BGR of every frame that can be decoded,
    upright and as it is shown, pixels square.

    Seconds always grow; where a file says none they follow from its frame rate. Damaged packets are left out.
    `tell` is given a line, with the file's name, for each thing that is not as it should be: packets that
    were lost, a file that is cut, pixels that are not square, an image's size that changes, times that are
    missing. OSError that names the file if it is no video or no frame of it can be decoded.
    """
    try:
        container = av.open(
            f"file:{path}",
            metadata_errors="ignore",
            options={"protocol_whitelist": "file", "format_whitelist": FORMATS},
        )
    except (av.FFmpegError, UnicodeError) as error:
        why = getattr(error, "strerror", None) or error
        raise OSError(
            f"{path}: is no video that can be read, or is cut short ({why}); "
            "it may be MP4, MOV, Matroska, WebM, AVI, MPEG or the like, and playlists are not followed"
        ) from error
    with container:
        stream = container.streams.best("video")
        if stream is None or stream.codec_context is None:
            raise OSError(f"{path}: holds no video" + ("" if stream is None else " that can be decoded"))
        stream.codec_context.options = {"max_pixels": str(LARGEST)}
        rate = stream.guessed_rate or stream.average_rate
        announced = (container.duration or 0) / 1e6 if container.format.name in ANNOUNCING else 0.0
        clock = _Clock(1 / float(rate) if rate and 1 <= rate <= 1000 else STEP)
        read = _Read()
        count, first, changed = 0, (0, 0), ""
        shape = stream.sample_aspect_ratio or stream.codec_context.sample_aspect_ratio  # of the first size
        for frame in _decoded(container, stream, read):
            size = frame.width, frame.height
            if count and size != first:
                changed = changed or f"from {first[0]}x{first[1]} to {size[0]}x{size[1]} at frame {count}"
            width = _width(
                size, shape if size == first or not count else stream.codec_context.sample_aspect_ratio
            )
            try:
                image = np.asarray(frame.reformat(width, size[1], "bgr24").to_ndarray(), np.uint8)
            except (av.FFmpegError, ValueError, AttributeError):
                # Pixels that cannot be made BGR; a format without a name is None in PyAV.
                read.lost += 1
                continue
            if not count:
                first = size
                if shape and shape != 1:
                    done = f"so its {size[0]}x{size[1]} are taken as shown, {width}x{size[1]}"
                    if width == size[0]:
                        done = "which is not believed"
                    tell(f"{path}: its pixels are {float(shape):g} times as wide as high, {done}")
            # Not frame.time, which is None for the last frames of all, those that the decoder gives when it
            # is told of the end.
            time = None if frame.pts is None or not stream.time_base else float(frame.pts * stream.time_base)
            yield count, clock(time), np.ascontiguousarray(np.rot90(image, round(frame.rotation / 90)))
            count += 1
    if not count:
        damaged = f"; {read.lost} are damaged" if read.lost else ""
        raise OSError(f"{path}: holds no frame that can be decoded{damaged}")
    if changed:
        tell(f"{path}: the image's size changes, {changed}; every image keeps its shape")
    if read.lost:
        tell(f"{path}: {read.lost} of {read.lost + count} frames are damaged and were left out")
    if read.cut:
        tell(f"{path}: is cut short: nothing can be read behind its frame {count - 1}")
    elif read.end < announced - max(1.0, 0.1 * announced):
        tell(f"{path}: announces {announced:.1f} s and ends after {read.end:.1f} s; it may be cut short")
    if clock.silent:
        tell(f"{path}: does not say when its frames were taken; {1 / clock.step:g} a second are assumed")


class Recording:
    """Images (H, W, 3) BGR at their times to an mp4 file (MPEG-4 part 2, no sound), which appears under its
    name when it is finished and has been looked at.

    The first image's size is the video's, an odd last row or column left off, since mp4 has even sides.
    Images of another size are fitted into it with their shape, before black, and `tell` is told. OSError
    that names the file for whatever cannot be written; what was there before then stays.
    """

    def __init__(self, path: Path, tell: Tell = lambda note: None) -> None:
        self.path, self._tell = path, tell
        self._draft: Draft | None = None
        self._size: Size = (0, 0)
        self._count, self._last, self._between = 0, -1, round(TICKS * STEP)
        self._refitted, self._skipped = False, 0.0

    def write(self, image: Image, seconds: float) -> None:
        """The next image, at a time that is later than the last one's."""
        height, width = image.shape[:2]
        size = max(2, width - width % 2), max(2, height - height % 2)
        if self._draft is None:
            self._start(size)
        if size != self._size and not self._refitted:
            self._refitted = True
            has = f"has {self._size[0]}x{self._size[1]} pixels"
            self._tell(f"{self.path}: {has}, and images of another size are fitted into it")
        at = max(self._last + 1, round((seconds - self._skipped) * TICKS))
        if self._last >= 0:
            if at - self._last > LONGEST * TICKS:
                if not self._skipped:
                    self._tell(
                        f"{self.path}: shows an image for {LONGEST:g} s at most, and not until {seconds:g} s"
                    )
                at = self._last + round(LONGEST * TICKS)
                self._skipped = seconds - at / TICKS
            self._between = at - self._last
        frame = av.VideoFrame.from_ndarray(_fitted(image, self._size), format="bgr24")
        frame.pts, frame.time_base, self._last = at, Fraction(1, TICKS), at
        self._count += 1
        self._put(frame)

    def finish(self) -> None:
        """Closes the file, looks whether all of it is there, and gives it its name; no frames leave no file."""
        if self._draft is None or self._draft.closed:
            return
        self._put(None)
        try:
            self._container.close()
        except (av.FFmpegError, OSError) as error:
            raise self._failure(error) from error
        self._draft.settle()
        try:
            with av.open(f"file:{self._draft.beside}", format="mp4") as written:
                there = sum(1 for packet in written.demux(video=0) if packet.size)
        except (av.FFmpegError, OSError) as error:
            raise self._failure(error) from error
        if there != self._count:
            raise self._failure(f"{there} of {self._count} frames arrived")
        self._draft.keep()

    def _start(self, size: Size) -> None:
        (width, height), self._draft = size, Draft(self.path)
        self._size = size
        try:
            self._container = av.open(self._draft.file, "w", format="mp4")
            # qscale: a quality, not a rate. FFmpeg counts it in 118ths, and 3 of 1 to 31 is hard to tell from
            # the source.
            options = {"flags": "+qscale", "global_quality": str(3 * 118)}
            self._stream = self._container.add_stream("mpeg4", rate=30, options=options)
            self._stream.width, self._stream.height, self._stream.pix_fmt = width, height, "yuv420p"
            self._stream.codec_context.time_base = Fraction(1, TICKS)
            self._stream.codec_context.open()
        except (av.FFmpegError, OSError, ValueError) as error:
            why = getattr(error, "strerror", None) or error
            raise self._failure(f"at {width}x{height} pixels: {why}") from error

    def _put(self, frame: object) -> None:
        """The frame, or None as the end, through the encoder into the file."""
        try:
            for packet in self._stream.encode(frame):
                packet.duration = self._between  # of the last one nothing else says how long it is shown
                self._container.mux(packet)
        except (av.FFmpegError, OSError, ValueError, OverflowError) as error:
            raise self._failure(error) from error

    def _failure(self, why: object) -> OSError:
        assert self._draft is not None
        self._draft.drop()
        reason = getattr(why, "strerror", None) or why
        return OSError(f"{self.path}: could not be written ({reason}); what was there before is untouched")


class _Read:
    """How many frames are lost so far, whether the end is missing, and the time in seconds up to which
    anything was read, sound too.
    """

    lost, cut, end = 0, False, 0.0


class _Clock:
    """Seconds since the first frame that always grow, from times that may be missing (None), stand still or
    be set anew; `step` seconds are between two otherwise.
    """

    def __init__(self, step: float) -> None:
        self.step, self.silent = step, True
        self._start: float | None = None
        self._last = -step

    def __call__(self, time: float | None) -> float:
        now = self._last + self.step
        if time is not None and np.isfinite(time):
            self.silent = False
            if self._start is None or time - self._start < self._last - LEAP:
                self._start = time - now
            now = time - self._start if time - self._start > self._last else now
        self._last = now
        return now


def _decoded(
    container: av.container.InputContainer,
    stream: av.VideoStream,
    read: _Read,
) -> Iterator[av.VideoFrame]:
    """All frames that come out, the damaged packets between them counted in `read`."""
    for packet in _packets(container, stream, read):
        read.cut = packet.is_corrupt
        try:
            yield from packet.decode()
        except av.FFmpegError:
            read.lost += 1
    try:
        yield from stream.decode(None)
    except av.FFmpegError:
        return


def _packets(
    container: av.container.InputContainer,
    stream: av.VideoStream,
    read: _Read,
) -> Iterator[av.Packet]:
    """All packets that hold something; a file that cannot be read at one place is read on behind it."""
    failures = 0
    while failures < PATIENCE:
        try:
            for packet in container.demux():
                if packet.pts is not None and packet.time_base:
                    read.end = max(read.end, float((packet.pts + (packet.duration or 0)) * packet.time_base))
                if packet.stream_index != stream.index:
                    continue
                # An empty one would end the decoder's work: an AVI has them where a frame was dropped.
                if packet.size:
                    read.lost, failures = read.lost + failures, 0
                    yield packet
            break
        except IndexError:
            break  # at the end PyAV looks for streams that appeared in the middle, and does not know them
        except av.FFmpegError:
            failures += 1
    read.cut = read.cut or failures > 0


def _width(size: Size, shape: Fraction | None) -> int:
    """How wide a frame of `size` (W, H) is shown whose pixels are `shape` times as wide as high; as wide as
    it is where the file does not say so, or what it says cannot be.
    """
    if not shape or not Fraction(1, WIDEST) <= shape <= WIDEST or size[0] * size[1] * shape > LARGEST:
        return size[0]
    return max(1, round(size[0] * shape))


def _fitted(image: Image, size: Size) -> Image:
    """The image in one of `size` (W, H): an odd last row or column is cut off, anything else is scaled with
    its shape into the middle of black.
    """
    width, height = size
    if 0 <= image.shape[1] - width <= 1 and 0 <= image.shape[0] - height <= 1:
        return np.ascontiguousarray(image[:height, :width])
    scale = min(width / image.shape[1], height / image.shape[0])
    inner = (
        min(width, max(1, round(scale * image.shape[1]))),
        min(height, max(1, round(scale * image.shape[0]))),
    )
    x, y = (width - inner[0]) // 2, (height - inner[1]) // 2
    canvas = np.zeros((height, width, 3), np.uint8)
    how = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    canvas[y : y + inner[1], x : x + inner[0]] = cv2.resize(image, inner, interpolation=how)
    return canvas
