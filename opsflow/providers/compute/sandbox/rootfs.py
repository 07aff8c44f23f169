"""How a sandbox's file tree is put together, as a list of steps for the launcher."""

from __future__ import annotations

from pathlib import Path

Step = tuple[str, ...] | tuple[str, str, int] | tuple[str, str, str, str, list[str], str]

ROOT = "root"
DEVICES = ("null", "zero", "full", "random", "urandom", "tty")
LINKS = {
    "ptmx": "pts/ptmx",
    "fd": "/proc/self/fd",
    "stdin": "/proc/self/fd/0",
    "stdout": "/proc/self/fd/1",
    "stderr": "/proc/self/fd/2",
}
READ_ONLY = ("proc/sys", "proc/sysrq-trigger")
"""The kernel is shared: its settings are this machine's, not the sandbox's."""


def steps(lower: Path, layers: str) -> list[Step]:
    """Overlay over ``lower``, devices and temporary file systems; everything relative to the sandbox's directory."""
    # Without an index: after a stop the kernel may keep the old overlay for a moment and would refuse the new one.
    overlay = f"lowerdir={escape(str(lower))},upperdir={layers}/upper,workdir={layers}/work,index=off"
    return [
        ("mount", "overlay", ROOT, "overlay", [], overlay),
        *(("directory", f"{ROOT}/{name}", 0o755) for name in ("dev", "proc", "sys", "run", "tmp")),
        *_devices(),
        _tmpfs("run", "mode=755,size=64m", "nosuid", "nodev"),
        ("directory", f"{ROOT}/run/lock", 0o1777),
        ("directory", f"{ROOT}/run/sshd", 0o755),
        _tmpfs("tmp", "mode=1777,size=512m", "nosuid", "nodev"),
        ("mount", "sysfs", f"{ROOT}/sys", "sysfs", ["ro", "nosuid", "nodev", "noexec"], ""),
    ]


def _devices() -> list[Step]:
    found: list[Step] = [_tmpfs("dev", "mode=755,size=1m", "nosuid")]
    for name in DEVICES:
        found.append(("file", f"{ROOT}/dev/{name}"))
        found.append(("mount", f"/dev/{name}", f"{ROOT}/dev/{name}", "none", ["bind"], ""))
    for name in ("pts", "shm"):
        found.append(("directory", f"{ROOT}/dev/{name}", 0o755))
    options = "newinstance,ptmxmode=0666,mode=0620,gid=5"
    found.append(("mount", "devpts", f"{ROOT}/dev/pts", "devpts", ["nosuid", "noexec"], options))
    found.append(_tmpfs("dev/shm", "mode=1777,size=64m", "nosuid", "nodev"))
    found += [("link", f"{ROOT}/dev/{name}", target) for name, target in LINKS.items()]
    return found


def _tmpfs(path: str, options: str, *flags: str) -> Step:
    return ("mount", "tmpfs", f"{ROOT}/{path}", "tmpfs", list(flags), options)


def escape(path: str) -> str:
    """A path as overlayfs reads it in an option: backslash, comma and colon mean something there."""
    for char in ("\\", ",", ":"):
        path = path.replace(char, f"\\{char}")
    return path
