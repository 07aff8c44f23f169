"""Say whether this machine can run sandbox instances; exit 1 with what is missing and what to do instead."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from opsflow.clock import SystemClock
from opsflow.errors import CapabilityError
from opsflow.providers.compute.sandbox import SandboxProvider


def main() -> int:
    """Ask the provider itself, so that there is one truth about what it needs."""
    with tempfile.TemporaryDirectory(prefix="opsflow-preflight-") as directory:
        try:
            SandboxProvider(Path(directory), SystemClock()).check()
        except CapabilityError as missing:
            print(missing.message, *([missing.hint] if missing.hint else []), sep="\n", file=sys.stderr)
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
