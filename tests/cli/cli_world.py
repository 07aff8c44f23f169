"""A project whose machines and engine are fakes, and the program to run on it."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from opsflow.cli.main import run
from opsflow.clock import ManualClock
from opsflow.engine.fake import FakeEngine
from opsflow.model.app import App
from opsflow.ports import Bundle
from opsflow.providers.compute.fake import FakeProvider
from opsflow.wiring import PROVIDERS, Adapters

SHOP = """\
stack: shop
compute: {provider: fake}
attributes: {app: {workers: 2, debug: false}}
layers:
  lb:
    recipes: [proxy]
    instances: {lb1: {}}
  app:
    recipes:
      setup: [web.setup]
      configure: [web.configure]
      deploy: [web.deploy]
    attributes: {app: {workers: 4}}
    instances:
      app1: {}
      app2: {attributes: {app: {debug: true}}}
apps:
  storefront: {layers: [app], source: {directory: ./storefront}}
"""
PROXY = "def setup(node): ...\n\n\ndef configure(node): ...\n\n\ndef shutdown(node): ...\n"
WEB = "def setup(node): ...\n\n\ndef configure(node): ...\n\n\ndef deploy(node): ...\n\n\ndef restart(node): ...\n"


@dataclass
class Answer:
    """What one call of the program did."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """Its data."""
        return json.loads(self.out)

    @property
    def lines(self) -> list[Any]:
        """Its data, an object a line."""
        return [json.loads(line) for line in self.out.splitlines()]


class FakeSources:
    """The revision of a directory is the digest of its only file."""

    def __init__(self, cache: Path, base: Path) -> None:
        self._cache = cache
        self._base = base

    def fetch(self, name: str, app: App, revision: str | None = None) -> Bundle:
        """What AppSources promises, for one file."""
        data = (self._base / app.source.location / "index.html").read_bytes()
        bundle = self._cache / f"{name}.tar.gz"
        bundle.write_bytes(data)
        return Bundle(bundle, hashlib.sha256(data).hexdigest())


@dataclass
class Program:
    """``opsflow`` in this process, on one project, with fakes that outlive a call."""

    root: Path
    capture: pytest.CaptureFixture[str]
    clock: ManualClock = field(default_factory=ManualClock)

    def __post_init__(self) -> None:
        self.engine = FakeEngine(self.clock)
        self.provider = FakeProvider(self.clock)
        self.adapters = Adapters(
            engine=lambda paths, clock, state: self.engine,
            providers={**PROVIDERS, "fake": lambda stack, project: self.provider},
            sources=FakeSources,
            clock=self.clock,
        )

    def __call__(self, *argv: str, project: bool = True) -> Answer:
        self.capture.readouterr()
        code = run([*(("-C", str(self.root)) if project else ()), *argv], self.adapters)
        out, err = self.capture.readouterr()
        return Answer(code, out, err)


def write_project(root: Path) -> None:
    """The files of the project."""
    files = {
        "stacks/shop.yml": SHOP,
        "recipes/proxy.py": PROXY,
        "recipes/web.py": WEB,
        "storefront/index.html": "hello\n",
    }
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
