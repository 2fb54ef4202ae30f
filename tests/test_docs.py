"""The pages: links lead somewhere, modules that are named exist, and the drawing is the one its script writes."""

from __future__ import annotations

import importlib.util
import json
import re
import sys
from pathlib import Path

import pytest

from poseling import zoo

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "src" / "poseling"
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]


def exists(module: str) -> bool:
    """Whether the package has `module`, a dotted name without the package's."""
    path = PACKAGE.joinpath(*module.split("."))
    return path.with_suffix(".py").is_file() or (path / "__init__.py").is_file()


def defines(name: str) -> bool:
    """Whether `name` is a module, or a class or function of one: `geometry.Crop`."""
    module, _, member = name.rpartition(".")
    if exists(name):
        return True
    text = PACKAGE.joinpath(*module.split(".")).with_suffix(".py")
    return text.is_file() and bool(re.search(rf"^(class|def) {member}\b", text.read_text(), re.MULTILINE))


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ +(.*)$", re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL), re.M)
    return {re.sub(r"[^\w\- ]", "", h.lower()).replace(" ", "-") for h in headings}


def drawing():
    """`scripts/draw_architecture.py` as a module."""
    spec = importlib.util.spec_from_file_location("drawing", ROOT / "scripts" / "draw_architecture.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules["drawing"] = module
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_relative_links_resolve(page):
    text = re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL)
    broken = []
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        file = page.parent / path if path else page
        if not file.exists() or (anchor and file.suffix == ".md" and anchor not in anchors(file)):
            broken.append(target)
    assert not broken, f"{page.name}: links that lead nowhere"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_lines_fit(page):
    """Prose is at most 110 wide; a table's row, a link and a command cannot be broken."""
    wide, block = [], False
    for number, line in enumerate(page.read_text().splitlines(), 1):
        block ^= line.startswith("```")
        if len(line) > 110 and not block and not line.startswith(("|", "    ", "`")) and "](" not in line:
            wide.append(number)
    assert not wide, f"{page.name}: lines wider than 110"


def test_the_readme_is_one_page():
    assert len((ROOT / "README.md").read_text().splitlines()) <= 150


def test_the_readme_has_the_figures_of_the_cards():
    """PCK on LSP at 0.2 and 0.1, PCK on others, and the time: as `poseling models NAME` prints them."""
    rows = [line.split("|") for line in (ROOT / "README.md").read_text().splitlines() if line[:4] == "| **"]
    shown = {row[1].strip(" *"): [cell.strip() for cell in row[2:]] for row in rows}
    cards = json.loads((PACKAGE / "zoo" / "cards.json").read_text())
    for name, card in cards.items():
        if not zoo.ENTRIES[name].skeleton or name.startswith("poseling3d"):
            continue  # detectors and 3D networks have other scores
        _, time, _, *scores = shown[name][:6]
        assert time == f"{card['over_lightning']:.2f}", name
        assert scores == [f"{score['value']:.3f}" for score in card["scores"]], name


def test_modules_named_on_the_architecture_page_exist():
    text = (ROOT / "docs" / "architecture.md").read_text()
    names = {name for name in re.findall(r"`([a-z_]+(?:\.[A-Za-z_]+)*)`", text) if name != "torch"}
    assert len(names) > 20
    assert [name for name in sorted(names) if not defines(name)] == []


def test_modules_in_the_drawing_exist():
    names = drawing().modules()
    assert len(names) == len(set(names)) > 20
    assert [name for name in names if not exists(name)] == []


def test_the_drawing_is_the_one_that_the_script_writes():
    assert (ROOT / "docs" / "images" / "architecture.svg").read_text() == drawing().drawing()
