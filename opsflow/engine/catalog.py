"""The recipe modules of a stack, read without running them: names, lines and digests."""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from functools import cached_property
from pathlib import Path

from opsflow.engine.aliases import Alias, add_aliases, aliases, imported_from
from opsflow.errors import Problem, RecipeError
from opsflow.ports import RecipeSource

LARGEST = 1_000_000
"""Bytes of a recipe module; a larger file is not a recipe."""
_NO_PART = ("*~", "*.swp", "*.swo", "*.bak", "*.orig", "#*#", "README*", "*.md", "*.pyc", "*.py")
"""Files beside the recipes that no recipe is made of: what editors leave, and texts for people. Modules are apart."""

Parsed = tuple[Path, dict[str, RecipeSource]]
"""A module's file and its functions."""


class _Modules(Mapping[str, Mapping[str, RecipeSource]]):
    """The modules that can be parsed; looking up another one that is there says what is wrong.

    A module that nobody asks for must not keep a stack from being worked on, least of all from being destroyed.
    """

    def __init__(self, found: Mapping[str, Mapping[str, RecipeSource]], broken: Mapping[str, RecipeError]) -> None:
        self._found = found
        self._broken = broken

    def __getitem__(self, name: str) -> Mapping[str, RecipeSource]:
        if name in self._broken:
            raise _broken(self._broken)
        return self._found[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._found)

    def __len__(self) -> int:
        return len(self._found)


class AstCatalog:
    """Finds recipe functions by parsing the modules on the recipe paths (ports.RecipeCatalog)."""

    def __init__(self, paths: Sequence[Path]) -> None:
        self._paths = tuple(path.resolve() for path in paths)

    def modules(self) -> Mapping[str, Mapping[str, RecipeSource]]:
        """Module name -> function name -> source. An earlier path wins over a later one.

        Raises:
            RecipeError: a recipe directory is missing; or, once a module that cannot be parsed is looked up, what is
                wrong with every such module.
        """
        if self._missing:
            raise RecipeError(self._missing)
        return _Modules({name: functions for name, (_, functions) in self._parsed.items()}, self._broken)

    def check(self) -> None:
        """See whether every module can be parsed, also those that nobody has asked for.

        Raises:
            RecipeError: some cannot, all of them.
        """
        self.modules()
        if self._broken:
            raise _broken(self._broken)

    def broken(self) -> Mapping[str, Sequence[Problem]]:
        """What is wrong with each module that cannot be parsed."""
        return {name: error.problems for name, error in self._broken.items()}

    def digest(self, recipes: Sequence[str]) -> str:
        """Digest of what the recipes are made of: their modules, what those import, and every other file beside them.

        Templates and files are not told apart by recipe, so a change in one of them changes every digest. What is
        hidden, what editors leave behind and texts for people (README*, *.md) do not count.
        """
        modules = self._with_imports({name.rpartition(".")[0] for name in recipes})
        seen = hashlib.sha256()
        for name in sorted(modules):
            file, _ = self._parsed[name]
            seen.update(f"{name}\0".encode() + file.read_bytes() + b"\0")
        for relative, path in self._other_files:
            seen.update(f"{relative}\0".encode() + path.read_bytes() + b"\0")
        return seen.hexdigest()

    def _with_imports(self, names: set[str]) -> set[str]:
        todo, found = list(names & self._parsed.keys()), set[str]()
        while todo:
            name = todo.pop()
            if name not in found:
                found.add(name)
                imported = (other for start in self._imports(name) for other in _with_packages(start))
                todo += [other for other in imported if other in self._parsed]
        return found

    def _imports(self, name: str) -> Iterator[str]:
        file, _ = self._parsed[name]
        yield name
        for node in ast.walk(ast.parse(file.read_bytes())):
            if isinstance(node, ast.Import):
                yield from (alias.name for alias in node.names)
            elif isinstance(node, ast.ImportFrom):
                base = imported_from(node, name, package=file.name == "__init__.py")
                yield base
                yield from (f"{base}.{alias.name}".lstrip(".") for alias in node.names)

    @property
    def _missing(self) -> list[Problem]:
        hint = "see recipe_paths"
        return [
            Problem(str(root), "there is no such recipe directory", hint=hint)
            for root in self._paths
            if not root.is_dir()
        ]

    @property
    def _parsed(self) -> dict[str, Parsed]:
        return self._read[0]

    @property
    def _broken(self) -> dict[str, RecipeError]:
        return self._read[1]

    @cached_property
    def _read(self) -> tuple[dict[str, Parsed], dict[str, RecipeError]]:
        """The modules, and those that cannot be parsed."""
        found: dict[str, Parsed] = {}
        broken: dict[str, RecipeError] = {}
        seconds: dict[str, list[Alias]] = {}
        for root in self._paths:
            for file in sorted(root.rglob("*.py")):
                name = _module_name(file.relative_to(root))
                if name and name not in found and name not in broken:
                    try:
                        tree = _tree(file)
                        found[name] = (file, _functions(tree, name, file))
                        seconds[name] = list(aliases(tree, name, package=file.name == "__init__.py"))
                    except RecipeError as error:
                        broken[name] = error
        add_aliases({name: functions for name, (_, functions) in found.items()}, seconds)
        return {name: (file, _public(functions)) for name, (file, functions) in found.items()}, broken

    @cached_property
    def _other_files(self) -> list[tuple[Path, Path]]:
        return sorted(
            (file.relative_to(root), file)
            for root in self._paths
            for file in root.rglob("*")
            if file.is_file() and not _no_part(file.relative_to(root))
        )


def _broken(modules: Mapping[str, RecipeError]) -> RecipeError:
    return RecipeError([problem for error in modules.values() for problem in error.problems])


def _with_packages(name: str) -> Iterator[str]:
    """The module and the packages that are imported before it."""
    parts = name.split(".")
    return (".".join(parts[:length]) for length in range(len(parts), 0, -1))


def _no_part(path: Path) -> bool:
    hidden = any(part.startswith(".") or part == "__pycache__" for part in path.parts)
    return hidden or any(fnmatchcase(path.name, pattern) for pattern in _NO_PART)


def _module_name(path: Path) -> str | None:
    parts = path.with_suffix("").parts
    if parts[-1] == "__init__":
        parts = parts[:-1]
    return ".".join(parts) if parts and all(part.isidentifier() for part in parts) else None


def _tree(file: Path) -> ast.Module:
    try:
        source = file.read_bytes()
        if len(source) > LARGEST:
            raise RecipeError([Problem(str(file), f"has {len(source)} bytes; a recipe module has at most {LARGEST}")])
        return ast.parse(source)
    except SyntaxError as error:
        snippet = (error.text or "").rstrip("\n").expandtabs(4) or None
        raise RecipeError(
            [Problem(str(file), f"is not valid Python: {error.msg}", error.lineno, error.offset, snippet=snippet)]
        ) from None
    except (OSError, ValueError, RecursionError, MemoryError) as error:
        raise RecipeError([Problem(str(file), f"cannot be read as Python: {error}")]) from None


def _functions(tree: ast.Module, module: str, file: Path) -> dict[str, RecipeSource]:
    return {
        node.name: RecipeSource(f"{module}.{node.name}", file, node.lineno, ast.get_docstring(node) or "")
        for node in tree.body
        if isinstance(node, ast.FunctionDef)
    }


def _public(functions: Mapping[str, RecipeSource]) -> dict[str, RecipeSource]:
    return {name: source for name, source in functions.items() if not name.startswith("_")}
