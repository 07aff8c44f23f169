"""The program that starts one sandbox: ``python -I -S launcher.py < spec.json``.

It makes the namespaces, mounts the root and becomes the sandbox's first process, so that no mount ever exists
outside the sandbox and the process that asked for it may use threads or die. It runs without site-packages and
without the caller's environment, hence only the standard library here. All decisions are in the spec
(see :mod:`opsflow.providers.compute.sandbox.rootfs`); all paths in it are relative to the working directory.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import signal
import sys
from typing import Any, NoReturn

CLONE_NEWNS, CLONE_NEWUTS, CLONE_NEWIPC, CLONE_NEWPID = 0x00020000, 0x04000000, 0x08000000, 0x20000000
MS_RDONLY, MS_NOSUID, MS_NODEV, MS_NOEXEC, MS_REMOUNT, MS_BIND = 1, 2, 4, 8, 32, 4096
MS_NOATIME, MS_REC, MS_PRIVATE, MNT_DETACH = 1024, 0x4000, 0x40000, 2
FLAGS = {"ro": MS_RDONLY, "nosuid": MS_NOSUID, "nodev": MS_NODEV, "noexec": MS_NOEXEC, "bind": MS_BIND,
         "remount": MS_REMOUNT, "rec": MS_REC, "private": MS_PRIVATE, "noatime": MS_NOATIME}  # fmt: skip
OLD_ROOT = "run/.machine"

_libc = ctypes.CDLL(None, use_errno=True)


def _check(returned: int, what: str) -> None:
    if returned != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")


def mount(source: str, target: str, kind: str, flags: list[str], data: str) -> None:
    """Mount something; an OSError names what was to be mounted where."""
    bits = 0
    for flag in flags:
        bits |= FLAGS[flag]
    args = (os.fsencode(source), os.fsencode(target), kind.encode(), ctypes.c_ulong(bits), os.fsencode(data))
    _check(_libc.mount(*args), f"mount {kind} on {target}")


def separate_mounts(more: int = 0) -> None:
    """Give the calling thread mounts of its own (and what ``more`` says): what it mounts, nobody else sees."""
    what = "mount, UTS and IPC namespaces" if more else "mount namespace"
    _check(_libc.unshare(CLONE_NEWNS | more), f"unshare {what}")
    mount("none", "/", "none", ["rec", "private"], "")


def _lay_out(spec: dict[str, Any]) -> None:
    """Everything that can be done before the sandbox has a process of its own."""
    separate_mounts(CLONE_NEWUTS | CLONE_NEWIPC)
    for step in spec["steps"]:
        match step:
            case ["mount", source, target, kind, flags, data]:
                mount(source, target, kind, flags, data)
            case ["directory", path, mode]:
                os.makedirs(path, exist_ok=True)  # noqa: PTH103 - pathlib is slow to import
                os.chmod(path, mode)  # noqa: PTH101
            case ["file", path]:
                os.close(os.open(path, os.O_CREAT | os.O_WRONLY, 0o644))
            case ["link", path, target]:
                os.symlink(target, path)  # noqa: PTH211
    name = os.fsencode(spec["hostname"])
    _check(_libc.sethostname(name, len(name)), "sethostname")


def _started(pid: int) -> int:
    """Clock tick at which the process started; with the pid it names one process for good."""
    with open(f"/proc/{pid}/stat") as stat:  # noqa: PTH123
        return int(stat.read().rsplit(") ", 1)[1].split()[19])


def _write_record(path: str, record: str) -> None:
    descriptor = os.open(f"{path}.tmp", os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600)
    try:
        os.write(descriptor, record.encode())
    finally:
        os.close(descriptor)
    os.replace(f"{path}.tmp", path)  # noqa: PTH105


def _become_init(spec: dict[str, Any], go: int, report: int) -> NoReturn:
    """The first process of the sandbox. Waits until it is on record, then leaves this machine's root behind."""
    try:
        if os.read(go, 1) != b"g":
            os._exit(1)
        root = spec["root"]
        null, log = os.open("/dev/null", os.O_RDWR), os.open(spec["log"], os.O_CREAT | os.O_WRONLY | os.O_APPEND, 0o600)
        mount("proc", f"{root}/proc", "proc", ["nosuid", "nodev", "noexec"], "")
        for path in filter(lambda path: os.path.exists(f"{root}/{path}"), spec["read_only"]):  # noqa: PTH110
            mount(f"{root}/{path}", f"{root}/{path}", "none", ["bind"], "")
            mount("none", f"{root}/{path}", "none", ["bind", "remount", "ro", "nosuid", "nodev", "noexec"], "")
        os.makedirs(f"{root}/{OLD_ROOT}", exist_ok=True)  # noqa: PTH103
        _check(_libc.pivot_root(os.fsencode(root), os.fsencode(f"{root}/{OLD_ROOT}")), "pivot_root")
        os.chdir("/")
        _check(_libc.umount2(f"/{OLD_ROOT}".encode(), MNT_DETACH), "umount the machine's root")
        os.rmdir(f"/{OLD_ROOT}")  # noqa: PTH106
        for source, target in ((null, 0), (log, 1), (log, 2)):
            os.dup2(source, target)
        keep = os.dup2(report, 3, inheritable=False)
        os.closerange(4, os.sysconf("SC_OPEN_MAX"))
        report = keep
        os.umask(0o022)
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        os.execve(spec["init"][0], spec["init"], spec["environment"])  # noqa: S606 - it becomes one
    except BaseException as error:
        # Whatever went wrong, the caller must hear it: this process has no other way to speak.
        with contextlib.suppress(OSError):
            os.write(report, str(error).encode())
    os._exit(1)


def _start(spec: dict[str, Any]) -> str:
    """Start the sandbox; returns its process record."""
    _lay_out(spec)
    _check(_libc.unshare(CLONE_NEWPID), "unshare PID namespace")
    go_read, go_write = os.pipe()
    report_read, report_write = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(go_write)
        _become_init(spec, go_read, report_write)
    os.close(report_write)
    with open("/proc/sys/kernel/random/boot_id") as boot:  # noqa: PTH123
        record = json.dumps({"pid": pid, "started": _started(pid), "boot": boot.read().strip()})
    _write_record(spec["record"], record)
    for group, required in spec["cgroups"]:
        with contextlib.suppress(*([] if required else [OSError])), open(f"{group}/cgroup.procs", "w") as members:  # noqa: PTH123
            members.write(str(pid))
    os.write(go_write, b"g")
    failure = os.read(report_read, 4096).decode(errors="backslashreplace")
    if failure:
        raise OSError(failure)
    return record


def main() -> int:
    """Start what the spec on standard input says; print its process record, or say on standard error why not."""
    try:
        record = _start(json.load(sys.stdin))
    except Exception as error:  # noqa: BLE001 - reported, and the exit code says so
        sys.stderr.write(str(getattr(error, "strerror", None) or error))
        return 1
    with contextlib.suppress(BrokenPipeError):
        sys.stdout.write(record)
        sys.stdout.flush()
    return 0


if __name__ == "__main__":
    sys.exit(main())
