"""What every test shares: hypothesis profiles and the rule for tests that need real hosts."""

from __future__ import annotations

import os
import signal
import tempfile
import threading
from functools import cache
from pathlib import Path

import pytest
from hypothesis import settings

# A shell starts what it puts in the background with ^C ignored, and programs that the tests start would inherit that.
if threading.current_thread() is threading.main_thread():
    signal.signal(signal.SIGINT, signal.default_int_handler)

settings.register_profile("dev", deadline=None)
# CI tries the same examples each time, so that a red run means that the change broke something.
settings.register_profile("ci", deadline=None, derandomize=True, database=None, print_blob=True)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE") or ("ci" if os.environ.get("CI") else "dev"))


@cache
def _why_no_sandbox() -> str | None:
    from opsflow.clock import SystemClock
    from opsflow.errors import CapabilityError
    from opsflow.providers.compute.sandbox import SandboxProvider

    with tempfile.TemporaryDirectory(prefix="opsflow-check-") as directory:
        try:
            SandboxProvider(Path(directory), SystemClock()).check()
        except CapabilityError as missing:
            return f"{missing.message}\n{missing.hint or ''}\n"
    return None


def pytest_runtest_setup(item: pytest.Item) -> None:
    """A test that needs real hosts and cannot have them fails: nobody should take it for passed."""
    if item.get_closest_marker("sandbox") and (why := _why_no_sandbox()):
        pytest.fail(f'{why}Without it, run only the other tests: pytest -m "not sandbox"', pytrace=False)
