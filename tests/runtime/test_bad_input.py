"""`poseling track` with what nobody should give it: one line that names the file or the flag, nothing written,
and nothing lost that was there.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from poseling.cli import main
from poseling.files import read_image

SIZE = (32, 24)


def lights() -> np.ndarray:
    """(24, 32, 3) BGR, dark, with the brightest red pixel at (3, 5) and the brightest blue one at (30, 20)."""
    image = np.zeros((SIZE[1], SIZE[0], 3), np.uint8)
    image[5, 3] = 0, 0, 255
    image[20, 30] = 255, 0, 0
    return image


def sound(path: Path) -> None:
    """A Matroska file without a video."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=8000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 800), np.int16), format="s16", layout="mono")
        frame.sample_rate = 8000
        container.mux(stream.encode(frame))


def nothing(path: Path) -> None:
    """An MP4 file that ends before its first frame."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=30)
        stream.width, stream.height, stream.pix_fmt = *SIZE, "yuv420p"


@pytest.mark.parametrize(
    ("name", "make", "flags", "why"),
    [
        ("empty.mp4", lambda path: path.write_bytes(b""), [], "empty.mp4: is not a readable video"),
        ("empty.jpg", lambda path: path.write_bytes(b""), [], "empty.jpg: "),
        ("folder", lambda path: path.mkdir(), [], "folder: holds no image"),
        ("sound.mkv", sound, [], "sound.mkv: holds no video"),
        ("nothing.mp4", nothing, [], "nothing.mp4: "),
        ("absent.mp4", lambda path: None, [], "absent.mp4: there is no such"),
        (
            "a.png",
            lambda path: cv2.imwrite(str(path), lights()),
            ["--box", "5", "5", "5", "9"],
            "has no area",
        ),
        (
            "a.png",
            lambda path: cv2.imwrite(str(path), lights()),
            ["--box", "5", "5", "nan", "9"],
            "has no area",
        ),
    ],
)
def test_it_is_told_and_nothing_is_lost(
    tmp_path: Path,
    model: Path,
    capsys: pytest.CaptureFixture[str],
    name: str,
    make: Callable[[Path], object],
    flags: list[str],
    why: str,
):
    make(tmp_path / name)
    earlier = tmp_path / "poses.json"
    earlier.write_text("kept\n")
    out = tmp_path / "drawn"
    with pytest.raises(SystemExit) as ended:
        main(
            [
                "track",
                str(tmp_path / name),
                "--model",
                str(model),
                "--out",
                str(out),
                "--json",
                str(earlier),
                *flags,
            ]
        )
    told = capsys.readouterr().err.strip()
    assert ended.value.code
    assert why in told
    assert "Traceback" not in told
    assert len(told.splitlines()) == 1
    assert earlier.read_text() == "kept\n"
    assert not out.exists()
    assert not [left for left in tmp_path.iterdir() if left.name not in (name, earlier.name, model.name)]


@pytest.mark.parametrize("content", [b"", b"no network", None])
def test_a_network_that_is_none_is_told(
    tmp_path: Path, model: Path, capsys: pytest.CaptureFixture[str], content: bytes | None
):
    """Empty, words, and cut in the middle."""
    cv2.imwrite(str(tmp_path / "a.png"), lights())
    bad = tmp_path / "bad.onnx"
    bad.write_bytes(model.read_bytes()[:400] if content is None else content)
    with pytest.raises(SystemExit):
        main(["track", str(tmp_path / "a.png"), "--model", str(bad), "--out", str(tmp_path / "drawn")])
    assert "bad.onnx: is cut short or no ONNX file" in capsys.readouterr().err
    assert not (tmp_path / "drawn").exists()


@pytest.mark.parametrize("kind", ["alpha", "deep", "deep alpha"])
def test_four_channels_and_sixteen_bits_are_read_as_what_they_show(
    tmp_path: Path, model: Path, capsys: pytest.CaptureFixture[str], kind: str
):
    image = lights()
    if "alpha" in kind:
        image = np.dstack([image, np.full(image.shape[:2], 255, np.uint8)])
    if "deep" in kind:
        image = image.astype(np.uint16) * 257  # 255 becomes 65535
    path = tmp_path / "a.png"
    cv2.imwrite(str(path), image)
    np.testing.assert_array_equal(read_image(path, bgr=True), lights())
    main(
        [
            "track",
            str(path),
            "--model",
            str(model),
            "--box",
            "0",
            "0",
            "31",
            "23",
            "--json",
            str(tmp_path / "a.json"),
        ]
    )
    [row] = [json.loads(line) for line in (tmp_path / "a.json").read_text().splitlines()]
    # The left hand is the brightest red pixel, the right one the brightest blue; the box is shown 1.25 times as large.
    np.testing.assert_allclose(row["xy"][0], [(3, 5), (30, 20)], atol=1)
    capsys.readouterr()


class Unplugged:
    """Stands in for a camera that gives so many pictures and then no more."""

    def __init__(self, pictures: int) -> None:
        self.left = pictures

    def read(self) -> tuple[bool, np.ndarray | None]:
        self.left -= 1
        return (self.left >= 0, lights() if self.left >= 0 else None)

    def release(self) -> None:
        self.left = 0


def test_a_camera_that_is_unplugged_keeps_what_it_saw(
    tmp_path: Path, model: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(cv2, "VideoCapture", lambda number: Unplugged(3))
    main(
        [
            "track",
            "0",
            "--model",
            str(model),
            "--out",
            str(tmp_path / "a.mp4"),
            "--json",
            str(tmp_path / "a.json"),
        ]
    )
    said = "".join(capsys.readouterr())
    assert "camera 0: gives no more pictures" in said
    rows = [json.loads(line) for line in (tmp_path / "a.json").read_text().splitlines()]
    assert 1 <= len(rows) <= 3  # those that came while one was at work are left out
    with av.open(str(tmp_path / "a.mp4")) as film:
        assert len(list(film.decode(video=0))) == len(rows)


def test_a_camera_that_is_not_there_is_told(
    tmp_path: Path, model: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(cv2, "VideoCapture", lambda number: Unplugged(0))
    with pytest.raises(SystemExit):
        main(["track", "0", "--model", str(model), "--json", str(tmp_path / "a.json")])
    assert "camera 0: cannot be opened" in capsys.readouterr().err
    assert [left.name for left in tmp_path.iterdir()] == [model.name]
