"""Files and folders that are there whole or not at all."""

from __future__ import annotations

import os
import stat
import struct
import subprocess
import sys
import time
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest

from poseling.files import Draft, keep_apart, new_folder, read_image, write_bytes
from poseling.headers import image_size


def test_bytes(tmp_path):
    write_bytes(tmp_path / "new" / "a", b"one")
    write_bytes(tmp_path / "new" / "a", b"two")
    assert (tmp_path / "new" / "a").read_bytes() == b"two"
    assert [p.name for p in (tmp_path / "new").iterdir()] == ["a"]


def test_rights_are_those_of_any_new_file(tmp_path):
    write_bytes(tmp_path / "a", b"")
    (tmp_path / "b").write_bytes(b"")
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == stat.S_IMODE((tmp_path / "b").stat().st_mode)


def test_a_full_disk_leaves_the_old_file_and_names_it(tmp_path, monkeypatch):
    (tmp_path / "a").write_bytes(b"old")

    def full(handle):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match=r"a: could not be written \(No space left on device\)") as error:
        write_bytes(tmp_path / "a", b"new")
    assert error.value.errno == 28
    assert (tmp_path / "a").read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["a"]


def test_folder_appears_when_it_is_complete(tmp_path):
    with new_folder(tmp_path / "in" / "set") as folder:
        (folder / "a").write_text("one")
        assert not (tmp_path / "in" / "set").exists()
    assert (tmp_path / "in" / "set" / "a").read_text() == "one"
    assert [p.name for p in (tmp_path / "in").iterdir()] == ["set"]


def test_folder_vanishes_when_the_block_fails(tmp_path):
    with pytest.raises(FileNotFoundError), new_folder(tmp_path / "set") as folder:
        (folder / "none" / "a").write_text("one")
    assert list(tmp_path.iterdir()) == []


def test_the_first_of_two_folders_stays(tmp_path):
    with new_folder(tmp_path / "set") as folder:
        (folder / "a").write_text("late")
        (tmp_path / "set").mkdir()
        (tmp_path / "set" / "a").write_text("early")
    assert (tmp_path / "set" / "a").read_text() == "early"
    assert [p.name for p in tmp_path.iterdir()] == ["set"]


def test_a_place_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match=r"file: cannot be written to"), new_folder(tmp_path / "file" / "set"):
        pass


def test_an_image_that_claims_to_be_too_large_is_named(tmp_path):
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 40_000, 40_000, 8, 2, 0, 0, 0))
    (tmp_path / "a.png").write_bytes(
        b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")
    )
    with pytest.raises(
        OSError,
        match=r"a\.png: is 40000 x 40000 pixels; it claims 9156 MB and may have 1024; set POSELING_LIMIT_MB",
    ):
        read_image(tmp_path / "a.png")


def test_a_draft_that_is_dropped_leaves_what_was_there(tmp_path):
    (tmp_path / "a").write_bytes(b"old")
    draft = Draft(tmp_path / "a")
    draft.write(b"new")
    assert (tmp_path / "a").read_bytes() == b"old"
    draft.drop()
    draft.keep()  # too late
    assert (tmp_path / "a").read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["a"]
    for data in (b"one", b"two"):  # two at once are two
        first, second = Draft(tmp_path / "a"), Draft(tmp_path / "a")
        first.write(data)
        second.write(b"late")
        second.keep()
        first.keep()
        assert (tmp_path / "a").read_bytes() == data


def test_a_draft_that_need_not_last_does_not_wait_for_the_disk(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "fsync", lambda handle: pytest.fail("waited"))
    draft = Draft(tmp_path / "a", durable=False)
    draft.write(b"new")
    draft.keep()
    assert (tmp_path / "a").read_bytes() == b"new"


def test_no_link_is_written_through(tmp_path, monkeypatch):
    """A link under the hidden name is not written through."""
    (tmp_path / "precious").write_bytes(b"precious")
    monkeypatch.setattr("poseling.files.uuid.uuid4", lambda: type("Known", (), {"hex": "0123456789abcdef"}))
    (tmp_path / ".poseling-0123456789ab.tmp").symlink_to(tmp_path / "precious")
    with pytest.raises(OSError, match=r"a: could not be written \(File exists\)"):
        write_bytes(tmp_path / "a", b"new")
    monkeypatch.undo()
    (tmp_path / "a").symlink_to(tmp_path / "precious")
    write_bytes(tmp_path / "a", b"new")  # a link under the name itself is replaced, and what it names is not
    assert (tmp_path / "precious").read_bytes() == b"precious"
    assert (tmp_path / "a").read_bytes() == b"new"


