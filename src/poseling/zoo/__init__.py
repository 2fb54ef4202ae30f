"""The networks that come with Poseling, by name: an ONNX file each in `weights/`, what they are in `ENTRIES`,
what they were measured to do in `cards.json`, which a benchmark writes.

A name of the zoo goes wherever a model's file does. docs/zoo.md tells more.
"""

from __future__ import annotations

import hashlib
import json
import textwrap
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Literal

from poseling.files import write_bytes
from poseling.geometry import Size

WEIGHTS = Path(__file__).parent / "weights"
CARDS = Path(__file__).parent / "cards.json"
DEFAULT = "poseling-n"  # what runs where no model is named
DETECTOR = "poseling-detect"  # what finds people where no detector is named
USES = {"research": "for research only", "any": "for any use"}


@dataclass(frozen=True)
class Entry:
    """A network: its file in `weights/` with its SHA-256, input `size` (W, H), the skeleton's name ("" of a
    detector, which gives boxes), how many `parameters`, and where it comes from.

    `use` is what the images allow: research, or any. `code` is the licence of this network's code; `start`
    the weights that it started from and `teacher` its teacher, each with its licence; `images` the licence of
    every source of images by its name; `command` what made it.
    """

    file: str
    sha256: str
    size: Size
    skeleton: str
    parameters: int
    use: Literal["research", "any"]
    code: str
    start: str
    teacher: str
    images: Mapping[str, str]
    command: str


@dataclass(frozen=True)
class Score:
    """`value` of a `measure` on people of a set (`on`, in words), plus or minus `spread`: 95 % of it over the
    people drawn anew.
    """

    on: str
    measure: str
    value: float
    spread: float


@dataclass(frozen=True)
class Card:
    """What was measured of a network: its scores, the first of them the one that tables show; its time over
    that of MoveNet Lightning, both in turns on one thread; when, and by which command.
    """

    scores: tuple[Score, ...]
    over_lightning: float
    date: str
    command: str


_RESEARCH = {
    "LSP 1-850": "Flickr photographs, no licence stated: research",
    "LSPET": "Flickr photographs, no licence stated: research",
    "Stanford 40 Actions": "web photographs, no licence stated: research",
    "JHMDB's frames": "film and web clips: research",
    "an exercise collection": "Unlicense (public domain), as its repository says",
}
_START = "MoveNet Lightning (Google, Apache-2.0)"
_TEACHER = "poseling-m, MoveNet Thunder (Google, Apache-2.0) trained on the same images, and for the first 146,000 people Thunder itself"

