"""Pickles of numbers: what may be in them comes back, and nothing else gets in."""

from __future__ import annotations

import os
import pickle

import numpy as np
import pytest

from poseling.pickled import read_object, read_pickle

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
    np.savez(
        tmp_path / "a.npz",
        positions=np.array({"S1": {"Eating": np.ones((2, 3))}}, object),
        numbers=np.zeros(3),
    )
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
        (
            Calls(np.ndarray, (1,), np.dtype(object), b"12345678"),
            "TypeError",
        ),  # would be an object at address 0x3837363534333231
        (Calls(np.dtype, [("f", "O")]), "TypeError"),
        (np.zeros(2, [("f", "f4")]), "V4"),
        (np.array(["a"]), "U1"),
    ],
)
def test_anything_else_is_refused(tmp_path, monkeypatch, evil, name):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.pkl").write_bytes(pickle.dumps({"f": evil}, protocol=2))
    with pytest.raises(
        ValueError, match=rf"a\.pkl: is no whole file of numbers and numpy arrays alone .*{name}"
    ):
        read_pickle(tmp_path / "a.pkl")
    assert not (tmp_path / "made").exists()


@pytest.mark.parametrize("data", [b"", b"no pickle", pickle.dumps(CONTENT)[:-40]])
def test_broken_files_name_the_file(tmp_path, data):
    (tmp_path / "a.pkl").write_bytes(data)
    with pytest.raises(ValueError, match=r"a\.pkl"):
        read_pickle(tmp_path / "a.pkl")
    with pytest.raises(FileNotFoundError, match=r"b\.pkl"):
        read_pickle(tmp_path / "b.pkl")


def doubled(depth: int) -> bytes:
    """A list that holds the list before twice, `depth` times, in protocol 4: 2**depth entries."""
    return (
        b"\x80\x04]\x94"
        + b"".join(b"(h" + bytes([i]) + b"h" + bytes([i]) + b"l\x94" for i in range(depth))
        + b"."
    )


def test_lists_may_be_shared_but_not_without_bound(tmp_path):
    (tmp_path / "a.pkl").write_bytes(doubled(3))
    assert read_pickle(tmp_path / "a.pkl") == [[[[], []]] * 2] * 2
    (tmp_path / "a.pkl").write_bytes(doubled(60))
    with pytest.raises(ValueError, match=r"a\.pkl: .*written out, it claims \d+ MB"):
        read_pickle(tmp_path / "a.pkl")


def test_the_limit_can_be_lifted(tmp_path, monkeypatch):
    (tmp_path / "a.pkl").write_bytes(pickle.dumps({"R": np.zeros(1 << 17)}))
    monkeypatch.setenv("POSELING_LIMIT_MB", "1")
    with pytest.raises(
        ValueError, match=r"a\.pkl: .*it claims 2 MB and may have 1; set POSELING_LIMIT_MB higher"
    ):
        read_pickle(tmp_path / "a.pkl")
    monkeypatch.setenv("POSELING_LIMIT_MB", "2")
    assert read_pickle(tmp_path / "a.pkl")["R"].shape == (1 << 17,)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"\x80\x02]q\x00h\x00a.", "it holds itself"),
        # Tuples of tuples, doubled sixty times, as the key of a dict: its hash would take for ever.
        (
            b"\x80\x04)\x94"
            + b"".join(b"h" + bytes([i]) + b"h" + bytes([i]) + b"\x86\x94" for i in range(60))
            + b"}h\x3cNs.",
            "key of a dict holds",
        ),
        (b"\x80\x05\x96" + (1 << 40).to_bytes(8, "little") + b".", "cut short"),
        (b"\x80\x04\x8f.", "an object or a set"),
    ],
)
def test_a_pickle_that_would_grow_is_refused(tmp_path, data, message):
    (tmp_path / "a.pkl").write_bytes(data)
    with pytest.raises(ValueError, match=rf"a\.pkl: .*{message}"):
        read_pickle(tmp_path / "a.pkl")


def test_a_huge_number_of_an_entry_makes_no_room(tmp_path):
    (tmp_path / "a.pkl").write_bytes(b"\x80\x02Nr\xff\xff\xff\x0f.")  # C's reader would make a table of 2 GB
    assert read_pickle(tmp_path / "a.pkl") is None
