"""How much a file may claim. Eight bytes of a file can ask for gigabytes, so a reader first looks at
what it claims first.
"""

from __future__ import annotations

import os
import zipfile
from pathlib import Path

VARIABLE, USUAL = "POSELING_LIMIT_MB", 1024


def limit() -> int:
    """The bytes that one image or one file's arrays may take, 1 GiB unless POSELING_LIMIT_MB gives
    another number of MiB. ValueError if that is not a number.
    """
    text = os.environ.get(VARIABLE, str(USUAL))
    if not text.isdecimal() or not int(text):
        raise ValueError(
            f"{VARIABLE} is {text!r}; it is how many MB a file may claim, a whole number above 0"
        )
    return int(text) << 20


def excess(claimed: int) -> str:
    """Why so many bytes are too many, and the way out; "" where they are not.

    >>> excess(3 << 30)
    'it claims 3072 MB and may have 1024; set POSELING_LIMIT_MB higher if that is right'
    """
    most = limit()
    return (
        ""
        if claimed <= most
        else f"it claims {-(-claimed >> 20)} MB and may have {most >> 20}; set {VARIABLE} higher if that is right"
    )


def unpacked(path: Path) -> int:
    """The bytes that a zip file's members claim to have, 0 for any other file. OSError as any file."""
    try:
        with zipfile.ZipFile(path) as archive:
            return sum(member.file_size for member in archive.infolist())
    except (zipfile.BadZipFile, ValueError, NotImplementedError):
        return 0
