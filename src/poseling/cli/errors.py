"""What a command says when something is wrong."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, distribution
from typing import NoReturn
from urllib.parse import urlsplit
from urllib.request import url2pathname

from cyclopts import CycloptsError
from rich.console import Console
from rich.text import Text

TRAINING = ("torch", "accelerate", "safetensors", "matplotlib", "scipy", "onnx")  # some of the extra `train`
STORES = ("s3fs", "gcsfs", "adlfs")  # of object storage, which no extra brings
BASE = ("numpy", "cv2", "onnxruntime", "av", "rich")  # dependencies of every installation


@contextmanager
def one_line() -> Iterator[None]:
    """An error that the user can correct is one line on stderr and exit code 1, not a traceback."""
    try:
        yield
    except CycloptsError as error:
        _fail(f"{error} See `{' '.join(('poseling', *(error.command_chain or ())))} --help`.")
    except ImportError as error:
        not_installed(error, "train")
    except (ValueError, OSError, KeyError, FloatingPointError) as error:
        _fail(_said(error))


def _said(error: Exception) -> object:
    """What an error says, without the quotes of a KeyError and the number of an OSError of ours."""
    if isinstance(error, KeyError) and error.args:
        return error.args[0]
    return (
        error.strerror if isinstance(error, OSError) and error.strerror and error.filename is None else error
    )


def not_installed(error: ImportError, extra: str) -> NoReturn:
    """Fails with the command that installs the missing package, which `extra` brings if the base does not. A
    module of ours that is missing is raised.
    """
    missing = (
        error.__cause__ if isinstance(error.__cause__, ImportError) else error
    )  # cyclopts wraps import errors of recipes
    if missing.name is None or missing.name.partition(".")[0] == "poseling":
        raise error
    if missing.name in STORES:
        _fail(f"{missing.name} is not installed; pip install {missing.name} installs it")
    extra = "" if missing.name.partition(".")[0] in BASE else extra
    _fail(f"{missing.name} is not installed; {_install(extra)} installs it")


def _install(extra: str) -> str:
    """The command that installs this Poseling again with `extra`, from its own source: the package index may
    have none, or another package of that name.
    """
    brackets = f"[{extra}]" if extra else ""
    try:
        about = distribution("poseling").read_text("direct_url.json")
    except PackageNotFoundError:  # run from its sources
        return f"in its checkout pip install '.{brackets}'"
    if about is None:  # from an index
        return f"pip install 'poseling{brackets}'"
    origin = json.loads(about)
    url = origin["url"]
    if "dir_info" in origin:
        editable = "-e " if origin["dir_info"].get("editable") else ""
        return f"pip install {editable}'{url2pathname(urlsplit(url).path)}{brackets}'"
    if "vcs_info" in origin:
        url = f"{origin['vcs_info']['vcs']}+{url}@{origin['vcs_info']['commit_id']}"
    return f"pip install 'poseling{brackets} @ {url}'"


def _fail(why: object) -> NoReturn:
    line = " ".join(str(why).split())
    Console(stderr=True).print(Text.assemble(("error", "bold red"), f": {line}"), soft_wrap=True)
    sys.exit(1)
