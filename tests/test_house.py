"""The rules of the house that a linter does not know: who imports whom, what never gets into the repository."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "opsflow"
FORBIDDEN_MODULE_NAMES = {"utils", "util", "helpers", "common", "misc", "manager"}
UNFINISHED = re.compile(r"\b(TO" + r"DO|FIX" + r"ME|X" + r"XX)\b")
NOT_OURS = {"__pycache__", "build", "dist"}


def _files(*suffixes: str) -> list[Path]:
    """The project's own files with these suffixes: nothing hidden, nothing that was made by a tool."""
    return sorted(
        path
        for path in ROOT.rglob("*")
        if path.is_file()
        and (not suffixes or path.suffix in suffixes)
        and not any(part in NOT_OURS or part.startswith(".") for part in path.relative_to(ROOT).parts[:-1])
    )


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        return ""


def _name(path: Path) -> str:
    return str(path.relative_to(ROOT))


# ------------------------------------------------------------------------------------------------ architecture


def test_imports_point_down() -> None:
    linter = Path(sys.executable).with_name("lint-imports")
    done = subprocess.run([linter, "--no-cache", "--no-logo"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def _clock_calls(tree: ast.AST) -> Iterator[int]:
    # perf_counter is a stopwatch: what it says is reported, nothing is decided by it.
    reads = {"time.time", "time.sleep", "time.monotonic", "datetime.now", "datetime.utcnow"}
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and any(ast.unparse(node.func).endswith(name) for name in reads):
            receiver = ast.unparse(node.func)
            if receiver.split(".")[0] in {"time", "datetime"}:
                yield node.lineno


def test_only_clock_py_reads_the_clock_or_sleeps() -> None:
    found = [
        f"{_name(path)}:{line}"
        for path in sorted(PACKAGE.rglob("*.py"))
        if path.name != "clock.py"
        for line in _clock_calls(ast.parse(_text(path)))
    ]
    assert found == []


def test_modules_are_named_after_what_they_are_about() -> None:
    assert [_name(path) for path in PACKAGE.rglob("*.py") if path.stem in FORBIDDEN_MODULE_NAMES] == []


def test_the_folders_of_tests_mirror_the_package() -> None:
    rooms = {path.name for path in PACKAGE.iterdir() if path.is_dir()} | {"contract", "integration", "recipes"}
    folders = {path.name for path in (ROOT / "tests").iterdir() if path.is_dir() and path.name not in NOT_OURS}
    assert folders - rooms == set()


def test_every_test_file_has_a_name_of_its_own() -> None:
    names = [path.name for path in (ROOT / "tests").rglob("*.py") if path.name != "conftest.py"]
    assert sorted(names) == sorted(set(names))


def test_every_module_says_what_it_is() -> None:
    without = [_name(path) for path in PACKAGE.rglob("*.py") if not ast.get_docstring(ast.parse(_text(path)))]
    assert without == []


# ------------------------------------------------------------------------------------------------ repository


def test_nothing_is_left_unfinished() -> None:
    found = [
        f"{_name(path)}:{number}"
        for path in _files(".py", ".sh", ".md", ".j2", ".toml")
        for number, line in enumerate(_text(path).splitlines(), 1)
        if UNFINISHED.search(line)
    ]
    assert found == []


def test_no_file_names_the_place_where_it_was_written() -> None:
    place = re.compile(rf"(?<![\w.-]){re.escape(str(ROOT))}/|/Users/\w+/")
    found = [_name(path) for path in _files() if place.search(_text(path))]
    assert found == []


def test_every_suppressed_warning_says_which_one() -> None:
    bare = re.compile(r"#\s*(noqa(?!:)|type:\s*ignore(?!\[))")
    found = [_name(path) for path in _files(".py") if path.name != "test_house.py" and bare.search(_text(path))]
    assert found == []


def test_the_licence_is_apache_2() -> None:
    text = _text(ROOT / "LICENSE")
    assert "Apache License" in text
    assert "Version 2.0, January 2004" in text


# ------------------------------------------------------------------------------------------------ dependencies


def _locked() -> dict[str, list[str]]:
    packages: dict[str, list[str]] = {}
    name = ""
    for line in _text(ROOT / "requirements.lock").splitlines():
        if match := re.match(r"([A-Za-z0-9._-]+)==\S+", line):
            name = canonicalize_name(match[1])
            packages.setdefault(name, [])
        elif match := re.match(r"\s+--hash=(sha256:[0-9a-f]{64})( \\)?$", line):
            packages[name].append(match[1])
        else:
            assert line.startswith("#"), f"requirements.lock: unexpected line {line!r}"
    return packages


def test_every_locked_package_has_hashes() -> None:
    assert [name for name, hashes in _locked().items() if not hashes] == []


def test_the_lock_holds_every_dependency_and_extra() -> None:
    project = tomllib.loads(_text(ROOT / "pyproject.toml"))["project"]
    wanted = [
        *project["dependencies"],
        *(line for extra in project["optional-dependencies"].values() for line in extra),
    ]
    names = {canonicalize_name(Requirement(line).name) for line in wanted} - {"opsflow"}
    assert names - _locked().keys() == set()


@pytest.mark.parametrize("name", ["requirements.lock", "Makefile", ".ci/run", "scripts/bootstrap", "scripts/lock"])
def test_set_up_names_no_download_host(name: str) -> None:
    text = _text(ROOT / name)
    assert re.findall(r"\w+://\S+|--(?:extra-)?index-url|--find-links|--trusted-host", text) == []
    assert not re.search(r"\b(curl|wget)\b", text)
