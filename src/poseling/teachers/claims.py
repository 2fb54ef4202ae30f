"""Who is asking about whom: locks on files in a store on a disk, so that two labellers at once ask nobody
twice. Elsewhere, and where a disk has no locks, all is free.

A lock belongs to a process. It goes with it, however that ends, so nothing has to be cleaned up.
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

# what is claimed at once, in parts of everybody: by the content of the image's file, and so the same for all
# labellers
BLOCKS = 64


def block(digest: bytes) -> int:
    """Of the image whose file has this digest."""
    return digest[0] % BLOCKS


class Claims:
    """The blocks that this process has claimed in the store in `folder`, None for one that is on no disk."""

    def __init__(self, folder: Path | None) -> None:
        self.folder = folder
        self._held: list[int] = []

    def take(self, block: int, wait: bool = False) -> bool:
        """Whether the block is ours now; with `wait` it is, once the other labeller has written what it
        was told.
        """
        if self.folder is None or fcntl is None:
            return True
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            file = os.open(
                self.folder / f"{block:02d}", os.O_RDWR | os.O_CREAT | getattr(os, "O_CLOEXEC", 0), 0o666
            )
        except OSError:
            return True  # whether the store can be written to is told when it is written to
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
        """Gives all of them back; call it once all answers are written."""
        while self._held:
            with suppress(OSError):
                os.close(self._held.pop())