def test_a_long_name_can_be_written(tmp_path):
    write_bytes(tmp_path / ("a" * 255), b"new")
    assert (tmp_path / ("a" * 255)).read_bytes() == b"new"


KILLED = """
import os, sys
from pathlib import Path
from poseling.files import Draft, new_folder
draft = Draft(Path(sys.argv[1]) / "a")
draft.write(b"half")
draft.file.flush()
with new_folder(Path(sys.argv[1]) / "set") as folder:
    (folder / "one").write_text("half")
    os.kill(os.getpid(), 9)
"""


def test_what_killed_writers_leave_is_taken_away_a_day_later(tmp_path):
    subprocess.run([sys.executable, "-c", KILLED, str(tmp_path)], check=False)
    left = list(tmp_path.iterdir())
    assert len(left) == 2
    others = [
        ".a.0123456789ab",
        ".poseling-frames",
        "poseling-0123456789ab.tmp",
        ".poseling-0123456789ab.tmp.gz",
    ]
    for name in others:
        (tmp_path / name).write_text("not ours")
        os.utime(tmp_path / name, (0, 0))
    write_in = "from pathlib import Path; from poseling.files import write_bytes; write_bytes(Path({!r}), b'')".format(
        str(tmp_path / "b")
    )
    subprocess.run([sys.executable, "-c", write_in], check=True)
    assert set(left) < set(tmp_path.iterdir())  # somebody may be writing them
    yesterday = time.time() - 90000
    for path in left:
        os.utime(path, (yesterday, yesterday))
    subprocess.run([sys.executable, "-c", write_in], check=True)
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted([*others, "b"])


def test_inputs_and_outputs_are_kept_apart(tmp_path):
    for name in ("in", "other"):
        (tmp_path / name).write_text(name)
    (tmp_path / "link").symlink_to(tmp_path / "in")
    (tmp_path / "hard").hardlink_to(tmp_path / "in")
    (tmp_path / "circle").symlink_to(tmp_path / "circle")
    read = {"the model itself": [tmp_path / "other"], "the source itself": [tmp_path / "in"]}
    keep_apart({"--out": tmp_path / "new", "--json": None, "--page": tmp_path / "circle"}, read)
    for same in ("in", "link", "hard", "../" + tmp_path.name + "/in"):
        with pytest.raises(
            ValueError, match=r"--out .* is the source itself and would be replaced; give another name"
        ):
            keep_apart({"--out": tmp_path / same}, read)
    with pytest.raises(ValueError, match=r"--json .* is what --out writes and would be replaced"):
        keep_apart({"--out": tmp_path / "new", "--json": tmp_path / "." / "new"}, read)


def jpeg(progressive: int = 0) -> bytes:
    noise = np.random.default_rng(0).integers(0, 256, (40, 56, 3), np.uint8)
    options = [cv2.IMWRITE_JPEG_PROGRESSIVE, progressive, cv2.IMWRITE_JPEG_RST_INTERVAL, 2]
    return cv2.imencode(".jpg", noise, options)[1].tobytes()


@pytest.mark.parametrize("progressive", [0, 1])
@pytest.mark.parametrize(
    "behind", [b"\0" * 9000, b"\0\0\0\x18ftypmp42" + bytes(range(256)) * 40, b"\xff" * 5000, b"\xff\xd8\xff"]
)
def test_data_behind_a_jpeg_is_ignored(tmp_path: Path, progressive: int, behind: bytes):
    whole = jpeg(progressive)
    (tmp_path / "a.jpg").write_bytes(whole + behind)
    np.testing.assert_array_equal(
        read_image(tmp_path / "a.jpg", bgr=True), cv2.imdecode(np.frombuffer(whole, np.uint8), 1)
    )


