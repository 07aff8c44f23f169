"""One redactor over every sink: logs, journal, run output, error texts.

A secret is registered once and replaced wherever it shows up, also base64-, hex-, URL-, JSON-, HTML- and shell-quoted.
Values shorter than :data:`SHORTEST` characters are not replaced: redacting ``a`` or ``true`` would wreck the output.
"""

from __future__ import annotations

import base64
import html
import json
import re
import shlex
import threading
from collections.abc import Iterable, Iterator
from typing import TypeVar
from urllib.parse import quote, quote_plus

MASK = "*****FILTERED*****"
SHORTEST = 6

_WRAPPED = (64, 76)
"""Where openssl and base64 break lines."""
_Text = TypeVar("_Text", str, bytes)


class Redactor:
    """Replaces registered secrets in text and bytes. Safe to share between threads."""

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        self._forms: tuple[str, ...] = ()
        self._raw_forms: tuple[bytes, ...] = ()
        self._lock = threading.Lock()
        self.add(*secrets)

    def add(self, *secrets: str) -> None:
        """Register secrets; empty and too short ones are ignored."""
        forms = {form for secret in secrets for form in _forms(secret)}
        with self._lock:
            known = {*self._forms, *forms}
            self._raw_forms = tuple(form.encode("utf-8", "surrogatepass") for form in known)
            self._forms = tuple(known)

    @property
    def longest(self) -> int:
        """Bytes of the longest form of a secret: what a reader of a stream keeps back to miss none at a cut."""
        return max(map(len, self._raw_forms), default=0)

    def text(self, value: str) -> str:
        """``value`` with every registered secret replaced by :data:`MASK`."""
        return _masked(value, self._forms, MASK)

    def bytes(self, value: bytes) -> bytes:
        """The same for bytes (secrets are matched as UTF-8)."""
        return _masked(value, self._raw_forms, MASK.encode())


def _masked(value: _Text, forms: Iterable[_Text], mask: _Text) -> _Text:
    found = [form for form in forms if form in value]
    if not found:
        return value
    spans = sorted(span for form in found for span in _occurrences(value, form))
    parts: list[_Text] = []
    end = 0
    for start, stop in spans:
        # Secrets that overlap become one mask; replacing one after the other would leave the rest of the second.
        if start >= end:
            parts += (value[end:start], mask)
        end = max(end, stop)
    parts.append(value[end:])
    return mask[:0].join(parts)


def _occurrences(value: _Text, form: _Text) -> Iterator[tuple[int, int]]:
    start = value.find(form)
    while start >= 0:
        stop = start + len(form)
        following = value.find(form, start + 1)
        while start < following < stop:
            stop = following + len(form)
            following = value.find(form, following + 1)
        yield start, stop
        start = following


def _forms(secret: str) -> set[str]:
    """The ways in which a secret is written. Those that contain it as it is are left out: they add no secret."""
    stripped = secret.strip()
    if len(stripped) < SHORTEST:
        return set()
    lines = {line.strip() for line in secret.splitlines() if not line.startswith("-----")}
    whole = {secret, stripped}
    written = {form for text in whole for form in (*_escaped(text), *_encoded(text))}
    return {
        *(text for text in whole | lines if len(text) >= SHORTEST),
        *(form for form in written if len(form) >= SHORTEST and stripped not in form),
    }


def _escaped(secret: str) -> Iterator[str]:
    raw = secret.encode("utf-8", "surrogatepass")
    for form in (quote(raw, safe=""), quote(raw), quote_plus(raw)):
        yield form
        yield re.sub("%..", lambda found: found[0].lower(), form)
    for ascii_only in (True, False):
        quoted = json.dumps(secret, ensure_ascii=ascii_only)[1:-1]
        yield from (quoted, quoted.replace("/", r"\/"))
    yield repr(secret)[1:-1]
    yield html.escape(secret)
    yield html.escape(secret, quote=False)
    yield shlex.quote(secret)[1:-1]
    yield secret.replace("'", r"'\''")
    yield re.sub(r'([$`"\\])', r"\\\1", secret)
    yield re.sub(r"([^\w@%+=:,./-])", r"\\\1", secret)


def _encoded(secret: str) -> Iterator[str]:
    raw = secret.encode("utf-8", "surrogatepass")
    yield raw.hex()
    yield raw.hex().upper()
    plain = base64.b64encode(raw).decode()
    for width in _WRAPPED:
        if len(plain) > width:
            yield from (line for at in range(0, len(plain), width) if len(line := plain[at : at + width]) == width)
    for before in range(3):
        # Inside a longer text, such as user:password, a secret begins at any of three offsets, and the characters
        # at its ends also depend on its neighbours.
        first, last = -(-8 * before // 6), 8 * (before + len(raw)) // 6
        form = base64.b64encode(b"\0" * before + raw).decode()[first:last]
        yield from (form, form.replace("+", "-").replace("/", "_"))
