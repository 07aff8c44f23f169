"""Shell texts that cannot do more than they say: they need no subshell, and nothing of theirs stays behind.

Only what is recognised counts: one program of a list, with arguments that are no more than plain or quoted words, and
the texts of lean facts.
"""

from __future__ import annotations

import re

from opsflow.engine import file_texts, host_texts, lean_packages, lean_users

_WORD = r"(?:[A-Za-z0-9_./@%+:,=^-]|'[^']*')+"
"""A word in which the shell replaces nothing."""

_READERS = "cat|uname|hostname|id|getent|stat|ls|nproc|readlink|dpkg|dpkg-query|rpm|apk"
_WRITERS = "mkdir|rmdir|chmod|chown|chgrp|touch|rm|ln|cp|mv|useradd|usermod|userdel|groupadd|groupmod|groupdel"
"""They start no process of their own that outlives them."""

_READS = re.compile(rf"(?:(?:{_READERS})|command -v)(?: {_WORD})*(?: 2> ?/dev/null)?(?: \|\| true)?")
_WRITES = re.compile(rf"(?:{_WRITERS})(?: {_WORD})+|echo(?: {_WORD})+ ?>> ?(?!/dev/|/proc/){_WORD}")
"""Also `echo` to the end of a file, but for files that are something else."""

_TESTS = re.compile(
    r"(?:(?:if|elif) (?:\[ -[a-z] \"\$[A-Z_]+\" \](?: && )?)+; then|else|fi|echo \"(?:\$[A-Z_]+)?\";|\s)+"
)
"""Variables of the environment, as pyinfra asks for the directory of temporary files."""

_LEAN = tuple(
    text("\0").partition("\0")[0]
    for text in (lean_users.users, lean_packages.packages, host_texts.distribution, host_texts.sources)
)


def reads(key: str) -> bool:
    """Whether a fact's text leaves the shell that runs it as it was."""
    return bool(_READS.fullmatch(key) or _TESTS.fullmatch(key)) or file_texts.recognised(key) or key.startswith(_LEAN)


def writes(script: str) -> bool:
    """Whether a command is over, with all that it started, when its program is."""
    return bool(_WRITES.fullmatch(script))
