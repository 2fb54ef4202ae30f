"""Videos in and out. Every film is made here, of greys that say which frame it is."""

from __future__ import annotations

import os
import resource
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace

import av
import cv2
import numpy as np
import pytest

from poseling.video import PATIENCE, Recording, _Clock, _packets, _Read, frames

SIZE = (64, 48)


def grey(level: int, size: tuple[int, int] = SIZE) -> np.ndarray:
    return np.full((size[1], size[0], 3), level, np.uint8)


def film(
    path: Path,
    times: Sequence[float],
    codec: str = "mjpeg",
    image: Callable[[int], np.ndarray] = lambda i: grey(10 * i),
    hurt: Sequence[int] = (),
    pixel: Fraction = Fraction(1),
    turned: int = 0,
    form: str | None = None,
) -> Path:
    """A video whose frame i is shown from times[i] seconds on; the packets `hurt` hold nothing that decodes."""
    with av.open(str(path), "w", format=form) as container:
        quality = {"flags": "+qscale", "global_quality": "236"}
        stream = container.add_stream(codec, rate=30, options=quality)
        height, width = image(0).shape[:2]
        stream.width, stream.height = width, height
        stream.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
        stream.codec_context.time_base = Fraction(1, 1000)
        stream.codec_context.sample_aspect_ratio = pixel
        if turned:
            stream.set_display_rotation(turned)
        packets = []
        for i, time in enumerate(times):
            frame = av.VideoFrame.from_ndarray(image(i), format="bgr24")
            frame.pts, frame.time_base = round(1000 * time), Fraction(1, 1000)
            packets += stream.encode(frame)
        packets += stream.encode()
        for i, packet in enumerate(packets):
            if i in hurt:
                damaged = av.Packet(bytes(packet)[:2] + bytes(packet.size))
                damaged.pts, damaged.dts, damaged.time_base = packet.pts, packet.dts, packet.time_base
                damaged.stream = stream
                packet = damaged
            container.mux(packet)
    return path


def read(path: Path) -> tuple[list[int], list[float], list[np.ndarray], list[str]]:
    """The number that each frame's grey says, the times, the images and what was told."""
    notes: list[str] = []
    found = list(frames(path, notes.append))
    assert [index for index, _, _ in found] == list(range(len(found)))
    return (
        [round(image.mean() / 10) for _, _, image in found],
        [seconds for _, seconds, _ in found],
        [image for _, _, image in found],
        notes,
    )


SLIDES = (0, 0.033, 0.067, 0.1, 4, 8.5, 8.533, 60)


@pytest.mark.parametrize("suffix", ["mkv", "mp4", "avi", "mov"])
def test_all_that_decodes_is_there_at_its_time(tmp_path: Path, suffix: str):
    """A container that counts frames by duration times rate would announce 1800 of them."""
    levels, seconds, images, notes = read(film(tmp_path / f"slides.{suffix}", SLIDES))
    if suffix == "avi":  # it has one rate, and empty packets in between
        np.testing.assert_allclose(np.diff(seconds) > 0, True)
        assert levels == list(range(8))
    else:
        np.testing.assert_allclose(seconds, SLIDES, atol=6e-4)
    assert levels == list(range(8))
    assert {image.shape for image in images} == {(48, 64, 3)}
    assert notes == []


def test_a_predicted_video_gives_its_last_frames_their_times_too(tmp_path: Path):
    """Frames that wait in the decoder until it is told of the end have no time of their own in PyAV."""
    times = [0.1 * i + 0.05 * (i % 2) for i in range(12)]
    levels, seconds, _, _ = read(film(tmp_path / "a.mkv", times, "mpeg4"))
    assert levels == list(range(12))
    np.testing.assert_allclose(seconds, times, atol=1e-9)


def test_time_starts_with_the_first_frame(tmp_path: Path):
    _, seconds, _, _ = read(film(tmp_path / "late.mkv", (3, 3.5, 4.25)))
    np.testing.assert_allclose(seconds, (0, 0.5, 1.25), atol=1e-9)


def test_damaged_packets_are_left_out_and_counted(tmp_path: Path):
    levels, seconds, _, notes = read(
        film(tmp_path / "hurt.mkv", [i / 10 for i in range(20)], hurt=(0, 5, 6, 19))
    )
    kept = [i for i in range(20) if i not in (0, 5, 6, 19)]
    assert levels == kept
    np.testing.assert_allclose(
        seconds, [(i - 1) / 10 for i in kept], atol=1e-9
    )  # from the first that can be seen
    assert notes == [f"{tmp_path}/hurt.mkv: 4 of 20 frames are damaged and were left out"]


