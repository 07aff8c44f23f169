"""One redactor over every sink: logs, journal, run output, error texts.

A secret is registered once and replaced wherever it shows up, also base64-, URL-, JSON- and shell-quoted.
Values shorter than :data:`SHORTEST` characters are not replaced: redacting ``a`` or ``true`` would wreck the output.
"""

from __future__ import annotations

import base64
import json
import shlex
import threading
from collections.abc import Iterable
from urllib.parse import quote

MASK = "*****FILTERED*****"
SHORTEST = 6


class Redactor:
    """Replaces registered secrets in text and bytes. Safe to share between threads."""

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        self._forms: tuple[str, ...] = ()
        self._lock = threading.Lock()
        self.add(*secrets)

    def add(self, *secrets: str) -> None:
        """Register secrets; empty and too short ones are ignored."""
        forms = {form for secret in secrets if len(secret) >= SHORTEST for form in _forms(secret)}
        with self._lock:
            # Longest first, so that a form which contains another is replaced whole.
            self._forms = tuple(sorted({*self._forms, *forms}, key=len, reverse=True))

    def text(self, value: str) -> str:
        """``value`` with every registered secret replaced by :data:`MASK`."""
        for form in self._forms:
            if form in value:
                value = value.replace(form, MASK)
        return value

    def bytes(self, value: bytes) -> bytes:
        """The same for bytes (secrets are matched as UTF-8)."""
        for form in self._forms:
            raw = form.encode()
            if raw in value:
                value = value.replace(raw, MASK.encode())
        return value


def _forms(secret: str) -> set[str]:
    plain = base64.b64encode(secret.encode()).decode()
    return {
        secret,
        quote(secret, safe=""),
        json.dumps(secret)[1:-1],
        shlex.quote(secret),
        # A base64 form at the end of a longer text may lose its last quantum, so match without padding.
        plain.rstrip("="),
        *(line for line in secret.splitlines() if len(line) >= SHORTEST),
    }
