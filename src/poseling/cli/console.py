"""What commands print: lines, and bars of how far they are."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NoReturn

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeRemainingColumn,
)
from rich.text import Text

console = Console()


def say(line: str, style: str | None = None, *, highlight: bool = False) -> None:
    """Prints a line as it is: not wrapped, and its brackets are no markup."""
    console.print(line, style=style, markup=False, highlight=highlight, soft_wrap=True)


def stopped(line: str, *, highlight: bool = False) -> NoReturn:
    """Ends a command at Ctrl-C with a line that says what stays."""
    say(line, highlight=highlight)
    sys.exit(130)


@contextmanager
def bar(doing: str, shown: bool = True) -> Iterator[Callable[[int, int], None]]:
    """A bar while the block runs. It gives a function that is told how many are done, and of how many."""
    with Progress(console=console, disable=not shown) as progress:
        task = progress.add_task(doing, total=None)
        yield lambda done, of: progress.update(task, completed=done, total=of)


class _Pace(ProgressColumn):
    """Frames a second."""

    def render(self, task: Task) -> Text:
        """Of the last seconds; at first, and at the end, of all."""
        speed = None if task.finished else task.speed
        speed = speed or (task.completed / task.elapsed if task.completed and task.elapsed else None)
        return Text("" if speed is None else f"{speed:.1f} frames/s")


def frames_a_second() -> Progress:
    """A bar with the number of frames, frames a second and the time left; none where nobody looks at it."""
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        _Pace(),
        TimeRemainingColumn(),
        console=console,
        disable=not console.is_terminal,
    )