ENTRIES: dict[str, Entry] = {
    "poseling-n": Entry(
        "poseling-n.onnx",
        "65b551ffc589ef9b5f1d37ee2d211855b6a248635a3a6105d7c04e721caddb6f",
        (128, 160),
        "body19",
        2_303_627,
        "research",
        "Apache-2.0",
        _START,
        _TEACHER,
        _RESEARCH,
        "python benchmarks/family.py: train n --budget 62m --start (proof, seed 0), ship n (docs/family.md)",
    ),
    "poseling-s": Entry(
        "poseling-s.onnx",
        "757be1e1531e52c5ce6ac8de8f7e71bfa27b5c7edd82f9e0a16ac5ecca24569c",
        (192, 224),
        "body19",
        2_303_627,
        "research",
        "Apache-2.0",
        _START,
        _TEACHER,
        _RESEARCH,
        "python benchmarks/family.py: train s --budget 62m --start (proof, seed 0), then --budget 100m and --epochs 4.4, each with --start poseling-s, ship s (docs/family.md)",
    ),
    "poseling-n-free": Entry(
        "poseling-n-free.onnx",
        "1829c520322216a3174f83707a7e20546b511cda97c17ad860a18fbe076150b4",
        (128, 160),
        "body19",
        2_303_627,
        "any",
        "Apache-2.0",
        _START,
        "MoveNet Thunder (Google, Apache-2.0), where MoveNet Lightning agrees",
        {
            "an exercise collection": _RESEARCH["an exercise collection"],
            "the mini set": "synthetic people made by poseling: CC0-1.0",
        },
        "python benchmarks/family.py: train n-free --epochs 12 --batch 32 --learning-rate 2e-4, ship n-free "
        "(docs/family.md)",
    ),
    "poseling3d-s": Entry(
        "poseling3d-s.onnx",
        "8ffa02299a9e1edf0f2c6b758d93dbf7178235d785a85f3c1bcf1bf5c980b34f",
        (160, 192),
        "body19",
        2_697_844,
        "research",
        "Apache-2.0",
        "poseling-s, which started from MoveNet Lightning (Google, Apache-2.0)",
        "BlazePose Heavy and Full (Google, Apache-2.0) for joints in space, poseling-m for those in the image",
        {**_RESEARCH, "synthetic people": "made by poseling: CC0-1.0"},
        "python benchmarks/family_3d.py: train s three times, 82,000, 39,000 and 86,000 samples, ship s (docs/poseling3d.md)",
    ),
    "poseling3d-n": Entry(
        "poseling3d-n.onnx",
        "e3b48d77ea2818421a8819e7f596774cfc7610306f6de7968a4a66646a344d54",
        (128, 160),
        "body19",
        2_697_844,
        "research",
        "Apache-2.0",
        "poseling3d-s, whose first weights are MoveNet Lightning's (Google, Apache-2.0)",
        "BlazePose Heavy and Full (Google, Apache-2.0) for joints in space, poseling-m for those in the image",
        {**_RESEARCH, "synthetic people": "made by poseling: CC0-1.0"},
        "python benchmarks/family_3d.py: train n --learning-rate 4e-4 --budget 24m, ship n (docs/poseling3d.md)",
    ),
    "poseling-detect": Entry(
        "poseling-detect.onnx",
        "fac3544bdcd41697a898b489bff0c8038221ed615ad88e2929560be3a2e64831",
        (224, 224),
        "",
        2_304_885,
        "research",
        "Apache-2.0",
        _START,
        "RTMDet-nano for people (OpenMMLab, whose own checkpoints are said to be Apache-2.0; this file was found in a public repository that states no licence), trained on COCO",
        {
            "brianhuster/human-dataset": "CC BY 4.0, as its README says; it does not say whose pictures they are",
            "Stanford 40 Actions": _RESEARCH["Stanford 40 Actions"],
        },
        "python benchmarks/detector.py: prepare, train --steps 900 at a rate of 3e-4, then train --steps 3500 and --steps 5400, ship",
    ),
}


def is_name(model: Path | str) -> bool:
    """Whether `model` is the name of a network of the zoo."""
    return str(model) in ENTRIES


def resolve(model: Path | str) -> Path:
    """The file of a network of the zoo, or `model` itself if it is no such name.

    ValueError, with the names there are, if it looks like a name and there is neither such a network nor such
    a file; errors as of `path`.
    """
    if is_name(model):
        return path(str(model))
    file = Path(model)
    if not file.suffix and len(file.parts) == 1 and not file.exists():
        raise _unknown(str(model), "neither a file nor a network of the zoo")
    return file


@cache
def path(name: str) -> Path:
    """The file of the network called `name`, once its SHA-256 was found right.

    ValueError with the names there are if the zoo has no such network, or if its file is damaged;
    FileNotFoundError if it is not there.
    """
    entry = _entry(name)
    file = WEIGHTS / entry.file
    whole = ", ".join(other for other in ENTRIES if other != name) or "none"
    if not file.is_file():
        raise FileNotFoundError(
            f"{name}: its file {file} is not there; install poseling again (the zoo's others: {whole})"
        )
    with file.open("rb") as opened:
        found = hashlib.file_digest(opened, "sha256").hexdigest()
    if found != entry.sha256:
        raise ValueError(
            f"{name}: its file {file} is damaged, its SHA-256 is another; install poseling again (the zoo's "
            f"others: {whole})"
        )
    return file


def licence(name: str) -> str:
    """In a line what the network called `name` may be used for."""
    return USES[_entry(name).use]