def test_a_video_without_one_good_frame_is_named(tmp_path: Path):
    with pytest.raises(OSError, match=r"hurt\.mkv: holds no frame that can be decoded; 3 are damaged"):
        read(film(tmp_path / "hurt.mkv", (0, 1, 2), hurt=(0, 1, 2)))


@pytest.mark.parametrize("suffix", ["avi", "mkv", "ts"])
def test_a_truncated_file_gives_its_frames_and_a_note(tmp_path: Path, suffix: str):
    random = np.random.default_rng(0)
    codec = "mpeg4" if suffix == "ts" else "mjpeg"
    noise = [random.integers(0, 256, (48, 64, 3), np.uint8) for _ in range(20)]
    times = [
        i / 1000 if suffix == "avi" else i for i in range(20)
    ]  # an AVI fills what is between with empty packets
    path = film(tmp_path / f"cut.{suffix}", times, codec, lambda i: noise[i])
    whole = read(path)[2]
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    _, _, images, notes = read(path)
    assert 6 < len(images) < 14
    for here, there in zip(images[:-1], whole, strict=False):
        np.testing.assert_array_equal(here, there)
    assert suffix == "ts" or "truncated" in notes[-1]  # a transport stream may end anywhere
    assert all(note.startswith(f"{path}: ") for note in notes)


def test_an_mp4_whose_index_is_longer_than_its_data_is_truncated(tmp_path: Path):
    path = tmp_path / "front.mp4"
    with av.open(str(path), "w", options={"movflags": "faststart"}) as container:
        stream = container.add_stream("mjpeg", rate=10)
        stream.width, stream.height, stream.pix_fmt = *SIZE, "yuvj420p"
        for i in range(20):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(grey(10 * i), format="bgr24")))
        container.mux(stream.encode())
    path.write_bytes(path.read_bytes()[:-6000])
    levels, _, _, notes = read(path)
    assert 5 < len(levels) < 20
    assert levels == list(range(len(levels)))
    assert any("is truncated: nothing can be read after its frame" in note for note in notes)


@pytest.mark.parametrize(("codec", "form"), [("mpeg4", "m4v"), ("mjpeg", "mjpeg")])
def test_a_raw_stream_has_all_its_frames_at_times_that_are_assumed(tmp_path: Path, codec: str, form: str):
    levels, seconds, _, notes = read(
        film(tmp_path / f"raw.{form}", [i / 25 for i in range(20)], codec, form=form)
    )
    assert levels == list(range(20))
    steps = np.diff(seconds)
    np.testing.assert_allclose(steps, steps[0])
    assert 1 / 60 < steps[0] < 1 / 10
    assert notes in (
        [],
        [f"{tmp_path}/raw.{form}: has no timestamps; {1 / steps[0]:g} a second are assumed"],
    )


def test_the_clock_always_grows():
    clock = _Clock(0.1)
    assert clock.silent
    told = [10.0, 10.5, None, 10.5, 10.55, 11.0]  # missing, standing still, behind
    np.testing.assert_allclose([clock(t) for t in told], [0, 0.5, 0.6, 0.7, 0.8, 1.0])
    assert not clock.silent
    # Set anew: it goes on a step later, with the new clock's own distances. 2^62 seconds are taken as they
    # are.
    np.testing.assert_allclose([clock(t) for t in (0.0, 0.4, 0.6, float("nan"))], [1.1, 1.5, 1.7, 1.8])
    still = _Clock(1 / 30)
    np.testing.assert_allclose([still(0.0) for _ in range(4)], np.arange(4) / 30)
    nothing = _Clock(0.5)
    assert [nothing(None) for _ in range(3)] == [0, 0.5, 1.0]
    assert nothing.silent


def square(i: int) -> np.ndarray:
    """Black, with a white square of 16 pixels in its left upper corner."""
    image = grey(0)
    image[:16, :16] = 255
    return image


@pytest.mark.parametrize(
    ("pixel", "width"), [(Fraction(2), 128), (Fraction(8, 9), 57), (Fraction(1), 64), (Fraction(1, 4), 16)]
)
def test_pixels_that_are_not_square_are_shown_so(tmp_path: Path, pixel: Fraction, width: int):
    _, _, images, notes = read(film(tmp_path / "dv.mkv", (0, 0.1), image=square, pixel=pixel))
    assert {image.shape for image in images} == {(48, width, 3)}
    bright = images[0][..., 1] > 127
    assert abs(bright[4].sum() - 16 * pixel) <= 1  # as wide as it is shown
    assert abs(bright[:, 2].sum() - 16) <= 1
    told = f"its pixels are {float(pixel):g} times as wide as high, so its 64x48 are scaled to {width}x48"
    assert notes == ([] if pixel == 1 else [f"{tmp_path}/dv.mkv: {told}"])


