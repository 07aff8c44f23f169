"""What every machine of a stack gets: packages of its layers, users, and the stack's names in /etc/hosts."""

from __future__ import annotations

from io import StringIO

import packages
from pyinfra.operations import files, server

from opsflow import Node


def setup(node: Node) -> None:
    if node.packages:
        packages.present(*node.packages)
    users(node)
    hosts(node)


def configure(node: Node) -> None:
    users(node)
    hosts(node)


def hosts(node: Node) -> None:
    """Every online instance can be reached by its name. Only our block of the file is touched."""
    members = [member for member in node.stack.instances if member.online or member.name == node.name]
    files.block(
        name="Names of the stack",
        path="/etc/hosts",
        marker=f"# {{mark}} opsflow stack {node.stack.name}",
        content=[f"{member.address} {member.name}" for member in members if member.address],
    )


def users(node: Node) -> None:
    """People who may log in, from the attribute ``users: {ada: {key: ssh-ed25519 ..., sudo: true}}``."""
    people = node.get("users", {})
    if any(person.get("sudo") for person in people.values()):
        packages.present("sudo")
    for user, person in people.items():
        key = person["key"]
        server.user(  # noqa: S604 - a login shell, not a shell=True
            name=f"User {user}",
            user=user,
            shell="/bin/bash",
            create_home=True,
            public_keys=[key] if isinstance(key, str) else list(key),
            delete_keys=True,
        )
        _sudo(user, allowed=person.get("sudo", False))


def _sudo(user: str, *, allowed: bool) -> None:
    path = f"/etc/sudoers.d/opsflow-{user}"
    if allowed:
        rule = StringIO(f"{user} ALL=(ALL) NOPASSWD: ALL\n")
        files.put(name=f"{user} may use sudo", src=rule, dest=path, user="root", group="root", mode="440")
    else:
        files.file(name=f"{user} may not use sudo", path=path, present=False)
