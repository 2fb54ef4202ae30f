"""The mini set: synthetic people that come with the package, and a small network trained on many more of
them, so that the first command needs nothing else.

`mini.zip` is made by scripts/make_mini.py and holds a synthetic set for each split, in the layout of
`data.synthetic`; no body and no motion is in two of them.
"""

from __future__ import annotations

import hashlib
import os
import zipfile
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Literal

from poseling.data.dataset import PoseDataset
from poseling.data.synthetic import synthetic
from poseling.files import new_folder

ZIP, TEACHER = (Path(__file__).with_name(name) for name in ("mini.zip", "mini-teacher.safetensors"))
Part = Literal["train", "val", "test"]


def mini(split: Part, folder: Path | None = None) -> PoseDataset:
    """The samples of one split in SYNTH28, with 3D joints and cameras. Their images are unpacked once, into
    `folder`, or the user's cache if none is named.

    FileNotFoundError if the package was built without them, ValueError if the file is damaged, OSError if
    `folder` cannot be written.
    """
    return replace(synthetic(unpack(ZIP, folder or cache_folder()) / split), name="mini")


def teacher() -> Path:
    """The network that comes with the set: a checkpoint, trained on other synthetic people than those in it."""
    return _there(TEACHER)


def cache_folder() -> Path:
    """Where the set is unpacked if no folder is named: `poseling` in $XDG_CACHE_HOME, or in ~/.cache."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "poseling"


def unpack(archive: Path, folder: Path) -> Path:
    """`folder`/NAME-DIGEST with all that `archive` holds, whole or not at all, and only once; several
    processes may ask for it at the same time.

    FileNotFoundError if there is no archive; ValueError if it is damaged, or a name in it leads out of the
    folder.
    """
    target = folder / f"{archive.stem}-{_digest(_there(archive))}"
    if target.is_dir():
        return target
    try:
        with zipfile.ZipFile(archive) as packed, new_folder(target) as new:
            for name in packed.namelist():
                if not (new / name).resolve().is_relative_to(new.resolve()):
                    raise ValueError(
                        f"{archive}: holds {name}, which would be written outside of {target}; take the file "
                        f"as the package has it"
                    )
            packed.extractall(new)
    except zipfile.BadZipFile as error:
        raise ValueError(f"{archive}: is damaged ({error}); install poseling again") from error
    return target


def _there(path: Path) -> Path:
    if not path.is_file():
        raise FileNotFoundError(
            f"{path}: is missing from the package; install poseling again, or name other data and another "
            f"teacher"
        )
    return path


@cache
def _digest(archive: Path) -> str:
    """8 hexadecimal digits: another version's images are unpacked beside, not over, those of this one."""
    return hashlib.blake2b(archive.read_bytes(), digest_size=4).hexdigest()