@pytest.mark.parametrize("progressive", [0, 1])
def test_a_jpeg_that_is_cut_is_refused_wherever_it_is(tmp_path: Path, progressive: int):
    """Also with another image's end in its head, as of a thumbnail, and with an end behind what is missing
    filled up with zeros.
    """
    whole = jpeg(progressive)
    thumbnail = b"\xff\xe1" + (len(whole) + 2).to_bytes(2, "big") + whole
    headed = whole[:2] + thumbnail + whole[2:]
    (tmp_path / "a.jpg").write_bytes(headed)
    assert read_image(tmp_path / "a.jpg").shape == (40, 56, 3)
    for length in range(len(thumbnail) + 2, len(headed), 97):
        (tmp_path / "a.jpg").write_bytes(headed[:length] + b"\0" * 500)
        with pytest.raises(OSError, match=r"a\.jpg: is not a whole image"):
            read_image(tmp_path / "a.jpg")
    (tmp_path / "a.jpg").write_bytes(headed[:-1])
    with pytest.raises(OSError, match=r"a\.jpg: is not a whole image"):
        read_image(tmp_path / "a.jpg")


@pytest.mark.shared
@pytest.mark.parametrize("name", ["motion_photo.jpg", "zeros_after.jpg"])
def test_images_of_public_reports(shared: Path, name: str):
    from PIL import Image

    path = shared / "cases" / "public" / "10" / name
    with Image.open(path) as image:
        np.testing.assert_array_equal(read_image(path), np.asarray(image.convert("RGB")))


@pytest.mark.parametrize(
    ("suffix", "options"),
    [
        (".jpg", []),
        (".jpg", [cv2.IMWRITE_JPEG_PROGRESSIVE, 1]),
        (".png", []),
        (".webp", [cv2.IMWRITE_WEBP_QUALITY, 80]),
        (".webp", [cv2.IMWRITE_WEBP_QUALITY, 101]),  # without loss, which has another header
        (".bmp", []),
    ],
)
def test_the_size_is_in_the_header(suffix, options):
    data = cv2.imencode(suffix, np.zeros((37, 61, 3), np.uint8), options)[1].tobytes()
    assert image_size(data) == (61, 37)
    for end in range(12):
        assert image_size(data[:end]) is None


def test_a_small_file_may_not_take_gigabytes(tmp_path, monkeypatch):
    data = bytearray(cv2.imencode(".jpg", np.zeros((16, 16, 3), np.uint8))[1].tobytes())
    at = data.index(b"\xff\xc0") + 5
    data[at : at + 4] = struct.pack(">HH", 30_000, 30_000)
    (tmp_path / "a.jpg").write_bytes(data)
    with pytest.raises(
        OSError,
        match=r"a\.jpg: is 30000 x 30000 pixels; it claims 5150 MB and may have 1024; set POSELING_LIMIT_MB higher",
    ):
        read_image(tmp_path / "a.jpg")
    cv2.imwrite(str(tmp_path / "b.png"), np.zeros((500, 400, 3), np.uint8))  # 1.2 MB
    monkeypatch.setenv("POSELING_LIMIT_MB", "1")
    with pytest.raises(OSError, match=r"b\.png: is 400 x 500 pixels; it claims 2 MB"):
        read_image(tmp_path / "b.png")
    monkeypatch.setenv("POSELING_LIMIT_MB", "2")
    assert read_image(tmp_path / "b.png").shape == (500, 400, 3)
    monkeypatch.setenv("POSELING_LIMIT_MB", "much")
    with pytest.raises(ValueError, match="POSELING_LIMIT_MB is 'much'"):
        read_image(tmp_path / "b.png")


def test_a_jpeg_whose_size_comes_late_and_after_odd_bytes(tmp_path):
    """Two megabytes of other segments, such as colour profiles and previews, come before the size; decoders
    skip what is between two segments.
    """
    data = cv2.imencode(".jpg", np.full((37, 61, 3), 90, np.uint8))[1].tobytes()
    segment = b"\xff\xe2" + struct.pack(">H", 65_000) + bytes(64_998)
    (tmp_path / "a.jpg").write_bytes(data[:2] + segment * 33 + b"\x00\x01" + data[2:])
    assert read_image(tmp_path / "a.jpg").shape == (37, 61, 3)
