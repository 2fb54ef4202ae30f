"""Makes a set of synthetic people with several processes. An interrupted run continues, and the same seed
gives the same bytes for any number of processes.

Without torch: only the workers import the studio.
"""

from __future__ import annotations

import errno
import multiprocessing
import os
import pickle
import signal
import time
import traceback
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from multiprocessing import connection, resource_tracker
from multiprocessing.context import SpawnProcess
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, get_args

import cv2
import numpy as np

from poseling.data import synthetic
from poseling.data.mini import Part
from poseling.data.synthetic import BLOCK, Truth
from poseling.files import IMAGES, images_of, shown, write_bytes
from poseling.synth.backgrounds import Folder

if TYPE_CHECKING:
    from poseling.synth.studio import Shot

PIECE = 25  # images that a worker is given at a time
# The workers already use all cores; llvmpipe and OpenMP would start as many threads again in each of them.
ONE_THREAD = {"LP_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}


class Maker(Protocol):
    """Makes the images: a `Studio`."""

    @property
    def background(self) -> object:
        """A `Folder` where there is one."""

    def shoot(self, seed: int, index: int) -> Shot:
        """The image `index` of the set `seed`."""


Make = Callable[[int, str, Sequence[Path]], Maker]


def studio(size: int, split: str, backgrounds: Sequence[Path]) -> Maker:
    """A studio, in the worker's process."""
    from poseling.synth.studio import Studio

    return Studio(size, split, backgrounds)


@dataclass(frozen=True)
class Synthesized:
    """The result of a run: images made, images that existed already, seconds, and unreadable background
    images.
    """

    folder: Path
    made: int
    already: int
    seconds: float
    skipped: tuple[Path, ...] = ()

    @property
    def images_per_second(self) -> float:
        """With all their truth, on disk, the start of the workers included."""
        return self.made / self.seconds


def synthesize(
    out: Path,
    count: int,
    size: int = 256,
    seed: int = 0,
    split: str = "train",
    backgrounds: Path | None = None,
    workers: int | None = None,
    quality: int = 90,
    make: Make = studio,
    progress: Callable[[int, int], None] | None = None,
) -> Synthesized:
    """Fills `out` with `count` images and their ground truth, in the layout of data/synthetic.py, except
    those that exist.

    An image depends only on size, seed, split, quality, the background images, its index, library versions
    and the renderer. `workers` processes, by default one a core. A block counts once its ground truth is
    written; an interrupted block is made again.

    ValueError if `out` has other or damaged content; FileNotFoundError if `backgrounds` has no image;
    ImportError without the extra `synth`; OSError if the disk is full, OpenGL cannot be started, or a worker
    was killed.
    """
    workers = len(os.sched_getaffinity(0)) if workers is None else workers
    for name, value, least in (
        ("count", count, 1),
        ("size", size, 32),
        ("seed", seed, 0),
        ("workers", workers, 1),
        ("quality", quality, 1),
    ):
        if value < least:
            raise ValueError(f"{name} is {value}; it must be {least} or more")
    if split not in get_args(Part):
        raise ValueError(f"there is no split {split!r}; there are {', '.join(get_args(Part))}")
    places = _places(backgrounds) if backgrounds is not None else []
    about = {
        "version": synthetic.VERSION,
        "seed": seed,
        "size": size,
        "split": split,
        "quality": quality,
        "backgrounds": len(places),
    }
    try:
        synthetic.claim(out, about)
        return _synthesize(
            count, _Order(out, seed, size, split, quality, tuple(places), make), workers, progress
        )
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        whole = len(synthetic.truth_paths(out))
        raise OSError(
            error.errno,
            f"{out}: the disk is full; whole blocks ({whole} so far) stay. Make room, and the same command "
            "continues",
        ) from error


def _places(folder: Path) -> list[Path]:
    """The images in a folder of backgrounds, at any depth, without hidden ones, in order. They are not opened
    here.
    """
    found = images_of(shown(folder))
    if not found:
        raise FileNotFoundError(
            f"{folder}: holds no image ({', '.join(IMAGES)}); --backgrounds names a folder of images"
        )
    return found


@dataclass(frozen=True)
class _Order:
    """The parameters of every worker."""

    out: Path
    seed: int
    size: int
    split: str
    quality: int
    backgrounds: tuple[Path, ...]
    make: Make


def _synthesize(
    count: int, order: _Order, workers: int, progress: Callable[[int, int], None] | None
) -> Synthesized:
    start, out = time.perf_counter(), order.out
    whole, ends = _there(out)
    missing = {
        first: wanted
        for first in range(0, count, BLOCK)
        if (
            wanted := [
                i for i in range(first, max(min(first + BLOCK, count), ends.get(first, 0))) if i not in whole
            ]
        )
    }
    pieces = [wanted[i : i + PIECE] for wanted in missing.values() for i in range(0, len(wanted), PIECE)]
    already, made, skipped = len(whole), 0, dict[Path, None]()
    of = already + sum(map(len, pieces))
    if progress is not None:
        progress(already, of)
    with closing(_worked(order, pieces, workers)) as answers:
        for rows, broken in answers:
            made += len(rows)
            skipped |= dict.fromkeys(broken)
            whole |= rows
            first = min(rows) // BLOCK * BLOCK
            missing[first] = [i for i in missing[first] if i not in rows]
            if not missing[first]:
                block = [whole[i] for i in range(first, first + BLOCK) if i in whole]
                synthetic.write_truth(synthetic.truth_path(out, first), block)
            if progress is not None:
                progress(already + made, of)
    return Synthesized(out, made, already, time.perf_counter() - start, tuple(skipped))


def _there(out: Path) -> tuple[dict[int, Truth], dict[int, int]]:
    """The ground truth of the existing images by their index, and the end of each complete block."""
    images, rows, ends = synthetic.image_paths(out), dict[int, Truth](), dict[int, int]()
    for first, path in synthetic.truth_paths(out).items():
        block = synthetic.read_truth(path)
        ends[first] = first + len(block["motion"])
        rows |= {
            i: {name: values[i - first] for name, values in block.items()}
            for i in range(first, ends[first])
            if i in images
        }
    return rows, ends


# A worker's result for a piece: the ground truth by index, and the background images that it could not read
# so far.
_Answer = tuple[dict[int, Truth], tuple[Path, ...]]


def _worked(order: _Order, pieces: list[list[int]], workers: int) -> Generator[_Answer, None, None]:
    """Distributes the pieces to that many processes, and yields their results as they come. When it is
    closed, they stop after the current image.
    """
    # Not fork: neither OpenGL nor torch's threads survive it. Not the standard library's pools: one waits
    # forever for a killed worker, the other cannot be stopped before its pieces are done.
    context, waiting = multiprocessing.get_context("spawn"), iter(pieces)
    team: dict[connection.Connection, SpawnProcess] = {}
    try:
        with _for_workers():
            for _ in range(min(workers, len(pieces))):
                mine, theirs = context.Pipe()
                worker = context.Process(target=_work, args=(theirs, order), daemon=True)
                worker.start()  # only a started process is waited for
                team[mine] = worker
                theirs.close()
        busy = set(team)
        while busy:
            for link in connection.wait(busy):
                assert isinstance(link, connection.Connection)
                try:
                    answer = link.recv()
                    if isinstance(answer, Exception):
                        raise answer
                    if piece := next(waiting, None):
                        link.send(piece)
                    else:
                        busy.remove(link)
                except (EOFError, ConnectionError) as error:
                    raise _died(order.out, team[link]) from error
                if answer is not None:
                    yield answer
    finally:
        for link in team:
            link.close()
        patience = (
            time.monotonic() + 2
        )  # seconds; a worker that still imports its libraries has no image to finish
        for process in team.values():
            process.join(max(0.0, patience - time.monotonic()))
            process.kill()
            process.join()


@contextmanager
def _for_workers() -> Iterator[None]:
    """Inside it, processes start with one thread each and ignore Ctrl-C, which the parent handles."""
    environment = {name: os.environ.get(name) for name in ONE_THREAD}
    resource_tracker.ensure_running()  # here, since it lets SIGINT through when it has started
    signals = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    os.environ.update(ONE_THREAD)
    try:
        yield
    finally:
        for name, was in environment.items():
            if was is None:
                del os.environ[name]
            else:
                os.environ[name] = was
        signal.pthread_sigmask(signal.SIG_SETMASK, signals)


def _died(out: Path, worker: SpawnProcess) -> OSError:
    """The error for a worker that ended without a message."""
    worker.join(5)
    code = worker.exitcode or 0
    how = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
    return ChildProcessError(
        f"{out}: a worker {how}; if memory ran out, use fewer --workers. Whole blocks stay, and the same "
        "command continues"
    )


def _work(link: connection.Connection, order: _Order) -> None:
    """A worker's loop: it sends None when ready, then results of pieces, until the link is closed; an error
    is its last message.
    """
    try:
        maker = order.make(order.size, order.split, order.backgrounds)
        link.send(None)
        while True:
            rows = {}
            for index in link.recv():
                if link.poll():  # the parent sends nothing before the result, so the link was closed
                    return
                rows[index] = _shoot(order, maker, index)
            background = maker.background
            link.send((rows, tuple(background.broken) if isinstance(background, Folder) else ()))
    except (EOFError, ConnectionError):
        return
    except Exception as error:
        with suppress(ConnectionError):
            link.send(_portable(error))


def _shoot(order: _Order, maker: Maker, index: int) -> Truth:
    """Makes an image and writes it; returns its ground truth."""
    shot = maker.shoot(order.seed, index)
    data = cv2.imencode(".jpg", shot.image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, order.quality])[1]
    write_bytes(synthetic.image_path(order.out, index), data.tobytes())
    return {name: np.asarray(getattr(shot, name)) for name in synthetic.SHAPES}


def _portable(error: Exception) -> Exception:
    """The error with its traceback as a note, or if it cannot be pickled, another one with the same text."""
    text = "".join(traceback.format_exception(error))
    error.add_note(text)
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:
        return RuntimeError(text)
    return error
