"""HAProxy in front of the app layer.

Attributes: ``haproxy.port`` (80) where it listens, ``haproxy.layer`` (app) which layer it serves,
``app.port`` (8080) where that layer's instances answer.
"""

from __future__ import annotations

from collections.abc import Generator

import packages
import service
from pyinfra import host
from pyinfra.api import operation
from pyinfra.facts.files import Sha1File
from pyinfra.operations import files

from opsflow import Node

CONFIG = "/etc/haproxy/haproxy.cfg"
CANDIDATE = "/etc/haproxy/opsflow.cfg"


def setup(node: Node) -> None:
    packages.present("haproxy")


def configure(node: Node) -> None:
    files.template(
        name="Write HAProxy's backends",
        src="templates/haproxy.cfg.j2",
        dest=CANDIDATE,
        mode="644",
        address=node.address,
        port=node.get("haproxy.port", 80),
        backends=node.stack.layer(node.get("haproxy.layer", "app")).online,
        backend_port=node.get("app.port", 8080),
    )
    config = _use_if_valid(name="Check them and put them in place")
    service.reload(name="Reload HAProxy", service="haproxy", _if=config.did_change)
    service.start(name="HAProxy runs", service="haproxy")


def shutdown(node: Node) -> None:
    service.stop(name="Stop HAProxy", service="haproxy")


@operation()
def _use_if_valid() -> Generator[str, None, None]:
    """The running configuration is never replaced by one that HAProxy would refuse."""
    if host.get_fact(Sha1File, path=CANDIDATE) == host.get_fact(Sha1File, path=CONFIG):
        host.noop("the configuration is in place")
        return
    yield f"haproxy -c -f {CANDIDATE}"
    yield f"cp {CANDIDATE} {CONFIG}.new && mv {CONFIG}.new {CONFIG}"
