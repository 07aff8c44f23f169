"""Passwords for sudo and su: known to the host's shell as variables, so that no command, fact or file contains one.

A password reaches sudo or su by its standard input, before everything else. Whether it was asked for at all depends on
the host, so what follows is found by a mark. It is tried once for each user that it leads to: with a wrong one nothing
else is attempted, or three attempts a command would lock the account.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from typing import Any

SHELL = r"""
_pass() {
  eval "_w=\$$1"
  [ -e "$_D/y$2" ] || [ -e "$_D/n$2" ] || {
    if printf '%s\n' "$_w" | (eval "$3") >/dev/null 2>"$_D/t$2"; then mv "$_D/t$2" "$_D/y$2"
    else mv "$_D/t$2" "$_D/n$2"; fi
  }
  if [ -e "$_D/n$2" ]; then
    cat "$_D/n$2" >&2
    printf '%s\n' "opsflow: no privileges with this password ($6); it was tried once and is not tried again" >&2
    return 1
  fi
  { printf '%s\n%s\n' "$_w" "$5"; cat; } | eval "$4"
}
"""
"""`_pass VARIABLE ID CHECK COMMAND MARK ARGUMENT`: COMMAND reads the password, the mark, and then our own input."""


def skip_to(mark: str) -> str:
    """Shell text that reads its standard input up to the mark, byte by byte: what follows is left to others."""
    return f'while IFS= read -r _l; do [ "$_l" != {mark} ] || break; done'


def asked_for(arguments: Mapping[str, Any]) -> str:
    """The global argument whose password is needed; empty when none is."""
    if arguments.get("_sudo"):
        return "_sudo_password" if arguments.get("_sudo_password") else ""
    return "_su_password" if arguments.get("_su_user") and arguments.get("_su_password") else ""


def told(passwords: Mapping[str, str]) -> str:
    """Shell text that makes passwords known; what was found out about earlier ones is void."""
    values = "".join(f"{name}={shlex.quote(value)}\n" for name, value in passwords.items())
    return f'{SHELL}[ -z "$_D" ] || rm -f "$_D"/[yn]_*\n{values}'


class Passwords:
    """Names the passwords of one plan, in the order in which recipes mention them."""

    def __init__(self) -> None:
        self._names: dict[str, str] = {}

    def named(self, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """The arguments with the name of a shell variable in place of each password."""
        found = dict(arguments)
        for key in ("_sudo_password", "_su_password"):
            if found.get(key):
                found[key] = self._names.setdefault(str(found[key]), f"_P{len(self._names)}")
        return found

    @property
    def values(self) -> dict[str, str]:
        """Variable -> password."""
        return {name: password for password, name in self._names.items()}


def problem(arguments: Mapping[str, Any]) -> str:
    """Why a password in these arguments cannot be used; empty when it can."""
    for key in ("_sudo_password", "_su_password"):
        if set(str(arguments.get(key) or "")) & {"\n", "\r", "\0"}:
            return f"{key} has a line break in it"
    sudo = arguments.get("_sudo") and arguments.get("_sudo_user") not in (None, "", "root")
    if sudo and arguments.get("_su_user") and arguments.get("_su_password"):
        return "_su_password together with _sudo to another user than root is not supported; use one of them"
    return ""
