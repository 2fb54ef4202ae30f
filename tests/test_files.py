"""Files and folders that are there whole or not at all."""

from __future__ import annotations

import os
import stat
import struct
import zlib

import cv2
import numpy as np
import pytest

from poseling.files import new_folder, read_picture, write_bytes
from poseling.headers import picture_size


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


def test_a_picture_that_claims_to_be_too_large_is_named(tmp_path):
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 40_000, 40_000, 8, 2, 0, 0, 0))
    (tmp_path / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b""))
    with pytest.raises(OSError, match=r"a\.png: is 40000 x 40000 pixels; it claims 9156 MB and may have 1024; set POSELING_LIMIT_MB"):
        read_picture(tmp_path / "a.png")


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
    assert picture_size(data) == (61, 37)
    for end in range(12):
        assert picture_size(data[:end]) is None


def test_a_small_file_may_not_take_gigabytes(tmp_path, monkeypatch):
    data = bytearray(cv2.imencode(".jpg", np.zeros((16, 16, 3), np.uint8))[1].tobytes())
    at = data.index(b"\xff\xc0") + 5
    data[at : at + 4] = struct.pack(">HH", 30_000, 30_000)
    (tmp_path / "a.jpg").write_bytes(data)
    with pytest.raises(OSError, match=r"a\.jpg: is 30000 x 30000 pixels; it claims 5150 MB and may have 1024; set POSELING_LIMIT_MB higher"):
        read_picture(tmp_path / "a.jpg")
    cv2.imwrite(str(tmp_path / "b.png"), np.zeros((500, 400, 3), np.uint8))  # 1.2 MB
    monkeypatch.setenv("POSELING_LIMIT_MB", "1")
    with pytest.raises(OSError, match=r"b\.png: is 400 x 500 pixels; it claims 2 MB"):
        read_picture(tmp_path / "b.png")
    monkeypatch.setenv("POSELING_LIMIT_MB", "2")
    assert read_picture(tmp_path / "b.png").shape == (500, 400, 3)
    monkeypatch.setenv("POSELING_LIMIT_MB", "much")
    with pytest.raises(ValueError, match="POSELING_LIMIT_MB is 'much'"):
        read_picture(tmp_path / "b.png")


def test_a_jpeg_whose_size_comes_late_and_after_odd_bytes(tmp_path):
    """Two megabytes of other segments, such as colour profiles and previews, come before the size; decoders skip what is between two segments."""
    data = cv2.imencode(".jpg", np.full((37, 61, 3), 90, np.uint8))[1].tobytes()
    segment = b"\xff\xe2" + struct.pack(">H", 65_000) + bytes(64_998)
    (tmp_path / "a.jpg").write_bytes(data[:2] + segment * 33 + b"\x00\x01" + data[2:])
    assert read_picture(tmp_path / "a.jpg").shape == (37, 61, 3)
