"""JSON of strangers, and dataclasses made of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

import pytest

from poseling.records import from_fields, parse_json, read_json


@dataclass(frozen=True)
class Inner:
    place: tuple[int, int]


@dataclass(frozen=True)
class Outer:
    name: str
    count: int
    share: float
    good: bool = True
    way: Literal["up", "down"] = "up"
    inner: Inner | None = None
    many: tuple[float, ...] = ()
    words: dict[str, str] = field(default_factory=dict)
    width: float | tuple[float, float] | None = None
    anything: dict[str, Any] = field(default_factory=dict)


PLAIN = {"name": "a", "count": 3, "share": 0.5}


def test_fields_get_their_annotated_types():
    given = PLAIN | {
        "share": 1,
        "count": 3.0,
        "way": "down",
        "inner": {"place": [1, 2]},
        "many": [1, 2.5],
        "width": [1, 2],
        "anything": {"a": [None]},
    }
    made = from_fields(Outer, given)
    assert made == Outer("a", 3, 1, True, "down", Inner((1, 2)), (1, 2.5), {}, (1, 2), {"a": [None]})
    assert isinstance(made.count, int)
    assert from_fields(Outer, PLAIN | {"inner": None, "width": 2.5}) == Outer("a", 3, 0.5, width=2.5)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"name": 3}, "name is 3, expected text"),
        ({"name": None}, "name is None"),
        ({"count": 1.5}, "count is 1.5, expected a whole number"),
        ({"count": True}, "count is True"),
        ({"count": 2**70}, "count is 1180591620717411303424"),
        ({"count": float("inf")}, "count is inf"),
        ({"share": float("nan")}, "share is nan, expected a finite number"),
        ({"share": 10**400}, "share is 1000.*expected a finite number"),
        ({"share": 10**5000}, "share is a int, expected a finite number"),
        ({"share": "1"}, "share is '1'"),
        ({"good": 1}, "good is 1, expected true or false"),
        ({"way": "left"}, "way 'left' is unknown; use up or down"),
        ({"way": []}, r"way \[\] is unknown"),
        ({"inner": 3}, "inner is 3, expected fields by name"),
        ({"inner": {"place": [1]}}, r"inner: place is \[1\], expected a list of 2"),
        ({"inner": {"place": [1, "x"]}}, r"inner: place\[1\] is 'x', expected a whole number"),
        ({"inner": {}}, "inner: it lacks 'place'"),
        ({"many": {}}, r"many is \{\}, expected a list"),
        ({"words": {"a": 1}}, r"words\['a'\] is 1, expected text"),
        ({"words": []}, r"words is \[\], expected values by name"),
        ({"taste": 1}, "there is no field 'taste'; there are name, count"),
    ],
)
def test_fields_that_are_not_so(change, message):
    with pytest.raises(ValueError, match=message):
        from_fields(Outer, PLAIN | change)


@pytest.mark.parametrize("given", [None, [], "x", 3])
def test_bad_records_are_refused(given):
    with pytest.raises(ValueError, match=r"thing is .*, expected fields by name"):
        from_fields(Outer, given, "thing")


@pytest.mark.parametrize(
    "text", [b"", b"{", b"\xff\xfe[]", b"1" * 5000, b"[" * 100_000, b'{"a":' * 100_000, b"\x00", b"nul"]
)
def test_bad_json_names_the_file(tmp_path, text):
    (tmp_path / "a.json").write_bytes(text)
    with pytest.raises(ValueError, match=r"a\.json: is no (whole )?JSON"):
        read_json(tmp_path / "a.json")
    with pytest.raises(ValueError, match=r"is no (whole )?JSON"):
        parse_json(text)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"a\.json: not found"):
        read_json(tmp_path / "a.json")
