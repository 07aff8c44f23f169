"""Where the demo plays: a scratch project with its own git repository, the command line, HTTP, and what was checked."""

from __future__ import annotations

import difflib
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

SOURCE = Path(__file__).resolve().parents[1]
STACK = "shop"
IDENTITY = ("-c", "user.name=opsflow demo", "-c", "user.email=demo@localhost")
# Loopback only, whatever proxy the environment names.
ADDRESSES = Path("/run/opsflow/addresses")
"""Where opsflow keeps who has which loopback address."""
HTTP = urllib.request.build_opener(urllib.request.ProxyHandler({}))


class DemoFailed(Exception):
    """The story cannot go on."""


@dataclass(frozen=True)
class Check:
    """One thing that must be true."""

    text: str
    passed: bool
    detail: str = ""


@dataclass
class Stage:
    """One run of the demo."""

    project: Path
    checks: list[Check] = field(default_factory=list)
    answer: str = ""
    """The last page that the shop gave."""
    addresses: dict[str, str] = field(default_factory=dict)
    """Where machines were, when status was last asked for."""
    run: str = ""
    """Number of the run that the last command made."""
    started: float = field(default_factory=time.monotonic)
    timings: list[tuple[str, float]] = field(default_factory=list)

    # ------------------------------------------------------------------------------------------- telling

    @contextmanager
    def step(self, headline: str) -> Iterator[None]:
        """One chapter: its headline, and how long it took."""
        begun = time.monotonic()
        print(f"\n{bold(f'{len(self.timings) + 1}. {headline}')}", flush=True)
        try:
            yield
        finally:
            self.timings.append((headline, time.monotonic() - begun))
            print(dim(f"   {self.timings[-1][1]:.1f} s"), flush=True)

    def check(self, text: str, passed: bool, detail: object = "") -> None:
        """Record whether something is as it must be; the detail is shown when it is not."""
        self.checks.append(Check(text, passed, "" if passed else str(detail)))
        mark = paint("32", "ok") if passed else paint("31", "FAILED")
        print(f"   {mark} {text}" + (f"\n      {detail}" if not passed and detail else ""), flush=True)

    # ------------------------------------------------------------------------------------------- opsflow

    def opsflow(self, *arguments: str, expect: int = 0) -> str:
        """Run a command as a user would, show what it prints, and return that.

        Raises:
            DemoFailed: it exits with another code.
        """
        print(f"   {bold('$ opsflow ' + ' '.join(arguments))}", flush=True)
        lines = []
        # In a session of its own, so that ^C reaches it once, from us, however we are interrupted.
        with subprocess.Popen(
            command(*arguments),
            cwd=self.project,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="backslashreplace",
            start_new_session=True,
        ) as process:
            assert process.stdout is not None
            try:
                for line in process.stdout:
                    lines.append(line)
                    print(f"   {dim('|')} {line.rstrip()}", flush=True)
            except KeyboardInterrupt:
                process.send_signal(signal.SIGINT)
                raise
        numbers = [found[1] for line in lines if (found := re.match(r"run (\d+): ", line))]
        self.run = numbers[-1] if numbers else ""
        if process.returncode != expect:
            raise DemoFailed(f"opsflow {' '.join(arguments)}: exit code {process.returncode} instead of {expect}")
        return "".join(lines)

    def ask(self, *arguments: str) -> Any:
        """Run a command that only looks, with --json; what it says is not shown."""
        cut = arguments.index("--") if "--" in arguments else len(arguments)
        argv = command(*arguments[:cut], "--json", *arguments[cut:])
        done = subprocess.run(argv, cwd=self.project, capture_output=True, text=True, check=False)
        if done.returncode:
            raise DemoFailed(f"opsflow {' '.join(arguments)}: exit code {done.returncode}\n{done.stderr}")
        return json.loads(done.stdout)

    def instances(self) -> dict[str, dict[str, Any]]:
        """Every instance by name, as ``opsflow status`` reports it."""
        found = {instance["name"]: instance for instance in self.ask("status", STACK)["instances"]}
        self.addresses |= {name: instance["address"] for name, instance in found.items() if instance["address"]}
        return found

    def last_run(self) -> list[dict[str, Any]]:
        """What the last command did: one entry an instance and event."""
        return list(self.ask("runs", "show", self.run)["instances"]) if self.run else []

    def events(self, after: int = 0) -> list[dict[str, Any]]:
        """The journal of the stack."""
        return list(self.ask("events", STACK, "--limit", "100000", "--after", str(after)))

    # ------------------------------------------------------------------------------------------- the shop

    def pages(self, count: int = 12) -> list[dict[str, Any]]:
        """Visits to the shop through HAProxy, one after another; an error of HAProxy ends the story."""
        url = f"http://{self.addresses['lb1']}/"
        found = []
        for _ in range(count):
            with HTTP.open(url, timeout=5) as page:
                self.answer = page.read().decode().strip()
            found.append(json.loads(self.answer))
        return found

    def backends(self) -> list[str]:
        """The servers that HAProxy is configured with, read on lb1."""
        done = self.ask("exec", STACK, "--only", "lb1", "--", "cat", "/etc/haproxy/haproxy.cfg")
        return sorted(re.findall(r"^ +server (\S+) ", done["instances"][0]["stdout"], re.MULTILINE))

    def machine_ids(self) -> set[str]:
        """The id of every machine, by which its processes can be told."""
        done = self.ask("exec", STACK, "--only", "*", "--", "cat", "/etc/machine-id")
        return {found["stdout"].strip() for found in done["instances"]}

    # ------------------------------------------------------------------------------------------- the files

    def edit(self, old: str, new: str) -> None:
        """Change the stack file as a user would in an editor."""
        file = self.project / "stacks" / f"{STACK}.yml"
        text = file.read_text()
        if text.count(old) != 1:
            raise DemoFailed(f"{file.name} does not have {old!r} once")
        changed = text.replace(old, new)
        file.write_text(changed)
        print(f"   {bold('stacks/' + file.name)}")
        for line in difflib.unified_diff(text.splitlines(), changed.splitlines(), lineterm="", n=0):
            if line[:1] in "+-" and line.strip("+- "):
                print(f"   {paint('32' if line[0] == '+' else '31', line)}", flush=True)

    def commit(self, message: str) -> str:
        """Commit the app's repository; returns the commit id."""
        repository = self.project / "storefront"
        for arguments in (("add", "--all"), ("commit", "--quiet", "--message", message)):
            git(repository, *arguments)
        return git(repository, "rev-parse", "HEAD").strip()


