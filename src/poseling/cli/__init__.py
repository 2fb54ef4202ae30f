"""The command line, a module a command; `commands` has them all in one table."""

from __future__ import annotations

import sys

from poseling.cli.commands import app
from poseling.cli.distill import own_recipe
from poseling.cli.errors import one_line


def main(arguments: list[str] | None = None) -> None:
    """Runs the command that `arguments` name, or those that the process was started with."""
    words = sys.argv[1:] if arguments is None else arguments
    with one_line(), own_recipe(words):
        app(words, print_error=False, exit_on_error=False)