def licences(name: str) -> dict[str, str]:
    """What its file says, in `PoseSpec.licences`: the licences of code and weights, and of all behind them."""
    entry = _entry(name)
    images = "; ".join(f"{source}: {words}" for source, words in entry.images.items())
    own = {"code": entry.code, "weights": USES[entry.use], "start": entry.start, "teacher": entry.teacher}
    return {what: words for what, words in (own | {"data": images}).items() if words}


def cards() -> dict[str, Card]:
    """What was measured of each network, by name. ValueError that names the file if it is damaged."""
    try:
        found = json.loads(CARDS.read_text(encoding="utf-8"))
        return {
            name: Card(**{**card, "scores": tuple(Score(**score) for score in card["scores"])})
            for name, card in found.items()
        }
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{CARDS}: is damaged ({error!r}); install poseling again") from error


def record(name: str, card: Card) -> None:
    """Puts what was measured of the network called `name` into `cards.json`; ValueError if the zoo has no
    such network.
    """
    _entry(name)
    listed = {other: asdict(known) for other, known in {**cards(), name: card}.items()}
    write_bytes(CARDS, (json.dumps(listed, indent=1) + "\n").encode())


def table() -> str:
    """The networks there are, a line of at most 80 characters each."""
    if not ENTRIES:
        return "No network is in this copy of poseling."
    known = cards()
    rows = [("name", "input", "M", "time", "score", "use")]
    for name, entry in ENTRIES.items():
        card = known.get(name)
        time, score = (
            ("", "") if card is None else (f"{card.over_lightning:.2f}", f"{card.scores[0].value:.3f}")
        )
        rows.append(
            (
                name,
                f"{entry.size[0]}x{entry.size[1]}",
                f"{entry.parameters / 1e6:.1f}",
                time,
                score,
                USES[entry.use],
            )
        )
    lines = ["{:<20} {:<9} {:>5} {:>6} {:>7}  {}".format(*row) for row in rows]
    scores = {
        f"{card.scores[0].measure} on {card.scores[0].on}" for name, card in known.items() if name in ENTRIES
    }
    notes = ["", "M: million parameters; time: over MoveNet Lightning's, on one thread"]
    notes += [line for what in sorted(scores) for line in textwrap.wrap(f"score: {what}", 80)]
    return "\n".join([*lines, *notes, "poseling models NAME prints a network's card"])


def card(name: str) -> str:
    """The model card of the network called `name`, in lines of at most 80 characters. ValueError with the
    names there are if the zoo has no such network.
    """
    entry, measured = _entry(name), cards().get(name)
    lines = [
        f"{name}, {USES[entry.use]}",
        "",
        *_row("input", f"{entry.size[0]} x {entry.size[1]} pixels"),
        *_row("joints", entry.skeleton or "none: boxes of people, for runtime.Detector"),
        *_row("parameters", f"{entry.parameters / 1e6:.1f} million"),
        *_row("file", f"{entry.file}, SHA-256 {entry.sha256[:16]}..."),
        "",
        "Licences",
        *_row("code", entry.code),
        *_row("start", entry.start),
        *_row("teacher", entry.teacher),
        *(
            line
            for source, licence in entry.images.items()
            for line in _row("images", f"{source}: {licence}")
        ),
        "",
        "Measured",
    ]
    if measured is None:
        lines += _row("", "nothing yet")
    else:
        lines += [
            line
            for s in measured.scores
            for line in _row(s.measure, f"{s.value:.3f} +- {s.spread:.3f} on {s.on}")
        ]
        lines += _row("time", f"{measured.over_lightning:.2f} of MoveNet Lightning's, in turns on one thread")
        lines += _row("how", f"{measured.date}: {measured.command}")
    return "\n".join([*lines, "", "Made by", *_row("", entry.command)])


def _entry(name: str) -> Entry:
    if name not in ENTRIES:
        raise _unknown(name, "no network of the zoo")
    return ENTRIES[name]


def _unknown(name: str, what: str) -> ValueError:
    return ValueError(f"{name}: is {what}; the zoo has {', '.join(ENTRIES) or 'none yet'}")


def _row(name: str, text: str) -> list[str]:
    return textwrap.wrap(
        text, 80, initial_indent=f"  {name:<12}", subsequent_indent=" " * 14, break_on_hyphens=False
    )
