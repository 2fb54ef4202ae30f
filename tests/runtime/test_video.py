from __future__ import annotations

import http.server
import threading
from functools import partial
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from tests.runtime.rtsp_camera import NetworkCamera

from poseling.runtime.video import Writer, expected, frames, images, newest, source_of
from poseling.video import bare, stream

RAMP = range(20, 240, 20)  # the grey of each frame


def grey(level: int, size: tuple[int, int] = (64, 48)) -> np.ndarray:
    return np.full((size[1], size[0], 3), level, np.uint8)


@pytest.fixture
def video(tmp_path: Path) -> Path:
    """Eleven frames at five a second, each of one grey, brighter from frame to frame."""
    path = tmp_path / "ramp.mp4"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), 5, (64, 48))
    for level in RAMP:
        writer.write(grey(level))
    writer.release()
    return path


def test_a_video_gives_all_its_frames_in_order_with_their_times(video: Path):
    found = list(frames(video))
    assert [index for index, _, _ in found] == list(range(11))
    np.testing.assert_allclose([seconds for _, seconds, _ in found], np.arange(11) / 5, atol=1e-6)
    np.testing.assert_allclose([image.mean() for _, _, image in found], RAMP, atol=4)
    assert images(video) == ()


def test_an_image_has_no_time(tmp_path: Path):
    colours = np.random.default_rng(0).integers(0, 256, (7, 9, 3), np.uint8)
    cv2.imwrite(str(tmp_path / "a.png"), colours)
    [(index, seconds, image)] = frames(tmp_path / "a.png")
    assert (index, seconds) == (0, None)
    np.testing.assert_array_equal(image, colours)  # BGR, as OpenCV writes and reads


def test_a_folder_gives_its_images_by_name(tmp_path: Path):
    for name, level in (("b.png", 2), ("a.PNG", 1), ("c.bmp", 3)):
        (tmp_path / name).write_bytes(cv2.imencode(Path(name).suffix.lower(), grey(level))[1].tobytes())
    (tmp_path / "notes.txt").write_text("no image")
    (tmp_path / "folder.png").mkdir()
    assert [image[0, 0, 0] for _, _, image in frames(tmp_path)] == [1, 2, 3]


