"""`poseling distill`: the recipes, and a recipe of the user's own."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from cyclopts import App

from poseling.cli.errors import TRAINING
from poseling.cli.help import grouped
from poseling.recipes import RECIPES, UNTRAINED_NOTE, own


def about(recipe: str) -> str:
    """The docstring of a recipe's file, which is read and not imported: `poseling track` must start without
    torch. Its first paragraph, which lists show, says where a recipe was not trained at length.
    """
    docstring = (
        ast.get_docstring(
            ast.parse((Path(__file__).parents[1] / "recipes" / f"{recipe}.py").read_text(encoding="utf-8"))
        )
        or ""
    )
    first, _, rest = docstring.partition("\n\n")
    return f"{first}{'' if RECIPES.get(recipe, True) else f' {UNTRAINED_NOTE}'}\n\n{rest}"


distill = App(
    name="distill",
    help="Train a student with a teacher and, as a control, without it, and report what the teacher was worth. "
    "One paper, one recipe. A file of yours is a recipe too: poseling distill ./mine.py (docs/extending.md).",
    help_formatter=grouped,
)
for recipe in RECIPES:
    distill.command(f"poseling.recipes.{recipe}:{recipe}", name=recipe, help=about(recipe))


@contextmanager
def own_recipe(words: Sequence[str]) -> Iterator[None]:
    """While the command runs, `distill` has the recipe of the user's file that `words` name, if they do, under the
    name that the command line gives it.
    """
    if len(words) < 2 or words[0] != "distill" or not own.is_file(words[1]):
        yield
        return
    word = words[1]
    try:
        function = own.load(word)
    except ImportError as error:
        if error.name and (error.name in TRAINING or error.name.partition(".")[0] == "poseling"):
            raise
        raise ValueError(f"{word}: cannot be imported: {error}") from error
    distill.command(function, name=word, help=own.help_of(function))
    try:
        yield
    finally:
        del distill[word]
