"""doctor: can this machine do the work, and what to do where it cannot."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from opsflow.cli.about import program_version
from opsflow.cli.invocation import Invocation
from opsflow.cli.options import Output, command, commands
from opsflow.cli.text import one_line
from opsflow.errors import CapabilityError, ConfigError, ExitCode, LockHeld, OpsflowError, UsageError

if TYPE_CHECKING:
    from opsflow.config import LoadedStack
    from opsflow.ports import RecipeCatalog
    from opsflow.wiring import Project

app = commands()
LIBRARIES = ("pyinfra", "paramiko", "pydantic", "sqlalchemy", "alembic", "jinja2", "typer", "rich")
NEEDED_SPACE = 1 << 30
"""Bytes below which no sandbox is started."""

# Versions with the defect that can corrupt a WAL database when two connections write or checkpoint at once. opsflow
# has one writer, so it is a warning.
WAL_RESET_DEFECT = ((3, 7, 0), (3, 51, 2))


@dataclass(frozen=True)
class Check:
    """One thing that was looked at."""

    name: str
    verdict: str
    """ok, warn or fail."""
    found: str
    advice: str = ""


@command(app)
def doctor(invocation: Invocation, output: Output) -> int:
    """Check that this machine can do the work, and say what to do where it cannot.

    Exits with 1 when something fails that opsflow needs in any case.
    """
    checks = [*machine_checks(), *_project_checks(invocation)]
    rows = [(check.verdict, check.name, check.found) for check in checks]
    lines = invocation.terminal.table(("", "CHECK", "FOUND"), rows)
    advice = [f"{check.name}: {check.advice}" for check in checks if check.advice]
    if advice:
        lines += ["", "What to do:", *(f"  {line}" for line in advice)]
    data = [{"name": c.name, "verdict": c.verdict, "found": c.found, "advice": c.advice} for c in checks]
    invocation.terminal.emit({"version": program_version(), "checks": data}, output.format, lines)
    return ExitCode.FAILED if any(check.verdict == "fail" for check in checks) else ExitCode.OK


# ------------------------------------------------------------------------------------------------ the machine


def machine_checks() -> Iterator[Check]:
    """What does not depend on a project."""
    yield Check("opsflow", "ok", program_version())
    yield _python()
    yield _libraries()
    yield sqlite_check(_sqlite_version())
    yield _program("ssh", ("ssh", "-V"), "apt install openssh-client", "warn")
    yield _program("sshd", ("sshd", "-V"), "apt install openssh-server; sandboxes need it", "warn")
    yield _sandboxes()
    yield _program("git", ("git", "--version"), "apt install git; apps from git repositories need it", "warn")


def _python() -> Check:
    return Check("python", "ok", f"{platform.python_version()} on {platform.platform()}")


def _libraries() -> Check:
    from importlib.metadata import PackageNotFoundError, version

    found, missing = [], []
    for name in LIBRARIES:
        try:
            found.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            missing.append(name)
    if missing:
        return Check("libraries", "fail", f"missing: {', '.join(missing)}", f"pip install {' '.join(missing)}")
    return Check("libraries", "ok", ", ".join(found))


def _sqlite_version() -> tuple[int, ...]:
    import sqlite3

    return sqlite3.sqlite_version_info


def sqlite_check(version: tuple[int, ...]) -> Check:
    """Judge an SQLite version."""
    found = ".".join(str(part) for part in version)
    first, last = WAL_RESET_DEFECT
    if first <= version <= last:
        return Check(
            "sqlite",
            "warn",
            f"{found}, which has the WAL-reset defect",
            "opsflow is safe as long as nothing else opens .opsflow/state.db for writing; 3.51.3 fixes it",
        )
    return Check(
        "sqlite", "ok" if version > last else "fail", found, "" if version > last else "install a newer SQLite"
    )


def _sandboxes() -> Check:
    """Namespaces, an overlay root, an sshd: what the sandbox provider needs."""
    from opsflow.wiring import check_sandboxes

    try:
        unbounded = check_sandboxes()
    except CapabilityError as error:
        return Check("sandboxes", "warn", one_line(error.message), error.hint or "use the static provider")
    if unbounded:
        return Check(
            "sandboxes",
            "warn",
            f"work, but one can fill this machine's disk: {one_line(unbounded)}",
            "disks of a fixed size need loop devices, ext4 and mkfs.ext4 (apt install e2fsprogs)",
        )
    return Check("sandboxes", "ok", "namespaces, an overlay root, disks of a fixed size and loopback addresses work")


def _program(name: str, argv: tuple[str, ...], advice: str, verdict: str) -> Check:
    path = shutil.which(name, path=f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin")
    if path is None:
        return Check(name, verdict, "not found", advice)
    try:
        done = subprocess.run([path, *argv[1:]], capture_output=True, text=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        return Check(name, verdict, f"{path} does not run: {error}", advice)
    # sshd before 9.2 knows no -V, but its complaint names its version.
    lines = [line for line in (done.stdout + done.stderr).splitlines() if any(char.isdigit() for char in line)]
    return Check(name, "ok", one_line(lines[0])[:80] if lines else path)


# ------------------------------------------------------------------------------------------------ the project


def _project_checks(invocation: Invocation) -> Iterator[Check]:
    try:
        project = invocation.project
    except UsageError as error:
        yield Check("project", "warn", error.message, error.hint or "")
        return
    yield Check("project", "ok", str(project.root))
    yield _space(project.root)
    yield from _guarded("store", lambda: _store(project))
    yield from _guarded("lock", lambda: _lock(project))
    yield from _stacks(project)


def _guarded(name: str, look: Callable[[], Check]) -> Iterator[Check]:
    try:
        yield look()
    except OpsflowError as error:
        yield Check(name, "fail", one_line(error.message), error.hint or "")


def _space(root: Path) -> Check:
    free = shutil.disk_usage(root).free
    found = f"{free / 1e9:.1f} GB free in {root}"
    if free < NEEDED_SPACE:
        return Check("disk", "warn", found, "free some space: sandboxes and app bundles live in .opsflow/")
    return Check("disk", "ok", found)


def _store(project: Project) -> Check:
    if not project.state_file.exists():
        return Check("store", "ok", "nothing stored yet")
    with project.reader() as store:
        problems = store.check()
    if problems:
        return Check("store", "fail", "; ".join(problems), "restore .opsflow/state.db from a backup")
    return Check("store", "ok", f"{project.state_file.name} is intact")


def _lock(project: Project) -> Check:
    if not project.state_file.exists():
        return Check("lock", "ok", "free")
    from opsflow.wiring import whoami

    try:
        with project.reader() as store, store.lease(whoami("opsflow doctor")):
            return Check("lock", "ok", "free")
    except LockHeld as error:
        return Check("lock", "warn", one_line(error.message), "wait for it, or use --lock-wait")


def _stacks(project: Project) -> Iterator[Check]:
    for name in project.stacks():
        label = f"stack {name}"
        try:
            loaded = project.load(name)
            _refuse_broken_recipes(project.catalog(loaded.stack), loaded)
        except ConfigError as error:
            count = len(error.problems)
            yield Check(label, "fail", f"{count} problem{'s' if count > 1 else ''}", f"opsflow validate {name}")
            continue
        yield from _guarded(label, lambda: _provider(project, loaded))  # noqa: B023  called at once


def _refuse_broken_recipes(catalog: RecipeCatalog, loaded: LoadedStack) -> None:
    """Raise what is wrong with the modules that the stack uses; the others do not matter to it."""
    from opsflow.cli.names import named_modules

    catalog.modules()
    broken = catalog.broken()
    problems = [problem for module in named_modules(loaded.stack) for problem in broken.get(module, ())]
    if problems:
        raise ConfigError(problems)


def _provider(project: Project, loaded: Any) -> Check:
    provider = project.compute(loaded.stack)
    provider.check()
    return Check(f"stack {loaded.stack.name}", "ok", f"valid; its provider '{provider.name}' works here")
