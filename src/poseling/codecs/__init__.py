"""How joints become a network's targets, and its outputs joints again: frozen dataclasses with `encode` and `decode`."""

from __future__ import annotations

from typing import Any

from poseling.codecs.heatmap import Heatmap

__all__ = ["CODECS", "Heatmap", "codec"]

CODECS = {"heatmap": Heatmap}


def codec(fields: dict[str, Any]) -> Heatmap:
    """The codec that a PoseSpec records; KeyError if its name is unknown."""
    fields = dict(fields)
    name = fields.pop("name")
    if name not in CODECS:
        raise KeyError(f"codec {name!r} is unknown; there is {', '.join(CODECS)}")
    fields["size"] = tuple(fields["size"])
    return CODECS[name](**fields)
