"""Arrays of npz files: what is there comes back, and what claims to be there is refused before room is made."""

from __future__ import annotations

import io
import zipfile

import numpy as np
import pytest

from poseling.arrays import numbers, read_npz


def test_arrays_come_back(tmp_path):
    known = {
        "column": np.arange(6.0).reshape(2, 3).T,  # lies in Fortran's order
        "words": np.array(["a", "bc"]),
        "flags": np.array([True, False]),
        "one": np.float32(3),
        "none": np.zeros((0, 4), np.int16),
    }
    for write in (np.savez, np.savez_compressed):
        write(tmp_path / "a.npz", **known)
        read = read_npz(tmp_path / "a.npz")
        assert list(read) == list(known)
        for name, array in known.items():
            np.testing.assert_array_equal(read[name], array)
            assert read[name].dtype == np.asarray(array).dtype
        assert list(read_npz(tmp_path / "a.npz", "one")) == ["one"]


def member(shape: str, kind: str = "<f8", data: bytes = b"") -> bytes:
    header = f"{{'descr': '{kind}', 'fortran_order': False, 'shape': {shape}, }}".ljust(117) + "\n"
    return b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header.encode() + data


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (member("(1000000000000,)"), "claims to be of shape"),
        (member("(-1,)"), "claims to be of shape"),
        (member("(1,)", "|O", bytes(8)), "is of object"),
        (member("(1,)", "<U0"), "is of <U0"),
        (b"short", "ValueError|EOF|magic"),
        (member("(" * 300 + ")" * 300), "header"),
    ],
)
def test_an_array_with_a_false_header_is_refused(tmp_path, data, message):
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr("a.npy", data)
    with pytest.raises(ValueError, match=rf"a\.npz: is no whole npz of a \(.*{message}"):
        read_npz(tmp_path / "a.npz", "a")


def test_files_that_are_no_npz(tmp_path, monkeypatch):
    with pytest.raises(FileNotFoundError, match=r"gone\.npz: not found"):
        read_npz(tmp_path / "gone.npz", "a")
    (tmp_path / "a.npz").write_bytes(b"no zip")
    with pytest.raises(ValueError, match=r"a\.npz: is no whole npz of arrays \(BadZipFile"):
        read_npz(tmp_path / "a.npz")
    np.savez_compressed(tmp_path / "a.npz", a=np.zeros(1 << 18))  # 2 MB in 2 kB
    with pytest.raises(ValueError, match=r"a\.npz: .*it lacks b"):
        read_npz(tmp_path / "a.npz", "a", "b")
    monkeypatch.setenv("POSELING_LIMIT_MB", "1")
    with pytest.raises(
        ValueError, match=r"a\.npz: .*it claims 3 MB and may have 1; set POSELING_LIMIT_MB higher"
    ):
        read_npz(tmp_path / "a.npz", "a")


def test_a_locked_member(tmp_path):
    file = io.BytesIO()
    np.savez(file, a=np.zeros(3))
    data = bytearray(file.getvalue())
    for marker, at in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        data[data.index(marker) + at] |= 1  # says that it is encrypted
    (tmp_path / "a.npz").write_bytes(data)
    with pytest.raises(ValueError, match=r"a\.npz: .*encrypted"):
        read_npz(tmp_path / "a.npz", "a")


def test_numbers_are_numbers():
    assert numbers(np.array([[1, 2]], np.uint8), None, 2).tolist() == [[1.0, 2.0]]
    for array, message in (
        (np.array(["1"]), "of <U1, not of numbers"),
        (np.ones(2, complex), "complex128"),
        (np.ones((2, 3)), r"expected \(N, 2\)"),
    ):
        with pytest.raises(ValueError, match=message):
            numbers(array, None, 2)
