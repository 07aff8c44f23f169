"""Redis on the instance's own address.

Attributes: ``redis.port`` (6379), ``redis.maxmemory`` (such as 256mb; default: no limit) and ``redis.password``.
A password goes into a file that only Redis can read, never into an argument.
"""

from __future__ import annotations

import packages
import service
from pyinfra.api.operation import OperationMeta
from pyinfra.operations import files

from opsflow import Node

SERVICE = "redis-server"


def setup(node: Node) -> None:
    # The configuration comes first: Debian starts Redis as soon as it is installed, with its own defaults
    # that would be 127.0.0.1. The package gives the file to the user redis.
    config(node)
    packages.present("redis-server")


def configure(node: Node) -> None:
    changed = config(node, user="redis", group="redis")
    service.restart(name="Restart Redis", service=SERVICE, _if=changed.did_change)
    service.start(name="Redis runs", service=SERVICE)


def shutdown(node: Node) -> None:
    # Redis writes its data to disk when it is asked to stop.
    service.stop(name="Save and stop Redis", service=SERVICE)


def config(node: Node, user: str | None = None, group: str | None = None) -> OperationMeta:
    return files.template(
        name="Write Redis' configuration",
        src="templates/redis.conf.j2",
        dest="/etc/redis/redis.conf",
        user=user,
        group=group,
        mode="640",
        address=node.address,
        port=node.get("redis.port", 6379),
        maxmemory=node.get("redis.maxmemory", None),
        password=node.get("redis.password", None),
    )
