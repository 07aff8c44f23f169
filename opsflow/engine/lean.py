"""Lean shell commands for pyinfra's expensive facts; its own parsing is kept, and so are the values.

What is started instead, and when it is not, say the modules with their texts.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pyinfra.api.command import QuoteString, StringCommand
from pyinfra.facts import apt, deb, files, server, sysvinit

from opsflow.engine import file_texts, host_texts, lean_packages, lean_users


def install() -> None:
    """Let pyinfra's facts use the lean commands; once in a process is enough, more often does no harm."""
    for fact, command in COMMANDS.items():
        fact.command = command


def _word(path: str) -> str:
    """The path as the shell is to see it; a leading `~/` is the shell's."""
    return f"~/{_quoted(path[2:])}" if path.startswith("~/") else _quoted(path)


def _quoted(text: str) -> str:
    return StringCommand(QuoteString(text)).get_raw_value()


def _odd(path: str) -> bool:
    """Whether programs could take the path for an option or an assignment."""
    return not path or path[0] in "-(!," or "=" in path


def _file(self: files.File, path: str) -> StringCommand:
    return StringCommand(file_texts.stat(_word(path)))


def _digest(family: str) -> Callable[[Any, str], StringCommand]:
    def command(self: files.HashFileFactBase, path: str) -> StringCommand:
        self.path = path
        return StringCommand(file_texts.digest(family, _quoted(path)))

    return command


_find_in_file: Callable[..., StringCommand] = files.FindInFile.command


def _lines(
    self: files.FindInFile,
    path: str,
    pattern: str,
    interpolate_variables: bool = False,
    extended_regex: bool = False,
) -> StringCommand:
    original = _find_in_file(self, path, pattern, interpolate_variables, extended_regex)
    if _odd(path):
        return original
    text = '"{}"'.format(pattern.replace('"', '\\"')) if interpolate_variables else _quoted(pattern)
    grep = "grep -E" if extended_regex else "grep"
    return StringCommand(file_texts.lines_with(grep, text, _quoted(path), _quoted(self.exists_flag)))


_block: Callable[..., StringCommand] = files.Block.command


def _lines_between(
    self: files.Block, path: str, marker: str | None = None, begin: str | None = None, end: str | None = None
) -> StringCommand:
    original = _block(self, path, marker, begin, end)
    word = _quoted(path)
    found, missing = (_quoted(f"{flag}{path}") for flag in (files.EXISTS, files.MISSING))
    rest = f" {word} || (find {word} -type f > /dev/null && echo {found} || echo {missing} )"
    program = original.get_raw_value().removesuffix(rest)
    # Its markers are not quoted: one with a quote in it means what it means only where it stands.
    if _odd(path) or program == original.get_raw_value() or program.count("'") != 2:  # noqa: PLR2004 - its own two
        return original
    return StringCommand(file_texts.block(program, word, found, missing))


def _users(self: server.Users) -> str:
    return USERS


def _distribution(self: server.LinuxDistribution) -> str:
    return DISTRIBUTION


def _sources(self: apt.AptSources) -> str:
    return SOURCES


def _packages(self: deb.DebPackages) -> str:
    return PACKAGES


def _services(self: sysvinit.InitdStatus) -> str:
    return SERVICES


def _original(fact: Any) -> str:
    return str(fact.command())


USERS = lean_users.users(_original(server.Users()))
DISTRIBUTION = host_texts.distribution(_original(server.LinuxDistribution()))
SOURCES = host_texts.sources(_original(apt.AptSources()))
PACKAGES = lean_packages.packages(_original(deb.DebPackages()))
SERVICES = host_texts.services(_original(sysvinit.InitdStatus()))

COMMANDS: dict[Any, Callable[..., str | StringCommand]] = {
    files.File: _file,
    files.Sha1File: _digest("sha1"),
    files.Sha256File: _digest("sha256"),
    files.Sha384File: _digest("sha384"),
    files.Md5File: _digest("md5"),
    files.FindInFile: _lines,
    files.Block: _lines_between,
    server.Users: _users,
    server.LinuxDistribution: _distribution,
    apt.AptSources: _sources,
    deb.DebPackages: _packages,
    sysvinit.InitdStatus: _services,
}
