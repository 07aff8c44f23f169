"""What the documents say is so: links lead somewhere, examples load, commands exist."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from opsflow.cli.commands import COMMANDS
from opsflow.config import load_stack

ROOT = Path(__file__).resolve().parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("bench/*.md")])
NAMES = [str(page.relative_to(ROOT)) for page in PAGES]


def _text(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def _blocks(name: str, kind: str) -> Iterator[str]:
    yield from re.findall(rf"^```{kind}\n(.*?)^```", _text(name), flags=re.DOTALL | re.MULTILINE)


def _anchors(text: str) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", re.sub(r"```.*?```", "", text, flags=re.DOTALL), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("name", NAMES)
def test_links_lead_somewhere(name: str) -> None:
    prose = re.sub(r"```.*?```", "", _text(name), flags=re.DOTALL)
    broken = []
    for target, anchor in re.findall(r"\]\(([^)#\s]*)(?:#([^)\s]*))?\)", prose):
        if "://" in target or target.startswith("mailto:"):
            continue
        page = (ROOT / name).parent / target if target else ROOT / name
        if not page.exists() or (anchor and anchor not in _anchors(page.read_text(encoding="utf-8"))):
            broken.append(f"{target}#{anchor}")
    assert broken == []


def test_the_index_names_every_page() -> None:
    pages = {str(page.relative_to(ROOT / "docs")) for page in ROOT.glob("docs/**/*.md")} - {"index.md"}
    assert set(re.findall(r"\]\(([^)]+)\)", _text("docs/index.md"))) == pages


@pytest.mark.parametrize("name", NAMES)
def test_every_command_that_is_named_exists(name: str) -> None:
    named = set(re.findall(r"(?:`|^\$ )opsflow ([a-z]+)", _text(name), flags=re.MULTILINE))
    later = {"serve"}
    assert named - set(COMMANDS) - later == set()


@pytest.mark.parametrize("name", NAMES)
def test_every_make_target_that_is_named_exists(name: str) -> None:
    targets = set(re.findall(r"^([a-z]+):", _text("Makefile"), flags=re.MULTILINE))
    named = set(re.findall(r"(?:`(?:sudo )?|^(?:sudo )?)make ([a-z]+)", _text(name), flags=re.MULTILINE))
    assert named - targets == set()


def test_the_stack_files_in_the_readme_load(tmp_path: Path) -> None:
    blocks = [block for block in _blocks("README.md", "yaml") if block.startswith("stack:")]
    assert blocks
    for block in blocks:
        name = block.split()[1]
        file = tmp_path / "stacks" / f"{name}.yml"
        file.parent.mkdir(exist_ok=True)
        file.write_text(block, encoding="utf-8")
        assert load_stack(file).stack.name == name


@pytest.mark.parametrize("name", NAMES)
def test_python_examples_compile(name: str) -> None:
    for block in _blocks(name, "python"):
        compile(block, name, "exec")


def test_the_navigation_names_every_page() -> None:
    named = set(re.findall(r": ([\w./-]+\.md)$", _text("mkdocs.yml"), flags=re.MULTILINE))
    assert named == {str(page.relative_to(ROOT / "docs")) for page in ROOT.glob("docs/**/*.md")}
