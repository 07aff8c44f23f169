"""Running git so that neither a repository nor the environment can make it run anything else."""

from __future__ import annotations

import contextlib
import os
import re
import resource
import shlex
import signal
import subprocess
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO
from urllib.parse import quote

from opsflow.errors import SourceError
from opsflow.model.source import Source
from opsflow.providers.sources.git_url import Repository
from opsflow.providers.sources.limits import Limits
from opsflow.redact import Redactor

SETTINGS = (
    "protocol.ext.allow=never",
    "core.hooksPath=/dev/null",
    "core.fsmonitor=false",
    "core.askPass=",
    "submodule.recurse=false",
    "fetch.recurseSubmodules=false",
    "transfer.bundleURI=false",
    "filter.lfs.smudge=",
    "filter.lfs.process=",
    "filter.lfs.required=false",
    "gc.auto=0",
    "maintenance.auto=false",
    "http.lowSpeedLimit=500",
    "http.lowSpeedTime=60",
    "credential.helper=",
)
KEPT = ("PATH", "SSH_AUTH_SOCK", "SSL_CERT_FILE", "SSL_CERT_DIR", "HTTPS_PROXY", "https_proxy", "NO_PROXY", "no_proxy")
"""Of the caller's environment; no GIT_* variable gets through."""
SSH = (
    "ssh -oBatchMode=yes -oStrictHostKeyChecking=yes -oForwardAgent=no -oClearAllForwardings=yes "
    "-oPermitLocalCommand=no -oConnectTimeout=15 -oServerAliveInterval=15 -oServerAliveCountMax=4"
)
# Read by git on the other side of a local fetch, where settings from the command line do not get:
# the user named this repository, so it may belong to somebody else.
TRUST = "[safe]\n\tdirectory = *\n"


class GitFailed(SourceError):
    """Git ended with an error."""


@dataclass(frozen=True, slots=True)
class Git:
    """Git for one fetch from one repository.

    Attributes:
        mirror: the bare repository that it works in.
        private: a directory of this fetch alone, for keys and passwords; the caller removes it.
    """

    mirror: Path
    environment: dict[str, str]
    settings: tuple[str, ...]
    redact: Redactor
    limits: Limits

    def run(self, *arguments: str) -> str:
        """Its standard output.

        Raises:
            GitFailed: it ended with an error; the message is its own last word.
            SourceError: it took too long, or there is no git.
        """
        with self._started(arguments, subprocess.PIPE) as process:
            try:
                output, errors = process.communicate(timeout=self.limits.seconds)
            except subprocess.TimeoutExpired as error:
                raise self._late(arguments) from error
        if process.returncode:
            raise GitFailed(self._last_word(arguments, errors))
        return output.decode("utf-8", "surrogateescape")

    @contextmanager
    def streaming(self, *arguments: str, feed: Sequence[str] | None = None) -> Iterator[IO[bytes]]:
        """Its standard output as a stream; lines of ``feed`` go to its standard input.

        Raises:
            SourceError: it took too long or failed.
        """
        with self._started(arguments, subprocess.DEVNULL) as process:
            assert process.stdout is not None  # noqa: S101 - for the type checker
            late = threading.Event()

            def end() -> None:
                late.set()
                _kill(process)

            timer = threading.Timer(self.limits.seconds, end)
            writer = threading.Thread(target=_feed, args=(process, feed or ()), daemon=True)
            timer.start()
            writer.start()
            try:
                yield process.stdout
                process.stdout.read()
                process.wait()
            finally:
                timer.cancel()
                _kill(process)
                writer.join()
            if late.is_set():
                raise self._late(arguments)
            if process.returncode:
                raise GitFailed(f"git {arguments[0]} failed; the copy of the repository is damaged")

    @contextmanager
    def _started(self, arguments: Sequence[str], errors: int) -> Iterator[subprocess.Popen[bytes]]:
        options = [word for setting in (*SETTINGS, *self.settings) for word in ("-c", setting)]
        try:
            process = subprocess.Popen(
                ["git", *options, f"--git-dir={self.mirror}", *arguments],
                cwd=self.mirror,
                env=self.environment,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                start_new_session=True,
            )
        except FileNotFoundError as error:
            raise SourceError("git is not installed", hint="install it, for example: apt-get install git") from error
        with process:
            try:
                # A repository without end must not fill the disk.
                resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (self.limits.archive, self.limits.archive))
                yield process
            finally:
                _kill(process)

    def _late(self, arguments: Sequence[str]) -> SourceError:
        return SourceError(f"git {arguments[0]} took longer than {self.limits.seconds:g} s and was ended")

    def _last_word(self, arguments: Sequence[str], errors: bytes) -> str:
        lines = [line.strip() for line in errors.decode("utf-8", "backslashreplace").splitlines() if line.strip()]
        telling = [line for line in lines if re.match(r"(fatal|error|remote: error|ssh|.*denied)", line, re.IGNORECASE)]
        text = (telling or lines or ["it ended with an error"])[0]
        text = "".join(char if char.isprintable() else " " for char in self.redact.text(text))
        return f"git {arguments[0]}: {text[:300]}"


