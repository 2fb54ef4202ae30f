"""The command line, a module a command; `commands` has them all in one table."""

from __future__ import annotations

import sys

from poseling.cli.commands import app
from poseling.cli.distill import own_recipe
from poseling.cli.errors import one_line


def main(arguments: list[str] | None = None) -> None:
    """Runs a command; an error that the user can correct is one line on stderr and exit code 1, not a
    traceback.
    """
    words = sys.argv[1:] if arguments is None else arguments
    with one_line(), own_recipe(words):
        app(words, print_error=False, exit_on_error=False)
