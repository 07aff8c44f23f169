"""Which format an inventory has, and reading it."""

from __future__ import annotations

import os
from pathlib import Path

from opsflow.providers.compute.static import ansible, native, programs
from opsflow.providers.compute.static.documents import parse, read_text
from opsflow.providers.compute.static.inventory import Inventory, wrong

DOCUMENTS = (".yml", ".yaml", ".json")


def load(file: Path) -> Inventory:
    """The inventory in ``file``, by its ending: .yml, .yaml and .json documents, .py for pyinfra, else INI.

    An executable without the ending of a document is run, also one that ends in .py.

    Raises:
        InventoryError: it is not there or not understood.
    """
    file = file.absolute()
    if not file.exists():
        raise wrong(
            file,
            "there is no such inventory",
            hint="List your machines in inventory/hosts.yml, or set compute/options/inventory.",
        )
    if file.is_dir():
        raise wrong(file, "is a directory", hint="Name a file in it: compute: {options: {inventory: FILE}}.")
    if file.suffix in DOCUMENTS:
        return _document(file)
    if os.access(file, os.X_OK) and _is_program(file):
        return programs.read_executable(file)
    if file.suffix == ".py":
        return programs.read_pyinfra(file)
    return ansible.read_ini(file, read_text(file))


def _document(file: Path) -> Inventory:
    document = parse(file, read_text(file))
    if native.is_native(document):
        return native.read(file, document)
    if document is None or document == {}:
        return Inventory(file=file, hosts={})
    if isinstance(document, dict) and (file.suffix == ".json" or "_meta" in document):
        return ansible.read_listing(file, document)
    return ansible.read_yaml(file, document)


def _is_program(file: Path) -> bool:
    """Some file systems show every file as executable: a program also starts like one."""
    with file.open("rb") as start:
        return start.read(4).startswith((b"#!", b"\x7fELF"))
