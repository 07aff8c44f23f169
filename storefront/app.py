"""The shop's front page: which instance answered, from which release, and how often it was visited.

Settings come from the environment: GREETING, BIND, PORT, INSTANCE, REDIS_HOST, REDIS_PORT, REDIS_PASSWORD.
"""

from __future__ import annotations

import html
import json
import os
import signal
import socket
import threading
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import BinaryIO

PAGE = """<!doctype html><title>storefront</title><h1>{greeting}</h1><dl>{rows}</dl>
"""


class RedisError(Exception):
    """Redis cannot be asked, or refused."""


class Redis:
    """The few words of Redis' protocol that the shop needs; one connection a request."""

    def __init__(self, host: str, port: int, password: str | None, timeout: float = 1.0) -> None:
        self._address, self._password, self._timeout = (host, port), password, timeout

    def increment(self, key: str) -> int:
        """Add one to a counter and return it."""
        try:
            with socket.create_connection(self._address, self._timeout) as link, link.makefile("rwb") as stream:
                if self._password:
                    _ask(stream, "AUTH", self._password)
                return int(_ask(stream, "INCR", key))
        except (OSError, ValueError) as error:
            raise RedisError(str(error)) from error


def _ask(stream: BinaryIO, *words: str) -> str:
    parts = [word.encode() for word in words]
    stream.write(b"*%d\r\n" % len(parts) + b"".join(b"$%d\r\n%b\r\n" % (len(part), part) for part in parts))
    stream.flush()
    answer = stream.readline().decode().strip()
    if not answer or answer.startswith("-"):
        raise RedisError(answer[1:] or "closed the connection")
    return answer[1:]


class Shop:
    """What the pages show."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._greeting = environment.get("GREETING", "Welcome")
        self._instance = environment.get("INSTANCE", socket.gethostname())
        self._redis = None
        if host := environment.get("REDIS_HOST"):
            self._redis = Redis(host, int(environment.get("REDIS_PORT", "6379")), environment.get("REDIS_PASSWORD"))
        # Resolved once: a running process stays on its release while `current` moves on.
        self._directory = Path(__file__).resolve().parent
        self._version = (self._directory / "VERSION").read_text().strip()

    def front(self) -> dict[str, object]:
        """The front page; a shop without its counter is still open."""
        visits: int | None = None
        counter = "no store"
        if self._redis:
            try:
                visits, counter = self._redis.increment("storefront:visits"), "ok"
            except RedisError as error:
                counter = f"unavailable: {error}"
        return {
            "greeting": self._greeting,
            "instance": self._instance,
            "version": self._version,
            "release": self._directory.name,
            "visits": visits,
            "counter": counter,
        }


def as_html(front: Mapping[str, object]) -> str:
    """The front page for people."""
    texts = {key: html.escape(str(value)) for key, value in front.items()}
    return PAGE.format(greeting=texts.pop("greeting"), rows="".join(f"<dt>{key}<dd>{texts[key]}" for key in texts))


class Handler(BaseHTTPRequestHandler):
    """GET / and /health."""

    shop: Shop
    wbufsize = -1
    """An answer is one write: a health check that has seen enough closes before a second one."""

    def do_GET(self) -> None:  # noqa: N802 - the name is the protocol of http.server
        """Answer one request."""
        if self.path == "/health":
            self._answer(200, "text/plain", "ok\n")
        elif self.path != "/":
            self._answer(404, "text/plain", "there is only /\n")
        elif "text/html" in self.headers.get("Accept", ""):
            self._answer(200, "text/html; charset=utf-8", as_html(self.shop.front()))
        else:
            self._answer(200, "application/json", json.dumps(self.shop.front()) + "\n")

    def _answer(self, status: int, kind: str, text: str) -> None:
        body = text.encode()
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - given by http.server
        """Log requests, but not the balancer's health checks."""
        if self.path != "/health":
            super().log_message(format, *args)


class Server(ThreadingHTTPServer):
    """Finishes the requests that it has begun before it ends."""

    daemon_threads = False
    request_queue_size = 128


def main() -> None:
    """Serve until SIGTERM."""
    Handler.shop = Shop(os.environ)
    with Server((os.environ.get("BIND", "127.0.0.1"), int(os.environ.get("PORT", "8080"))), Handler) as server:
        # shutdown() waits for the serving loop, so it cannot be called from the loop's own thread.
        signal.signal(signal.SIGTERM, lambda *_: threading.Thread(target=server.shutdown).start())
        server.serve_forever(poll_interval=0.1)


if __name__ == "__main__":
    main()
