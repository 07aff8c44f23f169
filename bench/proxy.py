"""A proxy that adds latency in front of hosts, and counts turns: how often a client had to wait for an answer.

``python -m bench.proxy MILLISECONDS < targets``: a line ``ADDRESS PORT`` for each host. It prints a line with the port
on 127.0.0.1 for each, then, for each further line on its input, the turns of every host since the last one. It ends
with its input. Data is held back by half of the milliseconds in either direction, so a round trip takes that much
longer; connecting does not (the kernel answers at once), as if the TCP handshake were free.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import subprocess
import sys
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from bench.hosts import Host

CHUNK = 1 << 16


class Line:
    """The way to one host."""

    def __init__(self, address: str, port: int, delay: float) -> None:
        self._address, self._port, self._delay = address, port, delay
        self.turns = 0
        self._connections: set[asyncio.Task[None]] = set()

    async def listen(self) -> int:
        server = await asyncio.start_server(self._connected, "127.0.0.1", 0, limit=CHUNK)
        return int(server.sockets[0].getsockname()[1])

    def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = asyncio.create_task(self._carry(reader, writer))
        self._connections.add(connection)
        connection.add_done_callback(self._connections.discard)

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        answers, questions = await asyncio.open_connection(self._address, self._port, limit=CHUNK)
        for end in (writer, questions):
            end.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        waiting = False

        def asked() -> None:
            nonlocal waiting
            self.turns += not waiting
            waiting = True

        def answered() -> None:
            nonlocal waiting
            waiting = False

        # Counted where the client is: a question leaves it at once, an answer is there when it has arrived.
        await asyncio.gather(
            carry(reader, questions, self._delay, sent=asked), carry(answers, writer, self._delay, arrived=answered)
        )


def nothing() -> None:
    """What happens at an end of the line where nobody counts."""


async def carry(
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
    delay: float,
    sent: Callable[[], None] = nothing,
    arrived: Callable[[], None] = nothing,
) -> None:
    """Carry one direction to its end, every piece ``delay`` seconds late."""
    loop = asyncio.get_running_loop()
    under_way: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue()

    async def deliver() -> None:
        while True:
            due, data = await under_way.get()
            await asyncio.sleep(due - loop.time())
            if not data:
                break
            writer.write(data)
            arrived()
            await writer.drain()
        writer.write_eof()

    async def collect() -> None:
        while True:
            with contextlib.suppress(ConnectionError):
                data = b""
                data = await reader.read(CHUNK)
            if data:
                sent()
            under_way.put_nowait((loop.time() + delay, data))
            if not data:
                return

    await ignoring_hang_ups(asyncio.gather(collect(), deliver()))


async def ignoring_hang_ups(work: Awaitable[object]) -> None:
    """A side that has gone is no mistake of the proxy's."""
    with contextlib.suppress(ConnectionError, OSError):
        await work


async def serve(milliseconds: float) -> None:
    loop = asyncio.get_running_loop()
    targets = []
    while line := (await loop.run_in_executor(None, sys.stdin.readline)).strip():
        address, port = line.split()
        targets.append(Line(address, int(port), milliseconds / 2000))
    print(*[await target.listen() for target in targets], flush=True)
    while await loop.run_in_executor(None, sys.stdin.readline):
        print(*[target.turns for target in targets], flush=True)
        for target in targets:
            target.turns = 0


class Proxy:
    """The proxy as a process of its own: it must not wait for the benchmark, nor be counted with it."""

    def __init__(self, hosts: Sequence[Host], milliseconds: float) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "bench.proxy", str(milliseconds)],
            cwd=Path(__file__).resolve().parents[1], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        lines = "".join(f"{host.address} {host.port}\n" for host in hosts)
        ports = self._ask(f"{lines}\n")
        self.hosts = [host.behind("127.0.0.1", port) for host, port in zip(hosts, ports, strict=True)]

    @property
    def pid(self) -> int:
        return self._process.pid

    def turns(self) -> list[int]:
        """How often each host was asked something since the last time."""
        return self._ask("\n")

    def _ask(self, text: str) -> list[int]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(text)
        self._process.stdin.flush()
        return [int(word) for word in self._process.stdout.readline().split()]

    def close(self) -> None:
        self._process.communicate(timeout=10)


@contextmanager
def in_front_of(hosts: Sequence[Host], milliseconds: float) -> Iterator[Proxy]:
    proxy = Proxy(hosts, milliseconds)
    try:
        yield proxy
    finally:
        proxy.close()


if __name__ == "__main__":
    asyncio.run(serve(float(sys.argv[1])))
