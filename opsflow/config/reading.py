"""From a path to text: the limits and encodings that a file must keep before anything parses it."""

from __future__ import annotations

import codecs
import re
import stat
from dataclasses import dataclass
from pathlib import Path

from opsflow.config.document import Document, Mark
from opsflow.errors import ConfigError, Problem

LARGEST = 1024 * 1024
"""Bytes; a stack of thousands of instances is far below."""

_FOREIGN = (
    (codecs.BOM_UTF32_LE, "UTF-32"),
    (codecs.BOM_UTF32_BE, "UTF-32"),
    (codecs.BOM_UTF16_LE, "UTF-16"),
    (codecs.BOM_UTF16_BE, "UTF-16"),
)
# Control characters, other line ends and marks that reorder text: what the eye sees is not what the parser reads.
_INVISIBLE = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ufeff\ufffe\uffff]")
LINE_END = re.compile("\r\n|\n|\r")

MOST_INVISIBLE = 20


@dataclass(frozen=True, slots=True)
class Text:
    """The content of a file."""

    file: str
    raw: bytes
    text: str
    lines: tuple[str, ...]


def read_text(path: Path) -> Text:
    """The text of a file. A UTF-8 byte order mark at its start is accepted and dropped.

    Raises:
        ConfigError: it does not exist, cannot be read, is no regular file, too large, or not clean UTF-8.
    """
    raw = _read_bytes(path)
    text = _decode(str(path), raw)
    lines = tuple(LINE_END.split(text))
    _refuse_invisible(str(path), lines)
    return Text(str(path), raw, text, lines)


def _read_bytes(path: Path) -> bytes:
    try:
        info = path.stat()
        if not stat.S_ISREG(info.st_mode):
            kind = "a directory" if stat.S_ISDIR(info.st_mode) else "not a regular file"
            raise _refusal(str(path), f"is {kind}", hint="name a YAML file")
        if info.st_size > LARGEST:
            raise _too_large(str(path))
        with path.open("rb") as stream:
            raw = stream.read(LARGEST + 1)
    except FileNotFoundError:
        raise _refusal(str(path), "there is no such file") from None
    except (OSError, ValueError) as error:
        reason = (error.strerror or str(error)).lower() if isinstance(error, OSError) else str(error)
        raise _refusal(str(path), f"cannot be read: {reason}") from error
    if len(raw) > LARGEST:
        raise _too_large(str(path))
    return raw


def _too_large(file: str) -> ConfigError:
    return _refusal(file, f"is larger than {LARGEST // 1024} KiB", hint="a stack file holds settings, not data")


def _decode(file: str, raw: bytes) -> str:
    for mark, name in _FOREIGN:
        if raw.startswith(mark):
            raise _refusal(file, f"is encoded in {name}", hint="save it as UTF-8")
    if b"\x00" in raw[:4]:
        raise _refusal(
            file, "is not UTF-8: there is a NUL byte at its start", hint="save it as UTF-8, not UTF-16 or UTF-32"
        )
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        good = error.object[: error.start].decode("utf-8-sig", errors="replace")
        lines = LINE_END.split(good)
        problem = Problem(
            file=file,
            line=len(lines),
            column=len(lines[-1]) + 1,
            message=f"is not UTF-8: byte 0x{error.object[error.start]:02x} cannot stand here",
            hint="save it as UTF-8",
        )
        raise ConfigError([problem]) from None


def _refuse_invisible(file: str, lines: tuple[str, ...]) -> None:
    document = Document(file, lines, secrets=None)
    problems = []
    for number, line in enumerate(lines, 1):
        found = _INVISIBLE.search(line)
        if found:
            code = ord(found[0])
            escape = f"\\x{code:02x}" if code < 256 else f"\\u{code:04x}"
            problems.append(
                document.problem_at(
                    Mark(number, found.start() + 1),
                    f"contains the invisible character U+{code:04X}",
                    hint=f'remove it; where it is meant, write "{escape}" in double quotes',
                )
            )
        if len(problems) == MOST_INVISIBLE:
            break
    if problems:
        raise ConfigError(problems)


def _refusal(file: str, message: str, hint: str | None = None) -> ConfigError:
    return ConfigError([Problem(file=file, message=message, hint=hint)])
