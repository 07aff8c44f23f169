"""The program that evaluates a pyinfra inventory: ``python evaluate.py inventory.py`` prints its groups as JSON.

It runs user code, so it is a process of its own and knows nothing of opsflow.
"""

from __future__ import annotations

import json
import os
import runpy
import sys
from pathlib import Path
from typing import Any


def main(path: str) -> int:
    """Print ``{"groups": {name: [hosts, data]}, "group_data": {name: data}}``."""
    file = Path(path).resolve()
    # What the inventory itself prints must not get into our output.
    with os.fdopen(os.dup(1), "w") as output:
        os.dup2(2, 1)
        sys.path[:0] = [str(file.parent), str(Path.cwd())]
        result = {"groups": _groups(file), "group_data": _group_data(file.parent / "group_data")}
        json.dump(result, output, default=_plain)
    return 0


def _groups(file: Path) -> dict[str, Any]:
    found = {}
    for name, value in runpy.run_path(str(file)).items():
        if name.startswith("_"):
            continue
        data: object = {}
        if isinstance(value, tuple) and len(value) == 2 and isinstance(value[0], (list, tuple)):
            value, data = value
        if isinstance(value, (list, tuple)) and isinstance(data, dict) and all(_is_host(item) for item in value):
            found[name] = [[item if isinstance(item, tuple) else (item, {}) for item in value], data]
    return found


def _is_host(item: object) -> bool:
    return isinstance(item, str) or (
        isinstance(item, tuple) and len(item) == 2 and isinstance(item[0], str) and isinstance(item[1], dict)
    )


def _group_data(folder: Path) -> dict[str, Any]:
    return {
        file.stem: {
            name: value
            for name, value in runpy.run_path(str(file)).items()
            if not name.startswith("_") and isinstance(value, (str, int, float, bool, list, tuple, dict, set))
        }
        for file in sorted(folder.glob("*.py"))
    }


def _plain(value: object) -> object:
    if isinstance(value, (set, frozenset)):
        return sorted(value, key=str)
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    raise TypeError(f"inventory data must be plain: text, numbers, lists, dicts; this is a {type(value).__name__}")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
