"""Shell text for commands, facts and uploads, with privileges, environment and directory as pyinfra means them.

Nothing that could be secret gets into an argument list: an escalated shell reads its command from standard input.
"""

from __future__ import annotations

import hashlib
import shlex
from collections.abc import Mapping
from typing import Any

from pyinfra.api.command import StringCommand
from pyinfra.api.hiddenvalue import HiddenValue
from pyinfra.connectors.util import make_unix_command

ESCALATION = (
    "_sudo", "_sudo_user", "_use_sudo_login", "_preserve_sudo_env",
    "_su_user", "_use_su_login", "_preserve_su_env", "_su_shell",
    "_doas", "_doas_user", "_dzdo", "_dzdo_user",
)  # fmt: skip

READ_FROM_STDIN = 'eval "$(cat)"'

OWN_PROCESS = ("$$", "PPID", "BASHPID")
"""Commands that mention these get a shell of their own, so that they mean it and not the engine's."""

PUT = r"""
case "$1" in /*) d=$1 ;; *) d=$PWD/$1 ;; esac
if [ -L "$d" ]; then d=$(readlink -f -- "$d") || exit 1; fi
if [ -d "$d" ]; then printf '%s: is a directory\n' "$d" >&2; exit 1; fi
if [ -e "$d" ]; then
  if [ ! -f "$d" ]; then exec cat >"$d"; fi
  if [ "$(stat -c %h "$d" 2>/dev/null || echo 2)" != 1 ]; then exec cat >"$d"; fi
  u=$(id -u)
  if [ "$u" != 0 ] && [ "$(stat -c %u "$d" 2>/dev/null)" != "$u" ]; then exec cat >"$d"; fi
fi
if [ ! -w "${d%/*}/" ]; then exec cat >"$d"; fi
t=$(umask 077; mktemp "${d%/*}/.opsflow.XXXXXX") || exit 1
if [ -e "$d" ]; then cp -p -- "$d" "$t"; else chmod "$(printf %o $((0666 & ~0$(umask))))" "$t"; fi ||
  { rm -f "$t"; exit 1; }
cat >"$t" || { rm -f "$t"; exit 1; }
mv -f -- "$t" "$d" 2>/dev/null && exit 0
cat <"$t" >"$d"; r=$?; rm -f "$t"; exit "$r"
"""
"""Write standard input to $1 at once or not at all, keeping the mode and owner of a file that exists.

Where a rename would change more than the content (hard links, devices, somebody else's file) or cannot be done (mount
points, as /etc/hosts in a container), it writes in place.
"""


def rendered(command: StringCommand | str, arguments: Mapping[str, Any]) -> str:
    """Shell text that runs ``command`` as the global arguments ask for."""
    text = command if isinstance(command, str) else command.get_raw_value()
    return escalated(_with_surroundings(text, arguments), arguments)


def upload(dest: str, arguments: Mapping[str, Any]) -> str:
    """Shell text that writes its standard input to ``dest``."""
    text = f"set -- {shlex.quote(dest)}{PUT}"
    wrapper = _wrapper(arguments)
    return text if wrapper is None else wrapper(_in_directory(text, arguments))


def read_file(path: str, arguments: Mapping[str, Any]) -> str:
    """Shell text that prints the file ``path``."""
    return escalated(_in_directory(f"cat -- {shlex.quote(path)}", arguments), arguments)


def escalated(text: str, arguments: Mapping[str, Any]) -> str:
    """Run ``text`` in the shell of the user that the arguments ask for; the text goes over standard input."""
    wrapper = _wrapper(arguments, always=any(word in text for word in OWN_PROCESS))
    if wrapper is None:
        return text
    mark = f"_OPSFLOW_{hashlib.sha256(text.encode()).hexdigest()[:12]}_"
    return f"{wrapper(READ_FROM_STDIN)} <<'{mark}'\n{text}\n{mark}"


def _wrapper(arguments: Mapping[str, Any], *, always: bool = False) -> Any:
    asked = {key: arguments[key] for key in ESCALATION if arguments.get(key)}
    shell = arguments.get("_shell_executable") or "sh"
    if not asked and shell == "sh" and not always:
        return None

    def wrap(text: str) -> str:
        return make_unix_command(StringCommand(text), _shell_executable=shell, **asked).get_raw_value()

    return wrap


def _with_surroundings(text: str, arguments: Mapping[str, Any]) -> str:
    environment = arguments.get("_env") or {}
    if environment:
        pairs = " ".join(shlex.quote(f"{key}={_plain(value)}") for key, value in environment.items())
        text = f"export {pairs} && {text}"
    return _in_directory(text, arguments)


def _in_directory(text: str, arguments: Mapping[str, Any]) -> str:
    directory = arguments.get("_chdir")
    return f"cd {shlex.quote(directory)} && {text}" if directory else text


def _plain(value: Any) -> str:
    return str(value.unmask()) if isinstance(value, HiddenValue) else str(value)
