"""Write the generated files anew, or with --check say whether they are as the code is.

docs/reference/cli.md comes from the commands, docs/reference/stack-file.md and stacks/opsflow.schema.json from the
models.
"""

from __future__ import annotations

import sys
from pathlib import Path

import reference_cli
import reference_stack_file

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))


def _schema() -> str:
    """What ``opsflow schema`` prints."""
    from opsflow.cli.terminal import as_json
    from opsflow.config import stack_schema

    return as_json(stack_schema(), indent=2) + "\n"


FILES = {
    "docs/reference/cli.md": reference_cli.page,
    "docs/reference/stack-file.md": reference_stack_file.page,
    "stacks/opsflow.schema.json": _schema,
}


def main(arguments: list[str]) -> int:
    """Write the files; with --check only compare, and exit with 1 when one is out of date."""
    stale = 0
    for name, page in FILES.items():
        file, text = ROOT / name, page()
        if file.exists() and file.read_text(encoding="utf-8") == text:
            continue
        if "--check" in arguments:
            print(f"{name} is out of date: make docs")
            stale = 1
        else:
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text, encoding="utf-8")
            print(f"{name} written")
    return stale


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
