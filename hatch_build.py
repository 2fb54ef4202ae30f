"""The page of `poseling live` in every wheel: built here if it is not built yet and there is npm.

`POSELING_PAGE=require` makes a wheel without the page an error, as `make wheel` does; `POSELING_PAGE=skip`
leaves it out. Otherwise a machine without Node.js gets a wheel that does all else, and says so.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class PageHook(BuildHookInterface[Any]):
    """Called by hatchling before it puts a wheel together."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        wanted = os.environ.get("POSELING_PAGE", "")
        page = Path(self.root) / "src/poseling/live/page/index.html"
        if version == "editable" or wanted == "skip" or page.is_file():
            return
        why = self._build()
        if page.is_file():
            return
        if wanted == "require":
            raise RuntimeError(f"the page is not built: {why}")
        self.app.display_warning(f"without the page of `poseling live`: {why}; `make web` builds it")

    def _build(self) -> str:
        """Builds the page; says why not if it could not."""
        web, npm = Path(self.root) / "web", shutil.which("npm")
        if not web.is_dir() or npm is None:
            return "there is no npm (Node.js 18 or newer)" if web.is_dir() else "its sources are not here"
        for command in ("ci", "run build"):
            done = subprocess.run(
                [npm, *command.split()], cwd=web, check=False, capture_output=True, text=True
            )
            if done.returncode:
                return f"npm {command} failed: {(done.stderr or done.stdout).strip()[-300:]}"
        return ""