def test_what_cannot_be_read_is_named(tmp_path: Path):
    with pytest.raises(FileNotFoundError, match="absent: there is no such"):
        next(frames(tmp_path / "absent"))
    with pytest.raises(ValueError, match="holds no image"):
        next(frames(tmp_path))
    whole = cv2.imencode(".jpg", np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8))[
        1
    ].tobytes()
    for content in (
        b"",
        b"words",
        whole[: len(whole) // 2],
        whole[:-2],
    ):  # the last lacks no more than its end marker
        (tmp_path / "bad.jpg").write_bytes(content)
        with pytest.raises(OSError, match=rf"bad\.jpg: is not a whole image \({len(content)} bytes\)"):
            next(frames(tmp_path / "bad.jpg"))


def test_a_jpeg_that_opencv_4_fills_with_grey_is_cut_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    whole = cv2.imencode(".jpg", grey(90))[1].tobytes()
    monkeypatch.setattr(cv2, "imdecode", lambda data, flags: grey(90))
    (tmp_path / "cut.jpg").write_bytes(whole)
    assert len(list(frames(tmp_path / "cut.jpg"))) == 1
    (tmp_path / "cut.jpg").write_bytes(whole[:-2])
    with pytest.raises(OSError, match="is not a whole image"):
        next(frames(tmp_path / "cut.jpg"))


def test_hidden_images_are_none(tmp_path: Path):
    """macOS puts a `._name` beside each file of a foreign disk."""
    cv2.imwrite(str(tmp_path / "a.png"), grey(7))
    (tmp_path / "._a.png").write_bytes(b"\x00\x05\x16\x07\x00\x02\x00\x00Mac OS X")
    assert images(tmp_path) == (tmp_path / "a.png",)
    assert [image[0, 0, 0] for _, _, image in frames(tmp_path)] == [7]


def test_images_that_cannot_be_read_are_left_out_and_counted(tmp_path: Path):
    for i in range(5):
        cv2.imwrite(str(tmp_path / f"{i}.png"), grey(i))
    for bad in (0, 3):
        (tmp_path / f"{bad}.png").write_bytes(b"words")
    notes: list[str] = []
    found = list(frames(tmp_path, notes.append))
    assert [(index, image[0, 0, 0]) for index, _, image in found] == [
        (1, 1),
        (2, 2),
        (4, 4),
    ]  # each under its own place
    [note] = notes
    assert note.startswith(
        f"{tmp_path}: 2 of 5 images cannot be read and were left out; {tmp_path}/0.png: is not a whole"
    )
    for bad in (1, 2, 4):
        (tmp_path / f"{bad}.png").write_bytes(b"words")
    with pytest.raises(OSError, match=r"none of its 5 images can be read; .*0\.png: is not a whole image"):
        next(frames(tmp_path))


@pytest.mark.parametrize("out", ["drawn", "drawn/other.mp4"])
def test_a_video_is_written_as_mp4_at_its_own_times(tmp_path: Path, video: Path, out: str):
    times = np.cumsum(np.arange(11) / 10)
    with Writer(video, tmp_path / out) as writer:
        for index, _, image in frames(video):
            writer.write(index, 255 - image, times[index])
    assert writer.target == tmp_path / ("drawn/ramp.mp4" if out == "drawn" else out)
    back = list(frames(writer.target))
    np.testing.assert_allclose(
        [image.mean() for _, _, image in back], [255 - level for level in RAMP], atol=6
    )
    np.testing.assert_allclose([seconds for _, seconds, _ in back], times, atol=1e-4)
    assert list(writer.target.parent.iterdir()) == [writer.target]


def test_a_video_that_is_broken_off_is_whole_up_to_there(tmp_path: Path, video: Path):
    def stop_after_five() -> None:
        with Writer(video, tmp_path / "drawn") as writer:
            for index, seconds, image in frames(video):
                writer.write(index, image, seconds)
                if index == 4:
                    raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        stop_after_five()
    assert len(list(frames(tmp_path / "drawn" / "ramp.mp4"))) == 5


def test_nothing_written_leaves_nothing(tmp_path: Path, video: Path):
    with Writer(video, tmp_path / "drawn"):
        pass
    assert not (tmp_path / "drawn").exists()


def test_images_keep_their_names(tmp_path: Path):
    source = tmp_path / "in"
    source.mkdir()
    for name, level in (("a.png", 10), ("b.bmp", 20)):
        cv2.imwrite(str(source / name), grey(level))
    for out, where in ((tmp_path / "all", source), (tmp_path / "one", source / "b.bmp")):
        with Writer(where, out) as writer:
            for index, _, image in frames(where):
                writer.write(index, image + 1, None)
        there = {p.name: cv2.imread(str(p))[0, 0, 0] for p in out.iterdir()}
        assert there == ({"a.png": 11, "b.bmp": 21} if where == source else {"b.bmp": 21})
    with Writer(source / "a.png", tmp_path / "as.webp") as writer:
        writer.write(0, grey(99), None)
    assert (tmp_path / "as.webp").is_file()


def test_a_folder_with_one_image_is_still_a_folder(tmp_path: Path):
    (tmp_path / "in").mkdir()
    cv2.imwrite(str(tmp_path / "in" / "a.png"), grey(10))
    with Writer(tmp_path / "in", tmp_path / "out") as writer:
        writer.write(0, grey(11), None)
    assert [p.name for p in (tmp_path / "out").iterdir()] == ["a.png"]


def test_outputs_that_do_not_fit_are_refused(tmp_path: Path, video: Path):
    cv2.imwrite(str(tmp_path / "a.png"), grey(1))
    with pytest.raises(ValueError, match=r"drawn\.png: cannot be written as \.png; use \.mp4"):
        Writer(video, tmp_path / "drawn.png")
    with pytest.raises(ValueError, match=r"drawn\.mp4: cannot be written as \.mp4; use \.jpg"):
        Writer(tmp_path / "a.png", tmp_path / "drawn.mp4")
    with pytest.raises(ValueError, match=r"drawn\.png: is one file, but .* is a folder"):
        Writer(tmp_path, tmp_path / "drawn.png")


def test_the_source_is_never_replaced(tmp_path: Path, video: Path):
    cv2.imwrite(str(tmp_path / "a.png"), grey(1))
    for source, out in (
        (video, video),
        (video, tmp_path),
        (tmp_path / "a.png", tmp_path),
        (tmp_path, tmp_path),
    ):
        with pytest.raises(ValueError, match="is the source itself"):
            Writer(source, out)
    (tmp_path / "link.mp4").symlink_to(video)
    (tmp_path / "hard.mp4").hardlink_to(video)
    for other in ("link.mp4", "hard.mp4"):
        with pytest.raises(ValueError, match="is the source itself"):
            Writer(video, tmp_path / other)


def test_what_a_word_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    assert source_of("1") == 1
    assert source_of("https://a.b/c.mp4?d=1") == "https://a.b/c.mp4?d=1"
    assert source_of("file:///tmp/a%20b.mp4") == Path("/tmp/a b.mp4")
    assert source_of("clips/walk.mp4") == source_of(Path("clips/walk.mp4")) == Path("clips/walk.mp4")
    Path("1").mkdir()
    assert source_of("1") == Path("1")
    with pytest.raises(ValueError, match="gopher://b/c: URLs are file://, rtsp://"):
        source_of("gopher://name:secret@b/c")
    assert bare("rtsp://name:secret@10.0.0.7:554/door") == "rtsp://10.0.0.7:554/door"


class Camera:
    """What cv2.VideoCapture is, with three pictures."""

    left = 3

    def __init__(self, number: int) -> None:
        self.number = number

    def read(self):
        self.left -= self.number == 0
        return (True, grey(40 * self.left)) if self.left >= 0 and self.number == 0 else (False, None)

    def release(self) -> None: ...


def test_a_camera_gives_pictures_until_it_is_unplugged(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(cv2, "VideoCapture", Camera)
    notes: list[str] = []
    found = list(frames(0, notes.append))
    times = [seconds for _, seconds, _ in found]
    assert [index for index, _, _ in found] == list(range(len(found)))
    assert times == sorted(times)
    assert found[-1][2].max() == 0  # the last picture is never left out
    assert notes == ["camera 0: gives no more pictures after frame 2; was it unplugged?"]
    assert expected(0) is None
    with pytest.raises(OSError, match="camera 7: cannot be opened or gives no picture; is it plugged in"):
        next(frames(7))


def test_of_what_comes_meanwhile_only_the_newest_is_given():
    more, read = threading.Event(), threading.Event()

    def sent():
        yield 0, 0.0, grey(0)
        more.wait(5)
        for i in range(1, 6):
            yield i, i / 30, grey(i)
        read.set()
        raise OSError("it broke")

    given = newest(sent())
    assert next(given)[:2] == (0, 0.0)
    more.set()
    assert read.wait(5)
    index, seconds, image = next(given)
    assert (index, seconds, image.max()) == (1, 5 / 30, 5)
    with pytest.raises(OSError, match="it broke"):
        next(given)


@pytest.fixture
def server(tmp_path: Path):
    """An address at which the files of a folder are served."""
    handler = type("Quiet", (http.server.SimpleHTTPRequestHandler,), {"log_message": lambda *_: None})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(handler, directory=tmp_path)) as served:
        threading.Thread(target=served.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{served.server_address[1]}"
        served.shutdown()


def test_a_url_is_read_as_it_comes(tmp_path: Path, server: str):
    with av.open(str(tmp_path / "sent.mkv"), "w") as container:
        stream = container.add_stream("mpeg4", rate=5)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for level in RAMP:
            for packet in stream.encode(av.VideoFrame.from_ndarray(grey(level), format="bgr24")):
                container.mux(packet)
        for packet in stream.encode():
            container.mux(packet)
    found = list(frames(source_of(f"{server}/sent.mkv")))
    np.testing.assert_allclose([seconds for _, seconds, _ in found], np.arange(11) / 5, atol=1e-3)
    np.testing.assert_allclose([image.mean() for _, _, image in found], RAMP, atol=6)


def test_a_file_that_cannot_be_read_as_it_comes_has_a_way_out(tmp_path: Path, server: str):
    """Python's server does not start in the middle of a file, and an .mp4 has its index at the end."""
    with av.open(str(tmp_path / "sent.mp4"), "w") as container:
        stream = container.add_stream("mpeg4", rate=5)
        stream.width, stream.height, stream.pix_fmt = 640, 480, "yuv420p"
        noise = np.random.default_rng(0).integers(0, 256, (480, 640, 3), np.uint8)
        for _ in range(20):
            for packet in stream.encode(av.VideoFrame.from_ndarray(noise, format="bgr24")):
                container.mux(packet)
    with pytest.raises(
        OSError, match=r"sent\.mp4: holds no frame that can be decoded.*; is it a file\? Download"
    ):
        list(frames(source_of(f"{server}/sent.mp4")))


@pytest.mark.parametrize("login", ["", "name:secret"])
def test_a_camera_of_the_network_is_read(login: str):
    """Live, so frames that came while nobody asked are left out; with nobody slow all are there."""
    with NetworkCamera([grey(level) for level in RAMP], login=login) as camera:
        found = list(stream(camera.url))
    assert camera.asked[-1] == "PLAY"
    np.testing.assert_allclose([seconds for _, seconds, _ in found], np.arange(11) / 5, atol=1e-3)
    np.testing.assert_allclose([image.mean() for _, _, image in found], RAMP, atol=6)


def test_of_a_camera_of_the_network_the_newest_frame_is_given():
    with NetworkCamera([grey(level) for level in RAMP]) as camera:
        found = list(frames(source_of(camera.url)))
    assert found[-1][0] == 10  # the last is never left out
    assert [seconds for _, seconds, _ in found] == sorted({seconds for _, seconds, _ in found})


@pytest.mark.parametrize("what", ["nobody", "nothing", "a page", "a playlist"])
def test_a_url_that_sends_no_video_is_one_line(tmp_path: Path, server: str, what: str):
    (tmp_path / "page.html").write_text("<html>no video</html>")
    (tmp_path / "list.m3u8").write_text("#EXTM3U\n#EXTINF:1,\nfile:///etc/passwd\n")
    url = {
        "nobody": "rtsp://name:secret@127.0.0.1:1/door",
        "nothing": f"{server}/absent.mp4",
        "a page": f"{server}/page.html",
        "a playlist": f"{server}/list.m3u8",
    }[what]
    with pytest.raises(OSError, match=f"{bare(url)}: cannot be opened .*; check the address") as told:
        next(frames(source_of(url)))
    assert "secret" not in str(told.value)
    assert "\n" not in str(told.value)


def test_how_many_frames_there_should_be(tmp_path: Path, video: Path):
    assert expected(video) == 11
    assert expected(tmp_path / "absent.mp4") is None
    (tmp_path / "no video.mp4").write_bytes(b"no video")
    assert expected(tmp_path / "no video.mp4") is None
    cv2.imwrite(str(tmp_path / "a.png"), grey(1))
    assert expected(tmp_path) == 1


def test_a_stream_is_drawn_to_a_file_of_its_name(tmp_path: Path):
    assert Writer(0, tmp_path / "drawn").target == tmp_path / "drawn" / "camera-0.mp4"
    assert Writer("rtsp://10.0.0.7/door", tmp_path / "drawn").target == tmp_path / "drawn" / "door.mp4"
