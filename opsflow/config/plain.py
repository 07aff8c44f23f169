"""From nodes to plain data and positions; what YAML would silently make of a word is a problem, not a value."""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass, field
from typing import Any

from opsflow.config.document import DataPath, Document, Mark, Place
from opsflow.config.hiding import Span, is_secret
from opsflow.config.nodes import DEEPEST, MOST_VALUES, Node, compose
from opsflow.config.reading import Text
from opsflow.config.scalars import Surprise, resolve
from opsflow.errors import ConfigError, Problem
from opsflow.model.secrecy import is_secret_name

MERGE = "<<"
MOST_PROBLEMS = 300
"""What is reported; a file that is all wrong need not be told so line by line."""


@dataclass(frozen=True, slots=True)
class Reading:
    """A document and what is wrong with its YAML; the data hold a stand-in where a value was refused."""

    document: Document
    problems: tuple[tuple[DataPath, Problem], ...] = ()


def read_document(source: Text) -> Reading:
    """Parse a file.

    Raises:
        ConfigError: it has no usable tree at all; smaller problems are in the result.
    """
    walk = _Walk(source)
    data = walk.value((), compose(source), 0)
    # Messages are made at the end, when it is known which stretches of the text are secret.
    document = Document(source.file, source.lines, data, walk.marks, walk.secrets)
    found = tuple(
        (path, document.problem_at(mark, message, hint=hint, path=path))
        for (mark, message), (path, hint) in sorted(walk.problems.items(), key=lambda one: one[0])[:MOST_PROBLEMS]
    )
    return Reading(document, found)


@dataclass(slots=True)
class _Walk:
    source: Text
    marks: dict[DataPath, Place] = field(default_factory=dict)
    secrets: list[Span] = field(default_factory=list)
    problems: dict[tuple[Mark, str], tuple[DataPath, str | None]] = field(default_factory=dict)
    """By place and message: what an alias repeats is one problem."""
    _count: int = 0

    def value(self, path: DataPath, node: Node, depth: int) -> Any:
        self._bound(node, depth)
        self.marks.setdefault(path, Place(node.start, node.start))
        if node.tag not in (None, "!"):
            self._problem(
                node.start, path, f"the tag {_shown_tag(node.tag)} is not allowed", "remove it; quotes make text"
            )
        if node.is_scalar:
            return self._scalar(path, node)
        if node.is_mapping:
            return self._mapping(path, node, depth)
        return [self.value((*path, index), item, depth + 1) for index, item in enumerate(node.children)]

    def _bound(self, node: Node, depth: int) -> None:
        # Aliases make a small file large: what counts is what they stand for.
        self._count += 1
        if self._count > MOST_VALUES or depth > DEEPEST:
            limit = f"more than {MOST_VALUES:,} values" if depth <= DEEPEST else f"more than {DEEPEST} levels"
            document = Document(self.source.file, self.source.lines, secrets=None)
            raise ConfigError([document.problem_at(node.start, f"aliases expand to {limit}", hint="write it out")])

    def _scalar(self, path: DataPath, node: Node) -> Any:
        secret = is_secret(path)
        if secret:
            self.secrets.append(Span(node.start.line, node.start.column, node.end.line, node.end.column))
        if not node.plain:
            return node.text
        value = resolve(node.text)
        if not isinstance(value, Surprise):
            return value
        if any(is_secret_name(str(step)) for step in path) or path[-1:] == ("value",):
            self._problem(node.start, path, "YAML would not read this as text", "put it in quotes")
        else:
            self._problem(node.start, path, value.message, value.hint)
        return node.text

    def _mapping(self, path: DataPath, node: Node, depth: int) -> dict[str, Any]:
        entries = self._entries(path, node, depth)
        for key, (key_node, value_node) in entries.items():
            self.marks[(*path, key)] = Place(key_node.start, value_node.start)
        return {key: self.value((*path, key), value_node, depth + 1) for key, (_, value_node) in entries.items()}

    def _entries(self, path: DataPath, node: Node, depth: int) -> dict[str, tuple[Node, Node]]:
        """The keys of a mapping with those that ``<<`` brings in; its own keys win, then the first that is merged."""
        found: dict[str, tuple[Node, Node]] = {}
        own: dict[str, Mark] = {}
        for key_node, value_node in node.entries():
            if key_node.plain and key_node.text == MERGE:
                found = {**self._merged(path, value_node, depth), **found}
                continue
            key = self._key(path, key_node)
            if key is None:
                self._hide(value_node)
                continue
            first = own.setdefault(unicodedata.normalize("NFC", key), key_node.start)
            if first is key_node.start:
                found[key] = (key_node, value_node)
            else:
                message = f"the key '{_shown(key)}' is there twice; first in line {first.line}"
                self._problem(key_node.start, (*path, key), message, "keep one of them")
                self._hide_secrets((*path, key), value_node, depth + 1)
        return found

    def _merged(self, path: DataPath, node: Node, depth: int) -> dict[str, tuple[Node, Node]]:
        sources = [node] if node.is_mapping else node.children
        if not sources or not all(source.is_mapping for source in sources):
            message = "should be an alias of a mapping, or a list of them"
            self._problem(node.start, (*path, MERGE), message, "write '<<: *name'")
            return {}
        found: dict[str, tuple[Node, Node]] = {}
        for source in sources:
            self._bound(source, depth)
            found = {**self._entries(path, source, depth + 1), **found}
        return found

    def _hide_secrets(self, path: DataPath, node: Node, depth: int) -> None:
        """What is secret in a value that counts for nothing."""
        self._bound(node, depth)
        if is_secret(path):
            self._hide(node)
        elif node.is_mapping:
            for key, value in node.entries():
                self._hide_secrets((*path, key.text), value, depth + 1)
        elif not node.is_scalar:
            for index, item in enumerate(node.children):
                self._hide_secrets((*path, index), item, depth + 1)

    def _hide(self, node: Node) -> None:
        """Nobody looks at it any more, so nobody knows whether it is secret."""
        self.secrets.append(Span(node.start.line, node.start.column, node.end.line, node.end.column))

    def _key(self, path: DataPath, node: Node) -> str | None:
        """The key; also where it is refused, so that what stands below it is looked at."""
        if not node.is_scalar:
            self._problem(node.start, path, "a key should be text, not a list or mapping", None)
            return None
        value = resolve(node.text) if node.plain else node.text
        if isinstance(value, Surprise):
            self._problem(node.start, (*path, node.text), value.message, f'put the key in quotes: "{node.text}"')
        elif not isinstance(value, str):
            hint = f'put the key in quotes: "{node.text}"' if node.text else "write a key before the colon"
            self._problem(node.start, (*path, node.text), f"the key '{node.text}' is not text", hint)
        elif not value or not value.isprintable():
            self._problem(node.start, (*path, value), "a key should be visible text", None)
        return node.text

    def _problem(self, mark: Mark, path: DataPath, message: str, hint: str | None) -> None:
        self.problems.setdefault((mark, message), (path, hint))


def _shown(key: str) -> str:
    return key if len(key) <= 60 else key[:57] + "..."


def _shown_tag(tag: str | None) -> str:
    return _shown((tag or "").replace("tag:yaml.org,2002:", "!!"))