def _kill(process: subprocess.Popen[bytes]) -> None:
    """End git and what it started: it leads its own process group."""
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)


def _feed(process: subprocess.Popen[bytes], lines: Sequence[str]) -> None:
    assert process.stdin is not None  # noqa: S101 - for the type checker
    # Git may end before it took everything; its exit code says why.
    with contextlib.suppress(BrokenPipeError):
        for line in lines:
            process.stdin.write(line.encode() + b"\n")
    with contextlib.suppress(BrokenPipeError):
        process.stdin.close()


def prepare(repository: Repository, source: Source, mirror: Path, private: Path, limits: Limits) -> Git:
    """Git with the credentials of ``source``, written to files that only this user can read."""
    trust = _secret_file(private / "gitconfig", TRUST)
    environment = {key: os.environ[key] for key in KEPT if key in os.environ} | {
        "HOME": str(private),
        "LC_ALL": "C",
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_CONFIG_GLOBAL": str(trust),
        "GIT_ATTR_NOSYSTEM": "1",
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_ASKPASS": "true",
        "GIT_ALLOW_PROTOCOL": repository.protocol,
        "GIT_NO_REPLACE_OBJECTS": "1",
        "GIT_NO_LAZY_FETCH": "1",
        "GIT_SSH_VARIANT": "ssh",
        "GIT_SSH_COMMAND": SSH,
    }
    if "SSL_CERT_FILE" in environment:
        # The name that every other program here knows for a private certificate authority.
        environment["GIT_SSL_CAINFO"] = environment["SSL_CERT_FILE"]
    password = source.password.get_secret_value() if source.password else ""
    key = source.ssh_key.get_secret_value() if source.ssh_key else ""
    settings: tuple[str, ...] = ()
    if key and repository.protocol == "ssh":
        file = _secret_file(private / "key", key.strip() + "\n")
        environment["GIT_SSH_COMMAND"] += f" -oIdentitiesOnly=yes -oIdentityAgent=none -i {shlex.quote(str(file))}"
    if password and repository.protocol == "https":
        user = quote(source.username or "git", safe="")
        # Bound to the host: after a redirect to another one, git finds nothing for it here.
        authority = repository.url.partition("://")[2].partition("/")[0]
        file = _secret_file(private / "credentials", f"https://{user}:{quote(password, safe='')}@{authority}\n")
        settings = (f"credential.helper=store --file={shlex.quote(str(file))}",)
    return Git(mirror, environment, settings, Redactor([password, key]), limits)


def _secret_file(path: Path, text: str) -> Path:
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    with open(fd, "w", encoding="utf-8") as file:  # noqa: PTH123 - a descriptor, not a path
        os.fchmod(fd, 0o600)
        file.write(text)
    return path
