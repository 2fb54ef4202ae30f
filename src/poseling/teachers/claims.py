"""Locks on files of a store on a disk, so that two processes that label at once never predict a sample twice.
On object storage, and on disks without locks, every claim succeeds.

A lock belongs to a process and ends with it, however the process ends, so nothing has to be cleaned up.
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

# Samples are claimed in so many blocks, by the content of their image file: the same for all processes.
BLOCKS = 64


def block(digest: bytes) -> int:
    """The block of the image whose file has this digest."""
    return digest[0] % BLOCKS


class Claims:
    """The blocks that this process has claimed in the folder of a store; None for a store that is not on a
    disk.
    """

    def __init__(self, folder: Path | None) -> None:
        self.folder = folder
        self._held: list[int] = []

    def take(self, block: int, wait: bool = False) -> bool:
        """Whether this process has claimed the block; with `wait` it always has, once the other process has
        written its predictions.
        """
        if self.folder is None or fcntl is None:
            return True
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            file = os.open(
                self.folder / f"{block:02d}", os.O_RDWR | os.O_CREAT | getattr(os, "O_CLOEXEC", 0), 0o666
            )
        except OSError:
            return True  # a store that cannot be written to raises when it is written to
        try:
            fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            os.close(file)
            return False
        except OSError:  # no locks here, as on some network disks
            os.close(file)
            return True
        self._held.append(file)
        return True

    def release(self) -> None:
        """Releases all blocks; call it once all predictions are written."""
        while self._held:
            with suppress(OSError):
                os.close(self._held.pop())
