"""Finding the stack files of a project."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
from stack_files import HEAD, LAYERS

from opsflow.config import find_stack, list_stacks, load_stack
from opsflow.errors import UsageError


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "stacks").mkdir()
    for name in ("shop.yml", "blog.yaml", "notes.txt"):
        (tmp_path / "stacks" / name).write_text(HEAD + LAYERS)
    (tmp_path / "stacks" / "dir.yml").mkdir()
    return tmp_path


def test_stacks_are_the_yaml_files(project: Path) -> None:
    assert list_stacks(project) == ("blog", "shop")


def test_a_project_without_stacks(tmp_path: Path) -> None:
    assert list_stacks(tmp_path) == ()


@pytest.mark.parametrize("name", ["shop", "stacks/shop.yml"])
def test_by_name_or_path(project: Path, name: str) -> None:
    assert find_stack(project, name).samefile(project / "stacks" / "shop.yml")


def test_by_absolute_path(project: Path) -> None:
    assert find_stack(Path("/nowhere"), f"{project}/stacks/blog.yaml") == project / "stacks" / "blog.yaml"


def test_by_path_from_the_working_directory(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(project / "stacks")
    assert find_stack(project, "shop.yml").samefile(project / "stacks" / "shop.yml")


@pytest.mark.parametrize(("name", "hint"), [("shp", "did you mean 'shop'?"), ("xyz", "stacks: blog, shop")])
def test_an_unknown_name(project: Path, name: str, hint: str) -> None:
    with pytest.raises(UsageError) as caught:
        find_stack(project, name)
    assert caught.value.hint == hint


@pytest.mark.parametrize("name", ["no.yml", "a/b", "../shop", "dir.yml", "", ".", "..", "a\0b"])
def test_no_such_file(project: Path, name: str) -> None:
    with pytest.raises(UsageError):
        find_stack(project, name)


def test_the_digest_is_of_the_bytes(project: Path) -> None:
    file = project / "stacks" / "shop.yml"
    assert load_stack(file).digest == hashlib.sha256(file.read_bytes()).hexdigest()
