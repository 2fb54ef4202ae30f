"""Reading and writing videos by PyAV: the one reader and the one writer. Channels in OpenCV's order, BGR.

The frames are those that decode; the frame count of a container is ignored. Only files and streams of the
formats in `FORMATS` are opened, and no file that they refer to: a playlist could read any file of this
machine.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import av
import cv2
import numpy as np
from numpy.typing import NDArray

from poseling.files import Draft, uninterrupted
from poseling.geometry import Size

Image = NDArray[np.uint8]
Tell = Callable[[str], None]

VIDEOS = (".mp4", ".mov", ".avi", ".mkv", ".webm", ".m4v")  # what a folder is searched for
# FFmpeg's names of containers and of raw streams. Playlists (hls, dash, concat), devices, network formats and
# numbered images are not among them.
FORMATS = (
    "mov,mp4,m4v,matroska,webm,avi,mpegts,mpeg,mpegvideo,flv,live_flv,asf,ogg,gif,dv,mxf,nut,ivf,obu,av1,"
    "h261,h263,h264,hevc,vvc,vc1,mjpeg,rm,wtv,dhav,gxf,swf,yuv4mpegpipe"
)
# What a stream of each kind of URL may use: never a file of this machine.
PROTOCOLS = {
    "rtsp": "rtsp,rtp,udp,tcp",
    "rtsps": "rtsps,rtsp,rtp,srtp,udp,tcp,tls",
    "rtmp": "rtmp,tcp",
    "http": "http,tcp",
    "https": "https,http,tls,tcp",
    "udp": "udp",
    "tcp": "tcp",
}
STREAMS = f"{FORMATS},rtsp,sdp,rtp,mpjpeg"  # mpjpeg is what many cameras send over http
ANSWER = 10.0  # seconds that a server may be silent
# Containers with a stated duration; for others FFmpeg guesses.
ANNOUNCING = ("mov,mp4,m4a,3gp,3g2,mj2", "matroska,webm", "avi")
LARGEST = 1 << 27  # pixels of a frame that is decoded and shown: 16K has 133 million
WIDEST = 16  # a larger pixel aspect ratio is implausible
STEP = 1 / 30  # seconds between two frames of a file without any timing
LEAP = 1.0  # timestamps that go back by more seconds have restarted, as where two recordings were joined
PATIENCE = 1000  # consecutive read failures after which reading stops
# Ticks of a second in written files: whole numbers of them are 1/24, 1/25, 1/30, 1/50, 1/60, 1001/30000 and
# 1001/60000 of a second, and every millisecond.
TICKS = 60000
LONGEST = 3600.0  # seconds for which an image can be shown in MPEG-4, says FFmpeg


def frames(path: Path, tell: Tell = lambda note: None) -> Iterator[tuple[int, float, Image]]:
    """Index, seconds since the first frame, and the image (H, W, 3) BGR of every frame that can be decoded,
    upright, with square pixels.

    Seconds always increase; without timestamps they follow from the frame rate. Damaged packets are left out.
    `tell` is called with a line, with the file's name, for each problem: lost packets, a truncated file,
    pixels that are not square, a changing frame size, missing timestamps. OSError that names the file if it
    is not a video or no frame can be decoded.
    """
    yield from _frames(_opened(path), str(path), tell)


def stream(url: str, tell: Tell = lambda note: None) -> Iterator[tuple[int, float, Image]]:
    """The same of what a URL sends (`PROTOCOLS`), until it ends. OSError that names the URL, without a
    password in it, if it cannot be reached or sends no video.
    """
    name, scheme = bare(url), urlsplit(url).scheme.lower()
    options = {"protocol_whitelist": PROTOCOLS[scheme], "format_whitelist": STREAMS}
    if scheme.startswith("rtsp"):
        options["rtsp_transport"] = "tcp"  # over UDP packets are lost
    try:
        container = av.open(url, metadata_errors="ignore", options=options, timeout=ANSWER)
    except (av.FFmpegError, OSError, UnicodeError) as error:
        why = getattr(error, "strerror", None) or error
        raise OSError(
            f"{name}: cannot be opened ({why}); check the address, and that it is a video stream, not a page or "
            "a playlist"
        ) from error
    yield from _frames(container, name, tell)


def bare(url: str) -> str:
    """A URL without name and password."""
    parts = urlsplit(url)
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))


def expected(path: Path) -> int | None:
    """How many frames a file says that it has, to show progress; None if it does not say or cannot be read."""
    try:
        with _opened(path) as container:
            found = container.streams.best("video")
            if found is None:
                return None
            rate, seconds = found.average_rate, (container.duration or 0) / 1e6
            announced = container.format.name in ANNOUNCING and rate
            return found.frames or (round(float(rate) * seconds) if announced and rate else 0) or None
    except (OSError, av.FFmpegError):
        return None


def _opened(path: Path) -> av.container.InputContainer:
    try:
        return av.open(
            f"file:{path}",
            metadata_errors="ignore",
            options={"protocol_whitelist": "file", "format_whitelist": FORMATS},
        )
    except (av.FFmpegError, UnicodeError) as error:
        why = getattr(error, "strerror", None) or error
        raise OSError(
            f"{path}: is not a readable video, or is truncated ({why}); "
            "it may be MP4, MOV, Matroska, WebM, AVI, MPEG or the like, and playlists are not followed"
        ) from error


def _frames(
    container: av.container.InputContainer, path: str, tell: Tell
) -> Iterator[tuple[int, float, Image]]:
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
                    done = f"so its {size[0]}x{size[1]} are scaled to {width}x{size[1]}"
                    if width == size[0]:
                        done = "which is ignored"
                    tell(f"{path}: its pixels are {float(shape):g} times as wide as high, {done}")
            # Not frame.time, which is None for the last frames that the decoder returns at the end.
            time = None if frame.pts is None or not stream.time_base else float(frame.pts * stream.time_base)
            yield count, clock(time), np.ascontiguousarray(np.rot90(image, round(frame.rotation / 90)))
            count += 1
    if not count:
        damaged = f"; {read.lost} are damaged" if read.lost else ""
        # An .mp4 with its index at the end, from a server that cannot start in the middle of a file.
        way_out = "; is it a file? Download it, and give that" if path.startswith("http") else ""
        raise OSError(f"{path}: holds no frame that can be decoded{damaged}{way_out}")
    if changed:
        tell(f"{path}: the image's size changes, {changed}; every image keeps its shape")
    if read.lost:
        tell(f"{path}: {read.lost} of {read.lost + count} frames are damaged and were left out")
    if read.cut:
        tell(f"{path}: is truncated: nothing can be read after its frame {count - 1}")
    elif read.end < announced - max(1.0, 0.1 * announced):
        tell(f"{path}: announces {announced:.1f} s and ends after {read.end:.1f} s; it may be truncated")
    if clock.silent:
        tell(f"{path}: has no timestamps; {1 / clock.step:g} a second are assumed")


class Recording:
    """Writes images (H, W, 3) BGR at their times to an mp4 file (MPEG-4 part 2, no sound), which appears
    under its name when it is finished and checked.

    The first image's size is the video's, without an odd last row or column, since mp4 has even sides. Images
    of another size are scaled to fit on black, and `tell` is called. OSError that names the file if it cannot
    be written; an earlier file then stays.
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
        with uninterrupted():
            self._count += 1
            self._put(frame)

    def finish(self) -> None:
        """Closes the file, checks that it is complete, and renames it; without frames there is no file."""
        if self._draft is None or self._draft.closed:
            return
        with uninterrupted():
            self._finish(self._draft)

    def _finish(self, draft: Draft) -> None:
        self._put(None)
        try:
            self._container.close()
        except (av.FFmpegError, OSError) as error:
            raise self._failure(error) from error
        draft.settle()
        try:
            with av.open(f"file:{draft.beside}", format="mp4") as written:
                there = sum(1 for packet in written.demux(video=0) if packet.size)
        except (av.FFmpegError, OSError) as error:
            raise self._failure(error) from error
        if there != self._count:
            raise self._failure(f"{there} of {self._count} frames arrived")
        draft.keep()

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
                packet.duration = self._between  # the last packet's display time is not given otherwise
                self._container.mux(packet)
        except (av.FFmpegError, OSError, ValueError, OverflowError) as error:
            raise self._failure(error) from error

    def _failure(self, why: object) -> OSError:
        assert self._draft is not None
        self._draft.drop()
        reason = getattr(why, "strerror", None) or why
        return OSError(f"{self.path}: could not be written ({reason}); an earlier file is unchanged")


class _Read:
    """The number of lost frames, whether the end is missing, and the time in seconds up to which data was
    read, sound too.
    """

    lost, cut, end = 0, False, 0.0


class _Clock:
    """Seconds since the first frame that always increase, from timestamps that may be missing (None), repeat
    or restart; otherwise `step` seconds apart.
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
    """All frames that decode; damaged packets are counted in `read`."""
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
    """All packets with data; reading continues after an error."""
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
            break  # at the end PyAV looks up streams that appeared later, and fails
        except av.FFmpegError:
            failures += 1
    read.cut = read.cut or failures > 0


def _width(size: Size, shape: Fraction | None) -> int:
    """The display width of a frame of `size` (W, H) whose pixels are `shape` times as wide as high; its own
    width if the shape is unknown or implausible.
    """
    if not shape or not Fraction(1, WIDEST) <= shape <= WIDEST or size[0] * size[1] * shape > LARGEST:
        return size[0]
    return max(1, round(size[0] * shape))


def _fitted(image: Image, size: Size) -> Image:
    """The image in one of `size` (W, H): an odd last row or column is cut off, other sizes are scaled to fit
    on black.
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
