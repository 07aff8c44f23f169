"""Planner processes: where the user's recipes run.

One process imports pyinfra and then waits; it forks a child when one is asked for, which makes plans one after
another until one of them leaves something behind (residue.py). A child has no SSH key, no store and no token, and
limits on time and memory: whatever a recipe does, only its own plan fails.

Wire format: the parent passes one end of a socket pair over the control socket. On it, each message is a length (8
bytes, big endian) and JSON. The child says its pid, then reads PlanRequests and answers each with a HostPlan; it ends
after one that says that its process cannot be used again.
On the control socket the planner reports children that ended: pid and wait status, two 4-byte integers.
"""

from __future__ import annotations

import array
import gc
import importlib
import os
import resource
import select
import signal
import socket
import struct
import sys
import traceback
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from opsflow.engine.messages import HostPlan, PlanRequest

MEMORY = 2 * 1024**3
"""Bytes of address space that a recipe may use on top of what pyinfra needs."""

CPU_SECONDS = 120
LARGEST_FILE = 256 * 1024**2
"""Bytes that a recipe may write to one file, or print."""
PROCESSES = 64
"""That the recipes of one plan may have at once."""
WATCH = 0.1
"""Seconds between two looks at how many they have."""
OUTPUT_KEPT = 65536
PLANS = 2000
"""That one child makes; then it has grown enough."""
COLLECT = 50
"""Plans after which its garbage is collected."""
WARM = (
    "opsflow.engine.plan",
    *(f"pyinfra.facts.{name}" for name in ("deb", "files", "server", "systemd", "sysvinit")),
    *(f"pyinfra.operations.{name}" for name in ("apt", "files", "server", "systemd", "sysvinit")),
)


def send(sock: socket.socket, data: bytes) -> None:
    """Send one message."""
    sock.sendall(struct.pack(">Q", len(data)) + data)


def receive(sock: socket.socket) -> bytes | None:
    """One message; None when the other side has gone."""
    header = _exactly(sock, 8)
    return None if header is None else _exactly(sock, int(struct.unpack(">Q", header)[0]))


def _exactly(sock: socket.socket, size: int) -> bytes | None:
    data = bytearray()
    while len(data) < size:
        chunk = sock.recv(min(size - len(data), 1 << 20))
        if not chunk:
            return None
        data += chunk
    return bytes(data)


def main() -> None:
    """Serve plans until the control socket closes. Its descriptor is standard input."""
    control = socket.socket(fileno=os.dup(0))
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _warm_up()
    wake_read, wake_write = os.pipe()
    os.set_blocking(wake_write, False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(wake_write)
    children: set[int] = set()
    while True:
        ready, _, _ = select.select([control.fileno(), wake_read], [], [], WATCH if children else None)
        if wake_read in ready:
            os.read(wake_read, 4096)
            _reap(control, children)
        if control.fileno() in ready:
            connection = _accept(control)
            if connection is None:
                return
            children.add(_serve(control, connection))
        if not ready and any(_has_children(pid) for pid in children):
            _end_crowds(children)


def _warm_up() -> None:
    """Import what nearly every recipe needs, once, so that children get it for nothing."""
    for name in WARM:
        importlib.import_module(name)
    from opsflow.engine import inputs, lean, quick
    from opsflow.engine.adapter import make_state, refuse_local_commands

    quick.install()
    lean.install()
    refuse_local_commands()
    inputs.watch()
    # Fills the caches, which the children inherit.
    make_state("warm", (), {}, ("/",))
    # A collection in a child would touch, and so copy, every page that it shares with this process.
    gc.collect()
    gc.freeze()
    gc.disable()


def _accept(control: socket.socket) -> socket.socket | None:
    size = array.array("i").itemsize
    data, ancillary, _, _ = control.recvmsg(1, socket.CMSG_SPACE(size))
    if not data:
        return None
    for _, _, payload in ancillary:
        return socket.socket(fileno=struct.unpack("i", payload[:size])[0])
    return None


def _reap(control: socket.socket, children: set[int]) -> None:
    """Report children that ended, and end what they left behind."""
    with suppress(ChildProcessError):
        while ended := os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT):
            _end_group(ended.si_pid)  # before its pid is free for others
            pid, status = os.waitpid(ended.si_pid, 0)
            children.discard(pid)
            with suppress(OSError):
                control.sendall(struct.pack(">ii", pid, status))


