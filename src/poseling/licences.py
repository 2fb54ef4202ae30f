"""Licences in words: of code and weights, and of all data behind them, each named once.

A network's weights come from data, a start and teachers, each of which has the same behind it. Its licences
name every source of that whole tree once, however many trainings lie between.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

UNKNOWN = ("", "unknown")


def merged(*texts: str) -> str:
    """The parts of licences in words, separated by semicolons, each once.

    >>> merged("lsp: research; mine: mine", "lsp: research", "unknown", "by T (code A; weights B)")
    'lsp: research; mine: mine; by T (code A; weights B)'
    >>> merged("unknown")
    'unknown'
    """
    parts = (part for text in texts for part in re.split(r";\s+(?![^()]*\))", text))
    return "; ".join(dict.fromkeys(part for part in parts if part not in UNKNOWN)) or "unknown"


def made_by(name: str, licences: Mapping[str, str]) -> str:
    """A teacher, or a start, with the licences of its code and weights.

    >>> made_by("movenet", {"code": "Apache-2.0", "weights": "Apache-2.0", "data": "unknown"})
    'movenet (code Apache-2.0, weights Apache-2.0)'
    """
    said = ", ".join(f"{what} {licences[what]}" for what in ("code", "weights") if what in licences)
    return f"{name} ({said})" if said else name


def started(name: str, licences: Mapping[str, str]) -> str:
    """The start of a network, as `made_by` has it, with what that one started from.

    >>> started("b", {"weights": "W", "start": "a (weights V)"})
    'b (weights W); a (weights V)'
    """
    return merged(made_by(name, licences), licences.get("start", ""))


def behind(licences: Mapping[str, str]) -> str:
    """All data that a network of these licences learned from; empty if unknown."""
    found = merged(licences.get("data", ""))
    return "" if found in UNKNOWN else found
