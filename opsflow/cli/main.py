"""The program ``opsflow``: its command is run here, or in a process that has imported all it needs already."""

from __future__ import annotations

import os
import sys

TYPE_CHECKING = False  # see opsflow/__init__.py
if TYPE_CHECKING:
    from collections.abc import Sequence

    from opsflow.wiring import Adapters


def main(adapters: Adapters | None = None) -> None:
    """The console script."""
    # Before anything else is imported: that is what most of a short run would wait for.
    if adapters is None and ("--warm" in sys.argv or os.environ.get("OPSFLOW_WARM") == "1"):
        from opsflow.cli import handover

        code = handover.handed_over(sys.argv[1:])
        if code is not None:
            os._exit(code)  # all that was to be written has been
    from opsflow.cli import program

    raise SystemExit(program.main(adapters))


def run(argv: Sequence[str], adapters: Adapters | None = None) -> int:
    """Run one command line and return its exit code; ``adapters`` replaces real parts in tests."""
    from opsflow.cli import program

    return program.run(argv, adapters)


if __name__ == "__main__":
    main()
