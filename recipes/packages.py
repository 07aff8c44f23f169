"""Operating system packages."""

from __future__ import annotations

from pyinfra import host
from pyinfra.facts.deb import DebPackages
from pyinfra.facts.server import Which
from pyinfra.operations import apt, server

DAY = 24 * 60 * 60


def present(*names: str) -> None:
    """Install what is missing; apt's lists are fetched first when they are older than a day."""
    if host.get_fact(Which, command="apt-get") and set(names) - set(host.get_fact(DebPackages)):
        apt.update(name="Fetch package lists", cache_time=DAY)
    server.packages(name=f"Install {', '.join(names)}", packages=list(names))
