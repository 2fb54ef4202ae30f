"""MATLAB files: what scipy writes comes back as scipy itself reads it, and what claims more than is there is
refused.
"""

from __future__ import annotations

import struct
import zlib

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy.io import loadmat, savemat

from poseling.data.matlab import read_mat

kinds = st.sampled_from(["f8", "f4", "i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8", "c16"])
arrays = kinds.flatmap(
    lambda kind: hnp.arrays(kind, hnp.array_shapes(min_dims=2, max_dims=4, min_side=0, max_side=4))
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
@given(array=arrays, packed=st.booleans())
def test_numbers_as_scipy_reads_them(tmp_path, array, packed):
    savemat(tmp_path / "a.mat", {"other": "text", "a": array}, do_compression=packed)
    [read] = read_mat(tmp_path / "a.mat", "a")
    np.testing.assert_array_equal(read, loadmat(tmp_path / "a.mat")["a"])
    assert read.shape == array.shape


def same(ours, theirs) -> bool:
    """Whether two trees of structs, cells and values are the same; scipy's structs know their fields."""
    if hasattr(theirs, "_fieldnames"):
        return all(same(getattr(ours, name), getattr(theirs, name)) for name in theirs._fieldnames)
    if isinstance(theirs, np.ndarray) and theirs.dtype == object:
        return ours.shape == theirs.shape and all(
            same(a, b) for a, b in zip(ours.ravel(), theirs.ravel(), strict=True)
        )
    if np.size(theirs) == 0:
        return np.size(ours) == 0 or ours == ""
    return np.array_equal(ours, theirs)


@pytest.mark.parametrize("packed", [False, True])
def test_structs_cells_and_text_as_scipy_reads_them(tmp_path, packed):
    dataset = np.array(
        [({"x": 1.5, "y": np.zeros(0)}, "a"), ({"x": np.arange(3), "y": "left"}, "")],
        [("point", "O"), ("name", "O")],
    )
    cells = np.empty(3, object)
    cells[:] = ["one", np.ones((2, 2)), {"deep": {"deeper": 7}}]
    savemat(
        tmp_path / "a.mat",
        {"people": dataset, "cells": cells, "rows": np.array(["ab", "cd"]), "one": {"a": "\u00e9\u4f60"}},
        do_compression=packed,
    )
    theirs = loadmat(tmp_path / "a.mat", struct_as_record=False, squeeze_me=True)
    names = ("people", "cells", "rows", "one")
    for name, ours in zip(names, read_mat(tmp_path / "a.mat", *names, squeeze=True), strict=True):
        assert same(ours, theirs[name]), name


def element(kind: int, data: bytes) -> bytes:
    return struct.pack("<II", kind, len(data)) + data + b"\0" * (-len(data) % 8)


def matrix(kind: int, shape: tuple[int, ...], *content: bytes, name: bytes = b"a") -> bytes:
    flags = element(6, struct.pack("<II", kind, 0))
    return element(
        14, flags + element(5, struct.pack(f"<{len(shape)}i", *shape)) + element(1, name) + b"".join(content)
    )


def packed(data: bytes) -> bytes:
    body = zlib.compress(data)
    return struct.pack("<II", 15, len(body)) + body


HEADER = b"MATLAB 5.0".ljust(124) + b"\x00\x01IM"


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (matrix(6, (1 << 30, 1 << 30), element(9, bytes(8))), "has 1 numbers"),
        (matrix(6, (-1, 2), element(9, bytes(8))), r"has the shape \[-1, 2\]"),
        (matrix(1, (1 << 20, 1 << 20)), "has 0 bytes"),
        (matrix(2, (1 << 30, 1), element(5, struct.pack("<i", 0)), element(1, b"")), "names of"),
        (matrix(6, (1, 1), element(99, bytes(8))), "an element of kind 99"),
        (matrix(6, (1, 1), struct.pack("<II", 9, 1 << 31)), "an element claims 2147483648 bytes"),
        (matrix(17, (1, 1), element(9, bytes(8))), "an array of kind 17"),
        (matrix(4, (2, 5), element(16, b"abc")), "has 3 characters"),
        (packed(matrix(6, (1, 1), element(9, bytes(8))))[:-6], "cut short"),
        (
            packed(matrix(6, (1, 3 << 17), element(9, bytes(3 << 20)))),
            "it claims 3 MB and may have 2; set POSELING_LIMIT_MB",
        ),
        (matrix(1, (1, 9000), matrix(6, (0, 0), element(9, b"")) * 9000), "it claims 5 MB and may have 2"),
        (b"", "it lacks 'a'"),
    ],
)
def test_what_claims_more_than_is_there(tmp_path, monkeypatch, body, message):
    monkeypatch.setenv("POSELING_LIMIT_MB", "2")
    (tmp_path / "a.mat").write_bytes(HEADER + body)
    with pytest.raises(ValueError, match=rf"a\.mat: is no whole MATLAB file with a \(.*{message}"):
        read_mat(tmp_path / "a.mat", "a")


@pytest.mark.parametrize(
    "data", [b"", b"text" * 50, b"\x89HDF\r\n\x1a\n" + bytes(200), HEADER[:-2] + b"XX" + bytes(90)]
)
def test_other_files(tmp_path, data):
    (tmp_path / "a.mat").write_bytes(data)
    with pytest.raises(ValueError, match=r"a\.mat: is no whole MATLAB file"):
        read_mat(tmp_path / "a.mat", "a")


def test_cells_within_cells_have_an_end(tmp_path):
    inner = matrix(6, (1, 1), element(9, bytes(8)), name=b"")
    for _ in range(3000):
        inner = matrix(1, (1, 1), inner, name=b"")
    (tmp_path / "a.mat").write_bytes(HEADER + matrix(1, (1, 1), inner))
    with pytest.raises(ValueError, match=r"a\.mat: .*recursion"):
        read_mat(tmp_path / "a.mat", "a")


def test_the_file_of_the_other_order_of_bytes(tmp_path):
    flags = struct.pack(">IIII", 6, 8, 6, 0)
    body = (
        flags
        + struct.pack(">IIii", 5, 8, 1, 2)
        + struct.pack(">HH4s", 1, 1, b"a\0\0\0")
        + struct.pack(">II2d", 9, 16, 1.5, -2)
    )
    (tmp_path / "a.mat").write_bytes(
        b"MATLAB 5.0".ljust(124) + b"\x01\x00MI" + struct.pack(">II", 14, len(body)) + body
    )
    assert read_mat(tmp_path / "a.mat", "a")[0].tolist() == [[1.5, -2]]
    np.testing.assert_array_equal(loadmat(tmp_path / "a.mat")["a"], [[1.5, -2]])
