"""A network's contract: all that one must know to feed it a picture and read its answer. It travels inside every checkpoint and every exported file."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from typing import Any

from poseling.geometry import Size
from poseling.skeleton import Skeleton

KEY = "poseling"  # the metadata entry of safetensors and ONNX files that holds the spec as JSON
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class PoseSpec:
    """What a network sees and what it says.

    `model` as the zoo names it; `codec` as the fields of the codec with its `name`; `size` (W, H) of the input; `padding` of the box around a person;
    pixels are scaled to 0..1, then normalised by `mean` and `std` in the order of `colour`. `licences` of code, weights and data. `recipe` and its arguments
    tell how the weights came about.
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
    licences: dict[str, str] = field(default_factory=lambda: {"code": "Apache-2.0", "weights": "unknown", "data": "unknown"})
    recipe: str = ""
    arguments: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.colour not in ("rgb", "bgr"):
            raise ValueError(f"PoseSpec.colour is {self.colour!r}; use 'rgb' or 'bgr'")
        if len(self.mean) != 3 or len(self.std) != 3:
            raise ValueError(f"PoseSpec.mean and std need three numbers each, got {self.mean} and {self.std}")
        for name in ("codec", "arguments"):  # as JSON has them, tuples as lists: a spec equals what comes back from a file
            object.__setattr__(self, name, json.loads(json.dumps(getattr(self, name))))

    def to_json(self) -> str:
        """One line of JSON.

        >>> from poseling.skeleton import LSP14
        >>> spec = PoseSpec("hourglass-4x128", LSP14, {"name": "heatmap"}, (256, 256))
        >>> PoseSpec.from_json(spec.to_json()) == spec
        True
        """
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> PoseSpec:
        """The reverse; ValueError if the text is not a spec."""
        try:
            fields = json.loads(text)
            skeleton = fields.pop("skeleton")
            sigmas = skeleton["sigmas"]
            fields["skeleton"] = Skeleton(
                skeleton["name"], tuple(skeleton["joints"]), tuple(skeleton["parents"]), None if sigmas is None else tuple(sigmas)
            )
            for name in ("size", "mean", "std", "outputs"):
                fields[name] = tuple(fields[name])
            return cls(**fields)
        except (json.JSONDecodeError, KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"this is not a PoseSpec: {error!r}; the file was not written by poseling, or by a newer version of it") from error
