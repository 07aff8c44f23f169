"""The files of a new project."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from opsflow.cli.terminal import as_json
from opsflow.errors import UsageError

STACK = """\
# yaml-language-server: $schema=opsflow.schema.json
stack: hello
compute: {provider: sandbox}        # machines on this computer, no cloud; or static: those of inventory/hosts.yml
attributes:
  hello: {greeting: Hello}          # node.get("hello.greeting") in a recipe
layers:
  web:
    recipes: [hello]                # recipes/hello.py: its functions named after the lifecycle events
    instances:
      web1: {}
      web2: {}
"""

RECIPE = '''\
"""A first recipe: a directory when the machine is set up, and a page that knows every other machine."""

from pyinfra.operations import files

from opsflow import Node


def setup(node: Node) -> None:
    """Once a machine has booted."""
    files.directory(name="Directory of the page", path="/srv/hello", mode="755")


def configure(node: Node) -> None:
    """On every machine, whenever one joins or leaves: rebuild everything from the stack as it is now."""
    files.template(
        name="The page",
        src="hello.txt.j2",
        dest="/srv/hello/index.txt",
        mode="644",
        greeting=node.get("hello.greeting", "Hello"),
        me=node.name,
        members=[(member.name, member.address) for member in node.stack.layer("web").online],
    )


def shutdown(node: Node) -> None:
    """Before a machine is stopped."""
    files.file(name="No page any more", path="/srv/hello/index.txt", present=False)
'''

TEMPLATE = """\
{{ greeting }} from {{ me }}. In this layer:
{%- for name, address in members %}
- {{ name }} at {{ address }}
{%- endfor %}
"""

INVENTORY = """\
# Machines that exist already. To use them: compute: {provider: static} in a stack file, whose instances have the names
# of these hosts. For example:
#
# hosts:
#   web1: {address: 192.0.2.10, user: admin}
hosts: {}
"""

IGNORED = """\
# State, keys and caches of opsflow on this computer: never to be shared.
.opsflow/
__pycache__/
"""

FILES = {
    ".gitignore": IGNORED,
    "stacks/hello.yml": STACK,
    "recipes/hello.py": RECIPE,
    "recipes/hello.txt.j2": TEMPLATE,
    "inventory/hosts.yml": INVENTORY,
}
SCHEMA = "stacks/opsflow.schema.json"


def write(directory: Path) -> Iterator[Path]:
    """Write the files of a new project; nothing is overwritten.

    Raises:
        UsageError: one of the files exists, or the directory cannot be written.
    """
    from opsflow.config import stack_schema

    files = {**FILES, SCHEMA: as_json(stack_schema(), indent=2) + "\n"}
    there = [name for name in files if os.path.lexists(directory / name)]
    if there:
        raise UsageError(
            f"{directory} already has {', '.join(there)}", hint="name a new directory; nothing was written"
        )
    for name, text in files.items():
        path = directory / name
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("x", encoding="utf-8") as file:
                file.write(text)
        except OSError as error:
            raise UsageError(f"{path}: {error.strerror}") from None
        yield path
