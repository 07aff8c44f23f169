"""From text to a tree of YAML nodes with positions, bounded in depth and size, without recursion."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import yaml
from yaml.events import (
    AliasEvent,
    CollectionEndEvent,
    DocumentStartEvent,
    Event,
    MappingStartEvent,
    NodeEvent,
    ScalarEvent,
    SequenceStartEvent,
)

from opsflow.config.document import Document, Mark
from opsflow.config.hiding import hides
from opsflow.config.reading import Text
from opsflow.errors import ConfigError

DEEPEST = 40
MOST_VALUES = 30_000

# The C parser is 20 times as fast; PyYAML is built without it on some systems.
_LOADER: type[yaml.CSafeLoader] | type[yaml.SafeLoader] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


@dataclass(slots=True)
class Node:
    """A scalar, a list (``children``) or a mapping (``children``: key, value, key, value ...)."""

    start: Mark
    end: Mark
    kind: type[Event]
    text: str = ""
    plain: bool = False
    tag: str | None = None
    children: list[Node] = field(default_factory=list)
    complete: bool = True

    @property
    def is_scalar(self) -> bool:
        """Whether it is a single value."""
        return self.kind is ScalarEvent

    @property
    def is_mapping(self) -> bool:
        """Whether it has keys."""
        return self.kind is MappingStartEvent

    def entries(self) -> Iterator[tuple[Node, Node]]:
        """Keys and values of a mapping."""
        return zip(self.children[::2], self.children[1::2], strict=True)


def compose(source: Text) -> Node:
    """The tree of the only document of a file. An alias is the very node that it names.

    Raises:
        ConfigError: the file is empty, not YAML, too deep or too large, or has several documents.
    """
    composer = _Composer(source)
    try:
        for event in yaml.parse(source.text, Loader=_LOADER):
            composer.take(event)
    except yaml.YAMLError as error:
        raise composer.syntax(error) from None
    if composer.root is None:
        raise composer.refusal(Mark(1, 1), "is empty", "a stack file starts with 'stack: NAME'")
    return composer.root


class _Composer:
    def __init__(self, source: Text) -> None:
        self.source = source
        self.root: Node | None = None
        self._open: list[Node] = []
        self._anchors: dict[str, Node] = {}
        self._values = 0

    def take(self, event: Event) -> None:
        if isinstance(event, CollectionEndEvent):
            node = self._open.pop()
            node.end, node.complete = _mark(event.end_mark), True
        elif isinstance(event, AliasEvent):
            self._place(self._aliased(event))
        elif isinstance(event, NodeEvent):
            self._begin(event)
        elif isinstance(event, DocumentStartEvent) and self.root is not None:
            raise self.refusal(_mark(event.start_mark), "has a second document", "write one stack a file; remove '---'")

    def _begin(self, event: NodeEvent) -> None:
        node = _node(event)
        self._values += 1
        if self._values > MOST_VALUES:
            raise self.refusal(node.start, f"has more than {MOST_VALUES:,} values", "split the stack")
        if not node.text.isascii() and any("\ud800" <= char <= "\udfff" for char in node.text):
            # The C parser refuses such an escape itself.
            raise self.refusal(node.start, "is not valid YAML: half of a surrogate pair", "write the whole character")
        if event.anchor:
            self._anchors[event.anchor] = node
        self._place(node)
        if not node.is_scalar:
            node.complete = False
            self._open.append(node)
            if len(self._open) > DEEPEST:
                raise self.refusal(node.start, f"is nested deeper than {DEEPEST} levels", "a stack needs about ten")

    def _place(self, node: Node) -> None:
        if self._open:
            self._open[-1].children.append(node)
        else:
            self.root = node

    def _aliased(self, event: AliasEvent) -> Node:
        node = self._anchors.get(event.anchor or "")
        mark = _mark(event.start_mark)
        if node is None:
            raise self.refusal(mark, f"there is no anchor '&{event.anchor}' above", "write the anchor first")
        if not node.complete:
            raise self.refusal(mark, f"'*{event.anchor}' contains itself", "an alias cannot stand inside its anchor")
        return node

    def syntax(self, error: yaml.YAMLError) -> ConfigError:
        mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
        place = _mark(mark) if mark else Mark(1, 1)
        lines = self.source.lines
        line = lines[place.line - 1] if place.line <= len(lines) else ""
        if "\t" in line[: len(line) - len(line.lstrip())]:
            return self.refusal(
                Mark(place.line, line.index("\t") + 1), "a tab in the indentation", "indent with spaces"
            )
        what = getattr(error, "problem", None) or "it cannot be read"
        return self.refusal(place, f"is not valid YAML: {what}", _syntax_hint(what, line))

    def refusal(self, mark: Mark, message: str, hint: str | None = None) -> ConfigError:
        # Half a file has no paths; below such a key the line is not shown at all.
        lines = () if any(hides(key) for key in self._keys_now()) else self.source.lines
        document = Document(self.source.file, lines, secrets=None)
        return ConfigError([document.problem_at(mark, message, hint=hint)])

    def _keys_now(self) -> list[str]:
        """The keys whose values are being read."""
        keys = []
        for node in self._open:
            awaits_value = len(node.children) % 2 == 1
            key = node.children[-1 if awaits_value else -2 :][:1] if node.is_mapping else []
            keys += [one.text for one in key if awaits_value or node is not self._open[-1]]
        return keys


def _node(event: NodeEvent) -> Node:
    tag: str | None = getattr(event, "tag", None)
    node = Node(_mark(event.start_mark), _mark(event.end_mark), _kind(event), tag=tag)
    if isinstance(event, ScalarEvent):
        node.text = event.value
        node.plain = event.style in (None, "")
    return node


def _kind(event: NodeEvent) -> type[Event]:
    return next(kind for kind in (ScalarEvent, MappingStartEvent, SequenceStartEvent) if isinstance(event, kind))


def _mark(mark: Any) -> Mark:
    return Mark(mark.line + 1, mark.column + 1)


def _syntax_hint(what: str, line: str) -> str:
    if "mapping values are not allowed" in what:
        return "check the indentation, and put a value that contains ': ' in quotes"
    if "cannot start any token" in what:
        return "put a value that starts with @, `, % or a tab in quotes"
    if "\t" in line:
        return "use spaces instead of tabs"
    return "check the indentation, quotes and brackets here and in the line above"
