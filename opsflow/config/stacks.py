"""Stack files: finding, loading and validating them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from pydantic import ValidationError

from opsflow.config.document import DataPath, Document, Place
from opsflow.config.plain import read_document
from opsflow.config.reading import read_text
from opsflow.config.wording import Found, problems_of, reference_problem
from opsflow.config.words import did_you_mean
from opsflow.errors import ConfigError, Problem, UsageError
from opsflow.model.references import broken_references
from opsflow.model.stack import Stack

MOST_PROBLEMS = 100
MOST_EACH = 300
"""Problems of one kind that are worked out at all; what is above :data:`MOST_PROBLEMS` is only counted."""
_SUFFIXES = (".yml", ".yaml")


@dataclass(frozen=True, slots=True)
class LoadedStack:
    """A valid stack and the file that it came from.

    Attributes:
        stack: what the file declares.
        file: its path.
        digest: sha256 of its bytes, in hex.
        document: its data as written, with the place of every key and value.
    """

    stack: Stack
    file: Path
    digest: str
    document: Document

    @property
    def marks(self) -> Mapping[DataPath, Place]:
        """Where every key and value was written, by path."""
        return self.document.marks


def load_stack(path: Path) -> LoadedStack:
    """Read and validate a stack file.

    Raises:
        ConfigError: with every problem of the file, in the order of its lines.
    """
    source = read_text(path)
    reading = read_document(source)
    found = list(reading.problems)
    stack = _validate(reading.document, path, found)
    if found or stack is None:
        raise ConfigError(_in_order(found))
    return LoadedStack(stack, path, hashlib.sha256(source.raw).hexdigest(), reading.document)


def find_stack(root: Path, name_or_path: str) -> Path:
    """The file of a stack, given its name or a path.

    Raises:
        UsageError: there is none; the message names those that are there.
    """
    given = Path(name_or_path)
    if given.suffix in _SUFFIXES or len(given.parts) > 1:
        return _existing(given if given.is_file() else root / given, name_or_path)
    for suffix in _SUFFIXES:
        file = root / "stacks" / f"{name_or_path}{suffix}"
        if file.is_file():
            return file
    names = list_stacks(root)
    hint = did_you_mean(name_or_path, names) or f"stacks: {', '.join(names) or 'none; opsflow init writes one'}"
    raise UsageError(f"there is no stack '{name_or_path}' in {root / 'stacks'}", hint=hint)


def list_stacks(root: Path) -> tuple[str, ...]:
    """The names of the stack files of a project, sorted."""
    files = (file for suffix in _SUFFIXES for file in (root / "stacks").glob(f"*{suffix}") if file.is_file())
    return tuple(sorted({file.stem for file in files}))


def _existing(file: Path, given: str) -> Path:
    if not file.is_file():
        raise UsageError(f"there is no stack file '{given}'", hint="name a stack, or the path of a .yml file")
    return file


def _validate(document: Document, path: Path, found: list[Found]) -> Stack | None:
    """The stack of a document; adds what is wrong to ``found``."""
    if not isinstance(document.data, dict):
        message = "is empty" if document.data is None else "should be a mapping (KEY: VALUE)"
        found.append(((), document.problem((), message, hint="a stack file starts with 'stack: NAME'")))
        return None
    refused = {(problem.line, problem.column) for _, problem in found}
    stack: Stack | None = None
    try:
        # Strict, so that no value is silently turned into another; as JSON, because only there is a list a tuple.
        stack = Stack.model_validate_json(json.dumps(document.data), strict=True)
    except ValidationError as error:
        # Where the YAML itself is refused there is only a stand-in to validate.
        problems = islice(problems_of(error, document), MOST_EACH)
        found += ((at, one) for at, one in problems if (one.line, one.column) not in refused)
    found += (reference_problem(broken, document) for broken in islice(broken_references(document.data), MOST_EACH))
    found += _misnamed(document, path)
    return stack


def _misnamed(document: Document, path: Path) -> Iterable[Found]:
    """A copied file that still carries the name of the first stack would act on the first one's machines."""
    name = document.data.get("stack")
    if isinstance(name, str) and path.parent.name == "stacks" and path.stem != name:
        message = f"is '{name}', but the file is called '{path.name}'"
        yield ("stack",), document.problem(("stack",), message, hint="give both the same name")


def _in_order(found: Iterable[Found]) -> list[Problem]:
    problems = sorted((problem for _, problem in found), key=lambda one: (one.line or 0, one.column or 0, one.path))
    unique = list(dict.fromkeys(problems))
    if len(unique) > MOST_PROBLEMS:
        rest = len(unique) - MOST_PROBLEMS
        unique[MOST_PROBLEMS:] = [
            Problem(file=unique[0].file, message=f"and {rest} more problems; these are the first")
        ]
    return unique
