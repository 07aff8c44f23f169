"""Shell text for commands, facts and uploads, with privileges, environment and directory as pyinfra means them.

Nothing that could be secret gets into an argument list: an escalated shell reads its command from standard input, and
so do sudo and su a password. In the arguments here, a password is the name of the shell variable that holds it.
"""

from __future__ import annotations

import hashlib
import shlex
from collections.abc import Mapping
from typing import Any

from pyinfra.api.command import StringCommand
from pyinfra.api.hiddenvalue import HiddenValue
from pyinfra.connectors.util import make_unix_command

from opsflow.engine import put
from opsflow.engine.passwords import asked_for, skip_to
from opsflow.engine.root_shell import OWN_PROCESS, READER

ESCALATION = (
    "_sudo", "_sudo_user", "_use_sudo_login", "_preserve_sudo_env",
    "_su_user", "_use_su_login", "_preserve_su_env", "_su_shell",
    "_doas", "_doas_user", "_dzdo", "_dzdo_user",
)  # fmt: skip

LARGEST_DOWNLOAD = 40_000_000
"""Bytes; it is held in memory."""


def rendered(command: StringCommand | str, arguments: Mapping[str, Any]) -> str:
    """Shell text that runs ``command`` as the global arguments ask for."""
    text = command if isinstance(command, str) else command.get_raw_value()
    return escalated(_with_surroundings(text, arguments), arguments, given(arguments.get("_stdin")))


def given(stdin: Any) -> str:
    """What `_stdin` gives to a command: a text, lines, or something with lines, each with its end as in pyinfra.

    Raises:
        TypeError: it is something else.
    """
    if not stdin:
        return ""
    lines = stdin.readlines() if hasattr(stdin, "readlines") else [stdin] if isinstance(stdin, str) else list(stdin)
    if not all(isinstance(line, str) for line in lines):
        raise TypeError("_stdin must be text, or lines of text")
    return "".join(line if line.endswith("\n") else f"{line}\n" for line in lines)


def upload(dest: str, arguments: Mapping[str, Any], *, private: bool = False, durable: bool = False) -> str:
    """Shell text that writes its standard input to ``dest``.

    A ``private`` file is its owner's alone, when it is new, until something gives it a mode; a ``durable`` one is on
    the disk before it gets its name, where the host's ``sync`` can do that for one file.
    """
    escalates = any(arguments.get(key) for key in ESCALATION)
    text = put.text(dest, through_links=not escalates, private=private, durable=durable)
    wrapper = _wrapper(arguments)
    if wrapper is None:
        return text
    text = _in_directory(text, arguments)
    if not asked_for(arguments):
        return str(wrapper(text))
    mark = _mark("p", text)
    return _with_password(wrapper, f"{skip_to(mark)}\n{text}", mark, arguments)


def read_file(path: str, arguments: Mapping[str, Any]) -> str:
    """Shell text that prints the file ``path``."""
    return escalated(_in_directory(f"cat -- {shlex.quote(path)}", arguments), arguments)


def download(path: str, arguments: Mapping[str, Any]) -> str:
    """Shell text that prints the file ``path`` in base64, unless it is too large for that."""
    file = shlex.quote(path)
    large = shlex.quote(f"{path}: larger than {LARGEST_DOWNLOAD} bytes; fetch it with scp or rsync")
    text = f'[ "$(wc -c <{file})" -le {LARGEST_DOWNLOAD} ] || {{ [ ! -r {file} ] || echo {large} >&2; exit 1; }}'
    return escalated(_in_directory(f"{{ {text}; base64 <{file}; }}", arguments), arguments)


def escalated(text: str, arguments: Mapping[str, Any], stdin: str = "") -> str:
    """Run ``text`` in the shell of the user that the arguments ask for; the text goes over standard input."""
    wrapper = _wrapper(arguments, always=any(word in text for word in OWN_PROCESS))
    if wrapper is None:
        return f"{_piped(stdin)} | {{\n{text}\n}}" if stdin else text
    mark = _mark("", text)
    reader = _eval_to(mark) if stdin else READER
    if asked_for(arguments):
        password = _mark("p", text)
        command = _with_password(wrapper, f"{skip_to(password)}; {reader}", password, arguments)
    else:
        command = wrapper(reader)
    if stdin:
        return f"{_piped(text, mark, stdin)} | {command}"
    return f"{command} <<'{mark}'\n{text}\n{mark}"


def _mark(kind: str, text: str) -> str:
    return f"_OPSFLOW{kind}_{hashlib.sha256(text.encode(errors='surrogatepass')).hexdigest()[:12]}_"


def _eval_to(mark: str) -> str:
    """Run what comes before the mark; what comes after it is standard input."""
    read = f"""while IFS= read -r _l && [ "$_l" != {mark} ]; do printf '%s\\n' "$_l"; done"""
    return f'eval "$({read})"'


def _piped(*parts: str) -> str:
    """Print lines by the shell itself: not by a process, which would show them, and not through a file."""
    whole = "\n".join(parts)
    return f"printf %s {shlex.quote(whole)} 2>/dev/null"


def _with_password(wrapper: Any, text: str, mark: str, arguments: Mapping[str, Any]) -> str:
    check = wrapper(":")
    argument = asked_for(arguments)
    variable = arguments[argument]
    number = f"_{variable}_{hashlib.sha256(check.encode()).hexdigest()[:8]}"
    return f"_pass {variable} {number} {shlex.quote(check)} {shlex.quote(wrapper(text))} {mark} {argument}"


def _wrapper(arguments: Mapping[str, Any], *, always: bool = False) -> Any:
    asked = {key: arguments[key] for key in ESCALATION if arguments.get(key)}
    shell = arguments.get("_shell_executable") or "sh"
    if not asked and shell == "sh" and not always:
        return None
    sudo = "sudo -H -S -k -p ''" if asked_for(arguments) == "_sudo_password" else "sudo -H -n"

    def wrap(text: str) -> str:
        command = make_unix_command(StringCommand(text), _shell_executable=shell, **asked).get_raw_value()
        return command.replace("sudo -H -n", sudo, 1)

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
