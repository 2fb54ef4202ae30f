"""A network's contract: all that is needed to feed it an image and read its output. It travels inside
every checkpoint and every exported file.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field, fields
from typing import Any

import numpy as np

from poseling.geometry import Size
from poseling.records import from_fields, parse_json
from poseling.skeleton import Skeleton

# the first number grows when a reader of before would go wrong, the second when it merely misses something
VERSION = "1.0"
SIDE = 4096  # pixels, more than any input has
FEATURES = "features"  # the codec of a network that gives a map and no joints
KEY = "poseling"  # the metadata entry of safetensors and ONNX files that holds the spec as JSON
DETECTOR_KEY = "poseling-detector"  # that of a detector's ONNX file, for its runtime.detector.BoxAdapter
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class PoseSpec:
    """What a network takes and what it returns.

    `model` as `models.registry` names it, `graph`, or a module of one's own by its name; `codec` as the
    fields of the codec with its `name`; `size` (W, H) of the input; `padding` of the box around a person;
    pixels are scaled to 0..1, then normalised by `mean` and `std` in the order of `colour`. `licences` of
    code, weights and data. `recipe` and its arguments tell how the weights came about. `version` is that of
    this contract, and `unknown` what a newer one of the same first number says besides: it is kept, and means
    nothing here.
    """

    model: str
    skeleton: Skeleton
    codec: dict[str, Any]
    size: Size
    padding: float = 1.25
    colour: str = "rgb"
    mean: tuple[float, ...] = IMAGENET_MEAN
    std: tuple[float, ...] = IMAGENET_STD
    outputs: tuple[str, ...] = ("xy", "score")
    licences: dict[str, str] = field(
        default_factory=lambda: {"code": "Apache-2.0", "weights": "unknown", "data": "unknown"}
    )
    recipe: str = ""
    arguments: dict[str, Any] = field(default_factory=dict)
    version: str = VERSION
    unknown: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not all(1 <= side <= SIDE for side in self.size):
            raise ValueError(f"PoseSpec.size is {self.size}; it is (width, height) in pixels, 1 to {SIDE}")
        if not len(self.skeleton) and self.codec.get("name") != FEATURES:
            raise ValueError(
                f"skeleton {self.skeleton.name} has no joints, and only a network that gives {FEATURES} "
                f"needs none"
            )
        if not 0 < self.padding < np.inf:
            raise ValueError(
                f"PoseSpec.padding is {self.padding}; it is how many times its box a person gets, above 0"
            )
        if self.colour not in ("rgb", "bgr"):
            raise ValueError(f"PoseSpec.colour is {self.colour!r}; use 'rgb' or 'bgr'")
        if len(self.mean) != 3 or len(self.std) != 3:
            raise ValueError(f"PoseSpec.mean and std need three numbers each, got {self.mean} and {self.std}")
        if not np.isfinite((*self.mean, *self.std)).all() or not all(s > 0 for s in self.std):
            raise ValueError(
                f"PoseSpec.mean is {self.mean} and std {self.std}; pixels are divided by std, so it is above 0"
            )
        for name in (
            "codec",
            "arguments",
            "unknown",
        ):  # as JSON has them, tuples as lists: a spec equals what comes back from a file
            object.__setattr__(self, name, json.loads(json.dumps(getattr(self, name))))

    def to_json(self) -> str:
        """One line of JSON.

        >>> from poseling.skeleton import LSP14
        >>> spec = PoseSpec("hourglass-4x128", LSP14, {"name": "heatmap"}, (256, 256))
        >>> PoseSpec.from_json(spec.to_json()) == spec
        True
        """
        known = asdict(self)
        unknown = known.pop("unknown")
        known["skeleton"] |= unknown.pop("skeleton", {})
        return json.dumps({**known, **unknown})

    @classmethod
    def from_json(cls, text: str) -> PoseSpec:
        """The reverse, also of a file from before there were versions; ValueError if the text is not a spec,
        or one of a newer kind.
        """
        try:
            given = parse_json(text)
            if not isinstance(given, dict):
                raise ValueError("no fields by name")
            version = str(given.get("version", VERSION))
            newer = version.partition(".")[0] != VERSION.partition(".")[0]
            if not newer:
                skeleton, more = _split(given.get("skeleton"), Skeleton)
                known, unknown = _split(given | {"skeleton": skeleton, "version": version}, cls)
                return from_fields(cls, {**known, "unknown": unknown | ({"skeleton": more} if more else {})})
        except ValueError as error:
            raise ValueError(
                f"this is not a PoseSpec: {error}; the file was not written by poseling, or it is damaged"
            ) from error
        reads = VERSION.partition(".")[0]
        raise ValueError(
            f"its PoseSpec is of version {version[:20]}, and this poseling reads version {reads}; update "
            f"poseling to use this file"
        )


def _split(given: Any, kind: type[Any]) -> tuple[Any, dict[str, Any]]:
    """The fields that `kind` has, and the others."""
    if not isinstance(given, dict):
        return given, {}
    names = {f.name for f in fields(kind)} - {"unknown"}
    return {k: v for k, v in given.items() if k in names}, {k: v for k, v in given.items() if k not in names}