def test_implausible_pixel_shapes_are_ignored(tmp_path: Path):
    """A file of a few kilobytes would otherwise ask for gigabytes."""
    _, _, images, notes = read(film(tmp_path / "odd.mp4", (0, 0.1), pixel=Fraction(20)))
    assert images[0].shape == (48, 64, 3)
    assert notes == [f"{tmp_path}/odd.mp4: its pixels are 20 times as wide as high, which is ignored"]


def test_a_size_that_changes_changes(tmp_path: Path):
    sizes = [(64, 48)] * 3 + [(32, 80)] * 2 + [(64, 48)] * 2
    data = b"".join(cv2.imencode(".jpg", grey(10 * i, size))[1].tobytes() for i, size in enumerate(sizes))
    (tmp_path / "joined.mjpeg").write_bytes(data)
    levels, _, images, notes = read(tmp_path / "joined.mjpeg")
    assert levels == list(range(7))
    assert [image.shape[1::-1] for image in images] == sizes
    assert (
        f"{tmp_path}/joined.mjpeg: the image's size changes, from 64x48 to 32x80 at frame 3; every image "
        f"keeps its shape" in notes
    )


@pytest.mark.parametrize("degrees", [0, 90, 180, 270])
def test_a_turned_video_is_upright_as_opencv_has_it(tmp_path: Path, degrees: int):
    path = film(tmp_path / "phone.mp4", (0, 0.1, 0.2), "mpeg4", square, turned=degrees)
    theirs = cv2.VideoCapture(str(path)).read()[1]
    ours = read(path)[2][0]
    assert ours.shape == theirs.shape == ((64, 48, 3) if degrees in (90, 270) else (48, 64, 3))
    assert np.abs(ours.astype(int) - theirs).max() <= 8


PLAYLIST = "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n{0}\n#EXT-X-ENDLIST\n"
SCRIPT = "ffconcat version 1.0\nfile '{0}'\n"


@pytest.mark.parametrize("text", [PLAYLIST, SCRIPT])
@pytest.mark.parametrize("name", ["list.m3u8", "list.mp4", "list.ffconcat"])
def test_a_playlist_does_not_open_other_files(tmp_path: Path, text: str, name: str):
    secret = film(tmp_path / "secret.ts", [i / 10 for i in range(10)], "mpeg4")
    (tmp_path / name).write_text(text.format(secret))
    with pytest.raises(OSError, match=r"list\..*: is not a readable video.*playlists are not followed"):
        read(tmp_path / name)


def test_a_file_that_is_not_a_video_is_named(tmp_path: Path):
    whole = film(tmp_path / "a.mp4", (0, 0.1, 0.2)).read_bytes()
    for content in (b"", b"words", bytes(range(256)) * 64, whole[:600]):
        (tmp_path / "bad.mp4").write_bytes(content)
        with pytest.raises(OSError, match=r"bad\.mp4: (is not a readable video|holds no)"):
            read(tmp_path / "bad.mp4")
    with av.open(str(tmp_path / "sound.mkv"), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=8000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 800), np.int16), format="s16", layout="mono")
        frame.sample_rate = 8000
        container.mux(stream.encode(frame))
    with pytest.raises(OSError, match=r"sound\.mkv: holds no video"):
        read(tmp_path / "sound.mkv")


