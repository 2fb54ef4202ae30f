"""A recipe of one's own: a function in a Python file, for `poseling distill ./mine.py`. Needs no torch by
itself.
"""

from __future__ import annotations

import importlib.util
import inspect
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

SUFFIX = ".py"


def is_file(word: str) -> bool:
    """Whether a word of the command line means a recipe's file, mine.py or mine.py:function."""
    return word.partition(f"{SUFFIX}:")[0].removesuffix(SUFFIX) != word


def load(word: str) -> Callable[..., Any]:
    """The recipe that `word` means: the one public function that the file defines, or the one that it names.
    The file's own folder can be imported from, as where Python runs it.

    FileNotFoundError if there is no such file; ValueError that names it if it is no Python, needs a package
    that is not installed, or if the function is not there or ambiguous.
    """
    name, colon, wanted = word.partition(f"{SUFFIX}:")
    path = Path(f"{name}{SUFFIX}" if colon else word)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: there is no such file, and so no recipe in it")
    module = f"poseling_own_{path.stem}"
    spec = importlib.util.spec_from_file_location(module, path.resolve())
    assert spec is not None
    assert spec.loader is not None
    made = importlib.util.module_from_spec(spec)
    sys.modules[module] = made  # dataclasses and workers look it up there
    folder = str(path.resolve().parent)
    if folder not in sys.path:
        sys.path.insert(0, folder)
    try:
        spec.loader.exec_module(made)
    except SyntaxError as error:
        raise ValueError(f"{path}: line {error.lineno} is no Python ({error.msg})") from error
    functions = {
        name: value
        for name, value in vars(made).items()
        if inspect.isfunction(value) and value.__module__ == module and not name.startswith("_")
    }
    if wanted:
        if wanted not in functions:
            there = f"it has {', '.join(functions)}" if functions else "it has none"
            raise ValueError(f"{path}: has no public function {wanted!r}; {there}")
        return functions[wanted]
    if not functions:
        raise ValueError(
            f"{path}: has no public function; a recipe is a function whose keyword parameters are its flags "
            f"(docs/extending.md)"
        )
    if len(functions) > 1:
        ways = ", ".join(f"{path}:{name}" for name in functions)
        raise ValueError(
            f"{path}: has {len(functions)} public functions; name the recipe, one of {ways}, or let the "
            f"others begin with an underscore"
        )
    return next(iter(functions.values()))


def help_of(function: Callable[..., Any]) -> str | None:
    """What its --help begins with: the docstring of its file, or if there is none its own."""
    return inspect.getdoc(inspect.getmodule(function)) or inspect.getdoc(function)