def make_project(directory: Path) -> None:
    """A project of its own: stacks, recipes, and the app in a git repository."""
    ignored = shutil.ignore_patterns("__pycache__")
    for name in ("stacks", "recipes", "storefront"):
        shutil.copytree(SOURCE / name, directory / name, ignore=ignored)
    git(directory / "storefront", "init", "--quiet", "--initial-branch=main")


def git(repository: Path, *arguments: str) -> str:
    """Run git in a repository of the demo, without the user's own settings."""
    environment = {**os.environ, "GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_SYSTEM": os.devnull}
    return subprocess.run(
        ["git", *IDENTITY, *arguments], cwd=repository, env=environment, check=True, capture_output=True, text=True
    ).stdout


def command(*arguments: str) -> list[str]:
    """The opsflow of this Python, as an argument list."""
    return [str(Path(sys.executable).with_name("opsflow")), *arguments]


def scratch() -> Path:
    """An empty directory that only this user can enter."""
    return Path(tempfile.mkdtemp(prefix="opsflow-demo-"))


def traces(project: Path) -> list[str]:
    """What the sandboxes of a project have left on this machine: mounts, disks, records, addresses."""
    found = [line for line in Path("/proc/self/mounts").read_text().splitlines() if str(project) in line]
    sandboxes = project / ".opsflow" / "sandbox"
    found += [str(path) for path in (*sandboxes.glob("machines/*"), *sandboxes.glob("records/*.json"))]
    return found + [path.name for path in ADDRESSES.glob("127.*") if str(project) in path.read_text()]


def end_sandboxes(project: Path) -> None:
    """End the machines of a project without the command line."""
    from opsflow.clock import SystemClock
    from opsflow.providers.compute.sandbox import SandboxProvider

    provider = SandboxProvider(project / ".opsflow" / "sandbox", SystemClock())
    for machine in provider.list(STACK):
        provider.terminate(machine)


def processes_of(machine_ids: set[str]) -> list[str]:
    """The processes that live on these machines."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if (process / "root" / "etc" / "machine-id").read_text().strip() in machine_ids:
                found.append(f"{process.name} {(process / 'comm').read_text().strip()}")
        except OSError:
            continue  # it has ended
    return found


def answering(addresses: list[str], ports: tuple[int, ...]) -> list[str]:
    """The addresses on which something still accepts connections, without those that others were given since."""
    alive = [address for address in addresses if any(_listens(address, port) for port in ports)]
    return [address for address in alive if not (ADDRESSES / address).exists()]


def _listens(address: str, port: int) -> bool:
    with socket.socket() as link:
        link.settimeout(1)
        return link.connect_ex((address, port)) == 0


def paint(code: str, text: str) -> str:
    """Colour on a terminal, else plain text."""
    return f"\033[{code}m{text}\033[0m" if sys.stdout.isatty() and not os.environ.get("NO_COLOR") else text


def bold(text: str) -> str:
    """For headlines."""
    return paint("1", text)


def dim(text: str) -> str:
    """For what is not the story."""
    return paint("2", text)
