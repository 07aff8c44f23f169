"""The demo's app: its pages, and the little Redis that it speaks."""

from __future__ import annotations

import importlib.util
import json
import socketserver
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

APP = Path(__file__).parents[2] / "storefront" / "app.py"


@pytest.fixture
def storefront() -> ModuleType:
    spec = importlib.util.spec_from_file_location("storefront_app", APP)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@contextmanager
def serving(server: socketserver.BaseServer) -> Iterator[tuple[str, int]]:
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    with server:
        thread.start()
        try:
            yield server.server_address[:2]  # type: ignore[misc]
        finally:
            server.shutdown()
            thread.join()


@contextmanager
def shop(storefront: ModuleType, **environment: str) -> Iterator[Callable[..., str]]:
    storefront.Handler.shop = storefront.Shop(environment)
    with serving(storefront.Server(("127.0.0.1", 0), storefront.Handler)) as (host, port):

        def get(path: str = "/", accept: str = "*/*") -> str:
            request = urllib.request.Request(f"http://{host}:{port}{path}", headers={"Accept": accept})
            with urllib.request.urlopen(request, timeout=5) as answer:
                return str(answer.read().decode())

        yield get


class Store(socketserver.ThreadingTCPServer):
    """Answers what it is told to, and remembers what it was asked."""

    def __init__(self, *answers: bytes) -> None:
        super().__init__(("127.0.0.1", 0), _Talk)
        self.answers = list(answers)
        self.asked: list[list[bytes]] = []


class _Talk(socketserver.StreamRequestHandler):
    def handle(self) -> None:
        assert isinstance(self.server, Store)
        while count := self.rfile.readline().strip():
            words = []
            for _ in range(int(count[1:])):
                size = int(self.rfile.readline()[1:])
                words.append(self.rfile.read(size + 2)[:-2])
            self.server.asked.append(words)
            answer = self.server.answers.pop(0)
            if not answer:
                return
            self.wfile.write(answer)


def test_it_says_who_answered_and_counts(storefront: ModuleType) -> None:
    with (
        serving(store := Store(b":7\r\n")) as (host, port),
        shop(storefront, INSTANCE="app1", GREETING="Hello", REDIS_HOST=host, REDIS_PORT=str(port)) as get,
    ):
        page: dict[str, Any] = json.loads(get())
    assert page["instance"] == "app1"
    assert page["greeting"] == "Hello"
    assert page["visits"] == 7
    assert page["version"] == (APP.parent / "VERSION").read_text().strip()
    assert store.asked == [[b"INCR", b"storefront:visits"]]


def test_it_gives_the_password_first(storefront: ModuleType) -> None:
    with (
        serving(store := Store(b"+OK\r\n", b":1\r\n")) as (host, port),
        shop(storefront, REDIS_HOST=host, REDIS_PORT=str(port), REDIS_PASSWORD="ö s") as get,
    ):
        assert json.loads(get())["visits"] == 1
    assert store.asked[0] == [b"AUTH", "ö s".encode()]


@pytest.mark.parametrize("answer", [b"-NOAUTH Authentication required.\r\n", b"", b"+what\r\n"])
def test_it_stays_open_when_the_store_refuses(storefront: ModuleType, answer: bytes) -> None:
    with (
        serving(Store(answer)) as (host, port),
        shop(storefront, REDIS_HOST=host, REDIS_PORT=str(port)) as get,
    ):
        page = json.loads(get())
    assert page["visits"] is None
    assert page["counter"].startswith("unavailable")


def test_it_stays_open_without_a_store(storefront: ModuleType) -> None:
    with shop(storefront, INSTANCE="<b>") as get:
        assert json.loads(get())["counter"] == "no store"
        assert get("/health") == "ok\n"
        assert "<dd>&lt;b&gt;" in get(accept="text/html,*/*")


def test_other_pages_are_not_there(storefront: ModuleType) -> None:
    with shop(storefront) as get, pytest.raises(urllib.error.HTTPError, match="404") as missing:
        get("/admin")
    missing.value.close()
