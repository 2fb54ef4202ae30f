"""A studio for tests that takes no time: coloured tiles and numbers from the seed. Workers import it, so it
stands in a file of its own and imports little.

It can go wrong in the ways of the real one: `at` an image's index, `how` says what happens there or, with
`start`, in its place.
"""

from __future__ import annotations

import errno
import os
import signal
import time
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace

import numpy as np

from poseling.synth.backgrounds import Folder


class OddError(Exception):
    """An error that another process cannot rebuild."""

    def __init__(self, one: int, two: int) -> None:
        super().__init__("odd")


class Fake:
    def __init__(
        self, size: int, split: str, backgrounds: Sequence[Path], how: str = "", at: int = 0
    ) -> None:
        if how == "no OpenGL":
            raise OSError("OpenGL without a window (EGL) cannot be started: apt-get install libegl1")
        if how == "no anny":
            raise ModuleNotFoundError("No module named 'anny'", name="anny")
        self.size, self.split, self.how, self.at = size, split, how, at
        self.parent = os.getppid()
        self.background = Folder(backgrounds) if backgrounds else None

    def shoot(self, seed: int, index: int) -> SimpleNamespace:
        if index >= self.at:
            self._go_wrong()
        random = np.random.default_rng((seed, len(self.split), index))
        tiles = random.integers(0, 256, (self.size // 8, self.size // 8, 3), np.uint8)
        image = tiles.repeat(8, 0).repeat(8, 1)
        if self.background is not None:
            image = self.background(self.size, random)
        xyz = random.uniform([-1, -1, 2], [1, 1, 4], (28, 3)).astype(np.float32)
        joints = 30 * xyz[:, :2] / xyz[:, 2:] + 16
        visible = random.integers(0, 3, 28).astype(np.uint8)
        motion = (
            f"motion {index % 3}"
            if self.how != "tell"
            else f"{os.environ['LP_NUM_THREADS']} {os.environ['OMP_NUM_THREADS']}"
        )
        camera, box = np.array([30, 30, 16, 16], np.float32), np.array([2, 3, 20, 30], np.float32)
        return SimpleNamespace(
            image=image, joints=joints, visible=visible, xyz=xyz, camera=camera, box=box, motion=motion
        )

    def _go_wrong(self) -> None:
        if self.how == "killed":
            os.kill(os.getpid(), signal.SIGKILL)
        elif self.how == "Ctrl-C":  # the terminal tells everyone
            os.kill(os.getpid(), signal.SIGINT)
            os.kill(os.getppid(), signal.SIGINT)
            time.sleep(0.3)
        elif self.how == "orphan":  # goes on when whoever started it is dead
            while os.getppid() == self.parent:
                time.sleep(0.01)
        elif self.how == "odd":
            raise OddError(1, 2)
        elif self.how == "full":

            def full(fd: object) -> None:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

            os.fsync = full