def test_a_file_name_is_never_read_as_a_url(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    film(tmp_path / "made.mkv", (0, 0.1)).rename(tmp_path / "concat:a%d.mkv")
    assert read(Path("concat:a%d.mkv"))[0] == [0, 1]


@pytest.mark.shared
@pytest.mark.parametrize(
    ("name", "count", "last", "shapes", "note"),
    [
        ("01/vfr.mkv", 60, 2.385, {(120, 160)}, ""),
        ("01/vfr.webm", 60, 2.385, {(120, 160)}, ""),
        ("01/slides.mkv", 21, 15.37, {(120, 160)}, ""),
        ("03/hurt.mp4", 82, 2.967, {(120, 160)}, "8 of 90 frames are damaged"),
        ("04/raw.h264", 30, 29 / 25, {(120, 160)}, "has no timestamps"),
        ("06/sar.mp4", 20, 0.633, {(120, 320)}, "scaled to 320x120"),
        ("07/joined.ts", 40, 1.233, {(120, 160), (160, 120)}, "at frame 20"),
    ],
)
def test_inputs_of_public_reports(shared: Path, name: str, count: int, last: float, shapes: set, note: str):
    _, seconds, images, notes = read(shared / "cases" / "public" / name)
    assert len(images) == count
    assert {image.shape[:2] for image in images} == shapes
    assert abs(seconds[-1] - last) < (0.1 if name == "07/joined.ts" else 1e-3)
    assert [note in told for told in notes] == ([True] if note else [])


# What is written.


def record(path: Path, images: Sequence[np.ndarray], times: Sequence[float]) -> list[str]:
    notes: list[str] = []
    recording = Recording(path, notes.append)
    for image, seconds in zip(images, times, strict=True):
        recording.write(image, seconds)
    recording.finish()
    return notes


def test_a_recording_keeps_images_and_times(tmp_path: Path):
    times = (*SLIDES, 60 + 1001 / 24000, 60 + 2 * 1001 / 30000)
    assert record(tmp_path / "new" / "a.mp4", [grey(20 * i) for i in range(10)], times) == []
    _, seconds, images, notes = read(tmp_path / "new" / "a.mp4")
    np.testing.assert_allclose(seconds, times, atol=1 / 60000)
    np.testing.assert_allclose([p.mean() for p in images], [20 * i for i in range(10)], atol=6)
    assert notes == []
    assert [p.name for p in (tmp_path / "new").iterdir()] == ["a.mp4"]
    capture = cv2.VideoCapture(str(tmp_path / "new" / "a.mp4"))  # others read it, too
    assert sum(capture.read()[0] for _ in range(20)) == 10


def test_a_fast_clip_keeps_all_its_frames(tmp_path: Path):
    record(tmp_path / "fast.mp4", [grey(6 * i) for i in range(40)], [i / 2000 for i in range(40)])
    np.testing.assert_allclose(read(tmp_path / "fast.mp4")[1], np.arange(40) / 2000, atol=1e-6)


def test_sides_are_even_and_other_sizes_are_fitted(tmp_path: Path):
    # 99x63 is 98x62; of 50x100, fitted by its height, 31 columns are left in the middle.
    notes = record(
        tmp_path / "a.mp4", [grey(200, (99, 63)), grey(200, (50, 100)), grey(200, (98, 62))], (0, 1, 2)
    )
    _, _, images, _ = read(tmp_path / "a.mp4")
    assert {image.shape for image in images} == {(62, 98, 3)}
    assert abs((images[1][31, :, 1] > 100).sum() - 31) <= 2
    assert images[1][31, 49].min() > 180
    assert images[2].mean() > 190
    assert notes == [f"{tmp_path}/a.mp4: has 98x62 pixels, and images of another size are fitted into it"]


def test_hours_without_a_frame_are_shortened(tmp_path: Path):
    """A clock that leaps is most often wrong; the poses have its times all the same."""
    notes = record(
        tmp_path / "a.mp4", [grey(20 * i) for i in range(6)], (0, 1, 9e8, 9e8 + 1, 4e12, 4e12 + 2048)
    )
    np.testing.assert_allclose(read(tmp_path / "a.mp4")[1], (0, 1, 3601, 3602, 7202, 7202 + 2048), atol=0.1)
    assert notes == [f"{tmp_path}/a.mp4: shows an image for 3600 s at most, and not until 9e+08 s"]


def test_nothing_written_leaves_nothing(tmp_path: Path):
    Recording(tmp_path / "new" / "a.mp4").finish()
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def small_disk() -> Iterator[int]:
    """No file can be larger than 8192 bytes, which stands for a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (8192, before[1]))
    try:
        yield 8192
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize(
    "count", [1, 3, 60]
)  # a file that fails in its end, and one that does while it is written
def test_a_full_disk_is_an_error_and_the_earlier_file_stays(tmp_path: Path, small_disk: int, count: int):
    random = np.random.default_rng(0)
    noise = [random.integers(0, 256, (240, 320, 3), np.uint8) for _ in range(count)]
    (tmp_path / "a.mp4").write_bytes(b"a good film")
    with pytest.raises(
        OSError,
        match=r"^[^()]*a\.mp4: could not be written \(File too large\); an earlier file is unchanged$",
    ):
        record(tmp_path / "a.mp4", noise, [i / 30 for i in range(count)])
    assert (tmp_path / "a.mp4").read_bytes() == b"a good film"
    assert [p.name for p in tmp_path.iterdir()] == ["a.mp4"]


def test_missing_frames_are_an_error(tmp_path: Path):
    (tmp_path / "a.mp4").write_bytes(b"a good film")
    recording = Recording(tmp_path / "a.mp4")
    for i in range(5):
        recording.write(grey(i), i / 10)
    recording._count += 1  # as if one had been swallowed
    with pytest.raises(OSError, match=r"a\.mp4: could not be written \(5 of 6 frames arrived\)"):
        recording.finish()
    assert (tmp_path / "a.mp4").read_bytes() == b"a good film"
    assert [p.name for p in tmp_path.iterdir()] == ["a.mp4"]


def test_a_size_that_mp4_cannot_have_is_an_error(tmp_path: Path):
    with pytest.raises(OSError, match=r"a\.mp4: could not be written \(at 20000x2 pixels"):
        record(tmp_path / "a.mp4", [grey(0, (20000, 2))], (0,))
    assert list(tmp_path.iterdir()) == []


def test_reading_continues_after_an_unreadable_place():
    """Stands in for a file: a failure between packets, failures at the end, and what PyAV says at the end of
    a file in which streams appeared that were not there at its start.
    """
    packet = SimpleNamespace(pts=3, duration=1, time_base=Fraction(1, 10), stream_index=0, size=9)
    other, empty = (
        SimpleNamespace(**{**vars(packet), "stream_index": 1, "pts": 8}),
        SimpleNamespace(**{**vars(packet), "size": 0}),
    )
    failure = av.error.InvalidDataError(1, "invalid")
    for ends, lost, cut in (
        ([], 1, False),
        ([failure] * 3, 1, True),
        ([IndexError()], 1, False),
        ([failure] * PATIENCE, 1, True),
    ):
        script = iter([packet, other, empty, failure, packet, packet, *ends])

        def demux(script: Iterator = script) -> Iterator:
            for one in script:
                if isinstance(one, Exception):
                    raise one
                yield one

        state = _Read()
        assert len(list(_packets(SimpleNamespace(demux=demux), SimpleNamespace(index=0), state))) == 3
        assert (state.lost, state.cut) == (lost, cut)
        assert state.end == pytest.approx(0.9)


def test_whatever_is_in_a_file_is_read_or_refused_with_its_name(tmp_path: Path):
    """Films with bytes changed, cut out or put in: no other error, times that grow, and every note names the
    file.
    """
    random = np.random.default_rng(0)
    forms = (("avi", "mjpeg"), ("mkv", "mjpeg"), ("mp4", "mpeg4"), ("ts", "mpeg4"))
    whole = [film(tmp_path / f"a.{form}", [i / 30 for i in range(12)], codec) for form, codec in forms]
    counts = {True: 0, False: 0}
    for _ in range(240):
        good = whole[random.integers(len(whole))]
        data = bytearray(good.read_bytes())
        for place in random.integers(0, len(data), random.choice([1, 4, 40])):
            data[place] = random.integers(256)
        start, length = random.integers(0, len(data)), random.choice([0, 0, 0, 100, 100000])
        data[start : start + length] = random.bytes(random.choice([0, 0, 50, 3000]))
        path = tmp_path / f"bad{good.suffix}"
        path.write_bytes(data)
        told: list[str] = []
        try:
            seconds = [time for _, time, _ in frames(path, told.append)]
        except OSError as error:
            seconds = []
            told.append(str(error))
        assert (np.diff(seconds) > 0).all()
        assert all(line.startswith(f"{path}: ") for line in told)
        counts[bool(seconds)] += 1
    assert min(counts.values()) > 20


def test_ctrl_c_in_the_middle_of_a_frame_comes_behind_it(tmp_path, monkeypatch):
    """The signal comes while the encoder works: the frame is whole, and so is the video."""
    recording = Recording(tmp_path / "a.mp4")
    recording.write(np.zeros((64, 64, 3), np.uint8), 0.0)
    put = recording._put

    def stopped(frame):
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(0.01)
        put(frame)

    monkeypatch.setattr(recording, "_put", stopped)
    with pytest.raises(KeyboardInterrupt):
        recording.write(np.zeros((64, 64, 3), np.uint8), 0.1)
    monkeypatch.setattr(recording, "_put", put)
    recording.finish()
    assert len(list(frames(tmp_path / "a.mp4"))) == 2
