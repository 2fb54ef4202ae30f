"""JSON of strangers: read so that whatever is wrong with it is one line, and made into our dataclasses by
what their annotations say.
"""

from __future__ import annotations

import json
import math
import types
from collections.abc import Mapping
from dataclasses import MISSING, fields, is_dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

Record = TypeVar("Record")
WHOLE = 2**53  # the numbers up to which every JSON reader has every whole one


def read_json(path: Path) -> Any:
    """What a JSON file holds; FileNotFoundError, or ValueError that names the file if it is none."""
    try:
        return parse_json(path.read_bytes())
    except FileNotFoundError:
        raise FileNotFoundError(f"{path}: not found") from None
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def parse_json(text: str | bytes) -> Any:
    """The content of a JSON text; ValueError if it is not JSON, or cannot be read."""
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("is no JSON that can be read (lists within lists, too deep)") from None
    except ValueError as error:  # cut short, not UTF-8, or a number of thousands of digits
        raise ValueError(f"is no whole JSON file, it may be cut short ({error})") from error


def from_fields(kind: type[Record], given: object, where: str = "") -> Record:
    """A dataclass of `given`, a dict from JSON, as the annotations of `kind` say: lists become tuples, dicts
    the dataclasses within.

    Numbers have to be finite, whole ones at most 2**53. ValueError that names the field, below `where`, if
    one is missing, unknown or of another type, and whatever `kind` itself raises.
    """
    if not isinstance(given, dict):
        raise ValueError(f"{where or kind.__name__} is {_shown(given)}, expected fields by name")
    known, hints = {f.name: f for f in fields(kind)}, get_type_hints(kind)  # type: ignore[arg-type]
    prefix = f"{where}: " if where else ""
    if strange := [str(name) for name in given if name not in known]:
        raise ValueError(f"{prefix}there is no field {strange[0]!r}; there are {', '.join(known)}")
    needed = (f.name for f in known.values() if f.default is MISSING and f.default_factory is MISSING)
    if missing := [name for name in needed if name not in given]:
        raise ValueError(f"{prefix}it lacks {', '.join(map(repr, missing))}")
    return kind(**{name: _value(hints[name], value, f"{prefix}{name}") for name, value in given.items()})


def _value(hint: Any, value: Any, where: str) -> Any:
    """`value` as `hint` describes it; ValueError that names `where` it differs."""
    origin, inner = get_origin(hint), get_args(hint)
    if hint is Any:
        return value
    if origin in (Union, types.UnionType):
        if value is None and type(None) in inner:
            return None
        several = isinstance(value, list | tuple)
        choices = [one for one in inner if one is not type(None)]
        return _value(
            next((one for one in choices if (get_origin(one) is tuple) == several), choices[0]), value, where
        )
    if origin is Literal:
        if value not in inner or type(value) is not type(inner[inner.index(value)]):
            raise ValueError(f"{where} {value!r} is unknown; use {' or '.join(map(str, inner))}")
        return value
    if origin is tuple:
        many = inner[1:] == (...,)
        if not isinstance(value, list | tuple) or not (many or len(value) == len(inner)):
            raise ValueError(
                f"{where} is {_shown(value)}, expected a list" + ("" if many else f" of {len(inner)}")
            )
        kinds = inner[:1] * len(value) if many else inner
        return tuple(
            _value(one, entry, f"{where}[{i}]")
            for i, (one, entry) in enumerate(zip(kinds, value, strict=True))
        )
    if origin in (dict, Mapping):
        if not isinstance(value, dict):
            raise ValueError(f"{where} is {_shown(value)}, expected values by name")
        return {str(name): _value(inner[1], entry, f"{where}[{name!r}]") for name, entry in value.items()}
    if isinstance(hint, type) and is_dataclass(hint):
        if isinstance(value, hint):
            return value
        own = getattr(hint, "from_dict", None)  # a class with another way to be written, such as by a name
        return from_fields(hint, value, where) if own is None else own(value, where)
    return _plain(hint, value, where)


def _plain(hint: Any, value: Any, where: str) -> Any:
    """A string, a boolean or a number."""
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if hint is int and isinstance(value, float) and value.is_integer():  # as JavaScript writes them
        value = int(value)
    right = {
        bool: isinstance(value, bool),
        str: isinstance(value, str),
        int: number and isinstance(value, int) and abs(value) <= WHOLE,
        float: number and (math.isfinite(value) if isinstance(value, float) else abs(value) <= WHOLE),
    }
    if not right[hint]:
        wanted = {bool: "true or false", str: "text", int: "a whole number", float: "a finite number"}[hint]
        raise ValueError(f"{where} is {_shown(value)}, expected {wanted}")
    return value


def _shown(value: object) -> str:
    """Short enough for one line."""
    try:
        text = repr(value)
    except (ValueError, RecursionError):  # a number of thousands of digits
        return f"a {type(value).__name__}"
    return text if len(text) <= 60 else f"{text[:57]}..."
