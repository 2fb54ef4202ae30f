"""What every command prints on: the console, and the bars of how far it is."""

from __future__ import annotations

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)
from rich.text import Text

console = Console()


def say(line: str) -> None:
    console.print(line, markup=False, highlight=False, soft_wrap=True)


def tell(progress: Progress, bar: TaskID, done: int, of: int) -> None:
    progress.update(bar, completed=done, total=of)


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
