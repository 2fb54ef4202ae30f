"""Pickles of numbers: what may be in them comes back, and nothing else gets in."""

from __future__ import annotations

import os
import pickle

import numpy as np
import pytest

from poseling.data.pickled import read_object, read_pickle

CONTENT = {
    ("S1", "54138969"): {
        "R": np.arange(9.0).reshape(3, 3),
        "column": np.arange(3.0).reshape(1, 3).T,  # lies in Fortran's order
        "big": np.arange(4, dtype=">i2"),
        "single": np.float32(1.5),
        "objects": np.array([[{"f": np.ones(2)}, None], ["text", (1, np.zeros(1))]], object),
        "list": [True, b"bytes", "text", 3],
        "nothing": np.zeros((0, 3)),
    }
}


@pytest.mark.parametrize("protocol", range(2, pickle.HIGHEST_PROTOCOL + 1))
def test_numbers_come_back(tmp_path, protocol):
    (tmp_path / "a.pkl").write_bytes(pickle.dumps(CONTENT, protocol=protocol))
    read = read_pickle(tmp_path / "a.pkl")["S1", "54138969"]
    known = CONTENT["S1", "54138969"]
    for name in ("R", "column", "big", "nothing"):
        assert read[name].dtype == known[name].dtype
        np.testing.assert_array_equal(read[name], known[name])
    assert read["single"] == 1.5
    assert read["list"] == known["list"]
    assert read["objects"].shape == (2, 2)
    assert read["objects"][0, 0]["f"].tolist() == [1, 1]
    assert read["objects"][1, 0] == "text"
    assert read["objects"][1, 1][1].tolist() == [0]


def test_an_object_in_an_npz(tmp_path):
    np.savez(tmp_path / "a.npz", positions=np.array({"S1": {"Eating": np.ones((2, 3))}}, object), numbers=np.zeros(3))
    assert read_object(tmp_path / "a.npz", "positions")["S1"]["Eating"].shape == (2, 3)
    with pytest.raises(ValueError, match=r"a\.npz: .*numbers is an array of float64"):
        read_object(tmp_path / "a.npz", "numbers")
    with pytest.raises(ValueError, match=r"a\.npz: .*other"):
        read_object(tmp_path / "a.npz", "other")
    with pytest.raises(FileNotFoundError, match=r"b\.npz"):
        read_object(tmp_path / "b.npz", "positions")


class Calls:
    """Does something when it is unpickled as usual."""

    def __init__(self, function, *arguments):
        self.what = function, arguments

    def __reduce__(self):
        return self.what


@pytest.mark.parametrize(
    ("evil", "name"),
    [
        (Calls(os.mkdir, "made"), r"posix\.mkdir"),
        (Calls(eval, "1"), r"__builtin__\.eval"),
        (Calls(np.fromfile, "made"), r"numpy\.fromfile"),
        (Calls(np.ndarray, (1,), np.dtype(object), b"12345678"), "TypeError"),  # would be an object at address 0x3837363534333231
        (Calls(np.dtype, [("f", "O")]), "TypeError"),
        (np.zeros(2, [("f", "f4")]), "V4"),
        (np.array(["a"]), "U1"),
    ],
)
def test_anything_else_is_refused(tmp_path, monkeypatch, evil, name):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.pkl").write_bytes(pickle.dumps({"f": evil}, protocol=2))
    with pytest.raises(ValueError, match=rf"a\.pkl: is no whole file of numbers and numpy arrays alone .*{name}"):
        read_pickle(tmp_path / "a.pkl")
    assert not (tmp_path / "made").exists()


@pytest.mark.parametrize("data", [b"", b"no pickle", pickle.dumps(CONTENT)[:-40]])
def test_broken_files_name_the_file(tmp_path, data):
    (tmp_path / "a.pkl").write_bytes(data)
    with pytest.raises(ValueError, match=r"a\.pkl"):
        read_pickle(tmp_path / "a.pkl")
    with pytest.raises(FileNotFoundError, match=r"b\.pkl"):
        read_pickle(tmp_path / "b.pkl")