def _end_group(pid: int) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)


def _has_children(pid: int) -> bool:
    """Whether a process has started others; True where the kernel does not say."""
    try:
        with open(f"/proc/{pid}/task/{pid}/children", "rb") as found:  # noqa: PTH123 - hot
            return bool(found.read(1))
    except FileNotFoundError:
        return Path(f"/proc/{pid}").exists()
    except OSError:
        return False


def _end_crowds(children: set[int]) -> None:
    """End plans whose recipes start processes without end."""
    sizes = Counter(_group(name) for name in os.listdir("/proc") if name.isdigit())  # noqa: PTH208 - hot
    for pid in children:
        if sizes[pid] > PROCESSES:
            _end_group(pid)


def _group(pid: str) -> int:
    """The process group of a process; 0 when it has gone."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as stat:  # noqa: PTH123 - hot
            return int(stat.read().rpartition(b") ")[2].split()[2])
    except (OSError, IndexError, ValueError):
        return 0


def _serve(control: socket.socket, connection: socket.socket) -> int:
    pid = os.fork()
    if pid:
        connection.close()
        return pid
    code = 70
    try:
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        control.close()
        os.close(0)
        os.open(os.devnull, os.O_RDONLY)
        os.setsid()
        _limit()
        _answer(connection)
        code = 0
    except BaseException:  # noqa: BLE001 - the child must never return into the planner's loop
        traceback.print_exc()
    finally:
        os._exit(code)  # noqa: SLF001 - no handlers of the planner may run in the child


def _limit() -> None:
    with open("/proc/self/statm") as statm:  # noqa: PTH123
        used = int(statm.read().split()[0]) * resource.getpagesize()
    _lower(resource.RLIMIT_AS, used + MEMORY, used + MEMORY)
    _lower(resource.RLIMIT_FSIZE, LARGEST_FILE, LARGEST_FILE)
    _lower(resource.RLIMIT_CORE, 0, 0)


def _lower(kind: int, soft: int, hard: int) -> None:
    """Set a limit, but never above one that this process already has."""
    _, present = resource.getrlimit(kind)
    if present != resource.RLIM_INFINITY:
        soft, hard = min(soft, present), min(hard, present)
    resource.setrlimit(kind, (soft, hard))


def _answer(connection: socket.socket) -> None:
    """Make plans until nobody asks any more, or until one of them has left something behind."""
    from opsflow.engine.messages import PlanRequest

    send(connection, struct.pack(">i", os.getpid()))
    made = 0
    while (data := receive(connection)) is not None:
        _allow_time()
        made += 1
        plan = _plan(PlanRequest.model_validate_json(data))
        if made >= PLANS:
            plan = plan.model_copy(update={"again": False})
        send(connection, plan.model_dump_json().encode())
        if not plan.again:
            return
        if made % COLLECT == 0:
            gc.collect()


def _plan(request: PlanRequest) -> HostPlan:
    from opsflow.engine.plan import Planner

    output = os.memfd_create("output")
    try:
        os.dup2(output, 1)
        os.dup2(output, 2)
        plan = Planner(request).plan()
        for stream in (sys.stdout, sys.stderr):
            with suppress(AttributeError, OSError, ValueError):  # a recipe may have closed or replaced it
                stream.flush()
        printed = os.pread(output, OUTPUT_KEPT, 0).decode(errors="backslashreplace")
    finally:
        os.close(output)
    return plan.model_copy(update={"output": printed})


def _allow_time() -> None:
    """Give the next plan its processor time."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    _, hard = resource.getrlimit(resource.RLIMIT_CPU)
    soft = int(used.ru_utime + used.ru_stime) + CPU_SECONDS
    resource.setrlimit(resource.RLIMIT_CPU, (soft if hard == resource.RLIM_INFINITY else min(soft, hard), hard))


if __name__ == "__main__":
    main()
